/* bf16.c - bfloat16 products through oneDNN. */
#include "worker/backend/bf16.h"

#include <dnnl.h>
#include <omp.h>
#include <pthread.h>

#include "common/base/cpu.h"
#include "common/base/check.h"
#include "common/base/mem.h"
#include "worker/backend/backend_cpu.h"

enum {
    PRIMITIVES = 64,    /* kept by a room: shapes of a model times a few row counts */
    NOMINAL_ROWS = 256, /* the packed order of weights is chosen for this many */
};

struct packed { /* W for one direction: [from, to], tile by tile of `width` columns */
    uint32_t from, to, width, tiles;
    dnnl_memory_t *tile;
};

struct bf16_matrix {
    struct packed forward, backward;
};

struct shape {
    uint32_t rows, from, cols, ld;
    bool backward, onto;
};

struct made {
    struct shape shape;
    dnnl_primitive_t primitive;
};

struct lane {
    dnnl_stream_t stream;
    struct made made[PRIMITIVES];
    uint32_t n_made, next;
};

struct bf16_room {
    uint16_t *input;
    size_t elements;
    uint32_t n_lanes;
    struct lane lanes[];
};

static dnnl_engine_t cpu; /* one for the process, never destroyed */

static void start(void)
{
    (void)dnnl_set_max_cpu_isa(dnnl_cpu_isa_avx512_core_bf16);
    if (dnnl_engine_create(&cpu, dnnl_cpu, 0) != dnnl_success) {
        cpu = NULL;
    }
}

static dnnl_engine_t engine(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, start);
    return cpu;
}

bool bf16_runs_here(void)
{
    return cpu_has_bf16() && engine() != NULL;
}

static bool describe(dnnl_memory_desc_t *d, uint32_t rows, uint32_t cols, dnnl_data_type_t type,
                     size_t row_stride, size_t col_stride)
{
    const dnnl_dims_t dims = {rows, cols};
    const dnnl_dims_t strides = {(dnnl_dim_t)row_stride, (dnnl_dim_t)col_stride};
    return dnnl_memory_desc_init_by_strides(d, 2, dims, type, strides) == dnnl_success;
}

/* A product [rows, from] x [from, cols] with weights in the order of w, y with rows of ld. */
static dnnl_primitive_desc_t plan(const struct shape *p, const dnnl_memory_desc_t *w)
{
    dnnl_memory_desc_t x;
    dnnl_memory_desc_t y;
    dnnl_matmul_desc_t matmul;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_post_ops_t ops = NULL;
    dnnl_primitive_desc_t desc = NULL;
    bool ok = describe(&x, p->rows, p->from, dnnl_bf16, p->from, 1) &&
              describe(&y, p->rows, p->cols, dnnl_f32, p->ld, 1) &&
              dnnl_matmul_desc_init(&matmul, &x, w, NULL, &y) == dnnl_success &&
              dnnl_primitive_attr_create(&attr) == dnnl_success;
    if (ok && p->onto) {
        ok = dnnl_post_ops_create(&ops) == dnnl_success &&
             dnnl_post_ops_append_sum(ops, 1.0f) == dnnl_success &&
             dnnl_primitive_attr_set_post_ops(attr, ops) == dnnl_success;
    }
    if (ok && dnnl_primitive_desc_create(&desc, &matmul, attr, engine(), NULL) != dnnl_success) {
        desc = NULL;
    }
    if (ops) {
        (void)dnnl_post_ops_destroy(ops);
    }
    if (attr) {
        (void)dnnl_primitive_attr_destroy(attr);
    }
    return desc;
}

