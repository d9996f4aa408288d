/* A planned switch between targets in processes of their own, under load: nothing is nacked, lost or repeated, and all of it is in order; a target
 * that refuses, and one that never gives back what it has, leave the port where it is. [F6, F11, L1] */
#include "far.h"

#include <stdatomic.h>

/* Messages at once: the oldest is waited for before more are sent. */
#define AHEAD 400

/* ---- a target: what it was sent, as a story of three lines for each session ---- */

static uint64_t next, last_at;
static cdps_msg_t *kept;

/* Node 4 keeps what it gets for ever. */
static void take(void *user, const cdps_received_t *e)
{
    uint64_t number;
    (void)user;
    CHECK(e->size >= sizeof number && !(e->flags & CDPS_RECEIVED_REDELIVERED));
    memcpy(&number, e->data, sizeof number);
    if (next == 0) {
        tell("%c: first is %" PRIu64, target.side, number);
        next = number;
    }
    CHECK(number == next);
    next++;
    if (target.side == '4' && !kept)
        kept = cdps_msg_retain(e->msg);
    EXPECT(CDPS_OK, cdps_port_ack(e->port, e->sn, (int32_t)(number % 1000)));
    last_at = nanoseconds();
}

static void end_of_session(void *user, const cdps_connstatus_t *e)
{
    char line[LINE];
    (void)user;
    if (e->status != CDPS_CONN_CLOSED)
        return;
    snprintf(line, sizeof line, "%c: last is %" PRIu64, target.side, next - 1);
    if (next)
        tell_at(last_at, line);
    tell("%c: closed", target.side);
    next = 0;
}

static int32_t decide(void *user, const cdps_connectreq_t *request, cdps_accept_t *accept)
{
    static cdps_port_callbacks_t table = CDPS_PORT_CALLBACKS_INIT;
    (void)user;
    tell("%c: connectreq from node %u", target.side, (unsigned)request->node);
    table.on_received = take;
    table.on_connstatus = end_of_session;
    table.on_final = on_port_final;
    accept->callbacks = &table;
    return target.side == '5' ? CDPS_CONNECT_REFUSE : CDPS_CONNECT_ACCEPT;
}

/* ---- the source ---- */

static atomic_bool enough;
static unsigned completed, switches, failures;
static uint32_t failed_reason;
static uint64_t sent;

static void complete(void *user, const cdps_complete_t *e)
{
    (void)user;
    CHECK((uint64_t)(uintptr_t)e->context == check_read(&completed) + 1 && e->rc == (int32_t)((uintptr_t)e->context % 1000));
    check_add(&completed, 1);
}

static void nack(void *user, const cdps_nack_t *e)
{
    (void)user;
    FAIL("%" PRIuPTR " was nacked: %s", (uintptr_t)e->context, e->text);
}

static void follow(void *user, const cdps_connstatus_t *e)
{
    CHECK(e->status != CDPS_CONN_DOWN && e->status != CDPS_CONN_SWITCHING);
    on_connstatus(user, e);
    if (e->status == CDPS_CONN_SWITCHED) {
        CHECK(e->decision && e->decision->trigger == CDPS_TRIGGER_ASKED && e->only_receipted == 0);
        check_add(&switches, 1);
    }
    if (e->status == CDPS_CONN_SWITCH_FAILED) {
        failed_reason = (uint32_t)e->reason;
        check_add(&failures, 1);
    }
}

/* Sends numbers on one stream, of sizes that travel whole and in pieces, until it is told that it is enough. */
static void *load(void *nothing)
{
    static char body[300000];
    while (!enough) {
        uint64_t number = ++sent;
        cdps_iov_t v[] = {{&number, sizeof number}, {body, number % 50 == 0 ? sizeof body : number % 3000}};
        cdps_send_opts_t opts = CDPS_SEND_OPTS_INIT;
        opts.flags = CDPS_SEND_STREAM;
        opts.context = (void *)(uintptr_t)number;
        EXPECT(CDPS_OK, cdps_port_send(source.port, v, 2, &opts, NULL));
        if (number > AHEAD)
            REACH(completed, (unsigned)number - AHEAD);
    }
    return nothing;
}

static void more(unsigned messages)
{
    REACH(completed, check_read(&completed) + messages);
}

static void go_to(uint32_t node)
{
    unsigned before = check_read(&switches);
    tell("S: switch to %u", (unsigned)node);
    EXPECT(CDPS_OK, cdps_port_switch(source.port, node, NULL));
    REACH(switches, before + 1);
}

