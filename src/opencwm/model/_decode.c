/* The decoding pass in C, for CPUs with AVX-512: what `runner.py` computes in PyTorch, without the cost of starting
   some twenty operations per layer, which for a small model is most of the time, and with products made for few tokens.

   Everything between the layers is float32; keys, values and the inputs of convolutions are kept in the cache's type.
   All tokens of a step are alike, each with a slot and a position: first all of them are written to the cache, then
   each looks at what its slot holds up to its own position. `compiled.py` gives the addresses; nothing here owns memory of
   Python's, and the interpreter's lock is free meanwhile. */

#include "_processor.h"

#if HERE
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16,fma")

#include "_products.h"
#include "_team.h"

typedef struct {
    Matrix qkv, out, gate_up, down;
    const float *attention_norm, *ffn_norm;           /* times the square root of the width */
    const float *attention_conv, *ffn_conv;           /* (lead + 1, width), oldest first; or NULL */
    const float *head_norm;                           /* (heads + kv_heads, head_dim), times its root; or NULL */
    int64_t window;                                   /* 0: global */
} Layer;

typedef struct {
    int64_t width, layers, heads, kv_heads, head_dim, ffn;
    const float *norm, *cos, *sin;                    /* (positions, head_dim), sines of the first half negated */
    const void *embedding;
    int64_t embedding_kind;
    double eps;                                       /* of a mean; sums are over `width` or `head_dim` */
    const Layer *all;
} Model;

typedef struct {
    int64_t kind, room, lead;                         /* FLOAT32 or BFLOAT16 */
    struct { char *heads, *attention_inputs, *ffn_inputs; int64_t positions; } layer[];
} Cache;

typedef struct {
    const Model *model;
    const Cache *cache;
    int64_t count;
    const int64_t *tokens, *slots, *positions;
    float *x, *y, *qkv, *attended, *hidden, *scale, *scores;
    uint32_t *words;
    int64_t scores_each;
} Step;

#include "_attention.h"

static void normalise(const float *x, const float *weight, int64_t width, double eps, float *y)
{
    __m512 squares = _mm512_setzero_ps();
    for (int64_t i = 0; i < width; i += LANES) {
        __m512 value = _mm512_maskz_loadu_ps(lanes(width - i), x + i);
        squares = _mm512_fmadd_ps(value, value, squares);
    }
    float inverse = 1 / sqrtf(_mm512_reduce_add_ps(squares) + (float)(eps * width));
    for (int64_t i = 0; i < width; i += LANES) {
        __mmask16 mask = lanes(width - i);
        __m512 value = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, x + i), _mm512_set1_ps(inverse));
        _mm512_mask_storeu_ps(y + i, mask, _mm512_mul_ps(value, _mm512_maskz_loadu_ps(mask, weight + i)));
    }
}

static inline int64_t input_row(const Step *s, int64_t n)
{
    return (s->slots[n] * (s->cache->lead + s->cache->room) + s->positions[n]) * s->model->width;
}

/* The norm before a half of a layer, and what it writes for its convolution. */
static void enter(Step *s, Member *me, const float *weight, const float *conv, char *inputs)
{
    int64_t width = s->model->width;
    for (int64_t n = me->number; n < s->count; n += me->size) {
        float *y = s->y + n * width;
        normalise(s->x + n * width, weight, width, s->model->eps, y);
        if (conv != NULL)
            for (int64_t i = 0, own = input_row(s, n) + s->cache->lead * width; i < width; i += LANES) {
                __mmask16 mask = lanes(width - i);
                store(s->cache->kind, inputs, own + i, mask, _mm512_maskz_loadu_ps(mask, y + i));
            }
    }
    if (conv != NULL)
        meet(me);
}

