/* hiss_ops.c: the kernels of hiss_ops.h, float32. See there for the equations and the shapes. */

#include "hiss_ops.h"

/* ---- functions of one number: polynomials fitted (weighted minimax) for float32 ---- */

typedef union {
    float value;
    uint32_t bits;
} hiss_word_t;

HISS_CHECK(hiss_float_has_32_bits, sizeof(float) == 4);

static float hiss_abs(float x) { return x < 0.0f ? -x : x; }

/* exp x = 2^n exp r,  r = x - n ln 2 in two parts (0.693359375 n is exact);  exp r = 1 + r + r^2 P(r) to 3e-9 */
float hiss_exp(float x)
{
    hiss_word_t y;
    if (!(x >= -87.0f)) { /* NaN too: it must not reach the conversion to an integer */
        return 0.0f;
    }
    if (x > 88.72f) {
        y.bits = UINT32_C(0x7f800000); /* infinity */
        return y.value;
    }
    const float turns = x * 1.44269504f;
    const int32_t n = (int32_t)(turns < 0.0f ? turns - 0.5f : turns + 0.5f);
    const float r = (x - (float)n * 0.693359375f) + (float)n * 2.12194440e-4f;
    float p = 0.00139504764f;
    p = p * r + 0.00836888235f;
    p = p * r + 0.041666206f;
    p = p * r + 0.166665182f;
    p = p * r + 0.5f;
    y.value = p * r * r + r + 1.0f;
    y.bits += (uint32_t)n << 23; /* the exponent field stays inside 1..254 for -87 <= x <= 88.72 */
    return y.value;
}

/* tanh x = x + x^3 P(x^2) to 4e-8 where |x| < 0.55, else 1 - 2 / (exp 2x + 1) */
float hiss_tanh(float x)
{
    const float t = hiss_abs(x);
    if (t < 0.55f) {
        const float s = x * x;
        float p = 0.0164587442f;
        p = p * s - 0.0526841357f;
        p = p * s + 0.133209422f;
        p = p * s - 0.333329588f;
        return p * s * x + x;
    }
    const float y = 1.0f - 2.0f / (hiss_exp(2.0f * t) + 1.0f);
    return x < 0.0f ? -y : y;
}

/* erf x = x P(x^2) to 4e-8 where |x| <= 1 */
static float hiss_erf_near(float x)
{
    const float s = x * x;
    float p = -0.000566013448f;
    p = p * s + 0.00492478441f;
    p = p * s - 0.0267177038f;
    p = p * s + 0.112804115f;
    p = p * s - 0.376123548f;
    p = p * s + 1.12837911f;
    return p * x;
}

/* 1 - erf t = exp(-P(t)) to 2e-8 where t >= 1 */
static float hiss_erfc_far(float t)
{
    float p = 0.00115042413f;
    p = p * t - 0.0147781344f;
    p = p * t + 0.0886342153f;
    p = p * t + 0.654488862f;
    p = p * t + 1.11743855f;
    p = p * t + 0.00267169066f;
    return hiss_exp(-p);
}

float hiss_erf(float x)
{
    const float t = hiss_abs(x);
    if (t < 1.0f) {
        return hiss_erf_near(x);
    }
    const float y = 1.0f - hiss_erfc_far(t);
    return x < 0.0f ? -y : y;
}

float hiss_sigmoid(float x) { return 1.0f / (1.0f + hiss_exp(-x)); }

/* log(1 + x) = 2 atanh v,  v = x / (2 + x);  atanh v = v + v^3 P(v^2) to 5e-9 where 0 <= x <= 1 */
float hiss_log1p(float x)
{
    const float v = x / (2.0f + x);
    const float s = v * v;
    float p = 0.140122324f;
    p = p * s + 0.139995694f;
    p = p * s + 0.200108498f;
    p = p * s + 0.333332062f;
    return 2.0f * (p * s * v + v);
}

/* The exponent halved in the bits gives 1/sqrt(x) to 4 %; each Newton step squares that error. */
float hiss_rsqrt(float x)
{
    hiss_word_t r;
    r.value = x;
    r.bits = UINT32_C(0x5f3759df) - (r.bits >> 1);
    for (int step = 0; step < 4; ++step) {
        r.value += r.value * (0.5f - 0.5f * x * r.value * r.value);
    }
    return r.value;
}

