#include "usage.h"

#include <ctype.h>
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S   1000000000u
#define PROCESSES  32768
#define PATH_SPACE 64

struct process {
    pid_t pid, parent;
    uint64_t waited_ticks; /* CPU time of children that ended and were waited for */
    uint64_t tasks;
    bool zombie, counted;
};

static bool read_stat(pid_t pid, struct process *out)
{
    char path[PATH_SPACE], line[1024];
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    size_t len = fread(line, 1, sizeof(line) - 1, file);
    fclose(file);
    line[len] = '\0';
    /* The name may hold anything, spaces and parentheses too: what follows the last ")" is numbers. */
    const char *rest = strrchr(line, ')');
    char state;
    int parent;
    long children_user, children_system, tasks;
    if (!rest || sscanf(rest + 1, " %c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %ld %ld %*d %*d %ld", &state,
                        &parent, &children_user, &children_system, &tasks) != 5)
        return false;
    *out = (struct process){.pid = pid,
                            .parent = (pid_t)parent,
                            .waited_ticks = (uint64_t)(children_user + children_system),
                            .tasks = (uint64_t)tasks,
                            .zombie = state == 'Z'};
    return true;
}

static size_t read_processes(struct process *out)
{
    DIR *proc = opendir("/proc");
    if (!proc)
        return 0;
    size_t count = 0;
    for (struct dirent *entry; count < PROCESSES && (entry = readdir(proc));)
        if (isdigit((unsigned char)entry->d_name[0]) && read_stat((pid_t)atoi(entry->d_name), &out[count]))
            count++;
    closedir(proc);
    return count;
}

/* To the nanosecond and with ended threads, where utime and stime in /proc/PID/stat are the same in steps of 10 ms. */
static uint64_t cpu_ns(const struct process *process)
{
    uint64_t ns = process->waited_ticks * (NS_PER_S / (uint64_t)sysconf(_SC_CLK_TCK));
    clockid_t clock;
    struct timespec time;
    if (clock_getcpuclockid(process->pid, &clock) == 0 && clock_gettime(clock, &time) == 0)
        ns += (uint64_t)time.tv_sec * NS_PER_S + (uint64_t)time.tv_nsec;
    return ns;
}

static uint64_t pss_kib(pid_t pid)
{
    char path[PATH_SPACE], line[256];
    snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid);
    FILE *file = fopen(path, "re");
    uint64_t kib = 0;
    if (!file)
        return 0;
    while (fgets(line, sizeof(line), file))
        if (sscanf(line, "Pss: %" SCNu64, &kib) == 1)
            break;
    fclose(file);
    return kib;
}

static uint64_t descriptors(pid_t pid)
{
    char path[PATH_SPACE];
    snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    DIR *folder = opendir(path);
    uint64_t count = 0;
    if (!folder)
        return 0;
    for (struct dirent *entry; (entry = readdir(folder));)
        count += entry->d_name[0] != '.';
    closedir(folder);
    return count;
}

static void mark_descendants(struct process *all, size_t count, pid_t root)
{
    for (size_t i = 0; i < count; i++) {
        if (all[i].counted || (all[i].pid != root && all[i].parent != root))
            continue;
        all[i].counted = true;
        if (all[i].pid != root)
            mark_descendants(all, count, all[i].pid);
    }
}

static struct usage measure(pid_t root, bool with_memory)
{
    static struct process all[PROCESSES];
    struct usage usage = {0};
    size_t count = read_processes(all);
    mark_descendants(all, count, root);
    for (size_t i = 0; i < count; i++) {
        if (!all[i].counted)
            continue;
        usage.alive = usage.alive || (all[i].pid == root && !all[i].zombie);
        usage.cpu_ns += cpu_ns(&all[i]);
        usage.tasks += all[i].tasks;
        if (with_memory) {
            usage.pss_kib += pss_kib(all[i].pid);
            usage.descriptors += descriptors(all[i].pid);
        }
    }
    return usage;
}

struct usage usage_of_tree(pid_t root)
{
    return measure(root, true);
}

struct usage usage_cpu_of_tree(pid_t root)
{
    return measure(root, false);
}

uint64_t usage_own_cpu_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * NS_PER_S + (uint64_t)time.tv_nsec;
}
