/* eval_trees.c - a growing list of scored trees. */
#include "coordinator/eval_trees.h"

#include <math.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/mem.h"

static enum err grow(struct eval_trees *t)
{
    void *trees = t->trees;
    void *places = t->places;
    size_t need = (size_t)t->n + 1;
    enum err error = mem_grow(&trees, &t->tree_capacity, need, sizeof *t->trees, UINT32_MAX);
    t->trees = trees;
    if (error == OK) {
        error = mem_grow(&places, &t->place_capacity, need, sizeof *t->places, UINT32_MAX);
        t->places = places;
    }
    return error;
}

enum err eval_trees_add(struct eval_trees *t, uint32_t part, uint32_t scenario,
                        struct forest_trees *from, struct errbuf *e)
{
    for (uint32_t i = 0; i < from->n; i++) {
        struct forest_tree *one = &from->items[i];
        double *logp = mem_calloc((size_t)one->tree.n_leaves * EVAL_PASSES, sizeof *logp);
        if (!logp || grow(t) != OK) {
            mem_free(logp);
            return err_set(e, ERR_NOMEM, "evaluation: no memory for the trees of scenario %u",
                           scenario);
        }
        one->tree.id = t->n;
        t->trees[t->n] = one->tree;
        t->places[t->n] = (struct eval_place){
            .part = part,
            .scenario = scenario,
            .leaves = one->leaves,
            .logp = {[EVAL_MAIN] = logp, [EVAL_BASE] = logp + one->tree.n_leaves}};
        t->n++;
        *one = (struct forest_tree){0};
    }
    return OK;
}

void eval_trees_take(struct eval_trees *t, enum eval_pass pass, uint32_t tree,
                     const double *leaf_logp)
{
    CHECK(tree < t->n);
    struct eval_place *place = &t->places[tree];
    memcpy(place->logp[pass], leaf_logp, t->trees[tree].n_leaves * sizeof *leaf_logp);
    place->taken[pass] = true;
}

enum err eval_trees_check(const struct eval_trees *t, enum eval_pass pass, struct errbuf *e)
{
    for (uint32_t i = 0; i < t->n; i++) {
        const struct eval_place *place = &t->places[i];
        if (!place->taken[pass]) {
            return err_set(e, ERR_STATE, "evaluation: tree %u of %u was not scored", i, t->n);
        }
        for (uint32_t k = 0; k < t->trees[i].n_leaves; k++) {
            if (!isfinite(place->logp[pass][k])) {
                return err_set(e, ERR_STATE,
                               "evaluation: scenario %u, option %u has a log-probability that is "
                               "not finite",
                               place->scenario, place->leaves[k].option);
            }
        }
    }
    return OK;
}

void eval_trees_free(struct eval_trees *t)
{
    for (uint32_t i = 0; i < t->n; i++) {
        tree_free(&t->trees[i]);
        mem_free(t->places[i].leaves);
        mem_free(t->places[i].logp[EVAL_MAIN]);
    }
    mem_free(t->trees);
    mem_free(t->places);
    *t = (struct eval_trees){0};
}
