/* A program that changes buffers which it has lent, before it has them back; `changed RELAY`. Nothing changed is delivered; the message is nacked, its
 * stream goes on, no path is blamed, and nothing stays behind at either end. [M8, M5] */
#include "figure.h"

#define SMALL 1000
#define MIDDLE 100000
#define LARGE 6000000
/* As long as a message may be, and by its cost longer than the window: it goes only when everything has been given back. */
#define HUGE_ONE (16u << 20)

/* The bytes of a message follow from its name and length. */
static uint8_t byte_of(const char *name, size_t size, size_t at)
{
    size_t length = strlen(name) + 1;
    return at < length ? (uint8_t)name[at] : (uint8_t)(at * 7 + size + (at >> 12));
}

static void took(void *user, const cdps_received_t *e)
{
    const uint8_t *data = e->data;
    struct end *end = user;
    CHECK(e->size > 16 && memchr(data, '\0', 16));
    for (size_t at = 0; at < e->size; at++)
        if (data[at] != byte_of(e->data, e->size, at))
            FAIL("%s came with byte %zu changed", (const char *)e->data, at);
    tell("%c: received %s", end->side, (const char *)e->data);
}

static void on_end(void *user, const cdps_nack_t *e)
{
    const char *how = e->certainty == CDPS_CERTAINTY_NOT_SENT ? "not sent" : "unknown";
    tell("%c: nack %s, %s, %s", ((struct end *)user)->side, (const char *)e->context, cdps_reason_name(e->reason), how);
}

/* How often the source has held a path to be bad, how often to be dead, and how often one came back from that. */
static unsigned blamed, deaths, returns;

static void on_health(void *user, const cdps_path_t *e)
{
    static bool dead[2];
    CHECK(e->path < 2);
    if (user == &source && e->health == CDPS_HEALTH_GOOD && dead[e->path])
        check_add(&returns, 1);
    if (user == &source && e->health != CDPS_HEALTH_GOOD)
        check_add(&blamed, 1);
    if (user == &source && e->health == CDPS_HEALTH_DEAD)
        check_add(&deaths, 1);
    if (user == &source)
        dead[e->path] = e->health == CDPS_HEALTH_DEAD || (dead[e->path] && e->health != CDPS_HEALTH_GOOD);
    on_path(user, e);
}

/* Lends a message, or has it copied. */
static uint8_t *give(const char *name, size_t size, uint32_t stream, uint32_t flags)
{
    uint8_t *bytes = malloc(size);
    cdps_send_opts_t opts = CDPS_SEND_OPTS_INIT;
    CHECK(bytes);
    for (size_t at = 0; at < size; at++)
        bytes[at] = byte_of(name, size, at);
    /* In two pieces, neither of which is as long as a fragment. */
    cdps_iov_t v[] = {{bytes, size / 3}, {bytes + size / 3, size - size / 3}};
    opts.flags = flags | CDPS_SEND_STREAM;
    opts.stream = stream;
    opts.context = (void *)name;
    EXPECT(CDPS_OK, cdps_port_send(source.port, v, 2, &opts, NULL));
    return bytes;
}

static void change(uint8_t *bytes, size_t size)
{
    for (size_t at = size - 1; at > 4096; at -= 4096)
        bytes[at] ^= 1;
    bytes[size / 2] ^= 1;
}

/* More than passes unnoticed through a relay, and less than may be on its way on a path. */
#define MUCH 200000

/* Waits until the second path has much on its way, or nothing any more. */
static void await_flight(bool much)
{
    for (unsigned ms = 0;; ms++) {
        cdps_path_stats_t second = CDPS_PATH_STATS_INIT;
        EXPECT(CDPS_OK, cdps_port_path_stats(source.port, 1, &second));
        if (much ? second.in_flight > MUCH : second.in_flight == 0)
            return;
        CHECK(ms < DEADLINE_S * 1000);
        usleep(1000);
    }
}

