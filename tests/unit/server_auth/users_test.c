#include "server/auth/users.h"

#include "ring/base/err.h"
#include "tests/support/test.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define CRAM "{CRAM-MD5}9186d855e11eba527a7a52ca82b313e180d62234f0acc9051b527243d41e2740"
#define SCRAM                                                                                      \
    "{SCRAM-SHA-256}4096,W22ZaJ0SNY7soEsUEjb6gQ==,WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,"   \
    "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="

static struct config_problems problems;

static void problems_free(void)
{
    for (size_t i = 0; i < problems.count; i++)
        free(problems.lines[i]);
    free(problems.lines);
    problems = (struct config_problems){0};
}

static const struct users *parse(const char *text)
{
    const struct users *users;
    problems_free();
    int err = users_parse(slice_of_cstr(text), "users.txt", &users, &problems);
    CHECK_EQ(text, err == 0, users != NULL);
    CHECK_EQ(text, err == 0, problems.count == 0);
    return users;
}

TEST(each_line_is_a_user)
{
    const struct users *users = parse("# people\n"
                                      "\n"
                                      "alice " SCRAM "\t" CRAM "\r\n"
                                      "  bob@example.test " CRAM " \n"
                                      "j\xc3\xbcrgen " SCRAM);
    CHECK(users != NULL);
    if (users == NULL) return;
    CHECK_EQ("count", users_count(users), 3);
    const struct user *alice = users_find(users, SLICE("alice"));
    CHECK(alice != NULL && alice->scram == alice->password && alice->cram_md5 != NULL);
    const struct user *bob = users_find(users, SLICE("bob@example.test"));
    CHECK(bob != NULL && bob->scram == NULL && bob->cram_md5 == bob->password);
    CHECK(users_find(users, SLICE("j\xc3\xbcrgen")) != NULL);
    CHECK(users_find(users, SLICE("Alice")) == NULL);
    CHECK(users_find(users, SLICE("alic")) == NULL);
    CHECK(users_find(users, SLICE("")) == NULL);
    CHECK(users_have(users, SECRET_SCRAM) && users_have(users, SECRET_CRAM_MD5));
    CHECK(!users_have(users, SECRET_CRYPT));
    users_unref(users_ref(users));
    CHECK(users_find(users, SLICE("alice")) == alice);
    users_unref(users);
}

TEST(every_problem_has_its_line)
{
    static const struct {
        const char *text, *first;
        size_t count;
    } cases[] = {
        {"", "users.txt:0: there is no user", 1},
        {"# nobody\n", "users.txt:1: there is no user", 1},
        {"alice\n", "users.txt:1: the user has no secret", 1},
        {"alice sender=*\n", "users.txt:1: the user has no secret", 1},
        {"alice secret\n", "users.txt:1: a secret begins with", 1},
        {"alice " CRAM " " CRAM "\n", "users.txt:1: a second {CRAM-MD5} secret", 1},
        {"alice " CRAM "\nbob " CRAM "\nalice " SCRAM "\n", "users.txt:3: the user is on line 1",
         1},
        {"alice " CRAM " sender=nobody\n", "users.txt:1: sender=", 1},
        {"alice " CRAM " sender=a*@example.test\n", "users.txt:1: sender=", 1},
        {"alice " CRAM " sender=*@*.test\n", "users.txt:1: sender=", 1},
        {"alice " CRAM " sender=\n", "users.txt:1: sender=", 1},
        {"al\x7fice " CRAM "\n", "users.txt:1: a name is at most", 1},
        {"a {CRAM-MD5}1\nb {CRAM-MD5}2 sender=x\nc " CRAM "\n", "users.txt:1: {CRAM-MD5}", 3},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CHECK(parse(cases[i].text) == NULL);
        CHECK_EQ(cases[i].text, problems.count, cases[i].count);
        size_t len = strlen(cases[i].first);
        if (problems.count > 0 && strncmp(problems.lines[0], cases[i].first, len) != 0) {
            printf("%s\n", problems.lines[0]);
            CHECK(false);
        }
    }
    problems_free();
}

TEST(no_byte_of_a_secret_is_in_a_problem)
{
    CHECK(parse("alice {CRAM-MD5}5ec2e7 {CRYPT}5ec2e7 5ec2e7 sender=5ec2e7\n") == NULL);
    CHECK_EQ("problems", problems.count, 4);
    for (size_t i = 0; i < problems.count; i++)
        CHECK(strstr(problems.lines[i], "5ec2e7") == NULL);
    problems_free();
}

TEST(a_file_that_is_cut_anywhere_is_read_or_refused)
{
    const char text[] = "alice " SCRAM " sender=*@example.test\nbob " CRAM "\n";
    for (size_t cut = 0; cut < sizeof(text); cut++) {
        const struct users *users;
        problems_free();
        int err = users_parse(slice_of(text, cut), "users.txt", &users, &problems);
        CHECK_EQ("cut", err == 0, users != NULL);
        users_unref(users);
    }
    problems_free();
}

