/* proxy_header.h - the header that a proxy sends ahead of a client's bytes: the PROXY protocol of
 * HAProxy, versions 1 and 2.
 *
 *     v1:  "PROXY TCP4 192.0.2.1 192.0.2.9 56324 25" CRLF, or TCP6, or UNKNOWN and anything
 *     v2:  signature[12]  version:4 command:4  family:4 transport:4  length:16
 *          source address, destination address, source port:16, destination port:16
 *          type:8 length:16 value ...           until `length` bytes are over
 *
 * All numbers are in network order. Pure: a reader is fed the stream piece by piece, as it is cut
 * by the network, in constant memory; a v2 header of the full 64 KiB is never kept. Nothing is
 * guessed: a byte that cannot belong to a header makes it bad at once. */
#pragma once

#include "ring/base/endpoint.h"

#define PROXY_V1_BYTES_MAX 107   /* with its CRLF; longer ones are bad */
#define PROXY_TEXT_BYTES_MAX 255 /* kept of each text in a v2 header; the rest is cut */

enum proxy_status {
    PROXY_MORE, /* all bytes were taken, and the header is not over */
    PROXY_OK,   /* it is; what follows it was not taken */
    PROXY_BAD,  /* `why` of the reader says what is wrong */
};

/* The texts that a v2 header may carry. Bytes of the peer's making. */
enum proxy_text {
    PROXY_UNIQUE_ID,   /* of the connection, as the proxy logs it */
    PROXY_AUTHORITY,   /* the server name that the client asked the proxy for */
    PROXY_TLS_VERSION, /* of the TLS that the proxy has ended, as "TLSv1.3" */
    PROXY_TLS_CIPHER,
    PROXY_CLIENT_NAME, /* the common name in the client's certificate */
    PROXY_TEXT_COUNT,
};

struct proxy_header {
    uint8_t version;        /* 1 or 2 */
    bool is_probe;          /* the connection is the proxy's own (LOCAL), or of no known client */
    struct endpoint source; /* the client; none for a probe */
    bool has_tls;           /* the client came to the proxy by TLS */
    bool has_certificate;   /* and gave a certificate */
    bool is_verified;       /* which the proxy has verified */
    uint8_t text_lens[PROXY_TEXT_COUNT];
    char texts[PROXY_TEXT_COUNT][PROXY_TEXT_BYTES_MAX];
};

/* One level of type-length-value: the header's own, and that inside of the TLS value. */
struct proxy_values {
    uint32_t area_left;  /* bytes of this level still to come */
    uint32_t value_left; /* bytes of the present value still to come */
    uint8_t type;
    uint8_t head_len;
    uint8_t head[3];
};

struct proxy_reader {
    struct proxy_header header; /* whole after PROXY_OK */
    const char *why;            /* static; after PROXY_BAD */
    uint8_t phase;              /* enum of proxy_header.c */
    uint8_t level;              /* of values[] */
    uint8_t line_len;
    uint8_t line_need; /* v2: how much of `line` is to be filled before it can be looked at */
    uint8_t tls_len;   /* bytes read of what the TLS value begins with */
    bool has_crc;
    uint32_t crc;       /* over what came so far, the checksum itself as zeros */
    uint32_t crc_given; /* the checksum in the header */
    struct proxy_values values[2];
    char line[PROXY_V1_BYTES_MAX]; /* v1: the line; v2: the fixed part and the addresses */
};

void proxy_reader_init(struct proxy_reader *reader);
/* Reads on. `in` may be empty. *taken_out is the bytes used up: all of them, but after PROXY_OK
 * those of the header alone. Not to be called again after PROXY_OK or PROXY_BAD. */
enum proxy_status proxy_read(struct proxy_reader *reader, struct slice in, size_t *taken_out);
/* Points into the header; empty: it was not given. */
struct slice proxy_text(const struct proxy_header *header, enum proxy_text text);
