/* Causal attention within spans of tokens, forward and backward, for training on CPUs with AVX-512, in float32.

   PyTorch's CPU attention is made for long rows and wide heads; documents here have some hundred tokens and heads of 32
   numbers, where it reaches a fifth of what the processor can do. Here a span's keys and values of one head are laid out
   once for all query heads that share them, the scores of some rows are held whole (so the softmax is one pass), and all
   five kinds of products go through one loop. Nothing above the diagonal is computed, but for the corner of a block.

   `kernels.py` gives the addresses; heads of a token lie side by side. Work is divided by span and key head, each of which
   writes its own places; the interpreter's lock is free meanwhile. A part of the module `_steps`, for the length of files. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#if defined(__x86_64__) && defined(__GNUC__)
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,fma")

#include "_numbers.h"
#include "_team.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { WIDE = 2 * LANES, ROWS = 8, BLOCK = 32 }; /* BLOCK: query rows whose scores are held at once */

typedef struct {
    const float *query, *key, *value;           /* (tokens, heads or kv_heads, head_dim) */
    float *out, *logsum;                        /* as query, and (tokens, heads) */
    const float *grad_out;                      /* NULL: forward */
    float *grad_query, *grad_key, *grad_value;
    const int64_t *ends;                        /* of the spans, in tokens */
    int64_t spans, heads, kv_heads, head_dim, stride, kv_stride, longest; /* strides: from token to token */
    char *scratch;
    size_t scratch_each;
    atomic_long next;
    float scale;
} Job;

/* out[m][n] (+)= sum over i of a[m * am + i * ak] * b[i * b_stride + n], for ROWS x 32 numbers or fewer. */
static inline __attribute__((always_inline)) void tile(const int M, const int N, float *out, int64_t out_stride,
                                                       const float *a, int64_t am, int64_t ak, const float *b,
                                                       int64_t b_stride, int64_t inner, int add)
{
    __m512 sums[ROWS][2];
#pragma GCC unroll 8
    for (int m = 0; m < M; m++)
#pragma GCC unroll 2
        for (int n = 0; n < N; n++)
            sums[m][n] = add ? _mm512_loadu_ps(out + m * out_stride + n * LANES) : _mm512_setzero_ps();
    for (int64_t i = 0; i < inner; i++) {
        __m512 row[2];
#pragma GCC unroll 2
        for (int n = 0; n < N; n++)
            row[n] = _mm512_loadu_ps(b + i * b_stride + n * LANES);
#pragma GCC unroll 8
        for (int m = 0; m < M; m++) {
            __m512 factor = _mm512_set1_ps(a[m * am + i * ak]);
#pragma GCC unroll 2
            for (int n = 0; n < N; n++)
                sums[m][n] = _mm512_fmadd_ps(factor, row[n], sums[m][n]);
        }
    }
#pragma GCC unroll 8
    for (int m = 0; m < M; m++)
#pragma GCC unroll 2
        for (int n = 0; n < N; n++)
            _mm512_storeu_ps(out + m * out_stride + n * LANES, sums[m][n]);
}

#define TILES(N)                                                                                                      \
    for (; m + ROWS <= rows; m += ROWS)                                                                               \
        tile(ROWS, N, out + m * out_stride + n, out_stride, a + m * am, am, ak, b + n, b_stride, inner, add);         \
    for (; m < rows; m++)                                                                                             \
        tile(1, N, out + m * out_stride + n, out_stride, a + m * am, am, ak, b + n, b_stride, inner, add);

/* The same for any rows, and columns in multiples of 16. */
static void product(int64_t rows, int64_t columns, float *out, int64_t out_stride, const float *a, int64_t am,
                    int64_t ak, const float *b, int64_t b_stride, int64_t inner, int add)
{
    for (int64_t n = 0; n < columns; n += WIDE) {
        int64_t m = 0;
        if (n + WIDE <= columns) {
            TILES(2)
        } else {
            TILES(1)
        }
    }
}

static inline int64_t up(int64_t count, int64_t to) { return (count + to - 1) / to * to; }

/* Keys (or values) of one head with the tokens of the span along a row, filled up with zeros. */
static void transpose(const float *from, int64_t stride, int64_t count, int64_t width, float *to, int64_t to_stride)
{
    for (int64_t d = 0; d < width; d++) {
        float *row = to + d * to_stride;
        for (int64_t s = 0; s < count; s++)
            row[s] = from[s * stride + d];
        memset(row + count, 0, (size_t)(to_stride - count) * sizeof(float));
    }
}

