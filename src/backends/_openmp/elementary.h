/* Exponential, logarithm, circular functions and the logistic function, in double precision.
 *
 * The classic scheme (W. J. Cody and W. Waite, Software Manual for the Elementary Functions, 1980):
 * an exact reduction of the argument, a minimax polynomial in what is left, made by
 * elementary.sollya, and sums arranged so that only the last rounding counts.
 */
#ifndef BACKENDS_ELEMENTARY_H
#define BACKENDS_ELEMENTARY_H

#include <float.h>

#include "payne_hanek.h"

#include "elementary_coefficients.h"

/* What look_again() leaves in `rest`. */
#define NOT_HERE __builtin_inf()

/* Computes once more what a block function left, by `value`, which is not finite where an element
 * is to stay in `rest`; returns how many stay. */
static inline int look_again(double (*value)(double), const double *restrict x,
                             double *restrict y, uint16_t *restrict rest, int count)
{
    int left = 0;
    for (int i = 0; i < count; i++) {
        const uint16_t at = rest[i];
        y[at] = value(x[at]);
        rest[left] = at;
        left += !(magnitude(y[at]) <= DBL_MAX);
    }
    return left;
}

/* exp(hi + lo) = 2^(n - lift) (head + *tail), head returned and n in the low bits of *power. */
static inline double exp_parts(double hi, double lo, double lift, double *tail, double *power)
{
    const double t = FMA(hi, LOG2_E, MAGIC + lift);
    const double n = t - (MAGIC + lift);
    const double r = FMA(-n, LN2_HEAD, hi); /* exact */
    const double r_lo = FMA(-n, LN2_TAIL, lo);
    const double s = r + r_lo, s2 = s * s, s4 = s2 * s2;
    const double p01 = FMA(EXP_1, s, EXP_0), p23 = FMA(EXP_3, s, EXP_2);
    const double p45 = FMA(EXP_5, s, EXP_4), p67 = FMA(EXP_7, s, EXP_6);
    const double p89 = FMA(EXP_9, s, EXP_8);
    const double p = FMA(FMA(s4, p89, FMA(s2, p67, p45)), s4, FMA(s2, p23, p01));
    const double head = 1.0 + r;
    *tail = sum_error(1.0, r, head) + FMA(s2, p, r_lo);
    *power = t;
    return head;
}

/* y 2^n, n in the low bits of `power`: into the exponent, also where 2^n itself is no double. */
static inline double times_power(double y, double power)
{
    return from_bits(bits_of(y) + (bits_of(power) << 52));
}

/* exp(hi + lo) for -708 <= hi <= 709.78 and |lo| < 1e-9; beyond that garbage. */
static inline double exp_of_sum(double hi, double lo)
{
    double tail, power;
    const double head = exp_parts(hi, lo, 0.0, &tail, &power);
    return times_power(head + tail, power);
}

/* What is lifted by so many powers of 2 is normal until, lowered again, it rounds to 0. */
#define LIFT 200.0
#define LOWER 0x1p-200

/* exp(x) for -840 <= x <= 570, in the subnormals and at 0 too. */
static inline double exp_to_zero(double x)
{
    double tail, power;
    const double head = exp_parts(x, 0.0, LIFT, &tail, &power);
    return times_power(head + tail, power) * LOWER;
}

/* x = 2^k (1 + f) for normal positive x, 1 + f between sqrt(1/2) and sqrt(2). */
static inline double log_reduce(double x, double *k)
{
    const uint64_t least = UINT64_C(0x3fe6a09e667f3bcd), fraction = UINT64_C(0x000fffffffffffff);
    const uint64_t shifted = bits_of(x) + (bits_of(1.0) - least);
    *k = from_bits((shifted >> 52) | bits_of(0x1p52)) - (0x1p52 + 1023.0);
    return from_bits((shifted & fraction) + least) - 1.0;
}

/* log(x) for normal positive x as a sum of the returned double and *lo, in which half a unit of
 * error counts little: log(1 + f) = f - s f + (2 atanh(s) - 2 s), s = f / (2 + f). */
