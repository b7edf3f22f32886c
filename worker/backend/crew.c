/* crew.c - a generation counter that the lanes watch. */
#include "worker/backend/crew.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/mem.h"

enum { SPINS = 4000 }; /* some 40 microseconds */

struct lane {
    struct crew *crew;
    uint32_t index;
    pthread_t thread;
};

struct crew {
    atomic_uint generation; /* of the call that runs or ran last */
    atomic_uint pending;    /* lanes that have not finished it */
    atomic_bool stop;
    crew_fn *fn;
    void *ctx;
    pthread_mutex_t lock; /* over sleeping */
    pthread_cond_t woken;
    uint32_t threads, started;
    struct lane lanes[];
};

static void rest(uint32_t spins)
{
#if defined(__x86_64__)
    if (spins < SPINS) {
        __builtin_ia32_pause();
        return;
    }
#else
    (void)spins;
#endif
    (void)sched_yield();
}

/* Waits for a generation other than `seen`. */
static unsigned next_generation(struct crew *c, unsigned seen)
{
    for (uint32_t spins = 0; spins < SPINS; spins++) {
        unsigned now = atomic_load_explicit(&c->generation, memory_order_acquire);
        if (now != seen) {
            return now;
        }
        rest(spins);
    }
    CHECK(pthread_mutex_lock(&c->lock) == 0);
    while (atomic_load_explicit(&c->generation, memory_order_acquire) == seen) {
        CHECK(pthread_cond_wait(&c->woken, &c->lock) == 0);
    }
    CHECK(pthread_mutex_unlock(&c->lock) == 0);
    return atomic_load_explicit(&c->generation, memory_order_acquire);
}

static void *lane_main(void *argument)
{
    const struct lane *lane = argument;
    struct crew *c = lane->crew;
    for (unsigned seen = 0;;) {
        seen = next_generation(c, seen);
        if (atomic_load(&c->stop)) {
            return NULL;
        }
        c->fn(c->ctx, lane->index);
        atomic_fetch_sub_explicit(&c->pending, 1, memory_order_release);
    }
}

static void announce(struct crew *c)
{
    CHECK(pthread_mutex_lock(&c->lock) == 0);
    atomic_fetch_add_explicit(&c->generation, 1, memory_order_release);
    CHECK(pthread_cond_broadcast(&c->woken) == 0);
    CHECK(pthread_mutex_unlock(&c->lock) == 0);
}

enum err crew_new(uint32_t threads, struct crew **out)
{
    *out = NULL;
    struct crew *c = mem_calloc(1, sizeof *c + threads * sizeof c->lanes[0]);
    if (!c) {
        return ERR_NOMEM;
    }
    c->threads = threads;
    CHECK(pthread_mutex_init(&c->lock, NULL) == 0 && pthread_cond_init(&c->woken, NULL) == 0);
    for (c->started = 1; c->started < threads; c->started++) {
        struct lane *lane = &c->lanes[c->started];
        *lane = (struct lane){.crew = c, .index = c->started};
        if (pthread_create(&lane->thread, NULL, lane_main, lane) != 0) {
            crew_free(&c);
            return ERR_NOMEM;
        }
    }
    *out = c;
    return OK;
}

void crew_free(struct crew **crew)
{
    struct crew *c = *crew;
    *crew = NULL;
    if (!c) {
        return;
    }
    atomic_store(&c->stop, true);
    announce(c);
    for (uint32_t i = 1; i < c->started; i++) {
        CHECK(pthread_join(c->lanes[i].thread, NULL) == 0);
    }
    CHECK(pthread_cond_destroy(&c->woken) == 0 && pthread_mutex_destroy(&c->lock) == 0);
    mem_free(c);
}

uint64_t crew_run(struct crew *c, crew_fn *fn, void *ctx)
{
    c->fn = fn;
    c->ctx = ctx;
    atomic_store_explicit(&c->pending, c->threads - 1, memory_order_relaxed);
    announce(c);
    fn(ctx, 0);
    const uint64_t since_ns = clock_now_ns();
    for (uint32_t spins = 0; atomic_load_explicit(&c->pending, memory_order_acquire) > 0;) {
        rest(spins < SPINS ? spins++ : spins);
    }
    return clock_now_ns() - since_ns;
}
