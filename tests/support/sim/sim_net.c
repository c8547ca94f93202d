/* sim_net.c - TCP in memory: sockets of loops, and of peers that are no loops.
 *
 * A socket is one end of a connection. Bytes that one end sends are cut into pieces, each of which
 * takes its time and arrives in order in the other's `input`. A loop's end keeps at most
 * WINDOW_BYTES; what is beyond waits on its way. A peer's end takes everything at once. */
#include "tests/support/sim/sim_internal.h"

#include "ring/base/err.h"
#include "ring/base/memory.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#define WINDOW_BYTES (256u << 10)
#define PIECE_BYTES_MAX 65536
#define FIRST_PORT 20000

struct piece {
    struct list node;
    uint64_t at_ns;
    size_t len, taken;
    bool is_end; /* FIN */
    char bytes[];
};

struct sim_socket {
    struct list node;      /* in sim.sockets */
    struct list loop_node; /* in loop->sockets, when it is a loop's */
    int handle;            /* of a loop's; -1 while nobody has it */
    struct loop *loop;     /* NULL: a peer's */
    struct sim_peer *peer;
    struct sim_socket *other; /* NULL: gone */
    struct endpoint at;       /* a loop's accepted one: the address of the client */
    struct list under_way;    /* struct piece, towards this end */
    size_t under_way_bytes;
    uint64_t last_at_ns; /* of the newest piece under way */
    struct sim_event arrival;
    char *input;
    size_t input_len, input_cap;
    bool has_ended; /* the other side's FIN is here */
    bool is_reset;  /* no byte comes or goes any more */
    bool has_sent_end;
    bool is_closed; /* by its owner */
    struct sim_pending *receive, *send;
    bool is_multishot;
};

struct sim_listener {
    struct list node;
    struct loop *loop;
    int handle;
    struct endpoint at;
    struct list accepts; /* struct accept_slot */
    struct list backlog; /* struct sim_socket by loop_node */
};

struct accept_slot {
    struct list node;
    struct sim_pending *pending;
};

/* --- sockets --- */

static struct sim_socket *make_socket(struct loop *loop, struct sim_peer *peer)
{
    struct sim_socket *s = xcalloc(1, sizeof(*s));
    s->loop = loop;
    s->peer = peer;
    s->handle = -1;
    list_init(&s->under_way);
    list_init(&s->loop_node);
    list_push_back(&sim.sockets, &s->node);
    return s;
}

static int new_handle(void)
{
    if (sim.handle_next == 0) sim.handle_next = SIM_HANDLE_FIRST;
    return (int)sim.handle_next++;
}

static void drop_under_way(struct sim_socket *s)
{
    struct list *node;
    while ((node = list_pop_front(&s->under_way)) != NULL)
        free(LIST_ENTRY(node, struct piece, node));
    s->under_way_bytes = 0;
    sim_cancel(&s->arrival);
}

/* The memory of an end that its owner has closed and whose other end is gone, too. */
static void free_socket(struct sim_socket *s)
{
    drop_under_way(s);
    list_remove(&s->node);
    list_remove(&s->loop_node);
    free(s->input);
    free(s);
}

static void tell_peer_end(struct sim_socket *s, int err)
{
    struct sim_peer *peer = s->peer;
    if (peer == NULL) return;
    if (err != 0) {
        peer->socket = NULL;
        s->peer = NULL;
    }
    peer->on_end(peer, err);
}

static void part(struct sim_socket *s)
{
    if (s->other != NULL) s->other->other = NULL;
    s->other = NULL;
}

static void feed_receive(struct sim_socket *s);

/* The connection is cut: this end learns of it. */
static void get_reset(struct sim_socket *s)
{
    s->is_reset = true;
    drop_under_way(s);
    part(s);
    if (s->loop == NULL) {
        tell_peer_end(s, -ECONNRESET);
        free_socket(s);
        return;
    }
    if (s->is_closed) {
        free_socket(s);
        return;
    }
    s->input_len = 0;
    if (s->send != NULL) {
        struct sim_pending *send = s->send;
        s->send = NULL;
        sim_complete(send, -ECONNRESET);
    }
    feed_receive(s);
}

/* --- bytes under way --- */

