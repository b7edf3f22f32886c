/* journal.c - the lock and the steps; run.db is journal_db.c, the log of gradients journal_log.c.
 */
#include "coordinator/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "common/base/failpoint.h"
#include "common/base/mem.h"
#include "coordinator/journal_db.h"

enum { LOSS_COLUMN = 1, RATE_COLUMN = 3, PLACE_COLUMN = 8, COST_COLUMN = 12, KL_COLUMN = 17 };

static enum err take_lock(struct journal *j, struct errbuf *e)
{
    char path[FILE_PATH_BYTES];
    char pid[32] = "?";
    enum err error = file_join(path, j->folder, "lock", e);
    if (error != OK) {
        return error;
    }
    j->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (j->lock < 0) {
        return err_set(e, err_from_errno(errno), "%s: cannot be opened: %s", path, strerror(errno));
    }
    if (flock(j->lock, LOCK_EX | LOCK_NB) != 0) {
        ssize_t n = pread(j->lock, pid, sizeof pid - 1, 0);
        pid[n > 0 ? (size_t)n : 1] = '\0';
        (void)close(j->lock);
        j->lock = -1;
        return err_set(e, ERR_BUSY,
                       "%s: another coordinator (pid %s) has this run; stop it, or give another "
                       "--out folder",
                       j->folder, pid);
    }
    int n = snprintf(pid, sizeof pid, "%ld", (long)getpid());
    errno = ENOSPC; /* of a short write */
    if (ftruncate(j->lock, 0) != 0 || pwrite(j->lock, pid, (size_t)n, 0) != n) {
        return err_set(e, err_from_errno(errno), "%s: cannot be written: %s", path,
                       strerror(errno));
    }
    return OK;
}

static void place_of(sqlite3_stmt *s, struct journal_place *place)
{
    const int column = PLACE_COLUMN;
    place->loss = sqlite3_column_double(s, LOSS_COLUMN);
    place->lr = sqlite3_column_double(s, RATE_COLUMN);
    place->segment = (uint64_t)sqlite3_column_int64(s, column);
    place->offset = (uint64_t)sqlite3_column_int64(s, column + 1);
    place->bytes = (uint64_t)sqlite3_column_int64(s, column + 2);
    const void *digest = sqlite3_column_blob(s, column + 3);
    memset(place->digest, 0, sizeof place->digest);
    if (digest && sqlite3_column_bytes(s, column + 3) == (int)sizeof place->digest) {
        memcpy(place->digest, digest, sizeof place->digest);
    }
}

/* After journal_go_back the log may hold records of steps that are no more. */
static enum err cut_after_back(struct journal *j, struct errbuf *e)
{
    struct str step = {0};
    enum err error = journal_meta_get(j, JOURNAL_WENT_BACK, &step, e);
    str_free(&step);
    if (error != OK) {
        return error == ERR_NOT_FOUND ? OK : error;
    }
    const char *const texts[] = {JOURNAL_WENT_BACK, NULL};
    error = journal_log_cut(&j->log, e);
    return error == OK
               ? journal_execute(j, "DELETE FROM meta WHERE key = ?", texts, "cut the log", e)
               : error;
}

/* Opens the log where the last committed row says that it ends; a reader only learns where. */
static enum err open_log(struct journal *j, bool writer, struct errbuf *e)
{
    sqlite3_stmt *s = NULL;
    struct journal_place place;
    enum err error =
        journal_prepare(j, "SELECT * FROM steps ORDER BY step DESC LIMIT 1", NULL, &s, e);
    if (error != OK) {
        return error;
    }
    int code = sqlite3_step(s);
    uint64_t segment = 0;
    uint64_t end = 0;
    if (code == SQLITE_ROW) {
        place_of(s, &place);
        j->steps = (uint64_t)sqlite3_column_int64(s, 0) + 1;
        bool closed = journal_log_closed(&j->log, place.segment);
        segment = closed ? j->steps : place.segment;
        end = closed ? 0 : place.offset + place.bytes;
    } else if (code != SQLITE_DONE) {
        error = journal_db_fail(j, e, "read the steps");
    }
    (void)sqlite3_finalize(s);
    if (error == OK && writer) {
        error = journal_log_open(&j->log, j->folder, segment, end, e);
        error = error == OK ? cut_after_back(j, e) : error;
        return error == OK && end > 0 ? journal_log_check_end(&j->log, &place, j->steps - 1, e)
                                      : error;
    }
    j->log.segment = segment;
    j->log.end = end;
    return error;
}

