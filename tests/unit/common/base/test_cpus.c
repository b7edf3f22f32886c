/* test_cpus.c - cores that may be used: the mask of the process, quotas of its groups. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sched.h>

#include "common/base/cpus.h"
#include "tests/support/temp_folder.h"

static void write_file(const struct temp_folder *t, const char *folder, const char *name,
                       const char *text)
{
    char path[FILE_PATH_BYTES];
    struct errbuf e = {0};
    assert_true(snprintf(path, sizeof path, "%s%s", t->path, folder) < FILE_PATH_BYTES);
    assert_int_equal(file_make_folder(path, &e), OK);
    assert_true(snprintf(path, sizeof path, "%s%s/%s", t->path, folder, name) < FILE_PATH_BYTES);
    assert_int_equal(file_write_atomic(path, text, strlen(text), &e), OK);
}

/* min(what the mask allows, n): the machine of the test may have one core. */
static uint32_t at_most(uint32_t n)
{
    cpu_set_t mask;
    assert_int_equal(sched_getaffinity(0, sizeof mask, &mask), 0);
    const uint32_t all = (uint32_t)CPU_COUNT(&mask);
    return n < all ? n : all;
}

static void test_only_the_cores_of_the_mask_count(void **state)
{
    (void)state;
    struct temp_folder t;
    cpu_set_t mask;
    cpu_set_t one;
    temp_folder_make(&t); /* no /proc in it: no quota */
    assert_int_equal(sched_getaffinity(0, sizeof mask, &mask), 0);
    assert_int_equal(cpus_usable(t.path), CPU_COUNT(&mask));
    size_t first = 0;
    while (!CPU_ISSET(first, &mask)) {
        first++;
    }
    CPU_ZERO(&one);
    CPU_SET(first, &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    assert_int_equal(cpus_usable(t.path), 1);
    assert_int_equal(sched_setaffinity(0, sizeof mask, &mask), 0);
    temp_folder_clear(t.path);
}

static void test_the_lowest_quota_on_the_way_up_counts_and_a_part_is_a_core(void **state)
{
    (void)state;
    struct temp_folder t;
    temp_folder_make(&t);
    write_file(&t, "/proc/self", "cgroup", "0::/batch/job\n");
    write_file(&t, "/sys/fs/cgroup/batch/job", "cpu.max", "max 100000\n");
    assert_int_equal(cpus_usable(t.path), at_most(UINT32_MAX));
    write_file(&t, "/sys/fs/cgroup/batch", "cpu.max", "150000 100000\n");
    assert_int_equal(cpus_usable(t.path), at_most(2));
    write_file(&t, "/sys/fs/cgroup", "cpu.max", "20000 100000\n");
    assert_int_equal(cpus_usable(t.path), 1);
    temp_folder_clear(t.path);
}

static void test_quotas_of_version_one_count_too(void **state)
{
    (void)state;
    struct temp_folder t;
    temp_folder_make(&t);
    write_file(&t, "/proc/self", "cgroup",
               "5:memory:/docker/x\n4:cpu,cpuacct:/docker/x\n0::/unified\n");
    write_file(&t, "/sys/fs/cgroup/cpu", "cpu.cfs_quota_us", "-1\n");
    write_file(&t, "/sys/fs/cgroup/cpu", "cpu.cfs_period_us", "100000\n");
    assert_int_equal(cpus_usable(t.path), at_most(UINT32_MAX));
    write_file(&t, "/sys/fs/cgroup/cpu", "cpu.cfs_quota_us", "90000\n");
    assert_int_equal(cpus_usable(t.path), 1);
    temp_folder_clear(t.path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_the_cores_of_the_mask_count),
        cmocka_unit_test(test_the_lowest_quota_on_the_way_up_counts_and_a_part_is_a_core),
        cmocka_unit_test(test_quotas_of_version_one_count_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
