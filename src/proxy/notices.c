/* Two stages. The queue: one buffer under a lock, which workers append to and the notices' thread
 * takes whole, by swapping it for an empty one. The hosts: a DSP client for each origin, with a
 * backlog, in a small table from which the one that rested longest makes room for a new one.
 *
 * All notices that left the queue are in one list, by age; as each may take equally long, the
 * oldest is always the next to run out of time, and one timer is enough. */
#include "proxy/notices.h"

#include <pthread.h>
#include <stdlib.h>

#include "hash.h"
#include "proxy/net/dsp_client.h"
#include "proxy/net/list.h"
#include "proxy/net/url.h"
#include "proxy/text.h"

enum { URL_BYTES_MAX = 8192, ORIGIN_BYTES_MAX = 300 };

struct host {
    uint64_t key; /* hash of the origin; 0 = the place is free */
    char origin[ORIGIN_BYTES_MAX];
    char authority[272];
    struct dsp_client *client;
    struct list waiting; /* of notices */
    uint32_t n_waiting, n_open;
    uint64_t used_us;
};

struct notice {
    struct list by_age, waiting;
    struct host *host;
    struct notices *owner;
    struct dsp_call *call; /* NULL: waiting */
    struct payload *payload;
    uint64_t deadline_us;
    enum notice_kind kind;
};

struct entry { /* in the queue, before its URL */
    uint32_t url_len;
    uint32_t kind;
};

struct notices {
    struct notices_options options;
    struct notices_stats stats; /* atomic */

    pthread_mutex_t lock;
    struct text queue;
    bool woken; /* a message is on its way to the loop */

    pthread_t thread;
    struct loop *loop;
    /* The loop's: */
    struct text taken; /* what is being handed to the hosts */
    struct host *hosts;
    struct tls_trust *trust; /* read at the first https host, once: it takes long */
    struct list by_age, unused;
    struct timer timer, drain_timer;
    bool stopping;
};

const char *notice_kind_name(enum notice_kind k)
{
    static const char *const names[NOTICE_KINDS] = {"win", "billing", "loss"};
    return names[k];
}

void notices_options_default(struct notices_options *o)
{
    *o = (struct notices_options){.queue_bytes_max = 4 << 20,
                                  .hosts_max = 256,
                                  .connections_per_host_max = 16,
                                  .waiting_per_host_max = 4096,
                                  .timeout_ms = 3000,
                                  .drain_ms = 2000,
                                  .tls_verify = true};
}

static void count(uint64_t *counter)
{
    __atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
}

/* What became of a notice that was queued. */
static void settle(struct notices *n, enum notice_kind kind, uint64_t *counter)
{
    count(counter);
    count(&n->stats.kinds[kind].settled);
}

/* ---- the URL of a stranger ---- */

/* Splits it into origin and target; false: not one that is fired. */
static bool split_url(struct bytes url, char origin[ORIGIN_BYTES_MAX], struct url *parsed,
                      struct bytes *target)
{
    struct error unused;
    if (url.len > URL_BYTES_MAX)
        return false;
    for (size_t i = 0; i < url.len; i++)
        if (url.base[i] <= ' ' || url.base[i] > '~') /* also what is not ASCII */
            return false;
    const char *end = url.base + url.len, *fragment = memchr(url.base, '#', url.len);
    const char *colon = memmem(url.base, url.len, "://", 3);
    if (colon == NULL)
        return false;
    if (fragment != NULL)
        end = fragment;
    const char *at = colon + 3;
    while (at < end && *at != '/' && *at != '?')
        at++;
    if (at > end || (size_t)(at - url.base) >= ORIGIN_BYTES_MAX)
        return false;
    memcpy(origin, url.base, (size_t)(at - url.base));
    origin[at - url.base] = '\0';
    *target = (struct bytes){at, (size_t)(end - at)};
    return url_parse(origin, parsed, &unused) == 0;
}

static struct payload *make_request(const char *authority, struct bytes target)
{
    char text[URL_BYTES_MAX + 600];
    int len = snprintf(text, sizeof(text),
                       "GET %s%.*s HTTP/1.1\r\nHost: %s\r\nUser-Agent: bidsieve/" BIDSIEVE_VERSION
                       "\r\nAccept: */*\r\n\r\n",
                       target.len == 0 || target.base[0] != '/' ? "/" : "", (int)target.len,
                       target.base, authority);
    return payload_create_request((struct bytes){text, (size_t)len});
}

/* ---- hosts ---- */

/* The host's place, or a free one, or that of a host that rests: the longest. NULL: all are busy.
 */
static struct host *find_place(struct notices *n, uint64_t key)
{
    struct host *rests = NULL;
    for (uint32_t i = 0; i < n->options.hosts_max; i++) {
        struct host *h = &n->hosts[i];
        if (h->key == key)
            return h;
        if (h->key != 0 && (h->n_open > 0 || h->n_waiting > 0))
            continue;
        if (rests == NULL || h->used_us < rests->used_us)
            rests = h;
    }
    return rests;
}

