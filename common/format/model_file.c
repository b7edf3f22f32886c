/* model_file.c - binds the files of a model to the tensors its shape asks for. */
#include "common/format/model_file.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/limits.h"
#include "common/base/mem.h"
#include "common/format/gguf.h"
#include "common/format/gguf_model.h"
#include "common/format/hf_config.h"
#include "common/format/hf_folder.h"
#include "common/format/json_doc.h"
#include "common/format/model_hash.h"
#include "common/format/model_tensors.h"

enum { CONFIG_BYTES_MAX = 1 << 20 };

/* A tensor of the shape and where it lies: in the GGUF, or in one safetensors file. */
struct source {
    const struct gguf_tensor *gguf;
    const struct safetensors *file;
    const struct safetensors_tensor *hf;
};

struct model_file {
    enum model_kind kind;
    char *path;
    struct model_shape shape;
    struct gguf *gguf;       /* NULL for a folder */
    struct hf_folder folder; /* empty for a GGUF */
    char *tokenizer_json;    /* NULL for a GGUF */
    uint32_t context;        /* 0: unknown */
    bool wants_bos;
    size_t n_tensors;
    struct model_tensor *tensors; /* [n_tensors] by hf name */
    struct source *sources;       /* [n_tensors] */
};

static int by_name(const void *left, const void *right)
{
    const struct model_tensor *b = right;
    return strcmp(left, b->hf);
}

static const struct model_tensor *find(const struct model_file *mf, const char *name)
{
    if (mf->shape.tied_head && strcmp(name, "lm_head.weight") == 0) {
        name = "model.embed_tokens.weight";
    }
    return bsearch(name, mf->tensors, mf->n_tensors, sizeof *mf->tensors, by_name);
}

static enum err bind_gguf_tensor(const struct model_tensor *t, const struct gguf_tensor *found,
                                 struct errbuf *e)
{
    if (!found) {
        return err_set(e, ERR_NOT_FOUND, "tensor %s (%s) is missing", t->gguf, t->hf);
    }
    if (found->n_dims != (t->vector ? 1 : 2) || found->dims[0] != t->cols ||
        found->dims[1] != t->rows) {
        return err_set(e, ERR_RANGE,
                       "tensor %s has %" PRIu64 " rows of %" PRIu64 " in %u dimensions; the model "
                       "needs %u of %u in %d",
                       t->gguf, found->dims[1], found->dims[0], found->n_dims, t->rows, t->cols,
                       t->vector ? 1 : 2);
    }
    if (found->type == QUANT_TYPES) {
        const char *name = gguf_ggml_type_name(found->ggml_type);
        return err_set(e, ERR_UNSUPPORTED,
                       "tensor %s is %s; F32, F16, BF16, Q8_0, Q4_0 and Q4_1 are supported",
                       t->gguf, name ? name : "of an unknown type");
    }
    return OK;
}

/* What nobody asked for would be left out of the arithmetic: only what changes nothing may stay. */
static bool harmless(const struct model_file *mf, const char *name)
{
    return strstr(name, "rotary_emb.inv_freq") || strstr(name, "attn_rot_embd") ||
           (mf->shape.tied_head && strcmp(name, "lm_head.weight") == 0);
}

static enum err refuse_extra(const char *name, struct errbuf *e)
{
    return err_set(e, ERR_UNSUPPORTED,
                   "tensor %.200s is no part of a plain Llama (no biases, no adapters, no experts)",
                   name);
}

static enum err bind_gguf(struct model_file *mf, struct errbuf *e)
{
    size_t n = gguf_tensor_count(mf->gguf);
    bool *used = mem_calloc(n, sizeof *used);
    if (!used) {
        return err_set(e, ERR_NOMEM, "no memory for %zu tensors", n);
    }
    enum err error = OK;
    for (size_t i = 0; i < mf->n_tensors && error == OK; i++) {
        const struct gguf_tensor *found = gguf_tensor_find(mf->gguf, mf->tensors[i].gguf);
        error = bind_gguf_tensor(&mf->tensors[i], found, e);
        mf->sources[i].gguf = found;
        if (error == OK) {
            used[found - gguf_tensor_at(mf->gguf, 0)] = true;
        }
    }
    for (size_t i = 0; i < n && error == OK; i++) {
        const char *name = gguf_tensor_at(mf->gguf, i)->name;
        if (!used[i] && !harmless(mf, name)) {
            error = refuse_extra(name, e);
        }
    }
    mem_free(used);
    return error;
}

