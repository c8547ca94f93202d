/* data_oracle.h - what data_scan() must find, worked out the slow way: over the whole stream at
 * once, one byte at a time, from the words of RFC 5321 and not from a table of states. */
#pragma once

#include "server/smtp/data.h"

struct data_oracle {
    enum data_status status;
    size_t taken;
    unsigned faults;
    bool has_8bit;
};

/* The first CRLF "." CRLF ends the data, or "." CRLF in front of everything. */
static inline bool data_oracle_ends_at(struct slice in, size_t end)
{
    if (end == 3) return memcmp(in.data, ".\r\n", 3) == 0;
    return end >= 5 && memcmp(in.data + end - 5, "\r\n.\r\n", 5) == 0;
}

static inline struct data_oracle data_oracle_of(struct slice in)
{
    struct data_oracle o = {.status = DATA_MORE, .taken = in.len};
    for (size_t end = 3; end <= in.len && o.status == DATA_MORE; end++) {
        if (!data_oracle_ends_at(in, end)) continue;
        o.status = DATA_END;
        o.taken = end;
    }
    for (size_t i = 0; i < o.taken; i++) {
        unsigned char c = (unsigned char)in.data[i];
        bool is_behind_cr = i > 0 && in.data[i - 1] == '\r';
        if (c != '\n' && is_behind_cr) o.faults |= DATA_BARE_CR;
        if (c == '\n' && !is_behind_cr) o.faults |= DATA_BARE_LF;
        if (c == '\0') o.faults |= DATA_NUL;
        if (c > 127) o.has_8bit = true;
    }
    return o;
}
