/* checks.h - what keys of one section must say together. */
#pragma once

#include "server/config/reading.h"

/* The key is in the certificate's file unless it is named. */
void check_certificate(struct reading *r, const struct node *section, void *base);
/* TLS has a certificate; client_ca has clients that are asked. */
void check_tls(struct reading *r, const struct node *section, void *base);
/* What TLS, AUTH and the service want of each other. */
void check_listener(struct reading *r, const struct node *section, void *base);
/* What sections want of each other. */
void check_whole(struct reading *r, const struct node *root, struct config *config);
/* A match names at least one list, or authenticated clients. */
void check_match(struct reading *r, const struct node *section, void *base);
/* A route has exactly one action; sets route->action. */
void check_action(struct reading *r, const struct node *section, void *base);
/* What hosts, TLS and AUTH of an smtp or lmtp action want of each other. */
void check_hop(struct reading *r, const struct node *section, void *base);
/* first <= max, first <= expire, warn_after < expire. */
void check_retry(struct reading *r, const struct node *section, void *base);
