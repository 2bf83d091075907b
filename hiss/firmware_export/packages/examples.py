"""The example of every package: reads a sensor at the model's rate, prints estimates in their unit, tares, self-tests.

Three texts from the same parts: an Arduino sketch (C++), a Zephyr application and a portable main (both C99).
"""

from __future__ import annotations

import math
from collections.abc import Callable

from hiss.firmware_export.c import Model
from hiss.firmware_export.packages.package import sample_us, words
from hiss.program import Port

_DIGITS, _MOST_DIGITS = 4, 7
_ANALOG_PINS = 6  # what every Arduino has


def arduino_sketch(model: Model) -> str:
    """<name>.ino; with `#include <Arduino.h>` before it, it is C++."""
    name, tare = model.name, model.program.tare
    renewed = "\n\n   Send t to measure the rest position anew." if tare else ""
    key = (
        f"    if (Serial.available() > 0 && Serial.read() == 't') {{\n        {name}_tare(&model);\n    }}\n"
        if tare
        else ""
    )
    rest = _rest(model, 'Serial.println(F("measuring the rest position"));')
    tared = 'Serial.println(F("rest position measured"));'
    return f"""/* {name} on the serial line: {_rhythm(model)}.

   Put your sensor into read_sensor().{renewed} */

#include <{name}.h>

{_state(model)}
static const uint32_t sample_us = {sample_us(model)}UL; /* {model.program.rate_hz:g} Hz */
static uint32_t next_us;

/* One sample, in the unit and the order that the model was trained with. */
static void read_sensor()
{{
{_readings(model, lambda i: f"analogRead(A{i % _ANALOG_PINS})")}
}}
{_value_function(model)}
static void print_estimates()
{{
{_arduino_prints(model)}
}}

void setup()
{{
    Serial.begin(115200);
    while (!Serial && millis() < 3000) {{ /* native USB: wait for the monitor */
    }}
    const int32_t wrong = {name}_selftest(&model); /* its vectors take flash: leave it out once it has passed */
    Serial.print(F("self-test: "));
    Serial.print((long)wrong);
    Serial.println(F(" mismatches"));
    while (wrong != 0) {{ /* the estimates would be wrong too */
        delay(1000);
    }}
{rest}
    next_us = micros();
}}

void loop()
{{
{key}    if ((int32_t)(micros() - next_us) < 0) {{
        return;
    }}
    next_us += sample_us;
    read_sensor();
{_step(model, tared)}
}}
"""


def board_sketch(name: str) -> str:
    """<name>_board.ino: the model answers a computer on the serial line."""
    return f"""/* {name} answers a computer on the serial line: hiss live MODEL ... --board PORT compares the estimates.

   Nothing else may print on that line. */

#include <{name}_board.h>

static {name}_board_t board;

static int16_t port_get(void *port)
{{
    (void)port;
    return (int16_t)Serial.read();
}}

static void port_put(void *port, const uint8_t *bytes, size_t count)
{{
    (void)port;
    Serial.write(bytes, count);
}}

void setup()
{{
    Serial.begin(115200);
    {name}_board_begin(&board, port_get, port_put, NULL);
}}

void loop() {{ {name}_board_poll(&board); }}
"""


