/* task_order.c - what is sent to a standing coordinator. */
#include "cli/task_order.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "cli/args.h"
#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/base/str.h"
#include "common/format/model_default.h"
#include "coordinator/config.h"
#include "coordinator/journal.h"

static bool is_number(const char *word)
{
    return word[0] != '\0' && strspn(word, "0123456789") == strlen(word);
}

/* The last part of a path without its ending. */
static void name_from(const char *path, char name[WIRE_NAME_BYTES])
{
    char copy[FILE_PATH_BYTES];
    (void)snprintf(copy, sizeof copy, "%s", path);
    size_t n = strlen(copy);
    while (n > 1 && copy[n - 1] == '/') {
        copy[--n] = '\0';
    }
    const char *slash = strrchr(copy, '/');
    const char *last = slash && slash[1] != '\0' ? slash + 1 : copy;
    const char *dot = strrchr(last, '.');
    size_t length = dot && dot != last ? (size_t)(dot - last) : strlen(last);
    (void)snprintf(name, WIRE_NAME_BYTES, "%.*s", (int)length, last);
}

static enum err finish(const struct submit_words *w, const char *path, struct task_order *order,
                       struct errbuf *e)
{
    if (w->name && strlen(w->name) >= sizeof order->name) {
        return err_set(e, ERR_USAGE, "--name: %zu bytes at most", sizeof order->name - 1);
    }
    if (w->name) {
        (void)snprintf(order->name, sizeof order->name, "%s", w->name);
    } else {
        name_from(path, order->name);
    }
    if (getrandom(&order->ticket, sizeof order->ticket, 0) != (ssize_t)sizeof order->ticket) {
        return err_set(e, ERR_IO, "no random numbers");
    }
    order->ticket |= 1; /* 0 would be no ticket */
    return task_order_check(order, e);
}

/* The default model has another place on every machine: it stays the default. */
static enum err keep_config(const struct run_config *cfg, struct task_order *order,
                            struct errbuf *e)
{
    struct str text = {0};
    config_dump(cfg, &text);
    enum err error = str_ok(&text);
    if (error != OK) {
        str_free(&text);
        return err_set(e, error, "no memory for the config");
    }
    order->config = text.data;
    return OK;
}

enum err task_order_train(const struct submit_words *w, struct task_order *order, struct errbuf *e)
{
    struct run_config *cfg = NULL;
    *order = (struct task_order){.sort = TASK_TRAIN};
    enum err error = config_load(w->config, w->sets, w->n_sets, &cfg, e);
    if (error == OK && cfg->data_train[0] == '\0') {
        error = err_set(e, ERR_REFUSED,
                        "data.train is not set: a file to train on is needed (docs/data.md)");
    }
    if (error == OK) {
        error = keep_config(cfg, order, e);
    }
    if (error == OK) {
        error = finish(w, w->config, order, e);
    }
    config_free(&cfg);
    if (error != OK) {
        task_order_free(order);
    }
    return error;
}

static enum err add_path(struct str *sets, const char *key, const char *path, struct errbuf *e)
{
    char full[FILE_PATH_BYTES];
    enum err error = path ? file_absolute(full, path, e) : OK;
    if (path && error == OK) {
        str_addf(sets, "%s=%s\n", key, full);
    }
    return error;
}

static enum err add_words(const struct submit_words *w, struct str *sets, struct errbuf *e)
{
    enum err error = add_path(sets, "data.test", w->data, e);
    if (error == OK) {
        error = add_path(sets, "data.values", w->values, e);
    }
    if (error == OK && w->model && strcmp(w->model, "default") != 0) {
        error = add_path(sets, "model.path", w->model, e);
    }
    if (w->readout) {
        str_addf(sets, "eval.readouts=[%s]\n", w->readout);
    }
    for (int i = 0; i < w->n_sets; i++) {
        str_addf(sets, "%s\n", w->sets[i]);
    }
    return error;
}

/* The overrides one by one, as config_parse takes them; text is cut up. */
static int split(char *text, const char *lines[ARGS_REPEATS + 8])
{
    int n = 0;
    for (char *line = text; line && *line != '\0' && n < ARGS_REPEATS + 8;) {
        char *end = strchr(line, '\n');
        lines[n++] = line;
        if (end) {
            *end = '\0';
        }
        line = end ? end + 1 : NULL;
    }
    return n;
}

/* The config of a run here, or none, with the overrides: the whole of what will be done. */
static enum err resolve(const struct submit_words *w, const struct str *sets,
                        struct task_order *order, struct errbuf *e)
{
    struct journal *j = NULL;
    struct str text = {0};
    struct run_config *cfg = NULL;
    const char *lines[ARGS_REPEATS + 8];
    char *copy = mem_strdup(sets->data ? sets->data : "");
    enum err error = copy ? OK : err_set(e, ERR_NOMEM, "no memory for the overrides");
    int n = copy ? split(copy, lines) : 0;
    if (error == OK && w->from) {
        error = journal_open_reader(w->from, &j, e);
    }
    if (error == OK && w->from) {
        error = journal_meta_get(j, "config", &text, e);
    }
    if (error == OK) {
        error = config_parse(text.data ? text.data : "", text.len, "config of the run",
                             w->from ? w->from : ".", lines, n, &cfg, e);
    }
    if (error == OK && cfg->data_test[0] == '\0') {
        error = err_set(e, ERR_REFUSED, "data.test is not set: --data FILE names what to evaluate");
    }
    if (error == OK) {
        error = keep_config(cfg, order, e);
    }
    config_free(&cfg);
    journal_close(&j);
    str_free(&text);
    mem_free(copy);
    return error;
}

enum err task_order_evaluate(const struct submit_words *w, struct task_order *order,
                             struct errbuf *e)
{
    struct str sets = {0};
    char from[FILE_PATH_BYTES] = "";
    *order = (struct task_order){.sort = TASK_EVALUATE};
    enum err error = add_words(w, &sets, e);
    if (error == OK && w->from && is_number(w->from)) {
        (void)snprintf(from, sizeof from, "%s", w->from);
        order->sets = sets.data; /* that task's config is known there, perhaps only later */
        sets = (struct str){0};
    } else if (error == OK) {
        error = w->from ? file_absolute(from, w->from, e) : OK;
        if (error == OK) {
            error = resolve(w, &sets, order, e);
        }
    }
    if (error == OK && !(order->from = mem_strdup(from))) {
        error = err_set(e, ERR_NOMEM, "no memory for the run's name");
    }
    if (error == OK) {
        error = finish(w, w->from ? w->from : "model", order, e);
    }
    str_free(&sets);
    if (error != OK) {
        task_order_free(order);
    }
    return error;
}
