/* watch.c - see watch.h. */
#include "server/core/watch.h"

#include "ring/base/clock.h"
#include "ring/base/err.h"
#include "ring/base/memory.h"

#include <stdlib.h>
#include <sys/stat.h>

/* What tells a file from what it was. The time of a change of its status is in it because who may
 * read the file decides, too, whether it can be loaded. */
struct stamp {
    uint64_t device, inode, bytes;
    int64_t modified_s, modified_ns, status_s, status_ns;
    int err;
};

struct watched_file {
    char *path;
    struct stamp stamp;
};

struct watch {
    struct watched_file *files;
    size_t count;
    bool has_changed; /* and it has not been told yet */
    uint64_t changed_ns;
};

static struct stamp stamp_of(const char *path)
{
    struct stat status;
    if (stat(path, &status) != 0) return (struct stamp){.err = errno};
    return (struct stamp){
        .device = status.st_dev,
        .inode = status.st_ino,
        .bytes = (uint64_t)status.st_size,
        .modified_s = status.st_mtim.tv_sec,
        .modified_ns = status.st_mtim.tv_nsec,
        .status_s = status.st_ctim.tv_sec,
        .status_ns = status.st_ctim.tv_nsec,
    };
}

static bool stamps_are_equal(const struct stamp *a, const struct stamp *b)
{
    return a->device == b->device && a->inode == b->inode && a->bytes == b->bytes &&
           a->modified_s == b->modified_s && a->modified_ns == b->modified_ns &&
           a->status_s == b->status_s && a->status_ns == b->status_ns && a->err == b->err;
}

static void add(struct watch *watch, const char *path)
{
    if (path == NULL) return;
    watch->files = xrealloc(watch->files, (watch->count + 1) * sizeof(*watch->files));
    watch->files[watch->count++] = (struct watched_file){xstrdup(path), stamp_of(path)};
}

struct watch *watch_create(const struct config *config)
{
    struct watch *watch = xcalloc(1, sizeof(*watch));
    for (size_t i = 0; i < config->listener_count; i++) {
        const struct config_listener *listener = &config->listeners[i];
        add(watch, listener->auth.users);
        if (listener->tls.mode == LISTENER_TLS_NONE) continue;
        add(watch, listener->tls.client_ca);
        for (size_t k = 0; k < listener->tls.certificate_count; k++) {
            const struct config_certificate *certificate = &listener->tls.certificates[k];
            add(watch, certificate->chain);
            if (strcmp(certificate->key, certificate->chain) != 0) add(watch, certificate->key);
        }
    }
    return watch;
}

void watch_destroy(struct watch *watch)
{
    if (watch == NULL) return;
    for (size_t i = 0; i < watch->count; i++)
        free(watch->files[i].path);
    free(watch->files);
    free(watch);
}

bool watch_is_empty(const struct watch *watch)
{
    return watch->count == 0;
}

bool watch_poll(struct watch *watch, uint64_t now_ns)
{
    for (size_t i = 0; i < watch->count; i++) {
        struct stamp stamp = stamp_of(watch->files[i].path);
        if (stamps_are_equal(&watch->files[i].stamp, &stamp)) continue;
        watch->files[i].stamp = stamp;
        watch->has_changed = true;
        watch->changed_ns = now_ns;
    }
    if (!watch->has_changed || now_ns - watch->changed_ns < WATCH_SETTLE_MS * NS_PER_MS)
        return false;
    watch->has_changed = false;
    return true;
}
