#include "server/smtp/reply.h"
#include "tests/support/test.h"

/* RFC 5321 4.5.3.1.5 and 4.2; RFC 2034: the class of the status is that of the code. */
TEST(reply_lines_are_well_formed)
{
    for (enum reply_id id = REPLY_NONE + 1; id < REPLY_COUNT; id++) {
        struct slice line = reply_line(id);
        const char *name = reply_name(id);
        uint64_t code;
        CHECK(line.len > 6 && line.len <= 512);
        CHECK(line.data[line.len - 2] == '\r' && line.data[line.len - 1] == '\n');
        for (size_t i = 0; i + 2 < line.len; i++) {
            CHECK_EQ(name, line.data[i] >= ' ' && line.data[i] <= '~', true);
        }
        CHECK(slice_to_u64(slice_of(line.data, 3), 599, &code));
        CHECK_EQ(name, code, reply_code(id));
        CHECK_EQ(name, line.data[3], ' ');
        if (id == REPLY_START_DATA) continue; /* 3yz has no status: RFC 2034 4 */
        CHECK_EQ(name, line.data[4], line.data[0]);
        CHECK_EQ(name, line.data[5], '.');
        CHECK_EQ(name, line.data[7], '.');
        size_t detail = strspn(line.data + 8, "0123456789"); /* RFC 3463 2: up to three digits */
        CHECK(detail >= 1 && detail <= 3);
        CHECK_EQ(name, line.data[8 + detail], ' ');
    }
}

TEST(reply_names_are_labels_and_unique)
{
    for (enum reply_id id = REPLY_NONE; id < REPLY_COUNT; id++) {
        const char *name = reply_name(id);
        CHECK(strspn(name, "abcdefghijklmnopqrstuvwxyz_") == strlen(name) && *name != '\0');
        for (enum reply_id other = REPLY_NONE; other < id; other++) {
            CHECK(strcmp(name, reply_name(other)) != 0);
        }
    }
}

