/* Receives what cdps-send sends, and writes it to a file, or to standard output.
 *
 * A message is acknowledged when it is written, so the sender knows. With --offsets each message says where it belongs: then it does not matter
 * that a message comes again after the sender has gone to another target, and two targets may write the same file, as two nodes that share
 * a disk.
 */
#include "example.h"

#include <fcntl.h>
#include <getopt.h>
#include <signal.h>

static const char HELP[] =
    "Usage: cdps-recv --node-id N --listen ADDR [--listen ADDR ...] --member ID [options] FILE\n"
    "Writes what cdps-send sends to FILE (- is standard output), until it is ended by a signal.\n"
    "\n"
    "  --node-id N      id of this node\n"
    "  --listen ADDR    where to listen (IP:PORT; port 0 takes a free one), one for each path\n"
    "  --member ID      a node that may connect; may be repeated\n"
    "  --client NAME    name under which sources find this program (default: file)\n"
    "  --offsets        each message says where in FILE it belongs (cdps-send --offsets)\n"
    "  --once           end when the first source has closed\n"
    "  --events FILE    append events to FILE as JSON lines (-: standard error)\n"
    "  --log LEVEL      none, error, warn (default), info, debug, trace\n"
    "  --set KEY=VALUE  any other setting of the library; may be repeated\n"
    "  --help           this text\n";

/* A pause in delivery is worth a line from here on. */
#define PAUSE_NS 20000000u

/* A source that is connected. */
struct session {
    struct session *next;
    cdps_port_t *port;
    uint64_t last_ns;
};

static struct {
    pthread_mutex_t lock;
    struct session *sessions;
    uint64_t messages, bytes, redelivered;
    /* Of sessions that are over. */
    uint64_t duplicates;
    bool ended, cut;
} state = {.lock = PTHREAD_MUTEX_INITIALIZER};

static struct {
    const char *file, *client;
    int out;
    bool offsets, once;
} options = {.client = "file"};

static cdps_config_t *config;

/* --- writing ---------------------------------------------------------------------------------------------------------- */

