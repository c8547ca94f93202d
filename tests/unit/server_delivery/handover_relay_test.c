/* handover_relay_test.c - messages of every kind to next hops that take some of it, with a real
 * loop and queue. */
#include "tests/unit/server_delivery/world.h"

#define EHLO(offers) "250-fake.test\r\n" offers "250 PIPELINING\r\n"
#define EHLO_CHUNKING EHLO("250-CHUNKING\r\n")

static const char raw_text[] = "Subject: x\r\n\r\n.dot\r\n..\r\n.\r\nend without a line end";
#define RAW slice_of(raw_text, sizeof(raw_text) - 1)

static const struct envelope raw = {.form = BODY_RAW};

struct pair {
    struct world *w;
    struct fake *f;
};

static struct pair make_pair(const char *ehlo)
{
    struct pair p = {world_create(), fake_create()};
    world_route_to(p.w, p.f);
    p.f->ehlo = ehlo;
    fake_start(p.f);
    return p;
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

static void check_commands(const struct pair *p, const char *want)
{
    CHECK_SLICE("commands", slice_of(p->f->commands, p->f->commands_len), want);
}

TEST(what_came_by_bdat_goes_by_bdat)
{
    static const char *const offers[] = {EHLO_CHUNKING, "250-fake.test\r\n250 CHUNKING\r\n"};
    for (size_t i = 0; i < ARRAY_LEN(offers); i++) {
        struct pair p = make_pair(offers[i]);
        world_start(p.w);
        for (unsigned sent = 1; sent <= 3; sent++) {
            world_send_special(p.w, RAW, "a@smtp.test", &raw);
            WORLD_WAIT(p.w, WORLD_COUNT(p.w, attempts_delivered) == sent);
        }
        WORLD_WAIT(p.w, world_look(p.w).messages == 0);
        stop_pair(&p);
        CHECK_SLICE("body", slice_of(p.f->body, p.f->body_len), raw_text);
        CHECK_EQ("chunks", p.f->chunk_count, 3);
        CHECK_EQ("connections", p.f->connection_count, 1);
        CHECK_EQ("one command at a time", p.f->out_of_turn, 0);
        CHECK(strstr(p.f->commands, "|RCPT TO:<a@smtp.test>|BDAT 49 LAST|MAIL FROM:") != NULL);
        CHECK(strstr(p.f->commands, "DATA|") == NULL);
        destroy_pair(&p);
    }
}

TEST(an_empty_chunk)
{
    struct pair p = make_pair(EHLO_CHUNKING);
    world_start(p.w);
    world_send_special(p.w, SLICE(""), "a@smtp.test", &raw);
    WORLD_WAIT(p.w, WORLD_COUNT(p.w, attempts_delivered) == 1);
    stop_pair(&p);
    CHECK_EQ("messages", p.f->message_count, 1);
    CHECK_EQ("body", p.f->body_len, 0);
    destroy_pair(&p);
}

TEST(what_came_by_bdat_goes_by_data_with_dots_and_an_end)
{
    struct pair p = make_pair(FAKE_EHLO);
    world_start(p.w);
    world_send_special(p.w, RAW, "a@smtp.test", &raw);
    WORLD_WAIT(p.w, WORLD_COUNT(p.w, attempts_delivered) == 1);
    world_send_special(p.w, SLICE(""), "a@smtp.test", &raw);
    WORLD_WAIT(p.w, WORLD_COUNT(p.w, attempts_delivered) == 2);
    world_send_special(p.w, RAW, "a@smtp.test", &raw);
    WORLD_WAIT(p.w, WORLD_COUNT(p.w, attempts_delivered) == 3);
    stop_pair(&p);
    CHECK_SLICE("body", slice_of(p.f->body, p.f->body_len),
                "Subject: x\r\n\r\n..dot\r\n...\r\n..\r\nend without a line end\r\n");
    CHECK_EQ("messages", p.f->message_count, 3);
    CHECK_EQ("connections", p.f->connection_count, 1);
    destroy_pair(&p);
}

/* Bodies over several blocks: every border of a block falls on another byte of the pattern. */
static size_t make_large(char *text, size_t bytes)
{
    static const char *const lines[] = {".\r\n", "..\r\n", "\r\n", "x\r\n", "a longer line\r\n"};
    size_t len = 0;
    for (unsigned i = 0; len < bytes; i++) {
        const char *line = lines[(i * 7 + i / 11) % ARRAY_LEN(lines)];
        memcpy(text + len, line, strlen(line));
        len += strlen(line);
    }
    return len;
}

static size_t stuff_plainly(const char *in, size_t len, char *out)
{
    size_t at = 0;
    for (size_t i = 0; i < len; i++) {
        bool is_start = i == 0 || (i >= 2 && in[i - 1] == '\n' && in[i - 2] == '\r');
        if (is_start && in[i] == '.') out[at++] = '.';
        out[at++] = in[i];
    }
    return at;
}

TEST(large_bodies_over_block_borders)
{
    enum { BYTES = 1200000 };
    char *text = xmalloc(BYTES + 64), *want = xmalloc(2 * (size_t)BYTES);
    for (unsigned is_chunked = 0; is_chunked < 2; is_chunked++) {
        for (size_t shift = 0; shift < 6; shift++) {
            struct pair p = make_pair(is_chunked ? EHLO_CHUNKING : FAKE_EHLO);
            world_start(p.w);
            memset(text, 'y', shift);
            size_t len = shift + make_large(text + shift, BYTES);
            world_send_special(p.w, slice_of(text, len), "a@smtp.test", &raw);
            WORLD_WAIT(p.w, WORLD_RESULTS(p.w) == 1);
            stop_pair(&p);
            size_t want_len = len;
            memcpy(want, text, len);
            if (!is_chunked) want_len = stuff_plainly(text, len, want);
            CHECK_EQ("length", p.f->body_len, want_len);
            CHECK(p.f->body_len == want_len && memcmp(p.f->body, want, want_len) == 0);
            destroy_pair(&p);
        }
    }
    free(text);
    free(want);
}

TEST(a_bare_newline_never_leaves_by_data)
{
    static const char *const bodies[] = {"a\r\n.\r\nb\n.\r\nc\r\n", "a\r\nb\r", "\rb\r\n"};
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        struct pair p = make_pair(FAKE_EHLO);
        world_start(p.w);
        world_send_special(p.w, slice_of_cstr(bodies[i]), "a@smtp.test b@smtp.test", &raw);
        WORLD_WAIT(p.w, WORLD_COUNT(p.w, attempts_failed) == 2);
        CHECK_SLICE("reply", slice_of(world_logged(p.w, "failed", "reply"), 6), "5.6.3 ");
        /* The next message is not harmed. */
        world_send_special(p.w, RAW, "a@smtp.test", &raw);
        WORLD_WAIT(p.w, WORLD_COUNT(p.w, attempts_delivered) == 1);
        stop_pair(&p);
        CHECK_EQ("messages", p.f->message_count, 1);
        destroy_pair(&p);
    }
}

