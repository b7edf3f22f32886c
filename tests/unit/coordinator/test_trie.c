/* test_trie.c - tries of token sequences against a plain reading of the same sequences. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/base/rng.h"
#include "coordinator/trie.h"

#define SEQ(first, ...)                                                                            \
    {                                                                                              \
        .tokens = (const uint32_t[]){__VA_ARGS__},                                                 \
        .n = sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t), .first_label = (first),   \
        .weight = 1                                                                                \
    }

/* Reads sequence `leaf` back from the tree, from its node up to the root; returns its rows. */
static uint32_t read_back(const struct tree *t, uint32_t node, uint32_t *rows)
{
    uint32_t n = t->nodes[node].depth + t->nodes[node].count;
    uint32_t at = n;
    for (uint32_t i = node; i != TREE_ROOT; i = t->nodes[i].parent) {
        for (uint32_t k = t->nodes[i].count; k-- > 0;) {
            rows[--at] = t->nodes[i].first + k;
        }
    }
    assert_int_equal(at, 0);
    return n;
}

/* Every rule of the header, checked on one list of sequences. */
static void check_tree(const struct trie_sequence *s, uint32_t n, struct tree *t, uint32_t *nodes)
{
    struct errbuf e = {0};
    uint32_t rows[512];
    uint32_t added = 0;
    uint32_t labels = 0;
    assert_int_equal(trie_build(s, n, 42, 100, t, nodes, &e), OK);
    assert_int_equal(t->id, 42);
    assert_int_equal(t->n_leaves, n);
    for (uint32_t i = 0; i < n; i++) {
        added += trie_added_rows(s, 0, i);
        assert_int_equal(read_back(t, nodes[i], rows), s[i].n - 1);
        for (uint32_t k = 0; k + 1 < s[i].n; k++) {
            assert_int_equal(t->tokens[rows[k]], s[i].tokens[k]);
        }
        uint32_t at = s[i].first_label;
        for (uint32_t l = 0; l < t->n_labels; l++) {
            if (t->labels[l].leaf != i) {
                continue;
            }
            assert_true(at < s[i].n);
            assert_int_equal(t->labels[l].row, rows[at - 1]);
            assert_int_equal(t->labels[l].target, s[i].tokens[at]);
            at++;
        }
        assert_int_equal(at, s[i].n);
        labels += s[i].n - s[i].first_label;
    }
    assert_int_equal(t->n_rows, added);
    assert_int_equal(t->n_labels, labels);
}

static void test_shared_tokens_are_one_row_and_the_branch_row_has_a_label_per_child(void **state)
{
    (void)state;
    const struct trie_sequence s[] = {SEQ(3, 1, 2, 3, 4, 5), SEQ(3, 1, 2, 3, 6, 5),
                                      SEQ(3, 1, 2, 7, 5)};
    struct tree t;
    uint32_t nodes[3];
    check_tree(s, 3, &t, nodes);
    assert_int_equal(t.n_nodes, 5);
    assert_int_equal(t.n_rows, 6);
    /* order of first appearance: [1 2] [3] [4] [6] [7] */
    const uint32_t parents[] = {TREE_ROOT, 0, 1, 1, 0};
    const uint32_t tokens[] = {1, 2, 3, 4, 6, 7};
    for (int i = 0; i < 5; i++) {
        assert_int_equal(t.nodes[i].parent, parents[i]);
    }
    assert_memory_equal(t.tokens, tokens, sizeof tokens);
    /* row 2 (token 3) ends a node with two children: a label for each of them */
    uint32_t at_branch = 0;
    for (uint32_t i = 0; i < t.n_labels; i++) {
        at_branch += t.labels[i].row == 2;
    }
    assert_int_equal(at_branch, 2);
    tree_free(&t);
}

static void test_one_token_nodes_equal_sequences_and_prefixes_of_others(void **state)
{
    (void)state;
    const struct trie_sequence s[] = {SEQ(1, 1, 2),    SEQ(1, 1, 3),       SEQ(1, 1, 2),
                                      SEQ(2, 1, 2, 9), SEQ(2, 1, 2, 3, 9), SEQ(1, 8, 1, 2)};
    struct tree t;
    uint32_t nodes[6];
    check_tree(s, 6, &t, nodes);
    assert_int_equal(nodes[0], nodes[1]); /* only their targets differ */
    assert_int_equal(nodes[0], nodes[2]);
    assert_int_equal(t.nodes[nodes[5]].parent, TREE_ROOT); /* a root of its own */
    tree_free(&t);
}

