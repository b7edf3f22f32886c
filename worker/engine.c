/* engine.c - units in, exact sums out: the pass through the network, the loss, the rounding. */
#include "worker/engine.h"

#include <math.h>

#include "common/base/limits.h"
#include "common/base/mem.h"
#include "worker/backend/bf16.h"
#include "worker/backend/kernels.h"
#include "worker/engine_slot.h"
#include "worker/model/anchor_base.h"
#include "worker/model/head.h"
#include "worker/model/terms.h"
#include "worker/model/weights.h"

enum { UNIT_LABELS = 1 << 26 };

static enum err check_config(const struct engine_config *c, const struct weights *w,
                             struct errbuf *e)
{
    enum err error = shape_check(&c->shape, e);
    if (error != OK) {
        return error;
    }
    if (c->shape.layers != w->shape.layers || c->shape.hidden != w->shape.hidden ||
        c->shape.vocab != w->shape.vocab || c->shape.ff != w->shape.ff) {
        return err_set(e, ERR_STATE, "engine: the weights are those of another shape");
    }
    if (c->lora.r > LIMIT_LORA_RANK || !(c->lora.dropout >= 0.0f && c->lora.dropout < 1.0f) ||
        !isfinite(c->lora.alpha)) {
        return err_set(e, ERR_RANGE,
                       "engine: lora r %u (0 to %d), alpha %g, dropout %g (0 to below 1)",
                       c->lora.r, LIMIT_LORA_RANK, (double)c->lora.alpha, (double)c->lora.dropout);
    }
    if (!kernels_level_runs_here(c->kernels)) {
        return err_set(e, ERR_UNSUPPORTED, "engine: this CPU cannot run kernels %s",
                       kernels_level_name(c->kernels));
    }
    if (c->precision == ENGINE_BF16 && (c->kernels != KERNELS_V4 || !bf16_runs_here())) {
        return err_set(e, ERR_UNSUPPORTED,
                       "engine: bf16 needs kernels x86-64-v4 and a CPU with AVX512_BF16; "
                       "'precision: fp32' in the run's config would admit this one");
    }
    return kernels_level_verify(c->kernels, e);
}

enum err engine_new(const struct engine_config *config, const struct weights *weights,
                    struct engine **out, struct errbuf *e)
{
    *out = NULL;
    enum err error = check_config(config, weights, e);
    if (error != OK) {
        return error;
    }
    struct engine *engine = mem_calloc(1, sizeof *engine);
    if (!engine) {
        return err_set(e, ERR_NOMEM, "engine: out of memory");
    }
    engine->config = *config;
    engine->config.tile_rows = config->tile_rows ? config->tile_rows : ENGINE_TILE_ROWS;
    engine->config.tile_cols = config->tile_cols                  ? config->tile_cols
                               : config->precision == ENGINE_BF16 ? ENGINE_TILE_COLS_BF16
                                                                  : ENGINE_TILE_COLS;
    error = model_init(&engine->model, &backend_cpu, weights, &config->lora,
                       config->precision == ENGINE_BF16 ? PRECISION_BF16_PRODUCTS
                                                        : PRECISION_FP32_PRODUCTS,
                       engine->config.tile_cols, e);
    if (error != OK) {
        mem_free(engine);
        return error;
    }
    *out = engine;
    return OK;
}

void engine_free(struct engine **engine)
{
    if (*engine) {
        model_deinit(&(*engine)->model);
        mem_free(*engine);
        *engine = NULL;
    }
}

size_t engine_lora_count(const struct engine *engine)
{
    return engine->model.adapter.words;
}

static void layer_done(void *owner)
{
    struct engine_slot *slot = owner;
    atomic_fetch_add_explicit(&slot->progress, 1, memory_order_relaxed);
}

/* As if the unit were a chain whose every second row carries a label. */
static struct pass_sizes sizes_of(const struct engine_config *c, uint32_t rows, bool train)
{
    return (struct pass_sizes){.rows = rows,
                               .labelled = (rows + 1) / 2,
                               .labels = rows,
                               .depth = rows,
                               .score_words = ATTENTION_QUERIES * score_ld(rows),
                               .lanes = c->threads > 1 ? c->threads : 1,
                               .keep = train,
                               .again = train && c->checkpointing,
                               .dropout = train && c->lora.dropout > 0.0f};
}

/* Every row of an anchor carries a label. */
static struct pass_sizes anchor_sizes(const struct engine_config *c, uint32_t rows)
{
    struct pass_sizes sizes = sizes_of(c, rows, true);
    sizes.labelled = rows;
    sizes.anchor = true;
    return sizes;
}

