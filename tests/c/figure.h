/* For the tests of figures: a source and a target in one process, over two paths of real sockets, and one list of everything that their
 * users call and are called with, in order. Path events are left out: when a path comes is its own affair. Targets in processes of their own: far.h. */
#ifndef FIGURE_H
#define FIGURE_H

#include "relay.h"

#include <stdarg.h>

#define LINE 96
#define LINES 256

static char story[LINES][LINE];
/* When each was told, by the clock that all processes share, in ns. */
static uint64_t told_at[LINES];
static unsigned told;
/* This process is a target, and its story is told by the one that reads its standard output. */
static bool far;

static inline uint64_t nanoseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* Adds a line that was told at `when`. */
static inline void tell_at(uint64_t when, const char *line)
{
    pthread_mutex_lock(&check_lock);
    CHECK(told < LINES);
    if (far) {
        printf("%" PRIu64 " %s\n", when, line);
        fflush(stdout);
    } else {
        told_at[told] = when;
        snprintf(story[told++], LINE, "%s", line);
    }
    pthread_cond_broadcast(&check_changed);
    pthread_mutex_unlock(&check_lock);
}

static inline void tell(const char *format, ...)
{
    char line[LINE];
    uint64_t now = nanoseconds();
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    tell_at(now, line);
}

/* The place of a line in the story from `from` on; waits for it. */
static inline unsigned await_line(unsigned from, const char *line)
{
    for (unsigned at = from;; at++) {
        check_reach(line, &told, at + 1);
        if (strcmp(story[at], line) == 0)
            return at;
    }
}

/* Checks that one side's part of the story, from a line on, is this and no more; waits for what has not been told yet. */
static inline void expect_part(unsigned from, char side, const char *const *lines)
{
    for (unsigned at = from;; at++) {
        if (*lines)
            check_reach(*lines, &told, at + 1);
        else if (at >= check_read(&told))
            return;
        if (story[at][0] != side)
            continue;
        if (!*lines || strcmp(story[at], *lines) != 0) {
            for (unsigned k = from; k < told; k++)
                fprintf(stderr, "  %s\n", story[k]);
            FAIL("\"%s\" where \"%s\" was expected", story[at], *lines ? *lines : "nothing");
        }
        lines++;
    }
}
#define PART(from, side, ...) expect_part(from, side, (const char *const[]){__VA_ARGS__, NULL})

/* Checks that one line comes before another. */
static inline void expect_order(unsigned from, const char *first, const char *second)
{
    unsigned a = await_line(from, first), b = await_line(from, second);
    if (told_at[a] > told_at[b] || a == b)
        FAIL("\"%s\" does not come before \"%s\"", first, second);
}

/* One end. */
struct end {
    char side;
    cdps_port_t *port;
    /* Return code for the next acknowledgment; negative: it is left to the test. */
    int32_t rc;
    /* Messages that begin like this are not acknowledged; 0: none. */
    char holds;
    /* Is called inside the callback for a change of the connection. */
    void (*then)(struct end *end, int32_t status);
};

static struct end source = {.side = 'S'}, target = {.side = 'T'};
static cdps_node_t *source_node, *target_node;

/* Is shown each message first, if it is set. */
static void (*look_at)(const struct end *end, const cdps_received_t *e);

static const char *text_of(const void *data, size_t size)
{
    static _Thread_local char text[32];
    snprintf(text, sizeof text, "%.*s", (int)size, (const char *)data);
    return text;
}

static void on_received(void *user, const cdps_received_t *e)
{
    struct end *end = user;
    const char *text = text_of(e->data, e->size);
    if (look_at)
        look_at(end, e);
    tell("%c: received %s%s", end->side, text, e->flags & CDPS_RECEIVED_REDELIVERED ? " again" : "");
    if (end->rc < 0 || !(e->flags & CDPS_RECEIVED_WANTS_ACK) || (end->holds && text[0] == end->holds))
        return;
    tell("%c: ack %s", end->side, text_of(e->data, e->size));
    EXPECT(CDPS_OK, cdps_port_ack(e->port, e->sn, end->rc));
}

