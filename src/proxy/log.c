/* Two queues of finished lines, each a buffer that loggers append to under one short lock, and a
 * second one that the writer thread swaps in and writes outside the lock. The writer polls before
 * each write of at most PIPE_BUF bytes, so that a pipe nobody reads cannot hold it beyond a stop.
 *
 * Repeats are counted by call site, which its format string's address names, in a small table that
 * forgets the oldest: with more sites at once than it holds, more lines come through. */
#include "proxy/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { QUEUE_BYTES_DEFAULT = 1 << 20, QUEUE_BYTES_MIN = 2 * (LOG_LINE_MAX + 1) };
enum { SITES = 64, STOP_WAIT_MS = 1000, WINDOW_US = 1000000 };

struct sink {
    int fd;     /* -1 = none; the writer's */
    int fd_new; /* to be taken over by the writer; -1 = none, FD_SAME = no change */
    bool owned; /* fd is to be closed */
    bool owned_new;
    char *queue, *writing; /* [queue_bytes_max] each; the lock guards the first */
    size_t queue_n;
    uint64_t dropped, dropped_told;
};
enum { FD_SAME = -2 };

struct site {
    const char *format;
    uint64_t window_us; /* when it began */
    uint32_t lines;     /* in the window */
    uint32_t cut;
    enum log_level level;
    char last[160]; /* what was cut last, for the summary */
};

struct log {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t work, idle;
    bool stopping;
    bool busy; /* the writer holds lines it took */
    size_t queue_bytes_max;
    uint64_t (*now_us)(void);
    int level; /* atomic, as are the next two; set under the lock */
    bool json, has_access;
    struct sink error, access; /* under the lock, like all below */
    struct site sites[SITES];
    uint32_t sites_cut;  /* sites with lines cut and not yet told */
    uint64_t stop_by_us; /* set when stopping */
    struct log_stats stats;
};

static uint64_t clock_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* ---- lines ---- */

struct line {
    char text[LOG_LINE_MAX + 1]; /* and '\n' */
    size_t n, max;               /* max: room is kept for what must follow */
};

static void put(struct line *line, const char *text, size_t n)
{
    if (n > line->max - line->n)
        n = line->max - line->n;
    memcpy(line->text + line->n, text, n);
    line->n += n;
}

