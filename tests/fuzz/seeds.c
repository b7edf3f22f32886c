/* seeds.c - what every driver needs of the seeds: made from text and files, and written to a
 * folder.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/base/check.h"
#include "common/base/file.h"
#include "common/base/mem.h"
#include "tests/fuzz/driver.h"

struct fuzz_seed fuzz_seed_text(const void *data, size_t bytes)
{
    struct fuzz_seed seed = {.data = (uint8_t *)mem_strndup(data, bytes), .bytes = bytes};
    CHECK(seed.data);
    return seed;
}

struct fuzz_seed fuzz_seed_file(const char *path)
{
    struct errbuf e = {0};
    char *data = NULL;
    struct fuzz_seed seed = {0};
    if (file_read(path, FUZZ_INPUT_BYTES_MAX, &data, &seed.bytes, &e) != OK) {
        (void)fprintf(stderr, "fuzz: %s\n", e.text);
        exit(1);
    }
    seed.data = (uint8_t *)data;
    return seed;
}

void fuzz_seeds_write(const char *folder)
{
    struct fuzz_seed seeds[FUZZ_SEEDS_MAX];
    size_t n = fuzz_seeds(seeds);
    CHECK(n > 0 && n <= FUZZ_SEEDS_MAX);
    for (size_t i = 0; i < n; i++) {
        char path[FILE_PATH_BYTES];
        CHECK(snprintf(path, sizeof path, "%s/seed-%02zu", folder, i) < FILE_PATH_BYTES);
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        if (fd < 0 || write(fd, seeds[i].data, seeds[i].bytes) != (ssize_t)seeds[i].bytes) {
            (void)fprintf(stderr, "fuzz: %s cannot be written\n", path);
            exit(1);
        }
        (void)close(fd);
        mem_free(seeds[i].data);
    }
}
