/* bounce.c - writes notifications into the queue.
 *
 *     waiting -> text and original, in turns of READ and ROOM -> CLOSE_BODY -> STORE -> delivered
 *        \________________ any failure -> CLEAN_BODY -> the reports stay
 *
 * One bounce has one operation in flight; its state says which, and on_done() hands the result to
 * the state's function. A piece of text is written into a buffer that all bounces share, and again
 * when another bounce has used it meanwhile: only what goes on its way to the queue has memory. */
#include "server/delivery/bounce.h"

#include "ring/base/crash_point.h"
#include "server/delivery/bounce_targets.h"
#include "server/delivery/bounce_text.h"
#include "server/delivery/client_script.h"
#include "server/delivery/delivery_internal.h"
#include "server/mail/dsn_copy.h"

#include <stdlib.h>

#define BOUNCES_A_CHUNK 8
#define STAGED_BYTES 512
#define TEXT_BYTES_HINT 4096 /* of an ordinary notification without its original */

enum bounce_state {
    ST_WAITING,
    ST_ROOM,
    ST_READ,
    ST_CLOSE_BODY,
    ST_STORE,
    ST_CLEAN_BODY,
    ST_COUNT,
};

struct bounce {
    struct list node; /* while it waits */
    struct bounces *bounces;
    struct message *message;
    struct ring_op *done_op; /* the caller's */
    struct ring_op op;
    struct put *put;
    struct bounce_text text;
    struct dsn_copier text_copier, original_copier;
    size_t piece_at; /* of the piece of text, taken so far */
    struct body_reader body;
    struct slice body_piece; /* not taken yet */
    uint64_t written;        /* bytes in the queue */
    int err;
    uint16_t staged_at, staged_len;
    uint8_t state;
    bool is_body_open;
    char staged[STAGED_BYTES]; /* on its way to the queue */
};

struct bounces {
    struct delivery *delivery;
    struct slab slab;
    struct list waiting;
    uint32_t active;
    bool is_starting;
    struct bounce_targets targets;
    const struct bounce *piece_of; /* whose piece is in `piece`; NULL: nobody's */
    struct buf piece;
    char piece_bytes[DSN_PIECE_BYTES_MAX];
};

static void pump(struct bounce *b);
static void start_waiting(struct bounces *bounces);

/* --- what is to be reported --- */

/* Why nobody is told; NULL: somebody may be. */
static const char *why_silent(const struct envelope *envelope)
{
    struct slice sender = envelope->sender;
    if (envelope->is_own) return "it is a notification itself";
    if (sender.len == 0) return "the sender is the null reverse-path";
    bool is_clean = client_address_is_clean(sender, envelope->is_utf8);
    return is_clean && sender.len <= DSN_ADDRESS_BYTES_MAX ? NULL : "the sender is no address";
}

enum recipient_report bounce_report_wanted(const struct envelope *envelope,
                                           const struct recipient *recipient,
                                           enum recipient_report report)
{
    uint8_t notify = recipient->notify;
    if (why_silent(envelope) != NULL || (notify & DSN_NOTIFY_NEVER) != 0) return REPORT_NONE;
    bool is_wanted = false;
    switch (report) {
    case REPORT_NONE:
        break;
    case REPORT_FAILED:
    case REPORT_EXPIRED:
        is_wanted = notify == 0 || (notify & DSN_NOTIFY_FAILURE) != 0;
        break;
    case REPORT_DELAYED:
        is_wanted = !recipient->is_warned && (notify == 0 || (notify & DSN_NOTIFY_DELAY) != 0);
        break;
    case REPORT_DELIVERED:
    case REPORT_RELAYED:
        is_wanted = (notify & DSN_NOTIFY_SUCCESS) != 0;
        break;
    }
    return is_wanted ? report : REPORT_NONE;
}

bool bounce_is_due(const struct message *message, uint64_t due_ms)
{
    const struct envelope *envelope = &message->envelope;
    for (uint32_t i = 0; i < envelope->recipient_count; i++) {
        const struct recipient *recipient = &envelope->recipients[i];
        bool is_due = recipient->state == RECIPIENT_QUEUED || recipient->next_ms <= due_ms;
        if (recipient->report != REPORT_NONE && is_due) return true;
    }
    return false;
}

/* --- the log --- */

static void log_id(const char *key, uint64_t id)
{
    char text[MESSAGE_ID_TEXT];
    message_id_write(id, text);
    log_slice(key, slice_of(text, sizeof(text)));
}

