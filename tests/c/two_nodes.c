/* Two nodes in one process send to each other, with every kind of callback; then ports and nodes go in the middle of it.
 *
 * [N1, M3] both directions; [A1, A4] each accepted send ends exactly once; [M5] each borrowed buffer comes back exactly once, after that;
 * [L7] what a suspended port is given waits; [L6] destroying from inside a callback with sends in flight, and the final callback is the last.
 *
 * [A6] a target's user that never acknowledges is named to the source, once.
 *
 * Arguments: number of messages each way, and "patient" for timers that valgrind does not trip.
 */
#include "check.h"

enum stage { FREE, SENT, ENDED, GIVEN_BACK };

/* A send. */
struct item {
    struct side *side;
    enum stage stage;
    bool borrowed;
    uint32_t number;
    uint8_t *bytes;
    size_t size;
};

/* One end of a session. */
struct side {
    const char *name;
    cdps_port_t *port;
    struct item *items;
    unsigned count;
    /* Acknowledge this many messages, then no more. */
    unsigned ack_limit;
    bool knows_its_paths, destroy_in_complete, waited_in_callback;
    cdps_node_t *destroy_node_in_received;
    uint64_t last_sn, overdue_sn;
    uint32_t next_number;
    cdps_msg_t *kept;
    int32_t cause;
    /* Under check_lock. */
    unsigned connected, received, completed, nacked, released, final, closed, paths_seen, held_back, let_go, overdue, added;
};

static bool patient;

/* --- callbacks -------------------------------------------------------------------------------------------------------- */

static size_t size_of(uint32_t number)
{
    static const size_t sizes[] = {4, 64, 2048, 2049, 5000, 70000, 300000};
    return sizes[number % (patient ? 5 : 7)];
}

static void alive(const struct side *side)
{
    if (check_read(&side->final))
        FAIL("%s: a callback after on_final", side->name);
}

static void end_of(struct item *item)
{
    CHECK(item->stage == SENT);
    item->stage = ENDED;
}

static void on_complete(void *user, const cdps_complete_t *event)
{
    struct side *side = user;
    struct item *item = event->context;
    alive(side);
    CHECK(event->struct_size == sizeof *event && item->side == side && event->sn > 0);
    CHECK(event->rc == (int32_t)item->number);
    end_of(item);
    if (side->destroy_in_complete) {
        side->destroy_in_complete = false;
        EXPECT(CDPS_E_IN_CALLBACK, cdps_port_destroy_wait(side->port, 1000));
        EXPECT(CDPS_OK, cdps_port_destroy(side->port));
        EXPECT(CDPS_E_BAD_HANDLE, cdps_port_destroy(side->port));
        CHECK(check_read(&side->final) == 0);
    }
    check_add(&side->completed, 1);
}

static void on_nack(void *user, const cdps_nack_t *event)
{
    struct side *side = user;
    struct item *item = event->context;
    alive(side);
    CHECK(event->struct_size == sizeof *event && item->side == side && event->text[0]);
    CHECK(event->certainty == CDPS_CERTAINTY_NOT_SENT || event->certainty == CDPS_CERTAINTY_UNKNOWN);
    /* In the order sent. */
    CHECK(event->sn > side->last_sn);
    side->last_sn = event->sn;
    end_of(item);
    check_add(&side->nacked, 1);
}

static void on_release(void *user, const cdps_release_t *event)
{
    struct side *side = user;
    struct item *item = event->context;
    alive(side);
    CHECK(event->struct_size == sizeof *event && item->borrowed && item->stage == ENDED);
    item->stage = GIVEN_BACK;
    /* Ours again: whoever still reads it would send, or show valgrind, something else. */
    memset(item->bytes, 0xee, item->size);
    free(item->bytes);
    item->bytes = NULL;
    check_add(&side->released, 1);
}

