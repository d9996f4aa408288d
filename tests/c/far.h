/* Targets in processes of their own, which can be killed: the test runs itself again, and what happens there is told in the one story, with
 * its time. A target's side is its id. */
#ifndef FAR_H
#define FAR_H

#include "figure.h"

struct far_target {
    pid_t pid;
    FILE *said;
    pthread_t reader;
    /* Its two addresses. */
    char address[2][64];
};

static struct far_target two, three;

static void *read_story(void *argument)
{
    struct far_target *target = argument;
    char line[LINE + 32];
    while (fgets(line, sizeof line, target->said)) {
        uint64_t when;
        int text = 0;
        line[strcspn(line, "\n")] = '\0';
        CHECK(sscanf(line, "%" SCNu64 " %n", &when, &text) == 1 && text > 0);
        tell_at(when, line + text);
    }
    return NULL;
}

/* The other process: serves until it is killed. Acknowledges with its id as the return code what does not begin with `holds`. */
static inline void be_target(const char *id, const char *holds)
{
    char address[64];
    cdps_node_t *node;
    cdps_config_t *config = check_config(id, "1");
    far = true;
    target.side = id[0];
    target.rc = atoi(id);
    target.holds = holds[0];
    check_set(config, "node.listen", "127.0.0.1:0,127.0.0.2:0");
    EXPECT(CDPS_OK, cdps_node_open(config, NULL, NULL, &node, NULL));
    for (size_t i = 0; i < 2; i++) {
        EXPECT(CDPS_OK, cdps_node_listening(node, i, address, sizeof address, NULL));
        printf("%s\n", address);
    }
    fflush(stdout);
    serve_disk(node);
    for (;;)
        pause();
}

/* First thing in main. */
static inline void be_target_if_asked(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "target") == 0)
        be_target(argv[2], argv[3]);
}

static inline void start_target(struct far_target *target, const char *id, const char *holds)
{
    int out[2];
    CHECK(pipe(out) == 0);
    target->pid = fork();
    CHECK(target->pid >= 0);
    if (target->pid == 0) {
        /* It does not outlive the test, whose output it holds open. */
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(out[1], STDOUT_FILENO);
        for (int fd = 3; fd < 64; fd++)
            close(fd);
        execl("/proc/self/exe", "target", "target", id, holds, (char *)NULL);
        _exit(127);
    }
    close(out[1]);
    target->said = fdopen(out[0], "r");
    CHECK(target->said);
    for (size_t i = 0; i < 2; i++) {
        CHECK(fgets(target->address[i], sizeof target->address[i], target->said));
        target->address[i][strcspn(target->address[i], "\n")] = '\0';
    }
    CHECK(pthread_create(&target->reader, NULL, read_story, target) == 0);
}

/* As a machine dies: nobody is told. All that it said is in the story when this returns. */
static inline void kill_target(struct far_target *target)
{
    CHECK(kill(target->pid, SIGKILL) == 0 && waitpid(target->pid, NULL, 0) == target->pid);
    CHECK(pthread_join(target->reader, NULL) == 0);
    fclose(target->said);
}

/* Targets 2, through two relays, and 3; and a source port for both in state INITIALIZED. 2 does not acknowledge what begins with `holds`. */
static inline void set_up_far(const char *relay, const char *holds, const char *autoswitch)
{
    char targets[320];
    start_target(&two, "2", holds);
    start_target(&three, "3", "-");
    for (size_t i = 0; i < 2; i++)
        start_relay(&relays[i], relay, two.address[i]);
    snprintf(targets, sizeof targets, "2=%s,%s;3=%s,%s", relays[0].address, relays[1].address, three.address[0], three.address[1]);
    cdps_config_t *config = check_config("1", targets);
    check_set(config, "port.autoswitch", autoswitch);
    set_up_source(config, targets);
}

#endif
