/* test_dispatch.c - the heart under a seeded random life: workers join, die, come late and twice;
 * every unit is counted once and the sum is exact. Then single rules, one by one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/base/rng.h"
#include "coordinator/dispatch.h"
#include "coordinator/reduce.h"

#define MS 1000000ull
#define SEC 1000000000ull

enum { COUNT = 24, WORKERS = 6, SLOTS = 3, UNITS = 48, PENDING = 4096 };

struct message { /* something a worker sends later */
    uint64_t at_ns, worker, job;
    uint32_t attempt, n_units;
    uint32_t units[LIMIT_JOB_UNITS];
    bool payload, damaged;
};

struct peer {
    uint64_t id, epoch;
    bool alive, probed;
    struct {
        uint64_t job, finish_ns, request;
        uint32_t attempt, n_units, units[LIMIT_JOB_UNITS];
        bool busy, asked;
    } slots[SLOTS];
};

struct life {
    struct dispatch *d;
    struct reduce *r;
    struct peer peers[WORKERS];
    struct message *pending;
    uint32_t n_pending;
    uint64_t ids[UNITS];
    uint32_t n_units;
    uint32_t added[UNITS]; /* times counted since the last begin */
    uint64_t seed, draw, now;
    bool done, stopped, faults;
    uint64_t batches;
};

static uint64_t below(struct life *l, uint64_t bound)
{
    return rng_below(l->seed, l->draw++, bound);
}

static bool chance(struct life *l, uint32_t percent)
{
    return l->faults && below(l, 100) < percent;
}

static int64_t element(uint32_t unit, uint32_t i)
{
    return (int64_t)(rng_at(unit, i) >> 14) - ((int64_t)1 << 49);
}

static void payload_of(const struct message *m, int64_t out[COUNT])
{
    memset(out, 0, COUNT * sizeof *out);
    for (uint32_t u = 0; u < m->n_units; u++) {
        for (uint32_t i = 0; i < COUNT; i++) {
            out[i] += element(m->units[u], i);
        }
    }
}

static struct peer *peer_of(struct life *l, uint64_t id)
{
    for (int i = 0; i < WORKERS; i++) {
        if (l->peers[i].alive && l->peers[i].id == id) {
            return &l->peers[i];
        }
    }
    return NULL;
}

static void send_later(struct life *l, struct message m, uint64_t delay)
{
    assert_true(l->n_pending < PENDING);
    m.at_ns = l->now + delay;
    l->pending[l->n_pending++] = m;
}

static void join(struct life *l, int i)
{
    static const uint8_t probe[16] = {1};
    struct peer *p = &l->peers[i];
    char name[16];
    (void)snprintf(name, sizeof name, "w%d", i);
    uint64_t epoch = p->epoch + 1;
    *p = (struct peer){.alive = true, .epoch = epoch};
    const struct roster_hello hello = {
        .name = name, .host = "h", .core_type = "c", .epoch = epoch, .slots = SLOTS};
    assert_int_equal(dispatch_hello(l->d, &hello, l->now, &p->id, NULL), OK);
    assert_int_equal(dispatch_probed(l->d, p->id, probe, l->now, NULL), OK);
}

static void on_assign(struct life *l, const struct dispatch_action *a)
{
    struct peer *p = peer_of(l, a->worker);
    const struct job *job = dispatch_job(l->d, a->job);
    if (!p || !job || p->slots[a->slot].request != a->request) {
        return;
    }
    p->slots[a->slot].busy = true;
    p->slots[a->slot].job = a->job;
    p->slots[a->slot].attempt = a->attempt;
    p->slots[a->slot].n_units = job->n_units;
    memcpy(p->slots[a->slot].units, job->units, job->n_units * sizeof(uint32_t));
    uint64_t slow = chance(l, 5) ? 40 : 1;
    p->slots[a->slot].finish_ns = l->now + slow * (50 * MS + below(l, 400) * MS);
}

static void on_action(struct life *l, const struct dispatch_action *a)
{
    struct peer *p = peer_of(l, a->worker);
    switch (a->act) {
    case DISPATCH_ASSIGN:
        on_assign(l, a);
        break;
    case DISPATCH_CREDIT: {
        const struct job *job = dispatch_job(l->d, a->job);
        if (p && job && !chance(l, 2)) {
            struct message m = {.worker = a->worker,
                                .job = a->job,
                                .attempt = a->attempt,
                                .n_units = job->n_units,
                                .payload = true,
                                .damaged = chance(l, 1)};
            memcpy(m.units, job->units, m.n_units * sizeof(uint32_t));
            send_later(l, m, below(l, 200) * MS);
        }
        break;
    }
    case DISPATCH_CANCEL:
        if (p && p->slots[a->slot].busy && p->slots[a->slot].job == a->job && !chance(l, 30)) {
            p->slots[a->slot].busy = false;
            p->slots[a->slot].asked = false;
        }
        break;
    case DISPATCH_GONE:
        if (p) { /* it hears of it and says hello again */
            p->alive = false;
        }
        break;
    case DISPATCH_RESTART:
        memset(l->added, 0, sizeof l->added);
        assert_int_equal(reduce_begin(l->r, l->batches, l->n_units, l->n_units), OK);
        break;
    case DISPATCH_BATCH_DONE:
        l->done = true;
        break;
    case DISPATCH_STOP:
        l->stopped = true;
        print_message("stop: %s\n", a->text);
        break;
    case DISPATCH_PROBE: {
        static const uint8_t probe[16] = {1};
        if (p) {
            assert_int_equal(dispatch_probed(l->d, p->id, probe, l->now, NULL), OK);
        }
        break;
    }
    case DISPATCH_SETTLED:
    case DISPATCH_QUARANTINE:
    case DISPATCH_PROBE_SET:
    case DISPATCH_SUSPECT:
    case DISPATCH_NOTE:
        break;
    }
}

