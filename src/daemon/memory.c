#include "daemon/memory.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOG_MODULE "memory"
#include "base/log.h"
#include "base/util.h"
#include "conf/config.h"

/* In percent of the limit. */
#define SHORT_FROM    80
#define SHORT_TO      75
#define CRITICAL_FROM 92
#define CRITICAL_TO   88

/* Version 1 writes "no limit" as the largest number of whole pages. */
#define NO_LIMIT (UINT64_C(1) << 62)

/* The names that a version of control groups uses. */
struct cgroup_dialect {
    const char *mount; /* below /sys/fs/cgroup */
    const char *limits[2];
    const char *usage;
    const char *reclaimable; /* in memory.stat: pages of files that the kernel takes back first */
};
static const struct cgroup_dialect cgroup_1 = {
    "/memory", {"memory.limit_in_bytes", NULL}, "memory.usage_in_bytes", "total_inactive_file "};
/* Beyond memory.high the kernel slows a group down to a crawl. */
static const struct cgroup_dialect cgroup_2 = {"", {"memory.max", "memory.high"}, "memory.current", "inactive_file "};

struct memory {
    uint64_t wanted; /* 0: the group's limit */
    int usage, limits[2], stat;
    const char *reclaimable;
    char limited_by[PATH_MAX];
};

/* ---- reading ---- */

/* A small file as a string. */
static bool memory_read_text(int fd, char *text, size_t size)
{
    ssize_t n = fd < 0 ? -1 : pread(fd, text, size - 1, 0);
    if (n < 0)
        return false;
    text[n] = '\0';
    return true;
}

static bool memory_read_file(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool done = memory_read_text(fd, text, size);
    if (fd >= 0)
        close(fd);
    return done;
}

static bool memory_read_number(int fd, uint64_t *number)
{
    char text[32];
    if (!memory_read_text(fd, text, sizeof(text)) || text[0] < '0' || text[0] > '9')
        return false;
    *number = strtoull(text, NULL, 10);
    return true;
}

/* The lowest of a group's limits; NO_LIMIT or more when it has none ("max"). */
static uint64_t memory_read_limit(const int fds[2])
{
    uint64_t least = UINT64_MAX, number;
    for (int i = 0; i < 2; i++)
        if (memory_read_number(fds[i], &number) && number < least)
            least = number;
    return least;
}

/* ---- the control group ---- */

/* Finds our group in the text of /proc/self/cgroup, which has lines of "number:controllers:path", and cuts it out. Only
 * one of the two versions controls memory. */
static char *memory_find_group(char *text, const struct cgroup_dialect **dialect)
{
    char *group = NULL, *save;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char *controllers = strchr(line, ':');
        char *path = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!path)
            continue;
        *path++ = '\0';
        bool is_v1 = false;
        for (char *next, *name = strtok_r(controllers + 1, ",", &next); name; name = strtok_r(NULL, ",", &next))
            is_v1 |= strcmp(name, "memory") == 0;
        if (!is_v1 && (group || strcmp(line, "0:") != 0))
            continue;
        group = path;
        *dialect = is_v1 ? &cgroup_1 : &cgroup_2;
        if (is_v1)
            break;
    }
    return group;
}

static int memory_open_file(const char *folder, const char *name)
{
    char path[PATH_MAX];
    int len = name ? snprintf(path, sizeof(path), "%s/%s", folder, name) : -1;
    return len < 0 || (size_t)len >= sizeof(path) ? -1 : open(path, O_RDONLY | O_CLOEXEC);
}

static void memory_close_files(struct memory *memory)
{
    const int fds[] = {memory->usage, memory->stat, memory->limits[0], memory->limits[1]};
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        if (fds[i] >= 0)
            close(fds[i]);
    memory->usage = memory->stat = memory->limits[0] = memory->limits[1] = -1;
}

static void memory_open_files(struct memory *memory, const char *folder, const struct cgroup_dialect *dialect)
{
    for (int i = 0; i < 2; i++)
        memory->limits[i] = memory_open_file(folder, dialect->limits[i]);
    memory->usage = memory_open_file(folder, dialect->usage);
    memory->stat = memory_open_file(folder, "memory.stat");
    memory->reclaimable = dialect->reclaimable;
}

/* The groups above ours limit it as well, and the tightest limit counts. In a container the path is often the host's
 * and does not exist, but its first part is the container's own group. */
