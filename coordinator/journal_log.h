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

/* Where a record lies; segment = number of the first step of its file. */
struct journal_place {
    uint64_t segment, offset, bytes;
    uint8_t digest[HASH_XXH128_BYTES]; /* of the payload */
};

struct journal_log {
    char folder[FILE_PATH_BYTES];
    int fd; /* steps.log, -1 when closed */
    uint64_t segment;
    uint64_t end; /* bytes of committed records */
};

/* Opens or makes steps.log for appending and cuts it to `end` bytes. ERR_CORRUPT when it is shorter
 * than that: committed bytes are missing (offset in the message). */
MUST_USE enum err journal_log_open(struct journal_log *log, const char *folder, uint64_t segment,
                                   uint64_t end, struct errbuf *e);
void journal_log_close(struct journal_log *log);

/* Appends and syncs a record; the caller commits its place. ERR_NOSPACE: the file is cut back. */
MUST_USE enum err journal_log_append(struct journal_log *log, uint64_t step, double loss, double lr,
                                     const float *gradient, size_t count,
                                     struct journal_place *place, struct errbuf *e);
/* Reads and checks the record of a step into gradient[count]; *log may belong to a reader. */
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
