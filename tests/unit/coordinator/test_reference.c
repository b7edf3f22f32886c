/* test_reference.c - which groups the reference scores, and that its numbers come back from a dump
 * bit for bit. */
#include "tests/unit/coordinator/forest_fixture.h"

#include <math.h>

#include "common/base/mem.h"
#include "coordinator/reference.h"

#define ITEM(n)                                                                                    \
    "{\"scenario\": \"Bridge number " n                                                            \
    " creaks.\", \"preference domain\": \"Risk\", \"options\": [{\"text\": \"Cross it\", "         \
    "\"bias\": \"Bold\"}, {\"text\": \"Wait\", \"bias\": \"Careful\"}]}"

static const char data[] = "[" ITEM("one") "," ITEM("two") "," ITEM("three") "]";

enum { GROUPS = 3, GROUP_LEAVES = 4 };

struct made {
    struct fixture f;
    struct forest *forest;
    struct plan *plan;
    struct reference *r;
};

static void make(struct made *m, uint64_t max_steps)
{
    struct errbuf e = {0};
    struct plan_group groups[GROUPS] = {0};
    const struct plan_config plan = {
        .seed = 1, .epochs = 1, .max_steps = max_steps, .batch_groups = 2, .unit_tokens = 512};
    fixture_new(&m->f, "train.objective: dpo", data);
    assert_int_equal(forest_new(m->f.cfg, m->f.values, m->f.data, m->f.tok, &m->forest, &e), OK);
    assert_int_equal(plan_new(&plan, groups, GROUPS, &m->plan, &e), OK);
    assert_int_equal(reference_new(m->forest, m->plan, &m->r, &e), OK);
}

static void unmake(struct made *m)
{
    reference_free(&m->r);
    plan_free(&m->plan);
    forest_free(&m->forest);
    fixture_free(&m->f);
}

/* Gives every tree numbers that no short decimal holds; returns how many trees there were. */
static uint32_t take_all(struct made *m)
{
    struct errbuf e = {0};
    const struct tree *trees = NULL;
    uint32_t n = 0;
    assert_int_equal(reference_trees(m->r, m->forest, &trees, &n, &e), OK);
    for (uint32_t i = n; i-- > 0;) {
        double leaves[GROUP_LEAVES];
        assert_false(reference_complete(m->r));
        assert_int_equal(trees[i].n_leaves, GROUP_LEAVES);
        assert_int_equal(trees[i].n_terms, 0);
        for (int k = 0; k < GROUP_LEAVES; k++) {
            leaves[k] = -(double)(trees[i].id + 1) / 3.0 - k * 1e-9;
        }
        assert_int_equal(reference_take(m->r, i, leaves, &e), OK);
        assert_int_equal(reference_take(m->r, i, leaves, &e), OK); /* a backup copy's result */
    }
    reference_release(m->r);
    return n;
}

static void test_a_reference_comes_back_from_its_dump_bit_for_bit(void **state)
{
    (void)state;
    struct made m;
    struct made again;
    struct errbuf e = {0};
    struct str json = {0};
    make(&m, 0);
    make(&again, 0);
    assert_null(reference_of(m.r, 0));
    assert_int_equal(take_all(&m), GROUPS);
    assert_true(reference_complete(m.r));
    reference_dump(m.r, &json);
    assert_int_equal(str_ok(&json), OK);
    assert_int_equal(reference_load(again.r, json.data, json.len, &e), OK);
    assert_true(reference_complete(again.r));
    for (uint32_t i = 0; i < GROUPS; i++) {
        assert_memory_equal(reference_of(m.r, i), reference_of(again.r, i),
                            GROUP_LEAVES * sizeof(double));
        assert_true(fabs(reference_of(m.r, i)[0] + (i + 1) / 3.0) < 1e-12);
    }
    str_free(&json);
    unmake(&m);
    unmake(&again);
}

static void test_groups_that_no_step_trains_on_are_not_scored(void **state)
{
    (void)state;
    struct made m;
    make(&m, 1);
    assert_int_equal(take_all(&m), 2);
    assert_true(reference_complete(m.r));
    uint32_t known = 0;
    for (uint32_t i = 0; i < GROUPS; i++) {
        known += reference_of(m.r, i) != NULL;
    }
    assert_int_equal(known, 2);
    unmake(&m);
}

static void test_a_dump_of_other_groups_and_numbers_that_are_none_are_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "{\"version\":1,\"log_p\":[null,null]}",
        "{\"version\":2,\"log_p\":[null,null,null]}",
        "{\"version\":1,\"log_p\":[[1,2],null,null]}",
        "{\"version\":1,\"log_p\":[[1,2,3,\"4\"],null,null]}",
    };
    struct made m;
    struct errbuf e = {0};
    make(&m, 0);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(reference_load(m.r, wrong[i], strlen(wrong[i]), &e), ERR_CORRUPT);
        assert_non_null(strstr(e.text, "not those of these 3 groups"));
    }
    assert_int_equal(reference_load(m.r, "{", 1, &e), ERR_PARSE);
    const struct tree *trees = NULL;
    uint32_t n = 0;
    const double bad[GROUP_LEAVES] = {-1, -2, (double)NAN, -4};
    assert_int_equal(reference_trees(m.r, m.forest, &trees, &n, &e), OK);
    assert_int_equal(reference_take(m.r, 1, bad, &e), ERR_RANGE);
    assert_non_null(strstr(e.text, "group 1, leaf 2"));
    assert_false(reference_complete(m.r));
    unmake(&m);
}

static void test_running_out_of_memory_is_reported(void **state)
{
    (void)state;
    struct made m;
    int failures = 0;
    make(&m, 0);
    for (unsigned long n = 1; n < 40; n++) {
        struct errbuf e = {0};
        struct reference *r = NULL;
        const struct tree *trees = NULL;
        uint32_t count = 0;
        mem_fail_after(n);
        enum err error = reference_new(m.forest, m.plan, &r, &e);
        if (error == OK) {
            error = reference_trees(r, m.forest, &trees, &count, &e);
        }
        mem_fail_after(0);
        failures += error == ERR_NOMEM;
        assert_true(error == OK || error == ERR_NOMEM);
        reference_free(&r);
    }
    assert_true(failures > 10);
    unmake(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_reference_comes_back_from_its_dump_bit_for_bit),
        cmocka_unit_test(test_groups_that_no_step_trains_on_are_not_scored),
        cmocka_unit_test(test_a_dump_of_other_groups_and_numbers_that_are_none_are_refused),
        cmocka_unit_test(test_running_out_of_memory_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
