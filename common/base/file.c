/* file.c - whole files in and out. */
#include "common/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/mem.h"

static enum err fail(struct errbuf *e, const char *path, const char *what)
{
    int errnum = errno;
    return err_set(e, err_from_errno(errnum), "%s: cannot %s: %s", path, what, strerror(errnum));
}

/* O_NONBLOCK so that opening a FIFO returns; the type is checked before anything is read. */
enum err file_open(const char *path, int *fd, size_t *bytes, struct errbuf *e)
{
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*fd < 0) {
        return fail(e, path, "be opened");
    }
    struct stat info;
    enum err error = OK;
    if (fstat(*fd, &info) != 0) {
        error = fail(e, path, "be examined");
    } else if (!S_ISREG(info.st_mode)) {
        error = err_set(e, ERR_UNSUPPORTED, "%s: is %s, a regular file is needed", path,
                        S_ISDIR(info.st_mode) ? "a folder" : "not a regular file");
    }
    if (error != OK) {
        (void)close(*fd);
        *fd = -1;
        return error;
    }
    *bytes = (size_t)info.st_size;
    return OK;
}

enum err file_read_at(int fd, const char *path, uint64_t offset, void *out, size_t bytes,
                      struct errbuf *e)
{
    char *at = out;
    if (offset > INT64_MAX - bytes) {
        return err_set(e, ERR_RANGE, "%s: offset %" PRIu64 " is beyond any file", path, offset);
    }
    while (bytes > 0) {
        ssize_t n = pread(fd, at, bytes, (off_t)offset);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return fail(e, path, "be read");
        }
        if (n == 0) {
            return err_set(e, ERR_IO, "%s: ends at byte %" PRIu64 ", %zu bytes more were expected",
                           path, offset, bytes);
        }
        at += n;
        offset += (uint64_t)n;
        bytes -= (size_t)n;
    }
    return OK;
}

enum err file_read(const char *path, size_t limit, char **data, size_t *bytes, struct errbuf *e)
{
    int fd;
    size_t size = 0;
    enum err error = file_open(path, &fd, &size, e);
    if (error != OK) {
        return error;
    }
    if (size > limit) {
        (void)close(fd);
        return err_set(e, ERR_RANGE, "%s: has %zu bytes, at most %zu are read", path, size, limit);
    }
    char *buffer = mem_calloc(size + 1, 1);
    size_t got = 0;
    error = buffer ? OK : err_set(e, ERR_NOMEM, "%s: no memory for %zu bytes", path, size);
    while (error == OK && got < size) {
        ssize_t n = read(fd, buffer + got, size - got);
        if (n < 0 && errno != EINTR) {
            error = fail(e, path, "be read");
        } else if (n == 0) {
            error = err_set(e, ERR_IO, "%s: ended at byte %zu of %zu while being read", path, got,
                            size);
        } else if (n > 0) {
            got += (size_t)n;
        }
    }
    (void)close(fd);
    if (error != OK) {
        mem_free(buffer);
        return error;
    }
    *data = buffer;
    *bytes = size;
    return OK;
}

enum err file_map(const char *path, struct file_map *map, struct errbuf *e)
{
    int fd;
    size_t size = 0;
    enum err error = file_open(path, &fd, &size, e);
    if (error != OK) {
        return error;
    }
    *map = (struct file_map){0};
    if (size > 0) {
        void *data = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED) {
            error = fail(e, path, "be mapped");
        } else {
            *map = (struct file_map){.data = data, .bytes = size};
        }
    }
    (void)close(fd);
    return error;
}

void file_unmap(struct file_map *map)
{
    if (map->data) {
        (void)munmap((void *)(uintptr_t)map->data, map->bytes);
    }
    *map = (struct file_map){0};
}

static enum err write_all(int fd, const char *path, const char *data, size_t bytes,
                          struct errbuf *e)
{
    while (bytes > 0) {
        ssize_t n = write(fd, data, bytes);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return fail(e, path, "be written");
        }
        data += n;
        bytes -= (size_t)n;
    }
    return OK;
}

enum err file_sync(int fd, const char *path, struct errbuf *e)
{
    if (fsync(fd) != 0) {
        (void)fail(e, path, "be synced");
        return ERR_IO;
    }
    return OK;
}

