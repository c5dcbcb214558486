/* The Bessel function J0.
 *
 * From 8 on J0(x) = M(x) cos(x - pi / 4 - theta(x)) (DLMF 10.18), sqrt(x) M and x theta being
 * polynomials in 1 / x^2 fitted to them; below 8 polynomials in x^2, from 2 on with the first two
 * zeros as factors. Coefficients by bessel.sollya.
 */
#ifndef BACKENDS_BESSEL_H
#define BACKENDS_BESSEL_H

#include "elementary.h"

#include "bessel_coefficients.h"

#define MODULUS_START 8.0

#define PI_4TH 0x1.921fb54442d18p-1
#define PI_4TH_REST 0x1.1a62633145c07p-55

/* M(x) sin(c + c_rest - theta(x)) for x >= 8 and |c - theta| <= pi / 2. */
static inline double j0_wave(double x, double c, double c_rest)
{
    const double inverse = 1.0 / x, z = inverse * inverse, z2 = z * z, z4 = z2 * z2, z8 = z4 * z4;
    const double m12 = FMA(MODULUS_2, z, MODULUS_1), m34 = FMA(MODULUS_4, z, MODULUS_3);
    const double m56 = FMA(MODULUS_6, z, MODULUS_5), m78 = FMA(MODULUS_8, z, MODULUS_7);
    const double m9a = FMA(MODULUS_10, z, MODULUS_9);
    const double m = FMA(z8, FMA(z2, MODULUS_11, m9a),
                         FMA(z4, FMA(z2, m78, m56), FMA(z2, m34, m12)));
    const double modulus = MODULUS_0 + FMA(z, m, MODULUS_REST);
    const double t01 = FMA(PHASE_1, z, PHASE_0), t23 = FMA(PHASE_3, z, PHASE_2);
    const double t45 = FMA(PHASE_5, z, PHASE_4), t67 = FMA(PHASE_7, z, PHASE_6);
    const double t89 = FMA(PHASE_9, z, PHASE_8), tab = FMA(PHASE_11, z, PHASE_10);
    const double theta = inverse * FMA(z8, FMA(z4, PHASE_12, FMA(z2, tab, t89)),
                                       FMA(z4, FMA(z2, t67, t45), FMA(z2, t23, t01)));

    const double r = c - theta;
    const double r_rest = sum_error(c, -theta, r) + c_rest;
    const double w = r * r, w2 = w * w, w4 = w2 * w2;
    const double s01 = FMA(SINE_1, w, SINE_0), s23 = FMA(SINE_3, w, SINE_2);
    const double s45 = FMA(SINE_5, w, SINE_4), s67 = FMA(SINE_7, w, SINE_6);
    const double s = FMA(w4, FMA(w2, s67, s45), FMA(w2, s23, s01));
    /* cos(r), which only multiplies r_rest, is near enough to 1 - 0.4 r^2. */
    const double sine = r + FMA(r * w, s, FMA(-0.4 * w, r_rest, r_rest));
    return sine * (modulus * __builtin_sqrt(inverse));
}

/* cos(x - pi / 4 - theta) = (-1)^k sin(x - (k - 1/4) pi - theta), for 8 <= x <= 1e5: the multiple
 * of pi stays below 2^15, in quarters 2^17. */
static inline double j0_large(double x)
{
    const double shifted = FMA(x, ONE_OVER_PI, 0.25) + MAGIC;
    const double n = (shifted - MAGIC) - 0.25;
    const double a = x - n * PI_HEAD, b = n * PI_MIDDLE; /* exact */
    const double c = a - b; /* a is a multiple of the last bit of b, hence the exact error */
    const double c_rest = FMA(-n, PI_TAIL, sum_error(a, -b, c));
    return from_bits(bits_of(j0_wave(x, c, c_rest)) ^ (bits_of(shifted) << 63));
}

/* Beyond 1e5. An even number n of quarter turns goes with k = n / 2, an odd one with (n + 1) / 2,
 * from which y is on the other side. */
