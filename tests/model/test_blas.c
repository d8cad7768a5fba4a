/* What OpenBLAS is told of a processor that it does not know. */
#include "tests/model/fixture.h"

#include "model/blas.h"

static void test_only_a_core_taken_too_low_is_corrected(void **state)
{
    assert_string_equal(blas_better_core("Prescott", "avx512"), "SkylakeX");
    assert_string_equal(blas_better_core("PRESCOTT", "avx2"), "Haswell");
    assert_null(blas_better_core("Prescott", "c"));
    assert_null(blas_better_core("Zen", "avx2"));
    assert_null(blas_better_core("Haswell", "avx512"));
    assert_null(blas_better_core("armv8", "c"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_a_core_taken_too_low_is_corrected),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
