/* For the tests of figures: a source and a target in one process, over two paths of real sockets, and one list of everything that their
 * users call and are called with, in order. Path events are left out: when a path comes is its own affair. */
#ifndef FIGURE_H
#define FIGURE_H

#include "check.h"

#include <signal.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define LINE 96
#define LINES 256

static char story[LINES][LINE];
static unsigned told;

static inline void tell(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    pthread_mutex_lock(&check_lock);
    CHECK(told < LINES);
    vsnprintf(story[told++], LINE, format, arguments);
    pthread_cond_broadcast(&check_changed);
    pthread_mutex_unlock(&check_lock);
    va_end(arguments);
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

/* Checks that one side's part of the story, from a line on, is this and no more. */
static inline void expect_part(unsigned from, char side, const char *const *lines)
{
    for (unsigned at = from, next = 0; at < told || lines[next]; at++) {
        if (at < told && story[at][0] != side)
            continue;
        if (at >= told || !lines[next] || strcmp(story[at], lines[next]) != 0) {
            for (unsigned k = from; k < told; k++)
                fprintf(stderr, "  %s\n", story[k]);
            FAIL("\"%s\" where \"%s\" was expected", at < told ? story[at] : "nothing",
                 lines[next] ? lines[next] : "nothing");
        }
        next++;
    }
}
#define PART(from, side, ...) expect_part(from, side, (const char *const[]){__VA_ARGS__, NULL})

/* Checks that one line comes before another. */
static inline void expect_order(unsigned from, const char *first, const char *second)
{
    if (await_line(from, first) >= await_line(from, second))
        FAIL("\"%s\" does not come before \"%s\"", first, second);
}

/* One end. */
struct end {
    char side;
    cdps_port_t *port;
    /* Return code for the next acknowledgment; negative: it is left to the test. */
    int32_t rc;
};

static struct end source = {'S', NULL, 0}, target = {'T', NULL, 0};
static cdps_node_t *source_node, *target_node;

static const char *text_of(const void *data, size_t size)
{
    static _Thread_local char text[32];
    snprintf(text, sizeof text, "%.*s", (int)size, (const char *)data);
    return text;
}

static void on_received(void *user, const cdps_received_t *e)
{
    struct end *end = user;
    tell("%c: received %s", end->side, text_of(e->data, e->size));
    if (end->rc < 0 || !(e->flags & CDPS_RECEIVED_WANTS_ACK))
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
    static const char *const names[] = {"?",         "connected", "connect failed", "down",  "drained",
                                        "switching", "switched",  "closed",         "up again", "reset"};
    CHECK(e->status >= CDPS_CONN_CONNECTED && e->status <= CDPS_CONN_RESET && e->text);
    tell("%c: %s", ((struct end *)user)->side, names[e->status]);
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

static const cdps_port_callbacks_t port_callbacks = {
    .struct_size = sizeof port_callbacks,
    .on_received = on_received,
    .on_complete = on_complete,
    .on_nack = on_nack,
    .on_release = on_release,
    .on_connstatus = on_connstatus,
    .on_final = on_port_final,
    .on_resolved = on_resolved,
};

static int32_t on_connectreq(void *user, const cdps_connectreq_t *request, cdps_accept_t *accept)
{
    (void)user;
    tell("T: connectreq from node %u", (unsigned)request->node);
    target.port = request->port;
    accept->callbacks = &port_callbacks;
    accept->user = &target;
    return CDPS_CONNECT_ACCEPT;
}

static void expect_state(const struct end *end, int32_t state)
{
    cdps_port_info_t info = CDPS_PORT_INFO_INIT;
    EXPECT(CDPS_OK, cdps_port_info(end->port, &info));
    if (info.state != state)
        FAIL("%c: %s, not %s", end->side, cdps_state_name(info.state), cdps_state_name(state));
}

/* Sends a text, which is its context too. */
static int32_t send_text(struct end *end, const char *text, uint32_t flags)
{
    cdps_iov_t v = {text, strlen(text)};
    cdps_send_opts_t opts = CDPS_SEND_OPTS_INIT;
    opts.flags = flags;
    opts.context = (void *)text;
    tell("%c: send %s", end->side, text);
    return cdps_port_send(end->port, &v, 1, &opts, NULL);
}

/* A network path as a process that can be cut: see cdps-relay. */
struct relay {
    pid_t pid;
    FILE *orders, *answers;
    char address[64];
};

static struct relay relays[2];

static void start_relay(struct relay *relay, const char *program, const char *to)
{
    int in[2], out[2];
    CHECK(pipe(in) == 0 && pipe(out) == 0);
    relay->pid = fork();
    CHECK(relay->pid >= 0);
    if (relay->pid == 0) {
        /* It does not outlive the test, whose output it holds open. */
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(in[0], STDIN_FILENO);
        dup2(out[1], STDOUT_FILENO);
        close(in[1]);
        execl(program, program, "--listen", "127.0.0.1:0", "--to", to, (char *)NULL);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    relay->orders = fdopen(in[1], "w");
    relay->answers = fdopen(out[0], "r");
    CHECK(relay->orders && relay->answers && fgets(relay->address, sizeof relay->address, relay->answers));
    relay->address[strcspn(relay->address, "\n")] = '\0';
}

static inline void order_relays(const char *const *orders)
{
    for (; *orders; orders++)
        for (size_t i = 0; i < 2; i++) {
            char answer[16];
            fprintf(relays[i].orders, "%s\n", *orders);
            CHECK(fflush(relays[i].orders) == 0 && fgets(answer, sizeof answer, relays[i].answers));
        }
}
#define ORDER(...) order_relays((const char *const[]){__VA_ARGS__, NULL})

/* Nodes 1 and 2 with a client each, and a source port in state INITIALIZED. `ack`: acknowledgment model. `relay`: program that each path
 * goes through; NULL: none. */
static void set_up(const char *ack, const char *relay)
{
    char address[2][64], targets[256];
    cdps_client_callbacks_t callbacks = CDPS_CLIENT_CALLBACKS_INIT;
    cdps_client_t *client;
    cdps_config_t *config = check_config("2", "1");
    check_set(config, "node.listen", "127.0.0.1:0,127.0.0.2:0");
    EXPECT(CDPS_OK, cdps_node_open(config, NULL, NULL, &target_node, NULL));
    EXPECT(CDPS_OK, cdps_config_destroy(config));
    callbacks.on_connectreq = on_connectreq;
    callbacks.on_final = on_client_final;
    tell("T: register");
    EXPECT(CDPS_OK, cdps_client_register(target_node, "disk", &callbacks, NULL, &client, NULL));
    for (size_t i = 0; i < 2; i++)
        EXPECT(CDPS_OK, cdps_node_listening(target_node, i, address[i], sizeof address[i], NULL));
    for (size_t i = 0; relay && i < 2; i++) {
        start_relay(&relays[i], relay, address[i]);
        memcpy(address[i], relays[i].address, sizeof address[i]);
    }
    snprintf(targets, sizeof targets, "2=%s,%s", address[0], address[1]);
    config = check_config("1", targets);
    check_set(config, "port.targets", targets);
    check_set(config, "port.client", "disk");
    check_set(config, "port.ack", ack);
    EXPECT(CDPS_OK, cdps_node_open(config, NULL, NULL, &source_node, NULL));
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

static unsigned connect_source(void)
{
    unsigned from = told;
    tell("S: connect");
    EXPECT(CDPS_OK, cdps_port_connect(source.port, 0, NULL));
    await_line(from, "S: connected");
    await_line(from, "T: connected");
    return from;
}

static void tear_down(void)
{
    unsigned from = told;
    EXPECT(CDPS_OK, cdps_node_destroy_wait(source_node, CDPS_WAIT_FOREVER));
    EXPECT(CDPS_OK, cdps_node_destroy_wait(target_node, CDPS_WAIT_FOREVER));
    await_line(from, "S: final");
    for (size_t i = 0; i < 2; i++)
        if (relays[i].pid) {
            kill(relays[i].pid, SIGKILL);
            waitpid(relays[i].pid, NULL, 0);
            fclose(relays[i].orders);
            fclose(relays[i].answers);
        }
}

#endif
