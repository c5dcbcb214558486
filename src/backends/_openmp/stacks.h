/* Small matrices, many of them: LU factors with partial pivoting, no call of LAPACK for each.
 *
 * OpenBLAS takes a lock in every call, so that threads with small matrices wait for each other
 * (`python benchmarks/openmp.py stacks`).
 */
#ifndef BACKENDS_STACKS_H
#define BACKENDS_STACKS_H

#include <stdbool.h>
#include <stdint.h>

/* Order up to which matrices are small: they fit on the stack, and BLAS would not use threads. */
#define SMALL 16

/* Computes matrices begin <= i < end as NumPy's inner loops do: dimensions[1] is the order,
 * dimensions[2] the number of right-hand sides, `steps` has the outer steps of the operands and
 * then the core ones. Tells whether all were regular. */
typedef bool stack_function(char **args, const intptr_t *dimensions, const intptr_t *steps,
                            intptr_t begin, intptr_t end);

struct stack {
    const char *name, *signature;
    int nin;
    stack_function *in_double, *in_float;
};

/* The last has no name. */
extern const struct stack stacks[];

#endif
