/* matrix_claim.c - verdicts. */
#include "cli/matrix_claim.h"

#include <math.h>
#include <string.h>

const char *matrix_verdict_name(enum matrix_verdict v)
{
    static const char *const names[] = {"holds", "does not hold", "undecided", "not measured"};
    return names[v];
}

static void add_figure(const struct matrix_figure *f, struct str *out)
{
    str_addf(out, "%.3f", f->share);
    if (f->lo <= f->hi) {
        str_addf(out, " [%.3f, %.3f]", f->lo, f->hi);
    }
    if (f->seeds > 1) {
        str_addf(out, " over %u seeds (%.3f to %.3f)", f->seeds, f->least, f->most);
    }
}

static enum err judge_difference(const struct matrix_table *t, const struct matrix_claim *c,
                                 uint32_t column, enum matrix_verdict *verdict,
                                 struct str *evidence)
{
    uint32_t better = (uint32_t)matrix_variant(t->m, c->better);
    uint32_t than = (uint32_t)matrix_variant(t->m, c->than);
    double margin = isfinite(c->margin) ? c->margin : 0.0;
    struct matrix_figure d;
    struct matrix_figure a;
    struct matrix_figure b;
    enum err error = matrix_table_difference(t, better, than, column, c->side, &d);
    if (error == OK) {
        error = matrix_table_figure(t, better, column, c->side, &a);
    }
    if (error == OK) {
        error = matrix_table_figure(t, than, column, c->side, &b);
    }
    if (error == OK && !d.there && a.there && b.there) {
        str_addf(evidence,
                 "%s %.3f, %s %.3f: no paired difference, which takes the answers to the "
                 "same single questions, right or wrong",
                 c->better, a.share, c->than, b.share);
    }
    if (error != OK || !d.there) {
        return error;
    }
    *verdict = d.lo > margin ? VERDICT_HOLDS : d.hi <= margin ? VERDICT_FAILS : VERDICT_UNDECIDED;
    str_addf(evidence, "%s %.3f, %s %.3f: difference %+.3f [%+.3f, %+.3f], n %u, margin %+.3f",
             c->better, a.share, c->than, b.share, d.share, d.lo, d.hi, d.n, margin);
    return OK;
}

/* The value with the smallest share. */
static enum err judge_values(const struct matrix_table *t, const struct matrix_claim *c,
                             uint32_t column, enum matrix_verdict *verdict, struct str *evidence)
{
    const json_t *values = matrix_table_values(t, column);
    const char *least_name = NULL;
    struct matrix_figure least = {.share = INFINITY};
    enum err error = OK;
    void *at = json_object_iter((json_t *)(uintptr_t)values);
    for (; at && error == OK; at = json_object_iter_next((json_t *)(uintptr_t)values, at)) {
        struct matrix_figure f;
        const char *name = json_object_iter_key(at);
        error = matrix_table_value(t, (uint32_t)matrix_variant(t->m, c->better), column, name, &f);
        if (error == OK && f.there && f.share < least.share) {
            least = f;
            least_name = name;
        }
    }
    if (error == OK && least_name) {
        *verdict = least.share >= c->each_value_at_least ? VERDICT_HOLDS : VERDICT_FAILS;
        str_addf(evidence, "lowest is %s with ", least_name);
        add_figure(&least, evidence);
        str_addf(evidence, ", asked for %.3f", c->each_value_at_least);
    }
    return error;
}

static enum err judge_figure(const struct matrix_table *t, const struct matrix_claim *c,
                             uint32_t column, enum matrix_verdict *verdict, struct str *evidence)
{
    struct matrix_figure f;
    struct matrix_figure words = {0};
    enum err error =
        matrix_table_figure(t, (uint32_t)matrix_variant(t->m, c->better), column, c->side, &f);
    matrix_table_words(t, column, &words);
    bool above = isfinite(c->above_words);
    if (error != OK || !f.there || (above && !words.there)) {
        return error;
    }
    bool holds = above                  ? f.share - words.share >= c->above_words
                 : isfinite(c->at_most) ? f.share <= c->at_most
                                        : f.share >= c->at_least;
    *verdict = holds ? VERDICT_HOLDS : VERDICT_FAILS;
    str_addf(evidence, "%s ", c->better);
    add_figure(&f, evidence);
    if (above) {
        str_addf(evidence, ", bag-of-words %.3f: %+.3f, asked for %+.3f", words.share,
                 f.share - words.share, c->above_words);
    } else {
        str_addf(evidence, ", asked for %s %.3f", isfinite(c->at_most) ? "at most" : "at least",
                 isfinite(c->at_most) ? c->at_most : c->at_least);
    }
    return OK;
}

enum err matrix_claim_judge(const struct matrix_table *t, const struct matrix_claim *c,
                            enum matrix_verdict *verdict, struct str *evidence)
{
    int column = matrix_table_column(t, c->column);
    enum err error = OK;
    *verdict = VERDICT_UNMEASURED;
    if (column >= 0 && c->than[0] != '\0') {
        error = judge_difference(t, c, (uint32_t)column, verdict, evidence);
    } else if (column >= 0 && isfinite(c->each_value_at_least)) {
        error = judge_values(t, c, (uint32_t)column, verdict, evidence);
    } else if (column >= 0) {
        error = judge_figure(t, c, (uint32_t)column, verdict, evidence);
    }
    if (error == OK && *verdict == VERDICT_UNMEASURED && evidence->len == 0) {
        str_addf(evidence, "no figure of %s in column '%s'", c->better, c->column);
    }
    return error == OK ? str_ok(evidence) : error;
}
