/* sim_calls.c - the file calls of the project's own code (linked with --wrap) on paths below /sim,
 * answered by sim_disk.c. Everything else goes to the system. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/check.h"
#include "tests/sim/sim.h"

enum { FD_FIRST = 1 << 20, FDS = 64, FD_PATH = 128 };

static struct {
    bool used, folder, append;
    int inode;
    uint64_t at;
    char path[FD_PATH];
} fds[FDS];

static struct {
    bool open;
    char folder[FD_PATH];
    size_t at;
    struct dirent entry;
} listing;

/* The names that --wrap gives to what is called and to what the system has. */
#define WRAPPED(result, name, ...)                                                                 \
    result __real_##name(__VA_ARGS__);                                                             \
    result __wrap_##name(__VA_ARGS__);

WRAPPED(int, open, const char *path, int flags, ...)
WRAPPED(int, close, int fd)
WRAPPED(ssize_t, read, int fd, void *out, size_t bytes)
WRAPPED(ssize_t, pread, int fd, void *out, size_t bytes, off_t at)
WRAPPED(ssize_t, write, int fd, const void *data, size_t bytes)
WRAPPED(ssize_t, pwrite, int fd, const void *data, size_t bytes, off_t at)
WRAPPED(int, fsync, int fd)
WRAPPED(int, fdatasync, int fd)
WRAPPED(int, ftruncate, int fd, off_t bytes)
WRAPPED(int, rename, const char *from, const char *to)
WRAPPED(int, unlink, const char *path)
WRAPPED(int, remove, const char *path)
WRAPPED(int, mkdir, const char *path, mode_t mode)
WRAPPED(int, stat, const char *path, struct stat *info)
WRAPPED(int, fstat, int fd, struct stat *info)
WRAPPED(int, flock, int fd, int operation)
WRAPPED(DIR *, opendir, const char *path)
WRAPPED(struct dirent *, readdir, DIR *dir)
WRAPPED(int, closedir, DIR *dir)

static bool ours(const char *path)
{
    return strncmp(path, "/sim", 4) == 0 && (path[4] == '/' || path[4] == '\0');
}

static int answer(int code)
{
    if (code < 0) {
        errno = -code;
        return -1;
    }
    return code;
}

static ssize_t answer_bytes(long code)
{
    if (code < 0) {
        errno = (int)-code;
        return -1;
    }
    return code;
}

uint32_t sim_calls_open(void)
{
    uint32_t n = listing.open;
    for (int i = 0; i < FDS; i++) {
        n += fds[i].used;
    }
    return n;
}

int __wrap_open(const char *path, int flags, ...)
{
    if (!ours(path)) {
        va_list args;
        va_start(args, flags);
        int mode = flags & O_CREAT ? va_arg(args, int) : 0;
        va_end(args);
        return __real_open(path, flags, mode);
    }
    int inode = sim_disk_open(path, flags);
    if (inode < 0) {
        return answer(inode);
    }
    bool folder;
    uint64_t bytes;
    (void)sim_disk_exists(path, &folder, &bytes);
    for (int i = 0; i < FDS; i++) {
        if (!fds[i].used) {
            fds[i].used = true;
            fds[i].folder = folder;
            fds[i].append = (flags & O_APPEND) != 0;
            fds[i].inode = inode;
            fds[i].at = 0;
            (void)snprintf(fds[i].path, FD_PATH, "%s", path);
            return FD_FIRST + i;
        }
    }
    CHECK(!"a file descriptor is left: they leak");
    return -1;
}

int __wrap_close(int fd)
{
    if (fd < FD_FIRST) {
        return __real_close(fd);
    }
    CHECK(fds[fd - FD_FIRST].used);
    fds[fd - FD_FIRST].used = false;
    return 0;
}

ssize_t __wrap_read(int fd, void *out, size_t bytes)
{
    if (fd < FD_FIRST) {
        return __real_read(fd, out, bytes);
    }
    long n = sim_disk_read(fds[fd - FD_FIRST].inode, fds[fd - FD_FIRST].at, out, bytes);
    fds[fd - FD_FIRST].at += n > 0 ? (uint64_t)n : 0;
    return answer_bytes(n);
}

ssize_t __wrap_pread(int fd, void *out, size_t bytes, off_t at)
{
    return fd < FD_FIRST
               ? __real_pread(fd, out, bytes, at)
               : answer_bytes(sim_disk_read(fds[fd - FD_FIRST].inode, (uint64_t)at, out, bytes));
}

