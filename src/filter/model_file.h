/* Writes what training made as a model file. */
#ifndef FILTER_MODEL_FILE_H
#define FILTER_MODEL_FILE_H

#include "filter/model_metadata.h"
#include "filter/slices.h"
#include "filter/verdict.h"

struct model_file {
    const struct schema *schema;
    bool wide;                   /* every table of texts is a wide one, whatever the schema says */
    struct network *network;     /* gets the verdict's calibration */
    const struct slices *slices; /* that it was trained on: vocabularies and golden inputs */
    struct verdict *verdict;     /* gives away its curves */
    struct model_training training;
};

int model_file_write(const struct model_file *m, const char *path, struct error *err);

#endif