static void drain(struct life *l)
{
    struct dispatch_action a;
    while (dispatch_next(l->d, &a)) {
        on_action(l, &a);
    }
}

static void deliver(struct life *l, const struct message *m)
{
    int64_t payload[COUNT];
    struct result_row rows[LIMIT_JOB_UNITS];
    int64_t loss[LIMIT_JOB_UNITS];
    uint32_t labels[LIMIT_JOB_UNITS];
    payload_of(m, payload);
    struct reduce_job job = {.n_units = m->n_units,
                             .units = m->units,
                             .loss = loss,
                             .labels = labels,
                             .payload = payload,
                             .bytes = sizeof payload};
    hash_xxh128(payload, sizeof payload, job.digest);
    for (uint32_t i = 0; i < m->n_units; i++) {
        rows[i] =
            (struct result_row){.unit = l->ids[m->units[i]], .loss = 5, .sumsq = 1.0, .labels = 2};
        loss[i] = 5;
        labels[i] = 2;
    }
    if (!m->payload) {
        struct dispatch_result r = {.worker = m->worker,
                                    .job = m->job,
                                    .attempt = m->attempt,
                                    .n_rows = m->n_units,
                                    .rows = rows};
        memcpy(r.digest, job.digest, sizeof r.digest);
        dispatch_announce(l->d, &r, l->now);
        return;
    }
    if (dispatch_payload(l->d, m->worker, m->job, m->attempt, l->now) != OK) {
        return;
    }
    payload[3] += m->damaged;
    enum err code = reduce_add(l->r, l->batches, &job);
    for (uint32_t i = 0; code == OK && i < m->n_units; i++) {
        l->added[m->units[i]]++;
    }
    assert_int_equal(code, m->damaged ? ERR_CORRUPT : OK);
    dispatch_summed(l->d, m->job, code, l->now);
}

static void work(struct life *l, struct peer *p)
{
    struct dispatch_running running[SLOTS];
    uint32_t n = 0;
    for (uint32_t s = 0; s < SLOTS; s++) {
        if (p->slots[s].busy && p->slots[s].finish_ns <= l->now) {
            struct message m = {.worker = p->id,
                                .job = p->slots[s].job,
                                .attempt = p->slots[s].attempt,
                                .n_units = p->slots[s].n_units};
            memcpy(m.units, p->slots[s].units, m.n_units * sizeof(uint32_t));
            if (chance(l, 2)) {
                dispatch_failed(l->d, p->id, m.job, m.attempt, "no luck", l->now);
            } else {
                send_later(l, m, chance(l, 5) ? 9 * SEC : 0);
                if (chance(l, 5)) {
                    send_later(l, m, below(l, 3000) * MS);
                }
            }
            p->slots[s].busy = false;
            p->slots[s].asked = false;
        } else if (p->slots[s].busy) {
            running[n++] = (struct dispatch_running){p->slots[s].job, p->slots[s].attempt};
        } else if (!p->slots[s].asked || chance(l, 10)) {
            p->slots[s].request += !p->slots[s].asked;
            p->slots[s].asked = true;
            dispatch_want(l->d, p->id, s, p->slots[s].request, l->now);
        }
    }
    dispatch_heartbeat(l->d, p->id, running, n, l->now);
}

static void turn(struct life *l)
{
    l->now += 10 * MS + below(l, 150) * MS;
    if (chance(l, 1)) {
        l->now += 10 * SEC; /* the coordinator itself stands still */
    }
    for (int i = 0; i < WORKERS; i++) {
        struct peer *p = &l->peers[i];
        if (!p->alive) {
            if (below(l, 40) == 0 || i == 0) {
                join(l, i);
            }
            continue;
        }
        if (chance(l, 1)) {
            if (below(l, 2)) {
                dispatch_gone(l->d, p->id, "bye", l->now);
            }
            p->alive = false;
            continue;
        }
        work(l, p);
        drain(l);
    }
    for (uint32_t i = l->n_pending; i-- > 0;) {
        if (l->pending[i].at_ns <= l->now) {
            struct message m = l->pending[i];
            l->pending[i] = l->pending[--l->n_pending];
            deliver(l, &m);
            drain(l);
            i = i < l->n_pending ? i : l->n_pending;
        }
    }
    (void)dispatch_tick(l->d, l->now);
    drain(l);
}

