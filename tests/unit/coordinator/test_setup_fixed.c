/* test_setup_fixed.c - a refused resume says what differs, by name, with both values. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "coordinator/setup.h"

static void assert_difference(const char *was, const char *now, const char *said)
{
    struct str out = {0};
    setup_difference(was, now, &out);
    assert_int_equal(str_ok(&out), OK);
    assert_string_equal(out.data ? out.data : "", said);
    str_free(&out);
}

static void what_differs_is_named_with_both_values(void **state)
{
    (void)state;
    assert_difference("a: 1\nb: 2\nvalues: x: y\n", "a: 1\nb: 2\nvalues: x: y\n", "");
    assert_difference("train.seed: 7\nlora.r: 16\nvalues: ", "train.seed: 8\nlora.r: 4\nvalues: ",
                      "train.seed: was 7, now 8; lora.r: was 16, now 4");
    assert_difference("a: \nvalues: ", "a: 1\nvalues: ", "a: was not set, now 1");
    assert_difference("model: 12\ntrain: 34\nvalues: ", "model: 56\ntrain: 78\nvalues: ",
                      "the model (model.path), SHA-256: was 12, now 56; "
                      "the training data (data.train), SHA-256: was 34, now 78");
}

static void the_text_of_the_values_is_not_taken_for_settings(void **state)
{
    (void)state;
    assert_difference("a: 1\nvalues: a: 2\nb: 3\n", "a: 1\nvalues: a: 2\nb: 4\n",
                      "the values file (data.values) has another content");
}

static void a_setting_that_one_of_them_does_not_know_is_named_too(void **state)
{
    (void)state;
    assert_difference("a: 1\nold: 2\nvalues: ", "a: 1\nnew: 3\nvalues: ",
                      "new: was unknown, now 3; old: was 2, now unknown");
}

static void scenarios_that_are_held_out_count_where_there_are_any(void **state)
{
    (void)state;
    struct str none = {0};
    struct str some = {0};
    struct run_config cfg = {.data_hold_out = 0, .data_system = ""};
    setup_fixed_keys(&cfg, &none);
    cfg.data_hold_out = 78;
    setup_fixed_keys(&cfg, &some);
    assert_int_equal(str_ok(&none), OK);
    assert_int_equal(str_ok(&some), OK);
    assert_null(strstr(none.data, "hold_out"));
    assert_memory_equal(some.data, none.data, none.len);
    assert_string_equal(some.data + none.len, "data.hold_out: 78\n");
    str_free(&none);
    str_free(&some);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_differs_is_named_with_both_values),
        cmocka_unit_test(the_text_of_the_values_is_not_taken_for_settings),
        cmocka_unit_test(scenarios_that_are_held_out_count_where_there_are_any),
        cmocka_unit_test(a_setting_that_one_of_them_does_not_know_is_named_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
