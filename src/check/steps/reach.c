/* Can the proxy be reached, and does it accept us? */
#include <assert.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "check/scope.h"
#include "check/steps/steps.h"

/* ---- the name ---- */

void step_name(struct check_run *check, struct check_result *result)
{
    const char *host = check->proxy.url.host;
    union netaddr literal;
    int error = io_resolve(host, check->proxy.url.port, &check->proxy_addresses);
    if (error) {
        result_say(result, CHECK_FAILED, "%s: %s", host, gai_strerror(error));
        result_cause(result, "the name is misspelt, or this machine cannot resolve it");
        result_fix(result, "use the proxy's IP address instead of its name");
        return;
    }
    check->facts |= FACT_ADDRESS;
    if (netaddr_parse(&literal, host, 0))
        return; /* nothing was looked up */
    char list[IO_ADDRESSES_MAX * NETADDR_TEXT_MAX] = "", one[NETADDR_TEXT_MAX];
    for (size_t i = 0; i < check->proxy_addresses.count; i++) {
        size_t used = strlen(list);
        snprintf(list + used, sizeof(list) - used, "%s%s", i ? ", " : "",
                 netaddr_format_host(&check->proxy_addresses.list[i], one));
    }
    result_say(result, CHECK_OK, "%s resolves to %s", host, list);
}

/* ---- TCP ---- */

static void explain_no_connection(struct check_result *result, int error, const union netaddr *proxy)
{
    unsigned port = netaddr_port(proxy);
    bool any = scope_of(proxy) == SCOPE_NONE; /* 0.0.0.0 leads to this machine, too */
    bool here = any || io_is_own_address(proxy);
    switch (error) {
    case ECONNREFUSED:
        result_cause(result,
                     "nothing listens on this port: the proxy is not running, uses another port, or listens only on "
                     "another address%s%s",
                     any || scope_of(proxy) == SCOPE_HOST ? "" : ", such as 127.0.0.1",
                     here ? "" : "; or a NAT in front of it does not forward this port");
        result_owner(result, "on the proxy's host, ss -ltnp lists the listening programs (conesocks: see listen)%s",
                     here ? "" : "; behind a router or Docker, check that the port is forwarded or published");
        result_user(result, "compare address and port with those that you were given");
        break;
    case ENETUNREACH:
    case EHOSTUNREACH:
        result_cause(result, "there is no route to the host, it is off, or a firewall rejects the connection");
        result_owner(result, "check that the host is on, and open TCP port %u in its firewall", port);
        result_user(result, "check that this machine has a working %s network", check_family_name(proxy->sa.sa_family));
        break;
    default:
        result_cause(result, "a firewall drops the connection, or the host is off");
        result_owner(result, "open TCP port %u in the host's firewall, the router or the cloud's security group", port);
        result_user(result,
                    "compare address and port with those that you were given; try from another network, such as "
                    "a phone's: some networks block such ports");
    }
}

/* 0 or a positive errno. */
static int try_connection(const union netaddr *proxy, uint64_t *took_ms)
{
    uint64_t before = clock_ms();
    int fd = io_dial(proxy, before + PROXY_TIMEOUT);
    *took_ms = clock_ms() - before;
    if (fd >= 0)
        close(fd);
    return fd < 0 ? -fd : 0;
}

/* The first of its addresses that answers, and the first that does not; either may be NULL. */
struct tcp_trial {
    const union netaddr *good, *bad;
    uint64_t good_ms;
    int bad_error;
};

static struct tcp_trial try_addresses(const struct io_addresses *all)
{
    struct tcp_trial trial = {.good = NULL};
    for (size_t i = 0; i < all->count; i++) {
        const union netaddr *one = &all->list[i];
        uint64_t took_ms;
        if (trial.good && trial.good->sa.sa_family == one->sa.sa_family)
            continue;
        int error = try_connection(one, &took_ms);
        if (error && !trial.bad) {
            trial.bad = one;
            trial.bad_error = error;
        } else if (!error && !trial.good) {
            trial.good = one;
            trial.good_ms = took_ms;
        }
    }
    assert(trial.good || trial.bad);
    return trial;
}

void step_tcp(struct check_run *check, struct check_result *result)
{
    char text[NETADDR_TEXT_MAX], bad_text[NETADDR_TEXT_MAX];
    const struct tcp_trial trial = try_addresses(&check->proxy_addresses);
    if (!trial.good) {
        result_say(result, CHECK_FAILED, "%s: %s", netaddr_format(trial.bad, text), strerror(trial.bad_error));
        explain_no_connection(result, trial.bad_error, trial.bad);
        return;
    }
    check->proxy.address = *trial.good;
    check->facts |= FACT_REACHED;
    result_data(result, "{s:s}", "address", netaddr_format(trial.good, text));
    if (!trial.bad) {
        result_say(result, CHECK_OK, "%s accepts connections (%u ms)", text, (unsigned)trial.good_ms);
        return;
    }
    /* Clients try the next address at once, unless nothing tells them that the first does not work. */
    bool delays = trial.bad_error == ETIMEDOUT;
    result_say(result, delays ? CHECK_WARNING : CHECK_OK, "%s accepts connections (%u ms), %s does not: %s", text,
               (unsigned)trial.good_ms, netaddr_format(trial.bad, bad_text), strerror(trial.bad_error));
    if (delays) {
        result_means(result, "some programs start late or not at all: one of the proxy's addresses does not answer");
        explain_no_connection(result, trial.bad_error, trial.bad);
    }
}