enum err engine_need(const struct engine_config *config, const struct engine_rows *rows,
                     struct engine_need *need, struct errbuf *e)
{
    const struct model_shape *s = &config->shape;
    const bool bf16 = config->precision == ENGINE_BF16;
    struct model m = {.shape = *s,
                      .precision = bf16 ? PRECISION_BF16_PRODUCTS : PRECISION_FP32_PRODUCTS};
    const struct pass_sizes kinds[] = {sizes_of(config, rows->train, true),
                                       sizes_of(config, rows->score, false),
                                       anchor_sizes(config, rows->anchor)};
    const size_t embed = (size_t)s->vocab * s->hidden;
    size_t most = 0;
    adapter_init(&m.adapter, s, &config->lora);
    *need = (struct engine_need){.weights = weights_floats(s) * sizeof(float)};
    need->resident = bf16 ? embed * sizeof(float) : need->weights;
    if (bf16) { /* two orders, of the matrices and of the head */
        size_t matrices = need->weights / sizeof(float) - (s->tied_head ? 0 : embed);
        need->packed = 2 * sizeof(uint16_t) * matrices;
    }
    enum err error = OK;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0] && error == OK; i++) {
        size_t bytes = 0;
        error = kinds[i].rows > 0 ? pass_measure(&m, &kinds[i], &bytes, e) : OK;
        bytes += kinds[i].anchor ? anchor_base_bytes(s, kinds[i].rows) : 0;
        most = bytes > most ? bytes : most;
    }
    /* a slot holds the sum of its job, and the one that is on its way to the coordinator */
    need->slot = most + 2 * m.adapter.words * sizeof(int64_t);
    return error;
}

enum err engine_slot_new(const struct engine *engine, uint32_t unit_rows, struct engine_slot **out,
                         struct errbuf *e)
{
    *out = NULL;
    struct engine_slot *slot = mem_calloc(1, sizeof *slot);
    if (!slot) {
        return err_set(e, ERR_NOMEM, "engine: no memory for a slot");
    }
    slot->engine = engine;
    slot->pass.model = &engine->model;
    slot->pass.layer_done = layer_done;
    slot->pass.owner = slot;
    team_init_cpu(&slot->pass.team, engine->config.kernels, engine->config.tile_rows,
                  engine->config.tile_cols);
    enum err error = OK;
    if (engine->config.threads > 1 && team_hire(&slot->pass.team, engine->config.threads) != OK) {
        error = err_set(e, ERR_NOMEM, "engine: cannot start the %u threads of a slot",
                        engine->config.threads);
    }
    slot->pass.again = engine->config.checkpointing;
    if (error == OK && unit_rows > 0) {
        const struct pass_sizes sizes = sizes_of(&engine->config, unit_rows, true);
        error = pass_reserve(&slot->pass, &sizes, e);
    }
    if (error == OK && !engine->model.ops->on_host) {
        slot->grad_room = mem_aligned(engine->model.adapter.words, sizeof(float));
        error = slot->grad_room ? OK : err_set(e, ERR_NOMEM, "engine: no memory for a slot");
    }
    if (error != OK) {
        engine_slot_free(&slot);
        return error;
    }
    *out = slot;
    return OK;
}

void engine_slot_free(struct engine_slot **slot)
{
    if (*slot) {
        pass_deinit(&(*slot)->pass);
        mem_free((*slot)->log_p);
        mem_free((*slot)->label_weights);
        mem_free((*slot)->leaves);
        mem_free((*slot)->grad_room);
        mem_free(*slot);
        *slot = NULL;
    }
}

uint64_t engine_slot_progress(const struct engine_slot *slot)
{
    return atomic_load_explicit(&slot->progress, memory_order_relaxed);
}

size_t engine_slot_bytes(const struct engine_slot *slot)
{
    return slot->pass.arena_words * sizeof(float);
}

void engine_slot_watch(struct engine_slot *slot, engine_watch_fn *watch, void *context)
{
    slot->pass.watch = watch;
    slot->pass.context = context;
}

const struct profile *engine_slot_profile(const struct engine_slot *slot)
{
    return &slot->pass.team.profile;
}

const struct profile *engine_slot_layer_profile(const struct engine_slot *slot, uint32_t layer)
{
    return slot->pass.profiles ? &slot->pass.profiles[layer] : NULL;
}

