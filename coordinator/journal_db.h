/* journal_db.h - run.db as journal.c and journal_entries.c share it: the connection, its tables and
 * their versions, statements, errors. Owns: struct journal's layout. Never: rows' meaning.
 * Thread: that of the journal. */
#ifndef PFT_JOURNAL_DB_H
#define PFT_JOURNAL_DB_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/file.h"
#include "coordinator/journal.h"
#include "coordinator/journal_log.h"

/* Entries of meta and evals carry a digest from this version of the tables on. */
enum { JOURNAL_DIGEST_VERSION = 4 };

/* Entry of meta: the run goes back, what the log holds behind the last row is to be cut at open.
 * Set before the rows go; with all rows still there it cuts nothing that is committed. */
#define JOURNAL_WENT_BACK "went_back"

struct journal {
    char folder[FILE_PATH_BYTES];
    sqlite3 *db;
    int version; /* of the tables */
    int lock;    /* -1 for a reader */
    struct journal_log log;
    uint64_t steps; /* committed */
    bool recorded;  /* the next step's record is in the log, at place; its row is not */
    struct journal_place place;
};

/* Opens RUN/run.db with SQLITE_OPEN_* flags. With SQLITE_OPEN_CREATE it is made when absent, its
 * pages are checked and its tables brought up to date; else nothing is written. ERR_CORRUPT,
 * ERR_UNSUPPORTED (a later version), ERR_NOT_FOUND. */
MUST_USE enum err journal_db_open(struct journal *j, int flags, struct errbuf *e);
/* What SQLite said last of the connection, as a code and a text that names run.db. */
enum err journal_db_fail(const struct journal *j, struct errbuf *e, const char *what);
/* Prepares and binds text parameters (NULL-terminated list of at most three). */
MUST_USE enum err journal_prepare(struct journal *j, const char *sql, const char *const *texts,
                                  sqlite3_stmt **out, struct errbuf *e);
MUST_USE enum err journal_execute(struct journal *j, const char *sql, const char *const *texts,
                                  const char *what, struct errbuf *e);

#endif
