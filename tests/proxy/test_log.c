/* The logs: what is written, what is cut and said to be, and that nobody who logs ever waits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <sys/stat.h>
#include <time.h>

#include "files.h"
#include "proxy/log.h"

static uint64_t fake_us;
static uint64_t fake_now_us(void)
{
    return __atomic_load_n(&fake_us, __ATOMIC_RELAXED);
}

static void pass_second(void)
{
    __atomic_add_fetch(&fake_us, 1000000, __ATOMIC_RELAXED);
}

/* A log whose first half goes to the file "error.log". */
static struct log *open_log(struct log_options o, int *fd)
{
    unlink("error.log");
    unlink("access.log");
    *fd = open("error.log", O_WRONLY | O_CREAT | O_APPEND, 0600);
    o.fd = *fd;
    struct error err = {""};
    struct log *l = log_create(&o, &err);
    if (l == NULL)
        fail_msg("%s", err.text);
    return l;
}

static char *close_log(struct log *l, int fd)
{
    log_destroy(l);
    close(fd);
    return files_read("error.log");
}

static uint32_t count(const char *text, const char *what)
{
    uint32_t n = 0;
    for (; (text = strstr(text, what)) != NULL; text += strlen(what))
        n++;
    return n;
}

/* Line i (from 0) without its time; static. "" = no such line. */
static const char *line_of(const char *text, int i)
{
    static char line[LOG_LINE_MAX + 1];
    while (i-- > 0 && text != NULL)
        text = (text = strchr(text, '\n')) != NULL ? text + 1 : NULL;
    if (text == NULL || *text == '\0')
        return "";
    size_t n = strcspn(text, "\n");
    assert_true(n < sizeof(line) && text[n] == '\n');
    memcpy(line, text, n);
    line[n] = '\0';
    assert_true(n > 25 && line[10] == 'T' && line[23] == 'Z' && line[24] == ' ');
    return line + 25;
}

static void test_write_levels(void **state)
{
    for (int level = LOG_ERROR; level <= LOG_DEBUG; level++) {
        int fd;
        struct log *l = open_log((struct log_options){.level = (enum log_level)level}, &fd);
        log_write(l, LOG_ERROR, "e %d", 1);
        log_write(l, LOG_WARN, "w %s", "2");
        log_write(l, LOG_INFO, "i %u", 3u);
        log_write(l, LOG_DEBUG, "d");
        char *text = close_log(l, fd);
        static const char *const lines[] = {"error e 1", "warn w 2", "info i 3", "debug d"};
        for (int i = LOG_ERROR; i <= LOG_DEBUG; i++)
            assert_string_equal(line_of(text, i), i <= level ? lines[i] : "");
        free(text);
    }
}

/* The date is counted by hand there: gmtime must agree. */
static void test_write_time(void **state)
{
    int fd;
    struct log *l = open_log((struct log_options){.level = LOG_INFO}, &fd);
    time_t before = time(NULL);
    log_write(l, LOG_INFO, "now");
    time_t after = time(NULL);
    char *text = close_log(l, fd);
    struct tm parts = {0};
    assert_non_null(strptime(text, "%Y-%m-%dT%H:%M:%S", &parts));
    time_t written = timegm(&parts);
    assert_true(written >= before && written <= after);
    free(text);
}

static void test_write_text_stays_one_line(void **state)
{
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"plain", "plain"},
        {"", ""},
        {"two\nlines\r\n", "two\\x0alines\\x0d\\x0a"},
        {"tab\tdel\x7f esc\x1b[31m", "tab\\x09del\\x7f esc\\x1b[31m"},
        {"\"quoted\" \\", "\"quoted\" \\"},
        {"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"},
        {"\xff|\xc0\xaf|\xed\xa0\x80|\xf5", "\xef\xbf\xbd|\xef\xbf\xbd\xef\xbf\xbd|\xef\xbf\xbd"
                                            "\xef\xbf\xbd\xef\xbf\xbd|\xef\xbf\xbd"},
        {"cut \xe2\x82", "cut \xef\xbf\xbd\xef\xbf\xbd"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int fd;
        struct log *l = open_log((struct log_options){.level = LOG_INFO}, &fd);
        log_write(l, LOG_INFO, "%s", cases[i].in);
        char *text = close_log(l, fd);
        assert_string_equal(line_of(text, 0) + strlen("info "), cases[i].out);
        assert_int_equal(count(text, "\n"), 1);
        free(text);
    }
}

