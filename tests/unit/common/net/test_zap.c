/* test_zap.c - the door with its keeper: who gets in by key and role, what a revoked key can still
 * do, and a self-attack that finds every open door.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <zmq.h>

#include "common/net/request.h"
#include "common/net/self_attack.h"
#include "common/net/zap.h"
#include "tests/support/temp_folder.h"

enum { KEYS = 2, TRIES = 20, FRAME_BYTES = 1000 };

struct door {
    void *router;
    char endpoint[ADDRESS_BYTES];
};

struct world {
    struct temp_folder folder;
    struct key_file own, keys[KEYS];
    struct socket_context *context;
    struct mailbox *news;
    struct zap *zap;
    struct door door; /* closed in the end, whatever an assertion said */
};

static bool only_workers(const char *domain, enum key_role role)
{
    return strcmp(domain, "door") == 0 && role == KEY_WORKER;
}

static int setup(void **state)
{
    static struct world w;
    struct errbuf e;
    memset(&w, 0, sizeof w);
    temp_folder_make(&w.folder);
    assert_int_equal(file_make_folder(temp_folder_file(&w.folder, "allowed"), &e), OK);
    w.own.role = KEY_COORDINATOR;
    key_generate(&w.own);
    for (int i = 0; i < KEYS; i++) {
        struct key_file *key = &w.keys[i];
        (void)snprintf(key->name, sizeof key->name, "%s", i == 0 ? "worker" : "observer");
        key->role = i == 0 ? KEY_WORKER : KEY_OBSERVER;
        key_generate(key);
        memcpy(key->server, w.own.public_key, KEY_BYTES);
        assert_int_equal(allow_list_add(w.folder.path, key, &e), OK);
    }
    assert_int_equal(socket_context_open(&w.context, &e), OK);
    assert_int_equal(mailbox_open(16, &w.news), OK);
    *state = &w;
    return 0;
}

static void close_door(struct world *w)
{
    if (w->door.router) {
        (void)zmq_close(w->door.router);
        w->door.router = NULL;
    }
}

static int teardown(void **state)
{
    struct world *w = *state;
    close_door(w);
    zap_close(&w->zap);
    socket_context_close(&w->context);
    mailbox_close(&w->news);
    temp_folder_clear(w->folder.path);
    return 0;
}

static void open_zap(struct world *w)
{
    struct errbuf e;
    const struct zap_config config = {.keys_folder = w->folder.path,
                                      .own = w->own.public_key,
                                      .may = only_workers,
                                      .news = w->news};
    assert_int_equal(zap_open(w->context, &config, &w->zap, &e), OK);
    zap_speak(w->zap);
}

/* Opens w->door: a ROUTER that answers nothing. */
static void open_door(struct world *w, const struct key_file *key, const char *domain)
{
    struct door *d = &w->door;
    struct errbuf e;
    const struct socket_options options = {.type = SOCKET_ROUTER,
                                           .queue_messages = 10,
                                           .frame_bytes = FRAME_BYTES,
                                           .key = key,
                                           .domain = domain};
    size_t bytes = sizeof d->endpoint;
    d->router = zmq_socket(socket_context_zmq(w->context), ZMQ_ROUTER);
    assert_non_null(d->router);
    assert_int_equal(socket_options_apply(d->router, &options, &e), OK);
    const int off = 0;
    assert_int_equal(zmq_setsockopt(d->router, ZMQ_IPV6, &off, sizeof off), 0);
    assert_int_equal(zmq_bind(d->router, "tcp://127.0.0.1:*"), 0);
    assert_int_equal(zmq_getsockopt(d->router, ZMQ_LAST_ENDPOINT, d->endpoint, &bytes), 0);
}

static enum err knock_with(struct world *w, const struct key_file *key, size_t n, struct errbuf *e)
{
    static const uint8_t request[2 * FRAME_BYTES] = "x";
    uint8_t *reply;
    size_t bytes;
    return request_reply(w->door.endpoint, key, request, n, 100, 1000, &reply, &bytes, e);
}

static enum err knock_once(struct world *w, const struct key_file *key, struct errbuf *e)
{
    return knock_with(w, key, 1, e);
}

