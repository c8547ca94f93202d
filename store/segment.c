/* segment.c - which segment file is what, who has a place in it, and when it is free again. */
#include "store/segment.h"

#include "ring/base/log.h"
#include "ring/base/memory.h"
#include "ring/blocks.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME_FORMAT "%08u.seg"
#define NAME_LEN 12
#define PATH_CAP 4200

struct segment *segments_find(const struct segments *segments, uint32_t number)
{
    return number < segments->number_cap ? segments->by_number[number] : NULL;
}

struct segment *segment_add(struct segments *segments, uint32_t number, enum segment_state state)
{
    ASSERT(segments_find(segments, number) == NULL);
    if (number >= segments->number_cap) {
        uint32_t cap = (uint32_t)ROUND_UP(number + 1, 64u);
        segments->by_number = xrealloc(segments->by_number, cap * sizeof(struct segment *));
        memset(segments->by_number + segments->number_cap, 0,
               (cap - segments->number_cap) * sizeof(struct segment *));
        segments->number_cap = cap;
    }
    struct segment *segment = xcalloc(1, sizeof(*segment));
    segment->owner = segments;
    segment->number = number;
    segment->state = state;
    segment->file = LOOP_FILE_NONE;
    segment->bytes = segments->options.segment_bytes;
    list_init(&segment->node);
    list_init(&segment->sync_running);
    list_init(&segment->sync_waiting);
    segments->by_number[number] = segment;
    return segment;
}

void segment_forget(struct segment *segment)
{
    ASSERT(segment->users == 0 && segment->pending == 0);
    ASSERT(!segment->is_syncing);
    segment->owner->by_number[segment->number] = NULL;
    free(segment);
}

void segment_path(const struct segment *segment, char *out, size_t cap)
{
    int len =
        snprintf(out, cap, "%s/" NAME_FORMAT, segment->owner->options.directory, segment->number);
    ASSERT(len > 0 && (size_t)len < cap);
}

int segment_open_flags(const struct segments *segments)
{
    return O_RDWR | O_CLOEXEC | (segments->options.is_direct ? O_DIRECT : 0);
}

/* --- free again --- */

static void close_file(struct segment *segment)
{
    if (segment->file == LOOP_FILE_NONE) return;
    loop_close(segment->owner->options.loop, segment->file, NULL);
    segment->file = LOOP_FILE_NONE;
    segment->owner->open_count--;
}

static void on_removed(struct ring_op *op)
{
    struct segment *segment = CONTAINER_OF(op, struct segment, op);
    if (op->result < 0 && op->result != -ERR_NOT_FOUND)
        log_text(LOG_WARN, "segment_not_removed", "shard %u, segment %u: %s",
                 segment->owner->options.shard, segment->number, err_str(op->result));
    segment->owner->removing_count--;
    segment_forget(segment);
}

static void remove_file(struct segment *segment)
{
    char path[PATH_CAP];
    segment_path(segment, path, sizeof(path));
    close_file(segment);
    segment->state = SEGMENT_REMOVING;
    segment->owner->removing_count++;
    segment->op.done = on_removed;
    loop_unlink(segment->owner->options.loop, path, &segment->op);
}

void segment_set_free(struct segment *segment)
{
    struct segments *segments = segment->owner;
    ASSERT(segment->file != LOOP_FILE_NONE);
    ASSERT(segment->live == 0 && segment->pending == 0);
    segment->state = SEGMENT_FREE;
    /* The one freed last is used next: its blocks are the likeliest to be in a cache. */
    list_push_front(&segments->free, &segment->node);
    segments->free_count++;
    segments->options.on_change(segments->options.owner);
}

static void on_opened(struct ring_op *op)
{
    struct segment *segment = CONTAINER_OF(op, struct segment, op);
    struct segments *segments = segment->owner;
    segments->opening_count--;
    if (op->result < 0) {
        log_text(LOG_WARN, "segment_not_opened", "shard %u, segment %u: %s",
                 segments->options.shard, segment->number, err_str(op->result));
        remove_file(segment);
        return;
    }
    segment->file = op->result;
    segments->open_count++;
    segment_set_free(segment);
}

static void open_file(struct segment *segment)
{
    char path[PATH_CAP];
    segment_path(segment, path, sizeof(path));
    segment->state = SEGMENT_OPENING;
    segment->owner->opening_count++;
    segment->op.done = on_opened;
    loop_open(segment->owner->options.loop, path, segment_open_flags(segment->owner), 0,
              &segment->op);
}