/* Every byte there is, in both logs: each line must be an object that jansson takes. */
static void test_write_json(void **state)
{
    int fd;
    struct log *l = open_log(
        (struct log_options){
            .level = LOG_INFO, .json = true, .access_file = "access.log", .now_us = fake_now_us},
        &fd);
    for (int c = 1; c < 256; c++) {
        char text[] = {'<', (char)c, '>', '\0'};
        pass_second();
        log_write(l, c % 2 == 0 ? LOG_WARN : LOG_ERROR, "%s", text);
        assert_true(log_access(l, &(struct log_entry){.method = bytes_of(text),
                                                      .path = bytes_of(text),
                                                      .status = 200,
                                                      .duration_us = INT64_MAX,
                                                      .request_bytes = INT64_MAX,
                                                      .response_bytes = INT64_MAX,
                                                      .dsps_called = UINT32_MAX,
                                                      .bids = 3}));
        log_flush(l);
    }
    char *text = close_log(l, fd), *access = files_read("access.log");
    char *texts[] = {text, access};
    for (int t = 0; t < 2; t++) {
        for (char *at = texts[t]; *at != '\0'; at += strcspn(at, "\n") + 1) {
            json_error_t why;
            json_t *line = json_loadb(at, strcspn(at, "\n"), 0, &why);
            if (line == NULL)
                fail_msg("%s: %.100s", why.text, at);
            assert_true(json_is_string(json_object_get(line, "ts")));
            if (t == 0)
                assert_true(json_is_string(json_object_get(line, "message")));
            else
                assert_int_equal(json_integer_value(json_object_get(line, "bids")), 3);
            json_decref(line);
        }
    }
    assert_int_equal(count(text, "\n"), 255);
    assert_int_equal(count(access, "\n"), 255);
    free(text);
    free(access);
}

static void test_write_long(void **state)
{
    char *long_text = malloc(100001);
    memset(long_text, '"', 100000);
    long_text[100000] = '\0';
    for (int json = 0; json < 2; json++) {
        int fd;
        struct log *l = open_log((struct log_options){.level = LOG_INFO, .json = json}, &fd);
        log_write(l, LOG_INFO, "%s", long_text);
        char *text = close_log(l, fd);
        size_t n = strlen(text);
        assert_true(n > LOG_LINE_MAX - 16 && n <= LOG_LINE_MAX + 1 && text[n - 1] == '\n');
        if (json) {
            json_t *line = json_loads(text, 0, NULL);
            assert_non_null(line); /* cut between two escapes, and closed */
            json_decref(line);
        }
        free(text);
    }
    free(long_text);
}

static void test_access(void **state)
{
    int fd;
    struct error err;
    struct log_options o = {.level = LOG_INFO, .access_file = "access.log"};
    struct log *l = open_log(o, &fd);
    struct log_entry e = {.method = bytes_of("POST"),
                          .path = bytes_of("/openrtb2/auction"),
                          .status = 204,
                          .request_bytes = 1300,
                          .duration_us = 4711,
                          .dsps_called = 8,
                          .bids = 2};
    assert_true(log_access(l, &e));
    char longer[1000];
    memset(longer, '/', sizeof(longer));
    e.path = (struct bytes){longer, sizeof(longer)};
    e.method = (struct bytes){longer, sizeof(longer)};
    assert_true(log_access(l, &e));
    log_flush(l);
    char *text = files_read("access.log");
    assert_string_equal(line_of(text, 0),
                        "POST /openrtb2/auction status=204 request_bytes=1300 response_bytes=0 "
                        "duration_us=4711 dsps_called=8 bids=2");
    assert_true(strlen(line_of(text, 1)) < 300);
    free(text);
    o.access_file = NULL;
    assert_int_equal(log_reload(l, &o, &err), 0);
    assert_false(log_access(l, &e));
    free(close_log(l, fd));
    unlink("access.log");
}

