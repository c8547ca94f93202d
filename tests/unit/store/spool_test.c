/* spool_test.c - opening a spool: directories, lock, format, file systems. */
#include "ring/base/log.h"
#include "store/spool.h"
#include "tests/unit/store/fixture.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>

static char why[512];

static void write_file(const char *directory, const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", directory, name);
    FILE *file = fopen(path, "w");
    ASSERT(file != NULL);
    fputs(text, file);
    fclose(file);
}

TEST(spool_makes_its_path_and_keeps_its_shards)
{
    struct fixture f;
    fixture_init(&f);
    fixture_make_directory(&f);
    char path[160];
    snprintf(path, sizeof(path), "%s/a/b/c/", f.directory);
    struct spool *spool;
    CHECK_EQ("open", spool_open(path, &spool, why, sizeof(why)), 0);
    CHECK_SLICE("path", slice_of_cstr(spool_path(spool)), path);
    CHECK_EQ("no shards", spool_shard_count(spool), 0);
    CHECK_EQ("make", spool_make_shards(spool, 3), 0);
    CHECK_EQ("shards", spool_shard_count(spool), 3);
    CHECK_EQ("fewer", spool_make_shards(spool, 2), 0);
    CHECK_EQ("are kept", spool_shard_count(spool), 3);
    CHECK_EQ("too many", spool_make_shards(spool, 257), -ERR_INVALID);
    CHECK(spool_sync_ns(spool, SYNC_DSYNC) > 0 && spool_sync_ns(spool, SYNC_FDATASYNC) > 0);
    spool_close(spool);

    struct stat stat_;
    CHECK_EQ("stat", stat(path, &stat_), 0);
    CHECK_EQ("mode", stat_.st_mode & 0777, 0700);
    CHECK_EQ("again", spool_open(path, &spool, why, sizeof(why)), 0);
    CHECK_EQ("shards", spool_shard_count(spool), 3);
    spool_close(spool);
    spool_close(NULL);
    fixture_end(&f);
}

TEST(spool_is_opened_by_one_at_a_time)
{
    struct fixture f;
    fixture_begin(&f);
    struct spool *second;
    CHECK_EQ("second", spool_open(f.directory, &second, why, sizeof(why)), -ERR_LOCKED);
    CHECK(second == NULL);
    CHECK(strstr(why, f.directory) != NULL);
    fixture_close(&f);
    CHECK_EQ("after", spool_open(f.directory, &second, why, sizeof(why)), 0);
    spool_close(second);
    fixture_end(&f);
}

TEST(spool_says_what_it_cannot_use)
{
    static const struct {
        const char *format;
        int err;
    } cases[] = {
        {"postern spool 2 node 0\n", -ERR_VERSION},
        {"postern spool 0 node 0\n", -ERR_CORRUPT},
        {"something else\n", -ERR_CORRUPT},
        {"", -ERR_CORRUPT},
        {"postern spool 1 node 0\n", 0},
    };
    struct fixture f;
    fixture_init(&f);
    fixture_make_directory(&f);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        write_file(f.directory, "format", cases[i].format);
        struct spool *spool;
        CHECK_EQ(cases[i].format, spool_open(f.directory, &spool, why, sizeof(why)), cases[i].err);
        CHECK_EQ(cases[i].format, why[0] != '\0', cases[i].err != 0);
        spool_close(spool);
    }
    write_file(f.directory, "file", "");
    char path[160];
    snprintf(path, sizeof(path), "%s/file", f.directory);
    struct spool *spool;
    CHECK_EQ("a file", spool_open(path, &spool, why, sizeof(why)), -ENOTDIR);
    CHECK(strstr(why, path) != NULL);
    snprintf(path, sizeof(path), "%s/file/below", f.directory);
    CHECK_EQ("below a file", spool_open(path, &spool, why, sizeof(why)), -ENOTDIR);
    fixture_end(&f);
}

/* In a child with mounts of its own. 0: refused as it should be; 77: mounts are not permitted. */
static int open_on_overlay(const char *directory)
{
    char options[512], at[128];
    static const char *const names[] = {"lower", "upper", "work", "at"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        snprintf(at, sizeof(at), "%s/%s", directory, names[i]);
        if (mkdir(at, 0700) != 0) return 1;
    }
    snprintf(options, sizeof(options), "lowerdir=%s/lower,upperdir=%s/upper,workdir=%s/work",
             directory, directory, directory);
    if (unshare(CLONE_NEWNS) != 0) return 77;
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) return 77;
    if (mount("overlay", at, "overlay", 0, options) != 0) return 77;
    struct spool *spool;
    int err = spool_open(at, &spool, why, sizeof(why));
    return err == -ERR_FILE_SYSTEM && strstr(why, "overlayfs") != NULL ? 0 : 1;
}

TEST(spool_refuses_an_overlay)
{
    struct fixture f;
    fixture_init(&f);
    fixture_make_directory(&f);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) _exit(open_on_overlay(f.directory));
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77)
        printf("skipped: no overlay can be mounted here\n");
    else
        CHECK_EQ("status", WEXITSTATUS(status), 0);
    fixture_end(&f);
}

TEST(queue_refuses_what_belongs_to_another_shard)
{
    struct fixture f;
    fixture_init(&f);
    fixture_make_directory(&f);
    f.shard_count = 2;
    fixture_open(&f);
    fixture_close(&f);
    char a[160], b[160], c[160];
    snprintf(a, sizeof(a), "%s/shards/00", f.directory);
    snprintf(b, sizeof(b), "%s/shards/01", f.directory);
    snprintf(c, sizeof(c), "%s/shards/tmp", f.directory);
    CHECK(rename(a, c) == 0 && rename(b, a) == 0 && rename(c, b) == 0);
    CHECK_EQ("exchanged", fixture_try_open(&f, why, sizeof(why)), -ERR_CORRUPT);
    CHECK(strstr(why, "exchanged") != NULL);
    spool_close(f.spool);
    f.spool = NULL;
    fixture_end(&f);
}
