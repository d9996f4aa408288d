/* The three kinds of run, the same for all peers: a peer defines peer_send() and peer_await().
 *
 * Time runs from the first send until the sender knows that the last message has arrived.
 */
#ifndef DRIVE_H
#define DRIVE_H

#include "bench.h"

/* Under load: so many messages each millisecond, the last of which is answered. */
#define TICK_NS 1000000u
#define BURST 20u

/* Takes a message, or a copy of it; waits for room. What it is given does not change until the end. */
static void peer_send(const char *message, size_t size);
/* Waits for the answer to the last message, of kind ANSWER or END. When it came, in ns. */
static uint64_t peer_await(void);

static inline void drive_stream(const struct options *o, struct figures *f) {
    const char *plain = message_of(o, PLAIN_MESSAGE), *last = message_of(o, END);
    uint64_t start = now_ns(), end = start + (uint64_t)(o->seconds * 1e9);
    /* The clock is read once per 64 KiB, or per message. */
    unsigned run = o->size < (64u << 10) ? (64u << 10) / (unsigned)o->size : 1;
    while (now_ns() < end) {
        for (unsigned i = 0; i < run; i++) peer_send(plain, o->size);
        f->messages += run;
    }
    peer_send(last, o->size);
    f->elapsed_ns = peer_await() - start;
}

static inline void drive_round_trips(const struct options *o, struct figures *f) {
    const char *ask = message_of(o, ANSWER), *last = message_of(o, END);
    uint64_t start = now_ns(), end = start + (uint64_t)(o->seconds * 1e9), before = start;
    while (before < end) {
        peer_send(ask, o->size);
        uint64_t after = peer_await();
        keep_round(f, after - before);
        f->messages++;
        before = now_ns();
    }
    f->elapsed_ns = before - start;
    peer_send(last, o->size);
    peer_await();
}

/* Round trips count from when they were due: one that is late makes the next one late too. */
static inline void drive_loaded(const struct options *o, struct figures *f) {
    const char *plain = message_of(o, PLAIN_MESSAGE), *ask = message_of(o, ANSWER), *last = message_of(o, END);
    uint64_t start = now_ns(), end = start + (uint64_t)(o->seconds * 1e9);
    for (uint64_t due = start; due < end; due += TICK_NS) {
        struct timespec at = {(time_t)(due / 1000000000u), (long)(due % 1000000000u)};
        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL)) {}
        for (unsigned i = 1; i < BURST; i++) peer_send(plain, o->size);
        peer_send(ask, o->size);
        keep_round(f, peer_await() - due);
        f->messages += BURST;
        if (now_ns() > end) break;
    }
    f->elapsed_ns = now_ns() - start;
    peer_send(last, o->size);
    peer_await();
}

/* `trips`: drive_round_trips, or what a peer does that sends where it received the last answer. */
static inline void drive(const struct options *o, struct figures *f, void (*trips)(const struct options *, struct figures *)) {
    /* Untouched memory is not used memory. */
    if (o->mode != STREAM && !(f->rounds = calloc(MAX_ROUNDS, sizeof *f->rounds))) die("memory");
    struct used begin = used_now();
    if (o->mode == STREAM) drive_stream(o, f);
    else if (o->mode == ROUND_TRIP) trips(o, f);
    else drive_loaded(o, f);
    f->sender = used_since(begin);
}

#endif
