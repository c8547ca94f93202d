/* What a server's certificates must be, and what is told of them. */
#include "tests/unit/ring/tls_forge.h"

#include <openssl/ssl.h>

#define DAY 86400L

static int create(const char *crt, const char *key, bool allows_expired,
                  struct tls_context **context_out, char *why, size_t why_cap)
{
    struct tls_certificate certificate = {tls_path(crt), tls_path(key)};
    struct tls_server_options options = {
        .certificates = &certificate, .certificate_count = 1, .allows_expired = allows_expired};
    why[0] = '\0';
    return tls_server_context_create(&options, context_out, why, why_cap);
}

static void check_refused(const char *crt, const char *key, int want, const char *says)
{
    struct tls_context *context = (void *)1;
    char why[512];
    CHECK_EQ(says, create(crt, key, false, &context, why, sizeof(why)), want);
    CHECK(context == NULL);
    if (strstr(why, says) == NULL) CHECK_SLICE("why", slice_of_cstr(why), says);
    CHECK(strchr(why, '\n') == NULL);
}

static void check_taken(const char *crt, const char *key, bool allows_expired)
{
    struct tls_context *context;
    char why[512];
    CHECK_EQ(crt, create(crt, key, allows_expired, &context, why, sizeof(why)), 0);
    CHECK_SLICE(crt, slice_of_cstr(why), "");
    tls_context_destroy(context);
}

static void write_one(const char *name, const struct forged *made)
{
    const struct forged *chain[] = {made, NULL};
    forge_write_chain(name, chain);
}

TEST(a_certificate_out_of_its_time_is_refused_unless_allowed)
{
    tls_make_files();
    static const struct {
        long from_s, until_s;
        const char *says; /* NULL: it is in time */
    } cases[] = {
        {-2 * DAY, -DAY, "in: the certificate expired at 20"},
        {-DAY, -10, "in: the certificate expired at 20"},
        {DAY, 2 * DAY, "in: the certificate is not valid before 20"},
        {30, DAY, "in: the certificate is not valid before 20"},
        {-DAY, 30, NULL},
        {-10, DAY, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct forged made = forge((struct forge_options){
            .common_name = "a.example", .from_s = cases[i].from_s, .until_s = cases[i].until_s});
        write_one("in", &made);
        forge_write_key("out", &made, NULL);
        if (cases[i].says == NULL) {
            check_taken("in", "out", false);
        } else {
            check_refused("in", "out", -ERR_INVALID, cases[i].says);
        }
        check_taken("in", "out", true);
        forge_free(&made);
    }
}

TEST(the_date_is_told)
{
    tls_make_files();
    time_t then = time(NULL) - DAY;
    char date[80], want[100];
    struct tm tm;
    gmtime_r(&then, &tm);
    strftime(date, sizeof(date), "%Y-%m-%dT%H:%M", &tm); /* the second may have changed */
    snprintf(want, sizeof(want), "expired at %s", date);
    struct forged made = forge(
        (struct forge_options){.common_name = "a.example", .from_s = -2 * DAY, .until_s = -DAY});
    write_one("in", &made);
    forge_write_key("out", &made, NULL);
    check_refused("in", "out", -ERR_INVALID, want);
    forge_free(&made);
}

/* Root, two between, and the leaf. */
struct chain {
    struct forged root, upper, lower, leaf, other;
};

static void chain_make(struct chain *c)
{
    c->root = forge((struct forge_options){.common_name = "root", .is_ca = true});
    c->upper =
        forge((struct forge_options){.common_name = "upper", .is_ca = true, .issuer = &c->root});
    c->lower =
        forge((struct forge_options){.common_name = "lower", .is_ca = true, .issuer = &c->upper});
    c->leaf = forge((struct forge_options){.common_name = "a.example", .issuer = &c->lower});
    c->other = forge((struct forge_options){.common_name = "other", .is_ca = true});
}

static void chain_free(struct chain *c)
{
    forge_free(&c->root);
    forge_free(&c->upper);
    forge_free(&c->lower);
    forge_free(&c->leaf);
    forge_free(&c->other);
}

TEST(a_chain_is_taken_in_its_order_only)
{
    tls_make_files();
    struct chain c;
    chain_make(&c);
    const struct {
        const char *what;
        const struct forged *chain[5];
        const char *says; /* NULL: fine */
    } cases[] = {
        {"alone", {&c.leaf}, NULL},
        {"whole", {&c.leaf, &c.lower, &c.upper}, NULL},
        {"with the root", {&c.leaf, &c.lower, &c.upper, &c.root}, NULL},
        {"crossed", {&c.leaf, &c.upper, &c.lower}, "number 2 did not issue the one before it"},
        {"a gap", {&c.leaf, &c.lower, &c.root}, "number 3 did not issue the one before it"},
        {"a stranger", {&c.leaf, &c.lower, &c.other}, "number 3 did not issue"},
        {"twice", {&c.leaf, &c.leaf}, "number 2 did not issue"},
        {"backwards",
         {&c.upper, &c.lower, &c.leaf},
         "of the key is number 3; it must be the first"},
    };
    forge_write_key("out", &c.leaf, NULL);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        forge_write_chain("in", cases[i].chain);
        if (cases[i].says == NULL) {
            check_taken("in", "out", false);
        } else {
            check_refused("in", "out", -ERR_INVALID, cases[i].says);
        }
    }
    chain_free(&c);
}

