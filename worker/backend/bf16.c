/* bf16.c - bfloat16 products through oneDNN. */
#include "worker/backend/bf16.h"

#include <dnnl.h>
#include <omp.h>
#include <pthread.h>

#include "common/base/check.h"
#include "common/base/mem.h"
#include "worker/backend/kernels.h"

enum {
    PRIMITIVES = 64,    /* kept by a room: shapes of a model times a few row counts */
    NOMINAL_ROWS = 256, /* the packed order of weights is chosen for this many */
};

struct bf16_matrix {
    uint32_t out, in;
    dnnl_memory_t packed[2]; /* forward, backward */
};

struct made {
    uint32_t rows, from, to;
    bool backward, onto;
    dnnl_primitive_t primitive;
};

struct bf16_room {
    uint16_t *input;
    size_t elements;
    dnnl_stream_t stream;
    struct made made[PRIMITIVES];
    uint32_t n_made, next;
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
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512bf16") && engine() != NULL;
}

static bool describe(dnnl_memory_desc_t *d, uint32_t rows, uint32_t cols, dnnl_data_type_t type,
                     dnnl_format_tag_t tag)
{
    const dnnl_dims_t dims = {rows, cols};
    return dnnl_memory_desc_init_by_tag(d, 2, dims, type, tag) == dnnl_success;
}