static inline double log_sum(double x, double *lo)
{
    double k;
    const double f = log_reduce(x, &k);
    const double s = f / (2.0 + f);
    const double z = s * s, z2 = z * z;
    const double p01 = FMA(LOG_1, z, LOG_0), p23 = FMA(LOG_3, z, LOG_2);
    const double p46 = FMA(z2, LOG_6, FMA(LOG_5, z, LOG_4));
    const double p = FMA(z2, FMA(z2, p46, p23), p01);
    const double half = 0.5 * f;
    const double big = k * LN2_HEAD, head = big + f; /* |big| > |f| or big is 0 */
    const double tail = FMA(k, LN2_TAIL, sum_error(big, f, head));
    *lo = FMA(-half, f, FMA(s * z, p, FMA(s, half * f, tail)));
    return head;
}

static inline double log_value(double x)
{
    double lo;
    const double head = log_sum(x, &lo);
    return head + lo;
}

/* log(x) for normal positive x as a sum of the returned double and *lo, |*lo| <= ulp / 2. */
static inline double log_parts(double x, double *lo)
{
    double k;
    const double f = log_reduce(x, &k);
    /* t + t_lo = 2 f / (2 + f) */
    const double g = 2.0 + f, g_lo = sum_error(2.0, f, g), inverse = 1.0 / g;
    const double t = 2.0 * f * inverse, tg = t * g;
    const double t_lo = (((2.0 * f - tg) - product_error(t, g, tg)) - t * g_lo) * inverse;
    const double w = t * t, w2 = w * w;
    const double w_lo = FMA(2.0 * t, t_lo, product_error(t, t, w));
    /* The series from its end, in two parts as soon as rounding would count. */
    const double p12 = FMA(LOGP_2, w, LOGP_1), p34 = FMA(LOGP_4, w, LOGP_3);
    const double p56 = FMA(LOGP_6, w, LOGP_5);
    const double a = w * FMA(w, FMA(w2, FMA(w2, p56, p34), p12), LOGP_0);
    const double b = ONE_80TH + a, b_lo = sum_error(ONE_80TH, a, b) + ONE_80TH_REST;
    const double c = w * b, c_lo = FMA(w, b_lo, FMA(w_lo, b, product_error(w, b, c)));
    const double d = ONE_12TH + c, d_lo = sum_error(ONE_12TH, c, d) + (ONE_12TH_REST + c_lo);
    const double v = w * d, v_lo = FMA(w, d_lo, FMA(w_lo, d, product_error(w, d, v)));
    const double u = t * v, u_lo = FMA(t, v_lo, FMA(t_lo, v, product_error(t, v, u)));
    const double big = k * LN2_HEAD, sum = big + t; /* |big| > |t| or big is 0 */
    const double hi = sum + u;
    const double rest = sum_error(sum, u, hi)
                        + (sum_error(big, t, sum) + (FMA(k, LN2_TAIL, t_lo) + u_lo));
    const double value = hi + rest;
    *lo = sum_error(hi, rest, value);
    return value;
}

static inline double exp_value(double x)
{
    return exp_of_sum(x, 0.0);
}

/* From -708.39 to 709.78: neither overflow nor underflow. */
static inline int exp_good(double x)
{
    return magnitude(x - 0.695) <= 709.085;
}

BLOCK_FUNCTION(exp_block, exp_value, exp_good)

/* Normal and positive, in one comparison: one more in the last place makes infinity a NaN. */
static inline int log_good(double x)
{
    return from_bits(bits_of(x) + 1) > 0x1p-1022;
}

BLOCK_FUNCTION(log_block, log_value, log_good)

/* For |x| <= PIO2_LIMIT. */
static inline struct quadrant pio2_reduce(double x)
{
    const double t = FMA(x, TWO_OVER_PI, MAGIC);
    const double n = t - MAGIC;
    const double r = FMA(-n, PIO2_HEAD, x); /* exact */
    const double y = FMA(-n, PIO2_MIDDLE, r);
    const double y_less = FMA(n, PIO2_TAIL, FMA(n, PIO2_MIDDLE, y - r));
    return (struct quadrant){bits_of(t), y, y_less};
}

/* Finite, but beyond the limit. */
static inline int is_huge(double x, double limit)
{
    return magnitude(x) > limit && magnitude(x) <= DBL_MAX;
}

/* Compared as doubles, which SSE2 can: what is shifted out leaves 0, -0, 2 or -2. */
static inline int is_even(uint64_t n)
{
    return from_bits(n << 62) == 0.0;
}

/* sin and cos of the reduced argument as head and what is to be added to or taken from it. */
struct circle {
    double sin, sin_less, cos, cos_more;
};

