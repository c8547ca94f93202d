/* conn.h - a byte stream over one socket, plain or under TLS, for a session that embeds it.
 *
 * Reading: small reads arrive in the loop's provided buffers (a multishot receive) and are shown to
 * the owner in place through on_input(), which returns how many bytes it took. What it leaves is
 * kept, in order, in a buffer that exists only while there is something to keep; it is shown
 * again, with what came after, on conn_read_on(). For bulk, the owner opens a window: bytes of the
 * stream then go into its own memory, at first by copy, and, once the multishot receive has
 * been ended, straight from the kernel.
 *
 * Writing: the owner appends to an output buffer that is borrowed while bytes are pending;
 * conn_flush() sends it. While a send runs, more may be appended: it goes with the next send.
 *
 * TLS: from conn_start_tls() on the stream is the plaintext inside TLS, and all functions and
 * handlers stay what they are. One thing differs: a window is filled by decrypting into it, never
 * by the kernel.
 *
 * Ending: conn_close() cancels what is in flight and calls on_closed() once nothing is: only then
 * may the owner free the memory. Nothing else of the owner is called after conn_close().
 *
 * Memory: sizeof(struct conn) while idle; the output and the kept input come from the pool of
 * struct conn_host, which is one per core. Under TLS OpenSSL's state of the connection comes on
 * top: while idle, some 15 KiB as a server, and up to 36 KiB as a client of TLS 1.3, where OpenSSL
 * keeps the buffer that it read the ticket with. */
#pragma once

#include "ring/base/buf.h"
#include "ring/base/memory.h"
#include "ring/loop.h"
#include "ring/timer.h"
#include "ring/tls.h"

#define CONN_OUTPUT_BYTES 4096 /* one output buffer */
/* Above this much kept input, receiving pauses. What the kernel has handed over by then is kept as
 * well: up to a MiB of a peer that sends without reading. */
#define CONN_KEPT_BYTES_MAX 65536
/* Above so much of all connections of a host, those that keep more than CONN_KEPT_FAIR_BYTES pause
 * as well. */
#define CONN_HOST_KEPT_BYTES_MAX (16u << 20)
#define CONN_KEPT_FAIR_BYTES 8192

#define CONN_UNTAKEN_MS 1000

struct conn;

struct conn_handler {
    /* Takes a prefix of `input` and returns its length. Called again only when more bytes came or
     * after conn_read_on(); never from inside a call of the owner. */
    size_t (*on_input)(struct conn *conn, struct slice input);
    /* `bytes` more of the window are filled (conn_window_open). */
    void (*on_window)(struct conn *conn, size_t bytes);
    /* All output has been sent; or conn_output_room() was 0 because the pool was empty, and now it
     * is not. */
    void (*on_sent)(struct conn *conn);
    /* The peer ended its half of the stream (0), or the connection failed (-ERR_*). Called once,
     * after all input before it was shown and taken, or at once for a failure. Input that the owner
     * leaves untaken, a part of a line for one, holds this back for CONN_UNTAKEN_MS after the end
     * or the last conn_read_on(), and can be read on afterwards. When a send fails after the end
     * was told, on_sent() is called as if it had been sent. */
    void (*on_end)(struct conn *conn, int err);
    /* Nothing is in flight any more: the owner may free the memory. */
    void (*on_closed)(struct conn *conn);
    /* The TLS handshake is done: what is written and read from here on is secret. NULL is allowed;
     * without it, on_input() and on_sent() tell. A handshake that fails ends in on_end() with
     * -ERR_TLS, and conn_tls_error() says why. */
    void (*on_secured)(struct conn *conn);
};

/* What the connections of one core share. */
struct conn_host {
    struct loop *loop;
    struct slab outputs;     /* CONN_OUTPUT_BYTES each */
    struct list room_wanted; /* connections that were refused an output */
    uint64_t kept_bytes;     /* held by all connections */
};

void conn_host_init(struct conn_host *host, struct loop *loop, size_t output_count_max);
void conn_host_finish(struct conn_host *host);

/* The fields belong to conn*.c; the enums are in conn_internal.h. */
struct conn {
    struct conn_host *host;
    const struct conn_handler *handler;
    int socket;
    uint8_t life, receiving, sending, showing, end; /* enum conn_life, conn_receiving ... */
    uint8_t inflight;
    bool is_recv_canceled, is_show_wanted, is_show_deferred, is_room_due, is_tls_begun;
    bool wipes_input; /* conn_wipe_input() */
    struct list room_node;
    struct ring_op recv_op, send_op, show_op, close_op;
    struct timer timer;
    char *window; /* where the next byte goes; NULL: none is open */
    size_t window_bytes;
    char *kept; /* input not yet taken */
    uint32_t kept_at, kept_len, kept_cap;
    uint16_t output_len;
    char *output, *output_sent; /* buffers of the pool, or NULL: appended to, and being sent */
    const struct iovec *pieces; /* conn_send_pieces() until its end */
    uint32_t piece_count;
    size_t sending_bytes;
    struct conn_tls *tls; /* NULL: plain */
};

/* Starts reading. `socket` is owned by the connection from here on. */
void conn_open(struct conn *conn, struct conn_host *host, const struct conn_handler *handler,
               int socket);

