/* Sends a file, or standard input, through a data port.
 *
 * Payload is lent to the library, not copied: a fixed number of buffers go round, each filled, sent with CDPS_SEND_BORROW, and free again when
 * on_release says so. That also paces the reader. With --offsets each message begins with its place in the file (8 bytes, little-endian), so
 * that the target can write it there in any order, and again.
 */
#include "example.h"

#include <fcntl.h>
#include <getopt.h>
#include <sys/stat.h>

static const char HELP[] =
    "Usage: cdps-send --node-id N --target ID=ADDR[,ADDR...] [--target ...] [options] FILE\n"
    "Sends FILE (- is standard input) to the client of that name on the first target that can be reached.\n"
    "\n"
    "  --node-id N           id of this node\n"
    "  --target ID=ADDR,...  a target node and its addresses (IP:PORT), one path each; the first is the primary one\n"
    "  --listen ADDR         listen as well; may be repeated\n"
    "  --client NAME         name of the client on the targets (default: file)\n"
    "  --ack MODEL           sync: the target has written it (default); async: it has it; sent: it was sent\n"
    "  --autoswitch          go to the next target by itself when one fails\n"
    "  --message-size N      bytes of the file in a message (default 262144)\n"
    "  --buffers N           messages under way, at most (default 64)\n"
    "  --offsets             send each message's place in the file along, for cdps-recv --offsets\n"
    "  --passes N            send the file N times (needs --offsets)\n"
    "  --step                after each pass wait for a line on standard input\n"
    "  --rate N              bytes a second, at most\n"
    "  --events FILE         append events to FILE as JSON lines (-: standard error)\n"
    "  --log LEVEL           none, error, warn (default), info, debug, trace\n"
    "  --set KEY=VALUE       any other setting of the library; may be repeated\n"
    "  --help                this text\n";

/* A message under way. */
struct buffer {
    struct buffer *next;
    uint8_t place[8];
    uint8_t *bytes;
    size_t length;
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct buffer *free;
    size_t under_way;
    bool connected, over;
    const char *trouble;
    int64_t bad_rc;
    uint64_t sent_bytes, completed, nacks;
} state = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static struct {
    const char *file, *client;
    size_t message_size, buffers;
    uint64_t passes, rate;
    bool offsets, step;
} options = {.client = "file", .message_size = 256 << 10, .buffers = 64, .passes = 1};

static cdps_port_t *port;

/* --- callbacks: they run on a thread of the library, one at a time ---------------------------------------------------- */

static void on_complete(void *user, const cdps_complete_t *complete)
{
    struct buffer *buffer = complete->context;
    (void)user;
    pthread_mutex_lock(&state.lock);
    state.completed += buffer->length;
    state.under_way--;
    if (complete->rc != 0 && state.bad_rc == 0)
        state.bad_rc = complete->rc;
    pthread_cond_signal(&state.changed);
    pthread_mutex_unlock(&state.lock);
}

static void on_nack(void *user, const cdps_nack_t *nack)
{
    (void)user;
    event("nack", "\"sn\": %" PRIu64 ", \"reason\": \"%s\", \"certainty\": \"%s\"", nack->sn,
          cdps_reason_name(nack->reason), cdps_certainty_name(nack->certainty));
    pthread_mutex_lock(&state.lock);
    state.nacks++;
    state.under_way--;
    pthread_cond_signal(&state.changed);
    pthread_mutex_unlock(&state.lock);
}

/* After on_complete or on_nack: the buffer is ours again. That may be much later, when a path has frozen with the buffer half written. */
static void on_release(void *user, const cdps_release_t *release)
{
    struct buffer *buffer = release->context;
    (void)user;
    pthread_mutex_lock(&state.lock);
    buffer->next = state.free;
    state.free = buffer;
    pthread_cond_signal(&state.changed);
    pthread_mutex_unlock(&state.lock);
}

static void on_connstatus(void *user, const cdps_connstatus_t *status)
{
    (void)user;
    log_connstatus(status);
    pthread_mutex_lock(&state.lock);
    switch (status->status) {
    case CDPS_CONN_CONNECTED:
        state.connected = true;
        break;
    case CDPS_CONN_CONNECT_FAILED:
    case CDPS_CONN_DOWN:
        state.trouble = status->text;
        break;
    case CDPS_CONN_CLOSED:
        state.over = true;
        break;
    }
    pthread_cond_signal(&state.changed);
    pthread_mutex_unlock(&state.lock);
}

static void on_path(void *user, const cdps_path_t *path)
{
    (void)user;
    log_path(path);
}

