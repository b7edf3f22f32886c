/* run_info.c - reads run.db. */
#include "cli/run_info.h"

#include <string.h>

#include "common/format/model_default.h"

enum err run_info_model(struct journal *j, const char *const *sets, int n_sets,
                        char out[FILE_PATH_BYTES], struct errbuf *e)
{
    static const char key[] = "model.path=";
    struct run_config *given = NULL;
    struct str text = {0};
    int last = n_sets;
    while (last > 0 && strncmp(sets[last - 1], key, sizeof key - 1) != 0) {
        last--;
    }
    enum err error = last > 0 ? config_parse("", 0, "", ".", sets + last - 1, 1, &given, e)
                              : journal_meta_get(j, "model_path", &text, e);
    if (error == OK) {
        error = model_resolve(given ? given->model_path : text.data ? text.data : "", out, e);
    }
    if (error == OK && !file_exists(out)) {
        error = err_set(e, ERR_NOT_FOUND,
                        "%s: the run's base model is not there (any more); --set model.path=FILE "
                        "says where it is",
                        out);
    }
    config_free(&given);
    str_free(&text);
    return error;
}

static enum err read_all(struct journal *j, const char *run, const char *const *sets, int n_sets,
                         struct run_info *out, struct errbuf *e)
{
    struct str text = {0};
    enum err error = journal_meta_get(j, "config", &text, e);
    if (error == OK) {
        error =
            config_parse(text.data, text.len, "config of the run", run, sets, n_sets, &out->cfg, e);
    }
    str_clear(&text);
    if (error == OK) {
        error = journal_meta_get(j, "values", &text, e);
    }
    if (error == OK && text.len == 0) {
        error = err_set(e, ERR_REFUSED,
                        "%s: the run was made without values (data.values): there is nothing to "
                        "infer",
                        run);
    }
    if (error == OK) {
        error = values_parse(text.data, text.len, "values of the run", &out->values, e);
    }
    str_clear(&text);
    if (error == OK) {
        error = run_info_model(j, sets, n_sets, out->model, e);
    }
    if (error == OK) {
        error = journal_meta_get(j, "fixed", &out->adapter, e);
    }
    str_addf(&out->adapter, "-%llu", (unsigned long long)journal_steps(j));
    str_free(&text);
    return error == OK ? str_ok(&out->adapter) : error;
}

enum err run_info_open(const char *run, const char *const *sets, int n_sets, struct run_info *out,
                       struct errbuf *e)
{
    struct journal *j = NULL;
    *out = (struct run_info){0};
    enum err error = journal_open_reader(run, &j, e);
    if (error == OK) {
        error = read_all(j, run, sets, n_sets, out, e);
    }
    journal_close(&j);
    if (error != OK) {
        run_info_close(out);
    }
    return error;
}

void run_info_close(struct run_info *info)
{
    str_free(&info->adapter);
    values_free(&info->values);
    config_free(&info->cfg);
}
