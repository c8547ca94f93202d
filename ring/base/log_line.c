/* log_line.c - builds one log line, as text or as a JSON object.
 *
 * Values may be any bytes. In text they are quoted when they need it, and what is not printable
 * becomes \xNN; in JSON it becomes \u00NN. Printable means ASCII or valid UTF-8 that is not a C1
 * control, so that no peer can steer the terminal of whoever reads the log.
 *
 * This is on the path of every message: no printf here, and a value that needs no escape is one
 * scan and one copy. */
#include "ring/base/log_internal.h"

#include "ring/base/buf.h"
#include "ring/base/clock.h"

#include <time.h>

/* Room that every line keeps for its end: `,"cut":true}` and the newline. */
#define LINE_END_BYTES 16
#define LINE_BODY_BYTES (LOG_LINE_BYTES_MAX - LINE_END_BYTES)
#define WORD_BYTES 64 /* events and keys: words of ours */
#define U64_DIGITS 20
#define ESCAPE_BYTES 6
#define KEY_DECORATION_BYTES 4 /* `,"":` */

enum byte_class {
    BYTE_PLAIN = 0,
    BYTE_NEEDS_QUOTES = BIT(0),
    BYTE_NEEDS_ESCAPE = BIT(1),
    BYTE_IS_HIGH = BIT(2), /* part of UTF-8, if it is valid */
};

static const uint8_t byte_classes[256] = {
    [0x00 ... 0x1f] = BYTE_NEEDS_ESCAPE, [0x7f] = BYTE_NEEDS_ESCAPE, ['"'] = BYTE_NEEDS_ESCAPE,
    ['\\'] = BYTE_NEEDS_ESCAPE,          [' '] = BYTE_NEEDS_QUOTES,  ['='] = BYTE_NEEDS_QUOTES,
    [0x80 ... 0xff] = BYTE_IS_HIGH,
};

static const char *const level_names[] = {
    [LOG_ERROR] = "error", [LOG_WARN] = "warn", [LOG_INFO] = "info", [LOG_DEBUG] = "debug"};

/* The caller has checked the room. */
static inline void put(struct log_line *line, const char *data, size_t len)
{
    memcpy(line->bytes + line->len, data, len);
    line->len += len;
}

static inline void put_char(struct log_line *line, char c)
{
    line->bytes[line->len++] = c;
}

static void put_digits(struct log_line *line, uint64_t n)
{
    char digits[U64_DIGITS];
    size_t at = sizeof(digits);
    do {
        digits[--at] = (char)('0' + n % 10);
        n /= 10;
    } while (n != 0);
    put(line, digits + at, sizeof(digits) - at);
}

static void put_padded3(struct log_line *line, uint64_t n)
{
    put_char(line, (char)('0' + n / 100));
    put_char(line, (char)('0' + n / 10 % 10));
    put_char(line, (char)('0' + n % 10));
}

static void line_set_date(struct log_line *line, uint64_t second)
{
    struct tm tm;
    time_t time = (time_t)second;
    struct tm *done = gmtime_r(&time, &tm);
    ASSERT(done != NULL);
    struct buf date = {line->date, 0, sizeof(line->date), false};
    /* RFC 3339 has four digits for the year. */
    buf_append_padded(&date, (uint64_t)(tm.tm_year + 1900) % 10000, 4);
    buf_append_char(&date, '-');
    buf_append_padded(&date, (uint64_t)tm.tm_mon + 1, 2);
    buf_append_char(&date, '-');
    buf_append_padded(&date, (uint64_t)tm.tm_mday, 2);
    buf_append_char(&date, 'T');
    buf_append_padded(&date, (uint64_t)tm.tm_hour, 2);
    buf_append_char(&date, ':');
    buf_append_padded(&date, (uint64_t)tm.tm_min, 2);
    buf_append_char(&date, ':');
    buf_append_padded(&date, (uint64_t)tm.tm_sec, 2);
    buf_append_char(&date, '.');
    ASSERT(date.len == LOG_DATE_BYTES);
    line->date_second = second;
}

static void put_word(struct log_line *line, const char *word)
{
    size_t len = strlen(word);
    ASSERT(len <= WORD_BYTES);
    put(line, word, len);
}

static void put_time(struct log_line *line, uint64_t wall_ms)
{
    uint64_t second = wall_ms / 1000;
    if (second != line->date_second || line->date[0] == '\0') line_set_date(line, second);
    put(line, line->date, LOG_DATE_BYTES);
    put_padded3(line, wall_ms % 1000);
    put_char(line, 'Z');
}

#define PUT_LITERAL(line, literal) put(line, literal, sizeof(literal) - 1)

void log_line_begin(struct log_line *line, enum log_format format, enum log_level level,
                    const char *event, uint64_t wall_ms)
{
    ASSERT((size_t)level < ARRAY_LEN(level_names));
    line->format = format;
    line->is_cut = false;
    line->len = 0;
    if (format == LOG_JSON) {
        PUT_LITERAL(line, "{\"time\":\"");
        put_time(line, wall_ms);
        PUT_LITERAL(line, "\",\"level\":\"");
        put_word(line, level_names[level]);
        PUT_LITERAL(line, "\",\"event\":\"");
        put_word(line, event);
        put_char(line, '"');
    } else {
        put_time(line, wall_ms);
        put_char(line, ' ');
        put_word(line, level_names[level]);
        put_char(line, ' ');
        put_word(line, event);
    }
}

