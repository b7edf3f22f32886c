/* screen.h - is a result believable? Norm bands and second opinions.
 * Owns: the window of unit norms of committed steps, the open cases. Never: adds, decides states of
 * jobs or workers (dispatch does). Place: between announce and accept. Pure; loop thread.
 *
 * Band: a unit's gradient norm sqrt(sumsq) is believable up to median + 20 * max(MAD, median / 20)
 * of the last SCREEN_WINDOW unit norms of committed steps; no band before SCREEN_MIN of them.
 * Case: a job whose result wants a second opinion. Opinions are (worker, digest):
 *   1st out of band              -> SCREEN_AGAIN: kept as an opinion, the job is done again
 * elsewhere 2nd, same digest             -> SCREEN_ACCEPT: large but true, logged 2nd, other digest
 * -> SCREEN_CONFLICT: both probe again, a third attempt decides 3rd, equal to one of the two ->
 * SCREEN_DECIDED: accepted, the other worker is the loser 3rd, equal to neither        ->
 * SCREEN_NO_MAJORITY: the run stops and names both A duplicate of a job already counted that
 * differs starts at CONFLICT with both opinions. */
#ifndef PFT_SCREEN_H
#define PFT_SCREEN_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/hash.h"

enum {
    SCREEN_WINDOW = 512,
    SCREEN_MIN = 64,
    SCREEN_CASES = 64,
    SCREEN_BATCHES = 4, /* steps whose norms wait for their commit */
};

/* One row of a result: what a worker says of a unit. */
struct result_row {
    uint64_t unit; /* id */
    int64_t loss;  /* at scale 2^40 */
    double sumsq;  /* of its gradient */
    uint32_t labels;
};

enum screen_verdict {
    SCREEN_ACCEPT,
    SCREEN_AGAIN,
    SCREEN_CONFLICT,
    SCREEN_DECIDED,
    SCREEN_NO_MAJORITY,
    SCREEN_NOT_FINITE,
};

struct screen;

MUST_USE enum err screen_new(struct screen **out);
void screen_free(struct screen **s);

/* Judges a result of job. others[2] are the workers concerned: the loser of DECIDED in others[0],
 * the earlier opinions of CONFLICT and NO_MAJORITY; *opinions is the number of earlier ones. */
enum screen_verdict screen_judge(struct screen *s, uint64_t job, uint64_t worker,
                                 const uint8_t digest[HASH_XXH128_BYTES],
                                 const struct result_row *rows, uint32_t n_rows, uint64_t others[2],
                                 uint32_t *opinions);

/* Opens a case with two differing opinions (a duplicate of a counted job differs). */
void screen_dispute(struct screen *s, uint64_t job, uint64_t worker_a,
                    const uint8_t digest_a[HASH_XXH128_BYTES], uint64_t worker_b,
                    const uint8_t digest_b[HASH_XXH128_BYTES]);
bool screen_has_case(const struct screen *s, uint64_t job);
void screen_close(struct screen *s, uint64_t job); /* the job is settled, split or stale */
void screen_close_all(struct screen *s);

/* Norms of accepted units, and what becomes of a step's norms: kept once it is committed, dropped
 * when it starts again. */
void screen_note(struct screen *s, const struct result_row *rows, uint32_t n_rows);
void screen_seal(struct screen *s, uint32_t tag);
void screen_drop(struct screen *s);
void screen_committed(struct screen *s, uint32_t tag);

/* The largest believable norm; INFINITY while there is no band. */
double screen_band(const struct screen *s);

#endif