static void open_batch(struct life *l, uint32_t n_units)
{
    uint32_t rows[UNITS];
    for (uint32_t i = 0; i < n_units; i++) {
        rows[i] = 100 + (uint32_t)below(l, 400);
        l->ids[i] = l->batches << 32 | i;
    }
    l->n_units = n_units;
    l->done = false;
    memset(l->added, 0, sizeof l->added);
    assert_int_equal(reduce_begin(l->r, l->batches, n_units, n_units), OK);
    const struct dispatch_batch batch = {.kind = JOB_GRADIENT,
                                         .tag = (uint32_t)l->batches,
                                         .n_units = n_units,
                                         .unit_ids = l->ids,
                                         .rows = rows};
    assert_int_equal(dispatch_open(l->d, &batch, l->now), OK);
    drain(l);
}

static void start_life(struct life *l, uint64_t seed, bool faults)
{
    const struct dispatch_config cfg = {.strict = true, .epoch = 1, .job_target_ns = 3 * SEC};
    *l = (struct life){.seed = seed, .now = SEC, .faults = faults};
    l->pending = mem_calloc(PENDING, sizeof *l->pending);
    assert_non_null(l->pending);
    assert_int_equal(dispatch_new(&cfg, &l->d), OK);
    assert_int_equal(reduce_new(COUNT, &l->r), OK);
}

static void end_life(struct life *l)
{
    dispatch_free(&l->d);
    reduce_free(&l->r);
    mem_free(l->pending);
}

static void live(uint64_t seed)
{
    struct life l;
    start_life(&l, seed, true);
    for (l.batches = 1; l.batches <= 4; l.batches++) {
        float gradient[COUNT];
        struct reduce_total total;
        open_batch(&l, 1 + (uint32_t)below(&l, UNITS));
        for (int turns = 0; !l.done && !l.stopped; turns++) {
            assert_true(turns < 20000);
            turn(&l);
        }
        if (l.stopped) { /* twelve losses of one job are possible, if rare: a stop is an answer */
            break;
        }
        for (uint32_t u = 0; u < l.n_units; u++) {
            assert_int_equal(l.added[u], 1);
        }
        assert_int_equal(reduce_finish(l.r, gradient, &total), OK);
        assert_true(total.loss == (double)l.n_units * 5 * 0x1p-40);
        for (uint32_t i = 0; i < COUNT; i++) {
            int64_t sum = 0;
            for (uint32_t u = 0; u < l.n_units; u++) {
                sum += element(u, i);
            }
            assert_true(gradient[i] == (float)sum * 0x1p-40f);
        }
        dispatch_committed(l.d, (uint32_t)l.batches);
    }
    struct queue_counts c = dispatch_counts(l.d);
    assert_true(c.jobs <= 40 * UNITS);
    end_life(&l);
}

static void test_any_life_of_the_workers_gives_the_exact_sum_of_each_unit_once(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 150; seed++) {
        print_message("seed %llu\n", (unsigned long long)seed);
        live(seed);
    }
}

/* --- single rules, with a quiet life whose events are made by hand --- */

struct quiet {
    struct dispatch *d;
    uint64_t workers[4];
    uint64_t now;
    struct dispatch_action last[16]; /* actions since the last call, by kind of interest */
    uint32_t n;
};

static void collect(struct quiet *q)
{
    q->n = 0;
    struct dispatch_action a;
    while (dispatch_next(q->d, &a)) {
        if (q->n < 16) {
            q->last[q->n++] = a;
        }
    }
}

static const struct dispatch_action *action(const struct quiet *q, enum dispatch_act act)
{
    for (uint32_t i = 0; i < q->n; i++) {
        if (q->last[i].act == act) {
            return &q->last[i];
        }
    }
    return NULL;
}

static const uint64_t ids[4] = {7ull << 32, 7ull << 32 | 1, 7ull << 32 | 2, 7ull << 32 | 3};

static void start_quiet(struct quiet *q, uint32_t workers, uint32_t units, enum job_kind kind)
{
    static const uint8_t probe[16] = {1};
    static const uint32_t rows[4] = {10, 20, 30, 40};
    const struct dispatch_config cfg = {
        .strict = true, .epoch = 3, .has_probe = true, .probe = {1}};
    *q = (struct quiet){.now = SEC};
    assert_int_equal(dispatch_new(&cfg, &q->d), OK);
    for (uint32_t i = 0; i < workers; i++) {
        char name[8];
        (void)snprintf(name, sizeof name, "w%u", i);
        const struct roster_hello hello = {.name = name, .epoch = 1, .slots = 2};
        assert_int_equal(dispatch_hello(q->d, &hello, q->now, &q->workers[i], NULL), OK);
        assert_int_equal(dispatch_probed(q->d, q->workers[i], probe, q->now, NULL), OK);
    }
    const struct dispatch_batch batch = {
        .kind = kind, .tag = 7, .n_units = units, .unit_ids = ids, .rows = rows};
    assert_int_equal(dispatch_open(q->d, &batch, q->now), OK);
    collect(q);
}

