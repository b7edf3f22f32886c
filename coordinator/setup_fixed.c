/* setup_fixed.c - what must be the same at every start of a run, and the words for what is not. */
#include <string.h>

#include "common/base/check.h"
#include "coordinator/setup.h"

void setup_fixed_keys(const struct run_config *cfg, struct str *text)
{
    static const char *const keys[] = {"data.layout",
                                       "data.group",
                                       "data.system",
                                       "data.max_length",
                                       "lora.r",
                                       "lora.alpha",
                                       "lora.dropout",
                                       "lora.targets",
                                       "train.objective",
                                       "sft.side",
                                       "dpo.beta",
                                       "dpo.label_smoothing",
                                       "simpo.beta",
                                       "simpo.simpo_gamma",
                                       "simpo.cpo_alpha",
                                       "simpo.label_smoothing",
                                       "pft_contrast.beta",
                                       "pft_contrast.weight",
                                       "ranking.beta",
                                       "ranking.weight",
                                       "train.learning_rate",
                                       "train.weight_decay",
                                       "train.beta1",
                                       "train.beta2",
                                       "train.eps",
                                       "train.clip",
                                       "train.warmup",
                                       "train.w_a",
                                       "train.w_b",
                                       "train.epochs",
                                       "train.max_steps",
                                       "train.batch_groups",
                                       "train.micro_groups",
                                       "train.normalisation",
                                       "train.seed",
                                       "unit_tokens",
                                       "tree_tokens_max",
                                       "tile_rows",
                                       "tile_cols"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        str_addf(text, "%s: ", keys[i]);
        (void)config_value(cfg, keys[i], text);
        str_add(text, "\n");
    }
    if (cfg->data_hold_out > 0) { /* the text of a run without is as before there was this key */
        str_addf(text, "data.hold_out: %u\n", cfg->data_hold_out);
    }
}

enum err setup_fix(struct setup *s, struct errbuf *e)
{
    struct str *text = &s->fixed_text;
    setup_fixed_keys(s->cfg, text);
    if (s->anchor) { /* a run without one is as it was before there were any */
        str_addf(text, "anchor.weight: %.17g\nanchor.texts: %u\nanchor: %s\n",
                 s->cfg->anchor_weight, s->cfg->anchor_texts, anchor_hash(s->anchor));
    }
    str_addf(text, "kernels: %s\nprecision: %s\nmodel: %s\ntrain: %s\nvalues: ", s->kernels,
             s->precision, s->model_hash, s->train_hash);
    if (s->values) {
        str_append(text, s->values->text, s->values->text_bytes);
    }
    enum err error = str_ok(text);
    if (error == OK) {
        hash_sha256_hex(text->data, text->len, s->fixed_hex);
        CHECK(hash_from_hex(s->fixed_hex, sizeof s->fixed, s->fixed));
    }
    return error == OK ? OK : err_set(e, error, "no memory for the settings");
}

enum { SHOWN_BYTES = 60 };

/* A line "name: value"; values is the last name and takes the rest of the text. */
struct line {
    const char *name, *value;
    size_t name_bytes, value_bytes;
};

/* The line at *at, which moves behind it; false at the end. */
static bool next_line(const char **at, struct line *line)
{
    const char *colon = strstr(*at, ": ");
    if (!colon) {
        return false;
    }
    *line = (struct line){.name = *at, .value = colon + 2, .name_bytes = (size_t)(colon - *at)};
    bool rest = line->name_bytes == 6 && strncmp(line->name, "values", 6) == 0;
    const char *end = rest ? NULL : strchr(line->value, '\n');
    line->value_bytes = end ? (size_t)(end - line->value) : strlen(line->value);
    *at = line->value + line->value_bytes + (end ? 1 : 0);
    return true;
}

static bool find_line(const char *text, const struct line *wanted, struct line *found)
{
    while (next_line(&text, found)) {
        if (found->name_bytes == wanted->name_bytes &&
            memcmp(found->name, wanted->name, found->name_bytes) == 0) {
            return true;
        }
    }
    return false;
}

/* A file is known by its hash alone: the name of its key says more than the digits. */
static void add_name(const struct line *line, struct str *out)
{
    static const struct {
        const char *name, *words;
    } files[] = {{"model", "the model (model.path), SHA-256"},
                 {"train", "the training data (data.train), SHA-256"},
                 {"anchor", "the texts of the anchor (anchor.data), SHA-256"},
                 {"values", "the values file (data.values)"}};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        if (strlen(files[i].name) == line->name_bytes &&
            memcmp(files[i].name, line->name, line->name_bytes) == 0) {
            str_add(out, files[i].words);
            return;
        }
    }
    str_append(out, line->name, line->name_bytes);
}

static void add_value(const struct line *line, struct str *out)
{
    size_t n = line->value_bytes < SHOWN_BYTES ? line->value_bytes : SHOWN_BYTES;
    for (size_t i = 0; i < n; i++) {
        char shown = (unsigned char)line->value[i] < ' ' ? ' ' : line->value[i];
        str_append(out, &shown, 1);
    }
    str_add(out, n < line->value_bytes ? "..." : n == 0 ? "not set" : "");
}

static void add_change(const struct line *was, const struct line *now, struct str *out)
{
    str_add(out, out->len > 0 ? "; " : "");
    add_name(was ? was : now, out);
    bool text = strncmp((was ? was : now)->name, "values: ", 8) == 0;
    if (text) {
        str_add(out, " has another content");
        return;
    }
    str_add(out, ": was ");
    if (was) {
        add_value(was, out);
    } else {
        str_add(out, "unknown");
    }
    str_add(out, ", now ");
    if (now) {
        add_value(now, out);
    } else {
        str_add(out, "unknown");
    }
}

void setup_difference(const char *earlier, const char *now, struct str *out)
{
    struct line line;
    struct line other;
    for (const char *at = now; next_line(&at, &line);) {
        bool known = find_line(earlier, &line, &other);
        if (!known || other.value_bytes != line.value_bytes ||
            memcmp(other.value, line.value, line.value_bytes) != 0) {
            add_change(known ? &other : NULL, &line, out);
        }
    }
    for (const char *at = earlier; next_line(&at, &line);) {
        if (!find_line(now, &line, &other)) {
            add_change(&line, NULL, out);
        }
    }
}
