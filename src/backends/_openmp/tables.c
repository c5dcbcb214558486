/* Makes tables of loops, and ufuncs of our own from them. */
#include "ufuncs.h"

#include <stddef.h>
#include <string.h>

const struct instructions *chosen;

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
        PyErr_NoMemory(); /* GCOV_EXCL_LINE */
        return NULL; /* GCOV_EXCL_LINE */
    }
    memset(table, 0, size);
    table->least = recipe->threshold ? recipe->threshold : LEAST;
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
        PyArray_free(table); /* GCOV_EXCL_LINE: no memory */
        return NULL; /* GCOV_EXCL_LINE */
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

PyMethodDef table_methods[] = {
    {"ufunc", (PyCFunction)(void (*)(void))make_ufunc, METH_VARARGS | METH_KEYWORDS,
     "ufunc(original, n_jobs, *, fast=None, negated=False, special=False, threshold=0,\n"
     "      stream_bytes=0)\n--\n\n"
     "Make a ufunc of `original`'s loops, cut over a team of `n_jobs` threads."},
    {"has_fast", has_fast, METH_O,
     "has_fast(name)\n--\n\nTell whether there is a fast loop of that name."},
    {NULL, NULL, 0, NULL},
};
