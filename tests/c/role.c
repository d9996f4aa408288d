/* Roles are reversed: two nodes that may write a disk, and a third one with the copy, which is an exclusive client. Node 1 writes under role
 * epoch 1; node 2 takes over with 2. Node 1's port goes down, and cannot come back; what node 2 writes arrives. [L4] Each client hears that
 * its registration has taken effect, and of the paths to the others. [N3, N4] */
#include "check.h"

#include <dirent.h>

struct end {
    cdps_port_t *port;
    unsigned connected, failed, superseded, completed, received, finals;
    int32_t reason;
    uint64_t role_epoch;
};

static struct end writers[2], copies[2];
static unsigned requests;

/* What a client hears of the cluster. */
struct witness {
    const char *remote;
    unsigned effective, paths;
};

static struct witness writing[2], copying;
static char address[64];

static void on_cluster(void *user, const cdps_cluster_t *e)
{
    struct witness *witness = user;
    if (e->change == CDPS_CLUSTER_EFFECTIVE)
        check_add(&witness->effective, 1);
    if (e->change != CDPS_CLUSTER_PATH)
        return;
    CHECK(e->link > 0 && e->health >= CDPS_HEALTH_DEAD && e->health <= CDPS_HEALTH_GOOD && !e->client);
    CHECK(witness->remote ? strcmp(e->remote, witness->remote) == 0 : !e->remote);
    if (e->health == CDPS_HEALTH_GOOD)
        check_add(&witness->paths, 1);
}

static void on_received(void *user, const cdps_received_t *e)
{
    struct end *end = user;
    end->role_epoch = e->generation.role_epoch;
    EXPECT(CDPS_OK, cdps_port_ack(e->port, e->sn, 0));
    check_add(&end->received, 1);
}

static void on_complete(void *user, const cdps_complete_t *e)
{
    CHECK(e->rc == 0);
    check_add(&((struct end *)user)->completed, 1);
}

static void on_nack(void *user, const cdps_nack_t *e)
{
    (void)user;
    FAIL("nack of %" PRIu64 ": %s", e->sn, e->text);
}

static void on_connstatus(void *user, const cdps_connstatus_t *e)
{
    struct end *end = user;
    end->reason = e->reason;
    switch (e->status) {
    case CDPS_CONN_CONNECTED:
        check_add(&end->connected, 1);
        break;
    case CDPS_CONN_CONNECT_FAILED:
        check_add(&end->failed, 1);
        break;
    case CDPS_CONN_DOWN:
    case CDPS_CONN_CLOSED:
        if (e->reason == CDPS_REASON_SUPERSEDED)
            check_add(&end->superseded, 1);
        break;
    }
}

static void on_port_final(void *user)
{
    check_add(&((struct end *)user)->finals, 1);
}

static void on_client_final(void *user)
{
    (void)user;
}

static const cdps_port_callbacks_t port_callbacks = {
    .struct_size = sizeof port_callbacks,
    .on_received = on_received,
    .on_complete = on_complete,
    .on_nack = on_nack,
    .on_connstatus = on_connstatus,
    .on_final = on_port_final,
};

static int32_t on_connectreq(void *user, const cdps_connectreq_t *request, cdps_accept_t *accept)
{
    (void)user;
    CHECK(requests < 2 && request->generation.role_epoch == requests + 1);
    copies[requests].port = request->port;
    accept->callbacks = &port_callbacks;
    accept->user = &copies[requests];
    check_add(&requests, 1);
    return CDPS_CONNECT_ACCEPT;
}

static void write_once(struct end *end)
{
    cdps_iov_t v = {"block", 5};
    unsigned before = check_read(&end->completed);
    EXPECT(CDPS_OK, cdps_port_send(end->port, &v, 1, NULL, NULL));
    REACH(end->completed, before + 1);
}

/* A node that may write, with its port in state INITIALIZED. */
static cdps_node_t *open_writer(const char *id, const char *target, const char *role_epoch, struct end *end,
                                struct witness *witness)
{
    cdps_client_callbacks_t callbacks = CDPS_CLIENT_CALLBACKS_INIT;
    cdps_config_t *config = check_config(id, target);
    cdps_client_t *client;
    cdps_node_t *node;
    check_set(config, "port.targets", target);
    check_set(config, "port.client", "copy");
    check_set(config, "port.role_epoch", role_epoch);
    EXPECT(CDPS_OK, cdps_node_open(config, NULL, NULL, &node, NULL));
    callbacks.on_final = on_client_final;
    callbacks.on_cluster = on_cluster;
    witness->remote = address;
    EXPECT(CDPS_OK, cdps_client_register(node, "disk", &callbacks, witness, &client, NULL));
    EXPECT(CDPS_OK, cdps_port_create(node, config, &port_callbacks, end, &end->port, NULL));
    EXPECT(CDPS_OK, cdps_port_register(end->port, client, NULL));
    EXPECT(CDPS_OK, cdps_port_initialize(end->port, NULL));
    EXPECT(CDPS_OK, cdps_config_destroy(config));
    return node;
}

