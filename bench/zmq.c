/* ZeroMQ, as its users write it: PUSH/PULL there and back for streaming (ordered, not acknowledged), REQ/REP for round trips.
 *
 * The high-water marks hold about the window that the others have.
 */
#include "drive.h"

#include <zmq.h>

static struct options options;
static void *forth, *back; /* the same for REQ/REP */

static void check(int bad, const char *what) {
    if (bad) {
        fprintf(stderr, "%s: %s\n", what, zmq_strerror(zmq_errno()));
        exit(1);
    }
}

struct endpoints {
    char forth[64], back[64];
};

/* Binds if there is room for the address, else connects to it. Half of the window on each side. */
static void *open_socket(void *context, int type, char *endpoint, size_t room) {
    void *s = zmq_socket(context, type);
    int window = (int)(WINDOW / 2 / options.size) + 1, none = 0;
    check(!s, "zmq_socket");
    check(zmq_setsockopt(s, ZMQ_SNDHWM, &window, sizeof window), "ZMQ_SNDHWM");
    check(zmq_setsockopt(s, ZMQ_RCVHWM, &window, sizeof window), "ZMQ_RCVHWM");
    if (room) {
        check(zmq_bind(s, "tcp://127.0.0.1:*"), "zmq_bind");
        check(zmq_getsockopt(s, ZMQ_LAST_ENDPOINT, endpoint, &room), "ZMQ_LAST_ENDPOINT");
    } else {
        check(zmq_setsockopt(s, ZMQ_LINGER, &none, sizeof none), "ZMQ_LINGER");
        check(zmq_connect(s, endpoint), "zmq_connect");
    }
    return s;
}

static void receive(void) {
    void *context = zmq_ctx_new();
    struct endpoints at = {{0}, {0}};
    int trips = options.mode == ROUND_TRIP, kind = PLAIN_MESSAGE;
    forth = open_socket(context, trips ? ZMQ_REP : ZMQ_PULL, at.forth, sizeof at.forth);
    back = trips ? forth : open_socket(context, ZMQ_PUSH, at.back, sizeof at.back);
    tell(&at, sizeof at);
    for (int first = 1; kind != END; first = 0) {
        zmq_msg_t m;
        zmq_msg_init(&m);
        check(zmq_msg_recv(&m, forth, 0) < 0, "zmq_msg_recv");
        if (first) receiver_begins();
        kind = *(char *)zmq_msg_data(&m);
        if (kind == PLAIN_MESSAGE) zmq_msg_close(&m);
        else check(zmq_msg_send(&m, back, 0) < 0, "zmq_msg_send");
    }
    receiver_ends();
    zmq_close(forth);
    if (!trips) zmq_close(back);
    zmq_ctx_term(context);
}

static void kept(void *data, void *hint) { (void)data, (void)hint; }

static void peer_send(const char *message, size_t size) {
    if (size <= COPY_UP_TO) {
        check(zmq_send(forth, message, size, 0) < 0, "zmq_send");
    } else {
        zmq_msg_t m;
        zmq_msg_init_data(&m, (void *)message, size, kept, NULL);
        check(zmq_msg_send(&m, forth, 0) < 0, "zmq_msg_send");
    }
}

static uint64_t peer_await(void) {
    zmq_msg_t m;
    zmq_msg_init(&m);
    check(zmq_msg_recv(&m, back, 0) < 0, "zmq_msg_recv");
    uint64_t at = now_ns();
    zmq_msg_close(&m);
    return at;
}

int main(int argc, char **argv) {
    options = parse(argc, argv, "");
    if (options.paths > 1) usage("one path");
    pid_t receiver = fork_receiver(&options);
    if (receiver == 0) {
        receive();
        return 0;
    }
    struct endpoints at;
    struct figures f = {0};
    hear(&at, sizeof at);
    void *context = zmq_ctx_new();
    int trips = options.mode == ROUND_TRIP;
    forth = open_socket(context, trips ? ZMQ_REQ : ZMQ_PUSH, at.forth, 0);
    back = trips ? forth : open_socket(context, ZMQ_PULL, at.back, 0);
    drive(&options, &f, drive_round_trips);
    int failed = report(&options, &f, receiver);
    zmq_close(forth);
    if (!trips) zmq_close(back);
    zmq_ctx_term(context);
    return failed;
}