static void on_complete(void *user, const cdps_complete_t *e)
{
    tell("%c: complete %s, rc %d", ((struct end *)user)->side, (const char *)e->context, (int)e->rc);
}

static void on_nack(void *user, const cdps_nack_t *e)
{
    tell("%c: nack %s, %s", ((struct end *)user)->side, (const char *)e->context, cdps_reason_name(e->reason));
}

static void on_release(void *user, const cdps_release_t *e)
{
    tell("%c: release %s", ((struct end *)user)->side, (const char *)e->context);
}

static void on_connstatus(void *user, const cdps_connstatus_t *e)
{
    static const char *const names[] = {"?",        "connected", "connect failed", "down",  "drained",      "switching",
                                        "switched", "closed",    "up again",       "reset", "switch failed"};
    struct end *end = user;
    CHECK(e->status >= CDPS_CONN_CONNECTED && e->status <= CDPS_CONN_SWITCH_FAILED && e->text);
    if (e->status == CDPS_CONN_SWITCHED)
        tell("%c: switched to %u, %u only received", end->side, (unsigned)e->node, (unsigned)e->only_receipted);
    else if (e->status == CDPS_CONN_SWITCH_FAILED)
        tell("%c: switch to %u failed, %s", end->side, (unsigned)e->node, cdps_reason_name(e->reason));
    else
        tell("%c: %s", end->side, names[e->status]);
    if (end->then)
        end->then(end, e->status);
}

/* How often a path has come up, and has died. */
static unsigned good_paths, dead_paths;

static void on_path(void *user, const cdps_path_t *e)
{
    (void)user;
    if (e->health == CDPS_HEALTH_GOOD)
        check_add(&good_paths, 1);
    if (e->health == CDPS_HEALTH_DEAD)
        check_add(&dead_paths, 1);
}

static void on_resolved(void *user, const cdps_resolved_t *e)
{
    tell("%c: resolved %u, %s, rc %d", ((struct end *)user)->side, (unsigned)e->sn, cdps_verdict_name(e->verdict), (int)e->rc);
}

static void on_port_final(void *user)
{
    tell("%c: final", ((struct end *)user)->side);
}

static void on_client_final(void *user)
{
    (void)user;
}

static cdps_port_callbacks_t port_callbacks = {
    .struct_size = sizeof port_callbacks,
    .on_received = on_received,
    .on_complete = on_complete,
    .on_nack = on_nack,
    .on_release = on_release,
    .on_connstatus = on_connstatus,
    .on_path = on_path,
    .on_final = on_port_final,
    .on_resolved = on_resolved,
};

static int32_t on_connectreq(void *user, const cdps_connectreq_t *request, cdps_accept_t *accept)
{
    (void)user;
    tell("%c: connectreq from node %u", target.side, (unsigned)request->node);
    target.port = request->port;
    accept->callbacks = &port_callbacks;
    accept->user = &target;
    return CDPS_CONNECT_ACCEPT;
}

/* What a target's client does with a request. */
static int32_t (*decides)(void *, const cdps_connectreq_t *, cdps_accept_t *) = on_connectreq;

static inline void expect_state(const struct end *end, int32_t state)
{
    cdps_port_info_t info = CDPS_PORT_INFO_INIT;
    EXPECT(CDPS_OK, cdps_port_info(end->port, &info));
    if (info.state != state)
        FAIL("%c: %s, not %s", end->side, cdps_state_name(info.state), cdps_state_name(state));
}

/* Sends a text, which is its context too. */
static inline int32_t send_text(struct end *end, const char *text, uint32_t flags)
{
    cdps_iov_t v = {text, strlen(text)};
    cdps_send_opts_t opts = CDPS_SEND_OPTS_INIT;
    opts.flags = flags;
    opts.context = (void *)text;
    tell("%c: send %s", end->side, text);
    return cdps_port_send(end->port, &v, 1, &opts, NULL);
}

static struct relay relays[2];

static inline void order_relays(const char *const *orders)
{
    for (; *orders; orders++)
        for (size_t i = 0; i < 2; i++)
            order_relay(&relays[i], *orders);
}
#define ORDER(...) order_relays((const char *const[]){__VA_ARGS__, NULL})

