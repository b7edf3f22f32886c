/* sweep.c - captures, tries, choice. */
#include "cli/sweep.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/matrix_child.h"
#include "cli/matrix_field.h"
#include "cli/matrix_store.h"
#include "common/base/hash.h"
#include "common/base/limits.h"
#include "common/base/mem.h"
#include "coordinator/dataset.h"

enum { TRIES_MAX = 32, NAME_BYTES = 128 };

struct sweep {
    const struct sweep_request *r;
    char chosen[FILE_PATH_BYTES], log[FILE_PATH_BYTES], answer[FILE_PATH_BYTES];
    long limit;
    uint32_t n_layers, n_multipliers;
    double layers[TRIES_MAX], multipliers[TRIES_MAX];
    struct values *values;
    bool *there;       /* [n_axes] scenarios of the axis are among those captured */
    json_t *asked;     /* everything that the choice depends on */
    json_t *tries;     /* [{"layer", "multiplier", "accuracy", "ci95"}, ...] */
    char trouble[256]; /* what the coordinator says of a capture */
};

/* Numbers separated by commas. */
static enum err read_list(const char *option, const char *text, double least, double most,
                          bool whole, double *out, uint32_t *n, struct errbuf *e)
{
    for (const char *at = text;; at++) {
        char *end = NULL;
        const double value = strtod(at, &end);
        if (*n == TRIES_MAX || end == at || !(value >= least && value <= most) ||
            (whole && value != floor(value)) || (*end != ',' && *end != '\0')) {
            return err_set(e, ERR_USAGE,
                           "%s: '%s': up to %d numbers from %g to %g are wanted, comma-separated",
                           option, text, TRIES_MAX, least, most);
        }
        out[(*n)++] = value;
        at = end;
        if (*at == '\0') {
            return OK;
        }
    }
}

static enum err read_request(struct sweep *s, struct errbuf *e)
{
    const struct sweep_request *r = s->r;
    enum err error = read_list("--sweep", r->layers, 1, 1e4, true, s->layers, &s->n_layers, e);
    if (error == OK) {
        error = read_list("--multipliers", r->multipliers ? r->multipliers : "1,2,4", 1e-3, 1e3,
                          false, s->multipliers, &s->n_multipliers, e);
    }
    if (error == OK) {
        error = args_number("--limit", r->limit, 1, LIMIT_GROUPS, &s->limit, e);
    }
    if (error == OK && s->n_layers * s->n_multipliers > TRIES_MAX) {
        error = err_set(e, ERR_USAGE, "--sweep: %u layers by %u multipliers, at most %d in all",
                        s->n_layers, s->n_multipliers, TRIES_MAX);
    }
    return error;
}

static enum err find_axes(struct sweep *s, struct errbuf *e)
{
    const struct local_served *served = &s->r->asking->served;
    struct dataset *data = NULL;
    bool any = false;
    enum err error = values_load(served->values, &s->values, e);
    if (error == OK) {
        error = dataset_load(served->data, s->values, GROUP_SCENARIO, &data, e);
    }
    if (error == OK) {
        s->there = mem_calloc(s->values->n_axes, sizeof *s->there);
        error = s->there ? OK : err_set(e, ERR_NOMEM, "no memory for axes");
    }
    for (uint32_t i = 0; error == OK && i < data->n_scenarios; i++) {
        const struct data_scenario *one = &data->scenarios[i];
        if (i >= s->limit && i < 2 * s->limit && one->axis != DATASET_NO_AXIS &&
            dataset_offers_both(one)) {
            s->there[one->axis] = any = true;
        }
    }
    dataset_free(&data);
    return error == OK && !any
               ? err_set(e, ERR_RANGE,
                         "%s: none of scenarios %ld to %ld has options of both values",
                         served->data, s->limit + 1, 2 * s->limit)
               : error;
}

/* "Risk Orientation" -> "risk-orientation.gguf" */
static void vector_name(const char *axis, char out[NAME_BYTES])
{
    size_t n = 0;
    for (const char *at = axis; *at != '\0' && n < NAME_BYTES - sizeof ".gguf"; at++) {
        out[n++] = isalnum((unsigned char)*at) ? (char)tolower((unsigned char)*at) : '-';
    }
    (void)snprintf(out + n, NAME_BYTES - n, ".gguf");
}

static void begin_captures(struct talk *talk)
{
    struct sweep *s = talk->context;
    char name[NAME_BYTES];
    char folder[FILE_PATH_BYTES];
    char path[FILE_PATH_BYTES];
    for (uint32_t i = 0; i < s->values->n_axes; i++) {
        vector_name(s->values->axes[i].name, name);
        if (s->there[i] && file_absolute(folder, s->r->folder, NULL) == OK &&
            file_join(path, folder, name, NULL) == OK) {
            asking_say(s->r->asking, talk, "capture",
                       json_pack("{s:s,s:s,s:I,s:I}", "axis", s->values->axes[i].name, "out", path,
                                 "skip", (json_int_t)s->limit, "limit", (json_int_t)s->limit));
        }
    }
    talk_end(talk);
}