static void append_input(struct sim_socket *s, const char *bytes, size_t len)
{
    if (len == 0) return;
    if (s->input_len + len > s->input_cap) {
        s->input_cap = MAX(s->input_cap * 2, s->input_len + len);
        s->input = xrealloc(s->input, s->input_cap);
    }
    memcpy(s->input + s->input_len, bytes, len);
    s->input_len += len;
}

static void on_arrival(struct sim_event *event);

static void arm_arrival(struct sim_socket *s)
{
    if (list_is_empty(&s->under_way) || s->arrival.place != 0) return;
    s->arrival.run = on_arrival;
    sim_at(&s->arrival, LIST_ENTRY(s->under_way.next, struct piece, node)->at_ns);
}

static void let_send_go_on(struct sim_socket *s);

/* The end was closed by its owner: bytes for it cut the connection, the other's end ends it. */
static void arrive_at_nobody(struct sim_socket *s, struct piece *piece)
{
    struct sim_socket *other = s->other;
    bool is_cut = piece->len > 0, is_last = list_is_empty(&s->under_way);
    free(piece);
    if (other == NULL && !is_last) return;
    part(s);
    free_socket(s);
    if (other == NULL) return;
    if (is_cut) {
        get_reset(other);
    } else if (other->is_closed && list_is_empty(&other->under_way)) {
        free_socket(other);
    }
}

/* The first piece under way is here. */
static void on_arrival(struct sim_event *event)
{
    struct sim_socket *s = CONTAINER_OF(event, struct sim_socket, arrival);
    struct piece *piece = LIST_ENTRY(s->under_way.next, struct piece, node);
    if (s->loop != NULL && s->input_len + piece->len > WINDOW_BYTES) return; /* feed_receive() */
    list_remove(&piece->node);
    s->under_way_bytes -= piece->len;
    arm_arrival(s);
    if (s->is_closed) {
        arrive_at_nobody(s, piece);
        return;
    }
    if (s->loop != NULL) {
        append_input(s, piece->bytes, piece->len);
        if (piece->is_end) s->has_ended = true;
        free(piece);
        if (s->other != NULL) let_send_go_on(s->other);
        feed_receive(s);
        return;
    }
    /* The peer may close or abort in either call. */
    struct sim_peer *peer = s->peer;
    struct sim_socket *other = s->other;
    if (piece->len > 0) peer->on_data(peer, slice_of(piece->bytes, piece->len));
    if (piece->is_end && peer->socket == s) {
        s->has_ended = true;
        peer->on_end(peer, 0);
    }
    free(piece);
    if (other != NULL && peer->socket == s && s->other == other) let_send_go_on(other);
}

static void put_piece(struct sim_socket *to, const char *bytes, size_t len, bool is_end)
{
    struct piece *piece = xmalloc(sizeof(*piece) + len);
    uint64_t delay_ns = sim_between(sim_faults.network_min_ns, sim_faults.network_max_ns);
    *piece = (struct piece){.len = len, .is_end = is_end};
    piece->at_ns = MAX(sim.now_ns + delay_ns, to->last_at_ns);
    to->last_at_ns = piece->at_ns;
    if (len > 0) memcpy(piece->bytes, bytes, len);
    list_push_back(&to->under_way, &piece->node);
    to->under_way_bytes += len;
    arm_arrival(to);
}

/* Cuts what is sent into pieces; false: the connection was cut instead. */
static bool put_bytes(struct sim_socket *from, const char *bytes, size_t len)
{
    while (len > 0) {
        if (sim_chance(sim_faults.reset)) {
            struct sim_socket *other = from->other;
            part(from);
            get_reset(other);
            return false;
        }
        size_t most = MIN(len, (size_t)PIECE_BYTES_MAX);
        /* Most pieces are whole, some end anywhere. */
        size_t some = sim_below(4) == 0 ? 1 + sim_below(most) : most;
        put_piece(from->other, bytes, some, false);
        bytes += some;
        len -= some;
    }
    return true;
}

/* --- receiving, of loops --- */

static void take_input(struct sim_socket *s, void *into, size_t bytes)
{
    memcpy(into, s->input, bytes);
    s->input_len -= bytes;
    memmove(s->input, s->input + bytes, s->input_len);
    if (!list_is_empty(&s->under_way) && s->arrival.place == 0) arm_arrival(s);
}

