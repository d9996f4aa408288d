/* Fig. 7, walked from C: ports are brought to every state and link that can be seen from outside, every call is made there, and what it gives
 * and where it leads is what the table says; a refused call changes nothing. `fig07 GRAPH RELAY`; GRAPH: the table, as a file. [L1]
 *
 * Link "down" is not among the places: down, the nacks and drained are one step, so no call finds a port between them. */
#include "relay.h"

/* ---- the table ---- */

#define RULES 96

struct rule {
    char from[16], to[16], call[32], links[64];
    bool walked;
};

static struct rule rules[RULES];
static size_t rule_count;

static void read_table(const char *file)
{
    char line[160];
    FILE *graph = fopen(file, "r");
    CHECK(graph && fgets(line, sizeof line, graph));
    while (fgets(line, sizeof line, graph) && line[0] != '}') {
        struct rule *rule = &rules[rule_count++];
        CHECK(rule_count < RULES);
        CHECK(sscanf(line, " %15s -> %15s [label=\"%31[^\"]", rule->from, rule->to, rule->call) == 3);
        char *links = strstr(rule->call, " (link ");
        if (links) {
            *links = '\0';
            CHECK(sscanf(strstr(line, "(link "), "(link %63[^)]", rule->links) == 1);
        }
    }
    fclose(graph);
    CHECK(rule_count > 20);
}

/* Where a call leads; NULL: it is refused. */
static const char *lookup(const char *call, const char *state, const char *link)
{
    for (size_t k = 0; k < rule_count; k++) {
        struct rule *rule = &rules[k];
        /* "down" is part of "down and drained", which no rule names without naming it. */
        if (strcmp(rule->call, call) == 0 && strcmp(rule->from, state) == 0 && (!rule->links[0] || strstr(rule->links, link))) {
            rule->walked = true;
            return rule->to;
        }
    }
    return NULL;
}

/* ---- the calls ---- */

/* The client of the ports that are called, and the one of node 2. */
static cdps_client_t *writer, *disk;

static int32_t register_(cdps_port_t *port) { return cdps_port_register(port, writer, NULL); }
static int32_t unregister(cdps_port_t *port) { return cdps_port_unregister(port, NULL); }
static int32_t initialize(cdps_port_t *port) { return cdps_port_initialize(port, NULL); }
static int32_t connect_(cdps_port_t *port) { return cdps_port_connect(port, 0, NULL); }
static int32_t suspend(cdps_port_t *port) { return cdps_port_suspend(port, NULL); }
static int32_t resume(cdps_port_t *port) { return cdps_port_resume(port, NULL); }
static int32_t switch_(cdps_port_t *port) { return cdps_port_switch(port, 3, NULL); }
static int32_t stop(cdps_port_t *port) { return cdps_port_stop(port, NULL); }
static int32_t reset(cdps_port_t *port) { return cdps_port_reset(port, NULL); }
static int32_t close_(cdps_port_t *port) { return cdps_port_close(port, CDPS_CLOSE_DRAIN, NULL); }
static int32_t send_(cdps_port_t *port) { return cdps_port_send(port, NULL, 0, NULL, NULL); }

static const struct {
    const char *name;
    int32_t (*make)(cdps_port_t *);
} calls[] = {
    {"register", register_}, {"unregister", unregister}, {"initialize", initialize}, {"connect", connect_},
    {"suspend", suspend},    {"resume", resume},         {"switch", switch_},        {"stop", stop},
    {"reset", reset},        {"close", close_},          {"close (shared)", close_}, {"destroy", cdps_port_destroy},
    {"send", send_},
};
#define CALLS (sizeof calls / sizeof calls[0])
#define IS(call, other) (strcmp(calls[call].name, other) == 0)

/* ---- the places ---- */

