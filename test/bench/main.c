/*
 * bench_load: drives a SOCKS5 server, any, through one load after the other, and writes what it found as lines of JSON.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/util.h"
#include "load.h"
#include "payload.h"
#include "whole_cpu.h"

#define SIZE_LARGEST 1400

/* clang-format off */
static const struct load loads[] = {
    {.name = "echo-1x32", .help = "64 B there and back, 1 association, 32 in flight",
     .run = load_echo, .unit = PER_MILLION_DATAGRAMS, .count = 1, .window = 32, .size = 64},
    {.name = "echo-32x8", .help = "200 B there and back, 32 associations, 8 in flight each",
     .run = load_echo, .unit = PER_MILLION_DATAGRAMS, .count = 32, .window = 8, .size = 200},
    {.name = "echo-64x1", .help = "64 B there and back, 64 associations, 1 in flight each",
     .run = load_echo, .unit = PER_MILLION_DATAGRAMS, .count = 64, .window = 1, .size = 64},
    {.name = "echo-64x4", .help = "64 B there and back, 64 associations, 4 in flight each",
     .run = load_echo, .unit = PER_MILLION_DATAGRAMS, .count = 64, .window = 4, .size = 64},
    {.name = "quiet", .help = "64 B there and back, 64 associations, 100 times a second each",
     .run = load_quiet, .unit = PER_MILLION_DATAGRAMS, .count = 64, .window = 128, .size = 64, .rate = 100},
    {.name = "up", .help = "1200 B to the target, 128 in flight",
     .run = load_flow, .unit = PER_GB, .count = 1, .window = 128, .size = 1200},
    {.name = "down", .help = "1200 B to the client, 128 in flight",
     .run = load_flow, .unit = PER_GB, .count = 1, .window = 128, .size = 1200, .down = true},
    {.name = "up-segments", .help = "as up, both ends with UDP_SEGMENT and UDP_GRO",
     .run = load_flow, .unit = PER_GB, .count = 1, .window = 128, .size = 1200, .segments = true},
    {.name = "down-segments", .help = "as down, both ends with UDP_SEGMENT and UDP_GRO",
     .run = load_flow, .unit = PER_GB, .count = 1, .window = 128, .size = 1200, .down = true, .segments = true},
    {.name = "churn", .help = "association, one datagram there and back, close, 16 at a time",
     .run = load_churn, .unit = PER_CYCLE, .count = 16, .window = 1, .size = 64},
    {.name = "churn-steady", .help = "as churn, after 20,000 associations",
     .run = load_churn, .unit = PER_CYCLE, .count = 16, .window = 1, .size = 64, .before = 20000},
    {.name = "churn-growth",
     .help = "60,000 associations in a row as churn: the last 3000, and by how much they cost more than the first",
     .run = load_churn_growth, .unit = PER_CYCLE, .count = 60000, .window = 1, .size = 64},
    {.name = "idle", .help = "1000 associations that keep silent",
     .run = load_idle, .unit = NOT_DIVIDED, .count = 1000, .window = 1, .size = 64},
    {.name = "scale", .help = "6000 associations in turn, 3 targets",
     .run = load_scale, .unit = PER_MILLION_DATAGRAMS, .count = 6000, .window = 1, .size = 64},
    {.name = "flood-up", .help = "9 associations at 1000 datagrams a second, beside a client that floods",
     .run = load_flood, .unit = PER_MILLION_DATAGRAMS, .count = 9, .window = 1, .size = 64},
    {.name = "flood-down", .help = "the same, beside an external port that is flooded",
     .run = load_flood, .unit = PER_MILLION_DATAGRAMS, .count = 9, .window = 1, .size = 64, .down = true},
    {.name = "connect-up", .help = "CONNECT, bytes to the target",
     .run = load_connect_bulk, .unit = PER_GB, .count = 1},
    {.name = "connect-down", .help = "CONNECT, bytes to the client",
     .run = load_connect_bulk, .unit = PER_GB, .count = 1, .down = true},
    {.name = "connect-churn", .help = "CONNECT, 64 B there and back, close, 16 at a time",
     .run = load_connect_churn, .unit = PER_CYCLE, .count = 16},
    {.name = "connect-churn-steady", .help = "as connect-churn, after 20,000 connections",
     .run = load_connect_churn, .unit = PER_CYCLE, .count = 16, .before = 20000},
    {.name = "connect-idle", .help = "1000 CONNECTs that keep silent",
     .run = load_connect_idle, .unit = NOT_DIVIDED, .count = 1000},
};
/* clang-format on */

