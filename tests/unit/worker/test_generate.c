/* test_generate.c - decoding: steps over the caches equal the full forward pass, answers do not
 * depend on company, order or threads, mixes and draws follow their formulas. */
#include "tests/unit/worker/tiny_model.h"
#include "worker/backend/bf16.h"
#include "worker/engine_generate.h"
#include "worker/engine_slot.h"
#include "worker/model/decode.h"
#include "worker/model/sample.h"

enum { SEED = 31, BRANCHES = 2, NEW = 70, MANY = 21 };

static const struct model_shape shape = {.layers = 3,
                                         .hidden = 96,
                                         .ff = 160,
                                         .heads = 6,
                                         .kv_heads = 3,
                                         .head_dim = 16,
                                         .vocab = 512,
                                         .rope_theta = 1e4f,
                                         .rms_eps = 1e-5f,
                                         .tied_head = true};

struct world {
    struct weights w;
    float *flat;
    struct engine *engine;
    struct engine_slot *slot;
};

static void open_world(struct world *o, uint32_t threads, enum engine_precision precision)
{
    struct errbuf e = {0};
    tiny_weights(&o->w, &shape, SEED);
    o->flat = tiny_adapter(&shape, &tiny_lora, SEED);
    struct engine_config config = tiny_config(&shape, &tiny_lora);
    config.threads = threads;
    config.precision = precision;
    config.tile_rows = 6; /* cuts DECODE_ROWS unevenly, and must not matter */
    config.tile_cols = 32;
    if (engine_new(&config, &o->w, &o->engine, &e) != OK ||
        engine_slot_new(o->engine, 0, &o->slot, &e) != OK) {
        fail_msg("%s", e.text);
    }
}

static void close_world(struct world *o)
{
    engine_slot_free(&o->slot);
    engine_free(&o->engine);
    mem_free(o->flat);
    weights_free(&o->w);
}

/* A prompt of two branches behind a shared root, lengths and tokens by key; one branch: the root
 * and one child. */
static void make_prompt(struct tree *t, uint32_t branches, float weight, uint64_t key)
{
    struct errbuf e = {0};
    uint32_t root = 5 + (uint32_t)rng_below(key, 1, 40);
    uint32_t rows = root;
    uint32_t length[BRANCHES];
    for (uint32_t b = 0; b < branches; b++) {
        length[b] = 1 + (uint32_t)rng_below(key, 2 + b, 9);
        rows += length[b];
    }
    assert_int_equal(tree_alloc(t, 1 + branches, rows, branches, branches), OK);
    t->nodes[0] = (struct tree_node){.parent = TREE_ROOT, .count = root};
    for (uint32_t b = 0, row = root; b < branches; b++) {
        t->nodes[1 + b] = (struct tree_node){.parent = 0, .count = length[b]};
        row += length[b];
        t->labels[b] = (struct tree_label){
            .row = row - 1, .leaf = b, .weight = b == 0 ? weight : 1.0f - weight};
    }
    for (uint32_t i = 0; i < rows; i++) {
        t->tokens[i] = (uint32_t)rng_below(key, 100 + i, shape.vocab);
    }
    assert_int_equal(tree_finish(t, shape.vocab, &e), OK);
}

/* Logits behind the last token of branch b of the prompt and an answer, by one full pass. */
static void full_logits(struct world *o, const struct tree *t, uint32_t b, const uint32_t *answer,
                        uint32_t n, float *logits)
{
    struct tree chain;
    struct errbuf e = {0};
    const struct tree_node *root = &t->nodes[0];
    const struct tree_node *own = &t->nodes[1 + b];
    uint32_t rows = root->count + own->count + n;
    uint32_t count;
    assert_int_equal(tree_alloc(&chain, 1, rows, 1, 1), OK);
    chain.nodes[0] = (struct tree_node){.parent = TREE_ROOT, .count = rows};
    memcpy(chain.tokens, t->tokens, root->count * sizeof *chain.tokens);
    memcpy(chain.tokens + root->count, t->tokens + own->first, own->count * sizeof *chain.tokens);
    memcpy(chain.tokens + root->count + own->count, answer, n * sizeof *chain.tokens);
    chain.labels[0] = (struct tree_label){.row = rows - 1, .weight = 1.0f};
    assert_int_equal(tree_finish(&chain, shape.vocab, &e), OK);
    const struct unit unit = tiny_unit(&chain, 1);
    assert_int_equal(engine_logits(o->slot, &unit, o->flat, NULL, logits, &count, &e), OK);
    assert_int_equal(count, 1);
    tree_free(&chain);
}