static float hiss_gelu(float x)
{
    const float t = hiss_abs(x) * 0.707106781f;
    if (t < 1.0f) {
        return 0.5f * x * (1.0f + hiss_erf_near(x * 0.707106781f));
    }
    const float tail = 0.5f * x * hiss_erfc_far(t);
    return x < 0.0f ? tail : x - tail;
}

static float hiss_softplus(float x) { return (x > 0.0f ? x : 0.0f) + hiss_log1p(hiss_exp(-hiss_abs(x))); }

static float hiss_clip(float x, float lo, float hi) { return x > lo ? (x < hi ? x : hi) : lo; }

/* ---- Input ---- */

static bool hiss_finite(float x) { return hiss_abs(x) <= 3.40282347e38f; } /* false for NaN too */

bool hiss_tare_f32(float *mean, const float *x, size_t seen, size_t n)
{
    for (size_t i = 0; i < n; ++i) {
        if (!hiss_finite(x[i])) {
            return false;
        }
    }
    for (size_t i = 0; i < n; ++i) {
        mean[i] = seen == 0 ? x[i] : mean[i] + (x[i] - mean[i]) / (float)(seen + 1);
    }
    return true;
}

void hiss_input_f32(float *z, const float *x, const float *offset, const float *scale, const float *lo, const float *hi,
                    size_t n)
{
    for (size_t i = 0; i < n; ++i) {
        z[i] = (hiss_clip(x[i], HISS_F32(lo + i), HISS_F32(hi + i)) - HISS_F32(offset + i)) * HISS_F32(scale + i);
    }
}

/* ---- Affine ---- */

/* y <- y + W x, four rows at a time: each x is loaded once for four products. */
void hiss_affine_more_f32(float *y, const float *weight, const float *x, size_t rows, size_t columns)
{
    size_t row = 0;
    for (; row + 4 <= rows; row += 4, weight += 4 * columns) {
        const float *w1 = weight + columns;
        const float *w2 = w1 + columns;
        const float *w3 = w2 + columns;
        float sum0 = y[row];
        float sum1 = y[row + 1];
        float sum2 = y[row + 2];
        float sum3 = y[row + 3];
        for (size_t i = 0; i < columns; ++i) {
            sum0 += HISS_F32(weight + i) * x[i];
            sum1 += HISS_F32(w1 + i) * x[i];
            sum2 += HISS_F32(w2 + i) * x[i];
            sum3 += HISS_F32(w3 + i) * x[i];
        }
        y[row] = sum0;
        y[row + 1] = sum1;
        y[row + 2] = sum2;
        y[row + 3] = sum3;
    }
    for (; row < rows; ++row, weight += columns) {
        float sum = y[row];
        for (size_t i = 0; i < columns; ++i) {
            sum += HISS_F32(weight + i) * x[i];
        }
        y[row] = sum;
    }
}

void hiss_affine_f32(float *y, const float *bias, const float *weight, const float *x, size_t rows, size_t columns)
{
    for (size_t row = 0; row < rows; ++row) {
        y[row] = HISS_F32(bias + row);
    }
    hiss_affine_more_f32(y, weight, x, rows, columns);
}

/* ---- Diagonal ---- */

void hiss_diagonal_step_f32(float *h, const float *a, const float *u, size_t channels, size_t modes)
{
    for (size_t channel = 0; channel < channels; ++channel) {
        for (size_t mode = 0; mode < modes; ++mode, h += 2, a += 2) {
            const float re = HISS_F32(a) * h[0] - HISS_F32(a + 1) * h[1] + u[channel];
            const float im = HISS_F32(a) * h[1] + HISS_F32(a + 1) * h[0];
            h[0] = re;
            h[1] = im;
        }
    }
}

void hiss_diagonal_read_f32(float *y, const float *h, const float *c, const float *d, const float *u, size_t channels,
                            size_t modes)
{
    for (size_t channel = 0; channel < channels; ++channel) {
        float sum = HISS_F32(d + channel) * u[channel];
        for (size_t mode = 0; mode < modes; ++mode, h += 2, c += 2) {
            sum += HISS_F32(c) * h[0] - HISS_F32(c + 1) * h[1];
        }
        y[channel] = sum;
    }
}

