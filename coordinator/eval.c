/* eval.c - questions, their trees and their answers. */
#include "coordinator/eval.h"

#include <math.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/base/mem.h"
#include "coordinator/bag_of_words.h"
#include "coordinator/config.h"
#include "coordinator/dataset.h"
#include "coordinator/forest.h"
#include "coordinator/render.h"
#include "coordinator/values.h"

/* The scores of one scenario: options of A, of B, of no value; letters under A, under B. */
struct scenario_scores {
    double *logp;     /* [(READOUT_SIDES + 2) * n_options]; NaN until a tree came */
    uint32_t *tokens; /* [n_options] */
};

struct tree_place {
    uint32_t scenario;
    struct forest_leaf *leaves;
    bool taken;
};

struct eval {
    const struct values *values;
    const struct dataset *test, *train;
    uint32_t readouts;
    uint32_t n_axes; /* of the values, plus one for scenarios without an axis */
    uint32_t n_trees;
    size_t tree_capacity, place_capacity;
    struct tree *trees;               /* [n_trees] */
    struct tree_place *places;        /* [n_trees] */
    struct scenario_scores *scores;   /* [test->n_scenarios] */
    struct readout_question *answers; /* [2 * test->n_scenarios], room for one readout */
};

static uint32_t axis_of(const struct eval *ev, const struct data_scenario *s)
{
    return s->axis == DATASET_NO_AXIS ? ev->n_axes - 1 : s->axis;
}

static const char *value_name(const struct eval *ev, uint32_t axis, uint32_t side)
{
    if (axis + 1 == ev->n_axes) {
        return side == 0 ? "side a" : "side b";
    }
    return ev->values->axes[axis].poles[side].name;
}

/* A question has a right and a wrong answer only where both poles are on offer. */
static bool offers_both(const struct data_scenario *s)
{
    bool there[2] = {false, false};
    for (uint32_t i = 0; i < s->n_options; i++) {
        there[s->options[i].side] = true;
    }
    return there[0] && there[1];
}

static enum err add_tree(struct eval *ev, uint32_t scenario, struct forest_tree *from)
{
    void *trees = ev->trees;
    void *places = ev->places;
    size_t need = (size_t)ev->n_trees + 1;
    enum err error = mem_grow(&trees, &ev->tree_capacity, need, sizeof *ev->trees, UINT32_MAX);
    ev->trees = trees;
    if (error == OK) {
        error = mem_grow(&places, &ev->place_capacity, need, sizeof *ev->places, UINT32_MAX);
        ev->places = places;
    }
    if (error != OK) {
        return error;
    }
    from->tree.id = ev->n_trees;
    ev->trees[ev->n_trees] = from->tree;
    ev->places[ev->n_trees] = (struct tree_place){.scenario = scenario, .leaves = from->leaves};
    ev->n_trees++;
    *from = (struct forest_tree){0};
    return OK;
}

static uint32_t sides_of(uint32_t readouts)
{
    uint32_t sides = 0;
    for (int r = 0; r < READOUTS; r++) {
        for (int s = 0; s < READOUT_SIDES && (readouts & 1u << r); s++) {
            sides |= (uint32_t)readout_needs((enum readout)r, (enum readout_side)s) << s;
        }
    }
    return sides;
}

static enum err add_scenario(struct eval *ev, struct render *render, uint32_t i, struct errbuf *e)
{
    const struct data_scenario *s = &ev->test->scenarios[i];
    struct forest_trees made = {0};
    if (!offers_both(s)) {
        return OK;
    }
    size_t cells = (size_t)(READOUT_SIDES + 2) * s->n_options;
    ev->scores[i].logp = mem_calloc(cells, sizeof(double));
    ev->scores[i].tokens = mem_calloc(s->n_options, sizeof(uint32_t));
    if (!ev->scores[i].logp || !ev->scores[i].tokens) {
        return err_set(e, ERR_NOMEM, "evaluation: no memory for scenario %u", i);
    }
    for (size_t k = 0; k < cells; k++) {
        ev->scores[i].logp[k] = (double)NAN;
    }
    bool letters = (ev->readouts & 1u << READOUT_LETTER) != 0;
    enum err error =
        forest_score(render, s, ev->test->path, sides_of(ev->readouts), letters, i, &made, NULL, e);
    for (uint32_t k = 0; k < made.n && error == OK; k++) {
        error = add_tree(ev, i, &made.items[k]);
    }
    forest_trees_free(&made);
    return error;
}

