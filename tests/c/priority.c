/* Contracts of streams: the target's user keeps all the bulk that it gets, until there is no credit for more; control goes through. [M11] */
#include "figure.h"

#define BULK 24
/* So much of it is within the window of 16 MiB: each costs 1 MiB and a little. */
#define WITHIN 15
#define SIZE (1024 * 1024)

enum { BULK_STREAM = 1, CONTROL = 7, ANSWERED = 8 };

static char bulk[BULK][SIZE], large[20000];
static cdps_msg_t *kept[BULK];
static unsigned kept_count;

/* Keeps what comes on the stream of bulk. */
static void keep_bulk(const struct end *end, const cdps_received_t *e)
{
    if (end->side != 'T' || e->stream != BULK_STREAM || kept_count >= WITHIN)
        return;
    kept[kept_count++] = cdps_msg_retain(e->msg);
}

static int32_t agree(uint32_t stream, int32_t ack, int32_t priority)
{
    cdps_stream_contract_t contract = CDPS_STREAM_CONTRACT_INIT;
    contract.ack = ack;
    contract.priority = priority;
    return cdps_port_set_stream(source.port, stream, &contract, NULL);
}

static void send_on(uint32_t stream, const char *text, size_t size)
{
    cdps_iov_t v = {text, size};
    cdps_send_opts_t opts = CDPS_SEND_OPTS_INIT;
    opts.flags = CDPS_SEND_STREAM;
    opts.stream = stream;
    opts.context = (void *)text;
    EXPECT(CDPS_OK, cdps_port_send(source.port, &v, 1, &opts, NULL));
}

static void refusals(void)
{
    cdps_stream_contract_t contract = CDPS_STREAM_CONTRACT_INIT;
    cdps_error_t err = CDPS_ERROR_INIT;
    EXPECT(CDPS_E_INVALID, cdps_port_set_stream(source.port, CONTROL, NULL, NULL));
    EXPECT(CDPS_E_BAD_HANDLE, cdps_port_set_stream(NULL, CONTROL, &contract, NULL));
    EXPECT(CDPS_E_UNSUPPORTED, agree(CONTROL, CDPS_ACK_DEFAULT, 2));
    EXPECT(CDPS_E_UNSUPPORTED, agree(CONTROL, 9, CDPS_PRIORITY_NORMAL));
    contract.flags = 1;
    EXPECT(CDPS_E_UNSUPPORTED, cdps_port_set_stream(source.port, CONTROL, &contract, NULL));
    contract.flags = 0;
    EXPECT(CDPS_E_INVALID, cdps_port_set_stream(source.port, 0x80000000u, &contract, &err));
    CHECK(strstr(err.message, "2147483648"));
    contract.struct_size = 4;
    EXPECT(CDPS_E_INVALID, cdps_port_set_stream(source.port, CONTROL, &contract, NULL));
}

static unsigned bulk_received(unsigned from)
{
    unsigned count = 0;
    for (unsigned at = from; at < told; at++)
        count += strncmp(story[at], "T: received B", 13) == 0;
    return count;
}

/* A thread whose own stream is of high priority. */
static void *own_stream(void *unused)
{
    static char text[] = "own";
    EXPECT(CDPS_OK, agree(CDPS_STREAM_OWN, CDPS_ACK_DEFAULT, CDPS_PRIORITY_HIGH));
    EXPECT(CDPS_OK, send_text(&source, text, 0));
    EXPECT(CDPS_E_WRONG_STATE, agree(CDPS_STREAM_OWN, CDPS_ACK_DEFAULT, CDPS_PRIORITY_NORMAL));
    return unused;
}

int main(void)
{
    static char c1[] = "C1", c2[] = "C2";
    char line[LINE];
    pthread_t thread;
    set_up("async", NULL);
    look_at = keep_bulk;
    refusals();
    EXPECT(CDPS_OK, agree(CONTROL, CDPS_ACK_DEFAULT, CDPS_PRIORITY_HIGH));
    unsigned from = connect_source();
    EXPECT(CDPS_OK, agree(ANSWERED, CDPS_ACK_SYNC, CDPS_PRIORITY_HIGH));
    for (unsigned i = 0; i < BULK; i++) {
        snprintf(bulk[i], sizeof bulk[i], "B%u", i + 1);
        send_on(BULK_STREAM, bulk[i], SIZE);
    }
    snprintf(line, sizeof line, "T: received B%u", WITHIN);
    await_line(from, line);
    /* There is no credit for more bulk, and none comes back. */
    send_on(CONTROL, c1, sizeof c1 - 1);
    await_line(from, "S: complete C1, rc 0");
    snprintf(large, sizeof large, "L");
    send_on(CONTROL, large, sizeof large);
    await_line(from, "S: complete L, rc 0");
    send_on(ANSWERED, c2, sizeof c2 - 1);
    await_line(from, "S: complete C2, rc 0");
    expect_order(from, "T: ack C2", "S: complete C2, rc 0");
    EXPECT(0, pthread_create(&thread, NULL, own_stream, NULL));
    EXPECT(0, pthread_join(thread, NULL));
    await_line(from, "S: complete own, rc 0");
    CHECK(bulk_received(from) == WITHIN && kept_count == WITHIN);
    EXPECT(CDPS_E_WRONG_STATE, agree(CONTROL, CDPS_ACK_DEFAULT, CDPS_PRIORITY_NORMAL));
    for (unsigned i = 0; i < WITHIN; i++)
        cdps_msg_release(kept[i]);
    snprintf(line, sizeof line, "T: received B%u", BULK);
    await_line(from, line);
    CHECK(bulk_received(from) == BULK);
    tear_down();
    return 0;
}
