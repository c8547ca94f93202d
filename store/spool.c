/* spool.c - opening the directory of the queue.
 *
 * Happy path: make the directories, look at the file system, take the lock, read or write the
 * format file, time both ways to make a write durable. Each failure says what to do about it. */
#include "store/spool.h"

#include "ring/base/clock.h"
#include "ring/base/log.h"
#include "ring/base/memory.h"
#include "ring/base/slice.h"
#include "ring/blocks.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#define FORMAT_VERSION 1
#define PROBE_WRITES 30
#define PROBE_BYTES (256u << 10)
#define SHARDS_MAX 256
#define SHARD_NAME_CAP 16
#define PATH_CAP 4096

/* Not in linux/magic.h. */
#define MAGIC_NFS 0x6969
#define MAGIC_SMB2 0xfe534d42
#define MAGIC_CIFS 0xff534d42
#define MAGIC_FUSE 0x65735546
#define MAGIC_CEPH 0x00c36400

struct spool {
    char *path;
    int directory, lock;
    bool is_direct;
    unsigned shard_count;
    uint64_t sync_ns[2];
};

/* LMDB's locks and the meaning of a sync are not to be had there. */
static const struct {
    uint32_t magic;
    const char *name;
} refused[] = {
    {MAGIC_NFS, "NFS"},         {SMB_SUPER_MAGIC, "SMB"}, {MAGIC_CIFS, "CIFS"},
    {MAGIC_SMB2, "SMB2"},       {MAGIC_FUSE, "FUSE"},     {OVERLAYFS_SUPER_MAGIC, "overlayfs"},
    {V9FS_MAGIC, "9p"},         {MAGIC_CEPH, "Ceph"},     {AFS_SUPER_MAGIC, "AFS"},
    {CODA_SUPER_MAGIC, "Coda"},
};

static int say(char *why, size_t why_cap, int err, const char *what, const char *path)
{
    snprintf(why, why_cap, "%s %s: %s", what, path, err_str(err));
    return err;
}

static int sync_directory(int directory, const char *name)
{
    int fd = openat(directory, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return -errno;
    int err = fsync(fd) != 0 ? -errno : 0;
    close(fd);
    return err;
}

/* Makes one directory; a new one is synced into its parent, so that it lasts. */
static int make_directory(const char *path)
{
    if (mkdir(path, 0700) != 0) return errno == EEXIST ? 0 : -errno;
    size_t cap = strlen(path) + sizeof("/..");
    char *parent = xmalloc(cap);
    snprintf(parent, cap, "%s/..", path);
    int err = sync_directory(AT_FDCWD, parent);
    free(parent);
    return err;
}

/* mkdir -p. */
static int make_path(const char *path, char *why, size_t why_cap)
{
    char *copy = xstrdup(path);
    int err = 0;
    for (char *at = copy + 1; err == 0; at++) {
        if (*at != '/' && *at != '\0') continue;
        char before = *at;
        *at = '\0';
        err = make_directory(copy);
        if (err != 0) err = say(why, why_cap, err, "cannot make", copy);
        *at = before;
        if (before == '\0') break;
    }
    free(copy);
    return err;
}

static int check_file_system(const struct spool *spool, char *why, size_t why_cap)
{
    struct statfs stat;
    if (fstatfs(spool->directory, &stat) != 0)
        return say(why, why_cap, -errno, "cannot look at", spool->path);
    uint32_t magic = (uint32_t)stat.f_type;
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        if (refused[i].magic != magic) continue;
        snprintf(why, why_cap,
                 "%s is on %s, which cannot keep the queue safe: use a local disk (ext4 or XFS), "
                 "in a container a volume",
                 spool->path, refused[i].name);
        return -ERR_FILE_SYSTEM;
    }
    if (magic == TMPFS_MAGIC || magic == RAMFS_MAGIC)
        log_text(LOG_WARN, "spool_in_memory", "%s is lost with the power: for tests only",
                 spool->path);
    return 0;
}

