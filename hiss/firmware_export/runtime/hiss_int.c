/* hiss_int.c: the kernels of hiss_int.h. See there for the equations, the shapes and the rounding. */

#include "hiss_int.h"

#if !defined(HISS_PORTABLE) && defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 1)
#define HISS_MVE 1
#include <arm_mve.h>
#elif !defined(HISS_PORTABLE) && defined(__ARM_FEATURE_DSP) && __ARM_FEATURE_DSP && defined(__GNUC__)
#define HISS_DSP 1
#endif

#if defined(HISS_DSP)

/* The instructions by name: compilers older than these intrinsics know them too. */
static inline int32_t hiss_ssat16(int32_t x)
{
    int32_t y;
    __asm__("ssat %0, #16, %1" : "=r"(y) : "r"(x));
    return y;
}

/* x / 2, rounded down, as a value */
static inline int32_t hiss_ssat16_half(int32_t x)
{
    int32_t y;
    __asm__("ssat %0, #16, %1, asr #1" : "=r"(y) : "r"(x));
    return y;
}

/* x + the low or the high half of a word */
static inline int32_t hiss_sxtah(int32_t x, int32_t pair)
{
    int32_t y;
    __asm__("sxtah %0, %1, %2" : "=r"(y) : "r"(x), "r"(pair));
    return y;
}

static inline int32_t hiss_sxtah_high(int32_t x, int32_t pair)
{
    int32_t y;
    __asm__("sxtah %0, %1, %2, ror #16" : "=r"(y) : "r"(x), "r"(pair));
    return y;
}

/* (h d) >> 16, d the low or the high half of a word */
static inline int32_t hiss_smulwb(int32_t h, int32_t d)
{
    int32_t y;
    __asm__("smulwb %0, %1, %2" : "=r"(y) : "r"(h), "r"(d));
    return y;
}

static inline int32_t hiss_smulwt(int32_t h, int32_t d)
{
    int32_t y;
    __asm__("smulwt %0, %1, %2" : "=r"(y) : "r"(h), "r"(d));
    return y;
}

/* sum + ((h d) >> 16) */
static inline uint32_t hiss_smlawb(int32_t h, int32_t d, uint32_t sum)
{
    uint32_t y;
    __asm__("smlawb %0, %1, %2, %3" : "=r"(y) : "r"(h), "r"(d), "r"(sum));
    return y;
}

static inline uint32_t hiss_smlawt(int32_t h, int32_t d, uint32_t sum)
{
    uint32_t y;
    __asm__("smlawt %0, %1, %2, %3" : "=r"(y) : "r"(h), "r"(d), "r"(sum));
    return y;
}

/* sum + the product of one half of a and one of b: b low, t high */
static inline uint32_t hiss_smlabb(int32_t a, int32_t b, uint32_t sum)
{
    uint32_t y;
    __asm__("smlabb %0, %1, %2, %3" : "=r"(y) : "r"(a), "r"(b), "r"(sum));
    return y;
}

static inline uint32_t hiss_smlabt(int32_t a, int32_t b, uint32_t sum)
{
    uint32_t y;
    __asm__("smlabt %0, %1, %2, %3" : "=r"(y) : "r"(a), "r"(b), "r"(sum));
    return y;
}

static inline uint32_t hiss_smlatb(int32_t a, int32_t b, uint32_t sum)
{
    uint32_t y;
    __asm__("smlatb %0, %1, %2, %3" : "=r"(y) : "r"(a), "r"(b), "r"(sum));
    return y;
}

static inline uint32_t hiss_smlatt(int32_t a, int32_t b, uint32_t sum)
{
    uint32_t y;
    __asm__("smlatt %0, %1, %2, %3" : "=r"(y) : "r"(a), "r"(b), "r"(sum));
    return y;
}

/* sum + the products of the low and of the high halves */
static inline uint32_t hiss_smlad(int32_t a, int32_t b, uint32_t sum)
{
    uint32_t y;
    __asm__("smlad %0, %1, %2, %3" : "=r"(y) : "r"(a), "r"(b), "r"(sum));
    return y;
}

static inline int64_t hiss_smlald(int32_t a, int32_t b, int64_t sum)
{
    __asm__("smlald %Q0, %R0, %1, %2" : "+r"(sum) : "r"(a), "r"(b));
    return sum;
}

/* bytes 0 and 2, or 1 and 3, as two halves */
static inline int32_t hiss_sxtb16(int32_t x)
{
    int32_t y;
    __asm__("sxtb16 %0, %1" : "=r"(y) : "r"(x));
    return y;
}

static inline int32_t hiss_sxtb16_odd(int32_t x)
{
    int32_t y;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(y) : "r"(x));
    return y;
}

/* low and high as the halves of a word */
static inline int32_t hiss_both(int32_t low, int32_t high)
{
    int32_t y;
    __asm__("pkhbt %0, %1, %2, lsl #16" : "=r"(y) : "r"(low), "r"(high));
    return y;
}

/* x >> the low byte of `by` */
static inline int32_t hiss_down(uint32_t x, uint32_t by)
{
    int32_t y;
    __asm__("asr %0, %1, %2" : "=r"(y) : "r"(x), "r"(by));
    return y;
}


/* Two or four neighbours in one load; alignment does not matter. */
static inline int32_t hiss_word(const void *address)
{
    int32_t word;
    __builtin_memcpy(&word, address, sizeof word);
    return word;
}

static inline void hiss_put(void *address, int32_t word) { __builtin_memcpy(address, &word, sizeof word); }

#endif

/* A pointer that a loop moves on, and not the compiler: it would compute where the loop ends, in more instructions. */
#if defined(HISS_DSP)
#define HISS_MOVED(pointer) __asm__("" : "+r"(pointer))
#endif

/* Inner loops stand apart: inlined, they share registers with what is outside, and spill. */
#if defined(__GNUC__)
#define HISS_APART __attribute__((noinline))
#else
#define HISS_APART
#endif

/* ---- shifts and saturation: the only places where a negative number is shifted ---- */

HISS_CHECK(hiss_shift_of_a_negative_number_is_arithmetic, (INT32_C(-3) >> 1) == INT32_C(-2));


static inline int64_t hiss_rounded64(int64_t x, int shift)
{
    return shift > 0 ? hiss_asr64(hiss_asr64(x, shift - 1) + 1, 1) : x * (INT64_C(1) << -shift);
}

static inline int16_t hiss_saturated(int32_t x)
{
#if defined(HISS_DSP)
    return (int16_t)hiss_ssat16(x);
#else
    return (int16_t)hiss_clamped(x, INT16_MIN, INT16_MAX);
#endif
}

/* x 2^-shift as a value, to either side. Beyond 15 places to the left only zero does not saturate. */
static int16_t hiss_shifted(int32_t x, int shift)
{
    if (shift >= 0) {
        return hiss_saturated(hiss_rounded(x, shift));
    }
    const int up = shift < -15 ? 15 : -shift;
    x = hiss_clamped(x, INT16_MIN, -(int32_t)INT16_MIN);
#if defined(__AVR__) /* shifts by one place at a time: no multiplication is called for one more */
    for (int left = up; left > 0; --left) {
        x += x;
    }
    return hiss_saturated(x);
#else
    return hiss_saturated(x * (INT32_C(1) << up));
#endif
}

/* x 2^-shift as a value, 0 <= shift < 30; x and the half that rounds fit. */
static inline int16_t hiss_value(int32_t x, int shift)
{
    return hiss_saturated(hiss_asr(x + ((INT32_C(1) << shift) >> 1), shift));
}

/* A sum whose half was added before. */
static inline int16_t hiss_floored(uint32_t sum, int shift) { return hiss_saturated(hiss_asr(hiss_signed(sum), shift)); }

/* A sum of shift + 1 places too many, and its bias in halves of what is left. */
static inline int16_t hiss_halved(uint32_t sum, int shift, int32_t halves)
{
    const int32_t twice = hiss_asr(hiss_signed(sum), shift) + halves;
#if defined(HISS_DSP)
    return (int16_t)hiss_ssat16_half(twice);
#else
    return hiss_saturated(hiss_asr(twice, 1));
#endif
}

static inline int16_t hiss_saturated64(int64_t x)
{
    return (int16_t)(x < INT16_MIN ? INT16_MIN : (x > INT16_MAX ? INT16_MAX : x));
}

static inline int16_t hiss_floored64(int64_t sum, int shift) { return hiss_saturated64(hiss_asr64(sum, shift)); }

/* To either side. */
static int16_t hiss_value64(int64_t x, int shift)
{
    const int64_t y = shift < 0 ? hiss_saturated64(x) : x; /* what saturates now does so after it, too */
    return hiss_saturated64(hiss_rounded64(y, shift));
}

static inline int32_t hiss_abs32(int32_t x) { return x < 0 ? -x : x; }

/* x itself, all of its 32 bits: a compiler that knows of 16 spends instructions on keeping them. */
static inline int32_t hiss_opaque(int32_t x)
{
#if defined(HISS_DSP)
    __asm__("" : "+r"(x));
#endif
    return x;
}

/* ---- Input ---- */

HISS_CHECK(hiss_division_truncates, INT32_C(-7) / 2 == -3);

/* mean samples + rest <- that + x;  mean rounds down, so 0 <= rest < samples. */
static void hiss_measure(int32_t *mean, uint16_t *rest, int32_t x, uint16_t seen, uint16_t samples)
{
    int32_t whole = x / (int32_t)samples;
    int32_t part = x - whole * (int32_t)samples;
    if (part < 0) {
        part += (int32_t)samples;
        --whole;
    }
    if (seen != 0U) {
        whole += *mean;
        part += (int32_t)*rest;
    }
    if (part >= (int32_t)samples) {
        part -= (int32_t)samples;
        ++whole;
    }
    if (seen + 1U == samples) { /* now on the grid of 2^-4, rounded half up */
        const uint32_t sixteenths = ((uint32_t)part * 32U + samples) / (2U * (uint32_t)samples);
        whole = whole * 16 + (int32_t)sixteenths;
        part = 0;
    }
    *mean = whole;
    *rest = (uint16_t)part;
}

static inline int16_t hiss_input(int32_t x, int32_t mean, int32_t offset, int32_t lo, int32_t hi, int shift)
{
    return hiss_shifted(hiss_clamped(x * 16 - mean, lo, hi) - offset, shift);
}

void hiss_tare_s16(int32_t *mean, uint16_t *rest, const int16_t *x, uint16_t seen, uint16_t samples, size_t n)
{
    for (size_t i = 0; i < n; ++i) {
        hiss_measure(mean + i, rest + i, x[i], seen, samples);
    }
}

void hiss_tare_s32(int32_t *mean, uint16_t *rest, const int32_t *x, uint16_t seen, uint16_t samples, size_t n)
{
    for (size_t i = 0; i < n; ++i) {
        hiss_measure(mean + i, rest + i, hiss_sample(x[i]), seen, samples);
    }
}

void hiss_input_s16(int16_t *z, const int16_t *x, const int32_t *mean, const int32_t *offset, const int32_t *lo,
                    const int32_t *hi, const int8_t *shift, size_t n)
{
    for (size_t i = 0; i < n; ++i) {
        z[i] = hiss_input(x[i], mean != NULL ? mean[i] : 0, HISS_I32(offset + i), HISS_I32(lo + i), HISS_I32(hi + i),
                          HISS_I8(shift + i));
    }
}

void hiss_input_alike_s16(int16_t *z, const int16_t *x, int32_t offset, int32_t lo, int32_t hi, int shift, size_t n)
{
    const int32_t times = INT32_C(1) << (shift < 0 ? -shift : 0);
    const int down = shift < 0 ? 0 : shift;
    for (; n > 0; --n) {
        const int32_t u = *x++;
        *z++ = hiss_value((hiss_clamped(u * 16, lo, hi) - offset) * times, down);
    }
}

