#include "check/step.h"

#include "base/util.h"

bool wants_proxy(const struct check *check)
{
    return check->options.proxy || !check->options.direct;
}

const struct check_step check_steps[] = {
    {"name", "Name", 0, wants_proxy, step_name, 0},
    {"tcp", "TCP", FACT_ADDRESS, wants_proxy, step_tcp, 0},
    {"login", "Login", FACT_REACHED, wants_proxy, step_login, 0},
};

const size_t check_step_count = ARRAY_LEN(check_steps);
