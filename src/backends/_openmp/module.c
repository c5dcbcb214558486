/* The Python side: makes ufuncs whose loops are cut over the team. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#define NPY_NO_DEPRECATED_API NPY_2_0_API_VERSION
#define NPY_TARGET_VERSION NPY_2_0_API_VERSION
#include <numpy/arrayobject.h>
#include <numpy/ufuncobject.h>

#include <fenv.h>
#include <omp.h>
#include <stdatomic.h>
#include <string.h>

#include "loops.h"
#include "stacks.h"
#include "team.h"

/* Python functions: report(flags, name) warns or raises as numpy.errstate says, errors_wanted()
 * tells whether scipy.special is to warn or raise in this thread. */
static PyObject *report, *errors_wanted;
static const struct instructions *chosen;

/* Elements below which nobody looks whether a team would pay: it does not, by far. */
enum { LEAST = 2048 };

/* What NumPy gives every ufunc. */
static vectorcallfunc numpy_call;

/* SciPy keeps what to do about errors by thread: a worker would not know. */
static bool must_stay_here(const struct loop *loop)
{
    if (!loop->special) {
        return false;
    }
    const PyGILState_STATE state = PyGILState_Ensure();
    PyObject *wanted = PyObject_CallNoArgs(errors_wanted);
    const bool stay = wanted != Py_False;
    if (!wanted && PyErr_ExceptionMatches(PyExc_KeyboardInterrupt)) {
        PyErr_Clear();
        PyErr_SetInterrupt(); /* again, where it can be raised */
    }
    else if (!wanted) {
        PyErr_WriteUnraisable(errors_wanted);
    }
    Py_XDECREF(wanted);
    PyGILState_Release(state);
    return stay;
}

/* Tells whether this thread has the interpreter's lock. PyGILState_Check says so always once there
 * is a second interpreter. */
static bool holds_lock(void)
{
#if PY_VERSION_HEX >= 0x030d0000
    PyThreadState *current = PyThreadState_GetUnchecked();
#else
    PyThreadState *current = _PyThreadState_UncheckedGet();
#endif
    return current && current == PyGILState_GetThisThreadState();
}

/* The inner loop of every ufunc made here. */
static void loop_of_team(char **args, const npy_intp *dimensions, const npy_intp *steps,
                         void *data)
{
    struct loop *loop = data;
    const npy_intp n = dimensions[0];
    if (n < atomic_load_explicit(&loop->threshold, memory_order_relaxed)) {
        if (loop->plain) {
            loop->exact(args, dimensions, steps, loop->exact_data);
        }
        else {
            loop_serially(loop, args, n, steps, false);
        }
        return;
    }
    if (!loop_divides(loop, args, n, steps)) {
        loop_serially(loop, args, n, steps, false);
        return;
    }
    struct call call = {.loop = loop, .streams = loop_streams(loop, args, n, steps), .n = n};
    memcpy(call.args, args, (size_t)loop->nargs * sizeof *args);
    memcpy(call.steps, steps, (size_t)loop->nargs * sizeof *steps);
    const struct share none = {0, 0}, share = must_stay_here(loop) ? none : call_share(&call);
    /* NumPy keeps the interpreter's lock for short loops; a worker may need it. */
    PyThreadState *thread = share.threads > 1 && holds_lock() ? PyEval_SaveThread() : NULL;
    call_run(&call, share);
    if (thread) {
        PyEval_RestoreThread(thread);
    }
}

static bool same_shape(PyArrayObject *a, PyArrayObject *b)
{
    return PyArray_NDIM(a) == PyArray_NDIM(b)
           && !memcmp(PyArray_DIMS(a), PyArray_DIMS(b), (size_t)PyArray_NDIM(a) * sizeof(npy_intp));
}

