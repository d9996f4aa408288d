/* Every function with NULL for each pointer, with handles that name nothing, in wrong states, with bad values: a code and a text, never a crash.
 * [U3, L1, L6] */
#include "check.h"

#include <arpa/inet.h>
#include <sys/socket.h>

static unsigned finals;

static void on_final(void *user)
{
    (void)user;
    check_add(&finals, 1);
}
static void on_complete(void *user, const cdps_complete_t *event)
{
    (void)user, (void)event;
}
static void on_nack(void *user, const cdps_nack_t *event)
{
    (void)user, (void)event;
}

static cdps_config_t *config;
static cdps_node_t *node;
static cdps_client_t *client;
static cdps_port_t *port;
static cdps_port_callbacks_t port_table = CDPS_PORT_CALLBACKS_INIT;
static cdps_client_callbacks_t client_table = CDPS_CLIENT_CALLBACKS_INIT;

/* --- every call on a handle, with good other arguments ---------------------------------------------------------------- */

static int32_t register_(cdps_port_t *p, cdps_error_t *err) { return cdps_port_register(p, client, err); }
static int32_t switch_(cdps_port_t *p, cdps_error_t *err) { return cdps_port_switch(p, 2, err); }
static int32_t connect_(cdps_port_t *p, cdps_error_t *err) { return cdps_port_connect(p, 0, err); }
static int32_t set_stream_(cdps_port_t *p, cdps_error_t *err)
{
    cdps_stream_contract_t contract = CDPS_STREAM_CONTRACT_INIT;
    return cdps_port_set_stream(p, 1, &contract, err);
}
static int32_t close_(cdps_port_t *p, cdps_error_t *err) { return cdps_port_close(p, CDPS_CLOSE_DRAIN, err); }
static int32_t send_(cdps_port_t *p, cdps_error_t *err) { (void)err; return cdps_port_send(p, NULL, 0, NULL, NULL); }
static int32_t ack_(cdps_port_t *p, cdps_error_t *err) { (void)err; return cdps_port_ack(p, 1, 0); }
static int32_t info_(cdps_port_t *p, cdps_error_t *err)
{
    cdps_port_info_t out = CDPS_PORT_INFO_INIT;
    (void)err;
    return cdps_port_info(p, &out);
}

static int32_t add_(cdps_port_t *p, cdps_error_t *err) { return cdps_port_add_address(p, 2, "127.0.0.1:1", err); }
static int32_t remove_(cdps_port_t *p, cdps_error_t *err) { return cdps_port_remove_address(p, 2, "127.0.0.1:1", err); }
static int32_t reconfigure_(cdps_port_t *p, cdps_error_t *err) { return cdps_port_reconfigure(p, config, err); }
static int32_t timers_(cdps_port_t *p, cdps_error_t *err)
{
    cdps_timers_t out = CDPS_TIMERS_INIT;
    (void)err;
    return cdps_port_timers(p, &out);
}
static int32_t stats_(cdps_port_t *p, cdps_error_t *err)
{
    cdps_port_stats_t out = CDPS_PORT_STATS_INIT;
    (void)err;
    return cdps_port_stats(p, &out);
}
static int32_t path_(cdps_port_t *p, cdps_error_t *err)
{
    cdps_path_stats_t out = CDPS_PATH_STATS_INIT;
    (void)err;
    return cdps_port_path_stats(p, 0, &out);
}
static int32_t destroy_(cdps_port_t *p, cdps_error_t *err) { (void)err; return p ? cdps_port_destroy(p) : CDPS_E_BAD_HANDLE; }
static int32_t destroy_wait_(cdps_port_t *p, cdps_error_t *err)
{
    (void)err;
    return p ? cdps_port_destroy_wait(p, 0) : CDPS_E_BAD_HANDLE;
}

