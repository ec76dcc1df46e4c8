/* The core in C: the same frames as _pycore.py, which is its specification; read that first. See core.py for the choice.

- `PyEval_SetTrace` gives every event of a thread to `on_event`. Frames that are not recorded are told by a pointer
  comparison, or on a call by a table of code objects.
- A recorded event becomes a small `Record`: line, depth, code, and the texts of those locals that changed. `Frame`s
  are made of the records at the end (or at once, if somebody wants each as it comes).
- Up to Python 3.12 a trace function in Python keeps every local alive until the frame's next event (the interpreter
  copies them into a dictionary). Programs can see that (`__del__`, weak references), so this core does the same.
- While a value is looked at, no code of the program's may run and change it: garbage is not collected meanwhile, and
  no code in Python is called from within a container.
- The frame's locals are read out of the interpreter's own structure, which is why this file is built for one minor
  version and includes its internal headers.

It is long because it is one hot path, compiled as one unit so that the compiler can inline it; what writes text and
keeps records has a header of its own.

The comments name the Python functions that they mirror. Everything rare is left to Python: class bodies, exceptions'
texts, what a code object's instructions mean (_bytecode.py). */

#define PY_SSIZE_T_CLEAN
#define Py_BUILD_CORE 1
#include <Python.h>
#include <frameobject.h>
#include <structmember.h>
#include <internal/pycore_code.h>
#include <internal/pycore_frame.h>
#if PY_VERSION_HEX >= 0x030D0000
#include <internal/pycore_setobject.h>
#endif
#include <opcode.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#if PY_VERSION_HEX < 0x030B0000 || PY_VERSION_HEX >= 0x030E0000 || defined(Py_GIL_DISABLED)
#error "the C core knows CPython 3.11 to 3.13 with the interpreter lock; the Python core serves all others"
#endif

#define KEEPS_LOCALS (PY_VERSION_HEX < 0x030D0000)

#include "_text.h"
#include "_records.h"

/* What `configure` was given. */
static PyObject *stop_class, *renderer_class, *class_namespace, *shared_names, *unwrap_yielded;

/* ---- Activations ---- */

typedef struct {
    PyObject *value;   /* kept alive (KEEPS_LOCALS, or a fixed value), else only compared */
    PyObject *text;    /* or an int that stands for it; NULL: unbound */
    Snapshot snapshot;
    char kept;
    char same;         /* a fixed value, and `text` is its text */
} Slot;

typedef struct {
    void *id;
    PyObject *text;
} Error;

/* _Visit */
typedef struct Visit {
    struct Visit *below;
    Info *info;
    PyFrameObject *frame; /* borrowed, only compared */
    uint64_t serial;
    int depth, line, raised_at;
    char fresh, since_raise;
    int error_count, error_room;
    Error *errors;
    PyObject *handled;
    Py_ssize_t characters; /* of all names and texts */
    int slot_count;
    Slot slots[1];
} Visit;

/* _Leaving */
typedef struct {
    Visit *visit; /* NULL: nobody is leaving */
    uint64_t parent;
    PyObject *guess;
    StepRecord *steps;
    int step_count;
} Leaving;

typedef struct {
    PyObject_HEAD
    Records records;
    Text text;
    InfoTable *infos;
    Visit *top;
    int depth;
    uint64_t serials, raised_last;
    Leaving leaving;
    int held_from; /* the first of the records held back; -1: none */
    StepRecord *steps;
    int step_count, step_room;
    long long used; /* characters, against total_bytes */
    long long limit_frames, limit_total, limit_depth;
    double deadline;
    unsigned int ticks;
    char ended, active, gentle, identity;
    PyObject *stopped; /* NULL or the reason */
    PyObject *limits, *codes, *on_frame, *on_stop, *on_leave;
    unsigned long thread;
    pid_t process;
} Engine;

static PyTypeObject EngineType;

static double
now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void
visit_drop_slots(Visit *visit)
{
    for (int i = 0; i < visit->slot_count; i++) {
        Slot *slot = &visit->slots[i];
        PyObject *value = slot->kept ? slot->value : NULL;
        slot->value = NULL;
        slot->kept = 0;
        Py_XDECREF(value);
        Py_CLEAR(slot->text);
        snapshot_free(&slot->snapshot);
    }
    visit->slot_count = 0;
}

static void
visit_free(Visit *visit)
{
    visit_drop_slots(visit);
    for (int i = 0; i < visit->error_count; i++) {
        Py_DECREF(visit->errors[i].text);
    }
    PyMem_Free(visit->errors);
    Py_XDECREF(visit->handled);
    PyMem_Free(visit);
}

