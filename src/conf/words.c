#include "conf/words.h"

#include <assert.h>
#include <string.h>

const char *const config_filtering_words[] = {
    [CONFIG_FILTERING_INHERITED] = "default",
    [CONFIG_FILTERING_ENDPOINT_INDEPENDENT] = "endpoint-independent",
    [CONFIG_FILTERING_ADDRESS_DEPENDENT] = "address-dependent",
    [CONFIG_FILTERING_ADDRESS_AND_PORT_DEPENDENT] = "address-and-port-dependent",
    NULL,
};
static_assert(sizeof(config_filtering_words) / sizeof(config_filtering_words[0]) ==
                  CONFIG_FILTERING_ADDRESS_AND_PORT_DEPENDENT + 2,
              "a word for each filtering mode, and the NULL");

const char *const config_command_words[] = {
    [CONFIG_COMMAND_CONNECT] = "connect",
    [CONFIG_COMMAND_BIND] = "bind",
    [CONFIG_COMMAND_UDP] = "udp",
    NULL,
};
static_assert(sizeof(config_command_words) / sizeof(config_command_words[0]) == CONFIG_COMMAND_COUNT + 1,
              "a word for each command, and the NULL");

const char *config_filtering_word(enum config_filtering filtering)
{
    assert(filtering <= CONFIG_FILTERING_ADDRESS_AND_PORT_DEPENDENT);
    return config_filtering_words[filtering == CONFIG_FILTERING_INHERITED ? CONFIG_FILTERING_ENDPOINT_INDEPENDENT
                                                                          : filtering];
}

const char *config_command_word(enum config_command command)
{
    assert(command < CONFIG_COMMAND_COUNT);
    return config_command_words[command];
}

const char *config_session_word(enum config_command command, bool over_tcp)
{
    assert(!over_tcp || command == CONFIG_COMMAND_UDP);
    return over_tcp ? "udp-over-tcp" : config_command_word(command);
}

bool config_command_read(const char *word, enum config_command *command)
{
    for (int i = 0; i < CONFIG_COMMAND_COUNT; i++) {
        if (strcmp(word, config_command_words[i]) == 0) {
            *command = (enum config_command)i;
            return true;
        }
    }
    return false;
}