static void on_received(void *user, const cdps_received_t *event)
{
    struct side *side = user;
    const uint8_t *data = event->data;
    uint32_t number;
    alive(side);
    CHECK(event->struct_size == sizeof *event && event->port == side->port && event->size >= sizeof number);
    memcpy(&number, data, sizeof number);
    /* In order, once, whole. */
    CHECK(number == side->next_number && event->size == size_of(number));
    CHECK(event->size == sizeof number || data[event->size - 1] == (uint8_t)number);
    side->next_number++;
    CHECK(cdps_msg_data(event->msg) == event->data && cdps_msg_size(event->msg) == event->size);
    CHECK(cdps_msg_sn(event->msg) == event->sn && cdps_msg_stream(event->msg) == event->stream);
    CHECK(event->flags & CDPS_RECEIVED_WANTS_ACK && event->generation.counter > 0);
    if (number == 0)
        CHECK((side->kept = cdps_msg_retain(event->msg)) == event->msg);
    if (number < side->ack_limit) {
        EXPECT(CDPS_OK, cdps_port_ack(event->port, event->sn, (int32_t)number));
        EXPECT(CDPS_E_NOT_OWED, cdps_port_ack(event->port, event->sn, 0));
    }
    if (!side->waited_in_callback) {
        side->waited_in_callback = true;
        EXPECT(CDPS_E_IN_CALLBACK, cdps_port_destroy_wait(side->port, CDPS_WAIT_FOREVER));
        EXPECT(CDPS_E_IN_CALLBACK, cdps_node_destroy_wait(NULL, CDPS_WAIT_FOREVER));
    }
    if (side->destroy_node_in_received && number == 3) {
        EXPECT(CDPS_E_IN_CALLBACK, cdps_node_destroy_wait(side->destroy_node_in_received, CDPS_WAIT_FOREVER));
        EXPECT(CDPS_OK, cdps_node_destroy(side->destroy_node_in_received));
    }
    check_add(&side->received, 1);
}

static void on_connstatus(void *user, const cdps_connstatus_t *event)
{
    struct side *side = user;
    alive(side);
    CHECK(event->struct_size == sizeof *event && event->text);
    if (event->status == CDPS_CONN_CONNECT_FAILED)
        FAIL("%s: connect failed: %s", side->name, event->text);
    if (event->status == CDPS_CONN_CONNECTED) {
        /* A target learns of its paths as they come. */
        CHECK(event->paths_up >= 1 && event->paths >= (side->knows_its_paths ? 2u : 1u));
        check_add(&side->connected, 1);
    }
    if (event->status == CDPS_CONN_CLOSED)
        check_add(&side->closed, 1);
}

static void on_path(void *user, const cdps_path_t *event)
{
    struct side *side = user;
    alive(side);
    CHECK(event->struct_size == sizeof *event && event->path < 3);
    check_add(&side->paths_seen, 1);
    if (event->path == 2 && event->health == CDPS_HEALTH_GOOD)
        check_add(&side->added, 1);
}

static void on_flow(void *user, const cdps_flow_t *event)
{
    struct side *side = user;
    alive(side);
    CHECK(event->struct_size == sizeof *event && event->port == side->port);
    /* In turn. */
    if (event->flow == CDPS_FLOW_ON) {
        CHECK(side->held_back == side->let_go && event->cause >= CDPS_CAUSE_WINDOW && event->bytes > 0 && event->messages > 0);
        side->cause = event->cause;
        check_add(&side->held_back, 1);
    } else {
        CHECK(event->flow == CDPS_FLOW_OFF && side->held_back == side->let_go + 1);
        check_add(&side->let_go, 1);
    }
}

static void on_overdue(void *user, const cdps_overdue_t *event)
{
    struct side *side = user;
    alive(side);
    CHECK(event->struct_size == sizeof *event && event->port == side->port && event->stream == 7);
    CHECK(event->waited_ms >= 200 && event->sn > side->overdue_sn);
    side->overdue_sn = event->sn;
    check_add(&side->overdue, 1);
}

static void on_final(void *user)
{
    struct side *side = user;
    alive(side);
    /* The handle names nothing any more. */
    EXPECT(CDPS_E_BAD_HANDLE, cdps_port_ack(side->port, 1, 0));
    check_add(&side->final, 1);
}

