/* fuzz_reply.c - replies of a model from any bytes: what is read is within the options. */
#include "common/base/check.h"
#include "common/base/limits.h"
#include "coordinator/reply.h"
#include "tests/fuzz/driver.h"

enum { OPTIONS = 3 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    const char *text = (const char *)data;
    const struct data_option options[OPTIONS] = {
        {.text = {"Take the loan at once.", 22}},
        {.text = {"Take the bus", 12}},
        {.text = {text, bytes < 12 ? bytes : 12}},
    };
    for (uint32_t n = 0; n <= OPTIONS; n++) {
        uint64_t picked = 0;
        uint32_t pick = UINT32_MAX;
        bool one = reply_one(text, bytes, options, n, &pick);
        bool all = reply_all(text, bytes, options, n, &picked);
        CHECK(!one || pick < n);
        CHECK(!all || picked >> n == 0);
    }
    return 0;
}

size_t fuzz_seeds(struct fuzz_seed *seeds)
{
    static const char json[] =
        "{\"choices\": [\"A\", 'b', 3, \"Take the\"], \"explanation\": \"x\"}";
    static const char prose[] = "The answer is b. A) Take the bus\nOption C [\"A\", \"B";
    static const char alone[] = "take the LOAN";
    seeds[0] = fuzz_seed_text(json, sizeof json - 1);
    seeds[1] = fuzz_seed_text(prose, sizeof prose - 1);
    seeds[2] = fuzz_seed_text(alone, sizeof alone - 1);
    return 3;
}
