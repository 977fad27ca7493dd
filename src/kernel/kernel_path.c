#include "kernel/kernel_path.h"

#include <assert.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/capability.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#define LOG_MODULE "kernel"
#include "base/log.h"
#include "base/util.h"
/* What bpftool has written is not up to us. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Woverlength-strings"
#include "kernel/flow.skel.h"
#pragma GCC diagnostic pop
#include "kernel/kernel_path_impl.h"

/* Newer than the headers of Debian 12, whose libbpf passes them on. */
#define ATTACH_TCX_INGRESS 46
#define SINCE_MAJOR        6
#define SINCE_MINOR        6
#ifndef CAP_PERFMON
#define CAP_PERFMON 38
#define CAP_BPF     39
#endif

bool kernel_path_is_built(void)
{
    return true;
}

/* ---- what can be told before trying ---- */

static bool kernel_is_new_enough(char why[KERNEL_PATH_TEXT_MAX])
{
    struct utsname system = {0};
    unsigned major = 0, minor = 0;
    (void)uname(&system);
    (void)sscanf(system.release, "%u.%u", &major, &minor);
    if (major > SINCE_MAJOR || (major == SINCE_MAJOR && minor >= SINCE_MINOR))
        return true;
    snprintf(why, KERNEL_PATH_TEXT_MAX, "it needs Linux %d.%d or newer, and this is %.32s", SINCE_MAJOR, SINCE_MINOR,
             system.release);
    return false;
}

static bool capabilities_suffice(char why[KERNEL_PATH_TEXT_MAX])
{
    static const struct {
        const char *name;
        unsigned number;
        bool is_part_of_admin; /* CAP_SYS_ADMIN includes it */
    } needed[] = {
        {"CAP_BPF", CAP_BPF, true}, {"CAP_NET_ADMIN", CAP_NET_ADMIN, false}, {"CAP_PERFMON", CAP_PERFMON, true}};
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct have[_LINUX_CAPABILITY_U32S_3] = {0};
    size_t missing = 0;
    char names[64] = "";
    (void)syscall(SYS_capget, &header, have);
    const bool is_admin = have[0].effective & (1U << CAP_SYS_ADMIN);
    for (size_t i = 0; i < ARRAY_LEN(needed); i++) {
        const unsigned number = needed[i].number;
        if ((have[number / 32].effective & (1U << number % 32)) || (is_admin && needed[i].is_part_of_admin))
            continue;
        const size_t used = strlen(names);
        snprintf(names + used, sizeof(names) - used, "%s%s", missing++ ? ", " : "", needed[i].name);
    }
    if (missing)
        snprintf(why, KERNEL_PATH_TEXT_MAX, "missing capabilities: %s (start as root, or add them to the systemd unit)",
                 names);
    return !missing;
}

/* ---- loading ---- */

static int log_libbpf(enum libbpf_print_level level, const char *format, va_list arguments)
{
    char text[200];
    if (level != LIBBPF_WARN)
        return 0;
    vsnprintf(text, sizeof(text), format, arguments);
    log_debug("%.*s", (int)strcspn(text, "\n"), text);
    return 0;
}

static void explain(char why[KERNEL_PATH_TEXT_MAX], const char *what, int error)
{
    snprintf(why, KERNEL_PATH_TEXT_MAX, "%s: %s", what, strerror(error));
}

/* What sockets of this host use: those of the program's packets should not differ. */
static __u8 system_hop_limit(const char *file)
{
    FILE *stream = fopen(file, "re");
    unsigned value = 0;
    const bool read = stream && fscanf(stream, "%u", &value) == 1 && value >= 1 && value <= 255;
    if (stream)
        fclose(stream);
    return read ? (__u8)value : 64;
}

static struct bpf_program *path_program(const struct kernel_path *path)
{
    return path->program->progs.relay_flows;
}

static bool path_load(struct kernel_path *path, char why[KERNEL_PATH_TEXT_MAX])
{
    path->program = flow_bpf__open();
    if (!path->program) {
        explain(why, "cannot open the program", errno);
        return false;
    }
    path->program->rodata->ttl_v4 = system_hop_limit("/proc/sys/net/ipv4/ip_default_ttl");
    path->program->rodata->hop_limit_v6 = system_hop_limit("/proc/sys/net/ipv6/conf/default/hop_limit");
    /* Older versions of libbpf do not know "tcx" in the program's section. */
    bpf_program__set_type(path_program(path), BPF_PROG_TYPE_SCHED_CLS);
    bpf_program__set_expected_attach_type(path_program(path), (enum bpf_attach_type)ATTACH_TCX_INGRESS);
    const int error = flow_bpf__load(path->program);
    if (error && access("/sys/kernel/btf/vmlinux", R_OK) < 0)
        snprintf(why, KERNEL_PATH_TEXT_MAX, "this kernel was built without CONFIG_DEBUG_INFO_BTF");
    else if (error == -EPERM) /* the capabilities have been looked at */
        snprintf(
            why, KERNEL_PATH_TEXT_MAX,
            "bpf(2) is not permitted: allow it in SystemCallFilter= of the systemd unit, or in the container's seccomp "
            "profile");
    else if (error)
        explain(why, "the kernel does not accept the program (log.level: debug shows why)", -error);
    return !error;
}

static void *map_memory(const struct bpf_map *map, size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map), 0);
    return memory == MAP_FAILED ? NULL : memory;
}

