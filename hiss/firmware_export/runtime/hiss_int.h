/* hiss_int.h: the step operations of a recurrent program in integers.

   One kernel per operation, the same for every model, and the same bits on every processor: with the DSP instructions
   of Armv7E-M and Armv8-M, with Helium, or in plain C (-DHISS_PORTABLE). No malloc, no stdio, no recursion, no float, no
   libm, no data of its own: all state is the caller's.

   Names:   u, x input;  y output;  H channels;  N modes per channel;  K taps.  Matrices are row-major.
   Formats: a value of f fractional bits stands for its integer times 2^-f. Values are int16, states int32 or int16.
   Shifts:  x 2^-shift rounds half up, (x + 2^(shift-1)) >> shift; a negative one goes left. What becomes a value
            saturates to int16. Sums and states do not: the exporter has proven that they fit.
   y may be the same array as an elementwise kernel's input; elsewhere the arrays must not overlap. */

#ifndef HISS_INT_H
#define HISS_INT_H

#include "hiss_base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- shifts and saturation: the only places where a negative number is shifted ---- */

static inline int32_t hiss_asr(int32_t x, int n) { return x >> n; }
static inline int64_t hiss_asr64(int64_t x, int n) { return x >> n; }
/* Sums and states may pass 32 bits on the way to a result that does not. */
static inline int32_t hiss_signed(uint32_t x) { return (int32_t)x; }
static inline int32_t hiss_clamped(int32_t x, int32_t lo, int32_t hi) { return x < lo ? lo : (x > hi ? hi : x); }

/* x 2^-shift, shift >= 0, rounded half up; without the sum x + 2^(shift-1), which could overflow. */
static inline int32_t hiss_rounded(int32_t x, int shift)
{
    return shift > 0 ? hiss_asr(hiss_asr(x, shift - 1) + 1, 1) : x;
}

/* Samples of 32 bits count within +-2^26. */
static inline int32_t hiss_sample(int32_t x) { return hiss_clamped(x, -(INT32_C(1) << 26), (INT32_C(1) << 26) - 1); }

/* ---- what a step does ---- */

/* Tare of n samples.  mean 2^-4 is their mean once it stands; until then mean n + rest is their sum. `seen` of them
   were measured before this one. */
void hiss_tare_s16(int32_t *mean, uint16_t *rest, const int16_t *x, uint16_t seen, uint16_t samples, size_t n);
void hiss_tare_s32(int32_t *mean, uint16_t *rest, const int32_t *x, uint16_t seen, uint16_t samples, size_t n);
/* z = (clip(2^4 x - mean, lo, hi) - offset) 2^-shift.   mean may be NULL. */
void hiss_input_s16(int16_t *z, const int16_t *x, const int32_t *mean, const int32_t *offset, const int32_t *lo,
                    const int32_t *hi, const int8_t *shift, size_t n);
void hiss_input_s32(int16_t *z, const int32_t *x, const int32_t *mean, const int32_t *offset, const int32_t *lo,
                    const int32_t *hi, const int8_t *shift, size_t n);

/* Channels that are alike, without a tare; lo and hi keep z within a unit of int16, -15 <= shift <= 14. */
void hiss_input_alike_s16(int16_t *z, const int16_t *x, int32_t offset, int32_t lo, int32_t hi, int shift, size_t n);
/* z of one channel, whose numbers are constants of the model's source; lo and hi keep it within int16; shift >= 0. */
static inline int16_t hiss_input_one(int32_t x, int32_t mean, int32_t offset, int32_t lo, int32_t hi, int shift)
{
    return (int16_t)hiss_rounded(hiss_clamped(x * 16 - mean, lo, hi) - offset, shift);
}

/* What ends four sums: their halves h (a bias in halves of y's unit, the half that rounds included), then their shifts s;
   y = ((sum >> s) + h) >> 1. In s8 tables h takes two bytes, low first, and s one; in s16 tables two s share a number,
   the first one in its low byte: the same bytes. What ends one sum: h, s. */

/* Affine.  y = W x + bias, a shift a row. A sum of terms is one term: their columns and their x, one after the other.
   W: (rows, columns), four rows and two columns at a time: s8 as 00 10 01 11 20 30 21 31, s16 as 00 01 10 11 20 21 30 31;
   of an odd last column the four rows; then what ends them.   rows: each row, then what ends it.
   rows are a multiple of 4, of `rows` any number.   by8: columns are a multiple of 8, above 0.   wide: a sum may need more than 32 bits; y = (bias + W x) >> shift, W row
   by row, the bias with the half that rounds. */
