/* maildir.c - the writer of one message into the maildirs of some recipients, one after the other.
 *
 * A writer has one operation in flight. Its state says which; on_done() hands the result to the
 * state's function, and that starts the next one.
 *
 *   OPEN_TMP -> (READ, WRITE)* -> CLOSE_BODY -> SYNC_FILE -> CLOSE_FILE -> LINK -> OPEN_NEW
 *      | EEXIST: UNLINK_STALE                                   -> SYNC_NEW -> UNLINK_TMP -> result
 *   OPEN_TMP or LINK, ENOENT -> (MAKE_DIR -> OPEN_PARENT -> SYNC_PARENT)* -> it again, once
 *   any failure -> CLEAN_BODY -> CLEAN_NEW -> CLEAN_TMP -> deferred
 *
 * Directories are made and synced from the top, tmp last: where tmp is, the others are, on the disk
 * too, whoever made them and was cut off. */
#include "server/delivery/maildir.h"

#include "ring/base/crash_point.h"
#include "server/delivery/delivery_internal.h"
#include "server/delivery/maildir_path.h"
#include "server/delivery/parcel.h"
#include "server/delivery/unstuff.h"

#include <fcntl.h>
#include <limits.h>

#define BUFFER_BYTES 32768
#define FILE_MODE 0600
#define DIRECTORY_MODE 0700

_Static_assert(MAILDIR_PATH_BYTES_MAX + sizeof("/tmp/") + MAILDIR_NAME_BYTES_MAX < PATH_MAX,
               "every path of a maildir can be opened");

enum writer_state {
    ST_OPEN_TMP,
    ST_UNLINK_STALE,
    ST_MAKE_DIR,
    ST_OPEN_PARENT,
    ST_SYNC_PARENT,
    ST_READ,
    ST_WRITE,
    ST_CLOSE_BODY,
    ST_SYNC_FILE,
    ST_CLOSE_FILE,
    ST_LINK,
    ST_OPEN_NEW,
    ST_SYNC_NEW,
    ST_UNLINK_TMP,
    ST_CLEAN_BODY,
    ST_CLEAN_NEW,
    ST_CLEAN_TMP,
    ST_COUNT,
};

struct maildir_writer {
    struct maildirs *maildirs;
    struct attempt *attempt;
    struct ring_op op;
    struct body_reader body;
    struct unstuffer unstuffer;
    struct slice piece;  /* of the body, not yet in `buffer` */
    struct iovec output; /* of `buffer`, not yet in the file */
    uint64_t offset;     /* in the file */
    size_t buffer_len;
    size_t dir_len;       /* of the directory that is being made */
    uint32_t at;          /* the recipient, in the attempt */
    int file;             /* LOOP_FILE_NONE: none is open */
    int err;              /* why the recipient is deferred */
    uint8_t state;        /* enum writer_state */
    uint8_t subdirs_made; /* of `subdirs` */
    bool is_body_open, has_body_ended;
    bool has_tmp, has_new; /* files of ours that a failure removes */
    bool has_made_dirs, has_removed_stale;
    bool is_dir_new;  /* the one that is being made was not there before */
    bool is_complete; /* the file in tmp: it is to be linked */
    size_t base_len;
    char base[MAILDIR_PATH_BYTES_MAX + 1];
    char name[MAILDIR_NAME_BYTES_MAX + 1];
    char path[PATH_MAX];
    char buffer[BUFFER_BYTES];
};

static const char *const subdirs[] = {"cur", "new", "tmp"};

static void run(struct maildir_writer *w);
static void next_dir(struct maildir_writer *w);
static void link_file(struct maildir_writer *w);
static void fill(struct maildir_writer *w);
static void close_body(struct maildir_writer *w);

static struct loop *loop_of(const struct maildir_writer *w)
{
    return w->maildirs->delivery->loop;
}

/* "BASE/SUBDIR/NAME", or without the name. Fits: see the static assertion. */
static const char *path_of(struct maildir_writer *w, const char *subdir, const char *name)
{
    struct buf path = {w->path, 0, sizeof(w->path), false};
    buf_append(&path, w->base, w->base_len);
    buf_append_char(&path, '/');
    buf_append_cstr(&path, subdir);
    if (name != NULL) {
        buf_append_char(&path, '/');
        buf_append_cstr(&path, name);
    }
    buf_append_char(&path, '\0');
    ASSERT(!path.is_short);
    return w->path;
}

