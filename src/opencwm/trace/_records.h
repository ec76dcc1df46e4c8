/* Compact records of frames, for _core.c, and the `Frame` objects made of them.

A record holds only the locals that changed since the record before of the same activation. To make frames, the texts of
one activation a depth are kept: the next activation at a depth begins, with a `call`, after the one before has ended. */

typedef enum { CALL_FRAME, LINE_FRAME, RETURN_FRAME, EXCEPTION_FRAME } Event;

/* What is known of a code object: _bytecode.CodeInfo. */
typedef struct {
    PyObject *code;         /* strong */
    PyObject *info, *function, *operations;
    int first_line, line, start, name_count;
    char is_function, is_generator, is_async_generator, bare_raise;
    PyObject **names;       /* strong */
    int *slots;             /* of each name, where it is in the frame */
    char *is_cell;
    int *name_sizes;
} Info;

typedef struct {
    PyObject *text;         /* or an int that stands for it; NULL: the name is no longer bound */
    int name;
} Change;

typedef struct {
    PyObject *text;
    int node;
} StepRecord;

typedef struct {
    Info *info;
    PyObject *value;        /* return, exception: the text; a class body's state: its texts; else the identity or NULL */
    PyObject *identity;
    int line, depth_and_event, characters;
    unsigned int changes_end, steps_end;
} Record;

typedef struct {
    Info *info;
    PyObject **texts;       /* borrowed from the changes */
    PyObject *locals;       /* the last dictionary */
} Level;

typedef struct {
    Level *levels;
    int count;
    PyObject *empty;        /* the locals of `return` and `exception` */
} Builder;

typedef struct {
    Record *items;
    Change *changes;
    StepRecord *steps;
    int count;
    unsigned int room, change_count, change_room, step_count, step_room;
    Builder builder;        /* for frames that are wanted as they come */
} Records;

static PyTypeObject *frame_type, *step_type;
static Py_ssize_t frame_offsets[8], step_offsets[2];
static PyObject *event_words[4], *empty_tuple;

#define EVENT_OF(record) ((Event)((record)->depth_and_event & 3))
#define DEPTH_OF(record) ((record)->depth_and_event >> 2)

