/* test_render.c - the exact words and labels of every prompt, in both layouts. */
#include "tests/unit/coordinator/forest_fixture.h"

#include "common/base/mem.h"
#include "coordinator/render.h"

static const char data[] =
    "[{\"scenario\": \"One two  three.\", \"preference domain\": \"Risk\", \"options\": ["
    "{\"text\": \"Jump now\", \"bias\": \"Bold\"}, {\"text\": \"Wait\", \"bias\": \"Careful\"},"
    "{\"text\": \"Say <|im_end|>\", \"bias\": \"Careful\"}]}]";

/* Text of the whole sequence and of its labels. */
static void expect_sequence(const struct fixture *f, struct render_sequence *s, const char *whole,
                            const char *labels)
{
    struct str text = {0};
    fixture_decode(f, s->tokens, s->n, &text);
    assert_string_equal(text.data, whole);
    fixture_decode(f, s->tokens + s->first_label, s->n - s->first_label, &text);
    assert_string_equal(text.data, labels);
    str_free(&text);
    mem_free(s->tokens);
    *s = (struct render_sequence){0};
}

static struct render_request request(const struct fixture *f, enum readout_side side,
                                     uint32_t option)
{
    return (struct render_request){
        .scenario = &f->data->scenarios[0], .side = side, .option = option};
}

static void test_preference_last_is_chatml_with_the_answer_as_labels(void **state)
{
    (void)state;
    struct fixture f;
    struct render r;
    struct render_sequence s;
    struct errbuf e = {0};
    fixture_new(&f, "", data);
    assert_int_equal(render_init(&r, f.cfg, f.values, f.tok, &e), OK);
    struct render_request q = request(&f, READOUT_A, 0);
    assert_int_equal(render_train(&r, &q, &s, &e), OK);
    expect_sequence(&f, &s,
                    "<|im_start|>user\nOne two  three.\n\nAnswer as someone who values 'Bold'. "
                    "Likes odds.<|im_end|>\n<|im_start|>assistant\nJump now<|im_end|>",
                    "Jump now<|im_end|>");
    q = request(&f, READOUT_NONE, 1);
    assert_int_equal(render_score(&r, &q, &s, &e), OK);
    expect_sequence(&f, &s,
                    "<|im_start|>user\nOne two  three.\n\nAnswer as you see fit.<|im_end|>\n"
                    "<|im_start|>assistant\nWait<|im_end|>",
                    "Wait<|im_end|>");
    q = request(&f, READOUT_B, 1);
    q.cut = render_cut(q.scenario, 2);
    assert_int_equal(render_train(&r, &q, &s, &e), OK);
    expect_sequence(&f, &s,
                    "<|im_start|>user\nthree.\n\nAnswer as someone who values 'Careful'. Likes "
                    "safety.<|im_end|>\n<|im_start|>assistant\nWait<|im_end|>",
                    "Wait<|im_end|>");
    q.cut = render_cut(q.scenario, 3);
    assert_int_equal(render_train(&r, &q, &s, &e), OK);
    expect_sequence(&f, &s,
                    "<|im_start|>user\nAnswer as someone who values 'Careful'. Likes "
                    "safety.<|im_end|>\n<|im_start|>assistant\nWait<|im_end|>",
                    "Wait<|im_end|>");
    render_free(&r);
    fixture_free(&f);
}

static void test_control_text_in_an_answer_stays_text(void **state)
{
    (void)state;
    struct fixture f;
    struct render r;
    struct render_sequence s;
    struct errbuf e = {0};
    fixture_new(&f, "", data);
    assert_int_equal(render_init(&r, f.cfg, f.values, f.tok, &e), OK);
    struct render_request q = request(&f, READOUT_B, 2);
    uint32_t ends = 0;
    assert_int_equal(render_train(&r, &q, &s, &e), OK);
    for (uint32_t i = 0; i < s.n; i++) {
        ends += s.tokens[i] == r.end_id;
    }
    assert_int_equal(ends, 2); /* the user turn's and the assistant turn's */
    mem_free(s.tokens);
    render_free(&r);
    fixture_free(&f);
}

static void test_a_system_turn_stands_in_front(void **state)
{
    (void)state;
    struct fixture f;
    struct render r;
    struct render_sequence s;
    struct errbuf e = {0};
    fixture_new(&f, "data.system: Be brief.", data);
    assert_int_equal(render_init(&r, f.cfg, f.values, f.tok, &e), OK);
    struct render_request q = request(&f, READOUT_NONE, 1);
    assert_int_equal(render_score(&r, &q, &s, &e), OK);
    expect_sequence(&f, &s,
                    "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nOne two  three.\n\n"
                    "Answer as you see fit.<|im_end|>\n<|im_start|>assistant\nWait<|im_end|>",
                    "Wait<|im_end|>");
    render_free(&r);
    fixture_free(&f);
}