static Visit *
visit_new(Engine *engine, Info *info, PyFrameObject *frame)
{
    Visit *visit = PyMem_Calloc(1, sizeof(Visit) + info->name_count * sizeof(Slot));
    if (visit == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    visit->info = info;
    visit->frame = frame;
    visit->serial = ++engine->serials;
    visit->depth = engine->depth;
    visit->line = info->line;
    visit->raised_at = -1;
    visit->fresh = info->is_generator;
    visit->slot_count = info->name_count;
    return visit;
}

/* self.errors.pop(id); self.errors[id] = text */
static int
visit_note_error(Visit *visit, PyObject *error, PyObject *text, int last)
{
    for (int i = 0; i < visit->error_count; i++) {
        if (visit->errors[i].id == error) {
            Error found = visit->errors[i];
            Py_SETREF(found.text, Py_NewRef(text));
            if (last) {
                memmove(visit->errors + i, visit->errors + i + 1, (visit->error_count - i - 1) * sizeof(Error));
                i = visit->error_count - 1;
            }
            visit->errors[i] = found;
            return 0;
        }
    }
    if (visit->error_count == visit->error_room) {
        int room = visit->error_room ? 2 * visit->error_room : 4;
        Error *errors = PyMem_Realloc(visit->errors, room * sizeof(Error));
        if (errors == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        visit->errors = errors;
        visit->error_room = room;
    }
    visit->errors[visit->error_count++] = (Error){error, Py_NewRef(text)};
    return 0;
}

static int
line_of(Visit *visit, PyFrameObject *frame)
{
    int line = PyFrame_GetLineNumber(frame);
    return line == visit->info->first_line ? visit->info->line : line > 0 ? line : visit->line;
}

/* ---- Adding records. All return 0, or -1 with an exception set: Stop at a limit. ---- */

/* Engine.note_stop */
static int
note_stop(Engine *engine, PyObject *reason)
{
    if (engine->stopped != NULL) {
        return 0;
    }
    engine->stopped = Py_NewRef(reason);
    if (engine->on_stop == Py_None || getpid() != engine->process) {
        return 0;
    }
    PyObject *result = PyObject_CallOneArg(engine->on_stop, reason);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* Engine.stop */
static int
stop(Engine *engine, const char *reason)
{
    PyObject *word = PyUnicode_InternFromString(reason);
    if (word != NULL && note_stop(engine, word) == 0) {
        PyErr_SetNone(stop_class);
    }
    Py_XDECREF(word);
    return -1;
}

/* Engine._add, of a record that is in place already: it and all behind it are dropped at a limit. */
static int
count_record(Engine *engine, int index)
{
    if (index >= engine->limit_frames) {
        records_truncate(&engine->records, index);
        return stop(engine, "frames");
    }
    engine->used += engine->records.items[index].characters;
    if (engine->used > engine->limit_total) {
        records_truncate(&engine->records, index);
        return stop(engine, "bytes");
    }
    if (engine->on_frame != Py_None && getpid() == engine->process) {
        PyObject *frame = records_frame(&engine->records, index);
        PyObject *result = frame == NULL ? NULL : PyObject_CallOneArg(engine->on_frame, frame);
        Py_XDECREF(frame);
        Py_XDECREF(result);
        return result == NULL ? -1 : 0;
    }
    return 0;
}

/* Engine.flush, of the held records before `end` */
static int
flush(Engine *engine, int end)
{
    if (engine->held_from < 0) {
        return 0;
    }
    int index = engine->held_from;
    engine->held_from = -1;
    for (; index < end; index++) {
        if (count_record(engine, index) < 0) {
            return -1;
        }
    }
    return 0;
}

/* Engine.emit, of the record appended last */
static int
emitted(Engine *engine)
{
    int index = engine->records.count - 1;
    if (engine->held_from >= 0 && flush(engine, index) < 0) {
        records_truncate(&engine->records, index < engine->records.count ? index : engine->records.count);
        return -1;
    }
    engine->raised_last = 0;
    return count_record(engine, index);
}

static Record *
append(Engine *engine, Event event, Info *info, int line, int depth)
{
    Record *record = records_append(&engine->records, event, info, line, depth);
    if (record != NULL && engine->step_count) {
        if (records_take_steps(&engine->records, engine->steps, engine->step_count) < 0) {
            return NULL;
        }
        engine->step_count = 0;
    }
    return record;
}

/* ---- The state of a frame ---- */

static inline PyObject *
local_at(PyFrameObject *frame, Info *info, int name)
{
    PyObject *value = frame->f_frame->localsplus[info->slots[name]];
    if (value != NULL && info->is_cell[name] && PyCell_Check(value)) {
        value = PyCell_GET(value);
    }
    return value;
}

/* Take up the values of all locals. Up to Python 3.12 they are kept alive, and the old ones may die here, as they do
   before a trace function in Python is called. */
static void
take_locals(Visit *visit, PyFrameObject *frame)
{
    for (int i = 0; i < visit->slot_count; i++) {
        Slot *slot = &visit->slots[i];
        PyObject *value = local_at(frame, visit->info, i);
        /* An address alone says nothing: what was only compared may be gone, and its place taken. */
        if (slot->value != value || (value != NULL && !slot->kept && is_fixed(value))) {
            PyObject *old = slot->kept ? slot->value : NULL;
            slot->value = value;
            slot->same = 0;
            slot->kept = value != NULL && (KEEPS_LOCALS || is_fixed(value));
            if (slot->kept) {
                Py_INCREF(value);
            }
            Py_XDECREF(old);
        }
    }
}

static int
set_text(Engine *engine, Visit *visit, int i, PyObject *text)
{
    Slot *slot = &visit->slots[i];
    PyObject *old = slot->text;
    if (text == old || (text != NULL && old != NULL && PyUnicode_CheckExact(text) && PyUnicode_CheckExact(old)
                        && PyUnicode_Compare(text, old) == 0)) {
        Py_XDECREF(text);
        return 0;
    }
    if (old != NULL) {
        visit->characters -= visit->info->name_sizes[i] + size_of_text(old);
    }
    if (text != NULL) {
        visit->characters += visit->info->name_sizes[i] + size_of_text(text);
    }
    slot->text = text;
    Py_XDECREF(old);
    return records_change(&engine->records, i, text);
}

/* _Visit._locals as text: the changes of all locals since the visit's record before. */
static int
note_locals(Engine *engine, Visit *visit, PyFrameObject *frame)
{
    take_locals(visit, frame);
    for (int i = 0; i < visit->slot_count; i++) {
        Slot *slot = &visit->slots[i];
        PyObject *value = slot->value;
        if (slot->same) {
            continue;
        }
        if (value == NULL) {
            slot->snapshot.good = 0;
            if (slot->text != NULL && set_text(engine, visit, i, NULL) < 0) {
                return -1;
            }
            continue;
        }
        int fixed = is_fixed(value);
        if (fixed) {
            slot->snapshot.good = 0;
        } else if (snapshot_meets(&slot->snapshot, value, &engine->text) && slot->text != NULL) {
            continue;
        }
        Py_INCREF(value);
        PyObject *text = stands_for_text(value) ? Py_NewRef(value) : text_of(&engine->text, value);
        Py_DECREF(value);
        if (text == NULL || set_text(engine, visit, i, text) < 0) {
            return -1;
        }
        slot->same = fixed;
    }
    return 0;
}

/* The names of a class body and their texts: a dictionary made in Python. */
static PyObject *
class_locals(Engine *engine, PyObject *values)
{
    PyObject *texts = PyDict_New(), *name, *value;
    Py_ssize_t at = 0;
    while (texts != NULL && PyDict_Next(values, &at, &name, &value)) {
        PyObject *text = text_of(&engine->text, value);
        if (text == NULL || PyDict_SetItem(texts, name, text) < 0) {
            Py_CLEAR(texts);
        }
        Py_XDECREF(text);
    }
    return texts;
}

/* _Visit._state: a record of the state, which is appended. */
static int
append_state(Engine *engine, Visit *visit, PyFrameObject *frame, Event event)
{
    Info *info = visit->info;
    PyObject *values = NULL, *texts = NULL, *identity = NULL;
    Py_ssize_t characters = 0;
    if (!info->is_function) {
        values = PyObject_CallOneArg(class_namespace, (PyObject *)frame);
        texts = values == NULL ? NULL : class_locals(engine, values);
        if (texts == NULL) {
            goto failed;
        }
        PyObject *name, *text;
        Py_ssize_t at = 0;
        while (PyDict_Next(texts, &at, &name, &text)) {
            characters += PyUnicode_GET_LENGTH(name) + PyUnicode_GET_LENGTH(text);
        }
    } else {
        if (note_locals(engine, visit, frame) < 0) {
            goto failed;
        }
        characters = visit->characters;
        if (engine->identity) {
            values = PyDict_New();
            for (int i = 0; values != NULL && i < visit->slot_count; i++) {
                PyObject *value = visit->slots[i].value;
                if (value != NULL && PyDict_SetItem(values, info->names[i], value) < 0) {
                    goto failed;
                }
            }
        }
    }
    if (engine->identity) {
        identity = values == NULL ? NULL : PyObject_CallOneArg(shared_names, values);
        if (identity == NULL) {
            goto failed;
        }
    }
    Py_XDECREF(values);
    Record *record = append(engine, event, info, visit->line, visit->depth);
    if (record == NULL) {
        Py_XDECREF(texts);
        Py_XDECREF(identity);
        return -1;
    }
    record->value = texts;
    record->identity = identity;
    record->characters = (int)characters;
    return 0;
failed:
    Py_XDECREF(values);
    Py_XDECREF(texts);
    return -1;
}

/* A record of a value that was returned or raised, which is appended; `text` is taken over. */
static int
append_value(Engine *engine, Event event, Info *info, int line, int depth, PyObject *text)
{
    Record *record = append(engine, event, info, line, depth);
    if (record == NULL) {
        Py_DECREF(text);
        return -1;
    }
    record->value = text;
    record->characters = (int)PyUnicode_GET_LENGTH(text);
    return 0;
}

/* ---- What an event does. All return 0, or -1 with an exception set. ---- */

static inline unsigned char
operation_at(Info *info, int offset)
{
    return offset >= 0 && offset + 1 < PyBytes_GET_SIZE(info->operations)
        ? (unsigned char)PyBytes_AS_STRING(info->operations)[offset] : 0;
}

static int
returns_at(Info *info, int offset)
{
    unsigned char operation = operation_at(info, offset);
#ifdef RETURN_CONST
    if (operation == RETURN_CONST) {
        return 1;
    }
#endif
    return operation == RETURN_VALUE;
}

static int
suspends_at(Info *info, int offset)
{
    unsigned char operation = operation_at(info, offset);
    return operation == YIELD_VALUE
        || (operation == RESUME && offset > 0 && operation_at(info, offset - 2) == YIELD_VALUE);
}

static int
reraises_at(Info *info, int offset)
{
    return operation_at(info, offset) == RAISE_VARARGS && operation_at(info, offset + 1) == 0;
}

/* CodeInfo.ends_iteration; 1, 0 or -1 */
static int
ends_iteration(Info *info, PyObject *error, int offset)
{
    PyTypeObject *type = Py_TYPE(error);
    if (!PyType_IsSubtype(type, (PyTypeObject *)PyExc_StopIteration)
            && !PyType_IsSubtype(type, (PyTypeObject *)PyExc_StopAsyncIteration)) {
        return 0;
    }
    PyObject *answer = PyObject_CallMethod(info->info, "ends_iteration", "Oi", error, offset);
    int result = answer == NULL ? -1 : PyObject_IsTrue(answer);
    Py_XDECREF(answer);
    return result;
}

/* _Leaving.resolve. `error` is the exception that came to `visit` (0: to the caller of the entry), if any. */
static int
resolve(Engine *engine, uint64_t visit, PyObject *error)
{
    Leaving leaving = engine->leaving;
    Visit *left = leaving.visit;
    if (left == NULL) {
        return 0;
    }
    engine->leaving = (Leaving){0};
    PyObject *text = leaving.guess;
    if (error != NULL && visit == leaving.parent) {
        int known = left->error_count == 0
            || PyType_IsSubtype(Py_TYPE(error), (PyTypeObject *)PyExc_BaseExceptionGroup);
        for (int i = 0; i < left->error_count && !known; i++) {
            known = left->errors[i].id == error;
        }
        if (known) {
            Py_SETREF(text, text_of(&engine->text, error));
        }
    }
    int result = -1;
    if (text != NULL) {
        Record *record = records_append(&engine->records, EXCEPTION_FRAME, left->info, left->line, left->depth);
        if (record == NULL
                || (leaving.step_count && records_take_steps(&engine->records, leaving.steps, leaving.step_count) < 0)) {
            Py_DECREF(text);
        } else {
            record->value = text;
            record->characters = (int)PyUnicode_GET_LENGTH(text);
            result = emitted(engine);
        }
    }
    PyMem_Free(leaving.steps);
    visit_free(left);
    return result;
}

/* Engine.enter */
static int
enter(Engine *engine, Info *info, PyFrameObject *frame)
{
    if (engine->ended || PyFrame_GetLasti(frame) < info->start) {
        return 0;
    }
    if (engine->leaving.visit != NULL && resolve(engine, 0, NULL) < 0) {
        return -1;
    }
    if (engine->depth >= engine->limit_depth) {
        return stop(engine, "depth");
    }
    Visit *visit = visit_new(engine, info, frame);
    if (visit == NULL) {
        return -1;
    }
    visit->below = engine->top;
    engine->top = visit;
    engine->depth++;
    visit->line = line_of(visit, frame);
    if (append_state(engine, visit, frame, CALL_FRAME) < 0) {
        return -1;
    }
    if (!visit->fresh) {
        return emitted(engine);
    }
    int index = engine->records.count - 1;
    if (flush(engine, index) < 0) {
        return -1;
    }
    engine->held_from = index;
    engine->raised_last = 0;
    return 0;
}

/* _Visit.event, line */
static int
run_line(Engine *engine, Visit *visit, PyFrameObject *frame)
{
    if ((++engine->ticks & 63) == 0 && now() > engine->deadline) {
        return stop(engine, "seconds");
    }
    visit->fresh = 0;
    visit->since_raise = 1;
    visit->line = line_of(visit, frame);
    if (append_state(engine, visit, frame, LINE_FRAME) < 0 || emitted(engine) < 0) {
        return -1;
    }
    if (visit->info->bare_raise) {
        PyObject *error = PyErr_GetHandledException();
        Py_CLEAR(visit->handled);
        if (error != NULL && error != Py_None) {
            visit->handled = text_of(&engine->text, error);
            if (visit->handled == NULL || visit_note_error(visit, error, visit->handled, 0) < 0) {
                Py_DECREF(error);
                return -1;
            }
        }
        Py_XDECREF(error);
    }
    return 0;
}

/* _Visit._raised */
static int
raised(Engine *engine, Visit *visit, PyFrameObject *frame, PyObject *error)
{
    int at = PyFrame_GetLasti(frame), ends = ends_iteration(visit->info, error, at);
    if (ends) {
        return ends < 0 ? -1 : 0;
    }
    visit->line = line_of(visit, frame);
    visit->raised_at = at;
    visit->since_raise = 0;
    PyObject *text = text_of(&engine->text, error);
    if (text == NULL || visit_note_error(visit, error, text, 1) < 0
            || append_value(engine, EXCEPTION_FRAME, visit->info, visit->line, visit->depth, text) < 0) {
        return -1;
    }
    if (visit->fresh && PyType_IsSubtype(Py_TYPE(error), (PyTypeObject *)PyExc_GeneratorExit)) {
        if (engine->held_from < 0) {
            engine->held_from = engine->records.count - 1;
        }
        engine->raised_last = visit->serial;
        return 0;
    }
    visit->fresh = 0;
    if (emitted(engine) < 0) {
        return -1;
    }
    engine->raised_last = visit->serial;
    return 0;
}

/* _Visit._unwound */
static int
unwound(Visit *visit, PyFrameObject *frame, PyObject *value)
{
    int at = PyFrame_GetLasti(frame);
    if ((value != NULL && value != Py_None) || returns_at(visit->info, at)) {
        return 0;
    }
    if (!suspends_at(visit->info, at)) {
        return 1;
    }
    return visit->raised_at == at && (!visit->since_raise || visit->line != line_of(visit, frame));
}

static int
note_returned(Engine *engine, Visit *visit, PyFrameObject *frame, PyObject *value)
{
    PyObject *unwrapped = NULL;
    if (visit->info->is_async_generator && strcmp(Py_TYPE(value)->tp_name, "async_generator_wrapped_value") == 0) {
        value = unwrapped = PyObject_CallOneArg(unwrap_yielded, value);
        if (value == NULL) {
            return -1;
        }
    }
    PyObject *text = text_of(&engine->text, value);
    Py_XDECREF(unwrapped);
    if (text == NULL
            || append_value(engine, RETURN_FRAME, visit->info, line_of(visit, frame), visit->depth, text) < 0) {
        return -1;
    }
    return emitted(engine);
}

/* The frame waits until it is known which exception it was. */
static void
note_leaving(Engine *engine, Visit *visit, PyFrameObject *frame)
{
    PyObject *guess = NULL;
    if (reraises_at(visit->info, PyFrame_GetLasti(frame))) {
        guess = visit->handled;
    }
    if (guess == NULL && visit->error_count) {
        guess = visit->errors[visit->error_count - 1].text;
    }
    if (guess == NULL) {
        guess = visit->handled;
    }
    engine->leaving.guess = guess != NULL ? Py_NewRef(guess) : PyUnicode_FromString("BaseException()");
    engine->leaving.parent = engine->top != NULL ? engine->top->serial : 0;
    engine->leaving.visit = visit;
    engine->leaving.steps = engine->steps;
    engine->leaving.step_count = engine->step_count;
    engine->steps = NULL;
    engine->step_count = engine->step_room = 0;
    visit_drop_slots(visit);
}

static int
tell_leave(Engine *engine)
{
    if (engine->on_leave == Py_None) {
        return 0;
    }
    PyObject *result = PyObject_CallOneArg(engine->on_leave, (PyObject *)engine);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* _Visit._left */
static int
left(Engine *engine, Visit *visit, PyFrameObject *frame, PyObject *value)
{
    int suspended = 0, result = 0, waits = 0;
    engine->top = visit->below;
    engine->depth--;
    if (!unwound(visit, frame, value)) {
        suspended = visit->info->is_generator && suspends_at(visit->info, PyFrame_GetLasti(frame));
        result = note_returned(engine, visit, frame, value == NULL ? Py_None : value);
    } else if (visit->fresh && engine->held_from >= 0) {
        records_truncate(&engine->records, engine->held_from);
        engine->held_from = -1;
    } else if (engine->raised_last != visit->serial) {
        note_leaving(engine, visit, frame);
        waits = 1;
    }
    if (!waits) {
        visit_free(visit);
    }
    if (result == 0 && engine->top == NULL) {
        engine->ended = !suspended;
        result = tell_leave(engine);
    }
    return result;
}

static void
drop_visits(Engine *engine)
{
    while (engine->top != NULL) {
        Visit *visit = engine->top;
        engine->top = visit->below;
        visit_free(visit);
    }
    engine->depth = 0;
}

/* Engine.finish */
static int
finish(Engine *engine)
{
    if (engine->ended) {
        return 0;
    }
    engine->ended = 1;
    drop_visits(engine);
    return tell_leave(engine);
}

/* An event could not be noted: if it was for a limit and the program is not to be stopped, it goes on. */
static int
failed(Engine *engine)
{
    if (engine->gentle && PyErr_ExceptionMatches(stop_class)) {
        PyErr_Clear();
        return finish(engine);
    }
    if (engine->gentle && PyErr_ExceptionMatches(PyExc_RecursionError)) {
        PyErr_Clear();
        PyObject *reason = PyUnicode_InternFromString("recursion");
        int noted = reason == NULL ? -1 : note_stop(engine, reason);
        Py_XDECREF(reason);
        return noted < 0 ? -1 : finish(engine);
    }
    return -1;
}

/* _Visit.event */
static int
happened(Engine *engine, PyFrameObject *frame, int what, PyObject *argument)
{
    Visit *visit = engine->top;
    if (engine->ended) {
        return 0;
    }
    if (engine->stopped != NULL) {
        if (what == PyTrace_LINE) {
            PyErr_SetNone(stop_class);
            return -1;
        }
        return 0;
    }
    PyObject *error = what == PyTrace_EXCEPTION ? PyTuple_GET_ITEM(argument, 1) : NULL;
    if (KEEPS_LOCALS && (what != PyTrace_LINE || engine->leaving.visit != NULL)) {
        take_locals(visit, frame);
    }
    if (engine->leaving.visit != NULL && resolve(engine, visit->serial, error) < 0) {
        return -1;
    }
    switch (what) {
    case PyTrace_LINE:
        return run_line(engine, visit, frame);
    case PyTrace_EXCEPTION:
        return raised(engine, visit, frame, error);
    case PyTrace_RETURN:
        return left(engine, visit, frame, argument);
    }
    return 0;
}

/* ---- The type Engine ---- */

static void
free_table(PyObject *capsule)
{
    InfoTable *table = PyCapsule_GetPointer(capsule, NULL);
    table_free(table);
    PyMem_Free(table);
}

/* The table that all engines of one _bytecode.Codes share; it is kept in its `table`. */
static InfoTable *
shared_table(PyObject *codes)
{
    PyObject *capsule = PyObject_GetAttrString(codes, "table");
    InfoTable *table = NULL;
    if (capsule == Py_None) {
        Py_DECREF(capsule);
        table = PyMem_Calloc(1, sizeof(InfoTable));
        capsule = table == NULL ? PyErr_NoMemory() : PyCapsule_New(table, NULL, free_table);
        if (capsule == NULL || PyObject_SetAttrString(codes, "table", capsule) < 0) {
            table = NULL;
        }
    } else if (capsule != NULL) {
        table = PyCapsule_GetPointer(capsule, NULL);
    }
    Py_XDECREF(capsule);
    return table;
}

/* Codes.of */
static Info *
info_of(Engine *engine, PyCodeObject *code)
{
    Info *info = table_get(engine->infos, code);
    if (info != NULL) {
        return info;
    }
    PyObject *known = PyObject_CallMethod(engine->codes, "of", "O", code);
    info = known == NULL ? NULL : info_new(known, code);
    Py_XDECREF(known);
    if (info != NULL && table_put(engine->infos, info) < 0) {
        info_free(info);
        return NULL;
    }
    return info;
}

static long long
read_limit(PyObject *limits, const char *name)
{
    PyObject *value = PyObject_GetAttrString(limits, name);
    int overflow = 0;
    long long result = value == NULL ? 0 : PyLong_AsLongLongAndOverflow(value, &overflow);
    Py_XDECREF(value);
    return overflow ? INT64_MAX : result;
}

static PyObject *
engine_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"limits", "codes", "on_frame", "on_stop", "on_leave", "gentle", "identity", NULL};
    PyObject *limits, *codes, *on_frame = Py_None, *on_stop = Py_None, *on_leave = Py_None;
    int gentle = 0, identity = 0;
    if (stop_class == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the C core is not set up: take it from opencwm.trace.core");
        return NULL;
    }
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "OO|$OOOpp", names, &limits, &codes, &on_frame, &on_stop,
                                     &on_leave, &gentle, &identity)) {
        return NULL;
    }
    Engine *engine = (Engine *)type->tp_alloc(type, 0);
    if (engine == NULL) {
        return NULL;
    }
    engine->limits = Py_NewRef(limits);
    engine->codes = Py_NewRef(codes);
    engine->on_frame = Py_NewRef(on_frame);
    engine->on_stop = Py_NewRef(on_stop);
    engine->on_leave = Py_NewRef(on_leave);
    engine->gentle = gentle;
    engine->identity = identity;
    engine->held_from = -1;
    engine->limit_frames = read_limit(limits, "frames");
    engine->limit_total = read_limit(limits, "total_bytes");
    engine->limit_depth = read_limit(limits, "depth");
    engine->text.limit = (Py_ssize_t)read_limit(limits, "value_bytes");
    PyObject *seconds = PyObject_GetAttrString(limits, "seconds");
    engine->deadline = seconds == NULL ? 0 : now() + PyFloat_AsDouble(seconds);
    Py_XDECREF(seconds);
    engine->thread = PyThread_get_thread_ident();
    engine->process = getpid();
    engine->infos = PyErr_Occurred() ? NULL : shared_table(codes);
    if (engine->infos != NULL) {
        engine->text.renderer = PyObject_CallFunction(renderer_class, "n", engine->text.limit);
    }
    if (engine->text.renderer != NULL) {
        engine->text.room = engine->text.limit < 4096 ? engine->text.limit : 4096;
        engine->text.buffer = PyMem_Malloc(engine->text.room + 1);
    }
    if (engine->text.buffer == NULL) {
        if (!PyErr_Occurred()) {
            PyErr_NoMemory();
        }
        Py_DECREF(engine);
        return NULL;
    }
    return (PyObject *)engine;
}

