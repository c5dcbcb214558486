/* Python's and NumPy's headers, one copy of NumPy's tables for all files: module.c fills them. */
#ifndef BACKENDS_NUMPY_API_H
#define BACKENDS_NUMPY_API_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#define NPY_NO_DEPRECATED_API NPY_2_0_API_VERSION
#define NPY_TARGET_VERSION NPY_2_0_API_VERSION
#define PY_ARRAY_UNIQUE_SYMBOL backends_array_api
#define PY_UFUNC_UNIQUE_SYMBOL backends_ufunc_api
#ifndef FILLS_NUMPY_API
#define NO_IMPORT_ARRAY
#define NO_IMPORT_UFUNC
#endif
#include <numpy/arrayobject.h>
#include <numpy/ufuncobject.h>

#endif
