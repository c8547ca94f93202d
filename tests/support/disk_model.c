/* disk_model.c - see disk_model.h. */
#include "tests/support/disk_model.h"

#include "ring/base/list.h"
#include "ring/base/memory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define SECTOR_BYTES 512
#define PAGE_BYTES 4096
#define FDS_MAX 4096

struct disk_model_hooks disk_model_hooks;

struct change {
    struct list node;
    uint64_t offset, len;
    uint64_t size; /* of the file after it */
    char bytes[];  /* none: a new size only */
};

/* A file as it is on stable storage, and its changes since. */
struct image {
    struct list node; /* in model.images */
    ino_t inode;
    char *bytes;
    uint64_t size, cap;
    struct list changes;
};

struct entry { /* a name on stable storage */
    struct list node;
    char *path;          /* below the root: "/a/b" */
    struct image *image; /* NULL: a directory */
};

enum name_kind { NAME_MADE, NAME_REMOVED, NAME_MOVED };
struct name_change {
    struct list node;
    enum name_kind kind;
    char *path, *from;
    struct image *image; /* NAME_MADE: NULL for a directory */
};

static struct {
    char root[PATH_MAX];
    size_t root_len;
    struct list images, entries, names;
    uint64_t ops;
    bool is_on;
    struct {
        struct image *image; /* of a file of ours */
        char *directory;     /* of a directory of ours: its path below the root */
        bool is_synced;
    } fds[FDS_MAX];
} model;

uint64_t disk_model_op_count(void)
{
    return model.ops;
}

static bool is_allowed(enum disk_op op)
{
    model.ops++;
    int err = disk_model_hooks.before != NULL ? disk_model_hooks.before(op) : 0;
    if (err != 0) errno = err;
    return err == 0;
}

/* --- images --- */

static void image_resize(struct image *image, uint64_t size)
{
    if (size > image->cap) {
        image->cap = MAX(size, image->cap * 2);
        image->bytes = xrealloc(image->bytes, image->cap);
    }
    if (size > image->size) memset(image->bytes + image->size, 0, size - image->size);
    image->size = size;
}

static struct image *make_image(ino_t inode)
{
    struct image *image = xcalloc(1, sizeof(*image));
    image->inode = inode;
    list_init(&image->changes);
    list_push_front(&model.images, &image->node);
    return image;
}

static struct image *find_image(ino_t inode)
{
    struct image *image;
    LIST_FOR_EACH(image, &model.images, struct image, node)
    {
        if (image->inode == inode) return image;
    }
    return NULL;
}

static void put_bytes(struct image *image, uint64_t offset, const char *bytes, uint64_t len)
{
    if (offset + len > image->size) image_resize(image, offset + len);
    memcpy(image->bytes + offset, bytes, len);
}

static void apply(struct image *image, const struct change *change)
{
    if (change->len == 0) {
        image_resize(image, change->size);
    } else {
        put_bytes(image, change->offset, change->bytes, change->len);
    }
}

static void drop_changes(struct image *image)
{
    struct list *node;
    while ((node = list_pop_front(&image->changes)) != NULL)
        free(LIST_ENTRY(node, struct change, node));
}

static void make_stable(struct image *image)
{
    if (disk_model_hooks.ignores_syncs) return;
    struct change *change;
    LIST_FOR_EACH(change, &image->changes, struct change, node)
    {
        apply(image, change);
    }
    drop_changes(image);
}

/* A write that is stable at once: older ones to the same bytes have nothing to say any more. */
static void put_through(struct image *image, const struct change *change)
{
    struct change *old;
    apply(image, change);
    LIST_FOR_EACH(old, &image->changes, struct change, node)
    {
        uint64_t from = MAX(old->offset, change->offset);
        uint64_t to = MIN(old->offset + old->len, change->offset + change->len);
        if (from < to)
            memcpy(old->bytes + (from - old->offset), change->bytes + (from - change->offset),
                   to - from);
    }
}

static void note_change(struct image *image, uint64_t offset, const struct iovec *pieces, int count,
                        uint64_t len, uint64_t size, bool is_stable)
{
    struct change *change = xmalloc(sizeof(*change) + len);
    *change = (struct change){.offset = offset, .len = len, .size = size};
    for (uint64_t at = 0; at < len; pieces++, count--) {
        uint64_t some = MIN(pieces->iov_len, len - at);
        memcpy(change->bytes + at, pieces->iov_base, some);
        at += some;
    }
    list_init(&change->node);
    if (is_stable && !disk_model_hooks.ignores_syncs) {
        put_through(image, change);
        free(change);
    } else {
        list_push_back(&image->changes, &change->node);
    }
}

