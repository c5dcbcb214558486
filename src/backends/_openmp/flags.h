/* Floating-point status flags of vector instructions, read and written in a few cycles.
 *
 * The C library's functions handle the x87 unit as well, which takes longer than a small array.
 */
#ifndef BACKENDS_FLAGS_H
#define BACKENDS_FLAGS_H

#if defined(__SSE2__)
#include <xmmintrin.h>

typedef unsigned int status_flags;

static inline status_flags flags_save(void)
{
    return _mm_getcsr();
}

static inline void flags_restore(status_flags flags)
{
    /* The barrier keeps arithmetic on its side of the write. */
    __asm__ volatile("" ::: "memory");
    if (_mm_getcsr() != flags) { /* reading is a quarter of the price */
        _mm_setcsr(flags);
    }
}
#else
#include <fenv.h>

typedef fexcept_t status_flags;

static inline status_flags flags_save(void)
{
    fexcept_t flags;
    fegetexceptflag(&flags, FE_ALL_EXCEPT);
    return flags;
}

static inline void flags_restore(status_flags flags)
{
    fesetexceptflag(&flags, FE_ALL_EXCEPT);
}
#endif

#endif
