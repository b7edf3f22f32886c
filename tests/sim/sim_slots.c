/* sim_slots.c - slots.h without threads, and the engine's arithmetic as a cheap function of (unit,
 * parameters, step, seed). worker/step.c makes the payloads as it always does. */
#include "worker/slots.h"

#include <string.h>

#include "common/base/check.h"
#include "common/base/mem.h"
#include "common/base/rng.h"
#include "common/format/model_file.h"
#include "common/wire/units_frame.h"
#include "tests/sim/sim.h"
#include "worker/engine_generate.h"

enum { SPOILT_MAX = 4096, SPIKE = 8, BEYOND = 1000 };

struct sim_slot {
    struct slots *owner;
    uint32_t index;
    bool busy;
    struct wire_job job;
    struct unit *units;
    struct blob *params;
    atomic_bool stop;
    uint32_t unit; /* the one that computes */
    uint64_t progress, started;
};

struct slots {
    int node;
    struct mailbox *reports;
    uint64_t computed_ns; /* of jobs that ended */
    uint64_t asked, made; /* calls of slots_prepare; the one that the engine is of, 0: none yet */
    uint32_t count;
    struct sim_slot slots[];
};

/* What engine_gradient is asked by step_run: the gradient of a unit, true or not. */
struct engine_slot {
    enum sim_fault wrong; /* FAULT_KINDS: none */
    uint64_t salt;
    size_t floats;
};

static struct {
    uint8_t digest[HASH_XXH128_BYTES];
    enum sim_fault kind;
} spoilt[SPOILT_MAX];
static size_t n_spoilt;

void sim_slots_reset(void)
{
    n_spoilt = 0;
}

enum sim_fault sim_spoilt(const uint8_t digest[HASH_XXH128_BYTES])
{
    for (size_t i = 0; i < n_spoilt; i++) {
        if (memcmp(spoilt[i].digest, digest, HASH_XXH128_BYTES) == 0) {
            return spoilt[i].kind;
        }
    }
    return FAULT_KINDS;
}

static void remember(const struct step_result *result, enum sim_fault kind)
{
    if (result->payload && n_spoilt < SPOILT_MAX) {
        memcpy(spoilt[n_spoilt].digest, result->hash, HASH_XXH128_BYTES);
        spoilt[n_spoilt++].kind = kind;
    }
}

/* Every token and label counts, so that a list of units that changed on its way is seen. */
static uint64_t digest_trees(const struct unit *unit)
{
    uint64_t sum = 0;
    for (uint32_t t = 0; t < unit->n_trees; t++) {
        const struct tree *tree = &unit->trees[t];
        uint8_t digest[2][HASH_XXH128_BYTES];
        uint64_t words[2];
        hash_xxh128(tree->tokens, tree->n_rows * sizeof *tree->tokens, digest[0]);
        hash_xxh128(tree->labels, tree->n_labels * sizeof *tree->labels, digest[1]);
        memcpy(&words[0], digest[0], sizeof words[0]);
        memcpy(&words[1], digest[1], sizeof words[1]);
        sum = rng_key(sum, words[0], words[1], t);
    }
    return sum;
}

void sim_gradient(const struct unit *unit, const float *lora, uint64_t step, int64_t *sum,
                  double *sumsq)
{
    uint8_t digest[HASH_XXH128_BYTES];
    uint64_t word;
    size_t floats = 0;
    floats = lora_count(model_shape(NULL), &(struct lora_config){.r = 1, .targets = 1});
    hash_xxh128(lora, floats * sizeof *lora, digest);
    memcpy(&word, digest, sizeof word);
    uint64_t key = rng_key(sim.plan.seed, unit->id, step, word ^ digest_trees(unit));
    int64_t factor = sim.plan.spikes && rng_below(key, 1000000, 40) == 0 ? SPIKE : 1;
    double squares = 0.0;
    for (size_t i = 0; i < floats; i++) {
        int64_t g = ((int64_t)(rng_at(key, i) >> 26) - ((int64_t)1 << 37)) * factor;
        sum[i] += g;
        squares += (double)g * 0x1p-40 * ((double)g * 0x1p-40);
    }
    *sumsq = squares;
}

