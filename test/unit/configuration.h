/* Configurations as text, for the tests of what becomes of them. */
#ifndef TEST_UNIT_CONFIGURATION_H
#define TEST_UNIT_CONFIGURATION_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf/config.h"
#include "conf/options.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define HASH         "$y$j9T$abcdefgh$9WNEpu8Mx2S4KNGvbVWKM6clOSoY6.YEl7AYF4DGV04"
#define USERS        "users: [{name: alice, password: " HASH "}]\n"
#define FAR          "outbound: {upstream: far}\n"

static inline struct config *parse_bytes(const char *text, size_t size, char **errors, char **warnings)
{
    /* Of exactly this size, so that a read past its end is seen. */
    char *exact = malloc(size ? size : 1);
    assert_non_null(exact);
    memcpy(exact, text, size);
    struct config *config = config_parse("c.yaml", exact, size, errors, warnings);
    free(exact);
    return config;
}

/* A configuration that must load, with exactly these warnings (NULL: none). */
static inline struct config *good_with(const char *text, const char *expected_warnings)
{
    char *errors, *warnings;
    struct config *config = parse_bytes(text, strlen(text), &errors, &warnings);
    if (!config)
        fail_msg("refused: %s", errors);
    assert_null(errors);
    if (!expected_warnings && warnings)
        fail_msg("warns: %s", warnings);
    if (expected_warnings) {
        assert_non_null(warnings);
        assert_string_equal(warnings, expected_warnings);
    }
    free(warnings);
    return config;
}

static inline struct config *good(const char *text)
{
    return good_with(text, NULL);
}

static inline void bad_bytes(const char *text, size_t size, const char *expected_errors)
{
    char *errors, *warnings;
    struct config *config = parse_bytes(text, size, &errors, &warnings);
    assert_null(config);
    assert_non_null(errors);
    assert_string_equal(errors, expected_errors);
    free(errors);
    free(warnings);
}

static inline void bad(const char *text, const char *expected_errors)
{
    bad_bytes(text, strlen(text), expected_errors);
}

static inline char *dump(const struct config *config, bool secrets)
{
    char *text;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    config_dump(config, out, secrets);
    fclose(out);
    return text;
}

static inline struct config *built_in(void)
{
    char *errors, *warnings;
    struct config *config = config_load(NULL, &errors, &warnings);
    assert_non_null(config);
    assert_null(errors);
    assert_null(warnings);
    return config;
}

#endif
