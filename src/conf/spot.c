#include "conf/spot.h"

#include <stdio.h>

static const yaml_node_t *spot_item(yaml_document_t *document, const yaml_node_t *list, size_t i)
{
    return yaml_document_get_node(document, list->data.sequence.items.start[i]);
}

static const yaml_node_t *spot_node_in_list(yaml_document_t *document, const char *list, size_t i, const char *key)
{
    const yaml_node_t *root = yaml_document_get_root_node(document), *node = document_get(document, root, list);
    if (!node)
        return root;
    const yaml_node_t *element = spot_item(document, node, i), *value = document_get(document, element, key);
    return value ? value : element;
}

struct place place_in_list(yaml_document_t *document, const char *list, size_t i, const char *key)
{
    return document ? document_place(spot_node_in_list(document, list, i, key)) : (struct place){0};
}

struct place place_in_group(yaml_document_t *document, const char *group, const char *key)
{
    if (!document)
        return (struct place){0};
    const yaml_node_t *root = yaml_document_get_root_node(document);
    const yaml_node_t *node = group ? document_get(document, root, group) : root;
    const yaml_node_t *value = node ? document_get(document, node, key) : NULL;
    return document_place(value ? value : root);
}

struct spot spot_in_list(yaml_document_t *document, const char *list, size_t i, const char *key)
{
    struct spot spot = {.place = place_in_list(document, list, i, key)};
    snprintf(spot.key, sizeof(spot.key), "%s[%zu].%s", list, i, key);
    return spot;
}

struct spot spot_of_value(yaml_document_t *document, const char *list, size_t i, const char *key, size_t j)
{
    struct spot spot = spot_in_list(document, list, i, key);
    const yaml_node_t *node = document ? spot_node_in_list(document, list, i, key) : NULL;
    if (node && node->type == YAML_SEQUENCE_NODE)
        spot.place = document_place(spot_item(document, node, j));
    snprintf(spot.key, sizeof(spot.key), "%s[%zu].%s[%zu]", list, i, key, j);
    return spot;
}