/* ---- login ---- */

static const char see_log[] = "look in the proxy's log for this connection";
static const char ask_owner[] = "ask the server's owner which address, port and login you should use";

static void explain_not_socks5(struct check_result *result, const struct client_handshake *h)
{
    bool is_http = h->in_len >= 2 && h->in[0] == 'H' && h->in[1] == 'T';
    bool is_tls = h->in_len >= 1 && (h->in[0] == 0x15 || h->in[0] == 0x16);
    bool is_socks4 = h->in_len >= 1 && h->in[0] == 0;
    result_cause(result, "%s",
                 is_http     ? "this port belongs to a web server or an HTTP proxy"
                 : is_tls    ? "the server on this port expects TLS"
                 : is_socks4 ? "the server on this port speaks SOCKS4, not SOCKS5"
                             : "another program uses this port");
    result_owner(result, "use the port that the SOCKS5 server listens on");
    result_user(result, "%s", ask_owner);
}

static void explain_no_method(const struct check_run *check, struct check_result *result)
{
    bool offered = check->proxy.url.user_len > 0;
    if (!offered && proxy_wants_password(&check->proxy)) {
        result_say(result, CHECK_FAILED, "the proxy asks for a user name and password");
        result_fix(result, "name the user: --proxy socks5://USER@%s:%u; conesocks check then asks for the password",
                   check->proxy.url.host, check->proxy.url.port);
        return;
    }
    result_cause(result, offered ? "the proxy may want another login method, such as GSSAPI"
                                 : "the proxy may want another login method than a password, or refuse this address");
    result_owner(result, "look in the proxy's configuration for the login methods and the clients that it accepts");
    result_user(result, "%s", ask_owner);
}

static void explain_closed_login(struct check_result *result)
{
    result_cause(result, "some servers close when the login is wrong, or after too many wrong logins (conesocks: "
                         "limits.failed_logins)");
    result_fix(result, "check the password; after several wrong ones, wait a minute first");
}

static void explain_no_login(const struct check_run *check, struct check_result *result)
{
    const struct proxy_answer *answer = &check->association.granted;
    char text[256];
    result_say(result, CHECK_FAILED, "%s", proxy_answer_explain(answer, text, sizeof(text)));
    switch (answer->outcome) {
    case PROXY_NO_METHOD:
        explain_no_method(check, result);
        break;
    case PROXY_NOT_SOCKS5:
        explain_not_socks5(result, &answer->handshake);
        break;
    case PROXY_BAD_LOGIN:
        result_cause(result, "the user name or password is misspelt, or the proxy has no such user");
        result_fix(result, "in the URL, write @ : / and %% as %%40 %%3A %%2F and %%25");
        break;
    case PROXY_SILENT:
        result_explain(result, &(struct advice){.cause = "this is no SOCKS5 server, it expects TLS or a PROXY protocol "
                                                         "header first, or it hangs",
                                                .owner = see_log,
                                                .user = ask_owner});
        break;
    default:
        if (answer->stage == CLIENT_AT_STATUS)
            explain_closed_login(result);
        else
            result_explain(result, &(struct advice){.cause = "the proxy does not accept this client's address, has "
                                                             "reached a limit, or is no SOCKS5 server",
                                                    .owner = see_log,
                                                    .user = ask_owner});
    }
}

void step_login(struct check_run *check, struct check_result *result)
{
    const struct proxy_answer *answer = &check->association.granted;
    bool usable = association_open(&check->association, &check->proxy, NULL);
    bool accepted = answer->outcome == PROXY_GRANTED || answer->outcome == PROXY_REFUSED ||
                    (answer->stage == CLIENT_AT_REPLY && answer->outcome != PROXY_UNREACHABLE);
    if (!accepted) {
        explain_no_login(check, result);
        return;
    }
    check->facts |= FACT_LOGGED_IN | (usable ? FACT_ASSOCIATED : 0);
    bool asked = answer->handshake.method == SOCKS5_METHOD_PASSWORD;
    result_data(result, "{s:s}", "method", asked ? "password" : "none");
    result_say(result, CHECK_OK, "%s",
               asked                       ? "the proxy accepts the user name and password"
               : check->proxy.url.user_len ? "not needed: the proxy did not look at your user name and password"
                                           : "not needed");
}
