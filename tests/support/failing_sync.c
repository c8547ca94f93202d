/* failing_sync.c - a library to be loaded before the daemon: while the file that FAILING_SYNC names
 * holds "data ERRNO" or "meta ERRNO", LMDB's sync of its data, or its write of a meta page, fails
 * with that. Each failure adds a byte to that file's namesake with ".count" behind it. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define META_BYTES_MAX 256 /* LMDB writes the fields of a meta page, not the page */
#define META_PAGES_BYTES 8192

static int failure_of(const char *what)
{
    char text[32] = "", path[512];
    const char *control = getenv("FAILING_SYNC");
    if (control == NULL) return 0;
    int fd = open(control, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    ssize_t len = read(fd, text, sizeof(text) - 1);
    close(fd);
    size_t name = strlen(what);
    if (len <= (ssize_t)name || strncmp(text, what, name) != 0) return 0;
    snprintf(path, sizeof(path), "%s.count", control);
    fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd >= 0 && write(fd, "x", 1) != 1) abort();
    close(fd);
    return (int)strtol(text + name, NULL, 10);
}

int fdatasync(int fd)
{
    int err = failure_of("data ");
    if (err == 0) return (int)syscall(SYS_fdatasync, fd);
    errno = err;
    return -1;
}

ssize_t pwrite(int fd, const void *bytes, size_t len, off_t offset)
{
    int err = len <= META_BYTES_MAX && offset < META_PAGES_BYTES ? failure_of("meta ") : 0;
    if (err == 0) return syscall(SYS_pwrite64, fd, bytes, len, offset);
    errno = err;
    return -1;
}

ssize_t pwrite64(int fd, const void *bytes, size_t len, off_t offset)
{
    return pwrite(fd, bytes, len, offset);
}
