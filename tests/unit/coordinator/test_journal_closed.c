/* test_journal_closed.c - whatever was asked of a run and whatever came of it: once it is closed
 * nothing of it is open, and a run that is given up leaves its folder. Rows hold every figure. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/mem.h"
#include "coordinator/journal.h"
#include "tests/support/temp_folder.h"

enum { COUNT = 6, STEPS = 6 };

static struct temp_folder place;

/* Descriptors of files in the place. */
static uint32_t open_files(void)
{
    uint32_t n = 0;
    DIR *folder = opendir("/proc/self/fd");
    assert_non_null(folder);
    for (const struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        char target[FILE_PATH_BYTES];
        ssize_t bytes = readlinkat(dirfd(folder), entry->d_name, target, sizeof target - 1);
        target[bytes > 0 ? bytes : 0] = '\0';
        n += strncmp(target, place.path, strlen(place.path)) == 0;
    }
    (void)closedir(folder);
    return n;
}

static enum err append(struct journal *j, uint64_t step)
{
    const float g[COUNT] = {1.0f, 2.0f, (float)step};
    const struct journal_step row = {.step = step, .loss = 2.5, .lr = 1e-3};
    return journal_append(j, &row, g, COUNT, NULL);
}

static struct journal *opened(void)
{
    struct journal *j = NULL;
    struct errbuf e = {{0}};
    if (journal_open(place.path, &j, &e) != OK) {
        fail_msg("%s", e.text);
    }
    return j;
}

static void closed(struct journal **j)
{
    journal_close(j);
    assert_null(*j);
    assert_int_equal(open_files(), 0);
}

/* STEPS steps in three segments, some entries. */
static int setup(void **state)
{
    (void)state;
    temp_folder_make(&place);
    struct journal *j = opened();
    for (uint64_t s = 0; s < STEPS; s++) {
        assert_int_equal(append(j, s), OK);
        if (s == 1 || s == 3) {
            assert_int_equal(journal_prune(j, 0, NULL), OK);
        }
    }
    assert_int_equal(journal_meta_set(j, "config", "a: 1\n", NULL), OK);
    assert_int_equal(journal_eval_set(j, "step 1", "{1}", NULL), OK);
    assert_int_equal(journal_eval_set(j, "step 2", "{2}", NULL), OK);
    assert_int_equal(journal_eval_set(j, "before", "{0}", NULL), OK);
    closed(&j);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    temp_folder_clear(place.path);
    return 0;
}

