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
    bool repeated[OPINIONS]; /* said again by the same worker */
    uint32_t repeats;
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
    uint32_t n_cases; /* no case lies behind */
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
    for (uint32_t i = 0; i < s->n_cases; i++) {
        if (s->cases[i].job == job) {
            return (struct open_case *)&s->cases[i];
        }
    }
    return NULL;
}

/* A free case for job; NULL when all are taken. */
static struct open_case *open_case(struct screen *s, uint64_t job)
{
    struct open_case *c = find(s, 0);
    if (!c && s->n_cases < SCREEN_CASES) {
        c = &s->cases[s->n_cases++];
    }
    if (c) {
        *c = (struct open_case){.job = job};
    }
    return c;
}

static void add_opinion(struct open_case *c, uint64_t worker, const uint8_t *digest)
{
    c->opinions[c->n].worker = worker;
    memcpy(c->opinions[c->n].digest, digest, HASH_XXH128_BYTES);
    c->n++;
}

static void drop_opinion(struct open_case *c, uint32_t i)
{
    c->opinions[i] = c->opinions[--c->n];
    c->repeated[0] = c->repeated[1] = false;
}

/* A worker that has an opinion already is heard again. */
static enum screen_verdict hear_again(struct open_case *c, uint32_t own, const uint8_t *digest,
                                      uint64_t others[2])
{
    if (memcmp(c->opinions[own].digest, digest, HASH_XXH128_BYTES) != 0) {
        drop_opinion(c, own);
        others[0] = c->n > 0 ? c->opinions[0].worker : 0;
        return ++c->repeats == SCREEN_REPEATS ? SCREEN_NO_MAJORITY : SCREEN_PERJURED;
    }
    if (c->n < OPINIONS) {
        return SCREEN_ACCEPT; /* nobody else is left to ask */
    }
    c->repeated[own] = true;
    bool both = c->repeated[0] && c->repeated[1];
    return both || ++c->repeats == SCREEN_REPEATS ? SCREEN_NO_MAJORITY : SCREEN_REPEATED;
}

static enum screen_verdict judge_case(struct open_case *c, uint64_t worker, const uint8_t *digest,
                                      uint64_t others[2])
{
    for (uint32_t i = 0; i < c->n; i++) {
        others[i] = c->opinions[i].worker;
    }
    for (uint32_t i = 0; i < c->n; i++) {
        if (c->opinions[i].worker == worker) {
            return hear_again(c, i, digest, others);
        }
    }
    for (uint32_t i = 0; i < c->n; i++) {
        if (memcmp(c->opinions[i].digest, digest, HASH_XXH128_BYTES) == 0) {
            if (c->n < OPINIONS) {
                return SCREEN_ACCEPT;
            }
            others[0] = c->opinions[1 - i].worker;
            others[1] = c->opinions[i].worker;
            return SCREEN_DECIDED;
        }
    }
    if (c->n == OPINIONS) {
        return SCREEN_NO_MAJORITY;
    }
    add_opinion(c, worker, digest);
    return c->n == OPINIONS ? SCREEN_CONFLICT : SCREEN_AGAIN;
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
    /* With every case taken, a finite result is taken as it is. */
    return !within && screen_keep(s, job, worker, digest) ? SCREEN_AGAIN : SCREEN_ACCEPT;
}

bool screen_keep(struct screen *s, uint64_t job, uint64_t worker,
                 const uint8_t digest[HASH_XXH128_BYTES])
{
    struct open_case *c = open_case(s, job);
    if (c) {
        add_opinion(c, worker, digest);
    }
    return c != NULL;
}

void screen_dispute(struct screen *s, uint64_t job, uint64_t worker_a,
                    const uint8_t digest_a[HASH_XXH128_BYTES], uint64_t worker_b,
                    const uint8_t digest_b[HASH_XXH128_BYTES])
{
    struct open_case *c = open_case(s, job);
    if (c) {
        add_opinion(c, worker_a, digest_a);
        add_opinion(c, worker_b, digest_b);
    }
}

uint64_t screen_forget(struct screen *s, uint64_t worker, uint64_t *left)
{
    for (uint32_t i = 0; i < s->n_cases; i++) {
        struct open_case *c = &s->cases[i];
        for (uint32_t j = 0; c->job != 0 && j < c->n; j++) {
            if (c->opinions[j].worker == worker) {
                drop_opinion(c, j);
                *left = c->n > 0 ? c->opinions[0].worker : 0;
                return c->job;
            }
        }
    }
    return 0;
}

void screen_rename(struct screen *s, uint64_t before, uint64_t now)
{
    for (uint32_t i = 0; before != 0 && i < s->n_cases; i++) {
        for (uint32_t j = 0; j < s->cases[i].n; j++) {
            uint64_t *worker = &s->cases[i].opinions[j].worker;
            *worker = *worker == before ? now : *worker;
        }
    }
}

uint32_t screen_opinions(const struct screen *s, uint64_t job)
{
    const struct open_case *c = job ? find(s, job) : NULL;
    return c ? c->n : 0;
}

bool screen_heard(const struct screen *s, uint64_t job, uint64_t worker)
{
    const struct open_case *c = job ? find(s, job) : NULL;
    for (uint32_t i = 0; c && i < c->n; i++) {
        if (c->opinions[i].worker == worker) {
            return true;
        }
    }
    return false;
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
    s->n_cases = 0;
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
