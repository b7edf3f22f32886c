/* test_units_frame.c - the frame of a job's units: round trip, truncations, hostile counts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "common/base/bytes.h"
#include "common/base/limits.h"
#include "common/base/mem.h"
#include "common/wire/units_frame.h"

enum { VOCAB = 100 };

/* A root of rows tokens with two leaves of one token each. */
static void make_tree(struct tree *t, uint64_t id, uint32_t rows)
{
    struct errbuf e;
    assert_int_equal(tree_alloc(t, 3, rows + 2, 2, 2), OK);
    t->id = id;
    t->nodes[0] = (struct tree_node){.parent = TREE_ROOT, .count = rows};
    t->nodes[1] = (struct tree_node){.parent = 0, .count = 1};
    t->nodes[2] = (struct tree_node){.parent = 0, .count = 1};
    for (uint32_t i = 0; i < rows + 2; i++) {
        t->tokens[i] = (uint32_t)(id + i) % VOCAB;
    }
    t->labels[0] = (struct tree_label){.row = rows - 1, .target = 5, .leaf = 0, .weight = 0.5f};
    t->labels[1] = (struct tree_label){.row = rows - 1, .target = 6, .leaf = 1, .weight = 0.25f};
    assert_int_equal(tree_finish(t, VOCAB, &e), OK);
}

static uint8_t *make_frame(size_t *bytes)
{
    struct tree trees[3];
    for (uint32_t i = 0; i < 3; i++) {
        make_tree(&trees[i], 40 + i, 3 + i);
    }
    const struct unit units[] = {{.id = 7, .n_trees = 2, .trees = &trees[0]},
                                 {.id = 8, .n_trees = 1, .trees = &trees[2]}};
    const struct unit *list[] = {&units[0], &units[1]};
    *bytes = units_frame_bytes(list, 2);
    uint8_t *frame = mem_calloc(1, *bytes);
    assert_non_null(frame);
    units_frame_write(list, 2, frame);
    for (uint32_t i = 0; i < 3; i++) {
        tree_free(&trees[i]);
    }
    return frame;
}

static void test_units_come_back_as_they_were(void **state)
{
    (void)state;
    size_t bytes;
    uint8_t *frame = make_frame(&bytes);
    struct unit *units;
    uint32_t n;
    struct errbuf e;
    assert_int_equal(units_frame_read(frame, bytes, VOCAB, &units, &n, &e), OK);
    assert_int_equal(n, 2);
    assert_int_equal(units[0].id, 7);
    assert_int_equal(units[0].n_rows, 5 + 6);
    assert_int_equal(units[1].trees[0].id, 42);
    assert_int_equal(units[1].trees[0].nodes[2].depth, 5);
    const struct unit *list[] = {&units[0], &units[1]};
    assert_int_equal(units_frame_bytes(list, 2), bytes);
    uint8_t *again = mem_calloc(1, bytes);
    assert_non_null(again);
    units_frame_write(list, 2, again);
    assert_memory_equal(frame, again, bytes);
    mem_free(again);
    mem_free(frame);
    units_frame_free(units, n);
}

static void test_every_truncation_and_a_tail_are_refused(void **state)
{
    (void)state;
    size_t bytes;
    uint8_t *frame = make_frame(&bytes);
    struct unit *units;
    uint32_t n;
    struct errbuf e;
    for (size_t cut = 0; cut < bytes; cut++) {
        uint8_t *part = mem_calloc(cut ? cut : 1, 1);
        assert_non_null(part);
        memcpy(part, frame, cut);
        assert_int_not_equal(units_frame_read(part, cut, VOCAB, &units, &n, &e), OK);
        assert_null(units);
        mem_free(part);
    }
    uint8_t *longer = mem_calloc(bytes + 1, 1);
    assert_non_null(longer);
    memcpy(longer, frame, bytes);
    assert_int_equal(units_frame_read(longer, bytes + 1, VOCAB, &units, &n, &e), ERR_PARSE);
    mem_free(longer);
    mem_free(frame);
}

static void test_hostile_counts_are_refused_before_memory_is_taken(void **state)
{
    (void)state;
    size_t bytes;
    uint8_t *frame = make_frame(&bytes);
    struct unit *units;
    uint32_t n;
    struct errbuf e;
    const uint32_t hostile[] = {0, LIMIT_JOB_UNITS + 1, UINT32_MAX};
    for (size_t i = 0; i < 3; i++) {
        bytes_put_u32(frame, hostile[i]);
        assert_int_equal(units_frame_read(frame, bytes, VOCAB, &units, &n, &e), ERR_RANGE);
    }
    bytes_put_u32(frame, 2);
    const uint32_t trees[] = {0, LIMIT_UNIT_TREES, UINT32_MAX};
    for (size_t i = 0; i < 3; i++) {
        bytes_put_u32(frame + 12, trees[i]);
        assert_int_equal(units_frame_read(frame, bytes, VOCAB, &units, &n, &e), ERR_RANGE);
    }
    bytes_put_u32(frame + 12, 2);
    assert_int_equal(units_frame_read(frame, bytes, 41, &units, &n, &e), ERR_RANGE);
    assert_non_null(strstr(e.text, "unit 0: tree 0"));
    mem_free(frame);
}

static void test_failing_allocations_are_errors_without_leaks(void **state)
{
    (void)state;
    size_t bytes;
    uint8_t *frame = make_frame(&bytes);
    struct unit *units;
    uint32_t n;
    struct errbuf e;
    enum err error = ERR_NOMEM;
    for (unsigned long fail = 1; error != OK; fail++) {
        assert_true(fail < 20);
        mem_fail_after(fail);
        error = units_frame_read(frame, bytes, VOCAB, &units, &n, &e);
        assert_true(error == OK || error == ERR_NOMEM);
    }
    mem_fail_after(0);
    units_frame_free(units, n);
    mem_free(frame);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_units_come_back_as_they_were),
        cmocka_unit_test(test_every_truncation_and_a_tail_are_refused),
        cmocka_unit_test(test_hostile_counts_are_refused_before_memory_is_taken),
        cmocka_unit_test(test_failing_allocations_are_errors_without_leaks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
