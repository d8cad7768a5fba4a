/* Words shared by evaluate, recalibrate, backtest. */
#include "proxy/recall_options.h"

#include <stdio.h>
#include <string.h>

static const char *const NAMES[] = {[RECALL_OF_BIDS] = "bids", [RECALL_OF_VALUE] = "value"};

bool recall_of_parse(const char *command, const char *text, enum recall_of *out)
{
    for (size_t i = 0; i < sizeof(NAMES) / sizeof(NAMES[0]); i++)
        if (strcmp(text, NAMES[i]) == 0) {
            *out = (enum recall_of)i;
            return true;
        }
    fprintf(stderr, "bidsieve %s: --recall-of takes bids or value, not %s\n", command, text);
    return false;
}

const char *recall_of_name(enum recall_of of)
{
    return NAMES[of];
}

void recall_print(const struct tally *t, const struct tally_result *r)
{
    if (t->bids > 0)
        printf("  %.3f [%.3f, %.3f]", r->recall, r->recall_low, r->recall_high);
    else
        printf("  %-20s", "-");
}
