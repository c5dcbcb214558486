#ifdef __linux__
#define _GNU_SOURCE /* mremap */
#endif

#include "pool.h"

#include <stdlib.h>

#ifdef _WIN32
#include <windows.h>
#else
#include <pthread.h>
#include <sys/mman.h>
#endif

/* Size classes between one power of two and the next. */
enum { STEPS_LOG2 = 3, STEPS = 1 << STEPS_LOG2 };
enum { CLASSES = 64 * STEPS };
/* Lists of blocks in use: more blocks than a few thousand make the lists longer, no more. */
enum { LISTS_LOG2 = 12 };
/* NumPy's: blocks from this size may have huge pages. */
static const size_t HUGE_FROM = (size_t)4 << 20;

struct block {
    void *address;
    size_t capacity;
    /* In a list of those in use, only `next` counts. */
    struct block *next, *previous;
    uint64_t freed;
};

/* Kept blocks of one size, the one freed last in front: its content may still be in a cache. */
struct shelf {
    struct block *newest, *oldest;
};

static struct shelf shelves[CLASSES];
static struct block *in_use[1 << LISTS_LOG2];
/* Of all addresses that were ever given. */
_Atomic uintptr_t pool_low = UINTPTR_MAX, pool_high = 0;
static struct pool_counts counts;
static bool huge_pages;
static uint64_t now;

/* --- the system ------------------------------------------------------------------------------- */

#ifdef _WIN32

static SRWLOCK mutex = SRWLOCK_INIT;

static void lock(void)
{
    AcquireSRWLockExclusive(&mutex);
}

static void unlock(void)
{
    ReleaseSRWLockExclusive(&mutex);
}

int pool_start(void)
{
    return 0;
}

