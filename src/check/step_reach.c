/* Is there a way to the proxy, and does it let us in? */
#include <errno.h>
#include <netdb.h>
#include <string.h>
#include <unistd.h>

#include "check/step.h"

void step_name(struct check *check, int family, struct check_result *result)
{
    (void)family;
    union netaddr literal;
    int error = io_resolve(check->url.host, check->url.port, &check->proxy_addresses);
    if (error) {
        result_say(result, CHECK_FAILED, "%s: %s", check->url.host, gai_strerror(error));
        result_cause(result, "the name is wrong, or this machine's resolver does not know it");
        result_fix(result, "try the proxy's address in place of its name");
        return;
    }
    check->facts |= FACT_ADDRESS;
    char text[IO_ADDRESSES_MAX * (NETADDR_TEXT_MAX + 2)] = "", one[NETADDR_TEXT_MAX];
    for (size_t i = 0; i < check->proxy_addresses.count; i++) {
        strcat(text, i ? ", " : "");
        strcat(text, netaddr_format_host(&check->proxy_addresses.list[i], one));
    }
    if (!netaddr_parse(&literal, check->url.host, 0))
        result_say(result, CHECK_OK, "%s is %s", check->url.host, text);
}

void step_tcp(struct check *check, int family, struct check_result *result)
{
    (void)family;
    char text[NETADDR_TEXT_MAX];
    const struct io_addresses *all = &check->proxy_addresses;
    int error = 0;
    for (size_t i = 0; i < all->count; i++) {
        int fd = io_dial(&all->list[i], clock_ms() + CHECK_TCP_TIMEOUT);
        if (fd < 0) {
            error = -fd;
            continue;
        }
        close(fd);
        check->proxy = all->list[i];
        check->facts |= FACT_REACHED;
        result_say(result, CHECK_OK, "%s takes connections", netaddr_format(&check->proxy, text));
        return;
    }
    result_say(result, CHECK_FAILED, "%s: %s", netaddr_format(&all->list[0], text), strerror(error));
}

void step_login(struct check *check, int family, struct check_result *result)
{
    (void)family;
    char text[256];
    const struct negotiation *n = &check->association.negotiation;
    bool usable =
        association_open(&check->association, &check->url, &check->proxy, NULL, clock_ms() + CHECK_TCP_TIMEOUT);
    if (n->end == NEGOTIATION_GRANTED || n->end == NEGOTIATION_REFUSED) {
        check->facts |= FACT_LOGGED_IN | (usable ? FACT_ASSOCIATED : 0);
        result_say(result, CHECK_OK, "it lets us in");
    } else {
        result_say(result, CHECK_FAILED, "%s", negotiation_explain(n, text, sizeof(text)));
    }
}
