/* What a peer that has passed the handshake may send instead of data: a little of it is nothing, a
 * flood is ended, and what one turn costs is bounded as well. */
#include "tests/unit/ring/tls_raw.h"

#define ALERT 21
#define HANDSHAKE 22
#define DATA 23

/* A KeyUpdate that asks for none in return; a ClientHello of TLS 1.2, as a renegotiation has it. */
static const char key_update[] = "\x18\x00\x00\x01\x00";
static const char hello[] = "\x01\x00\x00\x29\x03\x03"
                            "0123456789abcdef0123456789abcdef"
                            "\x00\x00\x02\xc0\x2b\x01\x00";

static void open_secured(struct raw *raw, enum tls_version version, struct tls_context *server)
{
    raw_init(raw, version);
    raw_connect(raw, server);
    CHECK(raw_handshake(raw));
    raw_take_over(raw);
}

/* A row of records that are alike, `data` of one byte after every `data_every`. */
struct flood {
    const char *name;
    enum tls_version version;
    unsigned char type;
    const char *bytes;
    size_t len;
    unsigned data_every; /* 0: none */
    unsigned count_max;  /* taken before the end, at most */
    const char *error;
};

/* Sends all in one piece, so that turns are as long as they can be. */
static void send_flood(struct raw *raw, const struct flood *f, unsigned count)
{
    size_t record = f->len + 64, len = 0;
    unsigned char *out = malloc(2 * count * record);
    ASSERT(out != NULL);
    for (unsigned i = 0; i < count; i++) {
        len += raw_seal(raw, f->type, f->bytes, f->len, out + len);
        if (f->data_every > 0 && i % f->data_every == f->data_every - 1)
            len += raw_seal(raw, DATA, "x", 1, out + len);
    }
    (void)!send(raw->p.raw, out, len, MSG_NOSIGNAL);
    free(out);
}

static void check_flood(const struct flood *f, struct tls_context *server)
{
    static char text[1000];
    struct raw raw;
    open_secured(&raw, f->version, server);
    memset(text, 'x', sizeof(text));
    raw.p.server->expected = text;
    raw.p.server->expected_len = sizeof(text);
    send_flood(&raw, f, 1000);
    CHECK(support_run_until(raw.p.loop, &raw.p.server->ends, 1));
    CHECK_EQ(f->name, raw.p.server->end_err, -ERR_TLS);
    if (strstr(raw.p.server->error, f->error) == NULL)
        CHECK_SLICE(f->name, slice_of_cstr(raw.p.server->error), f->error);
    CHECK(!raw.p.server->is_wrong);
    CHECK_EQ(f->name, raw.p.server->got <= f->count_max, true);
    raw_disconnect(&raw);
    raw_finish(&raw);
}

static const char warning[] = "\x01\x5a"; /* user_canceled: the one that TLS 1.3 overlooks */

TEST(floods_of_what_is_no_data_are_ended)
{
    static const struct flood floods[] = {
        {"empty, 1.2", TLS_VERSION_1_2, DATA, "", 0, 0, 0, "record too small"},
        {"empty, 1.3", TLS_VERSION_1_3, DATA, "", 0, 0, 0, "record too small"},
        {"alerts, 1.2", TLS_VERSION_1_2, ALERT, warning, 2, 0, 0, "too many warn alerts"},
        {"alerts, 1.3", TLS_VERSION_1_3, ALERT, warning, 2, 0, 0, "too many warn alerts"},
        /* Data in between does not buy more of them. */
        {"alerts and data, 1.2", TLS_VERSION_1_2, ALERT, warning, 2, 1, TLS_CONTROL_COUNT_MAX + 1,
         "bring nothing"},
        {"alerts and data, 1.3", TLS_VERSION_1_3, ALERT, warning, 2, 1, TLS_CONTROL_COUNT_MAX + 1,
         "bring nothing"},
        {"renegotiation, 1.2", TLS_VERSION_1_2, HANDSHAKE, hello, sizeof(hello) - 1, 0, 0,
         "bring nothing"},
        {"renegotiation and data, 1.2", TLS_VERSION_1_2, HANDSHAKE, hello, sizeof(hello) - 1, 1,
         TLS_CONTROL_COUNT_MAX + 1, "bring nothing"},
        {"a hello in 1.3", TLS_VERSION_1_3, HANDSHAKE, hello, sizeof(hello) - 1, 0, 0,
         "unexpected message"},
    };
    struct tls_context *server = tls_server((struct tls_server_options){0});
    for (size_t i = 0; i < ARRAY_LEN(floods); i++)
        check_flood(&floods[i], server);
    tls_context_destroy(server);
}

TEST(a_few_of_them_are_nothing)
{
    static const struct flood few[] = {
        {"empty", TLS_VERSION_1_2, DATA, "", 0, 0, 0, NULL},
        {"empty", TLS_VERSION_1_3, DATA, "", 0, 0, 0, NULL},
        {"alerts", TLS_VERSION_1_2, ALERT, warning, 2, 0, 0, NULL},
        {"alerts", TLS_VERSION_1_3, ALERT, warning, 2, 0, 0, NULL},
        {"renegotiation", TLS_VERSION_1_2, HANDSHAKE, hello, sizeof(hello) - 1, 0, 0, NULL},
    };
    struct tls_context *server = tls_server((struct tls_server_options){0});
    for (size_t i = 0; i < ARRAY_LEN(few); i++) {
        struct raw raw;
        unsigned char out[100];
        open_secured(&raw, few[i].version, server);
        raw.p.server->expected = "QUIT";
        raw.p.server->expected_len = 4;
        send_flood(&raw, &few[i], 3);
        size_t len = raw_seal(&raw, DATA, "QUIT", 4, out);
        CHECK(send(raw.p.raw, out, len, MSG_NOSIGNAL) == (ssize_t)len);
        support_run_for(raw.p.loop, 10);
        CHECK_EQ(few[i].name, raw.p.server->got, 4);
        CHECK_EQ(few[i].name, raw.p.server->ends, 0);
        raw_disconnect(&raw);
        raw_finish(&raw);
    }
    tls_context_destroy(server);
}

