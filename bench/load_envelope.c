/* load_envelope.c - a message from MAIL to the reply to its end of data.
 *
 * Two cursors over the script MAIL, RCPT..., DATA: `sent` runs ahead to the end of the group with
 * PIPELINING (RFC 2920), by one step without. With BDAT (RFC 3030) each chunk is a step in DATA's
 * place, and belongs to the group as well. */
#include "bench/load_envelope.h"

#include "bench/load_body.h"
#include "ring/base/clock.h"

#define COMMAND_BYTES_MAX (MESSAGE_ADDRESS_BYTES_MAX + 64)

/* Bodies above this count from when the kernel had taken all, not from when it was given them. */
#define SMALL_BODY_BYTES_MAX 65536

static bool is_pipelining(const struct load_session *s)
{
    return s->link.can_pipeline && s->core->options->pipelining == LOAD_PIPELINING_ON;
}

static bool is_bdat(const struct load_session *s)
{
    return s->core->options->transfer == LOAD_TRANSFER_BDAT;
}

/* Steps before DATA, or the first BDAT. */
static uint32_t envelope_steps(const struct load_session *s)
{
    return s->core->options->recipients + 1;
}

static uint32_t count_steps(const struct load_session *s)
{
    if (!is_bdat(s)) return envelope_steps(s) + 1;
    uint64_t chunk = s->core->options->chunk_bytes;
    return envelope_steps(s) + (uint32_t)((load_body_bytes(s) + chunk - 1) / chunk);
}

/* --- commands --- */

/* The address of recipient `index`: user1@..., user2@... when there are several. */
static void append_recipient(const struct load_session *s, uint32_t index, struct buf *out)
{
    const struct load_options *options = s->core->options;
    struct slice to = slice_of_cstr(options->message.to);
    if (options->recipients == 1) {
        buf_append_slice(out, to);
        return;
    }
    size_t local_len = strcspn(to.data, "@");
    buf_append(out, to.data, local_len);
    buf_append_u64(out, index + 1u);
    buf_append_slice(out, slice_from(to, local_len));
}

static void append_mail(const struct load_session *s, struct buf *out)
{
    buf_append_cstr(out, "MAIL FROM:<");
    buf_append_cstr(out, s->core->options->message.from);
    buf_append_char(out, '>');
    if (s->link.can_size) {
        buf_append_cstr(out, " SIZE=");
        buf_append_u64(out, s->message.bytes);
    }
    if (s->message.is_8bit && s->link.can_8bit) buf_append_cstr(out, " BODY=8BITMIME");
}

/* The bytes of the message that the BDAT of `step` carries. */
static void chunk_of(const struct load_session *s, uint32_t step, uint64_t *from, uint64_t *to)
{
    uint64_t chunk = s->core->options->chunk_bytes;
    *from = (step - envelope_steps(s)) * chunk;
    *to = MIN(*from + chunk, load_body_bytes(s));
}

static void append_bdat(const struct load_session *s, uint32_t step, struct buf *out)
{
    uint64_t from, to;
    chunk_of(s, step, &from, &to);
    buf_append_cstr(out, "BDAT ");
    buf_append_u64(out, to - from);
    if (step + 1 == s->step_count) buf_append_cstr(out, " LAST");
}

static void append_step(const struct load_session *s, uint32_t step, struct buf *out)
{
    if (step == 0) {
        append_mail(s, out);
    } else if (step < envelope_steps(s)) {
        buf_append_cstr(out, "RCPT TO:<");
        append_recipient(s, step - 1, out);
        buf_append_char(out, '>');
    } else if (is_bdat(s)) {
        append_bdat(s, step, out);
    } else {
        buf_append_cstr(out, "DATA");
    }
    buf_append_cstr(out, "\r\n");
    ASSERT(!out->is_short);
}

/* Sends the command of the next step, and a chunk with it. False when there is no room yet: it goes
 * on when all is sent. */
