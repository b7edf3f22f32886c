/* test_checkpoint.c - which files of a folder of checkpoints count, which stay, which is taken, and
 * what is said of one that cannot be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/mem.h"
#include "coordinator/checkpoint.h"
#include "tests/support/disk_faults.h"
#include "tests/support/temp_folder.h"

enum { COUNT = 12, HEADER = 96, BYTES = HEADER + 12 * COUNT + 16 };

static const struct adamw_config adam = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8};
static const uint8_t settings[CHECKPOINT_CONFIG_BYTES] = {1, 2, 3};

static struct temp_folder place;

static int setup(void **state)
{
    (void)state;
    disk_fail(0, 0, 0, false);
    temp_folder_make(&place);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    disk_fail(0, 0, 0, false);
    temp_folder_clear(place.path);
    return 0;
}

static struct params *version(uint64_t step)
{
    struct params *p = NULL;
    assert_int_equal(params_new_empty(COUNT, &adam, &p), OK);
    p->version = step;
    for (uint32_t i = 0; i < COUNT; i++) {
        p->adam.p[i] = (float)step + (float)i;
        p->adam.m[i] = (float)step * 2.0f + (float)i;
        p->adam.v[i] = (float)step * 3.0f + (float)i;
    }
    p->adam.beta1_t = 0.5 / (double)(step + 1);
    p->adam.beta2_t = 0.25 / (double)(step + 1);
    return p;
}

/* The step of the older one that is kept. */
static uint64_t written(uint64_t step)
{
    struct params *p = version(step);
    uint64_t oldest = 12345;
    struct errbuf e;
    if (checkpoint_write(place.path, p, settings, &oldest, &e) != OK) {
        fail_msg("%s", e.text);
    }
    params_free(&p);
    return oldest;
}

static const char *path_of(uint64_t step)
{
    char name[64];
    (void)snprintf(name, sizeof name, "checkpoints/step-%010llu.ckpt", (unsigned long long)step);
    return temp_folder_file(&place, name);
}

static bool there(uint64_t step)
{
    return access(path_of(step), F_OK) == 0;
}

static uint32_t files(void)
{
    uint32_t n = 0;
    DIR *folder = opendir(temp_folder_file(&place, "checkpoints"));
    assert_non_null(folder);
    for (const struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        n += entry->d_name[0] != '.';
    }
    (void)closedir(folder);
    return n;
}

static void put(const char *name, const char *text)
{
    char path[128];
    (void)snprintf(path, sizeof path, "checkpoints/%s", name);
    (void)temp_folder_text(&place, path, text);
}

static enum err loaded(uint64_t until, uint64_t *step, struct errbuf *e)
{
    struct params *p = version(0);
    enum err error = checkpoint_load(place.path, settings, until, p, NULL, e);
    if (error == OK) {
        struct params *want = version(p->version);
        assert_memory_equal(p->adam.p, want->adam.p, COUNT * sizeof(float));
        assert_memory_equal(p->adam.m, want->adam.m, COUNT * sizeof(float));
        assert_memory_equal(p->adam.v, want->adam.v, COUNT * sizeof(float));
        assert_true(p->adam.beta1_t == want->adam.beta1_t);
        assert_true(p->adam.beta2_t == want->adam.beta2_t);
        params_free(&want);
    }
    *step = p->version;
    params_free(&p);
    return error;
}

static void test_the_two_newest_stay_and_the_older_one_is_told(void **state)
{
    (void)state;
    uint64_t step;
    struct errbuf e;
    assert_int_equal(written(5), 0); /* there is only one */
    assert_int_equal(written(10), 5);
    assert_int_equal(written(15), 10);
    assert_true(!there(5) && there(10) && there(15));
    assert_int_equal(files(), 2);
    assert_int_equal(loaded(UINT64_MAX, &step, &e), OK);
    assert_int_equal(step, 15);
    assert_int_equal(loaded(15, &step, &e), OK);
    assert_int_equal(step, 15);
    assert_int_equal(loaded(14, &step, &e), OK);
    assert_int_equal(step, 10);
    assert_int_equal(loaded(9, &step, &e), ERR_NOT_FOUND);
    assert_int_equal(step, 0); /* left alone */
    struct stat info;
    assert_int_equal(stat(path_of(15), &info), 0);
    assert_int_equal(info.st_size, BYTES);
    assert_int_equal(info.st_mode & 0777, 0600);
}

static void test_files_of_other_names_count_for_nothing(void **state)
{
    (void)state;
    static const char *const names[] = {
        "notes.txt",   "step-0000000020.ckpt.tmp", "step-0000000020.ckptx", "step-.ckpt",
        "step-20.log", "xstep-0000000020.ckpt"};
    uint64_t step;
    struct errbuf e;
    assert_int_equal(written(5), 0);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        put(names[i], "no checkpoint");
    }
    assert_int_equal(written(10), 5);
    assert_true(there(5) && there(10));
    assert_int_equal(files(), 8);
    assert_int_equal(loaded(UINT64_MAX, &step, &e), OK);
    assert_int_equal(step, 10);
}