/* Finds the loop that takes the operands as they are. */
static struct loop *loop_for(PyUFuncObject *ufunc, PyArrayObject **operands)
{
    for (int i = 0; i < ufunc->ntypes; i++) {
        struct loop *loop = ufunc->data[i];
        const char *types = ufunc->types + i * ufunc->nargs;
        bool fits = ufunc->functions[i] == loop_of_team && loop->divisible;
        for (int k = 0; fits && k < ufunc->nargs; k++) {
            PyArrayObject *x = operands[k];
            fits = !x ? k >= ufunc->nin : PyArray_TYPE(x) == types[k];
        }
        if (fits) {
            return loop;
        }
    }
    return NULL;
}

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
        flags[k] |= k < loop->nin ? NPY_ITER_READONLY | NPY_ITER_OVERLAP_ASSUME_ELEMENTWISE
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
        atomic_store(rows->failed, true);
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
    const bool stays = must_stay_here(loop);
    const double clock = team_clock();
    bool computed;
    NPY_BEGIN_THREADS_DEF;
    NPY_BEGIN_THREADS;
    computed = do_range(iter, next, loop, 0, start);
    loop_learn(loop, team_clock() - clock, start);
    NPY_END_THREADS;
    if (!computed || start == size) {
        return computed;
    }
    const struct share none = {0, 0}, share = stays ? none : loop_share(loop, size - start);
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
            atomic_store(&failed, true);
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

/* Computes what NumPy would compute row by row; NULL without an exception where it should. */
static PyObject *call_rows(PyUFuncObject *ufunc, PyArrayObject **operands)
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
        PyErr_NoMemory();
    }
    if (computed && ended && flags && !PyErr_Occurred()) {
        Py_XDECREF(PyObject_CallFunction(report, "is", flags, ufunc->name));
    }
    if (PyErr_Occurred()) {
        Py_CLEAR(result);
        return NULL;
    }
    return given ? result : PyArray_Return((PyArrayObject *)result);
}

/* What a ufunc made here owns: fewest elements worth a look, then loops, pointers, types. */
struct owned {
    double least;
    struct loop loops[];
};

/* Calls as NumPy, but where that would call the loop row by row, or on what it has copied to a
 * buffer, the rows are shared. */
static PyObject *call_with_rows(PyObject *self, PyObject *const *args, size_t nargsf,
                                PyObject *kwnames)
{
    PyUFuncObject *ufunc = (PyUFuncObject *)self;
    const Py_ssize_t positional = PyVectorcall_NARGS(nargsf);
    Py_ssize_t given = positional;
    if (kwnames) {
        const bool only_out = PyTuple_GET_SIZE(kwnames) == 1 && positional == ufunc->nin
                              && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(kwnames, 0),
                                                                  "out") == 0;
        given = only_out ? positional + 1 : 0;
    }
    if (given < ufunc->nin || given > ufunc->nin + 1 || ufunc->nout != 1) {
        return numpy_call(self, args, nargsf, kwnames);
    }
    PyArrayObject *operands[MOST_ARGS];
    bool rows = false;
    for (Py_ssize_t k = 0; k < given; k++) {
        if (!PyArray_CheckExact(args[k])) {
            if (k < ufunc->nin || args[k] != Py_None) {
                return numpy_call(self, args, nargsf, kwnames);
            }
            given = k;
            break;
        }
        PyArrayObject *x = operands[k] = (PyArrayObject *)args[k];
        rows |= !PyArray_ISBEHAVED_RO(x)
                || (PyArray_NDIM(x) > 1
                    && !(PyArray_IS_C_CONTIGUOUS(x) && same_shape(x, operands[0])));
    }
    if (rows) {
        double most = 1.0; /* elements of the result, at most */
        for (Py_ssize_t k = 0; k < given; k++) {
            most *= (double)PyArray_SIZE(operands[k]);
        }
        if (most >= ((const struct owned *)ufunc->ptr)->least) {
            if (given == ufunc->nin) {
                operands[given] = NULL; /* to be made */
            }
            PyObject *result = call_rows(ufunc, operands);
            if (result || PyErr_Occurred()) {
                return result;
            }
        }
    }
    return numpy_call(self, args, nargsf, kwnames);
}

/* What calls the ufuncs made here. Small arrays must notice nothing of it. */
static PyObject *call(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    const Py_ssize_t given = PyVectorcall_NARGS(nargsf);
    bool one_row = !kwnames;
    for (Py_ssize_t k = 0; one_row && k < given; k++) {
        PyArrayObject *x = (PyArrayObject *)args[k];
        one_row = !PyArray_CheckExact(args[k]) || (PyArray_NDIM(x) < 2 && PyArray_ISBEHAVED_RO(x));
    }
    return one_row ? numpy_call(self, args, nargsf, kwnames)
                   : call_with_rows(self, args, nargsf, kwnames);
}