static const struct {
    const char *name;
    int32_t (*call)(cdps_port_t *, cdps_error_t *);
    bool text;
} on_port[] = {
    {"cdps_port_register", register_, true},
    {"cdps_port_unregister", cdps_port_unregister, true},
    {"cdps_port_initialize", cdps_port_initialize, true},
    {"cdps_port_connect", connect_, true},
    {"cdps_port_switch", switch_, true},
    {"cdps_port_set_stream", set_stream_, true},
    {"cdps_port_suspend", cdps_port_suspend, true},
    {"cdps_port_resume", cdps_port_resume, true},
    {"cdps_port_reset", cdps_port_reset, true},
    {"cdps_port_stop", cdps_port_stop, true},
    {"cdps_port_close", close_, true},
    {"cdps_port_add_address", add_, true},
    {"cdps_port_remove_address", remove_, true},
    {"cdps_port_reconfigure", reconfigure_, true},
    {"cdps_port_send", send_, false},
    {"cdps_port_ack", ack_, false},
    {"cdps_port_info", info_, false},
    {"cdps_port_timers", timers_, false},
    {"cdps_port_stats", stats_, false},
    {"cdps_port_path_stats", path_, false},
    {"cdps_port_destroy", destroy_, false},
    {"cdps_port_destroy_wait", destroy_wait_, false},
};

static void port_handle(void *wrong)
{
    for (size_t i = 0; i < sizeof on_port / sizeof *on_port; i++) {
        cdps_error_t err = CDPS_ERROR_INIT;
        int32_t code = on_port[i].call(wrong, &err);
        if (code != CDPS_E_BAD_HANDLE || (on_port[i].text && (err.code != code || !err.message[0])))
            FAIL("%s(%p) gave %s, \"%s\"", on_port[i].name, wrong, cdps_error_name(code), err.message);
    }
}

static void node_handle(void *wrong)
{
    cdps_node_stats_t stats = CDPS_NODE_STATS_INIT;
    cdps_client_t *c = NULL;
    cdps_port_t *p = NULL;
    cdps_error_t err;
    uint32_t id;
    uint64_t incarnation;
    size_t need;
    int32_t fd;
    EXPECT(CDPS_E_BAD_HANDLE, cdps_node_id(wrong, &id));
    EXPECT(CDPS_E_BAD_HANDLE, cdps_node_incarnation(wrong, &incarnation));
    EXPECT(CDPS_E_BAD_HANDLE, cdps_node_listening(wrong, 0, NULL, 0, &need));
    EXPECT(CDPS_E_BAD_HANDLE, cdps_node_stats(wrong, &stats));
    EXPECT(CDPS_E_BAD_HANDLE, cdps_node_metrics(wrong, NULL, 0, &need));
    EXPECT(CDPS_E_BAD_HANDLE, cdps_node_fd(wrong, &fd));
    EXPECT(CDPS_E_BAD_HANDLE, cdps_node_dispatch(wrong, 0, 0));
    EXPECT_TEXT(CDPS_E_BAD_HANDLE, "handle", cdps_client_register(wrong, "a", &client_table, NULL, &c, &err));
    EXPECT_TEXT(CDPS_E_BAD_HANDLE, "handle", cdps_port_create(wrong, config, &port_table, NULL, &p, &err));
    CHECK(c == NULL && p == NULL);
    if (wrong) {
        EXPECT(CDPS_E_BAD_HANDLE, cdps_node_destroy(wrong));
        EXPECT(CDPS_E_BAD_HANDLE, cdps_node_destroy_wait(wrong, 0));
        EXPECT(CDPS_E_BAD_HANDLE, cdps_client_unregister(wrong));
    }
}

static void config_handle(void *wrong)
{
    cdps_node_t *n = NULL;
    cdps_port_t *p = NULL;
    cdps_error_t err;
    char buf[64];
    EXPECT_TEXT(CDPS_E_BAD_HANDLE, "handle", cdps_config_set(wrong, "node.id", "1", &err));
    EXPECT_TEXT(CDPS_E_BAD_HANDLE, "handle", cdps_config_get(wrong, "node.id", buf, sizeof buf, NULL, &err));
    EXPECT_TEXT(CDPS_E_BAD_HANDLE, "handle", cdps_node_open(wrong, NULL, NULL, &n, &err));
    if (wrong) {
        EXPECT_TEXT(CDPS_E_BAD_HANDLE, "handle", cdps_port_create(node, wrong, &port_table, NULL, &p, &err));
        EXPECT(CDPS_E_BAD_HANDLE, cdps_config_destroy(wrong));
    }
    CHECK(n == NULL && p == NULL);
}

