/* plan_command.c - pft plan: what more workers would make of a config, before they are bought.
 * Owns: the words of the command. Never: predicts; coordinator/forecast.h does. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/args.h"
#include "cli/cli.h"
#include "cli/plan_report.h"
#include "common/base/limits.h"
#include "common/base/mem.h"
#include "coordinator/config.h"

enum { ROWS_MAX = 256 };

struct plan_options {
    const char *config, *workers, *slots, *bandwidth, *latency, *model, *from, *speed, *reduce;
    const char *sets[ARGS_REPEATS];
    int n_sets;
    bool json;
};

/* Everything a plan is made of. */
struct plan_room {
    struct setup setup;
    struct plan_work work;
    struct plan_costs costs;
    struct forecast_config asked;
    struct plan_row *rows; /* [ROWS_MAX] */
    uint32_t n_rows;
};

static enum err read_options(struct plan_options *o, int argc, char **argv, struct errbuf *e)
{
    const struct args_option options[] = {
        {"--workers", "LIST", "numbers (1,2,8), or A..B by doubling (default: 1..1000)",
         &o->workers, NULL, NULL},
        {"--slots", "N", "slots of each worker (default: 1)", &o->slots, NULL, NULL},
        {"--bandwidth", "RATE", "the coordinator's link, each way (default: 1Gbit)", &o->bandwidth,
         NULL, NULL},
        {"--latency", "MS", "of a message, one way (default: 0.2)", &o->latency, NULL, NULL},
        {"--from", "RUN", "a run whose measured costs are taken", &o->from, NULL, NULL},
        {"--tokens-per-s", "N", "or: what a slot trains with the config's model", &o->speed, NULL,
         NULL},
        {"--reduce", "RATE", "with --tokens-per-s: adding gradients (default: 4GB)", &o->reduce,
         NULL, NULL},
        {"--model", "SIZE", "135M, 3B or 8B instead of the config's model", &o->model, NULL, NULL},
        {"--set", "KEY=VALUE", "override a key of the config", o->sets, &o->n_sets, NULL},
        {"--json", NULL, "print one JSON object (docs/plan.md)", NULL, NULL, &o->json},
    };
    struct args a = {.usage = "pft plan CONFIG --from RUN|--tokens-per-s N [options]",
                     .what = "Predicts the steps of a config for many workers: the real scheduler "
                             "in virtual time.",
                     .options = options,
                     .n_options = sizeof options / sizeof options[0]};
    enum err error = args_parse(&a, argc, argv, e);
    if (error == OK && a.n_positional != 1) {
        error = err_set(e, ERR_USAGE, "one CONFIG is needed, %d words were given; usage: %s",
                        a.n_positional, a.usage);
    }
    if (error == OK && (o->from != NULL) == (o->speed != NULL)) {
        error = err_set(e, ERR_USAGE,
                        "what a token costs must be known: give --from RUN (a run made with this "
                        "model) or --tokens-per-s N, one of them");
    }
    if (error == OK && o->reduce && o->from) {
        error = err_set(e, ERR_USAGE, "--reduce: --from RUN measured it; give only one of them");
    }
    if (error == OK && o->model && !plan_shape(o->model)) {
        error = err_set(e, ERR_USAGE, "--model is '%s', there are 135M, 3B and 8B", o->model);
    }
    o->config = a.positional[0];
    return error;
}

static enum err real_number(const char *option, const char *text, double least, double most,
                            double *out, struct errbuf *e)
{
    char *end = NULL;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || !(value >= least && value <= most)) {
        return err_set(e, ERR_USAGE, "%s is '%s', a number from %g to %g is needed", option, text,
                       least, most);
    }
    *out = value;
    return OK;
}

static enum err add_workers(struct plan_room *p, long workers, struct errbuf *e)
{
    if (p->n_rows == ROWS_MAX) {
        return err_set(e, ERR_USAGE, "--workers: more than %d numbers", ROWS_MAX);
    }
    p->rows[p->n_rows++].workers = (uint32_t)workers;
    return OK;
}