static enum err bind_folder_tensor(const struct model_tensor *t,
                                   const struct safetensors_tensor *found, struct errbuf *e)
{
    if (!found) {
        return err_set(e, ERR_NOT_FOUND, "tensor %s is missing", t->hf);
    }
    uint64_t rows = t->vector ? 1 : found->dims[0];
    uint64_t cols = t->vector ? found->dims[0] : found->dims[1];
    if (found->n_dims != (t->vector ? 1 : 2) || rows != t->rows || cols != t->cols) {
        return err_set(e, ERR_RANGE,
                       "tensor %s has %" PRIu64 " rows of %" PRIu64 " in %u dimensions; the model "
                       "needs %u of %u in %d",
                       t->hf, rows, cols, found->n_dims, t->rows, t->cols, t->vector ? 1 : 2);
    }
    if (found->dtype != SAFETENSORS_F32 && found->dtype != SAFETENSORS_F16 &&
        found->dtype != SAFETENSORS_BF16) {
        return err_set(e, ERR_UNSUPPORTED, "tensor %s is %s; F32, F16 and BF16 are supported",
                       t->hf, safetensors_dtype_name(found->dtype));
    }
    return OK;
}

static enum err bind_folder(struct model_file *mf, struct errbuf *e)
{
    for (size_t i = 0; i < mf->n_tensors; i++) {
        struct source *source = &mf->sources[i];
        source->hf = hf_folder_find(&mf->folder, mf->tensors[i].hf, &source->file);
        enum err error = bind_folder_tensor(&mf->tensors[i], source->hf, e);
        if (error != OK) {
            return error;
        }
    }
    for (size_t i = 0; i < mf->folder.n_files; i++) {
        for (size_t j = 0; j < safetensors_count(mf->folder.files[i]); j++) {
            const char *name = safetensors_at(mf->folder.files[i], j)->name;
            if (!bsearch(name, mf->tensors, mf->n_tensors, sizeof *mf->tensors, by_name) &&
                !harmless(mf, name)) {
                return refuse_extra(name, e);
            }
        }
    }
    return OK;
}

static enum err bind(struct model_file *mf, struct errbuf *e)
{
    enum err error = model_tensors_list(&mf->shape, &mf->tensors, &mf->n_tensors, e);
    if (error != OK) {
        return error;
    }
    mf->sources = mem_calloc(mf->n_tensors, sizeof *mf->sources);
    if (!mf->sources) {
        return err_set(e, ERR_NOMEM, "no memory for %zu tensors", mf->n_tensors);
    }
    return mf->gguf ? bind_gguf(mf, e) : bind_folder(mf, e);
}

static uint32_t positions(uint64_t n)
{
    return n <= UINT32_MAX ? (uint32_t)n : 0;
}

/* Neither decides a bit of what is computed: what cannot be read counts as not said. */
static void note_folder(struct model_file *mf, const char *config, size_t n)
{
    char path[FILE_PATH_BYTES];
    json_t *doc = NULL;
    if (json_doc_parse(config, n, &doc, NULL) == OK) {
        const json_int_t most = json_integer_value(json_object_get(doc, "max_position_embeddings"));
        mf->context = most > 0 ? positions((uint64_t)most) : 0;
    }
    json_decref(doc);
    doc = NULL;
    if (file_join(path, mf->path, "tokenizer_config.json", NULL) == OK && file_exists(path) &&
        json_doc_load(path, CONFIG_BYTES_MAX, &doc, NULL) == OK) {
        mf->wants_bos = json_is_true(json_object_get(doc, "add_bos_token"));
    }
    json_decref(doc);
}

static void note_gguf(struct model_file *mf)
{
    static const char context[] = "llama.context_length";
    static const char bos[] = "tokenizer.ggml.add_bos_token";
    uint64_t n = 0;
    if (gguf_has(mf->gguf, context) && gguf_get_uint(mf->gguf, context, &n, NULL) == OK) {
        mf->context = positions(n);
    }
    if (gguf_has(mf->gguf, bos) && gguf_get_bool(mf->gguf, bos, &mf->wants_bos, NULL) != OK) {
        mf->wants_bos = false;
    }
}

