/* eval_divergence.c - how far the adapter moves the model where nothing is asked about values: KL
 * (adapted || base) over the whole vocabulary, at the tokens of neutral prompts and of their
 * answers. A tree is a prompt with its answer, its two leaves are the two parts; a prompt without
 * an answer has the place of the answer's first token alone. */
#include <string.h>

#include "common/base/mem.h"
#include "coordinator/dataset.h"
#include "coordinator/eval_kind.h"
#include "coordinator/render_prompt.h"
#include "coordinator/trie.h"

enum { PART_PROMPT, PART_ANSWER, PARTS };

static bool reads(const struct dataset *d)
{
    return d->format == DATA_SFT || d->format == DATA_QUESTIONS;
}

/* Prompt and answer as one sequence, first_label = the answer's first token; *begin = the first
 * token of the prompt's text. */
static enum err render_whole(struct render *r, const struct data_scenario *s,
                             struct render_sequence *out, uint32_t *begin, struct errbuf *e)
{
    const struct render_talk talk = {.text = s->text.text, .bytes = s->text.bytes};
    const struct render_request q = {.scenario = s, .side = READOUT_NONE};
    struct render_sequence prompt = {0};
    enum err error = render_prompt(r, &talk, &prompt, e);
    *begin = prompt.first_label;
    if (error == OK && s->n_options > 0) {
        mem_free(prompt.tokens);
        return render_score(r, &q, out, e);
    }
    uint32_t *tokens = mem_calloc((size_t)prompt.n + 1, sizeof *tokens);
    if (error == OK && !tokens) {
        error = err_set(e, ERR_NOMEM, "no memory for %u tokens", prompt.n);
    }
    if (error == OK) { /* the token behind is made up: nothing depends on a target */
        memcpy(tokens, prompt.tokens, prompt.n * sizeof *tokens);
        *out =
            (struct render_sequence){.tokens = tokens, .n = prompt.n + 1, .first_label = prompt.n};
        tokens = NULL;
    }
    mem_free(tokens);
    mem_free(prompt.tokens);
    return error;
}

/* One tree of two leaves. */
static enum err plant(const struct render_sequence *s, uint32_t begin, uint32_t vocab,
                      struct forest_trees *out, struct errbuf *e)
{
    const struct trie_sequence parts[PARTS] = {
        [PART_PROMPT] = {s->tokens, s->first_label, begin + 1, 1.0f},
        [PART_ANSWER] = {s->tokens, s->n, s->first_label, 1.0f}};
    struct forest_tree *one = mem_calloc(1, sizeof *one);
    struct forest_leaf *leaves = mem_calloc(PARTS, sizeof *leaves);
    *out = (struct forest_trees){.n = one ? 1 : 0, .items = one};
    if (!one || !leaves) {
        mem_free(leaves);
        return err_set(e, ERR_NOMEM, "no memory for a tree");
    }
    for (uint32_t i = 0; i < PARTS; i++) {
        leaves[i] =
            (struct forest_leaf){.side = READOUT_NONE, .labels = parts[i].n - parts[i].first_label};
    }
    one->leaves = leaves;
    return trie_build(parts, PARTS, 0, vocab, &one->tree, NULL, e);
}

static enum err add_prompt(const struct eval_input *in, struct render *r, uint32_t i,
                           struct eval_trees *trees, struct errbuf *e)
{
    const struct data_scenario *s = &in->test->scenarios[i];
    struct render_sequence whole = {0};
    struct forest_trees made = {0};
    uint32_t begin = 0;
    enum err error = render_whole(r, s, &whole, &begin, e);
    if (error == OK && whole.n > in->cfg->data_max_length) {
        error = err_set(e, ERR_REFUSED,
                        "%s:%u: the prompt and its answer are %u tokens, data.max_length is %u: "
                        "raise it or shorten the text",
                        in->test->path, s->line, whole.n, in->cfg->data_max_length);
    }
    if (error == OK) {
        error = plant(&whole, begin, tokenizer_count(in->tok), &made, e);
    }
    if (error == OK) {
        error = eval_trees_add(trees, 0, i, &made, e);
    }
    forest_trees_free(&made);
    mem_free(whole.tokens);
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
        for (uint32_t k = 0; k < PARTS; k++) {
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
    enum err error = add_result(trees, pass, "all", 1u << PART_PROMPT | 1u << PART_ANSWER, out, e);
    if (error == OK) {
        error = add_result(trees, pass, "prompt", 1u << PART_PROMPT, out, e);
    }
    return error == OK ? add_result(trees, pass, "answer", 1u << PART_ANSWER, out, e) : error;
}

const struct eval_kind eval_divergence = {
    .name = "divergence",
    .formats = "'sft' and 'questions' files",
    .score = WIRE_KL,
    .reads = reads,
    .build = build,
    .answer = answer,
};
