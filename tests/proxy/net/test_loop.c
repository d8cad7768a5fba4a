/* The loop: order of timers and messages, stopping, leaving nothing behind. */
#include "proxy/net/loop.h"

#include <dirent.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "prng.h"

enum { TIMERS = 500, POSTS = 2000, THREADS = 3 };

static struct loop *new_loop(void)
{
    struct error err = {""};
    struct loop *l = loop_create(&err);
    if (l == NULL)
        fail_msg("%s", err.text);
    return l;
}

static void stop(void *l)
{
    loop_stop(l);
}

struct mark {
    struct timer timer;
    uint64_t deadline_us;
    int order;
    struct race *race;
};

struct race {
    struct loop *loop;
    struct mark marks[TIMERS];
    int fired, expected;
};

static void on_mark(void *ctx)
{
    struct mark *m = ctx;
    assert_true(loop_now_us() >= m->deadline_us);
    assert_int_equal(m->timer.heap_index, 0);
    m->order = m->race->fired++;
    if (m->race->fired == m->race->expected)
        loop_stop(m->race->loop);
}

/* Set, moved and cleared at random; those that stay fire once each, by deadline. */
static void test_timer_order_random(void **state)
{
    struct race *race = calloc(1, sizeof(*race));
    struct prng random = {7};
    race->loop = new_loop();
    uint64_t start_us = loop_now_us();
    for (int i = 0; i < TIMERS; i++) {
        race->marks[i].race = race;
        race->marks[i].order = -1;
    }
    for (int step = 0; step < 20 * TIMERS; step++) {
        struct mark *m = &race->marks[prng_below(&random, TIMERS)];
        if (prng_below(&random, 4) == 0) {
            timer_clear(race->loop, &m->timer);
            m->deadline_us = 0;
        } else {
            m->deadline_us = start_us + prng_below(&random, 30000);
            timer_set(race->loop, &m->timer, m->deadline_us, on_mark, m);
        }
    }
    for (int i = 0; i < TIMERS; i++)
        race->expected += race->marks[i].deadline_us != 0;
    loop_run(race->loop);
    assert_int_equal(race->fired, race->expected);
    for (int i = 0; i < TIMERS; i++) {
        struct mark *a = &race->marks[i];
        assert_int_equal(a->order >= 0, a->deadline_us != 0);
        for (int j = 0; j < TIMERS; j++)
            if (a->order >= 0 && race->marks[j].order > a->order)
                assert_true(race->marks[j].deadline_us >= a->deadline_us);
    }
    loop_destroy(race->loop);
    free(race);
}

struct chain {
    struct loop *loop;
    struct timer again, victim;
    int times;
    bool victim_fired;
};

static void on_victim(void *ctx)
{
    ((struct chain *)ctx)->victim_fired = true;
}

static void on_again(void *ctx)
{
    struct chain *c = ctx;
    timer_clear(c->loop, &c->victim); /* due as well, but not any more */
    if (++c->times < 50)
        timer_set(c->loop, &c->again, 0, on_again, c);
    else
        loop_stop(c->loop);
}

static void test_timer_callback_sets_and_clears(void **state)
{
    struct chain c = {.loop = new_loop()};
    timer_set(c.loop, &c.victim, 2, on_victim, &c);
    timer_set(c.loop, &c.again, 1, on_again, &c);
    loop_run(c.loop);
    assert_int_equal(c.times, 50);
    assert_false(c.victim_fired);
    assert_int_equal(c.again.heap_index, 0);
    timer_clear(c.loop, &c.again); /* nothing to do */
    loop_destroy(c.loop);
}

struct post {
    struct poster *from;
    int number;
};

struct poster {
    struct loop *loop;
    int received;
    bool in_order;
    struct post posts[POSTS];
};

static int total_received;

static void on_post(void *arg)
{
    struct post *p = arg;
    p->from->in_order &= p->number == p->from->received;
    p->from->received++;
    if (++total_received == POSTS * THREADS)
        loop_stop(p->from->loop);
}

static void *post_all(void *arg)
{
    struct poster *p = arg;
    for (int i = 0; i < POSTS; i++) {
        p->posts[i] = (struct post){p, i};
        loop_post(p->loop, on_post, &p->posts[i]);
    }
    return NULL;
}

static void test_post_from_threads_in_order(void **state)
{
    struct loop *l = new_loop();
    struct poster *posters = calloc(THREADS, sizeof(*posters));
    pthread_t threads[THREADS];
    total_received = 0;
    for (int i = 0; i < THREADS; i++) {
        posters[i].loop = l;
        posters[i].in_order = true;
        assert_int_equal(pthread_create(&threads[i], NULL, post_all, &posters[i]), 0);
    }
    loop_run(l);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(posters[i].received, POSTS);
        assert_true(posters[i].in_order);
    }
    loop_destroy(l);
    free(posters);
}

struct relay {
    struct loop *loop;
    int left;
    bool is_inside;
};