static const struct fast *find(const struct fast *functions, const char *name)
{
    for (; functions->name; functions++) {
        if (!strcmp(functions->name, name)) {
            return functions;
        }
    }
    return NULL;
}

static bool is_inexact(char type)
{
    return PyTypeNum_ISFLOAT(type) || PyTypeNum_ISCOMPLEX(type);
}

/* Loops of numbers, at least one operand inexact: those of integers may raise exceptions, where
 * only the caller's thread can. */
static bool divides(const char *types, int nin, int nargs)
{
    bool inexact = false;
    for (int k = 0; k < nargs; k++) {
        if (!PyTypeNum_ISNUMBER(types[k]) && !PyTypeNum_ISBOOL(types[k])) {
            return false;
        }
        inexact |= k < nin && is_inexact(types[k]);
    }
    return inexact;
}

static int itemsize(char type)
{
    PyArray_Descr *dtype = PyArray_DescrFromType(type);
    const int size = (int)PyDataType_ELSIZE(dtype);
    Py_DECREF(dtype);
    return size;
}

static PyObject *make_ufunc(PyObject *module, PyObject *args, PyObject *keywords)
{
    (void)module;
    static char *names[] = {"original", "n_jobs", "fast",      "negated",
                            "special",  "threshold", "stream_bytes", NULL};
    PyObject *given;
    int jobs, negated = 0, special = 0;
    const char *fast_name = NULL;
    Py_ssize_t threshold = 0, stream_bytes = 0;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O!i|$zppnn:ufunc", names, &PyUFunc_Type,
                                     &given, &jobs, &fast_name, &negated, &special, &threshold,
                                     &stream_bytes)) {
        return NULL;
    }
    PyUFuncObject *original = (PyUFuncObject *)given;
    const int nargs = original->nargs, count = original->ntypes;
    if (original->core_enabled || nargs > MOST_ARGS || original->nin < 1) {
        return PyErr_Format(PyExc_ValueError, "ufunc %s has no elementwise loop", original->name);
    }
    const struct fast *fast = NULL;
    if (fast_name) {
        fast = find(chosen->functions, fast_name);
        fast = fast ? fast : find(streams, fast_name);
        if (!fast) {
            return PyErr_Format(PyExc_ValueError, "there is no fast %s", fast_name);
        }
    }
    const size_t loops_size = sizeof(struct owned) + (size_t)count * sizeof(struct loop);
    const size_t data_at = loops_size, functions_at = data_at + (size_t)count * sizeof(void *);
    const size_t types_at = functions_at + (size_t)count * sizeof(PyUFuncGenericFunction);
    struct owned *owned = PyArray_malloc(types_at + (size_t)(count * nargs));
    if (!owned) {
        return PyErr_NoMemory();
    }
    void **data = (void **)((char *)owned + data_at);
    PyUFuncGenericFunction *functions = (PyUFuncGenericFunction *)((char *)owned + functions_at);
    char *types = (char *)owned + types_at;
    owned->least = threshold ? (double)threshold : (double)LEAST;
    /* Where SciPy wants an integer, it warns of a float that is none, in the loop. */
    bool wants_integers = false;
    for (int k = 0; special && k < count * nargs; k++) {
        wants_integers |= k % nargs < original->nin && PyTypeNum_ISINTEGER(original->types[k]);
    }
    int kept = 0;
    for (int i = 0; i < count; i++) {
        const char *from = original->types + i * nargs;
        bool usable = true;
        for (int k = 0; k < nargs; k++) {
            usable &= PyTypeNum_ISNUMBER(from[k]) || PyTypeNum_ISBOOL(from[k]);
        }
        if (!usable) {
            continue; /* Python objects, dates and times */
        }
        memcpy(types + kept * nargs, from, (size_t)nargs);
        if (wants_integers || !divides(from, original->nin, nargs)) {
            functions[kept] = original->functions[i];
            data[kept++] = original->data[i];
            continue;
        }
        const bool real = from[0] == NPY_DOUBLE || from[0] == NPY_FLOAT;
        bool alike = real;
        for (int k = 1; k < nargs; k++) {
            alike &= from[k] == from[0];
        }
        struct loop *loop = &owned->loops[kept];
        memset(loop, 0, sizeof *loop);
        loop->exact = (ufunc_loop *)original->functions[i];
        loop->exact_data = original->data[i];
        loop->negated = negated;
        loop->divisible = true;
        loop->plain = !negated && !(alike && fast && fast->block);
        loop->special = special;
        loop->single = from[0] == NPY_FLOAT;
        loop->fast = alike ? fast : NULL;
        loop->instructions = chosen;
        loop->nin = original->nin;
        loop->nargs = nargs;
        for (int k = 0; k < nargs; k++) {
            loop->sizes[k] = (uint8_t)itemsize(from[k]);
        }
        loop->jobs = jobs;
        loop->fixed_threshold = threshold;
        loop->stream_threshold = stream_bytes;
        atomic_init(&loop->threshold, threshold ? threshold : LEAST);
        functions[kept] = loop_of_team;
        data[kept++] = loop;
    }
    /* None is also the identity of a ufunc that has one but may not be reordered: the difference
     * is in the number. */
    PyObject *identity = PyObject_GetAttrString(given, "identity");
    const int kind = identity && identity != Py_None ? PyUFunc_IdentityValue : original->identity;
    PyUFuncObject *ufunc =
        identity ? (PyUFuncObject *)PyUFunc_FromFuncAndDataAndSignatureAndIdentity(
                       functions, data, types, kept, original->nin, original->nout, kind,
                       original->name, original->doc, 0, NULL, identity)
                 : NULL;
    Py_XDECREF(identity);
    if (!ufunc) {
        PyArray_free(owned);
        return NULL;
    }
    /* NumPy's own refuses what is in no loop's types, as the difference of two booleans. */
    ufunc->type_resolver = original->type_resolver;
    ufunc->ptr = owned;
    ufunc->obj = Py_NewRef(original);
    numpy_call = ufunc->vectorcall;
    ufunc->vectorcall = call;
    return (PyObject *)ufunc;
}

