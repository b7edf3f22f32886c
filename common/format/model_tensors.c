/* model_tensors.c - names and sizes of a Llama's tensors. */
#include "common/format/model_tensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"

/* A size as a letter of common/tensor/shape.h; Q = H E, C = K E; 1 for a vector. */
struct row {
    const char *hf, *gguf;
    char rows, cols;
    bool rotated;
};
static const struct row whole_rows[] = {
    {"model.embed_tokens.weight", "token_embd.weight", 'V', 'D', false},
    {"model.norm.weight", "output_norm.weight", '1', 'D', false},
    {"lm_head.weight", "output.weight", 'V', 'D', false},
};
static const struct row layer_rows[] = {
    {"input_layernorm.weight", "attn_norm.weight", '1', 'D', false},
    {"self_attn.q_proj.weight", "attn_q.weight", 'Q', 'D', true},
    {"self_attn.k_proj.weight", "attn_k.weight", 'C', 'D', true},
    {"self_attn.v_proj.weight", "attn_v.weight", 'C', 'D', false},
    {"self_attn.o_proj.weight", "attn_output.weight", 'D', 'Q', false},
    {"post_attention_layernorm.weight", "ffn_norm.weight", '1', 'D', false},
    {"mlp.gate_proj.weight", "ffn_gate.weight", 'F', 'D', false},
    {"mlp.up_proj.weight", "ffn_up.weight", 'F', 'D', false},
    {"mlp.down_proj.weight", "ffn_down.weight", 'D', 'F', false},
};
enum {
    WHOLE_ROWS = sizeof whole_rows / sizeof whole_rows[0],
    LAYER_ROWS = sizeof layer_rows / sizeof layer_rows[0],
};

static uint32_t size_of(char letter, const struct model_shape *s)
{
    switch (letter) {
    case 'V':
        return s->vocab;
    case 'D':
        return s->hidden;
    case 'F':
        return s->ff;
    case 'Q':
        return s->heads * s->head_dim;
    case 'C':
        return s->kv_heads * s->head_dim;
    default:
        return 1;
    }
}

static void fill(struct model_tensor *t, const struct row *row, const struct model_shape *s)
{
    t->rows = size_of(row->rows, s);
    t->cols = size_of(row->cols, s);
    t->vector = row->rows == '1';
    t->head_dim = row->rotated ? s->head_dim : 0;
}

static int by_name(const void *left, const void *right)
{
    const struct model_tensor *a = left;
    const struct model_tensor *b = right;
    return strcmp(a->hf, b->hf);
}

enum err model_tensors_list(const struct model_shape *shape, struct model_tensor **list,
                            size_t *count, struct errbuf *e)
{
    size_t n = (size_t)(shape->tied_head ? WHOLE_ROWS - 1 : WHOLE_ROWS) +
               (size_t)shape->layers * LAYER_ROWS;
    struct model_tensor *tensors = mem_calloc(n, sizeof *tensors);
    if (!tensors) {
        return err_set(e, ERR_NOMEM, "no memory for a list of %zu tensors", n);
    }
    size_t at = 0;
    for (uint32_t layer = 0; layer < shape->layers; layer++) {
        for (size_t i = 0; i < LAYER_ROWS; i++, at++) {
            struct model_tensor *t = &tensors[at];
            (void)snprintf(t->hf, sizeof t->hf, "model.layers.%u.%s", layer, layer_rows[i].hf);
            (void)snprintf(t->gguf, sizeof t->gguf, "blk.%u.%s", layer, layer_rows[i].gguf);
            fill(t, &layer_rows[i], shape);
        }
    }
    for (size_t i = 0; at < n; i++, at++) {
        struct model_tensor *t = &tensors[at];
        (void)snprintf(t->hf, sizeof t->hf, "%s", whole_rows[i].hf);
        (void)snprintf(t->gguf, sizeof t->gguf, "%s", whole_rows[i].gguf);
        fill(t, &whole_rows[i], shape);
    }
    qsort(tensors, n, sizeof *tensors, by_name);
    *list = tensors;
    *count = n;
    return OK;
}

uint32_t model_tensors_gguf_row(uint32_t row, uint32_t head_dim)
{
    uint32_t half = head_dim / 2;
    uint32_t within = row % head_dim;
    return row - within + 2 * (within % half) + within / half;
}