TEST(reply_codes_and_statuses_are_those_of_the_manual)
{
    static const struct {
        enum reply_id id;
        const char *start;
    } cases[] = {
        {REPLY_OK, "250 2.0.0 "},
        {REPLY_SENDER_OK, "250 2.1.0 "},
        {REPLY_RECIPIENT_OK, "250 2.1.5 "},
        {REPLY_START_DATA, "354 "},
        {REPLY_HELP, "214 2.0.0 "},
        {REPLY_VRFY, "252 2.5.0 "},
        {REPLY_BYE, "221 2.0.0 "},
        {REPLY_UNKNOWN_COMMAND, "500 5.5.2 "},
        {REPLY_BAD_LINE, "500 5.5.2 "},
        {REPLY_LINE_TOO_LONG, "500 5.5.2 "},
        {REPLY_BAD_SYNTAX, "501 5.5.2 "},
        {REPLY_NO_ARGUMENT, "501 5.5.4 "},
        {REPLY_BAD_ARGUMENT, "501 5.5.4 "},
        {REPLY_BAD_HELO, "501 5.5.2 "},
        {REPLY_BAD_SENDER, "501 5.1.7 "},
        {REPLY_BAD_RECIPIENT, "501 5.1.3 "},
        {REPLY_NOT_IMPLEMENTED, "502 5.5.1 "},
        {REPLY_NEED_HELO, "503 5.5.1 "},
        {REPLY_NESTED_MAIL, "503 5.5.1 "},
        {REPLY_NEED_MAIL, "503 5.5.1 "},
        {REPLY_NEED_RECIPIENT, "503 5.5.1 "},
        {REPLY_NO_VALID_RECIPIENT, "554 5.5.1 "},
        {REPLY_UNKNOWN_PARAMETER, "555 5.5.4 "},
        {REPLY_NOT_ASCII, "553 5.6.7 "},
        {REPLY_RELAY_DENIED, "550 5.7.1 "},
        {REPLY_TOO_MANY_RECIPIENTS, "452 4.5.3 "},
        {REPLY_TOO_BIG, "552 5.3.4 "},
        {REPLY_STORAGE_FULL, "452 4.3.1 "},
        {REPLY_STORE_FAILED, "451 4.3.0 "},
        {REPLY_BARE_NEWLINE, "550 5.6.0 "},
        {REPLY_NUL_IN_MESSAGE, "550 5.6.0 "},
        {REPLY_TOO_MANY_HOPS, "554 5.4.6 "},
        {REPLY_HEADER_TOO_BIG, "552 5.3.4 "},
        {REPLY_TOO_MANY_ERRORS, "421 4.7.0 "},
        {REPLY_TOO_MANY_COMMANDS, "421 4.7.0 "},
        {REPLY_TOO_MANY_MESSAGES, "421 4.7.0 "},
        {REPLY_LINE_ENDLESS, "421 4.5.2 "},
        {REPLY_TIMEOUT, "421 4.4.2 "},
        {REPLY_TOO_SLOW, "421 4.4.2 "},
        {REPLY_TOO_MANY_CONNECTIONS, "421 4.3.2 "},
        {REPLY_TOO_MANY_FROM_CLIENT, "421 4.7.0 "},
        {REPLY_NO_RESOURCES, "421 4.3.0 "},
        {REPLY_SHUTTING_DOWN, "421 4.3.2 "},
        {REPLY_NOT_SMTP, "554 5.5.0 "},
        {REPLY_NOT_SYNCHRONIZED, "554 5.5.0 "},
        {REPLY_TLS_READY, "220 2.0.0 "},
        {REPLY_TLS_ACTIVE, "554 5.5.1 "},
        {REPLY_TLS_BUSY, "454 4.7.0 "},
        {REPLY_TLS_IN_TRANSACTION, "503 5.5.1 "},
        {REPLY_AUTH_OK, "235 2.7.0 "},
        {REPLY_AUTH_FAILED, "535 5.7.8 "},
        {REPLY_AUTH_CANCELED, "501 5.7.0 "},
        {REPLY_AUTH_BAD_DATA, "501 5.5.2 "},
        {REPLY_AUTH_TOO_LONG, "500 5.5.6 "},
        {REPLY_AUTH_TEMPORARY, "454 4.7.0 "},
        {REPLY_AUTH_THROTTLED, "421 4.7.0 "},
        {REPLY_AUTH_DONE, "503 5.5.1 "},
        {REPLY_AUTH_NEEDS_TLS, "530 5.7.0 "},
        {REPLY_AUTH_REQUIRED, "530 5.7.0 "},
        {REPLY_AUTH_UNKNOWN, "504 5.5.4 "},
        {REPLY_SENDER_NOT_OWNED, "553 5.7.1 "},
        {REPLY_SENDER_NO_DOMAIN, "550 5.1.8 "},
        {REPLY_SENDER_NULL_MX, "550 5.7.27 "},
        {REPLY_SENDER_UNKNOWN_YET, "451 4.1.8 "},
        {REPLY_BAD_UTF8, "501 5.5.2 "},
        {REPLY_TOO_MANY_DOMAINS, "452 4.5.3 "},
        {REPLY_BAD_CHUNK_SIZE, "501 5.5.4 "},
        {REPLY_CHUNK_OUT_OF_ORDER, "503 5.5.1 "},
        {REPLY_CHUNKING_BEGUN, "503 5.5.1 "},
        {REPLY_BINARY_NEEDS_BDAT, "503 5.5.1 "},
        {REPLY_NOT_PERMITTED, "550 5.7.0 "},
        {REPLY_NO_DUTY, "503 5.5.1 "},
    };
    CHECK_EQ("every reply but none", ARRAY_LEN(cases), REPLY_COUNT - 1);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct slice line = reply_line(cases[i].id);
        CHECK_EQ(cases[i].start, slice_starts_with_nocase(line, slice_of_cstr(cases[i].start)),
                 true);
    }
}