static const struct {
    const char *cost, *relayed;
    double scale; /* from nanoseconds of CPU per thing relayed */
} units[] = {
    [PER_MILLION_DATAGRAMS] = {"s per million datagrams", "datagrams", 1e-3},
    [PER_GB] = {"s per GB", "bytes", 1},
    [PER_CYCLE] = {"us each", "cycles", 1e-3},
    [NOT_DIVIDED] = {"", "datagrams", 0},
};

static void print_help(void)
{
    puts(
        "Usage: bench_load --proxy HOST:PORT|--direct [OPTION...] [LOAD...]\n"
        "\n"
        "Drives a SOCKS5 server (no login) and writes one line of JSON per load. All targets are its own.\n"
        "\n"
        "      --proxy HOST:PORT  the server\n"
        "      --direct           no server: the clients of echo loads and of quiet send to the targets themselves\n"
        "      --pid PID          its process: CPU time, memory and descriptors of it and its children are measured\n"
        "      --seconds S        how long each load runs (default 2)\n"
        "      --count N          associations or connections of idle, scale, connect-idle, churn-growth, and before "
        "the -steady ones\n"
        "      --size N           payload bytes of a datagram (default: the load's)\n"
        "      --target ADDRESS   where the targets are (default: 127.0.0.1)\n"
        "      --target-netns FD  the network namespace that they are in, as an open descriptor\n"
        "      --whole-cpu        report the busy time of this program's CPU, other programs included\n"
        "      --help             print this and exit\n"
        "\n"
        "Exit status: 1 when an answer was wrong or went to the wrong association, 2 for a wrong command line, 3 when\n"
        "the server refused, fell silent or died.\n"
        "\n"
        "Loads (default: all):");
    for (size_t i = 0; i < ARRAY_LEN(loads); i++)
        printf("  %-20s %s\n", loads[i].name, loads[i].help);
}

static void parse_proxy(const char *text, union netaddr *proxy)
{
    char host[NETADDR_TEXT_MAX];
    const char *colon = strrchr(text, ':');
    size_t len = colon ? (size_t)(colon - text) : 0;
    long port = colon ? strtol(colon + 1, NULL, 10) : 0;
    bool bracketed = len > 2 && text[0] == '[' && text[len - 1] == ']';
    snprintf(host, sizeof(host), "%.*s", (int)(bracketed ? len - 2 : len), bracketed ? text + 1 : text);
    if (port < 1 || port > UINT16_MAX || !netaddr_parse(proxy, host, (uint16_t)port))
        bench_die(EXIT_USAGE, "--proxy \"%s\": expected an address and a port, as in 127.0.0.1:1080", text);
}

static double parse_number(const char *option, const char *text, double min, double max)
{
    char *end;
    double number = strtod(text, &end);
    if (end == text || *end || !(number >= min && number <= max))
        bench_die(EXIT_USAGE, "%s \"%s\": expected a number from %g to %g", option, text, min, max);
    return number;
}

