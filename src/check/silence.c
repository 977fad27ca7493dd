#include "check/silence.h"

/* The proxy has the datagram, and no answer comes back from beyond it. */
static enum silence_cause judge_beyond(const struct silence *s)
{
    if (s->without_proxy == SILENCE_ANSWERED || s->by_tcp == SILENCE_ANSWERED || s->several_servers || s->unroutable)
        return SILENCE_WAY_OUT;
    return s->without_proxy == SILENCE_STAYED ? SILENCE_SERVER : SILENCE_BEYOND;
}

enum silence_cause silence_judge(const struct silence *s)
{
    bool has_answered = s->by_tcp == SILENCE_ANSWERED || s->over_tcp == SILENCE_ANSWERED;
    bool is_server_down = s->without_proxy == SILENCE_STAYED && !has_answered && !s->several_servers;
    if (s->at_proxys_address == SILENCE_ANSWERED)
        return SILENCE_BOUND_ADDRESS;
    if (s->with_our_address == SILENCE_ANSWERED)
        return SILENCE_HINT;
    if (s->forbidden)
        return SILENCE_FORBIDDEN;
    if (s->told_elsewhere || s->no_route)
        return SILENCE_BOUND_ADDRESS;
    if (s->ended || (s->rejected && s->relay_is_open))
        return is_server_down ? SILENCE_SERVER : SILENCE_FORWARD;
    if (s->rejected)
        return SILENCE_CLOSED;
    if (s->over_tcp == SILENCE_ANSWERED)
        return SILENCE_WAY_IN;
    if (s->over_tcp == SILENCE_STAYED)
        return judge_beyond(s);
    return s->unroutable ? SILENCE_WAY_OUT : is_server_down ? SILENCE_SERVER : SILENCE_EITHER;
}
