/* journal.h - what must survive kill -9: RUN/run.db (SQLite) and RUN/steps.log.
 * Owns: those two files and RUN/lock. Never: decides; nobody else writes the run database.
 * Place: at the end of a step, off the critical path. Every call blocks on the disk: journal thread
 * (or start-up). One thread at a time.
 *
 * Promise: when journal_append returns OK the step is committed: its record is in the log and
 * synced before its row is in the database. A step is committed or it never was.
 *
 * RUN/steps.log, little-endian, records end to end:
 *   1. header, 80 bytes: "PFTSTEP\n" · u32 version 1 · u32 header bytes · u64 step · u64 count ·
 *      f64 loss · f64 learning rate · 16 bytes XXH3-128 of the payload · 8 zero bytes ·
 *      8 bytes: first half of the XXH3-128 of the 72 bytes before
 *   2. payload: count fp32, the reduced gradient after the one conversion
 * The row of the step in run.db (segment, offset, bytes, digest) says what is committed. Beyond the
 * last row lies at most what a kill left of one record: it is cut by the next append, never before
 * the start has checked everything. More than that, or the record of another step, says that run.db
 * is older than the log: refused. A committed record that does not check, or whose loss, learning
 * rate or digest is not that of its row, is damage in the middle, refused with file and offset when
 * replay needs it (that of the last row: at open).
 * After a checkpoint journal_prune closes the segment: steps.log becomes steps-NNNNNNNNNN.log
 * (number of its first step), and segments that no kept checkpoint needs are deleted.
 *
 * run.db: meta(key, value, digest) · steps(step, loss, norm, lr, seconds, tokens, pairs, labels,
 * segment, offset, bytes, digest, slots, jobs, compute, adding, finishing, kl) · events(id, at,
 * name, detail) · evals(name, json, digest). WAL, synchronous FULL. The five columns that say what
 * the step cost came with version 2, kl with version 3, the digests with version 4 (XXH3-128 of the
 * two XXH3-128 of name and text; an entry whose text is another is refused); an older database gets
 * them when it is opened for writing, the digests of what its entries say then.
 *
 * ERR_NOSPACE: nothing is committed, the same call may be made again later. ERR_IO from a write or
 * an fsync: the state of the disk is unknown, the process must exit and recover; the step may turn
 * out to be committed then. */
#ifndef PFT_JOURNAL_H
#define PFT_JOURNAL_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/str.h"

/* What a step cost and where, for pft plan; all zero in a step journaled by version 1. */
struct journal_cost {
    uint32_t slots;     /* that took jobs when it ended */
    uint32_t jobs;      /* gradients added */
    double compute_s;   /* of the slots, over all those jobs */
    double adding_s;    /* of the reducer, for all those gradients */
    double finishing_s; /* of the reducer: conversion, AdamW, the next version */
};

struct journal_step {
    uint64_t step; /* 0, 1, ...; must be the next one */
    double loss, norm, lr;
    double seconds; /* wall time of the step */
    double kl;      /* of the anchor, nats a token; 0 without one */
    uint64_t tokens, pairs, labels;
    struct journal_cost cost;
};

struct journal;

/* Opens or makes RUN (folder, database, log) and takes its lock. ERR_BUSY names the pid that holds
 * the run; ERR_CORRUPT: damaged pages, or a log that is not the one the last row means. Also
 * refuses a database of a later version. */
MUST_USE enum err journal_open(const char *run, struct journal **out, struct errbuf *e);
/* For eval, export and report: no lock, nothing is written; only the reading calls below work. */
MUST_USE enum err journal_open_reader(const char *run, struct journal **out, struct errbuf *e);
void journal_close(struct journal **j);
/* Removes the files of a closed run that failed before it began, and RUN when that empties it. The
 * caller knows that it made the run itself; nothing happens while somebody else has the lock. */
void journal_discard(const char *run);

/* Committed steps: the number of the next one. */
uint64_t journal_steps(const struct journal *j);

/* Commits a step with its gradient of count floats. ERR_STATE when it is not the next one. */
MUST_USE enum err journal_append(struct journal *j, const struct journal_step *step,
                                 const float *gradient, size_t count, struct errbuf *e);

/* Calls back with every committed record from step `from` on and before step `to`, checked; stops
 * at the first code that is not OK and returns it. ERR_CORRUPT names file and offset; ERR_NOT_FOUND
 * a pruned step. A writer's log is also refused when it holds more than a torn record of the next
 * step. */
typedef enum err (*journal_record_cb)(void *context, const struct journal_step *step,
                                      const float *gradient, size_t count);
MUST_USE enum err journal_replay(struct journal *j, uint64_t from, uint64_t to, size_t count,
                                 journal_record_cb cb, void *context, struct errbuf *e);
/* Forgets the steps from `step` on, the closing evaluation and what audits said of these steps, and
 * opens *j anew. Nothing is checked here; run again after a crash it does the rest. After an error
 * *j may be NULL. */
MUST_USE enum err journal_go_back(struct journal **j, const char *run, uint64_t step,
                                  struct errbuf *e);

/* Rows of the steps table alone (report, status history). */
MUST_USE enum err journal_step_get(struct journal *j, uint64_t step, struct journal_step *out,
                                   struct errbuf *e);

/* Records of steps below keep_from are no longer needed. */
MUST_USE enum err journal_prune(struct journal *j, uint64_t keep_from, struct errbuf *e);

/* Settings of the run: config text, values text, model hash, kernels, probe, ... get appends to
 * out; ERR_NOT_FOUND when there is none. */
MUST_USE enum err journal_meta_set(struct journal *j, const char *key, const char *value,
                                   struct errbuf *e);
MUST_USE enum err journal_meta_get(struct journal *j, const char *key, struct str *out,
                                   struct errbuf *e);
/* Adds 1 to a counter kept in meta (starts of the coordinator) and gives it. */
MUST_USE enum err journal_meta_count(struct journal *j, const char *key, uint64_t *value,
                                     struct errbuf *e);
MUST_USE enum err journal_eval_set(struct journal *j, const char *name, const char *json,
                                   struct errbuf *e);
MUST_USE enum err journal_eval_get(struct journal *j, const char *name, struct str *out,
                                   struct errbuf *e);
/* Calls back with every evaluation whose name begins with prefix, in the order of their names;
 * stops at the first code that is not OK and returns it. */
typedef enum err (*journal_eval_cb)(void *context, const char *json, size_t bytes,
                                    struct errbuf *e);
MUST_USE enum err journal_eval_each(struct journal *j, const char *prefix, journal_eval_cb cb,
                                    void *context, struct errbuf *e);
MUST_USE enum err journal_event(struct journal *j, const char *name, const char *detail,
                                struct errbuf *e);

#endif
