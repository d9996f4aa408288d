/* A source in this process and targets in processes of their own, which are killed or stopped: how the port goes to another one. [L2, F5, F8, F11, F12]
 * The source is run with "choose", "fence", "budget" or "grace", a target with its id. */
#include "check.h"

#include <signal.h>
#include <sys/wait.h>

struct child {
    pid_t pid;
    char address[64];
};

static struct child children[3];
static unsigned fenced;
static uint32_t fenced_node;
static unsigned connected, statuses, switched, completed, asked, finals;
/* Written by callbacks before the counters above, read after they were reached. */
static uint32_t switched_to, chosen;

static void on_final(void *user)
{
    (void)user;
    check_add(&finals, 1);
}

/* ---- a target ---- */

static void on_received(void *user, const cdps_received_t *e)
{
    (void)user;
    if (e->flags & CDPS_RECEIVED_WANTS_ACK)
        EXPECT(CDPS_OK, cdps_port_ack(e->port, e->sn, *(const int32_t *)user));
}

static int32_t on_connectreq(void *user, const cdps_connectreq_t *request, cdps_accept_t *accept)
{
    static cdps_port_callbacks_t table = CDPS_PORT_CALLBACKS_INIT;
    (void)request;
    table.on_received = on_received;
    table.on_final = on_final;
    accept->callbacks = &table;
    accept->user = user;
    return CDPS_CONNECT_ACCEPT;
}

static void timers(cdps_config_t *config)
{
    check_set(config, "liveness.heartbeat_ms", "100");
    check_set(config, "liveness.suspect_ms", "300");
}

/* Says on standard output where it listens, and serves until it is killed. */
static int be_target(const char *id)
{
    static int32_t number;
    char address[64];
    cdps_client_callbacks_t callbacks = CDPS_CLIENT_CALLBACKS_INIT;
    cdps_client_t *client;
    cdps_node_t *node;
    cdps_config_t *config = check_config(id, "1");
    number = atoi(id);
    check_set(config, "node.listen", "127.0.0.1:0");
    timers(config);
    EXPECT(CDPS_OK, cdps_node_open(config, NULL, NULL, &node, NULL));
    callbacks.on_connectreq = on_connectreq;
    callbacks.on_final = on_final;
    EXPECT(CDPS_OK, cdps_client_register(node, "disk", &callbacks, &number, &client, NULL));
    EXPECT(CDPS_OK, cdps_node_listening(node, 0, address, sizeof address, NULL));
    printf("%s\n", address);
    fflush(stdout);
    /* The source holds the other end: it is gone, and so is the reason to be here, when this ends. */
    while (getchar() != EOF)
        ;
    return 0;
}


