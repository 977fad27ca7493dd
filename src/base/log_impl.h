/* From what is said to the line that is written: log.c makes it of log_text.c's or log_json.c's, for log_output.c. */
#ifndef CONESOCKS_BASE_LOG_IMPL_H
#define CONESOCKS_BASE_LOG_IMPL_H

#include "base/log.h"

/* With its newline. No more than PIPE_BUF: a pipe takes such a line whole or not at all. */
#define LOG_LINE_MAX 4096
#define LOG_TIME_MAX 32

const char *log_level_name(enum log_level level);
const char *log_time(char *text); /* now, as RFC 3339 has it, in UTC */

/* Each fills `line` (LOG_LINE_MAX), without a newline, for which there is room. Returns its length. */
size_t log_format_line(char *line, const struct log_record *record);
size_t log_text(char *line, size_t size, const struct log_record *record);
/* 0: no memory. */
size_t log_json(char *line, size_t size, const struct log_record *record);

enum log_target log_output_target(void);
/* From any thread; `line` has room for a newline. */
void log_output(enum log_level level, char *line, size_t len);

#endif
