/* cpus.c - the affinity mask and cgroup quotas, versions 1 and 2. */
#include "common/base/cpus.h"

#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"

enum { TEXT_BYTES = 1 << 16 };

/* The first bytes of a file, a string; false: it cannot be read. */
static bool read_text(const char *root, const char *folder, const char *name, char text[TEXT_BYTES])
{
    char path[FILE_PATH_BYTES];
    int n = snprintf(path, sizeof path, "%s%s/%s", root, folder, name);
    FILE *file = n > 0 && (size_t)n < sizeof path ? fopen(path, "re") : NULL;
    if (!file) {
        return false;
    }
    text[fread(text, 1, TEXT_BYTES - 1, file)] = '\0';
    (void)fclose(file);
    return true;
}

/* quota in each period, both in microseconds; 0 or less: no bound ("max", -1). */
static uint32_t lower(uint32_t most, long long quota, long long period)
{
    if (quota <= 0 || period <= 0) {
        return most;
    }
    const long long cores = (quota + period - 1) / period;
    return cores < (long long)most ? (uint32_t)cores : most;
}

static uint32_t group_allows(const char *root, const char *folder, uint32_t most)
{
    char text[TEXT_BYTES];
    char *rest = NULL;
    if (read_text(root, folder, "cpu.max", text)) {
        const long long quota = strtoll(text, &rest, 10);
        return lower(most, quota, strtoll(rest, NULL, 10));
    }
    if (!read_text(root, folder, "cpu.cfs_quota_us", text)) {
        return most;
    }
    const long long quota = strtoll(text, NULL, 10);
    return read_text(root, folder, "cpu.cfs_period_us", text)
               ? lower(most, quota, strtoll(text, NULL, 10))
               : most;
}

/* A group and all above it, up to the mount: where a container sees another path than its own, the
 * mount is all there is. */
static uint32_t groups_allow(const char *root, const char *mount, const char *path, uint32_t most)
{
    char folder[FILE_PATH_BYTES];
    int n = snprintf(folder, sizeof folder, "%s%.*s", mount, (int)strcspn(path, "\n"), path);
    while (n > 0 && (size_t)n < sizeof folder && strlen(folder) >= strlen(mount)) {
        most = group_allows(root, folder, most);
        *strrchr(folder, '/') = '\0';
    }
    return most;
}

uint32_t cpus_usable(const char *root)
{
    char groups[TEXT_BYTES];
    cpu_set_t mask;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (sched_getaffinity(0, sizeof mask, &mask) == 0) {
        cores = CPU_COUNT(&mask);
    }
    uint32_t most = cores > 1 ? (uint32_t)cores : 1;
    if (!read_text(root, "/proc/self", "cgroup", groups)) {
        return most;
    }
    for (char *line = groups; line && *line != '\0'; line = strchr(line, '\n')) {
        line += *line == '\n';
        const char *two = strstr(line, "::/");
        const char *one = strstr(line, ":cpu,cpuacct:/");
        one = one ? one : strstr(line, ":cpu:/");
        const char *end = line + strcspn(line, "\n");
        if (two && two < end) {
            most = groups_allow(root, "/sys/fs/cgroup", two + 2, most);
        } else if (one && one < end) {
            most = groups_allow(root, "/sys/fs/cgroup/cpu", strchr(one + 1, ':') + 1, most);
        }
    }
    return most;
}
