/* message.c - templates made at start, messages made from them.
 *
 * A template of at most CHUNK_BYTES is one text; a larger one is a chunk of about that size,
 * repeated, and a rest. So a message of 50 MiB needs no more memory than its pieces' addresses. The
 * digest of a template's text is kept half-done; a message adds its last line to a copy. One thread
 * makes the maker; message_make() only reads it. */
#include "bench/message.h"

#include "bench/message_text.h"
#include "bench/random.h"
#include "ring/base/clock.h"
#include "ring/base/memory.h"

#include <stdlib.h>
#include <time.h>

#define CHUNK_BYTES 61007   /* no multiple of 512, nor nearly one */
#define CHUNK_COUNT_MAX 900 /* with the other pieces below what one send takes */
#define VARIANTS 16         /* bodies for one size; fewer for large ones */

struct message_template {
    bool is_8bit, has_tail, is_unstuffed;
    uint64_t text_bytes;  /* dots not stuffed */
    struct digest digest; /* of the text */
    char *chunk, *rest;   /* as on the wire */
    size_t chunk_len, rest_len;
    uint32_t chunk_count;
};

/* The templates of one size. */
struct size_class {
    uint64_t weight_end; /* this class up to here, of weight_total */
    uint32_t variant_count;
    struct message_template *variants;
};

struct message_maker {
    uint64_t run, seed, weight_total;
    bool is_unstuffed;
    size_t class_count;
    struct size_class classes[MESSAGE_SIZES_MAX];
    size_t header_len, id_at[3], digest_at, body_bytes_at;
    char header[MESSAGE_HEADER_BYTES_MAX];
    char tail[MESSAGE_TAIL_BYTES + MESSAGE_END_BYTES];
};

/* Appends `before`, leaves `width` digits to patch, appends CRLF: where the digits are. */
static size_t append_patched(struct buf *out, const char *before, size_t width, const char *after)
{
    buf_append_cstr(out, before);
    size_t at = out->len;
    for (size_t i = 0; i < width; i++) {
        buf_append_char(out, '0');
    }
    buf_append_cstr(out, after);
    return at;
}

/* RFC 5322 3.3, in UTC. */
static void append_date(struct buf *out)
{
    static const char days[] = "SunMonTueWedThuFriSat";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    time_t now = (time_t)(clock_wall_ms() / 1000);
    struct tm tm;
    gmtime_r(&now, &tm);
    buf_append_format(out, "Date: %.3s, %02d %.3s %04d %02d:%02d:%02d +0000\r\n",
                      days + 3 * tm.tm_wday, tm.tm_mday, months + 3 * tm.tm_mon, tm.tm_year + 1900,
                      tm.tm_hour, tm.tm_min, tm.tm_sec);
}

static void make_header(struct message_maker *maker, const struct message_options *options)
{
    char run[MARK_HEX_BYTES];
    mark_write_hex(options->run, run);
    struct buf out = {.data = maker->header, .cap = sizeof(maker->header)};
    buf_append_cstr(&out, MARK_RUN_FIELD);
    buf_append(&out, run, sizeof(run));
    maker->id_at[0] = append_patched(&out, "\r\n" MARK_ID_FIELD, MARK_ID_BYTES, "\r\n");
    maker->digest_at = append_patched(&out, MARK_DIGEST_FIELD, MARK_HEX_BYTES, " ");
    maker->body_bytes_at = append_patched(&out, "", MARK_NUMBER_BYTES, "\r\n");
    append_date(&out);
    buf_append_format(&out, "From: Load <%s>\r\nTo: <%s>\r\n", options->from, options->to);
    maker->id_at[1] = append_patched(&out, "Message-ID: <", MARK_ID_BYTES, "@load.bench.test>\r\n");
    maker->id_at[2] = append_patched(&out, "Subject: Message ", MARK_ID_BYTES, " of a load\r\n");
    buf_append_cstr(&out, "MIME-Version: 1.0\r\n"
                          "Content-Type: text/plain; charset=utf-8\r\n"
                          "Content-Transfer-Encoding: 8bit\r\n"
                          "\r\n");
    ASSERT(!out.is_short);
    maker->header_len = out.len;
}