static void end_receive(struct sim_socket *s, int result)
{
    struct sim_pending *receive = s->receive;
    s->receive = NULL;
    sim_complete(receive, result);
}

static bool feed_multishot(struct sim_socket *s)
{
    struct loop *loop = s->loop;
    if (loop->free_input_count == 0 || sim_chance(sim_faults.no_buffers)) {
        end_receive(s, -ERR_NO_BUFFERS);
        return false;
    }
    uint16_t input = loop->free_inputs[--loop->free_input_count];
    size_t bytes = MIN(s->input_len, (size_t)LOOP_INPUT_BYTES);
    take_input(s, loop->inputs + (size_t)input * LOOP_INPUT_BYTES, bytes);
    /* The kernel ends a multishot receive now and then without a reason of ours. */
    if (sim_below(64) == 0) {
        struct sim_pending *receive = s->receive;
        s->receive = NULL;
        sim_complete_input(receive, (int)bytes, input);
        return false;
    }
    sim_complete_more(s->receive, (int)bytes, input);
    return true;
}

static void feed_receive(struct sim_socket *s)
{
    while (s->receive != NULL && s->input_len > 0) {
        if (s->is_multishot) {
            if (!feed_multishot(s)) return;
        } else {
            size_t bytes = MIN(s->input_len, s->receive->bytes);
            if (bytes > 1 && sim_below(4) == 0) bytes = 1 + sim_below(bytes);
            take_input(s, s->receive->into, bytes);
            end_receive(s, (int)bytes);
        }
    }
    if (s->receive == NULL) return;
    if (s->is_reset) {
        end_receive(s, -ECONNRESET);
    } else if (s->has_ended) {
        end_receive(s, 0);
    }
}

static struct sim_socket *find_socket(struct loop *loop, int handle)
{
    struct sim_socket *s;
    LIST_FOR_EACH(s, &loop->sockets, struct sim_socket, loop_node)
    {
        if (s->handle == handle) return s;
    }
    return NULL;
}

static void cancel_receive(struct sim_pending *pending)
{
    pending->socket->receive = NULL;
    sim_complete(pending, -ERR_CANCELED);
}

static void start_receive(struct loop *loop, int socket, struct ring_op *op, void *into,
                          size_t bytes, bool is_multishot)
{
    struct sim_socket *s = find_socket(loop, socket);
    ASSERT(s != NULL && s->receive == NULL);
    s->receive = sim_pend(loop, op, NULL);
    s->receive->cancel = cancel_receive;
    s->receive->socket = s;
    s->receive->into = into;
    s->receive->bytes = bytes;
    s->is_multishot = is_multishot;
    feed_receive(s);
}

void loop_recv(struct loop *loop, int socket, void *into, size_t bytes, struct ring_op *op)
{
    start_receive(loop, socket, op, into, bytes, false);
}

void loop_recv_multishot(struct loop *loop, int socket, struct ring_op *op)
{
    start_receive(loop, socket, op, NULL, 0, true);
}

const char *loop_input_data(const struct loop *loop, uint16_t input)
{
    return loop->inputs + (size_t)input * LOOP_INPUT_BYTES;
}

void loop_input_release(struct loop *loop, uint16_t input)
{
    /* Who reads what it gave back finds this. */
    memset(loop->inputs + (size_t)input * LOOP_INPUT_BYTES, 0xA5, 64);
    ASSERT(loop->free_input_count < loop->options.input_count);
    loop->free_inputs[loop->free_input_count++] = input;
}

/* --- sending, of loops --- */

/* Takes as much of a send as the window allows; the send ends when all is taken. */
static void let_send_go_on(struct sim_socket *s)
{
    struct sim_pending *send = s->send;
    if (send == NULL || send->event.place != 0) return;
    size_t used = s->other->under_way_bytes + s->other->input_len;
    if (used >= WINDOW_BYTES) return;
    size_t room = WINDOW_BYTES - used, skip = send->offset;
    for (uint32_t i = 0; i < send->piece_count && room > 0; i++) {
        const struct iovec *piece = &send->pieces[i];
        if (skip >= piece->iov_len) {
            skip -= piece->iov_len;
            continue;
        }
        size_t bytes = MIN(piece->iov_len - skip, room);
        const char *at = (const char *)piece->iov_base + skip;
        skip = 0;
        room -= bytes;
        send->offset += bytes;
        if (!put_bytes(s, at, bytes)) {
            s->send = NULL;
            sim_complete(send, -ECONNRESET);
            get_reset(s);
            return;
        }
    }
    if (send->offset < send->bytes) return;
    s->send = NULL;
    sim_complete(send, (int)send->bytes);
}

