/* What a compressed body costs, once an auction, against the copy that a plain one costs. One JSON
 * line. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "proxy/net/dsp_client.h"
#include "proxy/net/gzip.h"

enum { ROUNDS = 20000 };

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

/* A request of about the usual size. */
static size_t make_body(char *out, size_t size)
{
    size_t at = (size_t)snprintf(
        out, size,
        "{\"id\":\"5f1d0e3c-7c53-4b7a-9c6e-52b1f8f3f1aa\",\"at\":2,\"tmax\":120,\"cur\":[\"USD\"],"
        "\"site\":{\"id\":\"1234\",\"domain\":\"news.example\",\"page\":\"https://news.example/"
        "2026/11/22/a-long-story-about-something\",\"publisher\":{\"id\":\"77\"},\"cat\":[\"IAB1\","
        "\"IAB12-3\"]},\"device\":{\"ua\":\"Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) "
        "AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4 Mobile/15E148 Safari/604.1\","
        "\"ip\":\"192.0.2.7\",\"geo\":{\"country\":\"GBR\",\"region\":\"ENG\",\"city\":\"London\"},"
        "\"devicetype\":4,\"os\":\"iOS\",\"osv\":\"17.4\",\"language\":\"en\"},\"imp\":[");
    for (int i = 0; i < 3; i++)
        at += (size_t)snprintf(
            out + at, size - at,
            "%s{\"id\":\"%d\",\"bidfloor\":0.4%d,\"secure\":1,\"tagid\":\"slot-%d\",\"banner\":{"
            "\"pos\":1,\"format\":[{\"w\":300,\"h\":250},{\"w\":320,\"h\":50},{\"w\":728,\"h\":90}]"
            "}}",
            i > 0 ? "," : "", i, i, i * 7919);
    return at + (size_t)snprintf(out + at, size - at, "]}");
}

int main(void)
{
    char body[4096];
    const struct bytes whole = {body, make_body(body, sizeof(body))};
    const struct bytes pieces[] = {{body, 60}, {"95", 2}, {body + 63, whole.len - 63}};
    struct gzip *g = gzip_create();
    size_t packed = 0;
    double from = now_us();
    for (int i = 0; i < ROUNDS; i++)
        packed = gzip_pieces(g, pieces, 3).len;
    double gzip_us = (now_us() - from) / ROUNDS;
    from = now_us();
    for (int i = 0; i < ROUNDS; i++)
        payload_release(payload_create(pieces[0], pieces[2]));
    double plain_us = (now_us() - from) / ROUNDS;
    printf("{\"bench\":\"gzip\",\"body_bytes\":%zu,\"gzip_bytes\":%zu,\"gzip_us\":%.2f,"
           "\"plain_copy_us\":%.3f}\n",
           whole.len, packed, gzip_us, plain_us);
    gzip_destroy(g);
    return 0;
}
