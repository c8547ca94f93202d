/* client_reply.c - a byte-wise state machine over reply lines.
 *
 *     CODE (3 digits) -> SEPARATOR -> TEXT -> LF -> CODE of the next line, or done
 *
 * Replies are short, so a switch per byte is cheap enough, and it keeps every check in one place.
 */
#include "server/delivery/client_reply.h"

enum {
    ST_CODE_1,
    ST_CODE_2,
    ST_CODE_3,
    ST_SEPARATOR,
    ST_TEXT,      /* of a line that others follow */
    ST_LAST_TEXT, /* of the last line */
    ST_LF,
    ST_LAST_LF,
};

void client_reply_reset(struct client_reply *reply)
{
    reply->code = 0;
    reply->text_len = 0;
    reply->line_at = 0;
    reply->line_code = 0;
    reply->line_bytes = 0;
    reply->line_count = 0;
    reply->state = ST_CODE_1;
}

static void keep(struct client_reply *reply, char c)
{
    if (reply->text_len < sizeof(reply->text)) reply->text[reply->text_len++] = c;
}

/* The three digits, each in its range: 2-5, 0-9, 0-9. */
static bool take_digit(struct client_reply *reply, char c)
{
    if (c < '0' || c > '9') return false;
    if (reply->state == ST_CODE_1 && (c < '2' || c > '5')) return false;
    reply->line_code = (uint16_t)(reply->line_code * 10 + (c - '0'));
    if (reply->line_count == 0) keep(reply, c);
    reply->state++;
    return true;
}

/* What follows the code: a hyphen, a space, or the end of the line at once. */
static bool take_separator(struct client_reply *reply, char c)
{
    if (reply->line_count == 0) reply->code = reply->line_code;
    if (reply->line_code != reply->code) return false;
    if (c != '-' && c != ' ' && c != '\r') return false;
    if (c != '\r') keep(reply, ' ');
    reply->line_at = reply->text_len;
    reply->state = c == '-' ? ST_TEXT : c == ' ' ? ST_LAST_TEXT : ST_LAST_LF;
    return true;
}

static bool take_text(struct client_reply *reply, char c)
{
    if (c == '\0' || c == '\n') return false;
    if (c == '\r') {
        reply->state = reply->state == ST_TEXT ? ST_LF : ST_LAST_LF;
    } else {
        keep(reply, c);
    }
    return true;
}

static enum client_reply_status end_line(struct client_reply *reply, char c)
{
    if (c != '\n') return CLIENT_REPLY_BROKEN;
    bool is_last = reply->state == ST_LAST_LF;
    reply->line_count++;
    if (is_last) return CLIENT_REPLY_DONE;
    if (reply->line_count >= CLIENT_REPLY_LINES_MAX) return CLIENT_REPLY_BROKEN;
    reply->line_code = 0;
    reply->line_bytes = 0;
    reply->state = ST_CODE_1;
    return CLIENT_REPLY_LINE;
}

static enum client_reply_status take_byte(struct client_reply *reply, char c)
{
    if (++reply->line_bytes > CLIENT_REPLY_LINE_BYTES_MAX) return CLIENT_REPLY_BROKEN;
    bool is_good = false;
    switch (reply->state) {
    case ST_CODE_1:
    case ST_CODE_2:
    case ST_CODE_3:
        is_good = take_digit(reply, c);
        break;
    case ST_SEPARATOR:
        is_good = take_separator(reply, c);
        break;
    case ST_TEXT:
    case ST_LAST_TEXT:
        is_good = take_text(reply, c);
        break;
    default:
        return end_line(reply, c);
    }
    return is_good ? CLIENT_REPLY_MORE : CLIENT_REPLY_BROKEN;
}

enum client_reply_status client_reply_feed(struct client_reply *reply, struct slice in,
                                           size_t *taken_out)
{
    ASSERT(reply->state <= ST_LAST_LF);
    enum client_reply_status status = CLIENT_REPLY_MORE;
    size_t at = 0;
    while (at < in.len && status == CLIENT_REPLY_MORE)
        status = take_byte(reply, in.data[at++]);
    *taken_out = at;
    return status;
}

struct slice client_reply_line(const struct client_reply *reply)
{
    ASSERT(reply->line_at <= reply->text_len);
    return slice_of(reply->text + reply->line_at, (size_t)(reply->text_len - reply->line_at));
}

void client_reply_forget_text(struct client_reply *reply)
{
    reply->text_len = 0;
    reply->line_at = 0;
}

struct slice client_reply_text(const struct client_reply *reply)
{
    return slice_of(reply->text, reply->text_len);
}
