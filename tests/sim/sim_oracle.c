/* sim_oracle.c - what must be true of every run, whatever the faults: the parameters of every
 * version are those of the quiet run bit for bit, each unit of a step is in its sum exactly once,
 * committed steps never go back, queues and tables keep to their bounds. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/mem.h"
#include "coordinator/dispatch_state.h"
#include "coordinator/phases_state.h"
#include "coordinator/recover.h"
#include "coordinator/server_state.h"
#include "tests/sim/sim.h"
#include "tests/sim/sim_serving.h"
#include "worker/agent.h"

#define STOP_NS (30 * SIM_S) /* what was spoilt before is judged by then */

enum { VERSIONS = 64, FLOATS = 64, UNITS_MAX = 64, PLACES = 64 };

static struct {
    uint8_t flat[VERSIONS][HASH_XXH128_BYTES];  /* of p, as published */
    uint8_t state[VERSIONS][HASH_XXH128_BYTES]; /* of p, m, v */
    uint32_t units[VERSIONS];
    uint32_t counted[UNITS_MAX]; /* of the open step */
    uint64_t step;
    uint64_t wrong[2];      /* spoilt payloads in the open step's sum: silent, out of band */
    uint64_t wrong_version; /* versions from here on hold one; UINT64_MAX: none */
    uint64_t committed;     /* steps, as the journal said */
    uint64_t computed, units_counted;
    uint64_t splits, starts;
    struct dispatch_stats stats; /* of the process that runs */
    uint64_t stats_life, backups, restarts;
    uint64_t silent_made, silent_counted, band_made, band_counted;
    uint64_t confirmed;
    uint64_t alone_at;  /* when last fewer than two hosts asked for jobs */
    uint64_t opened_at; /* the step, or started again */
    uint32_t serial;
    uint64_t held_by[PLACES]; /* workers that were quarantined at the last look, by their place */
    uint32_t held[PLACES];    /* results of each that were accepted by then */
    bool found;
    uint64_t lied;
    uint64_t even_at, even_computed, even_units;
} oracle;

static void digest_state(const struct params *p, uint8_t digest[HASH_XXH128_BYTES])
{
    float all[3 * FLOATS];
    CHECK(p->adam.count == FLOATS);
    memcpy(all, p->adam.p, sizeof all / 3);
    memcpy(all + FLOATS, p->adam.m, sizeof all / 3);
    memcpy(all + 2 * FLOATS, p->adam.v, sizeof all / 3);
    hash_xxh128(all, sizeof all, digest);
}

/* The quiet run in a few lines: one sum after another, nobody else involved. */
static void compute_reference(void)
{
    struct setup setup;
    struct params *p = NULL;
    struct errbuf e;
    CHECK(sim_setup(&setup, &e) == OK);
    CHECK(params_new(model_shape(NULL), &setup.cfg->lora, setup.cfg->train_seed, &setup.adamw,
                     &p) == OK);
    for (uint64_t step = 0;; step++) {
        struct batch batch;
        int64_t sum[FLOATS] = {0};
        float gradient[FLOATS];
        double ignored;
        hash_xxh128(p->adam.p, FLOATS * sizeof(float), oracle.flat[step]);
        digest_state(p, oracle.state[step]);
        if (step == setup.steps) {
            break;
        }
        CHECK(batch_train(&setup, step, &batch, &e) == OK && batch.n_units <= UNITS_MAX);
        CHECK(batch.n_units >= 8);
        oracle.units[step] = batch.n_units;
        for (uint32_t u = 0; u < batch.n_units; u++) {
            sim_gradient(&batch.units[u], p->adam.p, step, sum, &ignored);
        }
        for (int i = 0; i < FLOATS; i++) {
            gradient[i] = (float)sum[i] * 0x1p-40f;
        }
        params_step(p, gradient, setup_rate(&setup, step), NULL);
        batch_free(&batch);
    }
    params_free(&p);
    setup_free(&setup);
}

void sim_oracle_open(void)
{
    memset(&oracle, 0, sizeof oracle);
    oracle.wrong_version = UINT64_MAX;
    compute_reference();
}

/* Seams: these calls of the project's own files come here first (--wrap). */
enum err __real_reduce_begin(struct reduce *r, uint64_t step, uint32_t n_units,
                             uint32_t first_anchor);
enum err __wrap_reduce_begin(struct reduce *r, uint64_t step, uint32_t n_units,
                             uint32_t first_anchor);
enum err __real_reduce_add(struct reduce *r, uint64_t step, const struct reduce_job *job);
enum err __wrap_reduce_add(struct reduce *r, uint64_t step, const struct reduce_job *job);
enum err __real_reduce_finish(struct reduce *r, float *gradient, struct reduce_total *total);
enum err __wrap_reduce_finish(struct reduce *r, float *gradient, struct reduce_total *total);
enum err __real_journal_append(struct journal *j, const struct journal_step *step,
                               const float *gradient, size_t count, struct errbuf *e);