TEST(limits_are_kept)
{
    char name[USERS_NAME_BYTES_MAX + 2 + sizeof(" " CRAM)];
    for (size_t len = USERS_NAME_BYTES_MAX; len <= USERS_NAME_BYTES_MAX + 1; len++) {
        memset(name, 'n', len);
        memcpy(name + len, " " CRAM, sizeof(" " CRAM));
        const struct users *users = parse(name);
        CHECK_EQ("name", users != NULL, len == USERS_NAME_BYTES_MAX);
        users_unref(users);
    }
    for (size_t len = USERS_LINE_BYTES_MAX; len <= USERS_LINE_BYTES_MAX + 1; len++) {
        char *line = malloc(len + 1);
        memset(line, 'x', len);
        memcpy(line, "alice " CRAM " sender=", strlen("alice " CRAM " sender="));
        memcpy(line + len - 2, "@x", 2);
        line[len] = '\0';
        const struct users *users = parse(line);
        CHECK_EQ("line", users != NULL, len == USERS_LINE_BYTES_MAX);
        users_unref(users);
        free(line);
    }
    char many[150 * 5 + 1];
    for (unsigned i = 0; i < 150; i++)
        snprintf(many + (size_t)5 * i, 6, "u%03u\n", i);
    CHECK(parse(many) == NULL);
    CHECK_EQ("problems", problems.count, 101);
    CHECK(strstr(problems.lines[100], "50 further") != NULL);
    problems_free();
}

TEST(files_that_all_may_read_are_refused)
{
    char path[] = "/tmp/users_test.XXXXXX";
    int fd = mkstemp(path);
    CHECK(fd >= 0 && write(fd, "alice " CRAM "\n", strlen("alice " CRAM "\n")) > 0);
    static const struct {
        mode_t mode;
        bool is_fine;
    } modes[] = {{0600, true}, {0640, true}, {0644, false}, {0602, false}, {0604, false}};
    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        const struct users *users;
        problems_free();
        CHECK(fchmod(fd, modes[i].mode) == 0);
        int err = users_load(path, &users, &problems);
        CHECK_EQ("mode", err, modes[i].is_fine ? 0 : -ERR_ACCESS);
        CHECK_EQ("problems", problems.count, !modes[i].is_fine);
        users_unref(users);
    }
    close(fd);
    unlink(path);
    const struct users *users;
    CHECK_EQ("gone", users_load(path, &users, &problems), -ERR_NOT_FOUND);
    CHECK_EQ("folder", users_load("/tmp", &users, &problems), -ERR_INVALID);
    CHECK(strstr(problems.lines[problems.count - 1], "/tmp: is no regular file") != NULL);
    problems_free();
}

TEST(decoys_are_the_same_each_time_and_look_like_secrets)
{
    const struct users *users = parse("alice " SCRAM "\nbob " CRAM "\n");
    const struct users *again = parse("alice " SCRAM "\ncarol " CRAM "\nbob " CRAM "\n");
    struct scram_secret one, two, other;
    users_decoy_scram(users, SLICE("mallory"), &one);
    users_decoy_scram(again, SLICE("mallory"), &two);
    users_decoy_scram(users, SLICE("trudy"), &other);
    CHECK(memcmp(&one, &two, sizeof(one)) == 0);
    CHECK(memcmp(one.salt, other.salt, sizeof(one.salt)) != 0);
    CHECK_EQ("iterations", one.iterations, 4096);
    CHECK_EQ("salt", one.salt_len, 16);
    const struct secret *decoy = users_decoy_password(users, SLICE("mallory"));
    CHECK(decoy != NULL && decoy == users_decoy_password(users, SLICE("mallory")));
    bool has_scram = false, has_cram = false; /* each of the costs that users have */
    for (char c = 'a'; c <= 'z'; c++) {
        enum secret_kind kind = users_decoy_password(users, slice_of(&c, 1))->kind;
        has_scram |= kind == SECRET_SCRAM;
        has_cram |= kind == SECRET_CRAM_MD5;
    }
    CHECK(has_scram && has_cram);
    users_unref(users);
    users_unref(again);

    users = parse("bob " CRAM "\n");
    users_decoy_scram(users, SLICE("bob"), &one);
    CHECK_EQ("iterations", one.iterations, 16384);
    users_unref(users);
}

TEST(senders_belong_to_users)
{
    const struct users *users =
        parse("alice " CRAM " sender=Alice@Example.test sender=*@lists.test sender=@Alice.test\n"
              "bob@example.test " CRAM "\n"
              "any " CRAM " sender=*\n");
    static const struct {
        const char *user, *sender;
        bool is_owned;
    } cases[] = {
        {"alice", "alice@example.test", true},
        {"alice", "ALICE@EXAMPLE.TEST", true},
        {"alice", "bob@example.test", false},
        {"alice", "x@lists.test", true},
        {"alice", "\"a@b\"@lists.test", true},
        {"alice", "x@sub.lists.test", false},
        {"alice", "x@notlists.test", false},
        {"alice", "y@alice.test", true},
        {"alice", "alice", false},
        {"alice", "alice@example.test@evil.test", false},
        {"alice", "", true},
        {"bob@example.test", "bob@example.test", true},
        {"bob@example.test", "Bob@Example.Test", true},
        {"bob@example.test", "alice@example.test", false},
        {"any", "whoever@wherever.test", true},
        {"nobody", "nobody@example.test", false},
        {"nobody@example.test", "nobody@example.test", false},
        {"nobody", "", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CHECK_EQ(
            cases[i].sender,
            users_owns_sender(users, slice_of_cstr(cases[i].user), slice_of_cstr(cases[i].sender)),
            cases[i].is_owned);
    }
    users_unref(users);
}
