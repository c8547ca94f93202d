/* answer.c - the parser; see answer.h. */
#include "resolver/answer.h"

#include "ring/base/memory.h"

#include <arpa/inet.h>
#include <stdlib.h>

#define HEADER_BYTES 12
#define FLAG_RESPONSE 0x8000u
#define FLAG_TRUNCATED 0x0200u
#define FLAG_AUTHENTIC 0x0020u
#define RCODE_MASK 0x000fu
#define RCODE_NXDOMAIN 3u
#define CLASS_IN 1u

/* Over the whole message; `at` may be set back by a pointer. */
struct wire {
    const uint8_t *data;
    size_t len, at;
    bool is_bad;
};

static uint32_t take(struct wire *w, unsigned bytes)
{
    if (w->is_bad || w->len - w->at < bytes) {
        w->is_bad = true;
        return 0;
    }
    uint32_t n = 0;
    for (unsigned i = 0; i < bytes; i++)
        n = n << 8 | w->data[w->at++];
    return n;
}

/* One label behind `out`, in lower case. False when it has bytes that no host name has. */
static bool add_label(const uint8_t *label, size_t len, struct buf *out)
{
    bool is_plain = true;
    if (out->len > 0) buf_append_char(out, '.');
    for (size_t i = 0; i < len; i++) {
        char c = ascii_lower((char)label[i]);
        bool is_good = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
        is_plain = is_plain && is_good;
        buf_append_char(out, c);
    }
    return is_plain;
}

/* Reads a name; `out` has room for ANSWER_NAME_BYTES_MAX. False: it is well-formed, but cannot be
 * the name of a host. */
static bool take_name(struct wire *w, struct buf *out)
{
    size_t limit = w->at; /* a pointer leads before it, so that none is followed twice */
    size_t after = 0;     /* where the name ends in the record, once a pointer was followed */
    bool is_plain = true;
    for (unsigned labels = 0; labels <= ANSWER_LABELS_MAX + 1;) {
        uint32_t len = take(w, 1);
        if (w->is_bad) return false;
        if (len == 0) {
            if (after != 0) w->at = after;
            w->is_bad = w->is_bad || out->is_short;
            return is_plain;
        }
        if ((len & 0xc0u) == 0xc0u) {
            size_t to = (len & 0x3fu) << 8 | take(w, 1);
            if (w->is_bad || to >= limit) break;
            if (after == 0) after = w->at;
            w->at = limit = to;
            continue;
        }
        if (len > 63 || w->len - w->at < len) break;
        is_plain = add_label(w->data + w->at, len, out) && is_plain;
        w->at += len;
        labels++;
    }
    w->is_bad = true;
    return false;
}

struct record {
    char name[ANSWER_NAME_BYTES_MAX];
    struct slice owner;
    uint32_t type, klass, ttl_s;
    size_t data_at, data_len;
};

static void take_record(struct wire *w, struct record *r)
{
    struct buf name = {r->name, 0, sizeof(r->name), false};
    take_name(w, &name);
    r->owner = buf_slice(&name);
    r->type = take(w, 2);
    r->klass = take(w, 2);
    r->ttl_s = take(w, 4);
    if (r->ttl_s > INT32_MAX) r->ttl_s = 0; /* RFC 2181 8 */
    r->data_len = take(w, 2);
    r->data_at = w->at;
    if (w->is_bad || w->len - w->at < r->data_len) {
        w->is_bad = true;
        return;
    }
    w->at += r->data_len;
}

/* The data of a record, as far as the message goes: names may point before it. */
static struct wire data_of(const struct wire *w, const struct record *r)
{
    return (struct wire){w->data, r->data_at + r->data_len, r->data_at, false};
}

static bool take_address(const struct wire *w, const struct record *r, struct endpoint *out)
{
    *out = (struct endpoint){.addr_len = 0};
    if (r->type == ANSWER_A && r->data_len == 4) {
        out->addr.v4.sin_family = AF_INET;
        memcpy(&out->addr.v4.sin_addr, w->data + r->data_at, 4);
        out->addr_len = sizeof(out->addr.v4);
        return true;
    }
    if (r->type == ANSWER_AAAA && r->data_len == 16) {
        out->addr.v6.sin6_family = AF_INET6;
        memcpy(&out->addr.v6.sin6_addr, w->data + r->data_at, 16);
        out->addr_len = sizeof(out->addr.v6);
        return true;
    }
    return false;
}

/* The place for a record of this preference; NULL when it is worse than all that are kept. */
static struct answer_record *place_for(struct answer *out, uint16_t preference)
{
    if (out->record_count < ANSWER_RECORDS_MAX) return &out->records[out->record_count++];
    struct answer_record *worst = &out->records[0];
    for (uint32_t i = 1; i < out->record_count; i++) {
        if (out->records[i].preference > worst->preference) worst = &out->records[i];
    }
    if (worst->preference <= preference) return NULL;
    free(worst->name);
    return worst;
}

/* False: the record is broken. */
static bool keep_record(const struct wire *w, const struct record *r, struct answer *out)
{
    struct answer_record made = {.preference = 0};
    char text[ANSWER_NAME_BYTES_MAX];
    struct buf name = {text, 0, sizeof(text), false};
    struct wire data = data_of(w, r);
    bool has_name = r->type == ANSWER_MX || r->type == ANSWER_PTR;
    if (r->type == ANSWER_MX) made.preference = (uint16_t)take(&data, 2);
    bool is_host = has_name && take_name(&data, &name);
    if (has_name && (data.is_bad || data.at != data.len)) return false;
    if (!has_name && !take_address(w, r, &made.host)) return false;
    struct answer_record *place = place_for(out, made.preference);
    if (place == NULL) return true;
    if (is_host) made.name = slice_to_cstr(buf_slice(&name));
    *place = made;
    return true;
}

