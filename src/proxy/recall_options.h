/* What commands that look at a model's thresholds share: options, and the words for a recall. */
#ifndef PROXY_RECALL_OPTIONS_H
#define PROXY_RECALL_OPTIONS_H

#include "filter/judgement.h"
#include "proxy/cli.h"

#define RECALL_HELP "recall target that sets the thresholds (default 0.97)"
#define GEO_HELP "geo database for records without device.geo"
#define CAPTURE_HELP "files or directories of capture segments, plain or .zst"
#define CONFIDENCE_HELP                                                                            \
    "confidence of the recall curves' bounds: more withholds less,\nand leaves more DSPs without " \
    "a threshold"
#define MARGIN_HELP \
    "added to every recall target, for what the next day loses by\nchange, not by chance"
#define RECALL_OF_HELP "bids or value: each bid counts alike, or by its price"

/* "bids", "value"; false for another text, which is told on stderr. */
bool recall_of_parse(const char *command, const char *text, enum recall_of *out);
const char *recall_of_name(enum recall_of of);

/* " 0.973 [0.960, 0.982]", or as wide and "-" without bids. */
void recall_print(const struct tally *t, const struct tally_result *r);

#endif
