/* bounce_text.h - a notification about one message, piece by piece.
 *
 *     for (; !bounce_text_is_over(text); bounce_text_next(text))
 *         if (bounce_text_is_original(text)) ... copy it ... else bounce_text_write(text, out);
 *
 * What is written comes from the message, which must not change meanwhile, so that a piece can be
 * written again. Pure but for that. */
#pragma once

#include "server/config/config.h"
#include "server/mail/dsn.h"
#include "store/message.h"

#define BOUNCE_BOUNDARY_BYTES 40

struct bounce_text {
    const struct message *message;
    struct dsn dsn; /* its slices point into this struct, the message and the configuration */
    uint64_t retried_until_ms;
    uint32_t recipient; /* the one that is told of */
    uint32_t told;      /* recipients of its kind */
    uint8_t stage, kind;
    char id[MESSAGE_ID_TEXT], original_id[MESSAGE_ID_TEXT];
    char boundary[BOUNCE_BOUNDARY_BYTES], hostname[256];
};

/* About all recipients with a report, of which there is one at least. `id`: of the notification.
 * The configuration may go afterwards. */
void bounce_text_init(struct bounce_text *text, const struct message *message,
                      const struct config *config, uint64_t id, uint64_t now_ms);
bool bounce_text_is_over(const struct bounce_text *text);
/* The original comes next: the whole of it or its header, as text->dsn.original says. */
bool bounce_text_is_original(const struct bounce_text *text);
/* Appends the piece: at most DSN_PIECE_BYTES_MAX. */
void bounce_text_write(const struct bounce_text *text, struct buf *out);
void bounce_text_next(struct bounce_text *text);
