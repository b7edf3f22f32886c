/* report.c - the closing table and report.md, both from the JSON of eval_finish. */
#include "coordinator/report.h"

#include <jansson.h>
#include <string.h>

#include "common/base/mem.h"
#include "coordinator/bootstrap.h"
#include "coordinator/eval_result.h"
#include "coordinator/examples.h"
#include "coordinator/readout.h"

enum { CELL_BYTES = 64 };

/* One readout of one evaluation, as far as the tables need it. */
struct row {
    bool there;
    double share, lo, hi;
    uint32_t n;
    json_t *per_value; /* borrowed */
    json_t *bag;       /* borrowed; NULL or a JSON null when absent */
    json_t *questions; /* borrowed */
    json_t *scores;    /* select-all and margin: of each question, borrowed; else NULL */
};

struct tables {
    json_t *before_json, *after_json;
    struct row before[READOUTS], after[READOUTS];
    struct row before_all[READOUTS], after_all[READOUTS]; /* select-all */
    struct row before_margin, after_margin;               /* of contrast, in nats a token */
    uint32_t n_scenarios;
};

static void read_share(json_t *object, struct row *row)
{
    json_t *ci = json_object_get(object, "ci95");
    row->n = (uint32_t)json_integer_value(json_object_get(object, "n"));
    json_t *accuracy = json_object_get(object, "accuracy");
    row->share = json_number_value(accuracy ? accuracy : json_object_get(object, "score"));
    row->lo = json_number_value(json_array_get(ci, 0));
    row->hi = json_number_value(json_array_get(ci, 1));
    row->there = row->n > 0;
}

/* The row that goes with contrast: how far, not how often. */
static void read_margin(json_t *result, struct row *row)
{
    json_t *ci = json_object_get(result, EVAL_MARGIN "_ci95");
    row->n = (uint32_t)json_integer_value(json_object_get(result, "n"));
    row->share = json_number_value(json_object_get(result, EVAL_MARGIN));
    row->lo = json_number_value(json_array_get(ci, 0));
    row->hi = json_number_value(json_array_get(ci, 1));
    row->questions = json_object_get(result, "questions");
    row->scores = json_object_get(result, EVAL_MARGIN "s");
    row->there = row->n > 0 && row->scores;
}

static enum err read_eval(const char *text, json_t **root, struct row rows[READOUTS],
                          struct row all[READOUTS], struct row *margin, uint32_t *n_scenarios,
                          struct errbuf *e)
{
    json_error_t where;
    if (!text) {
        return OK;
    }
    *root = json_loads(text, 0, &where);
    if (!*root) {
        return err_set(e, ERR_PARSE, "evaluation results: %s at line %d", where.text, where.line);
    }
    *n_scenarios = (uint32_t)json_integer_value(json_object_get(*root, "n_scenarios"));
    size_t i;
    json_t *result;
    json_array_foreach(json_object_get(*root, "results"), i, result)
    {
        const char *name = json_string_value(json_object_get(result, "readout"));
        int r = name ? readout_from(name) : -1;
        if (r < 0) {
            continue;
        }
        read_share(result, &rows[r]);
        rows[r].per_value = json_object_get(result, "per_value");
        rows[r].bag = json_object_get(result, "bag_of_words");
        rows[r].questions = json_object_get(result, "questions");
        if (r == READOUT_CONTRAST) {
            read_margin(result, margin);
        }
        json_t *select_all = json_object_get(result, "select_all");
        read_share(select_all, &all[r]);
        all[r].bag = json_object_get(select_all, "bag_of_words");
        all[r].questions = rows[r].questions;
        all[r].scores = json_object_get(select_all, "scores");
    }
    return OK;
}

static enum err tables_read(const struct report_input *in, struct tables *t, struct errbuf *e)
{
    *t = (struct tables){0};
    enum err error = read_eval(in->eval_before, &t->before_json, t->before, t->before_all,
                               &t->before_margin, &t->n_scenarios, e);
    if (error == OK) {
        error = read_eval(in->eval_after, &t->after_json, t->after, t->after_all, &t->after_margin,
                          &t->n_scenarios, e);
    }
    return error;
}

static void tables_free(struct tables *t)
{
    json_decref(t->before_json);
    json_decref(t->after_json);
}