/* Goes from alias to alias, beginning at `name`. False: the answer is broken. */
static bool follow_aliases(struct wire w, uint32_t count, struct slice name, struct answer *out)
{
    struct buf now = {out->name, 0, ANSWER_NAME_BYTES_MAX, false};
    buf_append_slice(&now, name);
    if (now.is_short) return false;
    size_t start = w.at;
    bool is_moved = true;
    while (is_moved) {
        is_moved = false;
        w.at = start;
        for (uint32_t i = 0; i < count && !is_moved; i++) {
            struct record r;
            take_record(&w, &r);
            if (w.is_bad) return false;
            bool is_alias =
                r.type == ANSWER_CNAME && r.klass == CLASS_IN && slice_eq(r.owner, buf_slice(&now));
            if (!is_alias) continue;
            struct wire data = data_of(&w, &r);
            buf_reset(&now);
            if (!take_name(&data, &now) || data.is_bad || data.at != data.len) return false;
            if (++out->alias_count > ANSWER_ALIASES_MAX) return false;
            out->ttl_s = MIN(out->ttl_s, r.ttl_s);
            is_moved = true;
        }
    }
    out->name[now.len] = '\0';
    return true;
}

static bool keep_records(struct wire *w, uint32_t count, enum answer_type type, struct answer *out)
{
    struct slice name = slice_of_cstr(out->name);
    for (uint32_t i = 0; i < count; i++) {
        struct record r;
        take_record(w, &r);
        if (w->is_bad) return false;
        if (r.type != (uint32_t)type || r.klass != CLASS_IN || !slice_eq(r.owner, name)) continue;
        if (!keep_record(w, &r, out)) return false;
        out->ttl_s = MIN(out->ttl_s, r.ttl_s);
    }
    return true;
}

/* How long "there is none" holds: the lesser of the SOA's TTL and its minimum; 0 without one. */
static uint32_t negative_ttl(struct wire *w, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct record r;
        char text[2 * ANSWER_NAME_BYTES_MAX];
        take_record(w, &r);
        if (w->is_bad) return 0;
        if (r.type != ANSWER_SOA) continue;
        struct wire data = data_of(w, &r);
        for (unsigned names = 0; names < 2; names++) {
            struct buf name = {text, 0, ANSWER_NAME_BYTES_MAX, false};
            take_name(&data, &name);
        }
        for (unsigned numbers = 0; numbers < 4; numbers++)
            take(&data, 4);
        uint32_t minimum_s = take(&data, 4);
        return data.is_bad ? 0 : MIN(minimum_s, r.ttl_s);
    }
    return 0;
}

static bool take_question(struct wire *w, struct slice name, enum answer_type type)
{
    char text[ANSWER_NAME_BYTES_MAX];
    struct buf asked = {text, 0, sizeof(text), false};
    take_name(w, &asked);
    uint32_t asked_type = take(w, 2), asked_class = take(w, 2);
    return !w->is_bad && slice_eq_nocase(buf_slice(&asked), name) && asked_type == (uint32_t)type &&
           asked_class == CLASS_IN;
}

static enum answer_status read_all(struct wire *w, struct slice name, enum answer_type type,
                                   struct answer *out)
{
    take(w, 2);
    uint32_t flags = take(w, 2), questions = take(w, 2), answers = take(w, 2);
    uint32_t authorities = take(w, 2);
    take(w, 2);
    if (w->is_bad || (flags & FLAG_RESPONSE) == 0 || (flags & FLAG_TRUNCATED) != 0)
        return ANSWER_BROKEN;
    uint32_t code = flags & RCODE_MASK;
    if (code != 0 && code != RCODE_NXDOMAIN) return ANSWER_FAILED;
    if (questions != 1 || !take_question(w, name, type)) return ANSWER_BROKEN;
    out->is_authentic = (flags & FLAG_AUTHENTIC) != 0;
    out->ttl_s = INT32_MAX;
    if (!follow_aliases(*w, answers, name, out)) return ANSWER_BROKEN;
    if (!keep_records(w, answers, type, out)) return ANSWER_BROKEN;
    if (out->record_count > 0) return ANSWER_FOUND;
    uint32_t soa_s = negative_ttl(w, authorities);
    if (code == 0 && out->alias_count > 0 && soa_s == 0) return ANSWER_ALIAS;
    out->ttl_s = MIN(out->ttl_s, soa_s);
    return code == RCODE_NXDOMAIN ? ANSWER_NO_NAME : ANSWER_NO_DATA;
}

void answer_read(struct slice message, struct slice name, enum answer_type type, struct answer *out)
{
    struct wire w = {(const uint8_t *)message.data, message.len, 0, false};
    *out = (struct answer){.status = ANSWER_BROKEN};
    out->status = read_all(&w, name, type, out);
    if (out->status == ANSWER_FOUND) return;
    for (uint32_t i = 0; i < out->record_count; i++)
        free(out->records[i].name);
    out->record_count = 0;
}

void answer_finish(struct answer *answer)
{
    for (uint32_t i = 0; i < answer->record_count; i++)
        free(answer->records[i].name);
    answer->record_count = 0;
}

bool answer_name_is_host(struct slice name)
{
    size_t label = 0;
    if (name.len == 0 || name.len > ANSWER_NAME_BYTES_MAX) return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = ascii_lower(name.data[i]);
        bool is_plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
        if (c == '.' ? label == 0 : !is_plain || label == 63) return false;
        label = c == '.' ? 0 : label + 1;
    }
    return label > 0;
}
