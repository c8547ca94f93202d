/* cmd_auth.c - AUTH (RFC 4954): when it is possible, the lines of an exchange, and what comes of
 * it.
 *
 * The happy path: AUTH begins an exchange (server/auth/exchange.h); its challenges and the client's
 * lines go to and fro in [auth]; a password goes to the verifier in [verify] and comes back as a
 * mail; 235, and the session has a user. Before anything is compared the throttle is asked, and
 * what came of it is told to it. Every exchange is new: nothing of a failed one is used again.
 *
 * Runs on the core of the session, but for check(). Lines of a client are wiped once they are used;
 * what is kept of them is in memory of its own (vault.h). No credential is logged. */
#include "server/ingress/session.h"

#include "server/auth/exchange.h"
#include "server/auth/throttle.h"
#include "server/auth/vault.h"
#include "server/auth/verifier.h"

#include <openssl/crypto.h>
#include <stdlib.h>

struct session_auth {
    struct session *session;
    struct verify_job job;
    enum exchange_status checked; /* what check() found */
    uint32_t skipped;             /* bytes of a line that is too long */
    bool is_in_flight;            /* the job belongs to the verifier */
    bool is_admitted;             /* the throttle let the user in */
    struct exchange exchange;
};

static void advance(struct session *s, enum exchange_status status);

/* --- what is possible --- */

static const struct users *users_of(const struct session *s)
{
    return s->ingress->options.security[s->listener_index].users;
}

static bool is_allowed_here(const struct session *s)
{
    return conn_is_secured(&s->conn) || session_config(s)->auth.is_plain_allowed;
}

static bool is_offered(const struct session *s, enum auth_mechanism mechanism)
{
    return (session_config(s)->auth.mechanisms & BIT(mechanism)) != 0 &&
           exchange_is_of_use(users_of(s), mechanism);
}

void auth_write_offer(const struct session *s, struct buf *out)
{
    if (users_of(s) == NULL || !is_allowed_here(s)) return;
    bool is_first = true;
    for (unsigned i = 0; i < AUTH_MECHANISM_COUNT; i++) {
        if (!is_offered(s, (enum auth_mechanism)i)) continue;
        buf_append_cstr(out, is_first ? "250-AUTH " : " ");
        buf_append_cstr(out, exchange_mechanism_name((enum auth_mechanism)i));
        is_first = false;
    }
    if (!is_first) buf_append_cstr(out, "\r\n");
}

/* --- the end of an exchange --- */

static void log_outcome(const struct session *s, const char *event, const char *reason)
{
    if (!session_log(s, LOG_INFO, event)) return;
    struct slice name = exchange_name(&s->auth->exchange);
    if (name.len > 0) log_slice("user", name);
    log_str("mechanism", exchange_mechanism_name(s->auth->exchange.mechanism));
    log_str("reason", reason);
    log_end();
}

static void count(struct session *s, enum ingress_auth_result result)
{
    counter_add(&session_counters(s)->auth[result], 1);
}

void auth_drop(struct session *s)
{
    if (s->auth == NULL || s->auth->is_in_flight) return;
    exchange_finish(&s->auth->exchange);
    vault_free(s->auth, sizeof(*s->auth));
    s->auth = NULL;
}

bool auth_is_in_flight(const struct session *s)
{
    return s->auth != NULL && s->auth->is_in_flight;
}

/* The session goes on without the exchange. */
static void leave(struct session *s)
{
    auth_drop(s);
    if (s->state != SESSION_COMMAND) session_go(s, SESSION_COMMAND);
}

static void end_undecided(struct session *s, enum reply_id id, const char *reason)
{
    count(s, INGRESS_AUTH_ERROR);
    log_outcome(s, "auth_ended", reason);
    leave(s);
    session_reply(s, id);
}

static void end_throttled(struct session *s)
{
    count(s, INGRESS_AUTH_THROTTLED);
    log_outcome(s, "auth_failed", "too many failures of this client or user");
    leave(s);
    session_end(s, REPLY_AUTH_THROTTLED);
}

static void end_failed(struct session *s)
{
    uint64_t failures_max = MAX(session_config(s)->limits.auth_failures, 1u);
    auth_throttle_failed(s->ingress->options.shared->throttle, &s->peer,
                         exchange_name(&s->auth->exchange), failures_max,
                         loop_now_ns(s->conn.host->loop));
    count(s, INGRESS_AUTH_FAILED);
    log_outcome(s, "auth_failed", "credentials");
    leave(s);
    if (s->auth_failures < UINT8_MAX) s->auth_failures++;
    if (s->auth_failures >= failures_max)
        session_end(s, REPLY_AUTH_THROTTLED);
    else
        session_reply(s, REPLY_AUTH_FAILED);
}

