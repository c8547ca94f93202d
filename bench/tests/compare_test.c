#include "bench/compare.h"

#include "bench/ledger.h"
#include "ring/base/err.h"
#include "tests/support/test.h"

#include <fcntl.h>
#include <unistd.h>

#define RUN 0x0f1e2d3c4b5a6978u

static const struct ledger_sent sent_42 = {{RUN, 42}, 0x89abcdef01234567u, 3587, 1, 250};

static void path_of(char *path)
{
    static const char pattern[] = "/tmp/postern-ledger-XXXXXX";
    memcpy(path, pattern, sizeof(pattern));
    int file = mkstemp(path);
    CHECK(file >= 0);
    close(file);
}

static void write_sent(const char *path, const struct ledger_sent *lines, size_t count)
{
    struct ledger *ledger;
    CHECK_EQ("open", ledger_open(path, &ledger), 0);
    for (size_t i = 0; i < count; i++) {
        ledger_add_sent(ledger, &lines[i]);
    }
    ledger_close(ledger);
}

TEST(ledger_lines_are_read_as_written)
{
    struct ledger_sent sent;
    struct ledger_received got;
    struct slice line = SLICE("0f1e2d3c4b5a6978-000000000042 89abcdef01234567 3587 lost "
                              "0000000000000003");
    CHECK(ledger_parse_sent(line, &sent));
    CHECK_EQ("number", sent.id.number, 42);
    CHECK_EQ("status", sent.status, LEDGER_LOST);
    CHECK_EQ("recipients", sent.recipients, 3);
    for (size_t cut = 0; cut < line.len; cut++) {
        CHECK(!ledger_parse_sent(slice_of(line.data, cut), &sent));
    }
    line = SLICE("0f1e2d3c4b5a6978-000000000042 89abcdef01234567 altered 0000000000000001");
    CHECK(ledger_parse_received(line, &got) && got.is_altered);
    for (size_t cut = 0; cut < line.len; cut++) {
        CHECK(!ledger_parse_received(slice_of(line.data, cut), &got));
    }
    CHECK(!ledger_parse_sent(line, &sent));
}

static void count_line(void *owner, struct slice line)
{
    struct ledger_sent sent;
    unsigned *count = owner;
    CHECK(ledger_parse_sent(line, &sent));
    CHECK_EQ("digest", sent.digest, sent_42.digest);
    (*count)++;
}

TEST(ledger_appends_and_passes_over_a_cut_line)
{
    char path[64];
    path_of(path);
    for (unsigned i = 0; i < 3; i++) {
        write_sent(path, &sent_42, 1);
    }
    int file = open(path, O_WRONLY | O_APPEND);
    CHECK(write(file, "0f1e2d3c", 8) == 8);
    close(file);
    unsigned count = 0;
    CHECK_EQ("read", ledger_read(path, count_line, &count), 0);
    CHECK_EQ("lines", count, 3);
    CHECK_EQ("none", ledger_read("/nonexistent", count_line, &count), -ERR_NOT_FOUND);
    unlink(path);
}

TEST(tally_counts_copies_by_recipient)
{
    struct tally t;
    tally_init(&t, 0);
    struct message_id one = {RUN, 1}, two = {RUN, 2};
    tally_add(&t, &one, 5, 1, false);
    tally_add(&t, &one, 5, 2, false); /* another recipient: no double */
    CHECK_EQ("doubled", t.doubled, 0);
    tally_add(&t, &one, 5, 3, false); /* both again */
    CHECK_EQ("doubled", t.doubled, 2);
    tally_add(&t, &two, 5, MARK_RECIPIENT_OTHER, true);
    tally_add(&t, &two, 5, MARK_RECIPIENT_OTHER, false);
    CHECK_EQ("others are not told apart", t.doubled, 2);
    CHECK_EQ("altered", t.altered, 1);
    CHECK_EQ("distinct", t.distinct, 2);
    uint64_t counts[3];
    tally_copies(&t, counts);
    CHECK(counts[0] == 0 && counts[1] == 1 && counts[2] == 1);
    tally_finish(&t);
}