static void do_send(struct sim_pending *pending)
{
    struct sim_socket *s = pending->socket;
    if (s->is_reset || s->other == NULL || s->has_sent_end) {
        s->send = NULL;
        sim_complete(pending, s->has_sent_end ? -EPIPE : -ECONNRESET);
        return;
    }
    let_send_go_on(s);
}

static void cancel_send(struct sim_pending *pending)
{
    int taken = (int)pending->offset;
    pending->socket->send = NULL;
    sim_complete(pending, taken > 0 ? taken : -ERR_CANCELED);
}

void loop_sendv(struct loop *loop, int socket, const struct iovec *pieces, uint32_t count,
                struct ring_op *op)
{
    struct sim_socket *s = find_socket(loop, socket);
    ASSERT(s != NULL && s->send == NULL);
    struct sim_pending *pending = sim_pend(loop, op, do_send);
    s->send = pending;
    pending->cancel = cancel_send;
    pending->socket = s;
    pending->pieces = pieces;
    pending->piece_count = count;
    for (uint32_t i = 0; i < count; i++)
        pending->bytes += pieces[i].iov_len;
    sim_after(&pending->event, sim_between(1000, 50000));
}

void loop_send(struct loop *loop, int socket, const void *data, size_t bytes, struct ring_op *op)
{
    struct sim_socket *s = find_socket(loop, socket);
    ASSERT(s != NULL && s->send == NULL);
    struct sim_pending *pending = sim_pend(loop, op, do_send);
    s->send = pending;
    pending->cancel = cancel_send;
    pending->socket = s;
    struct iovec *piece = xmalloc(sizeof(*piece));
    *piece = (struct iovec){(void *)(uintptr_t)data, bytes};
    pending->owned = piece;
    pending->pieces = piece;
    pending->piece_count = 1;
    pending->bytes = bytes;
    sim_after(&pending->event, sim_between(1000, 50000));
}

static void do_shutdown(struct sim_pending *pending)
{
    struct sim_socket *s = pending->socket;
    bool is_open = !s->is_reset && s->other != NULL && !s->has_sent_end;
    if (is_open) {
        put_piece(s->other, NULL, 0, true);
        s->has_sent_end = true;
    }
    sim_complete(pending, is_open ? 0 : -ENOTCONN);
}

void loop_shutdown_send(struct loop *loop, int socket, struct ring_op *op)
{
    struct sim_socket *s = find_socket(loop, socket);
    ASSERT(s != NULL);
    struct sim_pending *pending = sim_pend(loop, op, do_shutdown);
    pending->socket = s;
    sim_after(&pending->event, sim_between(1000, 50000));
}

/* --- the end of a loop's socket --- */

static void close_socket(struct sim_socket *s)
{
    ASSERT(s->receive == NULL && s->send == NULL);
    s->loop->socket_count--;
    s->is_closed = true;
    list_remove(&s->loop_node);
    if (s->other == NULL) {
        free_socket(s);
        return;
    }
    bool leaves_input = s->input_len > 0 || s->under_way_bytes > 0;
    if (leaves_input) { /* as TCP does it: unread bytes make it a reset */
        struct sim_socket *other = s->other;
        part(s);
        free_socket(s);
        get_reset(other);
        return;
    }
    if (!s->has_sent_end) put_piece(s->other, NULL, 0, true);
    s->has_sent_end = true;
}

static struct sim_listener *find_listener(int handle)
{
    struct sim_listener *l;
    LIST_FOR_EACH(l, &sim.listeners, struct sim_listener, node)
    {
        if (l->handle == handle) return l;
    }
    return NULL;
}

static void close_listener(struct sim_listener *l)
{
    struct list *node;
    while ((node = list_pop_front(&l->backlog)) != NULL) {
        struct sim_socket *s = LIST_ENTRY(node, struct sim_socket, loop_node);
        struct sim_socket *other = s->other;
        part(s);
        free_socket(s);
        if (other != NULL) get_reset(other);
    }
    ASSERT(list_is_empty(&l->accepts));
    list_remove(&l->node);
    free(l);
}