static void on_final(void *user)
{
    (void)user;
}

/* --- progress --------------------------------------------------------------------------------------------------------- */

/* Says every 50 ms how far it is: to the log, and to the terminal if there is one. `total` 0: not known. */
static void progress(const char *name, uint64_t since, uint64_t total)
{
    static uint64_t shown;
    uint64_t now = now_ns();
    cdps_port_stats_t stats = CDPS_PORT_STATS_INIT;
    if (now - shown < 50000000 && strcmp(name, "progress") == 0)
        return;
    shown = now;
    if (cdps_port_stats(port, &stats) < 0)
        return;
    pthread_mutex_lock(&state.lock);
    uint64_t completed = state.completed, nacks = state.nacks;
    pthread_mutex_unlock(&state.lock);
    double seconds = (double)(now - since) / 1e9;
    event(name,
          "\"seconds\": %.6f, \"sent\": %" PRIu64 ", \"completed\": %" PRIu64 ", \"nacks\": %" PRIu64
          ", \"resent\": %" PRIu64 ", \"duplicates\": %" PRIu64 ", \"switches\": %" PRIu64,
          seconds, state.sent_bytes, completed, nacks, stats.retransmitted, stats.duplicates, stats.switches);
    if (!isatty(STDERR_FILENO) || events == stderr)
        return;
    fprintf(stderr, "\r\033[K%.1f MB", (double)completed / 1e6);
    if (total)
        fprintf(stderr, " of %.1f (%.0f %%)", (double)total / 1e6, 100.0 * (double)completed / (double)total);
    fprintf(stderr, ", %.0f MB/s", seconds > 0 ? (double)completed / 1e6 / seconds : 0.0);
}

/* --- sending ---------------------------------------------------------------------------------------------------------- */

/* Waits on the state, with the lock held, and shows progress meanwhile. */
static void wait_changed(uint64_t since, uint64_t total)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 50000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_cond_timedwait(&state.changed, &state.lock, &until);
    pthread_mutex_unlock(&state.lock);
    progress("progress", since, total);
    pthread_mutex_lock(&state.lock);
}

/* Ends the program when there is no point in going on. The lock is held. */
static void stop_on_trouble(void)
{
    if (state.trouble)
        die("%s%s", state.connected ? "the connection is down: " : "cannot connect: ", state.trouble);
    if (state.over)
        die("the target has closed the session");
    if (state.bad_rc)
        die("the target could not write: return code %" PRId64, state.bad_rc);
}

static struct buffer *take_buffer(uint64_t since, uint64_t total)
{
    pthread_mutex_lock(&state.lock);
    while (stop_on_trouble(), !state.free)
        wait_changed(since, total);
    struct buffer *buffer = state.free;
    state.free = buffer->next;
    pthread_mutex_unlock(&state.lock);
    return buffer;
}

