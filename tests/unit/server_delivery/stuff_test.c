/* stuff_test.c - the wire form by DATA: dots, the end, and no CR or LF alone, at every split. */
#include "server/delivery/stuff.h"

#include "server/delivery/unstuff.h"
#include "tests/support/test.h"

#define OUT_BYTES 65536

struct result {
    char out[OUT_BYTES];
    size_t len;
    bool is_refused;
};

static void take_list(struct result *r, const struct stuffer *s)
{
    for (uint32_t i = 0; i < s->count; i++) {
        CHECK(s->pieces[i].iov_len > 0);
        CHECK(r->len + s->pieces[i].iov_len <= sizeof(r->out));
        memcpy(r->out + r->len, s->pieces[i].iov_base, s->pieces[i].iov_len);
        r->len += s->pieces[i].iov_len;
    }
}

static bool run_part(struct result *r, struct stuffer *s, struct slice in)
{
    do {
        size_t before = in.len;
        if (!stuff(s, &in)) return false;
        CHECK(in.len < before || before == 0);
        take_list(r, s);
        s->count = 0; /* told */
    } while (in.len > 0);
    return true;
}

static void end_run(struct result *r, struct stuffer *s)
{
    r->is_refused = !stuff_end(s);
    if (!r->is_refused) take_list(r, s);
}

/* The wire form of `in`, given in parts that end at each of `cuts`. */
static void run(struct result *r, struct slice in, const size_t *cuts, size_t cut_count)
{
    struct stuffer s;
    stuffer_init(&s);
    r->len = 0;
    size_t at = 0;
    for (size_t i = 0; i <= cut_count; i++) {
        size_t to = i < cut_count ? cuts[i] : in.len;
        /* Memory of its own, so that a sanitizer sees what is looked at beyond. */
        char *copy = malloc(to - at + 1);
        memcpy(copy, in.data + at, to - at);
        bool is_good = run_part(r, &s, slice_of(copy, to - at));
        free(copy);
        if (!is_good) {
            r->is_refused = true;
            return;
        }
        at = to;
    }
    end_run(r, &s);
}

TEST(dots_and_ends_at_every_split)
{
    static const struct {
        const char *in, *want; /* NULL: refused */
    } cases[] = {
        {"", ".\r\n"},
        {"a\r\n", "a\r\n.\r\n"},
        {"a", "a\r\n.\r\n"},
        {".", "..\r\n.\r\n"},
        {"..", "...\r\n.\r\n"},
        {".\r\n", "..\r\n.\r\n"},
        {"\r\n", "\r\n.\r\n"},
        {"\r\n.\r\n", "\r\n..\r\n.\r\n"},
        {"a\r\n.b\r\n..\r\nc.d\r\n", "a\r\n..b\r\n...\r\nc.d\r\n.\r\n"},
        {"a\r\n.\r\n.\r\nMAIL", "a\r\n..\r\n..\r\nMAIL\r\n.\r\n"},
        {"a\n", NULL},
        {"\n", NULL},
        {"\r", NULL},
        {"a\r", NULL},
        {"a\rb\r\n", NULL},
        {"a\r\r\n", NULL},
        {"a\n\r\n", NULL},
        {"a\n.\r\nMAIL", NULL},
        {"a\r\n\n", NULL},
        {"a\r\n.\rb", NULL},
    };
    static struct result r;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct slice in = slice_of_cstr(cases[i].in);
        for (size_t cut = 0; cut <= in.len; cut++) {
            for (size_t next = cut; next <= in.len; next++) {
                run(&r, in, (size_t[]){cut, next}, 2);
                CHECK_EQ(cases[i].in, r.is_refused, cases[i].want == NULL);
                if (cases[i].want != NULL)
                    CHECK_SLICE(cases[i].in, slice_of(r.out, r.len), cases[i].want);
            }
        }
    }
}

static bool has_bare_newline(struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] == '\n' && (i == 0 || text.data[i - 1] != '\r')) return true;
        if (text.data[i] == '\r' && (i + 1 == text.len || text.data[i + 1] != '\n')) return true;
    }
    return false;
}