/* More than are looked at: the newest are. */
static void test_any_number_of_damaged_files_hides_no_good_one_that_is_newer(void **state)
{
    (void)state;
    uint64_t step;
    struct errbuf e;
    (void)written(100);
    for (int i = 1; i <= 70; i++) {
        char name[64];
        (void)snprintf(name, sizeof name, "step-%010d.ckpt", (i * 37) % 71);
        put(name, "no checkpoint");
    }
    assert_int_equal(loaded(UINT64_MAX, &step, &e), OK);
    assert_int_equal(step, 100);
    for (int i = 101; i <= 130; i++) {
        char name[64];
        (void)snprintf(name, sizeof name, "step-%010d.ckpt", i);
        put(name, "no checkpoint");
    }
    assert_int_equal(loaded(UINT64_MAX, &step, &e), OK);
    assert_int_equal(step, 100);
    assert_int_equal(written(200), 100);
    assert_true(there(200) && there(100) && !there(101) && !there(130) && !there(70));
}

static void flip(uint64_t step, long at)
{
    char byte;
    int fd = open(path_of(step), O_RDWR);
    assert_true(fd >= 0 && pread(fd, &byte, 1, at) == 1);
    byte ^= 1;
    assert_true(pwrite(fd, &byte, 1, at) == 1);
    (void)close(fd);
}

static void test_what_is_wrong_with_a_file_is_said(void **state)
{
    (void)state;
    static const struct {
        long at;
        const char *why;
    } harms[] = {{0, "is no checkpoint"},
                 {7, "is no checkpoint"},
                 {8, "has a version that this program does not know"},
                 {12, "has a version that this program does not know"},
                 {16, "has a damaged header"},
                 {24, "has another length than its header says"},
                 {32, "has a damaged header"},
                 {40, "has a damaged header"},
                 {48, "has a damaged header"},
                 {79, "has a damaged header"},
                 {80, "has a damaged header"},
                 {95, "has a damaged header"},
                 {HEADER, "is damaged"},
                 {HEADER + 4 * COUNT, "is damaged"},
                 {HEADER + 8 * COUNT, "is damaged"},
                 {BYTES - 17, "is damaged"},
                 {BYTES - 16, "is damaged"},
                 {BYTES - 1, "is damaged"}};
    uint64_t step;
    struct errbuf e;
    (void)written(5);
    for (size_t i = 0; i < sizeof harms / sizeof harms[0]; i++) {
        flip(5, harms[i].at);
        assert_int_equal(loaded(UINT64_MAX, &step, &e), ERR_CORRUPT);
        if (!strstr(e.text, harms[i].why)) {
            fail_msg("byte %ld: %s", harms[i].at, e.text);
        }
        flip(5, harms[i].at);
    }
    char more[BYTES + 12];
    int fd = open(path_of(5), O_RDONLY);
    assert_true(fd >= 0 && read(fd, more, BYTES) == BYTES);
    (void)close(fd);
    memset(more + BYTES, 0, 12);
    for (size_t bytes = 0; bytes <= BYTES + 12; bytes += 4) {
        int out = open(path_of(5), O_WRONLY | O_TRUNC);
        assert_true(out >= 0 && write(out, more, bytes) == (ssize_t)bytes);
        (void)close(out);
        if (bytes != BYTES) {
            assert_int_equal(loaded(UINT64_MAX, &step, &e), ERR_CORRUPT);
            assert_non_null(
                strstr(e.text, bytes < HEADER + 16 ? "is no checkpoint" : "another length"));
        }
    }
}

static void test_a_file_under_the_name_of_another_step_is_passed_over(void **state)
{
    (void)state;
    uint64_t step;
    struct errbuf e;
    (void)written(5);
    (void)written(10);
    char from[FILE_PATH_BYTES];
    (void)snprintf(from, sizeof from, "%s", path_of(10));
    assert_int_equal(rename(from, path_of(12)), 0);
    struct str warnings = {0};
    struct params *p = version(0);
    assert_int_equal(checkpoint_load(place.path, settings, UINT64_MAX, p, &warnings, &e), OK);
    assert_int_equal(p->version, 5);
    assert_non_null(strstr(warnings.data, "step-0000000012.ckpt: holds step 10; passed over\n"));
    str_free(&warnings);
    params_free(&p);
    assert_int_equal(unlink(path_of(5)), 0);
    assert_int_equal(loaded(UINT64_MAX, &step, &e), ERR_CORRUPT);
    size_t count = 0;
    assert_int_equal(checkpoint_peek(place.path, &count, &step, &e), ERR_CORRUPT);
}

static void test_where_there_is_none_that_is_said(void **state)
{
    (void)state;
    uint64_t step;
    size_t count;
    struct errbuf e;
    assert_int_equal(loaded(UINT64_MAX, &step, &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.text, "there is no checkpoint"));
    assert_int_equal(checkpoint_peek(place.path, &count, &step, &e), ERR_NOT_FOUND);
    assert_int_equal(checkpoint_drop_after(place.path, 0, &e), OK); /* nothing to do */
    (void)written(7);
    assert_int_equal(checkpoint_peek(place.path, &count, &step, &e), OK);
    assert_true(count == COUNT && step == 7);
}

