/* setup.c - opens settings, data and model, and lays the plan. */
#include "coordinator/setup.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/cpu.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/base/str.h"
#include "common/format/model_default.h"
#include "coordinator/objective.h"

static enum err resolve_kernels(struct setup *s, const char *known, struct errbuf *e)
{
    const bool native = s->cfg->kernels == CONFIG_NATIVE;
    uint32_t level = s->cfg->kernels - CONFIG_PORTABLE, made = 0;
    if (known && cpu_level_from(known, &made)) {
        if (!native && level != made) {
            return err_set(e, ERR_REFUSED, "kernels: the run was made with %s, not %s", known,
                           cpu_level_name(level));
        }
        level = made;
    } else if (native) {
        enum err error = cpu_native_level(&level, e);
        if (error != OK) {
            return error;
        }
    }
    (void)snprintf(s->kernels, sizeof s->kernels, "%s", cpu_level_name(level));
    s->kernels_bit = 1u << level;
    return OK;
}

/* Whether bf16 products are what `auto` means here. */
static bool native_bf16(const struct setup *s)
{
    return strcmp(s->kernels, cpu_level_name(CPU_LEVELS - 1)) == 0 && cpu_has_bf16();
}

static enum err resolve_precision(struct setup *s, const char *known, struct errbuf *e)
{
    const bool chosen = s->cfg->precision != PRECISION_AUTO;
    const bool bf16 = chosen ? s->cfg->precision == PRECISION_BF16 : native_bf16(s);
    (void)snprintf(s->precision, sizeof s->precision, "%s",
                   known && !chosen ? known
                   : bf16           ? "bf16"
                                    : "fp32");
    if (known && strcmp(known, s->precision) != 0) {
        return err_set(e, ERR_REFUSED, "precision: the run was made with %s, not %s", known,
                       s->precision);
    }
    return OK;
}

static enum err open_model(struct setup *s, struct errbuf *e)
{
    enum err error = model_resolve(s->cfg->model_path, s->model_path, e);
    if (error == OK) {
        error = model_open(s->model_path, &s->model, e);
    }
    if (error == OK) {
        error = model_hash(s->model, s->model_hash, e);
    }
    if (error == OK) {
        error = tokenizer_open(s->model, &s->tok, e);
    }
    return error;
}

static enum err open_data(struct setup *s, bool train, struct errbuf *e)
{
    const struct run_config *cfg = s->cfg;
    enum config_group grouping = (enum config_group)cfg->data_group;
    enum err error = OK;
    if (cfg->data_values[0] != '\0') {
        error = values_load(cfg->data_values, &s->values, e);
    }
    if (error == OK && cfg->data_train[0] != '\0') {
        error = dataset_load(cfg->data_train, s->values, grouping, &s->train, e);
        if (error == OK) {
            dataset_hold_out(s->train, cfg->data_hold_out);
            error = hash_file_sha256_hex(cfg->data_train, s->train_hash, e);
        }
        if (error == OK && train && s->train->n_groups == 0 && s->train->held_out > 0) {
            error = err_set(e, ERR_REFUSED,
                            "data.hold_out: %u leaves none of the %u scenarios of %s to train on",
                            cfg->data_hold_out, s->train->n_scenarios, cfg->data_train);
        }
    } else if (error == OK && train) {
        error = err_set(e, ERR_REFUSED,
                        "data.train is not set: a file to train on is needed (docs/data.md)");
    }
    if (error == OK && cfg->data_test[0] != '\0') {
        error = dataset_load(cfg->data_test, s->values, grouping, &s->test, e);
    }
    const enum data_format format = s->test ? s->test->format : DATA_VCD;
    if (error == OK && train &&
        (format == DATA_RETENTION || format == DATA_SFT || format == DATA_QUESTIONS)) {
        error = err_set(e, ERR_REFUSED,
                        "data.test: %s holds %s, which a run does not ask; pft "
                        "eval RUN --task %s does",
                        cfg->data_test, data_format_info(format)->what,
                        format == DATA_RETENTION ? "retention" : "divergence");
    }
    return error;
}

