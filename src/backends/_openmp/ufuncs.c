#include "ufuncs.h"

#include <numpy/arrayscalars.h>

#include <float.h>
#include <string.h>

#include "memory.h"
#include "team.h"

/* Python functions: errors_wanted() tells whether scipy.special is to warn or raise in this thread,
 * jobs_wanted() gives the threads that a call of a replaced loop may have here. */
static PyObject *errors_wanted, *jobs_wanted;

vectorcallfunc numpy_call;

/* How many threads the loops of a table may have in this thread, as the configuration says: what was
 * asked when the call began. A call within it, as of an operand's own __array__, is of another table
 * mostly, and asks by itself. */
struct answer {
    const struct table *table;
    int jobs;
};
static _Thread_local struct answer asked;
_Thread_local enum outcome outcome;

void say(enum outcome what)
{
    outcome = what > outcome ? what : outcome;
}

void say_share(struct share share)
{
    say(share.threads > 1 ? PARALLEL : share.allowed == 1 ? ONE_JOB : NONE_FREE);
}

/* Asks Python, with the interpreter's lock held; `otherwise` with an exception set where that
 * fails. */
static long ask(PyObject *question, long otherwise)
{
    PyObject *answer = PyObject_CallNoArgs(question);
    const long found = answer ? PyLong_AsLong(answer) : -1;
    Py_XDECREF(answer);
    return PyErr_Occurred() ? otherwise : found;
}

/* As jobs_of, with the interpreter's lock held; an exception may be set. */
static int ask_jobs(int fixed, bool special)
{
    const int jobs = fixed ? fixed : (int)ask(jobs_wanted, 1);
    if (jobs < 2) {
        say(ONE_JOB);
        return 1;
    }
    /* SciPy keeps what to do about errors by thread: a worker would not know. */
    if (special && ask(errors_wanted, 1)) {
        say(STAYED);
        return 1;
    }
    return jobs;
}

static int raise_now(void *error)
{
    PyErr_SetObject((PyObject *)Py_TYPE(error), error);
    Py_DECREF(error);
    return -1;
}

/* What a signal's handler raised while Python was asked within a loop, which cannot raise: the main
 * thread raises it as soon as it can. */
static void raise_later(void)
{
    PyObject *type, *value, *trace;
    PyErr_Fetch(&type, &value, &trace);
    PyErr_NormalizeException(&type, &value, &trace);
    if (trace) {
        PyException_SetTraceback(value, trace);
    }
    Py_XDECREF(type);
    Py_XDECREF(trace);
    if (Py_AddPendingCall(raise_now, value)) {
        /* There are too many already. GCOV_EXCL_START: thirty-two at once, of other libraries */
        PyErr_SetObject((PyObject *)Py_TYPE(value), value);
        PyErr_WriteUnraisable(value);
        Py_DECREF(value);
        /* GCOV_EXCL_STOP */
    }
}

/* Whether the call in this thread has asked for this loop. */
static bool asks_for(const struct loop *loop)
{
    const struct table *table = asked.table;
    return table && loop >= table->loops && loop < table->loops + table->size;
}

int jobs_of(const struct loop *loop)
{
    if (loop->jobs && !loop->special) {
        return loop->jobs;
    }
    if (asks_for(loop)) {
        return asked.jobs;
    }
    const PyGILState_STATE state = PyGILState_Ensure();
    /* Where NumPy calls a loop many times, as under a mask, SciPy may have raised in an earlier
     * call: that is kept. */
    PyObject *type, *value, *trace;
    PyErr_Fetch(&type, &value, &trace);
    const int jobs = ask_jobs(loop->jobs, loop->special);
    if (PyErr_Occurred()) {
        raise_later();
    }
    PyErr_Restore(type, value, trace);
    PyGILState_Release(state);
    return jobs;
}

/* PyGILState_Check says so always once there is a second interpreter. */
bool holds_lock(void)
{
#if PY_VERSION_HEX >= 0x030d0000
    PyThreadState *current = PyThreadState_GetUnchecked();
#else
    PyThreadState *current = _PyThreadState_UncheckedGet();
#endif
    return current && current == PyGILState_GetThisThreadState();
}

