/* load_session.c - connecting again and again, and dealing out messages. What a message needs is in
 * load_envelope.c. */
#include "bench/load_session.h"

#include "bench/load_body.h"
#include "bench/load_envelope.h"
#include "ring/base/memory.h"

#include <stdlib.h>

#define BACKOFF_MS_MIN 10
#define BACKOFF_MS_MAX 1000

static const uint32_t successors[] = {
    [LOAD_SESSION_DOWN] = BIT(LOAD_SESSION_IDLE) | BIT(LOAD_SESSION_OVER),
    [LOAD_SESSION_IDLE] =
        BIT(LOAD_SESSION_ENVELOPE) | BIT(LOAD_SESSION_LEAVING) | BIT(LOAD_SESSION_DOWN),
    [LOAD_SESSION_ENVELOPE] = BIT(LOAD_SESSION_BODY) | BIT(LOAD_SESSION_DRAIN) |
                              BIT(LOAD_SESSION_RESET) | BIT(LOAD_SESSION_IDLE) |
                              BIT(LOAD_SESSION_DOWN),
    [LOAD_SESSION_BODY] = BIT(LOAD_SESSION_IDLE) | BIT(LOAD_SESSION_DRAIN) |
                          BIT(LOAD_SESSION_RESET) | BIT(LOAD_SESSION_DOWN),
    [LOAD_SESSION_DRAIN] =
        BIT(LOAD_SESSION_IDLE) | BIT(LOAD_SESSION_RESET) | BIT(LOAD_SESSION_DOWN),
    [LOAD_SESSION_RESET] = BIT(LOAD_SESSION_IDLE) | BIT(LOAD_SESSION_DOWN),
    [LOAD_SESSION_LEAVING] = BIT(LOAD_SESSION_DOWN),
    [LOAD_SESSION_OVER] = 0,
};

void load_session_go(struct load_session *s, enum load_session_state next)
{
    ASSERT((successors[s->state] & BIT(next)) != 0);
    s->state = next;
}

static struct load_session *session_of(struct load_link *link)
{
    return CONTAINER_OF(link, struct load_session, link);
}

/* --- the connection --- */

static void become_over(struct load_session *s, bool is_early)
{
    load_session_go(s, LOAD_SESSION_OVER);
    timer_disarm(&s->retry_timer);
    load_envelope_settle_lost(s);
    load_core_on_session_over(s->core, is_early);
}

static void back_off(struct load_session *s)
{
    unsigned next = s->backoff_ms == 0 ? BACKOFF_MS_MIN : 2u * s->backoff_ms;
    s->backoff_ms = (uint16_t)MIN(next, (unsigned)BACKOFF_MS_MAX);
}

static void retry_on_timer(struct timer *timer)
{
    load_link_open(&CONTAINER_OF(timer, struct load_session, retry_timer)->link, NULL);
}

/* Connects again, later, or not at all. A message that waits for its second try is given up when
 * no other may begin. */
static void session_on_down(struct load_link *link)
{
    struct load_session *s = session_of(link);
    ASSERT(s->state == LOAD_SESSION_DOWN);
    bool has_work = load_core_has_more(s->core) || (s->has_message && !load_core_is_late(s->core));
    if (s->wants_close_only || !has_work) {
        become_over(s, false);
    } else if (!link->was_lost) {
        load_link_open(link, NULL);
    } else if (s->core->options->may_reconnect) {
        back_off(s);
        timer_arm(s->core->loop, &s->retry_timer, s->backoff_ms);
    } else {
        become_over(s, true);
    }
}

static void session_on_closing(struct load_link *link)
{
    struct load_session *s = session_of(link);
    list_remove(&s->waiting_node);
    timer_disarm(&s->slow_timer);
    if (s->state == LOAD_SESSION_DOWN) return;
    if (s->state == LOAD_SESSION_BODY) load_envelope_settle_lost(s);
    load_session_go(s, LOAD_SESSION_DOWN);
}

static void session_on_ready(struct load_link *link)
{
    struct load_session *s = session_of(link);
    s->backoff_ms = 0;
    s->messages_here = 0;
    load_session_go(s, LOAD_SESSION_IDLE);
    load_session_poll(s);
}

static void session_on_reply(struct load_link *link, unsigned code, struct slice line)
{
    struct load_session *s = session_of(link);
    if (s->state == LOAD_SESSION_ENVELOPE || s->state == LOAD_SESSION_BODY) {
        load_envelope_on_reply(s, code, line);
    } else if (s->state == LOAD_SESSION_RESET) {
        load_session_become_idle(s);
    } else {
        /* 421 when the server gives up on an idle connection. */
        load_link_lose_for(link, "the server sent a reply to nothing", line);
    }
}

static void session_on_sent(struct load_link *link)
{
    struct load_session *s = session_of(link);
    if (load_body_is_sent(s)) load_envelope_on_sent(s);
}

static const struct load_link_handler handler = {
    .on_ready = session_on_ready,
    .on_reply = session_on_reply,
    .on_sent = session_on_sent,
    .on_closing = session_on_closing,
    .on_down = session_on_down,
};

/* --- messages --- */

void load_session_become_idle(struct load_session *s)
{
    load_link_expect_none(&s->link);
    load_session_go(s, LOAD_SESSION_IDLE);
    load_session_poll(s);
}

static void leave(struct load_session *s)
{
    list_remove(&s->waiting_node);
    load_session_go(s, LOAD_SESSION_LEAVING);
    load_link_quit(&s->link);
}

void load_session_poll(struct load_session *s)
{
    ASSERT(s->state == LOAD_SESSION_IDLE);
    struct load_core *core = s->core;
    uint64_t per_connection = core->options->messages_per_connection;
    bool is_enough = per_connection > 0 && s->messages_here >= per_connection;
    if (!s->has_message && (is_enough || !load_core_has_more(core))) {
        leave(s);
        return;
    }
    if (!s->has_message) {
        s->has_message = load_core_take(core, s->link.can_8bit, &s->message, &s->intended_ns);
    }
    list_remove(&s->waiting_node);
    if (s->has_message) {
        load_envelope_start(s);
    } else {
        list_push_back(&core->waiting, &s->waiting_node);
    }
}

/* --- the life of a session --- */

void load_session_start(struct load_session *s, struct load_core *core, bool is_slow)
{
    memset(s, 0, sizeof(*s));
    s->core = core;
    s->is_slow = is_slow;
    s->pieces = xcalloc(message_pieces_max(core->maker), sizeof(s->pieces[0]));
    list_init(&s->waiting_node);
    timer_init(&s->retry_timer, retry_on_timer);
    timer_init(&s->slow_timer, load_body_on_timer);
    load_link_init(&s->link, core, &handler);
    load_link_open(&s->link, NULL);
}

void load_session_hurry(struct load_session *s)
{
    if (s->state == LOAD_SESSION_DOWN) {
        load_session_stop(s);
    } else if (s->state == LOAD_SESSION_IDLE) {
        load_session_poll(s);
    }
}

void load_session_stop(struct load_session *s)
{
    if (s->state == LOAD_SESSION_OVER) return;
    s->wants_close_only = true;
    if (s->link.state == LOAD_LINK_DOWN) {
        become_over(s, false);
    } else {
        load_link_close(&s->link);
    }
}

void load_session_finish(struct load_session *s)
{
    ASSERT(s->state == LOAD_SESSION_OVER);
    free(s->pieces);
}
