/* plan_report.h - what pft plan found, as a table and as JSON (docs/plan.md). Owns: nothing. */
#ifndef PFT_PLAN_REPORT_H
#define PFT_PLAN_REPORT_H

#include "cli/plan_costs.h"
#include "cli/plan_work.h"
#include "common/base/str.h"
#include "coordinator/forecast.h"

/* A link is taken to be the bound of a step from this share of the step on. */
#define PLAN_SATURATED 0.9

struct plan_row {
    uint32_t workers;
    struct forecast forecast;
};

struct plan_result {
    const char *config;
    const char *model; /* what the shape is called */
    const char *run;   /* --from; NULL: --tokens-per-s */
    const struct lora_config *lora;
    const struct plan_work *work;
    const struct plan_costs *costs;
    const struct forecast_config *asked; /* costs of the shape, link, slots of a worker */
    double flops_per_token;
    uint32_t useful_slots;
    double one_slot_s;         /* the same steps on a worker of one slot */
    uint32_t saturates_at;     /* workers; 0: at none of those asked for */
    bool saturates_at_or_less; /* it is the smallest number asked for */
    const struct plan_row *rows;
    uint32_t n_rows;
};

void plan_table(const struct plan_result *r, struct str *out);
void plan_json(const struct plan_result *r, struct str *out);

bool plan_is_saturated(const struct forecast *f);

#endif
