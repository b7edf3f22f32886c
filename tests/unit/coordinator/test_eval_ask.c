/* test_eval_ask.c - the options of an evaluation, and the words for wrong ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "coordinator/eval_ask.h"

static void test_good_words_are_taken(void **state)
{
    (void)state;
    struct errbuf e = {0};
    struct eval_request ask = eval_ask_usual();
    assert_int_equal(ask.task, EVAL_SELECT);
    assert_int_equal(eval_ask_task(&ask, "history", &e), OK);
    assert_int_equal(ask.task, EVAL_HISTORY);
    assert_int_equal(eval_ask_shots(&ask, "0,2,10,64", &e), OK);
    assert_int_equal(ask.n_shots, 4);
    assert_int_equal(ask.shots[3], 64);
    assert_int_equal(eval_ask_limit(&ask, "60", &e), OK);
    assert_int_equal(ask.limit, 60);
    assert_int_equal(eval_ask_fit(&ask, "0", &e), OK);
    assert_int_equal(ask.fit, 0);
    assert_int_equal(eval_ask_seed(&ask, "9007199254740992", &e), OK);
    assert_true(ask.seed == (uint64_t)1 << 53);
    assert_int_equal(eval_ask_mix(&ask, "-2,0,.25,1,3", &e), OK);
    assert_int_equal(ask.n_lambdas, 5);
    assert_true(ask.lambdas[0] == -2.0 && ask.lambdas[2] == 0.25 && ask.lambdas[4] == 3.0);
}

static void test_wrong_words_name_the_option_and_what_is_possible(void **state)
{
    (void)state;
    struct errbuf e = {0};
    struct eval_request ask = eval_ask_usual();
    assert_int_equal(eval_ask_task(&ask, "choose", &e), ERR_USAGE);
    assert_string_equal(
        e.text,
        "--task: 'choose' is unknown; there are select, behaviour, retention, history, divergence");
    static const char *const shots[] = {"",
                                        ",",
                                        "1,",
                                        "1,1",
                                        "3,1",
                                        "65",
                                        "-1",
                                        "1 ",
                                        "x",
                                        "0,1,2,3,4,5,6,7,8",
                                        "99999999999999999999"};
    for (size_t i = 0; i < sizeof shots / sizeof shots[0]; i++) {
        assert_int_equal(eval_ask_shots(&ask, shots[i], &e), ERR_USAGE);
        assert_non_null(strstr(e.text, "up to 8 numbers from 0 to 64"));
    }
    static const char *const numbers[] = {"", "0", "-3", "1.5", "4294967296", "7x", " 7"};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        assert_int_equal(eval_ask_limit(&ask, numbers[i], &e), ERR_USAGE);
        assert_non_null(strstr(e.text, "is no whole number from 1 to 4294967295"));
    }
    assert_int_equal(eval_ask_seed(&ask, "9007199254740993", &e), ERR_USAGE);
    static const char *const mixes[] = {"",
                                        ",",
                                        "0,",
                                        "0,0",
                                        "1,.5",
                                        "-2.1",
                                        "3.01",
                                        "nan",
                                        "inf",
                                        " 0",
                                        "0;1",
                                        "x",
                                        "0,.1,.2,.3,.4,.5,.6,.7,.8,.9,1,1.1,1.2,1.3,1.4,1.5,1.6"};
    for (size_t i = 0; i < sizeof mixes / sizeof mixes[0]; i++) {
        assert_int_equal(eval_ask_mix(&ask, mixes[i], &e), ERR_USAGE);
        assert_non_null(strstr(e.text, "up to 16 numbers from -2 to 3"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_words_are_taken),
        cmocka_unit_test(test_wrong_words_name_the_option_and_what_is_possible),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
