/* test_anchor.c - which texts a step takes, their weights, their units, what is refused. */
#include "tests/unit/coordinator/forest_fixture.h"

#include <math.h>

#include "common/base/limits.h"
#include "common/base/mem.h"
#include "coordinator/anchor.h"
#include "coordinator/batch.h"
#include "tests/support/temp_folder.h"

#define TEXT(i, r) "{\"instruction\": \"" i "\", \"response\": \"" r "\"}"

enum { TEXTS = 5, STEP_TEXTS = 2 };

static const char texts[] = "[" TEXT("A", "It is one") "," TEXT("The old bridge", "Wait") "," TEXT(
    "Leave it", "Toss it up") "," TEXT("A coin lies there in the wind",
                                       "So be it") "," TEXT("Turn back", "Home") "]";
static const char pair[] = "[{\"scenario\": \"A coin lies there.\", \"preference domain\": "
                           "\"Risk\", \"options\": [{\"text\": \"Toss\", \"bias\": \"Bold\"}, "
                           "{\"text\": \"Leave it\", \"bias\": \"Careful\"}]}]";

struct case_of {
    struct temp_folder folder;
    struct fixture f;
    struct anchor *anchor;
    struct errbuf e;
};

/* The outcome of anchor_new for a file with this content. */
static enum err open_case(struct case_of *c, const char *config, const char *content)
{
    memset(c, 0, sizeof *c);
    temp_folder_make(&c->folder);
    const char *path = temp_folder_write(&c->folder, "anchor.json", content, strlen(content));
    fixture_new(&c->f, config, pair);
    mem_free(c->f.cfg->anchor_data);
    c->f.cfg->anchor_data = mem_calloc(1, strlen(path) + 1);
    assert_non_null(c->f.cfg->anchor_data);
    memcpy(c->f.cfg->anchor_data, path, strlen(path));
    return anchor_new(c->f.cfg, c->f.values, c->f.tok, &c->anchor, &c->e);
}

static void close_case(struct case_of *c)
{
    anchor_free(&c->anchor);
    fixture_free(&c->f);
    temp_folder_clear(c->folder.path);
}

static void build(struct case_of *c, uint64_t step, struct forest_trees out[STEP_TEXTS])
{
    memset(out, 0, STEP_TEXTS * sizeof *out);
    if (anchor_build(c->anchor, step, out, &c->e) != OK) {
        fail_msg("%s", c->e.text);
    }
}

static void drop(struct forest_trees trees[STEP_TEXTS])
{
    for (uint32_t i = 0; i < STEP_TEXTS; i++) {
        forest_trees_free(&trees[i]);
    }
}

static void test_every_shuffle_takes_every_text_once(void **state)
{
    (void)state;
    struct case_of c;
    uint32_t seen[TEXTS] = {0};
    assert_int_equal(open_case(&c, "anchor.texts: 2", texts), OK);
    for (uint64_t step = 0; step < 3ull * TEXTS; step++) {
        struct forest_trees trees[STEP_TEXTS];
        build(&c, step, trees);
        for (uint32_t i = 0; i < STEP_TEXTS; i++) {
            assert_int_equal(trees[i].n, 1);
            seen[trees[i].items->tree.id & 0xFFFFFFFFu]++;
            assert_true(trees[i].items->tree.id >> 32 == 1);
            if ((step * STEP_TEXTS + i + 1) % TEXTS == 0) {
                for (uint32_t t = 0; t < TEXTS; t++) {
                    assert_int_equal(seen[t], (step * STEP_TEXTS + i + 1) / TEXTS);
                }
            }
        }
        drop(trees);
    }
    close_case(&c);
}

static void test_a_step_does_not_depend_on_those_before(void **state)
{
    (void)state;
    struct case_of c;
    struct case_of other;
    assert_int_equal(open_case(&c, "anchor.texts: 2", texts), OK);
    assert_int_equal(open_case(&other, "anchor.texts: 2", texts), OK);
    for (uint64_t step = 0; step < 12; step++) {
        struct forest_trees a[STEP_TEXTS];
        struct forest_trees b[STEP_TEXTS];
        build(&c, step, a);
        build(&other, 11 - step, b);
        drop(b);
        build(&other, step, b);
        for (uint32_t i = 0; i < STEP_TEXTS; i++) {
            const struct tree *x = &a[i].items->tree;
            const struct tree *y = &b[i].items->tree;
            assert_int_equal(x->id, y->id);
            assert_int_equal(x->n_labels, y->n_labels);
            assert_memory_equal(x->labels, y->labels, x->n_labels * sizeof *x->labels);
        }
        drop(a);
        drop(b);
    }
    close_case(&c);
    close_case(&other);
}

