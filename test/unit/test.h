/* What every unit test includes, in the order that cmocka needs. */
#ifndef CONESOCKS_TEST_UNIT_TEST_H
#define CONESOCKS_TEST_UNIT_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#endif