/* One number, or A..B: A, 2 A, 4 A, ... and B. */
static enum err read_item(struct plan_room *p, const char *item, struct errbuf *e)
{
    char first[32];
    const char *dots = strstr(item, "..");
    long from = 0;
    long to = 0;
    (void)snprintf(first, sizeof first, "%.*s", dots ? (int)(dots - item) : 31, item);
    enum err error = args_number("--workers", first, 1, LIMIT_WORKERS, &from, e);
    if (error == OK && dots) {
        error = args_number("--workers", dots + 2, from, LIMIT_WORKERS, &to, e);
    }
    for (long n = from; error == OK && dots && n < to; n *= 2) {
        error = add_workers(p, n, e);
    }
    return error == OK ? add_workers(p, dots ? to : from, e) : error;
}

static int by_workers(const void *a, const void *b)
{
    const struct plan_row *x = a;
    const struct plan_row *y = b;
    return (x->workers > y->workers) - (x->workers < y->workers);
}

static enum err read_workers(struct plan_room *p, const char *list, struct errbuf *e)
{
    enum err error = OK;
    p->rows = mem_calloc(ROWS_MAX, sizeof *p->rows);
    if (!p->rows) {
        return err_set(e, ERR_NOMEM, "no memory for the rows");
    }
    for (const char *at = list; error == OK && at;) {
        char item[32];
        const char *comma = strchr(at, ',');
        size_t n = comma ? (size_t)(comma - at) : strlen(at);
        (void)snprintf(item, sizeof item, "%.*s", n < sizeof item ? (int)n : 31, at);
        error = read_item(p, item, e);
        at = comma ? comma + 1 : NULL;
    }
    qsort(p->rows, p->n_rows, sizeof *p->rows, by_workers);
    return error;
}

static enum err read_link(const struct plan_options *o, struct forecast_config *asked,
                          struct errbuf *e)
{
    long slots = 1;
    double latency_ms = 0.2;
    enum err error = plan_rate("--bandwidth", o->bandwidth ? o->bandwidth : "1Gbit",
                               &asked->link_bytes_per_s, e);
    if (error == OK && o->slots) {
        error = args_number("--slots", o->slots, 1, LIMIT_SLOTS, &slots, e);
    }
    if (error == OK && o->latency) {
        error = real_number("--latency", o->latency, 0.0, 10000.0, &latency_ms, e);
    }
    asked->slots = (uint32_t)slots;
    asked->latency_s = latency_ms * 1e-3;
    asked->message_s = PLAN_MESSAGE_S;
    return error;
}

static enum err read_costs(const struct plan_options *o, struct plan_room *p, struct errbuf *e)
{
    struct plan_costs *c = &p->costs;
    double speed = 0.0;
    if (o->from) {
        return plan_costs_from(o->from, &p->work, c, e);
    }
    *c = (struct plan_costs){
        .adding_bytes_per_s = PLAN_ADDING_BYTES_PER_S,
        .finishing_bytes_per_s = PLAN_FINISHING_BYTES_PER_S,
        .flops_per_token = plan_flops(model_shape(p->setup.model), &p->setup.cfg->lora, &p->work)};
    enum err error = real_number("--tokens-per-s", o->speed, 1e-3, 1e9, &speed, e);
    if (error == OK && o->reduce) {
        error = plan_rate("--reduce", o->reduce, &c->adding_bytes_per_s, e);
    }
    c->seconds_per_token = error == OK ? 1.0 / speed : 0.0;
    return error;
}

/* Settings, data, units, costs. */
static enum err prepare(const struct plan_options *o, struct plan_room *p, struct errbuf *e)
{
    struct run_config *cfg = NULL;
    enum err error = read_workers(p, o->workers ? o->workers : "1..1000", e);
    if (error == OK) {
        error = read_link(o, &p->asked, e);
    }
    if (error == OK) {
        error = config_load(o->config, o->sets, o->n_sets, &cfg, e);
    }
    if (error == OK) {
        error = setup_open(cfg, NULL, true, &p->setup, e);
    }
    if (error == OK) {
        error = plan_work_make(&p->setup, &p->work, e);
    }
    if (error == OK) {
        error = read_costs(o, p, e);
    }
    return error;
}

