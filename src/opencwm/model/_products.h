/* Products of a few tokens with one weight matrix, y[n][o] = sum over i of x[n][i] * w[o][i], for CPUs with AVX-512.

The one layout of all kinds: a panel holds 16 outputs; a panel's step is one register of 16 words of 4 bytes, and a word
holds as many neighbouring inputs of one output as fit (1 of float32, 2 of bfloat16, 4 of int8). The inputs of a token
are words too, each of which meets all 16 outputs at once. So one loop serves all kinds, and no sum runs across a register.
Panels come in fours (a tile), filled up with zeros. `compiled.py` writes this layout.

int8 multiplies whole numbers: the inputs of a token are rounded to 255 steps of their largest magnitude and shifted to
0 .. 255, which the instruction wants; what the shift adds is taken off by `base`. */

#include <math.h>
#include <string.h>

#include "_numbers.h"

enum { PANELS = 4, TILE = LANES * PANELS, MOST = 4 }; /* tokens at once: with 5 GCC runs out of registers */

typedef struct {
    int64_t kind, outputs, inputs, steps; /* steps: words per token */
    const char *weights;
    const float *scales;   /* int8: one per output, filled up to whole tiles */
    const int32_t *base;   /* int8: -128 times the sum of an output's weights */
} Matrix;

/* One token's inputs as words; returns the scale of int8. */
static float prepare(const Matrix *m, const float *x, uint32_t *words)
{
    int64_t count = m->inputs;
    if (m->kind == FLOAT32) {
        memcpy(words, x, count * sizeof(float));
        return 1;
    }
    words[m->steps - 1] = 0;
    if (m->kind == BFLOAT16) {
        uint16_t *out = (uint16_t *)words;
        for (int64_t i = 0; i < count; i += LANES) {
            __mmask16 mask = lanes(count - i);
            __m256i half = (__m256i)_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(mask, x + i));
            _mm256_mask_storeu_epi16(out + i, mask, half);
        }
        return 1;
    }
    __m512 most = _mm512_setzero_ps();
    for (int64_t i = 0; i < count; i += LANES)
        most = _mm512_max_ps(most, _mm512_abs_ps(_mm512_maskz_loadu_ps(lanes(count - i), x + i)));
    float largest = fmaxf(_mm512_reduce_max_ps(most), 1e-30f);
    __m512 factor = _mm512_set1_ps(127 / largest);
    const __m512i shift = _mm512_set1_epi32(128);
    for (int64_t i = 0; i < count; i += LANES) {
        __mmask16 mask = lanes(count - i);
        __m512i whole = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_maskz_loadu_ps(mask, x + i), factor));
        _mm_mask_storeu_epi8((uint8_t *)words + i, mask, _mm512_cvtepi32_epi8(_mm512_add_epi32(whole, shift)));
    }
    return largest / 127;
}

/* A part of the steps of one tile, for T tokens, T a constant where this is inlined. `partial` holds the sums between
   parts: a row of TILE words per token. `ahead` is what the next part will read, panel after panel. */
typedef struct { int64_t at, first, last; const char *ahead; } Part;