static void assert_near(const float *a, const float *b, double bound)
{
    for (uint32_t i = 0; i < shape.vocab; i++) {
        if (!(fabs((double)a[i] - (double)b[i]) <= bound)) {
            fail_msg("logit %u: %g, not %g", i, (double)a[i], (double)b[i]);
        }
    }
}

static void test_logits_of_every_step_equal_those_of_the_full_pass(void **state)
{
    (void)state;
    struct world o;
    struct decode d;
    struct kv_block block;
    struct tree tree;
    struct errbuf e = {0};
    struct decode_path paths[BRANCHES] = {{.tokens = 0}};
    float *logits = mem_calloc(shape.vocab, sizeof *logits);
    float *steps = mem_calloc((size_t)BRANCHES * NEW * shape.vocab, sizeof *steps);
    uint32_t answer[NEW];
    uint32_t rows[BRANCHES];
    open_world(&o, 1, ENGINE_FP32);
    make_prompt(&tree, BRANCHES, 0.5f, SEED);
    const struct unit unit = tiny_unit(&tree, 1);
    assert_int_equal(decode_init(&d, &o.slot->pass), OK);
    assert_int_equal(decode_prompt(&d, &unit, o.flat, &block, paths, &e), OK);
    for (uint32_t i = 0; i < NEW; i++) { /* enough for several blocks of a tail */
        answer[i] = (uint32_t)rng_below(SEED, 900 + i, shape.vocab);
        for (uint32_t b = 0; b < BRANCHES; b++) {
            const float *row = d.logits + (size_t)(i == 0 ? b : rows[b]) * shape.vocab;
            memcpy(steps + ((size_t)i * BRANCHES + b) * shape.vocab, row,
                   shape.vocab * sizeof *row);
            if (i == 0) {
                rows[b] = decode_add(&d, &paths[b], answer[0]);
            }
            d.rows[rows[b]].token = answer[i];
        }
        if (i == 0) {
            assert_int_equal(decode_prepare(&d, 64 + NEW, &e), OK);
        }
        assert_int_equal(decode_step(&d, &e), OK);
    }
    kv_free(&backend_cpu, &block);
    decode_free(&d);
    for (uint32_t i = 0; i < NEW; i++) {
        for (uint32_t b = 0; b < BRANCHES; b++) {
            full_logits(&o, &tree, b, answer, i, logits);
            assert_near(steps + ((size_t)i * BRANCHES + b) * shape.vocab, logits, 1e-4);
        }
    }
    mem_free(logits);
    mem_free(steps);
    tree_free(&tree);
    close_world(&o);
}

static void generate(struct world *o, const struct unit *units, const struct answer_request *r,
                     uint32_t n, struct engine_answer *answers)
{
    struct errbuf e = {0};
    atomic_bool stop = false;
    bool stopped;
    memset(answers, 0, n * sizeof *answers);
    if (engine_generate(o->slot, units, r, n, o->flat, &stop, &stopped, answers, &e) != OK) {
        fail_msg("%s", e.text);
    }
    assert_false(stopped);
}

static void free_answers(struct engine_answer *answers, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        mem_free(answers[i].tokens);
    }
}

