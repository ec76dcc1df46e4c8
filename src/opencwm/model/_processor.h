/* Whether the C code of this folder can run here: compiled for x86-64 by GCC or Clang, and AVX-512 with products of
   bfloat16 and of whole numbers. Elsewhere a module has this one function, and Python goes on without it. */

#pragma once
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#if defined(__x86_64__) && defined(__GNUC__)
#define HERE 1
static int available(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bf16");
}
#else
#define HERE 0
static int available(void) { return 0; }
#endif

static PyObject *is_available(PyObject *self, PyObject *nothing)
{
    return PyBool_FromLong(available());
}

#define AVAILABLE {"available", is_available, METH_NOARGS, "Whether this processor has what the module needs."}
