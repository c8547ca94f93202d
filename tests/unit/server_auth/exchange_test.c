/* Each mechanism from its first line to its end; the client of SCRAM is libgsasl's. */
#include "server/auth/exchange.h"

#include "ring/base/memory.h"
#include "server/auth/scram.h"
#include "tests/support/test.h"

#include <gsasl.h>
#include <pthread.h>

#define PASSWORD "p=a,ss word"
#define LINE_BYTES 16384

static const struct users *users;
static struct exchange *e;

/* alice has all secrets, bob one for CRAM-MD5, carol one for SCRAM, "o=ne,two" one for SCRAM. */
static void setup(void)
{
    static const char *const names[] = {"alice", "bob", "carol", "o=ne,two"};
    char text[4096];
    struct buf out = {text, 0, sizeof(text), false};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct secret secret;
        buf_append_cstr(&out, names[i]);
        if (i != 1) {
            secret_make_scram(SLICE(PASSWORD), SCRAM_ITERATIONS_MIN, &secret);
            buf_append_char(&out, ' ');
            secret_write(&secret, &out);
        }
        if (i < 2) {
            secret_make_cram_md5(SLICE(PASSWORD), &secret);
            buf_append_char(&out, ' ');
            secret_write(&secret, &out);
        }
        buf_append_char(&out, '\n');
    }
    CHECK(!out.is_short);
    struct config_problems problems = {0};
    CHECK(users_parse(buf_slice(&out), "users", &users, &problems) == 0);
    CHECK(problems.count == 0);
    e = xcalloc(1, sizeof(*e));
}

static void teardown(void)
{
    exchange_finish(e);
    free(e);
    users_unref(users);
}

static char line[LINE_BYTES];

static struct slice encoded(struct slice bytes)
{
    struct buf out = {line, 0, sizeof(line), false};
    CHECK(base64_encode(bytes, &out));
    return buf_slice(&out);
}

static enum exchange_status begin(enum auth_mechanism mechanism, const struct slice *initial)
{
    exchange_finish(e);
    return exchange_begin(e, users, mechanism, SLICE("mx.example.test"), initial);
}

static enum exchange_status begin_with(enum auth_mechanism mechanism, struct slice bytes)
{
    struct slice text = bytes.len > 0 ? encoded(bytes) : SLICE("=");
    return begin(mechanism, &text);
}

static enum exchange_status say(struct slice bytes)
{
    return exchange_step(e, encoded(bytes));
}

static void check_user(const char *name)
{
    CHECK_SLICE(name, exchange_name(e), name);
}

TEST(mechanisms_have_names)
{
    enum auth_mechanism mechanism;
    for (unsigned i = 0; i < AUTH_MECHANISM_COUNT; i++) {
        const char *name = exchange_mechanism_name((enum auth_mechanism)i);
        CHECK(exchange_mechanism_parse(slice_of_cstr(name), &mechanism) && mechanism == i);
    }
    CHECK(exchange_mechanism_parse(SLICE("plain"), &mechanism) && mechanism == AUTH_PLAIN);
    CHECK(!exchange_mechanism_parse(SLICE("SCRAM-SHA-256-PLUS"), &mechanism));
    CHECK(!exchange_mechanism_parse(SLICE("SCRAM-SHA-1"), &mechanism));
    CHECK(!exchange_mechanism_parse(SLICE(""), &mechanism));
}

TEST(mechanisms_are_of_use_when_somebody_can_succeed)
{
    const struct users *crypt;
    struct config_problems problems = {0};
    CHECK(users_parse(SLICE("a {CRYPT}$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5\n"),
                      "users", &crypt, &problems) == 0);
    CHECK(exchange_is_of_use(crypt, AUTH_PLAIN) && exchange_is_of_use(crypt, AUTH_LOGIN));
    CHECK(!exchange_is_of_use(crypt, AUTH_CRAM_MD5));
    CHECK(!exchange_is_of_use(crypt, AUTH_SCRAM_SHA_256));
    users_unref(crypt);
}

/* --- PLAIN --- */

