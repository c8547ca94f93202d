/* Exchanges: lines of a client, in any mechanism, never authenticate somebody and leave nothing.
 * The base64 of what is decoded is what was decoded; a secret that is read is written so that it is
 * read again. */
#include "server/auth/exchange.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct users *users;
static struct exchange exchange; /* all zero between runs */

/* The passwords are not in reach: nobody knows what these keys were made from. */
static void prepare(void)
{
    static const char text[] =
        "alice {CRAM-MD5}00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff "
        "{SCRAM-SHA-256}4096,c2FsdHNhbHQ=,AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=,"
        "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n";
    struct config_problems problems = {0};
    int err = users_parse(slice_of(text, sizeof(text) - 1), "users", &users, &problems);
    ASSERT(err == 0);
}

static void check_base64(struct slice text)
{
    static char bytes[8192], again[16384];
    struct buf decoded = {bytes, 0, sizeof(bytes), false};
    if (!base64_decode(text, &decoded)) return;
    struct buf encoded = {again, 0, sizeof(again), false};
    ASSERT(base64_encode(buf_slice(&decoded), &encoded));
    ASSERT(slice_eq(buf_slice(&encoded), text));
}

static void check_secret(struct slice text)
{
    struct secret secret, again;
    if (secret_parse(text, &secret) != NULL) return;
    char line[2 * SECRET_TEXT_BYTES_MAX];
    struct buf out = {line, 0, sizeof(line), false};
    secret_write(&secret, &out);
    ASSERT(!out.is_short);
    ASSERT(secret_parse(buf_slice(&out), &again) == NULL);
    ASSERT(again.kind == secret.kind);
    secret_finish(&again);
    secret_finish(&secret);
}

static void check_users(struct slice text)
{
    const struct users *read;
    struct config_problems problems = {0};
    int err = users_parse(text, "users", &read, &problems);
    ASSERT((err == 0) == (read != NULL) && (err == 0) == (problems.count == 0));
    config_problems_free(&problems);
    users_unref(read);
}

static struct slice take_line(struct slice *rest)
{
    const char *end = rest->len > 0 ? memchr(rest->data, '\n', rest->len) : NULL;
    struct slice line = slice_of(rest->data, end != NULL ? (size_t)(end - rest->data) : rest->len);
    *rest = slice_from(*rest, MIN(line.len + 1, rest->len));
    return line;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (users == NULL) prepare();
    if (size == 0) return 0;
    struct slice rest = slice_of(data + 1, size - 1);
    check_users(rest);
    check_secret(rest);
    enum auth_mechanism mechanism = (enum auth_mechanism)(data[0] % AUTH_MECHANISM_COUNT);
    struct slice line = take_line(&rest);
    check_base64(line);
    bool is_initial = (data[0] & 0x80) != 0;
    enum exchange_status status =
        exchange_begin(&exchange, users, mechanism, SLICE("mx.test"), is_initial ? &line : NULL);
    while (status == EXCHANGE_CONTINUE && rest.len > 0)
        status = exchange_step(&exchange, take_line(&rest));
    struct slice name = exchange_name(&exchange);
    ASSERT(name.len <= USERS_NAME_BYTES_MAX && memchr(name.data, '\n', name.len) == NULL);
    ASSERT(status != EXCHANGE_OK && status != EXCHANGE_ERROR);
    if (status == EXCHANGE_CHECK && !exchange_is_slow(&exchange))
        ASSERT(exchange_check(&exchange) == EXCHANGE_FAILED);
    exchange_finish(&exchange);
    ASSERT(exchange.users == NULL && exchange.name_len == 0 && exchange.scram == NULL);
    return 0;
}
