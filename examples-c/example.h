/* What both examples need besides the library: errors, time, text for the configuration, a log of events. */
#ifndef EXAMPLE_H
#define EXAMPLE_H

#include <cdps/cdps.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Ends the program with a message. */
__attribute__((format(printf, 1, 2), noreturn)) static inline void die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "%s: ", program_invocation_short_name);
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
    exit(1);
}

/* Ends the program if a call of the library has failed. */
static inline void check(int32_t code, const char *what, const cdps_error_t *err)
{
    if (code < 0)
        die("%s: %s (%s)", what, err && err->message[0] ? err->message : cdps_error_string(code), cdps_error_name(code));
}

/* Time that no clock change disturbs, in ns; the same for all processes of the machine. */
static inline uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* A number of an option. */
static inline uint64_t number(const char *option, const char *text, uint64_t low, uint64_t high)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno || end == text || *end || *text == '-' || value < low || value > high)
        die("%s: \"%s\" is no whole number from %" PRIu64 " to %" PRIu64, option, text, low, high);
    return value;
}

/* Appends to a list of a setting, which grows with each use of its option. */
static inline void append(char **list, const char *separator, const char *item)
{
    size_t size = (*list ? strlen(*list) : 0) + strlen(separator) + strlen(item) + 1;
    char *longer = malloc(size);
    if (!longer)
        die("out of memory");
    snprintf(longer, size, "%s%s%s", *list ? *list : "", *list ? separator : "", item);
    free(*list);
    *list = longer;
}

/* Sets a key, if there is a value. */
static inline void set(cdps_config_t *config, const char *key, const char *value)
{
    cdps_error_t err = CDPS_ERROR_INIT;
    if (value)
        check(cdps_config_set(config, key, value, &err), key, &err);
}

static inline void set_number(cdps_config_t *config, const char *key, uint64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, value);
    set(config, key, text);
}

/* The log of events: one JSON object a line, for programs. "t" is now_ns(). */
static FILE *events;

static inline void events_open(const char *path)
{
    if (path && strcmp(path, "-") == 0)
        events = stderr;
    else if (path && !(events = fopen(path, "ae")))
        die("%s: %s", path, strerror(errno));
}

/* Writes a line, in one piece: `event("path", "\"path\": %u", 3)`. From any thread. */
__attribute__((format(printf, 2, 3))) static inline void event(const char *name, const char *format, ...)
{
    char fields[4096];
    va_list args;
    if (!events)
        return;
    va_start(args, format);
    vsnprintf(fields, sizeof fields, format, args);
    va_end(args);
    fprintf(events, "{\"t\": %" PRIu64 ", \"event\": \"%s\"%s%s}\n", now_ns(), name, *fields ? ", " : "", fields);
    fflush(events);
}

/* What both programs do about a path and about the connection. */
static inline void log_path(const cdps_path_t *path)
{
    event("path", "\"path\": %" PRIu32 ", \"health\": \"%s\", \"reason\": \"%s\"", path->path,
          cdps_health_name(path->health), cdps_reason_name(path->reason));
}

static inline void log_connstatus(const cdps_connstatus_t *status)
{
    static const struct {
        int32_t status;
        const char *name;
    } names[] = {{CDPS_CONN_CONNECTED, "connected"}, {CDPS_CONN_CONNECT_FAILED, "connect_failed"}, {CDPS_CONN_DOWN, "down"},
                 {CDPS_CONN_DRAINED, "drained"},     {CDPS_CONN_SWITCHING, "switching"},           {CDPS_CONN_SWITCHED, "switched"},
                 {CDPS_CONN_CLOSED, "closed"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].status == status->status)
            event(names[i].name,
                  "\"node\": %" PRIu32 ", \"reason\": \"%s\", \"generation\": %" PRIu64 ", \"paths_up\": %" PRIu32
                  ", \"paths\": %" PRIu32,
                  status->node, cdps_reason_name(status->reason), status->generation.counter, status->paths_up,
                  status->paths);
}

#endif
