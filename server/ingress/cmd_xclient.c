/* cmd_xclient.c - XCLIENT and XFORWARD (Postfix's XCLIENT_README and XFORWARD_README), for peers
 * that the listener lists: a filter or a proxy that speaks SMTP tells of the client behind it.
 *
 * XCLIENT makes the session that client's: its address, with the limits that hold for it, and its
 * user; all that was said before is forgotten, and the banner comes again. XFORWARD is for the log
 * alone and ends with the transaction. What a peer may do hangs on its address before the first
 * XCLIENT, so that nobody can claim to be a listed peer. */
#include "server/ingress/forwarded.h"
#include "server/ingress/session.h"

#include <stdlib.h>

struct forwarded *forwarded_of(struct session *s)
{
    if (s->forwarded == NULL) s->forwarded = calloc(1, sizeof(*s->forwarded));
    return s->forwarded;
}

static void drop_texts(char *texts[XCLIENT_ATTRIBUTE_COUNT])
{
    for (unsigned i = 0; i < XCLIENT_ATTRIBUTE_COUNT; i++) {
        free(texts[i]);
        texts[i] = NULL;
    }
}

void forwarded_reset(struct forwarded *forwarded)
{
    if (forwarded != NULL) drop_texts(forwarded->upstream);
}

void forwarded_free(struct forwarded *forwarded)
{
    if (forwarded == NULL) return;
    drop_texts(forwarded->client);
    drop_texts(forwarded->upstream);
    free(forwarded->proxy);
    free(forwarded);
}

struct slice forwarded_helo(const struct session *s)
{
    const char *helo = s->helo;
    if (s->forwarded != NULL && s->forwarded->client[XCLIENT_HELO] != NULL)
        helo = s->forwarded->client[XCLIENT_HELO];
    return helo != NULL ? slice_of_cstr(helo) : SLICE("");
}

/* --- the log --- */

/* Keys of what XCLIENT said; its address and user are the session's own by then. */
static const char *const client_keys[XCLIENT_ATTRIBUTE_COUNT] = {
    [XCLIENT_NAME] = "client_name",         [XCLIENT_PROTO] = "client_proto",
    [XCLIENT_HELO] = "client_helo",         [XCLIENT_DESTADDR] = "client_destaddr",
    [XCLIENT_DESTPORT] = "client_destport",
};
static const char *const upstream_keys[XCLIENT_ATTRIBUTE_COUNT] = {
    [XCLIENT_NAME] = "forwarded_name",     [XCLIENT_ADDR] = "forwarded_addr",
    [XCLIENT_PORT] = "forwarded_port",     [XCLIENT_PROTO] = "forwarded_proto",
    [XCLIENT_HELO] = "forwarded_helo",     [XCLIENT_IDENT] = "forwarded_ident",
    [XCLIENT_SOURCE] = "forwarded_source",
};

void forwarded_log(const struct session *s)
{
    const struct forwarded *forwarded = s->forwarded;
    if (forwarded == NULL) return;
    for (unsigned i = 0; i < XCLIENT_ATTRIBUTE_COUNT; i++) {
        if (client_keys[i] != NULL) log_str(client_keys[i], forwarded->client[i]);
        if (upstream_keys[i] != NULL) log_str(upstream_keys[i], forwarded->upstream[i]);
    }
}

static void log_xclient(const struct session *s)
{
    if (!session_log(s, LOG_INFO, "xclient")) return;
    char text[ENDPOINT_TEXT_MAX];
    struct buf name = {text, 0, sizeof(text), false};
    endpoint_write(&s->forwarded->authority, &name);
    log_slice("by", buf_slice(&name));
    forwarded_log(s);
    log_end();
}

/* --- who may --- */

/* The peer as it was before it claimed to be another. */
static const struct endpoint *authority_of(const struct session *s)
{
    bool has_claimed = s->forwarded != NULL && s->forwarded->authority.addr_len != 0;
    return has_claimed ? &s->forwarded->authority : &s->peer;
}

static bool may_xclient(const struct session *s)
{
    return networks_contain(&session_config(s)->xclient_from, authority_of(s));
}

