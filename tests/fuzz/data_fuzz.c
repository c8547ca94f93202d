/* The scanners of DATA and of BDAT, and their normalizers, against the oracles. The first two bytes
 * choose the size of the pieces and the room for the output. */
#include "tests/support/data_oracle.h"
#include "tests/support/raw_oracle.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_scan(struct slice in, size_t piece_max, const struct data_oracle *want)
{
    struct data_scanner s;
    enum data_status status = DATA_MORE;
    size_t at = 0;
    data_init(&s);
    while (status == DATA_MORE && at < in.len) {
        size_t taken, piece = MIN(piece_max, in.len - at);
        status = data_scan(&s, slice_of(in.data + at, piece), &taken);
        ASSERT(taken == piece || status == DATA_END);
        at += taken;
    }
    ASSERT(status == want->status && at == want->taken && s.bytes == at);
    ASSERT(s.faults == want->faults && s.has_8bit == want->has_8bit);
    if (status == DATA_END) ASSERT(data_content_bytes(&s) == at - 3);
}

/* What comes out must hold one end, its last bytes, and no stray CR or LF. */
static void check_normalize(struct slice in, size_t room, const struct data_oracle *want)
{
    struct buf all = {malloc(2 * in.len + 1), 0, 2 * in.len, false};
    struct data_scanner s;
    enum data_status status = DATA_MORE;
    size_t at = 0;
    data_init(&s);
    while (status == DATA_MORE && at < in.len) {
        struct buf some = {all.data + all.len, 0, MIN(room, buf_room(&all)), false};
        size_t taken;
        status = data_normalize(&s, slice_from(in, at), &some, &taken);
        ASSERT(taken > 0 && !some.is_short);
        all.len += some.len;
        at += taken;
    }
    ASSERT(status == want->status && at == want->taken && s.faults == want->faults);
    struct data_oracle again = data_oracle_of(buf_slice(&all));
    ASSERT(again.status == want->status && again.taken == all.len);
    ASSERT((again.faults & DATA_BARE_LF) == 0 && (again.faults & DATA_BARE_CR) == 0);
    free(all.data);
}

static void check_raw(struct slice in, size_t piece_max)
{
    struct raw_oracle want = raw_oracle_of(in);
    struct data_scanner s;
    raw_init(&s);
    for (size_t at = 0; at < in.len;) {
        size_t piece = MIN(piece_max, in.len - at);
        raw_scan(&s, slice_of(in.data + at, piece));
        at += piece;
    }
    raw_end(&s);
    ASSERT(s.faults == want.faults && s.has_8bit == want.has_8bit && s.bytes == in.len);
}

static void check_raw_normalize(struct slice in, size_t room)
{
    size_t cap = 2 * in.len + 2;
    struct buf all = {malloc(cap), 0, cap, false}, want = {malloc(cap), 0, cap, false};
    struct data_scanner s;
    raw_init(&s);
    for (size_t at = 0; at < in.len;) {
        struct buf some = {all.data + all.len, 0, MIN(room, buf_room(&all)), false};
        size_t taken = raw_normalize(&s, slice_from(in, at), &some);
        ASSERT(taken > 0 && !some.is_short);
        all.len += some.len;
        at += taken;
    }
    raw_normalize_end(&s, &all);
    raw_oracle_normalize(in, &want);
    ASSERT(slice_eq(buf_slice(&all), buf_slice(&want)));
    free(all.data);
    free(want.data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) return 0;
    struct slice in = slice_of(data + 2, size - 2);
    struct data_oracle want = data_oracle_of(in);
    check_scan(in, 1, &want);
    check_scan(in, 1 + data[0], &want);
    check_scan(in, in.len + 1, &want);
    check_normalize(in, 2 + data[1] % 64u, &want);
    check_raw(in, 1);
    check_raw(in, 1 + data[0]);
    check_raw(in, in.len + 1);
    check_raw_normalize(in, 2 + data[1] % 64u);
    return 0;
}
