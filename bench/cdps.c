/* CDPS, as a C program uses it: asynchronous acknowledgment, small messages copied, large ones borrowed.
 *
 * One path per socket asked for, each to a loopback address of its own. The last message asks for an acknowledgment of the
 * receiving user, so a run ends when everything has been delivered, not merely received. Round trips go through the same
 * session in both directions; the next one is sent from the callback that received the last.
 */
#include "bench.h"

#include <cdps/cdps.h>
#include <semaphore.h>

#define COPY_UP_TO 2048u
#define CLIENT "bench"

static void check(int32_t code, const cdps_error_t *err, const char *what) {
    if (code == CDPS_OK) return;
    fprintf(stderr, "%s: %s: %s\n", what, cdps_error_name(code), err ? err->message : cdps_error_string(code));
    exit(1);
}

static void set(cdps_config_t *config, const char *key, const char *value) {
    cdps_error_t err = {.struct_size = sizeof err};
    check(cdps_config_set(config, key, value, &err), &err, key);
}

static cdps_config_t *new_config(void) {
    cdps_config_t *config;
    check(cdps_config_create(&config), NULL, "cdps_config_create");
    return config;
}

static cdps_node_t *open_node(const struct options *o, cdps_config_t *config, const char *id) {
    cdps_error_t err = {.struct_size = sizeof err};
    cdps_node_t *node;
    set(config, "node.id", id);
    set(config, "security.mode", "plain");
    if (o->mode) set(config, "callbacks.mode", o->mode);
    check(cdps_node_open(config, NULL, NULL, &node, &err), &err, "cdps_node_open");
    cdps_config_destroy(config);
    return node;
}

static void on_final(void *user) { (void)user; }

/* ---- the receiver ---- */

struct receiver {
    const struct options *options;
    uint64_t sum;
    cdps_port_callbacks_t callbacks;
};

static void send_back(cdps_port_t *port, const void *data, size_t size) {
    cdps_iov_t v = {data, size};
    int32_t code = cdps_port_send(port, &v, 1, NULL, NULL);
    if (code != CDPS_OK) fprintf(stderr, "echo: %s\n", cdps_error_name(code));
}

static void receiver_received(void *user, const cdps_received_t *e) {
    struct receiver *r = user;
    if (r->options->pingpong) send_back(e->port, e->data, e->size);
    else r->sum += *(const unsigned char *)e->data;
    if (e->flags & CDPS_RECEIVED_WANTS_ACK) check(cdps_port_ack(e->port, e->sn, 0), NULL, "cdps_port_ack");
}

static void ignore_complete(void *user, const cdps_complete_t *e) { (void)user, (void)e; }
static void ignore_nack(void *user, const cdps_nack_t *e) { (void)user, (void)e; }

static int32_t on_connectreq(void *user, const cdps_connectreq_t *request, cdps_accept_t *accept) {
    struct receiver *r = user;
    (void)request;
    cdps_config_t *config = new_config();
    set(config, "port.ack", "async");
    accept->config = config; /* copied when this callback returns; the process ends before it matters */
    accept->callbacks = &r->callbacks;
    accept->user = r;
    return CDPS_CONNECT_ACCEPT;
}

static void append(char *list, size_t room, const char *item) {
    if (*list) strncat(list, ",", room - strlen(list) - 1);
    strncat(list, item, room - strlen(list) - 1);
}

struct addresses {
    char list[4096];
};

static void receive(const struct options *o, int tell, int until) {
    static struct receiver r;
    r.options = o;
    r.callbacks = (cdps_port_callbacks_t){.struct_size = sizeof r.callbacks,
                                          .on_received = receiver_received,
                                          .on_complete = ignore_complete,
                                          .on_nack = ignore_nack,
                                          .on_final = on_final};
    struct addresses at = {{0}};
    for (unsigned i = 0; i < o->sockets; i++) {
        char item[32];
        snprintf(item, sizeof item, "127.0.0.%u:0", i + 1);
        append(at.list, sizeof at.list, item);
    }
    cdps_config_t *config = new_config();
    set(config, "node.listen", at.list);
    set(config, "node.members", "1");
    cdps_node_t *node = open_node(o, config, "2");
    cdps_client_callbacks_t callbacks = {
        .struct_size = sizeof callbacks, .on_connectreq = on_connectreq, .on_final = on_final};
    cdps_error_t err = {.struct_size = sizeof err};
    cdps_client_t *client;
    check(cdps_client_register(node, CLIENT, &callbacks, &r, &client, &err), &err, "cdps_client_register");

    at.list[0] = 0;
    char item[64];
    size_t need;
    for (size_t i = 0; cdps_node_listening(node, i, item, sizeof item, &need) == CDPS_OK; i++)
        append(at.list, sizeof at.list, item);
    if (write(tell, &at, sizeof at) != (ssize_t)sizeof at) die("write");
    char end;
    if (read(until, &end, 1) < 0) die("read");
    check(cdps_node_destroy_wait(node, 10000), NULL, "cdps_node_destroy_wait");
}

/* ---- the sender ---- */

struct sender {
    const struct options *options;
    struct figures *figures;
    char *message;
    uint64_t before, end;
    sem_t connected, done;
};

static void failed(void *user, const cdps_nack_t *e) {
    (void)user;
    fprintf(stderr, "message %llu: %s\n", (unsigned long long)e->sn, e->text);
    exit(1);
}

/* Only the last message has a context: its completion ends the run. */
static void completed(void *user, const cdps_complete_t *e) {
    struct sender *s = user;
    if (e->context == s) sem_post(&s->done);
}

static void released(void *user, const cdps_release_t *e) { (void)user, (void)e; }