void hiss_input_s32(int16_t *z, const int32_t *x, const int32_t *mean, const int32_t *offset, const int32_t *lo,
                    const int32_t *hi, const int8_t *shift, size_t n)
{
    for (size_t i = 0; i < n; ++i) {
        z[i] = hiss_input(hiss_sample(x[i]), mean != NULL ? mean[i] : 0, HISS_I32(offset + i), HISS_I32(lo + i),
                          HISS_I32(hi + i), HISS_I8(shift + i));
    }
}

/* ---- Affine: four rows at a time, so that each x is loaded once for four products ---- */

/* Sums of four rows or channels, kept modulo 2^32: each is proven to fit at its end, in whatever order it is added up. */
typedef struct {
    uint32_t a, b, c, d;
} hiss_quad_t;

/* Two bytes of a table, low first. */
static inline int32_t hiss_two(const int8_t *address) { return (HISS_I8(address) & 0xff) + HISS_I8(address + 1) * 256; }

/* Four sums become values; `end`: their halves and their shifts, as hiss_int.h says. */
#if defined(HISS_DSP)

static inline void hiss_ended(int16_t *y, hiss_quad_t s, int32_t ab, int32_t cd, int32_t shifts)
{
    const uint32_t by = (uint32_t)shifts; /* a shift by a register looks at its low byte alone */
    hiss_put(y, hiss_both(hiss_ssat16_half(hiss_sxtah(hiss_down(s.a, by), ab)),
                          hiss_ssat16_half(hiss_sxtah_high(hiss_down(s.b, by >> 8), ab))));
    hiss_put(y + 2, hiss_both(hiss_ssat16_half(hiss_sxtah(hiss_down(s.c, by >> 16), cd)),
                              hiss_ssat16_half(hiss_sxtah_high(hiss_down(s.d, by >> 24), cd))));
}

static inline void hiss_ended_s8(int16_t *y, hiss_quad_t s, const int8_t *end)
{
    hiss_ended(y, s, hiss_word(end), hiss_word(end + 4), hiss_word(end + 8));
}

static inline void hiss_ended_s16(int16_t *y, hiss_quad_t s, const int16_t *end)
{
    hiss_ended(y, s, hiss_word(end), hiss_word(end + 2), hiss_word(end + 4));
}

#else

static inline void hiss_ended_s8(int16_t *y, hiss_quad_t s, const int8_t *end)
{
    y[0] = hiss_halved(s.a, HISS_I8(end + 8), hiss_two(end));
    y[1] = hiss_halved(s.b, HISS_I8(end + 9), hiss_two(end + 2));
    y[2] = hiss_halved(s.c, HISS_I8(end + 10), hiss_two(end + 4));
    y[3] = hiss_halved(s.d, HISS_I8(end + 11), hiss_two(end + 6));
}

static inline void hiss_ended_s16(int16_t *y, hiss_quad_t s, const int16_t *end)
{
    const int32_t upper = HISS_I16(end + 4);
    const int32_t lower = HISS_I16(end + 5);
    y[0] = hiss_halved(s.a, (int)(upper & 0xff), HISS_I16(end));
    y[1] = hiss_halved(s.b, (int)hiss_asr(upper, 8), HISS_I16(end + 1));
    y[2] = hiss_halved(s.c, (int)(lower & 0xff), HISS_I16(end + 2));
    y[3] = hiss_halved(s.d, (int)hiss_asr(lower, 8), HISS_I16(end + 3));
}

#endif

/* sum + w x of one row. */
static inline uint32_t hiss_dot_s8(uint32_t sum, const int8_t *w, const int16_t *x, size_t n)
{
    for (; n > 0; --n, ++w, ++x) {
        sum += (uint32_t)((int32_t)HISS_I8(w) * *x);
    }
    return sum;
}

static inline uint32_t hiss_dot_s16(uint32_t sum, const int16_t *w, const int16_t *x, size_t n)
{
    for (; n > 0; --n, ++w, ++x) {
        sum += (uint32_t)((int32_t)HISS_I16(w) * *x);
    }
    return sum;
}

static inline int64_t hiss_dot_wide_s16(int64_t sum, const int16_t *w, const int16_t *x, size_t n)
{
#if defined(HISS_MVE)
    for (int32_t left = (int32_t)n; left > 0; left -= 8, w += 8, x += 8) {
        const mve_pred16_t lanes = vctp16q((uint32_t)left);
        sum = vmlaldavaq_s16(sum, vldrhq_z_s16(w, lanes), vldrhq_z_s16(x, lanes));
    }
#else
#if defined(HISS_DSP)
    for (; n >= 2; n -= 2, w += 2, x += 2) {
        sum = hiss_smlald(hiss_word(w), hiss_word(x), sum);
    }
#endif
    for (; n > 0; --n, ++w, ++x) {
        sum += (int32_t)HISS_I16(w) * *x;
    }
#endif
    return sum;
}

/* s + four rows of W times x; w stands as hiss_int.h says, and is left behind them. */
static inline hiss_quad_t hiss_quad_s8(hiss_quad_t s, const int8_t **weight, const int16_t *x, size_t left)
{
    const int8_t *w = *weight;
#if defined(HISS_MVE)
    const uint16x8_t column = vidupq_n_u16(0, 1);
    const uint16x8_t odd = vandq_u16(column, vdupq_n_u16(1));
    const uint16x8_t place = vsubq_u16(vshlq_n_u16(column, 2), vshlq_n_u16(odd, 1)); /* 0 2 8 10 16 18 24 26 */
    for (; left >= 2; left -= left < 8 ? left & ~(size_t)1 : 8) {
        const size_t now = left < 8 ? left & ~(size_t)1 : 8;
        const mve_pred16_t lanes = vctp16q((uint32_t)now);
        const int16x8_t u = vldrhq_z_s16(x, lanes);
        s.a = (uint32_t)vmladavaq_s16(hiss_signed(s.a), vldrbq_gather_offset_z_s16(w, place, lanes), u);
        s.b = (uint32_t)vmladavaq_s16(hiss_signed(s.b), vldrbq_gather_offset_z_s16(w + 1, place, lanes), u);
        s.c = (uint32_t)vmladavaq_s16(hiss_signed(s.c), vldrbq_gather_offset_z_s16(w + 4, place, lanes), u);
        s.d = (uint32_t)vmladavaq_s16(hiss_signed(s.d), vldrbq_gather_offset_z_s16(w + 5, place, lanes), u);
        w += 4 * now;
        x += now;
    }
#elif defined(HISS_DSP)
    for (; left >= 2; left -= 2, w += 8, x += 2) {
        const int32_t u = hiss_word(x);
        const int32_t upper = hiss_word(w);
        const int32_t lower = hiss_word(w + 4);
        s.a = hiss_smlad(hiss_sxtb16(upper), u, s.a);
        s.b = hiss_smlad(hiss_sxtb16_odd(upper), u, s.b);
        s.c = hiss_smlad(hiss_sxtb16(lower), u, s.c);
        s.d = hiss_smlad(hiss_sxtb16_odd(lower), u, s.d);
    }
#else
    for (; left >= 2; left -= 2, w += 8, x += 2) {
        const int32_t u = x[0];
        const int32_t v = x[1];
        s.a += (uint32_t)(HISS_I8(w) * u + HISS_I8(w + 2) * v);
        s.b += (uint32_t)(HISS_I8(w + 1) * u + HISS_I8(w + 3) * v);
        s.c += (uint32_t)(HISS_I8(w + 4) * u + HISS_I8(w + 6) * v);
        s.d += (uint32_t)(HISS_I8(w + 5) * u + HISS_I8(w + 7) * v);
    }
#endif
    if (left > 0) {
        const int32_t u = *x;
        s.a += (uint32_t)(HISS_I8(w) * u);
        s.b += (uint32_t)(HISS_I8(w + 1) * u);
        s.c += (uint32_t)(HISS_I8(w + 2) * u);
        s.d += (uint32_t)(HISS_I8(w + 3) * u);
        w += 4;
    }
    *weight = w;
    return s;
}

#if !defined(HISS_DSP)

static inline hiss_quad_t hiss_quad_s16(hiss_quad_t s, const int16_t **weight, const int16_t *x, size_t left)
{
    const int16_t *w = *weight;
#if defined(HISS_MVE)
    const uint16x8_t column = vidupq_n_u16(0, 1);
    const uint16x8_t odd = vandq_u16(column, vdupq_n_u16(1));
    const uint16x8_t place = vsubq_u16(vshlq_n_u16(column, 2), vmulq_n_u16(odd, 3)); /* 0 1 8 9 16 17 24 25 */
    for (; left >= 2; left -= left < 8 ? left & ~(size_t)1 : 8) {
        const size_t now = left < 8 ? left & ~(size_t)1 : 8;
        const mve_pred16_t lanes = vctp16q((uint32_t)now);
        const int16x8_t u = vldrhq_z_s16(x, lanes);
        s.a = (uint32_t)vmladavaq_s16(hiss_signed(s.a), vldrhq_gather_shifted_offset_z_s16(w, place, lanes), u);
        s.b = (uint32_t)vmladavaq_s16(hiss_signed(s.b), vldrhq_gather_shifted_offset_z_s16(w + 2, place, lanes), u);
        s.c = (uint32_t)vmladavaq_s16(hiss_signed(s.c), vldrhq_gather_shifted_offset_z_s16(w + 4, place, lanes), u);
        s.d = (uint32_t)vmladavaq_s16(hiss_signed(s.d), vldrhq_gather_shifted_offset_z_s16(w + 6, place, lanes), u);
        w += 4 * now;
        x += now;
    }
#else
    for (; left >= 2; left -= 2, w += 8, x += 2) {
        const int32_t u = x[0];
        const int32_t v = x[1];
        s.a += (uint32_t)(HISS_I16(w) * u) + (uint32_t)(HISS_I16(w + 1) * v);
        s.b += (uint32_t)(HISS_I16(w + 2) * u) + (uint32_t)(HISS_I16(w + 3) * v);
        s.c += (uint32_t)(HISS_I16(w + 4) * u) + (uint32_t)(HISS_I16(w + 5) * v);
        s.d += (uint32_t)(HISS_I16(w + 6) * u) + (uint32_t)(HISS_I16(w + 7) * v);
    }
#endif
    if (left > 0) {
        const int32_t u = *x;
        s.a += (uint32_t)(HISS_I16(w) * u);
        s.b += (uint32_t)(HISS_I16(w + 1) * u);
        s.c += (uint32_t)(HISS_I16(w + 2) * u);
        s.d += (uint32_t)(HISS_I16(w + 3) * u);
        w += 4;
    }
    *weight = w;
    return s;
}

#endif

#if defined(HISS_DSP)

/* What an affine map goes through, four rows after the other. */
typedef struct {
    const int16_t *x;
    size_t columns;
    int16_t *y;
    size_t rows;
} hiss_fours_t;

/* Four rows begin: sums a to d, x, n columns. They end: w stands before what ends them; once more from 2 on. */
#define HISS_BEGIN                                                                                                     \
    "ldrd %[x], %[n], [%[fours]]\n\tmov %[a], #0\n\tmov %[b], #0\n\tmov %[c], #0\n\tmov %[d], #0\n\t"