static void *map(size_t size)
{
    return VirtualAlloc(NULL, size, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
}

static void unmap(void *address, size_t size)
{
    (void)size;
    VirtualFree(address, 0, MEM_RELEASE);
}

#else

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static void lock(void)
{
    pthread_mutex_lock(&mutex);
}

static void unlock(void)
{
    pthread_mutex_unlock(&mutex);
}

/* The thread that forks holds the mutex meanwhile, so that the child's lists are whole. */
int pool_start(void)
{
    return pthread_atfork(lock, unlock, unlock);
}

static void *map(size_t size)
{
    void *address = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return address == MAP_FAILED ? NULL : address;
}

static void unmap(void *address, size_t size)
{
    munmap(address, size);
}

#endif

/* Lets the system use huge pages where NumPy would. */
static void advise(void *address, size_t size, bool huge)
{
#ifdef MADV_HUGEPAGE
    if (huge && size >= HUGE_FROM) {
        madvise(address, size, MADV_HUGEPAGE);
    }
#else
    (void)address, (void)size, (void)huge;
#endif
}

/* --- sizes ------------------------------------------------------------------------------------ */

static int log2_of(size_t size)
{
    int log2 = 0;
    while (size >>= 1) {
        log2++;
    }
    return log2;
}

/* Distance of the classes around `size`. */
static size_t step_of(size_t size)
{
    return (size_t)1 << (log2_of(size) - STEPS_LOG2);
}

/* `size` is at most half of all addresses: nothing overflows. */
static size_t round_up(size_t size)
{
    const size_t step = step_of(size);
    return (size + step - 1) / step * step;
}

static struct shelf *shelf_of(size_t capacity)
{
    return &shelves[log2_of(capacity) * STEPS + (int)(capacity / step_of(capacity)) - STEPS];
}

/* --- lists, all with the mutex held ------------------------------------------------------------ */

static struct block **list_of(const void *address)
{
    /* The product's high bits depend on all bits of the address, also where blocks are apart by a
     * power of two. */
    return &in_use[(uint64_t)((uintptr_t)address / POOL_PAGE) * 0x9E3779B97F4A7C15u >> (64 - LISTS_LOG2)];
}

/* Gives the link that leads to a block in use; to NULL for what is not the pool's. */
static struct block **find(const void *address)
{
    struct block **link = list_of(address);
    while (*link && (*link)->address != address) {
        link = &(*link)->next;
    }
    return link;
}

static void use(struct block *block)
{
    struct block **list = list_of(block->address);
    block->next = *list;
    *list = block;
    const uintptr_t at = (uintptr_t)block->address;
    if (at < atomic_load_explicit(&pool_low, memory_order_relaxed)) {
        atomic_store_explicit(&pool_low, at, memory_order_relaxed);
    }
    if (at > atomic_load_explicit(&pool_high, memory_order_relaxed)) {
        atomic_store_explicit(&pool_high, at, memory_order_relaxed);
    }
}

static void keep(struct block *block)
{
    struct shelf *shelf = shelf_of(block->capacity);
    block->freed = now++;
    block->previous = NULL;
    block->next = shelf->newest;
    *(shelf->newest ? &shelf->newest->previous : &shelf->oldest) = block;
    shelf->newest = block;
    counts.kept += block->capacity;
}

static struct block *unkeep(struct shelf *shelf, struct block *block)
{
    *(block->previous ? &block->previous->next : &shelf->newest) = block->next;
    *(block->next ? &block->next->previous : &shelf->oldest) = block->previous;
    counts.kept -= block->capacity;
    return block;
}

/* Takes the blocks that were freed longest ago from the shelves until `most` bytes are left: a list,
 * to be given back without the mutex, for the system may take milliseconds. */
static struct block *surplus(size_t most)
{
    struct block *list = NULL;
    while (counts.kept > most) {
        struct shelf *oldest = NULL;
        for (struct shelf *shelf = shelves; shelf < shelves + CLASSES; shelf++) {
            if (shelf->oldest && (!oldest || shelf->oldest->freed < oldest->oldest->freed)) {
                oldest = shelf;
            }
        }
        struct block *block = unkeep(oldest, oldest->oldest);
        block->next = list;
        list = block;
    }
    return list;
}

/* --- without the mutex ------------------------------------------------------------------------- */

static size_t give_back(struct block *list)
{
    size_t bytes = 0;
    while (list) {
        struct block *block = list;
        list = block->next;
        bytes += block->capacity;
        unmap(block->address, block->capacity);
        free(block);
    }
    return bytes;
}

void pool_set(size_t cap, bool huge)
{
    lock();
    counts.cap = cap;
    huge_pages = huge;
    struct block *list = surplus(cap);
    unlock();
    give_back(list);
}

void *pool_take(size_t size, bool *zeroed)
{
    *zeroed = false;
    if (size < POOL_LEAST || size > SIZE_MAX / 2) {
        return NULL;
    }
    const size_t capacity = round_up(size);
    struct shelf *shelf = shelf_of(capacity);
    lock();
    if (capacity > counts.cap) {
        unlock();
        return NULL;
    }
    const bool huge = huge_pages;
    if (shelf->newest) {
        struct block *block = unkeep(shelf, shelf->newest);
        counts.reused++;
        use(block);
        void *address = block->address;
        unlock();
        return address;
    }
    unlock();

    struct block *block = malloc(sizeof *block);
    void *address = block ? map(capacity) : NULL;
    if (!address) {
        free(block);
        return NULL;
    }
    advise(address, capacity, huge);
    *block = (struct block){.address = address, .capacity = capacity};
    *zeroed = true;
    lock();
    counts.fresh++;
    use(block);
    unlock();
    return address;
}

bool pool_give(void *address)
{
    lock();
    struct block **link = find(address), *block = *link;
    struct block *list = NULL;
    if (block) {
        *link = block->next;
        if (block->capacity <= counts.cap) {
            keep(block);
            list = surplus(counts.cap);
        }
        else {
            block->next = NULL;
            list = block;
        }
    }
    unlock();
    give_back(list);
    return block;
}

size_t pool_capacity(void *address)
{
    lock();
    const struct block *block = *find(address);
    const size_t capacity = block ? block->capacity : 0;
    unlock();
    return capacity;
}

void *pool_resize(void *address, size_t size)
{
#ifdef MREMAP_MAYMOVE
    if (size < POOL_LEAST || size > SIZE_MAX / 2) {
        return NULL;
    }
    const size_t capacity = round_up(size);
    lock();
    struct block **link = find(address), *block = *link;
    *link = block->next;
    const bool huge = huge_pages;
    unlock();
    /* Pages move without being copied, as with malloc. */
    void *moved = mremap(address, block->capacity, capacity, MREMAP_MAYMOVE);
    if (moved != MAP_FAILED) {
        block->address = moved;
        block->capacity = capacity;
        advise(moved, capacity, huge);
    }
    lock();
    use(block);
    unlock();
    return moved == MAP_FAILED ? NULL : moved;
#else
    (void)address, (void)size;
    return NULL;
#endif
}

size_t pool_trim(void)
{
    lock();
    struct block *list = surplus(0);
    unlock();
    return give_back(list);
}

struct pool_counts pool_count(void)
{
    lock();
    const struct pool_counts copy = counts;
    unlock();
    return copy;
}