/* Nobody answers behind the door: whoever is let in times out, the others are refused. On a busy
 * machine a handshake may not be over when the time is: then again. */
static enum err knock(struct world *w, const struct key_file *key, struct errbuf *e)
{
    zmq_pollitem_t inside = {.socket = w->door.router, .events = ZMQ_POLLIN};
    enum err error;
    int tries = 0;
    do {
        error = knock_once(w, key, e);
    } while (error == ERR_TIMEOUT && zmq_poll(&inside, 1, 0) == 0 && ++tries < TRIES);
    return error;
}

/* Is there a message from somebody who got in? Takes it, all its frames. */
static bool somebody_in(struct world *w)
{
    char frame[16];
    bool any = false;
    while (zmq_recv(w->door.router, frame, sizeof frame, ZMQ_DONTWAIT) >= 0) {
        any = true;
    }
    return any;
}

static void test_only_a_listed_key_of_the_right_role_gets_in(void **state)
{
    struct world *w = *state;
    struct errbuf e;
    struct key_file stranger = w->keys[0];
    struct key_file other_server = w->keys[0];
    open_zap(w);
    open_door(w, &w->own, "door");
    assert_int_equal(knock(w, &w->keys[0], &e), ERR_TIMEOUT);
    assert_true(somebody_in(w));
    assert_int_equal(knock(w, &w->keys[1], &e), ERR_REFUSED);
    assert_non_null(strstr(e.text, "'observer'"));
    key_generate(&stranger);
    assert_int_equal(knock(w, &stranger, &e), ERR_REFUSED);
    key_generate(&stranger);
    memcpy(other_server.server, stranger.public_key, KEY_BYTES);
    assert_int_equal(knock(w, &other_server, &e), ERR_REFUSED);
    assert_non_null(strstr(e.text, "another coordinator"));
    assert_int_equal(knock(w, NULL, &e), ERR_REFUSED);
    assert_non_null(strstr(e.text, "--key"));
    assert_false(somebody_in(w));
}

static void test_the_largest_frame_gets_through_encrypted_too(void **state)
{
    struct world *w = *state;
    struct errbuf e;
    bool in = false;
    open_zap(w);
    open_door(w, &w->own, "door");
    for (int i = 0; i < TRIES && !in; i++) { /* on a busy machine the handshake takes its time */
        assert_int_equal(knock_with(w, &w->keys[0], FRAME_BYTES, &e), ERR_TIMEOUT);
        in = somebody_in(w);
    }
    assert_true(in);
    (void)knock_with(w, &w->keys[0], 2 * FRAME_BYTES, &e);
    assert_false(somebody_in(w));
}

static void test_a_socket_of_another_domain_lets_nobody_in(void **state)
{
    struct world *w = *state;
    struct errbuf e;
    open_zap(w);
    open_door(w, &w->own, "window");
    assert_int_equal(knock(w, &w->keys[0], &e), ERR_REFUSED);
}

/* The newest list that was posted; waits for one. */
static struct zap_news *newest(struct world *w)
{
    struct zap_news *news = (struct zap_news *)mailbox_wait(w->news);
    assert_non_null(news);
    for (struct letter *l = mailbox_take(w->news); l; l = mailbox_take(w->news)) {
        news->letter.drop(&news->letter);
        news = (struct zap_news *)l;
    }
    return news;
}

static void test_revoking_and_adding_take_effect_while_it_runs(void **state)
{
    struct world *w = *state;
    struct errbuf e;
    struct key_file late = w->keys[0];
    open_zap(w);
    open_door(w, &w->own, "door");
    struct zap_news *news = newest(w);
    assert_int_equal(news->list.n, KEYS);
    news->letter.drop(&news->letter);
    assert_int_equal(allow_list_revoke(w->folder.path, "worker", &e), OK);
    news = newest(w);
    assert_null(allow_list_named(&news->list, "worker"));
    news->letter.drop(&news->letter);
    assert_int_equal(knock(w, &w->keys[0], &e), ERR_REFUSED);
    (void)snprintf(late.name, sizeof late.name, "late");
    key_generate(&late);
    assert_int_equal(allow_list_add(w->folder.path, &late, &e), OK);
    assert_int_equal(knock(w, &late, &e), ERR_TIMEOUT);
    assert_true(somebody_in(w));
}