/* digits: of the interval. */
static void share_cell(char cell[CELL_BYTES], const struct row *row, int digits)
{
    if (row->there) {
        (void)snprintf(cell, CELL_BYTES, "%.3f [%.*f, %.*f]", row->share, digits, row->lo, digits,
                       row->hi);
    } else {
        (void)snprintf(cell, CELL_BYTES, "-");
    }
}

/* What a paired difference needs of a question: [scenario, axis, side, pick, correct]. */
struct question {
    json_int_t scenario, axis, side;
};

static struct question question_of(json_t *array, size_t i)
{
    json_t *q = json_array_get(array, i);
    return (struct question){.scenario = json_integer_value(json_array_get(q, 0)),
                             .axis = json_integer_value(json_array_get(q, 1)),
                             .side = json_integer_value(json_array_get(q, 2))};
}

static bool same_questions(json_t *a, json_t *b)
{
    bool same = json_array_size(a) == json_array_size(b);
    for (size_t i = 0; same && i < json_array_size(a); i++) {
        const struct question left = question_of(a, i);
        const struct question right = question_of(b, i);
        same =
            left.scenario == right.scenario && left.axis == right.axis && left.side == right.side;
    }
    return same;
}

static enum err read_questions(const struct row *row, struct bootstrap_row **out)
{
    size_t n = json_array_size(row->questions);
    *out = mem_calloc(n, sizeof **out);
    for (size_t i = 0; *out && i < n; i++) {
        json_t *correct = json_array_get(json_array_get(row->questions, i), 4);
        json_t *gain = row->scores ? json_array_get(row->scores, i) : correct;
        (*out)[i] =
            (struct bootstrap_row){.cluster = (uint32_t)question_of(row->questions, i).scenario,
                                   .gain = json_number_value(gain),
                                   .weight = 1.0};
    }
    return *out ? OK : ERR_NOMEM;
}

/* The paired difference, "-" where one side is missing or asked other questions. */
static enum err change_cell(char cell[CELL_BYTES], const struct row *before,
                            const struct row *after, int digits)
{
    struct bootstrap_row *b = NULL;
    struct bootstrap_row *a = NULL;
    struct bootstrap_share d;
    (void)snprintf(cell, CELL_BYTES, "-");
    if (!before->there || !after->there || !same_questions(before->questions, after->questions)) {
        return OK;
    }
    enum err error = read_questions(before, &b);
    if (error == OK) {
        error = read_questions(after, &a);
    }
    if (error == OK) {
        error = bootstrap_paired(b, a, (uint32_t)json_array_size(after->questions), &d);
        (void)snprintf(cell, CELL_BYTES, "%+.3f [%+.*f, %+.*f]", d.share, digits, d.lo, digits,
                       d.hi);
    }
    mem_free(a);
    mem_free(b);
    return error;
}

/* The words do not change with training: either evaluation's row will do. */
static json_t *bag_of(const struct row *before, const struct row *after)
{
    return json_is_object(after->bag)    ? after->bag
           : json_is_object(before->bag) ? before->bag
                                         : NULL;
}

/* Name, before, after, paired change. */
static enum err add_row(const char *name, const struct row *before, const struct row *after,
                        int digits, bool plain, struct str *out)
{
    char cells[3][CELL_BYTES];
    share_cell(cells[0], before, digits);
    share_cell(cells[1], after, digits);
    enum err error = change_cell(cells[2], before, after, digits);
    str_addf(out, plain ? "  %-18s %-22s %-22s %s\n" : "| %s | %s | %s | %s |\n", name, cells[0],
             cells[1], cells[2]);
    return error;
}

/* The rows of one way of asking, and the words' row below them. */
static enum err add_readout_rows(const struct row *before, const struct row *after, bool plain,
                                 const char *suffix, struct str *out)
{
    char cell[CELL_BYTES];
    char name[CELL_BYTES];
    struct row bag = {0};
    bool any = false;
    for (int r = 0; r < READOUTS; r++) {
        if (!before[r].there && !after[r].there) {
            continue;
        }
        (void)snprintf(name, sizeof name, "%s%s", readout_name((enum readout)r), suffix);
        enum err error = add_row(name, &before[r], &after[r], 2, plain, out);
        if (error != OK) {
            return error;
        }
        any = true;
        if (!bag.there && bag_of(&before[r], &after[r])) {
            read_share(bag_of(&before[r], &after[r]), &bag);
        }
    }
    if (any) {
        share_cell(cell, &bag, 2);
        (void)snprintf(name, sizeof name, "bag-of-words%s", suffix);
        str_addf(out, plain ? "  %-18s %-22s %-22s %s\n" : "| %s | %s | %s | %s |\n", name, cell,
                 cell, "(words of the options alone)");
    }
    return OK;
}

