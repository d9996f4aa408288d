/* cdps-relay before an address, for those who can be told to go through it: a path with a rate and a delay. */
#ifndef RELAY_H
#define RELAY_H

#include "bench.h"

#define RELAY_BUFFER (256ul << 10)

/* Puts a relay before an address: --relay PROGRAM,BYTES PER SECOND,MS. It ends with this process, which holds its standard input. */
static inline void through_relay(const struct options *o, char *address, size_t room) {
    char program[512];
    unsigned long rate;
    unsigned delay;
    if (sscanf(o->relay, "%511[^,],%lu,%u", program, &rate, &delay) != 3) usage("--relay PROGRAM,BYTES PER SECOND,MS");
    int in[2], out[2];
    if (pipe2(in, 0) || pipe2(out, 0)) die("pipe");
    pid_t child = fork();
    if (child < 0) die("fork");
    if (child == 0) {
        char rates[32], delays[32], buffers[32];
        /* Half of it has to hold what is under way. */
        unsigned long buffer = 4 * rate / 1000 * delay;
        snprintf(rates, sizeof rates, "%lu", rate);
        snprintf(delays, sizeof delays, "%u", delay);
        snprintf(buffers, sizeof buffers, "%lu", buffer > RELAY_BUFFER ? buffer : RELAY_BUFFER);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(in[0], 0), dup2(out[1], 1);
        execl(program, program, "--listen", "127.0.0.1:0", "--to", address, "--rate", rates, "--delay", delays, "--buffer", buffers,
              (char *)NULL);
        die(program);
    }
    close(in[0]), close(out[1]);
    FILE *said = fdopen(out[0], "r");
    if (!said || !fgets(address, (int)room, said)) die("the relay");
    address[strcspn(address, "\n")] = 0;
}

#endif