static const cdps_port_callbacks_t *port_table(void)
{
    static cdps_port_callbacks_t table = CDPS_PORT_CALLBACKS_INIT;
    table.on_received = on_received;
    table.on_complete = on_complete;
    table.on_nack = on_nack;
    table.on_release = on_release;
    table.on_flow = on_flow;
    table.on_connstatus = on_connstatus;
    table.on_path = on_path;
    table.on_final = on_final;
    table.on_overdue = on_overdue;
    return &table;
}

/* --- the target's client ---------------------------------------------------------------------------------------------- */

struct target {
    struct side *next;
    cdps_config_t *config;
    unsigned asked, cluster, final;
};

static int32_t on_connectreq(void *user, const cdps_connectreq_t *request, cdps_accept_t *accept)
{
    struct target *target = user;
    CHECK(request->struct_size == sizeof *request && accept->struct_size == sizeof *accept);
    CHECK(strcmp(request->client, "target") == 0 && request->node == 1 && request->paths == 2);
    CHECK(request->session.node == 1 && request->session.incarnation != 0 && request->generation.counter > 0);
    check_add(&target->asked, 1);
    if (!target->next) {
        snprintf(accept->text, sizeof accept->text, "not today");
        return CDPS_CONNECT_REFUSE;
    }
    accept->config = target->config;
    accept->callbacks = port_table();
    accept->user = target->next;
    target->next->port = request->port;
    return CDPS_CONNECT_ACCEPT;
}

static void on_cluster(void *user, const cdps_cluster_t *event)
{
    struct target *target = user;
    CHECK(event->struct_size == sizeof *event && (event->node == 1 || event->node == 2));
    if (event->change == CDPS_CLUSTER_UP)
        CHECK(event->incarnation != 0);
    check_add(&target->cluster, 1);
}

static void on_client_final(void *user)
{
    struct target *target = user;
    check_add(&target->final, 1);
}

static void count_final(void *user)
{
    check_add(user, 1);
}

/* --- scenes ----------------------------------------------------------------------------------------------------------- */

struct scene {
    cdps_node_t *one, *two;
    cdps_client_t *source_client, *target_client;
    struct target source_user, target_user;
    struct side source, target;
    cdps_config_t *config;
    unsigned one_final, two_final;
};

static cdps_node_t *open_node(cdps_config_t *config, unsigned *final)
{
    cdps_node_callbacks_t table = CDPS_NODE_CALLBACKS_INIT;
    cdps_error_t err = CDPS_ERROR_INIT;
    cdps_node_t *node;
    table.on_final = count_final;
    if (patient)
        check_patience(config);
    if (cdps_node_open(config, &table, final, &node, &err) != CDPS_OK)
        FAIL("%s", err.message);
    return node;
}

static cdps_client_t *register_client(cdps_node_t *node, const char *name, struct target *user)
{
    cdps_client_callbacks_t table = CDPS_CLIENT_CALLBACKS_INIT;
    cdps_error_t err = CDPS_ERROR_INIT;
    cdps_client_t *client;
    table.on_connectreq = on_connectreq;
    table.on_cluster = on_cluster;
    table.on_final = on_client_final;
    if (cdps_client_register(node, name, &table, user, &client, &err) != CDPS_OK)
        FAIL("%s", err.message);
    return client;
}