/* Reorders [from, cols] of W into the packed order of a nominal product. */
static bool pack_tile(const float *w, const struct shape *nominal, size_t row_stride,
                      size_t col_stride, dnnl_stream_t stream, dnnl_memory_t *packed)
{
    union { /* oneDNN takes no const; it only reads */
        const float *given;
        void *taken;
    } data = {.given = w};
    dnnl_memory_desc_t plain;
    dnnl_memory_desc_t any;
    dnnl_memory_t source = NULL;
    dnnl_primitive_desc_t order = NULL;
    dnnl_primitive_t reorder = NULL;
    dnnl_primitive_desc_t product = NULL;
    const dnnl_dims_t dims = {nominal->from, nominal->cols};
    bool ok =
        describe(&plain, nominal->from, nominal->cols, dnnl_f32, row_stride, col_stride) &&
        dnnl_memory_desc_init_by_tag(&any, 2, dims, dnnl_bf16, dnnl_format_tag_any) == dnnl_success;
    if (ok) {
        product = plan(nominal, &any);
        ok = product != NULL;
    }
    if (ok) {
        const dnnl_memory_desc_t *best =
            dnnl_primitive_desc_query_md(product, dnnl_query_weights_md, 0);
        ok = dnnl_memory_create(packed, best, engine(), DNNL_MEMORY_ALLOCATE) == dnnl_success &&
             dnnl_memory_create(&source, &plain, engine(), data.taken) == dnnl_success &&
             dnnl_reorder_primitive_desc_create(&order, &plain, engine(), best, engine(), NULL) ==
                 dnnl_success &&
             dnnl_primitive_create(&reorder, order) == dnnl_success;
    }
    if (ok) {
        const dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, source}, {DNNL_ARG_TO, *packed}};
        ok = dnnl_primitive_execute(reorder, stream, 2, args) == dnnl_success &&
             dnnl_stream_wait(stream) == dnnl_success;
    }
    (void)dnnl_primitive_destroy(reorder);
    (void)dnnl_primitive_desc_destroy(order);
    (void)dnnl_primitive_desc_destroy(product);
    (void)dnnl_memory_destroy(source);
    return ok;
}

/* W seen as [from, to]: element (i, j) at i * row_stride + j * col_stride. */
static bool pack(const float *w, uint32_t from, uint32_t to, size_t row_stride, size_t col_stride,
                 uint32_t tile_cols, dnnl_stream_t stream, struct packed *p)
{
    const uint32_t width = tile_width(to, tile_cols);
    *p = (struct packed){from, to, width, (to + width - 1) / width, NULL};
    p->tile = mem_calloc(p->tiles, sizeof(dnnl_memory_t));
    bool ok = p->tile != NULL;
    for (uint32_t i = 0; ok && i < p->tiles; i++) {
        const uint32_t first = i * width;
        const struct shape nominal = {.rows = NOMINAL_ROWS,
                                      .from = from,
                                      .cols = to - first < width ? to - first : width,
                                      .ld = to};
        ok = pack_tile(w + first * col_stride, &nominal, row_stride, col_stride, stream,
                       &p->tile[i]);
    }
    return ok;
}

enum err bf16_pack(const float *w, uint32_t out, uint32_t in, uint32_t tile_cols,
                   struct bf16_matrix **m)
{
    omp_set_num_threads(1);
    dnnl_stream_t stream = NULL;
    struct bf16_matrix *made = mem_calloc(1, sizeof *made);
    *m = made;
    if (!made || !engine() ||
        dnnl_stream_create(&stream, engine(), dnnl_stream_default_flags) != dnnl_success) {
        bf16_matrix_free(m);
        return ERR_NOMEM;
    }
    bool ok = pack(w, in, out, 1, in, tile_cols, stream, &made->forward) &&
              pack(w, out, in, in, 1, tile_cols, stream, &made->backward);
    (void)dnnl_stream_destroy(stream);
    if (!ok) {
        bf16_matrix_free(m);
        return ERR_NOMEM;
    }
    return OK;
}

static void packed_free(struct packed *p)
{
    for (uint32_t i = 0; p->tile && i < p->tiles; i++) {
        (void)dnnl_memory_destroy(p->tile[i]);
    }
    mem_free(p->tile);
}

void bf16_matrix_free(struct bf16_matrix **m)
{
    if (*m) {
        packed_free(&(*m)->forward);
        packed_free(&(*m)->backward);
        mem_free(*m);
        *m = NULL;
    }
}

static struct bf16_room *room_new(uint32_t lanes)
{
    struct bf16_room *r = mem_calloc(1, sizeof *r + lanes * sizeof r->lanes[0]);
    if (!r) {
        return NULL;
    }
    r->n_lanes = lanes;
    for (uint32_t i = 0; i < lanes; i++) {
        if (!engine() || dnnl_stream_create(&r->lanes[i].stream, engine(),
                                            dnnl_stream_default_flags) != dnnl_success) {
            bf16_room_free(&r);
            return NULL;
        }
    }
    return r;
}