TEST(a_refused_chunk_is_reset_and_the_connection_goes_on)
{
    static const struct {
        const char *reply;
        bool is_failed;
    } cases[] = {{"554 5.6.0 no\r\n", true}, {"452 4.3.1 full\r\n", false}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct pair p = make_pair(EHLO_CHUNKING);
        p.f->dot = cases[i].reply;
        world_start(p.w);
        world_send_special(p.w, RAW, "a@smtp.test", &raw);
        WORLD_WAIT(p.w, WORLD_RESULTS(p.w) == 1);
        CHECK_EQ("failed", WORLD_COUNT(p.w, attempts_failed), cases[i].is_failed);
        fake_set(p.f, &p.f->dot, "250 2.0.0 ok\r\n");
        world_send_special(p.w, RAW, "b@smtp.test", &raw);
        WORLD_WAIT(p.w, WORLD_COUNT(p.w, attempts_delivered) == 1);
        stop_pair(&p);
        CHECK_EQ("rset", p.f->rset_count, 1);
        CHECK_EQ("connections", p.f->connection_count, 1);
        destroy_pair(&p);
    }
}

TEST(no_chunk_is_sent_to_nobody)
{
    struct pair p = make_pair(EHLO_CHUNKING);
    p.f->rcpt_550 = "gone@";
    world_start(p.w);
    world_send_special(p.w, RAW, "gone@smtp.test", &raw);
    WORLD_WAIT(p.w, WORLD_COUNT(p.w, attempts_failed) == 1);
    world_send_special(p.w, RAW, "gone@smtp.test a@smtp.test", &raw);
    WORLD_WAIT(p.w, WORLD_COUNT(p.w, attempts_delivered) == 1);
    stop_pair(&p);
    CHECK_EQ("chunks", p.f->chunk_count, 1);
    CHECK_EQ("rset", p.f->rset_count, 1);
    CHECK_EQ("connections", p.f->connection_count, 1);
    destroy_pair(&p);
}