/* Handles of the wrong kind, never given out, of a slot that does not exist, of a generation to come. */
static void wild_handles(void)
{
    int on_stack;
    const uintptr_t wild[] = {1, 0x1234, UINTPTR_MAX, (uintptr_t)&on_stack, (uintptr_t)0x8000000000000000u,
                              (uintptr_t)node ^ 1, (uintptr_t)node ^ 0x10000000u, (uintptr_t)node + 100000,
                              (uintptr_t)port ^ 1, (uintptr_t)port ^ 0x10000000u, (uintptr_t)config ^ 0x10000000u};
    for (size_t i = 0; i < sizeof wild / sizeof *wild; i++) {
        port_handle((void *)wild[i]);
        node_handle((void *)wild[i]);
        config_handle((void *)wild[i]);
    }
    port_handle(NULL), port_handle(node), port_handle(client), port_handle(config);
    node_handle(NULL), node_handle(port), node_handle(config);
    config_handle(NULL), config_handle(node), config_handle(port), config_handle(client);
    EXPECT(CDPS_E_BAD_HANDLE, cdps_client_unregister((cdps_client_t *)(void *)port));
    EXPECT(CDPS_OK, cdps_node_destroy(NULL));
    EXPECT(CDPS_OK, cdps_node_destroy_wait(NULL, 0));
    EXPECT(CDPS_OK, cdps_client_unregister(NULL));
    EXPECT(CDPS_OK, cdps_port_destroy(NULL));
    EXPECT(CDPS_OK, cdps_port_destroy_wait(NULL, 0));
    EXPECT(CDPS_OK, cdps_config_destroy(NULL));
}

/* --- names ------------------------------------------------------------------------------------------------------------ */

static void names(void)
{
    const int32_t numbers[] = {INT32_MIN, -1000, -1, 0, 1, 7, 1000, INT32_MAX};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        int32_t n = numbers[i];
        CHECK(cdps_error_name(n)[0] && cdps_error_string(n)[0] && cdps_error_class(n) >= 0);
        CHECK(cdps_reason_name(n)[0] && cdps_reason_string(n)[0] && cdps_state_name(n)[0] && cdps_link_name(n)[0] && cdps_verdict_name(n)[0]);
        CHECK(cdps_health_name(n)[0] && cdps_certainty_name(n)[0] && cdps_conn_name(n)[0] && cdps_cluster_name(n)[0]);
        CHECK(cdps_flow_name(n)[0] && cdps_cause_name(n)[0]);
    }
    CHECK(strcmp(cdps_error_name(CDPS_E_AGAIN), "CDPS_E_AGAIN") == 0 && cdps_error_class(CDPS_E_AGAIN) == CDPS_CLASS_RETRY);
    CHECK(strcmp(cdps_state_name(CDPS_STATE_CONNECTEDTO), "CONNECTEDTO") == 0);
    CHECK(strcmp(cdps_reason_name(CDPS_REASON_PEER_RESTARTED), "PEER_RESTARTED") == 0);
}

/* --- configuration ---------------------------------------------------------------------------------------------------- */