static int
engine_traverse(Engine *engine, visitproc visit, void *arg)
{
    Py_VISIT(engine->limits);
    Py_VISIT(engine->codes);
    Py_VISIT(engine->on_frame);
    Py_VISIT(engine->on_stop);
    Py_VISIT(engine->on_leave);
    Py_VISIT(engine->text.renderer);
    for (Visit *at = engine->top; at != NULL; at = at->below) {
        for (int i = 0; i < at->slot_count; i++) {
            if (at->slots[i].kept) {
                Py_VISIT(at->slots[i].value);
            }
        }
    }
    return 0;
}

static int
engine_clear(Engine *engine)
{
    drop_visits(engine);
    Py_CLEAR(engine->on_frame);
    Py_CLEAR(engine->on_stop);
    Py_CLEAR(engine->on_leave);
    return 0;
}

static void
engine_dealloc(Engine *engine)
{
    PyObject_GC_UnTrack(engine);
    engine_clear(engine);
    records_free(&engine->records);
    if (engine->leaving.visit != NULL) {
        visit_free(engine->leaving.visit);
        Py_XDECREF(engine->leaving.guess);
        for (int i = 0; i < engine->leaving.step_count; i++) {
            Py_DECREF(engine->leaving.steps[i].text);
        }
        PyMem_Free(engine->leaving.steps);
    }
    for (int i = 0; i < engine->step_count; i++) {
        Py_DECREF(engine->steps[i].text);
    }
    PyMem_Free(engine->steps);
    Py_XDECREF(engine->text.renderer);
    plans_free(&engine->text);
    PyMem_Free(engine->text.buffer);
    Py_XDECREF(engine->limits);
    Py_XDECREF(engine->stopped);
    Py_XDECREF(engine->codes); /* last: the records point into its table */
    Py_TYPE(engine)->tp_free(engine);
}

