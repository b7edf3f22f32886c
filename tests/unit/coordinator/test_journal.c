/* test_journal.c - what survives: commit, torn tails at every byte, damage, full disks, the lock,
 * pruning; checkpoints; recovery gives the same bits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/base/rng.h"
#include "coordinator/checkpoint.h"
#include "coordinator/journal.h"
#include "coordinator/recover.h"
#include "tests/support/disk_faults.h"
#include "tests/support/temp_folder.h"

enum { COUNT = 40, RECORD = 80 + COUNT * 4 };

static const struct adamw_config adam = {
    .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.01, .clip = 1.0};
static const uint8_t settings[CHECKPOINT_CONFIG_BYTES] = {1, 2, 3};

static int make_place(void **state)
{
    struct temp_folder *place = mem_calloc(1, sizeof *place);
    assert_non_null(place);
    temp_folder_make(place);
    *state = place;
    return 0;
}

static int drop_place(void **state)
{
    struct temp_folder *place = *state;
    temp_folder_clear(place->path);
    mem_free(place);
    return 0;
}

static void gradient_of(uint64_t step, float out[COUNT])
{
    for (uint32_t i = 0; i < COUNT; i++) {
        out[i] = rng_unit(step, i) - 0.5f;
    }
}

static enum err append(struct journal *j, uint64_t step, struct errbuf *e)
{
    float g[COUNT];
    gradient_of(step, g);
    const struct journal_step row = {
        .step = step,
        .loss = 2.5,
        .norm = 0.5,
        .lr = 1e-3,
        .seconds = 0.25,
        .kl = 0.125,
        .tokens = 10,
        .cost = {.slots = 2, .jobs = 7, .compute_s = 0.4, .adding_s = 0.01, .finishing_s = 0.02}};
    return journal_append(j, &row, g, COUNT, e);
}

static struct journal *opened(const char *folder)
{
    struct journal *j = NULL;
    struct errbuf e = {{0}};
    enum err error = journal_open(folder, &j, &e);
    if (error != OK) {
        print_message("%s\n", e.text);
    }
    assert_int_equal(error, OK);
    return j;
}

static void path_in(char out[256], const char *folder, const char *name)
{
    (void)snprintf(out, 256, "%s/%s", folder, name);
}

static void write_file(const char *path, const char *data, size_t n)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0 && write(fd, data, n) == (ssize_t)n);
    (void)close(fd);
}

static void flip(const char *path, long at)
{
    char byte;
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0 && pread(fd, &byte, 1, at) == 1);
    byte ^= 0x10;
    assert_true(pwrite(fd, &byte, 1, at) == 1);
    (void)close(fd);
}

struct seen {
    uint64_t n, next;
};

static enum err check_record(void *context, const struct journal_step *step, const float *g,
                             size_t count)
{
    struct seen *s = context;
    float want[COUNT];
    gradient_of(step->step, want);
    assert_int_equal(count, COUNT);
    assert_true(step->step == s->next && step->loss == 2.5 && step->lr == 1e-3);
    assert_memory_equal(g, want, sizeof want);
    s->n++;
    s->next++;
    return OK;
}

static void test_committed_steps_come_back_with_their_bits(void **state)
{
    const char *folder = ((struct temp_folder *)*state)->path;
    struct journal *j = opened(folder);
    for (uint64_t s = 0; s < 5; s++) {
        assert_int_equal(append(j, s, NULL), OK);
    }
    assert_int_equal(append(j, 7, NULL), ERR_STATE);
    journal_close(&j);
    j = opened(folder);
    struct seen seen = {.next = 2};
    assert_int_equal(journal_steps(j), 5);
    assert_int_equal(journal_replay(j, 2, UINT64_MAX, COUNT, check_record, &seen, NULL), OK);
    assert_int_equal(seen.n, 3);
    struct journal_step row;
    assert_int_equal(journal_step_get(j, 4, &row, NULL), OK);
    assert_true(row.tokens == 10 && row.seconds == 0.25);
    assert_true(row.cost.slots == 2 && row.cost.jobs == 7 && row.cost.compute_s == 0.4);
    assert_true(row.cost.adding_s == 0.01 && row.cost.finishing_s == 0.02);
    assert_int_equal(journal_step_get(j, 5, &row, NULL), ERR_NOT_FOUND);
    journal_close(&j);
}

/* The database as version 1 made it: the columns of the costs are taken away again. */
static void test_a_run_of_version_1_goes_on_and_has_no_costs_before(void **state)
{
    const char *folder = ((struct temp_folder *)*state)->path;
    char path[256];
    sqlite3 *db = NULL;
    struct journal_step row;
    struct journal *j = opened(folder);
    assert_int_equal(append(j, 0, NULL), OK);
    assert_int_equal(journal_meta_set(j, "probe", "abc", NULL), OK);
    journal_close(&j);
    path_in(path, folder, "run.db");
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(
        sqlite3_exec(db,
                     "ALTER TABLE steps DROP COLUMN slots; ALTER TABLE steps DROP COLUMN jobs;"
                     "ALTER TABLE steps DROP COLUMN compute; ALTER TABLE steps DROP COLUMN adding;"
                     "ALTER TABLE steps DROP COLUMN finishing; ALTER TABLE steps DROP COLUMN kl;"
                     "ALTER TABLE meta DROP COLUMN digest; ALTER TABLE evals DROP COLUMN digest;"
                     "PRAGMA user_version=1;",
                     NULL, NULL, NULL),
        SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    assert_int_equal(journal_open_reader(folder, &j, NULL), OK);
    assert_int_equal(journal_step_get(j, 0, &row, NULL), OK);
    assert_true(row.tokens == 10 && row.cost.jobs == 0 && row.cost.compute_s == 0.0);
    struct str text = {0};
    assert_int_equal(journal_meta_get(j, "probe", &text, NULL), OK);
    journal_close(&j);
    j = opened(folder);
    assert_int_equal(journal_meta_get(j, "probe", &text, NULL), OK);
    assert_string_equal(text.data, "abcabc");
    str_free(&text);
    assert_int_equal(append(j, 1, NULL), OK);
    assert_int_equal(journal_step_get(j, 0, &row, NULL), OK);
    assert_true(row.tokens == 10 && row.cost.jobs == 0);
    assert_int_equal(journal_step_get(j, 1, &row, NULL), OK);
    assert_true(row.cost.jobs == 7 && row.kl == 0.125);
    journal_close(&j);
}

/* The record of a step, as a journal of its own writes it; mem_free. */
static char *record_of(uint64_t step)
{
    struct temp_folder other;
    char path[256];
    char *data;
    size_t bytes;
    temp_folder_make(&other);
    struct journal *j = opened(other.path);
    for (uint64_t s = 0; s <= step; s++) {
        assert_int_equal(append(j, s, NULL), OK);
    }
    journal_close(&j);
    path_in(path, other.path, "steps.log");
    assert_int_equal(file_read(path, 1 << 20, &data, &bytes, NULL), OK);
    memmove(data, data + step * RECORD, RECORD);
    temp_folder_clear(other.path);
    return data;
}

/* A kill at any byte of an append leaves that many bytes of a record that has no row. */
static void test_torn_tail_stays_until_the_next_append_cuts_it(void **state)
{
    const char *folder = ((struct temp_folder *)*state)->path;
    char path[256];
    char *data;
    size_t bytes;
    path_in(path, folder, "steps.log");
    struct journal *j = opened(folder);
    assert_int_equal(append(j, 0, NULL), OK);
    assert_int_equal(append(j, 1, NULL), OK);
    journal_close(&j);
    assert_int_equal(file_read(path, 1 << 20, &data, &bytes, NULL), OK);
    assert_int_equal(bytes, 2 * RECORD);
    char *third = record_of(2);
    char torn[3 * RECORD];
    memcpy(torn, data, bytes);
    memcpy(torn + bytes, third, RECORD);
    for (size_t cut = 0; cut <= RECORD; cut++) {
        write_file(path, torn, bytes + cut);
        j = opened(folder);
        struct stat info;
        assert_int_equal(journal_steps(j), 2);
        struct seen seen = {0};
        assert_int_equal(journal_replay(j, 0, UINT64_MAX, COUNT, check_record, &seen, NULL), OK);
        assert_int_equal(seen.n, 2);
        assert_int_equal(stat(path, &info), 0);
        assert_int_equal(info.st_size, bytes + cut);
        journal_close(&j);
    }
    mem_free(data);
    mem_free(third);
    j = opened(folder);
    assert_int_equal(append(j, 2, NULL), OK);
    journal_close(&j);
    j = opened(folder);
    struct seen seen = {0};
    assert_int_equal(journal_replay(j, 0, UINT64_MAX, COUNT, check_record, &seen, NULL), OK);
    assert_int_equal(seen.n, 3);
    journal_close(&j);
}

static void test_damage_in_the_middle_is_refused_with_its_offset(void **state)
{
    const char *folder = ((struct temp_folder *)*state)->path;
    char path[256];
    path_in(path, folder, "steps.log");
    struct journal *j = opened(folder);
    for (uint64_t s = 0; s < 3; s++) {
        assert_int_equal(append(j, s, NULL), OK);
    }
    journal_close(&j);
    for (long at = RECORD; at < 2 * RECORD; at++) {
        flip(path, at);
        j = opened(folder);
        struct seen seen = {0};
        struct errbuf e = {{0}};
        assert_int_equal(journal_replay(j, 0, UINT64_MAX, COUNT, check_record, &seen, &e),
                         ERR_CORRUPT);
        assert_non_null(strstr(e.text, "at byte 240"));
        assert_int_equal(seen.n, 1);
        journal_close(&j);
        flip(path, at);
    }
    assert_int_equal(truncate(path, 2 * RECORD), 0);
    struct errbuf e;
    assert_int_equal(journal_open(folder, &j, &e), ERR_CORRUPT);
    assert_non_null(strstr(e.text, "ends at byte 480"));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(journal_open(folder, &j, &e), ERR_CORRUPT);
    assert_non_null(strstr(e.text, "steps.log: is gone"));
    assert_false(file_exists(path));
}

static void test_a_log_one_byte_short_is_refused(void **state)
{
    const char *folder = ((struct temp_folder *)*state)->path;
    char path[256];
    struct errbuf e;
    struct journal *j = opened(folder);
    assert_int_equal(append(j, 0, NULL), OK);
    assert_int_equal(append(j, 1, NULL), OK);
    journal_close(&j);
    path_in(path, folder, "steps.log");
    assert_int_equal(truncate(path, 2 * RECORD - 1), 0);
    assert_int_equal(journal_open(folder, &j, &e), ERR_CORRUPT);
    assert_non_null(strstr(e.text, "ends at byte 479"));
}

static void change(const char *folder, const char *sql)
{
    char path[256];
    sqlite3 *db = NULL;
    path_in(path, folder, "run.db");
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

/* Opens and replays it all; the first code that is not OK. */
static enum err replay_all(const char *folder, struct errbuf *e)
{
    struct journal *j = NULL;
    struct seen seen = {0};
    *e = (struct errbuf){{0}};
    enum err error = journal_open(folder, &j, e);
    error = error == OK ? journal_replay(j, 0, UINT64_MAX, COUNT, check_record, &seen, e) : error;
    journal_close(&j);
    return error;
}

static void test_a_row_that_is_not_what_its_record_says_is_corruption(void **state)
{
    static const char *const harms[] = {
        "lr = 0.00101",
        "loss = 2.25",
        "digest = digest || x'00'",
        "digest = NULL",
        "offset = offset - 1",
        "bytes = bytes - 4",
        "digest = (SELECT digest FROM steps WHERE step = 0)",
    };
    const char *folder = ((struct temp_folder *)*state)->path;
    char sql[256];
    char path[256];
    char *data;
    size_t bytes;
    struct errbuf e;
    struct journal *j = opened(folder);
    for (uint64_t s = 0; s < 3; s++) {
        assert_int_equal(append(j, s, NULL), OK);
    }
    journal_close(&j);
    path_in(path, folder, "run.db");
    assert_int_equal(file_read(path, 1 << 22, &data, &bytes, NULL), OK);
    for (size_t i = 0; i < sizeof harms / sizeof harms[0]; i++) {
        for (int step = 1; step < 3; step++) { /* in the middle, and the last one */
            (void)snprintf(sql, sizeof sql, "UPDATE steps SET %s WHERE step = %d", harms[i], step);
            change(folder, sql);
            assert_int_equal(replay_all(folder, &e), ERR_CORRUPT);
            assert_non_null(strstr(e.text, "steps.log"));
            write_file(path, data, bytes);
        }
        assert_int_equal(replay_all(folder, &e), OK);
    }
    mem_free(data);
}

static void test_a_database_older_than_the_log_is_refused_and_the_log_kept(void **state)
{
    const char *folder = ((struct temp_folder *)*state)->path;
    char path[256];
    struct stat info;
    struct errbuf e;
    struct journal *j = opened(folder);
    for (uint64_t s = 0; s < 4; s++) {
        assert_int_equal(append(j, s, NULL), OK);
    }
    journal_close(&j);
    path_in(path, folder, "steps.log");
    change(folder, "DELETE FROM steps WHERE step >= 3"); /* as a kill before the row leaves it */
    assert_int_equal(replay_all(folder, &e), OK);
    change(folder, "DELETE FROM steps WHERE step >= 2");
    assert_int_equal(replay_all(folder, &e), ERR_CORRUPT);
    assert_non_null(strstr(e.text, "run.db: knows 2 steps"));
    change(folder, "DELETE FROM steps");
    assert_int_equal(replay_all(folder, &e), ERR_CORRUPT);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_size, 4 * RECORD);
}

static void test_a_log_of_other_steps_is_refused(void **state)
{
    const char *folder = ((struct temp_folder *)*state)->path;
    char path[256];
    struct errbuf e;
    struct journal *j = opened(folder);
    assert_int_equal(append(j, 0, NULL), OK);
    assert_int_equal(journal_prune(j, 0, NULL), OK); /* steps-0000000000.log; steps.log is empty */
    journal_close(&j);
    char *record = record_of(2);
    path_in(path, folder, "steps.log");
    write_file(path, record, RECORD); /* run.db is older than a rotation */
    assert_int_equal(replay_all(folder, &e), ERR_CORRUPT);
    assert_non_null(strstr(e.text, "run.db: knows 1 steps"));
    mem_free(record);
}

static void test_an_entry_that_is_not_what_its_digest_covers_is_refused(void **state)
{
    const char *folder = ((struct temp_folder *)*state)->path;
    struct str text = {0};
    struct errbuf e;
    struct journal *j = opened(folder);
    assert_int_equal(journal_meta_set(j, "kernels", "portable", NULL), OK);
    assert_int_equal(journal_eval_set(j, "reference", "[1]", NULL), OK);
    journal_close(&j);
    change(folder, "UPDATE meta SET value='x86-64-v3'; UPDATE evals SET json='[2]'");
    j = opened(folder);
    assert_int_equal(journal_meta_get(j, "kernels", &text, &e), ERR_CORRUPT);
    assert_non_null(strstr(e.text, "run.db: the entry kernels"));
    assert_int_equal(journal_eval_get(j, "reference", &text, &e), ERR_CORRUPT);
    journal_close(&j);
    change(folder, "UPDATE meta SET digest=NULL");
    j = opened(folder);
    assert_int_equal(journal_meta_get(j, "kernels", &text, &e), ERR_CORRUPT);
    journal_close(&j);
    str_free(&text);
}

static void test_full_disk_leaves_everything_as_it_was_and_can_be_tried_again(void **state)
{
    const char *folder = ((struct temp_folder *)*state)->path;
    struct journal *j = opened(folder);
    struct errbuf e;
    assert_int_equal(append(j, 0, &e), OK);
    const int full[] = {ENOSPC, EDQUOT, EFBIG};
    for (unsigned long n = 0; n < 6; n++) {
        disk_fail(DISK_WRITE, 1 + n % 2, full[n / 2], false);
        assert_int_equal(append(j, 1, &e), ERR_NOSPACE);
        assert_int_equal(journal_steps(j), 1);
    }
    disk_fail(0, 0, 0, false);
    assert_int_equal(append(j, 1, &e), OK);
    struct seen seen = {0};
    assert_int_equal(journal_replay(j, 0, UINT64_MAX, COUNT, check_record, &seen, &e), OK);
    assert_int_equal(seen.n, 2);
    journal_close(&j);
}

static void test_failed_write_or_sync_is_an_error_to_exit_on(void **state)
{
    const char *folder = ((struct temp_folder *)*state)->path;
    struct errbuf e;
    for (int sync = 0; sync <= 1; sync++) {
        struct journal *j = opened(folder);
        uint64_t steps = journal_steps(j);
        disk_fail(sync ? DISK_SYNC : DISK_WRITE, 1, sync ? ENOSPC : EIO, false);
        assert_int_equal(append(j, steps, &e), ERR_IO);
        disk_fail(0, 0, 0, false);
        journal_close(&j);
        j = opened(folder); /* as the next process does */
        assert_int_equal(journal_steps(j), steps);
        assert_int_equal(append(j, steps, &e), OK);
        journal_close(&j);
    }
}

static void test_second_coordinator_is_refused_and_told_the_pid(void **state)
{
    const char *folder = ((struct temp_folder *)*state)->path;
    struct journal *j = opened(folder);
    struct journal *other = NULL;
    struct errbuf e;
    char pid[32];
    (void)snprintf(pid, sizeof pid, "pid %ld", (long)getpid());
    assert_int_equal(journal_open(folder, &other, &e), ERR_BUSY);
    assert_non_null(strstr(e.text, pid));
    assert_int_equal(journal_open_reader(folder, &other, &e), OK);
    journal_close(&other);
    journal_close(&j);
    j = opened(folder);
    journal_close(&j);
}

static void test_settings_and_evaluations_are_kept(void **state)
{
    const char *folder = ((struct temp_folder *)*state)->path;
    struct journal *j = opened(folder);
    struct str text = {0};
    uint64_t starts;
    assert_int_equal(journal_meta_set(j, "config", "a: 1\n", NULL), OK);
    assert_int_equal(journal_meta_set(j, "config", "a: 2\n", NULL), OK);
    assert_int_equal(journal_eval_set(j, "before", "{\"n\":1}", NULL), OK);
    assert_int_equal(journal_event(j, "worker_gone", "w1", NULL), OK);
    assert_int_equal(journal_meta_count(j, "starts", &starts, NULL), OK);
    assert_int_equal(journal_meta_count(j, "starts", &starts, NULL), OK);
    assert_int_equal(starts, 2);
    journal_close(&j);
    assert_int_equal(journal_open_reader(folder, &j, NULL), OK);
    assert_int_equal(journal_meta_get(j, "config", &text, NULL), OK);
    assert_string_equal(text.data, "a: 2\n");
    str_clear(&text);
    assert_int_equal(journal_eval_get(j, "before", &text, NULL), OK);
    assert_string_equal(text.data, "{\"n\":1}");
    assert_int_equal(journal_meta_get(j, "nothing", &text, NULL), ERR_NOT_FOUND);
    str_free(&text);
    journal_close(&j);
    assert_int_equal(journal_open_reader("/tmp/pft-no-such-run", &j, NULL), ERR_NOT_FOUND);
}

static struct params *fresh(void)
{
    struct params *p = NULL;
    assert_int_equal(params_new_empty(COUNT, &adam, &p), OK);
    for (uint32_t i = 0; i < COUNT; i++) {
        p->adam.p[i] = rng_unit(99, i);
    }
    return p;
}

/* Trains to step `steps` in one process life, with a checkpoint every `every` steps. */
static struct params *train(const char *folder, uint64_t steps, uint64_t every)
{
    struct journal *j = opened(folder);
    struct params *p = fresh();
    struct errbuf e = {{0}};
    enum err error = recover_params(folder, j, settings, p, NULL, &e);
    if (error != OK) {
        print_message("%s\n", e.text);
    }
    assert_int_equal(error, OK);
    while (p->version < steps) {
        float g[COUNT];
        uint64_t oldest;
        gradient_of(p->version, g);
        assert_int_equal(append(j, p->version, &e), OK);
        params_step(p, g, 1e-3, NULL);
        if (p->version % every == 0) {
            assert_int_equal(checkpoint_write(folder, p, settings, &oldest, &e), OK);
            assert_int_equal(journal_prune(j, oldest, &e), OK);
        }
    }
    journal_close(&j);
    return p;
}

static void assert_same(const struct params *a, const struct params *b)
{
    assert_int_equal(a->version, b->version);
    assert_memory_equal(a->adam.p, b->adam.p, COUNT * sizeof(float));
    assert_memory_equal(a->adam.m, b->adam.m, COUNT * sizeof(float));
    assert_memory_equal(a->adam.v, b->adam.v, COUNT * sizeof(float));
    assert_true(a->adam.beta1_t == b->adam.beta1_t && a->adam.beta2_t == b->adam.beta2_t);
}

static void test_restarts_end_in_the_same_bits_as_one_life(void **state)
{
    const char *folder = ((struct temp_folder *)*state)->path;
    struct params *want = fresh();
    for (uint64_t s = 0; s < 23; s++) {
        float g[COUNT];
        gradient_of(s, g);
        params_step(want, g, 1e-3, NULL);
    }
    const uint64_t stops[] = {1, 4, 5, 6, 11, 15, 16, 23};
    for (size_t i = 0; i < sizeof stops / sizeof *stops; i++) {
        struct params *p = train(folder, stops[i], 5);
        params_free(&p);
    }
    struct params *p = train(folder, 23, 5);
    assert_same(p, want);
    char path[256];
    path_in(path, folder, "steps-0000000005.log"); /* pruned: checkpoints 15 and 20 are kept */
    assert_false(file_exists(path));
    path_in(path, folder, "steps-0000000015.log");
    assert_true(file_exists(path));
    params_free(&p);
    params_free(&want);
}

/* Commits steps for ever and says so, a byte each. */
_Noreturn static void train_until_killed(const char *folder, int told)
{
    struct journal *j = NULL;
    struct params *p = fresh();
    float g[COUNT];
    uint64_t oldest;
    bool ok = journal_open(folder, &j, NULL) == OK &&
              recover_params(folder, j, settings, p, NULL, NULL) == OK;
    while (ok) {
        gradient_of(p->version, g);
        ok = append(j, p->version, NULL) == OK && write(told, "s", 1) == 1;
        params_step(p, g, 1e-3, NULL);
        if (ok && p->version % 3 == 0) {
            ok = checkpoint_write(folder, p, settings, &oldest, NULL) == OK &&
                 journal_prune(j, oldest, NULL) == OK;
        }
    }
    _exit(1);
}

static void test_kill_at_any_moment_loses_no_committed_step(void **state)
{
    const char *folder = ((struct temp_folder *)*state)->path;
    struct params *want = fresh();
    uint64_t committed = 0;
    for (uint64_t round = 0; round < 12; round++) {
        int told[2];
        char byte;
        assert_int_equal(pipe(told), 0);
        pid_t child = fork();
        if (child == 0) {
            (void)close(told[0]);
            train_until_killed(folder, told[1]);
        }
        (void)close(told[1]);
        uint64_t steps = 1 + rng_below(11, round, 7);
        for (uint64_t i = 0; i < steps; i++) {
            assert_int_equal(read(told[0], &byte, 1), 1);
        }
        assert_int_equal(kill(child, SIGKILL), 0);
        assert_true(waitpid(child, NULL, 0) == child);
        while (read(told[0], &byte, 1) == 1) {
            steps++;
        }
        (void)close(told[0]);
        committed += steps;
        struct journal *j = opened(folder);
        struct params *p = fresh();
        assert_true(journal_steps(j) == committed || journal_steps(j) == committed + 1);
        committed = journal_steps(j);
        assert_int_equal(recover_params(folder, j, settings, p, NULL, NULL), OK);
        while (want->version < committed) {
            float g[COUNT];
            gradient_of(want->version, g);
            params_step(want, g, 1e-3, NULL);
        }
        assert_same(p, want);
        params_free(&p);
        journal_close(&j);
    }
    params_free(&want);
}

static void test_damaged_newest_checkpoint_falls_back_to_the_older_one(void **state)
{
    const char *folder = ((struct temp_folder *)*state)->path;
    char path[256];
    struct params *want = train(folder, 12, 5);
    path_in(path, folder, "checkpoints/step-0000000010.ckpt");
    for (long at = 0; at < 96 + 12 * COUNT + 16; at += 13) {
        struct str warnings = {0};
        struct errbuf e;
        struct params *p = fresh();
        flip(path, at);
        assert_int_equal(checkpoint_load(folder, settings, UINT64_MAX, p, &warnings, &e), OK);
        assert_int_equal(p->version, 5);
        assert_non_null(strstr(warnings.data, "step-0000000010.ckpt"));
        params_free(&p);
        p = train(folder, 12, 100);
        assert_same(p, want);
        flip(path, at);
        params_free(&p);
        str_free(&warnings);
    }
    for (off_t cut = 0; cut < 96 + 12 * COUNT + 16; cut += 37) {
        char *data;
        size_t bytes;
        struct params *p = fresh();
        assert_int_equal(file_read(path, 1 << 20, &data, &bytes, NULL), OK);
        assert_int_equal(truncate(path, cut), 0);
        assert_int_equal(checkpoint_load(folder, settings, UINT64_MAX, p, NULL, NULL), OK);
        assert_int_equal(p->version, 5);
        write_file(path, data, bytes);
        mem_free(data);
        params_free(&p);
    }
    params_free(&want);
}

static void test_a_damaged_checkpoint_is_not_one_of_the_two_that_are_kept(void **state)
{
    const char *folder = ((struct temp_folder *)*state)->path;
    char path[256];
    struct params *p = train(folder, 12, 5);
    params_free(&p);
    path_in(path, folder, "checkpoints/step-0000000010.ckpt");
    flip(path, 200);
    p = train(folder, 15, 5); /* falls back to 5, writes 15 */
    params_free(&p);
    assert_false(file_exists(path));
    path_in(path, folder, "checkpoints/step-0000000015.ckpt");
    flip(path, 200);
    p = train(folder, 17, 100); /* falls back to 5 once more */
    assert_int_equal(p->version, 17);
    params_free(&p);
}

static void test_checkpoint_of_other_settings_is_refused(void **state)
{
    const char *folder = ((struct temp_folder *)*state)->path;
    struct params *p = train(folder, 6, 3);
    const uint8_t other[CHECKPOINT_CONFIG_BYTES] = {9};
    struct errbuf e;
    size_t count;
    uint64_t step;
    assert_int_equal(checkpoint_load(folder, other, UINT64_MAX, p, NULL, &e), ERR_REFUSED);
    assert_non_null(strstr(e.text, "other settings"));
    assert_int_equal(checkpoint_peek(folder, &count, &step, &e), OK);
    assert_true(count == COUNT && step == 6);
    struct params *small = NULL;
    assert_int_equal(params_new_empty(3, &adam, &small), OK);
    assert_int_equal(checkpoint_load(folder, NULL, UINT64_MAX, small, NULL, &e), ERR_REFUSED);
    params_free(&small);
    params_free(&p);
}

static void test_a_checkpoint_of_later_steps_than_the_database_knows_is_refused(void **state)
{
    const char *folder = ((struct temp_folder *)*state)->path;
    struct errbuf e;
    struct params *p = train(folder, 6, 3);
    params_free(&p);
    const char *const harms[] = {"DELETE FROM steps WHERE step = 5", "DELETE FROM steps"};
    for (size_t i = 0; i < sizeof harms / sizeof harms[0]; i++) {
        change(folder, harms[i]);
        struct journal *j = opened(folder);
        p = fresh();
        assert_int_equal(recover_params(folder, j, settings, p, NULL, &e), ERR_CORRUPT);
        assert_non_null(strstr(e.text, "the checkpoint is of step 6"));
        params_free(&p);
        journal_close(&j);
    }
}

static void test_a_pruned_log_without_its_checkpoints_is_refused(void **state)
{
    const char *folder = ((struct temp_folder *)*state)->path;
    char path[256];
    struct errbuf e;
    struct params *p = train(folder, 10, 3); /* checkpoints 6 and 9, the log from 6 on */
    params_free(&p);
    for (int step = 6; step <= 9; step += 3) {
        (void)snprintf(path, sizeof path, "%s/checkpoints/step-%010d.ckpt", folder, step);
        assert_int_equal(unlink(path), 0);
    }
    struct journal *j = opened(folder);
    p = fresh();
    assert_int_equal(recover_params(folder, j, settings, p, NULL, &e), ERR_CORRUPT);
    assert_non_null(strstr(e.text, "/checkpoints"));
    params_free(&p);
    journal_close(&j);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, make_place, drop_place)

/* The last record is the one that is meant, the first is not: it is another run's. */
static void test_a_log_that_begins_with_another_step_is_refused(void **state)
{
    const char *folder = ((struct temp_folder *)*state)->path;
    char path[256];
    struct errbuf e;
    struct journal *j = opened(folder);
    assert_int_equal(append(j, 0, NULL), OK);
    assert_int_equal(append(j, 1, NULL), OK);
    journal_close(&j);
    char *record = record_of(2);
    path_in(path, folder, "steps.log");
    int fd = open(path, O_WRONLY);
    assert_true(fd >= 0 && pwrite(fd, record, RECORD, 0) == RECORD);
    (void)close(fd);
    mem_free(record);
    assert_int_equal(journal_open(folder, &j, &e), ERR_CORRUPT);
    assert_non_null(strstr(e.text, "does not begin with step 0"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_committed_steps_come_back_with_their_bits),
        CASE(test_a_run_of_version_1_goes_on_and_has_no_costs_before),
        CASE(test_torn_tail_stays_until_the_next_append_cuts_it),
        CASE(test_damage_in_the_middle_is_refused_with_its_offset),
        CASE(test_a_log_one_byte_short_is_refused),
        CASE(test_a_row_that_is_not_what_its_record_says_is_corruption),
        CASE(test_a_database_older_than_the_log_is_refused_and_the_log_kept),
        CASE(test_a_log_of_other_steps_is_refused),
        CASE(test_an_entry_that_is_not_what_its_digest_covers_is_refused),
        CASE(test_a_checkpoint_of_later_steps_than_the_database_knows_is_refused),
        CASE(test_a_pruned_log_without_its_checkpoints_is_refused),
        CASE(test_full_disk_leaves_everything_as_it_was_and_can_be_tried_again),
        CASE(test_failed_write_or_sync_is_an_error_to_exit_on),
        CASE(test_second_coordinator_is_refused_and_told_the_pid),
        CASE(test_settings_and_evaluations_are_kept),
        CASE(test_restarts_end_in_the_same_bits_as_one_life),
        CASE(test_kill_at_any_moment_loses_no_committed_step),
        CASE(test_damaged_newest_checkpoint_falls_back_to_the_older_one),
        CASE(test_a_damaged_checkpoint_is_not_one_of_the_two_that_are_kept),
        CASE(test_checkpoint_of_other_settings_is_refused),
        CASE(test_a_log_that_begins_with_another_step_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