void hiss_diagonal_f32(float *y, float *h, const float *a, const float *c, const float *d, const float *u,
                       size_t channels, size_t modes)
{
    for (size_t channel = 0; channel < channels; ++channel) {
        const float drive = u[channel];
        float sum = HISS_F32(d + channel) * drive;
        for (size_t mode = 0; mode < modes; ++mode, h += 2, a += 2, c += 2) {
            const float re = HISS_F32(a) * h[0] - HISS_F32(a + 1) * h[1] + drive;
            const float im = HISS_F32(a) * h[1] + HISS_F32(a + 1) * h[0];
            h[0] = re;
            h[1] = im;
            sum += HISS_F32(c) * re - HISS_F32(c + 1) * im;
        }
        y[channel] = sum;
    }
}

/* ---- Fir ---- */

/* y <- y + n rows of taps, forward, times n rows of the past, backward from row `newest`; four channels at a time. */
static void hiss_fir_more(float *y, const float *taps, const float *history, size_t newest, size_t channels, size_t n)
{
    size_t channel = 0;
    if (n == 0) {
        return;
    }
    for (; channel + 4 <= channels; channel += 4) {
        const float *t = taps + channel;
        size_t h = newest * channels + channel;
        float sum0 = y[channel];
        float sum1 = y[channel + 1];
        float sum2 = y[channel + 2];
        float sum3 = y[channel + 3];
        for (size_t k = 0; k < n; ++k, t += channels, h -= channels) {
            sum0 += HISS_F32(t) * history[h];
            sum1 += HISS_F32(t + 1) * history[h + 1];
            sum2 += HISS_F32(t + 2) * history[h + 2];
            sum3 += HISS_F32(t + 3) * history[h + 3];
        }
        y[channel] = sum0;
        y[channel + 1] = sum1;
        y[channel + 2] = sum2;
        y[channel + 3] = sum3;
    }
    for (; channel < channels; ++channel) {
        for (size_t k = 0; k < n; ++k) {
            y[channel] += HISS_F32(taps + k * channels + channel) * history[(newest - k) * channels + channel];
        }
    }
}

void hiss_fir_f32(float *y, const float *history, const float *taps, const float *bias, const float *u, size_t channels,
                  size_t n_taps, size_t at, size_t past)
{
    const size_t unbroken = past < at ? past : at; /* what is older stands at the ring's other end */
    for (size_t channel = 0; channel < channels; ++channel) {
        y[channel] = HISS_F32(bias + channel) + HISS_F32(taps + channel) * u[channel];
    }
    hiss_fir_more(y, taps + channels, history, at - 1, channels, unbroken);
    hiss_fir_more(y, taps + channels * (1 + unbroken), history, n_taps - 2, channels, past - unbroken);
}

/* ---- Delay ---- */

static const float *hiss_row(const float *history, size_t age, size_t rows, size_t width, size_t at)
{
    return history + (at >= age ? at - age : at + rows - age) * width;
}

void hiss_delay_f32(float *y, const float *history, const uint16_t *ages, const uint16_t *channels, size_t n, size_t rows,
                    size_t width, size_t at)
{
    for (size_t i = 0; i < n; ++i) {
        y[i] = hiss_row(history, HISS_U16(ages + i), rows, width, at)[HISS_U16(channels + i)];
    }
}

void hiss_lags_f32(float *y, const float *history, const uint16_t *ages, size_t n_ages, size_t rows, size_t width,
                   size_t at)
{
    for (size_t lag = 0; lag < n_ages; ++lag) {
        hiss_copy_f32(y + lag * width, hiss_row(history, HISS_U16(ages + lag), rows, width, at), width);
    }
}

void hiss_delay_start_f32(float *history, const float *u, size_t rows, size_t width)
{
    for (size_t row = 0; row < rows; ++row) {
        hiss_copy_f32(history + row * width, u, width);
    }
}

void hiss_push_f32(float *history, const float *u, size_t width, size_t at)
{
    hiss_copy_f32(history + at * width, u, width);
}