static void test_labels_of_a_step_weigh_the_same_and_the_weight_together(void **state)
{
    (void)state;
    struct case_of c;
    assert_int_equal(open_case(&c, "anchor: {texts: 2, weight: 3}", texts), OK);
    for (uint64_t step = 0; step < TEXTS; step++) {
        struct forest_trees trees[STEP_TEXTS];
        double sum = 0.0;
        build(&c, step, trees);
        for (uint32_t i = 0; i < STEP_TEXTS; i++) {
            const struct tree *t = &trees[i].items->tree;
            for (uint32_t l = 0; l < t->n_labels; l++) {
                assert_true(t->labels[l].weight == trees[0].items->tree.labels[0].weight);
                sum += (double)t->labels[l].weight;
            }
        }
        assert_true(fabs(sum - 3.0) <= 1e-5);
        drop(trees);
    }
    close_case(&c);
}

/* The units of a step: groups first, none that holds both. */
static void test_anchors_are_units_of_their_own_behind_the_groups(void **state)
{
    (void)state;
    struct case_of c;
    struct batch b;
    assert_int_equal(open_case(&c, "anchor.texts: 2\ntrain: {max_steps: 9}", texts), OK);
    const struct plan_config plan = {.max_steps = 9, .batch_groups = 8, .unit_tokens = 512};
    const struct plan_group group = {.rows = 10, .pairs = 1};
    struct setup s = {.cfg = c.f.cfg, .anchor = c.anchor};
    assert_int_equal(forest_new(c.f.cfg, c.f.values, c.f.data, c.f.tok, &s.forest, &c.e), OK);
    assert_int_equal(plan_new(&plan, &group, 1, &s.plan, &c.e), OK);
    for (uint64_t step = 0; step < 9; step++) {
        uint64_t tokens = 0;
        assert_int_equal(batch_train(&s, step, &b, &c.e), OK);
        assert_int_equal(b.n_units, 2);
        assert_int_equal(b.first_anchor, 1);
        assert_true(!b.units[0].anchor && b.units[1].anchor);
        assert_int_equal(b.units[0].n_trees, 1);
        assert_int_equal(b.units[1].n_trees, 2);
        assert_true(b.units[1].n_rows <= anchor_unit_rows(c.anchor));
        for (uint32_t i = 0; i < b.n_units; i++) {
            tokens += b.units[i].n_rows;
        }
        assert_int_equal(b.tokens, tokens);
        uint32_t n_groups;
        assert_true(b.pairs > 0 && b.pairs == forest_groups(s.forest, &n_groups)[0].pairs);
        assert_true(b.labels > 0 && b.kind == JOB_GRADIENT && b.tag == step);
        batch_free(&b);
        assert_true(!b.units && !b.owned && !b.trees && !b.ids && !b.rows);
    }
    enum err error = ERR_NOMEM;
    for (unsigned long n = 1; error != OK; n++) {
        mem_fail_after(n);
        error = batch_train(&s, 3, &b, &c.e);
        mem_fail_after(0);
        assert_true(error == OK || error == ERR_NOMEM);
        assert_true(n < 300 && (error == OK) == (b.units != NULL));
        assert_true(error == OK || (!b.owned && !b.trees && !b.ids && !b.rows));
        assert_true(error == OK || n == 1 || strncmp(c.e.text, "step 3", 6) == 0);
        batch_free(&b);
    }
    assert_int_equal(setup_useful_slots(&s), 2);
    s.anchor = NULL;
    assert_int_equal(batch_train(&s, 0, &b, &c.e), OK);
    assert_int_equal(b.n_units, 1);
    assert_int_equal(b.first_anchor, 1);
    batch_free(&b);
    plan_free(&s.plan);
    forest_free(&s.forest);
    close_case(&c);
}

static void expect_refused(const char *config, const char *content, const char *word)
{
    struct case_of c;
    assert_int_equal(open_case(&c, config, content), ERR_REFUSED);
    if (!strstr(c.e.text, word)) {
        fail_msg("'%s' is not in: %s", word, c.e.text);
    }
    assert_null(c.anchor);
    close_case(&c);
}

static void test_what_cannot_anchor_is_refused_with_the_mend(void **state)
{
    (void)state;
    expect_refused("", pair, "'sft' and 'questions' files are what it takes");
    expect_refused("anchor.texts: 6", texts, "has 5 texts: lower it or add texts");
    expect_refused("data.max_length: 16", texts, "data.max_length is 16: raise it or shorten");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_shuffle_takes_every_text_once),
        cmocka_unit_test(test_a_step_does_not_depend_on_those_before),
        cmocka_unit_test(test_labels_of_a_step_weigh_the_same_and_the_weight_together),
        cmocka_unit_test(test_anchors_are_units_of_their_own_behind_the_groups),
        cmocka_unit_test(test_what_cannot_anchor_is_refused_with_the_mend),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