/* Room in the output buffer now: 0 when the pool is empty. */
size_t conn_output_room(struct conn *conn);
/* Appends all of `bytes`, or nothing and returns false when there is no room: the owner flushes,
 * stops taking input and goes on in on_sent(). */
MUST_USE bool conn_write(struct conn *conn, struct slice bytes);
/* Starts a send of what was appended, unless one runs already. */
void conn_flush(struct conn *conn);
/* Sends the appended bytes and then `pieces`, which are borrowed until on_sent(). One call at a
 * time; conn_write() is refused meanwhile. For message bodies. */
void conn_send_pieces(struct conn *conn, const struct iovec *pieces, uint32_t count);
/* True when nothing appended is unsent. */
bool conn_is_flushed(const struct conn *conn);

/* While on: input that had to be kept is wiped where it lay and where it was kept. For what may
 * hold a password; the owner wipes what it takes. */
static inline void conn_wipe_input(struct conn *conn, bool is_on)
{
    conn->wipes_input = is_on;
}
/* True when input is kept that was not taken yet. Inside on_input(): before this call. */
static inline bool conn_has_kept(const struct conn *conn)
{
    return conn->kept_len > 0;
}
/* Shows kept input to on_input() again, in this turn, after the owner's call has returned. */
void conn_read_on(struct conn *conn);
/* Directs the stream into `into` until `bytes` are there or the window is closed; kept input is
 * moved there first. on_window() reports each part that was filled, never inside this call. The
 * first fill is by copy; the multishot receive is ended meanwhile, and from then on the kernel
 * receives into `into` itself, one receive at a time and none while on_window() runs. A window that
 * is full is closed. The memory is the connection's until the window is closed, or on_closed(). */
void conn_window_open(struct conn *conn, void *into, size_t bytes);
/* Ends the window and goes back to on_input(); only from inside on_window(), or while no receive
 * into it can have begun: in the call of the owner that opened it. No effect when none is open. */
void conn_window_close(struct conn *conn);
/* Puts `bytes` in front of the kept input: the part of a full window that was beyond what the owner
 * wanted (commands after the end of the data). Not from inside on_input(), which returns what it
 * leaves. They are shown when more comes, on conn_read_on(), or after on_window() returned. */
void conn_unread(struct conn *conn, struct slice bytes);

/* --- TLS --- */

/* Bytes that came before conn_start_tls() and were not taken: under STARTTLS somebody put them
 * there who hopes that they are taken for a part of the secured session (RFC 3207 section 4.2,
 * CVE-2011-0411). They never are. */
enum conn_before_tls {
    CONN_BEFORE_TLS_REFUSE,  /* on_end() with -ERR_TLS, when there are any */
    CONN_BEFORE_TLS_DISCARD, /* as if they had not come */
    CONN_BEFORE_TLS_IS_TLS,  /* they are the first of the handshake: implicit TLS after a header
                              * of a proxy; never after STARTTLS */
};

/* Begins TLS on an open connection, once: as server or client as `context` is, which is borrowed.
 * What was appended before goes out first, in the clear, so that a server calls this right after it
 * has written its 220, inside on_input() too: what the call of on_input() leaves untaken falls
 * under `before`. No window may be open and no pieces be unsent; not from inside on_window().
 *
 * `server_name` is for clients: the name the server is asked for and, where the context verifies,
 * must have; an address is only verified. NULL: none is asked for and any will do; sessions to all
 * such servers are taken for the same. It is copied.
 *
 * What is appended from now on waits for the end of the handshake. A handshake has no time limit
 * here: the owner's own deadline holds for it. conn_finish() before its end sends none of what
 * waits. Returns 0, -ERR_MEMORY, or -ERR_INVALID for a name that cannot be one; after a failure
 * nothing has changed. When the connection is no longer open it does nothing and returns 0. */
MUST_USE int conn_start_tls(struct conn *conn, struct tls_context *context, const char *server_name,
                            enum conn_before_tls before);
/* True from on_secured() on. */
bool conn_is_secured(const struct conn *conn);
/* False, and *info_out is all zero, before on_secured(). */
bool conn_tls_info(const struct conn *conn, struct tls_info *info_out);
/* What on_end() meant by -ERR_TLS, one line for a log: bytes of the peer's making may be in it.
 * NULL when nothing went wrong; valid until on_closed(). */
const char *conn_tls_error(const struct conn *conn);
/* In and after on_end() with 0: the peer's TCP stream ended without the end that TLS asks for.
 * Somebody between may have cut it. For SMTP, whose messages have an end of their own, this is
 * common and harmless: what is not ended is dropped either way. */
bool conn_tls_is_truncated(const struct conn *conn);

/* Flushes, ends the sending half, waits a moment (CONN_LINGER_MS) for the peer to end its own, and
 * closes: an orderly FIN even when unread input is left. What arrives meanwhile is discarded, and
 * of the owner only on_closed() is called; windows and pieces stay borrowed until then. A peer that
 * takes nothing is cut off after CONN_FLUSH_MS_MAX.
 *
 * The sending half is ended only CONN_FIN_DELAY_MS after the last byte: most peers close as soon as
 * they have read the last reply, and then one close is all there is to do. */
#define CONN_FLUSH_MS_MAX 30000
#define CONN_FIN_DELAY_MS 10
#define CONN_LINGER_MS 1000
void conn_finish(struct conn *conn);
/* Closes now. */
void conn_close(struct conn *conn);
