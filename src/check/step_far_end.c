/* Who is there to talk to? */
#include <netdb.h>
#include <stdio.h>

#include "check/step.h"

#define STUN_PORT 3478

void step_far_end(struct check *check, int family, struct check_result *result)
{
    (void)family;
    struct far_end *far_end = &check->far_end;
    char host[256];
    uint16_t port = STUN_PORT;
    if (!check->options.stun)
        return; /* the steps that would need one say so */
    const char *wrong = host_port_parse(check->options.stun, host, &port);
    int error = wrong ? 0 : io_resolve(host, port, &far_end->addresses);
    if (wrong || error) {
        result_say(result, CHECK_FAILED, "%s: %s", check->options.stun, wrong ? wrong : gai_strerror(error));
        result_fix(result, "name a STUN server that this machine's resolver knows, or its address");
        return;
    }
    far_end->kind = FAR_END_STUN;
    snprintf(far_end->name, sizeof(far_end->name), "%s", check->options.stun);
    check->facts |= FACT_FAR_END;
}
