/* log|Gamma(x)| and Gamma(x) for positive x.
 *
 * From 3 on Stirling's formula (DLMF 5.11.1), its remainder not the asymptotic series but a
 * polynomial in 1 / x^2 fitted to it; below 3 polynomials about 2, reached by the recurrence
 * Gamma(x + 1) = x Gamma(x). Coefficients by gamma.sollya.
 */
#ifndef BACKENDS_GAMMA_H
#define BACKENDS_GAMMA_H

#include "elementary.h"
#include "gamma_coefficients.h"

#define STIRLING_START 3.0

/* What Stirling's formula adds to (x - 1/2) (log x - 1) + STIRLING_HEAD: below 0.03 from 3 on. */
static inline double stirling_rest(double x)
{
    const double inverse = 1.0 / x;
    const double w = inverse * inverse, w2 = w * w, w4 = w2 * w2;
    const double p01 = FMA(STIRLING_1, w, STIRLING_0), p23 = FMA(STIRLING_3, w, STIRLING_2);
    const double p45 = FMA(STIRLING_5, w, STIRLING_4), p67 = FMA(STIRLING_7, w, STIRLING_6);
    const double p89 = FMA(STIRLING_9, w, STIRLING_8);
    const double p = FMA(w4, FMA(w4, FMA(w2, STIRLING_10, p89), FMA(w2, p67, p45)),
                         FMA(w2, p23, p01));
    return FMA(inverse, p, STIRLING_TAIL);
}

/* (atanh(s) - s) / s^3 with z = s^2, for s = f / (2 + f): log(1 + f) = 2 atanh(s). */
static inline double atanh_rest(double z)
{
    const double z2 = z * z, z4 = z2 * z2;
    const double p01 = FMA(ATANH_1, z, ATANH_0), p23 = FMA(ATANH_3, z, ATANH_2);
    const double p45 = FMA(ATANH_5, z, ATANH_4), p67 = FMA(ATANH_7, z, ATANH_6);
    return FMA(z4, FMA(z2, p67, p45), FMA(z2, p23, p01));
}

static inline double gammaln_stirling(double x)
{
    double log_rest;
    const double log_head = log_sum(x, &log_rest);
    /* (x - 1/2) (log x - 1) is not negative from e on: no cancellation. */
    const double a = x - 0.5;
    return FMA(a, log_head - 1.0, FMA(a, log_rest, STIRLING_HEAD + stirling_rest(x)));
}

/* Gamma(x) = Gamma(2 + t) / divisor with -1/2 <= t <= 1, where t is exact. */
static inline double about_two(double x, double *divisor, double *divisor_rest)
{
    const double square = x * x, product = x + square;
    *divisor = x < 0.5 ? product : x < 1.5 ? x : 1.0;
    *divisor_rest = x < 0.5 ? sum_error(x, square, product) + product_error(x, x, square) : 0.0;
    return x - (x < 0.5 ? 0.0 : x < 1.5 ? 1.0 : 2.0);
}

/* For x < 3. The zeros at 1 and 2 are factors: log Gamma(2 + t) = t p(t), and log x near 1 has its
 * zero too. */