/* Length of the well-formed UTF-8 sequence at s, 0 if there is none. */
static size_t utf8_length(const unsigned char *s, size_t n)
{
    if (s[0] < 0x80)
        return 1;
    size_t length = s[0] >= 0xc2 && s[0] <= 0xdf ? 2 : (s[0] & 0xf0) == 0xe0 ? 3 : 4;
    if (s[0] < 0xc2 || s[0] > 0xf4 || length > n)
        return 0;
    for (size_t i = 1; i < length; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    bool bad = (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
               (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f);
    return bad ? 0 : length;
}

/* The text so that it stays one line and, for JSON, one string: whatever a stranger put in it. */
static void put_escaped(struct line *line, struct bytes text, bool json)
{
    const unsigned char *s = (const unsigned char *)text.base;
    for (size_t i = 0; i < text.len;) {
        size_t n = utf8_length(s + i, text.len - i);
        char escaped[8];
        size_t escaped_n = 0;
        if (n == 0) {
            escaped_n = (size_t)snprintf(escaped, sizeof(escaped), "\xef\xbf\xbd");
            n = 1;
        } else if (s[i] < ' ' || s[i] == 0x7f) {
            escaped_n =
                (size_t)snprintf(escaped, sizeof(escaped), json ? "\\u%04x" : "\\x%02x", s[i]);
        } else if (json && (s[i] == '"' || s[i] == '\\')) {
            escaped_n = (size_t)snprintf(escaped, sizeof(escaped), "\\%c", s[i]);
        }
        size_t need = escaped_n > 0 ? escaped_n : n;
        if (need > line->max - line->n)
            return; /* whole characters only */
        put(line, escaped_n > 0 ? escaped : text.base + i, need);
        i += n;
    }
}

static void put_text(struct line *line, const char *text)
{
    put(line, text, strlen(text));
}

/* Decimal, at least `width` digits. printf costs several times as much, and an access log has one
 * line a request. */
static void put_number(struct line *line, uint64_t number, unsigned width)
{
    char digits[20];
    unsigned n = 0;
    do {
        digits[sizeof(digits) - ++n] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0 || n < width);
    put(line, digits + sizeof(digits) - n, n);
}

/* RFC 3339 in UTC. Years count from 1 March here, so that the leap day comes last: the months' days
 * then follow the line (153 m + 2) / 5. Good from 1970 on. */
static void put_time(struct line *line)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    uint64_t second = (uint64_t)t.tv_sec % 86400;
    uint64_t day = (uint64_t)t.tv_sec / 86400 + 719468; /* since 0000-03-01 */
    uint64_t era = day / 146097, day_of_era = day % 146097;
    uint64_t year =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    uint64_t day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    uint64_t month = (5 * day_of_year + 2) / 153; /* 0 = March */
    put_number(line, era * 400 + year + (month >= 10), 4);
    put(line, "-", 1);
    put_number(line, month < 10 ? month + 3 : month - 9, 2);
    put(line, "-", 1);
    put_number(line, day_of_year - (153 * month + 2) / 5 + 1, 2);
    put(line, "T", 1);
    put_number(line, second / 3600, 2);
    put(line, ":", 1);
    put_number(line, second / 60 % 60, 2);
    put(line, ":", 1);
    put_number(line, second % 60, 2);
    put(line, ".", 1);
    put_number(line, (uint64_t)t.tv_nsec / 1000000, 3);
    put(line, "Z", 1);
}

static void make_message(struct line *line, enum log_level level, struct bytes message, bool json)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    line->n = 0;
    line->max = LOG_LINE_MAX - 2;
    put_text(line, json ? "{\"ts\":\"" : "");
    put_time(line);
    put_text(line, json ? "\",\"level\":\"" : " ");
    put_text(line, names[level]);
    put_text(line, json ? "\",\"message\":\"" : " ");
    put_escaped(line, message, json);
    line->max = LOG_LINE_MAX + 1;
    if (json)
        put(line, "\"}", 2);
    put(line, "\n", 1);
}

static void put_field(struct line *line, bool json, const char *name, uint64_t number)
{
    put_text(line, json ? ",\"" : " ");
    put_text(line, name);
    put_text(line, json ? "\":" : "=");
    put_number(line, number, 1);
}

static void make_entry(struct line *line, const struct log_entry *e, bool json)
{
    struct bytes method = e->method, path = e->path;
    if (method.len > 16)
        method.len = 16;
    if (path.len > 128)
        path.len = 128;
    line->n = 0;
    line->max = LOG_LINE_MAX + 1;
    put_text(line, json ? "{\"ts\":\"" : "");
    put_time(line);
    put_text(line, json ? "\",\"method\":\"" : " ");
    put_escaped(line, method, json);
    put_text(line, json ? "\",\"path\":\"" : " ");
    put_escaped(line, path, json);
    put_text(line, json ? "\"" : "");
    put_field(line, json, "status", e->status > 0 ? (uint64_t)e->status : 0);
    put_field(line, json, "request_bytes", e->request_bytes);
    put_field(line, json, "response_bytes", e->response_bytes);
    put_field(line, json, "duration_us", e->duration_us);
    put_field(line, json, "dsps_called", e->dsps_called);
    put_field(line, json, "bids", e->bids);
    put_text(line, json ? "}\n" : "\n");
}

/* ---- queues; all under the lock ---- */

static bool enqueue(struct log *l, struct sink *sink, const struct line *line)
{
    if (line->n > l->queue_bytes_max - sink->queue_n) {
        sink->dropped++;
        l->stats.dropped++;
        return false;
    }
    memcpy(sink->queue + sink->queue_n, line->text, line->n);
    if (sink->queue_n == 0)
        pthread_cond_signal(&l->work);
    sink->queue_n += line->n;
    return true;
}

static void enqueue_message(struct log *l, enum log_level level, const char *text)
{
    struct line line;
    make_message(&line, level, bytes_of(text), l->json);
    enqueue(l, &l->error, &line);
}

