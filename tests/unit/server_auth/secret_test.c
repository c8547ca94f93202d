#include "server/auth/secret.h"

#include "ring/base/memory.h"
#include "tests/support/test.h"

#include <pthread.h>

/* RFC 7677 section 3: "pencil", and the keys that follow from its salt. */
static const char rfc_7677[] = "{SCRAM-SHA-256}4096,W22ZaJ0SNY7soEsUEjb6gQ==,"
                               "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,"
                               "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

static const struct {
    const char *text, *password;
} good[] = {
    {rfc_7677, "pencil"},
    {"{CRAM-MD5}9186d855e11eba527a7a52ca82b313e180d62234f0acc9051b527243d41e2740", "password"},
    /* As `openssl passwd -6` and `-5` make them. */
    {"{CRYPT}$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYE"
     "dFCoEOfaS35inz1",
     "Hello world!"},
    {"{sha256-crypt}$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5", "Hello world!"},
    {"{BLF-CRYPT}$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*U"},
};

TEST(secrets_of_other_servers_are_read_and_checked)
{
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        struct secret secret;
        const char *wrong = secret_parse(slice_of_cstr(good[i].text), &secret);
        if (wrong != NULL) printf("%s: %s\n", good[i].text, wrong);
        CHECK(wrong == NULL);
        if (wrong != NULL) continue;
        CHECK_EQ(good[i].text, secret_matches(&secret, slice_of_cstr(good[i].password)), true);
        CHECK_EQ(good[i].text, secret_matches(&secret, SLICE("wrong")), false);
        CHECK_EQ(good[i].text, secret_matches(&secret, SLICE("")), false);
        secret_finish(&secret);
    }
}

TEST(a_secret_that_is_cut_anywhere_is_none_or_another)
{
    for (size_t i = 0; i < 2; i++) {
        for (size_t cut = 0; cut < strlen(good[i].text); cut++) {
            struct secret secret;
            CHECK(secret_parse(slice_of(good[i].text, cut), &secret) != NULL);
        }
    }
}

TEST(bad_secrets_are_told)
{
    static const struct {
        const char *text, *word;
    } bad[] = {
        {"", "begins with"},
        {"secret", "begins with"},
        {"{PLAIN}secret", "begins with"},
        {"{CRYPT}ab01FAX.bQRSU", "yescrypt"}, /* DES */
        {"{CRYPT}$1$salt$hash", "yescrypt"},
        {"{CRYPT}_J9..rasmBYk8r9AiWNc", "yescrypt"},
        {"{CRYPT}$3$$8846f7eaee8fb117ad06bdd830b7586c", "yescrypt"},
        {"{CRYPT}*", "yescrypt"},
        {"{SCRAM-SHA-256}4095,W22ZaJ0SNY7soEsUEjb6gQ==,x,y", "iterations"},
        {"{SCRAM-SHA-256}10000001,W22ZaJ0SNY7soEsUEjb6gQ==,x,y", "iterations"},
        {"{SCRAM-SHA-256}-1,W22ZaJ0SNY7soEsUEjb6gQ==,x,y", "iterations"},
        {"{SCRAM-SHA-256}4096,,x,y", "salt"},
        {"{SCRAM-SHA-256}4096,W22ZaJ0SNY7soEsUEjb6gQ=,x,y", "salt"},
        {"{SCRAM-SHA-256}4096,W22ZaJ0SNY7soEsUEjb6gQ==,eA==,eA==", "32 bytes"},
        {"{CRAM-MD5}12", "64 hexadecimal"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct secret secret;
        const char *wrong = secret_parse(slice_of_cstr(bad[i].text), &secret);
        CHECK(wrong != NULL);
        if (wrong != NULL && strstr(wrong, bad[i].word) == NULL) {
            printf("%s: %s\n", bad[i].text, wrong);
            CHECK(false);
        }
    }
}

static void check_back(struct secret *secret, const char *password)
{
    char text[SECRET_TEXT_BYTES_MAX];
    struct buf out = {text, 0, sizeof(text), false};
    secret_write(secret, &out);
    CHECK(!out.is_short);
    struct secret read;
    CHECK(secret_parse(buf_slice(&out), &read) == NULL);
    CHECK_EQ(password, secret_matches(&read, slice_of_cstr(password)), true);
    CHECK(!secret_matches(&read, SLICE("other")));
    secret_finish(&read);
    secret_finish(secret);
}

TEST(what_is_made_is_read_again)
{
    char longest[SECRET_PASSWORD_BYTES_MAX + 1] = {0};
    memset(longest, 'p', SECRET_PASSWORD_BYTES_MAX);
    const char *const passwords[] = {"x", "with blanks and = , signs", "gr\xc3\xbc\xc3\x9f",
                                     longest};
    for (size_t i = 0; i < ARRAY_LEN(passwords); i++) {
        struct slice password = slice_of_cstr(passwords[i]);
        CHECK(secret_check_password(password) == NULL);
        struct secret secret;
        secret_make_scram(password, SCRAM_ITERATIONS_MIN, &secret);
        check_back(&secret, passwords[i]);
        secret_make_cram_md5(password, &secret);
        check_back(&secret, passwords[i]);
        CHECK(secret_make_crypt(password, &secret));
        check_back(&secret, passwords[i]);
    }
}

TEST(passwords_are_prepared)
{
    CHECK(secret_check_password(SLICE("")) != NULL);
    CHECK(secret_check_password(SLICE("bell\a")) != NULL);
    CHECK(secret_check_password(SLICE("half\xc3")) != NULL);
    CHECK(secret_check_password(SLICE("\xc2\xad")) != NULL); /* a soft hyphen is nothing */
    char text[SECRET_PASSWORD_BYTES_MAX + 1];
    memset(text, 'p', sizeof(text));
    CHECK(secret_check_password(slice_of(text, sizeof(text))) != NULL);

    struct secret secret;
    secret_make_scram(SLICE("I\xc2\xadX"), SCRAM_ITERATIONS_MIN, &secret); /* RFC 4013 section 3 */
    CHECK(secret_matches(&secret, SLICE("IX")));
    CHECK(secret_matches(&secret, SLICE("\xe2\x85\xa8"))); /* the Roman numeral nine */
    CHECK(!secret_matches(&secret, SLICE("ix")));
    CHECK(!secret_matches(&secret, SLICE("IX\0")));
    secret_finish(&secret);
}

static void *match_often(void *argument)
{
    const struct secret *secret = argument;
    for (unsigned i = 0; i < 20; i++) {
        CHECK(secret_matches(secret, SLICE("gr\xc3\xbc")));
        CHECK(!secret_matches(secret, SLICE("gr\xc3\xbcn")));
    }
    return NULL;
}

TEST(threads_check_at_the_same_time)
{
    struct secret secret;
    secret_make_scram(SLICE("gr\xc3\xbc"), SCRAM_ITERATIONS_MIN, &secret);
    pthread_t threads[4];
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        CHECK(pthread_create(&threads[i], NULL, match_often, &secret) == 0);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_join(threads[i], NULL);
    secret_finish(&secret);
}