/* Lends a message of which a part is stuck on the second path, and the rest goes over the first one. */
static uint8_t *give_stuck(const char *name)
{
    await_flight(false);
    ORDER("silence forth");
    uint8_t *bytes = give(name, LARGE, 5, CDPS_SEND_BORROW);
    await_flight(true);
    order_relay(&relays[0], "flow forth");
    return bytes;
}

/* What the test does between two moments takes less than this on any machine. */
static void be_patient(cdps_config_t *config)
{
    check_set(config, "liveness.heartbeat_ms", "1000");
    check_set(config, "liveness.suspect_ms", "8000");
    check_set(config, "liveness.lease_ms", "8500");
    check_set(config, "liveness.dead_ms", "9000");
    check_set(config, "liveness.handshake_timeout_ms", "9000");
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    port_callbacks.on_received = took;
    port_callbacks.on_nack = on_end;
    port_callbacks.on_path = on_health;
    tunes = be_patient;
    set_up("async", argv[1]);
    connect_source();
    REACH(good_paths, 4);

    /* Before anything of it has travelled. A short one has been copied. */
    unsigned from = told;
    EXPECT(CDPS_OK, cdps_port_suspend(source.port, NULL));
    uint8_t *first = give("first", MIDDLE, 5, CDPS_SEND_BORROW), *small = give("small", SMALL, 5, CDPS_SEND_BORROW);
    uint8_t *later = give("later", MIDDLE, 5, CDPS_SEND_BORROW);
    change(first, MIDDLE);
    change(small, SMALL);
    EXPECT(CDPS_OK, cdps_port_resume(source.port, NULL));
    await_line(from, "S: release later");
    PART(from, 'T', "T: received small", "T: received later");
    expect_order(from, "S: nack first, BUFFER_CHANGED, not sent", "S: release first");
    expect_order(from, "S: complete small, rc 0", "S: complete later, rc 0");
    CHECK(check_read(&blamed) == 0);

    /* All of it has arrived, and nobody has said so, when its connections are lost: it would have to go again. */
    from = told;
    ORDER("silence back");
    uint8_t *there = give("there", MIDDLE, 5, CDPS_SEND_BORROW);
    await_line(from, "T: received there");
    change(there, MIDDLE);
    ORDER("reset", "flow back");
    await_line(from, "S: release there");
    PART(from, 'T', "T: received there");
    expect_order(from, "S: nack there, BUFFER_CHANGED, unknown", "S: release there");

    /* A part of it is stuck in a full socket: it goes out as it was, when it can. */
    REACH(returns, 2);
    from = told;
    uint8_t *stuck = give_stuck("stuck"), *over = give("over", SMALL, 6, 0);
    /* It is handed out only when all of the one before it has been. */
    await_line(from, "T: received over");
    change(stuck, LARGE);
    order_relay(&relays[1], "flow forth");
    await_line(from, "S: release stuck");
    PART(from, 'T', "T: received over", "T: received stuck");
    expect_order(from, "S: complete stuck, rc 0", "S: release stuck");
    CHECK(check_read(&deaths) == 2);

    /* A part of it is stuck on a path, while the rest has arrived on the other one: when the path is lost that part would have to go again. */
    from = told;
    uint8_t *half = give_stuck("half"), *behind = give("behind", SMALL, 6, 0);
    await_line(from, "T: received behind");
    change(half, LARGE);
    order_relay(&relays[1], "reset");
    order_relay(&relays[1], "flow forth");
    await_line(from, "S: release half");
    expect_order(from, "S: nack half, BUFFER_CHANGED, unknown", "S: release half");

    /* The stream goes on, and no credit is missing. */
    uint8_t *huge = give("huge", HUGE_ONE, 5, 0);
    await_line(from, "S: complete huge, rc 0");
    PART(from, 'T', "T: received behind", "T: received huge");
    /* The paths were lost by what was done to them, and by nothing else. */
    CHECK(check_read(&deaths) == 3);
    expect_state(&source, CDPS_STATE_CONNECTED);
    tear_down();
    uint8_t *all[] = {first, small, later, there, stuck, over, half, behind, huge};
    for (size_t k = 0; k < sizeof all / sizeof *all; k++)
        free(all[k]);
    return 0;
}
