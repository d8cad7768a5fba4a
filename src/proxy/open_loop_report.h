/* What an open-loop run found, for people or as JSON: `bidsieve replay` and the load generator
 * print alike. */
#ifndef PROXY_OPEN_LOOP_REPORT_H
#define PROXY_OPEN_LOOP_REPORT_H

#include <stdio.h>

#include "proxy/open_loop.h"

/* rate: as asked, a second; 0 = a closed loop; negative = as the requests' own times say. Says so
 * when the sender did not keep up: the figures are then not about the server alone. */
void open_loop_report(FILE *out, const struct open_loop_result *r, double rate, bool json);

#endif