static struct dispatch_action want(struct quiet *q, uint32_t worker, uint64_t request)
{
    dispatch_want(q->d, q->workers[worker], 0, request, q->now);
    collect(q);
    const struct dispatch_action *a = action(q, DISPATCH_ASSIGN);
    return a ? *a : (struct dispatch_action){0};
}

static void announce(struct quiet *q, uint64_t worker, const struct dispatch_action *a,
                     uint8_t bits)
{
    struct result_row rows[4];
    const struct job *job = dispatch_job(q->d, a->job);
    for (uint32_t i = 0; job && i < job->n_units; i++) {
        rows[i] = (struct result_row){.unit = ids[job->units[i]], .sumsq = 1.0};
    }
    const struct dispatch_result r = {.worker = worker,
                                      .job = a->job,
                                      .attempt = a->attempt,
                                      .n_rows = job ? job->n_units : 0,
                                      .rows = rows,
                                      .digest = {bits}};
    dispatch_announce(q->d, &r, q->now);
    collect(q);
}

static void pay(struct quiet *q, uint64_t worker, const struct dispatch_action *a)
{
    assert_int_equal(dispatch_payload(q->d, worker, a->job, a->attempt, q->now), OK);
    dispatch_summed(q->d, a->job, OK, q->now);
    collect(q);
}

static void test_same_request_is_answered_with_the_same_job(void **state)
{
    (void)state;
    struct quiet q;
    start_quiet(&q, 1, 2, JOB_GRADIENT);
    struct dispatch_action one = want(&q, 0, 1);
    struct dispatch_action two = want(&q, 0, 1);
    assert_true(one.job != 0 && one.job == two.job && one.attempt == two.attempt);
    struct dispatch_action three = want(&q, 0, 2); /* the slot dropped the first without a word */
    assert_true(three.job == one.job && three.attempt == 2);
    assert_int_equal(want(&q, 0, 1).job, 0);
    dispatch_free(&q.d);
}

/* So many results of one-unit jobs are announced at once; payloads asked for. */
static uint32_t asked_for(uint64_t payload_bytes, uint32_t results)
{
    static const uint8_t probe[16] = {1};
    const struct dispatch_config cfg = {.strict = true,
                                        .epoch = 3,
                                        .payload_bytes = payload_bytes,
                                        .has_probe = true,
                                        .probe = {1}};
    const struct roster_hello hello = {.name = "w", .epoch = 1, .slots = LIMIT_SLOTS};
    struct dispatch *d;
    struct dispatch_action a;
    uint64_t worker;
    uint64_t unit_ids[LIMIT_SLOTS];
    uint32_t rows[LIMIT_SLOTS];
    uint32_t credits = 0;
    assert_int_equal(dispatch_new(&cfg, &d), OK);
    assert_int_equal(dispatch_hello(d, &hello, SEC, &worker, NULL), OK);
    assert_int_equal(dispatch_probed(d, worker, probe, SEC, NULL), OK);
    for (uint32_t i = 0; i < results; i++) {
        unit_ids[i] = i;
        rows[i] = 1;
        dispatch_want(d, worker, i, 1, SEC);
    }
    const struct dispatch_batch batch = {
        .kind = JOB_GRADIENT, .tag = 1, .n_units = results, .unit_ids = unit_ids, .rows = rows};
    assert_int_equal(dispatch_open(d, &batch, SEC), OK);
    while (dispatch_next(d, &a)) {
        credits += a.act == DISPATCH_CREDIT;
        if (a.act == DISPATCH_ASSIGN) {
            const struct job *job = dispatch_job(d, a.job);
            const struct result_row row = {.unit = job->units[0], .sumsq = 1.0, .labels = 1};
            const struct dispatch_result r = {
                .worker = worker, .job = a.job, .attempt = a.attempt, .n_rows = 1, .rows = &row};
            assert_int_equal(job->n_units, 1);
            dispatch_announce(d, &r, SEC);
        }
    }
    assert_int_equal(dispatch_stats(d).in_flight, credits);
    assert_int_equal(dispatch_stats(d).credit_waiting, results - credits);
    dispatch_free(&d);
    return credits;
}

static void test_few_large_payloads_are_under_way_and_small_ones_up_to_a_megabyte(void **state)
{
    (void)state;
    assert_int_equal(asked_for(0, 70), LIMIT_RESULTS_LARGE_IN_FLIGHT);
    assert_int_equal(asked_for(20 << 20, 70), LIMIT_RESULTS_LARGE_IN_FLIGHT);
    assert_int_equal(asked_for(1 << 18, 70), 4);
    assert_int_equal(asked_for(1 << 17, 70), 8);
    assert_int_equal(asked_for(64, 70), LIMIT_RESULTS_IN_FLIGHT);
    assert_int_equal(asked_for(64, 30), 30);
}

