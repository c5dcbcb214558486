/* Calls that NumPy would compute row by row, or from buffers, shared out by its own iterator. */
#include "ufuncs.h"

#include <omp.h>
#include <string.h>

/* The iterator that NumPy would use, with buffers of the default size, so that the loop is called
 * with the same strides and buffers in the same places. */
static NpyIter *iterate(PyUFuncObject *ufunc, const struct loop *loop, PyArrayObject **operands)
{
    npy_uint32 flags[MOST_ARGS];
    PyArray_Descr *dtypes[MOST_ARGS];
    const int nargs = loop->nargs;
    const char *types = ufunc->types;
    for (int i = 0; ufunc->data[i] != loop; i++) {
        types += nargs;
    }
    for (int k = 0; k < nargs; k++) {
        flags[k] = NPY_ITER_ALIGNED | NPY_ITER_NBO;
        flags[k] |= NPY_ITER_OVERLAP_ASSUME_ELEMENTWISE; /* outputs, too: in place needs no copy */
        flags[k] |= k < loop->nin ? NPY_ITER_READONLY
                                  : NPY_ITER_WRITEONLY | NPY_ITER_ALLOCATE | NPY_ITER_NO_BROADCAST
                                        | NPY_ITER_NO_SUBTYPE;
        dtypes[k] = PyArray_DescrFromType(types[k]);
    }
    NpyIter *iter = NpyIter_AdvancedNew(
        nargs, operands,
        NPY_ITER_EXTERNAL_LOOP | NPY_ITER_ZEROSIZE_OK | NPY_ITER_BUFFERED | NPY_ITER_GROWINNER
            | NPY_ITER_DELAY_BUFALLOC | NPY_ITER_COPY_IF_OVERLAP | NPY_ITER_RANGED,
        NPY_KEEPORDER, NPY_EQUIV_CASTING, flags, dtypes, -1, NULL, NULL, 0);
    for (int k = 0; k < nargs; k++) {
        Py_DECREF(dtypes[k]);
    }
    return iter;
}

/* Rows, and who computes some of them with which iterator. */
struct rows {
    const struct loop *loop;
    npy_intp start;
    NpyIter **iters;
    NpyIter_IterNextFunc *next;
    atomic_bool *failed;
};

/* Computes the elements begin <= i < end; false where there is no memory for buffers. What is begun
 * is always ended: a buffer that is filled but not computed would be written back later. */
static bool do_range(NpyIter *iter, NpyIter_IterNextFunc *next, const struct loop *loop,
                     npy_intp begin, npy_intp end)
{
    char *error = NULL; /* asked for, so that none is raised without the interpreter's lock */
    if (NpyIter_ResetToIterIndexRange(iter, begin, end, &error) != NPY_SUCCEED) {
        return false;
    }
    char **args = NpyIter_GetDataPtrArray(iter);
    const npy_intp *steps = NpyIter_GetInnerStrideArray(iter);
    const npy_intp *n = NpyIter_GetInnerLoopSizePtr(iter);
    do {
        loop_serially(loop, args, *n, steps, false);
    } while (next(iter));
    return true;
}

static void do_rows(const void *context, ptrdiff_t begin, ptrdiff_t end)
{
    const struct rows *rows = context;
    if (!do_range(rows->iters[omp_get_thread_num()], rows->next, rows->loop, rows->start + begin,
                  rows->start + end)) {
        atomic_store(rows->failed, true); /* GCOV_EXCL_LINE: no memory */
    }
}

/* Computes all that `iter` goes over; false where there is no memory for its buffers. */
static bool share_rows(NpyIter *iter, struct loop *loop)
{
    NpyIter_IterNextFunc *const next = NpyIter_GetIterNext(iter, NULL);
    if (!next) {
        return false;
    }
    /* NumPy's own calls of the loop are of so many elements at most. The first tells what they
     * cost. */
    const npy_intp size = NpyIter_GetIterSize(iter), buffer = NpyIter_GetBufferSize(iter);
    const npy_intp unit = buffer > 0 ? buffer : 1, start = unit < size ? unit : size;
    const int jobs = jobs_of(loop);
    const double clock = team_clock();
    bool computed;
    NPY_BEGIN_THREADS_DEF;
    NPY_BEGIN_THREADS;
    computed = do_range(iter, next, loop, 0, start);
    loop_learn(loop, jobs, team_clock() - clock, start);
    NPY_END_THREADS;
    if (!computed || start == size) {
        return computed;
    }
    struct share share = {0, 0};
    if (jobs > 1 && loop_pays(loop, jobs, size - start)) {
        share = team_take(jobs);
        say_share(share);
    }
    else {
        say(jobs > 1 ? TOO_SMALL : ONE_JOB);
    }
    const int threads = share.threads;
    if (!threads) {
        NPY_BEGIN_THREADS;
        computed = do_range(iter, next, loop, start, size);
        NPY_END_THREADS;
        return computed;
    }
    NpyIter *iters[threads];
    atomic_bool failed = false;
    for (int i = 0; i < threads; i++) {
        iters[i] = NpyIter_Copy(iter);
        if (!iters[i]) {
            atomic_store(&failed, true); /* GCOV_EXCL_LINE: no memory */
        }
    }
    const struct rows rows = {loop, start, iters, next, &failed};
    struct cut cut = loop_cut(loop);
    cut.grain = (cut.grain / unit + 1) * unit;
    NPY_BEGIN_THREADS;
    /* Threads that were taken are given back by running. */
    team_run(share, atomic_load(&failed) ? 0 : size - start, cut, do_rows, &rows);
    NPY_END_THREADS;
    for (int i = 0; i < threads; i++) {
        if (iters[i]) {
            NpyIter_Deallocate(iters[i]);
        }
    }
    return !atomic_load(&failed);
}

PyObject *call_rows(PyUFuncObject *ufunc, PyArrayObject **operands)
{
    struct loop *loop = loop_for(ufunc, operands);
    NpyIter *iter = loop ? iterate(ufunc, loop, operands) : NULL;
    if (!iter || NpyIter_GetIterSize(iter) == 0) {
        PyErr_Clear(); /* NumPy says it better */
        if (iter) {
            NpyIter_Deallocate(iter);
        }
        return NULL;
    }
    PyUFunc_clearfperr();
    const bool computed = share_rows(iter, loop);
    const int flags = PyUFunc_getfperr();
    PyObject *const given = (PyObject *)operands[loop->nin];
    PyObject *const made = (PyObject *)NpyIter_GetOperandArray(iter)[loop->nin];
    PyObject *result = Py_NewRef(given ? given : made);
    /* Writes back what was computed in a copy. */
    const bool ended = NpyIter_Deallocate(iter) == NPY_SUCCEED;
    if (!computed && !PyErr_Occurred()) {
        PyErr_NoMemory(); /* GCOV_EXCL_LINE */
    }
    if (computed && ended && flags && !PyErr_Occurred()) {
        PyUFunc_GiveFloatingpointErrors(ufunc->name, flags);
    }
    if (PyErr_Occurred()) {
        Py_CLEAR(result);
        return NULL;
    }
    return given ? result : PyArray_Return((PyArrayObject *)result);
}