/* Room for one more item of an array that doubles. */
static int
grow(void **items, unsigned int count, unsigned int *room, size_t size)
{
    if (count < *room) {
        return 0;
    }
    unsigned int wanted = *room ? 2 * *room : 64;
    void *moved = PyMem_Realloc(*items, wanted * size);
    if (moved == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    *items = moved;
    *room = wanted;
    return 0;
}

static Record *
records_append(Records *records, Event event, Info *info, int line, int depth)
{
    if (grow((void **)&records->items, records->count, &records->room, sizeof(Record)) < 0) {
        return NULL;
    }
    Record *record = &records->items[records->count++];
    *record = (Record){.info = info, .line = line, .depth_and_event = depth << 2 | event,
                       .changes_end = records->change_count, .steps_end = records->step_count};
    return record;
}

/* Note that a name of the record that is appended next has another text (a reference of its own is taken). */
static int
records_change(Records *records, int name, PyObject *text)
{
    if (grow((void **)&records->changes, records->change_count, &records->change_room, sizeof(Change)) < 0) {
        return -1;
    }
    records->changes[records->change_count++] = (Change){Py_XNewRef(text), name};
    return 0;
}

/* Give steps, with their references, to the record appended last. */
static int
records_take_steps(Records *records, StepRecord *steps, int count)
{
    for (int i = 0; i < count; i++) {
        if (grow((void **)&records->steps, records->step_count, &records->step_room, sizeof(StepRecord)) < 0) {
            return -1;
        }
        records->steps[records->step_count++] = steps[i];
    }
    records->items[records->count - 1].steps_end = records->step_count;
    return 0;
}

static void
records_truncate(Records *records, int count)
{
    unsigned int changes = count ? records->items[count - 1].changes_end : 0;
    unsigned int steps = count ? records->items[count - 1].steps_end : 0;
    while (records->count > count) {
        Record *record = &records->items[--records->count];
        Py_CLEAR(record->value);
        Py_CLEAR(record->identity);
    }
    while (records->change_count > changes) {
        Py_XDECREF(records->changes[--records->change_count].text);
    }
    while (records->step_count > steps) {
        Py_DECREF(records->steps[--records->step_count].text);
    }
}

static void
builder_free(Builder *builder)
{
    for (int i = 0; i < builder->count; i++) {
        PyMem_Free(builder->levels[i].texts);
        Py_XDECREF(builder->levels[i].locals);
    }
    PyMem_Free(builder->levels);
    Py_XDECREF(builder->empty);
    *builder = (Builder){0};
}

static void
records_free(Records *records)
{
    records_truncate(records, 0);
    builder_free(&records->builder);
    PyMem_Free(records->items);
    PyMem_Free(records->changes);
    PyMem_Free(records->steps);
}

/* ---- Frames ---- */

static Level *
level_at(Builder *builder, int depth, Info *info, int begins)
{
    if (depth >= builder->count) {
        int count = 2 * depth + 8;
        Level *levels = PyMem_Realloc(builder->levels, count * sizeof(Level));
        if (levels == NULL) {
            return NULL;
        }
        memset(levels + builder->count, 0, (count - builder->count) * sizeof(Level));
        builder->levels = levels;
        builder->count = count;
    }
    Level *level = &builder->levels[depth];
    if (begins || level->info != info) {
        PyObject **texts = PyMem_Realloc(level->texts, (info->name_count + 1) * sizeof(PyObject *));
        if (texts == NULL) {
            return NULL;
        }
        memset(texts, 0, info->name_count * sizeof(PyObject *));
        level->texts = texts;
        level->info = info;
        Py_CLEAR(level->locals);
    }
    return level;
}

static PyObject *
build_locals(Records *records, Builder *builder, int index)
{
    Record *record = &records->items[index];
    Info *info = record->info;
    Level *level = level_at(builder, DEPTH_OF(record), info, EVENT_OF(record) == CALL_FRAME);
    if (level == NULL) {
        return PyErr_NoMemory();
    }
    unsigned int first = index ? record[-1].changes_end : 0;
    if (level->locals != NULL && first == record->changes_end) {
        return Py_NewRef(level->locals); /* frames are not to be changed, so those that are equal share one */
    }
    int anew = level->locals == NULL;
    for (unsigned int at = first; at < record->changes_end; at++) {
        Change *change = &records->changes[at];
        if (change->text != NULL && PyLong_CheckExact(change->text)) {
            PyObject *text = text_of_number(PyLong_AsLongLong(change->text));
            if (text == NULL) {
                return NULL;
            }
            Py_SETREF(change->text, text);
        }
        anew = anew || (level->texts[change->name] == NULL) != (change->text == NULL);
        level->texts[change->name] = change->text;
    }
    PyObject *locals = anew ? PyDict_New() : PyDict_Copy(level->locals);
    if (locals == NULL) {
        return NULL;
    }
    if (anew) {
        for (int i = 0; i < info->name_count; i++) {
            if (level->texts[i] != NULL && PyDict_SetItem(locals, info->names[i], level->texts[i]) < 0) {
                Py_DECREF(locals);
                return NULL;
            }
        }
    } else {
        for (unsigned int at = first; at < record->changes_end; at++) {
            Change *change = &records->changes[at];
            if (change->text != NULL && PyDict_SetItem(locals, info->names[change->name], change->text) < 0) {
                Py_DECREF(locals);
                return NULL;
            }
        }
    }
    Py_XSETREF(level->locals, Py_NewRef(locals));
    return locals;
}

static PyObject *
build_steps(Records *records, int index)
{
    unsigned int first = index ? records->items[index - 1].steps_end : 0;
    unsigned int count = records->items[index].steps_end - first;
    if (count == 0) {
        return Py_NewRef(empty_tuple);
    }
    PyObject *steps = PyTuple_New(count);
    for (unsigned int i = 0; steps != NULL && i < count; i++) {
        PyObject *step = step_type->tp_alloc(step_type, 0);
        PyObject *node = step == NULL ? NULL : PyLong_FromLong(records->steps[first + i].node);
        if (node == NULL) {
            Py_XDECREF(step);
            Py_CLEAR(steps);
            break;
        }
        *(PyObject **)((char *)step + step_offsets[0]) = node;
        *(PyObject **)((char *)step + step_offsets[1]) = Py_NewRef(records->steps[first + i].text);
        PyTuple_SET_ITEM(steps, i, step);
    }
    return steps;
}

static PyObject *
build_frame(Records *records, Builder *builder, int index)
{
    Record *record = &records->items[index];
    Event event = EVENT_OF(record);
    if (builder->empty == NULL && (builder->empty = PyDict_New()) == NULL) {
        return NULL;
    }
    int has_state = event == CALL_FRAME || event == LINE_FRAME;
    PyObject *fields[8] = {NULL};
    PyObject *frame = frame_type->tp_alloc(frame_type, 0);
    if (frame == NULL) {
        return NULL;
    }
    fields[0] = Py_NewRef(event_words[event]);
    fields[1] = PyLong_FromLong(record->line);
    fields[2] = Py_NewRef(record->info->function);
    fields[3] = PyLong_FromLong(DEPTH_OF(record));
    fields[4] = !has_state ? Py_NewRef(builder->empty)
        : record->info->is_function ? build_locals(records, builder, index) : PyDict_Copy(record->value);
    fields[5] = Py_NewRef(has_state || record->value == NULL ? Py_None : record->value);
    fields[6] = build_steps(records, index);
    fields[7] = Py_NewRef(record->identity == NULL ? empty_tuple : record->identity);
    int failed = 0;
    for (int i = 0; i < 8; i++) {
        failed = failed || fields[i] == NULL;
        *(PyObject **)((char *)frame + frame_offsets[i]) = fields[i];
    }
    if (failed) {
        Py_DECREF(frame);
        return NULL;
    }
    return frame;
}

/* The frame of a record; to be asked for one after another. */
static PyObject *
records_frame(Records *records, int index)
{
    return build_frame(records, &records->builder, index);
}

static PyObject *
records_frames(Records *records)
{
    Builder builder = {0};
    int collected = PyGC_Disable(); /* nothing made here is garbage */
    PyObject *frames = PyTuple_New(records->count);
    for (int i = 0; frames != NULL && i < records->count; i++) {
        PyObject *frame = build_frame(records, &builder, i);
        if (frame == NULL) {
            Py_CLEAR(frames);
            break;
        }
        PyTuple_SET_ITEM(frames, i, frame);
    }
    if (collected) {
        PyGC_Enable();
    }
    builder_free(&builder);
    return frames;
}

/* ---- Code objects, by their address ---- */

typedef struct {
    Info **items;
    unsigned int count, room; /* a power of two */
} InfoTable;

static inline unsigned int
table_place(void *key, unsigned int room)
{
    return (unsigned int)(((uintptr_t)key >> 4) * 2654435761u) & (room - 1);
}

static Info *
table_get(InfoTable *table, void *code)
{
    if (table->room == 0) {
        return NULL;
    }
    for (unsigned int at = table_place(code, table->room);; at = (at + 1) & (table->room - 1)) {
        Info *info = table->items[at];
        if (info == NULL || info->code == code) {
            return info;
        }
    }
}

static int
table_put(InfoTable *table, Info *info)
{
    if (2 * (table->count + 1) > table->room) {
        unsigned int room = table->room ? 2 * table->room : 64;
        Info **items = PyMem_Calloc(room, sizeof(Info *));
        if (items == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        for (unsigned int i = 0; i < table->room; i++) {
            if (table->items[i] != NULL) {
                unsigned int at = table_place(table->items[i]->code, room);
                while (items[at] != NULL) {
                    at = (at + 1) & (room - 1);
                }
                items[at] = table->items[i];
            }
        }
        PyMem_Free(table->items);
        table->items = items;
        table->room = room;
    }
    unsigned int at = table_place(info->code, table->room);
    while (table->items[at] != NULL) {
        at = (at + 1) & (table->room - 1);
    }
    table->items[at] = info;
    table->count++;
    return 0;
}

static void
info_free(Info *info)
{
    if (info->names != NULL) {
        for (int i = 0; i < info->name_count; i++) {
            Py_XDECREF(info->names[i]);
        }
    }
    PyMem_Free(info->names);
    PyMem_Free(info->slots);
    PyMem_Free(info->is_cell);
    PyMem_Free(info->name_sizes);
    Py_XDECREF(info->code);
    Py_XDECREF(info->info);
    Py_XDECREF(info->function);
    Py_XDECREF(info->operations);
    PyMem_Free(info);
}

static void
table_free(InfoTable *table)
{
    for (unsigned int i = 0; i < table->room; i++) {
        if (table->items[i] != NULL) {
            info_free(table->items[i]);
        }
    }
    PyMem_Free(table->items);
    *table = (InfoTable){0};
}

static int
read_int(PyObject *object, const char *name)
{
    PyObject *value = PyObject_GetAttrString(object, name);
    int result = value == NULL ? 0 : (int)PyLong_AsLong(value);
    Py_XDECREF(value);
    return result;
}

/* Read _bytecode.CodeInfo and the places of its names in a frame. NULL with an exception set. */
static Info *
info_new(PyObject *known, PyCodeObject *code)
{
    Info *info = PyMem_Calloc(1, sizeof(Info));
    PyObject *names = NULL;
    if (info == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    info->code = Py_NewRef((PyObject *)code);
    info->info = Py_NewRef(known);
    info->function = PyObject_GetAttrString(known, "function");
    info->operations = PyObject_GetAttrString(known, "operations");
    info->first_line = read_int(known, "first_line");
    info->line = read_int(known, "line");
    info->start = read_int(known, "start");
    info->is_function = read_int(known, "is_function");
    info->is_generator = read_int(known, "is_generator");
    info->is_async_generator = read_int(known, "is_async_generator");
    info->bare_raise = read_int(known, "bare_raise");
    names = PyObject_GetAttrString(known, "names");
    if (PyErr_Occurred()) {
        goto failed;
    }
    int count = info->is_function ? (int)PyTuple_GET_SIZE(names) : 0;
    info->names = PyMem_Calloc(count + 1, sizeof(PyObject *));
    info->slots = PyMem_Calloc(count + 1, sizeof(int));
    info->is_cell = PyMem_Calloc(count + 1, 1);
    info->name_sizes = PyMem_Calloc(count + 1, sizeof(int));
    if (!info->names || !info->slots || !info->is_cell || !info->name_sizes) {
        PyErr_NoMemory();
        goto failed;
    }
    for (int i = 0; i < count; i++) {
        PyObject *name = PyTuple_GET_ITEM(names, i);
        for (int at = 0; at < code->co_nlocalsplus; at++) {
            if (PyUnicode_Compare(name, PyTuple_GET_ITEM(code->co_localsplusnames, at)) == 0) {
                int kind = _PyLocals_GetKind(code->co_localspluskinds, at);
                info->names[info->name_count] = Py_NewRef(name);
                info->slots[info->name_count] = at;
                info->is_cell[info->name_count] = (kind & (CO_FAST_CELL | CO_FAST_FREE)) != 0;
                info->name_sizes[info->name_count++] = (int)PyUnicode_GET_LENGTH(name);
                break;
            }
        }
    }
    Py_DECREF(names);
    return info;
failed:
    Py_XDECREF(names);
    info_free(info);
    return NULL;
}