bool sim_net_close(struct loop *loop, int file)
{
    if (file < SIM_HANDLE_FIRST) return false;
    struct sim_listener *l = find_listener(file);
    if (l != NULL) {
        close_listener(l);
        return true;
    }
    struct sim_socket *s = find_socket(loop, file);
    ASSERT(s != NULL);
    close_socket(s);
    return true;
}

/* --- accepting --- */

int loop_listen(struct loop *loop, const struct endpoint *at, int backlog,
                struct endpoint *bound_out)
{
    (void)backlog;
    struct sim_listener *l = xcalloc(1, sizeof(*l));
    l->loop = loop;
    l->handle = new_handle();
    l->at = *at;
    if (endpoint_port(at) == 0) {
        if (sim.port_next == 0) sim.port_next = FIRST_PORT;
        l->at.addr.v4.sin_port = htons(sim.port_next++); /* of v6 in the same place */
    }
    list_init(&l->accepts);
    list_init(&l->backlog);
    list_push_back(&sim.listeners, &l->node);
    if (bound_out != NULL) *bound_out = l->at;
    return l->handle;
}

static void hand_over(struct sim_listener *l)
{
    while (!list_is_empty(&l->accepts) && !list_is_empty(&l->backlog)) {
        struct accept_slot *slot =
            LIST_ENTRY(list_pop_front(&l->accepts), struct accept_slot, node);
        struct sim_pending *pending = slot->pending;
        free(slot);
        if (sim_chance(sim_faults.accept_error)) {
            sim_complete(pending, sim_below(2) == 0 ? -ECONNABORTED : -EMFILE);
            continue;
        }
        struct sim_socket *s =
            LIST_ENTRY(list_pop_front(&l->backlog), struct sim_socket, loop_node);
        s->handle = new_handle();
        list_push_back(&l->loop->sockets, &s->loop_node);
        l->loop->socket_count++;
        *pending->peer_out = s->at;
        sim_complete(pending, s->handle);
    }
}

static void cancel_accept(struct sim_pending *pending)
{
    struct sim_listener *l = find_listener(pending->file);
    struct accept_slot *slot;
    LIST_FOR_EACH(slot, &l->accepts, struct accept_slot, node)
    {
        if (slot->pending != pending) continue;
        list_remove(&slot->node);
        free(slot);
        sim_complete(pending, -ERR_CANCELED);
        return;
    }
}

void loop_accept(struct loop *loop, int listener, struct endpoint *peer_out, struct ring_op *op)
{
    struct sim_listener *l = find_listener(listener);
    ASSERT(l != NULL);
    if (loop->socket_count >= loop->options.socket_count_max) {
        loop_defer(loop, op, -ENFILE);
        return;
    }
    struct accept_slot *slot = xcalloc(1, sizeof(*slot));
    slot->pending = sim_pend(loop, op, NULL);
    slot->pending->cancel = cancel_accept;
    slot->pending->file = listener;
    slot->pending->peer_out = peer_out;
    list_push_back(&l->accepts, &slot->node);
    hand_over(l);
}

static bool is_at(const struct endpoint *listening, const struct endpoint *to)
{
    if (endpoint_port(listening) != endpoint_port(to)) return false;
    struct endpoint any = *listening, exact = *to;
    if (any.addr.any.sa_family != exact.addr.any.sa_family) return false;
    if (any.addr.any.sa_family == AF_INET && any.addr.v4.sin_addr.s_addr == 0) return true;
    return any.addr.any.sa_family == AF_INET
               ? any.addr.v4.sin_addr.s_addr == exact.addr.v4.sin_addr.s_addr
               : memcmp(&any.addr.v6.sin6_addr, &exact.addr.v6.sin6_addr, 16) == 0;
}

/* --- connecting --- */

static struct sim_server *find_server(const struct endpoint *to)
{
    struct sim_server *server;
    LIST_FOR_EACH(server, &sim.servers, struct sim_server, node)
    {
        if (is_at(&server->at, to)) return server;
    }
    return NULL;
}

