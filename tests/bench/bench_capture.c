/* What capture costs: building a line on the loop, masking, handing it over, and reading records
 * back, beside parsing the same lines with jansson.
 *
 *   bench_capture [RECORDS] */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "proxy/capture.h"

enum { DSPS = 16 };

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

/* About the size and shape of a common mobile request. */
static void make_request(struct text *out)
{
    text_literal(out, "{\"id\":\"7f3c1d\",\"imp\":[");
    for (int i = 0; i < 3; i++)
        text_format(
            out,
            "%s{\"id\":\"%d\",\"banner\":{\"format\":[{\"w\":300,\"h\":250},{\"w\":320,\"h\":"
            "50}],\"pos\":1},\"bidfloor\":0.4%d,\"bidfloorcur\":\"USD\",\"secure\":1}",
            i > 0 ? "," : "", i, i);
    text_literal(out, "],\"app\":{\"id\":\"a1\",\"bundle\":\"com.example.game\",\"cat\":[\"IAB9\"],"
                      "\"publisher\":{\"id\":\"p77\",\"name\":\"Example\"}},\"device\":{\"ua\":\"");
    for (int i = 0; i < 4; i++)
        text_literal(out, "Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 ");
    text_literal(out, "\",\"ip\":\"81.2.69.160\",\"ifa\":\"0f3a1b2c-1111-2222-3333-444455556666\","
                      "\"os\":\"android\",\"geo\":{\"country\":\"GBR\",\"city\":\"London\"}},"
                      "\"user\":{\"id\":\"u-123456\",\"buyeruid\":\"b-99887766\",\"eids\":[{"
                      "\"source\":\"example.org\",\"uids\":[{\"id\":\"XY1000bIVBVah9ium\"}]}]},"
                      "\"regs\":{\"gdpr\":1},\"tmax\":120,\"cur\":[\"USD\"]}");
}

static void build(struct text *line, const struct bid_request *r, bool masked, int i)
{
    struct capture_mask masks[CAPTURE_MASKS_MAX];
    text_reset(line);
    uint32_t n_masks = capture_masks(r, masked, masked, masks);
    capture_line_begin(line, 1763760000000 + i, r->id, r->body, masks, n_masks, "20261122-x", 7);
    for (int k = 0; k < DSPS; k++) {
        bool sent = k < 4;
        const struct capture_dsp d = {.dsp = bytes_of("dsp-alpha"),
                                      .sent = sent,
                                      .why = bytes_of(sent ? "score" : "below_threshold"),
                                      .p = (double)((float)(i * 16 + k) / 1e7f),
                                      .threshold = (double)0.0042f,
                                      .propensity = (double)(sent ? 1 : 0.02f),
                                      .outcome =
                                          sent ? bytes_of("no_bid") : (struct bytes){NULL, 0},
                                      .price = k == 0 ? 1.92 : NAN,
                                      .paid = NAN,
                                      .latency_us = sent ? 8000 + i % 1000 : -1};
        capture_line_dsp(line, &d);
    }
    capture_line_end(line);
}

static double read_all(const char *folder, int *n)
{
    struct capture_record record;
    struct error err;
    struct capture_reader *r = capture_reader_open(&folder, 1, &err);
    double begun = now_us();
    *n = 0;
    while (r != NULL && capture_next(r, &record, &err) == 1)
        ++*n;
    capture_reader_close(r);
    return now_us() - begun;
}

int main(int argc, char **argv)
{
    int n = argc > 1 ? atoi(argv[1]) : 20000, read_back = 0;
    char folder[] = "/tmp/bench-capture-XXXXXX", command[64];
    struct text body = {0}, line = {0};
    make_request(&body);
    struct bid_request r = {.body = text_bytes(&body), .id = bytes_of("7f3c1d")};
    struct error err = {""};
    struct capture_options o = {.directory = mkdtemp(folder),
                                .compress = true,
                                .segment_bytes_max = 256 << 20,
                                .segment_seconds_max = 3600,
                                .queue_bytes_max = 256 << 20};
    struct capture_writer *w = o.directory != NULL ? capture_writer_create(&o, &err) : NULL;
    if (w == NULL) {
        fprintf(stderr, "bench_capture: %s\n", err.text);
        return 1;
    }
    double begun = now_us();
    for (int i = 0; i < n; i++)
        build(&line, &r, false, i);
    double plain_us = (now_us() - begun) / n;
    begun = now_us();
    for (int i = 0; i < n; i++)
        build(&line, &r, true, i);
    double masked_us = (now_us() - begun) / n;
    begun = now_us();
    for (int i = 0; i < n; i++)
        capture_append(w, text_bytes(&line));
    double append_us = (now_us() - begun) / n;
    begun = now_us();
    capture_flush(w);
    double flush_us = (now_us() - begun) / n;
    struct capture_stats stats;
    capture_stats(w, &stats);
    capture_writer_destroy(w);
    double read_us = read_all(folder, &read_back) / n;
    begun = now_us();
    for (int i = 0; i < n / 10; i++)
        json_decref(json_loadb(line.base, line.len, 0, NULL));
    double jansson_us = (now_us() - begun) / (n / 10);
    printf("{\"bench\":\"capture\",\"records\":%d,\"dsps\":%d,\"request_bytes\":%zu,\"line_bytes\":"
           "%zu,"
           "\"build_us\":%.2f,\"build_masked_us\":%.2f,\"append_us\":%.3f,\"compress_us\":%.2f,"
           "\"dropped\":%llu,\"read_zstd_us\":%.2f,\"read_mb_per_s\":%.0f,\"jansson_us\":%.2f}\n",
           n, DSPS, body.len, line.len, plain_us, masked_us, append_us, flush_us,
           (unsigned long long)stats.dropped, read_us, (double)line.len / read_us, jansson_us);
    text_dispose(&body);
    text_dispose(&line);
    snprintf(command, sizeof(command), "rm -r %s", folder);
    return system(command) != 0 || read_back + (int)stats.dropped != n;
}