void engine_slot_profile_reset(struct engine_slot *slot)
{
    struct pass *p = &slot->pass;
    team_enter(&p->team, p->team.part);
    p->team.profile = (struct profile){0};
    for (uint32_t i = 0; p->profiles && i < p->model->shape.layers; i++) {
        p->profiles[i] = (struct profile){0};
    }
}

/* Forward over a unit: log_p of every label. keep = ready for a backward. */
static enum err forward(struct engine_slot *slot, const struct unit *unit, const float *lora_flat,
                        bool keep, uint64_t step, struct errbuf *e)
{
    struct pass *p = &slot->pass;
    team_enter(&p->team, PROFILE_PACK);
    enum err error = pass_start(p, unit, lora_flat, keep, slot->engine->config.seed, step, e);
    size_t labels = p->rows.n_labels;
    if (error == OK &&
        (mem_grow((void **)&slot->log_p, &slot->log_p_capacity, labels, sizeof *slot->log_p,
                  UNIT_LABELS) != OK ||
         mem_grow((void **)&slot->label_weights, &slot->label_weights_capacity, labels,
                  sizeof *slot->label_weights, UNIT_LABELS) != OK ||
         mem_grow((void **)&slot->leaves, &slot->leaves_capacity, 2 * (size_t)p->rows.n_leaves,
                  sizeof *slot->leaves, UNIT_LABELS) != OK)) {
        error = err_set(e, ERR_NOMEM, "engine: no memory for %zu labels", labels);
    }
    if (error == OK && labels > 0) {
        network_forward(p);
        head_forward(p, keep && !unit->anchor, slot->log_p);
    }
    return error;
}

static const float *gradient_of(struct engine_slot *slot)
{
    struct pass *p = &slot->pass;
    return p->team.ops->view(&p->team, p->grads, p->model->adapter.words, slot->grad_room);
}

static bool loss_fits(double loss)
{
    return fabs(loss) < (double)(1 << LIMIT_GRADIENT_BITS);
}

static bool goes_back(const struct engine_slot *slot, const float *lora_flat)
{
    return lora_flat && slot->pass.model->adapter.words > 0;
}

/* Forward, loss, and backward through the head where there is one. */
static enum err compute_head(struct engine_slot *slot, const struct unit *unit,
                             const float *lora_flat, uint64_t step, double *loss, struct errbuf *e)
{
    struct pass *p = &slot->pass;
    const bool backward = goes_back(slot, lora_flat);
    enum err error = forward(slot, unit, lora_flat, backward, step, e);
    if (error == OK) {
        *loss = terms_weigh(unit, &p->rows, slot->log_p, slot->leaves, slot->label_weights);
        if (backward && p->rows.n_labels > 0 && loss_fits(*loss)) {
            head_backward(p, slot->label_weights);
        }
    }
    return error;
}

/* The same of an anchor: the pass without adapter, then the one with it. */
static enum err compute_anchor(struct engine_slot *slot, const struct unit *unit,
                               const float *lora_flat, uint64_t step, double *loss,
                               struct errbuf *e)
{
    struct pass *p = &slot->pass;
    struct anchor_base base = {0};
    enum err error = forward(slot, unit, NULL, false, step, e);
    *loss = 0.0;
    if (error != OK || !goes_back(slot, lora_flat) || p->rows.n_labels == 0) {
        return error;
    }
    error = anchor_base_take(p, &base);
    if (error == OK) {
        error = forward(slot, unit, lora_flat, true, step, e);
    }
    if (error == OK) {
        error = anchor_base_gradient(p, &base, loss);
    }
    anchor_base_free(&base);
    return error == ERR_NOMEM
               ? err_set(e, error, "engine: no memory for an anchor of %u rows", unit->n_rows)
               : error;
}

#define DIVERGES ": training diverges; a lower train.learning_rate or train.clip holds it"

