#include <string.h>

#include "net/resolver_files.h"
#include "net/resolver_name.h"

#define LABEL_MAX 63

static bool is_name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

/* What inet_aton(3) and browsers would take for the last part of an IPv4 address: decimal, octal or 0x and hex. */
static bool is_number(const char *label, size_t len)
{
    const char *digits = "0123456789";
    if (len >= 2 && label[0] == '0' && (label[1] == 'x' || label[1] == 'X')) {
        digits = "0123456789abcdefABCDEF";
        label += 2;
        len -= 2;
    }
    for (size_t i = 0; i < len; i++)
        if (!strchr(digits, label[i]))
            return false;
    return true;
}

bool resolver_name_valid(const char *name, size_t len)
{
    if (len > 0 && name[len - 1] == '.')
        len--; /* "example.com." is the same name */
    if (len == 0 || len > NAME_TEXT_MAX)
        return false;
    size_t label = 0; /* where the present one begins */
    for (size_t i = 0; i < len; i++) {
        if (name[i] == '.') {
            if (i == label)
                return false;
            label = i + 1;
        } else if (!is_name_char(name[i]) || i - label == LABEL_MAX) {
            return false;
        }
    }
    return label < len && !is_number(name + label, len - label);
}
