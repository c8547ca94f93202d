/* load_open.c - what a connection says before its first message: the PROXY header, TLS, EHLO,
 * STARTTLS, AUTH. */
#include "bench/load_link.h"

#include "bench/auth_text.h"
#include "bench/proxy_header.h"
#include "ring/base/clock.h"

#define QUOTE_BYTES_MAX 120
#define PORT_FIRST 1024 /* of a client in the PROXY header */
#define PORT_COUNT 60000

/* The server cannot do what was asked: no connection will. */
static void give_up(struct load_link *link, const char *what, struct slice line)
{
    char quote[QUOTE_BYTES_MAX];
    load_core_give_up(link->core, "%s%s%s%s", what, line.len == 0 ? "" : ": \"",
                      load_core_escape(line, quote, sizeof(quote)), line.len == 0 ? "" : "\"");
    link->was_lost = true;
    load_link_close(link);
}

/* --- before the greeting --- */

static bool write_proxy_header(struct load_link *link)
{
    struct load_core *core = link->core;
    const struct load_options *options = core->options;
    if (options->proxy == LOAD_PROXY_NONE) return true;
    uint64_t number = core->connection_number++ * options->cores + core->index;
    struct endpoint client = proxy_client((uint32_t)(number % options->clients),
                                          (uint16_t)(PORT_FIRST + number % PORT_COUNT));
    struct endpoint target = proxy_target(&options->to);
    char bytes[PROXY_HEADER_BYTES_MAX];
    struct buf header = {.data = bytes, .cap = sizeof(bytes)};
    if (options->proxy == LOAD_PROXY_V1) {
        proxy_write_v1(&client, &target, &header);
    } else {
        proxy_write_v2(&client, &target, &header);
    }
    ASSERT(!header.is_short);
    return conn_write(&link->conn, buf_slice(&header));
}

static void secure(struct load_link *link)
{
    load_link_go(link, LOAD_LINK_SECURE);
    load_link_expect(link, 0);
    link->handshake_ns = clock_monotonic_ns();
    int err = conn_start_tls(&link->conn, link->core->tls, link->core->options->tls_name,
                             CONN_BEFORE_TLS_REFUSE);
    if (err != 0) {
        link->core->counts.handshakes_failed++;
        load_link_lose(link, "TLS cannot begin: %s", err_str(err));
    }
}

void load_open_start(struct load_link *link)
{
    link->can_pipeline = link->can_8bit = link->can_size = false;
    link->can_chunk = link->can_starttls = false;
    link->auth_mechanisms = 0;
    load_link_expect(link, 0);
    bool has_room = write_proxy_header(link);
    if (link->core->options->tls == LOAD_TLS_IMPLICIT && has_room) {
        secure(link);
        return;
    }
    load_link_go(link, LOAD_LINK_GREETING);
    if (has_room) {
        conn_flush(&link->conn);
    } else {
        load_link_lose(link, "no room for a PROXY header");
    }
}

static void say_ehlo(struct load_link *link)
{
    link->can_pipeline = link->can_8bit = link->can_size = false;
    link->can_chunk = link->can_starttls = false;
    link->auth_mechanisms = 0;
    load_link_go(link, LOAD_LINK_EHLO);
    load_link_say(link, SLICE("EHLO load.bench.test\r\n"));
}

void load_open_on_secured(struct load_link *link)
{
    struct load_core *core = link->core;
    struct tls_info info;
    if (link->state != LOAD_LINK_SECURE) return;
    core->counts.handshakes++;
    if (conn_tls_info(&link->conn, &info) && info.is_resumed) core->counts.handshakes_resumed++;
    latency_add(&core->handshake_latency, clock_monotonic_ns() - link->handshake_ns);
    link->is_secured = true;
    if (core->options->tls == LOAD_TLS_IMPLICIT) {
        load_link_go(link, LOAD_LINK_GREETING);
        load_link_expect(link, 0);
    } else {
        say_ehlo(link);
    }
}

/* --- EHLO --- */

static uint8_t mechanism_bit(struct slice word)
{
    if (slice_eq_nocase(word, SLICE("PLAIN"))) return BIT(LOAD_AUTH_PLAIN);
    if (slice_eq_nocase(word, SLICE("LOGIN"))) return BIT(LOAD_AUTH_LOGIN);
    if (slice_eq_nocase(word, SLICE("CRAM-MD5"))) return BIT(LOAD_AUTH_CRAM_MD5);
    return 0;
}

static void take_mechanisms(struct load_link *link, struct slice words)
{
    while (words.len > 0) {
        const char *space = memchr(words.data, ' ', words.len);
        size_t len = space == NULL ? words.len : (size_t)(space - words.data);
        link->auth_mechanisms |= mechanism_bit(slice_of(words.data, len));
        words = slice_from(words, MIN(len + 1, words.len));
    }
}

void load_open_on_line(struct load_link *link, struct slice line)
{
    if (link->state != LOAD_LINK_EHLO || line.len <= 4) return;
    struct slice text = slice_from(line, 4);
    if (slice_eq_nocase(text, SLICE("PIPELINING"))) link->can_pipeline = true;
    if (slice_eq_nocase(text, SLICE("8BITMIME"))) link->can_8bit = true;
    if (slice_eq_nocase(text, SLICE("CHUNKING"))) link->can_chunk = true;
    if (slice_eq_nocase(text, SLICE("STARTTLS"))) link->can_starttls = true;
    if (slice_starts_with_nocase(text, SLICE("SIZE"))) link->can_size = true;
    if (slice_starts_with_nocase(text, SLICE("AUTH "))) take_mechanisms(link, slice_from(text, 5));
}

