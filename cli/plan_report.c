/* plan_report.c - the rows of a plan. */
#include "cli/plan_report.h"

#include <string.h>

bool plan_is_saturated(const struct forecast *f)
{
    return f->stopped || f->link_busy_s >= PLAN_SATURATED * f->total_s;
}

/* What a row is made of, per step. */
struct figures {
    double step_s, pairs_per_s, tokens_per_s, speed_up, efficiency;
    double jobs, bytes_out, bytes_in, link_out, link_in, link_busy;
    uint32_t slots;
};

static struct figures figures_of(const struct plan_result *r, const struct plan_row *row)
{
    const struct forecast *f = &row->forecast;
    double steps = r->work->n_steps - 1;
    double s = f->total_s > 0.0 ? f->total_s : 1.0;
    struct figures g = {.step_s = f->total_s / steps,
                        .pairs_per_s = (double)r->work->pairs / s,
                        .tokens_per_s = (double)r->work->tokens / s,
                        .speed_up = r->one_slot_s / s,
                        .jobs = (double)f->jobs / steps,
                        .bytes_out = (double)f->bytes_out / steps,
                        .bytes_in = (double)f->bytes_in / steps,
                        .link_out = f->out_busy_s / s,
                        .link_in = f->in_busy_s / s,
                        .link_busy = f->link_busy_s / s,
                        .slots = row->workers * r->asked->slots};
    g.efficiency = g.speed_up / g.slots;
    return g;
}

static void add_modules(const struct lora_config *lora, const char *between, const char *quote,
                        struct str *out)
{
    const char *before = "";
    for (int i = 0; i < LORA_MODULES; i++) {
        if (lora->targets & 1u << i) {
            str_addf(out, "%s%s%s%s", before, quote, lora_module_name((enum lora_module)i), quote);
            before = between;
        }
    }
}

static void add_head(const struct plan_result *r, struct str *out)
{
    const struct forecast_config *c = r->asked;
    double steps = r->work->n_steps - 1;
    str_addf(out, "%s: %s, LoRA r %u on ", r->config, r->model, r->lora->r);
    add_modules(r->lora, " ", "", out);
    str_addf(out, ", parameters %.1f MB, a gradient %.1f MB\n", (double)c->floats * 4e-6,
             (double)c->floats * 8e-6);
    str_addf(out, "cost      %.4g ms a token and slot", c->seconds_per_token * 1e3);
    if (r->run) {
        str_addf(out, ", from steps %llu to %llu of %s on %u",
                 (unsigned long long)r->costs->first_step, (unsigned long long)r->costs->last_step,
                 r->run, r->costs->least_slots);
        if (r->costs->most_slots != r->costs->least_slots) {
            str_addf(out, " to %u", r->costs->most_slots);
        }
        str_addf(out, " slot%s", r->costs->most_slots == 1 ? "" : "s");
    }
    str_addf(out, "; times %.4g by useful FLOPs (%.3g GFLOP a token)\n",
             r->flops_per_token / r->costs->flops_per_token, r->flops_per_token * 1e-9);
    str_addf(out, "          adding gradients %.2f GB/s, finishing a step %.2f GB/s\n",
             c->adding_bytes_per_s * 1e-9, c->finishing_bytes_per_s * 1e-9);
    str_addf(out, "link      %.4g MB/s each way, latency %.3g ms\n", c->link_bytes_per_s * 1e-6,
             c->latency_s * 1e3);
    str_addf(
        out,
        "steps     the first %u whole ones after a warm-up step: %.0f tokens, %.1f pairs, %.1f "
        "units a step\n\n",
        r->work->n_steps - 1, (double)r->work->tokens / steps, (double)r->work->pairs / steps,
        (double)r->work->units / steps);
}

static void add_row(const struct plan_result *r, const struct plan_row *row, struct str *out)
{
    struct figures g = figures_of(r, row);
    if (row->forecast.stopped) {
        str_addf(out, "%7u %6u  the run would stop: %s\n", row->workers, g.slots,
                 row->forecast.text);
        return;
    }
    str_addf(out,
             "%7u %6u %5u %9.3f %8.2f %9.0f %8.2f %5.0f%% %7.1f %9.2f %9.2f %4.0f%% %4.0f%% "
             "%4.0f%%",
             row->workers, g.slots, row->forecast.slots_used, g.step_s, g.pairs_per_s,
             g.tokens_per_s, g.speed_up, g.efficiency * 100.0, g.jobs, g.bytes_out * 1e-6,
             g.bytes_in * 1e-6, g.link_out * 100.0, g.link_in * 100.0, g.link_busy * 100.0);
    str_addf(out, " %6llu %5llu\n", (unsigned long long)row->forecast.backups,
             (unsigned long long)row->forecast.lost);
}

static void add_foot(const struct plan_result *r, struct str *out)
{
    str_addf(out,
             "\nuseful slots: %u, the most units of a step in the first epoch; more stand idle\n",
             r->useful_slots);
    if (r->saturates_at > 0) {
        str_addf(out,
                 "the coordinator's link is the bound from %u workers on%s (busy for %.0f %% of a "
                 "step or more)\n",
                 r->saturates_at, r->saturates_at_or_less ? " or fewer" : "",
                 PLAN_SATURATED * 100.0);
    } else {
        str_addf(out, "the coordinator's link is not the bound for up to %u workers\n",
                 r->rows[r->n_rows - 1].workers);
    }
}