static bool may_xforward(const struct session *s)
{
    return networks_contain(&session_config(s)->xforward_from, authority_of(s));
}

void xclient_write_offer(const struct session *s, struct buf *out)
{
    if (may_xclient(s)) {
        buf_append_cstr(out, "250-XCLIENT ");
        xclient_write_names(out);
        buf_append_cstr(out, "\r\n");
    }
    if (may_xforward(s)) {
        buf_append_cstr(out, "250-XFORWARD ");
        xforward_write_names(out);
        buf_append_cstr(out, "\r\n");
    }
}

/* --- the commands --- */

/* What was named replaces what was known; the rest stays (XFORWARD_README). */
static void keep_texts(char *texts[XCLIENT_ATTRIBUTE_COUNT], const struct xclient *said)
{
    for (unsigned i = 0; i < XCLIENT_ATTRIBUTE_COUNT; i++) {
        if ((said->given & BIT(i)) == 0) continue;
        free(texts[i]);
        texts[i] = said->values[i].len > 0 ? slice_to_cstr(said->values[i]) : NULL;
    }
}

static bool is_given(const struct xclient *said, enum xclient_attribute attribute)
{
    return (said->given & BIT(attribute)) != 0;
}

static void set_port(struct endpoint *e, uint16_t port)
{
    if (e->addr_len == 0) return;
    if (e->addr.any.sa_family == AF_INET6)
        e->addr.v6.sin6_port = htons(port);
    else
        e->addr.v4.sin_port = htons(port);
}

/* The client's address is another from here on, and so is the limit that it counts against. False:
 * that was reached, and the session has been ended. */
static bool take_address(struct session *s, const struct xclient *said)
{
    bool has_address = is_given(said, XCLIENT_ADDR), has_port = is_given(said, XCLIENT_PORT);
    if (!has_address && !has_port) return true;
    session_uncount_client(s);
    if (has_address) s->peer = said->address; /* none when it is unknown */
    set_port(&s->peer, said->port);
    return session_count_client(s);
}

/* Back to the start (XCLIENT_README, "server response"), but for TLS, which stays, and for what an
 * earlier XCLIENT said. A user whom the peer itself authenticated as is forgotten with the rest. */
static void become(struct session *s, const struct xclient *said)
{
    struct forwarded *forwarded = s->forwarded;
    if (forwarded->authority.addr_len == 0) forwarded->authority = s->peer;
    keep_texts(forwarded->client, said);
    session_forget(s);
    const char *login = forwarded->client[XCLIENT_LOGIN];
    if (login != NULL) s->user = slice_to_cstr(slice_of_cstr(login));
    if (!take_address(s, said)) return;
    log_xclient(s);
    session_write_banner(s);
}

void cmd_xclient(struct session *s, const struct command *command)
{
    char bytes[COMMAND_LINE_BYTES_MAX];
    struct buf memory = {bytes, 0, sizeof(bytes), false};
    struct xclient said;
    if (!may_xclient(s))
        session_reply(s, REPLY_NOT_PERMITTED);
    else if (s->txn != NULL)
        session_reply(s, REPLY_NESTED_MAIL);
    else if (!xclient_parse(command->args, &memory, &said))
        session_reply(s, REPLY_BAD_ARGUMENT);
    else if (forwarded_of(s) == NULL)
        session_end(s, REPLY_NO_RESOURCES);
    else
        become(s, &said);
}

void cmd_xforward(struct session *s, const struct command *command)
{
    char bytes[COMMAND_LINE_BYTES_MAX];
    struct buf memory = {bytes, 0, sizeof(bytes), false};
    struct xclient said;
    if (!may_xforward(s)) {
        session_reply(s, REPLY_NOT_PERMITTED);
    } else if (s->txn != NULL) {
        session_reply(s, REPLY_NESTED_MAIL);
    } else if (!xforward_parse(command->args, &memory, &said)) {
        session_reply(s, REPLY_BAD_ARGUMENT);
    } else if (forwarded_of(s) == NULL) {
        session_end(s, REPLY_NO_RESOURCES);
    } else {
        keep_texts(s->forwarded->upstream, &said);
        session_reply(s, REPLY_OK);
    }
}
