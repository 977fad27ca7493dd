#include "conf/document.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf/yaml_hint.h"

static const struct place whole_file = {0};

/* ---- reading ---- */

/* With an explicit offset, because other processes may share the descriptor. A pipe has no offset. */
static ssize_t document_read_at(int fd, char *text, size_t room, size_t place)
{
    ssize_t n;
    do {
        n = pread(fd, text, room, (off_t)place);
        if (n < 0 && errno == ESPIPE)
            n = read(fd, text, room);
    } while (n < 0 && errno == EINTR);
    return n;
}

char *document_read_all(int fd, size_t max, size_t *size)
{
    size_t room = 0;
    char *text = NULL;
    *size = 0;
    for (ssize_t n = 1; n > 0 && *size <= max; *size += (size_t)n) {
        if (*size == room) {
            room = room ? 2 * room : 65536;
            room = room > max ? max + 1 : room; /* one byte more than allowed shows that the file is larger */
            char *larger = realloc(text, room + 1);
            if (!larger) {
                free(text);
                return NULL;
            }
            text = larger;
        }
        n = document_read_at(fd, text + *size, room - *size, *size);
        if (n < 0) {
            free(text);
            return NULL;
        }
    }
    return text;
}

/* A user who can write the file decides who may log in, and which file root truncates (run.pid_file). */
static bool document_is_writable_by_all(const char *path, const struct stat *status, struct report *report)
{
    if (!S_ISREG(status->st_mode) || !(status->st_mode & S_IWOTH))
        return false;
    report_error(report, whole_file, NULL,
                 "anybody can write to it (mode %04o), expected only its owner and group; run: chmod o-w %s",
                 (unsigned)(status->st_mode & 07777), path);
    return true;
}

char *document_read(const char *path, int open_fd, size_t *size, bool *exposed, struct report *report)
{
    struct stat status;
    int fd = open_fd < 0 ? open(path, O_RDONLY | O_CLOEXEC) : fcntl(open_fd, F_DUPFD_CLOEXEC, 0);
    bool known = fd >= 0 && fstat(fd, &status) == 0;
    if (known && document_is_writable_by_all(path, &status, report)) {
        close(fd);
        return NULL;
    }
    *exposed = known && S_ISREG(status.st_mode) && (status.st_mode & S_IROTH);
    char *text = known ? document_read_all(fd, DOCUMENT_SIZE_MAX, size) : NULL;
    if (!text)
        report_error(report, whole_file, NULL, "cannot be read: %s", strerror(errno));
    if (fd >= 0)
        close(fd);
    return text;
}

bool document_skip_mark(const char **text, size_t *size, struct report *report)
{
    static const char utf8[] = "\xef\xbb\xbf", low_first[] = "\xff\xfe", high_first[] = "\xfe\xff";
    if (*size >= 2 && (memcmp(*text, low_first, 2) == 0 || memcmp(*text, high_first, 2) == 0)) {
        report_error(report, (struct place){1, 1}, NULL, "found UTF-16 text, expected UTF-8; save it as UTF-8");
        return false;
    }
    if (*size >= 3 && memcmp(*text, utf8, 3) == 0) {
        *text += 3;
        *size -= 3;
    }
    return true;
}

/* ---- parsing ---- */

static struct place document_mark_place(yaml_mark_t mark)
{
    return (struct place){mark.line + 1, mark.column + 1};
}

/* The place of a byte; libyaml's reader knows only its offset. */
static struct place document_byte_place(const char *text, size_t size, size_t offset)
{
    struct place place = {1, 1};
    for (size_t i = 0; i < offset && i < size; i++) {
        place.column++;
        if (text[i] == '\n')
            place = (struct place){place.line + 1, 1};
    }
    return place;
}

static void document_report_syntax(struct report *report, const yaml_parser_t *parser, const char *text, size_t size)
{
    const char *problem = parser->problem ? parser->problem : "out of memory";
    char *hint = NULL;
    size_t hint_size;
    if (parser->error == YAML_READER_ERROR) {
        report_error(report, document_byte_place(text, size, parser->problem_offset), NULL,
                     "found bytes that are not UTF-8 text (%s), expected YAML", problem);
        return;
    }
    FILE *out = open_memstream(&hint, &hint_size);
    if (out) {
        yaml_hint(parser, text, size, out);
        fclose(out);
    }
    if (parser->context)
        report_error(report, document_mark_place(parser->problem_mark), NULL, "not valid YAML: %s (%s, line %zu)%s",
                     problem, parser->context, parser->context_mark.line + 1, hint ? hint : "");
    else
        report_error(report, document_mark_place(parser->problem_mark), NULL, "not valid YAML: %s%s", problem,
                     hint ? hint : "");
    free(hint);
}

static bool document_start_parser(yaml_parser_t *parser, const char *text, size_t size, struct report *report)
{
    if (!yaml_parser_initialize(parser)) {
        report_error(report, whole_file, NULL, "out of memory");
        return false;
    }
    yaml_parser_set_encoding(parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(parser, (const unsigned char *)text, size);
    return true;
}

/* ---- building ---- */

/* No option goes deeper than four; libyaml takes minutes over a megabyte of "[". */
#define DEPTH_MAX 16
static_assert(DEPTH_MAX > 4, "an option fits");

/* libyaml's own loader accepts aliases and any depth. This builder refuses them at once, and keeps each node's place.
 */
struct document_builder {
    yaml_document_t *document;
    unsigned depth, documents;
    struct {
        int node; /* a mapping or list that is still open */
        int key;  /* in a mapping: the key that waits for its value; 0: none */
    } open[DEPTH_MAX];
};

static const char *document_decoration(const yaml_char_t *anchor, const yaml_char_t *tag)
{
    return anchor ? "an anchor (&name); leave it out" : tag ? "a tag (!name); leave it out" : NULL;
}

/* The unsupported part of YAML that the event is; NULL: none. */
static const char *document_unsupported(const yaml_event_t *event, const struct document_builder *builder)
{
    const char *decoration;
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        return builder->documents > 0 ? "a second document; expected one only" : NULL;
    case YAML_ALIAS_EVENT:
        return "an alias (*name); write the value out";
    case YAML_SCALAR_EVENT:
        return document_decoration(event->data.scalar.anchor, event->data.scalar.tag);
    case YAML_SEQUENCE_START_EVENT:
        decoration = document_decoration(event->data.sequence_start.anchor, event->data.sequence_start.tag);
        break;
    case YAML_MAPPING_START_EVENT:
        decoration = document_decoration(event->data.mapping_start.anchor, event->data.mapping_start.tag);
        break;
    default:
        return NULL;
    }
    return builder->depth == DEPTH_MAX ? "too many levels of nested values; no option is that deep" : decoration;
}