/* Products of `count` rows, the first at `first` in the span, with all keys up to each group's end. */
static void scores(const float *rows, int64_t stride, int64_t first, int64_t count, const float *across, int64_t room,
                   int64_t width, float *out)
{
    for (int64_t r = 0; r < count; r += ROWS) {
        int64_t group = count - r < ROWS ? count - r : ROWS;
        product(group, up(first + r + group, WIDE), out + r * room, room, rows + r * stride, stride, 1, across, room,
                width, 0);
    }
}

/* Scores of a row to weights that are not yet divided by their sum, with zeros up to `end`; returns the sum. */
static float soften(float *row, int64_t seen, int64_t end, float scale, float *largest)
{
    __m512 most = _mm512_set1_ps(-INFINITY), total = _mm512_setzero_ps(), factor = _mm512_set1_ps(scale);
    for (int64_t s = 0; s < seen; s += LANES)
        most = _mm512_mask_max_ps(most, lanes(seen - s), most, _mm512_loadu_ps(row + s));
    *largest = _mm512_reduce_max_ps(most) * scale;
    __m512 shift = _mm512_set1_ps(*largest);
    for (int64_t s = 0; s < end; s += LANES) {
        __m512 weight = exponential(_mm512_fmsub_ps(_mm512_loadu_ps(row + s), factor, shift));
        weight = _mm512_maskz_mov_ps(lanes(seen - s), weight);
        total = _mm512_add_ps(total, weight);
        _mm512_storeu_ps(row + s, weight);
    }
    return _mm512_reduce_add_ps(total);
}

typedef struct { float *keys, *values, *weights, *grads; int64_t room; } Scratch;

static void forward_head(const Job *j, const Scratch *s, int64_t start, int64_t length, int64_t head, int64_t kv)
{
    int64_t width = j->head_dim, stride = j->stride;
    const float *value = j->value + start * j->kv_stride + kv * width;
    for (int64_t first = 0; first < length; first += BLOCK) {
        int64_t count = length - first < BLOCK ? length - first : BLOCK;
        const float *query = j->query + (start + first) * stride + head * width;
        float *out = j->out + (start + first) * stride + head * width;
        scores(query, j->stride, first, count, s->keys, s->room, width, s->weights);
        for (int64_t r = 0; r < count; r += ROWS) {
            int64_t group = count - r < ROWS ? count - r : ROWS, end = first + r + group;
            float sums[ROWS], largest;
            for (int64_t i = 0; i < group; i++) {
                sums[i] = soften(s->weights + (r + i) * s->room, first + r + i + 1, up(end, LANES), j->scale, &largest);
                j->logsum[(start + first + r + i) * j->heads + head] = largest + logf(sums[i]);
            }
            product(group, width, out + r * stride, stride, s->weights + r * s->room, s->room, 1, value,
                    j->kv_stride, end, 0);
            for (int64_t i = 0; i < group; i++)
                for (int64_t d = 0; d < width; d++)
                    out[(r + i) * stride + d] /= sums[i];
        }
    }
}

/* A row's scores to its weights, and the gradients of its weights to those of its scores; zeros up to `end`. */
static void harden(float *row, float *grad, int64_t seen, int64_t end, float scale, float logsum, float dot)
{
    __m512 factor = _mm512_set1_ps(scale), shift = _mm512_set1_ps(logsum), mean = _mm512_set1_ps(dot);
    for (int64_t s = 0; s < end; s += LANES) {
        __mmask16 mask = lanes(seen - s);
        __m512 weight = exponential(_mm512_fmsub_ps(_mm512_loadu_ps(row + s), factor, shift));
        weight = _mm512_maskz_mov_ps(mask, weight);
        __m512 change = _mm512_mul_ps(weight, _mm512_mul_ps(_mm512_sub_ps(_mm512_loadu_ps(grad + s), mean), factor));
        _mm512_storeu_ps(row + s, weight);
        _mm512_storeu_ps(grad + s, _mm512_maskz_mov_ps(mask, change));
    }
}

