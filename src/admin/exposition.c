#include "admin/exposition.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/metrics.h"

/* A help text ends with its line. */
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

static void write_whole(const char *name, const char *type, const char *help, uint64_t value, FILE *out)
{
    write_family(name, type, help, out);
    fprintf(out, "%s %" PRIu64 "\n", name, value);
}

static uint64_t read_counter(const atomic_uint_fast64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static void write_counters(const struct metrics *metrics, FILE *out)
{
#define X(name, help) write_whole("conesocks_" #name, "counter", help, read_counter(&metrics->name), out);
    METRICS(X)
#undef X
    write_family("conesocks_udp_dropped_total", "counter", "datagrams dropped, by reason: see conesocks(8)", out);
    for (int i = 0; i < DROP_REASON_COUNT; i++)
        fprintf(out, "conesocks_udp_dropped_total{reason=\"%s\"} %" PRIu64 "\n", drop_reason_name((enum drop_reason)i),
                read_counter(&metrics->udp_dropped_total[i]));
}

/* Of counters that were not read at one moment, the second may be ahead. */
static uint64_t open_now(const atomic_uint_fast64_t *begun, const atomic_uint_fast64_t *ended)
{
    uint64_t first = read_counter(begun), second = read_counter(ended);
    return first > second ? first - second : 0;
}

static void write_gauges(const struct metrics *metrics, FILE *out)
{
    write_whole("conesocks_sessions", "gauge", "control connections open now",
                open_now(&metrics->sessions_total, &metrics->sessions_ended_total), out);
    write_whole("conesocks_associations", "gauge", "UDP associations open now",
                open_now(&metrics->associations_total, &metrics->associations_ended_total), out);
    write_family("conesocks_build_info", "gauge", "always 1; the version is its label", out);
    fputs("conesocks_build_info{version=\"" CONESOCKS_VERSION "\"} 1\n", out);
}

static void write_lookups(const struct metrics *metrics, FILE *out)
{
    static const unsigned bounds_ms[LOOKUP_TIME_COUNT] = LOOKUP_TIMES_MS;
    const char *name = "conesocks_lookup_duration_seconds";
    uint64_t count = 0;
    write_family(name, "histogram",
                 "time that a name took to resolve in one address family, from the cache or in vain too", out);
    for (int i = 0; i < LOOKUP_TIME_COUNT; i++) {
        count += read_counter(&metrics->lookup_times[i]);
        fprintf(out, "%s_bucket{le=\"%g\"} %" PRIu64 "\n", name, bounds_ms[i] / 1e3, count);
    }
    count += read_counter(&metrics->lookup_times[LOOKUP_TIME_COUNT]);
    fprintf(out, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n", name, count);
    fprintf(out, "%s_sum %.6f\n", name, (double)read_counter(&metrics->lookup_microseconds) / 1e6);
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
    PORTS("conesocks_ports", total, "ports of a range, at all local addresses where it was used lately");
    PORTS("conesocks_ports_used", used, "ports of a range that are in use, at all local addresses");
    PORTS("conesocks_ports_resting", resting, "ports of a range that rest after their use (udp.port_rest)");
    PORTS("conesocks_ports_full", full, "local addresses at which every port of a range is in use");
#undef PORTS
}

static void write_process(const struct process_use *use, FILE *out)
{
    write_family("process_cpu_seconds_total", "counter", "CPU time spent, user and system", out);
    fprintf(out, "process_cpu_seconds_total %.6f\n", use->cpu_seconds);
    if (use->resident_bytes)
        write_whole("process_resident_memory_bytes", "gauge", "memory that is resident", use->resident_bytes, out);
    if (use->virtual_bytes)
        write_whole("process_virtual_memory_bytes", "gauge", "memory that is mapped", use->virtual_bytes, out);
    if (use->open_fds)
        write_whole("process_open_fds", "gauge", "descriptors that are open", use->open_fds, out);
    if (use->max_fds)
        write_whole("process_max_fds", "gauge", "descriptors that may be open at once", use->max_fds, out);
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
    write_whole("conesocks_reloads_total", "counter", "configurations put in force by a reload", facts->reloads, out);
    write_whole("conesocks_reloads_failed_total", "counter", "reloads that changed nothing because of a mistake",
                facts->reloads_failed, out);
    write_port_ranges(facts, out);
    write_process(process, out);
    write_whole("process_start_time_seconds", "gauge", "when it started, in seconds since 1970",
                (uint64_t)facts->started, out);
    fclose(out);
    return text;
}
