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

static uint64_t domains_max; /* of the test that runs */

static enum add_status add(struct transaction *txn, const char *path)
{
    struct mailbox_address mailbox;
    struct slice rest;
    CHECK(forward_path_parse(slice_of_cstr(path), true, &mailbox, &rest) == PARSE_OK);
    return transaction_add(txn, &mailbox, &(struct rcpt_params){.notify = 0}, domains_max);
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
        {"<a@one.test.>", ADD_DUPLICATE}, /* a dot at the end says nothing more */
        /* Domains are the same in both spellings; local parts are compared byte for byte. */
        {"<\xc3\xa4@b\xc3\xbc"
         "cher.test>",
         ADD_NEW},
        {"<\xc3\xa4@B\xc3\xbc"
         "CHER.Test>",
         ADD_DUPLICATE},
        {"<\xc3\xa4@xn--bcher-kva.test>", ADD_DUPLICATE},
        {"<\xc3\xa4@bu\xcc\x88"
         "cher.test>",
         ADD_DUPLICATE},
        {"<a\xcc\x88@b\xc3\xbc"
         "cher.test>",
         ADD_NEW},
        {"<\xc3\x84@b\xc3\xbc"
         "cher.test>",
         ADD_NEW},
    };
    struct transaction *txn = begin();
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        CHECK_EQ(cases[i].path, add(txn, cases[i].path), cases[i].status);
    CHECK_EQ("count", txn->recipient_count, 8);
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

TEST(what_a_client_asked_for_is_copied)
{
    char line[] = "s@one.test ENVID=abc a@two.test rfc822;b";
    struct mailbox_address mailbox;
    struct mail_params mail = {.ret = 2, .is_utf8 = true, .envid = slice_of(line + 17, 3)};
    struct rcpt_params rcpt = {.notify = 12, .orcpt = slice_of(line + 32, 8)};
    CHECK_EQ("mailbox", mailbox_parse(slice_of(line + 21, 10), &mailbox), PARSE_OK);
    struct transaction *txn = begin();
    CHECK(transaction_open(txn, slice_of(line, 10), &mail));
    CHECK_EQ("add", transaction_add(txn, &mailbox, &rcpt, 0), ADD_NEW);
    memset(line, '?', sizeof(line));
    CHECK_SLICE("sender", txn->sender, "s@one.test");
    CHECK_SLICE("envid", txn->params.envid, "abc");
    CHECK_EQ("ret", txn->params.ret, 2);
    CHECK(txn->params.is_utf8);
    CHECK_SLICE("address", txn->recipients[0].address, "a@two.test");
    CHECK_SLICE("orcpt", txn->recipients[0].orcpt, "rfc822;b");
    CHECK_EQ("notify", txn->recipients[0].notify, 12);
    end(txn);

    txn = begin();
    CHECK(transaction_open(txn, SLICE(""), &(struct mail_params){.size = 0}));
    CHECK_EQ("null sender", txn->sender.len, 0);
    end(txn);
}

TEST(different_domains_are_counted)
{
    domains_max = 3;
    static const struct {
        const char *path;
        enum add_status status;
    } cases[] = {
        {"<a@one.test>", ADD_NEW},
        {"<b@ONE.test>", ADD_NEW},
        {"<a@b\xc3\xbc"
         "cher.test>",
         ADD_NEW},
        {"<b@xn--bcher-kva.test>", ADD_NEW},
        {"<Postmaster>", ADD_NEW},
        {"<a@four.test>", ADD_TOO_MANY_DOMAINS},
        {"<a@one.test>", ADD_DUPLICATE},
        {"<c@one.test.>", ADD_NEW},
        {"<a@sub.one.test>", ADD_TOO_MANY_DOMAINS},
    };
    struct transaction *txn = begin();
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        CHECK_EQ(cases[i].path, add(txn, cases[i].path), cases[i].status);
    CHECK_EQ("count", txn->recipient_count, 6);
    end(txn);

    domains_max = 100;
    txn = begin();
    char path[64];
    for (unsigned i = 0; i < 300; i++) {
        snprintf(path, sizeof(path), "<u@d%u.test>", i);
        CHECK_EQ(path, add(txn, path), i < 100 ? ADD_NEW : ADD_TOO_MANY_DOMAINS);
    }
    domains_max = 0;
    end(txn);
}
