/* One end of a session, for the tests of faults: a source that sends as fast as it can (or, with SIZE 0, nothing), or a target that checks and
 * acknowledges.
 *
 *     load source ID "ID=ADDR,ADDR;ID=ADDR" SIZE [KEY=VALUE ...]
 *     load target ID ADDR,ADDR MEMBER [KEY=VALUE ...]
 *
 * It prints what happens, a line for each event: a time (CLOCK_MONOTONIC, ns), a name, words. It obeys lines of standard input, and ends with it:
 *
 *     look    print all counters
 *     cost    print the bytes allocated now
 *     stop    (source) send no more, and print all counters once every accepted message has come to its end
 *     hold    (target) stay inside the callback of the next message, until "go"
 *     go
 *
 * Each message says its stream, its number there and its number among all, so that whatever is lost, repeated, reordered or damaged is counted.
 * A target tells of a stream that had no message for long. It acknowledges with its node id: the source knows who had a message.
 */
#include "check.h"

#include <malloc.h>
#include <stdarg.h>
#include <stdatomic.h>

#define THREADS 2
#define STREAMS 8
/* Messages whose ends are told apart; a run sends fewer. */
#define MOST (1u << 28)
/* Payloads on loan; more are not under way. */
#define LOANS 2048
/* Up to this length payloads are copied. */
#define COPIED 1024
/* A time without delivery is worth a line from here on. */
#define PAUSE_NS 20000000u
/* And a time in which one stream has had none, while others may have. */
#define STALL_NS 100000000u

struct header {
    uint32_t stream, check;
    uint64_t number, serial;
};

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static pthread_mutex_t printing = PTHREAD_MUTEX_INITIALIZER;

__attribute__((format(printf, 1, 2))) static void say(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    pthread_mutex_lock(&printing);
    printf("%" PRIu64 " ", now_ns());
    vprintf(format, args);
    printf("\n");
    fflush(stdout);
    pthread_mutex_unlock(&printing);
    va_end(args);
}

static uint32_t check_of(const struct header *header)
{
    uint64_t mixed = (header->number * 0x9e3779b97f4a7c15u) ^ (header->serial * 0xc2b2ae3d27d4eb4fu) ^ header->stream;
    return (uint32_t)(mixed >> 32) ^ (uint32_t)mixed;
}

static uint32_t node_id;
static uint64_t last_progress;

/* Delivery at a target, completion at a source: a pause is told by what ends it. Callbacks of a port never overlap. */
static void progress(void)
{
    uint64_t now = now_ns();
    if (last_progress != 0 && now - last_progress >= PAUSE_NS)
        say("pause %" PRIu64, last_progress);
    last_progress = now;
}

static void on_path(void *user, const cdps_path_t *event)
{
    (void)user;
    say("path %" PRIu32 " %s %s", event->path, cdps_health_name(event->health), cdps_reason_name(event->reason));
}

static void on_final(void *user)
{
    (void)user;
}

static void say_counters(cdps_port_t *port)
{
    cdps_port_stats_t stats = CDPS_PORT_STATS_INIT;
    if (cdps_port_stats(port, &stats) != CDPS_OK)
        return;
    char text[1024] = "";
    size_t used = 0;
    for (uint32_t i = 0; i < stats.paths && used < sizeof text - 32; i++) {
        cdps_path_stats_t path = CDPS_PATH_STATS_INIT;
        if (cdps_port_path_stats(port, i, &path) == CDPS_OK)
            used += (size_t)snprintf(text + used, sizeof text - used, " path%" PRIu32 "=%" PRIu64, path.path, path.bytes_sent);
    }
    say("counters resent=%" PRIu64 " duplicates=%" PRIu64 " switches=%" PRIu64 " suspicions=%" PRIu64 "%s", stats.retransmitted,
        stats.duplicates, stats.switches, stats.suspicions, text);
}

