#include "check/granted.h"

enum granted_verdict granted_judge(const struct granted *g)
{
    if (g->answered)
        return GRANTED_ANSWERED;
    if (g->grants_all && g->ended)
        return GRANTED_NOBODY;
    if (g->must_answer)
        return GRANTED_WRONG_PLACE;
    return g->grants_all ? GRANTED_UNPROVEN : GRANTED_CONNECTED;
}
