/* matrix_run.c - the batch. */
#include "cli/matrix_run.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/matrix_child.h"
#include "cli/matrix_key.h"
#include "cli/matrix_store.h"
#include "cli/scratch.h"
#include "common/base/clock.h"
#include "common/base/mem.h"
#include "coordinator/export.h"
#include "coordinator/journal.h"

enum {
    PLAIN_EVERY_S = 10,
    CURVE_POINTS = 400,
    ORPHAN_WAIT_S = 60, /* a run of a killed batch stops within the open step */
    LOOK_MS = 200,
};

/* The running cell, as the progress line needs it. */
struct view {
    struct matrix_batch *b;
    uint32_t index;
    double left_s; /* estimates of the cells after this one that are not done */
    double pace;   /* truth / estimate so far */
    double shown_at;
    bool terminal;
};

enum err matrix_open(const char *folder, int *lock, struct errbuf *e)
{
    static const char *const names[] = {"", "cells", "work", "results", "logs"};
    char path[FILE_PATH_BYTES];
    enum err error = OK;
    *lock = -1;
    for (size_t i = 0; i < sizeof names / sizeof names[0] && error == OK; i++) {
        error = file_join(path, folder, names[i], e);
        error = error == OK ? file_make_folder(path, e) : error;
    }
    if (error == OK) {
        error = file_join(path, folder, "lock", e);
    }
    if (error != OK) {
        return error;
    }
    *lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (*lock < 0) {
        return err_set(e, err_from_errno(errno), "%s: %s", path, strerror(errno));
    }
    if (flock(*lock, LOCK_EX | LOCK_NB) != 0) {
        (void)close(*lock);
        *lock = -1;
        return err_set(e, ERR_BUSY, "%s: another pft reproduce works there", folder);
    }
    return OK;
}

static void duration(char out[16], double seconds)
{
    unsigned s = seconds > 0.0 && seconds < 1e7 ? (unsigned)(seconds + 0.5) : 0;
    (void)snprintf(out, 16, "%u:%02u:%02u", s / 3600, s / 60 % 60, s % 60);
}

static void show(void *context, double seconds)
{
    struct view *v = context;
    const struct matrix_cell *c = &v->b->cells[v->index];
    char gone[16];
    char eta[16];
    double rest = c->estimate_s * v->pace - seconds;
    duration(gone, seconds);
    duration(eta, (rest > 0.0 ? rest : 0.0) + v->left_s * v->pace);
    if (!v->terminal && seconds - v->shown_at < PLAIN_EVERY_S) {
        return;
    }
    v->shown_at = seconds;
    (void)fprintf(stderr, "%s[%u/%u] %s  %s of about %.0f s  ETA %s%s",
                  v->terminal ? "\r\033[K" : "", v->index + 1, v->b->n, c->name, gone,
                  c->estimate_s * v->pace, eta, v->terminal ? "" : "\n");
    (void)fflush(stderr);
}

static enum err run_is_finished(const struct matrix_place *p, bool *begun, bool *finished,
                                struct errbuf *e)
{
    char db[FILE_PATH_BYTES];
    char report[FILE_PATH_BYTES];
    enum err error = file_join(db, p->run, "run.db", e);
    if (error == OK) {
        error = file_join(report, p->run, "report.md", e);
    }
    *begun = error == OK && file_exists(db);
    *finished = error == OK && file_exists(report);
    return error;
}

/* Waits until no coordinator holds a folder: one whose batch was killed stops by itself. */
static enum err wait_for_run(const char *run, struct errbuf *e)
{
    char path[FILE_PATH_BYTES];
    uint64_t begin = clock_now_ms();
    bool told = false;
    enum err error = file_join(path, run, "lock", e);
    int fd = error == OK ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0) {
        return error;
    }
    while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (clock_now_ms() - begin > (uint64_t)ORPHAN_WAIT_S * 1000) {
            error = err_set(e, ERR_BUSY,
                            "%s: a coordinator has been at work there for more than %d s; stop it "
                            "with pft stop %s",
                            run, ORPHAN_WAIT_S, run);
            break;
        }
        if (!told) {
            (void)fprintf(stderr, "pft: waiting for what an earlier start left in %s\n", run);
            told = true;
        }
        const struct timespec pause = {.tv_nsec = LOOK_MS * 1000000L};
        (void)nanosleep(&pause, NULL);
    }
    (void)close(fd);
    return error;
}