/* Each derives keys anew: a hundred times the work of reading it. */
TEST(a_flood_of_key_updates_is_ended)
{
    struct tls_context *server = tls_server((struct tls_server_options){0});
    for (int round = 0; round < 4; round++) {
        bool asks = round % 2 == 1, has_data = round >= 2;
        int kind = asks ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED;
        struct raw raw;
        raw_init(&raw, TLS_VERSION_1_3);
        raw_connect(&raw, server);
        CHECK(raw_handshake(&raw));
        static char text[1000];
        memset(text, 'x', sizeof(text));
        raw.p.server->expected = text;
        raw.p.server->expected_len = sizeof(text);
        for (unsigned sent = 0; sent < 300; sent++) { /* all before the first turn */
            CHECK(SSL_key_update(raw.ssl, kind) == 1 && SSL_do_handshake(raw.ssl) == 1);
            if (has_data) CHECK_EQ("data", SSL_write(raw.ssl, "x", 1), 1);
        }
        CHECK(support_run_until(raw.p.loop, &raw.p.server->ends, 1));
        CHECK_EQ("err", raw.p.server->end_err, -ERR_TLS);
        CHECK(strstr(raw.p.server->error, "bring nothing") != NULL);
        CHECK(!raw.p.server->is_wrong);
        /* Each counts as a record and as a message. */
        CHECK(!has_data || raw.p.server->got >= TLS_CONTROL_COUNT_MAX / 2 - 1);
        CHECK(raw.p.server->got <= TLS_CONTROL_COUNT_MAX / 2 + 1);
        CHECK(raw.p.server->conn.tls == NULL ||
              raw.p.server->conn.tls->stream.control_count <= TLS_CONTROL_COUNT_MAX + 2);
        raw_disconnect(&raw);
        raw_finish(&raw);
    }
    tls_context_destroy(server);
}

/* RFC 8446 section 5.1: keys change at the end of a record, so that one record has one at most. */
TEST(many_key_updates_in_one_record_are_refused)
{
    struct tls_context *server = tls_server((struct tls_server_options){0});
    struct raw raw;
    open_secured(&raw, TLS_VERSION_1_3, server);
    char many[16000];
    unsigned char out[sizeof(many) + 64];
    for (size_t at = 0; at + 5 <= sizeof(many); at += 5)
        memcpy(many + at, key_update, 5);
    size_t len = raw_seal(&raw, HANDSHAKE, many, sizeof(many), out);
    CHECK(send(raw.p.raw, out, len, MSG_NOSIGNAL) == (ssize_t)len);
    CHECK(support_run_until(raw.p.loop, &raw.p.server->ends, 1));
    CHECK_EQ("err", raw.p.server->end_err, -ERR_TLS);
    CHECK(strstr(raw.p.server->error, "not on record boundary") != NULL);
    raw_disconnect(&raw);
    raw_finish(&raw);
    tls_context_destroy(server);
}

/* What only one side may send is an end, not a reason to go on. */
TEST(what_a_client_never_sends_ends_the_connection)
{
    static const struct {
        const char *what, *bytes;
        size_t len;
        unsigned char type;
    } cases[] = {
        {"a ticket", "\x04\x00\x00\x0b\0\0\0\x01\0\0\0\0\0\0\0", 15, HANDSHAKE},
        {"a request for a certificate", "\x0d\x00\x00\x03\x00\x00\x00", 7, HANDSHAKE},
        {"a Finished", "\x14\x00\x00\x01x", 5, HANDSHAKE},
        {"an unknown message", "\xfe\x00\x00\x01x", 5, HANDSHAKE},
        {"a change of ciphers", "\x01", 1, 20},
        {"a heartbeat", "\x01\x40\x00x", 4, 24},
        {"a fatal alert", "\x02\x28", 2, ALERT},
        {"an alert that is none", "\x07\x07", 2, ALERT},
        {"half an alert", "\x02", 1, ALERT},
    };
    struct tls_context *server = tls_server((struct tls_server_options){0});
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct raw raw;
        unsigned char out[200];
        open_secured(&raw, TLS_VERSION_1_3, server);
        size_t len = raw_seal(&raw, cases[i].type, cases[i].bytes, cases[i].len, out);
        CHECK(send(raw.p.raw, out, len, MSG_NOSIGNAL) == (ssize_t)len);
        CHECK(support_run_until(raw.p.loop, &raw.p.server->ends, 1));
        CHECK_EQ(cases[i].what, raw.p.server->end_err, -ERR_TLS);
        CHECK_EQ(cases[i].what, raw.p.server->got, 0);
        raw_disconnect(&raw);
        raw_finish(&raw);
    }
    tls_context_destroy(server);
}