#define HISS_END                                                                                                       \
    "ldrd %[u], %[v], [%[w]], #8\n\tldr %[n], [%[w]], #4\n\t"                                                      \
    "asr %[a], %[a], %[n]\n\tlsr %[n], %[n], #8\n\tasr %[b], %[b], %[n]\n\tlsr %[n], %[n], #8\n\t"                     \
    "asr %[c], %[c], %[n]\n\tlsr %[n], %[n], #8\n\tasr %[d], %[d], %[n]\n\t"                                           \
    "sxtah %[a], %[a], %[u]\n\tsxtah %[b], %[b], %[u], ror #16\n\t"                                                   \
    "sxtah %[c], %[c], %[v]\n\tsxtah %[d], %[d], %[v], ror #16\n\t"                                                   \
    "ssat %[a], #16, %[a], asr #1\n\tssat %[b], #16, %[b], asr #1\n\t"                                                \
    "ssat %[c], #16, %[c], asr #1\n\tssat %[d], #16, %[d], asr #1\n\t"                                                \
    "pkhbt %[a], %[a], %[b], lsl #16\n\tpkhbt %[c], %[c], %[d], lsl #16\n\t"                                          \
    "ldrd %[u], %[v], [%[fours], #8]\n\tstr %[a], [%[u]], #4\n\tstr %[c], [%[u]], #4\n\t"                            \
    "subs %[v], %[v], #4\n\tstrd %[u], %[v], [%[fours], #8]\n\tbne 2b"

/* All rows, a multiple of four above 0, with eight columns at a time, as many above 0. The compiler's own loop spills
   registers. */
static HISS_APART void hiss_fours_s8(const int8_t *w, hiss_fours_t *fours)
{
    int32_t a, b, c, d, u, v, upper, lower, n;
#define HISS_PAIR                                                                                                      \
    "ldr %[u], [%[x]], #4\n\tldrd %[upper], %[lower], [%[w]], #8\n\t"                                                  \
    "sxtb16 %[v], %[upper]\n\tsxtb16 %[upper], %[upper], ror #8\n\t"                                                   \
    "smlad %[a], %[v], %[u], %[a]\n\tsmlad %[b], %[upper], %[u], %[b]\n\t"                                             \
    "sxtb16 %[v], %[lower]\n\tsxtb16 %[lower], %[lower], ror #8\n\t"                                                   \
    "smlad %[c], %[v], %[u], %[c]\n\tsmlad %[d], %[lower], %[u], %[d]\n\t"
    const int16_t *x;
    __asm__ volatile("2:\n\t" HISS_BEGIN
                     "1:\n\t" HISS_PAIR HISS_PAIR HISS_PAIR HISS_PAIR "subs %[n], %[n], #8\n\tbne 1b\n\t" HISS_END
                     : [a] "=&r"(a), [b] "=&r"(b), [c] "=&r"(c), [d] "=&r"(d), [w] "+r"(w), [x] "=&r"(x), [n] "=&r"(n),
                       [u] "=&r"(u), [v] "=&r"(v), [upper] "=&r"(upper), [lower] "=&r"(lower)
                     : [fours] "r"(fours)
                     : "cc", "memory");
#undef HISS_PAIR
}

/* The same with two columns at a time and an odd last one. */
static HISS_APART void hiss_fours_s16(const int16_t *w, hiss_fours_t *fours)
{
    int32_t a, b, c, d, u, v, upper, lower, n;
    const int16_t *x;
    __asm__ volatile("2:\n\t" HISS_BEGIN "subs %[n], %[n], #2\n\tbmi 3f\n\t"
                     "1:\n\t"
                     "ldr %[u], [%[x]], #4\n\tldrd %[upper], %[lower], [%[w]], #8\n\t"
                     "smlad %[a], %[upper], %[u], %[a]\n\tsmlad %[b], %[lower], %[u], %[b]\n\t"
                     "ldrd %[upper], %[lower], [%[w]], #8\n\t"
                     "smlad %[c], %[upper], %[u], %[c]\n\tsmlad %[d], %[lower], %[u], %[d]\n\t"
                     "subs %[n], %[n], #2\n\tbpl 1b\n\t"
                     "3:\n\tadds %[n], %[n], #1\n\tbne 4f\n\t"
                     "ldrsh %[u], [%[x]]\n\tldrd %[upper], %[lower], [%[w]], #8\n\t"
                     "smlabb %[a], %[upper], %[u], %[a]\n\tsmlatb %[b], %[upper], %[u], %[b]\n\t"
                     "smlabb %[c], %[lower], %[u], %[c]\n\tsmlatb %[d], %[lower], %[u], %[d]\n\t"
                     "4:\n\t" HISS_END
                     : [a] "=&r"(a), [b] "=&r"(b), [c] "=&r"(c), [d] "=&r"(d), [w] "+r"(w), [x] "=&r"(x), [n] "=&r"(n),
                       [u] "=&r"(u), [v] "=&r"(v), [upper] "=&r"(upper), [lower] "=&r"(lower)
                     : [fours] "r"(fours)
                     : "cc", "memory");
}
#undef HISS_BEGIN
#undef HISS_END

#endif

/* Four rows; returns where the next four stand. */
static HISS_APART const int8_t *hiss_group_s8(const int8_t *w, const int16_t *x, size_t columns, int16_t *y)
{
    const hiss_quad_t none = {0, 0, 0, 0};
    const hiss_quad_t s = hiss_quad_s8(none, &w, x, columns);
    hiss_ended_s8(y, s, w);
    return w + 12;
}

void hiss_affine_s8(int16_t *y, const int8_t *w, const int16_t *x, size_t columns, size_t rows)
{
    for (; rows > 0; rows -= 4, y += 4) {
        w = hiss_group_s8(w, x, columns, y);
    }
}

void hiss_affine_by8_s8(int16_t *y, const int8_t *w, const int16_t *x, size_t columns, size_t rows)
{
#if defined(HISS_DSP)
    hiss_fours_t fours = {x, columns, y, rows};
    hiss_fours_s8(w, &fours);
#else
    hiss_affine_s8(y, w, x, columns, rows);
#endif
}

void hiss_rows_s8(int16_t *y, const int8_t *w, const int16_t *x, size_t columns, size_t rows)
{
    for (; rows > 0; --rows, ++y) {
        const uint32_t sum = hiss_dot_s8(0, w, x, columns);
        w += columns + 3;
        *y = hiss_halved(sum, HISS_I8(w - 1), hiss_two(w - 3));
    }
}

#if !defined(HISS_DSP)

/* Four rows; returns where the next four stand. */
static HISS_APART const int16_t *hiss_group_s16(const int16_t *w, const int16_t *x, size_t columns, int16_t *y)
{
    const hiss_quad_t none = {0, 0, 0, 0};
    const hiss_quad_t s = hiss_quad_s16(none, &w, x, columns);
    hiss_ended_s16(y, s, w);
    return w + 6;
}

#endif

void hiss_affine_s16(int16_t *y, const int16_t *w, const int16_t *x, size_t columns, size_t rows)
{
#if defined(HISS_DSP)
    hiss_fours_t fours = {x, columns, y, rows};
    hiss_fours_s16(w, &fours);
#else
    for (; rows > 0; rows -= 4, y += 4) {
        w = hiss_group_s16(w, x, columns, y);
    }
#endif
}

void hiss_rows_s16(int16_t *y, const int16_t *w, const int16_t *x, size_t columns, size_t rows)
{
    for (; rows > 0; --rows, ++y) {
        const uint32_t sum = hiss_dot_s16(0, w, x, columns);
        w += columns + 2;
        *y = hiss_halved(sum, HISS_I16(w - 1), HISS_I16(w - 2));
    }
}

/* A number of 64 bits, in flash on AVR too. */
static inline int64_t hiss_i64(const int64_t *address)
{
#if defined(__AVR__)
    int64_t value;
    memcpy_P(&value, address, sizeof value);
    return value;
#else
    return *address;
#endif
}

void hiss_affine_wide_s16(int16_t *y, const int16_t *w, const int16_t *x, size_t columns, const int64_t *bias,
                          const int8_t *shift, size_t rows)
{
    for (size_t row = 0; row < rows; ++row, w += columns) {
        y[row] = hiss_floored64(hiss_dot_wide_s16(hiss_i64(bias + row), w, x, columns), HISS_I8(shift + row));
    }
}

void hiss_recent_s16(int16_t *y, const int16_t *w, const int16_t *now, const int16_t *history, uint16_t rows,
                     uint16_t at, const int64_t *bias, const int8_t *shift, size_t outputs)
{
    for (; outputs > 0; --outputs, ++bias, ++shift, ++y) {
        int64_t sum = hiss_i64(bias) + (int32_t)HISS_I16(w) * *now;
        const int16_t *x = history + at;
        ++w;
        for (uint16_t left = at; left > 0; --left, ++w) {
            sum += (int32_t)HISS_I16(w) * *--x;
        }
        x = history + rows;
        for (uint16_t left = (uint16_t)(rows - at); left > 0; --left, ++w) {
            sum += (int32_t)HISS_I16(w) * *--x;
        }
        *y = hiss_floored64(sum, HISS_I8(shift));
    }
}

/* ---- Diagonal ---- */

/* (d h) >> 16, exact: on two halves of h, neither product passes 32 bits. */
static inline int32_t hiss_product(int32_t h, int32_t d)
{
#if defined(HISS_DSP)
    return hiss_smulwb(h, d);
#else
    return d * hiss_asr(h, 16) + hiss_asr(d * (int32_t)((uint32_t)h & UINT32_C(0xffff)), 16);
#endif
}

/* sum + ((d h) >> 16) */
static inline uint32_t hiss_product_sum(int32_t h, int32_t d, uint32_t sum)
{
#if defined(HISS_DSP)
    return hiss_smlawb(h, d, sum);
#else
    return sum + (uint32_t)hiss_product(h, d);
#endif
}

/* u as the state's format has it. */
static inline int32_t hiss_drive(int16_t u, int shift)
{
    return shift > 0 ? hiss_rounded(u, shift) : u * (INT32_C(1) << -shift);
}

/* A mode after a step; re and im are 8 h, and (8 h d) >> 16 has 13 of the bits that d h loses. */
typedef struct {
    int32_t re, im;
} hiss_mode_t;

static inline hiss_mode_t hiss_mode_s32(const int32_t *h, const int16_t *d, int shift, int32_t drive)
{
    const int32_t re = h[0] * 8;
    const int32_t im = h[1] * 8;
#if defined(HISS_DSP)
    const int32_t pair = hiss_word(d);
    const int32_t turned_re = hiss_smulwb(re, pair) - hiss_smulwt(im, pair);
    const int32_t turned_im = hiss_signed(hiss_smlawt(re, pair, (uint32_t)hiss_smulwb(im, pair)));
#else
    const int32_t d_re = HISS_I16(d);
    const int32_t d_im = HISS_I16(d + 1);
    const int32_t turned_re = hiss_product(re, d_re) - hiss_product(im, d_im);
    const int32_t turned_im = hiss_product(im, d_re) + hiss_product(re, d_im);
#endif
    const hiss_mode_t mode = {hiss_signed((uint32_t)h[0] + (uint32_t)drive - (uint32_t)hiss_asr(turned_re, shift)),
                              hiss_signed((uint32_t)h[1] - (uint32_t)hiss_asr(turned_im, shift))};
    return mode;
}

/* sum + Re(c h), c as (re, -im) */
static inline uint32_t hiss_reading_s16(hiss_mode_t mode, const int16_t *c, uint32_t sum)
{
#if defined(HISS_DSP)
    const int32_t pair = hiss_word(c);
    return hiss_smlawt(mode.im, pair, hiss_smlawb(mode.re, pair, sum));
#else
    sum += (uint32_t)hiss_product(mode.re, HISS_I16(c));
    return sum + (uint32_t)hiss_product(mode.im, HISS_I16(c + 1));
#endif
}

static inline uint32_t hiss_reading_s8(hiss_mode_t mode, const int8_t *c, uint32_t sum)
{
    return hiss_product_sum(mode.im, HISS_I8(c + 1), hiss_product_sum(mode.re, HISS_I8(c), sum));
}

#if defined(HISS_MVE)