/* Makes `bytes` of text as on the wire, and adds it `times` to the digest of the template. */
static char *make_text(struct message_template *t, enum text_kind kind, uint64_t *random,
                       size_t bytes, uint32_t times, size_t *len_out)
{
    char *raw = xmalloc(bytes + 1), *wire = xmalloc(2 * bytes + 1);
    struct buf raw_buf = {.data = raw, .cap = bytes};
    struct buf wire_buf = {.data = wire, .cap = 2 * bytes};
    text_write(kind, random, bytes, &raw_buf);
    if (t->is_unstuffed) {
        buf_append_slice(&wire_buf, buf_slice(&raw_buf));
    } else {
        text_stuff(buf_slice(&raw_buf), &wire_buf);
    }
    ASSERT(raw_buf.len == bytes);
    ASSERT(!wire_buf.is_short);
    for (uint32_t i = 0; i < times; i++) {
        digest_add(&t->digest, buf_slice(&raw_buf));
    }
    t->text_bytes += times * bytes;
    free(raw);
    *len_out = wire_buf.len;
    return xrealloc(wire, wire_buf.len + 1);
}

static void make_template(struct message_template *t, enum text_kind kind, uint64_t *random,
                          uint64_t body_bytes, bool is_unstuffed)
{
    memset(t, 0, sizeof(*t));
    t->is_unstuffed = is_unstuffed;
    t->is_8bit = text_is_8bit(kind);
    digest_init(&t->digest);
    /* Below this an empty body: every other has its last line and at least one of text. */
    t->has_tail = body_bytes >= MESSAGE_TAIL_BYTES + 2;
    if (!t->has_tail) return;

    uint64_t text_bytes = body_bytes - MESSAGE_TAIL_BYTES;
    size_t chunk_bytes = CHUNK_BYTES;
    while (text_bytes / chunk_bytes > CHUNK_COUNT_MAX) {
        chunk_bytes += CHUNK_BYTES;
    }
    t->chunk_count = (uint32_t)(text_bytes / chunk_bytes);
    size_t rest_bytes = (size_t)(text_bytes - t->chunk_count * chunk_bytes);
    if (rest_bytes == 1) rest_bytes = 2; /* no line is shorter than its CRLF */
    if (t->chunk_count > 0) {
        t->chunk = make_text(t, kind, random, chunk_bytes, t->chunk_count, &t->chunk_len);
    }
    t->rest = make_text(t, kind, random, rest_bytes, 1, &t->rest_len);
}

static void make_class(struct message_maker *maker, struct size_class *c,
                       const struct message_options *options, uint64_t bytes)
{
    uint64_t random = options->seed ^ bytes;
    c->variant_count = bytes <= 1 << 20 ? VARIANTS : bytes <= 64 << 20 ? 4 : 1;
    c->variants = xcalloc(c->variant_count, sizeof(c->variants[0]));
    for (uint32_t i = 0; i < c->variant_count; i++) {
        enum text_kind kind = options->is_plain ? TEXT_PLAIN : i % TEXT_KIND_COUNT;
        uint64_t body_bytes = bytes > maker->header_len ? bytes - maker->header_len : 0;
        make_template(&c->variants[i], kind, &random, body_bytes, options->is_unstuffed);
    }
}

struct message_maker *message_maker_create(const struct message_options *options)
{
    ASSERT(options->size_count > 0);
    ASSERT(options->size_count <= MESSAGE_SIZES_MAX);
    ASSERT(strlen(options->from) <= MESSAGE_ADDRESS_BYTES_MAX);
    ASSERT(strlen(options->to) <= MESSAGE_ADDRESS_BYTES_MAX);
    struct message_maker *maker = xcalloc(1, sizeof(*maker));
    maker->run = options->run;
    maker->seed = options->seed;
    maker->is_unstuffed = options->is_unstuffed;
    make_header(maker, options);
    memcpy(maker->tail, "id ", 3);
    memcpy(maker->tail + 3 + MARK_ID_BYTES, "\r\n.\r\n", 5);

    maker->class_count = options->size_count;
    for (size_t i = 0; i < maker->class_count; i++) {
        const struct message_size *size = &options->sizes[i];
        ASSERT(size->weight > 0);
        ASSERT(size->bytes <= MESSAGE_BYTES_MAX);
        maker->weight_total += size->weight;
        maker->classes[i].weight_end = maker->weight_total;
        make_class(maker, &maker->classes[i], options, size->bytes);
    }
    return maker;
}

void message_maker_destroy(struct message_maker *maker)
{
    if (maker == NULL) return;
    for (size_t i = 0; i < maker->class_count; i++) {
        struct size_class *c = &maker->classes[i];
        for (uint32_t k = 0; k < c->variant_count; k++) {
            free(c->variants[k].chunk);
            free(c->variants[k].rest);
        }
        free(c->variants);
    }
    free(maker);
}

