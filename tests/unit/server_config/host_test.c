/* CPU quotas of both cgroup versions, read from a made-up tree. */
#include "ring/base/memory.h"
#include "server/config/host.h"
#include "tests/support/test.h"

#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

struct file {
    const char *path, *text; /* below the directory of the case */
};

static void write_file(const char *root, const struct file *file)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/%s", root, file->path);
    for (char *at = path + strlen(root) + 1; (at = strchr(at, '/')) != NULL; at++) {
        *at = '\0';
        mkdir(path, 0700);
        *at = '/';
    }
    FILE *out = fopen(path, "w");
    CHECK(out != NULL);
    if (out == NULL) return;
    fputs(file->text, out);
    fclose(out);
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *ftw)
{
    (void)status, (void)type, (void)ftw;
    return remove(path);
}

TEST(the_least_quota_on_the_way_counts)
{
    static const struct {
        const char *name;
        struct file files[6];
        unsigned want;
    } cases[] = {
        {"none", {{"member", "0::/a/b\n"}, {"fs/a/b/cpu.max", "max 100000\n"}}, UINT32_MAX},
        {"two", {{"member", "0::/a/b\n"}, {"fs/a/b/cpu.max", "200000 100000\n"}}, 2},
        {"half a CPU is one", {{"member", "0::/a\n"}, {"fs/a/cpu.max", "50000 100000\n"}}, 1},
        {"2.9 CPUs are two", {{"member", "0::/a\n"}, {"fs/a/cpu.max", "290000 100000\n"}}, 2},
        {"the parent's is less",
         {{"member", "0::/a/b\n"},
          {"fs/a/b/cpu.max", "800000 100000\n"},
          {"fs/a/cpu.max", "300000 100000\n"}},
         3},
        {"a container sees only its own group",
         {{"member", "0::/kubepods/pod1\n"}, {"fs/cpu.max", "400000 100000\n"}},
         4},
        {"version 1",
         {{"member", "9:memory:/x\n4:cpu,cpuacct:/a\n"},
          {"fs/cpu/a/cpu.cfs_quota_us", "350000\n"},
          {"fs/cpu/a/cpu.cfs_period_us", "100000\n"}},
         3},
        {"version 1 without a quota",
         {{"member", "4:cpu,cpuacct:/a\n"},
          {"fs/cpu/a/cpu.cfs_quota_us", "-1\n"},
          {"fs/cpu/a/cpu.cfs_period_us", "100000\n"}},
         UINT32_MAX},
        {"nonsense", {{"member", "hello\n:\n::\n"}, {"fs/cpu.max", "a b\n"}}, UINT32_MAX},
        {"no membership", {{"fs/cpu.max", "100000 100000\n"}}, UINT32_MAX},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char root[] = "/tmp/host_test.XXXXXX", member[256], fs[256];
        CHECK(mkdtemp(root) != NULL);
        snprintf(member, sizeof(member), "%s/member", root);
        snprintf(fs, sizeof(fs), "%s/fs", root);
        for (const struct file *file = cases[i].files; file->path != NULL; file++) {
            write_file(root, file);
        }
        CHECK_EQ(cases[i].name, host_cpu_quota(member, fs), cases[i].want);
        nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    }
}

TEST(this_machine_has_cpus_and_a_name)
{
    CHECK(host_cpus() >= 1);
    CHECK(host_cores() >= 1 && host_cores() <= host_cpus());
    char *name = host_name();
    CHECK(name[0] != '\0');
    free(name);
}
