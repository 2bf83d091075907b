/* drive.c: reads samples from a file, steps the model, and writes all that it remembers after every step.

   in:   per step: the action before it (1 byte: 0 none, 1 reset, 2 tare), x
   out:  sizeof(model_t) (4 bytes), mismatches of the self-test (4 bytes), then per step: the struct, x, y, made (1 byte) */

#include "glue.h"
#include "port.h"

static struct {
    model_t self;
    x_t x[MODEL_INPUTS];
    y_t y[MODEL_OUTPUTS];
    uint8_t made;
} emu; /* descending alignment: there is no padding before `made` */

/* The port's plugin looks for this name: one call before and one after each step. */
void __attribute__((noinline)) drive_mark(void);
void __attribute__((noinline)) drive_mark(void) { __asm__ volatile(""); }

static const uint8_t fill = 0U;

int drive(void);
int drive(void)
{
    uint32_t header[2] = {(uint32_t)sizeof(model_t), 0U};
    uint8_t action = 0U;
    if (!port_open()) {
        return 2;
    }
#ifdef MODEL_SELFTEST
    header[1] = (uint32_t)model_selftest(&emu.self);
    for (size_t i = 0; i < sizeof emu; ++i) {
        ((uint8_t *)&emu)[i] = fill; /* the trace begins as it does elsewhere: with zeros */
    }
#endif
    if (!port_write(header, sizeof header)) {
        return 3;
    }
    while (port_read(&action, 1U)) {
        if (!port_read(emu.x, sizeof emu.x)) {
            return 4;
        }
        if (action == 1U) {
            model_reset(&emu.self);
        } else if (action == 2U) {
            model_tare(&emu.self);
        }
        drive_mark();
        const bool made = model_step(&emu.self, emu.x, emu.y);
        drive_mark();
        emu.made = made ? 1U : 0U;
        if (!port_write(&emu, (size_t)(&emu.made - (uint8_t *)&emu) + 1U)) {
            return 5;
        }
    }
    return port_close() ? 0 : 6;
}