/* Four modes at a time: (8 h d) >> 16 is the high half of 8 h times 2^16 d. Returns how many modes are done. */
static inline size_t hiss_modes_s32(int32_t *h, const int16_t *d, const int8_t *shifts, int32_t drive, size_t modes)
{
    size_t mode = 0;
    for (; mode + 4 <= modes; mode += 4) {
        int32x4x2_t state = vld2q_s32(h + 2 * mode);
        const int32x4_t pairs = vreinterpretq_s32_s16(vldrhq_s16(d + 2 * mode));
        const int32x4_t d_re = vshlq_n_s32(pairs, 16);
        const int32x4_t d_im = vshlq_n_s32(vshrq_n_s32(pairs, 16), 16);
        const int32x4_t down = vnegq_s32(vldrbq_s32(shifts + mode));
        const int32x4_t re = vshlq_n_s32(state.val[0], 3);
        const int32x4_t im = vshlq_n_s32(state.val[1], 3);
        const int32x4_t turned_re = vsubq_s32(vmulhq_s32(re, d_re), vmulhq_s32(im, d_im));
        const int32x4_t turned_im = vaddq_s32(vmulhq_s32(im, d_re), vmulhq_s32(re, d_im));
        state.val[0] = vaddq_n_s32(vsubq_s32(state.val[0], vshlq_s32(turned_re, down)), drive);
        state.val[1] = vsubq_s32(state.val[1], vshlq_s32(turned_im, down));
        vst2q_s32(h + 2 * mode, state);
    }
    return mode;
}

#endif

void hiss_diagonal_step_s32(int32_t *h, const int16_t *d, const int8_t *shifts, const int8_t *drive,
                            const int16_t *u, size_t channels, size_t modes)
{
    for (size_t channel = 0; channel < channels; ++channel) {
        const int32_t push = hiss_drive(u[channel], HISS_I8(drive + channel));
        size_t left = modes;
#if defined(HISS_MVE)
        const size_t done = hiss_modes_s32(h, d, shifts, push, modes);
        left -= done;
        h += 2 * done;
        d += 2 * done;
        shifts += done;
#endif
        for (; left > 0; --left, h += 2, d += 2, ++shifts) {
            const hiss_mode_t mode = hiss_mode_s32(h, d, HISS_I8(shifts), push);
            h[0] = mode.re;
            h[1] = mode.im;
        }
    }
}

/* y of a channel: a sum that begins with feed u and the half that rounds. */
static inline uint32_t hiss_fed(int16_t feed, int16_t u, int shift)
{
    return (uint32_t)((int32_t)feed * u) + ((UINT32_C(1) << shift) >> 1);
}

void hiss_diagonal_read_s32_s8(int16_t *y, const int32_t *h, const int8_t *c, const int16_t *feed, const int8_t *shift,
                               const int16_t *u, size_t channels, size_t modes)
{
    for (size_t channel = 0; channel < channels; ++channel) {
        const int down = HISS_I8(shift + channel);
        uint32_t sum = hiss_fed(HISS_I16(feed + channel), u[channel], down);
        for (size_t left = modes; left > 0; --left, h += 2, c += 2) {
            const hiss_mode_t mode = {h[0], h[1]};
            sum = hiss_reading_s8(mode, c, sum);
        }
        y[channel] = hiss_floored(sum, down);
    }
}

#if defined(HISS_MVE)

/* sum + the readings of a channel */
static inline uint32_t hiss_readings_s16(uint32_t sum, const int32_t *h, const int16_t *c, size_t modes)
{
    for (int32_t left = (int32_t)(2 * modes); left > 0; left -= 4, h += 4, c += 4) {
        const mve_pred16_t lanes = vctp32q((uint32_t)left);
        const int32x4_t high = vshlq_n_s32(vldrhq_z_s32(c, lanes), 16);
        sum = (uint32_t)vaddvaq_s32(hiss_signed(sum), vmulhq_s32(vldrwq_z_s32(h, lanes), high));
    }
    return sum;
}

#endif

void hiss_diagonal_read_s32_s16(int16_t *y, const int32_t *h, const int16_t *c, const int16_t *feed,
                                const int8_t *shift, const int16_t *u, size_t channels, size_t modes)
{
    for (size_t channel = 0; channel < channels; ++channel) {
        const int down = HISS_I8(shift + channel);
        uint32_t sum = hiss_fed(HISS_I16(feed + channel), u[channel], down);
#if defined(HISS_MVE)
        sum = hiss_readings_s16(sum, h, c, modes);
        h += 2 * modes;
        c += 2 * modes;
#else
        for (size_t left = modes; left > 0; --left, h += 2, c += 2) {
            const hiss_mode_t mode = {h[0], h[1]};
            sum = hiss_reading_s16(mode, c, sum);
        }
#endif
        y[channel] = hiss_floored(sum, down);
    }
}

/* A channel in one pass: its modes, one or more, step, and sum + their readings.   m: 1 - a and c of each mode. */
static HISS_APART uint32_t hiss_stepped_s16(int32_t *h, const int16_t *m, int32_t drive, uint32_t sum, int shift, size_t modes)
{
#if defined(HISS_DSP)
    int32_t re;
    int32_t im;
    int32_t pair;
    int32_t reading;
    int32_t eight_re;
    int32_t eight_im;
    int32_t turned;
    __asm__ volatile("1:\n\t"
                     "ldrd %[re], %[im], [%[h]]\n\tldrd %[pair], %[reading], [%[m]], #8\n\t"
                     "lsl %[eight_im], %[im], #3\n\tlsl %[eight_re], %[re], #3\n\t"
                     "smulwb %[turned], %[eight_im], %[pair]\n\tsmulwt %[eight_im], %[eight_im], %[pair]\n\t"
                     "smlawt %[turned], %[eight_re], %[pair], %[turned]\n\t"
                     "smulwb %[eight_re], %[eight_re], %[pair]\n\t"
                     "sub %[eight_re], %[eight_re], %[eight_im]\n\t"
                     "asr %[eight_re], %[eight_re], %[shift]\n\tasr %[turned], %[turned], %[shift]\n\t"
                     "add %[re], %[re], %[drive]\n\tsub %[re], %[re], %[eight_re]\n\t"
                     "sub %[im], %[im], %[turned]\n\tstrd %[re], %[im], [%[h]], #8\n\t"
                     "smlawb %[sum], %[re], %[reading], %[sum]\n\tsmlawt %[sum], %[im], %[reading], %[sum]\n\t"
                     "subs %[n], %[n], #1\n\tbne 1b"
                     : [h] "+r"(h), [m] "+r"(m), [sum] "+r"(sum), [n] "+r"(modes), [re] "=&r"(re), [im] "=&r"(im),
                       [pair] "=&r"(pair), [reading] "=&r"(reading), [eight_re] "=&r"(eight_re),
                       [eight_im] "=&r"(eight_im), [turned] "=&r"(turned)
                     : [drive] "r"(drive), [shift] "r"(shift)
                     : "cc", "memory");
#else
#if defined(HISS_MVE)
    const uint32x4_t place = vidupq_n_u32(0, 4);
    for (; modes >= 4; modes -= 4, h += 8, m += 16) {
        int32x4x2_t state = vld2q_s32(h);
        const int32x4_t d_re = vshlq_n_s32(vldrhq_gather_shifted_offset_s32(m, place), 16);
        const int32x4_t d_im = vshlq_n_s32(vldrhq_gather_shifted_offset_s32(m + 1, place), 16);
        const int32x4_t c_re = vshlq_n_s32(vldrhq_gather_shifted_offset_s32(m + 2, place), 16);
        const int32x4_t c_im = vshlq_n_s32(vldrhq_gather_shifted_offset_s32(m + 3, place), 16);
        const int32x4_t eight_re = vshlq_n_s32(state.val[0], 3);
        const int32x4_t eight_im = vshlq_n_s32(state.val[1], 3);
        const int32x4_t turned_re = vsubq_s32(vmulhq_s32(eight_re, d_re), vmulhq_s32(eight_im, d_im));
        const int32x4_t turned_im = vaddq_s32(vmulhq_s32(eight_im, d_re), vmulhq_s32(eight_re, d_im));
        state.val[0] = vaddq_n_s32(vsubq_s32(state.val[0], vshlq_r_s32(turned_re, -shift)), drive);
        state.val[1] = vsubq_s32(state.val[1], vshlq_r_s32(turned_im, -shift));
        vst2q_s32(h, state);
        sum = (uint32_t)vaddvaq_s32(hiss_signed(sum), vmulhq_s32(state.val[0], c_re));
        sum = (uint32_t)vaddvaq_s32(hiss_signed(sum), vmulhq_s32(state.val[1], c_im));
    }
#endif
    for (; modes > 0; --modes, h += 2, m += 4) {
        const hiss_mode_t mode = hiss_mode_s32(h, m, shift, drive);
        h[0] = mode.re;
        h[1] = mode.im;
        sum = hiss_reading_s16(mode, m + 2, sum);
    }
#endif
    return sum;
}

void hiss_diagonal_s32_s16(int16_t *y, int32_t *h, const int16_t *m, const int16_t *u, size_t channels, size_t modes)
{
    for (; channels > 0; --channels, h += 2 * modes, m += 4 * modes) {
        const int32_t feed = HISS_I16(m);
        const int32_t shifts = HISS_I16(m + 1); /* of the products and of the sum, 5 bits each, then of u + 32 */
        const int down = (int)(hiss_asr(shifts, 5) & 31);
        const int32_t push = hiss_drive(*u, (int)(hiss_asr(shifts, 10) & 63) - 32);
        m += 2;
        *y++ = hiss_floored(hiss_stepped_s16(h, m, push, hiss_fed((int16_t)feed, *u++, down), (int)(shifts & 31), modes), down);
    }
}

void hiss_diagonal_real_s32_s16(int16_t *y, int32_t *h, const int16_t *m, const int16_t *u, size_t channels, size_t modes)
{
    for (; channels > 0; --channels) {
#if defined(HISS_DSP)
        const uint32_t head = (uint32_t)hiss_word(m);
#else
        const uint32_t head = (uint32_t)(uint16_t)HISS_I16(m + 1) << 16 | (uint16_t)HISS_I16(m);
#endif
        const int32_t now = *u++;
        const int by = (int)(head >> 16 & 31U);
        const int32_t push = hiss_signed((uint32_t)now << (32U - (head >> 26)));
        uint32_t sum = (uint32_t)((int16_t)(head & 0xffffU) * now);
        m += 2;
        size_t left = modes;
        do { /* imaginary parts stay 0 */
#if defined(HISS_DSP)
            const int32_t pair = hiss_word(m);
            const int32_t re = *h + push - hiss_asr(hiss_smulwb(*h * 8, pair), by);
            sum = hiss_smlawt(re, pair, sum);
            HISS_MOVED(m);
            HISS_MOVED(h);
#else
            const int32_t re = *h + push - hiss_asr(hiss_product(*h * 8, HISS_I16(m)), by);
            sum += (uint32_t)hiss_product(re, HISS_I16(m + 1));
#endif
            *h = re;
            m += 2, h += 2;
        } while (--left > 0);
        *y++ = hiss_halved(sum, (int)(head >> 21 & 31U) - 1, 1);
    }
}

void hiss_diagonal_step_s16(int16_t *h, const int16_t *d, const int8_t *shifts, const int8_t *drive,
                            const int16_t *u, size_t channels, size_t modes)
{
    for (size_t channel = 0; channel < channels; ++channel) {
        for (size_t left = modes; left > 0; --left, h += 2, d += 2, ++shifts, ++drive) {
            const int32_t d_re = HISS_I16(d);
            const int32_t d_im = HISS_I16(d + 1);
            const int by = HISS_I8(shifts);
            const int32_t half = (INT32_C(1) << by) >> 1;
            const int32_t re = h[0];
            const int32_t im = h[1];
            const int32_t push = hiss_drive(u[channel], HISS_I8(drive));
            h[0] = (int16_t)(re - hiss_asr(hiss_signed((uint32_t)(d_re * re - d_im * im) + (uint32_t)half), by) + push);
            h[1] = (int16_t)(im - hiss_asr(hiss_signed((uint32_t)(d_re * im + d_im * re) + (uint32_t)half), by));
        }
    }
}

