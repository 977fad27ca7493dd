/* Uses the whole terminal at standard output, and reads keys from standard input, for status --watch. */
#ifndef CONESOCKS_COMMAND_SCREEN_H
#define CONESOCKS_COMMAND_SCREEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What screen_wait() returns, unless a key was pressed. */
enum screen_event { SCREEN_TIME = -2, SCREEN_RESIZED = -1 };

/* Takes the terminal over. When a signal ends or stops the process, the previous content comes back. */
void screen_take(void);
void screen_give_back(void);
/* Whether keys can be read. */
bool screen_has_keys(void);
/* Replaces the content with `text` (escaped) in one write; lines are cut at `width`, and at most `height` are shown. */
void screen_draw(const char *text, size_t width, size_t height);
/* Waits for a key, a new size, or until `until_us` (clock_us). Returns the key, or an enum screen_event. */
int screen_wait(uint64_t until_us);

#endif