/* --- ends of a recipient --- */

static void next_recipient(struct maildir_writer *w)
{
    w->at++;
    run(w);
}

/* Cleans up one thing after the other; called again when each is done. */
static void clean_up(struct maildir_writer *w)
{
    if (w->is_body_open) {
        w->is_body_open = false;
        w->state = ST_CLEAN_BODY;
        if (!body_close(&w->body, &w->op)) return;
    }
    if (w->file != LOOP_FILE_NONE) loop_close(loop_of(w), w->file, NULL);
    w->file = LOOP_FILE_NONE;
    if (w->has_new) {
        w->has_new = false;
        w->state = ST_CLEAN_NEW;
        loop_unlink(loop_of(w), path_of(w, "new", w->name), &w->op);
        return;
    }
    if (w->has_tmp) {
        w->has_tmp = false;
        w->state = ST_CLEAN_TMP;
        loop_unlink(loop_of(w), path_of(w, "tmp", w->name), &w->op);
        return;
    }
    if (w->err == -ERR_CORRUPT) {
        /* The same for all recipients: none of them gets anything. */
        parcel_body_is_corrupt(w->attempt->parcel);
        w->at = w->attempt->count;
        run(w);
        return;
    }
    const char *status = w->err == -ERR_FULL ? "4.3.1" : w->err == -EDQUOT ? "4.2.2" : "4.3.0";
    char text[MESSAGE_REPLY_BYTES_MAX];
    struct buf reason = {text, 0, sizeof(text), false};
    buf_append_format(&reason, "%s cannot write into the mailbox: %s", status, err_str(w->err));
    attempt_result(w->attempt, w->at, OUTCOME_DEFERRED, buf_slice(&reason), NULL);
    next_recipient(w);
}

static void fail(struct maildir_writer *w, int err)
{
    ASSERT(err < 0);
    w->err = err;
    clean_up(w);
}

static void on_cleaned(struct maildir_writer *w, int result)
{
    (void)result; /* a file that stays is found again by its name */
    clean_up(w);
}

/* --- the file in tmp --- */

static void make_dirs(struct maildir_writer *w)
{
    w->has_made_dirs = true;
    w->dir_len = 0;
    w->subdirs_made = 0;
    next_dir(w);
}

static void open_tmp(struct maildir_writer *w)
{
    w->state = ST_OPEN_TMP;
    loop_open(loop_of(w), path_of(w, "tmp", w->name),
              O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, FILE_MODE, &w->op);
}

static void write_return_path(struct maildir_writer *w)
{
    struct buf out = {w->buffer, 0, sizeof(w->buffer), false};
    buf_append_cstr(&out, "Return-Path: <");
    buf_append_slice(&out, attempt_message(w->attempt)->envelope.sender);
    buf_append_cstr(&out, ">\r\n");
    w->buffer_len = out.len;
}

static void on_tmp_open(struct maildir_writer *w, int result)
{
    if (result == -ERR_NOT_FOUND && !w->has_made_dirs) {
        make_dirs(w);
    } else if (result == -ERR_EXISTS && !w->has_removed_stale) {
        /* Left by an attempt that was cut off: the name is ours alone. */
        w->has_removed_stale = true;
        w->state = ST_UNLINK_STALE;
        loop_unlink(loop_of(w), path_of(w, "tmp", w->name), &w->op);
    } else if (result < 0) {
        fail(w, result);
    } else {
        w->file = result;
        w->has_tmp = true;
        body_open(&w->body, w->maildirs->delivery->queue, attempt_message(w->attempt));
        w->is_body_open = true;
        write_return_path(w);
        fill(w);
    }
}

static void on_stale_unlinked(struct maildir_writer *w, int result)
{
    if (result < 0 && result != -ERR_NOT_FOUND) {
        fail(w, result);
    } else {
        open_tmp(w);
    }
}

/* --- directories --- */