static enum err start(const char *run_folder, bool writer, struct journal **out, struct errbuf *e)
{
    struct journal *j = mem_calloc(1, sizeof *j);
    if (!j) {
        return ERR_NOMEM;
    }
    j->lock = -1;
    j->log.fd = -1;
    enum err error = OK;
    if (snprintf(j->folder, sizeof j->folder, "%s", run_folder) >= (int)sizeof j->folder) {
        error = err_set(e, ERR_RANGE, "the run folder's path is longer than %d bytes",
                        FILE_PATH_BYTES - 1);
    }
    memcpy(j->log.folder, j->folder, sizeof j->folder);
    if (error == OK && writer) {
        error = file_make_folder(run_folder, e);
        error = error == OK ? take_lock(j, e) : error;
    }
    if (error == OK) {
        error = journal_db_open(
            j, writer ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY, e);
    }
    error = error == OK ? open_log(j, writer, e) : error;
    if (error != OK) {
        journal_close(&j);
        return error;
    }
    *out = j;
    return OK;
}

enum err journal_open(const char *run_folder, struct journal **out, struct errbuf *e)
{
    return start(run_folder, true, out, e);
}

enum err journal_open_reader(const char *run_folder, struct journal **out, struct errbuf *e)
{
    return start(run_folder, false, out, e);
}

void journal_close(struct journal **j)
{
    if (*j) {
        journal_log_close(&(*j)->log);
        (void)sqlite3_close((*j)->db);
        if ((*j)->lock >= 0) {
            (void)close((*j)->lock);
        }
        mem_free(*j);
        *j = NULL;
    }
}

void journal_discard(const char *run_folder)
{
    static const char *const names[] = {"run.db",    "run.db-wal", "run.db-shm",
                                        "steps.log", "lock",       "checkpoints"};
    char path[FILE_PATH_BYTES];
    if (file_join(path, run_folder, "lock", NULL) != OK) {
        return;
    }
    int lock = open(path, O_RDWR | O_CLOEXEC);
    if (lock >= 0 && flock(lock, LOCK_EX | LOCK_NB) == 0) {
        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
            if (file_join(path, run_folder, names[i], NULL) == OK) {
                (void)remove(path);
            }
        }
        (void)rmdir(run_folder);
    }
    if (lock >= 0) {
        (void)close(lock);
    }
}

uint64_t journal_steps(const struct journal *j)
{
    return j->steps;
}