static void on_relay(void *arg)
{
    struct relay *r = arg;
    assert_false(r->is_inside);
    r->is_inside = true;
    if (r->left-- > 0)
        loop_post(r->loop, on_relay, r);
    else
        loop_stop(r->loop);
    r->is_inside = false;
}

static void test_post_never_inside_the_call(void **state)
{
    struct relay r = {.loop = new_loop(), .left = 100};
    loop_post(r.loop, on_relay, &r);
    loop_run(r.loop);
    assert_int_equal(r.left, -1);
    loop_destroy(r.loop);
}

static void count(void *arg)
{
    ++*(int *)arg;
}

static void test_destroy_runs_what_was_posted(void **state)
{
    int counted = 0;
    struct loop *l = new_loop();
    for (int i = 0; i < 10; i++)
        loop_post(l, count, &counted);
    loop_destroy(l);
    assert_int_equal(counted, 10);
    loop_destroy(NULL);
}

static void on_signal(int number)
{
    (void)number;
}

static void *disturb(void *thread)
{
    for (int i = 0; i < 20; i++) {
        usleep(500);
        pthread_kill(*(pthread_t *)thread, SIGUSR1);
    }
    return NULL;
}

/* A signal interrupts the poll; the loop goes on until its timer. */
static void test_run_survives_signals(void **state)
{
    struct sigaction action = {.sa_handler = on_signal}, before;
    sigaction(SIGUSR1, &action, &before);
    struct loop *l = new_loop();
    struct timer end = {0};
    pthread_t self = pthread_self(), other;
    uint64_t end_us = loop_now_us() + 30000;
    timer_set(l, &end, end_us, stop, l);
    assert_int_equal(pthread_create(&other, NULL, disturb, &self), 0);
    loop_run(l);
    assert_true(loop_now_us() >= end_us);
    pthread_join(other, NULL);
    loop_destroy(l);
    sigaction(SIGUSR1, &before, NULL);
}

static void *stop_later(void *l)
{
    usleep(2000);
    loop_stop(l);
    return NULL;
}

static void test_stop_from_another_thread_and_run_again(void **state)
{
    struct loop *l = new_loop();
    for (int i = 0; i < 3; i++) {
        pthread_t other;
        assert_int_equal(pthread_create(&other, NULL, stop_later, l), 0);
        loop_run(l); /* nothing to do but wait */
        pthread_join(other, NULL);
    }
    loop_stop(l);
    loop_run(l); /* was stopped before it began */
    loop_destroy(l);
}

static void busy(void *ctx)
{
    uint64_t until_us = loop_now_us() + 5000;
    while (loop_now_us() < until_us)
        ;
    loop_stop(ctx);
}

static void test_lag_counts_callbacks_not_waiting(void **state)
{
    struct loop *l = new_loop();
    struct timer t = {0};
    timer_set(l, &t, loop_now_us() + 1000, busy, l);
    loop_run(l);
    assert_true(loop_lag_us_max(l) >= 5000);
    assert_int_equal(loop_lag_us_max(l), 0);
    loop_destroy(l);
}

static int open_descriptors(void)
{
    int n = 0;
    DIR *d = opendir("/proc/self/fd");
    assert_non_null(d);
    while (readdir(d) != NULL)
        n++;
    closedir(d);
    return n;
}

struct age {
    struct loop *loop;
    uint64_t before_us, after_us;
};

static void on_age(void *ctx)
{
    struct age *a = ctx;
    a->before_us = loop_turn_age_us(a->loop);
    for (uint64_t until_us = loop_now_us() + 3000; loop_now_us() < until_us;)
        ;
    a->after_us = loop_turn_age_us(a->loop);
    loop_stop(a->loop);
}

static void test_turn_age(void **state)
{
    struct age a = {.loop = new_loop()};
    assert_int_equal(loop_turn_age_us(a.loop), 0);
    loop_post(a.loop, on_age, &a);
    loop_run(a.loop);
    assert_true(a.after_us >= a.before_us + 3000);
    assert_int_equal(loop_turn_age_us(a.loop), 0);
    loop_destroy(a.loop);
}

static void test_destroy_leaves_no_descriptor(void **state)
{
    int before = open_descriptors();
    for (int i = 0; i < 5; i++)
        loop_destroy(new_loop());
    assert_int_equal(open_descriptors(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_timer_order_random),
        cmocka_unit_test(test_timer_callback_sets_and_clears),
        cmocka_unit_test(test_post_from_threads_in_order),
        cmocka_unit_test(test_post_never_inside_the_call),
        cmocka_unit_test(test_destroy_runs_what_was_posted),
        cmocka_unit_test(test_run_survives_signals),
        cmocka_unit_test(test_stop_from_another_thread_and_run_again),
        cmocka_unit_test(test_lag_counts_callbacks_not_waiting),
        cmocka_unit_test(test_turn_age),
        cmocka_unit_test(test_destroy_leaves_no_descriptor),
    };
    return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