static enum err add_rows(const struct tables *t, bool plain, struct str *out)
{
    enum err error = OK;
    if (t->before_margin.there || t->after_margin.there) {
        error = add_row("contrast margin", &t->before_margin, &t->after_margin, 3, plain, out);
    }
    if (error == OK) {
        error = add_readout_rows(t->before, t->after, plain, "", out);
    }
    return error == OK ? add_readout_rows(t->before_all, t->after_all, plain, ", all", out) : error;
}

static double value_share(const struct row *row, const char *value, double *found)
{
    json_t *share = json_object_get(row->per_value, value);
    *found = share ? 1.0 : 0.0;
    return json_number_value(json_object_get(share, "accuracy"));
}

/* One cell of a Markdown table: a '|' in a name would begin the next, a line end the next row. */
static void add_cell(const char *text, struct str *out)
{
    for (const char *c = text; *c != '\0'; c++) {
        str_add(out, *c == '|' ? "\\" : "");
        str_append(out, (unsigned char)*c < 0x20 ? " " : c, 1);
    }
}

/* What rows by value and examples are of: contrast where it was read, else the first there is. */
static int main_readout(const struct tables *t)
{
    int r = READOUT_CONTRAST;
    for (int i = 0; i < READOUTS && !t->after[r].there && !t->before[r].there; i++) {
        r = i;
    }
    return r;
}

static void add_value_rows(const struct tables *t, const char *format, struct str *out)
{
    const int r = main_readout(t);
    const struct row *main_row = t->after[r].there ? &t->after[r] : &t->before[r];
    bool plain = strcmp(format, "plain") == 0;
    const char *name;
    json_t *share;
    if (plain) {
        str_addf(out, "\n  %-26s %5s %8s %8s %8s   (%s)\n", "value", "n", "before", "after",
                 "words", readout_name((enum readout)r));
    } else {
        str_addf(out,
                 "\n| value (%s) | n | before | after | bag-of-words |\n|---|---|---|---|---|\n",
                 readout_name((enum readout)r));
    }
    json_object_foreach(main_row->per_value, name, share)
    {
        double there[3];
        struct row bag = {.per_value =
                              json_object_get(bag_of(&t->before[r], &t->after[r]), "per_value")};
        const double values[3] = {value_share(&t->before[r], name, &there[0]),
                                  value_share(&t->after[r], name, &there[1]),
                                  value_share(&bag, name, &there[2])};
        const int n = (int)json_integer_value(json_object_get(share, "n"));
        if (plain) {
            str_addf(out, "  %-26s %5d", name, n);
        } else {
            str_add(out, "| ");
            add_cell(name, out);
            str_addf(out, " | %d", n);
        }
        for (int i = 0; i < 3; i++) {
            char cell[CELL_BYTES] = "-";
            if (there[i] > 0.0) {
                (void)snprintf(cell, sizeof cell, "%.2f", values[i]);
            }
            str_addf(out, plain ? " %8s" : " | %s", cell);
        }
        str_add(out, plain ? "\n" : " |\n");
    }
}

static const char *const notes[] = {
    "Select-one on held-out scenarios; chance is about 0.5; intervals: 95 % bootstrap over "
    "scenarios.",
    "contrast margin: nats a token by which an answer is likelier under its own value than under "
    "the "
    "opposite.",
    "contrast and lift compare the model with itself under another preference; likelihood and "
    "letter",
    "are told one value and pick by themselves: different tasks, not to be compared with each "
    "other.",
    "all: every option of the value; 1 if exact, 0 if a wrong one is among them, else recall.",
    "bag-of-words is a naive Bayes over the options' words: what counts is what lies beyond it.",
};