void hiss_diagonal_read_s16_s8(int16_t *y, const int16_t *h, const int8_t *c, const int16_t *feed, const int8_t *shift,
                               const int16_t *u, size_t channels, size_t modes)
{
    for (size_t channel = 0; channel < channels; ++channel, h += 2 * modes, c += 2 * modes) {
        const int down = HISS_I8(shift + channel);
        const uint32_t sum = hiss_fed(HISS_I16(feed + channel), u[channel], down);
        y[channel] = hiss_floored(hiss_dot_s8(sum, c, h, 2 * modes), down);
    }
}

void hiss_diagonal_read_s16_s16(int16_t *y, const int16_t *h, const int16_t *c, const int16_t *feed,
                                const int8_t *shift, const int16_t *u, size_t channels, size_t modes)
{
    for (size_t channel = 0; channel < channels; ++channel, h += 2 * modes, c += 2 * modes) {
        const int down = HISS_I8(shift + channel);
        const uint32_t sum = hiss_fed(HISS_I16(feed + channel), u[channel], down);
        y[channel] = hiss_floored(hiss_dot_s16(sum, c, h, 2 * modes), down);
    }
}

/* ---- Fir: four channels at a time, one row of the past after the other ---- */

/* s + a row of taps times a row of the past */
static inline hiss_quad_t hiss_taps_s8(hiss_quad_t s, const int8_t *taps, const int16_t *u)
{
#if defined(HISS_DSP)
    const int32_t four = hiss_word(taps);
    const int32_t even = hiss_sxtb16(four);
    const int32_t odd = hiss_sxtb16_odd(four);
    const int32_t u01 = hiss_word(u);
    const int32_t u23 = hiss_word(u + 2);
    s.a = hiss_smlabb(even, u01, s.a);
    s.b = hiss_smlabt(odd, u01, s.b);
    s.c = hiss_smlatb(even, u23, s.c);
    s.d = hiss_smlatt(odd, u23, s.d);
#else
    s.a += (uint32_t)((int32_t)HISS_I8(taps) * u[0]);
    s.b += (uint32_t)((int32_t)HISS_I8(taps + 1) * u[1]);
    s.c += (uint32_t)((int32_t)HISS_I8(taps + 2) * u[2]);
    s.d += (uint32_t)((int32_t)HISS_I8(taps + 3) * u[3]);
#endif
    return s;
}

/* Four channels: the present sample, `n` of the past backward from `past`, then `older` backward from `end`. */
static HISS_APART void hiss_convolved_s8(int16_t *y, const int8_t *ends, const int16_t *u, size_t channels, size_t n,
                                         const int16_t *past, size_t older, const int16_t *end)
{
    const hiss_quad_t none = {0, 0, 0, 0};
    const int8_t *taps = ends + 12;
    hiss_quad_t s = hiss_taps_s8(none, taps, u);
    for (;;) {
        while (n > 0) {
            --n;
            taps += 4;
            past -= channels;
            s = hiss_taps_s8(s, taps, past);
        }
        if (older == 0) {
            break;
        }
        past = end;
        n = older;
        older = 0;
    }
    hiss_ended_s8(y, s, ends);
}

/* s + a row of taps times a row of the past */
static inline hiss_quad_t hiss_taps_s16(hiss_quad_t s, const int16_t *taps, const int16_t *u)
{
#if defined(HISS_DSP)
    const int32_t t01 = hiss_word(taps);
    const int32_t t23 = hiss_word(taps + 2);
    const int32_t u01 = hiss_word(u);
    const int32_t u23 = hiss_word(u + 2);
    s.a = hiss_smlabb(t01, u01, s.a);
    s.b = hiss_smlatt(t01, u01, s.b);
    s.c = hiss_smlabb(t23, u23, s.c);
    s.d = hiss_smlatt(t23, u23, s.d);
#else
    s.a += (uint32_t)((int32_t)HISS_I16(taps) * u[0]);
    s.b += (uint32_t)((int32_t)HISS_I16(taps + 1) * u[1]);
    s.c += (uint32_t)((int32_t)HISS_I16(taps + 2) * u[2]);
    s.d += (uint32_t)((int32_t)HISS_I16(taps + 3) * u[3]);
#endif
    return s;
}

/* Four channels: the present sample, `n` of the past backward from `past`, then `older` backward from `end`. */
static HISS_APART void hiss_convolved_s16(int16_t *y, const int16_t *ends, const int16_t *u, size_t channels, size_t n,
                                         const int16_t *past, size_t older, const int16_t *end)
{
    const hiss_quad_t none = {0, 0, 0, 0};
    const int16_t *taps = ends + 6;
    hiss_quad_t s = hiss_taps_s16(none, taps, u);
    for (;;) {
        while (n > 0) {
            --n;
            taps += 4;
            past -= channels;
            s = hiss_taps_s16(s, taps, past);
        }
        if (older == 0) {
            break;
        }
        past = end;
        n = older;
        older = 0;
    }
    hiss_ended_s16(y, s, ends);
}

void hiss_fir_s8(int16_t *y, const int16_t *history, const int8_t *taps, const int16_t *u, size_t channels, size_t n_taps,
                 size_t at, size_t past, size_t n)
{
    const size_t unbroken = past < at ? past : at; /* what is older stands at the ring's other end */
    for (; n > 0; n -= 4) {
        const int16_t *const newest = history + at * channels;
        const int16_t *const end = history + (n_taps - 1) * channels;
        hiss_convolved_s8(y, taps, u, channels, unbroken, newest, past - unbroken, end);
        taps += 12 + 4 * n_taps, u += 4, history += 4, y += 4;
    }
}

void hiss_filters_s8(int16_t *y, const int16_t *history, const int8_t *taps, const int16_t *u, size_t channels,
                     size_t n_taps, size_t at, size_t past, size_t n)
{
    for (; n > 0; --n, ++history) {
        const int8_t *const t = taps + 3;
        uint32_t sum = (uint32_t)((int32_t)HISS_I8(t) * *u++);
        size_t row = at;
        for (size_t age = 1; age <= past; ++age) {
            row = (row > 0 ? row : n_taps - 1) - 1;
            sum += (uint32_t)((int32_t)HISS_I8(t + age) * history[row * channels]);
        }
        *y++ = hiss_halved(sum, HISS_I8(taps + 2), hiss_two(taps));
        taps = t + n_taps;
    }
}

void hiss_fir_s16(int16_t *y, const int16_t *history, const int16_t *taps, const int16_t *u, size_t channels, size_t n_taps,
                 size_t at, size_t past, size_t n)
{
    const size_t unbroken = past < at ? past : at; /* what is older stands at the ring's other end */
    for (; n > 0; n -= 4) {
        const int16_t *const newest = history + at * channels;
        const int16_t *const end = history + (n_taps - 1) * channels;
        hiss_convolved_s16(y, taps, u, channels, unbroken, newest, past - unbroken, end);
        taps += 6 + 4 * n_taps, u += 4, history += 4, y += 4;
    }
}

void hiss_filters_s16(int16_t *y, const int16_t *history, const int16_t *taps, const int16_t *u, size_t channels,
                     size_t n_taps, size_t at, size_t past, size_t n)
{
    for (; n > 0; --n, ++history) {
        const int16_t *const t = taps + 2;
        uint32_t sum = (uint32_t)((int32_t)HISS_I16(t) * *u++);
        size_t row = at;
        for (size_t age = 1; age <= past; ++age) {
            row = (row > 0 ? row : n_taps - 1) - 1;
            sum += (uint32_t)((int32_t)HISS_I16(t + age) * history[row * channels]);
        }
        *y++ = hiss_halved(sum, HISS_I16(taps + 1), HISS_I16(taps));
        taps = t + n_taps;
    }
}

/* ---- Delay ---- */

static const int16_t *hiss_row(const int16_t *history, size_t age, size_t rows, size_t width, size_t at)
{
    return history + (at >= age ? at - age : at + rows - age) * width;
}

void hiss_delay_s16(int16_t *y, const int16_t *history, const uint16_t *ages, const uint16_t *channels, size_t n,
                    size_t rows, size_t width, size_t at)
{
    for (size_t i = 0; i < n; ++i) {
        y[i] = hiss_row(history, HISS_U16(ages + i), rows, width, at)[HISS_U16(channels + i)];
    }
}

void hiss_lags_s16(int16_t *y, const int16_t *history, const uint16_t *ages, size_t n_ages, size_t rows, size_t width,
                   size_t at)
{
    for (size_t lag = 0; lag < n_ages; ++lag) {
        hiss_copy_s16(y + lag * width, hiss_row(history, HISS_U16(ages + lag), rows, width, at), width);
    }
}

void hiss_delay_start_s16(int16_t *history, const int16_t *u, size_t rows, size_t width)
{
    for (; rows > 0; --rows, history += width) {
        hiss_copy_s16(history, u, width);
    }
}

void hiss_fill_s16(int16_t *history, int16_t first, size_t rows)
{
    for (; rows > 0; --rows) {
        *history++ = first;
    }
}

void hiss_push_s16(int16_t *history, const int16_t *u, size_t width, size_t at)
{
    hiss_copy_s16(history + at * width, u, width);
}

/* ---- tables: functions of v = |x| with 2^m segments a unit, units of 2^-15; past the end the last entry holds ---- */

/* tables: written by tools/integer_tables.py */
#define HISS_GELU_END 5
#define HISS_GELU_LOG2 5

/* T of gelu, 32 segments a unit */
static const int16_t hiss_gelu_table[162] HISS_TABLE = {
    0, -499, -973, -1421, -1844, -2242, -2615, -2963, -3287, -3587, -3864, -4117, -4348, -4556,
    -4743, -4909, -5055, -5181, -5288, -5376, -5447, -5501, -5539, -5562, -5570, -5564, -5545, -5513,
    -5470, -5417, -5353, -5280, -5199, -5110, -5014, -4911, -4803, -4690, -4573, -4452, -4327, -4201,
    -4072, -3942, -3810, -3678, -3546, -3415, -3284, -3154, -3025, -2898, -2773, -2650, -2530, -2412,
    -2297, -2185, -2076, -1970, -1868, -1768, -1672, -1580, -1491, -1405, -1323, -1245, -1169, -1097,
    -1029, -963, -901, -842, -786, -733, -683, -635, -591, -548, -509, -471, -436, -403,
    -373, -344, -317, -292, -269, -247, -227, -208, -190, -174, -159, -145, -133, -121,
    -110, -100, -91, -83, -75, -68, -61, -56, -50, -45, -41, -37, -33, -30,
    -27, -24, -21, -19, -17, -15, -14, -12, -11, -10, -9, -8, -7, -6,
    -5, -5, -4, -4, -3, -3, -3, -2, -2, -2, -1, -1, -1, -1,
    -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0,
};

#define HISS_SILU_END 14
#define HISS_SILU_LOG2 5

