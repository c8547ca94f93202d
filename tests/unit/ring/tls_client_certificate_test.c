/* A server asks its clients for certificates: whatever they show, they are let in, and what is told
 * of them is what was proved. */
#include "tests/unit/ring/tls_forge.h"
#include "tests/unit/ring/tls_raw.h"

#define DAY 86400L

static struct forged root, other_root, good, expired, not_yet, self_signed, strange, long_named;
static char long_name[60 * 20];

/* A name of several parts, longer than what is told. */
static struct forged forge_long_named(void)
{
    struct forged made = forge((struct forge_options){.common_name = "long", .issuer = &root});
    memset(long_name, 'u', sizeof(long_name));
    for (int i = 0; i < 20; i++)
        CHECK(X509_NAME_add_entry_by_txt(X509_get_subject_name(made.certificate), "OU",
                                         MBSTRING_ASC, (const unsigned char *)long_name, 60, -1,
                                         0) == 1);
    CHECK(X509_sign(made.certificate, root.key, EVP_sha256()) > 0);
    return made;
}

static void make_certificates(void)
{
    if (root.certificate != NULL) return;
    tls_make_files();
    root = forge((struct forge_options){.common_name = "root", .is_ca = true});
    other_root = forge((struct forge_options){.common_name = "other root", .is_ca = true});
    good = forge((struct forge_options){.common_name = "mx.client.example", .issuer = &root});
    expired = forge((struct forge_options){
        .common_name = "old.example", .issuer = &root, .from_s = -2 * DAY, .until_s = -DAY});
    not_yet = forge((struct forge_options){
        .common_name = "new.example", .issuer = &root, .from_s = DAY, .until_s = 2 * DAY});
    self_signed = forge((struct forge_options){.common_name = "self.example"});
    static const char name[] = "a\r\n\tb\x1b[0m,\"\xc3\xa9\0z";
    strange = forge((struct forge_options){
        .common_name = name, .common_name_len = sizeof(name) - 1, .issuer = &root});
    long_named = forge_long_named();
    const struct forged *roots[] = {&root, NULL}, *others[] = {&other_root, NULL};
    forge_write_chain("in", roots);
    forge_write_chain("out", others);
}

static struct tls_context *asking_server(const char *ca_name, struct tls_tickets *tickets)
{
    return tls_server(
        (struct tls_server_options){.asks_client = true,
                                    .client_ca_file = ca_name == NULL ? NULL : tls_path(ca_name),
                                    .tickets = tickets});
}

static SSL_SESSION *session;

static int take_session(SSL *ssl, SSL_SESSION *taken)
{
    (void)ssl;
    SSL_SESSION_free(session);
    session = taken;
    return 1;
}

/* A handshake with `shown`, or without a certificate; `info_out` is what the server was told, with
 * the texts in memory of their own. */
static bool show(const struct forged *shown, enum tls_version version, struct tls_context *server,
                 struct tls_info *info_out)
{
    static char subject[TLS_SUBJECT_BYTES_MAX + 10];
    struct raw raw;
    char byte;
    raw_init(&raw, version);
    SSL_CTX_set_session_cache_mode(raw.ctx,
                                   SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL_STORE);
    SSL_CTX_sess_set_new_cb(raw.ctx, take_session);
    if (shown != NULL) {
        CHECK(SSL_CTX_use_certificate(raw.ctx, shown->certificate) == 1);
        CHECK(SSL_CTX_use_PrivateKey(raw.ctx, shown->key) == 1);
    }
    raw_connect(&raw, server);
    if (session != NULL) CHECK(SSL_set_session(raw.ssl, session) == 1);
    bool is_secured = raw_handshake(&raw);
    support_run_for(raw.p.loop, 5);
    (void)SSL_read(raw.ssl, &byte, 1);
    *info_out = raw.p.server->info;
    if (info_out->peer_subject != NULL) {
        snprintf(subject, sizeof(subject), "%s", info_out->peer_subject);
        info_out->peer_subject = subject;
    }
    raw_disconnect(&raw);
    raw_finish(&raw);
    return is_secured;
}

static void forget_session(void)
{
    SSL_SESSION_free(session);
    session = NULL;
}

static void check_info(const char *what, const struct tls_info *info, bool is_verified,
                       const char *text, const char *subject)
{
    CHECK_EQ(what, info->is_peer_verified, is_verified);
    if (strstr(info->verify_text, text) == NULL)
        CHECK_SLICE(what, slice_of_cstr(info->verify_text), text);
    CHECK_EQ(what, info->peer_subject == NULL, subject == NULL);
    if (subject != NULL && info->peer_subject != NULL)
        CHECK_SLICE(what, slice_of_cstr(info->peer_subject), subject);
}

