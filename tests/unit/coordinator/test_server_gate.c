/* test_server_gate.c - the doors of a coordinator: what its sockets are told, which of them are
 * attacked before anybody is let in, who commands, and what a change of the list does at once. */
#include "tests/unit/coordinator/server_fixture.h"

#include <unistd.h>

#include "tests/support/temp_folder.h"

enum { CONTROL, TENSOR, STATUS, SOCKETS };

static const char JOBS_TCP[] = "tcp://127.0.0.1:7000";
static const char STATUS_TCP[] = "tcp://127.0.0.1:7100";
static const char JOBS_IPC[] = "ipc:///nowhere/jobs";
static const char STATUS_IPC[] = "ipc:///nowhere/status";

static int setup_closed(void **state)
{
    (void)state;
    clear_world();
    return 0;
}

/* What the log says while it is open. */
struct listener {
    FILE *file;
};

static void listen_in(struct listener *l)
{
    l->file = tmpfile();
    assert_non_null(l->file);
    log_init("test", LOG_INFO);
    log_copy(fileno(l->file));
}

static void listen_no_more(struct listener *l, char *text, size_t bytes)
{
    log_copy(-1);
    log_init("test", LOG_ERROR);
    rewind(l->file);
    text[fread(text, 1, bytes - 1, l->file)] = '\0';
    (void)fclose(l->file);
}

static void close_world(void)
{
    void *none = NULL;
    (void)teardown(&none);
}

static enum err open_with(const struct server_config *cfg)
{
    const struct server_doors doors = {
        .bind = JOBS_TCP, .status = STATUS_TCP, .key = &w.key, .keys_folder = "/nowhere"};
    struct errbuf e;
    return server_open(&doors, cfg, &fixture_events, &w.server, &e);
}

static void test_some_descriptors_are_for_files_whatever_comes_in(void **state)
{
    (void)state;
    static const struct {
        uint32_t files;
        int highest;
        uint32_t half_open, of_an_address;
    } cases[] = {
        {12, 8, 2, 1},
        {15, 11, 2, 1},
        {24, 17, 3, 1},
        {100, 74, 12, 6},
        {252, 188, 31, 15},
        {256, 191, 32, 16},
        {260, 195, 32, 16},
        {1024, 959, 128, 64},
        {0, 959, 128, 64}, /* nobody knows: a system gives 1024 at least */
        {8192, 8127, 1024, 512},
        {8200, 8135, 1024, 512},
        {UINT32_MAX, INT32_MAX - 65, 1024, 512},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct errbuf e;
        clear_world();
        w.files = cases[i].files;
        assert_int_equal(open_server(JOBS_TCP, STATUS_TCP, &e), OK);
        for (int s = CONTROL; s < SOCKETS; s++) {
            assert_int_equal(w.options[s].descriptor_max, cases[i].highest);
            assert_int_equal(w.options[s].half_open, cases[i].half_open);
            assert_int_equal(w.options[s].half_open_per_address, cases[i].of_an_address);
        }
        close_world();
    }
    clear_world();
}

static void test_every_socket_is_told_its_kind_and_its_bounds(void **state)
{
    (void)state;
    static const char *const domains[SOCKETS] = {RIGHTS_JOBS, RIGHTS_TENSORS, RIGHTS_STATUS};
    struct errbuf e;
    assert_int_equal(open_server(JOBS_TCP, STATUS_TCP, &e), OK);
    for (int s = CONTROL; s < SOCKETS; s++) {
        const struct socket_options *o = &w.options[s];
        assert_int_equal(o->type, SOCKET_ROUTER);
        assert_string_equal(o->domain, domains[s]);
        assert_ptr_equal(o->key, &w.key);
        assert_true(o->linger_ms > 0); /* the last words go out */
        assert_true(o->queue_messages > 0);
        assert_true(o->unread_bytes >= (uint64_t)o->frame_bytes);
        assert_true(o->unread_total_bytes > o->unread_bytes);
    }
    assert_int_equal(w.options[STATUS].frame_bytes, STATUS_REQUEST_BYTES);
    assert_int_equal(w.options[STATUS].unread_bytes, 5 * STATUS_REQUEST_BYTES);
    assert_int_equal(w.options[STATUS].unread_total_bytes, 80 * STATUS_REQUEST_BYTES);
    assert_true(w.options[STATUS].messages_per_s > 0);
    assert_true(w.options[STATUS].messages_per_s < w.options[CONTROL].messages_per_s);
    assert_int_equal(w.options[CONTROL].messages_per_s, w.options[TENSOR].messages_per_s);
}

