/* Many ports of CDPS between two processes: how long they take to connect, what they cost while idle, and what a busy one reaches
 * among them.
 *
 * --ports N, of which --at-once N may be connecting; --seconds for each of the two measurements. The limit of open files is raised as far as it may be: a port takes one for each
 * path, at each end.
 */
#include "session.h"

#include <dirent.h>

#define CONNECT_SECONDS 120
#define SETTLE_SECONDS 3

/* What a process has used, and uses now. */
struct snapshot {
    double cpu;
    uint64_t resident, switches, open_files, peak;
};

static uint64_t lines_of(const char *path, const char *format) {
    char line[256];
    uint64_t value = 0;
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, format, &value) == 1) break;
    if (f) fclose(f);
    return value;
}

/* Calls for each entry of a folder of /proc/self. */
static uint64_t sum_of(const char *folder, uint64_t (*of)(const char *name)) {
    uint64_t sum = 0;
    DIR *d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d));)
        if (e->d_name[0] != '.') sum += of(e->d_name);
    if (d) closedir(d);
    return sum;
}

static uint64_t one(const char *name) { return (void)name, 1; }

/* Times that a thread was woken: each time it had gone to sleep before. */
static uint64_t switches_of(const char *thread) {
    char path[300];
    snprintf(path, sizeof path, "/proc/self/task/%s/status", thread);
    return lines_of(path, "voluntary_ctxt_switches: %lu");
}

static struct snapshot look(void) {
    return (struct snapshot){.cpu = used_now().cpu,
                             .resident = lines_of("/proc/self/status", "VmRSS: %lu") << 10,
                             .switches = sum_of("/proc/self/task", switches_of),
                             .open_files = sum_of("/proc/self/fd", one),
                             .peak = peak_memory()};
}

/* ---- the target: accepts all, and tells what it uses when it is asked ---- */

static uint64_t received;

static void on_message(void *user, const cdps_received_t *e) {
    (void)user;
    __atomic_add_fetch(&received, 1, __ATOMIC_RELAXED);
    if (e->flags & CDPS_RECEIVED_WANTS_ACK) check(cdps_port_ack(e->port, e->sn, 0), NULL, "cdps_port_ack");
}

static void ignore_complete(void *user, const cdps_complete_t *e) { (void)user, (void)e; }
static void ignore_nack(void *user, const cdps_nack_t *e) { (void)user, (void)e; }
static void ignore_release(void *user, const cdps_release_t *e) { (void)user, (void)e; }

static int32_t on_connectreq(void *user, const cdps_connectreq_t *request, cdps_accept_t *accept) {
    static cdps_port_callbacks_t callbacks = CDPS_PORT_CALLBACKS_INIT;
    (void)request;
    callbacks.on_received = on_message;
    callbacks.on_complete = ignore_complete;
    callbacks.on_nack = ignore_nack;
    callbacks.on_release = ignore_release;
    callbacks.on_final = on_final;
    accept->callbacks = &callbacks;
    accept->user = user;
    return CDPS_CONNECT_ACCEPT;
}

static void receive(void) {
    cdps_client_callbacks_t callbacks = CDPS_CLIENT_CALLBACKS_INIT;
    callbacks.on_connectreq = on_connectreq;
    callbacks.on_final = on_final;
    open_target(&callbacks, NULL);
    char asked;
    while (recv(other_end, &asked, 1, 0) == 1) {
        struct snapshot now = look();
        tell(&now, sizeof now);
    }
    _exit(0); /* thousands of ports end with their process */
}

static struct snapshot ask(void) {
    struct snapshot its;
    tell("?", 1);
    hear(&its, sizeof its);
    return its;
}

/* ---- the source ---- */

static unsigned up, again, down;
static struct event answered;

/* A port that was not let in, or was closed at once, tries again, as a program would. */
static void on_connstatus(void *user, const cdps_connstatus_t *e) {
    (void)user;
    if (e->status == CDPS_CONN_CONNECTED) __atomic_add_fetch(&up, 1, __ATOMIC_RELAXED);
    if (e->status == CDPS_CONN_DOWN && __atomic_add_fetch(&down, 1, __ATOMIC_RELAXED) == 1)
        fprintf(stderr, "the first that went down: %s\n", e->text);
    if (e->status != CDPS_CONN_CLOSED && e->status != CDPS_CONN_CONNECT_FAILED) return;
    if (__atomic_add_fetch(&again, 1, __ATOMIC_RELAXED) == 1)
        fprintf(stderr, "the first that was not let in: %s: %s\n", cdps_conn_name(e->status), e->text);
    check(cdps_port_connect(e->port, 0, NULL), NULL, "cdps_port_connect, again");
}

