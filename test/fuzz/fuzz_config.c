/* A configuration file. What loads is dumped, and the dump loads as equal; what does not says why. */
#include "fuzz.h"

#include "conf/config.h"

/* Whole lines, each with the file's name before it. */
static void require_lines(const char *text)
{
    while (*text) {
        REQUIRE(strncmp(text, "f.yaml:", strlen("f.yaml:")) == 0);
        text = strchr(text, '\n');
        REQUIRE(text);
        text++;
    }
}

static struct config *parse(const char *text, size_t size)
{
    char *errors, *warnings;
    struct config *config = config_parse("f.yaml", text, size, &errors, &warnings);
    REQUIRE(!config == !!errors);
    if (errors)
        require_lines(errors);
    if (warnings)
        require_lines(warnings);
    free(errors);
    free(warnings);
    return config;
}

static void require_properties(const struct config *config)
{
    REQUIRE(config->listen_count > 0);
    for (size_t i = 0; i < config->listen_count; i++)
        REQUIRE(netaddr_port(&config->listen[i].address) != 0);
    for (size_t i = 0; i < config->user_count; i++)
        REQUIRE(config->users[i].name[0] && config->users[i].password[0] == '$');

    char *text;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    REQUIRE(out);
    config_dump(config, out, true);
    fclose(out);
    struct config *again = parse(text, size);
    REQUIRE(again && config_equal(config, again));
    config_free(again);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = exact_copy(data, size);
    struct config *config = parse(copy ? (const char *)copy : "", size);
    if (config)
        require_properties(config);
    config_free(config);
    free(copy);
    return 0;
}
