/* sim_disk.c - the disk of the coordinator: what programs see (live) and what would be there after
 * the power went (hard). An fsync makes a file's bytes hard, an fsync of a folder its names. When
 * the power goes, every sector and every name that was not synced is there or not as the seed says;
 * names of one folder change in the order in which they were made. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/mem.h"
#include "tests/sim/sim.h"

enum { SECTOR = 512, PATH = 128, INODES_MAX = 8192, NAMES_MAX = 256, PENDING_MAX = 1024 };

struct bytes {
    uint8_t *data;
    size_t n, capacity;
};

struct inode {
    struct bytes live, hard;
    uint8_t *dirty; /* [sectors of live.capacity] */
    size_t dirty_capacity;
    uint64_t owner; /* life of the process that holds the lock */
    bool lied;      /* an fsync of it said yes and did nothing */
};

struct name {
    char path[PATH];
    int inode; /* -1: a folder */
};

struct names {
    struct name list[NAMES_MAX];
    int n;
};

/* A change of names that is not hard yet; to is "" for a removal, from "" for a new name. */
struct pending {
    char folder[PATH], from[PATH], to[PATH];
    int inode;
};

static struct {
    struct inode *inodes;
    size_t capacity;
    int n;
    struct names live, hard;
    struct pending pending[PENDING_MAX];
    int n_pending;
    uint64_t full_until, slow_until;
    uint32_t write_fails, sync_fails, sync_lies; /* the n-th call from now */
    bool hurt, lost_by_lie;
} disk;

void sim_disk_reset(void)
{
    sim_disk_free();
    memset(&disk, 0, sizeof disk);
}

void sim_disk_free(void)
{
    for (int i = 0; i < disk.n; i++) {
        mem_free(disk.inodes[i].live.data);
        mem_free(disk.inodes[i].hard.data);
        mem_free(disk.inodes[i].dirty);
    }
    mem_free(disk.inodes);
    disk.inodes = NULL;
    disk.capacity = 0;
    disk.n = 0;
}

static void size_to(struct bytes *b, size_t n)
{
    void *grown = b->data;
    CHECK(mem_grow(&grown, &b->capacity, n, 1, 1u << 28) == OK);
    b->data = grown;
    if (n > b->n) {
        memset(b->data + b->n, 0, n - b->n);
    }
    b->n = n;
}

static int find(const struct names *names, const char *path)
{
    for (int i = 0; i < names->n; i++) {
        if (strcmp(names->list[i].path, path) == 0) {
            return i;
        }
    }
    return -1;
}

static void put(struct names *names, const char *path, int inode)
{
    int at = find(names, path);
    if (at < 0) {
        CHECK(names->n < NAMES_MAX);
        at = names->n++;
        (void)snprintf(names->list[at].path, PATH, "%s", path);
    }
    names->list[at].inode = inode;
}

static void erase(struct names *names, const char *path)
{
    int at = find(names, path);
    if (at >= 0) {
        names->list[at] = names->list[--names->n];
    }
}

static void folder_of(const char *path, char folder[PATH])
{
    const char *slash = strrchr(path, '/');
    (void)snprintf(folder, PATH, "%.*s", (int)(slash - path), path);
}

/* The live names change now, the hard ones once the folder is synced. */
static void change(const char *from, const char *to, int inode)
{
    CHECK(disk.n_pending < PENDING_MAX);
    struct pending *p = &disk.pending[disk.n_pending++];
    *p = (struct pending){.inode = inode};
    (void)snprintf(p->from, PATH, "%s", from);
    (void)snprintf(p->to, PATH, "%s", to);
    folder_of(to[0] ? to : from, p->folder);
    if (from[0]) {
        erase(&disk.live, from);
    }
    if (to[0]) {
        put(&disk.live, to, inode);
    }
}

static void harden(const struct pending *p)
{
    if (p->from[0]) {
        erase(&disk.hard, p->from);
    }
    if (p->to[0]) {
        put(&disk.hard, p->to, p->inode);
    }
}

/* -errno when this call fails, else 0. */
static int gate(void)
{
    return sim_alive() ? 0 : -EIO;
}

