/*
 * Makes system calls and allocations of the daemon fail, its clock jump, or its peers seem silent for longer: the tests
 * preload it (LD_PRELOAD), and set what happens, while it runs, in a file that both map (FAULTS=path, a struct faults;
 * faults.py has the same).
 */
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum call {
    ACCEPT4,
    SOCKET,
    BIND,
    BIND_NETLINK,
    CONNECT,
    SENDMMSG,
    SENDMSG,
    RECVMMSG,
    RECVMSG,
    SPLICE,
    PIPE2,
    ALLOCATION,
    ANY,
    CALLS
};

struct fault {
    atomic_int error; /* errno; 0: the call is left alone */
    atomic_int skip;  /* so many calls first succeed */
    atomic_int count; /* then so many fail */
    atomic_int hits;  /* so many have failed */
};

struct faults {
    struct fault calls[CALLS];
    atomic_int clock_ahead;   /* seconds by which the wall clock is set forward */
    atomic_int silence_ahead; /* milliseconds by which TCP peers seem to have been silent for longer */
};

static struct faults idle;
static struct faults *faults = &idle;

/* Whose allocations fail: the program's own, and those of the libraries that bear it. */
static const char *const hit_libraries[] = {"", "/libevent", "/libcyaml", "/libyaml", "/libjansson"};
static struct range {
    uintptr_t first, last;
} hit_ranges[sizeof(hit_libraries) / sizeof(hit_libraries[0])];

static int note_range(struct dl_phdr_info *object, size_t size, void *unused)
{
    (void)size, (void)unused;
    for (size_t i = 0; i < sizeof(hit_ranges) / sizeof(hit_ranges[0]); i++) {
        bool named = i == 0 ? object->dlpi_name[0] == '\0' && hit_ranges[0].last == 0
                            : strstr(object->dlpi_name, hit_libraries[i]) != NULL;
        for (size_t j = 0; named && j < object->dlpi_phnum; j++)
            if (object->dlpi_phdr[j].p_type == PT_LOAD && object->dlpi_phdr[j].p_flags & PF_X) {
                hit_ranges[i].first = object->dlpi_addr + object->dlpi_phdr[j].p_vaddr;
                hit_ranges[i].last = hit_ranges[i].first + object->dlpi_phdr[j].p_memsz;
            }
    }
    return 0;
}

/* The programs that lead to the daemon (setpriv, unshare) are spared. */
__attribute__((constructor)) static void map_faults(void)
{
    const char *path = getenv("FAULTS");
    if (!path || strcmp(program_invocation_short_name, "conesocks") != 0)
        return;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    void *shared = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof(idle), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (shared == MAP_FAILED)
        abort();
    close(fd);
    dl_iterate_phdr(note_range, NULL);
    faults = shared;
}

static bool strikes(struct fault *fault)
{
    int error = atomic_load(&fault->error);
    if (!error || atomic_fetch_sub(&fault->skip, 1) > 0 || atomic_fetch_sub(&fault->count, 1) <= 0)
        return false;
    atomic_fetch_add(&fault->hits, 1);
    errno = error;
    return true;
}

static bool fails(enum call call)
{
    return strikes(&faults->calls[call]) || strikes(&faults->calls[ANY]);
}

#define UNLESS_FAILING(call, ...) (fails(call) ? -1 : (int)syscall(__VA_ARGS__))

int accept4(int fd, __SOCKADDR_ARG address, socklen_t *restrict len, int flags)
{
    return UNLESS_FAILING(ACCEPT4, SYS_accept4, fd, address.__sockaddr__, len, flags);
}

int socket(int family, int type, int protocol)
{
    return UNLESS_FAILING(SOCKET, SYS_socket, family, type, protocol);
}

int bind(int fd, __CONST_SOCKADDR_ARG address, socklen_t len)
{
    const bool netlink = address.__sockaddr__->sa_family == AF_NETLINK;
    return UNLESS_FAILING(netlink ? BIND_NETLINK : BIND, SYS_bind, fd, address.__sockaddr__, len);
}

int connect(int fd, __CONST_SOCKADDR_ARG address, socklen_t len)
{
    return UNLESS_FAILING(CONNECT, SYS_connect, fd, address.__sockaddr__, len);
}

/* Before it fails it sends what it may and says so, as the kernel does. */
int sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags)
{
    unsigned part = count > 1 && atomic_load(&faults->calls[SENDMMSG].error) ? count / 2 : count;
    return UNLESS_FAILING(SENDMMSG, SYS_sendmmsg, fd, messages, part, flags);
}

int recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags, struct timespec *timeout)
{
    return UNLESS_FAILING(RECVMMSG, SYS_recvmmsg, fd, messages, count, flags, timeout);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    return fails(SENDMSG) ? -1 : syscall(SYS_sendmsg, fd, message, flags);
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
    return fails(RECVMSG) ? -1 : syscall(SYS_recvmsg, fd, message, flags);
}

ssize_t splice(int from, off64_t *from_at, int to, off64_t *to_at, size_t len, unsigned flags)
{
    return fails(SPLICE) ? -1 : syscall(SYS_splice, from, from_at, to, to_at, len, flags);
}

int pipe2(int ends[2], int flags)
{
    return UNLESS_FAILING(PIPE2, SYS_pipe2, ends, flags);
}

int getsockopt(int fd, int level, int option, void *restrict value, socklen_t *restrict len)
{
    int failed = (int)syscall(SYS_getsockopt, fd, level, option, value, len);
    if (!failed && level == IPPROTO_TCP && option == TCP_INFO)
        ((struct tcp_info *)value)->tcpi_last_ack_recv += (uint32_t)atomic_load(&faults->silence_ahead);
    return failed;
}

/* Nobody may set the clock of a host that others share. */
int clock_gettime(clockid_t clock, struct timespec *now)
{
    int failed = (int)syscall(SYS_clock_gettime, clock, now);
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)
        now->tv_sec += atomic_load(&faults->clock_ahead);
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    (void)zone;
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    *now = (struct timeval){precise.tv_sec, precise.tv_nsec / 1000};
    return 0;
}

time_t time(time_t *out)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out)
        *out = now.tv_sec;
    return now.tv_sec;
}

static bool allocation_fails(const void *caller)
{
    if (atomic_load(&faults->calls[ALLOCATION].error) == 0)
        return false;
    for (size_t i = 0; i < sizeof(hit_ranges) / sizeof(hit_ranges[0]); i++)
        if (hit_ranges[i].first <= (uintptr_t)caller && (uintptr_t)caller < hit_ranges[i].last)
            return strikes(&faults->calls[ALLOCATION]);
    return false;
}

#define CALLER __builtin_return_address(0)

/* glibc's own names of these. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);

void *malloc(size_t size)
{
    return allocation_fails(CALLER) ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return allocation_fails(CALLER) ? NULL : __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
    return allocation_fails(CALLER) ? NULL : __libc_realloc(old, size);
}

void *reallocarray(void *old, size_t count, size_t size)
{
    size_t bytes;
    bool fits = !__builtin_mul_overflow(count, size, &bytes);
    return !fits || allocation_fails(CALLER) ? NULL : __libc_realloc(old, bytes);
}

char *strdup(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = allocation_fails(CALLER) ? NULL : __libc_malloc(size);
    return copy ? memcpy(copy, text, size) : NULL;
}

char *strndup(const char *text, size_t max)
{
    size_t len = strnlen(text, max);
    char *copy = allocation_fails(CALLER) ? NULL : __libc_malloc(len + 1);
    if (!copy)
        return NULL;
    copy[len] = '\0';
    return memcpy(copy, text, len);
}
