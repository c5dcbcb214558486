/* The pool: large blocks of memory that are kept when they are freed, for the next who asks.
 *
 * - What a fresh block costs is page faults, about as much as the arithmetic done on it.
 * - Blocks come from the system by pages, zeroed and not touched, and go back to it whole.
 * - Sizes are rounded up by an eighth at most, so that a block fits who asks for about as much.
 * - What is kept stays within a cap; the block that was freed longest ago goes first.
 * - Addresses are looked up: a block is recognised by nothing that lies in memory of others.
 * - Any thread may call anything; a forked child has a pool of its own.
 */
#ifndef BACKENDS_POOL_H
#define BACKENDS_POOL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes from which blocks come from the pool. glibc keeps smaller ones in its heap; from here on it
 * may ask the system for each block, and gives back what a function's temporaries had, each time
 * (mallopt(3), M_MMAP_THRESHOLD and M_TRIM_THRESHOLD). A function with four temporaries of 128 KiB
 * to 2 MiB then takes 7 to 22 times as long as with `out=`, one of 64 KiB no longer
 * (`python benchmarks/memory.py temporaries`). */
#define POOL_LEAST ((size_t)128 << 10)

struct pool_counts {
    size_t kept, cap;     /* in bytes */
    size_t reused, fresh; /* blocks given out since the beginning */
};

/* Registers what happens around fork; once, before all else. Gives 0, or an error number. */
int pool_start(void);

/* Keeps at most `cap` bytes from here on, and gives back what is more. With 0 the pool gives out
 * nothing either. Where `huge` is set, pages of large blocks may be huge ones (Linux). */
void pool_set(size_t cap, bool huge);

/* Gives a block, and tells in `zeroed` whether it is known to be all zero. NULL where the size is not
 * for the pool, being small or above the cap, or where there is no memory. */
void *pool_take(size_t size, bool *zeroed);

/* No page is smaller, so that no address of the pool's has other low bits; and none lies outside what
 * the pool has ever had. A glance tells nearly all of malloc's apart. */
enum { POOL_PAGE = 4096 };
extern _Atomic uintptr_t pool_low, pool_high;

static inline bool pool_may_own(const void *address)
{
    const uintptr_t at = (uintptr_t)address;
    return at % POOL_PAGE == 0 && at >= atomic_load_explicit(&pool_low, memory_order_relaxed)
           && at <= atomic_load_explicit(&pool_high, memory_order_relaxed);
}

/* Takes a block back; false, and nothing done, for one that is not the pool's. */
bool pool_give(void *address);

/* Gives the usable bytes of a block; 0 for one that is not the pool's. */
size_t pool_capacity(void *address);

/* Makes a block of the pool larger or smaller, its content kept; NULL where that cannot be, with the
 * block as it was. */
void *pool_resize(void *address, size_t size);

/* Gives back what is kept; how many bytes that were. */
size_t pool_trim(void);

struct pool_counts pool_count(void);

#endif