/* Scores are a double a leaf, and a leaf has a token at least; twice that, for what is around. */
static void test_the_largest_scores_of_a_run_fit_a_message(void **state)
{
    (void)state;
    static const struct {
        uint32_t unit_tokens, tree_tokens;
        int64_t frame;
    } cases[] = {
        {512, 4096, 16ll * LIMIT_JOB_UNITS * 4096},
        {9000, 4096, 16ll * LIMIT_JOB_UNITS * 9000},
        {1, 1, 1 << 20},
        {UINT32_MAX, 1, LIMIT_JOB_BYTES},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct server_config cfg = fixture_config;
        clear_world();
        cfg.welcome.unit_tokens = cases[i].unit_tokens;
        cfg.welcome.tree_tokens_max = cases[i].tree_tokens;
        assert_int_equal(open_with(&cfg), OK);
        const struct socket_options *o = &w.options[CONTROL];
        const int64_t least = 1 << 20;
        const int64_t frame = cases[i].frame > least ? cases[i].frame : least;
        assert_int_equal(o->frame_bytes, frame < LIMIT_JOB_BYTES ? frame : LIMIT_JOB_BYTES);
        assert_int_equal(o->unread_bytes, 2 * (uint64_t)o->frame_bytes);
        assert_int_equal(o->unread_total_bytes, 16 * (uint64_t)o->frame_bytes);
        close_world();
    }
    clear_world();
}

static void test_a_gradient_of_the_run_fits_a_message_and_the_credits_what_is_unread(void **state)
{
    (void)state;
    static const size_t floats[] = {1, 1 << 20, 1 << 24};
    for (size_t i = 0; i < sizeof floats / sizeof floats[0]; i++) {
        struct server_config cfg = fixture_config;
        clear_world();
        cfg.floats = floats[i];
        assert_int_equal(open_with(&cfg), OK);
        const struct socket_options *o = &w.options[TENSOR];
        uint64_t frame = floats[i] * sizeof(int64_t);
        frame = frame > LIMIT_RESULTS_BYTES_IN_FLIGHT ? frame : LIMIT_RESULTS_BYTES_IN_FLIGHT;
        assert_int_equal(o->frame_bytes, frame);
        assert_int_equal(o->unread_bytes, (LIMIT_RESULTS_LARGE_IN_FLIGHT + 1) * frame);
        assert_int_equal(o->unread_total_bytes, 2 * o->unread_bytes);
        close_world();
    }
    clear_world();
}

/* A frame's bound cannot change any more when a task comes: it is the widest there is. */
static void test_a_standing_coordinator_takes_any_tasks_frames(void **state)
{
    (void)state;
    const struct server_doors doors = {
        .bind = JOBS_TCP, .status = STATUS_TCP, .key = &w.key, .keys_folder = "/nowhere"};
    const struct server_owner owner = {.ctx = NULL};
    struct errbuf e;
    assert_int_equal(server_open_standing(&doors, &owner, &w.server, &e), OK);
    assert_int_equal(w.options[CONTROL].frame_bytes, LIMIT_JOB_BYTES);
    assert_int_equal(w.options[TENSOR].frame_bytes, LIMIT_TENSOR_BYTES);
    assert_int_equal(w.options[STATUS].frame_bytes, STATUS_REQUEST_BYTES);
}

