/* As much of Zephyr's kernel as the generated samples use. See ZephyrConfig.cmake and kernel.c. */

#ifndef STUB_ZEPHYR_KERNEL_H
#define STUB_ZEPHYR_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    int64_t us;
} k_timeout_t;

struct k_timer {
    int64_t period_us;
};

#define K_USEC(number) ((k_timeout_t){(number)})
#define K_TIMER_DEFINE(name, on_expiry, on_stop) struct k_timer name = {(on_expiry) == (on_stop) ? 0 : 1}

void k_timer_start(struct k_timer *timer, k_timeout_t first, k_timeout_t period);
uint32_t k_timer_status_sync(struct k_timer *timer);

/* The next number on standard input: tests put it where a user puts a sensor. Ends the program after the last one. */
int stub_reading(void);

#endif
