/* postern passwd as a user meets it: each call runs in a process of its own, with its standard
 * input from a file or from a terminal that this one plays. */
#include "server/auth/secret.h"
#include "server/ctl/ctl.h"
#include "tests/support/test.h"

#include <fcntl.h>
#include <pty.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define OUTPUT_BYTES_MAX 8192

struct outcome {
    int exit_code; /* -1: it did not end by itself */
    char out[OUTPUT_BYTES_MAX], err[OUTPUT_BYTES_MAX];
};

static int run_hook(const struct ctl_run_options *options)
{
    (void)options;
    return 42;
}

/* Runs the command with its standard streams on these files. */
static pid_t start(char **argv, int in, int out, int err)
{
    static const struct ctl_hooks hooks = {"1.2.3", run_hook};
    int argc = 0;
    while (argv[argc] != NULL)
        argc++;
    fflush(stdout);
    pid_t child = fork();
    if (child != 0) return child;
    dup2(in, STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    dup2(err, STDERR_FILENO);
    int code = ctl_main(argc, argv, &hooks);
    fflush(NULL);
    _exit(code);
}

static int scratch(void)
{
    char path[] = "/tmp/passwd_test.XXXXXX";
    int fd = mkstemp(path);
    CHECK(fd >= 0);
    unlink(path);
    return fd;
}

static void read_back(int fd, char *text)
{
    ssize_t len = pread(fd, text, OUTPUT_BYTES_MAX - 1, 0);
    text[MAX(len, 0)] = '\0';
    close(fd);
}

static void finish(struct outcome *outcome, pid_t child, int out, int err)
{
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    outcome->exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    read_back(out, outcome->out);
    read_back(err, outcome->err);
}

static void call(struct outcome *outcome, const char *input, char **argv)
{
    int in = scratch(), out = scratch(), err = scratch();
    size_t len = strlen(input);
    CHECK(pwrite(in, input, len, 0) == (ssize_t)len);
    pid_t child = start(argv, in, out, err);
    close(in);
    finish(outcome, child, out, err);
}

#define CALL(outcome, input, ...)                                                                  \
    call(outcome, input, (char *[]){"postern", "passwd", __VA_ARGS__, NULL})

/* The word after `at` blanks, as a secret that must have been made from `password`. */
static enum secret_kind check_secret(const char *out, unsigned at, const char *password)
{
    while (at > 0 && (out = strchr(out, ' ')) != NULL) {
        out++;
        at--;
    }
    CHECK(out != NULL);
    if (out == NULL) return SECRET_KIND_COUNT;
    struct secret secret;
    const char *wrong = secret_parse(slice_of(out, strcspn(out, " \n")), &secret);
    CHECK(wrong == NULL);
    if (wrong != NULL) return SECRET_KIND_COUNT;
    CHECK(secret_matches(&secret, slice_of_cstr(password)));
    CHECK(!secret_matches(&secret, SLICE("other")));
    enum secret_kind kind = secret.kind;
    secret_finish(&secret);
    return kind;
}

TEST(a_line_for_the_users_file)
{
    struct outcome o;
    CALL(&o, "pass word\nmore\n", "alice@example.test");
    CHECK_EQ(o.err, o.exit_code, 0);
    CHECK(strncmp(o.out, "alice@example.test {SCRAM-SHA-256}16384,", 40) == 0);
    CHECK(strchr(o.out, '\n') == o.out + strlen(o.out) - 1);
    CHECK_EQ("kind", check_secret(o.out, 1, "pass word"), SECRET_SCRAM);
    CHECK(strstr(o.out, "pass word") == NULL && o.err[0] == '\0');

    CALL(&o, "pw", "--cram-md5", "--iterations", "5000", "alice");
    CHECK(strncmp(o.out, "alice {SCRAM-SHA-256}5000,", 26) == 0);
    CHECK_EQ("kind", check_secret(o.out, 1, "pw"), SECRET_SCRAM);
    CHECK_EQ("kind", check_secret(o.out, 2, "pw"), SECRET_CRAM_MD5);

    CALL(&o, "pw\r\n", "--crypt", "alice");
    CHECK_EQ("kind", check_secret(o.out, 1, "pw"), SECRET_CRYPT);
}

TEST(what_cannot_be_is_told)
{
    char longest[600];
    memset(longest, 'p', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    struct outcome o;
    static const struct {
        const char *input, *user, *word;
        int exit_code;
    } cases[] = {
        {"", "alice", "no line", CTL_FAILED},
        {"\n", "alice", "empty", CTL_FAILED},
        {"bell\a\n", "alice", "SASLprep", CTL_FAILED},
        {"pw\n", "", "user name", CTL_USAGE},
        {"pw\n", "two words", "user name", CTL_USAGE},
        {"pw\n", "#alice", "user name", CTL_USAGE},
        {"pw\n", "--iterations=4095", "4096 to 10000000", CTL_USAGE},
        {"pw\n", "--iterations=many", "4096 to 10000000", CTL_USAGE},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (cases[i].user[0] == '-')
            CALL(&o, cases[i].input, (char *)cases[i].user, "alice");
        else
            CALL(&o, cases[i].input, (char *)cases[i].user);
        CHECK_EQ(cases[i].word, o.exit_code, cases[i].exit_code);
        CHECK(strstr(o.err, cases[i].word) != NULL);
        CHECK(o.out[0] == '\0');
    }
    CALL(&o, longest, "alice");
    CHECK_EQ("too long", o.exit_code, CTL_FAILED);
    CALL(&o, "pw", "--crypt", "--iterations=5000", "alice");
    CHECK_EQ("crypt", o.exit_code, CTL_USAGE);
    call(&o, "pw", (char *[]){"postern", "passwd", NULL});
    CHECK_EQ("no user", o.exit_code, CTL_USAGE);
    CALL(&o, "pw", "--help");
    CHECK_EQ("help", o.exit_code, 0);
    CHECK(strstr(o.out, "--cram-md5") != NULL);
}

/* Reads from the terminal until `word` was shown. What was shown is appended to `seen`. */
static void wait_for(int terminal, struct buf *seen, const char *word)
{
    while (memmem(seen->data, seen->len, word, strlen(word)) == NULL) {
        ssize_t got = read(terminal, seen->data + seen->len, buf_room(seen));
        CHECK(got > 0);
        if (got <= 0) return;
        seen->len += (size_t)got;
    }
}

static void type(int terminal, const char *text)
{
    CHECK(write(terminal, text, strlen(text)) == (ssize_t)strlen(text));
}

static void at_terminal(struct outcome *outcome, const char *first, const char *second)
{
    int terminal, line, out = scratch();
    CHECK(openpty(&terminal, &line, NULL, NULL, NULL) == 0);
    pid_t child = start((char *[]){"postern", "passwd", "alice", NULL}, line, out, line);
    char text[4096];
    struct buf seen = {text, 0, sizeof(text), false};
    wait_for(terminal, &seen, "Password: ");
    type(terminal, first);
    if (second != NULL) {
        wait_for(terminal, &seen, "Again: ");
        type(terminal, second);
    }
    int empty = scratch();
    finish(outcome, child, out, empty);
    struct termios after;
    CHECK(tcgetattr(line, &after) == 0);
    CHECK((after.c_lflag & (ECHO | ISIG)) == (ECHO | ISIG)); /* as it was */
    close(line);
    ssize_t got;
    while ((got = read(terminal, seen.data + seen.len, buf_room(&seen))) > 0)
        seen.len += (size_t)got;
    close(terminal);
    CHECK(memmem(seen.data, seen.len, "s3cret", 6) == NULL); /* no echo */
    snprintf(outcome->err, sizeof(outcome->err), "%.*s", (int)seen.len, seen.data);
}

TEST(from_a_terminal_it_is_asked_for_twice_without_echo)
{
    struct outcome o;
    at_terminal(&o, "s3cret\n", "s3cret\n");
    CHECK_EQ(o.err, o.exit_code, 0);
    CHECK_EQ("kind", check_secret(o.out, 1, "s3cret"), SECRET_SCRAM);
    at_terminal(&o, "s3cret\n", "s3cret2\n");
    CHECK_EQ(o.err, o.exit_code, CTL_FAILED);
    CHECK(strstr(o.err, "not the same") != NULL && o.out[0] == '\0');
    at_terminal(&o, "s3cr\x03\n", NULL);
    CHECK_EQ(o.err, o.exit_code, CTL_FAILED);
    CHECK(o.out[0] == '\0');
}
