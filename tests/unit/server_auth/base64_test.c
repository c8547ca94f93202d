#include "server/auth/base64.h"

#include "tests/support/test.h"

static bool decode(const char *text, size_t len, char *into, size_t cap, size_t *len_out)
{
    struct buf out = {into, 0, cap, false};
    bool is_decoded = base64_decode(slice_of(text, len), &out);
    *len_out = out.len;
    return is_decoded;
}

/* RFC 4648 section 10. */
static const struct {
    const char *bytes, *text;
} vectors[] = {
    {"", ""},
    {"f", "Zg=="},
    {"fo", "Zm8="},
    {"foo", "Zm9v"},
    {"foob", "Zm9vYg=="},
    {"fooba", "Zm9vYmE="},
    {"foobar", "Zm9vYmFy"},
};

TEST(the_vectors_of_the_rfc_both_ways)
{
    for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
        char text[16], bytes[16];
        struct buf out = {text, 0, sizeof(text), false};
        CHECK(base64_encode(slice_of_cstr(vectors[i].bytes), &out));
        CHECK_BUF(vectors[i].text, out, vectors[i].text);
        size_t len;
        CHECK(decode(vectors[i].text, strlen(vectors[i].text), bytes, sizeof(bytes), &len));
        CHECK_SLICE(vectors[i].text, slice_of(bytes, len), vectors[i].bytes);
    }
}

TEST(a_text_that_is_cut_anywhere_is_whole_groups_or_nothing)
{
    const char *text = "Zm9vYmFyZm9vYmE=";
    for (size_t cut = 0; cut <= strlen(text); cut++) {
        char bytes[16];
        size_t len;
        CHECK_EQ(text, decode(text, cut, bytes, sizeof(bytes), &len), cut % 4 == 0);
        CHECK_EQ(text, len, cut % 4 != 0 ? 0 : cut == strlen(text) ? 11 : cut / 4 * 3);
    }
}

TEST(only_one_form_of_each_text_is_taken)
{
    static const char *const bad[] = {
        "=",    "==",   "===",  "====",    "Z===",     "Zg=",   "Zg==Zg==", "Zm8=Zm8=",
        "Z=g=", "=Zm8", "Zm 9", "Zm9v\n",  "Zm9v\r\n", "Zm9v ", " Zm9v",    "Zm9-",
        "Zm9_", "Zm9*", "Zm9.", "Zm9\xff", "Zm9\x80",  "Zh==", /* bits that belong to no byte */
        "Zm9=",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        char bytes[16];
        size_t len;
        CHECK_EQ(bad[i], decode(bad[i], strlen(bad[i]), bytes, sizeof(bytes), &len), false);
        CHECK_EQ(bad[i], len, 0);
    }
    char bytes[16];
    size_t len;
    CHECK(!decode("Zm\0v", 4, bytes, sizeof(bytes), &len));
}

TEST(every_byte_outside_of_the_alphabet_is_refused)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (int c = 0; c < 256; c++) {
        for (size_t at = 0; at < 4; at++) {
            char text[] = "AAAA", bytes[4];
            text[at] = (char)c;
            size_t len;
            bool is_digit = c != 0 && strchr(alphabet, c) != NULL;
            bool is_padding = c == '=' && at == 3;
            CHECK_EQ("byte", decode(text, 4, bytes, sizeof(bytes), &len), is_digit || is_padding);
        }
    }
}

TEST(all_bytes_come_back_and_room_is_kept)
{
    char bytes[256], text[BASE64_ENCODED_BYTES(256)], back[256];
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (char)i;
    for (size_t len = 0; len <= sizeof(bytes); len++) {
        struct buf out = {text, 0, sizeof(text), false};
        CHECK(base64_encode(slice_of(bytes, len), &out));
        CHECK_EQ("encoded", out.len, BASE64_ENCODED_BYTES(len));
        struct buf in = {back, 0, len, false};
        CHECK(base64_decode(buf_slice(&out), &in));
        CHECK(slice_eq(buf_slice(&in), slice_of(bytes, len)));
        struct buf small = {back, 0, len > 0 ? len - 1 : 0, false};
        CHECK_EQ("no room", base64_decode(buf_slice(&out), &small), len == 0);
        struct buf short_text = {text, 0, len > 0 ? out.len - 1 : 0, false};
        CHECK_EQ("no room", base64_encode(slice_of(bytes, len), &short_text), len == 0);
    }
}
