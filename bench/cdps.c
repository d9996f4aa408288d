/* CDPS, as a C program uses it: acknowledged when received, or (--sync) by the receiving user; copied, or (--borrow) lent.
 *
 * One path for each address. The last message asks for an acknowledgment of the receiving user, so a run ends when everything has been
 * delivered, not merely received. Of round trips, the next is sent from the callback that received the last.
 */
#include "drive.h"
#include "session.h"

#include <pthread.h>

#define DESTROY_MS 10000

static const cdps_send_opts_t no_opts = CDPS_SEND_OPTS_INIT;
static cdps_port_t *port;
/* The sender's: what came back. */
static struct event answered;
static uint64_t answered_at;
/* The receiver's: the last message was acknowledged. */
static struct event ended;

static cdps_send_opts_t opts_of(void *context) {
    cdps_send_opts_t opts = no_opts;
    opts.flags = options.borrow ? CDPS_SEND_BORROW : CDPS_SEND_COPY;
    opts.ack = options.sync ? CDPS_ACK_SYNC : CDPS_ACK_ASYNC;
    opts.timeout_ms = CDPS_WAIT_FOREVER;
    opts.context = context;
    return opts;
}

static void on_nack(void *user, const cdps_nack_t *e) {
    (void)user;
    fprintf(stderr, "message %lu: %s\n", (unsigned long)e->sn, e->text);
    exit(1);
}

static void ignore_complete(void *user, const cdps_complete_t *e) { (void)user, (void)e; }

/* ---- the receiver ---- */

static void on_answer_released(void *user, const cdps_release_t *e) {
    (void)user;
    cdps_msg_release(e->context);
}

static void answer(const cdps_received_t *e) {
    cdps_send_opts_t opts = opts_of(options.borrow ? cdps_msg_retain(e->msg) : NULL);
    cdps_iov_t v = {e->data, e->size};
    opts.timeout_ms = 0; /* a callback does not wait */
    check(cdps_port_send(e->port, &v, 1, &opts, NULL), NULL, "the answer");
}

static void on_message(void *user, const cdps_received_t *e) {
    int kind = *(const char *)e->data;
    int *begun = user;
    if (!*begun) *begun = 1, receiver_begins();
    if (kind == ANSWER) answer(e);
    if (e->flags & CDPS_RECEIVED_WANTS_ACK) check(cdps_port_ack(e->port, e->sn, 0), NULL, "cdps_port_ack");
    if (kind == END) say(&ended);
}

static int32_t on_connectreq(void *user, const cdps_connectreq_t *request, cdps_accept_t *accept) {
    static cdps_port_callbacks_t callbacks = CDPS_PORT_CALLBACKS_INIT;
    (void)request;
    callbacks.on_received = on_message;
    callbacks.on_complete = ignore_complete;
    callbacks.on_nack = on_nack;
    callbacks.on_release = on_answer_released;
    callbacks.on_final = on_final;
    cdps_config_t *config = new_config();
    set(config, "port.ack", "async");
    apply_settings(config, PORT);
    accept->config = config; /* copied when this callback returns; the process ends before it matters */
    accept->callbacks = &callbacks;
    accept->user = user;
    return CDPS_CONNECT_ACCEPT;
}

static void receive(void) {
    static int begun;
    cdps_client_callbacks_t callbacks = CDPS_CLIENT_CALLBACKS_INIT;
    callbacks.on_connectreq = on_connectreq;
    callbacks.on_final = on_final;
    prepare_event(&ended);
    open_target(&callbacks, &begun);
    wait_for_event(&ended);
    receiver_ends();
    /* The sender goes first. Its words at the end need no answer of a user. */
    char end;
    if (recv(other_end, &end, 1, 0) > 0) die("the sender");
    check(cdps_node_destroy_wait(node, DESTROY_MS), NULL, "cdps_node_destroy_wait");
}

/* ---- the sender ---- */

static struct event connected;

static void on_connstatus(void *user, const cdps_connstatus_t *e) {
    (void)user;
    if (e->status == CDPS_CONN_CONNECTED) say(&connected);
    if (e->status == CDPS_CONN_CONNECT_FAILED || e->status == CDPS_CONN_DOWN) {
        fprintf(stderr, "connection: %s\n", e->text);
        exit(1);
    }
}

static void ignore_release(void *user, const cdps_release_t *e) { (void)user, (void)e; }

/* Only the last message has a context. */
static void on_complete(void *user, const cdps_complete_t *e) {
    (void)user;
    if (!e->context) return;
    answered_at = now_ns();
    say(&answered);
}

static void submit(const char *message, size_t size, cdps_send_opts_t *opts) {
    cdps_iov_t v = {message, size};
    int32_t code;
    while ((code = cdps_port_send(port, &v, 1, opts, NULL)) == CDPS_E_AGAIN && dispatches())
        check(cdps_node_dispatch(node, 0, CDPS_WAIT_FOREVER), NULL, "cdps_node_dispatch");
    check(code, NULL, "cdps_port_send");
}