static bool counts_down(uint32_t *counter)
{
    return *counter > 0 && --*counter == 0;
}

static bool is_folder(const char *path)
{
    int at = find(&disk.live, path);
    return strcmp(path, SIM_RUN) == 0 || strcmp(path, "/sim") == 0 ||
           (at >= 0 && disk.live.list[at].inode < 0);
}

int sim_disk_open(const char *path, int flags)
{
    char folder[PATH];
    int error = gate();
    int at = find(&disk.live, path);
    if (error != 0) {
        return error;
    }
    if (is_folder(path)) {
        return flags & O_CREAT ? -EISDIR : INODES_MAX;
    }
    if (at >= 0) {
        return flags & O_EXCL ? -EEXIST : disk.live.list[at].inode;
    }
    folder_of(path, folder);
    if (!(flags & O_CREAT) || !is_folder(folder)) {
        return -ENOENT;
    }
    if (disk.full_until > sim.now) {
        disk.hurt = true;
        return -ENOSPC;
    }
    void *grown = disk.inodes;
    CHECK(mem_grow(&grown, &disk.capacity, (size_t)disk.n + 1, sizeof *disk.inodes, INODES_MAX) ==
          OK);
    disk.inodes = grown;
    disk.inodes[disk.n] = (struct inode){0};
    change("", path, disk.n);
    return disk.n++;
}

bool sim_disk_exists(const char *path, bool *folder, uint64_t *bytes)
{
    int at = find(&disk.live, path);
    *folder = is_folder(path);
    *bytes = !*folder && at >= 0 ? disk.inodes[disk.live.list[at].inode].live.n : 0;
    return *folder || at >= 0;
}

uint64_t sim_disk_bytes(int inode)
{
    return disk.inodes[inode].live.n;
}

long sim_disk_read(int inode, uint64_t offset, void *out, size_t bytes)
{
    const struct bytes *b = &disk.inodes[inode].live;
    int error = gate();
    if (error != 0) {
        return error;
    }
    size_t n = offset < b->n ? b->n - (size_t)offset : 0;
    n = n < bytes ? n : bytes;
    if (n > 0) {
        memcpy(out, b->data + offset, n);
    }
    return (long)n;
}

static void mark(struct inode *f, size_t from, size_t to)
{
    size_t sectors = f->live.capacity / SECTOR + 1;
    size_t old = f->dirty_capacity;
    void *grown = f->dirty;
    CHECK(mem_grow(&grown, &f->dirty_capacity, sectors, 1, 1u << 24) == OK);
    f->dirty = grown;
    if (f->dirty_capacity > old) {
        memset(f->dirty + old, 0, f->dirty_capacity - old);
    }
    for (size_t s = from / SECTOR; from < to && s <= (to - 1) / SECTOR; s++) {
        f->dirty[s] = 1;
    }
}

static void store(struct inode *f, uint64_t offset, const void *data, size_t bytes)
{
    size_t old = f->live.n;
    size_t end = (size_t)offset + bytes;
    if (bytes == 0) {
        return;
    }
    if (end > old) {
        size_to(&f->live, end);
    }
    memcpy(f->live.data + offset, data, bytes);
    mark(f, (size_t)offset < old ? (size_t)offset : old, end);
}

long sim_disk_write(int inode, uint64_t offset, const void *data, size_t bytes)
{
    struct inode *f = &disk.inodes[inode];
    bool was_dead = sim.nodes[sim.here].dead;
    int error = gate();
    if (error != 0) {
        if (!was_dead) { /* killed in the middle of this one */
            store(f, offset, data, (size_t)sim_below(bytes + 1));
            sim_count(FAULT_TORN);
        }
        return error;
    }
    if (counts_down(&disk.write_fails)) {
        store(f, offset, data, (size_t)sim_below(bytes + 1));
        disk.hurt = true;
        sim_count(FAULT_WRITE_ERROR);
        return -EIO;
    }
    if (disk.full_until > sim.now && offset + bytes > f->live.n) {
        size_t part = (size_t)sim_below(bytes);
        disk.hurt = true;
        store(f, offset, data, part);
        return part > 0 ? (long)part : -ENOSPC;
    }
    store(f, offset, data, bytes);
    return (long)bytes;
}

