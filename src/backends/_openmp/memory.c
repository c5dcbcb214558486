/* NumPy's memory handler over the pool. What is not for the pool goes to NumPy's own handler. */
#include "numpy_api.h"

#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#include "memory.h"
#include "pool.h"

/* NumPy's own, which never changes; and ours as a capsule, made at the first install and never
 * ended: any array may refer to it. */
static const PyDataMemAllocator *plain;
static PyObject *capsule;
static atomic_bool installed;

/* NumPy calls these with the interpreter's lock held. Sizes that it frees are not always those that
 * it asked for (NEP 49), so nothing here goes by them. */

static void *take(void *context, size_t size)
{
    (void)context;
    bool zeroed;
    void *address = size < POOL_LEAST ? NULL : pool_take(size, &zeroed);
    if (!address) {
        address = plain->malloc(plain->ctx, size);
    }
    /* What is kept may be what is missing. */
    return address || !pool_trim() ? address : plain->malloc(plain->ctx, size);
}

static void *take_zeroed(void *context, size_t count, size_t size)
{
    (void)context;
    if (size && count > SIZE_MAX / size) {
        return NULL;
    }
    const size_t bytes = count * size;
    bool zeroed = false;
    void *address = bytes < POOL_LEAST ? NULL : pool_take(bytes, &zeroed);
    if (!address) {
        address = plain->calloc(plain->ctx, count, size);
        return address || !pool_trim() ? address : plain->calloc(plain->ctx, count, size);
    }
    if (!zeroed) {
        /* Cleared and then filled takes 0.7 to 0.9 of the time that fresh pages take to be filled
         * (`python benchmarks/memory.py zeros`). */
        Py_BEGIN_ALLOW_THREADS
        memset(address, 0, bytes);
        Py_END_ALLOW_THREADS
    }
    return address;
}

static void give(void *context, void *address, size_t size)
{
    (void)context;
    if (!pool_may_own(address) || !pool_give(address)) {
        plain->free(plain->ctx, address, size);
    }
}

static void *resize(void *context, void *address, size_t size)
{
    const size_t capacity = pool_may_own(address) ? pool_capacity(address) : 0;
    if (!capacity) {
        void *moved = plain->realloc(plain->ctx, address, size);
        return moved || !pool_trim() ? moved : plain->realloc(plain->ctx, address, size);
    }
    void *moved = pool_resize(address, size);
    if (!moved && (moved = take(context, size))) {
        memcpy(moved, address, size < capacity ? size : capacity);
        pool_give(address);
    }
    return moved;
}

static PyDataMem_Handler handler = {
    "backends_pool", 1, {NULL, take, take_zeroed, resize, give},
};

/* Makes `wanted` the handler of this context where `present` is. Tells whether it was, -1 for an
 * exception. */
static int replace(PyObject *present, PyObject *wanted)
{
    PyObject *current = PyDataMem_GetHandler();
    if (!current) {
        return -1;
    }
    const bool is_present = current == present;
    Py_DECREF(current);
    if (is_present) {
        PyObject *before = PyDataMem_SetHandler(wanted);
        if (!before) {
            return -1;
        }
        Py_DECREF(before);
    }
    return is_present;
}

void memory_adopt(void)
{
    if (atomic_load_explicit(&installed, memory_order_acquire)
        && replace(PyDataMem_DefaultHandler, capsule) < 0) {
        PyErr_Clear(); /* the call that follows needs no pool. GCOV_EXCL_LINE: no memory */
    }
}

/* Callers take turns (accelerate/memory.py). */
static int start(void)
{
    if (capsule) {
        return 0;
    }
    const PyDataMem_Handler *theirs = PyCapsule_GetPointer(PyDataMem_DefaultHandler, "mem_handler");
    if (!theirs) {
        return -1;
    }
    if (pool_start()) {
        /* GCOV_EXCL_START: no memory */
        PyErr_SetString(PyExc_OSError, "no handler can be registered for fork");
        return -1;
        /* GCOV_EXCL_STOP */
    }
    plain = &theirs->allocator;
    /* NumPy compares the name for each array: its own pointer is the nearest. */
    capsule = PyCapsule_New(&handler, PyCapsule_GetName(PyDataMem_DefaultHandler), NULL);
    return capsule ? 0 : -1;
}

static PyObject *install(PyObject *module, PyObject *args)
{
    (void)module;
    Py_ssize_t cap;
    int huge;
    if (!PyArg_ParseTuple(args, "np:memory_install", &cap, &huge) || start()) {
        return NULL;
    }
    if (replace(PyDataMem_DefaultHandler, capsule) < 0) {
        return NULL; /* GCOV_EXCL_LINE: no memory */
    }
    PyObject *current = PyDataMem_GetHandler();
    if (!current) {
        return NULL;
    }
    const PyDataMem_Handler *in_force = PyCapsule_GetPointer(current, "mem_handler");
    PyObject *other = NULL;
    if (in_force == &handler) {
        pool_set(cap > 0 ? (size_t)cap : 0, huge);
        atomic_store(&installed, true);
        other = Py_NewRef(Py_None);
    }
    else if (in_force) {
        other = PyUnicode_FromString(in_force->name);
    }
    Py_DECREF(current);
    return other;
}

static PyObject *uninstall(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    atomic_store(&installed, false);
    pool_set(0, false);
    if (capsule && replace(capsule, PyDataMem_DefaultHandler) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *trim(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    return PyLong_FromSize_t(pool_trim());
}

static PyObject *count(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    const struct pool_counts counts = pool_count();
    return Py_BuildValue("nnnn", (Py_ssize_t)counts.kept, (Py_ssize_t)counts.cap,
                         (Py_ssize_t)counts.reused, (Py_ssize_t)counts.fresh);
}

static PyObject *adopt(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    memory_adopt();
    Py_RETURN_NONE;
}

PyMethodDef memory_methods[] = {
    {"memory_install", install, METH_VARARGS,
     "memory_install(cap, huge)\n--\n\n"
     "Let arrays of this context come from the pool; the name of another handler it has, or None."},
    {"memory_uninstall", uninstall, METH_NOARGS,
     "memory_uninstall()\n--\n\nKeep nothing more, and give back what is kept."},
    {"memory_adopt", adopt, METH_NOARGS,
     "memory_adopt()\n--\n\nInstall in this context too, where it has NumPy's handler."},
    {"memory_trim", trim, METH_NOARGS,
     "memory_trim()\n--\n\nGive back what is kept; how many bytes that were."},
    {"memory_counts", count, METH_NOARGS,
     "memory_counts()\n--\n\nGive bytes kept, the cap, and how many blocks were reused and fresh."},
    {NULL, NULL, 0, NULL},
};
