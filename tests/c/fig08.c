/* Fig. 8: a path that is lost is hidden from both users; a target that dies is replaced by the port itself, which sends again what the dead one
 * had not finished; `fig08 RELAY`. [T2, F5, L1] */
#include "far.h"

/* Inside the callback that says so: a send is queued while the port is on its way. */
static void send_on_the_way(struct end *end, int32_t status)
{
    if (status == CDPS_CONN_SWITCHING)
        EXPECT(CDPS_OK, send_text(end, "M4", 0));
}

int main(int argc, char **argv)
{
    be_target_if_asked(argc, argv);
    CHECK(argc == 2);
    set_up_far(argv[1], "H", "true");
    connect_to(0, '2');
    PART(0, 'S', "S: register", "S: initialize", "S: connect", "S: connected");
    PART(0, '2', "2: register", "2: connectreq from node 1", "2: connected");

    /* One of two paths goes silent with something on it: the user of either end sees a message like any other. */
    REACH(good_paths, 2);
    unsigned from = told;
    order_relay(&relays[0], "silence forth");
    order_relay(&relays[0], "silence back");
    EXPECT(CDPS_OK, send_text(&source, "M1", 0));
    await_line(from, "S: complete M1, rc 2");
    EXPECT(CDPS_OK, send_text(&source, "M2", 0));
    await_line(from, "S: complete M2, rc 2");
    REACH(dead_paths, 1);
    EXPECT(CDPS_OK, send_text(&source, "M3", 0));
    await_line(from, "S: complete M3, rc 2");
    PART(from, 'S', "S: send M1", "S: complete M1, rc 2", "S: send M2", "S: complete M2, rc 2", "S: send M3", "S: complete M3, rc 2");
    PART(from, '2', "2: received M1", "2: ack M1", "2: received M2", "2: ack M2", "2: received M3", "2: ack M3");

    /* The target dies with two messages that its user holds, and one that only its port had to have. */
    from = told;
    cdps_iov_t v = {"A1", 2};
    cdps_send_opts_t opts = CDPS_SEND_OPTS_INIT;
    opts.ack = CDPS_ACK_ASYNC;
    opts.context = "A1";
    EXPECT(CDPS_OK, cdps_port_send(source.port, &v, 1, &opts, NULL));
    await_line(from, "S: complete A1, rc 0");
    EXPECT(CDPS_OK, send_text(&source, "H1", 0));
    EXPECT(CDPS_OK, send_text(&source, "H2", 0));
    await_line(from, "2: received H2");
    source.then = send_on_the_way;
    kill_target(&two);
    await_line(from, "S: complete M4, rc 3");
    PART(from, 'S', "S: complete A1, rc 0", "S: send H1", "S: send H2", "S: switching", "S: send M4",
         "S: switched to 3, 1 only received", "S: complete H1, rc 3", "S: complete H2, rc 3", "S: complete M4, rc 3");
    PART(from, '2', "2: received A1", "2: received H1", "2: received H2");
    PART(from, '3', "3: connectreq from node 1", "3: connected", "3: received H1 again", "3: ack H1", "3: received H2 again",
         "3: ack H2", "3: received M4", "3: ack M4");
    expect_order(from, "S: switching", "3: connectreq from node 1");
    expect_order(from, "3: connectreq from node 1", "S: switched to 3, 1 only received");
    expect_order(from, "3: ack H1", "S: complete H1, rc 3");
    expect_state(&source, CDPS_STATE_CONNECTED);
    tear_down();
    return 0;
}
