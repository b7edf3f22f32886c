/* gguf_build.h - GGUF files for tests, built in a string: single records, a file with every type of
 * value, and a whole tiny Llama with a fault of choice. */
#ifndef PFT_GGUF_BUILD_H
#define PFT_GGUF_BUILD_H

#include <stdio.h>
#include <string.h>

#include "common/base/bytes.h"
#include "common/base/str.h"
#include "common/format/gguf.h"
#include "common/format/quant.h"

static inline void gguf_build_u32(struct str *s, uint32_t value)
{
    char bytes[4];
    bytes_put_u32(bytes, value);
    str_append(s, bytes, sizeof bytes);
}

static inline void gguf_build_u64(struct str *s, uint64_t value)
{
    char bytes[8];
    bytes_put_u64(bytes, value);
    str_append(s, bytes, sizeof bytes);
}

static inline void gguf_build_f32(struct str *s, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    gguf_build_u32(s, bits);
}

static inline void gguf_build_string(struct str *s, const char *text)
{
    gguf_build_u64(s, strlen(text));
    str_add(s, text);
}

static inline void gguf_build_header(struct str *s, uint32_t version, uint64_t n_tensors,
                                     uint64_t n_keys)
{
    str_add(s, "GGUF");
    gguf_build_u32(s, version);
    gguf_build_u64(s, n_tensors);
    gguf_build_u64(s, n_keys);
}

/* Name and type; the value follows. */
static inline void gguf_build_key(struct str *s, const char *name, uint32_t type)
{
    gguf_build_string(s, name);
    gguf_build_u32(s, type);
}

static inline void gguf_build_array(struct str *s, const char *name, uint32_t type, uint64_t count)
{
    gguf_build_key(s, name, GGUF_ARRAY);
    gguf_build_u32(s, type);
    gguf_build_u64(s, count);
}

static inline void gguf_build_tensor(struct str *s, const char *name, uint32_t n_dims,
                                     const uint64_t *dims, uint32_t ggml_type, uint64_t offset)
{
    gguf_build_string(s, name);
    gguf_build_u32(s, n_dims);
    for (uint32_t i = 0; i < n_dims; i++) {
        gguf_build_u64(s, dims[i]);
    }
    gguf_build_u32(s, ggml_type);
    gguf_build_u64(s, offset);
}

static inline void gguf_build_pad(struct str *s, size_t alignment)
{
    while (s->len % alignment != 0 && str_ok(s) == OK) {
        str_append(s, "", 1);
    }
}

/* A key of every type, arrays of strings, integers, numbers and bools; one tensor. */
enum { GGUF_BUILD_EVERY_KEYS = 17 };
static inline void gguf_build_every_type(struct str *s)
{
    static const char ones[8] = {'\xff', '\xff', '\xff', '\xff', '\xff', '\xff', '\xff', '\xff'};
    static const struct {
        const char *name;
        uint32_t type, bytes;
    } integers[] = {{"u8", GGUF_U8, 1},   {"i8", GGUF_I8, 1},   {"u16", GGUF_U16, 2},
                    {"i16", GGUF_I16, 2}, {"u32", GGUF_U32, 4}, {"i32", GGUF_I32, 4},
                    {"u64", GGUF_U64, 8}, {"i64", GGUF_I64, 8}};
    const uint64_t dims[] = {32, 2};
    gguf_build_header(s, 3, 1, GGUF_BUILD_EVERY_KEYS);
    for (size_t i = 0; i < sizeof integers / sizeof integers[0]; i++) {
        gguf_build_key(s, integers[i].name, integers[i].type);
        str_append(s, ones, integers[i].bytes);
    }
    gguf_build_key(s, "f32", GGUF_F32);
    gguf_build_f32(s, 1.5f);
    gguf_build_key(s, "f64", GGUF_F64);
    gguf_build_u64(s, 0x4004000000000000u); /* 2.5 */
    gguf_build_key(s, "bool", GGUF_BOOL);
    str_append(s, "\x01", 1);
    gguf_build_key(s, "string", GGUF_STRING);
    gguf_build_string(s, "text");
    gguf_build_array(s, "strings", GGUF_STRING, 3);
    gguf_build_string(s, "a");
    gguf_build_string(s, "");
    gguf_build_string(s, "ccc");
    gguf_build_array(s, "i16s", GGUF_I16, 2);
    str_append(s, "\x07\x00\xfe\xff", 4);
    gguf_build_array(s, "f32s", GGUF_F32, 2);
    gguf_build_f32(s, 0.25f);
    gguf_build_f32(s, -8.0f);
    gguf_build_array(s, "bools", GGUF_BOOL, 2);
    str_append(s, "\x01\x00", 2);
    gguf_build_key(s, "general.alignment", GGUF_U32);
    gguf_build_u32(s, 64);
    gguf_build_tensor(s, "t", 2, dims, 0, 0);
    gguf_build_pad(s, 64);
    for (int i = 0; i < 64; i++) {
        gguf_build_f32(s, (float)i);
    }
}

/* The tiny Llama: L 1, D 32, F 64, H 2, K 1, E 16, V 40; matrices in one type, norms F32. */
struct gguf_build_model {
    enum quant_type matrix;
    bool untied;
    const char *skip;         /* a tensor to leave out */
    const char *misshapen;    /* a tensor with one row too many */
    const char *not_a_number; /* an F32 tensor whose element 5 is NaN */
    const char *extra;        /* one more tensor, F32 [32] */
    const char *other;        /* a tensor of ggml type 12, Q4_K */
    const char *key; /* a key of type_of_key that replaces the one of that name, or is added */
    enum gguf_type type_of_key; /* GGUF_STRING (text), GGUF_U32 (value), GGUF_F32 (value) */
    const char *text;
    uint32_t value;
};

