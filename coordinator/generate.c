/* generate.c - requests to trees, answers back. */
#include "coordinator/generate.h"

#include <string.h>

#include "common/base/check.h"
#include "common/base/mem.h"
#include "common/text/tokenizer.h"
#include "coordinator/trie.h"

enum { REQUESTS_MAX = 1 << 20 };

struct kept_answer {
    bool there;
    enum answer_end end;
    uint32_t n;
    uint32_t *tokens;
};

struct generate {
    const struct tokenizer *tok;
    uint32_t vocab, n;
    struct tree *trees;              /* [n] */
    struct answer_request *requests; /* [n] */
    struct kept_answer *answers;     /* [n] */
    size_t trees_capacity, requests_capacity, answers_capacity;
    uint32_t *open; /* [n_open] requests of the batch; the next two are copies for it */
    struct tree *open_trees;
    struct answer_request *open_requests;
    uint32_t n_open;
};

enum err generate_new(const struct tokenizer *tok, uint32_t vocab, struct generate **out,
                      struct errbuf *e)
{
    struct generate *g = mem_calloc(1, sizeof *g);
    *out = g;
    if (!g) {
        return err_set(e, ERR_NOMEM, "no memory for requests");
    }
    g->tok = tok;
    g->vocab = vocab;
    return OK;
}

/* A tree whose only labels stand at the ends of the branches: the token behind is made up. */
static enum err build_tree(const struct generate *g, const struct generate_branch *branches,
                           uint32_t n, struct tree *out, struct errbuf *e)
{
    struct trie_sequence sequences[LIMIT_BRANCHES] = {{0}};
    uint32_t *copies[LIMIT_BRANCHES] = {NULL};
    enum err error = OK;
    for (uint32_t i = 0; error == OK && i < n; i++) {
        CHECK(branches[i].n >= 1 && branches[i].n < UINT32_MAX);
        copies[i] = mem_calloc((size_t)branches[i].n + 1, sizeof *copies[i]);
        if (!copies[i]) {
            error = err_set(e, ERR_NOMEM, "no memory for a prompt of %u tokens", branches[i].n);
            break;
        }
        memcpy(copies[i], branches[i].tokens, branches[i].n * sizeof *copies[i]);
        sequences[i] = (struct trie_sequence){.tokens = copies[i],
                                              .n = branches[i].n + 1,
                                              .first_label = branches[i].n,
                                              .weight = branches[i].weight};
    }
    if (error == OK) {
        error = trie_build(sequences, n, g->n, g->vocab, out, NULL, e);
    }
    for (uint32_t i = 0; i < n; i++) {
        mem_free(copies[i]);
    }
    return error;
}

enum err generate_add(struct generate *g, const struct generate_branch *branches, uint32_t n,
                      const struct answer_request *how, struct errbuf *e)
{
    const size_t need = (size_t)g->n + 1;
    struct tree tree = {0};
    if (n == 0 || n > LIMIT_BRANCHES) {
        return err_set(e, ERR_RANGE, "a request of %u branches: 1 to %d are possible", n,
                       LIMIT_BRANCHES);
    }
    if (mem_grow((void **)&g->trees, &g->trees_capacity, need, sizeof *g->trees, REQUESTS_MAX) !=
            OK ||
        mem_grow((void **)&g->requests, &g->requests_capacity, need, sizeof *g->requests,
                 REQUESTS_MAX) != OK ||
        mem_grow((void **)&g->answers, &g->answers_capacity, need, sizeof *g->answers,
                 REQUESTS_MAX) != OK) {
        return err_set(e, ERR_NOMEM, "no memory for %u requests (at most %d are possible)",
                       g->n + 1, REQUESTS_MAX);
    }
    enum err error = build_tree(g, branches, n, &tree, e);
    if (error == OK) {
        error = answer_check(&tree, how, g->vocab, e);
    }
    if (error != OK) {
        tree_free(&tree);
        return err_prefix(e, error, "request %u", g->n);
    }
    g->trees[g->n] = tree;
    g->requests[g->n] = *how;
    g->answers[g->n] = (struct kept_answer){0};
    g->n++;
    return OK;
}

uint32_t generate_count(const struct generate *g)
{
    return g->n;
}

const struct tree *generate_tree(const struct generate *g, uint32_t i)
{
    CHECK(i < g->n);
    return &g->trees[i];
}

const struct answer_request *generate_request(const struct generate *g, uint32_t i)
{
    CHECK(i < g->n);
    return &g->requests[i];
}

uint32_t generate_of_unit(const struct generate *g, uint32_t unit)
{
    CHECK(unit < g->n_open);
    return g->open[unit];
}

