/* transaction.c - memory and recipients of a mail transaction. */
#include "server/ingress/transaction.h"

#include "ring/base/map.h"
#include "server/smtp/idna.h"

#define ARENA_CHUNK_BYTES 1024
#define ARENA_BYTES_MAX (16u << 20) /* far above RECIPIENTS_MAX paths of PATH_BYTES_MAX */
#define RECIPIENT_CAP_FIRST 4
#define DOMAIN_CAP_FIRST 4

struct transaction *transaction_create(struct slab *slab)
{
    struct transaction *txn = slab_get(slab);
    if (txn == NULL) return NULL;
    memset(txn, 0, sizeof(*txn));
    arena_init(&txn->arena, ARENA_CHUNK_BYTES, ARENA_BYTES_MAX);
    txn->refusal = REPLY_NONE;
    return txn;
}

void transaction_destroy(struct slab *slab, struct transaction *txn)
{
    if (txn == NULL) return;
    queue_put_abort(txn->put);
    arena_finish(&txn->arena);
    slab_put(slab, txn);
}

/* A copy in the arena; *out is empty for an empty slice. False: no memory. */
static bool copy(struct transaction *txn, struct slice from, struct slice *out)
{
    *out = slice_of(NULL, 0);
    if (from.len == 0) return true;
    char *bytes = arena_copy(&txn->arena, from.data, from.len);
    if (bytes == NULL) return false;
    *out = slice_of(bytes, from.len);
    return true;
}

bool transaction_open(struct transaction *txn, struct slice sender,
                      const struct mail_params *params)
{
    txn->params = *params;
    return copy(txn, sender, &txn->sender) && copy(txn, params->envid, &txn->params.envid);
}

/* The domain as two spellings of it are compared. The parser let it pass, so that it is a name. */
static struct slice domain_key(struct slice domain, char key[DOMAIN_BYTES_MAX])
{
    struct buf out = {key, 0, DOMAIN_BYTES_MAX, false};
    return idna_to_ascii(domain, &out) ? buf_slice(&out) : domain;
}

static bool recipients_grow(struct transaction *txn)
{
    if (txn->recipient_count < txn->recipient_cap) return true;
    uint32_t cap = MAX(RECIPIENT_CAP_FIRST, txn->recipient_cap * 2);
    struct recipient *recipients = arena_alloc(&txn->arena, cap * sizeof(*recipients));
    uint64_t *hashes = arena_alloc(&txn->arena, cap * sizeof(*hashes));
    if (recipients == NULL || hashes == NULL) return false;
    if (txn->recipient_count > 0) {
        memcpy(recipients, txn->recipients, txn->recipient_count * sizeof(*recipients));
        memcpy(hashes, txn->recipient_hashes, txn->recipient_count * sizeof(*hashes));
    }
    txn->recipients = recipients;
    txn->recipient_hashes = hashes;
    txn->recipient_cap = cap;
    return true;
}

/* `address` is that of a recipient with the same hash: this is to be sure. */
static bool is_same(struct slice address, const struct mailbox_address *mailbox, struct slice key)
{
    size_t local_len = mailbox->local.len;
    if (address.len < local_len) return false;
    if (!slice_eq(slice_of(address.data, local_len), mailbox->local)) return false;
    struct slice domain = slice_from(address, local_len);
    if (domain.len == 0) return key.len == 0; /* <Postmaster> */
    if (domain.data[0] != '@') return false;
    domain = slice_from(domain, 1);
    if (domain.len > 0 && domain.data[domain.len - 1] == '.') domain.len--;
    char text[DOMAIN_BYTES_MAX];
    return slice_eq(domain_key(domain, text), key);
}

static bool is_known(const struct transaction *txn, uint64_t hash,
                     const struct mailbox_address *mailbox, struct slice key)
{
    for (uint32_t i = 0; i < txn->recipient_count; i++) {
        if (txn->recipient_hashes[i] == hash && is_same(txn->recipients[i].address, mailbox, key))
            return true;
    }
    return false;
}

/* Two domains with one hash count as one: it takes a secret to make them. */
static bool domain_is_known(const struct transaction *txn, uint64_t hash)
{
    for (uint32_t i = 0; i < txn->domain_count; i++) {
        if (txn->domain_hashes[i] == hash) return true;
    }
    return false;
}

static bool domain_note(struct transaction *txn, uint64_t hash)
{
    if (txn->domain_count == txn->domain_cap) {
        uint32_t cap = MAX(DOMAIN_CAP_FIRST, txn->domain_cap * 2);
        uint64_t *hashes = arena_alloc(&txn->arena, cap * sizeof(*hashes));
        if (hashes == NULL) return false;
        if (txn->domain_count > 0)
            memcpy(hashes, txn->domain_hashes, txn->domain_count * sizeof(*hashes));
        txn->domain_hashes = hashes;
        txn->domain_cap = cap;
    }
    txn->domain_hashes[txn->domain_count++] = hash;
    return true;
}

enum add_status transaction_add(struct transaction *txn, const struct mailbox_address *mailbox,
                                const struct rcpt_params *params, uint64_t domains_max)
{
    char text[DOMAIN_BYTES_MAX];
    struct slice key = domain_key(mailbox->domain, text);
    uint64_t domain_hash = hash_bytes(key), hash = hash_bytes(mailbox->local) * 3 + domain_hash;
    if (is_known(txn, hash, mailbox, key)) return ADD_DUPLICATE;
    bool is_new_domain = domains_max > 0 && !domain_is_known(txn, domain_hash);
    if (is_new_domain && txn->domain_count >= domains_max) return ADD_TOO_MANY_DOMAINS;

    struct recipient recipient = {.notify = params->notify, .state = RECIPIENT_QUEUED};
    if (!recipients_grow(txn) || !copy(txn, mailbox->address, &recipient.address) ||
        !copy(txn, params->orcpt, &recipient.orcpt))
        return ADD_NO_MEMORY;
    if (is_new_domain && !domain_note(txn, domain_hash)) return ADD_NO_MEMORY;
    txn->recipients[txn->recipient_count] = recipient;
    txn->recipient_hashes[txn->recipient_count++] = hash;
    return ADD_NEW;
}