/* --- names --- */

static void set_entry(struct list *entries, const char *path, struct image *image)
{
    struct entry *entry = xcalloc(1, sizeof(*entry));
    entry->path = xstrdup(path);
    entry->image = image;
    list_push_back(entries, &entry->node);
}

static void remove_entry(struct list *entries, const char *path)
{
    struct entry *entry;
    LIST_FOR_EACH(entry, entries, struct entry, node)
    {
        if (strcmp(entry->path, path) != 0) continue;
        list_remove(&entry->node);
        free(entry->path);
        free(entry);
    }
}

static void apply_name(struct list *entries, const struct name_change *change)
{
    struct image *image = change->image;
    if (change->kind == NAME_MOVED) {
        struct entry *entry;
        bool is_there = false;
        LIST_FOR_EACH(entry, entries, struct entry, node)
        {
            if (strcmp(entry->path, change->from) != 0) continue;
            image = entry->image;
            is_there = true;
        }
        remove_entry(entries, change->from);
        if (!is_there) return;
    }
    remove_entry(entries, change->path);
    if (change->kind != NAME_REMOVED) set_entry(entries, change->path, image);
}

static void note_name(enum name_kind kind, const char *path, const char *from, struct image *image)
{
    struct name_change *change = xcalloc(1, sizeof(*change));
    change->kind = kind;
    change->path = xstrdup(path);
    change->from = from != NULL ? xstrdup(from) : NULL;
    change->image = image;
    list_push_back(&model.names, &change->node);
}

static void free_name(struct name_change *change)
{
    list_remove(&change->node);
    free(change->path);
    free(change->from);
    free(change);
}

static bool is_in(const char *path, const char *directory)
{
    size_t len = strlen(directory);
    return strncmp(path, directory, len) == 0 && path[len] == '/' &&
           strchr(path + len + 1, '/') == NULL;
}

static void sync_directory(const char *directory)
{
    if (disk_model_hooks.ignores_syncs) return;
    struct name_change *change;
    LIST_FOR_EACH(change, &model.names, struct name_change, node)
    {
        if (!is_in(change->path, directory)) continue;
        apply_name(&model.entries, change);
        free_name(change);
    }
}

/* The path below the root of `path` at `directory`, in `out`; false: it is elsewhere. */
static bool below_root(int directory, const char *path, char out[PATH_MAX])
{
    char full[2 * PATH_MAX];
    if (!model.is_on) return false;
    if (path[0] == '/') {
        snprintf(full, sizeof(full), "%s", path);
    } else {
        char link[64], base[PATH_MAX];
        snprintf(link, sizeof(link), directory == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d",
                 directory);
        ssize_t len = readlink(link, base, sizeof(base) - 1);
        if (len < 0) return false;
        base[len] = '\0';
        snprintf(full, sizeof(full), "%s/%s", base, path);
    }
    if (strncmp(full, model.root, model.root_len) != 0) return false;
    if (full[model.root_len] != '/' && full[model.root_len] != '\0') return false;
    snprintf(out, PATH_MAX, "%s", full + model.root_len);
    return true;
}

/* --- descriptors --- */

static struct image *image_of(int fd)
{
    return model.is_on && fd >= 0 && fd < FDS_MAX ? model.fds[fd].image : NULL;
}

static void forget_fd(int fd)
{
    if (fd < 0 || fd >= FDS_MAX) return;
    free(model.fds[fd].directory);
    model.fds[fd].image = NULL;
    model.fds[fd].directory = NULL;
    model.fds[fd].is_synced = false;
}

static int opened(int fd, const char *path, int flags, bool was_there)
{
    struct stat st;
    if (fd < 0) return fd;
    if (fd >= FDS_MAX || fstat(fd, &st) != 0) abort();
    forget_fd(fd);
    if (S_ISDIR(st.st_mode)) {
        char link[64], full[PATH_MAX]; /* without the ".." that may be in `path` */
        snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        ssize_t len = readlink(link, full, sizeof(full) - 1);
        if (len < (ssize_t)model.root_len) abort();
        full[len] = '\0';
        model.fds[fd].directory = xstrdup(full + model.root_len);
    } else if (S_ISREG(st.st_mode)) {
        struct image *image = was_there ? find_image(st.st_ino) : NULL;
        if (image == NULL) {
            struct image *old = find_image(st.st_ino);
            if (old != NULL) old->inode = 0; /* the number is used again */
            image = make_image(st.st_ino);
            note_name(NAME_MADE, path, NULL, image);
        }
        if ((flags & O_TRUNC) != 0 && was_there) note_change(image, 0, NULL, 0, 0, 0, false);
        model.fds[fd].image = image;
        model.fds[fd].is_synced = (flags & O_DSYNC) != 0; /* O_SYNC has its bit */
    }
    return fd;
}

