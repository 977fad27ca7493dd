#include "command/explain.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command/command.h"
#include "conf/config.h"
#include "conf/words.h"
#include "host/addresses.h"
#include "policy/destinations.h"
#include "policy/snapshot.h"
#include "policy/terms.h"
#include "policy/verdict.h"
#include "proxy/address.h"

static const char usage_text[] =
    "Usage: conesocks explain [-c FILE] --from ADDRESS [--user NAME] [--command connect|bind|udp] --to HOST:PORT\n"
    "\n"
    "Tells whether a client may do something, and what decides. HOST is an address (IPv6 in brackets) or a name; a\n"
    "name is not resolved: give its address as well, as --at ADDRESS, to learn what becomes of the two together.\n"
    "A second line tells on what terms, where a rule or the user's entry has some of its own.\n";

struct question {
    const char *config_file, *from, *user, *command, *to, *at;
};

/* A question in the terms of the policy. */
struct asked {
    union netaddr from, to;
    enum config_command command;
    uint16_t port;
    char name[NAME_TEXT_MAX]; /* "": an address is asked for */
};

static int usage(const char *wrong, const char *value)
{
    if (wrong)
        fprintf(stderr, "conesocks explain: %s%s%s\n\n", wrong, value ? ": " : "", value ? value : "");
    fputs(usage_text, stderr);
    return EXIT_USAGE;
}

/* As the server reads a name that a client sends. */
static bool read_name(struct asked *asked, const char *text, size_t len)
{
    const struct socks5_addr name = {
        .atyp = SOCKS5_ATYP_NAME, .host_len = (uint8_t)len, .port = asked->port, .host = (const uint8_t *)text};
    union netaddr none;
    return address_read(&name, &none, asked->name) == ADDRESS_NAME;
}

/* "host:port", "[v6]:port"; the name or the address goes to `asked`. */
static bool read_destination(const char *text, struct asked *asked)
{
    const char *colon = strrchr(text, ':');
    char *end = NULL;
    if (!colon || !isdigit((unsigned char)colon[1]))
        return false;
    unsigned long port = strtoul(colon + 1, &end, 10);
    size_t len = (size_t)(colon - text);
    if (*end || port == 0 || port > UINT16_MAX || len == 0 || len >= sizeof(asked->name))
        return false;
    asked->port = (uint16_t)port;
    bool bracketed = text[0] == '[' && text[len - 1] == ']';
    size_t skip = bracketed ? 1 : 0;
    memcpy(asked->name, text + skip, len - 2 * skip);
    asked->name[len - 2 * skip] = '\0';
    if (netaddr_parse(&asked->to, asked->name, asked->port)) {
        asked->name[0] = '\0';
        return (asked->to.sa.sa_family == AF_INET6) == bracketed;
    }
    return read_name(asked, text, len);
}

/* Whether the name leaves by an upstream as it is; then that is said, and it is all. */
static bool say_upstream(const struct config *config, const struct subject *subject, const struct config_user *user,
                         const struct asked *asked)
{
    bool udp = asked->command == CONFIG_COMMAND_UDP;
    uint32_t rule = rules_find_name(subject, asked->name, asked->port);
    if (asked->command == CONFIG_COMMAND_BIND ||
        (rule != RULES_NO_MATCH && config->rules[rule].action == CONFIG_ACTION_DENY))
        return false;
    const struct terms terms = terms_find(config, user, udp ? rules_find_everywhere(subject) : rule, &asked->from);
    if (terms.upstream)
        printf("allowed: leaves by the upstream %s, which resolves the name\n", terms.upstream->name);
    return terms.upstream != NULL;
}

static int say_name(const struct config *config, const struct subject *subject, const struct config_user *user,
                    const struct asked *asked)
{
    if (say_upstream(config, subject, user, asked))
        return EXIT_SUCCESS;
    uint32_t rule = rules_deny_name(subject, asked->name, asked->port);
    if (rule != RULES_NO_MATCH) {
        printf("denied by rules[%u], whatever the address\n", rule);
        return EXIT_FAILURE;
    }
    puts("not denied by name; its address decides (--at ADDRESS)");
    return EXIT_SUCCESS;
}

static int say_verdict(const struct policy *policy, const struct subject *subject, const struct config_user *user,
                       const struct asked *asked)
{
    char text[VERDICT_TEXT_MAX];
    struct verdict verdict = verdict_find(policy, subject, asked->name[0] ? asked->name : NULL, &asked->to);
    puts(verdict_explain(&verdict, &asked->to, text));
    if (verdict.code != VERDICT_ALLOWED)
        return EXIT_FAILURE;
    bool udp = asked->command == CONFIG_COMMAND_UDP;
    terms_explain(policy->config, user, udp ? rules_find_everywhere(subject) : verdict.rule, stdout);
    return EXIT_SUCCESS;
}

