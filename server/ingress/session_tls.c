/* session_tls.c - TLS under a session: STARTTLS (RFC 3207), TLS from the first byte (RFC 8314 3.3),
 * and the limit on handshakes that are under way at the same time. */
#include "server/ingress/session.h"

static uint64_t *handshakes_of(struct session *s)
{
    return &s->ingress->options.shared->listener_handshakes[s->listener_index];
}

static bool handshake_count(struct session *s)
{
    uint64_t limit = session_config(s)->limits.handshakes;
    if (__atomic_fetch_add(handshakes_of(s), 1, __ATOMIC_RELAXED) >= limit) {
        __atomic_fetch_sub(handshakes_of(s), 1, __ATOMIC_RELAXED);
        return false;
    }
    s->is_handshake_counted = true;
    return true;
}

void tls_uncount(struct session *s)
{
    if (s->is_handshake_counted) __atomic_fetch_sub(handshakes_of(s), 1, __ATOMIC_RELAXED);
    s->is_handshake_counted = false;
}

static void count_result(struct session *s, const struct tls_info *info,
                         enum ingress_tls_result result)
{
    enum ingress_tls_version version = INGRESS_TLS_UNKNOWN;
    if (slice_eq(slice_of_cstr(info->version), SLICE("TLSv1.2"))) version = INGRESS_TLS_1_2;
    if (slice_eq(slice_of_cstr(info->version), SLICE("TLSv1.3"))) version = INGRESS_TLS_1_3;
    counter_add(&session_counters(s)->handshakes[version][result], 1);
}

void tls_failed(struct session *s, const char *why)
{
    tls_uncount(s);
    counter_add(&session_counters(s)->handshakes[INGRESS_TLS_UNKNOWN][INGRESS_TLS_FAILED], 1);
    if (!session_log(s, LOG_INFO, "tls_failed")) return;
    log_str("reason", why != NULL ? why : "the client ended the connection");
    log_end();
}

/* The parts that somebody who looks into one connection wants to know. */
static void log_secured(const struct session *s, const struct tls_info *info)
{
    enum log_level level = info->peer_subject != NULL ? LOG_INFO : LOG_DEBUG;
    if (!session_log(s, level, "tls")) return;
    log_str("cipher", info->cipher);
    if (info->server_name != NULL) log_str("server_name", info->server_name);
    log_str("handshake", info->is_resumed ? "resumed" : "full");
    if (info->peer_subject != NULL) {
        log_str("client_subject", info->peer_subject);
        log_str("client_verified", info->is_peer_verified ? "ok" : info->verify_text);
    }
    log_end();
}

void tls_secured(struct session *s)
{
    struct tls_info info;
    bool has_info = conn_tls_info(&s->conn, &info);
    ASSERT(has_info);
    tls_uncount(s);
    count_result(s, &info, info.is_resumed ? INGRESS_TLS_RESUMED : INGRESS_TLS_FULL);
    log_secured(s, &info);
    if (s->state != SESSION_HANDSHAKE) return; /* it is closing */
    if (!s->is_greeted) {
        session_greet(s);
        return;
    }
    session_go(s, SESSION_COMMAND);
    session_arm(s, session_timer_period_ms(s));
}

void session_start_tls(struct session *s, enum conn_before_tls before)
{
    struct tls_context *context = s->ingress->options.security[s->listener_index].tls;
    bool is_counted = s->is_handshake_counted || handshake_count(s);
    session_forget(s);
    conn_wipe_input(&s->conn, s->ingress->options.security[s->listener_index].users != NULL);
    session_go(s, SESSION_HANDSHAKE);
    session_arm(s, session_config(s)->timeouts.handshake_ms);
    if (!is_counted)
        tls_failed(s, "too many handshakes at the same time");
    else if (context == NULL)
        tls_failed(s, "the listener has no TLS any more");
    else if (conn_start_tls(&s->conn, context, NULL, before) != 0)
        tls_failed(s, "out of memory");
    else
        return;
    session_abort(s);
}

void cmd_starttls(struct session *s, const struct command *command)
{
    enum reply_id bad = REPLY_NONE;
    if (!session_has_starttls(s) && !conn_is_secured(&s->conn))
        bad = REPLY_NOT_IMPLEMENTED;
    else if (command->args.len > 0)
        bad = REPLY_NO_ARGUMENT;
    else if (conn_is_secured(&s->conn))
        bad = REPLY_TLS_ACTIVE;
    else if (s->txn != NULL)
        bad = REPLY_TLS_IN_TRANSACTION;
    else if (!handshake_count(s))
        bad = REPLY_TLS_BUSY;
    session_reply(s, bad != REPLY_NONE ? bad : REPLY_TLS_READY);
    if (bad == REPLY_NONE && !s->is_aborted) session_start_tls(s, CONN_BEFORE_TLS_REFUSE);
}
