/* driver.h - what a fuzz target gives and gets. A target is one file fuzz_NAME.c with
 * LLVMFuzzerTestOneInput and fuzz_seeds; driver.c is its main, or libFuzzer's with libfuzzer.c. */
#ifndef PFT_FUZZ_DRIVER_H
#define PFT_FUZZ_DRIVER_H

#include <stddef.h>
#include <stdint.h>

enum { FUZZ_SEEDS_MAX = 64, FUZZ_INPUT_BYTES_MAX = 1 << 20 };

struct fuzz_seed {
    uint8_t *data; /* from mem_calloc or file_read; the driver frees it */
    size_t bytes;
};

/* Must return 0; anything wrong is a crash (CHECK, a sanitizer). */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* The target: fills at most FUZZ_SEEDS_MAX inputs, valid and nearly valid, gives their number. */
size_t fuzz_seeds(struct fuzz_seed *seeds);

/* The driver: seeds from text and from a file of the tree (CHECKs that it can be read). */
struct fuzz_seed fuzz_seed_text(const void *data, size_t bytes);
struct fuzz_seed fuzz_seed_file(const char *path);

/* seeds.c: the target's seeds as files of a folder that is there. */
void fuzz_seeds_write(const char *folder);

#endif
