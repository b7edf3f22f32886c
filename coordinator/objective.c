/* objective.c - the objectives as leaves, loss groups and terms. */
#include "coordinator/objective.h"

#include "common/base/check.h"
#include "common/base/limits.h"
#include "coordinator/forest.h"

#define NONE UINT32_MAX

static enum config_objective kind(const struct run_config *cfg)
{
    return (enum config_objective)cfg->train_objective;
}

/* Does a term tie the two sides of a pair together? */
static const char *const meanings[] = {
    [OBJECTIVE_PFT] = "pft: both answers of a pair likelier, each under its own value",
    [OBJECTIVE_SFT] = "sft: answers likelier under their own value, one side at a time",
    [OBJECTIVE_DPO] = "dpo: an answer likelier than its opposite, measured from the base model",
    [OBJECTIVE_SIMPO] = "simpo: an answer likelier a token than its opposite, by a margin",
    [OBJECTIVE_PFT_CONTRAST] = "pft-contrast: pft, and naming a value must move its answer",
    [OBJECTIVE_RANKING] = "ranking: pft, and the value's answer ahead of its opposite",
    [OBJECTIVE_PFT_CONTRAST_RANKING] =
        "pft-contrast-ranking: pft, naming a value must move its answer and put it ahead",
};

const char *objective_meaning(const struct run_config *cfg)
{
    return meanings[cfg->train_objective];
}

static bool contrasts(const struct run_config *cfg)
{
    return kind(cfg) == OBJECTIVE_PFT_CONTRAST || kind(cfg) == OBJECTIVE_PFT_CONTRAST_RANKING;
}

/* Is an answer compared with the other side's under one preference? */
static bool ranks(const struct run_config *cfg)
{
    return objective_crosses(cfg) && kind(cfg) != OBJECTIVE_PFT_CONTRAST;
}

uint32_t objective_groups(const struct run_config *cfg, uint32_t sides[OBJECTIVE_GROUPS_MAX])
{
    const uint32_t a = 1u << READOUT_A;
    const uint32_t b = 1u << READOUT_B;
    if (kind(cfg) == OBJECTIVE_SFT) {
        bool mix = cfg->sft_side == SFT_SIDE_MIX;
        sides[0] = cfg->sft_side == SFT_SIDE_B ? b : a;
        sides[1] = b;
        return mix ? 2 : 1;
    }
    sides[0] = contrasts(cfg) ? a | b : (cfg->train_w_a > 0 ? a : 0) | (cfg->train_w_b > 0 ? b : 0);
    return 1;
}

bool objective_crosses(const struct run_config *cfg)
{
    return kind(cfg) != OBJECTIVE_PFT && kind(cfg) != OBJECTIVE_SFT;
}

uint32_t objective_loss_group(const struct run_config *cfg, uint32_t side, uint32_t index)
{
    if (!objective_crosses(cfg)) {
        return index;
    }
    return contrasts(cfg) ? 0 : side;
}

double objective_ce_weight(const struct run_config *cfg)
{
    switch (kind(cfg)) {
    case OBJECTIVE_DPO:
        return 0.0;
    case OBJECTIVE_SIMPO:
        return cfg->simpo_cpo_alpha;
    case OBJECTIVE_PFT:
    case OBJECTIVE_SFT:
    case OBJECTIVE_PFT_CONTRAST:
    case OBJECTIVE_RANKING:
    case OBJECTIVE_PFT_CONTRAST_RANKING:
        break;
    }
    return 1.0;
}

bool objective_needs_reference(const struct run_config *cfg)
{
    return kind(cfg) == OBJECTIVE_DPO;
}

/* What a term is made from. */
struct maker {
    const struct run_config *cfg;
    const struct forest_leaf *leaves;
    const double *reference;
    uint32_t at[OBJECTIVE_SIDES][LIMIT_OPTIONS]; /* leaf of (side, option), or NONE */
    double w[OBJECTIVE_SIDES];                   /* of the plan, over the group's pairs */
};

static void add_leaf(struct tree_term *term, uint32_t leaf, double coef)
{
    term->leaf[term->n] = leaf;
    term->coef[term->n] = (float)coef;
    term->n++;
}

