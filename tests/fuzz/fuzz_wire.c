/* fuzz_wire.c - everything that comes off a wire: header frames, units frames, status requests and
 * replies. The first byte chooses the parser; what parses must keep its ranges and survive being
 * written again. What messages do: fuzz_server.c, fuzz_agent.c. */
#include <string.h>

#include "common/base/check.h"
#include "common/base/mem.h"
#include "common/wire/answers.h"
#include "common/wire/message.h"
#include "common/wire/status_message.h"
#include "common/wire/units_frame.h"
#include "tests/fuzz/driver.h"
#include "tests/support/wire_sample.h"

enum { VOCAB = 300, SEED_BYTES = LIMIT_HEADER_BYTES + 1 };
enum parser {
    PARSE_HEADER,
    PARSE_UNITS,
    PARSE_STATUS,
    PARSE_REQUEST,
    PARSE_ASKED,
    PARSE_ANSWERS,
    PARSERS
};

static void header(const uint8_t *data, size_t bytes)
{
    struct wire_message m;
    struct wire_message again;
    struct errbuf e;
    uint8_t out[LIMIT_HEADER_BYTES];
    size_t n;
    if (wire_decode(data, bytes, &m, &e) == OK) {
        wire_encode(&m, out, &n);
        CHECK(wire_decode(out, n, &again, &e) == OK && again.kind == m.kind);
    } else {
        CHECK(m.kind == WIRE_NONE && e.text[0] != '\0');
    }
}

static void units(const uint8_t *data, size_t bytes)
{
    struct unit *list;
    struct errbuf e;
    uint32_t n;
    if (units_frame_read(data, bytes, VOCAB, &list, &n, &e) != OK) {
        CHECK(list == NULL && e.text[0] != '\0');
        return;
    }
    const struct unit *pointers[LIMIT_JOB_UNITS];
    for (uint32_t i = 0; i < n; i++) {
        pointers[i] = &list[i];
    }
    CHECK(units_frame_bytes(pointers, n) == bytes);
    uint8_t *out = mem_calloc(1, bytes);
    CHECK(out != NULL);
    units_frame_write(pointers, n, out);
    CHECK(memcmp(out, data, bytes) == 0);
    mem_free(out);
    units_frame_free(list, n);
}

/* A GENERATE job's frame. */
static void asked(const uint8_t *data, size_t bytes)
{
    struct unit *list;
    struct answer_request *requests;
    struct errbuf e;
    uint32_t n;
    if (answers_frame_read(data, bytes, VOCAB, &list, &requests, &n, &e) != OK) {
        CHECK(list == NULL && requests == NULL && e.text[0] != '\0');
        return;
    }
    const struct unit *units_at[LIMIT_JOB_UNITS];
    const struct answer_request *requests_at[LIMIT_JOB_UNITS];
    for (uint32_t i = 0; i < n; i++) {
        units_at[i] = &list[i];
        requests_at[i] = &requests[i];
    }
    CHECK(answers_frame_bytes(units_at, n) == bytes);
    uint8_t *out = mem_calloc(1, bytes);
    CHECK(out != NULL);
    answers_frame_write(units_at, requests_at, n, out);
    CHECK(memcmp(out, data, bytes) == 0);
    mem_free(out);
    units_frame_free(list, n);
    mem_free(requests);
}

static const struct answer_request sample_request = {
    .seed = 7, .temperature = 0.5f, .top_p = 0.9f, .max_new_tokens = 3, .n_stops = 1, .stops = {2}};

/* Two answers. */
static void answered(const uint8_t *data, size_t bytes)
{
    const struct answer_request *const requests[] = {&sample_request, &sample_request};
    struct answer_view answers[2];
    struct errbuf e;
    if (answers_read(data, bytes, requests, 2, VOCAB, answers, &e) == OK) {
        for (uint32_t i = 0; i < 2; i++) {
            CHECK(answers[i].n <= sample_request.max_new_tokens);
            CHECK(answers[i].n == 0 || answer_token(&answers[i], answers[i].n - 1) < VOCAB);
        }
    } else {
        CHECK(e.text[0] != '\0');
    }
}

