/* test_zap_frames.c - libzmq's questions asked by hand: whatever stands in their frames, the answer
 * is whole, and lets in whom the list names for that socket and nobody else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zmq.h>

#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/net/zap.h"
#include "tests/support/temp_folder.h"

enum { FRAMES_MAX = 10, FRAME_BYTES = 400, LETTERS = 16, PATIENCE_MS = 20000 };

struct frame {
    const void *data;
    size_t bytes;
};

struct answer {
    char frames[FRAMES_MAX][FRAME_BYTES];
    int n;
};

static struct {
    struct temp_folder folder;
    struct key_file own, worker, observer;
    struct socket_context *context;
    struct mailbox *news;
    struct zap *zap;
    void *asker;
    FILE *log;
} w;

static bool workers_at_the_door(const char *domain, enum key_role role)
{
    return strcmp(domain, "door") == 0 && role == KEY_WORKER;
}

static void make_key(struct key_file *key, const char *name, enum key_role role)
{
    struct errbuf e;
    (void)snprintf(key->name, sizeof key->name, "%s", name);
    key->role = role;
    key_generate(key);
    if (role != KEY_COORDINATOR) {
        assert_int_equal(allow_list_add(w.folder.path, key, &e), OK);
    }
}

static enum err open_zap(struct zap **out, struct errbuf *e)
{
    const struct zap_config config = {.keys_folder = w.folder.path,
                                      .own = w.own.public_key,
                                      .may = workers_at_the_door,
                                      .news = w.news};
    return zap_open(w.context, &config, out, e);
}

static int setup(void **state)
{
    (void)state;
    struct errbuf e;
    memset(&w, 0, sizeof w);
    temp_folder_make(&w.folder);
    assert_int_equal(file_make_folder(temp_folder_file(&w.folder, "allowed"), &e), OK);
    make_key(&w.own, "coordinator", KEY_COORDINATOR);
    make_key(&w.worker, "anna", KEY_WORKER);
    make_key(&w.observer, "otto", KEY_OBSERVER);
    assert_int_equal(socket_context_open(&w.context, &e), OK);
    assert_int_equal(mailbox_open(LETTERS, &w.news), OK);
    w.log = tmpfile();
    assert_non_null(w.log);
    log_copy(fileno(w.log));
    return 0;
}

static void connect_asker(void)
{
    const int patience = PATIENCE_MS;
    const int none = 0;
    w.asker = zmq_socket(socket_context_zmq(w.context), ZMQ_REQ);
    assert_non_null(w.asker);
    assert_int_equal(zmq_setsockopt(w.asker, ZMQ_RCVTIMEO, &patience, sizeof patience), 0);
    assert_int_equal(zmq_setsockopt(w.asker, ZMQ_LINGER, &none, sizeof none), 0);
    assert_int_equal(zmq_connect(w.asker, "inproc://zeromq.zap.01"), 0);
}

static void begin(void)
{
    struct errbuf e;
    if (open_zap(&w.zap, &e) != OK) {
        fail_msg("%s", e.text);
    }
    connect_asker();
}

static int teardown(void **state)
{
    (void)state;
    if (w.asker) {
        (void)zmq_close(w.asker);
    }
    zap_close(&w.zap);
    zap_close(&w.zap);
    socket_context_close(&w.context);
    mailbox_close(&w.news);
    log_copy(-1);
    (void)fclose(w.log);
    temp_folder_clear(w.folder.path);
    return 0;
}

/* What was logged so far; the thread has written it before it answers. */
static const char *logged(void)
{
    static char text[1 << 14];
    rewind(w.log);
    text[fread(text, 1, sizeof text - 1, w.log)] = '\0';
    return text;
}

static struct answer ask_frames(const struct frame *frames, int n)
{
    struct answer a = {.n = 0};
    int more = 1;
    size_t bytes = sizeof more;
    for (int i = 0; i < n; i++) {
        assert_true(
            zmq_send(w.asker, frames[i].data, frames[i].bytes, i + 1 < n ? ZMQ_SNDMORE : 0) >= 0);
    }
    while (more) {
        assert_true(a.n < FRAMES_MAX);
        int got = zmq_recv(w.asker, a.frames[a.n], FRAME_BYTES - 1, 0);
        assert_true(got >= 0 && got < FRAME_BYTES);
        a.frames[a.n++][got] = '\0';
        assert_int_equal(zmq_getsockopt(w.asker, ZMQ_RCVMORE, &more, &bytes), 0);
    }
    return a;
}

/* As libzmq asks of a peer with that key. */
static struct answer ask(const char *domain, const uint8_t *key)
{
    const struct frame frames[] = {{"1.0", 3},      {"77", 2}, {domain, strlen(domain)},
                                   {"10.1.2.3", 8}, {"", 0},   {"CURVE", 5},
                                   {key, KEY_BYTES}};
    return ask_frames(frames, 7);
}

static void assert_answer(const struct answer *a, const char *code, const char *user)
{
    assert_int_equal(a->n, 6);
    assert_string_equal(a->frames[0], "1.0");
    assert_string_equal(a->frames[1], "77");
    assert_string_equal(a->frames[2], code);
    assert_true(a->frames[3][0] != '\0');
    assert_string_equal(a->frames[4], user);
    assert_string_equal(a->frames[5], "");
}

