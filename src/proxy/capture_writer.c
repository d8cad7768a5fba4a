/* Any thread appends a line by copying it into the last of a list of blocks, under a mutex that
 * nobody holds for longer than a copy or a list swap. One thread takes the list four times a
 * second, or earlier when much is waiting, and alone knows files, compression and errors of the
 * disk.
 *
 *   append -> [block][block][block] -> writer thread -> segment (plain, or one zstd stream)
 *
 * What a crash may cost is bounded by two clocks: the compressor is flushed once a second, so that
 * all before can be decoded although its frame has no end, and a frame is ended every ten, so that
 * the zstd tool, too, can read most of a segment that a crash cut. Segments are written under their
 * final names: there is nothing to recover.
 *
 * A disk that fails costs records, never a request: the lines not yet handed to the kernel are
 * counted as dropped, the broken segment is cut back to its last whole line and closed, and the
 * next segment is tried a second later. Meanwhile the queue fills up to its bound. */
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <zstd.h>

#include "proxy/capture.h"

enum {
    BLOCK_BYTES = 256 * 1024,
    WAKE_BYTES = BLOCK_BYTES, /* waiting, at which the writer thread is woken early */
    TICK_MS = 250,
    SYNC_MS = 1000,
    FRAME_MS = 10000,
    RETRY_MS = 1000,
    ZSTD_LEVEL = 1
};

struct block {
    struct block *next;
    size_t size, used;
    uint64_t lines;
    char data[];
};

struct block_list {
    struct block *first, *last;
};

/* The writer thread's own. */
struct segment {
    int fd; /* -1 = none open */
    char *path;
    uint64_t opened_ms, synced_ms, frame_ms; /* CLOCK_MONOTONIC */
    uint64_t bytes;                          /* before compression */
    off_t good_bytes;        /* of the file, up to which it is whole lines or whole flushes */
    off_t file_bytes;        /* written */
    uint64_t lines_unsynced; /* inside the compressor */
    bool frame_open;
};

struct capture_writer {
    struct capture_options options; /* directory is our copy */
    size_t block_bytes;             /* so that a segment can end where a block does */
    pthread_t thread;

    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t wake, flushed;
    struct block_list queue;
    struct block *spare; /* empty blocks, kept */
    uint64_t queued_bytes;
    uint64_t flush_wanted, flush_done; /* numbers of flushes */
    bool stop;
    struct capture_stats stats;

    /* The writer thread's: */
    struct segment segment;
    ZSTD_CCtx *zstd;
    char *out; /* of the compressor */
    size_t out_size;
    uint64_t sequence;
    uint64_t retry_ms; /* not before this time */
};

static uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* ---- the queue ---- */

static struct block *block_create(size_t size)
{
    struct block *b = malloc(sizeof(*b) + size);
    if (b != NULL)
        *b = (struct block){.size = size};
    return b;
}

static struct block *block_with_room(struct capture_writer *w, size_t len)
{
    struct block *b = w->queue.last;
    if (b != NULL && len <= b->size - b->used)
        return b;
    if (len <= w->block_bytes && w->spare != NULL) {
        b = w->spare;
        w->spare = b->next;
        b->next = NULL;
    } else {
        b = block_create(len > w->block_bytes ? len : w->block_bytes);
        if (b == NULL)
            return NULL;
    }
    if (w->queue.last != NULL)
        w->queue.last->next = b;
    else
        w->queue.first = b;
    w->queue.last = b;
    return b;
}

bool capture_append(struct capture_writer *w, struct bytes line)
{
    assert(line.len > 0 && line.base[line.len - 1] == '\n');
    bool wake = false;
    struct block *b = NULL;
    pthread_mutex_lock(&w->mutex);
    if (line.len <= w->options.queue_bytes_max &&
        w->queued_bytes <= w->options.queue_bytes_max - line.len)
        b = block_with_room(w, line.len);
    if (b != NULL) {
        memcpy(b->data + b->used, line.base, line.len);
        b->used += line.len;
        b->lines++;
        wake = w->queued_bytes < WAKE_BYTES && w->queued_bytes + line.len >= WAKE_BYTES;
        w->queued_bytes += line.len;
    } else {
        w->stats.dropped++;
    }
    pthread_mutex_unlock(&w->mutex);
    if (wake)
        pthread_cond_signal(&w->wake);
    return b != NULL;
}

/* ---- counting ---- */

