/* overlay.h - values from the environment and from flags, laid over the tree of the file.
 *
 *     POSTERN__LISTENERS__MX__LIMITS__RECIPIENTS=10      listeners[mx].limits.recipients
 *     --set listeners.mx.limits.recipients=10            the same
 *
 * A value replaces that of the file before anything is checked, so that all three sources go
 * through one schema. A list is written with commas. Entries of a list are named by their name
 * (in any case, with '_' for '-') or by their number from 1, as those without names always are; a
 * new entry cannot be made here. */
#pragma once

#include "server/config/schema.h"

#define ENVIRONMENT_PREFIX "POSTERN__" /* two underscores: Kubernetes injects POSTERN_PORT */
#define OVERLAY_DEPTH_MAX 8

/* `environment` as environ(7), `flags` as KEY=VALUE; both end with NULL, and NULL is none. The
 * strings must live as long as the tree. */
void overlay_environment(struct node *root, char *const *environment, struct arena *arena,
                         struct report *report);
void overlay_flags(struct node *root, char *const *flags, struct arena *arena,
                   struct report *report);