static bool send_step(struct load_session *s)
{
    uint32_t step = s->sent;
    bool is_chunk = is_bdat(s) && step >= envelope_steps(s);
    size_t room = COMMAND_BYTES_MAX + (is_chunk ? MESSAGE_HEADER_BYTES_MAX : 0);
    if (conn_output_room(&s->link.conn) < room) return false;
    char bytes[COMMAND_BYTES_MAX];
    struct buf command = {.data = bytes, .cap = sizeof(bytes)};
    append_step(s, step, &command);
    if (!conn_write(&s->link.conn, buf_slice(&command))) return false;
    s->sent++;
    if (!is_chunk) return true;

    uint64_t from, to;
    chunk_of(s, step, &from, &to);
    if (s->sent == s->step_count) {
        load_session_go(s, LOAD_SESSION_BODY);
        s->end_of_data_ns = clock_monotonic_ns();
    }
    load_body_send(s, from, to);
    return true;
}

static void fill(struct load_session *s)
{
    bool has_room = true;
    while (has_room && s->sent < s->step_count && s->body_at == s->body_end) {
        if (s->sent != s->answered && !is_pipelining(s)) break;
        has_room = send_step(s);
    }
    conn_flush(&s->link.conn);
    load_link_expect(&s->link, s->body_end);
}

void load_envelope_start(struct load_session *s)
{
    load_session_go(s, LOAD_SESSION_ENVELOPE);
    s->step_count = count_steps(s);
    s->sent = s->answered = 0;
    s->refusal = 0;
    s->accepted = 0;
    s->accepted_count = 0;
    s->end_of_data_ns = 0;
    s->body_at = s->body_end = 0;
    fill(s);
}

/* --- the fate --- */

static void settle(struct load_session *s, unsigned status)
{
    ASSERT(s->has_message);
    s->has_message = false;
    s->messages_here++;
    load_core_settle(s->core, &s->message,
                     &(struct load_fate){.status = status,
                                         .recipients = s->accepted,
                                         .intended_ns = s->intended_ns,
                                         .end_of_data_ns = s->end_of_data_ns,
                                         .is_slow = s->is_slow});
}

void load_envelope_settle_lost(struct load_session *s)
{
    /* What was refused before is known, though the rest of the group was not answered. */
    if (s->has_message) settle(s, s->refusal != 0 ? s->refusal : LEDGER_LOST);
}

static void reset(struct load_session *s)
{
    load_session_go(s, LOAD_SESSION_RESET);
    load_link_say(&s->link, SLICE("RSET\r\n"));
}

/* The message is settled: goes on with the next, when all of it is sent. */
static void go_on(struct load_session *s, bool wants_reset)
{
    s->wants_reset = wants_reset;
    if (!load_body_is_sent(s)) {
        load_session_go(s, LOAD_SESSION_DRAIN);
        load_body_hurry(s);
    } else if (wants_reset) {
        reset(s);
    } else {
        load_session_become_idle(s);
    }
}

/* The message is refused. The session goes on, unless the server is leaving. */
static void refuse(struct load_session *s, unsigned code, bool has_transaction, struct slice line)
{
    settle(s, code);
    s->refusal = code;
    if (code == 421) {
        load_link_lose_for(&s->link, "the server is leaving", line);
    } else {
        go_on(s, has_transaction);
    }
}

static void send_body(struct load_session *s)
{
    load_session_go(s, LOAD_SESSION_BODY);
    s->end_of_data_ns = clock_monotonic_ns();
    uint64_t bytes = load_body_bytes(s);
    load_link_expect(&s->link, bytes);
    load_body_send(s, 0, bytes);
}

/* 354 although no recipient is left: an empty message ends it (RFC 2920 3.1). */
static void send_nothing(struct load_session *s)
{
    load_session_go(s, LOAD_SESSION_BODY);
    load_link_say(&s->link, SLICE(".\r\n"));
}

/* --- replies --- */

static void on_data_reply(struct load_session *s, unsigned code, struct slice line)
{
    bool may_send = s->refusal == 0 && s->accepted_count > 0;
    if (code == 354 && may_send) {
        send_body(s);
    } else if (code == 354) {
        send_nothing(s);
    } else if (code < 400 && may_send) {
        load_link_lose_for(&s->link, "the server answered DATA with", line);
    } else {
        refuse(s, s->refusal != 0 ? s->refusal : code, true, line);
    }
}

