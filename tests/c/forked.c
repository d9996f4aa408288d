/* In a child made by fork() every call is refused and does nothing; what names and describes works. The parent goes on. [U5] */
#include "check.h"

#include <sys/wait.h>

static void on_final(void *user)
{
    (void)user;
}

static void child(cdps_node_t *node, cdps_port_t *port, cdps_config_t *config)
{
    cdps_error_t err = CDPS_ERROR_INIT;
    cdps_config_t *other;
    cdps_node_t *opened;
    uint32_t id;
    int32_t fd;
    EXPECT(CDPS_E_FORKED, cdps_node_id(node, &id));
    EXPECT(CDPS_E_FORKED, cdps_node_fd(node, &fd));
    EXPECT(CDPS_E_FORKED, cdps_node_dispatch(node, 0, CDPS_WAIT_FOREVER));
    EXPECT(CDPS_E_FORKED, cdps_port_send(port, NULL, 0, NULL, NULL));
    EXPECT_TEXT(CDPS_E_FORKED, "forked", cdps_port_initialize(port, &err));
    EXPECT_TEXT(CDPS_E_FORKED, "forked", cdps_node_open(config, NULL, NULL, &opened, &err));
    EXPECT(CDPS_E_FORKED, cdps_config_create(&other));
    EXPECT(CDPS_E_FORKED, cdps_port_destroy(port));
    EXPECT(CDPS_E_FORKED, cdps_node_destroy_wait(node, CDPS_WAIT_FOREVER));
    CHECK(strcmp(cdps_error_name(CDPS_E_FORKED), "CDPS_E_FORKED") == 0);
    CHECK(cdps_version_number() == CDPS_VERSION_NUMBER);
    _exit(0);
}

int main(void)
{
    cdps_config_t *config = check_config("1", "");
    cdps_node_t *node;
    cdps_port_t *port;
    cdps_port_callbacks_t table = CDPS_PORT_CALLBACKS_INIT;
    uint32_t id = 0;
    int status;
    table.on_final = on_final;
    check_set(config, "node.listen", "127.0.0.1:0");
    EXPECT(CDPS_OK, cdps_node_open(config, NULL, NULL, &node, NULL));
    EXPECT(CDPS_OK, cdps_port_create(node, config, &table, NULL, &port, NULL));
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0)
        child(node, port, config);
    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    EXPECT(CDPS_OK, cdps_node_id(node, &id));
    CHECK(id == 1);
    EXPECT(CDPS_OK, cdps_node_destroy_wait(node, CDPS_WAIT_FOREVER));
    EXPECT(CDPS_OK, cdps_config_destroy(config));
    return 0;
}
