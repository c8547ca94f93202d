/* delivery_test.c - the whole sending half, with a real loop and queue, against a next hop that
 * answers as each case wants. */
#include "tests/unit/server_delivery/world.h"

static const char body_text[] = "Subject: x\r\n\r\n..stuffed\r\nend\r\n";
#define BODY slice_of(body_text, sizeof(body_text) - 1)

struct pair {
    struct world *w;
    struct fake *f;
};

/* A world with one route to one server, neither started. */
static struct pair make_pair(void)
{
    struct pair p = {world_create(), fake_create()};
    world_route_to(p.w, p.f);
    return p;
}

static void start_pair(struct pair *p)
{
    fake_start(p->f);
    world_start(p->w);
}

/* Ends delivery, then the server; what the server saw may be checked before destroy_pair(). */
static void stop_pair(struct pair *p)
{
    world_stop_delivery(p->w, 200);
    fake_stop(p->f);
}

static void destroy_pair(struct pair *p)
{
    world_destroy(p->w);
    fake_destroy(p->f);
}

TEST(a_message_is_relayed_byte_for_byte)
{
    struct pair p = make_pair();
    start_pair(&p);
    world_send(p.w, BODY, "a@smtp.test b@smtp.test");
    WORLD_WAIT(p.w, WORLD_COUNT(p.w, attempts_delivered) == 2);
    WORLD_WAIT(p.w, world_look(p.w).messages == 0);
    CHECK_EQ("messages", WORLD_COUNT(p.w, messages_sent), 1);
    CHECK_EQ("latency", counter_get(&delivery_counters(p.w->delivery)->latency.sum_ns) > 0, 1);
    const struct delivery_route_counters *route = delivery_routes(p.w->delivery);
    CHECK(route != NULL && strcmp(route->name, "route-1") == 0);
    CHECK_EQ("route", counter_get(&route->delivered), 2);
    CHECK_EQ("route", counter_get(&route->connections), 1);
    stop_pair(&p);
    CHECK_SLICE("commands", slice_of(p.f->commands, p.f->commands_len),
                "EHLO gw.test|MAIL FROM:<sender@from.test> SIZE=30|RCPT TO:<a@smtp.test>|"
                "RCPT TO:<b@smtp.test>|DATA|QUIT|");
    CHECK_SLICE("body", slice_of(p.f->body, p.f->body_len), body_text);
    destroy_pair(&p);
}

TEST(an_empty_message_is_relayed)
{
    struct pair p = make_pair();
    start_pair(&p);
    world_send(p.w, SLICE(""), "a@smtp.test");
    WORLD_WAIT(p.w, WORLD_COUNT(p.w, attempts_delivered) == 1);
    stop_pair(&p);
    CHECK_EQ("messages", p.f->message_count, 1);
    CHECK_EQ("body", p.f->body_len, 0);
    destroy_pair(&p);
}

TEST(a_large_message_is_relayed_byte_for_byte)
{
    struct pair p = make_pair();
    start_pair(&p);
    size_t len = 0, cap = 1500000;
    char *text = xmalloc(cap + 64);
    while (len < cap)
        len += (size_t)snprintf(text + len, 64, "%s line %zu\r\n", len % 7 == 0 ? ".." : "x", len);
    world_send(p.w, slice_of(text, len), "a@smtp.test");
    WORLD_WAIT(p.w, WORLD_RESULTS(p.w) == 1);
    stop_pair(&p);
    CHECK_EQ("length", p.f->body_len, len);
    CHECK(p.f->body_len == len && memcmp(p.f->body, text, len) == 0);
    free(text);
    destroy_pair(&p);
}

TEST(connections_are_reused_without_rset)
{
    struct pair p = make_pair();
    start_pair(&p);
    for (unsigned i = 1; i <= 5; i++) {
        world_send(p.w, BODY, "a@smtp.test");
        WORLD_WAIT(p.w, WORLD_COUNT(p.w, attempts_delivered) == i);
    }
    stop_pair(&p);
    CHECK_EQ("connections", p.f->connection_count, 1);
    CHECK_EQ("rset", p.f->rset_count, 0);
    CHECK_EQ("quit", p.f->quit_count, 1);
    destroy_pair(&p);
}

