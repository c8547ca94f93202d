/* client_offer.c - reads keyword lines; a value that does not parse says nothing. */
#include "server/delivery/client_offer.h"

#define LIMIT_MAX 999999 /* RFC 9422 4: at most six digits */

/* The next word of `rest`, which moves on behind it; empty at the end. */
static struct slice next_word(struct slice *rest)
{
    *rest = slice_trim(*rest);
    size_t len = 0;
    while (len < rest->len && rest->data[len] != ' ' && rest->data[len] != '\t')
        len++;
    struct slice word = slice_of(rest->data, len);
    *rest = slice_from(*rest, len);
    return word;
}

static void read_limit(struct client_offer *offer, struct slice word)
{
    static const struct {
        struct slice name;
        size_t at;
    } limits[] = {
        {{"MAILMAX=", 8}, offsetof(struct client_offer, mail_max)},
        {{"RCPTMAX=", 8}, offsetof(struct client_offer, rcpt_max)},
        {{"RCPTDOMAINMAX=", 14}, offsetof(struct client_offer, rcpt_domain_max)},
    };
    for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
        uint64_t value = 0;
        if (!slice_starts_with_nocase(word, limits[i].name)) continue;
        if (!slice_to_u64(slice_from(word, limits[i].name.len), LIMIT_MAX, &value)) return;
        uint32_t kept = (uint32_t)value; /* 0, which no server can mean, is as none */
        memcpy((char *)offer + limits[i].at, &kept, sizeof(kept));
        return;
    }
}

static void read_mechanisms(struct client_offer *offer, struct slice rest)
{
    static const struct slice names[] = {
        [AUTH_SCRAM_SHA_256] = {"SCRAM-SHA-256", 13},
        [AUTH_CRAM_MD5] = {"CRAM-MD5", 8},
        [AUTH_PLAIN] = {"PLAIN", 5},
        [AUTH_LOGIN] = {"LOGIN", 5},
    };
    while ((rest = slice_trim(rest)).len > 0) {
        struct slice word = next_word(&rest);
        for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
            if (slice_eq_nocase(word, names[i])) offer->mechanisms |= BIT(i);
        }
    }
}

void client_offer_read(struct client_offer *offer, struct slice line)
{
    static const struct {
        struct slice keyword;
        enum client_extension extension;
    } known[] = {
        {{"PIPELINING", 10}, OFFER_PIPELINING},
        {{"8BITMIME", 8}, OFFER_8BITMIME},
        {{"SIZE", 4}, OFFER_SIZE},
        {{"CHUNKING", 8}, OFFER_CHUNKING},
        {{"BINARYMIME", 10}, OFFER_BINARYMIME},
        {{"SMTPUTF8", 8}, OFFER_SMTPUTF8},
        {{"DSN", 3}, OFFER_DSN},
        {{"STARTTLS", 8}, OFFER_STARTTLS},
        {{"REQUIRETLS", 10}, OFFER_REQUIRETLS},
    };
    struct slice rest = line;
    struct slice keyword = next_word(&rest);
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (slice_eq_nocase(keyword, known[i].keyword)) offer->extensions |= known[i].extension;
    }
    if (slice_eq_nocase(keyword, SLICE("SIZE"))) {
        uint64_t size_max = 0;
        offer->size_max = slice_to_u64(slice_trim(rest), UINT64_MAX, &size_max) ? size_max : 0;
    } else if (slice_eq_nocase(keyword, SLICE("AUTH"))) {
        read_mechanisms(offer, rest);
    } else if (slice_starts_with_nocase(keyword, SLICE("AUTH="))) { /* from before RFC 2554 */
        read_mechanisms(offer, slice_from(line, sizeof("AUTH=") - 1));
    } else if (slice_eq_nocase(keyword, SLICE("LIMITS"))) {
        while ((rest = slice_trim(rest)).len > 0)
            read_limit(offer, next_word(&rest));
    }
}
