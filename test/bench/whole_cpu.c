#include "whole_cpu.h"

#include <ctype.h>
#include <dirent.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "client.h"
#include "load.h"

#define LINE 512

static int cpu = -1;
static clockid_t ksoftirqd;
static bool ksoftirqd_known;

/* Thread "ksoftirqd/N" of this CPU; in a container of its own processes there is none to be seen. */
static void find_ksoftirqd(void)
{
    char name[32];
    snprintf(name, sizeof(name), "ksoftirqd/%d\n", cpu);
    DIR *proc = opendir("/proc");
    for (struct dirent *entry; proc && (entry = readdir(proc)) && !ksoftirqd_known;) {
        char path[LINE], comm[32] = "";
        if (!isdigit((unsigned char)entry->d_name[0]))
            continue;
        snprintf(path, sizeof(path), "/proc/%s/comm", entry->d_name);
        FILE *file = fopen(path, "re");
        if (file && fgets(comm, sizeof(comm), file) && strcmp(comm, name) == 0)
            ksoftirqd_known = clock_getcpuclockid((pid_t)atoi(entry->d_name), &ksoftirqd) == 0;
        if (file)
            fclose(file);
    }
    if (proc)
        closedir(proc);
}

void whole_cpu_init(void)
{
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof(allowed), &allowed) < 0 || CPU_COUNT(&allowed) != 1)
        bench_die(EXIT_USAGE, "--whole-cpu: pin the program to one CPU (taskset)");
    cpu = sched_getcpu();
    find_ksoftirqd();
}

/* Finds the line that begins with `key`, after the line `section` if there is one. */
static bool read_line_of(const char *path, const char *section, const char *key, char line[static LINE])
{
    FILE *file = fopen(path, "re");
    bool inside = !section, found = false;
    while (file && !found && fgets(line, LINE, file)) {
        if (!inside)
            inside = strcmp(line, section) == 0;
        else
            found = strncmp(line, key, strlen(key)) == 0;
    }
    if (file)
        fclose(file);
    return found;
}

uint64_t whole_cpu_idle_ns(void)
{
    char key[32], line[LINE];
    uint64_t idle = 0, waiting = 0;
    snprintf(key, sizeof(key), "cpu: %d\n", cpu);
    if (read_line_of("/proc/timer_list", key, "  .idle_sleeptime", line) &&
        sscanf(line, " .idle_sleeptime : %" SCNu64, &idle) == 1)
        return idle;
    snprintf(key, sizeof(key), "cpu%d ", cpu);
    if (!read_line_of("/proc/stat", NULL, key, line) ||
        sscanf(line, "%*s %*u %*u %*u %" SCNu64 " %" SCNu64, &idle, &waiting) != 2)
        bench_die(EXIT_SERVER, "--whole-cpu: /proc does not show how long CPU %d is idle", cpu);
    return (idle + waiting) * (NS_PER_S / (uint64_t)sysconf(_SC_CLK_TCK));
}

uint64_t whole_cpu_ksoftirqd_ns(void)
{
    struct timespec time = {0};
    if (ksoftirqd_known)
        clock_gettime(ksoftirqd, &time);
    return (uint64_t)time.tv_sec * NS_PER_S + (uint64_t)time.tv_nsec;
}
