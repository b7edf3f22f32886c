/* journal_back.c - a run goes back to an earlier step: rows, segments and what was concluded from
 * them. The caller has checked that it can begin again there. */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"
#include "coordinator/journal_db.h"

enum { SQL_BYTES = 1024 };

/* Closed segments that begin at the step or later hold nothing that is kept. A crash between this
 * and the rows leaves rows without records: a plain start refuses, going back again mends it. */
static enum err remove_segments(const char *run, uint64_t step, struct errbuf *e)
{
    DIR *dir = opendir(run);
    enum err error =
        dir ? OK
            : err_set(e, err_from_errno(errno), "%s: cannot be listed: %s", run, strerror(errno));
    for (struct dirent *entry; error == OK && (entry = readdir(dir)) != NULL;) {
        char path[FILE_PATH_BYTES];
        uint64_t segment;
        int used = 0;
        if (sscanf(entry->d_name, "steps-%10" SCNu64 ".log%n", &segment, &used) != 1 || used == 0 ||
            entry->d_name[used] != '\0' || segment < step) {
            continue;
        }
        error = file_join(path, run, entry->d_name, e);
        if (error == OK && unlink(path) != 0) {
            error = err_set(e, err_from_errno(errno), "%s: cannot be removed: %s", path,
                            strerror(errno));
        }
    }
    if (dir) {
        (void)closedir(dir);
    }
    return error == OK ? file_sync_folder(run, e) : error;
}

/* The segment of the last step before `step`; false: there is none, or it cannot be read. */
static bool last_segment(sqlite3 *db, uint64_t step, uint64_t *segment)
{
    sqlite3_stmt *s = NULL;
    bool found =
        sqlite3_prepare_v2(db,
                           "SELECT segment FROM steps WHERE step < ? ORDER BY step DESC LIMIT 1",
                           -1, &s, NULL) == SQLITE_OK &&
        sqlite3_bind_int64(s, 1, (sqlite3_int64)step) == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW;
    *segment = found ? (uint64_t)sqlite3_column_int64(s, 0) : 0;
    (void)sqlite3_finalize(s);
    return found;
}

/* The last row that stays must not take steps.log for its own: where its segment was pruned, an
 * empty file stands for it. */
static enum err close_segment(const char *run, sqlite3 *db, uint64_t step, struct errbuf *e)
{
    char name[64];
    char path[FILE_PATH_BYTES];
    uint64_t last;
    uint64_t open;
    if (!last_segment(db, step, &last) || !last_segment(db, INT64_MAX, &open) || last == open) {
        return OK;
    }
    (void)snprintf(name, sizeof name, "steps-%010" PRIu64 ".log", last);
    enum err error = file_join(path, run, name, e);
    if (error != OK || file_exists(path)) {
        return error;
    }
    error = file_write_atomic(path, "", 0, e);
    return error == OK ? file_sync_folder(run, e) : error;
}

static enum err remove_rows(const char *run, uint64_t step, struct errbuf *e)
{
    char path[FILE_PATH_BYTES];
    char sql[SQL_BYTES];
    sqlite3 *db = NULL;
    enum err error = file_join(path, run, "run.db", e);
    if (error != OK) {
        return error;
    }
    (void)snprintf(sql, sizeof sql,
                   "PRAGMA synchronous=FULL; BEGIN IMMEDIATE;"
                   "DELETE FROM steps WHERE step >= %" PRIu64 ";"
                   "DELETE FROM evals WHERE name = 'after';"
                   "DELETE FROM meta WHERE key = 'suspects' AND CAST(value AS INTEGER) >= %" PRIu64
                   "; INSERT INTO events(at, name, detail)"
                   " VALUES(strftime('%%Y-%%m-%%dT%%H:%%M:%%fZ','now'), 'went_back',"
                   " 'to step %" PRIu64 "'); COMMIT;",
                   step, step, step);
    int code = sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (code == SQLITE_OK) {
        error = close_segment(run, db, step, e);
    }
    if (error == OK &&
        (code != SQLITE_OK || sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)) {
        error = err_set(e, ERR_IO, "%s: cannot forget the steps from %" PRIu64 " on: %s", path,
                        step, db ? sqlite3_errmsg(db) : "no memory");
    }
    (void)sqlite3_close(db);
    return error;
}

enum err journal_go_back(struct journal **j, const char *run, uint64_t step, struct errbuf *e)
{
    char text[32];
    (void)snprintf(text, sizeof text, "%" PRIu64, step);
    enum err error = journal_meta_set(*j, JOURNAL_WENT_BACK, text, e);
    error = error == OK ? remove_segments(run, step, e) : error;
    error = error == OK ? remove_rows(run, step, e) : error;
    journal_close(j); /* opened anew it cuts steps.log behind the last row */
    return error == OK ? journal_open(run, j, e) : error;
}