static inline void compute_small(struct loop *loop, char **args, const npy_intp *dimensions,
                                 const npy_intp *steps)
{
    if (loop->plain) {
        loop->exact(args, dimensions, steps, loop->exact_data);
    }
    else {
        loop_serially(loop, args, dimensions[0], steps, false);
    }
}

void loop_of_team(char **args, const npy_intp *dimensions, const npy_intp *steps, void *data)
{
    struct loop *loop = data;
    const npy_intp n = dimensions[0];
    if (n < atomic_load_explicit(&loop->threshold, memory_order_relaxed)) {
        compute_small(loop, args, dimensions, steps);
        return;
    }
    if (!atomic_load_explicit(&loop->reached, memory_order_relaxed)) {
        /* The first call: whoever put this loop in its place looks whether NumPy finds it. */
        atomic_store(&loop->threshold, loop->first_threshold);
        atomic_store(&loop->reached, true);
        if (n < LEAST) {
            compute_small(loop, args, dimensions, steps);
            return;
        }
    }
    /* Adding row to row, a reduction calls the loop as `x += y` does, but not through ufunc_call; and
     * does so for each row, where asking and sharing would cost more than they bring. */
    const bool reduces =
        !loop->jobs && loop->nin == 2 && args[0] == args[2] && !asks_for(loop);
    if (reduces || !loop_divides(loop, args, n, steps)) {
        say(LAPPED);
        loop_serially(loop, args, n, steps, false);
        return;
    }
    struct call call = {.loop = loop, .streams = loop_streams(loop, args, n, steps), .n = n};
    memcpy(call.args, args, (size_t)loop->nargs * sizeof *args);
    memcpy(call.steps, steps, (size_t)loop->nargs * sizeof *steps);
    call.jobs = jobs_of(loop);
    struct share share = {0, 0};
    if (call.jobs > 1 && call_pays(&call)) {
        share = team_take(call.jobs);
        say_share(share);
    }
    else {
        say(call.jobs > 1 ? TOO_SMALL : ONE_JOB);
    }
    if (share.threads > 1) {
        /* Many loops, as SciPy's and NumPy's absolute, negative and sign, end by clearing the
         * status flags, also of what came before them, as a conversion; the pieces may all go to
         * other threads. */
        const npy_intp none = 0;
        loop->exact(args, &none, steps, loop->exact_data);
    }
    /* NumPy keeps the interpreter's lock for short loops; a worker may need it. */
    PyThreadState *thread = share.threads > 1 && holds_lock() ? PyEval_SaveThread() : NULL;
    call_run(&call, share);
    if (thread) {
        PyEval_RestoreThread(thread);
    }
}

struct loop *loop_for(PyUFuncObject *ufunc, PyArrayObject **operands)
{
    for (int i = 0; i < ufunc->ntypes; i++) {
        struct loop *loop = ufunc->data[i];
        const char *types = ufunc->types + i * ufunc->nargs;
        bool fits = ufunc->functions[i] == loop_of_team;
        for (int k = 0; fits && k < ufunc->nargs; k++) {
            PyArrayObject *x = operands[k];
            /* Metadata goes on to the result, as NumPy decides. */
            fits = !x ? k >= ufunc->nin
                      : PyArray_TYPE(x) == types[k] && !PyDataType_METADATA(PyArray_DESCR(x));
        }
        if (fits) {
            return loop;
        }
    }
    return NULL;
}

struct table *table_of(PyUFuncObject *ufunc)
{
    return (struct table *)((char *)ufunc->data - offsetof(struct table, data));
}

static bool same_shape(PyArrayObject *a, PyArrayObject *b)
{
    return PyArray_NDIM(a) == PyArray_NDIM(b)
           && !memcmp(PyArray_DIMS(a), PyArray_DIMS(b), (size_t)PyArray_NDIM(a) * sizeof(npy_intp));
}

/* Whether NumPy sees both as one row, and makes the result likewise. */
static bool same_order(PyArrayObject *a, PyArrayObject *b)
{
    return (PyArray_IS_C_CONTIGUOUS(a) && PyArray_IS_C_CONTIGUOUS(b))
           || (PyArray_IS_F_CONTIGUOUS(a) && PyArray_IS_F_CONTIGUOUS(b));
}

