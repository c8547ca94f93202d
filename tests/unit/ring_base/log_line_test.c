/* log_line_test.c - lines for any bytes: what is written is one line, printable, and valid JSON. */
#include "ring/base/log_internal.h"
#include "tests/support/test.h"

#define WALL_MS 1795449600123ull /* 2026-11-23T16:00:00.123Z */

static struct log_line line;

static struct slice one_value(enum log_format format, struct slice value)
{
    log_line_begin(&line, format, LOG_INFO, "received", WALL_MS);
    log_line_slice(&line, "k", value);
    return log_line_end(&line);
}

TEST(a_line_has_time_level_event_and_fields)
{
    static const char *const want[] = {
        [LOG_TEXT] = "2026-11-23T16:00:00.123Z warn received session=ab-1 size=4096 "
                     "took=1.234 zero=0.000 max=18446744073709551615\n",
        [LOG_JSON] = "{\"time\":\"2026-11-23T16:00:00.123Z\",\"level\":\"warn\","
                     "\"event\":\"received\",\"session\":\"ab-1\",\"size\":4096,\"took\":1.234,"
                     "\"zero\":0.000,\"max\":18446744073709551615}\n",
    };
    for (enum log_format format = LOG_TEXT; format <= LOG_JSON; format++) {
        log_line_begin(&line, format, LOG_WARN, "received", WALL_MS);
        log_line_slice(&line, "session", SLICE("ab-1"));
        log_line_u64(&line, "size", 4096);
        log_line_seconds(&line, "took", 1234999999);
        log_line_seconds(&line, "zero", 999999);
        log_line_u64(&line, "max", UINT64_MAX);
        CHECK_SLICE("line", log_line_end(&line), want[format]);
    }
}