/* Makes the next of: every parent of the base, the base, its three directories. */
static void next_dir(struct maildir_writer *w)
{
    const char *path = w->path;
    if (w->dir_len < w->base_len) {
        const char *slash = memchr(w->base + w->dir_len + 1, '/', w->base_len - w->dir_len - 1);
        w->dir_len = slash != NULL ? (size_t)(slash - w->base) : w->base_len;
        memcpy(w->path, w->base, w->dir_len);
        w->path[w->dir_len] = '\0';
    } else if (w->subdirs_made < ARRAY_LEN(subdirs)) {
        path = path_of(w, subdirs[w->subdirs_made], NULL);
        w->subdirs_made++;
    } else if (w->is_complete) {
        link_file(w);
        return;
    } else {
        open_tmp(w);
        return;
    }
    w->state = ST_MAKE_DIR;
    loop_mkdir(loop_of(w), path, DIRECTORY_MODE, &w->op);
}

static void on_dir_made(struct maildir_writer *w, int result)
{
    if (result < 0 && result != -ERR_EXISTS) {
        fail(w, result);
        return;
    }
    w->is_dir_new = result >= 0;
    /* A new name is durable when the directory that holds it is synced; and one that is there
     * already may have been made by somebody who did not come to that. */
    char *slash = strrchr(w->path, '/');
    ASSERT(slash != NULL);
    slash[slash == w->path ? 1 : 0] = '\0';
    w->state = ST_OPEN_PARENT;
    loop_open(loop_of(w), w->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0, &w->op);
}

static void on_parent_open(struct maildir_writer *w, int result)
{
    if (result == -ERR_ACCESS && !w->is_dir_new) { /* far above what is ours */
        next_dir(w);
        return;
    }
    if (result < 0) {
        fail(w, result);
        return;
    }
    w->file = result;
    w->state = ST_SYNC_PARENT;
    loop_sync(loop_of(w), w->file, true, &w->op);
}

static void on_parent_synced(struct maildir_writer *w, int result)
{
    if (result < 0) {
        fail(w, result);
        return;
    }
    loop_close(loop_of(w), w->file, NULL);
    w->file = LOOP_FILE_NONE;
    next_dir(w);
}

/* --- the bytes --- */

static void take_piece(struct maildir_writer *w)
{
    size_t bytes = MIN(w->piece.len, sizeof(w->buffer) - w->buffer_len);
    struct slice part = slice_of(w->piece.data, bytes);
    if (attempt_message(w->attempt)->envelope.form == BODY_DATA) {
        w->buffer_len += unstuff(&w->unstuffer, part, w->buffer + w->buffer_len);
    } else {
        memcpy(w->buffer + w->buffer_len, part.data, part.len);
        w->buffer_len += part.len;
    }
    w->piece = slice_from(w->piece, bytes);
}

static void write_output(struct maildir_writer *w)
{
    w->state = ST_WRITE;
    loop_writev(loop_of(w), w->file, &w->output, 1, w->offset, false, &w->op);
}

/* Fills the buffer from the body, as far as both go without waiting, and writes it. */
static void fill(struct maildir_writer *w)
{
    while (!w->has_body_ended && w->buffer_len < sizeof(w->buffer)) {
        if (w->piece.len > 0) {
            take_piece(w);
            continue;
        }
        w->state = ST_READ;
        if (!body_read(&w->body, &w->op)) return;
        w->piece = w->body.bytes;
        w->has_body_ended = w->piece.len == 0;
    }
    if (w->buffer_len == 0) {
        close_body(w);
        return;
    }
    w->output = (struct iovec){w->buffer, w->buffer_len};
    w->buffer_len = 0;
    write_output(w);
}

static void on_read(struct maildir_writer *w, int result)
{
    if (result < 0) {
        fail(w, result);
        return;
    }
    w->piece = w->body.bytes;
    w->has_body_ended = w->piece.len == 0;
    fill(w);
}

static void sync_file(struct maildir_writer *w)
{
    w->state = ST_SYNC_FILE;
    loop_sync(loop_of(w), w->file, true, &w->op);
}

static void close_body(struct maildir_writer *w)
{
    w->is_body_open = false;
    w->state = ST_CLOSE_BODY;
    if (body_close(&w->body, &w->op)) sync_file(w);
}

