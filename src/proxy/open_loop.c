/* One job is held ready. When it is due and a connection is free it is sent, and the next one
 * fetched; else either the clock or an answer will come back here. The loop's own timers are a
 * millisecond coarse, which would be a large share of what is measured; so a second thread sleeps
 * until a job is due and posts a message. */
#include "proxy/open_loop.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>

enum {
    HOPELESS = 200, /* so many failures without one answer: nobody is there */
    PROGRESS_US = 200000,
    LEAD_US = 2000 /* from creation to the start */
};

struct open_loop;

struct call {
    struct call *previous, *next; /* in flight in order of sending, or free */
    struct open_loop *owner;
    struct dsp_call *call;
    uint64_t due_us, sent_us; /* absolute */
};

struct open_loop {
    struct open_loop_options options;
    open_loop_next_cb next;
    void *ctx;
    struct open_loop_result *result;
    struct loop *loop;
    struct dsp_client *client;
    struct call *calls; /* [connections_max] */
    struct call *free;
    struct call in_flight; /* ring; its next is the oldest */
    uint32_t n_in_flight;
    struct open_loop_job job;
    bool has_job, has_ended, is_hopeless;
    enum dsp_result last_failure;
    uint64_t start_us;
    struct timer timeout_timer, progress_timer;

    pthread_t clock_thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    uint64_t wake_us;      /* 0 = not set; under the mutex */
    bool quits;            /* under the mutex */
    uint64_t woken_for_us; /* last wake_us asked for; loop's thread only */
};

static void pump(struct open_loop *p);

uint64_t open_loop_failures(const struct open_loop_result *r)
{
    uint64_t n = r->timeouts;
    for (int i = 0; i < DSP_CALL_RESULTS; i++)
        n += r->errors[i];
    return n;
}

void open_loop_options_default(struct open_loop_options *o)
{
    *o =
        (struct open_loop_options){.connections_max = 256, .timeout_ms = 10000, .tls_verify = true};
}

/* ---- the clock thread ---- */

static void on_wake(void *arg)
{
    pump(arg);
}

static void *keep_time(void *arg)
{
    struct open_loop *p = arg;
    prctl(PR_SET_TIMERSLACK, 1);
    pthread_mutex_lock(&p->mutex);
    for (;;) {
        while (p->wake_us == 0 && !p->quits)
            pthread_cond_wait(&p->changed, &p->mutex);
        if (p->quits)
            break;
        uint64_t at = p->wake_us;
        p->wake_us = 0;
        pthread_mutex_unlock(&p->mutex);
        struct timespec until = {(time_t)(at / 1000000), (long)(at % 1000000) * 1000};
        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) != 0)
            ;
        loop_post(p->loop, on_wake, p);
        pthread_mutex_lock(&p->mutex);
    }
    pthread_mutex_unlock(&p->mutex);
    return NULL;
}

static void wake_at(struct open_loop *p, uint64_t at_us)
{
    if (p->woken_for_us == at_us)
        return;
    p->woken_for_us = at_us;
    pthread_mutex_lock(&p->mutex);
    p->wake_us = at_us;
    pthread_cond_signal(&p->changed);
    pthread_mutex_unlock(&p->mutex);
}

/* ---- calls ---- */

static void set_timeout(struct open_loop *p);

static void release(struct open_loop *p, struct call *c)
{
    c->previous->next = c->next;
    c->next->previous = c->previous;
    c->next = p->free;
    p->free = c;
    p->n_in_flight--;
}

static void on_timeout(void *ctx)
{
    struct open_loop *p = ctx;
    uint64_t now = loop_now_us();
    while (p->n_in_flight > 0 &&
           p->in_flight.next->sent_us + p->options.timeout_ms * UINT64_C(1000) <= now) {
        struct call *c = p->in_flight.next;
        dsp_call_cancel(c->call);
        p->result->timeouts++;
        release(p, c);
    }
    set_timeout(p);
    pump(p);
}

static void set_timeout(struct open_loop *p)
{
    if (p->timeout_timer.heap_index == 0 && p->n_in_flight > 0)
        timer_set(p->loop, &p->timeout_timer,
                  p->in_flight.next->sent_us + p->options.timeout_ms * UINT64_C(1000), on_timeout,
                  p);
}

static void on_answer(void *ctx, enum dsp_result result, int status, struct bytes body)
{
    struct call *c = ctx;
    struct open_loop *p = c->owner;
    struct open_loop_result *r = p->result;
    uint64_t now = loop_now_us();
    if (result == DSP_CALL_OK) {
        r->answered++;
        r->statuses[status > 0 && status < OPEN_LOOP_STATUS_MAX ? status : 0]++;
        histogram_add(&r->latency, now - c->due_us);
        histogram_add(&r->service, now - c->sent_us);
    } else {
        r->errors[result]++;
        p->last_failure = result;
    }
    release(p, c);
    pump(p);
}