/* One call of a loop over a stack. */
struct stacked {
    stack_function *function;
    char **args;
    const intptr_t *dimensions, *steps;
    atomic_bool *singular;
};

static void do_stack(const void *context, ptrdiff_t begin, ptrdiff_t end)
{
    const struct stacked *stacked = context;
    if (!stacked->function(stacked->args, stacked->dimensions, stacked->steps, begin, end)) {
        atomic_store(stacked->singular, true);
    }
}

struct stack_loop {
    stack_function *function;
    int jobs;
};

/* Matrices below which a team does not pay (`python benchmarks/openmp.py stacks`), and of a piece:
 * some microseconds of work, and less than a millisecond. */
enum { FEW = 64 };
static const struct cut STACK_CUT = {32, 256};

static void stack_of_team(char **args, const npy_intp *dimensions, const npy_intp *steps,
                          void *data)
{
    const struct stack_loop *loop = data;
    atomic_bool singular = false;
    const struct stacked stacked = {loop->function, args, dimensions, steps, &singular};
    const npy_intp count = dimensions[0];
    const struct share none = {0, 0}, share = count < FEW ? none : team_take(loop->jobs);
    PyThreadState *thread = share.threads > 1 && holds_lock() ? PyEval_SaveThread() : NULL;
    if (!share.threads) {
        do_stack(&stacked, 0, count);
    }
    else {
        team_run(share, count, STACK_CUT, do_stack, &stacked);
    }
    if (thread) {
        PyEval_RestoreThread(thread);
    }
    /* numpy.linalg's own sign of a singular matrix, and of nothing else. */
    PyUFunc_clearfperr();
    if (atomic_load(&singular)) {
        feraiseexcept(FE_INVALID);
    }
}

/* What a ufunc of stacks owns. */
struct owned_stack {
    struct stack_loop loops[2];
    PyUFuncGenericFunction functions[2];
    void *data[2];
    char types[2 * MOST_ARGS];
};