/* ---- Selective ---- */

void hiss_selective_step_f32(float *h, const float *a, const float *delta, const float *b, const float *u, size_t channels,
                             size_t modes)
{
    for (size_t channel = 0; channel < channels; ++channel) {
        const float drive = delta[channel] * u[channel];
        for (size_t mode = 0; mode < modes; ++mode, ++h, ++a) {
            *h = hiss_exp(delta[channel] * HISS_F32(a)) * *h + drive * b[mode];
        }
    }
}

void hiss_selective_read_f32(float *y, const float *h, const float *c, const float *d, const float *u, size_t channels,
                             size_t modes)
{
    for (size_t channel = 0; channel < channels; ++channel) {
        float sum = HISS_F32(d + channel) * u[channel];
        for (size_t mode = 0; mode < modes; ++mode, ++h) {
            sum += c[mode] * *h;
        }
        y[channel] = sum;
    }
}

/* ---- Map ---- */

void hiss_gelu_f32(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; ++i) {
        y[i] = hiss_gelu(x[i]);
    }
}

void hiss_silu_f32(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; ++i) {
        y[i] = x[i] * hiss_sigmoid(x[i]);
    }
}

void hiss_sigmoid_f32(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; ++i) {
        y[i] = hiss_sigmoid(x[i]);
    }
}

void hiss_tanh_f32(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; ++i) {
        y[i] = hiss_tanh(x[i]);
    }
}

void hiss_relu_f32(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; ++i) {
        y[i] = x[i] > 0.0f ? x[i] : 0.0f;
    }
}

void hiss_softplus_f32(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; ++i) {
        y[i] = hiss_softplus(x[i]);
    }
}

void hiss_exp_f32(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; ++i) {
        y[i] = hiss_exp(x[i]);
    }
}

void hiss_clip_f32(float *y, const float *x, float lo, float hi, size_t n)
{
    for (size_t i = 0; i < n; ++i) {
        y[i] = hiss_clip(x[i], lo, hi);
    }
}

/* ---- Norm ---- */

static float hiss_mean_square(const float *x, float centre, size_t n)
{
    float sum = 0.0f;
    for (size_t i = 0; i < n; ++i) {
        sum += (x[i] - centre) * (x[i] - centre);
    }
    return sum / (float)n;
}

static void hiss_norm(float *y, const float *x, float centre, const float *gain, const float *bias, float eps, size_t n)
{
    const float scale = hiss_rsqrt(hiss_mean_square(x, centre, n) + eps);
    for (size_t i = 0; i < n; ++i) {
        y[i] = HISS_F32(gain + i) * ((x[i] - centre) * scale) + HISS_F32(bias + i);
    }
}

void hiss_norm_layer_f32(float *y, const float *x, const float *gain, const float *bias, float eps, size_t n)
{
    float sum = 0.0f;
    for (size_t i = 0; i < n; ++i) {
        sum += x[i];
    }
    hiss_norm(y, x, sum / (float)n, gain, bias, eps, n);
}

void hiss_norm_rms_f32(float *y, const float *x, const float *gain, const float *bias, float eps, size_t n)
{
    hiss_norm(y, x, 0.0f, gain, bias, eps, n);
}

/* ---- Add, Mul, copies ---- */

void hiss_add_f32(float *y, const float *a, const float *b, size_t n)
{
    for (size_t i = 0; i < n; ++i) {
        y[i] = a[i] + b[i];
    }
}

void hiss_sub_f32(float *y, const float *a, const float *b, size_t n)
{
    for (size_t i = 0; i < n; ++i) {
        y[i] = a[i] - b[i];
    }
}

void hiss_mul_f32(float *y, const float *a, const float *b, size_t n)
{
    for (size_t i = 0; i < n; ++i) {
        y[i] = a[i] * b[i];
    }
}

void hiss_neg_f32(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; ++i) {
        y[i] = -x[i];
    }
}

void hiss_copy_f32(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; ++i) {
        y[i] = x[i];
    }
}

void hiss_zero_f32(float *y, size_t n)
{
    for (size_t i = 0; i < n; ++i) {
        y[i] = 0.0f;
    }
}
