#include "check/check.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/command_line.h"
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

#define NAME "conesocks check"

static const char usage_text[] =
    "Usage: conesocks check [--proxy socks5://USER@HOST:PORT] [--stun HOST[:PORT]] [OPTION ...]\n"
    "       conesocks check --peer HOST[:PORT] --key KEY [--lifetime [SECONDS]] [OPTION ...]\n"
    "       conesocks check --listen [ADDRESS][:PORT] [--key KEY]\n"
    "\n"
    "Test any SOCKS5 server and report its NAT type. Each line shows one test; if it fails, the likely cause and\n"
    "a fix follow.\n"
    "\n"
    "The proxy:\n"
    "  --proxy URL            the SOCKS5 server to test (default: " PROXY_DEFAULT ")\n"
    "  --direct               test this machine's network without a proxy; with --proxy, test both\n"
    "\n"
    "The test server, which must be reachable through the proxy. Without --stun and --peer, a proxy on this machine\n"
    "is tested with a test server on this machine, any other one with public STUN servers:\n"
    "  " CHECK_STUN "\n"
    "  --stun HOST[:PORT]     use this STUN server; several: repeat the option, or write commas between them\n"
    "  --stun none            ask no public server\n"
    "  --peer HOST[:PORT]     use another machine that runs `conesocks check --listen`; this runs the most tests\n"
    "  --key KEY              the key that it printed, or the key to use with --listen\n"
    "  --listen [ADDRESS][:PORT]\n"
    "                         be the test server (default: all addresses, port 3478)\n"
    "\n"
    "  --lifetime [SECONDS]   with --peer: test how long a silent UDP mapping lives, up to this long (default: 300)\n"
    "  --connect HOST:PORT    test CONNECT with this destination (default: the test server)\n"
    "  --json                 print the results as JSON\n"
    "  --help                 print this help\n"
    "\n"
    "If the URL has a user but no password, set CONESOCKS_CHECK_PASSWORD; otherwise you are asked for it.\n"
    "CONESOCKS_CHECK_KEY can replace --key.\n"
    "Exit status: 0 everything works, 1 something is wrong, 2 wrong usage, 3 some tests could not run.\n";

/* ---- the run ---- */

/* The reason to skip a step: the first of `missing`. */
static const char *why_skipped(const struct check_run *check, unsigned missing)
{
    bool named = check->server.kind != TEST_SERVER_NONE || check->options.stun.count || check->options.peer;
    const struct {
        enum check_fact fact;
        const char *why;
    } reasons[] = {
        {FACT_ADDRESS, "skipped: the proxy's address is unknown"},
        {FACT_REACHED, "skipped: the proxy cannot be reached"},
        {FACT_LOGGED_IN, "skipped: the proxy does not accept us"},
        {FACT_ASSOCIATED, "skipped: there is no working UDP association"},
        {FACT_SERVER, named ? "skipped: the test server's address is unknown"
                            : "skipped: no test server; name one with --stun or --peer"},
        {FACT_ANSWERS, "skipped: UDP gets no answer"},
    };
    size_t i = 0;
    while (i < ARRAY_LEN(reasons) && !(missing & reasons[i].fact))
        i++;
    assert(i < ARRAY_LEN(reasons));
    return reasons[i].why;
}

/* Adds what goes without saying. */
static void complete_result(const struct check_step *step, struct check_result *result)
{
    const char *means = result->status == CHECK_OK ? step->good : result->status == CHECK_FAILED ? step->bad : NULL;
    if (means && !result->means)
        result_means(result, "%s", means);
    if (result->owner && !result->user)
        result_user(result, "show this to the server's owner, or use another server");
}

static void run_step(struct check_run *check, const struct check_step *step, struct check_result *result)
{
    unsigned missing = step->needs & ~check->facts;
    if (missing)
        result_say(result, CHECK_SKIPPED, "%s", why_skipped(check, missing));
    else
        step->run(check, result);
    complete_result(step, result);
}

