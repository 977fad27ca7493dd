/* The program: reads the options, then serves or runs a subcommand. */
#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOG_MODULE "main"
#include "base/command_line.h"
#include "base/log.h"
#include "base/log_output.h"
#include "base/nearest.h"
#include "base/util.h"
#include "check/check.h"
#include "command/command.h"
#include "command/explain.h"
#include "command/hash_password.h"
#include "command/reload.h"
#include "command/status.h"
#include "command/user.h"
#include "conf/config.h"
#include "conf/options.h"
#include "daemon/advertise.h"
#include "daemon/kernel_start.h"
#include "daemon/sandbox.h"
#include "daemon/serve.h"
#include "kernel/kernel_path.h"
#include "policy/snapshot.h"

#define NAME "conesocks"

enum action { RUN, TEST, DUMP, OPTIONS };

struct arguments {
    const char *config_file; /* NULL: the built-in default */
    enum action action;
    bool daemon;
    bool take_over;
};

/* The subcommands; each has its own --help. */
static const struct command {
    const char *name;
    int (*run)(int argc, char **argv); /* argv[0] is the name. Returns the exit status */
    const char *help;
} commands[] = {
    {"user", user_command, "add, change, remove and list the users of users_file"},
    {"hash-password", hash_password, "read a password and print its hash for the configuration"},
    {"status", status_command, "show what a running server is doing"},
    {"reload", reload_command, "make a running server read its configuration again, and print the result"},
    {"explain", explain, "show whether a request is allowed, and which rule decides"},
    {"check", check, "test any SOCKS5 server and report its NAT type"},
};

static int main_help(void)
{
    fputs("Usage: conesocks [-c FILE] [-d] [--take-over]\n"
          "       conesocks -t|--dump [-c FILE]\n"
          "       conesocks COMMAND [OPTIONS]\n"
          "\n"
          "A SOCKS5 proxy with full-cone UDP. Without -c it listens on 127.0.0.1:1080, without a login.\n"
          "\n"
          "  -c, --config FILE  read the configuration from FILE (see conesocks.yaml(5))\n"
          "  -d, --daemon       run in the background and log to syslog\n"
          "      --take-over    take over from the running server, which exits after its last session\n"
          "  -t, --test         check the configuration and exit\n"
          "      --dump         print the active configuration and exit\n"
          "  -V, --version      print the version and exit\n"
          "  -h, --help         print this help and exit\n"
          "\n"
          "Commands, each with its own --help:\n"
          "\n",
          stdout);
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        printf("  %-17s  %s\n", commands[i].name, commands[i].help);
    return EXIT_SUCCESS;
}

