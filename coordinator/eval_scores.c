/* eval_scores.c - tables of log-probabilities. */
#include "coordinator/eval_scores.h"

#include <math.h>

#include "common/base/check.h"
#include "common/base/mem.h"

enum err eval_scores_new(uint32_t n, struct eval_scores *out, struct errbuf *e)
{
    *out = (struct eval_scores){.n = n, .slots = mem_calloc(n, sizeof *out->slots)};
    return out->slots ? OK : err_set(e, ERR_NOMEM, "evaluation: no memory for %u questions", n);
}

static bool make_room(struct eval_slot *slot, uint32_t n_options)
{
    size_t cells = (size_t)2 * READOUT_SIDES * n_options;
    slot->logp = mem_calloc(cells, sizeof *slot->logp);
    slot->tokens = mem_calloc(n_options, sizeof *slot->tokens);
    if (!slot->logp || !slot->tokens) {
        return false;
    }
    for (size_t i = 0; i < cells; i++) {
        slot->logp[i] = (double)NAN;
    }
    slot->n_options = n_options;
    return true;
}

enum err eval_scores_put(struct eval_scores *s, uint32_t slot, uint32_t n_options,
                         const struct forest_leaf *leaf, uint32_t side, double logp,
                         struct errbuf *e)
{
    CHECK(slot < s->n && leaf->option < n_options && side < READOUT_SIDES);
    struct eval_slot *to = &s->slots[slot];
    if (to->n_options == 0 && !make_room(to, n_options)) {
        return err_set(e, ERR_NOMEM, "evaluation: no memory for a question's scores");
    }
    uint32_t row = leaf->letter ? READOUT_SIDES + side : side;
    to->logp[(size_t)row * n_options + leaf->option] = logp;
    if (!leaf->letter) {
        to->tokens[leaf->option] = leaf->labels;
    }
    return OK;
}

struct readout_scores eval_scores_of(const struct eval_scores *s, uint32_t slot)
{
    const struct eval_slot *from = &s->slots[slot];
    const double *row[2 * READOUT_SIDES];
    for (uint32_t i = 0; i < 2 * READOUT_SIDES; i++) {
        row[i] = from->logp + (size_t)i * from->n_options;
    }
    return (struct readout_scores){
        .n_options = from->n_options,
        .logp = {row[READOUT_A], row[READOUT_B], row[READOUT_NONE]},
        .tokens = from->tokens,
        .letter = {row[READOUT_SIDES + READOUT_A], row[READOUT_SIDES + READOUT_B]}};
}

void eval_scores_free(struct eval_scores *s)
{
    for (uint32_t i = 0; s->slots && i < s->n; i++) {
        mem_free(s->slots[i].logp);
        mem_free(s->slots[i].tokens);
    }
    mem_free(s->slots);
    *s = (struct eval_scores){0};
}