static void test_job_given_back_unsent_is_asked_for_again_with_the_same_request(void **state)
{
    (void)state;
    struct quiet q;
    start_quiet(&q, 1, 1, JOB_GRADIENT);
    struct dispatch_action a = want(&q, 0, 1);
    dispatch_release(q.d, a.worker, a.job, a.attempt, q.now);
    collect(&q);
    struct dispatch_action b = want(&q, 0, 1);
    assert_true(b.job == a.job && b.attempt == 2);
    announce(&q, q.workers[0], &b, 1);
    assert_non_null(action(&q, DISPATCH_CREDIT));
    announce(&q, q.workers[0], &b, 1); /* the credit was lost on its way */
    assert_non_null(action(&q, DISPATCH_CREDIT));
    pay(&q, q.workers[0], &b);
    assert_non_null(action(&q, DISPATCH_BATCH_DONE));
    dispatch_free(&q.d);
}

static void test_accepted_result_that_is_given_back_goes_to_somebody_else_at_once(void **state)
{
    (void)state;
    struct quiet q;
    start_quiet(&q, 2, 1, JOB_GRADIENT);
    struct dispatch_action a = want(&q, 0, 1);
    assert_int_equal(want(&q, 1, 1).job, 0);
    announce(&q, q.workers[0], &a, 1);
    assert_non_null(action(&q, DISPATCH_CREDIT));
    dispatch_release(q.d, a.worker, a.job, a.attempt, q.now); /* it has dropped it meanwhile */
    collect(&q);
    assert_int_equal(dispatch_stats(q.d).in_flight, 0);
    assert_int_equal(action(&q, DISPATCH_SETTLED)->code, ERR_STALE);
    const struct dispatch_action *again = action(&q, DISPATCH_ASSIGN);
    assert_true(again && again->worker == q.workers[1] && again->job == a.job);
    struct dispatch_action b = *again;
    announce(&q, q.workers[1], &b, 1);
    pay(&q, q.workers[1], &b);
    assert_non_null(action(&q, DISPATCH_BATCH_DONE));
    dispatch_free(&q.d);
}

static void announce_norm(struct quiet *q, uint64_t worker, const struct dispatch_action *a,
                          double sumsq)
{
    const struct job *job = dispatch_job(q->d, a->job);
    const struct result_row row = {.unit = ids[job->units[0]], .sumsq = sumsq};
    const struct dispatch_result r = {.worker = worker,
                                      .job = a->job,
                                      .attempt = a->attempt,
                                      .n_rows = 1,
                                      .rows = &row,
                                      .digest = {1}};
    dispatch_announce(q->d, &r, q->now);
    collect(q);
}

/* Enough committed norms of 1 for a band. */
static void fill_band(struct quiet *q)
{
    static const uint32_t rows[4] = {10, 20, 30, 40};
    for (uint32_t tag = 7; tag < 7 + SCREEN_MIN / 4; tag++) {
        const struct dispatch_batch batch = {
            .kind = JOB_GRADIENT, .tag = tag, .n_units = 4, .unit_ids = ids, .rows = rows};
        assert_int_equal(dispatch_open(q->d, &batch, q->now), OK);
        for (uint32_t i = 0; i < 4; i++) {
            struct dispatch_action a = want(q, 0, (uint64_t)tag * 4 + i);
            announce_norm(q, q->workers[0], &a, 1.0);
            pay(q, q->workers[0], &a);
        }
        dispatch_committed(q->d, tag);
    }
    const struct dispatch_batch last = {
        .kind = JOB_GRADIENT, .tag = 99, .n_units = 1, .unit_ids = ids, .rows = rows};
    assert_int_equal(dispatch_open(q->d, &last, q->now), OK);
    collect(q);
}

static void test_second_opinion_does_not_wait_for_a_worker_that_asks_for_nothing(void **state)
{
    (void)state;
    struct quiet q;
    start_quiet(&q, 2, 4, JOB_GRADIENT);
    fill_band(&q);
    struct dispatch_action a = want(&q, 0, 1000);
    announce_norm(&q, q.workers[0], &a, 1e6);
    assert_int_equal(action(&q, DISPATCH_SETTLED)->code, ERR_BUSY);
    assert_int_equal(want(&q, 0, 1001).job, 0); /* the other one shall do it */
    bool served = false;
    uint64_t from = q.now;
    while (!served && q.now - from < 60 * SEC) {
        q.now += 500 * MS;
        dispatch_heartbeat(q.d, q.workers[0], NULL, 0, q.now);
        dispatch_heartbeat(q.d, q.workers[1], NULL, 0, q.now); /* it lives and does not ask */
        (void)dispatch_tick(q.d, q.now);
        collect(&q);
        const struct dispatch_action *again = action(&q, DISPATCH_ASSIGN);
        served = again && again->worker == q.workers[0] && again->job == a.job;
    }
    assert_true(served && q.now - from >= 5 * SEC);
    dispatch_free(&q.d);
}