static inline double j0_huge(double x)
{
    const double a = magnitude(x);
    if (!is_huge(x, 1e5)) {
        return NOT_HERE;
    }
    const struct quadrant q = pio2_reduce_huge(a);
    const double quarter = q.n & 1 ? -PI_4TH : PI_4TH, rest = q.n & 1 ? -PI_4TH_REST : PI_4TH_REST;
    const double c = quarter + q.y, c_rest = sum_error(quarter, q.y, c) + (rest - q.y_less);
    return from_bits(bits_of(j0_wave(a, c, c_rest)) ^ ((q.n + 1) >> 1 << 63));
}

/* For 0 <= x < 8. */
static inline double j0_small(double x)
{
    const double w = x * x, w_rest = product_error(x, x, w), w2 = w * w, w4 = w2 * w2;
    const double n12 = FMA(NEAR_2, w, NEAR_1), n34 = FMA(NEAR_4, w, NEAR_3);
    const double n56 = FMA(NEAR_6, w, NEAR_5), n78 = FMA(NEAR_8, w, NEAR_7);
    const double n = FMA(w4, FMA(w2, n78, n56), FMA(w2, n34, n12));
    const double near = FMA(w2, n, FMA(w, NEAR_0, 1.0));

    /* Both differences have exact errors: the greater operand, and ZERO2 always, is a multiple of
     * the other's last bit, or nothing is lost. */
    const double factor1 = w - ZERO1, factor2 = w - ZERO2;
    const double rest1 = sum_error(w, -ZERO1, factor1) + (w_rest - ZERO1_REST);
    const double rest2 = sum_error(-ZERO2, w, factor2) + (w_rest - ZERO2_REST);
    const double product = factor1 * factor2;
    const double product_rest = FMA(factor1, rest2, FMA(factor2, rest1,
                                                        product_error(factor1, factor2, product)));
    /* s is not positive, where all terms of the polynomial have one sign: J0's zeros are real. */
    const double s = w - (w < 32.0 ? 32.0 : 64.0), s2 = s * s, s4 = s2 * s2, s8 = s4 * s4;
#define MIDDLE(i) (w < 32.0 ? LOWER_##i : UPPER_##i)
    const double p12 = FMA(MIDDLE(2), s, MIDDLE(1)), p34 = FMA(MIDDLE(4), s, MIDDLE(3));
    const double p56 = FMA(MIDDLE(6), s, MIDDLE(5)), p78 = FMA(MIDDLE(8), s, MIDDLE(7));
    const double p9a = FMA(MIDDLE(10), s, MIDDLE(9)), pbc = FMA(MIDDLE(12), s, MIDDLE(11));
    const double q = FMA(s8, FMA(s2, pbc, p9a), FMA(s4, FMA(s2, p78, p56), FMA(s2, p34, p12)));
    const double p = FMA(s + w_rest, q, MIDDLE(0));
#undef MIDDLE
    const double middle = (product + product_rest) * p;
    return x < 2.0 ? near : middle;
}

static int j0_ordinary(const double *restrict x, double *restrict y, int n, uint16_t *restrict rest)
{
    /* For GCC SSE2 cannot make a comparison 0 or 1, but can blend doubles. */
    uint64_t below = 0, bad = 0;
    _Pragma("omp simd reduction(| : below, bad)") for (int i = 0; i < n; i++)
    {
        const double a = magnitude(x[i]);
        y[i] = j0_large(a);
        below |= bits_of(a < MODULUS_START ? 1.0 : 0.0);
        bad |= bits_of(a <= 1e5 ? 0.0 : 1.0);
    }
    if (below) {
        uint16_t place[BLOCK];
        double packed[BLOCK];
        int count = 0;
        for (int i = 0; i < n; i++) {
            place[count] = (uint16_t)i;
            count += magnitude(x[i]) < MODULUS_START;
        }
        for (int i = 0; i < count; i++)
            packed[i] = magnitude(x[place[i]]);
        _Pragma("omp simd") for (int i = 0; i < count; i++) packed[i] = j0_small(packed[i]);
        for (int i = 0; i < count; i++)
            y[place[i]] = packed[i];
    }
    int count = 0;
    if (bad) {
        for (int i = 0; i < n; i++) {
            rest[count] = (uint16_t)i;
            count += !(magnitude(x[i]) <= 1e5);
        }
    }
    return count;
}

static int j0_block(const double *restrict x, double *restrict y, int n, uint16_t *restrict rest)
{
    return look_again(j0_huge, x, y, rest, j0_ordinary(x, y, n, rest));
}

#endif
