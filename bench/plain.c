/* The baseline: what plain C reaches over loopback TCP when it batches, acknowledges, and keeps an 8 MiB window.
 *
 * Messages travel in frames of 128 KiB, dealt to the sockets in strict rotation and read in the same rotation, so their
 * order is kept. A frame is a header, then for each message its length (4 bytes) and its bytes. Small messages are copied
 * into the frame; large ones are written from where they lie. No path failure, no second thread, and a checksum (CRC-32C by
 * ISA-L) only if compiled with WITH_CRC. Idle round trips are a message's bytes and nothing else, with epoll or spinning.
 */
#include "drive.h"
#include "relay.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/uio.h>

#ifdef WITH_CRC
#include <isa-l/crc.h>
static uint32_t crc(uint32_t state, const void *data, size_t n) { return crc32_iscsi((unsigned char *)data, (int)n, state); }
#else
static uint32_t crc(uint32_t state, const void *data, size_t n) { return (void)data, (void)n, state; }
#endif

#define FRAME (128u << 10)
#define MAX_VECTOR 1024 /* Linux takes no more at once */
#define ACK_EVERY 2u    /* frames */

struct head {
    uint64_t serial;
    uint32_t count; /* messages; 0: the end */
    uint32_t length;
    uint32_t crc;
    uint32_t unused;
};

static struct options options;
static int fds[MAX_PATHS];
static int poller;

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

/* The same as an event loop does it, or spinning. */
static void read_when_ready(int fd, void *to, size_t n) {
    for (size_t got = 0; got < n;) {
        struct epoll_event event;
        if (!options.spin && epoll_wait(poller, &event, 1, -1) < 0 && errno != EINTR) die("epoll_wait");
        ssize_t r = recv(fd, (char *)to + got, n - got, MSG_DONTWAIT);
        if (r == 0) die("the other end went away");
        if (r < 0 && errno != EAGAIN && errno != EINTR) die("recv");
        if (r > 0) got += (size_t)r;
    }
}

/* ---- the receiver ---- */

/* Stands for the user's callback: called once per message, never inlined. */
__attribute__((noinline)) static void deliver(const char *data, uint32_t length) {
    if (data[0] == ANSWER) write_buffer(fds[0], data, length);
    __asm__ volatile("" : : "r"(data) : "memory");
}

static void receive(void) {
    size_t room = FRAME + 8 + options.size;
    char *body = must_alloc(room);
    uint64_t got = 0, expected = 0;
    struct head h;
    for (unsigned turn = 0;; turn = (turn + 1) % options.paths) {
        if (!read_all(fds[turn], &h, sizeof h)) die("sender went away");
        if (expected == 0) receiver_begins();
        if (h.serial != expected++ || h.length > room) die("frame out of order");
        if (h.length && !read_all(fds[turn], body, h.length)) die("sender went away");
        if (crc(0, body, h.length) != h.crc) die("checksum");
        const char *p = body;
        for (uint32_t i = 0; i < h.count; i++) {
            uint32_t length;
            memcpy(&length, p, 4);
            deliver(p + 4, length);
            p += 4 + length;
        }
        got += h.count;
        /* Under load the answers do instead. */
        if (options.mode == STREAM ? expected % ACK_EVERY == 0 || h.count == 0 : h.count == 0) write_buffer(fds[0], &got, sizeof got);
        if (h.count == 0) break;
    }
    receiver_ends();
}

static void echo(void) {
    char *message = must_alloc(options.size);
    for (int first = 1;; first = 0) {
        read_when_ready(fds[0], message, options.size);
        if (first) receiver_begins();
        write_buffer(fds[0], message, options.size);
        if (message[0] == END) break;
    }
    receiver_ends();
}

/* ---- the sender ---- */

static struct {
    struct head head;
    char *bytes;       /* of copied messages */
    struct iovec *v;   /* first the head */
    int n;
    uint32_t per_frame, length;
    unsigned turn;
    uint64_t sent, acked;
    int last; /* kind of the last message */
} out;