static void test_a_list_that_cannot_be_read_lets_nobody_in(void **state)
{
    struct world *w = *state;
    struct errbuf e;
    open_zap(w);
    open_door(w, &w->own, "door");
    assert_int_equal(chmod(temp_folder_file(&w->folder, "allowed"), 0777), 0);
    assert_int_not_equal(knock_once(w, &w->keys[0], &e), OK); /* told to come back later */
    assert_false(somebody_in(w));
    assert_int_equal(chmod(temp_folder_file(&w->folder, "allowed"), 0700), 0);
    assert_int_equal(knock(w, &w->keys[0], &e), ERR_TIMEOUT);
    assert_true(somebody_in(w));
}

static void test_a_folder_without_a_list_is_no_start(void **state)
{
    struct world *w = *state;
    struct errbuf e;
    const struct zap_config config = {.keys_folder = "/nonexistent/keys",
                                      .own = w->own.public_key,
                                      .may = only_workers,
                                      .news = w->news};
    assert_int_equal(zap_open(w->context, &config, &w->zap, &e), ERR_NOT_FOUND);
    assert_null(w->zap);
}

static void test_the_self_attack_passes_a_closed_door(void **state)
{
    struct world *w = *state;
    struct errbuf e;
    open_zap(w);
    open_door(w, &w->own, "door");
    assert_int_equal(self_attack(w->door.endpoint, &w->own, &e), OK);
}

static void test_the_self_attack_finds_a_door_without_a_keeper(void **state)
{
    struct world *w = *state;
    struct errbuf e;
    open_door(w, &w->own, NULL);
    assert_int_equal(self_attack(w->door.endpoint, &w->own, &e), ERR_REFUSED);
    assert_non_null(strstr(e.text, "stranger"));
}

static void test_the_self_attack_finds_a_door_without_keys(void **state)
{
    struct world *w = *state;
    struct errbuf e;
    open_door(w, NULL, NULL);
    assert_int_equal(self_attack(w->door.endpoint, &w->own, &e), ERR_REFUSED);
    assert_non_null(strstr(e.text, "without a key"));
}

static void test_the_self_attack_takes_no_dead_door_for_a_closed_one(void **state)
{
    struct world *w = *state;
    struct errbuf e;
    struct key_file other = w->own;
    open_zap(w);
    open_door(w, &w->own, "door");
    close_door(w);
    assert_int_equal(self_attack(w->door.endpoint, &w->own, &e), ERR_IO);
    /* A keeper that lets nobody in at all, here since it keeps another coordinator's door. */
    key_generate(&other);
    open_door(w, &other, "door");
    assert_int_equal(self_attack(w->door.endpoint, &other, &e), ERR_IO);
    assert_non_null(strstr(e.text, "own key"));
}

static void test_without_descriptors_it_closes_all_the_same(void **state)
{
    struct world *w = *state;
    struct errbuf e;
    struct rlimit old;
    open_zap(w);
    open_door(w, &w->own, "door");
    assert_int_equal(knock(w, &w->keys[0], &e), ERR_TIMEOUT);
    assert_true(somebody_in(w));
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    const struct rlimit none = {.rlim_cur = 3, .rlim_max = old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    close_door(w);
    zap_close(&w->zap); /* needs nothing new */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_only_a_listed_key_of_the_right_role_gets_in, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_the_largest_frame_gets_through_encrypted_too, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_socket_of_another_domain_lets_nobody_in, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_revoking_and_adding_take_effect_while_it_runs, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_list_that_cannot_be_read_lets_nobody_in, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_folder_without_a_list_is_no_start, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_self_attack_passes_a_closed_door, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_self_attack_finds_a_door_without_a_keeper, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_the_self_attack_finds_a_door_without_keys, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_the_self_attack_takes_no_dead_door_for_a_closed_one,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_without_descriptors_it_closes_all_the_same, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
