/* The budget: how many threads compute in parallel calls of this process, and how many may.
 *
 * - Callers and workers of all engines are counted, also those of the Python side: thread pools,
 *   BLAS, processes. What runs serially because it is small is not.
 * - A caller always goes on: its thread is the program's own. Where callers come on top of what may
 *   run, workers step back when they next look.
 * - A thread that is counted already is not counted again: a call inside a call runs serially.
 * - A forked child begins with nobody.
 */
#ifndef BACKENDS_BUDGET_H
#define BACKENDS_BUDGET_H

#include <stdbool.h>

#ifdef _WIN32
#define BUDGET_EXPORTED __declspec(dllexport)
#else
#define BUDGET_EXPORTED __attribute__((visibility("default")))
#endif

/* What a call was granted: threads, the caller's own counted, and how many of all calls together
 * may run while its workers do. No threads: it is not counted, and runs serially. */
struct share {
    int threads, allowed;
};

/* Registers what happens after fork; once, before all else. Gives 0, or an error number. */
int budget_start(void);

/* Says how many cores this process may use, where that is fewer than OpenMP sees. */
void budget_set_cores(int cores);

/* A limit of all threads of this process, which threadpoolctl sets through these two; all else in
 * this extension is hidden. As many as there are cores, or more, are no limit. */
BUDGET_EXPORTED int array_backends_get_num_threads(void);
BUDGET_EXPORTED void array_backends_set_num_threads(int threads);

/* How many of `wanted` threads a call in this thread may have at best, whoever else computes. */
int budget_allows(int wanted);

/* Grants what is free of `wanted` threads, at least the caller's own. A team has at most as many as
 * OpenMP allows in this thread; others only where that was set lower than there are cores, so that
 * they may be more than cores where the user asks for it. */
struct share budget_take(int wanted, bool team);

/* Ends the count of so many threads. */
void budget_give(int threads);

/* Ends the count of one worker where more than `allowed` run; it must stop then. */
bool budget_step_back(int allowed);

/* Threads that are counted. */
int budget_taken(void);

/* Marks what the current thread does from here to the end as work on a piece of a team's call; and
 * gives the most of them at once since the last look. */
void budget_begin(void);
void budget_end(void);
int budget_busiest(void);

/* As budget_take for the current thread, which remembers it; give ends what is left of it once
 * `stepped_back` workers have ended their own, and nothing where nothing was taken. */
struct share budget_hold(int wanted);
void budget_release(int stepped_back);

/* Marks the current thread as one that somebody has counted; gives what it was before. */
bool budget_mark(bool counted);

/* Tells whether the current thread is counted. */
bool budget_counts_me(void);

#endif
