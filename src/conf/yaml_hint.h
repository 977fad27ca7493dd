/* Explains what to change in a line that is not valid YAML; libyaml's own messages do not. */
#ifndef CONESOCKS_CONF_YAML_HINT_H
#define CONESOCKS_CONF_YAML_HINT_H

#include <stddef.h>
#include <stdio.h>
#include <yaml.h>

/* Writes "; what to do", or nothing. No text of the file is shown, because it may be a password. */
void yaml_hint(const yaml_parser_t *parser, const char *text, size_t size, FILE *out);

#endif
