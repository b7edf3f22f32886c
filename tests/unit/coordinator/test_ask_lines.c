/* test_ask_lines.c - lines in and answers out, over pipes in the place of stdin and stdout. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/mem.h"
#include "common/net/mailbox.h"
#include "coordinator/ask_lines.h"

enum { LETTERS = 4 };

struct world {
    int saved[2];     /* this program's own stdin and stdout */
    int questions[2]; /* a pipe; its read end is stdin */
    int answers[2];   /* a pipe; its write end is stdout */
    struct mailbox *lines;
    struct ask_lines *asking;
};

static struct world w;

static int set_up(void **state)
{
    (void)state;
    (void)fflush(stdout); /* what the test driver said is not for the pipe */
    w = (struct world){.saved = {dup(STDIN_FILENO), dup(STDOUT_FILENO)}};
    assert_int_equal(pipe(w.questions), 0);
    assert_int_equal(pipe(w.answers), 0);
    assert_true(dup2(w.questions[0], STDIN_FILENO) == STDIN_FILENO);
    assert_true(dup2(w.answers[1], STDOUT_FILENO) == STDOUT_FILENO);
    assert_int_equal(mailbox_open(LETTERS, &w.lines), OK);
    assert_int_equal(ask_lines_open(w.lines, &w.asking, NULL), OK);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    ask_lines_close(&w.asking);
    mailbox_close(&w.lines);
    for (int i = 0; i < 2; i++) {
        (void)dup2(w.saved[i], i);
        (void)close(w.saved[i]);
        (void)close(w.questions[i]);
        (void)close(w.answers[i]);
    }
    return 0;
}

static void ask(const char *text)
{
    assert_int_equal(write(w.questions[1], text, strlen(text)), (ssize_t)strlen(text));
}

static struct ask_line *next_line(void)
{
    return (struct ask_line *)mailbox_wait(w.lines);
}

static void expect_line(const char *text)
{
    struct ask_line *line = next_line();
    assert_string_equal(line->trouble, "");
    assert_false(line->end);
    assert_int_equal(line->text.len, strlen(text));
    assert_memory_equal(line->text.data, text, line->text.len);
    ask_line_free(line);
}

static void answer(const char *text, size_t bytes)
{
    struct str s = {.limit = bytes + 1};
    str_append(&s, text, bytes);
    assert_int_equal(ask_lines_answer(w.asking, &s, NULL), OK);
    str_free(&s);
}

static void test_an_answer_that_nobody_reads_yet_holds_up_nobody(void **state)
{
    (void)state;
    enum { BYTES = 1 << 20 }; /* more than a pipe takes */
    char *long_answer = mem_calloc(1, BYTES);
    char *got = mem_calloc(1, BYTES + 1);
    size_t n = 0;
    assert_true(long_answer && got);
    memset(long_answer, 'x', BYTES);
    ask("one\ntwo\n");
    expect_line("one");
    answer(long_answer, BYTES); /* would wait for ever, if this thread wrote it */
    while (n < BYTES + 1) {
        ssize_t part = read(w.answers[0], got + n, BYTES + 1 - n);
        assert_true(part > 0);
        n += (size_t)part;
    }
    assert_memory_equal(got, long_answer, BYTES);
    assert_int_equal(got[BYTES], '\n');
    expect_line("two");
    mem_free(got);
    mem_free(long_answer);
}

static void test_closing_does_not_wait_for_a_reader(void **state)
{
    (void)state;
    enum { BYTES = 1 << 20 };
    char *long_answer = mem_calloc(1, BYTES);
    assert_non_null(long_answer);
    memset(long_answer, 'x', BYTES);
    ask("one\n");
    expect_line("one");
    answer(long_answer, BYTES);
    ask_lines_close(&w.asking);
    mem_free(long_answer);
}

static void test_an_answer_that_cannot_be_written_is_the_last_word(void **state)
{
    (void)state;
    ask("one\ntwo\n");
    expect_line("one");
    (void)close(w.answers[0]); /* SIGPIPE is ignored, as in the program */
    answer("1", 1);
    struct ask_line *line = next_line();
    assert_true(line->end);
    assert_non_null(strstr(line->trouble, "stdout"));
    ask_line_free(line);
    w.answers[0] = dup(STDERR_FILENO);
}

static void test_the_end_of_stdin_comes_after_the_last_answer_is_out(void **state)
{
    (void)state;
    char got[3];
    ask("one"); /* without a line end */
    (void)close(w.questions[1]);
    w.questions[1] = dup(STDERR_FILENO);
    expect_line("one");
    answer("1", 1);
    struct ask_line *line = next_line();
    assert_true(line->end);
    ask_line_free(line);
    assert_int_equal(read(w.answers[0], got, sizeof got), 2);
    assert_memory_equal(got, "1\n", 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    (void)signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        TEST(test_an_answer_that_nobody_reads_yet_holds_up_nobody),
        TEST(test_closing_does_not_wait_for_a_reader),
        TEST(test_an_answer_that_cannot_be_written_is_the_last_word),
        TEST(test_the_end_of_stdin_comes_after_the_last_answer_is_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
