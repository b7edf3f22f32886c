/* task_folder.h - what a task of a standing coordinator keeps on disk. DIR is the coordinator's
 * folder; DIR/tasks/N, a run folder like any other, holds besides:
 *   order.json   sort, name, from, sets
 *   config.yaml  the config as it was sent; absent when an evaluation takes that of its run
 *   task.log     what the coordinator said while it was open
 *   report.md, or result.json of an evaluation: it came to its end
 * Owns: these names and the form of order.json. Blocks on the disk; never on the loop thread. */
#ifndef PFT_TASK_FOLDER_H
#define PFT_TASK_FOLDER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/file.h"
#include "common/base/hash.h"
#include "common/wire/task_message.h"

MUST_USE enum err task_folder_path(char out[FILE_PATH_BYTES], const char *dir, uint64_t id,
                                   struct errbuf *e);
/* A file in it: "task.log", ... */
MUST_USE enum err task_folder_file(char out[FILE_PATH_BYTES], const char *dir, uint64_t id,
                                   const char *name, struct errbuf *e);
const char *task_folder_result(enum task_sort sort); /* name of the file that ends it */

/* Makes the folder and writes the order. */
MUST_USE enum err task_folder_make(const char *dir, uint64_t id, const struct task_order *order,
                                   struct errbuf *e);
/* All but the config and the ticket; the caller frees it with task_order_free. */
MUST_USE enum err task_folder_order(const char *dir, uint64_t id, struct task_order *order,
                                    struct errbuf *e);

/* SHA-256 of the order and its config as they lie there: what the task's run.db keeps of it. */
MUST_USE enum err task_folder_digest(const char *dir, uint64_t id, char hex[HASH_SHA256_HEX],
                                     struct errbuf *e);
/* The highest number of a task's folder in DIR/tasks; 0: none is there. */
MUST_USE enum err task_folder_last(const char *dir, uint64_t *last, struct errbuf *e);

#endif
