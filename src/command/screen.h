/* Uses the whole terminal at standard output, for status --watch. */
#ifndef CONESOCKS_COMMAND_SCREEN_H
#define CONESOCKS_COMMAND_SCREEN_H

#include <stddef.h>

/* Takes the terminal over. When a signal ends or stops the process, the previous content comes back. */
void screen_take(void);
/* Replaces the content with `text` (escaped) in one write; lines are cut at `width`, and at most `height` are shown. */
void screen_draw(const char *text, size_t width, size_t height);

#endif
