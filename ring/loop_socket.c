/* loop_socket.c - starts operations on sockets.
 *
 * Accepted sockets live in the ring's own file table ("direct"): the kernel then takes no
 * reference on the process's table with each operation. Listening and connecting sockets are
 * ordinary descriptors, because they need socket options and a bind first. */
#include "ring/loop.h"

#include "ring/loop_internal.h"

#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int set_option(int fd, int level, int option)
{
    int one = 1;
    return setsockopt(fd, level, option, &one, sizeof(one)) == 0 ? 0 : -errno;
}

int loop_listen(struct loop *loop, const struct endpoint *at, int backlog,
                struct endpoint *bound_out)
{
    ASSERT(at->addr_len > 0);
    (void)loop; /* a plain descriptor serves every loop */
    /* Not SOCK_NONBLOCK: the ring would then answer -EAGAIN and not wait. */
    int fd = socket(at->addr.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    int err = set_option(fd, SOL_SOCKET, SO_REUSEADDR);
    if (err == 0) err = set_option(fd, SOL_SOCKET, SO_REUSEPORT);
    if (err == 0) err = set_option(fd, SOL_SOCKET, SO_KEEPALIVE);
    if (err == 0) err = set_option(fd, IPPROTO_TCP, TCP_NODELAY);
    if (err == 0 && bind(fd, &at->addr.any, at->addr_len) != 0) err = -errno;
    if (err == 0 && listen(fd, backlog) != 0) err = -errno;
    if (err == 0 && bound_out != NULL) {
        socklen_t len = sizeof(bound_out->addr);
        if (getsockname(fd, &bound_out->addr.any, &len) != 0) err = -errno;
        bound_out->addr_len = len;
    }
    if (err == 0) return fd;
    close(fd);
    return err;
}

void loop_accept(struct loop *loop, int listener, struct endpoint *peer_out, struct ring_op *op)
{
    if (loop->socket_count >= loop->socket_count_max || loop->accept_count >= LOOP_ACCEPTS_MAX) {
        loop_defer(loop, op, -ENFILE);
        return;
    }
    loop->accept_count++;
    peer_out->addr_len = sizeof(peer_out->addr);
    struct io_uring_sqe *sqe = loop_sqe(loop);
    io_uring_prep_accept(sqe, loop_fd(listener), &peer_out->addr.any, &peer_out->addr_len, 0);
    sqe->file_index = IORING_FILE_INDEX_ALLOC;
    loop_start(loop, sqe, TAG_ACCEPT, op);
}

/* A socket that is ready to be connected, or -ERR_*. */
static int connect_socket(const struct endpoint *to, const struct endpoint *from)
{
    int fd = socket(to->addr.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    int err = set_option(fd, IPPROTO_TCP, TCP_NODELAY);
    if (err == 0) err = set_option(fd, SOL_SOCKET, SO_KEEPALIVE);
    if (err == 0 && from != NULL) {
        /* Without a port of its own: one is chosen at connect, by destination, so that the number
         * of ports does not bound the connections of one source address. */
        if (endpoint_port(from) == 0) err = set_option(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT);
        if (err == 0 && bind(fd, &from->addr.any, from->addr_len) != 0) err = -errno;
    }
    if (err == 0) return fd;
    close(fd);
    return err;
}

void loop_connect(struct loop *loop, const struct endpoint *to, const struct endpoint *from,
                  struct ring_op *op)
{
    ASSERT(to->addr_len > 0 && to->addr_len <= sizeof(to->addr));
    int fd = connect_socket(to, from);
    if (fd < 0) {
        loop_defer(loop, op, fd);
        return;
    }
    void *address = loop_scratch(loop, to->addr_len);
    memcpy(address, &to->addr, to->addr_len);
    struct io_uring_sqe *sqe = loop_sqe(loop);
    io_uring_prep_connect(sqe, fd, address, to->addr_len);
    loop_start(loop, sqe, TAG_CONNECT, op);
    op->result = fd;
}

void loop_connect_unix(struct loop *loop, const char *path, struct ring_op *op)
{
    size_t len = strlen(path);
    ASSERT(len > 0 && len < sizeof(((struct sockaddr_un *)NULL)->sun_path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        loop_defer(loop, op, -errno);
        return;
    }
    struct sockaddr_un *address = loop_scratch(loop, sizeof(*address));
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(address->sun_path, path, len + 1);
    struct io_uring_sqe *sqe = loop_sqe(loop);
    io_uring_prep_connect(sqe, fd, (struct sockaddr *)address, sizeof(*address));
    loop_start(loop, sqe, TAG_CONNECT, op);
    op->result = fd;
}

void loop_poll(struct loop *loop, int fd, uint32_t events, struct ring_op *op)
{
    struct io_uring_sqe *sqe = loop_sqe(loop);
    io_uring_prep_poll_add(sqe, fd, events);
    loop_start(loop, sqe, TAG_PLAIN, op);
}

void loop_recv(struct loop *loop, int socket, void *into, size_t bytes, struct ring_op *op)
{
    ASSERT(bytes > 0 && bytes <= INT32_MAX);
    struct io_uring_sqe *sqe = loop_sqe(loop);
    io_uring_prep_recv(sqe, loop_fd(socket), into, bytes, 0);
    loop_start_on(loop, sqe, socket, op);
}

void loop_recv_multishot(struct loop *loop, int socket, struct ring_op *op)
{
    struct io_uring_sqe *sqe = loop_sqe(loop);
    io_uring_prep_recv_multishot(sqe, loop_fd(socket), NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = 0;
    loop_start_on(loop, sqe, socket, op);
}

const char *loop_input_data(const struct loop *loop, uint16_t input)
{
    ASSERT(input < loop->input_count);
    return loop->input_memory + (size_t)input * LOOP_INPUT_BYTES;
}

void loop_input_release(struct loop *loop, uint16_t input)
{
    ASSERT(input < loop->input_count);
    char *memory = loop->input_memory + (size_t)input * LOOP_INPUT_BYTES;
    io_uring_buf_ring_add(loop->inputs, memory, LOOP_INPUT_BYTES, input,
                          io_uring_buf_ring_mask(loop->input_count), 0);
    io_uring_buf_ring_advance(loop->inputs, 1);
}

void loop_send(struct loop *loop, int socket, const void *data, size_t bytes, struct ring_op *op)
{
    ASSERT(bytes > 0 && bytes <= INT32_MAX);
    struct io_uring_sqe *sqe = loop_sqe(loop);
    io_uring_prep_send(sqe, loop_fd(socket), data, bytes, MSG_WAITALL | MSG_NOSIGNAL);
    loop_start_on(loop, sqe, socket, op);
}

void loop_sendv(struct loop *loop, int socket, const struct iovec *pieces, uint32_t count,
                struct ring_op *op)
{
    ASSERT(count > 0 && count <= LOOP_IOV_MAX);
    struct msghdr *message = loop_scratch(loop, sizeof(*message));
    /* The kernel only reads the pieces; msghdr has no const. */
    *message = (struct msghdr){.msg_iov = (struct iovec *)(uintptr_t)pieces, .msg_iovlen = count};
    struct io_uring_sqe *sqe = loop_sqe(loop);
    io_uring_prep_sendmsg(sqe, loop_fd(socket), message, MSG_WAITALL | MSG_NOSIGNAL);
    loop_start_on(loop, sqe, socket, op);
}

void loop_shutdown_send(struct loop *loop, int socket, struct ring_op *op)
{
    /* A worker thread of the kernel does it (io_uring never runs a shutdown inline): some 10 us
     * that belong off the path of an ordinary end. */
    struct io_uring_sqe *sqe = loop_sqe(loop);
    io_uring_prep_shutdown(sqe, loop_fd(socket), SHUT_WR);
    loop_start_on(loop, sqe, socket, op);
}

void loop_close(struct loop *loop, int file, struct ring_op *op)
{
    struct io_uring_sqe *sqe = loop_sqe(loop);
    if ((file & HANDLE_DIRECT) != 0) {
        ASSERT(loop->socket_count > 0);
        loop->socket_count--;
        io_uring_prep_close_direct(sqe, (unsigned)loop_fd(file));
    } else {
        io_uring_prep_close(sqe, loop_fd(file));
    }
    if (op != NULL) {
        loop_start(loop, sqe, TAG_PLAIN, op);
    } else {
        sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
        sqe->user_data = DATA_IGNORE;
    }
}
