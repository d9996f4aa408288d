/* Fig. 9: the flow of a synchronous message, and of the two other models; `fig09 sync|async|sent`. [A1, A2, A3, M5] */
#include "figure.h"

static char m1[] = "M1", m2[] = "M2";

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    bool sync = strcmp(argv[1], "sync") == 0;
    set_up(argv[1], NULL);
    target.rc = sync ? 42 : 0;
    connect_source();
    unsigned from = told;
    /* SUCCESS: accepted. What becomes of it is told later, with the user's return code; then the buffer is the user's again. */
    EXPECT(CDPS_OK, send_text(&source, m1, CDPS_SEND_BORROW));
    await_line(from, "S: release M1");
    await_line(from, sync ? "T: ack M1" : "T: received M1");
    unsigned second = told;
    EXPECT(CDPS_OK, send_text(&source, m2, CDPS_SEND_BORROW));
    await_line(second, "S: release M2");
    await_line(second, sync ? "T: ack M2" : "T: received M2");
    if (sync) {
        PART(from, 'S', "S: send M1", "S: complete M1, rc 42", "S: release M1", "S: send M2", "S: complete M2, rc 42",
             "S: release M2");
        PART(from, 'T', "T: received M1", "T: ack M1", "T: received M2", "T: ack M2");
        expect_order(from, "T: ack M1", "S: complete M1, rc 42");
    } else {
        /* Complete at the receipt, or at the hand-over to the transport: the target's user has no part in it. */
        PART(from, 'S', "S: send M1", "S: complete M1, rc 0", "S: release M1", "S: send M2", "S: complete M2, rc 0",
             "S: release M2");
        PART(from, 'T', "T: received M1", "T: received M2");
    }
    expect_order(from, "S: send M1", "T: received M1");

    /* Acknowledgments may come late, from another thread, and in any order (A1). */
    if (sync) {
        target.rc = -1;
        from = told;
        EXPECT(CDPS_OK, send_text(&source, "M3", 0));
        EXPECT(CDPS_OK, send_text(&source, "M4", 0));
        await_line(from, "T: received M4");
        PART(from, 'S', "S: send M3", "S: send M4");
        tell("T: ack M4");
        EXPECT(CDPS_OK, cdps_port_ack(target.port, 4, 4));
        await_line(from, "S: complete M4, rc 4");
        tell("T: ack M3");
        EXPECT(CDPS_OK, cdps_port_ack(target.port, 3, 3));
        await_line(from, "S: complete M3, rc 3");
        EXPECT(CDPS_E_NOT_OWED, cdps_port_ack(target.port, 3, 3));
        PART(from, 'S', "S: send M3", "S: send M4", "S: complete M4, rc 4", "S: complete M3, rc 3");
    }
    tear_down();
    return 0;
}
