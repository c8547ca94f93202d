/* parcel.c - takes a message apart into attempts and puts its results together.
 *
 *     begin -> round -> (attempts end: update ...) -> notify the sender -> settle -> free
 *                ^______________________| while some recipients found no place */
#include "server/delivery/parcel.h"

#include "ring/base/crash_point.h"
#include "server/delivery/bounce.h"
#include "server/delivery/client_script.h"
#include "server/delivery/delivery_internal.h"
#include "server/delivery/destination.h"
#include "server/smtp/address.h"
#include "server/smtp/idna.h"

#define TEXT_CHUNK_BYTES 1024

static void run_round(struct parcel *parcel);

/* Recipients that go together mostly share their fate, so the last text is often the next. */
static struct slice keep(struct parcel *parcel, struct slice text, struct slice *last)
{
    if (text.len > MESSAGE_REPLY_BYTES_MAX) text.len = MESSAGE_REPLY_BYTES_MAX;
    if (slice_eq(text, *last)) return *last;
    char *copy = arena_copy(&parcel->texts, text.data, text.len);
    if (copy == NULL) return (struct slice){NULL, 0};
    *last = slice_of(copy, text.len);
    return *last;
}

struct slice parcel_keep_text(struct parcel *parcel, struct slice text)
{
    struct slice kept = keep(parcel, text, &parcel->last_text);
    return kept.data != NULL || text.len == 0
               ? kept
               : SLICE("(too many different replies to keep this one)");
}

struct slice parcel_keep_host(struct parcel *parcel, struct slice host)
{
    return keep(parcel, host, &parcel->last_host);
}

void parcel_body_is_corrupt(struct parcel *parcel)
{
    parcel->is_corrupt = true;
}

static void free_parcel(struct parcel *parcel)
{
    struct delivery *delivery = parcel->delivery;
    uint64_t due_ms = parcel->settled_due_ms;
    ASSERT(list_is_empty(&parcel->attempts));
    arena_finish(&parcel->texts);
    slab_put(&delivery->parcels, parcel);
    if (due_ms != UINT64_MAX) schedule_note(&delivery->schedule, due_ms);
    schedule_room_appeared(&delivery->schedule);
    delivery_check_stopped(delivery);
}

static void on_settled(struct ring_op *op)
{
    struct parcel *parcel = CONTAINER_OF(op, struct parcel, op);
    if (op->result < 0) {
        log_text(LOG_ERROR, "settle_failed", "the result of a delivery is not on disk: %s",
                 err_str(op->result));
    }
    free_parcel(parcel);
}

static uint64_t earliest_due(const struct envelope *envelope)
{
    uint64_t due_ms = UINT64_MAX;
    for (uint32_t i = 0; i < envelope->recipient_count; i++) {
        const struct recipient *recipient = &envelope->recipients[i];
        bool is_left = recipient->state == RECIPIENT_QUEUED || recipient->report != REPORT_NONE;
        if (is_left) due_ms = MIN(due_ms, recipient->next_ms);
    }
    return due_ms;
}

static void give_back(struct parcel *parcel)
{
    struct delivery *delivery = parcel->delivery;
    struct message *message = parcel->message;
    parcel->message = NULL;
    message->owner = NULL;
    parcel->op.done = on_settled;
    if (parcel->is_corrupt) {
        queue_set_aside(delivery->queue, message, &parcel->op);
    } else if (delivery->is_stopping && !parcel->has_changed) {
        queue_return(delivery->queue, message);
        free_parcel(parcel);
    } else {
        parcel->settled_due_ms = earliest_due(&message->envelope);
        CRASH_POINT("settle");
        queue_settle(delivery->queue, message, &parcel->op);
    }
}

static void on_next_round(struct ring_op *op)
{
    run_round(CONTAINER_OF(op, struct parcel, op));
}

static void on_reported(struct ring_op *op)
{
    struct parcel *parcel = CONTAINER_OF(op, struct parcel, op);
    if (op->result == -ERR_CORRUPT) parcel->is_corrupt = true;
    parcel->has_changed = true;
    give_back(parcel);
}

