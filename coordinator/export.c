/* export.c - writes the PEFT folder. */
#include "coordinator/export.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/base/failpoint.h"
#include "common/base/file.h"
#include "common/base/hash.h"
#include "common/base/mem.h"
#include "common/format/safetensors.h"
#include "coordinator/config.h"
#include "coordinator/export_text.h"

enum { NAME_BYTES = 128 };

static const char weights_name[] = "adapter_model.safetensors";

static void tensor_name(char out[NAME_BYTES], uint32_t layer, enum lora_module module, char matrix)
{
    const char *block = module >= LORA_GATE ? "mlp" : "self_attn";
    (void)snprintf(out, NAME_BYTES, "base_model.model.model.layers.%u.%s.%s.lora_%c.weight", layer,
                   block, lora_module_proj(module), matrix);
}

struct tensors {
    struct safetensors_item *items;
    char (*names)[NAME_BYTES];
    size_t count;
};

static void add_tensor(struct tensors *t, uint32_t layer, enum lora_module module, char matrix,
                       uint64_t rows, uint64_t cols, const float *data)
{
    char *name = t->names[t->count];
    tensor_name(name, layer, module, matrix);
    t->items[t->count++] = (struct safetensors_item){.name = name,
                                                     .dtype = SAFETENSORS_F32,
                                                     .n_dims = 2,
                                                     .dims = {rows, cols, 1, 1},
                                                     .data = data};
}

static enum err write_weights(const char *path, const struct export_input *in, struct errbuf *e)
{
    const struct safetensors_text metadata = {.key = "format", .text = "pt"};
    size_t most = (size_t)in->shape->layers * LORA_MODULES * 2;
    struct tensors t = {.items = mem_calloc(most, sizeof *t.items),
                        .names = mem_calloc(most, sizeof *t.names)};
    enum err error = t.items && t.names ? OK : err_set(e, ERR_NOMEM, "%s: no memory", path);
    for (uint32_t layer = 0; error == OK && layer < in->shape->layers; layer++) {
        for (int m = 0; m < LORA_MODULES; m++) {
            struct lora_place place;
            enum lora_module module = (enum lora_module)m;
            if (lora_place(in->shape, in->lora, layer, module, &place)) {
                add_tensor(&t, layer, module, 'A', in->lora->r, place.in, in->flat + place.a);
                add_tensor(&t, layer, module, 'B', place.out, in->lora->r, in->flat + place.b);
            }
        }
    }
    if (error == OK) {
        error = safetensors_write(path, t.items, t.count, &metadata, 1, e);
    }
    mem_free(t.items);
    mem_free(t.names);
    return error;
}

static enum err write_text(const char *folder, const char *name, struct str *text, enum err made,
                           struct errbuf *e)
{
    char path[FILE_PATH_BYTES];
    enum err error = made != OK ? made : str_ok(text);
    if (error == OK) {
        error = file_join(path, folder, name, e);
    }
    if (error == OK) {
        error = file_write_atomic(path, text->data, text->len, e);
    }
    str_free(text);
    return error;
}

enum err export_peft(const char *folder, const struct export_input *in, struct errbuf *e)
{
    char path[FILE_PATH_BYTES];
    struct str text = {0};
    enum err error = file_make_folder(folder, e);
    if (error == OK) {
        error = file_join(path, folder, weights_name, e);
    }
    if (error == OK && FAILPOINT_FAILS("export.before")) {
        error =
            err_set(e, err_from_errno(errno), "%s: cannot be written: %s", path, strerror(errno));
    }
    if (error == OK) {
        error = write_weights(path, in, e);
    }
    if (error == OK && FAILPOINT_FAILS("export.weights")) {
        error =
            err_set(e, err_from_errno(errno), "%s: cannot be written: %s", folder, strerror(errno));
    }
    if (error == OK) {
        export_adapter_config(in, &text);
        error = write_text(folder, "adapter_config.json", &text, OK, e);
    }
    if (error == OK) {
        export_chat_template(in, &text);
        error = write_text(folder, "chat_template.jinja", &text, OK, e);
    }
    if (error == OK) {
        enum err made = export_about(in, &text, e);
        error = write_text(folder, "pft.json", &text, made, e);
    }
    if (error == OK) {
        export_readme(in, &text);
        error = write_text(folder, "README.md", &text, OK, e);
    }
    FAILPOINT("export.after");
    return error;
}

enum err export_hash(const char *folder, char hex[65], struct errbuf *e)
{
    char path[FILE_PATH_BYTES];
    enum err error = file_join(path, folder, weights_name, e);
    return error == OK ? hash_file_sha256_hex(path, hex, e) : error;
}
