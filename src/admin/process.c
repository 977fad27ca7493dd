#include "admin/process.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static int process_open_file(const char *folder, const char *name)
{
    char path[PATH_MAX];
    int len = snprintf(path, sizeof(path), "%s/%s", folder, name);
    return len < 0 || (size_t)len >= sizeof(path) ? -1 : open(path, O_RDONLY | O_CLOEXEC);
}

struct process_files process_open(const char *proc)
{
    return (struct process_files){.statm = process_open_file(proc, "statm"),
                                  .descriptors = process_open_file(proc, "fd")};
}

void process_close(struct process_files *files)
{
    if (files->statm >= 0)
        close(files->statm);
    if (files->descriptors >= 0)
        close(files->descriptors);
    *files = (struct process_files){-1, -1};
}

static void process_read_memory(int statm, struct process_use *use)
{
    char text[128];
    ssize_t len = statm < 0 ? -1 : pread(statm, text, sizeof(text) - 1, 0);
    text[len > 0 ? len : 0] = '\0';
    uint64_t mapped, resident, page = (uint64_t)sysconf(_SC_PAGESIZE);
    if (sscanf(text, "%" SCNu64 " %" SCNu64, &mapped, &resident) != 2)
        return;
    use->virtual_bytes = mapped * page;
    use->resident_bytes = resident * page;
}

static double process_seconds(struct timeval time)
{
    return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

struct process_use process_read(const struct process_files *files)
{
    struct process_use use = {0};
    struct rusage spent;
    struct rlimit limit;
    struct stat status;
    if (getrusage(RUSAGE_SELF, &spent) == 0)
        use.cpu_seconds = process_seconds(spent.ru_utime) + process_seconds(spent.ru_stime);
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
        use.max_fds = limit.rlim_cur;
    if (files->descriptors >= 0 && fstat(files->descriptors, &status) == 0)
        use.open_fds = (uint64_t)status.st_size;
    process_read_memory(files->statm, &use);
    return use;
}
