/* NumPy's array memory from the pool, through its public handler (NEP 49). */
#ifndef BACKENDS_MEMORY_H
#define BACKENDS_MEMORY_H

#include <Python.h>

/* What the module offers to Python. */
extern PyMethodDef memory_methods[];

/* Lets the arrays that this thread's context makes from here on come from the pool, where that is
 * installed and the context has NumPy's own handler: contexts of new threads begin with that. The
 * caller holds the interpreter's lock, and no exception is pending. */
void memory_adopt(void);

#endif
