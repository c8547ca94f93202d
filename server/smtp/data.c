/* data.c - the end of the data, found by a table of transitions and by wide compares.
 *
 * What matters of the bytes seen so far fits in one state; every byte moves it (`moves`). Most
 * bytes change nothing, so stretches of clean text are skipped 16 or 32 bytes at a time: a stretch
 * is clean when each CR has its LF, each LF its CR, and no line in it begins with a dot. Line ends
 * themselves do not slow that down.
 *
 *     CRLF -> START --'.'--> DOT --CR--> DOT_CR --LF--> END
 *               |             |            |
 *               '---other-----'---other----'--> TEXT --CR--> CR --LF--> START
 *
 * A bare LF leads to AFTER_LF: for the scanner that is TEXT; for data_normalize() a line begins. */
#include "server/smtp/data.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum state { START, TEXT, CR, DOT, DOT_CR, AFTER_LF, END, STATE_COUNT };
enum class { OTHER, CLASS_CR, CLASS_LF, CLASS_DOT, CLASS_NUL, CLASS_8BIT, CLASS_COUNT };

/* A byte of `moves`: the next state, and above it what the byte adds to the faults. */
#define NEXT_STATE_BITS 3u
#define NEXT_STATE_MASK 7u
#define BARE_CR (DATA_BARE_CR << NEXT_STATE_BITS)
#define BARE_LF (DATA_BARE_LF << NEXT_STATE_BITS)
#define NUL (DATA_NUL << NEXT_STATE_BITS)
#define HAS_8BIT 0x80u
#define FAULTS_MASK (DATA_BARE_CR | DATA_BARE_LF | DATA_NUL)

_Static_assert(STATE_COUNT <= NEXT_STATE_MASK + 1, "a state fits in its bits");
_Static_assert((FAULTS_MASK << NEXT_STATE_BITS) < HAS_8BIT, "the faults do not reach HAS_8BIT");

/* The byte-wise part runs this far before wide compares are tried again. */
#define BYTEWISE_BYTES 16

static const uint8_t classes[256] = {
    [0] = CLASS_NUL,   ['\n'] = CLASS_LF,          ['\r'] = CLASS_CR,
    ['.'] = CLASS_DOT, [128 ... 255] = CLASS_8BIT,
};

#define TEXT_MOVES                                                                                 \
    {                                                                                              \
        [OTHER] = TEXT, [CLASS_CR] = CR, [CLASS_LF] = AFTER_LF | BARE_LF, [CLASS_DOT] = TEXT,      \
        [CLASS_NUL] = TEXT | NUL, [CLASS_8BIT] = TEXT | HAS_8BIT                                   \
    }

/* Where a CR waits for its LF: anything else makes it a bare one. */
#define CR_MOVES(on_lf)                                                                            \
    {                                                                                              \
        [OTHER] = TEXT | BARE_CR, [CLASS_CR] = CR | BARE_CR, [CLASS_LF] = (on_lf),                 \
        [CLASS_DOT] = TEXT | BARE_CR, [CLASS_NUL] = TEXT | BARE_CR | NUL,                          \
        [CLASS_8BIT] = TEXT | BARE_CR | HAS_8BIT                                                   \
    }

static const uint8_t moves[STATE_COUNT][CLASS_COUNT] = {
    [START] = {[OTHER] = TEXT,
               [CLASS_CR] = CR,
               [CLASS_LF] = AFTER_LF | BARE_LF,
               [CLASS_DOT] = DOT,
               [CLASS_NUL] = TEXT | NUL,
               [CLASS_8BIT] = TEXT | HAS_8BIT},
    [TEXT] = TEXT_MOVES,
    [CR] = CR_MOVES(START),
    [DOT] = {[OTHER] = TEXT,
             [CLASS_CR] = DOT_CR,
             [CLASS_LF] = AFTER_LF | BARE_LF,
             [CLASS_DOT] = TEXT,
             [CLASS_NUL] = TEXT | NUL,
             [CLASS_8BIT] = TEXT | HAS_8BIT},
    [DOT_CR] = CR_MOVES(END),
    [AFTER_LF] = TEXT_MOVES,
};

#if defined(__x86_64__)