TEST(the_date_is_right_when_the_second_changes)
{
    static const struct {
        uint64_t wall_ms;
        const char *want;
    } cases[] = {
        {0, "1970-01-01T00:00:00.000Z error e\n"},
        {999, "1970-01-01T00:00:00.999Z error e\n"},
        {1000, "1970-01-01T00:00:01.000Z error e\n"},
        {951782399999, "2000-02-28T23:59:59.999Z error e\n"},
        {951782400000, "2000-02-29T00:00:00.000Z error e\n"},
        {WALL_MS, "2026-11-23T16:00:00.123Z error e\n"},
        {253402300799999, "9999-12-31T23:59:59.999Z error e\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        log_line_begin(&line, LOG_TEXT, LOG_ERROR, "e", cases[i].wall_ms);
        CHECK_SLICE("date", log_line_end(&line), cases[i].want);
    }
}

TEST(values_are_quoted_and_escaped_when_they_need_it)
{
    static const struct {
        struct slice value;
        const char *text, *json;
    } cases[] = {
        {{"plain-1.2@[3]", 13}, "plain-1.2@[3]", "plain-1.2@[3]"},
        {{"", 0}, "\"\"", ""},
        {{NULL, 0}, "\"\"", ""},
        {{"two words", 9}, "\"two words\"", "two words"},
        {{"a=b", 3}, "\"a=b\"", "a=b"},
        {{"say \"x\"", 7}, "\"say \\\"x\\\"\"", "say \\\"x\\\""},
        {{"a\\b", 3}, "\"a\\\\b\"", "a\\\\b"},
        {{"a\r\nb", 4}, "\"a\\x0d\\x0ab\"", "a\\u000d\\u000ab"},
        {{"\0\x1b\x7f", 3}, "\"\\x00\\x1b\\x7f\"", "\\u0000\\u001b\\u007f"},
        {{"\xc3\xa9", 2}, "\"\xc3\xa9\"", "\xc3\xa9"},
        {{"\xe2\x82\xac\xf0\x9f\x93\xa7", 7},
         "\"\xe2\x82\xac\xf0\x9f\x93\xa7\"",
         "\xe2\x82\xac\xf0\x9f\x93\xa7"},
        {{"\xff", 1}, "\"\\xff\"", "\\u00ff"},
        {{"\xc3", 1}, "\"\\xc3\"", "\\u00c3"},                                 /* cut */
        {{"\xc3(", 2}, "\"\\xc3(\"", "\\u00c3("},                              /* no tail */
        {{"\xe2\x82", 2}, "\"\\xe2\\x82\"", "\\u00e2\\u0082"},                 /* cut */
        {{"\xc0\xaf", 2}, "\"\\xc0\\xaf\"", "\\u00c0\\u00af"},                 /* overlong */
        {{"\xe0\x80\xaf", 3}, "\"\\xe0\\x80\\xaf\"", "\\u00e0\\u0080\\u00af"}, /* overlong */
        {{"\xed\xa0\x80", 3}, "\"\\xed\\xa0\\x80\"", "\\u00ed\\u00a0\\u0080"}, /* surrogate */
        {{"\xf4\x90\x80\x80", 4},
         "\"\\xf4\\x90\\x80\\x80\"",
         "\\u00f4\\u0090\\u0080\\u0080"},                      /* too far */
        {{"\xc2\x9b", 2}, "\"\\xc2\\x9b\"", "\\u00c2\\u009b"}, /* C1: CSI */
        {{"\xc2\xa0", 2}, "\"\xc2\xa0\"", "\xc2\xa0"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char want[256];
        snprintf(want, sizeof(want), "2026-11-23T16:00:00.123Z info received k=%s\n",
                 cases[i].text);
        CHECK_SLICE("text", one_value(LOG_TEXT, cases[i].value), want);
        snprintf(want, sizeof(want),
                 "{\"time\":\"2026-11-23T16:00:00.123Z\",\"level\":\"info\","
                 "\"event\":\"received\",\"k\":\"%s\"}\n",
                 cases[i].json);
        CHECK_SLICE("json", one_value(LOG_JSON, cases[i].value), want);
    }
}

/* --- any bytes --- */

/* Takes one well-formed UTF-8 character by decoding it. False when it is not one. */
static bool take_character(struct slice *s)
{
    static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
    uint8_t first = (uint8_t)s->data[0];
    size_t tails = first < 0x80 ? 0 : first < 0xc0 ? 9 : first < 0xe0 ? 1 : first < 0xf0 ? 2 : 3;
    if (first >= 0xf8 || tails >= s->len) return false;
    uint32_t code = tails == 0 ? first : first & (0x3fu >> tails);
    for (size_t i = 1; i <= tails; i++) {
        uint8_t tail = (uint8_t)s->data[i];
        if (tail >> 6 != 2) return false;
        code = code << 6 | (tail & 0x3f);
    }
    *s = slice_from(*s, 1 + tails);
    bool is_surrogate = code >= 0xd800 && code < 0xe000;
    bool is_control = code < 0x20 || (code >= 0x7f && code < 0xa0);
    return code >= least[tails] && code <= 0x10ffff && !is_surrogate && !is_control;
}

static bool take(struct slice *s, const char *text)
{
    size_t len = strlen(text);
    if (s->len < len || memcmp(s->data, text, len) != 0) return false;
    *s = slice_from(*s, len);
    return true;
}

static bool take_hex(struct slice *s, unsigned count)
{
    for (; count > 0; count--) {
        if (s->len == 0 || strchr("0123456789abcdef", s->data[0]) == NULL) return false;
        *s = slice_from(*s, 1);
    }
    return true;
}

/* A quoted string; `hex_mark` and `hex_count` tell the form of its escapes. */
static bool take_string(struct slice *s, const char *hex_mark, unsigned hex_count)
{
    if (!take(s, "\"")) return false;
    while (s->len > 0 && s->data[0] != '"') {
        if (s->data[0] != '\\') {
            if (!take_character(s)) return false;
        } else if (take(s, hex_mark)) {
            if (!take_hex(s, hex_count)) return false;
        } else if (!take(s, "\\\"") && !take(s, "\\\\")) {
            return false;
        }
    }
    return take(s, "\"");
}

static bool take_json_value(struct slice *s)
{
    if (take(s, "true")) return true;
    if (s->len > 0 && s->data[0] == '"') return take_string(s, "\\u", 4);
    size_t len = 0;
    while (len < s->len && strchr("0123456789.", s->data[len]) != NULL) {
        len++;
    }
    *s = slice_from(*s, len);
    return len > 0;
}

static bool is_json_line(struct slice s)
{
    if (!take(&s, "{")) return false;
    do {
        if (!take_string(&s, "\\u", 4) || !take(&s, ":") || !take_json_value(&s)) return false;
    } while (take(&s, ","));
    return take(&s, "}") && take(&s, "\n") && s.len == 0;
}

/* TIME LEVEL EVENT and then KEY=VALUE, each value a word or a string. */
static bool is_text_line(struct slice s)
{
    static const char head[] = "2026-11-23T16:00:00.123Z info received";
    if (!take(&s, head)) return false;
    while (take(&s, " ")) {
        size_t len = 0;
        while (len < s.len && s.data[len] != '=') {
            if (s.data[len] < 'a' || s.data[len] > 'z') return false;
            len++;
        }
        s = slice_from(s, len);
        if (!take(&s, "=")) return false;
        if (s.len > 0 && s.data[0] == '"') {
            if (!take_string(&s, "\\x", 2)) return false;
            continue;
        }
        for (len = 0; len < s.len && s.data[len] > ' '; len++) {
            if (strchr("\"\\=\x7f", s.data[len]) != NULL) return false;
        }
        if (len == 0) return false;
        s = slice_from(s, len);
    }
    return take(&s, "\n") && s.len == 0;
}

static bool is_good_line(enum log_format format, struct slice s)
{
    return s.len <= LOG_LINE_BYTES_MAX && (format == LOG_JSON ? is_json_line(s) : is_text_line(s));
}

TEST(any_two_bytes_make_a_good_line)
{
    unsigned bad = 0;
    for (unsigned n = 0; n < 65536; n++) {
        char value[] = {'a', (char)(n >> 8), (char)n, 'b'};
        for (enum log_format format = LOG_TEXT; format <= LOG_JSON; format++) {
            bad += !is_good_line(format, one_value(format, slice_of(value, sizeof(value))));
            bad += !is_good_line(format, one_value(format, slice_of(value + 1, 2)));
        }
    }
    CHECK_EQ("bad lines", bad, 0);
}

TEST(random_bytes_make_good_lines)
{
    static const char favourites[] = "\"\\ =\n\xc2\x80\xbf\xe0\xa0\xed\x9f\xef\xf0\x90\xf4\x8f\xff";
    uint64_t random = 88172645463325252ull;
    unsigned bad = 0;
    for (unsigned round = 0; round < 20000; round++) {
        char value[64];
        for (size_t i = 0; i < sizeof(value); i++) {
            random = random * 6364136223846793005ull + 1442695040888963407ull;
            uint32_t high = (uint32_t)(random >> 33);
            value[i] = (round & 1) != 0 ? (char)high : favourites[high % sizeof(favourites)];
        }
        struct slice cut = slice_of(value, round % (sizeof(value) + 1));
        bad += !is_good_line(LOG_TEXT, one_value(LOG_TEXT, cut));
        bad += !is_good_line(LOG_JSON, one_value(LOG_JSON, cut));
    }
    CHECK_EQ("bad lines", bad, 0);
}

static bool says_cut(enum log_format format, struct slice s)
{
    struct slice want = format == LOG_JSON ? SLICE(",\"cut\":true}\n") : SLICE(" cut=true\n");
    return s.len >= want.len && slice_eq(slice_from(s, s.len - want.len), want);
}

TEST(a_line_too_long_is_cut_and_says_so)
{
    static const char *const units[] = {"a",    " ",        "\"",           "\n",
                                        "\xff", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x93\xa7"};
    static char value[LOG_LINE_BYTES_MAX + 64];
    for (size_t u = 0; u < ARRAY_LEN(units); u++) {
        size_t unit_len = strlen(units[u]);
        for (size_t i = 0; i < sizeof(value); i++) {
            value[i] = units[u][i % unit_len];
        }
        unsigned cuts[2] = {0};
        for (size_t count = 0; (count + 1) * unit_len <= sizeof(value); count++) {
            for (enum log_format format = LOG_TEXT; format <= LOG_JSON; format++) {
                log_line_begin(&line, format, LOG_INFO, "received", WALL_MS);
                log_line_slice(&line, "k", slice_of(value, count * unit_len));
                log_line_u64(&line, "n", 12345);
                log_line_seconds(&line, "s", 12345);
                log_line_slice(&line, "last", SLICE("x y"));
                struct slice got = log_line_end(&line);
                bool is_good = is_good_line(format, got);
                CHECK(is_good);
                if (!is_good) return;
                /* Short ones are whole; once cut, all longer ones are. */
                if (count * unit_len * 6 < 3000) CHECK(!line.is_cut);
                if (cuts[format] > 0) CHECK(line.is_cut);
                CHECK_EQ("says", says_cut(format, got), line.is_cut);
                cuts[format] += line.is_cut;
            }
        }
        CHECK(cuts[LOG_TEXT] > 0 && cuts[LOG_JSON] > 0);
    }
}

TEST(a_cut_line_uses_nearly_all_of_its_room)
{
    static char value[2 * LOG_LINE_BYTES_MAX];
    memset(value, 'a', sizeof(value));
    for (enum log_format format = LOG_TEXT; format <= LOG_JSON; format++) {
        struct slice got = one_value(format, slice_of(value, sizeof(value)));
        CHECK(got.len > LOG_LINE_BYTES_MAX - 16);
        CHECK(says_cut(format, got));
    }
}

TEST(many_fields_are_cut_between_fields)
{
    for (enum log_format format = LOG_TEXT; format <= LOG_JSON; format++) {
        log_line_begin(&line, format, LOG_INFO, "received", WALL_MS);
        for (unsigned i = 0; i < 1000; i++) {
            log_line_u64(&line, "number", UINT64_MAX);
        }
        struct slice got = log_line_end(&line);
        CHECK(is_good_line(format, got));
        CHECK(says_cut(format, got));
    }
}
