#include "daemon/kernel_start.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <string.h>

#define LOG_MODULE "kernel"
#include "base/log.h"
#include "conf/config.h"
#include "kernel/route_watch.h"
#include "policy/rules.h"
#include "policy/terms.h"
#include "proxy/assoc/kernel_reason.h"

#define KEPT_IN_USER_SPACE                                                                                             \
    "udp.kernel_path: an association stays in user space, unless its user or a rule sets that otherwise: %s"

static const struct timeval timer_period = {.tv_sec = 1};

/* The capabilities to attach to another interface are gone. */
static void kernel_start_note_missing(struct kernel_start *start)
{
    char missing[KERNEL_PATH_TEXT_MAX];
    kernel_path_missing(start->path, missing);
    if (missing[0] && strcmp(missing, start->missing) != 0)
        log_info("the kernel path is not active on interfaces that came after the start: %s. User space relays their "
                 "datagrams; restart conesocks to change that",
                 missing);
    memcpy(start->missing, missing, sizeof(missing));
}

static void kernel_start_on_change(void *arg)
{
    struct kernel_start *start = arg;
    kernel_path_revoke(start->path);
    kernel_start_note_missing(start);
}

/* The program has seen it, and acts by itself: this is for the operator. */
static void kernel_start_on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct kernel_start *start = arg;
    const char *why = kernel_path_why_paused(start->path);
    if (why && !start->why_paused)
        log_warning("the kernel path pauses: %s. User space relays all datagrams", why);
    else if (!why && start->why_paused)
        log_info("the kernel path is active again");
    start->why_paused = why;
}

static bool kernel_start_try(struct kernel_start *start, struct event_base *base)
{
    start->path = kernel_path_open(start->why);
    if (!start->path)
        return false;
    start->watch = route_watch_new(base, kernel_start_on_change, start);
    if (!start->watch)
        snprintf(start->why, sizeof(start->why), "cannot follow changes of routes: %s", strerror(errno));
    event_assign(&start->timer, base, -1, EV_PERSIST, kernel_start_on_timer, start);
    event_add(&start->timer, &timer_period);
    return start->watch;
}

/* What keeps in user space each association whose user and rule do not set it otherwise; NULL: nothing. */
static const char *kernel_start_obstacle(const struct config *config)
{
    const union netaddr any = {.v4.sin_family = AF_INET}, unknown = {0};
    const struct terms_holder anybody = {.rule = RULES_NO_MATCH, .client = &any, .local = &unknown};
    const struct terms terms = terms_find(config, &anybody);
    const enum kernel_reason reason = kernel_reason_of(config, &terms);
    return reason == KERNEL_REASON_NONE ? NULL : kernel_reason_meaning(reason);
}

void kernel_start_open(struct kernel_start *start, const struct config *config, struct event_base *base)
{
    struct kernel_path_view view;
    *start = (struct kernel_start){.why = "udp.kernel_path is off"};
    if (config->udp.kernel_path == CONFIG_KERNEL_PATH_OFF)
        return;
    if (!kernel_start_try(start, base)) {
        log_warning("no kernel path (udp.kernel_path): %s. User space relays all datagrams", start->why);
        kernel_start_close(start);
        return;
    }
    kernel_path_view(start->path, &view);
    log_info("the kernel path is active on %s (udp.kernel_path): established UDP flows bypass the packet filter",
             view.interfaces);
    if (kernel_start_obstacle(config))
        log_warning(KEPT_IN_USER_SPACE, kernel_start_obstacle(config));
}

void kernel_start_close(struct kernel_start *start)
{
    if (start->path)
        event_del(&start->timer);
    route_watch_free(start->watch);
    kernel_path_close(start->path);
    start->watch = NULL;
    start->path = NULL;
}

void kernel_start_test(const struct config *config, const char *file)
{
    char why[KERNEL_PATH_TEXT_MAX];
    if (config->udp.kernel_path == CONFIG_KERNEL_PATH_OFF)
        return;
    struct kernel_path *path = kernel_path_open(why);
    if (!path) {
        fprintf(stderr, "%s: warning: udp.kernel_path: no kernel path: %s; user space would relay all datagrams\n",
                file, why);
        return;
    }
    struct kernel_path_view view;
    kernel_path_view(path, &view);
    kernel_path_close(path);
    fprintf(stderr, "%s: udp.kernel_path: the kernel path would be active on %s\n", file, view.interfaces);
    if (kernel_start_obstacle(config))
        fprintf(stderr, "%s: warning: " KEPT_IN_USER_SPACE "\n", file, kernel_start_obstacle(config));
}
