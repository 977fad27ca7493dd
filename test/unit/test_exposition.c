/* Counters in Prometheus's text format. promtool reads the real thing in test/integration/test_admin.py. */
#include "test.h"

#include <stdlib.h>
#include <string.h>

#include "admin/exposition.h"
#include "base/metrics.h"

static struct admin_facts facts = {
    .started = 1700000000,
    .reloads = 3,
    .reloads_failed = 2,
    .ports = {{"udp.ports", 1, 2, {1, 2, 3, 1, 0, false}}, {"udp.external_ports", 3, 4, {4, 5, 6, 2, 1, true}}},
    .port_count = 2,
    .kernel_path = {.why_not = "off"},
};
static const struct process_use use = {1.25, 4096, 8192, 10, 20};

static char *text_of(const struct metrics *metrics, const struct process_use *process)
{
    size_t size;
    char *text = exposition_format(metrics, &facts, process, &size);
    assert_non_null(text);
    assert_int_equal(strlen(text), size);
    return text;
}

static void expect(const char *text, const char *lines)
{
    if (!strstr(text, lines))
        fail_msg("no %s in %s", lines, text);
}

static void every_counter_has_its_lines(void **state)
{
    (void)state;
    struct metrics metrics = {0};
    uint64_t number = 1000;
    char lines[512];
#define X(name, help) metrics.name = number++;
    METRICS(X)
#undef X
    for (int i = 0; i < DROP_REASON_COUNT; i++)
        metrics.udp_dropped_total[i] = number++;
    char *text = text_of(&metrics, &use);
    number = 1000;
#define X(name, help)                                                                                                  \
    snprintf(lines, sizeof(lines), "# HELP conesocks_%s %s\n# TYPE conesocks_%s counter\nconesocks_%s %d\n", #name,    \
             help, #name, #name, (int)number++);                                                                       \
    expect(text, lines);
    METRICS(X)
#undef X
    for (int i = 0; i < DROP_REASON_COUNT; i++) {
        snprintf(lines, sizeof(lines), "\nconesocks_udp_dropped_total{reason=\"%s\"} %d\n",
                 drop_reason_name((enum drop_reason)i), (int)number++);
        expect(text, lines);
    }
    free(text);
}

static void open_sessions_are_gauges(void **state)
{
    (void)state;
    struct metrics metrics = {
        .sessions_total = 7, .sessions_ended_total = 4, .associations_total = 5, .associations_ended_total = 6};
    char *text = text_of(&metrics, &use);
    expect(text, "\nconesocks_sessions 3\n");
    expect(text, "\nconesocks_associations 0\n"); /* one has ended while the counters were read */
    free(text);
}

static void the_kernel_path_is_shown(void **state)
{
    (void)state;
    const struct metrics metrics = {0};
    char *text = text_of(&metrics, &use);
    expect(text, "\nconesocks_kernel_path_configured 0\n");
    expect(text, "\nconesocks_kernel_path_active 0\n");
    assert_null(strstr(text, "conesocks_kernel_path_slots"));
    free(text);
    facts.kernel_path = (struct admin_kernel_path){.view = {.slots_used = 7, .slots = 100}};
    facts.kernel_path_configured = true;
    text = text_of(&metrics, &use);
    expect(text, "\nconesocks_kernel_path_configured 1\n");
    expect(text, "\nconesocks_kernel_path_active 1\n");
    expect(text, "\nconesocks_kernel_path_slots 100\n");
    expect(text, "\nconesocks_kernel_path_slots_used 7\n");
    expect(text, "# TYPE conesocks_kernel_path_passed_total counter\n");
    free(text);
}

static void lookup_times_are_a_histogram(void **state)
{
    (void)state;
    struct metrics one = {0}, other = {0};
    metrics_lookup(&one, 0);
    metrics_lookup(&one, 1000);
    metrics_lookup(&other, 1001);
    metrics_lookup(&other, 2500000);
    metrics_lookup(&other, 5000001);
    metrics_sum(&one, &other);
    char *text = text_of(&one, &use);
    expect(text, "\n# TYPE conesocks_lookup_duration_seconds histogram\n"
                 "conesocks_lookup_duration_seconds_bucket{le=\"0.001\"} 2\n"
                 "conesocks_lookup_duration_seconds_bucket{le=\"0.005\"} 3\n");
    expect(text, "_bucket{le=\"1\"} 3\n"
                 "conesocks_lookup_duration_seconds_bucket{le=\"2.5\"} 4\n"
                 "conesocks_lookup_duration_seconds_bucket{le=\"5\"} 4\n"
                 "conesocks_lookup_duration_seconds_bucket{le=\"+Inf\"} 5\n"
                 "conesocks_lookup_duration_seconds_sum 7.502002\n"
                 "conesocks_lookup_duration_seconds_count 5\n");
    free(text);
}

static void the_process_and_the_build(void **state)
{
    (void)state;
    struct metrics metrics = {0};
    char *text = text_of(&metrics, &use);
    expect(text, "\nprocess_cpu_seconds_total 1.250000\n");
    expect(text, "\nprocess_resident_memory_bytes 4096\n");
    expect(text, "\nprocess_virtual_memory_bytes 8192\n");
    expect(text, "\nprocess_open_fds 10\n");
    expect(text, "\nprocess_max_fds 20\n");
    expect(text, "\nprocess_start_time_seconds 1700000000\n");
    expect(text, "\nconesocks_reloads_total 3\n");
    expect(text, "\nconesocks_reloads_failed_total 2\n");
    expect(text, "\nconesocks_build_info{version=\"" CONESOCKS_VERSION "\"} 1\n");
    free(text);
}

/* Row 63. */
static void port_ranges_have_gauges(void **state)
{
    (void)state;
    struct metrics metrics = {0};
    char *text = text_of(&metrics, &use);
    expect(text, "\n# TYPE conesocks_ports_used gauge\n"
                 "conesocks_ports_used{range=\"udp.ports\"} 1\n"
                 "conesocks_ports_used{range=\"udp.external_ports\"} 4\n");
    expect(text, "\nconesocks_ports_resting{range=\"udp.external_ports\"} 5\n");
    expect(text, "\nconesocks_ports{range=\"udp.ports\"} 3\n");
    expect(text, "\nconesocks_ports_full{range=\"udp.external_ports\"} 1\n");
    free(text);
}

static void unknown_values_are_left_out(void **state)
{
    (void)state;
    struct metrics metrics = {0};
    char *text = text_of(&metrics, &(struct process_use){0});
    assert_null(strstr(text, "process_resident"));
    assert_null(strstr(text, "_fds"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_counter_has_its_lines), cmocka_unit_test(open_sessions_are_gauges),
        cmocka_unit_test(the_kernel_path_is_shown),    cmocka_unit_test(lookup_times_are_a_histogram),
        cmocka_unit_test(the_process_and_the_build),   cmocka_unit_test(port_ranges_have_gauges),
        cmocka_unit_test(unknown_values_are_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