/* The causal convolution over what `enter` wrote, and the inputs of the next product as words. */
static void convolve_and_prepare(Step *s, Member *me, const float *conv, const char *inputs, const Matrix *next)
{
    int64_t width = s->model->width;
    for (int64_t n = me->number; n < s->count; n += me->size) {
        float *y = s->y + n * width;
        if (conv != NULL)
            for (int64_t i = 0, first = input_row(s, n); i < width; i += LANES) {
                __mmask16 mask = lanes(width - i);
                __m512 sum = _mm512_setzero_ps();
                for (int64_t back = 0; back <= s->cache->lead; back++)
                    sum = _mm512_fmadd_ps(load(s->cache->kind, inputs, first + back * width + i, mask),
                                          _mm512_maskz_loadu_ps(mask, conv + back * width + i), sum);
                _mm512_mask_storeu_ps(y + i, mask, sum);
            }
        s->scale[n] = prepare(next, y, s->words + n * next->steps);
    }
    meet(me);
}

static void multiply(Step *s, Member *me, const Matrix *m, float *out, int add)
{
    int64_t all = tiles(m);
    product(m, all * me->number / me->size, all * (me->number + 1) / me->size, s->count, s->words, s->scale, out, add);
    meet(me);
}

/* Norms and turns query and key heads in place, and writes keys and values to the cache. */
static void place_heads(Step *s, Member *me, int64_t number)
{
    const Model *model = s->model;
    const Layer *layer = model->all + number;
    const Cache *cache = s->cache;
    int64_t turned = model->heads + model->kv_heads, all = turned + model->kv_heads, width = model->head_dim;
    int64_t ring = cache->layer[number].positions;
    float *other = s->scores + me->number * s->scores_each;
    for (int64_t n = me->number; n < s->count; n += me->size) {
        const float *cos = model->cos + s->positions[n] * width, *sin = model->sin + s->positions[n] * width;
        for (int64_t j = 0; j < all; j++) {
            float *head = s->qkv + (n * all + j) * width;
            if (j < turned) {
                if (layer->head_norm != NULL)
                    normalise(head, layer->head_norm + j * width, width, model->eps, head);
                memcpy(other, head + width / 2, width / 2 * sizeof(float));
                memcpy(other + width / 2, head, width / 2 * sizeof(float));
                for (int64_t i = 0; i < width; i += LANES) {
                    __mmask16 mask = lanes(width - i);
                    __m512 value = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, head + i),
                                                 _mm512_maskz_loadu_ps(mask, cos + i));
                    value = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(mask, other + i),
                                            _mm512_maskz_loadu_ps(mask, sin + i), value);
                    _mm512_mask_storeu_ps(head + i, mask, value);
                }
            }
            if (j >= model->heads) {
                int64_t row = s->slots[n] * 2 * model->kv_heads + j - model->heads;
                int64_t at = (row * ring + s->positions[n] % ring) * width;
                for (int64_t i = 0; i < width; i += LANES)
                    store(cache->kind, cache->layer[number].heads, at + i, lanes(width - i),
                          _mm512_maskz_loadu_ps(lanes(width - i), head + i));
            }
        }
    }
    meet(me);
}

static void attention(Step *s, Member *me, int64_t number)
{
    const Model *model = s->model;
    const Cache *cache = s->cache;
    int64_t heads = model->heads, group = heads / model->kv_heads, width = model->head_dim;
    int64_t all = heads + 2 * model->kv_heads, window = model->all[number].window;
    int64_t ring = cache->layer[number].positions;
    for (int64_t one = me->number; one < s->count * model->kv_heads; one += me->size) {
        int64_t n = one / model->kv_heads, kv = one % model->kv_heads, position = s->positions[n];
        int64_t keys = (s->slots[n] * 2 * model->kv_heads + kv) * ring * width;
        int64_t low = window && position >= window ? position - window + 1 : 0;
        int64_t values = keys + model->kv_heads * ring * width;
        View view = {cache->layer[number].heads, keys, values, ring, low, position, width};
        for (int64_t h = kv * group; h < (kv + 1) * group; h++)
            attend_any(cache->kind, &view, s->qkv + (n * all + h) * width, s->scores + me->number * s->scores_each,
                       s->attended + (n * heads + h) * width);
    }
    meet(me);
}

