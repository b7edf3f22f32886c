/* journal_entries.c - meta, evals and events of run.db. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "coordinator/journal_db.h"

static bool has_digests(const struct journal *j)
{
    return j->version >= JOURNAL_DIGEST_VERSION;
}

static enum err entry_damaged(const struct journal *j, const char *name, struct errbuf *e)
{
    return err_set(e, ERR_CORRUPT, "%s/run.db: the entry %s is damaged (its digest is another)",
                   j->folder, name);
}

/* Column 0 of sql's one row; column 1 says whether it is what its digest covers. */
static enum err get_text(struct journal *j, const char *sql, const char *key, struct str *out,
                         struct errbuf *e)
{
    sqlite3_stmt *s = NULL;
    const char *const texts[] = {key, NULL};
    enum err error = journal_prepare(j, sql, texts, &s, e);
    if (error != OK) {
        return error;
    }
    int code = sqlite3_step(s);
    if (code == SQLITE_ROW && !sqlite3_column_int(s, 1)) {
        error = entry_damaged(j, key, e);
    } else if (code == SQLITE_ROW) {
        str_append(out, (const char *)sqlite3_column_text(s, 0),
                   (size_t)sqlite3_column_bytes(s, 0));
        error = str_ok(out);
    } else {
        error = code == SQLITE_DONE
                    ? err_set(e, ERR_NOT_FOUND, "%s/run.db: has no entry %s", j->folder, key)
                    : journal_db_fail(j, e, "read an entry");
    }
    (void)sqlite3_finalize(s);
    return error;
}

enum err journal_meta_set(struct journal *j, const char *key, const char *value, struct errbuf *e)
{
    const char *const texts[] = {key, value, NULL};
    return journal_execute(j, "INSERT OR REPLACE INTO meta VALUES(?1,?2,entry_digest(?1,?2))",
                           texts, "store a setting", e);
}

enum err journal_meta_get(struct journal *j, const char *key, struct str *out, struct errbuf *e)
{
    return get_text(j,
                    has_digests(j) ? "SELECT value, digest IS entry_digest(key, value) FROM meta "
                                     "WHERE key = ?"
                                   : "SELECT value, 1 FROM meta WHERE key = ?",
                    key, out, e);
}

enum err journal_meta_count(struct journal *j, const char *key, uint64_t *value, struct errbuf *e)
{
    struct str text = {0};
    char number[32];
    enum err error = journal_meta_get(j, key, &text, e);
    *value = error == OK ? strtoull(text.data, NULL, 10) + 1 : 1;
    str_free(&text);
    if (error != OK && error != ERR_NOT_FOUND) {
        return error;
    }
    (void)snprintf(number, sizeof number, "%" PRIu64, *value);
    return journal_meta_set(j, key, number, e);
}

enum err journal_eval_set(struct journal *j, const char *name, const char *json, struct errbuf *e)
{
    const char *const texts[] = {name, json, NULL};
    return journal_execute(j, "INSERT OR REPLACE INTO evals VALUES(?1,?2,entry_digest(?1,?2))",
                           texts, "store an evaluation", e);
}

enum err journal_eval_get(struct journal *j, const char *name, struct str *out, struct errbuf *e)
{
    return get_text(j,
                    has_digests(j) ? "SELECT json, digest IS entry_digest(name, json) FROM evals "
                                     "WHERE name = ?"
                                   : "SELECT json, 1 FROM evals WHERE name = ?",
                    name, out, e);
}

enum err journal_eval_each(struct journal *j, const char *prefix, journal_eval_cb cb, void *context,
                           struct errbuf *e)
{
    sqlite3_stmt *s = NULL;
    const char *const texts[] = {prefix, NULL};
    enum err error = journal_prepare(
        j,
        has_digests(j) ? "SELECT json, digest IS entry_digest(name, json) FROM evals "
                         "WHERE substr(name, 1, length(?1)) = ?1 ORDER BY name"
                       : "SELECT json, 1 FROM evals "
                         "WHERE substr(name, 1, length(?1)) = ?1 ORDER BY name",
        texts, &s, e);
    if (error != OK) {
        return error;
    }
    int code = SQLITE_DONE;
    while (error == OK && (code = sqlite3_step(s)) == SQLITE_ROW) {
        error = sqlite3_column_int(s, 1) ? cb(context, (const char *)sqlite3_column_text(s, 0),
                                              (size_t)sqlite3_column_bytes(s, 0), e)
                                         : entry_damaged(j, prefix, e);
    }
    if (error == OK && code != SQLITE_DONE) {
        error = journal_db_fail(j, e, "read the evaluations");
    }
    (void)sqlite3_finalize(s);
    return error;
}

enum err journal_event(struct journal *j, const char *name, const char *detail, struct errbuf *e)
{
    const char *const texts[] = {name, detail, NULL};
    return journal_execute(j,
                           "INSERT INTO events(at, name, detail) "
                           "VALUES(strftime('%Y-%m-%dT%H:%M:%fZ','now'),?,?)",
                           texts, "store an event", e);
}