TEST(a_chunk_that_is_answered_badly_or_not_at_all)
{
    static const char *const replies[] = {FAKE_CLOSE, FAKE_SILENT, "354 what\r\n", "421 bye\r\n"};
    for (size_t i = 0; i < ARRAY_LEN(replies); i++) {
        struct pair p = make_pair(EHLO_CHUNKING);
        p.f->dot = replies[i];
        p.w->config.delivery.timeouts.data_end_ms = 50;
        world_start(p.w);
        world_send_special(p.w, RAW, "a@smtp.test", &raw);
        WORLD_WAIT(p.w, WORLD_COUNT(p.w, attempts_deferred) == 1);
        stop_pair(&p);
        CHECK_EQ("chunks", p.f->chunk_count, 1);
        CHECK_EQ("queued", world_look(p.w).queued, 1);
        destroy_pair(&p);
    }
}

TEST(what_the_next_hop_cannot_take_fails_unsent)
{
    static const struct {
        const char *name, *ehlo, *want;
        struct envelope special;
    } cases[] = {
        {"8-bit", EHLO_CHUNKING, "5.6.3 ", {.is_8bit = true}},
        {"binary",
         EHLO("250-8BITMIME\r\n250-CHUNKING\r\n"),
         "5.6.3 ",
         {.form = BODY_RAW, .is_binary = true, .is_8bit = true}},
        {"header",
         FAKE_EHLO,
         "5.6.9 ",
         {.is_utf8 = true, .has_utf8_header = true, .is_8bit = true}},
        {"sender", FAKE_EHLO, "5.6.7 ", {.is_utf8 = true, .sender = {"\xc3\xb6@x.test", 9}}},
        {"TLS", FAKE_EHLO, "5.7.30 ", {.requires_tls = true}},
        {"TLS, offered in the clear",
         EHLO("250-REQUIRETLS\r\n"),
         "5.7.30 ",
         {.requires_tls = true}},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct pair p = make_pair(cases[i].ehlo);
        world_start(p.w);
        world_send_special(p.w, RAW, "a@smtp.test b@smtp.test", &cases[i].special);
        WORLD_WAIT(p.w, WORLD_COUNT(p.w, attempts_failed) == 2);
        const char *reply = world_logged(p.w, "failed", "reply");
        CHECK_SLICE(cases[i].name, slice_of(reply, strlen(cases[i].want)), cases[i].want);
        stop_pair(&p);
        CHECK(strstr(p.f->commands, "MAIL") == NULL);
        destroy_pair(&p);
    }
}

TEST(recipients_of_one_message_get_what_each_can_have)
{
    static const struct envelope utf8 = {.form = BODY_RAW, .is_utf8 = true};
    struct pair p = make_pair(FAKE_EHLO);
    world_start(p.w);
    /* A domain in UTF-8 is another route's to match: "smtp.test" is all this world routes. */
    world_send_special(p.w, RAW, "a@smtp.test \xc3\xb6@smtp.test b@smtp.test", &utf8);
    WORLD_WAIT(p.w, WORLD_RESULTS(p.w) == 3);
    WORLD_WAIT(p.w, world_look(p.w).messages == 0);
    CHECK_EQ("delivered", WORLD_COUNT(p.w, attempts_delivered), 2);
    CHECK_SLICE("reply", slice_of(world_logged(p.w, "failed", "reply"), 6), "5.6.7 ");
    stop_pair(&p);
    check_commands(&p, "EHLO gw.test|MAIL FROM:<sender@from.test> SIZE=49|RCPT TO:<a@smtp.test>|"
                       "RCPT TO:<b@smtp.test>|DATA|QUIT|");
    destroy_pair(&p);
}