static void test_reload_rotates(void **state)
{
    int fd;
    struct error err = {""};
    struct log_options o = {.level = LOG_INFO, .access_file = "access.log"};
    struct log *l = open_log(o, &fd);
    struct log_entry e = {.method = bytes_of("GET"), .path = bytes_of("/before")};
    log_access(l, &e);
    log_flush(l);
    assert_int_equal(rename("access.log", "access.log.1"), 0);
    e.path = bytes_of("/between"); /* still to the file that was moved */
    log_access(l, &e);
    assert_int_equal(log_reload(l, &o, &err), 0);
    log_flush(l);
    e.path = bytes_of("/after");
    log_access(l, &e);
    o.access_file = "no/such/folder/access.log"; /* refused, and nothing changes */
    o.level = LOG_DEBUG;
    assert_int_equal(log_reload(l, &o, &err), -1);
    assert_string_equal(err.text, "no/such/folder/access.log: cannot be opened for the access log: "
                                  "No such file or directory");
    e.path = bytes_of("/still");
    log_access(l, &e);
    log_write(l, LOG_DEBUG, "not at this level");
    o.access_file = "access.log";
    assert_int_equal(log_reload(l, &o, &err), 0); /* twice before the writer may have come round */
    assert_int_equal(log_reload(l, &o, &err), 0);
    log_write(l, LOG_DEBUG, "at this level");
    char *text = close_log(l, fd);
    assert_string_equal(line_of(text, 0), "debug at this level");
    assert_string_equal(line_of(text, 1), "");
    free(text);
    char *old = files_read("access.log.1"), *new = files_read("access.log");
    assert_true(count(old, "/before") == 1 && count(old, "/between") == 1 && count(old, "\n") == 2);
    assert_true(count(new, "/after") == 1 && count(new, "/still") == 1 && count(new, "\n") == 2);
    free(old);
    free(new);
    unlink("access.log");
    unlink("access.log.1");
}

static void test_create_faults(void **state)
{
    struct error err = {""};
    assert_null(log_create(&(struct log_options){.access_file = "/"}, &err));
    assert_string_equal(err.text, "/: cannot be opened for the access log: Is a directory");
    assert_int_equal(mkfifo("fifo", 0600), 0); /* without a reader: must not hang */
    assert_null(log_create(&(struct log_options){.access_file = "fifo"}, &err));
    log_write(NULL, LOG_ERROR, "nowhere");
    assert_false(log_access(NULL, &(struct log_entry){.status = 200}));
    log_destroy(NULL);
}

/* ---- repeats ---- */

static void complain(struct log *l, int i)
{
    log_write(l, LOG_WARN, "dsp alpha: call %d failed", i);
}

static void test_repeats(void **state)
{
    int fd;
    struct log_stats stats;
    struct log *l = open_log((struct log_options){.level = LOG_INFO, .now_us = fake_now_us}, &fd);
    for (int i = 0; i < 25; i++)
        complain(l, i);
    log_write(l, LOG_INFO, "another site");
    log_stats(l, &stats);
    assert_int_equal(stats.repeats_cut, 15);
    pass_second();
    complain(l, 100); /* a new second: sums up the last one first */
    for (int i = 101; i < 112; i++)
        complain(l, i);
    char *text = close_log(l, fd); /* sums up what is left */
    for (int i = 0; i < 10; i++) {
        char wanted[100];
        snprintf(wanted, sizeof(wanted), "warn dsp alpha: call %d failed", i);
        assert_string_equal(line_of(text, i), wanted);
    }
    assert_string_equal(line_of(text, 10), "info another site");
    assert_string_equal(line_of(text, 11), "warn 15 more like this: dsp alpha: call 24 failed");
    assert_string_equal(line_of(text, 12), "warn dsp alpha: call 100 failed");
    assert_string_equal(line_of(text, 22), "warn 2 more like this: dsp alpha: call 111 failed");
    assert_string_equal(line_of(text, 23), "");
    free(text);
}

/* ---- nobody reads ---- */

struct reading {
    int fd;
    char *text;
    size_t n;
};

static void *read_all(void *arg)
{
    struct reading *r = arg;
    FILE *out = open_memstream(&r->text, &r->n);
    char piece[4096];
    for (ssize_t n; (n = read(r->fd, piece, sizeof(piece))) > 0;)
        fwrite(piece, 1, (size_t)n, out);
    fclose(out);
    return NULL;
}

static struct log *open_pipe_log(int ends[2])
{
    struct error err = {""};
    assert_int_equal(pipe(ends), 0);
    fcntl(ends[1], F_SETPIPE_SZ, 4096);
    struct log_options o = {
        .level = LOG_INFO, .fd = ends[1], .queue_bytes_max = 8192, .now_us = fake_now_us};
    struct log *l = log_create(&o, &err);
    assert_non_null(l);
    return l;
}

