/* checkpoint.c - write one, keep two, load the newest that checks. */
#include "coordinator/checkpoint.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/bytes.h"
#include "common/base/failpoint.h"
#include "common/base/file.h"
#include "common/base/hash.h"
#include "common/base/limits.h"
#include "common/base/mem.h"

enum { HEADER = 96, HEADER_CHECKED = 80, FOUND_MAX = 64 };

/* p, m and v of the largest adapter that fits a message. */
#define CHECKPOINT_BYTES_MAX ((size_t)3 * LIMIT_TENSOR_BYTES + HEADER + HASH_XXH128_BYTES)

static const char magic[8] = {'P', 'F', 'T', 'C', 'K', 'P', 'T', '\n'};

static enum err fail(struct errbuf *e, const char *path, const char *what)
{
    int errnum = errno;
    return err_set(e, err_from_errno(errnum), "%s: cannot %s: %s", path, what, strerror(errnum));
}

static enum err folder_of(const char *run, char folder[FILE_PATH_BYTES], struct errbuf *e)
{
    return file_join(folder, run, "checkpoints", e);
}

static enum err path_of(const char *folder, uint64_t step, char path[FILE_PATH_BYTES],
                        struct errbuf *e)
{
    char name[64];
    (void)snprintf(name, sizeof name, "step-%010llu.ckpt", (unsigned long long)step);
    return file_join(path, folder, name, e);
}

/* Steps of the files that bear a checkpoint's name, newest first; at most FOUND_MAX. */
static uint32_t list_steps(const char *folder, uint64_t steps[FOUND_MAX])
{
    uint32_t n = 0;
    DIR *dir = opendir(folder);
    for (struct dirent *entry; dir && (entry = readdir(dir)) != NULL;) {
        unsigned long long step;
        int used = 0;
        if (sscanf(entry->d_name, "step-%10llu.ckpt%n", &step, &used) != 1 || used == 0 ||
            entry->d_name[used] != '\0') {
            continue;
        }
        uint32_t at = n < FOUND_MAX ? n++ : FOUND_MAX - 1;
        for (; at > 0 && steps[at - 1] < step; at--) {
            steps[at] = steps[at - 1];
        }
        steps[at] = step;
    }
    if (dir) {
        (void)closedir(dir);
    }
    return n;
}

static void put_f64(uint8_t *out, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    bytes_put_u64(out, bits);
}

static double get_f64(const uint8_t *in)
{
    uint64_t bits = bytes_get_u64(in);
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* One digest for all three vectors: the digest of their digests. */
static void body_digest(const float *const vectors[3], size_t count,
                        uint8_t digest[HASH_XXH128_BYTES])
{
    uint8_t parts[3 * HASH_XXH128_BYTES];
    for (int i = 0; i < 3; i++) {
        hash_xxh128(vectors[i], count * sizeof(float), parts + i * HASH_XXH128_BYTES);
    }
    hash_xxh128(parts, sizeof parts, digest);
}

static void header_digest(const uint8_t header[HEADER], const uint8_t body[HASH_XXH128_BYTES],
                          uint8_t digest[HASH_XXH128_BYTES])
{
    uint8_t both[HEADER_CHECKED + HASH_XXH128_BYTES];
    memcpy(both, header, HEADER_CHECKED);
    memcpy(both + HEADER_CHECKED, body, HASH_XXH128_BYTES);
    hash_xxh128(both, sizeof both, digest);
}

static enum err write_all(int fd, const char *path, const void *data, size_t bytes,
                          struct errbuf *e)
{
    const char *at = data;
    while (bytes > 0) {
        ssize_t n = write(fd, at, bytes);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return fail(e, path, "be written");
        }
        at += n;
        bytes -= (size_t)n;
    }
    return OK;
}

static enum err write_file(int fd, const char *path, const struct params *p,
                           const uint8_t config[CHECKPOINT_CONFIG_BYTES], struct errbuf *e)
{
    uint8_t h[HEADER] = {0};
    uint8_t body[HASH_XXH128_BYTES];
    const float *const vectors[3] = {p->adam.p, p->adam.m, p->adam.v};
    body_digest(vectors, p->adam.count, body);
    memcpy(h, magic, sizeof magic);
    bytes_put_u32(h + 8, 1);
    bytes_put_u32(h + 12, HEADER);
    bytes_put_u64(h + 16, p->version);
    bytes_put_u64(h + 24, p->adam.count);
    put_f64(h + 32, p->adam.beta1_t);
    put_f64(h + 40, p->adam.beta2_t);
    memcpy(h + 48, config, CHECKPOINT_CONFIG_BYTES);
    header_digest(h, body, h + HEADER_CHECKED);
    enum err error = write_all(fd, path, h, sizeof h, e);
    for (int i = 0; error == OK && i < 3; i++) {
        error = write_all(fd, path, vectors[i], p->adam.count * sizeof(float), e);
    }
    if (error == OK && FAILPOINT_FAILS("checkpoint.write")) {
        error = fail(e, path, "be written");
    }
    error = error == OK ? write_all(fd, path, body, sizeof body, e) : error;
    if (error == OK && (FAILPOINT_FAILS("checkpoint.fsync") || fsync(fd) != 0)) {
        (void)fail(e, path, "be synced");
        error = ERR_IO;
    }
    return error;
}

