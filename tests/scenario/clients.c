/* clients.c - senders: each opens a connection, sends some messages, and notes the replies. */
#include "tests/scenario/world.h"

#include "ring/base/memory.h"
#include "tests/support/sim/sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MESSAGES_OF_CLIENT_MAX 4
#define BATCH_BYTES_MAX 1024
#define GIVES_UP_NS (15 * 60 * NS_PER_S)

enum client_state {
    CLIENT_IDLE, /* not yet connected */
    CLIENT_BANNER,
    CLIENT_EHLO,
    CLIENT_ENVELOPE, /* MAIL, RCPT ..., DATA: one reply each */
    CLIENT_CONTENT,  /* the reply after the end of the data */
    CLIENT_QUIT,
    CLIENT_OVER,
};

struct client {
    struct sim_peer peer;
    struct sim_event event; /* its begin, and then its patience */
    struct list node;
    struct endpoint to, from;
    enum client_state state;
    unsigned messages_left;
    bool uses_bdat, has_chunking, pipelines;
    uint32_t number; /* of the message under way */
    unsigned replies_seen, rcpts_accepted;
    bool is_mail_refused;
    char line[1024];
    size_t line_len;
};

static struct list clients = {&clients, &clients};

unsigned clients_open(void)
{
    unsigned count = 0;
    struct client *client;
    LIST_FOR_EACH(client, &clients, struct client, node)
    {
        if (client->state != CLIENT_OVER) count++;
    }
    return count;
}

static void over(struct client *client)
{
    client->state = CLIENT_OVER;
    sim_cancel(&client->event);
    sim_peer_abort(&client->peer);
}

static void say(struct client *client, const char *text)
{
    sim_peer_send(&client->peer, slice_of_cstr(text));
}

/* --- one message --- */

static size_t some_size(void)
{
    switch (sim_below(10)) {
    case 0:
        return 0;
    case 1:
        return 20000 + sim_below(200000);
    case 2:
        return 4000 + sim_below(300); /* about one block */
    default:
        return sim_below(6000);
    }
}

static struct message_fact *fact_of(const struct client *client)
{
    return &ledger->messages[client->number];
}

static void send_envelope(struct client *client)
{
    char text[BATCH_BYTES_MAX];
    size_t at = 0;
    struct message_fact *fact = fact_of(client);
    if (fact->has_sender) {
        at += (size_t)snprintf(text, sizeof(text), "MAIL FROM:<s%08x@sender.test>\r\n",
                               client->number);
    } else {
        at += (size_t)snprintf(text, sizeof(text), "MAIL FROM:<>\r\n");
    }
    for (unsigned i = 0; i < fact->rcpt_count; i++) {
        at += (size_t)snprintf(text + at, sizeof(text) - at, "RCPT TO:<r%ux%08x@%s>\r\n", i,
                               client->number, world_domain_names[fact->rcpts[i].domain]);
    }
    if (!client->uses_bdat) at += (size_t)snprintf(text + at, sizeof(text) - at, "DATA\r\n");
    say(client, text);
}

static void next_message(struct client *client)
{
    if (client->messages_left == 0 || ledger->message_count == LEDGER_MESSAGES_MAX) {
        client->state = CLIENT_QUIT;
        say(client, "QUIT\r\n");
        return;
    }
    client->messages_left--;
    client->number = ledger->message_count++;
    struct message_fact *fact = fact_of(client);
    *fact = (struct message_fact){
        .fate = FATE_REFUSED, /* until its end has been sent */
        .has_sender = sim_below(8) != 0,
        .rcpt_count = (uint8_t)(1 + sim_below(LEDGER_RCPTS_MAX)),
        .bytes = (uint32_t)some_size(),
    };
    for (unsigned i = 0; i < fact->rcpt_count; i++)
        fact->rcpts[i].domain = (uint8_t)sim_below(DOMAIN_COUNT);
    client->uses_bdat = client->has_chunking && sim_below(3) == 0;
    client->replies_seen = client->rcpts_accepted = 0;
    client->is_mail_refused = false;
    client->state = CLIENT_ENVELOPE;
    send_envelope(client);
}