/* MANY requests, single ones and mixes, greedy and drawn, of uneven lengths. */
static void make_requests(struct tree *trees, struct unit *units, struct answer_request *r)
{
    for (uint32_t i = 0; i < MANY; i++) {
        bool mixed = i % 3 == 0;
        make_prompt(&trees[i], mixed ? 2 : 1, mixed ? 1.5f : 1.0f, 1000 + i);
        units[i] = tiny_unit(&trees[i], 1);
        units[i].id = i;
        r[i] = (struct answer_request){.seed = 50 + i,
                                       .temperature = i % 5 == 0 ? 0.0f : 1.5f,
                                       .top_p = i % 2 == 0 ? 1.0f : 0.95f,
                                       .max_new_tokens = 3 + i * 7 % 50,
                                       .n_stops = 1,
                                       .stops = {7}};
    }
}

static void same_alone_and_together(enum engine_precision precision)
{
    struct world o;
    struct tree trees[MANY];
    struct unit units[MANY];
    struct unit backward[MANY];
    struct answer_request r[MANY];
    struct answer_request r_backward[MANY];
    struct engine_answer together[MANY];
    struct engine_answer turned[MANY];
    struct engine_answer alone;
    make_requests(trees, units, r);
    for (uint32_t i = 0; i < MANY; i++) {
        backward[i] = units[MANY - 1 - i];
        r_backward[i] = r[MANY - 1 - i];
    }
    open_world(&o, 1, precision);
    generate(&o, units, r, MANY, together);
    generate(&o, backward, r_backward, MANY, turned);
    for (uint32_t i = 0; i < MANY; i++) {
        generate(&o, &units[i], &r[i], 1, &alone);
        assert_int_equal(alone.n, together[i].n);
        assert_int_equal(alone.end, together[i].end);
        assert_int_equal(turned[MANY - 1 - i].n, together[i].n);
        assert_memory_equal(alone.tokens, together[i].tokens, alone.n * sizeof *alone.tokens);
        assert_memory_equal(turned[MANY - 1 - i].tokens, together[i].tokens,
                            alone.n * sizeof *alone.tokens);
        free_answers(&alone, 1);
    }
    close_world(&o);
    open_world(&o, 3, precision);
    free_answers(turned, MANY);
    generate(&o, units, r, MANY, turned);
    for (uint32_t i = 0; i < MANY; i++) {
        assert_int_equal(turned[i].n, together[i].n);
        assert_memory_equal(turned[i].tokens, together[i].tokens,
                            together[i].n * sizeof *together[i].tokens);
        tree_free(&trees[i]);
    }
    free_answers(turned, MANY);
    free_answers(together, MANY);
    close_world(&o);
}

static void test_answers_do_not_depend_on_company_order_or_threads(void **state)
{
    (void)state;
    same_alone_and_together(ENGINE_FP32);
}

static void test_nor_do_they_in_bf16(void **state)
{
    (void)state;
    if (!bf16_runs_here() || test_level() != KERNELS_V4) {
        skip();
    }
    same_alone_and_together(ENGINE_BF16);
}

/* The logits of a row have the same bits wherever in the batch it stands and whatever else does. */
static void test_a_rows_bits_do_not_depend_on_its_place(void **state)
{
    (void)state;
    struct world o;
    struct decode d;
    struct kv_block blocks[DECODE_ROWS];
    struct tree trees[DECODE_ROWS];
    struct errbuf e = {0};
    float *alone = mem_calloc(shape.vocab, sizeof *alone);
    open_world(&o, 1, ENGINE_FP32);
    for (uint32_t i = 0; i < DECODE_ROWS; i++) {
        make_prompt(&trees[i], 1, 1.0f, 300 + i);
    }
    for (uint32_t place = 0; place < DECODE_ROWS; place++) {
        assert_int_equal(decode_init(&d, &o.slot->pass), OK);
        for (uint32_t i = 0; i <= place; i++) { /* the one that is looked at comes last */
            const struct unit unit = tiny_unit(&trees[i < place ? i + 1 : 0], 1);
            struct decode_path path = {.tokens = 0};
            assert_int_equal(decode_prompt(&d, &unit, o.flat, &blocks[i], &path, &e), OK);
            assert_int_equal(decode_add(&d, &path, i == place ? 3 : 9), i);
        }
        assert_int_equal(decode_prepare(&d, 128, &e), OK);
        assert_int_equal(decode_step(&d, &e), OK);
        const float *row = d.logits + (size_t)place * shape.vocab;
        if (place == 0) {
            memcpy(alone, row, shape.vocab * sizeof *row);
        }
        assert_memory_equal(row, alone, shape.vocab * sizeof *row);
        for (uint32_t i = 0; i <= place; i++) {
            kv_free(&backend_cpu, &blocks[i]);
        }
        decode_free(&d);
    }
    for (uint32_t i = 0; i < DECODE_ROWS; i++) {
        tree_free(&trees[i]);
    }
    mem_free(alone);
    close_world(&o);
}

