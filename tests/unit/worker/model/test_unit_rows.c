/* test_unit_rows.c - who sees whom: the blocks and runs of random trees against the definition. */
#include "tests/unit/worker/tiny_model.h"
#include "worker/model/unit_rows.h"

enum { SEED = 17, TREES = 40 };

/* Row of the tree at a position on the way from the root to `row`. */
static uint32_t ancestor(const struct tree *t, uint32_t row, uint32_t position)
{
    uint32_t node = 0;
    while (row >= t->nodes[node].first + t->nodes[node].count) {
        node++;
    }
    while (position < t->nodes[node].depth) {
        node = t->nodes[node].parent;
    }
    return t->nodes[node].first + position - t->nodes[node].depth;
}

static void check_set(const struct query_set *s, const struct tree *t, uint32_t base)
{
    uint32_t next = 0;
    for (uint32_t i = 0; i < s->n_blocks; i++) {
        const struct attention_block *b = &s->blocks[i];
        assert_int_equal(b->query, next);
        assert_in_range(b->queries, 1, ATTENTION_QUERIES);
        next += b->queries;
        assert_true(b->queries * score_ld(b->cols) <= s->score_words);
        uint32_t last = s->rows[b->query + b->queries - 1];
        uint32_t col = 0;
        for (uint32_t r = 0; r < b->runs; r++) { /* the runs are the way to the last query */
            const struct attention_run *run = &s->runs[b->run + r];
            assert_int_equal(run->col, col);
            for (uint32_t c = 0; c < run->count; c++) {
                assert_int_equal(run->row + c - base, ancestor(t, last - base, col + c));
            }
            assert_true(r == 0 || run->row != run[-1].row + run[-1].count); /* joined if adjacent */
            col += run->count;
        }
        assert_int_equal(col, b->cols);
        for (uint32_t q = b->query; q < b->query + b->queries; q++) {
            assert_int_equal(s->limits[q], s->positions[q] + 1);
            assert_true(s->limits[q] <= b->cols);
            for (uint32_t c = 0; c < s->limits[q]; c++) { /* and to every other */
                assert_int_equal(ancestor(t, s->rows[q] - base, c), ancestor(t, last - base, c));
            }
            assert_int_equal(ancestor(t, s->rows[q] - base, s->positions[q]), s->rows[q] - base);
        }
    }
    assert_int_equal(next, s->count);
}

static void test_blocks_cover_exactly_what_each_query_sees(void **state)
{
    (void)state;
    struct unit_rows u = {0};
    struct errbuf e = {0};
    for (uint32_t i = 0; i < TREES; i++) {
        struct tree t;
        tiny_tree(&t, &tiny_shape, 1 + i % 12, i % 5 == 0 ? 150 : 7, SEED + i);
        const struct unit unit = tiny_unit(&t, 1);
        assert_int_equal(unit_rows_fill(&u, &unit, 1, 2, &e), OK);
        assert_int_equal(u.n_rows, t.n_rows);
        assert_int_equal(u.all.count, t.n_rows);
        check_set(&u.all, &t, 0);
        check_set(&u.labelled, &t, 0);
        for (uint32_t k = 0; k < u.n_labels; k++) {
            assert_int_equal(u.labelled.rows[u.labels[k].query], t.labels[k].row);
        }
        tree_free(&t);
    }
    unit_rows_free(&u);
}

static void test_trees_of_a_unit_follow_each_other(void **state)
{
    (void)state;
    struct unit_rows u = {0};
    struct unit_rows one = {0};
    struct errbuf e = {0};
    struct tree t[2];
    tiny_tree(&t[0], &tiny_shape, 4, 6, SEED);
    tiny_tree(&t[1], &tiny_shape, 5, 6, SEED + 1);
    const struct unit unit = tiny_unit(t, 2);
    const struct unit second = tiny_unit(&t[1], 1);
    assert_int_equal(unit_rows_fill(&u, &unit, 1, 2, &e), OK);
    assert_int_equal(unit_rows_fill(&one, &second, 1, 2, &e), OK);
    assert_int_equal(u.n_rows, t[0].n_rows + t[1].n_rows);
    for (uint32_t i = 0; i < one.n_rows; i++) { /* keys depend on the tree, not on its place */
        assert_true(u.keys[t[0].n_rows + i] == one.keys[i]);
        assert_int_equal(u.all.positions[t[0].n_rows + i], one.all.positions[i]);
    }
    assert_int_equal(u.labels[u.n_labels - 1].tree, 1);
    assert_int_equal(u.n_leaves, t[0].n_leaves + t[1].n_leaves);
    for (uint32_t i = 0; i < u.all.n_runs; i++) { /* no run reaches over the border */
        const struct attention_run *run = &u.all.runs[i];
        assert_true(run->row >= t[0].n_rows || run->row + run->count <= t[0].n_rows);
    }
    tree_free(&t[0]);
    tree_free(&t[1]);
    unit_rows_free(&u);
    unit_rows_free(&one);
}

int main(void)
{
    print_message("seed %d\n", SEED);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blocks_cover_exactly_what_each_query_sees),
        cmocka_unit_test(test_trees_of_a_unit_follow_each_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
