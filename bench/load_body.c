/* load_body.c - see load_body.h. The header section goes through the connection's output; the body
 * itself is sent from the shared template. A slow session sends its share on every tick. */
#include "bench/load_body.h"

#include "bench/load_envelope.h"
#include "ring/base/clock.h"

#define SLOW_TICKS_PER_S 20

uint64_t load_body_bytes(const struct load_session *s)
{
    return message_header_bytes(s->core->maker) + message_rest_bytes(&s->message);
}

bool load_body_is_sent(const struct load_session *s)
{
    return s->body_at == s->body_end && conn_is_flushed(&s->link.conn);
}

/* The part of the header section that lies before `to`. False when there is no room for it. */
static bool write_header(struct load_session *s, uint64_t to)
{
    char bytes[MESSAGE_HEADER_BYTES_MAX];
    struct buf header = {.data = bytes, .cap = sizeof(bytes)};
    message_write_header(s->core->maker, &s->message, &header);
    ASSERT(!header.is_short);
    size_t end = (size_t)MIN(to, header.len);
    struct slice part = slice_of(bytes + s->body_at, end - (size_t)s->body_at);
    s->body_at = end;
    return conn_write(&s->link.conn, part);
}

static void send_up_to(struct load_session *s, uint64_t to)
{
    uint64_t header_bytes = message_header_bytes(s->core->maker);
    if (s->body_at < header_bytes && !write_header(s, to)) {
        load_link_lose(&s->link, "no room for a header section");
        return;
    }
    if (s->body_at == to) {
        conn_flush(&s->link.conn);
        return;
    }
    uint32_t count =
        message_pieces(&s->message, s->body_at - header_bytes, to - s->body_at, s->pieces);
    s->body_at = to;
    conn_send_pieces(&s->link.conn, s->pieces, count);
}

/* The next share of a slow session; all, when it is not to be slow any more. */
static void send_share(struct load_session *s)
{
    if (!conn_is_flushed(&s->link.conn) && s->body_at > 0) {
        timer_arm(s->core->loop, &s->slow_timer, 1000 / SLOW_TICKS_PER_S);
        return;
    }
    uint64_t rate = s->core->options->slow_bytes_s;
    uint64_t share = MAX(rate / SLOW_TICKS_PER_S, 1u);
    if (!load_core_has_more(s->core) || s->refusal != 0) share = UINT64_MAX;
    bool is_last = s->body_end - s->body_at <= share;
    load_link_expect(&s->link, s->body_end - s->body_at);
    if (!is_last) timer_arm(s->core->loop, &s->slow_timer, share * 1000 / rate);
    send_up_to(s, is_last ? s->body_end : s->body_at + share);
}

void load_body_send(struct load_session *s, uint64_t from, uint64_t to)
{
    s->body_at = from;
    s->body_end = to;
    if (s->is_slow) {
        send_share(s);
    } else {
        send_up_to(s, to);
    }
}

void load_body_hurry(struct load_session *s)
{
    if (s->body_at == s->body_end || !conn_is_flushed(&s->link.conn)) return;
    timer_disarm(&s->slow_timer);
    send_up_to(s, s->body_end);
}

void load_body_on_timer(struct timer *timer)
{
    send_share(CONTAINER_OF(timer, struct load_session, slow_timer));
}
