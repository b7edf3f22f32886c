/* engine_generate.c - which requests are decoded together, and when an answer is done. */
#include "worker/engine_generate.h"

#include "common/base/mem.h"
#include "worker/engine_slot.h"
#include "worker/model/decode.h"
#include "worker/model/sample.h"

/* A request that is being decoded. */
struct talk {
    const struct unit *unit;
    const struct answer_request *request;
    struct engine_answer *answer;
    struct kv_block block;
    uint32_t branches;
    uint32_t rows[LIMIT_BRANCHES]; /* of the batch, by branch */
    float weights[LIMIT_BRANCHES];
    uint32_t depth; /* tokens of its longest branch when it is full */
};

struct talks {
    struct decode d;
    struct talk list[DECODE_ROWS];
    uint32_t n;
    struct sample_candidate *room; /* [V] */
    uint32_t vocab;
};

static bool is_stop(const struct answer_request *r, uint32_t token)
{
    for (uint32_t i = 0; i < r->n_stops; i++) {
        if (r->stops[i] == token) {
            return true;
        }
    }
    return false;
}

/* Draws the next token from logits at these rows of d.logits; *done when it ends the answer. */
static enum err draw(struct talks *all, struct talk *t, const uint32_t *rows, uint32_t *token,
                     bool *done, struct errbuf *e)
{
    const float *logits[LIMIT_BRANCHES];
    struct engine_answer *a = t->answer;
    for (uint32_t b = 0; b < t->branches; b++) {
        logits[b] = all->d.logits + (size_t)rows[b] * all->vocab;
    }
    if (sample_next(logits, t->weights, t->branches, all->vocab, t->request, a->n, all->room,
                    token) != OK) {
        return err_set(e, ERR_RANGE, "unit %llx: a logit of its token %u is not finite",
                       (unsigned long long)t->unit->id, a->n);
    }
    if (is_stop(t->request, *token)) {
        a->end = ANSWER_STOPPED;
    } else {
        a->tokens[a->n++] = *token;
        a->end = a->n == t->request->max_new_tokens ? ANSWER_FULL : a->end;
    }
    *done = a->end != 0;
    return OK;
}

static void read_branches(struct talk *t)
{
    const struct tree *tree = &t->unit->trees[0];
    t->branches = tree->n_leaves;
    for (uint32_t i = 0; i < tree->n_labels; i++) {
        t->weights[tree->labels[i].leaf] = tree->labels[i].weight;
    }
}

/* Computes the prompt and draws the first token; with more to come its branches enter the batch. */
static enum err admit(struct talks *all, struct talk *t, const float *lora_flat, struct errbuf *e)
{
    struct decode_path paths[LIMIT_BRANCHES] = {{.tokens = 0}};
    uint32_t order[LIMIT_BRANCHES];
    uint32_t token;
    bool done = true;
    read_branches(t);
    enum err error = decode_prompt(&all->d, t->unit, lora_flat, &t->block, paths, e);
    for (uint32_t b = 0; b < t->branches; b++) {
        order[b] = b;
        t->depth = paths[b].tokens > t->depth ? paths[b].tokens : t->depth;
    }
    t->depth += t->request->max_new_tokens;
    if (error == OK) {
        error = draw(all, t, order, &token, &done, e);
    }
    for (uint32_t b = 0; b < t->branches; b++) {
        if (error == OK && !done) {
            t->rows[b] = decode_add(&all->d, &paths[b], token);
        }
        mem_free(paths[b].runs);
    }
    if (error == OK && !done) {
        all->n++;
    } else {
        kv_free(all->d.p->team.ops, &t->block);
    }
    return error;
}

static void dismiss(struct talks *all, uint32_t i)
{
    struct talk *t = &all->list[i];
    for (uint32_t b = 0; b < t->branches; b++) {
        decode_remove(&all->d, t->rows[b]);
    }
    kv_free(all->d.p->team.ops, &t->block);
    all->list[i] = all->list[--all->n];
}

/* The batch gets ready for the deepest answer in it. */
static enum err prepare(struct talks *all, struct errbuf *e)
{
    uint32_t depth = 0;
    for (uint32_t i = 0; i < all->n; i++) {
        depth = all->list[i].depth > depth ? all->list[i].depth : depth;
    }
    return decode_prepare(&all->d, depth, e);
}

static enum err step(struct talks *all, struct errbuf *e)
{
    enum err error = decode_step(&all->d, e);
    for (uint32_t i = all->n; error == OK && i-- > 0;) {
        struct talk *t = &all->list[i];
        uint32_t token;
        bool done = false;
        error = draw(all, t, t->rows, &token, &done, e);
        for (uint32_t b = 0; error == OK && b < t->branches; b++) {
            all->d.rows[t->rows[b]].token = token;
        }
        if (error == OK && done) {
            dismiss(all, i);
        }
    }
    return error;
}

static enum err open_talks(struct talks *all, struct engine_slot *slot, struct errbuf *e)
{
    all->vocab = slot->engine->model.shape.vocab;
    all->room = mem_calloc(all->vocab, sizeof *all->room);
    return all->room && decode_init(&all->d, &slot->pass) == OK
               ? OK
               : err_set(e, ERR_NOMEM, "engine: no memory for %d rows of logits", DECODE_ROWS);
}

enum err engine_generate(struct engine_slot *slot, const struct unit *units,
                         const struct answer_request *requests, uint32_t n, const float *lora_flat,
                         const atomic_bool *stop, bool *stopped, struct engine_answer *answers,
                         struct errbuf *e)
{
    struct talks all = {.n = 0};
    enum err error = open_talks(&all, slot, e);
    *stopped = false;
    for (uint32_t next = 0; error == OK && (next < n || all.n > 0);) {
        bool entered = false;
        *stopped = atomic_load_explicit(stop, memory_order_relaxed);
        if (*stopped) {
            break;
        }
        while (error == OK && next < n &&
               decode_free_rows(&all.d) >= units[next].trees[0].n_leaves) {
            struct talk *t = &all.list[all.n];
            *t = (struct talk){
                .unit = &units[next], .request = &requests[next], .answer = &answers[next]};
            t->answer->tokens = mem_calloc(t->request->max_new_tokens, sizeof *t->answer->tokens);
            error = t->answer->tokens ? admit(&all, t, lora_flat, e)
                                      : err_set(e, ERR_NOMEM, "engine: no memory for an answer");
            entered = true;
            next++;
        }
        if (error == OK && entered && all.n > 0) {
            error = prepare(&all, e);
        }
        if (error == OK && all.n > 0) {
            error = step(&all, e);
        }
    }
    while (all.n > 0) {
        dismiss(&all, all.n - 1);
    }
    decode_free(&all.d);
    mem_free(all.room);
    team_enter(&slot->pass.team, PROFILE_IDLE);
    return error;
}
