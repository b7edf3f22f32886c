/* engine_tool.c - the engine on one tree, for comparison with PyTorch.
 *
 *   engine_tool --model FILE --tree tree.json --out out.safetensors [--lora lora.safetensors]
 *               [--r R --alpha A --targets q,k,v,o,gate,up,down] [--kernels LEVEL] [--bf16]
 *
 * tree.json as in tests/golden/README.md; lora.safetensors has PEFT's names. Writes loss [1],
 * rows [M] (labelled rows, ascending), logits [M, V], and <PEFT name>.grad of every matrix. */
#include <getopt.h>
#include <stdlib.h>

#include "common/base/cpu.h"
#include "common/base/limits.h"
#include "common/base/mem.h"
#include "common/format/model_file.h"
#include "tests/golden/golden_case.h"
#include "worker/engine.h"
#include "worker/model/weights.h"

struct options {
    const char *model, *tree, *lora, *out;
    struct lora_config config;
    enum kernels_level level;
    enum engine_precision precision;
};

struct outcome {
    uint32_t count;
    uint32_t *rows;
    float *logits;
    float loss;
    int64_t *sum;
    float *gradient;
};

static enum err parse_targets(const char *text, uint32_t *targets, struct errbuf *e)
{
    *targets = 0;
    while (*text) {
        size_t n = strcspn(text, ",");
        int module = lora_module_from(text, n);
        if (module < 0) {
            return err_set(e, ERR_USAGE, "--targets: '%.*s' is none of q k v o gate up down",
                           (int)n, text);
        }
        *targets |= 1u << module;
        text += n + (text[n] == ',');
    }
    return OK;
}

static enum err parse(int argc, char **argv, struct options *o, struct errbuf *e)
{
    const struct option names[] = {
        {"model", required_argument, NULL, 'm'},   {"tree", required_argument, NULL, 't'},
        {"lora", required_argument, NULL, 'l'},    {"out", required_argument, NULL, 'o'},
        {"r", required_argument, NULL, 'r'},       {"alpha", required_argument, NULL, 'a'},
        {"targets", required_argument, NULL, 'g'}, {"kernels", required_argument, NULL, 'k'},
        {"bf16", no_argument, NULL, 'b'},          {NULL, 0, NULL, 0}};
    uint32_t level = 0;
    enum err error = cpu_native_level(&level, e);
    if (error != OK) {
        return error;
    }
    *o = (struct options){.config = {16, 32.0f, 0.0f, (1u << LORA_MODULES) - 1},
                          .level = (enum kernels_level)level};
    for (int c; (c = getopt_long(argc, argv, "", names, NULL)) != -1;) {
        o->model = c == 'm' ? optarg : o->model;
        o->tree = c == 't' ? optarg : o->tree;
        o->lora = c == 'l' ? optarg : o->lora;
        o->out = c == 'o' ? optarg : o->out;
        o->config.r = c == 'r' ? (uint32_t)strtoul(optarg, NULL, 10) : o->config.r;
        o->config.alpha = c == 'a' ? strtof(optarg, NULL) : o->config.alpha;
        o->precision = c == 'b' ? ENGINE_BF16 : o->precision;
        if (c == '?' || (c == 'g' && parse_targets(optarg, &o->config.targets, e) != OK) ||
            (c == 'k' && !kernels_level_from(optarg, &o->level))) {
            return err_set(e, ERR_USAGE, "unknown option or value");
        }
    }
    if (!o->model || !o->tree || !o->out || o->config.r < 1 || o->config.r > LIMIT_LORA_RANK) {
        return err_set(e, ERR_USAGE, "--model, --tree and --out are needed, --r is 1 to %d",
                       LIMIT_LORA_RANK);
    }
    return OK;
}

static enum err compute(const struct options *o, const struct engine *engine,
                        const struct model_shape *shape, struct tree *tree, struct outcome *out,
                        struct errbuf *e)
{
    struct engine_slot *slot = NULL;
    struct unit unit = {.n_trees = 1, .n_rows = tree->n_rows, .trees = tree};
    struct unit_result result = {0};
    size_t count = engine_lora_count(engine);
    float *flat = mem_calloc(count, sizeof *flat);
    out->sum = mem_calloc(count, sizeof *out->sum);
    out->gradient = mem_calloc(count, sizeof *out->gradient);
    out->rows = mem_calloc(tree->n_rows, sizeof *out->rows);
    enum err error = flat && out->sum && out->gradient && out->rows ? OK : ERR_NOMEM;
    if (error == OK && o->lora) {
        error = golden_adapter(o->lora, shape, &o->config, flat, e);
    }
    const float *adapter = o->lora ? flat : NULL;
    if (error == OK) {
        error = engine_slot_new(engine, 0, &slot, e);
    }
    if (error == OK) {
        error = engine_logits(slot, &unit, adapter, out->rows, NULL, &out->count, e);
    }
    if (error == OK) {
        out->logits = mem_calloc((size_t)out->count * shape->vocab, sizeof *out->logits);
        error = out->logits ? engine_logits(slot, &unit, adapter, NULL, out->logits, &out->count, e)
                            : ERR_NOMEM;
    }
    if (error == OK) {
        error = engine_gradient(slot, &unit, adapter, 0, out->sum, &result, e);
    }
    out->loss = (float)((double)result.loss * 0x1p-40);
    for (size_t i = 0; error == OK && i < count; i++) {
        out->gradient[i] = (float)((double)out->sum[i] * 0x1p-40);
    }
    engine_slot_free(&slot);
    mem_free(flat);
    return error;
}