static enum err insert_row(struct journal *j, const struct journal_step *step,
                           const struct journal_place *place, struct errbuf *e)
{
    sqlite3_stmt *s = NULL;
    enum err error = journal_prepare(
        j, "INSERT INTO steps VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)", NULL, &s, e);
    if (error != OK) {
        return error;
    }
    const double reals[] = {step->loss, step->norm, step->lr, step->seconds};
    const uint64_t counts[] = {step->tokens,   step->pairs,   step->labels,
                               place->segment, place->offset, place->bytes};
    int bad = sqlite3_bind_int64(s, 1, (sqlite3_int64)step->step);
    for (int i = 0; i < 4; i++) {
        bad |= sqlite3_bind_double(s, 2 + i, reals[i]);
    }
    for (int i = 0; i < 6; i++) {
        bad |= sqlite3_bind_int64(s, 6 + i, (sqlite3_int64)counts[i]);
    }
    bad |= sqlite3_bind_blob(s, 12, place->digest, sizeof place->digest, SQLITE_STATIC);
    bad |= sqlite3_bind_int64(s, COST_COLUMN + 1, step->cost.slots);
    bad |= sqlite3_bind_int64(s, COST_COLUMN + 2, step->cost.jobs);
    bad |= sqlite3_bind_double(s, COST_COLUMN + 3, step->cost.compute_s);
    bad |= sqlite3_bind_double(s, COST_COLUMN + 4, step->cost.adding_s);
    bad |= sqlite3_bind_double(s, COST_COLUMN + 5, step->cost.finishing_s);
    bad |= sqlite3_bind_double(s, KL_COLUMN + 1, step->kl);
    if (FAILPOINT_FAILS("journal.commit")) {
        error = err_set(e, err_from_errno(errno), "%s/run.db: cannot commit a step: %s", j->folder,
                        strerror(errno));
    } else if (bad || sqlite3_step(s) != SQLITE_DONE) {
        error = journal_db_fail(j, e, "commit a step");
    }
    (void)sqlite3_finalize(s);
    return error;
}

/* The record of the step in the log: put there now, or by an earlier call whose row found no room.
 */
static enum err record_step(struct journal *j, const struct journal_step *step,
                            const float *gradient, size_t count, struct errbuf *e)
{
    if (j->recorded) {
        uint8_t digest[HASH_XXH128_BYTES];
        hash_xxh128(gradient, count * sizeof *gradient, digest);
        return memcmp(digest, j->place.digest, sizeof digest) == 0
                   ? OK
                   : err_set(e, ERR_STATE, "step %llu comes again with another gradient",
                             (unsigned long long)step->step);
    }
    enum err error = journal_log_append(&j->log, step->step, step->loss, step->lr, gradient, count,
                                        &j->place, e);
    j->recorded = error == OK;
    return error;
}

/* A commit that failed may be on the disk all the same, and is then found by the next start: the
 * record stays, and what has no row is cut when the log is opened. */
enum err journal_append(struct journal *j, const struct journal_step *step, const float *gradient,
                        size_t count, struct errbuf *e)
{
    if (step->step != j->steps) {
        return err_set(e, ERR_STATE, "step %llu is not the next one to commit (%llu)",
                       (unsigned long long)step->step, (unsigned long long)j->steps);
    }
    FAILPOINT("journal.before_append");
    enum err error = record_step(j, step, gradient, count, e);
    if (error != OK) {
        return error;
    }
    FAILPOINT("journal.after_fsync");
    error = insert_row(j, step, &j->place, e);
    if (error != OK) {
        return error == ERR_NOSPACE ? ERR_NOSPACE : ERR_IO;
    }
    j->recorded = false;
    j->steps++;
    FAILPOINT("journal.after_commit");
    return OK;
}

static void step_of(sqlite3_stmt *s, struct journal_step *out)
{
    *out = (struct journal_step){.step = (uint64_t)sqlite3_column_int64(s, 0),
                                 .loss = sqlite3_column_double(s, 1),
                                 .norm = sqlite3_column_double(s, 2),
                                 .lr = sqlite3_column_double(s, 3),
                                 .seconds = sqlite3_column_double(s, 4),
                                 .tokens = (uint64_t)sqlite3_column_int64(s, 5),
                                 .pairs = (uint64_t)sqlite3_column_int64(s, 6),
                                 .labels = (uint64_t)sqlite3_column_int64(s, 7)};
    if (sqlite3_column_count(s) > COST_COLUMN) {
        out->cost =
            (struct journal_cost){.slots = (uint32_t)sqlite3_column_int64(s, COST_COLUMN),
                                  .jobs = (uint32_t)sqlite3_column_int64(s, COST_COLUMN + 1),
                                  .compute_s = sqlite3_column_double(s, COST_COLUMN + 2),
                                  .adding_s = sqlite3_column_double(s, COST_COLUMN + 3),
                                  .finishing_s = sqlite3_column_double(s, COST_COLUMN + 4)};
    }
    if (sqlite3_column_count(s) > KL_COLUMN) {
        out->kl = sqlite3_column_double(s, KL_COLUMN);
    }
}

