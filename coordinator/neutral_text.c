/* neutral_text.c - prompt and answer to one chain with two leaves. */
#include "coordinator/neutral_text.h"

#include <string.h>

#include "common/base/mem.h"
#include "coordinator/render_prompt.h"
#include "coordinator/trie.h"

bool neutral_reads(const struct dataset *d)
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
    const struct trie_sequence parts[NEUTRAL_PARTS] = {
        [NEUTRAL_PROMPT] = {s->tokens, s->first_label, begin + 1, 1.0f},
        [NEUTRAL_ANSWER] = {s->tokens, s->n, s->first_label, 1.0f}};
    struct forest_tree *one = mem_calloc(1, sizeof *one);
    struct forest_leaf *leaves = mem_calloc(NEUTRAL_PARTS, sizeof *leaves);
    *out = (struct forest_trees){.n = one ? 1 : 0, .items = one};
    if (!one || !leaves) {
        mem_free(leaves);
        return err_set(e, ERR_NOMEM, "no memory for a tree");
    }
    for (uint32_t i = 0; i < NEUTRAL_PARTS; i++) {
        leaves[i] =
            (struct forest_leaf){.side = READOUT_NONE, .labels = parts[i].n - parts[i].first_label};
    }
    one->leaves = leaves;
    return trie_build(parts, NEUTRAL_PARTS, 0, vocab, &one->tree, NULL, e);
}

enum err neutral_tree(struct render *r, const struct dataset *data, uint32_t i,
                      struct forest_trees *out, struct errbuf *e)
{
    const struct data_scenario *s = &data->scenarios[i];
    struct render_sequence whole = {0};
    uint32_t begin = 0;
    *out = (struct forest_trees){0};
    enum err error = render_whole(r, s, &whole, &begin, e);
    if (error == OK && whole.n > r->cfg->data_max_length) {
        error = err_set(e, ERR_REFUSED,
                        "%s:%u: the prompt and its answer are %u tokens, data.max_length is %u: "
                        "raise it or shorten the text",
                        data->path, s->line, whole.n, r->cfg->data_max_length);
    }
    if (error == OK) {
        error = plant(&whole, begin, tokenizer_count(r->tok), out, e);
    }
    if (error != OK) {
        forest_trees_free(out);
    }
    mem_free(whole.tokens);
    return error;
}