void plan_table(const struct plan_result *r, struct str *out)
{
    add_head(r, out);
    str_addf(out, "%7s %6s %5s %9s %8s %9s %8s %6s %7s %9s %9s %5s %5s %5s %6s %5s\n", "workers",
             "slots", "used", "step s", "pairs/s", "tokens/s", "speed-up", "effic.", "jobs",
             "out MB", "in MB", "out", "in", "link", "copies", "lost");
    for (uint32_t i = 0; i < r->n_rows; i++) {
        add_row(r, &r->rows[i], out);
    }
    add_foot(r, out);
}

static void add_json_row(const struct plan_result *r, const struct plan_row *row, struct str *out)
{
    struct figures g = figures_of(r, row);
    str_addf(out, "{\"workers\":%u,\"slots\":%u,\"stopped\":", row->workers, g.slots);
    if (row->forecast.stopped) {
        str_add_json(out, row->forecast.text, strlen(row->forecast.text));
        str_add(out, ",\"saturated\":true}");
        return;
    }
    str_addf(out,
             "null,\"slots_used\":%u,\"step_s\":%.9g,\"pairs_per_s\":%.9g,\"tokens_per_s\":%.9g,"
             "\"speed_up\":%.9g,\"efficiency\":%.9g,\"jobs\":%.9g",
             row->forecast.slots_used, g.step_s, g.pairs_per_s, g.tokens_per_s, g.speed_up,
             g.efficiency, g.jobs);
    str_addf(out,
             ",\"bytes_out\":%.15g,\"bytes_in\":%.15g,\"link_out\":%.9g,\"link_in\":%.9g,"
             "\"link_busy\":%.9g,\"copies\":%llu,\"lost\":%llu,\"saturated\":%s,\"steps_s\":[",
             g.bytes_out, g.bytes_in, g.link_out, g.link_in, g.link_busy,
             (unsigned long long)row->forecast.backups, (unsigned long long)row->forecast.lost,
             plan_is_saturated(&row->forecast) ? "true" : "false");
    for (uint32_t i = 1; i < r->work->n_steps; i++) {
        str_addf(out, "%s%.9g", i > 1 ? "," : "", row->forecast.seconds[i]);
    }
    str_add(out, "]}");
}

static void add_numbers(const struct plan_result *r, struct str *out)
{
    str_add(out, ",\"step_numbers\":[");
    for (uint32_t i = 1; i < r->work->n_steps; i++) {
        str_addf(out, "%s%llu", i > 1 ? "," : "", (unsigned long long)r->work->numbers[i]);
    }
    str_add(out, "],\"saturates_at\":");
}

void plan_json(const struct plan_result *r, struct str *out)
{
    const struct forecast_config *c = r->asked;
    double steps = r->work->n_steps - 1;
    str_add(out, "{\"schema\":1,\"config\":");
    str_add_json(out, r->config, strlen(r->config));
    str_add(out, ",\"model\":");
    str_add_json(out, r->model, strlen(r->model));
    str_addf(out, ",\"lora\":{\"r\":%u,\"targets\":[", r->lora->r);
    add_modules(r->lora, ",", "\"", out);
    str_addf(out, "],\"floats\":%zu},\"from\":", c->floats);
    if (r->run) {
        str_add_json(out, r->run, strlen(r->run));
    } else {
        str_add(out, "null");
    }
    str_addf(out,
             ",\"seconds_per_token\":%.9g,\"flops_per_token\":%.9g,\"flops_ratio\":%.9g,"
             "\"adding_bytes_per_s\":%.9g,\"finishing_bytes_per_s\":%.9g,"
             "\"link_bytes_per_s\":%.9g,\"latency_s\":%.9g",
             c->seconds_per_token, r->flops_per_token,
             r->flops_per_token / r->costs->flops_per_token, c->adding_bytes_per_s,
             c->finishing_bytes_per_s, c->link_bytes_per_s, c->latency_s);
    str_addf(out,
             ",\"steps\":%u,\"step\":{\"tokens\":%.9g,\"pairs\":%.9g,\"units\":%.9g},"
             "\"useful_slots\":%u,\"one_slot_step_s\":%.9g",
             r->work->n_steps - 1, (double)r->work->tokens / steps, (double)r->work->pairs / steps,
             (double)r->work->units / steps, r->useful_slots, r->one_slot_s / steps);
    add_numbers(r, out);
    if (r->saturates_at > 0) {
        str_addf(out, "%u", r->saturates_at);
    } else {
        str_add(out, "null");
    }
    str_add(out, ",\"rows\":[");
    for (uint32_t i = 0; i < r->n_rows; i++) {
        str_add(out, i > 0 ? ",\n" : "\n");
        add_json_row(r, &r->rows[i], out);
    }
    str_add(out, "]}\n");
}
