/* One DSP integration on one loop: its client, its health. Counted
 * references: views of several configurations share a link while its settings are the same, so that
 * connections and state survive a reload. One thread. */
#ifndef PROXY_DSP_LINK_H
#define PROXY_DSP_LINK_H

#include "proxy/config.h"
#include "proxy/health.h"
#include "proxy/net/dsp_client.h"

struct dsp_link {
    char *name;
    uint32_t slot; /* in the metrics, for the life of the process */
    struct dsp_client *client;
    struct health health;
    bool gzip;              /* bodies go compressed; the client's headers say so */
    uint64_t settings_hash; /* of what the client was made from */
    uint32_t references;
};

/* config_limits: for the answer's size; n_workers: caps are of the process, a link has its share.
 */
struct dsp_link *dsp_link_create(struct loop *loop, const struct config *config,
                                 const struct config_dsp *dsp, uint32_t slot, uint32_t n_workers,
                                 struct error *err);
bool dsp_link_fits(const struct dsp_link *link, const struct config *config,
                   const struct config_dsp *dsp);
struct dsp_link *dsp_link_acquire(struct dsp_link *link);
void dsp_link_release(struct dsp_link *link);

#endif
