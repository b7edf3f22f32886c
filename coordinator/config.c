/* config.c - the table of keys, and the checks across them. */
#include "coordinator/config.h"

#include <math.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/limits.h"
#include "common/base/mem.h"

static const char *const layouts[] = {"preference_last", "paper", NULL};
static const char *const groups[] = {"scenario", "pair", NULL};
static const char *const targets[] = {"q", "k", "v", "o", "gate", "up", "down", NULL};
static const char *const normalisations[] = {"mean", "paper", NULL};
static const char *const objectives[] = {
    "pft", "sft", "dpo", "simpo", "pft-contrast", "ranking", "pft-contrast-ranking", NULL};
static const char *const sft_sides[] = {"a", "b", "mix", NULL};
static const char *const kernels[] = {"native", "portable", "x86-64-v3", "x86-64-v4", NULL};
static const char *const precisions[] = {"auto", "fp32", "bf16", NULL};
static const char *const readouts[] = {"likelihood", "lift", "contrast", "letter", NULL};

#define AT(field) offsetof(struct run_config, field)
#define TEXT_BYTES 65536
#define PATH_BYTES 4000
#define EXACT_MAX 9007199254740992.0 /* 2^53: every whole number up to it is a double */

static const struct conf_key keys[] = {
    {.name = "model.path",
     .type = CONF_PATH,
     .offset = AT(model_path),
     .fallback = "",
     .max = PATH_BYTES,
     .meaning = "Hugging Face folder or GGUF file; empty: the default model that "
                "scripts/fetch-model puts into the cache."},

    {.name = "data.train",
     .type = CONF_PATH,
     .offset = AT(data_train),
     .fallback = "",
     .max = PATH_BYTES,
     .meaning = "VCD, pair or behaviour file to train on."},
    {.name = "data.test",
     .type = CONF_PATH,
     .offset = AT(data_test),
     .fallback = "",
     .max = PATH_BYTES,
     .meaning = "VCD, pair or behaviour file to evaluate on; empty: no evaluation."},
    {.name = "data.hold_out",
     .type = CONF_U32,
     .offset = AT(data_hold_out),
     .fallback = "0",
     .max = LIMIT_GROUPS,
     .meaning = "So many scenarios at the beginning of data.train are not trained on: thresholds, "
                "the temperature and the change flag are fitted on them."},
    {.name = "data.values",
     .type = CONF_PATH,
     .offset = AT(data_values),
     .fallback = "",
     .max = PATH_BYTES,
     .meaning = "Values file: axes, their two values and a sentence for each. VCD and "
                "behaviour files need it."},
    {.name = "data.layout",
     .type = CONF_CHOICE,
     .offset = AT(data_layout),
     .fallback = "preference_last",
     .choices = layouts,
     .meaning = "Where a prompt names the preference: behind the scenario, which is then computed "
                "once, or before it in plain text as the paper's code does."},
    {.name = "data.group",
     .type = CONF_CHOICE,
     .offset = AT(data_group),
     .fallback = "scenario",
     .choices = groups,
     .meaning = "What a prompt group is: a scenario with all its pairs, or one pair."},
    {.name = "data.system",
     .type = CONF_TEXT,
     .offset = AT(data_system),
     .fallback = "",
     .max = TEXT_BYTES,
     .meaning = "Text of a system turn; empty: no such turn."},
    {.name = "data.max_length",
     .type = CONF_U32,
     .offset = AT(data_max_length),
     .fallback = "1024",
     .min = 16,
     .max = LIMIT_TREE_TOKENS,
     .meaning = "Most tokens of a sequence, prompt and answer. Longer ones lose whole words from "
                "the scenario's start (layout paper: tokens on the right)."},

    {.name = "lora.r",
     .type = CONF_U32,
     .offset = AT(lora.r),
     .fallback = "16",
     .min = 1,
     .max = LIMIT_LORA_RANK,
     .meaning = "Rank of the adapter."},
    {.name = "lora.alpha",
     .type = CONF_F32,
     .offset = AT(lora.alpha),
     .fallback = "32",
     .min = 0,
     .max = 65536,
     .open_min = true,
     .meaning = "The adapter's product is scaled by alpha / r."},
    {.name = "lora.dropout",
     .type = CONF_F32,
     .offset = AT(lora.dropout),
     .fallback = "0",
     .min = 0,
     .max = 1,
     .open_max = true,
     .meaning = "Share of the adapter's inputs that is dropped while training."},
    {.name = "lora.targets",
     .type = CONF_SET,
     .offset = AT(lora.targets),
     .fallback = "all",
     .choices = targets,
     .meaning = "Projections that get an adapter."},

    {.name = "train.objective",
     .type = CONF_CHOICE,
     .offset = AT(train_objective),
     .fallback = "pft",
     .choices = objectives,
     .meaning = "The loss (docs/objectives.md): pft, sft on one side or the mix, or one that "
                "compares the answers of both sides."},
    {.name = "train.learning_rate",
     .type = CONF_F64,
     .offset = AT(train_learning_rate),
     .fallback = "5e-4",
     .min = 0,
     .max = 1,
     .open_min = true,
     .meaning = "AdamW's rate at its highest."},
    {.name = "train.epochs",
     .type = CONF_U32,
     .offset = AT(train_epochs),
     .fallback = "1",
     .min = 1,
     .max = 100000,
     .meaning = "Times that every group is trained on."},
    {.name = "train.max_steps",
     .type = CONF_U64,
     .offset = AT(train_max_steps),
     .fallback = "0",
     .min = 0,
     .max = 1 << 30,
     .meaning = "Steps in all, whatever train.epochs says; 0: epochs decide."},
    {.name = "train.batch_groups",
     .type = CONF_U32,
     .offset = AT(train_batch_groups),
     .fallback = "8",
     .min = 1,
     .max = LIMIT_STEP_UNITS,
     .meaning = "Prompt groups of a step."},
    {.name = "train.seed",
     .type = CONF_U64,
     .offset = AT(train_seed),
     .fallback = "0",
     .min = 0,
     .max = EXACT_MAX,
     .meaning = "Seed of the adapter's start, the shuffles and the dropout."},
    {.name = "train.normalisation",
     .type = CONF_CHOICE,
     .offset = AT(train_normalisation),
     .fallback = "mean",
     .choices = normalisations,
     .meaning =
         "mean: over the groups of a step, then over a group's pairs. paper: over the tokens "
         "of a micro-batch, each side for itself; needs data.group: pair."},
    {.name = "train.micro_groups",
     .type = CONF_U32,
     .offset = AT(train_micro_groups),
     .fallback = "4",
     .min = 1,
     .max = LIMIT_STEP_UNITS,
     .meaning = "Groups of a micro-batch under train.normalisation: paper."},
    {.name = "train.weight_decay",
     .type = CONF_F64,
     .offset = AT(train_weight_decay),
     .fallback = "0.01",
     .min = 0,
     .max = 1,
     .meaning = "AdamW's decoupled weight decay."},
    {.name = "train.beta1",
     .type = CONF_F64,
     .offset = AT(train_beta1),
     .fallback = "0.9",
     .min = 0,
     .max = 1,
     .open_max = true,
     .meaning = "AdamW's decay of the mean gradient."},
    {.name = "train.beta2",
     .type = CONF_F64,
     .offset = AT(train_beta2),
     .fallback = "0.999",
     .min = 0,
     .max = 1,
     .open_max = true,
     .meaning = "AdamW's decay of the mean square."},
    {.name = "train.eps",
     .type = CONF_F64,
     .offset = AT(train_eps),
     .fallback = "1e-8",
     .min = 0,
     .max = 1,
     .open_min = true,
     .meaning = "Added to the root of the mean square."},
    {.name = "train.clip",
     .type = CONF_F64,
     .offset = AT(train_clip),
     .fallback = "1",
     .min = 0,
     .max = 1e6,
     .meaning = "Largest norm of a step's gradient; 0: no limit."},
    {.name = "train.warmup",
     .type = CONF_F64,
     .offset = AT(train_warmup),
     .fallback = "0.06",
     .min = 0,
     .max = 1 << 30,
     .meaning = "Steps in which the rate rises: below 1 a share of all steps (rounded up), else "
                "their number. Then it falls to zero in a straight line."},
    {.name = "train.w_a",
     .type = CONF_F64,
     .offset = AT(train_w_a),
     .fallback = "1",
     .min = 0,
     .max = 1000,
     .meaning = "Weight of side a's loss."},
    {.name = "train.w_b",
     .type = CONF_F64,
     .offset = AT(train_w_b),
     .fallback = "1",
     .min = 0,
     .max = 1000,
     .meaning = "Weight of side b's loss."},

    {.name = "sft.side",
     .type = CONF_CHOICE,
     .offset = AT(sft_side),
     .fallback = "mix",
     .choices = sft_sides,
     .meaning = "Side that train.objective: sft is trained on; mix: both, each side of a group as "
                "a group of its own."},

    {.name = "dpo.beta",
     .type = CONF_F64,
     .offset = AT(dpo_beta),
     .fallback = "0.1",
     .min = 0,
     .max = 1000,
     .open_min = true,
     .meaning = "How far the policy may leave the reference (the model without adapter): larger is "
                "nearer."},
    {.name = "dpo.label_smoothing",
     .type = CONF_F64,
     .offset = AT(dpo_label_smoothing),
     .fallback = "0",
     .min = 0,
     .max = 0.5,
     .open_max = true,
     .meaning = "Share of preferences taken to be the wrong way round (conservative DPO)."},

    {.name = "simpo.beta",
     .type = CONF_F64,
     .offset = AT(simpo_beta),
     .fallback = "0.1",
     .min = 0,
     .max = 1000,
     .open_min = true,
     .meaning = "Scale of the difference between the mean log-probabilities of two answers."},
    {.name = "simpo.simpo_gamma",
     .type = CONF_F64,
     .offset = AT(simpo_gamma),
     .fallback = "0.5",
     .min = 0,
     .max = 1000,
     .meaning = "Margin by which the scaled difference should be exceeded."},
    {.name = "simpo.cpo_alpha",
     .type = CONF_F64,
     .offset = AT(simpo_cpo_alpha),
     .fallback = "1",
     .min = 0,
     .max = 1000,
     .meaning = "Weight of the PFT loss beside it (CPO-SimPO); 0: plain SimPO."},
    {.name = "simpo.label_smoothing",
     .type = CONF_F64,
     .offset = AT(simpo_label_smoothing),
     .fallback = "0",
     .min = 0,
     .max = 0.5,
     .open_max = true,
     .meaning = "Share of preferences taken to be the wrong way round."},

    {.name = "pft_contrast.beta",
     .type = CONF_F64,
     .offset = AT(pft_contrast_beta),
     .fallback = "0.3",
     .min = 0,
     .max = 1000,
     .open_min = true,
     .meaning =
         "Scale of the contrast: how much the preference changes the log-probabilities of a pair."},
    {.name = "pft_contrast.weight",
     .type = CONF_F64,
     .offset = AT(pft_contrast_weight),
     .fallback = "3",
     .min = 0,
     .max = 1000,
     .open_min = true,
     .meaning = "Weight of the contrast beside the PFT loss."},

    {.name = "ranking.beta",
     .type = CONF_F64,
     .offset = AT(ranking_beta),
     .fallback = "5",
     .min = 0,
     .max = 1000,
     .open_min = true,
     .meaning = "Scale of the difference between the mean log-probabilities of two answers."},
    {.name = "ranking.weight",
     .type = CONF_F64,
     .offset = AT(ranking_weight),
     .fallback = "3",
     .min = 0,
     .max = 1000,
     .open_min = true,
     .meaning = "Weight of the ranking loss beside the PFT loss."},

    {.name = "anchor.data",
     .type = CONF_PATH,
     .offset = AT(anchor_data),
     .fallback = "",
     .max = PATH_BYTES,
     .meaning = "Texts that have nothing to do with preferences, with answers or without, as for "
                "pft eval --task divergence; none: no anchor."},
    {.name = "anchor.weight",
     .type = CONF_F64,
     .offset = AT(anchor_weight),
     .fallback = "1",
     .min = 0,
     .max = 1000,
     .open_min = true,
     .meaning = "Weight of the mean KL(base || model) of a token of these texts, in nats."},
    {.name = "anchor.texts",
     .type = CONF_U32,
     .offset = AT(anchor_texts),
     .fallback = "4",
     .min = 1,
     .max = 1024,
     .meaning = "Texts that a step takes beside its groups."},

    {.name = "unit_tokens",
     .type = CONF_U32,
     .offset = AT(unit_tokens),
     .fallback = "512",
     .min = 16,
     .max = LIMIT_TREE_TOKENS,
     .meaning = "Rows up to which small trees are computed together."},
    {.name = "tree_tokens_max",
     .type = CONF_U32,
     .offset = AT(tree_tokens_max),
     .fallback = "4096",
     .min = 16,
     .max = LIMIT_TREE_TOKENS,
     .meaning = "Rows of a tree above which it is cut into parts that repeat the prefix."},
    {.name = "tile_rows",
     .type = CONF_U32,
     .offset = AT(tile_rows),
     .fallback = "0",
     .max = 4096,
     .meaning = "Rows of an output tile of a matrix product; the threads of a slot share tiles "
                "out. Part of the arithmetic. 0: 512."},
    {.name = "tile_cols",
     .type = CONF_U32,
     .offset = AT(tile_cols),
     .fallback = "0",
     .max = 4096,
     .meaning = "Columns of an output tile, about. 0: 320, in bf16 1024; smaller ones suit slots "
                "of many threads."},
    {.name = "strict",
     .type = CONF_BOOL,
     .offset = AT(strict),
     .fallback = "true",
     .meaning = "Refuse workers whose arithmetic differs in any bit; false: admit and mark them."},
    {.name = "kernels",
     .type = CONF_CHOICE,
     .offset = AT(kernels),
     .fallback = "native",
     .choices = kernels,
     .meaning = "Instructions that every worker uses; native: the best of the coordinator's "
                "machine, or the level that PFT_KERNELS in its environment names, settled when the "
                "run is made."},
    {.name = "precision",
     .type = CONF_CHOICE,
     .offset = AT(precision),
     .fallback = "auto",
     .choices = precisions,
     .meaning =
         "Number type of the products with frozen weights. bf16 is faster and less exact, and "
         "needs kernels x86-64-v4 and AVX512_BF16 on every worker; auto: bf16 where the "
         "coordinator's machine has it, else fp32, settled when the run is made."},

    {.name = "checkpoint.steps",
     .type = CONF_U32,
     .offset = AT(checkpoint_steps),
     .fallback = "20",
     .min = 1,
     .max = 1000000,
     .meaning = "Steps between two checkpoints; a restart replays at most so many."},

    {.name = "audit.rate",
     .type = CONF_F64,
     .offset = AT(audit_rate),
     .fallback = "0.01",
     .min = 0,
     .max = 1,
     .meaning = "Share of a step's units that a second host computes too before the step counts; "
                "which ones no worker can tell. Before there is a band of norms, all. 1: every "
                "unit twice. 0, or one host alone: none (docs/robustness.md)."},

    {.name = "eval.before",
     .type = CONF_BOOL,
     .offset = AT(eval_before),
     .fallback = "true",
     .meaning = "Evaluate before training too, for the comparison."},
    {.name = "eval.readouts",
     .type = CONF_SET,
     .offset = AT(eval_readouts),
     .fallback = "all",
     .choices = readouts,
     .meaning = "How an option is picked from log-probabilities."},
    {.name = "eval.before_readouts",
     .type = CONF_SET,
     .offset = AT(eval_before_readouts),
     .fallback = "all",
     .choices = readouts,
     .meaning = "Which of eval.readouts are taken before training too."},
};

