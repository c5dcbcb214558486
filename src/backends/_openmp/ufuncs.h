/* Ufuncs whose loops are cut over the team: made of another's loops, or in another's place.
 *
 * - A table has one entry for each loop of a ufunc: the engine's, or NumPy's own where it is not to
 *   be cut. NumPy finds it through `ufunc->functions` and `ufunc->data`.
 * - A call with rows that NumPy would compute one after another, or would copy to a buffer, is
 *   computed here by NumPy's own iterator, which is shared out (rows.c).
 */
#ifndef BACKENDS_UFUNCS_H
#define BACKENDS_UFUNCS_H

#include "numpy_api.h"

#include <stdatomic.h>
#include <stdbool.h>

#include "budget.h"
#include "loops.h"

/* Elements below which nobody looks whether a team would pay: it does not, by far. */
enum { LEAST = 2048 };

/* What became of a call, as far as it is known. Of several loops in a call the last word of this
 * list counts. */
enum outcome {
    UNKNOWN,
    ONE_JOB, /* the configuration or the environment leaves it one thread */
    STAYED,  /* scipy.special.errstate is obeyed in the caller's thread only */
    LAPPED,  /* a reduction, or an output that overlaps an input */
    TOO_SMALL,
    NONE_FREE, /* the threads were at work for others, or this one is another's worker */
    PARALLEL,
    NOT_CUT,   /* other types than the loops here */
    IN_PIECES, /* rows or converted types, as NumPy calls it */
    OUTCOMES
};

/* The calls of a ufunc, where they are counted. */
struct counts {
    _Atomic long long calls, elements, nanoseconds;
    _Atomic long long outcomes[OUTCOMES];
};

struct table {
    npy_intp least; /* fewest elements that are worth a look at rows */
    bool asks;     /* whether calls ask how many threads they may have */
    bool special;  /* whether SciPy's errors are to be thought of */
    int size, cut; /* loops, and those of them that are the engine's */
    struct counts counts;
    struct loop *loops; /* of those that are not cut, nothing is set */
    PyUFuncGenericFunction *functions;
    char *types;
    /* What these took the places of; NULL in a ufunc of our own. */
    PyUFuncGenericFunction *old_functions;
    void *const *old_data;
    void *data[];
};

/* What the loops of a table are made of. */
struct recipe {
    const char *fast;       /* the name of a fast loop, or NULL */
    int jobs;               /* 0: ask in each call that is large */
    int negated, special;
    Py_ssize_t threshold;   /* 0: as measured */
    Py_ssize_t stream_bytes;
};

/* The loops of `original`, or those that take numbers, in a table (tables.c); NULL with an exception set. */
struct table *table_make(PyUFuncObject *original, const struct recipe *recipe, bool all);

/* Tells whether a table is in the place of the ufunc's own loops. */
bool is_replaced(PyUFuncObject *ufunc);

/* A ufunc whose own loops are replaced, or NULL with an exception set. */
PyUFuncObject *replaced(PyObject *given);

/* The inner loop of all that is cut. */
void loop_of_team(char **args, const npy_intp *dimensions, const npy_intp *steps, void *data);

/* Finds the loop that takes the operands as they are; an output may be NULL. */
struct loop *loop_for(PyUFuncObject *ufunc, PyArrayObject **operands);

/* The table of a ufunc that has one. */
struct table *table_of(PyUFuncObject *ufunc);

/* What calls such a ufunc; the second counts as well (counting.c). */
PyObject *ufunc_call(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *kwnames);
PyObject *ufunc_call_counted(PyObject *self, PyObject *const *args, size_t nargsf,
                             PyObject *kwnames);

/* Says what became of the call in this thread. */
void say(enum outcome outcome);
void say_share(struct share share);

/* How many threads a call of `loop` may have here: 1 where it must be computed in this thread. */
int jobs_of(const struct loop *loop);

/* Tells whether this thread has the interpreter's lock. */
bool holds_lock(void);

/* Computes what NumPy would compute row by row; NULL without an exception where it should. */
PyObject *call_rows(PyUFuncObject *ufunc, PyArrayObject **operands);

/* What calls NumPy's own ufuncs. */
extern vectorcallfunc numpy_call;
extern const struct instructions *chosen;
/* What became of the call in this thread, so far. */
extern _Thread_local enum outcome outcome;
extern PyMethodDef ufunc_methods[], table_methods[], counting_methods[], install_methods[],
    divert_methods[];

#endif
