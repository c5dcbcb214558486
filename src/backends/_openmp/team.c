#ifdef __linux__
#define _GNU_SOURCE /* sched_getcpu */
#endif

#include "team.h"

#include <fenv.h>
#include <math.h>
#include <omp.h>
#include <stdatomic.h>
#include <stdbool.h>

#ifndef _WIN32
#include <pthread.h>
#include <sched.h>
#endif
#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif

/* Pieces a thread: a core that is slower or busy then leaves more of them to the others. */
enum { PIECES_PER_THREAD = 8 };
/* Looks at the other threads before a thread that waits for them lets others run. */
enum { LOOKS = 1000 };
enum { TRIES = 20 };
/* Sizes of teams whose cost is told apart; larger ones count as the largest. */
enum { MOST_KNOWN = 64 };

static atomic_bool forked;
/* Seconds that a region takes by itself: with threads that wait for work, and with threads that
 * sleep, about the median of what was seen. 0: not known yet. */
static _Atomic double awake_costs[MOST_KNOWN], asleep_cost;
/* When this thread's team last ended. OpenMP has a team for each thread that calls. */
static _Thread_local double last_end;
/* Seconds after which threads of a team may sleep; GNU's and LLVM's wait longer. */
static const double AWAKE = 1e-3;
/* What waking is taken to cost at most before it was seen more than once, in seconds; and the factor
 * by which that estimate changes each time. */
static const double FIRST_ASLEEP = 2e-4, STEP = 1.25;
/* Seconds that a region takes at most where nothing disturbs; and after how many calls that were not
 * shared for want of that it is looked at again: that adds less than a twentieth to them. */
static const double GOOD = 2e-5;
enum { REFUSALS = 64 };

#ifndef _WIN32
/* GCOV_EXCL_START: what a forked child counts is lost */
static void in_forked_child(void)
{
    atomic_store(&forked, true);
}
/* GCOV_EXCL_STOP */
#endif

int team_start(void)
{
#ifndef _WIN32
    const int failed = budget_start();
    return failed ? failed : pthread_atfork(NULL, NULL, in_forked_child);
#else
    return budget_start();
#endif
}

double team_clock(void)
{
    return omp_get_wtime();
}

struct share team_take(int wanted)
{
    if (atomic_load_explicit(&forked, memory_order_relaxed) || omp_in_parallel()) {
        return (struct share){0, 0};
    }
    return budget_take(wanted, true);
}

#ifdef __linux__
/* Where a team's caller computes, so that its workers compute elsewhere. */
struct place {
    int cpu;
    pid_t thread;
};

static struct place here(void)
{
    const bool theirs = omp_get_proc_bind() != omp_proc_bind_false;
    return (struct place){theirs ? -1 : sched_getcpu(), (pid_t)syscall(SYS_gettid)};
}

/* A worker that slept may wake on the very core where its caller computes, and stay there for
 * milliseconds while another core idles (`python benchmarks/openmp.py team` measures regions).
 * Where the user has bound threads to cores (OMP_PROC_BIND), that stands. */
static void keep_off(struct place caller)
{
    static _Thread_local int kept_off = -1;
    cpu_set_t allowed;
    if (caller.cpu < 0 || caller.cpu == kept_off
        || sched_getaffinity(caller.thread, sizeof allowed, &allowed)) {
        return;
    }
    CPU_CLR((size_t)caller.cpu, &allowed);
    if (CPU_COUNT(&allowed) > 0 && !sched_setaffinity(0, sizeof allowed, &allowed)) {
        kept_off = caller.cpu;
    }
}
#else
struct place {
    int cpu;
};

static struct place here(void)
{
    return (struct place){-1};
}

static void keep_off(struct place caller)
{
    (void)caller;
}
#endif

static void let_others_run(void)
{
#ifndef _WIN32
    sched_yield();
#endif
}

static void run_alone(struct share share, ptrdiff_t length, team_work *work, const void *context)
{
    budget_begin();
    work(context, 0, length);
    budget_end();
    budget_give(share.threads);
}