static PyObject *
engine_note_stop(Engine *engine, PyObject *reason)
{
    return note_stop(engine, reason) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
engine_settle(Engine *engine, PyObject *error)
{
    if (resolve(engine, 0, error == Py_None ? NULL : error) < 0 || flush(engine, engine->records.count) < 0) {
        if (!PyErr_ExceptionMatches(stop_class)) {
            return NULL;
        }
        PyErr_Clear();
    }
    Py_RETURN_NONE;
}

static PyObject *
engine_release(Engine *engine, PyObject *unused)
{
    drop_visits(engine);
    Py_RETURN_NONE;
}

static PyObject *
engine_step(Engine *engine, PyObject *const *arguments, Py_ssize_t count)
{
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "step takes a node's number and a value");
        return NULL;
    }
    PyObject *value = arguments[1];
    if (engine->active && !engine->ended && engine->stopped == NULL && PyThread_get_thread_ident() == engine->thread) {
        PyObject *text = text_of(&engine->text, value);
        if (text == NULL) {
            return NULL;
        }
        if (engine->text.elided || PyUnicode_READ_CHAR(text, 0) == '<') {
            Py_DECREF(text);
            return Py_NewRef(value);
        }
        unsigned int room = engine->step_room;
        if (grow((void **)&engine->steps, engine->step_count, &room, sizeof(StepRecord)) < 0) {
            Py_DECREF(text);
            return NULL;
        }
        engine->step_room = room;
        engine->steps[engine->step_count++] = (StepRecord){text, (int)PyLong_AsLong(arguments[0])};
        engine->used += PyUnicode_GET_LENGTH(text);
        if (engine->used > engine->limit_total) {
            stop(engine, "bytes");
            return NULL;
        }
    }
    return Py_NewRef(value);
}