static inline __attribute__((always_inline)) void tile(const int T, const int kind, const Matrix *m, const Part *part,
                                                       const uint32_t *words, const float *scale, char *partial,
                                                       float *out, int add, int low, int high)
{
    const char *w = m->weights + part->at * m->steps * PANELS * 64;
    int64_t panel = m->steps * 64, stride = m->steps;
    __m512i sums[PANELS][MOST];
    for (int p = 0; p < PANELS; p++)
        for (int t = 0; t < T; t++)
            if (part->first)
                sums[p][t] = _mm512_loadu_si512(partial + (t * PANELS + p) * 64);
            else
                sums[p][t] = kind == INT8 ? _mm512_loadu_si512(m->base + part->at * TILE + p * LANES)
                                          : _mm512_setzero_si512();
    for (int64_t step = part->first; step < part->last; step++) {
        __m512i w0 = _mm512_loadu_si512(w + step * 64), w1 = _mm512_loadu_si512(w + panel + step * 64);
        __m512i w2 = _mm512_loadu_si512(w + 2 * panel + step * 64), w3 = _mm512_loadu_si512(w + 3 * panel + step * 64);
        __m512i ws[PANELS] = {w0, w1, w2, w3};
        for (int p = low; p < high; p++)
            _mm_prefetch(part->ahead + p * panel + (step - part->first) * 64, _MM_HINT_T0);
#pragma GCC unroll 4
        for (int t = 0; t < T; t++) {
            __m512i x = _mm512_set1_epi32((int)words[t * stride + step]);
#pragma GCC unroll 4
            for (int p = 0; p < PANELS; p++) {
                if (kind == FLOAT32)
                    sums[p][t] = _mm512_castps_si512(_mm512_fmadd_ps(_mm512_castsi512_ps(ws[p]), _mm512_castsi512_ps(x),
                                                                     _mm512_castsi512_ps(sums[p][t])));
                else if (kind == BFLOAT16)
                    sums[p][t] = _mm512_castps_si512(
                        _mm512_dpbf16_ps(_mm512_castsi512_ps(sums[p][t]), (__m512bh)ws[p], (__m512bh)x));
                else
                    sums[p][t] = _mm512_dpbusd_epi32(sums[p][t], x, ws[p]);
            }
        }
    }
    if (part->last < m->steps) {
        for (int p = 0; p < PANELS; p++)
            for (int t = 0; t < T; t++)
                _mm512_storeu_si512(partial + (t * PANELS + p) * 64, sums[p][t]);
        return;
    }
    for (int p = 0; p < PANELS; p++) {
        int64_t first = part->at * TILE + p * LANES;
        if (first >= m->outputs)
            break;
        __mmask16 mask = lanes(m->outputs - first);
        for (int t = 0; t < T; t++) {
            float *y = out + t * m->outputs + first;
            __m512 sum = _mm512_castsi512_ps(sums[p][t]);
            if (kind == INT8)
                sum = _mm512_mul_ps(_mm512_cvtepi32_ps(sums[p][t]),
                                    _mm512_mul_ps(_mm512_loadu_ps(m->scales + first), _mm512_set1_ps(scale[t])));
            if (add)
                sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(mask, y));
            _mm512_mask_storeu_ps(y, mask, sum);
        }
    }
}

#define TILES(KIND)                                                                                                   \
    switch (tokens) {                                                                                                 \
    case 1: tile(1, KIND, m, part, x, s, sums, y, add, low, high); break;                                             \
    case 2: tile(2, KIND, m, part, x, s, sums, y, add, low, high); break;                                             \
    case 3: tile(3, KIND, m, part, x, s, sums, y, add, low, high); break;                                             \
    default: tile(4, KIND, m, part, x, s, sums, y, add, low, high); break;                                            \
    }

enum { TOGETHER = 64, STEPS = 48 }; /* tokens that go through a tile at once; steps of a part */

/* One part of a tile for `count` tokens, in blocks of up to MOST. The first block waits for the memory and the others
   for the multipliers: so these ask for the next part, and both work at once. */
static void blocks(const Matrix *m, const Part *part, int64_t count, const uint32_t *words, const float *scale,
                   char *partial, float *out, int add)
{
    int64_t blocks = (count + MOST - 1) / MOST;
    for (int64_t block = 0, from = 0; block < blocks; block++) {
        int64_t to = count * (block + 1) / blocks, tokens = to - from;
        const uint32_t *x = words + from * m->steps;
        const float *s = scale + from;
        float *y = out + from * m->outputs;
        char *sums = partial + from * TILE * 4;
        int low = 0, high = 0;
        if (block && part->ahead != NULL) {
            low = (int)(PANELS * (block - 1) / (blocks - 1));
            high = (int)(PANELS * block / (blocks - 1));
        }
        if (m->kind == FLOAT32) {
            TILES(FLOAT32)
        } else if (m->kind == BFLOAT16) {
            TILES(BFLOAT16)
        } else {
            TILES(INT8)
        }
        from = to;
    }
}

/* Tiles `first` to `last` for all tokens, whose inputs are prepared; out is (tokens, outputs), added to if `add`. */
static void product(const Matrix *m, int64_t first, int64_t last, int64_t count, const uint32_t *words,
                    const float *scale, float *out, int add)
{
    _Alignas(64) char partial[TOGETHER * TILE * 4];
    int64_t each = count > MOST ? STEPS : m->steps;
    for (int64_t at = first; at < last; at++)
        for (int64_t from = 0; from < count; from += TOGETHER) {
            int64_t tokens = count - from < TOGETHER ? count - from : TOGETHER;
            for (int64_t step = 0; step < m->steps; step += each) {
                int64_t next = step + each;
                Part part = {at, step, next < m->steps ? next : m->steps, NULL};
                if (next < m->steps)
                    part.ahead = m->weights + at * m->steps * PANELS * 64 + next * 64;
                else if (at + 1 < last)
                    part.ahead = m->weights + (at + 1) * m->steps * PANELS * 64;
                blocks(m, &part, tokens, words + from * m->steps, scale + from, partial, out + from * m->outputs, add);
            }
        }
}

static int64_t tiles(const Matrix *m)
{
    return (m->outputs + TILE - 1) / TILE;
}
