/* A network path that can be cut: cdps-relay as a process of its own. */
#ifndef RELAY_H
#define RELAY_H

#include "check.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

struct relay {
    pid_t pid;
    FILE *orders, *answers;
    char address[64];
};

static inline void start_relay(struct relay *relay, const char *program, const char *to)
{
    int in[2], out[2];
    CHECK(pipe(in) == 0 && pipe(out) == 0);
    relay->pid = fork();
    CHECK(relay->pid >= 0);
    if (relay->pid == 0) {
        /* It does not outlive the test, whose output it holds open. */
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(in[0], STDIN_FILENO);
        dup2(out[1], STDOUT_FILENO);
        close(in[1]);
        execl(program, program, "--listen", "127.0.0.1:0", "--to", to, (char *)NULL);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    relay->orders = fdopen(in[1], "w");
    relay->answers = fdopen(out[0], "r");
    CHECK(relay->orders && relay->answers && fgets(relay->address, sizeof relay->address, relay->answers));
    relay->address[strcspn(relay->address, "\n")] = '\0';
}

static inline void order_relay(struct relay *relay, const char *order)
{
    char answer[16];
    fprintf(relay->orders, "%s\n", order);
    CHECK(fflush(relay->orders) == 0 && fgets(answer, sizeof answer, relay->answers));
}

static inline void stop_relay(struct relay *relay)
{
    if (!relay->pid)
        return;
    kill(relay->pid, SIGKILL);
    waitpid(relay->pid, NULL, 0);
    fclose(relay->orders);
    fclose(relay->answers);
    relay->pid = 0;
}

#endif