def zephyr_main(model: Model) -> str:
    """samples/<name>/src/main.c."""
    name, us = model.name, sample_us(model)
    rest = _rest(model, 'printk("measuring the rest position\\n");')
    step = _deeper(_step(model, 'printk("rest position measured\\n");'))
    return f"""/* {name} on the console: {_rhythm(model)}.

   Put your sensor into read_sensor(). */

#include <zephyr/kernel.h>
#include <zephyr/sys/printk.h>

#include "{name}.h"

{_state(model)}
K_TIMER_DEFINE(sample_timer, NULL, NULL);

/* One sample, in the unit and the order that the model was trained with: adc_read_dt(), sensor_channel_get(), ... */
static void read_sensor(void)
{{
{_readings(model, lambda i: "0")}
}}
{_value_function(model)}
/* printk prints no floating point numbers. */
static void print_number(float number, int digits)
{{
    int32_t scale = 1;
    for (int i = 0; i < digits; ++i) {{
        scale *= 10;
    }}
    const bool negative = number < 0.0f;
    const float size = negative ? -number : number;
    if (!(size < 1e6f)) {{
        printk("beyond 1e6");
        return;
    }}
    int32_t whole = (int32_t)size;
    int32_t rest = (int32_t)((size - (float)whole) * (float)scale + 0.5f);
    if (rest >= scale) {{
        ++whole;
        rest -= scale;
    }}
    printk("%s%d.%0*d", negative ? "-" : "", (int)whole, digits, (int)rest);
}}

static void print_estimates(void)
{{
{_zephyr_prints(model)}
}}

int main(void)
{{
    const int32_t wrong = {name}_selftest(&model);
    printk("self-test: %d mismatches\\n", (int)wrong);
    if (wrong != 0) {{ /* the estimates would be wrong too */
        return 1;
    }}
{rest}
    k_timer_start(&sample_timer, K_USEC({us}), K_USEC({us})); /* {model.program.rate_hz:g} Hz */
    for (;;) {{
        (void)k_timer_status_sync(&sample_timer);
        read_sensor();
{step}
    }}
}}
"""


def portable_main(model: Model) -> str:
    """example/<name>.c: samples as lines on standard input, estimates as lines on standard output."""
    name = model.name
    conversion = {"float": '"%f"', "int16_t": '"%" SCNd16', "int32_t": '"%" SCNd32'}[x_type(model)]
    rest = _rest(model, 'fprintf(stderr, "measuring the rest position\\n");')
    step = _deeper(_step(model, 'fprintf(stderr, "rest position measured\\n");'))
    return f"""/* {name} on standard input and output: {_rhythm(model)}.

   A line of {len(model.program.inputs)} numbers is a sample. On a microcontroller, wait in read_sensor() until the next
   sample is due ({sample_us(model)} us after the last one), then read the converter. */

#include <inttypes.h>
#include <stdio.h>

#include "{name}.h"

{_state(model)}
/* One sample, in the unit and the order that the model was trained with. False when there are no more. */
static bool read_sensor(void)
{{
    for (size_t i = 0; i < {name.upper()}_INPUTS; ++i) {{
        if (scanf({conversion}, &x[i]) != 1) {{
            return false;
        }}
    }}
    return true;
}}
{_value_function(model)}
static void print_estimates(void)
{{
{_portable_prints(model)}
}}

int main(void)
{{
    const int32_t wrong = {name}_selftest(&model);
    fprintf(stderr, "self-test: %d mismatches\\n", (int)wrong);
    if (wrong != 0) {{ /* the estimates would be wrong too */
        return 1;
    }}
{rest}
    while (read_sensor()) {{
{step}
    }}
    return 0;
}}
"""


# ---- what the model says ----


def x_type(model: Model) -> str:
    """The C type of a sample."""
    return model.numbers.x


def y_type(model: Model) -> str:
    """The C type of an estimate."""
    return model.numbers.value


def port_text(port: Port) -> str:
    """name [unit], lo .. hi, as far as they are known."""
    unit = f" [{words(port.unit)}]" if port.unit else ""
    bounds = f", {port.lo:.6g} .. {port.hi:.6g}" if math.isfinite(port.lo) and math.isfinite(port.hi) else ""
    return f"{words(port.name)}{unit}{bounds}"


def _rhythm(model: Model) -> str:
    program = model.program
    inputs, outputs = len(program.inputs), len(program.outputs)
    return (
        f"{inputs} input{'s' if inputs > 1 else ''} at {program.rate_hz:g} Hz, {outputs} "
        f"estimate{'s' if outputs > 1 else ''} at {program.rate_hz / program.period:g} Hz"
    )


# ---- pieces of C ----


def _state(model: Model) -> str:
    guard = model.name.upper()
    lines = [
        f"static {model.name}_t model;",
        f"static {x_type(model)} x[{guard}_INPUTS];",
        f"static {y_type(model)} y[{guard}_OUTPUTS];",
    ]
    if y_type(model) != "float":
        lines.append(f"static const int8_t frac_bits[{guard}_OUTPUTS] = {guard}_Y_FRAC_BITS; /* of y */")
    return "\n".join(lines) + "\n"