static const struct conf_section sections[] = {
    {"model", "The base model, which stays as it is."},
    {"data", "What is trained on and how it is written into prompts."},
    {"lora", "The adapter."},
    {"train", "The loss, the optimizer and how long."},
    {"sft", "Settings of train.objective: sft."},
    {"dpo", "Settings of train.objective: dpo, named as in TRL's DPOConfig."},
    {"simpo", "Settings of train.objective: simpo, named as in TRL's CPOConfig."},
    {"pft_contrast", "Settings of train.objective: pft-contrast and pft-contrast-ranking."},
    {"ranking", "Settings of train.objective: ranking and pft-contrast-ranking."},
    {"anchor", "What keeps the model where it was, under every objective (docs/objectives.md)."},
    {"checkpoint", "What survives a restart."},
    {"audit", "Gradients that are wrong and look right."},
    {"eval", "Evaluation before and after training."},
};

static const struct conf_schema schema = {.keys = keys,
                                          .n_keys = sizeof keys / sizeof keys[0],
                                          .sections = sections,
                                          .n_sections = sizeof sections / sizeof sections[0]};
static_assert(sizeof keys / sizeof keys[0] <= CONF_KEYS_MAX, "origins hold a place per key");

const struct conf_schema *config_schema(void)
{
    return &schema;
}