enum err __wrap_journal_append(struct journal *j, const struct journal_step *step,
                               const float *gradient, size_t count, struct errbuf *e);
enum err __real_queue_split(struct queue *q, uint64_t id);
enum err __wrap_queue_split(struct queue *q, uint64_t id);

enum err __wrap_reduce_begin(struct reduce *r, uint64_t step, uint32_t n_units,
                             uint32_t first_anchor)
{
    memset(oracle.counted, 0, sizeof oracle.counted);
    oracle.wrong[0] = oracle.wrong[1] = 0;
    oracle.step = step;
    return __real_reduce_begin(r, step, n_units, first_anchor);
}

enum err __wrap_reduce_add(struct reduce *r, uint64_t step, const struct reduce_job *job)
{
    enum err error = __real_reduce_add(r, step, job);
    enum sim_fault kind = error == OK ? sim_spoilt(job->digest) : FAULT_KINDS;
    oracle.wrong[0] += kind == FAULT_SILENT;
    oracle.wrong[1] += kind == FAULT_BAND;
    for (uint32_t i = 0; error == OK && i < job->n_units; i++) {
        if (++oracle.counted[job->units[i]] > 1) {
            sim_fail("unit %u of step %llu was counted twice", job->units[i],
                     (unsigned long long)step);
        }
    }
    return error;
}

enum err __wrap_reduce_finish(struct reduce *r, float *gradient, struct reduce_total *total)
{
    enum err error = __real_reduce_finish(r, gradient, total);
    for (uint32_t i = 0; error == OK && i < oracle.units[oracle.step]; i++) {
        if (oracle.counted[i] != 1) {
            sim_fail("step %llu ended with unit %u counted %u times",
                     (unsigned long long)oracle.step, i, oracle.counted[i]);
        }
    }
    oracle.units_counted += error == OK ? oracle.units[oracle.step] : 0;
    if (error == OK && oracle.wrong[0] + oracle.wrong[1] > 0 && sim_options.audit >= 1.0 &&
        oracle.alone_at < oracle.opened_at) {
        sim_fail("step %llu holds a wrong gradient though two hosts were there",
                 (unsigned long long)oracle.step);
    }
    oracle.silent_counted += oracle.wrong[0];
    oracle.band_counted += oracle.wrong[1];
    if (oracle.wrong[0] + oracle.wrong[1] > 0 && oracle.step + 1 < oracle.wrong_version) {
        oracle.wrong_version = oracle.step + 1;
    }
    return error;
}

enum err __wrap_journal_append(struct journal *j, const struct journal_step *step,
                               const float *gradient, size_t count, struct errbuf *e)
{
    enum err error = __real_journal_append(j, step, gradient, count, e);
    if (error == OK && !sim.nodes[0].dead) {
        if (step->step != oracle.committed && !sim_disk_lied()) {
            sim_fail("step %llu was committed after %llu steps", (unsigned long long)step->step,
                     (unsigned long long)oracle.committed);
        }
        oracle.committed = step->step + 1;
    }
    return error;
}

enum err __wrap_queue_split(struct queue *q, uint64_t id)
{
    oracle.splits++;
    return __real_queue_split(q, id);
}

void sim_oracle_computed(int node, uint32_t units, enum sim_fault spoilt)
{
    oracle.computed += units;
    if (node == SIM_LIAR && spoilt == FAULT_SILENT && !oracle.found) {
        oracle.lied += units;
    }
    oracle.silent_made += spoilt == FAULT_SILENT;
    oracle.band_made += spoilt == FAULT_BAND;
}

static bool right(uint64_t version)
{
    return version < oracle.wrong_version;
}

void sim_oracle_started(const struct start *start)
{
    uint8_t digest[HASH_XXH128_BYTES];
    uint64_t steps = journal_steps(start->journal);
    uint64_t version = start->params->version;
    oracle.starts++;
    if (version != steps) {
        sim_fail("recovered version %llu with %llu steps committed", (unsigned long long)version,
                 (unsigned long long)steps);
        return;
    }
    if (steps < oracle.committed && !sim_disk_lied()) {
        sim_fail("%llu steps were committed, after a restart there are %llu",
                 (unsigned long long)oracle.committed, (unsigned long long)steps);
    }
    oracle.committed = steps;
    if (version < oracle.wrong_version) {
        oracle.wrong_version = UINT64_MAX; /* what was wrong is computed again */
    }
    digest_state(start->params, digest);
    if (right(version) && memcmp(digest, oracle.state[version], sizeof digest) != 0) {
        sim_fail("the parameters recovered at version %llu are not those of the quiet run",
                 (unsigned long long)version);
    }
}

