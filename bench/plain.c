/* The baseline: what plain C reaches over loopback TCP when it batches, acknowledges, and keeps an 8 MiB window.
 *
 * Messages travel in frames of 128 KiB, dealt to the sockets in strict rotation and read in the same rotation, so their
 * order is kept. A frame is a header, then for each message its length (4 bytes) and its bytes. Small messages are copied
 * into the frame; large ones are written from where they lie. No checksum, no path failure, no second thread.
 */
#define _GNU_SOURCE
#include "bench.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define FRAME (128u << 10)
#define COPY_UP_TO 2048u
#define MAX_VECTOR 1024 /* Linux takes no more at once */
#define ACK_EVERY 2u /* frames */

struct head {
    uint64_t serial;
    uint32_t count; /* messages; 0: the end */
    uint32_t length;
};

static void setup(int fd, const struct options *o) {
    int one = 1;
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one)) die("TCP_NODELAY");
    if (o->cc && setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, o->cc, (socklen_t)strlen(o->cc))) die(o->cc);
}

static void write_all(int fd, struct iovec *v, int n) {
    while (n > 0) {
        ssize_t done = writev(fd, v, n > MAX_VECTOR ? MAX_VECTOR : n);
        if (done < 0) {
            if (errno == EINTR) continue;
            die("writev");
        }
        while (n > 0 && (size_t)done >= v->iov_len) done -= (ssize_t)v->iov_len, v++, n--;
        if (n > 0) v->iov_base = (char *)v->iov_base + done, v->iov_len -= (size_t)done;
    }
}

static void write_buffer(int fd, const void *data, size_t n) {
    struct iovec v = {(void *)data, n};
    write_all(fd, &v, 1);
}

/* Reads exactly n bytes; 0 at a clean end. */
static int read_all(int fd, void *to, size_t n) {
    for (size_t got = 0; got < n;) {
        ssize_t r = recv(fd, (char *)to + got, n - got, MSG_WAITALL);
        if (r == 0) return 0;
        if (r < 0) {
            if (errno == EINTR) continue;
            die("recv");
        }
        got += (size_t)r;
    }
    return 1;
}

/* Stands for the user's callback: called once per message, never inlined. */
__attribute__((noinline)) static void deliver(const char *data, uint32_t length, uint64_t *sum) {
    *sum += (unsigned char)data[0] + length;
    __asm__ volatile("" : : "r"(data) : "memory");
}

static void receive(const int *fd, const struct options *o) {
    char *body = must_alloc(FRAME + 8 + o->size);
    uint64_t got = 0, sum = 0, expected = 0;
    for (unsigned turn = 0;; turn = (turn + 1) % o->sockets) {
        struct head h;
        if (!read_all(fd[turn], &h, sizeof h)) die("sender went away");
        if (h.serial != expected++ || h.length > FRAME + 8 + o->size) die("frame out of order");
        if (h.length && !read_all(fd[turn], body, h.length)) die("sender went away");
        const char *p = body;
        for (uint32_t i = 0; i < h.count; i++) {
            uint32_t length;
            memcpy(&length, p, 4);
            deliver(p + 4, length, &sum);
            p += 4 + length;
        }
        got += h.count;
        if (expected % ACK_EVERY == 0 || h.count == 0) write_buffer(fd[0], &got, sizeof got);
        if (h.count == 0) break;
    }
    free(body);
}

