/* eval_kind.h - what an evaluation asks, behind one interface: trees from data, and from their
 * leaves' log-probabilities answers. One file per kind (eval_select.c, ...); eval.c joins the rest:
 * scoring, intervals, JSON.
 * A kind may ask for answers in words instead: requests from data, counts from replies.
 * Owns: the table of kinds. Never: jobs, sockets, SQL. A kind keeps no state: what answer needs it
 * finds in the input and in the leaves. All on the loop thread. */
#ifndef PFT_EVAL_KIND_H
#define PFT_EVAL_KIND_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/wire/message.h"
#include "coordinator/eval_result.h"
#include "coordinator/eval_trees.h"
#include "coordinator/readout.h"

struct run_config;
struct values;
struct dataset;
struct tokenizer;
struct generate;

enum eval_task {
    EVAL_SELECT,
    EVAL_BEHAVIOUR,
    EVAL_RETENTION,
    EVAL_HISTORY,
    EVAL_DIVERGENCE,
    EVAL_VALUES,
    EVAL_GENERATED, /* the questions of select, answered in words */
    EVAL_TASKS
};

enum { EVAL_SHOTS_MAX = 8, EVAL_LAMBDAS_MAX = 16 };

/* What is asked for. */
struct eval_request {
    enum eval_task task;
    uint32_t limit; /* the first scenarios of the data file; 0 = all */
    uint32_t fit;   /* select: training scenarios that thresholds are fitted on; 0 = none */
    uint32_t n_lambdas;
    double lambdas[EVAL_LAMBDAS_MAX]; /* select: shares of the first pole in a mix, ascending */
    bool only_mix;                    /* no readout but the mixes */
    bool before;                      /* of a run, before training: eval.before_readouts alone */
    uint64_t seed;                    /* history: of the simulated users */
    uint32_t n_shots;
    uint32_t shots[EVAL_SHOTS_MAX]; /* history: earlier choices shown, ascending */
    bool paired;                    /* scored with the adapter off too, for the paired difference */
    bool by_vector; /* select: the vectors of a value are added, its name is not in the prompt */
    bool own_axis;  /* values: every scenario under the two values of its own axis alone */
};

/* Borrowed for as long as the evaluation lives; the request is copied. */
struct eval_input {
    struct eval_request ask;
    const struct run_config *cfg; /* eval_readouts: those asked for */
    const struct values *values;  /* NULL: pair and retention files only */
    const struct dataset *test;
    const struct dataset *train; /* NULL: no bag of words, no thresholds */
    const struct tokenizer *tok;
    uint32_t vocab; /* of the model; answers in words only */
};

struct eval_kind {
    const char *name;      /* --task */
    const char *formats;   /* of the data files it reads, for messages */
    uint32_t readouts;     /* possible ones, bit 1 << enum readout; 0: it has its own */
    uint32_t usual;        /* those taken when none is named */
    enum wire_score score; /* what of a leaf is wanted: log p unless said otherwise */
    bool (*reads)(const struct dataset *d);
    /* Adds the trees to score. */
    enum err (*build)(const struct eval_input *in, struct eval_trees *trees, struct errbuf *e);
    /* Every tree has been scored in this pass: what the model answered. */
    enum err (*answer)(const struct eval_input *in, const struct eval_trees *trees,
                       enum eval_pass pass, struct eval_results *out, struct errbuf *e);
    /* In place of answer, for a kind that asks nothing and hands its scores on: appends members to
     * the JSON object. */
    enum err (*report)(const struct eval_input *in, const struct eval_trees *trees,
                       struct str *json, struct errbuf *e);
    /* In place of build and answer, for a kind of answers in words: adds its requests; every one
     * has been answered: what the model said. */
    enum err (*ask)(const struct eval_input *in, struct generate *g, struct errbuf *e);
    enum err (*read)(const struct eval_input *in, const struct generate *g,
                     struct eval_results *out, struct errbuf *e);
};

const struct eval_kind *eval_kind(enum eval_task task);
/* By name; -1 when unknown. */
int eval_task_from(const char *name);
/* The one that asks what the file is made for. */
enum eval_task eval_task_for(const struct dataset *d);

/* Scenarios that are asked about: the file's, or its first `limit` ones. */
uint32_t eval_limit(const struct eval_input *in);
/* Readouts asked for that the kind has. */
uint32_t eval_readouts(const struct eval_input *in);

extern const struct eval_kind eval_select, eval_generated, eval_behaviour, eval_retention,
    eval_history, eval_divergence, eval_values;

#endif
