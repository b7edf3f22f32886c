/* answers.h - what GENERATE jobs carry: requests on the way to a worker, answers on the way back.
 * Owns: struct answer_request, struct answer_view, their byte forms and checks. Never: text,
 * sampling. Place: coordinator/generate -> job frame -> worker/model/decode -> payload ->
 * coordinator. Pure, any thread.
 *
 * A request is one unit of one tree. A leaf is a branch: a prompt, with one label at its last row
 * (target without meaning) whose weight w is the branch's exponent: the next token is drawn from
 * p(t) ~ prod over branches of p(t | branch)^w, and appended to each of them. One branch has w = 1;
 * a mix of a and b has lambda and 1 - lambda. The weights sum to 1.
 *
 * Byte form of a job's frame (little-endian): u32 n; n times u64 seed, f32 temperature, f32 top_p,
 * u32 max_new_tokens, u32 n_stops, u32 stops[8]; then the units frame of these n units.
 * Byte form of a payload: per unit of the job u32 count, u32 end, then u32 token [count]. A token
 * that ended the answer is not part of it. */
#ifndef PFT_ANSWERS_H
#define PFT_ANSWERS_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/limits.h"
#include "common/tree/tree.h"

/* Exponents of branches lie in [ANSWER_WEIGHT_MIN, ANSWER_WEIGHT_MAX]. */
#define ANSWER_WEIGHT_MIN (-2.0f)
#define ANSWER_WEIGHT_MAX 3.0f
#define ANSWER_TEMPERATURE_MAX 10.0f

struct answer_request {
    uint64_t seed;
    float temperature; /* 0: always the likeliest token */
    float top_p;       /* above 0, at most 1: the likeliest tokens that have so much together */
    uint32_t max_new_tokens;
    uint32_t n_stops;
    uint32_t stops[LIMIT_STOPS];
};

enum answer_end {
    ANSWER_STOPPED = 1, /* by one of the stops */
    ANSWER_FULL,        /* max_new_tokens are there */
    ANSWER_ENDS,
};

struct answer_view {
    enum answer_end end;
    uint32_t n;
    const uint8_t *tokens; /* u32 little-endian [n], in the payload; answer_token reads one */
};

uint32_t answer_token(const struct answer_view *a, uint32_t i);

/* Whether a tree and a request fit each other and every bound; the message names field, value and
 * bound. */
MUST_USE enum err answer_check(const struct tree *tree, const struct answer_request *request,
                               uint32_t vocab, struct errbuf *e);

/* A job's frame: requests[i] belongs to units[i]. */
size_t answers_frame_bytes(const struct unit *const *units, uint32_t n);
void answers_frame_write(const struct unit *const *units,
                         const struct answer_request *const *requests, uint32_t n, uint8_t *out);

/* Reads a frame from anywhere, and checks all of it. On OK *units (units_frame_free) and *requests
 * (mem_free) are arrays of *n of the caller's. */
MUST_USE enum err answers_frame_read(const uint8_t *data, size_t bytes, uint32_t vocab,
                                     struct unit **units, struct answer_request **requests,
                                     uint32_t *n, struct errbuf *e);

/* Reads a payload of n answers into answers [n]; they point into data. ERR_RANGE or ERR_PARSE when
 * it is not what these requests can bring. */
MUST_USE enum err answers_read(const uint8_t *data, size_t bytes,
                               const struct answer_request *const *requests, uint32_t n,
                               uint32_t vocab, struct answer_view *answers, struct errbuf *e);

#endif