/* The attempts of a round have all ended, and nothing is being written. */
static void end_round(struct parcel *parcel)
{
    ASSERT(parcel->running == 0 && !parcel->is_writing);
    if (parcel->is_partial && !parcel->is_corrupt && !parcel->delivery->is_stopping) {
        parcel->is_partial = false;
        parcel->op.done = on_next_round;
        loop_defer(parcel->delivery->loop, &parcel->op, 0);
    } else if (!parcel->is_corrupt && !parcel->delivery->is_stopping &&
               bounce_is_due(parcel->message, parcel->due_ms)) {
        parcel->op.done = on_reported;
        bounce_send(parcel->delivery->bounces, parcel->message, &parcel->op);
    } else {
        give_back(parcel);
    }
}

static void step(struct parcel *parcel);

static void on_updated(struct ring_op *op)
{
    struct parcel *parcel = CONTAINER_OF(op, struct parcel, op);
    parcel->is_writing = false;
    if (op->result < 0) {
        log_text(LOG_WARN, "update_failed", "results of a delivery are not on disk yet: %s",
                 err_str(op->result));
    }
    step(parcel);
}

/* Goes on after an attempt or a write has ended. */
static void step(struct parcel *parcel)
{
    if (parcel->is_writing) return;
    if (parcel->running == 0) {
        end_round(parcel);
    } else if (parcel->is_changed) {
        parcel->is_changed = false;
        parcel->is_writing = true;
        parcel->op.done = on_updated;
        queue_update(parcel->delivery->queue, parcel->message, &parcel->op);
    }
}

static struct attempt *make_attempt(struct parcel *parcel, const struct route *route,
                                    struct destination *destination)
{
    struct attempt *attempt = NULL;
    if (!parcel->is_first_used) {
        parcel->is_first_used = true;
        attempt = &parcel->first;
    } else if (parcel->running < PARCEL_ATTEMPTS_MAX) {
        attempt = slab_get(&parcel->delivery->attempts);
    }
    if (attempt == NULL) return NULL;
    attempt_init(attempt, parcel, route, destination);
    list_push_back(&parcel->attempts, &attempt->node);
    parcel->running++;
    return attempt;
}

static struct attempt *find_attempt(struct parcel *parcel, const struct route *route,
                                    struct destination *destination)
{
    const void *target = attempt_target(route, destination);
    struct attempt *attempt;
    LIST_FOR_EACH(attempt, &parcel->attempts, struct attempt, node)
    {
        if (attempt->target == target && attempt->count < ATTEMPT_RECIPIENTS_MAX) return attempt;
    }
    return make_attempt(parcel, route, destination);
}

/* True when the recipient goes to a next hop or into a maildir; false when its result is known now.
 */
static bool needs_attempt(struct parcel *parcel, uint32_t recipient, const struct route *route)
{
    const struct envelope *envelope = &parcel->message->envelope;
    if (route == NULL) {
        attempt_result_at_once(parcel, recipient, NULL, OUTCOME_DEFERRED,
                               SLICE("4.4.4 no route takes this recipient"));
        return false;
    }
    switch (route->config->action) {
    case ACTION_DISCARD:
        attempt_result_at_once(parcel, recipient, route, OUTCOME_DELIVERED,
                               (struct slice){NULL, 0});
        return false;
    case ACTION_REJECT:
        attempt_result_at_once(parcel, recipient, route, OUTCOME_FAILED,
                               slice_of_cstr(route->config->reject_reply));
        return false;
    case ACTION_MAILDIR:
        return true;
    case ACTION_SMTP:
    case ACTION_LMTP:
    case ACTION_MX:
        break;
    }
    bool is_utf8 = envelope->is_utf8;
    if (!client_address_is_clean(envelope->sender, is_utf8) ||
        !client_address_is_clean(envelope->recipients[recipient].address, is_utf8)) {
        attempt_result_at_once(parcel, recipient, route, OUTCOME_FAILED,
                               SLICE("5.1.3 an address holds bytes that cannot be sent"));
        return false;
    }
    return true;
}

/* Where the mail of this recipient's domain goes. False when there is no place for it now, or when
 * the recipient has its result already. */