static PyObject *
engine_make_frames(Engine *engine, PyObject *unused)
{
    return records_frames(&engine->records);
}

static PyObject *
engine_codes(Engine *engine, void *unused)
{
    PyObject *codes = PyTuple_New(engine->records.count);
    for (int i = 0; codes != NULL && i < engine->records.count; i++) {
        PyTuple_SET_ITEM(codes, i, Py_NewRef(engine->records.items[i].info->code));
    }
    return codes;
}

static PyObject *
engine_size(Engine *engine, void *unused)
{
    Records *records = &engine->records;
    return PyLong_FromSize_t(records->room * sizeof(Record) + records->change_room * sizeof(Change)
                             + records->step_room * sizeof(StepRecord));
}

static PyMethodDef engine_methods[] = {
    {"make_frames", (PyCFunction)engine_make_frames, METH_NOARGS, "The frames recorded so far."},
    {"note_stop", (PyCFunction)engine_note_stop, METH_O, "Note why the recording has to end, unless noted already."},
    {"settle", (PyCFunction)engine_settle, METH_O, "Emit what was held back when the program is over."},
    {"release", (PyCFunction)engine_release, METH_NOARGS, "Let go of the program's values."},
    {"step", (PyCFunction)(void (*)(void))engine_step, METH_FASTCALL, "Note a sub-expression's value; return it."},
    {NULL},
};

