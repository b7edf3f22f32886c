/* sim_stubs.c - what the programs take from the machine and from the model: time, random bits, log
 * lines, kernel levels, the shape of a tiny model and trees of a forest made of the seed. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>

#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/base/rng.h"
#include "common/format/model_file.h"
#include "coordinator/ask_lines.h"
#include "coordinator/batch.h"
#include "coordinator/config.h"
#include "tests/sim/sim.h"
#include "tests/sim/sim_serving.h"
#include "worker/backend/kernels_level.h"
#include "worker/client_state.h"

enum { GROUPS_MAX = 96 };

uint64_t clock_now_ns(void)
{
    return sim.now + sim.nodes[sim.here].clock_ns + 1;
}

uint64_t clock_now_ms(void)
{
    return clock_now_ns() / SIM_MS + 1;
}

ssize_t __wrap_getrandom(void *out, size_t bytes, unsigned flags);

ssize_t __wrap_getrandom(void *out, size_t bytes, unsigned flags)
{
    (void)flags;
    for (size_t i = 0; i < bytes; i++) {
        ((uint8_t *)out)[i] = (uint8_t)sim_draw();
    }
    return (ssize_t)bytes;
}

int __wrap_gethostname(char *name, size_t bytes);

int __wrap_gethostname(char *name, size_t bytes)
{
    (void)snprintf(name, bytes, "host-%u", sim.plan.hosts[sim.here]);
    return 0;
}

static void say(const char *event, const char *fmt, va_list args)
{
    char text[SIM_TEXT];
    (void)vsnprintf(text, sizeof text, fmt, args);
    sim_trace("%s %s", event, text);
}

void log_init(const char *program, enum log_level level)
{
    (void)program;
    (void)level;
}

void log_event(enum log_level level, const char *event, const char *fmt, ...)
{
    if (sim.trace && level > LOG_DEBUG) {
        va_list args;
        va_start(args, fmt);
        say(event, fmt, args);
        va_end(args);
    }
}

void log_limited(struct log_limit *limit, uint64_t now_ms, enum log_level level, const char *event,
                 const char *fmt, ...)
{
    (void)limit;
    (void)now_ms;
    if (sim.trace && level > LOG_DEBUG) {
        va_list args;
        va_start(args, fmt);
        say(event, fmt, args);
        va_end(args);
    }
}

const char *kernels_level_name(enum kernels_level level)
{
    return level == KERNELS_PORTABLE ? "portable" : "another";
}

bool kernels_level_from(const char *name, enum kernels_level *level)
{
    *level = KERNELS_PORTABLE;
    return strcmp(name, "portable") == 0;
}

enum kernels_level kernels_level_native(void)
{
    return KERNELS_PORTABLE;
}

bool kernels_level_runs_here(enum kernels_level level)
{
    return level == KERNELS_PORTABLE;
}

enum err kernels_level_prepare(enum kernels_level level, char *const argv[], struct errbuf *e)
{
    (void)level;
    (void)argv;
    return err_set(e, ERR_UNSUPPORTED, "a simulated worker does not start itself again");
}

enum err kernels_level_verify(enum kernels_level level, struct errbuf *e)
{
    return level == KERNELS_PORTABLE ? OK : err_set(e, ERR_STATE, "another level");
}

const char *kernels_level_loaded_core(void)
{
    return "Simulated";
}

const struct model_shape *__wrap_model_shape(const struct model_file *mf);
struct model_description __wrap_model_describe(const struct model_file *mf);

/* 64 floats of adapter with r = 1 on q. */
const struct model_shape *__wrap_model_shape(const struct model_file *mf)
{
    static const struct model_shape shape = {.layers = 1,
                                             .hidden = 32,
                                             .ff = 32,
                                             .heads = 2,
                                             .kv_heads = 2,
                                             .head_dim = 16,
                                             .vocab = 1024,
                                             .rope_theta = 10000.0f,
                                             .rms_eps = 1e-5f,
                                             .tied_head = true};
    (void)mf;
    return &shape;
}

struct model_description __wrap_model_describe(const struct model_file *mf)
{
    (void)mf;
    return (struct model_description){.name = "simulated", .quantisation = "F32"};
}

static struct forest_group groups[GROUPS_MAX];

const struct forest_group *__wrap_forest_groups(const struct forest *f, uint32_t *n);
enum err __wrap_forest_build(struct forest *f, uint32_t i, float w_a, float w_b,
                             const double *reference, struct forest_trees *out, struct errbuf *e);

const struct forest_group *__wrap_forest_groups(const struct forest *f, uint32_t *n)
{
    (void)f;
    *n = sim.plan.groups;
    return groups;
}