static void check_dispatch(const struct server *s)
{
    const struct dispatch *d = s->dispatch;
    uint32_t workers = roster_count(d->roster);
    size_t room = 0;
    size_t slots = 0;
    for (uint32_t i = 0; i < workers; i++) {
        slots += roster_at(d->roster, i)->n_slots;
        room += roster_at(d->roster, i)->n_slots + AGENT_RESULTS_EXTRA;
    }
    if (workers > sim.plan.workers) {
        sim_fail("%u workers are entered, there are %u", workers, sim.plan.workers);
    }
    if (d->line_count > room || d->n_credited > LIMIT_RESULTS_IN_FLIGHT) {
        sim_fail("%zu results wait for credit, the workers have room for %zu", d->line_count, room);
    }
    if (leases_count(d->leases) > slots) {
        sim_fail("%u leases for %zu slots", leases_count(d->leases), slots);
    }
    if (d->actions_capacity > 4096) {
        sim_fail("the list of actions grew to %zu", d->actions_capacity);
    }
}

static void check_peers(const struct server *s)
{
    size_t used = 0;
    for (size_t i = 0; i < s->n_peers; i++) {
        const struct peer *peer = &s->peers[i];
        size_t announced = 0;
        used += peer->used;
        for (const struct announced *a = peer->used ? peer->announced : NULL; a; a = a->next) {
            announced++;
        }
        const struct worker *w =
            peer->used ? roster_get(dispatch_roster(s->dispatch), peer->worker) : NULL;
        if (peer->used && !w) {
            sim_fail("peer %s is kept, but its worker is not known any more", peer->name);
        } else if (w && announced > 2 * (w->n_slots + AGENT_RESULTS_EXTRA)) {
            sim_fail("%zu announcements of worker %s are kept, it has room for %u results",
                     announced, peer->name, w->n_slots + AGENT_RESULTS_EXTRA);
        }
    }
    if (used > sim.plan.workers || s->n_peers > 2 * (size_t)sim.plan.workers) {
        sim_fail("%zu peers are kept in %zu places, there are %u workers", used, s->n_peers,
                 sim.plan.workers);
    }
}

static void count_stats(const struct server *s)
{
    struct dispatch_stats now = dispatch_stats(s->dispatch);
    if (oracle.stats_life != sim.nodes[0].life) {
        oracle.stats_life = sim.nodes[0].life;
        memset(oracle.held_by, 0, sizeof oracle.held_by);
        oracle.stats = (struct dispatch_stats){0};
    }
    oracle.backups += now.backups - oracle.stats.backups;
    oracle.confirmed += now.confirmed - oracle.stats.confirmed;
    oracle.restarts += now.restarts - oracle.stats.restarts;
    oracle.stats = now;
}

static uint32_t accepted_of(const struct dispatch *d, uint64_t worker)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < d->n_credited; i++) {
        n += d->credited[i].worker == worker;
    }
    for (size_t i = 0; i < d->line_count; i++) {
        n += d->line[(d->line_first + i) % d->line_capacity].worker == worker;
    }
    return n;
}

/* From a worker that is quarantined nothing more is accepted; what was may still be summed. */
static void check_quarantined(const struct dispatch *d, uint32_t place, const struct worker *w)
{
    CHECK(place < PLACES);
    uint32_t n = accepted_of(d, w->id);
    bool quarantined = w->state == WORKER_QUARANTINED;
    if (quarantined && oracle.held_by[place] == w->id && n > oracle.held[place]) {
        sim_fail("a result of %s is accepted though it is quarantined", w->name);
    }
    oracle.held_by[place] = quarantined ? w->id : 0;
    oracle.held[place] = n;
}

/* Who is there, and is the liar found? */
static void look_at_workers(const struct server *s)
{
    const struct roster *r = dispatch_roster(s->dispatch);
    const char *host = NULL;
    bool two = false;
    for (uint32_t i = 0; i < roster_count(r); i++) {
        const struct worker *w = roster_at(r, i);
        check_quarantined(s->dispatch, w->index, w);
        if (roster_asks(r, w, clock_now_ns()) && !w->marked) { /* other arithmetic proves nothing */
            two = two || (host && strcmp(host, w->host) != 0);
            host = w->host;
        }
        oracle.found = oracle.found || (sim_options.liar && strcmp(w->name, "w01") == 0 &&
                                        w->state == WORKER_QUARANTINED);
    }
    oracle.alone_at = two ? oracle.alone_at : sim.now;
    if (dispatch_counts(s->dispatch).serial != oracle.serial) {
        oracle.serial = dispatch_counts(s->dispatch).serial;
        oracle.opened_at = sim.now;
    }
}

