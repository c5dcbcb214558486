#include "loops.h"

#include <math.h>
#include <string.h>

#include "budget.h"

/* Elements whose time tells what an element costs, and how often that is looked at: the least
 * counts, since interruptions only add. */
enum { PROBE = 1024, PROBES = 8 };
/* Seconds of work in a piece, at least: taking one takes a hundredth of that; and at most: for so
 * long a worker does not see that other callers have come. */
static const double PIECE = 5e-6, LONGEST = 5e-4;
/* Elements of a piece at most where nothing is measured. */
enum { MOST_UNKNOWN = 1 << 16 };

static void negate(char *x, intptr_t n, intptr_t step, int size)
{
    /* The sign is in the last byte, or with the other byte order in the first. */
    const int last = *(const char *)&(const int){1} ? size - 1 : 0;
    for (intptr_t i = 0; i < n; i++) {
        x[i * step + last] = (char)(x[i * step + last] ^ 0x80);
    }
}

static void exact_loop(char **args, const intptr_t *dimensions, const intptr_t *steps, void *data)
{
    const struct loop *loop = data;
    char *own[MOST_ARGS]; /* some of SciPy's loops step the pointers that they are given */
    memcpy(own, args, (size_t)loop->nargs * sizeof *args);
    loop->exact(own, dimensions, steps, loop->exact_data);
    if (loop->negated) {
        negate(args[loop->nin], dimensions[0], steps[loop->nin], loop->sizes[loop->nin]);
    }
}

static void stream(const struct loop *loop, char **args, intptr_t n, const intptr_t *steps)
{
    stream_function *const function =
        loop->single ? loop->fast->stream_float : loop->fast->stream_double;
    const int size = loop->sizes[0], out = loop->nin;
    __attribute__((aligned(64))) double scalar[BLOCK];
    for (int k = 0; k < loop->nin; k++) {
        if (steps[k]) {
            continue;
        }
        /* Against a scalar, which is made a block long. */
        for (int i = 0; i < BLOCK; i++) {
            memcpy((char *)scalar + i * size, args[k], (size_t)size);
        }
        for (intptr_t start = 0; start < n; start += BLOCK) {
            const void *other = args[1 - k] + start * size;
            function(k ? other : scalar, k ? scalar : other, args[out] + start * size,
                     n - start < BLOCK ? n - start : BLOCK);
        }
        return;
    }
    function(args[0], args[out - 1], args[out], n);
}

void loop_serially(const struct loop *loop, char **args, intptr_t n, const intptr_t *steps,
                   bool streams)
{
    if (loop->fast && loop->fast->block) {
        loop->instructions->loop(loop->fast->block, exact_loop, (void *)loop, loop->single,
                                 streams, args, n, steps);
    }
    else if (streams) {
        stream(loop, args, n, steps);
    }
    else {
        exact_loop(args, &n, steps, (void *)loop);
    }
}

struct range {
    uintptr_t low, high;
};

static struct range touched(const char *arg, intptr_t n, intptr_t step, int size)
{
    const uintptr_t first = (uintptr_t)arg, last = first + (uintptr_t)((n - 1) * step);
    return step < 0 ? (struct range){last, first + (uintptr_t)size}
                    : (struct range){first, last + (uintptr_t)size};
}

bool loop_divides(const struct loop *loop, char **args, intptr_t n, const intptr_t *steps)
{
    for (int k = loop->nin; k < loop->nargs; k++) {
        if (steps[k] < loop->sizes[k] && -steps[k] < loop->sizes[k]) {
            return false;
        }
        const struct range written = touched(args[k], n, steps[k], loop->sizes[k]);
        for (int j = 0; j < loop->nargs; j++) {
            const struct range other = touched(args[j], n, steps[j], loop->sizes[j]);
            const bool same =
                args[j] == args[k] && steps[j] == steps[k] && loop->sizes[j] == loop->sizes[k];
            if (j != k && written.low < other.high && other.low < written.high
                && !(same && j < loop->nin)) {
                return false;
            }
        }
    }
    return true;
}

