/* plan_costs.c - costs from run.db, FLOPs from shapes. */
#include "cli/plan_costs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/str.h"
#include "common/format/model_file.h"
#include "coordinator/config.h"
#include "coordinator/journal.h"

static const struct {
    const char *name;
    struct model_shape shape;
} shapes[] = {
    {"135M",
     {.layers = 30,
      .hidden = 576,
      .ff = 1536,
      .heads = 9,
      .kv_heads = 3,
      .head_dim = 64,
      .vocab = 49152,
      .tied_head = true}},
    {"3B",
     {.layers = 28,
      .hidden = 3072,
      .ff = 8192,
      .heads = 24,
      .kv_heads = 8,
      .head_dim = 128,
      .vocab = 128256,
      .tied_head = true}},
    {"8B",
     {.layers = 32,
      .hidden = 4096,
      .ff = 14336,
      .heads = 32,
      .kv_heads = 8,
      .head_dim = 128,
      .vocab = 128256}},
};

const struct model_shape *plan_shape(const char *name)
{
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        if (strcmp(shapes[i].name, name) == 0) {
            return &shapes[i].shape;
        }
    }
    return NULL;
}

/* How often each part is multiplied. */
struct passes {
    double frozen, thin, attention, head;
};

static double count_flops(const struct model_shape *m, const struct lora_config *lora,
                          double context, double label_rows, struct passes times)
{
    double frozen = 0.0;
    double thin = 0.0;
    for (int i = 0; i < LORA_MODULES; i++) {
        uint32_t in;
        uint32_t out;
        shape_module(m, (enum lora_module)i, &in, &out);
        frozen += (double)in * out;
        thin += lora->targets & 1u << i ? (double)lora->r * (in + out) : 0.0;
    }
    double attention = times.attention * m->heads * m->head_dim * context;
    double head = times.head * m->hidden * m->vocab * label_rows;
    return m->layers * (times.frozen * frozen + times.thin * thin + attention) + head;
}

double plan_flops(const struct model_shape *m, const struct lora_config *lora,
                  const struct plan_work *work)
{
    return count_flops(m, lora, work->context, work->label_rows, (struct passes){4, 6, 12, 4});
}

double plan_score_flops(const struct model_shape *m, const struct lora_config *lora, double context,
                        double label_rows)
{
    return count_flops(m, lora, context, label_rows, (struct passes){2, 2, 4, 2});
}

enum err plan_rate(const char *option, const char *text, double *out, struct errbuf *e)
{
    static const struct {
        const char *unit;
        double bytes;
    } units[] = {{"kbit", 1e3 / 8}, {"Mbit", 1e6 / 8}, {"Gbit", 1e9 / 8},
                 {"kB", 1e3},       {"MB", 1e6},       {"GB", 1e9}};
    char *end = NULL;
    double number = strtod(text, &end);
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        size_t n = strlen(units[i].unit);
        if (strncmp(end, units[i].unit, n) == 0 && (end[n] == '\0' || strcmp(end + n, "/s") == 0) &&
            end != text && isfinite(number) && number > 0.0 && number <= 1e6) {
            *out = number * units[i].bytes;
            return OK;
        }
    }
    return err_set(e, ERR_USAGE,
                   "%s is '%s': a number above 0 with kbit, Mbit, Gbit, kB, MB or GB (a second) is "
                   "needed, as in 1Gbit",
                   option, text);
}

/* FLOPs of a token in the run's own model; *floats of its adapter. */
static enum err look_at_model(struct journal *j, const char *run, const struct plan_work *work,
                              double *flops, size_t *floats, struct errbuf *e)
{
    struct run_config *cfg = NULL;
    struct model_file *model = NULL;
    struct str text = {0};
    enum err error = journal_meta_get(j, "config", &text, e);
    if (error == OK) {
        error = config_parse(text.data, text.len, "config of the run", run, NULL, 0, &cfg, e);
    }
    str_clear(&text);
    if (error == OK) {
        error = journal_meta_get(j, "model_path", &text, e);
    }
    if (error == OK) {
        error = model_open(text.data, &model, e);
    }
    if (error == OK) {
        *flops = plan_flops(model_shape(model), &cfg->lora, work);
        *floats = lora_count(model_shape(model), &cfg->lora);
    }
    str_free(&text);
    model_close(&model);
    config_free(&cfg);
    return error;
}

static enum err add_up(struct journal *j, const char *run, size_t floats, struct plan_costs *c,
                       struct errbuf *e)
{
    uint64_t steps = journal_steps(j);
    struct journal_cost sum = {0};
    double tokens = 0.0;
    double finished = 0.0;
    c->first_step = steps > 1 ? 1 : 0;
    for (uint64_t i = c->first_step; i < steps; i++) {
        struct journal_step step;
        enum err error = journal_step_get(j, i, &step, e);
        if (error != OK) {
            return error;
        }
        if (step.cost.jobs == 0) {
            continue; /* journaled by an earlier version */
        }
        uint32_t slots = step.cost.slots;
        tokens += (double)step.tokens;
        finished += 1.0;
        sum.jobs += step.cost.jobs;
        sum.compute_s += step.cost.compute_s;
        sum.adding_s += step.cost.adding_s;
        sum.finishing_s += step.cost.finishing_s;
        c->most_slots = slots > c->most_slots ? slots : c->most_slots;
        c->least_slots = c->least_slots == 0 || slots < c->least_slots ? slots : c->least_slots;
        c->last_step = i;
    }
    if (!(tokens > 0.0 && sum.compute_s > 0.0 && sum.adding_s > 0.0 && sum.finishing_s > 0.0)) {
        return err_set(e, ERR_REFUSED,
                       "%s: none of its %llu steps says what it cost; make the run again with this "
                       "version, or give --tokens-per-s",
                       run, (unsigned long long)steps);
    }
    c->seconds_per_token = sum.compute_s / tokens;
    c->adding_bytes_per_s = 8.0 * (double)floats * sum.jobs / sum.adding_s;
    c->finishing_bytes_per_s = 8.0 * (double)floats * finished / sum.finishing_s;
    return OK;
}

enum err plan_costs_from(const char *run, const struct plan_work *work, struct plan_costs *costs,
                         struct errbuf *e)
{
    struct journal *j = NULL;
    size_t floats = 0;
    *costs = (struct plan_costs){0};
    enum err error = journal_open_reader(run, &j, e);
    if (error == OK) {
        error = look_at_model(j, run, work, &costs->flops_per_token, &floats, e);
    }
    if (error == OK) {
        error = add_up(j, run, floats, costs, e);
    }
    journal_close(&j);
    return error;
}