static bool memory_open_group(struct memory *memory, const char *proc, const char *groups)
{
    char path[PATH_MAX], text[8192], folder[PATH_MAX];
    const struct cgroup_dialect *dialect = &cgroup_2;
    snprintf(path, sizeof(path), "%s/cgroup", proc);
    char *group = memory_read_file(path, text, sizeof(text)) ? memory_find_group(text, &dialect) : NULL;
    if (!group || group[0] != '/')
        return false;
    uint64_t tightest = NO_LIMIT;
    for (char *end = group + strlen(group); end; end = strrchr(group, '/')) {
        *end = '\0'; /* the path itself, then the groups above it, the root last */
        struct memory candidate = {.usage = -1};
        int len = snprintf(folder, sizeof(folder), "%s%s%s", groups, dialect->mount, group);
        if (len < 0 || (size_t)len >= sizeof(folder))
            continue;
        memory_open_files(&candidate, folder, dialect);
        uint64_t limit = memory_read_limit(candidate.limits), usage;
        if (limit < tightest && memory_read_number(candidate.usage, &usage)) {
            memory_close_files(memory);
            *memory = candidate;
            snprintf(memory->limited_by, sizeof(memory->limited_by), "control group %s", group[0] ? group : "/");
            tightest = limit;
        } else {
            memory_close_files(&candidate);
        }
    }
    return tightest < NO_LIMIT;
}

static uint64_t memory_read_reclaimable(const struct memory *memory)
{
    char text[16384];
    if (!memory_read_text(memory->stat, text, sizeof(text)))
        return 0;
    const size_t len = strlen(memory->reclaimable);
    for (char *save, *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
        if (strncmp(line, memory->reclaimable, len) == 0)
            return strtoull(line + len, NULL, 10);
    return 0;
}

/* ---- what is in use ---- */

static bool memory_read_group(const struct memory *memory, struct memory_use *use)
{
    use->limit = memory_read_limit(memory->limits);
    if (!memory_read_number(memory->usage, &use->used))
        return false;
    /* Only when it may matter: this is some work for the kernel. */
    if (memory_level_of(*use, MEMORY_CRITICAL) != MEMORY_AMPLE) {
        uint64_t reclaimable = memory_read_reclaimable(memory);
        use->used -= reclaimable < use->used ? reclaimable : use->used;
    }
    return true;
}

static bool memory_read_own(const struct memory *memory, uint64_t in_sockets, struct memory_use *use)
{
    char text[128];
    uint64_t resident;
    if (!memory_read_text(memory->usage, text, sizeof(text)) || sscanf(text, "%*u %" SCNu64, &resident) != 1)
        return false;
    use->used = resident * (uint64_t)sysconf(_SC_PAGESIZE) + in_sockets;
    use->limit = memory->wanted;
    return true;
}

struct memory *memory_open(uint64_t wanted, const char *proc, const char *groups)
{
    struct memory_use use;
    if (wanted == CONFIG_MEMORY_OFF)
        return NULL;
    struct memory *memory = calloc(1, sizeof(*memory));
    if (!memory)
        return NULL;
    *memory = (struct memory){.wanted = wanted, .usage = -1, .stat = -1, .limits = {-1, -1}};
    if (wanted) {
        memory->usage = memory_open_file(proc, "statm");
        snprintf(memory->limited_by, sizeof(memory->limited_by), "limits.memory");
        if (memory_read(memory, 0, &use))
            return memory;
        log_warning("limits.memory has no effect: cannot read %s/statm: %s", proc, strerror(errno));
    } else if (memory_open_group(memory, proc, groups)) {
        return memory;
    }
    memory_close(memory);
    return NULL;
}

void memory_close(struct memory *memory)
{
    if (!memory)
        return;
    memory_close_files(memory);
    free(memory);
}

bool memory_counts_sockets(const struct memory *memory)
{
    return memory->wanted != 0;
}

bool memory_read(struct memory *memory, uint64_t in_sockets, struct memory_use *use)
{
    return memory->wanted ? memory_read_own(memory, in_sockets, use) : memory_read_group(memory, use);
}

const char *memory_limited_by(const struct memory *memory)
{
    return memory->limited_by;
}

/* ---- levels ---- */

static uint64_t percent_of(uint64_t limit, unsigned percent)
{
    return limit / 100 * percent;
}

enum memory_level memory_level_of(struct memory_use use, enum memory_level before)
{
    static_assert(SHORT_TO < SHORT_FROM && SHORT_FROM < CRITICAL_TO && CRITICAL_TO < CRITICAL_FROM,
                  "levels are left at a lower use than they are entered at");
    if (use.used >= percent_of(use.limit, before == MEMORY_CRITICAL ? CRITICAL_TO : CRITICAL_FROM))
        return MEMORY_CRITICAL;
    if (use.used >= percent_of(use.limit, before == MEMORY_AMPLE ? SHORT_FROM : SHORT_TO))
        return MEMORY_SHORT;
    return MEMORY_AMPLE;
}

uint64_t memory_excess(struct memory_use use)
{
    uint64_t target = percent_of(use.limit, CRITICAL_TO);
    return use.used > target ? use.used - target : 0;
}
