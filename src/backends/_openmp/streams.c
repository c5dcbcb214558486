/* Correctly rounded functions whose results go past the caches: any loop gives the same bits, but
 * one that does not read memory to overwrite it moves a third or a half less. */
#include <math.h>

#include "loops.h"
#include "stores.h"

#define STREAM(name, type, expression)                                                     \
    static void name##_##type(const void *x1, const void *x2, void *y, intptr_t n)         \
    {                                                                                      \
        const type *restrict a = x1, *restrict b = x2;                                     \
        (void)b;                                                                           \
        for (intptr_t start = 0; start < n; start += BLOCK) {                              \
            type block[BLOCK];                                                             \
            const int length = n - start < BLOCK ? (int)(n - start) : BLOCK;               \
            for (int i = 0; i < length; i++) {                                             \
                const intptr_t k = start + i;                                              \
                block[i] = (expression);                                                   \
            }                                                                              \
            copy_past_caches((char *)y + start * (intptr_t)sizeof(type), (const char *)block, \
                             length * (intptr_t)sizeof(type));                             \
        }                                                                                  \
        end_of_stores();                                                                   \
    }

#define BOTH(name, in_double, in_float) \
    STREAM(name, double, in_double) STREAM(name, float, in_float)

BOTH(add, a[k] + b[k], a[k] + b[k])
BOTH(subtract, a[k] - b[k], a[k] - b[k])
BOTH(multiply, a[k] * b[k], a[k] * b[k])
BOTH(divide, a[k] / b[k], a[k] / b[k])
BOTH(sqrt, sqrt(a[k]), sqrtf(a[k]))
BOTH(negative, -a[k], -a[k])
BOTH(absolute, fabs(a[k]), fabsf(a[k]))
/* What memory gives at most, as benchmarks count it: McCalpin's STREAM triad. */
BOTH(triad, a[k] + 3.0 * b[k], a[k] + 3.0F * b[k])

#define FAST(name) {#name, NULL, name##_double, name##_float}

const struct fast streams[] = {
    FAST(add),  FAST(subtract), FAST(multiply), FAST(divide),
    FAST(sqrt), FAST(negative), FAST(absolute), FAST(triad), {NULL, NULL, NULL, NULL},
};