static inline double gammaln_small(double x)
{
    double divisor, divisor_rest, log_rest;
    const double t = about_two(x, &divisor, &divisor_rest);
    const double log_head = log_sum(divisor, &log_rest);
    const double t2 = t * t, t4 = t2 * t2, t8 = t4 * t4;
    const double p12 = FMA(LOG_GAMMA_2, t, LOG_GAMMA_1), p34 = FMA(LOG_GAMMA_4, t, LOG_GAMMA_3);
    const double p56 = FMA(LOG_GAMMA_6, t, LOG_GAMMA_5), p78 = FMA(LOG_GAMMA_8, t, LOG_GAMMA_7);
    const double p9a = FMA(LOG_GAMMA_10, t, LOG_GAMMA_9);
    const double pbc = FMA(LOG_GAMMA_12, t, LOG_GAMMA_11);
    const double pde = FMA(LOG_GAMMA_14, t, LOG_GAMMA_13);
    const double pfg = FMA(LOG_GAMMA_16, t, LOG_GAMMA_15);
    const double phi = FMA(LOG_GAMMA_18, t, LOG_GAMMA_17);
    const double pjk = FMA(LOG_GAMMA_20, t, LOG_GAMMA_19);
    const double low = FMA(t4, FMA(t2, p78, p56), FMA(t2, p34, p12));
    const double middle = FMA(t4, FMA(t2, pfg, pde), FMA(t2, pbc, p9a));
    const double p = FMA(t8, FMA(t8, FMA(t2, pjk, phi), middle), low);
    /* |first| < |log_head| or that is 0 */
    const double first = t * LOG_GAMMA_0, head = first - log_head;
    const double error = sum_error(-log_head, first, head) + product_error(t, LOG_GAMMA_0, first);
    return head + (FMA(t2, p, -log_rest) + error);
}

/* log(x) for normal positive x in two parts with an error below 2^-60: 2 s, which is large enough
 * to need both, and 2 s^3 / 3 + ... */
static inline double log_long(double x, double *rest)
{
    double k;
    const double f = log_reduce(x, &k);
    const double g = 2.0 + f, inverse = 1.0 / g;
    const double s2 = 2.0 * f * inverse, product = s2 * g;
    const double remainder = ((2.0 * f - product) - product_error(s2, g, product))
                             - s2 * sum_error(2.0, f, g);
    const double z = 0.25 * s2 * s2;
    const double big = k * LN2_HEAD, head = big + s2; /* |big| > |s2| or big is 0 */
    const double tail = FMA(remainder, inverse, FMA(k, LN2_TAIL, sum_error(big, s2, head)));
    *rest = FMA(s2 * z, atanh_rest(z), tail);
    return head;
}

static inline double gamma_stirling(double x)
{
    double log_rest;
    const double log_head = log_long(x, &log_rest);
    const double a = x - 0.5, b = log_head - 1.0; /* exact */
    const double ab = a * b, sum = STIRLING_HEAD + ab;
    /* Few bits of STIRLING_HEAD: its last one is far above those of ab, hence the exact error. */
    const double error = sum_error(STIRLING_HEAD, ab, sum) + product_error(a, b, ab);
    const double low = FMA(a, log_rest, error + stirling_rest(x));
    const double high = sum + low;
    return exp_of_sum(high, sum_error(sum, low, high));
}

/* For x < 3: 1 / Gamma is entire, hence easier to fit than Gamma. */
static inline double gamma_small(double x)
{
    double divisor, divisor_rest;
    const double t = about_two(x, &divisor, &divisor_rest);
    const double t2 = t * t, t4 = t2 * t2, t8 = t4 * t4;
    const double p12 = FMA(RECIPROCAL_2, t, RECIPROCAL_1);
    const double p34 = FMA(RECIPROCAL_4, t, RECIPROCAL_3);
    const double p56 = FMA(RECIPROCAL_6, t, RECIPROCAL_5);
    const double p78 = FMA(RECIPROCAL_8, t, RECIPROCAL_7);
    const double p9a = FMA(RECIPROCAL_10, t, RECIPROCAL_9);
    const double pbc = FMA(RECIPROCAL_12, t, RECIPROCAL_11);
    const double pde = FMA(RECIPROCAL_14, t, RECIPROCAL_13);
    const double pfg = FMA(RECIPROCAL_16, t, RECIPROCAL_15);
    const double low = FMA(t4, FMA(t2, p78, p56), FMA(t2, p34, p12));
    const double middle = FMA(t4, FMA(t2, pfg, pde), FMA(t2, pbc, p9a));
    const double p = FMA(t8, FMA(t8, RECIPROCAL_17, middle), low);
    const double first = t * RECIPROCAL_0, sum = 1.0 + first, second = t2 * p;
    const double q = sum + second;
    const double q_rest = sum_error(1.0, first, sum) + product_error(t, RECIPROCAL_0, first)
                          + sum_error(sum, second, q);
    const double d = divisor * q;
    const double d_rest = FMA(divisor, q_rest, FMA(divisor_rest, q, product_error(divisor, q, d)));
    const double y = 1.0 / d, dy = d * y;
    return FMA(y, ((1.0 - dy) - product_error(d, y, dy)) - y * d_rest, y);
}

