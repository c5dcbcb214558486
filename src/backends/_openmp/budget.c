#include "budget.h"

#include <limits.h>
#include <omp.h>
#include <stdatomic.h>

#ifndef _WIN32
#include <pthread.h>
#endif

static atomic_int cores = INT_MAX;
/* What array_backends_set_num_threads set. */
static atomic_int limit = INT_MAX;
/* Threads that are counted. */
static atomic_int taken;
/* Threads that are at work on pieces, and the most at once. */
static atomic_int at_work, most_at_work;
/* What this thread took for its call, and whether it works for another's. */
static _Thread_local int held;
static _Thread_local bool marked;
#ifdef __clang__
/* Whether a team was wanted. */
static atomic_bool openmp_is_used;
#endif

#ifndef _WIN32
/* GCOV_EXCL_START: what a forked child counts is lost */
static void in_forked_child(void)
{
    atomic_store(&taken, 0);
    atomic_store(&at_work, 0);
    held = 0;
    marked = false;
}
/* GCOV_EXCL_STOP */
#endif

int budget_start(void)
{
#ifndef _WIN32
    return pthread_atfork(NULL, NULL, in_forked_child);
#else
    return 0;
#endif
}

void budget_set_cores(int usable)
{
    atomic_store(&cores, usable);
}

static int least(int a, int b)
{
    return a < b ? a : b;
}

int array_backends_get_num_threads(void)
{
    return least(atomic_load(&cores), atomic_load(&limit));
}

void array_backends_set_num_threads(int threads)
{
    if (threads > 0) {
        atomic_store(&limit, threads < atomic_load(&cores) ? threads : INT_MAX);
    }
}

static int allowed_for(int wanted, bool team)
{
    const int usable = atomic_load_explicit(&cores, memory_order_relaxed);
#ifdef __clang__
    /* LLVM's library ends a process in which there is another copy of it, when it is first asked
     * anything: only who wants a team takes that risk. */
    if (team) {
        atomic_store(&openmp_is_used, true);
    }
    else if (!atomic_load(&openmp_is_used)) {
        return wanted > usable ? wanted : usable;
    }
#endif
    const int of_thread = least(omp_get_max_threads(), omp_get_thread_limit());
    if (wanted <= usable && usable < INT_MAX) {
        return least(usable, of_thread);
    }
    const int seen = omp_get_num_procs();
    const int own = least(usable, seen), asked = wanted > own ? wanted : own;
    return team || of_thread < seen ? least(asked, of_thread) : asked;
}

int budget_allows(int wanted)
{
    return least(wanted, least(allowed_for(wanted, false), atomic_load(&limit)));
}

struct share budget_take(int wanted, bool team)
{
    if (wanted < 2 || budget_counts_me()) {
        return (struct share){0, 0};
    }
    const int allowed = least(allowed_for(wanted, team), atomic_load(&limit));
    int now = atomic_load(&taken), granted;
    do {
        granted = least(wanted, allowed - now);
        granted = granted < 1 ? 1 : granted;
    } while (!atomic_compare_exchange_weak(&taken, &now, now + granted));
    return (struct share){granted, allowed};
}

void budget_give(int threads)
{
    atomic_fetch_sub(&taken, threads);
}

bool budget_step_back(int allowed)
{
    int now = atomic_load_explicit(&taken, memory_order_relaxed);
    while (now > allowed) {
        if (atomic_compare_exchange_weak(&taken, &now, now - 1)) {
            return true;
        }
    }
    return false;
}

int budget_taken(void)
{
    return atomic_load(&taken);
}

void budget_begin(void)
{
    const int now = atomic_fetch_add(&at_work, 1) + 1;
    int most = atomic_load_explicit(&most_at_work, memory_order_relaxed);
    while (now > most && !atomic_compare_exchange_weak(&most_at_work, &most, now)) {
    }
}

void budget_end(void)
{
    atomic_fetch_sub(&at_work, 1);
}

int budget_busiest(void)
{
    return atomic_exchange(&most_at_work, atomic_load(&at_work));
}

struct share budget_hold(int wanted)
{
    const struct share share = budget_take(wanted, false);
    held += share.threads;
    return share;
}

void budget_release(int stepped_back)
{
    if (held) {
        budget_give(held - stepped_back);
        held = 0;
    }
}

bool budget_mark(bool counted)
{
    const bool before = marked;
    marked = counted;
    return before;
}

bool budget_counts_me(void)
{
    return held || marked;
}