static void test_worker_that_asks_on_though_it_must_probe_is_told_again(void **state)
{
    (void)state;
    static const uint8_t probe[16] = {1};
    struct quiet q;
    start_quiet(&q, 2, 2, JOB_GRADIENT);
    struct dispatch_action a = want(&q, 0, 1);
    (void)want(&q, 1, 1);
    announce(&q, q.workers[0], &a, 1);
    pay(&q, q.workers[0], &a);
    announce(&q, q.workers[1], &a, 2); /* other bits: both must probe, and the words get lost */
    assert_non_null(action(&q, DISPATCH_PROBE));
    (void)want(&q, 0, 2);
    assert_null(action(&q, DISPATCH_PROBE));
    (void)want(&q, 0, 2);
    assert_int_equal(action(&q, DISPATCH_PROBE)->worker, q.workers[0]);
    assert_int_equal(dispatch_probed(q.d, q.workers[0], probe, q.now, NULL), OK);
    collect(&q);
    assert_int_equal(action(&q, DISPATCH_ASSIGN)->worker, q.workers[0]);
    dispatch_free(&q.d);
}

static void test_silent_worker_is_gone_within_three_seconds_and_its_job_goes_on(void **state)
{
    (void)state;
    struct quiet q;
    start_quiet(&q, 2, 1, JOB_GRADIENT);
    struct dispatch_action one = want(&q, 0, 1);
    assert_int_equal(want(&q, 1, 1).job, 0);
    uint64_t from = q.now;
    bool moved = false;
    while (!moved) {
        q.now += 100 * MS;
        assert_true(q.now - from <= 3 * SEC);
        dispatch_heartbeat(q.d, q.workers[1], NULL, 0, q.now);
        (void)dispatch_tick(q.d, q.now);
        collect(&q);
        const struct dispatch_action *a = action(&q, DISPATCH_ASSIGN);
        moved = a && a->worker == q.workers[1] && a->job == one.job;
    }
    dispatch_free(&q.d);
}

static void test_own_stall_of_the_coordinator_costs_nobody_the_lease(void **state)
{
    (void)state;
    struct quiet q;
    start_quiet(&q, 2, 2, JOB_GRADIENT);
    (void)want(&q, 0, 1);
    (void)want(&q, 1, 1);
    (void)dispatch_tick(q.d, q.now);
    q.now += 3600 * SEC;
    (void)dispatch_tick(q.d, q.now);
    collect(&q);
    assert_null(action(&q, DISPATCH_GONE));
    assert_null(action(&q, DISPATCH_CANCEL));
    dispatch_free(&q.d);
}

static void test_late_result_of_a_settled_job_is_stale(void **state)
{
    (void)state;
    struct quiet q;
    start_quiet(&q, 2, 2, JOB_GRADIENT);
    struct dispatch_action one = want(&q, 0, 1);
    announce(&q, q.workers[0], &one, 1);
    assert_non_null(action(&q, DISPATCH_CREDIT));
    pay(&q, q.workers[0], &one);
    assert_int_equal(action(&q, DISPATCH_SETTLED)->code, OK);
    announce(&q, q.workers[1], &one, 1);
    assert_int_equal(action(&q, DISPATCH_SETTLED)->code, ERR_STALE);
    assert_int_equal(dispatch_payload(q.d, q.workers[0], one.job, 1, q.now), ERR_STALE);
    dispatch_free(&q.d);
}

static void test_differing_duplicate_restarts_the_step_and_a_third_result_decides(void **state)
{
    (void)state;
    static const uint8_t probe[16] = {1};
    struct quiet q;
    start_quiet(&q, 3, 2, JOB_GRADIENT);
    struct dispatch_action one = want(&q, 0, 1);
    announce(&q, q.workers[0], &one, 1);
    pay(&q, q.workers[0], &one);
    announce(&q, q.workers[1], &one, 2);
    assert_non_null(action(&q, DISPATCH_RESTART));
    assert_non_null(action(&q, DISPATCH_PROBE));
    struct dispatch_action third = want(&q, 2, 1);
    assert_true(third.job != 0 && third.job != one.job);
    announce(&q, q.workers[2], &third, 1);
    assert_non_null(action(&q, DISPATCH_QUARANTINE));
    assert_true(action(&q, DISPATCH_QUARANTINE)->worker == q.workers[1]);
    assert_non_null(action(&q, DISPATCH_CREDIT));
    pay(&q, q.workers[2], &third);
    assert_int_equal(dispatch_probed(q.d, q.workers[0], probe, q.now, NULL), OK);
    struct dispatch_action rest = want(&q, 0, 2);
    announce(&q, q.workers[0], &rest, 5);
    pay(&q, q.workers[0], &rest);
    assert_non_null(action(&q, DISPATCH_BATCH_DONE));
    dispatch_free(&q.d);
}