static void prepare_all(Step *s, Member *me, const float *inputs, const Matrix *next)
{
    for (int64_t n = me->number; n < s->count; n += me->size)
        s->scale[n] = prepare(next, inputs + n * next->inputs, s->words + n * next->steps);
    meet(me);
}

/* silu(gate) * up, over gate, as words of the next product. */
static void gate(Step *s, Member *me, const Matrix *next)
{
    int64_t width = s->model->ffn;
    const __m512 one = _mm512_set1_ps(1);
    for (int64_t n = me->number; n < s->count; n += me->size) {
        float *gates = s->hidden + n * 2 * width;
        for (int64_t i = 0; i < width; i += LANES) {
            __mmask16 mask = lanes(width - i);
            __m512 value = _mm512_maskz_loadu_ps(mask, gates + i), up = _mm512_maskz_loadu_ps(mask, gates + width + i);
            __m512 minus = _mm512_min_ps(_mm512_sub_ps(_mm512_setzero_ps(), value), _mm512_set1_ps(88));
            __m512 below = _mm512_add_ps(one, exponential(minus));
            _mm512_mask_storeu_ps(gates + i, mask, _mm512_mul_ps(_mm512_div_ps(value, below), up));
        }
        s->scale[n] = prepare(next, gates, s->words + n * next->steps);
    }
    meet(me);
}

static void pass(void *job, Member *me)
{
    Step *s = job;
    const Model *model = s->model;
    int64_t width = model->width;
    for (int64_t n = me->number; n < s->count; n += me->size)
        for (int64_t i = 0; i < width; i += LANES) {
            __mmask16 mask = lanes(width - i);
            __m512 value = load(model->embedding_kind, model->embedding, s->tokens[n] * width + i, mask);
            _mm512_mask_storeu_ps(s->x + n * width + i, mask, value);
        }
    for (int64_t number = 0; number < model->layers; number++) {
        const Layer *layer = model->all + number;
        char *first = s->cache->layer[number].attention_inputs, *second = s->cache->layer[number].ffn_inputs;
        enter(s, me, layer->attention_norm, layer->attention_conv, first);
        convolve_and_prepare(s, me, layer->attention_conv, first, &layer->qkv);
        multiply(s, me, &layer->qkv, s->qkv, 0);
        place_heads(s, me, number);
        attention(s, me, number);
        prepare_all(s, me, s->attended, &layer->out);
        multiply(s, me, &layer->out, s->x, 1);
        enter(s, me, layer->ffn_norm, layer->ffn_conv, second);
        convolve_and_prepare(s, me, layer->ffn_conv, second, &layer->gate_up);
        multiply(s, me, &layer->gate_up, s->hidden, 0);
        gate(s, me, &layer->down);
        multiply(s, me, &layer->down, s->x, 1);
    }
    for (int64_t n = me->number; n < s->count; n += me->size)
        normalise(s->x + n * width, model->norm, width, model->eps, s->x + n * width);
}

/* A product by itself: rows of numbers in, rows out. */
typedef struct {
    const Matrix *matrix;
    int64_t count;
    const float *x;
    float *out, *scale;
    uint32_t *words;
} Rows;

static void multiplied(void *job, Member *me)
{
    Rows *r = job;
    const Matrix *m = r->matrix;
    for (int64_t n = me->number; n < r->count; n += me->size)
        r->scale[n] = prepare(m, r->x + n * m->inputs, r->words + n * m->steps);
    meet(me);
    int64_t all = tiles(m);
    product(m, all * me->number / me->size, all * (me->number + 1) / me->size, r->count, r->words, r->scale, r->out, 0);
}

/* One block of memory for all that a step needs, in parts of 64 bytes; the first time round it only counts. */
typedef struct { char *base; size_t used; } Arena;