/* Nodes, clients, and a source port that is about to connect. */
static void begin(struct scene *scene, unsigned count)
{
    char targets[256], address[2][64];
    cdps_error_t err = CDPS_ERROR_INIT;
    memset(scene, 0, sizeof *scene);
    cdps_config_t *config = check_config("2", "1");
    check_set(config, "node.listen", "127.0.0.1:0,127.0.0.2:0");
    scene->two = open_node(config, &scene->two_final);
    scene->target_user.config = config;
    scene->target_user.next = &scene->target;
    scene->target_client = register_client(scene->two, "target", &scene->target_user);
    for (size_t i = 0; i < 2; i++)
        EXPECT(CDPS_OK, cdps_node_listening(scene->two, i, address[i], sizeof address[i], NULL));
    snprintf(targets, sizeof targets, "2=%s,%s", address[0], address[1]);
    scene->config = check_config("1", targets);
    check_set(scene->config, "port.targets", targets);
    check_set(scene->config, "port.client", "target");
    check_set(scene->config, "port.user_ack_timeout_ms", "200");
    check_set(scene->config, "port.on_user_ack_timeout", "event");
    /* Small, so that senders come up against it. */
    check_set(scene->config, "port.send_buffer_max", patient ? "20000" : "1000000");
    scene->one = open_node(scene->config, &scene->one_final);
    scene->source_client = register_client(scene->one, "source", &scene->source_user);

    scene->source.name = "source", scene->target.name = "target";
    scene->source.ack_limit = scene->target.ack_limit = UINT32_MAX;
    scene->source.knows_its_paths = true;
    for (struct side *side = &scene->source;; side = &scene->target) {
        side->count = count;
        CHECK((side->items = calloc(count + 1, sizeof *side->items)));
        if (side == &scene->target)
            break;
    }
    if (cdps_port_create(scene->one, scene->config, port_table(), &scene->source, &scene->source.port, &err) != CDPS_OK)
        FAIL("%s", err.message);
    EXPECT(CDPS_OK, cdps_port_register(scene->source.port, scene->source_client, &err));
    EXPECT(CDPS_OK, cdps_port_initialize(scene->source.port, &err));
}

static void connect_both(struct scene *scene)
{
    EXPECT(CDPS_OK, cdps_port_connect(scene->source.port, 0, NULL));
    REACH(scene->source.connected, 1);
    CHECK(check_read(&scene->target_user.asked) == 1);
}

/* Sends a message; false if the port takes no more. */
static bool send_item(struct side *side, uint32_t number)
{
    struct item *item = &side->items[number];
    cdps_send_opts_t opts = CDPS_SEND_OPTS_INIT;
    uint64_t sn = 0;
    *item = (struct item){.side = side, .borrowed = number % 2, .number = number, .size = size_of(number)};
    CHECK((item->bytes = malloc(item->size)));
    memset(item->bytes, (int)number, item->size);
    memcpy(item->bytes, &number, sizeof number);
    /* A gather list with a hole in it; the list itself is gone on return. */
    cdps_iov_t pieces[3] = {{item->bytes, sizeof number}, {NULL, 0}, {item->bytes + sizeof number, item->size - sizeof number}};
    opts.flags = CDPS_SEND_STREAM | (item->borrowed ? CDPS_SEND_BORROW : CDPS_SEND_COPY);
    opts.stream = 7;
    opts.ack = CDPS_ACK_SYNC;
    opts.timeout_ms = CDPS_WAIT_FOREVER;
    opts.context = item;
    item->stage = SENT;
    int32_t code = cdps_port_send(side->port, pieces, 3, &opts, &sn);
    memset(pieces, 0xff, sizeof pieces);
    if (code != CDPS_OK) {
        CHECK(code == CDPS_E_BAD_HANDLE || code == CDPS_E_WRONG_STATE || code == CDPS_E_DOWN || code == CDPS_E_CLOSED);
        item->stage = FREE;
        free(item->bytes);
        return false;
    }
    CHECK(sn > 0);
    if (!item->borrowed) {
        /* The caller's again at once. */
        memset(item->bytes, 0xdd, item->size);
        free(item->bytes);
    }
    return true;
}

static void *send_all(void *argument)
{
    struct side *side = argument;
    unsigned sent = 0;
    while (sent < side->count && send_item(side, sent))
        sent++;
    return (void *)(uintptr_t)sent;
}

static unsigned borrowed(const struct side *side)
{
    unsigned n = 0;
    for (unsigned i = 0; i < side->count; i++)
        n += side->items[i].stage != FREE && side->items[i].borrowed;
    return n;
}

/* Every accepted send has ended, and every lent buffer is back. After on_final, and when nobody sends any more. */
static void settled(const struct side *side)
{
    for (unsigned i = 0; i < side->count; i++) {
        enum stage stage = side->items[i].stage;
        if (stage != FREE && stage != (side->items[i].borrowed ? GIVEN_BACK : ENDED))
            FAIL("%s: message %u ended in stage %d", side->name, i, (int)stage);
    }
    CHECK(side->final == 1 && side->released == borrowed(side));
}