void hiss_affine_s8(int16_t *y, const int8_t *w, const int16_t *x, size_t columns, size_t rows);
void hiss_affine_by8_s8(int16_t *y, const int8_t *w, const int16_t *x, size_t columns, size_t rows);
void hiss_affine_s16(int16_t *y, const int16_t *w, const int16_t *x, size_t columns, size_t rows);
void hiss_rows_s8(int16_t *y, const int8_t *w, const int16_t *x, size_t columns, size_t rows);
void hiss_rows_s16(int16_t *y, const int16_t *w, const int16_t *x, size_t columns, size_t rows);
void hiss_affine_wide_s16(int16_t *y, const int16_t *w, const int16_t *x, size_t columns, const int64_t *bias,
                          const int8_t *shift, size_t rows);

/* Lags of one channel, read where they lie.  y = (bias + W [now, past newest first]) >> shift, a row an output.
   history: (rows) ring, `at` its next place;  W: (outputs, 1 + rows), row by row;  sums below 2^39, shifts 8 to 39. */
void hiss_recent_s16(int16_t *y, const int16_t *w, const int16_t *now, const int16_t *history, uint16_t rows,
                     uint16_t at, const int64_t *bias, const int8_t *shift, size_t outputs);

/* y of one output, whose numbers are constants of the model's source; at most 127 rows. */
#if defined(__AVR__)

#define HISS_PRODUCT                                                                                                   \
    "lpm %[wl], %a[w]+\n\tlpm %[wh], %a[w]+\n\tld %[xh], -%a[x]\n\tld %[xl], -%a[x]\n\t"                                \
    "mul %[wl], %[xl]\n\t"                                                                                             \
    "add %A[low], r0\n\tadc %B[low], r1\n\tadc %C[low], %[zero]\n\t"                                                  \
    "mulsu %[wh], %[xl]\n\tsbc %C[middle], %[zero]\n\t"                                                               \
    "add %A[middle], r0\n\tadc %B[middle], r1\n\tadc %C[middle], %[zero]\n\t"                                         \
    "mulsu %[xh], %[wl]\n\tsbc %C[middle], %[zero]\n\t"                                                               \
    "add %A[middle], r0\n\tadc %B[middle], r1\n\tadc %C[middle], %[zero]\n\t"                                         \
    "muls %[wh], %[xh]\n\tsbc %C[high], %[zero]\n\t"                                                                  \
    "add %A[high], r0\n\tadc %B[high], r1\n\tadc %C[high], %[zero]\n"

/* In columns of 24 bits: 256^0, 256^1 and 256^2 times products of bytes, 128 of which fit. 35 cycles a product, where
   the compiler's own multiplication takes 120. Three runs of samples: now, before `at`, and what is older. */
static inline int16_t hiss_recent_one(const int16_t *w, const int16_t *now, const int16_t *history, uint16_t rows,
                                      uint16_t at, int64_t bias, int shift)
{
    const int16_t *x = now + 1, *next = history + at;
    uint8_t wl, wh, xl, xh, zero, n = 1, more = (uint8_t)at, rest = (uint8_t)(rows - at);
    __uint24 low = (uint8_t)bias, middle = 0, high = 0;
    __asm__ volatile("clr %[zero]\n"
                     "0:\tsbrs %[n], 0\n\trjmp 1f\n\tinc %[n]\n\trjmp 2f\n"
                     "1:\t" HISS_PRODUCT "2:\t" HISS_PRODUCT "\tsubi %[n], 2\n\tbrne 1b\n"
                     "3:\tmovw %A[x], %A[next]\n\tmov %[n], %[more]\n\t"
                     "movw %A[next], %A[last]\n\tmov %[more], %[rest]\n\tclr %[rest]\n\t"
                     "tst %[n]\n\tbrne 0b\n\ttst %[more]\n\tbrne 3b\n\t"
                     "clr __zero_reg__"
                     : [low] "+l"(low), [middle] "+l"(middle), [high] "+l"(high), [w] "+z"(w), [x] "+x"(x),
                       [next] "+r"(next), [more] "+r"(more), [rest] "+r"(rest), [n] "+d"(n), [wl] "=&a"(wl),
                       [wh] "=&a"(wh), [xl] "=&a"(xl), [xh] "=&a"(xh), [zero] "=&l"(zero)
                     : [last] "r"(history + rows)
                     : "r0", "memory");
    const int32_t sum = (int32_t)hiss_asr64(bias, 8) + hiss_asr(hiss_signed((uint32_t)middle << 8), 8) +
                        hiss_signed((uint32_t)high << 8) + hiss_signed(low >> 8);
    const int32_t y = hiss_asr(sum, shift - 8);
    return (int16_t)y == y ? (int16_t)y : (int16_t)(y < 0 ? INT16_MIN : INT16_MAX);
}

