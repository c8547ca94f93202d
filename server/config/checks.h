/* checks.h - what keys of one section must say together. */
#pragma once

#include "server/config/reading.h"

/* A match names at least one list. */
void check_match(struct reading *r, const struct node *section, void *base);
/* A route has exactly one action; sets route->action. */
void check_action(struct reading *r, const struct node *section, void *base);
/* first <= max, first <= expire. */
void check_retry(struct reading *r, const struct node *section, void *base);
