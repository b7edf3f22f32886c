/* test_journal_faults.c - a run on a disk, or in a memory, that fails at the n-th call, for every
 * n: each failure is a clean error, what was committed is readable with its bits, the run goes on.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <dirent.h>

#include "common/base/mem.h"
#include "common/base/rng.h"
#include "coordinator/checkpoint.h"
#include "coordinator/journal.h"
#include "coordinator/recover.h"
#include "tests/support/sqlite_faults.h"
#include "tests/support/temp_folder.h"

enum { COUNT = 40, BEFORE = 3, STEPS = 8, CHECKPOINT_STEPS = 2 };

static const struct adamw_config adam = {
    .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.01, .clip = 1.0};
static const uint8_t settings[CHECKPOINT_CONFIG_BYTES] = {7};

/* One life of a process that trains. What it acknowledged outlives it. */
struct life {
    const char *folder;
    struct journal *journal;
    struct params *params;
    uint64_t acknowledged;
    struct errbuf e;
};

static void gradient_of(uint64_t step, float out[COUNT])
{
    for (uint32_t i = 0; i < COUNT; i++) {
        out[i] = rng_unit(step, i) - 0.5f;
    }
}

static struct params *version_0(void)
{
    struct params *p = NULL;
    assert_int_equal(params_new_empty(COUNT, &adam, &p), OK);
    for (uint32_t i = 0; i < COUNT; i++) {
        p->adam.p[i] = rng_unit(99, i);
    }
    return p;
}

/* Bits of a version, by the rule alone. */
static void assert_bits(const struct params *p)
{
    struct params *want = version_0();
    while (want->version < p->version) {
        float g[COUNT];
        gradient_of(want->version, g);
        params_step(want, g, 1e-3, NULL);
    }
    assert_memory_equal(p->adam.p, want->adam.p, COUNT * sizeof(float));
    assert_memory_equal(p->adam.m, want->adam.m, COUNT * sizeof(float));
    assert_memory_equal(p->adam.v, want->adam.v, COUNT * sizeof(float));
    params_free(&want);
}

static enum err begin(struct life *l)
{
    l->e.text[0] = '\0';
    l->params = version_0();
    enum err error = journal_open(l->folder, &l->journal, &l->e);
    return error == OK ? recover_params(l->folder, l->journal, settings, l->params, NULL, &l->e)
                       : error;
}

static void end(struct life *l)
{
    journal_close(&l->journal);
    params_free(&l->params);
}

/* Errors are told in words, but for memory, and no space is made up. */
static void assert_clean(const struct life *l, enum err error)
{
    assert_true(error == ERR_NOSPACE || error == ERR_IO || error == ERR_NOMEM ||
                error == ERR_NOT_FOUND);
    assert_true(error == ERR_NOMEM || l->e.text[0] != '\0');
    if (error == ERR_NOSPACE) {
        assert_false(disk_faults.sync_failed);
        assert_true(disk_faults.errnum == ENOSPC || disk_faults.errnum == EMFILE ||
                    disk_faults.errnum == ENFILE);
    }
}

/* What the scribe does with a full disk: once there is room the same call is made again. */
#define PATIENTLY(l, error, call)                                                                  \
    do {                                                                                           \
        error = call;                                                                              \
        if (error == ERR_NOSPACE) {                                                                \
            assert_clean(l, error);                                                                \
            disk_faults.n = 0;                                                                     \
            error = call;                                                                          \
            if (error != OK) {                                                                     \
                fail_msg("with room again: %s", (l)->e.text);                                      \
            }                                                                                      \
        }                                                                                          \
    } while (0)

static enum err train(struct life *l, uint64_t steps)
{
    enum err error = OK;
    while (error == OK && l->params->version < steps) {
        float g[COUNT];
        const struct journal_step step = {.step = l->params->version, .loss = 1.0, .lr = 1e-3};
        uint64_t oldest = 0;
        gradient_of(step.step, g);
        PATIENTLY(l, error, journal_append(l->journal, &step, g, COUNT, &l->e));
        if (error != OK) {
            return error;
        }
        l->acknowledged = step.step + 1;
        params_step(l->params, g, step.lr, NULL);
        if (l->params->version % CHECKPOINT_STEPS == 0) {
            PATIENTLY(l, error, checkpoint_write(l->folder, l->params, settings, &oldest, &l->e));
            if (error == OK) {
                PATIENTLY(l, error, journal_prune(l->journal, oldest, &l->e));
            }
        }
        if (error == OK) {
            PATIENTLY(l, error, journal_meta_set(l->journal, "probe", "abc", &l->e));
        }
    }
    return error;
}