enum err eval_new(const struct run_config *cfg, const struct values *values,
                  const struct dataset *test, const struct dataset *train,
                  const struct tokenizer *tok, uint32_t readouts, struct eval **out,
                  struct errbuf *e)
{
    struct render render = {0};
    struct eval *ev = mem_calloc(1, sizeof *ev);
    if (!ev) {
        return err_set(e, ERR_NOMEM, "evaluation: no memory");
    }
    ev->values = values;
    ev->test = test;
    ev->train = train;
    ev->readouts = readouts;
    ev->n_axes = (values ? values->n_axes : 0) + 1;
    ev->scores = mem_calloc(test->n_scenarios, sizeof *ev->scores);
    ev->answers = mem_calloc((size_t)test->n_scenarios * 2, sizeof *ev->answers);
    enum err error =
        ev->scores && ev->answers ? OK : err_set(e, ERR_NOMEM, "evaluation: no memory");
    if (error == OK) {
        error = render_init(&render, cfg, values, tok, e);
    }
    for (uint32_t i = 0; i < test->n_scenarios && error == OK; i++) {
        error = add_scenario(ev, &render, i, e);
    }
    render_free(&render);
    if (error != OK) {
        eval_free(&ev);
        return error;
    }
    *out = ev;
    return OK;
}

const struct tree *eval_trees(const struct eval *ev, uint32_t *n)
{
    *n = ev->n_trees;
    return ev->trees;
}

void eval_take(struct eval *ev, uint32_t tree, const double *leaf_logp)
{
    CHECK(tree < ev->n_trees);
    struct tree_place *place = &ev->places[tree];
    struct scenario_scores *scores = &ev->scores[place->scenario];
    uint32_t n_options = ev->test->scenarios[place->scenario].n_options;
    for (uint32_t i = 0; i < ev->trees[tree].n_leaves; i++) {
        const struct forest_leaf *leaf = &place->leaves[i];
        uint32_t row = leaf->letter ? READOUT_SIDES + leaf->side : leaf->side;
        scores->logp[(size_t)row * n_options + leaf->option] = leaf_logp[i];
        if (!leaf->letter) {
            scores->tokens[leaf->option] = leaf->labels;
        }
    }
    place->taken = true;
}

static struct readout_scores scores_of(const struct eval *ev, uint32_t scenario)
{
    const struct scenario_scores *s = &ev->scores[scenario];
    uint32_t n = ev->test->scenarios[scenario].n_options;
    return (struct readout_scores){
        .n_options = n,
        .logp = {s->logp, s->logp + n, s->logp + (size_t)2 * n},
        .tokens = s->tokens,
        .letter = {s->logp + (size_t)READOUT_SIDES * n, s->logp + (size_t)(READOUT_SIDES + 1) * n}};
}

static enum err check_taken(const struct eval *ev, struct errbuf *e)
{
    for (uint32_t i = 0; i < ev->n_trees; i++) {
        if (!ev->places[i].taken) {
            return err_set(e, ERR_STATE, "evaluation: tree %u of %u was not scored", i,
                           ev->n_trees);
        }
        const struct scenario_scores *s = &ev->scores[ev->places[i].scenario];
        uint32_t n = ev->test->scenarios[ev->places[i].scenario].n_options;
        for (uint32_t k = 0; k < ev->trees[i].n_leaves; k++) {
            const struct forest_leaf *leaf = &ev->places[i].leaves[k];
            uint32_t row = leaf->letter ? READOUT_SIDES + leaf->side : leaf->side;
            if (!isfinite(s->logp[(size_t)row * n + leaf->option])) {
                return err_set(e, ERR_STATE,
                               "evaluation: scenario %u, option %u has a log-probability that is "
                               "not finite",
                               ev->places[i].scenario, leaf->option);
            }
        }
    }
    return OK;
}

static uint32_t bag_pick(const struct data_scenario *s, const double *scores, uint32_t side)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < s->n_options; i++) {
        double gain = scores[i] - scores[best];
        if (side == 0 ? gain > 0.0 : gain < 0.0) {
            best = i;
        }
    }
    return best;
}

/* Fills answers with the picks of a readout, or of the bag of words where bag is given. */
static enum err answer_all(struct eval *ev, int readout, const struct bag_of_words *bag,
                           uint32_t *n)
{
    double scores[LIMIT_OPTIONS];
    *n = 0;
    for (uint32_t i = 0; i < ev->test->n_scenarios; i++) {
        const struct data_scenario *s = &ev->test->scenarios[i];
        if (!ev->scores[i].logp) {
            continue;
        }
        for (uint32_t k = 0; bag && k < s->n_options; k++) {
            enum err error = bag_score(bag, axis_of(ev, s), s->options[k].text.text,
                                       s->options[k].text.bytes, &scores[k]);
            if (error != OK) {
                return error;
            }
        }
        const struct readout_scores own = scores_of(ev, i);
        for (uint32_t side = 0; side < 2; side++) {
            uint32_t pick =
                bag ? bag_pick(s, scores, side)
                    : readout_pick((enum readout)readout, &own, (enum readout_side)side);
            ev->answers[(*n)++] =
                (struct readout_question){.scenario = i,
                                          .axis = axis_of(ev, s),
                                          .side = side,
                                          .pick = pick,
                                          .correct = s->options[pick].side == side};
        }
    }
    return OK;
}

