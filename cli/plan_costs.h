/* plan_costs.h - what a token and a gradient cost: measured by a run, or given; and how a cost of
 * one model becomes that of another, by useful FLOPs. Owns: the table of shapes. Never: predicts.
 * Blocks on the disk while it reads a run. */
#ifndef PFT_PLAN_COSTS_H
#define PFT_PLAN_COSTS_H

#include <stdint.h>

#include "cli/plan_work.h"
#include "common/base/err.h"
#include "common/tensor/shape.h"

/* What a step costs a coordinator whose run is not measured: the reducer's bytes of gradients a
 * second, and its loop's time for a message (25,000 empty jobs a second of four messages). */
#define PLAN_ADDING_BYTES_PER_S 4e9
#define PLAN_FINISHING_BYTES_PER_S 1.5e9
#define PLAN_MESSAGE_S 1e-5

struct plan_costs {
    double seconds_per_token; /* of a slot, for the model it was measured with */
    double adding_bytes_per_s, finishing_bytes_per_s;
    double flops_per_token;         /* of that model; 0 = the config's own model */
    uint64_t first_step, last_step; /* measured ones */
    uint32_t least_slots, most_slots;
};

/* The steps of a run but its first, which loads and warms up (when there are others). flops: of the
 * run's model and adapter over the work given. ERR_REFUSED when the run kept no costs. */
MUST_USE enum err plan_costs_from(const char *run, const struct plan_work *work,
                                  struct plan_costs *costs, struct errbuf *e);

/* Useful FLOPs of a token, forward and backward: every frozen matrix twice (no gradient of its
 * own), LoRA's thin products three times, attention over what a token sees, the head where a row
 * has a label. */
double plan_flops(const struct model_shape *m, const struct lora_config *lora,
                  const struct plan_work *work);

/* The same of a token that is scored: forward alone, context and label rows as in plan_work. */
double plan_score_flops(const struct model_shape *m, const struct lora_config *lora, double context,
                        double label_rows);

/* The shape of "135M" (SmolLM2), "3B" (Llama 3.2) or "8B" (Llama 3.1); NULL for another name. */
const struct model_shape *plan_shape(const char *name);

/* Bytes a second from "1Gbit", "100Mbit/s", "125MB", "1.5GB/s": a number above 0 and a unit. */
MUST_USE enum err plan_rate(const char *option, const char *text, double *out, struct errbuf *e);

#endif