/* Adds the node of an event. 0: no memory; -1: the event has no node. */
static int builder_add_node(const struct document_builder *builder, const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        return yaml_document_add_scalar(builder->document, NULL, event->data.scalar.value,
                                        (int)event->data.scalar.length, event->data.scalar.style);
    case YAML_SEQUENCE_START_EVENT:
        return yaml_document_add_sequence(builder->document, NULL, event->data.sequence_start.style);
    case YAML_MAPPING_START_EVENT:
        return yaml_document_add_mapping(builder->document, NULL, event->data.mapping_start.style);
    default:
        return -1;
    }
}

/* Adds a node to the open mapping or list. */
static bool builder_attach(struct document_builder *builder, int node)
{
    if (builder->depth == 0)
        return true;
    int parent = builder->open[builder->depth - 1].node, *key = &builder->open[builder->depth - 1].key;
    if (yaml_document_get_node(builder->document, parent)->type == YAML_SEQUENCE_NODE)
        return yaml_document_append_sequence_item(builder->document, parent, node);
    if (*key == 0) {
        *key = node;
        return true;
    }
    bool attached = yaml_document_append_mapping_pair(builder->document, parent, *key, node);
    *key = 0;
    return attached;
}

/* Adds what the event brings. false: no memory. */
static bool builder_take(struct document_builder *builder, const yaml_event_t *event)
{
    builder->documents += event->type == YAML_DOCUMENT_START_EVENT;
    if (event->type == YAML_SEQUENCE_END_EVENT || event->type == YAML_MAPPING_END_EVENT) {
        assert(builder->depth > 0);
        builder->depth--;
    }
    int node = builder_add_node(builder, event);
    if (node < 0)
        return true;
    if (node == 0 || !builder_attach(builder, node))
        return false;
    yaml_document_get_node(builder->document, node)->start_mark = event->start_mark;
    if (event->type != YAML_SCALAR_EVENT) {
        assert(builder->depth < DEPTH_MAX);
        builder->open[builder->depth].node = node;
        builder->open[builder->depth++].key = 0;
    }
    return true;
}

/* Handles one event. false: the report says why. */
static bool builder_step(struct document_builder *builder, const yaml_event_t *event, struct report *report)
{
    const char *found = document_unsupported(event, builder);
    if (found)
        report_error(report, document_mark_place(event->start_mark), NULL, "found %s", found);
    else if (!builder_take(builder, event))
        report_error(report, whole_file, NULL, "out of memory");
    else
        return true;
    return false;
}

static bool document_build(struct document_builder *builder, yaml_parser_t *parser, const char *text, size_t size,
                           struct report *report)
{
    for (bool end = false; !end;) {
        yaml_event_t event;
        if (!yaml_parser_parse(parser, &event)) {
            document_report_syntax(report, parser, text, size);
            return false;
        }
        end = event.type == YAML_STREAM_END_EVENT;
        bool good = builder_step(builder, &event, report);
        yaml_event_delete(&event);
        if (!good)
            return false;
    }
    if (builder->documents == 0)
        report_error(report, whole_file, NULL,
                     "found no option; expected at least one, such as \"workers: 0\" (without -c the built-in default "
                     "is used)");
    return builder->documents > 0;
}

bool document_parse(yaml_document_t *document, const char *text, size_t size, struct report *report)
{
    if (size > DOCUMENT_SIZE_MAX) {
        report_error(report, whole_file, NULL, "found more than %zu KiB, expected a smaller file",
                     DOCUMENT_SIZE_MAX / 1024);
        return false;
    }
    yaml_parser_t parser;
    struct document_builder builder = {.document = document};
    if (!document_start_parser(&parser, text, size, report))
        return false;
    bool good = yaml_document_initialize(document, NULL, NULL, NULL, 1, 1);
    if (!good) {
        report_error(report, whole_file, NULL, "out of memory");
    } else if (!document_build(&builder, &parser, text, size, report)) {
        yaml_document_delete(document);
        good = false;
    }
    yaml_parser_delete(&parser);
    return good;
}

/* ---- reading the tree ---- */

struct place document_place(const yaml_node_t *node)
{
    return document_mark_place(node->start_mark);
}

const yaml_node_t *document_get(yaml_document_t *document, const yaml_node_t *mapping, const char *key)
{
    if (mapping->type != YAML_MAPPING_NODE)
        return NULL;
    for (const yaml_node_pair_t *pair = mapping->data.mapping.pairs.start; pair < mapping->data.mapping.pairs.top;
         pair++) {
        const yaml_node_t *name = yaml_document_get_node(document, pair->key);
        if (name->type == YAML_SCALAR_NODE && strcmp((const char *)name->data.scalar.value, key) == 0)
            return yaml_document_get_node(document, pair->value);
    }
    return NULL;
}