static void say_cost(void)
{
    struct mallinfo2 all = mallinfo2();
    say("cost heap=%zu", all.uordblks + all.hblkhd);
}

/* --- source ------------------------------------------------------------------------------------------------------------ */

struct loan {
    struct loan *next;
    struct header header;
    uint64_t serial;
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct loan *free;
    uint64_t given_back;
} loans = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static struct {
    cdps_port_t *port;
    size_t size;
    uint8_t *body;
    /* A bit for each message that has come to its end. */
    _Atomic uint8_t *ended;
    atomic_ullong serial, accepted, completed, nacked, twice, by[8];
    atomic_ullong refused_down, refused_else;
    atomic_bool stop, connected, down;
} source;

static void message_ended(uint64_t serial)
{
    uint8_t bit = (uint8_t)(1u << (serial % 8));
    CHECK(serial < MOST);
    if (atomic_fetch_or(&source.ended[serial / 8], bit) & bit) {
        atomic_fetch_add(&source.twice, 1);
        say("wrong: message %" PRIu64 " has ended twice", serial);
    }
}

/* Of a copied message the context is its number and 1 above the highest of them, of a borrowed one its loan. */
static uint64_t serial_of(const void *context)
{
    return source.size <= COPIED ? (uint64_t)(uintptr_t)context - MOST : ((const struct loan *)context)->serial;
}

static void on_complete(void *user, const cdps_complete_t *event)
{
    (void)user;
    progress();
    message_ended(serial_of(event->context));
    if (event->rc >= 0 && event->rc < 8)
        atomic_fetch_add(&source.by[event->rc], 1);
    else
        say("wrong: return code %" PRId32, event->rc);
    atomic_fetch_add(&source.completed, 1);
}

static void on_nack(void *user, const cdps_nack_t *event)
{
    (void)user;
    /* A copied payload is gone by now. */
    const struct loan *loan = source.size > COPIED ? event->context : &(struct loan){.next = NULL};
    say("nack %" PRIu64 " %s %s %" PRIu32 " %" PRIu64, event->sn, cdps_certainty_name(event->certainty),
        cdps_reason_name(event->reason), loan->header.stream, loan->header.number);
    message_ended(serial_of(event->context));
    atomic_fetch_add(&source.nacked, 1);
}

static void on_release(void *user, const cdps_release_t *event)
{
    struct loan *loan = event->context;
    (void)user;
    pthread_mutex_lock(&loans.lock);
    loan->next = loans.free;
    loans.free = loan;
    loans.given_back++;
    pthread_cond_signal(&loans.changed);
    pthread_mutex_unlock(&loans.lock);
}

static void on_source_status(void *user, const cdps_connstatus_t *event)
{
    (void)user;
    if (event->status == CDPS_CONN_DOWN || event->status == CDPS_CONN_RECOVERED)
        atomic_store(&source.down, event->status == CDPS_CONN_DOWN);
    say("status %s %" PRIu32 " %s completed=%llu nacked=%llu", cdps_conn_name(event->status), event->node,
        cdps_reason_name(event->reason), atomic_load(&source.completed), atomic_load(&source.nacked));
    if (event->status == CDPS_CONN_CONNECTED)
        atomic_store(&source.connected, true);
}

static void on_resolved(void *user, const cdps_resolved_t *event)
{
    (void)user;
    say("resolved %" PRIu64 " %s", event->sn, cdps_verdict_name(event->verdict));
}

static struct loan *borrow(void)
{
    pthread_mutex_lock(&loans.lock);
    while (!loans.free)
        pthread_cond_wait(&loans.changed, &loans.lock);
    struct loan *loan = loans.free;
    loans.free = loan->next;
    pthread_mutex_unlock(&loans.lock);
    return loan;
}

