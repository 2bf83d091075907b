/* hiss_ops.h: the step operations of a recurrent program, float32.

   One kernel per operation, the same for every model. Generated sources hold the constants and call these kernels in
   the order of the equations. No malloc, no stdio, no recursion, no libm, no data of its own: all state is the caller's.

   Names:  u, x input;  y output;  H channels;  N modes per channel;  K taps.  Matrices are row-major.
   y may be the same array as an elementwise kernel's input; elsewhere the arrays must not overlap. */

#ifndef HISS_OPS_H
#define HISS_OPS_H

#include "hiss_base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Functions of one number. Their largest errors against exact values, which a test measures on every build:
   exp 1.2e-7 relative (0 below -87, infinite above 88.72);  tanh, erf, sigmoid 1.2e-7 absolute;
   log1p 1.8e-7 relative on 0..1;  rsqrt 1.2e-7 relative for normal positive x. */
float hiss_exp(float x);
float hiss_tanh(float x);
float hiss_erf(float x);
float hiss_sigmoid(float x);
float hiss_log1p(float x);
float hiss_rsqrt(float x);

/* Tare.  mean <- mean + (x - mean) / (seen + 1), the mean of the samples so far: no sum that could overflow.
   False, and nothing changed, where a channel of x is not finite: such a sample does not count. */
bool hiss_tare_f32(float *mean, const float *x, size_t seen, size_t n);
/* z = (clip(x, lo, hi) - offset) * scale.  A NaN becomes lo, so that no state is ever lost to one bad sample. */
void hiss_input_f32(float *z, const float *x, const float *offset, const float *scale, const float *lo, const float *hi,
                    size_t n);

/* Affine.  y = b + W x,  W: (rows, columns).  A further input of the same sum: y <- y + W x. */
void hiss_affine_f32(float *y, const float *bias, const float *weight, const float *x, size_t rows, size_t columns);
void hiss_affine_more_f32(float *y, const float *weight, const float *x, size_t rows, size_t columns);

/* Diagonal.  h <- a h + u;  y = Re(sum c h) + d u.   a, c, h: (H, N) complex as pairs (re, im). */
void hiss_diagonal_step_f32(float *h, const float *a, const float *u, size_t channels, size_t modes);
void hiss_diagonal_read_f32(float *y, const float *h, const float *c, const float *d, const float *u, size_t channels,
                            size_t modes);
void hiss_diagonal_f32(float *y, float *h, const float *a, const float *c, const float *d, const float *u,
                       size_t channels, size_t modes);

/* Fir.  y = b + t_0 u + sum_{k=1..past} t_k u_{-k}.   taps: (K, H), present sample first;  history: (K-1, H) ring.
   `at` is the row where the ring takes its next sample, `past` how many of the samples before this one count. */
void hiss_fir_f32(float *y, const float *history, const float *taps, const float *bias, const float *u, size_t channels,
                  size_t n_taps, size_t at, size_t past);

/* Delay.  history: (rows, width) ring, `at` its next row.   delay: y_i = u_{-ages_i}[channels_i];
   lags: the whole row for each age in turn;   start: the past before the first sample is the first sample.
   push: at the end of a step u takes its place in the ring (of a Fir too). */
void hiss_delay_f32(float *y, const float *history, const uint16_t *ages, const uint16_t *channels, size_t n, size_t rows,
                    size_t width, size_t at);
void hiss_lags_f32(float *y, const float *history, const uint16_t *ages, size_t n_ages, size_t rows, size_t width,
                   size_t at);
void hiss_delay_start_f32(float *history, const float *u, size_t rows, size_t width);
void hiss_push_f32(float *history, const float *u, size_t width, size_t at);

/* Selective.  h <- exp(D a) h + D B u;  y = h C + d u.   h, a: (H, N);  D, u, d: (H,);  B, C: (N,). */
void hiss_selective_step_f32(float *h, const float *a, const float *delta, const float *b, const float *u, size_t channels,
                             size_t modes);
void hiss_selective_read_f32(float *y, const float *h, const float *c, const float *d, const float *u, size_t channels,
                             size_t modes);

/* Map.  y = function(x), elementwise. */
void hiss_gelu_f32(float *y, const float *x, size_t n); /* x (1 + erf(x / sqrt 2)) / 2 */
void hiss_silu_f32(float *y, const float *x, size_t n); /* x sigmoid(x) */
void hiss_sigmoid_f32(float *y, const float *x, size_t n);
void hiss_tanh_f32(float *y, const float *x, size_t n);
void hiss_relu_f32(float *y, const float *x, size_t n);
void hiss_softplus_f32(float *y, const float *x, size_t n); /* log(1 + exp(x)) */
void hiss_exp_f32(float *y, const float *x, size_t n);
void hiss_clip_f32(float *y, const float *x, float lo, float hi, size_t n);

/* Norm.  layer: y = gain (x - mean) / sqrt(var + eps) + bias;   rms: y = gain x / sqrt(mean(x^2) + eps) + bias. */
void hiss_norm_layer_f32(float *y, const float *x, const float *gain, const float *bias, float eps, size_t n);
void hiss_norm_rms_f32(float *y, const float *x, const float *gain, const float *bias, float eps, size_t n);

/* Add, Mul, and what moves values about. */
void hiss_add_f32(float *y, const float *a, const float *b, size_t n);
void hiss_sub_f32(float *y, const float *a, const float *b, size_t n);
void hiss_mul_f32(float *y, const float *a, const float *b, size_t n);
void hiss_neg_f32(float *y, const float *x, size_t n);
void hiss_copy_f32(float *y, const float *x, size_t n);
void hiss_zero_f32(float *y, size_t n);

#ifdef __cplusplus
}
#endif
#endif