static void expect(const char *domain, const uint8_t *key, const char *code, const char *user)
{
    struct answer a = ask(domain, key);
    assert_answer(&a, code, user);
}

static void test_a_key_gets_in_by_its_name_where_its_role_may(void **state)
{
    (void)state;
    struct key_file stranger;
    begin();
    zap_speak(w.zap);
    expect("door", w.worker.public_key, "200", "anna");
    expect("door", w.own.public_key, "200", "");
    expect("window", w.own.public_key, "200", ""); /* its rights end behind any door */
    assert_null(strstr(logged(), "key_denied"));
    expect("window", w.worker.public_key, "400", "");
    expect("door", w.observer.public_key, "400", "");
    key_generate(&stranger);
    expect("door", stranger.public_key, "400", "");
}

static void test_who_is_denied_is_logged_with_the_reason(void **state)
{
    (void)state;
    static const char *const whys[] = {"has a role that may not use this socket",
                                       "is on no list, or revoked", "is no CURVE client"};
    struct key_file stranger;
    char hex[KEY_HEX];
    char line[256];
    key_generate(&stranger);
    for (int i = 0; i < 3; i++) {
        void *none = NULL;
        begin();
        zap_speak(w.zap);
        const uint8_t *key = i == 0 ? w.observer.public_key : stranger.public_key;
        key_hex(key, hex);
        if (i < 2) {
            expect("door", key, "400", "");
            (void)snprintf(line, sizeof line, "key_denied socket=door from=10.1.2.3 key=%s %s\n",
                           hex, whys[i]);
        } else {
            const struct frame frames[] = {{"1.0", 3}, {"77", 2}, {"door", 4}};
            struct answer a = ask_frames(frames, 3);
            assert_answer(&a, "400", "");
            (void)snprintf(line, sizeof line, "key_denied socket=- from=- key=none %s\n", whys[i]);
        }
        if (!strstr(logged(), line)) {
            fail_msg("'%s' is not in: %s", line, logged());
        }
        (void)teardown(&none);
        (void)setup(&none);
    }
}

static void test_nothing_is_said_of_the_self_attack(void **state)
{
    (void)state;
    struct key_file stranger;
    key_generate(&stranger);
    begin();
    expect("door", stranger.public_key, "400", "");
    assert_null(strstr(logged(), "key_denied"));
    zap_speak(w.zap);
    expect("door", stranger.public_key, "400", "");
    assert_non_null(strstr(logged(), "key_denied"));
}

/* Every question has one answer, and none of these lets anybody in. */
static void test_questions_of_other_forms_let_nobody_in(void **state)
{
    (void)state;
    static const char long_text[300] = "CURVE";
    const struct frame good[] = {{"1.0", 3},
                                 {"77", 2},
                                 {"door", 4},
                                 {"10.1.2.3", 8},
                                 {"", 0},
                                 {"CURVE", 5},
                                 {w.worker.public_key, KEY_BYTES},
                                 {"more", 4},
                                 {"and more", 8}};
    struct answer a;
    begin();
    for (int n = 2; n <= 9; n++) {
        a = ask_frames(good, n);
        assert_answer(&a, n == 7 ? "200" : "400", n == 7 ? "anna" : "");
    }
    const struct frame odd[][2] = {{{"NULL", 4}, {w.worker.public_key, KEY_BYTES}},
                                   {{"PLAIN", 5}, {w.worker.public_key, KEY_BYTES}},
                                   {{"CURVE", 4}, {w.worker.public_key, KEY_BYTES}},
                                   {{"CURVEX", 6}, {w.worker.public_key, KEY_BYTES}},
                                   {{long_text, 300}, {w.worker.public_key, KEY_BYTES}},
                                   {{"CURVE", 5}, {w.worker.public_key, KEY_BYTES - 1}},
                                   {{"CURVE", 5}, {w.own.public_key, KEY_BYTES - 1}},
                                   {{"CURVE", 5}, {"", 0}},
                                   {{"CURVE", 5}, {long_text, KEY_BYTES + 1}}};
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
        struct frame frames[7];
        memcpy(frames, good, sizeof frames);
        frames[5] = odd[i][0];
        frames[6] = odd[i][1];
        a = ask_frames(frames, 7);
        assert_int_equal(a.n, 6);
        bool in = strcmp(a.frames[2], "200") == 0;
        assert_int_equal(in, i == 4); /* what stands behind a NUL is not looked at */
    }
    expect("door", w.worker.public_key, "200", "anna");
}

static struct zap_news *next_list(void)
{
    struct zap_news *news = (struct zap_news *)mailbox_wait(w.news);
    assert_non_null(news);
    return news;
}

static void test_the_first_list_is_there_when_the_keeper_is(void **state)
{
    (void)state;
    begin();
    struct zap_news *news = (struct zap_news *)mailbox_take(w.news);
    assert_non_null(news);
    assert_int_equal(news->list.n, 2);
    assert_non_null(allow_list_named(&news->list, "anna"));
    news->letter.drop(&news->letter);
    expect("door", w.worker.public_key, "200", "anna");
    assert_null(mailbox_take(w.news)); /* no news */
}