/* Writes the key when `value_bytes` of a value would fit after it; cuts the line if not. */
static bool line_key(struct log_line *line, const char *key, size_t value_bytes)
{
    if (line->is_cut) return false;
    size_t len = strlen(key);
    ASSERT(len <= WORD_BYTES);
    if (line->len + KEY_DECORATION_BYTES + len + value_bytes > LINE_BODY_BYTES) {
        line->is_cut = true;
        return false;
    }
    if (line->format == LOG_JSON) {
        PUT_LITERAL(line, ",\"");
        put(line, key, len);
        PUT_LITERAL(line, "\":");
    } else {
        put_char(line, ' ');
        put(line, key, len);
        put_char(line, '=');
    }
    return true;
}

static bool is_tail(uint8_t byte)
{
    return (byte & 0xc0) == 0x80;
}

/* The length of the character at `at`, whose first byte is 0x80 or above; 0 when it is not valid
 * UTF-8 (RFC 3629: no overlong form, no surrogate) or a C1 control. */
static size_t utf8_len(const uint8_t *at, size_t left)
{
    if (left >= 2 && at[0] >= 0xc2 && at[0] <= 0xdf) {
        bool is_c1 = at[0] == 0xc2 && at[1] < 0xa0;
        return is_tail(at[1]) && !is_c1 ? 2 : 0;
    }
    if (left >= 3 && (at[0] & 0xf0) == 0xe0) {
        bool is_overlong = at[0] == 0xe0 && at[1] < 0xa0;
        bool is_surrogate = at[0] == 0xed && at[1] >= 0xa0;
        return is_tail(at[1]) && is_tail(at[2]) && !is_overlong && !is_surrogate ? 3 : 0;
    }
    if (left >= 4 && at[0] >= 0xf0 && at[0] <= 0xf4) {
        bool is_overlong = at[0] == 0xf0 && at[1] < 0x90;
        bool is_beyond = at[0] == 0xf4 && at[1] >= 0x90;
        bool has_tails = is_tail(at[1]) && is_tail(at[2]) && is_tail(at[3]);
        return has_tails && !is_overlong && !is_beyond ? 4 : 0;
    }
    return 0;
}

/* Writes the escape of one byte to `out`, which has ESCAPE_BYTES. */
static size_t escape_byte(enum log_format format, uint8_t byte, char *out)
{
    static const char hex[] = "0123456789abcdef";
    size_t len = 0;
    out[len++] = '\\';
    if (byte == '"' || byte == '\\') {
        out[len++] = (char)byte;
        return len;
    }
    out[len++] = format == LOG_JSON ? 'u' : 'x';
    if (format == LOG_JSON) {
        out[len++] = '0';
        out[len++] = '0';
    }
    out[len++] = hex[byte >> 4];
    out[len++] = hex[byte & 0x0f];
    return len;
}

/* Writes as much of the value as fits, never half a character nor half an escape. */
static void put_escaped(struct log_line *line, struct slice value)
{
    const uint8_t *at = (const uint8_t *)value.data;
    size_t left = value.len, used;
    for (; left > 0; at += used, left -= used) {
        char escape[ESCAPE_BYTES];
        const char *unit = (const char *)at;
        size_t unit_len = 1;
        used = 1;
        uint8_t class = byte_classes[*at];
        if (class == BYTE_IS_HIGH) unit_len = used = utf8_len(at, left);
        if (class == BYTE_NEEDS_ESCAPE || used == 0) {
            used = 1;
            unit_len = escape_byte(line->format, *at, escape);
            unit = escape;
        }
        if (line->len + unit_len + 1 /* closing quote */ > LINE_BODY_BYTES) {
            line->is_cut = true;
            return;
        }
        put(line, unit, unit_len);
    }
}

void log_line_slice(struct log_line *line, const char *key, struct slice value)
{
    if (!line_key(line, key, 2)) return;

    unsigned classes = 0;
    for (size_t i = 0; i < value.len; i++) {
        classes |= byte_classes[(uint8_t)value.data[i]];
    }
    bool is_verbatim = (classes & (BYTE_NEEDS_ESCAPE | BYTE_IS_HIGH)) == 0;
    bool fits = value.len + 2 <= LINE_BODY_BYTES - line->len;
    bool is_quoted = line->format == LOG_JSON || classes != 0 || value.len == 0 || !fits;

    if (is_quoted) put_char(line, '"');
    if (!is_verbatim || !fits) {
        put_escaped(line, value);
    } else if (value.len > 0) {
        put(line, value.data, value.len);
    }
    if (is_quoted) put_char(line, '"');
}

void log_line_u64(struct log_line *line, const char *key, uint64_t value)
{
    if (!line_key(line, key, U64_DIGITS)) return;
    put_digits(line, value);
}

void log_line_seconds(struct log_line *line, const char *key, uint64_t duration_ns)
{
    if (!line_key(line, key, U64_DIGITS + 1)) return;
    put_digits(line, duration_ns / NS_PER_S);
    put_char(line, '.');
    put_padded3(line, duration_ns % NS_PER_S / NS_PER_MS);
}

struct slice log_line_end(struct log_line *line)
{
    ASSERT(line->len <= LINE_BODY_BYTES);
    if (line->format == LOG_JSON) {
        if (line->is_cut) PUT_LITERAL(line, ",\"cut\":true");
        put_char(line, '}');
    } else if (line->is_cut) {
        PUT_LITERAL(line, " cut=true");
    }
    put_char(line, '\n');
    return slice_of(line->bytes, line->len);
}
