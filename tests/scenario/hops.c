/* hops.c - next hops, which note what they have taken, and the DNS that leads to them. */
#include "tests/scenario/world.h"

#include "resolver/answer.h"
#include "ring/base/memory.h"
#include "tests/support/sim/sim.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const world_domain_names[DOMAIN_COUNT + 1] = {
    "good.test", "moody.test",  "two.test",   "dead.test", "none.test",
    "null.test", "broken.test", "fixed.test", "box.test",  "sender.test"};
struct world_mood world_mood;

#define HOP_RCPTS_MAX 64
#define MESSAGE_BYTES_MAX (4u << 20)

struct hop_rcpt {
    uint32_t number;
    uint8_t index;
    bool is_sender; /* a notification about message `number` */
};

struct hop {
    struct sim_peer peer;
    struct list node;
    bool is_moody, is_over, is_hanging;
    enum { HOP_COMMANDS, HOP_DATA, HOP_CHUNK } state;
    bool has_mail, is_null_sender, is_last_chunk;
    size_t chunk_left;
    char *input;
    size_t input_len, input_cap;
    char *data;
    size_t data_len, data_cap;
    struct hop_rcpt rcpts[HOP_RCPTS_MAX], taken[HOP_RCPTS_MAX * 4];
    unsigned rcpt_count, taken_count;
};

static struct list hops = {&hops, &hops};

/* --- talk --- */

static void say(struct hop *hop, const char *line)
{
    sim_peer_send(&hop->peer, slice_of_cstr(line));
}

static void hop_over(struct hop *hop)
{
    hop->is_over = true;
    sim_peer_abort(&hop->peer);
}

static bool is_in_mood(const struct hop *hop, uint32_t chance)
{
    return hop->is_moody && sim_chance(chance);
}

static void append(char **bytes, size_t *len, size_t *cap, const char *more, size_t count)
{
    if (*len + count > *cap) {
        *cap = MAX(*cap * 2, *len + count);
        *bytes = xrealloc(*bytes, *cap);
    }
    memcpy(*bytes + *len, more, count);
    *len += count;
}

/* r2x0000002a@good.test: the third recipient of message 42. s0000002a@sender.test: its sender. */
static bool read_rcpt(const char *line, struct hop_rcpt *out)
{
    unsigned index, number;
    if (sscanf(line, "RCPT TO:<r%ux%8x@", &index, &number) == 2) {
        *out = (struct hop_rcpt){.number = number, .index = (uint8_t)index};
    } else if (sscanf(line, "RCPT TO:<s%8x@", &number) == 1) {
        *out = (struct hop_rcpt){.number = number, .is_sender = true};
    } else {
        return false;
    }
    return out->number < ledger->message_count && out->index < LEDGER_RCPTS_MAX;
}

static void on_rcpt(struct hop *hop, const char *line)
{
    struct hop_rcpt rcpt;
    if (!read_rcpt(line, &rcpt)) ledger_fail("a hop was sent %.100s", line);
    if (!hop->has_mail || hop->rcpt_count == HOP_RCPTS_MAX) {
        say(hop, "452 4.5.3 Too many\r\n");
    } else if (!hop->is_null_sender && is_in_mood(hop, world_mood.hop_refuses)) {
        say(hop, "550 5.1.1 No such one\r\n");
    } else if (is_in_mood(hop, world_mood.hop_defers)) {
        say(hop, "450 4.2.1 Not now\r\n");
    } else {
        hop->rcpts[hop->rcpt_count++] = rcpt;
        say(hop, "250 2.1.5 Ok\r\n");
    }
}

/* --- what was sent --- */