/* A product [rows, from] x [from, to] with weights in the order of w. */
static dnnl_primitive_desc_t plan(uint32_t rows, uint32_t from, uint32_t to,
                                  const dnnl_memory_desc_t *w, bool onto)
{
    dnnl_memory_desc_t x;
    dnnl_memory_desc_t y;
    dnnl_matmul_desc_t matmul;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_post_ops_t ops = NULL;
    dnnl_primitive_desc_t desc = NULL;
    bool ok = describe(&x, rows, from, dnnl_bf16, dnnl_ab) &&
              describe(&y, rows, to, dnnl_f32, dnnl_ab) &&
              dnnl_matmul_desc_init(&matmul, &x, w, NULL, &y) == dnnl_success &&
              dnnl_primitive_attr_create(&attr) == dnnl_success;
    if (ok && onto) {
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

/* Reorders W, seen as [from, to], into the packed order of a nominal product. */
static bool pack(const float *w, uint32_t from, uint32_t to, bool transposed, dnnl_stream_t stream,
                 dnnl_memory_t *packed)
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
    dnnl_primitive_desc_t nominal = NULL;
    bool ok = describe(&plain, from, to, dnnl_f32, transposed ? dnnl_ba : dnnl_ab) &&
              describe(&any, from, to, dnnl_bf16, dnnl_format_tag_any);
    if (ok) {
        nominal = plan(NOMINAL_ROWS, from, to, &any, false);
        ok = nominal != NULL;
    }
    if (ok) {
        const dnnl_memory_desc_t *best =
            dnnl_primitive_desc_query_md(nominal, dnnl_query_weights_md, 0);
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
    (void)dnnl_primitive_desc_destroy(nominal);
    (void)dnnl_memory_destroy(source);
    return ok;
}

enum err bf16_pack(const float *w, uint32_t out, uint32_t in, struct bf16_matrix **m)
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
    made->out = out;
    made->in = in;
    bool ok = pack(w, in, out, true, stream, &made->packed[0]) &&
              pack(w, out, in, false, stream, &made->packed[1]);
    (void)dnnl_stream_destroy(stream);
    if (!ok) {
        bf16_matrix_free(m);
        return ERR_NOMEM;
    }
    return OK;
}

void bf16_matrix_free(struct bf16_matrix **m)
{
    if (*m) {
        (void)dnnl_memory_destroy((*m)->packed[0]);
        (void)dnnl_memory_destroy((*m)->packed[1]);
        mem_free(*m);
        *m = NULL;
    }
}

enum err bf16_reserve(struct bf16_room **room, size_t elements)
{
    struct bf16_room *r = *room ? *room : mem_calloc(1, sizeof *r);
    if (!r) {
        return ERR_NOMEM;
    }
    *room = r;
    if (!r->stream &&
        (!engine() ||
         dnnl_stream_create(&r->stream, engine(), dnnl_stream_default_flags) != dnnl_success)) {
        return ERR_NOMEM;
    }
    if (elements > r->elements) {
        mem_free(r->input);
        r->input = mem_aligned(elements, sizeof *r->input);
        r->elements = r->input ? elements : 0;
    }
    return r->elements >= elements ? OK : ERR_NOMEM;
}

void bf16_room_free(struct bf16_room **room)
{
    if (*room) {
        for (uint32_t i = 0; i < (*room)->n_made; i++) {
            (void)dnnl_primitive_destroy((*room)->made[i].primitive);
        }
        (void)dnnl_stream_destroy((*room)->stream);
        mem_free((*room)->input);
        mem_free(*room);
        *room = NULL;
    }
}

/* The primitive of a shape, made when it is first wanted; the oldest gives way. */
static dnnl_primitive_t primitive_of(struct bf16_room *r, const struct bf16_matrix *m,
                                     bool backward, uint32_t rows, bool onto)
{
    const uint32_t from = backward ? m->out : m->in;
    const uint32_t to = backward ? m->in : m->out;
    for (uint32_t i = 0; i < r->n_made; i++) {
        const struct made *p = &r->made[i];
        if (p->rows == rows && p->from == from && p->to == to && p->backward == backward &&
            p->onto == onto) {
            return p->primitive;
        }
    }
    const dnnl_memory_desc_t *order;
    struct made made = {rows, from, to, backward, onto, NULL};
    CHECK(dnnl_memory_get_memory_desc(m->packed[backward], &order) == dnnl_success);
    dnnl_primitive_desc_t desc = plan(rows, from, to, order, onto);
    CHECK(desc && dnnl_primitive_create(&made.primitive, desc) == dnnl_success);
    (void)dnnl_primitive_desc_destroy(desc);
    uint32_t at = r->n_made < PRIMITIVES ? r->n_made++ : r->next++ % PRIMITIVES;
    (void)dnnl_primitive_destroy(r->made[at].primitive);
    r->made[at] = made;
    return made.primitive;
}

void bf16_product(struct bf16_room *room, const struct kernels *kernels,
                  const struct bf16_matrix *m, bool backward, uint32_t rows, const float *x,
                  float *y, bool onto)
{
    const uint32_t from = backward ? m->out : m->in;
    const uint32_t to = backward ? m->in : m->out;
    dnnl_memory_desc_t xd;
    dnnl_memory_desc_t yd;
    dnnl_memory_t xm = NULL;
    dnnl_memory_t ym = NULL;
    if (rows == 0) {
        return;
    }
    CHECK((size_t)rows * from <= room->elements);
    omp_set_num_threads(1); /* of the calling thread: oneDNN is an OpenMP build */
    kernels->to_bf16((size_t)rows * from, x, room->input);
    dnnl_primitive_t primitive = primitive_of(room, m, backward, rows, onto);
    CHECK(describe(&xd, rows, from, dnnl_bf16, dnnl_ab) &&
          describe(&yd, rows, to, dnnl_f32, dnnl_ab) &&
          dnnl_memory_create(&xm, &xd, engine(), room->input) == dnnl_success &&
          dnnl_memory_create(&ym, &yd, engine(), y) == dnnl_success);
    const dnnl_exec_arg_t args[] = {
        {DNNL_ARG_SRC, xm}, {DNNL_ARG_WEIGHTS, m->packed[backward]}, {DNNL_ARG_DST, ym}};
    CHECK(dnnl_primitive_execute(primitive, room->stream, 3, args) == dnnl_success &&
          dnnl_stream_wait(room->stream) == dnnl_success);
    (void)dnnl_memory_destroy(xm);
    (void)dnnl_memory_destroy(ym);
}
