/* eval.c - one evaluation of some kind: built, scored, finished. */
#include "coordinator/eval.h"

#include "common/base/mem.h"
#include "coordinator/dataset.h"
#include "coordinator/eval_mix.h"

struct eval {
    struct eval_input in;
    const struct eval_kind *kind;
    struct eval_trees trees;
    struct generate *answers[EVAL_PASSES]; /* NULL: scored, or not asked for */
};

static enum err check_input(const struct eval_input *in, const struct eval_kind *kind,
                            struct errbuf *e)
{
    if ((kind->report || kind->score == WIRE_KL) && in->ask.paired) {
        return err_set(e, ERR_REFUSED, "the evaluation '%s' %s: nothing to pair", kind->name,
                       kind->report ? "hands scores on" : "compares with the base itself");
    }
    if (!kind->reads(in->test)) {
        return err_set(e, ERR_REFUSED,
                       "%s: the items are %s; the evaluation '%s' reads %s, what such items are "
                       "for is '%s'",
                       in->test->path, data_format_info(in->test->format)->what, kind->name,
                       kind->formats, eval_kind(eval_task_for(in->test))->name);
    }
    if (kind->readouts != 0 && eval_readouts(in) == 0 && in->ask.n_lambdas == 0) {
        struct str known = {0};
        for (int r = 0; r < READOUTS; r++) {
            if (kind->readouts & 1u << r) {
                str_addf(&known, "%s%s", known.len > 0 ? ", " : "", readout_name((enum readout)r));
            }
        }
        enum err error = err_set(e, ERR_REFUSED,
                                 "%s: the evaluation '%s' has %s, and none of them is "
                                 "asked for",
                                 in->ask.before ? "eval.before_readouts" : "eval.readouts",
                                 kind->name, known.data ? known.data : "");
        str_free(&known);
        return error;
    }
    return OK;
}

/* The requests of every pass that is wanted. */
static enum err ask(struct eval *ev, struct errbuf *e)
{
    enum err error = OK;
    for (int pass = 0; pass < EVAL_PASSES && error == OK; pass++) {
        if (pass == EVAL_MAIN || ev->in.ask.paired) {
            error = generate_new(ev->in.tok, ev->in.vocab, &ev->answers[pass], e);
            error = error == OK ? ev->kind->ask(&ev->in, ev->answers[pass], e) : error;
        }
    }
    return error;
}

static uint32_t count(const struct eval *ev)
{
    return ev->answers[EVAL_MAIN] ? generate_count(ev->answers[EVAL_MAIN]) : ev->trees.n;
}

enum err eval_new(const struct eval_input *in, struct eval **out, struct errbuf *e)
{
    const struct eval_kind *kind = eval_kind(in->ask.task);
    enum err error = check_input(in, kind, e);
    if (error != OK) {
        return error;
    }
    struct eval *ev = mem_calloc(1, sizeof *ev);
    if (!ev) {
        return err_set(e, ERR_NOMEM, "evaluation: no memory");
    }
    ev->in = *in;
    ev->kind = kind;
    error = kind->ask ? ask(ev, e) : kind->build(&ev->in, &ev->trees, e);
    if (error == OK && count(ev) == 0) {
        error = err_set(e, ERR_REFUSED,
                        "%s: no scenario to ask about: none of the first %u has options of both "
                        "sides",
                        in->test->path, eval_limit(in));
    }
    if (error != OK) {
        eval_free(&ev);
        return error;
    }
    *out = ev;
    return OK;
}

const struct tree *eval_trees(const struct eval *ev, uint32_t *n)
{
    *n = ev->trees.n;
    return ev->trees.trees;
}

struct generate *eval_generate(const struct eval *ev, enum eval_pass pass)
{
    return ev->answers[pass];
}

uint32_t eval_vectors(const struct eval *ev, uint32_t tree)
{
    return ev->trees.places[tree].vectors;
}

enum wire_score eval_score(const struct eval *ev)
{
    return ev->kind->score;
}

void eval_take(struct eval *ev, enum eval_pass pass, uint32_t tree, const double *leaf_logp)
{
    eval_trees_take(&ev->trees, pass, tree, leaf_logp);
}

static enum err answer(const struct eval *ev, enum eval_pass pass, struct eval_results *out,
                       struct errbuf *e)
{
    const struct generate *answers = ev->answers[pass];
    if (answers && generate_left(answers) > 0) {
        return err_set(e, ERR_STATE, "evaluation: %u of %u questions were not answered",
                       generate_left(answers), generate_count(answers));
    }
    if (answers) {
        return ev->kind->read(&ev->in, answers, out, e);
    }
    enum err error = eval_trees_check(&ev->trees, pass, e);
    return error == OK ? ev->kind->answer(&ev->in, &ev->trees, pass, out, e) : error;
}

static enum err report(const struct eval *ev, struct str *json, struct errbuf *e)
{
    enum err error = eval_trees_check(&ev->trees, EVAL_MAIN, e);
    if (error == OK) {
        str_addf(json, "{\"task\":\"%s\",\"n_scenarios\":%u", ev->kind->name, eval_limit(&ev->in));
        error = ev->kind->report(&ev->in, &ev->trees, json, e);
    }
    if (error == OK) {
        str_add(json, "}");
        error = str_ok(json);
        error = error == OK ? OK : err_set(e, error, "evaluation: %s", err_text(error));
    }
    return error;
}

enum err eval_finish(struct eval *ev, struct str *json, struct errbuf *e)
{
    if (ev->kind->report) {
        return report(ev, json, e);
    }
    struct eval_results results[EVAL_PASSES] = {{0}};
    bool paired = ev->in.ask.paired;
    enum err error = answer(ev, EVAL_MAIN, &results[EVAL_MAIN], e);
    if (error == OK && paired) {
        error = answer(ev, EVAL_BASE, &results[EVAL_BASE], e);
    }
    if (error == OK) {
        str_addf(json, "{\"task\":\"%s\",\"n_scenarios\":%u", ev->kind->name, eval_limit(&ev->in));
        str_add(json, ",\"results\":");
        error = eval_results_json(&results[EVAL_MAIN], paired ? &results[EVAL_BASE] : NULL, json);
        eval_mix_json(&results[EVAL_MAIN], json);
        str_add(json, "}");
        error = error == OK ? str_ok(json) : error;
        error = error == OK ? OK : err_set(e, error, "evaluation: %s", err_text(error));
    }
    eval_results_free(&results[EVAL_MAIN]);
    eval_results_free(&results[EVAL_BASE]);
    return error;
}

void eval_free(struct eval **ev)
{
    if (*ev) {
        eval_trees_free(&(*ev)->trees);
        for (int pass = 0; pass < EVAL_PASSES; pass++) {
            generate_free(&(*ev)->answers[pass]);
        }
        mem_free(*ev);
        *ev = NULL;
    }
}
