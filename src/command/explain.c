#include "command/explain.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/command_line.h"
#include "command/command.h"
#include "conf/config.h"
#include "conf/words.h"
#include "host/addresses.h"
#include "policy/destinations.h"
#include "policy/snapshot.h"
#include "policy/terms.h"
#include "policy/verdict.h"
#include "proxy/address.h"
#include "proxy/assoc/kernel_reason.h"

#define NAME "conesocks explain"

static const char usage_text[] =
    "Usage: conesocks explain [-c FILE] --from ADDRESS [--user NAME] [--listener NAME] [--command connect|bind|udp]\n"
    "                         --to HOST:PORT [--at ADDRESS]\n"
    "\n"
    "Shows whether a request is allowed, and which rule or option decides.\n"
    "\n"
    "  -c, --config FILE      the configuration to check; default: the built-in one\n"
    "      --from ADDRESS     the client's address\n"
    "      --user NAME        the user that the client logs in as\n"
    "      --listener NAME    the listener that the client connects to: its name, or its address and port; default:\n"
    "                         the only one\n"
    "      --command COMMAND  connect (the default), bind or udp\n"
    "      --to HOST:PORT     the destination: an address (IPv6 in brackets) or a name; names are not resolved\n"
    "      --at ADDRESS       the address that the name in --to has\n"
    "\n"
    "A second line lists the options that a rule, the user's entry or the listener sets for this request.\n"
    "With udp.kernel_path: auto, a further line shows whether the kernel may relay an association of this client.\n";

struct explain_options {
    const char *config_file, *from, *user, *listener, *command, *to, *at;
};

/* The same, parsed. */
struct explain_request {
    union netaddr from, to, local; /* AF_UNSPEC: not known */
    const struct config_user *user;
    const struct config_listener *listener;
    enum config_command command;
    uint16_t port;
    char name[NAME_TEXT_MAX]; /* "": the destination is an address */
};

/* Reads a name exactly as the server does when a client sends it. */
static bool explain_read_name(struct explain_request *request, const char *text, size_t len)
{
    const struct socks5_addr name = {
        .atyp = SOCKS5_ATYP_NAME, .host_len = (uint8_t)len, .port = request->port, .host = (const uint8_t *)text};
    union netaddr none;
    return address_read(&name, &none, request->name) == ADDRESS_NAME;
}

/* "host:port" or "[v6]:port"; fills in the name or the address. */
static bool explain_read_destination(const char *text, struct explain_request *request)
{
    const char *colon = strrchr(text, ':');
    char *end = NULL;
    if (!colon || !isdigit((unsigned char)colon[1]))
        return false;
    unsigned long port = strtoul(colon + 1, &end, 10);
    size_t len = (size_t)(colon - text);
    if (*end || port == 0 || port > UINT16_MAX || len == 0 || len >= sizeof(request->name))
        return false;
    request->port = (uint16_t)port;
    bool bracketed = text[0] == '[' && text[len - 1] == ']';
    size_t skip = bracketed ? 1 : 0;
    memcpy(request->name, text + skip, len - 2 * skip);
    request->name[len - 2 * skip] = '\0';
    if (netaddr_parse(&request->to, request->name, request->port)) {
        request->name[0] = '\0';
        return (request->to.sa.sa_family == AF_INET6) == bracketed;
    }
    return explain_read_name(request, text, len);
}

static struct terms_holder explain_holder(const struct explain_request *request, uint32_t rule)
{
    return (struct terms_holder){rule, request->user, request->listener, &request->from, &request->local};
}

/* The rule that decides about the upstream of what `rule` allows: of an association, each destination may have one. */
static uint32_t explain_upstream_rule(const struct config *config, const struct subject *subject,
                                      const struct explain_request *request, uint32_t rule)
{
    const bool has_upstream = rule != RULES_NO_MATCH && config->rules[rule].terms.upstream;
    return request->command != CONFIG_COMMAND_UDP || has_upstream ? rule : rules_find_everywhere(subject);
}

