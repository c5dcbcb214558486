/* The team: OpenMP threads that share one loop, and what keeps them from doing harm.
 *
 * - As many threads as the caller wants, at most omp_get_max_threads(), so that OMP_NUM_THREADS,
 *   threadpoolctl and joblib bound them, and at most what other callers' teams leave of the cores.
 * - One thread inside another parallel region, and in a forked child: OpenMP does not survive fork.
 * - Workers compute in the caller's floating-point environment; what status flags they raise are
 *   raised in the caller.
 */
#ifndef BACKENDS_TEAM_H
#define BACKENDS_TEAM_H

#include <stdbool.h>
#include <stddef.h>

/* Does items begin <= i < end of `context`. */
typedef void team_work(const void *context, ptrdiff_t begin, ptrdiff_t end);

/* Registers what happens after fork; once, before all else. Gives 0, or an error number. */
int team_start(void);

/* Takes up to `wanted` threads, the caller's own counted, and gives how many: 1 is no team. */
int team_take(int wanted);

/* Does items 0 <= i < length in pieces of a multiple of `grain` (the last may be shorter) on the
 * `threads` that team_take gave, and gives them back. Returns when all is done. */
void team_run(int threads, ptrdiff_t length, ptrdiff_t grain, team_work *work, const void *context);

/* Seconds on a clock that only goes forward. */
double team_clock(void);

/* Seconds that a region takes in which nothing is done; 0 where there is but one thread. */
double team_region(int wanted);

/* Seconds of work from which sharing it among `wanted` threads that are awake pays; 0 where no team
 * can be had. */
double team_least_work(int wanted);

/* Tells whether sharing so many seconds of work pays now: waking threads that sleep takes longer
 * than telling those that still wait for work. */
bool team_pays(int wanted, double seconds);

#endif
