/* step.h - one job: its units through the engine, one payload out.
 * Owns: nothing but the payload it makes. Never: sockets, leases, which job comes next.
 * Place: a slot's thread calls it. Blocks for as long as the job computes; between two units it
 * looks at stop. */
#ifndef PFT_STEP_H
#define PFT_STEP_H

#include <stdatomic.h>
#include <stdbool.h>

#include "common/net/blob.h"
#include "common/tree/tree.h"
#include "common/wire/answers.h"
#include "common/wire/message.h"
#include "worker/engine.h"
#include "worker/payload_room.h"

struct step_work {
    const struct wire_job *job;
    const struct unit *units;              /* [job->units] */
    const struct answer_request *requests; /* [job->units] of a GENERATE job */
    const float *lora;                     /* [lora_count], NULL: adapter off */
    size_t lora_count;                     /* elements of a gradient */
    const float *steer;                    /* vectors for engine_slot_steer; NULL: none */
    size_t sums;                           /* elements of a capture */
    const atomic_bool *stop;
    struct payload_room *room; /* where a gradient's payload comes from */
};

struct step_result {
    bool stopped; /* nothing was made */
    uint32_t n_rows;
    struct wire_unit_row rows[LIMIT_JOB_UNITS];
    struct blob *payload; /* the caller's: int64 sums, doubles of leaves, or answers */
    uint8_t hash[WIRE_DIGEST_BYTES];
    enum wire_failure failure; /* when the call failed */
};

/* GRADIENT: every unit's gradient added into one int64 vector; SCORE: a double per leaf, in order;
 * GENERATE: the answers (common/wire/answers.h); CAPTURE: every unit's sums added into one int64
 * vector. An error names the unit; result->failure says of which kind it is. */
MUST_USE enum err step_run(struct engine_slot *slot, const struct step_work *work,
                           struct step_result *result, struct errbuf *e);

#endif