TEST(utf8_is_sent_on_where_it_is_taken)
{
    static const struct envelope utf8 = {
        .form = BODY_RAW, .is_utf8 = true, .has_utf8_header = true, .is_8bit = true};
    struct pair p = make_pair(EHLO("250-SMTPUTF8\r\n250-8BITMIME\r\n"));
    world_start(p.w);
    world_send_special(p.w, RAW, "\xc3\xb6@smtp.test", &utf8);
    WORLD_WAIT(p.w, WORLD_COUNT(p.w, attempts_delivered) == 1);
    stop_pair(&p);
    check_commands(&p, "EHLO gw.test|MAIL FROM:<sender@from.test> BODY=8BITMIME SMTPUTF8|"
                       "RCPT TO:<\xc3\xb6@smtp.test>|DATA|QUIT|");
    destroy_pair(&p);
}

/* --- LIMITS --- */

static unsigned count_of(const char *text, const char *word)
{
    unsigned count = 0;
    while ((text = strstr(text, word)) != NULL) {
        count++;
        text += strlen(word);
    }
    return count;
}

TEST(no_more_recipients_than_the_next_hop_takes_in_one_transaction)
{
    struct pair p = make_pair(EHLO("250-LIMITS RCPTMAX=3\r\n"));
    p.w->config.delivery.per_destination.connections = 1;
    p.f->rcpt_550 = "u4@";
    p.f->rcpt_451 = "u5@";
    world_start(p.w);
    world_send(p.w, SLICE("x\r\n"),
               "u1@smtp.test u2@smtp.test u3@smtp.test u4@smtp.test u5@smtp.test u6@smtp.test "
               "u7@smtp.test u8@smtp.test");
    WORLD_WAIT(p.w, WORLD_RESULTS(p.w) == 8);
    CHECK_EQ("delivered", WORLD_COUNT(p.w, attempts_delivered), 6);
    WORLD_WAIT(p.w, world_look(p.w).queued == 1);
    world_pass(p.w, 30);
    CHECK_EQ("each once", WORLD_RESULTS(p.w), 8);
    stop_pair(&p);
    CHECK_EQ("transactions", p.f->message_count, 3);
    CHECK_EQ("MAIL", count_of(p.f->commands, "MAIL FROM"), 3);
    CHECK_EQ("RCPT", count_of(p.f->commands, "RCPT TO"), 8);
    CHECK(strstr(p.f->commands, "RCPT TO:<u1@smtp.test>|RCPT TO:<u2@smtp.test>|"
                                "RCPT TO:<u3@smtp.test>|DATA|MAIL") != NULL);
    CHECK_EQ("connections", p.f->connection_count, 1);
    destroy_pair(&p);
}

TEST(a_refused_sender_is_refused_for_those_put_off_as_well)
{
    struct pair p = make_pair(EHLO("250-LIMITS RCPTMAX=1\r\n"));
    p.f->mail = "550 5.7.1 not you\r\n";
    world_start(p.w);
    world_send(p.w, SLICE("x\r\n"), "u1@smtp.test u2@smtp.test u3@smtp.test");
    WORLD_WAIT(p.w, WORLD_COUNT(p.w, attempts_failed) == 3);
    stop_pair(&p);
    CHECK_EQ("MAIL", count_of(p.f->commands, "MAIL FROM"), 1);
    destroy_pair(&p);
}

