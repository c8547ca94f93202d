/* maildir_test.c - messages as files: what is in them, where they are, and what goes wrong. */
#include "tests/unit/server_delivery/world.h"

#include <dirent.h>
#include <sys/stat.h>

static const char body_text[] = "Subject: x\r\n\r\n..stuffed\r\nend\r\n";
#define BODY slice_of(body_text, sizeof(body_text) - 1)

static const char file_text[] =
    "Return-Path: <sender@from.test>\r\nSubject: x\r\n\r\n.stuffed\r\nend\r\n";

static char path_template[1200];

static struct world *make_world(void)
{
    struct world *w = world_create();
    snprintf(path_template, sizeof(path_template), "%s/mail/{domain}/{local}", w->dir);
    world_route(w, "box.test", ACTION_MAILDIR)->maildir_path = path_template;
    return w;
}

/* The name of the only file in a directory; false when there is none, or several. */
static bool only_file(const char *dir, char *name, size_t cap)
{
    DIR *stream = opendir(dir);
    unsigned count = 0;
    if (stream == NULL) return false;
    for (struct dirent *entry; (entry = readdir(stream)) != NULL;) {
        if (entry->d_name[0] == '.') continue;
        snprintf(name, cap, "%s", entry->d_name);
        count++;
    }
    closedir(stream);
    return count == 1;
}

static unsigned file_count(const char *format, const struct world *w, const char *box)
{
    char dir[1200];
    snprintf(dir, sizeof(dir), format, w->dir, box);
    DIR *stream = opendir(dir);
    unsigned count = 0;
    if (stream == NULL) return 0;
    for (struct dirent *entry; (entry = readdir(stream)) != NULL;)
        count += entry->d_name[0] != '.';
    closedir(stream);
    return count;
}

#define NEW_COUNT(w, box) file_count("%s/mail/box.test/%s/new", w, box)
#define TMP_COUNT(w, box) file_count("%s/mail/box.test/%s/tmp", w, box)

/* What the only new file of a mailbox holds. */
static struct slice new_file(const struct world *w, const char *box)
{
    static char text[4 << 20];
    char dir[1200], name[256], path[1500];
    snprintf(dir, sizeof(dir), "%s/mail/box.test/%s/new", w->dir, box);
    if (!only_file(dir, name, sizeof(name))) return SLICE("(not one file)");
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *file = fopen(path, "r");
    if (file == NULL) return SLICE("(cannot open)");
    size_t len = fread(text, 1, sizeof(text), file);
    fclose(file);
    return slice_of(text, len);
}

TEST(a_message_becomes_a_file)
{
    struct world *w = make_world();
    world_start(w);
    world_send(w, BODY, "Joe@BOX.test \"a/b\"@box.test");
    WORLD_WAIT(w, WORLD_COUNT(w, attempts_delivered) == 2);
    WORLD_WAIT(w, world_look(w).messages == 0);
    CHECK_SLICE("joe", new_file(w, "joe"), file_text);
    CHECK_SLICE("a/b", new_file(w, "a%2Fb"), file_text);
    CHECK_EQ("tmp", TMP_COUNT(w, "joe"), 0);
    char cur[1200];
    struct stat stat_of_cur;
    snprintf(cur, sizeof(cur), "%s/mail/box.test/joe/cur", w->dir);
    CHECK(stat(cur, &stat_of_cur) == 0 && S_ISDIR(stat_of_cur.st_mode));
    CHECK_EQ("mode", stat_of_cur.st_mode & 0777, 0700);
    world_destroy(w);
}

TEST(an_empty_message_becomes_a_file)
{
    struct world *w = make_world();
    world_start(w);
    world_send(w, SLICE(""), "joe@box.test");
    WORLD_WAIT(w, WORLD_COUNT(w, attempts_delivered) == 1);
    CHECK_SLICE("file", new_file(w, "joe"), "Return-Path: <sender@from.test>\r\n");
    world_destroy(w);
}

TEST(a_message_that_came_by_bdat_becomes_a_file_as_it_is)
{
    static const char text[] = "Subject: x\r\n\r\n.dot\r\n..\r\n.\r\n\0\n\rno line end";
    static const struct envelope raw = {.form = BODY_RAW, .is_binary = true, .requires_tls = true};
    struct world *w = make_world();
    world_start(w);
    world_send_special(w, slice_of(text, sizeof(text) - 1), "joe@box.test", &raw);
    WORLD_WAIT(w, WORLD_COUNT(w, attempts_delivered) == 1);
    struct slice file = new_file(w, "joe");
    size_t before = strlen("Return-Path: <sender@from.test>\r\n");
    CHECK_EQ("length", file.len, before + sizeof(text) - 1);
    CHECK(file.len > before && memcmp(file.data + before, text, file.len - before) == 0);
    world_destroy(w);
}

TEST(every_length_around_the_buffer_is_written_whole)
{
    /* The file is the Return-Path line and the body; the writer's buffer holds 32768 bytes. */
    static const size_t marks[] = {8192, 32768, 65536, 98304};
    struct world *w = make_world();
    world_start(w);
    char *body = xmalloc(100000);
    unsigned sent = 0;
    for (size_t i = 0; i < ARRAY_LEN(marks); i++) {
        for (size_t len = marks[i] - 35; len <= marks[i] + 2; len++) {
            memset(body, 'x', len);
            memcpy(body + len - 2, "\r\n", 2);
            char address[64], box[32];
            snprintf(box, sizeof(box), "n%u", sent);
            snprintf(address, sizeof(address), "%s@box.test", box);
            world_send(w, slice_of(body, len), address);
            sent++;
            WORLD_WAIT(w, WORLD_COUNT(w, attempts_delivered) == sent);
            struct slice file = new_file(w, box);
            CHECK_EQ(box, file.len, len + strlen("Return-Path: <sender@from.test>\r\n"));
            CHECK(file.len >= len && memcmp(file.data + file.len - len, body, len) == 0);
        }
    }
    free(body);
    world_destroy(w);
}

