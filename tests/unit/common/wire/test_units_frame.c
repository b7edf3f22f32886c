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
    assert_int_equal(tree_alloc_terms(t, (uint32_t)id % 2), OK);
    if (t->n_terms > 0) {
        t->terms[0] = (struct tree_term){.n = 2,
                                         .leaf = {1, 0},
                                         .coef = {0.1f, -0.1f},
                                         .offset = 1.0 / 3,
                                         .weight = 0.5f,
                                         .smoothing = 0.25f};
    }
    assert_int_equal(tree_finish(t, VOCAB, &e), OK);
}

static uint8_t *make_frame(size_t *bytes)
{
    struct tree trees[3];
    for (uint32_t i = 0; i < 3; i++) {
        make_tree(&trees[i], 40 + i, 3 + i);
    }
    const struct unit units[] = {{.id = 7, .n_trees = 2, .trees = &trees[0]},
                                 {.id = 8, .n_trees = 1, .trees = &trees[2], .anchor = true}};
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
    assert_true(units[1].anchor && !units[0].anchor);
    assert_int_equal(units[1].trees[0].nodes[2].depth, 5);
    assert_int_equal(units[0].trees[0].n_terms, 0);
    assert_int_equal(units[0].trees[1].n_terms, 1);
    const struct tree_term *term = &units[0].trees[1].terms[0];
    assert_int_equal(term->leaf[0], 1);
    assert_true(term->offset == 1.0 / 3 && term->coef[1] == -0.1f && term->smoothing == 0.25f);
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

static void test_an_anchor_is_0_or_1_and_has_no_terms(void **state)
{
    (void)state;
    size_t bytes;
    uint8_t *frame = make_frame(&bytes);
    struct unit *units;
    uint32_t n;
    struct errbuf e;
    bytes_put_u32(frame + 16, 2);
    assert_int_equal(units_frame_read(frame, bytes, VOCAB, &units, &n, &e), ERR_RANGE);
    assert_non_null(strstr(e.text, "unit 0: anchor is 2"));
    bytes_put_u32(frame + 16, 1); /* its second tree has a term */
    assert_int_equal(units_frame_read(frame, bytes, VOCAB, &units, &n, &e), ERR_RANGE);
    assert_non_null(strstr(e.text, "tree 1 of an anchor has terms"));
    mem_free(frame);
}

/* Bytes of one tree with one term; the term's own are the last 52. */
static void expect_term(size_t at, uint32_t value, enum err code)
{
    struct tree t;
    struct tree back = {0};
    struct errbuf e = {0};
    size_t used = 0;
    make_tree(&t, 41, 3);
    size_t bytes = tree_bytes(&t);
    uint8_t *data = mem_calloc(1, bytes);
    assert_non_null(data);
    tree_write(&t, data);
    bytes_put_u32(data + bytes - 52 + at, value);
    assert_int_equal(tree_read(&back, data, bytes, VOCAB, &used, &e), code);
    if (code != OK) {
        assert_non_null(strstr(e.text, "term 0: "));
        assert_null(back.terms);
    }
    tree_free(&back);
    tree_free(&t);
    mem_free(data);
}

static void test_terms_out_of_range_are_refused_by_number(void **state)
{
    (void)state;
    const uint32_t nan_bits = 0x7fc00000u;
    expect_term(0, 2, OK);
    expect_term(0, 0, ERR_RANGE); /* no leaf */
    expect_term(0, TREE_TERM_LEAVES + 1, ERR_RANGE);
    expect_term(0, UINT32_MAX, ERR_RANGE);
    expect_term(4, 2, ERR_RANGE);            /* the tree has two leaves */
    expect_term(4, 0, ERR_RANGE);            /* twice the same */
    expect_term(12, 1, ERR_RANGE);           /* a leaf behind the last */
    expect_term(20, nan_bits, ERR_RANGE);    /* a coefficient */
    expect_term(28, nan_bits, ERR_RANGE);    /* one behind the last */
    expect_term(40, 0x7ff80000u, ERR_RANGE); /* the offset */
    expect_term(44, 0x7f800000u, ERR_RANGE); /* an infinite weight */
    expect_term(48, 0x3f800001u, ERR_RANGE); /* smoothing above 1 */
    expect_term(48, 0xbf800000u, ERR_RANGE);
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
        assert_true(fail < 30);
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
        cmocka_unit_test(test_an_anchor_is_0_or_1_and_has_no_terms),
        cmocka_unit_test(test_terms_out_of_range_are_refused_by_number),
        cmocka_unit_test(test_failing_allocations_are_errors_without_leaks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
