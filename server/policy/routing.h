/* routing.h - which route a recipient takes: the first that matches.
 *
 * Built once from a configuration (hash tables over its lists) and const afterwards. */
#pragma once

#include "server/config/config.h"

struct routing;

/* Borrows `config`, which must outlive it. */
struct routing *routing_create(const struct config *config);
void routing_destroy(struct routing *routing);
/* `address` is a mailbox without brackets; its domain is compared without regard to case, a
 * recipient entry compares its local part so too (as Postfix does). A mailbox without a domain
 * (<Postmaster>) is taken as at node.hostname. NULL: no route takes it. */
const struct config_route *routing_find(const struct routing *routing, struct slice address);
