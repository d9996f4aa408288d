/* kronosnet: datagrams over 1 to 8 links, in rotation. They can be dropped, and nothing says so: what counts is what was delivered.
 *
 * A message that asks for an answer is repeated until it comes.
 */
#include "drive.h"

#include <arpa/inet.h>
#include <libknet.h>
#include <netinet/in.h>
#include <poll.h>

#define REPEAT_MS 100
#define CONNECT_MS 10000

static struct options options;
static knet_handle_t handle;
static int datafd;
static int8_t channel;

static void check(int bad, const char *what) {
    if (bad) die(what);
}

static void on_error(void *user, int fd, int8_t ch, uint8_t direction, int error, int number) {
    (void)user, (void)fd, (void)ch, (void)direction, (void)error, (void)number;
}

static struct sockaddr_storage address(unsigned link, in_port_t port) {
    struct sockaddr_storage s = {0};
    struct sockaddr_in *in = (struct sockaddr_in *)&s;
    in->sin_family = AF_INET;
    in->sin_addr.s_addr = htonl(INADDR_LOOPBACK + link);
    in->sin_port = port;
    return s;
}

/* A port that is free now: kronosnet wants to be told both, and takes it a moment later. */
static in_port_t free_port(unsigned link) {
    struct sockaddr_storage at = address(link, 0);
    socklen_t length = sizeof(struct sockaddr_in);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    check(fd < 0 || bind(fd, (struct sockaddr *)&at, length) || getsockname(fd, (struct sockaddr *)&at, &length), "a free port");
    close(fd);
    return ((struct sockaddr_in *)&at)->sin_port;
}

struct ports {
    in_port_t of[KNET_MAX_LINK];
};

static void open_handle(knet_node_id_t mine, knet_node_id_t other) {
    struct ports here, there;
    handle = knet_handle_new_ex(mine, 0, 0, 0);
    if (!handle) die("knet_handle_new_ex");
    check(knet_handle_enable_sock_notify(handle, NULL, on_error), "knet_handle_enable_sock_notify");
    check(knet_handle_add_datafd(handle, &datafd, &channel), "knet_handle_add_datafd");
    check(knet_host_add(handle, other), "knet_host_add");
    check(knet_host_set_policy(handle, other, KNET_LINK_POLICY_RR), "knet_host_set_policy");
    for (unsigned i = 0; i < options.paths; i++) here.of[i] = free_port(i);
    tell(&here, sizeof here);
    hear(&there, sizeof there);
    for (unsigned i = 0; i < options.paths; i++) {
        struct sockaddr_storage from = address(i, here.of[i]), to = address(i, there.of[i]);
        check(knet_link_set_config(handle, other, (uint8_t)i, KNET_TRANSPORT_UDP, &from, &to, 0), "knet_link_set_config");
        check(knet_link_set_ping_timers(handle, other, (uint8_t)i, 100, 2000, 2048), "knet_link_set_ping_timers");
        check(knet_link_set_pong_count(handle, other, (uint8_t)i, 1), "knet_link_set_pong_count");
        check(knet_link_set_enable(handle, other, (uint8_t)i, 1), "knet_link_set_enable");
    }
    check(knet_handle_setfwd(handle, 1), "knet_handle_setfwd");
}

/* All links are connected, and their packet size is known. */
static void wait_for_links(knet_node_id_t other) {
    for (int waited = 0; waited < CONNECT_MS; waited++) {
        unsigned up = 0;
        for (unsigned i = 0; i < options.paths; i++) {
            struct knet_link_status status;
            check(knet_link_get_status(handle, other, (uint8_t)i, &status, sizeof status), "knet_link_get_status");
            up += status.connected && status.mtu > 1500;
        }
        if (up == options.paths) return;
        usleep(1000);
    }
    fprintf(stderr, "not all links came up\n");
    exit(1);
}

struct answer {
    char kind, unused[7];
    uint64_t delivered;
};

static void wait_for(short what, int ms) {
    struct pollfd p = {datafd, what, 0};
    if (poll(&p, 1, ms) < 0 && errno != EINTR) die("poll");
}

static void transmit(const void *data, size_t size) {
    while (knet_send(handle, data, size, channel) < 0) {
        if (errno != EAGAIN) die("knet_send");
        wait_for(POLLOUT, 10);
    }
}

static void receive(void) {
    char *data = must_alloc(KNET_MAX_PACKET_SIZE);
    uint64_t delivered = 0;
    for (int ended = 0;;) {
        ssize_t n = knet_recv(handle, data, KNET_MAX_PACKET_SIZE, channel);
        if (n <= 0) {
            char end;
            if (recv(other_end, &end, 1, MSG_DONTWAIT) == 0) return;
            wait_for(POLLIN, REPEAT_MS);
            continue;
        }
        if (delivered == 0) receiver_begins();
        if (!ended) delivered++;
        if (data[0] == PLAIN_MESSAGE) continue;
        struct answer answer = {.kind = data[0], .delivered = delivered};
        memcpy(data, &answer, sizeof answer);
        transmit(data, (size_t)n);
        if (answer.kind == END && !ended) {
            ended = 1;
            receiver_ends();
        }
    }
}

static const char *asked;
static struct answer answered;

static void peer_send(const char *message, size_t size) {
    if (message[0] != PLAIN_MESSAGE) asked = message;
    transmit(message, size);
}

static uint64_t peer_await(void) {
    static char *data;
    if (!data) data = must_alloc(KNET_MAX_PACKET_SIZE);
    for (uint64_t again = now_ns() + REPEAT_MS * 1000000u;;) {
        ssize_t n = knet_recv(handle, data, KNET_MAX_PACKET_SIZE, channel);
        uint64_t at = now_ns();
        memcpy(&answered, data, sizeof answered);
        if (n > 0 && answered.kind == asked[0]) return at;
        if (n > 0) continue;
        wait_for(POLLIN, REPEAT_MS);
        if (now_ns() > again) {
            transmit(asked, options.size);
            again = now_ns() + REPEAT_MS * 1000000u;
        }
    }
}

int main(int argc, char **argv) {
    options = parse(argc, argv, "");
    if (options.paths > KNET_MAX_LINK || options.size > KNET_MAX_PACKET_SIZE) usage("at most 8 links and 64 KiB");
    pid_t receiver = fork_receiver(&options);
    int mine = receiver == 0 ? 2 : 1;
    open_handle((knet_node_id_t)mine, (knet_node_id_t)(3 - mine));
    wait_for_links((knet_node_id_t)(3 - mine));
    if (receiver == 0) {
        receive();
        _exit(0);
    }
    struct figures f = {0};
    drive(&options, &f, drive_round_trips);
    if (options.mode == STREAM) {
        f.delivered = (double)(answered.delivered - 1) / (double)f.messages;
        f.messages = answered.delivered - 1;
    }
    return report(&options, &f, receiver);
}