static void tell_cut(struct log *l, struct site *site)
{
    if (site->cut == 0)
        return;
    char text[256];
    snprintf(text, sizeof(text), "%u more like this: %s", site->cut, site->last);
    site->cut = 0;
    l->sites_cut--;
    enqueue_message(l, site->level, text);
}

/* What was left out and has not been told; all of it at the end, else what is due. */
static void tell_losses(struct log *l, bool all)
{
    uint64_t now = l->now_us();
    for (size_t i = 0; l->sites_cut > 0 && i < SITES; i++)
        if (all || now - l->sites[i].window_us >= WINDOW_US)
            tell_cut(l, &l->sites[i]);
    struct sink *sinks[] = {&l->error, &l->access};
    for (size_t i = 0; i < 2; i++) {
        uint64_t lost = sinks[i]->dropped - sinks[i]->dropped_told;
        if (lost == 0 || l->error.queue_n + LOG_LINE_MAX >= l->queue_bytes_max)
            continue; /* without room now; drain makes some */
        char text[100];
        snprintf(text, sizeof(text),
                 "%llu lines of the %s log were dropped: it is not read fast enough",
                 (unsigned long long)lost, i == 0 ? "error" : "access");
        sinks[i]->dropped_told = sinks[i]->dropped;
        enqueue_message(l, LOG_WARN, text);
    }
}

/* The site's place, or that of the one that began its window longest ago. */
static struct site *find_site(struct log *l, const char *format)
{
    struct site *oldest = &l->sites[0];
    for (size_t i = 0; i < SITES; i++) {
        if (l->sites[i].format == format)
            return &l->sites[i];
        if (l->sites[i].window_us < oldest->window_us)
            oldest = &l->sites[i];
    }
    return oldest;
}

/* False = one of too many; counted. */
static bool admit(struct log *l, enum log_level level, const char *format, const char *message)
{
    struct site *site = find_site(l, format);
    uint64_t now = l->now_us();
    if (site->format != format || now - site->window_us >= WINDOW_US) {
        tell_cut(l, site);
        site->format = format;
        site->level = level;
        site->window_us = now;
        site->lines = 0;
    }
    if (site->lines < LOG_REPEATS_MAX) {
        site->lines++;
        return true;
    }
    if (site->cut++ == 0) {
        l->sites_cut++;
        pthread_cond_signal(&l->work); /* the writer will tell, should the site fall silent */
    }
    l->stats.repeats_cut++;
    snprintf(site->last, sizeof(site->last), "%.150s", message);
    return false;
}

/* ---- the writer ---- */

/* Waits until the descriptor takes something; false when a stop cannot wait any longer. */
static bool wait_writable(struct log *l, int fd)
{
    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        if (poll(&p, 1, 50) > 0)
            return true; /* also on an error, which the write will name */
        pthread_mutex_lock(&l->lock);
        bool late = l->stopping && clock_us() >= l->stop_by_us;
        pthread_mutex_unlock(&l->lock);
        if (late)
            return false;
    }
}

/* How much of the text one write may take: what a pipe that polls writable takes without blocking,
 * and whole lines, so that another writer of the same file does not come between. */
static size_t whole_lines(const char *text, size_t n)
{
    _Static_assert(LOG_LINE_MAX < PIPE_BUF, "a line fits a write");
    if (n <= PIPE_BUF)
        return n;
    const char *end = memrchr(text, '\n', PIPE_BUF);
    return end != NULL ? (size_t)(end + 1 - text) : PIPE_BUF; /* NULL: after a short write */
}

