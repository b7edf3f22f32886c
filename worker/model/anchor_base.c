/* anchor_base.c - KL to the base: differences of two distributions, block by block. */
#include "worker/model/anchor_base.h"

#include <string.h>

#include "common/base/mem.h"
#include "worker/backend/kernels.h"
#include "worker/model/exact_math.h"

size_t anchor_base_bytes(const struct model_shape *shape, uint32_t rows)
{
    return rows * (shape->hidden * sizeof(float) + sizeof(struct head_total) +
                   sizeof(struct kernel_anchor_row));
}

enum err anchor_base_take(struct pass *p, struct anchor_base *out)
{
    const uint32_t rows = p->sizes.labelled;
    const size_t words = (size_t)rows * p->model->shape.hidden;
    *out = (struct anchor_base){.x = mem_aligned(words, sizeof *out->x),
                                .total = mem_calloc(rows, sizeof *out->total),
                                .norms = mem_calloc(rows, sizeof *out->norms)};
    if (!out->x || !out->total || !out->norms) {
        anchor_base_free(out);
        return ERR_NOMEM;
    }
    head_totals(p, out->total);
    const float *x = p->team.ops->view(&p->team, p->scratch.norm_labelled, words, out->x);
    if (x != out->x) {
        memcpy(out->x, x, words * sizeof *x);
    }
    return OK;
}

void anchor_base_free(struct anchor_base *base)
{
    mem_free(base->x);
    mem_free(base->total);
    mem_free(base->norms);
    *base = (struct anchor_base){0};
}

/* What the kernel must know of each row, in base->norms; total: of the pass at hand. */
static void fill_norms(const struct pass *p, const struct anchor_base *base,
                       const struct head_total *total)
{
    for (uint32_t row = 0; row < p->sizes.labelled; row++) {
        const double sum = total[row].sum;
        const double base_sum = base->total[row].sum;
        base->norms[row] =
            (struct kernel_anchor_row){.most = total[row].most,
                                       .base_most = base->total[row].most,
                                       .inverse = (float)(1.0 / base_sum),
                                       .ratio = (float)(base_sum / sum),
                                       .between = (float)(exact_log(sum) - exact_log(base_sum))};
    }
    for (uint32_t i = 0; i < p->rows.n_labels; i++) {
        base->norms[p->rows.labels[i].query].weight += p->rows.labels[i].weight;
    }
}

/* mix = sum over the vocabulary of w (p - q) W, kl. base lies in scratch.dlabelled. */
static void sweep(struct pass *p)
{
    const struct backend_ops *ops = p->team.ops;
    for (uint32_t i = 0; i < p->model->n_head_blocks; i++) {
        const struct frozen *block = &p->model->head_blocks[i];
        const struct anchor_block b = {.rows = p->sizes.labelled,
                                       .cols = block->out,
                                       .norms = p->scratch.anchor_rows,
                                       .base = p->scratch.base_logits,
                                       .logits = p->scratch.logits,
                                       .kl = p->scratch.kl};
        head_block_logits(p, block, p->scratch.dlabelled, p->scratch.base_logits);
        head_block_logits(p, block, p->scratch.norm_labelled, p->scratch.logits);
        ops->anchor_block(&p->team, &b);
        head_block_mix(p, block, i > 0);
        p->layer_done(p->owner);
    }
}

enum err anchor_base_gradient(struct pass *p, const struct anchor_base *base, double *loss)
{
    const struct backend_ops *ops = p->team.ops;
    const uint32_t rows = p->sizes.labelled;
    struct head_total *total = mem_calloc(rows, sizeof *total);
    if (!total) {
        return ERR_NOMEM;
    }
    head_totals(p, total);
    fill_norms(p, base, total);
    mem_free(total);
    team_enter(&p->team, PROFILE_HEAD);
    ops->upload(p->scratch.anchor_rows, base->norms, (size_t)rows * KERNEL_ANCHOR_WORDS);
    ops->upload(p->scratch.dlabelled, base->x, (size_t)rows * p->model->shape.hidden);
    ops->fill(&p->team, p->scratch.kl, rows, 0.0f);
    sweep(p);
    const float *kl = ops->view(&p->team, p->scratch.kl, rows, p->host.most);
    *loss = 0.0;
    for (uint32_t row = 0; row < rows; row++) {
        *loss += (double)base->norms[row].weight * (double)kl[row];
    }
    head_norm_backward(p);
    return OK;
}
