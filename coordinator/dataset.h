/* dataset.h - a data file as scenarios, their options and their groups of pairs.
 * Owns: every text of the file. Never: prompts, tokens. Place: config -> dataset -> forest.
 * VCD files: a scenario has 2 to 64 options, each carrying one value of the scenario's axis. Pair
 * files: the instruction is the scenario, response_a and response_b its two options, extra_a and
 * extra_b stand in place of the preference. Behaviour (BQD) files: the question without its list of
 * choices is the scenario, the words of the matching answer the option of side a, those of the
 * other the option of side b, on the axis that the file's name begins with. Retention files: the
 * same with the correct and the incorrect answer, without axis and preference; for evaluation only.
 * History files: a scenario with options whose values are not known (all of side a), with or
 * without an axis; for inference only. VCD and history items may say what a user picked.
 * Questions and sft files: a prompt without preference, of sft files with its answer as the one
 * option (side a); for evaluation only.
 * A pair = an option of side a with one of side b.
 * Read-only once loaded; a dataset does not need the values it was loaded with. */
#ifndef PFT_DATASET_H
#define PFT_DATASET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "coordinator/config.h"
#include "coordinator/data_format.h"
#include "coordinator/values.h"

#define DATASET_NO_AXIS UINT32_MAX

struct data_text {
    const char *text; /* UTF-8, NUL-terminated, no NUL inside */
    size_t bytes;     /* without the NUL */
};

struct data_option {
    struct data_text text;
    uint32_t side; /* 0 = a, 1 = b */
};

struct data_scenario {
    struct data_text text;
    struct data_text extra[2]; /* pair, retention, questions and sft files; else text NULL */
    struct data_text category; /* retention files, "" where there is none; else text NULL */
    uint32_t axis;             /* index into the values; DATASET_NO_AXIS without preference names */
    uint32_t n_options;
    const struct data_option *options; /* in file order */
    bool chosen;                       /* the item says which option a user picked: */
    uint32_t choice;                   /* this one */
    uint32_t line, column;             /* where the item begins, from 1 */
};

struct data_pair {
    uint32_t a, b; /* options of the group's scenario */
};

struct data_group {
    uint32_t scenario;
    uint32_t first_pair, n_pairs; /* in dataset.pairs; a-major, file order */
};

struct dataset {
    enum data_format format;
    char *path; /* as given */
    uint32_t n_scenarios;
    const struct data_scenario *scenarios; /* in file order */
    uint32_t n_groups;
    const struct data_group *groups; /* in file order */
    uint32_t n_pairs;
    const struct data_pair *pairs;
    uint32_t one_sided; /* scenarios without options of both sides: evaluated, never in a group */
    uint32_t held_out;  /* the first ones, in no group either: what is fitted is fitted on them */
};

/* Reads a data file (JSON array or JSON Lines, the format told by content). values may be NULL for
 * pair and retention files. grouping: one group per scenario, or one per pair. Refused with file,
 * line, column, field and what was expected; an unknown value with the nearest known one. Blocks on
 * the disk; the caller frees it. */
MUST_USE enum err dataset_load(const char *path, const struct values *values,
                               enum config_group grouping, struct dataset **out, struct errbuf *e);

/* The same from text in memory. */
MUST_USE enum err dataset_parse(const char *text, size_t bytes, const char *name,
                                const struct values *values, enum config_group grouping,
                                struct dataset **out, struct errbuf *e);

/* Takes the first n scenarios, or all there are, out of the groups. */
void dataset_hold_out(struct dataset *d, uint32_t n);
/* How many scenarios, from the first on, may serve to fit something: those that were held out, or
 * all of them. */
uint32_t dataset_fitting(const struct dataset *d);

/* How many options of a scenario carry pole `side`, and the nth of them, n from 0 below that. */
uint32_t dataset_side_count(const struct data_scenario *s, uint32_t side);
uint32_t dataset_side_option(const struct data_scenario *s, uint32_t side, uint32_t nth);
/* A question has a right and a wrong answer only where both poles are on offer. */
bool dataset_offers_both(const struct data_scenario *s);

void dataset_free(struct dataset **d); /* NULL inside is fine */

#endif