static int open_at(int directory, const char *path, int flags, mode_t mode)
{
    char inside[PATH_MAX];
    if (!below_root(directory, path, inside))
        return (int)syscall(SYS_openat, directory, path, flags, mode);
    bool was_there = syscall(SYS_faccessat, directory, path, F_OK) == 0;
    if (!was_there && (flags & O_CREAT) != 0 && !is_allowed(DISK_NAME)) return -1;
    return opened((int)syscall(SYS_openat, directory, path, flags, mode), inside, flags, was_there);
}

#define MODE_OF(flags)                                                                             \
    mode_t mode = 0;                                                                               \
    if (((flags) & (O_CREAT | O_TMPFILE)) != 0) {                                                  \
        va_list arguments;                                                                         \
        va_start(arguments, flags);                                                                \
        mode = (mode_t)va_arg(arguments, int);                                                     \
        va_end(arguments);                                                                         \
    }

int open(const char *path, int flags, ...)
{
    MODE_OF(flags)
    return open_at(AT_FDCWD, path, flags, mode);
}

int openat(int directory, const char *path, int flags, ...)
{
    MODE_OF(flags)
    return open_at(directory, path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    MODE_OF(flags)
    return open_at(AT_FDCWD, path, flags, mode);
}

int openat64(int directory, const char *path, int flags, ...)
{
    MODE_OF(flags)
    return open_at(directory, path, flags, mode);
}

int close(int fd)
{
    forget_fd(fd);
    return (int)syscall(SYS_close, fd);
}

/* --- writes and sizes --- */

ssize_t pwritev2(int fd, const struct iovec *pieces, int count, off_t offset, int flags)
{
    struct image *image = image_of(fd);
    if (image != NULL && !is_allowed(DISK_WRITE)) return -1;
    ssize_t written = syscall(SYS_pwritev2, fd, pieces, count, offset, 0, flags);
    if (image == NULL || written <= 0) return written;
    bool is_stable = model.fds[fd].is_synced || (flags & (RWF_DSYNC | RWF_SYNC)) != 0;
    note_change(image, (uint64_t)offset, pieces, count, (uint64_t)written, 0, is_stable);
    return written;
}

ssize_t pwritev(int fd, const struct iovec *pieces, int count, off_t offset)
{
    return pwritev2(fd, pieces, count, offset, 0);
}

ssize_t pwrite(int fd, const void *bytes, size_t len, off_t offset)
{
    const struct iovec piece = {(void *)(uintptr_t)bytes, len};
    return pwritev2(fd, &piece, 1, offset, 0);
}

ssize_t pwrite64(int fd, const void *bytes, size_t len, off_t offset)
{
    return pwrite(fd, bytes, len, offset);
}

ssize_t writev(int fd, const struct iovec *pieces, int count)
{
    if (image_of(fd) == NULL) return syscall(SYS_writev, fd, pieces, count);
    off_t at = lseek(fd, 0, SEEK_CUR);
    ssize_t written = pwritev2(fd, pieces, count, at, 0);
    if (written > 0) (void)lseek(fd, at + written, SEEK_SET);
    return written;
}

ssize_t write(int fd, const void *bytes, size_t len)
{
    const struct iovec piece = {(void *)(uintptr_t)bytes, len};
    return image_of(fd) == NULL ? syscall(SYS_write, fd, bytes, len) : writev(fd, &piece, 1);
}

static int size_changed(int fd, int result)
{
    struct stat st;
    struct image *image = image_of(fd);
    if (image == NULL || result != 0) return result;
    if (fstat(fd, &st) != 0) abort();
    note_change(image, 0, NULL, 0, 0, (uint64_t)st.st_size, false);
    return result;
}

int ftruncate(int fd, off_t len)
{
    if (image_of(fd) != NULL && !is_allowed(DISK_SIZE)) return -1;
    return size_changed(fd, (int)syscall(SYS_ftruncate, fd, len));
}

int ftruncate64(int fd, off_t len)
{
    return ftruncate(fd, len);
}

int fallocate(int fd, int mode, off_t offset, off_t len)
{
    if (image_of(fd) != NULL && !is_allowed(DISK_SIZE)) return -1;
    /* Room that is only kept changes nothing that a crash could take, and costs a test much. */
    if (mode == FALLOC_FL_KEEP_SIZE) return 0;
    return size_changed(fd, (int)syscall(SYS_fallocate, fd, mode, offset, len));
}

int fallocate64(int fd, int mode, off_t offset, off_t len)
{
    return fallocate(fd, mode, offset, len);
}

/* --- syncs --- */

static int sync_fd(int fd, long number)
{
    struct image *image = image_of(fd);
    bool is_directory = model.is_on && fd >= 0 && fd < FDS_MAX && model.fds[fd].directory != NULL;
    if (image == NULL && !is_directory) return (int)syscall(number, fd);
    if (!is_allowed(DISK_SYNC)) {
        /* As Linux has it: the pages are clean now, and never reach the disk any more. */
        if (image != NULL) drop_changes(image);
        return -1;
    }
    if (image != NULL)
        make_stable(image);
    else
        sync_directory(model.fds[fd].directory);
    return 0;
}

int fsync(int fd)
{
    return sync_fd(fd, SYS_fsync);
}

int fdatasync(int fd)
{
    return sync_fd(fd, SYS_fdatasync);
}

/* --- names --- */

int renameat(int from_directory, const char *from, int to_directory, const char *to)
{
    char from_inside[PATH_MAX], to_inside[PATH_MAX];
    bool is_ours =
        below_root(from_directory, from, from_inside) && below_root(to_directory, to, to_inside);
    if (is_ours && !is_allowed(DISK_NAME)) return -1;
    int result = (int)syscall(SYS_renameat2, from_directory, from, to_directory, to, 0);
    if (is_ours && result == 0) note_name(NAME_MOVED, to_inside, from_inside, NULL);
    return result;
}

int rename(const char *from, const char *to)
{
    return renameat(AT_FDCWD, from, AT_FDCWD, to);
}

int link(const char *from, const char *to)
{
    char inside[PATH_MAX];
    struct stat st;
    bool is_ours = below_root(AT_FDCWD, to, inside);
    if (is_ours && !is_allowed(DISK_NAME)) return -1;
    int result = (int)syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0);
    if (is_ours && result == 0 && stat(to, &st) == 0)
        note_name(NAME_MADE, inside, NULL, find_image(st.st_ino));
    return result;
}

