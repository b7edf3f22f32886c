/* slots.h - the threads of a worker: one that loads weights and makes engines, one per slot that
 * computes. Owns: weights, engine, engine slots, threads. Never: sockets, sessions, leases.
 * Everything goes in by calls on the loop's thread and comes out as letters in one mailbox. */
#ifndef PFT_SLOTS_H
#define PFT_SLOTS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/net/blob.h"
#include "common/net/mailbox.h"
#include "common/wire/message.h"
#include "worker/engine.h"
#include "worker/step.h"

struct model_file;
struct slots;

enum slot_report_kind { SLOT_PREPARED, SLOT_PROBED, SLOT_JOB };

/* What comes out. The receiver frees it with slot_report_free. */
struct slot_report {
    struct letter letter; /* first */
    enum slot_report_kind kind;
    uint32_t slot;
    uint64_t engine; /* SLOT_PREPARED, SLOT_PROBED: which slots_prepare it is about */
    bool fresh;      /* SLOT_PREPARED: the engine was made anew, earlier digests are not its own */
    enum err code;
    struct errbuf text;
    uint8_t digest[WIRE_DIGEST_BYTES]; /* SLOT_PROBED */
    struct wire_job job;               /* SLOT_JOB */
    struct step_result result;         /* SLOT_JOB; the payload may be taken (set it to NULL) */
    float seconds;
};
void slot_report_free(struct slot_report *report);

/* Begins to load the weights of mf (it and model_hash are borrowed until slots_close) at once.
 * reports is borrowed. */
MUST_USE enum err slots_open(const struct model_file *mf, const char *model_hash, uint32_t count,
                             struct mailbox *reports, struct slots **out, struct errbuf *e);

/* Makes an engine of these settings and the slots' memory for units of these rows, after what runs
 * has stopped; SLOT_PREPARED follows, ERR_NOMEM in it when that does not fit into what is free.
 * Same settings as before: SLOT_PREPARED at no cost. *engine is the number of this call, so that
 * reports about an earlier one can be told apart. */
MUST_USE enum err slots_prepare(struct slots *s, const struct engine_config *config,
                                const struct engine_rows *rows, uint64_t *engine);

/* SLOT_PROBED follows, computed by slot 0 after what it has to do. */
MUST_USE enum err slots_probe(struct slots *s);

/* SLOT_JOB follows. Takes units (units_frame_free'd by it), the requests of a GENERATE job (NULL in
 * others) and, when not NULL, a reference of params. The slot must be free. On an error units,
 * requests and params are dropped too. */
MUST_USE enum err slots_compute(struct slots *s, uint32_t slot, const struct wire_job *job,
                                struct unit *units, struct answer_request *requests,
                                struct blob *params);

/* The slot stops between two units; its SLOT_JOB says so. */
void slots_stop(struct slots *s, uint32_t slot);

/* Grows while the slot computes. */
uint64_t slots_progress(const struct slots *s, uint32_t slot);

/* Time of all slots together in jobs since slots_open, those that run included. */
uint64_t slots_computed_ms(struct slots *s);

/* Stops what runs, waits for the threads (at most one unit's time), frees everything. */
void slots_close(struct slots **s);

#endif