static void become_ready(struct load_link *link)
{
    load_link_expect_none(link);
    load_link_go(link, LOAD_LINK_READY);
    link->handler->on_ready(link);
}

/* --- AUTH --- */

/* Sends `start` and `text` as one line. */
static void say_auth(struct load_link *link, const char *start, const struct buf *text)
{
    char bytes[AUTH_TEXT_BYTES_MAX + 64];
    struct buf line = {.data = bytes, .cap = sizeof(bytes)};
    buf_append_cstr(&line, start);
    buf_append_slice(&line, buf_slice(text));
    buf_append_cstr(&line, "\r\n");
    if (line.is_short || text->is_short) {
        load_link_lose(link, "an answer to AUTH is too long");
        return;
    }
    load_link_say(link, buf_slice(&line));
}

static void start_auth(struct load_link *link)
{
    const struct load_options *options = link->core->options;
    char bytes[AUTH_TEXT_BYTES_MAX];
    struct buf text = {.data = bytes, .cap = sizeof(bytes)};
    if ((link->auth_mechanisms & BIT(options->auth)) == 0) {
        give_up(link, "the server does not offer the mechanism of --auth", SLICE(""));
        return;
    }
    load_link_go(link, LOAD_LINK_AUTH);
    link->auth_step = 0;
    if (options->auth == LOAD_AUTH_PLAIN) {
        auth_write_plain(options->user, options->password, &text);
        say_auth(link, "AUTH PLAIN ", &text);
    } else {
        say_auth(link, options->auth == LOAD_AUTH_LOGIN ? "AUTH LOGIN" : "AUTH CRAM-MD5", &text);
    }
}

/* Answers a 334. False when there is nothing to answer it with. */
static bool answer_challenge(struct load_link *link, struct slice line)
{
    const struct load_options *options = link->core->options;
    char bytes[AUTH_TEXT_BYTES_MAX];
    struct buf text = {.data = bytes, .cap = sizeof(bytes)};
    unsigned step = link->auth_step++;
    if (options->auth == LOAD_AUTH_LOGIN && step < 2) {
        auth_write_base64(slice_of_cstr(step == 0 ? options->user : options->password), &text);
    } else if (options->auth == LOAD_AUTH_CRAM_MD5 && step == 0) {
        struct slice challenge = slice_trim(slice_from(line, MIN(line.len, 4u)));
        if (!auth_write_cram_md5(options->user, options->password, challenge, &text)) return false;
    } else {
        return false;
    }
    say_auth(link, "", &text);
    return true;
}

static void auth_on_reply(struct load_link *link, unsigned code, struct slice line)
{
    if (code == 235) {
        become_ready(link);
    } else if (code == 334) {
        if (!answer_challenge(link, line))
            load_link_lose_for(link, "no answer to a challenge of AUTH", line);
    } else {
        link->core->counts.codes[code]++;
        if (code >= 500) {
            give_up(link, "the server refused --auth", line);
        } else {
            load_link_lose_for(link, "the server refused --auth", line);
        }
    }
}

/* --- replies --- */

static void refused(struct load_link *link, const char *what, unsigned code, struct slice line)
{
    link->core->counts.codes[code]++;
    load_link_lose_for(link, what, line);
}

/* After the last EHLO there will be. */
static void ehlo_is_done(struct load_link *link)
{
    const struct load_options *options = link->core->options;
    if (link->is_silent) {
        become_ready(link);
    } else if (options->transfer == LOAD_TRANSFER_BDAT && !link->can_chunk) {
        give_up(link, "the server does not offer CHUNKING, which --transfer bdat needs", SLICE(""));
    } else if (options->auth != LOAD_AUTH_NONE) {
        start_auth(link);
    } else {
        become_ready(link);
    }
}

static void ehlo_on_reply(struct load_link *link, unsigned code, struct slice line)
{
    bool wants_tls = link->core->options->tls == LOAD_TLS_STARTTLS && !link->is_secured;
    if (code != 250) {
        refused(link, "the server refused EHLO", code, line);
    } else if (wants_tls && !link->can_starttls) {
        give_up(link, "the server does not offer STARTTLS", SLICE(""));
    } else if (wants_tls) {
        load_link_go(link, LOAD_LINK_STARTTLS);
        load_link_say(link, SLICE("STARTTLS\r\n"));
    } else {
        ehlo_is_done(link);
    }
}

void load_open_on_reply(struct load_link *link, unsigned code, struct slice line)
{
    switch (link->state) {
    case LOAD_LINK_GREETING:
        if (code == 220) {
            say_ehlo(link);
        } else {
            refused(link, "the server refused the connection", code, line);
        }
        break;
    case LOAD_LINK_EHLO:
        ehlo_on_reply(link, code, line);
        break;
    case LOAD_LINK_STARTTLS:
        if (code == 220) {
            secure(link);
        } else {
            refused(link, "the server refused STARTTLS", code, line);
        }
        break;
    case LOAD_LINK_AUTH:
        auth_on_reply(link, code, line);
        break;
    default:
        load_link_lose_for(link, "the server sent a reply to nothing", line);
        break;
    }
}
