/* What reading one bid request costs: our scan against jansson's DOM, on the same bodies in the
 * same run. Without arguments a built-in request of about 1.5 KB; else a file of one body a line
 * ({"src":..,"body":{..}} lines are taken apart; captured-2012.ndjson, decompressed, fits as it
 * is).
 *
 *   bench_scan [FILE [SECONDS]]
 */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <time.h>

#include "filter/bid_request.h"
#include "filter/json.h"

static const char sample[] =
    "{\"id\":\"0f3a7c62-9a55-4c6e-8a41-5d0b6f7f2c11\",\"at\":2,\"tmax\":120,\"cur\":[\"USD\"],"
    "\"imp\":[{\"id\":\"1\",\"tagid\":\"/1234567/news/top\",\"secure\":1,\"bidfloor\":0.35,"
    "\"bidfloorcur\":\"USD\",\"banner\":{\"w\":300,\"h\":250,\"pos\":1,\"format\":[{\"w\":300,"
    "\"h\":"
    "250},{\"w\":336,\"h\":280},{\"w\":300,\"h\":600}],\"mimes\":[\"image/jpeg\",\"image/png\"],"
    "\"btype\":[1,4],\"battr\":[1,2,8,14]},\"pmp\":{\"private_auction\":0,\"deals\":[{\"id\":"
    "\"deal-"
    "77\",\"bidfloor\":1.25,\"at\":1,\"wseat\":[\"17\",\"42\"]}]}}],\"site\":{\"id\":\"s-4411\","
    "\"name\":\"Example News\",\"domain\":\"news.example.com\",\"cat\":[\"IAB12\",\"IAB12-2\"],"
    "\"page\":\"https://news.example.com/world/2024/05/17/a-long-headline-in-the-address?utm=x\","
    "\"ref\":\"https://search.example.net/\",\"mobile\":1,\"publisher\":{\"id\":\"p-99\",\"name\":"
    "\"Example Media\"}},\"device\":{\"ua\":\"Mozilla/5.0 (Linux; Android 14; Pixel 8) "
    "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Mobile Safari/537.36\",\"ip\":"
    "\"203.0.113.0\",\"geo\":{\"lat\":51.5072,\"lon\":-0.1276,\"country\":\"GBR\",\"region\":"
    "\"ENG\","
    "\"city\":\"London\",\"zip\":\"SW1A\",\"type\":2,\"utcoffset\":60},\"make\":\"Google\","
    "\"model\":"
    "\"Pixel "
    "8\",\"os\":\"Android\",\"osv\":\"14\",\"devicetype\":4,\"connectiontype\":2,\"language\":"
    "\"en\",\"ifa\":\"00000000-0000-0000-0000-000000000000\",\"lmt\":0,\"dnt\":0,\"js\":1,\"w\":"
    "412,"
    "\"h\":915},\"user\":{\"id\":\"u-0123456789abcdef\",\"buyeruid\":\"b-fedcba9876543210\","
    "\"eids\":"
    "[{\"source\":\"id.example.org\",\"uids\":[{\"id\":\"ID5*abcdef\",\"atype\":1}]}]},\"regs\":"
    "{\"coppa\":0,\"gdpr\":1},\"bcat\":[\"IAB25\",\"IAB26\",\"IAB7-39\"],\"badv\":[\"one.example\","
    "\"two.example\"],\"source\":{\"tid\":\"t-1\",\"ext\":{\"schain\":{\"ver\":\"1.0\","
    "\"complete\":1,"
    "\"nodes\":[{\"asi\":\"ssp.example\",\"sid\":\"1\",\"hp\":1}]}}}}";

struct bodies {
    struct bytes *items;
    size_t n, bytes;
};

static void bodies_add(struct bodies *b, const char *text, size_t len)
{
    b->items = realloc(b->items, (b->n + 1) * sizeof(*b->items));
    char *copy = malloc(len);
    memcpy(copy, text, len);
    b->items[b->n++] = (struct bytes){copy, len};
    b->bytes += len;
}

static void bodies_load(struct bodies *b, const char *path)
{
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        perror(path);
        exit(1);
    }
    char *line = NULL;
    size_t capacity = 0;
    ssize_t len;
    while ((len = getline(&line, &capacity, file)) > 0) {
        json_t *root = json_loadb(line, (size_t)len, 0, NULL);
        json_t *body = json_object_get(root, "body");
        char *text = json_dumps(body != NULL ? body : root, JSON_COMPACT);
        if (text != NULL)
            bodies_add(b, text, strlen(text));
        free(text);
        json_decref(root);
    }
    free(line);
    fclose(file);
}

static void scan_one(struct bytes body, struct arena *arena)
{
    struct bid_request request;
    struct bid_request_error e;
    (void)bid_request_scan(&request, body, 0, arena, &e);
    arena_reset(arena, 1 << 20);
}

static void skip_one(struct bytes body, struct arena *arena)
{
    struct json j;
    (void)arena;
    json_begin(&j, body);
    json_skip(&j, NULL);
}

static void jansson_one(struct bytes body, struct arena *arena)
{
    (void)arena;
    json_decref(json_loadb(body.base, body.len, 0, NULL));
}

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* CPU microseconds a body: the best of rounds that add up to seconds. */
static double measure(const struct bodies *b, void (*one)(struct bytes, struct arena *),
                      double seconds)
{
    struct arena arena = {0};
    double best = INFINITY, begin = now_s();
    size_t repeats = 1 + 2000000 / (b->bytes + 1);
    do {
        double start = now_s();
        for (size_t k = 0; k < repeats; k++) {
            for (size_t i = 0; i < b->n; i++)
                one(b->items[i], &arena);
        }
        double each_us = 1e6 * (now_s() - start) / (double)(repeats * b->n);
        best = each_us < best ? each_us : best;
    } while (now_s() - begin < seconds);
    arena_dispose(&arena);
    return best;
}

int main(int argc, char **argv)
{
    struct bodies b = {NULL, 0, 0};
    double seconds = argc > 2 ? atof(argv[2]) : 1;
    if (argc > 1)
        bodies_load(&b, argv[1]);
    else
        bodies_add(&b, sample, sizeof(sample) - 1);
    if (b.n == 0) {
        fprintf(stderr, "bench_scan: no bodies in %s\n", argv[1]);
        return 1;
    }
    double scan_us = measure(&b, scan_one, seconds);
    double skip_us = measure(&b, skip_one, seconds);
    double jansson_us = measure(&b, jansson_one, seconds);
    printf("{\"bench\":\"scan\",\"bodies\":%zu,\"body_bytes\":%zu,\"scan_us\":%.3f,"
           "\"validate_us\":%.3f,\"jansson_us\":%.3f,\"scan_gb_per_s\":%.3f,"
           "\"jansson_over_scan\":%.1f}\n",
           b.n, b.bytes / b.n, scan_us, skip_us, jansson_us,
           (double)(b.bytes / b.n) / scan_us / 1e3, jansson_us / scan_us);
    for (size_t i = 0; i < b.n; i++)
        free((void *)b.items[i].base);
    free(b.items);
    return 0;
}