static void configuration(void)
{
    cdps_error_t err;
    cdps_config_key_t key = CDPS_CONFIG_KEY_INIT;
    char small[4] = "abc", buf[64];
    size_t need = 99, keys = 0;

    EXPECT(CDPS_E_INVALID, cdps_config_create(NULL));
    EXPECT_TEXT(CDPS_E_INVALID, "key is NULL", cdps_config_set(config, NULL, "1", &err));
    EXPECT_TEXT(CDPS_E_INVALID, "value is NULL", cdps_config_set(config, "node.id", NULL, &err));
    EXPECT_TEXT(CDPS_E_INVALID, "UTF-8", cdps_config_set(config, "node.name", "a\xff", &err));
    EXPECT_TEXT(CDPS_E_UNKNOWN_KEY, "\"port.window\" meant", cdps_config_set(config, "port.windw", "1", &err));
    EXPECT_TEXT(CDPS_E_BAD_VALUE, "65536..", cdps_config_set(config, "port.window", "12", &err));
    EXPECT_TEXT(CDPS_E_UNSUPPORTED, "not in this version", cdps_config_set(config, "security.mode", "tls", &err));
    EXPECT_TEXT(CDPS_E_BAD_VALUE, "thread|inline|dispatch", cdps_config_set(config, "callbacks.mode", "threads", &err));
    EXPECT(CDPS_E_BAD_VALUE, cdps_config_set(config, "port.window", "", NULL));

    EXPECT_TEXT(CDPS_E_INVALID, "key is NULL", cdps_config_get(config, NULL, buf, sizeof buf, &need, &err));
    EXPECT_TEXT(CDPS_E_UNKNOWN_KEY, "meant", cdps_config_get(config, "?", buf, sizeof buf, &need, &err));
    EXPECT_TEXT(CDPS_E_BUFFER, "too small", cdps_config_get(config, "port.window", small, sizeof small, &need, &err));
    CHECK(need == 8 && strcmp(small, "abc") == 0);
    EXPECT_TEXT(CDPS_E_BUFFER, "too small", cdps_config_get(config, "port.window", NULL, 0, NULL, &err));
    EXPECT_TEXT(CDPS_E_BUFFER, "too small", cdps_config_get(config, "port.window", NULL, 64, &need, &err));
    EXPECT(CDPS_OK, cdps_config_get(config, "port.window", NULL, 0, &need, NULL));
    EXPECT(CDPS_OK, cdps_config_get(config, "port.window", buf, sizeof buf, NULL, NULL));
    CHECK(strcmp(buf, "16777216") == 0);

    EXPECT(CDPS_E_INVALID, cdps_config_describe(0, NULL));
    for (; cdps_config_describe(keys, &key) == CDPS_OK; keys++) {
        CHECK(key.struct_size == sizeof key && key.name[0] && key.help[0] && key.range && key.unit && key.type > 0);
        if (key.default_value)
            EXPECT(CDPS_OK, cdps_config_get(config, key.name, buf, sizeof buf, &need, NULL));
    }
    CHECK(keys > 20);
    EXPECT(CDPS_E_NOT_FOUND, cdps_config_describe(SIZE_MAX, &key));

    /* An error structure whose size was not set is not written to. */
    err = (cdps_error_t)CDPS_ERROR_INIT;
    err.struct_size = 0;
    EXPECT(CDPS_E_INVALID, cdps_config_set(config, "node.id", "1", &err));
    CHECK(err.code == 0 && err.message[0] == 0);
}

/* --- nodes and clients ------------------------------------------------------------------------------------------------ */

static void opening(void)
{
    cdps_error_t err;
    cdps_node_t *n = NULL;
    cdps_node_callbacks_t table = CDPS_NODE_CALLBACKS_INIT;
    cdps_config_t *own;
    EXPECT(CDPS_OK, cdps_config_create(&own));
    EXPECT_TEXT(CDPS_E_ABI, "ABI 7", cdps_node_open_abi(7, own, NULL, NULL, &n, &err));
    EXPECT_TEXT(CDPS_E_INVALID, "out is NULL", cdps_node_open(own, NULL, NULL, NULL, &err));
    EXPECT_TEXT(CDPS_E_MISSING_KEY, "node.id must be set", cdps_node_open(own, NULL, NULL, &n, &err));
    check_set(own, "node.id", "9");
    EXPECT_TEXT(CDPS_E_MISSING_KEY, "security.mode must be set", cdps_node_open(own, NULL, NULL, &n, &err));
    check_set(own, "security.mode", "plain");
    table.struct_size = 3;
    EXPECT_TEXT(CDPS_E_INVALID, "struct_size is 3", cdps_node_open(own, &table, NULL, &n, &err));
    table.struct_size = sizeof table;
    table.flags = 1;
    EXPECT_TEXT(CDPS_E_UNSUPPORTED, "flags is 0x1", cdps_node_open(own, &table, NULL, &n, &err));
    check_set(own, "liveness.lease_ms", "9000");
    EXPECT_TEXT(CDPS_E_CONFLICT, "lease", cdps_node_open(own, NULL, NULL, &n, &err));
    check_set(own, "liveness.lease_ms", "1200");

    /* An address that somebody else listens on. */
    int taken = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    char address[64];
    CHECK(bind(taken, (struct sockaddr *)&at, size) == 0 && listen(taken, 1) == 0);
    CHECK(getsockname(taken, (struct sockaddr *)&at, &size) == 0);
    snprintf(address, sizeof address, "127.0.0.1:%d", ntohs(at.sin_port));
    check_set(own, "node.listen", address);
    EXPECT_TEXT(CDPS_E_SYSTEM, address, cdps_node_open(own, NULL, NULL, &n, &err));
    CHECK(err.os_errno == EADDRINUSE);
    close(taken);
    CHECK(n == NULL);
    EXPECT(CDPS_OK, cdps_config_destroy(own));
    EXPECT(CDPS_E_BAD_HANDLE, cdps_config_destroy(own));
    config_handle(own);
}

