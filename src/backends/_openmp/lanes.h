/* What one lane of a SIMD loop is written in.
 *
 * The functions beside this file are plain C: one double in, one double out, no branches that
 * depend on data, so that the compiler turns a loop over them into vectors of whatever width it
 * was told to (SSE2, AVX2, AVX-512, NEON). Hence the rules:
 *
 * - `c ? a : b` with both sides already computed is a blend; `if` is not;
 * - integers are uint64_t, as wide as the lanes, and only added, and-ed, or-ed, xor-ed and
 *   shifted logically: AVX2 has no more; between integers and doubles go MAGIC sums, not casts;
 * - what depends on a comparison of doubles is chosen among doubles: SSE2 blends nothing else;
 * - what a lane cannot do (NaN, domain errors, overflow, whatever NumPy warns of) it leaves to
 *   NumPy's or SciPy's own loop, which gives the value and the warning that the user knows;
 * - status flags raised here are thrown away: compute what you like in lanes that lose.
 */
#ifndef BACKENDS_LANES_H
#define BACKENDS_LANES_H

#include <stdint.h>
#include <string.h>

/* Elements a block function gets at most: a few blocks fit in the first-level cache. */
#define BLOCK 512

#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
#define HAVE_FMA 1
#define FMA(a, b, c) __builtin_fma((a), (b), (c))
#else
/* Without the instruction fma() is a slow call: what needs its single rounding asks HAVE_FMA. */
#define HAVE_FMA 0
#define FMA(a, b, c) ((a) * (b) + (c))
#endif

/* t + MAGIC rounds |t| < 2^51 to the nearest integer, which then is in the low bits. */
#define MAGIC 0x1.8p52

static inline uint64_t bits_of(double x)
{
    uint64_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static inline double from_bits(uint64_t u)
{
    double x;
    memcpy(&x, &u, sizeof x);
    return x;
}

static inline double magnitude(double x)
{
    return from_bits(bits_of(x) & UINT64_C(0x7fffffffffffffff));
}

/* The magnitude of x with the sign of s. */
static inline double with_sign(double x, double s)
{
    const uint64_t sign = UINT64_C(0x8000000000000000);
    return from_bits((bits_of(x) & ~sign) | (bits_of(s) & sign));
}

/* a * b - p, where p is a * b rounded: exact. Without FMA, for |a|, |b| < 2^995 (Dekker). */
static inline double product_error(double a, double b, double p)
{
#if HAVE_FMA
    return FMA(a, b, -p);
#else
    const double split = 0x1p27 + 1.0;
    double ca = split * a, ah = ca - (ca - a), al = a - ah;
    double cb = split * b, bh = cb - (cb - b), bl = b - bh;
    return ((ah * bh - p) + ah * bl + al * bh) + al * bl;
#endif
}

/* a + b - s, where s is a + b rounded and |a| >= |b|: exact (Dekker). */
static inline double sum_error(double a, double b, double s)
{
    return b - (s - a);
}

/* A block function computes y[i] = f(x[i]) for i < n <= BLOCK, writes to `rest` the indices of the
 * elements that it leaves to the exact loop, in order, and returns how many those are. x and y do
 * not overlap. */
typedef int block_function(const double *restrict x, double *restrict y, int n,
                           uint16_t *restrict rest);

/* Makes a block function of a lane function and a predicate that tells the lanes it is good for.
 * Most blocks have no others, so that looking for them one by one is the exception. */
#define BLOCK_FUNCTION(name, value, good)                                                         \
    static int name(const double *restrict x, double *restrict y, int n, uint16_t *restrict rest) \
    {                                                                                             \
        uint64_t bad = 0;                                                                         \
        _Pragma("omp simd reduction(| : bad)") for (int i = 0; i < n; i++)                        \
        {                                                                                         \
            y[i] = value(x[i]);                                                                   \
            bad |= bits_of(good(x[i]) ? 0.0 : 1.0);                                               \
        }                                                                                         \
        int count = 0;                                                                            \
        if (bad) {                                                                                \
            for (int i = 0; i < n; i++) {                                                         \
                rest[count] = (uint16_t)i;                                                        \
                count += !good(x[i]);                                                             \
            }                                                                                     \
        }                                                                                         \
        return count;                                                                             \
    }

#endif