static uint32_t rows_of(uint32_t group)
{
    return 4 + (uint32_t)rng_below(rng_key(sim.plan.seed, 'r', 'o', 'w'), group, 5);
}

enum err __wrap_forest_build(struct forest *f, uint32_t i, float w_a, float w_b,
                             const double *reference, struct forest_trees *out, struct errbuf *e)
{
    uint32_t rows = rows_of(i);
    (void)f;
    (void)reference;
    (void)w_b;
    *out = (struct forest_trees){.items = mem_calloc(1, sizeof *out->items)};
    CHECK(out->items != NULL);
    struct tree *tree = &out->items[0].tree;
    CHECK(tree_alloc(tree, 1, rows, 1, 1) == OK);
    out->n = 1;
    tree->id = i;
    tree->nodes[0] = (struct tree_node){.parent = TREE_ROOT, .count = rows};
    for (uint32_t r = 0; r < rows; r++) {
        tree->tokens[r] = (uint32_t)rng_below(rng_key(sim.plan.seed, i, 't', 'o'), r, 1024);
    }
    tree->labels[0] = (struct tree_label){.row = rows - 1, .target = 1, .weight = w_a};
    return tree_finish(tree, 1024, e);
}

enum err sim_setup(struct setup *s, struct errbuf *e)
{
    const struct sim_plan *p = &sim.plan;
    struct plan_group plan_groups[GROUPS_MAX];
    const struct plan_config plan = {.seed = p->seed,
                                     .max_steps = p->steps,
                                     .epochs = 1,
                                     .batch_groups = p->batch_groups,
                                     .unit_tokens = p->unit_tokens,
                                     .micro_groups = 4,
                                     .normalisation = PLAN_MEAN};
    *s = (struct setup){0};
    enum err error = config_parse("", 0, "simulated", ".", NULL, 0, &s->cfg, e);
    if (error != OK) {
        return error;
    }
    for (uint32_t i = 0; i < p->groups; i++) {
        plan_groups[i] = (struct plan_group){.rows = rows_of(i), .pairs = 1, .labels_a = 1};
        groups[i] = (struct forest_group){.data_group = i, .rows = rows_of(i), .pairs = 1};
    }
    s->cfg->lora = (struct lora_config){.r = 1, .alpha = 1.0f, .targets = 1u << LORA_Q};
    s->cfg->train_batch_groups = p->batch_groups;
    s->cfg->unit_tokens = p->unit_tokens;
    s->cfg->checkpoint_steps = p->checkpoint_steps;
    s->cfg->audit_rate = sim_options.audit < 0 ? s->cfg->audit_rate : sim_options.audit;
    s->cfg->strict = p->strict;
    s->cfg->train_seed = p->seed;
    s->cfg->eval_before = false;
    s->cfg->train_learning_rate = 1e-2;
    s->cfg->precision = PRECISION_FP32;
    s->adamw = (struct adamw_config){
        .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.01, .clip = 1.0};
    s->steps = p->steps;
    s->schedule = (struct schedule){.steps = p->steps, .warmup = schedule_warmup(p->steps)};
    s->kernels_bit = 1;
    (void)snprintf(s->kernels, sizeof s->kernels, "portable");
    (void)snprintf(s->precision, sizeof s->precision, "fp32");
    (void)snprintf(s->model_hash, sizeof s->model_hash, SIM_MODEL);
    (void)snprintf(s->fixed_hex, sizeof s->fixed_hex, "%016llx", (unsigned long long)p->seed);
    memcpy(s->fixed, &p->seed, sizeof p->seed);
    str_addf(&s->fixed_text, "train.seed: %llu\n", (unsigned long long)p->seed);
    return plan_new(&plan, plan_groups, p->groups, &s->plan, e);
}

/* A virtual network has no name servers. */
void client_say_unheard(const struct client *c, uint64_t seconds)
{
    (void)c;
    (void)seconds;
}

/* A simulated run is asked nothing: it has no stdin. */
enum err ask_lines_open(struct mailbox *to, struct ask_lines **out, struct errbuf *e)
{
    (void)to;
    (void)out;
    return err_set(e, ERR_UNSUPPORTED, "a simulated run has no stdin");
}

enum err ask_lines_answer(struct ask_lines *lines, const struct str *answer, struct errbuf *e)
{
    (void)lines;
    (void)answer;
    return err_set(e, ERR_UNSUPPORTED, "a simulated run has no stdout");
}

void ask_lines_close(struct ask_lines **lines)
{
    *lines = NULL;
}

void ask_line_free(struct ask_line *line)
{
    mem_free(line);
}