static void captured(struct talk *talk, const char *line)
{
    struct sweep *s = talk->context;
    json_t *answer = json_loads(line, 0, NULL);
    const char *why = json_string_value(json_object_get(answer, "error"));
    if (!answer || why) {
        (void)snprintf(s->trouble, sizeof s->trouble, "%s", why ? why : "no answer");
    }
    json_decref(answer);
}

static enum err capture_all(struct sweep *s, int *code, struct errbuf *e)
{
    struct talk talk = {.begin = begin_captures, .answered = captured, .context = s};
    enum err error = asking_run(s->r->asking, &talk, false, code, e);
    return error == OK && s->trouble[0] ? err_set(e, ERR_PARSE, "%s", s->trouble) : error;
}

/* {"axes": {NAME: FILE=MULTIPLIER@LAYER}} */
static json_t *specs_of(const struct sweep *s, double layer, double multiplier)
{
    json_t *axes = json_object();
    for (uint32_t i = 0; i < s->values->n_axes; i++) {
        char name[NAME_BYTES];
        char spec[NAME_BYTES + 64];
        vector_name(s->values->axes[i].name, name);
        (void)snprintf(spec, sizeof spec, "%s=%g@%g", name, multiplier, layer);
        if (s->there[i]) {
            json_object_set_new(axes, s->values->axes[i].name, json_string(spec));
        }
    }
    return json_pack("{s:o}", "axes", axes);
}

static enum err add_words(struct matrix_words *w, const char *const *words, size_t n,
                          struct errbuf *e)
{
    enum err error = OK;
    for (size_t i = 0; i < n && error == OK; i++) {
        error = matrix_words_add(w, words[i], e);
    }
    return error;
}

/* pft eval of one layer and multiplier, kept in its folder. */
static enum err try_words(const struct sweep *s, const char *file, const char *kept,
                          struct matrix_words *w, struct errbuf *e)
{
    const struct local_served *served = &s->r->asking->served;
    const char *const words[] = {"eval",           served->run ? served->run : "--model",
                                 "--data",         served->data,
                                 "--values",       served->values,
                                 "--readout",      "likelihood",
                                 "--fit",          "0",
                                 "--limit",        s->r->limit,
                                 "--steer-values", file,
                                 "--out",          kept,
                                 "--json"};
    enum err error = add_words(w, words, 2, e);
    if (error == OK && served->model) {
        error = matrix_words_add(w, served->model, e);
    }
    if (error == OK) {
        error = add_words(w, words + 2, sizeof words / sizeof words[0] - 2, e);
    }
    const char *const workers[] = {"--workers", s->r->asking->workers};
    if (error == OK && s->r->asking->workers) {
        error = add_words(w, workers, 2, e);
    }
    for (int i = 0; i < served->n_sets && error == OK; i++) {
        const char *const set[] = {"--set", served->sets[i]};
        error = add_words(w, set, 2, e);
    }
    return error;
}

static enum err keep_try(struct sweep *s, double layer, double multiplier, struct errbuf *e)
{
    json_t *result = NULL;
    enum err error = matrix_store_read(s->answer, &result, e);
    if (error == OK) {
        json_t *accuracy = json_object_get(result, "accuracy");
        (void)fprintf(stderr, "pft: layer %g, multiplier %g: %.3f\n", layer, multiplier,
                      json_number_value(accuracy));
        (void)json_array_append_new(
            s->tries, json_pack("{s:f,s:f,s:O,s:O,s:O}", "layer", layer, "multiplier", multiplier,
                                "accuracy", accuracy, "ci95", json_object_get(result, "ci95"), "n",
                                json_object_get(result, "n")));
    }
    json_decref(result);
    return error;
}

static enum err try_one(struct sweep *s, double layer, double multiplier, int *code,
                        struct errbuf *e)
{
    char name[64];
    char file[FILE_PATH_BYTES];
    char kept[FILE_PATH_BYTES];
    struct matrix_words words = {0};
    struct matrix_child child = {.log = s->log, .capture = s->answer};
    json_t *specs = specs_of(s, layer, multiplier);
    (void)snprintf(name, sizeof name, "try-%g-%g.json", layer, multiplier);
    enum err error = file_join(file, s->r->folder, name, e);
    if (error == OK) { /* one folder for all: kept scores tell what steered */
        error = file_join(kept, s->r->folder, "tries", e);
    }
    if (error == OK) {
        error = matrix_store_write(file, specs, e);
    }
    json_decref(specs);
    if (error == OK) {
        error = try_words(s, file, kept, &words, e);
    }
    if (error == OK) {
        error = matrix_child_run(&child, &words, e);
        *code = child.code;
    }
    matrix_words_free(&words);
    return error == OK && *code == CLI_OK ? keep_try(s, layer, multiplier, e) : error;
}