static void nodes(void)
{
    cdps_node_stats_t stats = CDPS_NODE_STATS_INIT;
    size_t need;
    char small[3];
    EXPECT(CDPS_E_INVALID, cdps_node_id(node, NULL));
    EXPECT(CDPS_E_INVALID, cdps_node_incarnation(node, NULL));
    EXPECT(CDPS_E_WRONG_STATE, cdps_node_fd(node, NULL));
    EXPECT(CDPS_E_WRONG_STATE, cdps_node_dispatch(node, 0, CDPS_WAIT_FOREVER));
    EXPECT(CDPS_E_INVALID, cdps_node_stats(node, NULL));
    stats.struct_size = 0;
    EXPECT(CDPS_E_INVALID, cdps_node_stats(node, &stats));
    EXPECT(CDPS_E_BUFFER, cdps_node_metrics(node, small, sizeof small, &need));
    EXPECT(CDPS_E_BUFFER, cdps_node_metrics(node, NULL, 0, NULL));
    EXPECT(CDPS_E_BUFFER, cdps_node_listening(node, 0, small, sizeof small, &need));
    EXPECT(CDPS_E_BUFFER, cdps_node_listening(node, 0, NULL, 0, NULL));
    EXPECT(CDPS_OK, cdps_node_listening(node, 0, NULL, 0, &need));
    CHECK(need >= sizeof "127.0.0.1:1" - 1);
    EXPECT(CDPS_E_NOT_FOUND, cdps_node_listening(node, 1, small, sizeof small, &need));
    EXPECT(CDPS_E_NOT_FOUND, cdps_node_listening(node, SIZE_MAX, small, sizeof small, &need));
}

static void clients(void)
{
    cdps_error_t err;
    cdps_client_t *c = NULL;
    cdps_client_callbacks_t table = client_table;
    char longest[300];
    memset(longest, 'n', sizeof longest - 1);
    longest[sizeof longest - 1] = 0;
    EXPECT_TEXT(CDPS_E_INVALID, "name is NULL", cdps_client_register(node, NULL, &table, NULL, &c, &err));
    EXPECT_TEXT(CDPS_E_INVALID, "cdps_client_callbacks_t is NULL", cdps_client_register(node, "b", NULL, NULL, &c, &err));
    EXPECT_TEXT(CDPS_E_INVALID, "out is NULL", cdps_client_register(node, "b", &table, NULL, NULL, &err));
    EXPECT_TEXT(CDPS_E_INVALID, "0 bytes", cdps_client_register(node, "", &table, NULL, &c, &err));
    EXPECT_TEXT(CDPS_E_INVALID, "299 bytes", cdps_client_register(node, longest, &table, NULL, &c, &err));
    EXPECT_TEXT(CDPS_E_NAME_TAKEN, "\"client\"", cdps_client_register(node, "client", &table, NULL, &c, &err));
    table.on_final = NULL;
    EXPECT_TEXT(CDPS_E_INVALID, "on_final", cdps_client_register(node, "b", &table, NULL, &c, &err));
    table.on_final = on_final;
    table.flags = 4;
    EXPECT_TEXT(CDPS_E_UNSUPPORTED, "flags", cdps_client_register(node, "b", &table, NULL, &c, &err));
    CHECK(c == NULL);
}