static bool find_domain(struct parcel *parcel, uint32_t recipient, const struct route *route,
                        struct destination **destination_out)
{
    struct slice address = parcel->message->envelope.recipients[recipient].address;
    const char *at = memrchr(address.data, '@', address.len);
    struct slice domain = at != NULL ? slice_from(address, (size_t)(at + 1 - address.data))
                                     : slice_of_cstr(parcel->delivery->config->node.hostname);
    char bytes[DOMAIN_BYTES_MAX + 1];
    struct buf name = {bytes, 0, sizeof(bytes), false};
    if (domain.len == 0 || domain.data[0] == '[' || !idna_to_ascii(domain, &name)) {
        attempt_result_at_once(parcel, recipient, route, OUTCOME_FAILED,
                               SLICE("5.1.2 mail is not sent to such a domain"));
        return false;
    }
    *destination_out = destination_of_domain(parcel->delivery, route, buf_slice(&name));
    if (*destination_out == NULL) {
        attempt_result_at_once(parcel, recipient, route, OUTCOME_DEFERRED,
                               SLICE("4.3.2 too many destinations are in use"));
    }
    return *destination_out != NULL;
}

static void place_recipient(struct parcel *parcel, uint32_t recipient)
{
    const struct envelope *envelope = &parcel->message->envelope;
    bool is_trusted = envelope->user.len > 0 || envelope->is_own;
    const struct route *route =
        delivery_find_route(parcel->delivery, envelope->recipients[recipient].address, is_trusted);
    if (!needs_attempt(parcel, recipient, route)) return;
    struct destination *destination = route->destination;
    if (route->config->action == ACTION_MX &&
        !find_domain(parcel, recipient, route, &destination)) {
        return;
    }
    struct attempt *attempt = find_attempt(parcel, route, destination);
    if (attempt != NULL) {
        attempt_add(attempt, recipient);
    } else {
        parcel->is_partial = true;
    }
}

static void start_attempts(struct parcel *parcel)
{
    struct attempt *attempt;
    LIST_FOR_EACH(attempt, &parcel->attempts, struct attempt, node)
    {
        if (attempt->destination != NULL) {
            destination_submit(attempt->destination, attempt);
        } else {
            maildirs_submit(&parcel->delivery->maildirs, attempt);
        }
    }
}

static void run_round(struct parcel *parcel)
{
    ASSERT(list_is_empty(&parcel->attempts));
    const struct envelope *envelope = &parcel->message->envelope;
    parcel->running = 1; /* so that attempts that end at once do not end the round */
    if (!parcel->delivery->is_stopping) {
        for (uint32_t i = 0; i < envelope->recipient_count; i++) {
            const struct recipient *recipient = &envelope->recipients[i];
            if (recipient->state == RECIPIENT_QUEUED && recipient->next_ms <= parcel->due_ms) {
                place_recipient(parcel, i);
            }
        }
        start_attempts(parcel);
    }
    parcel->running--;
    step(parcel);
}

void parcel_begin(struct delivery *delivery, struct message *message)
{
    struct parcel *parcel = slab_get(&delivery->parcels);
    if (parcel == NULL) {
        queue_put_back(delivery->queue, message);
        schedule_note(&delivery->schedule, 0);
        return;
    }
    parcel->delivery = delivery;
    parcel->message = message;
    list_init(&parcel->attempts);
    arena_init(&parcel->texts, TEXT_CHUNK_BYTES, PARCEL_TEXT_BYTES_MAX);
    parcel->last_text = parcel->last_host = (struct slice){NULL, 0};
    parcel->settled_due_ms = UINT64_MAX;
    /* The same in every round: what is deferred in one is not for the next. */
    parcel->due_ms = loop_wall_ms(delivery->loop) + PARCEL_DUE_SLACK_MS;
    parcel->running = 0;
    parcel->is_first_used = false;
    parcel->is_partial = false;
    parcel->is_changed = false;
    parcel->has_changed = false;
    parcel->is_writing = false;
    parcel->is_corrupt = false;
    message->owner = parcel;
    run_round(parcel);
}

void parcel_attempt_ended(struct parcel *parcel, struct attempt *attempt)
{
    ASSERT(parcel->running > 0);
    list_remove(&attempt->node);
    if (attempt == &parcel->first) {
        parcel->is_first_used = false;
    } else {
        slab_put(&parcel->delivery->attempts, attempt);
    }
    parcel->running--;
    step(parcel);
}
