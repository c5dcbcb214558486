/* Loops as NumPy calls them, and how they are cut.
 *
 * An exact loop is NumPy's or SciPy's own. A fast loop computes most elements by a block function
 * (lanes.h) and leaves the others to the exact loop, or is correctly rounded like the exact loop
 * and writes past the caches (streams) where that is shorter.
 */
#ifndef BACKENDS_LOOPS_H
#define BACKENDS_LOOPS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "lanes.h"
#include "team.h"

/* Arguments of one loop: the outputs that scipy.special's have at most, and room to spare. */
#define MOST_ARGS 16
/* Cuts fall on multiples of so many elements: whole vectors and cache lines of any operand, so
 * that each element meets the same instructions as in one piece. */
#define CUT 64

typedef void ufunc_loop(char **args, const intptr_t *dimensions, const intptr_t *steps, void *data);

/* Computes y[i] = f(x1[i], x2[i]) for contiguous elements, past the caches; x2 may be absent. */
typedef void stream_function(const void *x1, const void *x2, void *y, intptr_t n);

struct fast {
    const char *name;
    block_function *block;
    stream_function *stream_double, *stream_float;
};

/* A float64 or float32 loop by `block`; what that leaves goes to `exact`. */
typedef void block_loop(block_function *block, ufunc_loop *exact, void *exact_data, bool single,
                        bool streams, char **args, intptr_t n, const intptr_t *steps);

/* What one instruction set has. */
struct instructions {
    const char *name;
    block_loop *loop;
    const struct fast *functions; /* the last has no name */
};

extern const struct instructions baseline, avx2, avx512;
/* Correctly rounded, the same for all instruction sets: bound by memory. */
extern const struct fast streams[];

struct loop {
    ufunc_loop *exact;
    void *exact_data;
    bool negated;    /* whether the result's sign is to be turned: norm_isf is -ndtri */
    bool plain;      /* whether the exact loop does all that is small */
    bool special;    /* whether it is SciPy's, which reports errors in its own way */
    bool single;     /* float32, where there is a fast loop */
    const struct fast *fast;
    const struct instructions *instructions;
    int nin, nargs;
    uint8_t sizes[MOST_ARGS]; /* bytes an element */
    int jobs;                  /* 0: each call's own */
    intptr_t fixed_threshold;  /* elements from which it is cut; 0: as measured */
    _Atomic intptr_t known_threshold; /* elements from which a team pays that is awake; 0: unknown */
    intptr_t first_threshold;  /* before anything is measured */
    atomic_bool reached;       /* whether it was ever called */
    intptr_t stream_threshold; /* bytes of operands from which stores stream */
    _Atomic intptr_t threshold; /* the fewest elements that are worth a look */
    _Atomic double cost;        /* seconds an element, the least seen */
    atomic_int probes;
};

/* Computes in this thread, in one piece. */
void loop_serially(const struct loop *loop, char **args, intptr_t n, const intptr_t *steps,
                   bool streams);

/* Tells whether pieces could be computed in any order: no reduction, no output that overlaps an
 * input other than element on element. */
bool loop_divides(const struct loop *loop, char **args, intptr_t n, const intptr_t *steps);

/* Tells whether stores should go past the caches. */
bool loop_streams(const struct loop *loop, char **args, intptr_t n, const intptr_t *steps);

/* Remembers what elements cost, and from how many on `jobs` threads pay. */
void loop_learn(struct loop *loop, int jobs, double seconds, intptr_t elements);

/* Tells whether so many elements are worth `jobs` threads. */
bool loop_pays(struct loop *loop, int jobs, intptr_t elements);

/* One call of an inner loop. */
struct call {
    struct loop *loop; /* of which only what is measured changes */
    int jobs;
    bool streams;
    intptr_t n;
    char *args[MOST_ARGS];
    intptr_t steps[MOST_ARGS];
};

/* As loop_pays for what is left of a call; the first elements of some calls are computed here, to
 * measure what one costs. */
bool call_pays(struct call *call);

/* Elements of a piece: enough to be worth taking, a multiple of CUT, and not for long. */
struct cut loop_cut(const struct loop *loop);

/* Computes all of `call` on the threads of `share`. */
void call_run(const struct call *call, struct share share);

#endif
