/* eval_fixture.h - data files in memory and the tiny model's tokenizer, for tests of evaluations;
 * log-probabilities by leaf, and the JSON that comes out. */
#ifndef PFT_TESTS_EVAL_FIXTURE_H
#define PFT_TESTS_EVAL_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <math.h>
#include <string.h>

#include "common/format/model_file.h"
#include "common/text/tokenizer.h"
#include "coordinator/config.h"
#include "coordinator/dataset.h"
#include "coordinator/eval.h"
#include "coordinator/values.h"

static const char values_text[] = "axes:\n  - name: \"Pace\"\n    poles:\n"
                                  "      - {name: \"Fast\", sentence: \"Quick.\"}\n"
                                  "      - {name: \"Slow\", sentence: \"Calm.\"}\n";

struct world {
    struct run_config *cfg;
    struct values *values;
    struct model_file *model;
    struct tokenizer *tok;
};

static inline struct world world_open(void)
{
    struct world w = {0};
    struct errbuf e = {0};
    assert_int_equal(config_parse("", 0, "test", ".", NULL, 0, &w.cfg, &e), OK);
    assert_int_equal(values_parse(values_text, sizeof values_text - 1, "v", &w.values, &e), OK);
    assert_int_equal(model_open("tests/golden/tiny", &w.model, &e), OK);
    assert_int_equal(tokenizer_open(w.model, &w.tok, &e), OK);
    return w;
}

static inline void world_close(struct world *w)
{
    tokenizer_close(&w->tok);
    model_close(&w->model);
    values_free(&w->values);
    config_free(&w->cfg);
}

static inline struct dataset *world_data(const struct world *w, const char *name, const char *text)
{
    struct dataset *d = NULL;
    struct errbuf e = {0};
    enum err error = dataset_parse(text, strlen(text), name, w->values, GROUP_SCENARIO, &d, &e);
    assert_string_equal(e.text, "");
    assert_int_equal(error, OK);
    return d;
}

static inline struct eval_input world_input(const struct world *w, enum eval_task task,
                                            const struct dataset *test, const struct dataset *train)
{
    return (struct eval_input){.ask = {.task = task, .n_shots = 1},
                               .cfg = w->cfg,
                               .values = w->values,
                               .test = test,
                               .train = train,
                               .tok = w->tok};
}

static inline struct eval *world_eval(const struct eval_input *in)
{
    struct eval *ev = NULL;
    struct errbuf e = {0};
    enum err error = eval_new(in, &ev, &e);
    assert_string_equal(e.text, "");
    assert_int_equal(error, OK);
    return ev;
}

/* The finished result; the caller releases it. */
static inline json_t *world_finish(struct eval *ev)
{
    struct str json = {0};
    struct errbuf e = {0};
    enum err error = eval_finish(ev, &json, &e);
    assert_string_equal(e.text, "");
    assert_int_equal(error, OK);
    json_t *root = json_loadb(json.data, json.len, 0, NULL);
    assert_non_null(root);
    str_free(&json);
    return root;
}

static inline json_t *result_of(json_t *root, size_t i)
{
    return json_array_get(json_object_get(root, "results"), i);
}

/* A figure of nested objects, path by path: "select_all/precision". */
static inline double figure(json_t *object, const char *path)
{
    while (strchr(path, '/')) {
        char name[64] = "";
        size_t n = strcspn(path, "/");
        assert_true(n < sizeof name);
        memcpy(name, path, n);
        object = json_object_get(object, name);
        path += n + 1;
    }
    json_t *value = json_object_get(object, path);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

static inline void expect_figure(json_t *object, const char *path, double value)
{
    double got = figure(object, path);
    if (!(fabs(got - value) < 1e-6)) {
        fail_msg("%s is %.6f, %.6f was expected", path, got, value);
    }
}

#endif