static PyMemberDef engine_members[] = {
    {"ended", T_BOOL, offsetof(Engine, ended), 0, "Whether the entry's activation is over."},
    {"active", T_BOOL, offsetof(Engine, active), 0, "Whether values of sub-expressions are noted."},
    {"deadline", T_DOUBLE, offsetof(Engine, deadline), 0, "When the program has to end, by time.monotonic."},
    {"depth", T_INT, offsetof(Engine, depth), READONLY, "Recorded activations that are open."},
    {"limits", T_OBJECT, offsetof(Engine, limits), READONLY, "The limits of the recording."},
    {"stopped", T_OBJECT, offsetof(Engine, stopped), READONLY, "Why the recording had to end, if it had to."},
    {NULL},
};

static PyGetSetDef engine_getset[] = {
    {"codes", (getter)engine_codes, NULL, "The code object of each frame.", NULL},
    {"record_bytes", (getter)engine_size, NULL, "Bytes of the records, texts left out.", NULL},
    {NULL},
};

static PyTypeObject EngineType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "opencwm.trace._core.Engine",
    .tp_doc = "Turns the events of one recording into frames, as _pycore.Engine.",
    .tp_basicsize = sizeof(Engine),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_new = engine_new,
    .tp_dealloc = (destructor)engine_dealloc,
    .tp_traverse = (traverseproc)engine_traverse,
    .tp_clear = (inquiry)engine_clear,
    .tp_methods = engine_methods,
    .tp_members = engine_members,
    .tp_getset = engine_getset,
};

/* ---- The type Tracer ---- */

typedef struct {
    PyObject_HEAD
    PyObject *route;              /* which engine records a call; NULL: `only`, if it is of `filename` and `globals` */
    PyObject *filename, *globals;
    Engine **engines;             /* those that have a frame open, the innermost last */
    unsigned int count, room;
    InfoTable never;              /* code objects that are not recorded */
    unsigned int ticks;
} Tracer;

