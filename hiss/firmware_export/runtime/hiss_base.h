/* hiss_base.h: what the float32 and the integer runtime share.

   Constants are tables. They are read through the HISS_... macros alone, so that on AVR they stay in flash. */

#ifndef HISS_BASE_H
#define HISS_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Tables that are read a word at a time, where words are. */
#if defined(__GNUC__) && !defined(__AVR__)
#define HISS_WORDS __attribute__((aligned(4)))
#else
#define HISS_WORDS
#endif

#define HISS_OPS_VERSION 3 /* generated sources refuse to compile with another one */

#if defined(__AVR__)
#include <avr/pgmspace.h>
#define HISS_TABLE PROGMEM
#define HISS_F32(address) pgm_read_float(address)
#define HISS_U16(address) pgm_read_word(address)
#define HISS_U8(address) pgm_read_byte(address)
#define HISS_I8(address) ((int8_t)pgm_read_byte(address))
#define HISS_I16(address) ((int16_t)pgm_read_word(address))
#define HISS_I32(address) ((int32_t)pgm_read_dword(address))
#else
#define HISS_TABLE
#define HISS_F32(address) (*(address))
#define HISS_U16(address) (*(address))
#define HISS_U8(address) (*(address))
#define HISS_I8(address) (*(address))
#define HISS_I16(address) (*(address))
#define HISS_I32(address) (*(address))
#endif

/* A compile-time check that is C99 and C++: a false condition makes the array's size negative. */
#define HISS_CHECK(name, condition) typedef char name[(condition) ? 1 : -1]

/* The next place in a ring. */
static inline uint16_t hiss_next(uint16_t at, uint16_t rows) { return (uint16_t)(at + 1U < rows ? at + 1U : 0U); }
/* How many of a ring's samples belong to this chunk. */
static inline uint16_t hiss_past(uint16_t phase, uint16_t rows) { return phase < rows ? phase : rows; }

#endif