static struct safetensors_item item(const char *name, enum safetensors_dtype dtype, uint32_t n_dims,
                                    uint64_t first, uint64_t second, const void *data)
{
    struct safetensors_item it = {.name = name, .dtype = dtype, .n_dims = n_dims, .data = data};
    for (int i = 0; i < LIMIT_TENSOR_DIMS; i++) {
        it.dims[i] = i == 0 ? first : i == 1 ? second : 1;
    }
    return it;
}

static enum err write_out(const struct options *o, const struct model_shape *shape,
                          const struct outcome *out, struct errbuf *e)
{
    const size_t most = 3 + 2 * (size_t)LORA_MODULES * shape->layers;
    struct safetensors_item *items = mem_calloc(most, sizeof *items);
    char(*names)[GOLDEN_NAME_BYTES] = mem_calloc(most, sizeof *names);
    size_t n = 0;
    if (!items || !names) {
        mem_free(items);
        mem_free(names);
        return ERR_NOMEM;
    }
    items[n++] = item("loss", SAFETENSORS_F32, 1, 1, 1, &out->loss);
    items[n++] = item("rows", SAFETENSORS_I32, 1, out->count, 1, out->rows);
    items[n++] = item("logits", SAFETENSORS_F32, 2, out->count, shape->vocab, out->logits);
    for (uint32_t layer = 0; o->lora && layer < shape->layers; layer++) {
        for (int m = 0; m < LORA_MODULES; m++) {
            struct lora_place place;
            if (!lora_place(shape, &o->config, layer, (enum lora_module)m, &place)) {
                continue;
            }
            golden_name(names[n], layer, (enum lora_module)m, 'A', ".grad");
            items[n] =
                item(names[n], SAFETENSORS_F32, 2, o->config.r, place.in, out->gradient + place.a);
            n++;
            golden_name(names[n], layer, (enum lora_module)m, 'B', ".grad");
            items[n] =
                item(names[n], SAFETENSORS_F32, 2, place.out, o->config.r, out->gradient + place.b);
            n++;
        }
    }
    enum err error = safetensors_write(o->out, items, n, NULL, 0, e);
    mem_free(items);
    mem_free(names);
    return error;
}

static enum err run(const struct options *o, struct errbuf *e)
{
    struct model_file *mf = NULL;
    struct weights weights = {0};
    struct engine *engine = NULL;
    struct tree tree = {0};
    struct outcome out = {0};
    json_t *json = NULL;
    enum err error = model_open(o->model, &mf, e);
    if (error == OK) {
        error = weights_load(&weights, mf, 2, e);
    }
    if (error == OK) {
        error = golden_json(o->tree, &json, e);
    }
    if (error == OK) {
        error = golden_tree(json, weights.shape.vocab, &tree, e);
    }
    if (error == OK) {
        const struct engine_config config = {.shape = weights.shape,
                                             .lora = o->config,
                                             .kernels = o->level,
                                             .precision = o->precision};
        error = engine_new(&config, &weights, &engine, e);
    }
    if (error == OK) {
        error = compute(o, engine, &weights.shape, &tree, &out, e);
    }
    if (error == OK) {
        error = write_out(o, &weights.shape, &out, e);
    }
    mem_free(out.rows);
    mem_free(out.logits);
    mem_free(out.sum);
    mem_free(out.gradient);
    tree_free(&tree);
    json_decref(json);
    engine_free(&engine);
    weights_free(&weights);
    model_close(&mf);
    return error;
}

int main(int argc, char **argv)
{
    struct options o;
    struct errbuf e = {0};
    enum err error = parse(argc, argv, &o, &e);
    if (error == OK) {
        error = kernels_level_prepare(o.level, argv, &e);
    }
    if (error == OK) {
        error = run(&o, &e);
    }
    if (error != OK) {
        (void)fprintf(stderr, "engine_tool: %s\n", e.text[0] ? e.text : err_text(error));
    }
    return error == OK ? 0 : error == ERR_USAGE ? 2 : 1;
}