static int take_lock(struct spool *spool, char *why, size_t why_cap)
{
    spool->lock = openat(spool->directory, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (spool->lock < 0) return say(why, why_cap, -errno, "cannot open the lock of", spool->path);
    if (flock(spool->lock, LOCK_EX | LOCK_NB) == 0) return 0;
    if (errno != EWOULDBLOCK) return say(why, why_cap, -errno, "cannot lock", spool->path);
    snprintf(why, why_cap, "%s is in use by another process", spool->path);
    return -ERR_LOCKED;
}

/* --- the format file --- */

static int write_all(int fd, const char *text, size_t len)
{
    ssize_t written = write(fd, text, len);
    if (written < 0) return -errno;
    return (size_t)written == len ? 0 : -ERR_FULL;
}

static int write_format(const struct spool *spool)
{
    uint64_t node;
    if (getrandom(&node, sizeof(node), 0) != (ssize_t)sizeof(node)) return -errno;
    char line[64];
    int len = snprintf(line, sizeof(line), "postern spool %d node %016" PRIx64 "\n", FORMAT_VERSION,
                       node);
    int fd = openat(spool->directory, "format.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) return -errno;
    int err = write_all(fd, line, (size_t)len);
    if (err == 0 && fsync(fd) != 0) err = -errno;
    close(fd);
    if (err == 0 && renameat(spool->directory, "format.new", spool->directory, "format") != 0)
        err = -errno;
    return err;
}

static int read_format(const struct spool *spool, char *why, size_t why_cap)
{
    int fd = openat(spool->directory, "format", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 && errno == ENOENT) {
        int err = write_format(spool);
        return err == 0 ? 0 : say(why, why_cap, err, "cannot write into", spool->path);
    }
    if (fd < 0) return say(why, why_cap, -errno, "cannot read the format of", spool->path);
    char line[64];
    ssize_t len = read(fd, line, sizeof(line) - 1);
    int err = len < 0 ? -errno : 0;
    close(fd);
    if (err != 0) return say(why, why_cap, err, "cannot read the format of", spool->path);

    line[len] = '\0';
    unsigned version;
    if (sscanf(line, "postern spool %u ", &version) != 1 || version == 0) {
        snprintf(why, why_cap, "%s/format is not that of a spool", spool->path);
        return -ERR_CORRUPT;
    }
    if (version <= FORMAT_VERSION) return 0;
    snprintf(why, why_cap, "%s was written by a newer version (format %u, this one knows %d)",
             spool->path, version, FORMAT_VERSION);
    return -ERR_VERSION;
}

/* --- timing the two ways --- */

static int compare_u64(const void *a, const void *b)
{
    uint64_t x, y;
    memcpy(&x, a, sizeof(x));
    memcpy(&y, b, sizeof(y));
    return x < y ? -1 : x > y;
}

static int timed_write(int fd, void *block, enum sync_method method, off_t at, uint64_t *ns_out)
{
    uint64_t start_ns = clock_monotonic_ns();
    struct iovec piece = {block, BLOCK_ALIGN};
    ssize_t written = pwritev2(fd, &piece, 1, at, method == SYNC_DSYNC ? RWF_DSYNC : 0);
    if (written < 0) return -errno;
    if (written != BLOCK_ALIGN) return -ERR_IO;
    if (method == SYNC_FDATASYNC && fdatasync(fd) != 0) return -errno;
    *ns_out = clock_monotonic_ns() - start_ns;
    return 0;
}

/* In turns, so that what else the disk does falls on both alike. */
static int time_methods(struct spool *spool, int fd, void *block)
{
    uint64_t ns[2][PROBE_WRITES];
    for (unsigned i = 0; i < 2 * PROBE_WRITES; i++) {
        off_t at = (off_t)(i % (PROBE_BYTES / BLOCK_ALIGN)) * BLOCK_ALIGN;
        int err =
            timed_write(fd, block, i % 2 == 0 ? SYNC_DSYNC : SYNC_FDATASYNC, at, &ns[i % 2][i / 2]);
        if (err != 0) return err;
    }
    qsort(ns[0], PROBE_WRITES, sizeof(ns[0][0]), compare_u64);
    qsort(ns[1], PROBE_WRITES, sizeof(ns[1][0]), compare_u64);
    spool->sync_ns[SYNC_DSYNC] = ns[0][PROBE_WRITES / 2];
    spool->sync_ns[SYNC_FDATASYNC] = ns[1][PROBE_WRITES / 2];
    return 0;
}

static int open_probe(struct spool *spool)
{
    int flags = O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW;
    spool->is_direct = true;
    int fd = openat(spool->directory, "probe.new", flags | O_DIRECT, 0600);
    if (fd >= 0 || errno != EINVAL) return fd;
    spool->is_direct = false;
    log_text(LOG_WARN, "spool_not_direct", "%s: the file system has no O_DIRECT, writes are copied",
             spool->path);
    return openat(spool->directory, "probe.new", flags, 0600);
}

static int fill(int fd, void *block)
{
    for (off_t at = 0; at < (off_t)PROBE_BYTES; at += BLOCK_ALIGN) {
        ssize_t written = pwrite(fd, block, BLOCK_ALIGN, at);
        if (written < 0) return -errno;
        if (written != BLOCK_ALIGN) return -ERR_IO;
    }
    return fsync(fd) != 0 ? -errno : 0;
}

static bool is_full(int err)
{
    return err == -ERR_FULL || err == -EDQUOT;
}

/* A full disk is no reason not to start: what is queued can leave. */
static int pass_over_probe(struct spool *spool, int err)
{
    spool->sync_ns[SYNC_DSYNC] = spool->sync_ns[SYNC_FDATASYNC] = 0;
    log_text(LOG_WARN, "spool_not_timed", "%s: %s; the sync methods were not compared", spool->path,
             err_str(err));
    return 0;
}

static int probe(struct spool *spool, char *why, size_t why_cap)
{
    int fd = open_probe(spool);
    if (fd < 0 && is_full(-errno)) return pass_over_probe(spool, -errno);
    if (fd < 0) return say(why, why_cap, -errno, "cannot write into", spool->path);
    void *block = aligned_alloc(BLOCK_ALIGN, BLOCK_ALIGN);
    int err = block != NULL ? 0 : -ERR_MEMORY;
    if (err == 0) {
        memset(block, 0, BLOCK_ALIGN);
        err = fill(fd, block);
    }
    if (err == 0) err = time_methods(spool, fd, block);
    free(block);
    close(fd);
    unlinkat(spool->directory, "probe.new", 0);
    if (is_full(err)) return pass_over_probe(spool, err);
    if (err != 0) return say(why, why_cap, err, "cannot write into", spool->path);

    if (!log_begin(LOG_INFO, "spool_opened")) return 0;
    log_str("path", spool->path);
    log_str("write", spool->is_direct ? "direct" : "buffered");
    log_str("sync", spool_sync_method(spool) == SYNC_DSYNC ? "dsync" : "fdatasync");
    log_u64("dsync_us", spool->sync_ns[SYNC_DSYNC] / 1000);
    log_u64("fdatasync_us", spool->sync_ns[SYNC_FDATASYNC] / 1000);
    log_end();
    return 0;
}

/* --- shards --- */

static void shard_name(unsigned number, char out[SHARD_NAME_CAP])
{
    snprintf(out, SHARD_NAME_CAP, "%02u", number);
}

/* One more than the largest number there is. */
static int count_shards(struct spool *spool)
{
    int fd = openat(spool->directory, "shards", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return -errno;
    DIR *shards = fdopendir(fd);
    if (shards == NULL) {
        int err = -errno;
        close(fd);
        return err;
    }
    const struct dirent *entry;
    while ((entry = readdir(shards)) != NULL) {
        uint64_t number;
        if (!slice_to_u64(slice_of_cstr(entry->d_name), SHARDS_MAX - 1, &number)) continue;
        spool->shard_count = MAX(spool->shard_count, (unsigned)number + 1);
    }
    closedir(shards);
    return 0;
}

int spool_make_shards(struct spool *spool, unsigned count)
{
    if (count > SHARDS_MAX) return -ERR_INVALID;
    int shards = openat(spool->directory, "shards", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (shards < 0) return -errno;
    count = MAX(count, spool->shard_count);
    int err = 0;
    for (unsigned number = 0; number < count && err == 0; number++) {
        char name[SHARD_NAME_CAP];
        shard_name(number, name);
        if (mkdirat(shards, name, 0700) != 0 && errno != EEXIST) err = -errno;
    }
    if (err == 0 && fsync(shards) != 0) err = -errno;
    close(shards);
    if (err == 0) spool->shard_count = count;
    return err;
}

/* --- opening and closing --- */

static int prepare(struct spool *spool, char *why, size_t why_cap)
{
    spool->directory = open(spool->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (spool->directory < 0) return say(why, why_cap, -errno, "cannot open", spool->path);
    int err = check_file_system(spool, why, why_cap);
    if (err == 0) err = take_lock(spool, why, why_cap);
    if (err == 0) err = read_format(spool, why, why_cap);
    if (err == 0) err = probe(spool, why, why_cap);
    if (err != 0) return err;

    if (mkdirat(spool->directory, "shards", 0700) != 0 && errno != EEXIST) err = -errno;
    if (err == 0) err = count_shards(spool);
    if (err == 0) err = sync_directory(spool->directory, ".");
    return err == 0 ? 0 : say(why, why_cap, err, "cannot make the shards of", spool->path);
}

int spool_open(const char *path, struct spool **spool_out, char *why, size_t why_cap)
{
    ASSERT(path[0] != '\0');
    ASSERT(why_cap > 0);
    *spool_out = NULL;
    why[0] = '\0';
    if (strlen(path) > PATH_CAP - 128) {
        snprintf(why, why_cap, "the path of the spool is too long");
        return -ERR_INVALID;
    }
    struct spool *spool = xcalloc(1, sizeof(*spool));
    spool->path = xstrdup(path);
    spool->directory = spool->lock = -1;
    int err = make_path(path, why, why_cap);
    if (err == 0) err = prepare(spool, why, why_cap);
    if (err != 0) {
        spool_close(spool);
        return err;
    }
    *spool_out = spool;
    return 0;
}

void spool_close(struct spool *spool)
{
    if (spool == NULL) return;
    if (spool->directory >= 0) close(spool->directory);
    if (spool->lock >= 0) close(spool->lock); /* which gives up the lock */
    free(spool->path);
    free(spool);
}

const char *spool_path(const struct spool *spool)
{
    return spool->path;
}

enum sync_method spool_sync_method(const struct spool *spool)
{
    bool is_dsync = spool->sync_ns[SYNC_DSYNC] <= spool->sync_ns[SYNC_FDATASYNC];
    return is_dsync ? SYNC_DSYNC : SYNC_FDATASYNC;
}

uint64_t spool_sync_ns(const struct spool *spool, enum sync_method method)
{
    return spool->sync_ns[method];
}

bool spool_is_direct(const struct spool *spool)
{
    return spool->is_direct;
}

unsigned spool_shard_count(const struct spool *spool)
{
    return spool->shard_count;
}

char *spool_shard_path(const struct spool *spool, unsigned number)
{
    char name[SHARD_NAME_CAP];
    shard_name(number, name);
    size_t cap = strlen(spool->path) + sizeof("/shards/") + sizeof(name);
    char *path = xmalloc(cap);
    snprintf(path, cap, "%s/shards/%s", spool->path, name);
    return path;
}