/* Called whenever something that keeps a used segment has gone. */
static void recycle(struct segment *segment)
{
    struct segments *segments = segment->owner;
    if (segment->state != SEGMENT_USED) return;
    if (segment->live > 0 || segment->pending > 0 || segment->users > 0) return;
    ASSERT(!segment->is_syncing);

    segments->used_count--;
    bool is_enough = segments->free_count + segments->opening_count >= SEGMENT_FREE_MAX;
    if (is_enough || segment->is_missing || segments->is_closing ||
        segment->bytes != segments->options.segment_bytes) {
        remove_file(segment);
    } else if (segment->file == LOOP_FILE_NONE) {
        open_file(segment);
    } else {
        segment_set_free(segment);
    }
}

/* --- places --- */

void segments_prepare(struct segments *segments)
{
    if (segments->is_closing || segments->maker.segment != NULL) return;
    if (segments->free_count + segments->opening_count >= SEGMENT_SPARE_MIN) return;
    segment_make(segments);
}

static bool activate(struct segments *segments)
{
    struct list *node = list_pop_front(&segments->free);
    if (node == NULL) return false;
    segments->free_count--;
    struct segment *segment = LIST_ENTRY(node, struct segment, node);
    ASSERT(segment->state == SEGMENT_FREE);
    segment->state = SEGMENT_ACTIVE;
    segment->scanned_live = 0;
    segments->used_count++;
    segments->active = segment;
    segments->active_at = 0;
    return true;
}

int segments_allocate(struct segments *segments, uint32_t room, struct segment **segment_out,
                      uint64_t *offset_out)
{
    ASSERT(room > 0 && room % BLOCK_ALIGN == 0);
    struct segment *active = segments->active;
    if (active != NULL && segments->active_at + room > active->bytes) {
        segments->active = NULL;
        active->state = SEGMENT_USED;
        recycle(active);
    }
    if (segments->active == NULL) {
        bool is_there = activate(segments);
        segments_prepare(segments);
        if (!is_there && segments->make_err != 0) return segments->make_err;
        if (!is_there) return segments->is_closing ? -ERR_CANCELED : -ERR_AGAIN;
    }

    active = segments->active;
    *segment_out = active;
    *offset_out = segments->active_at;
    segments->active_at += room;
    active->pending++;
    return 0;
}

static struct segment *segment_of(struct segments *segments, const struct extent *extent)
{
    struct segment *segment = segments_find(segments, extent->segment);
    ASSERT(segment != NULL);
    return segment;
}

static uint64_t room_of(const struct extent *extent)
{
    return ROUND_UP((uint64_t)extent->bytes, (uint64_t)BLOCK_ALIGN);
}

void segments_commit(struct segments *segments, const struct extent *extent)
{
    struct segment *segment = segment_of(segments, extent);
    ASSERT(segment->pending > 0);
    segment->pending--;
    segment->live += room_of(extent);
}

void segments_drop(struct segments *segments, const struct extent *extent)
{
    struct segment *segment = segment_of(segments, extent);
    ASSERT(segment->pending > 0);
    segment->pending--;
    recycle(segment);
}

void segments_release(struct segments *segments, const struct extent *extent)
{
    struct segment *segment = segment_of(segments, extent);
    if (segment->live < room_of(extent)) {
        log_text(LOG_ERROR, "segment_count_wrong", "shard %u, segment %u", segments->options.shard,
                 segment->number);
        return;
    }
    segment->live -= room_of(extent);
    recycle(segment);
}

/* --- handles and syncs --- */

void segment_hold(struct segment *segment)
{
    segment->users++;
}

void segment_unhold(struct segment *segment)
{
    ASSERT(segment->users > 0);
    segment->users--;
    bool is_idle = segment->state == SEGMENT_USED && segment->users == 0 && segment->pending == 0;
    if (is_idle && segment->owner->open_count > SEGMENT_HANDLES_MAX) close_file(segment);
    recycle(segment);
}

void segment_adopt(struct segment *segment, int file)
{
    ASSERT(segment->users > 0);
    if (segment->file != LOOP_FILE_NONE) {
        loop_close(segment->owner->options.loop, file, NULL);
        return;
    }
    segment->file = file;
    segment->owner->open_count++;
}

static void start_sync(struct segment *segment);

static void on_synced(struct ring_op *op)
{
    struct segment *segment = CONTAINER_OF(op, struct segment, sync_op);
    struct segments *segments = segment->owner;
    int err = op->result < 0 ? -ERR_FAILED_SYNC : 0;
    if (err != 0)
        log_text(LOG_ERROR, "sync_failed", "shard %u, segment %u: %s", segments->options.shard,
                 segment->number, err_str(op->result));

    struct list ended;
    list_init(&ended);
    list_append_all(&ended, &segment->sync_running);
    segment->is_syncing = false;
    segment_hold(segment);
    if (err != 0) {
        /* Never tried again: those that wait for the next one would believe it. */
        list_append_all(&ended, &segment->sync_waiting);
        segments->options.on_fatal(segments->options.owner, err);
    } else if (!list_is_empty(&segment->sync_waiting)) {
        start_sync(segment);
    }
    struct list *node;
    while ((node = list_pop_front(&ended)) != NULL) {
        struct segment_wait *wait = LIST_ENTRY(node, struct segment_wait, node);
        wait->done(wait, err);
    }
    segment_unhold(segment);
}

