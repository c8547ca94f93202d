/* tls_server.h - the two servers that `tls` compares: one of ours, and openssl s_server.
 *
 * Ours answers a line with the line, as s_server does when it turns lines around (-rev). A line
 * that begins with "S" it answers without end, and after one that begins with "B" it takes all and
 * answers nothing. */
#pragma once

#include "bench/tls_process.h"

enum tls_server_kind { TLS_SERVER_OURS, TLS_SERVER_OPENSSL };

struct tls_server_settings {
    unsigned cpu;
    const char *certificate, *key;
    uint32_t connections;
    bool is_plain; /* ours: without TLS */
};

/* Both return with the server listening at *at_out, or end the process with a line. */
struct tls_process tls_server_start(enum tls_server_kind kind,
                                    const struct tls_server_settings *settings,
                                    struct endpoint *at_out);