static void on_body_closed(struct maildir_writer *w, int result)
{
    (void)result; /* every byte has been read and checked */
    sync_file(w);
}

static void on_written(struct maildir_writer *w, int result)
{
    if (result <= 0) {
        fail(w, result < 0 ? result : -ERR_IO);
        return;
    }
    size_t bytes = (size_t)result;
    ASSERT(bytes <= w->output.iov_len);
    w->offset += bytes;
    w->output.iov_base = (char *)w->output.iov_base + bytes;
    w->output.iov_len -= bytes;
    if (w->output.iov_len > 0) {
        write_output(w);
    } else if (!w->has_body_ended) {
        fill(w);
    } else {
        close_body(w);
    }
}

/* --- from tmp to new --- */

static void on_file_synced(struct maildir_writer *w, int result)
{
    if (result < 0) {
        fail(w, result);
        return;
    }
    int file = w->file;
    w->file = LOOP_FILE_NONE;
    w->state = ST_CLOSE_FILE;
    loop_close(loop_of(w), file, &w->op);
}

static void link_file(struct maildir_writer *w)
{
    char from[PATH_MAX];
    struct buf copy = {from, 0, sizeof(from), false};
    buf_append_cstr(&copy, path_of(w, "tmp", w->name));
    buf_append_char(&copy, '\0');
    ASSERT(!copy.is_short);
    w->state = ST_LINK;
    loop_link(loop_of(w), from, path_of(w, "new", w->name), &w->op);
}

static void on_file_closed(struct maildir_writer *w, int result)
{
    if (result < 0) {
        fail(w, result);
        return;
    }
    w->is_complete = true;
    link_file(w);
}

static void on_linked(struct maildir_writer *w, int result)
{
    /* EEXIST: the name holds the message's id, so this is what an earlier attempt has delivered
     * before its result was on disk. */
    if (result == -ERR_NOT_FOUND && !w->has_made_dirs) {
        make_dirs(w);
        return;
    }
    if (result < 0 && result != -ERR_EXISTS) {
        fail(w, result);
        return;
    }
    CRASH_POINT("maildir_linked");
    w->has_new = result >= 0;
    w->state = ST_OPEN_NEW;
    loop_open(loop_of(w), path_of(w, "new", NULL), O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0, &w->op);
}

static void on_new_open(struct maildir_writer *w, int result)
{
    if (result < 0) {
        fail(w, result);
        return;
    }
    w->file = result;
    w->state = ST_SYNC_NEW;
    loop_sync(loop_of(w), w->file, true, &w->op);
}

static void on_new_synced(struct maildir_writer *w, int result)
{
    if (result < 0) {
        fail(w, result);
        return;
    }
    CRASH_POINT("maildir_synced");
    loop_close(loop_of(w), w->file, NULL);
    w->file = LOOP_FILE_NONE;
    w->has_new = false;
    w->has_tmp = false;
    w->state = ST_UNLINK_TMP;
    loop_unlink(loop_of(w), path_of(w, "tmp", w->name), &w->op);
}

static void on_tmp_unlinked(struct maildir_writer *w, int result)
{
    (void)result; /* readers of maildirs remove what is old in tmp */
    attempt_result(w->attempt, w->at, OUTCOME_DELIVERED, (struct slice){NULL, 0}, NULL);
    next_recipient(w);
}

/* --- recipients and attempts --- */

static void (*const steps[ST_COUNT])(struct maildir_writer *w, int result) = {
    [ST_OPEN_TMP] = on_tmp_open,
    [ST_UNLINK_STALE] = on_stale_unlinked,
    [ST_MAKE_DIR] = on_dir_made,
    [ST_OPEN_PARENT] = on_parent_open,
    [ST_SYNC_PARENT] = on_parent_synced,
    [ST_READ] = on_read,
    [ST_WRITE] = on_written,
    [ST_CLOSE_BODY] = on_body_closed,
    [ST_SYNC_FILE] = on_file_synced,
    [ST_CLOSE_FILE] = on_file_closed,
    [ST_LINK] = on_linked,
    [ST_OPEN_NEW] = on_new_open,
    [ST_SYNC_NEW] = on_new_synced,
    [ST_UNLINK_TMP] = on_tmp_unlinked,
    [ST_CLEAN_BODY] = on_cleaned,
    [ST_CLEAN_NEW] = on_cleaned,
    [ST_CLEAN_TMP] = on_cleaned,
};

