/* test_kernels_level.c - levels by name, and a re-execution that really loads each core type. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "worker/backend/kernels_level.h"

static void test_names_lead_to_levels_and_back(void **state)
{
    (void)state;
    enum kernels_level level;
    for (int i = 0; i < KERNELS_LEVELS; i++) {
        assert_true(kernels_level_from(kernels_level_name((enum kernels_level)i), &level));
        assert_int_equal(level, i);
    }
    assert_true(kernels_level_from("native", &level));
    assert_true(kernels_level_runs_here(level));
    assert_int_equal(level, kernels_level_native());
    assert_false(kernels_level_from("x86-64-v5", &level));
    assert_true(kernels_level_runs_here(KERNELS_PORTABLE));
}

/* Runs this program again as a child that prepares a level; true when it verified. */
static bool child_verifies(const char *level, const char *core_before)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        char program[] = "test_kernels_level";
        char name[32];
        char *argv[] = {program, name, NULL};
        (void)strncpy(name, level, sizeof name - 1);
        name[sizeof name - 1] = 0;
        (void)unsetenv("OPENBLAS_NUM_THREADS");
        (void)setenv("OPENBLAS_CORETYPE", core_before, 1);
        (void)execv("/proc/self/exe", argv);
        _exit(9);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void test_every_level_of_this_cpu_gets_its_core_type(void **state)
{
    (void)state;
    for (int i = 0; i < KERNELS_LEVELS; i++) {
        if (kernels_level_runs_here((enum kernels_level)i)) {
            assert_true(child_verifies(kernels_level_name((enum kernels_level)i), "Haswell"));
            assert_true(child_verifies(kernels_level_name((enum kernels_level)i), "nonsense"));
        }
    }
}

static void test_another_core_type_is_told_by_name(void **state)
{
    (void)state;
    struct errbuf e = {0};
    const char *loaded = kernels_level_loaded_core();
    for (int i = 0; i < KERNELS_LEVELS; i++) {
        enum kernels_level level = (enum kernels_level)i;
        if (strcmp(loaded, kernels_level_core_type(level)) != 0) {
            assert_int_equal(kernels_level_verify(level, &e), ERR_STATE);
            assert_non_null(strstr(e.text, loaded));
            assert_non_null(strstr(e.text, kernels_level_core_type(level)));
        }
    }
}

static int as_child(char **argv)
{
    struct errbuf e = {0};
    enum kernels_level level;
    bool ok = kernels_level_from(argv[1], &level) && kernels_level_prepare(level, argv, &e) == OK &&
              kernels_level_verify(level, &e) == OK;
    if (!ok) {
        print_error("%s: %s\n", argv[1], e.text);
    }
    return ok ? 0 : 1;
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        return as_child(argv);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_lead_to_levels_and_back),
        cmocka_unit_test(test_every_level_of_this_cpu_gets_its_core_type),
        cmocka_unit_test(test_another_core_type_is_told_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
