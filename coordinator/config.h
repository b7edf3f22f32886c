/* config.h - the settings of a run: every key declared once, in config.c's table (docs/config.md is
 * made from it). Owns: struct run_config, the defaults, the checks across keys. Never: opens the
 * model or the data. Place: read first by every program that makes or opens a run; its dump is kept
 * in run.db. A run_config is read-only once loaded. Blocks on the disk; before threads start (it
 * reads the environment). */
#ifndef PFT_CONFIG_H
#define PFT_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/conf.h"
#include "common/base/err.h"
#include "common/base/str.h"
#include "common/tensor/shape.h"

enum config_layout { LAYOUT_PREFERENCE_LAST, LAYOUT_PAPER };
enum config_group { GROUP_SCENARIO, GROUP_PAIR };
enum config_normalisation { NORMALISATION_MEAN, NORMALISATION_PAPER };
enum config_objective {
    OBJECTIVE_PFT,
    OBJECTIVE_SFT,
    OBJECTIVE_DPO,
    OBJECTIVE_SIMPO,
    OBJECTIVE_PFT_CONTRAST,
    OBJECTIVE_RANKING,
    OBJECTIVE_PFT_CONTRAST_RANKING, /* the PFT loss and both terms */
};
enum config_sft_side { SFT_SIDE_A, SFT_SIDE_B, SFT_SIDE_MIX };
enum config_kernels { CONFIG_NATIVE, CONFIG_PORTABLE, CONFIG_X86_64_V3, CONFIG_X86_64_V4 };
enum config_precision { PRECISION_AUTO, PRECISION_FP32, PRECISION_BF16 };

struct run_config {
    char *model_path; /* "" = the default model (common/format/model_default.h) */

    char *data_train;         /* "" = none */
    char *data_test;          /* "" = none: no evaluation */
    char *data_values;        /* "" = none: enough for pair files */
    char *data_system;        /* content of a system turn; "" = no such turn */
    uint32_t data_hold_out;   /* scenarios of data_train that are not trained on */
    uint32_t data_layout;     /* enum config_layout */
    uint32_t data_group;      /* enum config_group */
    uint32_t data_max_length; /* tokens of a root-to-leaf path */

    struct lora_config lora;

    double train_learning_rate, train_weight_decay, train_beta1, train_beta2, train_eps;
    double train_clip;   /* 0 = no clipping */
    double train_warmup; /* below 1: that share of all steps, rounded up; else so many steps */
    double train_w_a;    /* weight of side a's loss */
    double train_w_b;    /* weight of side b's loss */
    uint32_t train_epochs;
    uint64_t train_max_steps; /* 0 = epochs decide */
    uint32_t train_batch_groups;
    uint32_t train_micro_groups;  /* groups of a micro-batch under NORMALISATION_PAPER */
    uint32_t train_normalisation; /* enum config_normalisation */
    uint64_t train_seed;
    uint32_t train_objective; /* enum config_objective; docs/objectives.md */

    uint32_t sft_side; /* enum config_sft_side */
    double dpo_beta, dpo_label_smoothing;
    double simpo_beta, simpo_gamma, simpo_cpo_alpha, simpo_label_smoothing;
    double pft_contrast_beta, pft_contrast_weight;
    double ranking_beta, ranking_weight;

    char *anchor_data; /* "" = no anchor */
    double anchor_weight;
    uint32_t anchor_texts; /* of a step */

    uint32_t unit_tokens;          /* rows of a unit of several trees */
    uint32_t tree_tokens_max;      /* rows of a tree before it is cut by leaves */
    uint32_t tile_rows, tile_cols; /* of a matrix product; 0 = by precision */
    bool strict;
    uint32_t kernels;   /* enum config_kernels; CONFIG_NATIVE is resolved when the run is made */
    uint32_t precision; /* enum config_precision */
    uint32_t checkpoint_steps;
    double audit_rate; /* share of units that two hosts compute; coordinator/audit.h */

    bool eval_before;
    uint32_t eval_readouts;        /* bit 1 << enum readout */
    uint32_t eval_before_readouts; /* those of them that are taken before training too */
};

/* The declared keys: for help and the sample file (conf_help, conf_sample). */
const struct conf_schema *config_schema(void);

/* Appends docs/config.md; a test checks that the file is what this gives. */
void config_docs(struct str *out);

/* Reads a YAML file, then applies sets ("lora.r=8"), n_sets of them, in order. A key that is not
 * declared, a value out of bounds, a key given twice in the file: refused with file, line, key, the
 * nearest valid name and the bounds. Paths come out absolute: those of the file count from its
 * folder, those of sets from the current one; a path may begin with $NAME (ERR_NOT_FOUND names a
 * variable that is not set). The caller frees it with config_free. */
MUST_USE enum err config_load(const char *path, const char *const *sets, int n_sets,
                              struct run_config **out, struct errbuf *e);

/* The same from text in memory, e.g. the dump in a run.db; name stands in messages, relative paths
 * count from folder. bytes 0 gives the defaults. */
MUST_USE enum err config_parse(const char *text, size_t bytes, const char *name, const char *folder,
                               const char *const *sets, int n_sets, struct run_config **out,
                               struct errbuf *e);

/* Appends every key with its value as YAML in the order of the table: the same settings always give
 * the same text, and config_parse of it the same settings. Check str_ok. */
void config_dump(const struct run_config *cfg, struct str *out);

/* One value as text ("x86-64-v4", "[q, k]", "0.0005"), for reports. False: no such key. */
bool config_value(const struct run_config *cfg, const char *key, struct str *out);

void config_free(struct run_config **cfg); /* NULL inside is fine */

#endif
