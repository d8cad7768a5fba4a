/* The serving process. The main thread runs the admin loop; a thread waits for signals and posts
 * them there; each worker has a thread; each reload is built on a thread that ends with it. All
 * state here belongs to the admin thread. */
#include "proxy/process.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <ucontext.h>
#include <unistd.h>

#include "proxy/admin.h"
#include "wall_clock.h"

struct reload {
    struct reload *next;
    struct process *process;
    pthread_t thread;
    bool building; /* the thread has not been joined */
    uint64_t generation;
    struct snapshot *built;
    struct capture_writer *old_capture;
    struct error err;
    uint32_t waiting_for; /* workers that have not adopted it yet */
    void (*done)(void *ctx, uint64_t generation, const char *error);
    void *ctx;
};

/* ---- reload ---- */

static void start_reload(struct process *p);

/* What a reload cannot change, as a text to compare. */
static char *restart_settings(const struct config *c)
{
    char *text = NULL;
    const char *certificate = c->listen.tls_certificate, *key = c->listen.tls_key;
    if (asprintf(&text, "%s %u %u %s %s %u %u %u %s %u", c->listen.host, c->listen.port,
                 c->listen.threads, certificate != NULL ? certificate : "", key != NULL ? key : "",
                 c->listen.connections_max, c->listen.idle_timeout_ms, c->listen.write_timeout_ms,
                 c->admin.host, c->admin.port) < 0)
        abort();
    return text;
}

static void check_restart_settings(struct process *p)
{
    char *now = restart_settings(p->snapshot->config);
    p->restart_needed = strcmp(now, p->started_with) != 0;
    free(now);
    if (p->restart_needed)
        log_write(p->log, LOG_WARN,
                  "reload: listen and admin are as they were at the start; what the config says "
                  "of them now holds from the next start");
}

static void end_reload(struct reload *r)
{
    struct process *p = r->process;
    p->last_reload_ms = wall_ms();
    snprintf(p->last_reload_error, sizeof(p->last_reload_error), "%s", r->err.text);
    bool ok = r->err.text[0] == '\0';
    metrics_count_reload(p->metrics, ok);
    if (ok) {
        p->reloads_ok++;
        log_write(p->log, LOG_INFO, "reload: generation %llu serves",
                  (unsigned long long)r->generation);
    } else {
        p->reloads_failed++;
        log_write(p->log, LOG_ERROR, "reload refused, generation %llu serves on: %s",
                  (unsigned long long)p->snapshot->generation, r->err.text);
    }
    if (r->done != NULL)
        r->done(r->ctx, ok ? r->generation : 0, ok ? NULL : r->err.text);
    p->reloads = r->next;
    free(r);
    if (p->reloads != NULL)
        start_reload(p);
}

/* All workers use the new snapshot and writer. */
static void complete_reload(struct reload *r)
{
    struct process *p = r->process;
    snapshot_release(p->snapshot);
    p->snapshot = r->built;
    if (r->old_capture != p->capture)
        capture_writer_destroy(r->old_capture);
    check_restart_settings(p);
    end_reload(r);
}

static void on_acknowledged(void *arg)
{
    struct reload *r = arg;
    if (--r->waiting_for == 0 && !r->process->ended)
        complete_reload(r);
}

static void on_adopted(void *ctx) /* worker's thread */
{
    struct reload *r = ctx;
    loop_post(r->process->loop, on_acknowledged, r);
}

static bool same_capture(const struct config *a, const struct config *b)
{
    const struct capture_options *x = &a->capture.options, *y = &b->capture.options;
    if (a->capture.enabled != b->capture.enabled || !a->capture.enabled)
        return a->capture.enabled == b->capture.enabled;
    return strcmp(x->directory, y->directory) == 0 && x->compress == y->compress &&
           x->segment_bytes_max == y->segment_bytes_max &&
           x->segment_seconds_max == y->segment_seconds_max &&
           x->queue_bytes_max == y->queue_bytes_max &&
           x->directory_bytes_max == y->directory_bytes_max;
}

