/* journal_db.c - opens run.db, makes and upgrades its tables. */
#include "coordinator/journal_db.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "common/base/failpoint.h"
#include "common/base/hash.h"

enum { SCHEMA_VERSION = 4, BUSY_MS = 5000 };

static const char schema[] =
    "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; BEGIN;"
    "CREATE TABLE IF NOT EXISTS meta(key TEXT PRIMARY KEY, value TEXT NOT NULL, digest BLOB)"
    " WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS steps(step INTEGER PRIMARY KEY, loss REAL, norm REAL, lr REAL,"
    " seconds REAL, tokens INTEGER, pairs INTEGER, labels INTEGER, segment INTEGER,"
    " offset INTEGER, bytes INTEGER, digest BLOB, slots INTEGER, jobs INTEGER, compute REAL,"
    " adding REAL, finishing REAL, kl REAL);"
    "CREATE TABLE IF NOT EXISTS events(id INTEGER PRIMARY KEY, at TEXT, name TEXT, detail TEXT);"
    "CREATE TABLE IF NOT EXISTS evals(name TEXT PRIMARY KEY, json TEXT NOT NULL, digest BLOB)"
    " WITHOUT ROWID;"
    "PRAGMA user_version=4; COMMIT;";

/* From version 1 on, each to the next. */
static const char *const upgrades[] = {
    "BEGIN; ALTER TABLE steps ADD COLUMN slots INTEGER; ALTER TABLE steps ADD COLUMN jobs INTEGER;"
    "ALTER TABLE steps ADD COLUMN compute REAL; ALTER TABLE steps ADD COLUMN adding REAL;"
    "ALTER TABLE steps ADD COLUMN finishing REAL; PRAGMA user_version=2; COMMIT;",
    "BEGIN; ALTER TABLE steps ADD COLUMN kl REAL; PRAGMA user_version=3; COMMIT;",
    "BEGIN; ALTER TABLE meta ADD COLUMN digest BLOB; ALTER TABLE evals ADD COLUMN digest BLOB;"
    "UPDATE meta SET digest = entry_digest(key, value);"
    "UPDATE evals SET digest = entry_digest(name, json); PRAGMA user_version=4; COMMIT;",
};

static enum err db_code(int code)
{
    switch (code & 0xFF) {
    case SQLITE_FULL:
        return ERR_NOSPACE;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return ERR_BUSY;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return ERR_CORRUPT;
    case SQLITE_NOMEM:
        return ERR_NOMEM;
    case SQLITE_CANTOPEN:
        return ERR_NOT_FOUND;
    default:
        return ERR_IO;
    }
}

/* What the system said of the last call on the WAL: SQLite knows ENOSPC alone as a full disk, and
 * errno is another by now. */
static int wal_errno(sqlite3 *db)
{
    sqlite3_file *file = NULL;
    int number = 0;
    if (sqlite3_file_control(db, "main", SQLITE_FCNTL_JOURNAL_POINTER, (void *)&file) ==
            SQLITE_OK &&
        file && file->pMethods) {
        (void)file->pMethods->xFileControl(file, SQLITE_FCNTL_LAST_ERRNO, &number);
    }
    return number;
}

enum err journal_db_fail(const struct journal *j, struct errbuf *e, const char *what)
{
    const int extended = sqlite3_extended_errcode(j->db);
    enum err code = db_code(extended);
    if (extended == SQLITE_IOERR_WRITE && err_from_errno(wal_errno(j->db)) == ERR_NOSPACE) {
        code = ERR_NOSPACE; /* a limit on the size of files, or a quota */
    } else if (code == ERR_NOT_FOUND &&
               err_from_errno(sqlite3_system_errno(j->db)) == ERR_NOSPACE) {
        code = ERR_NOSPACE; /* no descriptor for a file of its own */
    }
    return err_set(e, code, "%s/run.db: cannot %s: %s", j->folder, what, sqlite3_errmsg(j->db));
}

/* SQL: entry_digest(name, text), what covers an entry of meta or evals. */
static void entry_digest(sqlite3_context *context, int n, sqlite3_value **values)
{
    uint8_t parts[2 * HASH_XXH128_BYTES];
    uint8_t digest[HASH_XXH128_BYTES];
    for (int i = 0; i < n && i < 2; i++) {
        const void *text = sqlite3_value_blob(values[i]);
        hash_xxh128(text ? text : "", (size_t)sqlite3_value_bytes(values[i]),
                    parts + i * HASH_XXH128_BYTES);
    }
    hash_xxh128(parts, sizeof parts, digest);
    sqlite3_result_blob(context, digest, sizeof digest, SQLITE_TRANSIENT);
}

