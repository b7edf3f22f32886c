/* test_go_back.c - a run that goes back to an earlier step: the same bits from there on, nothing
 * removed before everything is checked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/base/rng.h"
#include "coordinator/checkpoint.h"
#include "coordinator/go_back.h"
#include "coordinator/recover.h"
#include "tests/support/temp_folder.h"

enum { COUNT = 40, EVERY = 5, STEPS = 23 };

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

static struct params *fresh(void)
{
    struct params *p = NULL;
    assert_int_equal(params_new_empty(COUNT, &adam, &p), OK);
    for (uint32_t i = 0; i < COUNT; i++) {
        p->adam.p[i] = rng_unit(99, i);
    }
    return p;
}

static struct journal *opened(const char *folder)
{
    struct journal *j = NULL;
    assert_int_equal(journal_open(folder, &j, NULL), OK);
    return j;
}

/* Steps until p has so many, checkpoints as in a run. */
static void train_on(const char *folder, struct journal *j, struct params *p, uint64_t steps)
{
    while (p->version < steps) {
        float g[COUNT];
        uint64_t oldest;
        for (uint32_t i = 0; i < COUNT; i++) {
            g[i] = rng_unit(p->version, i) - 0.5f;
        }
        const struct journal_step row = {.step = p->version, .loss = 2.5, .lr = 1e-3};
        assert_int_equal(journal_append(j, &row, g, COUNT, NULL), OK);
        params_step(p, g, 1e-3, NULL);
        if (p->version % EVERY == 0) {
            assert_int_equal(checkpoint_write(folder, p, settings, &oldest, NULL), OK);
            assert_int_equal(journal_prune(j, oldest, NULL), OK);
        }
    }
}

/* A run of STEPS steps, checkpoints 15 and 20 kept; its parameters. */
static struct params *trained(const char *folder)
{
    struct journal *j = opened(folder);
    struct params *p = fresh();
    train_on(folder, j, p, STEPS);
    assert_int_equal(journal_eval_set(j, "before", "{}", NULL), OK);
    assert_int_equal(journal_eval_set(j, "after", "{}", NULL), OK);
    assert_int_equal(journal_meta_set(j, "suspects", "17 w7", NULL), OK);
    assert_int_equal(journal_meta_set(j, "audits", "v 3 2 0\nw 17 16 1\n", NULL), OK);
    journal_close(&j);
    return p;
}

static struct start started(const char *folder)
{
    struct start s = {.journal = opened(folder), .params = fresh(), .has_after = true};
    memcpy(s.setup.fixed, settings, sizeof settings);
    assert_int_equal(journal_meta_get(s.journal, "audits", &s.audits, NULL), OK);
    assert_int_equal(journal_meta_get(s.journal, "suspects", &s.suspects, NULL), OK);
    return s;
}

static void ended(struct start *s)
{
    params_free(&s->params);
    journal_close(&s->journal);
    str_free(&s->audits);
    str_free(&s->suspects);
}

static void assert_same(const struct params *a, const struct params *b)
{
    assert_int_equal(a->version, b->version);
    assert_memory_equal(a->adam.p, b->adam.p, COUNT * sizeof(float));
    assert_memory_equal(a->adam.m, b->adam.m, COUNT * sizeof(float));
    assert_memory_equal(a->adam.v, b->adam.v, COUNT * sizeof(float));
}

/* The run as of its last committed step, as any later start finds it. */
static void assert_recovers(const char *folder, const struct params *want)
{
    struct journal *j = opened(folder);
    struct params *p = fresh();
    assert_int_equal(recover_params(folder, j, settings, p, NULL, NULL), OK);
    assert_same(p, want);
    params_free(&p);
    journal_close(&j);
}

static void test_run_that_went_back_ends_in_the_same_bits(void **state)
{
    const char *folder = ((struct temp_folder *)*state)->path;
    const uint64_t steps[] = {22, 20, 19, 17, 15, 0};
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        struct params *want = trained(folder);
        struct start s = started(folder);
        struct str text = {0};
        assert_int_equal(go_back(folder, &s, steps[i], NULL), OK);
        assert_int_equal(journal_steps(s.journal), steps[i]);
        assert_int_equal(s.params->version, steps[i]);
        assert_false(s.has_after);
        assert_int_equal(journal_eval_get(s.journal, "after", &text, NULL), ERR_NOT_FOUND);
        assert_int_equal(journal_eval_get(s.journal, "before", &text, NULL), OK);
        journal_close(&s.journal);
        assert_int_equal(s.params->version, steps[i]);
        assert_recovers(folder, s.params);
        s.journal = opened(folder);
        train_on(folder, s.journal, s.params, STEPS);
        assert_same(s.params, want);
        journal_close(&s.journal);
        assert_recovers(folder, want);
        ended(&s);
        str_free(&text);
        params_free(&want);
        temp_folder_clear(folder);
        assert_int_equal(file_make_folder(folder, NULL), OK);
    }
}

