/* test_failpoint.c - what PFT_FAILPOINT may say, and what an armed place does on which pass. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/failpoint.h"

static void arm(const char *text)
{
    struct errbuf e = {{0}};
    if (failpoint_arm("coordinator", text, &e) != OK) {
        fail_msg("%s", e.text);
    }
}

static void it_fails_on_the_passes_asked_for_and_no_other(void **state)
{
    (void)state;
    arm("journal.append:enospc:3:2");
    for (int pass = 1; pass <= 6; pass++) {
        errno = 0;
        assert_int_equal(failpoint_fails("journal.append"), pass == 3 || pass == 4);
        assert_int_equal(errno, pass == 3 || pass == 4 ? ENOSPC : 0);
        assert_false(failpoint_fails("journal.fsync"));
    }
    arm("journal.fsync:eio");
    assert_true(failpoint_fails("journal.fsync"));
    assert_int_equal(errno, EIO);
    assert_false(failpoint_fails("journal.fsync"));
    arm(NULL);
    assert_false(failpoint_fails("journal.fsync"));
}

static void a_kill_is_a_kill(void **state)
{
    (void)state;
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        arm("journal.after_commit:kill:2");
        failpoint_pass("journal.after_commit");
        failpoint_pass("journal.after_commit");
        _exit(0);
    }
    assert_true(child > 0 && waitpid(child, &status, 0) == child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void a_delay_is_on_every_pass_from_the_first_on_and_may_be_everywhere(void **state)
{
    (void)state;
    arm("*:delay 20:2");
    uint64_t begin = clock_now_ms();
    failpoint_pass("reduce.add");
    failpoint_pass("reduce.add");
    assert_false(failpoint_fails("journal.append"));
    assert_true(clock_now_ms() - begin >= 40);
    arm(NULL);
}

static void wrong_words_are_refused_with_what_would_do(void **state)
{
    (void)state;
    static const struct {
        const char *text, *said;
    } cases[] = {
        {"", "PFT_FAILPOINT=list"},
        {"nowhere:kill", "nowhere"},
        {"job.taken:kill", "the coordinator has no such place"},
        {"journal.append", "kill, eio, enospc"},
        {"journal.append:explode", "explode"},
        {"journal.append:delay x", "delay x"},
        {"journal.append:delay -1", "delay MS"},
        {"journal.after_commit:eio", "nothing fails there"},
        {"*:kill", "a delay only"},
        {"journal.append:kill:0", "numbers from 1"},
        {"journal.append:kill:1:", "numbers from 1"},
        {"journal.append:kill:1:1:1", "FIRST"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct errbuf e = {{0}};
        assert_int_equal(failpoint_arm("coordinator", cases[i].text, &e), ERR_USAGE);
        if (!strstr(e.text, cases[i].said)) {
            fail_msg("%s: %s", cases[i].text, e.text);
        }
        assert_false(failpoint_fails("journal.append"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_fails_on_the_passes_asked_for_and_no_other),
        cmocka_unit_test(a_kill_is_a_kill),
        cmocka_unit_test(a_delay_is_on_every_pass_from_the_first_on_and_may_be_everywhere),
        cmocka_unit_test(wrong_words_are_refused_with_what_would_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