/* To the end of the data: with DATA, or the last BDAT. */
static void on_end_reply(struct load_session *s, unsigned code, struct slice line)
{
    if (s->refusal == 0 && code >= 300 && code < 400) {
        load_link_lose_for(&s->link, "the server answered the end of the data with", line);
        return;
    }
    unsigned status = s->refusal != 0 ? s->refusal : code;
    if (status >= 300) {
        /* After a BDAT that failed, the transaction is open until RSET (RFC 3030 2). */
        refuse(s, status, is_bdat(s), line);
    } else {
        settle(s, status);
        go_on(s, false);
    }
}

static void on_recipient_reply(struct load_session *s, uint32_t index, unsigned code)
{
    if (code >= 300) {
        s->core->counts.recipients_refused++;
        if (s->accepted_count == 0 && index + 1 == s->core->options->recipients) s->refusal = code;
        return;
    }
    char bytes[MESSAGE_ADDRESS_BYTES_MAX + 16];
    struct buf address = {.data = bytes, .cap = sizeof(bytes)};
    append_recipient(s, index, &address);
    s->accepted |= mark_recipient_bit(buf_slice(&address));
    s->accepted_count++;
}

static void note_refusal(struct load_session *s, uint32_t step, struct slice line)
{
    struct load_problem *first = &s->core->refusal;
    if (first->at_ns != 0) return;
    char quote[128];
    bool is_body = !is_bdat(s) && s->state == LOAD_SESSION_BODY;
    const char *to = is_body                    ? "the end of the data"
                     : step == 0                ? "MAIL"
                     : step < envelope_steps(s) ? "RCPT"
                     : is_bdat(s)               ? "BDAT"
                                                : "DATA";
    first->at_ns = clock_monotonic_ns();
    struct buf text = {.data = first->text, .cap = sizeof(first->text) - 1};
    buf_append_format(&text, "%s: \"%s\"", to, load_core_escape(line, quote, sizeof(quote)));
    first->text[text.len] = '\0';
}

/* A reply to a step before the last. */
static void on_step_reply(struct load_session *s, uint32_t step, unsigned code, struct slice line)
{
    if (s->refusal == 0) {
        if (step > 0 && step < envelope_steps(s)) {
            on_recipient_reply(s, step - 1, code);
        } else if (code >= 300) {
            s->refusal = code;
        }
    }
    /* Once refused, nothing more is sent; a group that is on its way is read to its end. */
    if (s->refusal == 0) {
        fill(s);
    } else if (s->answered == s->sent) {
        refuse(s, s->refusal, step > 0, line);
    } else {
        load_body_hurry(s);
    }
}

void load_envelope_on_reply(struct load_session *s, unsigned code, struct slice line)
{
    uint32_t step = s->answered;
    if (code >= 400) note_refusal(s, step, line);
    if (!is_bdat(s) && s->state == LOAD_SESSION_BODY) {
        on_end_reply(s, code, line);
        return;
    }
    if (step == s->sent) {
        load_link_lose_for(&s->link, "the server sent a reply to nothing", line);
        return;
    }
    s->answered++;
    if (code == 421) {
        refuse(s, code, false, line);
    } else if (step + 1 < s->step_count) {
        on_step_reply(s, step, code, line);
    } else if (is_bdat(s)) {
        on_end_reply(s, code, line);
    } else {
        on_data_reply(s, code, line);
    }
}

void load_envelope_on_sent(struct load_session *s)
{
    if (s->state == LOAD_SESSION_DRAIN) {
        go_on(s, s->wants_reset);
        return;
    }
    bool is_large = s->message.bytes > SMALL_BODY_BYTES_MAX;
    if (s->state == LOAD_SESSION_BODY && (is_large || s->is_slow)) {
        s->end_of_data_ns = clock_monotonic_ns();
        load_link_expect(&s->link, 0);
    } else if (s->state == LOAD_SESSION_ENVELOPE && s->refusal == 0 && s->sent < s->step_count) {
        fill(s);
    }
}