/* What only the loops can find wrong (a CA file that does not load, say) is found before any of
 * them is touched. */
static int try_links(struct process *p, const struct config *c, struct error *err)
{
    for (uint32_t d = 0; d < c->n_dsps; d++) {
        struct error why;
        struct dsp_link *link = dsp_link_create(p->loop, c, &c->dsps[d], 0, p->n_workers, &why);
        if (link == NULL)
            return error_set(err, "%s: dsps[%u] (%s): %.800s", c->path, d, c->dsps[d].name,
                             why.text);
        dsp_link_release(link);
    }
    return 0;
}

static struct log_options log_settings(const struct config *c)
{
    return (struct log_options){
        .level = c->log.level, .json = c->log.json, .access_file = c->log.access_file};
}

/* The last things that can fail: links, capture, logs. After them the workers adopt. */
static int prepare(struct reload *r)
{
    struct process *p = r->process;
    const struct config *c = r->built->config;
    struct capture_writer *capture = p->capture;
    const struct log_options log_options = log_settings(c);
    if (try_links(p, c, &r->err) != 0)
        return -1;
    if (!same_capture(p->snapshot->config, c)) {
        capture = c->capture.enabled ? capture_writer_create(&c->capture.options, &r->err) : NULL;
        if (capture == NULL && c->capture.enabled)
            return -1;
    }
    if (log_reload(p->log, &log_options, &r->err) != 0) {
        if (capture != p->capture)
            capture_writer_destroy(capture);
        return -1;
    }
    p->capture = capture;
    return 0;
}

static void on_built(void *arg)
{
    struct reload *r = arg;
    struct process *p = r->process;
    if (p->ended)
        return;
    pthread_join(r->thread, NULL);
    r->building = false;
    r->old_capture = p->capture;
    if (r->built == NULL || prepare(r) != 0) {
        snapshot_release(r->built);
        r->built = NULL;
        end_reload(r);
        return;
    }
    r->err.text[0] = '\0';
    r->waiting_for = p->n_workers;
    for (uint32_t i = 0; i < p->n_workers; i++)
        worker_adopt(p->workers[i], snapshot_acquire(r->built), p->capture, on_adopted, r);
}

static void *build(void *arg)
{
    struct reload *r = arg;
    r->built = snapshot_build(r->process->config_path, r->generation, &r->err);
    loop_post(r->process->loop, on_built, r);
    return NULL;
}

static void start_reload(struct process *p)
{
    struct reload *r = p->reloads;
    r->generation = p->snapshot->generation + 1;
    r->building = true;
    if (pthread_create(&r->thread, NULL, build, r) != 0) {
        r->building = false;
        error_set(&r->err, "no thread to reload on");
        end_reload(r);
    }
}

void process_reload(struct process *p,
                    void (*done)(void *ctx, uint64_t generation, const char *error), void *ctx)
{
    if (p->stopping) {
        if (done != NULL)
            done(ctx, 0, "the process is stopping");
        return;
    }
    struct reload *r = calloc(1, sizeof(*r));
    if (r == NULL)
        abort();
    r->process = p;
    r->done = done;
    r->ctx = ctx;
    struct reload **link = &p->reloads;
    while (*link != NULL)
        link = &(*link)->next;
    *link = r;
    if (p->reloads == r)
        start_reload(p);
}

/* ---- stopping ---- */

static void kill_workers(struct process *p, const char *why)
{
    log_write(p->log, LOG_WARN, "stop: %s, what is still in flight is dropped", why);
    for (uint32_t i = 0; i < p->n_workers; i++)
        worker_kill(p->workers[i]);
}

static void on_stop_timeout(void *ctx)
{
    kill_workers(ctx, "shutdown_timeout_ms is over");
}

static void on_worker_ended(void *arg)
{
    struct process *p = arg;
    if (--p->n_running == 0)
        loop_stop(p->loop);
}

