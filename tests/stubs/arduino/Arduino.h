/* As much of an Arduino core as the generated sketches use, for the computer that runs the tests. See core.cpp. */

#ifndef STUB_ARDUINO_H
#define STUB_ARDUINO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define A0 14
#define A1 15
#define A2 16
#define A3 17
#define A4 18
#define A5 19

class __FlashStringHelper;
#define F(text) (reinterpret_cast<const __FlashStringHelper *>(text))

class Print {
  public:
    size_t print(const __FlashStringHelper *text);
    size_t print(const char *text);
    size_t print(int number);
    size_t print(long number);
    size_t print(double number, int digits = 2);
    size_t println();
    size_t println(const __FlashStringHelper *text);
};

class HardwareSerial : public Print {
  public:
    void begin(unsigned long baud);
    int available();
    int read();
    size_t write(const uint8_t *bytes, size_t count);
    operator bool() const;
};

extern HardwareSerial Serial;

unsigned long millis();
unsigned long micros();
void delay(unsigned long ms);
int analogRead(uint8_t pin);

void setup();
void loop();

#endif
