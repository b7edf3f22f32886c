/* fuzz_weights.c - the file of weights that processes share, damaged: whatever lies there, what is
 * opened holds the model's weights. An input says how a good file is damaged: u32 bytes that are
 * left of it (beyond its end: zeros are added), then edits of 5 bytes, u32 place and the new byte.
 */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/bytes.h"
#include "common/base/check.h"
#include "common/base/mem.h"
#include "common/format/model_file.h"
#include "tests/fuzz/driver.h"
#include "tests/support/temp_folder.h"
#include "worker/model/weights.h"

enum { EDIT_BYTES = 5, EDITS_MAX = 64, GROWN_BYTES = 64, HEADER_BYTES = 4096 };

static const char hash[] = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

static struct {
    bool ready;
    struct temp_folder temp;
    char path[FILE_PATH_BYTES];
    struct model_file *mf;
    struct weights plain;
    struct fuzz_seed good; /* the file as the program makes it */
} f;

static void clean_up(void)
{
    weights_free(&f.plain);
    model_close(&f.mf);
    mem_free(f.good.data);
    temp_folder_clear(f.temp.path);
}

static void set_up(void)
{
    struct errbuf e = {0};
    struct errbuf note;
    struct weights made;
    struct stat st;
    bool memory = stat("/dev/shm", &st) == 0 && S_ISDIR(st.st_mode); /* no disk: many more runs */
    (void)snprintf(f.temp.path, sizeof f.temp.path, "%s/pft-fuzz-XXXXXX",
                   memory ? "/dev/shm" : "/tmp");
    CHECK(mkdtemp(f.temp.path));
    (void)snprintf(f.path, sizeof f.path, "%s/weights-%.32s.f32", f.temp.path, hash);
    CHECK(model_open("tests/golden/tiny", &f.mf, &e) == OK);
    CHECK(weights_load(&f.plain, f.mf, 1, &e) == OK);
    CHECK(weights_open(&made, f.mf, hash, f.temp.path, 0, &note, &e) == OK && made.map);
    weights_free(&made);
    f.good = fuzz_seed_file(f.path);
    f.ready = true;
    CHECK(atexit(clean_up) == 0);
}

static void write_damaged(const uint8_t *data, size_t bytes)
{
    size_t n = bytes_get_u32(data) % (f.good.bytes + GROWN_BYTES + 1);
    uint8_t *file = mem_calloc(f.good.bytes + GROWN_BYTES, 1);
    CHECK(file);
    memcpy(file, f.good.data, f.good.bytes);
    for (size_t at = 4; bytes - at >= EDIT_BYTES && at < 4 + EDITS_MAX * EDIT_BYTES;
         at += EDIT_BYTES) {
        file[bytes_get_u32(data + at) % f.good.bytes] = data[at + 4];
    }
    (void)unlink(f.path); /* a file of its own: an earlier one may still be mapped */
    FILE *out = fopen(f.path, "wb");
    CHECK(out && (n == 0 || fwrite(file, 1, n, out) == n) && fclose(out) == 0);
    CHECK(chmod(f.path, 0600) == 0);
    mem_free(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct errbuf e = {0};
    struct errbuf note = {0};
    struct weights w;
    if (!f.ready) {
        set_up();
    }
    if (bytes < 4) {
        return 0;
    }
    write_damaged(data, bytes);
    CHECK(weights_open(&w, f.mf, hash, f.temp.path, 0, &note, &e) == OK);
    CHECK(w.map && note.text[0] == '\0' && w.floats == f.plain.floats);
    CHECK(memcmp(w.embed, f.plain.embed, (size_t)w.shape.vocab * w.shape.hidden * sizeof(float)) ==
          0);
    for (uint32_t i = 0; i < w.shape.layers; i++) {
        CHECK(memcmp(w.layers[i].down, f.plain.layers[i].down,
                     (size_t)w.shape.hidden * w.shape.ff * sizeof(float)) == 0);
        CHECK(memcmp(w.layers[i].attn_norm, f.plain.layers[i].attn_norm,
                     w.shape.hidden * sizeof(float)) == 0);
    }
    weights_free(&w);
    return 0;
}

static struct fuzz_seed seed_of(uint32_t n, uint32_t place, uint8_t value)
{
    uint8_t input[4 + EDIT_BYTES];
    bytes_put_u32(input, n);
    bytes_put_u32(input + 4, place);
    input[8] = value;
    return fuzz_seed_text(input, sizeof input);
}

size_t fuzz_seeds(struct fuzz_seed *seeds)
{
    static const uint32_t places[] = {0, 4, 8, 16, 32, 100, HEADER_BYTES, HEADER_BYTES + 5000};
    size_t n = 0;
    if (!f.ready) {
        set_up();
    }
    uint32_t whole = (uint32_t)f.good.bytes;
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        seeds[n++] = seed_of(whole, places[i], 0xFF);
    }
    seeds[n++] = seed_of(0, 0, 'P');
    seeds[n++] = seed_of(HEADER_BYTES, 0, 'P');
    seeds[n++] = seed_of(whole - 1, 0, 'P');
    seeds[n++] = seed_of(whole + 1, 0, 'P');
    return n;
}