static PyTypeObject TracerType;

static inline PyCodeObject *
code_of(PyFrameObject *frame)
{
#if PY_VERSION_HEX >= 0x030D0000
    return (PyCodeObject *)frame->f_frame->f_executable;
#else
    return frame->f_frame->f_code;
#endif
}

static int
push(Tracer *tracer, Engine *engine)
{
    if (grow((void **)&tracer->engines, tracer->count, &tracer->room, sizeof(Engine *)) < 0) {
        return -1;
    }
    tracer->engines[tracer->count++] = (Engine *)Py_NewRef((PyObject *)engine);
    return 0;
}

static int
never(Tracer *tracer, PyCodeObject *code)
{
    Info *info = PyMem_Calloc(1, sizeof(Info));
    if (info == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    info->code = Py_NewRef((PyObject *)code);
    return table_put(&tracer->never, info);
}

static int
enter_code(Engine *engine, PyCodeObject *code, PyFrameObject *frame)
{
    int collected = PyGC_Disable();
    Info *info = info_of(engine, code);
    int result = info == NULL || enter(engine, info, frame) < 0 ? failed(engine) : 0;
    if (collected) {
        PyGC_Enable();
    }
    return result;
}

/* A call while one engine records one file (_run.Run). */
static int
called_in_file(Tracer *tracer, PyFrameObject *frame)
{
    Engine *engine = tracer->engines[0];
    PyCodeObject *code = code_of(frame);
    if (engine->stopped != NULL
            || ((++tracer->ticks & 63) == 0 && !engine->ended && now() > engine->deadline)) {
        return stop(engine, "seconds");
    }
    if (engine->ended || table_get(&tracer->never, code) != NULL) {
        return 0;
    }
    if (code->co_filename != tracer->filename && PyUnicode_Compare(code->co_filename, tracer->filename) != 0) {
        return never(tracer, code);
    }
    return frame->f_frame->f_globals == tracer->globals ? enter_code(engine, code, frame) : 0;
}

/* A call while `route` knows the engines (live.Recording). */
static int
called_anywhere(Tracer *tracer, PyFrameObject *frame)
{
    PyCodeObject *code = code_of(frame);
    if (table_get(&tracer->never, code) != NULL) {
        return 0;
    }
    PyObject *answer = PyObject_CallOneArg(tracer->route, (PyObject *)frame);
    int result = 0;
    if (answer == NULL && PyErr_ExceptionMatches(PyExc_RecursionError)) {
        PyErr_Clear();
    } else if (answer == NULL) {
        PyErr_WriteUnraisable(tracer->route);
    } else if (answer == Py_False) {
        result = never(tracer, code);
    } else if (Py_IS_TYPE(answer, &EngineType)) {
        Engine *engine = (Engine *)answer;
        if (tracer->count == 0 || tracer->engines[tracer->count - 1] != engine) {
            result = push(tracer, engine);
        }
        if (result == 0) {
            result = enter_code(engine, code, frame);
        }
        if (engine->ended && tracer->count && tracer->engines[tracer->count - 1] == engine) {
            Py_DECREF(tracer->engines[--tracer->count]);
        }
    }
    Py_XDECREF(answer);
    return result;
}

static int
on_event(PyObject *self, PyFrameObject *frame, int what, PyObject *argument)
{
    Tracer *tracer = (Tracer *)self;
    int result = 0, collected = 0;
    if (what == PyTrace_CALL) {
        result = tracer->route == NULL ? called_in_file(tracer, frame) : called_anywhere(tracer, frame);
    } else if (tracer->count) {
        Engine *engine = tracer->engines[tracer->count - 1];
        if (engine->top == NULL || engine->top->frame != frame) {
            return 0;
        }
        Py_INCREF(engine);
        collected = PyGC_Disable();
        result = happened(engine, frame, what, argument);
        if (result < 0) {
            result = failed(engine);
        }
        if (tracer->route != NULL && (engine->top == NULL || engine->ended)) {
            tracer->count--;
            Py_DECREF(engine);
        }
        Py_DECREF(engine);
    }
    if (collected) {
        PyGC_Enable();
    }
    if (result < 0) { /* as the interpreter does for a trace function in Python that raises */
        PyObject *type, *value, *traceback;
        PyErr_Fetch(&type, &value, &traceback);
        PyEval_SetTrace(NULL, NULL);
        PyErr_Restore(type, value, traceback);
    }
    return result;
}

static PyObject *
tracer_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    PyObject *route;
    if (!PyArg_ParseTuple(arguments, "O", &route)) {
        return NULL;
    }
    Tracer *tracer = (Tracer *)type->tp_alloc(type, 0);
    if (tracer != NULL) {
        tracer->route = Py_NewRef(route);
    }
    return (PyObject *)tracer;
}

static PyObject *
tracer_of_file(PyTypeObject *type, PyObject *arguments)
{
    PyObject *engine, *filename, *globals;
    if (!PyArg_ParseTuple(arguments, "O!UO!", &EngineType, &engine, &filename, &PyDict_Type, &globals)) {
        return NULL;
    }
    Tracer *tracer = (Tracer *)type->tp_alloc(type, 0);
    if (tracer != NULL && push(tracer, (Engine *)engine) < 0) {
        Py_CLEAR(tracer);
    }
    if (tracer != NULL) {
        tracer->filename = Py_NewRef(filename);
        tracer->globals = Py_NewRef(globals);
    }
    return (PyObject *)tracer;
}

static int
tracer_traverse(Tracer *tracer, visitproc visit, void *arg)
{
    Py_VISIT(tracer->route);
    Py_VISIT(tracer->globals);
    for (unsigned int i = 0; i < tracer->count; i++) {
        Py_VISIT(tracer->engines[i]);
    }
    return 0;
}

static int
tracer_clear(Tracer *tracer)
{
    Py_CLEAR(tracer->route);
    Py_CLEAR(tracer->globals);
    while (tracer->count) {
        Py_DECREF(tracer->engines[--tracer->count]);
    }
    return 0;
}

static void
tracer_dealloc(Tracer *tracer)
{
    PyObject_GC_UnTrack(tracer);
    tracer_clear(tracer);
    Py_XDECREF(tracer->filename);
    PyMem_Free(tracer->engines);
    table_free(&tracer->never);
    Py_TYPE(tracer)->tp_free(tracer);
}

