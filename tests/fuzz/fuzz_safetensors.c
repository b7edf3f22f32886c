/* fuzz_safetensors.c - the safetensors header. An input is a file, or "J" and the JSON of a header,
 * to which the right length and 256 bytes of data are added, so that mutations get past the length.
 */
#include <string.h>

#include "common/base/bytes.h"
#include "common/base/check.h"
#include "common/base/mem.h"
#include "common/format/safetensors.h"
#include "tests/fuzz/driver.h"

enum { DATA_BYTES = 256 };

/* What an accepted header promises. */
static void check_tensors(const struct safetensors *st, size_t file_bytes)
{
    for (size_t i = 0; i < safetensors_count(st); i++) {
        const struct safetensors_tensor *t = safetensors_at(st, i);
        CHECK(t->offset <= file_bytes && t->bytes <= file_bytes - t->offset);
        CHECK(t->elements * safetensors_dtype_bytes(t->dtype) == t->bytes);
        CHECK(safetensors_find(st, t->name) == t);
    }
    const struct safetensors_tensor *unnamed = safetensors_find(st, ""); /* the format allows it */
    CHECK(!unnamed || (unnamed == safetensors_at(st, 0) && unnamed->name[0] == '\0'));
    (void)safetensors_metadata(st, "format");
}

static void parse(const void *data, size_t bytes)
{
    struct safetensors *st = NULL;
    struct errbuf e = {0};
    enum err error = safetensors_open_memory(data, bytes, &st, &e);
    CHECK((error == OK) == (st != NULL));
    CHECK(error == OK || e.text[0] != '\0');
    if (st) {
        check_tensors(st, bytes);
    }
    safetensors_close(&st);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes == 0 || data[0] != 'J') {
        parse(data, bytes);
        return 0;
    }
    uint8_t *file = mem_calloc(8 + bytes - 1 + DATA_BYTES, 1);
    CHECK(file);
    bytes_put_u64(file, bytes - 1);
    memcpy(file + 8, data + 1, bytes - 1);
    parse(file, 8 + bytes - 1 + DATA_BYTES);
    mem_free(file);
    return 0;
}

size_t fuzz_seeds(struct fuzz_seed *seeds)
{
    static const char *const headers[] = {
        "J{\"a\":{\"dtype\":\"F32\",\"shape\":[64],\"data_offsets\":[0,256]}}",
        "J{\"__metadata__\":{\"format\":\"pt\"},\"b\":{\"dtype\":\"BF16\",\"shape\":[4,16],"
        "\"data_offsets\":[0,128]},\"a\":{\"dtype\":\"I32\",\"shape\":[2,2,8],\"data_offsets\":"
        "[128,256]},\"empty\":{\"dtype\":\"F64\",\"shape\":[0,3],\"data_offsets\":[128,128]}}   ",
        "J{\"s\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]},\"t\":{\"dtype\":\"BOOL\","
        "\"shape\":[255],\"data_offsets\":[1,256]}}",
        "J{\"deep\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
    };
    size_t n = sizeof headers / sizeof headers[0];
    for (size_t i = 0; i < n; i++) {
        seeds[i] = fuzz_seed_text(headers[i], strlen(headers[i]));
    }
    seeds[n++] = fuzz_seed_file("tests/golden/tiny-sharded/model-00003-of-00003.safetensors");
    return n;
}