static void start(struct child *child, const char *id)
{
    int in[2], out[2];
    CHECK(pipe(in) == 0 && pipe(out) == 0);
    child->pid = fork();
    CHECK(child->pid >= 0);
    if (child->pid == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        for (int fd = 3; fd < 64; fd++)
            close(fd);
        execl("/proc/self/exe", "targets", id, (char *)NULL);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    FILE *said = fdopen(out[0], "r");
    CHECK(said && fgets(child->address, sizeof child->address, said));
    child->address[strcspn(child->address, "\n")] = 0;
    fclose(said);
}

/* Returns when it is stopped: until then it may still answer. */
static void freeze(const struct child *child)
{
    int status;
    CHECK(kill(child->pid, SIGSTOP) == 0);
    CHECK(waitpid(child->pid, &status, WUNTRACED) == child->pid && WIFSTOPPED(status));
}

/* ---- the source ---- */

static void on_complete(void *user, const cdps_complete_t *e)
{
    (void)user;
    CHECK(e->rc == *(const int32_t *)e->context);
    check_add(&completed, 1);
}

static void on_nack(void *user, const cdps_nack_t *e)
{
    (void)user;
    FAIL("%" PRIu64 " was nacked: %s", e->sn, e->text);
}

/* [F11] The record of a switch, kept without its pointers. */
static cdps_decision_t last;

static void check_decision(const cdps_decision_t *d, cdps_decision_t *keep)
{
    CHECK(d->struct_size == sizeof *d && d->node != 0 && d->reason != CDPS_REASON_NONE && d->at_ns > 0);
    CHECK(d->path_count == 1 && d->paths[0].path == 0 && d->generation.counter > 0);
    CHECK(d->timer ? d->measured_ns >= d->timer_ns && d->timer_ns > 0 : d->timer_ns == 0);
    CHECK(d->tried_count == 0 && !d->isolated && strstr(d->text, "given up") && !strchr(d->text, '\n'));
    *keep = *d;
}

static void on_connstatus(void *user, const cdps_connstatus_t *e)
{
    (void)user;
    bool decides = e->status == CDPS_CONN_SWITCHING || e->status == CDPS_CONN_SWITCHED || e->status == CDPS_CONN_DOWN;
    CHECK(decides == (e->decision != NULL));
    check_add(&statuses, 1);
    if (e->status == CDPS_CONN_CONNECTED)
        check_add(&connected, 1);
    if (e->status == CDPS_CONN_SWITCHED) {
        check_decision(e->decision, &last);
        switched_to = e->node;
        check_add(&switched, 1);
    }
}

/* The last one is chosen, which listed order would not do. */
static uint32_t on_backup(void *user, const cdps_backup_t *choice)
{
    (void)user;
    CHECK(choice->struct_size == sizeof *choice && choice->candidate_count >= 1 && choice->reason != CDPS_REASON_NONE);
    for (uint32_t k = 0; k < choice->candidate_count; k++)
        CHECK(choice->candidates[k] != choice->failed);
    chosen = choice->candidates[choice->candidate_count - 1];
    check_add(&asked, 1);
    return chosen;
}

/* As a power switch would do it. */
static int32_t on_fence(void *user, const cdps_fence_t *request)
{
    (void)user;
    CHECK(request->struct_size == sizeof *request && request->generation.counter > 0 && request->lease_left_ms > 0);
    struct child *child = &children[request->node - 2];
    CHECK(kill(child->pid, SIGKILL) == 0 && waitpid(child->pid, NULL, 0) == child->pid);
    fenced_node = request->node;
    check_add(&fenced, 1);
    return CDPS_FENCE_YES;
}

static void send_and_wait(cdps_port_t *port, int32_t *expected)
{
    unsigned before = check_read(&completed);
    cdps_iov_t v = {"x", 1};
    cdps_send_opts_t opts = CDPS_SEND_OPTS_INIT;
    opts.context = expected;
    EXPECT(CDPS_OK, cdps_port_send(port, &v, 1, &opts, NULL));
    REACH(completed, before + 1);
}

static void stop_child(struct child *child)
{
    CHECK(kill(child->pid, SIGKILL) == 0 && waitpid(child->pid, NULL, 0) == child->pid);
}

/* [L2] Each loss is one question, and its answer is where the port goes: 4, then 3 (2 is dead), which listed order would not do. */
static void choose(cdps_port_t *port, int32_t *codes)
{
    for (unsigned loss = 1; loss <= 2; loss++) {
        stop_child(&children[loss == 1 ? 0 : 2]);
        REACH(switched, loss);
        CHECK(last.node == (loss == 1 ? 2 : 4) && last.lease != CDPS_LEASE_UNKNOWN && last.lease != CDPS_LEASE_FENCED);
        CHECK(last.trigger == CDPS_TRIGGER_NO_CONTACT || last.trigger == CDPS_TRIGGER_NO_PATH);
        CHECK(check_read(&asked) == loss && switched_to == chosen && chosen == (loss == 1 ? 4 : 3));
        send_and_wait(port, &codes[chosen - 2]);
    }
    stop_child(&children[1]);
}

/* [F8] A target that is stopped, and was given up for that, holds a lease for a minute. It is fenced, and the backup takes over before that. */
static void fence(cdps_port_t *port, int32_t *codes)
{
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    freeze(&children[0]);
    send_and_wait(port, &codes[1]);
    clock_gettime(CLOCK_MONOTONIC, &to);
    CHECK(check_read(&fenced) == 1 && fenced_node == 2 && check_read(&switched) == 1 && switched_to == 3);
    CHECK(to.tv_sec - from.tv_sec < 45);
    CHECK(last.node == 2 && last.trigger == CDPS_TRIGGER_NO_RECEIPT && last.timer_ns == 5000000000);
    CHECK(last.lease == CDPS_LEASE_FENCED && last.membership == CDPS_MEMBER_REACHABLE);
    stop_child(&children[1]);
    stop_child(&children[2]);
}

/* [F12] The timers follow from one budget, which says so, refuses what does not fit, and is kept when the target dies. */
static void budget(cdps_node_t *node, cdps_port_t *port, cdps_config_t *config, int32_t *codes)
{
    struct timespec from, to;
    cdps_error_t err;
    cdps_port_t *other;
    cdps_port_callbacks_t table = CDPS_PORT_CALLBACKS_INIT;
    cdps_timers_t t = CDPS_TIMERS_INIT;
    EXPECT(CDPS_OK, cdps_port_timers(port, &t));
    CHECK(t.struct_size == sizeof t && t.failover_budget_ms == 9000 && t.dead_ms == 4500 && t.lease_ms == 3600);
    CHECK(t.heartbeat_ms == 750 && t.suspect_ms == 600 && t.tcp_user_timeout_ms == 9000 && t.lease_rest_ms == 0);
    CHECK(t.detection_ms > t.dead_ms && t.session_timeout_ms > t.dead_ms && t.handshake_timeout_ms == 9000);
    CHECK(t.pause_ms >= t.detection_ms + t.connect_timeout_ms && t.pause_ms <= 9000 && t.ack_timeout_ms > t.dead_ms);
    CHECK(t.switch_timeout_ms + t.connect_timeout_ms == 9000);
    table.on_final = on_final;
    check_set(config, "port.connect_timeout_ms", "4500");
    EXPECT_TEXT(CDPS_E_CONFLICT, "failover_budget (9s) is below", cdps_port_create(node, config, &table, NULL, &other, &err));
    check_set(config, "liveness.dead_ms", "8500");
    EXPECT_TEXT(CDPS_E_CONFLICT, "failover_budget (9s) is below", cdps_node_open(config, NULL, NULL, &node, &err));
    clock_gettime(CLOCK_MONOTONIC, &from);
    stop_child(&children[0]);
    send_and_wait(port, &codes[1]);
    clock_gettime(CLOCK_MONOTONIC, &to);
    CHECK(check_read(&switched) == 1 && switched_to == 3);
    CHECK((to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000 <= 9000);
    stop_child(&children[1]);
    stop_child(&children[2]);
}

static int32_t link_of(cdps_port_t *port)
{
    cdps_port_info_t info = CDPS_PORT_INFO_INIT;
    EXPECT(CDPS_OK, cdps_port_info(port, &info));
    return info.link;
}

/* [F5] A target that is stopped for longer than the dead time, and goes on within the grace, keeps its session: what was sent completes there. */
static void grace(cdps_port_t *port, int32_t *codes)
{
    cdps_timers_t t = CDPS_TIMERS_INIT;
    cdps_port_info_t before = CDPS_PORT_INFO_INIT, after = CDPS_PORT_INFO_INIT;
    cdps_iov_t v = {"x", 1};
    cdps_send_opts_t opts = CDPS_SEND_OPTS_INIT;
    time_t deadline = time(NULL) + DEADLINE_S;
    unsigned done = check_read(&completed);
    EXPECT(CDPS_OK, cdps_port_timers(port, &t));
    CHECK(t.switch_grace_ms == 80000 && t.session_timeout_ms == 90000);
    CHECK(t.pause_ms == t.detection_ms + t.lease_rest_ms + t.switch_grace_ms + t.connect_timeout_ms);
    EXPECT(CDPS_OK, cdps_port_info(port, &before));
    freeze(&children[0]);
    while (link_of(port) != CDPS_LINK_SWITCHING) {
        CHECK(time(NULL) < deadline);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    opts.context = &codes[0];
    EXPECT(CDPS_OK, cdps_port_send(port, &v, 1, &opts, NULL));
    CHECK(kill(children[0].pid, SIGCONT) == 0);
    REACH(completed, done + 1);
    EXPECT(CDPS_OK, cdps_port_info(port, &after));
    CHECK(after.link == CDPS_LINK_UP && after.peer == 2 && after.generation.counter == before.generation.counter);
    CHECK(check_read(&statuses) == 1 && check_read(&switched) == 0);
    for (int k = 0; k < 3; k++)
        stop_child(&children[k]);
}

int main(int argc, char **argv)
{
    static const char *const ids[] = {"2", "3", "4"};
    char targets[256];
    cdps_port_callbacks_t table = CDPS_PORT_CALLBACKS_INIT;
    cdps_client_callbacks_t clients = CDPS_CLIENT_CALLBACKS_INIT;
    cdps_client_t *client;
    cdps_node_t *node;
    cdps_port_t *port;
    int32_t codes[] = {2, 3, 4};
    CHECK(argc == 2);
    bool fences = strcmp(argv[1], "fence") == 0, budgets = strcmp(argv[1], "budget") == 0;
    bool graces = strcmp(argv[1], "grace") == 0;
    if (!fences && !budgets && !graces && strcmp(argv[1], "choose") != 0)
        return be_target(argv[1]);
    for (int k = 0; k < 3; k++)
        start(&children[k], ids[k]);
    snprintf(targets, sizeof targets, "2=%s;3=%s;4=%s", children[0].address, children[1].address, children[2].address);
    cdps_config_t *config = check_config("1", targets);
    if (budgets)
        check_set(config, "liveness.failover_budget_ms", "9000");
    else
        timers(config);
    check_set(config, "port.targets", targets);
    check_set(config, "port.client", "disk");
    check_set(config, "port.autoswitch", "true");
    if (fences) {
        check_set(config, "liveness.lease_ms", "60000");
        check_set(config, "liveness.dead_ms", "80000");
        check_set(config, "port.session_timeout_ms", "90000");
        check_set(config, "port.ack_timeout_ms", "5000");
        table.on_fence = on_fence;
    } else if (graces) {
        check_set(config, "port.switch_grace_ms", "80000");
        check_set(config, "port.session_timeout_ms", "90000");
    } else if (!budgets) {
        check_set(config, "port.backup_selection", "callback");
        table.on_backup = on_backup;
    }
    EXPECT(CDPS_OK, cdps_node_open(config, NULL, NULL, &node, NULL));
    clients.on_final = on_final;
    EXPECT(CDPS_OK, cdps_client_register(node, "writer", &clients, NULL, &client, NULL));
    table.on_complete = on_complete;
    table.on_nack = on_nack;
    table.on_connstatus = on_connstatus;
    table.on_final = on_final;
    EXPECT(CDPS_OK, cdps_port_create(node, config, &table, NULL, &port, NULL));
    EXPECT(CDPS_OK, cdps_port_register(port, client, NULL));
    EXPECT(CDPS_OK, cdps_port_initialize(port, NULL));
    EXPECT(CDPS_OK, cdps_port_connect(port, 0, NULL));
    REACH(connected, 1);
    send_and_wait(port, &codes[0]);
    if (budgets)
        budget(node, port, config, codes);
    else
        (fences ? fence : graces ? grace : choose)(port, codes);
    EXPECT(CDPS_OK, cdps_config_destroy(config));
    EXPECT(CDPS_OK, cdps_node_destroy_wait(node, CDPS_WAIT_FOREVER));
    return 0;
}