static void test_three_different_results_stop_the_run(void **state)
{
    (void)state;
    struct quiet q;
    start_quiet(&q, 3, 2, JOB_GRADIENT);
    struct dispatch_action one = want(&q, 0, 1);
    announce(&q, q.workers[0], &one, 1);
    pay(&q, q.workers[0], &one);
    announce(&q, q.workers[1], &one, 2);
    struct dispatch_action third = want(&q, 2, 1);
    announce(&q, q.workers[2], &third, 3);
    const struct dispatch_action *stop = action(&q, DISPATCH_STOP);
    assert_non_null(stop);
    assert_non_null(strstr(stop->text, "w0"));
    assert_non_null(strstr(stop->text, "w1"));
    dispatch_free(&q.d);
}

static void test_job_that_fails_on_two_workers_stops_the_run_by_name(void **state)
{
    (void)state;
    struct quiet q;
    start_quiet(&q, 2, 1, JOB_GRADIENT);
    uint64_t request[2] = {0, 0};
    for (int i = 0; i < 3; i++) {
        uint32_t w = (uint32_t)i % 2;
        struct dispatch_action a = want(&q, w, ++request[w]);
        assert_true(a.job != 0);
        dispatch_failed(q.d, a.worker, a.job, a.attempt, "gradient is NaN in layer 3", q.now);
        collect(&q);
    }
    assert_non_null(action(&q, DISPATCH_STOP));
    assert_non_null(strstr(action(&q, DISPATCH_STOP)->text, "NaN in layer 3"));
    dispatch_free(&q.d);
}

static void test_worker_with_other_arithmetic_is_refused_in_a_strict_run(void **state)
{
    (void)state;
    static const uint8_t other[16] = {9};
    struct quiet q;
    struct errbuf e;
    start_quiet(&q, 1, 1, JOB_GRADIENT);
    const struct roster_hello hello = {.name = "odd", .core_type = "Zen", .epoch = 1, .slots = 1};
    uint64_t id;
    assert_int_equal(dispatch_hello(q.d, &hello, q.now, &id, &e), OK);
    assert_int_equal(dispatch_probed(q.d, id, other, q.now, &e), ERR_REFUSED);
    assert_non_null(strstr(e.text, "strict: false"));
    assert_null(roster_get(dispatch_roster(q.d), id));
    dispatch_free(&q.d);
}

static void test_idle_slot_gets_a_copy_of_the_slowest_job_and_the_loser_is_cancelled(void **state)
{
    (void)state;
    struct quiet q;
    start_quiet(&q, 2, 2, JOB_GRADIENT);
    struct dispatch_action one = want(&q, 0, 1);
    struct dispatch_action two = want(&q, 1, 1);
    q.now += 200 * MS;
    announce(&q, q.workers[1], &two, 2); /* teaches the cost of a token */
    pay(&q, q.workers[1], &two);
    assert_int_equal(want(&q, 1, 2).job, 0);
    struct dispatch_action copy = {0};
    for (int i = 0; i < 30 && copy.job == 0; i++) {
        const struct dispatch_running r = {one.job, one.attempt};
        q.now += 100 * MS;
        dispatch_heartbeat(q.d, q.workers[0], &r, 1, q.now);
        dispatch_heartbeat(q.d, q.workers[1], NULL, 0, q.now);
        (void)dispatch_tick(q.d, q.now);
        collect(&q);
        copy = action(&q, DISPATCH_ASSIGN) ? *action(&q, DISPATCH_ASSIGN) : copy;
    }
    assert_true(copy.job == one.job && copy.attempt == 2 && copy.worker == q.workers[1]);
    announce(&q, q.workers[1], &copy, 1);
    pay(&q, q.workers[1], &copy);
    const struct dispatch_action *cancel = action(&q, DISPATCH_CANCEL);
    assert_true(cancel && cancel->worker == q.workers[0] && cancel->attempt == 1);
    assert_non_null(action(&q, DISPATCH_BATCH_DONE));
    dispatch_free(&q.d);
}

static void test_score_results_settle_at_once(void **state)
{
    (void)state;
    struct quiet q;
    start_quiet(&q, 1, 2, JOB_SCORE);
    for (uint64_t i = 1; i <= 2; i++) {
        struct dispatch_action a = want(&q, 0, i);
        const struct job *job = dispatch_job(q.d, a.job);
        const struct result_row row = {.unit = ids[job->units[0]]};
        const struct dispatch_result r = {
            .worker = a.worker, .job = a.job, .attempt = a.attempt, .n_rows = 1, .rows = &row};
        assert_int_equal(dispatch_result(q.d, &r, q.now), OK);
        assert_int_equal(dispatch_result(q.d, &r, q.now), ERR_STALE);
        collect(&q);
    }
    assert_non_null(action(&q, DISPATCH_BATCH_DONE));
    dispatch_free(&q.d);
}

