#include "proxy/session/shortage.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>

struct shortage shortage_of_error(int error)
{
    switch (error) {
    case EMFILE:
        return (struct shortage){.kind = SHORTAGE_DESCRIPTORS};
    case ENFILE:
        return (struct shortage){.kind = SHORTAGE_FILES};
    default:
        return (struct shortage){.kind = SHORTAGE_HOST_MEMORY};
    }
}

const char *shortage_text(enum shortage_kind kind)
{
    static const char *const texts[] = {
        [SHORTAGE_DESCRIPTORS] = "descriptors ran out: raise LimitNOFILE= or ulimit -n",
        [SHORTAGE_FILES] = "this host's table of open files is full: raise the sysctl fs.file-max",
        [SHORTAGE_HOST_MEMORY] = "this host has no memory left for another socket",
        [SHORTAGE_MEMORY] = "memory is short: raise limits.memory",
    };
    assert(kind != SHORTAGE_PORTS && kind != SHORTAGE_LIMIT);
    return texts[kind];
}

const char *shortage_format(const struct shortage *shortage, const char *what, char text[SHORTAGE_TEXT_MAX])
{
    assert(shortage->option || (shortage->kind != SHORTAGE_PORTS && shortage->kind != SHORTAGE_LIMIT));
    switch (shortage->kind) {
    case SHORTAGE_PORTS:
        snprintf(text, SHORTAGE_TEXT_MAX, "%s: every port of %s is in use: make the range larger", what,
                 shortage->option);
        break;
    case SHORTAGE_LIMIT:
        snprintf(text, SHORTAGE_TEXT_MAX, "%s: %s (%" PRIu32 ") is reached", what, shortage->option, shortage->most);
        break;
    default:
        snprintf(text, SHORTAGE_TEXT_MAX, "%s: %s", what, shortage_text(shortage->kind));
    }
    return text;
}