/* The try with the highest share; of several the first. */
static json_t *best_of(const json_t *tries)
{
    json_t *best = json_array_get(tries, 0);
    size_t i;
    json_t *one;
    json_array_foreach(tries, i, one)
    {
        if (json_number_value(json_object_get(one, "accuracy")) >
            json_number_value(json_object_get(best, "accuracy"))) {
            best = one;
        }
    }
    return best;
}

static enum err choose(struct sweep *s, struct errbuf *e)
{
    const json_t *best = best_of(s->tries);
    json_t *layer = json_object_get(best, "layer");
    json_t *multiplier = json_object_get(best, "multiplier");
    json_t *out = specs_of(s, json_number_value(layer), json_number_value(multiplier));
    json_object_set(out, "layer", layer);
    json_object_set(out, "multiplier", multiplier);
    json_object_set(out, "accuracy", json_object_get(best, "accuracy"));
    json_object_set(out, "sweep", s->tries);
    json_object_set(out, "asked", s->asked);
    enum err error = matrix_store_write(s->chosen, out, e);
    json_decref(out);
    return error;
}

/* What the choice depends on, to tell whether it was made before. */
static enum err describe(struct sweep *s, struct errbuf *e)
{
    const struct local_served *served = &s->r->asking->served;
    char hash[HASH_SHA256_HEX] = "";
    json_t *sets = json_array();
    enum err error = hash_file_sha256_hex(served->data, hash, e);
    for (int i = 0; i < served->n_sets; i++) {
        (void)json_array_append_new(sets, json_string(served->sets[i]));
    }
    s->tries = json_array();
    s->asked = json_pack(
        "{s:s,s:s,s:s,s:s,s:s,s:I,s:o}", "model", served->run ? served->run : served->model,
        "data_sha256", hash, "values", served->values, "layers", s->r->layers, "multipliers",
        s->r->multipliers ? s->r->multipliers : "", "limit", (json_int_t)s->limit, "set", sets);
    return error == OK && !s->asked ? err_set(e, ERR_NOMEM, "no memory for a sweep") : error;
}

static bool made_before(const struct sweep *s)
{
    json_t *kept = NULL;
    bool same = file_exists(s->chosen) && matrix_store_read(s->chosen, &kept, NULL) == OK &&
                json_equal(json_object_get(kept, "asked"), s->asked);
    json_decref(kept);
    return same;
}

static enum err show(const struct sweep *s, struct errbuf *e)
{
    json_t *chosen = NULL;
    enum err error = matrix_store_read(s->chosen, &chosen, e);
    if (error == OK && s->r->json) {
        (void)json_dumpf(chosen, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(6));
        (void)puts("");
    } else if (error == OK) {
        (void)printf("%s: layer %g, multiplier %g, right %.3f on the scenarios it was chosen on\n",
                     s->chosen, json_number_value(json_object_get(chosen, "layer")),
                     json_number_value(json_object_get(chosen, "multiplier")),
                     json_number_value(json_object_get(chosen, "accuracy")));
    }
    json_decref(chosen);
    return error;
}

static enum err prepare(struct sweep *s, struct errbuf *e)
{
    enum err error = read_request(s, e);
    if (error == OK) {
        error = find_axes(s, e);
    }
    if (error == OK) {
        error = describe(s, e);
    }
    if (error == OK) {
        error = file_make_folder(s->r->folder, e);
    }
    if (error == OK) {
        error = file_join(s->chosen, s->r->folder, "steer.json", e);
    }
    if (error == OK) {
        error = file_join(s->log, s->r->folder, "sweep.log", e);
    }
    return error == OK ? file_join(s->answer, s->r->folder, "answer.json", e) : error;
}

enum err sweep_run(const struct sweep_request *r, int *code, struct errbuf *e)
{
    struct sweep s = {.r = r};
    enum err error = prepare(&s, e);
    bool made = error == OK && made_before(&s);
    if (error == OK && !made) {
        error = capture_all(&s, code, e);
    }
    for (uint32_t i = 0; i < s.n_layers * s.n_multipliers && !made; i++) {
        if (error == OK && *code == CLI_OK) {
            error = try_one(&s, s.layers[i / s.n_multipliers], s.multipliers[i % s.n_multipliers],
                            code, e);
        }
    }
    if (error == OK && *code == CLI_OK && !made) {
        error = choose(&s, e);
    }
    if (error == OK && *code == CLI_OK) {
        error = show(&s, e);
    }
    mem_free(s.there);
    values_free(&s.values);
    json_decref(s.asked);
    json_decref(s.tries);
    return error;
}