TEST(a_connection_ends_after_so_many_messages)
{
    struct pair p = make_pair();
    p.w->config.delivery.per_destination.messages_per_connection = 2;
    start_pair(&p);
    for (unsigned i = 1; i <= 5; i++) {
        world_send(p.w, BODY, "a@smtp.test");
        WORLD_WAIT(p.w, WORLD_COUNT(p.w, attempts_delivered) == i);
    }
    stop_pair(&p);
    CHECK_EQ("connections", p.f->connection_count, 3);
    destroy_pair(&p);
}

TEST(a_resting_connection_ends_after_its_time)
{
    struct pair p = make_pair();
    p.w->config.delivery.per_destination.idle_ms = 50;
    start_pair(&p);
    world_send(p.w, BODY, "a@smtp.test");
    WORLD_WAIT(p.w, fake_get(p.f, &p.f->quit_count) == 1);
    WORLD_WAIT(p.w, WORLD_COUNT(p.w, connections) == 0);
    stop_pair(&p);
    destroy_pair(&p);
}

TEST(the_limit_of_connections_holds)
{
    struct pair p = make_pair();
    p.w->config.delivery.per_destination.connections = 3;
    start_pair(&p);
    for (unsigned i = 0; i < 60; i++)
        world_send(p.w, BODY, "a@smtp.test");
    WORLD_WAIT(p.w, WORLD_COUNT(p.w, attempts_delivered) == 60);
    stop_pair(&p);
    CHECK(p.f->open_max <= 3);
    CHECK_EQ("all", p.f->message_count, 60);
    destroy_pair(&p);
}

TEST(each_recipient_has_its_own_result)
{
    for (unsigned is_pipelining = 0; is_pipelining < 2; is_pipelining++) {
        struct pair p = make_pair();
        p.f->rcpt_550 = "gone@";
        p.f->rcpt_451 = "slow@";
        if (!is_pipelining) p.f->ehlo = FAKE_EHLO_BARE;
        start_pair(&p);
        world_send(p.w, BODY, "gone@smtp.test ok@smtp.test slow@smtp.test");
        WORLD_WAIT(p.w, WORLD_RESULTS(p.w) == 3);
        WORLD_WAIT(p.w, world_look(p.w).delivered == 1);
        struct world_seen seen = world_look(p.w);
        CHECK_EQ("failed", seen.failed, 1);
        CHECK_EQ("queued", seen.queued, 1);
        CHECK_EQ("attempts", seen.attempts, 1);
        CHECK_SLICE("replies", slice_of_cstr(seen.replies),
                    "550 5.1.1 no such user||451 4.2.0 later|");
        stop_pair(&p);
        CHECK_EQ("messages", p.f->message_count, 1);
        CHECK_EQ("one command at a time", p.f->out_of_turn, 0);
        destroy_pair(&p);
    }
}

TEST(many_recipients_go_in_several_transactions)
{
    struct pair p = make_pair();
    start_pair(&p);
    char recipients[128 * 24] = "";
    size_t len = 0;
    for (unsigned i = 0; i < 120; i++)
        len += (size_t)snprintf(recipients + len, sizeof(recipients) - len, "%suser%u@smtp.test",
                                i > 0 ? " " : "", i);
    world_send(p.w, BODY, recipients);
    WORLD_WAIT(p.w, WORLD_COUNT(p.w, attempts_delivered) == 120);
    WORLD_WAIT(p.w, world_look(p.w).messages == 0);
    stop_pair(&p);
    CHECK_EQ("transactions", p.f->message_count, 2);
    destroy_pair(&p);
}

/* --- answers that are not what one hopes for --- */

static const char *const *reply_of(const struct fake *f, const char *name)
{
    return strcmp(name, "greeting") == 0 ? &f->greeting
           : strcmp(name, "ehlo") == 0   ? &f->ehlo
           : strcmp(name, "mail") == 0   ? &f->mail
           : strcmp(name, "rcpt") == 0   ? &f->rcpt
           : strcmp(name, "data") == 0   ? &f->data
                                         : &f->dot;
}