/* A run of BEFORE steps in a folder of its own. */
static void make_run(struct temp_folder *folder, struct life *l)
{
    temp_folder_make(folder);
    *l = (struct life){.folder = folder->path};
    assert_int_equal(begin(l), OK);
    assert_int_equal(train(l, BEFORE), OK);
    end(l);
}

/* The next process finds what was acknowledged, at most one step more, and goes on to the end. */
static void assert_goes_on(struct life *l)
{
    enum err error = begin(l);
    if (error != OK) {
        fail_msg("the next start: %s", l->e.text);
    }
    assert_true(l->params->version == l->acknowledged || l->params->version == l->acknowledged + 1);
    assert_bits(l->params);
    assert_int_equal(train(l, STEPS), OK);
    assert_bits(l->params);
    assert_int_equal(l->params->version, STEPS);
    end(l);
}

static void disk_that_fails(unsigned calls, int errnum, bool lasting)
{
    unsigned long failed = 1;
    unsigned long n = 1;
    for (; failed > 0; n++) {
        struct temp_folder folder;
        struct life l;
        make_run(&folder, &l);
        disk_fail(calls, n, errnum, lasting);
        enum err error = begin(&l);
        error = error == OK ? train(&l, STEPS) : error;
        failed = disk_faults.failed;
        if (error != OK) {
            assert_clean(&l, error);
            assert_true(failed > 0);
            if (disk_faults.n == 0) {
                fail_msg("there was room again: %s", l.e.text);
            }
        }
        end(&l);
        disk_fail(0, 0, 0, false);
        assert_goes_on(&l);
        temp_folder_clear(folder.path);
    }
    print_message("%lu calls failed in turn\n", n - 2);
    assert_true(n > 10);
}

static void every_disk_call_that_fails_once_is_survived(void **state)
{
    (void)state;
    disk_that_fails(DISK_CHANGES, EIO, false);
    disk_that_fails(DISK_CHANGES, ENOSPC, false);
}

static void a_disk_that_is_gone_or_full_from_any_call_on_is_survived(void **state)
{
    (void)state;
    disk_that_fails(DISK_CHANGES, EIO, true);
    disk_that_fails(DISK_CHANGES, ENOSPC, true);
}

/* Opening, also for reading, is what needs one. */
static void a_lack_of_descriptors_passes_like_a_full_disk(void **state)
{
    (void)state;
    disk_that_fails(DISK_OPEN | DISK_READ, EMFILE, false);
    disk_that_fails(DISK_OPEN | DISK_READ, ENFILE, true);
}

static uint32_t checkpoints(const char *run)
{
    char path[FILE_PATH_BYTES];
    uint32_t n = 0;
    assert_int_equal(file_join(path, run, "checkpoints", NULL), OK);
    DIR *folder = opendir(path);
    assert_non_null(folder);
    for (const struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        n += strncmp(entry->d_name, "step-", 5) == 0;
    }
    (void)closedir(folder);
    return n;
}

static void a_checkpoint_that_cannot_be_looked_at_for_now_is_kept(void **state)
{
    (void)state;
    unsigned long failed = 1;
    for (unsigned long n = 1; failed > 0; n++) {
        struct temp_folder folder;
        struct life l;
        make_run(&folder, &l);
        assert_int_equal(begin(&l), OK);
        disk_fail(DISK_READ, n, EMFILE, false);
        assert_int_equal(train(&l, STEPS), OK);
        failed = disk_faults.failed;
        disk_fail(0, 0, 0, false);
        end(&l);
        assert_true(checkpoints(folder.path) >= CHECKPOINT_KEPT);
        temp_folder_clear(folder.path);
    }
}

static void a_failed_sync_is_an_error_to_exit_on_whatever_its_errno(void **state)
{
    (void)state;
    unsigned long failed = 1;
    for (unsigned long n = 1; failed > 0; n++) {
        struct temp_folder folder;
        struct life l;
        make_run(&folder, &l);
        assert_int_equal(begin(&l), OK);
        disk_fail(DISK_SYNC, n, ENOSPC, false);
        enum err error = train(&l, STEPS);
        failed = disk_faults.failed;
        disk_fail(0, 0, 0, false);
        assert_int_equal(error, failed > 0 ? ERR_IO : OK);
        end(&l);
        assert_goes_on(&l);
        temp_folder_clear(folder.path);
    }
}