/* Takes acknowledgments; waits for one if told to. */
static void take_acks(int fd, uint64_t *acked, int wait) {
    uint64_t values[64];
    ssize_t r = recv(fd, values, sizeof values, wait ? 0 : MSG_DONTWAIT);
    if (r < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (r <= 0) die("receiver went away");
    size_t whole = (size_t)r / 8;
    if ((size_t)r % 8 && !read_all(fd, (char *)values + r, 8 - (size_t)r % 8)) die("receiver went away");
    *acked = values[(size_t)r % 8 ? whole : whole - 1];
}

static void stream(const int *fd, const struct options *o, struct figures *f) {
    char *message = must_alloc(o->size);
    uint32_t per_frame = FRAME / (uint32_t)(o->size + 4), length = (uint32_t)o->size;
    if (per_frame == 0) per_frame = 1;
    int copy = o->size <= COPY_UP_TO;
    char *frame = must_alloc((size_t)per_frame * (o->size + 4));
    struct iovec *v = must_alloc((2 * (size_t)per_frame + 1) * sizeof *v);
    uint64_t acked = 0, serial = 0, start = now_ns(), end = start + (uint64_t)(o->seconds * 1e9);
    for (unsigned turn = 0; now_ns() < end; turn = (turn + 1) % o->sockets) {
        struct head h = {serial++, per_frame, per_frame * (length + 4)};
        int n = 0;
        v[n++] = (struct iovec){&h, sizeof h};
        if (copy) {
            char *p = frame;
            for (uint32_t i = 0; i < per_frame; i++, p += 4 + o->size) {
                memcpy(p, &length, 4);
                memcpy(p + 4, message, o->size);
                __asm__ volatile("" : : : "memory");
            }
            v[n++] = (struct iovec){frame, h.length};
        } else {
            for (uint32_t i = 0; i < per_frame; i++) {
                v[n++] = (struct iovec){&length, 4};
                v[n++] = (struct iovec){message, o->size};
            }
        }
        write_all(fd[turn], v, n);
        f->messages += per_frame;
        take_acks(fd[0], &acked, 0);
        while ((f->messages - acked) * o->size > WINDOW) take_acks(fd[0], &acked, 1);
    }
    struct head last = {serial, 0, 0};
    write_buffer(fd[serial % o->sockets], &last, sizeof last);
    while (acked < f->messages) take_acks(fd[0], &acked, 1);
    f->elapsed_ns = now_ns() - start;
}

static void echo(int fd, const struct options *o) {
    char *message = must_alloc(o->size);
    while (read_all(fd, message, o->size)) write_buffer(fd, message, o->size);
}

static void pingpong(int fd, const struct options *o, struct figures *f) {
    char *message = must_alloc(o->size);
    uint64_t start = now_ns(), end = start + (uint64_t)(o->seconds * 1e9), before = start;
    while (before < end) {
        write_buffer(fd, message, o->size);
        if (!read_all(fd, message, o->size)) die("receiver went away");
        uint64_t after = now_ns();
        keep_round(f, after - before);
        before = after;
    }
    f->elapsed_ns = before - start;
}

int main(int argc, char **argv) {
    struct options o = parse(argc, argv);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), fd[MAX_SOCKETS];
    if (listener < 0) die("socket");
    if (o.cc && setsockopt(listener, IPPROTO_TCP, TCP_CONGESTION, o.cc, (socklen_t)strlen(o.cc))) die(o.cc);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) || listen(listener, MAX_SOCKETS)) die("listen");
    if (getsockname(listener, (struct sockaddr *)&at, &length)) die("getsockname");

    pid_t receiver = fork_receiver();
    for (unsigned i = 0; i < o.sockets; i++) {
        if (receiver == 0) {
            fd[i] = accept(listener, NULL, NULL);
            if (fd[i] < 0) die("accept");
        } else {
            fd[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
            if (fd[i] < 0 || connect(fd[i], (struct sockaddr *)&at, sizeof at)) die("connect");
        }
        setup(fd[i], &o);
    }
    if (receiver == 0) {
        if (o.pingpong) echo(fd[0], &o);
        else receive(fd, &o);
        return 0;
    }
    struct figures f = {0};
    if (o.pingpong) pingpong(fd[0], &o, &f);
    else stream(fd, &o, &f);
    for (unsigned i = 0; i < o.sockets; i++) close(fd[i]);
    return report(&o, &f, receiver);
}