static void on_complete(void *user, const cdps_complete_t *e) {
    (void)user;
    if (e->context) say(&answered);
}

/* Gives up after a while. */
static void wait_for_up(unsigned wanted, uint64_t start) {
    while (__atomic_load_n(&up, __ATOMIC_RELAXED) < wanted) {
        if (now_ns() - start > CONNECT_SECONDS * 1000000000ull) {
            fprintf(stderr, "after %d s %u of %u ports have connected, with %u tries more\n", CONNECT_SECONDS, up, options.ports, again);
            exit(1);
        }
        usleep(200);
    }
}

/* Seconds until all are up. */
static double connect_all(cdps_port_t **ports, cdps_client_t *client, const char *members, const cdps_port_callbacks_t *callbacks) {
    uint64_t start = now_ns();
    for (unsigned i = 0; i < options.ports; i++) {
        if (options.at_once && i >= options.at_once) wait_for_up(i + 1 - options.at_once, start);
        ports[i] = open_port(client, members, callbacks, NULL);
    }
    wait_for_up(options.ports, start);
    return (double)(now_ns() - start) / 1e9;
}

/* Messages a second. */
static double stream_on(cdps_port_t *port) {
    const char *message = message_of(&options, PLAIN_MESSAGE);
    cdps_iov_t v = {message, options.size};
    cdps_send_opts_t opts = CDPS_SEND_OPTS_INIT;
    opts.flags = options.size <= COPY_UP_TO ? CDPS_SEND_COPY : CDPS_SEND_BORROW;
    opts.timeout_ms = CDPS_WAIT_FOREVER;
    uint64_t sent = 0, start = now_ns(), end = start + (uint64_t)(options.seconds * 1e9);
    while (now_ns() < end) {
        check(cdps_port_send(port, &v, 1, &opts, NULL), NULL, "cdps_port_send");
        sent++;
    }
    opts.ack = CDPS_ACK_SYNC;
    opts.context = &answered;
    check(cdps_port_send(port, &v, 1, &opts, NULL), NULL, "cdps_port_send");
    wait_for_event(&answered);
    return (double)(sent + 1) * 1e9 / (double)(now_ns() - start);
}

static void print_end(const char *end, struct snapshot empty, struct snapshot before, struct snapshot after, double seconds) {
    printf(",\"memory each %s\":%.0f,\"idle cpu %s\":%.3f,\"idle wake-ups %s\":%.1f,\"open files %s\":%lu,\"memory %s\":%lu", end,
           ((double)before.resident - (double)empty.resident) / options.ports, end, 100 * (after.cpu - before.cpu) / seconds, end,
           (double)(after.switches - before.switches) / seconds, end, after.open_files, end, after.peak);
}

static int measure(void) {
    cdps_port_callbacks_t callbacks = CDPS_PORT_CALLBACKS_INIT;
    callbacks.on_complete = on_complete;
    callbacks.on_nack = ignore_nack;
    callbacks.on_release = ignore_release;
    callbacks.on_connstatus = on_connstatus;
    callbacks.on_final = on_final;
    prepare_event(&answered);
    char members[sizeof(struct addresses) + 8];
    cdps_client_t *client = open_source(members, sizeof members);
    cdps_port_t **ports = calloc(options.ports, sizeof *ports);
    struct snapshot empty = look(), its_empty = ask();
    double connected = connect_all(ports, client, members, &callbacks);
    struct snapshot busy = look(), its_busy = ask();
    sleep(SETTLE_SECONDS);
    struct snapshot before = look(), its_before = ask();
    uint64_t since = now_ns();
    usleep((useconds_t)(options.seconds * 1e6));
    struct snapshot after = look(), its_after = ask();
    double seconds = (double)(now_ns() - since) / 1e9;
    printf("{\"connect\":%.3f,\"connect cpu send\":%.3f,\"connect cpu receive\":%.3f,\"tries\":%.3f", connected, busy.cpu - empty.cpu,
           its_busy.cpu - its_empty.cpu, 1 + (double)again / options.ports);
    print_end("send", empty, before, after, seconds);
    print_end("receive", its_empty, its_before, its_after, seconds);
    printf(",\"throughput\":%.3f", stream_on(ports[0]));
    printf(",\"went down\":%u}\n", down);
    fflush(stdout);
    _exit(0);
}

int main(int argc, char **argv) {
    options = parse(argc, argv, "ports at-once paths set callbacks");
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    if (fork_receiver(&options) == 0) receive();
    return measure();
}
