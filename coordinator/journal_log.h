/* journal_log.h - steps.log: the append-only file of reduced gradients (format in journal.h).
 * Owns: the open segment, its end. Never: SQLite, decisions. Used by journal.c alone. */
#ifndef PFT_JOURNAL_LOG_H
#define PFT_JOURNAL_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/file.h"
#include "common/base/hash.h"

enum { JOURNAL_HEADER_BYTES = 80 };

/* What the row of a step says of its record: where it lies (segment = number of the first step of
 * its file), and what it must hold. */
struct journal_place {
    uint64_t segment, offset, bytes;
    uint8_t digest[HASH_XXH128_BYTES]; /* of the payload */
    double loss, lr;
};

struct journal_log {
    char folder[FILE_PATH_BYTES];
    int fd; /* steps.log, -1 when closed */
    uint64_t segment;
    uint64_t end; /* bytes of committed records */
    bool torn;    /* more lies behind: cut by the next append or rotation */
};

/* Opens steps.log for appending behind `end` bytes; makes it when nothing is committed to it. What
 * lies behind stays until the next append: a start that is refused has changed nothing. ERR_CORRUPT
 * when it is gone or shorter than that: committed bytes are missing (offset in the message). */
MUST_USE enum err journal_log_open(struct journal_log *log, const char *folder, uint64_t segment,
                                   uint64_t end, struct errbuf *e);
/* Cuts what lies behind the committed records now. */
MUST_USE enum err journal_log_cut(struct journal_log *log, struct errbuf *e);
void journal_log_close(struct journal_log *log);

/* Appends and syncs a record; the caller commits its place. ERR_NOSPACE: the file is cut back. */
MUST_USE enum err journal_log_append(struct journal_log *log, uint64_t step, double loss, double lr,
                                     const float *gradient, size_t count,
                                     struct journal_place *place, struct errbuf *e);
/* That the open segment is the one that run.db means: its first record is of the step the segment
 * is named for, and the header of the last committed record says what its row says. */
MUST_USE enum err journal_log_check_end(const struct journal_log *log,
                                        const struct journal_place *last, uint64_t step,
                                        struct errbuf *e);
/* That what lies behind the committed records can be what a kill left of one append of step `next`
 * with count values. ERR_CORRUPT: records that run.db once knew and no longer does. */
MUST_USE enum err journal_log_check_tail(const struct journal_log *log, uint64_t next, size_t count,
                                         struct errbuf *e);
/* Reads and checks the record of a step into gradient[count]; *log may belong to a reader.
 * ERR_CORRUPT also when the record is sound and not what its row says. */
MUST_USE enum err journal_log_read(const struct journal_log *log, const struct journal_place *place,
                                   uint64_t step, float *gradient, size_t count, struct errbuf *e);

/* Closes the segment under its own name and starts steps.log anew at step next. A crash in between
 * leaves no steps.log: open makes it. ERR_NOSPACE: the same call again goes on where it stopped,
 * even when there is no steps.log (fd -1) at the moment. */
MUST_USE enum err journal_log_rotate(struct journal_log *log, uint64_t next, struct errbuf *e);
/* Removes the file of a closed segment; fine when it is gone. */
void journal_log_remove(const struct journal_log *log, uint64_t segment);
/* Whether a closed file of this segment is there. */
bool journal_log_closed(const struct journal_log *log, uint64_t segment);

#endif