TEST(every_bad_answer_has_its_result)
{
    static const struct {
        const char *at, *reply;
        bool is_failed;   /* else deferred */
        const char *kept; /* a part of the words that are kept */
        bool is_bare;     /* without PIPELINING */
    } cases[] = {
        {"mail", "550 5.7.1 not you\r\n", true, "550 5.7.1 not you", false},
        {"mail", "550 5.7.1 not you\r\n", true, "550 5.7.1 not you", true},
        {"mail", "451 4.3.0 later\r\n", false, "451 4.3.0 later", false},
        {"mail", "421 4.3.2 closing\r\n", false, "421 4.3.2 closing", false},
        {"mail", "354 what\r\n", false, "4.5.0", true},
        {"rcpt", "550-5.1.1 no\r\n550 5.1.1 really\r\n", true, "550 5.1.1 no 5.1.1 really", false},
        {"rcpt", "552 too many\r\n", false, "552 too many", false},
        {"rcpt", "421 4.3.2 closing\r\n", false, "421 4.3.2 closing", false},
        {"data", "554 5.6.0 no\r\n", true, "554 5.6.0 no", false},
        {"data", "451 4.3.0 no\r\n", false, "451 4.3.0 no", true},
        {"data", "250 what\r\n", false, "4.5.0", false},
        {"dot", "554 5.7.1 spam\r\n", true, "554 5.7.1 spam", false},
        {"dot", "452 4.3.1 full\r\n", false, "452 4.3.1 full", false},
        {"dot", "421 4.3.2 closing\r\n", false, "421 4.3.2 closing", false},
        {"dot", "354 what\r\n", false, "4.5.0", false},
        {"greeting", "hello\r\n", false, "4.5.0", false},
        {"greeting", "220-a\r\n250 b\r\n", false, "4.5.0", false},
        {"greeting", "220 a\n", false, "4.5.0", false},
        {"greeting", "999 a\r\n", false, "4.5.0", false},
        {"greeting", "220 a\r\n220 b\r\n", false, "4.5.0", false},
        {"greeting", "554 5.3.2 not here\r\n", false, "554 5.3.2 not here", false},
        {"greeting", FAKE_CLOSE, false, "4.4.2 connection lost", false},
        {"ehlo", "421 4.3.2 no\r\n", false, "421 4.3.2 no", false},
        {"mail", "garbage\r\n", false, "4.5.0", true},
        {"rcpt", "250 \x01\xff\r\n250 twice\r\n", false, "4.5.0", true},
        {"data", "354 go\r\n250 early\r\n", false, "", false},
        {"dot", FAKE_CLOSE, false, "may arrive twice", false},
        {"mail", FAKE_CLOSE, false, "4.4.2 connection lost", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char name[128];
        snprintf(name, sizeof(name), "%s: %.20s", cases[i].at, cases[i].reply);
        struct pair p = make_pair();
        if (cases[i].is_bare) p.f->ehlo = FAKE_EHLO_BARE;
        const char **reply = (const char **)(uintptr_t)reply_of(p.f, cases[i].at);
        *reply = cases[i].reply;
        start_pair(&p);
        world_send(p.w, BODY, "a@smtp.test");
        WORLD_WAIT(p.w, WORLD_RESULTS(p.w) == 1);
        /* What failed is gone when nobody is to be told; the log has its words. */
        bool is_failed = cases[i].is_failed;
        WORLD_WAIT(p.w, is_failed ? world_look(p.w).messages == 0 : world_look(p.w).attempts == 1);
        struct world_seen seen = world_look(p.w);
        CHECK_EQ(name, WORLD_COUNT(p.w, attempts_failed), is_failed);
        CHECK_EQ(name, seen.queued, !is_failed);
        const char *kept = is_failed ? world_logged(p.w, "failed", "reply") : seen.replies;
        if (strstr(kept, cases[i].kept) == NULL) {
            printf("%s keeps \"%s\"\n", name, kept);
            CHECK(false);
        }
        stop_pair(&p);
        CHECK_EQ(name, p.f->connection_count, 1);
        destroy_pair(&p);
    }
}

TEST(a_silent_server_is_given_up_at_each_step)
{
    static const char *const steps[] = {"greeting", "ehlo", "mail", "rcpt", "data", "dot"};
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        struct pair p = make_pair();
        const char **reply = (const char **)(uintptr_t)reply_of(p.f, steps[i]);
        p.f->ehlo = FAKE_EHLO_BARE; /* so that no later answer takes the place of the missing one */
        *reply = FAKE_SILENT;
        p.w->config.delivery.timeouts.greeting_ms = 50;
        p.w->config.delivery.timeouts.command_ms = 50;
        p.w->config.delivery.timeouts.data_init_ms = 50;
        p.w->config.delivery.timeouts.data_block_ms = 50;
        p.w->config.delivery.timeouts.data_end_ms = 50;
        start_pair(&p);
        world_send(p.w, BODY, "a@smtp.test");
        WORLD_WAIT(p.w, WORLD_COUNT(p.w, attempts_deferred) == 1);
        WORLD_WAIT(p.w, world_look(p.w).attempts == 1);
        struct world_seen seen = world_look(p.w);
        if (strstr(seen.replies, "timeout") == NULL) {
            printf("%s keeps \"%s\"\n", steps[i], seen.replies);
            CHECK(false);
        }
        stop_pair(&p);
        destroy_pair(&p);
    }
}