/* --- ports ------------------------------------------------------------------------------------------------------------ */

static void creating(void)
{
    cdps_error_t err;
    cdps_port_t *p = NULL;
    cdps_port_callbacks_t table = port_table;
    EXPECT_TEXT(CDPS_E_INVALID, "cdps_port_callbacks_t is NULL", cdps_port_create(node, config, NULL, NULL, &p, &err));
    EXPECT_TEXT(CDPS_E_INVALID, "out is NULL", cdps_port_create(node, config, &table, NULL, NULL, &err));
    check_set(config, "port.backup_selection", "callback");
    EXPECT_TEXT(CDPS_E_NO_CALLBACK, "on_backup", cdps_port_create(node, config, &table, NULL, &p, &err));
    check_set(config, "port.backup_selection", "listed");
    table.on_nack = NULL;
    EXPECT_TEXT(CDPS_E_INVALID, "together", cdps_port_create(node, config, &table, NULL, &p, &err));
    table = port_table;
    table.on_final = NULL;
    EXPECT_TEXT(CDPS_E_INVALID, "on_final", cdps_port_create(node, config, &table, NULL, &p, &err));
    table = port_table;
    table.flags = 8;
    EXPECT_TEXT(CDPS_E_UNSUPPORTED, "flags", cdps_port_create(node, config, &table, NULL, &p, &err));
    table = port_table;
    table.struct_size = 1u << 30;
    EXPECT_TEXT(CDPS_E_INVALID, "struct_size", cdps_port_create(node, config, &table, NULL, &p, &err));
    CHECK(p == NULL);

    /* A table of a later release: accepted if what is not known here is not used. */
    struct {
        cdps_port_callbacks_t known;
        uint64_t later;
    } longer = {port_table, 0};
    longer.known.struct_size = sizeof longer;
    EXPECT(CDPS_OK, cdps_port_create(node, config, &longer.known, NULL, &p, NULL));
    EXPECT(CDPS_OK, cdps_port_destroy(p));
    longer.later = 1;
    EXPECT_TEXT(CDPS_E_UNSUPPORTED, "offset", cdps_port_create(node, config, &longer.known, NULL, &p, &err));

    check_set(config, "port.session_timeout_ms", "1");
    EXPECT_TEXT(CDPS_E_CONFLICT, "session_timeout", cdps_port_create(node, config, &port_table, NULL, &p, &err));
    check_set(config, "port.session_timeout_ms", "90000");
}