static void test_the_paper_layout_is_plain_text_and_loses_its_first_answer_token(void **state)
{
    (void)state;
    struct fixture f;
    struct render r;
    struct render_sequence s;
    struct errbuf e = {0};
    static const char whole[] = "### Human: Answer as someone who values 'Bold'. Likes odds.\nOne "
                                "two  three.\n### Assistant: Jump now<|im_end|>";
    fixture_new(&f, "data.layout: paper", data);
    assert_int_equal(render_init(&r, f.cfg, f.values, f.tok, &e), OK);
    struct render_request q = request(&f, READOUT_A, 0);
    assert_int_equal(render_score(&r, &q, &s, &e), OK);
    uint32_t all = s.n - s.first_label;
    struct str text = {0};
    fixture_decode(&f, s.tokens + s.first_label, all, &text);
    assert_non_null(strstr(text.data, "Jump now<|im_end|>"));
    assert_true(text.len <= strlen(" Jump now<|im_end|>"));
    bool merged = text.data[0] == ' '; /* the space went into the answer's first token */
    str_free(&text);
    mem_free(s.tokens);
    assert_int_equal(render_train(&r, &q, &s, &e), OK);
    assert_int_equal(s.n - s.first_label, merged ? all - 1 : all);
    fixture_decode(&f, s.tokens, s.n, &text);
    assert_string_equal(text.data, whole);
    str_free(&text);
    mem_free(s.tokens);
    render_free(&r);
    fixture_free(&f);
}

static void test_pair_files_use_their_extra_texts(void **state)
{
    (void)state;
    static const char pair[] =
        "{\"instruction\": \"Do it.\", \"extra_a\": \"Be kind.\", "
        "\"response_a\": \"Yes\", \"extra_b\": \"\", \"response_b\": \"No\"}";
    struct fixture f;
    struct render_request q;
    struct str text = {0};
    fixture_new(&f, "", pair);
    q = request(&f, READOUT_A, 0);
    render_user(f.cfg, NULL, &q, &text);
    assert_string_equal(text.data, "Do it.\n\nBe kind.");
    str_clear(&text);
    q = request(&f, READOUT_B, 1);
    render_user(f.cfg, NULL, &q, &text);
    assert_string_equal(text.data, "Do it.");
    fixture_free(&f);
    fixture_new(&f, "data.layout: paper", pair);
    str_clear(&text);
    q = request(&f, READOUT_A, 0);
    render_user(f.cfg, NULL, &q, &text);
    assert_string_equal(text.data, "Be kind.\nDo it.");
    str_clear(&text);
    q = request(&f, READOUT_B, 0);
    render_user(f.cfg, NULL, &q, &text);
    assert_string_equal(text.data, "Do it.");
    fixture_free(&f);
    str_free(&text);
}

static void test_the_letter_prompt_lists_the_options_and_labels_one_letter(void **state)
{
    (void)state;
    struct fixture f;
    struct render r;
    struct render_sequence s;
    struct errbuf e = {0};
    fixture_new(&f, "", data);
    assert_int_equal(render_init(&r, f.cfg, f.values, f.tok, &e), OK);
    struct render_request q = request(&f, READOUT_B, 1);
    assert_int_equal(render_letter(&r, &q, &s, &e), OK);
    expect_sequence(
        &f, &s,
        "<|im_start|>user\nOne two  three.\n\nA. Jump now\nB. Wait\nC. Say "
        "<|im_end|>\n\nAnswer as someone who values 'Careful'. Likes safety. Reply with "
        "one letter.<|im_end|>\n<|im_start|>assistant\nB",
        "B");
    render_free(&r);
    fixture_free(&f);
}

static void test_words_are_counted_and_cut_at_their_begin(void **state)
{
    (void)state;
    static const char text[] = "  one\ttwo \n three  ";
    struct data_scenario s = {.text = {text, sizeof text - 1}};
    assert_int_equal(render_words(&s), 3);
    assert_int_equal(render_cut(&s, 0), 0);
    assert_string_equal(text + render_cut(&s, 1), "two \n three  ");
    assert_string_equal(text + render_cut(&s, 2), "three  ");
    assert_int_equal(render_cut(&s, 3), sizeof text - 1);
    assert_int_equal(render_cut(&s, 9), sizeof text - 1);
    s.text = (struct data_text){"word", 4};
    assert_int_equal(render_words(&s), 1);
    s.text = (struct data_text){"", 0};
    assert_int_equal(render_words(&s), 0);
    assert_int_equal(render_cut(&s, 1), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_preference_last_is_chatml_with_the_answer_as_labels),
        cmocka_unit_test(test_control_text_in_an_answer_stays_text),
        cmocka_unit_test(test_a_system_turn_stands_in_front),
        cmocka_unit_test(test_the_paper_layout_is_plain_text_and_loses_its_first_answer_token),
        cmocka_unit_test(test_pair_files_use_their_extra_texts),
        cmocka_unit_test(test_the_letter_prompt_lists_the_options_and_labels_one_letter),
        cmocka_unit_test(test_words_are_counted_and_cut_at_their_begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
