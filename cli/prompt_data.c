/* prompt_data.c - scenarios to prompts. */
#include "cli/prompt_data.h"

#include "cli/run_info.h"
#include "coordinator/dataset.h"
#include "coordinator/values.h"

static enum err add(const struct data_scenario *s, const struct values *values, const char *path,
                    json_t *list, struct errbuf *e)
{
    if (s->axis == DATASET_NO_AXIS) {
        return err_set(e, ERR_REFUSED,
                       "%s:%u: the item names no axis; prompts are made from scenarios whose "
                       "values are known (a 'vcd' file)",
                       path, s->line);
    }
    for (uint32_t side = 0; side < 2; side++) {
        json_t *prompt = json_pack("{s:s%,s:s}", "prompt", s->text.text, s->text.bytes, "value",
                                   values->axes[s->axis].poles[side].name);
        if (!prompt || json_array_append_new(list, prompt) != 0) {
            return err_set(e, ERR_NOMEM, "no memory for the prompts of %s", path);
        }
    }
    return OK;
}

static enum err read_all(const struct local_served *served, const struct values *values,
                         uint32_t limit, json_t *list, struct errbuf *e)
{
    struct dataset *data = NULL;
    enum err error = dataset_load(served->data, values, GROUP_SCENARIO, &data, e);
    for (uint32_t i = 0; error == OK && i < data->n_scenarios && (limit == 0 || i < limit); i++) {
        error = add(&data->scenarios[i], values, served->data, list, e);
    }
    dataset_free(&data);
    return error;
}

enum err prompt_data_read(const struct local_served *served, uint32_t limit, json_t *list,
                          struct errbuf *e)
{
    struct run_info info = {0};
    struct values *own = NULL;
    enum err error = served->values ? values_load(served->values, &own, e)
                     : served->run
                         ? run_info_open(served->run, NULL, 0, &info, e)
                         : err_set(e, ERR_USAGE, "--data with --model needs --values FILE");
    if (error == OK) {
        error = read_all(served, own ? own : info.values, limit, list, e);
    }
    run_info_close(&info);
    values_free(&own);
    return error;
}
