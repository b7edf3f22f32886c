/* dispatch_fixture.h - a dispatch whose workers, each on a host of its own, say what a test wants
 * them to, with a clock of numbers; every action since the last event is kept. Included once. */
#ifndef PFT_DISPATCH_FIXTURE_H
#define PFT_DISPATCH_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "coordinator/dispatch_state.h"

#define MS 1000000ull
#define SEC 1000000000ull

enum { WORKERS = 4, UNITS = 200, SLOTS = 64, TAG = 7, ACTIONS = 512 };

static const uint8_t probe[HASH_XXH128_BYTES] = {1};

struct world {
    struct dispatch *d;
    uint64_t ids[UNITS];
    uint32_t rows[UNITS], slots;
    uint64_t workers[WORKERS], now;
    struct dispatch_action last[ACTIONS]; /* since the last call */
    uint32_t n;
};

static struct world w;

static inline void collect(void)
{
    struct dispatch_action a;
    w.n = 0;
    while (dispatch_next(w.d, &a)) {
        assert_true(w.n < ACTIONS);
        w.last[w.n++] = a;
    }
}

static inline const struct dispatch_action *nth(enum dispatch_act act, uint32_t skip)
{
    for (uint32_t i = 0; i < w.n; i++) {
        if (w.last[i].act == act && skip-- == 0) {
            return &w.last[i];
        }
    }
    return NULL;
}

static inline const struct dispatch_action *action(enum dispatch_act act)
{
    return nth(act, 0);
}

static inline void open_batch(uint32_t tag, uint32_t units)
{
    for (uint32_t i = 0; i < units; i++) {
        w.ids[i] = (uint64_t)tag << 32 | i;
        w.rows[i] = 10;
    }
    const struct dispatch_batch batch = {
        .kind = JOB_GRADIENT, .tag = tag, .n_units = units, .unit_ids = w.ids, .rows = w.rows};
    assert_int_equal(dispatch_open(w.d, &batch, w.now), OK);
    collect();
}

static inline uint64_t join(const char *name, uint64_t epoch)
{
    const struct roster_hello hello = {
        .name = name, .host = name, .epoch = epoch, .slots = w.slots};
    uint64_t id;
    assert_int_equal(dispatch_hello(w.d, &hello, w.now, &id, NULL), OK);
    assert_int_equal(dispatch_probed(w.d, id, probe, w.now, NULL), OK);
    return id;
}

static inline void begin_with(const struct dispatch_config *cfg, uint32_t workers, uint32_t slots,
                              uint32_t units)
{
    memset(&w, 0, sizeof w);
    w.now = SEC;
    w.slots = slots;
    assert_int_equal(dispatch_new(cfg, &w.d), OK);
    for (uint32_t i = 0; i < workers; i++) {
        char name[8];
        (void)snprintf(name, sizeof name, "w%u", i);
        w.workers[i] = join(name, 1);
    }
    open_batch(TAG, units);
}

static inline void begin(uint32_t workers, uint32_t slots, uint32_t units, uint64_t payload_bytes)
{
    const struct dispatch_config cfg = {.strict = true,
                                        .epoch = 3,
                                        .has_probe = true,
                                        .probe = {1},
                                        .payload_bytes = payload_bytes};
    begin_with(&cfg, workers, slots, units);
}

static inline int teardown(void **state)
{
    (void)state;
    dispatch_free(&w.d);
    return 0;
}

static inline struct dispatch_action want(uint32_t worker, uint32_t slot, uint64_t request)
{
    dispatch_want(w.d, w.workers[worker], slot, request, w.now);
    collect();
    const struct dispatch_action *a = action(DISPATCH_ASSIGN);
    return a ? *a : (struct dispatch_action){0};
}

static inline void announce_as(uint64_t worker, const struct dispatch_action *a, uint8_t bits)
{
    struct result_row rows[LIMIT_JOB_UNITS];
    const struct job *job = dispatch_job(w.d, a->job);
    for (uint32_t i = 0; job && i < job->n_units; i++) {
        rows[i] = (struct result_row){.unit = w.ids[job->units[i]], .sumsq = 1.0, .labels = 1};
    }
    const struct dispatch_result r = {.worker = worker,
                                      .job = a->job,
                                      .attempt = a->attempt,
                                      .n_rows = job ? job->n_units : 0,
                                      .rows = rows,
                                      .digest = {bits}};
    dispatch_announce(w.d, &r, w.now);
    collect();
}

static inline void announce(const struct dispatch_action *a)
{
    announce_as(a->worker, a, 1);
}

static inline void pay(const struct dispatch_action *a, enum err code)
{
    assert_int_equal(dispatch_payload(w.d, a->worker, a->job, a->attempt, w.now), OK);
    dispatch_summed(w.d, a->job, code, w.now);
    collect();
}

static inline const struct worker *worker(uint32_t i)
{
    return roster_get(dispatch_roster(w.d), w.workers[i]);
}

#endif