static inline struct circle circle_of(struct quadrant q)
{
    const double y = q.y, z = y * y, z2 = z * z, half = 0.5 * y;
    const double s = FMA(z, FMA(z2, FMA(z2, SIN_5, SIN_3), SIN_1),
                         FMA(z2, FMA(z2, SIN_4, SIN_2), SIN_0));
    const double c = FMA(z, FMA(z2, FMA(z2, COS_5, COS_3), COS_1),
                         FMA(z2, FMA(z2, COS_4, COS_2), COS_0));
    const double head = FMA(-half, y, 1.0);
    const double more = FMA(z2, c, FMA(y, q.y_less, FMA(-half, y, 1.0 - head)));
    return (struct circle){y, FMA(y * z, s, q.y_less * head), head, more};
}

static inline double sin_of(struct quadrant q)
{
    const struct circle p = circle_of(q);
    const double y = is_even(q.n) ? p.sin - p.sin_less : p.cos + p.cos_more;
    return from_bits(bits_of(y) ^ ((q.n << 62) & UINT64_C(0x8000000000000000)));
}

static inline double cos_of(struct quadrant q)
{
    q.n++;
    return sin_of(q);
}

/* a * b - c, rounded about once. */
static inline double product_minus(double a, double b, double c)
{
#if HAVE_FMA
    return FMA(a, b, -c);
#else
    const double p = a * b;
    return (p - c) + product_error(a, b, p);
#endif
}

static inline double tan_of(struct quadrant q)
{
    const struct circle p = circle_of(q);
    const double s = p.sin - p.sin_less, s_lo = (p.sin - s) - p.sin_less;
    const double c = p.cos + p.cos_more, c_lo = sum_error(p.cos, p.cos_more, c);
    const double a = is_even(q.n) ? s : c, a_lo = is_even(q.n) ? s_lo : c_lo;
    const double b = is_even(q.n) ? c : s, b_lo = is_even(q.n) ? c_lo : s_lo;
    const double inverse = 1.0 / b;
    const double y = a * inverse;
    const double excess = product_minus(y, b, a) + FMA(y, b_lo, -a_lo);
    return from_bits(bits_of(FMA(-excess, inverse, y)) ^ (q.n << 63));
}

static inline int cos_good(double x)
{
    return magnitude(x) <= PIO2_LIMIT;
}

/* Without subnormal arguments, which underflow: one less in the exponent halves normal numbers,
 * makes subnormal ones NaN, and zero -infinity. */
static inline int sin_good(double x)
{
    return from_bits(bits_of(magnitude(x)) - bits_of(0x1p-1022)) <= 0.5 * PIO2_LIMIT;
}

/* Makes a block function of a function of the reduced argument. What a loop over small arguments
 * leaves is looked at again. */
#define CIRCULAR_BLOCK(name, of, good)                                                            \
    static inline double name##_value(double x)                                                   \
    {                                                                                             \
        return of(pio2_reduce(x));                                                                \
    }                                                                                             \
    BLOCK_FUNCTION(name##_small, name##_value, good)                                              \
    static inline double name##_huge(double x)                                                    \
    {                                                                                             \
        return is_huge(x, PIO2_LIMIT) ? of(pio2_reduce_huge(x)) : NOT_HERE;                       \
    }                                                                                             \
    static int name##_block(const double *restrict x, double *restrict y, int n,                  \
                            uint16_t *restrict rest)                                              \
    {                                                                                             \
        return look_again(name##_huge, x, y, rest, name##_small(x, y, n, rest));                  \
    }

CIRCULAR_BLOCK(sin, sin_of, sin_good)
CIRCULAR_BLOCK(cos, cos_of, cos_good)
CIRCULAR_BLOCK(tan, tan_of, sin_good)

/* 1 / (1 + exp(-x)), by the exponential that is at most 1. */
static inline double expit_value(double x)
{
    const double size = magnitude(x);
    const double e = exp_to_zero(-(size < 750.0 ? size : 750.0)); /* at 750 it is 0 */
    const double sum = 1.0 + e, sum_lo = sum_error(1.0, e, sum);
    const double y = (x < 0.0 ? e : 1.0) / sum;
    /* 1 - e / 2 is near enough to 1 / sum for what rounding the sum did. */
    return FMA(-y, sum_lo * FMA(-0.5, e, 1.0), y);
}

static inline int is_number(double x)
{
    return x == x;
}

BLOCK_FUNCTION(expit_block, expit_value, is_number)

#endif
