/* reducer.h - the thread that owns the accumulator, the parameters and the moments.
 * Owns: struct reduce and struct params from start to end. Never: sockets, the disk, decisions.
 * Place: payload -> reducer -> (snapshot to publish, gradient to journal). Calls from the loop
 * thread hand letters in and never block; reports come out as letters in one mailbox. */
#ifndef PFT_REDUCER_H
#define PFT_REDUCER_H

#include <stdint.h>

#include "common/base/err.h"
#include "common/net/blob.h"
#include "common/net/mailbox.h"
#include "coordinator/params.h"
#include "coordinator/reduce.h"

struct reducer;

enum reducer_report_kind { REDUCER_SUMMED, REDUCER_STEPPED };

struct reducer_report {
    struct letter letter; /* first */
    enum reducer_report_kind kind;
    enum err code;
    double seconds; /* of the thread, for this */
    uint64_t job;   /* SUMMED */
    uint64_t step;  /* STEPPED; the rest too */
    struct reduce_total total;
    double norm;
    struct blob *gradient;            /* fp32; the receiver's */
    struct params_snapshot *snapshot; /* version step + 1; the receiver's */
    struct params *state;             /* a copy for a checkpoint, when asked for; the receiver's */
};
void reducer_report_free(struct reducer_report *report);

/* Takes params (version n). reports is borrowed. */
MUST_USE enum err reducer_open(struct params **params, struct mailbox *reports,
                               struct reducer **out, struct errbuf *e);

/* Everything zero for a step of n_units, those from first_anchor on anchors. */
MUST_USE enum err reducer_begin(struct reducer *r, uint64_t step, uint32_t n_units,
                                uint32_t first_anchor);

/* A payload: REDUCER_SUMMED follows. Copies job's lists (job->payload and bytes are set from the
 * blob); takes a reference of payload. */
MUST_USE enum err reducer_add(struct reducer *r, uint64_t step, uint64_t job_id,
                              const struct reduce_job *job, struct blob *payload);

/* Every unit is in: one AdamW step with learning rate lr. REDUCER_STEPPED follows. */
MUST_USE enum err reducer_finish(struct reducer *r, uint64_t step, double lr, bool checkpoint);

/* Stops after what was handed in; waits for the thread. */
void reducer_close(struct reducer **r);

#endif
