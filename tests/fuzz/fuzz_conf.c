/* fuzz_conf.c - a run's settings and a values file from any bytes; the first byte chooses. */
#include "common/base/check.h"
#include "common/base/str.h"
#include "coordinator/config.h"
#include "coordinator/values.h"
#include "tests/fuzz/driver.h"

#include <string.h>

/* What is read must dump, and the dump must read as the same settings. */
static void check_settings(const char *text, size_t bytes)
{
    struct run_config *cfg = NULL;
    struct run_config *again = NULL;
    struct errbuf e = {0};
    enum err error = config_parse(text, bytes, "fuzz.yaml", "/", NULL, 0, &cfg, &e);
    CHECK((error == OK) == (cfg != NULL));
    CHECK(error == OK || e.text[0] != '\0');
    if (error != OK) {
        return;
    }
    struct str first = {0};
    struct str second = {0};
    config_dump(cfg, &first);
    CHECK(config_parse(first.data, first.len, "dump", "/", NULL, 0, &again, &e) == OK);
    config_dump(again, &second);
    CHECK(first.len == second.len && memcmp(first.data, second.data, first.len) == 0);
    str_free(&first);
    str_free(&second);
    config_free(&cfg);
    config_free(&again);
}

static void check_values(const char *text, size_t bytes)
{
    struct values *v = NULL;
    struct errbuf e = {0};
    enum err error = values_parse(text, bytes, "fuzz.yaml", &v, &e);
    CHECK((error == OK) == (v != NULL));
    CHECK(error == OK || e.text[0] != '\0');
    for (uint32_t i = 0; v && i < v->n_axes; i++) {
        uint32_t axis = 0;
        uint32_t side = 0;
        CHECK(values_find_axis(v, v->axes[i].name, &axis, &e) == OK && axis == i);
        CHECK(values_find_pole(v, i, v->axes[i].poles[1].name, &side, &e) == OK && side == 1);
    }
    values_free(&v);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes > 0 && data[0] == 'V') {
        check_values((const char *)data + 1, bytes - 1);
    } else if (bytes > 0) {
        check_settings((const char *)data + 1, bytes - 1);
    }
    return 0;
}

size_t fuzz_seeds(struct fuzz_seed *seeds)
{
    static const char settings[] =
        "Cmodel:\n  path: \"\"\ndata: {train: a.json, layout: paper, group: pair, max_length: 64}\n"
        "lora:\n  targets: [q, v]\n  dropout: 5e-2\ntrain.normalisation: paper\nstrict: false\n"
        "eval:\n  before: true\n  readouts: all\ntrain: {seed: 3, warmup: 100, w_a: 0.5}\n";
    static const char odd[] =
        "Cdata:\n  system: |\n    a\n    b: \"c\"\n  train: $X/y\n? [a]\n: *x\n";
    static const char values[] =
        "Vaxes:\n  - name: \"Risk\"\n    poles:\n      - {name: A, sentence: 'x y'}\n"
        "      - name: B\n        sentence: \"z\\u00e9\"\n";
    seeds[0] = fuzz_seed_text(settings, sizeof settings - 1);
    seeds[1] = fuzz_seed_text(odd, sizeof odd - 1);
    seeds[2] = fuzz_seed_text(values, sizeof values - 1);
    return 3;
}