/* Forward, loss and backward; tells whether everything can be rounded. */
static enum err compute(struct engine_slot *slot, const struct unit *unit, const float *lora_flat,
                        uint64_t step, double *loss, struct errbuf *e)
{
    struct pass *p = &slot->pass;
    enum err error = unit->anchor ? compute_anchor(slot, unit, lora_flat, step, loss, e)
                                  : compute_head(slot, unit, lora_flat, step, loss, e);
    if (error != OK) {
        return error;
    }
    if (!loss_fits(*loss)) {
        return err_set(e, ERR_RANGE,
                       "loss %g of the output layer cannot be rounded (bound 2^%d)" DIVERGES, *loss,
                       LIMIT_GRADIENT_BITS);
    }
    if (!goes_back(slot, lora_flat) || p->rows.n_labels == 0) {
        return OK;
    }
    network_backward(p);
    struct adapter_refusal bad;
    team_enter(&p->team, PROFILE_ROUND);
    if (!adapter_fits(&p->model->adapter, &p->model->shape, p->team.kernels, gradient_of(slot),
                      &bad)) {
        return err_set(
            e, ERR_RANGE,
            "gradient %g of lora_%c of %s in layer %u cannot be rounded (bound 2^%d)" DIVERGES,
            (double)bad.value, bad.matrix, lora_module_proj(bad.module), bad.layer,
            LIMIT_GRADIENT_BITS);
    }
    return OK;
}

/* An element was refused: finds the tree whose own gradient has it, and names it. */
static enum err name_tree(struct engine_slot *slot, const struct unit *unit, const float *lora_flat,
                          uint64_t step, struct errbuf *e)
{
    const unsigned long long id = unit->id;
    for (uint32_t i = 0; unit->n_trees > 1 && i < unit->n_trees; i++) {
        const struct unit one = {unit->id, 1, unit->trees[i].n_rows, &unit->trees[i], unit->anchor};
        struct errbuf found = {0};
        double loss;
        if (compute(slot, &one, lora_flat, step, &loss, &found) == ERR_RANGE) {
            return err_set(e, ERR_RANGE, "unit %llu, tree %llu: %s", id,
                           (unsigned long long)unit->trees[i].id, found.text);
        }
    }
    if (unit->n_trees == 1) {
        return err_prefix(e, ERR_RANGE, "unit %llu, tree %llu", id,
                          (unsigned long long)unit->trees[0].id);
    }
    return err_prefix(e, ERR_RANGE, "unit %llu, its %u trees together", id, unit->n_trees);
}

enum err engine_gradient(struct engine_slot *slot, const struct unit *unit, const float *lora_flat,
                         uint64_t step, int64_t *sum, struct unit_result *result, struct errbuf *e)
{
    struct pass *p = &slot->pass;
    double loss = 0.0;
    *result = (struct unit_result){0};
    enum err error = compute(slot, unit, lora_flat, step, &loss, e);
    if (error == ERR_RANGE) {
        return name_tree(slot, unit, lora_flat, step, e);
    }
    if (error != OK) {
        return error;
    }
    /* |loss| < 2^12: exact in double up to half a unit of 2^-40 */
    result->loss = (int64_t)(loss * 0x1p40 + (loss < 0 ? -0.5 : 0.5));
    result->labels = p->rows.n_labels;
    if (p->adapter && p->rows.n_labels > 0) {
        team_enter(&p->team, PROFILE_ROUND);
        result->sumsq = adapter_add_fixed(&p->model->adapter, &p->model->shape, p->team.kernels,
                                          gradient_of(slot), sum);
        team_count(&p->team, 0, 20 * (uint64_t)p->model->adapter.words);
    }
    team_enter(&p->team, PROFILE_IDLE);
    return OK;
}

enum err engine_score(struct engine_slot *slot, const struct unit *unit, const float *lora_flat,
                      double *leaf_logp, struct errbuf *e)
{
    struct pass *p = &slot->pass;
    enum err error = forward(slot, unit, lora_flat, false, 0, e);
    if (error != OK) {
        return error;
    }
    for (uint32_t i = 0; i < p->rows.n_leaves; i++) {
        leaf_logp[i] = 0.0;
    }
    for (uint32_t i = 0; i < p->rows.n_labels; i++) {
        leaf_logp[p->rows.labels[i].leaf] += slot->log_p[i];
    }
    team_enter(&p->team, PROFILE_IDLE);
    return OK;
}

enum err engine_logits(struct engine_slot *slot, const struct unit *unit, const float *lora_flat,
                       uint32_t *rows, float *logits, uint32_t *count, struct errbuf *e)
{
    struct pass *p = &slot->pass;
    enum err error = pass_start(p, unit, lora_flat, false, 0, 0, e);
    if (error != OK) {
        return error;
    }
    *count = p->sizes.labelled;
    for (uint32_t i = 0; rows && i < *count; i++) {
        rows[i] = p->rows.labelled.rows[i];
    }
    if (logits && *count > 0) {
        network_forward(p);
        head_logits(p, logits);
    }
    team_enter(&p->team, PROFILE_IDLE);
    return OK;
}
