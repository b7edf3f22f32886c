/* golden_case.h - reads the trees and adapters of tests/golden (README.md there): for the golden
 * test of the engine and for tests/interop/engine_tool.c. */
#ifndef PFT_GOLDEN_CASE_H
#define PFT_GOLDEN_CASE_H

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "common/format/safetensors.h"
#include "common/tensor/shape.h"
#include "common/tree/tree.h"

enum { GOLDEN_NAME_BYTES = 160 };

/* PEFT's name of an adapter matrix, 'A' or 'B'; suffix "" or ".grad". */
static inline void golden_name(char name[GOLDEN_NAME_BYTES], uint32_t layer,
                               enum lora_module module, char matrix, const char *suffix)
{
    const char *part = module <= LORA_O ? "self_attn" : "mlp";
    (void)snprintf(name, GOLDEN_NAME_BYTES,
                   "base_model.model.model.layers.%u.%s.%s.lora_%c.weight%s", layer, part,
                   lora_module_proj(module), matrix, suffix);
}

static inline uint32_t golden_number(const json_t *object, const char *key)
{
    json_int_t v = json_integer_value(json_object_get(object, key));
    return v >= 0 && v <= UINT32_MAX ? (uint32_t)v : UINT32_MAX;
}

static inline void golden_fill(struct tree *t, const json_t *nodes, const json_t *labels)
{
    size_t i;
    size_t row = 0;
    json_t *item;
    json_array_foreach(nodes, i, item)
    {
        const json_t *parent = json_object_get(item, "parent");
        const json_t *tokens = json_object_get(item, "tokens");
        bool root = !json_is_integer(parent) || json_integer_value(parent) < 0;
        t->nodes[i].parent = root ? TREE_ROOT : (uint32_t)json_integer_value(parent);
        t->nodes[i].count = (uint32_t)json_array_size(tokens);
        for (size_t k = 0; k < json_array_size(tokens); k++) {
            t->tokens[row++] = (uint32_t)json_integer_value(json_array_get(tokens, k));
        }
    }
    json_array_foreach(labels, i, item)
    {
        const json_t *weight = json_object_get(item, "weight");
        t->labels[i] = (struct tree_label){
            golden_number(item, "row"), golden_number(item, "target"), golden_number(item, "leaf"),
            weight ? (float)json_number_value(weight) : 1.0f};
    }
}

/* {nodes, labels} -> tree; the caller frees it. */
static inline enum err golden_tree(const json_t *json, uint32_t vocab, struct tree *t,
                                   struct errbuf *e)
{
    const json_t *nodes = json_object_get(json, "nodes");
    const json_t *labels = json_object_get(json, "labels");
    size_t rows = 0;
    uint32_t leaves = 0;
    size_t i;
    json_t *item;
    if (!json_is_array(nodes) || !json_is_array(labels)) {
        return err_set(e, ERR_PARSE, "a tree has arrays 'nodes' and 'labels'");
    }
    json_array_foreach(nodes, i, item)
    {
        rows += json_array_size(json_object_get(item, "tokens"));
    }
    json_array_foreach(labels, i, item)
    {
        uint32_t leaf = golden_number(item, "leaf");
        leaves = leaf != UINT32_MAX && leaf >= leaves ? leaf + 1 : leaves;
    }
    if (rows > UINT32_MAX || tree_alloc(t, (uint32_t)json_array_size(nodes), (uint32_t)rows,
                                        (uint32_t)json_array_size(labels), leaves) != OK) {
        return err_set(e, ERR_NOMEM, "no memory for a tree of %zu rows", rows);
    }
    golden_fill(t, nodes, labels);
    enum err error = tree_finish(t, vocab, e);
    if (error != OK) {
        tree_free(t);
    }
    return error;
}

static inline enum err golden_json(const char *path, json_t **out, struct errbuf *e)
{
    json_error_t error;
    *out = json_load_file(path, 0, &error);
    return *out ? OK
                : err_set(e, ERR_PARSE, "%s:%d:%d: %s", path, error.line, error.column, error.text);
}

static inline enum err golden_matrix(const struct safetensors *st, const char *name, size_t count,
                                     float *out, struct errbuf *e)
{
    const struct safetensors_tensor *t = safetensors_find(st, name);
    if (!t || t->elements != count) {
        return err_set(e, ERR_NOT_FOUND, "no tensor %s of %zu elements", name, count);
    }
    return safetensors_read_f32(st, t, 0, count, out, e);
}

/* The adapter in flat order from a file with PEFT's names. */
static inline enum err golden_adapter(const char *path, const struct model_shape *shape,
                                      const struct lora_config *lora, float *flat, struct errbuf *e)
{
    struct safetensors *st = NULL;
    enum err error = safetensors_open(path, &st, e);
    for (uint32_t layer = 0; error == OK && layer < shape->layers; layer++) {
        for (int m = 0; error == OK && m < LORA_MODULES; m++) {
            struct lora_place place;
            char name[GOLDEN_NAME_BYTES];
            if (!lora_place(shape, lora, layer, (enum lora_module)m, &place)) {
                continue;
            }
            golden_name(name, layer, (enum lora_module)m, 'A', "");
            error = golden_matrix(st, name, (size_t)lora->r * place.in, flat + place.a, e);
            if (error == OK) {
                golden_name(name, layer, (enum lora_module)m, 'B', "");
                error = golden_matrix(st, name, (size_t)lora->r * place.out, flat + place.b, e);
            }
        }
    }
    safetensors_close(&st);
    return error;
}

#endif
