/*
 * A row of the table of options (options.h) and what can be done with it: read a value, write it, say what is expected.
 * The row drives loading, checking, defaults, the dump, and the test of the manual.
 */
#ifndef CONESOCKS_CONF_SCHEMA_H
#define CONESOCKS_CONF_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct schema_row;

/* A type of values: how they are read, written and stored. The functions get the row for its range and words. */
struct value_type {
    const char *name;
    size_t size; /* of the field */
    bool owned;  /* the field is, or starts with, a char pointer to free */
    bool secret; /* never shown; parse() describes what it found without quoting it */
    /* Returns NULL if `text` is a valid value; otherwise a hint for the user, which may be empty. */
    const char *(*parse)(const struct schema_row *row, const char *text, void *field);
    void (*format)(const struct schema_row *row, const void *field, FILE *out);
    const char *what;                         /* "a number" */
    void (*bound)(uint64_t bound, FILE *out); /* writes the row's min and max; NULL: they do not apply */
};

enum schema_kind {
    SCHEMA_VALUE,  /* key: value */
    SCHEMA_VALUES, /* key: [value, ...] */
    SCHEMA_GROUP,  /* key: {rows} */
    SCHEMA_LIST,   /* key: [{rows}, ...] */
};

struct schema_row {
    const char *key; /* NULL ends a table */
    enum schema_kind kind;
    const struct value_type *type; /* of a value */
    const struct schema_row *rows; /* of a group (offsets count from the parent) or of a list's elements */
    size_t offset, size;           /* the field, in struct config or in the element of a list */
    size_t count_offset;           /* lists: the field is a pointer, here is its size_t */
    size_t element_size;           /* lists */
    uint64_t min, max;             /* numbers, durations (ms), lengths; lists: how many. A list that is left out has
                                      `min` elements of defaults */
    const char *const *words;      /* of a choice, ended by NULL, in the order of its enum; those before `min` are not
                                      allowed here */
    const char *file;              /* of a socket: its name in the folder that systemd makes */
    const char *none;              /* the word for a field of zeros */
    const char *initial;           /* the default; NULL: required. Lists: for display only */
    const char *help;
    bool at_start; /* a reload does not change it */
};

/* The largest field of a value. */
#define SCHEMA_FIELD_MAX 64
/* The most rows of one table. */
#define SCHEMA_ROWS_MAX 32

/* Reads `text` into the field of a value. Returns NULL, or a hint (may be empty) if it is not valid. */
const char *schema_parse(const struct schema_row *row, const char *text, void *field);
void schema_format(const struct schema_row *row, const void *field, FILE *out);
/* Writes what is expected, such as "off, or a duration from 10s to 720h". */
void schema_expect(const struct schema_row *row, FILE *out);

/* How many rows there are before the NULL. */
size_t schema_count(const struct schema_row *rows);
/* The row of a key, or NULL. */
const struct schema_row *schema_find(const struct schema_row *rows, const char *key, size_t key_len);
/* The known key that a mistyped one most likely means; NULL: none is similar. */
const char *schema_nearest(const struct schema_row *rows, const char *key);

#endif
