/* judge_sum.c - means, swap, length. */
#include "cli/judge_sum.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "coordinator/bootstrap.h"

static const char blanks[] = " \t\r\n";

uint32_t judge_words_in(const char *text)
{
    uint32_t n = 0;
    while (*text != '\0') {
        text += strspn(text, blanks);
        size_t word = strcspn(text, blanks);
        n += word > 0;
        text += word;
    }
    return n;
}

static int by_words(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left;
    uint32_t b = *(const uint32_t *)right;
    return (a > b) - (a < b);
}

uint32_t judge_cut_words(const struct judge_marks *marks, uint32_t n)
{
    uint32_t *sorted = mem_calloc(n, sizeof *sorted);
    if (!sorted || n == 0) {
        mem_free(sorted);
        return 0;
    }
    for (uint32_t i = 0; i < n; i++) {
        sorted[i] = marks[i].words;
    }
    qsort(sorted, n, sizeof *sorted, by_words);
    uint32_t words = sorted[n / 10];
    mem_free(sorted);
    return words;
}

char *judge_cut(const char *text, uint32_t words)
{
    const char *at = text;
    for (uint32_t i = 0; i < words && *at != '\0'; i++) {
        at += strspn(at, blanks);
        at += strcspn(at, blanks);
    }
    return mem_strndup(text, (size_t)(at - text));
}

enum mark { OWN, OPPOSITE, DIFFERENCE, LOWER, CUT };

static double mark_of(const struct judge_marks *m, enum mark which)
{
    switch (which) {
    case OWN:
        return m->own;
    case OPPOSITE:
        return m->opposite;
    case DIFFERENCE:
        return m->own - m->opposite;
    case LOWER:
        return isnan(m->own) || isnan(m->opposite) ? (double)NAN : m->opposite < m->own ? 1.0 : 0.0;
    case CUT:
        return m->cut;
    }
    return (double)NAN;
}

/* Mean of a mark over the answers of one value (axis < 0: all), with its interval. */
static enum err mean_of(const struct judge_sum_input *in, enum mark which, int axis, uint32_t side,
                        struct bootstrap_share *out)
{
    struct bootstrap_row *rows = mem_calloc(in->answers->n, sizeof *rows);
    uint32_t n = 0;
    if (!rows) {
        return ERR_NOMEM;
    }
    for (uint32_t i = 0; i < in->answers->n; i++) {
        const struct judge_answer *a = &in->answers->items[i];
        double value = mark_of(&in->marks[i], which);
        if (isnan(value) || (axis >= 0 && (a->axis != (uint32_t)axis || a->side != side))) {
            continue;
        }
        rows[n++] = (struct bootstrap_row){.cluster = a->cluster, .gain = value, .weight = 1.0};
    }
    enum err error = bootstrap_share(rows, n, out);
    mem_free(rows);
    return error;
}

static json_t *mean_json(const char *name, const struct bootstrap_share *s)
{
    return json_pack("{s:i,s:f,s:[f,f]}", "n", (int)s->n, name, s->share, "ci95", s->lo, s->hi);
}

/* 0 when one of the two does not vary. */
static double correlation(const struct judge_sum_input *in)
{
    double n = 0.0;
    double x = 0.0;
    double y = 0.0;
    double xx = 0.0;
    double yy = 0.0;
    double xy = 0.0;
    for (uint32_t i = 0; i < in->answers->n; i++) {
        double score = in->marks[i].own;
        double words = in->marks[i].words;
        if (isnan(score)) {
            continue;
        }
        n += 1.0;
        x += words;
        y += score;
        xx += words * words;
        yy += score * score;
        xy += words * score;
    }
    double spread = (n * xx - x * x) * (n * yy - y * y);
    return spread > 1e-9 ? (n * xy - x * y) / sqrt(spread) : 0.0;
}

static enum err add_values(const struct judge_sum_input *in, json_t *to)
{
    enum err error = OK;
    for (uint32_t i = 0; i < 2 * in->values->n_axes && error == OK; i++) {
        struct bootstrap_share own;
        struct bootstrap_share other;
        error = mean_of(in, OWN, (int)(i / 2), i % 2, &own);
        if (error == OK) {
            error = mean_of(in, OPPOSITE, (int)(i / 2), i % 2, &other);
        }
        if (error == OK && own.n > 0) {
            json_t *one = mean_json("score", &own);
            (void)json_object_set_new(one, "opposite", json_real(other.share));
            error = json_object_set_new(to, in->values->axes[i / 2].poles[i % 2].name, one) == 0
                        ? OK
                        : ERR_NOMEM;
        }
    }
    return error;
}

static json_t *swap_json(const struct bootstrap_share s[CUT + 1])
{
    return json_pack("{s:f,s:[f,f],s:f,s:[f,f],s:f}", "opposite", s[OPPOSITE].share,
                     "opposite_ci95", s[OPPOSITE].lo, s[OPPOSITE].hi, "difference",
                     s[DIFFERENCE].share, "ci95", s[DIFFERENCE].lo, s[DIFFERENCE].hi, "lower",
                     s[LOWER].share);
}

static json_t *length_json(const struct judge_sum_input *in, const struct bootstrap_share *cut)
{
    return json_pack("{s:f,s:i,s:i,s:f,s:[f,f]}", "correlation", correlation(in), "cut_words",
                     (int)in->cut_words, "n", (int)cut->n, "score", cut->share, "ci95", cut->lo,
                     cut->hi);
}

enum err judge_sum(const struct judge_sum_input *in, json_t **out, struct errbuf *e)
{
    struct bootstrap_share s[CUT + 1];
    enum err error = OK;
    *out = NULL;
    for (int i = OWN; i <= CUT && error == OK; i++) {
        error = mean_of(in, (enum mark)i, -1, 0, &s[i]);
    }
    json_t *values = json_object();
    if (error == OK) {
        error = add_values(in, values);
    }
    if (error == OK) {
        json_t *all = mean_json("score", &s[OWN]);
        (void)json_object_set_new(all, "readout", json_string(in->is_llm ? "llm-judge" : "words"));
        (void)json_object_set_new(all, "scorer", json_string(in->scorer->name));
        (void)json_object_set_new(all, "is_llm_judge", json_boolean(in->is_llm));
        (void)json_object_set_new(all, "unscored", json_integer(in->answers->n - s[OWN].n));
        (void)json_object_set_new(all, "swap", swap_json(s));
        (void)json_object_set_new(all, "length", length_json(in, &s[CUT]));
        (void)json_object_set(all, "per_value", values);
        *out = all;
    }
    json_decref(values);
    return error == OK && *out ? OK : err_set(e, ERR_NOMEM, "no memory for the scores");
}