/* Where a client that is cut stops, or `len`. */
static size_t cut_at(struct client *client, size_t len, bool *is_cut_out)
{
    *is_cut_out = sim_chance(world_mood.client_cuts);
    (void)client;
    return *is_cut_out ? sim_below(len) : len;
}

static void send_chunks(struct client *client, const char *bytes, size_t len)
{
    bool is_cut;
    size_t end = cut_at(client, len, &is_cut);
    for (size_t at = 0; at < end || (at == 0 && len == 0);) {
        size_t some = len == 0 ? 0 : 1 + sim_below(len - at);
        char head[40];
        snprintf(head, sizeof(head), "BDAT %zu%s\r\n", some, at + some == len ? " LAST" : "");
        say(client, head);
        sim_peer_send(&client->peer, slice_of(bytes + at, some));
        at += some;
        if (at >= len) break;
    }
    if (is_cut) over(client);
}

static void send_data(struct client *client, const char *bytes, size_t len)
{
    char *wire = xmalloc(2 * len + 8);
    size_t wire_len = 0;
    for (size_t i = 0; i < len; i++) {
        if (bytes[i] == '.' && (i == 0 || bytes[i - 1] == '\n')) wire[wire_len++] = '.';
        wire[wire_len++] = bytes[i];
    }
    memcpy(wire + wire_len, ".\r\n", 3);
    wire_len += 3;
    bool is_cut;
    size_t end = cut_at(client, wire_len, &is_cut);
    if (is_cut) fact_of(client)->fate = FATE_REFUSED;
    sim_peer_send(&client->peer, slice_of(wire, end));
    free(wire);
    if (is_cut) over(client);
}

static void send_content(struct client *client)
{
    size_t len;
    char *bytes = content_make(client->number, fact_of(client)->bytes, &len);
    client->state = CLIENT_CONTENT;
    client->replies_seen = 0;
    /* From here on the server may own it, whatever this client hears. */
    fact_of(client)->fate = FATE_UNKNOWN;
    if (client->uses_bdat) {
        send_chunks(client, bytes, len);
    } else {
        send_data(client, bytes, len);
    }
    free(bytes);
}

/* --- replies --- */

static void envelope_reply(struct client *client, unsigned code)
{
    struct message_fact *fact = fact_of(client);
    unsigned nth = client->replies_seen++;
    if (nth == 0) {
        client->is_mail_refused = code >= 400;
    } else if (nth <= fact->rcpt_count) {
        fact->rcpts[nth - 1].is_accepted = code < 300;
        if (code < 300) client->rcpts_accepted++;
    } else if (code == 354) {
        send_content(client);
        return;
    } else {
        next_message(client);
        return;
    }
    bool is_last = nth == fact->rcpt_count && client->uses_bdat;
    if (!is_last) return;
    if (client->rcpts_accepted > 0) {
        send_content(client);
    } else {
        say(client, "RSET\r\n");
        client->replies_seen = LEDGER_RCPTS_MAX + 8; /* its reply goes to next_message() */
    }
}

static void content_reply(struct client *client, unsigned code, const char *line)
{
    struct message_fact *fact = fact_of(client);
    /* With BDAT each chunk is answered: the last answer alone says "Queued as"; a bad one is final.
     */
    bool is_chunk = client->uses_bdat && code < 300 && strstr(line, "Queued as") == NULL;
    if (is_chunk) return;
    if (code < 300) {
        fact->fate = FATE_ACKED;
    } else {
        fact->fate = FATE_REFUSED;
        if (client->uses_bdat) { /* the answers to the chunks behind are not waited for */
            over(client);
            return;
        }
    }
    next_message(client);
}

