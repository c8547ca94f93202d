/* checks.c - see checks.h. */
#include "server/config/checks.h"

void check_match(struct reading *r, const struct node *section, void *base)
{
    (void)base;
    /* Any key at all counts: one that is unknown or not built has its own problem. */
    if (section != NULL && section->count > 0) return;
    report_add(r->report, section != NULL ? &section->place : &r->start,
               "'match' needs 'domain' or 'recipient' (domain: [\"*\"] is everybody)");
}

void check_action(struct reading *r, const struct node *section, void *base)
{
    struct config_route *route = base;
    static const char *const names[] = {[ACTION_SMTP] = "smtp",
                                        [ACTION_MAILDIR] = "maildir",
                                        [ACTION_DISCARD] = "discard",
                                        [ACTION_REJECT] = "reject"};
    if (section == NULL || section->count == 0) {
        report_add(r->report, section != NULL ? &section->place : &r->start,
                   "'action' needs one of smtp, maildir, discard, reject");
        return;
    }
    const struct node *first = section->first;
    for (const struct node *other = first->next; other != NULL; other = other->next) {
        if (strcmp(other->key, first->key) == 0) continue; /* given twice: reported as that */
        report_add(r->report, &other->key_place,
                   "a route has one action: '%s' beside '%s' is one too many", other->key,
                   first->key);
    }
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(first->key, names[i]) == 0) route->action = (enum route_action)i;
    }
}

/* The place of the first of these keys that is given, or else of the section. */
static const struct place *place_of_either(const struct reading *r, const struct node *section,
                                           const char *key, const char *other)
{
    const struct node *node = node_find(section, key);
    if (node == NULL) node = node_find(section, other);
    if (node != NULL) return &node->place;
    return section != NULL ? &section->place : &r->start;
}

void check_retry(struct reading *r, const struct node *section, void *base)
{
    const struct config *config = base;
    uint64_t first = config->delivery.retry.first_ms;
    if (config->delivery.retry.max_ms < first) {
        report_add(r->report, place_of_either(r, section, "max", "first"),
                   "'max' must not be shorter than 'first'");
    }
    if (config->delivery.retry.expire_ms < first) {
        report_add(r->report, place_of_either(r, section, "expire", "first"),
                   "'expire' must not be shorter than 'first': nothing would be tried again");
    }
}
