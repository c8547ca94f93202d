/* maildir_path_test.c - no address leads out of its place, and no two lead to one. */
#include "server/delivery/maildir_path.h"

#include "tests/support/test.h"

static const char template[] = "/var/mail/{domain}/{local}";

TEST(addresses_become_safe_paths)
{
    static const struct {
        struct slice address;
        const char *want; /* NULL: refused */
    } cases[] = {
        {SLICE("joe@box.test"), "/var/mail/box.test/joe"},
        {SLICE("Joe@BOX.Test"), "/var/mail/box.test/joe"},
        {SLICE("\"joe\"@box.test"), "/var/mail/box.test/joe"},
        {SLICE("\"j\\oe\"@box.test"), "/var/mail/box.test/joe"},
        {SLICE("joe+tag@box.test"), "/var/mail/box.test/joe+tag"},
        {SLICE("Postmaster"), "/var/mail/mx.test/postmaster"},
        {SLICE("\"../../etc/passwd\"@box.test"), "/var/mail/box.test/%2E.%2F..%2Fetc%2Fpasswd"},
        {SLICE("/etc@box.test"), "/var/mail/box.test/%2Fetc"},
        {SLICE("..@box.test"), "/var/mail/box.test/%2E."},
        {SLICE("\".\"@box.test"), "/var/mail/box.test/%2E"},
        {SLICE("a@.."), "/var/mail/%2E./a"},
        {SLICE("a@../.."), "/var/mail/%2E.%2F../a"},
        {SLICE("a%2Fb@box.test"), "/var/mail/box.test/a%252fb"},
        {SLICE("\"a b\"@box.test"), "/var/mail/box.test/a%20b"},
        {SLICE("\"a\0b\"@box.test"), "/var/mail/box.test/a%00b"},
        {SLICE("\"a\r\nb\"@box.test"), "/var/mail/box.test/a%0D%0Ab"},
        {SLICE("\xff@box.test"), "/var/mail/box.test/%FF"},
        {SLICE("\xc3\xb6@b\xc3\xbc"
               "cher.Test"),
         "/var/mail/xn--bcher-kva.test/%C3%B6"},
        {SLICE("joe@XN--bcher-KVA.test"), "/var/mail/xn--bcher-kva.test/joe"},
        {SLICE("joe@a/\xc3\xbc"), "/var/mail/a%2F%C3%BC/joe"},
        {SLICE("joe@\xff"), "/var/mail/%FF/joe"},
        {SLICE("a@[192.0.2.1]"), "/var/mail/%5B192.0.2.1%5D/a"},
        {SLICE("\"x@y\"@box.test"), "/var/mail/box.test/x@y"},
        {SLICE("{domain}@box.test"), "/var/mail/box.test/%7Bdomain%7D"},
        {SLICE("\"\"@box.test"), NULL},
        {SLICE("@box.test"), NULL},
        {SLICE("a@"), NULL},
        {SLICE(""), NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char bytes[MAILDIR_PATH_BYTES_MAX];
        struct buf out = {bytes, 0, sizeof(bytes), false};
        bool is_good = maildir_path_expand(template, cases[i].address, "mx.test", &out);
        CHECK_EQ(cases[i].address.data, is_good, cases[i].want != NULL);
        if (is_good && cases[i].want != NULL) CHECK_BUF(cases[i].address.data, out, cases[i].want);
    }
}

TEST(every_byte_stays_inside_its_component)
{
    for (unsigned byte = 0; byte < 256; byte++) {
        char address[] = "?@box.test";
        address[0] = (char)byte;
        char bytes[MAILDIR_PATH_BYTES_MAX];
        struct buf out = {bytes, 0, sizeof(bytes), false};
        bool is_good =
            maildir_path_expand(template, slice_of(address, sizeof(address) - 1), "mx.test", &out);
        if (!is_good) continue;
        struct slice last = slice_from(buf_slice(&out), strlen("/var/mail/box.test/"));
        CHECK(last.len > 0 && last.data[0] != '.');
        CHECK(memchr(last.data, '/', last.len) == NULL && memchr(last.data, 0, last.len) == NULL);
    }
}

TEST(overlong_components_and_paths_are_refused)
{
    char address[400];
    for (size_t len = 253; len <= 257; len++) {
        memset(address, 'a', len);
        memcpy(address + len, "@x", 2);
        char bytes[MAILDIR_PATH_BYTES_MAX];
        struct buf out = {bytes, 0, sizeof(bytes), false};
        CHECK_EQ("component",
                 maildir_path_expand(template, slice_of(address, len + 2), "mx.test", &out),
                 len <= 255);
    }
    char small[24];
    struct buf out = {small, 0, sizeof(small), false};
    CHECK(!maildir_path_expand(template, SLICE("joe@long.box.test"), "mx.test", &out));
}

TEST(names_are_unique_and_stable)
{
    char bytes[MAILDIR_NAME_BYTES_MAX];
    struct buf out = {bytes, 0, sizeof(bytes), false};
    CHECK(maildir_name_write(1700000000123, 1, 7, "mx:1/a.test", &out));
    CHECK_BUF("name", out, "1700000000.0000000000001_7.mx_1_a.test");

    char host[300];
    memset(host, 'h', sizeof(host) - 1);
    host[sizeof(host) - 1] = '\0';
    buf_reset(&out);
    CHECK(!maildir_name_write(1700000000123, 1, 7, host, &out));
}

TEST(trailing_slashes_of_the_template_go)
{
    char bytes[MAILDIR_PATH_BYTES_MAX];
    struct buf out = {bytes, 0, sizeof(bytes), false};
    CHECK(maildir_path_expand("/m/{local}//", SLICE("joe@x"), "mx.test", &out));
    CHECK_BUF("path", out, "/m/joe");
}
