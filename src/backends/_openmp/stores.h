/* Stores past the caches: memory is not read before it is overwritten, and caches keep what they
 * have. A copy where the processor has no such stores. */
#ifndef BACKENDS_STORES_H
#define BACKENDS_STORES_H

#include <stdint.h>
#include <string.h>

#if defined(__SSE2__)
#include <immintrin.h>

#if defined(__AVX__)
#define STORE_BYTES 32
static inline void store_past_caches(char *to, const char *from)
{
    _mm256_stream_si256((__m256i *)to, _mm256_loadu_si256((const __m256i *)from));
}
#else
#define STORE_BYTES 16
static inline void store_past_caches(char *to, const char *from)
{
    _mm_stream_si128((__m128i *)to, _mm_loadu_si128((const __m128i *)from));
}
#endif

static inline void copy_past_caches(char *to, const char *from, intptr_t size)
{
    intptr_t head = -(intptr_t)to & (STORE_BYTES - 1);
    if (head > size) {
        head = size;
    }
    memcpy(to, from, (size_t)head);
    to += head, from += head, size -= head;
    for (; size >= STORE_BYTES; to += STORE_BYTES, from += STORE_BYTES, size -= STORE_BYTES) {
        store_past_caches(to, from);
    }
    memcpy(to, from, (size_t)size);
}

/* Such stores are ordered by nothing else: before another thread may read them. */
static inline void end_of_stores(void)
{
    _mm_sfence();
}
#else
static inline void copy_past_caches(char *to, const char *from, intptr_t size)
{
    memcpy(to, from, (size_t)size);
}

static inline void end_of_stores(void) {}
#endif

#endif