/* Fills a buffer; false at the end of the file. */
static bool fill(int in, struct buffer *buffer)
{
    buffer->length = 0;
    while (buffer->length < options.message_size) {
        ssize_t n = read(in, buffer->bytes + buffer->length, options.message_size - buffer->length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            die("%s: %s", options.file, strerror(errno));
        if (n == 0)
            break;
        buffer->length += (size_t)n;
    }
    return buffer->length > 0;
}

static void send_buffer(struct buffer *buffer, uint64_t offset)
{
    for (int i = 0; i < 8; i++)
        buffer->place[i] = (uint8_t)(offset >> (8 * i));
    cdps_iov_t pieces[2] = {{buffer->place, sizeof buffer->place}, {buffer->bytes, buffer->length}};
    int first = options.offsets ? 0 : 1;
    cdps_send_opts_t how = CDPS_SEND_OPTS_INIT;
    how.flags = CDPS_SEND_BORROW;
    how.timeout_ms = CDPS_WAIT_FOREVER;
    how.context = buffer;
    /* Before the call: on_complete may run before it returns. */
    pthread_mutex_lock(&state.lock);
    state.under_way++;
    pthread_mutex_unlock(&state.lock);
    int32_t code = cdps_port_send(port, pieces + first, (size_t)(2 - first), &how, NULL);
    if (code == CDPS_OK) {
        state.sent_bytes += buffer->length;
        return;
    }
    /* Refused: no callback will come, and the buffer is still ours. Why, on_connstatus may have said. */
    pthread_mutex_lock(&state.lock);
    stop_on_trouble();
    pthread_mutex_unlock(&state.lock);
    check(code, "send", NULL);
}

/* Sleeps until `bytes` are due. */
static void pace(uint64_t start, uint64_t bytes)
{
    if (options.rate == 0)
        return;
    uint64_t due = start + (uint64_t)((double)bytes / (double)options.rate * 1e9);
    struct timespec at = {.tv_sec = (time_t)(due / 1000000000), .tv_nsec = (long)(due % 1000000000)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR)
        ;
}

/* Sends the file once and waits until all of it is complete. */
static void send_pass(int in, uint64_t since, uint64_t total)
{
    uint64_t offset = 0, start = now_ns();
    for (;;) {
        struct buffer *buffer = take_buffer(since, total);
        if (!fill(in, buffer)) {
            on_release(NULL, &(cdps_release_t){.context = buffer});
            break;
        }
        pace(start, offset);
        send_buffer(buffer, offset);
        offset += buffer->length;
        progress("progress", since, total);
    }
    pthread_mutex_lock(&state.lock);
    while (stop_on_trouble(), state.under_way > 0)
        wait_changed(since, total);
    pthread_mutex_unlock(&state.lock);
}

/* Waits for a line on standard input; its end counts as one. */
static void wait_for_line(void)
{
    char c;
    ssize_t n;
    while ((n = read(STDIN_FILENO, &c, 1)) != 0 && !(n == 1 && c == '\n'))
        if (n < 0 && errno != EINTR)
            return;
}

static void send_file(int in)
{
    struct stat about;
    uint64_t total = 0, waited = 0, start = now_ns();
    if (fstat(in, &about) == 0 && S_ISREG(about.st_mode))
        total = (uint64_t)about.st_size * options.passes;
    event("start", "\"total\": %" PRIu64 ", \"passes\": %" PRIu64, total, options.passes);
    for (uint64_t pass = 1; pass <= options.passes; pass++) {
        if (pass > 1 && lseek(in, 0, SEEK_SET) != 0)
            die("%s: %s", options.file, strerror(errno));
        send_pass(in, start + waited, total);
        event("pass", "\"pass\": %" PRIu64, pass);
        if (options.step) {
            uint64_t before = now_ns();
            wait_for_line();
            waited += now_ns() - before;
        }
    }
    progress("done", start + waited, total);
    if (isatty(STDERR_FILENO) && events != stderr)
        fprintf(stderr, "\n");
}

/* --- life ------------------------------------------------------------------------------------------------------------- */

static void make_buffers(void)
{
    for (size_t i = 0; i < options.buffers; i++) {
        struct buffer *buffer = calloc(1, sizeof *buffer);
        if (!buffer || !(buffer->bytes = malloc(options.message_size)))
            die("out of memory");
        buffer->next = state.free;
        state.free = buffer;
    }
}

static void free_buffers(void)
{
    while (state.free) {
        struct buffer *buffer = state.free;
        state.free = buffer->next;
        free(buffer->bytes);
        free(buffer);
    }
}

static void connect_port(cdps_client_t *client)
{
    cdps_error_t err = CDPS_ERROR_INIT;
    check(cdps_port_register(port, client, &err), "register", &err);
    check(cdps_port_initialize(port, &err), "initialize", &err);
    check(cdps_port_connect(port, 0, &err), "connect", &err);
    pthread_mutex_lock(&state.lock);
    while (stop_on_trouble(), !state.connected)
        pthread_cond_wait(&state.changed, &state.lock);
    pthread_mutex_unlock(&state.lock);
}

/* Closes in two steps: to STOPPED (drained, which it is), then to INITIALIZED: now the target knows. */
static void close_port(void)
{
    cdps_error_t err = CDPS_ERROR_INIT;
    cdps_port_info_t info = CDPS_PORT_INFO_INIT;
    for (int step = 0; step < 2; step++)
        if (cdps_port_info(port, &info) == CDPS_OK &&
            (info.state == CDPS_STATE_CONNECTED || info.state == CDPS_STATE_STOPPED))
            check(cdps_port_close(port, CDPS_CLOSE_DRAIN, &err), "close", &err);
    pthread_mutex_lock(&state.lock);
    while (!state.over)
        pthread_cond_wait(&state.changed, &state.lock);
    pthread_mutex_unlock(&state.lock);
}

static int parse(int argc, char **argv, cdps_config_t *config)
{
    enum { NODE = 1, TARGET, LISTEN, CLIENT, ACK, AUTOSWITCH, SIZE, BUFFERS, OFFSETS, PASSES, STEP, RATE, EVENTS, LOG, SET, HELP_ };
    static const struct option known[] = {
        {"node-id", 1, 0, NODE},   {"target", 1, 0, TARGET},         {"listen", 1, 0, LISTEN},     {"client", 1, 0, CLIENT},
        {"ack", 1, 0, ACK},        {"autoswitch", 0, 0, AUTOSWITCH}, {"message-size", 1, 0, SIZE}, {"buffers", 1, 0, BUFFERS},
        {"offsets", 0, 0, OFFSETS}, {"passes", 1, 0, PASSES},        {"step", 0, 0, STEP},         {"rate", 1, 0, RATE},
        {"events", 1, 0, EVENTS},  {"log", 1, 0, LOG},               {"set", 1, 0, SET},           {"help", 0, 0, HELP_},
        {0, 0, 0, 0}};
    char *targets = NULL, *listen = NULL, *equals;
    for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        switch (option) {
        case NODE: set(config, "node.id", optarg); break;
        case TARGET: append(&targets, ";", optarg); break;
        case LISTEN: append(&listen, ",", optarg); break;
        case CLIENT: options.client = optarg; break;
        case ACK: set(config, "port.ack", optarg); break;
        case AUTOSWITCH: set(config, "port.autoswitch", "true"); break;
        case SIZE: options.message_size = number("--message-size", optarg, 1, 1 << 30); break;
        case BUFFERS: options.buffers = number("--buffers", optarg, 1, 65536); break;
        case OFFSETS: options.offsets = true; break;
        case PASSES: options.passes = number("--passes", optarg, 1, UINT32_MAX); break;
        case STEP: options.step = true; break;
        case RATE: options.rate = number("--rate", optarg, 1, UINT64_MAX); break;
        case EVENTS: events_open(optarg); break;
        case LOG: set(config, "log.level", optarg); break;
        case SET:
            if (!(equals = strchr(optarg, '=')))
                die("--set: \"%s\" is not KEY=VALUE", optarg);
            *equals = 0;
            set(config, optarg, equals + 1);
            break;
        case HELP_: fputs(HELP, stdout); exit(0);
        default: fputs("Try --help.\n", stderr); exit(2);
        }
    }
    if (argc - optind != 1 || !targets)
        die("a FILE and a --target are needed; try --help");
    options.file = argv[optind];
    int in = strcmp(options.file, "-") == 0 ? STDIN_FILENO : open(options.file, O_RDONLY | O_CLOEXEC);
    if (in < 0)
        die("%s: %s", options.file, strerror(errno));
    if (options.step && in == STDIN_FILENO)
        die("--step needs standard input for itself: name a file");
    if (options.passes > 1 && !options.offsets)
        die("--passes needs --offsets");
    /* A message has to fit, and as many as there are buffers; then the library never makes us wait. */
    size_t length = options.message_size + (options.offsets ? 8 : 0);
    set_number(config, "port.max_message", length);
    set_number(config, "port.send_buffer_max", (uint64_t)length * options.buffers);
    set(config, "node.members", targets);
    set(config, "port.targets", targets);
    set(config, "port.client", options.client);
    set(config, "node.listen", listen);
    free(targets);
    free(listen);
    return in;
}

