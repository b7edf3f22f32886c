/* test_model_default.c - where the default model is looked for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "common/format/model_default.h"

static void test_the_cache_follows_its_three_variables_in_order(void **state)
{
    (void)state;
    char path[FILE_PATH_BYTES];
    struct errbuf e = {0};
    assert_int_equal(setenv("HOME", "/home/x", 1), 0);
    assert_int_equal(setenv("XDG_CACHE_HOME", "/xdg", 1), 0);
    assert_int_equal(setenv("PFT_CACHE", "/pft", 1), 0);
    assert_int_equal(model_cache_folder(path, &e), OK);
    assert_string_equal(path, "/pft");
    assert_int_equal(unsetenv("PFT_CACHE"), 0);
    assert_int_equal(model_cache_folder(path, &e), OK);
    assert_string_equal(path, "/xdg/pft");
    assert_int_equal(unsetenv("XDG_CACHE_HOME"), 0);
    assert_int_equal(model_cache_folder(path, &e), OK);
    assert_string_equal(path, "/home/x/.cache/pft");
    assert_int_equal(unsetenv("HOME"), 0);
    assert_int_equal(model_cache_folder(path, &e), ERR_NOT_FOUND);
}

static void test_a_missing_default_model_names_the_script_that_fetches_it(void **state)
{
    (void)state;
    char path[FILE_PATH_BYTES];
    struct errbuf e = {0};
    assert_int_equal(setenv("PFT_CACHE", "/nonexistent-pft-cache", 1), 0);
    assert_int_equal(model_resolve("", path, &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.text, "scripts/fetch-model"));
    assert_int_equal(model_resolve("default", path, &e), ERR_NOT_FOUND);
    assert_int_equal(model_resolve("some/model.gguf", path, &e), OK);
    assert_string_equal(path, "some/model.gguf");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_cache_follows_its_three_variables_in_order),
        cmocka_unit_test(test_a_missing_default_model_names_the_script_that_fetches_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
