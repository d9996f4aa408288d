/* A program of one thread with a loop of its own: two nodes in its epoll, messages both ways, every callback where it dispatches. [U4, M6, L6] */
#include "modes.h"

#include <sys/epoll.h>

#define COUNT 3000u

static pthread_t only;
static int loop;
static bool dispatching, ending;
static const char memory[1000] = "borrowed";

static void in_callback(void)
{
    CHECK(dispatching && pthread_equal(only, pthread_self()));
}

static void when_received(struct end *end, const cdps_received_t *e)
{
    cdps_iov_t piece = {e->data, e->size};
    /* What the source sent is sent back. */
    if (end == &target && !ending) {
        EXPECT(CDPS_OK, cdps_port_send(e->port, &piece, 1, NULL, NULL));
        EXPECT(CDPS_E_IN_CALLBACK, cdps_node_dispatch(end->node, 0, 0));
    }
}

static void when_completed(struct end *end, const cdps_complete_t *e)
{
    (void)end;
    CHECK(e->rc == (int32_t)sizeof memory);
}

static void when_final(struct end *end)
{
    int32_t fd;
    EXPECT(CDPS_E_BAD_HANDLE, cdps_node_fd(end->node, &fd));
}

static int32_t dispatch(struct end *end, uint32_t max)
{
    dispatching = true;
    int32_t told = cdps_node_dispatch(end->node, max, 0);
    dispatching = false;
    return told;
}

static void watch(struct end *end)
{
    int32_t fd;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = end};
    EXPECT(CDPS_OK, cdps_node_fd(end->node, &fd));
    CHECK(epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event) == 0);
}

/* One turn of the loop: how many nodes had something. `wait_ms` 0: only looks. */
static int turn(int wait_ms)
{
    struct epoll_event events[2];
    int ready = epoll_wait(loop, events, 2, wait_ms);
    CHECK(ready >= 0);
    for (int i = 0; i < ready; i++)
        CHECK(dispatch(events[i].data.ptr, 100) >= 0);
    return ready;
}

static void turn_until(const unsigned *counter, unsigned value)
{
    while (*counter < value)
        if (turn(DEADLINE_S * 1000) == 0)
            FAIL("nothing happens: %u of %u", *counter, value);
}
#define TURN(counter, value) turn_until(&(counter), value)

/* Sends what there is room for. Told to wait for ever, which this thread must not do. */
static unsigned fill(unsigned left)
{
    cdps_send_opts_t opts = CDPS_SEND_OPTS_INIT;
    cdps_iov_t piece = {memory, sizeof memory};
    opts.flags = CDPS_SEND_BORROW;
    opts.timeout_ms = CDPS_WAIT_FOREVER;
    for (unsigned sent = 0; sent < left; sent++) {
        int32_t code = cdps_port_send(source.port, &piece, 1, &opts, NULL);
        if (code == CDPS_E_AGAIN)
            return sent;
        EXPECT(CDPS_OK, code);
    }
    return left;
}

int main(void)
{
    unsigned sent = 0, full = 0;
    only = pthread_self();
    loop = epoll_create1(EPOLL_CLOEXEC);
    CHECK(loop >= 0);
    open_both("dispatch");
    watch(&source);
    watch(&target);
    TURN(source.connected, 1);
    while (sent < COUNT) {
        sent += fill(COUNT - sent);
        full += sent < COUNT;
        TURN(source.completed, sent);
    }
    CHECK(full > 0);
    TURN(source.received, COUNT);
    TURN(source.released, COUNT);
    TURN(target.completed, COUNT);
    CHECK(target.received == COUNT && source.nacked + target.nacked == 0);
    /* Nothing left: not readable, and nothing told. Heartbeats are no events. */
    while (turn(50) > 0) {
    }
    EXPECT(0, dispatch(&source, 0));

    /* Destroyed with sends on their way: nothing is told until it is dispatched, then everything, and the end. */
    CHECK(fill(20) == 20);
    ending = true;
    EXPECT(CDPS_OK, cdps_node_destroy(source.node));
    EXPECT(CDPS_E_BAD_HANDLE, cdps_node_destroy(source.node));
    CHECK(source.port_finals == 0 && source.completed + source.nacked == COUNT);
    int32_t told;
    do {
        struct epoll_event events[2];
        CHECK(epoll_wait(loop, events, 2, DEADLINE_S * 1000) > 0);
        dispatch(&target, 0);
        told = dispatch(&source, 0);
    } while (told >= 0);
    EXPECT(CDPS_E_CLOSED, told);
    EXPECT(CDPS_E_BAD_HANDLE, dispatch(&source, 0));
    CHECK(source.node_finals == 1 && source.completed + source.nacked == COUNT + 20 && source.released == COUNT + 20);
    /* The other end: the call that waits dispatches. */
    dispatching = true;
    EXPECT(CDPS_OK, cdps_node_destroy_wait(target.node, CDPS_WAIT_FOREVER));
    dispatching = false;
    CHECK(target.node_finals == 1);
    CHECK(close(loop) == 0);
    return 0;
}
