/* start.h - how a run begins or goes on: the run folder, its database, the settings kept in it, the
 * parameters as of the last committed step. Owns: the journal and the parameters until phases take
 * them. Never: sockets, threads. Blocks on the disk; before the loop starts.
 *
 * meta in run.db: run_id · config (dump) · values (text) · model_hash · model_name ·
 * model_quantisation · kernels · precision · fixed_text (what must not change) · fixed (its
 * SHA-256) · order (SHA-256 of the task it is run for) · probe · starts ·
 * audits · suspects (a step and a text, of audit.h)
 * evals in run.db: before · after (or eval) · reference · scores/... (score_book.h) */
#ifndef PFT_START_H
#define PFT_START_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/hash.h"
#include "coordinator/eval_kind.h"
#include "coordinator/journal.h"
#include "coordinator/params.h"
#include "coordinator/score_book.h"
#include "coordinator/setup.h"
#include "coordinator/value_vectors.h"

struct start_options {
    const char *config; /* path; NULL with from: the config of that run */
    const char *const *sets;
    int n_sets;
    const char *run;   /* folder */
    const char *order; /* digest of the task that it is run for; NULL: none */
    bool resume;
    bool goes_back; /* with resume: to from_step, and on from there */
    uint64_t from_step;
    bool eval_only;          /* no training: score once and leave */
    const char *from;        /* eval_only: the run whose adapter is scored; NULL: adapter off */
    struct eval_request ask; /* eval_only */
    bool answers; /* with eval_only: no evaluation either, questions from stdin (ask.h) */
    const char *const *steers; /* eval_only: specs of control_vector_load */
    int n_steers;
    const char *steer_values; /* eval_only: a file of value_vectors_load; NULL: none */
    bool count;               /* eval_only: nothing will be scored */
};

struct start {
    struct setup setup;
    bool goes_back; /* as in the options, like the next */
    uint64_t from_step;
    bool fresh; /* run.db was made just now: to be discarded when the run cannot begin */
    struct journal *journal;
    struct params *params; /* version = committed steps */
    bool adapter;          /* eval_only: score with the adapter */
    struct eval_request ask;
    struct score_book *scores; /* what run.db holds of earlier evaluations */
    bool answers;              /* as in the options */
    float *steer;              /* [L][D] that is added behind the layers; NULL: nothing */
    uint8_t steer_digest[HASH_XXH128_BYTES];
    struct value_vectors *value_vectors; /* added for the value that is asked about; NULL: none */
    char run_id[WIRE_NAME_BYTES];
    char order[HASH_SHA256_HEX]; /* "" without one */
    uint64_t starts;
    bool has_before, has_after; /* evaluations that run.db holds */
    bool has_probe;
    uint8_t probe[WIRE_DIGEST_BYTES];
    struct str audits;   /* what earlier starts knew of the workers (audit.h) */
    struct str suspects; /* first step, a space, text: steps not to be trusted; "" for none */
};

/* ERR_BUSY: another coordinator holds the folder. ERR_REFUSED: the folder holds a run and resume is
 * not set, or the settings differ from those the run was made with. */
MUST_USE enum err start_open(const struct start_options *o, struct start *s, struct errbuf *e);
/* The second half of it, once s->journal is open and s->setup made: writes the settings down,
 * counts the start, finds probe and evaluations, brings the parameters to the last committed step.
 */
MUST_USE enum err start_go_on(const char *run, struct start *s, struct errbuf *e);
/* ERR_REFUSED: the run was begun for another order. One that keeps none (an earlier version)
 * passes.
 */
MUST_USE enum err start_check_order(struct journal *j, const char *run, const char *order,
                                    struct errbuf *e);
void start_free(struct start *s); /* fine on a zeroed struct */

#endif
