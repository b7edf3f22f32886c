/* report.c - the closing table and report.md, both from the JSON of eval_finish. */
#include "coordinator/report.h"

#include <jansson.h>
#include <string.h>

#include "common/base/mem.h"
#include "coordinator/bootstrap.h"
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
};

struct tables {
    json_t *before_json, *after_json;
    struct row before[READOUTS], after[READOUTS];
    uint32_t n_scenarios;
};

static void read_share(json_t *object, struct row *row)
{
    json_t *ci = json_object_get(object, "ci95");
    row->n = (uint32_t)json_integer_value(json_object_get(object, "n"));
    row->share = json_number_value(json_object_get(object, "accuracy"));
    row->lo = json_number_value(json_array_get(ci, 0));
    row->hi = json_number_value(json_array_get(ci, 1));
    row->there = row->n > 0;
}

static enum err read_eval(const char *text, json_t **root, struct row rows[READOUTS],
                          uint32_t *n_scenarios, struct errbuf *e)
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
    }
    return OK;
}

static enum err tables_read(const struct report_input *in, struct tables *t, struct errbuf *e)
{
    *t = (struct tables){0};
    enum err error = read_eval(in->eval_before, &t->before_json, t->before, &t->n_scenarios, e);
    if (error == OK) {
        error = read_eval(in->eval_after, &t->after_json, t->after, &t->n_scenarios, e);
    }
    return error;
}

static void tables_free(struct tables *t)
{
    json_decref(t->before_json);
    json_decref(t->after_json);
}