/* 2,000 lines into a pipe that holds 4 KB and a queue of 8 KB: returns although nobody reads. */
static void flood(struct log *l)
{
    for (int i = 0; i < 2000; i++) {
        pass_second(); /* or the limit on repeats would take the lines */
        log_write(l, LOG_INFO, "line %d of a log that nobody reads", i);
    }
}

static void test_full_queue_drops(void **state)
{
    int ends[2];
    struct log_stats stats;
    struct log *l = open_pipe_log(ends);
    flood(l);
    log_stats(l, &stats);
    assert_true(stats.dropped > 0);
    uint64_t dropped = stats.dropped;

    struct reading r = {.fd = ends[0]};
    pthread_t reader;
    pthread_create(&reader, NULL, read_all, &r);
    log_flush(l);
    log_stats(l, &stats);
    log_destroy(l);
    close(ends[1]);
    pthread_join(reader, NULL);
    close(ends[0]);

    assert_int_equal(stats.write_errors, 0);
    assert_true(count(r.text, "\n") > 10 && r.text[r.n - 1] == '\n');
    assert_int_equal(count(r.text, "that nobody reads\n") + dropped, 2000);
    /* The loss is told, in one or several lines, in full. */
    uint64_t told = 0;
    for (const char *at = r.text; (at = strstr(at, "Z warn ")) != NULL;) {
        at += strlen("Z warn ");
        char *end;
        told += strtoull(at, &end, 10);
        assert_memory_equal(end, " lines of the error log were dropped", 36);
    }
    assert_int_equal(told, dropped);
    free(r.text);
}

static void test_destroy_unread(void **state)
{
    int ends[2];
    struct log *l = open_pipe_log(ends);
    flood(l);
    log_destroy(l); /* comes back */
    close(ends[0]);
    close(ends[1]);
}

static void test_closed_pipe(void **state)
{
    int ends[2];
    struct log_stats stats;
    struct log *l = open_pipe_log(ends);
    close(ends[0]);
    log_write(l, LOG_ERROR, "into nothing"); /* no SIGPIPE */
    log_flush(l);
    log_stats(l, &stats);
    assert_int_equal(stats.write_errors, 1);
    log_destroy(l);
    close(ends[1]);
}

/* ---- many threads ---- */

enum { THREADS = 4, LINES = 2000 };

static void *log_many(void *arg)
{
    struct log *l = arg;
    for (int i = 0; i < LINES; i++) {
        log_access(l, &(struct log_entry){.method = bytes_of("POST"), .path = bytes_of("/x")});
        log_write(l, LOG_INFO, "thread line %d", i);
    }
    return NULL;
}

static void test_threads(void **state)
{
    int fd;
    struct error err;
    struct log_stats stats;
    struct log_options o = {
        .level = LOG_INFO, .access_file = "access.log", .queue_bytes_max = 16384};
    struct log *l = open_log(o, &fd);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, log_many, l);
    for (int i = 0; i < 50; i++)
        assert_int_equal(log_reload(l, &o, &err), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    log_flush(l);
    log_stats(l, &stats);
    char *text = close_log(l, fd), *access = files_read("access.log");
    assert_int_equal(stats.write_errors, 0);
    /* None is lost untold; the lines that tell may themselves be dropped and counted. */
    assert_true(count(access, "POST /x status=0") + count(text, "info thread line") +
                    stats.dropped + stats.repeats_cut >=
                2 * THREADS * LINES);
    for (char *at = access; *at != '\0'; at = strchr(at, '\n') + 1) /* each line whole */
        assert_memory_equal(at + strcspn(at, " "), " POST /x status=0 ", 18);
    free(text);
    free(access);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_write_levels),
        cmocka_unit_test(test_write_time),
        cmocka_unit_test(test_write_text_stays_one_line),
        cmocka_unit_test(test_write_json),
        cmocka_unit_test(test_write_long),
        cmocka_unit_test(test_access),
        cmocka_unit_test(test_reload_rotates),
        cmocka_unit_test(test_create_faults),
        cmocka_unit_test(test_repeats),
        cmocka_unit_test(test_full_queue_drops),
        cmocka_unit_test(test_destroy_unread),
        cmocka_unit_test(test_closed_pipe),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, files_enter, files_leave);
}
