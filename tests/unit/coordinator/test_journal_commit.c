/* test_journal_commit.c - a row that SQLite cannot commit, or cannot sync, costs no record: what
 * the next start finds is whole. SQLite's own VFS, with a sync or a write of the WAL that fails. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>

#include "coordinator/journal.h"
#include "tests/support/temp_folder.h"

enum { COUNT = 100 };

static sqlite3_vfs vfs;
static sqlite3_vfs *plain;
static sqlite3_io_methods methods;
static const sqlite3_io_methods *plain_methods;
static int sync_fails, write_fails; /* the n-th call from now on a WAL, after it did its work */

static int failing_sync(sqlite3_file *file, int flags)
{
    int code = plain_methods->xSync(file, flags);
    return sync_fails > 0 && --sync_fails == 0 ? SQLITE_IOERR_FSYNC : code;
}

static int failing_write(sqlite3_file *file, const void *data, int bytes, sqlite3_int64 at)
{
    if (write_fails > 0 && --write_fails == 0) {
        return SQLITE_FULL;
    }
    return plain_methods->xWrite(file, data, bytes, at);
}

static int open_file(sqlite3_vfs *self, const char *path, sqlite3_file *file, int flags, int *out)
{
    (void)self;
    int code = plain->xOpen(plain, path, file, flags, out);
    if (code == SQLITE_OK && (flags & SQLITE_OPEN_WAL)) {
        plain_methods = file->pMethods;
        methods = *plain_methods;
        methods.xSync = failing_sync;
        methods.xWrite = failing_write;
        file->pMethods = &methods;
    }
    return code;
}

static int set_up(void **state)
{
    (void)state;
    plain = sqlite3_vfs_find(NULL);
    vfs = *plain;
    vfs.zName = "failing";
    vfs.xOpen = open_file;
    return sqlite3_vfs_register(&vfs, 1);
}

static int tear_down(void **state)
{
    (void)state;
    return sqlite3_vfs_unregister(&vfs);
}

static enum err append_other(struct journal *j, uint64_t step, float more, struct errbuf *e)
{
    const struct journal_step s = {.step = step, .loss = 1.0, .lr = 0.5};
    float gradient[COUNT];
    for (int i = 0; i < COUNT; i++) {
        gradient[i] = (float)(step + (uint64_t)i) + more;
    }
    return journal_append(j, &s, gradient, COUNT, e);
}

static enum err append(struct journal *j, uint64_t step, struct errbuf *e)
{
    return append_other(j, step, 0.0f, e);
}

static enum err count_one(void *context, const struct journal_step *step, const float *g,
                          size_t count)
{
    assert_int_equal(count, COUNT);
    assert_true(g[1] == (float)(step->step + 1));
    (*(uint64_t *)context)++;
    return OK;
}

/* Opens the run anew and reads every step. */
static uint64_t steps_of(const char *folder)
{
    struct journal *j = NULL;
    struct errbuf e = {{0}};
    uint64_t n = 0;
    enum err error = journal_open(folder, &j, &e);
    if (error != OK) {
        fail_msg("%s", e.text);
    }
    assert_int_equal(journal_replay(j, 0, UINT64_MAX, COUNT, count_one, &n, &e), OK);
    assert_int_equal(n, journal_steps(j));
    journal_close(&j);
    return n;
}

/* A process that dies before it could close anything: the WAL stays as it is. */
_Noreturn static void commit_badly_and_die(const char *folder)
{
    struct journal *j = NULL;
    struct errbuf e = {{0}};
    bool as_told = journal_open(folder, &j, &e) == OK && append(j, 0, &e) == OK;
    sync_fails = 1;
    as_told = as_told && append(j, 1, &e) == ERR_IO;
    _exit(as_told ? 0 : 1);
}

static void a_commit_whose_sync_fails_leaves_a_run_that_can_be_opened(void **state)
{
    (void)state;
    struct temp_folder folder;
    int status = -1;
    temp_folder_make(&folder);
    pid_t child = fork();
    if (child == 0) {
        commit_badly_and_die(folder.path);
    }
    assert_true(child > 0 && waitpid(child, &status, 0) == child);
    assert_int_equal(status, 0);
    uint64_t n = steps_of(folder.path);
    assert_true(n == 1 || n == 2);
    temp_folder_clear(folder.path);
}

static void a_row_without_room_is_tried_again_and_its_record_is_written_once(void **state)
{
    (void)state;
    struct temp_folder folder;
    struct journal *j = NULL;
    struct errbuf e = {{0}};
    temp_folder_make(&folder);
    assert_int_equal(journal_open(folder.path, &j, &e), OK);
    for (uint64_t step = 0; step < 8; step++) {
        write_fails = (int)step % 4 + 1;
        enum err error = append(j, step, &e);
        assert_true(error == OK || error == ERR_NOSPACE);
        write_fails = 0;
        if (error != OK) {
            assert_int_equal(journal_steps(j), step);
            assert_int_equal(append(j, step, &e), OK);
        }
    }
    journal_close(&j);
    assert_int_equal(steps_of(folder.path), 8);
    temp_folder_clear(folder.path);
}

/* Its record is in the log: the row must be of that one. */
static void a_step_tried_again_with_another_gradient_is_refused(void **state)
{
    (void)state;
    struct temp_folder folder;
    struct journal *j = NULL;
    struct errbuf e = {{0}};
    temp_folder_make(&folder);
    assert_int_equal(journal_open(folder.path, &j, &e), OK);
    assert_int_equal(append(j, 0, &e), OK);
    write_fails = 1;
    assert_int_equal(append(j, 1, &e), ERR_NOSPACE);
    write_fails = 0;
    assert_int_equal(append_other(j, 1, 0.5f, &e), ERR_STATE);
    assert_non_null(strstr(e.text, "step 1 comes again"));
    assert_int_equal(journal_steps(j), 1);
    assert_int_equal(append(j, 1, &e), OK);
    assert_int_equal(append_other(j, 2, 0.0f, &e), OK); /* the next one has a record of its own */
    journal_close(&j);
    assert_int_equal(steps_of(folder.path), 3);
    temp_folder_clear(folder.path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_commit_whose_sync_fails_leaves_a_run_that_can_be_opened),
        cmocka_unit_test(a_row_without_room_is_tried_again_and_its_record_is_written_once),
        cmocka_unit_test(a_step_tried_again_with_another_gradient_is_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
