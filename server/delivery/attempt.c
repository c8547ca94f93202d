/* attempt.c - results of recipients: what they change, what is counted, what is logged.
 *
 * A deferred recipient whose time is over fails as expired, with the last words of its next hop
 * (RFC 5321 4.5.4.1, RFC 3463 X.4.7). */
#include "server/delivery/attempt.h"

#include "server/delivery/bounce.h"
#include "server/delivery/delivery_internal.h"
#include "server/delivery/destination.h"
#include "server/delivery/parcel.h"
#include "server/delivery/retry.h"

#include <stdlib.h>

struct result {
    struct parcel *parcel;
    uint32_t recipient;
    enum outcome outcome;
    struct slice reply;
    struct delivery_route_counters *route; /* NULL: no route */
    const struct host *host;               /* NULL: none */
    uint64_t duration_ns;
    uint64_t random;
    const char *event;
    bool is_silent; /* nobody got it: there is no success to report */
};

static const char *const outcome_events[] = {
    [OUTCOME_DELIVERED] = "delivered", [OUTCOME_RELAYED] = "delivered",
    [OUTCOME_PASSED_ON] = "delivered", [OUTCOME_DEFERRED] = "deferred",
    [OUTCOME_FAILED] = "failed",
};

static void log_result(const struct result *result)
{
    if (!log_begin(LOG_INFO, result->event)) return;
    const struct message *message = result->parcel->message;
    const struct recipient *recipient = &message->envelope.recipients[result->recipient];
    char id[MESSAGE_ID_TEXT];
    message_id_write(message->id, id);
    log_slice("id", slice_of(id, sizeof(id)));
    log_slice("sender", message->envelope.sender);
    log_slice("recipient", recipient->address);
    if (result->route != NULL) log_str("route", result->route->name);
    if (result->host != NULL) log_str("host", result->host->text);
    log_u64("attempt", recipient->attempts);
    if (result->reply.len > 0) log_slice("reply", result->reply);
    log_seconds("duration", result->duration_ns);
    uint64_t wall_ms = loop_wall_ms(result->parcel->delivery->loop);
    uint64_t received_ms = message->envelope.received_ms;
    log_seconds("delay", wall_ms > received_ms ? (wall_ms - received_ms) * NS_PER_MS : 0);
    log_u64("size", message->body_bytes);
    log_end();
}

static void count_result(const struct result *result)
{
    struct delivery_counters *all = &result->parcel->delivery->counters;
    struct delivery_route_counters *route = result->route;
    switch (result->outcome) {
    case OUTCOME_DELIVERED:
    case OUTCOME_RELAYED:
    case OUTCOME_PASSED_ON:
        counter_add(&all->attempts_delivered, 1);
        if (route != NULL) counter_add(&route->delivered, 1);
        break;
    case OUTCOME_DEFERRED:
        counter_add(&all->attempts_deferred, 1);
        if (route != NULL) counter_add(&route->deferred, 1);
        break;
    default:
        counter_add(&all->attempts_failed, 1);
        if (route != NULL) counter_add(&route->failed, 1);
        break;
    }
}

static bool is_expired(const struct parcel *parcel)
{
    const struct delivery *delivery = parcel->delivery;
    uint64_t expire_ms =
        parcel->message->envelope.received_ms + delivery->config->delivery.retry.expire_ms;
    return loop_wall_ms(delivery->loop) >= expire_ms;
}

/* Its time is over: the last words stay. */
static void expire(struct result *result, struct recipient *recipient)
{
    char text[MESSAGE_REPLY_BYTES_MAX];
    struct buf words = {text, 0, sizeof(text), false};
    buf_append_cstr(&words, "4.4.7 expired; last: ");
    buf_append(&words, result->reply.data, MIN(result->reply.len, buf_room(&words)));
    recipient->state = RECIPIENT_FAILED;
    recipient->reply = parcel_keep_text(result->parcel, buf_slice(&words));
    recipient->next_ms = 0;
    result->outcome = OUTCOME_FAILED;
    result->event = "expired";
    result->reply = recipient->reply;
    counter_add(&result->parcel->delivery->counters.attempts_expired, 1);
}

/* Sets the time of the next attempt, or fails the recipient when there can be none. */
static void defer(struct result *result, struct recipient *recipient)
{
    struct delivery *delivery = result->parcel->delivery;
    const struct config *config = delivery->config;
    uint64_t now_ms = loop_wall_ms(delivery->loop);
    uint64_t expire_ms =
        result->parcel->message->envelope.received_ms + config->delivery.retry.expire_ms;
    if (is_expired(result->parcel)) {
        expire(result, recipient);
        return;
    }
    struct retry_policy policy = {
        .first_ms = config->delivery.retry.first_ms,
        .max_ms = config->delivery.retry.max_ms,
        .factor_percent = config->delivery.retry.factor_percent,
        .jitter_percent = config->delivery.retry.jitter_percent,
    };
    uint64_t next_ms = now_ms + retry_delay_ms(&policy, recipient->attempts, result->random);
    recipient->next_ms = MIN(next_ms, expire_ms);
    recipient->reply = parcel_keep_text(result->parcel, result->reply);
}

