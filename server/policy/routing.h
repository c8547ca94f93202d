/* routing.h - which route a recipient takes: the first that matches.
 *
 * Built once from a configuration (hash tables over its lists) and const afterwards. */
#pragma once

#include "server/config/config.h"

struct routing;

/* Borrows `config`, which must outlive it. */
struct routing *routing_create(const struct config *config);
void routing_destroy(struct routing *routing);
/* `address` is a mailbox without brackets. Its domain is compared as A-labels and without regard to
 * case (idna_to_ascii()), so that a U-label and its A-label are the same in an address and in the
 * configuration; a recipient entry compares its local part without regard to the case of ASCII
 * letters too (as Postfix does). A mailbox without a domain (<Postmaster>) is taken as at
 * node.hostname. Routes for authenticated clients only are passed over unless `is_authenticated`:
 * the sender of the message is one. NULL: no route takes it. */
const struct config_route *routing_find(const struct routing *routing, struct slice address,
                                        bool is_authenticated);
