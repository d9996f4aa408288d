/* What all peers share: the command line, the two processes, what is measured, and the one JSON line on standard output.
 *
 * A program is one peer. It forks: the parent sends, the child receives. What they do then is in drive.h.
 */
#ifndef BENCH_H
#define BENCH_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <getopt.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WINDOW (8u << 20) /* bytes that may be unacknowledged, in every program */
#define COPY_UP_TO 2048u  /* from here on a message is not copied, by those who can do without */
#define MAX_PATHS 64
#define MAX_SIZE (1u << 20)
#define MAX_ROUNDS 2000000 /* round trips that are kept */
#define MAX_SETTINGS 8

/* What a message's first byte says: nothing is to be done, it is to be answered, or it is the last one and to be answered. */
enum kind { PLAIN_MESSAGE = 0x5a, ANSWER = 1, END = 2 };
enum mode { STREAM, ROUND_TRIP, LOADED };

struct options {
    size_t size;         /* bytes of a message */
    unsigned paths;      /* connections */
    double seconds;      /* how long the sender keeps sending */
    enum mode mode;
    int cpus[2];         /* where sender and receiver run; -1: wherever the scheduler says */
    int count_calls;     /* count system calls: costs time, so in runs of its own */
    /* What only some peers have; the others refuse it. */
    int spin, borrow, sync;
    unsigned threads;    /* that send */
    unsigned ports;
    unsigned at_once;    /* ports that may be connecting; 0: all */
    const char *callbacks;
    const char *relay;   /* PROGRAM,BYTES PER SECOND,MS */
    const char *settings[MAX_SETTINGS];
    unsigned setting_count;
};

__attribute__((noreturn)) static inline void die(const char *what) {
    fprintf(stderr, "%s: %s\n", what, errno ? strerror(errno) : "failed");
    exit(1);
}

static inline void *must_alloc(size_t n) {
    void *p = NULL;
    if (posix_memalign(&p, 4096, n ? n : 1)) die("memory");
    memset(p, PLAIN_MESSAGE, n);
    return p;
}

static inline uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- the command line ---- */

static inline void usage(const char *why) {
    fprintf(stderr, "%s\n--size 16..%u --paths 1..%d --seconds S --mode stream|round-trip|loaded [--cpus S,R] [--calls]\n", why, MAX_SIZE,
            MAX_PATHS);
    exit(2);
}

/* `extras`: the options that this peer has beyond those of all. */
static inline struct options parse(int argc, char **argv, const char *extras) {
    struct options o = {.size = 64, .paths = 1, .seconds = 1.0, .cpus = {-1, -1}, .threads = 1, .ports = 1};
    static const struct option names[] = {
        {"size", 1, 0, 's'},    {"paths", 1, 0, 'n'},     {"seconds", 1, 0, 't'}, {"mode", 1, 0, 'm'},  {"cpus", 1, 0, 'c'},
        {"calls", 0, 0, 'k'},   {"spin", 0, 0, 'i'},      {"borrow", 0, 0, 'b'},  {"sync", 0, 0, 'a'},  {"threads", 1, 0, 'h'},
        {"ports", 1, 0, 'p'}, {"at-once", 1, 0, 'o'},   {"callbacks", 1, 0, 'l'}, {"relay", 1, 0, 'r'},   {"set", 1, 0, 'e'},   {0, 0, 0, 0}};
    int index;
    for (int c; (c = getopt_long(argc, argv, "", names, &index)) != -1;) {
        if (strchr("ibahpolre", c) && !strstr(extras, names[index].name)) usage("this peer has no such option");
        switch (c) {
        case 's': o.size = strtoul(optarg, NULL, 10); break;
        case 'n': o.paths = (unsigned)strtoul(optarg, NULL, 10); break;
        case 't': o.seconds = strtod(optarg, NULL); break;
        case 'm':
            if (!strcmp(optarg, "stream")) o.mode = STREAM;
            else if (!strcmp(optarg, "round-trip")) o.mode = ROUND_TRIP;
            else if (!strcmp(optarg, "loaded")) o.mode = LOADED;
            else usage("unknown mode");
            break;
        case 'c':
            if (sscanf(optarg, "%d,%d", &o.cpus[0], &o.cpus[1]) != 2) usage("two processors");
            break;
        case 'k': o.count_calls = 1; break;
        case 'i': o.spin = 1; break;
        case 'b': o.borrow = 1; break;
        case 'a': o.sync = 1; break;
        case 'h': o.threads = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'p': o.ports = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'o': o.at_once = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'l': o.callbacks = optarg; break;
        case 'r': o.relay = optarg; break;
        case 'e':
            if (o.setting_count == MAX_SETTINGS) usage("too many settings");
            o.settings[o.setting_count++] = optarg;
            break;
        default: exit(2);
        }
    }
    if (o.size < 16 || o.size > MAX_SIZE || o.paths < 1 || o.paths > MAX_PATHS || !(o.seconds > 0)) usage("out of range");
    return o;
}

/* ---- the two processes ---- */

static int other_end = -1; /* to the other process: whole records, and the end of it when that one has gone */
static int calls_fd = -1;

static inline void tell(const void *data, size_t n) {
    if (send(other_end, data, n, MSG_NOSIGNAL) != (ssize_t)n) die("the other process");
}

