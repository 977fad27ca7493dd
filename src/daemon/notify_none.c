/* For builds without libsystemd: there is no service manager. */
#include "daemon/notify.h"

bool notify_is_heard(void)
{
    return false;
}

void notify_ready(void)
{
}

void notify_reloading(void)
{
}

void notify_stopping(uint64_t within_ms)
{
    (void)within_ms;
}

void notify_status(const char *text)
{
    (void)text;
}

uint64_t notify_watchdog_ms(void)
{
    return 0;
}

void notify_alive(void)
{
}

int notify_sockets(int *first)
{
    *first = 0;
    return 0;
}
