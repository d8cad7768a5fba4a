/* The share goes to who knows more of a DSP, and to neither without evidence. */
#include "tests/model/fixture.h"

#include "model/share.h"

enum { N = 20000 };

struct views {
    float network[N], conjunctions[N], weight[N];
    uint8_t label[N];
};

/* Both know the logit up to an error. */
static struct views *make_views(double network_error, double conjunctions_error, uint64_t seed)
{
    struct views *v = malloc(sizeof(*v));
    struct prng g = {seed};
    for (int i = 0; i < N; i++) {
        double logit = -2 + 1.5 * prng_normal(&g);
        double a = logit + network_error * prng_normal(&g);
        double b = logit + conjunctions_error * prng_normal(&g) + 0.7; /* level is no matter */
        v->network[i] = (float)(1 / (1 + exp(-a)));
        v->conjunctions[i] = (float)(1 / (1 + exp(-b)));
        v->label[i] = prng_unit(&g) < 1 / (1 + exp(-logit));
        v->weight[i] = 1;
    }
    return v;
}

static struct scored_pairs pairs(const struct views *v, const float *p, uint64_t n)
{
    return (struct scored_pairs){n, p, v->label, v->weight, NULL};
}

static void test_share_goes_to_who_knows_more(void **state)
{
    static const double errors[][2] = {{0.3, 1.5}, {1.5, 0.3}, {0.8, 0.8}};
    struct views *v[3];
    struct scored_pairs a[3], b[3];
    float share[3];
    for (uint64_t i = 0; i < 3; i++) {
        v[i] = make_views(errors[i][0], errors[i][1], 21 + i);
        a[i] = pairs(v[i], v[i]->network, N);
        b[i] = pairs(v[i], v[i]->conjunctions, N);
    }
    assert_int_equal(share_fit(a, b, 3, share), 0);
    assert_true(share[0] >= 0 && share[0] <= 0.25f);
    assert_true(share[1] >= 0.75f && share[1] <= 1);
    assert_true(share[2] >= 0.35f && share[2] <= 0.65f);
    for (int i = 0; i < 3; i++)
        free(v[i]);
}

/* Two dozen bids do not outweigh what thousands say; no pairs say nothing. */
static void test_share_without_evidence_is_the_common_one(void **state)
{
    struct views *many = make_views(1.5, 0.3, 31), *few = make_views(0.3, 1.5, 32);
    const struct scored_pairs a[] = {pairs(many, many->network, N), pairs(few, few->network, 60),
                                     pairs(few, few->network, 0)};
    const struct scored_pairs b[] = {pairs(many, many->conjunctions, N),
                                     pairs(few, few->conjunctions, 60),
                                     pairs(few, few->conjunctions, 0)};
    float share[3], alone;
    assert_int_equal(share_fit(a, b, 3, share), 0);
    assert_int_equal(share_fit(a + 1, b + 1, 1, &alone), 0);
    assert_true(share[2] == share[0]);
    assert_true(share[1] >= 0.5f);
    assert_true(alone < share[1]);
    free(many);
    free(few);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_share_goes_to_who_knows_more),
        cmocka_unit_test(test_share_without_evidence_is_the_common_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