/* true: an upstream gets the name as it is, and the answer has been printed. */
static bool explain_upstream(const struct config *config, const struct subject *subject,
                             const struct explain_request *request)
{
    uint32_t rule = rules_find_name(subject, request->name, request->port);
    if (request->command == CONFIG_COMMAND_BIND ||
        (rule != RULES_NO_MATCH && config->rules[rule].action == CONFIG_ACTION_DENY))
        return false;
    const struct terms_holder holder = explain_holder(request, explain_upstream_rule(config, subject, request, rule));
    const struct terms terms = terms_find(config, &holder);
    if (terms.upstream)
        printf("allowed: goes to the upstream %s, which resolves the name\n", terms.upstream->name);
    return terms.upstream != NULL;
}

static int explain_name(const struct config *config, const struct subject *subject,
                        const struct explain_request *request)
{
    if (explain_upstream(config, subject, request))
        return EXIT_SUCCESS;
    uint32_t rule = rules_deny_name(subject, request->name, request->port);
    if (rule != RULES_NO_MATCH) {
        printf("denied by rules[%u], whatever address the name has\n", rule);
        return EXIT_FAILURE;
    }
    puts("not denied by name; the address of the name decides (add --at ADDRESS)");
    return EXIT_SUCCESS;
}

/* Whether the kernel would relay an association of this client, as far as the configuration tells. */
static void explain_kernel_path(const struct config *config, const struct subject *subject,
                                const struct explain_request *request)
{
    if (config->udp.kernel_path == CONFIG_KERNEL_PATH_OFF)
        return;
    const struct terms_holder holder = explain_holder(request, rules_find_everywhere(subject));
    const struct terms terms = terms_find(config, &holder);
    const enum kernel_reason reason = kernel_reason_of(config, &terms);
    if (reason == KERNEL_REASON_NONE)
        puts("udp.kernel_path: the kernel may relay its established flows");
    else
        printf("udp.kernel_path: user space relays all datagrams: %s\n", kernel_reason_meaning(reason));
}

static int explain_verdict(const struct policy *policy, const struct subject *subject,
                           const struct explain_request *request)
{
    char text[VERDICT_TEXT_MAX];
    struct verdict verdict = verdict_find(policy, subject, request->name[0] ? request->name : NULL, &request->to);
    puts(verdict_explain(&verdict, &request->to, text));
    if (verdict.code != VERDICT_ALLOWED)
        return EXIT_FAILURE;
    bool udp = request->command == CONFIG_COMMAND_UDP;
    const struct terms_holder holder = explain_holder(request, udp ? rules_find_everywhere(subject) : verdict.rule);
    terms_explain(policy->config, &holder, stdout);
    if (udp && explain_upstream_rule(policy->config, subject, request, verdict.rule) != holder.rule)
        printf("upstream for this destination: %s (rules[%u])\n", policy->config->rules[verdict.rule].terms.upstream,
               verdict.rule);
    if (udp)
        explain_kernel_path(policy->config, subject, request);
    return EXIT_SUCCESS;
}

/* true: the server refuses the command for every destination, and the answer has been printed. */
static bool explain_refused(const struct policy *policy, const struct subject *subject,
                            const struct explain_request *request)
{
    const struct config *config = policy->config;
    const bool bind_off = request->command == CONFIG_COMMAND_BIND && !config->bind.enabled;
    const bool udp_off = request->command == CONFIG_COMMAND_UDP && !config->udp.enabled;
    if (bind_off || udp_off) {
        puts(bind_off ? "denied: BIND is disabled (bind.enabled)" : "denied: UDP is disabled (udp.enabled)");
        return true;
    }
    if (request->command != CONFIG_COMMAND_UDP)
        return false;
    const struct terms_holder holder = explain_holder(request, rules_find_everywhere(subject));
    const struct terms terms = terms_find(config, &holder);
    if (destinations_exist(policy, subject, terms.upstream != NULL))
        return false;
    char text[VERDICT_TEXT_MAX];
    const struct verdict verdict = verdict_find(policy, subject, NULL, &request->to);
    if (request->to.sa.sa_family != AF_UNSPEC)
        puts(verdict_explain(&verdict, &request->to, text));
    puts("denied: UDP ASSOCIATE is refused, because the rules deny every destination");
    return true;
}

