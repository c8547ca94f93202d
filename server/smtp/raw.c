/* raw.c - bare CRs and LFs, NULs and long lines in octets that have no end of their own.
 *
 * The technique is that of data.c: a stretch is clean when each CR has its LF and each LF its CR,
 * and clean stretches are passed over 16 or 64 bytes at a time. The bytes in between go through
 * take_byte(). A line begins behind a CRLF only. Of content that is no text at all everything is
 * known after a few thousand bytes, and then nothing is looked at any more. */
#include "server/smtp/raw.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum state { TEXT, BEHIND_CR };

/* The byte-wise part runs this far before wide compares are tried again. */
#define BYTEWISE_BYTES 16
#define FAULTS_ALL (DATA_BARE_CR | DATA_BARE_LF | DATA_NUL | DATA_LONG_LINE)

#if defined(__x86_64__)

/* What a clean stretch adds. `run` is the length of the line that reaches its front: -1 where a CR
 * is the last byte before it, since the LF that surely comes then is none of the next line. */
struct seen {
    bool has_8bit, has_nul, has_long_line;
    int64_t run;
};

/* A byte is compared with CR and the one after it with LF: one byte past the stretch is read. */
#define WIDE_AHEAD_BYTES 1

/* `crs`: the CRs among the next `width` clean bytes, which end lines. Lines that lie between two of
 * them are shorter than `width`, so only the first can be too long. */
static inline void count_lines(struct seen *seen, uint64_t crs, int64_t width)
{
    if (crs == 0) {
        seen->run += width;
        return;
    }
    seen->has_long_line |= seen->run + __builtin_ctzll(crs) > DATA_LINE_BYTES_MAX;
    int64_t last = 63 - __builtin_clzll(crs);
    seen->run = width - last - 2;
}

static const char *skip_clean_16(const char *at, const char *end, struct seen *seen)
{
    const __m128i cr = _mm_set1_epi8('\r'), lf = _mm_set1_epi8('\n');
    __m128i any = _mm_setzero_si128(), least = _mm_set1_epi8(-1);
    while (end - at >= 16 + WIDE_AHEAD_BYTES) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)at);
        __m128i second = _mm_loadu_si128((const __m128i *)(const void *)(at + 1));
        __m128i is_cr = _mm_cmpeq_epi8(bytes, cr);
        if (_mm_movemask_epi8(_mm_xor_si128(is_cr, _mm_cmpeq_epi8(second, lf))) != 0) break;
        count_lines(seen, (uint32_t)_mm_movemask_epi8(is_cr), 16);
        any = _mm_or_si128(any, bytes);
        least = _mm_min_epu8(least, bytes);
        at += 16;
    }
    seen->has_8bit |= _mm_movemask_epi8(any) != 0;
    seen->has_nul |= _mm_movemask_epi8(_mm_cmpeq_epi8(least, _mm_setzero_si128())) != 0;
    return at;
}

__attribute__((target("avx2"))) static const char *skip_clean_64(const char *at, const char *end,
                                                                 struct seen *seen)
{
    const __m256i cr = _mm256_set1_epi8('\r'), lf = _mm256_set1_epi8('\n');
    __m256i any = _mm256_setzero_si256(), least = _mm256_set1_epi8(-1);
    while (end - at >= 64 + WIDE_AHEAD_BYTES) {
        __m256i a = _mm256_loadu_si256((const __m256i *)(const void *)at);
        __m256i b = _mm256_loadu_si256((const __m256i *)(const void *)(at + 32));
        __m256i a_second = _mm256_loadu_si256((const __m256i *)(const void *)(at + 1));
        __m256i b_second = _mm256_loadu_si256((const __m256i *)(const void *)(at + 33));
        __m256i a_cr = _mm256_cmpeq_epi8(a, cr), b_cr = _mm256_cmpeq_epi8(b, cr);
        __m256i stray = _mm256_or_si256(_mm256_xor_si256(a_cr, _mm256_cmpeq_epi8(a_second, lf)),
                                        _mm256_xor_si256(b_cr, _mm256_cmpeq_epi8(b_second, lf)));
        if (!_mm256_testz_si256(stray, stray)) break;
        uint64_t crs = (uint32_t)_mm256_movemask_epi8(a_cr);
        crs |= (uint64_t)(uint32_t)_mm256_movemask_epi8(b_cr) << 32;
        count_lines(seen, crs, 64);
        any = _mm256_or_si256(any, _mm256_or_si256(a, b));
        least = _mm256_min_epu8(least, _mm256_min_epu8(a, b));
        at += 64;
    }
    seen->has_8bit |= _mm256_movemask_epi8(any) != 0;
    seen->has_nul |= _mm256_movemask_epi8(_mm256_cmpeq_epi8(least, _mm256_setzero_si256())) != 0;
    return at;
}