static void status(const uint8_t *data, size_t bytes)
{
    struct status s;
    struct errbuf e;
    uint8_t *out;
    size_t n;
    if (status_decode(data, bytes, &s, &e) == OK) {
        CHECK(status_encode(&s, &out, &n) == OK);
        mem_free(out);
        status_free(&s);
    }
}

static void request(const uint8_t *data, size_t bytes)
{
    static uint8_t out[STATUS_REQUEST_BYTES];
    struct status_request r;
    struct status_request again;
    struct errbuf e;
    size_t n;
    if (status_request_decode(data, bytes, &r, &e) == OK) {
        status_request_encode(&r, out, &n);
        CHECK(status_request_decode(out, n, &again, &e) == OK && again.command == r.command);
        status_request_free(&again);
        status_request_free(&r);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes == 0) {
        return 0;
    }
    switch ((enum parser)(data[0] % PARSERS)) {
    case PARSE_HEADER:
        header(data + 1, bytes - 1);
        break;
    case PARSE_UNITS:
        units(data + 1, bytes - 1);
        break;
    case PARSE_STATUS:
        status(data + 1, bytes - 1);
        break;
    case PARSE_ASKED:
        asked(data + 1, bytes - 1);
        break;
    case PARSE_ANSWERS:
        answered(data + 1, bytes - 1);
        break;
    case PARSE_REQUEST:
    case PARSERS:
    default:
        request(data + 1, bytes - 1);
        break;
    }
    return 0;
}

/* Where fuzz_seeds collects. */
static struct fuzz_seed *seeds_out;
static size_t seeds_count;

static void put(const uint8_t *data, size_t bytes)
{
    CHECK(seeds_count < FUZZ_SEEDS_MAX);
    seeds_out[seeds_count++] = fuzz_seed_text(data, bytes);
}

static void seed_message(const struct wire_message *m)
{
    static uint8_t seed[SEED_BYTES];
    size_t n;
    seed[0] = PARSE_HEADER;
    wire_encode(m, seed + 1, &n);
    put(seed, n + 1);
}

static void seed_messages(void)
{
    for (int kind = WIRE_NONE + 1; kind < WIRE_KINDS; kind++) {
        struct wire_message m;
        wire_sample(&m, (enum wire_kind)kind);
        seed_message(&m);
    }
}

static void seed_units(void)
{
    struct tree tree;
    struct errbuf e;
    static uint8_t seed[1024];
    CHECK(tree_alloc(&tree, 2, 4, 1, 1) == OK);
    tree.nodes[0] = (struct tree_node){.parent = TREE_ROOT, .count = 3};
    tree.nodes[1] = (struct tree_node){.parent = 0, .count = 1};
    tree.labels[0] = (struct tree_label){.row = 2, .target = 7, .weight = 1.0f};
    CHECK(tree_alloc_terms(&tree, 1) == OK);
    tree.terms[0] = (struct tree_term){.n = 1, .coef = {1.0f}, .weight = 1.0f};
    CHECK(tree_finish(&tree, VOCAB, &e) == OK);
    const struct unit unit = {.id = 1, .n_trees = 1, .trees = &tree};
    const struct unit *list[] = {&unit, &unit};
    seed[0] = PARSE_UNITS;
    units_frame_write(list, 2, seed + 1);
    put(seed, units_frame_bytes(list, 2) + 1);
    tree_free(&tree);
}

static char *text(const char *s)
{
    return (char *)(uintptr_t)s; /* encode only reads */
}

