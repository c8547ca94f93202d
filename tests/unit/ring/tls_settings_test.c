/* What our servers agree to: names, protocols, ciphers and groups; and the end of TLS in the middle
 * of a body. */
#include "tests/unit/ring/tls_raw.h"

static void check_given(struct raw *raw, const char *name, const char *file)
{
    X509 *shown = SSL_get0_peer_certificate(raw->ssl);
    FILE *pem = fopen(tls_path(file), "r");
    ASSERT(pem != NULL);
    X509 *want = PEM_read_X509(pem, NULL, NULL, NULL);
    fclose(pem);
    CHECK_EQ(name, shown != NULL && want != NULL && X509_cmp(shown, want) == 0, true);
    X509_free(want);
}

TEST(a_name_that_fits_nothing_gets_the_first_certificate)
{
    tls_make_files();
    struct tls_certificate certificates[] = {{tls_path("a.crt"), tls_path("a.key")},
                                             {tls_path("b.crt"), tls_path("b.key")},
                                             {tls_path("wild.crt"), tls_path("wild.key")}};
    struct tls_context *server = tls_server(
        (struct tls_server_options){.certificates = certificates, .certificate_count = 3});
    char longest[256], labels[256];
    memset(longest, 'a', 255);
    longest[255] = '\0';
    for (int i = 0; i < 255; i++)
        labels[i] = i % 2 == 0 ? 'x' : '.';
    labels[255] = '\0';
    const struct {
        const char *name, *file;
    } cases[] = {
        {NULL, "a.crt"},
        {"b.example", "b.crt"},
        {"unknown.example", "a.crt"},
        {longest, "a.crt"},
        {labels, "a.crt"},
        {"127.0.0.1", "a.crt"},
        {"[::1]", "a.crt"},
        {".", "a.crt"},
        {"..w.example", "a.crt"},
        {".w.example", "a.crt"},
        {"*", "a.crt"},
        {"\x01\xff\r\n", "a.crt"},
        {"*.w.example", "wild.crt"},
        {"b.example.", "a.crt"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        for (int version = TLS_VERSION_1_2; version <= TLS_VERSION_1_3; version++) {
            struct raw raw;
            const char *what = cases[i].name == NULL ? "none" : cases[i].name;
            raw_init(&raw, (enum tls_version)version);
            raw_connect(&raw, server);
            if (cases[i].name != NULL) CHECK(SSL_set_tlsext_host_name(raw.ssl, cases[i].name) == 1);
            CHECK_EQ(what, raw_handshake(&raw), true);
            check_given(&raw, what, cases[i].file);
            raw_disconnect(&raw);
            raw_finish(&raw);
        }
    }
    tls_context_destroy(server);
}

TEST(protocols_of_others_are_refused_with_the_alert_for_it)
{
    struct tls_context *server = tls_server((struct tls_server_options){0});
    static const struct {
        const char *what, *offer;
        unsigned len;
        bool is_taken;
    } cases[] = {{"none", NULL, 0, true},
                 {"smtp", "\x04smtp", 5, true},
                 {"h2 and smtp", "\x02h2\x04smtp", 8, true},
                 {"h2", "\x02h2", 3, false},
                 {"longer", "\x05smtps", 6, false},
                 {"shorter", "\x03smt", 4, false}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        for (int version = TLS_VERSION_1_2; version <= TLS_VERSION_1_3; version++) {
            struct raw raw;
            raw_init(&raw, (enum tls_version)version);
            raw_connect(&raw, server);
            if (cases[i].offer != NULL)
                SSL_set_alpn_protos(raw.ssl, (const unsigned char *)cases[i].offer, cases[i].len);
            ERR_clear_error();
            CHECK_EQ(cases[i].what, raw_handshake(&raw), cases[i].is_taken);
            int reason = ERR_GET_REASON(ERR_peek_error()); /* the alert that came */
            if (!cases[i].is_taken)
                CHECK_EQ(cases[i].what, reason, SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL);
            ERR_clear_error();
            raw_disconnect(&raw);
            raw_finish(&raw);
        }
    }
    tls_context_destroy(server);
}

/* --- ciphers and groups --- */

struct offer {
    const char *what, *ciphers, *suites, *groups;
    const char *taken; /* the cipher; NULL: the handshake is refused */
};

static void check_offer(const struct offer *offer, struct tls_context *server)
{
    struct raw raw;
    raw_init(&raw, offer->suites == NULL ? TLS_VERSION_1_2 : TLS_VERSION_1_3);
    SSL_CTX_set_security_level(raw.ctx, 0);
    if (offer->ciphers != NULL) CHECK(SSL_CTX_set_cipher_list(raw.ctx, offer->ciphers) == 1);
    if (offer->suites != NULL) CHECK(SSL_CTX_set_ciphersuites(raw.ctx, offer->suites) == 1);
    if (offer->groups != NULL) CHECK(SSL_CTX_set1_groups_list(raw.ctx, offer->groups) == 1);
    raw_connect(&raw, server);
    CHECK_EQ(offer->what, raw_handshake(&raw), offer->taken != NULL);
    if (offer->taken != NULL)
        CHECK_SLICE(offer->what, slice_of_cstr(SSL_get_cipher_name(raw.ssl)), offer->taken);
    ERR_clear_error();
    raw_disconnect(&raw);
    raw_finish(&raw);
}

TEST(ciphers_are_strong_and_ours_to_choose)
{
    tls_make_files();
    static const struct offer offers[] = {
        {"all", "ALL", NULL, NULL, "ECDHE-ECDSA-AES128-GCM-SHA256"},
        {"a phone", "ECDHE-ECDSA-CHACHA20-POLY1305:ALL", NULL, NULL,
         "ECDHE-ECDSA-CHACHA20-POLY1305"},
        {"256 first", "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256", NULL, NULL,
         "ECDHE-ECDSA-AES128-GCM-SHA256"},
        {"RSA only", "ECDHE-RSA-AES256-GCM-SHA384", NULL, NULL, "ECDHE-RSA-AES256-GCM-SHA384"},
        {"no forward secrecy", "AES128-GCM-SHA256:AES256-SHA", NULL, NULL, NULL},
        {"CBC", "ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES128-SHA256:ECDHE-RSA-AES256-SHA", NULL, NULL,
         NULL},
        {"no certificate", "aNULL", NULL, NULL, NULL},
        {"no secret", "eNULL", NULL, NULL, NULL},
        {"DHE", "DHE-RSA-AES128-GCM-SHA256", NULL, NULL, NULL},
        {"CCM", "ECDHE-ECDSA-AES128-CCM8", NULL, NULL, NULL},
        {"1.3", NULL, "TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256",
         NULL, "TLS_AES_128_GCM_SHA256"},
        {"1.3, a phone", NULL, "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256", NULL,
         "TLS_CHACHA20_POLY1305_SHA256"},
        {"1.3, 256 only", NULL, "TLS_AES_256_GCM_SHA384", NULL, "TLS_AES_256_GCM_SHA384"},
        {"1.3, CCM", NULL, "TLS_AES_128_CCM_8_SHA256", NULL, NULL},
        {"P-384", NULL, "TLS_AES_128_GCM_SHA256", "P-384", "TLS_AES_128_GCM_SHA256"},
        {"P-256", "ALL", NULL, "P-256", "ECDHE-ECDSA-AES128-GCM-SHA256"},
        {"P-521 first", NULL, "TLS_AES_128_GCM_SHA256", "P-521:P-256", "TLS_AES_128_GCM_SHA256"},
        {"P-521", NULL, "TLS_AES_128_GCM_SHA256", "P-521", NULL},
        {"ffdhe", NULL, "TLS_AES_128_GCM_SHA256", "ffdhe2048", NULL},
    };
    struct tls_certificate both[] = {{tls_path("a.crt"), tls_path("a.key")},
                                     {tls_path("rsa.crt"), tls_path("rsa.key")}};
    struct tls_context *server =
        tls_server((struct tls_server_options){.certificates = both, .certificate_count = 2});
    for (size_t i = 0; i < ARRAY_LEN(offers); i++)
        check_offer(&offers[i], server);
    tls_context_destroy(server);
}

/* --- the end of TLS in a body --- */

/* A part of a body, the end of TLS, and clear bytes that would complete it: as P18 and P19 of those
 * who sent them to others (CVE-2026-45185). */
static void check_end_in_body(enum tls_version version, bool takes_windows, bool in_one)
{
    static const char clear[] = "\r\n.\r\nx";
    char body[5000];
    struct raw raw;
    struct tls_context *server = tls_server((struct tls_server_options){0});
    memset(body, 'b', sizeof(body));
    raw_init(&raw, version);
    raw_connect(&raw, server);
    CHECK(raw_handshake(&raw));
    raw_take_over(&raw);
    struct end *e = raw.p.server;
    e->takes_windows = takes_windows;
    e->expected = body;
    e->expected_len = sizeof(body);
    unsigned char out[6000];
    size_t len = raw_seal(&raw, 23, body, 4000, out);
    len += raw_seal(&raw, 21, "\x01\x00", 2, out + len);
    if (in_one) {
        memcpy(out + len, clear, sizeof(clear) - 1);
        len += sizeof(clear) - 1;
    }
    support_write(raw.p.raw, out, len);
    if (!in_one) {
        support_run_for(raw.p.loop, 5);
        (void)!send(raw.p.raw, clear, sizeof(clear) - 1, MSG_NOSIGNAL);
    }
    CHECK(support_run_until(raw.p.loop, &e->ends, 1));
    support_run_for(raw.p.loop, 10);
    CHECK_EQ("err", e->end_err, 0);
    CHECK_EQ("got", e->got, 4000);
    CHECK(!e->is_truncated && !e->is_wrong);
    raw_disconnect(&raw);
    raw_finish(&raw);
    tls_context_destroy(server);
}

TEST(the_end_of_tls_in_a_body_is_the_end_of_the_body)
{
    for (int how = 0; how < 8; how++)
        check_end_in_body(how % 2 == 0 ? TLS_VERSION_1_2 : TLS_VERSION_1_3, (how & 2) != 0,
                          (how & 4) != 0);
}