static void peer_send(const char *message, size_t size) {
    cdps_send_opts_t opts = opts_of(message[0] == END ? &answered : NULL);
    if (message[0] == END) opts.ack = CDPS_ACK_SYNC;
    submit(message, size, &opts);
}

static uint64_t peer_await(void) {
    wait_for_event(&answered);
    return answered_at;
}

/* ---- round trips: the callback that received one sends the next ---- */

static struct {
    struct figures *figures;
    const char *ask;
    uint64_t before, end;
} trips;

static void next_trip(void) {
    cdps_iov_t v = {trips.ask, options.size};
    cdps_send_opts_t opts = opts_of(NULL);
    opts.timeout_ms = 0;
    trips.before = now_ns();
    check(cdps_port_send(port, &v, 1, &opts, NULL), NULL, "cdps_port_send");
}

static void on_answer(void *user, const cdps_received_t *e) {
    (void)user, (void)e;
    answered_at = now_ns();
    if (options.mode == ROUND_TRIP) {
        keep_round(trips.figures, answered_at - trips.before);
        trips.figures->messages++;
        if (answered_at < trips.end) {
            next_trip();
            return;
        }
    }
    say(&answered);
}

static void round_trips(const struct options *o, struct figures *f) {
    uint64_t start = now_ns();
    trips.figures = f;
    trips.ask = message_of(o, ANSWER);
    trips.end = start + (uint64_t)(o->seconds * 1e9);
    next_trip();
    f->elapsed_ns = peer_await() - start;
    peer_send(message_of(o, END), o->size);
    peer_await();
}

/* ---- several threads that send ---- */

struct sending {
    pthread_t thread;
    uint64_t messages, end;
    const char *message;
};

static void *send_on(void *argument) {
    struct sending *s = argument;
    cdps_send_opts_t opts = opts_of(NULL);
    unsigned run = options.size < (64u << 10) ? (64u << 10) / (unsigned)options.size : 1;
    while (now_ns() < s->end) {
        for (unsigned i = 0; i < run; i++) submit(s->message, options.size, &opts);
        s->messages += run;
    }
    return NULL;
}

static void stream_of_threads(struct figures *f) {
    struct used begin = used_now();
    struct sending *all = calloc(options.threads, sizeof *all);
    uint64_t start = now_ns();
    for (unsigned i = 0; i < options.threads; i++) {
        all[i].end = start + (uint64_t)(options.seconds * 1e9);
        all[i].message = message_of(&options, PLAIN_MESSAGE);
        if (pthread_create(&all[i].thread, NULL, send_on, &all[i])) die("pthread_create");
    }
    for (unsigned i = 0; i < options.threads; i++) {
        pthread_join(all[i].thread, NULL);
        f->messages += all[i].messages;
    }
    /* After all of them, whatever their streams. */
    cdps_send_opts_t opts = opts_of(&answered);
    opts.ack = CDPS_ACK_SYNC;
    opts.flags |= CDPS_SEND_BARRIER;
    submit(message_of(&options, END), options.size, &opts);
    f->elapsed_ns = peer_await() - start;
    f->sender = used_since(begin);
}

static unsigned paths_up(void) {
    unsigned up = 0;
    cdps_path_stats_t path = {.struct_size = sizeof path};
    for (size_t i = 0; cdps_port_path_stats(port, i, &path) == CDPS_OK; i++) up += path.up != 0;
    return up;
}

/* All of them are to be measured. */
static void wait_for_paths(void) {
    for (int i = 0; paths_up() < options.paths; i++) {
        if (i == 5000) {
            fprintf(stderr, "not all paths came up\n");
            exit(1);
        }
        usleep(1000);
    }
}

int main(int argc, char **argv) {
    options = parse(argc, argv, "borrow sync threads callbacks relay set");
    if (options.threads > 1 && (options.mode != STREAM || dispatches())) usage("threads stream, and do not dispatch");
    /* The library is used on either side of the fork only after it. */
    pid_t receiver = fork_receiver(&options);
    if (receiver == 0) {
        receive();
        return 0;
    }
    cdps_port_callbacks_t callbacks = CDPS_PORT_CALLBACKS_INIT;
    callbacks.on_received = on_answer;
    callbacks.on_complete = on_complete;
    callbacks.on_nack = on_nack;
    callbacks.on_release = ignore_release;
    callbacks.on_connstatus = on_connstatus;
    callbacks.on_final = on_final;
    struct figures f = {0};
    char members[sizeof(struct addresses) + 8];
    prepare_event(&answered);
    prepare_event(&connected);
    cdps_client_t *client = open_source(members, sizeof members);
    port = open_port(client, members, &callbacks, NULL);
    wait_for_event(&connected);
    wait_for_paths();
    if (options.threads > 1) stream_of_threads(&f);
    else drive(&options, &f, round_trips);
    check(cdps_node_destroy_wait(node, DESTROY_MS), NULL, "cdps_node_destroy_wait");
    return report(&options, &f, receiver);
}
