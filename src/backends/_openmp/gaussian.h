/* The error function, the normal distribution and their inverses, in double precision.
 *
 * Tails are exp(-x^2) times a smooth factor, a polynomial in 1 / (x + shift) (after M. M. Shepherd
 * and J. G. Laframboise, Mathematics of Computation 36, 1981); the inverses are a quotient of
 * polynomials in the centre and a correction to sqrt(-2 log p) in the tails (after M. J. Wichura,
 * Applied Statistics 37, 1988, AS 241). The coefficients are made by gaussian.sollya.
 */
#ifndef BACKENDS_GAUSSIAN_H
#define BACKENDS_GAUSSIAN_H

#include "elementary.h"
#include "lanes.h"

#include "gaussian_coefficients.h"

/* Polynomials by Estrin's scheme, of which a few vectors fit into the machine at a time. */
static inline double cubic(const double *c, double t, double t2)
{
    return FMA(FMA(c[3], t, c[2]), t2, FMA(c[1], t, c[0]));
}

static inline double terms_8(const double *c, double t, double t2, double t4)
{
    return FMA(cubic(c + 4, t, t2), t4, cubic(c, t, t2));
}

static inline double terms_16(const double *c, double t, double t2, double t4)
{
    return FMA(FMA(cubic(c + 12, t, t2), t4, cubic(c + 8, t, t2)), t4 * t4,
               terms_8(c, t, t2, t4));
}

/* c - a * b, exact where they are near each other. */
static inline double residual(double c, double a, double b)
{
#if HAVE_FMA
    return FMA(-a, b, c);
#else
    const double p = a * b;
    return (c - p) - product_error(a, b, p);
#endif
}

static inline double erf_value(double x)
{
    const double a = magnitude(x);
    const double b = a * a, b2 = b * b, b4 = b2 * b2;
    const double p = FMA(cubic(ERF_SMALL + 8, b, b2), b4 * b4, terms_8(ERF_SMALL, b, b2, b4));
    const double t = a - 1.0, t2 = t * t, t4 = t2 * t2, t8 = t4 * t4;
    const double high = cubic(ERF_LARGE + 17, t, t2);
    const double slope = FMA(high, t8 * t8, terms_16(ERF_LARGE + 1, t, t2, t4));
    const double q = ERF_LARGE[0] + FMA(t, slope, ERF_LARGE_0_REST);
    const double q2 = q * q;
    const double large = a > 6.0 ? 1.0 : FMA(-q2, q2, 1.0); /* NaN stays */
    return with_sign(a < 1.0 ? FMA(a, p, a) : large, x);
}

static int erf_block(const double *restrict x, double *restrict y, int n, uint16_t *restrict rest)
{
    (void)rest;
    _Pragma("omp simd") for (int i = 0; i < n; i++) y[i] = erf_value(x[i]);
    return 0;
}

/* A tail at x >= 0 is exp(hi + lo) (v + v_lo), v returned: x^2 comes as square + square_lo, the
 * others are those of the fit in gaussian.sollya. A relative error e of w = 1 / (x + shift) changes
 * the tail by (1 + s1 w + s2 w^2) e, about: only the error of a division is to be repaired. */
static inline double tail_factor(const double *c, double c0_rest, double shift, double origin,
                                 double s1, double s2, double x, double square, double square_lo,
                                 double *hi, double *lo, double *v_lo)
{
    const double s = x + shift, s_lo = sum_error(shift, x, s); /* exact, as shift is short */
    const double w = 1.0 / s, e = residual(1.0, w, s) - w * s_lo;
    const double u = w - origin, u2 = u * u, u4 = u2 * u2, u8 = u4 * u4;
    /* Horner's scheme where rounding counts */
    const double curve = FMA(cubic(c + 19, u, u2), u8 * u8, terms_16(c + 3, u, u2, u4));
    const double p = u * FMA(u, FMA(u, curve, c[2]), c[1]);
    const double h = c[0] + p, h_lo = sum_error(c[0], p, h) + c0_rest;
    const double v = w * h;
    *v_lo = FMA(w, h_lo, product_error(w, h, v));
    *hi = FMA(8.0, u, -square);
    *lo = FMA(FMA(FMA(s2, w, s1), w, 1.0), e, (8.0 * u - (*hi + square)) - square_lo);
    return v;
}

/* 2^lift exp(hi + lo) (v + v_lo) where that is normal. */
static inline double exp_product(double hi, double lo, double v, double v_lo, double lift)
{
    double tail, power;
    const double head = exp_parts(hi, lo, lift, &tail, &power);
    return times_power(FMA(head, v, FMA(tail, v, head * v_lo)), power);
}

static inline double erfc_value(double x)
{
    const double a = magnitude(x), square = a * a;
    double hi, lo, v_lo;
    const double v = tail_factor(ERFC, ERFC_0_REST, 4.0, 0.15625, 2.0, 48.0, a, square,
                                 product_error(a, a, square), &hi, &lo, &v_lo);
    const double y = a < 28.0 ? exp_product(hi, lo, v, v_lo, LIFT) * LOWER : 0.0;
    return x < 0.0 ? 2.0 - y : y;
}

