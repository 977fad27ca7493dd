/* UDP ASSOCIATE: is it granted, and can the address be used that the proxy names? */
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "check/scope.h"
#include "check/steps/steps.h"
#include "net/sock.h"

/* By the code of the proxy's refusal. */
static const struct advice refusals[] = {
    [SOCKS5_REPLY_NOT_ALLOWED] =
        {.cause = "the proxy's rules do not allow UDP to this client or user, or a limit is reached",
         .owner = "allow it (dante: command: udpassociate and udpreply; conesocks: rules, limits)",
         .user = "ask the server's owner whether your login may use UDP, or use another server"},
    [SOCKS5_REPLY_COMMAND_NOT_SUPPORTED] =
        {.cause = "UDP is switched off, or this server has no UDP support (ssh -D and microsocks have none)",
         .owner = "switch UDP on (conesocks: udp.enabled), or run a server that has it",
         .user = "use another server for games and calls, or ask this one's owner to switch UDP on"},
    [SOCKS5_REPLY_ADDRESS_TYPE_NOT_SUPPORTED] =
        {.cause = "the proxy does not accept 0.0.0.0:0 as the client's address, which most clients send",
         .owner = "update the server, or use another one"},
};

/* Asks once more, and names the address and port that the datagrams will come from: some servers insist on that. */
static bool is_granted_with_hint(struct check_run *check)
{
    struct check_association *association = &check->association;
    union netaddr local = io_source_for(&check->proxy.address);
    int fd = local.sa.sa_family == AF_UNSPEC ? -1 : io_udp(&local, true);
    if (fd < 0)
        return false;
    local = sock_local(fd);
    close(fd); /* for the association's own socket to have */
    association_close(association);
    return association_open(association, &check->proxy, &local);
}

static void say_refused(struct check_run *check, struct check_result *result)
{
    const struct proxy_answer *answer = &check->association.granted;
    char text[256];
    result_say(result, CHECK_FAILED, "%s", proxy_answer_explain(answer, text, sizeof(text)));
    if (answer->outcome != PROXY_REFUSED) {
        result_advise(result, "the proxy has no UDP support, or failed while it handled the request",
                      "look in the proxy's log for this request");
        return;
    }
    uint8_t code = answer->handshake.code;
    result_data(result, "{s:i}", "code", code);
    if (code < ARRAY_LEN(refusals) && refusals[code].cause)
        result_explain(result, &refusals[code]);
    else
        result_advise(result, "the proxy cannot open a UDP port: none is left, or it has no address to open it on",
                      "look in the proxy's log for the reason");
    if (code != SOCKS5_REPLY_COMMAND_NOT_SUPPORTED && is_granted_with_hint(check)) {
        check->facts |= FACT_ASSOCIATED;
        result_means(result, "most programs get no UDP: games, voice chats and calls fail");
        result_cause(result,
                     "the proxy wants the client's address and port in the request; most clients send 0.0.0.0:0, "
                     "and fail here");
    }
}

/* The address that the proxy names for datagrams: what is odd about it, and what follows from that. */
static void judge_bound(const struct check_run *check, struct check_result *result)
{
    const struct proxy_answer *granted = &check->association.granted;
    const union netaddr *bound = &granted->bound, *proxy = &check->proxy.address;
    char text[NETADDR_TEXT_MAX], proxy_text[NETADDR_TEXT_MAX];
    netaddr_format(bound, text);
    netaddr_format_host(proxy, proxy_text);
    if (granted->bound_name[0]) {
        result_say(result, CHECK_WARNING, "granted; the proxy takes UDP at the name %s, port %u", granted->bound_name,
                   granted->bound_port);
        result_means(result, "some programs get no UDP: games and calls fail in them");
        result_advise(result, "the proxy answers with a name, but most clients expect an IP address",
                      "make the proxy answer with its IP address");
    } else if (granted->bound_port == 0) {
        result_say(result, CHECK_FAILED, "granted, but with port 0: nothing can be sent to it");
        result_advise(result, "the proxy answers before it has a port, or does not relay UDP",
                      "look in the proxy's manual for its UDP support");
    } else if (netaddr_is_any(bound)) {
        result_say(result, CHECK_WARNING, "granted; the proxy names %s, which is no real address; using %s instead",
                   text, proxy_text);
        result_means(result, "programs that take the answer literally get no UDP: games and calls fail in them");
        result_advise(result,
                      "the proxy listens on all its addresses and does not know which one clients use; clients that "
                      "take the answer literally send to themselves",
                      "make the proxy listen on the address that clients use, or set the address that it advertises "
                      "(often called external or public address)");
    } else if (scope_of(bound) < scope_of(proxy)) {
        result_say(result, CHECK_WARNING, "granted; the proxy takes UDP at %s, %s address, but it is reached at %s",
                   text, scope_of(bound) == SCOPE_HOST ? "a loopback" : "a private", proxy_text);
        result_means(result, "most programs get no UDP: games, voice chats and calls fail");
        result_advise(
            result, "the proxy is behind a NAT and tells clients its address behind it",
            "make the proxy advertise the address that clients use (conesocks: udp.advertise_v4 and udp.ports)");
    } else if (bound->sa.sa_family != proxy->sa.sa_family) {
        result_say(result, CHECK_WARNING, "granted; the proxy takes UDP at %s, which is %s, but we connected by %s",
                   text, check_family_name(bound->sa.sa_family), check_family_name(proxy->sa.sa_family));
        result_means(result, "some programs get no UDP: games and calls fail in them");
        result_advise(result,
                      "clients without that IP version cannot send there, and some clients read IPv4 addresses only",
                      "make the proxy answer with the IP version that the client uses");
    } else {
        result_say(result, CHECK_OK, "granted; the proxy takes UDP at %s%s", text,
                   netaddr_equal_host(bound, proxy) ? "" : ", not at its TCP address");
    }
}

void step_associate(struct check_run *check, struct check_result *result)
{
    const struct check_association *a = &check->association;
    char bound[NETADDR_TEXT_MAX], relay[NETADDR_TEXT_MAX];
    if (a->granted.outcome != PROXY_GRANTED) {
        say_refused(check, result);
        return;
    }
    judge_bound(check, result);
    netaddr_format(&a->granted.bound, bound);
    result_data(result, "{s:o?, s:s}", "bound", json_string(a->granted.bound_name[0] ? a->granted.bound_name : bound),
                "relay", netaddr_format(&a->relay, relay));
    if (!(check->facts & FACT_ASSOCIATED) && result->status < CHECK_FAILED)
        result_say(result, CHECK_FAILED, "granted, but this machine cannot send to %s", relay);
}