static void end(struct scene *scene)
{
    EXPECT(CDPS_OK, cdps_config_destroy(scene->config));
    EXPECT(CDPS_OK, cdps_config_destroy(scene->target_user.config));
    for (struct side *side = &scene->source;; side = &scene->target) {
        if (side->port)
            settled(side);
        if (side->kept) {
            /* Kept past the life of its node: the memory is the message's own. */
            uint32_t number = 1;
            memcpy(&number, cdps_msg_data(side->kept), sizeof number);
            CHECK(number == 0 && cdps_msg_size(side->kept) == size_of(0));
            cdps_msg_release(side->kept);
        }
        free(side->items);
        if (side == &scene->target)
            break;
    }
}

/* [U1] The figures of a node as text: its length first, then a buffer that has room; the sums are those of its port. */
static void metrics(cdps_node_t *node, unsigned count)
{
    cdps_node_stats_t stats = CDPS_NODE_STATS_INIT;
    char line[128], *text = NULL;
    size_t need, cap = 0;
    EXPECT(CDPS_OK, cdps_node_metrics(node, NULL, 0, &need));
    do {
        cap = need + 1;
        text = realloc(text, cap);
        CHECK(text != NULL);
    } while (cdps_node_metrics(node, text, cap, &need) == CDPS_E_BUFFER);
    CHECK(need < cap && strlen(text) == need && text[need - 1] == '\n');
    EXPECT(CDPS_OK, cdps_node_stats(node, &stats));
    CHECK(stats.messages_sent == count && stats.completed == count && stats.ports == 1 && stats.clients == 1);
    snprintf(line, sizeof line, "\ncdps_node_messages_sent_total{node=\"1\"} %u\n", count);
    CHECK(strstr(text, line) != NULL);
    free(text);
}

/* [L8] A path is removed and added again while the port is in use; timers change; what cannot be done is said, and changes nothing. */
static void changes(struct scene *scene)
{
    cdps_port_t *port = scene->source.port;
    cdps_port_stats_t stats = CDPS_PORT_STATS_INIT;
    cdps_path_stats_t path = CDPS_PATH_STATS_INIT;
    cdps_timers_t before = CDPS_TIMERS_INIT, after = CDPS_TIMERS_INIT;
    cdps_config_t *change;
    cdps_error_t err;
    char first[64], second[64], standby[80];
    EXPECT(CDPS_OK, cdps_node_listening(scene->two, 0, first, sizeof first, NULL));
    EXPECT(CDPS_OK, cdps_node_listening(scene->two, 1, second, sizeof second, NULL));
    snprintf(standby, sizeof standby, "%s/standby", second);
    EXPECT_TEXT(CDPS_E_INVALID, "address is NULL", cdps_port_add_address(port, 2, NULL, &err));
    EXPECT_TEXT(CDPS_E_BAD_VALUE, "\"nowhere\"", cdps_port_add_address(port, 2, "nowhere", &err));
    EXPECT_TEXT(CDPS_E_INVALID, "node 9 is not among", cdps_port_add_address(port, 9, first, &err));
    EXPECT_TEXT(CDPS_E_CONFLICT, "already", cdps_port_add_address(port, 2, standby, &err));
    EXPECT(CDPS_OK, cdps_port_remove_address(port, 2, second, NULL));
    EXPECT_TEXT(CDPS_E_NOT_FOUND, second, cdps_port_remove_address(port, 2, second, &err));
    EXPECT_TEXT(CDPS_E_CONFLICT, "last address", cdps_port_remove_address(port, 2, first, &err));
    EXPECT(CDPS_OK, cdps_port_stats(port, &stats));
    CHECK(stats.paths == 1);
    EXPECT(CDPS_OK, cdps_port_add_address(port, 2, standby, &err));
    REACH(scene->source.added, 1);
    EXPECT(CDPS_OK, cdps_port_path_stats(port, 1, &path));
    CHECK(path.path == 2 && path.up == 1 && path.standby == 1);

    EXPECT(CDPS_OK, cdps_port_timers(port, &before));
    EXPECT(CDPS_OK, cdps_config_create(&change));
    check_set(change, "port.ack_timeout_ms", "77000");
    check_set(change, "port.balance", "pull");
    EXPECT(CDPS_OK, cdps_port_reconfigure(port, change, &err));
    EXPECT(CDPS_OK, cdps_port_timers(port, &after));
    CHECK(after.ack_timeout_ms == 77000 && after.connect_timeout_ms == before.connect_timeout_ms);
    check_set(change, "port.ack_timeout_ms", "1");
    EXPECT_TEXT(CDPS_E_CONFLICT, "below ack_timeout", cdps_port_reconfigure(port, change, &err));
    check_set(change, "port.ack_timeout_ms", "88000");
    check_set(change, "port.backup_selection", "callback");
    EXPECT_TEXT(CDPS_E_NO_CALLBACK, "on_backup", cdps_port_reconfigure(port, change, &err));
    check_set(change, "port.backup_selection", "listed");
    check_set(change, "liveness.dead_ms", "60000");
    EXPECT_TEXT(CDPS_E_WRONG_STATE, "liveness.dead_ms cannot be changed", cdps_port_reconfigure(port, change, &err));
    EXPECT(CDPS_OK, cdps_port_timers(port, &after));
    CHECK(after.ack_timeout_ms == 77000);
    EXPECT(CDPS_E_BAD_HANDLE, cdps_port_reconfigure(port, NULL, NULL));
    EXPECT(CDPS_OK, cdps_config_destroy(change));
}

