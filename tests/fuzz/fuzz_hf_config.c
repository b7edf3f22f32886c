/* fuzz_hf_config.c - config.json of a Hugging Face folder. */
#include <string.h>

#include "common/base/check.h"
#include "common/format/hf_config.h"
#include "tests/fuzz/driver.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct model_shape shape;
    struct errbuf e = {0};
    enum err error = hf_config_parse((const char *)data, bytes, &shape, &e);
    CHECK(error == OK || e.text[0] != '\0');
    if (error == OK) {
        CHECK(shape_check(&shape, &e) == OK);
    }
    return 0;
}

size_t fuzz_seeds(struct fuzz_seed *seeds)
{
    static const char small[] =
        "{\"model_type\":\"llama\",\"hidden_size\":64,\"num_attention_heads\":4,\"vocab_size\":8,"
        "\"num_hidden_layers\":1,\"intermediate_size\":96,\"rope_scaling\":{\"type\":\"default\"}}";
    seeds[0] = fuzz_seed_text(small, sizeof small - 1);
    seeds[1] = fuzz_seed_file("tests/golden/tiny/config.json");
    seeds[2] = fuzz_seed_file("tests/golden/tiny-untied/config.json");
    return 3;
}
