/* Where log lines go: `logs callback` to a callback, `logs standard` to standard error, `logs quiet` nowhere. [U2] */
#include "check.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

struct seen {
    unsigned warnings, others;
};

static void on_log(void *user, const cdps_log_record_t *r)
{
    struct seen *seen = user;
    CHECK(r->struct_size == sizeof *r && r->node == 1 && r->reserved0 == 0);
    CHECK(r->level >= CDPS_LOG_ERROR && r->level <= CDPS_LOG_WARN);
    CHECK(!strchr(r->message, '\n'));
    bool stranger = strcmp(r->target, "accept") == 0 && strstr(r->message, "127.0.0.1:");
    check_add(stranger && r->level == CDPS_LOG_WARN ? &seen->warnings : &seen->others, 1);
}

/* Somebody who does not speak the protocol: is warned of. Returns when the node has hung up. */
static void stranger(cdps_node_t *node)
{
    char at[64], *colon, byte;
    size_t need;
    EXPECT(CDPS_OK, cdps_node_listening(node, 0, at, sizeof at, &need));
    CHECK((colon = strrchr(at, ':')));
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(colon + 1))};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int s = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(s >= 0 && connect(s, (struct sockaddr *)&to, sizeof to) == 0);
    static const char text[] = "GET / HTTP/1.1\r\nHost: elsewhere\r\nAccept: all the rest\r\n\r\n";
    CHECK(write(s, text, sizeof text - 1) == (ssize_t)(sizeof text - 1));
    while (read(s, &byte, 1) > 0) {}
    close(s);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    struct seen seen = {0, 0};
    cdps_node_callbacks_t table = CDPS_NODE_CALLBACKS_INIT;
    /* Nobody is at the other address: that is news, but no warning. */
    cdps_config_t *config = check_config("1", "9=127.0.0.1:1");
    cdps_node_t *node;
    bool callback = strcmp(argv[1], "callback") == 0;
    table.on_log = callback ? on_log : NULL;
    check_set(config, "node.listen", "127.0.0.1:0");
    if (strcmp(argv[1], "quiet") == 0)
        check_set(config, "log.level", "none");
    EXPECT(CDPS_OK, cdps_node_open(config, &table, &seen, &node, NULL));
    stranger(node);
    if (callback)
        REACH(seen.warnings, 1);
    EXPECT(CDPS_OK, cdps_node_destroy_wait(node, CDPS_WAIT_FOREVER));
    EXPECT(CDPS_OK, cdps_config_destroy(config));
    CHECK(check_read(&seen.others) == 0);
    return 0;
}