TEST(plain_with_and_without_an_initial_response)
{
    setup();
    CHECK_EQ("initial", begin_with(AUTH_PLAIN, SLICE("\0alice\0" PASSWORD)), EXCHANGE_CHECK);
    CHECK(exchange_is_slow(e));
    check_user("alice");
    CHECK_EQ("initial", exchange_check(e), EXCHANGE_OK);

    CHECK_EQ("later", begin(AUTH_PLAIN, NULL), EXCHANGE_CONTINUE);
    CHECK_SLICE("later", exchange_challenge(e), "");
    CHECK_EQ("later", say(SLICE("alice\0alice\0" PASSWORD)), EXCHANGE_CHECK);
    CHECK_EQ("later", exchange_check(e), EXCHANGE_OK);
    teardown();
}

TEST(plain_with_each_kind_of_wrong_message)
{
    static const struct {
        struct slice message;
        enum exchange_status status;
    } cases[] = {
        {{"", 0}, EXCHANGE_MALFORMED},
        {{"alice", 5}, EXCHANGE_MALFORMED},
        {{"\0alice", 6}, EXCHANGE_MALFORMED},
        {{"\0alice\0", 7}, EXCHANGE_MALFORMED},
        {{"\0\0pw", 4}, EXCHANGE_MALFORMED},
        {{"\0alice\0p\0w", 10}, EXCHANGE_MALFORMED},
        {{"\0alice\0pw\0", 10}, EXCHANGE_MALFORMED},
        {{"bob\0alice\0" PASSWORD, 21}, EXCHANGE_FAILED}, /* nobody is somebody else */
        {{"Alice\0alice\0" PASSWORD, 23}, EXCHANGE_FAILED},
        {{"\0al\nice\0pw", 10}, EXCHANGE_FAILED},
        {{"\0al\rice\0pw", 10}, EXCHANGE_FAILED},
        {{"\0al\x7fice\0pw", 10}, EXCHANGE_FAILED},
        {{"\0alice\0wrong", 12}, EXCHANGE_CHECK},
        {{"\0nobody\0" PASSWORD, 19}, EXCHANGE_CHECK},
        {{"\0alice\0" PASSWORD "x", 19}, EXCHANGE_CHECK},
    };
    setup();
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        enum exchange_status status = begin_with(AUTH_PLAIN, cases[i].message);
        CHECK_EQ("status", status, cases[i].status);
        if (status == EXCHANGE_CHECK) CHECK_EQ("check", exchange_check(e), EXCHANGE_FAILED);
    }
    teardown();
}

TEST(plain_cut_at_every_byte_never_succeeds)
{
    static const char message[] = "alice\0alice\0" PASSWORD;
    setup();
    for (size_t cut = 0; cut < sizeof(message) - 1; cut++) {
        enum exchange_status status = begin_with(AUTH_PLAIN, slice_of(message, cut));
        if (status == EXCHANGE_CHECK) status = exchange_check(e);
        CHECK_EQ("cut", status, cut < 13 ? EXCHANGE_MALFORMED : EXCHANGE_FAILED);
    }
    char text[64];
    struct buf out = {text, 0, sizeof(text), false};
    base64_encode(slice_of(message, sizeof(message) - 1), &out);
    for (size_t cut = 1; cut < out.len; cut++) { /* the text, not the bytes */
        struct slice part = slice_of(text, cut);
        enum exchange_status status = begin(AUTH_PLAIN, &part);
        if (status == EXCHANGE_CHECK) status = exchange_check(e);
        CHECK(status == EXCHANGE_MALFORMED || status == EXCHANGE_FAILED);
        CHECK(cut % 4 == 0 || status == EXCHANGE_MALFORMED);
    }
    teardown();
}