/* {"adapter", "curve": [[step, loss], ...], "train_seconds"} of a finished run. */
static enum err describe_run(const struct matrix_place *p, json_t **out, struct errbuf *e)
{
    char adapter[FILE_PATH_BYTES];
    char hash[HASH_SHA256_HEX];
    struct journal *j = NULL;
    json_t *curve = json_array();
    double seconds = 0.0;
    enum err error = file_join(adapter, p->run, "adapter", e);
    if (error == OK) {
        error = export_hash(adapter, hash, e);
    }
    if (error == OK) {
        error = journal_open_reader(p->run, &j, e);
    }
    uint64_t steps = error == OK ? journal_steps(j) : 0;
    uint64_t stride = (steps + CURVE_POINTS - 1) / CURVE_POINTS;
    double sum = 0.0;
    for (uint64_t i = 0; i < steps && error == OK; i++) {
        struct journal_step step;
        error = journal_step_get(j, i, &step, e);
        seconds += step.seconds;
        sum += step.loss;
        if ((i + 1) % stride == 0 || i + 1 == steps) {
            double of = (double)(i % stride + 1);
            (void)json_array_append_new(curve, json_pack("[I,f]", (json_int_t)i + 1, sum / of));
            sum = 0.0;
        }
    }
    journal_close(&j);
    *out = error == OK ? json_pack("{s:s,s:O,s:f}", "adapter", hash, "curve", curve,
                                   "train_seconds", seconds)
                       : NULL;
    json_decref(curve);
    return error == OK && !*out ? err_set(e, ERR_NOMEM, "no memory for a curve") : error;
}

enum err matrix_is_done(const struct matrix_batch *b, const struct matrix_cell *c, bool *done,
                        struct errbuf *e)
{
    struct matrix_place p;
    char key[HASH_SHA256_HEX];
    json_t *kept = NULL;
    bool begun;
    bool finished = true;
    *done = false;
    enum err error = matrix_place(b->m, c, b->folder, &p, e);
    if (error == OK && b->m->variants[c->variant].trained) {
        error = run_is_finished(&p, &begun, &finished, e);
    }
    if (error != OK || !finished) {
        return error;
    }
    error = matrix_key(b->m, c, &p, key, e);
    if (error == OK) {
        error = matrix_store_get(p.result, key, &kept, e);
    }
    *done = kept != NULL;
    json_decref(kept);
    return error;
}

/* Runs the commands of a cell; *code of the one that failed, or 0. */
static enum err run_commands(struct view *v, const struct matrix_place *p, bool resume,
                             double *seconds, int *code, struct errbuf *e)
{
    const struct matrix_batch *b = v->b;
    const struct matrix_cell *c = &b->cells[v->index];
    struct matrix_commands list = {0};
    enum err error = matrix_commands(b->m, c, p, resume, b->workers, &list, e);
    *code = 0;
    *seconds = 0.0;
    if (error == OK) {
        error = file_make_folder(p->work, e);
    }
    for (uint32_t i = 0; i < list.n && error == OK && *code == 0; i++) {
        struct matrix_child child = {
            .log = p->log, .capture = p->answer, .tick = show, .context = v};
        error = matrix_child_run(&child, &list.items[i], e);
        *code = child.code;
        *seconds += child.seconds;
    }
    matrix_commands_free(&list);
    return error;
}

/* pft eval leaves the single questions in its folder; what others print is all there is. */
static enum err read_answer(const struct matrix_place *p, json_t **out, struct errbuf *e)
{
    char path[FILE_PATH_BYTES];
    enum err error = file_join(path, p->eval, "result.json", e);
    return error == OK ? matrix_store_read(file_exists(path) ? path : p->answer, out, e) : error;
}

/* Takes over what the cell left. */
static enum err keep_result(const struct matrix_cell *c, const struct matrix_place *p,
                            const char *key, double seconds, int attempts, struct errbuf *e)
{
    json_t *result = NULL;
    enum err error =
        c->evaluation == MATRIX_TRAIN ? describe_run(p, &result, e) : read_answer(p, &result, e);
    if (error == OK) {
        error = matrix_store_put(p->result, key, seconds, attempts, result, e);
    }
    if (error == OK) {
        (void)unlink(p->answer);
        scratch_clear(p->eval);
        (void)unlink(p->eval_key);
    }
    return error;
}

/* A training that ended but was not written down, or that others settings made. */
static enum err take_finished(const struct matrix_cell *c, const struct matrix_place *p,
                              const char *key, struct errbuf *e)
{
    json_t *other = NULL;
    enum err error = matrix_store_get(p->result, NULL, &other, e);
    if (error == OK && other) {
        error = err_set(e, ERR_REFUSED,
                        "%s was trained with other settings than the matrix has now; choose "
                        "another --out, or remove it and %s",
                        p->run, p->result);
    } else if (error == OK) {
        error = keep_result(c, p, key, 0.0, 2, e);
    }
    json_decref(other);
    return error;
}