static void end_well(struct session *s)
{
    struct slice name = exchange_name(&s->auth->exchange);
    if (!auth_throttle_succeeded(s->ingress->options.shared->throttle, &s->peer, name,
                                 loop_now_ns(s->conn.host->loop))) {
        end_throttled(s);
        return;
    }
    ASSERT(s->user == NULL);
    s->user = slice_to_cstr(name);
    conn_wipe_input(&s->conn, false);
    count(s, INGRESS_AUTH_OK);
    log_outcome(s, "authenticated", NULL);
    leave(s);
    session_reply(s, REPLY_AUTH_OK);
}

/* --- the verifier --- */

/* On a thread of the verifier. */
static void check(struct verify_job *job)
{
    struct session_auth *auth = CONTAINER_OF(job, struct session_auth, job);
    auth->checked = exchange_check(&auth->exchange);
}

/* On the core again. The session was kept, but its connection may have ended. */
static void on_checked(struct mail *mail)
{
    struct verify_job *job = CONTAINER_OF(mail, struct verify_job, mail);
    struct session_auth *auth = CONTAINER_OF(job, struct session_auth, job);
    struct session *s = auth->session;
    ASSERT(s->auth == auth && auth->is_in_flight);
    auth->is_in_flight = false;
    s->reply_to = VERB_AUTH;
    if (s->state != SESSION_VERIFY) {
        auth_drop(s);
    } else if (conn_has_kept(&s->conn)) {
        /* Sent before it could know whether it is somebody (RFC 4954 section 4). */
        leave(s);
        session_end(s, REPLY_NOT_SYNCHRONIZED);
    } else {
        advance(s, job->is_dropped ? EXCHANGE_ERROR : auth->checked);
    }
    session_wait_over(s);
}

static void submit(struct session *s)
{
    struct session_auth *auth = s->auth;
    auth->job = (struct verify_job){
        .mail.deliver = on_checked,
        .reply_to = mailbox_of(s->conn.host->loop),
        .run = check,
    };
    auth->is_in_flight = true;
    if (auth_verifier_submit(s->ingress->options.shared->verifier, &auth->job)) {
        session_go(s, SESSION_VERIFY);
        return;
    }
    auth->is_in_flight = false;
    advance(s, EXCHANGE_ERROR);
}

/* --- the steps --- */

/* Asks the throttle once, as soon as the client has said who it is. */
static bool is_admitted(struct session *s)
{
    struct session_auth *auth = s->auth;
    struct slice name = exchange_name(&auth->exchange);
    if (!auth->is_admitted && name.len > 0)
        auth->is_admitted = auth_throttle_admits(s->ingress->options.shared->throttle, &s->peer,
                                                 name, loop_now_ns(s->conn.host->loop));
    return auth->is_admitted || name.len == 0;
}

static void write_challenge(struct session *s)
{
    char text[EXCHANGE_CHALLENGE_BYTES_MAX + 8];
    struct buf line = {text, 0, sizeof(text), false};
    buf_append_cstr(&line, "334 ");
    buf_append_slice(&line, exchange_challenge(&s->auth->exchange));
    buf_append_cstr(&line, "\r\n");
    ASSERT(!line.is_short);
    if (s->state != SESSION_AUTH) session_go(s, SESSION_AUTH);
    session_reply_text(s, 334, buf_slice(&line));
}

static void advance(struct session *s, enum exchange_status status)
{
    if (!is_admitted(s)) {
        end_throttled(s);
        return;
    }
    switch (status) {
    case EXCHANGE_CONTINUE:
        write_challenge(s);
        break;
    case EXCHANGE_CHECK:
        if (exchange_is_slow(&s->auth->exchange))
            submit(s);
        else
            advance(s, exchange_check(&s->auth->exchange));
        break;
    case EXCHANGE_OK:
        end_well(s);
        break;
    case EXCHANGE_FAILED:
        end_failed(s);
        break;
    case EXCHANGE_MALFORMED:
        end_undecided(s, REPLY_AUTH_BAD_DATA, "malformed");
        break;
    case EXCHANGE_CANCELED:
        end_undecided(s, REPLY_AUTH_CANCELED, "canceled");
        break;
    case EXCHANGE_ERROR:
        end_undecided(s, REPLY_AUTH_TEMPORARY, "out of resources");
        break;
    }
}