static void forget_host(struct host *h)
{
    dsp_client_destroy(h->client);
    *h = (struct host){.key = 0};
}

static struct host *find_host(struct notices *n, const char *origin, const struct url *parsed)
{
    uint64_t key = hash_bytes(bytes_of(origin), 0) | 1;
    struct host *h = find_place(n, key);
    struct error unused;
    if (h == NULL || (h->key == key && strcmp(h->origin, origin) == 0))
        return h;
    if (h->n_open > 0 || h->n_waiting > 0) /* another origin with the same hash */
        return NULL;
    forget_host(h);
    struct dsp_client_options o;
    dsp_client_options_default(&o);
    o.url = origin;
    o.connections_max = n->options.connections_per_host_max;
    o.body_bytes_max = 65536;
    o.idle_timeout_ms = 10000;
    o.tls_verify = n->options.tls_verify;
    if (parsed->is_tls && o.tls_verify && n->trust == NULL &&
        (n->trust = tls_trust_load(NULL, &unused)) == NULL)
        return NULL;
    o.tls_trust = n->trust;
    h->client = dsp_client_create(n->loop, &o, &unused);
    if (h->client == NULL)
        return NULL;
    h->key = key;
    snprintf(h->origin, sizeof(h->origin), "%s", origin);
    snprintf(h->authority, sizeof(h->authority), "%s", parsed->authority);
    list_init(&h->waiting);
    return h;
}

/* ---- one notice ---- */

static void run_out(void *ctx);
static void start_waiting(struct host *h);

static void end_notice(struct notice *m, bool sent)
{
    struct notices *n = m->owner;
    struct host *h = m->host;
    settle(n, m->kind, sent ? &n->stats.kinds[m->kind].sent : &n->stats.kinds[m->kind].failed);
    if (list_is_linked(&m->waiting))
        h->n_waiting--;
    else
        h->n_open--;
    list_unlink(&m->waiting);
    list_unlink(&m->by_age);
    payload_release(m->payload);
    list_push_front(&n->unused, &m->by_age);
    if (n->stopping && list_is_empty(&n->by_age))
        loop_stop(n->loop);
}

static void on_answer(void *ctx, enum dsp_result result, int status, struct bytes body)
{
    struct notice *m = ctx;
    struct host *h = m->host;
    m->call = NULL;
    end_notice(m, result == DSP_CALL_OK && status < 400);
    start_waiting(h);
}

static void start(struct notice *m)
{
    struct host *h = m->host;
    h->n_open++;
    h->used_us = loop_now_us();
    m->call = dsp_client_call(h->client, m->payload, (struct bytes){NULL, 0},
                              (struct bytes){NULL, 0}, on_answer, m);
}

static void start_waiting(struct host *h)
{
    while (!list_is_empty(&h->waiting) && dsp_client_has_room(h->client)) {
        struct notice *m = LIST_ITEM(h->waiting.next, struct notice, waiting);
        list_unlink(&m->waiting);
        h->n_waiting--;
        start(m);
    }
}

static void watch(struct notices *n)
{
    if (list_is_empty(&n->by_age) || n->timer.heap_index != 0)
        return;
    timer_set(n->loop, &n->timer, LIST_ITEM(n->by_age.next, struct notice, by_age)->deadline_us,
              run_out, n);
}

/* The oldest are out of time. */
static void run_out(void *ctx)
{
    struct notices *n = ctx;
    uint64_t now_us = loop_now_us();
    while (!list_is_empty(&n->by_age)) {
        struct notice *m = LIST_ITEM(n->by_age.next, struct notice, by_age);
        struct host *h = m->host;
        if (m->deadline_us > now_us)
            break;
        if (m->call != NULL)
            dsp_call_cancel(m->call);
        end_notice(m, false);
        start_waiting(h);
    }
    watch(n);
}

static struct notice *take_notice(struct notices *n)
{
    struct notice *m;
    if (list_is_empty(&n->unused)) {
        m = calloc(1, sizeof(*m));
        if (m == NULL)
            abort();
        return m;
    }
    m = LIST_ITEM(n->unused.next, struct notice, by_age);
    list_unlink(&m->by_age);
    return m;
}

static void hand_out(struct notices *n, enum notice_kind kind, struct bytes url)
{
    char origin[ORIGIN_BYTES_MAX];
    struct url parsed;
    struct bytes target;
    if (!split_url(url, origin, &parsed, &target)) {
        settle(n, kind, &n->stats.kinds[kind].refused);
        return;
    }
    struct host *h = find_host(n, origin, &parsed);
    if (h == NULL || h->n_waiting >= n->options.waiting_per_host_max) {
        settle(n, kind, &n->stats.kinds[kind].dropped);
        return;
    }
    struct notice *m = take_notice(n);
    *m = (struct notice){.host = h,
                         .owner = n,
                         .kind = kind,
                         .payload = make_request(h->authority, target),
                         .deadline_us = loop_now_us() + (uint64_t)n->options.timeout_ms * 1000};
    list_push_back(&n->by_age, &m->by_age);
    list_push_back(&h->waiting, &m->waiting);
    h->n_waiting++;
    start_waiting(h);
    watch(n);
}