static void seed_requests(void)
{
    static uint8_t seed[STATUS_REQUEST_BYTES + 1];
    size_t n;
    const struct status_request list[] = {
        {.command = STATUS_ASK},
        {.command = STATUS_CANCEL, .task = 3},
        {.command = STATUS_READ, .task = 3, .offset = 900, .part = TASK_RESULT},
        {.command = STATUS_SUBMIT,
         .order = {.sort = TASK_EVALUATE,
                   .ticket = 9,
                   .name = "n",
                   .config = text("lora:\n  r: 8\n"),
                   .from = text("/runs/a"),
                   .sets = text("data.test=/x\n")}},
    };
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        seed[0] = PARSE_REQUEST;
        status_request_encode(&list[i], seed + 1, &n);
        put(seed, n + 1);
    }
}

/* A mix of two branches that share their first three tokens, and what answers two such requests. */
static void seed_answers(void)
{
    static const uint8_t payload[] = {PARSE_ANSWERS,
                                      2,
                                      0,
                                      0,
                                      0,
                                      1,
                                      0,
                                      0,
                                      0,
                                      9,
                                      0,
                                      0,
                                      0,
                                      8,
                                      1,
                                      0,
                                      0,
                                      3,
                                      0,
                                      0,
                                      0,
                                      2,
                                      0,
                                      0,
                                      0,
                                      1,
                                      0,
                                      0,
                                      0,
                                      1,
                                      0,
                                      0,
                                      0,
                                      4,
                                      0,
                                      0,
                                      0};
    static uint8_t seed[1024];
    struct tree tree;
    struct errbuf e;
    CHECK(tree_alloc(&tree, 3, 5, 2, 2) == OK);
    tree.nodes[0] = (struct tree_node){.parent = TREE_ROOT, .count = 3};
    tree.nodes[1] = (struct tree_node){.parent = 0, .count = 1};
    tree.nodes[2] = (struct tree_node){.parent = 0, .count = 1};
    tree.labels[0] = (struct tree_label){.row = 3, .leaf = 0, .weight = 1.5f};
    tree.labels[1] = (struct tree_label){.row = 4, .leaf = 1, .weight = -0.5f};
    CHECK(tree_finish(&tree, VOCAB, &e) == OK);
    const struct unit unit = {.id = 1, .n_trees = 1, .trees = &tree};
    const struct unit *units_at[] = {&unit, &unit};
    const struct answer_request *requests_at[] = {&sample_request, &sample_request};
    seed[0] = PARSE_ASKED;
    answers_frame_write(units_at, requests_at, 2, seed + 1);
    put(seed, answers_frame_bytes(units_at, 2) + 1);
    put(payload, sizeof payload);
    tree_free(&tree);
}

/* Jobs and results of every kind. */
static void seed_kinds(void)
{
    for (int kind = WIRE_GRADIENT; kind < WIRE_JOB_KINDS; kind++) {
        struct wire_message m;
        wire_sample(&m, WIRE_JOB);
        wire_sample_kind(&m.job, (enum wire_job_kind)kind);
        seed_message(&m);
        wire_sample(&m, WIRE_RESULT_READY);
        m.result_ready.kind = (enum wire_job_kind)kind;
        seed_message(&m);
    }
}

size_t fuzz_seeds(struct fuzz_seed *seeds)
{
    seeds_out = seeds;
    seeds_count = 0;
    seed_messages();
    seed_kinds();
    seed_units();
    seed_answers();
    seed_requests();
    const struct task_info task = {
        .id = 1, .sort = TASK_TRAIN, .state = TASK_FAILED, .text = "why"};
    struct status_worker worker = {.id = "w", .host = "h", .slots = 1, .state = "ready"};
    const struct status s = {.schema = STATUS_SCHEMA,
                             .run = "r",
                             .state = "running",
                             .n_workers = 1,
                             .workers = &worker,
                             .n_tasks = 1,
                             .tasks = (struct task_info *)(uintptr_t)&task};
    uint8_t *reply;
    size_t n;
    CHECK(status_encode(&s, &reply, &n) == OK);
    uint8_t *seed = mem_calloc(1, n + 1);
    CHECK(seed != NULL);
    seed[0] = PARSE_STATUS;
    memcpy(seed + 1, reply, n);
    put(seed, n + 1);
    mem_free(seed);
    mem_free(reply);
    return seeds_count;
}