static const struct message_template *pick(const struct message_maker *maker, uint64_t number,
                                           bool may_be_8bit)
{
    uint64_t random = maker->seed + number * 0x632be59bd9b4e019u;
    uint64_t weight = random_below(&random, maker->weight_total);
    const struct size_class *c = maker->classes;
    while (weight >= c->weight_end) {
        c++;
    }
    uint64_t variant = random_below(&random, c->variant_count);
    const struct message_template *t = &c->variants[variant];
    /* The first variant of each size is of plain text. */
    return t->is_8bit && !may_be_8bit ? &c->variants[0] : t;
}

void message_make(const struct message_maker *maker, uint64_t number, bool may_be_8bit,
                  struct message *out)
{
    const struct message_template *t = pick(maker, number, may_be_8bit);
    out->id = (struct message_id){maker->run, number};
    out->body = t;
    out->is_8bit = t->is_8bit;
    struct digest digest = t->digest;
    uint32_t end_bytes = maker->is_unstuffed ? 0 : MESSAGE_END_BYTES;
    if (t->has_tail) {
        memcpy(out->tail, maker->tail, sizeof(out->tail));
        mark_write_id(&out->id, out->tail + 3);
        out->tail_len = MESSAGE_TAIL_BYTES + end_bytes;
        digest_add(&digest, slice_of(out->tail, MESSAGE_TAIL_BYTES));
        out->body_bytes = t->text_bytes + MESSAGE_TAIL_BYTES;
    } else {
        memcpy(out->tail, maker->tail + MESSAGE_TAIL_BYTES, MESSAGE_END_BYTES);
        out->tail_len = end_bytes;
        out->body_bytes = 0;
    }
    out->bytes = maker->header_len + out->body_bytes;
    out->digest = digest_value(&digest);
}

void message_write_header(const struct message_maker *maker, const struct message *message,
                          struct buf *out)
{
    char *header = out->data + out->len;
    if (!buf_append(out, maker->header, maker->header_len)) return;
    char *id = header + maker->id_at[0];
    mark_write_id(&message->id, id);
    memcpy(header + maker->id_at[1], id, MARK_ID_BYTES);
    memcpy(header + maker->id_at[2], id, MARK_ID_BYTES);
    mark_write_hex(message->digest, header + maker->digest_at);
    mark_write_number(message->body_bytes, header + maker->body_bytes_at);
}

uint32_t message_pieces_max(const struct message_maker *maker)
{
    uint32_t pieces_max = 0;
    for (size_t i = 0; i < maker->class_count; i++) {
        for (uint32_t k = 0; k < maker->classes[i].variant_count; k++) {
            pieces_max = MAX(pieces_max, maker->classes[i].variants[k].chunk_count + 2);
        }
    }
    return pieces_max;
}

static struct iovec piece_of(const char *data, size_t len)
{
    /* An iovec has no const; what it names is only read. */
    return (struct iovec){(void *)(uintptr_t)data, len};
}

size_t message_header_bytes(const struct message_maker *maker)
{
    return maker->header_len;
}

static uint64_t repeated_bytes(const struct message_template *t)
{
    return (uint64_t)t->chunk_count * t->chunk_len;
}

uint64_t message_rest_bytes(const struct message *message)
{
    const struct message_template *t = message->body;
    return repeated_bytes(t) + t->rest_len + message->tail_len;
}

/* The piece that begins at `at`: of at most `bytes`. */
static struct iovec piece_at(const struct message *message, uint64_t at, uint64_t bytes)
{
    const struct message_template *t = message->body;
    uint64_t repeated = repeated_bytes(t);
    if (at < repeated) {
        size_t in_chunk = (size_t)(at % t->chunk_len);
        return piece_of(t->chunk + in_chunk, (size_t)MIN(bytes, t->chunk_len - in_chunk));
    }
    at -= repeated;
    if (at < t->rest_len) return piece_of(t->rest + at, (size_t)MIN(bytes, t->rest_len - at));
    at -= t->rest_len;
    ASSERT(at < message->tail_len);
    return piece_of(message->tail + at, (size_t)MIN(bytes, message->tail_len - at));
}

uint32_t message_pieces(const struct message *message, uint64_t from, uint64_t bytes,
                        struct iovec *pieces)
{
    uint32_t count = 0;
    while (bytes > 0) {
        pieces[count] = piece_at(message, from, bytes);
        from += pieces[count].iov_len;
        bytes -= pieces[count++].iov_len;
    }
    return count;
}
