/* The Python side: the module, ufuncs of stacks, and the functions that the budget is counted by. */
#define FILLS_NUMPY_API
#include "ufuncs.h"

#include <fenv.h>
#include <stdatomic.h>
#include <string.h>

#include "memory.h"
#include "stacks.h"
#include "team.h"

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
        return PyErr_NoMemory(); /* GCOV_EXCL_LINE */
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
        PyArray_free(owned); /* GCOV_EXCL_LINE: no memory */
        return NULL; /* GCOV_EXCL_LINE */
    }
    ufunc->ptr = owned;
    return (PyObject *)ufunc;
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
    {"stack", make_stack, METH_VARARGS,
     "stack(name, n_jobs)\n--\n\n"
     "Make the ufunc of inv, det or solve over stacks of matrices of order SMALL at most."},
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
    /* One that nobody has put anything in the place of. */
    PyObject *ufunc = PyUFunc_FromFuncAndData(NULL, NULL, NULL, 0, 1, 1, PyUFunc_None, "none", "", 0);
    if (!ufunc) {
        return -1;
    }
    numpy_call = ((PyUFuncObject *)ufunc)->vectorcall;
    Py_DECREF(ufunc);
    if (team_start()) {
        /* GCOV_EXCL_START: no memory */
        PyErr_SetString(PyExc_OSError, "no handler can be registered for fork");
        return -1;
        /* GCOV_EXCL_STOP */
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
    if (PyModule_AddFunctions(module, ufunc_methods)
        || PyModule_AddFunctions(module, table_methods)
        || PyModule_AddFunctions(module, counting_methods)
        || PyModule_AddFunctions(module, install_methods)
        || PyModule_AddFunctions(module, divert_methods)
        || PyModule_AddFunctions(module, memory_methods)) {
        return -1; /* GCOV_EXCL_LINE: no memory */
    }
    if (PyModule_AddIntConstant(module, "LEAST", LEAST)
        || PyModule_AddIntConstant(module, "SMALL", SMALL)) {
        return -1; /* GCOV_EXCL_LINE: no memory */
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
