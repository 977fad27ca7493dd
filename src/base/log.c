#include "base/log.h"

#include <assert.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log_impl.h"
#include "base/log_output.h"

static atomic_uint threshold = LOG_LEVEL_WARNING;
static atomic_uint written_as = LOG_FORMAT_TEXT;

static const char *const level_names[] = {"error", "warning", "info", "debug"};
static_assert(sizeof(level_names) / sizeof(level_names[0]) == LOG_LEVEL_DEBUG + 1, "one name per level");

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&threshold, level, memory_order_relaxed);
}

void log_set_format(enum log_format format)
{
    atomic_store_explicit(&written_as, format, memory_order_relaxed);
}

bool log_enabled(enum log_level level)
{
    return level <= atomic_load_explicit(&threshold, memory_order_relaxed);
}

const char *log_level_name(enum log_level level)
{
    return level_names[level];
}

const char *log_time(char *text)
{
    struct timespec now;
    struct tm utc;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    size_t used = strftime(text, LOG_TIME_MAX, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(text + used, LOG_TIME_MAX - used, ".%03uZ", (unsigned)(now.tv_nsec / 1000000));
    return text;
}

/* journald, syslog and other readers of lines add the time and the process; a file has no such reader. */
static size_t log_add_prefix(char *line, enum log_level level)
{
    char now[LOG_TIME_MAX];
    int used = 0;
    switch (log_output_target()) {
    case LOG_TARGET_STDERR:
        used = snprintf(line, LOG_LINE_MAX, "%sconesocks: %s: ", log_mark(level), level_names[level]);
        break;
    case LOG_TARGET_SYSLOG:
        break;
    case LOG_TARGET_FILE:
        used = snprintf(line, LOG_LINE_MAX, "%s conesocks[%d]: %s: ", log_time(now), (int)getpid(), level_names[level]);
        break;
    }
    return (size_t)used;
}

size_t log_format_line(char *line, const struct log_record *record)
{
    bool json = atomic_load_explicit(&written_as, memory_order_relaxed) == LOG_FORMAT_JSON;
    size_t mark = json ? (size_t)snprintf(line, LOG_LINE_MAX, "%s", log_mark(record->level)) : 0;
    size_t len = json ? log_json(line + mark, LOG_LINE_MAX - 1 - mark, record) : 0;
    if (len > 0)
        return mark + len;
    len = log_add_prefix(line, record->level);
    return len + log_text(line + len, LOG_LINE_MAX - 1 - len, record);
}

void log_record(const struct log_record *record)
{
    char line[LOG_LINE_MAX];
    log_output(record->level, line, log_format_line(line, record));
}

__attribute__((format(printf, 4, 0))) static void log_message(enum log_level level, const char *module,
                                                              uint32_t suppressed, const char *format, va_list args)
{
    char message[1024];
    const struct log_record record = {.level = level, .module = module, .message = message, .suppressed = suppressed};
    if (vsnprintf(message, sizeof(message), format, args) >= 0)
        log_record(&record);
}

void log_line(enum log_level level, const char *module, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    log_message(level, module, 0, format, args);
    va_end(args);
}

void log_limited_line(enum log_level level, const char *module, uint32_t suppressed, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    log_message(level, module, suppressed, format, args);
    va_end(args);
}

bool log_limit_pass(struct log_limit *limit, uint64_t now_ms, uint32_t *suppressed)
{
    uint64_t second = now_ms / 1000;
    if (second != limit->second) {
        limit->second = second;
        limit->written = 0;
    }
    if (limit->written >= LOG_BURST) {
        limit->suppressed++;
        return false;
    }
    limit->written++;
    *suppressed = limit->suppressed;
    limit->suppressed = 0;
    return true;
}