enum err engine_gradient(struct engine_slot *slot, const struct unit *unit, const float *lora,
                         uint64_t step, int64_t *sum, struct unit_result *result, struct errbuf *e)
{
    if (slot->wrong == FAULT_NOT_FINITE) {
        return err_set(e, ERR_RANGE, "an element is not finite");
    }
    sim_gradient(unit, lora, step, sum, &result->sumsq);
    result->loss = (int64_t)(rng_at(unit->id, step) >> 24);
    result->labels = unit->trees[0].n_labels;
    if (slot->wrong == FAULT_NORM) {
        result->sumsq *= BEYOND;
    } else if (slot->wrong == FAULT_SILENT) {
        sum[slot->salt % slot->floats] += 1 + (int64_t)(slot->salt >> 40);
    } else if (slot->wrong == FAULT_BAND) {
        sum[slot->salt % slot->floats] += (int64_t)(slot->salt >> 15);
        result->sumsq *= BEYOND;
    }
    return OK;
}

enum err engine_score(struct engine_slot *slot, const struct unit *unit, const float *lora,
                      double *leaf, struct errbuf *e)
{
    (void)slot;
    (void)unit;
    (void)lora;
    (void)leaf;
    return err_set(e, ERR_UNSUPPORTED, "a simulated run has no evaluation");
}

/* Nor has it answers or captures. */
enum err engine_divergence(struct engine_slot *slot, const struct unit *unit, const float *lora,
                           double *leaf, struct errbuf *e)
{
    return engine_score(slot, unit, lora, leaf, e);
}

enum err engine_capture(struct engine_slot *slot, const struct unit *unit, const float *lora,
                        int64_t *sum, struct errbuf *e)
{
    (void)sum;
    return engine_score(slot, unit, lora, NULL, e);
}

enum err engine_generate(struct engine_slot *slot, const struct unit *units,
                         const struct answer_request *requests, uint32_t n, const float *lora,
                         const atomic_bool *stop, bool *stopped, struct engine_answer *answers,
                         struct errbuf *e)
{
    (void)requests;
    (void)n;
    (void)stop;
    (void)stopped;
    (void)answers;
    return engine_score(slot, units, lora, NULL, e);
}

enum err engine_slot_steer(struct engine_slot *slot, const float *vectors, struct errbuf *e)
{
    (void)slot;
    return vectors ? err_set(e, ERR_UNSUPPORTED, "a simulated run is not steered") : OK;
}

static void drop_report(struct letter *letter)
{
    slot_report_free((struct slot_report *)letter);
}

void slot_report_free(struct slot_report *report)
{
    blob_free(&report->result.payload);
    mem_free(report);
}

static struct slot_report *new_report(enum slot_report_kind kind, uint32_t slot)
{
    struct slot_report *report = mem_calloc(1, sizeof *report);
    CHECK(report != NULL);
    report->letter.drop = drop_report;
    report->kind = kind;
    report->slot = slot;
    return report;
}

static void post(struct slots *s, struct slot_report *report)
{
    if (mailbox_post(s->reports, &report->letter) != OK) {
        slot_report_free(report);
    }
}

enum err slots_open(const struct model_file *mf, const char *model_hash, uint32_t count,
                    struct mailbox *reports, struct slots **out, struct errbuf *e)
{
    (void)mf;
    (void)model_hash;
    struct slots *s = mem_calloc(1, sizeof *s + count * sizeof s->slots[0]);
    if (!s) {
        return err_set(e, ERR_NOMEM, "no memory for %u slots", count);
    }
    s->node = sim.here;
    s->reports = reports;
    s->count = count;
    for (uint32_t i = 0; i < count; i++) {
        s->slots[i].owner = s;
        s->slots[i].index = i;
    }
    *out = s;
    return OK;
}

static void prepared(void *ctx, uint64_t number)
{
    struct slots *s = ctx;
    struct slot_report *report = new_report(SLOT_PREPARED, 0);
    report->engine = number;
    report->fresh = s->made == 0; /* a run has one setting */
    s->made = number > s->made ? number : s->made;
    post(s, report);
}

enum err slots_prepare(struct slots *s, const struct engine_config *config,
                       const struct engine_rows *rows, uint64_t *engine)
{
    (void)config;
    (void)rows;
    *engine = ++s->asked;
    sim_at(sim.now + sim_between(1, 50) * SIM_MS, s->node, sim.nodes[s->node].life, prepared, s,
           *engine);
    return OK;
}

static void probed(void *ctx, uint64_t a)
{
    struct slots *s = ctx;
    struct sim_node *n = &sim.nodes[s->node];
    struct slot_report *report = new_report(SLOT_PROBED, 0);
    (void)a;
    report->engine = s->made;
    CHECK(hash_from_hex("5053464f5053464f5053464f5053464f", sizeof report->digest, report->digest));
    if (n->wrong[FAULT_PROBE] > 0) {
        n->wrong[FAULT_PROBE]--;
        report->digest[0] ^= 1;
        sim_count(FAULT_PROBE);
    }
    post(s, report);
}