static void test_drained_worker_gets_no_more_jobs_but_its_result_counts(void **state)
{
    (void)state;
    struct quiet q;
    start_quiet(&q, 1, 2, JOB_GRADIENT);
    struct dispatch_action one = want(&q, 0, 1);
    dispatch_drain(q.d, q.workers[0], q.now);
    announce(&q, q.workers[0], &one, 1);
    assert_non_null(action(&q, DISPATCH_CREDIT));
    pay(&q, q.workers[0], &one);
    assert_int_equal(want(&q, 0, 2).job, 0);
    dispatch_gone(q.d, q.workers[0], "bye", q.now);
    collect(&q);
    assert_int_equal(dispatch_counts(q.d).done, 1);
    dispatch_free(&q.d);
}

static void test_result_that_names_other_units_is_refused(void **state)
{
    (void)state;
    struct quiet q;
    start_quiet(&q, 1, 2, JOB_GRADIENT);
    struct dispatch_action one = want(&q, 0, 1);
    const struct result_row row = {.unit = 99};
    const struct dispatch_result r = {
        .worker = one.worker, .job = one.job, .attempt = one.attempt, .n_rows = 1, .rows = &row};
    dispatch_announce(q.d, &r, q.now);
    collect(&q);
    assert_int_equal(action(&q, DISPATCH_SETTLED)->code, ERR_REFUSED);
    assert_int_equal(roster_get(dispatch_roster(q.d), q.workers[0])->strikes, 1);
    dispatch_free(&q.d);
}

/* A small run in which an allocation may fail: it ends, or it says that it stops; nothing leaks. */
static bool run_that_may_stop(void)
{
    static const uint8_t probe[16] = {1};
    static const uint32_t rows[4] = {10, 20, 30, 40};
    const struct dispatch_config cfg = {.has_probe = true, .probe = {1}};
    const struct roster_hello hello = {.name = "w", .epoch = 1, .slots = 1};
    const struct dispatch_batch batch = {
        .kind = JOB_GRADIENT, .tag = 7, .n_units = 4, .unit_ids = ids, .rows = rows};
    struct quiet q = {.now = SEC};
    bool done = false;
    bool stopped = dispatch_new(&cfg, &q.d) != OK;
    if (stopped) {
        return false;
    }
    stopped = dispatch_hello(q.d, &hello, q.now, &q.workers[0], NULL) != OK ||
              dispatch_probed(q.d, q.workers[0], probe, q.now, NULL) != OK ||
              dispatch_open(q.d, &batch, q.now) != OK;
    for (uint64_t i = 1; !done && !stopped; i++) {
        assert_true(i < 10);
        struct dispatch_action a = want(&q, 0, i);
        stopped = action(&q, DISPATCH_STOP) != NULL;
        if (!stopped) {
            announce(&q, q.workers[0], &a, 1);
            stopped = action(&q, DISPATCH_STOP) != NULL;
        }
        if (!stopped) {
            pay(&q, q.workers[0], &a);
            stopped = action(&q, DISPATCH_STOP) != NULL;
            done = action(&q, DISPATCH_BATCH_DONE) != NULL;
        }
    }
    dispatch_free(&q.d);
    return done;
}

static void test_every_allocation_that_fails_is_an_error_or_a_stop(void **state)
{
    (void)state;
    unsigned long n = 0;
    bool done = false;
    while (!done) {
        assert_true(n < 200);
        mem_fail_after(++n);
        done = run_that_may_stop();
        mem_fail_after(0);
    }
    assert_true(n > 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_life_of_the_workers_gives_the_exact_sum_of_each_unit_once),
        cmocka_unit_test(test_same_request_is_answered_with_the_same_job),
        cmocka_unit_test(test_few_large_payloads_are_under_way_and_small_ones_up_to_a_megabyte),
        cmocka_unit_test(test_job_given_back_unsent_is_asked_for_again_with_the_same_request),
        cmocka_unit_test(test_accepted_result_that_is_given_back_goes_to_somebody_else_at_once),
        cmocka_unit_test(test_second_opinion_does_not_wait_for_a_worker_that_asks_for_nothing),
        cmocka_unit_test(test_worker_that_asks_on_though_it_must_probe_is_told_again),
        cmocka_unit_test(test_silent_worker_is_gone_within_three_seconds_and_its_job_goes_on),
        cmocka_unit_test(test_own_stall_of_the_coordinator_costs_nobody_the_lease),
        cmocka_unit_test(test_late_result_of_a_settled_job_is_stale),
        cmocka_unit_test(test_differing_duplicate_restarts_the_step_and_a_third_result_decides),
        cmocka_unit_test(test_three_different_results_stop_the_run),
        cmocka_unit_test(test_job_that_fails_on_two_workers_stops_the_run_by_name),
        cmocka_unit_test(test_worker_with_other_arithmetic_is_refused_in_a_strict_run),
        cmocka_unit_test(test_idle_slot_gets_a_copy_of_the_slowest_job_and_the_loser_is_cancelled),
        cmocka_unit_test(test_score_results_settle_at_once),
        cmocka_unit_test(test_drained_worker_gets_no_more_jobs_but_its_result_counts),
        cmocka_unit_test(test_result_that_names_other_units_is_refused),
        cmocka_unit_test(test_every_allocation_that_fails_is_an_error_or_a_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
