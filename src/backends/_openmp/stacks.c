#include "stacks.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

/* Gaussian elimination of the n rows of [a | b], `width` numbers each; G. H. Golub, C. F. Van Loan,
 * "Matrix Computations", 4th edition, algorithm 3.4.1. Gives the sign of the permutation, 0 where
 * a pivot is 0. */
#define ELIMINATE(type)                                                                        \
    static int eliminate_##type(type (*restrict rows)[2 * SMALL], int n, int width)            \
    {                                                                                          \
        int sign = 1;                                                                          \
        for (int k = 0; k < n; k++) {                                                          \
            int pivot = k;                                                                     \
            for (int i = k + 1; i < n; i++) {                                                  \
                if (!(fabs((double)rows[i][k]) <= fabs((double)rows[pivot][k]))) {             \
                    pivot = i;                                                                 \
                }                                                                              \
            }                                                                                  \
            if (rows[pivot][k] == 0) {                                                         \
                return 0;                                                                      \
            }                                                                                  \
            if (pivot != k) {                                                                  \
                type swapped[2 * SMALL];                                                       \
                memcpy(swapped, rows[k], sizeof swapped);                                      \
                memcpy(rows[k], rows[pivot], sizeof swapped);                                  \
                memcpy(rows[pivot], swapped, sizeof swapped);                                  \
                sign = -sign;                                                                  \
            }                                                                                  \
            for (int i = k + 1; i < n; i++) {                                                  \
                const type factor = rows[i][k] / rows[k][k];                                   \
                for (int j = k + 1; j < width; j++) {                                          \
                    rows[i][j] -= factor * rows[k][j];                                         \
                }                                                                              \
            }                                                                                  \
        }                                                                                      \
        return sign;                                                                           \
    }                                                                                          \
                                                                                               \
    static void substitute_##type(type (*restrict rows)[2 * SMALL], int n, int width)          \
    {                                                                                          \
        for (int k = n - 1; k >= 0; k--) {                                                     \
            for (int i = k + 1; i < n; i++) {                                                  \
                for (int j = n; j < width; j++) {                                              \
                    rows[k][j] -= rows[k][i] * rows[i][j];                                     \
                }                                                                              \
            }                                                                                  \
            for (int j = n; j < width; j++) {                                                  \
                rows[k][j] /= rows[k][k];                                                      \
            }                                                                                  \
        }                                                                                      \
    }                                                                                          \
                                                                                               \
    static void read_##type(type (*rows)[2 * SMALL], int at, const char *from, int n, int m,   \
                            const intptr_t *steps)                                             \
    {                                                                                          \
        for (int i = 0; i < n; i++) {                                                          \
            for (int j = 0; j < m; j++) {                                                      \
                rows[i][at + j] = *(const type *)(from + i * steps[0] + j * steps[1]);         \
            }                                                                                  \
        }                                                                                      \
    }                                                                                          \
                                                                                               \
    /* Writes the solutions, or NaN as LAPACK's callers do where there are none. */            \
    static void write_##type(type (*rows)[2 * SMALL], bool regular, char *to, int n, int m,    \
                             const intptr_t *steps)                                            \
    {                                                                                          \
        for (int i = 0; i < n; i++) {                                                          \
            for (int j = 0; j < m; j++) {                                                      \
                *(type *)(to + i * steps[0] + j * steps[1]) =                                  \
                    regular ? rows[i][n + j] : (type)NAN;                                      \
            }                                                                                  \
        }                                                                                      \
    }                                                                                          \
                                                                                               \
    static bool inv_##type(char **args, const intptr_t *dimensions, const intptr_t *steps,     \
                           intptr_t begin, intptr_t end)                                       \
    {                                                                                          \
        type rows[SMALL][2 * SMALL];                                                           \
        const int n = (int)dimensions[1];                                                      \
        bool all = true;                                                                       \
        for (intptr_t k = begin; k < end; k++) {                                               \
            read_##type(rows, 0, args[0] + k * steps[0], n, n, steps + 2);                     \
            for (int i = 0; i < n; i++) {                                                      \
                for (int j = 0; j < n; j++) {                                                  \
                    rows[i][n + j] = i == j;                                                   \
                }                                                                              \
            }                                                                                  \
            const bool regular = eliminate_##type(rows, n, 2 * n) != 0;                        \
            substitute_##type(rows, regular ? n : 0, 2 * n);                                   \
            write_##type(rows, regular, args[1] + k * steps[1], n, n, steps + 4);              \
            all &= regular;                                                                    \
        }                                                                                      \
        return all;                                                                            \
    }                                                                                          \
                                                                                               \
    static bool solve_##type(char **args, const intptr_t *dimensions, const intptr_t *steps,   \
                             intptr_t begin, intptr_t end)                                     \
    {                                                                                          \
        type rows[SMALL][2 * SMALL];                                                           \
        const int n = (int)dimensions[1], m = (int)dimensions[2];                              \
        bool all = true;                                                                       \
        for (intptr_t k = begin; k < end; k++) {                                               \
            read_##type(rows, 0, args[0] + k * steps[0], n, n, steps + 3);                     \
            read_##type(rows, n, args[1] + k * steps[1], n, m, steps + 5);                     \
            const bool regular = eliminate_##type(rows, n, n + m) != 0;                        \
            substitute_##type(rows, regular ? n : 0, n + m);                                   \
            write_##type(rows, regular, args[2] + k * steps[2], n, m, steps + 7);              \
            all &= regular;                                                                    \
        }                                                                                      \
        return all;                                                                            \
    }                                                                                          \
                                                                                               \
    static bool det_##type(char **args, const intptr_t *dimensions, const intptr_t *steps,     \
                           intptr_t begin, intptr_t end)                                       \
    {                                                                                          \
        type rows[SMALL][2 * SMALL];                                                           \
        const int n = (int)dimensions[1];                                                      \
        for (intptr_t k = begin; k < end; k++) {                                               \
            read_##type(rows, 0, args[0] + k * steps[0], n, n, steps + 2);                     \
            /* The exponent apart: the product may overflow on the way. */                     \
            double product = eliminate_##type(rows, n, n);                                     \
            int exponent = 0;                                                                  \
            for (int i = 0; product != 0.0 && i < n; i++) {                                    \
                int more;                                                                      \
                product = frexp(product * rows[i][i], &more);                                  \
                exponent += more;                                                              \
            }                                                                                  \
            *(type *)(args[1] + k * steps[1]) = (type)ldexp(product, exponent);                \
        }                                                                                      \
        return true;                                                                           \
    }

ELIMINATE(double)
ELIMINATE(float)

const struct stack stacks[] = {
    {"inv", "(n,n)->(n,n)", 1, inv_double, inv_float},
    {"det", "(n,n)->()", 1, det_double, det_float},
    {"solve", "(n,n),(n,m)->(n,m)", 2, solve_double, solve_float},
    {NULL, NULL, 0, NULL, NULL},
};
