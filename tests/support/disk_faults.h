/* disk_faults.h - makes the n-th file call of the project's own code fail. The linker sends these
 * calls here (--wrap, cmake/tests.cmake: for every test that includes this); what does not fail
 * goes to the system. A failing write puts half of its bytes down first; a sync that works does
 * nothing (nobody pulls a plug here, and disks are slow). With EINTR a read or write does nothing,
 * with 0 it does all but the last byte: neither is an error. One thread. */
#ifndef PFT_DISK_FAULTS_H
#define PFT_DISK_FAULTS_H

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum disk_call {
    DISK_OPEN = 1, /* for writing */
    DISK_WRITE = 2,
    DISK_SYNC = 4,
    DISK_TRUNCATE = 8,
    DISK_RENAME = 16,
    DISK_READ = 32, /* and open for reading */
    DISK_CHANGES = DISK_OPEN | DISK_WRITE | DISK_SYNC | DISK_TRUNCATE | DISK_RENAME,
};

static struct {
    unsigned calls; /* of enum disk_call, that count */
    unsigned long n, seen, failed;
    int errnum;
    bool lasting, sync_failed; /* the first that failed was a sync */
    unsigned long inherited;   /* files opened that a child would inherit */
} disk_faults;

/* The n-th of these calls from now on fails with errnum, and all after it when lasting; n 0: none.
 */
static inline void disk_fail(unsigned calls, unsigned long n, int errnum, bool lasting)
{
    disk_faults.calls = calls;
    disk_faults.n = n;
    disk_faults.errnum = errnum;
    disk_faults.lasting = lasting;
    disk_faults.seen = disk_faults.failed = 0;
    disk_faults.sync_failed = false;
}

static inline bool disk_must_fail(enum disk_call call)
{
    if (disk_faults.n == 0 || !(disk_faults.calls & call)) {
        return false;
    }
    unsigned long seen = ++disk_faults.seen;
    if (seen != disk_faults.n && !(disk_faults.lasting && seen > disk_faults.n)) {
        return false;
    }
    disk_faults.sync_failed =
        disk_faults.failed++ == 0 ? call == DISK_SYNC : disk_faults.sync_failed;
    errno = disk_faults.errnum;
    return true;
}

/* Reads and writes alone are interrupted, or do a part. */
static inline bool disk_in_part(void)
{
    return disk_faults.errnum == 0 || disk_faults.errnum == EINTR;
}

#define DISK_WRAPPED(result, name, ...)                                                            \
    result __real_##name(__VA_ARGS__);                                                             \
    result __wrap_##name(__VA_ARGS__);

DISK_WRAPPED(int, open, const char *path, int flags, ...)
DISK_WRAPPED(ssize_t, read, int fd, void *out, size_t bytes)
DISK_WRAPPED(ssize_t, pread, int fd, void *out, size_t bytes, off_t at)
DISK_WRAPPED(ssize_t, write, int fd, const void *data, size_t bytes)
DISK_WRAPPED(ssize_t, pwrite, int fd, const void *data, size_t bytes, off_t at)
DISK_WRAPPED(int, fsync, int fd)
DISK_WRAPPED(int, fdatasync, int fd)
DISK_WRAPPED(int, ftruncate, int fd, off_t bytes)
DISK_WRAPPED(int, rename, const char *from, const char *to)

int __wrap_open(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
    va_end(args);
    bool reads = (flags & O_ACCMODE) == O_RDONLY;
    disk_faults.inherited += !(flags & O_CLOEXEC);
    return !disk_in_part() && disk_must_fail(reads ? DISK_READ : DISK_OPEN)
               ? -1
               : __real_open(path, flags, mode);
}

ssize_t __wrap_read(int fd, void *out, size_t bytes)
{
    if (!disk_must_fail(DISK_READ)) {
        return __real_read(fd, out, bytes);
    }
    return disk_faults.errnum == 0 ? __real_read(fd, out, bytes > 1 ? bytes - 1 : bytes) : -1;
}

ssize_t __wrap_pread(int fd, void *out, size_t bytes, off_t at)
{
    if (!disk_must_fail(DISK_READ)) {
        return __real_pread(fd, out, bytes, at);
    }
    return disk_faults.errnum == 0 ? __real_pread(fd, out, bytes > 1 ? bytes - 1 : bytes, at) : -1;
}

ssize_t __wrap_write(int fd, const void *data, size_t bytes)
{
    if (!disk_must_fail(DISK_WRITE)) {
        return __real_write(fd, data, bytes);
    }
    if (disk_in_part()) {
        return disk_faults.errnum == 0 ? __real_write(fd, data, bytes > 1 ? bytes - 1 : bytes) : -1;
    }
    if (bytes > 1 && __real_write(fd, data, bytes / 2) < 0) {
        return -1;
    }
    errno = disk_faults.errnum;
    return -1;
}

ssize_t __wrap_pwrite(int fd, const void *data, size_t bytes, off_t at)
{
    return !disk_in_part() && disk_must_fail(DISK_WRITE) ? -1 : __real_pwrite(fd, data, bytes, at);
}

int __wrap_fsync(int fd)
{
    (void)fd;
    return disk_must_fail(DISK_SYNC) ? -1 : 0;
}

int __wrap_fdatasync(int fd)
{
    (void)fd;
    return disk_must_fail(DISK_SYNC) ? -1 : 0;
}

int __wrap_ftruncate(int fd, off_t bytes)
{
    return disk_must_fail(DISK_TRUNCATE) ? -1 : __real_ftruncate(fd, bytes);
}

int __wrap_rename(const char *from, const char *to)
{
    return disk_must_fail(DISK_RENAME) ? -1 : __real_rename(from, to);
}

#endif