enum err journal_replay(struct journal *j, uint64_t from, uint64_t to, size_t count,
                        journal_record_cb cb, void *context, struct errbuf *e)
{
    sqlite3_stmt *s = NULL;
    enum err error = j->log.fd >= 0 ? journal_log_check_tail(&j->log, j->steps, count, e) : OK;
    if (error == OK) {
        error = journal_prepare(j, "SELECT * FROM steps WHERE step >= ? AND step < ? ORDER BY step",
                                NULL, &s, e);
    }
    if (error != OK) {
        return error;
    }
    float *gradient = mem_aligned(count, sizeof *gradient);
    to = to < INT64_MAX ? to : INT64_MAX;
    if (!gradient || sqlite3_bind_int64(s, 1, (sqlite3_int64)from) != SQLITE_OK ||
        sqlite3_bind_int64(s, 2, (sqlite3_int64)to) != SQLITE_OK) {
        error = gradient ? journal_db_fail(j, e, "bind a value") : ERR_NOMEM;
    }
    int code = SQLITE_DONE;
    for (uint64_t next = from; error == OK && (code = sqlite3_step(s)) == SQLITE_ROW; next++) {
        struct journal_step step;
        struct journal_place place;
        step_of(s, &step);
        place_of(s, &place);
        if (step.step != next) {
            error = err_set(e, ERR_CORRUPT, "%s/run.db: step %llu is missing", j->folder,
                            (unsigned long long)next);
        } else {
            error = journal_log_read(&j->log, &place, step.step, gradient, count, e);
        }
        if (error == OK) {
            error = cb(context, &step, gradient, count);
        }
    }
    if (error == OK && code != SQLITE_DONE) {
        error = journal_db_fail(j, e, "read the steps");
    }
    (void)sqlite3_finalize(s);
    mem_free(gradient);
    return error;
}

enum err journal_step_get(struct journal *j, uint64_t step, struct journal_step *out,
                          struct errbuf *e)
{
    sqlite3_stmt *s = NULL;
    enum err error = journal_prepare(j, "SELECT * FROM steps WHERE step = ?", NULL, &s, e);
    if (error != OK) {
        return error;
    }
    (void)sqlite3_bind_int64(s, 1, (sqlite3_int64)step);
    int code = sqlite3_step(s);
    if (code == SQLITE_ROW) {
        step_of(s, out);
    } else {
        error = code == SQLITE_DONE ? err_set(e, ERR_NOT_FOUND, "step %llu is not committed",
                                              (unsigned long long)step)
                                    : journal_db_fail(j, e, "read a step");
    }
    (void)sqlite3_finalize(s);
    return error;
}

enum err journal_prune(struct journal *j, uint64_t keep_from, struct errbuf *e)
{
    sqlite3_stmt *s = NULL;
    bool open_anew = j->log.end > 0 || j->log.fd < 0;
    enum err error = open_anew ? journal_log_rotate(&j->log, j->steps, e) : OK;
    error = error == OK ? journal_prepare(j,
                                          "SELECT segment FROM steps GROUP BY segment "
                                          "HAVING MAX(step) < ?",
                                          NULL, &s, e)
                        : error;
    if (error != OK) {
        return error;
    }
    (void)sqlite3_bind_int64(s, 1, (sqlite3_int64)keep_from);
    int code;
    while ((code = sqlite3_step(s)) == SQLITE_ROW) {
        FAILPOINT("journal.prune");
        journal_log_remove(&j->log, (uint64_t)sqlite3_column_int64(s, 0));
    }
    error = code == SQLITE_DONE ? OK : journal_db_fail(j, e, "read the segments");
    (void)sqlite3_finalize(s);
    return error;
}