/* Writes all of it; 0, or the error number. `offset` below 0: where the last write ended. */
static int write_all(const uint8_t *data, size_t size, int64_t offset)
{
    while (size > 0) {
        ssize_t n = offset < 0 ? write(options.out, data, size) : pwrite(options.out, data, size, offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno;
        data += n;
        size -= (size_t)n;
        offset = offset < 0 ? offset : offset + n;
    }
    return 0;
}

static int write_message(const uint8_t *data, size_t size)
{
    if (!options.offsets)
        return write_all(data, size, -1);
    uint64_t offset = 0;
    if (size < 8)
        return EBADMSG;
    for (int i = 0; i < 8; i++)
        offset |= (uint64_t)data[i] << (8 * i);
    return offset > INT64_MAX ? EFBIG : write_all(data + 8, size - 8, (int64_t)offset);
}

/* --- callbacks: they run on a thread of the library, one at a time for each port --------------------------------------- */

static void on_received(void *user, const cdps_received_t *received)
{
    struct session *session = user;
    uint64_t now = now_ns();
    if (session->last_ns == 0)
        event("first", "\"sn\": %" PRIu64 ", \"generation\": %" PRIu64, received->sn, received->generation.counter);
    else if (now - session->last_ns >= PAUSE_NS)
        event("pause", "\"from\": %" PRIu64 ", \"to\": %" PRIu64, session->last_ns, now);
    session->last_ns = now;

    int error = write_message(received->data, received->size);
    if (error)
        event("error", "\"sn\": %" PRIu64 ", \"text\": \"%s\"", received->sn, strerror(error));
    /* Fails only if the session is over meanwhile: then nobody waits for it. */
    if (received->flags & CDPS_RECEIVED_WANTS_ACK)
        (void)!cdps_port_ack(received->port, received->sn, error);

    pthread_mutex_lock(&state.lock);
    state.messages++;
    state.bytes += received->size - (options.offsets && received->size >= 8 ? 8 : 0);
    if (received->flags & CDPS_RECEIVED_REDELIVERED)
        state.redelivered++;
    pthread_mutex_unlock(&state.lock);
}

static void on_path(void *user, const cdps_path_t *path)
{
    (void)user;
    log_path(path);
}

/* The session is over: the port is destroyed from inside its own callback, and on_final frees what belongs to it. */
static void on_connstatus(void *user, const cdps_connstatus_t *status)
{
    struct session *session = user;
    cdps_port_stats_t stats = CDPS_PORT_STATS_INIT;
    log_connstatus(status);
    if (status->status != CDPS_CONN_CLOSED)
        return;
    bool known = cdps_port_stats(session->port, &stats) == CDPS_OK;
    pthread_mutex_lock(&state.lock);
    state.duplicates += known ? stats.duplicates : 0;
    state.ended = true;
    state.cut = status->reason != CDPS_REASON_CLOSED && status->reason != CDPS_REASON_PEER_CLOSED;
    for (struct session **at = &state.sessions; *at; at = &(*at)->next)
        if (*at == session) {
            *at = session->next;
            break;
        }
    pthread_mutex_unlock(&state.lock);
    cdps_port_destroy(session->port);
}

static void on_port_final(void *user)
{
    struct session *session = user;
    pthread_mutex_lock(&state.lock);
    for (struct session **at = &state.sessions; *at; at = &(*at)->next)
        if (*at == session) {
            *at = session->next;
            break;
        }
    pthread_mutex_unlock(&state.lock);
    free(session);
}

static int32_t on_connectreq(void *user, const cdps_connectreq_t *request, cdps_accept_t *accept)
{
    static cdps_port_callbacks_t callbacks = CDPS_PORT_CALLBACKS_INIT;
    struct session *session = calloc(1, sizeof *session);
    (void)user;
    if (!session) {
        snprintf(accept->text, sizeof accept->text, "out of memory");
        return CDPS_CONNECT_REFUSE;
    }
    event("connectreq", "\"node\": %" PRIu32 ", \"generation\": %" PRIu64 ", \"paths\": %" PRIu32, request->node,
          request->generation.counter, request->paths);
    callbacks.on_received = on_received;
    callbacks.on_connstatus = on_connstatus;
    callbacks.on_path = on_path;
    callbacks.on_final = on_port_final;
    session->port = request->port;
    pthread_mutex_lock(&state.lock);
    session->next = state.sessions;
    state.sessions = session;
    pthread_mutex_unlock(&state.lock);
    accept->config = config;
    accept->callbacks = &callbacks;
    accept->user = session;
    return CDPS_CONNECT_ACCEPT;
}

static void on_final(void *user)
{
    (void)user;
}

/* --- progress --------------------------------------------------------------------------------------------------------- */

/* Says what has come since it said so last; false if nothing has. */
static bool progress(void)
{
    static uint64_t before = UINT64_MAX;
    pthread_mutex_lock(&state.lock);
    uint64_t messages = state.messages, bytes = state.bytes, redelivered = state.redelivered;
    uint64_t duplicates = state.duplicates;
    for (struct session *session = state.sessions; session; session = session->next) {
        cdps_port_stats_t stats = CDPS_PORT_STATS_INIT;
        if (cdps_port_stats(session->port, &stats) == CDPS_OK)
            duplicates += stats.duplicates;
    }
    pthread_mutex_unlock(&state.lock);
    if (messages + duplicates == before)
        return false;
    before = messages + duplicates;
    event("progress",
          "\"messages\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"redelivered\": %" PRIu64 ", \"duplicates\": %" PRIu64,
          messages, bytes, redelivered, duplicates);
    if (isatty(STDERR_FILENO) && events != stderr)
        fprintf(stderr, "\r\033[K%.1f MB, %" PRIu64 " messages", (double)bytes / 1e6, messages);
    return true;
}

/* --- life ------------------------------------------------------------------------------------------------------------- */

static void say_listening(cdps_node_t *node)
{
    char *list = NULL, address[64], quoted[80];
    for (size_t i = 0; cdps_node_listening(node, i, address, sizeof address, NULL) == CDPS_OK; i++) {
        snprintf(quoted, sizeof quoted, "\"%s\"", address);
        append(&list, ", ", quoted);
    }
    event("listening", "\"addresses\": [%s]", list ? list : "");
    free(list);
}

/* Until a signal comes, or with --once the first session is over. */
static void serve(const sigset_t *signals)
{
    struct timespec pause = {0, 0};
    bool over = false;
    while (!over && sigtimedwait(signals, NULL, &pause) < 0) {
        /* Often while something comes, seldom while nothing does. */
        pause.tv_nsec = progress() ? 50000000 : 250000000;
        pthread_mutex_lock(&state.lock);
        over = options.once && state.ended;
        pthread_mutex_unlock(&state.lock);
    }
    progress();
    if (isatty(STDERR_FILENO) && events != stderr)
        fprintf(stderr, "\n");
}

static void parse(int argc, char **argv)
{
    enum { NODE = 1, LISTEN, MEMBER, CLIENT, OFFSETS, ONCE, EVENTS, LOG, SET, HELP_ };
    static const struct option known[] = {
        {"node-id", 1, 0, NODE},    {"listen", 1, 0, LISTEN}, {"member", 1, 0, MEMBER}, {"client", 1, 0, CLIENT},
        {"offsets", 0, 0, OFFSETS}, {"once", 0, 0, ONCE},     {"events", 1, 0, EVENTS}, {"log", 1, 0, LOG},
        {"set", 1, 0, SET},         {"help", 0, 0, HELP_},    {0, 0, 0, 0}};
    char *listen = NULL, *members = NULL, *equals;
    for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        switch (option) {
        case NODE: set(config, "node.id", optarg); break;
        case LISTEN: append(&listen, ",", optarg); break;
        case MEMBER: append(&members, ";", optarg); break;
        case CLIENT: options.client = optarg; break;
        case OFFSETS: options.offsets = true; break;
        case ONCE: options.once = true; break;
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
    if (argc - optind != 1 || !listen || !members)
        die("a FILE, a --listen and a --member are needed; try --help");
    options.file = argv[optind];
    options.out = STDOUT_FILENO;
    if (strcmp(options.file, "-") != 0 && (options.out = open(options.file, O_WRONLY | O_CREAT | O_CLOEXEC, 0666)) < 0)
        die("%s: %s", options.file, strerror(errno));
    set(config, "node.listen", listen);
    set(config, "node.members", members);
    free(listen);
    free(members);
}

int main(int argc, char **argv)
{
    cdps_node_t *node;
    cdps_client_t *client;
    cdps_error_t err = CDPS_ERROR_INIT;
    sigset_t signals;

    check(cdps_config_create(&config), "configuration", NULL);
    set(config, "security.mode", "plain");
    /* What a source may send at most; cdps-send has its own, and the lower of the two counts. */
    set(config, "port.max_message", "1073741824");
    parse(argc, argv);
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, NULL);

    check(cdps_node_open(config, NULL, NULL, &node, &err), "open", &err);
    cdps_client_callbacks_t callbacks = CDPS_CLIENT_CALLBACKS_INIT;
    callbacks.on_connectreq = on_connectreq;
    callbacks.on_final = on_final;
    check(cdps_client_register(node, options.client, &callbacks, NULL, &client, &err), "client", &err);
    say_listening(node);
    serve(&signals);

    check(cdps_node_destroy_wait(node, 10000), "end", NULL);
    cdps_config_destroy(config);
    if (options.out != STDOUT_FILENO && close(options.out) != 0)
        die("%s: %s", options.file, strerror(errno));
    return options.once && state.cut ? 1 : 0;
}