/* Passes over clean octets from `at`, which is no LF and stands behind no CR. */
static const char *skip_clean(struct data_scanner *s, const char *at, const char *end)
{
    struct seen seen = {.run = s->line_bytes};
    const char *from = at;
    if (__builtin_cpu_supports("avx2")) at = skip_clean_64(at, end, &seen);
    at = skip_clean_16(at, end, &seen);
    if (at == from) return at;

    if (seen.has_8bit) s->has_8bit = true;
    if (seen.has_nul) s->faults |= DATA_NUL;
    if (seen.has_long_line || seen.run > DATA_LINE_BYTES_MAX) s->faults |= DATA_LONG_LINE;
    bool is_behind_cr = at[-1] == '\r';
    s->state = is_behind_cr ? BEHIND_CR : TEXT;
    s->line_bytes = is_behind_cr ? 0 : (uint32_t)MIN(seen.run, DATA_LINE_BYTES_MAX + 1);
    return at;
}

#else

static const char *skip_clean(struct data_scanner *s, const char *at, const char *end)
{
    (void)s, (void)end;
    return at;
}

#endif

void raw_init(struct data_scanner *s)
{
    *s = (struct data_scanner){.state = TEXT};
}

/* `count` more bytes belong to the line. */
static void line_grow(struct data_scanner *s, uint32_t count)
{
    s->line_bytes = MIN(s->line_bytes + count, DATA_LINE_BYTES_MAX + 1u);
    if (s->line_bytes > DATA_LINE_BYTES_MAX) s->faults |= DATA_LONG_LINE;
}

/* A CR belongs to its line only when it turns out to be a bare one. */
static void take_byte(struct data_scanner *s, char c)
{
    bool is_behind_cr = s->state == BEHIND_CR;
    s->state = c == '\r' ? BEHIND_CR : TEXT;
    if (is_behind_cr && c == '\n') {
        s->line_bytes = 0;
        return;
    }
    if (is_behind_cr) {
        s->faults |= DATA_BARE_CR;
        line_grow(s, 1);
    }
    if (c == '\r') return;
    if (c == '\n') s->faults |= DATA_BARE_LF;
    if (c == '\0') s->faults |= DATA_NUL;
    if ((uint8_t)c > 127) s->has_8bit = true;
    line_grow(s, 1);
}

void raw_scan(struct data_scanner *s, struct slice in)
{
    const char *at = in.data, *end = in.data + in.len;
    s->bytes += in.len;
    while (at < end) {
        if (s->faults == FAULTS_ALL && s->has_8bit) return; /* it can become nothing else */
        if (s->state == TEXT && *at != '\n') at = skip_clean(s, at, end);
        const char *stop = at + MIN(end - at, BYTEWISE_BYTES);
        while (at < stop)
            take_byte(s, *at++);
    }
}

void raw_end(struct data_scanner *s)
{
    if (s->state != BEHIND_CR) return;
    s->state = TEXT;
    s->faults |= DATA_BARE_CR;
    line_grow(s, 1);
}

/* Bytes at the start of `in` that go out as they are and mean nothing. */
static size_t plain_bytes(struct slice in)
{
    size_t n = 0;
    while (n < in.len && (signed char)in.data[n] > '\r')
        n++;
    return n;
}

/* Writes what `c` completes: at most two bytes. */
static void normalize_byte(struct data_scanner *s, char c, struct buf *out)
{
    bool is_behind_cr = s->state == BEHIND_CR;
    s->state = c == '\r' ? BEHIND_CR : TEXT;
    if (c == '\n') {
        buf_append(out, "\r\n", 2);
        if (!is_behind_cr) s->faults |= DATA_BARE_LF;
        return;
    }
    if (is_behind_cr) {
        buf_append_char(out, ' ');
        s->faults |= DATA_BARE_CR;
    }
    if (c == '\r') return;
    if (c == '\0') s->faults |= DATA_NUL;
    if ((uint8_t)c > 127) s->has_8bit = true;
    buf_append_char(out, c);
}

size_t raw_normalize(struct data_scanner *s, struct slice in, struct buf *out)
{
    size_t take_max = MIN(in.len, buf_room(out) / 2), at = 0;
    while (at < take_max) {
        if (s->state == TEXT) {
            size_t plain = plain_bytes(slice_of(in.data + at, take_max - at));
            buf_append(out, in.data + at, plain);
            at += plain;
            if (at == take_max) break;
        }
        normalize_byte(s, in.data[at++], out);
    }
    ASSERT(!out->is_short);
    s->bytes += at;
    return at;
}

void raw_normalize_end(struct data_scanner *s, struct buf *out)
{
    if (s->state == BEHIND_CR) buf_append_char(out, ' ');
    ASSERT(!out->is_short);
    raw_end(s);
}
