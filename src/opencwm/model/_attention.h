/* Attention of one token's query head over what its slot holds, for `_decode.c`: scores, softmax, weighted values.

Scores are computed for 16 positions at once, each in a register of its own, whose lanes are added up together.
`VECTORS` (head_dim / 16) and the cache's type are constants where this is inlined, so that all stays in registers. */

/* Lane i of the result is the sum of the lanes of v[i]. */
static inline __m512 add_up(__m512 *v)
{
    for (int i = 0; i < 8; i++)
        v[i] = _mm512_add_ps(_mm512_unpacklo_ps(v[2 * i], v[2 * i + 1]), _mm512_unpackhi_ps(v[2 * i], v[2 * i + 1]));
    for (int i = 0; i < 4; i++) {
        __m512d left = _mm512_castps_pd(v[2 * i]), right = _mm512_castps_pd(v[2 * i + 1]);
        v[i] = _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(left, right)),
                             _mm512_castpd_ps(_mm512_unpackhi_pd(left, right)));
    }
    for (int i = 0; i < 2; i++)
        v[i] = _mm512_add_ps(_mm512_shuffle_f32x4(v[2 * i], v[2 * i + 1], 0x88),
                             _mm512_shuffle_f32x4(v[2 * i], v[2 * i + 1], 0xdd));
    return _mm512_add_ps(_mm512_shuffle_f32x4(v[0], v[1], 0x88), _mm512_shuffle_f32x4(v[0], v[1], 0xdd));
}

typedef struct {
    const char *held;
    int64_t keys, values, ring, low, high; /* where the slot's head begins; positions that are seen */
    int64_t width;
} View;

/* How many positions from `p` on follow each other in the cache, up to `most`. */
static inline int64_t run_from(const View *view, int64_t p, int64_t index, int64_t most)
{
    int64_t run = view->high - p + 1;
    run = run < view->ring - index ? run : view->ring - index;
    return run < most ? run : most;
}

static inline __attribute__((always_inline)) __mmask16 part_mask(int v, int exact, int64_t width)
{
    return exact ? 0xffff : lanes(width - v * LANES);
}

/* `exact`: head_dim is VECTORS * 16. */
static inline __attribute__((always_inline)) void attend(const int VECTORS, const int exact, const int kind,
                                                         const View *view, const float *query, float *scores,
                                                         float *out)
{
    const __m512 factor = _mm512_set1_ps(1 / sqrtf((float)view->width)), nothing = _mm512_set1_ps(-INFINITY);
    int64_t width = exact ? VECTORS * LANES : view->width;
    __m512 q[VECTORS], most = nothing;
    for (int v = 0; v < VECTORS; v++)
        q[v] = _mm512_mul_ps(_mm512_maskz_loadu_ps(part_mask(v, exact, width), query + v * LANES), factor);
    for (int64_t p = view->low, index = p % view->ring; p <= view->high;) {
        int64_t run = run_from(view, p, index, LANES), at = view->keys + index * width;
        __m512 sums[LANES];
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++) {
            int64_t row = at + (i < run ? i : run - 1) * width;
            sums[i] = _mm512_mul_ps(q[0], load(kind, view->held, row, part_mask(0, exact, width)));
            for (int v = 1; v < VECTORS; v++) {
                __m512 key = load(kind, view->held, row + v * LANES, part_mask(v, exact, width));
                sums[i] = _mm512_fmadd_ps(q[v], key, sums[i]);
            }
        }
        __m512 value = _mm512_mask_blend_ps(lanes(run), nothing, add_up(sums));
        most = _mm512_max_ps(most, value);
        _mm512_storeu_ps(scores + (p - view->low), value);
        p += run;
        index = index + run == view->ring ? 0 : index + run;
    }
    __m512 largest = _mm512_set1_ps(_mm512_reduce_max_ps(most)), total = _mm512_setzero_ps();
    for (int64_t i = 0, count = view->high - view->low + 1; i < count; i += LANES) {
        __m512 value = exponential(_mm512_sub_ps(_mm512_loadu_ps(scores + i), largest));
        value = _mm512_maskz_mov_ps(lanes(count - i), value);
        total = _mm512_add_ps(total, value);
        _mm512_storeu_ps(scores + i, value);
    }
    __m512 sums[2][VECTORS];
    for (int v = 0; v < VECTORS; v++)
        sums[0][v] = sums[1][v] = _mm512_setzero_ps();
    for (int64_t p = view->low, index = p % view->ring; p <= view->high;) {
        int64_t run = run_from(view, p, index, LANES), at = view->values + index * width, i = 0;
        for (; i + 1 < run; i += 2)
            for (int half = 0; half < 2; half++) {
                __m512 weight = _mm512_set1_ps(scores[p - view->low + i + half]);
                for (int v = 0; v < VECTORS; v++)
                    sums[half][v] = _mm512_fmadd_ps(
                        weight, load(kind, view->held, at + (i + half) * width + v * LANES, part_mask(v, exact, width)),
                        sums[half][v]);
            }
        for (; i < run; i++) {
            __m512 weight = _mm512_set1_ps(scores[p - view->low + i]);
            for (int v = 0; v < VECTORS; v++)
                sums[0][v] = _mm512_fmadd_ps(
                    weight, load(kind, view->held, at + i * width + v * LANES, part_mask(v, exact, width)), sums[0][v]);
        }
        p += run;
        index = index + run == view->ring ? 0 : index + run;
    }
    __m512 inverse = _mm512_set1_ps(1 / _mm512_reduce_add_ps(total));
    for (int v = 0; v < VECTORS; v++)
        _mm512_mask_storeu_ps(out + v * LANES, part_mask(v, exact, width),
                              _mm512_mul_ps(_mm512_add_ps(sums[0][v], sums[1][v]), inverse));
}

#define ATTEND(VECTORS, EXACT)                                                                                        \
    if (kind == FLOAT32)                                                                                              \
        attend(VECTORS, EXACT, FLOAT32, view, query, scores, out);                                                    \
    else                                                                                                              \
        attend(VECTORS, EXACT, BFLOAT16, view, query, scores, out);                                                   \
    break;

/* `scores` has room for the positions and 16 more. head_dim is at most 256. */
static void attend_any(int64_t kind, const View *view, const float *query, float *scores, float *out)
{
    switch (view->width) {
    case 32: ATTEND(2, 1)
    case 64: ATTEND(4, 1)
    case 128: ATTEND(8, 1)
    default: ATTEND(16, 0)
    }
}
