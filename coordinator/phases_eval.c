/* phases_eval.c - an evaluation's batches: what is not known yet is scored, with the adapter off
 * first where a paired difference is wanted. What comes is written to run.db as it comes, so that a
 * start after a kill -9 goes on where the last one stopped. */
#include <math.h>
#include <stdio.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "coordinator/eval_work.h"
#include "coordinator/phases_state.h"
#include "coordinator/score_book.h"

/* Scores are written once so many trees, or so long, have come. */
enum { KEEP_TREES = 32, KEEP_MS = 2000 };

/* What is asked for; of a run what the test file is made for, all of it. */
static struct eval_request request_of(const struct phases *p)
{
    return p->eval_only ? p->start->ask
                        : (struct eval_request){.task = eval_task_for(p->start->setup.test),
                                                .before = p->phase == PHASE_EVAL_BEFORE};
}

static enum err make(const struct phases *p, struct eval **eval, struct errbuf *e)
{
    const struct eval_input in = eval_work_input(&p->start->setup, request_of(p));
    return eval_new(&in, eval, e);
}

void phases_eval_foresee(struct phases *p)
{
    struct errbuf e;
    uint32_t n = 0;
    if (p->phase != PHASE_TRAIN || !p->start->setup.test || p->start->has_after ||
        p->eval_tokens > 0.0) {
        return;
    }
    enum err error = make(p, &p->foreseen, &e);
    if (error != OK) {
        phases_fail(p, e.text);
        return;
    }
    const struct tree *trees = eval_trees(p->foreseen, &n);
    for (uint32_t i = 0; i < n; i++) {
        p->eval_tokens += trees[i].n_rows;
    }
}

static bool adapted(const struct phases *p)
{
    return p->eval_adapter && p->pass == EVAL_MAIN;
}

/* What makes the scores of a tree, or the answer to a request. */
static struct score_maker scorer(const struct phases *p, uint32_t tree)
{
    const uint32_t code = eval_generate(p->eval, p->pass) ? 0 : eval_vectors(p->eval, tree);
    return (struct score_maker){.adapter = adapted(p) ? p->last->digest : NULL,
                                .vectors = code > 0 ? p->start->value_vectors->digests[code]
                                           : p->start->steer ? p->start->steer_digest
                                                             : NULL,
                                .score = eval_score(p->eval)};
}

/* Takes what is known of the pass. Of the other trees those with the least vectors from `from` on
 * go to todo [n] and *vectors; *more: there are later ones. */
static enum err take_known(struct phases *p, const struct tree *trees, uint32_t n, uint32_t from,
                           struct tree *todo, uint32_t *left)
{
    struct score_key key;
    uint32_t least = UINT32_MAX;
    *left = 0;
    p->eval_more = false;
    for (uint32_t i = 0; i < n; i++) {
        const struct score_maker by = scorer(p, i);
        const uint32_t code = eval_vectors(p->eval, i);
        enum err error = score_book_key(&trees[i], &by, &key);
        if (error != OK) {
            return error;
        }
        const double *known = score_book_find(p->start->scores, &key, trees[i].n_leaves);
        if (known) {
            eval_take(p->eval, p->pass, i, known);
            continue;
        }
        p->eval_more = p->eval_more || (least != UINT32_MAX && code != least && code >= from);
        if (code >= from && code < least) {
            least = code;
            *left = 0;
        }
        if (code == least) {
            todo[(*left)++] = trees[i];
        }
    }
    p->eval_vectors = least != UINT32_MAX ? least : 0;
    return OK;
}

