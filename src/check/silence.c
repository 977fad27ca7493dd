#include "check/silence.h"

enum silence_cause silence_judge(const struct silence *s)
{
    if (s->at_proxys_address == SILENCE_ANSWERED)
        return SILENCE_BOUND_ADDRESS;
    if (s->with_our_address == SILENCE_ANSWERED)
        return SILENCE_HINT;
    if (s->forbidden)
        return SILENCE_FORBIDDEN;
    if (s->told_elsewhere || s->no_route)
        return SILENCE_BOUND_ADDRESS;
    if (s->rejected)
        return SILENCE_CLOSED;
    if (s->over_tcp == SILENCE_ANSWERED)
        return SILENCE_WAY_IN;
    bool is_server_up = s->without_proxy == SILENCE_ANSWERED || s->by_tcp == SILENCE_ANSWERED || s->several_servers;
    if (!is_server_up && s->without_proxy == SILENCE_STAYED)
        return SILENCE_SERVER;
    if (is_server_up && s->over_tcp == SILENCE_STAYED)
        return SILENCE_WAY_OUT;
    return SILENCE_EITHER;
}