static void every_read_that_fails_is_an_error_and_changes_nothing(void **state)
{
    (void)state;
    unsigned long failed = 1;
    struct temp_folder folder;
    struct life l;
    make_run(&folder, &l);
    for (unsigned long n = 1; failed > 0; n++) {
        disk_fail(DISK_READ, n, EIO, false);
        enum err error = begin(&l);
        failed = disk_faults.failed;
        disk_fail(0, 0, 0, false);
        if (error == OK) {
            assert_int_equal(l.params->version, BEFORE);
            assert_bits(l.params);
        } else {
            assert_clean(&l, error);
        }
        end(&l);
    }
    assert_goes_on(&l);
    temp_folder_clear(folder.path);
}

static void every_allocation_that_fails_is_an_error_and_loses_nothing(void **state)
{
    (void)state;
    for (int sqlite = 0; sqlite <= 1; sqlite++) {
        enum err error = ERR_NOMEM;
        unsigned long n = 1;
        for (bool failed = true; failed && n < 100000; n++) {
            struct temp_folder folder;
            struct life l;
            make_run(&folder, &l);
            l.params = version_0();
            mem_fail_after(sqlite ? 0 : n);
            sqlite_fail_allocation(sqlite ? n : 0);
            error = journal_open(l.folder, &l.journal, &l.e);
            error = error == OK
                        ? recover_params(l.folder, l.journal, settings, l.params, NULL, &l.e)
                        : error;
            error = error == OK ? train(&l, STEPS) : error;
            failed = sqlite ? sqlite_faults.allocation_failed : error != OK;
            mem_fail_after(0);
            sqlite_fail_allocation(0);
            if (error != OK) {
                assert_true(failed && (error == ERR_NOMEM || error == ERR_IO));
            }
            end(&l);
            assert_goes_on(&l);
            temp_folder_clear(folder.path);
        }
        print_message("%lu allocations of %s failed in turn\n", n - 2, sqlite ? "SQLite" : "ours");
        assert_int_equal(error, OK);
        assert_true(n > 4);
    }
}

static void calls_that_are_interrupted_or_do_a_part_are_no_errors(void **state)
{
    (void)state;
    static const int how[] = {EINTR, 0};
    static const unsigned calls[] = {DISK_WRITE, DISK_READ};
    for (size_t i = 0; i < 4; i++) {
        unsigned long failed = 1;
        unsigned long n = 1;
        for (; failed > 0; n++) {
            struct temp_folder folder;
            struct life l;
            make_run(&folder, &l);
            disk_fail(calls[i / 2], n, how[i % 2], false);
            enum err error = begin(&l);
            error = error == OK ? train(&l, STEPS) : error;
            failed = disk_faults.failed;
            disk_fail(0, 0, 0, false);
            if (error != OK) {
                fail_msg("call %lu: %s", n, l.e.text);
            }
            assert_bits(l.params);
            end(&l);
            assert_goes_on(&l);
            temp_folder_clear(folder.path);
        }
        assert_true(n > 5);
    }
}

static void no_file_of_a_run_is_left_to_a_child(void **state)
{
    (void)state;
    struct temp_folder folder;
    struct life l;
    disk_faults.inherited = 0;
    make_run(&folder, &l);
    assert_goes_on(&l);
    assert_int_equal(disk_faults.inherited, 0);
    temp_folder_clear(folder.path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_disk_call_that_fails_once_is_survived),
        cmocka_unit_test(a_disk_that_is_gone_or_full_from_any_call_on_is_survived),
        cmocka_unit_test(a_lack_of_descriptors_passes_like_a_full_disk),
        cmocka_unit_test(a_checkpoint_that_cannot_be_looked_at_for_now_is_kept),
        cmocka_unit_test(a_failed_sync_is_an_error_to_exit_on_whatever_its_errno),
        cmocka_unit_test(every_read_that_fails_is_an_error_and_changes_nothing),
        cmocka_unit_test(calls_that_are_interrupted_or_do_a_part_are_no_errors),
        cmocka_unit_test(no_file_of_a_run_is_left_to_a_child),
        cmocka_unit_test(every_allocation_that_fails_is_an_error_and_loses_nothing),
    };
    sqlite_faults_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
