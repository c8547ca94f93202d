/* ingress.h - the receiving half of one core: listeners, sessions, accepted messages.
 *
 * A connection is accepted, counted against its limits and becomes a session; a session's messages
 * go into the queue; one that is durable and still in memory is handed to on_message(). */
#pragma once

#include "ring/listener.h"
#include "server/ingress/clients.h"
#include "server/policy/routing.h"
#include "server/smtp/command.h"
#include "server/smtp/reply.h"
#include "store/queue.h"

struct ingress;

/* What a reply answers: the `verb` label. The first VERB_COUNT are the commands. */
enum reply_to {
    REPLY_TO_CONNECT = VERB_COUNT, /* the banner, or its refusal */
    REPLY_TO_END_OF_DATA,
    REPLY_TO_NOTHING, /* a reply the client did not ask for: 421 */
    REPLY_TO_COUNT,
};

/* The codes that replies can have; others (of `reject` routes) are counted by their first digit. */
enum { REPLY_CODE_COUNT = 31 };
extern const uint16_t ingress_codes[REPLY_CODE_COUNT];
unsigned ingress_code_index(unsigned code);

enum ingress_tls_version {
    INGRESS_TLS_UNKNOWN,
    INGRESS_TLS_1_2,
    INGRESS_TLS_1_3,
    INGRESS_TLS_VERSION_COUNT
};
enum ingress_tls_result {
    INGRESS_TLS_FULL,
    INGRESS_TLS_RESUMED,
    INGRESS_TLS_FAILED,
    INGRESS_TLS_RESULT_COUNT
};
enum ingress_auth_result {
    INGRESS_AUTH_OK,
    INGRESS_AUTH_FAILED,
    INGRESS_AUTH_THROTTLED,
    INGRESS_AUTH_ERROR,
    INGRESS_AUTH_RESULT_COUNT
};

struct ingress_listener_counters {
    struct counter connections; /* open now */
    struct counter accepted, refused_full, refused_client, refused_resources;
    struct counter messages, message_bytes;
    struct counter probes;        /* connections of a proxy's own */
    struct counter proxy_refused; /* no header, a bad one, or from a peer that is not listed */
    struct counter handshakes[INGRESS_TLS_VERSION_COUNT][INGRESS_TLS_RESULT_COUNT];
    struct counter auth[INGRESS_AUTH_RESULT_COUNT];
    struct counter replies[REPLY_TO_COUNT][REPLY_CODE_COUNT];
    struct counter rejections[REPLY_COUNT]; /* by reason: replies of 4yz and 5yz */
    struct counter rejections_by_route;
};

/* What all cores share. The pointers outlive every ingress. */
struct ingress_shared {
    struct clients *clients;
    uint64_t *listener_connections; /* atomic, one a listener: open on all cores */
    uint64_t *listener_handshakes;  /* the same of TLS handshakes under way */
    struct auth_verifier *verifier; /* NULL: no listener has AUTH */
    struct auth_throttle *throttle;
};

/* What a listener's configuration names and this core uses: made before it is put in force. */
struct ingress_security {
    struct tls_context *tls;   /* this core's own; NULL: no TLS */
    const struct users *users; /* of all cores; NULL: no AUTH */
};

struct ingress_options {
    struct loop *loop;
    struct queue *queue;
    struct resolver *resolver;   /* the core's: sender domains and clients' names */
    const struct config *config; /* replaced by ingress_reconfigure() */
    const struct routing *routing;
    const struct ingress_security *security; /* one a listener; replaced in the same way */
    const struct ingress_shared *shared;
    unsigned core_index, core_count;
    uint32_t session_count_max; /* on this core; more are told 421 4.3.0 */
    void (*on_message)(void *owner, struct message *message); /* takes it */
    void (*on_spill)(void *owner); /* a message was stored and is not in memory */
    void *owner;
};

/* Never fails but for memory. */
struct ingress *ingress_create(const struct ingress_options *options);
/* Opens all addresses of the configuration. `addresses` holds one endpoint for each address of each
 * listener in order: an address with port 0 is replaced by what was bound. On failure the one that
 * could not be opened is in *failed_out. */
MUST_USE int ingress_listen(struct ingress *ingress, struct endpoint *addresses,
                            const struct endpoint **failed_out);
void ingress_reconfigure(struct ingress *ingress, const struct config *config,
                         const struct routing *routing, const struct ingress_security *security);
/* Closes the listeners; tells sessions that are not inside a message 421 4.3.2; lets open messages
 * end, for `timeout_ms`. drained(owner) runs when no session is left. */
void ingress_drain(struct ingress *ingress, uint64_t timeout_ms, void (*drained)(void *owner));
/* No session may be left. NULL is allowed. */
void ingress_destroy(struct ingress *ingress);

/* For the control thread: one set for each listener, in the order of the configuration. */
const struct ingress_listener_counters *ingress_counters(const struct ingress *ingress,
                                                         size_t listener_index);
/* End of the data to 250. */
const struct histogram *ingress_accept_duration(const struct ingress *ingress);
