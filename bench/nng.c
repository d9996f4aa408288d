/* nng, as its users write it: PUSH/PULL there and back for streaming (ordered, not acknowledged), REQ/REP for round trips. */
#include "drive.h"

#include <nng/nng.h>
#include <nng/protocol/pipeline0/pull.h>
#include <nng/protocol/pipeline0/push.h>
#include <nng/protocol/reqrep0/rep.h>
#include <nng/protocol/reqrep0/req.h>

#define MOST_QUEUED 8192 /* nng takes no more */

static struct options options;
static nng_socket forth, back; /* the same for REQ/REP */

static void check(int bad, const char *what) {
    if (bad) {
        fprintf(stderr, "%s: %s\n", what, nng_strerror(bad));
        exit(1);
    }
}

/* Half of the window on each side. */
static int queued(void) {
    size_t n = WINDOW / 2 / options.size + 1;
    return n > MOST_QUEUED ? MOST_QUEUED : (int)n;
}

static int listen_on(nng_socket s) {
    nng_listener l;
    int port;
    check(nng_listen(s, "tcp://127.0.0.1:0", &l, 0), "nng_listen");
    check(nng_listener_get_int(l, NNG_OPT_TCP_BOUND_PORT, &port), "NNG_OPT_TCP_BOUND_PORT");
    return port;
}

static void dial(nng_socket s, int port) {
    char address[64];
    snprintf(address, sizeof address, "tcp://127.0.0.1:%d", port);
    check(nng_dial(s, address, NULL, 0), "nng_dial");
}

struct ports {
    int forth, back;
};

static void receive(void) {
    struct ports at = {0, 0};
    int kind = PLAIN_MESSAGE;
    if (options.mode == ROUND_TRIP) {
        check(nng_rep0_open(&forth), "nng_rep0_open");
        back = forth;
    } else {
        check(nng_pull0_open(&forth), "nng_pull0_open");
        check(nng_push0_open(&back), "nng_push0_open");
        check(nng_socket_set_int(forth, NNG_OPT_RECVBUF, queued()), "NNG_OPT_RECVBUF");
        at.back = listen_on(back);
    }
    at.forth = listen_on(forth);
    tell(&at, sizeof at);
    for (int first = 1; kind != END; first = 0) {
        nng_msg *m;
        check(nng_recvmsg(forth, &m, 0), "nng_recvmsg");
        if (first) receiver_begins();
        kind = *(char *)nng_msg_body(m);
        if (kind == PLAIN_MESSAGE) nng_msg_free(m);
        else check(nng_sendmsg(back, m, 0), "nng_sendmsg");
    }
    receiver_ends();
    /* A queue of nng is lost with its process: the answer has arrived when the sender goes. */
    char end;
    if (recv(other_end, &end, 1, 0) > 0) die("the sender");
}

static void peer_send(const char *message, size_t size) { check(nng_send(forth, (void *)message, size, 0), "nng_send"); }

static uint64_t peer_await(void) {
    nng_msg *m;
    check(nng_recvmsg(back, &m, 0), "nng_recvmsg");
    uint64_t at = now_ns();
    nng_msg_free(m);
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
    struct ports at;
    struct figures f = {0};
    hear(&at, sizeof at);
    if (options.mode == ROUND_TRIP) {
        check(nng_req0_open(&forth), "nng_req0_open");
        back = forth;
    } else {
        check(nng_push0_open(&forth), "nng_push0_open");
        check(nng_pull0_open(&back), "nng_pull0_open");
        check(nng_socket_set_int(forth, NNG_OPT_SENDBUF, queued()), "NNG_OPT_SENDBUF");
        dial(back, at.back);
    }
    dial(forth, at.forth);
    drive(&options, &f, drive_round_trips);
    return report(&options, &f, receiver);
}