static enum err prepare_scores(struct phases *p, uint32_t from, uint32_t *n, uint32_t *left,
                               struct errbuf *e)
{
    const struct tree *trees = eval_trees(p->eval, n);
    struct tree *todo = mem_calloc(*n, sizeof *todo);
    enum err error = todo ? take_known(p, trees, *n, from, todo, left) : ERR_NOMEM;
    if (error != OK) {
        mem_free(todo);
        return err_set(e, error, "no memory for an evaluation of %u trees", *n);
    }
    if (*left > 0) {
        error =
            batch_score(todo, *left, p->start->setup.cfg->unit_tokens, p->evals++, &p->coming, e);
        p->coming.score = eval_score(p->eval);
    }
    mem_free(todo);
    if (error == OK && *left > 0 && p->start->value_vectors) {
        error = phases_publish_value(p, p->eval_vectors);
        error = error == OK ? OK : err_set(e, error, "no memory to publish the vectors of a value");
    }
    return error;
}

/* Puts in the answer to request i if it is known. */
static enum err take_known_answer(struct phases *p, struct generate *g, uint32_t i)
{
    struct score_key key;
    uint32_t n = 0;
    const struct score_maker by = scorer(p, 0);
    enum err error = score_book_answer_key(generate_tree(g, i), generate_request(g, i), &by, &key);
    const double *known = error == OK ? score_book_find_any(p->start->scores, &key, &n) : NULL;
    if (!known) {
        return error;
    }
    uint32_t *tokens = mem_calloc(n, sizeof *tokens);
    if (!tokens) {
        return ERR_NOMEM;
    }
    for (uint32_t k = 0; k < n; k++) {
        bool fine = known[k] >= 0.0 && known[k] < (double)UINT32_MAX;
        tokens[k] = fine ? (uint32_t)known[k] : UINT32_MAX;
    }
    error = generate_put(g, i, (enum answer_end)tokens[0], tokens + 1, n - 1);
    mem_free(tokens);
    return error == ERR_RANGE ? OK : error; /* no answer: it is asked for again */
}

static enum err prepare_answers(struct phases *p, struct generate *g, uint32_t *n, uint32_t *left,
                                struct errbuf *e)
{
    *n = generate_count(g);
    for (uint32_t i = 0; i < *n; i++) {
        enum err error = take_known_answer(p, g, i);
        if (error != OK) {
            return err_set(e, error, "no memory for an evaluation of %u answers", *n);
        }
    }
    p->eval_more = false;
    p->eval_vectors = 0;
    *left = generate_left(g);
    return *left > 0 ? generate_batch(g, p->evals++, &p->coming, e) : OK;
}

static enum err prepare_pass(struct phases *p, uint32_t from, uint32_t *left, struct errbuf *e)
{
    uint32_t n = 0;
    struct generate *g = eval_generate(p->eval, p->pass);
    batch_free(&p->coming);
    enum err error = g ? prepare_answers(p, g, &n, left, e) : prepare_scores(p, from, &n, left, e);
    log_event(LOG_INFO, "evaluation", "trees=%u known=%u tokens=%llu adapter=%d vectors=%u", n,
              n - *left, (unsigned long long)p->coming.tokens, adapted(p), p->eval_vectors);
    return error;
}

/* Opens the next batch of the pass: trees to which the same is added, vectors from `from` on. */
static void open_pass(struct phases *p, uint32_t from)
{
    struct errbuf e;
    uint32_t left = 0;
    if (prepare_pass(p, from, &left, &e) != OK) {
        phases_fail(p, e.text);
        return;
    }
    p->eval_tokens += (double)p->coming.tokens;
    if (left > 0) {
        phases_open_batch(p, adapted(p), p->published);
    } else {
        phases_eval_scored(p);
    }
}

void phases_eval_begin(struct phases *p, bool adapter)
{
    struct errbuf e;
    p->eval = p->foreseen;
    p->foreseen = NULL;
    if (!p->eval && make(p, &p->eval, &e) != OK) {
        phases_fail(p, e.text);
        return;
    }
    p->eval_adapter = adapter;
    p->pass = request_of(p).paired ? EVAL_BASE : EVAL_MAIN;
    p->eval_tokens = 0.0;
    p->eval_from_ms = p->kept_ms = clock_now_ms();
    open_pass(p, 0);
}