static PyObject *make_stack(PyObject *module, PyObject *args)
{
    (void)module;
    const char *name;
    int jobs;
    if (!PyArg_ParseTuple(args, "si:stack", &name, &jobs)) {
        return NULL;
    }
    const struct stack *stack = stacks;
    while (stack->name && strcmp(stack->name, name) != 0) {
        stack++;
    }
    if (!stack->name) {
        return PyErr_Format(PyExc_ValueError, "there is no stack of %s", name);
    }
    struct owned_stack *owned = PyArray_malloc(sizeof *owned);
    if (!owned) {
        return PyErr_NoMemory();
    }
    const int nargs = stack->nin + 1;
    for (int i = 0; i < 2; i++) {
        owned->loops[i] = (struct stack_loop){i ? stack->in_double : stack->in_float, jobs};
        owned->functions[i] = stack_of_team;
        owned->data[i] = &owned->loops[i];
        memset(owned->types + i * nargs, i ? NPY_DOUBLE : NPY_FLOAT, (size_t)nargs);
    }
    PyUFuncObject *ufunc = (PyUFuncObject *)PyUFunc_FromFuncAndDataAndSignature(
        owned->functions, owned->data, owned->types, 2, stack->nin, 1, PyUFunc_None, stack->name,
        NULL, 0, stack->signature);
    if (!ufunc) {
        PyArray_free(owned);
        return NULL;
    }
    ufunc->ptr = owned;
    return (PyObject *)ufunc;
}

static PyObject *connect(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *reporting, *wanting;
    if (!PyArg_ParseTuple(args, "OO:connect", &reporting, &wanting)) {
        return NULL;
    }
    Py_XSETREF(report, Py_NewRef(reporting));
    Py_XSETREF(errors_wanted, Py_NewRef(wanting));
    Py_RETURN_NONE;
}

static PyObject *has_fast(PyObject *module, PyObject *name)
{
    (void)module;
    const char *text = PyUnicode_AsUTF8(name);
    if (!text) {
        return NULL;
    }
    return PyBool_FromLong(find(chosen->functions, text) || find(streams, text));
}

static PyObject *region(PyObject *module, PyObject *args)
{
    (void)module;
    int jobs;
    if (!PyArg_ParseTuple(args, "i:region", &jobs)) {
        return NULL;
    }
    return PyFloat_FromDouble(team_region(jobs));
}

static PyObject *set_cores(PyObject *module, PyObject *args)
{
    (void)module;
    int usable;
    if (!PyArg_ParseTuple(args, "i:set_cores", &usable)) {
        return NULL;
    }
    budget_set_cores(usable);
    Py_RETURN_NONE;
}

static PyObject *take(PyObject *module, PyObject *args)
{
    (void)module;
    int wanted;
    if (!PyArg_ParseTuple(args, "i:take", &wanted)) {
        return NULL;
    }
    const struct share share = budget_hold(wanted);
    return Py_BuildValue("ii", share.threads, share.allowed);
}

static PyObject *give(PyObject *module, PyObject *args)
{
    (void)module;
    int stepped_back;
    if (!PyArg_ParseTuple(args, "i:give", &stepped_back)) {
        return NULL;
    }
    budget_release(stepped_back);
    Py_RETURN_NONE;
}

static PyObject *step_back(PyObject *module, PyObject *args)
{
    (void)module;
    int allowed;
    if (!PyArg_ParseTuple(args, "i:step_back", &allowed)) {
        return NULL;
    }
    return PyBool_FromLong(budget_step_back(allowed));
}

static PyObject *mark(PyObject *module, PyObject *args)
{
    (void)module;
    int counted;
    if (!PyArg_ParseTuple(args, "p:mark", &counted)) {
        return NULL;
    }
    return PyBool_FromLong(budget_mark(counted));
}

static PyObject *counts_me(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    return PyBool_FromLong(budget_counts_me());
}

static PyObject *taken(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    return PyLong_FromLong(budget_taken());
}

static PyObject *busiest(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    return PyLong_FromLong(budget_busiest());
}