static void sql(const char *text)
{
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(temp_folder_file(&place, "run.db"), &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static bool there(const char *name)
{
    return access(temp_folder_file(&place, name), F_OK) == 0;
}

static void touch(const char *name)
{
    int fd = open(temp_folder_file(&place, name), O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    (void)close(fd);
}

/* Stops where *context says, counts down to it. */
static enum err stop_at(void *context, const struct journal_step *step, const float *gradient,
                        size_t count)
{
    uint64_t *left = context;
    assert_true(count == COUNT && gradient[2] == (float)step->step);
    return (*left)-- == 0 ? ERR_GONE : OK;
}

static enum err eval_stop_at(void *context, const char *json, size_t bytes, struct errbuf *e)
{
    (void)e;
    uint64_t *left = context;
    assert_true(bytes == 3 && json[0] == '{');
    return (*left)-- == 0 ? ERR_GONE : OK;
}

static void test_nothing_is_open_after_any_question_and_any_answer(void **state)
{
    (void)state;
    for (int reader = 0; reader < 2; reader++) {
        struct journal *j = NULL;
        struct journal_step row;
        struct str text = {0};
        struct errbuf e;
        uint64_t left = 100;
        assert_int_equal(reader ? journal_open_reader(place.path, &j, &e)
                                : journal_open(place.path, &j, &e),
                         OK);
        assert_int_equal(journal_steps(j), STEPS);
        assert_int_equal(journal_replay(j, 0, UINT64_MAX, COUNT, stop_at, &left, &e), OK);
        assert_int_equal(left, 100 - STEPS);
        left = 2;
        assert_int_equal(journal_replay(j, 1, 5, COUNT, stop_at, &left, &e), ERR_GONE);
        left = 100;
        assert_int_equal(journal_replay(j, 2, 5, COUNT, stop_at, &left, &e), OK);
        assert_int_equal(left, 97);
        assert_int_equal(journal_replay(j, 0, 1, COUNT + 1, stop_at, &left, &e), ERR_CORRUPT);
        assert_int_equal(journal_step_get(j, 3, &row, &e), OK);
        assert_int_equal(journal_step_get(j, STEPS, &row, &e), ERR_NOT_FOUND);
        assert_int_equal(journal_meta_get(j, "config", &text, &e), OK);
        assert_int_equal(journal_meta_get(j, "none", &text, &e), ERR_NOT_FOUND);
        assert_int_equal(journal_eval_get(j, "before", &text, &e), OK);
        assert_int_equal(journal_eval_get(j, "none", &text, &e), ERR_NOT_FOUND);
        left = 100;
        assert_int_equal(journal_eval_each(j, "step ", eval_stop_at, &left, &e), OK);
        assert_int_equal(left, 98);
        left = 0;
        assert_int_equal(journal_eval_each(j, "step ", eval_stop_at, &left, &e), ERR_GONE);
        str_free(&text);
        closed(&j);
    }
}

static void test_nothing_is_open_after_any_change(void **state)
{
    (void)state;
    struct errbuf e;
    uint64_t starts;
    struct journal *j = opened();
    assert_int_equal(append(j, STEPS + 1), ERR_STATE);
    assert_int_equal(append(j, STEPS), OK);
    assert_int_equal(journal_meta_set(j, "config", "a: 2\n", &e), OK);
    assert_int_equal(journal_meta_count(j, "starts", &starts, &e), OK);
    assert_int_equal(starts, 1);
    assert_int_equal(journal_eval_set(j, "before", "{3}", &e), OK);
    assert_int_equal(journal_event(j, "worker_gone", "w1", &e), OK);
    assert_int_equal(journal_prune(j, 3, &e), OK);
    closed(&j);
    j = opened();
    assert_int_equal(journal_go_back(&j, place.path, 4, &e), OK);
    assert_int_equal(journal_steps(j), 4);
    assert_int_equal(append(j, 4), OK);
    closed(&j);
}

static void test_nothing_is_open_after_a_start_that_was_refused(void **state)
{
    (void)state;
    static const char *const harms[] = {
        "PRAGMA user_version=99",
        "UPDATE steps SET bytes = bytes + 1 WHERE step = 5",
        "UPDATE steps SET loss = 7 WHERE step = 5",
    };
    struct journal *j = NULL;
    struct errbuf e;
    char *data;
    size_t bytes;
    assert_int_equal(file_read(temp_folder_file(&place, "run.db"), 1 << 22, &data, &bytes, &e), OK);
    for (size_t i = 0; i < sizeof harms / sizeof harms[0]; i++) {
        sql(harms[i]);
        enum err error = journal_open(place.path, &j, &e);
        assert_int_equal(error, i == 0 ? ERR_UNSUPPORTED : ERR_CORRUPT);
        assert_null(j);
        assert_int_equal(open_files(), 0);
        (void)temp_folder_write(&place, "run.db", data, bytes);
    }
    sql("UPDATE meta SET value='b'; UPDATE evals SET json='{9}' WHERE name='step 2'");
    j = opened();
    struct str text = {0};
    uint64_t left = 100;
    assert_int_equal(journal_meta_get(j, "config", &text, &e), ERR_CORRUPT);
    assert_int_equal(journal_eval_each(j, "step ", eval_stop_at, &left, &e), ERR_CORRUPT);
    assert_int_equal(left, 99);
    assert_int_equal(text.len, 0);
    closed(&j);
    sql("DELETE FROM steps WHERE step = 2");
    j = opened();
    assert_int_equal(journal_replay(j, 0, UINT64_MAX, COUNT, stop_at, &left, &e), ERR_CORRUPT);
    assert_non_null(strstr(e.text, "step 2 is missing"));
    closed(&j);
    memset(data + bytes / 2, 0x55, bytes / 2); /* pages of nothing that SQLite knows */
    (void)temp_folder_write(&place, "run.db", data, bytes);
    assert_int_equal(journal_open(place.path, &j, &e), ERR_CORRUPT);
    assert_int_equal(open_files(), 0);
    mem_free(data);
}

static void test_who_has_the_run_is_known_by_the_lock_alone(void **state)
{
    (void)state;
    char pid[32];
    char *text;
    size_t bytes;
    struct errbuf e;
    struct journal *other = NULL;
    (void)temp_folder_text(&place, "lock",
                           "12345678901234567890"); /* left by a process that died */
    struct journal *j = opened();
    (void)snprintf(pid, sizeof pid, "%ld", (long)getpid());
    assert_int_equal(file_read(temp_folder_file(&place, "lock"), 100, &text, &bytes, &e), OK);
    assert_string_equal(text, pid);
    mem_free(text);
    uint32_t before = open_files();
    for (int i = 0; i < 3; i++) {
        assert_int_equal(journal_open(place.path, &other, &e), ERR_BUSY);
        assert_null(other);
    }
    assert_int_equal(open_files(), before);
    /* Whatever somebody wrote there: what is said of it is as long as a number can be. */
    (void)temp_folder_text(&place, "lock", "1234567890123456789012345678901234567890");
    assert_int_equal(journal_open(place.path, &other, &e), ERR_BUSY);
    assert_non_null(strstr(e.text, "(pid 1234567890123456789012345678901)"));
    closed(&j);
    j = opened(); /* the lock went with it */
    closed(&j);
}

static void test_a_row_gives_back_every_figure_of_its_step(void **state)
{
    (void)state;
    const float g[COUNT] = {1.0f};
    struct journal_step got;
    const struct journal_step row = {
        .step = STEPS,
        .loss = 1.5,
        .norm = 2.5,
        .lr = 3.5,
        .seconds = 4.5,
        .kl = 5.5,
        .tokens = 1ull << 40,
        .pairs = 6,
        .labels = 7,
        .cost = {.slots = 8, .jobs = 9, .compute_s = 10.5, .adding_s = 11.5, .finishing_s = 12.5}};
    struct journal *j = opened();
    assert_int_equal(journal_append(j, &row, g, COUNT, NULL), OK);
    closed(&j);
    j = opened();
    assert_int_equal(journal_step_get(j, STEPS, &got, NULL), OK);
    assert_true(got.step == STEPS && got.loss == 1.5 && got.norm == 2.5 && got.lr == 3.5);
    assert_true(got.seconds == 4.5 && got.kl == 5.5 && got.tokens == 1ull << 40);
    assert_true(got.pairs == 6 && got.labels == 7 && got.cost.slots == 8 && got.cost.jobs == 9);
    assert_true(got.cost.compute_s == 10.5 && got.cost.adding_s == 11.5);
    assert_true(got.cost.finishing_s == 12.5);
    closed(&j);
}

/* Segments 0..1, 2..3 and the open one: a segment goes once no step of it is needed. */
static void test_a_segment_is_kept_as_long_as_one_step_of_it_is(void **state)
{
    (void)state;
    struct journal *j = opened();
    assert_int_equal(journal_prune(j, 1, NULL), OK); /* closes the third, 4..5 */
    assert_true(there("steps-0000000000.log") && there("steps-0000000002.log"));
    assert_true(there("steps-0000000004.log") && there("steps.log"));
    assert_int_equal(journal_prune(j, 2, NULL), OK);
    assert_false(there("steps-0000000000.log"));
    assert_true(there("steps-0000000002.log"));
    assert_false(there("steps-0000000006.log")); /* nothing was added: no new segment */
    assert_int_equal(journal_prune(j, 4, NULL), OK);
    assert_false(there("steps-0000000002.log"));
    assert_true(there("steps-0000000004.log"));
    uint64_t left = 100;
    struct errbuf e;
    assert_int_equal(journal_replay(j, 4, UINT64_MAX, COUNT, stop_at, &left, &e), OK);
    assert_int_equal(journal_replay(j, 3, UINT64_MAX, COUNT, stop_at, &left, &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.text, "pruned"));
    closed(&j);
    j = opened();
    assert_int_equal(journal_steps(j), STEPS);
    assert_int_equal(append(j, STEPS), OK);
    closed(&j);
}

static void test_what_a_kill_left_behind_goes_into_no_closed_segment(void **state)
{
    (void)state;
    struct stat info;
    int fd = open(temp_folder_file(&place, "steps.log"), O_WRONLY | O_APPEND);
    assert_true(fd >= 0 && write(fd, "torn", 4) == 4);
    (void)close(fd);
    struct journal *j = opened();
    assert_int_equal(journal_prune(j, 0, NULL), OK);
    closed(&j);
    assert_int_equal(stat(temp_folder_file(&place, "steps-0000000004.log"), &info), 0);
    assert_int_equal(info.st_size, 2 * (80 + COUNT * sizeof(float)));
}

static void test_a_run_that_is_given_up_leaves_nothing(void **state)
{
    (void)state;
    struct journal *j = opened();
    journal_discard(place.path); /* somebody has it */
    assert_true(there("run.db") && there("steps.log") && there("lock"));
    closed(&j);
    journal_discard(place.path);
    assert_false(there("run.db") || there("steps.log") || there("lock"));
    assert_int_equal(open_files(), 0);
    assert_int_equal(access(place.path, F_OK), 0); /* it holds closed segments still */
    (void)unlink(temp_folder_file(&place, "steps-0000000000.log"));
    (void)unlink(temp_folder_file(&place, "steps-0000000002.log"));
    touch("run.db");
    journal_discard(place.path); /* without a lock it is no run that began */
    assert_true(there("run.db"));
    touch("lock");
    touch("run.db-wal");
    touch("run.db-shm");
    assert_int_equal(mkdir(temp_folder_file(&place, "checkpoints"), 0700), 0);
    journal_discard(place.path);
    assert_int_not_equal(access(place.path, F_OK), 0);
    assert_int_equal(open_files(), 0);
    char endless[FILE_PATH_BYTES + 1];
    memset(endless, 'x', FILE_PATH_BYTES);
    endless[FILE_PATH_BYTES] = '\0';
    journal_discard(endless);
}

static void test_a_folder_whose_name_is_too_long_is_no_run(void **state)
{
    (void)state;
    char endless[FILE_PATH_BYTES + 1];
    struct journal *j = NULL;
    struct errbuf e;
    memset(endless, 'x', FILE_PATH_BYTES);
    endless[0] = '/';
    endless[FILE_PATH_BYTES] = '\0';
    assert_int_equal(journal_open(endless, &j, &e), ERR_RANGE);
    assert_int_equal(journal_open_reader(endless, &j, &e), ERR_RANGE);
    endless[FILE_PATH_BYTES - 1] = '\0'; /* itself fits, its files do not */
    assert_int_not_equal(journal_open_reader(endless, &j, &e), OK);
    assert_null(j);
}

static void test_a_reader_needs_a_run_that_it_may_read(void **state)
{
    (void)state;
    struct journal *j = NULL;
    struct errbuf e;
    assert_int_equal(unlink(temp_folder_file(&place, "run.db")), 0);
    assert_int_equal(journal_open_reader(place.path, &j, &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.text, "holds no run"));
    assert_null(j);
    assert_false(there("run.db")); /* looking makes nothing */
    assert_int_equal(open_files(), 0);
}

static void test_what_is_no_database_is_refused_and_left_alone(void **state)
{
    (void)state;
    struct journal *j = NULL;
    struct errbuf e;
    char text[4096];
    char *data;
    size_t bytes;
    memset(text, 'x', sizeof text);
    (void)temp_folder_write(&place, "run.db", text, sizeof text);
    for (int reader = 0; reader < 2; reader++) {
        enum err error =
            reader ? journal_open_reader(place.path, &j, &e) : journal_open(place.path, &j, &e);
        assert_int_equal(error, ERR_CORRUPT);
        assert_non_null(strstr(e.text, "run.db"));
        assert_null(j);
        assert_int_equal(open_files(), 0);
    }
    assert_int_equal(file_read(temp_folder_file(&place, "run.db"), 1 << 20, &data, &bytes, &e), OK);
    assert_int_equal(bytes, sizeof text);
    assert_memory_equal(data, text, bytes);
    mem_free(data);
    assert_int_equal(unlink(temp_folder_file(&place, "run.db")), 0);
    assert_int_equal(mkdir(temp_folder_file(&place, "run.db"), 0700), 0);
    assert_int_equal(journal_open(place.path, &j, &e), ERR_NOT_FOUND);
    assert_null(j);
    assert_int_equal(open_files(), 0);
}

static void test_digests_are_compared_from_the_first_start_on(void **state)
{
    (void)state;
    struct errbuf e;
    struct str text = {0};
    temp_folder_clear(place.path);
    struct journal *j = opened(); /* makes it all anew */
    assert_int_equal(journal_steps(j), 0);
    assert_int_equal(journal_meta_set(j, "config", "a: 1\n", &e), OK);
    assert_int_equal(journal_meta_get(j, "config", &text, &e), OK);
    sql("UPDATE meta SET value='b'");
    assert_int_equal(journal_meta_get(j, "config", &text, &e), ERR_CORRUPT);
    str_free(&text);
    closed(&j);
}

static void test_a_counter_that_is_damaged_does_not_begin_anew(void **state)
{
    (void)state;
    struct errbuf e;
    uint64_t starts = 0;
    struct journal *j = opened();
    for (uint64_t n = 1; n <= 12; n++) {
        assert_int_equal(journal_meta_count(j, "starts", &starts, &e), OK);
        assert_int_equal(starts, n);
    }
    closed(&j);
    sql("UPDATE meta SET value='1' WHERE key='starts'");
    j = opened();
    assert_int_equal(journal_meta_count(j, "starts", &starts, &e), ERR_CORRUPT);
    assert_int_equal(journal_meta_count(j, "starts", &starts, &e), ERR_CORRUPT);
    closed(&j);
}

static void test_going_back_touches_only_segments_and_says_when_it_cannot(void **state)
{
    (void)state;
    struct errbuf e;
    struct journal *j = opened();
    assert_int_equal(journal_prune(j, 0, &e), OK); /* 4..5 are closed too */
    touch("steps-0000000099.logx");
    touch("steps-0000000099");
    touch("xsteps-0000000099.log");
    assert_int_equal(journal_go_back(&j, place.path, 4, &e), OK);
    assert_true(there("steps-0000000099.logx") && there("steps-0000000099"));
    assert_true(there("xsteps-0000000099.log"));
    assert_true(there("steps-0000000000.log") && there("steps-0000000002.log"));
    assert_false(there("steps-0000000004.log"));
    assert_int_equal(journal_steps(j), 4);
    uint64_t left = 100;
    assert_int_equal(journal_replay(j, 0, UINT64_MAX, COUNT, stop_at, &left, &e), OK);
    assert_int_equal(left, 96);
    assert_int_equal(journal_go_back(&j, "/nonexistent", 2, &e), ERR_NOT_FOUND);
    assert_null(j);
    assert_int_equal(open_files(), 0);
    j = opened(); /* nothing was taken away: it is marked only */
    assert_int_equal(journal_steps(j), 4);
    closed(&j);
}

static uint64_t number(const uint8_t *at, int bytes)
{
    uint64_t value = 0;
    while (bytes-- > 0) {
        value = value << 8 | at[bytes];
    }
    return value;
}

/* As journal.h says, so that others can read it. */
static void test_a_record_lies_in_the_log_as_it_is_documented(void **state)
{
    (void)state;
    char *data;
    size_t bytes;
    struct errbuf e;
    const double loss = 2.5;
    const double lr = 1e-3;
    const float first = 1.0f;
    assert_int_equal(file_read(temp_folder_file(&place, "steps.log"), 1 << 20, &data, &bytes, &e),
                     OK);
    assert_int_equal(bytes, 2 * (80 + COUNT * sizeof(float)));
    const uint8_t *h = (const uint8_t *)data + bytes / 2; /* of step 5 */
    assert_memory_equal(h, "PFTSTEP\n", 8);
    assert_int_equal(number(h + 8, 4), 1);
    assert_int_equal(number(h + 12, 4), 80);
    assert_int_equal(number(h + 16, 8), 5);
    assert_int_equal(number(h + 24, 8), COUNT);
    assert_memory_equal(h + 32, &loss, sizeof loss);
    assert_memory_equal(h + 40, &lr, sizeof lr);
    assert_int_equal(number(h + 64, 8), 0);
    assert_memory_equal(h + 80, &first, sizeof first);
    mem_free(data);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_nothing_is_open_after_any_question_and_any_answer),
        TEST(test_nothing_is_open_after_any_change),
        TEST(test_nothing_is_open_after_a_start_that_was_refused),
        TEST(test_who_has_the_run_is_known_by_the_lock_alone),
        TEST(test_a_row_gives_back_every_figure_of_its_step),
        TEST(test_a_segment_is_kept_as_long_as_one_step_of_it_is),
        TEST(test_what_a_kill_left_behind_goes_into_no_closed_segment),
        TEST(test_a_run_that_is_given_up_leaves_nothing),
        TEST(test_a_folder_whose_name_is_too_long_is_no_run),
        TEST(test_a_reader_needs_a_run_that_it_may_read),
        TEST(test_what_is_no_database_is_refused_and_left_alone),
        TEST(test_digests_are_compared_from_the_first_start_on),
        TEST(test_a_counter_that_is_damaged_does_not_begin_anew),
        TEST(test_going_back_touches_only_segments_and_says_when_it_cannot),
        TEST(test_a_record_lies_in_the_log_as_it_is_documented),
    };
    if (access("/proc/self/fd", R_OK) != 0) {
        print_message("/proc/self/fd is not there: nobody can tell what is open\n");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