static void take_notification(const struct hop *hop, uint32_t number)
{
    if (!hop->is_null_sender) ledger_fail("a notification came with a sender");
    struct message_fact *message = &ledger->messages[number];
    if (!message->has_sender) ledger_fail("a notification about mail without a sender");
    const char *at = hop->data, *end = hop->data + hop->data_len;
    static const char final[] = "Final-Recipient: rfc822; r", action[] = "Action: ";
    while ((at = memmem(at, (size_t)(end - at), final, sizeof(final) - 1)) != NULL) {
        unsigned index, of;
        char text[64] = "";
        at += sizeof(final) - 1;
        memcpy(text, at, MIN(sizeof(text) - 1, (size_t)(end - at)));
        if (sscanf(text, "%ux%8x@", &index, &of) != 2 || of != number ||
            index >= message->rcpt_count)
            ledger_fail("a notification for %08x tells of another message", number);
        const char *what = memmem(at, (size_t)(end - at), action, sizeof(action) - 1);
        if (what == NULL) ledger_fail("a notification without an action");
        bool is_failed = strncmp(what + sizeof(action) - 1, "failed", 6) == 0;
        if (is_failed) message->rcpts[index].bounced++;
    }
}

static void check_content(const struct hop *hop, uint32_t number)
{
    size_t at = 0, bytes = 0;
    uint32_t found = content_find(hop->data, hop->data_len, &at);
    if (found != number) ledger_fail("message %08x came as %08x", number, found);
    char *wanted = content_make(number, ledger->messages[number].bytes, &bytes);
    bool is_equal = hop->data_len - at == bytes && memcmp(hop->data + at, wanted, bytes) == 0;
    free(wanted);
    if (!is_equal) ledger_fail("message %08x was changed on its way", number);
}

static void take_message(struct hop *hop)
{
    for (unsigned i = 0; i < hop->rcpt_count; i++) {
        const struct hop_rcpt *rcpt = &hop->rcpts[i];
        struct message_fact *message = &ledger->messages[rcpt->number];
        if (rcpt->is_sender) {
            take_notification(hop, rcpt->number);
            continue;
        }
        check_content(hop, rcpt->number);
        if (message->fate == FATE_REFUSED)
            ledger_fail("message %08x was refused, and delivered", rcpt->number);
        if (rcpt->index >= message->rcpt_count || !message->rcpts[rcpt->index].is_accepted)
            ledger_fail("message %08x was delivered to a recipient that was refused", rcpt->number);
        message->rcpts[rcpt->index].delivered++;
        if (hop->taken_count < ARRAY_LEN(hop->taken)) hop->taken[hop->taken_count++] = *rcpt;
    }
}

/* The connection ended badly: the server may not have seen the last replies. */
static void doubt_taken(struct hop *hop)
{
    for (unsigned i = 0; i < hop->taken_count; i++) {
        const struct hop_rcpt *rcpt = &hop->taken[i];
        ledger->messages[rcpt->number].rcpts[rcpt->index].doubts++;
    }
    hop->taken_count = 0;
}

static void on_message_end(struct hop *hop)
{
    hop->state = HOP_COMMANDS;
    bool may_refuse = !hop->is_null_sender;
    if (is_in_mood(hop, world_mood.hop_hangs)) {
        hop->is_hanging = true;
    } else if (is_in_mood(hop, world_mood.hop_cuts)) {
        hop_over(hop);
    } else if (is_in_mood(hop, world_mood.hop_takes_and_cuts)) {
        take_message(hop);
        doubt_taken(hop);
        hop_over(hop);
    } else if (may_refuse && is_in_mood(hop, world_mood.hop_refuses)) {
        say(hop, "554 5.7.1 Not that\r\n");
    } else if (is_in_mood(hop, world_mood.hop_defers)) {
        say(hop, "451 4.3.0 Not now\r\n");
    } else {
        take_message(hop);
        say(hop, "250 2.0.0 Taken\r\n");
    }
    hop->rcpt_count = 0;
    hop->has_mail = false;
    hop->data_len = 0;
}

/* --- commands --- */

static void on_bdat(struct hop *hop, const char *line)
{
    unsigned long bytes;
    char last[8] = "";
    if (sscanf(line, "BDAT %lu %7s", &bytes, last) < 1) ledger_fail("a hop was sent %.40s", line);
    hop->chunk_left = bytes;
    hop->is_last_chunk = strcmp(last, "LAST") == 0;
    hop->state = HOP_CHUNK;
}