/* What the next hop makes of the wire: everything before the one end, without its dots. */
static void check_wire(const struct result *r, struct slice in)
{
    struct slice wire = slice_of(r->out, r->len);
    CHECK(!has_bare_newline(wire));
    CHECK(wire.len >= 3 && memcmp(wire.data + wire.len - 3, ".\r\n", 3) == 0);
    CHECK(wire.len == 3 || memcmp(wire.data + wire.len - 5, "\r\n", 2) == 0);
    struct slice stuffed = slice_of(wire.data, wire.len - 3);
    bool ends_early = memmem(stuffed.data, stuffed.len, "\r\n.\r\n", 5) != NULL ||
                      (stuffed.len >= 3 && memcmp(stuffed.data, ".\r\n", 3) == 0);
    CHECK(!ends_early);

    static char plain[OUT_BYTES];
    struct unstuffer unstuffer = {0};
    size_t len = unstuff(&unstuffer, stuffed, plain);
    bool is_ended = in.len == 0 || (in.len >= 2 && memcmp(in.data + in.len - 2, "\r\n", 2) == 0);
    CHECK_EQ("length", len, in.len + (is_ended ? 0 : 2));
    CHECK(len >= in.len && memcmp(plain, in.data, in.len) == 0);
}

static uint64_t random_state = 1;

static unsigned random_below(unsigned n)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(random_state >> 33) % n;
}

static size_t make_body(char *in, size_t cap, unsigned bad_in_1000)
{
    static const char *const words[] = {"\r\n",  ".",         "a",          "..",
                                        "\r\n.", "\r\n.\r\n", "long words "};
    static const char *const bad[] = {"\r", "\n", "\n.\n", "\r.\r", "\r\r\n"};
    size_t len = 0, want = random_below((unsigned)cap - 16);
    while (len < want) {
        const char *word = random_below(1000) < bad_in_1000 ? bad[random_below(ARRAY_LEN(bad))]
                                                            : words[random_below(ARRAY_LEN(words))];
        memcpy(in + len, word, strlen(word));
        len += strlen(word);
    }
    return len;
}

TEST(random_bodies_at_random_splits)
{
    static struct result r;
    static char in[4096];
    unsigned refused = 0;
    for (unsigned round = 0; round < 20000; round++) {
        /* Small ones for the states, large ones for lists that overflow. */
        size_t cap = round % 4 == 0 ? sizeof(in) : 48;
        struct slice body = slice_of(in, make_body(in, cap, round % 3 == 0 ? 50 : 0));
        size_t cuts[8], at = 0;
        for (size_t i = 0; i < ARRAY_LEN(cuts); i++) {
            at += random_below((unsigned)(body.len - at) + 1);
            cuts[i] = at;
        }
        run(&r, body, cuts, random_below(ARRAY_LEN(cuts) + 1));
        CHECK_EQ("refused", r.is_refused, has_bare_newline(body));
        CHECK(!has_bare_newline(slice_of(r.out, r.len))); /* what was told before a refusal, too */
        if (r.is_refused) {
            refused++;
        } else {
            check_wire(&r, body);
        }
        if (test_failures > 20) return;
    }
    CHECK(refused > 1000 && refused < 10000);
}

TEST(a_list_has_an_end_and_goes_on)
{
    static char in[3 * 1000];
    static struct result r;
    for (size_t i = 0; i < sizeof(in); i += 3)
        memcpy(in + i, ".\r\n", 3);
    struct stuffer s;
    stuffer_init(&s);
    struct slice rest = slice_of(in, sizeof(in));
    CHECK(stuff(&s, &rest));
    CHECK(rest.len > 0);
    CHECK(s.count < STUFFER_PIECES_MAX && s.count > STUFFER_PIECES_MAX / 2);
    run(&r, slice_of(in, sizeof(in)), NULL, 0);
    CHECK_EQ("every line has one more", r.len, 4 * 1000 + 3);
}
