/* raw_oracle.h - what raw_scan() must find and raw_normalize() must write, worked out the slow way:
 * over the whole content at once, with every byte looked at beside its neighbours. */
#pragma once

#include "server/smtp/raw.h"

struct raw_oracle {
    unsigned faults;
    bool has_8bit;
};

static inline bool raw_oracle_has_lf(struct slice in, size_t at)
{
    return at + 1 < in.len && in.data[at + 1] == '\n';
}

static inline struct raw_oracle raw_oracle_of(struct slice in)
{
    struct raw_oracle o = {0};
    size_t line = 0; /* where the present line began */
    for (size_t at = 0; at < in.len; at++) {
        char c = in.data[at];
        bool is_behind_cr = at > 0 && in.data[at - 1] == '\r';
        bool is_line_end = c == '\r' && raw_oracle_has_lf(in, at);
        if (c == '\r' && !is_line_end) o.faults |= DATA_BARE_CR;
        if (c == '\n' && !is_behind_cr) o.faults |= DATA_BARE_LF;
        if (c == '\0') o.faults |= DATA_NUL;
        if ((unsigned char)c > 127) o.has_8bit = true;
        if (!is_line_end && at >= line && at - line + 1 > DATA_LINE_BYTES_MAX)
            o.faults |= DATA_LONG_LINE;
        if (is_line_end) line = at + 2;
    }
    return o;
}

/* `out` has room for twice the content. */
static inline void raw_oracle_normalize(struct slice in, struct buf *out)
{
    for (size_t at = 0; at < in.len; at++) {
        char c = in.data[at];
        if (c == '\n')
            buf_append(out, "\r\n", 2);
        else if (c != '\r')
            buf_append_char(out, c);
        else if (!raw_oracle_has_lf(in, at))
            buf_append_char(out, ' ');
    }
}
