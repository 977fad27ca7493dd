/* CONNECT: to what was named, or to the far end, which may not listen there. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "check/steps/steps.h"

/* How long a server may take to answer once the connection stands, in ms. */
#define ANSWER_TIMEOUT 3000

struct target {
    char host[256], text[300]; /* the latter for people */
    union netaddr address;     /* AF_UNSPEC: the name goes to the proxy as it is */
    uint16_t port;
    bool is_far_end;
};

/* false, with the result said: there is none. */
static bool choose_target(const struct check *check, struct target *target, struct check_result *result)
{
    char text[NETADDR_TEXT_MAX];
    *target = (struct target){0};
    if (check->options.connect) {
        const char *wrong = host_port_parse(check->options.connect, target->host, &target->port);
        if (!wrong && target->port == 0)
            wrong = "the port is missing";
        if (wrong)
            result_say(result, CHECK_FAILED, "--connect %s: %s", check->options.connect, wrong);
        netaddr_parse(&target->address, target->host, target->port);
        snprintf(target->text, sizeof(target->text), "%s", check->options.connect);
        return !wrong;
    }
    const struct io_addresses *all = &check->far_end.addresses;
    const union netaddr *address =
        io_of_family(all, AF_INET) ? io_of_family(all, AF_INET) : io_of_family(all, AF_INET6);
    if (!address) {
        result_say(result, CHECK_INFO, "not tried: name a host and a port with --connect");
        return false;
    }
    target->address = *address;
    target->is_far_end = true;
    snprintf(target->text, sizeof(target->text), "%s", netaddr_format(address, text));
    return true;
}

static struct socks5_addr wire_target(const struct target *target)
{
    if (target->address.sa.sa_family != AF_UNSPEC)
        return socks5_addr_of(&target->address);
    return (struct socks5_addr){.atyp = SOCKS5_ATYP_NAME,
                                .host_len = (uint8_t)strlen(target->host),
                                .host = (const uint8_t *)target->host,
                                .port = target->port};
}

static void explain_refusal(const struct negotiation *n, bool by_name, struct check_result *result)
{
    switch (n->code) {
    case SOCKS5_REPLY_NOT_ALLOWED:
        result_cause(result, "the server's rules do not allow this client, this user or this destination");
        result_fix(result, "see the server's rules; conesocks explain tells which one decides");
        break;
    case SOCKS5_REPLY_HOST_UNREACHABLE:
        result_cause(result, "the proxy's host cannot resolve the name, or finds no way there");
        result_fix(result, "on the proxy's host, see whether its resolver knows the name and whether it can connect");
        break;
    case SOCKS5_REPLY_TTL_EXPIRED:
        result_cause(result, "%sthe destination does not answer, or a firewall does not let the proxy's host out",
                     by_name ? "the proxy's name servers do not answer, or " : "");
        result_fix(result, "on the proxy's host, %sconnect there without the proxy%s",
                   by_name ? "look the name up and " : "",
                   by_name ? "; here, try --connect with an address instead of the name" : "");
        break;
    case SOCKS5_REPLY_CONNECTION_REFUSED:
        result_cause(result, "the proxy got there, and nothing listens at that port");
        result_fix(result, "name another destination with --connect");
        break;
    default:
        result_cause(result, "the proxy's host cannot connect there, or a firewall does not let it out");
        result_fix(result, "on the proxy's host, try the same without the proxy");
    }
}

static void say_granted(const struct negotiation *n, const struct target *target, const char *key,
                        struct check_result *result)
{
    struct stun_message answer;
    char text[NETADDR_TEXT_MAX];
    bool hears = target->is_far_end && stun_ask_stream(n->fd, key, clock_ms() + ANSWER_TIMEOUT, &answer);
    if (key && target->is_far_end && !hears) { /* a peer answers by TCP, too */
        result_say(result, CHECK_FAILED, "%s is connected, and does not answer", target->text);
        result_cause(result, "its key is another one, or another program has that port");
        result_fix(result, "give the key that conesocks check --listen has printed there: --key KEY");
        return;
    }
    if (!hears) {
        result_say(result, CHECK_OK, "%s is connected", target->text);
        return;
    }
    result_say(result, CHECK_OK, "%s answers, and sees us as %s", target->text, netaddr_format(&answer.mapped, text));
    result_data(result, "external", json_string(text));
}

void step_connect(struct check *check, int family, struct check_result *result)
{
    (void)family;
    struct target target;
    struct negotiation n;
    char text[256];
    if (!choose_target(check, &target, result))
        return;
    const struct socks5_addr destination = wire_target(&target);
    uint64_t patience = 3 * CHECK_TCP_TIMEOUT; /* the proxy waits for the destination meanwhile */
    negotiate(&n, &check->url, &check->proxy, SOCKS5_COMMAND_CONNECT, &destination, clock_ms() + patience);
    if (n.end == NEGOTIATION_GRANTED) {
        say_granted(&n, &target, check->far_end.key, result);
        close(n.fd);
        return;
    }
    /* A STUN server need not listen by TCP, so that says little about the proxy. */
    bool says_little = target.is_far_end && n.end == NEGOTIATION_REFUSED && n.code != SOCKS5_REPLY_NOT_ALLOWED &&
                       n.code != SOCKS5_REPLY_COMMAND_NOT_SUPPORTED;
    result_say(result, says_little ? CHECK_INFO : CHECK_FAILED, "%s: %s%s", target.text,
               negotiation_explain(&n, text, sizeof(text)),
               says_little ? "; it may not listen by TCP: name something else with --connect" : "");
    if (n.end == NEGOTIATION_REFUSED)
        result_data(result, "code", json_integer(n.code));
    if (!says_little && n.end == NEGOTIATION_REFUSED)
        explain_refusal(&n, target.address.sa.sa_family == AF_UNSPEC, result);
}
