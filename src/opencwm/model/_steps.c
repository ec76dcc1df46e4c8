/* The memory-bound steps of a training pass in C, for CPUs with AVX-512: SwiGLU, RMSNorm, the normalised and rotated
   heads, and the causal convolution, each with its backward pass. `kernels.py` has the same in PyTorch's operations,
   which make several passes over memory each and a fresh tensor per pass; here it is one pass and no tensor between.

   Sums and all that lies between reading and writing are float32. Matrices are row after row without gaps; widths are
   multiples of 16, of heads of 32. Rows are divided among the threads; each has sums of its own for gradients of weights,
   which are added up in the threads' order, so that the same number of threads gives the same bits. */

#include "_processor.h"

#if HERE
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,fma")

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "_numbers.h"
#include "_team.h"

enum { ALL = 0xffff, WIDEST_HEAD = 512 };

/* What a step is given: numbers in, numbers out. `sums`: per thread, gradients of `weight`. */
typedef struct {
    int64_t rows, width, kind;
    const char *x;
    const float *weight, *grad;
    char *out;
    float *inverse, *sums;
    double eps;
    int64_t heads, kv_heads;                           /* of rotated heads, each `width` wide */
    const float *cos, *sin, *grad_q, *grad_k, *grad_v;
    float *q, *k, *v;
    int64_t taps;                                      /* of a convolution: tokens under it */
    const uint8_t *reach;                              /* per row, how many of the rows before it count */
} Step;

static void share(const Step *s, const Member *me, int64_t *from, int64_t *to)
{
    *from = s->rows * me->number / me->size;
    *to = s->rows * (me->number + 1) / me->size;
}

/* Adds up the threads' sums in those of the first. */
static void add_up(Step *s, Member *me, int64_t count)
{
    meet(me);
    if (me->number == 0)
        for (int64_t other = 1; other < me->size; other++)
            for (int64_t i = 0; i < count; i++)
                s->sums[i] += s->sums[other * count + i];
}

static inline __m512 sigmoid(__m512 x)
{
    const __m512 one = _mm512_set1_ps(1);
    return _mm512_div_ps(one, _mm512_add_ps(one, exponential(_mm512_sub_ps(_mm512_setzero_ps(), x))));
}

/* --- SwiGLU: rows of gates and, behind them, as many of what they let pass */

static inline void gated(const Step *s, Member *me, int64_t kind)
{
    int64_t from, to, width = s->width;
    share(s, me, &from, &to);
    for (int64_t n = from; n < to; n++)
        for (int64_t i = 0; i < width; i += LANES) {
            __m512 gate = load(kind, s->x, 2 * n * width + i, ALL), up = load(kind, s->x, (2 * n + 1) * width + i, ALL);
            store(kind, s->out, n * width + i, ALL, _mm512_mul_ps(_mm512_mul_ps(gate, sigmoid(gate)), up));
        }
}

static inline void gated_backward(const Step *s, Member *me, int64_t kind)
{
    const __m512 one = _mm512_set1_ps(1);
    int64_t from, to, width = s->width;
    share(s, me, &from, &to);
    for (int64_t n = from; n < to; n++)
        for (int64_t i = 0; i < width; i += LANES) {
            __m512 gate = load(kind, s->x, 2 * n * width + i, ALL), up = load(kind, s->x, (2 * n + 1) * width + i, ALL);
            __m512 grad = load(kind, (const char *)s->grad, n * width + i, ALL), open = sigmoid(gate);
            __m512 slope = _mm512_mul_ps(open, _mm512_fmadd_ps(gate, _mm512_sub_ps(one, open), one));
            store(kind, s->out, 2 * n * width + i, ALL, _mm512_mul_ps(_mm512_mul_ps(grad, up), slope));
            store(kind, s->out, (2 * n + 1) * width + i, ALL, _mm512_mul_ps(grad, _mm512_mul_ps(gate, open)));
        }
}

static void swiglu(void *step, Member *me)
{
    const Step *s = step;
    if (s->kind == FLOAT32)
        s->grad ? gated_backward(s, me, FLOAT32) : gated(s, me, FLOAT32);
    else
        s->grad ? gated_backward(s, me, BFLOAT16) : gated(s, me, BFLOAT16);
}

/* --- RMSNorm */

static inline float inverse_root(const float *x, int64_t width, double eps)
{
    __m512 sum = _mm512_setzero_ps();
    for (int64_t i = 0; i < width; i += LANES) {
        __m512 value = _mm512_loadu_ps(x + i);
        sum = _mm512_fmadd_ps(value, value, sum);
    }
    return (float)(1 / sqrt(_mm512_reduce_add_ps(sum) / width + eps));
}