static PyObject *
tracer_start(PyObject *tracer, PyObject *unused)
{
    PyEval_SetTrace(on_event, tracer);
    Py_RETURN_NONE;
}

/* `sys.settrace(sys.gettrace())`: the interpreter calls it as a trace function in Python, and it installs itself anew. */
static PyObject *
tracer_call(PyObject *tracer, PyObject *arguments, PyObject *keywords)
{
    PyObject *frame, *argument;
    const char *event;
    if (!PyArg_ParseTuple(arguments, "O!sO", &PyFrame_Type, &frame, &event, &argument)) {
        return NULL;
    }
    PyEval_SetTrace(on_event, tracer);
    if (strcmp(event, "call") == 0 && on_event(tracer, (PyFrameObject *)frame, PyTrace_CALL, NULL) < 0) {
        return NULL;
    }
    return Py_NewRef(tracer);
}

static PyMethodDef tracer_methods[] = {
    {"of_file", (PyCFunction)tracer_of_file, METH_VARARGS | METH_CLASS,
     "A tracer that sends the calls of one file's code with the given globals to one engine."},
    {"start", tracer_start, METH_NOARGS, "Begin in this thread."},
    {NULL},
};

static PyTypeObject TracerType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "opencwm.trace._core.Tracer",
    .tp_doc = "Sends the calls of one thread to engines, as _pycore.Tracer.",
    .tp_basicsize = sizeof(Tracer),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_new = tracer_new,
    .tp_dealloc = (destructor)tracer_dealloc,
    .tp_traverse = (traverseproc)tracer_traverse,
    .tp_clear = (inquiry)tracer_clear,
    .tp_call = tracer_call,
    .tp_methods = tracer_methods,
};

/* ---- The module ---- */

static int
count_event(PyObject *count, PyFrameObject *frame, int what, PyObject *argument)
{
    ++*(long long *)PyCapsule_GetPointer(count, NULL);
    return 0;
}

static PyObject *
count_events(PyObject *module, PyObject *function)
{
    long long count = 0;
    PyObject *capsule = PyCapsule_New(&count, NULL, NULL);
    if (capsule == NULL) {
        return NULL;
    }
    PyEval_SetTrace(count_event, capsule);
    PyObject *result = PyObject_CallNoArgs(function);
    PyEval_SetTrace(NULL, NULL);
    Py_DECREF(capsule);
    Py_XDECREF(result);
    return result == NULL ? NULL : PyLong_FromLongLong(count);
}

static int
read_offsets(PyTypeObject *type, const char *const *names, int count, Py_ssize_t *offsets)
{
    for (int i = 0; i < count; i++) {
        PyObject *member = PyObject_GetAttrString((PyObject *)type, names[i]);
        if (member == NULL) {
            return -1;
        }
        if (!Py_IS_TYPE(member, &PyMemberDescr_Type)) {
            PyErr_Format(PyExc_TypeError, "%s.%s is not a slot", type->tp_name, names[i]);
            Py_DECREF(member);
            return -1;
        }
        offsets[i] = ((PyMemberDescrObject *)member)->d_member->offset;
        Py_DECREF(member);
    }
    return 0;
}

static PyObject *
configure(PyObject *module, PyObject *arguments)
{
    static const char *const frame_fields[] = {
        "event", "line", "function", "depth", "locals", "value", "steps", "identity"};
    static const char *const step_fields[] = {"node", "value"};
    PyObject *frame, *step, *stop, *renderer, *namespace, *shared, *unwrap;
    if (!PyArg_ParseTuple(arguments, "O!O!OOOOO", &PyType_Type, &frame, &PyType_Type, &step, &stop, &renderer,
                          &namespace, &shared, &unwrap)) {
        return NULL;
    }
    if (read_offsets((PyTypeObject *)frame, frame_fields, 8, frame_offsets) < 0
            || read_offsets((PyTypeObject *)step, step_fields, 2, step_offsets) < 0) {
        return NULL;
    }
    Py_XSETREF(frame_type, (PyTypeObject *)Py_NewRef(frame));
    Py_XSETREF(step_type, (PyTypeObject *)Py_NewRef(step));
    Py_XSETREF(renderer_class, Py_NewRef(renderer));
    Py_XSETREF(class_namespace, Py_NewRef(namespace));
    Py_XSETREF(shared_names, Py_NewRef(shared));
    Py_XSETREF(unwrap_yielded, Py_NewRef(unwrap));
    Py_XSETREF(stop_class, Py_NewRef(stop));
    Py_RETURN_NONE;
}

static PyMethodDef module_methods[] = {
    {"configure", configure, METH_VARARGS,
     "Take the classes and helpers of Python: Frame, Step, Stop, Renderer, class_namespace, shared, unwrap."},
    {"count_events", count_events, METH_O,
     "Call a function under a trace function that only counts; the number of events. What tracing costs at the least."},
    {NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "opencwm.trace._core", "The recorder's core in C.", -1, module_methods,
};

PyMODINIT_FUNC
PyInit__core(void)
{
    static const char *const words[] = {"call", "line", "return", "exception"};
    for (int i = 0; i < 4; i++) {
        event_words[i] = PyUnicode_InternFromString(words[i]);
    }
    empty_tuple = PyTuple_New(0);
    text_none = PyUnicode_InternFromString("None");
    text_true = PyUnicode_InternFromString("True");
    text_false = PyUnicode_InternFromString("False");
    word_text = PyUnicode_InternFromString("text");
    word_plan = PyUnicode_InternFromString("plan");
    word_elided = PyUnicode_InternFromString("elided");
    if (PyErr_Occurred() || PyType_Ready(&EngineType) < 0 || PyType_Ready(&TracerType) < 0) {
        return NULL;
    }
    PyObject *made = PyModule_Create(&module);
    if (made == NULL || PyModule_AddObjectRef(made, "Engine", (PyObject *)&EngineType) < 0
            || PyModule_AddObjectRef(made, "Tracer", (PyObject *)&TracerType) < 0) {
        Py_XDECREF(made);
        return NULL;
    }
    return made;
}
