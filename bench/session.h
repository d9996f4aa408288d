/* What the programs of CDPS share: opening nodes as the options say, addresses, and waiting where callbacks are dispatched. */
#ifndef SESSION_H
#define SESSION_H

#include "bench.h"
#include "relay.h"

#include <cdps/cdps.h>
#include <semaphore.h>

#define CLIENT "bench"
#define SOURCE_ID "1"
#define TARGET_ID "2"

static struct options options;
static cdps_node_t *node;

static void check(int32_t code, const cdps_error_t *err, const char *what) {
    if (code >= CDPS_OK) return;
    fprintf(stderr, "%s: %s: %s\n", what, cdps_error_name(code), err ? err->message : cdps_error_string(code));
    exit(1);
}

static void set(cdps_config_t *config, const char *key, const char *value) {
    cdps_error_t err = CDPS_ERROR_INIT;
    check(cdps_config_set(config, key, value, &err), &err, key);
}

static cdps_config_t *new_config(void) {
    cdps_config_t *config;
    check(cdps_config_create(&config), NULL, "cdps_config_create");
    return config;
}

enum owner { NODE, PORT };

/* What --set says of nodes, or of ports. */
static void apply_settings(cdps_config_t *config, enum owner owner) {
    for (unsigned i = 0; i < options.setting_count; i++) {
        char key[128];
        const char *equals = strchr(options.settings[i], '=');
        if (!equals || equals - options.settings[i] >= (ptrdiff_t)sizeof key) usage("--set KEY=VALUE");
        snprintf(key, sizeof key, "%.*s", (int)(equals - options.settings[i]), options.settings[i]);
        if (!strncmp(key, "port.", 5) == (owner == PORT)) set(config, key, equals + 1);
    }
}

static void on_final(void *user) { (void)user; }

/* ---- addresses ---- */

struct addresses {
    char list[4096];
};

static void append(struct addresses *to, const char *item) {
    size_t used = strlen(to->list);
    snprintf(to->list + used, sizeof to->list - used, "%s%s", used ? "," : "", item);
}

/* The target's addresses as the source dials them. */
static void put_relays_before(struct addresses *at) {
    struct addresses through = {{0}};
    for (char *item = strtok(at->list, ","); item; item = strtok(NULL, ",")) {
        char address[64];
        snprintf(address, sizeof address, "%s", item);
        through_relay(&options, address, sizeof address);
        append(&through, address);
    }
    *at = through;
}

/* ---- nodes ---- */

static void open_node(cdps_config_t *config, const char *id) {
    cdps_error_t err = CDPS_ERROR_INIT;
    set(config, "node.id", id);
    set(config, "security.mode", "plain");
    if (options.callbacks) set(config, "callbacks.mode", options.callbacks);
    apply_settings(config, NODE);
    check(cdps_node_open(config, NULL, NULL, &node, &err), &err, "cdps_node_open");
    cdps_config_destroy(config);
}

/* A node that listens, one address for each path, and a client on it; the other process is told where. */
static void open_target(const cdps_client_callbacks_t *callbacks, void *user) {
    struct addresses at = {{0}};
    char item[64];
    size_t need;
    for (unsigned i = 0; i < options.paths; i++) {
        snprintf(item, sizeof item, "127.0.0.%u:0", i + 1);
        append(&at, item);
    }
    cdps_config_t *config = new_config();
    set(config, "node.listen", at.list);
    set(config, "node.members", SOURCE_ID);
    open_node(config, TARGET_ID);
    cdps_error_t err = CDPS_ERROR_INIT;
    cdps_client_t *client;
    check(cdps_client_register(node, CLIENT, callbacks, user, &client, &err), &err, "cdps_client_register");
    at.list[0] = 0;
    for (size_t i = 0; cdps_node_listening(node, i, item, sizeof item, &need) == CDPS_OK; i++) append(&at, item);
    tell(&at, sizeof at);
}

/* A node that knows the target, and a client on it. `members`: what its ports are configured with. */
static cdps_client_t *open_source(char *members, size_t room) {
    struct addresses at;
    hear(&at, sizeof at);
    if (options.relay) put_relays_before(&at);
    snprintf(members, room, TARGET_ID "=%s", at.list);
    cdps_config_t *config = new_config();
    set(config, "node.members", members);
    open_node(config, SOURCE_ID);
    cdps_client_callbacks_t none = CDPS_CLIENT_CALLBACKS_INIT;
    none.on_final = on_final;
    cdps_error_t err = CDPS_ERROR_INIT;
    cdps_client_t *client;
    check(cdps_client_register(node, "bench-source", &none, NULL, &client, &err), &err, "cdps_client_register");
    return client;
}

static cdps_port_t *open_port(cdps_client_t *client, const char *members, const cdps_port_callbacks_t *callbacks, void *user) {
    cdps_error_t err = CDPS_ERROR_INIT;
    cdps_port_t *port;
    char window[32];
    cdps_config_t *config = new_config();
    snprintf(window, sizeof window, "%u", WINDOW);
    set(config, "port.client", CLIENT);
    set(config, "port.targets", members);
    set(config, "port.ack", "async");
    set(config, "port.send_buffer_max", window);
    apply_settings(config, PORT);
    check(cdps_port_create(node, config, callbacks, user, &port, &err), &err, "cdps_port_create");
    cdps_config_destroy(config);
    check(cdps_port_register(port, client, &err), &err, "cdps_port_register");
    check(cdps_port_initialize(port, &err), &err, "cdps_port_initialize");
    check(cdps_port_connect(port, 0, &err), &err, "cdps_port_connect");
    return port;
}

/* ---- waiting ---- */

static int dispatches(void) { return options.callbacks && !strcmp(options.callbacks, "dispatch"); }

/* What a callback says to the thread that began the run. */
struct event {
    sem_t said;
    int is_said; /* the same, where that thread runs the callbacks itself */
};

static void prepare_event(struct event *e) {
    if (sem_init(&e->said, 0, 0)) die("sem_init");
}

static void say(struct event *e) {
    if (dispatches()) e->is_said = 1;
    else if (sem_post(&e->said)) die("sem_post");
}

static void wait_for_event(struct event *e) {
    if (!dispatches()) {
        while (sem_wait(&e->said) && errno == EINTR) {}
        return;
    }
    while (!e->is_said) check(cdps_node_dispatch(node, 0, CDPS_WAIT_FOREVER), NULL, "cdps_node_dispatch");
    e->is_said = 0;
}

#endif