static const char *place(const struct conf_origins *origins, const char *key)
{
    return origins->place[conf_find(&schema, key)];
}

static enum err check_objective(const struct run_config *c, const struct conf_origins *o,
                                struct errbuf *e)
{
    uint32_t objective = c->train_objective;
    if (c->train_normalisation == NORMALISATION_PAPER && objective != OBJECTIVE_PFT &&
        objective != OBJECTIVE_SFT) {
        return err_set(e, ERR_REFUSED,
                       "%s: train.normalisation: paper is a mean over answer tokens, which only "
                       "train.objective pft and sft have (now %s, %s)",
                       place(o, "train.normalisation"), objectives[objective],
                       place(o, "train.objective"));
    }
    bool needs_a = objective == OBJECTIVE_SFT && c->sft_side != SFT_SIDE_B;
    bool needs_b = objective == OBJECTIVE_SFT && c->sft_side != SFT_SIDE_A;
    if ((needs_a && !(c->train_w_a > 0)) || (needs_b && !(c->train_w_b > 0))) {
        return err_set(e, ERR_RANGE,
                       "%s: train.objective: sft with sft.side: %s, but the weight of a side it "
                       "trains (train.w_a %g, train.w_b %g) is 0",
                       place(o, "sft.side"), sft_sides[c->sft_side], c->train_w_a, c->train_w_b);
    }
    return OK;
}

