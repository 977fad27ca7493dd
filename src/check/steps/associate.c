/* UDP ASSOCIATE: is it granted, and can the address be used that the proxy names? */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "check/scope.h"
#include "check/steps/steps.h"

static void explain_refusal(const struct negotiation *n, struct check_result *result)
{
    switch (n->code) {
    case SOCKS5_REPLY_COMMAND_NOT_SUPPORTED:
        result_cause(result, "UDP is switched off there, or this server cannot do it (ssh -D and microsocks, for two)");
        result_fix(result, "switch it on (conesocks: udp.enabled; 3proxy and others: see their manuals), or use "
                           "another server for what needs UDP");
        break;
    case SOCKS5_REPLY_NOT_ALLOWED:
        result_cause(result, "the server's rules do not allow UDP to this client or user, or a limit is reached");
        result_fix(result, "allow it (dante: command: udpassociate and udpreply; conesocks: rules, limits)");
        break;
    case SOCKS5_REPLY_ADDRESS_TYPE_NOT_SUPPORTED:
        result_cause(result, "it does not take 0.0.0.0:0, which most clients send, for a client's address");
        result_fix(result, "update the server, or use another");
        break;
    default:
        result_cause(result, "it cannot open a port for us: there is none left, or it has no address to open it on");
        result_fix(result, "see in the server's log what it could not do");
    }
}

/* Asks once more, and says truly from where the datagrams will come: some servers insist on that. */
static bool takes_our_address(struct check *check)
{
    struct association *association = &check->association;
    union netaddr local = io_source_for(&check->proxy);
    int fd = local.sa.sa_family == AF_UNSPEC ? -1 : io_udp(&local);
    if (fd < 0)
        return false;
    local = io_local(fd);
    close(fd); /* for the association's own socket to have */
    association_close(association);
    return association_open(association, &check->url, &check->proxy, &local, clock_ms() + CHECK_TCP_TIMEOUT);
}

static void say_refused(struct check *check, struct check_result *result)
{
    struct negotiation n = check->association.negotiation;
    char text[256];
    result_say(result, CHECK_FAILED, "%s", negotiation_explain(&n, text, sizeof(text)));
    if (n.end != NEGOTIATION_REFUSED) {
        result_cause(result, "the server does not do UDP, or failed while it tried");
        result_fix(result, "see in the server's log what it makes of this request");
        return;
    }
    result_data(result, "code", json_integer(n.code));
    explain_refusal(&n, result);
    if (n.code != SOCKS5_REPLY_COMMAND_NOT_SUPPORTED && takes_our_address(check)) {
        check->facts |= FACT_ASSOCIATED;
        result_cause(result, "it wants to be told the client's address and port in the request; with 0.0.0.0:0, which "
                             "most clients send, it does not work");
    }
}

/* What is odd about the address, and what follows from it. */
static void judge_bound(const struct check *check, struct check_result *result)
{
    const struct negotiation *n = &check->association.negotiation;
    const union netaddr *bound = &n->bound, *proxy = &check->proxy;
    char text[NETADDR_TEXT_MAX], proxy_text[NETADDR_TEXT_MAX];
    netaddr_format(bound, text);
    netaddr_format_host(proxy, proxy_text);
    if (n->bound_name[0]) {
        result_say(result, CHECK_WARNING, "granted; datagrams go to the name %s, port %u", n->bound_name,
                   n->bound_port);
        result_cause(result, "it names a host, where most clients read an address");
        result_fix(result, "have the server name its address");
    } else if (n->bound_port == 0) {
        result_say(result, CHECK_FAILED, "granted, but with port 0, to which nothing can be sent");
        result_cause(result, "the server answers before it has a port, or does not relay datagrams by UDP");
        result_fix(result, "see in the server's manual what its UDP takes");
    } else if (netaddr_is_any(bound)) {
        result_say(result, CHECK_WARNING,
                   "granted; datagrams go to %s, which is no address: taken as the proxy's own, %s", text, proxy_text);
        result_cause(result, "the server listens on all its addresses and does not know by which it is reached; "
                             "clients that take this literally send to themselves");
        result_fix(result, "have the server listen on the address that clients use, or name it to them (conesocks does "
                           "the latter by itself; elsewhere look for \"external\" or \"public\" address)");
    } else if (scope_of(bound) < scope_of(proxy)) {
        bool itself = scope_of(bound) == SCOPE_HOST;
        result_say(result, CHECK_WARNING, "granted; datagrams go to %s, %s, although the proxy is at %s", text,
                   itself ? "a loopback address" : "a private address", proxy_text);
        result_cause(result, "the server is behind a NAT and tells clients its address on the far side of that");
        result_fix(result, "have it tell the address that clients use (conesocks: udp.advertise_v4 and udp.ports)");
    } else if (bound->sa.sa_family != proxy->sa.sa_family) {
        result_say(result, CHECK_WARNING, "granted; datagrams go to %s, which is %s, although we came by %s", text,
                   check_family_name(bound->sa.sa_family), check_family_name(proxy->sa.sa_family));
        result_cause(result, "clients of the other family alone cannot send there, and some read only an IPv4 address");
        result_fix(result, "have it answer by the family that the client comes by");
    } else {
        bool same = netaddr_equal_host(bound, proxy);
        result_say(result, CHECK_OK, "granted; datagrams go to %s%s", text,
                   same ? "" : ", another address than the proxy's");
    }
}

void step_associate(struct check *check, int family, struct check_result *result)
{
    (void)family;
    const struct association *a = &check->association;
    char text[NETADDR_TEXT_MAX];
    if (a->negotiation.end != NEGOTIATION_GRANTED) {
        say_refused(check, result);
        return;
    }
    judge_bound(check, result);
    if (a->negotiation.bound_name[0])
        result_data(result, "bound",
                    json_pack("s#", a->negotiation.bound_name, (int)strlen(a->negotiation.bound_name)));
    else
        result_data(result, "bound", json_string(netaddr_format(&a->negotiation.bound, text)));
    result_data(result, "relay", json_string(netaddr_format(&a->relay, text)));
    if (!(check->facts & FACT_ASSOCIATED) && result->status < CHECK_FAILED)
        result_say(result, CHECK_FAILED, "granted, but nothing can be sent to %s from here", text);
}