int unlinkat(int directory, const char *path, int flags)
{
    char inside[PATH_MAX];
    bool is_ours = below_root(directory, path, inside);
    if (is_ours && !is_allowed(DISK_NAME)) return -1;
    int result = (int)syscall(SYS_unlinkat, directory, path, flags);
    if (is_ours && result == 0) note_name(NAME_REMOVED, inside, NULL, NULL);
    return result;
}

int unlink(const char *path)
{
    return unlinkat(AT_FDCWD, path, 0);
}

int mkdirat(int directory, const char *path, mode_t mode)
{
    char inside[PATH_MAX];
    bool is_ours = below_root(directory, path, inside);
    if (is_ours && !is_allowed(DISK_NAME)) return -1;
    int result = (int)syscall(SYS_mkdirat, directory, path, mode);
    if (is_ours && result == 0) note_name(NAME_MADE, inside, NULL, NULL);
    return result;
}

int mkdir(const char *path, mode_t mode)
{
    return mkdirat(AT_FDCWD, path, mode);
}

/* --- begin, end --- */

static void load_file(const char *full, const char *inside, const struct stat *st)
{
    struct image *image = find_image(st->st_ino);
    if (image == NULL) {
        image = make_image(st->st_ino);
        image_resize(image, (uint64_t)st->st_size);
        int fd = (int)syscall(SYS_openat, AT_FDCWD, full, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || pread(fd, image->bytes, image->size, 0) != (ssize_t)image->size) abort();
        syscall(SYS_close, fd);
    }
    set_entry(&model.entries, inside, image);
}

static void load_directory(const char *inside)
{
    char full[2 * PATH_MAX], path[PATH_MAX];
    snprintf(full, sizeof(full), "%s%s", model.root, inside);
    DIR *directory = opendir(full);
    if (directory == NULL) abort();
    for (struct dirent *at; (at = readdir(directory)) != NULL;) {
        if (strcmp(at->d_name, ".") == 0 || strcmp(at->d_name, "..") == 0) continue;
        struct stat st;
        snprintf(path, sizeof(path), "%.3000s/%.255s", inside, at->d_name);
        snprintf(full, sizeof(full), "%s%s", model.root, path);
        if (lstat(full, &st) != 0) abort();
        if (S_ISDIR(st.st_mode)) {
            set_entry(&model.entries, path, NULL);
            load_directory(path);
        } else if (S_ISREG(st.st_mode)) {
            load_file(full, path, &st);
        }
    }
    closedir(directory);
}