static void test_a_greedy_mix_follows_the_weighted_logits_of_its_branches(void **state)
{
    (void)state;
    static const float lambdas[] = {-1.0f, 0.0f, 0.25f, 1.0f, 2.5f};
    struct world o;
    float *a = mem_calloc(shape.vocab, sizeof *a);
    float *b = mem_calloc(shape.vocab, sizeof *b);
    open_world(&o, 1, ENGINE_FP32);
    for (size_t i = 0; i < sizeof lambdas / sizeof lambdas[0]; i++) {
        struct tree tree;
        struct engine_answer answer;
        const struct answer_request r = {.top_p = 1.0f, .max_new_tokens = 12};
        make_prompt(&tree, 2, lambdas[i], 77);
        const struct unit unit = tiny_unit(&tree, 1);
        generate(&o, &unit, &r, 1, &answer);
        assert_int_equal(answer.n, 12);
        for (uint32_t k = 0; k < answer.n; k++) {
            double best = -INFINITY;
            uint32_t token = 0;
            full_logits(&o, &tree, 0, answer.tokens, k, a);
            full_logits(&o, &tree, 1, answer.tokens, k, b);
            for (uint32_t t = 0; t < shape.vocab; t++) {
                double z =
                    (double)lambdas[i] * (double)a[t] + (1.0 - (double)lambdas[i]) * (double)b[t];
                token = z > best ? t : token;
                best = z > best ? z : best;
            }
            assert_int_equal(answer.tokens[k], token);
        }
        free_answers(&answer, 1);
        tree_free(&tree);
    }
    mem_free(a);
    mem_free(b);
    close_world(&o);
}

enum { FEW = 6, DRAWS = 20000 };

static void draw_many(const float *weights, uint32_t branches, float temperature, float top_p,
                      const double *expected)
{
    static const float one[FEW] = {1.0f, 0.0f, -1.0f, 2.0f, 0.5f, -3.0f};
    static const float two[FEW] = {0.0f, 2.0f, 1.0f, -1.0f, 0.5f, -2.0f};
    const float *const logits[] = {one, two};
    struct sample_candidate room[FEW];
    uint32_t seen[FEW] = {0};
    for (uint32_t i = 0; i < DRAWS; i++) {
        const struct answer_request r = {
            .seed = i, .temperature = temperature, .top_p = top_p, .max_new_tokens = 1};
        uint32_t token;
        assert_int_equal(sample_next(logits, weights, branches, FEW, &r, i % 7, room, &token), OK);
        seen[token]++;
    }
    for (uint32_t t = 0; t < FEW; t++) {
        double share = (double)seen[t] / DRAWS;
        double sigma = sqrt(expected[t] * (1.0 - expected[t]) / DRAWS);
        if (!(fabs(share - expected[t]) <= 5.0 * sigma + 1e-12)) {
            fail_msg("token %u: %g of the draws, %g expected", t, share, expected[t]);
        }
    }
}

static void softmax(const double *z, double temperature, double *p)
{
    double sum = 0.0;
    for (uint32_t t = 0; t < FEW; t++) {
        p[t] = exp(z[t] / temperature);
        sum += p[t];
    }
    for (uint32_t t = 0; t < FEW; t++) {
        p[t] /= sum;
    }
}

