/* decode.h - one token a step for a batch of branches, over cached keys and values.
 * Owns: the caches, the rows of the batch. Never: which token comes next (sample.h), jobs.
 * Place: engine_generate puts prompts in, takes logits out. A slot's thread.
 *
 * A prompt tree is computed by the forward pass of all units; its keys and values are kept, in one
 * block that all its branches share. Each branch then grows a tail of its own, in blocks of
 * KV_COLS tokens. A step computes DECODE_ROWS rows, whatever number of them is in use, cut into
 * tiles that treat all their rows alike (team.even_rows): so the shape of every product is the same
 * in each step, a row's bits depend on its own branch alone, and an answer does not depend on what
 * it is decoded beside. */
#ifndef PFT_DECODE_H
#define PFT_DECODE_H

#include "common/base/limits.h"
#include "worker/model/network.h"

enum { DECODE_ROWS = LIMIT_BRANCHES, KV_COLS = 64 };

/* Keys [E][ld] and values [ld][E] of every layer and group, for up to ld tokens. */
struct kv_block {
    struct buffer *buffer;
    size_t ld;
};

/* What a branch sees of the prompt's block, clipped to its own path. */
struct decode_path {
    struct kv_block block; /* borrowed */
    struct attention_run *runs;
    uint32_t n_runs;
    uint32_t tokens; /* of the path */
};

struct decode_row {
    bool used;
    struct decode_path path;
    uint32_t token;        /* fed in the next step */
    uint32_t length;       /* tokens in the caches: path and tail */
    struct kv_block *tail; /* [n_tail] */
    uint32_t n_tail;
    size_t tail_capacity;
};

struct decode {
    struct pass *p;
    struct decode_row rows[DECODE_ROWS];
    float *logits; /* [DECODE_ROWS, V] of the last prefill or step */
};

MUST_USE enum err decode_init(struct decode *d, struct pass *p);
void decode_free(struct decode *d); /* fine on a zeroed struct */

/* Computes a prompt's tree and keeps its keys and values in *block (kv_free it once no row uses
 * it). paths [leaves] are the branches'; logits holds, per branch, those of its next token.
 * lora_flat as in pass_start. ERR_NOMEM. */
MUST_USE enum err decode_prompt(struct decode *d, const struct unit *unit, const float *lora_flat,
                                struct kv_block *block, struct decode_path *paths,
                                struct errbuf *e);
void kv_free(const struct backend_ops *ops, struct kv_block *block);

/* Puts a branch into a free row, with its first new token; takes path->runs. The row's index. */
uint32_t decode_add(struct decode *d, struct decode_path *path, uint32_t token);
void decode_remove(struct decode *d, uint32_t row);
uint32_t decode_free_rows(const struct decode *d);

/* After every decode_prompt, before the next step: the slot's memory for steps up to `depth` tokens
 * of a branch. ERR_NOMEM. */
MUST_USE enum err decode_prepare(struct decode *d, uint32_t depth, struct errbuf *e);
/* Feeds each used row its token: logits of the next one in d->logits at the row's place. */
MUST_USE enum err decode_step(struct decode *d, struct errbuf *e);

#endif