static void send_job(struct open_loop *p, uint64_t now)
{
    struct open_loop_result *r = p->result;
    struct call *c = p->free;
    p->free = c->next;
    c->sent_us = now;
    c->due_us = p->options.closed ? now : p->start_us + p->job.due_us;
    c->previous = p->in_flight.previous;
    c->next = &p->in_flight;
    c->previous->next = c->next->previous = c;
    p->n_in_flight++;
    r->sent++;
    r->late += now > c->due_us + OPEN_LOOP_LATE_US;
    r->send_seconds = (double)(now - p->start_us) * 1e-6;
    r->due_seconds = (double)(c->due_us - p->start_us) * 1e-6;
    struct payload *payload = payload_create(p->job.body, (struct bytes){NULL, 0});
    c->call =
        dsp_client_call(p->client, payload, (struct bytes){NULL, 0}, p->job.headers, on_answer, c);
    payload_release(payload);
    p->has_job = false;
    set_timeout(p);
}

/* Sends what is due as far as connections are free; ends the run after the last answer. */
static void pump(struct open_loop *p)
{
    if (p->result->answered == 0 && open_loop_failures(p->result) >= HOPELESS)
        p->is_hopeless = p->has_ended = true;
    while (!p->has_ended) {
        if (!p->has_job && !(p->has_job = p->next(p->ctx, &p->job))) {
            p->has_ended = true;
            break;
        }
        uint64_t now = loop_now_us();
        if (now < p->start_us || (!p->options.closed && now < p->start_us + p->job.due_us)) {
            wake_at(p, p->options.closed ? p->start_us : p->start_us + p->job.due_us);
            return;
        }
        if (p->free == NULL)
            return; /* an answer or a timeout comes back here */
        send_job(p, now);
    }
    if (p->n_in_flight == 0)
        loop_stop(p->loop);
}

static void on_progress(void *ctx)
{
    struct open_loop *p = ctx;
    p->result->seconds = (double)(loop_now_us() - p->start_us) * 1e-6;
    if (!p->options.progress(p->ctx, p->result) && !p->has_ended) {
        p->has_ended = true;
        pump(p);
    }
    timer_set(p->loop, &p->progress_timer, loop_now_us() + PROGRESS_US, on_progress, p);
}

/* ---- a run ---- */

static struct dsp_client *create_client(struct open_loop *p, struct error *err)
{
    struct dsp_client_options o;
    dsp_client_options_default(&o);
    o.url = p->options.url;
    o.headers = p->options.headers;
    /* A call given up keeps its connection for a while, which must not hold up the next. */
    o.connections_max = p->options.connections_max * 2;
    o.connect_timeout_ms = p->options.timeout_ms;
    o.body_bytes_max = 64 << 20;
    o.tls_verify = p->options.tls_verify;
    o.tls_ca_file = p->options.tls_ca_file;
    return dsp_client_create(p->loop, &o, err);
}

static void prepare_calls(struct open_loop *p)
{
    p->calls = calloc(p->options.connections_max, sizeof(*p->calls));
    if (p->calls == NULL)
        abort();
    p->in_flight.next = p->in_flight.previous = &p->in_flight;
    for (uint32_t i = p->options.connections_max; i-- > 0;) {
        p->calls[i].owner = p;
        p->calls[i].next = p->free;
        p->free = &p->calls[i];
    }
}

static int run(struct open_loop *p, struct error *err)
{
    p->start_us = loop_now_us() + LEAD_US;
    if (pthread_create(&p->clock_thread, NULL, keep_time, p) != 0)
        return error_set(err, "no thread to keep time");
    if (p->options.progress != NULL)
        timer_set(p->loop, &p->progress_timer, p->start_us + PROGRESS_US, on_progress, p);
    loop_post(p->loop, on_wake, p);
    loop_run(p->loop);
    p->result->seconds = (double)(loop_now_us() - p->start_us) * 1e-6;
    timer_clear(p->loop, &p->progress_timer);
    timer_clear(p->loop, &p->timeout_timer);
    pthread_mutex_lock(&p->mutex);
    p->quits = true;
    pthread_cond_signal(&p->changed);
    pthread_mutex_unlock(&p->mutex);
    pthread_join(p->clock_thread, NULL);
    if (p->is_hopeless)
        return error_set(err, "%s: no answer to any of %llu requests: %s", p->options.url,
                         (unsigned long long)p->result->sent,
                         p->result->timeouts > 0 ? "timeout" : dsp_result_name(p->last_failure));
    return 0;
}

int open_loop_run(const struct open_loop_options *o, open_loop_next_cb next, void *ctx,
                  struct open_loop_result *out, struct error *err)
{
    struct open_loop p = {.options = *o, .next = next, .ctx = ctx, .result = out};
    *out = (struct open_loop_result){0};
    pthread_mutex_init(&p.mutex, NULL);
    pthread_cond_init(&p.changed, NULL);
    int status = -1;
    p.loop = loop_create(err);
    if (p.loop != NULL)
        p.client = create_client(&p, err);
    if (p.client != NULL) {
        prepare_calls(&p);
        status = run(&p, err);
    }
    if (p.client != NULL)
        dsp_client_destroy(p.client);
    loop_destroy(p.loop);
    free(p.calls);
    pthread_cond_destroy(&p.changed);
    pthread_mutex_destroy(&p.mutex);
    return status;
}