void disk_model_begin(const char *root)
{
    ASSERT(!model.is_on);
    snprintf(model.root, sizeof(model.root), "%s", root);
    model.root_len = strlen(root);
    list_init(&model.images);
    list_init(&model.entries);
    list_init(&model.names);
    model.ops = 0;
    load_directory("");
    model.is_on = true;
}

void disk_model_end(void)
{
    model.is_on = false;
    for (int fd = 0; fd < FDS_MAX; fd++)
        forget_fd(fd);
    struct name_change *change;
    LIST_FOR_EACH(change, &model.names, struct name_change, node)
    {
        free_name(change);
    }
    struct entry *entry;
    LIST_FOR_EACH(entry, &model.entries, struct entry, node)
    {
        list_remove(&entry->node);
        free(entry->path);
        free(entry);
    }
    struct image *image;
    LIST_FOR_EACH(image, &model.images, struct image, node)
    {
        list_remove(&image->node);
        drop_changes(image);
        free(image->bytes);
        free(image);
    }
}

/* --- crash states --- */

/* What survives of a write: all, nothing, or what a sector or a page of it makes. */
static void apply_some(struct image *image, const struct change *change,
                       uint64_t (*below)(uint64_t limit), unsigned share)
{
    if (below(100) < share) {
        apply(image, change);
        return;
    }
    if (change->len == 0 || below(2) == 0) return;
    uint64_t unit = below(2) == 0 ? SECTOR_BYTES : PAGE_BYTES;
    for (uint64_t at = 0; at < change->len;) {
        uint64_t end =
            MIN((change->offset + at) / unit * unit + unit - change->offset, change->len);
        if (below(2) == 0) put_bytes(image, change->offset + at, change->bytes + at, end - at);
        at = end;
    }
}

/* Pages of zeros stay holes: most of a segment is. */
static void write_pages(int fd, const char *bytes, uint64_t size)
{
    static const char zeros[PAGE_BYTES];
    if (syscall(SYS_ftruncate, fd, size) != 0) abort();
    for (uint64_t at = 0; at < size;) {
        uint64_t end = at;
        while (end < size && memcmp(bytes + end, zeros, MIN(PAGE_BYTES, size - end)) != 0)
            end = MIN(end + PAGE_BYTES, size);
        if (end > at && syscall(SYS_pwrite64, fd, bytes + at, end - at, at) != (long)(end - at))
            abort();
        at = end > at ? end : end + PAGE_BYTES;
    }
}

static void write_image(const char *full, const struct image *stable,
                        uint64_t (*below)(uint64_t limit), unsigned share)
{
    int fd =
        (int)syscall(SYS_openat, AT_FDCWD, full, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) abort();
    if (list_is_empty(&stable->changes)) {
        write_pages(fd, stable->bytes, stable->size);
        syscall(SYS_close, fd);
        return;
    }
    struct image copy = {0};
    image_resize(&copy, stable->size);
    if (stable->size > 0) memcpy(copy.bytes, stable->bytes, stable->size);
    struct change *change;
    LIST_FOR_EACH(change, &stable->changes, struct change, node)
    {
        apply_some(&copy, change, below, share);
    }
    write_pages(fd, copy.bytes, copy.size);
    syscall(SYS_close, fd);
    free(copy.bytes);
}

void disk_model_crash(const char *into, uint64_t (*below)(uint64_t limit), unsigned share)
{
    uint64_t names = 0, taken;
    struct name_change *change;
    LIST_FOR_EACH(change, &model.names, struct name_change, node)
    {
        names++;
    }
    taken = share == 100 ? names : share == 0 ? 0 : below(names + 1);
    LIST_FOR_EACH(change, &model.names, struct name_change, node)
    {
        if (taken-- == 0) break;
        apply_name(&model.entries, change);
    }
    /* Parents before what is in them: a name whose directory is not there is not there. */
    for (size_t depth = 1; depth < 64; depth++) {
        struct entry *entry;
        LIST_FOR_EACH(entry, &model.entries, struct entry, node)
        {
            size_t slashes = 0;
            for (const char *at = entry->path; *at != '\0'; at++)
                slashes += *at == '/';
            if (slashes != depth) continue;
            char full[2 * PATH_MAX];
            snprintf(full, sizeof(full), "%s%s", into, entry->path);
            if (entry->image == NULL) {
                (void)syscall(SYS_mkdirat, AT_FDCWD, full, 0700);
                continue;
            }
            char parent[2 * PATH_MAX];
            snprintf(parent, sizeof(parent), "%s", full);
            *strrchr(parent, '/') = '\0';
            if (access(parent, F_OK) == 0) write_image(full, entry->image, below, share);
        }
    }
}
