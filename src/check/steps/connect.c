/* CONNECT: to what was named, or to the test server, which may not listen by TCP. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "check/granted.h"
#include "check/steps/steps.h"

/* How long a server may take to answer over the connection, in ms. */
#define ANSWER_TIMEOUT 3000
/* ms: a connection that lasts so long has not ended at once. */
#define END_TIMEOUT 1500
/* ms: a proxy that grants everything answers sooner. */
#define NOBODY_TIMEOUT 1500

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

static const char only_this_one[] = "websites may work: only this destination was tried";

/* By the code of the proxy's refusal. */
static const struct advice refusals[] = {
    [SOCKS5_REPLY_NOT_ALLOWED] = {.cause = "the proxy's rules do not allow this client, user or destination",
                                  .owner = "look at the proxy's rules; conesocks explain shows the one that decides"},
    [SOCKS5_REPLY_HOST_UNREACHABLE] =
        {.cause = "the proxy's host cannot resolve the name, or has no route to the address",
         .owner = "on the proxy's host, check that the name resolves and that it can connect there"},
    [SOCKS5_REPLY_CONNECTION_REFUSED] = {.means = only_this_one,
                                         .cause = "the proxy reached the host, but nothing listens on that port",
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

/* Asked for an address of TEST-NET-1 (RFC 5737), where nobody is: does the proxy grant that, too? */
static bool proxy_grants_all(const struct check_run *check)
{
    const union netaddr nobody = netaddr_from_bytes((const uint8_t[]){192, 0, 2, 1}, 4, 9);
    const struct socks5_addr destination = socks5_addr_of(&nobody);
    struct proxy_answer answer;
    proxy_ask(&answer, &check->proxy, SOCKS5_COMMAND_CONNECT, &destination, NOBODY_TIMEOUT);
    if (answer.outcome == PROXY_GRANTED)
        close(answer.fd);
    return answer.outcome == PROXY_GRANTED;
}

/* Watches a connection that was granted. The test server is asked a question; others may speak first. */
static struct granted observe_granted(struct check_run *check, int fd, const struct connect_target *target,
                                      struct stun_message *answer)
{
    const char *key = check->server.key;
    struct granted granted = {.must_answer = target->is_test_server && key}; /* a peer answers by TCP, too */
    uint8_t byte;
    if (target->is_test_server)
        granted.answered = stun_ask_stream(fd, key, clock_ms() + ANSWER_TIMEOUT, answer);
    if (granted.answered)
        return granted;
    ssize_t received = io_receive(fd, &byte, 1, clock_ms() + END_TIMEOUT);
    granted.answered = received > 0 && !target->is_test_server;
    granted.ended = received <= 0 && received != -ETIMEDOUT;
    granted.grants_all = !granted.answered && proxy_grants_all(check);
    return granted;
}

static void say_nobody(const struct connect_target *target, struct check_result *result)
{
    if (target->is_test_server) { /* a STUN server need not accept TCP */
        result_say(result, CHECK_INFO,
                   "%s: granted, but the connection ended at once; the test server may not accept TCP: try --connect "
                   "HOST:PORT",
                   target->text);
        return;
    }
    result_say(result, CHECK_FAILED, "%s: granted, but the connection ended at once", target->text);
    result_explain(result,
                   &(struct advice){.means = only_this_one,
                                    .cause = "the proxy grants every CONNECT before it has connected; then it found "
                                             "nobody at this destination, or could not connect",
                                    .owner = "on the proxy's host, connect there without the proxy",
                                    .user = "try another destination with --connect"});
}

static void say_granted(struct check_run *check, int fd, const struct connect_target *target,
                        struct check_result *result)
{
    struct stun_message answer;
    char text[NETADDR_TEXT_MAX];
    const struct granted granted = observe_granted(check, fd, target, &answer);
    result_data(result, "{s:b}", "answered", granted.answered);
    check->connected.answered = target->is_test_server && granted.answered;
    switch (granted_judge(&granted)) {
    case GRANTED_ANSWERED:
        if (!target->is_test_server) {
            result_say(result, CHECK_OK, "connected to %s, which answers", target->text);
            break;
        }
        result_say(result, CHECK_OK, "%s answers and sees us as %s", target->text,
                   netaddr_format(&answer.mapped, text));
        result_data(result, "{s:s}", "external", text);
        break;
    case GRANTED_CONNECTED:
        result_say(result, CHECK_OK, "connected to %s", target->text);
        break;
    case GRANTED_UNPROVEN:
        result_say(result, CHECK_INFO,
                   "%s: granted, but the proxy grants every CONNECT before it has connected, and nothing answers yet",
                   target->text);
        break;
    case GRANTED_NOBODY:
        say_nobody(target, result);
        break;
    default:
        result_say(result, CHECK_FAILED, "connected to %s, but it does not answer", target->text);
        say_no_peer(result);
    }
}

/* What a refusal shows about the proxy's routes. */
static bool is_unroutable(uint8_t code)
{
    return code == SOCKS5_REPLY_NETWORK_UNREACHABLE || code == SOCKS5_REPLY_HOST_UNREACHABLE;
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
    if (target.is_test_server)
        check->connected.to = target.address;
    if (answer.outcome == PROXY_GRANTED) {
        say_granted(check, answer.fd, &target, result);
        close(answer.fd);
        return;
    }
    uint8_t code = answer.outcome == PROXY_REFUSED ? answer.handshake.code : SOCKS5_REPLY_SUCCEEDED;
    check->connected.unroutable = target.is_test_server && is_unroutable(code);
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
