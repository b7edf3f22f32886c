/* test_journal_pairs.c - run.db, steps.log and the checkpoints are one run's, or are refused: a log
 * that is a byte short, a row with another digest, a checkpoint of steps that nobody committed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/rng.h"
#include "coordinator/checkpoint.h"
#include "coordinator/journal.h"
#include "coordinator/recover.h"
#include "tests/support/temp_folder.h"

enum { COUNT = 10, STEPS = 3, RECORD = 80 + COUNT * 4 };

static const struct adamw_config adam = {
    .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.01, .clip = 1.0};
static const uint8_t settings[CHECKPOINT_CONFIG_BYTES] = {1, 2, 3};

static struct temp_folder place;

static enum err open_journal(struct journal **j)
{
    struct errbuf e;
    return journal_open(place.path, j, &e);
}

/* STEPS steps and a checkpoint of the last. */
static int setup(void **state)
{
    (void)state;
    struct journal *j = NULL;
    struct params *p = NULL;
    struct errbuf e;
    temp_folder_make(&place);
    assert_int_equal(open_journal(&j), OK);
    assert_int_equal(params_new_empty(COUNT, &adam, &p), OK);
    for (uint64_t s = 0; s < STEPS; s++) {
        float g[COUNT];
        for (uint32_t i = 0; i < COUNT; i++) {
            g[i] = rng_unit(s, i) - 0.5f;
        }
        const struct journal_step row = {.step = s, .loss = 2.5, .lr = 1e-3};
        assert_int_equal(journal_append(j, &row, g, COUNT, &e), OK);
        params_step(p, g, 1e-3, NULL);
    }
    uint64_t oldest;
    assert_int_equal(checkpoint_write(place.path, p, settings, &oldest, &e), OK);
    params_free(&p);
    journal_close(&j);
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

static enum err recovered(uint64_t *version)
{
    struct journal *j = NULL;
    struct params *p = NULL;
    struct errbuf e;
    assert_int_equal(open_journal(&j), OK);
    assert_int_equal(params_new_empty(COUNT, &adam, &p), OK);
    enum err error = recover_params(place.path, j, settings, p, NULL, &e);
    *version = p->version;
    params_free(&p);
    journal_close(&j);
    return error;
}

static enum err ignore(void *context, const struct journal_step *step, const float *gradient,
                       size_t count)
{
    (void)step;
    (void)gradient;
    assert_int_equal(count, COUNT);
    ++*(uint64_t *)context;
    return OK;
}

static void test_what_is_whole_comes_back(void **state)
{
    (void)state;
    uint64_t version;
    assert_int_equal(recovered(&version), OK);
    assert_int_equal(version, STEPS);
}

static void test_a_log_that_is_a_byte_short_is_refused(void **state)
{
    (void)state;
    static const off_t lengths[] = {STEPS * RECORD - 1, STEPS * RECORD - RECORD, 1, 0};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        struct journal *j = NULL;
        assert_int_equal(truncate(temp_folder_file(&place, "steps.log"), lengths[i]), 0);
        assert_int_equal(open_journal(&j), ERR_CORRUPT);
        assert_null(j);
    }
}

static void test_a_row_with_another_digest_than_its_record_is_refused(void **state)
{
    (void)state;
    struct journal *j = NULL;
    struct errbuf e;
    uint64_t steps = 0;
    sql("UPDATE steps SET digest = zeroblob(16) WHERE step = 1");
    assert_int_equal(open_journal(&j), OK);
    assert_int_equal(journal_replay(j, 0, UINT64_MAX, COUNT, ignore, &steps, &e), ERR_CORRUPT);
    assert_int_equal(steps, 1);
    journal_close(&j);
}

static void test_a_checkpoint_of_steps_that_were_never_committed_is_not_taken(void **state)
{
    (void)state;
    uint64_t version;
    sql("DELETE FROM steps WHERE step = 2");
    assert_int_equal(recovered(&version), ERR_CORRUPT);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_what_is_whole_comes_back),
        TEST(test_a_log_that_is_a_byte_short_is_refused),
        TEST(test_a_row_with_another_digest_than_its_record_is_refused),
        TEST(test_a_checkpoint_of_steps_that_were_never_committed_is_not_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
