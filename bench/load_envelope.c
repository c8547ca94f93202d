/* load_envelope.c - a message from MAIL to the reply to its end of data.
 *
 * Two cursors over the script MAIL, RCPT..., DATA: `sent` runs ahead to the end of the group with
 * PIPELINING (RFC 2920), by one step without. The header section and what frames the body go
 * through the connection's output; the body itself is sent from the shared template. */
#include "bench/load_envelope.h"

#include "ring/base/clock.h"

#define COMMAND_BYTES_MAX (MESSAGE_ADDRESS_BYTES_MAX + 64)

/* Bodies above this count from when the kernel had taken all, not from when it was given them. */
#define SMALL_BODY_BYTES_MAX 65536

static bool is_pipelining(const struct load_session *s)
{
    return s->can_pipeline && s->run->options->is_pipelining;
}

/* The address of recipient `index`: user1@..., user2@... when there are several. */
static void append_recipient(const struct load_session *s, uint32_t index, struct buf *out)
{
    const struct load_options *options = s->run->options;
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

static void append_step(const struct load_session *s, uint32_t step, struct buf *out)
{
    if (step == 0) {
        buf_append_cstr(out, "MAIL FROM:<");
        buf_append_cstr(out, s->run->options->message.from);
        buf_append_char(out, '>');
        if (s->can_size) {
            buf_append_cstr(out, " SIZE=");
            buf_append_u64(out, s->message.bytes);
        }
        if (s->message.is_8bit && s->can_8bit) buf_append_cstr(out, " BODY=8BITMIME");
    } else if (step + 1 < s->step_count) {
        buf_append_cstr(out, "RCPT TO:<");
        append_recipient(s, step - 1, out);
        buf_append_char(out, '>');
    } else {
        buf_append_cstr(out, "DATA");
    }
    buf_append_cstr(out, "\r\n");
    ASSERT(!out->is_short);
}

static void fill(struct load_session *s)
{
    while (s->sent < s->step_count) {
        if (s->sent != s->answered && !is_pipelining(s)) break;
        char bytes[COMMAND_BYTES_MAX];
        struct buf command = {.data = bytes, .cap = sizeof(bytes)};
        append_step(s, s->sent, &command);
        if (!conn_write(&s->conn, buf_slice(&command))) break; /* goes on when all is sent */
        s->sent++;
    }
    conn_flush(&s->conn);
}

void load_envelope_start(struct load_session *s)
{
    load_session_go(s, LOAD_SESSION_ENVELOPE);
    s->sent = s->answered = 0;
    s->refusal = 0;
    s->accepted = 0;
    s->accepted_count = 0;
    s->end_of_data_ns = 0;
    fill(s);
}

static void settle(struct load_session *s, unsigned status)
{
    ASSERT(s->has_message);
    s->has_message = false;
    s->messages_here++;
    load_run_settle(s->run, &s->message, status, s->accepted, s->intended_ns, s->end_of_data_ns);
}

void load_session_settle_lost(struct load_session *s)
{
    if (s->has_message) settle(s, LEDGER_LOST);
}

/* The message will not be sent. Then the session goes on, unless the server is leaving. */
static void refuse(struct load_session *s, unsigned code, bool has_transaction)
{
    settle(s, code);
    if (code == 421) {
        load_session_lose(s);
    } else if (has_transaction) {
        load_session_go(s, LOAD_SESSION_RESET);
        if (conn_write(&s->conn, SLICE("RSET\r\n"))) {
            conn_flush(&s->conn);
        } else {
            load_session_lose(s);
        }
    } else {
        load_session_go(s, LOAD_SESSION_IDLE);
        load_session_poll(s);
    }
}

static void send_body(struct load_session *s)
{
    char bytes[MESSAGE_HEADER_BYTES_MAX];
    struct buf header = {.data = bytes, .cap = sizeof(bytes)};
    message_write_header(s->run->maker, &s->message, &header);
    ASSERT(!header.is_short);
    load_session_go(s, LOAD_SESSION_BODY);
    if (!conn_write(&s->conn, buf_slice(&header))) {
        load_session_lose(s);
        return;
    }
    s->end_of_data_ns = clock_monotonic_ns();
    conn_send_pieces(&s->conn, s->pieces, message_pieces(&s->message, s->pieces));
}

/* 354 although no recipient is left: an empty message ends it (RFC 2920 3.1). */
static void send_nothing(struct load_session *s)
{
    load_session_go(s, LOAD_SESSION_BODY);
    if (conn_write(&s->conn, SLICE(".\r\n"))) {
        conn_flush(&s->conn);
    } else {
        load_session_lose(s);
    }
}

static void on_data_reply(struct load_session *s, unsigned code)
{
    bool may_send = s->refusal == 0 && s->accepted_count > 0;
    if (code == 354 && may_send) {
        send_body(s);
    } else if (code == 354) {
        send_nothing(s);
    } else {
        refuse(s, s->refusal != 0 ? s->refusal : code, true);
    }
}

static void on_recipient_reply(struct load_session *s, uint32_t index, unsigned code)
{
    if (code >= 300) {
        s->run->counts.recipients_refused++;
        if (s->accepted_count == 0 && index + 3 == s->step_count) s->refusal = code;
        return;
    }
    char bytes[MESSAGE_ADDRESS_BYTES_MAX + 16];
    struct buf address = {.data = bytes, .cap = sizeof(bytes)};
    append_recipient(s, index, &address);
    s->accepted |= mark_recipient_bit(buf_slice(&address));
    s->accepted_count++;
}

void load_envelope_on_reply(struct load_session *s, unsigned code)
{
    if (s->answered == s->sent) { /* a reply to nothing */
        load_session_lose(s);
        return;
    }
    uint32_t step = s->answered++;
    if (code == 421) {
        refuse(s, code, false);
        return;
    }
    if (step + 1 == s->step_count) {
        on_data_reply(s, code);
        return;
    }
    if (step == 0) {
        if (code >= 300) s->refusal = code;
    } else if (s->refusal == 0) {
        on_recipient_reply(s, step - 1, code);
    }
    /* Once refused, nothing more is sent; a group that is on its way is read to its end. */
    if (s->refusal != 0 && s->answered == s->sent) {
        refuse(s, s->refusal, step > 0);
    } else if (s->refusal == 0) {
        fill(s);
    }
}

void load_body_on_reply(struct load_session *s, unsigned code)
{
    bool was_sent = s->refusal == 0;
    settle(s, was_sent ? code : s->refusal);
    if (code == 421) {
        load_session_lose(s);
    } else if (conn_is_flushed(&s->conn)) {
        load_session_go(s, LOAD_SESSION_IDLE);
        load_session_poll(s);
    } else {
        load_session_go(s, LOAD_SESSION_DRAIN);
    }
}

void load_message_on_sent(struct load_session *s)
{
    if (s->state == LOAD_SESSION_ENVELOPE && s->refusal == 0) {
        if (s->sent < s->step_count && is_pipelining(s)) fill(s);
    } else if (s->state == LOAD_SESSION_BODY) {
        if (s->message.bytes > SMALL_BODY_BYTES_MAX) s->end_of_data_ns = clock_monotonic_ns();
    } else if (s->state == LOAD_SESSION_DRAIN) {
        load_session_go(s, LOAD_SESSION_IDLE);
        load_session_poll(s);
    }
}