static const struct command *main_find_command(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

/* An argument where none is expected. */
static int main_refuse_word(const char *word)
{
    if (main_find_command(word))
        return command_line_fail(NAME, "the command has to be the first argument: conesocks %s [OPTIONS]", word);
    if (access(word, F_OK) == 0)
        return command_line_fail(NAME, "%s is not a command. To use it as the configuration: conesocks -c %s", word,
                                 word);
    struct nearest nearest = nearest_to(word);
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        nearest_offer(&nearest, commands[i].name);
    if (nearest.word)
        return command_line_fail(NAME, "unknown command %s, did you mean %s?", word, nearest.word);
    return command_line_fail(NAME, "unknown command %s", word);
}

/* ---- the server ---- */

/* A daemon leaves the working directory, and a reload reads the file again. NULL: there is no file. */
static char *main_absolute_path(const char *path)
{
    char *folder = path && *path != '/' ? getcwd(NULL, 0) : NULL, *whole = NULL;
    if (folder && asprintf(&whole, "%s/%s", folder, path) < 0)
        whole = NULL;
    free(folder);
    return whole || !path ? whole : strdup(path);
}

/* Somebody who tries it out at a terminal gets a status page. */
#define ADMIN_PORT 1081

/* Takes over the configuration. */
static int main_serve(struct config *config, const struct arguments *arguments)
{
    if (!arguments->config_file && !arguments->daemon && isatty(STDERR_FILENO))
        netaddr_set_port(&config->admin.address, ADMIN_PORT);
    log_set_level(config->log.level);
    log_set_format(config->log.format);
    struct snapshot *snapshot = snapshot_new(config);
    if (!snapshot) {
        fputs("conesocks: out of memory\n", stderr);
        config_free(config);
        return EXIT_FAILURE;
    }
    char *path = main_absolute_path(arguments->config_file);
    const struct serve_options options = {.path = path, .daemon = arguments->daemon, .take_over = arguments->take_over};
    int status = serve(snapshot, &options);
    free(path);
    snapshot_release(snapshot);
    return status;
}

static bool main_name_resolves(const struct config *config, const char *name)
{
    return advertise_resolve(config, name, AF_INET).sa.sa_family != AF_UNSPEC ||
           advertise_resolve(config, name, AF_INET6).sa.sa_family != AF_UNSPEC;
}

/* Only for -t: it waits for name servers, and a start must not. */
static void main_warn_unresolved(const struct config *config, const char *path)
{
    for (size_t i = 0; i < config->upstream_count; i++) {
        const struct config_upstream *upstream = &config->upstreams[i];
        if (upstream->host.name && !main_name_resolves(config, upstream->host.name))
            fprintf(stderr,
                    "%s:%zu:%zu: warning: upstreams[%zu].address: %s does not resolve now; sessions that should use it "
                    "fail. Correct the name, or check dns.servers\n",
                    path, upstream->line, upstream->column, i, upstream->host.name);
    }
    const struct config_advertise *advertised[] = {&config->udp.advertise_v4, &config->udp.advertise_v6};
    for (int i = 0; i < 2; i++)
        if (advertised[i]->name &&
            advertise_resolve(config, advertised[i]->name, i ? AF_INET6 : AF_INET).sa.sa_family == AF_UNSPEC)
            fprintf(stderr,
                    "%s: warning: udp.advertise_%s: %s has no %s address now; the server does not start without one\n",
                    path, i ? "v6" : "v4", advertised[i]->name, i ? "IPv6" : "IPv4");
}

static int main_test(const struct config *config, const char *path)
{
    main_warn_unresolved(config, path);
    uid_t user;
    gid_t group;
    if (!sandbox_identity(config, &user, &group))
        return EXIT_FAILURE;
    kernel_start_test(config, path ? path : "built-in default");
    printf("%s: the configuration is valid\n", path ? path : "built-in default");
    return EXIT_SUCCESS;
}

static int main_act(const struct arguments *arguments)
{
    if (arguments->action == OPTIONS) {
        config_options_list(stdout);
        return EXIT_SUCCESS;
    }
    struct config *config = command_load(arguments->config_file);
    if (!config)
        return EXIT_FAILURE;
    int status = EXIT_SUCCESS;
    switch (arguments->action) {
    case DUMP:
        config_dump(config, stdout, false);
        break;
    case TEST:
        status = main_test(config, arguments->config_file);
        break;
    default:
        status = main_serve(config, arguments);
        config = NULL;
    }
    config_free(config);
    return fflush(stdout) == 0 ? status : EXIT_FAILURE;
}

/* If stderr were closed, the next socket would get its number, and log lines would be sent to that socket's peer. */
static void main_open_standard_descriptors(void)
{
    int fd;
    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

#ifdef SANDBOX_HAS_CALLS
#define HAS_SECCOMP true
#else
#define HAS_SECCOMP false
#endif
#ifdef DAEMON_HAS_SYSTEMD
#define HAS_SYSTEMD true
#else
#define HAS_SYSTEMD false
#endif

static int main_print_version(void)
{
    const struct {
        const char *name;
        bool is_built;
    } parts[] = {{"kernel path", kernel_path_is_built()}, {"seccomp", HAS_SECCOMP}, {"systemd", HAS_SYSTEMD}};
    puts("conesocks " CONESOCKS_VERSION);
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        printf("%s: %s\n", parts[i].name, parts[i].is_built ? "built in" : "not built in");
    printf("libevent: %s\ncompiler: %s\n", event_get_version(), __VERSION__);
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    enum { LONG_DUMP = 256, LONG_OPTIONS, LONG_TAKE_OVER };
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"daemon", no_argument, NULL, 'd'},
        {"take-over", no_argument, NULL, LONG_TAKE_OVER},
        {"test", no_argument, NULL, 't'},
        {"dump", no_argument, NULL, LONG_DUMP},
        {"version", no_argument, NULL, 'V'},
        {"help", no_argument, NULL, 'h'},
        {"options", no_argument, NULL, LONG_OPTIONS}, /* for the test that compares them with the manual */
        {0},
    };
    main_open_standard_descriptors();
    log_to(LOG_TARGET_STDERR);
    const struct command *command = argc > 1 ? main_find_command(argv[1]) : NULL;
    if (command)
        return command->run(argc - 1, argv + 1);
    struct arguments arguments = {.action = RUN};
    for (int option; (option = command_line_next(NAME, argc, argv, ":c:dtVh", options)) != -1;) {
        switch (option) {
        case 'c':
            arguments.config_file = optarg;
            break;
        case 'd':
            arguments.daemon = true;
            break;
        case LONG_TAKE_OVER:
            arguments.take_over = true;
            break;
        case 't':
            arguments.action = TEST;
            break;
        case LONG_DUMP:
            arguments.action = DUMP;
            break;
        case LONG_OPTIONS:
            arguments.action = OPTIONS;
            break;
        case 'V':
            return main_print_version();
        case 'h':
            return main_help();
        default:
            return EXIT_USAGE;
        }
    }
    return optind == argc ? main_act(&arguments) : main_refuse_word(argv[optind]);
}