static void add_share(const struct readout_share *share, struct str *json)
{
    str_addf(json, "\"n\":%u,\"accuracy\":%.6f,\"ci95\":[%.6f,%.6f]", share->n, share->share,
             share->lo, share->hi);
}

/* "n", "accuracy", "ci95" and "per_value" of the answers. */
static enum err add_result(const struct eval *ev, uint32_t n, struct str *json)
{
    struct readout_share share;
    enum err error = readout_share(ev->answers, n, -1, 0, &share);
    add_share(&share, json);
    str_add(json, ",\"per_value\":{");
    const char *comma = "";
    for (uint32_t axis = 0; axis < ev->n_axes && error == OK; axis++) {
        for (uint32_t side = 0; side < 2 && error == OK; side++) {
            error = readout_share(ev->answers, n, (int)axis, (int)side, &share);
            if (error != OK || share.n == 0) {
                continue;
            }
            const char *name = value_name(ev, axis, side);
            str_add(json, comma);
            str_add_json(json, name, strlen(name));
            str_add(json, ":{");
            add_share(&share, json);
            str_add(json, "}");
            comma = ",";
        }
    }
    str_add(json, "}");
    return error;
}

static enum err add_bag(struct eval *ev, struct str *json)
{
    struct bag_of_words *bag = NULL;
    uint32_t n = 0;
    if (!ev->train) {
        str_add(json, "null");
        return OK;
    }
    enum err error = bag_new(ev->n_axes, &bag);
    for (uint32_t i = 0; error == OK && i < ev->train->n_scenarios; i++) {
        const struct data_scenario *s = &ev->train->scenarios[i];
        for (uint32_t k = 0; error == OK && k < s->n_options; k++) {
            error = bag_fit(bag, axis_of(ev, s), s->options[k].side, s->options[k].text.text,
                            s->options[k].text.bytes);
        }
    }
    if (error == OK) {
        error = answer_all(ev, 0, bag, &n);
    }
    if (error == OK) {
        str_add(json, "{");
        error = add_result(ev, n, json);
        str_add(json, "}");
    }
    bag_free(&bag);
    return error;
}

static enum err add_readout(struct eval *ev, enum readout r, const struct str *bag,
                            struct str *json)
{
    uint32_t n = 0;
    enum err error = answer_all(ev, (int)r, NULL, &n);
    if (error != OK) {
        return error;
    }
    str_addf(json, "{\"readout\":\"%s\",", readout_name(r));
    error = add_result(ev, n, json);
    str_add(json, ",\"bag_of_words\":");
    str_append(json, bag->data, bag->len);
    str_add(json, ",\"questions\":[");
    for (uint32_t i = 0; i < n; i++) {
        const struct readout_question *q = &ev->answers[i];
        str_addf(json, "%s[%u,%u,%u,%u,%d]", i > 0 ? "," : "", q->scenario, q->axis, q->side,
                 q->pick, q->correct ? 1 : 0);
    }
    str_add(json, "]}");
    return error;
}

enum err eval_finish(struct eval *ev, struct str *json, struct errbuf *e)
{
    struct str bag = {0};
    enum err error = check_taken(ev, e);
    if (error != OK) {
        return error;
    }
    error = add_bag(ev, &bag);
    str_addf(json, "{\"n_scenarios\":%u,\"results\":[", ev->test->n_scenarios);
    const char *comma = "";
    for (int r = 0; r < READOUTS && error == OK; r++) {
        if (ev->readouts & 1u << r) {
            str_add(json, comma);
            error = add_readout(ev, (enum readout)r, &bag, json);
            comma = ",";
        }
    }
    str_add(json, "]}");
    str_free(&bag);
    if (error == OK) {
        error = str_ok(json);
    }
    return error == OK ? OK : err_set(e, error, "evaluation: %s", err_text(error));
}

void eval_free(struct eval **ev)
{
    struct eval *old = *ev;
    if (!old) {
        return;
    }
    for (uint32_t i = 0; i < old->n_trees; i++) {
        tree_free(&old->trees[i]);
        mem_free(old->places[i].leaves);
    }
    for (uint32_t i = 0; old->scores && i < old->test->n_scenarios; i++) {
        mem_free(old->scores[i].logp);
        mem_free(old->scores[i].tokens);
    }
    mem_free(old->trees);
    mem_free(old->places);
    mem_free(old->scores);
    mem_free(old->answers);
    mem_free(old);
    *ev = NULL;
}