enum err journal_prepare(struct journal *j, const char *sql, const char *const *texts,
                         sqlite3_stmt **out, struct errbuf *e)
{
    if (sqlite3_prepare_v2(j->db, sql, -1, out, NULL) != SQLITE_OK) {
        return journal_db_fail(j, e, "prepare a statement");
    }
    for (int i = 0; texts && texts[i]; i++) {
        if (sqlite3_bind_text(*out, i + 1, texts[i], -1, SQLITE_STATIC) != SQLITE_OK) {
            enum err error = journal_db_fail(j, e, "bind a value");
            (void)sqlite3_finalize(*out);
            return error;
        }
    }
    return OK;
}

enum err journal_execute(struct journal *j, const char *sql, const char *const *texts,
                         const char *what, struct errbuf *e)
{
    sqlite3_stmt *statement = NULL;
    enum err error = journal_prepare(j, sql, texts, &statement, e);
    if (error != OK) {
        return error;
    }
    if (sqlite3_step(statement) != SQLITE_DONE) {
        error = journal_db_fail(j, e, what);
    }
    (void)sqlite3_finalize(statement);
    return error;
}

/* Damage that SQLite sees when it looks at every page; else it may answer as if a row were not. */
static enum err check_pages(struct journal *j, struct errbuf *e)
{
    sqlite3_stmt *s = NULL;
    enum err error = journal_prepare(j, "PRAGMA quick_check(1)", NULL, &s, e);
    if (error != OK) {
        return error;
    }
    const char *text =
        sqlite3_step(s) == SQLITE_ROW ? (const char *)sqlite3_column_text(s, 0) : NULL;
    if (!text) {
        error = journal_db_fail(j, e, "be checked");
    } else if (strcmp(text, "ok") != 0) {
        error = err_set(e, ERR_CORRUPT, "%s/run.db: is damaged: %.200s", j->folder, text);
    }
    (void)sqlite3_finalize(s);
    return error;
}

static enum err read_version(struct journal *j, const char *path, struct errbuf *e)
{
    sqlite3_stmt *statement = NULL;
    enum err error = journal_prepare(j, "PRAGMA user_version", NULL, &statement, e);
    if (error != OK) {
        return error;
    }
    j->version = sqlite3_step(statement) == SQLITE_ROW ? sqlite3_column_int(statement, 0) : -1;
    (void)sqlite3_finalize(statement);
    if (j->version < 0) {
        return journal_db_fail(j, e, "be read");
    }
    return j->version <= SCHEMA_VERSION
               ? OK
               : err_set(e, ERR_UNSUPPORTED,
                         "%s: has version %d, this program knows up to %d; use a newer pft", path,
                         j->version, SCHEMA_VERSION);
}

static enum err make_tables(struct journal *j, const char *path, struct errbuf *e)
{
    enum err error = j->version > 0 ? check_pages(j, e) : OK;
    if (error != OK) {
        return error;
    }
    for (; j->version >= 1 && j->version < SCHEMA_VERSION; j->version++) {
        if (sqlite3_exec(j->db, upgrades[j->version - 1], NULL, NULL, NULL) != SQLITE_OK) {
            return journal_db_fail(j, e, "bring its tables up to date");
        }
    }
    if (FAILPOINT_FAILS("journal.open")) {
        return err_set(e, err_from_errno(errno), "%s: cannot get its tables: %s", path,
                       strerror(errno));
    }
    j->version = SCHEMA_VERSION;
    return sqlite3_exec(j->db, schema, NULL, NULL, NULL) == SQLITE_OK
               ? OK
               : journal_db_fail(j, e, "make its tables");
}

enum err journal_db_open(struct journal *j, int flags, struct errbuf *e)
{
    char path[FILE_PATH_BYTES];
    enum err error = file_join(path, j->folder, "run.db", e);
    if (error != OK) {
        return error;
    }
    if (!(flags & SQLITE_OPEN_CREATE) && access(path, R_OK) != 0 && errno != ENOENT) {
        return err_set(e, err_from_errno(errno), "%s: cannot be read: %s", path, strerror(errno));
    }
    if (!(flags & SQLITE_OPEN_CREATE) && !file_exists(path)) {
        return err_set(e, ERR_NOT_FOUND, "%s: holds no run (there is no run.db in it)", j->folder);
    }
    if (sqlite3_open_v2(path, &j->db, flags | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK) {
        return j->db ? journal_db_fail(j, e, "be opened") : ERR_NOMEM;
    }
    (void)sqlite3_busy_timeout(j->db, BUSY_MS);
    if (sqlite3_create_function(j->db, "entry_digest", 2, SQLITE_UTF8 | SQLITE_DETERMINISTIC, NULL,
                                entry_digest, NULL, NULL) != SQLITE_OK) {
        return journal_db_fail(j, e, "be opened");
    }
    error = read_version(j, path, e);
    return error == OK && (flags & SQLITE_OPEN_CREATE) ? make_tables(j, path, e) : error;
}
