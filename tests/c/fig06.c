/* Fig. 6: register on both sides, negotiate, connect, send and acknowledge, stop, close; and a target that closes by itself. [L1, L3, L5] */
#include "figure.h"

int main(void)
{
    set_up("sync", NULL);
    connect_source();
    expect_state(&source, CDPS_STATE_CONNECTED);
    expect_state(&target, CDPS_STATE_CONNECTEDTO);
    PART(0, 'S', "S: register", "S: initialize", "S: connect", "S: connected");
    PART(0, 'T', "T: register", "T: connectreq from node 1", "T: connected");
    expect_order(0, "S: connect", "T: connectreq from node 1");
    expect_order(0, "T: connectreq from node 1", "S: connected");

    unsigned from = told;
    EXPECT(CDPS_OK, send_text(&source, "M1", 0));
    await_line(from, "S: complete M1, rc 0");
    EXPECT(CDPS_OK, send_text(&source, "M2", 0));
    await_line(from, "S: complete M2, rc 0");
    PART(from, 'S', "S: send M1", "S: complete M1, rc 0", "S: send M2", "S: complete M2, rc 0");
    PART(from, 'T', "T: received M1", "T: ack M1", "T: received M2", "T: ack M2");
    expect_order(from, "S: send M1", "T: received M1");
    expect_order(from, "T: ack M1", "S: complete M1, rc 0");

    /* Stop halts the source; session and paths stay, and the port still receives. */
    from = told;
    tell("S: stop");
    EXPECT(CDPS_OK, cdps_port_stop(source.port, NULL));
    await_line(from, "S: drained");
    expect_state(&source, CDPS_STATE_STOPPED);
    EXPECT(CDPS_E_WRONG_STATE, send_text(&source, "M3", 0));
    EXPECT(CDPS_OK, send_text(&target, "news", 0));
    await_line(from, "T: complete news, rc 0");
    PART(from, 'S', "S: stop", "S: drained", "S: send M3", "S: received news", "S: ack news");
    PART(from, 'T', "T: send news", "T: complete news, rc 0");

    /* Close ends the session, and the target is told. */
    from = told;
    tell("S: close");
    EXPECT(CDPS_OK, cdps_port_close(source.port, CDPS_CLOSE_DRAIN, NULL));
    await_line(from, "S: closed");
    await_line(from, "T: closed");
    expect_state(&source, CDPS_STATE_INITIALIZED);
    expect_state(&target, CDPS_STATE_REGISTERED);
    expect_order(from, "S: close", "T: closed");

    /* A target may close by itself. */
    EXPECT(CDPS_OK, cdps_port_destroy(target.port));
    connect_source();
    from = told;
    tell("T: close");
    EXPECT(CDPS_OK, cdps_port_close(target.port, CDPS_CLOSE_DRAIN, NULL));
    await_line(from, "T: closed");
    await_line(from, "S: closed");
    expect_state(&source, CDPS_STATE_INITIALIZED);
    expect_order(from, "T: close", "S: closed");
    tear_down();
    return 0;
}
