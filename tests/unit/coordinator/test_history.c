/* test_history.c - the choices of a simulated user, and the chat that shows them. */
#include "tests/unit/coordinator/eval_fixture.h"

#include "common/base/mem.h"
#include "common/base/str.h"
#include "coordinator/history.h"
#include "coordinator/trie.h"

#define OPTION(text, bias) "{\"text\":\"" text "\",\"bias\":\"" bias "\"}"

static struct world world;
static struct dataset *data;

/* 40 scenarios of one axis, three options each: two of Fast, one of Slow; every tenth one-sided. */
static int set_up(void **state)
{
    (void)state;
    struct str text = {0};
    world = world_open();
    for (int i = 0; i < 40; i++) {
        str_addf(&text,
                 "{\"scenario\":\"Case %d.\",\"preference domain\":\"Pace\",\"options\":["
                 "{\"text\":\"One %d\",\"bias\":\"Fast\"},{\"text\":\"Two %d\",\"bias\":\"Fast\"},"
                 "{\"text\":\"Three %d\",\"bias\":\"%s\"}]}\n",
                 i, i, i, i, i % 10 == 9 ? "Fast" : "Slow");
    }
    data = world_data(&world, "h.jsonl", text.data);
    str_free(&text);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    dataset_free(&data);
    world_close(&world);
    return 0;
}

static void test_choices_carry_the_pole_are_other_scenarios_and_never_twice(void **state)
{
    (void)state;
    struct history_choice c[35];
    struct errbuf e = {0};
    for (uint32_t side = 0; side < 2; side++) {
        bool seen[40] = {false};
        assert_int_equal(history_draw(data, 3, side, 0, 35, c, &e), OK);
        for (int i = 0; i < 35; i++) {
            const struct data_scenario *s = &data->scenarios[c[i].scenario];
            assert_int_equal(s->options[c[i].option].side, side);
            assert_int_not_equal(c[i].scenario, 3);
            assert_int_not_equal(c[i].scenario % 10, 9); /* offers one pole alone */
            assert_false(seen[c[i].scenario]);
            seen[c[i].scenario] = true;
        }
    }
    assert_int_equal(history_draw(data, 3, 0, 0, 36, c, &e), ERR_REFUSED);
    assert_non_null(strstr(e.text, "h.jsonl:4:1: a history of 36 choices"));
}

static void test_users_of_both_poles_see_the_same_scenarios_and_longer_histories_go_on(void **state)
{
    (void)state;
    struct history_choice fast[10];
    struct history_choice slow[10];
    struct history_choice other[10];
    struct history_choice few[3];
    struct errbuf e = {0};
    assert_int_equal(history_draw(data, 0, 0, 7, 10, fast, &e), OK);
    assert_int_equal(history_draw(data, 0, 1, 7, 10, slow, &e), OK);
    assert_int_equal(history_draw(data, 0, 0, 8, 10, other, &e), OK);
    assert_int_equal(history_draw(data, 0, 0, 7, 3, few, &e), OK);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(fast[i].scenario, slow[i].scenario);
    }
    assert_memory_equal(few, fast, sizeof few);
    assert_memory_not_equal(fast, other, sizeof fast);
}

static void test_a_pole_s_options_are_picked_evenly(void **state)
{
    (void)state;
    struct history_choice c[30];
    struct errbuf e = {0};
    uint32_t first = 0;
    uint32_t n = 0;
    for (uint64_t seed = 0; seed < 20; seed++) {
        assert_int_equal(history_draw(data, 0, 0, seed, 30, c, &e), OK);
        for (int i = 0; i < 30; i++, n++) {
            first += c[i].option == 0;
        }
    }
    print_message("%u of %u choices are the first option\n", first, n);
    assert_in_range(first, 250, 350); /* 300 expected, 4 standard deviations are 49 */
}

static struct render_sequence sequence(struct render *r, const struct history_choice *c, uint32_t n,
                                       uint32_t question, bool letter)
{
    struct render_sequence s = {0};
    struct errbuf e = {0};
    enum err error = history_render(r, data, c, n, question, 1, letter, &s, &e);
    assert_string_equal(e.text, "");
    assert_int_equal(error, OK);
    return s;
}

