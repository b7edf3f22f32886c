/* eval_divergence.c - how far the adapter moves the model where nothing is asked about values: KL
 * (adapted || base) over the whole vocabulary, at the tokens of neutral prompts and of their
 * answers. A tree is a prompt with its answer, its two leaves are the two parts; a prompt without
 * an answer has the place of the answer's first token alone. */
#include "coordinator/dataset.h"
#include "coordinator/eval_kind.h"
#include "coordinator/neutral_text.h"

static enum err add_prompt(const struct eval_input *in, struct render *r, uint32_t i,
                           struct eval_trees *trees, struct errbuf *e)
{
    struct forest_trees made = {0};
    enum err error = neutral_tree(r, in->test, i, &made, e);
    if (error == OK) {
        error = eval_trees_add(trees, 0, i, &made, e);
    }
    forest_trees_free(&made);
    return error;
}

static enum err build(const struct eval_input *in, struct eval_trees *trees, struct errbuf *e)
{
    struct render render = {0};
    enum err error = render_init(&render, in->cfg, in->values, in->tok, e);
    for (uint32_t i = 0; i < eval_limit(in) && error == OK; i++) {
        error = add_prompt(in, &render, i, trees, e);
    }
    render_free(&render);
    return error;
}

/* One result: the tokens of the parts in `mask`. */
static enum err add_result(const struct eval_trees *trees, enum eval_pass pass, const char *name,
                           uint32_t mask, struct eval_results *out, struct errbuf *e)
{
    struct eval_result *result = NULL;
    enum err error = eval_results_add(out, name, -1, &result, e);
    for (uint32_t t = 0; t < trees->n && error == OK; t++) {
        const struct eval_place *place = &trees->places[t];
        struct eval_answer answer = {.scenario = place->scenario};
        for (uint32_t k = 0; k < NEUTRAL_PARTS; k++) {
            double tokens = mask & 1u << k ? (double)place->leaves[k].labels : 0.0;
            answer.gain += tokens * place->logp[pass][k];
            answer.weight += tokens;
        }
        error = eval_shares_add(&result->parts[EVAL_ONE], "kl", &answer, e);
    }
    return error;
}

static enum err answer(const struct eval_input *in, const struct eval_trees *trees,
                       enum eval_pass pass, struct eval_results *out, struct errbuf *e)
{
    (void)in;
    enum err error =
        add_result(trees, pass, "all", 1u << NEUTRAL_PROMPT | 1u << NEUTRAL_ANSWER, out, e);
    if (error == OK) {
        error = add_result(trees, pass, "prompt", 1u << NEUTRAL_PROMPT, out, e);
    }
    return error == OK ? add_result(trees, pass, "answer", 1u << NEUTRAL_ANSWER, out, e) : error;
}

const struct eval_kind eval_divergence = {
    .name = "divergence",
    .formats = "'sft' and 'questions' files",
    .score = WIRE_KL,
    .reads = neutral_reads,
    .build = build,
    .answer = answer,
};
