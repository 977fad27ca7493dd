#include "check/report.h"

#include <assert.h>
#include <ctype.h>
#include <langinfo.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "check/summary.h"

/* What stands before a text: the mark, and a title of this width. */
#define TITLE_WIDTH  16
#define INDENT       (4 + TITLE_WIDTH)
#define SUMMARY_SIZE 1024

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

static const struct {
    const char *unicode, *ascii, *colour;
} marks[] = {
    [CHECK_OK] = {"✓", "+", "\033[32m"},      [CHECK_INFO] = {"·", ".", ""},           [CHECK_SKIPPED] = {"–", "-", ""},
    [CHECK_WARNING] = {"!", "!", "\033[33m"}, [CHECK_FAILED] = {"✗", "x", "\033[31m"},
};
static_assert(ARRAY_LEN(marks) == CHECK_STATUSES, "each has a mark");

/* A copy of a text that may come from elsewhere, without a byte that commands a terminal or is no UTF-8. Or NULL. */
static char *clean_copy(const char *text)
{
    size_t size = strlen(text) * 4 + 1;
    char *clean = malloc(size);
    if (clean)
        log_escape(clean, size, text, size / 4);
    return clean;
}

/* Prints a text that begins at `column`, and breaks its lines between words. */
static void print_text(FILE *out, const struct report_style *style, const char *text, int column)
{
    char *clean = clean_copy(text);
    if (!clean)
        return;
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

/* A good result takes one line here; JSON contains all of it. */
static void print_details(FILE *out, const struct report_style *style, const struct check_result *result)
{
    bool same = result->owner && result->user && strcmp(result->owner, result->user) == 0;
    if (result->status != CHECK_OK)
        print_advice(out, style, "means:", result->means);
    print_advice(out, style, "cause:", result->cause);
    print_advice(out, style, same ? "fix:" : "owner:", result->owner);
    if (!same)
        print_advice(out, style, "user:", result->user);
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
    assert(result->status < CHECK_STATUSES);
    fprintf(out, "  %s%s%s %-*s", style->colour ? marks[result->status].colour : "",
            style->unicode ? marks[result->status].unicode : marks[result->status].ascii, style->colour ? "\033[m" : "",
            TITLE_WIDTH, result->title);
    print_text(out, style, result->found, INDENT);
    print_details(out, style, result);
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

/* Text from elsewhere may be no UTF-8, which JSON cannot contain. */
static json_t *json_text(const char *text)
{
    json_t *value = text ? json_string(text) : NULL;
    if (text && !value) {
        char *clean = clean_copy(text);
        value = clean ? json_string(clean) : NULL;
        free(clean);
    }
    return value ? value : json_null();
}

static json_t *result_as_json(const struct check_result *result)
{
    return json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:O*}", "id", result->id, "title", result->title,
                     "status", check_status_name(result->status), "found", json_text(result->found), "means",
                     json_text(result->means), "cause", json_text(result->cause), "owner", json_text(result->owner),
                     "user", json_text(result->user), "data", result->data);
}

static const char *const verdicts[] = {
    [CHECK_ALL_WELL] = "everything works",
    [CHECK_WRONG] = "something is wrong",
    [CHECK_UNKNOWN] = "no problem found, but some tests could not run",
};

/* "Result: something is wrong. Moderate: you can join most games." */
static void print_verdict(FILE *out, const struct report_style *style, int verdict, const char *means)
{
    char text[SUMMARY_SIZE + 64];
    snprintf(text, sizeof(text), "Result: %s.%s%s", verdicts[verdict], means[0] ? " " : "", means);
    fputc('\n', out);
    print_text(out, style, text, 0);
}

/* The sentences of the summary as one text. */
static void write_summary(char text[SUMMARY_SIZE], const struct check_result *results, size_t count)
{
    const char *sentences[SUMMARY_MAX];
    size_t chosen = summary_choose(results, count, sentences);
    text[0] = '\0';
    for (size_t i = 0; i < chosen; i++) {
        size_t used = strlen(text);
        snprintf(text + used, SUMMARY_SIZE - used, "%s%c%s.", i ? " " : "", toupper(sentences[i][0]), sentences[i] + 1);
    }
}

void report_end(FILE *out, const struct report_style *style, const struct check_result *results, size_t count,
                json_t *head)
{
    int verdict = report_verdict(results, count);
    char means[SUMMARY_SIZE];
    write_summary(means, results, count);
    if (style->json) {
        json_t *steps = json_array();
        for (size_t i = 0; i < count; i++)
            if (results[i].found)
                json_array_append_new(steps, result_as_json(&results[i]));
        json_object_set_new(head, "steps", steps);
        json_object_set_new(head, "exit_status", json_integer(verdict));
        json_object_set_new(head, "verdict", json_string(verdicts[verdict]));
        json_object_set_new(head, "means", json_text(means));
        json_dumpf(head, out, JSON_INDENT(2) | JSON_REAL_PRECISION(6) | JSON_ENSURE_ASCII);
        fputc('\n', out);
    } else {
        print_verdict(out, style, verdict, means);
    }
    json_decref(head);
}