static void stop(struct process *p)
{
    if (p->ended)
        return;
    if (p->stopping) {
        kill_workers(p, "told to again");
        return;
    }
    p->stopping = true;
    log_write(p->log, LOG_INFO, "stop: no new connections, what is in flight is finished");
    for (uint32_t i = 0; i < p->n_workers; i++)
        worker_stop(p->workers[i]);
    timer_set(p->loop, &p->stop_timer,
              loop_now_us() + (uint64_t)p->snapshot->config->stop_timeout_ms * 1000,
              on_stop_timeout, p);
}

/* ---- signals ---- */

static void on_hangup(void *arg)
{
    struct process *p = arg;
    if (!p->stopping)
        process_reload(p, NULL, NULL);
}

static void on_terminate(void *arg)
{
    stop(arg);
}

static void handled_signals(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGHUP);
    sigaddset(set, SIGUSR2); /* ends wait_for_signals */
}

/* A library may have started threads before main could block anything (OpenBLAS does, when it is
 * loaded), and the kernel hands a signal to any thread that lets it in. Such a thread ends up here:
 * it lets none in any more, and sends the signal again, to whom it may concern. */
static void pass_on(int number, siginfo_t *info, void *context)
{
    sigset_t *after = &((ucontext_t *)context)->uc_sigmask;
    sigaddset(after, SIGTERM);
    sigaddset(after, SIGINT);
    sigaddset(after, SIGHUP);
    kill(getpid(), number);
}

static void take_signals(void)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};
    struct sigaction action = {.sa_sigaction = pass_on, .sa_flags = SA_SIGINFO | SA_RESTART};
    sigset_t set;
    handled_signals(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    action.sa_mask = set;
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        sigaction(numbers[i], &action, NULL);
    signal(SIGPIPE, SIG_IGN);
}

static void *wait_for_signals(void *arg)
{
    struct process *p = arg;
    sigset_t set;
    handled_signals(&set);
    for (;;) {
        int number;
        if (sigwait(&set, &number) != 0)
            continue;
        if (number == SIGUSR2)
            return NULL;
        loop_post(p->loop, number == SIGHUP ? on_hangup : on_terminate, p);
    }
}

/* ---- life ---- */

static void *run_worker(void *arg)
{
    void **pair = arg;
    struct process *p = pair[0];
    worker_run(pair[1]);
    free(pair);
    loop_post(p->loop, on_worker_ended, p);
    return NULL;
}

static int create_workers(struct process *p, struct error *err)
{
    const struct config *c = p->snapshot->config;
    uint16_t port = c->listen.port;
    for (uint32_t i = 0; i < p->n_workers; i++) {
        p->workers[i] = worker_create(i, p->n_workers, port, p->snapshot, p->metrics, p->capture,
                                      p->log, p->notices, err);
        if (p->workers[i] == NULL)
            return -1;
        port = server_port(p->workers[i]->server); /* the first may have drawn a free one */
    }
    return 0;
}

static int start_threads(struct process *p, struct error *err)
{
    for (; p->n_running < p->n_workers; p->n_running++) {
        void **pair = malloc(2 * sizeof(*pair));
        if (pair == NULL)
            abort();
        pair[0] = p;
        pair[1] = p->workers[p->n_running];
        if (pthread_create(&p->threads[p->n_running], NULL, run_worker, pair) != 0) {
            free(pair);
            return error_set(err, "no thread for worker %u", p->n_running);
        }
    }
    return 0;
}

/* Those that we may use: a container may have fewer than the machine. */
static uint32_t cores(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 0;
    if (n <= 0)
        n = (int)sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : n > METRICS_SHARDS_MAX ? METRICS_SHARDS_MAX : (uint32_t)n;
}

