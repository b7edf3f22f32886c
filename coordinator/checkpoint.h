/* checkpoint.h - the whole trainable state in one file: RUN/checkpoints/step-NNNNNNNNNN.ckpt.
 * Owns: the format, the two newest files. Never: decides when. Blocks on the disk: journal thread.
 *
 * Little-endian:
 *   1. header, 96 bytes: "PFTCKPT\n" · u32 version 1 · u32 header bytes · u64 step (= params
 *      version) · u64 count · f64 beta1^t · f64 beta2^t · 32 bytes config hash (SHA-256 of what
 *      must not change between runs) · 16 bytes XXH3-128 of header 0..79 and the body's digest
 *   2. body: p, m, v, count fp32 each · 16 bytes: XXH3-128 of the XXH3-128s of p, m and v
 * The state to write must not move: the journal thread keeps params of its own (recover_params
 * gives them) and steps them with every gradient it commits; so a checkpoint holds committed steps
 * only. Written beside its name, synced, renamed, folder synced: a name is there whole or not at
 * all. */
#ifndef PFT_CHECKPOINT_H
#define PFT_CHECKPOINT_H

#include <stdint.h>

#include "common/base/err.h"
#include "common/base/str.h"
#include "coordinator/params.h"

enum { CHECKPOINT_KEPT = 2, CHECKPOINT_CONFIG_BYTES = 32 };

/* Writes the state of p and deletes all but it and the newest earlier one that checks; *oldest =
 * step of the older one kept (what journal_prune may forget before), 0 while there is only one.
 * ERR_NOSPACE leaves the earlier ones alone. */
MUST_USE enum err checkpoint_write(const char *run, const struct params *p,
                                   const uint8_t config[CHECKPOINT_CONFIG_BYTES], uint64_t *oldest,
                                   struct errbuf *e);

/* Fills p (whose count must fit) from the newest file of step `until` at most that checks. A
 * damaged newer one is passed over with a line in warnings (may be NULL). ERR_NOT_FOUND when there
 * is none at all (p is left alone); ERR_CORRUPT when there are files and none checks; ERR_REFUSED
 * when one was made with another config hash. config may be NULL (readers). */
MUST_USE enum err checkpoint_load(const char *run, const uint8_t config[CHECKPOINT_CONFIG_BYTES],
                                  uint64_t until, struct params *p, struct str *warnings,
                                  struct errbuf *e);
/* Removes the files of steps above `step`. */
MUST_USE enum err checkpoint_drop_after(const char *run, uint64_t step, struct errbuf *e);

/* Count and step of the newest file that checks, for readers that must size params first. */
MUST_USE enum err checkpoint_peek(const char *run, size_t *count, uint64_t *step, struct errbuf *e);

#endif
