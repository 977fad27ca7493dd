/* What the files of the log share: log.c takes a record, log_text.c or log_json.c formats it, log_output.c writes it.
 */
#ifndef CONESOCKS_BASE_LOG_IMPL_H
#define CONESOCKS_BASE_LOG_IMPL_H

#include "base/log.h"

/* With its newline. No more than PIPE_BUF: a pipe takes such a line whole or not at all. */
#define LOG_LINE_MAX 4096
#define LOG_TIME_MAX 32

const char *log_level_name(enum log_level level);
const char *log_time(char *text); /* the time now in UTC, as in RFC 3339 */

/* Each writes a line without a newline, and leaves room for one. Returns its length. `line` has LOG_LINE_MAX bytes. */
size_t log_format_line(char *line, const struct log_record *record);
size_t log_text(char *line, size_t size, const struct log_record *record);
/* 0: no memory. */
size_t log_json(char *line, size_t size, const struct log_record *record);

enum log_target log_output_target(void);
/* From any thread; `line` has room for a newline. */
void log_output(enum log_level level, char *line, size_t len);

#endif