/* What cannot be replaced whole: a device, a FIFO, a link that leads to nothing yet. */
static enum err write_into(const char *path, const void *data, size_t bytes, struct errbuf *e)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) {
        return fail(e, path, "be opened");
    }
    enum err error = write_all(fd, path, data, bytes, e);
    if (close(fd) != 0 && error == OK) {
        error = fail(e, path, "be closed");
    }
    return error;
}

static bool is_special(const char *path, bool linked)
{
    struct stat info;
    char target[1];
    return stat(path, &info) == 0 ? !S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode)
                                  : !linked && readlink(path, target, sizeof target) >= 0;
}

static enum err replace(const char *path, const void *data, size_t bytes, struct errbuf *e)
{
    char temporary[FILE_PATH_BYTES + 32];
    char folder[FILE_PATH_BYTES];
    int n = snprintf(temporary, sizeof temporary, "%s.tmp-%ld", path, (long)getpid());
    if (n < 0 || (size_t)n >= sizeof temporary) {
        return err_set(e, ERR_RANGE, "%s: path is longer than %d bytes", path, FILE_PATH_BYTES);
    }
    (void)unlink(temporary);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0) {
        return fail(e, temporary, "be created");
    }
    enum err error = write_all(fd, temporary, data, bytes, e);
    error = error == OK ? file_sync(fd, temporary, e) : error;
    if (close(fd) != 0 && error == OK) {
        error = fail(e, temporary, "be closed");
    }
    if (error == OK && rename(temporary, path) != 0) {
        error = fail(e, path, "be replaced");
    }
    if (error != OK) {
        (void)unlink(temporary);
        return error;
    }
    file_folder_of(folder, path);
    return file_sync_folder(folder, e);
}

enum err file_write_atomic(const char *path, const void *data, size_t bytes, struct errbuf *e)
{
    char *real = realpath(path, NULL);
    enum err error = is_special(path, real != NULL) ? write_into(path, data, bytes, e)
                                                    : replace(real ? real : path, data, bytes, e);
    mem_free(real);
    return error;
}

enum err file_sync_folder(const char *path, struct errbuf *e)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return fail(e, path, "be opened");
    }
    enum err error = file_sync(fd, path, e);
    (void)close(fd);
    return error;
}

enum err file_make_folder(const char *path, struct errbuf *e)
{
    char part[FILE_PATH_BYTES];
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof part) {
        return err_set(e, ERR_RANGE, "folder path of %zu bytes; 1 to %zu are possible", length,
                       sizeof part - 1);
    }
    for (size_t i = 1; i <= length; i++) {
        if (path[i] != '/' && path[i] != '\0') {
            continue;
        }
        memcpy(part, path, i);
        part[i] = '\0';
        if (mkdir(part, 0700) != 0 && errno != EEXIST) {
            return fail(e, part, "be made");
        }
    }
    struct stat info;
    if (stat(path, &info) != 0 || !S_ISDIR(info.st_mode)) {
        return err_set(e, ERR_IO, "%s: exists and is not a folder", path);
    }
    return OK;
}

bool file_exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0;
}

enum err file_join(char out[FILE_PATH_BYTES], const char *folder, const char *name,
                   struct errbuf *e)
{
    int n = name[0] == '/' ? snprintf(out, FILE_PATH_BYTES, "%s", name)
                           : snprintf(out, FILE_PATH_BYTES, "%s/%s", folder, name);
    if (n < 0 || n >= FILE_PATH_BYTES) {
        return err_set(e, ERR_RANGE, "%s/%s: path is longer than %d bytes", folder, name,
                       FILE_PATH_BYTES - 1);
    }
    return OK;
}

enum err file_absolute(char out[FILE_PATH_BYTES], const char *path, struct errbuf *e)
{
    char *real = realpath(path, NULL);
    if (!real) {
        return err_set(e, ERR_NOT_FOUND, "%s: there is no such file", path);
    }
    int n = snprintf(out, FILE_PATH_BYTES, "%s", real);
    mem_free(real);
    return n < FILE_PATH_BYTES ? OK : err_set(e, ERR_RANGE, "%s: the path is too long", path);
}

void file_folder_of(char out[FILE_PATH_BYTES], const char *path)
{
    const char *slash = strrchr(path, '/');
    size_t n = slash ? (size_t)(slash - path) : 0;
    if (!slash) {
        out[0] = '.';
        n = 1;
    } else if (n == 0) {
        out[0] = '/';
        n = 1;
    } else {
        n = n < FILE_PATH_BYTES ? n : FILE_PATH_BYTES - 1;
        memcpy(out, path, n);
    }
    out[n] = '\0';
}