static enum err lay_plan(struct setup *s, struct errbuf *e)
{
    const struct run_config *cfg = s->cfg;
    const struct plan_config plan = {
        .seed = cfg->train_seed,
        .max_steps = cfg->train_max_steps,
        .epochs = cfg->train_epochs,
        .batch_groups = cfg->train_batch_groups,
        .unit_tokens = cfg->unit_tokens,
        .micro_groups = cfg->train_micro_groups,
        .normalisation = cfg->train_normalisation == NORMALISATION_PAPER ? PLAN_PAPER : PLAN_MEAN};
    enum err error = forest_new(cfg, s->values, s->train, s->tok, &s->forest, e);
    if (error != OK) {
        return error;
    }
    uint32_t n;
    const struct forest_group *groups = forest_groups(s->forest, &n);
    struct plan_group *counts = mem_calloc(n, sizeof *counts);
    if (!counts) {
        return err_set(e, ERR_NOMEM, "no memory for %u groups", n);
    }
    s->unit_rows = cfg->unit_tokens;
    for (uint32_t i = 0; i < n; i++) {
        s->unit_rows = groups[i].rows > s->unit_rows ? groups[i].rows : s->unit_rows;
        counts[i] = (struct plan_group){.rows = groups[i].rows,
                                        .pairs = groups[i].pairs,
                                        .labels_a = groups[i].labels_a,
                                        .labels_b = groups[i].labels_b};
    }
    error = plan_new(&plan, counts, n, &s->plan, e);
    mem_free(counts);
    if (error != OK) {
        return error;
    }
    s->steps = plan_steps(s->plan);
    s->schedule.steps = s->steps;
    double warmup = cfg->train_warmup;
    s->schedule.warmup =
        warmup < 1.0 ? (uint64_t)ceil(warmup * (double)s->steps - 1e-9) : (uint64_t)warmup;
    struct str cuts = {0};
    forest_report_text(forest_report(s->forest), &cuts);
    if (cuts.len > 0) {
        log_event(LOG_WARN, "data_cut", "%s", cuts.data);
    }
    str_free(&cuts);
    return OK;
}

enum err setup_open(struct run_config *cfg, const struct setup_known *known, bool train,
                    struct setup *s, struct errbuf *e)
{
    *s = (struct setup){.cfg = cfg};
    s->adamw = (struct adamw_config){.beta1 = cfg->train_beta1,
                                     .beta2 = cfg->train_beta2,
                                     .eps = cfg->train_eps,
                                     .weight_decay = cfg->train_weight_decay,
                                     .clip = cfg->train_clip};
    enum err error = resolve_kernels(s, known ? known->kernels : NULL, e);
    if (error == OK) {
        error = resolve_precision(s, known ? known->precision : NULL, e);
    }
    if (error == OK) {
        error = open_data(s, train, e);
    }
    if (error == OK) {
        error = open_model(s, e);
    }
    if (error == OK && train) {
        error = lay_plan(s, e);
    }
    if (error == OK && train && objective_needs_reference(cfg)) {
        error = reference_new(s->forest, s->plan, &s->reference, e);
    }
    if (error == OK && train && cfg->anchor_data[0] != '\0') {
        error = anchor_new(cfg, s->values, s->tok, &s->anchor, e);
    }
    if (error == OK) {
        error = setup_fix(s, e);
    }
    if (error != OK) {
        setup_free(s);
    }
    return error;
}

void setup_free(struct setup *s)
{
    str_free(&s->fixed_text);
    anchor_free(&s->anchor);
    reference_free(&s->reference);
    plan_free(&s->plan);
    forest_free(&s->forest);
    if (s->tok) {
        tokenizer_close(&s->tok);
    }
    model_close(&s->model);
    dataset_free(&s->test);
    dataset_free(&s->train);
    values_free(&s->values);
    config_free(&s->cfg);
    *s = (struct setup){0};
}

size_t setup_floats(const struct setup *s)
{
    return lora_count(model_shape(s->model), &s->cfg->lora);
}

uint32_t setup_useful_slots(const struct setup *s)
{
    return plan_useful_slots(s->plan) + (s->anchor ? anchor_step_units(s->anchor) : 0);
}

double setup_rate(const struct setup *s, uint64_t step)
{
    return s->cfg->train_learning_rate * schedule_factor(&s->schedule, step);
}