int main(int argc, char **argv)
{
    cdps_config_t *config;
    cdps_node_t *node;
    cdps_client_t *client;
    cdps_error_t err = CDPS_ERROR_INIT;

    check(cdps_config_create(&config), "configuration", NULL);
    set(config, "security.mode", "plain");
    int in = parse(argc, argv, config);
    make_buffers();

    check(cdps_node_open(config, NULL, NULL, &node, &err), "open", &err);
    cdps_client_callbacks_t of_client = CDPS_CLIENT_CALLBACKS_INIT;
    of_client.on_final = on_final;
    check(cdps_client_register(node, "cdps-send", &of_client, NULL, &client, &err), "client", &err);
    cdps_port_callbacks_t of_port = CDPS_PORT_CALLBACKS_INIT;
    of_port.on_complete = on_complete;
    of_port.on_nack = on_nack;
    of_port.on_release = on_release;
    of_port.on_connstatus = on_connstatus;
    of_port.on_path = on_path;
    of_port.on_final = on_final;
    check(cdps_port_create(node, config, &of_port, NULL, &port, &err), "port", &err);
    cdps_config_destroy(config);

    connect_port(client);
    send_file(in);
    close_port();
    check(cdps_node_destroy_wait(node, 10000), "end", NULL);
    free_buffers();
    return state.nacks == 0 && state.bad_rc == 0 ? 0 : 1;
}