static void test_draws_follow_temperature_mix_and_top_p(void **state)
{
    (void)state;
    const double one[FEW] = {1.0, 0.0, -1.0, 2.0, 0.5, -3.0};
    const double two[FEW] = {0.0, 2.0, 1.0, -1.0, 0.5, -2.0};
    const float single[] = {1.0f};
    const float mix[] = {1.5f, -0.5f};
    double p[FEW];
    double z[FEW];
    softmax(one, 0.8, p);
    draw_many(single, 1, 0.8f, 1.0f, p);
    for (uint32_t t = 0; t < FEW; t++) { /* p(a)^1.5 p(b)^-0.5, normalised */
        z[t] = 1.5 * one[t] - 0.5 * two[t];
    }
    softmax(z, 1.0, p);
    draw_many(mix, 2, 1.0f, 1.0f, p);
    softmax(one, 1.0, p); /* 0.53, 0.19, 0.12, ...: the first two have 0.72, with the third 0.84 */
    double kept = p[3] + p[0] + p[4];
    const double cut[FEW] = {p[0] / kept, 0.0, 0.0, p[3] / kept, p[4] / kept, 0.0};
    assert_true(p[3] + p[0] < 0.8 && kept > 0.8);
    draw_many(single, 1, 1.0f, 0.8f, cut);
}

static void test_stops_end_an_answer_and_are_no_part_of_it(void **state)
{
    (void)state;
    struct world o;
    struct tree tree;
    struct engine_answer whole;
    struct engine_answer ended;
    struct answer_request r = {.top_p = 1.0f, .max_new_tokens = 20};
    open_world(&o, 1, ENGINE_FP32);
    make_prompt(&tree, 1, 1.0f, 5);
    const struct unit unit = tiny_unit(&tree, 1);
    generate(&o, &unit, &r, 1, &whole);
    assert_int_equal(whole.end, ANSWER_FULL);
    for (uint32_t at = 0; at < whole.n; at++) {
        uint32_t first = 0;
        while (whole.tokens[first] != whole.tokens[at]) {
            first++;
        }
        r.n_stops = 1;
        r.stops[0] = whole.tokens[at];
        generate(&o, &unit, &r, 1, &ended);
        assert_int_equal(ended.end, ANSWER_STOPPED);
        assert_int_equal(ended.n, first);
        assert_memory_equal(ended.tokens, whole.tokens, first * sizeof *whole.tokens);
        free_answers(&ended, 1);
    }
    free_answers(&whole, 1);
    tree_free(&tree);
    close_world(&o);
}

static void test_a_stopped_slot_brings_no_answers(void **state)
{
    (void)state;
    struct world o;
    struct tree tree;
    struct errbuf e = {0};
    struct engine_answer answer = {.n = 0};
    const struct answer_request r = {.top_p = 1.0f, .max_new_tokens = 20};
    atomic_bool stop = true;
    bool stopped;
    open_world(&o, 1, ENGINE_FP32);
    make_prompt(&tree, 1, 1.0f, 5);
    const struct unit unit = tiny_unit(&tree, 1);
    assert_int_equal(engine_generate(o.slot, &unit, &r, 1, o.flat, &stop, &stopped, &answer, &e),
                     OK);
    assert_true(stopped);
    free_answers(&answer, 1);
    tree_free(&tree);
    close_world(&o);
}

int main(int argc, char **argv)
{
    (void)argc;
    const int not_here = test_level_prepare(argv);
    if (not_here) {
        return not_here;
    }
    print_message("seed %d\n", SEED);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logits_of_every_step_equal_those_of_the_full_pass),
        cmocka_unit_test(test_answers_do_not_depend_on_company_order_or_threads),
        cmocka_unit_test(test_nor_do_they_in_bf16),
        cmocka_unit_test(test_a_rows_bits_do_not_depend_on_its_place),
        cmocka_unit_test(test_a_greedy_mix_follows_the_weighted_logits_of_its_branches),
        cmocka_unit_test(test_draws_follow_temperature_mix_and_top_p),
        cmocka_unit_test(test_stops_end_an_answer_and_are_no_part_of_it),
        cmocka_unit_test(test_a_stopped_slot_brings_no_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
