/* bidsieve check: what `serve` would say of a config at start or at reload, without serving. */
#include <stdio.h>
#include <string.h>

#include "proxy/cli.h"
#include "proxy/commands.h"
#include "proxy/config.h"
#include "proxy/snapshot.h"

/* What a reader of the config would not expect. */
static void print_dsp(const struct snapshot *s, uint32_t d)
{
    const struct config_dsp *dsp = &s->config->dsps[d];
    const char *not_filtered = filter_not_filtered(s->filter, d);
    if (!dsp->enabled || s->model == NULL)
        return;
    if (not_filtered != NULL)
        printf("  %s is not filtered, every call is sent: %s\n", dsp->name, not_filtered);
    else if (filter_lacks_value(s->filter, d))
        printf("  %s: \"recall_of\": \"value\" falls back to bids: the model has no prices of it\n",
               dsp->name);
}

int cmd_check(int argc, char **argv)
{
    const char *path = NULL;
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--help-config") == 0) {
            config_document(stdout);
            return 0;
        }
    bool help_config = false;
    const struct cli_option options[] = {
        {"config", CLI_TEXT, &path, "FILE", "the configuration, as for serve", 0, 0, true},
        {"help-config", CLI_FLAG, &help_config, NULL,
         "print every configuration key, with bounds and defaults", 0, 0, false},
    };
    const struct cli_command command = {
        .name = "check",
        .summary =
            "Validates a configuration and all that it names: model, geo database, rates, domain "
            "lists.",
        .usage = "--config FILE",
        .epilogue = "Exit status 0: serve would take it, if it can listen there, which only serve "
                    "tries. 1: "
                    "one line says\nwhat is wrong, and where. Nothing is written; whether the "
                    "capture folder "
                    "and the access log can be\nis asked as the user who runs this.",
        .options = options,
        .n_options = sizeof(options) / sizeof(options[0]),
    };
    int status = cli_parse(&command, argc, argv);
    if (status != CLI_RUN)
        return status;

    struct error err;
    struct snapshot *s = snapshot_build(path, 1, &err);
    if (s == NULL)
        return cli_fail("check", "%s", err.text);
    uint32_t n = 0;
    for (uint32_t d = 0; d < s->config->n_dsps; d++)
        n += s->config->dsps[d].enabled;
    printf("%s: sound: %u DSP%s%s, model %s, geo database %s\n", path, n, n == 1 ? "" : "s",
           n == 0 ? " enabled (every request is answered with no bid)" : "",
           s->model != NULL ? predictor_info(s->model)->version : "none (every call is sent)",
           s->geo != NULL ? s->config->geo.database : "none");
    for (uint32_t d = 0; d < s->config->n_dsps; d++)
        print_dsp(s, d);
    snapshot_release(s);
    return 0;
}