bool loop_streams(const struct loop *loop, char **args, intptr_t n, const intptr_t *steps)
{
    const int out = loop->nin;
    if (!loop->fast || steps[out] != loop->sizes[out] || loop->nargs != out + 1) {
        return false;
    }
    intptr_t bytes = n * loop->sizes[out], scalars = 0;
    for (int k = 0; k < out; k++) {
        if (args[k] == args[out]) {
            return false; /* what is written is in a cache already */
        }
        scalars += !steps[k];
        bytes += n * (steps[k] < 0 ? -steps[k] : steps[k]);
        if (!loop->fast->block && steps[k] && steps[k] != loop->sizes[k]) {
            return false;
        }
    }
    return scalars < (loop->fast->block ? 1 : out) && bytes >= loop->stream_threshold;
}

static void do_elements(const void *context, ptrdiff_t begin, ptrdiff_t end)
{
    const struct call *call = context;
    char *args[MOST_ARGS];
    for (int k = 0; k < call->loop->nargs; k++) {
        args[k] = call->args[k] + begin * call->steps[k];
    }
    loop_serially(call->loop, args, end - begin, call->steps, call->streams);
}

void loop_learn(struct loop *loop, int jobs, double seconds, intptr_t elements)
{
    if (atomic_load_explicit(&loop->probes, memory_order_relaxed) < PROBES) {
        atomic_fetch_add(&loop->probes, 1);
    }
    const double cost = seconds / (double)elements, least = atomic_load(&loop->cost);
    if (cost > 0.0 && (least == 0.0 || cost < least)) {
        atomic_store(&loop->cost, cost);
        /* 0 where there is no team, for one job or just now: nothing is learnt of it then. */
        const double work = team_least_work(jobs);
        if (work > 0.0 && !loop->fixed_threshold && !atomic_load(&loop->known_threshold)) {
            atomic_store(&loop->threshold, (intptr_t)fmin(work / cost, 1e9));
        }
    }
}

/* Computes the first elements, which tell what an element costs, until that is known. */
static void probe(struct call *call)
{
    struct loop *loop = call->loop;
    if (atomic_load_explicit(&loop->probes, memory_order_relaxed) >= PROBES || call->n <= PROBE) {
        return;
    }
    const double start = team_clock();
    loop_serially(loop, call->args, PROBE, call->steps, false);
    loop_learn(loop, call->jobs, team_clock() - start, PROBE);
    for (int k = 0; k < loop->nargs; k++) {
        call->args[k] += PROBE * call->steps[k];
    }
    call->n -= PROBE;
}

bool loop_pays(struct loop *loop, int jobs, intptr_t elements)
{
    if (budget_allows(jobs) < 2) {
        return true; /* it gets one thread, and is counted; what a team costs cannot be timed */
    }
    const intptr_t known = atomic_load_explicit(&loop->known_threshold, memory_order_relaxed);
    return loop->fixed_threshold
           || team_pays(jobs, (double)elements * atomic_load(&loop->cost),
                        known && elements >= known);
}

bool call_pays(struct call *call)
{
    if (!call->loop->fixed_threshold && budget_allows(call->jobs) > 1) {
        probe(call);
    }
    return loop_pays(call->loop, call->jobs, call->n);
}

struct cut loop_cut(const struct loop *loop)
{
    const double cost = atomic_load(&((struct loop *)loop)->cost);
    const bool known = cost > 0.0; /* it is not where the threshold is given */
    const intptr_t piece = known ? (intptr_t)fmin(PIECE / cost, 1e9) : 1;
    const intptr_t most = known ? (intptr_t)fmin(LONGEST / cost, 1e9) + 1 : MOST_UNKNOWN;
    return (struct cut){(piece / CUT + 1) * CUT, most};
}

void call_run(const struct call *call, struct share share)
{
    if (!share.threads) {
        do_elements(call, 0, call->n);
    }
    else {
        team_run(share, call->n, loop_cut(call->loop), do_elements, call);
    }
}