static void test_every_socket_with_a_key_is_attacked_and_no_other(void **state)
{
    (void)state;
    static const struct {
        const char *jobs, *status;
        uint32_t attacks;
    } cases[] = {{JOBS_TCP, STATUS_TCP, 3},
                 {JOBS_TCP, STATUS_IPC, 2},
                 {JOBS_IPC, STATUS_TCP, 1},
                 {JOBS_IPC, STATUS_IPC, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct errbuf e;
        clear_world();
        assert_int_equal(open_server(cases[i].jobs, cases[i].status, &e), OK);
        assert_int_equal(w.attacks, cases[i].attacks);
        assert_ptr_equal(w.options[CONTROL].key, cases[i].jobs == JOBS_TCP ? &w.key : NULL);
        assert_ptr_equal(w.options[TENSOR].key, cases[i].jobs == JOBS_TCP ? &w.key : NULL);
        assert_ptr_equal(w.options[STATUS].key, cases[i].status == STATUS_TCP ? &w.key : NULL);
        for (uint32_t a = 0; a < w.attacks; a++) {
            assert_int_equal(strncmp(w.attacked[a], "tcp://127.0.0.1:7", 17), 0);
        }
        if (w.attacks == 3) {
            assert_string_equal(w.attacked[0], JOBS_TCP);
            assert_string_equal(w.attacked[1], "tcp://127.0.0.1:7001");
            assert_string_equal(w.attacked[2], STATUS_TCP);
        }
        close_world();
        assert_int_equal(w.closed, SOCKETS);
        assert_int_equal(w.zaps, 0);
    }
    clear_world();
}

static void test_a_door_that_lets_a_stranger_in_is_no_start(void **state)
{
    (void)state;
    for (uint32_t n = 1; n <= SOCKETS; n++) {
        struct errbuf e;
        clear_world();
        w.attack_fails = n;
        assert_int_equal(open_server(JOBS_TCP, STATUS_TCP, &e), ERR_REFUSED);
        assert_non_null(strstr(e.text, "a stranger got in"));
        assert_null(w.server);
        assert_int_equal(w.attacks, n); /* no word to the rest of them */
        assert_int_equal(w.closed, SOCKETS);
        assert_int_equal(w.zaps, 0);
        close_world();
    }
    clear_world();
}

static void test_what_a_start_proved_is_said_with_its_numbers(void **state)
{
    (void)state;
    char text[4096];
    struct listener l;
    struct errbuf e;
    listen_in(&l);
    assert_int_equal(open_server(JOBS_TCP, STATUS_IPC, &e), OK);
    listen_no_more(&l, text, sizeof text);
    assert_non_null(strstr(text, "closed_to_strangers sockets=2 keys=4\n"));
    assert_null(strstr(text, "keys_unused"));
    close_world();
    clear_world();
    listen_in(&l);
    assert_int_equal(open_server(JOBS_IPC, STATUS_IPC, &e), OK);
    listen_no_more(&l, text, sizeof text);
    assert_null(strstr(text, "closed_to_strangers"));
    assert_non_null(strstr(text, "keys_unused")); /* keys were given, and nobody needs one */
    close_world();
    clear_world();
    w.attack_fails = 2;
    listen_in(&l);
    assert_int_equal(open_server(JOBS_TCP, STATUS_TCP, &e), ERR_REFUSED);
    listen_no_more(&l, text, sizeof text);
    assert_null(strstr(text, "closed_to_strangers"));
    assert_null(strstr(text, "keys_unused"));
}

static void test_the_list_is_known_before_the_first_message(void **state)
{
    (void)state;
    struct errbuf e;
    assert_int_equal(open_server(JOBS_TCP, STATUS_TCP, &e), OK);
    assert_int_equal(w.server->allowed.n, KEYS);
}

static void test_without_memory_there_is_no_server_and_nothing_stays_open(void **state)
{
    (void)state;
    enum err error = ERR_NOMEM;
    unsigned long n = 0;
    while (error != OK) {
        const struct server_doors doors = {
            .bind = JOBS_TCP, .status = STATUS_TCP, .key = &w.key, .keys_folder = "/nowhere"};
        struct errbuf e = {{0}};
        memset(w.options, 0, sizeof w.options);
        w.n_sockets = w.closed = w.attacks = 0;
        assert_true(n < 100);
        mem_fail_after(++n);
        error = server_shell_open(&doors, NULL, &w.server, &e);
        mem_fail_after(0);
        assert_true(error == OK || (error == ERR_NOMEM && e.text[0] != '\0' && !w.server));
        assert_true(error == OK || w.closed == w.n_sockets);
        assert_int_equal(w.zaps, error == OK);
    }
    assert_true(n >= 3);
}

/* Only where it does not follow from the control address a worker must be told. */
static void test_a_worker_is_told_of_a_tensor_address_that_it_cannot_know(void **state)
{
    (void)state;
    static const char *const endpoints[] = {NULL, "tcp://127.0.0.1:7001", "tcp://127.0.0.1:9999"};
    for (size_t i = 0; i < sizeof endpoints / sizeof endpoints[0]; i++) {
        struct errbuf e;
        clear_world();
        w.tensor_endpoint = endpoints[i];
        assert_int_equal(open_server(JOBS_TCP, STATUS_TCP, &e), OK);
        say_hello(0, "w0", 1);
        assert_int_equal(last(0)->kind, WIRE_WELCOME);
        assert_string_equal(last(0)->welcome.tensor_endpoint, i == 2 ? endpoints[i] : "");
        assert_true(last(0)->welcome.probe);
        close_world();
    }
    clear_world();
}

static void ask(const char *sender, enum status_command command)
{
    const struct status_request request = {.command = command};
    const struct socket_route from = route(3);
    uint8_t frame[STATUS_REQUEST_BYTES];
    size_t bytes;
    struct blob *none = NULL;
    status_request_encode(&request, frame, &bytes);
    w.sender = sender;
    w.sockets[STATUS].receive(w.sockets[STATUS].ctx, &from, frame, bytes, &none);
}

static void test_a_socket_file_that_only_its_owner_opens_is_an_operators(void **state)
{
    (void)state;
    static const struct {
        mode_t mode;
        bool commands;
    } cases[] = {{0600, true},  {0700, true},  {0610, false}, {0620, false},
                 {0640, false}, {0601, false}, {0602, false}, {0604, false}};
    struct temp_folder folder;
    temp_folder_make(&folder);
    const char *path = temp_folder_text(&folder, "status", "");
    for (size_t i = 0; i <= sizeof cases / sizeof cases[0]; i++) {
        char address[ADDRESS_BYTES];
        struct errbuf e;
        const bool there = i < sizeof cases / sizeof cases[0];
        clear_world();
        (void)snprintf(address, sizeof address, "ipc://%s", path);
        assert_int_equal(there ? chmod(path, cases[i].mode) : unlink(path), 0);
        assert_int_equal(open_server(JOBS_TCP, address, &e), OK);
        bool commands = there && cases[i].commands;
        assert_int_equal(server_asker(w.server), commands ? KEY_OPERATOR : KEY_OBSERVER);
        ask("", STATUS_STOP);
        assert_int_equal(w.replies, 1);
        assert_int_equal(w.status.outcome, commands ? STATUS_DONE : STATUS_REFUSED);
        assert_int_equal(w.signals, commands);
        close_world();
    }
    temp_folder_clear(folder.path);
    clear_world();
}

static void test_a_status_socket_without_a_file_commands_nothing(void **state)
{
    (void)state;
    const struct server_doors doors = {.bind = JOBS_TCP, .status = STATUS_TCP};
    struct errbuf e;
    assert_int_equal(server_open(&doors, &fixture_config, &fixture_events, &w.server, &e), OK);
    assert_int_equal(w.attacks + w.zaps, 0); /* no keys: nothing to attack, nobody to ask */
    assert_null(w.options[STATUS].key);
    ask("", STATUS_STOP);
    assert_int_equal(w.status.outcome, STATUS_REFUSED);
    assert_int_equal(w.signals, 0);
}

static void test_keys_are_asked_for_on_the_sockets_that_have_them(void **state)
{
    (void)state;
    struct errbuf e;
    assert_int_equal(open_server(JOBS_IPC, STATUS_TCP, &e), OK);
    struct wire_message m = hello("w0", 1);
    uint8_t header[LIMIT_HEADER_BYTES];
    const struct socket_route from = route(0);
    struct blob *none = NULL;
    size_t bytes;
    wire_encode(&m, header, &bytes);
    w.sender = ""; /* over the file: the owner's */
    w.sockets[CONTROL].receive(w.sockets[CONTROL].ctx, &from, header, bytes, &none);
    assert_int_equal(last(0)->kind, WIRE_WELCOME);
    ask("nobody", STATUS_ASK);
    ask("bob", STATUS_ASK); /* a worker's key is for workers */
    assert_int_equal(w.replies, 0);
    ask("dave", STATUS_ASK);
    assert_int_equal(w.replies, 1);
    ask("dave", STATUS_STOP);
    assert_int_equal(w.status.outcome, STATUS_REFUSED);
    assert_int_equal(w.replies, 2);
    post_list(0, NULL); /* whoever came without a key stays, whatever the list */
    (void)uv_run(&w.server->loop, UV_RUN_NOWAIT);
    assert_int_equal(server_workers(w.server), 1);
    assert_int_equal(times(0, WIRE_REFUSED), 0);
    ask("dave", STATUS_ASK);
    assert_int_equal(w.replies, 2); /* and dave is on no list now */
}

static void test_nobody_needs_a_key_for_a_status_file_beside_sockets_with_keys(void **state)
{
    (void)state;
    struct errbuf e;
    assert_int_equal(open_server(JOBS_TCP, STATUS_IPC, &e), OK);
    ask("", STATUS_ASK);
    assert_int_equal(w.replies, 1);
    w.sender = "";
    struct wire_message m = hello("w0", 1);
    uint8_t header[LIMIT_HEADER_BYTES];
    const struct socket_route from = route(0);
    struct blob *none = NULL;
    size_t bytes;
    wire_encode(&m, header, &bytes);
    w.sockets[CONTROL].receive(w.sockets[CONTROL].ctx, &from, header, bytes, &none);
    assert_int_equal(w.n_heard[0], 0);
    assert_int_equal(server_workers(w.server), 0);
}

/* Worker 1 waits, all units are out, worker 0 has one of them: its key is revoked. */
static void worker_1_waits(uint64_t *one)
{
    struct errbuf e;
    assert_int_equal(open_server(JOBS_TCP, STATUS_TCP, &e), OK);
    uint64_t zero = joined(0);
    *one = joined(1);
    (void)asked(0, zero, 1);
    for (uint64_t request = 1; request < UNITS; request++) { /* what is announced is no load */
        struct wire_job job = asked(1, *one, request);
        announce(1, &job, *one);
    }
    struct wire_message m = {.kind = WIRE_REQUEST};
    m.request = (struct wire_request){.session = *one, .request = UNITS};
    uint32_t jobs = times(1, WIRE_JOB);
    say(1, &m);
    assert_int_equal(times(1, WIRE_JOB), jobs);
}

static void revoke_alice(void)
{
    static const char *const rest[] = {"bob", "dave", "eve"};
    post_list(3, rest);
}

static void test_the_job_of_a_revoked_key_goes_to_whoever_waits_at_once(void **state)
{
    (void)state;
    uint64_t one;
    worker_1_waits(&one);
    uint32_t jobs = times(1, WIRE_JOB);
    revoke_alice();
    (void)uv_run(&w.server->loop, UV_RUN_NOWAIT);
    assert_int_equal(times(1, WIRE_JOB), jobs + 1);
    assert_int_equal(last(0)->note.code, WIRE_REFUSED_KEY);
}

static void test_a_word_of_a_revoked_key_gives_its_job_away_at_once(void **state)
{
    (void)state;
    uint64_t one;
    worker_1_waits(&one);
    uint32_t jobs = times(1, WIRE_JOB);
    revoke_alice();
    say_hello(0, "w0", 2); /* comes before the letter is read */
    assert_int_equal(times(1, WIRE_JOB), jobs + 1);
}

static void test_a_key_that_is_no_workers_any_more_ends_its_session(void **state)
{
    (void)state;
    struct errbuf e;
    assert_int_equal(open_server(JOBS_TCP, STATUS_TCP, &e), OK);
    (void)joined(0);
    uint64_t one = joined(1);
    struct zap_news *news = mem_calloc(1, sizeof *news);
    struct allowed_key *keys = mem_calloc(2, sizeof *keys);
    assert_true(news && keys);
    keys[0] = (struct allowed_key){.name = "alice", .role = KEY_OBSERVER};
    keys[1] = (struct allowed_key){.name = "bob", .role = KEY_WORKER};
    *news = (struct zap_news){.letter = {.drop = drop_news},
                              .list = {.keys = keys, .n = 2, .capacity = 2}};
    assert_int_equal(mailbox_post(w.news, &news->letter), OK);
    (void)uv_run(&w.server->loop, UV_RUN_NOWAIT);
    assert_int_equal(server_workers(w.server), 1);
    assert_non_null(server_peer_by_session(w.server, one));
    assert_int_equal(last(0)->note.code, WIRE_REFUSED_KEY);
    assert_non_null(strstr(last(0)->note.text, "alice"));
}

static void test_of_several_lists_the_newest_counts(void **state)
{
    (void)state;
    static const char *const all[] = {"alice", "bob", "dave", "eve"};
    struct errbuf e;
    assert_int_equal(open_server(JOBS_TCP, STATUS_TCP, &e), OK);
    (void)joined(1);
    post_list(0, NULL);
    post_list(KEYS, all);
    (void)uv_run(&w.server->loop, UV_RUN_NOWAIT);
    assert_int_equal(server_workers(w.server), 1);
    assert_int_equal(w.server->allowed.n, KEYS);
}

static void test_news_after_the_end_cut_nobody(void **state)
{
    (void)state;
    struct errbuf e;
    assert_int_equal(open_server(JOBS_TCP, STATUS_TCP, &e), OK);
    (void)joined(0);
    w.server->ended = true;
    uint32_t heard = w.n_heard[0];
    revoke_alice();
    (void)uv_run(&w.server->loop, UV_RUN_NOWAIT);
    assert_int_equal(w.n_heard[0], heard);
    assert_int_equal(server_workers(w.server), 1);
}

/* A second after a change it may still have to hear that; a stranger is hung up on at once. */
static void test_who_is_not_admitted_is_hung_up_on_a_second_after_the_last_change(void **state)
{
    (void)state;
    struct errbuf e;
    assert_int_equal(open_server(JOBS_TCP, STATUS_TCP, &e), OK);
    w.now_ns += 1000000000ull;
    say_hello(3, "w3", 1);
    assert_int_equal(w.hung_up, 0);
    w.now_ns += 1000000ull;
    say_hello(3, "w3", 1);
    assert_int_equal(w.hung_up, 1);
    say_hello(0, "w0", 1);
    assert_int_equal(w.hung_up, 1);
    revoke_alice();
    say_hello(0, "w0", 2);
    assert_int_equal(w.hung_up, 1);
    w.now_ns += 1001000000ull;
    say_hello(0, "w0", 3);
    assert_int_equal(w.hung_up, 2);
}

static void test_who_was_turned_away_is_counted_over_all_sockets_since_the_start(void **state)
{
    (void)state;
    char text[4096];
    struct listener l;
    struct errbuf e;
    for (int s = CONTROL; s < SOCKETS; s++) { /* of the self-attack */
        w.refusals[s] = (struct socket_refusals){.denied = 1, .broken = 2};
    }
    assert_int_equal(open_server(JOBS_TCP, STATUS_TCP, &e), OK);
    assert_int_equal(server_turned_away(w.server), 0);
    listen_in(&l);
    server_report_turned_away(w.server);
    listen_no_more(&l, text, sizeof text);
    assert_string_equal(text, "");
    w.refusals[CONTROL].denied += 1;
    w.refusals[CONTROL].broken += 10;
    w.refusals[TENSOR].flooded += 100;
    w.refusals[STATUS].crowded += 1000;
    assert_int_equal(server_turned_away(w.server), 1111);
    listen_in(&l);
    server_report_turned_away(w.server);
    w.now_ns += 120000000000ull;
    server_report_turned_away(w.server); /* no news */
    listen_no_more(&l, text, sizeof text);
    assert_non_null(strstr(text, "turned_away connections=1111:"));
    assert_ptr_equal(strstr(strstr(text, "turned_away") + 1, "turned_away"), NULL);
    assert_null(strstr(text, "hung_up_early"));
    w.refusals[TENSOR].left += 5;
    assert_int_equal(server_turned_away(w.server), 1111); /* it went by itself */
    listen_in(&l);
    server_report_turned_away(w.server);
    w.now_ns += 120000000000ull;
    server_report_turned_away(w.server);
    listen_no_more(&l, text, sizeof text);
    assert_non_null(strstr(text, "hung_up_early connections=5:"));
    assert_ptr_equal(strstr(strstr(text, "hung_up_early") + 1, "hung_up_early"), NULL);
    assert_null(strstr(text, "turned_away"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_closed, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_some_descriptors_are_for_files_whatever_comes_in),
        TEST(test_every_socket_is_told_its_kind_and_its_bounds),
        TEST(test_the_largest_scores_of_a_run_fit_a_message),
        TEST(test_a_gradient_of_the_run_fits_a_message_and_the_credits_what_is_unread),
        TEST(test_a_standing_coordinator_takes_any_tasks_frames),
        TEST(test_every_socket_with_a_key_is_attacked_and_no_other),
        TEST(test_a_door_that_lets_a_stranger_in_is_no_start),
        TEST(test_what_a_start_proved_is_said_with_its_numbers),
        TEST(test_the_list_is_known_before_the_first_message),
        TEST(test_without_memory_there_is_no_server_and_nothing_stays_open),
        TEST(test_a_worker_is_told_of_a_tensor_address_that_it_cannot_know),
        TEST(test_a_socket_file_that_only_its_owner_opens_is_an_operators),
        TEST(test_a_status_socket_without_a_file_commands_nothing),
        TEST(test_keys_are_asked_for_on_the_sockets_that_have_them),
        TEST(test_nobody_needs_a_key_for_a_status_file_beside_sockets_with_keys),
        TEST(test_the_job_of_a_revoked_key_goes_to_whoever_waits_at_once),
        TEST(test_a_word_of_a_revoked_key_gives_its_job_away_at_once),
        TEST(test_a_key_that_is_no_workers_any_more_ends_its_session),
        TEST(test_of_several_lists_the_newest_counts),
        TEST(test_news_after_the_end_cut_nobody),
        TEST(test_who_is_not_admitted_is_hung_up_on_a_second_after_the_last_change),
        TEST(test_who_was_turned_away_is_counted_over_all_sockets_since_the_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