/* A list comes to the server before a key of it gets in, and a key that was revoked is out. */
static void test_a_change_is_told_before_it_counts(void **state)
{
    (void)state;
    struct errbuf e;
    struct key_file late = {.role = KEY_WORKER};
    begin();
    struct zap_news *news = next_list();
    news->letter.drop(&news->letter);
    assert_int_equal(allow_list_revoke(w.folder.path, "anna", &e), OK);
    make_key(&late, "late", KEY_WORKER);
    expect("door", late.public_key, "200", "late");
    news = (struct zap_news *)mailbox_take(w.news);
    assert_non_null(news);
    while (!allow_list_named(&news->list, "late")) { /* it was read between the two */
        news->letter.drop(&news->letter);
        news = (struct zap_news *)mailbox_take(w.news);
        assert_non_null(news);
    }
    assert_null(allow_list_named(&news->list, "anna"));
    news->letter.drop(&news->letter);
    expect("door", w.worker.public_key, "400", "");
}

static void test_while_the_list_cannot_be_read_everybody_is_told_to_come_back(void **state)
{
    (void)state;
    begin();
    zap_speak(w.zap);
    expect("door", w.worker.public_key, "200", "anna");
    assert_null(strstr(logged(), "keys_unreadable"));
    assert_int_equal(chmod(temp_folder_file(&w.folder, "allowed"), 0777), 0);
    expect("door", w.worker.public_key, "300", "");
    expect("door", w.own.public_key, "200", ""); /* its own is on no list */
    assert_non_null(strstr(logged(), "keys_unreadable nobody is let in: "));
    assert_int_equal(chmod(temp_folder_file(&w.folder, "allowed"), 0700), 0);
    expect("door", w.worker.public_key, "200", "anna");
    expect("door", w.observer.public_key, "400", "");
}

static void test_while_the_server_is_behind_nobody_new_gets_in(void **state)
{
    (void)state;
    struct errbuf e;
    struct key_file late = {.role = KEY_WORKER};
    mailbox_close(&w.news);
    assert_int_equal(mailbox_open(1, &w.news), OK); /* the first list is all it holds */
    begin();
    expect("door", w.worker.public_key, "200", "anna");
    make_key(&late, "late", KEY_WORKER);
    expect("door", late.public_key, "300", "");
    expect("door", w.worker.public_key, "300", "");
    struct zap_news *news = next_list();
    news->letter.drop(&news->letter);
    expect("door", late.public_key, "200", "late");
    assert_int_equal(allow_list_revoke(w.folder.path, "late", &e), OK);
    expect("door", late.public_key, "300", ""); /* and the revocation is not lost either */
    news = next_list();
    assert_non_null(allow_list_named(&news->list, "late"));
    news->letter.drop(&news->letter);
    expect("door", late.public_key, "400", "");
}

static void test_damaged_files_of_the_list_are_named_and_whole_ones_not(void **state)
{
    (void)state;
    begin();
    expect("door", w.worker.public_key, "200", "anna");
    assert_null(strstr(logged(), "key_damaged"));
    (void)temp_folder_text(&w.folder, "allowed/zoe.pub", "worker 00\n");
    expect("door", w.worker.public_key, "200", "anna");
    assert_non_null(strstr(logged(), "key_damaged files=1 "));
    assert_non_null(strstr(logged(), "zoe.pub"));
}

static void test_a_keeper_that_cannot_be_made_leaves_nothing(void **state)
{
    (void)state;
    struct zap *second = (void *)&w; /* always written */
    struct errbuf e;
    enum err error = ERR_NOMEM;
    for (unsigned long n = 1; error != OK; n++) {
        assert_true(n < 50);
        mem_fail_after(n);
        error = open_zap(&w.zap, &e);
        mem_fail_after(0);
        assert_int_equal(error == OK, w.zap != NULL);
        assert_true(error == OK || error == ERR_NOMEM);
    }
    assert_int_equal(open_zap(&second, &e), ERR_IO); /* there is one in this context */
    assert_null(second);
    assert_non_null(strstr(e.text, "inproc://zeromq.zap.01"));
    connect_asker();
    expect("door", w.worker.public_key, "200", "anna"); /* which answers as before */
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_a_key_gets_in_by_its_name_where_its_role_may),
        TEST(test_who_is_denied_is_logged_with_the_reason),
        TEST(test_nothing_is_said_of_the_self_attack),
        TEST(test_questions_of_other_forms_let_nobody_in),
        TEST(test_the_first_list_is_there_when_the_keeper_is),
        TEST(test_a_change_is_told_before_it_counts),
        TEST(test_while_the_list_cannot_be_read_everybody_is_told_to_come_back),
        TEST(test_while_the_server_is_behind_nobody_new_gets_in),
        TEST(test_damaged_files_of_the_list_are_named_and_whole_ones_not),
        TEST(test_a_keeper_that_cannot_be_made_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