ssize_t __wrap_write(int fd, const void *data, size_t bytes)
{
    if (fd < FD_FIRST) {
        return __real_write(fd, data, bytes);
    }
    int inode = fds[fd - FD_FIRST].inode;
    uint64_t at = fds[fd - FD_FIRST].append ? sim_disk_bytes(inode) : fds[fd - FD_FIRST].at;
    long n = sim_disk_write(inode, at, data, bytes);
    fds[fd - FD_FIRST].at = at + (n > 0 ? (uint64_t)n : 0);
    return answer_bytes(n);
}

ssize_t __wrap_pwrite(int fd, const void *data, size_t bytes, off_t at)
{
    return fd < FD_FIRST
               ? __real_pwrite(fd, data, bytes, at)
               : answer_bytes(sim_disk_write(fds[fd - FD_FIRST].inode, (uint64_t)at, data, bytes));
}

int __wrap_fsync(int fd)
{
    if (fd < FD_FIRST) {
        return __real_fsync(fd);
    }
    return answer(fds[fd - FD_FIRST].folder ? sim_disk_sync_folder(fds[fd - FD_FIRST].path)
                                            : sim_disk_sync(fds[fd - FD_FIRST].inode));
}

int __wrap_fdatasync(int fd)
{
    return fd < FD_FIRST ? __real_fdatasync(fd) : __wrap_fsync(fd);
}

int __wrap_ftruncate(int fd, off_t bytes)
{
    return fd < FD_FIRST ? __real_ftruncate(fd, bytes)
                         : answer(sim_disk_truncate(fds[fd - FD_FIRST].inode, (uint64_t)bytes));
}

int __wrap_rename(const char *from, const char *to)
{
    return ours(from) ? answer(sim_disk_rename(from, to)) : __real_rename(from, to);
}

int __wrap_unlink(const char *path)
{
    return ours(path) ? answer(sim_disk_unlink(path)) : __real_unlink(path);
}

int __wrap_remove(const char *path)
{
    return ours(path) ? answer(sim_disk_unlink(path)) : __real_remove(path);
}

int __wrap_mkdir(const char *path, mode_t mode)
{
    return ours(path) ? answer(sim_disk_mkdir(path)) : __real_mkdir(path, mode);
}

int __wrap_stat(const char *path, struct stat *info)
{
    bool folder;
    uint64_t bytes;
    if (!ours(path)) {
        return __real_stat(path, info);
    }
    if (!sim_disk_exists(path, &folder, &bytes)) {
        return answer(-ENOENT);
    }
    memset(info, 0, sizeof *info);
    info->st_mode = folder ? S_IFDIR | 0700 : S_IFREG | 0600;
    info->st_size = (off_t)bytes;
    return 0;
}

int __wrap_fstat(int fd, struct stat *info)
{
    if (fd < FD_FIRST) {
        return __real_fstat(fd, info);
    }
    memset(info, 0, sizeof *info);
    info->st_mode = fds[fd - FD_FIRST].folder ? S_IFDIR | 0700 : S_IFREG | 0600;
    info->st_size = fds[fd - FD_FIRST].folder ? 0 : (off_t)sim_disk_bytes(fds[fd - FD_FIRST].inode);
    return 0;
}

int __wrap_flock(int fd, int operation)
{
    if (fd < FD_FIRST) {
        return __real_flock(fd, operation);
    }
    return sim_disk_lock(fds[fd - FD_FIRST].inode) ? 0 : answer(-EWOULDBLOCK);
}

DIR *__wrap_opendir(const char *path)
{
    bool folder;
    uint64_t bytes;
    if (!ours(path)) {
        return __real_opendir(path);
    }
    if (!sim_disk_exists(path, &folder, &bytes) || !folder) {
        errno = ENOENT;
        return NULL;
    }
    CHECK(!listing.open);
    listing.open = true;
    listing.at = 0;
    (void)snprintf(listing.folder, FD_PATH, "%s", path);
    return (DIR *)(void *)&listing;
}

struct dirent *__wrap_readdir(DIR *dir)
{
    if ((void *)dir != (void *)&listing) {
        return __real_readdir(dir);
    }
    const char *name = sim_disk_list(listing.folder, &listing.at);
    if (!name) {
        return NULL;
    }
    (void)snprintf(listing.entry.d_name, sizeof listing.entry.d_name, "%s", name);
    return &listing.entry;
}

int __wrap_closedir(DIR *dir)
{
    if ((void *)dir != (void *)&listing) {
        return __real_closedir(dir);
    }
    listing.open = false;
    return 0;
}
