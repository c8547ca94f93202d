/* bounce_test.c - notifications, from what is to be reported to the file in the sender's mailbox.
 */
#include "tests/unit/server_delivery/world.h"

#include "server/delivery/bounce_targets.h"
#include "server/delivery/delivery_internal.h"

#include <dirent.h>

#define FROM_BOX "%s/mail/from.test/sender/new"

static const char body_text[] = "Subject: x\r\nTo: b\r\n\r\n..stuffed\r\nend\r\n";
#define BODY slice_of(body_text, sizeof(body_text) - 1)

static const struct envelope plain = {.is_8bit = false};

/* --- a world whose sender has a mailbox --- */

static char path_template[1200];

static struct world *make_world(void)
{
    struct world *w = world_create();
    snprintf(path_template, sizeof(path_template), "%s/mail/{domain}/{local}", w->dir);
    world_route(w, "from.test", ACTION_MAILDIR)->maildir_path = path_template;
    w->config.delivery.bounces.message_bytes_max = 50000;
    return w;
}

static unsigned notification_count(const struct world *w)
{
    char dir[1200];
    snprintf(dir, sizeof(dir), FROM_BOX, w->dir);
    DIR *stream = opendir(dir);
    unsigned count = 0;
    if (stream == NULL) return 0;
    for (struct dirent *entry; (entry = readdir(stream)) != NULL;)
        count += entry->d_name[0] != '.';
    closedir(stream);
    return count;
}

/* The only notification that has come; terminated. */
static struct slice notification(const struct world *w)
{
    static char text[4 << 20];
    char dir[1200], path[1500] = "";
    snprintf(dir, sizeof(dir), FROM_BOX, w->dir);
    DIR *stream = opendir(dir);
    unsigned count = 0;
    text[0] = '\0';
    if (stream == NULL) return SLICE("");
    for (struct dirent *entry; (entry = readdir(stream)) != NULL;) {
        if (entry->d_name[0] == '.') continue;
        snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
        count++;
    }
    closedir(stream);
    CHECK_EQ("notifications", count, 1);
    FILE *file = fopen(path, "r");
    CHECK(file != NULL);
    if (file == NULL) return SLICE("");
    size_t len = fread(text, 1, sizeof(text) - 1, file);
    fclose(file);
    text[len] = '\0';
    return slice_of(text, len);
}

static bool has(struct slice text, const char *words)
{
    return memmem(text.data, text.len, words, strlen(words)) != NULL;
}

static unsigned count_of(struct slice text, const char *words)
{
    unsigned count = 0;
    size_t len = strlen(words);
    for (size_t i = 0; i + len <= text.len; i++)
        count += memcmp(text.data + i, words, len) == 0;
    return count;
}

/* The last part: what stands between its head and the last boundary. */
static struct slice original_of(struct slice text, const char *type)
{
    char head[128];
    snprintf(head, sizeof(head), "\r\nContent-Type: %s\r\nContent-Transfer-Encoding: ", type);
    const char *at = memmem(text.data, text.len, head, strlen(head));
    CHECK(at != NULL);
    if (at == NULL) return SLICE("");
    struct slice rest = slice_from(text, (size_t)(at - text.data) + strlen(head));
    at = memmem(rest.data, rest.len, "\r\n\r\n", 4);
    CHECK(at != NULL);
    if (at == NULL) return SLICE("");
    rest = slice_from(rest, (size_t)(at + 4 - rest.data));
    const char *last = NULL;
    while ((at = memmem(rest.data + (last == NULL ? 0 : last + 1 - rest.data),
                        rest.len - (last == NULL ? 0 : (size_t)(last + 1 - rest.data)), "\r\n--=_",
                        6)) != NULL)
        last = at;
    CHECK(last != NULL);
    return last == NULL ? SLICE("") : slice_of(rest.data, (size_t)(last - rest.data));
}

static bool is_same(struct slice a, struct slice b)
{
    return a.len == b.len && memcmp(a.data, b.data, a.len) == 0;
}