static int create(struct process *p, struct error *err)
{
    p->snapshot = snapshot_build(p->config_path, 1, err);
    if (p->snapshot == NULL)
        return -1;
    const struct config *c = p->snapshot->config;
    p->started_with = restart_settings(c);
    p->n_workers = c->listen.threads != 0 ? c->listen.threads : cores();
    p->workers = calloc(p->n_workers, sizeof(*p->workers));
    p->threads = calloc(p->n_workers, sizeof(*p->threads));
    p->loop = loop_create(err);
    if (p->loop == NULL)
        return -1;
    const struct log_options log_options = log_settings(c);
    p->log = log_create(&log_options, err);
    if (p->log == NULL)
        return -1;
    p->metrics = metrics_create(p->n_workers, err);
    if (p->metrics == NULL)
        return -1;
    if (c->capture.enabled) {
        p->capture = capture_writer_create(&c->capture.options, err);
        if (p->capture == NULL)
            return -1;
    }
    struct notices_options notices;
    notices_options_default(&notices);
    p->notices = notices_create(&notices, err);
    if (p->notices == NULL || try_links(p, c, err) != 0)
        return -1;
    return create_workers(p, err);
}

static void announce(const struct process *p)
{
    const struct config *c = p->snapshot->config;
    log_write(p->log, LOG_INFO,
              "bidsieve %s: http://%s:%u/openrtb2/auction, admin http://%s:%u, %u loops, %u DSPs, "
              "model %s",
              BIDSIEVE_VERSION, c->listen.host, server_port(p->workers[0]->server), c->admin.host,
              c->admin.port, p->n_workers, c->n_dsps,
              p->snapshot->model != NULL ? predictor_info(p->snapshot->model)->version
                                         : "none, every call is sent");
}

/* Reloads that the end of the process overtook. What they have posted may still lie in any loop, so
 * they are freed only after the loops; until then `ended` says that nothing more is to be done. */
static void join_reloads(struct process *p)
{
    for (struct reload *r = p->reloads; r != NULL; r = r->next) {
        if (r->building)
            pthread_join(r->thread, NULL);
    }
}

static void drop_reloads(struct process *p)
{
    while (p->reloads != NULL) {
        struct reload *r = p->reloads;
        p->reloads = r->next;
        if (r->built != NULL && r->old_capture != p->capture)
            capture_writer_destroy(r->old_capture);
        snapshot_release(r->built);
        if (r->done != NULL)
            r->done(r->ctx, 0, "the process has stopped");
        free(r);
    }
}

static void dispose(struct process *p)
{
    p->ended = true;
    join_reloads(p);
    for (uint32_t i = 0; i < p->n_workers; i++)
        if (p->workers != NULL)
            worker_destroy(p->workers[i]);
    loop_destroy(p->loop);
    drop_reloads(p);
    notices_destroy(p->notices);
    capture_writer_destroy(p->capture);
    metrics_destroy(p->metrics);
    snapshot_release(p->snapshot);
    log_destroy(p->log);
    free(p->workers);
    free(p->threads);
    free(p->started_with);
}

/* Many connections: as many descriptors as the system lets us have. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int process_serve(const char *config_path)
{
    struct process p = {
        .config_path = config_path, .started_us = loop_now_us(), .last_reload_ms = -1};
    struct error err = {""};
    pthread_t signal_thread;
    int status = 1;

    take_signals();
    raise_descriptor_limit();

    struct admin *admin = NULL;
    if (create(&p, &err) != 0 || (admin = admin_create(&p, &err)) == NULL)
        goto done;
    if (pthread_create(&signal_thread, NULL, wait_for_signals, &p) != 0) {
        error_set(&err, "no thread for signals");
        goto done;
    }
    if (start_threads(&p, &err) == 0) {
        announce(&p);
        status = 0;
        loop_run(p.loop);
    } else {
        for (uint32_t i = 0; i < p.n_running; i++)
            worker_kill(p.workers[i]);
    }
    for (uint32_t i = 0; i < p.n_workers && p.threads[i] != 0; i++)
        pthread_join(p.threads[i], NULL);
    pthread_kill(signal_thread, SIGUSR2);
    pthread_join(signal_thread, NULL);
    timer_clear(p.loop, &p.stop_timer);
done:
    if (status != 0)
        fprintf(stderr, "bidsieve serve: %s\n", err.text);
    admin_destroy(admin);
    dispose(&p);
    return status;
}