static int explain_print(const struct policy *policy, const struct subject *subject,
                         const struct explain_request *request)
{
    if (explain_refused(policy, subject, request))
        return EXIT_FAILURE;
    return request->to.sa.sa_family == AF_UNSPEC ? explain_name(policy->config, subject, request)
                                                 : explain_verdict(policy, subject, request);
}

/* NULL: there are several, and none is named. */
static const struct config_listener *explain_find_listener(const struct config *config, const char *text,
                                                           struct explain_request *request)
{
    struct explain_request at = {0};
    if (!text)
        return config->listen_count == 1 ? &config->listen[0] : NULL;
    for (size_t i = 0; i < config->listen_count; i++)
        if (config->listen[i].name && strcmp(config->listen[i].name, text) == 0)
            return &config->listen[i];
    if (!explain_read_destination(text, &at) || at.name[0])
        return NULL;
    request->local = at.to;
    return config_listener_for(config, &at.to, 0);
}

static int explain_with_snapshot(const struct snapshot *snapshot, const struct explain_options *options,
                                 struct explain_request *request)
{
    struct policy policy = {.config = snapshot->config};
    struct subject subject = {0};
    int status = EXIT_FAILURE;
    request->user = options->user ? users_find(&snapshot->users, options->user) : NULL;
    request->listener = explain_find_listener(snapshot->config, options->listener, request);
    if (options->listener && !request->listener)
        return command_line_fail(NAME, "--listener is not a name, or an address and port, of a listener: %s",
                                 options->listener);
    if (request->listener && request->local.sa.sa_family == AF_UNSPEC && !netaddr_is_any(&request->listener->address))
        request->local = request->listener->address;
    const char *listener = request->listener ? request->listener->name : NULL;
    if (options->user && !request->user)
        fprintf(stderr, "conesocks explain: warning: there is no user %s, so nobody can log in with that name\n",
                options->user);
    if (subject_init(&subject, snapshot->rules, &request->from, options->user, listener, request->command) &&
        (policy.own_hosts = addresses_read()))
        status = explain_print(&policy, &subject, request);
    else
        fprintf(stderr, "conesocks explain: %s\n", strerror(errno));
    own_hosts_release(policy.own_hosts);
    subject_deinit(&subject);
    return status;
}

static int explain_run(const struct explain_options *options)
{
    struct explain_request request = {.command = CONFIG_COMMAND_CONNECT};
    if (!options->from || !options->to)
        return command_line_fail(NAME, "--from ADDRESS and --to HOST:PORT are required");
    if (!netaddr_parse(&request.from, options->from, 0))
        return command_line_fail(NAME, "--from is not an address: %s", options->from);
    if (!explain_read_destination(options->to, &request))
        return command_line_fail(NAME, "--to is not HOST:PORT: %s", options->to);
    if (options->command && !config_command_read(options->command, &request.command))
        return command_line_fail(NAME, "--command is not connect, bind or udp: %s", options->command);
    if (options->at && (!request.name[0] || !netaddr_parse(&request.to, options->at, request.port)))
        return command_line_fail(NAME, "--at needs a name in --to, and an address: %s", options->at);
    char *errors, *warnings;
    struct config *config = config_load(options->config_file, &errors, &warnings);
    struct snapshot *snapshot = config ? snapshot_new(config) : NULL;
    int status = EXIT_FAILURE;
    if (snapshot)
        status = explain_with_snapshot(snapshot, options, &request);
    else
        fputs(config ? "conesocks explain: out of memory\n" : errors, stderr);
    if (!snapshot)
        config_free(config);
    snapshot_release(snapshot);
    free(errors);
    free(warnings);
    return status;
}

int explain(int argc, char **argv)
{
    struct explain_options given = {0};
    const struct command_line_option options[] = {
        {"config", 'c', .text = &given.config_file},
        {"from", .text = &given.from},
        {"user", .text = &given.user},
        {"listener", .text = &given.listener},
        {"command", .text = &given.command},
        {"to", .text = &given.to},
        {"at", .text = &given.at},
        {0},
    };
    const int status = command_line_read_options(NAME, argc, argv, options, usage_text);
    return status == COMMAND_LINE_READ ? explain_run(&given) : status;
}
