/* port_semihosting.c: drive.c on an emulated Cortex-M or RISC-V, files through semihosting.

   Arm semihosting, version 2.0, and its RISC-V counterpart: operation in the first register, address of the
   parameters in the second. */

#include "port.h"

#include <stdint.h>

enum { SYS_OPEN = 0x01, SYS_CLOSE = 0x02, SYS_WRITE = 0x05, SYS_READ = 0x06, SYS_EXIT_EXTENDED = 0x20 };
enum { MODE_READ = 1, MODE_WRITE = 5, APPLICATION_EXIT = 0x20026 };

int drive(void);
void port_main(void);

static uint32_t in;
static uint32_t out;

static uint32_t semihost(uint32_t operation, const void *parameters)
{
#if defined(__arm__)
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = parameters;
    __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
#else
    register uint32_t a0 __asm__("a0") = operation;
    register const void *a1 __asm__("a1") = parameters;
    /* these three, none of them compressed, are the call */
    __asm__ volatile(".option push\n.option norvc\n.balign 16\nslli x0, x0, 0x1f\nebreak\nsrai x0, x0, 7\n.option pop"
                     : "+r"(a0)
                     : "r"(a1)
                     : "memory");
    return a0;
#endif
}

static uint32_t address(const void *at) { return (uint32_t)(uintptr_t)at; }

static uint32_t opened(const char *name, uint32_t length, uint32_t mode)
{
    const uint32_t parameters[3] = {address(name), mode, length};
    return semihost(SYS_OPEN, parameters);
}

bool port_open(void)
{
    in = opened("in.bin", 6U, MODE_READ);
    out = opened("out.bin", 7U, MODE_WRITE);
    return in != UINT32_MAX && out != UINT32_MAX;
}

/* Both calls return the number of bytes that were left undone. */
bool port_read(void *to, size_t bytes)
{
    const uint32_t parameters[3] = {in, address(to), (uint32_t)bytes};
    return semihost(SYS_READ, parameters) == 0U;
}

bool port_write(const void *from, size_t bytes)
{
    const uint32_t parameters[3] = {out, address(from), (uint32_t)bytes};
    return semihost(SYS_WRITE, parameters) == 0U;
}

bool port_close(void) { return semihost(SYS_CLOSE, &in) == 0U && semihost(SYS_CLOSE, &out) == 0U; }

void port_main(void)
{
    const uint32_t parameters[2] = {APPLICATION_EXIT, (uint32_t)drive()};
    (void)semihost(SYS_EXIT_EXTENDED, parameters);
    for (;;) {
    }
}

#if defined(__arm__)
extern uint32_t stack_top;
void port_reset(void);
void port_reset(void)
{
    *(volatile uint32_t *)0xE000ED88U |= 0xFU << 20; /* CPACR: floating point and Helium are off after reset */
    __asm__ volatile("dsb\nisb");
    port_main();
}
static void stop(void)
{
    const uint32_t parameters[2] = {APPLICATION_EXIT, 99U};
    (void)semihost(SYS_EXIT_EXTENDED, parameters);
    for (;;) {
    }
}
__attribute__((section(".vectors"), used)) static const void *const vectors[16] = {
    &stack_top, (const void *)port_reset, (const void *)stop, (const void *)stop,
    (const void *)stop, (const void *)stop, (const void *)stop, (const void *)stop,
};
#else
__asm__(".section .vectors, \"ax\"\n.globl _start\n_start:\nla sp, stack_top\ncall port_main\n");
#endif