struct content {
    char *data; /* the whole file; mem_free */
    uint64_t step, count;
};

/* Reads a checkpoint and checks every byte of it. */
static enum err open_content(const char *path, struct content *c, struct errbuf *e)
{
    uint8_t digest[HASH_XXH128_BYTES];
    size_t bytes;
    enum err error = file_read(path, CHECKPOINT_BYTES_MAX, &c->data, &bytes, e);
    if (error != OK) {
        return error;
    }
    const uint8_t *h = (const uint8_t *)c->data;
    const char *what = NULL;
    if (bytes < HEADER + sizeof digest || memcmp(h, magic, sizeof magic) != 0) {
        what = "is no checkpoint";
    } else if (bytes_get_u32(h + 8) != 1 || bytes_get_u32(h + 12) != HEADER) {
        what = "has a version that this program does not know";
    } else {
        c->step = bytes_get_u64(h + 16);
        c->count = bytes_get_u64(h + 24);
        size_t rest = bytes - HEADER - sizeof digest;
        if (rest % (3 * sizeof(float)) != 0 || rest / (3 * sizeof(float)) != c->count) {
            what = "has another length than its header says";
        }
    }
    if (!what) {
        const float *p = (const float *)(const void *)(h + HEADER);
        const float *const vectors[3] = {p, p + c->count, p + 2 * c->count};
        body_digest(vectors, c->count, digest);
        if (memcmp(digest, h + bytes - sizeof digest, sizeof digest) != 0) {
            what = "is damaged (its values do not match their checksum)";
        } else {
            uint8_t head[HASH_XXH128_BYTES];
            header_digest(h, digest, head);
            what =
                memcmp(head, h + HEADER_CHECKED, sizeof head) != 0 ? "has a damaged header" : NULL;
        }
    }
    if (what) {
        mem_free(c->data);
        return err_set(e, ERR_CORRUPT, "%s: %s", path, what);
    }
    return OK;
}

static enum err checks(const char *path)
{
    struct content c = {0};
    enum err error = open_content(path, &c, NULL);
    if (error == OK) {
        mem_free(c.data);
    }
    return error;
}

/* Deletes all but the newest, which was written just now, and the next one that checks: a damaged
 * file is none to fall back to; one that cannot be looked at now stays, with all that are older.
 * The step of the older one, or 0 when there is only one: then a damaged file falls back to version
 * 0 and the whole log. */
static uint64_t thin_out(const char *folder)
{
    enum err error;
    uint64_t steps[FOUND_MAX];
    char path[FILE_PATH_BYTES];
    uint32_t n = list_steps(folder, steps);
    uint32_t kept = 0;
    uint64_t oldest = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (path_of(folder, steps[i], path, NULL) != OK) {
            continue;
        }
        error = i > 0 && kept < CHECKPOINT_KEPT ? checks(path) : i == 0 ? OK : ERR_CORRUPT;
        if (error == OK) {
            kept++;
            oldest = steps[i];
        } else if (error == ERR_NOSPACE || error == ERR_NOMEM) {
            break;
        } else {
            FAILPOINT("checkpoint.thin_out");
            (void)unlink(path);
        }
    }
    return kept == CHECKPOINT_KEPT ? oldest : 0;
}

