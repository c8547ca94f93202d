/* passwd.c - postern passwd: a line for the users file of a listener's `auth`.
 *
 * The password is read from the terminal, twice and without echo, or as one line from standard
 * input; it is never an argument, where others could see it. Nothing is written to any file. */
#include "server/auth/secret.h"
#include "server/auth/users.h"
#include "server/ctl/commands.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

#define ITERATIONS_DEFAULT 16384 /* some 5 ms of CPU time for each login with PLAIN or LOGIN */
#define LINE_BYTES (SECRET_PASSWORD_BYTES_MAX + 2)
#define KEY_INTERRUPT 0x03

struct typed {
    char bytes[LINE_BYTES];
    size_t len;
};

static int fail(const struct invocation *call, const char *why)
{
    fprintf(stderr, "postern %s: %s\n", call->command->name, why);
    return CTL_FAILED;
}

/* --- reading --- */

/* One line from `fd`, byte by byte, so that what follows it is left and stdio keeps no copy. False
 * at the end of the input, when it is too long, or for ^C, which is no signal here. */
static bool read_line(int fd, struct typed *typed)
{
    bool has_any = false;
    char c;
    ssize_t got;
    typed->len = 0;
    while ((got = read(fd, &c, 1)) == 1 || (got < 0 && errno == EINTR)) {
        if (got < 0) continue;
        has_any = true;
        if (c == '\n' || c == KEY_INTERRUPT) break;
        if (typed->len == sizeof(typed->bytes)) return false;
        typed->bytes[typed->len++] = c;
    }
    if (typed->len > 0 && typed->bytes[typed->len - 1] == '\r') typed->len--;
    return has_any && c != KEY_INTERRUPT;
}

static bool prompt(const char *text, struct typed *typed)
{
    fputs(text, stderr);
    bool is_read = read_line(STDIN_FILENO, typed);
    fputc('\n', stderr);
    return is_read;
}

/* With ISIG off, a signal from the keyboard cannot leave the terminal without its echo. */
static int read_from_terminal(const struct invocation *call, struct typed *typed)
{
    struct termios before, quiet;
    if (tcgetattr(STDIN_FILENO, &before) != 0) return fail(call, "cannot turn the echo off");
    quiet = before;
    quiet.c_lflag &= ~(tcflag_t)(ECHO | ISIG);
    if (tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet) != 0)
        return fail(call, "cannot turn the echo off");
    struct typed again;
    bool is_read = prompt("Password: ", typed) && prompt("Again: ", &again);
    (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
    bool is_same =
        is_read && slice_eq(slice_of(typed->bytes, typed->len), slice_of(again.bytes, again.len));
    OPENSSL_cleanse(&again, sizeof(again));
    if (!is_read) return fail(call, "no password");
    return is_same ? 0 : fail(call, "the two are not the same");
}

static int read_password(const struct invocation *call, struct typed *typed)
{
    if (isatty(STDIN_FILENO)) return read_from_terminal(call, typed);
    return read_line(STDIN_FILENO, typed)
               ? 0
               : fail(call, "no line with a password (at most 511 bytes) "
                            "on standard input");
}

/* --- making --- */

static int check_user(const struct invocation *call, struct slice name)
{
    bool is_fine = name.len > 0 && name.len <= USERS_NAME_BYTES_MAX && name.data[0] != '#';
    for (size_t i = 0; i < name.len; i++) {
        if ((unsigned char)name.data[i] <= ' ' || name.data[i] == 0x7f) is_fine = false;
    }
    if (is_fine) return 0;
    return usage_error(call,
                       "a user name is 1 to %d bytes without blanks and control characters and "
                       "does not begin with '#'",
                       USERS_NAME_BYTES_MAX);
}

static int parse_iterations(const struct invocation *call, uint32_t *iterations_out)
{
    const char *text = call->values[OPTION_ITERATIONS];
    *iterations_out = ITERATIONS_DEFAULT;
    if (text == NULL) return 0;
    if (call->values[OPTION_CRYPT] != NULL)
        return usage_error(call, "--iterations is for SCRAM-SHA-256; leave --crypt out");
    uint64_t iterations;
    if (!slice_to_u64(slice_of_cstr(text), SCRAM_ITERATIONS_MAX, &iterations) ||
        iterations < SCRAM_ITERATIONS_MIN)
        return usage_error(call, "--iterations must be %d to %d, not '%s'", SCRAM_ITERATIONS_MIN,
                           SCRAM_ITERATIONS_MAX, text);
    *iterations_out = (uint32_t)iterations;
    return 0;
}

static void append_secret(struct secret *secret, struct buf *line)
{
    buf_append_char(line, ' ');
    secret_write(secret, line);
    secret_finish(secret);
}

/* The password was checked. */
static int print_line(const struct invocation *call, struct slice password, uint32_t iterations)
{
    char text[USERS_NAME_BYTES_MAX + 2 * SECRET_TEXT_BYTES_MAX];
    struct buf line = {text, 0, sizeof(text), false};
    struct secret secret;
    buf_append_cstr(&line, call->arguments[0]);
    if (call->values[OPTION_CRYPT] == NULL)
        secret_make_scram(password, iterations, &secret);
    else if (!secret_make_crypt(password, &secret))
        return fail(call, "libcrypt cannot make a yescrypt hash");
    append_secret(&secret, &line);
    if (call->values[OPTION_CRAM_MD5] != NULL) {
        secret_make_cram_md5(password, &secret);
        append_secret(&secret, &line);
    }
    ASSERT(!line.is_short);
    printf("%.*s\n", (int)line.len, line.data);
    return finish_output(call);
}

int command_passwd(const struct invocation *call)
{
    if (call->argument_count == 0) return usage_error(call, "name a user: postern passwd USER");
    uint32_t iterations;
    int err = check_user(call, slice_of_cstr(call->arguments[0]));
    if (err == 0) err = parse_iterations(call, &iterations);
    if (err != 0) return err;

    struct typed typed;
    err = read_password(call, &typed);
    struct slice password = slice_of(typed.bytes, typed.len);
    const char *wrong = err == 0 ? secret_check_password(password) : NULL;
    if (wrong != NULL) err = fail(call, wrong);
    if (err == 0) err = print_line(call, password, iterations);
    OPENSSL_cleanse(&typed, sizeof(typed));
    return err;
}