/* T of silu, 32 segments a unit */
static const int16_t hiss_silu_table[450] HISS_TABLE = {
    0, -504, -992, -1464, -1920, -2360, -2785, -3194, -3587, -3964, -4326, -4673, -5005, -5322,
    -5625, -5912, -6186, -6445, -6690, -6922, -7140, -7345, -7538, -7717, -7885, -8040, -8183, -8315,
    -8436, -8546, -8645, -8734, -8813, -8882, -8942, -8993, -9035, -9068, -9094, -9112, -9122, -9125,
    -9121, -9110, -9093, -9070, -9041, -9006, -8967, -8922, -8872, -8818, -8760, -8698, -8632, -8562,
    -8490, -8414, -8335, -8253, -8169, -8083, -7995, -7904, -7812, -7718, -7623, -7527, -7429, -7330,
    -7231, -7131, -7030, -6929, -6827, -6725, -6623, -6521, -6418, -6316, -6214, -6113, -6011, -5910,
    -5810, -5710, -5611, -5512, -5415, -5317, -5221, -5126, -5031, -4937, -4845, -4753, -4662, -4572,
    -4484, -4396, -4310, -4224, -4140, -4057, -3975, -3894, -3815, -3736, -3659, -3583, -3508, -3434,
    -3362, -3290, -3220, -3151, -3083, -3017, -2951, -2887, -2823, -2761, -2700, -2640, -2582, -2524,
    -2467, -2412, -2357, -2304, -2252, -2200, -2150, -2101, -2052, -2005, -1959, -1913, -1869, -1825,
    -1782, -1740, -1699, -1659, -1620, -1582, -1544, -1507, -1471, -1436, -1402, -1368, -1335, -1303,
    -1271, -1241, -1210, -1181, -1152, -1124, -1097, -1070, -1043, -1018, -993, -968, -944, -921,
    -898, -876, -854, -833, -812, -792, -772, -752, -734, -715, -697, -680, -662, -646,
    -629, -613, -598, -583, -568, -553, -539, -525, -512, -499, -486, -474, -462, -450,
    -438, -427, -416, -405, -395, -384, -374, -365, -355, -346, -337, -328, -320, -311,
    -303, -295, -288, -280, -273, -266, -259, -252, -245, -239, -233, -226, -220, -215,
    -209, -203, -198, -193, -188, -183, -178, -173, -169, -164, -160, -156, -151, -147,
    -143, -140, -136, -132, -129, -125, -122, -119, -115, -112, -109, -106, -104, -101,
    -98, -95, -93, -90, -88, -86, -83, -81, -79, -77, -75, -73, -71, -69,
    -67, -65, -63, -62, -60, -58, -57, -55, -54, -52, -51, -49, -48, -47,
    -45, -44, -43, -42, -41, -40, -38, -37, -36, -35, -34, -33, -33, -32,
    -31, -30, -29, -28, -28, -27, -26, -25, -25, -24, -23, -23, -22, -21,
    -21, -20, -20, -19, -19, -18, -18, -17, -17, -16, -16, -15, -15, -14,
    -14, -14, -13, -13, -13, -12, -12, -12, -11, -11, -11, -10, -10, -10,
    -9, -9, -9, -9, -8, -8, -8, -8, -8, -7, -7, -7, -7, -7,
    -6, -6, -6, -6, -6, -6, -5, -5, -5, -5, -5, -5, -5, -4,
    -4, -4, -4, -4, -4, -4, -4, -4, -3, -3, -3, -3, -3, -3,
    -3, -3, -3, -3, -3, -2, -2, -2, -2, -2, -2, -2, -2, -2,
    -2, -2, -2, -2, -2, -2, -2, -2, -2, -1, -1, -1, -1, -1,
    -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
    -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
    -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0,
};

#define HISS_SOFTPLUS_END 11
#define HISS_SOFTPLUS_LOG2 5

/* T of softplus, 32 segments a unit */
static const int16_t hiss_softplus_table[354] HISS_TABLE = {
    22713, 22205, 21705, 21213, 20729, 20253, 19785, 19325, 18872, 18428, 17991, 17563, 17142, 16728,
    16323, 15925, 15535, 15152, 14776, 14408, 14048, 13694, 13348, 13009, 12677, 12352, 12034, 11722,
    11418, 11120, 10828, 10544, 10265, 9993, 9727, 9467, 9213, 8965, 8723, 8486, 8255, 8030,
    7810, 7596, 7386, 7182, 6983, 6789, 6600, 6415, 6236, 6061, 5890, 5724, 5562, 5404,
    5250, 5101, 4955, 4813, 4675, 4541, 4410, 4283, 4159, 4039, 3922, 3808, 3697, 3589,
    3484, 3383, 3284, 3187, 3094, 3003, 2914, 2828, 2745, 2664, 2585, 2508, 2434, 2362,
    2292, 2224, 2157, 2093, 2031, 1970, 1911, 1854, 1798, 1744, 1692, 1641, 1592, 1544,
    1498, 1453, 1409, 1367, 1325, 1285, 1247, 1209, 1172, 1137, 1103, 1069, 1037, 1005,
    975, 945, 917, 889, 862, 836, 810, 786, 762, 739, 716, 694, 673, 653,
    633, 613, 595, 577, 559, 542, 525, 509, 494, 479, 464, 450, 436, 423,
    410, 397, 385, 373, 362, 351, 340, 330, 320, 310, 300, 291, 282, 274,
    265, 257, 249, 242, 234, 227, 220, 213, 207, 200, 194, 188, 183, 177,
    172, 166, 161, 156, 151, 147, 142, 138, 134, 130, 126, 122, 118, 114,
    111, 107, 104, 101, 98, 95, 92, 89, 86, 84, 81, 79, 76, 74,
    72, 69, 67, 65, 63, 61, 59, 58, 56, 54, 52, 51, 49, 48,
    46, 45, 43, 42, 41, 40, 38, 37, 36, 35, 34, 33, 32, 31,
    30, 29, 28, 27, 26, 26, 25, 24, 23, 23, 22, 21, 21, 20,
    19, 19, 18, 18, 17, 16, 16, 15, 15, 15, 14, 14, 13, 13,
    12, 12, 12, 11, 11, 11, 10, 10, 10, 9, 9, 9, 9, 8,
    8, 8, 8, 7, 7, 7, 7, 6, 6, 6, 6, 6, 6, 5,
    5, 5, 5, 5, 5, 4, 4, 4, 4, 4, 4, 4, 4, 3,
    3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 2, 2, 2, 2,
    2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1,
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    1, 1, 1, 1,
};

#define HISS_SIGMOID_END 11
#define HISS_SIGMOID_LOG2 4

/* T of sigmoid, 16 segments a unit */
static const int16_t hiss_sigmoid_table[178] HISS_TABLE = {
    0, 512, 1023, 1532, 2037, 2539, 3036, 3528, 4013, 4490, 4960, 5420, 5871, 6312,
    6743, 7163, 7571, 7968, 8353, 8726, 9087, 9435, 9771, 10095, 10406, 10706, 10993, 11269,
    11533, 11785, 12027, 12258, 12478, 12688, 12888, 13078, 13260, 13432, 13595, 13751, 13898, 14038,
    14171, 14296, 14415, 14528, 14634, 14735, 14830, 14920, 15005, 15085, 15161, 15232, 15300, 15363,
    15423, 15480, 15533, 15584, 15631, 15676, 15718, 15757, 15795, 15830, 15863, 15894, 15923, 15951,
    15977, 16001, 16024, 16046, 16066, 16085, 16103, 16120, 16136, 16151, 16165, 16178, 16190, 16202,
    16213, 16223, 16233, 16242, 16251, 16259, 16266, 16273, 16280, 16286, 16292, 16298, 16303, 16308,
    16312, 16317, 16321, 16325, 16328, 16332, 16335, 16338, 16341, 16343, 16346, 16348, 16350, 16352,
    16354, 16356, 16358, 16359, 16361, 16362, 16363, 16365, 16366, 16367, 16368, 16369, 16370, 16371,
    16372, 16372, 16373, 16374, 16374, 16375, 16375, 16376, 16376, 16377, 16377, 16378, 16378, 16378,
    16379, 16379, 16379, 16380, 16380, 16380, 16380, 16381, 16381, 16381, 16381, 16381, 16382, 16382,
    16382, 16382, 16382, 16382, 16382, 16382, 16383, 16383, 16383, 16383, 16383, 16383, 16383, 16383,
    16383, 16383, 16383, 16383, 16383, 16383, 16383, 16383, 16383, 16383,
};

#define HISS_TANH_END 6
#define HISS_TANH_LOG2 6

/* T of tanh, 64 segments a unit */
static const int16_t hiss_tanh_table[386] HISS_TABLE = {
    0, 512, 1024, 1535, 2045, 2555, 3063, 3570, 4075, 4578, 5079, 5577, 6073, 6566,
    7056, 7542, 8025, 8505, 8980, 9452, 9919, 10382, 10840, 11294, 11743, 12186, 12625, 13058,
    13486, 13909, 14326, 14737, 15143, 15542, 15936, 16324, 16706, 17082, 17452, 17816, 18173, 18525,
    18870, 19209, 19542, 19869, 20189, 20504, 20813, 21115, 21411, 21702, 21986, 22265, 22538, 22804,
    23066, 23321, 23571, 23815, 24054, 24287, 24516, 24738, 24956, 25168, 25376, 25578, 25776, 25969,
    26157, 26340, 26519, 26694, 26864, 27029, 27191, 27348, 27502, 27651, 27797, 27938, 28076, 28211,
    28341, 28469, 28592, 28713, 28830, 28944, 29055, 29163, 29268, 29370, 29470, 29566, 29660, 29751,
    29840, 29926, 30010, 30091, 30170, 30247, 30322, 30394, 30465, 30533, 30600, 30664, 30727, 30788,
    30847, 30904, 30960, 31014, 31067, 31118, 31167, 31215, 31262, 31307, 31351, 31394, 31435, 31476,
    31515, 31553, 31589, 31625, 31659, 31693, 31726, 31757, 31788, 31817, 31846, 31874, 31901, 31928,
    31953, 31978, 32002, 32025, 32048, 32070, 32091, 32112, 32132, 32151, 32170, 32188, 32206, 32223,
    32240, 32256, 32271, 32287, 32301, 32316, 32329, 32343, 32356, 32368, 32381, 32392, 32404, 32415,
    32426, 32436, 32447, 32456, 32466, 32475, 32484, 32493, 32501, 32509, 32517, 32525, 32532, 32540,
    32547, 32553, 32560, 32566, 32573, 32579, 32584, 32590, 32596, 32601, 32606, 32611, 32616, 32620,
    32625, 32629, 32634, 32638, 32642, 32646, 32649, 32653, 32657, 32660, 32663, 32667, 32670, 32673,
    32676, 32678, 32681, 32684, 32686, 32689, 32691, 32694, 32696, 32698, 32700, 32702, 32704, 32706,
    32708, 32710, 32712, 32714, 32715, 32717, 32718, 32720, 32721, 32723, 32724, 32726, 32727, 32728,
    32729, 32731, 32732, 32733, 32734, 32735, 32736, 32737, 32738, 32739, 32740, 32741, 32741, 32742,
    32743, 32744, 32745, 32745, 32746, 32747, 32747, 32748, 32749, 32749, 32750, 32750, 32751, 32751,
    32752, 32752, 32753, 32753, 32754, 32754, 32755, 32755, 32755, 32756, 32756, 32757, 32757, 32757,
    32758, 32758, 32758, 32759, 32759, 32759, 32759, 32760, 32760, 32760, 32760, 32761, 32761, 32761,
    32761, 32762, 32762, 32762, 32762, 32762, 32762, 32763, 32763, 32763, 32763, 32763, 32763, 32764,
    32764, 32764, 32764, 32764, 32764, 32764, 32764, 32765, 32765, 32765, 32765, 32765, 32765, 32765,
    32765, 32765, 32765, 32765, 32766, 32766, 32766, 32766, 32766, 32766, 32766, 32766, 32766, 32766,
    32766, 32766, 32766, 32766, 32766, 32766, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767,
    32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767,
    32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767,
    32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767,
};

#define HISS_DECAY_LAST 512
#define HISS_DECAY_LOG2 5

