#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

static atomic_uint threshold = LOG_LEVEL_WARNING;
static enum log_target where = LOG_TARGET_STDERR;

static const char *const level_names[] = {"error", "warning", "info", "debug"};
static const int level_priorities[] = {LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG};
_Static_assert(sizeof(level_names) / sizeof(level_names[0]) == LOG_LEVEL_DEBUG + 1, "one name per level");
_Static_assert(sizeof(level_priorities) / sizeof(level_priorities[0]) == LOG_LEVEL_DEBUG + 1, "one priority per level");

void log_init(enum log_level level, enum log_target target)
{
    log_set_level(level);
    where = target;
    if (target == LOG_TARGET_SYSLOG)
        openlog("conesocks", LOG_PID | LOG_NDELAY, LOG_DAEMON);
}

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&threshold, level, memory_order_relaxed);
}

bool log_enabled(enum log_level level)
{
    return level <= atomic_load_explicit(&threshold, memory_order_relaxed);
}

/* Length of the well-formed UTF-8 sequence at `in` (RFC 3629), or 0. */
static size_t utf8_sequence(const unsigned char *in, size_t len)
{
    size_t need = in[0] >= 0xf0 ? 4 : in[0] >= 0xe0 ? 3 : 2;
    if (in[0] < 0xc2 || in[0] > 0xf4 || len < need)
        return 0;
    for (size_t i = 1; i < need; i++)
        if ((in[i] & 0xc0) != 0x80)
            return 0;
    bool overlong = (in[0] == 0xe0 && in[1] < 0xa0) || (in[0] == 0xf0 && in[1] < 0x90);
    bool surrogate = in[0] == 0xed && in[1] > 0x9f;
    bool beyond = in[0] == 0xf4 && in[1] > 0x8f;
    bool c1_control = in[0] == 0xc2 && in[1] < 0xa0;
    return overlong || surrogate || beyond || c1_control ? 0 : need;
}

size_t log_escape(char *out, size_t out_size, const char *in, size_t in_len)
{
    const unsigned char *bytes = (const unsigned char *)in;
    size_t used = 0;
    for (size_t i = 0; i < in_len;) {
        bool plain = bytes[i] >= 0x20 && bytes[i] < 0x7f && bytes[i] != '\\';
        size_t take = plain ? 1 : bytes[i] >= 0x80 ? utf8_sequence(bytes + i, in_len - i) : 0;
        size_t room = take ? take : 4;
        if (used + room >= out_size)
            break;
        if (take)
            memcpy(out + used, bytes + i, take);
        else
            snprintf(out + used, out_size - used, "\\x%02x", bytes[i]);
        used += room;
        i += take ? take : 1;
    }
    out[used] = '\0';
    return used;
}

void log_line(enum log_level level, const char *module, const char *format, ...)
{
    char raw[1024], line[4096];
    va_list args;
    va_start(args, format);
    int raw_len = vsnprintf(raw, sizeof(raw), format, args);
    va_end(args);
    if (raw_len < 0)
        return;
    size_t len = (size_t)raw_len < sizeof(raw) ? (size_t)raw_len : sizeof(raw) - 1;
    if (where == LOG_TARGET_SYSLOG) {
        log_escape(line, sizeof(line), raw, len);
        syslog(level_priorities[level], "%s: %s", module, line);
        return;
    }
    int prefix = snprintf(line, sizeof(line), "conesocks: %s: %s: ", level_names[level], module);
    size_t used = (size_t)prefix;
    used += log_escape(line + used, sizeof(line) - used - 1, raw, len);
    line[used++] = '\n';
    /* One write: lines of several threads do not mix. A log that cannot be written must not stop the proxy. */
    ssize_t ignored = write(STDERR_FILENO, line, used);
    (void)ignored;
}

bool log_limit_pass(struct log_limit *limit, uint64_t now_ms, uint32_t *held_back)
{
    uint64_t second = now_ms / 1000;
    if (second != limit->second) {
        limit->second = second;
        limit->said = 0;
    }
    if (limit->said >= LOG_BURST) {
        limit->held_back++;
        return false;
    }
    limit->said++;
    *held_back = limit->held_back;
    limit->held_back = 0;
    return true;
}