/* Everything arrives, both ways; then an orderly close. */
static void both_directions(unsigned count)
{
    static struct scene scene;
    pthread_t threads[2];
    void *sent;
    cdps_port_stats_t stats = CDPS_PORT_STATS_INIT;
    cdps_path_stats_t path = CDPS_PATH_STATS_INIT;
    cdps_port_info_t info = CDPS_PORT_INFO_INIT;
    begin(&scene, count);
    connect_both(&scene);
    CHECK(pthread_create(&threads[0], NULL, send_all, &scene.source) == 0);
    CHECK(pthread_create(&threads[1], NULL, send_all, &scene.target) == 0);
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], &sent);
        CHECK((uintptr_t)sent == count);
    }
    for (struct side *side = &scene.source;; side = &scene.target) {
        REACH(side->completed, count);
        REACH(side->received, count);
        REACH(side->released, borrowed(side));
        if (side == &scene.source) {
            CHECK(check_read(&side->held_back) > 0);
            REACH(side->let_go, side->held_back);
        }
        EXPECT(CDPS_OK, cdps_port_stats(side->port, &stats));
        CHECK(stats.messages_sent == count && stats.messages_received == count && stats.completed == count);
        CHECK(stats.nacked == 0 && stats.paths == 2 && stats.unfinished_bytes == 0);
        EXPECT(CDPS_OK, cdps_port_path_stats(side->port, 1, &path));
        CHECK(path.health != CDPS_HEALTH_GOOD || path.cause == CDPS_REASON_NONE);
        EXPECT(CDPS_E_NOT_FOUND, cdps_port_path_stats(side->port, 2, &path));
        if (side == &scene.target)
            break;
    }
    metrics(scene.one, count);
    changes(&scene);
    EXPECT(CDPS_OK, cdps_port_info(scene.source.port, &info));
    CHECK(info.state == CDPS_STATE_CONNECTED && info.peer == 2 && info.session.node == 1);
    EXPECT(CDPS_OK, cdps_port_info(scene.target.port, &info));
    CHECK(info.state == CDPS_STATE_CONNECTEDTO && info.peer == 1 && info.session.node == 1);

    EXPECT(CDPS_OK, cdps_port_close(scene.source.port, CDPS_CLOSE_DRAIN, NULL));
    EXPECT(CDPS_OK, cdps_port_close(scene.source.port, CDPS_CLOSE_DRAIN, NULL));
    REACH(scene.target.closed, 1);
    EXPECT(CDPS_OK, cdps_port_destroy_wait(scene.source.port, CDPS_WAIT_FOREVER));
    CHECK(check_read(&scene.source.final) == 1);
    EXPECT(CDPS_OK, cdps_node_destroy_wait(scene.one, CDPS_WAIT_FOREVER));
    EXPECT(CDPS_OK, cdps_node_destroy_wait(scene.two, CDPS_WAIT_FOREVER));
    CHECK(scene.one_final == 1 && scene.two_final == 1 && scene.target.final == 1);
    CHECK(scene.source_user.final == 1 && scene.target_user.final == 1);
    CHECK(scene.source.nacked == 0 && scene.target.nacked == 0);
    end(&scene);
}

