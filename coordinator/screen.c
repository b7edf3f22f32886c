/* screen.c - bands from committed norms, and the few open cases. */
#include "coordinator/screen.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/limits.h"
#include "common/base/mem.h"

enum { OPINIONS = 2, BAND_MADS = 20 };

struct opinion {
    uint64_t worker;
    uint8_t digest[HASH_XXH128_BYTES];
};

struct open_case {
    uint64_t job; /* 0 = free */
    uint32_t n;
    struct opinion opinions[OPINIONS];
};

struct sealed { /* norms of a finished step that is not committed yet */
    bool used;
    uint32_t tag, n;
    float norms[LIMIT_STEP_UNITS];
};

struct screen {
    float window[SCREEN_WINDOW];
    uint64_t seen;
    double band;
    uint32_t n_noted;
    float noted[LIMIT_STEP_UNITS]; /* norms of the open step */
    struct sealed sealed[SCREEN_BATCHES];
    uint32_t next_sealed;
    struct open_case cases[SCREEN_CASES];
};

enum err screen_new(struct screen **out)
{
    struct screen *s = mem_calloc(1, sizeof *s);
    if (!s) {
        return ERR_NOMEM;
    }
    s->band = HUGE_VAL;
    *out = s;
    return OK;
}

void screen_free(struct screen **s)
{
    mem_free(*s);
    *s = NULL;
}

static struct open_case *find(const struct screen *s, uint64_t job)
{
    for (uint32_t i = 0; i < SCREEN_CASES; i++) {
        if (s->cases[i].job == job) {
            return (struct open_case *)&s->cases[i];
        }
    }
    return NULL;
}

static void add_opinion(struct open_case *c, uint64_t worker, const uint8_t *digest)
{
    c->opinions[c->n].worker = worker;
    memcpy(c->opinions[c->n].digest, digest, HASH_XXH128_BYTES);
    c->n++;
}

static enum screen_verdict judge_case(struct open_case *c, uint64_t worker, const uint8_t *digest,
                                      uint64_t others[2])
{
    for (uint32_t i = 0; i < c->n; i++) {
        others[i] = c->opinions[i].worker;
    }
    for (uint32_t i = 0; i < c->n; i++) {
        if (memcmp(c->opinions[i].digest, digest, HASH_XXH128_BYTES) == 0) {
            others[0] = c->opinions[c->n == OPINIONS ? 1 - i : i].worker;
            return c->n == OPINIONS ? SCREEN_DECIDED : SCREEN_ACCEPT;
        }
    }
    if (c->n == OPINIONS) {
        return SCREEN_NO_MAJORITY;
    }
    add_opinion(c, worker, digest);
    return SCREEN_CONFLICT;
}

enum screen_verdict screen_judge(struct screen *s, uint64_t job, uint64_t worker,
                                 const uint8_t digest[HASH_XXH128_BYTES],
                                 const struct result_row *rows, uint32_t n_rows, uint64_t others[2],
                                 uint32_t *opinions)
{
    bool within = true;
    others[0] = 0;
    others[1] = 0;
    *opinions = 0;
    for (uint32_t i = 0; i < n_rows; i++) {
        if (!isfinite(rows[i].sumsq) || rows[i].sumsq < 0.0) {
            return SCREEN_NOT_FINITE;
        }
        within = within && sqrt(rows[i].sumsq) <= s->band;
    }
    struct open_case *c = find(s, job);
    if (c) {
        *opinions = c->n;
        return judge_case(c, worker, digest, others);
    }
    c = within ? NULL : find(s, 0);
    if (!c) {
        return SCREEN_ACCEPT; /* with every case taken, a finite result is taken as it is */
    }
    *c = (struct open_case){.job = job};
    add_opinion(c, worker, digest);
    return SCREEN_AGAIN;
}

void screen_dispute(struct screen *s, uint64_t job, uint64_t worker_a,
                    const uint8_t digest_a[HASH_XXH128_BYTES], uint64_t worker_b,
                    const uint8_t digest_b[HASH_XXH128_BYTES])
{
    struct open_case *c = find(s, 0);
    if (c) {
        *c = (struct open_case){.job = job};
        add_opinion(c, worker_a, digest_a);
        add_opinion(c, worker_b, digest_b);
    }
}

bool screen_has_case(const struct screen *s, uint64_t job)
{
    return job != 0 && find(s, job) != NULL;
}

void screen_close(struct screen *s, uint64_t job)
{
    struct open_case *c = job ? find(s, job) : NULL;
    if (c) {
        *c = (struct open_case){0};
    }
}

void screen_close_all(struct screen *s)
{
    memset(s->cases, 0, sizeof s->cases);
}

void screen_note(struct screen *s, const struct result_row *rows, uint32_t n_rows)
{
    for (uint32_t i = 0; i < n_rows && s->n_noted < LIMIT_STEP_UNITS; i++) {
        s->noted[s->n_noted++] = (float)sqrt(rows[i].sumsq);
    }
}

void screen_seal(struct screen *s, uint32_t tag)
{
    struct sealed *to = &s->sealed[s->next_sealed++ % SCREEN_BATCHES];
    to->used = true;
    to->tag = tag;
    to->n = s->n_noted;
    memcpy(to->norms, s->noted, s->n_noted * sizeof *s->noted);
    s->n_noted = 0;
}

void screen_drop(struct screen *s)
{
    s->n_noted = 0;
}

static int compare_floats(const void *a, const void *b)
{
    float x = *(const float *)a;
    float y = *(const float *)b;
    return (x > y) - (x < y);
}

static void set_band(struct screen *s)
{
    float sorted[SCREEN_WINDOW];
    size_t n = s->seen < SCREEN_WINDOW ? (size_t)s->seen : SCREEN_WINDOW;
    if (n < SCREEN_MIN) {
        return;
    }
    memcpy(sorted, s->window, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, compare_floats);
    double median = (double)sorted[n / 2];
    for (size_t i = 0; i < n; i++) {
        sorted[i] = (float)fabs((double)s->window[i] - median);
    }
    qsort(sorted, n, sizeof *sorted, compare_floats);
    double mad = (double)sorted[n / 2];
    double least = median / 20.0;
    s->band = median + BAND_MADS * (mad > least ? mad : least);
}

void screen_committed(struct screen *s, uint32_t tag)
{
    for (uint32_t i = 0; i < SCREEN_BATCHES; i++) {
        struct sealed *from = &s->sealed[i];
        if (!from->used || from->tag != tag) {
            continue;
        }
        for (uint32_t j = 0; j < from->n; j++) {
            s->window[s->seen++ % SCREEN_WINDOW] = from->norms[j];
        }
        from->used = false;
        set_band(s);
    }
}

double screen_band(const struct screen *s)
{
    return s->band;
}