/* Input is shown in memory that is ours to use again: what was said in it is not left there. */
static void wipe(struct slice used)
{
    if (used.len > 0) OPENSSL_cleanse((char *)(uintptr_t)used.data, used.len);
}

/* --- the command --- */

/* Why AUTH is not possible now; REPLY_NONE: it is. */
static enum reply_id refusal_of(const struct session *s)
{
    if (users_of(s) == NULL) return REPLY_NOT_IMPLEMENTED;
    if (s->helo == NULL || !s->is_esmtp) return REPLY_NEED_HELO;
    if (s->user != NULL || s->txn != NULL) return REPLY_AUTH_DONE;
    return is_allowed_here(s) ? REPLY_NONE : REPLY_AUTH_NEEDS_TLS;
}

static struct slice next_word(struct slice *in)
{
    const char *blank = in->len > 0 ? memchr(in->data, ' ', in->len) : NULL;
    struct slice word = slice_of(in->data, blank != NULL ? (size_t)(blank - in->data) : in->len);
    *in = slice_trim(slice_from(*in, word.len));
    return word;
}

/* AUTH mechanism [initial-response] */
static void begin(struct session *s, struct slice args)
{
    struct slice name = next_word(&args), initial = next_word(&args);
    enum auth_mechanism mechanism;
    if (name.len == 0 || args.len > 0) {
        session_reply(s, REPLY_BAD_ARGUMENT);
        return;
    }
    if (!exchange_mechanism_parse(name, &mechanism) || !is_offered(s, mechanism)) {
        session_reply(s, REPLY_AUTH_UNKNOWN);
        return;
    }
    ASSERT(s->auth == NULL);
    s->auth = vault_alloc(sizeof(*s->auth));
    if (s->auth == NULL) {
        count(s, INGRESS_AUTH_ERROR);
        session_reply(s, REPLY_AUTH_TEMPORARY);
        return;
    }
    s->auth->session = s;
    struct slice hostname = slice_of_cstr(s->ingress->options.config->node.hostname);
    advance(s, exchange_begin(&s->auth->exchange, users_of(s), mechanism, hostname,
                              initial.len > 0 ? &initial : NULL));
}

void cmd_auth(struct session *s, const struct command *command)
{
    enum reply_id refusal = refusal_of(s);
    if (refusal == REPLY_NONE)
        begin(s, command->args);
    else
        session_reply(s, refusal);
    wipe(command->args);
}

/* --- [auth] --- */

/* No CRLF yet. A line that grows too long is dropped up to its end. */
static size_t wait_for_line(struct session *s, struct slice in)
{
    struct session_auth *auth = s->auth;
    if (auth->skipped == 0 && in.len < EXCHANGE_RESPONSE_BYTES_MAX + 2) return 0;
    size_t taken = in.data[in.len - 1] == '\r' ? in.len - 1 : in.len;
    auth->skipped += (uint32_t)taken;
    wipe(slice_of(in.data, taken));
    if (auth->skipped >= COMMAND_ENDLESS_BYTES_MAX) session_end(s, REPLY_LINE_ENDLESS);
    return taken;
}

size_t auth_input(struct session *s, struct slice in)
{
    ASSERT(s->auth != NULL && !s->auth->is_in_flight);
    if (conn_output_room(&s->conn) < SESSION_OUTPUT_ROOM_MIN) return 0; /* on_sent() goes on */
    s->reply_to = VERB_AUTH;
    const char *end = memmem(in.data, in.len, "\r\n", 2);
    if (end == NULL) return wait_for_line(s, in);
    struct slice line = slice_of(in.data, (size_t)(end - in.data));
    size_t taken = line.len + 2;
    s->started_ns = s->input_ns; /* the next line has its whole time */
    if (taken < in.len) {
        session_end(s, REPLY_NOT_SYNCHRONIZED); /* nothing may follow before our answer */
        wipe(in);
        return in.len;
    }
    if (s->auth->skipped > 0 || line.len > EXCHANGE_RESPONSE_BYTES_MAX)
        end_undecided(s, REPLY_AUTH_TOO_LONG, "response is too long");
    else
        advance(s, exchange_step(&s->auth->exchange, line));
    wipe(slice_of(in.data, taken));
    return taken;
}
