/* answer_test.c - answers of the DNS, whole, cut and altered at every place. */
#include "resolver/answer.h"

#include "tests/support/test.h"

/* A message that is put together. */
struct bytes {
    uint8_t data[2048];
    size_t len;
};

static void add8(struct bytes *b, unsigned n)
{
    b->data[b->len++] = (uint8_t)n;
}

static void add16(struct bytes *b, unsigned n)
{
    add8(b, n >> 8);
    add8(b, n & 0xff);
}

static void add32(struct bytes *b, uint32_t n)
{
    add16(b, n >> 16);
    add16(b, n & 0xffff);
}

static void add_name(struct bytes *b, const char *name)
{
    while (*name != '\0') {
        size_t len = strcspn(name, ".");
        add8(b, (unsigned)len);
        memcpy(b->data + b->len, name, len);
        b->len += len;
        name += len + (name[len] == '.');
    }
    add8(b, 0);
}

static struct bytes begin(unsigned flags, unsigned answers, unsigned authorities, const char *name,
                          enum answer_type type)
{
    struct bytes b = {.len = 0};
    add16(&b, 0x1234);
    add16(&b, 0x8000 | flags);
    add16(&b, 1);
    add16(&b, answers);
    add16(&b, authorities);
    add16(&b, 0);
    add_name(&b, name);
    add16(&b, (unsigned)type);
    add16(&b, 1);
    return b;
}

/* The head of a record; its data and their length follow. */
static void add_record(struct bytes *b, const char *owner, enum answer_type type, uint32_t ttl_s)
{
    if (owner != NULL)
        add_name(b, owner);
    else
        add16(b, 0xc00c); /* the name of the question */
    add16(b, (unsigned)type);
    add16(b, 1);
    add32(b, ttl_s);
}

static void add_mx(struct bytes *b, const char *owner, unsigned preference, const char *host)
{
    add_record(b, owner, ANSWER_MX, 300);
    size_t at = b->len;
    add16(b, 0);
    add16(b, preference);
    add_name(b, host);
    b->data[at] = 0;
    b->data[at + 1] = (uint8_t)(b->len - at - 2);
}

static void add_alias(struct bytes *b, const char *owner, const char *target, uint32_t ttl_s)
{
    add_record(b, owner, ANSWER_CNAME, ttl_s);
    size_t at = b->len;
    add16(b, 0);
    add_name(b, target);
    b->data[at + 1] = (uint8_t)(b->len - at - 2);
}

static enum answer_status read(const struct bytes *b, const char *name, enum answer_type type,
                               struct answer *answer)
{
    answer_read(slice_of(b->data, b->len), slice_of_cstr(name), type, answer);
    return answer->status;
}

static struct bytes two_mx(void)
{
    struct bytes b = begin(0, 2, 0, "Example.TEST", ANSWER_MX);
    add_mx(&b, NULL, 20, "MX2.example.test");
    add_mx(&b, NULL, 10, "mx1.example.test");
    return b;
}

TEST(records_are_read)
{
    struct bytes b = begin(0, 3, 0, "Example.TEST", ANSWER_MX);
    struct answer answer;
    add_mx(&b, NULL, 20, "MX2.example.test");
    add_mx(&b, "other.test", 5, "mx.other.test"); /* of nobody who was asked for */
    add_mx(&b, NULL, 10, "a b.example.test");     /* no name of a host */
    CHECK_EQ("status", read(&b, "example.test", ANSWER_MX, &answer), ANSWER_FOUND);
    CHECK_EQ("records", answer.record_count, 2);
    CHECK_EQ("preference", answer.records[0].preference, 20);
    CHECK_SLICE("name", slice_of_cstr(answer.records[0].name), "mx2.example.test");
    CHECK(answer.records[1].name == NULL);
    CHECK_EQ("ttl", answer.ttl_s, 300);
    CHECK(!answer.is_authentic);
    answer_finish(&answer);
}

TEST(codes_and_flags_have_their_status)
{
    static const struct {
        const char *name;
        unsigned flags;
        enum answer_status status;
    } cases[] = {
        {"nothing", 0, ANSWER_NO_DATA},      {"NXDOMAIN", 3, ANSWER_NO_NAME},
        {"SERVFAIL", 2, ANSWER_FAILED},      {"REFUSED", 5, ANSWER_FAILED},
        {"FORMERR", 1, ANSWER_FAILED},       {"truncated", 0x200, ANSWER_BROKEN},
        {"authentic", 0x20, ANSWER_NO_DATA},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct bytes b = begin(cases[i].flags, 0, 0, "a.test", ANSWER_A);
        struct answer answer;
        CHECK_EQ(cases[i].name, read(&b, "a.test", ANSWER_A, &answer), cases[i].status);
        CHECK_EQ(cases[i].name, answer.is_authentic, cases[i].flags == 0x20);
    }
    struct bytes b = begin(0, 0, 0, "a.test", ANSWER_A);
    struct answer answer;
    CHECK_EQ("another name", read(&b, "b.test", ANSWER_A, &answer), ANSWER_BROKEN);
    CHECK_EQ("another type", read(&b, "a.test", ANSWER_AAAA, &answer), ANSWER_BROKEN);
    b.data[2] = 0;
    CHECK_EQ("a question", read(&b, "a.test", ANSWER_A, &answer), ANSWER_BROKEN);
}

