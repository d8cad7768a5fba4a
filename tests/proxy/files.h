/* A folder of its own for a test's files, entered on setup and removed on teardown. */
#ifndef TESTS_PROXY_FILES_H
#define TESTS_PROXY_FILES_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char files_folder[64];

static inline int files_enter(void **state)
{
    (void)state;
    strcpy(files_folder, "/tmp/bidsieve-test-XXXXXX");
    return mkdtemp(files_folder) == NULL || chdir(files_folder) != 0 ? -1 : 0;
}

static inline int files_leave(void **state)
{
    (void)state;
    DIR *folder = opendir(".");
    for (struct dirent *e; folder != NULL && (e = readdir(folder)) != NULL;)
        unlink(e->d_name);
    closedir(folder);
    return chdir("/") != 0 || rmdir(files_folder) != 0 ? -1 : 0;
}

static inline void files_write_bytes(const char *name, const char *bytes, size_t n)
{
    FILE *out = fopen(name, "w");
    if (out == NULL || fwrite(bytes, 1, n, out) != n || fclose(out) != 0)
        abort();
}

/* ' stands for ", so that JSON reads well inside C. */
static inline void files_write_json(const char *name, const char *text)
{
    char *copy = strdup(text);
    for (char *c = copy; *c != '\0'; c++)
        if (*c == '\'')
            *c = '"';
    files_write_bytes(name, copy, strlen(copy));
    free(copy);
}

/* The whole file, NUL-terminated; caller frees. NULL if there is none. */
static inline char *files_read_bytes(const char *name, size_t *n)
{
    FILE *in = fopen(name, "r");
    if (in == NULL)
        return NULL;
    char *text = NULL;
    FILE *out = open_memstream(&text, n);
    for (int c; (c = fgetc(in)) != EOF;)
        fputc(c, out);
    fclose(in);
    fclose(out);
    return text;
}

static inline char *files_read(const char *name)
{
    size_t n;
    return files_read_bytes(name, &n);
}

#endif