/* The tokens of a chat as the chat module writes it are what is rendered. */
static void expect_chat(const struct render_sequence *s, const struct chat_turn *turns, size_t n,
                        uint32_t without_last)
{
    struct token_list list = {0};
    struct errbuf e = {0};
    assert_int_equal(chat_encode(world.tok, turns, n, false, true, &list, &e), OK);
    assert_int_equal(s->n, list.count - without_last);
    for (uint32_t i = 0; i < s->n; i++) {
        assert_int_equal(s->tokens[i], list.items[i].id);
    }
    token_list_free(&list);
}

#define TURN(role, text)                                                                           \
    {                                                                                              \
        role, text, sizeof(text) - 1                                                               \
    }

static void test_a_history_is_a_chat_of_earlier_scenarios_and_choices(void **state)
{
    (void)state;
    struct render r;
    struct errbuf e = {0};
    assert_int_equal(render_init(&r, world.cfg, world.values, world.tok, &e), OK);
    const struct history_choice c[] = {{5, 2}, {7, 0}};
    const struct chat_turn words[] = {
        TURN("user", "Case 5.\n\nAnswer as you see fit."), TURN("assistant", "Three 5"),
        TURN("user", "Case 7.\n\nAnswer as you see fit."), TURN("assistant", "One 7"),
        TURN("user", "Case 2.\n\nAnswer as you see fit."), TURN("assistant", "Two 2")};
    struct render_sequence s = sequence(&r, c, 2, 2, false);
    expect_chat(&s, words, 6, 0);
    struct render_sequence none = sequence(&r, NULL, 0, 2, false);
    expect_chat(&none, words + 4, 2, 0);
    assert_int_equal(s.n - s.first_label, none.n - none.first_label);
    const struct chat_turn letters[] = {
        TURN("user",
             "Case 7.\n\nA. One 7\nB. Two 7\nC. Three 7\n\nAnswer as you see fit. Reply with one "
             "letter."),
        TURN("assistant", "A"),
        TURN("user",
             "Case 2.\n\nA. One 2\nB. Two 2\nC. Three 2\n\nAnswer as you see fit. Reply with one "
             "letter."),
        TURN("assistant", "B")};
    struct render_sequence letter = sequence(&r, c + 1, 1, 2, true);
    expect_chat(&letter, letters, 4, 1); /* the end of the turn is not asked about */
    assert_int_equal(letter.first_label, letter.n - 1);
    mem_free(s.tokens);
    mem_free(none.tokens);
    mem_free(letter.tokens);
    render_free(&r);
}

static void test_what_does_not_fit_is_refused_with_the_length(void **state)
{
    (void)state;
    struct render r;
    struct render_sequence s = {0};
    struct errbuf e = {0};
    const struct history_choice c[] = {{5, 2}};
    assert_int_equal(render_init(&r, world.cfg, world.values, world.tok, &e), OK);
    world.cfg->data_max_length = 20;
    assert_int_equal(history_render(&r, data, c, 1, 2, 1, false, &s, &e), ERR_REFUSED);
    assert_non_null(strstr(e.text, "h.jsonl:3:1: with 1 earlier choices the prompt takes "));
    assert_null(s.tokens);
    world.cfg->data_max_length = 1024;
    world.cfg->data_layout = LAYOUT_PAPER;
    assert_int_equal(history_render(&r, data, c, 1, 2, 1, false, &s, &e), ERR_REFUSED);
    assert_non_null(strstr(e.text, "data.layout: paper has none"));
    world.cfg->data_layout = LAYOUT_PREFERENCE_LAST;
    render_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_choices_carry_the_pole_are_other_scenarios_and_never_twice),
        cmocka_unit_test(
            test_users_of_both_poles_see_the_same_scenarios_and_longer_histories_go_on),
        cmocka_unit_test(test_a_pole_s_options_are_picked_evenly),
        cmocka_unit_test(test_a_history_is_a_chat_of_earlier_scenarios_and_choices),
        cmocka_unit_test(test_what_does_not_fit_is_refused_with_the_length),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