static void free_open(struct generate *g)
{
    mem_free(g->open);
    mem_free(g->open_trees);
    mem_free(g->open_requests);
    g->open = NULL;
    g->open_trees = NULL;
    g->open_requests = NULL;
    g->n_open = 0;
}

enum err generate_batch(struct generate *g, uint32_t number, struct batch *b, struct errbuf *e)
{
    const uint32_t left = generate_left(g);
    free_open(g);
    if (left == 0) {
        return err_set(e, ERR_RANGE, "no request to answer");
    }
    g->open = mem_calloc(left, sizeof *g->open);
    g->open_trees = mem_calloc(left, sizeof *g->open_trees);
    g->open_requests = mem_calloc(left, sizeof *g->open_requests);
    if (!g->open || !g->open_trees || !g->open_requests) {
        free_open(g);
        return err_set(e, ERR_NOMEM, "no memory for %u requests", left);
    }
    for (uint32_t i = 0; i < g->n; i++) {
        if (!g->answers[i].there) {
            g->open[g->n_open] = i;
            g->open_trees[g->n_open] = g->trees[i];
            g->open_requests[g->n_open++] = g->requests[i];
        }
    }
    return batch_generate(g->open_trees, g->open_requests, g->n_open, g->vocab, number, b, e);
}

/* Room for an answer of n tokens in place of the one that is there. */
static enum err renew(struct kept_answer *kept, enum answer_end end, uint32_t n)
{
    uint32_t *tokens = mem_calloc(n, sizeof *tokens);
    if (!tokens) {
        return ERR_NOMEM;
    }
    mem_free(kept->tokens);
    *kept = (struct kept_answer){.there = true, .end = end, .n = n, .tokens = tokens};
    return OK;
}

enum err generate_put(struct generate *g, uint32_t i, enum answer_end end, const uint32_t *tokens,
                      uint32_t n)
{
    CHECK(i < g->n);
    bool fine = n <= g->requests[i].max_new_tokens && (end == ANSWER_STOPPED || end == ANSWER_FULL);
    for (uint32_t k = 0; k < n && fine; k++) {
        fine = tokens[k] < g->vocab;
    }
    enum err error = fine ? renew(&g->answers[i], end, n) : ERR_RANGE;
    for (uint32_t k = 0; k < n && error == OK; k++) {
        g->answers[i].tokens[k] = tokens[k];
    }
    return error;
}

static enum err keep(struct kept_answer *kept, const struct answer_view *a)
{
    enum err error = renew(kept, a->end, a->n);
    for (uint32_t i = 0; i < a->n && error == OK; i++) {
        kept->tokens[i] = answer_token(a, i);
    }
    return error;
}

enum err generate_take_job(struct generate *g, const struct job *job, const struct blob *payload,
                           struct errbuf *e)
{
    struct answer_view answers[LIMIT_JOB_UNITS];
    const struct answer_request *requests[LIMIT_JOB_UNITS];
    for (uint32_t i = 0; i < job->n_units; i++) {
        requests[i] = &g->requests[generate_of_unit(g, job->units[i])];
    }
    enum err error = answers_read(blob_data(payload), blob_bytes(payload), requests, job->n_units,
                                  g->vocab, answers, e);
    for (uint32_t i = 0; error == OK && i < job->n_units; i++) {
        error = keep(&g->answers[generate_of_unit(g, job->units[i])], &answers[i]);
        if (error != OK) {
            error = err_set(e, error, "no memory for an answer of %u tokens", answers[i].n);
        }
    }
    return error;
}

uint32_t generate_left(const struct generate *g)
{
    uint32_t left = 0;
    for (uint32_t i = 0; i < g->n; i++) {
        left += !g->answers[i].there;
    }
    return left;
}

const uint32_t *generate_tokens(const struct generate *g, uint32_t i, uint32_t *n,
                                enum answer_end *end)
{
    CHECK(i < g->n && g->answers[i].there);
    *n = g->answers[i].n;
    *end = g->answers[i].end;
    return g->answers[i].tokens;
}

void generate_text(const struct generate *g, uint32_t i, struct str *out)
{
    CHECK(i < g->n && g->answers[i].there);
    for (uint32_t k = 0; k < g->answers[i].n; k++) {
        size_t bytes = 0;
        const char *text = tokenizer_text(g->tok, g->answers[i].tokens[k], &bytes);
        if (text) {
            str_append(out, text, bytes);
        }
    }
}

void generate_free(struct generate **generate)
{
    struct generate *g = *generate;
    *generate = NULL;
    for (uint32_t i = 0; g && i < g->n; i++) {
        tree_free(&g->trees[i]);
        mem_free(g->answers[i].tokens);
    }
    if (g) {
        free_open(g);
        mem_free(g->trees);
        mem_free(g->requests);
        mem_free(g->answers);
        mem_free(g);
    }
}