enum err bf16_reserve(struct bf16_room **room, uint32_t lanes, size_t elements)
{
    *room = *room ? *room : room_new(lanes);
    struct bf16_room *r = *room;
    if (!r) {
        return ERR_NOMEM;
    }
    CHECK(r->n_lanes == lanes);
    if (elements > r->elements) {
        mem_free(r->input);
        r->input = mem_aligned(elements, sizeof *r->input);
        r->elements = r->input ? elements : 0;
    }
    return r->elements >= elements ? OK : ERR_NOMEM;
}

void bf16_room_free(struct bf16_room **room)
{
    struct bf16_room *r = *room;
    *room = NULL;
    if (!r) {
        return;
    }
    for (uint32_t i = 0; i < r->n_lanes; i++) {
        for (uint32_t k = 0; k < r->lanes[i].n_made; k++) {
            (void)dnnl_primitive_destroy(r->lanes[i].made[k].primitive);
        }
        (void)dnnl_stream_destroy(r->lanes[i].stream);
    }
    mem_free(r->input);
    mem_free(r);
}

uint16_t *bf16_input(struct bf16_room *room, size_t elements)
{
    CHECK(elements <= room->elements);
    return room->input;
}

uint32_t bf16_tiles(const struct bf16_matrix *m, bool backward)
{
    return backward ? m->backward.tiles : m->forward.tiles;
}

static bool same_shape(const struct shape *a, const struct shape *b)
{
    return a->rows == b->rows && a->from == b->from && a->cols == b->cols && a->ld == b->ld &&
           a->backward == b->backward && a->onto == b->onto;
}

/* The primitive of a shape, made when it is first wanted; the oldest gives way. */
static dnnl_primitive_t primitive_of(struct lane *lane, const struct shape *shape,
                                     dnnl_memory_t weights)
{
    for (uint32_t i = 0; i < lane->n_made; i++) {
        if (same_shape(&lane->made[i].shape, shape)) {
            return lane->made[i].primitive;
        }
    }
    const dnnl_memory_desc_t *order;
    struct made made = {*shape, NULL};
    CHECK(dnnl_memory_get_memory_desc(weights, &order) == dnnl_success);
    dnnl_primitive_desc_t desc = plan(shape, order);
    CHECK(desc && dnnl_primitive_create(&made.primitive, desc) == dnnl_success);
    (void)dnnl_primitive_desc_destroy(desc);
    uint32_t at = lane->n_made < PRIMITIVES ? lane->n_made++ : lane->next++ % PRIMITIVES;
    (void)dnnl_primitive_destroy(lane->made[at].primitive);
    lane->made[at] = made;
    return made.primitive;
}

void bf16_tile(struct bf16_room *room, uint32_t lane, const struct bf16_matrix *m, bool backward,
               uint32_t tile, uint32_t rows, float *y, bool onto)
{
    const struct packed *p = backward ? &m->backward : &m->forward;
    const uint32_t first = tile * p->width;
    const struct shape shape = {.rows = rows,
                                .from = p->from,
                                .cols = p->to - first < p->width ? p->to - first : p->width,
                                .ld = p->to,
                                .backward = backward,
                                .onto = onto};
    struct lane *own = &room->lanes[lane];
    dnnl_memory_desc_t xd;
    dnnl_memory_desc_t yd;
    dnnl_memory_t xm = NULL;
    dnnl_memory_t ym = NULL;
    if (rows == 0) {
        return;
    }
    omp_set_num_threads(1); /* of the calling thread: oneDNN is an OpenMP build */
    dnnl_primitive_t primitive = primitive_of(own, &shape, p->tile[tile]);
    CHECK(describe(&xd, rows, p->from, dnnl_bf16, p->from, 1) &&
          describe(&yd, rows, shape.cols, dnnl_f32, p->to, 1) &&
          dnnl_memory_create(&xm, &xd, engine(), room->input) == dnnl_success &&
          dnnl_memory_create(&ym, &yd, engine(), y + first) == dnnl_success);
    const dnnl_exec_arg_t args[] = {
        {DNNL_ARG_SRC, xm}, {DNNL_ARG_WEIGHTS, p->tile[tile]}, {DNNL_ARG_DST, ym}};
    CHECK(dnnl_primitive_execute(primitive, own->stream, 3, args) == dnnl_success &&
          dnnl_stream_wait(own->stream) == dnnl_success);
    (void)dnnl_memory_destroy(xm);
    (void)dnnl_memory_destroy(ym);
}
