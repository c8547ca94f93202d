/* answer.h - reads one answer of the DNS from its bytes (RFC 1035 4.1, RFC 2308, RFC 6891).
 *
 *     header: id, flags, counts | question | answer | authority | additional
 *
 * The bytes are a stranger's: every length is checked by a cursor, compression pointers may only
 * lead backwards and a name has at most ANSWER_LABELS_MAX labels, so that reading always ends. What
 * does not fit is ANSWER_BROKEN as a whole. Pure. */
#pragma once

#include "ring/base/endpoint.h"

#define ANSWER_NAME_BYTES_MAX 253 /* as text, without a dot at its end */
#define ANSWER_LABELS_MAX 127
#define ANSWER_RECORDS_MAX 32 /* kept; of MX those with the best preferences */
#define ANSWER_ALIASES_MAX 8  /* CNAME records that are followed */

/* The types that are asked for, as in the DNS. */
enum answer_type {
    ANSWER_A = 1,
    ANSWER_CNAME = 5,
    ANSWER_SOA = 6,
    ANSWER_PTR = 12,
    ANSWER_MX = 15,
    ANSWER_AAAA = 28,
};

enum answer_status {
    ANSWER_FOUND,
    ANSWER_NO_NAME, /* NXDOMAIN */
    ANSWER_NO_DATA, /* the name is there, without such a record */
    ANSWER_ALIAS,   /* it is an alias of `name`, of which the answer says no more */
    ANSWER_FAILED,  /* SERVFAIL, REFUSED and all other codes */
    ANSWER_BROKEN,  /* it is no answer to the question, or not well-formed; a loop of aliases */
};

struct answer_record {
    uint16_t preference;  /* MX */
    struct endpoint host; /* A, AAAA; port 0 */
    char *name;           /* MX, PTR: in lower case; "" is the root; NULL: no name of a host */
};

struct answer {
    enum answer_status status;
    uint32_t ttl_s;      /* the least of the records, or of a negative answer (RFC 2308 5) */
    bool is_authentic;   /* the AD bit */
    uint8_t alias_count; /* followed in this answer */
    char name[ANSWER_NAME_BYTES_MAX + 1]; /* ANSWER_ALIAS */
    uint32_t record_count;
    struct answer_record records[ANSWER_RECORDS_MAX];
};

/* Reads the answer to the question for `name` (lower case, no dot at its end) and `type`. Names in
 * the records are allocated: answer_finish(). */
void answer_read(struct slice message, struct slice name, enum answer_type type,
                 struct answer *out);
/* Frees the names. */
void answer_finish(struct answer *answer);
/* True for what can be the name of a host: letters, digits, hyphens and underscores in labels of 1
 * to 63 bytes. */
bool answer_name_is_host(struct slice name);