static void backward_head(const Job *j, const Scratch *s, int64_t start, int64_t length, int64_t head, int64_t kv)
{
    int64_t width = j->head_dim, stride = j->stride;
    const float *key = j->key + start * j->kv_stride + kv * width;
    float *grad_key = j->grad_key + start * j->kv_stride + kv * width;
    float *grad_value = j->grad_value + start * j->kv_stride + kv * width;
    for (int64_t first = 0; first < length; first += BLOCK) {
        int64_t count = length - first < BLOCK ? length - first : BLOCK, end = first + count, edge = up(end, LANES);
        int64_t at = (start + first) * stride + head * width;
        const float *query = j->query + at, *out = j->out + (start + first) * stride + head * width;
        const float *grad_out = j->grad_out + (start + first) * stride + head * width;
        scores(query, j->stride, first, count, s->keys, s->room, width, s->weights);
        scores(grad_out, stride, first, count, s->values, s->room, width, s->grads);
        for (int64_t r = 0; r < count; r++) {
            float dot = 0;
            for (int64_t d = 0; d < width; d++)
                dot += out[r * stride + d] * grad_out[r * stride + d];
            harden(s->weights + r * s->room, s->grads + r * s->room, first + r + 1, edge, j->scale,
                   j->logsum[(start + first + r) * j->heads + head], dot);
        }
        product(count, width, j->grad_query + at, j->stride, s->grads, s->room, 1, key, j->kv_stride, end, 0);
        product(end, width, grad_key, j->kv_stride, s->grads, 1, s->room, query, j->stride, count, 1);
        product(end, width, grad_value, j->kv_stride, s->weights, 1, s->room, grad_out, stride, count, 1);
    }
}

static void clear(float *to, int64_t stride, int64_t count, int64_t width)
{
    for (int64_t t = 0; t < count; t++)
        memset(to + t * stride, 0, (size_t)width * sizeof(float));
}

static void work(void *job, Member *me)
{
    Job *j = job;
    float *own = (float *)(j->scratch + (size_t)me->number * j->scratch_each);
    int64_t group = j->heads / j->kv_heads, width = j->head_dim;
    for (long item; (item = atomic_fetch_add(&j->next, 1)) < j->spans * j->kv_heads;) {
        int64_t span = item / j->kv_heads, kv = item % j->kv_heads;
        int64_t start = span ? j->ends[span - 1] : 0, length = j->ends[span] - start, room = up(length, WIDE);
        Scratch s = {.keys = own, .values = own + width * room, .weights = own + 2 * width * room,
                     .grads = own + (2 * width + BLOCK) * room, .room = room};
        transpose(j->key + start * j->kv_stride + kv * width, j->kv_stride, length, width, s.keys, room);
        if (j->grad_out == NULL) {
            for (int64_t head = kv * group; head < (kv + 1) * group; head++)
                forward_head(j, &s, start, length, head, kv);
            continue;
        }
        transpose(j->value + start * j->kv_stride + kv * width, j->kv_stride, length, width, s.values, room);
        clear(j->grad_key + start * j->kv_stride + kv * width, j->kv_stride, length, width);
        clear(j->grad_value + start * j->kv_stride + kv * width, j->kv_stride, length, width);
        for (int64_t head = kv * group; head < (kv + 1) * group; head++)
            backward_head(j, &s, start, length, head, kv);
    }
}

/* attend(inputs, gradients, ends, spans, heads, kv_heads, head_dim, threads): see `kernels.span_attention`. */
PyObject *attend_spans(PyObject *self, PyObject *arguments)
{
    unsigned long long query, key, value, out, logsum, grad_out, grad_query, grad_key, grad_value, ends;
    Job job = {0};
    long long spans, heads, kv_heads, width;
    int threads;
    if (!PyArg_ParseTuple(arguments, "(KKKKK)(KKKK)KLLLLi", &query, &key, &value, &out, &logsum, &grad_out,
                          &grad_query, &grad_key, &grad_value, &ends, &spans, &heads, &kv_heads, &width, &threads))
        return NULL;
    job.query = (void *)query, job.key = (void *)key, job.value = (void *)value;
    job.out = (void *)out, job.logsum = (void *)logsum, job.grad_out = (void *)grad_out;
    job.grad_query = (void *)grad_query, job.grad_key = (void *)grad_key, job.grad_value = (void *)grad_value;
    job.ends = (void *)ends, job.spans = spans, job.heads = heads, job.kv_heads = kv_heads, job.head_dim = width;
    job.stride = heads * width, job.kv_stride = kv_heads * width;
    job.scale = 1 / sqrtf((float)width);
    for (int64_t i = 0, start = 0; i < spans; start = job.ends[i++])
        job.longest = job.ends[i] - start > job.longest ? job.ends[i] - start : job.longest;
    threads = threads < 1 ? 1 : threads > MOST_MEMBERS ? MOST_MEMBERS : threads;
    job.scratch_each = (size_t)(up(job.longest, WIDE) * (2 * width + 2 * BLOCK)) * sizeof(float);
    job.scratch = aligned_alloc(64, job.scratch_each * (size_t)threads);
    if (job.scratch == NULL)
        return PyErr_NoMemory();
    Py_BEGIN_ALLOW_THREADS
    together(threads, work, &job);
    Py_END_ALLOW_THREADS
    free(job.scratch);
    Py_RETURN_NONE;
}

#pragma GCC pop_options
#endif
