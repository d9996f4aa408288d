/* For the tests of where callbacks run: two nodes in one process, each with a port that sends to the other's user and is answered. Every message
 * that asks for it is acknowledged with its length. */
#ifndef MODES_H
#define MODES_H

#include "check.h"

struct end {
    cdps_node_t *node;
    cdps_port_t *port;
    unsigned connected, received, completed, nacked, released, port_finals, client_finals, node_finals;
    /* Messages that are sent back, or sent as answers to completions. */
    unsigned answers;
};

static struct end source, target;
static cdps_port_callbacks_t port_callbacks = CDPS_PORT_CALLBACKS_INIT;

/* Called first in every callback: what the mode promises. */
static void in_callback(void);

/* What a test does in callbacks besides counting. */
static void when_received(struct end *end, const cdps_received_t *e);
static void when_completed(struct end *end, const cdps_complete_t *e);
static void when_final(struct end *end);

static void on_received(void *user, const cdps_received_t *e)
{
    struct end *end = user;
    in_callback();
    if (e->flags & CDPS_RECEIVED_WANTS_ACK)
        EXPECT(CDPS_OK, cdps_port_ack(e->port, e->sn, (int32_t)e->size));
    when_received(end, e);
    check_add(&end->received, 1);
}

static void on_complete(void *user, const cdps_complete_t *e)
{
    struct end *end = user;
    in_callback();
    when_completed(end, e);
    check_add(&end->completed, 1);
}

static void on_nack(void *user, const cdps_nack_t *e)
{
    (void)e;
    in_callback();
    check_add(&((struct end *)user)->nacked, 1);
}

static void on_release(void *user, const cdps_release_t *e)
{
    (void)e;
    in_callback();
    check_add(&((struct end *)user)->released, 1);
}

static void on_connstatus(void *user, const cdps_connstatus_t *e)
{
    in_callback();
    if (e->status == CDPS_CONN_CONNECTED)
        check_add(&((struct end *)user)->connected, 1);
}

static void on_port_final(void *user)
{
    in_callback();
    check_add(&((struct end *)user)->port_finals, 1);
}

static void on_client_final(void *user)
{
    in_callback();
    check_add(&((struct end *)user)->client_finals, 1);
}

static void on_node_final(void *user)
{
    struct end *end = user;
    in_callback();
    CHECK(end->port_finals == 1 && end->client_finals == 1);
    when_final(end);
    check_add(&end->node_finals, 1);
}

static int32_t on_connectreq(void *user, const cdps_connectreq_t *request, cdps_accept_t *accept)
{
    in_callback();
    target.port = request->port;
    accept->callbacks = &port_callbacks;
    accept->user = user;
    return CDPS_CONNECT_ACCEPT;
}

static cdps_client_t *open_end(struct end *end, const char *id, const char *members, const char *mode, const char *name)
{
    cdps_node_callbacks_t node_callbacks = CDPS_NODE_CALLBACKS_INIT;
    cdps_client_callbacks_t client_callbacks = CDPS_CLIENT_CALLBACKS_INIT;
    cdps_error_t err = CDPS_ERROR_INIT;
    cdps_client_t *client;
    cdps_config_t *config = check_config(id, members);
    check_set(config, "callbacks.mode", mode);
    if (end == &target)
        check_set(config, "node.listen", "127.0.0.1:0");
    node_callbacks.on_final = on_node_final;
    client_callbacks.on_connectreq = on_connectreq;
    client_callbacks.on_final = on_client_final;
    if (cdps_node_open(config, &node_callbacks, end, &end->node, &err) != CDPS_OK)
        FAIL("%s", err.message);
    EXPECT(CDPS_OK, cdps_client_register(end->node, name, &client_callbacks, end, &client, &err));
    EXPECT(CDPS_OK, cdps_config_destroy(config));
    return client;
}

/* Opens both nodes and begins to connect. */
static void open_both(const char *mode)
{
    char at[64], members[80];
    size_t need;
    cdps_error_t err = CDPS_ERROR_INIT;
    port_callbacks.on_received = on_received;
    port_callbacks.on_complete = on_complete;
    port_callbacks.on_nack = on_nack;
    port_callbacks.on_release = on_release;
    port_callbacks.on_connstatus = on_connstatus;
    port_callbacks.on_final = on_port_final;
    open_end(&target, "2", "1", mode, "there");
    EXPECT(CDPS_OK, cdps_node_listening(target.node, 0, at, sizeof at, &need));
    snprintf(members, sizeof members, "2=%s", at);
    cdps_client_t *client = open_end(&source, "1", members, mode, "here");
    cdps_config_t *config;
    EXPECT(CDPS_OK, cdps_config_create(&config));
    check_set(config, "port.client", "there");
    check_set(config, "port.targets", members);
    check_set(config, "port.send_buffer_max", "65536");
    EXPECT(CDPS_OK, cdps_port_create(source.node, config, &port_callbacks, &source, &source.port, &err));
    EXPECT(CDPS_OK, cdps_config_destroy(config));
    EXPECT(CDPS_OK, cdps_port_register(source.port, client, &err));
    EXPECT(CDPS_OK, cdps_port_initialize(source.port, &err));
    EXPECT(CDPS_OK, cdps_port_connect(source.port, 0, &err));
}

#endif
