/* eval_show.c - prints what an evaluation found. */
#include "cli/eval_show.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

enum { NAME_BYTES = 64, NAME_COLUMNS = 28 };

/* The member of a share that is its figure. */
static json_t *figure_of(json_t *share)
{
    static const char *const names[] = {"accuracy", "score", "difference", "kl"};
    json_t *figure = NULL;
    for (size_t i = 0; !figure && i < sizeof names / sizeof names[0]; i++) {
        figure = json_object_get(share, names[i]);
    }
    return figure;
}

static json_t *names_of(json_t *share)
{
    json_t *per = json_object_get(share, "per_value");
    return per ? per : json_object_get(share, "per_category");
}

/* paired: NULL, or the share of the paired difference beside it. */
static void print_share(const char *name, json_t *share, json_t *paired)
{
    json_t *ci = json_object_get(share, "ci95");
    const int digits = json_object_get(share, "kl") ? 5 : 3;
    (void)printf("  %-*s %6lld   %.*f   [%.*f, %.*f]", NAME_COLUMNS - 2, name,
                 (long long)json_integer_value(json_object_get(share, "n")), digits,
                 json_number_value(figure_of(share)), digits,
                 json_number_value(json_array_get(ci, 0)), digits,
                 json_number_value(json_array_get(ci, 1)));
    if (paired) {
        ci = json_object_get(paired, "ci95");
        (void)printf("   %+.3f [%+.3f, %+.3f]", json_number_value(figure_of(paired)),
                     json_number_value(json_array_get(ci, 0)),
                     json_number_value(json_array_get(ci, 1)));
    }
    (void)puts("");
}

/* Answers in words that could not be read; they count as wrong. */
static void print_unparsed(json_t *share, json_t *base)
{
    json_t *n = json_object_get(share, "unparsed_n");
    if (n) {
        (void)printf("  %-*s %6lld   %.3f", NAME_COLUMNS - 2, "not parsed (wrong)",
                     (long long)json_integer_value(n),
                     json_number_value(json_object_get(share, "unparsed")));
        if (base) {
            (void)printf("   (base: %.3f)", json_number_value(json_object_get(base, "unparsed")));
        }
        (void)puts("");
    }
}

/* A share with what stands beside it: the bag of words, the base model, every value. */
static void print_block(const char *title, json_t *share)
{
    const char *name;
    json_t *one;
    json_t *bag = json_object_get(share, "bag_of_words");
    json_t *base = json_object_get(share, "base");
    json_t *paired = json_object_get(share, "paired");
    (void)printf("%-*s %6s   %s   %s%s\n", NAME_COLUMNS, title, "n",
                 json_object_get(share, "score") ? "score"
                 : json_object_get(share, "kl")  ? "KL   "
                                                 : "right",
                 "95 % interval ", paired ? "   against the base (paired)" : "");
    print_share("all", share, paired);
    if (base) {
        print_share("base (adapter off)", base, NULL);
    }
    if (json_is_object(bag)) {
        print_share("bag-of-words", bag, NULL);
    }
    print_unparsed(share, base);
    json_object_foreach(names_of(share), name, one)
    {
        print_share(name, one, json_object_get(names_of(paired), name));
    }
}

static void print_select_all(const char *readout, json_t *all)
{
    static const char *const names[] = {"precision", "recall", "f1"};
    char title[NAME_BYTES];
    (void)snprintf(title, sizeof title, "%s, select all", readout);
    (void)puts("");
    print_block(title, all);
    (void)printf("  micro");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        (void)printf("  %s %.3f", names[i], json_number_value(json_object_get(all, names[i])));
    }
    if (json_is_number(json_object_get(all, "threshold"))) {
        (void)printf("  (picked above %.3f)", json_number_value(json_object_get(all, "threshold")));
    }
    (void)puts("");
}

static void print_table(json_t *results)
{
    size_t i;
    json_t *result;
    json_array_foreach(results, i, result)
    {
        char title[NAME_BYTES];
        const char *readout = json_string_value(json_object_get(result, "readout"));
        json_t *shots = json_object_get(result, "shots");
        json_t *lambda = json_object_get(result, "lambda");
        json_t *all = json_object_get(result, "select_all");
        if (lambda) {
            (void)snprintf(title, sizeof title, "%s, lambda %g", readout,
                           json_number_value(lambda));
        } else if (shots) {
            (void)snprintf(title, sizeof title, "%s, %d earlier choices", readout,
                           (int)json_integer_value(shots));
        } else {
            (void)snprintf(title, sizeof title, "%s", readout);
        }
        (void)printf("%s", i > 0 ? "\n" : "");
        print_block(title, result);
        if (json_is_object(all)) {
            print_select_all(readout, all);
        }
    }
}

static void print_mix(json_t *mix)
{
    const char *name;
    json_t *one;
    const char *comma = "";
    if (!mix) {
        return;
    }
    (void)printf("\nThe share of picks for the first value %s with lambda",
                 json_is_true(json_object_get(mix, "monotone")) ? "never falls"
                                                                : "falls somewhere");
    json_object_foreach(json_object_get(mix, "values"), name, one)
    {
        if (json_is_false(one)) {
            (void)printf("%s%s", comma[0] ? comma : "; it falls for ", name);
            comma = ", ";
        }
    }
    (void)puts(".");
}

enum err eval_show(const char *path, bool as_json, struct errbuf *e)
{
    json_error_t where;
    json_t *root = json_load_file(path, 0, &where);
    json_t *results = json_object_get(root, "results");
    if (json_array_size(results) == 0) {
        json_decref(root);
        return err_set(e, ERR_PARSE, "the coordinator printed no result: %s", where.text);
    }
    size_t i;
    json_t *result;
    json_array_foreach(results, i, result)
    {
        (void)json_object_del(result, "questions");
        (void)json_object_del(result, "margins");
        (void)json_object_del(json_object_get(result, "select_all"), "scores");
    }
    if (as_json) {
        json_t *shown = json_array_size(results) == 1 ? json_array_get(results, 0) : root;
        (void)json_dumpf(shown, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(6));
        (void)puts("");
    } else {
        print_table(results);
        print_mix(json_object_get(root, "mix"));
    }
    json_decref(root);
    return OK;
}

enum err eval_show_count(const char *path, struct errbuf *e)
{
    json_error_t where;
    json_t *root = json_load_file(path, 0, &where);
    if (!root) {
        return err_set(e, ERR_PARSE, "the coordinator printed no count: %s", where.text);
    }
    (void)json_dumpf(root, stdout, JSON_COMPACT);
    (void)puts("");
    json_decref(root);
    return OK;
}
