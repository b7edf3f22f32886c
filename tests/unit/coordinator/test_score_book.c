/* test_score_book.c - scores are found again by tree and parameters, also from their text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "common/base/mem.h"
#include "coordinator/score_book.h"
#include "coordinator/trie.h"

static struct tree make_tree(uint32_t token, uint64_t id)
{
    struct tree t;
    struct errbuf e = {0};
    const uint32_t a[] = {1, token, 3};
    const uint32_t b[] = {1, token, 4, 5};
    const struct trie_sequence s[] = {{a, 3, 2, 1.0f}, {b, 4, 2, 1.0f}};
    assert_int_equal(trie_build(s, 2, id, 100, &t, NULL, &e), OK);
    return t;
}

static struct score_key key_of(uint32_t token, uint64_t id, const uint8_t *adapter)
{
    struct score_key key;
    struct tree t = make_tree(token, id);
    const struct score_maker by = {.adapter = adapter};
    assert_int_equal(score_book_key(&t, &by, &key), OK);
    tree_free(&t);
    return key;
}

static struct score_key key_by(const struct score_maker *by)
{
    struct score_key key;
    struct tree t = make_tree(2, 0);
    assert_int_equal(score_book_key(&t, by, &key), OK);
    tree_free(&t);
    return key;
}

static void test_a_key_tells_what_steers_and_what_is_made_of_a_leaf(void **state)
{
    (void)state;
    const uint8_t one[HASH_XXH128_BYTES] = {1};
    const uint8_t two[HASH_XXH128_BYTES] = {2};
    const struct score_maker makers[] = {{.adapter = NULL},  {.adapter = one},
                                         {.vectors = one},   {.vectors = two},
                                         {.score = WIRE_KL}, {.adapter = one, .score = WIRE_KL}};
    const size_t n = sizeof makers / sizeof makers[0];
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < i; k++) {
            const struct score_key a = key_by(&makers[i]);
            const struct score_key b = key_by(&makers[k]);
            assert_memory_not_equal(&a, &b, sizeof a);
        }
    }
}

static void test_a_key_is_of_the_tree_and_the_adapter_not_of_its_number(void **state)
{
    (void)state;
    const uint8_t adapter[HASH_XXH128_BYTES] = {1, 2, 3};
    const struct score_key plain = key_of(2, 0, NULL);
    const struct score_key numbered = key_of(2, 77, NULL);
    const struct score_key other = key_of(9, 0, NULL);
    const struct score_key adapted = key_of(2, 0, adapter);
    assert_memory_equal(&plain, &numbered, sizeof plain);
    assert_memory_not_equal(&plain, &other, sizeof plain);
    assert_memory_not_equal(&plain, &adapted, sizeof plain);
}

static void test_what_is_written_and_loaded_is_found_bit_for_bit(void **state)
{
    (void)state;
    struct score_book *book = NULL;
    struct score_book *again = NULL;
    struct str text = {0};
    struct errbuf e = {0};
    assert_int_equal(score_book_new(&book), OK);
    for (uint32_t i = 0; i < 3000; i++) { /* over several sizes of the table */
        const struct score_key key = key_of(i % 90 + 6, 0, (const uint8_t[16]){(uint8_t)(i / 90)});
        const double logp[] = {-1.0 / (i + 3.0), -1e-300 * (i + 1.0)};
        assert_int_equal(score_book_put(book, &key, logp, 2), OK);
    }
    assert_int_equal(score_book_fresh(book), 3000);
    score_book_write(book, &text);
    assert_int_equal(score_book_fresh(book), 0);
    assert_int_equal(score_book_new(&again), OK);
    assert_int_equal(score_book_load(again, text.data, text.len, &e), OK);
    assert_int_equal(score_book_fresh(again), 0);
    for (uint32_t i = 0; i < 3000; i++) {
        const struct score_key key = key_of(i % 90 + 6, 0, (const uint8_t[16]){(uint8_t)(i / 90)});
        const double logp[] = {-1.0 / (i + 3.0), -1e-300 * (i + 1.0)};
        const double *found = score_book_find(again, &key, 2);
        assert_non_null(found);
        assert_memory_equal(found, logp, sizeof logp);
        assert_null(score_book_find(again, &key, 3));
    }
    const struct score_key unknown = key_of(5, 0, NULL);
    assert_null(score_book_find(again, &unknown, 2));
    str_free(&text);
    score_book_free(&book);
    score_book_free(&again);
}

static void test_a_key_that_comes_twice_stays_and_is_written_once(void **state)
{
    (void)state;
    struct score_book *book = NULL;
    const struct score_key key = key_of(2, 0, NULL);
    const double logp[] = {-1.0, -2.0};
    assert_int_equal(score_book_new(&book), OK);
    assert_null(score_book_find(book, &key, 2));
    assert_int_equal(score_book_put(book, &key, logp, 2), OK);
    assert_int_equal(score_book_put(book, &key, logp, 2), OK);
    assert_int_equal(score_book_fresh(book), 1);
    score_book_free(&book);
}

static void test_damaged_texts_are_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "[]",
        "{\"00\":[1]}",
        "{\"zz000000000000000000000000000000\":[1]}",
        "{\"00000000000000000000000000000000\":[]}",
        "{\"00000000000000000000000000000000\":[1,\"x\"]}",
        "{\"00000000000000000000000000000000\":3}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct score_book *book = NULL;
        struct errbuf e = {0};
        assert_int_equal(score_book_new(&book), OK);
        assert_int_equal(score_book_load(book, texts[i], strlen(texts[i]), &e), ERR_CORRUPT);
        assert_non_null(strstr(e.text, "run.db, kept scores"));
        score_book_free(&book);
    }
}

static void test_running_out_of_memory_keeps_the_book_whole(void **state)
{
    (void)state;
    const struct score_key key = key_of(2, 0, NULL);
    const double logp[] = {-1.0, -2.0};
    for (unsigned long n = 1; n <= 3; n++) {
        struct score_book *book = NULL;
        assert_int_equal(score_book_new(&book), OK);
        mem_fail_after(n);
        assert_int_equal(score_book_put(book, &key, logp, 2), ERR_NOMEM);
        mem_fail_after(0);
        assert_null(score_book_find(book, &key, 2));
        assert_int_equal(score_book_put(book, &key, logp, 2), OK);
        assert_non_null(score_book_find(book, &key, 2));
        score_book_free(&book);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_key_is_of_the_tree_and_the_adapter_not_of_its_number),
        cmocka_unit_test(test_a_key_tells_what_steers_and_what_is_made_of_a_leaf),
        cmocka_unit_test(test_what_is_written_and_loaded_is_found_bit_for_bit),
        cmocka_unit_test(test_a_key_that_comes_twice_stays_and_is_written_once),
        cmocka_unit_test(test_damaged_texts_are_refused),
        cmocka_unit_test(test_running_out_of_memory_keeps_the_book_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