/* The node with the copy, and its exclusive client. Gives where it is, in `address` and as a target. */
static cdps_node_t *open_copy(const char *state, char *target, size_t cap)
{
    cdps_client_callbacks_t callbacks = CDPS_CLIENT_CALLBACKS_INIT;
    cdps_error_t err = CDPS_ERROR_INIT;
    cdps_client_t *client;
    cdps_node_t *node;
    cdps_config_t *config = check_config("3", "1; 2");
    check_set(config, "node.listen", "127.0.0.1:0");
    check_set(config, "node.state_dir", state);
    EXPECT(CDPS_OK, cdps_node_open(config, NULL, NULL, &node, NULL));
    EXPECT(CDPS_OK, cdps_config_destroy(config));
    callbacks.on_connectreq = on_connectreq;
    callbacks.on_final = on_client_final;
    callbacks.on_cluster = on_cluster;
    callbacks.flags = 2;
    EXPECT_TEXT(CDPS_E_UNSUPPORTED, "0x2", cdps_client_register(node, "copy", &callbacks, NULL, &client, &err));
    callbacks.flags = CDPS_CLIENT_EXCLUSIVE;
    EXPECT(CDPS_OK, cdps_client_register(node, "copy", &callbacks, &copying, &client, NULL));
    EXPECT(CDPS_OK, cdps_node_listening(node, 0, address, sizeof address, NULL));
    snprintf(target, cap, "3=%s", address);
    return node;
}

/* Removes the folder; gives how many files of generations were in it. */
static unsigned remove_state(const char *state)
{
    unsigned found = 0;
    char path[800];
    DIR *folder = opendir(state);
    CHECK(folder);
    for (struct dirent *entry; (entry = readdir(folder));) {
        if (entry->d_name[0] == '.')
            continue;
        found += strstr(entry->d_name, ".client.") != NULL;
        snprintf(path, sizeof path, "%s/%s", state, entry->d_name);
        CHECK(unlink(path) == 0);
    }
    closedir(folder);
    CHECK(rmdir(state) == 0);
    return found;
}

/* `role FOLDER`: the generations are kept in a folder of their own below it. */
int main(int argc, char **argv)
{
    char state[512], target[80];
    cdps_node_t *copy, *nodes[2];
    CHECK(argc == 2 && snprintf(state, sizeof state, "%s/role-XXXXXX", argv[1]) < (int)sizeof state && mkdtemp(state));
    copy = open_copy(state, target, sizeof target);
    REACH(copying.effective, 1);

    nodes[0] = open_writer("1", target, "1", &writers[0], &writing[0]);
    nodes[1] = open_writer("2", target, "2", &writers[1], &writing[1]);
    EXPECT(CDPS_OK, cdps_port_connect(writers[0].port, 0, NULL));
    REACH(writers[0].connected, 1);
    write_once(&writers[0]);

    EXPECT(CDPS_OK, cdps_port_connect(writers[1].port, 0, NULL));
    REACH(writers[1].connected, 1);
    REACH(copies[0].superseded, 1);
    REACH(writers[0].superseded, 1);
    write_once(&writers[1]);
    CHECK(copies[0].received == 1 && copies[0].role_epoch == 1);
    CHECK(copies[1].received == 1 && copies[1].role_epoch == 2);

    REACH(copying.paths, 2);
    for (int i = 0; i < 2; i++) {
        REACH(writing[i].effective, 1);
        REACH(writing[i].paths, 1);
    }
    CHECK(copying.effective == 1);

    EXPECT(CDPS_OK, cdps_port_connect(writers[0].port, 0, NULL));
    REACH(writers[0].failed, 1);
    CHECK(writers[0].reason == CDPS_REASON_ROLE_TAKEN);
    for (int i = 0; i < 2; i++)
        EXPECT(CDPS_OK, cdps_node_destroy_wait(nodes[i], CDPS_WAIT_FOREVER));
    EXPECT(CDPS_OK, cdps_node_destroy_wait(copy, CDPS_WAIT_FOREVER));
    CHECK(writers[0].finals == 1 && writers[1].finals == 1 && copies[0].finals == 1 && copies[1].finals == 1);

    /* The copy's node is restarted, and still knows who has the role. */
    copy = open_copy(state, target, sizeof target);
    nodes[0] = open_writer("1", target, "1", &writers[0], &writing[0]);
    EXPECT(CDPS_OK, cdps_port_connect(writers[0].port, 0, NULL));
    REACH(writers[0].failed, 2);
    CHECK(writers[0].reason == CDPS_REASON_ROLE_TAKEN && requests == 2);
    EXPECT(CDPS_OK, cdps_node_destroy_wait(nodes[0], CDPS_WAIT_FOREVER));
    EXPECT(CDPS_OK, cdps_node_destroy_wait(copy, CDPS_WAIT_FOREVER));
    CHECK(remove_state(state) == 1);
    return 0;
}