BLOCK_FUNCTION(erfc_block, erfc_value, is_number)

static inline double ndtr_tail(double a, double *hi, double *lo, double *v_lo)
{
    const double square = 0.5 * a * a;
    return tail_factor(NDTR, NDTR_0_REST, 5.0, 0.125, 5.0, 50.0, a, square,
                       product_error(0.5 * a, a, square), hi, lo, v_lo);
}

static inline double ndtr_value(double x)
{
    const double a = magnitude(x);
    double hi, lo, v_lo;
    const double v = ndtr_tail(a, &hi, &lo, &v_lo);
    const double y = a < 39.0 ? exp_product(hi, lo, v, v_lo, LIFT) * LOWER : 0.0;
    return x > 0.0 ? 1.0 - y : y;
}

BLOCK_FUNCTION(ndtr_block, ndtr_value, is_number)

/* log(z + z_lo) + hi + lo, where far out on the left z is the factor of the tail, else the
 * distribution function. */
static inline double log_ndtr_value(double x)
{
    double hi, lo, v_lo;
    const double v = ndtr_tail(magnitude(x), &hi, &lo, &v_lo);
    const double q = exp_product(hi, lo, v, v_lo, 0.0);
    const double r = 1.0 - q, r_lo = sum_error(1.0, -q, r);
    const double near = x < 0.0 ? q : r, near_lo = x < 0.0 ? 0.0 : r_lo;
    const double z = x < -1.0 ? v : near, z_lo = x < -1.0 ? v_lo : near_lo;
    const double y = log_value(z) + (z_lo / z + (x < -1.0 ? lo : 0.0));
    return x < -1.0 ? hi + y : y;
}

/* On the left until x^2 has no exact error (-2e150), on the right until what is to be the error of
 * 1 - q is not normal. */
static inline int log_ndtr_good(double x)
{
    return magnitude(x < 0.0 ? 0x1p-494 * x : x) < 37.519;
}

BLOCK_FUNCTION(log_ndtr_ordinary, log_ndtr_value, log_ndtr_good)

static inline double log_ndtr_extreme(double x)
{
    return x > 37.0 ? -ndtr_value(-x) : NOT_HERE;
}

static int log_ndtr_block(const double *restrict x, double *restrict y, int n,
                          uint16_t *restrict rest)
{
    return look_again(log_ndtr_extreme, x, y, rest, log_ndtr_ordinary(x, y, n, rest));
}

/* The centres of the inverses end at |2 p - 1| = 0.85. */
#define CENTRE 0.425

static inline double centre_quotient(const double *upper, const double *lower, double z)
{
    const double z2 = z * z, z4 = z2 * z2, z8 = z4 * z4;
    const double n = FMA(upper[9], z8, terms_8(upper + 1, z, z2, z4));
    const double d = terms_8(lower + 1, z, z2, z4);
    return FMA(z, n, upper[0]) / FMA(z, d, 1.0);
}

/* r = sqrt(-2 log(p) - 2), what rounding took from it, and w = 1 / (r + shift). */
static inline double quantile_root(double p, double shift, double *r_lo, double *w)
{
    double log_lo;
    const double minus_2log = -2.0 * log_sum(p, &log_lo);
    const double first = minus_2log - 2.0, first_lo = sum_error(minus_2log, -2.0, first);
    const double second = first_lo - 2.0 * log_lo;
    const double s = first + second, s_lo = sum_error(first, second, s);
    const double r = __builtin_sqrt(s), r_shifted = r + shift;
    const double inverse = 1.0 / (r * r_shifted);
    *w = r * inverse;
    *r_lo = (residual(s, r, r) + s_lo) * (0.5 * inverse * r_shifted);
    return r;
}

/* -ndtri(p) for 2^-54 <= p <= 0.075 as a sum of the returned double and *lo. */
static inline double near_quantile(double p, double *lo)
{
    double r_lo, w;
    const double r = quantile_root(p, 3.0, &r_lo, &w);
    const double t = w - 0.125, t2 = t * t, t4 = t2 * t2, t8 = t4 * t4;
    const double correction
        = FMA(cubic(NDTRI_NEAR + 16, t, t2), t8 * t8, terms_16(NDTRI_NEAR, t, t2, t4));
    const double change = r_lo - correction, y = r + change;
    *lo = sum_error(r, change, y);
    return y;
}

/* -ndtri(p) for 2^-1022 <= p <= 2^-54 */
static inline double far_quantile(double p)
{
    double r_lo, w;
    const double r = quantile_root(p, 12.0, &r_lo, &w);
    const double t = w - 0.03125, t2 = t * t, t4 = t2 * t2, t8 = t4 * t4;
    const double correction = FMA(NDTRI_FAR[16], t8 * t8, terms_16(NDTRI_FAR, t, t2, t4));
    return r + (r_lo - correction);
}