enum err slots_probe(struct slots *s)
{
    sim_at(sim.now + sim_between(10, 100) * SIM_MS, s->node, sim.nodes[s->node].life, probed, s, 0);
    return OK;
}

static enum sim_fault next_wrong(struct sim_node *n)
{
    static const enum sim_fault kinds[] = {FAULT_NOT_FINITE, FAULT_NORM, FAULT_BAND, FAULT_SILENT};
    if (sim_options.liar && n == &sim.nodes[SIM_LIAR] && sim.version >= SIM_EVEN_FROM) {
        return FAULT_SILENT;
    }
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (n->wrong[kinds[i]] > 0) {
            n->wrong[kinds[i]]--;
            sim_count(kinds[i]);
            return kinds[i];
        }
    }
    return FAULT_KINDS;
}

static void drop_work(struct sim_slot *t)
{
    units_frame_free(t->units, t->units ? t->job.units : 0);
    t->units = NULL;
    blob_free(&t->params);
    t->busy = false;
}

static void finish(struct sim_slot *t)
{
    struct slots *s = t->owner;
    struct slot_report *report = new_report(SLOT_JOB, t->index);
    struct engine_slot engine = {.wrong = FAULT_KINDS,
                                 .salt = sim_draw(),
                                 .floats = t->params ? blob_bytes(t->params) / sizeof(float) : 0};
    if (!atomic_load(&t->stop)) {
        engine.wrong = next_wrong(&sim.nodes[s->node]);
    }
    struct payload_room room = {{NULL}};
    const struct step_work work = {
        .job = &t->job,
        .units = t->units,
        .lora = t->params ? (const float *)(const void *)blob_data(t->params) : NULL,
        .lora_count = engine.floats,
        .stop = &t->stop,
        .room = &room};
    report->job = t->job;
    report->code = step_run(&engine, &work, &report->result, &report->text);
    payload_room_clear(&room);
    report->seconds = (float)((double)(sim.now - t->started) * 1e-9);
    s->computed_ns += sim.now - t->started;
    if (engine.wrong == FAULT_BAND || engine.wrong == FAULT_SILENT) {
        remember(&report->result, engine.wrong);
    }
    if (report->result.payload) {
        sim_oracle_computed(s->node, t->job.units, engine.wrong);
    }
    drop_work(t);
    post(s, report);
}

static void unit_done(void *ctx, uint64_t a);

static void next_unit(struct sim_slot *t)
{
    const struct sim_node *n = &sim.nodes[t->owner->node];
    uint64_t cost = t->units[t->unit].n_rows * sim.plan.token_ns * n->slow;
    cost = cost * sim_between(80, 130) / 100;
    sim_at(sim.now + cost, t->owner->node, n->life, unit_done, t, 0);
}

static void unit_done(void *ctx, uint64_t a)
{
    struct sim_slot *t = ctx;
    (void)a;
    t->progress++;
    if (++t->unit < t->job.units && !atomic_load(&t->stop)) {
        next_unit(t);
    } else {
        finish(t);
    }
}

enum err slots_compute(struct slots *s, uint32_t slot, const struct wire_job *job,
                       struct unit *units, struct answer_request *requests, struct blob *params)
{
    CHECK(requests == NULL);
    struct sim_slot *t = &s->slots[slot];
    CHECK(!t->busy);
    t->busy = true;
    t->job = *job;
    t->units = units;
    t->params = params ? blob_ref(params) : NULL;
    t->unit = 0;
    t->started = sim.now;
    atomic_store(&t->stop, false);
    next_unit(t);
    return OK;
}

void slots_stop(struct slots *s, uint32_t slot)
{
    atomic_store(&s->slots[slot].stop, true);
}

uint64_t slots_progress(const struct slots *s, uint32_t slot)
{
    return s->slots[slot].progress;
}

uint64_t slots_computed_ms(struct slots *s)
{
    uint64_t ns = s->computed_ns;
    for (uint32_t i = 0; i < s->count; i++) {
        ns += s->slots[i].busy ? sim.now - s->slots[i].started : 0;
    }
    return ns / SIM_MS;
}

void slots_close(struct slots **slots)
{
    struct slots *s = *slots;
    *slots = NULL;
    for (uint32_t i = 0; s && i < s->count; i++) {
        drop_work(&s->slots[i]);
    }
    mem_free(s);
}