/* The gradient of x from that of x times `inverse` times the weight; adds to the weight's. */
static inline void norm_backward(
    const float *x, const float *weight, const float *grad, float inverse, int64_t width, float *sums, float *out)
{
    __m512 scale = _mm512_set1_ps(inverse), dot = _mm512_setzero_ps();
    for (int64_t i = 0; i < width; i += LANES) {
        __m512 product = _mm512_mul_ps(_mm512_loadu_ps(grad + i), _mm512_mul_ps(_mm512_loadu_ps(x + i), scale));
        _mm512_storeu_ps(sums + i, _mm512_add_ps(_mm512_loadu_ps(sums + i), product));
        dot = _mm512_fmadd_ps(product, _mm512_loadu_ps(weight + i), dot);
    }
    __m512 mean = _mm512_set1_ps(-_mm512_reduce_add_ps(dot) / width * inverse);
    for (int64_t i = 0; i < width; i += LANES) {
        __m512 weighted = _mm512_mul_ps(_mm512_loadu_ps(grad + i), _mm512_loadu_ps(weight + i));
        _mm512_storeu_ps(out + i, _mm512_mul_ps(_mm512_fmadd_ps(_mm512_loadu_ps(x + i), mean, weighted), scale));
    }
}

static void rms_norm(void *step, Member *me)
{
    Step *s = step;
    int64_t from, to, width = s->width;
    share(s, me, &from, &to);
    const float *x = (const float *)s->x;
    float *out = (float *)s->out;
    for (int64_t n = from; n < to; n++) {
        if (s->grad) {
            float *sums = s->sums + me->number * width;
            norm_backward(x + n * width, s->weight, s->grad + n * width, s->inverse[n], width, sums, out + n * width);
            continue;
        }
        s->inverse[n] = inverse_root(x + n * width, width, s->eps);
        __m512 scale = _mm512_set1_ps(s->inverse[n]);
        for (int64_t i = 0; i < width; i += LANES) {
            __m512 unit = _mm512_mul_ps(_mm512_loadu_ps(x + n * width + i), scale);
            _mm512_storeu_ps(out + n * width + i, _mm512_mul_ps(unit, _mm512_loadu_ps(s->weight + i)));
        }
    }
    if (s->grad)
        add_up(s, me, width);
}

/* --- Heads: queries and keys normalised (with a weight) and rotated, values as they are */

static inline void turn(const float *x, const float *cos, const float *sin, int sign, int64_t width, float *out)
{
    int64_t half = width / 2;
    for (int64_t i = 0; i < width; i += LANES) {
        __m512 across = _mm512_mul_ps(_mm512_loadu_ps(x + (i < half ? i + half : i - half)), _mm512_loadu_ps(sin + i));
        __m512 along = _mm512_mul_ps(_mm512_loadu_ps(x + i), _mm512_loadu_ps(cos + i));
        _mm512_storeu_ps(out + i, sign > 0 ? _mm512_add_ps(along, across) : _mm512_sub_ps(along, across));
    }
}

static void read_head(const Step *s, int64_t at, float *out)
{
    for (int64_t i = 0; i < s->width; i += LANES)
        _mm512_storeu_ps(out + i, load(s->kind, s->x, at + i, ALL));
}

static void rotate(void *step, Member *me)
{
    const Step *s = step;
    int64_t from, to, width = s->width, turned = s->heads + s->kv_heads;
    float head[WIDEST_HEAD];
    share(s, me, &from, &to);
    for (int64_t n = from; n < to; n++)
        for (int64_t h = 0; h < turned + s->kv_heads; h++) {
            read_head(s, (n * (turned + s->kv_heads) + h) * width, head);
            if (h >= turned) {
                memcpy(s->v + (n * s->kv_heads + h - turned) * width, head, width * sizeof(float));
                continue;
            }
            if (s->weight) {
                float inverse = s->inverse[n * turned + h] = inverse_root(head, width, s->eps);
                for (int64_t i = 0; i < width; i++)
                    head[i] = head[i] * inverse * s->weight[h * width + i];
            }
            float *to_head = h < s->heads ? s->q + (n * s->heads + h) * width
                                          : s->k + (n * s->kv_heads + h - s->heads) * width;
            turn(head, s->cos + n * width, s->sin + n * width, 1, width, to_head);
        }
}