static void stay(uint32_t node, int32_t reason)
{
    cdps_port_info_t before = CDPS_PORT_INFO_INIT, after = CDPS_PORT_INFO_INIT;
    unsigned earlier = check_read(&failures);
    EXPECT(CDPS_OK, cdps_port_info(source.port, &before));
    tell("S: switch to %u", (unsigned)node);
    EXPECT(CDPS_OK, cdps_port_switch(source.port, node, NULL));
    EXPECT(CDPS_E_WRONG_STATE, cdps_port_switch(source.port, node, NULL));
    REACH(failures, earlier + 1);
    EXPECT(CDPS_OK, cdps_port_info(source.port, &after));
    CHECK(failed_reason == (uint32_t)reason && memcmp(&before, &after, sizeof before) == 0);
}

/* The n-th line from `from` on that begins so: where it is, and the number at its end. */
static unsigned find(unsigned n, const char *start, uint64_t *number)
{
    for (unsigned at = 0;; at++) {
        check_reach(start, &told, at + 1);
        if (strncmp(story[at], start, strlen(start)) == 0 && n-- == 0) {
            if (number)
                *number = strtoull(story[at] + strlen(start), NULL, 10);
            return at;
        }
    }
}

/* Who got which numbers: without a hole, and nobody before the one before it was done. */
static void check_hand_over(const char *const *order)
{
    uint64_t expected = 1, done_at = 0, first, last;
    unsigned nth[8] = {0};
    for (; *order; order++) {
        char line[LINE];
        unsigned turn = nth[**order - '0']++;
        snprintf(line, sizeof line, "%c: first is ", **order);
        unsigned begins = find(turn, line, &first);
        snprintf(line, sizeof line, "%c: last is ", **order);
        unsigned ends = find(turn, line, &last);
        CHECK(first == expected && last >= first && told_at[begins] > done_at && told_at[ends] >= told_at[begins]);
        done_at = told_at[ends];
        expected = last + 1;
    }
    CHECK(expected == sent + 1);
}

int main(int argc, char **argv)
{
    static struct far_target targets[4];
    static const char *const ids[] = {"2", "3", "4", "5"};
    char list[600] = "";
    pthread_t loader;
    decides = decide;
    be_target_if_asked(argc, argv);
    for (size_t k = 0; k < 4; k++) {
        char item[160];
        start_target(&targets[k], ids[k], "-");
        snprintf(item, sizeof item, "%s%s=%s,%s", k ? ";" : "", ids[k], targets[k].address[0], targets[k].address[1]);
        strcat(list, item);
    }
    cdps_config_t *config = check_config("1", list);
    check_set(config, "port.switch_timeout_ms", "3000");
    port_callbacks.on_complete = complete;
    port_callbacks.on_nack = nack;
    port_callbacks.on_connstatus = follow;
    set_up_source(config, list);
    EXPECT(CDPS_OK, cdps_port_connect(source.port, 2, NULL));
    await_line(0, "S: connected");
    CHECK(pthread_create(&loader, NULL, load, NULL) == 0);
    more(3000);
    EXPECT(CDPS_E_INVALID, cdps_port_switch(source.port, 2, NULL));
    EXPECT(CDPS_E_INVALID, cdps_port_switch(source.port, 9, NULL));
    /* Refused: nothing has changed, and messages go on. */
    stay(5, CDPS_REASON_REFUSED);
    more(1000);
    /* There, and back, and there again. */
    go_to(3);
    more(3000);
    go_to(2);
    more(1000);
    go_to(4);
    more(1000);
    /* The user of node 4 never gives back its first message. */
    stay(2, CDPS_REASON_TIMEOUT);
    more(1000);
    enough = true;
    CHECK(pthread_join(loader, NULL) == 0);
    REACH(completed, (unsigned)sent);
    PART(0, 'S', "S: register", "S: initialize", "S: connected", "S: switch to 5", "S: switch to 5 failed, REFUSED", "S: switch to 3",
         "S: switched to 3, 0 only received", "S: switch to 2", "S: switched to 2, 0 only received", "S: switch to 4",
         "S: switched to 4, 0 only received", "S: switch to 2", "S: switch to 2 failed, TIMEOUT");
    expect_order(0, "S: switch to 5", "5: connectreq from node 1");
    expect_order(0, "S: switch to 3", "3: connectreq from node 1");
    expect_order(0, "3: connectreq from node 1", "S: switched to 3, 0 only received");
    tear_down();
    check_hand_over((const char *const[]){"2", "3", "2", "4", NULL});
    return 0;
}