static void count(struct capture_writer *w, uint64_t records, uint64_t dropped, uint64_t bytes)
{
    pthread_mutex_lock(&w->mutex);
    w->stats.records += records;
    w->stats.dropped += dropped;
    w->stats.bytes_written += bytes;
    pthread_mutex_unlock(&w->mutex);
}

static void fail(struct capture_writer *w, const char *what, const char *path, int code)
{
    pthread_mutex_lock(&w->mutex);
    w->stats.write_errors++;
    snprintf(w->stats.last_error, sizeof(w->stats.last_error), "%s: cannot %s: %s", path, what,
             strerror(code));
    pthread_mutex_unlock(&w->mutex);
    w->retry_ms = now_ms() + RETRY_MS;
}

/* ---- the directory ---- */

/* Like mkdir -p. */
static int make_directory(const char *path)
{
    if (mkdir(path, 0750) == 0 || errno == EEXIST)
        return 0;
    if (errno != ENOENT)
        return -1;
    char *parent = strdup(path);
    if (parent == NULL)
        return -1;
    char *slash = strrchr(parent, '/');
    int result = -1;
    if (slash != NULL && slash != parent) {
        *slash = '\0';
        result = make_directory(parent);
    }
    free(parent);
    if (result == 0 && mkdir(path, 0750) != 0 && errno != EEXIST)
        result = -1;
    return result;
}

static bool skip_digits(const char **at, size_t least)
{
    size_t n = strspn(*at, "0123456789");
    *at += n;
    return n >= least;
}

/* Named as we name segments: only those are ever deleted, never logs that someone put beside them.
 */
static bool is_segment_name(const char *name)
{
    const char *at = name;
    if (!skip_digits(&at, 8) || *at++ != 'T' || !skip_digits(&at, 6) || *at++ != 'Z' ||
        *at++ != '-' || !skip_digits(&at, 1) || *at++ != '-' || !skip_digits(&at, 6))
        return false;
    return strcmp(at, ".ndjson") == 0 || strcmp(at, ".ndjson.zst") == 0;
}