void team_run(struct share share, ptrdiff_t length, struct cut cut, team_work *work,
              const void *context)
{
    if (share.threads < 2) {
        run_alone(share, length, work, context);
        return;
    }
    const ptrdiff_t grain = cut.grain, grains = (length + grain - 1) / grain;
    ptrdiff_t pieces = (ptrdiff_t)share.threads * PIECES_PER_THREAD;
    if (pieces < length / cut.most) {
        pieces = length / cut.most;
    }
    /* Each piece at least a grain, and as even as grains allow. */
    if (pieces > grains) {
        pieces = grains;
    }
    atomic_ptrdiff_t next = 0;
    atomic_int raised = 0, done = 0, stepped_back = 0;
    const struct place caller = here();
    const double start = team_clock();
    const bool awake = start - last_end < AWAKE;
    _Atomic double late = 0.0;
    fenv_t environment;
    fegetenv(&environment);
    const int before = fetestexcept(FE_ALL_EXCEPT);

#pragma omp parallel num_threads(share.threads)
    {
        const bool is_caller = omp_get_thread_num() == 0;
        if (!is_caller) {
            if (!awake) {
                atomic_store(&late, team_clock() - start);
            }
            keep_off(caller);
        }
        fenv_t own;
        fegetenv(&own);
        fesetenv(&environment);
        feclearexcept(FE_ALL_EXCEPT);
        bool begun = false;
        for (;;) {
            if (!is_caller && budget_step_back(share.allowed)) {
                atomic_fetch_add(&stepped_back, 1);
                break;
            }
            const ptrdiff_t piece = atomic_fetch_add_explicit(&next, 1, memory_order_relaxed);
            if (piece >= pieces) {
                break;
            }
            if (!begun) {
                budget_begin();
                begun = true;
            }
            const ptrdiff_t begin = grains * piece / pieces * grain;
            ptrdiff_t end = grains * (piece + 1) / pieces * grain;
            if (end > length) {
                end = length;
            }
            work(context, begin, end);
        }
        if (begun) {
            budget_end();
        }
        atomic_fetch_or_explicit(&raised, fetestexcept(FE_ALL_EXCEPT), memory_order_relaxed);
        /* Others who use OpenMP from this thread have the same workers. */
        fesetenv(&own);
        atomic_fetch_add(&done, 1);
        /* Here and not at the region's end, where OpenMP spins for milliseconds without letting
         * a worker run that woke on this core. */
        const int all = omp_get_num_threads();
        for (int looks = 0; is_caller && atomic_load(&done) < all; looks++) {
            if (looks >= LOOKS) {
                let_others_run();
            }
        }
    }

    feclearexcept(FE_ALL_EXCEPT);
    feraiseexcept(before | atomic_load(&raised));
    budget_give(share.threads - atomic_load(&stepped_back));
    if (!awake) {
        /* Steps towards the median: one worker that the system woke ten milliseconds late would
         * make an average forbid teams for calls that they halve. */
        const double cost = atomic_load(&asleep_cost), seen = atomic_load(&late);
        const double step = seen > cost ? STEP : 1.0 / STEP;
        atomic_store(&asleep_cost, cost > 0.0 ? cost * step : fmin(seen, FIRST_ASLEEP));
    }
    last_end = team_clock();
}

static void nothing(const void *context, ptrdiff_t begin, ptrdiff_t end)
{
    (void)context, (void)begin, (void)end;
}

double team_region(int wanted)
{
    const struct share share = team_take(wanted);
    const double start = team_clock();
    team_run(share, share.threads, (struct cut){1, 1}, nothing, NULL);
    return share.threads < 2 ? 0.0 : team_clock() - start;
}

/* The best of some tries. */
static double measure_awake(int wanted)
{
    double best = 0.0;
    for (int i = 0; i < TRIES; i++) {
        const double took = team_region(wanted);
        best = took > 0.0 && (best == 0.0 || took < best) ? took : best;
    }
    return best;
}

/* Work for which half of what sharing saves is spent on sharing. */
static double least_work(int wanted, double cost)
{
    return 2.0 * cost * wanted / (wanted - 1);
}

double team_least_work(int wanted)
{
    if (wanted < 2) {
        return 0.0; /* and above all, no division by 0: the caller would find the status flag */
    }
    _Atomic double *const known = &awake_costs[wanted < MOST_KNOWN ? wanted : MOST_KNOWN - 1];
    double cost = atomic_load(known);
    if (cost == 0.0) {
        cost = measure_awake(wanted);
        atomic_store(known, cost);
    }
    return least_work(wanted, cost);
}

/* The cost was measured once, maybe while something kept the workers from running: it would then
 * forbid teams for as long as the process lives. Calls that are long enough for a good team look
 * again from time to time. */
/* GCOV_EXCL_START: test_team_costs.py runs it in a program of its own */
static void look_again(int wanted)
{
    static atomic_int refused;
    _Atomic double *const known = &awake_costs[wanted < MOST_KNOWN ? wanted : MOST_KNOWN - 1];
    const double cost = atomic_load(known);
    if (cost > GOOD && atomic_fetch_add(&refused, 1) % REFUSALS == 0) {
        const double took = team_region(wanted);
        if (took > 0.0 && took < cost) {
            atomic_store(known, took);
        }
    }
}
/* GCOV_EXCL_STOP */

bool team_pays(int wanted, double seconds, bool pays_awake)
{
    const double least = team_least_work(wanted);
    if (least == 0.0) {
        return false;
    }
    if (seconds < least && !pays_awake) {
        if (seconds > GOOD) {
            look_again(wanted);
        }
        return false;
    }
    if (last_end > 0.0 && team_clock() - last_end < AWAKE) {
        return true;
    }
    const double cost = atomic_load(&asleep_cost);
    if (seconds >= least_work(wanted, cost)) {
        return true;
    }
    /* An estimate that was unlucky is not kept for ever; where it is less than what waking takes
     * at best, it says nothing any more, and must not come near underflow. */
    if (cost > 1e-7) {
        atomic_store(&asleep_cost, 0.98 * cost);
    }
    return false;
}