TEST(a_refused_message_is_refused_for_its_recipients_alone)
{
    struct pair p = make_pair(EHLO("250-LIMITS RCPTMAX=1\r\n"));
    p.f->dot = "554 5.7.1 spam\r\n";
    world_start(p.w);
    world_send(p.w, SLICE("x\r\n"), "u1@smtp.test u2@smtp.test u3@smtp.test");
    WORLD_WAIT(p.w, WORLD_COUNT(p.w, attempts_failed) == 3);
    stop_pair(&p);
    CHECK_EQ("transactions", p.f->message_count, 3);
    destroy_pair(&p);
}

TEST(no_more_messages_than_the_next_hop_takes_in_one_connection)
{
    struct pair p = make_pair(EHLO("250-LIMITS MAILMAX=2 RCPTMAX=1\r\n"));
    p.w->config.delivery.per_destination.connections = 1;
    world_start(p.w);
    world_send(p.w, SLICE("x\r\n"), "u1@smtp.test u2@smtp.test u3@smtp.test");
    world_send(p.w, SLICE("x\r\n"), "u4@smtp.test");
    world_send(p.w, SLICE("x\r\n"), "u5@smtp.test");
    WORLD_WAIT(p.w, WORLD_COUNT(p.w, attempts_delivered) == 5);
    WORLD_WAIT(p.w, world_look(p.w).messages == 0);
    CHECK_EQ("deferred", WORLD_COUNT(p.w, attempts_deferred), 0);
    stop_pair(&p);
    CHECK_EQ("connections", p.f->connection_count, 3);
    destroy_pair(&p);
}

TEST(no_more_domains_than_the_next_hop_takes_in_one_transaction)
{
    struct pair p = {world_create(), fake_create()};
    world_host(world_route(p.w, "*", ACTION_SMTP), p.f);
    p.f->ehlo = EHLO("250-LIMITS RCPTDOMAINMAX=2\r\n");
    p.w->config.delivery.per_destination.connections = 1;
    fake_start(p.f);
    world_start(p.w);
    world_send(p.w, SLICE("x\r\n"), "u1@a.test u2@b.test u3@c.test u4@A.test u5@c.test u6@d.test");
    WORLD_WAIT(p.w, WORLD_COUNT(p.w, attempts_delivered) == 6);
    stop_pair(&p);
    CHECK_EQ("transactions", p.f->message_count, 2);
    CHECK(strstr(p.f->commands, "RCPT TO:<u1@a.test>|RCPT TO:<u2@b.test>|RCPT TO:<u4@A.test>|DATA|"
                                "MAIL FROM:<sender@from.test>|RCPT TO:<u3@c.test>|"
                                "RCPT TO:<u5@c.test>|RCPT TO:<u6@d.test>|DATA|") != NULL);
    destroy_pair(&p);
}

TEST(a_stop_in_the_middle_gives_back_who_was_put_off)
{
    struct pair p = make_pair(EHLO("250-LIMITS RCPTMAX=1\r\n"));
    p.f->dot = FAKE_SILENT;
    world_start(p.w);
    world_send(p.w, SLICE("x\r\n"), "u1@smtp.test u2@smtp.test");
    WORLD_WAIT(p.w, fake_get(p.f, &p.f->message_count) == 1);
    stop_pair(&p);
    struct world_seen seen = world_look(p.w);
    CHECK_EQ("queued", seen.queued, 2);
    destroy_pair(&p);
}

TEST(a_chunk_on_a_reused_connection_that_died_goes_to_another)
{
    struct pair p = make_pair(EHLO("250-CHUNKING\r\n250-LIMITS RCPTMAX=2\r\n"));
    p.f->close_at_mail = 1;
    world_start(p.w);
    for (unsigned i = 1; i <= 2; i++) {
        world_send_special(p.w, RAW, "a@smtp.test b@smtp.test c@smtp.test", &raw);
        WORLD_WAIT(p.w, WORLD_COUNT(p.w, attempts_delivered) == 3 * i);
    }
    CHECK_EQ("deferred", WORLD_COUNT(p.w, attempts_deferred), 0);
    stop_pair(&p);
    CHECK_EQ("messages", p.f->message_count, 4);
    destroy_pair(&p);
}