/* What no single key can say. */
static enum err check_across(const struct run_config *c, const struct conf_origins *o,
                             struct errbuf *e)
{
    if (c->train_warmup >= 1 && c->train_warmup != floor(c->train_warmup)) {
        return err_set(
            e, ERR_RANGE,
            "%s: train.warmup: %g is neither a share below 1 nor a whole number of steps",
            place(o, "train.warmup"), c->train_warmup);
    }
    if (c->train_normalisation == NORMALISATION_PAPER && c->data_group != GROUP_PAIR) {
        return err_set(e, ERR_REFUSED,
                       "%s: train.normalisation: paper needs data.group: pair (now scenario, %s)",
                       place(o, "train.normalisation"), place(o, "data.group"));
    }
    if (c->data_layout == LAYOUT_PAPER && c->data_system[0] != '\0') {
        return err_set(e, ERR_REFUSED,
                       "%s: data.system: the paper layout is plain text without a system turn; "
                       "leave it empty or take data.layout: preference_last",
                       place(o, "data.system"));
    }
    if (!(c->train_w_a > 0) && !(c->train_w_b > 0)) {
        return err_set(e, ERR_RANGE,
                       "%s: train.w_a and train.w_b are both 0: nothing would be "
                       "learnt",
                       place(o, "train.w_a"));
    }
    enum err error = check_objective(c, o, e);
    if (error != OK) {
        return error;
    }
    if (c->data_max_length > c->tree_tokens_max) {
        return err_set(e, ERR_RANGE,
                       "%s: data.max_length: %u is more than tree_tokens_max, %u (%s)",
                       place(o, "data.max_length"), c->data_max_length, c->tree_tokens_max,
                       place(o, "tree_tokens_max"));
    }
    return OK;
}

