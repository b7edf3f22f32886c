/* head.c - final norm and output matrix at labelled rows. */
#include "worker/model/head.h"

#include <string.h>

#include "worker/model/exact_math.h"

void head_norm(struct pass *p)
{
    const struct model_shape *s = &p->model->shape;
    team_enter(&p->team, PROFILE_NORM);
    p->team.ops->rmsnorm(&p->team, p->sizes.labelled, s->hidden, s->rms_eps, p->final_x,
                         p->model->final_norm, p->scratch.norm_labelled, p->final_rstd);
}

void head_block_logits(struct pass *p, const struct frozen *block, struct span x, struct span y)
{
    const struct product product = {.w = block, .rows = p->sizes.labelled, .x = x, .y = y};
    p->team.ops->product(&p->team, &product);
}

void head_block_mix(struct pass *p, const struct frozen *block, bool onto)
{
    const struct product product = {.w = block,
                                    .backward = true,
                                    .onto = onto,
                                    .rows = p->sizes.labelled,
                                    .x = p->scratch.logits,
                                    .y = p->scratch.mix};
    p->team.ops->product(&p->team, &product);
}

/* Numbers per row and label on the host, after the sweep. */
struct sums {
    const float *most, *sum, *logit;
};

static struct sums sums_of(struct pass *p)
{
    const struct backend_ops *ops = p->team.ops;
    return (struct sums){
        ops->view(&p->team, p->scratch.most, p->sizes.labelled, p->host.most),
        ops->view(&p->team, p->scratch.sum, p->sizes.labelled, p->host.sum),
        ops->view(&p->team, p->unit.label_logit, p->sizes.labels, p->host.logit),
    };
}

static bool is_first(const struct pass *p, uint32_t label)
{
    return label == 0 || p->rows.labels[label].query != p->rows.labels[label - 1].query;
}

void head_forward(struct pass *p, bool keep, double *log_p)
{
    const struct backend_ops *ops = p->team.ops;
    const struct model_shape *s = &p->model->shape;
    pass_show(p, "final.input", 0, p->final_x, p->sizes.labelled, s->hidden);
    head_norm(p);
    pass_show(p, "final_norm", 0, p->scratch.norm_labelled, p->sizes.labelled, s->hidden);
    team_enter(&p->team, PROFILE_HEAD);
    ops->fill(&p->team, p->scratch.most, p->sizes.labelled, -__builtin_inff());
    ops->fill(&p->team, p->scratch.sum, p->sizes.labelled, 0.0f);
    for (uint32_t i = 0; i < p->model->n_head_blocks; i++) {
        const struct frozen *block = &p->model->head_blocks[i];
        const struct head_block b = {.rows = p->sizes.labelled,
                                     .cols = block->out,
                                     .first = i * HEAD_COLS,
                                     .hidden = s->hidden,
                                     .ld = block->out,
                                     .logits = p->scratch.logits,
                                     .targets = p->unit.first_targets,
                                     .most = p->scratch.most,
                                     .sum = p->scratch.sum,
                                     .mixing = keep,
                                     .mix = p->scratch.mix};
        head_block_logits(p, block, p->scratch.norm_labelled, p->scratch.logits);
        ops->pick(&p->team, &b, p->sizes.labels, p->unit.label_query, p->unit.label_target,
                  p->unit.label_logit);
        ops->head_block(&p->team, &b);
        if (keep) {
            head_block_mix(p, block, i > 0);
        }
    }
    const struct sums v = sums_of(p);
    double log_sum = 0.0;
    for (uint32_t i = 0; i < p->sizes.labels; i++) {
        uint32_t row = p->rows.labels[i].query;
        double most = (double)v.most[row];
        if (is_first(p, i)) { /* e_t belongs to the row's first target */
            log_sum = exact_log((double)v.sum[row] + exact_exp((double)v.logit[i] - most));
        }
        log_p[i] = (double)v.logit[i] - most - log_sum;
    }
}

void head_totals(struct pass *p, struct head_total *out)
{
    const struct sums v = sums_of(p);
    for (uint32_t i = 0; i < p->sizes.labels; i++) {
        uint32_t row = p->rows.labels[i].query;
        if (is_first(p, i)) {
            double most = (double)v.most[row];
            out[row] = (struct head_total){v.most[row], (double)v.sum[row] +
                                                            exact_exp((double)v.logit[i] - most)};
        }
    }
}

/* W / (rest + e_t) of each row, and what each label adds of its target's row of the matrix. */
static void label_factors(const struct pass *p, const struct sums *v, const float *weights)
{
    float *coefficient = p->host.coefficient;
    for (uint32_t i = 0; i < p->sizes.labels;) {
        uint32_t row = p->rows.labels[i].query;
        uint32_t first = i;
        double rest = (double)v->sum[row];
        double all = rest + exact_exp((double)v->logit[i] - (double)v->most[row]);
        double total = 0.0;
        double moved = 0.0;
        for (; i < p->sizes.labels && p->rows.labels[i].query == row; i++) {
            bool same = p->rows.labels[i].target == p->rows.labels[first].target;
            total += (double)weights[i];
            moved += same ? 0.0 : (double)weights[i];
            coefficient[i] = same ? 0.0f : -weights[i];
        }
        p->host.factor[row] = (float)(total / all);
        coefficient[first] = (float)(moved - total * rest / all);
    }
}

void head_backward(struct pass *p, const float *weights)
{
    const struct backend_ops *ops = p->team.ops;
    const struct model_shape *s = &p->model->shape;
    const struct sums v = sums_of(p);
    team_enter(&p->team, PROFILE_HEAD);
    label_factors(p, &v, weights);
    ops->upload(p->unit.row_factor, p->host.factor, p->sizes.labelled);
    ops->upload(p->unit.label_coefficient, p->host.coefficient, p->sizes.labels);
    ops->scale_rows(&p->team, p->sizes.labelled, s->hidden, p->unit.row_factor, p->scratch.mix);
    ops->add_scaled_rows(&p->team, p->sizes.labels, s->hidden, p->unit.label_query,
                         p->unit.label_target, p->unit.label_coefficient, p->model->head,
                         p->scratch.mix);
    head_norm_backward(p);
}

void head_norm_backward(struct pass *p)
{
    const struct model_shape *s = &p->model->shape;
    team_enter(&p->team, PROFILE_NORM);
    p->team.ops->rmsnorm_backward(&p->team, p->sizes.labelled, s->hidden, p->final_x,
                                  p->model->final_norm, p->final_rstd, p->scratch.mix,
                                  p->scratch.dlabelled, false);
    pass_show(p, "final.d_input", 0, p->scratch.dlabelled, p->sizes.labelled, s->hidden);
}

void head_logits(struct pass *p, float *logits)
{
    head_norm(p);
    team_enter(&p->team, PROFILE_HEAD);
    for (uint32_t i = 0; i < p->model->n_head_blocks; i++) {
        const struct frozen *block = &p->model->head_blocks[i];
        const uint32_t cols = block->out;
        head_block_logits(p, block, p->scratch.norm_labelled, p->scratch.logits);
        for (uint32_t row = 0; row < p->sizes.labelled; row++) {
            const float *from = p->team.ops->view(
                &p->team, span_at(p->scratch.logits, (size_t)row * cols), cols, p->host.logits);
            memcpy(logits + (size_t)row * p->model->shape.vocab + (size_t)i * HEAD_COLS, from,
                   cols * sizeof *logits);
        }
    }
}
