/* test_weights_open.c - weights as a file that processes share: made once, checked by everyone,
 * made again when it is damaged, done without where it cannot be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/format/model_file.h"
#include "tests/support/temp_folder.h"
#include "worker/model/weights.h"

enum { PROCESSES = 6 };

static const char hash[] = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

struct fixture {
    struct temp_folder temp;
    const char *folder;
    char path[256];
    struct model_file *mf;
    struct weights plain; /* what everyone must see */
};

static int setup(void **state)
{
    static struct fixture f;
    struct errbuf e = {0};
    memset(&f, 0, sizeof f);
    temp_folder_make(&f.temp);
    f.folder = f.temp.path;
    (void)snprintf(f.path, sizeof f.path, "%s/weights-%.32s.f32", f.folder, hash);
    assert_int_equal(model_open("tests/golden/tiny", &f.mf, &e), OK);
    assert_int_equal(weights_load(&f.plain, f.mf, 1, &e), OK);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    weights_free(&f->plain);
    model_close(&f->mf);
    temp_folder_clear(f->temp.path);
    return 0;
}

/* The note, "" when the weights are shared. */
static const char *open_and_check(const struct fixture *f, const char *folder, size_t min_floats,
                                  bool shared)
{
    static struct errbuf note;
    struct errbuf e = {0};
    struct weights w;
    if (weights_open(&w, f->mf, hash, folder, min_floats, &note, &e) != OK) {
        fail_msg("%s", e.text);
    }
    assert_int_equal(w.map != NULL, shared);
    assert_int_equal(w.floats, f->plain.floats);
    assert_memory_equal(w.embed, f->plain.embed,
                        (size_t)w.shape.vocab * w.shape.hidden * sizeof(float));
    const size_t down = (size_t)w.shape.hidden * w.shape.ff * sizeof(float);
    const uint32_t last = w.shape.layers - 1;
    assert_memory_equal(w.layers[last].down, f->plain.layers[last].down, down);
    weights_cool(&w);
    assert_memory_equal(w.layers[last].down, f->plain.layers[last].down, down);
    weights_free(&w);
    return note.text;
}

static ino_t inode(const char *path)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return st.st_ino;
}

static void test_the_file_is_made_once_and_then_mapped(void **state)
{
    const struct fixture *f = *state;
    struct stat st;
    assert_string_equal(open_and_check(f, f->folder, 0, true), "");
    ino_t first = inode(f->path);
    assert_string_equal(open_and_check(f, f->folder, 0, true), "");
    assert_int_equal(inode(f->path), first);
    assert_int_equal(stat(f->path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

static void test_a_small_model_makes_no_file(void **state)
{
    const struct fixture *f = *state;
    assert_string_equal(open_and_check(f, f->folder, f->plain.floats + 1, false), "");
    assert_false(file_exists(f->path));
}

static void test_processes_that_start_together_share_one_file(void **state)
{
    const struct fixture *f = *state;
    pid_t children[PROCESSES];
    for (int i = 0; i < PROCESSES; i++) {
        children[i] = fork();
        assert_true(children[i] >= 0);
        if (children[i] == 0) {
            struct errbuf note;
            struct errbuf e;
            struct weights w;
            bool fine = weights_open(&w, f->mf, hash, f->folder, 0, &note, &e) == OK &&
                        w.map != NULL && w.embed[5] == f->plain.embed[5];
            _exit(fine ? 0 : 1);
        }
    }
    for (int i = 0; i < PROCESSES; i++) {
        int status;
        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        assert_int_equal(status, 0);
    }
    char first[300];
    (void)snprintf(first, sizeof first, "%s.%ld", f->path, (long)children[0]);
    assert_false(file_exists(first));
}

static void test_a_damaged_or_short_file_is_made_again(void **state)
{
    const struct fixture *f = *state;
    (void)open_and_check(f, f->folder, 0, true);
    for (off_t at = 0; at < 3; at++) {
        const off_t places[] = {0, 40, 4096 + 1000};
        int fd = open(f->path, O_RDWR | O_CLOEXEC);
        char byte;
        assert_true(fd >= 0 && pread(fd, &byte, 1, places[at]) == 1);
        byte ^= 1;
        assert_int_equal(pwrite(fd, &byte, 1, places[at]), 1);
        assert_int_equal(close(fd), 0);
        assert_string_equal(open_and_check(f, f->folder, 0, true), "");
    }
    assert_int_equal(truncate(f->path, 5000), 0);
    assert_string_equal(open_and_check(f, f->folder, 0, true), "");
}

static void test_a_file_that_others_may_write_is_not_trusted(void **state)
{
    const struct fixture *f = *state;
    (void)open_and_check(f, f->folder, 0, true);
    assert_int_equal(chmod(f->path, 0666), 0);
    assert_non_null(strstr(open_and_check(f, f->folder, 0, false), "of this user alone"));
}

static void test_without_a_folder_or_room_the_weights_are_read_all_the_same(void **state)
{
    const struct fixture *f = *state;
    char folder[300];
    (void)snprintf(folder, sizeof folder, "%s/file", f->folder);
    int fd = open(folder, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(close(fd), 0);
    assert_non_null(strstr(open_and_check(f, folder, 0, false), "file"));

    struct rlimit old;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    const struct rlimit small = {.rlim_cur = 1000, .rlim_max = old.rlim_max};
    assert_true(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    const char *note = open_and_check(f, f->folder, 0, false);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_non_null(strstr(note, "no room for the weights"));
    assert_false(file_exists(f->path));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_the_file_is_made_once_and_then_mapped, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_small_model_makes_no_file, setup, teardown),
        cmocka_unit_test_setup_teardown(test_processes_that_start_together_share_one_file, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_damaged_or_short_file_is_made_again, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_file_that_others_may_write_is_not_trusted, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            test_without_a_folder_or_room_the_weights_are_read_all_the_same, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
