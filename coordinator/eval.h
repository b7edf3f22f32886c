/* eval.h - an evaluation as SCORE jobs: builds the trees of every question, takes the leaves'
 * log-probabilities back, and turns them into shares with intervals.
 * Owns: the questions of one data file, their trees, the bag-of-words row. Never: jobs, sockets.
 * Place: run (or pft eval) makes one, the queue scores its trees, run.db keeps its JSON.
 * All on the loop thread; eval_new tokenises and may take a second on a large file. */
#ifndef PFT_EVAL_H
#define PFT_EVAL_H

#include <stdint.h>

#include "common/base/err.h"
#include "common/base/str.h"
#include "common/tree/tree.h"
#include "coordinator/readout.h"

struct run_config;
struct values;
struct dataset;
struct tokenizer;
struct eval;

/* Questions of `test` under the readouts of `readouts` (bit 1 << enum readout), prompts as cfg
 * says. train may be NULL: then the bag-of-words row is null. Everything given must outlive the
 * eval. */
MUST_USE enum err eval_new(const struct run_config *cfg, const struct values *values,
                           const struct dataset *test, const struct dataset *train,
                           const struct tokenizer *tok, uint32_t readouts, struct eval **out,
                           struct errbuf *e);

/* The trees to score, *n of them, in a fixed order; tree.id is their index. Owned by the eval. */
const struct tree *eval_trees(const struct eval *ev, uint32_t *n);

/* Takes the log-probabilities of a tree's leaves (n_leaves doubles); the same tree may come twice.
 */
void eval_take(struct eval *ev, uint32_t tree, const double *leaf_logp);

/* After every tree has come: all results as one JSON object
 * {"n_scenarios":..., "results":[{"readout","n","accuracy","ci95":[lo,hi],"per_value":{name:{"n",
 * "accuracy","ci95"}},"bag_of_words":same shape or null,"questions":[[scenario,axis,side,pick,
 * correct],...]},...]}. ERR_STATE when a tree is missing or a log-probability is not finite. */
MUST_USE enum err eval_finish(struct eval *ev, struct str *json, struct errbuf *e);

void eval_free(struct eval **ev);

#endif