void phases_eval_scored(struct phases *p)
{
    phases_eval_keep(p);
    if (p->eval_more) {
        open_pass(p, p->eval_vectors + 1);
    } else if (p->pass == EVAL_BASE) {
        p->pass = EVAL_MAIN;
        open_pass(p, 0);
    } else {
        phases_evaluated(p);
    }
}

void phases_eval_keep(struct phases *p)
{
    struct str text = {0};
    char name[64];
    if (score_book_fresh(p->start->scores) == 0 || p->phase == PHASE_DONE) {
        return;
    }
    (void)snprintf(name, sizeof name, SCORE_BOOK_PREFIX "%08llu-%08u",
                   (unsigned long long)p->start->starts, p->kept_parts++);
    score_book_write(p->start->scores, &text);
    enum err error = str_ok(&text);
    if (error == OK) {
        error = scribe_eval(p->scribe, name, text.data);
        p->writes += error == OK;
    }
    str_free(&text);
    p->kept_ms = clock_now_ms();
    if (error != OK) {
        phases_fail(p, "no memory to keep the scores of an evaluation");
    }
}

/* Numbers that are not finite are no use to a later start: they fail this evaluation. */
static bool all_finite(const double *values, uint32_t n)
{
    bool fine = true;
    for (uint32_t i = 0; i < n; i++) {
        fine = fine && isfinite(values[i]);
    }
    return fine;
}

/* A result is in the book, or was none; writes the book when it is time. */
static void keep_in_time(struct phases *p, enum err error)
{
    if (error != OK) {
        phases_fail(p, "no memory for the scores of an evaluation");
    } else if (score_book_fresh(p->start->scores) >= KEEP_TREES ||
               clock_now_ms() - p->kept_ms >= KEEP_MS) {
        phases_eval_keep(p);
    }
}

void phases_eval_take(struct phases *p, const struct tree *tree, const double *leaf_log_p)
{
    struct score_key key;
    eval_take(p->eval, p->pass, (uint32_t)tree->id, leaf_log_p);
    if (!all_finite(leaf_log_p, tree->n_leaves)) {
        return;
    }
    const struct score_maker by = scorer(p, (uint32_t)tree->id);
    enum err error = score_book_key(tree, &by, &key);
    if (error == OK) {
        error = score_book_put(p->start->scores, &key, leaf_log_p, tree->n_leaves);
    }
    keep_in_time(p, error);
}

/* An answer as numbers: how it ended, then its tokens. */
static enum err keep_answer(struct phases *p, const struct generate *g, uint32_t i)
{
    struct score_key key;
    enum answer_end end;
    uint32_t n = 0;
    const uint32_t *tokens = generate_tokens(g, i, &n, &end);
    double *numbers = mem_calloc((size_t)n + 1, sizeof *numbers);
    if (!numbers) {
        return ERR_NOMEM;
    }
    numbers[0] = (double)end;
    for (uint32_t k = 0; k < n; k++) {
        numbers[k + 1] = (double)tokens[k];
    }
    const struct score_maker by = scorer(p, 0);
    enum err error = score_book_answer_key(generate_tree(g, i), generate_request(g, i), &by, &key);
    if (error == OK) {
        error = score_book_put(p->start->scores, &key, numbers, n + 1);
    }
    mem_free(numbers);
    return error;
}

void phases_eval_answers(struct phases *p, const struct job *job, const struct blob *payload)
{
    struct errbuf e;
    struct generate *g = eval_generate(p->eval, p->pass);
    enum err error = generate_take_job(g, job, payload, &e);
    if (error != OK) {
        phases_fail(p, e.text);
        return;
    }
    for (uint32_t i = 0; i < job->n_units && error == OK; i++) {
        error = keep_answer(p, g, generate_of_unit(g, job->units[i]));
    }
    keep_in_time(p, error);
}
