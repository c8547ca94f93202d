#include "server/auth/cram_md5.h"

#include "tests/support/test.h"

static void digest(const char *password, const char *challenge, char out[CRAM_MD5_DIGEST_TEXT])
{
    struct cram_md5_key key;
    cram_md5_key_make(slice_of_cstr(password), &key);
    cram_md5_digest(&key, slice_of_cstr(challenge), out);
}

TEST(the_example_of_rfc_2195)
{
    char text[CRAM_MD5_DIGEST_TEXT];
    digest("tanstaaftanstaaf", "<1896.697170952@postoffice.reston.mci.net>", text);
    CHECK_SLICE("digest", slice_of(text, sizeof(text)), "b913a602c7eda7a495b4e6e7334d3890");
}

/* RFC 2202 section 2. */
TEST(keys_up_to_a_block_and_beyond)
{
    char text[CRAM_MD5_DIGEST_TEXT], password[81] = {0};
    digest("Jefe", "what do ya want for nothing?", text);
    CHECK_SLICE("case 2", slice_of(text, sizeof(text)), "750c783e6ab0b503eaa86e310a5db738");
    memset(password, 0xaa, 80);
    digest(password, "Test Using Larger Than Block-Size Key - Hash Key First", text);
    CHECK_SLICE("case 6", slice_of(text, sizeof(text)), "6b1ab7fe4bd7bf8f0b62e6ce61b9d0cd");
    digest(password, "Test Using Larger Than Block-Size Key and Larger Than One Block-Size Data",
           text);
    CHECK_SLICE("case 7", slice_of(text, sizeof(text)), "6f630fad67cda0ee1fb1f562db3aa53e");
}

/* As `doveadm pw -s CRAM-MD5 -p password` prints it. */
static const char dovecot[] = "9186d855e11eba527a7a52ca82b313e180d62234f0acc9051b527243d41e2740";

TEST(the_text_is_that_of_dovecot)
{
    struct cram_md5_key key, read;
    cram_md5_key_make(SLICE("password"), &key);
    char text[CRAM_MD5_KEY_TEXT];
    struct buf out = {text, 0, sizeof(text), false};
    cram_md5_key_write(&key, &out);
    CHECK_BUF("text", out, dovecot);
    CHECK(cram_md5_key_parse(SLICE("9186D855E11EBA527A7A52CA82B313E180D62234F0ACC9051B527243D41E27"
                                   "40"),
                             &read));
    CHECK(memcmp(&read, &key, sizeof(key)) == 0);
}

TEST(a_text_that_is_cut_or_changed_is_none)
{
    struct cram_md5_key key;
    for (size_t cut = 0; cut < CRAM_MD5_KEY_TEXT; cut++) {
        CHECK(!cram_md5_key_parse(slice_of(dovecot, cut), &key));
        char text[sizeof(dovecot)];
        memcpy(text, dovecot, sizeof(text));
        text[cut] = 'g';
        CHECK(!cram_md5_key_parse(slice_of(text, CRAM_MD5_KEY_TEXT), &key));
    }
    CHECK(!cram_md5_key_parse(slice_of(dovecot, CRAM_MD5_KEY_TEXT + 1), &key));
}