/* What both nodes are set to besides; NULL: nothing. */
static void (*tunes)(cdps_config_t *config);

/* Registers the client that a target's node has. */
static inline void serve_disk(cdps_node_t *node)
{
    cdps_client_callbacks_t callbacks = CDPS_CLIENT_CALLBACKS_INIT;
    cdps_client_t *client;
    callbacks.on_connectreq = decides;
    callbacks.on_final = on_client_final;
    tell("%c: register", target.side);
    EXPECT(CDPS_OK, cdps_client_register(node, "disk", &callbacks, NULL, &client, NULL));
}

/* Node 1 with a client, and a source port in state INITIALIZED. `targets`: members of the cluster, and targets of the port. */
static void set_up_source(cdps_config_t *config, const char *targets)
{
    cdps_client_callbacks_t callbacks = CDPS_CLIENT_CALLBACKS_INIT;
    cdps_client_t *client;
    check_set(config, "port.targets", targets);
    check_set(config, "port.client", "disk");
    EXPECT(CDPS_OK, cdps_node_open(config, NULL, NULL, &source_node, NULL));
    callbacks.on_final = on_client_final;
    tell("S: register");
    EXPECT(CDPS_OK, cdps_client_register(source_node, "writer", &callbacks, NULL, &client, NULL));
    EXPECT(CDPS_OK, cdps_port_create(source_node, config, &port_callbacks, &source, &source.port, NULL));
    expect_state(&source, CDPS_STATE_IDLE);
    EXPECT(CDPS_OK, cdps_port_register(source.port, client, NULL));
    expect_state(&source, CDPS_STATE_REGISTERED);
    tell("S: initialize");
    EXPECT(CDPS_OK, cdps_port_initialize(source.port, NULL));
    expect_state(&source, CDPS_STATE_INITIALIZED);
    EXPECT(CDPS_OK, cdps_config_destroy(config));
}

/* Nodes 1 and 2 with a client each, and a source port in state INITIALIZED. `ack`: acknowledgment model. `relay`: program that each path
 * goes through; NULL: none. */
static inline void set_up(const char *ack, const char *relay)
{
    char address[2][64], targets[256];
    cdps_config_t *config = check_config("2", "1");
    check_set(config, "node.listen", "127.0.0.1:0,127.0.0.2:0");
    if (tunes)
        tunes(config);
    EXPECT(CDPS_OK, cdps_node_open(config, NULL, NULL, &target_node, NULL));
    EXPECT(CDPS_OK, cdps_config_destroy(config));
    serve_disk(target_node);
    for (size_t i = 0; i < 2; i++)
        EXPECT(CDPS_OK, cdps_node_listening(target_node, i, address[i], sizeof address[i], NULL));
    for (size_t i = 0; relay && i < 2; i++) {
        start_relay(&relays[i], relay, address[i]);
        memcpy(address[i], relays[i].address, sizeof address[i]);
    }
    snprintf(targets, sizeof targets, "2=%s,%s", address[0], address[1]);
    config = check_config("1", targets);
    check_set(config, "port.ack", ack);
    if (tunes)
        tunes(config);
    set_up_source(config, targets);
}

/* Connects to a target, or with 0 to the primary one; `side` is how the story calls it. */
static inline unsigned connect_to(uint32_t node, char side)
{
    char line[] = "?: connected";
    unsigned from = told;
    line[0] = side;
    tell("S: connect");
    EXPECT(CDPS_OK, cdps_port_connect(source.port, node, NULL));
    await_line(from, "S: connected");
    await_line(from, line);
    return from;
}

static inline unsigned connect_source(void)
{
    return connect_to(0, 'T');
}

static void tear_down(void)
{
    unsigned from = told;
    EXPECT(CDPS_OK, cdps_node_destroy_wait(source_node, CDPS_WAIT_FOREVER));
    if (target_node)
        EXPECT(CDPS_OK, cdps_node_destroy_wait(target_node, CDPS_WAIT_FOREVER));
    await_line(from, "S: final");
    for (size_t i = 0; i < 2; i++)
        stop_relay(&relays[i]);
}

#endif