static void share_cell(char cell[CELL_BYTES], const struct row *row)
{
    if (row->there) {
        (void)snprintf(cell, CELL_BYTES, "%.3f [%.2f, %.2f]", row->share, row->lo, row->hi);
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

static enum err read_questions(json_t *array, struct bootstrap_row **out)
{
    size_t n = json_array_size(array);
    *out = mem_calloc(n, sizeof **out);
    for (size_t i = 0; *out && i < n; i++) {
        const struct question q = question_of(array, i);
        json_t *correct = json_array_get(json_array_get(array, i), 4);
        (*out)[i] = (struct bootstrap_row){.cluster = (uint32_t)q.scenario,
                                           .gain = json_integer_value(correct) != 0 ? 1.0 : 0.0,
                                           .weight = 1.0};
    }
    return *out ? OK : ERR_NOMEM;
}

/* The paired difference, "-" where one side is missing or asked other questions. */
static enum err change_cell(char cell[CELL_BYTES], const struct row *before,
                            const struct row *after)
{
    struct bootstrap_row *b = NULL;
    struct bootstrap_row *a = NULL;
    struct bootstrap_share d;
    (void)snprintf(cell, CELL_BYTES, "-");
    if (!before->there || !after->there || !same_questions(before->questions, after->questions)) {
        return OK;
    }
    enum err error = read_questions(before->questions, &b);
    if (error == OK) {
        error = read_questions(after->questions, &a);
    }
    if (error == OK) {
        error = bootstrap_paired(b, a, (uint32_t)json_array_size(after->questions), &d);
        (void)snprintf(cell, CELL_BYTES, "%+.3f [%+.2f, %+.2f]", d.share, d.lo, d.hi);
    }
    mem_free(a);
    mem_free(b);
    return error;
}

/* The words do not change with training: either evaluation's row will do. */
static json_t *bag_of(const struct tables *t, int r)
{
    json_t *after = t->after[r].bag;
    json_t *before = t->before[r].bag;
    return json_is_object(after) ? after : json_is_object(before) ? before : NULL;
}

static void bag_cell(char cell[CELL_BYTES], const struct tables *t)
{
    struct row bag = {0};
    for (int r = 0; r < READOUTS && !bag.there; r++) {
        json_t *found = bag_of(t, r);
        if (found) {
            read_share(found, &bag);
        }
    }
    share_cell(cell, &bag);
}

static enum err add_readout_rows(const struct tables *t, const char *format, struct str *out)
{
    char before[CELL_BYTES];
    char after[CELL_BYTES];
    char change[CELL_BYTES];
    for (int r = 0; r < READOUTS; r++) {
        if (!t->before[r].there && !t->after[r].there) {
            continue;
        }
        share_cell(before, &t->before[r]);
        share_cell(after, &t->after[r]);
        enum err error = change_cell(change, &t->before[r], &t->after[r]);
        if (error != OK) {
            return error;
        }
        bool plain = strcmp(format, "plain") == 0;
        str_addf(out, plain ? "  %-14s %-22s %-22s %s\n" : "| %s | %s | %s | %s |\n",
                 readout_name((enum readout)r), before, after, change);
    }
    bag_cell(before, t);
    str_addf(out,
             strcmp(format, "plain") == 0 ? "  %-14s %-22s %-22s %s\n" : "| %s | %s | %s | %s |\n",
             "bag-of-words", before, before, "(words of the options alone)");
    return OK;
}

static double value_share(const struct row *row, const char *value, double *found)
{
    json_t *share = json_object_get(row->per_value, value);
    *found = share ? 1.0 : 0.0;
    return json_number_value(json_object_get(share, "accuracy"));
}

/* Per value: contrast where it was read, else the first readout there is. */
static void add_value_rows(const struct tables *t, const char *format, struct str *out)
{
    int r = READOUT_CONTRAST;
    for (int i = 0; i < READOUTS && !t->after[r].there && !t->before[r].there; i++) {
        r = i;
    }
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
        struct row bag = {.per_value = json_object_get(bag_of(t, r), "per_value")};
        const double values[3] = {value_share(&t->before[r], name, &there[0]),
                                  value_share(&t->after[r], name, &there[1]),
                                  value_share(&bag, name, &there[2])};
        str_addf(out, plain ? "  %-26s %5d" : "| %s | %d", name,
                 (int)json_integer_value(json_object_get(share, "n")));
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
    "contrast and lift compare the model with itself under another preference; likelihood and "
    "letter",
    "are told one value and pick by themselves: different tasks, not to be compared with each "
    "other.",
    "bag-of-words is a naive Bayes over the options' words: what counts is what lies beyond it.",
};

static void add_training(const struct report_input *in, const char *start, struct str *out)
{
    if (in->steps == 0) {
        return;
    }
    double seconds = in->train_seconds > 0.0 ? in->train_seconds : 1.0;
    str_addf(
        out,
        "%strained %llu steps, %llu pairs, %llu tokens in %.0f s (%.2f pairs/s, %.0f tokens/s), "
        "loss %.4f -> %.4f\n",
        start, (unsigned long long)in->steps, (unsigned long long)in->pairs,
        (unsigned long long)in->tokens, in->train_seconds, (double)in->pairs / seconds,
        (double)in->tokens / seconds, in->first_loss, in->last_loss);
    str_addf(out, "%sevaluation %.0f s, everything %.0f s\n", start, in->eval_seconds,
             in->total_seconds);
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
        str_addf(out, "\n  %-14s %-22s %-22s %s\n", "readout", "before", "after",
                 "change (paired)");
        error = add_readout_rows(&t, "plain", out);
        add_value_rows(&t, "plain", out);
        str_add(out, "\n");
        for (size_t i = 0; i < sizeof notes / sizeof notes[0]; i++) {
            str_addf(out, "  %s\n", notes[i]);
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
        str_addf(out, "# Run report\n\n| what | value |\n|---|---|\n| run | `%s` |\n", in->run);
        str_addf(out, "| base model | %s, %s |\n| base hash | `%s` |\n| kernels | %s, %s |\n",
                 in->model_name, in->model_quantisation, in->model_hash, in->kernels,
                 in->precision);
        if (in->adapter_hash) {
            str_addf(out, "| adapter SHA-256 | `%s` |\n", in->adapter_hash);
        }
        str_add(out, "\n## Training\n\n");
        add_training(in, "- ", out);
    }
    if (error == OK && (t.before_json || t.after_json)) {
        str_addf(out, "\n## Held-out scenarios (%u)\n\n", t.n_scenarios);
        str_add(out, "| readout | before | after | change (paired) |\n|---|---|---|---|\n");
        error = add_readout_rows(&t, "markdown", out);
        add_value_rows(&t, "markdown", out);
        str_add(out, "\n");
        for (size_t i = 0; i < sizeof notes / sizeof notes[0]; i++) {
            str_addf(out, "%s\n", notes[i]);
        }
    }
    if (error == OK) {
        str_addf(out, "\n## Settings\n\n```yaml\n%s```\n", in->config);
        str_add(out, "\n## Use\n\n`adapter/README.md` shows how to load the adapter with PEFT.\n");
    }
    return finish(&t, error, out);
}
