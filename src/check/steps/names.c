/* Whether the proxy looks names up: a CONNECT to the test server by its name, where one by its address works. */
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "check/steps/steps.h"

/* How long the test server may take to answer over the connection, in ms. */
#define ANSWER_TIMEOUT 3000

/* The STUN server that a CONNECT to its address has reached, if it was given by a name. Or NULL. */
static const struct stun_server *find_named_server(const struct check_run *check)
{
    const struct stun_places *places = &check->server.places;
    const struct stun_servers *servers = &check->server.stun;
    union netaddr literal;
    for (size_t i = 0; i < places->count; i++) {
        unsigned server = places->list[i].server;
        if (netaddr_equal(&places->list[i].address, &check->connected.to) && server < servers->count &&
            !netaddr_parse(&literal, servers->list[server].host, 0))
            return &servers->list[server];
    }
    return NULL;
}

/* It refuses at once: that is no lookup that failed. */
static bool refuses_names(uint8_t code)
{
    return code == SOCKS5_REPLY_NOT_ALLOWED || code == SOCKS5_REPLY_ADDRESS_TYPE_NOT_SUPPORTED;
}

static void explain_names(uint8_t code, struct check_result *result)
{
    result_means(result, "browsers and other programs that leave names to the proxy fail");
    if (refuses_names(code))
        result_advise(result, "the proxy takes no names as destinations, or its rules deny this one",
                      "look at the proxy's rules; conesocks explain shows the one that decides");
    else
        result_advise(result,
                      "the proxy's name servers do not answer, or a firewall drops what its host sends to port 53",
                      "on the proxy's host, look the name up, and let UDP and TCP out to port 53 of its name servers "
                      "(conesocks status lists them)");
    result_user(result, "let this machine look names up, for example by socks5:// instead of socks5h:// in curl");
}

static void say_found(const struct stun_server *server, struct check_result *result)
{
    result_say(result, CHECK_OK, "the proxy looks up %s", server->host);
}

/* Some servers grant every CONNECT, so only an answer shows that the name was found. */
static void say_granted(int fd, const struct stun_server *server, struct check_result *result)
{
    struct stun_message answer;
    bool answered = stun_ask_stream(fd, NULL, clock_ms() + ANSWER_TIMEOUT, &answer);
    close(fd);
    if (answered)
        say_found(server, result);
    else
        result_say(result, CHECK_INFO, "%s: granted, but nothing answers; by its address it works", server->text);
}

static void ask_by_name(const struct check_run *check, const struct stun_server *server, struct check_result *result)
{
    struct proxy_answer answer;
    char text[256];
    const struct socks5_addr destination = {.atyp = SOCKS5_ATYP_NAME,
                                            .host_len = (uint8_t)strlen(server->host),
                                            .host = (const uint8_t *)server->host,
                                            .port = server->port};
    proxy_ask(&answer, &check->proxy, SOCKS5_COMMAND_CONNECT, &destination, 3 * PROXY_TIMEOUT);
    if (answer.outcome == PROXY_GRANTED) {
        say_granted(answer.fd, server, result);
        return;
    }
    uint8_t code = answer.outcome == PROXY_REFUSED ? answer.handshake.code : SOCKS5_REPLY_SUCCEEDED;
    if (code == SOCKS5_REPLY_CONNECTION_REFUSED) { /* by another address of that name, which has thus been found */
        say_found(server, result);
        return;
    }
    result_say(result, CHECK_FAILED, "%s: %s; by its address it works", server->text,
               proxy_answer_explain(&answer, text, sizeof(text)));
    if (code)
        result_data(result, "{s:i}", "code", code);
    explain_names(code, result);
}

void step_names(struct check_run *check, struct check_result *result)
{
    const struct stun_server *server = find_named_server(check);
    if (server)
        ask_by_name(check, server, result);
    else
        result_say(result, CHECK_INFO, "not tested: the test server has no name; try --connect NAME:PORT");
}