def _readings(model: Model, reading: Callable[[int], str]) -> str:
    kind, steps = x_type(model), _sample_steps(model)
    return "\n".join(
        f"    x[{i}] = ({kind}){reading(i)}; /* {port_text(port)}{steps[i]} */"
        for i, port in enumerate(model.program.inputs)
    )


def _sample_steps(model: Model) -> list[str]:
    """What one count of a sample is, where it is not one unit."""
    formats = model.program.formats
    if formats is None:
        return [""] * len(model.program.inputs)
    bits = [int(f) for f in formats[model.program.stages[0].every[0].out]["x"].frac_bits]
    return [f", in steps of {2.0**-b:g}" if b else "" for b in bits]


def _value_function(model: Model) -> str:
    """How an estimate becomes a number in its unit; nothing to do for floating point."""
    if y_type(model) == "float":
        return ""
    return f"""
/* y 2^-frac_bits, exactly. */
static float value({y_type(model)} integer, int8_t bits)
{{
    float number = (float)integer;
    for (; bits > 0; --bits) {{
        number *= 0.5f;
    }}
    for (; bits < 0; ++bits) {{
        number *= 2.0f;
    }}
    return number;
}}
"""


def _rest(model: Model, says: str) -> str:
    if not model.program.tare:
        return f"    {model.name}_reset(&model);"
    return f"    {model.name}_tare(&model);\n    {says}"


def _step(model: Model, tared: str) -> str:
    name = model.name
    step = f"    if ({name}_step(&model, x, y)) {{\n        print_estimates();\n    }}"
    if not model.program.tare:
        return step
    return (
        f"    const bool taring = {name}_taring(&model);\n{step}\n"
        f"    if (taring && !{name}_taring(&model)) {{\n        {tared}\n    }}"
    )


def _deeper(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())


# ---- estimates printed: `name: number unit`, separated by tabs ----


def _estimates(model: Model) -> list[tuple[str, str, int, str]]:
    """(what stands before the number, the number in C, its digits, what stands after it) of every output."""
    rows, last = [], len(model.program.outputs) - 1
    for i, port in enumerate(model.program.outputs):
        number = f"y[{i}]" if y_type(model) == "float" else f"value(y[{i}], frac_bits[{i}])"
        unit = f" {words(port.unit)}" if port.unit else ""
        rows.append((f"{words(port.name)}: ", number, _digits(model, i), unit if i == last else f"{unit}\t"))
    return rows


def _digits(model: Model, output: int) -> int:
    """Decimals worth printing: as fine as an integer estimate is."""
    formats = model.program.formats
    if formats is None:
        return _DIGITS
    bits = [f for name in model.program.stages[-1].hands for f in formats[name]["out"].frac_bits]
    return min(max(math.ceil(int(bits[output]) * math.log10(2)) + 1, 0), _MOST_DIGITS)


def _c_string(text: str) -> str:
    return '"' + text.replace("\t", "\\t") + '"'


def _arduino_prints(model: Model) -> str:
    lines = []
    for before, number, digits, after in _estimates(model):
        lines += [f"Serial.print(F({_c_string(before)}));", f"Serial.print({number}, {digits});"]
        if after:
            lines.append(f"Serial.print(F({_c_string(after)}));")
    return "\n".join(f"    {line}" for line in [*lines, "Serial.println();"])


def _zephyr_prints(model: Model) -> str:
    lines = []
    for before, number, digits, after in _estimates(model):
        lines += [f'printk("%s", {_c_string(before)});', f"print_number({number}, {digits});"]
        if after:
            lines.append(f'printk("%s", {_c_string(after)});')
    return "\n".join(f"    {line}" for line in [*lines, 'printk("\\n");'])


def _portable_prints(model: Model) -> str:
    lines = [
        f'printf("%s%.{digits}f%s", {_c_string(before)}, (double){number}, {_c_string(after)});'
        for before, number, digits, after in _estimates(model)
    ]
    return "\n".join(f"    {line}" for line in [*lines, 'printf("\\n");'])