/* Runs every step that is wanted. How many results there are. */
static size_t run_steps(struct check_run *check, const struct report_style *style, struct check_result *results)
{
    static const int families[] = {0, AF_INET, AF_INET6};
    size_t count = 0;
    for (size_t i = 0; i < check_step_count * ARRAY_LEN(families); i++) {
        const struct check_step *step = &check_steps[i / ARRAY_LEN(families)];
        struct check_result *result = &results[count];
        check->family = families[i % ARRAY_LEN(families)];
        if (!check_is_step_wanted(check, step, check->family))
            continue;
        const char *family = check_family_name(check->family);
        bool named = step->times == STEP_EACH_FAMILY;
        assert(count < RESULTS_MAX);
        *result = (struct check_result){.status = CHECK_OK, .is_headline = step->is_headline};
        snprintf(result->id, sizeof(result->id), "%s%s%s", step->id, check->family ? "_v" : "",
                 check->family ? family + strlen("IPv") : "");
        snprintf(result->title, sizeof(result->title), "%s%s%s", step->title, named ? ", " : "", named ? family : "");
        report_step_begins(stdout, style, result->title);
        run_step(check, step, result);
        report_step_ends(stdout, style, result);
        count++;
    }
    return count;
}

/* Prints what is tested, and returns it for the JSON. */
static json_t *print_introduction(const struct check_run *check, const struct report_style *style)
{
    const struct proxy_url *url = &check->proxy.url;
    char list[CHECK_NAME_MAX];
    const struct stun_servers *stun = &check->options.stun;
    const char *server = stun->count ? stun_servers_list(stun, list, sizeof(list)) : check->options.peer;
    bool wants_proxy = check_wants_proxy(check);
    char user[4 * sizeof(url->user) + 1], proxy[300] = "no proxy";
    log_escape(user, sizeof(user), (const char *)url->user, url->user_len);
    if (wants_proxy)
        snprintf(proxy, sizeof(proxy), strchr(url->host, ':') ? "[%s]:%u" : "%s:%u", url->host, url->port);
    if (!style->json)
        printf("Testing %s%s%s%s%s\n\n", proxy, url->user_len ? " as user " : "", user,
               server ? " with the test server " : "", server ? server : "");
    return json_pack("{s:s?, s:s?, s:s?}", "proxy", wants_proxy ? proxy : NULL, "user", url->user_len ? user : NULL,
                     "far_end", server);
}

static int check_run_all(struct check_run *check)
{
    struct check_result results[RESULTS_MAX];
    struct report_style style = report_style_for(stdout, check->options.json);
    json_t *head = print_introduction(check, &style);
    size_t count = run_steps(check, &style, results);
    report_end(stdout, &style, results, count, head);
    if (!style.json && check->server.kind == TEST_SERVER_STUN && check->facts & FACT_ANSWERS)
        puts("To test datagram sizes and packet loss as well, use a second machine instead of STUN: see --peer.");
    int status = report_verdict(results, count);
    for (size_t i = 0; i < count; i++)
        result_deinit(&results[i]);
    association_close(&check->association);
    peer_server_close(check->server.own);
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
        return "the password is too long: SOCKS5 allows 255 bytes";
    memcpy(url->password, password, len);
    url->password_len = (uint8_t)len;
    return NULL;
}

/* When the URL has none: from the environment, or from the terminal. NULL, or what is wrong. */
static const char *find_password(struct proxy_url *url)
{
    const char *given = getenv("CONESOCKS_CHECK_PASSWORD");
    if (url->user_len == 0 || url->has_password)
        return NULL;
    if (given)
        return set_password(url, given);
    if (!isatty(STDIN_FILENO))
        return "the user has no password: set CONESOCKS_CHECK_PASSWORD, or write USER:@ for an empty password";
    char *typed = password_ask("Password of the proxy's user: ");
    if (!typed)
        return "no password was entered";
    const char *wrong = set_password(url, typed);
    explicit_bzero(typed, strlen(typed));
    free(typed);
    return wrong;
}

