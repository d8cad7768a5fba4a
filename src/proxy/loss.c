/* One table row per refusal; the rest follows from what happened to the call. */
#include "proxy/loss.h"

#include <assert.h>

static const struct {
    const char *name;
    uint16_t loss, nonbid;
} REFUSALS[BID_REFUSALS] = {
    [BID_VALID] = {"valid", LOSS_WON, NONBID_LOST},
    [BID_NOT_JSON] = {"not_json", LOSS_INVALID_RESPONSE, NONBID_INVALID_RESPONSE},
    [BID_WRONG_RESPONSE_ID] = {"wrong_response_id", LOSS_INVALID_AUCTION_ID,
                               NONBID_INVALID_RESPONSE},
    [BID_UNKNOWN_IMP] = {"unknown_imp", LOSS_INVALID_RESPONSE, NONBID_INVALID_RESPONSE},
    [BID_BAD_PRICE] = {"bad_price", LOSS_NO_PRICE, NONBID_REJECTED},
    [BID_BELOW_FLOOR] = {"below_floor", LOSS_BELOW_FLOOR, NONBID_REJECTED_FLOOR},
    [BID_BAD_CURRENCY] = {"bad_currency", LOSS_INVALID_RESPONSE, NONBID_REJECTED},
    [BID_NO_ID] = {"no_id", LOSS_INVALID_RESPONSE, NONBID_INVALID_RESPONSE},
    [BID_DUPLICATE_ID] = {"duplicate_id", LOSS_INVALID_RESPONSE, NONBID_REJECTED_DUPLICATE},
    [BID_BAD_SIZE] = {"bad_size", LOSS_CREATIVE_SIZE, NONBID_REJECTED_SIZE},
    [BID_BLOCKED_DOMAIN] = {"blocked_domain", LOSS_CREATIVE_ADVERTISER, NONBID_REJECTED_ADVERTISER},
    [BID_BLOCKED_CATEGORY] = {"blocked_category", LOSS_CREATIVE_CATEGORY, NONBID_REJECTED_CATEGORY},
    [BID_UNKNOWN_DEAL] = {"unknown_deal", LOSS_INVALID_DEAL, NONBID_REJECTED},
    [BID_SEAT_NOT_ALLOWED] = {"seat_not_allowed", LOSS_SEAT_BLOCKED, NONBID_REJECTED},
    [BID_NO_MARKUP] = {"no_markup", LOSS_NO_MARKUP, NONBID_REJECTED_CREATIVE},
    [BID_BAD_MEDIA] = {"bad_media", LOSS_CREATIVE_FORMAT, NONBID_REJECTED_FORMAT},
    [BID_TOO_MANY] = {"too_many", LOSS_INVALID_RESPONSE, NONBID_REJECTED},
};

const char *bid_refusal_name(enum bid_refusal r)
{
    assert(r < BID_REFUSALS);
    return REFUSALS[r].name;
}

int bid_refusal_loss_code(enum bid_refusal r)
{
    assert(r < BID_REFUSALS);
    return REFUSALS[r].loss;
}

int loss_code(enum bid_refusal r, bool deal)
{
    return r == BID_BELOW_FLOOR && deal ? LOSS_BELOW_DEAL_FLOOR : bid_refusal_loss_code(r);
}

int loss_nonbid_refused(enum bid_refusal r, bool deal)
{
    assert(r < BID_REFUSALS);
    return r == BID_BELOW_FLOOR && deal ? NONBID_REJECTED_DEAL_FLOOR : REFUSALS[r].nonbid;
}

static int nonbid_not_called(const struct auction_dsp *d)
{
    switch ((int)d->decision.why) {
    case WHY_BELOW_THRESHOLD:
    case WHY_EXPLORE:
        return NONBID_BLOCKED_OPTIMIZED;
    case WHY_QPS:
        return NONBID_QPS;
    case WHY_HEALTH:
        return NONBID_HEALTH;
    case WHY_OVERLOAD:
        return NONBID_OVERLOAD;
    case WHY_SECONDARY:
        return NONBID_NOT_NEEDED;
    case WHY_RULE_FIRST + RULE_TMAX:
        return NONBID_NO_TIME;
    case WHY_RULE_FIRST + RULE_MEDIA:
        return NONBID_BLOCKED_MEDIA;
    case WHY_RULE_FIRST + RULE_CHANNEL:
        return NONBID_BLOCKED_CHANNEL;
    case WHY_RULE_FIRST + RULE_CONSENT:
        return NONBID_BLOCKED_PRIVACY;
    case WHY_RULE_FIRST + RULE_CURRENCY:
        return NONBID_BLOCKED_CURRENCY;
    default:
        return NONBID_BLOCKED;
    }
}

int loss_nonbid_dsp(const struct auction_dsp *d)
{
    switch (d->outcome) {
    case OUTCOME_NOT_CALLED:
        return nonbid_not_called(d);
    case OUTCOME_TIMEOUT:
        return NONBID_TIMEOUT;
    case OUTCOME_ERROR:
        return d->http_status == 0 ? NONBID_UNREACHABLE : NONBID_ERROR;
    case OUTCOME_INVALID:
        return NONBID_INVALID_RESPONSE;
    case OUTCOME_PENDING: /* aborted */
        return NONBID_ERROR;
    case OUTCOME_BID: /* for another imp */
    case OUTCOME_NO_BID:
    case OUTCOME_COUNT:
        break;
    }
    return d->nbr >= 0 && d->nbr < 100 ? d->nbr : NONBID_NO_BID;
}
