/* plan.h - which prompt groups a step trains, with which weights, and how trees are packed into
 * units. Owns: the shuffle, the step count, unit ids, the size of jobs. Never: trees, text,
 * workers, memory or time in a decision about units (bit-identity, DESIGN §4). Place: dataset ->
 * plan -> forest builds the trees -> plan_pack -> queue. Pure; loop thread.
 *
 * Steps count from 0; step s is computed on parameters version s and makes version s + 1.
 * An epoch is ceil(groups / batch_groups) steps, the last one smaller; every epoch has a shuffle of
 * its own, keyed by (seed, epoch). T steps in all: max_steps when it is not 0, else epochs * steps
 * of an epoch; with max_steps the epochs go on as long as needed.
 * Weights, multiplied into the losses of a group (forest takes them):
 *   PLAN_MEAN   w_a = w_b = 1 / groups of the step
 *   PLAN_PAPER  w_side = labels_side(group) / labels_side(micro-batch) / micro-batches of the step;
 *               a micro-batch is micro_groups consecutive groups of the step; a group is one pair
 * A unit is a list of whole trees, packed in order while their rows stay <= unit_tokens; a larger
 * tree is a unit alone. Unit id = tag << 32 | index; the tag of a training step is the step. */
#ifndef PFT_PLAN_H
#define PFT_PLAN_H

#include <stdint.h>

#include "common/base/err.h"

enum plan_normalisation { PLAN_MEAN, PLAN_PAPER };

#define PLAN_EVAL_TAG 0x80000000u  /* tags from here on are evaluations: EVAL_TAG | number */
#define PLAN_STEPS_MAX (1u << 30)  /* steps of a run */
#define PLAN_PACK_UNITS (1u << 20) /* units of an evaluation */

struct plan_config {
    uint64_t seed;
    uint64_t max_steps; /* 0: epochs decides */
    uint32_t epochs;
    uint32_t batch_groups;
    uint32_t unit_tokens;
    uint32_t micro_groups; /* PLAN_PAPER; 4 in the paper */
    enum plan_normalisation normalisation;
};

/* What the plan must know of a prompt group. */
struct plan_group {
    uint32_t rows;     /* tokens of its tree(s): for the number of useful slots only */
    uint32_t pairs;    /* PLAN_PAPER: must be 1 */
    uint32_t labels_a; /* answer tokens of side a; PLAN_PAPER only */
    uint32_t labels_b;
};

struct plan_item {
    uint32_t group; /* index into the groups given */
    float w_a, w_b;
};

struct plan_unit {
    uint64_t id;
    uint32_t first, count; /* trees first .. first + count - 1 of the list given */
    uint32_t rows;
};

struct plan;

/* Copies cfg and groups. ERR_RANGE names the setting that is out of bounds. */
MUST_USE enum err plan_new(const struct plan_config *cfg, const struct plan_group *groups,
                           uint32_t n_groups, struct plan **out, struct errbuf *e);
void plan_free(struct plan **plan);

uint64_t plan_steps(const struct plan *plan);       /* T */
uint64_t plan_epoch_steps(const struct plan *plan); /* steps of one epoch */

/* The groups of a step in tree order; items has room for batch_groups, *n is set. step < T. */
void plan_step(struct plan *plan, uint64_t step, struct plan_item *items, uint32_t *n);

/* The most slots a step can keep busy: the largest unit count over the steps of the first epoch. */
uint32_t plan_useful_slots(struct plan *plan);

/* Packs n trees of rows[i] tokens into units, none of them with trees on both sides of tree `edge`
 * (n: no edge); *units is the caller's (mem_free). A training tag with more than LIMIT_STEP_UNITS
 * units is ERR_RANGE, naming unit_tokens and train.batch_groups. */
MUST_USE enum err plan_pack(const uint32_t *rows, uint32_t n, uint32_t edge, uint32_t unit_tokens,
                            uint32_t tag, struct plan_unit **units, uint32_t *n_units,
                            struct errbuf *e);

/* What the size of the next job is decided from. */
struct plan_load {
    uint32_t units_left; /* units that wait */
    uint64_t rows_left;  /* their tokens */
    uint64_t left_ns;    /* what they cost one slot, as measured; 0 = not measured yet */
    uint64_t rows_open;  /* tokens of all units that are not counted yet, >= rows_left */
    uint32_t slots;      /* that may work */
    uint64_t target_ns;  /* wanted length of a job */
    uint64_t way_ns;     /* what one result of a job costs on its way into the sum; 0 = nothing */
};

/* Tokens for the next job, which takes at least one unit: half an even share of what is left, so
 * that jobs shrink towards the end of a step and slots finish together, but no longer than
 * target_ns. All slots send their results by one way: a job shorter than slots * way_ns would
 * only wait for it, so jobs do not get shorter than that while an even share of all that is not
 * counted yet allows it. */
uint64_t plan_job_rows(const struct plan_load *load);

#endif
