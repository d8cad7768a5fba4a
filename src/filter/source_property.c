/* The site, app or screen, and what is shown on it. */
#include "filter/property.h"
#include "filter/source_text.h"

struct bytes source_channel(struct source_input *in)
{
    static const struct bytes names[] = {
        {NULL, 0}, LITERAL("site"), LITERAL("app"), LITERAL("dooh")};
    return names[in->r->channel];
}

static struct bytes domain(struct source_input *in)
{
    if (!in->domain_read) {
        in->domain_read = true;
        in->domain = property_domain(in->r, arena_alloc(in->arena, PROPERTY_DOMAIN_MAX));
    }
    return in->domain;
}

struct bytes source_property_domain(struct source_input *in)
{
    return text_bounded(domain(in));
}

struct bytes source_property_id(struct source_input *in)
{
    return text_bounded(in->r->property.id);
}

struct bytes source_property_publisher(struct source_input *in)
{
    struct bytes id = in->r->property.publisher_id;
    return id.len > 0 ? text_bounded(id) : text_lower(in, in->r->property.publisher_name);
}

struct bytes source_property_section(struct source_input *in)
{
    struct bytes directory = url_first_directory(in->r->property.page);
    if (directory.len == 0 || domain(in).len == 0)
        return NO_TEXT;
    return text_join(in, text_bounded(domain(in)), '/', text_lower(in, directory));
}

uint32_t source_property_cat(struct source_input *in, struct bytes *out, uint32_t max)
{
    return text_add_list(out, max, &in->r->property.cat);
}

/* Without what follows the dash: IAB25-3 is of IAB25. */
static uint32_t top_categories(const struct bytes_list *cat, struct bytes *out, uint32_t max)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < cat->n && n < max; i++) {
        struct bytes c = text_bounded(cat->items[i]);
        const char *dash = memchr(c.base, '-', c.len);
        if (dash != NULL)
            c.len = (size_t)(dash - c.base);
        text_add(out, &n, max, c);
    }
    return n;
}

uint32_t source_property_cat_top(struct source_input *in, struct bytes *out, uint32_t max)
{
    return top_categories(&in->r->property.cat, out, max);
}

uint32_t source_request_blocked(struct source_input *in, struct bytes *out, uint32_t max)
{
    return top_categories(&in->r->bcat, out, max);
}

uint32_t source_property_sectioncat(struct source_input *in, struct bytes *out, uint32_t max)
{
    return text_add_list(out, max, &in->r->property.sectioncat);
}

uint32_t source_property_pagecat(struct source_input *in, struct bytes *out, uint32_t max)
{
    return text_add_list(out, max, &in->r->property.pagecat);
}

uint32_t source_property_venue(struct source_input *in, struct bytes *out, uint32_t max)
{
    return text_add_list(out, max, &in->r->property.venuetype);
}

struct bytes source_property_mobile(struct source_input *in)
{
    return in->r->channel == CHANNEL_SITE ? text_flag(in->r->property.mobile) : NO_TEXT;
}

struct bytes source_content_id(struct source_input *in)
{
    return text_bounded(in->r->property.content_id);
}

struct bytes source_content_genre(struct source_input *in)
{
    return text_lower(in, in->r->property.content_genre);
}

struct bytes source_content_language(struct source_input *in)
{
    return text_lower(in, in->r->property.content_language);
}
