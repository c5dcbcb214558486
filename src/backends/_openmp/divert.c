/* Calls of ufuncs that a Python function makes instead, where there is enough to do. */
#include "ufuncs.h"

/* A ufunc, of matrices mostly, and who makes its large calls. */
struct diverted {
    PyObject *ufunc, *function;
    double least;
};

enum { MOST_DIVERTED = 64 };
static struct diverted diverted[MOST_DIVERTED];
static int diverted_count;

static PyObject *call_diverted(PyObject *self, PyObject *const *args, size_t nargsf,
                               PyObject *kwnames)
{
    const Py_ssize_t positional = PyVectorcall_NARGS(nargsf);
    double elements = 0.0;
    const PyUFuncObject *ufunc = (PyUFuncObject *)self;
    bool matrices = true; /* with a vector, a product has little to do */
    for (Py_ssize_t k = 0; k < positional; k++) {
        if (PyArray_CheckExact(args[k])) {
            elements += (double)PyArray_SIZE((PyArrayObject *)args[k]);
            matrices &= k >= ufunc->nin
                        || PyArray_NDIM((PyArrayObject *)args[k]) >= ufunc->core_num_dims[k];
        }
    }
    if (!matrices) {
        return numpy_call(self, args, nargsf, kwnames);
    }
    const struct diverted *entry = diverted;
    while (entry < diverted + diverted_count && entry->ufunc != self) {
        entry++;
    }
    if (entry == diverted + diverted_count || elements < entry->least) {
        return numpy_call(self, args, nargsf, kwnames);
    }
    PyObject *const function = Py_NewRef(entry->function); /* before anything may end it */
    PyObject *tuple = PyTuple_New(positional), *named = kwnames ? PyDict_New() : NULL;
    PyObject *result = NULL;
    if (tuple && (named || !kwnames)) {
        bool failed = false;
        for (Py_ssize_t k = 0; k < positional; k++) {
            PyTuple_SET_ITEM(tuple, k, Py_NewRef(args[k]));
        }
        for (Py_ssize_t k = 0; named && k < PyTuple_GET_SIZE(kwnames); k++) {
            failed |= PyDict_SetItem(named, PyTuple_GET_ITEM(kwnames, k), args[positional + k]) < 0;
        }
        result = failed ? NULL
                        : PyObject_CallFunctionObjArgs(function, self, tuple,
                                                       named ? named : Py_None, NULL);
    }
    Py_DECREF(function);
    Py_XDECREF(tuple);
    Py_XDECREF(named);
    return result;
}

static PyObject *divert(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *given, *function;
    double least;
    if (!PyArg_ParseTuple(args, "O!Od:divert", &PyUFunc_Type, &given, &function, &least)) {
        return NULL;
    }
    PyUFuncObject *ufunc = (PyUFuncObject *)given;
    if (ufunc->vectorcall != numpy_call || diverted_count == MOST_DIVERTED) {
        return PyErr_Format(PyExc_RuntimeError, "ufunc %s is called by other code than NumPy's",
                            ufunc->name);
    }
    diverted[diverted_count++] =
        (struct diverted){Py_NewRef(given), Py_NewRef(function), least};
    ufunc->vectorcall = call_diverted;
    Py_RETURN_NONE;
}

static PyObject *straighten(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    while (diverted_count) {
        struct diverted *last = &diverted[--diverted_count];
        ((PyUFuncObject *)last->ufunc)->vectorcall = numpy_call;
        Py_CLEAR(last->ufunc);
        Py_CLEAR(last->function);
    }
    Py_RETURN_NONE;
}

static PyObject *original(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *given, *positional, *named;
    if (!PyArg_ParseTuple(args, "O!O!O:original", &PyUFunc_Type, &given, &PyTuple_Type, &positional,
                          &named)) {
        return NULL;
    }
    const Py_ssize_t count = PyTuple_GET_SIZE(positional);
    const Py_ssize_t more = named == Py_None ? 0 : PyDict_Size(named);
    PyObject *names = more > 0 ? PyTuple_New(more) : NULL;
    PyObject **all = PyMem_New(PyObject *, (size_t)(count + more + 1));
    PyObject *result = NULL;
    if (more >= 0 && all && (names || !more)) {
        for (Py_ssize_t k = 0; k < count; k++) {
            all[k] = PyTuple_GET_ITEM(positional, k);
        }
        PyObject *name, *value;
        Py_ssize_t place = 0, k = 0;
        while (more && k < more && PyDict_Next(named, &place, &name, &value)) {
            PyTuple_SET_ITEM(names, k, Py_NewRef(name));
            all[count + k++] = value;
        }
        result = numpy_call(given, all, (size_t)count, names);
    }
    else if (!PyErr_Occurred()) { /* GCOV_EXCL_LINE: no memory */
        PyErr_NoMemory(); /* GCOV_EXCL_LINE */
    }
    PyMem_Free(all);
    Py_XDECREF(names);
    return result;
}

PyMethodDef divert_methods[] = {
    {"divert", divert, METH_VARARGS,
     "divert(ufunc, function, least)\n--\n\n"
     "Let function(ufunc, args, kwargs or None) make the calls with so many elements."},
    {"straighten", straighten, METH_NOARGS,
     "straighten()\n--\n\nEnd what divert did, for all ufuncs."},
    {"original", original, METH_VARARGS,
     "original(ufunc, args, kwargs)\n--\n\nCall a ufunc as NumPy does."},
    {NULL, NULL, 0, NULL},
};