#undef HISS_PRODUCT

#else

static inline int16_t hiss_recent_one(const int16_t *w, const int16_t *now, const int16_t *history, uint16_t rows,
                                      uint16_t at, int64_t bias, int shift)
{
    int64_t sum = bias + (int32_t)*w++ * *now;
    const int16_t *x = history + at;
    for (uint16_t left = at; left > 0; --left) {
        sum += (int32_t)*w++ * *--x;
    }
    x = history + rows;
    for (uint16_t left = (uint16_t)(rows - at); left > 0; --left) {
        sum += (int32_t)*w++ * *--x;
    }
    sum = hiss_asr64(sum, shift);
    return (int16_t)(sum < INT16_MIN ? INT16_MIN : (sum > INT16_MAX ? INT16_MAX : sum));
}

#endif

/* Diagonal.  h <- h - d h + u,  d = 1 - a;   y = Re(sum c h) + feed u.   d, c, h: (H, N) complex as pairs (re, im), of c
   (re, -im). `shifts`: of the products d h, one a mode. `drive`: the shift of u.
   s32: |h| < 2^28; of 8 h d the low 16 bits are dropped, d h rounds down, so shifts are 13 less than what they say; one
   drive a channel; a product with c drops the low 16 bits. s16: d h rounds; one drive a mode. */
void hiss_diagonal_step_s32(int32_t *h, const int16_t *d, const int8_t *shifts, const int8_t *drive,
                            const int16_t *u, size_t channels, size_t modes);
void hiss_diagonal_read_s32_s8(int16_t *y, const int32_t *h, const int8_t *c, const int16_t *feed, const int8_t *shift,
                               const int16_t *u, size_t channels, size_t modes);
void hiss_diagonal_read_s32_s16(int16_t *y, const int32_t *h, const int16_t *c, const int16_t *feed,
                                const int8_t *shift, const int16_t *u, size_t channels, size_t modes);
/* Both in one pass, where the modes of a channel share the shift of their products.   m: channel by channel feed, three
   shifts in one number (of the products 5 bits, of the sum 5, of u 6 and 32 too much), then d and c of each mode. */
void hiss_diagonal_s32_s16(int16_t *y, int32_t *h, const int16_t *m, const int16_t *u, size_t channels, size_t modes);
/* The same with real poles: imaginary parts of h stay 0.   m: feed and shifts, then d and c, a number each; the
   shift of the sum is not 0, u shifts left. */
void hiss_diagonal_real_s32_s16(int16_t *y, int32_t *h, const int16_t *m, const int16_t *u, size_t channels, size_t modes);
void hiss_diagonal_step_s16(int16_t *h, const int16_t *d, const int8_t *shifts, const int8_t *drive,
                            const int16_t *u, size_t channels, size_t modes);
void hiss_diagonal_read_s16_s8(int16_t *y, const int16_t *h, const int8_t *c, const int16_t *feed, const int8_t *shift,
                               const int16_t *u, size_t channels, size_t modes);
void hiss_diagonal_read_s16_s16(int16_t *y, const int16_t *h, const int16_t *c, const int16_t *feed,
                                const int8_t *shift, const int16_t *u, size_t channels, size_t modes);

/* Fir.  y = t_0 u + sum_{k=1..past} t_k u_{-k} + bias, of n channels, which are a multiple of 4; of `filters` any number.
   taps: four channels at a time what ends them, then (K, 4), present sample first;   filters: of each what ends it, then K.
   history: (K-1, channels) ring. `at` is the row where the ring takes its next sample, `past` how many of the samples
   before this one count. */
void hiss_fir_s8(int16_t *y, const int16_t *history, const int8_t *taps, const int16_t *u, size_t channels, size_t n_taps,
                 size_t at, size_t past, size_t n);
void hiss_fir_s16(int16_t *y, const int16_t *history, const int16_t *taps, const int16_t *u, size_t channels, size_t n_taps,
                  size_t at, size_t past, size_t n);
void hiss_filters_s8(int16_t *y, const int16_t *history, const int8_t *taps, const int16_t *u, size_t channels,
                     size_t n_taps, size_t at, size_t past, size_t n);
void hiss_filters_s16(int16_t *y, const int16_t *history, const int16_t *taps, const int16_t *u, size_t channels,
                      size_t n_taps, size_t at, size_t past, size_t n);

