/* bidsieve serve: the proxy. */
#include "proxy/cli.h"
#include "proxy/commands.h"
#include "proxy/process.h"

int cmd_serve(int argc, char **argv)
{
    const char *path = NULL;
    const struct cli_option options[] = {
        {"config", CLI_TEXT, &path, "FILE",
         "the configuration; config/README.md explains every key", 0, 0, true},
    };
    const struct cli_command command = {
        .name = "serve",
        .summary = "Takes OpenRTB bid requests at POST /openrtb2/auction, calls the DSPs that are "
                   "likely to "
                   "bid, answers with\n"
                   "the auction's winners. Admin listener: /healthz /readyz /metrics /status, POST "
                   "/reload.",
        .usage = "--config FILE",
        .epilogue =
            "SIGHUP or POST /reload applies a changed config or model without losing a request; "
            "SIGTERM finishes what is in\n"
            "flight and ends. 'bidsieve check --config FILE' says beforehand what serve would "
            "refuse.",
        .options = options,
        .n_options = sizeof(options) / sizeof(options[0]),
    };
    int status = cli_parse(&command, argc, argv);
    return status != CLI_RUN ? status : process_serve(path);
}