/* The side's own answer against the other one under the side's preference. False: no such term. */
static bool compare(const struct maker *m, uint32_t side, uint32_t own, uint32_t other,
                    struct tree_term *term)
{
    const struct run_config *cfg = m->cfg;
    uint32_t chosen = m->at[side][own];
    uint32_t rejected = m->at[side][other];
    double w = m->w[side] * (side == READOUT_A ? cfg->train_w_a : cfg->train_w_b);
    if (chosen == NONE || rejected == NONE || !(w > 0)) {
        return false;
    }
    *term = (struct tree_term){0};
    bool means = kind(cfg) != OBJECTIVE_DPO;
    double beta = kind(cfg) == OBJECTIVE_DPO     ? cfg->dpo_beta
                  : kind(cfg) == OBJECTIVE_SIMPO ? cfg->simpo_beta
                                                 : cfg->ranking_beta;
    add_leaf(term, chosen, means ? beta / m->leaves[chosen].labels : beta);
    add_leaf(term, rejected, -(means ? beta / m->leaves[rejected].labels : beta));
    if (kind(cfg) == OBJECTIVE_DPO) { /* minus the margin of the reference */
        term->offset = -((double)term->coef[0] * m->reference[chosen] +
                         (double)term->coef[1] * m->reference[rejected]);
        term->smoothing = (float)cfg->dpo_label_smoothing;
    } else if (kind(cfg) == OBJECTIVE_SIMPO) {
        term->offset = 0.0 - cfg->simpo_gamma; /* never -0 */
        term->smoothing = (float)cfg->simpo_label_smoothing;
    } else {
        w *= cfg->ranking_weight;
    }
    term->weight = (float)w;
    return true;
}

/* The preference must change which of the two answers is the likelier one. */
static bool contrast(const struct maker *m, uint32_t a, uint32_t b, struct tree_term *term)
{
    const double beta = m->cfg->pft_contrast_beta;
    const uint32_t leaf[TREE_TERM_LEAVES] = {m->at[READOUT_A][a], m->at[READOUT_B][a],
                                             m->at[READOUT_A][b], m->at[READOUT_B][b]};
    *term = (struct tree_term){0};
    for (int k = 0; k < TREE_TERM_LEAVES; k++) {
        if (leaf[k] == NONE) {
            return false;
        }
        add_leaf(term, leaf[k], k == 0 || k == 3 ? beta : -beta);
    }
    term->weight = (float)(0.5 * (m->w[0] + m->w[1]) * m->cfg->pft_contrast_weight);
    return true;
}

enum err objective_terms(const struct run_config *cfg, const struct data_group *group,
                         const struct data_pair *pairs, const double w[OBJECTIVE_SIDES],
                         const double *reference, struct forest_tree *tree, struct errbuf *e)
{
    struct maker m = {.cfg = cfg, .leaves = tree->leaves, .reference = reference};
    if (!objective_crosses(cfg)) {
        return OK;
    }
    CHECK(reference || !objective_needs_reference(cfg));
    for (uint32_t side = 0; side < OBJECTIVE_SIDES; side++) {
        m.w[side] = w[side] / group->n_pairs;
        for (uint32_t option = 0; option < LIMIT_OPTIONS; option++) {
            m.at[side][option] = NONE;
        }
    }
    for (uint32_t i = 0; i < tree->tree.n_leaves; i++) {
        m.at[tree->leaves[i].side][tree->leaves[i].option] = i;
    }
    const uint32_t terms_a_pair = (contrasts(cfg) ? 1u : 0u) + (ranks(cfg) ? 2u : 0u);
    if (tree_alloc_terms(&tree->tree, terms_a_pair * group->n_pairs) != OK) {
        return err_set(e, ERR_NOMEM, "no memory for the terms of %u pairs", group->n_pairs);
    }
    struct tree_term *terms = tree->tree.terms;
    uint32_t n = 0;
    for (uint32_t i = 0; i < group->n_pairs; i++) {
        const struct data_pair *pair = &pairs[group->first_pair + i];
        if (contrasts(cfg)) {
            n += contrast(&m, pair->a, pair->b, &terms[n]);
        }
        if (ranks(cfg)) {
            n += compare(&m, READOUT_A, pair->a, pair->b, &terms[n]);
            n += compare(&m, READOUT_B, pair->b, pair->a, &terms[n]);
        }
    }
    tree->tree.n_terms = n;
    return OK;
}