TEST(aliases_are_followed_so_far_and_no_farther)
{
    for (unsigned count = 1; count <= ANSWER_ALIASES_MAX + 1; count++) {
        struct bytes b = begin(0, count, 0, "n0.test", ANSWER_A);
        struct answer answer;
        char from[32], to[32];
        for (unsigned i = 0; i < count; i++) {
            snprintf(from, sizeof(from), "n%u.test", i);
            snprintf(to, sizeof(to), "n%u.test", i + 1);
            add_alias(&b, from, to, 100 + i);
        }
        bool is_good = count <= ANSWER_ALIASES_MAX;
        CHECK_EQ("status", read(&b, "n0.test", ANSWER_A, &answer),
                 is_good ? ANSWER_ALIAS : ANSWER_BROKEN);
        if (!is_good) continue;
        CHECK_SLICE("leads to", slice_of_cstr(answer.name), to);
        CHECK_EQ("aliases", answer.alias_count, count);
        CHECK_EQ("ttl", answer.ttl_s, 100);
    }
    struct bytes loop = begin(0, 2, 0, "a.test", ANSWER_A);
    struct answer answer;
    add_alias(&loop, "a.test", "b.test", 9);
    add_alias(&loop, "b.test", "a.test", 9);
    CHECK_EQ("a loop", read(&loop, "a.test", ANSWER_A, &answer), ANSWER_BROKEN);
}

TEST(the_best_of_many_are_kept)
{
    struct bytes b = begin(0, 60, 0, "a.test", ANSWER_MX);
    struct answer answer;
    for (unsigned i = 0; i < 60; i++)
        add_mx(&b, NULL, 60 - i, "mx.a.test");
    CHECK_EQ("status", read(&b, "a.test", ANSWER_MX, &answer), ANSWER_FOUND);
    CHECK_EQ("records", answer.record_count, ANSWER_RECORDS_MAX);
    for (uint32_t i = 0; i < answer.record_count; i++)
        CHECK(answer.records[i].preference <= ANSWER_RECORDS_MAX);
    answer_finish(&answer);
}

TEST(compression_that_leads_forward_or_round_is_broken)
{
    static const unsigned pointers[] = {0xc000 | 39, 0xc000 | 41, 0xffff, 0xc000 | 200};
    for (size_t i = 0; i < ARRAY_LEN(pointers); i++) {
        struct bytes b = begin(0, 1, 0, "a.test", ANSWER_MX);
        struct answer answer;
        add_record(&b, NULL, ANSWER_MX, 300);
        add16(&b, 4);
        add16(&b, 10);
        add16(&b, pointers[i]);
        CHECK_EQ("pointer", read(&b, "a.test", ANSWER_MX, &answer), ANSWER_BROKEN);
    }
}

/* Whatever comes, reading ends, and what is found is well-formed. */
TEST(an_answer_may_be_cut_and_altered_anywhere)
{
    const struct bytes whole = two_mx();
    struct answer answer;
    for (size_t len = 0; len < whole.len; len++) {
        struct bytes cut = whole;
        cut.len = len;
        CHECK_EQ("cut", read(&cut, "example.test", ANSWER_MX, &answer), ANSWER_BROKEN);
    }
    for (size_t at = 0; at < whole.len * 8; at++) {
        struct bytes altered = whole;
        altered.data[at / 8] ^= (uint8_t)(1u << at % 8);
        read(&altered, "example.test", ANSWER_MX, &answer);
        CHECK(answer.record_count <= 2);
        for (uint32_t i = 0; i < answer.record_count; i++) {
            const char *name = answer.records[i].name;
            CHECK(name == NULL || name[0] == '\0' || answer_name_is_host(slice_of_cstr(name)));
        }
        answer_finish(&answer);
    }
}

TEST(names_of_hosts)
{
    static const struct {
        const char *name;
        bool is_host;
    } cases[] = {
        {"a", true},       {"a-b.c_d.test", true}, {"", false},    {".", false},
        {"a..b", false},   {".a", false},          {"a.", false},  {"a b", false},
        {"a\r\nb", false}, {"<a>", false},         {"*.a", false}, {"\xc3\xb6.test", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        CHECK_EQ(cases[i].name, answer_name_is_host(slice_of_cstr(cases[i].name)),
                 cases[i].is_host);
    char label[70];
    memset(label, 'a', sizeof(label));
    CHECK(answer_name_is_host(slice_of(label, 63)));
    CHECK(!answer_name_is_host(slice_of(label, 64)));
}