enum err config_parse(const char *text, size_t bytes, const char *name, const char *folder,
                      const char *const *sets, int n_sets, struct run_config **out,
                      struct errbuf *e)
{
    struct run_config *cfg = mem_calloc(1, sizeof *cfg);
    struct conf_origins *origins = mem_calloc(1, sizeof *origins);
    enum err error = cfg && origins ? OK : err_set(e, ERR_NOMEM, "%s: no memory", name);
    if (error == OK) {
        error = conf_read(&schema, cfg, text, bytes, name, folder, sets, n_sets, origins, e);
    }
    if (error == OK) {
        error = check_across(cfg, origins, e);
    }
    mem_free(origins);
    if (error != OK) {
        config_free(&cfg);
        return error;
    }
    *out = cfg;
    return OK;
}

enum err config_load(const char *path, const char *const *sets, int n_sets, struct run_config **out,
                     struct errbuf *e)
{
    char *text = NULL;
    size_t bytes = 0;
    char folder[FILE_PATH_BYTES];
    enum err error = file_read(path, LIMIT_YAML_BYTES, &text, &bytes, e);
    if (error != OK) {
        return error;
    }
    file_folder_of(folder, path);
    error = config_parse(text, bytes, path, folder, sets, n_sets, out, e);
    mem_free(text);
    return error;
}

void config_dump(const struct run_config *cfg, struct str *out)
{
    conf_dump(&schema, cfg, out);
}

bool config_value(const struct run_config *cfg, const char *key, struct str *out)
{
    int i = conf_find(&schema, key);
    if (i >= 0) {
        conf_value(&schema.keys[i], cfg, out);
    }
    return i >= 0;
}

void config_free(struct run_config **cfg)
{
    if (*cfg) {
        conf_free(&schema, *cfg);
        mem_free(*cfg);
        *cfg = NULL;
    }
}