enum err checkpoint_write(const char *run, const struct params *p,
                          const uint8_t config[CHECKPOINT_CONFIG_BYTES], uint64_t *oldest,
                          struct errbuf *e)
{
    char folder[FILE_PATH_BYTES];
    char path[FILE_PATH_BYTES];
    char temporary[FILE_PATH_BYTES + 8];
    enum err error = folder_of(run, folder, e);
    error = error == OK ? file_make_folder(folder, e) : error;
    error = error == OK ? path_of(folder, p->version, path, e) : error;
    if (error != OK) {
        return error;
    }
    FAILPOINT("checkpoint.before_write");
    (void)snprintf(temporary, sizeof temporary, "%s.tmp", path);
    (void)unlink(temporary);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        return fail(e, temporary, "be created");
    }
    error = write_file(fd, temporary, p, config, e);
    if (close(fd) != 0 && error == OK) {
        error = fail(e, temporary, "be closed");
    }
    if (error == OK && (FAILPOINT_FAILS("checkpoint.rename") || rename(temporary, path) != 0)) {
        error = fail(e, path, "be put in place");
    }
    if (error != OK) {
        (void)unlink(temporary);
        return error;
    }
    FAILPOINT("checkpoint.renamed");
    error = file_sync_folder(folder, e);
    if (error == OK) {
        *oldest = thin_out(folder);
    }
    return error == OK || error == ERR_NOSPACE ? error : ERR_IO;
}

/* The newest checkpoint that checks, of step `until` at most. */
static enum err newest(const char *run, uint64_t until, struct content *c,
                       char path[FILE_PATH_BYTES], struct str *warnings, struct errbuf *e)
{
    char folder[FILE_PATH_BYTES];
    uint64_t steps[FOUND_MAX];
    enum err error = folder_of(run, folder, e);
    if (error != OK) {
        return error;
    }
    uint32_t n = list_steps(folder, steps);
    error = err_set(e, ERR_NOT_FOUND, "%s: there is no checkpoint", folder);
    for (uint32_t i = 0; i < n; i++) {
        if (steps[i] > until) {
            continue;
        }
        error = path_of(folder, steps[i], path, e);
        error = error == OK ? open_content(path, c, e) : error;
        if (error == OK && c->step != steps[i]) {
            mem_free(c->data);
            error =
                err_set(e, ERR_CORRUPT, "%s: holds step %llu", path, (unsigned long long)c->step);
        }
        if (error == OK) {
            return OK;
        }
        if (warnings && e) {
            str_addf(warnings, "%s; passed over\n", e->text);
        }
    }
    return error;
}

enum err checkpoint_load(const char *run, const uint8_t config[CHECKPOINT_CONFIG_BYTES],
                         uint64_t until, struct params *p, struct str *warnings, struct errbuf *e)
{
    struct content c = {0};
    struct errbuf own;
    char path[FILE_PATH_BYTES];
    e = e ? e : &own;
    enum err error = newest(run, until, &c, path, warnings, e);
    if (error != OK) {
        return error;
    }
    const uint8_t *h = (const uint8_t *)c.data;
    if (config && memcmp(h + 48, config, CHECKPOINT_CONFIG_BYTES) != 0) {
        error = err_set(e, ERR_REFUSED,
                        "%s: was made with other settings, model or data; continue "
                        "with the same ones or give another --out folder",
                        path);
    } else if (c.count != p->adam.count) {
        error = err_set(e, ERR_REFUSED, "%s: has %llu values, the adapter has %zu", path,
                        (unsigned long long)c.count, p->adam.count);
    } else {
        size_t bytes = p->adam.count * sizeof(float);
        memcpy(p->adam.p, h + HEADER, bytes);
        memcpy(p->adam.m, h + HEADER + bytes, bytes);
        memcpy(p->adam.v, h + HEADER + 2 * bytes, bytes);
        p->adam.beta1_t = get_f64(h + 32);
        p->adam.beta2_t = get_f64(h + 40);
        p->version = c.step;
    }
    mem_free(c.data);
    return error;
}

enum err checkpoint_peek(const char *run, size_t *count, uint64_t *step, struct errbuf *e)
{
    struct content c = {0};
    char path[FILE_PATH_BYTES];
    enum err error = newest(run, UINT64_MAX, &c, path, NULL, e);
    if (error == OK) {
        *count = (size_t)c.count;
        *step = c.step;
        mem_free(c.data);
    }
    return error;
}

enum err checkpoint_drop_after(const char *run, uint64_t step, struct errbuf *e)
{
    char folder[FILE_PATH_BYTES];
    char path[FILE_PATH_BYTES];
    uint64_t steps[FOUND_MAX];
    enum err error = folder_of(run, folder, e);
    uint32_t n = error == OK ? list_steps(folder, steps) : 0;
    for (uint32_t i = 0; i < n && error == OK; i++) {
        error = steps[i] > step ? path_of(folder, steps[i], path, e) : OK;
        if (error == OK && steps[i] > step && unlink(path) != 0) {
            error = fail(e, path, "be removed");
        }
    }
    return error == OK && n > 0 ? file_sync_folder(folder, e) : error;
}
