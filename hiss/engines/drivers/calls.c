/* calls.c: the functions of a model and one instance, for an emulator that calls them by address. */

#include "glue.h"

/* one object: compilers like to merge several, and then their symbols are gone */
struct {
    model_t self;
    x_t x[MODEL_INPUTS];
    y_t y[MODEL_OUTPUTS];
} emu;

#if defined(__AVR__)
#define GLUE __attribute__((noinline)) /* simavr loads .text and .data alone */
#else
#define GLUE __attribute__((section(".glue"), noinline)) /* its flash is not counted */
#endif

static volatile uint8_t never;

GLUE void emu_wait(void);
void emu_wait(void)
{
    for (;;) {
        __asm__ volatile("");
    }
}

/* What is called here is kept from being collected as garbage. */
GLUE static void emu_keep(void)
{
    model_tare(&emu.self);
    model_reset(&emu.self);
    emu.y[0] = (y_t)model_step(&emu.self, emu.x, emu.y);
#ifdef MODEL_SELFTEST
    emu.y[0] = (y_t)(emu.y[0] + (y_t)model_selftest(&emu.self));
#endif
}

#if defined(__AVR__)
GLUE int main(void);
int main(void)
#else
GLUE void _start(void);
void _start(void)
#endif
{
    if (never != 0U) {
        emu_keep();
    }
    emu_wait();
    for (;;) {
    }
}