/* (1 - exp(-v)) / v, 32 segments a unit */
static const uint16_t hiss_decay_table[514] HISS_TABLE = {
    32768, 32261, 31765, 31279, 30803, 30336, 29879, 29432, 28993, 28563, 28142, 27729, 27325, 26929,
    26540, 26160, 25786, 25421, 25062, 24710, 24366, 24028, 23696, 23371, 23053, 22740, 22434, 22133,
    21838, 21549, 21265, 20986, 20713, 20445, 20182, 19924, 19671, 19422, 19178, 18939, 18704, 18473,
    18247, 18024, 17806, 17591, 17381, 17174, 16971, 16772, 16576, 16383, 16194, 16009, 15826, 15647,
    15471, 15298, 15128, 14960, 14796, 14635, 14476, 14320, 14167, 14016, 13868, 13722, 13579, 13438,
    13299, 13163, 13029, 12897, 12767, 12639, 12514, 12390, 12269, 12149, 12031, 11915, 11801, 11689,
    11579, 11470, 11363, 11258, 11154, 11052, 10951, 10852, 10755, 10658, 10564, 10471, 10379, 10288,
    10199, 10112, 10025, 9940, 9856, 9773, 9692, 9611, 9532, 9454, 9377, 9301, 9226, 9152,
    9080, 9008, 8937, 8867, 8799, 8731, 8664, 8598, 8533, 8468, 8405, 8342, 8281, 8220,
    8160, 8100, 8042, 7984, 7927, 7871, 7815, 7761, 7706, 7653, 7600, 7548, 7497, 7446,
    7396, 7346, 7297, 7249, 7201, 7154, 7107, 7061, 7016, 6971, 6926, 6882, 6839, 6796,
    6754, 6712, 6670, 6629, 6589, 6549, 6509, 6470, 6432, 6394, 6356, 6318, 6281, 6245,
    6209, 6173, 6138, 6103, 6068, 6034, 6000, 5967, 5933, 5901, 5868, 5836, 5804, 5773,
    5742, 5711, 5681, 5650, 5621, 5591, 5562, 5533, 5504, 5476, 5448, 5420, 5392, 5365,
    5338, 5311, 5285, 5259, 5233, 5207, 5182, 5156, 5131, 5107, 5082, 5058, 5034, 5010,
    4986, 4963, 4940, 4917, 4894, 4871, 4849, 4827, 4805, 4783, 4761, 4740, 4719, 4698,
    4677, 4656, 4636, 4615, 4595, 4575, 4556, 4536, 4517, 4497, 4478, 4459, 4440, 4422,
    4403, 4385, 4367, 4349, 4331, 4313, 4295, 4278, 4261, 4243, 4226, 4209, 4193, 4176,
    4159, 4143, 4127, 4111, 4095, 4079, 4063, 4047, 4032, 4016, 4001, 3986, 3971, 3956,
    3941, 3926, 3912, 3897, 3883, 3868, 3854, 3840, 3826, 3812, 3799, 3785, 3771, 3758,
    3744, 3731, 3718, 3705, 3692, 3679, 3666, 3653, 3640, 3628, 3615, 3603, 3591, 3578,
    3566, 3554, 3542, 3530, 3518, 3507, 3495, 3483, 3472, 3460, 3449, 3438, 3426, 3415,
    3404, 3393, 3382, 3371, 3361, 3350, 3339, 3329, 3318, 3308, 3297, 3287, 3277, 3266,
    3256, 3246, 3236, 3226, 3216, 3207, 3197, 3187, 3177, 3168, 3158, 3149, 3139, 3130,
    3121, 3111, 3102, 3093, 3084, 3075, 3066, 3057, 3048, 3039, 3031, 3022, 3013, 3004,
    2996, 2987, 2979, 2970, 2962, 2954, 2945, 2937, 2929, 2921, 2913, 2905, 2897, 2889,
    2881, 2873, 2865, 2857, 2849, 2842, 2834, 2826, 2819, 2811, 2804, 2796, 2789, 2781,
    2774, 2767, 2759, 2752, 2745, 2738, 2731, 2724, 2717, 2709, 2703, 2696, 2689, 2682,
    2675, 2668, 2661, 2655, 2648, 2641, 2635, 2628, 2621, 2615, 2608, 2602, 2595, 2589,
    2583, 2576, 2570, 2564, 2557, 2551, 2545, 2539, 2533, 2527, 2521, 2515, 2509, 2503,
    2497, 2491, 2485, 2479, 2473, 2467, 2461, 2456, 2450, 2444, 2439, 2433, 2427, 2422,
    2416, 2411, 2405, 2399, 2394, 2389, 2383, 2378, 2372, 2367, 2362, 2356, 2351, 2346,
    2341, 2335, 2330, 2325, 2320, 2315, 2310, 2305, 2300, 2294, 2289, 2284, 2280, 2275,
    2270, 2265, 2260, 2255, 2250, 2245, 2241, 2236, 2231, 2226, 2222, 2217, 2212, 2208,
    2203, 2198, 2194, 2189, 2185, 2180, 2175, 2171, 2166, 2162, 2158, 2153, 2149, 2144,
    2140, 2136, 2131, 2127, 2123, 2118, 2114, 2110, 2106, 2101, 2097, 2093, 2089, 2085,
    2081, 2076, 2072, 2068, 2064, 2060, 2056, 2052, 2048, 2048,
};

/* 2^(i / 64), units of 2^-14 */
static const uint16_t hiss_exp2_table[65] HISS_TABLE = {
    16384, 16562, 16743, 16925, 17109, 17296, 17484, 17674, 17867, 18061, 18258, 18457, 18658, 18861,
    19066, 19274, 19484, 19696, 19911, 20127, 20347, 20568, 20792, 21019, 21247, 21479, 21713, 21949,
    22188, 22430, 22674, 22921, 23170, 23423, 23678, 23936, 24196, 24460, 24726, 24995, 25268, 25543,
    25821, 26102, 26386, 26674, 26964, 27258, 27554, 27855, 28158, 28464, 28774, 29088, 29405, 29725,
    30048, 30376, 30706, 31041, 31379, 31720, 32066, 32415, 32768,
};

/* 1 / sqrt((i + 16.5) / 64), units of 2^-15 */
static const uint16_t hiss_rsqrt_table[48] HISS_TABLE = {
    64535, 62664, 60947, 59364, 57898, 56535, 55265, 54076, 52961, 51912, 50923, 49989, 49104, 48265,
    47467, 46707, 45983, 45292, 44630, 43997, 43390, 42808, 42248, 41710, 41192, 40693, 40211, 39746,
    39297, 38863, 38443, 38036, 37642, 37260, 36889, 36529, 36179, 35840, 35509, 35188, 34875, 34571,
    34274, 33985, 33703, 33427, 33159, 32897,
};
/* end of tables */
/* T(|u|) + (more - 2^13) 2^-14: |u| is cut at `end` and goes up to 2^14 an entry; past the last entry, the last one. */
static inline int32_t hiss_interpolated(const int16_t *table, int32_t end, int up, int32_t u, int32_t more)
{
    const int32_t v = hiss_abs32(u);
    const int32_t place = hiss_signed((uint32_t)(v < end ? v : end) << up);
    const int16_t *const entry = table + hiss_asr(place, 14);
    const int32_t part = place & 0x3fff;
#if defined(HISS_DSP)
    const int32_t shares = part * 0xffff + 0x4000; /* low half: of this entry, 2^14 - part; high half: of the next, part */
    return hiss_asr(hiss_signed(hiss_smlad(hiss_word(entry), shares, (uint32_t)more)), 14);
#else
    const int32_t low = HISS_I16(entry);
    return hiss_asr(low * 0x4000 + (HISS_I16(entry + 1) - low) * part + more, 14);
#endif
}

/* y = max(x, 0) + T(|x|), max(x, 0) times 2^line */
static HISS_APART void hiss_even(int16_t *y, const int16_t *x, size_t n, int line, int shift, const int16_t *table,
                                 int32_t end, int up)
{
    const int32_t more = 0x2000 + ((INT32_C(0x4000) << shift) >> 1 & ~INT32_C(0x3fff));
    const int32_t times = INT32_C(1) << line;
    for (; n > 0; --n, ++x, ++y) {
        const int32_t u = hiss_opaque(*x);
        const int32_t rest = hiss_interpolated(table, end, up, u, more);
        *y = hiss_saturated(hiss_asr((u & ~hiss_asr(u, 31)) * times + rest, shift));
    }
}

/* y = centre + sign(x) T(|x|) */
static HISS_APART void hiss_odd(int16_t *y, const int16_t *x, size_t n, int32_t centre, int shift,
                                const int16_t *table, int32_t end, int up)
{
    const int32_t middle = centre + ((INT32_C(1) << shift) >> 1);
    for (; n > 0; --n, ++x, ++y) {
        const int32_t u = hiss_opaque(*x);
        const int32_t rest = hiss_interpolated(table, end, up, u, 0x2000);
        const int32_t sign = hiss_asr(u, 31);
        *y = hiss_saturated(hiss_asr((rest ^ sign) - sign + middle, shift));
    }
}

/* ---- Map, and what goes with it ---- */

/* u <- u sigmoid(v) */
static HISS_APART void hiss_gate(int16_t *u, const int16_t *v, const int8_t *how, size_t n)
{
    const int frac = HISS_I8(how);
    const int open = HISS_I8(how + 1);
    const int product = HISS_I8(how + 2);
    const int32_t end = INT32_C(HISS_SIGMOID_END) << frac;
    const int32_t middle = (INT32_C(1) << 14) + ((INT32_C(1) << open) >> 1);
    const int32_t half = (INT32_C(1) << product) >> 1;
    for (; n > 0; --n, ++u, ++v) {
        const int32_t w = hiss_opaque(*v);
        const int32_t rest = hiss_interpolated(hiss_sigmoid_table, end, HISS_SIGMOID_LOG2 + 14 - frac, w, 0x2000);
        const int32_t sign = hiss_asr(w, 31);
        const int32_t share = hiss_saturated(hiss_asr((rest ^ sign) - sign + middle, open));
        *u = hiss_floored((uint32_t)(share * *u + half), product);
    }
}

/* u <- u sigmoid(v) in its format, then y = x + u: what three kernels would do. */
void hiss_glu_s16(int16_t *y, const int16_t *x, int16_t *u, const int16_t *v, const int8_t *how, size_t n)
{
    hiss_gate(u, v, how, n);
    const int32_t up_x = INT32_C(1) << HISS_I8(how + 3);
    const int32_t up_u = INT32_C(1) << HISS_I8(how + 4);
    const int down = HISS_I8(how + 5);
    const int32_t half = (INT32_C(1) << down) >> 1;
#if defined(HISS_DSP)
    for (; n >= 2; n -= 2, y += 2, x += 2, u += 2) {
        const int32_t a = hiss_word(x);
        const int32_t b = hiss_word(u);
        const uint32_t low = hiss_smlabb(b, up_u, hiss_smlabb(a, up_x, (uint32_t)half));
        const uint32_t high = hiss_smlatb(b, up_u, hiss_smlatb(a, up_x, (uint32_t)half));
        hiss_put(y, hiss_both(hiss_ssat16(hiss_asr(hiss_signed(low), down)), hiss_ssat16(hiss_asr(hiss_signed(high), down))));
        HISS_MOVED(x);
        HISS_MOVED(u);
        HISS_MOVED(y);
    }
#endif
    for (; n > 0; --n, ++y, ++x, ++u) {
        *y = hiss_floored((uint32_t)(*x * up_x + *u * up_u + half), down);
    }
}

void hiss_gelu_s16(int16_t *y, const int16_t *x, int frac, int out, size_t n)
{
    hiss_even(y, x, n, 15 - frac, 15 - out, hiss_gelu_table, INT32_C(HISS_GELU_END) << frac, HISS_GELU_LOG2 + 14 - frac);
}

void hiss_silu_s16(int16_t *y, const int16_t *x, int frac, int out, size_t n)
{
    hiss_even(y, x, n, 15 - frac, 15 - out, hiss_silu_table, INT32_C(HISS_SILU_END) << frac, HISS_SILU_LOG2 + 14 - frac);
}