static enum err load_config(struct model_file *mf, struct errbuf *e)
{
    char path[FILE_PATH_BYTES];
    char *text = NULL;
    size_t n = 0;
    enum err error = file_join(path, mf->path, "config.json", e);
    error = error == OK ? file_read(path, CONFIG_BYTES_MAX, &text, &n, e) : error;
    if (error != OK) {
        return error;
    }
    error = hf_config_parse(text, n, &mf->shape, e);
    if (error == OK) {
        note_folder(mf, text, n);
    }
    mem_free(text);
    return error == OK ? OK : err_prefix(e, error, "%s", path);
}

static enum err find_tokenizer(struct model_file *mf, struct errbuf *e)
{
    char path[FILE_PATH_BYTES];
    int fd = -1;
    size_t bytes = 0;
    enum err error = file_join(path, mf->path, "tokenizer.json", e);
    error = error == OK ? file_open(path, &fd, &bytes, e) : error;
    if (error != OK) {
        return error;
    }
    (void)close(fd);
    mf->tokenizer_json = mem_strdup(path);
    return mf->tokenizer_json ? OK : err_set(e, ERR_NOMEM, "%s: no memory for its name", path);
}

static enum err open_folder(struct model_file *mf, struct errbuf *e)
{
    mf->kind = MODEL_HF_FOLDER;
    enum err error = load_config(mf, e);
    error = error == OK ? find_tokenizer(mf, e) : error;
    error = error == OK ? hf_folder_open(mf->path, &mf->folder, e) : error;
    if (error != OK) {
        return error;
    }
    error = bind(mf, e);
    return error == OK ? OK : err_prefix(e, error, "%s", mf->path);
}

/* A model in several files, of which this is one. */
static enum err refuse_part(const struct gguf *g, struct errbuf *e)
{
    uint64_t n = 0;
    uint64_t part = 0;
    if (!gguf_has(g, "split.count") || gguf_get_uint(g, "split.count", &n, NULL) != OK || n < 2) {
        return OK;
    }
    if (gguf_has(g, "split.no") && gguf_get_uint(g, "split.no", &part, NULL) != OK) {
        part = 0;
    }
    return err_set(e, ERR_UNSUPPORTED,
                   "is part %" PRIu64 " of %" PRIu64 " of a split GGUF; one file is needed: "
                   "llama-gguf-split --merge FIRST-PART WHOLE makes it",
                   part + 1, n);
}

static enum err open_gguf(struct model_file *mf, struct errbuf *e)
{
    mf->kind = MODEL_GGUF_FILE;
    enum err error = gguf_open(mf->path, &mf->gguf, e);
    if (error != OK) {
        return error;
    }
    note_gguf(mf);
    error = refuse_part(mf->gguf, e);
    if (error != OK) {
        return err_prefix(e, error, "%s", mf->path);
    }
    error = gguf_model_shape(mf->gguf, &mf->shape, e);
    error = error == OK ? bind(mf, e) : error;
    return error == OK ? OK : err_prefix(e, error, "%s", mf->path);
}

enum err model_open(const char *path, struct model_file **out, struct errbuf *e)
{
    struct stat info;
    struct model_file *mf = mem_calloc(1, sizeof *mf);
    *out = NULL;
    if (mf) {
        mf->path = mem_strdup(path);
    }
    if (!mf || !mf->path) {
        model_close(&mf);
        return err_set(e, ERR_NOMEM, "%s: no memory to open it", path);
    }
    enum err error = OK;
    if (stat(path, &info) != 0) {
        error = err_set(e, err_from_errno(errno),
                        "%s: %s; a .gguf file or the folder of a Hugging Face model is needed",
                        path, strerror(errno));
    } else {
        error = S_ISDIR(info.st_mode) ? open_folder(mf, e) : open_gguf(mf, e);
    }
    if (error != OK) {
        model_close(&mf);
        return error;
    }
    *out = mf;
    return OK;
}

void model_close(struct model_file **mf)
{
    struct model_file *m = *mf;
    *mf = NULL;
    if (m) {
        gguf_close(&m->gguf);
        hf_folder_close(&m->folder);
        mem_free(m->tokenizer_json);
        mem_free(m->tensors);
        mem_free(m->sources);
        mem_free(m->path);
        mem_free(m);
    }
}

enum model_kind model_kind(const struct model_file *mf)
{
    return mf->kind;
}

const char *model_path(const struct model_file *mf)
{
    return mf->path;
}

const struct model_shape *model_shape(const struct model_file *mf)
{
    return &mf->shape;
}

uint32_t model_context(const struct model_file *mf)
{
    return mf->context;
}