/* The numbers of the elements whose flag is SET, not 0: adding its top bits is quicker than to ask.
 * (Were its bits a single one, GCC would make integers of truth, which SSE2 cannot.) */
#define SET 1.0
static inline int collect(const double *restrict flags, int n, uint16_t *restrict where)
{
    uint64_t count = 0;
    for (int i = 0; i < n; i++) {
        where[count] = (uint16_t)i;
        count += bits_of(flags[i]) >> 61;
    }
    return (int)count;
}

/* The smaller of p and 1 - p, which beyond 1/2 is exact; for p > 1 negative. */
static inline double ndtri_tail(double p)
{
    return p < 0.5 ? p : 1.0 - p;
}

/* sign * ndtri(p): the centre everywhere, then the others packed together. */
static inline int signed_ndtri_block(double sign, const double *restrict x, double *restrict y,
                                     int n, uint16_t *restrict rest)
{
    double flags[BLOCK], packed[BLOCK], values[BLOCK];
    uint16_t where[BLOCK];
    _Pragma("omp simd") for (int i = 0; i < n; i++)
    {
        const double p = x[i], d = p - 0.5, q = sign * d, q_lo = sign * sum_error(-0.5, p, d);
        const double f = centre_quotient(NDTRI_UPPER, NDTRI_LOWER, FMA(-q, q, CENTRE * CENTRE));
        /* q_lo gets the derivative, about, as a factor. */
        const double beyond_3q = FMA(q, f, q_lo * FMA(5.0, f, 4.9));
        const double v = HAVE_FMA ? FMA(q, 3.0, beyond_3q) : 2.0 * q + (q + beyond_3q);
        y[i] = with_sign(v, q); /* of zeros */
        flags[i] = magnitude(d) <= CENTRE ? 0.0 : SET;
    }
    const int tails = collect(flags, n, where);
    for (int k = 0; k < tails; k++) packed[k] = x[where[k]];
    uint64_t far = 0, bad = 0;
    _Pragma("omp simd reduction(| : far, bad)") for (int k = 0; k < tails; k++)
    {
        const double p = packed[k];
        double lo;
        values[k] = with_sign(near_quantile(ndtri_tail(p), &lo), sign * (p - 0.5));
        bad |= bits_of(ndtri_tail(p) >= 0x1p-1022 ? 0.0 : SET);
        far |= bits_of(p < 0x1p-54 ? SET : 0.0);
    }
    if (far) {
        _Pragma("omp simd") for (int k = 0; k < tails; k++)
        {
            const double p = packed[k], v = -sign * far_quantile(p);
            values[k] = p < 0x1p-54 ? v : values[k];
        }
    }
    int count = 0;
    for (int k = 0; k < tails; k++) y[where[k]] = values[k];
    for (int k = 0; bad && k < tails; k++) {
        rest[count] = where[k];
        count += !(ndtri_tail(packed[k]) >= 0x1p-1022);
    }
    return count;
}

static int ndtri_block(const double *restrict x, double *restrict y, int n, uint16_t *restrict rest)
{
    return signed_ndtri_block(1.0, x, y, n, rest);
}

static int norm_isf_block(const double *restrict x, double *restrict y, int n,
                          uint16_t *restrict rest)
{
    return signed_ndtri_block(-1.0, x, y, n, rest);
}

/* erfinv(x) = -ndtri((1 - |x|) / 2) / sqrt(2) in the tails, where (1 - |x|) / 2 is exact. */
static int erfinv_block(const double *restrict x, double *restrict y, int n,
                        uint16_t *restrict rest)
{
    double flags[BLOCK], packed[BLOCK], values[BLOCK];
    uint16_t where[BLOCK];
    _Pragma("omp simd") for (int i = 0; i < n; i++)
    {
        const double a = x[i];
        const double z = FMA(-a, a, 4.0 * CENTRE * CENTRE);
        /* SciPy gives 0 for -0, which this sum makes of it. */
        y[i] = with_sign(FMA(a, centre_quotient(ERFINV_UPPER, ERFINV_LOWER, z), a), a + 0.0);
        flags[i] = magnitude(a) <= 2.0 * CENTRE ? 0.0 : SET;
    }
    const int tails = collect(flags, n, where);
    for (int k = 0; k < tails; k++) packed[k] = x[where[k]];
    uint64_t bad = 0;
    _Pragma("omp simd reduction(| : bad)") for (int k = 0; k < tails; k++)
    {
        const double a = packed[k];
        double lo;
        const double v = near_quantile(0.5 - 0.5 * magnitude(a), &lo);
        values[k] = with_sign(FMA(v, SQRT_HALF, FMA(v, SQRT_HALF_REST, lo * SQRT_HALF)), a);
        bad |= bits_of(magnitude(a) < 1.0 ? 0.0 : SET);
    }
    int count = 0;
    for (int k = 0; k < tails; k++) y[where[k]] = values[k];
    for (int k = 0; bad && k < tails; k++) {
        rest[count] = where[k];
        count += !(magnitude(packed[k]) < 1.0);
    }
    return count;
}

#endif
