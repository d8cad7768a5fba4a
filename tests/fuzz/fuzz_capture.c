/* Any bytes as a capture file: plain, zstd or gzip by its first bytes. Reading must end, each fault
 * must be said, and what is accepted must keep the header's promises; its request, if it is one
 * that the scanner takes, is masked and written again, and must read back. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "proxy/capture.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        __builtin_trap();
}

static struct capture_reader *open_bytes(const void *base, size_t len, int *fd)
{
    char path[64];
    const char *paths[] = {path};
    struct error err;
    *fd = memfd_create("capture", 0);
    check(*fd >= 0 && write(*fd, base, len) == (ssize_t)len);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", *fd);
    struct capture_reader *r = capture_reader_open(paths, 1, &err);
    check(r != NULL);
    return r;
}

static void check_dsp(const struct capture_dsp *d)
{
    check(d->dsp.len > 0);
    check(d->sent == (d->outcome.base != NULL));
    check(isnan(d->p) || (d->p >= 0 && d->p <= 1));
    check(d->propensity >= 0 && d->propensity <= 1 && (!d->sent || d->propensity > 0));
    check(isnan(d->price) || d->price >= 0);
    check(d->latency_us >= -1);
}

static void write_again(const struct capture_record *record)
{
    struct capture_mask masks[CAPTURE_MASKS_MAX];
    struct bid_request r = {.body = record->request};
    struct capture_record again;
    struct error err;
    struct text line = {0};
    int fd;
    capture_line_begin(&line, record->ts_ms, record->auction, record->request, masks,
                       capture_masks(&r, true, true, masks), NULL, 1);
    for (uint32_t i = 0; i < record->n_dsps; i++)
        capture_line_dsp(&line, &record->dsps[i]);
    capture_line_end(&line);
    check(memchr(line.base, '\n', line.len) == line.base + line.len - 1);
    struct capture_reader *reader = open_bytes(line.base, line.len, &fd);
    check(capture_next(reader, &again, &err) == 1);
    check(again.ts_ms == record->ts_ms && again.n_dsps == record->n_dsps);
    check(capture_next(reader, &again, &err) == 0 && capture_torn(reader) == 0);
    capture_reader_close(reader);
    close(fd);
    text_dispose(&line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct capture_record record;
    struct error err;
    int result, fd;
    struct capture_reader *r = open_bytes(data, size, &fd);
    for (int n = 0; (result = capture_next(r, &record, &err)) != 0; n++) {
        if (result < 0) {
            check(err.text[0] != '\0');
            continue;
        }
        check(record.ts_ms >= 0 && record.generation >= -1);
        check(record.request.len >= 2 && record.request.base[0] == '{');
        for (uint32_t i = 0; i < record.n_dsps; i++)
            check_dsp(&record.dsps[i]);
        if (n < 4)
            write_again(&record);
    }
    check(capture_progress(r) == 1);
    capture_reader_close(r);
    close(fd);
    return 0;
}