static void rotate_backward(void *step, Member *me)
{
    Step *s = step;
    int64_t from, to, width = s->width, turned = s->heads + s->kv_heads;
    float head[WIDEST_HEAD], grad[WIDEST_HEAD], result[WIDEST_HEAD];
    share(s, me, &from, &to);
    for (int64_t n = from; n < to; n++)
        for (int64_t h = 0; h < turned + s->kv_heads; h++) {
            const float *found = grad;
            int64_t at = (n * (turned + s->kv_heads) + h) * width;
            if (h >= turned) {
                found = s->grad_v + (n * s->kv_heads + h - turned) * width;
            } else {
                const float *given = h < s->heads ? s->grad_q + (n * s->heads + h) * width
                                                  : s->grad_k + (n * s->kv_heads + h - s->heads) * width;
                turn(given, s->cos + n * width, s->sin + n * width, -1, width, grad); /* a rotation's transpose */
                if (s->weight) {
                    read_head(s, at, head);
                    float *sums = s->sums + (me->number * turned + h) * width;
                    norm_backward(head, s->weight + h * width, grad, s->inverse[n * turned + h], width, sums, result);
                    found = result;
                }
            }
            for (int64_t i = 0; i < width; i += LANES)
                store(s->kind, s->out, at + i, ALL, _mm512_loadu_ps(found + i));
        }
    if (s->weight)
        add_up(s, me, turned * width);
}

/* --- The causal convolution: each row plus the weighted sum of itself and the rows before it that count */

static void convolve(void *step, Member *me)
{
    const Step *s = step;
    int64_t from, to, width = s->width;
    const float *x = (const float *)s->x;
    float *out = (float *)s->out;
    share(s, me, &from, &to);
    for (int64_t n = from; n < to; n++)
        for (int64_t i = 0; i < width; i += LANES) {
            __m512 own = _mm512_loadu_ps(x + n * width + i);
            __m512 sum = _mm512_fmadd_ps(own, _mm512_loadu_ps(s->weight + i), own);
            for (int64_t back = 1; back <= s->reach[n]; back++)
                sum = _mm512_fmadd_ps(
                    _mm512_loadu_ps(x + (n - back) * width + i), _mm512_loadu_ps(s->weight + back * width + i), sum);
            _mm512_storeu_ps(out + n * width + i, sum);
        }
}

static void convolve_backward(void *step, Member *me)
{
    Step *s = step;
    int64_t from, to, width = s->width;
    const float *x = (const float *)s->x, *grad = s->grad;
    float *out = (float *)s->out, *sums = s->sums + me->number * s->taps * width;
    share(s, me, &from, &to);
    for (int64_t n = from; n < to; n++)
        for (int64_t i = 0; i < width; i += LANES) {
            __m512 own = _mm512_loadu_ps(grad + n * width + i);
            __m512 sum = _mm512_fmadd_ps(own, _mm512_loadu_ps(s->weight + i), own);
            for (int64_t back = 0; back <= s->reach[n]; back++) {
                float *place = sums + back * width + i;
                __m512 earlier = _mm512_loadu_ps(x + (n - back) * width + i);
                _mm512_storeu_ps(place, _mm512_fmadd_ps(own, earlier, _mm512_loadu_ps(place)));
            }
            for (int64_t ahead = 1; ahead < s->taps && n + ahead < s->rows; ahead++)
                if (s->reach[n + ahead] >= ahead)
                    sum = _mm512_fmadd_ps(_mm512_loadu_ps(grad + (n + ahead) * width + i),
                                          _mm512_loadu_ps(s->weight + ahead * width + i), sum);
            _mm512_storeu_ps(out + n * width + i, sum);
        }
    add_up(s, me, s->taps * width);
}

/* --- From Python */

/* Runs a step; `total` takes the threads' sums of `count` gradients of weights, where there are such. */
static PyObject *done(Step *s, void (*work)(void *, Member *), int threads, float *total, int64_t count)
{
    int64_t least = 1 + s->rows / 64; /* a thread that is woken for less costs more than it does */
    threads = threads > MOST_MEMBERS ? MOST_MEMBERS : threads;
    threads = threads > least ? (int)least : threads;
    if (total != NULL && (s->sums = calloc((size_t)(threads * count) + 1, sizeof(float))) == NULL)
        return PyErr_NoMemory();
    Py_BEGIN_ALLOW_THREADS
    together(threads, work, s);
    Py_END_ALLOW_THREADS
    if (total != NULL)
        memcpy(total, s->sums, (size_t)count * sizeof(float));
    free(s->sums);
    Py_RETURN_NONE;
}