static void on_command(struct hop *hop, const char *line)
{
    if (strncmp(line, "EHLO ", 5) == 0) {
        say(hop,
            sim_below(2) == 0
                ? "250-hop.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 SIZE\r\n"
                : "250-hop.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-DSN\r\n250 CHUNKING\r\n");
    } else if (strncmp(line, "HELO ", 5) == 0 || strncmp(line, "NOOP", 4) == 0) {
        say(hop, "250 Ok\r\n");
    } else if (strncmp(line, "RSET", 4) == 0) {
        hop->has_mail = false;
        hop->rcpt_count = 0;
        say(hop, "250 Ok\r\n");
    } else if (strncmp(line, "MAIL FROM:<", 11) == 0) {
        hop->has_mail = true;
        hop->rcpt_count = 0;
        hop->data_len = 0;
        hop->is_null_sender = line[11] == '>';
        say(hop, "250 2.1.0 Ok\r\n");
    } else if (strncmp(line, "RCPT TO:<", 9) == 0) {
        on_rcpt(hop, line);
    } else if (strcmp(line, "DATA") == 0) {
        if (hop->rcpt_count == 0) {
            say(hop, "554 5.5.1 No recipients\r\n");
        } else {
            hop->state = HOP_DATA;
            say(hop, "354 Go on\r\n");
        }
    } else if (strncmp(line, "BDAT ", 5) == 0) {
        on_bdat(hop, line);
    } else if (strcmp(line, "QUIT") == 0) {
        say(hop, "221 Bye\r\n");
        hop->is_over = true;
        sim_peer_close(&hop->peer);
    } else {
        ledger_fail("a hop was sent %.100s", line);
    }
}

/* One line of DATA: unstuffed into the message, or its end. */
static void on_data_line(struct hop *hop, const char *line, size_t len)
{
    if (len == 3 && line[0] == '.') {
        on_message_end(hop);
        return;
    }
    size_t skip = line[0] == '.';
    append(&hop->data, &hop->data_len, &hop->data_cap, line + skip, len - skip);
    if (hop->data_len > MESSAGE_BYTES_MAX) ledger_fail("a message without an end");
}

static size_t on_chunk(struct hop *hop, const char *bytes, size_t len)
{
    size_t some = MIN(len, hop->chunk_left);
    append(&hop->data, &hop->data_len, &hop->data_cap, bytes, some);
    hop->chunk_left -= some;
    if (hop->chunk_left > 0) return some;
    hop->state = HOP_COMMANDS;
    if (hop->rcpt_count == 0) {
        say(hop, "554 5.5.1 No recipients\r\n");
    } else if (hop->is_last_chunk) {
        on_message_end(hop);
    } else {
        say(hop, "250 Ok\r\n");
    }
    return some;
}

static size_t on_line(struct hop *hop, const char *bytes, size_t len)
{
    const char *end = memmem(bytes, len, "\r\n", 2);
    if (end == NULL) return 0;
    size_t line_len = (size_t)(end - bytes);
    if (memchr(bytes, '\n', line_len) != NULL || memchr(bytes, '\r', line_len) != NULL)
        ledger_fail("a bare CR or LF was sent to a hop");
    if (hop->state == HOP_DATA) {
        on_data_line(hop, bytes, line_len + 2);
    } else {
        char line[1024];
        snprintf(line, sizeof(line), "%.*s", (int)line_len, bytes);
        on_command(hop, line);
    }
    return line_len + 2;
}

static void on_data(struct sim_peer *peer, struct slice bytes)
{
    struct hop *hop = CONTAINER_OF(peer, struct hop, peer);
    append(&hop->input, &hop->input_len, &hop->input_cap, bytes.data, bytes.len);
    size_t at = 0;
    while (at < hop->input_len && !hop->is_over && !hop->is_hanging) {
        const char *from = hop->input + at;
        size_t left = hop->input_len - at;
        bool is_chunk = hop->state == HOP_CHUNK;
        size_t taken = is_chunk ? on_chunk(hop, from, left) : on_line(hop, from, left);
        if (taken == 0) break;
        at += taken;
    }
    hop->input_len -= at;
    memmove(hop->input, hop->input + at, hop->input_len);
}

