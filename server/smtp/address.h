/* address.h - paths and mailboxes (RFC 5321 4.1.2, 4.1.3; limits 4.5.3.1; in UTF-8: RFC 6531 3.3),
 * and EHLO arguments.
 *
 * Pure. Nothing is unquoted, mapped or rewritten: what is parsed is kept byte for byte, and two
 * ways to write a character are two local parts. Domains are compared by idna_to_ascii(). A source
 * route <@a,@b:u@c> is read and dropped. */
#pragma once

#include "ring/base/slice.h"

#define LOCAL_PART_BYTES_MAX 64
#define DOMAIN_BYTES_MAX 255
#define PATH_BYTES_MAX 512 /* more than the 256 of RFC 5321, since a route may precede */

enum parse_status {
    PARSE_OK,
    PARSE_BAD,       /* 501 */
    PARSE_NOT_ASCII, /* 553 5.6.7: an 8-bit byte without SMTPUTF8 */
    PARSE_BAD_UTF8,  /* 501 5.5.2: no UTF-8, or a domain that is no name by IDNA */
};

struct mailbox_address {
    struct slice address; /* local@domain, or local alone for <Postmaster>; empty for <> */
    struct slice local;   /* with its quotes, if any */
    struct slice domain;  /* a name without a trailing dot, or a literal with its brackets */
    bool is_literal;
    bool is_utf8; /* an 8-bit byte is in it: the address needs SMTPUTF8 */
};

/* Reads "<...>" at the start of `in` (blanks before it are passed over), *rest_out gets what
 * follows it: empty, or a blank and parameters; anything else there is PARSE_BAD. `is_utf8`:
 * SMTPUTF8 is in force, so that local parts may hold UTF-8 (but no control characters) and domains
 * U-labels. */
enum parse_status reverse_path_parse(struct slice in, bool is_utf8, struct mailbox_address *out,
                                     struct slice *rest_out);
/* The same for RCPT: <> is bad, <Postmaster> in any case is fine without a domain. */
enum parse_status forward_path_parse(struct slice in, bool is_utf8, struct mailbox_address *out,
                                     struct slice *rest_out);
/* A mailbox alone, without brackets, UTF-8 allowed: for configuration and stored records. */
enum parse_status mailbox_parse(struct slice in, struct mailbox_address *out);
/* A domain name: labels of letters, digits and hyphens (not at the ends), at most 63 each. */
bool domain_is_valid(struct slice domain);
/* The same, or with U-labels in it: for lists of domains in the configuration. */
bool domain_is_valid_utf8(struct slice domain);
/* The argument of EHLO or HELO: a domain name (underscores are let pass: many clients have them) or
 * an address literal; at most DOMAIN_BYTES_MAX. */
bool helo_is_valid(struct slice name);
