#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/value.h"

/* The first folder of $RUNTIME_DIRECTORY, which systemd sets to those that it has made for the service. */
static const char *socket_folder(int *len)
{
    const char *folders = getenv("RUNTIME_DIRECTORY");
    *len = folders ? (int)strcspn(folders, ":") : 0;
    return folders && folders[0] == '/' ? folders : NULL;
}

/* auto: a file with the row's name in that folder. Without one the field stays empty, as with "none". */
static const char *socket_parse(const struct schema_row *row, const char *text, void *field)
{
    if (strcmp(text, "auto") != 0)
        return value_path.parse(row, text, field);
    int len;
    const char *folder = socket_folder(&len);
    char *path = NULL;
    if (folder && asprintf(&path, "%.*s/%s", len, folder, row->file) < 0)
        return "out of memory";
    *(char **)field = path;
    return NULL;
}

static void socket_format(const struct schema_row *row, const void *field, FILE *out)
{
    value_path.format(row, field, out);
}

const struct value_type value_socket = {.name = "socket",
                                        .size = sizeof(char *),
                                        .owned = true,
                                        .parse = socket_parse,
                                        .format = socket_format,
                                        .what = "auto, or an absolute path, such as /run/conesocks/admin.socket"};