static void on_end(struct sim_peer *peer, int err)
{
    struct hop *hop = CONTAINER_OF(peer, struct hop, peer);
    if (err != 0) doubt_taken(hop);
    if (err == 0) sim_peer_close(peer);
    hop->is_over = true;
}

static void on_connected(struct sim_peer *peer)
{
    struct hop *hop = CONTAINER_OF(peer, struct hop, peer);
    if (is_in_mood(hop, world_mood.hop_defers / 4)) {
        say(hop, "421 4.3.2 Not now\r\n");
        hop->is_over = true;
        sim_peer_close(peer);
        return;
    }
    say(hop, "220 hop.test ESMTP\r\n");
}

static void free_hop(struct hop *hop)
{
    list_remove(&hop->node);
    free(hop->input);
    free(hop->data);
    free(hop);
}

static struct sim_peer *make_hop(bool is_moody)
{
    struct hop *old;
    LIST_FOR_EACH(old, &hops, struct hop, node)
    {
        if (old->is_over && old->peer.socket == NULL) free_hop(old);
    }
    struct hop *hop = xcalloc(1, sizeof(*hop));
    hop->is_moody = is_moody;
    hop->peer.on_connected = on_connected;
    hop->peer.on_data = on_data;
    hop->peer.on_end = on_end;
    list_push_back(&hops, &hop->node);
    return &hop->peer;
}

/* --- where they are --- */

#define HOP_GOOD "198.51.100.1"
#define HOP_MOODY "198.51.100.2"
#define HOP_NOBODY "198.51.100.3"
#define HOP_FIXED "198.51.100.4"

static struct sim_peer *accept_good(struct sim_server *server, const struct endpoint *at)
{
    (void)server;
    (void)at;
    return make_hop(false);
}

static struct sim_peer *accept_moody(struct sim_server *server, const struct endpoint *at)
{
    (void)server;
    (void)at;
    return make_hop(true);
}

static struct sim_server servers[3];

static void listen_at(struct sim_server *server, const char *at,
                      struct sim_peer *(*accept)(struct sim_server *, const struct endpoint *))
{
    *server = (struct sim_server){.accept = accept};
    bool is_fine = endpoint_parse(slice_of_cstr(at), &server->at);
    ASSERT(is_fine);
    sim_server_listen(server);
}

/* --- the DNS --- */

struct zone_record {
    const char *name;
    enum answer_type type;
    unsigned preference;
    const char *value; /* NULL: the name is there, without such a record */
};
static const struct zone_record zone[] = {
    {"good.test", ANSWER_MX, 10, "mx.good.test"},
    {"mx.good.test", ANSWER_A, 0, HOP_GOOD},
    {"moody.test", ANSWER_MX, 10, "mx.moody.test"},
    {"mx.moody.test", ANSWER_A, 0, HOP_MOODY},
    {"two.test", ANSWER_MX, 10, "mx.dead.test"},
    {"two.test", ANSWER_MX, 20, "mx.moody.test"},
    {"dead.test", ANSWER_MX, 10, "mx.dead.test"},
    {"mx.dead.test", ANSWER_A, 0, HOP_NOBODY},
    {"null.test", ANSWER_MX, 0, "."},
    {"sender.test", ANSWER_A, 0, HOP_MOODY}, /* an implicit MX */
};

static void put(uint8_t *into, size_t *at, unsigned value, unsigned bytes)
{
    while (bytes-- > 0)
        into[(*at)++] = (uint8_t)(value >> 8 * bytes);
}

static void put_name(uint8_t *into, size_t *at, const char *name)
{
    while (*name != '\0' && strcmp(name, ".") != 0) {
        size_t len = strcspn(name, ".");
        put(into, at, (unsigned)len, 1);
        memcpy(into + *at, name, len);
        *at += len;
        name += len + (name[len] == '.');
    }
    put(into, at, 0, 1);
}

