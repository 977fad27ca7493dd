/* The whole terminal at standard output, for what is drawn over and over. */
#ifndef CONESOCKS_COMMAND_SCREEN_H
#define CONESOCKS_COMMAND_SCREEN_H

#include <stddef.h>

/* Takes it until a signal ends or stops the process: then it shows again what was there before. */
void screen_take(void);
/* Escaped text, from the top, in one write; lines are cut at `width`, and there are `height` of them at most. What was
 * there before is gone. */
void screen_draw(const char *text, size_t width, size_t height);

#endif