TEST(files_that_no_server_can_use_are_named)
{
    tls_make_files();
    struct chain c;
    chain_make(&c);
    write_one("in", &c.leaf);
    forge_write_key("out", &c.other, NULL);
    check_refused("in", "out", -ERR_INVALID, "out: is not the key of the certificate in ");
    forge_write_key("out", &c.leaf, "secret");
    check_refused("in", "out", -ERR_SYNTAX, "out: holds no private key in PEM, or an encrypted");
    forge_write_text("out", "");
    check_refused("in", "out", -ERR_SYNTAX, "out: holds no private key");
    check_refused("out", "out", -ERR_SYNTAX, "out: holds no certificate");
    check_refused("nowhere", "out", -ERR_NOT_FOUND, "nowhere: cannot be opened: No such file");
    check_refused("in", "nowhere", -ERR_NOT_FOUND, "nowhere: cannot be opened: No such file");
    forge_write_text("out", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    check_refused("in", "out", -ERR_SYNTAX, "out: holds no private key");
    check_refused(".", "out", -ERR_SYNTAX, ".: holds no certificate");

    FILE *file = fopen(tls_path("in"), "a");
    ASSERT(file != NULL);
    fputs("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", file);
    fclose(file);
    forge_write_key("out", &c.leaf, NULL);
    check_refused("in", "out", -ERR_SYNTAX, "in: a certificate of the chain is damaged");
    chain_free(&c);
}

TEST(roots_of_clients_that_cannot_be_read_are_named)
{
    tls_make_files();
    const char *const files[] = {"nowhere", "in"};
    forge_write_text("in", "no certificate\n");
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        struct tls_certificate certificate = {tls_path("a.crt"), tls_path("a.key")};
        struct tls_server_options options = {.certificates = &certificate,
                                             .certificate_count = 1,
                                             .asks_client = true,
                                             .client_ca_file = tls_path(files[i])};
        struct tls_context *context = (void *)1;
        char why[512] = "", want[300];
        snprintf(want, sizeof(want), "%s: holds no certificates of roots", tls_path(files[i]));
        CHECK(tls_server_context_create(&options, &context, why, sizeof(why)) < 0);
        CHECK(context == NULL);
        if (strstr(why, want) == NULL) CHECK_SLICE("why", slice_of_cstr(why), want);
    }
}

TEST(what_is_told_of_certificates)
{
    tls_make_files();
    static const struct {
        struct forge_options options;
        const char *name;
    } cases[] = {
        {{.common_name = "ignored", .names = "IP:127.0.0.1,DNS:MX.Example,DNS:b.example"},
         "mx.example"},
        {{.common_name = "CN.Example"}, "cn.example"},
        {{.common_name = "cn.example", .names = "IP:127.0.0.1"}, "cn.example"},
        {{.names = "IP:127.0.0.1"}, ""},
        {{.common_name = "w", .names = "DNS:*.w.example"}, "*.w.example"},
    };
    struct tls_certificate certificates[ARRAY_LEN(cases)];
    char files[ARRAY_LEN(cases)][128];
    int64_t now_s = (int64_t)time(NULL);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct forge_options options = cases[i].options;
        options.from_s = -1;
        options.until_s = (long)(i + 1) * DAY;
        struct forged made = forge(options);
        char name[16];
        snprintf(name, sizeof(name), "info%zu", i);
        snprintf(files[i], sizeof(files[i]), "%s", tls_path(name));
        write_one(name, &made);
        FILE *file = fopen(files[i], "a"); /* one file for both */
        ASSERT(file != NULL);
        CHECK(PEM_write_PrivateKey(file, made.key, NULL, NULL, 0, NULL, NULL) == 1);
        fclose(file);
        certificates[i] = (struct tls_certificate){files[i], files[i]};
        forge_free(&made);
    }
    struct tls_context *server = tls_server((struct tls_server_options){
        .certificates = certificates, .certificate_count = ARRAY_LEN(cases)});
    CHECK_EQ("count", tls_server_certificate_count(server), ARRAY_LEN(cases));
    for (uint32_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct tls_certificate_info info;
        tls_server_certificate(server, i, &info);
        CHECK_SLICE("name", slice_of_cstr(info.name), cases[i].name);
        CHECK_SLICE("file", slice_of_cstr(info.file), files[i]);
        int64_t want_s = now_s + (int64_t)(i + 1) * DAY;
        CHECK(info.not_after_s >= want_s && info.not_after_s <= want_s + 60);
        unlink(files[i]);
    }
    tls_context_destroy(server);
    struct tls_context *client = tls_client((struct tls_client_options){0});
    CHECK_EQ("client", tls_server_certificate_count(client), 0);
    tls_context_destroy(client);
}