TEST(any_certificate_and_none_is_let_in_and_told_for_what_it_is)
{
    make_certificates();
    const struct {
        const char *what, *ca;
        const struct forged *shown;
        bool is_verified;
        const char *text, *subject;
    } cases[] = {
        {"none", "in", NULL, false, "no certificate was shown", NULL},
        {"good", "in", &good, true, "ok", "CN=mx.client.example"},
        {"good, no roots", NULL, &good, false, "unable to get local issuer",
         "CN=mx.client.example"},
        {"good, other roots", "out", &good, false, "unable to get local issuer",
         "CN=mx.client.example"},
        {"self-signed", "in", &self_signed, false, "self-signed certificate", "CN=self.example"},
        {"self-signed, no roots", NULL, &self_signed, false, "unable", "CN=self.example"},
        {"expired", "in", &expired, false, "certificate has expired", "CN=old.example"},
        {"not yet", "in", &not_yet, false, "not yet valid", "CN=new.example"},
        {"strange", "in", &strange, true, "ok", "CN=a\\0D\\0A\\09b\\1B[0m\\,\\\"\\C3\\A9\\00z"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct tls_context *server = asking_server(cases[i].ca, NULL);
        for (int version = TLS_VERSION_1_2; version <= TLS_VERSION_1_3; version++) {
            struct tls_info info;
            forget_session();
            CHECK(show(cases[i].shown, (enum tls_version)version, server, &info));
            check_info(cases[i].what, &info, cases[i].is_verified, cases[i].text, cases[i].subject);
            CHECK(!info.is_resumed);
            /* The ticket carries it. */
            CHECK(show(cases[i].shown, (enum tls_version)version, server, &info));
            CHECK_EQ(cases[i].what, info.is_resumed, true);
            check_info(cases[i].what, &info, cases[i].is_verified, cases[i].text, cases[i].subject);
        }
        tls_context_destroy(server);
    }
    forget_session();
}

TEST(a_long_name_is_cut)
{
    make_certificates();
    struct tls_context *server = asking_server("in", NULL);
    struct tls_info info;
    CHECK(show(&long_named, TLS_VERSION_1_3, server, &info));
    CHECK(info.peer_subject != NULL);
    if (info.peer_subject != NULL) {
        size_t len = strlen(info.peer_subject);
        CHECK_EQ("len", len, TLS_SUBJECT_BYTES_MAX + 3);
        CHECK(strncmp(info.peer_subject, "OU=uuu", 6) == 0);
        CHECK(strcmp(info.peer_subject + len - 3, "...") == 0);
    }
    forget_session();
    tls_context_destroy(server);
}

TEST(who_is_not_asked_shows_nothing)
{
    make_certificates();
    struct tls_context *server = tls_server((struct tls_server_options){0});
    struct tls_info info;
    CHECK(show(&good, TLS_VERSION_1_3, server, &info));
    check_info("not asked", &info, false, "no certificate was shown", NULL);
    forget_session();
    tls_context_destroy(server);
}

/* Where servers share ticket keys, a session is worth only what its own server asked and trusted.
 */
TEST(a_session_is_not_resumed_where_other_roots_count)
{
    make_certificates();
    struct tls_tickets *tickets = tls_tickets_create(TLS_TICKETS_ROTATION_MS);
    const char *const cas[] = {NULL, "in", "out"};
    enum { PLAIN = 3, SERVERS };
    struct tls_context *servers[SERVERS], *again[SERVERS];
    for (int i = 0; i < SERVERS; i++) {
        servers[i] = i == PLAIN ? tls_server((struct tls_server_options){.tickets = tickets})
                                : asking_server(cas[i], tickets);
        again[i] = i == PLAIN ? tls_server((struct tls_server_options){.tickets = tickets})
                              : asking_server(cas[i], tickets);
    }
    for (int version = TLS_VERSION_1_2; version <= TLS_VERSION_1_3; version++) {
        for (int from = 0; from < SERVERS; from++) {
            for (int to = 0; to < SERVERS; to++) {
                struct tls_info info;
                forget_session();
                CHECK(show(&good, (enum tls_version)version, servers[from], &info));
                CHECK(show(&good, (enum tls_version)version, again[to], &info));
                CHECK_EQ("resumed", info.is_resumed, from == to);
                CHECK_EQ("verified", info.is_peer_verified, to == 1);
            }
        }
    }
    forget_session();
    for (int i = 0; i < SERVERS; i++) {
        tls_context_destroy(servers[i]);
        tls_context_destroy(again[i]);
    }
    tls_tickets_destroy(tickets);
}

/* More than a chain ever has: refused before it is looked at. */
TEST(a_chain_without_end_is_refused)
{
    make_certificates();
    struct tls_context *server = asking_server("in", NULL);
    for (int version = TLS_VERSION_1_2; version <= TLS_VERSION_1_3; version++) {
        struct raw raw;
        raw_init(&raw, (enum tls_version)version);
        CHECK(SSL_CTX_use_certificate(raw.ctx, good.certificate) == 1);
        CHECK(SSL_CTX_use_PrivateKey(raw.ctx, good.key) == 1);
        for (int i = 0; i < 80; i++)
            CHECK(SSL_CTX_add1_chain_cert(raw.ctx, long_named.certificate) == 1);
        raw_connect(&raw, server);
        (void)raw_handshake(&raw);
        CHECK_EQ("secured", raw.p.server->secured, 0);
        CHECK_EQ("err", raw.p.server->end_err, -ERR_TLS);
        CHECK(strstr(raw.p.server->error, "excessive message size") != NULL);
        raw_disconnect(&raw);
        raw_finish(&raw);
    }
    tls_context_destroy(server);
    const struct forged *all[] = {&root,    &other_root,  &good,    &expired,
                                  &not_yet, &self_signed, &strange, &long_named};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        forge_free((struct forged *)(uintptr_t)all[i]);
}
