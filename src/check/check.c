#include "check/check.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/log.h"
#include "base/password.h"
#include "base/util.h"
#include "check/peer/listen.h"
#include "check/peer/peer_wire.h"
#include "check/report.h"
#include "check/steps/steps.h"

#define RESULTS_MAX      64
#define PROXY_DEFAULT    "socks5://127.0.0.1:1080"
#define LIFETIME_DEFAULT 300

static const char usage_text[] =
    "Usage: conesocks check [--proxy socks5://USER@HOST:PORT] [--stun HOST[:PORT]] [--connect HOST:PORT] [--direct] "
    "[--json]\n"
    "       conesocks check --peer HOST[:PORT] --key KEY [--lifetime [SECONDS]] ...\n"
    "       conesocks check --listen [ADDRESS][:PORT] [--key KEY]\n"
    "\n"
    "Tells what a SOCKS5 server, any SOCKS5 server, does well and what not, step by step, with the likely cause and "
    "what\n"
    "to do about it.\n"
    "\n"
    "  --proxy URL          the server; default: " PROXY_DEFAULT "\n"
    "  --stun HOST[:PORT]   a STUN server for the datagrams; one with two addresses (RFC 5780) tells the NAT type\n"
    "  --peer HOST[:PORT]   in place of that, another machine that runs conesocks check --listen: tells more\n"
    "  --key KEY            the key that it has printed\n"
    "  --lifetime [SECONDS] how long a silent mapping lives, up to so long; default: 300\n"
    "  --listen [ADDRESS][:PORT]\n"
    "                       be the far end for a check on another machine; default: all addresses, port 3478\n"
    "  --connect HOST:PORT  what CONNECT is tried with; default: the STUN server\n"
    "  --direct             the same from this machine without a proxy; with --proxy: both\n"
    "  --json               print JSON at the end instead of lines\n"
    "\n"
    "With neither --stun nor --peer, and the proxy on this machine, the far end is on this machine, too.\n"
    "A password comes from the environment (CONESOCKS_CHECK_PASSWORD), or is asked for.\n"
    "Exit status: 0 all is well, 1 something is wrong, 2 wrong usage, 3 not all could be found out.\n";

static int usage(const char *wrong, const char *value)
{
    if (wrong)
        fprintf(stderr, "conesocks check: %s%s%s\n\n", wrong, value ? ": " : "", value ? value : "");
    fputs(usage_text, stderr);
    return CHECK_USAGE;
}

/* Which of `missing` to name: the first that has not come to be. */
static const char *why_not(const struct check *check, unsigned missing)
{
    bool named = check->options.stun || check->options.peer;
    const struct {
        enum check_fact fact;
        const char *why;
    } reasons[] = {
        {FACT_ADDRESS, "there is no address to connect to"},
        {FACT_REACHED, "the proxy cannot be reached"},
        {FACT_LOGGED_IN, "the proxy does not let us in"},
        {FACT_ASSOCIATED, "there is no association to send datagrams by"},
        {FACT_FAR_END, named ? "the far end has no address"
                             : "nothing to talk to: name a STUN server with --stun, or a peer with --peer"},
        {FACT_ANSWERS, "no datagram comes back"},
    };
    for (size_t i = 0; i < ARRAY_LEN(reasons); i++)
        if (missing & reasons[i].fact)
            return reasons[i].why;
    return "something that it needs is missing";
}

static void run_step(const struct check_step *step, struct check *check, struct check_result *result)
{
    unsigned missing = step->needs & ~check->facts;
    *result = (struct check_result){.id = step->id, .title = step->title};
    if (missing)
        result_say(result, CHECK_SKIPPED, "%s", why_not(check, missing));
    else
        step->run(check, step->family, result);
}

/* What is checked, from where on. */
static json_t *introduce(const struct check *check, const struct report_style *style)
{
    const struct proxy_url *url = &check->url;
    const char *far_end = check->options.stun ? check->options.stun : check->options.peer;
    bool v6 = strchr(url->host, ':') != NULL;
    char user[4 * sizeof(url->user) + 1], proxy[300] = "no proxy";
    log_escape(user, sizeof(user), (const char *)url->user, url->user_len);
    if (check_wants_proxy(check))
        snprintf(proxy, sizeof(proxy), v6 ? "[%s]:%u" : "%s:%u", url->host, url->port);
    if (!style->json)
        printf("%s%s%s%s%s\n\n", proxy, url->user_len ? " as " : "", user, far_end ? ", far end " : "",
               far_end ? far_end : "");
    json_t *head = json_object();
    json_object_set_new(head, "proxy", check_wants_proxy(check) ? json_string(proxy) : json_null());
    json_object_set_new(head, "user", url->user_len ? json_string(user) : json_null());
    json_object_set_new(head, "far_end", far_end ? json_string(far_end) : json_null());
    return head;
}

static int run(struct check *check)
{
    struct check_result results[RESULTS_MAX];
    struct report_style style = report_style_for(stdout, check->options.json);
    json_t *head = introduce(check, &style);
    size_t count = 0;
    for (size_t i = 0; i < check_step_count && count < RESULTS_MAX; i++) {
        const struct check_step *step = &check_steps[i];
        if (step->wanted && !step->wanted(check))
            continue;
        report_step_begins(stdout, &style, step->title);
        run_step(step, check, &results[count]);
        report_step_ends(stdout, &style, &results[count++]);
    }
    report_end(stdout, &style, results, count, head);
    if (!style.json && check->far_end.kind == FAR_END_STUN && check_wants_proxy(check) && check->facts & FACT_ANSWERS)
        puts("Which sizes of datagrams pass, and how many get lost, takes a second machine in place of STUN: --peer.");
    int status = report_verdict(results, count);
    for (size_t i = 0; i < count; i++)
        result_deinit(&results[i]);
    association_close(&check->association);
    peer_server_close(check->far_end.own);
    return fflush(stdout) == 0 ? status : CHECK_UNKNOWN;
}