/* Sends one message; its number in the stream is used up only if it was accepted. */
static void send_one(uint32_t stream, uint64_t *number)
{
    struct header header = {.stream = stream, .number = *number, .serial = atomic_fetch_add(&source.serial, 1)};
    cdps_send_opts_t how = CDPS_SEND_OPTS_INIT;
    struct loan *loan = NULL;
    CHECK(header.serial < MOST);
    header.check = check_of(&header);
    how.flags = CDPS_SEND_STREAM;
    how.stream = stream;
    how.timeout_ms = CDPS_WAIT_FOREVER;
    cdps_iov_t pieces[2] = {{&header, sizeof header}, {source.body, source.size - sizeof header}};
    if (source.size > COPIED) {
        loan = borrow();
        loan->header = header;
        loan->serial = header.serial;
        pieces[0].base = &loan->header;
        how.flags |= CDPS_SEND_BORROW;
        how.context = loan;
    } else {
        how.context = (void *)(uintptr_t)(header.serial + MOST);
    }
    atomic_fetch_add(&source.accepted, 1);
    bool down = atomic_load(&source.down);
    int32_t code = cdps_port_send(source.port, pieces, 2, &how, NULL);
    if (code == CDPS_OK) {
        if (down)
            say("wrong: accepted although the user knows that the connection is down");
        ++*number;
        return;
    }
    atomic_fetch_sub(&source.accepted, 1);
    if (loan)
        on_release(NULL, &(cdps_release_t){.context = loan});
    if (code != CDPS_E_DOWN) {
        atomic_fetch_add(&source.refused_else, 1);
        say("wrong: send gave %s", cdps_error_name(code));
    } else if (atomic_fetch_add(&source.refused_down, 1) == 0) {
        say("refused %s", cdps_error_name(code));
    }
    /* Not to fill a core with refusals. */
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

static void *sender(void *argument)
{
    uint32_t first = *(uint32_t *)argument;
    uint64_t numbers[STREAMS] = {0};
    while (!atomic_load(&source.stop))
        for (uint32_t stream = first; stream < STREAMS; stream += THREADS)
            send_one(stream + 1, &numbers[stream]);
    return NULL;
}

static void say_source(void)
{
    say_counters(source.port);
    say("source accepted=%llu completed=%llu nacked=%llu twice=%llu refused=%llu wrong=%llu by2=%llu by3=%llu",
        atomic_load(&source.accepted), atomic_load(&source.completed), atomic_load(&source.nacked), atomic_load(&source.twice),
        atomic_load(&source.refused_down), atomic_load(&source.refused_else), atomic_load(&source.by[2]), atomic_load(&source.by[3]));
}

static void start_senders(pthread_t *threads)
{
    static uint32_t firsts[THREADS];
    source.ended = calloc(MOST / 8, 1);
    source.body = calloc(1, source.size);
    struct loan *all = calloc(LOANS, sizeof *all);
    CHECK(source.ended && source.body && all);
    for (unsigned i = 0; i < LOANS; i++) {
        all[i].next = loans.free;
        loans.free = &all[i];
    }
    for (unsigned i = 0; i < THREADS; i++) {
        firsts[i] = i;
        CHECK(pthread_create(&threads[i], NULL, sender, &firsts[i]) == 0);
    }
}

static void stop_source(pthread_t *threads)
{
    atomic_store(&source.stop, true);
    for (unsigned i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    uint64_t end = now_ns() + DEADLINE_S * 1000000000u;
    while (atomic_load(&source.completed) + atomic_load(&source.nacked) < atomic_load(&source.accepted) && now_ns() < end)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    say_source();
    say("stopped");
}

static void run_source(cdps_node_t *node, cdps_config_t *config)
{
    static pthread_t threads[THREADS];
    cdps_client_t *client;
    cdps_client_callbacks_t client_callbacks = CDPS_CLIENT_CALLBACKS_INIT;
    cdps_port_callbacks_t callbacks = CDPS_PORT_CALLBACKS_INIT;
    client_callbacks.on_final = on_final;
    callbacks.on_complete = on_complete;
    callbacks.on_nack = on_nack;
    callbacks.on_release = on_release;
    callbacks.on_connstatus = on_source_status;
    callbacks.on_path = on_path;
    callbacks.on_resolved = on_resolved;
    callbacks.on_final = on_final;
    EXPECT(CDPS_OK, cdps_client_register(node, "loader", &client_callbacks, NULL, &client, NULL));
    EXPECT(CDPS_OK, cdps_port_create(node, config, &callbacks, NULL, &source.port, NULL));
    EXPECT(CDPS_OK, cdps_port_register(source.port, client, NULL));
    EXPECT(CDPS_OK, cdps_port_initialize(source.port, NULL));
    EXPECT(CDPS_OK, cdps_port_connect(source.port, 0, NULL));
    while (!atomic_load(&source.connected))
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    if (source.size > 0)
        start_senders(threads);
    char line[64];
    while (fgets(line, sizeof line, stdin)) {
        if (strcmp(line, "look\n") == 0)
            say_source();
        else if (strcmp(line, "cost\n") == 0)
            say_cost();
        else if (strcmp(line, "stop\n") == 0)
            stop_source(threads);
        else
            FAIL("unknown: %s", line);
    }
}

/* --- target ------------------------------------------------------------------------------------------------------------ */

static struct {
    cdps_config_t *config;
    cdps_port_t *port;
    /* For each stream: the number of its first message, and one more than that of its last. */
    struct {
        uint64_t first, next, ssn, last;
        bool begun;
    } streams[STREAMS + 1];
    uint64_t messages, gaps, again, bad, redelivered;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool hold;
} target = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void judge(const cdps_received_t *event)
{
    struct header header;
    if (event->size < sizeof header) {
        target.bad++;
        return;
    }
    memcpy(&header, event->data, sizeof header);
    if (header.check != check_of(&header) || header.stream != event->stream || header.stream > STREAMS) {
        target.bad++;
        return;
    }
    bool begun = target.streams[header.stream].begun;
    uint64_t next = target.streams[header.stream].next;
    if (!begun)
        target.streams[header.stream].first = header.number;
    else if (header.number < next)
        target.again++;
    else if (header.number > next || event->ssn != target.streams[header.stream].ssn + 1)
        target.gaps++;
    if (begun && header.number != next)
        say("wrong: stream %" PRIu32 ": %" PRIu64 ", then %" PRIu64, header.stream, next - 1, header.number);
    if (begun && last_progress - target.streams[header.stream].last >= STALL_NS)
        say("stall %" PRIu64 " %" PRIu32, target.streams[header.stream].last, header.stream);
    target.streams[header.stream].last = last_progress;
    target.streams[header.stream].begun = true;
    target.streams[header.stream].next = header.number + 1;
    target.streams[header.stream].ssn = event->ssn;
}

static void on_received(void *user, const cdps_received_t *event)
{
    (void)user;
    progress();
    pthread_mutex_lock(&target.lock);
    if (target.messages == 0)
        say("first %" PRIu64, event->sn);
    target.messages++;
    target.redelivered += (event->flags & CDPS_RECEIVED_REDELIVERED) != 0;
    judge(event);
    if (target.hold) {
        say("holding messages=%" PRIu64 " last=%" PRIu64, target.messages, last_progress);
        while (target.hold)
            pthread_cond_wait(&target.changed, &target.lock);
    }
    pthread_mutex_unlock(&target.lock);
    if (event->flags & CDPS_RECEIVED_WANTS_ACK)
        (void)!cdps_port_ack(event->port, event->sn, (int32_t)node_id);
}

static void on_target_status(void *user, const cdps_connstatus_t *event)
{
    (void)user;
    say("status %s %" PRIu32 " %s", cdps_conn_name(event->status), event->node, cdps_reason_name(event->reason));
}

static int32_t on_connectreq(void *user, const cdps_connectreq_t *request, cdps_accept_t *accept)
{
    static cdps_port_callbacks_t callbacks = CDPS_PORT_CALLBACKS_INIT;
    (void)user;
    callbacks.on_received = on_received;
    callbacks.on_connstatus = on_target_status;
    callbacks.on_path = on_path;
    callbacks.on_final = on_final;
    pthread_mutex_lock(&target.lock);
    /* A source counts from the beginning. */
    memset(target.streams, 0, sizeof target.streams);
    target.port = request->port;
    pthread_mutex_unlock(&target.lock);
    accept->config = target.config;
    accept->callbacks = &callbacks;
    return CDPS_CONNECT_ACCEPT;
}

static void say_target(void)
{
    char text[1024];
    size_t used = 0;
    pthread_mutex_lock(&target.lock);
    for (unsigned i = 1; i <= STREAMS; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, " stream%u=%" PRIu64, i, target.streams[i].next);
    say_counters(target.port);
    say("target messages=%" PRIu64 " gaps=%" PRIu64 " again=%" PRIu64 " bad=%" PRIu64 " redelivered=%" PRIu64 " last=%" PRIu64 "%s",
        target.messages, target.gaps, target.again, target.bad, target.redelivered, last_progress, text);
    pthread_mutex_unlock(&target.lock);
}

static void set_hold(bool hold)
{
    pthread_mutex_lock(&target.lock);
    target.hold = hold;
    pthread_cond_broadcast(&target.changed);
    pthread_mutex_unlock(&target.lock);
}

static void run_target(cdps_node_t *node)
{
    cdps_client_t *client;
    cdps_client_callbacks_t callbacks = CDPS_CLIENT_CALLBACKS_INIT;
    char address[64], list[1024] = "";
    callbacks.on_connectreq = on_connectreq;
    callbacks.on_final = on_final;
    EXPECT(CDPS_OK, cdps_client_register(node, "load", &callbacks, NULL, &client, NULL));
    for (size_t i = 0; cdps_node_listening(node, i, address, sizeof address, NULL) == CDPS_OK; i++) {
        strncat(list, " ", sizeof list - strlen(list) - 1);
        strncat(list, address, sizeof list - strlen(list) - 1);
    }
    say("listening%s", list);
    char line[64];
    while (fgets(line, sizeof line, stdin)) {
        if (strcmp(line, "look\n") == 0)
            say_target();
        else if (strcmp(line, "cost\n") == 0)
            say_cost();
        else if (strcmp(line, "hold\n") == 0 || strcmp(line, "go\n") == 0)
            set_hold(*line == 'h');
        else
            FAIL("unknown: %s", line);
    }
}

/* ----------------------------------------------------------------------------------------------------------------------- */

int main(int argc, char **argv)
{
    cdps_node_t *node;
    cdps_error_t err = CDPS_ERROR_INIT;
    CHECK(argc >= 5);
    bool sends = strcmp(argv[1], "source") == 0;
    node_id = (uint32_t)atoi(argv[2]);
    cdps_config_t *config = check_config(argv[2], sends ? argv[3] : argv[4]);
    if (sends) {
        check_set(config, "port.targets", argv[3]);
        check_set(config, "port.client", "load");
        check_set(config, "port.ack", "sync");
        source.size = (size_t)atol(argv[4]);
        CHECK(source.size == 0 || (source.size >= sizeof(struct header) && source.size <= 16 << 20));
    } else {
        check_set(config, "node.listen", argv[3]);
        target.config = config;
    }
    for (int i = 5; i < argc; i++) {
        char *equals = strchr(argv[i], '=');
        CHECK(equals);
        *equals = 0;
        check_set(config, argv[i], equals + 1);
    }
    if (cdps_node_open(config, NULL, NULL, &node, &err) != CDPS_OK)
        FAIL("%s", err.message);
    if (sends)
        run_source(node, config);
    else
        run_target(node);
    /* The other end learns of it as from any process that ends. */
    return 0;
}
