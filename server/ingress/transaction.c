/* transaction.c - memory and recipients of a mail transaction. */
#include "server/ingress/transaction.h"

#include "ring/base/map.h"

#define ARENA_CHUNK_BYTES 1024
#define ARENA_BYTES_MAX (16u << 20) /* far above RECIPIENTS_MAX paths of PATH_BYTES_MAX */
#define RECIPIENT_CAP_FIRST 4

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

/* Local parts as they are, domains in lower case: the same mailbox has the same hash. */
static uint64_t mailbox_hash(const struct mailbox_address *mailbox)
{
    char domain[DOMAIN_BYTES_MAX];
    ASSERT(mailbox->domain.len <= sizeof(domain));
    for (size_t i = 0; i < mailbox->domain.len; i++)
        domain[i] = ascii_lower(mailbox->domain.data[i]);
    return hash_bytes(mailbox->local) * 3 + hash_bytes(slice_of(domain, mailbox->domain.len));
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

static bool is_same(struct slice address, const struct mailbox_address *mailbox)
{
    size_t local_len = mailbox->local.len;
    if (address.len != mailbox->address.len) return false;
    return slice_eq(slice_of(address.data, local_len), mailbox->local) &&
           slice_eq_nocase(slice_from(address, local_len), slice_from(mailbox->address, local_len));
}

enum add_status transaction_add(struct transaction *txn, const struct mailbox_address *mailbox)
{
    uint64_t hash = mailbox_hash(mailbox);
    for (uint32_t i = 0; i < txn->recipient_count; i++) {
        if (txn->recipient_hashes[i] == hash && is_same(txn->recipients[i].address, mailbox))
            return ADD_DUPLICATE;
    }
    if (!recipients_grow(txn)) return ADD_NO_MEMORY;
    char *address = arena_copy(&txn->arena, mailbox->address.data, mailbox->address.len);
    if (address == NULL) return ADD_NO_MEMORY;

    struct recipient *recipient = &txn->recipients[txn->recipient_count];
    memset(recipient, 0, sizeof(*recipient));
    recipient->address = slice_of(address, mailbox->address.len);
    recipient->state = RECIPIENT_QUEUED;
    txn->recipient_hashes[txn->recipient_count++] = hash;
    return ADD_NEW;
}
