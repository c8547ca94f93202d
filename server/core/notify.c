/* notify.c - readiness by descriptor and by systemd's datagram socket.
 *
 * The protocol of sd_notify(3) is one datagram; libsystemd would be a dependency for that alone. */
#include "server/core/notify.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

void notify_ready_fd(int fd, struct slice line)
{
    if (fd < 0) return;
    while (line.len > 0) {
        ssize_t count = write(fd, line.data, line.len);
        if (count <= 0) break; /* nobody listens: that is theirs to notice */
        line = slice_from(line, (size_t)count);
    }
    if (fd > STDERR_FILENO) close(fd);
}

void notify_systemd(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    if (path == NULL || (path[0] != '/' && path[0] != '@')) return;
    size_t len = strlen(path);
    if (len >= sizeof(to.sun_path)) return;
    memcpy(to.sun_path, path, len);
    if (path[0] == '@') to.sun_path[0] = '\0'; /* the abstract name space */
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return;
    socklen_t to_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
    (void)!sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&to, to_len);
    close(fd);
}