TEST(helo_is_said_when_ehlo_is_refused)
{
    struct pair p = make_pair();
    p.f->ehlo = "502 5.5.1 what\r\n";
    start_pair(&p);
    world_send(p.w, BODY, "a@smtp.test");
    WORLD_WAIT(p.w, WORLD_COUNT(p.w, attempts_delivered) == 1);
    stop_pair(&p);
    CHECK(strstr(p.f->commands, "EHLO gw.test|HELO gw.test|MAIL FROM:<sender@from.test>|") != NULL);
    CHECK_EQ("one command at a time", p.f->out_of_turn, 0);
    destroy_pair(&p);
}

TEST(data_that_is_taken_for_nobody_gets_an_empty_message)
{
    struct pair p = make_pair();
    p.f->rcpt_550 = "gone@";
    p.f->takes_data_always = true;
    start_pair(&p);
    world_send(p.w, BODY, "gone@smtp.test");
    WORLD_WAIT(p.w, WORLD_COUNT(p.w, attempts_failed) == 1);
    world_send(p.w, BODY, "a@smtp.test");
    WORLD_WAIT(p.w, WORLD_COUNT(p.w, attempts_delivered) == 1);
    stop_pair(&p);
    CHECK_EQ("messages", p.f->message_count, 2);
    CHECK_EQ("connections", p.f->connection_count, 1);
    CHECK_SLICE("the second one", slice_of(p.f->body, p.f->body_len), body_text);
    destroy_pair(&p);
}

TEST(a_refused_transaction_is_reset_and_the_connection_goes_on)
{
    struct pair p = make_pair();
    p.f->rcpt_550 = "gone@";
    start_pair(&p);
    world_send(p.w, BODY, "gone@smtp.test");
    WORLD_WAIT(p.w, WORLD_COUNT(p.w, attempts_failed) == 1);
    world_send(p.w, BODY, "a@smtp.test");
    WORLD_WAIT(p.w, WORLD_COUNT(p.w, attempts_delivered) == 1);
    stop_pair(&p);
    CHECK_EQ("rset", p.f->rset_count, 1);
    CHECK_EQ("connections", p.f->connection_count, 1);
    destroy_pair(&p);
}

TEST(a_message_larger_than_the_next_hop_takes_fails_unsent)
{
    struct pair p = make_pair();
    p.f->ehlo = "250-fake.test\r\n250 SIZE 10\r\n";
    start_pair(&p);
    world_send(p.w, BODY, "a@smtp.test");
    WORLD_WAIT(p.w, WORLD_COUNT(p.w, attempts_failed) == 1);
    CHECK_SLICE("reply", slice_of(world_logged(p.w, "failed", "reply"), 6), "5.3.4 ");
    stop_pair(&p);
    CHECK(strstr(p.f->commands, "MAIL") == NULL);
    destroy_pair(&p);
}

