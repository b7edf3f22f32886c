/* phases_state.h - what phases.c and phases_status.c share. Private to them. */
#ifndef PFT_PHASES_STATE_H
#define PFT_PHASES_STATE_H

#include "coordinator/ask.h"
#include "coordinator/ask_lines.h"
#include "coordinator/batch.h"
#include "coordinator/eval.h"
#include "coordinator/export.h"
#include "coordinator/phases.h"
#include "coordinator/reducer.h"
#include "coordinator/scribe.h"
#include "coordinator/status_board.h"

enum phase {
    PHASE_STARTING,
    PHASE_EVAL_BEFORE,
    PHASE_REFERENCE,
    PHASE_TRAIN,
    PHASE_EVAL_AFTER,
    PHASE_EXPORT,
    PHASE_ASK,
    PHASE_DONE,
};

struct phases {
    struct start *start;
    const char *run;
    bool eval_only;
    struct server *server;
    struct reducer *reducer;
    struct scribe *scribe;
    struct mailbox *reduced, *written;
    enum phase phase;
    enum phases_end end;
    struct errbuf why;
    struct batch open, coming;
    struct eval *eval, *scored;
    struct eval *foreseen; /* the closing one, made while the first step is computed */
    enum eval_pass pass;   /* of the open evaluation */
    uint32_t eval_vectors; /* of the value that is added in its open batch (value_vectors.h) */
    bool eval_more;        /* the pass has trees of later values */
    bool eval_adapter;     /* its main pass is scored with the adapter */
    uint32_t kept_parts;   /* scores written to run.db, of this start */
    uint64_t kept_ms;      /* when last */
    uint32_t evals;
    uint64_t step;      /* the open one, or the next to open */
    bool step_open;     /* from its opening to its end in the reducer */
    uint64_t published; /* version */
    uint64_t committed; /* steps */
    uint32_t writes;    /* handed to the scribe and not reported yet, but for the export */
    void (*scribe_idle_then)(struct phases *p);
    struct params_snapshot *last; /* the published one */
    struct params_snapshot *held; /* relaxed run: waits for its commit */
    struct model_description description;
    struct export_input input;
    uint32_t useful_slots; /* of a training step */
    uint32_t warned_slots;
    bool stopping, degraded, disk_failed;
    char trouble[WIRE_TEXT_BYTES];
    double loss, kl, trained_tokens, eval_seconds;
    double eval_tokens; /* of one evaluation; 0 while unknown, and when there is none */
    double score_s;     /* of a token in the last evaluation; 0 while none is done */
    uint64_t opened_ms, eval_from_ms, from_ms;
    struct journal_cost cost; /* of the open step so far */
    struct board board;
    struct str json;
    struct str audits;              /* as last written to run.db */
    uint64_t suspect_from;          /* UINT64_MAX: none */
    char suspects[WIRE_TEXT_BYTES]; /* steps not to be trusted */
    struct mailbox *questions;      /* PHASE_ASK: lines, of asking */
    struct ask_lines *asking;
    struct ask *ask;   /* the one that is open */
    struct ask *asked; /* the one before: its trees are borrowed until the next batch is open */
};

void phases_fail(struct phases *p, const char *why);
void phases_when_written(struct phases *p);
/* Gives the batch in p->coming to the server; the earlier one is freed only then. */
void phases_open_batch(struct phases *p, bool adapter, uint64_t version);
/* phases_eval.c: makes the closing evaluation beforehand when its size is not known yet; opens the
 * next one; the leaves of one tree; the answers of one job; writes down what came and is not yet
 * kept; the open batch is scored. */
void phases_eval_foresee(struct phases *p);
void phases_eval_begin(struct phases *p, bool adapter);
void phases_eval_take(struct phases *p, const struct tree *tree, const double *leaf_log_p);
void phases_eval_answers(struct phases *p, const struct job *job, const struct blob *payload);
void phases_eval_keep(struct phases *p);
void phases_eval_scored(struct phases *p);
/* The evaluation p->eval is complete. */
void phases_evaluated(struct phases *p);
/* phases_reference.c: begins to score; the leaves of one tree; all of them are there. */
void phases_reference_begin(struct phases *p);
void phases_reference_take(struct phases *p, uint32_t tree, const double *leaf_log_p);
void phases_reference_done(struct phases *p);
/* phases_ask.c: answers lines of stdin until there are no more; what comes of the open one. */
void phases_ask_begin(struct phases *p);
void phases_ask_take(struct phases *p, const struct job *job, const struct blob *payload);
void phases_ask_leaves(struct phases *p, uint32_t tree, const double *leaf);
void phases_ask_restart(struct phases *p);
void phases_ask_done(struct phases *p);
void phases_ask_close(struct phases *p);
/* phases_audit.c: what earlier starts found; steps hold results of a worker that lost an audit;
 * what is known of the workers is written down where it changed. */
void phases_audit_open(struct phases *p);
void phases_suspect(void *ctx, uint64_t from, uint64_t to, const char *text);
void phases_keep_audits(struct phases *p);
/* Publishes p->last and the vectors that steer behind it. */
enum err phases_publish_steered(struct phases *p);
/* The same with the vectors of a value (value_vectors.h; 0: none), as one version more. */
enum err phases_publish_value(struct phases *p, uint32_t code);
void phases_finish(struct phases *p);
/* Opens the first step that is not committed. */
void phases_train(struct phases *p);
void phases_reduced(void *ctx);
void phases_written(void *ctx);
void phases_status(void *ctx, struct status *status);

#endif
