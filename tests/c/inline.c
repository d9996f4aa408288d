/* Callbacks on the I/O threads: a message goes there and back without another thread, while threads of the program send; none runs inside a call,
 * none waits, and a node ends in a callback of its own. [U4, L6] */
#include "modes.h"

#define ROUNDS 2000u
#define THREADS 3u
#define EACH 300u

static _Thread_local bool calling;
static unsigned refused;

static void in_callback(void)
{
    char name[16] = "";
    FILE *comm = fopen("/proc/thread-self/comm", "r");
    CHECK(comm && fgets(name, sizeof name, comm));
    fclose(comm);
    if (strncmp(name, "cdps-io-", 8) != 0)
        FAIL("a callback on thread %s", name);
    CHECK(!calling);
}

/* Sends `size` bytes; from threads of the program it may wait. */
static void send_one(cdps_port_t *port, size_t size, uint32_t timeout_ms)
{
    static const char zeros[16];
    cdps_iov_t piece = {zeros, size};
    cdps_send_opts_t opts = CDPS_SEND_OPTS_INIT;
    opts.timeout_ms = timeout_ms;
    calling = true;
    EXPECT(CDPS_OK, cdps_port_send(port, &piece, 1, &opts, NULL));
    calling = false;
}

/* What has one byte goes back and forth. */
static void when_received(struct end *end, const cdps_received_t *e)
{
    if (e->size == 1 && (end == &target || end->answers++ < ROUNDS))
        send_one(e->port, 1, 0);
}

static void when_completed(struct end *end, const cdps_complete_t *e)
{
    if (!e->context)
        return;
    EXPECT(CDPS_E_IN_CALLBACK, cdps_node_destroy_wait(end->node, CDPS_WAIT_FOREVER));
    EXPECT(CDPS_E_IN_CALLBACK, cdps_port_destroy_wait(end->port, CDPS_WAIT_FOREVER));
    EXPECT(CDPS_OK, cdps_node_destroy(end->node));
    check_add(&refused, 1);
}

static void when_final(struct end *end)
{
    CHECK(end->nacked == 0 || end == &target);
}

static void *sender(void *unused)
{
    (void)unused;
    for (unsigned i = 0; i < EACH; i++)
        send_one(source.port, 16, CDPS_WAIT_FOREVER);
    return NULL;
}

int main(void)
{
    pthread_t threads[THREADS];
    open_both("inline");
    REACH(source.connected, 1);
    send_one(source.port, 1, CDPS_WAIT_FOREVER);
    for (unsigned i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, sender, NULL) == 0);
    for (unsigned i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    REACH(source.received, ROUNDS + 1);
    REACH(source.completed, ROUNDS + 1 + THREADS * EACH);
    EXPECT(CDPS_E_WRONG_STATE, cdps_node_dispatch(source.node, 0, 0));
    /* The last one destroys its node where its completion is told. */
    cdps_send_opts_t opts = CDPS_SEND_OPTS_INIT;
    opts.context = &opts;
    EXPECT(CDPS_OK, cdps_port_send(source.port, NULL, 0, &opts, NULL));
    REACH(refused, 1);
    REACH(source.node_finals, 1);
    EXPECT(CDPS_OK, cdps_node_destroy_wait(target.node, CDPS_WAIT_FOREVER));
    CHECK(target.node_finals == 1);
    return 0;
}
