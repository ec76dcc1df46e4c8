/* Numbers in memory and in registers of sixteen float32, for the C code of this folder on CPUs with AVX-512. */

#pragma once
#include <immintrin.h>
#include <stdint.h>

enum { FLOAT32, BFLOAT16, INT8 };
enum { LANES = 16 };

static inline __m512 from_bfloat16(__m256i half)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

/* The lanes of a register that the `left` numbers before the end of a row fill. */
static inline __mmask16 lanes(int64_t left)
{
    return left <= 0 ? 0 : left >= LANES ? 0xffff : (__mmask16)((1u << left) - 1);
}

/* Numbers of a type that is known when the program runs. */
static inline __m512 load(int64_t kind, const char *from, int64_t at, __mmask16 mask)
{
    if (kind == FLOAT32)
        return _mm512_maskz_loadu_ps(mask, (const float *)from + at);
    return from_bfloat16(_mm256_maskz_loadu_epi16(mask, (const uint16_t *)from + at));
}

static inline void store(int64_t kind, char *to, int64_t at, __mmask16 mask, __m512 value)
{
    if (kind == FLOAT32)
        _mm512_mask_storeu_ps((float *)to + at, mask, value);
    else
        _mm256_mask_storeu_epi16((uint16_t *)to + at, mask, (__m256i)_mm512_cvtneps_pbh(value));
}

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