static void put_record(uint8_t *into, size_t *at, const struct zone_record *record)
{
    put(into, at, 0xc00c, 2);
    put(into, at, (unsigned)record->type, 2);
    put(into, at, 1, 2);
    put(into, at, 300, 4);
    size_t len_at = *at;
    put(into, at, 0, 2);
    if (record->type == ANSWER_A) {
        inet_pton(AF_INET, record->value, into + *at);
        *at += 4;
    } else {
        put(into, at, record->preference, 2);
        put_name(into, at, record->value);
    }
    size_t end = *at;
    *at = len_at;
    put(into, at, (unsigned)(end - len_at - 2), 2);
    *at = end;
}

/* The question's name as text; returns where the question ends. */
static size_t read_question(struct slice query, char name[256], unsigned *type_out)
{
    const uint8_t *bytes = (const uint8_t *)query.data;
    size_t at = 12, len = 0;
    while (bytes[at] != 0) {
        size_t label = bytes[at++];
        if (len > 0) name[len++] = '.';
        memcpy(name + len, bytes + at, label);
        len += label;
        at += label;
    }
    name[len] = '\0';
    *type_out = (unsigned)bytes[at + 1] << 8 | bytes[at + 2];
    return at + 5;
}

static size_t answer(struct slice query, uint8_t *into, size_t cap)
{
    char name[256];
    unsigned type, count = 0, code = 3;
    ASSERT(query.len < cap / 4);
    size_t end = read_question(query, name, &type), at = 0;
    memcpy(into, query.data, end);
    at = end;
    for (size_t i = 0; i < ARRAY_LEN(zone); i++) {
        if (strcmp(zone[i].name, name) != 0) continue;
        code = 0;
        if ((unsigned)zone[i].type != type) continue;
        put_record(into, &at, &zone[i]);
        count++;
    }
    if (strcmp(name, "broken.test") == 0) code = 2;
    size_t head = 2;
    put(into, &head, 0x8180u | code, 2);
    put(into, &head, 1, 2);
    put(into, &head, count, 2);
    put(into, &head, 0, 4);
    return at;
}

/* --- begin, end --- */

void world_config(const char *directory, char *into, size_t cap)
{
    snprintf(into, cap,
             "node: {hostname: gw.test, cores: 1, memory: 16MiB}\n"
             "spool: {path: %s/spool, min_free: 1MiB}\n"
             "listeners:\n"
             "  - name: mx\n"
             "    address: ['192.0.2.1:25']\n"
             "    verify_sender_domain: true\n"
             "    limits: {connections_per_client: 1000, message_size: 2MiB}\n"
             "routes:\n"
             "  - match: {domain: [box.test]}\n"
             "    action: {maildir: {path: '%s/mail/{domain}/{local}'}}\n"
             "  - match: {domain: [fixed.test]}\n"
             "    action: {smtp: {hosts: ['" HOP_FIXED ":25'], tls: none}}\n"
             "  - match: {domain: ['*']}\n"
             "    action: {mx: {tls: may, allow_addresses: [0.0.0.0/0]}}\n"
             "delivery:\n"
             "  retry: {first: 5m, factor: 2, max: 4h, jitter: 20%%, expire: 2d, warn_after: 8h}\n"
             "  bounces: {per_minute: 0}\n"
             "resolver: {servers: ['192.0.2.53:53'], timeout: 2s}\n"
             "log: {format: json, level: info}\n",
             directory, directory);
}

void world_begin(void)
{
    sim_dns_answer = answer;
    listen_at(&servers[0], HOP_GOOD ":25", accept_good);
    listen_at(&servers[1], HOP_MOODY ":25", accept_moody);
    listen_at(&servers[2], HOP_FIXED ":25", accept_moody);
}

void world_end(void)
{
    while (!list_is_empty(&hops)) {
        struct hop *hop = LIST_ENTRY(hops.next, struct hop, node);
        sim_peer_abort(&hop->peer);
        free_hop(hop);
    }
    for (size_t i = 0; i < ARRAY_LEN(servers); i++)
        sim_server_stop(&servers[i]);
}