/* How many recipients of each kind. */
static void log_reports(const struct envelope *envelope)
{
    static const char *const names[] = {
        [REPORT_FAILED] = "failed",   [REPORT_EXPIRED] = "expired",
        [REPORT_DELAYED] = "delayed", [REPORT_DELIVERED] = "delivered",
        [REPORT_RELAYED] = "relayed",
    };
    uint64_t counts[ARRAY_LEN(names)] = {0};
    for (uint32_t i = 0; i < envelope->recipient_count; i++)
        counts[envelope->recipients[i].report]++;
    for (size_t report = REPORT_FAILED; report < ARRAY_LEN(names); report++)
        if (counts[report] > 0) log_u64(names[report], counts[report]);
}

static void log_not_notified(enum log_level level, const struct message *message, const char *why)
{
    if (!log_begin(level, "not_notified")) return;
    log_id("id", message->id);
    log_slice("sender", message->envelope.sender);
    log_reports(&message->envelope);
    log_str("reason", why);
    log_end();
}

static void log_notified(const struct bounce *b, uint64_t id)
{
    if (!log_begin(LOG_INFO, "notified")) return;
    log_id("id", b->message->id);
    log_id("notification", id);
    log_slice("sender", b->message->envelope.sender);
    log_reports(&b->message->envelope);
    log_u64("size", b->written);
    log_end();
}

void bounce_note_silence(struct bounces *bounces, const struct message *message,
                         const struct recipient *recipient)
{
    const char *why = why_silent(&message->envelope);
    if (why != NULL) counter_add(&bounces->delivery->counters.dsn_dropped, 1);
    if (!log_begin(LOG_INFO, "not_notified")) return;
    log_id("id", message->id);
    log_slice("sender", message->envelope.sender);
    log_slice("recipient", recipient->address);
    log_str("reason", why != NULL ? why : "the sender asked for no report (NOTIFY)");
    log_end();
}

/* --- what becomes of the reports --- */

/* They are made, or never will be. */
static void clear_reports(struct bounces *bounces, struct message *message, bool is_sent)
{
    struct delivery_counters *counters = &bounces->delivery->counters;
    for (uint32_t i = 0; i < message->envelope.recipient_count; i++) {
        struct recipient *recipient = &message->envelope.recipients[i];
        enum recipient_report report = recipient->report;
        if (report == REPORT_NONE) continue;
        counter_add(is_sent ? &counters->dsn_sent[report - 1] : &counters->dsn_dropped, 1);
        if (report == REPORT_DELAYED) recipient->is_warned = true;
        recipient->report = REPORT_NONE;
    }
}

/* They are tried again; those of queued recipients with their next attempt. */
static void put_off_reports(struct bounces *bounces, struct message *message)
{
    uint64_t next_ms = loop_wall_ms(bounces->delivery->loop) + BOUNCE_RETRY_MS;
    for (uint32_t i = 0; i < message->envelope.recipient_count; i++) {
        struct recipient *recipient = &message->envelope.recipients[i];
        bool is_queued = recipient->state == RECIPIENT_QUEUED;
        if (recipient->report != REPORT_NONE && !is_queued) recipient->next_ms = next_ms;
    }
}

/* Forgets what is not to be told after all; true when something is left. A recipient may have been
 * delivered since its delay was noted, and an operator's edit does not know all rules. */
static bool sift_reports(struct message *message)
{
    struct envelope *envelope = &message->envelope;
    bool is_left = false;
    for (uint32_t i = 0; i < envelope->recipient_count; i++) {
        struct recipient *recipient = &envelope->recipients[i];
        bool is_past = recipient->report == REPORT_DELAYED && recipient->state != RECIPIENT_QUEUED;
        recipient->report =
            is_past ? REPORT_NONE : bounce_report_wanted(envelope, recipient, recipient->report);
        is_left = is_left || recipient->report != REPORT_NONE;
    }
    return is_left;
}

/* --- ends --- */

/* The bounce is gone afterwards. */
static void end(struct bounce *b, int result)
{
    struct bounces *bounces = b->bounces;
    if (bounces->piece_of == b) bounces->piece_of = NULL;
    loop_defer(bounces->delivery->loop, b->done_op, result);
    slab_put(&bounces->slab, b);
    ASSERT(bounces->active > 0);
    bounces->active--;
    start_waiting(bounces);
}

static void give_up(struct bounce *b)
{
    struct bounces *bounces = b->bounces;
    queue_put_abort(b->put);
    bounce_targets_give_back(&bounces->targets, b->message->envelope.sender);
    log_not_notified(LOG_WARN, b->message, err_str(b->err));
    if (b->err != -ERR_CORRUPT) put_off_reports(bounces, b->message);
    end(b, b->err);
}

static void fail(struct bounce *b, int err)
{
    ASSERT(err < 0);
    b->err = err;
    bool is_closed = true;
    if (b->is_body_open) {
        b->is_body_open = false;
        b->state = ST_CLEAN_BODY;
        is_closed = body_close(&b->body, &b->op);
    }
    if (is_closed) give_up(b);
}