/* Whether the server refuses the command itself, whatever the destination is; then that is said, and it is all. */
static bool say_refused(const struct policy *policy, const struct subject *subject, const struct config_user *user,
                        const struct asked *asked)
{
    const struct config *config = policy->config;
    const bool bind_off = asked->command == CONFIG_COMMAND_BIND && !config->bind.enabled;
    const bool udp_off = asked->command == CONFIG_COMMAND_UDP && !config->udp.enabled;
    if (bind_off || udp_off) {
        puts(bind_off ? "denied: BIND is off (bind.enabled)" : "denied: UDP is off (udp.enabled)");
        return true;
    }
    if (asked->command != CONFIG_COMMAND_UDP)
        return false;
    const struct terms terms = terms_find(config, user, rules_find_everywhere(subject), &asked->from);
    if (destinations_exist(policy, subject, terms.upstream != NULL))
        return false;
    char text[VERDICT_TEXT_MAX];
    const struct verdict verdict = verdict_find(policy, subject, NULL, &asked->to);
    if (asked->to.sa.sa_family != AF_UNSPEC)
        puts(verdict_explain(&verdict, &asked->to, text));
    puts("denied: UDP ASSOCIATE itself, because the rules deny every destination");
    return true;
}

static int say_answer(const struct policy *policy, const struct subject *subject, const struct config_user *user,
                      const struct asked *asked)
{
    if (say_refused(policy, subject, user, asked))
        return EXIT_FAILURE;
    return asked->to.sa.sa_family == AF_UNSPEC ? say_name(policy->config, subject, user, asked)
                                               : say_verdict(policy, subject, user, asked);
}

static int answer(const struct snapshot *snapshot, const struct question *question, const struct asked *asked)
{
    struct policy policy = {.config = snapshot->config};
    struct subject subject = {0};
    const struct config_user *user = question->user ? users_find(&snapshot->users, question->user) : NULL;
    int status = EXIT_FAILURE;
    if (question->user && !user)
        fprintf(stderr, "conesocks explain: warning: nobody can log in as %s: there is no such user\n", question->user);
    if (subject_init(&subject, snapshot->rules, &asked->from, question->user, asked->command) &&
        (policy.own = addresses_read()))
        status = say_answer(&policy, &subject, user, asked);
    else
        fprintf(stderr, "conesocks explain: %s\n", strerror(errno));
    own_hosts_release(policy.own);
    subject_deinit(&subject);
    return status;
}

static int ask(const struct question *question)
{
    struct asked asked = {.command = CONFIG_COMMAND_CONNECT};
    if (!question->from || !question->to)
        return usage("--from and --to are needed", NULL);
    if (!netaddr_parse(&asked.from, question->from, 0))
        return usage("--from is no address", question->from);
    if (!read_destination(question->to, &asked))
        return usage("--to is no HOST:PORT", question->to);
    if (question->command && !config_command_read(question->command, &asked.command))
        return usage("--command is none of connect, bind and udp", question->command);
    if (question->at && (!asked.name[0] || !netaddr_parse(&asked.to, question->at, asked.port)))
        return usage("--at is the address of a name in --to", question->at);
    char *errors, *warnings;
    struct config *config = config_load(question->config_file, &errors, &warnings);
    struct snapshot *snapshot = config ? snapshot_new(config) : NULL;
    int status = EXIT_FAILURE;
    if (snapshot)
        status = answer(snapshot, question, &asked);
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
    enum { FROM = 256, USER, COMMAND, TO, AT };
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'}, {"from", required_argument, NULL, FROM},
        {"user", required_argument, NULL, USER},  {"command", required_argument, NULL, COMMAND},
        {"to", required_argument, NULL, TO},      {"at", required_argument, NULL, AT},
        {"help", no_argument, NULL, 'h'},         {0},
    };
    struct question question = {0};
    for (int option; (option = getopt_long(argc, argv, "c:h", options, NULL)) != -1;) {
        switch (option) {
        case 'c':
            question.config_file = optarg;
            break;
        case FROM:
            question.from = optarg;
            break;
        case USER:
            question.user = optarg;
            break;
        case COMMAND:
            question.command = optarg;
            break;
        case TO:
            question.to = optarg;
            break;
        case AT:
            question.at = optarg;
            break;
        case 'h':
            fputs(usage_text, stdout);
            return EXIT_SUCCESS;
        default:
            return usage(NULL, NULL);
        }
    }
    return optind == argc ? ask(&question) : usage("what is this?", argv[optind]);
}