static PyMethodDef methods[] = {
    {"ufunc", (PyCFunction)(void (*)(void))make_ufunc, METH_VARARGS | METH_KEYWORDS,
     "ufunc(original, n_jobs, *, fast=None, negated=False, special=False, threshold=0,\n"
     "      stream_bytes=0)\n--\n\n"
     "Make a ufunc of `original`'s loops, cut over a team of `n_jobs` threads."},
    {"stack", make_stack, METH_VARARGS,
     "stack(name, n_jobs)\n--\n\n"
     "Make the ufunc of inv, det or solve over stacks of matrices of order SMALL at most."},
    {"connect", connect, METH_VARARGS,
     "connect(report, errors_wanted)\n--\n\n"
     "Say who reports floating-point errors, and who knows what SciPy does about its own."},
    {"has_fast", has_fast, METH_O,
     "has_fast(name)\n--\n\nTell whether there is a fast loop of that name."},
    {"region", region, METH_VARARGS,
     "region(n_jobs)\n--\n\nTime a parallel region in which nothing is done, in seconds."},
    /* What backends.budget counts with. */
    {"set_cores", set_cores, METH_VARARGS,
     "set_cores(cores)\n--\n\nSay how many cores this process may use."},
    {"take", take, METH_VARARGS,
     "take(wanted)\n--\n\n"
     "Count threads for this thread's call: how many were granted, how many may run in all."},
    {"give", give, METH_VARARGS,
     "give(stepped_back)\n--\n\nEnd that count, but for the workers that ended their own."},
    {"step_back", step_back, METH_VARARGS,
     "step_back(allowed)\n--\n\n"
     "End the count of one worker where more than `allowed` run; tell whether."},
    {"mark", mark, METH_VARARGS,
     "mark(counted)\n--\n\nSay whether this thread is counted by another; what it was before."},
    {"counts_me", counts_me, METH_NOARGS,
     "counts_me()\n--\n\nTell whether this thread is counted."},
    {"taken", taken, METH_NOARGS, "taken()\n--\n\nGive the number of threads that are counted."},
    {"busiest", busiest, METH_NOARGS,
     "busiest()\n--\n\n"
     "Give the most threads that were at work in teams at once since the last look."},
    {NULL, NULL, 0, NULL},
};

static bool runs(const struct instructions *instructions)
{
#if defined(__x86_64__) && !defined(_WIN32)
    __builtin_cpu_init();
    if (instructions == &avx512) {
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq")
               && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw")
               && __builtin_cpu_supports("fma");
    }
    if (instructions == &avx2) {
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    }
#endif
    return instructions == &baseline;
}

static int execute(PyObject *module)
{
    import_array1(-1);
    import_umath1(-1);
    if (team_start()) {
        PyErr_SetString(PyExc_OSError, "no handler can be registered for fork");
        return -1;
    }
#if defined(__x86_64__) && !defined(_WIN32)
    const struct instructions *all[] = {&avx512, &avx2, &baseline};
#else
    const struct instructions *all[] = {&baseline};
#endif
    const char *wanted = getenv("BACKENDS_SIMD");
    const int count = (int)(sizeof all / sizeof *all);
    chosen = NULL;
    for (int i = 0; i < count && !chosen; i++) {
        if (runs(all[i]) && (!wanted || !*wanted || !strcmp(wanted, all[i]->name))) {
            chosen = all[i];
        }
    }
    if (!chosen) {
        PyErr_Format(PyExc_ImportError,
                     "BACKENDS_SIMD=%s is not built or does not run here: unset it, or choose "
                     "baseline%s%s",
                     wanted, count > 1 && runs(all[count - 2]) ? ", avx2" : "",
                     count > 2 && runs(all[0]) ? ", avx512" : "");
        return -1;
    }
    if (PyModule_AddIntConstant(module, "LEAST", LEAST)
        || PyModule_AddIntConstant(module, "SMALL", SMALL)) {
        return -1;
    }
    return PyModule_AddStringConstant(module, "INSTRUCTIONS", chosen->name);
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, execute},
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
#ifdef Py_mod_gil
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "backends._openmp",
    .m_doc = "Ufuncs whose loops are cut over an OpenMP team.",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__openmp(void)
{
    return PyModuleDef_Init(&definition);
}