static void on_cleaned(struct bounce *b, int result)
{
    (void)result;
    give_up(b);
}

static void on_stored(struct bounce *b, int result)
{
    if (result < 0) {
        fail(b, result);
        return;
    }
    struct bounces *bounces = b->bounces;
    struct delivery *delivery = bounces->delivery;
    CRASH_POINT("notification_stored");
    log_notified(b, queue_put_id(b->put));
    struct message *notification = queue_put_take(b->put);
    clear_reports(bounces, b->message, true);
    end(b, 0);
    if (notification != NULL) {
        delivery_take(delivery, notification);
    } else {
        delivery_lease_soon(delivery, 0);
    }
}

/* The whole text is in the queue. */
static void finish(struct bounce *b)
{
    const struct envelope *about = &b->message->envelope;
    const struct dsn *dsn = &b->text.dsn;
    struct recipient recipient = {.address = about->sender, .notify = DSN_NOTIFY_NEVER};
    struct envelope envelope = {
        .helo = dsn->hostname,
        .listener = SLICE("dsn"),
        .received_ms = dsn->now_ms,
        .form = BODY_DATA,
        .is_8bit = dsn_is_8bit(dsn),
        .is_utf8 = dsn->is_utf8,
        .has_utf8_header = dsn->is_utf8 && !client_address_is_clean(about->sender, false),
        .requires_tls = about->requires_tls, /* RFC 8689 5 */
        .is_own = true,
        .recipients = &recipient,
        .recipient_count = 1,
    };
    b->state = ST_STORE;
    queue_put_finish(b->put, b->written, &envelope, &b->op);
}

/* --- the bytes --- */

/* Moves what is staged into the queue. False: there is no room, or never will be. */
static bool store_staged(struct bounce *b)
{
    while (b->staged_at < b->staged_len) {
        size_t room = 0;
        char *space = queue_put_space(b->put, &room);
        if (room == 0) return false;
        size_t bytes = MIN(room, (size_t)(b->staged_len - b->staged_at));
        memcpy(space, b->staged + b->staged_at, bytes);
        queue_put_advance(b->put, bytes);
        b->staged_at = (uint16_t)(b->staged_at + bytes);
        b->written += bytes;
    }
    return true;
}

static void stage_text(struct bounce *b, struct buf *staged)
{
    struct bounces *bounces = b->bounces;
    if (bounces->piece_of != b) {
        buf_reset(&bounces->piece);
        bounce_text_write(&b->text, &bounces->piece);
        ASSERT(!bounces->piece.is_short);
        bounces->piece_of = b;
    }
    struct slice piece = buf_slice(&bounces->piece);
    b->piece_at += dsn_copy(&b->text_copier, slice_from(piece, b->piece_at), staged);
    if (b->piece_at == piece.len) {
        bounces->piece_of = NULL;
        b->piece_at = 0;
        bounce_text_next(&b->text);
    }
}

static void note_body_piece(struct bounce *b)
{
    b->body_piece = b->body.bytes;
    b->original_copier.is_over = b->original_copier.is_over || b->body_piece.len == 0;
}

/* False: it waits for the body, or for its end. */
static bool stage_original(struct bounce *b, struct buf *staged)
{
    if (!b->is_body_open) {
        b->is_body_open = true;
        body_open(&b->body, b->bounces->delivery->queue, b->message);
    }
    if (b->original_copier.is_over) {
        dsn_copy_end(&b->original_copier, staged);
        b->is_body_open = false;
        b->state = ST_CLOSE_BODY;
        if (!body_close(&b->body, &b->op)) return false;
        bounce_text_next(&b->text);
    } else if (b->body_piece.len == 0) {
        b->state = ST_READ;
        if (!body_read(&b->body, &b->op)) return false;
        note_body_piece(b);
    } else {
        size_t taken = dsn_copy(&b->original_copier, b->body_piece, staged);
        b->body_piece = slice_from(b->body_piece, taken);
    }
    return true;
}

/* Goes on until something has to be waited for. */
static void pump(struct bounce *b)
{
    while (store_staged(b)) {
        if (bounce_text_is_over(&b->text)) {
            finish(b);
            return;
        }
        struct buf staged = {b->staged, 0, sizeof(b->staged), false};
        bool goes_on = true;
        if (bounce_text_is_original(&b->text)) {
            goes_on = stage_original(b, &staged);
        } else {
            stage_text(b, &staged);
        }
        b->staged_at = 0;
        b->staged_len = (uint16_t)staged.len;
        if (!goes_on) return;
    }
    b->state = ST_ROOM;
    queue_put_wait(b->put, &b->op);
}

static void on_room(struct bounce *b, int result)
{
    if (result < 0) {
        fail(b, result);
    } else {
        pump(b);
    }
}

