/* watch_test.c - which changes of files are noticed, and when. The clock is a number here. */
#include "server/core/watch.h"

#include "ring/base/clock.h"
#include "tests/support/test.h"

#include <sys/stat.h>
#include <unistd.h>

#define SETTLE_NS (WATCH_SETTLE_MS * NS_PER_MS)

/* A folder with all that a listener names. */
struct folder {
    char path[64];
    struct config_certificate certificates[2];
    struct config_listener listener;
    struct config config;
};

static char *path_in(const struct folder *f, const char *name)
{
    char *path = NULL;
    int len = asprintf(&path, "%s/%s", f->path, name);
    CHECK(len > 0);
    return path;
}

static void write_text(const struct folder *f, const char *name, const char *text)
{
    char *path = path_in(f, name);
    FILE *out = fopen(path, "w");
    CHECK(out != NULL);
    fputs(text, out);
    fclose(out);
    free(path);
}

static void folder_init(struct folder *f)
{
    *f = (struct folder){.path = "/tmp/watch_test.XXXXXX"};
    CHECK(mkdtemp(f->path) != NULL);
    static const char *const names[] = {"a.pem", "a.key", "both.pem", "ca.pem", "users"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        write_text(f, names[i], names[i]);
    f->certificates[0] = (struct config_certificate){path_in(f, "a.pem"), path_in(f, "a.key")};
    f->certificates[1] =
        (struct config_certificate){path_in(f, "both.pem"), path_in(f, "both.pem")};
    f->listener.tls.mode = LISTENER_TLS_STARTTLS;
    f->listener.tls.certificates = f->certificates;
    f->listener.tls.certificate_count = 2;
    f->listener.tls.client_ca = path_in(f, "ca.pem");
    f->listener.auth.users = path_in(f, "users");
    f->config.listeners = &f->listener;
    f->config.listener_count = 1;
}

static void folder_finish(struct folder *f)
{
    static const char *const names[] = {"a.pem", "a.key", "both.pem", "ca.pem",
                                        "users", "link",  "new"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char *path = path_in(f, names[i]);
        unlink(path);
        free(path);
    }
    for (size_t i = 0; i < ARRAY_LEN(f->certificates); i++) {
        free(f->certificates[i].chain);
        free(f->certificates[i].key);
    }
    free(f->listener.tls.client_ca);
    free(f->listener.auth.users);
    rmdir(f->path);
}

/* A change was made: it is told once, and not before it has been at rest. */
static void check_noticed(const char *what, struct watch *watch, uint64_t *now_ns)
{
    CHECK_EQ(what, watch_poll(watch, *now_ns += SETTLE_NS), false);
    CHECK_EQ(what, watch_poll(watch, *now_ns += SETTLE_NS - 1), false);
    CHECK_EQ(what, watch_poll(watch, *now_ns += 1), true);
    CHECK_EQ(what, watch_poll(watch, *now_ns += SETTLE_NS), false);
    CHECK_EQ(what, watch_poll(watch, *now_ns += SETTLE_NS), false);
}

TEST(each_file_is_watched)
{
    struct folder f;
    folder_init(&f);
    struct watch *watch = watch_create(&f.config);
    uint64_t now_ns = NS_PER_S;
    CHECK(!watch_is_empty(watch));
    CHECK(!watch_poll(watch, now_ns) && !watch_poll(watch, now_ns += 2 * SETTLE_NS));
    static const char *const names[] = {"a.pem", "a.key", "both.pem", "ca.pem", "users"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        write_text(&f, names[i], "other");
        check_noticed(names[i], watch, &now_ns);
    }
    watch_destroy(watch);
    folder_finish(&f);
}

TEST(each_way_to_change_a_file_is_noticed)
{
    struct folder f;
    folder_init(&f);
    struct watch *watch = watch_create(&f.config);
    uint64_t now_ns = NS_PER_S;
    char *new = path_in(&f, "new"), *chain = f.certificates[0].chain;

    write_text(&f, "new", "a.pem"); /* the same text in another file */
    CHECK_EQ("rename", rename(new, chain), 0);
    check_noticed("renamed over it", watch, &now_ns);
    CHECK_EQ("chmod", chmod(chain, 0400), 0);
    check_noticed("may be read by others", watch, &now_ns);
    CHECK_EQ("unlink", unlink(chain), 0);
    check_noticed("gone", watch, &now_ns);
    write_text(&f, "a.pem", "a.pem");
    check_noticed("there again", watch, &now_ns);
    CHECK_EQ("unlink", unlink(chain), 0);
    CHECK_EQ("symlink", symlink("both.pem", chain), 0);
    check_noticed("a link now", watch, &now_ns);
    write_text(&f, "both.pem", "what the link leads to");
    check_noticed("behind the link", watch, &now_ns);
    CHECK_EQ("symlink", symlink("ca.pem", new), 0);
    CHECK_EQ("rename", rename(new, chain), 0);
    check_noticed("the link was swapped", watch, &now_ns);

    free(new);
    watch_destroy(watch);
    folder_finish(&f);
}

TEST(nothing_is_told_while_files_still_change)
{
    struct folder f;
    folder_init(&f);
    struct watch *watch = watch_create(&f.config);
    uint64_t now_ns = NS_PER_S;
    for (unsigned i = 0; i < 5; i++) {
        char text[16];
        snprintf(text, sizeof(text), "%0*u", (int)i + 1, i); /* of another length each time */
        write_text(&f, i % 2 == 0 ? "a.pem" : "a.key", text);
        CHECK(!watch_poll(watch, now_ns += SETTLE_NS));
    }
    CHECK(watch_poll(watch, now_ns += SETTLE_NS));
    watch_destroy(watch);
    folder_finish(&f);
}

TEST(what_is_not_used_is_not_watched)
{
    struct folder f;
    folder_init(&f);
    char *users = f.listener.auth.users;
    f.listener.auth.users = NULL;
    f.listener.tls.mode = LISTENER_TLS_NONE;
    struct watch *watch = watch_create(&f.config);
    CHECK(watch_is_empty(watch));
    CHECK(!watch_poll(watch, NS_PER_S));
    watch_destroy(watch);
    watch_destroy(NULL);
    f.listener.auth.users = users;
    folder_finish(&f);
}
