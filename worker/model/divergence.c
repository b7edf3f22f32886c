/* divergence.c - KL of labelled rows, a block of the vocabulary at a time. */
#include "worker/model/divergence.h"

#include <string.h>

#include "common/base/mem.h"
#include "worker/model/exact_math.h"
#include "worker/model/head.h"

/* Running sums of a row over the blocks so far. */
struct row_sums {
    double most_p, most_q; /* largest logits */
    double sum_p, sum_q;   /* of e^(l - most) */
    double apart;          /* of e^(l_p - most_p) (l_p - l_q) */
};

static void add_block(struct row_sums *s, const float *lp, const float *lq, uint32_t cols)
{
    double most_p = s->most_p;
    double most_q = s->most_q;
    for (uint32_t i = 0; i < cols; i++) {
        most_p = (double)lp[i] > most_p ? (double)lp[i] : most_p;
        most_q = (double)lq[i] > most_q ? (double)lq[i] : most_q;
    }
    const double shrink = exact_exp(s->most_p - most_p);
    s->sum_p *= shrink;
    s->apart *= shrink;
    s->sum_q *= exact_exp(s->most_q - most_q);
    s->most_p = most_p;
    s->most_q = most_q;
    for (uint32_t i = 0; i < cols; i++) {
        const double e = exact_exp((double)lp[i] - most_p);
        s->sum_p += e;
        s->apart += e * ((double)lp[i] - (double)lq[i]);
        s->sum_q += exact_exp((double)lq[i] - most_q);
    }
}

/* Logits of all labelled rows against one block. */
static const float *block_of(struct pass *p, const struct frozen *block, struct span x, float *room)
{
    head_block_logits(p, block, x, p->scratch.logits);
    return p->team.ops->view(&p->team, p->scratch.logits, (size_t)p->sizes.labelled * block->out,
                             room);
}

static void sweep(struct pass *p, float *room, struct row_sums *sums)
{
    const uint32_t rows = p->sizes.labelled;
    for (uint32_t i = 0; i < p->model->n_head_blocks; i++) {
        const struct frozen *block = &p->model->head_blocks[i];
        const size_t cols = block->out;
        float *const kept = room + rows * (size_t)HEAD_COLS;
        memcpy(kept, block_of(p, block, p->final_x, room), rows * cols * sizeof *kept);
        const float *lp = block_of(p, block, p->scratch.norm_labelled, room);
        for (uint32_t row = 0; row < rows; row++) {
            add_block(&sums[row], lp + row * cols, kept + row * cols, block->out);
        }
        p->layer_done(p->owner);
    }
}

enum err divergence_rows(struct pass *p, const float *base, double *kl)
{
    const uint32_t rows = p->sizes.labelled;
    float *room = mem_aligned(2 * (size_t)rows * HEAD_COLS, sizeof *room);
    struct row_sums *sums = mem_calloc(rows, sizeof *sums);
    if (!room || !sums) {
        mem_free(room);
        mem_free(sums);
        return ERR_NOMEM;
    }
    for (uint32_t row = 0; row < rows; row++) {
        sums[row].most_p = sums[row].most_q = -__builtin_inf();
    }
    head_norm(p);
    p->team.ops->upload(p->final_x, base, (size_t)rows * p->model->shape.hidden);
    team_enter(&p->team, PROFILE_HEAD);
    sweep(p, room, sums);
    for (uint32_t row = 0; row < rows; row++) {
        const struct row_sums *s = &sums[row];
        kl[row] = s->apart / s->sum_p - (s->most_p + exact_log(s->sum_p)) +
                  (s->most_q + exact_log(s->sum_q));
    }
    mem_free(room);
    mem_free(sums);
    return OK;
}