/* What the bytes of a clean stretch add: bit 7 of any of them, and whether any is zero. */
struct seen {
    bool has_8bit, has_nul;
};

/* The loops compare a byte with CR, the one after it with LF and the one after that with a dot, so
 * they read two bytes past the stretch. They stop in front of a vector that is not clean. */
#define WIDE_AHEAD_BYTES 2

static const char *skip_clean_16(const char *at, const char *end, struct seen *seen)
{
    const __m128i cr = _mm_set1_epi8('\r'), lf = _mm_set1_epi8('\n'), dot = _mm_set1_epi8('.');
    __m128i any = _mm_setzero_si128(), least = _mm_set1_epi8(-1);
    while (end - at >= 16 + WIDE_AHEAD_BYTES) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)at);
        __m128i second = _mm_loadu_si128((const __m128i *)(const void *)(at + 1));
        __m128i third = _mm_loadu_si128((const __m128i *)(const void *)(at + 2));
        __m128i is_cr = _mm_cmpeq_epi8(bytes, cr);
        __m128i stray = _mm_xor_si128(is_cr, _mm_cmpeq_epi8(second, lf));
        __m128i dotted = _mm_and_si128(is_cr, _mm_cmpeq_epi8(third, dot));
        if (_mm_movemask_epi8(_mm_or_si128(stray, dotted)) != 0) break;
        any = _mm_or_si128(any, bytes);
        least = _mm_min_epu8(least, bytes);
        at += 16;
    }
    seen->has_8bit |= _mm_movemask_epi8(any) != 0;
    seen->has_nul |= _mm_movemask_epi8(_mm_cmpeq_epi8(least, _mm_setzero_si128())) != 0;
    return at;
}

__attribute__((target("avx2"), always_inline)) static inline __m256i unclean_32(const char *at,
                                                                                __m256i bytes)
{
    __m256i second = _mm256_loadu_si256((const __m256i *)(const void *)(at + 1));
    __m256i third = _mm256_loadu_si256((const __m256i *)(const void *)(at + 2));
    __m256i is_cr = _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8('\r'));
    __m256i stray = _mm256_xor_si256(is_cr, _mm256_cmpeq_epi8(second, _mm256_set1_epi8('\n')));
    __m256i dotted = _mm256_and_si256(is_cr, _mm256_cmpeq_epi8(third, _mm256_set1_epi8('.')));
    return _mm256_or_si256(stray, dotted);
}

__attribute__((target("avx2"))) static const char *skip_clean_64(const char *at, const char *end,
                                                                 struct seen *seen)
{
    __m256i any = _mm256_setzero_si256(), least = _mm256_set1_epi8(-1);
    while (end - at >= 64 + WIDE_AHEAD_BYTES) {
        __m256i a = _mm256_loadu_si256((const __m256i *)(const void *)at);
        __m256i b = _mm256_loadu_si256((const __m256i *)(const void *)(at + 32));
        __m256i unclean = _mm256_or_si256(unclean_32(at, a), unclean_32(at + 32, b));
        if (!_mm256_testz_si256(unclean, unclean)) break;
        any = _mm256_or_si256(any, _mm256_or_si256(a, b));
        least = _mm256_min_epu8(least, _mm256_min_epu8(a, b));
        at += 64;
    }
    seen->has_8bit |= _mm256_movemask_epi8(any) != 0;
    seen->has_nul |= _mm256_movemask_epi8(_mm256_cmpeq_epi8(least, _mm256_setzero_si256())) != 0;
    return at;
}

/* Passes over clean text in front of `end`. `at` must stand where a line may not begin with a dot
 * and is no LF; the two bytes behind the result belong to `in` too, so that a CR in front of the
 * result surely has its LF, and an LF no dot. */
static const char *skip_clean(struct data_scanner *s, const char *at, const char *end)
{
    struct seen seen = {false, false};
    /* Reads a flag that the runtime set at program start: cheaper than a pointer of our own. */
    if (__builtin_cpu_supports("avx2")) at = skip_clean_64(at, end, &seen);
    at = skip_clean_16(at, end, &seen);
    if (seen.has_8bit) s->has_8bit = true;
    if (seen.has_nul) s->faults |= DATA_NUL;
    return at;
}

#else