static const struct place {
    int32_t state, link;
    /* As the table calls the link. */
    const char *name;
    /* The node can still be asked when the path is cut. */
    bool reachable;
} places[] = {
    {CDPS_STATE_IDLE, CDPS_LINK_UP, "up", false},
    {CDPS_STATE_REGISTERED, CDPS_LINK_UP, "up", false},
    {CDPS_STATE_INITIALIZED, CDPS_LINK_UP, "up", false},
    {CDPS_STATE_CONNECTING, CDPS_LINK_UP, "up", false},
    {CDPS_STATE_CONNECTED, CDPS_LINK_UP, "up", false},
    {CDPS_STATE_CONNECTEDTO, CDPS_LINK_UP, "up", false},
    {CDPS_STATE_STOPPED, CDPS_LINK_UP, "up", false},
    {CDPS_STATE_CONNECTED, CDPS_LINK_DRAINED, "down and drained", false},
    {CDPS_STATE_STOPPED, CDPS_LINK_DRAINED, "down and drained", false},
    {CDPS_STATE_CONNECTED, CDPS_LINK_SWITCHING, "switching", false},
    {CDPS_STATE_STOPPED, CDPS_LINK_SWITCHING, "switching", false},
    {CDPS_STATE_CONNECTED, CDPS_LINK_RESETTING, "resetting", true},
    {CDPS_STATE_STOPPED, CDPS_LINK_RESETTING, "resetting", false},
};

/* ---- three nodes in this process ---- */

static cdps_node_t *nodes[3];
static cdps_port_t *ports[CALLS], *served[CALLS];
static unsigned serves, changes, completed, finals;
static struct relay relay;
/* Connect requests wait here while it is shut, by node. */
static bool shut[4];

static void on_final(void *user)
{
    (void)user;
    check_add(&finals, 1);
}

static void on_received(void *user, const cdps_received_t *e)
{
    (void)user;
    EXPECT(CDPS_OK, cdps_port_ack(e->port, e->sn, 0));
}

static void on_complete(void *user, const cdps_complete_t *e)
{
    (void)user;
    (void)e;
    check_add(&completed, 1);
}

static void on_nack(void *user, const cdps_nack_t *e)
{
    (void)user;
    (void)e;
}

static void on_connstatus(void *user, const cdps_connstatus_t *e)
{
    (void)user;
    (void)e;
    check_add(&changes, 1);
}

static const cdps_port_callbacks_t callbacks = {
    .struct_size = sizeof callbacks,
    .on_received = on_received,
    .on_complete = on_complete,
    .on_nack = on_nack,
    .on_connstatus = on_connstatus,
    .on_final = on_final,
};

static void gate(unsigned node, bool closed)
{
    pthread_mutex_lock(&check_lock);
    shut[node] = closed;
    pthread_cond_broadcast(&check_changed);
    pthread_mutex_unlock(&check_lock);
}

static int32_t on_connectreq(void *user, const cdps_connectreq_t *request, cdps_accept_t *accept)
{
    const bool *closed = user;
    pthread_mutex_lock(&check_lock);
    while (*closed)
        pthread_cond_wait(&check_changed, &check_lock);
    if (closed == &shut[2] && serves < CALLS)
        served[serves++] = request->port;
    pthread_cond_broadcast(&check_changed);
    pthread_mutex_unlock(&check_lock);
    accept->callbacks = &callbacks;
    return CDPS_CONNECT_ACCEPT;
}

static void open_target(unsigned id, char *address, size_t size)
{
    cdps_client_callbacks_t clients = CDPS_CLIENT_CALLBACKS_INIT;
    cdps_client_t *client;
    cdps_config_t *config = check_config(id == 2 ? "2" : "3", "1");
    check_set(config, "node.listen", "127.0.0.1:0");
    EXPECT(CDPS_OK, cdps_node_open(config, NULL, NULL, &nodes[id - 1], NULL));
    EXPECT(CDPS_OK, cdps_config_destroy(config));
    clients.on_connectreq = on_connectreq;
    clients.on_final = on_final;
    EXPECT(CDPS_OK, cdps_client_register(nodes[id - 1], "disk", &clients, &shut[id], &client, NULL));
    disk = id == 2 ? client : disk;
    EXPECT(CDPS_OK, cdps_node_listening(nodes[id - 1], 0, address, size, NULL));
}