TEST(long_names_and_passwords_fail)
{
    setup();
    char message[1024] = {0};
    memset(message + 1, 'n', USERS_NAME_BYTES_MAX + 1);
    memcpy(message + USERS_NAME_BYTES_MAX + 3, "pw", 2);
    CHECK_EQ("name", begin_with(AUTH_PLAIN, slice_of(message, USERS_NAME_BYTES_MAX + 5)),
             EXCHANGE_FAILED);
    memcpy(message, "\0alice\0", 7);
    memset(message + 7, 'p', 1000);
    CHECK_EQ("password", begin_with(AUTH_PLAIN, slice_of(message, 7 + SECRET_PASSWORD_BYTES_MAX)),
             EXCHANGE_CHECK);
    CHECK_EQ("password", exchange_check(e), EXCHANGE_FAILED);
    CHECK_EQ("longer", begin_with(AUTH_PLAIN, slice_of(message, 1000)), EXCHANGE_CHECK);
    CHECK_EQ("longer", exchange_check(e), EXCHANGE_FAILED);
    teardown();
}

/* --- all: base64, cancel --- */

TEST(what_is_no_base64_or_too_long_is_malformed)
{
    setup();
    for (unsigned i = 0; i < AUTH_MECHANISM_COUNT; i++) {
        CHECK_EQ("begin", begin((enum auth_mechanism)i, NULL), EXCHANGE_CONTINUE);
        CHECK_EQ("bad", exchange_step(e, SLICE("AGFs=WNl")), EXCHANGE_MALFORMED);
        CHECK_EQ("begin", begin((enum auth_mechanism)i, NULL), EXCHANGE_CONTINUE);
        CHECK_EQ("cancel", exchange_step(e, SLICE("*")), EXCHANGE_CANCELED);
        CHECK_EQ("begin", begin((enum auth_mechanism)i, NULL), EXCHANGE_CONTINUE);
        memset(line, 'A', sizeof(line));
        CHECK_EQ("longest", exchange_step(e, slice_of(line, EXCHANGE_RESPONSE_BYTES_MAX)),
                 EXCHANGE_MALFORMED);
        CHECK_EQ("begin", begin((enum auth_mechanism)i, NULL), EXCHANGE_CONTINUE);
        CHECK_EQ("longer", exchange_step(e, slice_of(line, EXCHANGE_RESPONSE_BYTES_MAX + 4)),
                 EXCHANGE_MALFORMED);
        struct slice bad = SLICE("A");
        CHECK_EQ("initial", begin((enum auth_mechanism)i, &bad), EXCHANGE_MALFORMED);
    }
    teardown();
}

/* --- LOGIN --- */

TEST(login_asks_for_the_name_and_the_password)
{
    setup();
    CHECK_EQ("begin", begin(AUTH_LOGIN, NULL), EXCHANGE_CONTINUE);
    CHECK_SLICE("begin", exchange_challenge(e), "VXNlcm5hbWU6");
    CHECK_EQ("name", say(SLICE("alice")), EXCHANGE_CONTINUE);
    CHECK_SLICE("name", exchange_challenge(e), "UGFzc3dvcmQ6");
    check_user("alice");
    CHECK_EQ("password", say(SLICE(PASSWORD)), EXCHANGE_CHECK);
    CHECK_EQ("password", exchange_check(e), EXCHANGE_OK);

    CHECK_EQ("initial", begin_with(AUTH_LOGIN, SLICE("bob")), EXCHANGE_CONTINUE);
    CHECK_SLICE("initial", exchange_challenge(e), "UGFzc3dvcmQ6");
    CHECK_EQ("initial", say(SLICE(PASSWORD)), EXCHANGE_CHECK);
    CHECK_EQ("initial", exchange_check(e), EXCHANGE_OK); /* with a secret of CRAM-MD5 */

    CHECK_EQ("nobody", begin_with(AUTH_LOGIN, SLICE("nobody")), EXCHANGE_CONTINUE);
    CHECK_SLICE("nobody", exchange_challenge(e), "UGFzc3dvcmQ6");
    CHECK_EQ("nobody", say(SLICE(PASSWORD)), EXCHANGE_CHECK);
    CHECK_EQ("nobody", exchange_check(e), EXCHANGE_FAILED);
    teardown();
}

