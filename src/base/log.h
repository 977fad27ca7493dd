/*
 * Levelled log lines, as text or as JSON. Nothing is formatted when the level is off. Control bytes, backslashes and
 * bytes that are not UTF-8 leave as \xNN, so that one call is one line whatever a client sent.
 *
 * Each .c that logs defines LOG_MODULE before it includes this. Any thread may log. Where lines go: log_output.h.
 */
#ifndef CONESOCKS_BASE_LOG_H
#define CONESOCKS_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

union netaddr;

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };
enum log_target { LOG_TARGET_STDERR, LOG_TARGET_SYSLOG, LOG_TARGET_FILE };

/* From any thread, at any time. Before that: warnings and errors, as text. */
void log_set_level(enum log_level level);
void log_set_format(enum log_format format);
bool log_enabled(enum log_level level);
void log_line(enum log_level level, const char *module, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* ---- lines with fields ---- */

enum log_type {
    LOG_TEXT,     /* in quotes, as text, when it could be taken for another field; NULL: there is none */
    LOG_SENTENCE, /* always in quotes */
    LOG_NUMBER,
    LOG_SECONDS, /* `number` milliseconds */
    LOG_ADDRESS, /* NULL, or of no family: there is none */
};

struct log_field {
    const char *group; /* NULL, or what it is a part of: group_key=value, "group": {"key": value} */
    const char *key;
    enum log_type type;
    union {
        const char *text;
        uint64_t number;
        const union netaddr *address;
    };
};

/* In text: the fields, or the message when there are none. In JSON: both. */
struct log_record {
    enum log_level level;
    const char *module, *message;
    const struct log_field *fields; /* those of a group side by side */
    size_t field_count;
    uint32_t suppressed; /* similar lines before it that were not written */
};
void log_record(const struct log_record *record);

/* ---- lines that a stranger can cause ---- */

/*
 * At most LOG_BURST lines a second for each limit; the next line that passes ends with "(7 similar lines suppressed)".
 * `now_ms` is monotonic.
 */
#define LOG_BURST 5
struct log_limit {
    uint64_t second;
    uint32_t written;
    uint32_t suppressed;
};

/* LOG_LIMITED(limit, now_ms, level, format, ...): the arguments are evaluated only when the line is written. */
#define LOG_LIMITED(limit, now_ms, level, ...)                                                                         \
    do {                                                                                                               \
        uint32_t log_suppressed_;                                                                                      \
        if (log_enabled(level) && log_limit_pass(limit, now_ms, &log_suppressed_))                                     \
            log_limited_line(level, LOG_MODULE, log_suppressed_, __VA_ARGS__);                                         \
    } while (0)

/* For a line that takes some work to prepare: ask first, then write it with the number of lines suppressed before. */
bool log_limit_pass(struct log_limit *limit, uint64_t now_ms, uint32_t *suppressed);
void log_limited_line(enum log_level level, const char *module, uint32_t suppressed, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Copies `in` to `out` (out_size > 0, always ended by NUL), escaping as above; cut at a whole escape when it is full.
 */
size_t log_escape(char *out, size_t out_size, const char *in, size_t in_len);

#define LOG_AT(level, ...)                                                                                             \
    do {                                                                                                               \
        if (log_enabled(level))                                                                                        \
            log_line(level, LOG_MODULE, __VA_ARGS__);                                                                  \
    } while (0)

#define log_error(...)   LOG_AT(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) LOG_AT(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...)    LOG_AT(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)   LOG_AT(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