/* Nodes, and an IDLE port for each call. */
static void open_world(const struct place *place, const char *program)
{
    char two[64], three[64], targets[160], members[160];
    cdps_client_callbacks_t clients = CDPS_CLIENT_CALLBACKS_INIT;
    open_target(2, two, sizeof two);
    open_target(3, three, sizeof three);
    start_relay(&relay, program, two);
    snprintf(targets, sizeof targets, "2=%s;3=%s", relay.address, three);
    snprintf(members, sizeof members, "2=%s;3=%s", place->reachable ? two : relay.address, three);
    cdps_config_t *config = check_config("1", members);
    check_set(config, "port.targets", targets);
    check_set(config, "port.client", "disk");
    check_set(config, "port.connect_timeout_ms", "100000");
    check_set(config, "port.autoswitch", place->link == CDPS_LINK_SWITCHING ? "true" : "false");
    EXPECT(CDPS_OK, cdps_node_open(config, NULL, NULL, &nodes[0], NULL));
    clients.on_final = on_final;
    EXPECT(CDPS_OK, cdps_client_register(nodes[0], "writer", &clients, NULL, &writer, NULL));
    for (size_t call = 0; call < CALLS; call++)
        EXPECT(CDPS_OK, cdps_port_create(nodes[0], config, &callbacks, NULL, &ports[call], NULL));
    EXPECT(CDPS_OK, cdps_config_destroy(config));
}

static void close_world(void)
{
    gate(2, false);
    gate(3, false);
    for (size_t k = 0; k < 3; k++)
        EXPECT(CDPS_OK, cdps_node_destroy_wait(nodes[k], CDPS_WAIT_FOREVER));
    stop_relay(&relay);
    serves = 0;
}

static cdps_port_info_t info_of(cdps_port_t *port)
{
    cdps_port_info_t info = CDPS_PORT_INFO_INIT;
    EXPECT(CDPS_OK, cdps_port_info(port, &info));
    return info;
}

/* Waits until a port is there, in this generation or a later one. Not every step has a callback of its own: it looks from time to time. */
static void await_place(cdps_port_t *port, int32_t state, int32_t link, uint64_t generation)
{
    for (unsigned tries = 0;; tries++) {
        cdps_port_info_t info = info_of(port);
        if (info.state == state && info.link == link && info.generation.counter >= generation)
            return;
        if (tries > DEADLINE_S * 100)
            FAIL("%s, link %s, not %s, link %s", cdps_state_name(info.state), cdps_link_name(info.link), cdps_state_name(state),
                 cdps_link_name(link));
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 10000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_mutex_lock(&check_lock);
        pthread_cond_timedwait(&check_changed, &check_lock, &until);
        pthread_mutex_unlock(&check_lock);
    }
}

/* Every port as far as its first connection, if the place is beyond that. */
static void bring_up(const struct place *place)
{
    gate(2, place->state == CDPS_STATE_CONNECTING);
    for (size_t call = 0; call < CALLS; call++) {
        if (place->state == CDPS_STATE_IDLE)
            continue;
        EXPECT(CDPS_OK, register_(ports[call]));
        if (place->state == CDPS_STATE_REGISTERED)
            continue;
        EXPECT(CDPS_OK, initialize(ports[call]));
        if (place->state == CDPS_STATE_INITIALIZED)
            continue;
        EXPECT(CDPS_OK, connect_(ports[call]));
        if (place->state == CDPS_STATE_CONNECTING)
            continue;
        await_place(ports[call], CDPS_STATE_CONNECTED, CDPS_LINK_UP, 0);
        if (IS(call, "close (shared)"))
            EXPECT(CDPS_OK, connect_(ports[call]));
    }
    gate(2, true);
}

