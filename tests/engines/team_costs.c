/* What the team learns of its costs, on a clock that this program sets: test_team_costs.py runs it. */
#ifdef __linux__
#define _GNU_SOURCE /* as team.c has it */
#endif

#include <omp.h>
#include <stdio.h>

static _Atomic double now;
/* Seconds that pass from one look at the clock to the next. */
static double tick;

static double tell_time(void)
{
    now = now + tick; /* not +=: nobody else looks meanwhile, the caller waits for its one worker */
    return now;
}

#define omp_get_wtime tell_time
#include "team.c"

static const double DISTURBED = 1e-3, CALM = 1e-7, WORTH_IT = 1e-4;

/* Gives how many calls of so many seconds get no team before one does. */
static int refused(double seconds, int most)
{
    int count = 0;
    while (count < most && !team_pays(2, seconds, false)) {
        count++;
    }
    return count;
}

int main(void)
{
    omp_set_dynamic(0);
    omp_set_num_threads(2);
    if (team_start()) {
        return 1;
    }
    tick = DISTURBED;
    const double first = team_least_work(2);
    printf("disturbed: %d\n", first > WORTH_IT);

    /* The first refusal looks again; a look that finds no better changes nothing. */
    tick = 10.0 * DISTURBED;
    int count = refused(WORTH_IT, 1);
    printf("worse: %d %d\n", count, team_least_work(2) == first);

    /* Calls that no team could pay for do not look, however many they are. */
    tick = CALM;
    count = refused(GOOD / 2.0, 1000);
    printf("short: %d %d\n", count, team_least_work(2) == first);

    /* The other refusals of the sixty-four, and the one that looks: then teams pay. */
    count = refused(WORTH_IT, 1000);
    printf("long: %d %d\n", count, team_least_work(2) < first / 1000.0);

    /* A single team on its way from sleep that took long is forgotten step by step. */
    now = now + 1.0;
    tick = DISTURBED;
    team_region(2);
    tick = 0.0;
    int asleep = 0;
    do {
        now = now + 1.0;
    } while (!team_pays(2, WORTH_IT, false) && ++asleep < 1000);
    printf("asleep: %d\n", asleep > 1 && asleep < 200);
    return 0;
}
