/* xclient.h - the arguments of XCLIENT and XFORWARD (Postfix's XCLIENT_README, XFORWARD_README):
 *
 *     1*( SP name "=" value )        names in any case; values in xtext (RFC 3461 4)
 *
 * Pure. Every value is checked before any is returned. */
#pragma once

#include "ring/base/endpoint.h"

#define XCLIENT_VALUE_BYTES_MAX 255 /* of one value, decoded */

enum xclient_attribute {
    XCLIENT_NAME, /* the client's host name, as its address was looked up */
    XCLIENT_ADDR,
    XCLIENT_PORT,
    XCLIENT_PROTO,
    XCLIENT_HELO,
    XCLIENT_LOGIN,    /* XCLIENT only: the user that the client authenticated itself as */
    XCLIENT_DESTADDR, /* XCLIENT only: where the client connected to */
    XCLIENT_DESTPORT,
    XCLIENT_IDENT,  /* XFORWARD only: the queue id at the host before us */
    XCLIENT_SOURCE, /* XFORWARD only: LOCAL or REMOTE */
    XCLIENT_ATTRIBUTE_COUNT,
};

struct xclient {
    unsigned given;   /* BITs of the attributes that were named */
    unsigned unknown; /* those of them that are [UNAVAILABLE], or [TEMPUNAVAIL] */
    struct slice values[XCLIENT_ATTRIBUTE_COUNT]; /* decoded; empty when not given or unknown */
    struct endpoint address, destination;         /* XCLIENT: with port 0 when no port was given */
    uint16_t port, destination_port;              /* XCLIENT; 0: unknown or not given */
};

/* Each reads the arguments of its command. The values lie in `memory`, which is to have as much
 * room as `args` has bytes. False, 501: an attribute that the command does not have or that is
 * named twice, a value that is empty, too long, no xtext or not what the attribute asks for; or
 * there is none at all. */
MUST_USE bool xclient_parse(struct slice args, struct buf *memory, struct xclient *out);
MUST_USE bool xforward_parse(struct slice args, struct buf *memory, struct xclient *out);
/* The names behind the keyword of the EHLO reply, as "NAME ADDR PORT". */
void xclient_write_names(struct buf *out);
void xforward_write_names(struct buf *out);
/* "NAME" ...; static. */
const char *xclient_attribute_name(enum xclient_attribute attribute);