TEST(login_with_what_is_no_name_or_password)
{
    setup();
    CHECK_EQ("empty", begin_with(AUTH_LOGIN, SLICE("")), EXCHANGE_MALFORMED);
    CHECK_EQ("NUL", begin_with(AUTH_LOGIN, SLICE("ali\0ce")), EXCHANGE_MALFORMED);
    CHECK_EQ("newline", begin_with(AUTH_LOGIN, SLICE("alice\n")), EXCHANGE_FAILED);
    CHECK_EQ("name", begin_with(AUTH_LOGIN, SLICE("alice")), EXCHANGE_CONTINUE);
    CHECK_EQ("no password", exchange_step(e, SLICE("")), EXCHANGE_MALFORMED);
    CHECK_EQ("name", begin_with(AUTH_LOGIN, SLICE("alice")), EXCHANGE_CONTINUE);
    CHECK_EQ("NUL", say(SLICE(PASSWORD "\0")), EXCHANGE_MALFORMED);
    teardown();
}

/* --- CRAM-MD5 --- */

/* The answer to the present challenge. */
static size_t cram_answer(const char *user, const char *password, char *into, size_t cap)
{
    char challenge[512], digest[CRAM_MD5_DIGEST_TEXT];
    struct buf decoded = {challenge, 0, sizeof(challenge), false};
    CHECK(base64_decode(exchange_challenge(e), &decoded));
    CHECK(challenge[0] == '<' && challenge[decoded.len - 1] == '>');
    CHECK(memmem(challenge, decoded.len, "@mx.example.test", 16) != NULL);
    struct cram_md5_key key;
    cram_md5_key_make(slice_of_cstr(password), &key);
    cram_md5_digest(&key, buf_slice(&decoded), digest);
    return (size_t)snprintf(into, cap, "%s %.*s", user, CRAM_MD5_DIGEST_TEXT, digest);
}

TEST(cram_md5)
{
    static const struct {
        const char *user, *password;
        enum exchange_status status;
    } cases[] = {
        {"alice", PASSWORD, EXCHANGE_OK},       {"bob", PASSWORD, EXCHANGE_OK},
        {"alice", "wrong", EXCHANGE_FAILED},    {"nobody", PASSWORD, EXCHANGE_FAILED},
        {"carol", PASSWORD, EXCHANGE_FAILED},   {"", PASSWORD, EXCHANGE_MALFORMED},
        {"al\nice", PASSWORD, EXCHANGE_FAILED}, {"alice ", PASSWORD, EXCHANGE_FAILED},
    };
    setup();
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char answer[256];
        CHECK_EQ("begin", begin(AUTH_CRAM_MD5, NULL), EXCHANGE_CONTINUE);
        size_t len = cram_answer(cases[i].user, cases[i].password, answer, sizeof(answer));
        enum exchange_status status = say(slice_of(answer, len));
        if (status == EXCHANGE_CHECK) {
            CHECK(!exchange_is_slow(e));
            check_user(cases[i].user);
            status = exchange_check(e);
        }
        CHECK_EQ(cases[i].user, status, cases[i].status);
    }
    CHECK_EQ("initial", begin_with(AUTH_CRAM_MD5, SLICE("alice 0")), EXCHANGE_MALFORMED);
    CHECK_EQ("initial", begin_with(AUTH_CRAM_MD5, SLICE("")), EXCHANGE_MALFORMED);
    teardown();
}

TEST(cram_md5_cut_at_every_byte_and_with_an_old_challenge)
{
    setup();
    char answer[256], before[256];
    CHECK_EQ("begin", begin(AUTH_CRAM_MD5, NULL), EXCHANGE_CONTINUE);
    size_t old_len = cram_answer("alice", PASSWORD, before, sizeof(before));
    CHECK_EQ("begin", begin(AUTH_CRAM_MD5, NULL), EXCHANGE_CONTINUE);
    CHECK_EQ("old", say(slice_of(before, old_len)), EXCHANGE_CHECK);
    CHECK_EQ("old", exchange_check(e), EXCHANGE_FAILED);
    for (size_t cut = 0; cut < old_len; cut++) {
        CHECK_EQ("begin", begin(AUTH_CRAM_MD5, NULL), EXCHANGE_CONTINUE);
        cram_answer("alice", PASSWORD, answer, sizeof(answer));
        CHECK_EQ("cut", say(slice_of(answer, cut)), EXCHANGE_MALFORMED);
    }
    teardown();
}