/* What the sender is to be told of this result, as far as it asked. */
static enum recipient_report report_of(const struct result *result)
{
    const struct delivery *delivery = result->parcel->delivery;
    uint64_t warn_ms = delivery->config->delivery.retry.warn_after_ms;
    uint64_t received_ms = result->parcel->message->envelope.received_ms;
    switch (result->outcome) {
    case OUTCOME_DELIVERED:
        return result->is_silent ? REPORT_NONE : REPORT_DELIVERED;
    case OUTCOME_RELAYED:
        return REPORT_RELAYED;
    case OUTCOME_FAILED:
        return result->event != NULL && strcmp(result->event, "expired") == 0 ? REPORT_EXPIRED
                                                                              : REPORT_FAILED;
    case OUTCOME_DEFERRED:
    case OUTCOME_POSTPONED:
        return warn_ms > 0 && loop_wall_ms(delivery->loop) >= received_ms + warn_ms ? REPORT_DELAYED
                                                                                    : REPORT_NONE;
    default:
        return REPORT_NONE;
    }
}

static void note_report(const struct result *result, struct recipient *recipient)
{
    enum recipient_report report = report_of(result);
    if (report == REPORT_NONE) return;
    const struct message *message = result->parcel->message;
    recipient->report = bounce_report_wanted(&message->envelope, recipient, report);
    bool has_failed = report == REPORT_FAILED || report == REPORT_EXPIRED;
    if (recipient->report == REPORT_NONE && has_failed)
        bounce_note_silence(result->parcel->delivery->bounces, message, recipient);
    if (recipient->report == REPORT_NONE || result->host == NULL) return;
    recipient->host = parcel_keep_host(result->parcel, slice_of_cstr(result->host->text));
}

static void fail(struct result *result, struct recipient *recipient)
{
    recipient->state = RECIPIENT_FAILED;
    recipient->reply = parcel_keep_text(result->parcel, result->reply);
    recipient->next_ms = 0;
}

static void succeed(struct result *result, struct recipient *recipient)
{
    recipient->state = RECIPIENT_DELIVERED;
    recipient->next_ms = 0;
    recipient->reply = (struct slice){NULL, 0};
    /* The words of who took it belong into a report of success. */
    if (recipient->notify & DSN_NOTIFY_SUCCESS)
        recipient->reply = parcel_keep_text(result->parcel, result->reply);
}

static void apply(struct result *result)
{
    struct parcel *parcel = result->parcel;
    struct recipient *recipient = &parcel->message->envelope.recipients[result->recipient];
    ASSERT(recipient->state == RECIPIENT_QUEUED);
    ASSERT(result->outcome != OUTCOME_NONE && result->outcome != OUTCOME_POSTPONED);
    if (recipient->attempts < UINT32_MAX) recipient->attempts++;

    if (result->outcome == OUTCOME_DEFERRED) {
        defer(result, recipient);
    } else if (result->outcome == OUTCOME_FAILED) {
        fail(result, recipient);
    } else {
        succeed(result, recipient);
    }
    note_report(result, recipient);
    if (result->event == NULL) result->event = outcome_events[result->outcome];
    parcel->is_changed = true;
    parcel->has_changed = true;
    count_result(result);
    log_result(result);
}

/* Nobody was asked: nothing is counted, and nothing is logged but the end of its time. */
static void apply_postponed(struct result *result, uint64_t next_ms)
{
    struct parcel *parcel = result->parcel;
    struct recipient *recipient = &parcel->message->envelope.recipients[result->recipient];
    if (is_expired(parcel)) {
        expire(result, recipient);
        count_result(result);
        log_result(result);
    } else {
        const struct config *config = parcel->delivery->config;
        uint64_t expire_ms =
            parcel->message->envelope.received_ms + config->delivery.retry.expire_ms;
        recipient->next_ms = MIN(next_ms, expire_ms);
        if (recipient->reply.len == 0) recipient->reply = parcel_keep_text(parcel, result->reply);
    }
    note_report(result, recipient);
    parcel->is_changed = true;
    parcel->has_changed = true;
}

const void *attempt_target(const struct route *route, const struct destination *destination)
{
    return destination != NULL ? (const void *)destination : route->config;
}

