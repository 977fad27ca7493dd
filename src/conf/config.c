#include "conf/config.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "conf/consistent.h"
#include "conf/document.h"
#include "conf/present.h"
#include "conf/raw.h"
#include "conf/report.h"
#include "conf/schema_check.h"
#include "conf/users_file.h"

static bool config_check(struct config *config, yaml_document_t *document, const struct config_files *files,
                         struct report *report)
{
    config->user_count = config->inline_user_count;
    bool consistent = consistent_check(config, document, report);
    bool read = !files || !config->users_file || users_file_load(config, files->users_file, document, report);
    if (!consistent || !read)
        return false;
    if (files)
        present_check(config, document, report);
    return true;
}

/* Builds the configuration from a checked document (NULL: the defaults). `files` NULL: reads no other file. */
static struct config *config_build(yaml_document_t *document, const char *text, size_t size,
                                   const struct config_files *files, struct report *report)
{
    struct config *config = calloc(1, sizeof(*config));
    const char *failed = config ? raw_load(config, text, size) : "out of memory";
    if (failed)
        report_error(report, (struct place){0}, NULL, "cannot be loaded: %s", failed);
    else if (config_check(config, document, files, report))
        return config;
    config_free(config);
    return NULL;
}

static struct config *config_read_text(const char *text, size_t size, const struct config_files *files,
                                       struct report *report)
{
    struct config *config = NULL;
    yaml_document_t document;
    if (!document_skip_mark(&text, &size, report) || !document_parse(&document, text, size, report))
        return NULL;
    if (schema_check_document(&document, report))
        config = config_build(&document, text, size, files, report);
    yaml_document_delete(&document);
    return config;
}

static struct config *config_no_memory(char **errors, char **warnings)
{
    *errors = strdup("out of memory\n");
    *warnings = NULL;
    return NULL;
}

struct config *config_parse(const char *name, const char *text, size_t size, char **errors, char **warnings)
{
    struct report report;
    if (!report_init(&report, name))
        return config_no_memory(errors, warnings);
    struct config *config = config_read_text(text, size, NULL, &report);
    report_finish(&report, errors, warnings);
    return config;
}

/* The secrets that the file contains; NULL: none. */
static const char *config_secrets(const struct config *config)
{
    for (size_t i = 0; i < config->upstream_count; i++)
        if (config->upstreams[i].password)
            return "passwords of upstreams";
    return config->inline_user_count > 0 ? "password hashes of users" : NULL;
}

struct config *config_load(const char *path, char **errors, char **warnings)
{
    return config_load_files(path, &CONFIG_FILES_NONE, errors, warnings);
}

struct config *config_load_files(const char *path, const struct config_files *files, char **errors, char **warnings)
{
    struct report report;
    struct config *config = NULL;
    if (!report_init(&report, path ? path : "built-in default"))
        return config_no_memory(errors, warnings);
    if (path) {
        size_t size;
        bool exposed;
        char *text = document_read(path, files->file, &size, &exposed, &report);
        if (text)
            config = config_read_text(text, size, files, &report);
        free(text);
        const char *secrets = config && exposed ? config_secrets(config) : NULL;
        if (secrets)
            report_warning(&report, (struct place){0}, NULL,
                           "anybody can read this file, and it contains %s; give it to the server's group (see "
                           "run.group), then run: chmod o-r %s",
                           secrets, path);
    } else {
        config = config_build(NULL, NULL, 0, NULL, &report);
    }
    report_finish(&report, errors, warnings);
    return config;
}

void config_free(struct config *config)
{
    if (!config)
        return;
    assert(config->user_count == 0 || config->user_count >= config->inline_user_count);
    for (size_t i = config->inline_user_count; i < config->user_count; i++) {
        free(config->users[i].name);
        free(config->users[i].password);
    }
    free(config->endpoints);
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

/* All that a line of users_file can contain. */
static bool config_user_equal(const struct config_user *a, const struct config_user *b)
{
    return strcmp(a->name, b->name) == 0 && strcmp(a->password, b->password) == 0 && a->expires == b->expires &&
           a->volume == b->volume && a->addresses == b->addresses && a->sessions == b->sessions &&
           a->associations == b->associations && a->terms.bandwidth == b->terms.bandwidth &&
           a->terms.datagrams == b->terms.datagrams;
}

static bool config_equal_users(const struct config *a, const struct config *b)
{
    bool equal = a->user_count == b->user_count;
    for (size_t i = 0; equal && i < a->user_count; i++)
        equal = config_user_equal(&a->users[i], &b->users[i]);
    return equal;
}

bool config_equal(const struct config *a, const struct config *b)
{
    /* The dump shows every option in its one spelling, but not the contents of users_file. */
    char *text_a = raw_save(a, true), *text_b = raw_save(b, true);
    bool equal = text_a && text_b && strcmp(text_a, text_b) == 0 && config_equal_users(a, b);
    free(text_a);
    free(text_b);
    return equal;
}
