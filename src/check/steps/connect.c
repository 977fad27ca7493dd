/* CONNECT: to what was named, or to the test server, which may not listen by TCP. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "check/steps/steps.h"

/* How long a server may take to answer over the connection, in ms. */
#define ANSWER_TIMEOUT 3000

struct connect_target {
    char host[256], text[300]; /* the latter for people */
    union netaddr address;     /* AF_UNSPEC: the name is sent to the proxy as it is */
    uint16_t port;
    bool is_test_server;
};

/* false, with the result said: there is none. */
static bool choose_target(const struct check_run *check, struct connect_target *target, struct check_result *result)
{
    char text[NETADDR_TEXT_MAX];
    *target = (struct connect_target){0};
    if (check->options.connect) { /* which has been parsed before */
        host_port_parse(check->options.connect, target->host, &target->port);
        netaddr_parse(&target->address, target->host, target->port);
        snprintf(target->text, sizeof(target->text), "%s", check->options.connect);
        return true;
    }
    const struct io_addresses *all = &check->server.addresses;
    const union netaddr *v4 = io_of_family(all, AF_INET), *address = v4 ? v4 : io_of_family(all, AF_INET6);
    if (!address) {
        result_say(result, CHECK_INFO, "not tested: name a destination with --connect HOST:PORT");
        return false;
    }
    target->address = *address;
    target->is_test_server = true;
    snprintf(target->text, sizeof(target->text), "%s", netaddr_format(address, text));
    return true;
}

static struct socks5_addr target_on_wire(const struct connect_target *target)
{
    if (target->address.sa.sa_family != AF_UNSPEC)
        return socks5_addr_of(&target->address);
    return (struct socks5_addr){.atyp = SOCKS5_ATYP_NAME,
                                .host_len = (uint8_t)strlen(target->host),
                                .host = (const uint8_t *)target->host,
                                .port = target->port};
}

/* By the code of the proxy's refusal. */
static const struct advice refusals[] = {
    [SOCKS5_REPLY_NOT_ALLOWED] = {.cause = "the proxy's rules do not allow this client, user or destination",
                                  .owner = "look at the proxy's rules; conesocks explain shows the one that decides"},
    [SOCKS5_REPLY_HOST_UNREACHABLE] =
        {.cause = "the proxy's host cannot resolve the name, or has no route to the address",
         .owner = "on the proxy's host, check that the name resolves and that it can connect there"},
    [SOCKS5_REPLY_CONNECTION_REFUSED] = {.cause = "the proxy reached the host, but nothing listens on that port",
                                         .owner = "try another destination with --connect",
                                         .user = "try another destination with --connect"},
    [SOCKS5_REPLY_TTL_EXPIRED] = {.cause = "the destination does not answer, or a firewall drops what the proxy sends",
                                  .owner = "on the proxy's host, connect there without the proxy"},
};

static void explain_refused_connect(uint8_t code, bool by_name, struct check_result *result)
{
    if (code == SOCKS5_REPLY_TTL_EXPIRED && by_name)
        result_advise(result,
                      "the proxy's name servers do not answer, the destination does not answer, or a firewall drops "
                      "what the proxy sends",
                      "on the proxy's host, look the name up and connect there without the proxy; here, try --connect "
                      "with an IP address");
    else if (code < ARRAY_LEN(refusals) && refusals[code].cause)
        result_explain(result, &refusals[code]);
    else
        result_advise(result, "the proxy's host cannot connect there, or a firewall drops what the proxy sends",
                      "on the proxy's host, connect there without the proxy");
}

static void say_no_peer(struct check_result *result)
{
    result_means(result, "nothing is known about the proxy yet: the test server does not accept this check");
    result_cause(result, "the key is wrong, or another program uses that port");
    result_fix(result, "use the key that conesocks check --listen printed: --key KEY");
}

static void say_connected(int fd, const struct connect_target *target, const char *key, struct check_result *result)
{
    struct stun_message answer;
    char text[NETADDR_TEXT_MAX];
    if (!target->is_test_server || !stun_ask_stream(fd, key, clock_ms() + ANSWER_TIMEOUT, &answer)) {
        bool must_answer = target->is_test_server && key; /* a peer answers by TCP, too */
        result_say(result, must_answer ? CHECK_FAILED : CHECK_OK, "connected to %s%s", target->text,
                   must_answer ? ", but it does not answer" : "");
        if (must_answer)
            say_no_peer(result);
        return;
    }
    result_say(result, CHECK_OK, "%s answers and sees us as %s", target->text, netaddr_format(&answer.mapped, text));
    result_data(result, "{s:s}", "external", text);
}

void step_connect(struct check_run *check, struct check_result *result)
{
    struct connect_target target;
    struct proxy_answer answer;
    char text[256];
    if (!choose_target(check, &target, result))
        return;
    const struct socks5_addr destination = target_on_wire(&target);
    /* Longer than for others: the proxy waits for the destination meanwhile. */
    proxy_ask(&answer, &check->proxy, SOCKS5_COMMAND_CONNECT, &destination, 3 * PROXY_TIMEOUT);
    if (answer.outcome == PROXY_GRANTED) {
        say_connected(answer.fd, &target, check->server.key, result);
        close(answer.fd);
        return;
    }
    uint8_t code = answer.outcome == PROXY_REFUSED ? answer.handshake.code : SOCKS5_REPLY_SUCCEEDED;
    /* A STUN server need not listen by TCP: then a refusal proves nothing about the proxy. */
    bool proves_nothing = target.is_test_server && code != SOCKS5_REPLY_SUCCEEDED && code != SOCKS5_REPLY_NOT_ALLOWED &&
                          code != SOCKS5_REPLY_COMMAND_NOT_SUPPORTED;
    result_say(result, proves_nothing ? CHECK_INFO : CHECK_FAILED, "%s: %s%s", target.text,
               proxy_answer_explain(&answer, text, sizeof(text)),
               proves_nothing ? "; the test server may not accept TCP: try --connect HOST:PORT" : "");
    if (code)
        result_data(result, "{s:i}", "code", code);
    if (code && !proves_nothing)
        explain_refused_connect(code, target.address.sa.sa_family == AF_UNSPEC, result);
}
