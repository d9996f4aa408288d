/* What the bench programs share: options, clock, figures, and one JSON line on standard output.
 *
 * Each program is one peer. It forks: the parent sends, the child receives. Time runs from the first send until the
 * sender knows that the last message was received.
 */
#ifndef BENCH_H
#define BENCH_H

#include <errno.h>
#include <getopt.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WINDOW (8u << 20) /* bytes that may be unacknowledged, in every program */
#define MAX_SOCKETS 64
#define MAX_ROUNDS 200000 /* round trips that are kept */

struct options {
    size_t size;        /* bytes of a message */
    unsigned sockets;   /* connections, or paths */
    double seconds;     /* how long the sender keeps sending */
    int pingpong;       /* round trips instead of streaming */
    const char *cc;     /* congestion control; NULL: the system's */
    const char *mode;   /* callbacks.mode of CDPS; NULL: its default */
};

static inline void die(const char *what) {
    fprintf(stderr, "%s: %s\n", what, errno ? strerror(errno) : "failed");
    exit(1);
}

static inline void *must_alloc(size_t n) {
    void *p = NULL;
    if (posix_memalign(&p, 4096, n ? n : 1)) die("memory");
    memset(p, 0x5a, n);
    return p;
}

static inline uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline struct options parse(int argc, char **argv) {
    struct options o = {.size = 64, .sockets = 1, .seconds = 1.0};
    static const struct option names[] = {{"size", 1, 0, 's'},     {"sockets", 1, 0, 'n'},   {"seconds", 1, 0, 't'},
                                          {"pingpong", 0, 0, 'p'}, {"congestion", 1, 0, 'c'}, {"callbacks", 1, 0, 'm'}, {0, 0, 0, 0}};
    for (int c; (c = getopt_long(argc, argv, "", names, NULL)) != -1;) {
        switch (c) {
        case 's': o.size = strtoul(optarg, NULL, 10); break;
        case 'n': o.sockets = (unsigned)strtoul(optarg, NULL, 10); break;
        case 't': o.seconds = strtod(optarg, NULL); break;
        case 'p': o.pingpong = 1; break;
        case 'c': o.cc = optarg; break;
        case 'm': o.mode = optarg; break;
        default: exit(2);
        }
    }
    if (o.size < 8 || o.size > (1u << 20) || o.sockets < 1 || o.sockets > MAX_SOCKETS || !(o.seconds > 0)) {
        fprintf(stderr, "--size 8..1048576, --sockets 1..%d, --seconds above 0\n", MAX_SOCKETS);
        exit(2);
    }
    return o;
}

/* What a sender measured. */
struct figures {
    uint64_t messages, elapsed_ns;
    uint32_t *rounds; /* ns of each round trip */
    size_t kept;
};

static inline int by_value(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static inline void keep_round(struct figures *f, uint64_t ns) {
    if (!f->rounds) f->rounds = must_alloc(MAX_ROUNDS * sizeof *f->rounds);
    if (f->kept < MAX_ROUNDS) f->rounds[f->kept++] = ns > UINT32_MAX ? UINT32_MAX : (uint32_t)ns;
    f->messages++;
}

static inline double cpu_seconds(const struct rusage *u) {
    return (double)(u->ru_utime.tv_sec + u->ru_stime.tv_sec) + (double)(u->ru_utime.tv_usec + u->ru_stime.tv_usec) / 1e6;
}

/* Waits for the receiver and prints the line. */
static inline int report(const struct options *o, struct figures *f, pid_t receiver) {
    struct rusage mine, its;
    int status = 0;
    if (wait4(receiver, &status, 0, &its) != receiver) die("wait4");
    if (!WIFEXITED(status) || WEXITSTATUS(status)) {
        fprintf(stderr, "the receiver failed\n");
        return 1;
    }
    getrusage(RUSAGE_SELF, &mine);
    double seconds = (double)f->elapsed_ns / 1e9;
    printf("{\"messages\":%llu,\"bytes\":%llu,\"seconds\":%.6f,\"cpu_send\":%.6f,\"cpu_recv\":%.6f",
           (unsigned long long)f->messages, (unsigned long long)f->messages * o->size, seconds, cpu_seconds(&mine),
           cpu_seconds(&its));
    if (f->kept) {
        qsort(f->rounds, f->kept, sizeof *f->rounds, by_value);
        printf(",\"p50_us\":%.2f,\"p99_us\":%.2f", f->rounds[f->kept / 2] / 1e3, f->rounds[f->kept * 99 / 100] / 1e3);
    }
    puts("}");
    return fflush(stdout) ? 1 : 0;
}

/* Forks. The child ends with the parent, so that a bench that is interrupted leaves nothing behind. */
static inline pid_t fork_receiver(void) {
    pid_t parent = getpid(), child = fork();
    if (child < 0) die("fork");
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) _exit(1);
    }
    return child;
}

#endif