static void send_some(struct side *side, uint32_t from, uint32_t to)
{
    for (uint32_t number = from; number < to; number++)
        CHECK(send_item(side, number));
}

/* While the source is suspended nothing of it arrives, whatever goes the other way; then all of it, in order. A close resumes, too. */
static void suspended(void)
{
    static struct scene scene;
    /* Enough to pass the high mark, and not to fill the buffer. */
    const uint32_t count = patient ? 10 : 14;
    begin(&scene, 2 * count);
    connect_both(&scene);
    EXPECT(CDPS_OK, cdps_port_suspend(scene.source.port, NULL));
    EXPECT(CDPS_OK, cdps_port_suspend(scene.source.port, NULL));
    send_some(&scene.source, 0, count);
    REACH(scene.source.held_back, 1);
    CHECK(scene.source.cause == CDPS_CAUSE_SUSPEND);
    /* An acknowledgment takes the way on which a message would have come. */
    for (uint32_t number = 0; number < 2 * count; number++) {
        CHECK(send_item(&scene.target, number));
        REACH(scene.target.completed, number + 1);
    }
    REACH(scene.source.received, 2 * count);
    CHECK(check_read(&scene.target.received) == 0);
    EXPECT(CDPS_OK, cdps_port_resume(scene.source.port, NULL));
    EXPECT(CDPS_OK, cdps_port_resume(scene.source.port, NULL));
    REACH(scene.source.completed, count);
    REACH(scene.source.let_go, 1);
    EXPECT(CDPS_OK, cdps_port_suspend(scene.source.port, NULL));
    send_some(&scene.source, count, 2 * count);
    EXPECT(CDPS_OK, cdps_port_close(scene.source.port, CDPS_CLOSE_DRAIN, NULL));
    REACH(scene.source.completed, 2 * count);
    REACH(scene.target.received, 2 * count);
    EXPECT(CDPS_E_WRONG_STATE, cdps_port_suspend(scene.source.port, NULL));
    EXPECT(CDPS_OK, cdps_node_destroy_wait(scene.one, CDPS_WAIT_FOREVER));
    EXPECT(CDPS_OK, cdps_node_destroy_wait(scene.two, CDPS_WAIT_FOREVER));
    CHECK(scene.source.nacked == 0 && scene.target.nacked == 0);
    end(&scene);
}

/* The source's port is destroyed in its own on_complete, with most sends unfinished. */
static void destroy_in_own_callback(unsigned count)
{
    static struct scene scene;
    begin(&scene, count);
    scene.target.ack_limit = 1;
    scene.source.destroy_in_complete = true;
    connect_both(&scene);
    unsigned sent = (unsigned)(uintptr_t)send_all(&scene.source);
    REACH(scene.source.final, 1);
    CHECK(scene.source.completed == 1 && scene.source.completed + scene.source.nacked == sent);
    CHECK(scene.source.released == borrowed(&scene.source));
    EXPECT(CDPS_OK, cdps_node_destroy_wait(scene.one, CDPS_WAIT_FOREVER));
    EXPECT(CDPS_OK, cdps_node_destroy_wait(scene.two, CDPS_WAIT_FOREVER));
    CHECK(scene.source.final == 1 && scene.target.final == 1);
    end(&scene);
}