TEST(a_reused_connection_that_died_is_replaced_at_once)
{
    struct pair p = make_pair();
    p.f->close_at_mail = 1;
    start_pair(&p);
    for (unsigned i = 1; i <= 3; i++) {
        world_send(p.w, BODY, "a@smtp.test");
        WORLD_WAIT(p.w, WORLD_COUNT(p.w, attempts_delivered) == i);
    }
    CHECK_EQ("deferred", WORLD_COUNT(p.w, attempts_deferred), 0);
    stop_pair(&p);
    CHECK_EQ("connections", p.f->connection_count, 3);
    destroy_pair(&p);
}

/* --- hosts --- */

TEST(the_next_host_is_tried_and_the_first_one_remembered_as_down)
{
    static const char *const greetings[] = {"421 4.3.2 busy\r\n", "554 no\r\n", FAKE_CLOSE};
    for (size_t i = 0; i < ARRAY_LEN(greetings); i++) {
        struct pair p = make_pair();
        struct fake *second = fake_create();
        world_host(&p.w->routes[0], second);
        p.f->greeting = greetings[i];
        p.w->config.delivery.per_destination.messages_per_connection = 1;
        fake_start(second);
        start_pair(&p);
        for (unsigned sent = 1; sent <= 3; sent++) {
            world_send(p.w, BODY, "a@smtp.test");
            WORLD_WAIT(p.w, WORLD_COUNT(p.w, attempts_delivered) == sent);
        }
        CHECK_EQ("deferred", WORLD_COUNT(p.w, attempts_deferred), 0);
        stop_pair(&p);
        fake_stop(second);
        CHECK_EQ("first", p.f->connection_count, 1);
        CHECK_EQ("second", second->connection_count, 3);
        fake_destroy(second);
        destroy_pair(&p);
    }
}

TEST(after_the_dot_no_other_host_is_tried)
{
    struct pair p = make_pair();
    struct fake *second = fake_create();
    world_host(&p.w->routes[0], second);
    p.f->dot = FAKE_CLOSE;
    fake_start(second);
    start_pair(&p);
    world_send(p.w, BODY, "a@smtp.test");
    WORLD_WAIT(p.w, WORLD_COUNT(p.w, attempts_deferred) == 1);
    world_pass(p.w, 50);
    stop_pair(&p);
    fake_stop(second);
    CHECK_EQ("second", second->connection_count, 0);
    CHECK_EQ("first", p.f->message_count, 1);
    fake_destroy(second);
    destroy_pair(&p);
}

TEST(a_dead_destination_costs_one_connection_however_many_messages_wait)
{
    struct pair p = make_pair();
    p.f->greeting = "554 no\r\n";
    start_pair(&p);
    for (unsigned i = 0; i < 20; i++)
        world_send(p.w, BODY, "a@smtp.test");
    WORLD_WAIT(p.w, WORLD_COUNT(p.w, attempts_deferred) == 20);
    WORLD_WAIT(p.w, strstr(world_look(p.w).replies, "554 no") != NULL);
    stop_pair(&p);
    CHECK_EQ("connections", p.f->connection_count, 1);
    destroy_pair(&p);
}

TEST(a_host_that_comes_back_gets_what_was_deferred)
{
    struct pair p = make_pair();
    p.f->greeting = "421 4.3.2 busy\r\n";
    p.w->config.delivery.retry.first_ms = 200;
    p.w->config.delivery.retry.max_ms = 400;
    start_pair(&p);
    for (unsigned i = 0; i < 10; i++)
        world_send(p.w, BODY, "a@smtp.test");
    WORLD_WAIT(p.w, WORLD_COUNT(p.w, attempts_deferred) >= 10);
    fake_set(p.f, &p.f->greeting, "220 back\r\n");
    WORLD_WAIT(p.w, WORLD_COUNT(p.w, attempts_delivered) == 10);
    WORLD_WAIT(p.w, world_look(p.w).messages == 0);
    stop_pair(&p);
    CHECK_SLICE("read back from the disk", slice_of(p.f->body, p.f->body_len), body_text);
    destroy_pair(&p);
}

