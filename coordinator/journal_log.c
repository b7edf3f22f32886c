/* journal_log.c - append, sync, cut, read, rotate. */
#include "coordinator/journal_log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common/base/bytes.h"
#include "common/base/failpoint.h"
#include "coordinator/journal.h"

enum { CHECKED_BYTES = 72 }; /* of the header, under its own digest */

static const char magic[8] = {'P', 'F', 'T', 'S', 'T', 'E', 'P', '\n'};

static enum err fail(struct errbuf *e, const char *folder, const char *what)
{
    int errnum = errno;
    return err_set(e, err_from_errno(errnum), "%s/steps.log: cannot %s: %s", folder, what,
                   strerror(errnum));
}

static enum err path_of(const struct journal_log *log, bool closed, uint64_t segment,
                        char path[FILE_PATH_BYTES], struct errbuf *e)
{
    char name[64] = "steps.log";
    if (closed) {
        (void)snprintf(name, sizeof name, "steps-%010llu.log", (unsigned long long)segment);
    }
    return file_join(path, log->folder, name, e);
}

bool journal_log_closed(const struct journal_log *log, uint64_t segment)
{
    char path[FILE_PATH_BYTES];
    return path_of(log, true, segment, path, NULL) == OK && file_exists(path);
}

enum err journal_log_open(struct journal_log *log, const char *folder, uint64_t segment,
                          uint64_t end, struct errbuf *e)
{
    char path[FILE_PATH_BYTES];
    struct stat info;
    *log = (struct journal_log){.fd = -1, .segment = segment, .end = end};
    (void)snprintf(log->folder, sizeof log->folder, "%s", folder);
    enum err error = path_of(log, false, segment, path, e);
    if (error != OK) {
        return error;
    }
    bool made = !file_exists(path);
    if (made && end > 0) {
        return err_set(e, ERR_CORRUPT, "%s: is gone, but steps up to its byte %llu are committed",
                       path, (unsigned long long)end);
    }
    log->fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log->fd < 0 || fstat(log->fd, &info) != 0) {
        error = fail(e, folder, "be opened");
    } else if ((uint64_t)info.st_size < end) {
        error = err_set(e, ERR_CORRUPT,
                        "%s: ends at byte %lld, but steps up to byte %llu are committed", path,
                        (long long)info.st_size, (unsigned long long)end);
    } else if (end == 0) { /* it may be new, of an earlier call that found no descriptor, too */
        error = file_sync_folder(folder, e);
    }
    log->torn = error == OK && (uint64_t)info.st_size > end;
    if (error != OK) {
        journal_log_close(log);
    }
    return error;
}

void journal_log_close(struct journal_log *log)
{
    if (log->fd >= 0) {
        (void)close(log->fd);
        log->fd = -1;
    }
}

static void put_f64(uint8_t *out, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    bytes_put_u64(out, bits);
}

static void make_header(uint8_t h[JOURNAL_HEADER_BYTES], uint64_t step, double loss, double lr,
                        size_t count, const uint8_t payload[HASH_XXH128_BYTES])
{
    uint8_t digest[HASH_XXH128_BYTES];
    memset(h, 0, JOURNAL_HEADER_BYTES);
    memcpy(h, magic, sizeof magic);
    bytes_put_u32(h + 8, 1);
    bytes_put_u32(h + 12, JOURNAL_HEADER_BYTES);
    bytes_put_u64(h + 16, step);
    bytes_put_u64(h + 24, count);
    put_f64(h + 32, loss);
    put_f64(h + 40, lr);
    memcpy(h + 48, payload, HASH_XXH128_BYTES);
    hash_xxh128(h, CHECKED_BYTES, digest);
    memcpy(h + CHECKED_BYTES, digest, JOURNAL_HEADER_BYTES - CHECKED_BYTES);
}

static enum err cut_back(const struct journal_log *log, struct errbuf *e)
{
    return ftruncate(log->fd, (off_t)log->end) == 0 ? OK : fail(e, log->folder, "be cut back");
}

enum err journal_log_cut(struct journal_log *log, struct errbuf *e)
{
    if (!log->torn) {
        return OK;
    }
    enum err error = cut_back(log, e); /* synced with the record that comes there */
    log->torn = error != OK;
    return error;
}

static enum err write_all(const struct journal_log *log, const void *data, size_t bytes,
                          struct errbuf *e)
{
    const char *at = data;
    while (bytes > 0) {
        ssize_t n = write(log->fd, at, bytes);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            enum err error = fail(e, log->folder, "be written");
            return error == ERR_NOSPACE ? error : ERR_IO;
        }
        at += n;
        bytes -= (size_t)n;
    }
    return OK;
}