/* A message whose sender says nothing of notifications. */
static struct message *new_message(struct world *w, struct slice body, const char *recipients,
                                   const struct envelope *special)
{
    struct message *message = world_put_special(w, body, recipients, special);
    if (message == NULL) world_fail("queue_put_take", "too many in memory");
    for (uint32_t i = 0; i < message->envelope.recipient_count; i++)
        message->envelope.recipients[i].notify = 0;
    return message;
}

/* One that has been tried: all its recipients have failed. */
static struct message *failed_message(struct world *w, struct slice body, const char *recipients,
                                      const struct envelope *special)
{
    struct message *message = new_message(w, body, recipients, special);
    for (uint32_t i = 0; i < message->envelope.recipient_count; i++) {
        struct recipient *recipient = &message->envelope.recipients[i];
        recipient->state = RECIPIENT_FAILED;
        recipient->report = REPORT_FAILED;
        recipient->reply = SLICE("550 5.1.1 no such user");
        recipient->host = SLICE("mx.to.test[192.0.2.1]:25");
    }
    return message;
}

static int report(struct world *w, struct message *message)
{
    struct world_op op = {.op = {.done = world_op_done}};
    bounce_send(w->delivery->bounces, message, &op.op);
    CHECK(!op.is_done);
    return world_op_wait(w, &op);
}

static void settle(struct world *w, struct message *message)
{
    struct world_op op = {.op = {.done = world_op_done}};
    queue_settle(w->queue, message, &op.op);
    CHECK_EQ("settled", world_op_wait(w, &op), 0);
}

/* Reports a message like that and returns what comes of it. */
static struct slice bounced(struct world *w, struct slice body, const struct envelope *special)
{
    world_start(w);
    struct message *message = failed_message(w, body, "bob@to.test", special);
    CHECK_EQ("reported", report(w, message), 0);
    CHECK_EQ("report", message->envelope.recipients[0].report, REPORT_NONE);
    settle(w, message);
    WORLD_WAIT(w, notification_count(w) == 1);
    WORLD_WAIT(w, world_look(w).messages == 0);
    return notification(w);
}

/* --- what is wanted --- */

TEST(what_is_wanted)
{
    enum {
        N = DSN_NOTIFY_NEVER,
        S = DSN_NOTIFY_SUCCESS,
        F = DSN_NOTIFY_FAILURE,
        D = DSN_NOTIFY_DELAY
    };
    static const struct {
        const char *name;
        uint8_t notify;
        bool is_warned;
        unsigned wanted; /* BITs of the reports */
    } cases[] = {
        {"not given", 0, false, BIT(REPORT_FAILED) | BIT(REPORT_EXPIRED) | BIT(REPORT_DELAYED)},
        {"warned", 0, true, BIT(REPORT_FAILED) | BIT(REPORT_EXPIRED)},
        {"never", N, false, 0},
        {"never and more", N | S | F | D, false, 0},
        {"failure", F, false, BIT(REPORT_FAILED) | BIT(REPORT_EXPIRED)},
        {"delay", D, false, BIT(REPORT_DELAYED)},
        {"delay, warned", D, true, 0},
        {"success", S, false, BIT(REPORT_DELIVERED) | BIT(REPORT_RELAYED)},
        {"success and failure", S | F, false,
         BIT(REPORT_DELIVERED) | BIT(REPORT_RELAYED) | BIT(REPORT_FAILED) | BIT(REPORT_EXPIRED)},
    };
    const struct envelope envelope = {.sender = SLICE("a@b.test")};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct recipient recipient = {.notify = cases[i].notify, .is_warned = cases[i].is_warned};
        unsigned wanted = 0;
        for (unsigned r = REPORT_NONE; r <= REPORT_RELAYED; r++) {
            enum recipient_report got =
                bounce_report_wanted(&envelope, &recipient, (enum recipient_report)r);
            CHECK(got == REPORT_NONE || got == (enum recipient_report)r);
            if (got != REPORT_NONE) wanted |= BIT(got);
        }
        CHECK_EQ(cases[i].name, wanted, cases[i].wanted);
    }
}

