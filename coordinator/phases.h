/* phases.h - what a run does, one phase after another, and when it is over.
 *
 *   EVAL_BEFORE   score the test file with the adapter off      (eval.before, once per run)
 *   REFERENCE     score the training answers with the adapter off (train.objective: dpo, once per
 * run) TRAIN         plan -> queue -> reduce -> adamw -> publish -> commit, step by step EVAL_AFTER
 * score it with the trained adapter EXPORT        RUN/adapter DONE          workers are told, the
 * loop ends With eval_only: EVAL_AFTER alone, no export; with start->ask ASK in its place: answers
 * questions from stdin until there are no more.
 *
 * Owns: the open batch and the next one, the evaluation under way, reducer, scribe, the figures of
 * the status. Never: sockets, SQL. A strict run publishes the next version before the step is
 * committed, at most PHASES_UNCOMMITTED steps ahead; a relaxed one commits first. Loop thread. */
#ifndef PFT_PHASES_H
#define PFT_PHASES_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/str.h"
#include "coordinator/server.h"
#include "coordinator/start.h"

enum { PHASES_UNCOMMITTED = 2 };

struct phases;

enum phases_end {
    PHASES_FINISHED,
    PHASES_STOPPED, /* by a signal; can be resumed */
    PHASES_FAILED,
};

struct phases_outcome {
    enum phases_end end;
    struct errbuf why;    /* FAILED */
    bool disk_failed;     /* FAILED: a write or an fsync; the program must end before it goes on */
    double eval_seconds;  /* of this start */
    double total_seconds; /* of this start */
    struct str eval;      /* eval_only: the JSON; the caller's */
};

/* start is borrowed but for its params, which are taken; run is the folder. */
MUST_USE enum err phases_open(struct start *start, const char *run, bool eval_only,
                              struct phases **out, struct errbuf *e);

/* The callbacks for server_open; then phases_attach with the server that came out. */
struct server_events phases_events(struct phases *p);
MUST_USE enum err phases_attach(struct phases *p, struct server *server, struct errbuf *e);

/* Begins; the rest happens in callbacks while server_run runs. */
void phases_begin(struct phases *p);

/* After server_run: waits for the disk, fills the outcome, frees everything but the journal. Call
 * before server_close. */
void phases_close(struct phases **p, struct phases_outcome *outcome);

#endif
