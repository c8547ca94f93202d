/* tls_tickets.c - the keys that a server's sessions are sealed with, one a period.
 *
 * A ticket is the session itself, sealed with a key that only this process has (RFC 5077): whoever
 * steals the key can read every session that was sealed with it, so that keys are short-lived and
 * erased. All contexts of the process share the keys; each has a copy of those of the period, and
 * comes here, under a lock, when its clock tells another period than its copy. */
#include "ring/base/clock.h"
#include "ring/base/memory.h"
#include "ring/tls_internal.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdlib.h>

struct tls_tickets {
    uint32_t hold_count; /* of several threads */
    uint64_t rotation_ms, start_ms;
    uint64_t (*now_ms)(void);
    pthread_mutex_t lock;
    struct tls_ticket_keys keys; /* under the lock */
};

static uint64_t machine_now_ms(void)
{
    return clock_monotonic_ns() / NS_PER_MS;
}

static bool make_key(struct tls_ticket_key *key)
{
    bool is_made = RAND_bytes(key->name, sizeof(key->name)) == 1 &&
                   RAND_priv_bytes(key->cipher_key, sizeof(key->cipher_key)) == 1 &&
                   RAND_priv_bytes(key->mac_key, sizeof(key->mac_key)) == 1;
    ERR_clear_error();
    return is_made;
}

/* --- begin and end --- */

struct tls_tickets *tls_tickets_create(uint64_t rotation_ms)
{
    struct tls_tickets *tickets = xcalloc(1, sizeof(*tickets));
    rotation_ms = MAX(rotation_ms, (uint64_t)TLS_TICKETS_ROTATION_MS_MIN);
    tickets->rotation_ms = MIN(rotation_ms, (uint64_t)TLS_TICKETS_ROTATION_MS_MAX);
    tickets->hold_count = 1;
    pthread_mutex_init(&tickets->lock, NULL);
    tickets->keys.period = 1;
    tls_tickets_set_clock(tickets, machine_now_ms);
    /* Nobody has ever seen the one before the first, but its name must be no known one. */
    if (make_key(&tickets->keys.now) && make_key(&tickets->keys.before)) return tickets;
    tls_tickets_destroy(tickets);
    return NULL;
}

struct tls_tickets *tls_tickets_hold(struct tls_tickets *tickets)
{
    __atomic_add_fetch(&tickets->hold_count, 1, __ATOMIC_RELAXED);
    return tickets;
}

void tls_tickets_destroy(struct tls_tickets *tickets)
{
    if (tickets == NULL || __atomic_sub_fetch(&tickets->hold_count, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    pthread_mutex_destroy(&tickets->lock);
    OPENSSL_cleanse(tickets, sizeof(*tickets));
    free(tickets);
}

void tls_tickets_set_clock(struct tls_tickets *tickets, uint64_t (*now_ms)(void))
{
    tickets->now_ms = now_ms;
    tickets->start_ms = now_ms();
}

uint32_t tls_tickets_session_seconds(const struct tls_tickets *tickets)
{
    return (uint32_t)MIN(tickets->rotation_ms / 1000, (uint64_t)TLS_SESSION_SECONDS_MAX);
}

/* --- periods --- */

/* Under the lock. Without random numbers the old keys stay until there are some. */
static void rotate(struct tls_ticket_keys *keys, uint64_t period)
{
    struct tls_ticket_key next, before = {0};
    bool is_made = make_key(&next);
    /* After a time without any handshake the key that was the last is too old as well. */
    bool is_next = period == keys->period + 1;
    if (!is_next) is_made = make_key(&before) && is_made;
    if (is_made) {
        keys->before = is_next ? keys->now : before;
        keys->now = next;
        keys->period = period;
    }
    OPENSSL_cleanse(&next, sizeof(next));
    OPENSSL_cleanse(&before, sizeof(before));
}

void tls_tickets_update(struct tls_tickets *tickets, struct tls_ticket_keys *keys)
{
    uint64_t period = 1 + (tickets->now_ms() - tickets->start_ms) / tickets->rotation_ms;
    if (LIKELY(period <= keys->period)) return;
    pthread_mutex_lock(&tickets->lock);
    if (period > tickets->keys.period) rotate(&tickets->keys, period);
    *keys = tickets->keys;
    pthread_mutex_unlock(&tickets->lock);
}

/* --- OpenSSL's question --- */

static bool use_key(const struct tls_context *context, const struct tls_ticket_key *key,
                    const unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac,
                    int is_sealing)
{
    static char digest[] = "SHA256";
    OSSL_PARAM params[3] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, (void *)(uintptr_t)key->mac_key,
                                          sizeof(key->mac_key)),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end(),
    };
    return EVP_CipherInit_ex(cipher, context->ticket_cipher, NULL, key->cipher_key, iv,
                             is_sealing) == 1 &&
           EVP_MAC_CTX_set_params(mac, params) == 1;
}

/* 1: go on; 2: go on, and issue another ticket; 0: the ticket is of no use; -1: failed. */
int tls_tickets_choose_key(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                           EVP_MAC_CTX *mac, int is_sealing)
{
    const struct tls_stream *stream = SSL_get_app_data(ssl);
    struct tls_context *context = stream->context;
    struct tls_ticket_keys *keys = &context->keys;
    tls_tickets_update(context->tickets, keys);
    const struct tls_ticket_key *key = &keys->now;
    if (is_sealing) {
        if (RAND_bytes(iv, EVP_CIPHER_get_iv_length(context->ticket_cipher)) != 1) return -1;
        memcpy(name, key->name, sizeof(key->name));
    } else if (memcmp(name, keys->before.name, sizeof(keys->before.name)) == 0) {
        key = &keys->before;
    } else if (memcmp(name, key->name, sizeof(key->name)) != 0) {
        return 0;
    }
    if (!use_key(context, key, iv, cipher, mac, is_sealing)) return -1;
    return key == &keys->before ? 2 : 1;
}