static void add_training(const struct report_input *in, const char *start, struct str *out)
{
    if (in->steps == 0) {
        return;
    }
    if (in->objective) {
        str_addf(out, "%sobjective %s\n", start, in->objective);
    }
    double seconds = in->train_seconds > 0.0 ? in->train_seconds : 1.0;
    str_addf(out, "%strained %llu steps, %llu pairs, %llu tokens in %.0f s\n", start,
             (unsigned long long)in->steps, (unsigned long long)in->pairs,
             (unsigned long long)in->tokens, in->train_seconds);
    str_addf(out, "%s%.2f pairs/s, %.0f tokens/s, loss %.4f -> %.4f\n", start,
             (double)in->pairs / seconds, (double)in->tokens / seconds, in->first_loss,
             in->last_loss);
    if (in->anchored) {
        str_addf(out, "%sKL to the base on the anchor's texts %.4f at most, %.4f at last\n", start,
                 in->most_kl, in->last_kl);
    }
    if (in->suspects) {
        str_addf(out, "%sSUSPECT: %s\n", start, in->suspects);
    }
    str_addf(out, "%sevaluation %.0f s, everything %.0f s\n", start, in->eval_seconds,
             in->total_seconds);
}

static enum err add_examples(const struct report_input *in, const struct tables *t, bool plain,
                             struct str *out)
{
    const int r = main_readout(t);
    const struct examples_picks picks = {.before = t->before[r].questions,
                                         .after = t->after[r].questions,
                                         .readout = readout_name((enum readout)r)};
    return in->test && in->values ? examples_add(in->test, in->values, &picks, plain, out) : OK;
}

static enum err finish(struct tables *t, enum err error, struct str *out)
{
    tables_free(t);
    return error != OK ? error : str_ok(out);
}

enum err report_table(const struct report_input *in, struct str *out, struct errbuf *e)
{
    struct tables t;
    enum err error = tables_read(in, &t, e);
    if (error == OK) {
        str_addf(out, "\n%s: %s (%s)\n", in->run, in->model_name, in->model_quantisation);
        add_training(in, "  ", out);
    }
    if (error == OK && (t.before_json || t.after_json)) {
        str_addf(out, "\n  %-18s %-22s %-22s %s\n", "readout", "before", "after",
                 "change (paired)");
        error = add_rows(&t, true, out);
        add_value_rows(&t, "plain", out);
        str_add(out, "\n");
        for (size_t i = 0; i < sizeof notes / sizeof notes[0]; i++) {
            str_addf(out, "  %s\n", notes[i]);
        }
        if (error == OK) {
            error = add_examples(in, &t, true, out);
        }
    }
    if (error == OK && in->adapter_hash) {
        str_addf(out, "\n  adapter  %s/adapter\n  SHA-256  %s\n  report   %s/report.md\n", in->run,
                 in->adapter_hash, in->run);
    }
    return finish(&t, error, out);
}

enum err report_markdown(const struct report_input *in, struct str *out, struct errbuf *e)
{
    struct tables t;
    enum err error = tables_read(in, &t, e);
    if (error == OK) {
        str_add(out, "# Run report\n\n| what | value |\n|---|---|\n| run | `");
        add_cell(in->run, out);
        str_add(out, "` |\n| base model | ");
        add_cell(in->model_name, out);
        str_addf(out, ", %s |\n| base hash | `%s` |\n| kernels | %s, %s |\n",
                 in->model_quantisation, in->model_hash, in->kernels, in->precision);
        if (in->adapter_hash) {
            str_addf(out, "| adapter SHA-256 | `%s` |\n", in->adapter_hash);
        }
        str_add(out, "\n## Training\n\n");
        add_training(in, "- ", out);
    }
    if (error == OK && (t.before_json || t.after_json)) {
        str_addf(out, "\n## Held-out scenarios (%u)\n\n", t.n_scenarios);
        str_add(out, "| readout | before | after | change (paired) |\n|---|---|---|---|\n");
        error = add_rows(&t, false, out);
        add_value_rows(&t, "markdown", out);
        str_add(out, "\n");
        for (size_t i = 0; i < sizeof notes / sizeof notes[0]; i++) {
            str_addf(out, "%s\n", notes[i]);
        }
        if (error == OK) {
            error = add_examples(in, &t, false, out);
        }
    }
    if (error == OK) {
        str_addf(out, "\n## Settings\n\n```yaml\n%s```\n", in->config);
        str_add(out, "\n## Use\n\n`adapter/README.md` shows how to load the adapter with PEFT.\n");
    }
    return finish(&t, error, out);
}
