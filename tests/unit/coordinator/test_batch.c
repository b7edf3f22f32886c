/* test_batch.c - batches beside training: their tag, ids, sums, and that one without memory leaves
 * nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "common/base/mem.h"
#include "coordinator/batch.h"
#include "coordinator/plan.h"

enum { TREES = 5, LEAVES = 2, VOCAB = 50, UNIT_TOKENS = 8, NUMBER = 3 };

static struct tree trees[TREES];

static int setup(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < TREES; i++) {
        struct tree *t = &trees[i];
        struct errbuf e;
        assert_int_equal(tree_alloc(t, 3, 4, 2, LEAVES), OK);
        t->id = i;
        t->nodes[0] = (struct tree_node){.parent = TREE_ROOT, .count = 2};
        t->nodes[1] = (struct tree_node){.parent = 0, .count = 1};
        t->nodes[2] = (struct tree_node){.parent = 0, .count = 1};
        t->labels[0] = (struct tree_label){.row = 1, .target = 3, .leaf = 0, .weight = 1.0f};
        t->labels[1] = (struct tree_label){.row = 1, .target = 4, .leaf = 1, .weight = 1.0f};
        assert_int_equal(tree_finish(t, VOCAB, &e), OK);
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < TREES; i++) {
        tree_free(&trees[i]);
    }
    return 0;
}

/* Every tree is in one unit, units are numbered under the tag, the sums are those of the trees. */
static void check_packed(const struct batch *b, enum job_kind kind)
{
    uint64_t rows = 0;
    uint32_t n_trees = 0;
    assert_int_equal(b->kind, kind);
    assert_int_equal(b->tag, PLAN_EVAL_TAG | NUMBER);
    assert_int_equal(b->first_anchor, b->n_units);
    for (uint32_t i = 0; i < b->n_units; i++) {
        const struct unit *u = &b->units[i];
        assert_true(b->ids[i] == ((uint64_t)b->tag << 32 | i) && u->id == b->ids[i]);
        assert_int_equal(u->n_rows, b->rows[i]);
        uint32_t of_trees = 0;
        for (uint32_t t = 0; t < u->n_trees; t++) {
            of_trees += u->trees[t].n_rows;
        }
        assert_int_equal(of_trees, b->rows[i]);
        assert_true(b->rows[i] <= UNIT_TOKENS || u->n_trees == 1);
        n_trees += u->n_trees;
        rows += b->rows[i];
    }
    assert_int_equal(n_trees, TREES);
    assert_int_equal(b->tokens, rows);
    assert_int_equal(b->labels, TREES * 2);
}

static void test_trees_to_score_and_to_capture_are_packed_whole(void **state)
{
    (void)state;
    struct batch b;
    struct errbuf e;
    assert_int_equal(batch_score(trees, TREES, UNIT_TOKENS, NUMBER, &b, &e), OK);
    check_packed(&b, JOB_SCORE);
    assert_int_equal(b.sums, 0);
    batch_free(&b);
    assert_int_equal(batch_capture(trees, TREES, UNIT_TOKENS, NUMBER, 12, &b, &e), OK);
    check_packed(&b, JOB_CAPTURE);
    assert_int_equal(b.sums, 12);
    batch_free(&b);
    assert_null(b.units);
}

static void test_every_request_is_a_unit_as_large_as_it_may_become(void **state)
{
    (void)state;
    struct answer_request how[TREES] = {{0}};
    struct batch b;
    struct errbuf e;
    uint64_t tokens = 0;
    for (uint32_t i = 0; i < TREES; i++) {
        how[i].max_new_tokens = 10 + i;
        tokens += trees[i].n_rows + (uint64_t)LEAVES * (10 + i);
    }
    assert_int_equal(batch_generate(trees, how, TREES, VOCAB, NUMBER, &b, &e), OK);
    assert_int_equal(b.kind, JOB_GENERATE);
    assert_int_equal(b.tag, PLAN_EVAL_TAG | NUMBER);
    assert_int_equal(b.n_units, TREES);
    assert_int_equal(b.first_anchor, TREES);
    assert_int_equal(b.tokens, tokens);
    assert_int_equal(b.labels, TREES * 2);
    assert_true(b.requests == how && b.vocab == VOCAB);
    for (uint32_t i = 0; i < TREES; i++) {
        assert_true(b.ids[i] == ((uint64_t)b.tag << 32 | i) && b.units[i].id == b.ids[i]);
        assert_int_equal(b.rows[i], trees[i].n_rows + LEAVES * how[i].max_new_tokens);
        assert_true(b.units[i].n_trees == 1 && b.units[i].trees == &b.trees[i]);
        assert_int_equal(b.units[i].n_rows, trees[i].n_rows);
    }
    batch_free(&b);
}

static void test_without_memory_there_is_an_error_and_no_batch(void **state)
{
    (void)state;
    static const struct answer_request how[TREES];
    for (int kind = 0; kind < 3; kind++) {
        enum err error = ERR_NOMEM;
        unsigned long n = 0;
        while (error != OK) {
            struct batch b;
            struct errbuf e;
            assert_true(n < 50);
            mem_fail_after(++n);
            error = kind == 0   ? batch_score(trees, TREES, UNIT_TOKENS, NUMBER, &b, &e)
                    : kind == 1 ? batch_capture(trees, TREES, UNIT_TOKENS, NUMBER, 3, &b, &e)
                                : batch_generate(trees, how, TREES, VOCAB, NUMBER, &b, &e);
            mem_fail_after(0);
            assert_true(error == OK || error == ERR_NOMEM);
            if (error != OK) {
                assert_true(!b.units && !b.trees && !b.ids && !b.rows);
            }
            batch_free(&b);
        }
        assert_true(n >= 4);
    }
}

static void test_more_units_than_an_exact_sum_takes_are_refused(void **state)
{
    (void)state;
    enum { MANY = LIMIT_STEP_UNITS + 1 };
    struct tree *many = mem_calloc(MANY, sizeof *many);
    struct batch b;
    struct errbuf e;
    assert_non_null(many);
    for (uint32_t i = 0; i < MANY; i++) {
        many[i] = trees[0];
    }
    assert_int_equal(batch_capture(many, MANY, 1, NUMBER, 3, &b, &e), ERR_RANGE);
    assert_non_null(strstr(e.text, "raise unit_tokens"));
    assert_true(!b.units && !b.trees && b.n_units == 0);
    assert_int_equal(batch_capture(many, LIMIT_STEP_UNITS, 1, NUMBER, 3, &b, &e), OK);
    assert_int_equal(b.n_units, LIMIT_STEP_UNITS);
    batch_free(&b);
    assert_int_equal(batch_score(many, MANY, 1, NUMBER, &b, &e), OK); /* nothing is summed */
    assert_int_equal(b.n_units, MANY);
    batch_free(&b);
    mem_free(many);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_trees_to_score_and_to_capture_are_packed_whole),
        TEST(test_every_request_is_a_unit_as_large_as_it_may_become),
        TEST(test_without_memory_there_is_an_error_and_no_batch),
        TEST(test_more_units_than_an_exact_sum_takes_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
