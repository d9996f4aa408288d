/* Fig. 10: messages that time out, and the reset of the target that follows when it is reachable again; `fig10 RELAY`. [F2, F3] */
#include "figure.h"

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    set_up("sync", argv[1]);
    target.rc = 42;
    connect_source();
    unsigned from = told;
    /* The network between both ends fails: what is sent goes nowhere, and nobody says so. */
    ORDER("silence forth", "silence back");
    EXPECT(CDPS_OK, send_text(&source, "M1", 0));
    EXPECT(CDPS_OK, send_text(&source, "M2", 0));
    await_line(from, "S: drained");
    PART(from, 'S', "S: send M1", "S: send M2", "S: down", "S: nack M1, UNREACHABLE", "S: nack M2, UNREACHABLE", "S: drained");
    EXPECT(CDPS_E_DOWN, send_text(&source, "too early", 0));
    unsigned back = told;
    /* What was under way is lost; then the network is there again. */
    ORDER("reset", "flow forth", "flow back");
    await_line(back, "S: up again");
    await_line(back, "T: reset");
    EXPECT(CDPS_OK, send_text(&source, "M1", 0));
    EXPECT(CDPS_OK, send_text(&source, "M2", 0));
    await_line(back, "S: complete M2, rc 42");
    PART(back, 'S', "S: resolved 1, NOT_DELIVERED, rc 0", "S: resolved 2, NOT_DELIVERED, rc 0", "S: up again", "S: send M1",
         "S: send M2", "S: complete M1, rc 42", "S: complete M2, rc 42");
    PART(from, 'T', "T: reset", "T: received M1", "T: ack M1", "T: received M2", "T: ack M2");

    /* Fig. 7: a stopped port is reset by its user. */
    unsigned stop = told;
    tell("S: stop");
    EXPECT(CDPS_OK, cdps_port_stop(source.port, NULL));
    await_line(stop, "S: drained");
    expect_state(&source, CDPS_STATE_STOPPED);
    tell("S: reset");
    EXPECT(CDPS_OK, cdps_port_reset(source.port, NULL));
    await_line(stop, "S: up again");
    expect_state(&source, CDPS_STATE_CONNECTED);
    EXPECT(CDPS_E_WRONG_STATE, cdps_port_reset(source.port, NULL));
    EXPECT(CDPS_OK, send_text(&source, "M3", 0));
    await_line(stop, "S: complete M3, rc 42");
    PART(stop, 'S', "S: stop", "S: drained", "S: reset", "S: up again", "S: send M3", "S: complete M3, rc 42");
    tear_down();
    return 0;
}