TEST(many_messages_share_the_writers)
{
    struct world *w = make_world();
    world_start(w);
    for (unsigned i = 0; i < 50; i++)
        world_send(w, BODY, "joe@box.test");
    WORLD_WAIT(w, WORLD_COUNT(w, attempts_delivered) == 50);
    CHECK_EQ("new", NEW_COUNT(w, "joe"), 50);
    CHECK_EQ("tmp", TMP_COUNT(w, "joe"), 0);
    world_destroy(w);
}

static void make_dir(const struct world *w, const char *below)
{
    char path[1400];
    snprintf(path, sizeof(path), "%s/%s", w->dir, below);
    CHECK(mkdir(path, 0700) == 0);
}

TEST(a_mailbox_that_cannot_be_written_defers)
{
    struct world *w = make_world();
    make_dir(w, "mail");
    char path[1400];
    snprintf(path, sizeof(path), "%s/mail/box.test", w->dir);
    FILE *file = fopen(path, "w"); /* where a directory is needed */
    CHECK(file != NULL);
    if (file != NULL) fclose(file);
    world_start(w);
    world_send(w, BODY, "joe@box.test");
    WORLD_WAIT(w, WORLD_COUNT(w, attempts_deferred) == 1);
    WORLD_WAIT(w, strstr(world_look(w).replies, "4.3.0 cannot write into the mailbox") != NULL);
    world_destroy(w);
}

/* A crash between two mkdir(2), or a hand that tidied up. */
TEST(a_mailbox_without_some_of_its_directories_is_made_whole)
{
    static const char *const missing[] = {"new", "cur", "tmp", "new cur", "new tmp", "new cur tmp"};
    struct world *w = make_world();
    world_start(w);
    for (size_t i = 0; i < ARRAY_LEN(missing); i++) {
        char path[1300], box[16], recipients[40];
        snprintf(box, sizeof(box), "joe%zu", i);
        snprintf(path, sizeof(path), "%s/mail", w->dir);
        (void)mkdir(path, 0700);
        snprintf(path, sizeof(path), "%s/mail/box.test", w->dir);
        (void)mkdir(path, 0700);
        snprintf(path, sizeof(path), "%s/mail/box.test/%s", w->dir, box);
        CHECK_EQ(box, mkdir(path, 0700), 0);
        static const char *const all[] = {"new", "cur", "tmp"};
        for (size_t j = 0; j < ARRAY_LEN(all); j++) {
            snprintf(path, sizeof(path), "%s/mail/box.test/%s/%s", w->dir, box, all[j]);
            if (strstr(missing[i], all[j]) == NULL) CHECK_EQ(path, mkdir(path, 0700), 0);
        }
        snprintf(recipients, sizeof(recipients), "%s@box.test", box);
        world_send(w, BODY, recipients);
        WORLD_WAIT(w, world_look(w).messages == 0);
        CHECK_SLICE(missing[i], new_file(w, box), file_text);
        CHECK_EQ(missing[i], TMP_COUNT(w, box), 0);
    }
    world_destroy(w);
}

TEST(an_address_that_can_have_no_mailbox_fails)
{
    struct world *w = make_world();
    world_start(w);
    world_send(w, BODY, "\"\"@box.test joe@box.test");
    WORLD_WAIT(w, WORLD_RESULTS(w) == 2);
    CHECK_EQ("failed", WORLD_COUNT(w, attempts_failed), 1);
    CHECK_SLICE("the other", new_file(w, "joe"), file_text);
    world_destroy(w);
}

/* A copy with the message's own name is what an earlier attempt has left: it is not doubled. */
TEST(a_second_attempt_finds_the_file_of_the_first)
{
    struct world *w = make_world();
    w->config.delivery.retry.first_ms = 50;
    w->config.delivery.retry.max_ms = 50;
    make_dir(w, "mail");
    make_dir(w, "mail/box.test");
    make_dir(w, "mail/box.test/joe");
    make_dir(w, "mail/box.test/joe/tmp");
    world_start(w);
    struct message *message = world_put(w, BODY, "joe@box.test");
    CHECK(message != NULL);
    if (message == NULL) return;
    char id[MESSAGE_ID_TEXT], name[128], path[1500];
    message_id_write(message->id, id);
    snprintf(name, sizeof(name), "%llu.%.*s_0.gw.test",
             (unsigned long long)(message->envelope.received_ms / 1000), MESSAGE_ID_TEXT, id);

    /* Cut off while writing: the stale file in tmp is replaced. */
    snprintf(path, sizeof(path), "%s/mail/box.test/joe/tmp/%s", w->dir, name);
    FILE *file = fopen(path, "w");
    CHECK(file != NULL && fputs("half", file) >= 0 && fclose(file) == 0);
    /* Cut off after the link: the file in new stays the only one. */
    make_dir(w, "mail/box.test/joe/new");
    snprintf(path, sizeof(path), "%s/mail/box.test/joe/new/%s", w->dir, name);
    file = fopen(path, "w");
    CHECK(file != NULL && fputs("whole", file) >= 0 && fclose(file) == 0);

    delivery_take(w->delivery, message);
    WORLD_WAIT(w, WORLD_COUNT(w, attempts_delivered) == 1);
    CHECK_EQ("new", NEW_COUNT(w, "joe"), 1);
    CHECK_EQ("tmp", TMP_COUNT(w, "joe"), 0);
    CHECK_SLICE("kept", new_file(w, "joe"), "whole");
    world_destroy(w);
}