typedef unsigned long long Address;

static PyObject *swiglu_(PyObject *self, PyObject *arguments)
{
    Address x, grad, out;
    Py_ssize_t rows, width;
    int kind, threads;
    if (!PyArg_ParseTuple(arguments, "nniKKKi", &rows, &width, &kind, &x, &grad, &out, &threads))
        return NULL;
    Step s = {.rows = rows, .width = width, .kind = kind, .x = (void *)x, .grad = (void *)grad, .out = (void *)out};
    return done(&s, swiglu, threads, NULL, 0);
}

static PyObject *rms_norm_(PyObject *self, PyObject *arguments)
{
    Address x, weight, grad, inverse, out, grad_weight;
    Py_ssize_t rows, width;
    double eps;
    int threads;
    if (!PyArg_ParseTuple(arguments, "nnKKdKKKKi", &rows, &width, &x, &weight, &eps, &grad, &inverse, &out,
                          &grad_weight, &threads))
        return NULL;
    Step s = {.rows = rows, .width = width, .x = (void *)x, .weight = (void *)weight, .eps = eps,
              .grad = (void *)grad, .inverse = (void *)inverse, .out = (void *)out};
    return done(&s, rms_norm, threads, (void *)grad_weight, width);
}

static PyObject *rotated_heads_(PyObject *self, PyObject *arguments)
{
    Address x, cos, sin, weight, inverse, q, k, v, out, grad_weight;
    Py_ssize_t rows, width, heads, kv_heads;
    double eps;
    int kind, threads;
    if (!PyArg_ParseTuple(arguments, "nnnniKKKKdKKKKKKi", &rows, &width, &heads, &kv_heads, &kind, &x, &cos, &sin,
                          &weight, &eps, &inverse, &q, &k, &v, &out, &grad_weight, &threads))
        return NULL;
    Step s = {.rows = rows, .width = width, .heads = heads, .kv_heads = kv_heads, .kind = kind, .x = (void *)x,
              .cos = (void *)cos, .sin = (void *)sin, .weight = (void *)weight, .eps = eps,
              .inverse = (void *)inverse, .q = (void *)q, .k = (void *)k, .v = (void *)v, .out = (void *)out};
    if (!out)
        return done(&s, rotate, threads, NULL, 0);
    s.grad_q = s.q, s.grad_k = s.k, s.grad_v = s.v;
    return done(&s, rotate_backward, threads, (void *)grad_weight, (heads + kv_heads) * width);
}

static PyObject *convolution_(PyObject *self, PyObject *arguments)
{
    Address x, weight, grad, reach, out, grad_weight;
    Py_ssize_t rows, width, taps;
    int threads;
    if (!PyArg_ParseTuple(arguments, "nnnKKKKKKi", &rows, &width, &taps, &x, &weight, &grad, &reach, &out,
                          &grad_weight, &threads))
        return NULL;
    Step s = {.rows = rows, .width = width, .taps = taps, .x = (void *)x, .weight = (void *)weight,
              .grad = (void *)grad, .reach = (void *)reach, .out = (void *)out};
    return done(&s, grad ? convolve_backward : convolve, threads, (void *)grad_weight, taps * width);
}

PyObject *attend_spans(PyObject *self, PyObject *arguments); /* of _spans.c */

#pragma GCC pop_options
#endif

static PyMethodDef methods[] = {
    AVAILABLE,
#if HERE
    {"attend", attend_spans, METH_VARARGS,
     "attend(inputs, gradients, ends, spans, heads, kv_heads, head_dim, threads); a gradient of the output: backward."},
    {"swiglu", swiglu_, METH_VARARGS, "swiglu(rows, width, kind, x, grad, out, threads); grad 0: forward."},
    {"rms_norm", rms_norm_, METH_VARARGS,
     "rms_norm(rows, width, x, weight, eps, grad, inverse, out, grad_weight, threads); grad 0: forward."},
    {"rotated_heads", rotated_heads_, METH_VARARGS,
     "rotated_heads(rows, width, heads, kv_heads, kind, x, cos, sin, weight, eps, inverse, q, k, v, out, grad_weight,"
     " threads); out 0: forward, to q, k and v; else their gradients, to out."},
    {"convolution", convolution_, METH_VARARGS,
     "convolution(rows, width, taps, x, weight, grad, reach, out, grad_weight, threads); grad 0: forward."},
#endif
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_steps", "Steps of a training pass in C.", -1, methods};

PyMODINIT_FUNC PyInit__steps(void)
{
    return PyModule_Create(&module);
}