void sim_oracle_turn(void)
{
    const struct serving *serving = sim_serving();
    const struct phases *p = serving->phases;
    if (!p || !serving->server || server_ended(serving->server)) {
        return;
    }
    if (p->published > sim.version) {
        sim.version = p->published;
        sim.moved_at = sim.now;
        if (!sim.healed) {
            sim_faults_reach(sim.version);
        }
        if (sim.version == SIM_EVEN_FROM) {
            oracle.even_at = sim.now;
            oracle.even_computed = oracle.computed;
            oracle.even_units = oracle.units_counted;
        }
    }
    if (p->last && right(p->last->version) &&
        memcmp(p->last->digest, oracle.flat[p->last->version], HASH_XXH128_BYTES) != 0) {
        sim_fail("version %llu was published with other bits than in the quiet run",
                 (unsigned long long)p->last->version);
    }
    if (p->published > p->committed + PHASES_UNCOMMITTED || p->committed > oracle.committed ||
        (!sim.plan.strict && p->published > p->committed)) {
        sim_fail("version %llu is published, the loop counts %llu committed steps, the disk %llu",
                 (unsigned long long)p->published, (unsigned long long)p->committed,
                 (unsigned long long)oracle.committed);
    }
    count_stats(serving->server);
    look_at_workers(serving->server);
    check_dispatch(serving->server);
    check_peers(serving->server);
}

void sim_oracle_stopped(const char *why)
{
    /* The disk and workers that compute wrongly may stop a run; it goes on after a restart. */
    if (sim.healed && sim.now > sim.healed_at + STOP_NS) {
        sim_fail("the run stopped after the faults were over: %s", why);
    }
}

void sim_oracle_again(void)
{
    oracle.committed = 0;
    oracle.wrong_version = UINT64_MAX;
}

/* The steps that the liar spoilt are named from the first on. */
static void check_suspects(struct journal *j, struct errbuf *e)
{
    struct str text = {0};
    enum err error = journal_meta_get(j, "suspects", &text, e);
    uint64_t from = error == OK ? strtoull(text.data, NULL, 10) : UINT64_MAX;
    if (from + 1 > oracle.wrong_version) {
        sim_fail("a liar was found, step %llu is the first that is wrong, but run.db says: %s",
                 (unsigned long long)oracle.wrong_version - 1,
                 error == OK ? text.data : err_text(error));
    }
    str_free(&text);
}

void sim_oracle_finished(void)
{
    struct setup setup;
    struct params *p = NULL;
    struct journal *j = NULL;
    struct errbuf e = {{0}};
    uint8_t digest[HASH_XXH128_BYTES];
    bool folder;
    uint64_t bytes = 0;
    sim.finished = true;
    CHECK(sim_setup(&setup, &e) == OK);
    CHECK(params_new(model_shape(NULL), &setup.cfg->lora, setup.cfg->train_seed, &setup.adamw,
                     &p) == OK);
    sim_disk_heal();
    enum err error = journal_open_reader(SIM_RUN, &j, &e);
    if (error == OK) {
        error = recover_params(SIM_RUN, j, setup.fixed, p, NULL, &e);
    }
    if (error != OK) {
        sim_fail("the finished run cannot be read: %s", e.text);
    } else if (p->version != sim.plan.steps) {
        sim_fail("the finished run has %llu steps of %u", (unsigned long long)p->version,
                 sim.plan.steps);
    } else {
        digest_state(p, digest);
        if (right(p->version) && memcmp(digest, oracle.state[p->version], sizeof digest) != 0) {
            sim_fail("the final parameters are not those of the quiet run");
        }
    }
    if (error == OK && oracle.found && oracle.silent_counted > 0) {
        check_suspects(j, &e);
    }
    if (!sim_disk_exists(SIM_RUN "/adapter/adapter_model.safetensors", &folder, &bytes)) {
        sim_fail("the finished run has no adapter");
    }
    journal_close(&j);
    params_free(&p);
    setup_free(&setup);
}

void sim_oracle_close(struct sim_outcome *out)
{
    out->units = (uint32_t)oracle.units_counted;
    out->duplicates =
        oracle.computed > oracle.units_counted ? oracle.computed - oracle.units_counted : 0;
    out->splits = oracle.splits;
    out->backups = oracle.backups;
    out->restarts = oracle.restarts;
    out->starts = oracle.starts;
    out->confirmed = oracle.confirmed;
    out->found = oracle.found;
    out->lied = oracle.lied;
    out->even_ns = sim.now - oracle.even_at;
    out->even_computed = oracle.computed - oracle.even_computed;
    out->even_units = oracle.units_counted - oracle.even_units;
    out->silent_made = oracle.silent_made;
    out->silent_counted = oracle.silent_counted;
    out->band_made = oracle.band_made;
    out->band_counted = oracle.band_counted;
}