void hiss_softplus_s16(int16_t *y, const int16_t *x, int frac, int out, size_t n)
{
    hiss_even(y, x, n, 15 - frac, 15 - out, hiss_softplus_table, INT32_C(HISS_SOFTPLUS_END) << frac, HISS_SOFTPLUS_LOG2 + 14 - frac);
}

void hiss_sigmoid_s16(int16_t *y, const int16_t *x, int frac, int out, size_t n)
{
    hiss_odd(y, x, n, INT32_C(1) << 14, 15 - out, hiss_sigmoid_table, INT32_C(HISS_SIGMOID_END) << frac, HISS_SIGMOID_LOG2 + 14 - frac);
}

void hiss_tanh_s16(int16_t *y, const int16_t *x, int frac, int out, size_t n)
{
    hiss_odd(y, x, n, 0, 15 - out, hiss_tanh_table, INT32_C(HISS_TANH_END) << frac, HISS_TANH_LOG2 + 14 - frac);
}

/* e^x = 2^(x log2 e): the whole part shifts, the rest interpolates in the table of 2^f. log2 e has 14 bits. */
void hiss_exp_s16(int16_t *y, const int16_t *x, int frac, int out, size_t n)
{
    for (size_t i = 0; i < n; ++i) {
        const int32_t power = hiss_clamped(hiss_rounded(x[i] * INT32_C(23637), frac - 1), -(INT32_C(1) << 20),
                                           INT32_C(1) << 20); /* units of 2^-15 */
        const int32_t rest = power & INT32_C(32767);
        const int32_t low = HISS_U16(hiss_exp2_table + (rest >> 9));
        const int32_t slope = HISS_U16(hiss_exp2_table + (rest >> 9) + 1) - low;
        const int32_t mantissa = low + hiss_rounded(slope * (rest & 511), 9); /* units of 2^-14 */
        y[i] = hiss_shifted(mantissa, (int)hiss_clamped(14 - out - hiss_asr(power, 15), -15, 32));
    }
}

void hiss_relu_s16(int16_t *y, const int16_t *x, int shift, size_t n)
{
    for (size_t i = 0; i < n; ++i) {
        y[i] = hiss_shifted(x[i] > 0 ? x[i] : 0, shift);
    }
}

void hiss_clip_s16(int16_t *y, const int16_t *x, int16_t lo, int16_t hi, int shift, size_t n)
{
    for (size_t i = 0; i < n; ++i) {
        y[i] = hiss_shifted(hiss_clamped(x[i], lo, hi), shift);
    }
}

/* ---- Norm ---- */

/* 1 / sqrt(p) = r 2^-(29 + s), p = m 4^s with m in [1/4, 1): a guess, then twice y <- y (3 - m y^2) / 2. */
static int32_t hiss_rsqrt_s64(uint64_t p, int *exponent)
{
    int s = (p >> 32) != 0U ? 16 : 0;
    for (uint32_t top = (uint32_t)(s != 0 ? p >> 32 : p); top != 0U; top >>= 2) {
        ++s;
    }
    const uint32_t m = (uint32_t)(s > 16 ? p >> (2 * s - 32) : p << (32 - 2 * s)); /* units of 2^-32 */
    uint64_t y = HISS_U16(hiss_rsqrt_table + ((m >> 26) - 16U));                     /* units of 2^-15 */
    y = (y * (UINT64_C(3221225472) - ((y * y * (m >> 2)) >> 30))) >> 31;
    *exponent = s;
    return (int32_t)((y * (UINT64_C(3221225472) - ((y * y * (m >> 2)) >> 30))) >> 17);
}

/* |v| < 2^s, so v goes up to 31 bits before its product with the root. */
static void hiss_norm(int16_t *y, const int16_t *x, uint32_t times, uint32_t sum, int64_t power, const int16_t *gain,
                      int shift, size_t n)
{
    int s;
    const int32_t root = (hiss_rsqrt_s64((uint64_t)power, &s) + 16384) >> 15;
    const int32_t r = root < INT16_MAX ? root : INT16_MAX;
    times <<= 31 - s;
    sum <<= 31 - s;
    for (; n > 0; --n, ++x, ++y, gain += 2) {
        const int32_t u = *x;
        const int32_t w = hiss_product(hiss_signed(times * (uint32_t)u - sum), r);
#if defined(HISS_DSP)
        const int32_t pair = hiss_word(gain);
        *y = (int16_t)hiss_ssat16_half(hiss_sxtah_high(hiss_asr(hiss_smulwb(w, pair), shift), pair));
#else
        *y = hiss_halved((uint32_t)hiss_product(w, HISS_I16(gain)), shift, HISS_I16(gain + 1));
#endif
    }
}

/* The sum of x, and that of its squares. */
static int64_t hiss_squares(const int16_t *x, size_t n, int32_t *sum)
{
    int64_t squares = 0;
    uint32_t s = 0;
#if defined(HISS_DSP)
    for (; n >= 4; n -= 4, x += 4) {
        const int32_t pair = hiss_word(x);
        const int32_t next = hiss_word(x + 2);
        squares = hiss_smlald(next, next, hiss_smlald(pair, pair, squares));
        s = hiss_smlad(next, INT32_C(0x10001), hiss_smlad(pair, INT32_C(0x10001), s));
    }
#endif
    for (; n > 0; --n, ++x) {
        const int32_t u = *x;
        squares += u * u;
        s += (uint32_t)u;
    }
    *sum = hiss_signed(s);
    return squares;
}

void hiss_norm_layer_s16(int16_t *y, const int16_t *x, const int16_t *gain, int64_t eps, int shift, size_t n)
{
    int32_t sum;
    const int64_t squares = hiss_squares(x, n, &sum);
    const int64_t power = (int64_t)n * ((int64_t)n * squares - (int64_t)sum * sum); /* sum of (n x - sum)^2 */
    hiss_norm(y, x, (uint32_t)n, (uint32_t)sum, power + eps, gain, shift, n);
}

void hiss_norm_rms_s16(int16_t *y, const int16_t *x, const int16_t *gain, int64_t eps, int shift, size_t n)
{
    int32_t sum; /* not needed */
    const int64_t squares = hiss_squares(x, n, &sum);
    hiss_norm(y, x, 1U, 0U, squares + eps, gain, shift, n);
}

/* ---- Selective ---- */

/* 1 - exp(-t) in units of 2^-30, t >= 0 with `frac` fractional bits: t g(t), g = (1 - exp(-t)) / t out of the table. */
static int64_t hiss_decay(int64_t t, int frac)
{
    const int over = frac > HISS_DECAY_LOG2 ? frac - HISS_DECAY_LOG2 : 0;
    const int64_t end = (int64_t)HISS_DECAY_LAST * (INT64_C(1) << (over < 31 ? over : 31)); /* t < 2^31: it is no end */
    const int64_t within = t < end ? t : end;
    const int64_t place = hiss_rounded64(within, frac - (HISS_DECAY_LOG2 + 15)); /* of a segment, units of 2^-15 */
    const int32_t index = (int32_t)(place >> 15);
    if (index >= HISS_DECAY_LAST) {
        return INT64_C(1) << 30;
    }
    const int32_t low = HISS_U16(hiss_decay_table + index);
    const int32_t slope = HISS_U16(hiss_decay_table + index + 1) - low;
    const int32_t g = low + hiss_rounded(slope * (int32_t)(place & 32767), 15);
    const int64_t share = hiss_rounded64(within * g, frac - 15);
    return share < (INT64_C(1) << 30) ? share : INT64_C(1) << 30;
}

void hiss_selective_step_s16(int32_t *h, const int16_t *a, const int8_t *frac, const int8_t *drive, const int16_t *delta,
                             const int16_t *b, const int16_t *u, size_t channels, size_t modes)
{
    for (size_t channel = 0; channel < channels; ++channel) {
        const int32_t d = delta[channel] > 0 ? delta[channel] : 0;
        const int64_t du = (int64_t)d * u[channel];
        for (size_t mode = 0; mode < modes; ++mode, ++h, ++a, ++frac) {
            const int64_t share = hiss_decay(d * HISS_I16(a), HISS_I8(frac));
            const int64_t push = hiss_rounded64(du * b[mode], HISS_I8(drive + channel));
            *h = (int32_t)(*h - hiss_rounded64(*h * share, 30) + push);
        }
    }
}

void hiss_selective_read_s16(int16_t *y, const int32_t *h, const int16_t *c, const int16_t *feed, const int8_t *direct,
                             const int8_t *shift, const int16_t *u, size_t channels, size_t modes)
{
    for (size_t channel = 0; channel < channels; ++channel) {
        int64_t sum = hiss_rounded64((int32_t)HISS_I16(feed + channel) * u[channel], HISS_I8(direct + channel));
        for (size_t mode = 0; mode < modes; ++mode, ++h) {
            sum += hiss_product(*h, c[mode]);
        }
        y[channel] = hiss_value64(sum, HISS_I8(shift + channel));
    }
}

/* ---- Add, Mul, copies ---- */

void hiss_add_s16(int16_t *y, const int16_t *a, int up_a, const int16_t *b, int up_b, int shift, size_t n)
{
    for (size_t i = 0; i < n; ++i) {
        y[i] = hiss_value(a[i] * (INT32_C(1) << up_a) + b[i] * (INT32_C(1) << up_b), shift);
    }
}

void hiss_sub_s16(int16_t *y, const int16_t *a, int up_a, const int16_t *b, int up_b, int shift, size_t n)
{
    for (size_t i = 0; i < n; ++i) {
        y[i] = hiss_value(a[i] * (INT32_C(1) << up_a) - b[i] * (INT32_C(1) << up_b), shift);
    }
}

void hiss_sum_s16(int64_t *sum, const int16_t *x, int up, int sign, size_t n)
{
    for (size_t i = 0; i < n; ++i) {
        sum[i] += (int32_t)sign * x[i] * (INT64_C(1) << up);
    }
}

void hiss_sum_end_s16(int16_t *y, const int64_t *sum, int shift, size_t n)
{
    for (size_t i = 0; i < n; ++i) {
        y[i] = hiss_value64(sum[i], shift);
    }
}

void hiss_mul_s16(int16_t *y, const int16_t *a, const int16_t *b, int shift, size_t n)
{
    const int32_t half = (INT32_C(1) << shift) >> 1;
#if defined(HISS_DSP)
    for (; n >= 2; n -= 2, a += 2, b += 2, y += 2) {
        const int32_t u = hiss_word(a);
        const int32_t v = hiss_word(b);
        const int32_t low = hiss_asr(hiss_signed(hiss_smlabb(u, v, (uint32_t)half)), shift);
        const int32_t high = hiss_asr(hiss_signed(hiss_smlatt(u, v, (uint32_t)half)), shift);
        hiss_put(y, hiss_both(hiss_ssat16(low), hiss_ssat16(high)));
    }
#endif
    for (; n > 0; --n, ++a, ++b, ++y) {
        *y = hiss_floored((uint32_t)((int32_t)*a * *b + half), shift);
    }
}

HISS_APART void hiss_copy_s16(int16_t *y, const int16_t *x, size_t n)
{
#if defined(HISS_DSP)
    for (; n >= 4; n -= 4, x += 4, y += 4) {
        const int32_t next = hiss_word(x + 2);
        hiss_put(y, hiss_word(x));
        hiss_put(y + 2, next);
        HISS_MOVED(x);
        HISS_MOVED(y);
    }
#endif
    for (; n > 0; --n, ++x, ++y) {
        *y = *x;
    }
}

void hiss_zero_s16(int16_t *y, size_t n)
{
    for (size_t i = 0; i < n; ++i) {
        y[i] = 0;
    }
}

void hiss_zero_s32(int32_t *y, size_t n)
{
    for (size_t i = 0; i < n; ++i) {
        y[i] = 0;
    }
}