static enum err ask(const struct plan_room *p, uint32_t workers, uint32_t slots,
                    struct forecast *out, struct errbuf *e)
{
    struct forecast_config cfg = p->asked;
    cfg.workers = workers;
    cfg.slots = slots;
    return forecast_make(&cfg, out, e);
}

/* The smallest number of workers whose link is the bound, between two rows. */
static enum err find_saturation(const struct plan_room *p, struct plan_result *r, struct errbuf *e)
{
    uint32_t i = 0;
    while (i < p->n_rows && !plan_is_saturated(&p->rows[i].forecast)) {
        i++;
    }
    if (i == p->n_rows) {
        return OK;
    }
    uint32_t below = i > 0 ? p->rows[i - 1].workers : p->rows[i].workers - 1;
    r->saturates_at = p->rows[i].workers;
    r->saturates_at_or_less = i == 0 && r->saturates_at > 1;
    while (r->saturates_at - below > 1) {
        struct forecast f;
        uint32_t middle = below + (r->saturates_at - below) / 2;
        enum err error = ask(p, middle, p->asked.slots, &f, e);
        if (error != OK) {
            return error;
        }
        if (plan_is_saturated(&f)) {
            r->saturates_at = middle;
        } else {
            below = middle;
        }
    }
    return OK;
}

static enum err predict(const struct plan_options *o, struct plan_room *p, struct plan_result *r,
                        struct errbuf *e)
{
    const struct lora_config *lora = &p->setup.cfg->lora;
    const struct model_shape *shape = o->model ? plan_shape(o->model) : model_shape(p->setup.model);
    struct forecast one;
    r->flops_per_token = plan_flops(shape, lora, &p->work);
    p->asked.n_steps = p->work.n_steps;
    p->asked.steps = p->work.steps;
    p->asked.floats = lora_count(shape, lora);
    p->asked.seconds_per_token =
        p->costs.seconds_per_token * r->flops_per_token / p->costs.flops_per_token;
    p->asked.adding_bytes_per_s = p->costs.adding_bytes_per_s;
    p->asked.finishing_bytes_per_s = p->costs.finishing_bytes_per_s;
    enum err error = ask(p, 1, 1, &one, e);
    for (uint32_t i = 0; i < p->n_rows && error == OK; i++) {
        error = ask(p, p->rows[i].workers, p->asked.slots, &p->rows[i].forecast, e);
    }
    if (error == OK) {
        error = find_saturation(p, r, e);
    }
    r->one_slot_s = one.total_s;
    r->useful_slots = setup_useful_slots(&p->setup);
    r->lora = lora;
    return error;
}

static enum err print(const struct plan_options *o, const struct plan_result *r, struct errbuf *e)
{
    struct str text = {0};
    if (o->json) {
        plan_json(r, &text);
    } else {
        plan_table(r, &text);
    }
    enum err error = str_ok(&text);
    if (error != OK) {
        error = err_set(e, error, "no memory for the table");
    } else if (fwrite(text.data, 1, text.len, stdout) != text.len || fflush(stdout) != 0) {
        error = err_set(e, ERR_IO, "cannot write the plan to stdout");
    }
    str_free(&text);
    return error;
}

int cli_plan(int argc, char **argv)
{
    struct plan_options o = {0};
    struct plan_room p = {0};
    struct errbuf e = {0};
    enum err error = read_options(&o, argc, argv, &e);
    if (error == ERR_STATE) {
        return CLI_OK;
    }
    if (error == OK) {
        error = prepare(&o, &p, &e);
    }
    if (error == OK) {
        struct model_description d = model_describe(p.setup.model);
        struct plan_result r = {.config = o.config,
                                .model = o.model ? o.model : d.name,
                                .run = o.from,
                                .work = &p.work,
                                .costs = &p.costs,
                                .asked = &p.asked,
                                .rows = p.rows,
                                .n_rows = p.n_rows};
        error = predict(&o, &p, &r, &e);
        if (error == OK) {
            error = print(&o, &r, &e);
        }
    }
    plan_work_free(&p.work);
    setup_free(&p.setup);
    mem_free(p.rows);
    return error == OK ? CLI_OK : cli_explain("pft plan", error, &e);
}