static void *part(Arena *arena, int64_t numbers)
{
    void *found = arena->base ? arena->base + arena->used : NULL;
    arena->used += (size_t)(numbers * 4 + 63) / 64 * 64;
    return found;
}

static void lay_out(Step *s, Arena *arena, int threads)
{
    const Model *m = s->model;
    int64_t n = s->count, most = 0, longest = 0;
    for (int64_t i = 0; i < m->layers; i++) {
        const Matrix *all[] = {&m->all[i].qkv, &m->all[i].out, &m->all[i].gate_up, &m->all[i].down};
        for (int k = 0; k < 4; k++)
            most = all[k]->steps > most ? all[k]->steps : most;
    }
    for (int64_t i = 0; i < n; i++)
        longest = s->positions[i] > longest ? s->positions[i] : longest;
    s->scores_each = (longest + 1 > m->head_dim ? longest + 1 : m->head_dim) + 2 * LANES;
    s->y = part(arena, n * m->width);
    s->qkv = part(arena, n * (m->heads + 2 * m->kv_heads) * m->head_dim);
    s->attended = part(arena, n * m->heads * m->head_dim);
    s->hidden = part(arena, n * 2 * m->ffn);
    s->scale = part(arena, n);
    s->words = part(arena, n * most);
    s->scores = part(arena, threads * s->scores_each);
}

static PyObject *forward(PyObject *self, PyObject *arguments)
{
    unsigned long long model, cache, tokens, slots, positions, out;
    Py_ssize_t count;
    int threads;
    if (!PyArg_ParseTuple(arguments, "KKnKKKKi", &model, &cache, &count, &tokens, &slots, &positions, &out, &threads))
        return NULL;
    Step step = {.model = (void *)model, .cache = (void *)cache, .count = count, .tokens = (void *)tokens,
                 .slots = (void *)slots, .positions = (void *)positions, .x = (void *)out};
    Arena arena = {NULL, 0};
    lay_out(&step, &arena, threads);
    arena.base = aligned_alloc(64, arena.used);
    if (arena.base == NULL)
        return PyErr_NoMemory();
    arena.used = 0;
    lay_out(&step, &arena, threads);
    Py_BEGIN_ALLOW_THREADS
    together(threads, pass, &step);
    Py_END_ALLOW_THREADS
    free(arena.base);
    Py_RETURN_NONE;
}

static PyObject *multiply_rows(PyObject *self, PyObject *arguments)
{
    unsigned long long matrix, x, out;
    Py_ssize_t count;
    int threads;
    if (!PyArg_ParseTuple(arguments, "KnKKi", &matrix, &count, &x, &out, &threads))
        return NULL;
    const Matrix *m = (void *)matrix;
    uint32_t *words = aligned_alloc(64, (size_t)(count * m->steps * 4 + 63) / 64 * 64);
    float *scale = malloc(count * sizeof(float));
    if (words == NULL || scale == NULL) {
        free(words);
        free(scale);
        return PyErr_NoMemory();
    }
    Rows rows = {m, count, (void *)x, (void *)out, scale, words};
    Py_BEGIN_ALLOW_THREADS
    together(threads, multiplied, &rows);
    Py_END_ALLOW_THREADS
    free(words);
    free(scale);
    Py_RETURN_NONE;
}

#pragma GCC pop_options
#endif

static PyMethodDef methods[] = {
    AVAILABLE,
#if HERE
    {"forward", forward, METH_VARARGS,
     "forward(model, cache, count, tokens, slots, positions, out, threads): addresses; out is float32 (count, width)."},
    {"multiply", multiply_rows, METH_VARARGS, "multiply(matrix, count, x, out, threads): out = x times the matrix."},
#endif
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_decode", "The decoding pass in C.", -1, methods};

PyMODINIT_FUNC PyInit__decode(void)
{
    return PyModule_Create(&module);
}
