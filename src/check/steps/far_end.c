/* Who is there to talk to? */
#include <netdb.h>
#include <stdio.h>

#include "check/steps/steps.h"

#define STUN_PORT 3478

void step_far_end(struct check *check, int family, struct check_result *result)
{
    (void)family;
    struct far_end *far_end = &check->far_end;
    char host[256];
    uint16_t port = STUN_PORT;
    const char *text = check->options.peer ? check->options.peer : check->options.stun;
    if (!text)
        return; /* the steps that would need one say so */
    const char *wrong = host_port_parse(text, host, &port);
    int error = wrong ? 0 : io_resolve(host, port, &far_end->addresses);
    if (wrong || error) {
        result_say(result, CHECK_FAILED, "%s: %s", text, wrong ? wrong : gai_strerror(error));
        result_fix(result, "name a %s that this machine's resolver knows, or its address",
                   check->options.peer ? "peer" : "STUN server");
        return;
    }
    far_end->kind = check->options.peer ? FAR_END_PEER : FAR_END_STUN;
    far_end->key = check->options.peer ? check->options.key : NULL;
    snprintf(far_end->name, sizeof(far_end->name), "%s", text);
    check->facts |= FACT_FAR_END;
}