static struct settings parse_options(int argc, char **argv)
{
    static const struct option options[] = {
        {"proxy", required_argument, NULL, 'x'},
        {"pid", required_argument, NULL, 'p'},
        {"seconds", required_argument, NULL, 's'},
        {"count", required_argument, NULL, 'n'},
        {"direct", no_argument, NULL, 'd'},
        {"size", required_argument, NULL, 'z'},
        {"target", required_argument, NULL, 't'},
        {"target-netns", required_argument, NULL, 'e'},
        {"whole-cpu", no_argument, NULL, 'w'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    struct settings settings = {.duration_ns = 2 * NS_PER_S, .target_netns = -1};
    bool direct = false;
    netaddr_parse(&settings.target_at, "127.0.0.1", 0);
    for (int option; (option = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        switch (option) {
        case 'x':
            parse_proxy(optarg, &settings.proxy);
            break;
        case 'p':
            settings.pid = (pid_t)parse_number("--pid", optarg, 1, 1 << 22);
            break;
        case 's':
            settings.duration_ns = (uint64_t)(parse_number("--seconds", optarg, 0.01, 3600) * 1e9);
            break;
        case 'n':
            settings.count = (unsigned)parse_number("--count", optarg, 1, 1000000);
            break;
        case 'd':
            direct = true;
            break;
        case 'z':
            settings.size = (unsigned)parse_number("--size", optarg, PAYLOAD_MIN, SIZE_LARGEST);
            break;
        case 't':
            if (!netaddr_parse(&settings.target_at, optarg, 0))
                bench_die(EXIT_USAGE, "--target \"%s\": expected an address, as in 127.0.0.1", optarg);
            break;
        case 'e':
            settings.target_netns = (int)parse_number("--target-netns", optarg, 3, 1 << 20);
            break;
        case 'w':
            settings.whole_cpu = true;
            break;
        case 'h':
            print_help();
            exit(EXIT_SUCCESS);
        default:
            exit(EXIT_USAGE);
        }
    }
    if (settings_direct(&settings) != direct)
        bench_die(EXIT_USAGE, "expected --proxy HOST:PORT, or --direct; --help tells more");
    return settings;
}

static bool needs_server(const struct load *load)
{
    return load->run != load_echo && load->run != load_quiet;
}

static const struct load *find_load(const struct settings *settings, const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(loads); i++) {
        if (strcmp(loads[i].name, name) != 0)
            continue;
        if (settings_direct(settings) && needs_server(&loads[i]))
            bench_die(EXIT_USAGE, "the load \"%s\" needs a server", name);
        return &loads[i];
    }
    bench_die(EXIT_USAGE, "no load is called \"%s\"; --help lists them", name);
}

static void print_report(const struct load *load, const struct settings *settings, const struct report *report)
{
    double seconds = (double)report->elapsed_ns / 1e9;
    printf("{\"load\": \"%s\", \"seconds\": %.3f, \"%s\": %" PRIu64 ", \"sent\": %" PRIu64 ", \"lost\": %" PRIu64
           ", \"late\": %" PRIu64 ", \"stray\": %" PRIu64 ", \"reordered\": %" PRIu64
           ", \"wrong\": {\"content\": %" PRIu64 ", \"association\": %" PRIu64 ", \"origin\": %" PRIu64 "}",
           load->name, seconds, units[load->unit].relayed, report->relayed, report->sent, report->lost, report->late,
           report->stray, report->reordered, report->wrong_content, report->wrong_association, report->wrong_origin);
    if (report->whole_sent > 0)
        printf(", \"whole\": {\"sent\": %" PRIu64 ", \"answered\": %" PRIu64 "}", report->whole_sent,
               report->whole_answered);
    if (load->unit != NOT_DIVIDED)
        printf(", \"rate\": %.0f", (double)report->relayed / seconds);
    if (report->latency.total > 0)
        printf(", \"latency_us\": {\"p50\": %.1f, \"p99\": %.1f, \"p99.9\": %.1f}",
               (double)histogram_percentile(&report->latency, .5) / 1e3,
               (double)histogram_percentile(&report->latency, .99) / 1e3,
               (double)histogram_percentile(&report->latency, .999) / 1e3);
    printf(", \"load_cpu_s\": %.4f", (double)report->own_cpu_ns / 1e9);
    if (settings->pid) {
        printf(", \"server_cpu_s\": %.4f", (double)report->server_cpu_ns / 1e9);
        if (load->unit != NOT_DIVIDED && report->relayed > 0)
            printf(", \"cost\": %.4f, \"cost_unit\": \"%s\"",
                   (double)report->server_cpu_ns / (double)report->relayed * units[load->unit].scale,
                   units[load->unit].cost);
        if (report->growth > 0)
            printf(", \"growth\": %.3f", report->growth);
        if (report->descriptors_each > 0)
            printf(", \"kib_each\": %.2f, \"descriptors_each\": %.2f, \"tasks_each\": %.2f", report->kib_each,
                   report->descriptors_each, report->tasks_each);
    }
    if (settings->whole_cpu)
        printf(", \"busy_s\": %.6f, \"accounted_s\": %.6f", (double)(report->elapsed_ns - report->idle_ns) / 1e9,
               (double)(report->own_cpu_ns + report->server_cpu_ns + report->ksoftirqd_ns) / 1e9);
    puts("}");
    fflush(stdout);
}

static bool run_load(const struct load *load, const struct settings *settings)
{
    static struct report report; /* large for a stack */
    report = (struct report){0};
    struct load sized = *load;
    if (settings->size && load->size)
        sized.size = settings->size;
    load->run(&sized, settings, &report);
    print_report(load, settings, &report);
    return report.wrong_content == 0 && report.wrong_association == 0 && report.wrong_origin == 0;
}

int main(int argc, char **argv)
{
    struct settings settings = parse_options(argc, argv);
    for (int i = optind; i < argc; i++)
        find_load(&settings, argv[i]);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    payload_init();
    if (settings.whole_cpu)
        whole_cpu_init();
    bool right = true;
    for (int i = optind; i < argc; i++)
        right &= run_load(find_load(&settings, argv[i]), &settings);
    for (size_t i = 0; optind == argc && i < ARRAY_LEN(loads); i++)
        if (!settings_direct(&settings) || !needs_server(&loads[i]))
            right &= run_load(&loads[i], &settings);
    return right ? EXIT_SUCCESS : EXIT_WRONG;
}
