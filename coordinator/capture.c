/* capture.c - an axis to trees, sums to vectors. */
#include "coordinator/capture.h"

#include <string.h>

#include "common/base/bytes.h"
#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/base/mem.h"
#include "coordinator/render.h"
#include "coordinator/trie.h"

#define UNIT_SUM_MAX (1ll << (LIMIT_CAPTURE_SHIFT + LIMIT_CAPTURE_BITS))

struct capture {
    uint32_t layers, hidden, vocab;
    uint32_t n; /* trees = scenarios */
    struct tree *trees;
    size_t trees_capacity;
    uint64_t rows[2];
    int64_t *sums; /* [2][L][D] */
};

static bool two_sided(const struct data_scenario *s)
{
    bool seen[2] = {false, false};
    for (uint32_t i = 0; i < s->n_options; i++) {
        seen[s->options[i].side] = true;
    }
    return seen[0] && seen[1];
}

/* The rows of an option's own tokens: the sequence ends with a token that is only predicted, so the
 * rows that carry a label are those of the tokens one further on. */
static enum err render_options(struct render *r, const struct data_scenario *s,
                               struct trie_sequence *sequences, struct errbuf *e)
{
    enum err error = OK;
    for (uint32_t i = 0; error == OK && i < s->n_options; i++) {
        const struct render_request q = {.scenario = s, .side = READOUT_NONE, .option = i};
        struct render_sequence sequence;
        error = render_score(r, &q, &sequence, e);
        if (error == OK) {
            uint32_t first = sequence.first_label + 1;
            sequences[i] =
                (struct trie_sequence){.tokens = sequence.tokens,
                                       .n = sequence.n,
                                       .first_label = first < sequence.n ? first : sequence.n,
                                       .weight = s->options[i].side == 0 ? 1.0f : -1.0f};
        }
    }
    return error;
}

static enum err add_scenario(struct capture *c, struct render *r, const struct data_scenario *s,
                             struct errbuf *e)
{
    struct trie_sequence sequences[LIMIT_OPTIONS] = {{.tokens = NULL}};
    enum err error = render_options(r, s, sequences, e);
    if (error == OK && mem_grow((void **)&c->trees, &c->trees_capacity, (size_t)c->n + 1,
                                sizeof *c->trees, LIMIT_GROUPS) != OK) {
        error = err_set(e, ERR_NOMEM, "no memory for %u trees", c->n + 1);
    }
    if (error == OK) {
        error = trie_build(sequences, s->n_options, c->n, c->vocab, &c->trees[c->n], NULL, e);
    }
    for (uint32_t i = 0; i < s->n_options; i++) {
        union { /* they were allocated for this list alone */
            const uint32_t *kept;
            uint32_t *own;
        } tokens = {.kept = sequences[i].tokens};
        mem_free(tokens.own);
    }
    if (error != OK) {
        return err_prefix(e, error, "scenario of line %u", s->line);
    }
    const struct tree *t = &c->trees[c->n++];
    for (uint32_t i = 0; i < t->n_labels; i++) {
        c->rows[t->labels[i].weight < 0.0f]++;
    }
    return OK;
}

static enum err add_scenarios(struct capture *c, const struct setup *s,
                              const struct capture_range *range, struct errbuf *e)
{
    struct render r;
    enum err error = render_init(&r, s->cfg, s->values, s->tok, e);
    for (uint32_t i = range->skip; error == OK && i < s->test->n_scenarios; i++) {
        const struct data_scenario *scenario = &s->test->scenarios[i];
        const bool within = range->limit == 0 || i - range->skip < range->limit;
        if (within && scenario->axis == range->axis && two_sided(scenario) &&
            (range->most == 0 || c->n < range->most)) {
            error = add_scenario(c, &r, scenario, e);
        }
    }
    render_free(&r);
    if (error == OK && (c->rows[0] == 0 || c->rows[1] == 0)) {
        error = err_set(e, ERR_RANGE,
                        "%s: no scenario of axis '%s' has options of both values with more than "
                        "one token",
                        s->test->path, s->values->axes[range->axis].name);
    }
    return error;
}

enum err capture_new(const struct setup *s, const struct capture_range *range, struct capture **out,
                     struct errbuf *e)
{
    const struct model_shape *shape = model_shape(s->model);
    struct capture *c = mem_calloc(1, sizeof *c);
    *out = NULL;
    if (!c) {
        return err_set(e, ERR_NOMEM, "no memory for a capture");
    }
    c->layers = shape->layers;
    c->hidden = shape->hidden;
    c->vocab = shape->vocab;
    c->sums = mem_calloc(2 * (size_t)c->layers * c->hidden, sizeof *c->sums);
    enum err error = c->sums ? add_scenarios(c, s, range, e)
                             : err_set(e, ERR_NOMEM, "no memory for sums of activations");
    if (error != OK) {
        capture_free(&c);
    }
    *out = c;
    return error;
}

enum err capture_batch(const struct capture *c, uint32_t unit_tokens, uint32_t number,
                       struct batch *b, struct errbuf *e)
{
    return batch_capture(c->trees, c->n, unit_tokens, number, 2 * (size_t)c->layers * c->hidden, b,
                         e);
}

enum err capture_take(struct capture *c, const struct job *job, const struct blob *payload,
                      struct errbuf *e)
{
    const size_t count = 2 * (size_t)c->layers * c->hidden;
    const int64_t most = (int64_t)job->n_units * UNIT_SUM_MAX;
    const uint8_t *data = blob_data(payload);
    CHECK(blob_bytes(payload) == count * sizeof *c->sums);
    for (size_t i = 0; i < count; i++) {
        int64_t value = (int64_t)bytes_get_u64(data + i * sizeof value);
        if (value >= most || value <= -most) {
            return err_set(e, ERR_RANGE, "a captured sum of %g from %u units cannot be",
                           (double)value * 0x1p-32, job->n_units);
        }
    }
    for (size_t i = 0; i < count; i++) {
        c->sums[i] += (int64_t)bytes_get_u64(data + i * sizeof c->sums[i]);
    }
    return OK;
}

void capture_restart(struct capture *c)
{
    memset(c->sums, 0, 2 * (size_t)c->layers * c->hidden * sizeof *c->sums);
}

uint32_t capture_scenarios(const struct capture *c)
{
    return c->n;
}

uint64_t capture_rows(const struct capture *c, uint32_t side)
{
    return c->rows[side];
}

void capture_vectors(const struct capture *c, float *vectors)
{
    const size_t count = (size_t)c->layers * c->hidden;
    for (size_t i = 0; i < count; i++) {
        double a = (double)c->sums[i] / (double)c->rows[0];
        double b = (double)c->sums[count + i] / (double)c->rows[1];
        vectors[i] = (float)((a - b) * 0x1p-32);
    }
}

void capture_free(struct capture **capture)
{
    struct capture *c = *capture;
    *capture = NULL;
    for (uint32_t i = 0; c && i < c->n; i++) {
        tree_free(&c->trees[i]);
    }
    if (c) {
        mem_free(c->trees);
        mem_free(c->sums);
        mem_free(c);
    }
}