/* What is left of an evaluation with other settings would refuse to go on with these. */
static enum err begin_evaluation(const struct matrix_place *p, const char *key, bool *resume,
                                 struct errbuf *e)
{
    char *earlier = NULL;
    size_t bytes = 0;
    enum err error = wait_for_run(p->eval, e);
    if (error != OK) {
        return error;
    }
    bool same = file_exists(p->eval_key) &&
                file_read(p->eval_key, HASH_SHA256_HEX, &earlier, &bytes, NULL) == OK &&
                strcmp(earlier, key) == 0;
    mem_free(earlier);
    *resume = same && file_exists(p->eval);
    if (!same) {
        scratch_clear(p->eval);
        error = file_write_atomic(p->eval_key, key, strlen(key), e);
    }
    return error;
}

static void count_up(struct view *v, double seconds, int attempts)
{
    struct matrix_batch *b = v->b;
    double estimate = b->cells[v->index].estimate_s;
    if (attempts == 1 && estimate > 0.0) {
        b->truth_s += seconds;
        b->estimate_s += estimate;
        b->compared++;
        double pace = b->truth_s / b->estimate_s;
        v->pace = pace < 0.25 ? 0.25 : pace > 4.0 ? 4.0 : pace;
    }
}

static enum err run_cell(struct view *v, struct errbuf *e)
{
    struct matrix_batch *b = v->b;
    const struct matrix_cell *c = &b->cells[v->index];
    struct matrix_place p;
    char key[HASH_SHA256_HEX];
    bool begun = false;
    bool finished = false;
    bool training = c->evaluation == MATRIX_TRAIN;
    double seconds = 0.0;
    int code = 0;
    enum err error = matrix_place(b->m, c, b->folder, &p, e);
    if (error == OK && b->m->variants[c->variant].trained) {
        error = run_is_finished(&p, &begun, &finished, e);
    }
    if (error == OK && begun && !finished) {
        error = wait_for_run(p.run, e);
        error = error == OK ? run_is_finished(&p, &begun, &finished, e) : error;
    }
    if (error == OK && !training && b->m->variants[c->variant].trained && !finished) {
        (void)fprintf(stderr, "[%u/%u] %s: left out, its training failed\n", v->index + 1, b->n,
                      c->name);
        b->failed++;
        return OK;
    }
    if (error == OK) { /* of the files as they are now, whatever they are at the end */
        error = matrix_key(b->m, c, &p, key, e);
    }
    if (error == OK && training && finished) {
        error = take_finished(c, &p, key, e);
        b->done += error == OK;
        return error;
    }
    bool resume = begun;
    if (error == OK && !training) {
        error = begin_evaluation(&p, key, &resume, e);
    }
    if (error == OK) {
        v->shown_at = -PLAIN_EVERY_S;
        show(v, 0.0);
        error = run_commands(v, &p, training && resume, &seconds, &code, e);
        (void)fputs(v->terminal ? "\r\033[K" : "", stderr);
    }
    if (error == OK && code == CLI_INTERRUPTED) {
        return err_set(e, ERR_GONE, "interrupted; the same command goes on");
    }
    if (error == OK && code != 0) {
        (void)fprintf(stderr, "[%u/%u] %s failed with exit code %d (%s)\n", v->index + 1, b->n,
                      c->name, code, p.log);
        b->failed++;
        return OK;
    }
    if (error == OK) {
        error = keep_result(c, &p, key, seconds, resume ? 2 : 1, e);
    }
    if (error == OK) {
        count_up(v, seconds, resume ? 2 : 1);
        (void)fprintf(stderr, "[%u/%u] %s  %.1f s (estimate %.1f s)\n", v->index + 1, b->n, c->name,
                      seconds, c->estimate_s);
        b->done++;
    }
    return error;
}

enum err matrix_run(struct matrix_batch *b, struct errbuf *e)
{
    struct view v = {.b = b, .pace = 1.0, .terminal = isatty(STDERR_FILENO) != 0};
    bool *done = mem_calloc(b->n, sizeof *done);
    enum err error = done ? OK : err_set(e, ERR_NOMEM, "no memory for %u cells", b->n);
    for (uint32_t i = 0; i < b->n && error == OK; i++) {
        error = matrix_is_done(b, &b->cells[i], &done[i], e);
        v.left_s += done[i] ? 0.0 : b->cells[i].estimate_s;
    }
    for (uint32_t i = 0; i < b->n && error == OK; i++) {
        v.index = i;
        if (done[i]) {
            b->done++;
            continue;
        }
        v.left_s -= b->cells[i].estimate_s;
        error = run_cell(&v, e);
    }
    mem_free(done);
    return error;
}
