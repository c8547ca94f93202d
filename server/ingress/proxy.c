/* proxy.c - the state of a session before its first byte of SMTP or TLS: a balancer's header.
 *
 * The happy path: the header comes in one piece and is read where it lies; the session's client
 * becomes the one it names, is counted against its limit, and the banner or the handshake follows.
 * A header that comes in pieces is taken as it comes, so that a long one is never kept.
 *
 * How it fails: without a banner, in order, and with one line in the log. A balancer that connects
 * and says nothing looks whether the port is open: that is counted, and logged at debug only. */
#include "server/ingress/forwarded.h"
#include "server/ingress/session.h"

#include <stdlib.h>

bool proxy_is_expected(const struct config_listener *config, const struct endpoint *peer,
                       bool *is_refused_out)
{
    const struct config_networks *from = &config->proxy_protocol.from;
    bool is_listed = networks_contain(from, peer);
    *is_refused_out = from->count > 0 && !is_listed;
    return is_listed;
}

/* --- the ends without a banner --- */

static void count_refused(struct session *s, const char *reason)
{
    counter_add(&session_counters(s)->proxy_refused, 1);
    if (!session_log(s, LOG_INFO, "proxy_refused")) return;
    log_str("reason", reason);
    log_end();
}

/* FIN and not RST: the balancer can tell that it was refused from that it was cut off. */
static void refuse(struct session *s, const char *reason)
{
    count_refused(s, reason);
    session_go(s, SESSION_CLOSING);
    session_arm(s, SESSION_CLOSING_MS);
    conn_finish(&s->conn);
}

static bool has_begun(const struct session *s)
{
    return s->forwarded != NULL && s->forwarded->proxy != NULL;
}

void proxy_timeout(struct session *s)
{
    refuse(s, has_begun(s) ? "the header was not whole in time" : "no header came in time");
}

static void count_probe(struct session *s, const char *kind)
{
    counter_add(&session_counters(s)->probes, 1);
    if (!session_log(s, LOG_DEBUG, "proxy_probe")) return;
    log_str("kind", kind);
    log_end();
}

void proxy_ended(struct session *s)
{
    if (has_begun(s))
        count_refused(s, "the connection ended inside of the header");
    else
        count_probe(s, "connect");
    session_abort(s);
}

/* --- a good header --- */

static void log_text_of(const char *key, const struct proxy_header *header, enum proxy_text text)
{
    struct slice value = proxy_text(header, text);
    if (value.len > 0) log_slice(key, value);
}

static bool has_texts(const struct proxy_header *header)
{
    for (unsigned i = 0; i < PROXY_TEXT_COUNT; i++) {
        if (header->text_lens[i] > 0) return true;
    }
    return header->has_tls;
}

/* Worth a line at info only when it says more than the lines about the session's messages will. */
static void log_header(const struct session *s, const struct proxy_header *header,
                       const struct endpoint *proxy)
{
    if (!session_log(s, has_texts(header) ? LOG_INFO : LOG_DEBUG, "proxy")) return;
    char text[ENDPOINT_TEXT_MAX];
    struct buf name = {text, 0, sizeof(text), false};
    endpoint_write(proxy, &name);
    log_slice("proxy", buf_slice(&name));
    log_u64("version", header->version);
    log_text_of("unique_id", header, PROXY_UNIQUE_ID);
    log_text_of("authority", header, PROXY_AUTHORITY);
    log_text_of("proxy_tls", header, PROXY_TLS_VERSION);
    log_text_of("proxy_cipher", header, PROXY_TLS_CIPHER);
    log_text_of("client_name", header, PROXY_CLIENT_NAME);
    if (header->has_certificate) log_str("client_verified", header->is_verified ? "ok" : "no");
    log_end();
}

static bool is_implicit_tls(const struct session *s)
{
    return session_config(s)->tls.mode == LISTENER_TLS_IMPLICIT;
}

/* A client above its limit is told so in the banner's place; under implicit TLS, where nothing can
 * be said before the handshake, the connection just ends. A probe has no client to be counted. */
static void go_on(struct session *s)
{
    if (is_implicit_tls(s)) {
        if (!s->is_probe && !session_count_client(s)) return;
        session_start_tls(s, CONN_BEFORE_TLS_IS_TLS);
        return;
    }
    session_greet(s);
    s->reply_to = REPLY_TO_CONNECT;
    if (s->is_probe || session_count_client(s)) return;
}

static void accept_header(struct session *s, const struct proxy_header *header)
{
    s->is_probe = header->is_probe;
    if (header->is_probe) {
        count_probe(s, "header");
    } else {
        struct endpoint proxy = s->peer;
        s->peer = header->source;
        log_header(s, header, &proxy);
    }
    go_on(s);
}

/* --- input --- */

/* The first piece did not end the header: what was read so far must outlive this call. */
static bool keep_reader(struct session *s, const struct proxy_reader *reader)
{
    struct forwarded *forwarded = forwarded_of(s);
    if (forwarded == NULL) return false;
    forwarded->proxy = malloc(sizeof(*reader));
    if (forwarded->proxy == NULL) return false;
    *forwarded->proxy = *reader;
    return true;
}

static void drop_reader(struct session *s)
{
    forwarded_free(s->forwarded);
    s->forwarded = NULL;
}

size_t proxy_input(struct session *s, struct slice in)
{
    struct proxy_reader reader;
    if (has_begun(s))
        reader = *s->forwarded->proxy;
    else
        proxy_reader_init(&reader);
    size_t taken;
    enum proxy_status status = proxy_read(&reader, in, &taken);
    if (status == PROXY_MORE && has_begun(s)) {
        *s->forwarded->proxy = reader;
        return taken;
    }
    if (status == PROXY_MORE && keep_reader(s, &reader)) return taken;
    drop_reader(s);
    if (status == PROXY_OK) {
        accept_header(s, &reader.header);
        return taken;
    }
    refuse(s, status == PROXY_BAD ? reader.why : "there is no memory for it");
    return in.len;
}