/* Makes an operand of a scalar that does not decide the result's type, or NULL without an exception
 * where NumPy should: `like` is the operand that does. */
static PyArrayObject *from_scalar(PyObject *x, PyArrayObject *like, bool special)
{
    const int type = PyArray_TYPE(like);
    const bool single = type == NPY_FLOAT;
    double value;
    /* With a Python number and float32, some of SciPy's functions give float64. A scalar of a
     * subclass may have something to say itself. */
    if (type != NPY_DOUBLE && !(single && !special)) {
        return NULL;
    }
    if (PyFloat_CheckExact(x) || (Py_IS_TYPE(x, &PyDoubleArrType_Type) && !single)) {
        value = PyFloat_AS_DOUBLE(x);
    }
    else if (Py_IS_TYPE(x, &PyFloatArrType_Type) && single) {
        value = (double)PyArrayScalar_VAL(x, Float);
    }
    else if (PyLong_CheckExact(x)) {
        int beyond;
        value = (double)PyLong_AsLongLongAndOverflow(x, &beyond);
        if (beyond) {
            return NULL; /* some of NumPy's functions refuse these */
        }
    }
    else {
        return NULL;
    }
    const double size = value < 0.0 ? -value : value;
    if (single && !(size >= FLT_MIN && size <= FLT_MAX) && size != 0.0) {
        return NULL; /* it may overflow or underflow, of which NumPy warns */
    }
    PyArrayObject *made = (PyArrayObject *)PyArray_SimpleNew(0, NULL, type);
    if (made && single) {
        *(float *)PyArray_DATA(made) = (float)value;
    }
    else if (made) {
        *(double *)PyArray_DATA(made) = value;
    }
    return made;
}

/* Calls as NumPy, but where that would call the loop row by row, or on what it has copied to a
 * buffer, the rows are shared. */
static PyObject *call_large(PyUFuncObject *ufunc, const struct table *table,
                            PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    const Py_ssize_t positional = PyVectorcall_NARGS(nargsf);
    const int nin = ufunc->nin;
    PyObject *out = NULL;
    if (kwnames) {
        const bool only_out =
            PyTuple_GET_SIZE(kwnames) == 1 && positional == nin
            && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(kwnames, 0), "out") == 0;
        if (!only_out) {
            return numpy_call((PyObject *)ufunc, args, nargsf, kwnames);
        }
        out = args[nin];
        if (PyTuple_CheckExact(out) && PyTuple_GET_SIZE(out) == 1) {
            out = PyTuple_GET_ITEM(out, 0);
        }
    }
    else if (positional == nin + 1) {
        if (!strcmp(ufunc->name, "maximum") || !strcmp(ufunc->name, "minimum")) {
            return numpy_call((PyObject *)ufunc, args, nargsf, kwnames); /* it may warn of that */
        }
        out = args[nin];
    }
    out = out == Py_None ? NULL : out;
    if (positional < nin || positional > nin + 1 || ufunc->nout != 1
        || (out && !PyArray_CheckExact(out))) {
        return numpy_call((PyObject *)ufunc, args, nargsf, kwnames);
    }
    PyArrayObject *operands[MOST_ARGS], *first = NULL;
    bool rows = false, scalars = false;
    for (int k = 0; k <= nin; k++) {
        PyObject *given = k < nin ? args[k] : out;
        PyArrayObject *x = operands[k] = (PyArrayObject *)given;
        if (!given || !PyArray_CheckExact(given)) {
            scalars |= k < nin;
            continue;
        }
        if (PyArray_NDIM(x) && !first && k < nin) {
            first = x; /* the type follows from the inputs alone */
        }
        rows |= !PyArray_ISBEHAVED_RO(x)
                || (PyArray_NDIM(x) > 1
                    && !(first && same_shape(x, first) && same_order(x, first)));
    }
    if (!rows || !first) {
        return numpy_call((PyObject *)ufunc, args, nargsf, kwnames);
    }
    PyArrayObject *made[MOST_ARGS];
    int count = 0;
    for (int k = 0; scalars && k < nin; k++) {
        if (!PyArray_CheckExact(args[k])) {
            operands[k] = from_scalar(args[k], first, table->special);
            if (!operands[k]) {
                rows = false;
                break;
            }
            made[count++] = operands[k];
        }
    }
    PyObject *result = rows && !PyErr_Occurred() ? call_rows(ufunc, operands) : NULL;
    while (count) {
        Py_DECREF(made[--count]);
    }
    if (result || PyErr_Occurred()) {
        return result;
    }
    return numpy_call((PyObject *)ufunc, args, nargsf, kwnames);
}

