/* matrix_work.c - a variant's steps, counted. */
#include "cli/matrix_work.h"

#include <stdio.h>

#include "cli/plan_costs.h"
#include "coordinator/batch.h"

enum { STEPS_COUNTED = 400 }; /* of a longer run every n-th step is counted */

static enum err count_steps(const struct setup *s, struct tree_work *out, struct errbuf *e)
{
    uint64_t stride = (s->steps + STEPS_COUNTED - 1) / STEPS_COUNTED;
    uint64_t counted = 0;
    enum err error = OK;
    for (uint64_t step = 0; step < s->steps && error == OK; step += stride) {
        struct batch b;
        error = batch_train(s, step, &b, e);
        if (error != OK) {
            break;
        }
        for (uint32_t u = 0; u < b.n_units; u++) {
            for (uint32_t t = 0; t < b.units[u].n_trees; t++) {
                tree_work_add(out, &b.units[u].trees[t]);
            }
        }
        counted++;
        batch_free(&b);
    }
    double scale = counted > 0 ? (double)s->steps / (double)counted : 0.0;
    out->rows *= scale;
    out->context *= scale;
    out->label_rows *= scale;
    return error;
}

static void describe(const struct setup *s, struct matrix_work *out)
{
    struct model_description d = model_describe(s->model);
    (void)snprintf(out->model, sizeof out->model, "%s", d.name);
    (void)snprintf(out->quantisation, sizeof out->quantisation, "%s", d.quantisation);
    (void)snprintf(out->model_hash, sizeof out->model_hash, "%s", s->model_hash);
    (void)snprintf(out->kernels, sizeof out->kernels, "%s", s->kernels);
    (void)snprintf(out->precision, sizeof out->precision, "%s", s->precision);
    (void)snprintf(out->train_hash, sizeof out->train_hash, "%s", s->train_hash);
    out->shape = *model_shape(s->model);
    out->lora = s->cfg->lora;
}

enum err matrix_work_count(const struct matrix_variant *v, struct matrix_work *out,
                           struct errbuf *e)
{
    struct run_config *cfg = NULL;
    struct setup s = {0};
    *out = (struct matrix_work){0};
    enum err error =
        config_load(v->config, (const char *const *)v->set.items, (int)v->set.n, &cfg, e);
    bool reference = error == OK && cfg->train_objective == OBJECTIVE_DPO;
    if (reference) { /* the trees are SimPO's; the reference scores them once more */
        cfg->train_objective = OBJECTIVE_SIMPO;
    }
    if (error == OK) {
        error = setup_open(cfg, NULL, v->trained, &s, e);
    }
    if (error == OK && v->trained) {
        error = count_steps(&s, &out->train, e);
    }
    if (error == OK) {
        describe(&s, out);
    }
    if (error == OK && s.cfg->data_test[0] != '\0') {
        error = hash_file_sha256_hex(s.cfg->data_test, out->test_hash, e);
    }
    if (error == OK && out->train.rows > 0.0) {
        const struct tree_work *w = &out->train;
        const struct plan_work work = {.context = w->context / w->rows,
                                       .label_rows = w->label_rows / w->rows};
        out->flops = w->rows * plan_flops(&out->shape, &out->lora, &work);
        uint64_t epoch = plan_epoch_steps(s.plan);
        double once = s.steps > epoch ? (double)epoch / (double)s.steps : 1.0;
        out->reference_flops =
            reference ? once * w->rows *
                            plan_score_flops(&out->shape, &out->lora, work.context, work.label_rows)
                      : 0.0;
    }
    setup_free(&s);
    return error == OK ? OK : err_prefix(e, error, "variant '%s'", v->name);
}
