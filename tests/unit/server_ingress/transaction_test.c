#include "server/ingress/transaction.h"

#include "tests/support/test.h"

static struct slab slab;

static struct transaction *begin(void)
{
    slab_init(&slab, sizeof(struct transaction), 4, 4);
    struct transaction *txn = transaction_create(&slab);
    CHECK(txn != NULL);
    return txn;
}

static void end(struct transaction *txn)
{
    transaction_destroy(&slab, txn);
    slab_finish(&slab);
}

static enum add_status add(struct transaction *txn, const char *path)
{
    struct mailbox_address mailbox;
    struct slice rest;
    CHECK(forward_path_parse(slice_of_cstr(path), &mailbox, &rest) == PARSE_OK);
    return transaction_add(txn, &mailbox);
}

TEST(a_mailbox_is_kept_once)
{
    static const struct {
        const char *path;
        enum add_status status;
    } cases[] = {
        {"<a@one.test>", ADD_NEW},
        {"<a@one.test>", ADD_DUPLICATE},
        {"<a@ONE.Test>", ADD_DUPLICATE}, /* domains have no case (RFC 5321 2.4) */
        {"<A@one.test>", ADD_NEW},       /* local parts may have one */
        {"<a@two.test>", ADD_NEW},
        {"<\"a b\"@one.test>", ADD_NEW},
        {"<@relay.test:a@one.test>", ADD_DUPLICATE}, /* the route is dropped */
        {"<Postmaster>", ADD_NEW},
        {"<Postmaster>", ADD_DUPLICATE},
    };
    struct transaction *txn = begin();
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        CHECK_EQ(cases[i].path, add(txn, cases[i].path), cases[i].status);
    CHECK_EQ("count", txn->recipient_count, 5);
    CHECK_SLICE("first", txn->recipients[0].address, "a@one.test");
    CHECK_SLICE("last", txn->recipients[4].address, "Postmaster");
    end(txn);
}

TEST(many_recipients_stay_as_they_were)
{
    enum { COUNT = 5000 };
    struct transaction *txn = begin();
    char path[64];
    for (unsigned i = 0; i < COUNT; i++) {
        snprintf(path, sizeof(path), "<user%u@dest%u.test>", i, i % 10);
        CHECK_EQ(path, add(txn, path), ADD_NEW);
    }
    CHECK_EQ("count", txn->recipient_count, COUNT);
    for (unsigned i = 0; i < COUNT; i += 97) {
        snprintf(path, sizeof(path), "user%u@dest%u.test", i, i % 10);
        CHECK_SLICE("address", txn->recipients[i].address, path);
        CHECK_EQ("state", txn->recipients[i].state, RECIPIENT_QUEUED);
    }
    end(txn);
}

TEST(recipients_are_refused_when_the_memory_of_a_transaction_is_used_up)
{
    struct transaction *txn = begin();
    txn->arena.bytes_max = 4096;
    enum add_status status = ADD_NEW;
    unsigned added = 0;
    for (; status == ADD_NEW && added < 1000; added++) {
        char path[64];
        snprintf(path, sizeof(path), "<user%u@dest.test>", added);
        status = add(txn, path);
    }
    CHECK_EQ("status", status, ADD_NO_MEMORY);
    CHECK_EQ("kept", txn->recipient_count, added - 1);
    end(txn);
}
