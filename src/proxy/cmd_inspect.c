/* bidsieve inspect: what a model file holds. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "filter/predictor.h"
#include "proxy/cli.h"
#include "proxy/commands.h"

static void print_window(const char *name, int64_t from_ms, int64_t to_ms, uint64_t pairs,
                         uint64_t bids)
{
    char from[32] = "unknown", to[32] = "unknown";
    time_t t = (time_t)(from_ms / 1000);
    struct tm tm;
    if (from_ms >= 0 && gmtime_r(&t, &tm) != NULL)
        strftime(from, sizeof(from), "%Y-%m-%dT%H:%MZ", &tm);
    t = (time_t)(to_ms / 1000);
    if (to_ms >= 0 && gmtime_r(&t, &tm) != NULL)
        strftime(to, sizeof(to), "%Y-%m-%dT%H:%MZ", &tm);
    printf("%-13s %s to %s, %" PRIu64 " calls, %" PRIu64 " bids\n", name, from, to, pairs, bids);
}

/* name[rows x dim], '+' where it has a wide table too; broken to fit a terminal. */
static void print_features(const struct network_shape *shape)
{
    int column = printf("features     ");
    for (uint32_t f = 0; f < shape->n_features; f++) {
        const struct network_feature *x = &shape->features[f];
        char text[128];
        int len = snprintf(text, sizeof(text), " %s[%u x %u%s]", x->name, x->values, x->dim,
                           x->wide ? " +" : "");
        if (column + len > 100)
            column = printf("\n             ") - 1;
        column += printf("%s", text);
    }
    printf("\n              %u numeric inputs; +: also a weight per value and DSP\n",
           shape->n_numeric);
}

/* Per target the share that is withheld, with the model's margin, as serving would. */
static void print_dsp(const struct predictor *p, uint32_t d, enum recall_of of, const char *name)
{
    static const double targets[] = {0.90, 0.95, 0.97, 0.98, 0.99};
    const struct recall_curve *c = predictor_curve_of(p, d, of);
    if (c == NULL) {
        printf("%-16s no curve: not filtered, every call is sent\n", name);
        return;
    }
    printf("%-16s %9" PRIu64 " %7" PRIu64 " %5.2f%%", name, c->pairs, c->bids, 100 * c->bid_rate);
    printf(isfinite(c->auc) ? " %6.3f" : "      -", c->auc);
    printf(isfinite(c->calibration) ? " %6.2f" : "      -", c->calibration);
    for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
        float threshold = predictor_threshold_of(p, d, targets[i], of);
        if (isnan(threshold))
            printf(" %7s", "-");
        else
            printf(" %6.1f%%", 100 * predictor_withheld(p, d, threshold, of));
    }
    putchar('\n');
}

static void print_memory(const struct predictor_info *i)
{
    const struct scorer_memory *m = &i->memory;
    const double mb = 1 << 20;
    printf("served by     kernel %s, %.1f MB: rows of layer 1 %.1f, layers %.1f, wide tables %.1f, "
           "conjunctions %.1f; %.0f KB a thread\n",
           i->kernel, (double)(m->rows + m->layers + m->wide + m->conjunctions) / mb,
           (double)m->rows / mb, (double)m->layers / mb, (double)m->wide / mb,
           (double)m->conjunctions / mb, (double)m->scratch / 1024);
}

static void print_curves(const struct predictor *p)
{
    const struct predictor_info *info = predictor_info(p);
    printf("\nwithheld share of calls at a recall that is kept");
    if (isfinite(info->recall_confidence))
        printf(" with %g%% confidence and a margin of %g", 100 * info->recall_confidence,
               info->recall_margin);
    printf("\n('-': too few bids to prove it: the DSP is not filtered, every call is sent)\n");
    printf("%-16s %9s %7s %6s %6s %6s %7s %7s %7s %7s %7s\n", "dsp", "calls", "bids", "rate", "auc",
           "calib", "0.90", "0.95", "0.97", "0.98", "0.99");
    for (uint32_t d = 0; d < info->n_dsps; d++) {
        print_dsp(p, d, RECALL_OF_BIDS, predictor_dsp_name(p, d));
        if (predictor_curve_of(p, d, RECALL_OF_VALUE) != NULL)
            print_dsp(p, d, RECALL_OF_VALUE, "  of value");
    }
}

int cmd_inspect(int argc, char **argv)
{
    const char *path = NULL;
    bool json = false;
    const struct cli_option options[] = {
        {"model", CLI_TEXT, &path, "FILE", "the model file", 0, 0, true},
        {"json", CLI_FLAG, &json, NULL, "the whole metadata as one JSON document", 0, 0, false},
    };
    const struct cli_command command = {
        .name = "inspect",
        .summary = "Shows a model file: schema, training window, metrics, recall curve per DSP.",
        .usage = "--model FILE [--json]",
        .options = options,
        .n_options = sizeof(options) / sizeof(options[0]),
    };
    int status = cli_parse(&command, argc, argv);
    if (status != CLI_RUN)
        return status;

    struct error err;
    struct predictor *p = predictor_load(path, &err);
    if (p == NULL)
        return cli_fail("inspect", "%s", err.text);
    if (json) {
        char *text = predictor_describe(p);
        if (text != NULL)
            puts(text);
        free(text);
    } else {
        const struct predictor_info *i = predictor_info(p);
        printf("model         %s (%s)\n", i->version, path);
        print_memory(i);
        print_window("trained on", i->window_from_ms, i->window_to_ms, i->train_pairs,
                     i->train_bids);
        print_window("calibrated on", i->validation_from_ms, i->validation_to_ms,
                     i->validation_pairs, i->validation_bids);
        printf("network       %u inputs -> %u -> %u -> 2%s, negatives kept %.3g\n",
               network_shape_inputs(i->shape), i->shape->hidden1, i->shape->hidden2,
               i->shape->gated ? ", a gate for each DSP" : "", (double)i->negative_rate);
        if (i->conjunction_units > 0)
            printf("conjunctions  %u units of %u DSPs\n", i->conjunction_units, i->n_dsps);
        print_features(i->shape);
        print_curves(p);
    }
    predictor_destroy(p);
    return 0;
}