static void on_reply(struct client *client, unsigned code, const char *line)
{
    if (code == 421) {
        if (client->state == CLIENT_CONTENT) fact_of(client)->fate = FATE_REFUSED;
        over(client);
        return;
    }
    switch (client->state) {
    case CLIENT_BANNER:
        if (code != 220) {
            over(client);
            return;
        }
        client->state = CLIENT_EHLO;
        say(client, "EHLO client.test\r\n");
        return;
    case CLIENT_EHLO:
        if (code == 250) {
            next_message(client);
        } else {
            over(client);
        }
        return;
    case CLIENT_ENVELOPE:
        envelope_reply(client, code);
        return;
    case CLIENT_CONTENT:
        content_reply(client, code, line);
        return;
    default:
        over(client);
    }
}

static void on_line(struct client *client)
{
    const char *line = client->line;
    if (client->line_len < 4 || line[0] < '2' || line[0] > '5')
        ledger_fail("a client was told %.100s", line);
    for (size_t i = 0; i < client->line_len; i++) {
        unsigned char byte = (unsigned char)line[i];
        if (byte < ' ' || byte > '~') ledger_fail("a byte %02x in a reply", byte);
    }
    if (client->line_len > 510) ledger_fail("a reply of %zu bytes", client->line_len);
    unsigned code = (unsigned)(line[0] - '0') * 100 + (unsigned)(line[1] - '0') * 10 +
                    (unsigned)(line[2] - '0');
    if (strstr(line, "CHUNKING") != NULL) client->has_chunking = true;
    if (line[3] == ' ') on_reply(client, code, line);
}

static void on_data(struct sim_peer *peer, struct slice bytes)
{
    struct client *client = CONTAINER_OF(peer, struct client, peer);
    for (size_t i = 0; i < bytes.len && client->state != CLIENT_OVER; i++) {
        char byte = bytes.data[i];
        if (client->line_len + 1 >= sizeof(client->line)) ledger_fail("a reply without an end");
        client->line[client->line_len++] = byte;
        client->line[client->line_len] = '\0';
        if (byte != '\n') continue;
        if (client->line_len < 2 || client->line[client->line_len - 2] != '\r')
            ledger_fail("a reply that ends with a bare LF");
        client->line_len -= 2;
        client->line[client->line_len] = '\0';
        on_line(client);
        client->line_len = 0;
    }
    if (client->state != CLIENT_OVER) sim_after(&client->event, GIVES_UP_NS);
}

static void on_end(struct sim_peer *peer, int err)
{
    struct client *client = CONTAINER_OF(peer, struct client, peer);
    (void)err;
    over(client);
}

/* --- begin, end --- */

static void on_event(struct sim_event *event)
{
    struct client *client = CONTAINER_OF(event, struct client, event);
    if (client->state != CLIENT_IDLE) { /* the server says nothing for long */
        over(client);
        return;
    }
    client->state = CLIENT_BANNER;
    sim_after(&client->event, GIVES_UP_NS);
    sim_peer_connect(&client->peer, &client->to, &client->from);
}

void clients_begin(const struct endpoint *to, unsigned count, uint64_t span_ns)
{
    for (unsigned i = 0; i < count; i++) {
        struct client *client = xcalloc(1, sizeof(*client));
        char from[40];
        client->to = *to;
        snprintf(from, sizeof(from), "203.0.113.%u:%u", 1 + i % 250, 30000 + i);
        bool is_fine = endpoint_parse(slice_of_cstr(from), &client->from);
        ASSERT(is_fine);
        client->messages_left = 1 + (unsigned)sim_below(MESSAGES_OF_CLIENT_MAX);
        client->event.run = on_event;
        client->peer.on_data = on_data;
        client->peer.on_end = on_end;
        list_push_back(&clients, &client->node);
        sim_after(&client->event, 1 + sim_below(span_ns));
    }
}

void clients_end(void)
{
    struct list *node;
    while ((node = list_pop_front(&clients)) != NULL) {
        struct client *client = LIST_ENTRY(node, struct client, node);
        over(client);
        free(client);
    }
}
