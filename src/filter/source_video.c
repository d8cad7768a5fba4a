/* Video and audio: of the first impression that has it. */
#include "filter/source_text.h"

/* "<=6", "<=15", ... by upper bounds, ">60" beyond the last. */
static struct bytes seconds_band(int32_t seconds)
{
    return seconds < 0      ? NO_TEXT
           : seconds <= 6   ? TEXT("<=6")
           : seconds <= 15  ? TEXT("<=15")
           : seconds <= 20  ? TEXT("<=20")
           : seconds <= 30  ? TEXT("<=30")
           : seconds <= 60  ? TEXT("<=60")
           : seconds <= 120 ? TEXT("<=120")
                            : TEXT(">120");
}

struct bytes source_video_placement(struct source_input *in)
{
    const struct imp *imp = in->imps.video;
    if (imp == NULL)
        return NO_TEXT;
    return imp->video.plcmt >= 0 ? text_join(in, NO_TEXT, 'p', text_code(imp->video.plcmt))
                                 : text_code(imp->video.placement);
}

struct bytes source_video_duration(struct source_input *in)
{
    const struct imp *imp = in->imps.video;
    return imp == NULL ? NO_TEXT : seconds_band(imp->video.maxduration);
}

struct bytes source_video_min_duration(struct source_input *in)
{
    const struct imp *imp = in->imps.video;
    return imp == NULL ? NO_TEXT : seconds_band(imp->video.minduration);
}

struct bytes source_video_linearity(struct source_input *in)
{
    const struct imp *imp = in->imps.video;
    return imp == NULL ? NO_TEXT : text_code(imp->video.linearity);
}

struct bytes source_video_skip(struct source_input *in)
{
    const struct imp *imp = in->imps.video;
    return imp == NULL ? NO_TEXT : text_flag(imp->video.skip);
}

struct bytes source_video_start(struct source_input *in)
{
    const struct imp *imp = in->imps.video;
    if (imp == NULL || imp->video.startdelay == INT32_MIN)
        return NO_TEXT;
    int32_t delay = imp->video.startdelay;
    return delay == 0 ? TEXT("pre") : delay > 0 || delay == -1 ? TEXT("mid") : TEXT("post");
}

uint32_t source_video_protocol(struct source_input *in, struct bytes *out, uint32_t max)
{
    const struct imp *imp = in->imps.video;
    uint32_t n = 0;
    for (uint32_t bit = 0; imp != NULL && bit < 32 && n < max; bit++)
        if ((imp->video.protocols >> bit & 1) != 0)
            out[n++] = digits(bit);
    return n;
}

struct bytes source_audio_duration(struct source_input *in)
{
    const struct imp *imp = in->imps.audio;
    return imp == NULL ? NO_TEXT : seconds_band(imp->audio.maxduration);
}

struct bytes source_audio_feed(struct source_input *in)
{
    const struct imp *imp = in->imps.audio;
    return imp == NULL ? NO_TEXT : text_code(imp->audio.feed);
}
