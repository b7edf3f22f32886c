/* judge_command.c - pft judge: answers in words, scored from 0 to 10 by a judge behind an endpoint
 * or, without one, by the words alone.
 * Owns: the words of the command, the order of questions. The key comes from PFT_JUDGE_KEY. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/args.h"
#include "cli/cli.h"
#include "cli/judge_sum.h"
#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/format/model_default.h"

enum { BACK_OFF_MS = 500, SHOW_EVERY = 25 };

struct judge_options {
    const char *file, *prompts, *values, *train, *url, *model, *cache, *rate, *timeout, *attempts;
    bool json;
};

static enum err check_words(struct judge_options *o, const struct args *a, struct errbuf *e)
{
    o->file = a->positional[0];
    if (a->n_positional != 1 || !o->values) {
        return err_set(e, ERR_USAGE, "one FILE and --values FILE are needed; usage: %s", a->usage);
    }
    if ((o->url != NULL) == (o->train != NULL)) {
        return err_set(e, ERR_USAGE,
                       "either --base-url URL (a judge) or --train FILE (the words alone) is "
                       "needed; usage: %s",
                       a->usage);
    }
    if (o->url && !o->model) {
        return err_set(e, ERR_USAGE, "--base-url needs --judge-model NAME; usage: %s", a->usage);
    }
    if (!o->url && (o->model || o->cache || o->rate || o->timeout || o->attempts)) {
        return err_set(e, ERR_USAGE,
                       "--judge-model, --cache, --rate, --timeout and --attempts go with "
                       "--base-url");
    }
    return OK;
}

static enum err read_options(struct judge_options *o, int argc, char **argv, struct errbuf *e)
{
    const struct args_option options[] = {
        {"--values", "FILE", "values file: names and sentences", &o->values, NULL, NULL},
        {"--prompts", "FILE", "the prompts that pft generate answered, when FILE is its output",
         &o->prompts, NULL, NULL},
        {"--train", "FILE", "no judge: score by the words of this training file", &o->train, NULL,
         NULL},
        {"--base-url", "URL", "OpenAI-compatible endpoint, e.g. https://host/v1", &o->url, NULL,
         NULL},
        {"--judge-model", "NAME", "model that judges", &o->model, NULL, NULL},
        {"--cache", "DIR", "where replies are kept (default: judge in the cache folder)", &o->cache,
         NULL, NULL},
        {"--rate", "N", "requests a minute, at most (default 60)", &o->rate, NULL, NULL},
        {"--timeout", "S", "seconds for one request (default 60)", &o->timeout, NULL, NULL},
        {"--attempts", "N", "attempts of one request (default 6)", &o->attempts, NULL, NULL},
        {"--json", NULL, "print JSON", NULL, NULL, &o->json},
    };
    struct args a = {.usage = "pft judge FILE --values FILE "
                              "[--base-url URL --judge-model NAME | --train FILE] [--json]",
                     .what = "Scores answers in words from 0 to 10: how far each shows its value. "
                             "A key is taken from PFT_JUDGE_KEY.",
                     .options = options,
                     .n_options = sizeof options / sizeof options[0]};
    enum err error = args_parse(&a, argc, argv, e);
    return error == OK ? check_words(o, &a, e) : error;
}

static enum err open_llm(const struct judge_options *o, struct judge_scorer **out, struct errbuf *e)
{
    char folder[FILE_PATH_BYTES];
    char cache[FILE_PATH_BYTES];
    long rate = 60;
    long timeout_s = 60;
    long attempts = 6;
    enum err error = o->rate ? args_number("--rate", o->rate, 1, 100000, &rate, e) : OK;
    if (error == OK && o->timeout) {
        error = args_number("--timeout", o->timeout, 1, 3600, &timeout_s, e);
    }
    if (error == OK && o->attempts) {
        error = args_number("--attempts", o->attempts, 1, 100, &attempts, e);
    }
    if (error == OK && !o->cache) {
        error = model_cache_folder(folder, e);
        error = error == OK ? file_join(cache, folder, "judge", e) : error;
    }
    if (error != OK) {
        return error;
    }
    const struct judge_llm_config cfg = {
        .http = {.url = o->url,
                 .key = getenv("PFT_JUDGE_KEY"),
                 .per_minute = (double)rate,
                 .timeout_ms = (uint32_t)timeout_s * 1000,
                 .attempts = (uint32_t)attempts,
                 .back_off_ms = BACK_OFF_MS},
        .model = o->model,
        .cache = o->cache ? o->cache : cache,
    };
    return judge_llm_new(&cfg, out, e);
}

/* One score; NaN where the reply held none. */
static enum err ask(struct judge_scorer *s, struct judge_question *q, uint32_t side,
                    const char *answer, double *out, struct errbuf *e)
{
    double score = 0.0;
    bool known = false;
    q->side = side;
    q->answer = answer;
    enum err error = s->score(s, q, &score, &known, e);
    *out = known ? score : (double)NAN;
    return error;
}

static void show_progress(const struct judge_scorer *s, uint32_t done, uint32_t n)
{
    if (s->http && (done % SHOW_EVERY == 0 || done == n)) {
        struct judge_http_counts c = judge_http_counted(s->http);
        (void)fprintf(stderr, "judged %u of %u answers, %llu requests, %llu from the cache\n", done,
                      n, (unsigned long long)c.requests, (unsigned long long)s->from_cache);
    }
}

