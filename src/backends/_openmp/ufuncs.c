#include "ufuncs.h"

#include <numpy/arrayscalars.h>

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "memory.h"
#include "team.h"

const struct instructions *chosen;
/* Python functions: errors_wanted() tells whether scipy.special is to warn or raise in this thread,
 * jobs_wanted() gives the threads that a call of a replaced loop may have here. */
static PyObject *errors_wanted, *jobs_wanted;

vectorcallfunc numpy_call;

/* Threads that the call in this thread may have, as the configuration says; 0: nobody has asked. */
static _Thread_local int asked;
static _Thread_local enum outcome outcome;
static _Thread_local bool uncounted;

void say(enum outcome what)
{
    outcome = what > outcome ? what : outcome;
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
        PyErr_SetObject((PyObject *)Py_TYPE(value), value); /* there are too many already */
        PyErr_WriteUnraisable(value);
        Py_DECREF(value);
    }
}

int jobs_of(const struct loop *loop)
{
    if (loop->jobs && !loop->special) {
        return loop->jobs;
    }
    if (asked) {
        return asked;
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
    if (!loop_divides(loop, args, n, steps)) {
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
        say(share.threads > 1 ? PARALLEL : NONE_FREE);
    }
    else {
        say(call.jobs > 1 ? TOO_SMALL : ONE_JOB);
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
        bool fits = ufunc->functions[i] == loop_of_team && loop->divisible;
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
    double most = 1.0; /* elements of the result, at most */
    for (int k = 0; k <= nin; k++) {
        PyObject *given = k < nin ? args[k] : out;
        PyArrayObject *x = operands[k] = (PyArrayObject *)given;
        if (!given || !PyArray_CheckExact(given)) {
            scalars |= k < nin;
            continue;
        }
        if (PyArray_NDIM(x) && !first) {
            first = x;
        }
        rows |= !PyArray_ISBEHAVED_RO(x)
                || (PyArray_NDIM(x) > 1 && !(same_shape(x, first) && same_order(x, first)));
        most *= (double)PyArray_SIZE(x);
    }
    if (!rows || !first || most < table->least) {
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

static bool is_large(PyObject *const *args, Py_ssize_t given)
{
    for (Py_ssize_t k = 0; k < given; k++) {
        PyArrayObject *x = (PyArrayObject *)args[k];
        if (!PyArray_CheckExact(args[k])) {
            continue;
        }
        const int ndim = PyArray_NDIM(x);
        if (ndim > 1 || (ndim == 1 && PyArray_DIM(x, 0) >= LEAST) || !PyArray_ISBEHAVED_RO(x)) {
            return true;
        }
    }
    return false;
}

PyObject *ufunc_call(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    /* Small arrays must notice nothing of all this. */
    if (!is_large(args, PyVectorcall_NARGS(nargsf))) {
        return numpy_call(self, args, nargsf, kwnames);
    }
    PyUFuncObject *ufunc = (PyUFuncObject *)self;
    /* Once: while Python is asked, another thread may put NumPy's own loops back. */
    const struct table *table = table_of(ufunc);
    const int before = asked;
    double size = 0.0;
    for (Py_ssize_t k = 0; k < PyVectorcall_NARGS(nargsf); k++) {
        if (PyArray_CheckExact(args[k])) {
            size = fmax(size, (double)PyArray_SIZE((PyArrayObject *)args[k]));
        }
    }
    if (table->asks && size >= table->least) {
        /* Here, where the interpreter's lock is held: others may keep it for milliseconds. A signal
         * that came since the last call is handled within: what its handler raises is raised. */
        const int jobs = ask_jobs(0, table->special);
        if (PyErr_Occurred()) {
            return NULL;
        }
        asked = jobs;
        memory_adopt();
    }
    PyObject *result = call_large(ufunc, table, args, nargsf, kwnames);
    asked = before;
    return result;
}

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
    outcome = UNKNOWN;
    const double start = team_clock();
    PyObject *result = ufunc_call(self, args, nargsf, kwnames);
    const double seconds = team_clock() - start;
    enum outcome found = outcome;
    outcome = before;
    if (!result || uncounted) {
        return result;
    }
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

static const struct fast *find(const struct fast *functions, const char *name)
{
    for (; functions->name; functions++) {
        if (!strcmp(functions->name, name)) {
            return functions;
        }
    }
    return NULL;
}

static const struct fast *find_fast(const char *name)
{
    const struct fast *fast = find(chosen->functions, name);
    return fast ? fast : find(streams, name);
}

static bool is_inexact(char type)
{
    return PyTypeNum_ISFLOAT(type) || PyTypeNum_ISCOMPLEX(type);
}

/* Numbers and booleans, and no Python objects, dates and times. */
static bool are_numbers(const char *types, int nargs)
{
    for (int k = 0; k < nargs; k++) {
        if (!PyTypeNum_ISNUMBER(types[k]) && !PyTypeNum_ISBOOL(types[k])) {
            return false;
        }
    }
    return true;
}

/* At least one operand inexact: loops of integers may raise exceptions, where only the caller's
 * thread can. */
static bool divides(const char *types, int nin)
{
    bool inexact = false;
    for (int k = 0; k < nin; k++) {
        inexact |= is_inexact(types[k]);
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

bool is_replaced(PyUFuncObject *ufunc)
{
    return (ufunc->vectorcall == ufunc_call || ufunc->vectorcall == ufunc_call_counted)
           && table_of(ufunc)->old_functions;
}

/* A ufunc's own loops, also while others are in their places. */
static PyUFuncGenericFunction *functions_of(PyUFuncObject *ufunc)
{
    return is_replaced(ufunc) ? table_of(ufunc)->old_functions : ufunc->functions;
}

static void *const *data_of(PyUFuncObject *ufunc)
{
    return is_replaced(ufunc) ? table_of(ufunc)->old_data : ufunc->data;
}

static void fill(struct loop *loop, PyUFuncObject *original, int i, const struct recipe *recipe,
                 const struct fast *fast)
{
    const int nargs = original->nargs;
    const char *types = original->types + i * nargs;
    bool alike = types[0] == NPY_DOUBLE || types[0] == NPY_FLOAT;
    for (int k = 1; k < nargs; k++) {
        alike &= types[k] == types[0];
    }
    loop->exact = (ufunc_loop *)functions_of(original)[i];
    loop->exact_data = data_of(original)[i];
    loop->negated = recipe->negated;
    loop->divisible = true;
    loop->plain = !recipe->negated && !(alike && fast && fast->block);
    loop->special = recipe->special;
    loop->single = types[0] == NPY_FLOAT;
    loop->fast = alike ? fast : NULL;
    loop->instructions = chosen;
    loop->nin = original->nin;
    loop->nargs = nargs;
    for (int k = 0; k < nargs; k++) {
        loop->sizes[k] = (uint8_t)itemsize(types[k]);
    }
    loop->jobs = recipe->jobs;
    loop->fixed_threshold = recipe->threshold;
    loop->first_threshold = recipe->threshold ? recipe->threshold : LEAST;
    loop->stream_threshold = recipe->stream_bytes;
}

struct table *table_make(PyUFuncObject *original, const struct recipe *recipe, bool all)
{
    const int nargs = original->nargs, nin = original->nin;
    const size_t count = (size_t)original->ntypes;
    if (original->core_enabled || nargs > MOST_ARGS || nin < 1 || original->nout < 1) {
        PyErr_Format(PyExc_ValueError, "ufunc %s has no elementwise loop", original->name);
        return NULL;
    }
    const struct fast *fast = recipe->fast ? find_fast(recipe->fast) : NULL;
    if (recipe->fast && !fast) {
        PyErr_Format(PyExc_ValueError, "there is no fast %s", recipe->fast);
        return NULL;
    }
    const size_t loops_at = sizeof(struct table) + count * sizeof(void *);
    const size_t functions_at = loops_at + count * sizeof(struct loop);
    const size_t types_at = functions_at + count * sizeof(PyUFuncGenericFunction);
    const size_t size = types_at + count * (size_t)nargs;
    /* NumPy frees what a ufunc of its own making owns. */
    struct table *table = PyArray_malloc(size);
    if (!table) {
        PyErr_NoMemory();
        return NULL;
    }
    memset(table, 0, size);
    table->least = recipe->threshold ? (double)recipe->threshold : (double)LEAST;
    table->asks = !recipe->jobs;
    table->special = recipe->special;
    table->loops = (struct loop *)((char *)table + loops_at);
    table->functions = (PyUFuncGenericFunction *)((char *)table + functions_at);
    table->types = (char *)table + types_at;
    /* Where SciPy wants an integer, it warns of a float that is none, in the loop. */
    bool wants_integers = false;
    for (int k = 0; recipe->special && k < original->ntypes * nargs; k++) {
        wants_integers |= k % nargs < nin && PyTypeNum_ISINTEGER(original->types[k]);
    }
    for (int i = 0; i < original->ntypes; i++) {
        const char *from = original->types + i * nargs;
        const bool numbers = are_numbers(from, nargs);
        if (!numbers && !all) {
            continue;
        }
        const int kept = table->size++;
        memcpy(table->types + kept * nargs, from, (size_t)nargs);
        if (!numbers || wants_integers || !divides(from, nin)) {
            table->functions[kept] = functions_of(original)[i];
            table->data[kept] = data_of(original)[i];
            continue;
        }
        fill(&table->loops[kept], original, i, recipe, fast);
        table->functions[kept] = loop_of_team;
        table->data[kept] = &table->loops[kept];
        table->cut++;
    }
    return table;
}

static PyObject *make_ufunc(PyObject *module, PyObject *args, PyObject *keywords)
{
    (void)module;
    static char *names[] = {"original", "n_jobs", "fast",      "negated",
                            "special",  "threshold", "stream_bytes", NULL};
    PyObject *given;
    struct recipe recipe = {0};
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O!i|$zppnn:ufunc", names, &PyUFunc_Type,
                                     &given, &recipe.jobs, &recipe.fast, &recipe.negated,
                                     &recipe.special, &recipe.threshold, &recipe.stream_bytes)) {
        return NULL;
    }
    PyUFuncObject *original = (PyUFuncObject *)given;
    struct table *table = table_make(original, &recipe, false);
    if (!table) {
        return NULL;
    }
    /* None is also the identity of a ufunc that has one but may not be reordered: the difference
     * is in the number. */
    PyObject *identity = PyObject_GetAttrString(given, "identity");
    const int kind = identity && identity != Py_None ? PyUFunc_IdentityValue : original->identity;
    PyUFuncObject *ufunc =
        identity ? (PyUFuncObject *)PyUFunc_FromFuncAndDataAndSignatureAndIdentity(
                       table->functions, table->data, table->types, table->size, original->nin,
                       original->nout, kind, original->name, original->doc, 0, NULL, identity)
                 : NULL;
    Py_XDECREF(identity);
    if (!ufunc) {
        PyArray_free(table);
        return NULL;
    }
    /* NumPy's own refuses what is in no loop's types, as the difference of two booleans. */
    ufunc->type_resolver = original->type_resolver;
    ufunc->ptr = table;
    ufunc->obj = Py_NewRef(original);
    ufunc->vectorcall = ufunc_call;
    return (PyObject *)ufunc;
}

static PyObject *has_fast(PyObject *module, PyObject *name)
{
    (void)module;
    const char *text = PyUnicode_AsUTF8(name);
    return text ? PyBool_FromLong(find_fast(text) != NULL) : NULL;
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

static PyObject *count_calls(PyObject *module, PyObject *wanted)
{
    (void)module;
    uncounted = !PyObject_IsTrue(wanted);
    Py_RETURN_NONE;
}

PyMethodDef ufunc_methods[] = {
    {"ufunc", (PyCFunction)(void (*)(void))make_ufunc, METH_VARARGS | METH_KEYWORDS,
     "ufunc(original, n_jobs, *, fast=None, negated=False, special=False, threshold=0,\n"
     "      stream_bytes=0)\n--\n\n"
     "Make a ufunc of `original`'s loops, cut over a team of `n_jobs` threads."},
    {"connect", connect, METH_O,
     "connect(errors_wanted)\n--\n\nSay who knows what SciPy does about its errors."},
    {"ask_for_jobs", ask_for_jobs, METH_O,
     "ask_for_jobs(jobs_wanted)\n--\n\n"
     "Say who knows how many threads a call of a replaced loop may have."},
    {"count_calls", count_calls, METH_O,
     "count_calls(wanted)\n--\n\nSay whether this thread's calls are counted, as they are."},
    {"has_fast", has_fast, METH_O,
     "has_fast(name)\n--\n\nTell whether there is a fast loop of that name."},
    {NULL, NULL, 0, NULL},
};
