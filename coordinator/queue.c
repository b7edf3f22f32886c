/* queue.c - units become jobs, jobs change state. Three lines are kept: QUEUED jobs in the order in
 * which they are to be taken, LEASED jobs with a single attempt, longest running first, and apart
 * from both the audited jobs that want a copy on another host. */
#include "coordinator/queue.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/mem.h"

#define NONE UINT32_MAX

enum {
    LINE_NONE,
    LINE_QUEUED,
    LINE_SINGLE,
    LINE_AUDIT,
    LINES,
    UNITS_MAX = 1 << 20,
    JOBS_MAX = 1 << 22
};

struct line {
    uint32_t head, tail;
};

struct queue {
    uint32_t serial;
    uint64_t grants; /* attempts given out so far */
    bool open;
    uint32_t n_units;
    uint32_t *rows;    /* [n_units] */
    uint64_t *order;   /* [n_units], ~rows << 32 | unit: the most tokens first */
    uint32_t *waiting; /* a stack: the next unit is on top */
    uint32_t n_waiting;
    struct job *jobs;
    size_t jobs_capacity;
    uint32_t n_jobs;
    uint32_t *pool; /* the unit lists of all jobs, end to end */
    size_t pool_capacity, pool_used;
    struct line lines[LINES];
    struct queue_counts counts;
};

enum err queue_new(uint32_t first_serial, struct queue **out)
{
    struct queue *q = mem_calloc(1, sizeof *q);
    if (!q) {
        return ERR_NOMEM;
    }
    q->serial = first_serial;
    *out = q;
    return OK;
}

static void forget_units(struct queue *q)
{
    mem_free(q->rows);
    mem_free(q->order);
    mem_free(q->waiting);
    q->rows = NULL;
    q->order = NULL;
    q->waiting = NULL;
    q->n_units = 0;
    q->n_waiting = 0;
}

void queue_free(struct queue **q)
{
    if (*q) {
        forget_units(*q);
        mem_free((*q)->jobs);
        mem_free((*q)->pool);
        mem_free(*q);
        *q = NULL;
    }
}

/* A new serial, no jobs, every unit waiting, the longest on top. */
static void start_over(struct queue *q)
{
    q->serial++;
    if (q->serial == 0) {
        q->serial = 1;
    }
    q->n_jobs = 0;
    q->pool_used = 0;
    for (int i = 0; i < LINES; i++) {
        q->lines[i] = (struct line){NONE, NONE};
    }
    q->n_waiting = q->n_units;
    q->counts = (struct queue_counts){.units = q->n_units, .waiting = q->n_units};
    for (uint32_t i = 0; i < q->n_units; i++) {
        q->waiting[i] = (uint32_t)q->order[q->n_units - 1 - i];
        q->counts.rows += q->rows[i];
    }
    q->counts.rows_waiting = q->counts.rows;
}