static enum err score_all(struct judge_scorer *s, const struct values *values,
                          const struct judge_answers *answers, struct judge_marks *marks,
                          uint32_t *cut_words, struct errbuf *e)
{
    enum err error = OK;
    for (uint32_t i = 0; i < answers->n; i++) {
        marks[i].words = judge_words_in(answers->items[i].answer);
    }
    *cut_words = judge_cut_words(marks, answers->n);
    for (uint32_t i = 0; i < answers->n && error == OK; i++) {
        const struct judge_answer *a = &answers->items[i];
        struct judge_question q = {.values = values, .axis = a->axis, .prompt = a->prompt};
        error = ask(s, &q, a->side, a->answer, &marks[i].own, e);
        if (error == OK) {
            error = ask(s, &q, 1 - a->side, a->answer, &marks[i].opposite, e);
        }
        marks[i].cut = (double)NAN;
        if (error == OK && *cut_words > 0 && marks[i].words >= *cut_words) {
            char *text = judge_cut(a->answer, *cut_words);
            error = text ? ask(s, &q, a->side, text, &marks[i].cut, e)
                         : err_set(e, ERR_NOMEM, "no memory for a shorter answer");
            mem_free(text);
        }
        show_progress(s, i + 1, answers->n);
    }
    return error;
}

static double number(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

static void print_table(const json_t *all)
{
    const json_t *ci = json_object_get(all, "ci95");
    const json_t *swap = json_object_get(all, "swap");
    const json_t *length = json_object_get(all, "length");
    (void)printf("scorer         %s%s\n", json_string_value(json_object_get(all, "scorer")),
                 json_is_true(json_object_get(all, "is_llm_judge")) ? ""
                                                                    : " (no LLM judge: naive Bayes "
                                                                      "over words)");
    (void)printf("score          %.2f [%.2f, %.2f] of 10, %lld answers, %lld without a score\n",
                 number(all, "score"), json_number_value(json_array_get(ci, 0)),
                 json_number_value(json_array_get(ci, 1)),
                 (long long)json_integer_value(json_object_get(all, "n")),
                 (long long)json_integer_value(json_object_get(all, "unscored")));
    (void)printf("for opposite   %.2f; lower there in %.0f %% of answers\n",
                 number(swap, "opposite"), 100.0 * number(swap, "lower"));
    (void)printf("length         correlation %+.2f; cut to %lld words: %.2f\n",
                 number(length, "correlation"),
                 (long long)json_integer_value(json_object_get(length, "cut_words")),
                 number(length, "score"));
    const json_t *values = json_object_get(all, "per_value");
    void *at = json_object_iter((json_t *)(uintptr_t)values);
    for (; at; at = json_object_iter_next((json_t *)(uintptr_t)values, at)) {
        const json_t *one = json_object_iter_value(at);
        (void)printf("  %-26s %5lld  %.2f  (opposite %.2f)\n", json_object_iter_key(at),
                     (long long)json_integer_value(json_object_get(one, "n")), number(one, "score"),
                     number(one, "opposite"));
    }
}

static enum err judge(const struct judge_options *o, struct errbuf *e)
{
    struct values *values = NULL;
    struct judge_answers answers = {0};
    struct judge_scorer *scorer = NULL;
    struct judge_marks *marks = NULL;
    json_t *all = NULL;
    uint32_t cut_words = 0;
    enum err error = values_load(o->values, &values, e);
    if (error == OK) {
        error = judge_file_read(o->file, o->prompts, values, &answers, e);
    }
    if (error == OK) {
        error = o->url ? open_llm(o, &scorer, e) : judge_words_new(o->train, values, &scorer, e);
    }
    if (error == OK) {
        marks = mem_calloc(answers.n, sizeof *marks);
        error = marks ? score_all(scorer, values, &answers, marks, &cut_words, e)
                      : err_set(e, ERR_NOMEM, "no memory for the scores");
    }
    if (error == OK) {
        const struct judge_sum_input in = {.values = values,
                                           .answers = &answers,
                                           .marks = marks,
                                           .cut_words = cut_words,
                                           .scorer = scorer,
                                           .is_llm = o->url != NULL};
        error = judge_sum(&in, &all, e);
    }
    if (error == OK && json_integer_value(json_object_get(all, "n")) == 0) {
        error = err_set(e, ERR_PARSE,
                        "none of the %u answers got a score: no reply of '%.200s' holds a whole "
                        "number from 0 to 10%s%s%s; is it a chat model behind that address?",
                        answers.n, scorer->name, scorer->unscored[0] ? ", the last one was " : "",
                        scorer->unscored,
                        scorer->cut_off > 0 ? " (cut off: it ended at its length limit)" : "");
    }
    if (error == OK && o->json) {
        (void)json_dumpf(all, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(6));
        (void)puts("");
    } else if (error == OK) {
        print_table(all);
    }
    json_decref(all);
    mem_free(marks);
    if (scorer) {
        scorer->free(scorer);
    }
    judge_file_free(&answers);
    values_free(&values);
    return error;
}

int cli_judge(int argc, char **argv)
{
    struct judge_options o = {0};
    struct errbuf e = {0};
    enum err error = read_options(&o, argc, argv, &e);
    if (error == ERR_STATE) {
        return CLI_OK;
    }
    if (error == OK) {
        error = judge(&o, &e);
    }
    return error == OK ? CLI_OK : cli_explain("pft judge", error, &e);
}
