/* Puts tables into the places of NumPy's and SciPy's own loops, and takes them back.
 *
 * A ufunc's `functions`, `data` and `vectorcall` are replaced as pointers: what they point to is not
 * written to. All is done with the interpreter's lock held, under which NumPy reads them. A table
 * that was once in place is kept for ever: another thread may still be in one of its loops.
 */
#include "ufuncs.h"

#include <string.h>

/* (ufunc, fast, special, threshold, stream bytes) -> capsule of a table. */
static PyObject *tables;

/* Reads through the structure that these files were compiled with what NumPy says by itself, so
 * that the two can be compared. */
static PyObject *describe(PyObject *module, PyObject *given)
{
    (void)module;
    if (!PyObject_TypeCheck(given, &PyUFunc_Type)) {
        return PyErr_Format(PyExc_TypeError, "describe: a ufunc is needed, not %R", given);
    }
    const PyUFuncObject *ufunc = (PyUFuncObject *)given;
    bool sound = ufunc->nargs == ufunc->nin + ufunc->nout && ufunc->ntypes >= 0 && ufunc->name;
    sound = sound && (!ufunc->ntypes || (ufunc->functions && ufunc->data && ufunc->types));
    sound = sound
            && (ufunc->vectorcall == numpy_call || ufunc->vectorcall == ufunc_call
                || ufunc->vectorcall == ufunc_call_counted);
    PyObject *types = PyList_New(0);
    for (int i = 0; types && sound && i < ufunc->ntypes; i++) {
        char text[2 * MOST_ARGS + 3];
        int length = 0;
        sound = ufunc->nargs <= MOST_ARGS && ufunc->functions[i];
        for (int k = 0; sound && k < ufunc->nargs; k++) {
            if (k == ufunc->nin) {
                text[length++] = '-';
                text[length++] = '>';
            }
            PyArray_Descr *dtype = PyArray_DescrFromType(ufunc->types[i * ufunc->nargs + k]);
            if (!dtype) {
                Py_DECREF(types);
                return NULL; /* GCOV_EXCL_LINE: no memory */
            }
            text[length++] = dtype->type;
            Py_DECREF(dtype);
        }
        PyObject *signature = PyUnicode_FromStringAndSize(text, length);
        if (!signature || PyList_Append(types, signature)) {
            Py_CLEAR(types);
        }
        Py_XDECREF(signature);
    }
    if (!types) {
        return NULL;
    }
    return Py_BuildValue("(Nsiii N)", PyBool_FromLong(sound), sound ? ufunc->name : "", ufunc->nin,
                         ufunc->nout, ufunc->ntypes, types);
}

/* GCOV_EXCL_START: only where there is no memory to keep the table; else it is kept for good */
static void forget_table(PyObject *capsule)
{
    PyArray_free(PyCapsule_GetPointer(capsule, NULL));
}
/* GCOV_EXCL_STOP */

/* The table for a ufunc and a recipe, made at most once. */
static struct table *find_table(PyUFuncObject *ufunc, const struct recipe *recipe)
{
    if (!tables && !(tables = PyDict_New())) {
        return NULL;
    }
    PyObject *key = Py_BuildValue("(Oziinn)", (PyObject *)ufunc, recipe->fast, recipe->negated,
                                  recipe->special, recipe->threshold, recipe->stream_bytes);
    if (!key) {
        return NULL;
    }
    PyObject *capsule = Py_XNewRef(PyDict_GetItemWithError(tables, key));
    if (!capsule && !PyErr_Occurred()) {
        struct table *made = table_make(ufunc, recipe, true);
        capsule = made ? PyCapsule_New(made, NULL, forget_table) : NULL;
        if (made && !capsule) {
            PyArray_free(made); /* GCOV_EXCL_LINE: no memory */
        }
        if (capsule && PyDict_SetItem(tables, key, capsule)) {
            Py_CLEAR(capsule);
        }
    }
    Py_DECREF(key);
    struct table *table = capsule ? PyCapsule_GetPointer(capsule, NULL) : NULL;
    Py_XDECREF(capsule); /* the dictionary has it */
    return table;
}

static void put_back(PyUFuncObject *ufunc)
{
    const struct table *table = table_of(ufunc);
    ufunc->vectorcall = numpy_call;
    ufunc->functions = table->old_functions;
    ufunc->data = table->old_data;
}

static PyObject *replace(PyObject *module, PyObject *args, PyObject *keywords)
{
    (void)module;
    static char *names[] = {"ufunc", "fast", "special", "threshold", "stream_bytes", "counted",
                            NULL};
    PyObject *given;
    struct recipe recipe = {0};
    int counted = 0;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O!|$zpnnp:replace", names, &PyUFunc_Type,
                                     &given, &recipe.fast, &recipe.special, &recipe.threshold,
                                     &recipe.stream_bytes, &counted)) {
        return NULL;
    }
    PyUFuncObject *ufunc = (PyUFuncObject *)given;
    if (is_replaced(ufunc)) {
        put_back(ufunc);
    }
    if (ufunc->vectorcall != numpy_call) {
        return PyErr_Format(PyExc_RuntimeError, "ufunc %s is called by other code than NumPy's",
                            ufunc->name);
    }
    struct table *table = find_table(ufunc, &recipe);
    if (!table) {
        return NULL;
    }
    if (table->cut) {
        table->old_functions = ufunc->functions;
        table->old_data = ufunc->data;
        ufunc->functions = table->functions;
        ufunc->data = table->data;
        ufunc->vectorcall = counted ? ufunc_call_counted : ufunc_call;
    }
    return PyLong_FromLong(table->cut);
}