static void test_a_sequence_that_ends_inside_another_ends_with_a_whole_node(void **state)
{
    (void)state;
    const struct trie_sequence s[] = {SEQ(2, 1, 2, 3, 4, 5, 6), SEQ(2, 1, 2, 3, 9)};
    struct tree t;
    uint32_t nodes[2];
    check_tree(s, 2, &t, nodes);
    assert_int_equal(t.n_nodes, 2);
    assert_int_equal(t.nodes[0].count, 3);
    assert_int_equal(nodes[1], 0);
    assert_int_equal(nodes[0], 1);
    tree_free(&t);
}

static void test_random_sequences_read_back_whole(void **state)
{
    (void)state;
    const uint64_t seed = 20240607;
    print_message("seed %llu\n", (unsigned long long)seed);
    for (uint64_t round = 0; round < 300; round++) {
        uint64_t key = rng_key(seed, round, 0, 0);
        static uint32_t tokens[40][64];
        struct trie_sequence s[40];
        uint32_t n = 1 + (uint32_t)rng_below(key, 0, 40);
        for (uint32_t i = 0; i < n; i++) {
            uint32_t length = 2 + (uint32_t)rng_below(key, 100 + i, 12);
            for (uint32_t k = 0; k < length; k++) {
                tokens[i][k] = (uint32_t)rng_below(key, 1000 + i * 64 + k, 3);
            }
            s[i] =
                (struct trie_sequence){.tokens = tokens[i],
                                       .n = length,
                                       .first_label = 1 + (uint32_t)rng_below(key, 200 + i, length),
                                       .weight = 1};
        }
        struct tree t;
        struct tree again;
        uint32_t nodes[40];
        struct errbuf e = {0};
        check_tree(s, n, &t, nodes);
        assert_int_equal(trie_build(s, n, 42, 100, &again, NULL, &e), OK);
        uint8_t *a = mem_calloc(tree_bytes(&t), 1);
        uint8_t *b = mem_calloc(tree_bytes(&t), 1);
        tree_write(&t, a);
        tree_write(&again, b);
        assert_memory_equal(a, b, tree_bytes(&t));
        mem_free(a);
        mem_free(b);
        tree_free(&t);
        tree_free(&again);
    }
}

static void test_too_many_nodes_and_unknown_tokens_are_errors(void **state)
{
    (void)state;
    enum { N = 5000 };
    struct trie_sequence *s = mem_calloc(N, sizeof *s);
    uint32_t *tokens = mem_calloc(N, 2 * sizeof *tokens);
    struct tree t;
    struct errbuf e = {0};
    for (uint32_t i = 0; i < N; i++) {
        tokens[2 * i] = i;
        s[i] = (struct trie_sequence){
            .tokens = tokens + (size_t)2 * i, .n = 2, .first_label = 1, .weight = 1};
    }
    assert_int_equal(trie_build(s, N, 0, N, &t, NULL, &e), ERR_RANGE);
    assert_int_equal(trie_build(s, 10, 0, 9, &t, NULL, &e), ERR_RANGE);
    assert_string_equal(e.text, "row 9: token 9, the vocabulary has 9");
    mem_free(s);
    mem_free(tokens);
}

static void test_running_out_of_memory_is_reported(void **state)
{
    (void)state;
    const struct trie_sequence s[] = {SEQ(3, 1, 2, 3, 4, 5), SEQ(3, 1, 2, 3, 6, 5)};
    for (unsigned long n = 1; n < 3; n++) {
        struct tree t;
        struct errbuf e = {0};
        mem_fail_after(n);
        enum err error = trie_build(s, 2, 0, 10, &t, NULL, &e);
        mem_fail_after(0);
        assert_int_equal(error, ERR_NOMEM);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shared_tokens_are_one_row_and_the_branch_row_has_a_label_per_child),
        cmocka_unit_test(test_one_token_nodes_equal_sequences_and_prefixes_of_others),
        cmocka_unit_test(test_a_sequence_that_ends_inside_another_ends_with_a_whole_node),
        cmocka_unit_test(test_random_sequences_read_back_whole),
        cmocka_unit_test(test_too_many_nodes_and_unknown_tokens_are_errors),
        cmocka_unit_test(test_running_out_of_memory_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