static inline void hear(void *data, size_t n) {
    ssize_t got;
    while ((got = recv(other_end, data, n, 0)) < 0 && errno == EINTR) {}
    if (got != (ssize_t)n) die("the other process");
}

/* Counts every system call of this process and its threads to come. Needs tracefs and the right to trace; without them calls_fd stays
 * below 0 and nothing is reported. */
static inline void count_calls(void) {
    unsigned id = 0;
    FILE *f = fopen("/sys/kernel/tracing/events/raw_syscalls/sys_enter/id", "re");
    if (!f) return;
    if (fscanf(f, "%u", &id) != 1) id = 0;
    fclose(f);
    struct perf_event_attr a = {.type = PERF_TYPE_TRACEPOINT, .size = sizeof a, .config = id, .inherit = 1};
    if (id) calls_fd = (int)syscall(SYS_perf_event_open, &a, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
}

static inline void take_place(const struct options *o, int end) {
    if (o->cpus[end] >= 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET(o->cpus[end], &set);
        if (sched_setaffinity(0, sizeof set, &set)) die("sched_setaffinity");
    }
    if (o->count_calls) count_calls();
}

/* Forks. The child ends with the parent, so that a bench that is interrupted leaves nothing behind. */
static inline pid_t fork_receiver(const struct options *o) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)) die("socketpair");
    pid_t parent = getpid(), child = fork();
    if (child < 0) die("fork");
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) _exit(1);
    }
    other_end = pair[child == 0];
    close(pair[child != 0]);
    take_place(o, child == 0);
    return child;
}

/* ---- what a process used ---- */

struct used {
    double cpu;      /* seconds */
    int64_t calls;   /* -1: not counted */
    uint64_t peak;   /* KiB of memory, at most */
};

static inline uint64_t peak_memory(void) {
    char line[128];
    uint64_t kib = 0;
    FILE *f = fopen("/proc/self/status", "re");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "VmHWM: %lu", &kib) == 1) break;
    if (f) fclose(f);
    return kib;
}

static inline struct used used_now(void) {
    struct rusage u;
    struct used now = {.calls = -1, .peak = peak_memory()};
    getrusage(RUSAGE_SELF, &u);
    now.cpu = (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
    if (calls_fd >= 0 && read(calls_fd, &now.calls, sizeof now.calls) != sizeof now.calls) now.calls = -1;
    return now;
}

static inline struct used used_since(struct used begin) {
    struct used end = used_now();
    end.cpu -= begin.cpu;
    if (end.calls >= 0) end.calls -= begin.calls;
    return end;
}

static struct used receiver_began;

/* The receiver, with the first message. */
static inline void receiver_begins(void) { receiver_began = used_now(); }

/* The receiver, with the last one. */
static inline void receiver_ends(void) {
    struct used u = used_since(receiver_began);
    tell(&u, sizeof u);
}

static inline char *message_of(const struct options *o, enum kind kind) {
    char *m = must_alloc(o->size);
    m[0] = (char)kind;
    return m;
}

/* ---- what was measured ---- */

struct figures {
    uint64_t messages, elapsed_ns;
    double delivered; /* share of the messages; only of peers that can lose some */
    uint32_t *rounds; /* ns of each round trip */
    size_t kept;
    struct used sender;
};

static inline int by_value(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static inline void keep_round(struct figures *f, uint64_t ns) {
    if (f->kept < MAX_ROUNDS) f->rounds[f->kept++] = ns > UINT32_MAX ? UINT32_MAX : (uint32_t)ns;
}

static inline void print_rounds(struct figures *f) {
    if (!f->kept) return;
    qsort(f->rounds, f->kept, sizeof *f->rounds, by_value);
    printf(",\"p50\":%.2f,\"p99\":%.2f,\"p99.9\":%.2f", f->rounds[f->kept / 2] / 1e3, f->rounds[f->kept * 99 / 100] / 1e3,
           f->rounds[f->kept * 999 / 1000] / 1e3);
}

static inline void print_used(const char *end, struct used u, double messages) {
    if (u.calls >= 0) printf(",\"calls %s\":%.5f", end, (double)u.calls / messages);
    printf(",\"cpu %s\":%.3f,\"memory %s\":%lu", end, u.cpu * 1e9 / messages, end, u.peak);
}

/* The sender's last act: prints the line, waits for the receiver. */
static inline int report(const struct options *o, struct figures *f, pid_t receiver) {
    struct used its;
    int status = 0;
    double messages = f->messages ? (double)f->messages : 1;
    hear(&its, sizeof its);
    close(other_end);
    if (waitpid(receiver, &status, 0) != receiver || !WIFEXITED(status) || WEXITSTATUS(status)) {
        fprintf(stderr, "the receiver failed\n");
        return 1;
    }
    printf("{\"messages\":%lu,\"seconds\":%.6f,\"throughput\":%.3f,\"bandwidth\":%.6f", f->messages, (double)f->elapsed_ns / 1e9,
           messages * 1e9 / (double)f->elapsed_ns, messages * (double)o->size / (double)f->elapsed_ns);
    if (f->delivered > 0) printf(",\"delivered\":%.6f", f->delivered);
    print_rounds(f);
    print_used("send", f->sender, messages);
    print_used("receive", its, messages);
    puts("}");
    return fflush(stdout) ? 1 : 0;
}

#endif