static void do_connect(struct sim_pending *pending)
{
    struct sim_server *server = find_server(&pending->address);
    if (server == NULL || sim_chance(sim_faults.refused)) {
        sim_complete(pending, -ECONNREFUSED);
        return;
    }
    struct sim_peer *peer = server->accept(server, &pending->address);
    if (peer == NULL) {
        sim_complete(pending, -ECONNRESET);
        return;
    }
    struct sim_socket *ours = make_socket(pending->loop, NULL), *theirs = make_socket(NULL, peer);
    ours->other = theirs;
    theirs->other = ours;
    ours->handle = new_handle();
    list_push_back(&pending->loop->sockets, &ours->loop_node);
    pending->loop->socket_count++;
    sim_complete(pending, ours->handle);
    peer->socket = theirs;
    if (peer->on_connected != NULL) peer->on_connected(peer);
}

static void cancel_connect(struct sim_pending *pending)
{
    sim_complete(pending, -ERR_CANCELED);
}

static void do_time_out(struct sim_pending *pending)
{
    sim_complete(pending, -ERR_TIMEOUT);
}

void loop_connect(struct loop *loop, const struct endpoint *to, const struct endpoint *from,
                  struct ring_op *op)
{
    (void)from;
    bool is_lost = sim_chance(sim_faults.connect_timeout);
    struct sim_pending *pending = sim_pend(loop, op, is_lost ? do_time_out : do_connect);
    pending->cancel = cancel_connect;
    pending->address = *to;
    sim_after(&pending->event,
              is_lost ? 127 * NS_PER_S
                      : sim_between(sim_faults.network_min_ns, sim_faults.network_max_ns));
}

void loop_connect_unix(struct loop *loop, const char *path, struct ring_op *op)
{
    (void)path; /* there are none here */
    loop_defer(loop, op, -ENOENT);
}

void loop_poll(struct loop *loop, int fd, uint32_t events, struct ring_op *op)
{
    (void)fd;
    (void)events;
    struct sim_pending *pending = sim_pend(loop, op, NULL); /* never ready */
    pending->cancel = cancel_connect;
}

/* --- peers --- */

void sim_server_listen(struct sim_server *server)
{
    list_push_back(&sim.servers, &server->node);
}

void sim_server_stop(struct sim_server *server)
{
    list_remove(&server->node);
}

void sim_peer_connect(struct sim_peer *peer, const struct endpoint *to, const struct endpoint *from)
{
    struct sim_listener *l, *found = NULL;
    uint64_t count = 0;
    LIST_FOR_EACH(l, &sim.listeners, struct sim_listener, node)
    {
        if (is_at(&l->at, to) && sim_below(++count) == 0) found = l; /* SO_REUSEPORT */
    }
    if (found == NULL) {
        peer->socket = NULL;
        peer->on_end(peer, -ECONNREFUSED);
        return;
    }
    struct sim_socket *theirs = make_socket(found->loop, NULL), *ours = make_socket(NULL, peer);
    theirs->other = ours;
    ours->other = theirs;
    theirs->at = *from;
    peer->socket = ours;
    list_push_back(&found->backlog, &theirs->loop_node);
    hand_over(found);
    if (peer->on_connected != NULL) peer->on_connected(peer);
}

void sim_peer_send(struct sim_peer *peer, struct slice bytes)
{
    struct sim_socket *s = peer->socket;
    if (s == NULL || s->other == NULL || s->has_sent_end) return;
    if (!put_bytes(s, bytes.data, bytes.len)) get_reset(s);
}

void sim_peer_close(struct sim_peer *peer)
{
    struct sim_socket *s = peer->socket;
    if (s == NULL) return;
    peer->socket = NULL;
    s->peer = NULL;
    s->is_closed = true;
    if (s->other == NULL) {
        free_socket(s);
        return;
    }
    if (!s->has_sent_end) put_piece(s->other, NULL, 0, true);
    s->has_sent_end = true;
}

void sim_peer_abort(struct sim_peer *peer)
{
    struct sim_socket *s = peer->socket;
    if (s == NULL) return;
    struct sim_socket *other = s->other;
    peer->socket = NULL;
    s->peer = NULL;
    part(s);
    free_socket(s);
    if (other != NULL) get_reset(other);
}

void sim_net_end(void)
{
    while (!list_is_empty(&sim.sockets))
        free_socket(LIST_ENTRY(sim.sockets.next, struct sim_socket, node));
}
