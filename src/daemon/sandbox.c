#include "daemon/sandbox.h"

#include <errno.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#define LOG_MODULE "sandbox"
#include "base/log.h"
#include "conf/config.h"
#include "daemon/sandbox_impl.h"

static bool sandbox_set(int option, unsigned long value, const char *name)
{
    if (prctl(option, value, 0UL, 0UL, 0UL) == 0)
        return true;
    log_error("prctl %s: %s: the kernel is too old, or the parent process forbids it", name, strerror(errno));
    return false;
}

bool sandbox_enter(const struct config *config, const char *config_path, bool kernel_path)
{
    const char *const reread[] = {config_path, config->users_file};
    const char *const log = config->log.target == LOG_TARGET_FILE ? config->log.file : NULL;
    tzset(); /* syslog(3) needs the time zone, whose file is out of reach later */
    if (!sandbox_user(config) || !sandbox_set(PR_SET_NO_NEW_PRIVS, 1, "PR_SET_NO_NEW_PRIVS"))
        return false;
    if (SANDBOX_SANITIZED) {
        log_info("built with a sanitizer: files and system calls are not restricted");
        return sandbox_set(PR_SET_DUMPABLE, 1, "PR_SET_DUMPABLE"); /* the change of the user cleared it */
    }
    if (config->run.sandbox == CONFIG_SANDBOX_OFF) {
        log_warning("run.sandbox is off: files and system calls are not restricted");
        return true;
    }
    return sandbox_set(PR_SET_DUMPABLE, 0, "PR_SET_DUMPABLE") && sandbox_files(reread, 2, log) &&
           sandbox_calls(kernel_path);
}
