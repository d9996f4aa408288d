/* For the C tests: a failed check names itself and ends the process. */
#ifndef CHECK_H
#define CHECK_H

#include <cdps/cdps.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* The one deadline, generous: only a test that fails waits so long. */
#define DEADLINE_S 120

#define FAIL(...)                                                                                                              \
    do {                                                                                                                       \
        fprintf(stderr, "%s:%d: ", __FILE__, __LINE__);                                                                        \
        fprintf(stderr, __VA_ARGS__);                                                                                          \
        fprintf(stderr, "\n");                                                                                                 \
        exit(1);                                                                                                               \
    } while (0)

#define CHECK(condition)                                                                                                       \
    do {                                                                                                                       \
        if (!(condition))                                                                                                      \
            FAIL("not so: %s", #condition);                                                                                    \
    } while (0)

/* The code that a call returns. */
#define EXPECT(expected, call)                                                                                                 \
    do {                                                                                                                       \
        int32_t code_ = (call);                                                                                                \
        if (code_ != (expected))                                                                                               \
            FAIL("%s gave %s (%d), not %s", #call, cdps_error_name(code_), (int)code_, #expected);                             \
    } while (0)

/* The same, and the text of a failure; `err` is the variable that the call was given. */
#define EXPECT_TEXT(expected, part, call)                                                                                      \
    do {                                                                                                                       \
        err = (cdps_error_t)CDPS_ERROR_INIT;                                                                                   \
        EXPECT(expected, call);                                                                                                \
        CHECK(err.code == (expected));                                                                                         \
        if (!strstr(err.message, part))                                                                                        \
            FAIL("%s said \"%s\", not \"%s\"", #call, err.message, part);                                                      \
    } while (0)

/* A state that callbacks change and the main thread waits for. */
static pthread_mutex_t check_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t check_changed = PTHREAD_COND_INITIALIZER;

static inline void check_add(unsigned *counter, unsigned n)
{
    pthread_mutex_lock(&check_lock);
    *counter += n;
    pthread_cond_broadcast(&check_changed);
    pthread_mutex_unlock(&check_lock);
}

static inline unsigned check_read(const unsigned *counter)
{
    pthread_mutex_lock(&check_lock);
    unsigned value = *counter;
    pthread_mutex_unlock(&check_lock);
    return value;
}

/* Waits until a counter has reached a value. */
static inline void check_reach(const char *what, const unsigned *counter, unsigned value)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += DEADLINE_S;
    pthread_mutex_lock(&check_lock);
    while (*counter < value)
        if (pthread_cond_timedwait(&check_changed, &check_lock, &until) == ETIMEDOUT)
            FAIL("waited in vain for %s: %u of %u", what, *counter, value);
    pthread_mutex_unlock(&check_lock);
}
#define REACH(counter, value) check_reach(#counter, &(counter), (value))

static inline void check_set(cdps_config_t *config, const char *key, const char *value)
{
    cdps_error_t err = CDPS_ERROR_INIT;
    if (cdps_config_set(config, key, value, &err) != CDPS_OK)
        FAIL("%s", err.message);
}

/* Timers that nothing trips under valgrind. */
static inline void check_patience(cdps_config_t *config)
{
    check_set(config, "liveness.heartbeat_ms", "2000");
    check_set(config, "liveness.suspect_ms", "20000");
    check_set(config, "liveness.lease_ms", "50000");
    check_set(config, "liveness.dead_ms", "60000");
    check_set(config, "liveness.handshake_timeout_ms", "60000");
    check_set(config, "port.connect_timeout_ms", "60000");
    check_set(config, "port.ack_timeout_ms", "60000");
    check_set(config, "port.session_timeout_ms", "90000");
}

/* A configuration for a node that listens on a free port of the loopback. */
static inline cdps_config_t *check_config(const char *id, const char *members)
{
    cdps_config_t *config;
    EXPECT(CDPS_OK, cdps_config_create(&config));
    check_set(config, "node.id", id);
    check_set(config, "security.mode", "plain");
    check_set(config, "node.members", members);
    return config;
}

#endif
