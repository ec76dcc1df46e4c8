/* A team of threads that do one job together: every member runs the same function and waits for the others at `meet`.

Members sleep between jobs. Within a job they wait by looking, for a few microseconds, and then give the processor away:
jobs are milliseconds of work in pieces of tens of microseconds. Only one job uses the team at a time; who finds it
taken works alone. A fork has no members: it hires its own. */

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <unistd.h>

enum { MOST_MEMBERS = 64 };

typedef struct Team Team;
typedef struct { Team *team; int number, size; } Member;

struct Team {
    void (*work)(void *job, Member *member);
    void *job;
    int size;
    atomic_int arrived, round;
};

static struct {
    pthread_mutex_t taken, lock;
    pthread_cond_t wake;
    int members, process;
    int wanted;     /* members that the present job takes, less the caller */
    long number;    /* of the present job */
    atomic_int busy;
    Team *team;
} hall = {.taken = PTHREAD_MUTEX_INITIALIZER, .lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

static void meet(Member *member)
{
    Team *team = member->team;
    if (member->size == 1)
        return;
    int round = atomic_load(&team->round);
    if (atomic_fetch_add(&team->arrived, 1) == member->size - 1) {
        atomic_store(&team->arrived, 0);
        atomic_fetch_add(&team->round, 1);
        return;
    }
    for (long looks = 0; atomic_load(&team->round) == round; looks++) {
        if (looks < 4000)
            __builtin_ia32_pause();
        else
            sched_yield();
    }
}

static void *hired(void *number_)
{
    int number = (int)(intptr_t)number_;
    long done = 0;
    for (;;) {
        pthread_mutex_lock(&hall.lock);
        while (hall.number == done || number > hall.wanted) {
            if (hall.number != done)
                done = hall.number;
            else
                pthread_cond_wait(&hall.wake, &hall.lock);
        }
        done = hall.number;
        Team *team = hall.team;
        pthread_mutex_unlock(&hall.lock);
        Member member = {team, number, team->size};
        team->work(team->job, &member);
        atomic_fetch_sub(&hall.busy, 1);
    }
    return NULL;
}

/* Members that can be had, up to `size` with the caller. Call it with the team taken. */
static int hire(int size)
{
    if (hall.process != getpid()) { /* after a fork, or at first */
        pthread_mutex_init(&hall.lock, NULL);
        pthread_cond_init(&hall.wake, NULL);
        hall.members = 0;
        hall.number = 0;
        hall.process = getpid();
    }
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    while (hall.members < size - 1 && hall.members < MOST_MEMBERS) {
        pthread_t thread;
        if (pthread_create(&thread, &attributes, hired, (void *)(intptr_t)(hall.members + 1)) != 0)
            break;
        hall.members++;
    }
    pthread_attr_destroy(&attributes);
    return size - 1 < hall.members ? size : hall.members + 1;
}

static void together(int size, void (*work)(void *job, Member *member), void *job)
{
    Team team = {.work = work, .job = job, .size = 1};
    Member caller = {&team, 0, 1};
    if (size > 1 && pthread_mutex_trylock(&hall.taken) == 0) {
        team.size = caller.size = hire(size);
        pthread_mutex_lock(&hall.lock);
        hall.team = &team;
        hall.wanted = team.size - 1;
        hall.number++;
        atomic_store(&hall.busy, team.size - 1);
        pthread_cond_broadcast(&hall.wake);
        pthread_mutex_unlock(&hall.lock);
        work(job, &caller);
        while (atomic_load(&hall.busy))
            sched_yield();
        pthread_mutex_unlock(&hall.taken);
        return;
    }
    work(job, &caller);
}