static void wrong_states(void)
{
    cdps_error_t err;
    cdps_port_info_t info = CDPS_PORT_INFO_INIT;
    cdps_path_stats_t path = CDPS_PATH_STATS_INIT;
    EXPECT(CDPS_OK, cdps_port_info(port, &info));
    CHECK(info.state == CDPS_STATE_IDLE && info.peer == 0 && info.struct_size == sizeof info);
    EXPECT_TEXT(CDPS_E_WRONG_STATE, "IDLE", cdps_port_initialize(port, &err));
    EXPECT_TEXT(CDPS_E_WRONG_STATE, "IDLE", cdps_port_connect(port, 0, &err));
    EXPECT_TEXT(CDPS_E_WRONG_STATE, "IDLE", cdps_port_switch(port, 2, &err));
    EXPECT_TEXT(CDPS_E_WRONG_STATE, "IDLE", cdps_port_suspend(port, &err));
    EXPECT_TEXT(CDPS_E_WRONG_STATE, "IDLE", cdps_port_resume(port, &err));
    EXPECT_TEXT(CDPS_E_WRONG_STATE, "IDLE", cdps_port_reset(port, &err));
    EXPECT_TEXT(CDPS_E_WRONG_STATE, "IDLE", cdps_port_stop(port, &err));
    EXPECT_TEXT(CDPS_E_WRONG_STATE, "IDLE", cdps_port_close(port, CDPS_CLOSE_DRAIN, &err));
    EXPECT(CDPS_E_WRONG_STATE, cdps_port_initialize(port, NULL));
    EXPECT(CDPS_E_WRONG_STATE, cdps_port_send(port, NULL, 0, NULL, NULL));
    EXPECT(CDPS_E_NOT_OWED, cdps_port_ack(port, 1, 0));
    EXPECT(CDPS_E_NOT_FOUND, cdps_port_path_stats(port, 0, &path));
    EXPECT(CDPS_E_NOT_FOUND, cdps_port_path_stats(port, SIZE_MAX, &path));
    EXPECT_TEXT(CDPS_E_BAD_HANDLE, "handle", cdps_port_register(port, NULL, &err));
    EXPECT_TEXT(CDPS_E_UNSUPPORTED, "0x10", cdps_port_close(port, 0x10, &err));

    EXPECT(CDPS_OK, cdps_port_register(port, client, &err));
    CHECK(err.code == CDPS_OK && err.message[0] == 0);
    EXPECT_TEXT(CDPS_E_WRONG_STATE, "REGISTERED", cdps_port_register(port, client, &err));
    EXPECT_TEXT(CDPS_E_WRONG_STATE, "REGISTERED", cdps_port_connect(port, 2, &err));
    EXPECT(CDPS_OK, cdps_port_initialize(port, NULL));
    EXPECT_TEXT(CDPS_E_WRONG_STATE, "INITIALIZED", cdps_port_initialize(port, &err));
    EXPECT_TEXT(CDPS_E_WRONG_STATE, "INITIALIZED", cdps_port_stop(port, &err));
    EXPECT_TEXT(CDPS_E_INVALID, "77", cdps_port_connect(port, 77, &err));
    EXPECT(CDPS_OK, cdps_port_info(port, &info));
    CHECK(info.state == CDPS_STATE_INITIALIZED && info.link == CDPS_LINK_UP);
    EXPECT(CDPS_OK, cdps_port_unregister(port, NULL));
    EXPECT(CDPS_E_INVALID, cdps_port_info(port, NULL));
    EXPECT(CDPS_E_INVALID, cdps_port_timers(port, NULL));
    EXPECT(CDPS_E_INVALID, cdps_port_stats(port, NULL));
    info.struct_size = 5000;
    EXPECT(CDPS_E_INVALID, cdps_port_info(port, &info));
}

static void sending(void)
{
    cdps_send_opts_t opts = CDPS_SEND_OPTS_INIT;
    cdps_iov_t one = {"x", 1}, null_base = {NULL, 1}, empty = {NULL, 0};
    cdps_iov_t huge[2] = {{"x", SIZE_MAX / 2}, {"x", SIZE_MAX / 2}}, longer = {"x", (16u << 20) + 1};
    static cdps_iov_t many[1025];
    EXPECT(CDPS_E_INVALID, cdps_port_send(port, NULL, 1, NULL, NULL));
    EXPECT(CDPS_E_INVALID, cdps_port_send(port, &null_base, 1, NULL, NULL));
    EXPECT(CDPS_E_INVALID, cdps_port_send(port, many, 1025, NULL, NULL));
    EXPECT(CDPS_E_INVALID, cdps_port_send(port, many, SIZE_MAX, NULL, NULL));
    EXPECT(CDPS_E_TOO_LONG, cdps_port_send(port, huge, 2, NULL, NULL));
    /* Above port.max_message: refused before a byte of it is looked at. */
    EXPECT(CDPS_E_TOO_LONG, cdps_port_send(port, &longer, 1, NULL, NULL));
    EXPECT(CDPS_E_WRONG_STATE, cdps_port_send(port, &empty, 1, NULL, NULL));
    opts.flags = 0x80;
    EXPECT(CDPS_E_UNSUPPORTED, cdps_port_send(port, &one, 1, &opts, NULL));
    opts.flags = CDPS_SEND_BORROW;
    EXPECT(CDPS_E_NO_CALLBACK, cdps_port_send(port, &one, 1, &opts, NULL));
    opts.flags = 0;
    opts.stream = 5;
    EXPECT(CDPS_E_INVALID, cdps_port_send(port, &one, 1, &opts, NULL));
    opts.stream = 0;
    opts.ack = 9;
    EXPECT(CDPS_E_UNSUPPORTED, cdps_port_send(port, &one, 1, &opts, NULL));
    opts.ack = 0;
    opts.reserved0 = 1;
    EXPECT(CDPS_E_INVALID, cdps_port_send(port, &one, 1, &opts, NULL));
    opts.reserved0 = 0;
    opts.struct_size = 0;
    EXPECT(CDPS_E_INVALID, cdps_port_send(port, &one, 1, &opts, NULL));

    /* A port that has no callbacks for the end of a send cannot send. */
    cdps_port_callbacks_t deaf = CDPS_PORT_CALLBACKS_INIT;
    cdps_port_t *p;
    deaf.on_final = on_final;
    EXPECT(CDPS_OK, cdps_port_create(node, config, &deaf, NULL, &p, NULL));
    EXPECT(CDPS_E_NO_CALLBACK, cdps_port_send(p, &one, 1, NULL, NULL));
    EXPECT(CDPS_OK, cdps_port_destroy_wait(p, CDPS_WAIT_FOREVER));
    port_handle(p);
}