/* ---- what was asked for ---- */

/* From ps(1), from now on. */
static void hide_password(char *url)
{
    char *from = strstr(url, "://"), *at = strrchr(url, '@');
    from = from ? from + 3 : url;
    char *colon = at ? memchr(from, ':', (size_t)(at - from)) : NULL;
    if (colon)
        memset(colon + 1, '*', (size_t)(at - colon - 1));
}

static const char *set_password(struct proxy_url *url, const char *password)
{
    size_t len = strlen(password);
    if (len > sizeof(url->password))
        return "a password has no more than 255 bytes";
    memcpy(url->password, password, len);
    url->password_len = (uint8_t)len;
    return NULL;
}

/* Where the address has none: from the environment, or from whoever sits there. NULL, or what is wrong. */
static const char *find_password(struct proxy_url *url)
{
    const char *given = getenv("CONESOCKS_CHECK_PASSWORD");
    if (url->user_len == 0 || url->has_password)
        return NULL;
    if (given)
        return set_password(url, given);
    if (!isatty(STDIN_FILENO))
        return "a user without a password: CONESOCKS_CHECK_PASSWORD has none, and there is no terminal to ask; USER:@ "
               "has an empty one";
    char *typed = password_ask("Password of the proxy's user: ");
    if (!typed)
        return "there is no password";
    const char *wrong = set_password(url, typed);
    explicit_bzero(typed, strlen(typed));
    free(typed);
    return wrong;
}

/* Whether it names a host, and a port where it must. */
static const char *judge_place(const char *place, bool needs_port)
{
    char host[256];
    uint16_t port = 0;
    const char *wrong = place ? host_port_parse(place, host, &port) : NULL;
    return place && !wrong && needs_port && port == 0 ? "the port is missing" : wrong;
}

static int begin(const struct check_options *options)
{
    const char *wrong;
    if ((wrong = judge_place(options->stun, false)) || (wrong = judge_place(options->peer, false)) ||
        (wrong = judge_place(options->connect, true)))
        return usage(wrong, NULL);
    struct check *check = calloc(1, sizeof(*check));
    if (!check)
        return CHECK_UNKNOWN;
    check->options = *options;
    check->association.channel.fd = check->association.negotiation.fd = -1;
    wrong = proxy_url_parse(options->proxy ? options->proxy : PROXY_DEFAULT, &check->url);
    if (!wrong && options->proxy)
        hide_password(options->proxy);
    if (!wrong)
        wrong = find_password(&check->url);
    int status = wrong ? usage(wrong, NULL) : run(check);
    explicit_bzero(check, sizeof(*check));
    free(check);
    return status;
}

/* The argument of an option that may have none; it may also stand behind a space. */
static const char *optional_word(int argc, char **argv)
{
    if (!optarg && optind < argc && argv[optind][0] != '-')
        optarg = argv[optind++];
    return optarg;
}

static bool read_seconds(const char *text, unsigned *seconds)
{
    char *end;
    unsigned long value = text ? strtoul(text, &end, 10) : LIFETIME_DEFAULT;
    *seconds = (unsigned)value;
    return !text || (text[0] >= '0' && text[0] <= '9' && !*end && value >= 10 && value <= PEER_DELAY_MAX);
}

int check(int argc, char **argv)
{
    enum { PROXY = 256, STUN, CONNECT, DIRECT, JSON, PEER, KEY, LISTEN, LIFETIME };
    static const struct option options[] = {
        {"proxy", required_argument, NULL, PROXY},
        {"stun", required_argument, NULL, STUN},
        {"peer", required_argument, NULL, PEER},
        {"key", required_argument, NULL, KEY},
        {"listen", optional_argument, NULL, LISTEN},
        {"lifetime", optional_argument, NULL, LIFETIME},
        {"connect", required_argument, NULL, CONNECT},
        {"direct", no_argument, NULL, DIRECT},
        {"json", no_argument, NULL, JSON},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    struct check_options chosen = {.key = getenv("CONESOCKS_CHECK_KEY")};
    static char key[256];
    const char *where = NULL, *lifetime;
    bool listens = false;
    for (int option; (option = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        switch (option) {
        case PROXY:
            chosen.proxy = optarg;
            break;
        case STUN:
            chosen.stun = optarg;
            break;
        case PEER:
            chosen.peer = optarg;
            break;
        case KEY:
            snprintf(key, sizeof(key), "%s", optarg);
            memset(optarg, '*', strlen(optarg)); /* from ps(1) */
            chosen.key = key;
            break;
        case LISTEN:
            listens = true;
            where = optional_word(argc, argv);
            break;
        case LIFETIME:
            lifetime = optional_word(argc, argv);
            if (!read_seconds(lifetime, &chosen.lifetime))
                return usage("--lifetime takes a number of seconds, 10 to 900", lifetime);
            break;
        case CONNECT:
            chosen.connect = optarg;
            break;
        case DIRECT:
            chosen.direct = true;
            break;
        case JSON:
            chosen.json = true;
            break;
        case 'h':
            fputs(usage_text, stdout);
            return CHECK_ALL_WELL;
        default:
            return usage(NULL, NULL);
        }
    }
    if (optind != argc)
        return usage("what is this?", argv[optind]);
    if (listens)
        return check_listen(where, chosen.key);
    if (chosen.peer && chosen.stun)
        return usage("either --stun or --peer", NULL);
    if (chosen.peer && !chosen.key)
        return usage("--peer takes the key, too, that conesocks check --listen has printed: --key KEY", NULL);
    return begin(&chosen);
}
