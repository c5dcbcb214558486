/* Counts the calls of a ufunc, and what became of them. */
#include "ufuncs.h"

#include "team.h"

/* Whether this thread's calls are left out; and how many were counted. */
static _Thread_local bool uncounted;
static _Thread_local long counted;

/* Finds the loop of a call that was computed, by its arrays; where they are of other types than any
 * loop's, there is none. */
static struct loop *loop_like(PyUFuncObject *ufunc, PyObject *const *args, Py_ssize_t given)
{
    PyArrayObject *arrays[MOST_ARGS] = {NULL};
    for (Py_ssize_t k = 0; k < given && k < ufunc->nargs; k++) {
        arrays[k] = PyArray_Check(args[k]) ? (PyArrayObject *)args[k] : NULL;
    }
    for (int i = 0; i < ufunc->ntypes; i++) {
        const char *types = ufunc->types + i * ufunc->nargs;
        bool fits = ufunc->functions[i] == loop_of_team, any = false;
        for (int k = 0; fits && k < ufunc->nin; k++) {
            fits = !arrays[k] || PyArray_TYPE(arrays[k]) == types[k];
            any |= arrays[k] != NULL;
        }
        if (fits && any) {
            return ufunc->data[i];
        }
    }
    return NULL;
}

static npy_intp size_of(PyObject *result)
{
    if (PyTuple_Check(result) && PyTuple_GET_SIZE(result)) {
        result = PyTuple_GET_ITEM(result, 0);
    }
    return PyArray_Check(result) ? PyArray_SIZE((PyArrayObject *)result) : 1;
}

PyObject *ufunc_call_counted(PyObject *self, PyObject *const *args, size_t nargsf,
                             PyObject *kwnames)
{
    PyUFuncObject *ufunc = (PyUFuncObject *)self;
    struct counts *counts = &table_of(ufunc)->counts; /* before others may put NumPy's loops back */
    const enum outcome before = outcome;
    const long counted_before = counted;
    outcome = UNKNOWN;
    const double start = team_clock();
    PyObject *result = ufunc_call(self, args, nargsf, kwnames);
    const double seconds = team_clock() - start;
    enum outcome found = outcome;
    outcome = before;
    if (!result || uncounted) {
        return result;
    }
    if (found == UNKNOWN && counted != counted_before) {
        return result; /* an operand's own way, whose calls are counted */
    }
    counted++;
    const npy_intp size = size_of(result);
    if (found == UNKNOWN) {
        const Py_ssize_t given = PyVectorcall_NARGS(nargsf);
        struct loop *loop = size < LEAST ? NULL : loop_like(ufunc, args, given);
        found = size < LEAST || (loop && size < atomic_load(&loop->threshold)) ? TOO_SMALL
                : loop                                                        ? IN_PIECES
                                                                              : NOT_CUT;
    }
    atomic_fetch_add(&counts->calls, 1);
    atomic_fetch_add(&counts->elements, size);
    atomic_fetch_add(&counts->nanoseconds, (long long)(seconds * 1e9));
    atomic_fetch_add(&counts->outcomes[found], 1);
    return result;
}

static PyObject *counts(PyObject *module, PyObject *given)
{
    (void)module;
    PyUFuncObject *ufunc = replaced(given);
    if (!ufunc) {
        return NULL;
    }
    struct counts *counts = &table_of(ufunc)->counts;
    PyObject *outcomes = PyTuple_New(OUTCOMES);
    for (int i = 0; outcomes && i < OUTCOMES; i++) {
        PyObject *count = PyLong_FromLongLong(atomic_load(&counts->outcomes[i]));
        if (!count) {
            Py_CLEAR(outcomes);
            break;
        }
        PyTuple_SET_ITEM(outcomes, i, count);
    }
    return outcomes ? Py_BuildValue("LLdN", atomic_load(&counts->calls),
                                    atomic_load(&counts->elements),
                                    (double)atomic_load(&counts->nanoseconds) * 1e-9, outcomes)
                    : NULL;
}

static PyObject *count_anew(PyObject *module, PyObject *given)
{
    (void)module;
    PyUFuncObject *ufunc = replaced(given);
    if (!ufunc) {
        return NULL;
    }
    struct counts *counts = &table_of(ufunc)->counts;
    atomic_store(&counts->calls, 0);
    atomic_store(&counts->elements, 0);
    atomic_store(&counts->nanoseconds, 0);
    for (int i = 0; i < OUTCOMES; i++) {
        atomic_store(&counts->outcomes[i], 0);
    }
    Py_RETURN_NONE;
}

static PyObject *count_calls(PyObject *module, PyObject *wanted)
{
    (void)module;
    uncounted = !PyObject_IsTrue(wanted);
    Py_RETURN_NONE;
}

PyMethodDef counting_methods[] = {
    {"count_calls", count_calls, METH_O,
     "count_calls(wanted)\n--\n\nSay whether this thread's calls are counted, as they are."},
    {"counts", counts, METH_O,
     "counts(ufunc)\n--\n\nGive calls, elements, seconds and the number of calls by outcome."},
    {"count_anew", count_anew, METH_O, "count_anew(ufunc)\n--\n\nSet what is counted to nothing."},
    {NULL, NULL, 0, NULL},
};