static void test_what_audits_said_is_kept_as_far_as_the_steps_are(void **state)
{
    const char *folder = ((struct temp_folder *)*state)->path;
    struct params *p = trained(folder);
    struct start s = started(folder);
    struct str text = {0};
    assert_int_equal(go_back(folder, &s, 18, NULL), OK);
    assert_string_equal(s.suspects.data, "17 w7"); /* step 17 is still there */
    params_free(&s.params);
    s.params = fresh();
    assert_int_equal(go_back(folder, &s, 17, NULL), OK);
    assert_int_equal(s.suspects.len, 0);
    assert_int_equal(journal_meta_get(s.journal, "audits", &text, NULL), OK);
    assert_string_equal(text.data, "v 3 2 0\nw 18446744073709551615 16 1\n");
    assert_string_equal(s.audits.data, text.data);
    str_free(&text);
    ended(&s);
    params_free(&p);
}

static void test_refusal_changes_nothing(void **state)
{
    const char *folder = ((struct temp_folder *)*state)->path;
    struct params *want = trained(folder);
    struct start s = started(folder);
    struct errbuf e = {{0}};
    assert_int_equal(go_back(folder, &s, STEPS + 1, &e), ERR_RANGE);
    assert_non_null(strstr(e.text, "0 to 23 are possible"));
    assert_int_equal(go_back(folder, &s, 12, &e), ERR_NOT_FOUND); /* pruned */
    assert_non_null(strstr(e.text, "checkpoint"));
    assert_int_equal(journal_steps(s.journal), STEPS);
    ended(&s);
    assert_recovers(folder, want);
    params_free(&want);
}

static void test_damage_before_the_step_refuses_and_damage_behind_it_does_not_matter(void **state)
{
    const char *folder = ((struct temp_folder *)*state)->path;
    struct params *want = trained(folder);
    char path[FILE_PATH_BYTES];
    struct errbuf e = {{0}};
    assert_int_equal(file_join(path, folder, "steps-0000000015.log", NULL), OK);
    int fd = open(path, O_RDWR);
    const off_t record = 80 + COUNT * 4;
    assert_true(fd >= 0 && pwrite(fd, "x", 1, 2 * record + 90) == 1); /* step 17 */
    struct start s = started(folder);
    assert_int_equal(go_back(folder, &s, 19, &e), ERR_CORRUPT);
    assert_int_equal(journal_steps(s.journal), STEPS);
    ended(&s);
    assert_recovers(folder, want); /* from checkpoint 20: nothing was removed */
    s = started(folder);
    assert_int_equal(go_back(folder, &s, 17, &e), OK);
    train_on(folder, s.journal, s.params, STEPS);
    assert_same(s.params, want);
    ended(&s);
    assert_int_equal(close(fd), 0);
    params_free(&want);
}

static void test_crash_half_way_is_mended_by_going_back_again(void **state)
{
    const char *folder = ((struct temp_folder *)*state)->path;
    struct params *want = trained(folder);
    char path[FILE_PATH_BYTES];
    assert_int_equal(checkpoint_drop_after(folder, 0, NULL), OK); /* killed behind this */
    assert_int_equal(file_join(path, folder, "steps-0000000015.log", NULL), OK);
    assert_int_equal(unlink(path), 0); /* and this */
    struct journal *j = opened(folder);
    struct params *p = fresh();
    assert_int_equal(recover_params(folder, j, settings, p, NULL, NULL), ERR_CORRUPT);
    journal_close(&j);
    params_free(&p);
    struct start s = started(folder);
    assert_int_equal(go_back(folder, &s, 0, NULL), OK);
    train_on(folder, s.journal, s.params, STEPS);
    assert_same(s.params, want);
    ended(&s);
    params_free(&want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_run_that_went_back_ends_in_the_same_bits, make_place,
                                        drop_place),
        cmocka_unit_test_setup_teardown(test_what_audits_said_is_kept_as_far_as_the_steps_are,
                                        make_place, drop_place),
        cmocka_unit_test_setup_teardown(test_refusal_changes_nothing, make_place, drop_place),
        cmocka_unit_test_setup_teardown(
            test_damage_before_the_step_refuses_and_damage_behind_it_does_not_matter, make_place,
            drop_place),
        cmocka_unit_test_setup_teardown(test_crash_half_way_is_mended_by_going_back_again,
                                        make_place, drop_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
