/* The macros that the tables of options are made of: options.c has the groups and single values, options_lists.c the
 * lists of mappings. */
#ifndef CONESOCKS_CONF_OPTIONS_IMPL_H
#define CONESOCKS_CONF_OPTIONS_IMPL_H

#include <assert.h>
#include <stddef.h>

#include "conf/schema.h"
#include "conf/types.h"
#include "conf/value.h"

#define MS   ((uint64_t)1)
#define SEC  (1000 * MS)
#define MIN  (60 * SEC)
#define HOUR (60 * MIN)
#define MIB  ((uint64_t)1 << 20)
#define GIB  ((uint64_t)1 << 30)

#define LIMIT_MAX 1000000

#define FIELD(structure, member) .offset = offsetof(structure, member), .size = sizeof(((structure *)NULL)->member)
#define OPTION(type_, member)    .type = &value_##type_, FIELD(struct config, member)
#define LIST(kind_, member, count_member)                                                                              \
    .kind = (kind_), FIELD(struct config, member), .count_offset = offsetof(struct config, count_member),              \
    .element_size = sizeof(*((struct config *)NULL)->member)
#define VALUES(structure, member, count_member)                                                                        \
    .kind = SCHEMA_VALUES, FIELD(structure, member), .count_offset = offsetof(structure, count_member),                \
    .element_size = sizeof(*((structure *)NULL)->member), .initial = "[]"
#define RULE_LIST(member, count_member) VALUES(struct config_rule, member, count_member)
#define TERM(structure, type_, member)  .type = &value_##type_, FIELD(structure, terms.member), .initial = "default"
#define GROUP(rows_)                    .kind = SCHEMA_GROUP, .rows = (rows_)
#define RANGE(from, to)                 .min = (from), .max = (to)
#define BANDWIDTHS                      RANGE(1024, UINT64_C(12500000000))
#define DATAGRAM_RATES                  RANGE(1, 100000000)
#define VOLUMES                         RANGE(MIB, (uint64_t)1 << 60)

/* The words of each enum, in its order, then a NULL. value_choice stores the index as an unsigned. */
#define ALL_HAVE_WORDS(words, last)                                                                                    \
    static_assert(sizeof(words) / sizeof((words)[0]) == (last) + 2 && sizeof(last) == sizeof(unsigned),                \
                  "a word for each value, and the NULL")

/* The keys of one element of listen, users, rules and upstreams. */
extern const struct schema_row config_listen_rows[], config_user_rows[], config_rule_rows[], config_upstream_rows[];

#endif