enum err journal_log_append(struct journal_log *log, uint64_t step, double loss, double lr,
                            const float *gradient, size_t count, struct journal_place *place,
                            struct errbuf *e)
{
    uint8_t header[JOURNAL_HEADER_BYTES];
    size_t bytes = count * sizeof *gradient;
    *place = (struct journal_place){
        .segment = log->segment, .offset = log->end, .bytes = sizeof header + bytes};
    hash_xxh128(gradient, bytes, place->digest);
    place->loss = loss;
    place->lr = lr;
    make_header(header, step, loss, lr, count, place->digest);
    enum err error = journal_log_cut(log, e);
    if (error != OK) {
        return ERR_IO;
    }
    error = write_all(log, header, sizeof header, e);
    if (error == OK && FAILPOINT_FAILS("journal.append")) {
        error = fail(e, log->folder, "be written");
    }
    if (error == OK) {
        error = write_all(log, gradient, bytes, e);
    }
    if (error == OK && (FAILPOINT_FAILS("journal.fsync") || fdatasync(log->fd) != 0)) {
        /* What a failed fsync left behind is unknown; even "no space" must not be retried here. */
        (void)fail(e, log->folder, "be synced");
        return ERR_IO;
    }
    if (error != OK) {
        return error == ERR_NOSPACE && cut_back(log, e) != OK ? ERR_IO : error;
    }
    log->end += place->bytes;
    return OK;
}

static enum err read_at(int fd, void *out, size_t bytes, uint64_t offset)
{
    char *at = out;
    while (bytes > 0) {
        ssize_t n = pread(fd, at, bytes, (off_t)offset);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? ERR_IO : ERR_CORRUPT;
        }
        at += n;
        bytes -= (size_t)n;
        offset += (uint64_t)n;
    }
    return OK;
}