static void messages(void)
{
    cdps_generation_t generation = {7, 7};
    CHECK(cdps_msg_retain(NULL) == NULL);
    cdps_msg_release(NULL);
    CHECK(cdps_msg_data(NULL) == NULL && cdps_msg_size(NULL) == 0 && cdps_msg_sn(NULL) == 0 && cdps_msg_stream(NULL) == 0);
    cdps_msg_generation(NULL, NULL);
    cdps_msg_generation(NULL, &generation);
    CHECK(generation.role_epoch == 0 && generation.counter == 0);
}

int main(void)
{
    CHECK(cdps_version_number() == CDPS_VERSION_NUMBER && cdps_version_string()[0]);
    port_table.on_complete = on_complete;
    port_table.on_nack = on_nack;
    port_table.on_final = on_final;
    client_table.on_final = on_final;
    config = check_config("1", "2=127.0.0.1:1");
    check_patience(config);
    check_set(config, "port.client", "nobody");
    check_set(config, "port.targets", "2");
    check_set(config, "node.listen", "127.0.0.1:0");
    check_set(config, "log.level", "none");
    EXPECT(CDPS_OK, cdps_node_open(config, NULL, NULL, &node, NULL));
    EXPECT(CDPS_OK, cdps_client_register(node, "client", &client_table, NULL, &client, NULL));
    EXPECT(CDPS_OK, cdps_port_create(node, config, &port_table, NULL, &port, NULL));

    names();
    messages();
    configuration();
    opening();
    wild_handles();
    nodes();
    clients();
    creating();
    wrong_states();
    sending();

    /* Handles of what is gone. */
    cdps_port_t *gone_port = port;
    cdps_client_t *gone_client = client;
    EXPECT(CDPS_OK, cdps_port_destroy(port));
    port_handle(gone_port);
    EXPECT(CDPS_OK, cdps_client_unregister(client));
    EXPECT(CDPS_E_BAD_HANDLE, cdps_client_unregister(gone_client));
    EXPECT(CDPS_OK, cdps_port_create(node, config, &port_table, NULL, &port, NULL));
    CHECK(port != gone_port);
    EXPECT(CDPS_E_BAD_HANDLE, cdps_port_register(port, gone_client, NULL));
    cdps_node_t *gone_node = node;
    EXPECT(CDPS_OK, cdps_node_destroy_wait(node, CDPS_WAIT_FOREVER));
    /* The port that the node took with it. */
    port_handle(port);
    node_handle(gone_node);
    /* Ports: four that were created, and the client. */
    REACH(finals, 5);
    EXPECT(CDPS_OK, cdps_config_destroy(config));
    CHECK(check_read(&finals) == 5);
    return 0;
}