static void next_round(struct sender *s, cdps_port_t *port) {
    s->before = now_ns();
    cdps_iov_t v = {s->message, s->options->size};
    check(cdps_port_send(port, &v, 1, NULL, NULL), NULL, "cdps_port_send");
}

static void sender_received(void *user, const cdps_received_t *e) {
    struct sender *s = user;
    uint64_t after = now_ns();
    keep_round(s->figures, after - s->before);
    if (after < s->end) next_round(s, e->port);
    else sem_post(&s->done);
}

static void on_connstatus(void *user, const cdps_connstatus_t *e) {
    struct sender *s = user;
    if (e->status == CDPS_CONN_CONNECTED) sem_post(&s->connected);
    if (e->status == CDPS_CONN_CONNECT_FAILED || e->status == CDPS_CONN_DOWN) {
        fprintf(stderr, "connection: %s\n", e->text);
        exit(1);
    }
}

static void stream(struct sender *s, cdps_port_t *port, struct figures *f) {
    const struct options *o = s->options;
    cdps_iov_t v = {s->message, o->size};
    cdps_send_opts_t opts = CDPS_SEND_OPTS_INIT;
    opts.flags = o->size <= COPY_UP_TO ? CDPS_SEND_COPY : CDPS_SEND_BORROW;
    opts.timeout_ms = CDPS_WAIT_FOREVER;
    uint64_t start = now_ns(), end = start + (uint64_t)(o->seconds * 1e9);
    /* The clock is read once per 64 KiB, or per message. */
    unsigned run = o->size < (64u << 10) ? (64u << 10) / (unsigned)o->size : 1;
    while (now_ns() < end) {
        for (unsigned i = 0; i < run; i++) check(cdps_port_send(port, &v, 1, &opts, NULL), NULL, "cdps_port_send");
        f->messages += run;
    }
    opts.ack = CDPS_ACK_SYNC;
    opts.context = s;
    check(cdps_port_send(port, &v, 1, &opts, NULL), NULL, "cdps_port_send");
    f->messages++;
    while (sem_wait(&s->done) && errno == EINTR) {}
    f->elapsed_ns = now_ns() - start;
}

static void pingpong(struct sender *s, cdps_port_t *port, struct figures *f) {
    uint64_t start = now_ns();
    s->end = start + (uint64_t)(s->options->seconds * 1e9);
    next_round(s, port);
    while (sem_wait(&s->done) && errno == EINTR) {}
    f->elapsed_ns = now_ns() - start;
}

static unsigned paths_up(cdps_port_t *port) {
    unsigned up = 0;
    cdps_path_stats_t path = {.struct_size = sizeof path};
    for (size_t i = 0; cdps_port_path_stats(port, i, &path) == CDPS_OK; i++) up += path.up != 0;
    return up;
}

/* All of them are to be measured. */
static void wait_for_paths(cdps_port_t *port, unsigned wanted) {
    for (int i = 0; i < 5000; i++) {
        if (paths_up(port) >= wanted) return;
        usleep(1000);
    }
    fprintf(stderr, "not all paths came up\n");
    exit(1);
}

int main(int argc, char **argv) {
    struct options o = parse(argc, argv);
    int tell[2], until[2];
    if (o.cc) {
        fprintf(stderr, "the congestion control of CDPS is the system's\n");
        return 2;
    }
    if (pipe(tell) || pipe(until)) die("pipe");
    /* The library is used on either side of the fork only after it. */
    pid_t receiver = fork_receiver();
    if (receiver == 0) {
        close(until[1]);
        receive(&o, tell[1], until[0]);
        return 0;
    }
    struct addresses at;
    if (read(tell[0], &at, sizeof at) != (ssize_t)sizeof at) die("read");

    char members[sizeof at.list + 8];
    snprintf(members, sizeof members, "2=%s", at.list);
    cdps_config_t *config = new_config();
    set(config, "node.members", members);
    cdps_node_t *node = open_node(&o, config, "1");

    config = new_config();
    char window[32];
    snprintf(window, sizeof window, "%u", WINDOW);
    set(config, "port.client", CLIENT);
    set(config, "port.targets", members);
    set(config, "port.ack", "async");
    set(config, "port.send_buffer_max", window);
    struct figures f = {0};
    struct sender s = {.options = &o, .figures = &f, .message = must_alloc(o.size)};
    if (sem_init(&s.connected, 0, 0) || sem_init(&s.done, 0, 0)) die("sem_init");
    cdps_port_callbacks_t callbacks = {.struct_size = sizeof callbacks,
                                       .on_received = sender_received,
                                       .on_complete = completed,
                                       .on_nack = failed,
                                       .on_release = released,
                                       .on_connstatus = on_connstatus,
                                       .on_final = on_final};
    cdps_error_t err = {.struct_size = sizeof err};
    cdps_client_callbacks_t own = {.struct_size = sizeof own, .on_final = on_final};
    cdps_client_t *client;
    cdps_port_t *port;
    check(cdps_client_register(node, "bench-source", &own, NULL, &client, &err), &err, "cdps_client_register");
    check(cdps_port_create(node, config, &callbacks, &s, &port, &err), &err, "cdps_port_create");
    cdps_config_destroy(config);
    check(cdps_port_register(port, client, &err), &err, "cdps_port_register");
    check(cdps_port_initialize(port, &err), &err, "cdps_port_initialize");
    check(cdps_port_connect(port, 0, &err), &err, "cdps_port_connect");
    while (sem_wait(&s.connected) && errno == EINTR) {}
    wait_for_paths(port, o.sockets);

    if (o.pingpong) pingpong(&s, port, &f);
    else stream(&s, port, &f);
    check(cdps_node_destroy_wait(node, 10000), NULL, "cdps_node_destroy_wait");
    close(until[1]);
    return report(&o, &f, receiver);
}