static bool path_map(struct kernel_path *path, char why[KERNEL_PATH_TEXT_MAX])
{
    path->ports = bpf_map__fd(path->program->maps.ports);
    path->flows = bpf_map__fd(path->program->maps.flows);
    path->memory = map_memory(path->program->maps.slots, FLOW_SLOTS * sizeof(struct flow_slot));
    path->shared = map_memory(path->program->maps.shared, sizeof(struct flow_shared));
    path->pool = slot_pool_new(FLOW_SLOTS);
    path->slots = calloc(FLOW_SLOTS, sizeof(*path->slots));
    if (path->memory && path->shared && path->pool && path->slots)
        return true;
    explain(why, "no memory for it", errno);
    return false;
}

/* ---- IPsec ---- */

#define WHY_IPSEC "IPsec policies exist (ip xfrm policy), which the kernel path would not apply"

static bool path_is_without_ipsec(struct kernel_path *path, char why[KERNEL_PATH_TEXT_MAX])
{
    struct bpf_test_run_opts options = {.sz = sizeof(options)};
    const int error = bpf_prog_test_run_opts(bpf_program__fd(path->program->progs.find_ipsec_policies), &options);
    if (error)
        explain(why, "cannot find out whether IPsec policies exist", -error);
    else if (options.retval)
        snprintf(why, KERNEL_PATH_TEXT_MAX, WHY_IPSEC);
    return !error && !options.retval;
}

const char *kernel_path_why_paused(const struct kernel_path *path)
{
    return __atomic_load_n(&path->shared->ipsec, __ATOMIC_RELAXED) ? WHY_IPSEC : NULL;
}

/* ---- attaching ---- */

/* A link of the kernel, which ends with this process however that ends. An interface that has vanished meanwhile is not
 * missed. */
static bool path_attach(struct kernel_path *path, char why[KERNEL_PATH_TEXT_MAX])
{
    struct links found;
    const int failed = links_read(&found);
    for (size_t i = 0; i < found.count; i++) {
        const int fd = bpf_link_create(bpf_program__fd(path_program(path)), (int)found.list[i].index,
                                       (enum bpf_attach_type)ATTACH_TCX_INGRESS, NULL);
        if (fd == -ENODEV)
            continue;
        if (fd < 0) {
            explain(why, found.list[i].name, -fd);
            return false;
        }
        path->attachments[path->links.count] = fd;
        path->links.list[path->links.count++] = found.list[i];
    }
    if (failed)
        explain(why, "cannot list the interfaces", -failed);
    else if (!path->links.count)
        snprintf(why, KERNEL_PATH_TEXT_MAX, "no Ethernet interface is up and has an address");
    return path->links.count > 0;
}

/* ---- life ---- */

struct kernel_path *kernel_path_open(char why[KERNEL_PATH_TEXT_MAX])
{
    if (!kernel_is_new_enough(why) || !capabilities_suffice(why))
        return NULL;
    struct kernel_path *path = calloc(1, sizeof(*path));
    if (!path) {
        snprintf(why, KERNEL_PATH_TEXT_MAX, "no memory");
        return NULL;
    }
    libbpf_set_print(log_libbpf);
    if (path_load(path, why) && path_is_without_ipsec(path, why) && path_map(path, why) && path_attach(path, why))
        return path;
    kernel_path_close(path);
    return NULL;
}

void kernel_path_close(struct kernel_path *path)
{
    if (!path)
        return;
    for (size_t i = 0; i < path->links.count; i++)
        close(path->attachments[i]);
    if (path->memory)
        munmap(path->memory, FLOW_SLOTS * sizeof(struct flow_slot));
    if (path->shared)
        munmap(path->shared, sizeof(struct flow_shared));
    flow_bpf__destroy(path->program);
    slot_pool_free(path->pool);
    free(path->slots);
    free(path);
}

void kernel_path_revoke(struct kernel_path *path)
{
    for (size_t i = 0; i < FLOW_WORKERS; i++)
        __atomic_fetch_add(&path->shared->generation[i], 1, __ATOMIC_RELEASE);
}

/* ---- for the operator ---- */

void kernel_path_missing(const struct kernel_path *path, char interfaces[KERNEL_PATH_TEXT_MAX])
{
    struct links now, missing = {0};
    (void)links_read(&now);
    for (size_t i = 0; i < now.count; i++)
        if (!links_have(&path->links, now.list[i].index))
            missing.list[missing.count++] = now.list[i];
    links_format(&missing, interfaces, KERNEL_PATH_TEXT_MAX);
}

const char *kernel_path_reason(size_t reason)
{
    static const char *const words[] = {
        [FLOW_PASS_FORM] = "form",           [FLOW_PASS_JOINED] = "joined",   [FLOW_PASS_SENDER] = "sender",
        [FLOW_PASS_HEADER] = "header",       [FLOW_PASS_NEW] = "new",         [FLOW_PASS_REVOKED] = "revoked",
        [FLOW_PASS_INTERFACE] = "interface", [FLOW_PASS_BEHIND] = "behind",   [FLOW_PASS_RATE] = "rate",
        [FLOW_PASS_TOO_LARGE] = "too_large", [FLOW_PASS_NO_ROOM] = "no_room", [FLOW_PASS_IPSEC] = "ipsec",
    };
    static_assert(ARRAY_LEN(words) == FLOW_PASS_REASONS, "a word for each");
    assert(reason < ARRAY_LEN(words));
    return words[reason];
}

void kernel_path_view(const struct kernel_path *path, struct kernel_path_view *view)
{
    *view = (struct kernel_path_view){
        .slots = FLOW_SLOTS, .slots_used = slot_pool_used(path->pool), .reasons = FLOW_PASS_REASONS};
    static_assert(FLOW_PASS_REASONS <= ARRAY_LEN(view->passed), "room for each");
    links_format(&path->links, view->interfaces, sizeof(view->interfaces));
    for (size_t i = 0; i < FLOW_PASS_REASONS; i++)
        view->passed[i] = __atomic_load_n(&path->shared->passed[i], __ATOMIC_RELAXED);
}
