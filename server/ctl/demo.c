/* demo.c - see demo.h. The configuration is a file like any other, so that it can be read, changed
 * and reloaded. */
#include "server/ctl/demo.h"

#include "server/ctl/ctl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const char demo_config[] =
    "# A gateway to try: mail for demo.test is kept in Maildirs beside this file.\n"
    "node:\n"
    "  hostname: mx.demo.test\n"
    "spool:\n"
    "  path: spool\n"
    "listeners:\n"
    "  - name: mx\n"
    "    address: [\"127.0.0.1:2525\"]\n"
    "    limits: { connections: 500 }\n"
    "routes:\n"
    "  - name: mailboxes\n"
    "    match: { domain: [demo.test] }\n"
    "    action: { maildir: { path: \"mail/{domain}/{local}\" } }\n"
    "admin:\n"
    "  address: [\"127.0.0.1:8025\"]\n";

/* 0 or -errno. A file that is there is left as it is. */
static int write_config(const char *file)
{
    int fd = open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0) return errno == EEXIST ? 0 : -errno;
    size_t len = strlen(demo_config);
    ssize_t written = write(fd, demo_config, len);
    int err = written == (ssize_t)len ? 0 : written < 0 ? -errno : -ENOSPC;
    close(fd);
    if (err != 0) unlink(file); /* half of it would be taken for the user's */
    return err;
}

int demo_prepare(const char *directory, char **file_out)
{
    int len = asprintf(file_out, "%s/postern.yaml", directory);
    ASSERT(len > 0);
    int err = mkdir(directory, 0755) == 0 || errno == EEXIST ? write_config(*file_out) : -errno;
    if (err == 0) return 0;
    fprintf(stderr, "postern run: cannot make %s: %s\n", *file_out, strerror(-err));
    return CTL_FAILED;
}
