#include "conf/config.h"

#include <stdlib.h>
#include <string.h>

#include "conf/check.h"
#include "conf/consistent.h"
#include "conf/document.h"
#include "conf/raw.h"
#include "conf/report.h"

/* A checked document, or NULL for the defaults, becomes a configuration. */
static struct config *build(yaml_document_t *document, const char *text, size_t size, struct report *report)
{
    struct config *config = calloc(1, sizeof(*config));
    const char *failed = config ? raw_load(config, text, size) : "out of memory";
    if (failed)
        report_error(report, (struct place){0}, NULL, "cannot be loaded: %s", failed);
    else if (consistent_check(config, document, report))
        return config;
    config_free(config);
    return NULL;
}

static struct config *parse(const char *text, size_t size, struct report *report)
{
    struct config *config = NULL;
    yaml_document_t document;
    if (!document_parse(&document, text, size, report))
        return NULL;
    if (check_document(&document, report))
        config = build(&document, text, size, report);
    yaml_document_delete(&document);
    return config;
}

static struct config *no_memory(char **errors, char **warnings)
{
    *errors = strdup("out of memory\n");
    *warnings = NULL;
    return NULL;
}

struct config *config_parse(const char *name, const char *text, size_t size, char **errors, char **warnings)
{
    struct report report;
    if (!report_init(&report, name))
        return no_memory(errors, warnings);
    struct config *config = parse(text, size, &report);
    report_finish(&report, errors, warnings);
    return config;
}

struct config *config_load(const char *path, char **errors, char **warnings)
{
    struct report report;
    struct config *config = NULL;
    if (!report_init(&report, path ? path : "built-in default"))
        return no_memory(errors, warnings);
    if (path) {
        size_t size;
        char *text = document_read(path, &size, &report);
        if (text)
            config = parse(text, size, &report);
        free(text);
    } else {
        config = build(NULL, NULL, 0, &report);
    }
    report_finish(&report, errors, warnings);
    return config;
}

void config_free(struct config *config)
{
    if (!config)
        return;
    raw_deinit(config);
    free(config);
}

void config_dump(const struct config *config, FILE *out, bool secrets)
{
    char *text = raw_save(config, secrets);
    if (text)
        fputs(text, out);
    free(text);
}

bool config_equal(const struct config *a, const struct config *b)
{
    /* The dump shows every option, each in its one spelling. */
    char *text_a = raw_save(a, true), *text_b = raw_save(b, true);
    bool equal = text_a && text_b && strcmp(text_a, text_b) == 0;
    free(text_a);
    free(text_b);
    return equal;
}
