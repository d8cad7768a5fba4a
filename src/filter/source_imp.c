/* What is for sale: all impressions together, or the first that says it. */
#include <math.h>

#include "filter/source_text.h"

struct bytes source_imp_media(struct source_input *in)
{
    static const struct bytes names[16] = {
        {NULL, 0},
        LITERAL("banner"),
        LITERAL("video"),
        LITERAL("banner+video"),
        LITERAL("audio"),
        LITERAL("banner+audio"),
        LITERAL("video+audio"),
        LITERAL("banner+video+audio"),
        LITERAL("native"),
        LITERAL("banner+native"),
        LITERAL("video+native"),
        LITERAL("banner+video+native"),
        LITERAL("audio+native"),
        LITERAL("banner+audio+native"),
        LITERAL("video+audio+native"),
        LITERAL("all"),
    };
    return names[in->imps.media & 15];
}

uint32_t source_imp_size(struct source_input *in, struct bytes *out, uint32_t max)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < in->r->n_imps && n < max; i++)
        for (uint32_t k = 0; k < in->r->imps[i].n_sizes && n < max; k++)
            text_add(out, &n, max,
                     text_size(in, in->r->imps[i].sizes[k].w, in->r->imps[i].sizes[k].h));
    return n;
}

struct bytes source_imp_first_size(struct source_input *in)
{
    for (uint32_t i = 0; i < in->r->n_imps; i++)
        if (in->r->imps[i].n_sizes > 0)
            return text_size(in, in->r->imps[i].sizes[0].w, in->r->imps[i].sizes[0].h);
    return NO_TEXT;
}

struct bytes source_imp_pos(struct source_input *in)
{
    for (uint32_t i = 0; i < in->r->n_imps; i++) {
        const struct imp *imp = &in->r->imps[i];
        int32_t pos = imp->banner_pos >= 0 ? imp->banner_pos : imp->video.pos;
        if ((imp->media & (MEDIA_BANNER | MEDIA_VIDEO)) != 0 && pos >= 0)
            return text_code(pos);
    }
    return NO_TEXT;
}

struct bytes source_imp_tagid(struct source_input *in)
{
    for (uint32_t i = 0; i < in->r->n_imps; i++)
        if (in->r->imps[i].tagid.len > 0)
            return text_bounded(in->r->imps[i].tagid);
    return NO_TEXT;
}

struct bytes source_imp_count(struct source_input *in)
{
    uint32_t n = in->r->n_imps;
    return n < 5 ? digits(n) : n < 10 ? TEXT("5-9") : TEXT("10+");
}

struct bytes source_imp_instl(struct source_input *in)
{
    return text_flag(in->imps.instl);
}

struct bytes source_imp_secure(struct source_input *in)
{
    return text_flag(in->imps.secure);
}

struct bytes source_imp_rewarded(struct source_input *in)
{
    return text_flag(in->imps.rewarded);
}

uint32_t source_imp_deal(struct source_input *in, struct bytes *out, uint32_t max)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < in->r->n_imps && n < max; i++)
        for (uint32_t k = 0; k < in->r->imps[i].n_deals && n < max; k++)
            text_add(out, &n, max, text_bounded(in->r->imps[i].deals[k].id));
    return n;
}

struct bytes source_imp_deals(struct source_input *in)
{
    const struct source_imps *all = &in->imps;
    if (!all->deals)
        return all->closed ? TEXT("private-none") : TEXT("none");
    return !all->closed ? TEXT("open") : all->open ? TEXT("mixed") : TEXT("private");
}

uint32_t source_imp_mime(struct source_input *in, struct bytes *out, uint32_t max)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < in->r->n_imps; i++) {
        const struct imp *imp = &in->r->imps[i];
        const struct bytes_list *lists[] = {&imp->banner_mimes, &imp->video.mimes,
                                            &imp->audio.mimes};
        for (size_t l = 0; l < 3; l++)
            for (uint32_t k = 0; k < lists[l]->n && n < max; k++)
                text_add(out, &n, max, text_lower(in, lists[l]->items[k]));
    }
    return n;
}

double source_imp_floor(struct source_input *in)
{
    const struct imp *imp = in->imps.cheapest;
    return imp == NULL || imp->bidfloor_micros < 0 ? NAN
                                                   : log1p((double)imp->bidfloor_micros / 1e6);
}

struct bytes source_imp_floor_currency(struct source_input *in)
{
    const struct imp *imp = in->imps.cheapest;
    return imp == NULL || imp->bidfloorcur.len == 0 ? TEXT("USD") : text_bounded(imp->bidfloorcur);
}

/* Half octaves: a step is a factor of 1.41. */
struct bytes source_imp_floor_band(struct source_input *in)
{
    const struct imp *imp = in->imps.cheapest;
    if (imp == NULL || imp->bidfloor_micros < 0)
        return NO_TEXT;
    struct bytes band = TEXT("0");
    if (imp->bidfloor_micros > 0) {
        double octaves = log2((double)imp->bidfloor_micros / 1e6);
        band = text_join(in, NO_TEXT, '^', digits_any((int64_t)lround(2 * octaves), in->arena));
    }
    struct bytes currency = source_imp_floor_currency(in);
    return bytes_is(currency, "USD") ? band : text_join(in, currency, ' ', band);
}

double source_imp_deal_floor(struct source_input *in)
{
    double lowest = NAN;
    for (uint32_t i = 0; i < in->r->n_imps; i++)
        for (uint32_t k = 0; k < in->r->imps[i].n_deals; k++) {
            double floor = (double)in->r->imps[i].deals[k].bidfloor_micros / 1e6;
            if (floor >= 0 && !(floor >= lowest))
                lowest = floor;
        }
    return log1p(lowest);
}