/* A block function of one lane function from 3 on to `last`, and another for the fewer from `first`
 * to 3, which are gathered. For GCC SSE2 cannot make a comparison 0 or 1, but can blend doubles. */
#define GAMMA_BLOCK_FUNCTION(name, large, small, first, last)                                     \
    static int name(const double *restrict x, double *restrict y, int n, uint16_t *restrict rest) \
    {                                                                                             \
        uint64_t below = 0, bad = 0;                                                              \
        _Pragma("omp simd reduction(| : below, bad)") for (int i = 0; i < n; i++)                 \
        {                                                                                         \
            y[i] = large(x[i]);                                                                   \
            below |= bits_of(x[i] < STIRLING_START ? 1.0 : 0.0);                                  \
            bad |= bits_of(x[i] >= (first) ? 0.0 : 1.0) | bits_of(x[i] <= (last) ? 0.0 : 1.0);    \
        }                                                                                         \
        if (below) {                                                                              \
            uint16_t place[BLOCK];                                                                \
            double packed[BLOCK];                                                                 \
            int count = 0;                                                                        \
            for (int i = 0; i < n; i++) {                                                         \
                place[count] = (uint16_t)i;                                                       \
                count += x[i] < STIRLING_START;                                                   \
            }                                                                                     \
            for (int i = 0; i < count; i++)                                                       \
                packed[i] = x[place[i]];                                                          \
            _Pragma("omp simd") for (int i = 0; i < count; i++) packed[i] = small(packed[i]);     \
            for (int i = 0; i < count; i++)                                                       \
                y[place[i]] = packed[i];                                                          \
        }                                                                                         \
        int count = 0;                                                                            \
        if (bad) {                                                                                \
            for (int i = 0; i < n; i++) {                                                         \
                rest[count] = (uint16_t)i;                                                        \
                count += !(x[i] >= (first) && x[i] <= (last));                                    \
            }                                                                                     \
        }                                                                                         \
        return count;                                                                             \
    }

GAMMA_BLOCK_FUNCTION(gammaln_ordinary, gammaln_stirling, gammaln_small, 0x1p-1022, 0x1p1014)
/* From 2^-960 on the error terms of products are normal. */
GAMMA_BLOCK_FUNCTION(gamma_ordinary, gamma_stirling, gamma_small, 0x1p-960, 171.6)

static inline double gammaln_extreme(double x)
{
    const double size = magnitude(x);
    if (size > 0.0 && size < 0x1p-1022) {
        return 64.0 * (LN2_HEAD + LN2_TAIL) - log_value(0x1p64 * size); /* log(1 / |x|) */
    }
    if (x > 0x1p1014) {
        /* Stirling's formula halved, of which no part overflows unless the whole does. */
        double log_rest;
        const double log_head = log_sum(x, &log_rest), half = 0.5 * x;
        return 2.0 * FMA(half, log_head - 1.0, half * log_rest);
    }
    return NOT_HERE;
}

static int gammaln_block(const double *restrict x, double *restrict y, int n,
                         uint16_t *restrict rest)
{
    return look_again(gammaln_extreme, x, y, rest, gammaln_ordinary(x, y, n, rest));
}

static inline double gamma_extreme(double x)
{
    if (x > 171.6 && x < 171.63) {
        return gamma_stirling(x); /* overflows, but not past NaN */
    }
    return x > 0.0 && x < 0x1p-960 ? 1.0 / x : NOT_HERE; /* 1 / x - 0.577... for small x */
}

static int gamma_block(const double *restrict x, double *restrict y, int n, uint16_t *restrict rest)
{
    return look_again(gamma_extreme, x, y, rest, gamma_ordinary(x, y, n, rest));
}

#endif
