/* compare.c - the verdict on a run. One pass over the sender's ledger, one over the table. */
#include "bench/compare.h"

#include "bench/ledger.h"

#include <stdio.h>

struct reading {
    struct tally *tally;
    struct comparison *comparison;
    uint64_t bad_lines;
};

/* Counts a fault, and shows the first few. */
static void fault(uint64_t *count, const char *what, const struct message_id *id)
{
    if ((*count)++ >= COMPARE_EXAMPLES_MAX) return;
    char text[MARK_ID_BYTES];
    mark_write_id(id, text);
    fprintf(stderr, "%s: %.*s\n", what, MARK_ID_BYTES, text);
}

static void on_accepted(struct comparison *c, const struct ledger_sent *sent,
                        const struct tally_entry *e)
{
    c->accepted++;
    if (e == NULL) {
        fault(&c->lost, "lost", &sent->id);
        return;
    }
    uint64_t missing = sent->recipients & ~e->recipients;
    if (missing != 0) fault(&c->recipients_missing, "misses recipients", &sent->id);
    if ((e->recipients & ~sent->recipients) != 0) {
        fault(&c->unexpected, "came for a recipient that was refused", &sent->id);
    }
}

static void on_sent_line(void *owner, struct slice line)
{
    struct reading *reading = owner;
    struct comparison *c = reading->comparison;
    struct ledger_sent sent;
    if (!ledger_parse_sent(line, &sent)) {
        c->bad_lines++;
        return;
    }
    struct tally_entry *e = tally_find(reading->tally, &sent.id);
    if (e != NULL) {
        e->is_expected = true;
        if (e->altered == 0 && e->digest != sent.digest) {
            fault(&c->wrong_digest, "another digest than was sent", &sent.id);
        }
    }
    if (sent.status == LEDGER_LOST) {
        c->unanswered++;
        *(e == NULL ? &c->unsure_missing : &c->unsure_received) += 1;
    } else if (sent.status < 300) {
        on_accepted(c, &sent, e);
    } else {
        c->refused++;
        if (e != NULL) fault(&c->unexpected, "came though refused", &sent.id);
    }
}

int compare_ledger(struct tally *tally, const char *path, struct comparison *out)
{
    *out = (struct comparison){0};
    struct reading reading = {.tally = tally, .comparison = out};
    int err = ledger_read(path, on_sent_line, &reading);
    if (err != 0) return err;
    for (size_t i = 0; i < tally->slot_count; i++) {
        const struct tally_entry *e = &tally->slots[i];
        if (e->copies > 0 && !e->is_expected) out->unknown++;
    }
    return 0;
}

static void on_received_line(void *owner, struct slice line)
{
    struct reading *reading = owner;
    struct ledger_received received;
    if (ledger_parse_received(line, &received) && received.recipients != 0) {
        tally_add(reading->tally, &received.id, received.digest, received.recipients,
                  received.is_altered);
    } else {
        reading->bad_lines++;
    }
}

int compare_read_received(struct tally *tally, const char *path, uint64_t *bad_lines)
{
    struct reading reading = {.tally = tally};
    int err = ledger_read(path, on_received_line, &reading);
    *bad_lines += reading.bad_lines;
    return err;
}

bool compare_is_good(const struct comparison *c, const struct tally *tally, bool may_double)
{
    uint64_t faults = c->lost + c->recipients_missing + c->unexpected + c->wrong_digest +
                      c->bad_lines + tally->altered + tally->without_id;
    return faults == 0 && (may_double || tally->doubled == 0);
}

void compare_report_tally(json_t *report, const struct tally *tally)
{
    uint64_t counts[3];
    tally_copies(tally, counts);
    report_set_u64(report, "received", tally->received);
    report_set_u64(report, "distinct", tally->distinct);
    report_set_u64(report, "doubled", tally->doubled);
    report_set_u64(report, "altered", tally->altered);
    report_set_u64(report, "without_id", tally->without_id);
    json_t *copies = json_object();
    report_set_u64(copies, "1", counts[0]);
    report_set_u64(copies, "2", counts[1]);
    report_set_u64(copies, "3+", counts[2]);
    report_set(report, "copies", copies);
}

void compare_report(json_t *report, const struct comparison *c)
{
    report_set_u64(report, "accepted", c->accepted);
    report_set_u64(report, "refused", c->refused);
    report_set_u64(report, "unanswered", c->unanswered);
    report_set_u64(report, "lost", c->lost);
    report_set_u64(report, "recipients_missing", c->recipients_missing);
    report_set_u64(report, "unexpected", c->unexpected);
    report_set_u64(report, "unsure_received", c->unsure_received);
    report_set_u64(report, "unsure_missing", c->unsure_missing);
    report_set_u64(report, "wrong_digest", c->wrong_digest);
    report_set_u64(report, "unknown", c->unknown);
    report_set_u64(report, "bad_lines", c->bad_lines);
}