/* ---- the queue ---- */

static void take_queue(void *arg)
{
    struct notices *n = arg;
    pthread_mutex_lock(&n->lock);
    struct text empty = n->taken;
    n->taken = n->queue;
    n->queue = empty;
    n->woken = false;
    pthread_mutex_unlock(&n->lock);
    for (size_t at = 0; at < n->taken.len;) {
        struct entry e;
        memcpy(&e, n->taken.base + at, sizeof(e));
        at += sizeof(e);
        hand_out(n, (enum notice_kind)e.kind, (struct bytes){n->taken.base + at, e.url_len});
        at += e.url_len;
    }
    text_reset(&n->taken);
}

bool notices_push(struct notices *n, enum notice_kind kind, struct bytes url)
{
    if (url.len == 0 || url.len > URL_BYTES_MAX) {
        count(&n->stats.kinds[kind].refused);
        return false;
    }
    const struct entry e = {(uint32_t)url.len, (uint32_t)kind};
    pthread_mutex_lock(&n->lock);
    bool fits = n->queue.len + sizeof(e) + url.len <= n->options.queue_bytes_max;
    bool wake = fits && !n->woken;
    if (fits) {
        text_add(&n->queue, (const char *)&e, sizeof(e));
        text_add_bytes(&n->queue, url);
        n->woken = true;
    }
    pthread_mutex_unlock(&n->lock);
    count(fits ? &n->stats.kinds[kind].queued : &n->stats.kinds[kind].dropped);
    if (wake)
        loop_post(n->loop, take_queue, n);
    return fits;
}

void notices_stats(const struct notices *n, struct notices_stats *out)
{
    const uint64_t *from = (const uint64_t *)(const void *)&n->stats;
    uint64_t *to = (uint64_t *)(void *)out;
    for (size_t i = 0; i < sizeof(*out) / sizeof(*to); i++)
        to[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
}

/* ---- life ---- */

static void *run(void *arg)
{
    struct notices *n = arg;
    loop_run(n->loop);
    return NULL;
}

struct notices *notices_create(const struct notices_options *o, struct error *err)
{
    struct notices *n = calloc(1, sizeof(*n));
    if (n == NULL) {
        error_set(err, "notices: out of memory");
        return NULL;
    }
    n->options = *o;
    pthread_mutex_init(&n->lock, NULL);
    list_init(&n->by_age);
    list_init(&n->unused);
    n->hosts = calloc(o->hosts_max, sizeof(*n->hosts));
    n->loop = loop_create(err);
    if (n->hosts == NULL)
        error_set(err, "notices: out of memory");
    else if (n->loop != NULL && pthread_create(&n->thread, NULL, run, n) == 0)
        return n;
    else if (n->loop != NULL)
        error_set(err, "notices: no thread");
    loop_destroy(n->loop);
    pthread_mutex_destroy(&n->lock);
    free(n->hosts);
    free(n);
    return NULL;
}

static void give_up(void *ctx)
{
    loop_stop(((struct notices *)ctx)->loop);
}

static void stop(void *arg)
{
    struct notices *n = arg;
    n->stopping = true;
    if (list_is_empty(&n->by_age))
        loop_stop(n->loop);
    else
        timer_set(n->loop, &n->drain_timer, loop_now_us() + (uint64_t)n->options.drain_ms * 1000,
                  give_up, n);
}

static void free_notices(struct list *l)
{
    while (!list_is_empty(l)) {
        struct notice *m = LIST_ITEM(l->next, struct notice, by_age);
        list_unlink(&m->by_age);
        free(m);
    }
}

void notices_destroy(struct notices *n)
{
    if (n == NULL)
        return;
    loop_post(n->loop, stop, n); /* behind the last take_queue */
    pthread_join(n->thread, NULL);
    timer_clear(n->loop, &n->timer);
    timer_clear(n->loop, &n->drain_timer);
    for (uint32_t i = 0; i < n->options.hosts_max; i++)
        forget_host(&n->hosts[i]);
    for (struct list *at = n->by_age.next; at != &n->by_age; at = at->next) {
        struct notice *m = LIST_ITEM(at, struct notice, by_age);
        settle(n, m->kind, &n->stats.kinds[m->kind].dropped);
        payload_release(m->payload);
    }
    free_notices(&n->by_age);
    free_notices(&n->unused);
    loop_destroy(n->loop);
    tls_trust_destroy(n->trust);
    pthread_mutex_destroy(&n->lock);
    text_dispose(&n->queue);
    text_dispose(&n->taken);
    free(n->hosts);
    free(n);
}