static void test_other_settings_and_other_sizes_are_refused_and_change_nothing(void **state)
{
    (void)state;
    struct errbuf e;
    struct params *p = version(0);
    struct params *small = NULL;
    (void)written(5);
    for (int at = 0; at < CHECKPOINT_CONFIG_BYTES; at++) {
        uint8_t other[CHECKPOINT_CONFIG_BYTES];
        memcpy(other, settings, sizeof other);
        other[at] ^= 1;
        assert_int_equal(checkpoint_load(place.path, other, UINT64_MAX, p, NULL, &e), ERR_REFUSED);
        assert_non_null(strstr(e.text, "other settings"));
    }
    assert_int_equal(p->version, 0);
    assert_int_equal(params_new_empty(COUNT - 1, &adam, &small), OK);
    assert_int_equal(checkpoint_load(place.path, NULL, UINT64_MAX, small, NULL, NULL), ERR_REFUSED);
    assert_int_equal(small->version, 0);
    assert_int_equal(checkpoint_load(place.path, NULL, UINT64_MAX, p, NULL, NULL), OK);
    assert_int_equal(p->version, 5);
    params_free(&small);
    params_free(&p);
}

static void test_a_checkpoint_that_cannot_be_written_leaves_the_ones_before(void **state)
{
    (void)state;
    static const struct {
        unsigned calls;
        int errnum;
        enum err error;
        const char *what;
    } faults[] = {{DISK_OPEN, EIO, ERR_IO, "be created"},
                  {DISK_WRITE, EIO, ERR_IO, "be written"},
                  {DISK_WRITE, ENOSPC, ERR_NOSPACE, "be written"},
                  {DISK_SYNC, EIO, ERR_IO, "be synced"},
                  {DISK_SYNC, ENOSPC, ERR_IO, "be synced"},
                  {DISK_RENAME, EIO, ERR_IO, "be put in place"},
                  {DISK_RENAME, ENOSPC, ERR_NOSPACE, "be put in place"}};
    (void)written(5);
    (void)written(10);
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        struct params *p = version(15);
        uint64_t oldest = 99;
        struct errbuf e = {{0}};
        disk_fail(faults[i].calls, 1, faults[i].errnum, false);
        assert_int_equal(checkpoint_write(place.path, p, settings, &oldest, &e), faults[i].error);
        disk_fail(0, 0, 0, false);
        assert_non_null(strstr(e.text, faults[i].what));
        assert_int_equal(oldest, 99);
        assert_true(there(5) && there(10) && !there(15));
        assert_int_equal(files(), 2); /* nothing half written is left */
        params_free(&p);
    }
    put("step-0000000015.ckpt.tmp", "of a process that was killed");
    assert_int_equal(written(15), 10);
    assert_int_equal(files(), 2);
}

static void test_calls_that_are_interrupted_or_do_a_part_are_gone_on_with(void **state)
{
    (void)state;
    static const int how[] = {EINTR, 0};
    for (uint64_t i = 0; i < 12; i++) {
        uint64_t step;
        struct errbuf e;
        disk_fail(DISK_WRITE, 1 + i / 2, how[i % 2], false);
        (void)written(10 + i);
        assert_int_equal(disk_faults.failed, i / 2 < 5); /* header, p, m, v, digest */
        disk_fail(DISK_READ, 1, how[i % 2], false);
        assert_int_equal(loaded(UINT64_MAX, &step, &e), OK);
        assert_int_equal(disk_faults.failed, 1);
        assert_int_equal(step, 10 + i);
    }
}

static void test_those_of_later_steps_are_dropped_and_no_others(void **state)
{
    (void)state;
    struct errbuf e;
    (void)written(5);
    (void)written(10);
    put("notes.txt", "mine");
    assert_int_equal(checkpoint_drop_after(place.path, 10, &e), OK);
    assert_true(there(5) && there(10));
    assert_int_equal(checkpoint_drop_after(place.path, 9, &e), OK);
    assert_true(there(5) && !there(10));
    assert_int_equal(checkpoint_drop_after(place.path, 4, &e), OK);
    assert_false(there(5));
    assert_int_equal(files(), 1);
    assert_int_equal(mkdir(path_of(20), 0700), 0); /* what cannot be removed is told */
    assert_int_not_equal(checkpoint_drop_after(place.path, 4, &e), OK);
    assert_non_null(strstr(e.text, "be removed"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_the_two_newest_stay_and_the_older_one_is_told),
        TEST(test_files_of_other_names_count_for_nothing),
        TEST(test_any_number_of_damaged_files_hides_no_good_one_that_is_newer),
        TEST(test_what_is_wrong_with_a_file_is_said),
        TEST(test_a_file_under_the_name_of_another_step_is_passed_over),
        TEST(test_where_there_is_none_that_is_said),
        TEST(test_other_settings_and_other_sizes_are_refused_and_change_nothing),
        TEST(test_a_checkpoint_that_cannot_be_written_leaves_the_ones_before),
        TEST(test_calls_that_are_interrupted_or_do_a_part_are_gone_on_with),
        TEST(test_those_of_later_steps_are_dropped_and_no_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
