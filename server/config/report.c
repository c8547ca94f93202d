/* report.c - see report.h. Runs on whichever thread loads a configuration; nothing is shared. */
#include "server/config/report.h"

#include "ring/base/memory.h"

#include <stdarg.h>
#include <stdlib.h>

void report_init(struct report *report)
{
    *report = (struct report){0};
}

/* Bytes of the UTF-8 character at `text`, 0 when there is none: a list may be in another encoding,
 * and a long value is cut anywhere. RFC 3629 4. */
static size_t character_bytes(const char *text)
{
    unsigned char first = (unsigned char)text[0], second = (unsigned char)text[1];
    if (first < 0x80) return 1;
    size_t bytes = first >= 0xc2 && first < 0xe0   ? 2
                   : first >= 0xe0 && first < 0xf0 ? 3
                   : first >= 0xf0 && first < 0xf5 ? 4
                                                   : 0;
    bool is_overlong = (first == 0xe0 && second < 0xa0) || (first == 0xf0 && second < 0x90);
    bool is_beyond = (first == 0xf4 && second >= 0x90) || (first == 0xed && second >= 0xa0);
    bool is_control = first == 0xc2 && second < 0xa0;
    if (is_overlong || is_beyond || is_control) return 0;
    for (size_t i = 1; i < bytes; i++) {
        if (((unsigned char)text[i] & 0xc0) != 0x80) return 0; /* the terminator is none either */
    }
    return bytes;
}

/* The values that a line quotes are the operator's own, but a stray control byte must not reach a
 * terminal or split the line, and JSON carries the lines too. */
void text_disarm(char *text)
{
    for (char *at = text; *at != '\0';) {
        size_t bytes = character_bytes(at);
        if (bytes == 0 || (unsigned char)*at < ' ' || *at == 0x7f) *at = '?';
        at += MAX(bytes, (size_t)1);
    }
}

/* Takes `text`. */
static void add(struct report *report, const struct place *place, char *text)
{
    if (report->count == PROBLEMS_MAX) {
        report->unlisted++;
        free(text);
        return;
    }
    text_disarm(text);
    if (report->count == report->room) {
        report->room = report->room == 0 ? 16 : report->room * 2;
        report->problems = xrealloc(report->problems, report->room * sizeof(*report->problems));
    }
    report->problems[report->count++] = (struct problem){*place, text};
}

static void PRINTF_LIKE(3, 0) append(struct buf *line, size_t *at, const char *format, va_list args)
{
    int bytes = vsnprintf(line->data + *at, line->cap - *at, format, args);
    ASSERT(bytes >= 0);
    *at = MIN(*at + (size_t)bytes, line->cap - 1);
}

void report_add(struct report *report, const struct place *place, const char *format, ...)
{
    struct buf line = {xmalloc(PROBLEM_BYTES_MAX), 0, PROBLEM_BYTES_MAX, false};
    const char *name = place->name != NULL ? place->name : "configuration";
    switch (place->kind) {
    case PLACE_ENVIRONMENT:
        buf_append_format(&line, "environment: %.200s: ", name);
        break;
    case PLACE_FLAG:
        buf_append_format(&line, "--set %.200s: ", name);
        break;
    case PLACE_FILE:
    case PLACE_DEFAULT:
        buf_append_format(&line, "%.400s:%u:%u: ", name, MAX(place->line, 1u),
                          MAX(place->column, 1u));
        break;
    }
    size_t at = line.len;
    va_list args;
    va_start(args, format);
    append(&line, &at, format, args);
    va_end(args);
    add(report, place, line.data);
}

void report_add_in_list(struct report *report, const struct place *place, const char *file,
                        size_t list_line, const char *format, ...)
{
    struct buf line = {xmalloc(PROBLEM_BYTES_MAX), 0, PROBLEM_BYTES_MAX, false};
    buf_append_format(&line, "%.400s:%zu: ", file, list_line);
    size_t at = line.len;
    va_list args;
    va_start(args, format);
    append(&line, &at, format, args);
    va_end(args);
    add(report, place, line.data);
}

static int compare_places(const struct place *a, const struct place *b)
{
    /* A default has no place of its own: what is wrong with it stands at the file's start. */
    int a_kind = a->kind == PLACE_DEFAULT ? PLACE_FILE : (int)a->kind;
    int b_kind = b->kind == PLACE_DEFAULT ? PLACE_FILE : (int)b->kind;
    if (a_kind != b_kind) return a_kind < b_kind ? -1 : 1;
    if (a->line != b->line) return a->line < b->line ? -1 : 1;
    if (a->column != b->column) return a->column < b->column ? -1 : 1;
    return 0;
}

void report_finish(struct report *report, struct config_problems *problems)
{
    /* Merge sort by hand is not needed for at most PROBLEMS_MAX lines that come nearly in order:
     * an insertion sort keeps equal places as they were found. */
    for (size_t i = 1; i < report->count; i++) {
        struct problem moved = report->problems[i];
        size_t at = i;
        for (; at > 0 && compare_places(&report->problems[at - 1].place, &moved.place) > 0; at--) {
            report->problems[at] = report->problems[at - 1];
        }
        report->problems[at] = moved;
    }
    problems->count = report->count + (report->unlisted > 0 ? 1 : 0);
    problems->lines = problems->count == 0 ? NULL : xcalloc(problems->count, sizeof(char *));
    for (size_t i = 0; i < report->count; i++) {
        problems->lines[i] = report->problems[i].text;
    }
    if (report->unlisted > 0) {
        struct buf line = {xmalloc(PROBLEM_BYTES_MAX), 0, PROBLEM_BYTES_MAX, false};
        buf_append_format(&line, "and %zu more", report->unlisted);
        buf_append_char(&line, '\0');
        problems->lines[report->count] = line.data;
    }
    free(report->problems);
    report_init(report);
}

void place_write(const struct place *place, FILE *out)
{
    switch (place->kind) {
    case PLACE_DEFAULT:
        fputs("default", out);
        break;
    case PLACE_FILE:
        fprintf(out, "%s:%u:%u", place->name, place->line, place->column);
        break;
    case PLACE_ENVIRONMENT:
        fprintf(out, "environment %s", place->name);
        break;
    case PLACE_FLAG:
        fprintf(out, "--set %s", place->name);
        break;
    }
}
