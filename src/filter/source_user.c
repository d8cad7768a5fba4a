/* Who is asked for (never which person), under which law. */
#include <math.h>

#include "filter/source_text.h"

static bool id_is_set(struct bytes id)
{
    for (size_t i = 0; i < id.len; i++)
        if (id.base[i] != '0' && id.base[i] != '-')
            return true;
    return false;
}

struct bytes source_user_has_id(struct source_input *in)
{
    return text_flag(id_is_set(in->r->user.id));
}

struct bytes source_user_has_buyeruid(struct source_input *in)
{
    return text_flag(id_is_set(in->r->user.buyeruid));
}

struct bytes source_user_identity(struct source_input *in)
{
    static const struct bytes names[16] = {
        LITERAL("none"),
        LITERAL("id"),
        LITERAL("buyeruid"),
        LITERAL("id+buyeruid"),
        LITERAL("ifa"),
        LITERAL("id+ifa"),
        LITERAL("buyeruid+ifa"),
        LITERAL("id+buyeruid+ifa"),
        LITERAL("eid"),
        LITERAL("id+eid"),
        LITERAL("buyeruid+eid"),
        LITERAL("id+buyeruid+eid"),
        LITERAL("ifa+eid"),
        LITERAL("id+ifa+eid"),
        LITERAL("buyeruid+ifa+eid"),
        LITERAL("all"),
    };
    const struct bid_request *r = in->r;
    unsigned bits = (id_is_set(r->user.id) ? 1u : 0) | (id_is_set(r->user.buyeruid) ? 2u : 0) |
                    (id_is_set(r->device.ifa) ? 4u : 0) | (r->user.eid_sources.n > 0 ? 8u : 0);
    return names[bits];
}

struct bytes source_user_gender(struct source_input *in)
{
    struct bytes gender = in->r->user.gender;
    return text_lower(in, (struct bytes){gender.base, gender.len < 1 ? gender.len : 1});
}

static int64_t year_of(int64_t ts_ms)
{
    const double year_ms = 365.2425 * 24 * 3600 * 1000;
    return 1970 + (int64_t)floor((double)ts_ms / year_ms);
}

struct bytes source_user_age_band(struct source_input *in)
{
    if (in->r->user.yob < 1900)
        return NO_TEXT;
    int64_t age = year_of(in->ts_ms) - in->r->user.yob;
    if (age < 0)
        return NO_TEXT;
    return age < 13   ? TEXT("<13")
           : age < 18 ? TEXT("13-17")
           : age < 25 ? TEXT("18-24")
           : age < 35 ? TEXT("25-34")
           : age < 45 ? TEXT("35-44")
           : age < 55 ? TEXT("45-54")
           : age < 65 ? TEXT("55-64")
                      : TEXT("65+");
}

uint32_t source_user_eid(struct source_input *in, struct bytes *out, uint32_t max)
{
    const struct bytes_list *sources = &in->r->user.eid_sources;
    uint32_t n = 0;
    for (uint32_t i = 0; i < sources->n && n < max; i++)
        text_add(out, &n, max, text_lower(in, sources->items[i]));
    return n;
}

double source_user_segments(struct source_input *in)
{
    return log1p((double)in->r->user.n_segments);
}

/* ---- regulation ---- */

struct bytes source_regs_gdpr(struct source_input *in)
{
    return text_flag(in->r->regs.gdpr);
}

struct bytes source_regs_coppa(struct source_input *in)
{
    return text_flag(in->r->regs.coppa);
}

struct bytes source_regs_consent(struct source_input *in)
{
    bool consent = in->r->user.consent.len > 0;
    return in->r->regs.gdpr == 1 ? (consent ? TEXT("gdpr+consent") : TEXT("gdpr"))
           : consent             ? TEXT("consent")
                                 : TEXT("none");
}

struct bytes source_regs_us_privacy(struct source_input *in)
{
    return text_lower(in, in->r->regs.us_privacy);
}

struct bytes source_regs_gpp(struct source_input *in)
{
    return text_flag(in->r->regs.gpp.len > 0);
}

struct bytes source_request_at(struct source_input *in)
{
    return text_code(in->r->at > 0 ? in->r->at : -1);
}

double source_request_tmax(struct source_input *in)
{
    return in->r->tmax_ms <= 0 ? NAN : log1p((double)in->r->tmax_ms);
}

uint32_t source_request_cur(struct source_input *in, struct bytes *out, uint32_t max)
{
    return text_add_list(out, max, &in->r->cur);
}

uint32_t source_request_wseat(struct source_input *in, struct bytes *out, uint32_t max)
{
    return text_add_list(out, max, &in->r->wseat);
}

double source_request_bcat(struct source_input *in)
{
    return log1p((double)in->r->bcat.n);
}

double source_request_badv(struct source_input *in)
{
    return log1p((double)in->r->badv.n);
}

struct bytes source_schain_length(struct source_input *in)
{
    uint32_t n = in->r->n_schain_nodes;
    return n == 0 ? NO_TEXT : n < 6 ? digits(n) : TEXT("6+");
}

struct bytes source_schain_asi(struct source_input *in)
{
    return text_lower(in, in->r->schain_asi);
}