/* A node is destroyed in the on_received of its port, while that port sends. */
static void destroy_node_in_callback(unsigned count)
{
    static struct scene scene;
    pthread_t thread;
    begin(&scene, count);
    scene.target.destroy_node_in_received = scene.two;
    connect_both(&scene);
    CHECK(pthread_create(&thread, NULL, send_all, &scene.target) == 0);
    unsigned sent = (unsigned)(uintptr_t)send_all(&scene.source);
    void *back;
    pthread_join(thread, &back);
    REACH(scene.two_final, 1);
    CHECK(scene.target.final == 1 && scene.target_user.final == 1);
    CHECK(scene.target.completed + scene.target.nacked == (uintptr_t)back);
    EXPECT(CDPS_E_BAD_HANDLE, cdps_node_destroy(scene.two));
    EXPECT(CDPS_OK, cdps_node_destroy_wait(scene.one, CDPS_WAIT_FOREVER));
    CHECK(scene.source.completed + scene.source.nacked == sent && scene.source.final == 1);
    CHECK(scene.source.released == borrowed(&scene.source));
    end(&scene);
}

/* The oldest message that the target's user keeps is named, once, and nothing else comes of it. */
static void a_user_that_never_acknowledges(void)
{
    static struct scene scene;
    cdps_port_info_t info = CDPS_PORT_INFO_INIT;
    begin(&scene, 3);
    scene.target.ack_limit = 0;
    connect_both(&scene);
    CHECK((uintptr_t)send_all(&scene.source) == 3);
    REACH(scene.source.overdue, 1);
    CHECK(scene.source.overdue_sn == 1);
    EXPECT(CDPS_OK, cdps_port_info(scene.source.port, &info));
    CHECK(info.state == CDPS_STATE_CONNECTED && info.link == CDPS_LINK_UP);
    REACH(scene.target.received, 3);
    EXPECT(CDPS_OK, cdps_node_destroy_wait(scene.one, CDPS_WAIT_FOREVER));
    EXPECT(CDPS_OK, cdps_node_destroy_wait(scene.two, CDPS_WAIT_FOREVER));
    CHECK(scene.source.overdue == 1 && scene.source.completed == 0 && scene.source.nacked == 3);
    end(&scene);
}

static void on_refused(void *user, const cdps_connstatus_t *event)
{
    if (event->status == CDPS_CONN_CONNECT_FAILED && event->reason == CDPS_REASON_REFUSED)
        check_add(user, 1);
}

/* A refusal reaches the source; the port that accepting would have made names nothing. */
static void refusal(void)
{
    static struct scene scene;
    static unsigned refused;
    cdps_port_callbacks_t table = CDPS_PORT_CALLBACKS_INIT;
    cdps_port_t *port;
    begin(&scene, 1);
    scene.target_user.next = NULL;
    table.on_connstatus = on_refused;
    table.on_final = count_final;
    EXPECT(CDPS_OK, cdps_port_create(scene.one, scene.config, &table, &refused, &port, NULL));
    EXPECT(CDPS_OK, cdps_port_register(port, scene.source_client, NULL));
    EXPECT(CDPS_OK, cdps_port_initialize(port, NULL));
    EXPECT(CDPS_OK, cdps_port_connect(port, 2, NULL));
    REACH(refused, 1);
    /* A source repeats itself until it is answered, and a refusal is not remembered. */
    CHECK(check_read(&scene.target_user.asked) >= 1);
    EXPECT(CDPS_OK, cdps_node_destroy_wait(scene.two, CDPS_WAIT_FOREVER));
    EXPECT(CDPS_OK, cdps_node_destroy_wait(scene.one, CDPS_WAIT_FOREVER));
    CHECK(refused == 2);
    end(&scene);
}

int main(int argc, char **argv)
{
    unsigned count = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 1000;
    patient = argc > 2 && strcmp(argv[2], "patient") == 0;
    CHECK(count >= 10);
    both_directions(count);
    suspended();
    destroy_in_own_callback(count < 200 ? count : 200);
    destroy_node_in_callback(count);
    a_user_that_never_acknowledges();
    refusal();
    return 0;
}
