/* test_cpu.c - levels of instructions: names, what runs here, what `native` stands for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/cpu.h"

static int clear(void **state)
{
    (void)state;
    return unsetenv("PFT_KERNELS");
}

static void every_level_is_found_by_its_name(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < CPU_LEVELS; i++) {
        uint32_t level = CPU_LEVELS;
        assert_true(cpu_level_from(cpu_level_name(i), &level));
        assert_int_equal(level, i);
    }
    uint32_t level = 7;
    assert_false(cpu_level_from("native", &level));
    assert_int_equal(level, 7);
    assert_null(cpu_level_name(CPU_LEVELS));
}

static void the_best_level_runs_and_so_does_every_lower_one(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < CPU_LEVELS; i++) {
        assert_int_equal(cpu_runs(i), i <= cpu_best_level());
    }
    assert_false(cpu_runs(CPU_LEVELS));
}

static void native_is_the_best_level_unless_the_environment_names_another(void **state)
{
    (void)state;
    struct errbuf e = {0};
    uint32_t level = CPU_LEVELS;
    assert_int_equal(cpu_native_level(&level, &e), OK);
    assert_int_equal(level, cpu_best_level());
    assert_int_equal(setenv("PFT_KERNELS", "", 1), 0);
    assert_int_equal(cpu_native_level(&level, &e), OK);
    assert_int_equal(level, cpu_best_level());
    assert_int_equal(setenv("PFT_KERNELS", "portable", 1), 0);
    assert_int_equal(cpu_native_level(&level, &e), OK);
    assert_int_equal(level, 0);
}

static void a_level_that_does_not_exist_is_refused_by_name(void **state)
{
    (void)state;
    struct errbuf e = {0};
    uint32_t level = 0;
    assert_int_equal(setenv("PFT_KERNELS", "avx9", 1), 0);
    assert_int_equal(cpu_native_level(&level, &e), ERR_USAGE);
    assert_non_null(strstr(e.text, "PFT_KERNELS=avx9"));
    assert_non_null(strstr(e.text, "x86-64-v3"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_level_is_found_by_its_name),
        cmocka_unit_test(the_best_level_runs_and_so_does_every_lower_one),
        cmocka_unit_test_setup_teardown(
            native_is_the_best_level_unless_the_environment_names_another, clear, clear),
        cmocka_unit_test_setup_teardown(a_level_that_does_not_exist_is_refused_by_name, clear,
                                        clear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