PyUFuncObject *replaced(PyObject *given)
{
    if (PyObject_TypeCheck(given, &PyUFunc_Type) && is_replaced((PyUFuncObject *)given)) {
        return (PyUFuncObject *)given;
    }
    PyErr_Format(PyExc_ValueError, "%R has its own loops", given);
    return NULL;
}

static PyObject *restore(PyObject *module, PyObject *given)
{
    (void)module;
    PyUFuncObject *ufunc = replaced(given);
    if (!ufunc) {
        return NULL;
    }
    put_back(ufunc);
    Py_RETURN_NONE;
}

static PyObject *unreached(PyObject *module, PyObject *given)
{
    (void)module;
    PyUFuncObject *ufunc = replaced(given);
    PyObject *found = ufunc ? PyList_New(0) : NULL;
    for (int i = 0; found && i < ufunc->ntypes; i++) {
        const struct table *table = table_of(ufunc);
        if (table->functions[i] != loop_of_team || atomic_load(&table->loops[i].reached)) {
            continue;
        }
        PyObject *index = PyLong_FromLong(i);
        if (!index || PyList_Append(found, index)) {
            Py_CLEAR(found);
        }
        Py_XDECREF(index);
    }
    return found;
}

static PyObject *know(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *given;
    int type;
    Py_ssize_t threshold;
    if (!PyArg_ParseTuple(args, "O!in:know", &PyUFunc_Type, &given, &type, &threshold)) {
        return NULL;
    }
    PyUFuncObject *ufunc = replaced(given);
    if (!ufunc) {
        return NULL;
    }
    for (int i = 0; i < ufunc->ntypes; i++) {
        struct table *table = table_of(ufunc);
        bool alike = table->functions[i] == loop_of_team && !table->loops[i].fixed_threshold;
        for (int k = 0; alike && k < ufunc->nin; k++) {
            alike = ufunc->types[i * ufunc->nargs + k] == type;
        }
        if (alike) {
            struct loop *loop = &table->loops[i];
            atomic_store(&loop->known_threshold, threshold);
            loop->first_threshold = threshold < LEAST ? LEAST : threshold;
            if (atomic_load(&loop->reached)) {
                atomic_store(&loop->threshold, loop->first_threshold);
            }
        }
    }
    Py_RETURN_NONE;
}

/* What of a ufunc is changed by all this, as bytes: two that are equal are the same state. */
static PyObject *state(PyObject *module, PyObject *given)
{
    (void)module;
    if (!PyObject_TypeCheck(given, &PyUFunc_Type)) {
        return PyErr_Format(PyExc_TypeError, "state: a ufunc is needed, not %R", given);
    }
    const PyUFuncObject *ufunc = (PyUFuncObject *)given;
    const size_t head = offsetof(PyUFuncObject, nin);
    const Py_ssize_t count = ufunc->ntypes;
    const char *const parts[] = {(const char *)ufunc + head, (const char *)ufunc->functions,
                                 (const char *)ufunc->data, ufunc->types};
    const Py_ssize_t sizes[] = {(Py_ssize_t)(offsetof(PyUFuncObject, _dispatch_cache) - head),
                                count * (Py_ssize_t)sizeof(*ufunc->functions),
                                count * (Py_ssize_t)sizeof(*ufunc->data), count * ufunc->nargs};
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, 0);
    for (int i = 0; bytes && i < 4; i++) {
        PyBytes_ConcatAndDel(&bytes, PyBytes_FromStringAndSize(parts[i], count || !i ? sizes[i] : 0));
    }
    return bytes;
}

PyMethodDef install_methods[] = {
    {"describe", describe, METH_O,
     "describe(ufunc)\n--\n\n"
     "Read a ufunc's structure: whether it is sound, name, nin, nout, ntypes, types."},
    {"replace", (PyCFunction)(void (*)(void))replace, METH_VARARGS | METH_KEYWORDS,
     "replace(ufunc, *, fast=None, special=False, threshold=0, stream_bytes=0, counted=False)\n"
     "--\n\n"
     "Put loops that are cut into the places of a ufunc's own; how many were replaced."},
    {"restore", restore, METH_O, "restore(ufunc)\n--\n\nPut a ufunc's own loops back."},
    {"unreached", unreached, METH_O,
     "unreached(ufunc)\n--\n\nGive the indices of replaced loops that were never called."},
    {"know", know, METH_VARARGS,
     "know(ufunc, type, threshold)\n--\n\n"
     "Say from how many elements on a team pays for the loops of one type's number."},
    {"state", state, METH_O,
     "state(ufunc)\n--\n\nGive the bytes of a ufunc that installing changes, and of its loops."},
    {NULL, NULL, 0, NULL},
};