/* Multiplies `product` by an array's number of elements; INTPTR_MAX stands for what may be too large
 * to be multiplied. What is no array has one. PyArray_SIZE would be a call, and of numbers it is
 * known sooner that they are no arrays. */
static inline npy_intp times_size(npy_intp product, PyObject *x)
{
    if (!PyArray_CheckExact(x)
        && (PyFloat_CheckExact(x) || PyLong_CheckExact(x) || !PyArray_Check(x))) {
        return product;
    }
    for (int i = 0; i < PyArray_NDIM((PyArrayObject *)x); i++) {
        const npy_intp length = PyArray_DIM((PyArrayObject *)x, i);
        product = (product | length) >> 31 && length ? INTPTR_MAX : product * length;
    }
    return product;
}

/* Whether the result may have so many elements. */
static bool may_reach(npy_intp least, PyObject *const *args, Py_ssize_t given)
{
    npy_intp product = 1;
    for (Py_ssize_t k = 0; k < given; k++) {
        product = times_size(product, args[k]);
    }
    if (product < least) {
        return false;
    }
    /* Operands of one shape, as most are, do not broadcast. */
    PyArrayObject *first = NULL;
    for (Py_ssize_t k = 0; k < given; k++) {
        PyArrayObject *x = (PyArrayObject *)args[k];
        if (PyArray_Check(args[k]) && PyArray_NDIM(x)) {
            first = first ? first : x;
            if (!same_shape(x, first)) {
                return true;
            }
        }
    }
    return first && times_size(1, (PyObject *)first) >= least;
}

PyObject *ufunc_call(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    PyUFuncObject *ufunc = (PyUFuncObject *)self;
    /* Once: while Python is asked, another thread may put NumPy's own loops back. */
    const struct table *table = table_of(ufunc);
    /* Small arrays must notice nothing of all this. An output may be what is named. */
    const Py_ssize_t given =
        PyVectorcall_NARGS(nargsf) + (kwnames ? PyTuple_GET_SIZE(kwnames) : 0);
    if (!may_reach(table->least, args, given)) {
        return numpy_call(self, args, nargsf, kwnames);
    }
    const struct answer before = asked;
    if (table->asks) {
        /* Here, where the interpreter's lock is held: others may keep it for milliseconds. A signal
         * that came since the last call is handled within: what its handler raises is raised. */
        const int jobs = ask_jobs(0, table->special);
        if (PyErr_Occurred()) {
            return NULL;
        }
        asked.table = table;
        asked.jobs = jobs;
        memory_adopt();
    }
    PyObject *result = call_large(ufunc, table, args, nargsf, kwnames);
    asked = before;
    return result;
}

static PyObject *connect(PyObject *module, PyObject *function)
{
    (void)module;
    Py_XSETREF(errors_wanted, Py_NewRef(function));
    Py_RETURN_NONE;
}

static PyObject *ask_for_jobs(PyObject *module, PyObject *function)
{
    (void)module;
    Py_XSETREF(jobs_wanted, Py_NewRef(function));
    Py_RETURN_NONE;
}

PyMethodDef ufunc_methods[] = {
    {"connect", connect, METH_O,
     "connect(errors_wanted)\n--\n\nSay who knows what SciPy does about its errors."},
    {"ask_for_jobs", ask_for_jobs, METH_O,
     "ask_for_jobs(jobs_wanted)\n--\n\n"
     "Say who knows how many threads a call of a replaced loop may have."},
    {NULL, NULL, 0, NULL},
};
