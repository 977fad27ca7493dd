#include "admin/exposition.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/metrics.h"

/* A help text ends at a newline, so newlines are escaped. */
static void write_help(const char *help, FILE *out)
{
    for (; *help; help++) {
        if (*help == '\\')
            fputs("\\\\", out);
        else if (*help == '\n')
            fputs("\\n", out);
        else
            fputc(*help, out);
    }
}

static void write_family(const char *name, const char *type, const char *help, FILE *out)
{
    fprintf(out, "# HELP %s ", name);
    write_help(help, out);
    fprintf(out, "\n# TYPE %s %s\n", name, type);
}

static void write_integer(const char *name, const char *type, const char *help, uint64_t value, FILE *out)
{
    write_family(name, type, help, out);
    fprintf(out, "%s %" PRIu64 "\n", name, value);
}

static uint64_t exposition_counter(const atomic_uint_fast64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static void write_counters(const struct metrics *metrics, FILE *out)
{
#define X(name, help) write_integer("conesocks_" #name, "counter", help, exposition_counter(&metrics->name), out);
    METRICS(X)
#undef X
    write_family("conesocks_udp_dropped_total", "counter", "datagrams dropped, by reason: see conesocks(8)", out);
    for (int i = 0; i < DROP_REASON_COUNT; i++)
        fprintf(out, "conesocks_udp_dropped_total{reason=\"%s\"} %" PRIu64 "\n", drop_reason_name((enum drop_reason)i),
                exposition_counter(&metrics->udp_dropped_total[i]));
}

/* The counters were not read at one moment: the second may already be higher. */
static uint64_t exposition_open_now(const atomic_uint_fast64_t *begun, const atomic_uint_fast64_t *ended)
{
    uint64_t first = exposition_counter(begun), second = exposition_counter(ended);
    return first > second ? first - second : 0;
}

static void write_gauges(const struct metrics *metrics, FILE *out)
{
    write_integer("conesocks_sessions", "gauge", "control connections open now",
                  exposition_open_now(&metrics->sessions_total, &metrics->sessions_ended_total), out);
    write_integer("conesocks_associations", "gauge", "UDP associations open now",
                  exposition_open_now(&metrics->associations_total, &metrics->associations_ended_total), out);
    write_family("conesocks_build_info", "gauge", "always 1; the label is the version", out);
    fputs("conesocks_build_info{version=\"" CONESOCKS_VERSION "\"} 1\n", out);
}

static void write_lookups(const struct metrics *metrics, FILE *out)
{
    static const unsigned bounds_ms[LOOKUP_TIME_COUNT] = LOOKUP_TIMES_MS;
    const char *name = "conesocks_lookup_duration_seconds";
    uint64_t count = 0;
    write_family(name, "histogram", "time to resolve a name in one address family, cached and failed lookups included",
                 out);
    for (int i = 0; i < LOOKUP_TIME_COUNT; i++) {
        count += exposition_counter(&metrics->lookup_times[i]);
        fprintf(out, "%s_bucket{le=\"%g\"} %" PRIu64 "\n", name, bounds_ms[i] / 1e3, count);
    }
    count += exposition_counter(&metrics->lookup_times[LOOKUP_TIME_COUNT]);
    fprintf(out, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n", name, count);
    fprintf(out, "%s_sum %.6f\n", name, (double)exposition_counter(&metrics->lookup_microseconds) / 1e6);
    fprintf(out, "%s_count %" PRIu64 "\n", name, count);
}

static void write_port_ranges(const struct admin_facts *facts, FILE *out)
{
    if (!facts->port_count)
        return;
#define PORTS(name, member, help)                                                                                      \
    write_family(name, "gauge", help, out);                                                                            \
    for (size_t i = 0; i < facts->port_count; i++)                                                                     \
    fprintf(out, name "{range=\"%s\"} %" PRIu64 "\n", facts->ports[i].option, facts->ports[i].use.member)
    PORTS("conesocks_ports", total, "ports of a range, summed over the local addresses that used it recently");
    PORTS("conesocks_ports_used", used, "ports of a range that are in use, summed over the local addresses");
    PORTS("conesocks_ports_resting", resting, "ports of a range that rest after use (udp.port_rest)");
    PORTS("conesocks_ports_full", full, "local addresses at which every port of a range is in use");
#undef PORTS
}

/* "configured" without "active" is what an alert waits for. */
static void write_kernel_path(const struct admin_facts *facts, FILE *out)
{
    const struct admin_kernel_path *path = &facts->kernel_path;
    const char *passed = "conesocks_kernel_path_passed_total";
    write_integer("conesocks_kernel_path_configured", "gauge", "1 if udp.kernel_path is not off",
                  facts->kernel_path_configured, out);
    write_integer("conesocks_kernel_path_active", "gauge", "1 if the kernel path is active", !path->why_not, out);
    write_family(passed, "counter", "datagrams that the kernel path left to user space, by reason: see conesocks(8)",
                 out);
    for (size_t i = 0; i < path->view.reasons; i++)
        fprintf(out, "%s{reason=\"%s\"} %" PRIu64 "\n", passed, kernel_path_reason(i), path->view.passed[i]);
    if (path->why_not)
        return;
    write_integer("conesocks_kernel_path_slots", "gauge", "associations that the kernel path has room for",
                  path->view.slots, out);
    write_integer("conesocks_kernel_path_slots_used", "gauge", "associations that use the kernel path now",
                  path->view.slots_used, out);
}

static void write_process(const struct process_use *use, FILE *out)
{
    write_family("process_cpu_seconds_total", "counter", "CPU time spent, user and system", out);
    fprintf(out, "process_cpu_seconds_total %.6f\n", use->cpu_seconds);
    if (use->resident_bytes)
        write_integer("process_resident_memory_bytes", "gauge", "resident memory", use->resident_bytes, out);
    if (use->virtual_bytes)
        write_integer("process_virtual_memory_bytes", "gauge", "mapped memory", use->virtual_bytes, out);
    if (use->open_fds)
        write_integer("process_open_fds", "gauge", "open descriptors", use->open_fds, out);
    if (use->max_fds)
        write_integer("process_max_fds", "gauge", "limit of open descriptors", use->max_fds, out);
}

char *exposition_format(const struct metrics *metrics, const struct admin_facts *facts,
                        const struct process_use *process, size_t *size)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, size);
    if (!out)
        return NULL;
    write_counters(metrics, out);
    write_gauges(metrics, out);
    write_lookups(metrics, out);
    write_integer("conesocks_reloads_total", "counter", "reloads that activated a configuration", facts->reloads, out);
    write_integer("conesocks_reloads_failed_total", "counter", "reloads that failed and kept the current configuration",
                  facts->reloads_failed, out);
    write_port_ranges(facts, out);
    write_kernel_path(facts, out);
    write_process(process, out);
    write_integer("process_start_time_seconds", "gauge", "start time in seconds since 1970", (uint64_t)facts->started,
                  out);
    fclose(out);
    return text;
}
