/* What a message may be given besides its bytes: a deadline, or that it is a barrier. And a program that was compiled before there were
 * deadlines. [M9, M10, M5] */
#include "figure.h"

#include <stddef.h>

static char m1[] = "M1", m2[] = "M2", m3[] = "M3", m4[] = "M4", m5[] = "M5";

static int32_t send_with(const char *text, cdps_send_opts_t opts)
{
    cdps_iov_t v = {text, strlen(text)};
    opts.context = (void *)text;
    tell("S: send %s", text);
    return cdps_port_send(source.port, &v, 1, &opts, NULL);
}

static int32_t send_within(const char *text, uint32_t ms)
{
    cdps_send_opts_t opts = CDPS_SEND_OPTS_INIT;
    opts.flags = CDPS_SEND_BORROW;
    opts.deadline_ms = ms;
    return send_with(text, opts);
}

/* What cannot begin to travel is given up, and its buffer comes back; what can goes, and so does its stream. */
static void deadlines(void)
{
    unsigned from = told;
    cdps_send_opts_t opts = CDPS_SEND_OPTS_INIT;
    EXPECT(CDPS_OK, cdps_port_suspend(source.port, NULL));
    EXPECT(CDPS_OK, send_text(&source, m1, CDPS_SEND_BORROW));
    EXPECT(CDPS_OK, send_within(m2, 20));
    EXPECT(CDPS_OK, send_within(m3, 3600 * 1000));
    await_line(from, "S: release M2");
    EXPECT(CDPS_OK, cdps_port_resume(source.port, NULL));
    await_line(from, "S: release M3");
    await_line(from, "T: received M3");
    expect_order(from, "S: nack M2, TIMEOUT", "S: release M2");
    expect_order(from, "S: release M2", "S: complete M1, rc 0");
    expect_order(from, "S: complete M1, rc 0", "S: complete M3, rc 0");
    PART(from, 'T', "T: received M1", "T: received M3");
    opts.reserved1 = 1;
    EXPECT(CDPS_E_INVALID, send_with(m4, opts));
}

/* Streams of their own, over two paths: what the barriers stand between comes on its side of them, whatever its size. */
static void barriers(void)
{
    static char texts[60][8], large[300000];
    unsigned from = told;
    for (unsigned i = 0; i < 60; i++) {
        cdps_send_opts_t opts = CDPS_SEND_OPTS_INIT;
        bool barrier = i % 6 == 5;
        snprintf(texts[i], sizeof texts[i], "%u", i);
        memcpy(large, texts[i], sizeof texts[i]);
        cdps_iov_t v = {large, i % 3 ? strlen(texts[i]) : sizeof large};
        opts.flags = CDPS_SEND_STREAM | (barrier ? CDPS_SEND_BARRIER : 0);
        opts.stream = i;
        opts.context = texts[i];
        EXPECT(CDPS_OK, cdps_port_send(source.port, &v, 1, &opts, NULL));
    }
    for (unsigned i = 0; i < 60; i++) {
        char line[LINE];
        snprintf(line, sizeof line, "T: received %u", i);
        await_line(from, line);
    }
    unsigned side = 0, seen = 0;
    for (unsigned at = from; at < told; at++) {
        unsigned number;
        if (sscanf(story[at], "T: received %u", &number) != 1)
            continue;
        CHECK(number / 6 == side && (number % 6 == 5) == (seen % 6 == 5));
        side = ++seen / 6;
    }
    CHECK(seen == 60);
}

/* The structure ended before the deadline: what lies behind it is not looked at. */
static void older_program(void)
{
    unsigned from = told;
    cdps_send_opts_t opts = CDPS_SEND_OPTS_INIT;
    memset(&opts.deadline_ms, 0xff, sizeof opts - offsetof(cdps_send_opts_t, deadline_ms));
    opts.struct_size = offsetof(cdps_send_opts_t, deadline_ms);
    EXPECT(CDPS_OK, send_with(m5, opts));
    await_line(from, "S: complete M5, rc 0");
    await_line(from, "T: received M5");
}

int main(void)
{
    set_up("async", NULL);
    connect_source();
    deadlines();
    barriers();
    older_program();
    tear_down();
    return 0;
}