/* Takes acknowledgments; waits for one if told to. */
static void take_acks(int wait) {
    uint64_t values[64];
    ssize_t r = recv(fds[0], values, sizeof values, wait ? 0 : MSG_DONTWAIT);
    if (r < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (r <= 0) die("receiver went away");
    size_t whole = (size_t)r / 8;
    if ((size_t)r % 8 && !read_all(fds[0], (char *)values + r, 8 - (size_t)r % 8)) die("receiver went away");
    out.acked = values[(size_t)r % 8 ? whole : whole - 1];
}

static void begin_frame(void) {
    out.head = (struct head){.serial = out.head.serial};
    out.n = 1;
}

static void flush(void) {
    out.v[0] = (struct iovec){&out.head, sizeof out.head};
    if (out.head.length && out.n == 1) out.v[out.n++] = (struct iovec){out.bytes, out.head.length};
    for (int i = 1; i < out.n; i++) out.head.crc = crc(out.head.crc, out.v[i].iov_base, out.v[i].iov_len);
    out.sent += out.head.count;
    write_all(fds[out.turn], out.v, out.n);
    out.turn = (out.turn + 1) % options.paths;
    out.head.serial++;
    begin_frame();
    if (options.mode != STREAM) return;
    take_acks(0);
    while ((out.sent - out.acked) * options.size > WINDOW) take_acks(1);
}

static inline void peer_send(const char *message, size_t size) {
    out.last = message[0];
    if (options.mode == ROUND_TRIP) {
        write_buffer(fds[0], message, size);
        return;
    }
    if (out.last == END) {
        if (out.head.count) flush();
        flush();
        return;
    }
    if (size <= COPY_UP_TO) {
        char *p = out.bytes + out.head.length;
        memcpy(p, &out.length, 4);
        memcpy(p + 4, message, size);
    } else {
        out.v[out.n++] = (struct iovec){&out.length, 4};
        out.v[out.n++] = (struct iovec){(void *)message, size};
    }
    out.head.length += 4 + out.length;
    if (++out.head.count == out.per_frame) flush();
}

static inline uint64_t peer_await(void) {
    static char *answer;
    if (!answer) answer = must_alloc(options.size);
    if (options.mode == ROUND_TRIP) {
        read_when_ready(fds[0], answer, options.size);
    } else if (out.last == END) {
        while (out.acked < out.sent) take_acks(1);
    } else {
        if (out.head.count) flush();
        if (!read_all(fds[0], answer, options.size)) die("receiver went away");
    }
    return now_ns();
}

static void prepare(void) {
    out.length = (uint32_t)options.size;
    out.per_frame = FRAME / (uint32_t)(options.size + 4);
    if (out.per_frame == 0) out.per_frame = 1;
    out.bytes = must_alloc((size_t)out.per_frame * (options.size + 4));
    out.v = must_alloc((2 * (size_t)out.per_frame + 2) * sizeof *out.v);
    begin_frame();
}

/* ---- both ---- */

static void setup(int fd) {
    int one = 1;
    struct epoll_event event = {.events = EPOLLIN};
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one)) die("TCP_NODELAY");
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event)) die("epoll_ctl");
}

static void go_through_relay(struct sockaddr_in *at) {
    char address[64];
    snprintf(address, sizeof address, "127.0.0.1:%u", ntohs(at->sin_port));
    through_relay(&options, address, sizeof address);
    at->sin_port = htons((in_port_t)strtoul(strrchr(address, ':') + 1, NULL, 10));
}

int main(int argc, char **argv) {
    options = parse(argc, argv, "spin relay");
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&at, sizeof at) || listen(listener, MAX_PATHS)) die("listen");
    if (getsockname(listener, (struct sockaddr *)&at, &length)) die("getsockname");

    pid_t receiver = fork_receiver(&options);
    if (receiver && options.relay) go_through_relay(&at);
    poller = epoll_create1(EPOLL_CLOEXEC);
    for (unsigned i = 0; i < options.paths; i++) {
        if (receiver == 0) {
            fds[i] = accept(listener, NULL, NULL);
            if (fds[i] < 0) die("accept");
        } else {
            fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
            if (fds[i] < 0 || connect(fds[i], (struct sockaddr *)&at, sizeof at)) die("connect");
        }
        setup(fds[i]);
    }
    if (receiver == 0) {
        if (options.mode == ROUND_TRIP) echo();
        else receive();
        return 0;
    }
    struct figures f = {0};
    prepare();
    drive(&options, &f, drive_round_trips);
    return report(&options, &f, receiver);
}
