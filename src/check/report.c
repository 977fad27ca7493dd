#include "check/report.h"

#include <langinfo.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/log.h"
#include "check/check.h"

/* What stands before a text: the mark, and a title of this width. */
#define TITLE_WIDTH 16
#define INDENT      (4 + TITLE_WIDTH)

struct report_style report_style_for(FILE *out, bool json)
{
    struct report_style style = {.json = json};
    struct winsize size = {0};
    const char *term = getenv("TERM"), *no_colour = getenv("NO_COLOR");
    setlocale(LC_CTYPE, "");
    style.unicode = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
    if (json || !isatty(fileno(out)) || !term || strcmp(term, "dumb") == 0)
        return style;
    style.live = true;
    style.colour = !no_colour || !*no_colour;
    bool known = ioctl(fileno(out), TIOCGWINSZ, &size) == 0 && size.ws_col >= 2 * INDENT;
    style.width = !known ? 80 : size.ws_col < 100 ? size.ws_col : 100;
    return style;
}

static const char *mark_of(const struct report_style *style, enum check_status status)
{
    static const char *const unicode[] = {"✓", "·", "–", "!", "✗"};
    static const char *const ascii[] = {"+", ".", "-", "!", "x"};
    return style->unicode ? unicode[status] : ascii[status];
}

static const char *colour_of(const struct report_style *style, enum check_status status)
{
    static const char *const colours[] = {"\033[32m", "", "", "\033[33m", "\033[31m"};
    return style->colour ? colours[status] : "";
}

/* Prints a text that begins at `column`, by words, with further lines below it; no byte of it commands the terminal. */
static void print_text(FILE *out, const struct report_style *style, const char *text, int column)
{
    size_t size = strlen(text) * 4 + 1;
    char *clean = malloc(size);
    if (!clean)
        return;
    log_escape(clean, size, text, size / 4);
    int at = column;
    char *rest = NULL;
    for (char *word = strtok_r(clean, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
        int len = (int)strlen(word); /* of bytes: words of other scripts may be cut off early, none too late */
        if (style->width && at > column && at + 1 + len > style->width) {
            fprintf(out, "\n%*s", column, "");
            at = column;
        }
        at += fprintf(out, at > column ? " %s" : "%s", word);
    }
    fputc('\n', out);
    free(clean);
}

static void print_advice(FILE *out, const struct report_style *style, const char *label, const char *text)
{
    if (text) {
        fprintf(out, "%*s%-7s", INDENT, "", label);
        print_text(out, style, text, INDENT + 7);
    }
}

void report_step_begins(FILE *out, const struct report_style *style, const char *title)
{
    if (style->live) {
        fprintf(out, "  %s %-*s", style->unicode ? "…" : "~", TITLE_WIDTH, title);
        fflush(out);
    }
}

void report_step_ends(FILE *out, const struct report_style *style, const struct check_result *result)
{
    if (style->live)
        fputs("\r\033[K", out);
    if (style->json || !result->found)
        return;
    fprintf(out, "  %s%s%s %-*s", colour_of(style, result->status), mark_of(style, result->status),
            style->colour ? "\033[m" : "", TITLE_WIDTH, result->title);
    print_text(out, style, result->found, INDENT);
    print_advice(out, style, "cause:", result->cause);
    print_advice(out, style, "fix:", result->fix);
    fflush(out);
}

int report_verdict(const struct check_result *results, size_t count)
{
    int verdict = CHECK_ALL_WELL;
    for (size_t i = 0; i < count; i++) {
        if (results[i].status == CHECK_FAILED || results[i].status == CHECK_WARNING)
            return CHECK_WRONG;
        if (results[i].status == CHECK_SKIPPED)
            verdict = CHECK_UNKNOWN;
    }
    return verdict;
}

/* Text from elsewhere may be no UTF-8, which JSON cannot say. */
static json_t *json_text(const char *text)
{
    json_t *value = json_string(text);
    if (value)
        return value;
    size_t size = strlen(text) * 4 + 1;
    char *clean = malloc(size);
    if (clean) {
        log_escape(clean, size, text, size / 4);
        value = json_string(clean);
    }
    free(clean);
    return value ? value : json_null();
}

static json_t *json_of(const struct check_result *result)
{
    json_t *step = json_pack("{s:s, s:s, s:s, s:o}", "id", result->id, "title", result->title, "status",
                             check_status_name(result->status), "found", json_text(result->found));
    json_object_set_new(step, "cause", result->cause ? json_text(result->cause) : json_null());
    json_object_set_new(step, "fix", result->fix ? json_text(result->fix) : json_null());
    if (result->data)
        json_object_set(step, "data", result->data);
    return step;
}

static const char *const verdicts[] = {
    [CHECK_ALL_WELL] = "all is well",
    [CHECK_WRONG] = "something is wrong",
    [CHECK_UNKNOWN] = "nothing is wrong as far as could be seen, but not all could be found out",
};

void report_end(FILE *out, const struct report_style *style, const struct check_result *results, size_t count,
                json_t *head)
{
    int verdict = report_verdict(results, count);
    if (style->json) {
        json_t *steps = json_array();
        for (size_t i = 0; i < count; i++)
            if (results[i].found)
                json_array_append_new(steps, json_of(&results[i]));
        json_object_set_new(head, "steps", steps);
        json_object_set_new(head, "exit_status", json_integer(verdict));
        json_object_set_new(head, "verdict", json_string(verdicts[verdict]));
        json_dumpf(head, out, JSON_INDENT(2) | JSON_REAL_PRECISION(6) | JSON_ENSURE_ASCII);
        fputc('\n', out);
    } else {
        fprintf(out, "\nIn all: %s.\n", verdicts[verdict]);
    }
    json_decref(head);
}