int sim_disk_truncate(int inode, uint64_t bytes)
{
    struct inode *f = &disk.inodes[inode];
    int error = gate();
    if (error == 0) {
        size_t old = f->live.n;
        size_to(&f->live, (size_t)bytes);
        mark(f, old, (size_t)bytes);
    }
    return error;
}

static void harden_bytes(struct inode *f)
{
    for (size_t at = 0; at < f->live.n; at += SECTOR) {
        size_t end = at + SECTOR < f->live.n ? at + SECTOR : f->live.n;
        if (f->dirty[at / SECTOR] || end > f->hard.n) {
            if (end > f->hard.n) {
                size_to(&f->hard, end);
            }
            memcpy(f->hard.data + at, f->live.data + at, end - at);
            f->dirty[at / SECTOR] = 0;
        }
    }
    size_to(&f->hard, f->live.n);
    f->lied = false;
}

int sim_disk_sync(int inode)
{
    struct inode *f = &disk.inodes[inode];
    int error = gate();
    if (error != 0) {
        return error;
    }
    if (counts_down(&disk.sync_fails)) {
        disk.hurt = true;
        sim_count(FAULT_SYNC_ERROR);
        return -EIO;
    }
    if (counts_down(&disk.sync_lies)) {
        sim_count(FAULT_SYNC_LOST);
        f->lied = true;
        return 0;
    }
    harden_bytes(f);
    return 0;
}

int sim_disk_sync_folder(const char *path)
{
    int error = gate();
    int kept = 0;
    if (error != 0) {
        return error;
    }
    for (int i = 0; i < disk.n_pending; i++) {
        if (strcmp(disk.pending[i].folder, path) == 0) {
            harden(&disk.pending[i]);
        } else {
            disk.pending[kept++] = disk.pending[i];
        }
    }
    disk.n_pending = kept;
    return 0;
}

int sim_disk_rename(const char *from, const char *to)
{
    int error = gate();
    int at = find(&disk.live, from);
    if (error == 0 && at < 0) {
        return -ENOENT;
    }
    if (error == 0) {
        change(from, to, disk.live.list[at].inode);
    }
    return error;
}

int sim_disk_unlink(const char *path)
{
    int error = gate();
    if (error == 0 && find(&disk.live, path) < 0) {
        return -ENOENT;
    }
    if (error == 0) {
        change(path, "", -1);
    }
    return error;
}

int sim_disk_mkdir(const char *path)
{
    int error = gate();
    if (error != 0 || is_folder(path) || find(&disk.live, path) >= 0) {
        return error != 0 ? error : -EEXIST;
    }
    change("", path, -1);
    return 0;
}

const char *sim_disk_list(const char *folder, size_t *at)
{
    size_t length = strlen(folder);
    for (; *at < (size_t)disk.live.n; (*at)++) {
        const char *path = disk.live.list[*at].path;
        if (strncmp(path, folder, length) == 0 && path[length] == '/' &&
            !strchr(path + length + 1, '/')) {
            (*at)++;
            return path + length + 1;
        }
    }
    return NULL;
}

bool sim_disk_lock(int inode)
{
    struct inode *f = &disk.inodes[inode];
    uint64_t life = sim.nodes[0].life;
    if (f->owner != 0 && f->owner != life) {
        return false;
    }
    f->owner = life;
    return true;
}

/* What of a file is there after the power went. */
static void lose(struct inode *f)
{
    size_t size = f->live.n == f->hard.n  ? f->live.n
                  : sim_chance(0.4)       ? f->hard.n
                  : f->live.n > f->hard.n ? f->hard.n + (size_t)sim_below(f->live.n - f->hard.n + 1)
                  : sim_chance(0.5)       ? f->live.n
                                          : f->hard.n;
    bool lost = size != f->live.n;
    bool kept = false;
    size_t old = f->hard.n;
    size_to(&f->hard, size > old ? size : old);
    for (size_t at = 0; at < size && at < f->live.n; at += SECTOR) {
        size_t end = at + SECTOR < f->live.n ? at + SECTOR : f->live.n;
        end = end < size ? end : size;
        if (!f->dirty[at / SECTOR]) {
            continue;
        }
        if (sim_chance(0.5)) {
            memcpy(f->hard.data + at, f->live.data + at, end - at);
            kept = true;
        } else {
            lost = true;
        }
    }
    size_to(&f->hard, size);
    if (lost) {
        sim_count(kept ? FAULT_TORN : FAULT_UNSYNCED);
        disk.lost_by_lie = disk.lost_by_lie || f->lied;
    }
    size_to(&f->live, size);
    if (size > 0) {
        memcpy(f->live.data, f->hard.data, size);
    }
    if (f->dirty) {
        memset(f->dirty, 0, f->dirty_capacity);
    }
    f->lied = false;
}

