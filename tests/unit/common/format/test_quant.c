/* test_quant.c - block conversions against values worked out by hand, and halves exhaustively. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "common/format/quant.h"

/* Bits, not values: -0 and NaN count. */
static void assert_bits(float got, float wanted)
{
    uint32_t a;
    uint32_t b;
    memcpy(&a, &got, sizeof a);
    memcpy(&b, &wanted, sizeof b);
    assert_int_equal(a, b);
}

static void test_every_half_becomes_its_exact_value(void **state)
{
    (void)state;
    for (uint32_t half = 0; half < 0x10000; half++) {
        const uint8_t bytes[2] = {(uint8_t)half, (uint8_t)(half >> 8)};
        int exponent = (int)(half >> 10 & 31);
        int mantissa = (int)(half & 1023);
        float sign = half & 0x8000 ? -1.0f : 1.0f;
        float got;
        quant_to_f32(QUANT_F16, bytes, 1, &got);
        if (exponent == 31 && mantissa != 0) {
            assert_true(isnan(got));
        } else if (exponent == 31) {
            assert_bits(got, sign * INFINITY);
        } else if (exponent == 0) {
            assert_bits(got, sign * ldexpf((float)mantissa, -24));
        } else {
            assert_bits(got, sign * ldexpf((float)(1024 + mantissa), exponent - 25));
        }
    }
}

static void test_bf16_is_the_high_half_of_fp32(void **state)
{
    (void)state;
    const uint8_t bytes[] = {0x80, 0x3F, 0x40, 0xC0, 0x80, 0x7F, 0x01, 0x00};
    float out[4];
    quant_to_f32(QUANT_BF16, bytes, 4, out);
    assert_bits(out[0], 1.0f);
    assert_bits(out[1], -3.0f);
    assert_bits(out[2], INFINITY);
    assert_bits(out[3], 0x1p-133f); /* subnormal */
}

static void test_fp32_at_an_odd_address_is_copied(void **state)
{
    (void)state;
    uint8_t bytes[9];
    const float values[2] = {0.1f, -7.5f};
    float out[2];
    memcpy(bytes + 1, values, sizeof values);
    quant_to_f32(QUANT_F32, bytes + 1, 2, out);
    assert_memory_equal(out, values, sizeof values);
}

static void test_q8_0_is_scale_times_signed_byte(void **state)
{
    (void)state;
    uint8_t block[34] = {0x00, 0x38}; /* d = 0.5 */
    float out[32];
    for (int i = 0; i < 32; i++) {
        block[2 + i] = (uint8_t)(i * 8 - 128);
    }
    quant_to_f32(QUANT_Q8_0, block, 32, out);
    for (int i = 0; i < 32; i++) {
        assert_bits(out[i], 0.5f * (float)(i * 8 - 128));
    }
}

static void test_q4_0_holds_element_j_low_and_j_plus_16_high(void **state)
{
    (void)state;
    uint8_t block[18] = {0x00, 0xB4}; /* d = -0.25 */
    float out[32];
    for (int j = 0; j < 16; j++) {
        block[2 + j] = (uint8_t)(j | (15 - j) << 4);
    }
    quant_to_f32(QUANT_Q4_0, block, 32, out);
    for (int j = 0; j < 16; j++) {
        assert_bits(out[j], -0.25f * (float)(j - 8));
        assert_bits(out[16 + j], -0.25f * (float)(15 - j - 8));
    }
    assert_bits(out[8], -0.0f); /* d * 0 keeps the sign of d */
}

static void test_q4_1_rounds_after_the_product_and_after_the_sum(void **state)
{
    (void)state;
    uint8_t blocks[40] = {0x01, 0x3C, 0x01, 0x0C}; /* d = 1 + 2^-10, m = 2^-12 + 2^-22 */
    const float d = 1.0f + 0x1p-10f;
    const float m = 0x1p-12f + 0x1p-22f;
    float out[64];
    for (int j = 0; j < 16; j++) {
        blocks[4 + j] = (uint8_t)(j | (15 - j) << 4);
    }
    memcpy(blocks + 20, blocks, 20);
    quant_to_f32(QUANT_Q4_1, blocks, 64, out);
    for (int j = 0; j < 16; j++) {
        volatile float low = d * (float)j;
        volatile float high = d * (float)(15 - j);
        assert_bits(out[j], low + m);
        assert_bits(out[16 + j], high + m);
        assert_bits(out[32 + j], low + m);
        assert_bits(out[48 + j], high + m);
    }
}

static void test_sizes_and_names_are_those_of_the_format(void **state)
{
    (void)state;
    static const struct {
        enum quant_type type;
        const char *name;
        size_t elements, bytes;
    } rows[] = {{QUANT_F32, "F32", 1, 4},     {QUANT_F16, "F16", 1, 2},
                {QUANT_BF16, "BF16", 1, 2},   {QUANT_Q8_0, "Q8_0", 32, 34},
                {QUANT_Q4_0, "Q4_0", 32, 18}, {QUANT_Q4_1, "Q4_1", 32, 20}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_string_equal(quant_name(rows[i].type), rows[i].name);
        assert_int_equal(quant_block_elements(rows[i].type), rows[i].elements);
        assert_int_equal(quant_block_bytes(rows[i].type), rows[i].bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_half_becomes_its_exact_value),
        cmocka_unit_test(test_bf16_is_the_high_half_of_fp32),
        cmocka_unit_test(test_fp32_at_an_odd_address_is_copied),
        cmocka_unit_test(test_q8_0_is_scale_times_signed_byte),
        cmocka_unit_test(test_q4_0_holds_element_j_low_and_j_plus_16_high),
        cmocka_unit_test(test_q4_1_rounds_after_the_product_and_after_the_sum),
        cmocka_unit_test(test_sizes_and_names_are_those_of_the_format),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
