/* Fast loops: block functions over any strides, in float64 and float32.
 *
 * Compiled once for each instruction set, INSTRUCTIONS naming it.
 */
#include <float.h>

#include "bessel.h"
#include "elementary.h"
#include "flags.h"
#include "gamma.h"
#include "gaussian.h"
#include "loops.h"
#include "stores.h"

#define TEXT_(name) #name
#define TEXT(name) TEXT_(name)
#define ALIGNED __attribute__((aligned(64)))

static void gather(char *to, const char *from, intptr_t step, int n, int size)
{
    if (step == size) {
        memcpy(to, from, (size_t)n * (size_t)size);
    }
    else if (size == 8) {
        for (int i = 0; i < n; i++) {
            memcpy(to + 8 * i, from + i * step, 8);
        }
    }
    else {
        for (int i = 0; i < n; i++) {
            memcpy(to + 4 * i, from + i * step, 4);
        }
    }
}

static void scatter(char *to, intptr_t step, const char *from, int n, int size, bool streams)
{
    if (step == size && streams) {
        copy_past_caches(to, from, (intptr_t)n * size);
    }
    else if (step == size) {
        memcpy(to, from, (size_t)n * (size_t)size);
    }
    else {
        for (int i = 0; i < n; i++) {
            memcpy(to + i * step, from + i * size, (size_t)size);
        }
    }
}

/* Rounds a block to float32, and adds to `rest` what that makes infinite or subnormal: the exact
 * loop knows whether to warn of it. */
static int round_block(double *restrict y, float *restrict z, int n, uint16_t *restrict rest,
                       int count)
{
    for (int i = 0; i < count; i++) {
        y[rest[i]] = 0.0;
    }
    uint64_t bad = 0;
#pragma omp simd reduction(| : bad)
    for (int i = 0; i < n; i++) {
        z[i] = (float)y[i];
        const double size = magnitude(y[i]);
        bad |= bits_of(size <= FLT_MIN ? y[i] : 0.0) << 1 | bits_of(size > FLT_MAX ? 1.0 : 0.0);
    }
    for (int i = 0; bad && i < n; i++) {
        if (y[i] != 0.0 && !(magnitude(y[i]) > FLT_MIN && magnitude(y[i]) <= FLT_MAX)) {
            rest[count++] = (uint16_t)i;
        }
    }
    return count;
}

static void loop(block_function *block, ufunc_loop *exact, void *exact_data, bool single,
                 bool streams, char **args, intptr_t n, const intptr_t *steps)
{
    ALIGNED double x[BLOCK], y[BLOCK];
    ALIGNED float single_x[BLOCK], single_y[BLOCK];
    uint16_t rest[BLOCK];
    const int size = single ? sizeof(float) : sizeof(double);
    const status_flags before = flags_save();
    status_flags flags = before;

    for (intptr_t start = 0; start < n; start += BLOCK) {
        const int length = n - start < BLOCK ? (int)(n - start) : BLOCK;
        const char *from = args[0] + start * steps[0];
        const double *operand = x;
        if (single) {
            gather((char *)single_x, from, steps[0], length, size);
#pragma omp simd
            for (int i = 0; i < length; i++) {
                x[i] = single_x[i];
            }
        }
        else if (steps[0] == size) {
            operand = (const double *)from;
        }
        else {
            gather((char *)x, from, steps[0], length, size);
        }
        int count = block(operand, y, length, rest);
        const int others = count;
        char *result = (char *)y;
        if (single) {
            count = round_block(y, single_y, length, rest, count);
            result = (char *)single_y;
        }
        if (count) {
            /* Contiguous, for the exact loop's own vectors. */
            ALIGNED double rest_x[BLOCK], rest_y[BLOCK];
            for (int i = 0; i < count; i++) {
                memcpy((char *)rest_x + i * size, from + rest[i] * steps[0], (size_t)size);
            }
            char *rest_args[] = {(char *)rest_x, (char *)rest_y};
            const intptr_t rest_steps[] = {size, size}, rest_count = count;
            flags_restore(flags);
            exact(rest_args, &rest_count, rest_steps, exact_data);
            flags = flags_save();
            for (int i = 0; i < others; i++) {
                memcpy(result + rest[i] * size, (char *)rest_y + i * size, (size_t)size);
            }
        }
        scatter(args[1] + start * steps[1], steps[1], result, length, size, streams);
    }
    if (streams) {
        end_of_stores();
    }
    flags_restore(flags);
}

#define FAST(name) {TEXT(name), name##_block, NULL, NULL}

static const struct fast functions[] = {
    FAST(sin),    FAST(cos),      FAST(tan),     FAST(exp),  FAST(log),      FAST(expit),
    FAST(erf),    FAST(erfc),     FAST(erfinv),  FAST(ndtr), FAST(log_ndtr), FAST(ndtri),
    FAST(norm_isf), FAST(gammaln), FAST(gamma),  FAST(j0),   {NULL, NULL, NULL, NULL},
};

const struct instructions INSTRUCTIONS = {TEXT(INSTRUCTIONS), loop, functions};
