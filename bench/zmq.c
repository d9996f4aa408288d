/* ZeroMQ, as its users write it: PUSH/PULL for streaming (ordered, not acknowledged), REQ/REP for round trips.
 *
 * The high-water marks hold about the window that the others have. A last message of one byte ends a run; the receiver
 * answers it over a socket of its own.
 */
#include "bench.h"

#include <zmq.h>

#define LARGE 2048u /* from here on a message is lent, not copied */

static void check(int bad, const char *what) {
    if (bad) {
        fprintf(stderr, "%s: %s\n", what, zmq_strerror(zmq_errno()));
        exit(1);
    }
}

static void *open_socket(void *context, int type, int window, const char *endpoint, char *bound, size_t room) {
    void *s = zmq_socket(context, type);
    check(!s, "zmq_socket");
    check(zmq_setsockopt(s, ZMQ_SNDHWM, &window, sizeof window), "ZMQ_SNDHWM");
    check(zmq_setsockopt(s, ZMQ_RCVHWM, &window, sizeof window), "ZMQ_RCVHWM");
    if (bound) {
        check(zmq_bind(s, endpoint), "zmq_bind");
        check(zmq_getsockopt(s, ZMQ_LAST_ENDPOINT, bound, &room), "ZMQ_LAST_ENDPOINT");
    } else {
        check(zmq_connect(s, endpoint), "zmq_connect");
    }
    return s;
}

static void kept(void *data, void *hint) { (void)data, (void)hint; }

/* Half of the window on each side. */
static int window(const struct options *o) { return (int)(WINDOW / 2 / o->size) + 1; }

struct endpoints {
    char data[64], done[64];
};

static void receive(const struct options *o, int tell) {
    void *context = zmq_ctx_new();
    struct endpoints at = {{0}, {0}};
    void *in = open_socket(context, o->pingpong ? ZMQ_REP : ZMQ_PULL, window(o), "tcp://127.0.0.1:*", at.data, sizeof at.data);
    void *done = open_socket(context, ZMQ_PUSH, 10, "tcp://127.0.0.1:*", at.done, sizeof at.done);
    if (write(tell, &at, sizeof at) != (ssize_t)sizeof at) die("write");
    uint64_t sum = 0;
    for (;;) {
        zmq_msg_t m;
        zmq_msg_init(&m);
        int n = zmq_msg_recv(&m, in, 0);
        check(n < 0, "zmq_msg_recv");
        if (n == 1) {
            zmq_msg_close(&m);
            break;
        }
        if (o->pingpong) {
            check(zmq_msg_send(&m, in, 0) < 0, "zmq_msg_send");
        } else {
            sum += *(unsigned char *)zmq_msg_data(&m);
            zmq_msg_close(&m);
        }
    }
    check(zmq_send(done, &sum, sizeof sum, 0) < 0, "zmq_send");
    zmq_close(in);
    zmq_close(done);
    zmq_ctx_term(context);
}

static void stream(const struct options *o, void *out, void *done, struct figures *f) {
    char *data = must_alloc(o->size);
    uint64_t start = now_ns(), end = start + (uint64_t)(o->seconds * 1e9);
    /* The clock is read once per 64 KiB, or per message. */
    unsigned run = o->size < (64u << 10) ? (64u << 10) / (unsigned)o->size : 1;
    while (now_ns() < end) {
        for (unsigned i = 0; i < run; i++) {
            if (o->size < LARGE) {
                check(zmq_send(out, data, o->size, 0) < 0, "zmq_send");
            } else {
                zmq_msg_t m;
                zmq_msg_init_data(&m, data, o->size, kept, NULL);
                check(zmq_msg_send(&m, out, 0) < 0, "zmq_msg_send");
            }
        }
        f->messages += run;
    }
    check(zmq_send(out, "", 1, 0) < 0, "zmq_send");
    uint64_t sum;
    check(zmq_recv(done, &sum, sizeof sum, 0) < 0, "zmq_recv");
    f->elapsed_ns = now_ns() - start;
}

static void pingpong(const struct options *o, void *out, struct figures *f) {
    char *data = must_alloc(o->size);
    uint64_t start = now_ns(), end = start + (uint64_t)(o->seconds * 1e9), before = start;
    while (before < end) {
        check(zmq_send(out, data, o->size, 0) < 0, "zmq_send");
        check(zmq_recv(out, data, o->size, 0) < 0, "zmq_recv");
        uint64_t after = now_ns();
        keep_round(f, after - before);
        before = after;
    }
    f->elapsed_ns = before - start;
    check(zmq_send(out, "", 1, 0) < 0, "zmq_send");
}

int main(int argc, char **argv) {
    struct options o = parse(argc, argv);
    int tell[2];
    if (pipe(tell)) die("pipe");
    pid_t receiver = fork_receiver();
    if (receiver == 0) {
        receive(&o, tell[1]);
        return 0;
    }
    struct endpoints at;
    if (read(tell[0], &at, sizeof at) != (ssize_t)sizeof at) die("read");
    void *context = zmq_ctx_new();
    void *out = open_socket(context, o.pingpong ? ZMQ_REQ : ZMQ_PUSH, window(&o), at.data, NULL, 0);
    void *done = open_socket(context, ZMQ_PULL, 10, at.done, NULL, 0);
    struct figures f = {0};
    if (o.pingpong) pingpong(&o, out, &f);
    else stream(&o, out, done, &f);
    int failed = report(&o, &f, receiver), none = 0;
    zmq_setsockopt(out, ZMQ_LINGER, &none, sizeof none);
    zmq_close(out);
    zmq_close(done);
    zmq_ctx_term(context);
    return failed;
}