TEST(who_is_never_told)
{
    static const struct {
        const char *name;
        struct envelope envelope;
        bool is_told;
    } cases[] = {
        {"an address", {.sender = SLICE("a@b.test")}, true},
        {"the null reverse-path", {.sender = SLICE("")}, false},
        {"a notification", {.sender = SLICE("a@b.test"), .is_own = true}, false},
        {"a line end", {.sender = SLICE("a\r\nTo: c@b.test")}, false},
        {"UTF-8 that was not declared", {.sender = SLICE("\xc3\xbc@b.test")}, false},
        {"UTF-8", {.sender = SLICE("\xc3\xbc@b.test"), .is_utf8 = true}, true},
        {"no UTF-8", {.sender = SLICE("\xff@b.test"), .is_utf8 = true}, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct recipient recipient = {.notify = 0};
        enum recipient_report got =
            bounce_report_wanted(&cases[i].envelope, &recipient, REPORT_FAILED);
        CHECK_EQ(cases[i].name, got == REPORT_FAILED, cases[i].is_told);
    }
}

TEST(what_is_due)
{
    static const struct {
        const char *name;
        struct recipient recipient;
        bool is_due;
    } cases[] = {
        {"nothing", {.state = RECIPIENT_FAILED}, false},
        {"now", {.state = RECIPIENT_FAILED, .report = REPORT_FAILED}, true},
        {"by then", {.state = RECIPIENT_FAILED, .report = REPORT_FAILED, .next_ms = 100}, true},
        {"later", {.state = RECIPIENT_FAILED, .report = REPORT_FAILED, .next_ms = 101}, false},
        {"a delay", {.state = RECIPIENT_QUEUED, .report = REPORT_DELAYED, .next_ms = 9000}, true},
        {"queued", {.state = RECIPIENT_QUEUED, .next_ms = 0}, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct recipient recipients[2] = {{.state = RECIPIENT_DELIVERED}, cases[i].recipient};
        struct message message = {.envelope = {.recipients = recipients, .recipient_count = 2}};
        CHECK_EQ(cases[i].name, bounce_is_due(&message, 100), cases[i].is_due);
    }
}

/* --- what is sent --- */

TEST(a_failure_comes_back_with_the_message)
{
    struct world *w = make_world();
    struct slice text = bounced(w, BODY, &plain);
    static const char *const lines[] = {
        "Return-Path: <>\r\n",
        "\r\nTo: <sender@from.test>\r\n",
        "\r\nAuto-Submitted: auto-replied\r\n",
        "\r\n  <bob@to.test>\r\n      The server mx.to.test[192.0.2.1]:25 said:\r\n",
        "\r\nFinal-Recipient: rfc822; bob@to.test\r\nAction: failed\r\nStatus: 5.1.1\r\n"
        "Remote-MTA: dns; mx.to.test\r\nDiagnostic-Code: smtp; 550 5.1.1 no such user\r\n"
        "Last-Attempt-Date: ",
    };
    for (size_t i = 0; i < ARRAY_LEN(lines); i++)
        CHECK_EQ(lines[i], has(text, lines[i]), true);
    CHECK_SLICE("original", original_of(text, "message/rfc822"),
                "Subject: x\r\nTo: b\r\n\r\n.stuffed\r\nend\r\n");
    CHECK_EQ("sent", WORLD_COUNT(w, dsn_sent[REPORT_FAILED - 1]), 1);
    CHECK_EQ("dropped", WORLD_COUNT(w, dsn_dropped), 0);
    world_destroy(w);
}

TEST(what_is_returned)
{
    static const char header[] = "Subject: x\r\nTo: b\r\n";
    static const struct {
        const char *name;
        struct envelope special;
        uint64_t bytes_max;
        const char *type;
        bool is_whole;
    } cases[] = {
        {"short", {.is_8bit = false}, sizeof(body_text) - 1, "message/rfc822", true},
        {"long", {.is_8bit = false}, sizeof(body_text) - 2, "text/rfc822-headers", false},
        {"RET=FULL", {.ret = DSN_RETURN_FULL}, 1000, "message/rfc822", true},
        {"RET=FULL, long", {.ret = DSN_RETURN_FULL}, 10, "text/rfc822-headers", false},
        {"RET=HDRS", {.ret = DSN_RETURN_HEADERS}, 1000, "text/rfc822-headers", false},
        {"8-bit", {.is_8bit = true}, 1000, "message/rfc822", true},
        {"UTF-8 in the header",
         {.is_utf8 = true, .has_utf8_header = true},
         1000,
         "message/global",
         true},
        {"REQUIRETLS", {.requires_tls = true}, 1000, "text/rfc822-headers", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct world *w = make_world();
        w->config.delivery.bounces.message_bytes_max = cases[i].bytes_max;
        struct slice text = bounced(w, BODY, &cases[i].special);
        CHECK_SLICE(cases[i].name, original_of(text, cases[i].type),
                    cases[i].is_whole ? "Subject: x\r\nTo: b\r\n\r\n.stuffed\r\nend\r\n" : header);
        CHECK_EQ(cases[i].name, has(text, "\r\nContent-Transfer-Encoding: 8bit\r\n"),
                 cases[i].special.is_8bit || cases[i].special.has_utf8_header);
        world_destroy(w);
    }
}

TEST(a_message_that_came_by_bdat_comes_back_as_it_is)
{
    static const struct envelope raw = {.form = BODY_RAW};
    static const char body[] = "Subject: x\r\n\r\n.\r\n..dots\r\nno line end";
    struct world *w = make_world();
    struct slice text = bounced(w, slice_of(body, sizeof(body) - 1), &raw);
    CHECK_SLICE("original", original_of(text, "message/rfc822"), body);
    world_destroy(w);
}

TEST(of_a_binary_message_the_header_comes_back)
{
    static const struct envelope binary = {.form = BODY_RAW, .is_binary = true, .is_8bit = true};
    static const char body[] = "Subject: x\ry\r\nTo: \0\r\n\r\n\0\r\n.\r\n\n\r";
    struct world *w = make_world();
    struct slice text = bounced(w, slice_of(body, sizeof(body) - 1), &binary);
    CHECK_SLICE("original", original_of(text, "text/rfc822-headers"), "Subject: x y\r\nTo: ?\r\n");
    world_destroy(w);
}

static void fill(char *body, size_t len)
{
    static const char line[] = "..a line that begins with a dot, as it is stored\r\n";
    memcpy(body, "Subject: x\r\n\r\n", 14);
    for (size_t i = 14; i < len; i++)
        body[i] = line[(i - 14) % (sizeof(line) - 1)];
    memcpy(body + len - 4, "zz\r\n", 4);
}

/* Longer than all the blocks that one put may have in memory; read from memory and from disk. */
TEST(a_large_message_comes_back_whole)
{
    for (unsigned is_on_disk = 0; is_on_disk < 2; is_on_disk++) {
        enum { LEN = 1500000 };
        struct world *w = make_world();
        w->config.delivery.bounces.message_bytes_max = 10 << 20;
        world_start(w);
        char *body = xmalloc(LEN), *want = xmalloc(LEN);
        fill(body, LEN);
        struct message *message = failed_message(w, slice_of(body, LEN), "bob@to.test", &plain);
        for (uint32_t i = 0; is_on_disk && i < message->extent_count; i++) {
            block_put(w->blocks, message->blocks[i]);
            message->blocks[i] = NULL;
        }
        CHECK_EQ("reported", report(w, message), 0);
        settle(w, message);
        WORLD_WAIT(w, notification_count(w) == 1);
        WORLD_WAIT(w, world_look(w).messages == 0);
        size_t len = 0;
        for (size_t i = 0; i < LEN; i++) {
            bool is_stuffing = body[i] == '.' && body[i - 1] == '\n';
            if (!is_stuffing) want[len++] = body[i];
        }
        struct slice original = original_of(notification(w), "message/rfc822");
        CHECK_EQ("length", original.len, len);
        CHECK(is_same(original, slice_of(want, len)));
        free(body);
        free(want);
        world_destroy(w);
    }
}

static void set(struct message *message, uint32_t at, enum recipient_state state,
                enum recipient_report result, const char *reply)
{
    struct recipient *recipient = &message->envelope.recipients[at];
    recipient->state = state;
    recipient->report = result;
    recipient->reply = slice_of_cstr(reply);
    recipient->next_ms = 0;
}

TEST(one_tells_of_all_recipients)
{
    struct world *w = make_world();
    world_start(w);
    struct message *message = failed_message(
        w, BODY, "a@to.test b@to.test c@to.test d@to.test e@to.test f@to.test", &plain);
    struct recipient *recipients = message->envelope.recipients;
    set(message, 0, RECIPIENT_QUEUED, REPORT_DELAYED, "450 4.2.1 later");
    set(message, 1, RECIPIENT_FAILED, REPORT_EXPIRED, "4.4.7 expired; last: 451 4.3.0 not now");
    set(message, 2, RECIPIENT_DELIVERED, REPORT_DELIVERED, "");
    set(message, 3, RECIPIENT_DELIVERED, REPORT_RELAYED, "250 2.6.0 taken");
    set(message, 4, RECIPIENT_DELIVERED, REPORT_NONE, "");
    recipients[2].notify = recipients[3].notify = DSN_NOTIFY_SUCCESS;
    recipients[0].next_ms = 12345;
    CHECK_EQ("reported", report(w, message), 0);
    for (uint32_t i = 0; i < 6; i++)
        CHECK_EQ("report", recipients[i].report, REPORT_NONE);
    CHECK(recipients[0].is_warned && !recipients[1].is_warned);
    CHECK_EQ("next", recipients[0].next_ms, 12345);
    for (unsigned i = 0; i < 5; i++)
        CHECK_EQ("sent", WORLD_COUNT(w, dsn_sent[i]), 1);
    WORLD_WAIT(w, notification_count(w) == 1);
    struct slice text = notification(w);
    CHECK_EQ("blocks", count_of(text, "\r\nFinal-Recipient: "), 5);
    CHECK(has(text, "; a@to.test\r\nAction: delayed\r\nStatus: 4.2.1\r\n"));
    CHECK(has(text, "; b@to.test\r\nAction: failed\r\nStatus: 4.4.7\r\n"));
    CHECK(has(text, "\r\nDiagnostic-Code: smtp; 451 4.3.0 not now\r\n"));
    CHECK(has(text, "; c@to.test\r\nAction: delivered\r\nStatus: 2.0.0\r\n"));
    CHECK(has(text, "; d@to.test\r\nAction: relayed\r\nStatus: 2.6.0\r\n"));
    CHECK(has(text, "; f@to.test\r\nAction: failed\r\nStatus: 5.1.1\r\n"));
    CHECK(!has(text, "e@to.test"));
    CHECK_EQ("until", count_of(text, "\r\nWill-Retry-Until: "), 1);
    recipients[0].state = RECIPIENT_DELIVERED;
    settle(w, message);
    world_destroy(w);
}

TEST(people_are_not_told_of_every_recipient)
{
    struct world *w = make_world();
    world_start(w);
    char recipients[128 * 16] = "";
    for (unsigned i = 0; i < 120; i++)
        snprintf(recipients + strlen(recipients), 16, "%sr%03u@to.test", i > 0 ? " " : "", i);
    struct message *message = failed_message(w, BODY, recipients, &plain);
    CHECK_EQ("reported", report(w, message), 0);
    settle(w, message);
    WORLD_WAIT(w, notification_count(w) == 1);
    struct slice text = notification(w);
    CHECK_EQ("for people", count_of(text, "\r\n  <r"), 50);
    CHECK(has(text, "... and 70 more;"));
    CHECK_EQ("for programs", count_of(text, "\r\nFinal-Recipient: "), 120);
    CHECK_EQ("sent", WORLD_COUNT(w, dsn_sent[0]), 120);
    world_destroy(w);
}

/* What an edit or an older record left, but is not to be told. */
TEST(what_is_not_wanted_is_forgotten)
{
    struct world *w = make_world();
    world_start(w);
    struct message *message = failed_message(w, BODY, "a@to.test b@to.test", &plain);
    message->envelope.recipients[0].notify = DSN_NOTIFY_NEVER;
    set(message, 1, RECIPIENT_DELIVERED, REPORT_DELAYED, "");
    CHECK_EQ("reported", report(w, message), 0);
    CHECK_EQ("report", message->envelope.recipients[0].report, REPORT_NONE);
    CHECK_EQ("report", message->envelope.recipients[1].report, REPORT_NONE);
    CHECK(!message->envelope.recipients[1].is_warned);
    settle(w, message);
    CHECK_EQ("messages", world_look(w).messages, 0);
    world_destroy(w);
}

TEST(no_notification_about_a_notification)
{
    static const struct envelope own = {.is_own = true};
    struct world *w = make_world();
    world_start(w);
    struct message *message = failed_message(w, BODY, "a@to.test", &own);
    CHECK_EQ("reported", report(w, message), 0);
    CHECK_EQ("report", message->envelope.recipients[0].report, REPORT_NONE);
    bounce_note_silence(w->delivery->bounces, message, &message->envelope.recipients[0]);
    CHECK_EQ("dropped", WORLD_COUNT(w, dsn_dropped), 1);
    settle(w, message);
    CHECK_EQ("messages", world_look(w).messages, 0);
    world_destroy(w);
}

/* --- what goes wrong --- */

/* Every block that is to be had for input. */
struct hoard {
    void *blocks[2048];
    unsigned count;
};

static void take_blocks(struct world *w, struct hoard *hoard)
{
    for (unsigned size = 0; size < 2; size++) {
        void *block;
        while ((block = block_get(w->blocks, (enum block_size)size, BLOCK_FOR_INPUT)) != NULL)
            hoard->blocks[hoard->count++] = block;
    }
}

static void give_blocks(struct world *w, struct hoard *hoard)
{
    while (hoard->count > 0)
        block_put(w->blocks, hoard->blocks[--hoard->count]);
}

TEST(reports_stay_while_the_queue_takes_nothing)
{
    static struct hoard hoard;
    struct world *w = make_world();
    world_start(w);
    struct message *message = failed_message(w, BODY, "a@to.test b@to.test", &plain);
    set(message, 1, RECIPIENT_QUEUED, REPORT_DELAYED, "450 later");
    message->envelope.recipients[1].next_ms = 77;
    take_blocks(w, &hoard);
    CHECK_EQ("refused", report(w, message), -ERR_AGAIN);
    give_blocks(w, &hoard);
    const struct recipient *recipients = message->envelope.recipients;
    CHECK_EQ("report", recipients[0].report, REPORT_FAILED);
    CHECK_EQ("report", recipients[1].report, REPORT_DELAYED);
    CHECK(!recipients[1].is_warned);
    uint64_t now_ms = loop_wall_ms(w->loop);
    CHECK(recipients[0].next_ms > now_ms + BOUNCE_RETRY_MS - 5000);
    CHECK(recipients[0].next_ms <= now_ms + BOUNCE_RETRY_MS);
    CHECK_EQ("next", recipients[1].next_ms, 77);
    CHECK_EQ("dropped", WORLD_COUNT(w, dsn_dropped), 0);
    /* The message comes back from the disk, and is told then. */
    CHECK_EQ("reported", report(w, message), 0);
    message->envelope.recipients[1].state = RECIPIENT_DELIVERED;
    settle(w, message);
    WORLD_WAIT(w, notification_count(w) == 1);
    world_destroy(w);
}

TEST(a_notification_waits_for_room)
{
    enum { LEN = 900000 };
    static struct hoard hoard;
    struct world *w = make_world();
    w->config.delivery.bounces.message_bytes_max = 10 << 20;
    world_start(w);
    char *body = xmalloc(LEN);
    fill(body, LEN);
    struct message *message = failed_message(w, slice_of(body, LEN), "a@to.test", &plain);
    struct world_op op = {.op = {.done = world_op_done}};
    bounce_send(w->delivery->bounces, message, &op.op); /* has its first blocks */
    take_blocks(w, &hoard);
    world_pass(w, 50);
    give_blocks(w, &hoard);
    CHECK_EQ("reported", world_op_wait(w, &op), 0);
    settle(w, message);
    WORLD_WAIT(w, notification_count(w) == 1);
    CHECK(original_of(notification(w), "message/rfc822").len > LEN / 2);
    free(body);
    world_destroy(w);
}

TEST(a_corrupt_body_is_told)
{
    struct world *w = make_world();
    world_start(w);
    struct message *message = failed_message(w, BODY, "a@to.test", &plain);
    CHECK_EQ("extents", message->extent_count, 1);
    block_put(w->blocks, message->blocks[0]);
    message->blocks[0] = NULL;
    message->extents[0].crc32c ^= 1;
    CHECK_EQ("reported", report(w, message), -ERR_CORRUPT);
    CHECK_EQ("report", message->envelope.recipients[0].report, REPORT_FAILED);
    CHECK_EQ("next", message->envelope.recipients[0].next_ms, 0);
    message->extents[0].crc32c ^= 1;
    message->envelope.recipients[0].report = REPORT_NONE;
    settle(w, message);
    CHECK_EQ("messages", world_look(w).messages, 0);
    world_destroy(w);
}

/* More than may be written at once. */
TEST(many_wait_for_their_turn)
{
    enum { COUNT = BOUNCES_MAX + 44 };
    static struct message *messages[COUNT];
    static struct world_op ops[COUNT];
    struct world *w = make_world();
    world_start(w);
    for (unsigned i = 0; i < COUNT; i++)
        messages[i] = failed_message(w, BODY, "a@to.test", &plain);
    for (unsigned i = 0; i < COUNT; i++) {
        ops[i] = (struct world_op){.op = {.done = world_op_done}};
        bounce_send(w->delivery->bounces, messages[i], &ops[i].op);
    }
    for (unsigned i = 0; i < COUNT; i++) {
        CHECK_EQ("reported", world_op_wait(w, &ops[i]), 0);
        settle(w, messages[i]);
    }
    WORLD_WAIT(w, notification_count(w) == COUNT);
    CHECK(bounces_is_idle(w->delivery->bounces));
    CHECK_EQ("sent", WORLD_COUNT(w, dsn_sent[0]), COUNT);
    world_destroy(w);
}

TEST(a_domain_gets_no_more_than_its_rate)
{
    struct world *w = make_world();
    w->config.delivery.bounces.per_minute = 1;
    world_start(w);
    for (unsigned i = 0; i < BOUNCE_BURST + 3; i++) {
        struct message *message = failed_message(w, BODY, "a@to.test b@to.test", &plain);
        CHECK_EQ("reported", report(w, message), 0);
        CHECK_EQ("report", message->envelope.recipients[0].report, REPORT_NONE);
        settle(w, message);
    }
    WORLD_WAIT(w, notification_count(w) == BOUNCE_BURST);
    CHECK_EQ("sent", WORLD_COUNT(w, dsn_sent[0]), 2 * BOUNCE_BURST);
    CHECK_EQ("dropped", WORLD_COUNT(w, dsn_dropped), 6);
    WORLD_WAIT(w, world_look(w).messages == 0);
    world_destroy(w);
}

TEST(buckets_fill_again)
{
    struct bounce_targets targets;
    uint64_t now_ms = 1000;
    bounce_targets_init(&targets);
    for (unsigned i = 0; i < BOUNCE_BURST; i++)
        CHECK(bounce_targets_take(&targets, SLICE("a@B.test"), 60, now_ms));
    CHECK(!bounce_targets_take(&targets, SLICE("\"x@y\"@b.TEST"), 60, now_ms));
    CHECK(!bounce_targets_take(&targets, SLICE("a@b.test"), 60, now_ms + 999));
    CHECK(bounce_targets_take(&targets, SLICE("a@b.test"), 60, now_ms + 1000));
    CHECK(!bounce_targets_take(&targets, SLICE("a@b.test"), 60, now_ms + 1000));
    CHECK(bounce_targets_take(&targets, SLICE("a@sub.b.test"), 60, now_ms));
    CHECK(bounce_targets_take(&targets, SLICE("a@b.test"), 0, now_ms));
    bounce_targets_give_back(&targets, SLICE("c@b.test"));
    CHECK(bounce_targets_take(&targets, SLICE("a@b.test"), 60, now_ms + 1000));
    CHECK(!bounce_targets_take(&targets, SLICE("a@b.test"), 60, now_ms + 1000));
    bounce_targets_give_back(&targets, SLICE("c@unknown.test"));
    /* Full, and not more than full, after a very long time; also from a clock that went back. */
    now_ms = UINT64_MAX - 10;
    for (unsigned i = 0; i < BOUNCE_BURST; i++)
        CHECK(bounce_targets_take(&targets, SLICE("a@b.test"), 1000000, now_ms));
    CHECK(!bounce_targets_take(&targets, SLICE("a@b.test"), 1000000, now_ms));
    CHECK(!bounce_targets_take(&targets, SLICE("a@b.test"), 1000000, 5));
    bounce_targets_finish(&targets);
}

TEST(the_domain_of_longest_ago_is_forgotten)
{
    struct bounce_targets targets;
    char address[64];
    bounce_targets_init(&targets);
    for (unsigned i = 0; i < BOUNCE_BURST; i++) {
        CHECK(bounce_targets_take(&targets, SLICE("a@first.test"), 1, 1000));
        CHECK(bounce_targets_take(&targets, SLICE("a@second.test"), 1, 1000));
    }
    for (unsigned i = 0; i < BOUNCE_TARGETS_MAX - 2; i++) {
        snprintf(address, sizeof(address), "a@d%u.test", i);
        CHECK(bounce_targets_take(&targets, slice_of_cstr(address), 1, 1000));
    }
    CHECK_EQ("count", targets.map.count, BOUNCE_TARGETS_MAX);
    CHECK(!bounce_targets_take(&targets, SLICE("a@first.test"), 1, 1000)); /* used again */
    CHECK(bounce_targets_take(&targets, SLICE("a@new.test"), 1, 1000));
    CHECK_EQ("count", targets.map.count, BOUNCE_TARGETS_MAX);
    CHECK(!bounce_targets_take(&targets, SLICE("a@first.test"), 1, 1000));
    CHECK(bounce_targets_take(&targets, SLICE("a@second.test"), 1, 1000));
    bounce_targets_finish(&targets);
}

/* --- with all the rest of the sending half --- */

TEST(a_rejected_recipient_is_told_and_the_message_ends)
{
    static char reject[] = "550 5.7.1 not here";
    struct world *w = make_world();
    world_route(w, "bad.test", ACTION_REJECT)->reject_reply = reject;
    world_start(w);
    delivery_take(w->delivery,
                  new_message(w, BODY, "a@bad.test sender@from.test b@bad.test", &plain));
    WORLD_WAIT(w, WORLD_COUNT(w, dsn_sent[REPORT_FAILED - 1]) == 2);
    WORLD_WAIT(w, notification_count(w) == 2); /* the message itself, too */
    WORLD_WAIT(w, world_look(w).messages == 0);
    CHECK_EQ("sent", WORLD_COUNT(w, dsn_sent[REPORT_FAILED - 1]), 2);
    world_destroy(w);
}

TEST(a_notification_that_cannot_be_delivered_ends)
{
    static const struct envelope special = {.sender = SLICE("c@bad.test")};
    static char reject[] = "550 5.7.1 not here";
    struct world *w = make_world();
    world_route(w, "bad.test", ACTION_REJECT)->reject_reply = reject;
    world_start(w);
    delivery_take(w->delivery, new_message(w, BODY, "a@bad.test", &special));
    WORLD_WAIT(w, WORLD_COUNT(w, attempts_failed) == 2);
    WORLD_WAIT(w, world_look(w).messages == 0);
    CHECK_EQ("sent", WORLD_COUNT(w, dsn_sent[REPORT_FAILED - 1]), 1);
    world_destroy(w);
}

TEST(a_delay_is_told_once)
{
    struct world *w = make_world();
    w->config.delivery.retry.first_ms = 30;
    w->config.delivery.retry.max_ms = 30;
    w->config.delivery.retry.warn_after_ms = 1;
    world_start(w);
    /* No route takes it. */
    delivery_take(w->delivery, new_message(w, BODY, "a@nowhere.test", &plain));
    WORLD_WAIT(w, WORLD_COUNT(w, attempts_deferred) >= 5);
    WORLD_WAIT(w, notification_count(w) == 1);
    CHECK_EQ("sent", WORLD_COUNT(w, dsn_sent[REPORT_DELAYED - 1]), 1);
    CHECK(has(notification(w), "\r\nAction: delayed\r\nStatus: 4.4.4\r\n"));
    world_destroy(w);
}
