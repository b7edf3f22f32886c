/* screen.h - is a result believable? Norm bands and second opinions.
 * Owns: the window of unit norms of committed steps, the open cases. Never: adds, decides states of
 * jobs or workers (dispatch does). Place: between announce and accept. Pure; loop thread.
 *
 * Band: a unit's gradient norm sqrt(sumsq) is believable up to median + 20 * max(MAD, median / 20)
 * of the last SCREEN_WINDOW unit norms of committed steps; no band before SCREEN_MIN of them.
 *
 * Case: a job whose result wants a second opinion, because it is out of band or audited (audit.h).
 * Opinions are (worker, digest), at most one of a worker.
 * - 1st, out of band: SCREEN_AGAIN, it is kept as an opinion and the job is done again elsewhere.
 * - 1st, audited: SCREEN_ACCEPT; screen_keep makes it an opinion.
 * - 2nd, same digest: SCREEN_ACCEPT, it is confirmed.
 * - 2nd, other digest: SCREEN_CONFLICT, both probe again, a third attempt decides.
 * - 3rd, of a third worker, equal to one of the two: SCREEN_DECIDED, accepted, the other loses.
 * - 3rd, of a third worker, equal to neither: SCREEN_NO_MAJORITY, the run stops and names all.
 * - Other than the worker's own opinion: SCREEN_PERJURED, it loses, its opinion is dropped.
 * - Equal to its own, one of two: SCREEN_REPEATED, no news; SCREEN_NO_MAJORITY once both have said
 *   the same again, or after SCREEN_REPEATS of these two kinds. So being wrong twice in the same
 * way is no majority.
 *
 * A duplicate of a job already counted that differs starts at CONFLICT with both opinions. */
#ifndef PFT_SCREEN_H
#define PFT_SCREEN_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/hash.h"
#include "common/base/limits.h"

enum {
    SCREEN_WINDOW = 512,
    SCREEN_MIN = 64,
    SCREEN_CASES = LIMIT_STEP_UNITS,
    SCREEN_REPEATS = 8,
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
    SCREEN_PERJURED,
    SCREEN_REPEATED,
    SCREEN_NO_MAJORITY,
    SCREEN_NOT_FINITE,
};

struct screen;

MUST_USE enum err screen_new(struct screen **out);
void screen_free(struct screen **s);

/* Judges a result of job. others[2] are the workers concerned: the loser of DECIDED in others[0]
 * and who is confirmed in others[1], the one whose opinion is left of PERJURED in others[0] (0:
 * none), else the earlier opinions; *opinions is the number of earlier ones. */
enum screen_verdict screen_judge(struct screen *s, uint64_t job, uint64_t worker,
                                 const uint8_t digest[HASH_XXH128_BYTES],
                                 const struct result_row *rows, uint32_t n_rows, uint64_t others[2],
                                 uint32_t *opinions);

/* Drops an opinion of worker: the job it was about, *left = whose opinion is left there (0: none).
 * 0 when it has none any more. */
uint64_t screen_forget(struct screen *s, uint64_t worker, uint64_t *left);
/* The opinions of worker before are those of now: it is the same one in a new session. */
void screen_rename(struct screen *s, uint64_t before, uint64_t now);
/* Opens a case with one opinion: the job is audited. False: no room, the result must do. */
bool screen_keep(struct screen *s, uint64_t job, uint64_t worker,
                 const uint8_t digest[HASH_XXH128_BYTES]);
/* Opens a case with two differing opinions (a duplicate of a counted job differs). */
void screen_dispute(struct screen *s, uint64_t job, uint64_t worker_a,
                    const uint8_t digest_a[HASH_XXH128_BYTES], uint64_t worker_b,
                    const uint8_t digest_b[HASH_XXH128_BYTES]);
/* How many opinions there are on the job. */
uint32_t screen_opinions(const struct screen *s, uint64_t job);
/* Whether worker has an opinion on the job. */
bool screen_heard(const struct screen *s, uint64_t job, uint64_t worker);
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