static const char *skip_clean(struct data_scanner *s, const char *at, const char *end)
{
    (void)s, (void)end;
    return at;
}

#endif

void data_init(struct data_scanner *s)
{
    *s = (struct data_scanner){.state = START};
}

/* True where `next` can begin a clean stretch: what came before neither waits for it nor lets it
 * begin a line with a dot. */
static bool can_skip(unsigned state, char next)
{
    if (next == '\n') return false;
    return state == TEXT || state == AFTER_LF || (state == START && next != '.');
}

static unsigned state_behind(const char *at)
{
    if (at[-1] == '\r') return CR;
    return at[-1] == '\n' ? START : TEXT;
}

enum data_status data_scan(struct data_scanner *s, struct slice in, size_t *taken_out)
{
    ASSERT(s->state < END);
    const char *at = in.data, *end = in.data + in.len;
    unsigned state = s->state, moved = 0;

    while (at < end && state != END) {
        if (can_skip(state, *at)) {
            const char *clean_end = skip_clean(s, at, end);
            if (clean_end != at) state = state_behind(clean_end);
            at = clean_end;
        }
        const char *stop = at + MIN(end - at, BYTEWISE_BYTES);
        while (at < stop && state != END) {
            unsigned move = moves[state][classes[(uint8_t)*at++]];
            state = move & NEXT_STATE_MASK;
            moved |= move;
        }
    }

    s->state = (uint8_t)state;
    s->faults |= (uint8_t)((moved >> NEXT_STATE_BITS) & FAULTS_MASK);
    if ((moved & HAS_8BIT) != 0) s->has_8bit = true;
    *taken_out = (size_t)(at - in.data);
    s->bytes += *taken_out;
    return state == END ? DATA_END : DATA_MORE;
}

uint64_t data_content_bytes(const struct data_scanner *s)
{
    ASSERT(s->state == END);
    ASSERT(s->bytes >= 3);
    return s->bytes - 3;
}

/* Writes what `c` completes: at most two bytes. A CR is held back until it is known to have its LF,
 * a dot at the start of a line until it is known not to be alone in front of a bare LF. There it
 * is left out, as RFC 5321 4.5.2 asks of a dot with other characters behind it; kept, it would make
 * an end of data where none was. */
static void normalize_byte(unsigned state, unsigned class, char c, struct buf *out)
{
    if (class == CLASS_LF) {
        buf_append(out, "\r\n", 2);
        return;
    }
    if (state == CR || state == DOT_CR) buf_append_char(out, ' ');
    if (state == DOT) buf_append_char(out, '.');
    if (state == AFTER_LF && class == CLASS_DOT) buf_append_char(out, '.');
    if (class == CLASS_CR || (state == START && class == CLASS_DOT)) return;
    buf_append_char(out, c);
}

/* Bytes at the start of `in` that go out as they are, when they stand inside a line. */
static size_t plain_bytes(struct slice in)
{
    size_t n = 0;
    while (n < in.len) {
        unsigned class = classes[(uint8_t)in.data[n]];
        if (class != OTHER && class != CLASS_DOT) break;
        n++;
    }
    return n;
}

enum data_status data_normalize(struct data_scanner *s, struct slice in, struct buf *out,
                                size_t *taken_out)
{
    ASSERT(s->state < END);
    size_t take_max = MIN(in.len, buf_room(out) / 2), at = 0;
    unsigned state = s->state;

    while (at < take_max && state != END) {
        if (state == TEXT) {
            size_t plain = plain_bytes(slice_of(in.data + at, take_max - at));
            buf_append(out, in.data + at, plain);
            at += plain;
            if (at == take_max) break;
        }
        char c = in.data[at++];
        unsigned class = classes[(uint8_t)c], move = moves[state][class];
        normalize_byte(state, class, c, out);
        state = move & NEXT_STATE_MASK;
        s->faults |= (uint8_t)((move >> NEXT_STATE_BITS) & FAULTS_MASK);
        if ((move & HAS_8BIT) != 0) s->has_8bit = true;
    }

    ASSERT(!out->is_short);
    s->state = (uint8_t)state;
    s->bytes += at;
    *taken_out = at;
    return state == END ? DATA_END : DATA_MORE;
}