TEST(a_refused_connection_is_the_hosts_fault)
{
    struct world *w = world_create();
    struct fake *gone = fake_create();
    world_route_to(w, gone);
    close(gone->listener);
    world_start(w);
    world_send(w, BODY, "a@smtp.test");
    WORLD_WAIT(w, WORLD_COUNT(w, attempts_deferred) == 1);
    WORLD_WAIT(w, strstr(world_look(w).replies, "4.4.1 cannot connect to 127.0.0.1:") != NULL);
    world_destroy(w);
    close(gone->wake[0]);
    close(gone->wake[1]);
    fake_destroy(gone);
}

/* --- time --- */

TEST(what_is_too_old_expires_with_the_last_words)
{
    struct pair p = make_pair();
    p.f->dot = "452 4.3.1 full\r\n";
    p.w->config.delivery.retry.first_ms = 100;
    p.w->config.delivery.retry.max_ms = 100;
    p.w->config.delivery.retry.expire_ms = 250;
    start_pair(&p);
    world_send(p.w, BODY, "a@smtp.test");
    WORLD_WAIT(p.w, WORLD_COUNT(p.w, attempts_failed) == 1);
    WORLD_WAIT(p.w, world_look(p.w).messages == 0);
    CHECK(WORLD_COUNT(p.w, attempts_deferred) >= 1);
    CHECK_EQ("expired", WORLD_COUNT(p.w, attempts_expired), 1);
    CHECK_SLICE("reply", slice_of_cstr(world_logged(p.w, "expired", "reply")),
                "4.4.7 expired; last: 452 4.3.1 full");
    stop_pair(&p);
    destroy_pair(&p);
}

/* --- other actions --- */

TEST(discarded_rejected_and_routeless_recipients_need_no_connection)
{
    struct world *w = world_create();
    static char reply[] = "550 5.1.1 No such recipient here";
    world_route(w, "discard.test", ACTION_DISCARD);
    world_route(w, "reject.test", ACTION_REJECT)->reject_reply = reply;
    world_start(w);
    world_send(w, BODY, "a@discard.test b@reject.test c@nowhere.test");
    WORLD_WAIT(w, WORLD_RESULTS(w) == 3);
    WORLD_WAIT(w, world_look(w).delivered == 1);
    struct world_seen seen = world_look(w);
    CHECK_EQ("failed", seen.failed, 1);
    CHECK_EQ("queued", seen.queued, 1);
    CHECK_SLICE("replies", slice_of_cstr(seen.replies),
                "|550 5.1.1 No such recipient here|4.4.4 no route takes this recipient|");
    world_send(w, BODY, "a@discard.test");
    WORLD_WAIT(w, WORLD_COUNT(w, attempts_delivered) == 2);
    WORLD_WAIT(w, world_look(w).messages == 1);
    world_destroy(w);
}

TEST(a_new_configuration_counts_from_the_next_attempt_on)
{
    struct pair p = make_pair();
    struct fake *second = fake_create();
    fake_start(second);
    start_pair(&p);
    world_send(p.w, BODY, "a@smtp.test");
    WORLD_WAIT(p.w, WORLD_COUNT(p.w, attempts_delivered) == 1);

    p.w->hosts[0][0].endpoint = second->at;
    struct routing *routing = routing_create(&p.w->config);
    delivery_reconfigure(p.w->delivery, &p.w->config, routing);
    routing_destroy(p.w->routing);
    p.w->routing = routing;
    WORLD_WAIT(p.w, fake_get(p.f, &p.f->quit_count) == 1);
    world_send(p.w, BODY, "a@smtp.test");
    WORLD_WAIT(p.w, WORLD_COUNT(p.w, attempts_delivered) == 2);
    stop_pair(&p);
    fake_stop(second);
    CHECK_EQ("first", p.f->message_count, 1);
    CHECK_EQ("second", second->message_count, 1);
    fake_destroy(second);
    destroy_pair(&p);
}

