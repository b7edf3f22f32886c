/* weights_load.c - reads a model into its weights with a few threads, in pieces of rows taken from
 * one counter. Owns: the list of pieces and the threads, for the length of one call. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/check.h"
#include "common/base/cpus.h"
#include "common/base/mem.h"
#include "common/format/model_file.h"
#include "worker/model/weights.h"

enum {
    PIECE_FLOATS = 256 << 10, /* 1 MiB: checked while it is still in the cache */
    THREADS_MAX = 64,
    NAME_BYTES = 64,
    TENSORS_PER_LAYER = 9,
};

struct target {
    char name[NAME_BYTES];
    float *out; /* [rows, cols] */
    uint32_t rows, cols;
    uint32_t piece_rows;
    size_t first_piece;
};

struct load {
    const struct model_file *mf;
    struct target *targets;
    size_t n_targets, n_pieces;
    atomic_size_t next;
    atomic_bool stop;
    pthread_mutex_t lock; /* over error and text */
    enum err error;
    struct errbuf text;
};

static void add_target(struct load *load, const char *name, float *out)
{
    struct target *t = &load->targets[load->n_targets++];
    (void)snprintf(t->name, sizeof t->name, "%s", name);
    CHECK(model_tensor_shape(load->mf, name, &t->rows, &t->cols));
    t->out = out;
    t->piece_rows = t->cols < PIECE_FLOATS ? PIECE_FLOATS / t->cols : 1;
    t->first_piece = load->n_pieces;
    load->n_pieces += (t->rows + t->piece_rows - 1) / t->piece_rows;
}

/* Stacked matrices: q, k, v rows one after another, then gate, up. */
static void add_layer(struct load *load, const struct weights *w, uint32_t i)
{
    const struct model_shape *s = &w->shape;
    const struct weights_layer *layer = &w->layers[i];
    size_t q = (size_t)s->heads * s->head_dim * s->hidden;
    size_t kv = (size_t)s->kv_heads * s->head_dim * s->hidden;
    size_t gate = (size_t)s->ff * s->hidden;
    const struct {
        const char *name;
        float *out;
    } parts[TENSORS_PER_LAYER] = {
        {"input_layernorm", layer->attn_norm}, {"self_attn.q_proj", layer->qkv},
        {"self_attn.k_proj", layer->qkv + q},  {"self_attn.v_proj", layer->qkv + q + kv},
        {"self_attn.o_proj", layer->o},        {"post_attention_layernorm", layer->mlp_norm},
        {"mlp.gate_proj", layer->gate_up},     {"mlp.up_proj", layer->gate_up + gate},
        {"mlp.down_proj", layer->down}};
    for (size_t j = 0; j < TENSORS_PER_LAYER; j++) {
        char name[NAME_BYTES];
        (void)snprintf(name, sizeof name, "model.layers.%u.%s.weight", i, parts[j].name);
        add_target(load, name, parts[j].out);
    }
}

static void report(struct load *load, enum err error, const struct errbuf *text)
{
    (void)pthread_mutex_lock(&load->lock);
    if (load->error == OK) {
        load->error = error;
        load->text = *text;
    }
    (void)pthread_mutex_unlock(&load->lock);
    atomic_store(&load->stop, true);
}

/* Largest magnitude bits of n floats: at or above those of infinity when one is Inf or NaN. */
static uint32_t magnitude(const float *values, size_t n)
{
    uint32_t most = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        bits &= 0x7FFFFFFFu;
        most = bits > most ? bits : most;
    }
    return most;
}

static enum err check_finite(const char *path, const struct target *t, uint32_t first,
                             uint32_t rows, struct errbuf *e)
{
    const uint32_t infinity = 0x7F800000u;
    const float *values = t->out + (size_t)first * t->cols;
    if (magnitude(values, (size_t)rows * t->cols) < infinity) {
        return OK;
    }
    size_t at = 0;
    while (magnitude(values + at, 1) < infinity) {
        at++;
    }
    return err_set(e, ERR_CORRUPT, "%s: tensor %s, row %u, column %u is %g; weights must be finite",
                   path, t->name, first + (uint32_t)(at / t->cols), (uint32_t)(at % t->cols),
                   (double)values[at]);
}

static enum err load_piece(const struct load *load, size_t piece, struct errbuf *e)
{
    size_t low = 0;
    size_t high = load->n_targets;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (load->targets[middle].first_piece <= piece) {
            low = middle;
        } else {
            high = middle;
        }
    }
    const struct target *t = &load->targets[low];
    uint32_t first = (uint32_t)(piece - t->first_piece) * t->piece_rows;
    uint32_t rows = t->rows - first < t->piece_rows ? t->rows - first : t->piece_rows;
    enum err error =
        model_tensor_read(load->mf, t->name, first, rows, t->out + (size_t)first * t->cols, e);
    return error == OK ? check_finite(model_path(load->mf), t, first, rows, e) : error;
}

static void *work(void *argument)
{
    struct load *load = argument;
    struct errbuf text = {0};
    while (!atomic_load_explicit(&load->stop, memory_order_relaxed)) {
        size_t piece = atomic_fetch_add(&load->next, 1);
        if (piece >= load->n_pieces) {
            break;
        }
        enum err error = load_piece(load, piece, &text);
        if (error != OK) {
            report(load, error, &text);
        }
    }
    return NULL;
}

/* The caller works too, so threads that cannot be made only cost time. */
static void run(struct load *load, unsigned n_threads)
{
    pthread_t threads[THREADS_MAX];
    unsigned started = 0;
    if (n_threads == 0) {
        n_threads = cpus_usable("");
    }
    n_threads = n_threads < THREADS_MAX ? n_threads : THREADS_MAX;
    while (started + 1 < n_threads && started + 1 < load->n_pieces &&
           pthread_create(&threads[started], NULL, work, load) == 0) {
        started++;
    }
    (void)work(load);
    for (unsigned i = 0; i < started; i++) {
        (void)pthread_join(threads[i], NULL);
    }
}

enum err weights_read(const struct weights *w, const struct model_file *mf, unsigned n_threads,
                      struct errbuf *e)
{
    const struct model_shape *shape = &w->shape;
    struct load load = {.mf = mf, .lock = PTHREAD_MUTEX_INITIALIZER};
    load.targets = mem_calloc(3 + (size_t)shape->layers * TENSORS_PER_LAYER, sizeof *load.targets);
    if (!load.targets) {
        return err_set(e, ERR_NOMEM, "no memory for a list of %u layers", shape->layers);
    }
    add_target(&load, "model.embed_tokens.weight", w->embed);
    if (!shape->tied_head) {
        add_target(&load, "lm_head.weight", w->head);
    }
    for (uint32_t i = 0; i < shape->layers; i++) {
        add_layer(&load, w, i);
    }
    add_target(&load, "model.norm.weight", w->final_norm);
    run(&load, n_threads);
    mem_free(load.targets);
    return load.error == OK ? OK : err_set(e, load.error, "%s", load.text.text);
}

enum err weights_load(struct weights *w, const struct model_file *mf, unsigned n_threads,
                      struct errbuf *e)
{
    enum err error = weights_alloc(w, model_shape(mf), e);
    if (error != OK) {
        return error;
    }
    error = weights_read(w, mf, n_threads, e);
    if (error != OK) {
        weights_free(w);
    }
    return error;
}