static void on_read(struct bounce *b, int result)
{
    if (result < 0) {
        fail(b, result);
        return;
    }
    note_body_piece(b);
    pump(b);
}

static void on_body_closed(struct bounce *b, int result)
{
    (void)result; /* what was wanted of it has been read and checked */
    bounce_text_next(&b->text);
    pump(b);
}

static void (*const steps[ST_COUNT])(struct bounce *b, int result) = {
    [ST_ROOM] = on_room,    [ST_READ] = on_read,          [ST_CLOSE_BODY] = on_body_closed,
    [ST_STORE] = on_stored, [ST_CLEAN_BODY] = on_cleaned,
};

static void on_done(struct ring_op *op)
{
    struct bounce *b = CONTAINER_OF(op, struct bounce, op);
    ASSERT(b->state < ST_COUNT && steps[b->state] != NULL);
    steps[b->state](b, op->result);
}

/* --- beginnings --- */

static void begin_text(struct bounce *b)
{
    struct delivery *delivery = b->bounces->delivery;
    const struct envelope *envelope = &b->message->envelope;
    bounce_text_init(&b->text, b->message, delivery->config, queue_put_id(b->put),
                     loop_wall_ms(delivery->loop));
    dsn_copier_init(&b->text_copier, false, false);
    dsn_copier_init(&b->original_copier, envelope->form == BODY_DATA,
                    b->text.dsn.original == DSN_ORIGINAL_HEADER);
    pump(b);
}

static void begin(struct bounce *b)
{
    struct bounces *bounces = b->bounces;
    struct delivery *delivery = bounces->delivery;
    const struct config *config = delivery->config;
    uint64_t body_bytes = b->message->body_bytes;
    bool is_small = body_bytes <= config->delivery.bounces.message_bytes_max;
    int err =
        queue_put_begin(delivery->queue, TEXT_BYTES_HINT + (is_small ? body_bytes : 0), &b->put);
    if (err != 0) {
        log_not_notified(LOG_WARN, b->message, err_str(err));
        put_off_reports(bounces, b->message);
        end(b, err);
    } else if (!bounce_targets_take(&bounces->targets, b->message->envelope.sender,
                                    config->delivery.bounces.per_minute,
                                    loop_now_ns(delivery->loop) / NS_PER_MS)) {
        queue_put_abort(b->put);
        log_not_notified(LOG_WARN, b->message, "its domain gets too many (bounces.per_minute)");
        clear_reports(bounces, b->message, false);
        end(b, 0);
    } else {
        begin_text(b);
    }
}

/* Not by recursion: many may end at once when the queue takes none. */
static void start_waiting(struct bounces *bounces)
{
    if (bounces->is_starting) return;
    bounces->is_starting = true;
    while (bounces->active < BOUNCES_MAX) {
        struct list *node = list_pop_front(&bounces->waiting);
        if (node == NULL) break;
        bounces->active++;
        begin(LIST_ENTRY(node, struct bounce, node));
    }
    bounces->is_starting = false;
}

void bounce_send(struct bounces *bounces, struct message *message, struct ring_op *op)
{
    if (!sift_reports(message)) {
        loop_defer(bounces->delivery->loop, op, 0);
        return;
    }
    struct bounce *b = slab_get(&bounces->slab);
    if (b == NULL) {
        log_not_notified(LOG_WARN, message, "too many notifications wait to be written");
        put_off_reports(bounces, message);
        loop_defer(bounces->delivery->loop, op, -ERR_AGAIN);
        return;
    }
    memset(b, 0, sizeof(*b));
    b->bounces = bounces;
    b->message = message;
    b->done_op = op;
    b->op.done = on_done;
    b->state = ST_WAITING;
    list_push_back(&bounces->waiting, &b->node);
    start_waiting(bounces);
}

/* --- life --- */

struct bounces *bounces_create(struct delivery *delivery)
{
    struct bounces *bounces = xcalloc(1, sizeof(*bounces));
    bounces->delivery = delivery;
    bounces->piece = (struct buf){bounces->piece_bytes, 0, sizeof(bounces->piece_bytes), false};
    slab_init(&bounces->slab, sizeof(struct bounce), BOUNCES_A_CHUNK, DELIVERY_MESSAGES_MAX);
    list_init(&bounces->waiting);
    bounce_targets_init(&bounces->targets);
    return bounces;
}

void bounces_destroy(struct bounces *bounces)
{
    if (bounces == NULL) return;
    ASSERT(bounces_is_idle(bounces));
    bounce_targets_finish(&bounces->targets);
    slab_finish(&bounces->slab);
    free(bounces);
}

bool bounces_is_idle(const struct bounces *bounces)
{
    return bounces->slab.count == 0;
}