static int compare_keys(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

enum err queue_open(struct queue *q, enum job_kind kind, const uint32_t *rows, uint32_t n_units)
{
    if (n_units == 0 || n_units > UNITS_MAX ||
        ((kind == JOB_GRADIENT || kind == JOB_CAPTURE) && n_units > LIMIT_STEP_UNITS)) {
        return ERR_RANGE;
    }
    uint32_t *copy = mem_calloc(n_units, sizeof *copy);
    uint64_t *order = mem_calloc(n_units, sizeof *order);
    uint32_t *waiting = mem_calloc(n_units, sizeof *waiting);
    if (!copy || !order || !waiting) {
        mem_free(copy);
        mem_free(order);
        mem_free(waiting);
        return ERR_NOMEM;
    }
    forget_units(q);
    memcpy(copy, rows, n_units * sizeof *rows);
    for (uint32_t i = 0; i < n_units; i++) {
        order[i] = (uint64_t)~rows[i] << 32 | i;
    }
    qsort(order, n_units, sizeof *order, compare_keys);
    q->rows = copy;
    q->order = order;
    q->waiting = waiting;
    q->n_units = n_units;
    q->open = true;
    start_over(q);
    return OK;
}

void queue_close(struct queue *q)
{
    forget_units(q);
    start_over(q);
    q->open = false;
}

static void leave_line(struct queue *q, struct job *job)
{
    if (job->line == LINE_NONE) {
        return;
    }
    struct line *line = &q->lines[job->line];
    *(job->prev == NONE ? &line->head : &q->jobs[job->prev].next) = job->next;
    *(job->next == NONE ? &line->tail : &q->jobs[job->next].prev) = job->prev;
    job->line = LINE_NONE;
}

static void join_line(struct queue *q, struct job *job, uint32_t which, bool front)
{
    uint32_t index = (uint32_t)(job - q->jobs);
    struct line *line = &q->lines[which];
    job->line = which;
    job->prev = front ? NONE : line->tail;
    job->next = front ? line->head : NONE;
    *(job->prev == NONE ? &line->head : &q->jobs[job->prev].next) = index;
    *(job->next == NONE ? &line->tail : &q->jobs[job->next].prev) = index;
}

/* Into the line of single attempts, where the one that was given out first stands first: a job
 * whose copy died is as old as the attempt that is left. */
static void join_by_age(struct queue *q, struct job *job)
{
    struct line *line = &q->lines[LINE_SINGLE];
    uint32_t index = (uint32_t)(job - q->jobs);
    uint32_t before = line->tail;
    while (before != NONE && q->jobs[before].live[0].grant > job->live[0].grant) {
        before = q->jobs[before].prev;
    }
    job->line = LINE_SINGLE;
    job->prev = before;
    job->next = before == NONE ? line->head : q->jobs[before].next;
    *(job->prev == NONE ? &line->head : &q->jobs[job->prev].next) = index;
    *(job->next == NONE ? &line->tail : &q->jobs[job->next].prev) = index;
}

/* The line in which a job stands by its state. */
static uint32_t line_of(const struct job *job)
{
    if (job->state == JOB_QUEUED) {
        return job->audit && job->opinions == 1 ? LINE_AUDIT : LINE_QUEUED;
    }
    if (job->state == JOB_LEASED && job->n_live == 1) {
        return job->audit && job->opinions == 0 ? LINE_AUDIT : LINE_SINGLE;
    }
    return LINE_NONE;
}

/* The one place that changes a state: lines and counts follow it. */
static void become(struct queue *q, struct job *job, enum job_state state, bool front)
{
    q->counts.jobs_queued -= job->state == JOB_QUEUED;
    q->counts.jobs_leased -= job->state == JOB_LEASED;
    leave_line(q, job);
    job->state = state;
    q->counts.jobs_queued += state == JOB_QUEUED;
    q->counts.jobs_leased += state == JOB_LEASED;
    uint32_t line = line_of(job);
    if (line == LINE_SINGLE) {
        join_by_age(q, job);
    } else if (line != LINE_NONE) {
        join_line(q, job, line, front && state == JOB_QUEUED);
    }
}

static struct job *find(const struct queue *q, uint64_t id)
{
    uint32_t index = (uint32_t)id;
    if (!q->open || id >> 32 != q->serial || index >= q->n_jobs) {
        return NULL;
    }
    struct job *job = &q->jobs[index];
    job->units = q->pool + job->first;
    return job;
}

const struct job *queue_job(const struct queue *q, uint64_t id)
{
    return find(q, id);
}

/* Room for one more job of n units; nothing changes when there is none. */
static enum err make_room(struct queue *q, uint32_t n)
{
    enum err error = mem_grow((void **)&q->jobs, &q->jobs_capacity, (size_t)q->n_jobs + 1,
                              sizeof *q->jobs, JOBS_MAX);
    return error != OK ? error
                       : mem_grow((void **)&q->pool, &q->pool_capacity, q->pool_used + n,
                                  sizeof *q->pool, (size_t)JOBS_MAX * 4);
}

/* The job takes the units on top of the stack. */
static uint64_t make(struct queue *q, uint32_t n, bool front)
{
    uint32_t index = q->n_jobs++;
    struct job *job = &q->jobs[index];
    *job = (struct job){.id = (uint64_t)q->serial << 32 | index,
                        .state = JOB_CLOSED,
                        .n_units = n,
                        .first = (uint32_t)q->pool_used,
                        .line = LINE_NONE};
    for (uint32_t i = 0; i < n; i++) {
        uint32_t unit = q->waiting[--q->n_waiting];
        q->pool[q->pool_used++] = unit;
        job->rows += q->rows[unit];
    }
    q->counts.jobs++;
    q->counts.waiting -= n;
    q->counts.rows_waiting -= job->rows;
    q->counts.leased += n;
    become(q, job, JOB_QUEUED, front);
    return job->id;
}

uint32_t queue_peek(const struct queue *q, uint32_t n, uint64_t rows,
                    uint32_t units[LIMIT_JOB_UNITS])
{
    uint32_t most = n < LIMIT_JOB_UNITS ? n : LIMIT_JOB_UNITS;
    uint64_t sum = 0;
    most = most < q->n_waiting ? most : q->n_waiting;
    for (n = 0; n < most; n++) {
        units[n] = q->waiting[q->n_waiting - 1 - n];
        sum += q->rows[units[n]];
        if (n > 0 && sum > rows) {
            break;
        }
    }
    return n;
}

void queue_bring(struct queue *q, uint32_t unit)
{
    uint32_t at = q->n_waiting;
    while (at > 0 && q->waiting[at - 1] != unit) {
        at--;
    }
    CHECK(at > 0);
    for (; at < q->n_waiting; at++) {
        q->waiting[at - 1] = q->waiting[at];
    }
    q->waiting[q->n_waiting - 1] = unit;
}

enum err queue_make(struct queue *q, uint32_t n, uint64_t rows, uint64_t *id)
{
    uint32_t units[LIMIT_JOB_UNITS];
    *id = 0;
    n = queue_peek(q, n, rows, units);
    if (n == 0) {
        return OK;
    }
    enum err error = make_room(q, n);
    if (error == OK) {
        *id = make(q, n, false);
    }
    return error;
}

enum err queue_restart(struct queue *q, uint64_t again, uint64_t *id)
{
    uint32_t units[LIMIT_JOB_UNITS];
    const struct job *job = find(q, again);
    uint32_t n = job ? job->n_units : 0;
    *id = 0;
    if (!q->open) {
        return ERR_STATE;
    }
    for (uint32_t i = 0; i < n; i++) {
        units[i] = job->units[i];
    }
    enum err error = n > 0 ? make_room(q, n) : OK;
    if (error != OK) {
        return error;
    }
    start_over(q);
    if (n == 0) {
        return OK;
    }
    /* Bring the wanted units to the top of the stack, the others keep their order. */
    uint32_t kept = 0;
    for (uint32_t i = 0; i < q->n_units; i++) {
        bool wanted = false;
        for (uint32_t j = 0; j < n; j++) {
            wanted = wanted || q->waiting[i] == units[j];
        }
        if (!wanted) {
            q->waiting[kept++] = q->waiting[i];
        }
    }
    CHECK(kept + n == q->n_units);
    for (uint32_t j = 0; j < n; j++) {
        q->waiting[kept + j] = units[n - 1 - j];
    }
    *id = make(q, n, true);
    return OK;
}

static bool avoids(const struct job *job, uint64_t worker)
{
    for (uint32_t i = 0; i < job->n_avoid; i++) {
        if (job->avoid[i] == worker) {
            return true;
        }
    }
    return false;
}

uint64_t queue_first(const struct queue *q, uint64_t worker, bool alone)
{
    uint32_t at = q->open ? q->lines[LINE_QUEUED].head : NONE;
    for (int i = 0; i < QUEUE_SCAN && at != NONE; i++, at = q->jobs[at].next) {
        if (alone || !avoids(&q->jobs[at], worker)) {
            return q->jobs[at].id;
        }
    }
    return 0;
}

uint64_t queue_slowest(const struct queue *q, uint64_t worker)
{
    uint32_t at = q->open ? q->lines[LINE_SINGLE].head : NONE;
    for (int i = 0; i < QUEUE_SCAN && at != NONE; i++, at = q->jobs[at].next) {
        const struct job *job = &q->jobs[at];
        if (job->live[0].worker != worker && !avoids(job, worker)) {
            return job->id;
        }
    }
    return 0;
}

uint64_t queue_audited(const struct queue *q, uint64_t id)
{
    const struct job *job = id ? find(q, id) : NULL;
    uint32_t at = !q->open ? NONE : job ? job->next : q->lines[LINE_AUDIT].head;
    return at == NONE ? 0 : q->jobs[at].id;
}

void queue_audit(struct queue *q, uint64_t id, bool audit)
{
    struct job *job = find(q, id);
    if (job && job->audit != audit) {
        job->audit = audit;
        become(q, job, job->state, true);
    }
}

void queue_opinions(struct queue *q, uint64_t id, uint32_t n, uint64_t host)
{
    struct job *job = find(q, id);
    if (job) {
        job->opinions = n;
        job->opinion_host = host;
        become(q, job, job->state, true);
    }
}

bool queue_holds(const struct queue *q, uint64_t worker)
{
    for (uint32_t i = 0; q->open && i < q->n_jobs; i++) {
        const struct job *job = &q->jobs[i];
        if (job->winner == worker && (job->state == JOB_SETTLING || job->state == JOB_DONE)) {
            return true;
        }
    }
    return false;
}

enum err queue_take(struct queue *q, uint64_t id, uint64_t worker, uint32_t slot, uint32_t *number)
{
    struct job *job = find(q, id);
    if (!job) {
        return ERR_STALE;
    }
    if (job->state != JOB_QUEUED && job->state != JOB_LEASED) {
        return ERR_STATE;
    }
    if (job->n_live == QUEUE_LIVE) {
        return ERR_FULL;
    }
    *number = ++job->attempts;
    job->live[job->n_live++] =
        (struct attempt){.worker = worker, .number = *number, .slot = slot, .grant = ++q->grants};
    become(q, job, JOB_LEASED, false);
    return OK;
}

/* Removes the attempt from the live ones; its worker, or 0 when it is not live. */
static uint64_t drop_attempt(struct job *job, uint32_t number)
{
    for (uint32_t i = 0; i < job->n_live; i++) {
        if (job->live[i].number == number) {
            uint64_t worker = job->live[i].worker;
            job->live[i] = job->live[--job->n_live];
            return worker;
        }
    }
    return 0;
}

static void avoid(struct job *job, uint64_t worker)
{
    if (!avoids(job, worker) && job->n_avoid < QUEUE_AVOID) {
        job->avoid[job->n_avoid++] = worker;
    }
}

/* Back in line, or still leased while another attempt runs. */
static void reopen(struct queue *q, struct job *job)
{
    become(q, job, job->n_live > 0 ? JOB_LEASED : JOB_QUEUED, true);
}

void queue_end(struct queue *q, uint64_t id, uint32_t number, enum attempt_end why, bool alone,
               bool *buried)
{
    struct job *job = find(q, id);
    *buried = false;
    uint64_t worker = job ? drop_attempt(job, number) : 0;
    if (worker == 0) {
        return;
    }
    if (why == ATTEMPT_FAILED) {
        job->many_failed = job->many_failed || (job->failures > 0 && job->failed_by != worker);
        job->failed_by = job->failures == 0 ? worker : job->failed_by;
        job->failures++;
        avoid(job, worker);
    } else if (why == ATTEMPT_LOST) {
        job->losses++;
    }
    if (job->state != JOB_LEASED) {
        return;
    }
    bool hopeless = (job->failures >= QUEUE_FAILURES && (job->many_failed || alone)) ||
                    job->losses >= QUEUE_LOSSES;
    if (hopeless && job->n_live == 0) {
        become(q, job, JOB_BURIED, false);
        *buried = true;
    } else {
        reopen(q, job);
    }
}

enum err queue_accept(struct queue *q, uint64_t id, uint32_t number, uint64_t worker,
                      const uint8_t digest[HASH_XXH128_BYTES])
{
    struct job *job = find(q, id);
    if (!job || number == 0 || number > job->attempts) {
        return ERR_STALE;
    }
    if (job->state == JOB_SETTLING || job->state == JOB_DONE) {
        return memcmp(job->digest, digest, sizeof job->digest) == 0 ? ERR_STALE : ERR_CORRUPT;
    }
    if (job->state != JOB_QUEUED && job->state != JOB_LEASED) {
        return ERR_STALE;
    }
    (void)drop_attempt(job, number);
    job->winner = worker;
    memcpy(job->digest, digest, sizeof job->digest);
    become(q, job, JOB_SETTLING, false);
    return OK;
}

enum err queue_settle(struct queue *q, uint64_t id, bool ok)
{
    struct job *job = find(q, id);
    if (!job || job->state != JOB_SETTLING) {
        return ERR_STALE;
    }
    if (!ok) {
        reopen(q, job);
        return OK;
    }
    become(q, job, JOB_DONE, false);
    q->counts.leased -= job->n_units;
    q->counts.done += job->n_units;
    q->counts.rows_done += job->rows;
    return OK;
}

void queue_avoid(struct queue *q, uint64_t id, uint64_t worker)
{
    struct job *job = find(q, id);
    if (job) {
        avoid(job, worker);
    }
}

enum err queue_split(struct queue *q, uint64_t id)
{
    struct job *job = find(q, id);
    if (!job) {
        return ERR_STALE;
    }
    if (job->state != JOB_QUEUED && job->state != JOB_LEASED) {
        return ERR_STATE;
    }
    become(q, job, JOB_CLOSED, false);
    for (uint32_t i = job->n_units; i-- > 0;) {
        q->waiting[q->n_waiting++] = job->units[i];
    }
    q->counts.waiting += job->n_units;
    q->counts.rows_waiting += job->rows;
    q->counts.leased -= job->n_units;
    return OK;
}

struct queue_counts queue_counts(const struct queue *q)
{
    struct queue_counts counts = q->counts;
    counts.serial = q->serial;
    return counts;
}