/* --- SCRAM-SHA-256 --- */

struct scram_client {
    Gsasl *library;
    Gsasl_session *session;
};

static void client_start(struct scram_client *c, const char *user, const char *password,
                         const char *authzid)
{
    CHECK(gsasl_init(&c->library) == GSASL_OK);
    CHECK(gsasl_client_start(c->library, "SCRAM-SHA-256", &c->session) == GSASL_OK);
    (void)!gsasl_property_set(c->session, GSASL_AUTHID, user);
    (void)!gsasl_property_set(c->session, GSASL_PASSWORD, password);
    if (authzid != NULL) (void)!gsasl_property_set(c->session, GSASL_AUTHZID, authzid);
}

static void client_end(struct scram_client *c)
{
    gsasl_finish(c->session);
    gsasl_done(c->library);
}

/* The client's next message, after the server's last challenge; the caller frees it. */
static char *client_step(struct scram_client *c, bool is_first, size_t *len_out)
{
    char challenge[512], *message = NULL;
    struct buf decoded = {challenge, 0, sizeof(challenge), false};
    if (!is_first) CHECK(base64_decode(exchange_challenge(e), &decoded));
    *len_out = 0;
    int rc = gsasl_step(c->session, challenge, decoded.len, &message, len_out);
    CHECK(rc == GSASL_OK || rc == GSASL_NEEDS_MORE);
    return message;
}

static enum exchange_status scram_run(const char *user, const char *password, const char *authzid,
                                      bool is_initial)
{
    struct scram_client c;
    client_start(&c, user, password, authzid);
    size_t len;
    char *message = client_step(&c, true, &len);
    enum exchange_status status = EXCHANGE_CONTINUE;
    if (!is_initial) {
        status = begin(AUTH_SCRAM_SHA_256, NULL);
        CHECK_SLICE("empty challenge", exchange_challenge(e), "");
        CHECK_EQ("begin", status, EXCHANGE_CONTINUE);
        status = say(slice_of(message, len));
    } else {
        status = begin_with(AUTH_SCRAM_SHA_256, slice_of(message, len));
    }
    gsasl_free(message);
    if (status == EXCHANGE_CONTINUE) {
        check_user(user);
        message = client_step(&c, false, &len);
        status = say(slice_of(message, len));
        gsasl_free(message);
    }
    if (status == EXCHANGE_CONTINUE) { /* the server's signature is right, says the client */
        message = client_step(&c, false, &len);
        CHECK_EQ("last", len, 0);
        gsasl_free(message);
        status = exchange_step(e, SLICE(""));
    }
    client_end(&c);
    return status;
}

TEST(scram)
{
    static const struct {
        const char *user, *password, *authzid;
        enum exchange_status status;
    } cases[] = {
        {"alice", PASSWORD, NULL, EXCHANGE_OK},
        {"alice", PASSWORD, "alice", EXCHANGE_OK},
        {"carol", PASSWORD, NULL, EXCHANGE_OK},
        {"o=ne,two", PASSWORD, NULL, EXCHANGE_OK},
        {"o=ne,two", PASSWORD, "o=ne,two", EXCHANGE_OK},
        {"alice", PASSWORD, "bob", EXCHANGE_FAILED},
        {"alice", "wrong", NULL, EXCHANGE_FAILED},
        {"nobody", PASSWORD, NULL, EXCHANGE_FAILED},
        {"bob", PASSWORD, NULL, EXCHANGE_FAILED}, /* has a secret, but none for SCRAM */
    };
    setup();
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        for (int is_initial = 0; is_initial < 2; is_initial++) {
            CHECK_EQ(cases[i].user,
                     scram_run(cases[i].user, cases[i].password, cases[i].authzid, is_initial),
                     cases[i].status);
        }
    }
    teardown();
}

