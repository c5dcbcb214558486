/* The team: OpenMP threads that share one loop, and what keeps them from doing harm.
 *
 * - As many threads as the caller wants, at most omp_get_max_threads(), so that OMP_NUM_THREADS,
 *   threadpoolctl and joblib bound them, and at most what other calls leave of the cores; workers
 *   step back where other callers come (budget.h).
 * - One thread inside another parallel region, and in a forked child: OpenMP does not survive fork.
 * - Workers compute in the caller's floating-point environment; what status flags they raise are
 *   raised in the caller.
 */
#ifndef BACKENDS_TEAM_H
#define BACKENDS_TEAM_H

#include <stdbool.h>
#include <stddef.h>

#include "budget.h"

/* Does items begin <= i < end of `context`. */
typedef void team_work(const void *context, ptrdiff_t begin, ptrdiff_t end);

/* Registers what happens after fork; once, before all else. Gives 0, or an error number. */
int team_start(void);

/* Takes up to `wanted` threads for a call that is worth a team; what it gives must be given to
 * team_run. No threads: do it serially. */
struct share team_take(int wanted);

/* How a call is cut: into pieces of a multiple of `grain` items (the last may be shorter), of some
 * `most` at most, so that workers soon look again whether they may go on. */
struct cut {
    ptrdiff_t grain, most;
};

/* Does items 0 <= i < length on the threads of `share`, and gives them back. Returns when all is
 * done. */
void team_run(struct share share, ptrdiff_t length, struct cut cut, team_work *work,
              const void *context);

/* Seconds on a clock that only goes forward. */
double team_clock(void);

/* Seconds that a region takes in which nothing is done; 0 where there is but one thread. */
double team_region(int wanted);

/* Seconds of work from which sharing it among `wanted` threads that are awake pays; 0 where no team
 * can be had. */
double team_least_work(int wanted);

/* Tells whether sharing so many seconds of work pays now: waking threads that sleep takes longer
 * than telling those that still wait for work, with which it may be known to pay. */
bool team_pays(int wanted, double seconds, bool pays_awake);

#endif
