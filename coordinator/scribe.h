/* scribe.h - the thread that writes: journal, checkpoints, evaluations, the adapter.
 * Owns: the journal while it runs. Never: decides what is written. A slow disk delays nobody but
 * the scribe; a full one is tried again every second (SCRIBE_WAITING says so once, SCRIBE_DONE once
 * it went through); any other failed write is reported and the program must end. Calls from the
 * loop thread never block; reports come out in order, as letters in one mailbox. */
#ifndef PFT_SCRIBE_H
#define PFT_SCRIBE_H

#include <stdint.h>

#include "common/base/err.h"
#include "common/net/blob.h"
#include "common/net/mailbox.h"
#include "coordinator/export.h"
#include "coordinator/journal.h"
#include "coordinator/params.h"

struct scribe;

enum scribe_task { SCRIBE_STEP, SCRIBE_META, SCRIBE_EVAL, SCRIBE_EVENT, SCRIBE_EXPORT };
enum scribe_news { SCRIBE_DONE, SCRIBE_WAITING, SCRIBE_FAILED };

struct scribe_report {
    struct letter letter; /* first */
    enum scribe_task task;
    enum scribe_news news;
    uint64_t step; /* SCRIBE_STEP */
    struct errbuf text;
};
void scribe_report_free(struct scribe_report *report);

/* journal and run (folder) are borrowed until scribe_close; nobody else uses the journal
 * meanwhile. fixed: hash that goes into checkpoints. */
MUST_USE enum err scribe_open(struct journal *journal, const char *run, const uint8_t fixed[32],
                              struct mailbox *reports, struct scribe **out, struct errbuf *e);

/* Commits a step; state (taken, may be NULL) is written as a checkpoint after it. Takes a reference
 * of gradient. */
MUST_USE enum err scribe_step(struct scribe *s, const struct journal_step *step,
                              struct blob *gradient, struct params **state);
/* Texts are copied. */
MUST_USE enum err scribe_meta(struct scribe *s, const char *key, const char *value);
MUST_USE enum err scribe_eval(struct scribe *s, const char *name, const char *json);
MUST_USE enum err scribe_event(struct scribe *s, const char *name, const char *detail);
/* Writes run/adapter. What in points to must live until SCRIBE_EXPORT is reported; the snapshot's
 * reference is taken over. */
MUST_USE enum err scribe_export(struct scribe *s, const struct export_input *in,
                                struct params_snapshot *snapshot);

/* Stops after what was handed in; waits for the thread. */
void scribe_close(struct scribe **s);

#endif
