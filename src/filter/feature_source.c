/* The list as a table, and what the functions behind it start from. */
#include "filter/feature_source.h"

#include <string.h>

#include "filter/feature_source_list.h"
#include "filter/features.h"

#define MEMBER_DSP(function) .kind = SOURCE_DSP
#define MEMBER_TEXT(function) .kind = SOURCE_TEXT, .text = function
#define MEMBER_PATH(function) MEMBER_TEXT(function), .level = '/'
#define MEMBER_VERSION(function) MEMBER_TEXT(function), .level = ' '
#define MEMBER_TEXTS(function) .kind = SOURCE_TEXTS, .texts = function
#define MEMBER_TIERS(function) MEMBER_TEXTS(function), .level = '-'
#define MEMBER_NUMBER(function) .kind = SOURCE_NUMBER, .number = function
#define TABLE_ROW(of_kind, source_name, function, line) \
    {.name = source_name, .doc = line, MEMBER_##of_kind(function)},

static const struct feature_source TABLE[] = {SOURCES(TABLE_ROW)};

enum { SOURCES_N = sizeof(TABLE) / sizeof(TABLE[0]) };

#define KIND_DSP "dsp"
#define KIND_TEXT "text"
#define KIND_PATH "text, levels"
#define KIND_VERSION "text, levels"
#define KIND_TEXTS "texts"
#define KIND_TIERS "texts, levels"
#define KIND_NUMBER "number"
#define MARKDOWN_ROW(of_kind, source_name, function, line) \
    "| `" source_name "` | " KIND_##of_kind " | " line " |",

const char *const *feature_sources(void)
{
    static const char *const lines[] = {SOURCES(MARKDOWN_ROW) NULL};
    return lines;
}

const struct feature_source *feature_source_table(size_t *n)
{
    *n = SOURCES_N;
    return TABLE;
}

const struct feature_source *feature_source_find(const char *name)
{
    for (size_t i = 0; i < SOURCES_N; i++)
        if (strcmp(TABLE[i].name, name) == 0)
            return &TABLE[i];
    return NULL;
}

static void read_imps(struct source_imps *all, const struct bid_request *r)
{
    *all = (struct source_imps){.secure = -1};
    for (uint32_t i = 0; i < r->n_imps; i++) {
        const struct imp *imp = &r->imps[i];
        all->media |= imp->media;
        all->instl |= imp->instl;
        all->rewarded |= imp->rewarded;
        all->deals |= imp->n_deals > 0;
        all->open |= !imp->private_auction;
        all->closed |= imp->private_auction;
        if (imp->secure > all->secure)
            all->secure = imp->secure;
        if (all->cheapest == NULL || imp->bidfloor_micros < all->cheapest->bidfloor_micros)
            all->cheapest = imp;
        if (all->video == NULL && (imp->media & MEDIA_VIDEO) != 0)
            all->video = imp;
        if (all->audio == NULL && (imp->media & MEDIA_AUDIO) != 0)
            all->audio = imp;
    }
}

void source_input_init(struct source_input *in, const struct bid_request *r,
                       const struct geo_place *place, int64_t ts_ms,
                       const struct user_agent_rules *user_agents,
                       const struct time_zones *time_zones, struct arena *arena)
{
    in->r = r;
    in->place = place;
    in->user_agents = user_agents;
    in->time_zones = time_zones;
    in->arena = arena;
    in->ts_ms = ts_ms;
    in->geo_read = in->local_read = in->domain_read = in->ua_read = in->os_read = false;
    read_imps(&in->imps, r);
}
