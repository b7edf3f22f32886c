/* libfuzzer.c - a fuzz target on libFuzzer's main. PFT_FUZZ_WRITE_SEEDS=FOLDER: only writes the
 * target's seeds there, for libFuzzer to start from. */
#include <stdlib.h>

#include "tests/fuzz/driver.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    const char *folder = getenv("PFT_FUZZ_WRITE_SEEDS");
    if (folder) {
        fuzz_seeds_write(folder);
        exit(0);
    }
    return 0;
}