/* Whether it names a host, and a port where it must. NULL is fine, too. */
static const char *judge_place(const char *place, bool needs_port)
{
    char host[256];
    uint16_t port = 0;
    const char *wrong = place ? host_port_parse(place, host, &port) : NULL;
    return place && !wrong && needs_port && port == 0 ? "the port is missing" : wrong;
}

static int check_proxy(const struct check_options *options)
{
    const char *const places[] = {options->peer, options->connect}, *wrong;
    for (size_t i = 0; i < ARRAY_LEN(places); i++)
        if ((wrong = judge_place(places[i], places[i] == options->connect)))
            return command_line_fail(NAME, "%s: %s", wrong, places[i]);
    struct check_run *check = calloc(1, sizeof(*check));
    if (!check)
        return CHECK_UNKNOWN;
    check->options = *options;
    check->association = (struct check_association)CHECK_ASSOCIATION_NONE;
    wrong = proxy_url_parse(options->proxy ? options->proxy : PROXY_DEFAULT, &check->proxy.url);
    if (!wrong && options->proxy)
        hide_password(options->proxy);
    if (!wrong)
        wrong = find_password(&check->proxy.url);
    int status = wrong ? command_line_fail(NAME, "%s", wrong) : check_run_all(check);
    explicit_bzero(check, sizeof(*check));
    free(check);
    return status;
}

/* The argument of an option that may have none; it may also follow a space. */
static const char *optional_argument_of(int argc, char **argv)
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

/* NULL, or what is wrong. */
static const char *read_stun(struct check_options *options, const char *text)
{
    bool none = strcmp(text, "none") == 0;
    options->no_stun = options->no_stun || none;
    const char *wrong = none ? NULL : stun_servers_add(&options->stun, text);
    return !wrong && options->no_stun && options->stun.count ? "use either --stun none or a server" : wrong;
}

int check(int argc, char **argv)
{
    enum { PEER, CONNECT, TEXTS, STUN, PROXY, KEY, LISTEN, LIFETIME, DIRECT, JSON };
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
    const char **const texts[TEXTS] = {[PEER] = &chosen.peer, [CONNECT] = &chosen.connect};
    const char *where = NULL, *lifetime, *wrong;
    char key[256];
    bool listens = false;
    for (int option; (option = command_line_next(NAME, argc, argv, ":h", options)) != -1;) {
        switch (option) {
        case STUN:
            wrong = read_stun(&chosen, optarg);
            if (wrong)
                return command_line_fail(NAME, "%s: %s", wrong, optarg);
            break;
        case PEER:
        case CONNECT:
            *texts[option] = optarg;
            break;
        case PROXY:
            chosen.proxy = optarg;
            break;
        case KEY:
            snprintf(key, sizeof(key), "%s", optarg);
            memset(optarg, '*', strlen(optarg)); /* from ps(1) */
            chosen.key = key;
            break;
        case LISTEN:
            listens = true;
            where = optional_argument_of(argc, argv);
            break;
        case LIFETIME:
            lifetime = optional_argument_of(argc, argv);
            if (!read_seconds(lifetime, &chosen.lifetime))
                return command_line_fail(NAME, "--lifetime needs a number of seconds from 10 to 900: %s", lifetime);
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
            return EXIT_USAGE;
        }
    }
    if (optind != argc)
        return command_line_fail(NAME, "unexpected argument: %s", argv[optind]);
    if (listens)
        return check_listen(where, chosen.key);
    if (chosen.peer && chosen.stun.count)
        return command_line_fail(NAME, "use either --stun or --peer, not both");
    if (chosen.peer && !chosen.key)
        return command_line_fail(NAME, "--peer also needs the key that conesocks check --listen printed: --key KEY");
    return check_proxy(&chosen);
}