/* Of each folder's changes a first part is kept. */
static void lose_names(void)
{
    while (disk.n_pending > 0) {
        char folder[PATH];
        memcpy(folder, disk.pending[0].folder, PATH);
        bool keeps = true;
        int kept = 0;
        for (int i = 0; i < disk.n_pending; i++) {
            if (strcmp(disk.pending[i].folder, folder) != 0) {
                disk.pending[kept++] = disk.pending[i];
                continue;
            }
            keeps = keeps && sim_chance(0.6);
            if (keeps) {
                harden(&disk.pending[i]);
            } else {
                sim_count(FAULT_UNSYNCED);
            }
        }
        disk.n_pending = kept;
    }
}

void sim_disk_crash(bool power)
{
    if (power) {
        lose_names();
        disk.live = disk.hard;
        for (int i = 0; i < disk.n; i++) {
            lose(&disk.inodes[i]);
        }
        /* A name whose folder did not survive is gone with it. */
        for (int i = 0; i < disk.live.n;) {
            char folder[PATH];
            folder_of(disk.live.list[i].path, folder);
            if (is_folder(folder)) {
                i++;
            } else {
                erase(&disk.hard, disk.live.list[i].path);
                disk.live.list[i] = disk.live.list[--disk.live.n];
            }
        }
    }
    for (int i = 0; i < disk.n; i++) {
        disk.inodes[i].owner = 0;
    }
}

void sim_disk_full(uint64_t until)
{
    disk.full_until = until;
}

void sim_disk_slow(uint64_t until)
{
    disk.slow_until = until;
}

void sim_disk_fail(bool sync, uint32_t after)
{
    *(sync ? &disk.sync_fails : &disk.write_fails) = after;
}

void sim_disk_lie(uint32_t after)
{
    disk.sync_lies = after;
}

bool sim_disk_damage_newest(const char *suffix)
{
    const struct name *newest = NULL;
    for (int i = 0; i < disk.live.n; i++) {
        const struct name *name = &disk.live.list[i];
        size_t length = strlen(name->path);
        size_t tail = strlen(suffix);
        if (name->inode >= 0 && length > tail && strcmp(name->path + length - tail, suffix) == 0 &&
            disk.inodes[name->inode].live.n > 0 &&
            (!newest || strcmp(name->path, newest->path) > 0)) {
            newest = name;
        }
    }
    if (newest) {
        struct inode *f = &disk.inodes[newest->inode];
        size_t at = (size_t)sim_below(f->live.n);
        uint8_t bit = (uint8_t)(1u << sim_below(8));
        f->live.data[at] ^= bit;
        if (at < f->hard.n) {
            f->hard.data[at] ^= bit;
        }
    }
    return newest != NULL;
}

void sim_disk_wipe(void)
{
    disk.live.n = disk.hard.n = disk.n_pending = 0;
    disk.lost_by_lie = false;
}

void sim_disk_heal(void)
{
    disk.full_until = disk.slow_until = 0;
    disk.write_fails = disk.sync_fails = disk.sync_lies = 0;
}

uint64_t sim_disk_delay(void)
{
    return disk.slow_until > sim.now ? sim_between(100, 2000) * SIM_MS
                                     : sim_between(SIM_MS / 20, 5 * SIM_MS);
}

bool sim_disk_lied(void)
{
    return disk.lost_by_lie;
}

bool sim_disk_hurt(void)
{
    bool hurt = disk.hurt;
    disk.hurt = false;
    return hurt;
}
