/* weights_open.c - the block of weights as a file that processes share: found, checked, or made. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/check.h"
#include "common/base/failpoint.h"
#include "common/base/file.h"
#include "common/base/hash.h"
#include "common/format/model_default.h"
#include "common/format/model_file.h"
#include "worker/model/weights.h"

enum { HEADER_BYTES = 4096, VERSION = 1, NAME_DIGITS = 32 };

struct header {
    char magic[4];
    uint32_t version;
    uint64_t floats;
    uint8_t digest[HASH_XXH128_BYTES];
    char model_hash[HASH_SHA256_HEX];
};
_Static_assert(sizeof(struct header) <= HEADER_BYTES, "the header has room");

struct sharing {
    const struct model_file *mf;
    const char *model_hash;
    size_t floats, bytes; /* of the block, of the file */
    char path[FILE_PATH_BYTES];
};

static enum err fail(struct errbuf *note, const char *path, const char *what)
{
    return err_set(note, ERR_IO, "%s: %s: %s", path, what, strerror(errno));
}

/* Maps the file when it is whole, ours and of this model. ERR_NOT_FOUND: there is none. */
static enum err map_file(const struct sharing *s, struct weights *w, struct errbuf *note)
{
    struct stat st;
    int fd = open(s->path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        (void)fail(note, s->path, "cannot be opened");
        return errno == ENOENT ? ERR_NOT_FOUND : ERR_IO;
    }
    enum err error = OK;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_uid != geteuid() ||
        (st.st_mode & 022) != 0) {
        error = err_set(note, ERR_REFUSED, "%s: is not a file of this user alone", s->path);
    } else if ((size_t)st.st_size != s->bytes) {
        error = err_set(note, ERR_CORRUPT, "%s: has %lld bytes, not %zu", s->path,
                        (long long)st.st_size, s->bytes);
    }
    void *map = error == OK ? mmap(NULL, s->bytes, PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;
    if (error == OK && map == MAP_FAILED) {
        error = fail(note, s->path, "cannot be mapped");
    }
    (void)close(fd);
    if (error != OK) {
        return error;
    }
    const struct header *h = map;
    float *block = (float *)(void *)((char *)map + HEADER_BYTES);
    uint8_t digest[HASH_XXH128_BYTES];
    hash_xxh128(block, s->floats * sizeof(float), digest);
    if (memcmp(h->magic, "PFTW", 4) != 0 || h->version != VERSION || h->floats != s->floats ||
        memcmp(h->digest, digest, sizeof digest) != 0 ||
        strncmp(h->model_hash, s->model_hash, sizeof h->model_hash) != 0) {
        error = err_set(note, ERR_CORRUPT, "%s: does not hold the weights of this model", s->path);
    } else {
        error = weights_place(w, model_shape(s->mf), block, note);
    }
    if (error != OK) {
        (void)munmap(map, s->bytes);
        return error;
    }
    w->map = map;
    w->map_bytes = s->bytes;
    return OK;
}

/* Fills a new file. model_error: the model itself cannot be read. */
static enum err fill_file(const struct sharing *s, int fd, const char *path, bool *model_error,
                          struct errbuf *e)
{
    int code = FAILPOINT_FAILS("weights.room") ? errno : posix_fallocate(fd, 0, (off_t)s->bytes);
    if (code != 0) {
        errno = code;
        return fail(e, path, "no room for the weights");
    }
    void *map = mmap(NULL, s->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) {
        return fail(e, path, "cannot be mapped");
    }
    struct weights w = {0};
    float *block = (float *)(void *)((char *)map + HEADER_BYTES);
    enum err error = weights_place(&w, model_shape(s->mf), block, e);
    if (error == OK) {
        error = weights_read(&w, s->mf, 0, e);
        *model_error = error != OK;
    }
    if (error == OK) {
        struct header *h = map;
        memcpy(h->magic, "PFTW", sizeof h->magic);
        h->version = VERSION;
        h->floats = s->floats;
        hash_xxh128(block, s->floats * sizeof(float), h->digest);
        (void)snprintf(h->model_hash, sizeof h->model_hash, "%s", s->model_hash);
    }
    w.map = map;
    w.map_bytes = s->bytes;
    weights_free(&w);
    return error;
}

static enum err make_file(const struct sharing *s, bool *model_error, struct errbuf *e)
{
    char path[FILE_PATH_BYTES + 32];
    (void)snprintf(path, sizeof path, "%s.%ld", s->path, (long)getpid());
    (void)unlink(path); /* of a process of the same number that was killed */
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        return fail(e, path, "cannot be made");
    }
    enum err error = fill_file(s, fd, path, model_error, e);
    (void)close(fd);
    if (error == OK && (FAILPOINT_FAILS("weights.filled") || rename(path, s->path) != 0)) {
        error = fail(e, path, "cannot be renamed");
    }
    if (error != OK) {
        (void)unlink(path);
    }
    FAILPOINT("weights.renamed");
    return error;
}

/* Finds or makes the file while no other process does. */
static enum err share(const struct sharing *s, struct weights *w, bool *model_error,
                      struct errbuf *note)
{
    enum err error = map_file(s, w, note);
    if (error == OK || error == ERR_REFUSED) {
        return error;
    }
    char lock[FILE_PATH_BYTES + 8];
    (void)snprintf(lock, sizeof lock, "%s.lock", s->path);
    int fd = open(lock, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0 || flock(fd, LOCK_EX) != 0) {
        error = fail(note, lock, "cannot be locked");
    } else {
        error = map_file(s, w, note); /* another process was faster */
        if (error != OK && error != ERR_REFUSED) {
            error = make_file(s, model_error, note);
            error = error == OK ? map_file(s, w, note) : error;
        }
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    return error;
}

static enum err prepare(struct sharing *s, const char *folder, struct errbuf *note)
{
    char cache[FILE_PATH_BYTES];
    char name[NAME_DIGITS + 16];
    enum err error = OK;
    if (!folder) {
        error = model_cache_folder(cache, note);
        folder = cache;
    }
    if (error == OK) {
        error = file_make_folder(folder, note);
    }
    (void)snprintf(name, sizeof name, "weights-%.*s.f32", NAME_DIGITS, s->model_hash);
    return error == OK ? file_join(s->path, folder, name, note) : error;
}

enum err weights_open(struct weights *w, const struct model_file *mf, const char *model_hash,
                      const char *folder, size_t min_floats, struct errbuf *note, struct errbuf *e)
{
    struct sharing s = {
        .mf = mf, .model_hash = model_hash, .floats = weights_floats(model_shape(mf))};
    bool model_error = false;
    *w = (struct weights){0};
    note->text[0] = '\0';
    if (s.floats < min_floats) {
        return weights_load(w, mf, 0, e);
    }
    s.bytes = HEADER_BYTES + s.floats * sizeof(float);
    enum err error = prepare(&s, folder, note);
    if (error == OK) {
        error = share(&s, w, &model_error, note);
    }
    if (error == OK) {
        note->text[0] = '\0';
        return OK;
    }
    return model_error ? err_set(e, error, "%s", note->text) : weights_load(w, mf, 0, e);
}

void weights_cool(const struct weights *w)
{
    if (w->map) {
        (void)madvise(w->map, w->map_bytes, MADV_DONTNEED);
    }
}
