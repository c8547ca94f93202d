/* handover_test.c - what each next hop can take of each message. */
#include "server/delivery/handover.h"

#include "tests/support/test.h"

#define ALL                                                                                        \
    (OFFER_8BITMIME | OFFER_SIZE | OFFER_CHUNKING | OFFER_BINARYMIME | OFFER_SMTPUTF8 | OFFER_DSN)
#define WITHOUT(extensions) (ALL & ~(uint32_t)(extensions))

static const char utf8_local[] = "j\xc3\xb6rg@x.test";
static const char utf8_domain[] = "joe@b\xc3\xbc"
                                  "cher.test";
static const char utf8_quoted[] = "\"a@b\"@B\xc3\xbc"
                                  "cher.TEST";

TEST(a_body_goes_by_what_is_offered_or_not_at_all)
{
    static const struct {
        const char *name;
        bool is_raw, is_8bit, is_binary;
        uint32_t extensions;
        const char *refusal; /* NULL: it goes */
        int form, body;
    } cases[] = {
        {"text", false, false, false, 0, NULL, HANDOVER_DATA, HANDOVER_7BIT},
        {"text, all offered", false, false, false, ALL, NULL, HANDOVER_DATA, HANDOVER_7BIT},
        {"8-bit", false, true, false, OFFER_8BITMIME, NULL, HANDOVER_DATA, HANDOVER_8BIT},
        {"8-bit, refused", false, true, false, WITHOUT(OFFER_8BITMIME), "5.6.3 ", 0, 0},
        {"raw", true, false, false, OFFER_CHUNKING, NULL, HANDOVER_CHUNK, HANDOVER_7BIT},
        {"raw by DATA", true, false, false, WITHOUT(OFFER_CHUNKING), NULL, HANDOVER_STUFF,
         HANDOVER_7BIT},
        {"raw 8-bit", true, true, false, ALL, NULL, HANDOVER_CHUNK, HANDOVER_8BIT},
        {"raw 8-bit by DATA", true, true, false, OFFER_8BITMIME, NULL, HANDOVER_STUFF,
         HANDOVER_8BIT},
        {"raw 8-bit, refused", true, true, false, OFFER_CHUNKING, "5.6.3 ", 0, 0},
        {"binary", true, true, true, OFFER_CHUNKING | OFFER_BINARYMIME, NULL, HANDOVER_CHUNK,
         HANDOVER_BINARY},
        {"binary, no CHUNKING", true, true, true, WITHOUT(OFFER_CHUNKING), "5.6.3 ", 0, 0},
        {"binary, no BINARYMIME", true, false, true, WITHOUT(OFFER_BINARYMIME), "5.6.3 ", 0, 0},
        {"binary, nothing", true, false, true, 0, "5.6.3 ", 0, 0},
        {"stuffed and binary: no record says so", false, false, true, ALL, "5.6.3 ", 0, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct message message = {.body_bytes = 100};
        message.envelope.form = cases[i].is_raw ? BODY_RAW : BODY_DATA;
        message.envelope.is_8bit = cases[i].is_8bit;
        message.envelope.is_binary = cases[i].is_binary;
        struct client_offer offer = {.extensions = cases[i].extensions};
        struct handover handover;
        char text[512];
        struct buf why = {text, 0, sizeof(text), false};
        bool goes = handover_plan(&message, &offer, &handover, &why);
        CHECK_EQ(cases[i].name, goes, cases[i].refusal == NULL);
        CHECK(!why.is_short);
        if (goes) {
            CHECK_EQ(cases[i].name, handover.form, cases[i].form);
            CHECK_EQ(cases[i].name, handover.body, cases[i].body);
            CHECK(!handover.is_utf8 && !handover.is_ascii_demanded);
        } else {
            CHECK_SLICE(cases[i].name, slice_of(text, strlen(cases[i].refusal)), cases[i].refusal);
        }
    }
}

TEST(utf8_goes_where_it_is_offered_or_where_nothing_needs_it)
{
    static const struct {
        const char *name, *sender;
        bool is_utf8, has_utf8_header;
        uint32_t extensions;
        const char *refusal;
        bool says_utf8, takes_local, takes_domain;
    } cases[] = {
        {"not asked for", "a@b.test", false, true, 0, NULL, false, true, true},
        {"offered", utf8_local, true, true, ALL, NULL, true, true, true},
        {"asked for, not needed", "a@b.test", true, false, 0, NULL, false, false, true},
        {"null sender", "", true, false, 0, NULL, false, false, true},
        {"sender's domain", utf8_domain, true, false, 0, NULL, false, false, true},
        {"sender's domain, quoted", utf8_quoted, true, false, 0, NULL, false, false, true},
        {"sender's local part", utf8_local, true, false, WITHOUT(OFFER_SMTPUTF8), "5.6.7 ", 0, 0,
         0},
        {"header", "a@b.test", true, true, WITHOUT(OFFER_SMTPUTF8), "5.6.9 ", 0, 0, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct message message = {.body_bytes = 100};
        message.envelope.sender = slice_of_cstr(cases[i].sender);
        message.envelope.is_utf8 = cases[i].is_utf8;
        message.envelope.has_utf8_header = cases[i].has_utf8_header;
        struct client_offer offer = {.extensions = cases[i].extensions};
        struct handover handover;
        char text[512];
        struct buf why = {text, 0, sizeof(text), false};
        bool goes = handover_plan(&message, &offer, &handover, &why);
        CHECK_EQ(cases[i].name, goes, cases[i].refusal == NULL);
        if (!goes) {
            CHECK_SLICE(cases[i].name, slice_of(text, strlen(cases[i].refusal)), cases[i].refusal);
            continue;
        }
        CHECK_EQ(cases[i].name, handover.is_utf8, cases[i].says_utf8);
        CHECK(handover_takes_address(&handover, SLICE("joe@x.test")));
        CHECK_EQ(cases[i].name, handover_takes_address(&handover, slice_of_cstr(utf8_local)),
                 cases[i].takes_local);
        CHECK_EQ(cases[i].name, handover_takes_address(&handover, slice_of_cstr(utf8_domain)),
                 cases[i].takes_domain);
    }
}

TEST(an_address_in_ascii_has_a_labels)
{
    static const struct {
        const char *address, *want; /* NULL: there is none */
    } cases[] = {
        {"joe@x.test", "joe@x.test"},
        {"", ""},
        {"Postmaster", "Postmaster"},
        {utf8_domain, "joe@xn--bcher-kva.test"},
        {"Joe.X@Sub.b\xc3\xbc"
         "cher.test",
         "Joe.X@sub.xn--bcher-kva.test"},
        {"\"a@b\"@b\xc3\xbc"
         "cher.test",
         "\"a@b\"@xn--bcher-kva.test"},
        {utf8_local, NULL},
        {"\"\xc3\xb6@b\"@x.test", NULL},
        {"joe@\xc3(.test", NULL},
        {"\xc3\xb6", NULL},
    };
    static const struct handover plain = {.is_ascii_demanded = true};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct slice address = slice_of_cstr(cases[i].address);
        CHECK_EQ(cases[i].address, handover_takes_address(&plain, address), cases[i].want != NULL);
        if (cases[i].want == NULL) continue;
        char text[512];
        struct buf out = {text, 0, sizeof(text), false};
        handover_write_address(&plain, address, &out);
        CHECK_BUF(cases[i].address, out, cases[i].want);
        /* Whole or marked as short, at every size of the room. */
        for (size_t cap = 0; cap < strlen(cases[i].want); cap++) {
            out = (struct buf){text, 0, cap, false};
            handover_write_address(&plain, address, &out);
            CHECK(out.is_short);
        }
    }
}

TEST(size_is_the_first_thing_that_counts)
{
    struct message message = {.body_bytes = 11};
    struct handover handover;
    char text[512];
    struct buf why = {text, 0, sizeof(text), false};
    struct client_offer offer = {.extensions = OFFER_SIZE, .size_max = 10};
    CHECK(!handover_plan(&message, &offer, &handover, &why));
    CHECK_BUF("why", why, "5.3.4 the next hop takes no more than 10 bytes");
    offer.size_max = 11;
    CHECK(handover_plan(&message, &offer, &handover, &why));
    offer.size_max = 0;
    CHECK(handover_plan(&message, &offer, &handover, &why));
}
