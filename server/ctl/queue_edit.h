/* queue_edit.h - which messages a command is about, and the commands that change them. */
#pragma once

#include "server/ctl/invocation.h"

#include <jansson.h>

#define QUEUE_BATCH_MAX 100 /* messages in one request */

/* The --domain, --sender ... of a call; borrows its strings. */
struct queue_filter {
    const char *domain, *sender, *recipient, *state;
    uint64_t older_s; /* 0: any */
    uint64_t limit;   /* UINT64_MAX: none */
    bool is_any;      /* nothing is filtered */
};

/* 0, or CTL_USAGE after a line. */
int queue_filter_read(const struct invocation *call, struct queue_filter *filter);
/* Leaves of `messages`, a page of the queue, those that fit, at most `left`. */
void queue_filter_apply(const struct queue_filter *filter, json_t *messages, uint64_t left);

int queue_show(const struct invocation *call);
/* retry, hold, release, remove, bounce. */
int queue_change(const struct invocation *call, const char *verb);
/* "90s", "4h", "3d" in whole seconds; false when it is none. */
bool duration_parse(const char *text, uint64_t *seconds_out);
/* Asks on the terminal. True: yes, or --yes. False after a line: there is no terminal, or no. */
bool is_confirmed(const struct invocation *call, const char *question);