static int segments_only(const struct dirent *entry)
{
    return is_segment_name(entry->d_name);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

/* Deletes the oldest segments, by name, until what is there and what the open one may still grow
 * fit into directory_bytes_max. */
static void trim_directory(struct capture_writer *w)
{
    if (w->options.directory_bytes_max == 0)
        return;
    int folder = open(w->options.directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct dirent **entries = NULL;
    int n = folder < 0 ? -1 : scandirat(folder, ".", &entries, segments_only, by_name);
    const char *current = w->segment.path == NULL ? "" : strrchr(w->segment.path, '/') + 1;
    uint64_t *sizes = n > 0 ? calloc((size_t)n, sizeof(*sizes)) : NULL;
    uint64_t total = w->options.segment_bytes_max;
    if (total > w->options.directory_bytes_max / 2)
        total = w->options.directory_bytes_max / 2;
    for (int i = 0; i < n && sizes != NULL; i++) {
        struct stat st;
        if (fstatat(folder, entries[i]->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
            sizes[i] = (uint64_t)st.st_size;
        total += sizes[i];
    }
    for (int i = 0; i < n && sizes != NULL && total > w->options.directory_bytes_max; i++) {
        if (strcmp(entries[i]->d_name, current) != 0 &&
            unlinkat(folder, entries[i]->d_name, 0) == 0)
            total -= sizes[i];
    }
    for (int i = 0; i < n; i++)
        free(entries[i]);
    free(entries);
    free(sizes);
    if (folder >= 0)
        close(folder);
}

/* ---- a segment ---- */

/* A name may be taken: by a writer of this process that a reload replaced in the same second, or by
 * a process that had our id (in a container all have 1). The next number is free. */
static int create_file(struct capture_writer *w, char **path)
{
    char when[32];
    time_t seconds = time(NULL);
    struct tm utc;
    gmtime_r(&seconds, &utc);
    strftime(when, sizeof(when), "%Y%m%dT%H%M%SZ", &utc);
    for (int tries = 0;; tries++) {
        if (asprintf(path, "%s/%s-%ld-%06llu.ndjson%s", w->options.directory, when, (long)getpid(),
                     (unsigned long long)w->sequence++, w->options.compress ? ".zst" : "") < 0)
            abort();
        int fd = open(*path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0640);
        if (fd >= 0)
            return fd;
        if (errno != EEXIST || tries == 1000) {
            fail(w, "create", *path, errno);
            free(*path);
            return -1;
        }
        free(*path);
    }
}

static bool segment_open(struct capture_writer *w)
{
    if (make_directory(w->options.directory) != 0) {
        fail(w, "create the directory", w->options.directory, errno);
        return false;
    }
    char *path;
    int fd = create_file(w, &path);
    if (fd < 0)
        return false;
    uint64_t now = now_ms();
    w->segment = (struct segment){.fd = fd, .path = path, .opened_ms = now, .synced_ms = now};
    trim_directory(w);
    return true;
}

static bool write_all(struct capture_writer *w, const char *base, size_t len)
{
    struct segment *s = &w->segment;
    while (len > 0) {
        ssize_t n = write(s->fd, base, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            fail(w, "write", s->path, n < 0 ? errno : EIO);
            return false;
        }
        s->file_bytes += n;
        base += n;
        len -= (size_t)n;
    }
    return true;
}

static bool compress(struct capture_writer *w, const char *base, size_t len, ZSTD_EndDirective end)
{
    ZSTD_inBuffer in = {base, len, 0};
    size_t left;
    do {
        ZSTD_outBuffer out = {w->out, w->out_size, 0};
        left = ZSTD_compressStream2(w->zstd, &out, &in, end);
        if (ZSTD_isError(left)) { /* its memory is taken at the first use */
            fail(w, "compress", w->segment.path, ENOMEM);
            return false;
        }
        if (!write_all(w, w->out, out.pos))
            return false;
    } while (end == ZSTD_e_continue ? in.pos < in.size : left != 0);
    w->segment.frame_open = end != ZSTD_e_end;
    return true;
}

/* All lines written so far are whole in the file; a reader can decode them. */
static void segment_is_good(struct capture_writer *w)
{
    struct segment *s = &w->segment;
    count(w, s->lines_unsynced, 0, (uint64_t)(s->file_bytes - s->good_bytes));
    s->good_bytes = s->file_bytes;
    s->lines_unsynced = 0;
    s->synced_ms = now_ms();
}

static void segment_forget(struct capture_writer *w)
{
    if (w->segment.fd >= 0)
        close(w->segment.fd);
    free(w->segment.path);
    w->segment = (struct segment){.fd = -1};
    if (w->zstd != NULL)
        ZSTD_CCtx_reset(w->zstd, ZSTD_reset_session_only);
}

/* After a fault of the disk: what did not get there whole is cut off, and counted. */
static void segment_abandon(struct capture_writer *w)
{
    struct segment *s = &w->segment;
    if (s->file_bytes > s->good_bytes && ftruncate(s->fd, s->good_bytes) != 0)
        s->good_bytes = s->file_bytes; /* then the reader counts a torn line */
    count(w, 0, s->lines_unsynced, 0);
    segment_forget(w);
}

static void segment_sync(struct capture_writer *w, ZSTD_EndDirective how)
{
    struct segment *s = &w->segment;
    if (s->fd < 0 || w->zstd == NULL || (s->lines_unsynced == 0 && !s->frame_open))
        return;
    if (!compress(w, NULL, 0, how)) {
        segment_abandon(w);
        return;
    }
    if (how == ZSTD_e_end)
        s->frame_ms = now_ms();
    segment_is_good(w);
}

/* Not synced: waiting for the disk at the end of a segment would fill the queue, and what a power
 * failure costs is training data. */
static void segment_close(struct capture_writer *w)
{
    segment_sync(w, ZSTD_e_end);
    struct segment *s = &w->segment;
    if (s->fd < 0)
        return;
    if (close(s->fd) != 0) /* some file systems tell of a full disk only now */
        fail(w, "close", s->path, errno);
    s->fd = -1;
    segment_forget(w);
}

/* False = there is no segment to write to. */
static bool segment_write(struct capture_writer *w, const struct block *b)
{
    struct segment *s = &w->segment;
    if (s->bytes > 0 && s->bytes + b->used > w->options.segment_bytes_max)
        segment_close(w);
    if (s->fd < 0 && (now_ms() < w->retry_ms || !segment_open(w)))
        return false;
    if (w->zstd != NULL && !s->frame_open)
        s->frame_ms = now_ms();
    s->bytes += b->used;
    s->lines_unsynced += b->lines;
    bool done = w->zstd != NULL ? compress(w, b->data, b->used, ZSTD_e_continue)
                                : write_all(w, b->data, b->used);
    if (!done)
        segment_abandon(w);
    else if (w->zstd == NULL)
        segment_is_good(w);
    return true;
}

/* ---- the thread ---- */

/* While the disk rests after a fault, only a flush or the end is work. */
static void wait_for_work(struct capture_writer *w)
{
    bool resting = now_ms() < w->retry_ms;
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += TICK_MS * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    int result = 0;
    while (result == 0 && !w->stop && w->flush_wanted == w->flush_done &&
           (resting || w->queued_bytes < WAKE_BYTES))
        result = pthread_cond_timedwait(&w->wake, &w->mutex, &until);
}

/* Returns the first block that must wait for a better disk; a flush or the end tries at once, and
 * waits for nothing. */
static struct block *write_blocks(struct capture_writer *w, struct block *first, bool at_once)
{
    struct block *b = first;
    if (at_once)
        w->retry_ms = 0;
    for (; b != NULL; b = b->next) {
        if (segment_write(w, b))
            continue;
        if (!at_once)
            break;
        count(w, 0, b->lines, 0);
    }
    return b;
}

/* Somebody cleaned up: what we write would go nowhere until the segment ends, and nobody would be
 * told. */
static bool segment_was_deleted(struct capture_writer *w)
{
    struct stat st;
    return w->segment.fd >= 0 && fstat(w->segment.fd, &st) == 0 && st.st_nlink == 0;
}

static void keep_time(struct capture_writer *w, bool at_once)
{
    struct segment *s = &w->segment;
    uint64_t now = now_ms();
    if (segment_was_deleted(w)) {
        fail(w, "write on, it was deleted", s->path, ENOENT);
        w->retry_ms = 0; /* the next one is tried at once */
        count(w, 0, s->lines_unsynced, 0);
        segment_forget(w);
    }
    if (s->fd < 0)
        return;
    if (now - s->opened_ms >= (uint64_t)w->options.segment_seconds_max * 1000)
        segment_close(w);
    else if (s->frame_open && now - s->frame_ms >= FRAME_MS)
        segment_sync(w, ZSTD_e_end);
    else if (s->lines_unsynced > 0 && (at_once || now - s->synced_ms >= SYNC_MS))
        segment_sync(w, ZSTD_e_flush);
}

/* Blocks of the usual size come back as spares, as many as the queue may hold. */
static void recycle_blocks(struct capture_writer *w, struct block *first, const struct block *end)
{
    while (first != end) {
        struct block *b = first;
        first = b->next;
        w->queued_bytes -= b->used;
        if (b->size != w->block_bytes) {
            free(b);
            continue;
        }
        b->used = 0;
        b->lines = 0;
        b->next = w->spare;
        w->spare = b;
    }
}

static void put_back(struct capture_writer *w, struct block *first)
{
    if (first == NULL)
        return;
    struct block *last = first;
    while (last->next != NULL)
        last = last->next;
    last->next = w->queue.first;
    w->queue.first = first;
    if (w->queue.last == NULL)
        w->queue.last = last;
}

static void *writer_main(void *arg)
{
    struct capture_writer *w = arg;
    pthread_mutex_lock(&w->mutex);
    for (;;) {
        wait_for_work(w);
        bool stop = w->stop;
        uint64_t flush = w->flush_wanted;
        bool at_once = stop || flush != w->flush_done;
        struct block *taken = NULL;
        if (at_once || now_ms() >= w->retry_ms) {
            taken = w->queue.first;
            w->queue = (struct block_list){NULL, NULL};
        }
        pthread_mutex_unlock(&w->mutex);
        struct block *left = write_blocks(w, taken, at_once);
        if (stop)
            segment_close(w);
        else
            keep_time(w, at_once);
        pthread_mutex_lock(&w->mutex);
        recycle_blocks(w, taken, left);
        put_back(w, left);
        w->flush_done = flush;
        pthread_cond_broadcast(&w->flushed);
        if (stop)
            break;
    }
    pthread_mutex_unlock(&w->mutex);
    return NULL;
}

void capture_flush(struct capture_writer *w)
{
    pthread_mutex_lock(&w->mutex);
    uint64_t number = ++w->flush_wanted;
    pthread_cond_signal(&w->wake);
    while (w->flush_done < number)
        pthread_cond_wait(&w->flushed, &w->mutex);
    pthread_mutex_unlock(&w->mutex);
}

void capture_stats(const struct capture_writer *w, struct capture_stats *out)
{
    pthread_mutex_t *mutex = (pthread_mutex_t *)&w->mutex; /* locking changes nothing to be seen */
    pthread_mutex_lock(mutex);
    *out = w->stats;
    pthread_mutex_unlock(mutex);
}

/* ---- life ---- */

static void writer_free(struct capture_writer *w)
{
    struct block *lists[] = {w->queue.first, w->spare};
    for (size_t i = 0; i < 2; i++) {
        while (lists[i] != NULL) {
            struct block *next = lists[i]->next;
            free(lists[i]);
            lists[i] = next;
        }
    }
    pthread_cond_destroy(&w->wake);
    pthread_cond_destroy(&w->flushed);
    pthread_mutex_destroy(&w->mutex);
    ZSTD_freeCCtx(w->zstd);
    free(w->out);
    free((char *)w->options.directory);
    free(w);
}

/* Of a directory that is not there, the nearest that is must let one be made. */
int capture_directory_check(const char *directory, struct error *err)
{
    struct stat st;
    char *at = strdup(*directory != '\0' ? directory : ".");
    if (at == NULL)
        abort();
    while (stat(at, &st) != 0 && errno == ENOENT && strcmp(at, ".") != 0) {
        char *slash = strrchr(at, '/');
        if (slash == NULL)
            strcpy(at, ".");
        else
            slash[slash == at] = '\0';
    }
    int result = 0;
    if (stat(at, &st) != 0)
        result = error_set(err, "%s: %s", at, strerror(errno));
    else if (!S_ISDIR(st.st_mode))
        result = error_set(err, "%s: is no directory", at);
    else if (access(at, W_OK | X_OK) != 0)
        result = error_set(err, "%s: %s", at, strerror(errno));
    free(at);
    return result;
}

static int check_directory(const char *directory, struct error *err)
{
    struct stat st;
    if (make_directory(directory) != 0)
        return error_set(err, "%s: cannot create the capture directory: %s", directory,
                         strerror(errno));
    if (stat(directory, &st) != 0)
        return error_set(err, "%s: %s", directory, strerror(errno));
    if (!S_ISDIR(st.st_mode))
        return error_set(err, "%s: the capture directory is a file", directory);
    if (access(directory, W_OK | X_OK) != 0)
        return error_set(err, "%s: cannot write to the capture directory: %s", directory,
                         strerror(errno));
    return 0;
}

static int compressor_create(struct capture_writer *w)
{
    w->zstd = ZSTD_createCCtx();
    w->out_size = ZSTD_CStreamOutSize();
    w->out = malloc(w->out_size);
    if (w->zstd == NULL || w->out == NULL)
        return -1;
    ZSTD_CCtx_setParameter(w->zstd, ZSTD_c_compressionLevel, ZSTD_LEVEL);
    ZSTD_CCtx_setParameter(w->zstd, ZSTD_c_checksumFlag, 1);
    return 0;
}

/* Signals are for the main thread. */
static int start_thread(struct capture_writer *w)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int code = pthread_create(&w->thread, NULL, writer_main, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return code;
}

struct capture_writer *capture_writer_create(const struct capture_options *o, struct error *err)
{
    assert(o->segment_bytes_max > 0 && o->segment_seconds_max > 0);
    if (check_directory(o->directory, err) != 0)
        return NULL;
    struct capture_writer *w = calloc(1, sizeof(*w));
    if (w == NULL) {
        error_set(err, "capture: out of memory");
        return NULL;
    }
    w->options = *o;
    w->options.directory = strdup(o->directory);
    w->segment.fd = -1;
    w->block_bytes = o->segment_bytes_max < BLOCK_BYTES ? o->segment_bytes_max : BLOCK_BYTES;
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&w->mutex, NULL);
    pthread_cond_init(&w->wake, &monotonic);
    pthread_cond_init(&w->flushed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    int code = ENOMEM;
    if (w->options.directory == NULL || (o->compress && compressor_create(w) != 0) ||
        (code = start_thread(w)) != 0) {
        error_set(err, "capture: cannot start its thread: %s", strerror(code));
        writer_free(w);
        return NULL;
    }
    return w;
}

void capture_writer_destroy(struct capture_writer *w)
{
    if (w == NULL)
        return;
    pthread_mutex_lock(&w->mutex);
    w->stop = true;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->mutex);
    pthread_join(w->thread, NULL);
    writer_free(w);
}