/* From there to the place. */
static void bring_to(const struct place *place)
{
    bool stopped = place->state == CDPS_STATE_STOPPED, resets = stopped && place->link == CDPS_LINK_RESETTING;
    if (place->state == CDPS_STATE_CONNECTEDTO) {
        REACH(serves, CALLS);
        memcpy(ports, served, sizeof ports);
        writer = disk;
    }
    if (place->link != CDPS_LINK_UP) {
        gate(3, true);
        order_relay(&relay, "silence forth");
        order_relay(&relay, "silence back");
    }
    for (size_t call = 0; call < CALLS; call++) {
        if (place->link != CDPS_LINK_UP)
            await_place(ports[call], CDPS_STATE_CONNECTED, resets ? CDPS_LINK_DRAINED : place->link, 2);
        if (stopped)
            EXPECT(CDPS_OK, stop(ports[call]));
        if (resets)
            EXPECT(CDPS_OK, reset(ports[call]));
        await_place(ports[call], place->state, place->link, 0);
    }
}

/* ---- the walk ---- */

static int32_t state_called(const char *name)
{
    for (int32_t state = CDPS_STATE_IDLE; state <= CDPS_STATE_DESTROYED; state++)
        if (strcmp(cdps_state_name(state), name) == 0)
            return state;
    FAIL("no state is called %s", name);
}

static void allowed(const struct place *place, size_t call, const char *to)
{
    int32_t state = state_called(to);
    if (state == CDPS_STATE_DESTROYED) {
        for (size_t other = 0; other < CALLS; other++)
            EXPECT(CDPS_E_BAD_HANDLE, calls[other].make(ports[call]));
        return;
    }
    /* The target answers a reset by itself. */
    if (IS(call, "reset") && place->link == CDPS_LINK_UP)
        state = state_called(lookup("reset complete", to, "up"));
    int32_t link = state == place->state ? place->link : info_of(ports[call]).link;
    if (IS(call, "reset"))
        link = place->link == CDPS_LINK_UP ? CDPS_LINK_UP : CDPS_LINK_RESETTING;
    await_place(ports[call], state, link, 0);
}

static void refused(const struct place *place, size_t call, int32_t code, const cdps_port_info_t *before)
{
    bool down = place->link == CDPS_LINK_DRAINED || place->link == CDPS_LINK_RESETTING;
    int32_t expected = IS(call, "send") && place->state == CDPS_STATE_CONNECTED && down ? CDPS_E_DOWN : CDPS_E_WRONG_STATE;
    if (code != expected)
        FAIL("%s while %s, link %s: %s, not %s", calls[call].name, cdps_state_name(place->state), place->name,
             cdps_error_name(code), cdps_error_name(expected));
    cdps_port_info_t after = info_of(ports[call]);
    CHECK(memcmp(before, &after, sizeof after) == 0);
    if (lookup("send", cdps_state_name(place->state), place->name) && place->link == CDPS_LINK_UP) {
        unsigned already = check_read(&completed);
        EXPECT(CDPS_OK, send_(ports[call]));
        REACH(completed, already + 1);
    }
}

int main(int argc, char **argv)
{
    unsigned made = 0, refusals = 0;
    CHECK(argc == 3);
    read_table(argv[1]);
    for (size_t k = 0; k < sizeof places / sizeof places[0]; k++) {
        const struct place *place = &places[k];
        const char *state = cdps_state_name(place->state);
        bool has_users = place->state == CDPS_STATE_CONNECTED || place->state == CDPS_STATE_STOPPED;
        open_world(place, argv[2]);
        bring_up(place);
        bring_to(place);
        for (size_t call = 0; call < CALLS; call++) {
            if (IS(call, "close (shared)") && !has_users)
                continue;
            cdps_port_info_t before = info_of(ports[call]);
            const char *to = lookup(calls[call].name, state, place->name);
            int32_t code = calls[call].make(ports[call]);
            made++;
            if (to) {
                if (code != CDPS_OK)
                    FAIL("%s while %s, link %s: %s", calls[call].name, state, place->name, cdps_error_name(code));
                allowed(place, call, to);
            } else {
                refusals++;
                refused(place, call, code, &before);
            }
        }
        close_world();
    }
    for (size_t k = 0; k < rule_count; k++)
        for (size_t call = 0; call < CALLS; call++)
            if (IS(call, rules[k].call) && !rules[k].walked)
                FAIL("%s from %s was not walked", rules[k].call, rules[k].from);
    fprintf(stderr, "%u calls, %u of them refused\n", made, refusals);
    return 0;
}