static void start_sync(struct segment *segment)
{
    ASSERT(!segment->is_syncing);
    ASSERT(segment->file != LOOP_FILE_NONE);
    list_append_all(&segment->sync_running, &segment->sync_waiting);
    segment->is_syncing = true;
    segment->sync_op.done = on_synced;
    loop_sync(segment->owner->options.loop, segment->file, false, &segment->sync_op);
}

void segment_sync(struct segment *segment, struct segment_wait *wait)
{
    ASSERT(segment->pending > 0); /* so the handle that was written through is still open */
    list_push_back(&segment->sync_waiting, &wait->node);
    if (!segment->is_syncing) start_sync(segment);
}

/* --- opening and closing --- */

/* "00000012.seg": 12. 0: not the name of a segment. */
static uint32_t number_of_name(const char *name)
{
    if (strlen(name) != NAME_LEN || strcmp(name + NAME_LEN - 4, ".seg") != 0) return 0;
    uint64_t number;
    if (!slice_to_u64(slice_of(name, NAME_LEN - 4), RECORD_SEGMENT_MAX, &number)) return 0;
    return (uint32_t)number;
}

static bool is_leftover(const char *name)
{
    size_t len = strlen(name);
    return len > 4 && strcmp(name + len - 4, ".new") == 0;
}

static int read_directory(struct segments *segments, DIR *directory)
{
    const struct dirent *entry;
    while ((entry = readdir(directory)) != NULL) {
        if (is_leftover(entry->d_name)) {
            if (unlinkat(dirfd(directory), entry->d_name, 0) != 0) return -errno;
            continue;
        }
        uint32_t number = number_of_name(entry->d_name);
        if (number == 0) continue;
        struct stat stat;
        if (fstatat(dirfd(directory), entry->d_name, &stat, AT_SYMLINK_NOFOLLOW) != 0)
            return -errno;
        struct segment *segment = segment_add(segments, number, SEGMENT_USED);
        segment->bytes = (uint64_t)stat.st_size;
        segments->used_count++;
    }
    return 0;
}

/* Tells each segment what lives in it; a number without a file stays known as missing, so that it
 * is not given to a new file. */
static void set_live(struct segments *segments, uint64_t (*live_of)(void *, uint32_t),
                     uint32_t number_count)
{
    for (uint32_t number = 0; number < number_count; number++) {
        uint64_t live = live_of(segments->options.owner, number);
        if (live == 0) continue;
        struct segment *segment = segments_find(segments, number);
        if (segment == NULL) {
            log_text(LOG_ERROR, "segment_missing", "shard %u, segment %u holds messages",
                     segments->options.shard, number);
            segment = segment_add(segments, number, SEGMENT_USED);
            segment->is_missing = true;
            segments->used_count++;
        }
        segment->live = live;
    }
}

int segments_open(struct segments *segments, const struct segments_options *options,
                  uint64_t (*live_of)(void *owner, uint32_t number), uint32_t number_count)
{
    ASSERT(options->segment_bytes % SEGMENT_ZERO_BYTES == 0 && options->segment_bytes > 0);
    *segments = (struct segments){.options = *options, .directory_file = LOOP_FILE_NONE};
    segments->maker.file = LOOP_FILE_NONE;
    list_init(&segments->free);
    segments->zeros =
        mmap(NULL, SEGMENT_ZERO_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (segments->zeros == MAP_FAILED) {
        segments->zeros = NULL;
        return -errno;
    }
    DIR *directory = opendir(options->directory);
    if (directory == NULL) return -errno;
    int err = read_directory(segments, directory);
    closedir(directory);
    if (err != 0) return err;

    set_live(segments, live_of, number_count);
    for (uint32_t number = 0; number < segments->number_cap; number++)
        if (segments->by_number[number] != NULL) recycle(segments->by_number[number]);
    return 0;
}

bool segments_stop(struct segments *segments)
{
    segments->is_closing = true;
    if (segments->maker.segment != NULL) return false;
    return segments->opening_count == 0 && segments->removing_count == 0;
}

void segments_close(struct segments *segments)
{
    for (uint32_t number = 0; number < segments->number_cap; number++) {
        struct segment *segment = segments->by_number[number];
        if (segment == NULL) continue;
        ASSERT(segment->pending == 0);
        close_file(segment);
        segment_forget(segment);
    }
    if (segments->directory_file != LOOP_FILE_NONE)
        loop_close(segments->options.loop, segments->directory_file, NULL);
    if (segments->zeros != NULL) munmap(segments->zeros, SEGMENT_ZERO_BYTES);
    free(segments->by_number);
    *segments = (struct segments){.directory_file = LOOP_FILE_NONE};
}
