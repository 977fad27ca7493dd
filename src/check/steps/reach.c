/* Is there a way to the proxy, and does it let us in? */
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "check/scope.h"
#include "check/steps/steps.h"

/* ---- the name ---- */

void step_name(struct check *check, int family, struct check_result *result)
{
    (void)family;
    const char *host = check->url.host;
    union netaddr literal;
    int error = io_resolve(host, check->url.port, &check->proxy_addresses);
    if (error) {
        result_say(result, CHECK_FAILED, "%s: %s", host, gai_strerror(error));
        result_cause(result, "the name is misspelt, or this machine's resolver does not know it");
        result_fix(result, "try the proxy's address in place of its name");
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
    result_say(result, CHECK_OK, "%s is %s", host, list);
}

/* ---- TCP ---- */

static void explain_no_connection(struct check_result *result, int error, const union netaddr *proxy)
{
    unsigned port = netaddr_port(proxy);
    bool here = scope_is_ours(proxy);
    switch (error) {
    case ECONNREFUSED:
        result_cause(result,
                     "nothing listens there: the proxy does not run, has another port, or listens on another address "
                     "of its host, such as 127.0.0.1 alone%s",
                     here ? "" : "; or a NAT in front of it does not hand this port on");
        result_fix(result,
                   "on its host, ss -ltnp shows who listens where; conesocks: see listen in its configuration%s",
                   here ? "" : "; behind a router or docker, see that the port is forwarded or published");
        break;
    case ENETUNREACH:
    case EHOSTUNREACH:
        result_cause(result, "there is no route to it, it is off, or a firewall rejects what is for it");
        result_fix(result, "see that this machine has a network, of this address's family, and let TCP port %u in",
                   port);
        break;
    default:
        result_cause(result, "a firewall between here and there drops it without a word, or the host is off");
        result_fix(result,
                   "let TCP port %u in: at the host's firewall, the router's port forwarding, the cloud's "
                   "security group",
                   port);
    }
}

/* 0 or a positive errno. */
static int try_connection(const union netaddr *proxy, uint64_t *took_ms)
{
    uint64_t before = clock_ms();
    int fd = io_dial(proxy, before + CHECK_TCP_TIMEOUT);
    *took_ms = clock_ms() - before;
    if (fd >= 0)
        close(fd);
    return fd < 0 ? -fd : 0;
}

void step_tcp(struct check *check, int family, struct check_result *result)
{
    (void)family;
    char text[NETADDR_TEXT_MAX], bad_text[NETADDR_TEXT_MAX];
    const struct io_addresses *all = &check->proxy_addresses;
    const union netaddr *bad = NULL, *good = NULL;
    uint64_t took = 0, good_took = 0;
    int error = 0;
    for (size_t i = 0; i < all->count; i++) {
        const union netaddr *one = &all->list[i];
        if (good && good->sa.sa_family == one->sa.sa_family)
            continue;
        int failed = try_connection(one, &took);
        if (failed && !bad) {
            bad = one;
            error = failed;
        } else if (!failed && !good) {
            good = one;
            good_took = took;
        }
    }
    if (!good) {
        result_say(result, CHECK_FAILED, "%s: %s", netaddr_format(bad, text), strerror(error));
        explain_no_connection(result, error, bad);
        return;
    }
    check->proxy = *good;
    check->facts |= FACT_REACHED;
    result_data(result, "address", json_string(netaddr_format(good, text)));
    if (!bad) {
        result_say(result, CHECK_OK, "%s takes connections, %u ms", text, (unsigned)good_took);
        return;
    }
    /* Clients try the next one at once, unless nobody tells them that the first is none. */
    bool wait = error == ETIMEDOUT;
    result_say(result, wait ? CHECK_WARNING : CHECK_OK, "%s takes connections, %u ms; %s: %s", text,
               (unsigned)good_took, netaddr_format(bad, bad_text), strerror(error));
    if (wait)
        explain_no_connection(result, error, bad);
}

/* ---- login ---- */

static void explain_strange(struct check_result *result, const struct negotiation *n)
{
    static const char *const http = "it is a web server, or an HTTP proxy";
    bool is_http = n->strange_len >= 2 && n->strange[0] == 'H' && n->strange[1] == 'T';
    bool is_tls = n->strange_len >= 2 && (n->strange[0] == 0x15 || n->strange[0] == 0x16);
    bool is_socks4 = n->strange_len >= 1 && n->strange[0] == 0;
    result_cause(result, "%s",
                 is_http     ? http
                 : is_tls    ? "it speaks TLS"
                 : is_socks4 ? "it speaks SOCKS4"
                             : "another program has this port");
    result_fix(result, "name the port where the SOCKS5 server listens");
}

static void explain_method(const struct check *check, struct check_result *result)
{
    bool offered = check->url.user_len > 0;
    int wants = offered ? -1 : negotiate_password_only(&check->proxy, clock_ms() + CHECK_TCP_TIMEOUT);
    if (wants == SOCKS5_METHOD_PASSWORD) {
        result_say(result, CHECK_FAILED, "it asks for a user name and a password, and there are none");
        result_fix(result, "name the user, --proxy socks5://USER@%s:%u; the password is then asked for",
                   check->url.host, check->url.port);
        return;
    }
    result_cause(result, offered ? "it may want a login that RFC 1929 does not have, such as GSSAPI"
                                 : "it may want a login other than a password, or not take clients from this address");
    result_fix(result, "see in the server's configuration which logins it takes, and from whom");
}

static void explain_no_login(const struct check *check, struct check_result *result)
{
    const struct negotiation *n = &check->association.negotiation;
    char text[256];
    result_say(result, CHECK_FAILED, "%s", negotiation_explain(n, text, sizeof(text)));
    switch (n->end) {
    case NEGOTIATION_METHOD:
        explain_method(check, result);
        break;
    case NEGOTIATION_LOGIN:
        result_cause(result, "one of the two is misspelt, or the user is not in the server's configuration");
        result_fix(result, "mind that in a URL @ : / and %% are written %%40 %%3A %%2F and %%25");
        break;
    case NEGOTIATION_STRANGE:
        explain_strange(result, n);
        break;
    case NEGOTIATION_SILENT:
        result_cause(result, "it is no SOCKS5 server, it waits for something to be said first (TLS, a PROXY protocol "
                             "header), or it hangs");
        result_fix(result, "see in the server's log what it makes of this connection");
        break;
    default:
        result_cause(result, n->stage == CLIENT_AT_STATUS
                                 ? "some servers say by this that the login is wrong, or that too many from here "
                                   "were (conesocks: limits.failed_logins)"
                                 : "it does not take clients from this address, has reached a limit, or is no SOCKS5 "
                                   "server");
        result_fix(result, "%ssee in the server's log what it makes of this connection",
                   n->stage == CLIENT_AT_STATUS ? "after a few wrong passwords wait a minute before the next try; "
                                                : "");
    }
}

void step_login(struct check *check, int family, struct check_result *result)
{
    (void)family;
    const struct negotiation *n = &check->association.negotiation;
    bool usable =
        association_open(&check->association, &check->url, &check->proxy, NULL, clock_ms() + CHECK_TCP_TIMEOUT);
    bool let_in = n->end == NEGOTIATION_GRANTED || n->end == NEGOTIATION_REFUSED ||
                  (n->stage == CLIENT_AT_REPLY && n->end != NEGOTIATION_UNREACHABLE);
    if (!let_in) {
        explain_no_login(check, result);
        return;
    }
    check->facts |= FACT_LOGGED_IN | (usable ? FACT_ASSOCIATED : 0);
    bool asked = n->method == SOCKS5_METHOD_PASSWORD;
    result_data(result, "method", json_string(asked ? "password" : "none"));
    if (asked)
        result_say(result, CHECK_OK, "it accepts the user name and the password");
    else
        result_say(result, CHECK_OK, "it asks for none%s",
                   check->url.user_len ? ", so that yours was not looked at" : "");
}
