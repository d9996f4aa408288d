/* Fig. 11: a target dies, and the user connects the same port to a backup and sends again there: when it has been told that everything has ended,
 * from another thread or inside that callback; `fig11 outside|inside RELAY`. [F2, F4, L1] */
#include "far.h"

static void connect_at_once(struct end *end, int32_t status)
{
    if (status != CDPS_CONN_DRAINED)
        return;
    tell("S: connect");
    EXPECT(CDPS_OK, cdps_port_connect(end->port, 3, NULL));
}

int main(int argc, char **argv)
{
    cdps_port_info_t before = CDPS_PORT_INFO_INIT, after = CDPS_PORT_INFO_INIT;
    be_target_if_asked(argc, argv);
    CHECK(argc == 3);
    bool inside = strcmp(argv[1], "inside") == 0;
    set_up_far(argv[2], "H", "false");
    connect_to(2, '2');
    EXPECT(CDPS_OK, cdps_port_info(source.port, &before));
    CHECK(before.peer == 2);

    /* While the link is up, going elsewhere is not a connect. */
    EXPECT(CDPS_E_WRONG_STATE, cdps_port_connect(source.port, 3, NULL));
    unsigned from = told;
    EXPECT(CDPS_OK, send_text(&source, "M1", 0));
    await_line(from, "S: complete M1, rc 2");
    EXPECT(CDPS_OK, send_text(&source, "H1", 0));
    EXPECT(CDPS_OK, send_text(&source, "H2", 0));
    await_line(from, "2: received H2");
    if (inside)
        source.then = connect_at_once;
    kill_target(&two);
    await_line(from, "S: drained");
    if (!inside) {
        EXPECT(CDPS_E_DOWN, cdps_port_send(source.port, NULL, 0, NULL, NULL));
        tell("S: connect");
        EXPECT(CDPS_OK, cdps_port_connect(source.port, 3, NULL));
    }
    await_line(from, "S: connected");
    EXPECT(CDPS_OK, cdps_port_info(source.port, &after));
    CHECK(after.state == CDPS_STATE_CONNECTED && after.link == CDPS_LINK_UP && after.peer == 3);
    CHECK(after.generation.counter > before.generation.counter && after.session.port == before.session.port);
    EXPECT(CDPS_OK, send_text(&source, "H1", 0));
    await_line(from, "S: complete H1, rc 3");
    EXPECT(CDPS_OK, send_text(&source, "H2", 0));
    await_line(from, "S: complete H2, rc 3");
    PART(from, 'S', "S: send M1", "S: complete M1, rc 2", "S: send H1", "S: send H2", "S: down", "S: nack H1, UNREACHABLE",
         "S: nack H2, UNREACHABLE", "S: drained", "S: connect", "S: connected", "S: send H1", "S: complete H1, rc 3", "S: send H2",
         "S: complete H2, rc 3");
    PART(from, '2', "2: received M1", "2: ack M1", "2: received H1", "2: received H2");
    /* For the backup they are messages like any others: sending again is the user's. */
    PART(from, '3', "3: connectreq from node 1", "3: connected", "3: received H1", "3: ack H1", "3: received H2", "3: ack H2");
    expect_order(from, "S: connect", "3: connectreq from node 1");
    expect_order(from, "3: connectreq from node 1", "S: connected");
    expect_order(from, "3: ack H2", "S: complete H2, rc 3");
    tear_down();
    return 0;
}
