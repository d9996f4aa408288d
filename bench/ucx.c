/* UCX over TCP: active messages, both ends spinning in ucp_worker_progress(), as its users do.
 *
 * At most a window is handed over and not done with. Messages may arrive in another order where UCX fetches large ones; the last one's
 * number says how many there are.
 */
#include "drive.h"

#include <ucp/api/ucp.h>

#define MAX_ADDRESS 4096

static struct options options;
static ucp_worker_h worker;
static ucp_ep_h peer;
static uint64_t numbered, under_way, arrived, expected;
static int answered; /* kind of the answer that came */
static char *fetched; /* where large messages come to lie, in turn */

static void check(ucs_status_t status, const char *what) {
    if (status != UCS_OK) {
        fprintf(stderr, "%s: %s\n", what, ucs_status_string(status));
        exit(1);
    }
}

static void sent(void *request, ucs_status_t status, void *user) {
    (void)user;
    check(status, "ucp_am_send_nbx");
    under_way--;
    ucp_request_free(request);
}

static void peer_send(const char *message, size_t size) {
    static uint64_t header; /* copied by the call */
    ucp_request_param_t how = {.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK, .cb.send = sent};
    while (under_way * size > WINDOW) ucp_worker_progress(worker);
    header = ++numbered;
    ucs_status_ptr_t request = ucp_am_send_nbx(peer, 0, &header, sizeof header, message, size, &how);
    if (UCS_PTR_IS_ERR(request)) check(UCS_PTR_STATUS(request), "ucp_am_send_nbx");
    if (request) under_way++;
}

static uint64_t peer_await(void) {
    while (!answered) ucp_worker_progress(worker);
    answered = 0;
    return now_ns();
}

static void deliver(const char *data, uint64_t number) {
    if (arrived++ == 0) receiver_begins();
    if (data[0] == END) expected = number;
    if (data[0] != PLAIN_MESSAGE) answered = data[0];
}

static void fetched_whole(void *request, ucs_status_t status, size_t length, void *data) {
    (void)length;
    check(status, "ucp_am_recv_data_nbx");
    deliver((char *)data + 8, *(uint64_t *)data);
    ucp_request_free(request);
}

static ucs_status_t on_message(void *user, const void *header, size_t header_length, void *data, size_t length,
                               const ucp_am_recv_param_t *how) {
    static size_t turn;
    (void)user, (void)header_length;
    if (!(how->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV)) {
        deliver(data, *(const uint64_t *)header);
        return UCS_OK;
    }
    size_t slots = WINDOW / options.size + 2, slot = options.size + 8;
    char *to = fetched + turn++ % slots * slot;
    memcpy(to, header, 8);
    ucp_request_param_t receive = {.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA | UCP_OP_ATTR_FLAG_NO_IMM_CMPL,
                                   .cb.recv_am = fetched_whole,
                                   .user_data = to};
    ucs_status_ptr_t request = ucp_am_recv_data_nbx(worker, data, to + 8, length, &receive);
    if (UCS_PTR_IS_ERR(request)) check(UCS_PTR_STATUS(request), "ucp_am_recv_data_nbx");
    return UCS_INPROGRESS;
}

static void open_worker(void) {
    ucp_config_t *config;
    ucp_context_h context;
    check(ucp_config_read(NULL, NULL, &config), "ucp_config_read");
    check(ucp_config_modify(config, "TLS", "tcp"), "UCX_TLS");
    check(ucp_config_modify(config, "NET_DEVICES", "lo"), "UCX_NET_DEVICES");
    ucp_params_t params = {.field_mask = UCP_PARAM_FIELD_FEATURES, .features = UCP_FEATURE_AM};
    check(ucp_init(&params, config, &context), "ucp_init");
    ucp_config_release(config);
    ucp_worker_params_t single = {.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE, .thread_mode = UCS_THREAD_MODE_SINGLE};
    check(ucp_worker_create(context, &single, &worker), "ucp_worker_create");
    ucp_am_handler_param_t handler = {.field_mask = UCP_AM_HANDLER_PARAM_FIELD_ID | UCP_AM_HANDLER_PARAM_FIELD_CB, .id = 0, .cb = on_message};
    check(ucp_worker_set_am_recv_handler(worker, &handler), "ucp_worker_set_am_recv_handler");
}

/* Each end says where it is. */
static void connect_both(void) {
    ucp_address_t *mine;
    size_t length;
    char record[MAX_ADDRESS] = {0}, its[MAX_ADDRESS];
    check(ucp_worker_get_address(worker, &mine, &length), "ucp_worker_get_address");
    if (length > sizeof record) die("the address");
    memcpy(record, mine, length);
    tell(record, sizeof record);
    hear(its, sizeof its);
    ucp_ep_params_t to = {.field_mask = UCP_EP_PARAM_FIELD_REMOTE_ADDRESS, .address = (ucp_address_t *)its};
    check(ucp_ep_create(worker, &to, &peer), "ucp_ep_create");
}

static void receive(void) {
    const char *answer = message_of(&options, ANSWER);
    for (int ended = 0; !ended;) {
        while (!answered) ucp_worker_progress(worker);
        ended = answered == END;
        answered = 0;
        while (ended && arrived < expected) ucp_worker_progress(worker);
        peer_send(answer, options.size);
    }
    receiver_ends();
    /* The answer is on its way as long as the sender is there. */
    char end;
    while (recv(other_end, &end, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN) ucp_worker_progress(worker);
}

int main(int argc, char **argv) {
    options = parse(argc, argv, "");
    if (options.paths > 1) usage("one path");
    pid_t receiver = fork_receiver(&options);
    fetched = must_alloc((WINDOW / options.size + 2) * (options.size + 8));
    open_worker();
    connect_both();
    if (receiver == 0) {
        receive();
        _exit(0);
    }
    struct figures f = {0};
    drive(&options, &f, drive_round_trips);
    return report(&options, &f, receiver);
}