TEST(scram_answers_a_stranger_as_it_answers_a_user)
{
    setup();
    char first[2][512];
    static const char *const names[] = {"alice", "nobody"};
    for (size_t i = 0; i < 2; i++) {
        char message[64];
        int len = snprintf(message, sizeof(message), "n,,n=%s,r=nonce", names[i]);
        for (size_t again = 0; again < 2; again++) {
            CHECK_EQ(names[i], begin_with(AUTH_SCRAM_SHA_256, slice_of(message, (size_t)len)),
                     EXCHANGE_CONTINUE);
            char answer[512] = {0};
            struct buf out = {answer, 0, sizeof(answer) - 1, false};
            CHECK(base64_decode(exchange_challenge(e), &out));
            CHECK(strncmp(answer, "r=nonce", 7) == 0 && strstr(answer, ",i=4096") != NULL);
            const char *salt = strstr(answer, ",s=");
            CHECK(salt != NULL);
            if (salt == NULL) continue;
            if (again > 0) CHECK(strcmp(first[i], salt) == 0); /* the same each time */
            snprintf(first[i], sizeof(first[i]), "%s", salt);
        }
    }
    CHECK_EQ("length", strlen(first[0]), strlen(first[1]));
    teardown();
}

TEST(scram_with_each_kind_of_wrong_message)
{
    static const struct {
        struct slice message;
        enum exchange_status status;
    } cases[] = {
        {{"", 0}, EXCHANGE_MALFORMED},
        {{"n", 1}, EXCHANGE_MALFORMED},
        {{"n,,", 3}, EXCHANGE_MALFORMED},
        {{"x,,n=alice,r=abc", 16}, EXCHANGE_MALFORMED},
        {{"n,x,n=alice,r=abc", 17}, EXCHANGE_MALFORMED},
        {{"n,,m=x,n=alice,r=abc", 20}, EXCHANGE_MALFORMED},
        {{"n,,r=abc,n=alice", 16}, EXCHANGE_MALFORMED},
        {{"n,,n=,r=abc", 11}, EXCHANGE_MALFORMED},
        {{"n,,n=alice", 10}, EXCHANGE_MALFORMED},
        {{"n,,n=alice,r=", 13}, EXCHANGE_MALFORMED},
        {{"n,,n=alice,r=a c", 16}, EXCHANGE_MALFORMED},
        {{"n,,n=al=2dice,r=abc", 19}, EXCHANGE_MALFORMED},
        {{"n,,n=al=,r=abc", 14}, EXCHANGE_MALFORMED},
        {{"n,,n=al\0ice,r=abc", 17}, EXCHANGE_MALFORMED},
        {{"p=tls-unique,,n=alice,r=abc", 27}, EXCHANGE_FAILED},
        {{"p=tls-exporter,,n=alice,r=abc", 29}, EXCHANGE_FAILED},
        {{"n,a=bob,n=alice,r=abc", 21}, EXCHANGE_FAILED},
        {{"n,,n=al\nice,r=abc", 17}, EXCHANGE_FAILED},
        {{"n,,n=\xc2\xad,r=abc", 13}, EXCHANGE_FAILED}, /* nothing, once prepared */
        {{"n,,n=\xff\xfe,r=abc", 13}, EXCHANGE_FAILED},
        {{"y,,n=alice,r=abc", 16}, EXCHANGE_CONTINUE},
        {{"n,a=alice,n=alice,r=abc", 23}, EXCHANGE_CONTINUE},
        {{"n,,n=alice,r=abc,x=more", 23}, EXCHANGE_CONTINUE},
    };
    setup();
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CHECK_EQ(cases[i].message.data, begin_with(AUTH_SCRAM_SHA_256, cases[i].message),
                 cases[i].status);
    }
    char message[1024];
    for (size_t nonce = SCRAM_NONCE_BYTES_MAX; nonce <= SCRAM_NONCE_BYTES_MAX + 1; nonce++) {
        memcpy(message, "n,,n=alice,r=", 13);
        memset(message + 13, 'r', nonce);
        CHECK_EQ("nonce", begin_with(AUTH_SCRAM_SHA_256, slice_of(message, 13 + nonce)),
                 nonce == SCRAM_NONCE_BYTES_MAX ? EXCHANGE_CONTINUE : EXCHANGE_MALFORMED);
    }
    memcpy(message, "n,,n=", 5);
    memset(message + 5, 'n', 256);
    memcpy(message + 261, ",r=abc", 6);
    CHECK_EQ("name", begin_with(AUTH_SCRAM_SHA_256, slice_of(message, 267)), EXCHANGE_FAILED);
    teardown();
}

