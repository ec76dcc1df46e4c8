#include <immintrin.h>

/* e to the power of x, to a relative 2e-7: a polynomial for the fraction of x / log 2, its whole part as exponent. */
static inline __m512 exponential(__m512 x)
{
    x = _mm512_max_ps(x, _mm512_set1_ps(-104));
    __m512 whole = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), 8);
    __m512 rest = _mm512_fnmadd_ps(whole, _mm512_set1_ps(0.693359375f), x);
    rest = _mm512_fnmadd_ps(whole, _mm512_set1_ps(-2.12194440e-4f), rest);
    __m512 sum = _mm512_set1_ps(1.0f / 720);
    const float terms[] = {1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1, 1};
    for (int i = 0; i < 6; i++)
        sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(terms[i]));
    return _mm512_scalef_ps(sum, whole);
}
