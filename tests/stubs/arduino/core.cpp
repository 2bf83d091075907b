/* The stub core: readings come from standard input, what is printed goes to standard output, time is counted by calls.

   core KEY_AT < readings:  before reading KEY_AT (counted over all analogRead calls) somebody types t.
   Ends with the readings; standard error then holds the microseconds of the first and the last reading.
   A delay() means that the sketch has given up: exit code 3. */

#include "Arduino.h"

#include <stdio.h>
#include <stdlib.h>

static uint32_t now_us = 0xFFFF0000U; /* soon it begins again at 0 */
static uint64_t elapsed_us = 0, first_us = 0, last_us = 0;
static long readings = 0, key_at = -1;
static bool begun = false;

HardwareSerial Serial;

unsigned long micros()
{
    now_us += 25U;
    elapsed_us += 25U;
    return now_us;
}

unsigned long millis() { return micros() / 1000U; }

void delay(unsigned long) { exit(3); }

int analogRead(uint8_t pin)
{
    int value = 0;
    if (pin < A0 || pin > A5) {
        exit(4);
    }
    if (scanf("%d", &value) != 1) {
        fprintf(stderr, "%llu %llu\n", (unsigned long long)first_us, (unsigned long long)last_us);
        fflush(stdout);
        exit(0);
    }
    last_us = elapsed_us;
    first_us = readings == 0 ? elapsed_us : first_us;
    ++readings;
    return value;
}

size_t Print::print(const char *text) { return begun ? (size_t)printf("%s", text) : 0U; }
size_t Print::print(const __FlashStringHelper *text) { return print(reinterpret_cast<const char *>(text)); }
size_t Print::print(long number) { return begun ? (size_t)printf("%ld", number) : 0U; }
size_t Print::print(int number) { return print((long)number); }
size_t Print::print(double number, int digits) { return begun ? (size_t)printf("%.*f", digits, number) : 0U; }
size_t Print::println() { return print("\r\n"); }
size_t Print::println(const __FlashStringHelper *text) { return print(text) + println(); }

void HardwareSerial::begin(unsigned long baud) { begun = baud == 115200U; }
HardwareSerial::operator bool() const { return begun; }
int HardwareSerial::available() { return readings == key_at ? 1 : 0; }

int HardwareSerial::read()
{
    key_at = -1;
    return 't';
}

size_t HardwareSerial::write(const uint8_t *bytes, size_t count) { return fwrite(bytes, 1, count, stdout); }

int main(int count, char **words)
{
    key_at = count > 1 ? atol(words[1]) : -1;
    setup();
    for (;;) {
        loop();
    }
}