TEST(scram_cut_or_changed_at_every_byte_never_succeeds)
{
    setup();
    for (size_t at = 0; at < 200; at++) {
        for (int is_cut = 0; is_cut < 2; is_cut++) {
            struct scram_client c;
            client_start(&c, "alice", PASSWORD, NULL);
            size_t len;
            char *message = client_step(&c, true, &len);
            CHECK_EQ("first", begin_with(AUTH_SCRAM_SHA_256, slice_of(message, len)),
                     EXCHANGE_CONTINUE);
            gsasl_free(message);
            message = client_step(&c, false, &len);
            bool is_inside = at < len;
            /* Bit 2: the last digit of the proof in base64 has two bits that mean nothing. */
            if (is_inside && !is_cut) message[at] ^= 4;
            enum exchange_status status = say(slice_of(message, is_cut && is_inside ? at : len));
            CHECK_EQ("changed", status == EXCHANGE_CONTINUE, !is_inside);
            gsasl_free(message);
            client_end(&c);
        }
    }
    teardown();
}

TEST(scram_wants_its_last_line_empty)
{
    setup();
    for (int i = 0; i < 2; i++) {
        struct scram_client c;
        client_start(&c, "alice", PASSWORD, NULL);
        size_t len;
        char *message = client_step(&c, true, &len);
        CHECK_EQ("first", begin_with(AUTH_SCRAM_SHA_256, slice_of(message, len)),
                 EXCHANGE_CONTINUE);
        gsasl_free(message);
        message = client_step(&c, false, &len);
        CHECK_EQ("final", say(slice_of(message, len)), EXCHANGE_CONTINUE);
        gsasl_free(message);
        CHECK_EQ("last", exchange_step(e, i == 0 ? SLICE("AAAA") : SLICE("*")),
                 i == 0 ? EXCHANGE_MALFORMED : EXCHANGE_CANCELED);
        client_end(&c);
    }
    teardown();
}

TEST(an_exchange_outlives_a_reload_and_leaves_nothing)
{
    setup();
    CHECK_EQ("begin", begin_with(AUTH_PLAIN, SLICE("\0alice\0" PASSWORD)), EXCHANGE_CHECK);
    users_unref(users); /* what a reload does */
    CHECK_EQ("check", exchange_check(e), EXCHANGE_OK);
    exchange_finish(e);
    CHECK(memmem(e, sizeof(*e), "alice", 5) == NULL);
    CHECK(memmem(e, sizeof(*e), PASSWORD, strlen(PASSWORD)) == NULL);
    free(e);
}

/* The library is shared by the cores. */
static void *begin_often(void *argument)
{
    (void)argument;
    struct exchange *mine = xcalloc(1, sizeof(*mine));
    struct slice initial = SLICE("biwsbj1hbGljZSxyPWFiYw=="); /* n,,n=alice,r=abc */
    for (unsigned i = 0; i < 500; i++) {
        CHECK_EQ(
            "begin",
            exchange_begin(mine, users, AUTH_SCRAM_SHA_256, SLICE("mx.example.test"), &initial),
            EXCHANGE_CONTINUE);
        exchange_finish(mine);
    }
    free(mine);
    return NULL;
}

TEST(threads_begin_exchanges_at_the_same_time)
{
    setup();
    pthread_t threads[4];
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        CHECK(pthread_create(&threads[i], NULL, begin_often, NULL) == 0);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_join(threads[i], NULL);
    teardown();
}