bool model_wants_bos(const struct model_file *mf)
{
    return mf->wants_bos;
}

const char *model_tokenizer_json(const struct model_file *mf)
{
    return mf->tokenizer_json;
}

const struct gguf *model_gguf(const struct model_file *mf)
{
    return mf->gguf;
}

enum err model_hash(const struct model_file *mf, char hex[HASH_SHA256_HEX], struct errbuf *e)
{
    return mf->gguf ? model_hash_file(mf->path, hex, e) : model_hash_folder(mf->path, hex, e);
}

/* The last part of the real path, without ".gguf": general.name of a GGUF is often the name of a
 * training run. Control characters become '?'. */
static void describe_name(const struct model_file *mf, char out[MODEL_NAME_BYTES])
{
    char real[FILE_PATH_BYTES];
    const char *whole = realpath(mf->path, real) ? real : mf->path;
    const char *slash = strrchr(whole, '/');
    const char *name = slash ? slash + 1 : whole;
    size_t n = strlen(name);
    if (n > 5 && strcmp(name + n - 5, ".gguf") == 0) {
        n -= 5;
    }
    (void)snprintf(out, MODEL_NAME_BYTES, "%.*s",
                   (int)(n < MODEL_NAME_BYTES ? n : MODEL_NAME_BYTES - 1), name);
    for (char *c = out; *c; c++) {
        *c = (unsigned char)*c < 0x20 ? '?' : *c;
    }
}

struct model_description model_describe(const struct model_file *mf)
{
    struct model_description d = {0};
    uint64_t counts[QUANT_TYPES] = {0};
    size_t most = 0;
    for (size_t i = 0; i < mf->n_tensors; i++) {
        const struct source *source = &mf->sources[i];
        uint64_t elements = (uint64_t)mf->tensors[i].rows * mf->tensors[i].cols;
        enum quant_type type = source->gguf                           ? source->gguf->type
                               : source->hf->dtype == SAFETENSORS_F32 ? QUANT_F32
                               : source->hf->dtype == SAFETENSORS_F16 ? QUANT_F16
                                                                      : QUANT_BF16;
        counts[type] += elements;
        most = counts[type] > counts[most] ? (size_t)type : most;
        d.parameters += elements;
        d.weight_bytes += source->gguf ? source->gguf->bytes : source->hf->bytes;
    }
    describe_name(mf, d.name);
    (void)snprintf(d.quantisation, sizeof d.quantisation, "%s", quant_name((enum quant_type)most));
    return d;
}

bool model_tensor_shape(const struct model_file *mf, const char *name, uint32_t *rows,
                        uint32_t *cols)
{
    const struct model_tensor *t = find(mf, name);
    if (t) {
        *rows = t->rows;
        *cols = t->cols;
    }
    return t != NULL;
}

static enum err read_permuted(const struct model_file *mf, const struct model_tensor *t,
                              const struct gguf_tensor *source, uint32_t first, uint32_t rows,
                              float *out, struct errbuf *e)
{
    enum err error = OK;
    for (uint32_t i = 0; i < rows && error == OK; i++) {
        uint64_t row = model_tensors_gguf_row(first + i, t->head_dim);
        error = gguf_tensor_read(mf->gguf, source, row * t->cols, t->cols,
                                 out + (size_t)i * t->cols, e);
    }
    return error;
}

enum err model_tensor_read(const struct model_file *mf, const char *name, uint32_t first,
                           uint32_t rows, float *out, struct errbuf *e)
{
    const struct model_tensor *t = find(mf, name);
    if (!t) {
        return err_set(e, ERR_NOT_FOUND, "%s: the model has no tensor %.200s", mf->path, name);
    }
    if (first > t->rows || rows > t->rows - first) {
        return err_set(e, ERR_RANGE, "%s: tensor %s has %u rows; %u from row %u on are not there",
                       mf->path, t->hf, t->rows, rows, first);
    }
    const struct source *source = &mf->sources[t - mf->tensors];
    uint64_t from = (uint64_t)first * t->cols;
    uint64_t count = (uint64_t)rows * t->cols;
    if (!source->gguf) {
        return safetensors_read_f32(source->file, source->hf, from, count, out, e);
    }
    if (t->head_dim > 0) {
        return read_permuted(mf, t, source->gguf, first, rows, out, e);
    }
    return gguf_tensor_read(mf->gguf, source->gguf, from, count, out, e);
}
