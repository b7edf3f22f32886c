/* fuzz_dataset.c - data files from any bytes, with and without values, grouped both ways. */
#include <string.h>

#include "common/base/check.h"
#include "coordinator/dataset.h"
#include "tests/fuzz/driver.h"

static const char values_text[] =
    "axes:\n- {name: f, poles: [{name: Bold, sentence: b.}, {name: Careful, sentence: c.}]}\n";

static void check(const struct dataset *d, enum config_group grouping)
{
    uint32_t pairs = 0;
    CHECK(d->n_scenarios > 0);
    for (uint32_t i = 0; i < d->n_groups; i++) {
        const struct data_group *g = &d->groups[i];
        const struct data_scenario *s = &d->scenarios[g->scenario];
        CHECK(g->first_pair == pairs && g->n_pairs > 0);
        CHECK(grouping == GROUP_SCENARIO || g->n_pairs == 1);
        for (uint32_t p = 0; p < g->n_pairs; p++) {
            const struct data_pair *pair = &d->pairs[g->first_pair + p];
            CHECK(s->options[pair->a].side == 0 && s->options[pair->b].side == 1);
        }
        pairs += g->n_pairs;
    }
    CHECK(pairs == d->n_pairs);
    for (uint32_t i = 0; i < d->n_scenarios; i++) {
        CHECK(strlen(d->scenarios[i].text.text) == d->scenarios[i].text.bytes);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct values *values = NULL;
    struct errbuf e = {0};
    CHECK(values_parse(values_text, sizeof values_text - 1, "v", &values, &e) == OK);
    for (int i = 0; i < 2; i++) {
        struct dataset *d = NULL;
        enum config_group grouping = i == 0 ? GROUP_SCENARIO : GROUP_PAIR;
        e.text[0] = '\0';
        enum err error =
            dataset_parse((const char *)data, bytes, "f", i == 0 ? values : NULL, grouping, &d, &e);
        CHECK((error == OK) == (d != NULL));
        CHECK(error == OK || e.text[0] != '\0');
        if (d) {
            check(d, grouping);
        }
        dataset_free(&d);
    }
    values_free(&values);
    return 0;
}

size_t fuzz_seeds(struct fuzz_seed *seeds)
{
    static const char vcd[] =
        "[{\"scenario\": \"S\\u00e9 t\", \"preference domain\": \"f\", \"scene\": \"x\",\r\n"
        " \"options\": [{\"text\": \"b\", \"bias\": \"Bold\"}, {\"text\": \"c\", \"bias\": "
        "\"Careful\"}, {\"bias\": \"Careful\", \"text\": \"d\"}]}\n]";
    static const char pairs[] =
        "{\"instruction\": \"I\", \"extra_a\": \"\", \"response_a\": \"a\", \"extra_b\": \"e\", "
        "\"response_b\": \"b\", \"more\": [1, -2.5e3, {\"x\": null}]}\n"
        "{\"instruction\": \"J\", \"extra_a\": \"f\", \"response_a\": \"a\\\"\", \"extra_b\": "
        "\"e\", \"response_b\": \"\xC3\xA9\"}\n";
    static const char dpo[] = "[{\"prompt\": \"p\", \"chosen\": \"c\", \"rejected\": \"r\"}]";
    static const char bqd[] =
        "[{\"question\": \"Q?\\n\\nChoices:\\n (A) x\\n (B) y\", \"answer_matching_behavior\": "
        "\" (B)\", \"answer_not_matching_behavior\": \"(A)\"}]";
    static const char retention[] =
        "[{\"prompt\": \"P\\nChoices:\\n(A) a\\n(B) b\", \"correct\": \"(A)\", \"incorrect\": "
        "\"(B)\", \"category\": \"k\"}, {\"prompt\": \"P\", \"correct\": \"c\", \"incorrect\": "
        "\"d\"}]";
    seeds[0] = fuzz_seed_text(vcd, sizeof vcd - 1);
    seeds[1] = fuzz_seed_text(pairs, sizeof pairs - 1);
    seeds[2] = fuzz_seed_text(dpo, sizeof dpo - 1);
    seeds[3] = fuzz_seed_text(bqd, sizeof bqd - 1);
    seeds[4] = fuzz_seed_text(retention, sizeof retention - 1);
    return 5;
}