/* Delay.  history: (rows, width) ring, `at` its next row.   delay: y_i = u_{-ages_i}[channels_i];
   lags: the whole row for each age in turn;   start: the past before the first sample is the first sample.
   push: at the end of a step u takes its place in the ring (of a Fir too). */
void hiss_delay_s16(int16_t *y, const int16_t *history, const uint16_t *ages, const uint16_t *channels, size_t n,
                    size_t rows, size_t width, size_t at);
void hiss_lags_s16(int16_t *y, const int16_t *history, const uint16_t *ages, size_t n_ages, size_t rows, size_t width,
                   size_t at);
void hiss_delay_start_s16(int16_t *history, const int16_t *u, size_t rows, size_t width);
/* The same of one channel. */
void hiss_fill_s16(int16_t *history, int16_t first, size_t rows);
void hiss_push_s16(int16_t *history, const int16_t *u, size_t width, size_t at);

/* Selective.  h <- h - (1 - exp(-D a)) h + D B u;   y = h C + feed u.   h, a: (H, N);  D, u, feed: (H,);  B, C: (N,).
   A negative D counts as 0. `frac`: fractional bits of D a; shifts a channel: of D B u, of feed u, and of the sum. */
void hiss_selective_step_s16(int32_t *h, const int16_t *a, const int8_t *frac, const int8_t *drive, const int16_t *delta,
                             const int16_t *b, const int16_t *u, size_t channels, size_t modes);
void hiss_selective_read_s16(int16_t *y, const int32_t *h, const int16_t *c, const int16_t *feed, const int8_t *direct,
                             const int8_t *shift, const int16_t *u, size_t channels, size_t modes);

/* Map.  y = function(x), elementwise; x has `frac` fractional bits (0 to 15, exp: 1 to 15), y `out` (0 to 15;
   exp: any).
   Tables of |x| with linear interpolation; errors stand beside the tables. */
void hiss_gelu_s16(int16_t *y, const int16_t *x, int frac, int out, size_t n);
void hiss_silu_s16(int16_t *y, const int16_t *x, int frac, int out, size_t n);
void hiss_softplus_s16(int16_t *y, const int16_t *x, int frac, int out, size_t n);
void hiss_sigmoid_s16(int16_t *y, const int16_t *x, int frac, int out, size_t n);
void hiss_tanh_s16(int16_t *y, const int16_t *x, int frac, int out, size_t n);
void hiss_exp_s16(int16_t *y, const int16_t *x, int frac, int out, size_t n);
void hiss_relu_s16(int16_t *y, const int16_t *x, int shift, size_t n);
void hiss_clip_s16(int16_t *y, const int16_t *x, int16_t lo, int16_t hi, int shift, size_t n);

/* Norm.  y = ((gain w >> 16 >> shift) + halves) >> 1;  w = v / sqrt(sum v^2 + eps) in units of 2^-29.   gain: (n, 2), gain and
   halves as above.   layer: v = n x - sum x;   rms: v = x. */
void hiss_norm_layer_s16(int16_t *y, const int16_t *x, const int16_t *gain, int64_t eps, int shift, size_t n);
void hiss_norm_rms_s16(int16_t *y, const int16_t *x, const int16_t *gain, int64_t eps, int shift, size_t n);

/* Add.  y = (2^up_a a + 2^up_b b) 2^-shift, or minus b.   A longer sum: its terms go into sum one by one. */
void hiss_add_s16(int16_t *y, const int16_t *a, int up_a, const int16_t *b, int up_b, int shift, size_t n);
void hiss_sub_s16(int16_t *y, const int16_t *a, int up_a, const int16_t *b, int up_b, int shift, size_t n);
void hiss_sum_s16(int64_t *sum, const int16_t *x, int up, int sign, size_t n);
void hiss_sum_end_s16(int16_t *y, const int64_t *sum, int shift, size_t n);
/* Mul.  y = a b 2^-shift. */
void hiss_mul_s16(int16_t *y, const int16_t *a, const int16_t *b, int shift, size_t n);
/* Glu.  y = x + u sigmoid(v), the product in the place of u.   how: the fractional bits of v; shifts of the sigmoid, of the product, up of x, up of the
   product, of the sum. */
void hiss_glu_s16(int16_t *y, const int16_t *x, int16_t *u, const int16_t *v, const int8_t *how, size_t n);
void hiss_copy_s16(int16_t *y, const int16_t *x, size_t n);
void hiss_zero_s16(int16_t *y, size_t n);
void hiss_zero_s32(int32_t *y, size_t n);

#ifdef __cplusplus
}
#endif
#endif