static inline bool gguf_build_is(const char *name, const char *chosen)
{
    return chosen && strcmp(name, chosen) == 0;
}

static inline void gguf_build_model_keys(struct str *s, const struct gguf_build_model *m)
{
    static const struct {
        const char *name;
        uint32_t value;
    } sizes[] = {{"llama.block_count", 1},
                 {"llama.embedding_length", 32},
                 {"llama.feed_forward_length", 64},
                 {"llama.attention.head_count", 2},
                 {"llama.attention.head_count_kv", 1},
                 {"llama.context_length", 128}};
    if (!gguf_build_is("general.architecture", m->key)) {
        gguf_build_key(s, "general.architecture", GGUF_STRING);
        gguf_build_string(s, "llama");
    }
    if (!gguf_build_is("llama.attention.layer_norm_rms_epsilon", m->key)) {
        gguf_build_key(s, "llama.attention.layer_norm_rms_epsilon", GGUF_F32);
        gguf_build_f32(s, 1e-5f);
    }
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        if (!gguf_build_is(sizes[i].name, m->key)) {
            gguf_build_key(s, sizes[i].name, GGUF_U32);
            gguf_build_u32(s, sizes[i].value);
        }
    }
    if (m->key) {
        gguf_build_key(s, m->key, m->type_of_key);
        if (m->type_of_key == GGUF_STRING) {
            gguf_build_string(s, m->text);
        } else if (m->type_of_key == GGUF_F32) {
            gguf_build_f32(s, (float)m->value);
        } else {
            gguf_build_u32(s, m->value);
        }
    }
}

/* Finite values of a type: floats of +-1/2, or blocks with d (and m) = 1/16. */
static inline void gguf_build_data(struct str *s, enum quant_type type, uint64_t elements,
                                   bool not_a_number)
{
    size_t bytes = (size_t)elements / quant_block_elements(type) * quant_block_bytes(type);
    for (size_t i = 0; i < bytes; i++) {
        size_t at = i % quant_block_bytes(type);
        uint8_t byte = (uint8_t)(i * 37 + 11);
        if (type == QUANT_F32) {
            byte = at == 3 ? (uint8_t)(i & 4 ? 0x3F : 0xBE) : at == 2 ? 0 : byte;
            byte = not_a_number && i / 4 == 5 && at > 1 ? 0xFF : byte;
        } else if (type == QUANT_F16 || type == QUANT_BF16) {
            byte = at == 1 ? 0x3C : byte;
        } else if (at < (type == QUANT_Q4_1 ? 4 : 2)) {
            byte = at % 2 == 1 ? 0x2C : 0;
        }
        str_append(s, (const char *)&byte, 1);
    }
}

static inline void gguf_build_tiny_model(struct str *s, const struct gguf_build_model *m)
{
    static const uint32_t ggml[QUANT_TYPES] = {
        [QUANT_F32] = 0,  [QUANT_F16] = 1,  [QUANT_BF16] = 30,
        [QUANT_Q8_0] = 8, [QUANT_Q4_0] = 2, [QUANT_Q4_1] = 3,
    };
    const struct {
        const char *name;
        uint64_t dims[2];
        bool there;
    } all[] = {
        {"token_embd.weight", {32, 40}, true},    {"output_norm.weight", {32, 1}, true},
        {"output.weight", {32, 40}, m->untied},   {"blk.0.attn_norm.weight", {32, 1}, true},
        {"blk.0.attn_q.weight", {32, 32}, true},  {"blk.0.attn_k.weight", {32, 16}, true},
        {"blk.0.attn_v.weight", {32, 16}, true},  {"blk.0.attn_output.weight", {32, 32}, true},
        {"blk.0.ffn_norm.weight", {32, 1}, true}, {"blk.0.ffn_gate.weight", {32, 64}, true},
        {"blk.0.ffn_up.weight", {32, 64}, true},  {"blk.0.ffn_down.weight", {64, 32}, true},
        {m->extra, {32, 1}, m->extra != NULL}};
    struct str infos = {0};
    struct str data = {0};
    uint64_t n = 0;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        if (!all[i].there || gguf_build_is(all[i].name, m->skip)) {
            continue;
        }
        uint64_t dims[] = {all[i].dims[0], all[i].dims[1]};
        bool vector = dims[1] == 1;
        enum quant_type type = vector ? QUANT_F32 : m->matrix;
        dims[1] += gguf_build_is(all[i].name, m->misshapen);
        bool other = gguf_build_is(all[i].name, m->other);
        gguf_build_tensor(&infos, all[i].name, vector ? 1 : 2, dims, other ? 12 : ggml[type],
                          data.len);
        gguf_build_data(&data, type, dims[0] * dims[1],
                        gguf_build_is(all[i].name, m->not_a_number));
        gguf_build_pad(&data, 32);
        n++;
    }
    struct str keys = {0};
    gguf_build_model_keys(&keys, m);
    static const char *const usual[] = {
        "general.architecture",       "llama.block_count",
        "llama.embedding_length",     "llama.feed_forward_length",
        "llama.attention.head_count", "llama.attention.head_count_kv",
        "llama.context_length",       "llama.attention.layer_norm_rms_epsilon"};
    uint64_t n_keys = sizeof usual / sizeof usual[0] + (m->key != NULL);
    for (size_t i = 0; i < sizeof usual / sizeof usual[0]; i++) {
        n_keys -= gguf_build_is(usual[i], m->key);
    }
    gguf_build_header(s, 3, n, n_keys);
    str_append(s, keys.data, keys.len);
    str_append(s, infos.data, infos.len);
    gguf_build_pad(s, 32);
    str_append(s, data.data, data.len);
    str_free(&keys);
    str_free(&infos);
    str_free(&data);
}

#endif