static double get_f64(const uint8_t *in)
{
    uint64_t bits = bytes_get_u64(in);
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static bool header_checks(const uint8_t h[JOURNAL_HEADER_BYTES])
{
    uint8_t digest[HASH_XXH128_BYTES];
    hash_xxh128(h, CHECKED_BYTES, digest);
    return memcmp(h, magic, sizeof magic) == 0 && bytes_get_u32(h + 8) == 1 &&
           memcmp(digest, h + CHECKED_BYTES, JOURNAL_HEADER_BYTES - CHECKED_BYTES) == 0;
}

/* The header of a step, sound and as its row says. */
static enum err read_header(int fd, const char *path, const struct journal_place *place,
                            uint64_t step, uint8_t h[JOURNAL_HEADER_BYTES], struct errbuf *e)
{
    unsigned long long at = (unsigned long long)place->offset;
    enum err error = read_at(fd, h, JOURNAL_HEADER_BYTES, place->offset);
    if (error != OK) {
        return err_set(e, error, "%s: the record of step %llu at byte %llu cannot be read", path,
                       (unsigned long long)step, at);
    }
    if (!header_checks(h) || bytes_get_u64(h + 16) != step) {
        return err_set(e, ERR_CORRUPT, "%s: damaged header of step %llu at byte %llu", path,
                       (unsigned long long)step, at);
    }
    bool same = get_f64(h + 32) == place->loss && get_f64(h + 40) == place->lr &&
                memcmp(h + 48, place->digest, sizeof place->digest) == 0;
    return same ? OK
                : err_set(e, ERR_CORRUPT,
                          "%s: the record of step %llu at byte %llu (loss %.9g, learning rate "
                          "%.9g) and its row in run.db (loss %.9g, learning rate %.9g) differ in "
                          "these or in their digest: one of the two files is damaged or older",
                          path, (unsigned long long)step, at, get_f64(h + 32), get_f64(h + 40),
                          place->loss, place->lr);
}

static enum err read_record(int fd, const char *path, const struct journal_place *place,
                            uint64_t step, float *gradient, size_t count, struct errbuf *e)
{
    uint8_t h[JOURNAL_HEADER_BYTES];
    uint8_t digest[HASH_XXH128_BYTES];
    unsigned long long at = (unsigned long long)place->offset;
    enum err error = read_header(fd, path, place, step, h, e);
    if (error != OK) {
        return error;
    }
    if (bytes_get_u64(h + 24) != count || place->bytes != sizeof h + count * sizeof *gradient) {
        return err_set(e, ERR_CORRUPT,
                       "%s: step %llu at byte %llu has %llu values (%llu bytes in run.db), the "
                       "adapter has %zu",
                       path, (unsigned long long)step, at,
                       (unsigned long long)bytes_get_u64(h + 24), (unsigned long long)place->bytes,
                       count);
    }
    error = read_at(fd, gradient, count * sizeof *gradient, place->offset + sizeof h);
    if (error != OK) {
        return err_set(e, error, "%s: the gradient of step %llu at byte %llu cannot be read", path,
                       (unsigned long long)step, at);
    }
    hash_xxh128(gradient, count * sizeof *gradient, digest);
    if (memcmp(digest, h + 48, sizeof digest) != 0) {
        return err_set(e, ERR_CORRUPT, "%s: damaged gradient of step %llu at byte %llu", path,
                       (unsigned long long)step, at);
    }
    return OK;
}

enum err journal_log_check_end(const struct journal_log *log, const struct journal_place *last,
                               uint64_t step, struct errbuf *e)
{
    char path[FILE_PATH_BYTES];
    uint8_t h[JOURNAL_HEADER_BYTES];
    enum err error = path_of(log, false, log->segment, path, e);
    error = error == OK ? read_at(log->fd, h, sizeof h, 0) : error;
    if (error != OK || !header_checks(h) || bytes_get_u64(h + 16) != last->segment) {
        return err_set(e, error == ERR_IO ? ERR_IO : ERR_CORRUPT,
                       "%s: does not begin with step %llu, as run.db says it does", path,
                       (unsigned long long)last->segment);
    }
    return read_header(log->fd, path, last, step, h, e);
}

enum err journal_log_check_tail(const struct journal_log *log, uint64_t next, size_t count,
                                struct errbuf *e)
{
    struct stat info;
    uint8_t h[JOURNAL_HEADER_BYTES];
    if (fstat(log->fd, &info) != 0) {
        return fail(e, log->folder, "be examined");
    }
    uint64_t tail = (uint64_t)info.st_size - log->end;
    bool whole =
        tail >= sizeof h && read_at(log->fd, h, sizeof h, log->end) == OK && header_checks(h);
    if (tail > sizeof h + count * sizeof(float) || (whole && bytes_get_u64(h + 16) != next)) {
        return err_set(e, ERR_CORRUPT,
                       "%s/run.db: knows %llu steps, %s/steps.log holds %llu bytes of later ones: "
                       "run.db or run.db-wal is older than the log, damaged or gone",
                       log->folder, (unsigned long long)next, log->folder,
                       (unsigned long long)tail);
    }
    return OK;
}

enum err journal_log_read(const struct journal_log *log, const struct journal_place *place,
                          uint64_t step, float *gradient, size_t count, struct errbuf *e)
{
    char path[FILE_PATH_BYTES];
    bool closed = journal_log_closed(log, place->segment);
    enum err error = path_of(log, closed, place->segment, path, e);
    if (error != OK) {
        return error;
    }
    if (!closed && place->segment != log->segment) {
        return err_set(e, ERR_NOT_FOUND, "%s: step %llu is in a segment that was pruned",
                       log->folder, (unsigned long long)step);
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return fail(e, log->folder, "be opened");
    }
    error = read_record(fd, path, place, step, gradient, count, e);
    (void)close(fd);
    return error;
}

enum err journal_log_rotate(struct journal_log *log, uint64_t next, struct errbuf *e)
{
    char from[FILE_PATH_BYTES];
    char to[FILE_PATH_BYTES];
    char folder[FILE_PATH_BYTES];
    enum err error = path_of(log, false, log->segment, from, e);
    error = error == OK ? path_of(log, true, log->segment, to, e) : error;
    if (error != OK) {
        return error;
    }
    if (log->fd >= 0) { /* else an earlier call found no room for the new file */
        error = journal_log_cut(log, e);
        if (error != OK) {
            return error;
        }
        if (FAILPOINT_FAILS("journal.rotate") || rename(from, to) != 0) {
            return fail(e, log->folder, "be renamed");
        }
        journal_log_close(log);
    }
    if (FAILPOINT_FAILS("journal.rotated")) {
        return fail(e, log->folder, "be opened");
    }
    (void)snprintf(folder, sizeof folder, "%s", log->folder);
    return journal_log_open(log, folder, next, 0, e);
}

void journal_log_remove(const struct journal_log *log, uint64_t segment)
{
    char path[FILE_PATH_BYTES];
    if (path_of(log, true, segment, path, NULL) == OK) {
        (void)unlink(path);
    }
}
