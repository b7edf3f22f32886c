/* eval.h - an evaluation as SCORE jobs, or GENERATE jobs (eval_generate): the trees of every
 * question, their leaves' log-probabilities back, and the shares with intervals that come of them.
 * What is asked is the kind's (eval_kind.h). Owns: the trees and their scores. Never: jobs,
 * sockets. Place: run (or pft eval) makes one, the queue scores its trees, run.db keeps its JSON.
 * All on the loop thread; eval_new tokenises and may take a second on a large file. */
#ifndef PFT_EVAL_H
#define PFT_EVAL_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/str.h"
#include "common/tree/tree.h"
#include "coordinator/eval_kind.h"
#include "coordinator/generate.h"

struct eval;

/* ERR_REFUSED: the file is not one that the kind reads, or it has none of the readouts asked for.
 */
MUST_USE enum err eval_new(const struct eval_input *in, struct eval **out, struct errbuf *e);

/* The trees to score, *n of them, in a fixed order; tree.id is their index. Owned by the eval. */
const struct tree *eval_trees(const struct eval *ev, uint32_t *n);

/* The vectors that are added while a tree is scored (value_vectors.h); 0: those of every tree. */
uint32_t eval_vectors(const struct eval *ev, uint32_t tree);

/* What of a leaf is to be scored. */
enum wire_score eval_score(const struct eval *ev);

/* Takes the log-probabilities (or what eval_score says) of a tree's leaves (n_leaves doubles); the
 * same tree may come twice. */
void eval_take(struct eval *ev, enum eval_pass pass, uint32_t tree, const double *leaf_logp);

/* The requests of a pass, for a kind that is answered in words: the caller has them answered. NULL
 * for all other kinds; such a kind has no trees. */
struct generate *eval_generate(const struct eval *ev, enum eval_pass pass);

/* After every tree (or answer) has come, with ask.paired in both passes: all results as one JSON
 * object
 * {"task", "n_scenarios", "results": [...]} (eval_result.h, docs/evaluation.md). ERR_STATE when a
 * tree is missing or a log-probability is not finite. */
MUST_USE enum err eval_finish(struct eval *ev, struct str *json, struct errbuf *e);

void eval_free(struct eval **ev); /* NULL inside is fine */

#endif
