/* adapter_kl.c - neutral texts to trees, divergences to means. */
#include "coordinator/adapter_kl.h"

#include <string.h>

#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/base/mem.h"
#include "coordinator/render_prompt.h"
#include "coordinator/trie.h"

struct adapter_kl {
    uint32_t vocab, n;
    struct tree *trees; /* [n] */
    double *kl;         /* [n] */
    size_t trees_capacity, kl_capacity;
};

enum err adapter_kl_new(uint32_t vocab, struct adapter_kl **out, struct errbuf *e)
{
    *out = mem_calloc(1, sizeof **out);
    if (!*out) {
        return err_set(e, ERR_NOMEM, "no memory for texts");
    }
    (*out)->vocab = vocab;
    return OK;
}

/* One chain with a label at every row from the text's first token on. */
static enum err chain(const struct adapter_kl *d, const struct render_sequence *s, struct tree *out,
                      struct errbuf *e)
{
    uint32_t *tokens = mem_calloc((size_t)s->n + 1, sizeof *tokens);
    if (!tokens) {
        return err_set(e, ERR_NOMEM, "no memory for %u tokens", s->n);
    }
    memcpy(tokens, s->tokens, s->n * sizeof *tokens); /* the one behind is made up */
    const struct trie_sequence one = {
        .tokens = tokens, .n = s->n + 1, .first_label = s->first_label + 1, .weight = 1.0f};
    enum err error = trie_build(&one, 1, d->n, d->vocab, out, NULL, e);
    mem_free(tokens);
    return error;
}

enum err adapter_kl_add(struct adapter_kl *d, struct render *r, const char *text, size_t bytes,
                        struct errbuf *e)
{
    const struct render_talk talk = {.text = text, .bytes = bytes};
    struct render_sequence sequence;
    if (mem_grow((void **)&d->trees, &d->trees_capacity, (size_t)d->n + 1, sizeof *d->trees,
                 LIMIT_GROUPS) != OK ||
        mem_grow((void **)&d->kl, &d->kl_capacity, (size_t)d->n + 1, sizeof *d->kl, LIMIT_GROUPS) !=
            OK) {
        return err_set(e, ERR_NOMEM, "no memory for %u texts", d->n + 1);
    }
    enum err error = render_prompt(r, &talk, &sequence, e);
    if (error == OK) {
        error = chain(d, &sequence, &d->trees[d->n], e);
    }
    mem_free(sequence.tokens);
    d->kl[d->n] = 0.0;
    d->n += error == OK;
    return error;
}

uint32_t adapter_kl_count(const struct adapter_kl *d)
{
    return d->n;
}

enum err adapter_kl_batch(const struct adapter_kl *d, uint32_t unit_tokens, uint32_t number,
                          struct batch *b, struct errbuf *e)
{
    if (d->n == 0) {
        return err_set(e, ERR_RANGE, "no text to compare on");
    }
    enum err error = batch_score(d->trees, d->n, unit_tokens, number, b, e);
    b->score = WIRE_KL;
    return error;
}

void adapter_kl_take(struct adapter_kl *d, uint32_t tree, const double *leaf)
{
    CHECK(tree < d->n);
    d->kl[tree] = leaf[0];
}

double adapter_kl_text(const struct adapter_kl *d, uint32_t i, uint32_t *tokens)
{
    CHECK(i < d->n);
    *tokens = d->trees[i].n_labels;
    return d->kl[i];
}

double adapter_kl_mean(const struct adapter_kl *d)
{
    double sum = 0.0;
    double tokens = 0.0;
    for (uint32_t i = 0; i < d->n; i++) {
        sum += d->kl[i] * d->trees[i].n_labels;
        tokens += d->trees[i].n_labels;
    }
    return sum / tokens;
}

void adapter_kl_free(struct adapter_kl **divergence)
{
    struct adapter_kl *d = *divergence;
    *divergence = NULL;
    for (uint32_t i = 0; d && i < d->n; i++) {
        tree_free(&d->trees[i]);
    }
    if (d) {
        mem_free(d->trees);
        mem_free(d->kl);
        mem_free(d);
    }
}
