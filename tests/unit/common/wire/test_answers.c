/* test_answers.c - requests and answers as bytes: round trips, truncations, every bound. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "common/base/bytes.h"
#include "common/base/mem.h"
#include "common/wire/answers.h"
#include "common/wire/units_frame.h"

enum { VOCAB = 100, ROOT_TOKENS = 3 };

static const struct answer_request plain = {.seed = UINT64_MAX - 5,
                                            .temperature = 0.7f,
                                            .top_p = 0.9f,
                                            .max_new_tokens = 12,
                                            .n_stops = 2,
                                            .stops = {2, 99}};

/* Two branches behind a shared root. */
static void make_tree(struct tree *t, float first, float second)
{
    struct errbuf e;
    assert_int_equal(tree_alloc(t, 3, ROOT_TOKENS + 2, 2, 2), OK);
    t->nodes[0] = (struct tree_node){.parent = TREE_ROOT, .count = ROOT_TOKENS};
    t->nodes[1] = (struct tree_node){.parent = 0, .count = 1};
    t->nodes[2] = (struct tree_node){.parent = 0, .count = 1};
    t->labels[0] = (struct tree_label){.row = ROOT_TOKENS, .leaf = 0, .weight = first};
    t->labels[1] = (struct tree_label){.row = ROOT_TOKENS + 1, .leaf = 1, .weight = second};
    assert_int_equal(tree_finish(t, VOCAB, &e), OK);
}

static uint8_t *make_frame(size_t *bytes)
{
    struct tree tree;
    struct answer_request other = plain;
    make_tree(&tree, 1.25f, -0.25f);
    other.temperature = 0.0f;
    const struct unit units[] = {{.id = 7, .n_trees = 1, .trees = &tree},
                                 {.id = 8, .n_trees = 1, .trees = &tree}};
    const struct unit *const units_at[] = {&units[0], &units[1]};
    const struct answer_request *const requests_at[] = {&plain, &other};
    *bytes = answers_frame_bytes(units_at, 2);
    uint8_t *frame = mem_calloc(1, *bytes);
    assert_non_null(frame);
    answers_frame_write(units_at, requests_at, 2, frame);
    tree_free(&tree);
    return frame;
}

static void test_a_frame_of_requests_comes_back_as_it_was(void **state)
{
    (void)state;
    size_t bytes;
    uint8_t *frame = make_frame(&bytes);
    struct unit *units;
    struct answer_request *requests;
    struct errbuf e;
    uint32_t n;
    assert_int_equal(answers_frame_read(frame, bytes, VOCAB, &units, &requests, &n, &e), OK);
    assert_int_equal(n, 2);
    assert_memory_equal(&requests[0], &plain, sizeof plain);
    assert_true(requests[1].temperature == 0.0f);
    assert_int_equal(units[1].id, 8);
    assert_true(units[0].trees[0].labels[0].weight == 1.25f);
    units_frame_free(units, n);
    mem_free(requests);
    mem_free(frame);
}

static void test_every_truncation_is_refused_and_nothing_is_kept(void **state)
{
    (void)state;
    size_t bytes;
    uint8_t *frame = make_frame(&bytes);
    for (size_t cut = 0; cut < bytes; cut++) {
        struct unit *units;
        struct answer_request *requests;
        struct errbuf e = {{0}};
        uint32_t n;
        assert_int_not_equal(answers_frame_read(frame, cut, VOCAB, &units, &requests, &n, &e), OK);
        assert_null(units);
        assert_null(requests);
        assert_true(e.text[0] != '\0');
    }
    mem_free(frame);
}

static void refused(const struct answer_request *r, float first, float second, const char *word)
{
    struct tree tree;
    struct errbuf e = {{0}};
    make_tree(&tree, first, second);
    assert_int_equal(answer_check(&tree, r, VOCAB, &e), ERR_RANGE);
    assert_non_null(strstr(e.text, word));
    tree_free(&tree);
}

static void test_what_is_out_of_bounds_is_named(void **state)
{
    (void)state;
    struct answer_request r = plain;
    r.temperature = NAN;
    refused(&r, 0.5f, 0.5f, "temperature");
    r = plain;
    r.top_p = 0.0f;
    refused(&r, 0.5f, 0.5f, "top_p");
    r = plain;
    r.max_new_tokens = LIMIT_ANSWER_TOKENS + 1;
    refused(&r, 0.5f, 0.5f, "max_new_tokens");
    r = plain;
    r.stops[1] = VOCAB;
    refused(&r, 0.5f, 0.5f, "stop token");
    r = plain;
    r.n_stops = LIMIT_STOPS + 1;
    refused(&r, 0.5f, 0.5f, "stop tokens");
    refused(&plain, 3.5f, -2.5f, "exponent");
    refused(&plain, 0.5f, 0.25f, "sum");
}

static void test_an_exponent_beyond_the_range_between_the_branches_is_allowed(void **state)
{
    (void)state;
    struct tree tree;
    struct errbuf e = {{0}};
    make_tree(&tree, 3.0f, -2.0f);
    assert_int_equal(answer_check(&tree, &plain, VOCAB, &e), OK);
    tree_free(&tree);
}

static void test_answers_are_read_and_what_was_not_asked_for_is_refused(void **state)
{
    (void)state;
    const struct answer_request *const requests[] = {&plain, &plain};
    struct answer_view answers[2];
    struct errbuf e = {{0}};
    uint32_t words[] = {2, ANSWER_STOPPED, 5, 99, 0, ANSWER_STOPPED};
    uint8_t bytes[sizeof words];
    for (size_t i = 0; i < sizeof words / 4; i++) {
        bytes_put_u32(bytes + 4 * i, words[i]);
    }
    assert_int_equal(answers_read(bytes, sizeof bytes, requests, 2, VOCAB, answers, &e), OK);
    assert_int_equal(answers[0].n, 2);
    assert_int_equal(answer_token(&answers[0], 1), 99);
    assert_int_equal(answers[1].n, 0);
    for (size_t cut = 0; cut < sizeof bytes; cut++) {
        assert_int_not_equal(answers_read(bytes, cut, requests, 2, VOCAB, answers, &e), OK);
    }
    assert_int_not_equal(answers_read(bytes, sizeof bytes, requests, 2, 99, answers, &e), OK);
    assert_int_not_equal(answers_read(bytes, sizeof bytes, requests, 1, VOCAB, answers, &e), OK);
    bytes_put_u32(bytes + 4, ANSWER_FULL); /* and yet not all that was asked for */
    assert_int_not_equal(answers_read(bytes, sizeof bytes, requests, 2, VOCAB, answers, &e), OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_frame_of_requests_comes_back_as_it_was),
        cmocka_unit_test(test_every_truncation_is_refused_and_nothing_is_kept),
        cmocka_unit_test(test_what_is_out_of_bounds_is_named),
        cmocka_unit_test(test_an_exponent_beyond_the_range_between_the_branches_is_allowed),
        cmocka_unit_test(test_answers_are_read_and_what_was_not_asked_for_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