TEST(tally_grows)
{
    struct tally t;
    tally_init(&t, 0);
    for (uint64_t i = 1; i <= 100000; i++) {
        struct message_id id = {RUN + i % 3, i};
        tally_add(&t, &id, i, 1, false);
    }
    CHECK_EQ("distinct", t.distinct, 100000);
    for (uint64_t i = 1; i <= 100000; i++) {
        struct message_id id = {RUN + i % 3, i}, other = {RUN + i % 3 + 1, i};
        const struct tally_entry *e = tally_find(&t, &id);
        CHECK(e != NULL && e->digest == i && e->copies == 1);
        CHECK(tally_find(&t, &other) == NULL);
    }
    tally_finish(&t);
}

/* Message 1 to 7 of the ledger, and what arrives of them in each case. */
TEST(comparison_finds_each_fault)
{
    static const struct ledger_sent lines[] = {
        {{RUN, 1}, 10, 100, 1, 250}, {{RUN, 2}, 20, 100, 1, 250},
        {{RUN, 3}, 30, 100, 1, 451}, {{RUN, 4}, 40, 100, 1, LEDGER_LOST},
        {{RUN, 5}, 50, 100, 3, 250},
    };
    static const struct ledger_received all[] = {
        {{RUN, 1}, 10, 1, false}, {{RUN, 2}, 20, 1, false}, {{RUN, 5}, 50, 3, false}};
    static const struct {
        const char *name;
        size_t first, count; /* of `all` */
        struct ledger_received extra;
        bool is_good;
        uint64_t lost, unexpected, wrong_digest, unsure_received, missing, unknown, doubled;
    } cases[] = {
        {"all well", 0, 3, {{0, 0}, 0, 0, false}, true, 0, 0, 0, 0, 0, 0, 0},
        {"one lost", 1, 2, {{0, 0}, 0, 0, false}, false, 1, 0, 0, 0, 0, 0, 0},
        {"refused", 0, 3, {{RUN, 3}, 30, 1, false}, false, 0, 1, 0, 0, 0, 0, 0},
        {"unanswered", 0, 3, {{RUN, 4}, 40, 1, false}, true, 0, 0, 0, 1, 0, 0, 0},
        {"doubled", 0, 3, {{RUN, 2}, 20, 1, false}, false, 0, 0, 0, 0, 0, 0, 1},
        {"another digest", 1, 2, {{RUN, 1}, 11, 1, false}, false, 0, 0, 1, 0, 0, 0, 0},
        {"altered", 1, 2, {{RUN, 1}, 11, 1, true}, false, 0, 0, 0, 0, 0, 0, 0},
        {"a recipient missing", 0, 2, {{RUN, 5}, 50, 2, false}, false, 0, 0, 0, 0, 1, 0, 0},
        {"a refused recipient", 1, 2, {{RUN, 1}, 10, 3, false}, false, 0, 1, 0, 0, 0, 0, 0},
        {"unknown", 0, 3, {{RUN, 9}, 90, 1, false}, true, 0, 0, 0, 0, 0, 1, 0},
    };
    char path[64];
    path_of(path);
    write_sent(path, lines, ARRAY_LEN(lines));
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct tally t;
        struct comparison c;
        tally_init(&t, 0);
        for (size_t k = 0; k < cases[i].count; k++) {
            const struct ledger_received *r = &all[cases[i].first + k];
            tally_add(&t, &r->id, r->digest, r->recipients, r->is_altered);
        }
        const struct ledger_received *extra = &cases[i].extra;
        if (extra->recipients != 0) {
            tally_add(&t, &extra->id, extra->digest, extra->recipients, extra->is_altered);
        }
        CHECK_EQ(cases[i].name, compare_ledger(&t, path, &c), 0);
        CHECK_EQ(cases[i].name, compare_is_good(&c, &t, false), cases[i].is_good);
        CHECK_EQ(cases[i].name, c.lost, cases[i].lost);
        CHECK_EQ(cases[i].name, c.unexpected, cases[i].unexpected);
        CHECK_EQ(cases[i].name, c.wrong_digest, cases[i].wrong_digest);
        CHECK_EQ(cases[i].name, c.unsure_received, cases[i].unsure_received);
        CHECK_EQ(cases[i].name, c.recipients_missing, cases[i].missing);
        CHECK_EQ(cases[i].name, c.unknown, cases[i].unknown);
        CHECK_EQ(cases[i].name, t.doubled, cases[i].doubled);
        if (cases[i].doubled > 0) CHECK(compare_is_good(&c, &t, true));
        tally_finish(&t);
    }
    unlink(path);
}