static bool write_all(struct log *l, int fd, const char *text, size_t n)
{
    while (n > 0) {
        if (!wait_writable(l, fd))
            return false;
        ssize_t written = write(fd, text, whole_lines(text, n));
        if (written < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (written <= 0)
            return false;
        text += written;
        n -= (size_t)written;
    }
    return true;
}

static uint64_t count_lines(const char *text, size_t n)
{
    uint64_t lines = 0;
    for (const char *end = text + n; (text = memchr(text, '\n', (size_t)(end - text))) != NULL;
         text++)
        lines++;
    return lines;
}

static void take_over(struct sink *sink)
{
    if (sink->fd_new == FD_SAME)
        return;
    if (sink->owned)
        close(sink->fd);
    sink->fd = sink->fd_new;
    sink->owned = sink->owned_new;
    sink->fd_new = FD_SAME;
}

/* Under the lock at both ends, not while it writes. */
static void drain(struct log *l, struct sink *sink)
{
    size_t n = sink->queue_n;
    char *text = sink->queue;
    sink->queue = sink->writing;
    sink->writing = text;
    sink->queue_n = 0;
    tell_losses(l, false); /* behind what was kept */
    int fd = sink->fd;     /* lines from before a reload go to the file from before */
    if (n > 0) {
        pthread_mutex_unlock(&l->lock);
        bool done = fd >= 0 && write_all(l, fd, text, n);
        uint64_t lines = count_lines(text, n);
        pthread_mutex_lock(&l->lock);
        if (done)
            l->stats.written += lines;
        else
            l->stats.write_errors++;
    }
}

static void wait_for_work(struct log *l)
{
    if (l->sites_cut == 0) {
        pthread_cond_wait(&l->work, &l->lock);
        return;
    }
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec++;
    pthread_cond_timedwait(&l->work, &l->lock, &until);
}

static bool has_work(const struct log *l)
{
    return l->error.queue_n > 0 || l->access.queue_n > 0 || l->access.fd_new != FD_SAME;
}

static void *run(void *arg)
{
    struct log *l = arg;
    pthread_mutex_lock(&l->lock);
    for (;;) {
        tell_losses(l, l->stopping);
        if (has_work(l)) {
            l->busy = true;
            drain(l, &l->error);
            drain(l, &l->access);
            take_over(&l->access);
            l->busy = false;
            continue;
        }
        pthread_cond_broadcast(&l->idle);
        if (l->stopping)
            break;
        wait_for_work(l);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

/* ---- life ---- */

/* The access log's descriptor, -1 for none, or FD_SAME with *err. */
static int open_access(const char *file, bool *owned, struct error *err)
{
    *owned = false;
    if (file == NULL)
        return -1;
    if (strcmp(file, "-") == 0)
        return STDOUT_FILENO;
    /* Not blocking: a FIFO without a reader must fail, not hang. */
    int fd = open(file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0640);
    if (fd < 0) {
        error_set(err, "%s: cannot be opened for the access log: %s", file, strerror(errno));
        return FD_SAME;
    }
    *owned = true;
    return fd;
}

int log_access_check(const char *file, struct error *err)
{
    if (file == NULL || strcmp(file, "-") == 0)
        return 0;
    int fd = open(file, O_WRONLY | O_APPEND | O_CLOEXEC | O_NONBLOCK);
    if (fd >= 0)
        return close(fd);
    if (errno == ENOENT) {
        const char *slash = strrchr(file, '/');
        char *folder = slash == NULL ? strdup(".") : strndup(file, (size_t)(slash - file) + 1);
        if (folder == NULL)
            abort();
        int result = access(folder, W_OK | X_OK);
        free(folder);
        if (result == 0)
            return 0;
    }
    return error_set(err, "%s: %s", file, strerror(errno));
}

static int start_thread(struct log *l, struct error *err)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->work, &attributes);
    pthread_cond_init(&l->idle, NULL);
    pthread_condattr_destroy(&attributes);
    /* Signals are for others; SIGPIPE must come back as EPIPE. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int result = pthread_create(&l->thread, NULL, run, l);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (result != 0)
        return error_set(err, "log: no thread: %s", strerror(result));
    return 0;
}

static void release(struct log *l)
{
    pthread_mutex_destroy(&l->lock);
    pthread_cond_destroy(&l->work);
    pthread_cond_destroy(&l->idle);
    take_over(&l->access);
    if (l->access.owned)
        close(l->access.fd);
    struct sink *sinks[] = {&l->error, &l->access};
    for (size_t i = 0; i < 2; i++) {
        free(sinks[i]->queue);
        free(sinks[i]->writing);
    }
    free(l);
}

struct log *log_create(const struct log_options *o, struct error *err)
{
    bool owned;
    int access_fd = open_access(o->access_file, &owned, err);
    if (access_fd == FD_SAME)
        return NULL;
    struct log *l = calloc(1, sizeof(*l));
    if (l == NULL)
        abort();
    l->queue_bytes_max = o->queue_bytes_max > 0 ? o->queue_bytes_max : QUEUE_BYTES_DEFAULT;
    if (l->queue_bytes_max < QUEUE_BYTES_MIN)
        l->queue_bytes_max = QUEUE_BYTES_MIN;
    l->now_us = o->now_us != NULL ? o->now_us : clock_us;
    l->level = (int)o->level;
    l->json = o->json;
    l->has_access = access_fd >= 0;
    l->error = (struct sink){.fd = o->fd != 0 ? o->fd : STDERR_FILENO, .fd_new = FD_SAME};
    l->access = (struct sink){.fd = access_fd, .fd_new = FD_SAME, .owned = owned};
    struct sink *sinks[] = {&l->error, &l->access};
    for (size_t i = 0; i < 2; i++) {
        sinks[i]->queue = malloc(l->queue_bytes_max);
        sinks[i]->writing = malloc(l->queue_bytes_max);
        if (sinks[i]->queue == NULL || sinks[i]->writing == NULL)
            abort();
    }
    if (start_thread(l, err) != 0) {
        release(l);
        return NULL;
    }
    return l;
}

int log_reload(struct log *l, const struct log_options *o, struct error *err)
{
    bool owned;
    int fd = open_access(o->access_file, &owned, err);
    if (fd == FD_SAME)
        return -1;
    pthread_mutex_lock(&l->lock);
    if (l->access.fd_new != FD_SAME && l->access.owned_new)
        close(l->access.fd_new); /* an earlier reload that the writer did not get to */
    l->access.fd_new = fd;
    l->access.owned_new = owned;
    __atomic_store_n(&l->has_access, fd >= 0, __ATOMIC_RELAXED);
    __atomic_store_n(&l->json, o->json, __ATOMIC_RELAXED);
    __atomic_store_n(&l->level, (int)o->level, __ATOMIC_RELAXED);
    pthread_cond_signal(&l->work);
    pthread_mutex_unlock(&l->lock);
    return 0;
}

void log_destroy(struct log *l)
{
    if (l == NULL)
        return;
    pthread_mutex_lock(&l->lock);
    l->stopping = true;
    l->stop_by_us = clock_us() + STOP_WAIT_MS * 1000;
    pthread_cond_signal(&l->work);
    pthread_mutex_unlock(&l->lock);
    pthread_join(l->thread, NULL);
    release(l);
}

void log_write(struct log *l, enum log_level level, const char *format, ...)
{
    if (l == NULL || (int)level > __atomic_load_n(&l->level, __ATOMIC_RELAXED))
        return;
    char message[LOG_LINE_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    pthread_mutex_lock(&l->lock);
    bool admitted = admit(l, level, format, message);
    pthread_mutex_unlock(&l->lock);
    if (!admitted)
        return;
    struct line line; /* made between the locks: it takes longer than they should be held */
    make_message(&line, level, bytes_of(message), __atomic_load_n(&l->json, __ATOMIC_RELAXED));
    pthread_mutex_lock(&l->lock);
    enqueue(l, &l->error, &line);
    pthread_mutex_unlock(&l->lock);
}

bool log_access(struct log *l, const struct log_entry *e)
{
    if (l == NULL || !__atomic_load_n(&l->has_access, __ATOMIC_RELAXED))
        return false;
    struct line line;
    make_entry(&line, e, __atomic_load_n(&l->json, __ATOMIC_RELAXED));
    pthread_mutex_lock(&l->lock);
    bool queued = enqueue(l, &l->access, &line);
    pthread_mutex_unlock(&l->lock);
    return queued;
}

void log_flush(struct log *l)
{
    pthread_mutex_lock(&l->lock);
    while (has_work(l) || l->busy)
        pthread_cond_wait(&l->idle, &l->lock);
    pthread_mutex_unlock(&l->lock);
}

void log_stats(struct log *l, struct log_stats *out)
{
    pthread_mutex_lock(&l->lock);
    *out = l->stats;
    pthread_mutex_unlock(&l->lock);
}