TEST(cores_share_the_slots_of_a_destination)
{
    struct pair p = make_pair();
    p.w->config.delivery.per_destination.connections = 1;
    start_pair(&p);
    struct delivery_options options = {.loop = p.w->loop,
                                       .blocks = p.w->blocks,
                                       .queue = p.w->queue,
                                       .config = &p.w->config,
                                       .routing = p.w->routing,
                                       .slots = p.w->slots};
    struct delivery *other = delivery_create(&options);
    for (unsigned i = 0; i < 20; i++) {
        world_send(p.w, BODY, "a@smtp.test");
        struct message *message = world_put(p.w, BODY, "b@smtp.test");
        CHECK(message != NULL);
        if (message != NULL) delivery_take(other, message);
    }
    const struct counter *others = &delivery_counters(other)->attempts_delivered;
    WORLD_WAIT(p.w, WORLD_COUNT(p.w, attempts_delivered) == 20 && counter_get(others) == 20);
    bool is_stopped = false;
    delivery_stop(other, 100, world_set_true, &is_stopped);
    WORLD_WAIT(p.w, is_stopped);
    delivery_destroy(other);
    stop_pair(&p);
    CHECK_EQ("at once", p.f->open_max, 1);
    destroy_pair(&p);
}

/* --- the end --- */

TEST(a_stop_waits_for_the_answer_to_the_final_dot)
{
    struct pair p = make_pair();
    p.f->dot = FAKE_SILENT;
    start_pair(&p);
    world_send(p.w, BODY, "a@smtp.test");
    WORLD_WAIT(p.w, fake_get(p.f, &p.f->message_count) == 1);
    bool is_stopped = false;
    delivery_stop(p.w->delivery, 5000, world_set_true, &is_stopped);
    world_pass(p.w, 50);
    CHECK(!is_stopped);
    pthread_mutex_lock(&p.f->lock);
    for (size_t i = 0; i < FAKE_CONNECTIONS_MAX; i++)
        if (p.f->connections[i].fd >= 0)
            (void)fake_answer(p.f, &p.f->connections[i], "250 at last\r\n");
    pthread_mutex_unlock(&p.f->lock);
    WORLD_WAIT(p.w, is_stopped);
    CHECK_EQ("delivered", WORLD_COUNT(p.w, attempts_delivered), 1);
    delivery_destroy(p.w->delivery);
    p.w->delivery = NULL;
    routing_destroy(p.w->routing);
    fake_stop(p.f);
    destroy_pair(&p);
}

TEST(a_stop_gives_back_what_is_not_after_its_dot)
{
    static const char *const steps[] = {"greeting", "ehlo", "mail", "rcpt", "data", "dot"};
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        struct pair p = make_pair();
        const char **reply = (const char **)(uintptr_t)reply_of(p.f, steps[i]);
        *reply = FAKE_SILENT;
        p.w->config.delivery.per_destination.connections = 1;
        start_pair(&p);
        world_send(p.w, BODY, "a@smtp.test");
        world_send(p.w, BODY, "b@smtp.test");
        world_pass(p.w, 60);
        stop_pair(&p);
        CHECK_EQ(steps[i], world_look(p.w).queued, 2);
        destroy_pair(&p);
    }
}

TEST(what_was_given_back_is_delivered_by_the_next_run)
{
    struct pair p = make_pair();
    p.f->greeting = FAKE_SILENT;
    start_pair(&p);
    for (unsigned i = 0; i < 5; i++)
        world_send(p.w, BODY, "a@smtp.test");
    world_pass(p.w, 30);
    world_stop_delivery(p.w, 100);
    queue_close(p.w->queue);
    spool_close(p.w->spool);

    fake_set(p.f, &p.f->greeting, "220 hello\r\n");
    world_open_queue(p.w);
    world_start(p.w);
    WORLD_WAIT(p.w, WORLD_COUNT(p.w, attempts_delivered) == 5);
    WORLD_WAIT(p.w, world_look(p.w).messages == 0);
    stop_pair(&p);
    CHECK_EQ("messages", p.f->message_count, 5);
    destroy_pair(&p);
}
