#include "check/summary.h"

#include <stdbool.h>
#include <string.h>

struct summary {
    const char **sentences;
    size_t count;
};

static void summary_add(struct summary *summary, const struct check_result *result)
{
    for (size_t i = 0; i < summary->count; i++)
        if (strcmp(summary->sentences[i], result->means) == 0)
            return;
    if (summary->count < SUMMARY_MAX)
        summary->sentences[summary->count++] = result->means;
}

static void add_status(struct summary *summary, const struct check_result *results, size_t count,
                       enum check_status status, size_t most)
{
    for (size_t i = 0; i < count && summary->count < most; i++)
        if (results[i].means && results[i].status == status)
            summary_add(summary, &results[i]);
}

static void add_headlines(struct summary *summary, const struct check_result *results, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (results[i].means && results[i].is_headline)
            summary_add(summary, &results[i]);
}

size_t summary_choose(const struct check_result *results, size_t count, const char *sentences[SUMMARY_MAX])
{
    struct summary summary = {.sentences = sentences};
    add_status(&summary, results, count, CHECK_FAILED, 1);
    add_status(&summary, results, count, CHECK_WARNING, 1);
    add_headlines(&summary, results, count);
    add_status(&summary, results, count, CHECK_FAILED, SUMMARY_MAX);
    add_status(&summary, results, count, CHECK_WARNING, SUMMARY_MAX);
    return summary.count;
}
