/* ledger.c - appends lines through one buffer, and reads them back.
 *
 * A writer belongs to one thread. A line never straddles two writes, so that a reader of a file
 * whose writer was killed sees whole lines. */
#include "bench/ledger.h"

#include "bench/units.h"
#include "ring/base/buf.h"
#include "ring/base/err.h"
#include "ring/base/memory.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct ledger {
    int file;
    struct buf lines;
    char *path;
    char bytes[LEDGER_BUFFER_BYTES];
};

int ledger_open(const char *path, struct ledger **ledger_out)
{
    *ledger_out = NULL;
    int file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (file < 0) return -errno;
    struct ledger *ledger = xcalloc(1, sizeof(*ledger));
    ledger->file = file;
    ledger->path = xstrdup(path);
    ledger->lines = (struct buf){.data = ledger->bytes, .cap = sizeof(ledger->bytes)};
    *ledger_out = ledger;
    return 0;
}

void ledger_close(struct ledger *ledger)
{
    if (ledger == NULL) return;
    ledger_flush(ledger);
    close(ledger->file);
    free(ledger->path);
    free(ledger);
}

void ledger_flush(struct ledger *ledger)
{
    struct slice left = buf_slice(&ledger->lines);
    while (left.len > 0) {
        ssize_t n = write(ledger->file, left.data, left.len);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            fprintf(stderr, "cannot write the ledger %s: %s\n", ledger->path,
                    err_str(n < 0 ? -errno : -ERR_IO));
            exit(1);
        }
        left = slice_from(left, (size_t)n);
    }
    buf_reset(&ledger->lines);
}

static void append_id(struct buf *out, const struct message_id *id)
{
    char text[MARK_ID_BYTES];
    mark_write_id(id, text);
    buf_append(out, text, sizeof(text));
    buf_append_char(out, ' ');
}

static void append_hex(struct buf *out, uint64_t n, char end)
{
    char text[MARK_HEX_BYTES];
    mark_write_hex(n, text);
    buf_append(out, text, sizeof(text));
    buf_append_char(out, end);
}

static struct buf *room_for_line(struct ledger *ledger)
{
    if (buf_room(&ledger->lines) < LEDGER_LINE_BYTES_MAX) ledger_flush(ledger);
    return &ledger->lines;
}

void ledger_add_sent(struct ledger *ledger, const struct ledger_sent *line)
{
    struct buf *out = room_for_line(ledger);
    append_id(out, &line->id);
    append_hex(out, line->digest, ' ');
    buf_append_u64(out, line->body_bytes);
    buf_append_char(out, ' ');
    if (line->status == LEDGER_LOST) {
        buf_append_cstr(out, "lost");
    } else {
        buf_append_u64(out, line->status);
    }
    buf_append_char(out, ' ');
    append_hex(out, line->recipients, '\n');
    ASSERT(!out->is_short);
}

void ledger_add_received(struct ledger *ledger, const struct ledger_received *line)
{
    struct buf *out = room_for_line(ledger);
    append_id(out, &line->id);
    append_hex(out, line->digest, ' ');
    buf_append_cstr(out, line->is_altered ? "altered " : "ok ");
    append_hex(out, line->recipients, '\n');
    ASSERT(!out->is_short);
}

/* Cuts a line at its spaces into exactly `count` fields. */
static bool cut_fields(struct slice line, struct slice *fields, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!units_next(&line, ' ', &fields[i])) return false;
    }
    return line.data == NULL;
}

bool ledger_parse_sent(struct slice line, struct ledger_sent *out)
{
    struct slice fields[5];
    if (!cut_fields(line, fields, ARRAY_LEN(fields))) return false;
    uint64_t status = LEDGER_LOST;
    if (!slice_eq(fields[3], SLICE("lost"))) {
        if (!slice_to_u64(fields[3], 599, &status) || status < 200) return false;
    }
    out->status = (unsigned)status;
    return mark_parse_id(fields[0], &out->id) && mark_parse_hex(fields[1], &out->digest) &&
           slice_to_u64(fields[2], UINT64_MAX, &out->body_bytes) &&
           mark_parse_hex(fields[4], &out->recipients);
}

bool ledger_parse_received(struct slice line, struct ledger_received *out)
{
    struct slice fields[4];
    if (!cut_fields(line, fields, ARRAY_LEN(fields))) return false;
    out->is_altered = slice_eq(fields[2], SLICE("altered"));
    if (!out->is_altered && !slice_eq(fields[2], SLICE("ok"))) return false;
    return mark_parse_id(fields[0], &out->id) && mark_parse_hex(fields[1], &out->digest) &&
           mark_parse_hex(fields[3], &out->recipients);
}

int ledger_read(const char *path, void (*on_line)(void *owner, struct slice line), void *owner)
{
    FILE *file = fopen(path, "re");
    if (file == NULL) return -errno;
    char *line = NULL;
    size_t cap = 0;
    ssize_t len;
    while ((len = getline(&line, &cap, file)) > 0) {
        if (line[len - 1] == '\n') on_line(owner, slice_of(line, (size_t)len - 1));
    }
    int err = ferror(file) ? -ERR_IO : 0;
    free(line);
    fclose(file);
    return err;
}
