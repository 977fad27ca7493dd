#define LOG_MODULE "sandbox"
#include "base/log.h"
#include "daemon/sandbox_impl.h"

bool sandbox_calls(void)
{
    log_warning("built without libseccomp: system calls are not restricted");
    return true;
}