static void on_done(struct ring_op *op)
{
    struct maildir_writer *w = CONTAINER_OF(op, struct maildir_writer, op);
    ASSERT(w->state < ST_COUNT && steps[w->state] != NULL);
    steps[w->state](w, op->result);
}

/* Works out where the recipient's mailbox is. False when there can be none. */
static bool find_mailbox(struct maildir_writer *w)
{
    const struct envelope *envelope = &attempt_message(w->attempt)->envelope;
    const char *hostname = w->maildirs->delivery->config->node.hostname;
    struct slice address = attempt_recipient(w->attempt, w->at)->address;
    struct buf base = {w->base, 0, sizeof(w->base) - 1, false};
    struct buf name = {w->name, 0, sizeof(w->name) - 1, false};
    if (!maildir_path_expand(w->attempt->maildir_template, address, hostname, &base)) return false;
    if (!maildir_name_write(envelope->received_ms, attempt_message(w->attempt)->id,
                            w->attempt->recipients[w->at], hostname, &name)) {
        return false;
    }
    w->base_len = base.len;
    w->base[base.len] = '\0';
    w->name[name.len] = '\0';
    return base.len > 0 && w->base[0] == '/';
}

/* Starts the next recipient of the attempt. False when none is left, or the process stops. */
static bool begin_recipient(struct maildir_writer *w)
{
    for (; w->at < w->attempt->count && !w->maildirs->delivery->is_stopping; w->at++) {
        if (find_mailbox(w)) {
            w->unstuffer = (struct unstuffer){0};
            w->piece = (struct slice){NULL, 0};
            w->offset = 0;
            w->err = 0;
            w->has_body_ended = false;
            w->has_made_dirs = false;
            w->has_removed_stale = false;
            w->is_complete = false;
            open_tmp(w);
            return true;
        }
        attempt_result(w->attempt, w->at, OUTCOME_FAILED,
                       SLICE("5.1.3 no mailbox can have this address"), NULL);
    }
    return false;
}

/* Goes on with the attempt, then with the next in line; the last thing that touches the writer. */
static void run(struct maildir_writer *w)
{
    while (w->attempt == NULL || !begin_recipient(w)) {
        if (w->attempt != NULL) attempt_end(w->attempt);
        struct list *node = list_pop_front(&w->maildirs->waiting);
        if (node == NULL) {
            struct delivery *delivery = w->maildirs->delivery;
            slab_put(&w->maildirs->writers, w);
            delivery_check_stopped(delivery);
            return;
        }
        w->attempt = LIST_ENTRY(node, struct attempt, wait);
        w->at = 0;
    }
}

/* --- the writers of a core --- */

void maildirs_init(struct maildirs *maildirs, struct delivery *delivery)
{
    maildirs->delivery = delivery;
    list_init(&maildirs->waiting);
    slab_init(&maildirs->writers, sizeof(struct maildir_writer), 1, MAILDIR_WRITERS_MAX);
}

void maildirs_finish(struct maildirs *maildirs)
{
    slab_finish(&maildirs->writers);
}

void maildirs_submit(struct maildirs *maildirs, struct attempt *attempt)
{
    ASSERT(attempt->maildir_template != NULL);
    list_push_back(&maildirs->waiting, &attempt->wait);
    struct maildir_writer *w = slab_get(&maildirs->writers);
    if (w == NULL) return; /* one that runs takes it from the line */
    w->maildirs = maildirs;
    w->attempt = NULL;
    w->op.done = on_done;
    w->buffer_len = 0;
    w->file = LOOP_FILE_NONE;
    w->is_body_open = false;
    w->has_tmp = false;
    w->has_new = false;
    run(w);
}

void maildirs_stop(struct maildirs *maildirs)
{
    struct list *node;
    while ((node = list_pop_front(&maildirs->waiting)) != NULL)
        attempt_end(LIST_ENTRY(node, struct attempt, wait));
}
