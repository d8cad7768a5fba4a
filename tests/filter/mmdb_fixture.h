/* A writer of tiny MaxMind databases: an IPv6 tree of 24-bit records, a map of texts and doubles an
 * entry. https://maxmind.github.io/MaxMind-DB/ is the format. */
#ifndef TESTS_FILTER_MMDB_FIXTURE_H
#define TESTS_FILTER_MMDB_FIXTURE_H

#include "tests/filter/fixture.h"

#include <arpa/inet.h>

enum { MMDB_NODES_MAX = 4096, MMDB_DATA_MAX = 1 << 16 };

struct mmdb_writer {
    uint32_t nodes[MMDB_NODES_MAX][2]; /* 0: nothing; a node's number; above NODES_MAX: an entry */
    uint32_t n_nodes;
    unsigned char data[MMDB_DATA_MAX];
    size_t size;
};

enum mmdb_type {
    MMDB_W_TEXT = 2,
    MMDB_W_DOUBLE = 3,
    MMDB_W_U16 = 5,
    MMDB_W_U32 = 6,
    MMDB_W_MAP = 7
};
enum mmdb_extended { MMDB_W_U64 = 9, MMDB_W_ARRAY = 11 };

static inline void mmdb_byte(struct mmdb_writer *w, unsigned byte)
{
    assert_true(w->size < MMDB_DATA_MAX);
    w->data[w->size++] = (unsigned char)byte;
}

static inline void mmdb_head(struct mmdb_writer *w, unsigned type, size_t size)
{
    assert_true(size < 29 + 256);
    unsigned low = (unsigned)(size < 29 ? size : 29);
    mmdb_byte(w, (type <= 7 ? type << 5 : 0) | low);
    if (type > 7)
        mmdb_byte(w, type - 7);
    if (size >= 29)
        mmdb_byte(w, (unsigned)(size - 29));
}

static inline void mmdb_text(struct mmdb_writer *w, const char *text)
{
    mmdb_head(w, MMDB_W_TEXT, strlen(text));
    for (; *text != '\0'; text++)
        mmdb_byte(w, (unsigned char)*text);
}

static inline void mmdb_number(struct mmdb_writer *w, unsigned type, uint64_t n, unsigned bytes)
{
    mmdb_head(w, type, bytes);
    while (bytes-- > 0)
        mmdb_byte(w, (unsigned)(n >> 8 * bytes & 255));
}

static inline void mmdb_double(struct mmdb_writer *w, double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof(bits));
    mmdb_number(w, MMDB_W_DOUBLE, bits, 8);
}

static inline void mmdb_begin(struct mmdb_writer *w)
{
    memset(w, 0, sizeof(*w));
    w->n_nodes = 1;
}

/* "1.2.3.0/24" or "2001:db8::/32"; the value that is written next belongs to it. */
static inline void mmdb_network(struct mmdb_writer *w, const char *network)
{
    unsigned char address[16] = {0};
    char text[64];
    snprintf(text, sizeof(text), "%s", network);
    char *slash = strchr(text, '/');
    assert_non_null(slash);
    *slash = '\0';
    bool v4 = strchr(text, ':') == NULL;
    uint32_t bits = (uint32_t)atoi(slash + 1) + (v4 ? 96 : 0), node = 0;
    assert_int_equal(inet_pton(v4 ? AF_INET : AF_INET6, text, address + (v4 ? 12 : 0)), 1);
    for (uint32_t i = 0; i < bits; i++) {
        uint32_t *next = &w->nodes[node][address[i / 8] >> (7 - i % 8) & 1];
        if (i + 1 == bits)
            *next = MMDB_NODES_MAX + (uint32_t)w->size;
        else if (*next == 0)
            *next = w->n_nodes++;
        node = *next;
        assert_true(i + 1 == bits || w->n_nodes < MMDB_NODES_MAX);
    }
}

static inline void mmdb_metadata(struct mmdb_writer *w)
{
    mmdb_head(w, MMDB_W_MAP, 9);
    mmdb_text(w, "node_count");
    mmdb_number(w, MMDB_W_U32, w->n_nodes, 4);
    mmdb_text(w, "record_size");
    mmdb_number(w, MMDB_W_U16, 24, 2);
    mmdb_text(w, "ip_version");
    mmdb_number(w, MMDB_W_U16, 6, 2);
    mmdb_text(w, "database_type");
    mmdb_text(w, "Test");
    mmdb_text(w, "languages");
    mmdb_head(w, MMDB_W_ARRAY, 1);
    mmdb_text(w, "en");
    mmdb_text(w, "binary_format_major_version");
    mmdb_number(w, MMDB_W_U16, 2, 2);
    mmdb_text(w, "binary_format_minor_version");
    mmdb_number(w, MMDB_W_U16, 0, 2);
    mmdb_text(w, "build_epoch");
    mmdb_number(w, MMDB_W_U64, 1764168300, 8);
    mmdb_text(w, "description");
    mmdb_head(w, MMDB_W_MAP, 1);
    mmdb_text(w, "en");
    mmdb_text(w, "of a test");
}

/* Writes a fresh file; the caller unlinks and frees its name. */
static inline char *mmdb_finish(struct mmdb_writer *w)
{
    static char file[MMDB_NODES_MAX * 6 + MMDB_DATA_MAX + 64];
    char *at = file;
    for (uint32_t i = 0; i < w->n_nodes; i++)
        for (int side = 0; side < 2; side++) {
            uint32_t to = w->nodes[i][side];
            to = to == 0                ? w->n_nodes
                 : to >= MMDB_NODES_MAX ? to - MMDB_NODES_MAX + w->n_nodes + 16
                                        : to;
            for (int shift = 16; shift >= 0; shift -= 8)
                *at++ = (char)(to >> shift & 255);
        }
    memset(at, 0, 16);
    at += 16;
    size_t data = w->size;
    mmdb_metadata(w);
    memcpy(at, w->data, data);
    at += data;
    memcpy(at, "\xab\xcd\xefMaxMind.com", 14);
    at += 14;
    memcpy(at, w->data + data, w->size - data);
    at += w->size - data;
    return fixture_temporary(file, (size_t)(at - file));
}

#endif
