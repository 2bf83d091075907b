/* simavr_runner.c: calls the functions of an image on an emulated ATmega328P, as drive.c does on larger cores.

   Arguments: the image, the addresses of wait, self, x, y, free (first byte after all data), step, reset, tare, selftest
   (0: none), then the bytes of self, x and y.  Reads in.bin, writes out.bin (both as drive.c), counts.bin (clock cycles of
   every step, 8 bytes each, without the call instruction) and stack.bin (most bytes of stack that a call took, 4 bytes). */

#include <simavr/sim_avr.h>
#include <simavr/sim_elf.h>

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WAIT = 2, SELF, X, Y, FREE, STEP, RESET, TARE, SELFTEST, SELF_BYTES, X_BYTES, Y_BYTES, ARGUMENTS };
enum { SPL = 0x5D, SPH = 0x5E, PAINT = 0xA5 };

static avr_t *avr;
static uint32_t at[ARGUMENTS];

static void fail(const char *what)
{
    fprintf(stderr, "%s at 0x%x\n", what, (unsigned)avr->pc);
    exit(1);
}

static void run_until_wait(void)
{
    while (avr->pc != at[WAIT]) {
        const int state = avr_run(avr);
        if (state == cpu_Done || state == cpu_Crashed) {
            fail("the processor stopped (the stack in the data, most likely)");
        }
    }
}

static uint16_t stack_pointer(void) { return (uint16_t)(avr->data[SPL] | avr->data[SPH] << 8); }

static void set_pair(int low, uint32_t value)
{
    avr->data[low] = (uint8_t)value;
    avr->data[low + 1] = (uint8_t)(value >> 8);
}

/* function(self, x, y), with the return address of the loop that waits; its cycles. */
static uint64_t call(uint32_t function)
{
    const uint16_t sp = stack_pointer();
    const uint64_t begin = avr->cycle;
    set_pair(24, at[SELF]);
    set_pair(22, at[X]);
    set_pair(20, at[Y]);
    avr->data[1] = 0U;
    avr->data[sp] = (uint8_t)(at[WAIT] >> 1);
    avr->data[sp - 1] = (uint8_t)(at[WAIT] >> 9);
    set_pair(SPL, (uint32_t)(sp - 2));
    avr->pc = function;
    run_until_wait();
    if (stack_pointer() != sp) {
        fail("the stack is not where it was");
    }
    return avr->cycle - begin;
}

static uint32_t used_stack(void)
{
    const uint16_t sp = stack_pointer();
    uint32_t lowest = at[FREE];
    while (lowest <= sp && avr->data[lowest] == PAINT) {
        ++lowest;
    }
    if (lowest == at[FREE]) {
        fail("the stack has run into the data");
    }
    return sp + 1U - lowest;
}

static void save(const void *from, size_t bytes, FILE *to)
{
    if (fwrite(from, 1, bytes, to) != bytes) {
        fail("a file cannot be written; the processor stands");
    }
}

static FILE *opened(const char *name, const char *mode)
{
    FILE *file = fopen(name, mode);
    if (file == NULL) {
        fail("a file cannot be opened; the processor stands");
    }
    return file;
}

static void steps(FILE *in, FILE *out, FILE *counts)
{
    uint8_t action;
    while (fread(&action, 1, 1, in) == 1) {
        if (fread(avr->data + at[X], 1, at[X_BYTES], in) != at[X_BYTES]) {
            fail("in.bin ends within a sample; the processor stands");
        }
        if (action != 0) {
            call(at[action == 1 ? RESET : TARE]);
        }
        const uint64_t cycles = call(at[STEP]);
        const uint8_t made = avr->data[24];
        save(avr->data + at[SELF], at[SELF_BYTES], out);
        save(avr->data + at[X], at[X_BYTES], out);
        save(avr->data + at[Y], at[Y_BYTES], out);
        save(&made, 1, out);
        save(&cycles, sizeof cycles, counts);
    }
}

int main(int argc, char **argv)
{
    elf_firmware_t firmware;
    memset(&firmware, 0, sizeof firmware);
    if (argc != ARGUMENTS || elf_read_firmware(argv[1], &firmware) != 0) {
        fprintf(stderr, "expected an image and %d numbers\n", ARGUMENTS - 2);
        return 1;
    }
    for (int i = WAIT; i < ARGUMENTS; ++i) {
        at[i] = (uint32_t)strtoul(argv[i], NULL, 0);
    }
    avr = avr_make_mcu_by_name("atmega328p");
    if (avr == NULL || avr_init(avr) != 0) {
        fprintf(stderr, "this simavr knows no atmega328p\n");
        return 1;
    }
    firmware.frequency = 16000000;
    avr_load_firmware(avr, &firmware);
    avr->run_cycle_limit = 1; /* one instruction at a time: a call ends where it returns */
    run_until_wait();
    const uint16_t sp = stack_pointer();
    memset(avr->data + at[FREE], PAINT, sp + 1U - at[FREE]);

    FILE *in = opened("in.bin", "rb");
    FILE *out = opened("out.bin", "wb");
    FILE *counts = opened("counts.bin", "wb");
    uint32_t header[2] = {at[SELF_BYTES], 0U};
    if (at[SELFTEST] != 0) {
        call(at[SELFTEST]);
        (void)used_stack(); /* or no result of it counts */
        memcpy(&header[1], avr->data + 22, 4);
        memset(avr->data + at[SELF], 0, at[SELF_BYTES]);
        memset(avr->data + at[FREE], PAINT, sp + 1U - at[FREE]);
    }
    save(header, sizeof header, out);
    steps(in, out, counts);
    const uint32_t stack = used_stack();
    FILE *used = opened("stack.bin", "wb");
    save(&stack, sizeof stack, used);
    return fclose(in) + fclose(out) + fclose(counts) + fclose(used);
}