void attempt_init(struct attempt *attempt, struct parcel *parcel, const struct route *route,
                  struct destination *destination)
{
    struct delivery *delivery = parcel->delivery;
    list_init(&attempt->node);
    list_init(&attempt->wait);
    attempt->parcel = parcel;
    attempt->route = route->counters;
    attempt->destination = destination;
    attempt->target = attempt_target(route, destination);
    attempt->maildir_template =
        route->config->action == ACTION_MAILDIR ? xstrdup(route->config->maildir_path) : NULL;
    attempt->started_ns = loop_now_ns(delivery->loop);
    attempt->random = retry_jitter_random(&delivery->jitter, loop_wall_ms(delivery->loop));
    attempt->count = 0;
    attempt->undecided = 0;
    attempt->is_retried = false;
}

void attempt_add(struct attempt *attempt, uint32_t recipient)
{
    ASSERT(attempt->count < ATTEMPT_RECIPIENTS_MAX);
    attempt->recipients[attempt->count] = recipient;
    attempt->outcomes[attempt->count] = OUTCOME_NONE;
    attempt->count++;
    attempt->undecided++;
}

struct message *attempt_message(const struct attempt *attempt)
{
    return attempt->parcel->message;
}

struct recipient *attempt_recipient(const struct attempt *attempt, uint32_t at)
{
    ASSERT(at < attempt->count);
    return &attempt->parcel->message->envelope.recipients[attempt->recipients[at]];
}

void attempt_result(struct attempt *attempt, uint32_t at, enum outcome outcome, struct slice reply,
                    const struct host *host)
{
    ASSERT(at < attempt->count);
    ASSERT(attempt->outcomes[at] == OUTCOME_NONE);
    struct result result = {
        .parcel = attempt->parcel,
        .recipient = attempt->recipients[at],
        .outcome = outcome,
        .reply = reply,
        .route = attempt->route,
        .host = host,
        .duration_ns = loop_now_ns(attempt->parcel->delivery->loop) - attempt->started_ns,
        .random = attempt->random,
    };
    apply(&result);
    attempt->outcomes[at] = (uint8_t)outcome;
    attempt->undecided--;
}

void attempt_result_rest(struct attempt *attempt, enum outcome outcome, struct slice reply,
                         const struct host *host)
{
    for (uint32_t at = 0; at < attempt->count && attempt->undecided > 0; at++) {
        if (attempt->outcomes[at] == OUTCOME_NONE) {
            attempt_result(attempt, at, outcome, reply, host);
        }
    }
}

void attempt_postpone_rest(struct attempt *attempt, uint64_t next_ms, struct slice reason)
{
    for (uint32_t at = 0; at < attempt->count && attempt->undecided > 0; at++) {
        if (attempt->outcomes[at] != OUTCOME_NONE) continue;
        struct result result = {
            .parcel = attempt->parcel,
            .recipient = attempt->recipients[at],
            .outcome = OUTCOME_POSTPONED,
            .reply = reason,
            .route = attempt->route,
        };
        apply_postponed(&result, next_ms);
        attempt->outcomes[at] = OUTCOME_POSTPONED;
        attempt->undecided--;
    }
}

void attempt_bring_forward(struct attempt *attempt, uint32_t from, uint32_t to)
{
    ASSERT(to <= from && from < attempt->count);
    uint32_t recipient = attempt->recipients[from];
    uint8_t outcome = attempt->outcomes[from];
    for (uint32_t at = from; at > to; at--) {
        attempt->recipients[at] = attempt->recipients[at - 1];
        attempt->outcomes[at] = attempt->outcomes[at - 1];
    }
    attempt->recipients[to] = recipient;
    attempt->outcomes[to] = outcome;
}

void attempt_put_off_rest(struct attempt *attempt)
{
    if (attempt->undecided > 0) attempt->parcel->is_partial = true;
}

void attempt_end(struct attempt *attempt)
{
    struct delivery *delivery = attempt->parcel->delivery;
    ASSERT(list_is_empty(&attempt->wait));
    histogram_add(&delivery->counters.attempt_duration,
                  loop_now_ns(delivery->loop) - attempt->started_ns);
    if (attempt->destination != NULL) destination_count_ended(attempt->destination);
    free(attempt->maildir_template);
    attempt->maildir_template = NULL;
    parcel_attempt_ended(attempt->parcel, attempt);
}

void attempt_result_at_once(struct parcel *parcel, uint32_t recipient, const struct route *route,
                            enum outcome outcome, struct slice reply)
{
    struct result result = {
        .parcel = parcel,
        .recipient = recipient,
        .outcome = outcome,
        .reply = reply,
        .route = route != NULL ? route->counters : NULL,
        .random =
            retry_jitter_random(&parcel->delivery->jitter, loop_wall_ms(parcel->delivery->loop)),
    };
    if (route != NULL && route->config->action == ACTION_DISCARD) {
        result.event = "discarded";
        result.is_silent = true;
    }
    apply(&result);
}
