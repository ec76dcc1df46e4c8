/* Values as text, for _core.c: what values.py shows, where that is plain `repr` text that fits; and snapshots.

Everything that is not an exact number, string, bytes or None in exact lists, tuples, dicts, sets and instances of plain
Python classes, and everything that has to be cut, is left to values.py (`Text.renderer`), which also says how a type is
taken apart (`Renderer.plan`), so that both cores show the same text by construction.

A snapshot is a walk over such a container as a flat array of words: the pointer of each value that cannot change (kept
alive), and a tagged type with a size for each container that can. If the walk meets the same words again, the text is
the same: no text is made then. Work is bounded by the limit, since text beyond it is never shown. Instances of
   Python classes are walked too, slot by slot and through their dictionary; functions and the like count by name. */

typedef struct {
    PyObject *renderer;      /* values.Renderer */
    Py_ssize_t limit;        /* bytes of UTF-8 */
    char *buffer;            /* grows up to the limit */
    Py_ssize_t length, room;
    int elided;              /* whether the last text was cut */
    struct Plan **plans;     /* by type; `plan_room` is a power of two */
    unsigned int plan_count, plan_room;
    PyTypeObject *missing;   /* strong: a type that was met and has no plan yet */
} Text;

/* How values of a type are taken apart: Renderer.plan. */
typedef struct Plan {
    PyTypeObject *type;      /* strong */
    enum { LEFT_TO_PYTHON, OPAQUE, INSTANCE, DATACLASS } form;
    int has_dictionary;
    Py_ssize_t slot_count;
    PyObject **slot_names;   /* strong */
    Py_ssize_t *slot_offsets;
    PyObject *fields;        /* of a dataclass: a tuple of names */
} Plan;

#define WALK_NESTING 40
#define WALK_WORDS 8192
#define SMALL_INTS 1024

static PyObject *small_ints[SMALL_INTS];
static PyObject *text_none, *text_true, *text_false, *word_text, *word_elided, *word_plan;

/* Values that cannot change and run no code when they die. */
static inline int
is_fixed(PyObject *value)
{
    PyTypeObject *type = Py_TYPE(value);
    return type == &PyLong_Type || type == &PyUnicode_Type || type == &PyFloat_Type || type == &PyBool_Type
        || value == Py_None || type == &PyBytes_Type || type == &PyComplex_Type || type == &PyRange_Type;
}

static int
is_deeply_fixed(PyObject *value, int nesting)
{
    if (is_fixed(value)) {
        return 1;
    }
    if (!PyTuple_CheckExact(value) || nesting == 0 || PyTuple_GET_SIZE(value) > 64) {
        return 0;
    }
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(value); i++) {
        if (!is_deeply_fixed(PyTuple_GET_ITEM(value, i), nesting - 1)) {
            return 0;
        }
    }
    return 1;
}

/* ---- Writing plain values. These return 0, or -1 if the text does not fit or the value is not plain. ---- */

static int
make_room(Text *text, Py_ssize_t count)
{
    if (text->length + count > text->limit) {
        return -1;
    }
    Py_ssize_t room = 2 * text->room + count;
    char *buffer = PyMem_Realloc(text->buffer, room);
    if (buffer == NULL) {
        return -1;
    }
    text->buffer = buffer;
    text->room = room < text->limit ? room : text->limit;
    return 0;
}

static inline int
put(Text *text, const char *bytes, Py_ssize_t count)
{
    if (text->length + count > text->room && make_room(text, count) < 0) {
        return -1;
    }
    memcpy(text->buffer + text->length, bytes, count);
    text->length += count;
    return 0;
}

static inline int
put_char(Text *text, char byte)
{
    if (text->length >= text->room && make_room(text, 1) < 0) {
        return -1;
    }
    text->buffer[text->length++] = byte;
    return 0;
}

/* An exact int of at most 64 bits may stand in place of its text until the text is wanted. */
static inline int
stands_for_text(PyObject *value)
{
    int overflow = 1;
    if (PyLong_CheckExact(value)) {
        PyLong_AsLongLongAndOverflow(value, &overflow);
    }
    return overflow == 0;
}

static inline Py_ssize_t
size_of_text(PyObject *text) /* characters of a text or of what stands for one */
{
    if (!PyLong_CheckExact(text)) {
        return PyUnicode_GET_LENGTH(text);
    }
    long long number = PyLong_AsLongLong(text);
    unsigned long long rest = number < 0 ? 0ULL - (unsigned long long)number : (unsigned long long)number, bound = 10;
    Py_ssize_t count = 1 + (number < 0);
    while (count < 20 && rest >= bound) {
        count++;
        bound *= 10;
    }
    return count;
}

static int
digits_of(char *end, long long number) /* writes backwards; the number of bytes */
{
    unsigned long long rest = number < 0 ? 0ULL - (unsigned long long)number : (unsigned long long)number;
    char *start = end;
    do {
        *--start = '0' + (char)(rest % 10);
        rest /= 10;
    } while (rest);
    if (number < 0) {
        *--start = '-';
    }
    return (int)(end - start);
}

static int
put_quoted(Text *text, const unsigned char *bytes, Py_ssize_t count)
{
    static const char hex[] = "0123456789abcdef";
    int single = memchr(bytes, '\'', count) != NULL, twice = single && memchr(bytes, '"', count) != NULL;
    char quote = single && !twice ? '"' : '\'';
    if (put_char(text, quote) < 0) {
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        unsigned char byte = bytes[i];
        char escape = byte == '\\' ? '\\' : byte == (unsigned char)quote ? quote : byte == '\n' ? 'n'
            : byte == '\r' ? 'r' : byte == '\t' ? 't' : 0;
        if (escape) {
            char pair[2] = {'\\', escape};
            if (put(text, pair, 2) < 0) {
                return -1;
            }
        } else if (byte < 32 || byte >= 127) {
            char four[4] = {'\\', 'x', hex[byte >> 4], hex[byte & 15]};
            if (put(text, four, 4) < 0) {
                return -1;
            }
        } else if (put_char(text, (char)byte) < 0) {
            return -1;
        }
    }
    return put_char(text, quote);
}

static void
plan_free(Plan *plan)
{
    for (Py_ssize_t i = 0; plan->slot_names != NULL && i < plan->slot_count; i++) {
        Py_XDECREF(plan->slot_names[i]);
    }
    PyMem_Free(plan->slot_names);
    PyMem_Free(plan->slot_offsets);
    Py_XDECREF(plan->fields);
    Py_DECREF(plan->type);
    PyMem_Free(plan);
}

static int
plan_read(Plan *plan, PyObject *given)
{
    PyObject *slots;
    if (given == Py_None) {
        return 0;
    }
    if (PyTuple_GET_SIZE(given) == 0) {
        plan->form = OPAQUE;
        return 0;
    }
    slots = PyTuple_GET_ITEM(given, 0);
    plan->slot_count = PyTuple_GET_SIZE(slots);
    plan->slot_names = PyMem_Calloc(plan->slot_count + 1, sizeof(PyObject *));
    plan->slot_offsets = PyMem_Calloc(plan->slot_count + 1, sizeof(Py_ssize_t));
    if (plan->slot_names == NULL || plan->slot_offsets == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < plan->slot_count; i++) {
        PyObject *name = PyTuple_GET_ITEM(PyTuple_GET_ITEM(slots, i), 0);
        PyObject *member = PyTuple_GET_ITEM(PyTuple_GET_ITEM(slots, i), 1);
        PyMemberDef *definition = ((PyMemberDescrObject *)member)->d_member;
        if (!PyUnicode_CheckExact(name) || !Py_IS_TYPE(member, &PyMemberDescr_Type) || definition->type != T_OBJECT_EX) {
            return 0; /* left to Python */
        }
        plan->slot_names[i] = Py_NewRef(name);
        plan->slot_offsets[i] = definition->offset;
    }
    plan->has_dictionary = PyTuple_GET_ITEM(given, 1) == Py_True;
    plan->form = INSTANCE;
    if (PyTuple_GET_ITEM(given, 2) != Py_None) {
        plan->form = DATACLASS;
        plan->fields = Py_NewRef(PyTuple_GET_ITEM(given, 2));
    }
    return 0;
}

static unsigned int
plan_place(PyTypeObject *type)
{
    return (unsigned int)(((uintptr_t)type >> 4) * 2654435761u);
}

/* The plan of a type. NULL if there is none yet: `missing` says which, and no code in Python runs here, since the caller
   is in the midst of a container. */
static Plan *
plan_of(Text *text, PyTypeObject *type)
{
    for (unsigned int at = plan_place(type); text->plan_room; at++) {
        Plan *plan = text->plans[at & (text->plan_room - 1)];
        if (plan == NULL) {
            break;
        }
        if (plan->type == type) {
            return plan;
        }
    }
    Py_XSETREF(text->missing, (PyTypeObject *)Py_NewRef((PyObject *)type));
    return NULL;
}

static void
plan_put(Text *text, Plan *plan)
{
    unsigned int at = plan_place(plan->type);
    while (text->plans[at & (text->plan_room - 1)] != NULL) {
        at++;
    }
    text->plans[at & (text->plan_room - 1)] = plan;
}

/* Make the plan that was missing. Whether there is one now: not if memory is out or the stack is full. */
static int
plan_missing(Text *text)
{
    PyTypeObject *type = text->missing;
    text->missing = NULL;
    if (2 * (text->plan_count + 1) > text->plan_room) {
        unsigned int room = text->plan_room;
        Plan **plans = text->plans, **more = PyMem_Calloc(room ? 2 * room : 16, sizeof(Plan *));
        if (more == NULL) {
            Py_DECREF(type);
            return 0;
        }
        text->plans = more;
        text->plan_room = room ? 2 * room : 16;
        for (unsigned int i = 0; i < room; i++) {
            if (plans[i] != NULL) {
                plan_put(text, plans[i]);
            }
        }
        PyMem_Free(plans);
    }
    PyObject *given = PyObject_CallMethodOneArg(text->renderer, word_plan, (PyObject *)type);
    Plan *plan = given == NULL ? NULL : PyMem_Calloc(1, sizeof(Plan));
    if (plan == NULL) {
        PyErr_Clear();
        Py_XDECREF(given);
        Py_DECREF(type);
        return 0;
    }
    plan->type = type;
    if (plan_read(plan, given) < 0) {
        PyErr_Clear();
        plan->form = LEFT_TO_PYTHON;
    }
    Py_DECREF(given);
    plan_put(text, plan);
    text->plan_count++;
    return 1;
}

static void
plans_free(Text *text)
{
    for (unsigned int i = 0; i < text->plan_room; i++) {
        if (text->plans[i] != NULL) {
            plan_free(text->plans[i]);
        }
    }
    PyMem_Free(text->plans);
    Py_XDECREF(text->missing);
}

/* The instance dictionary, a new reference, or NULL without an exception: the value has none, or not a plain one. */
static PyObject *
dictionary_of(Plan *plan, PyObject *value)
{
    PyObject *dictionary = plan->has_dictionary ? PyObject_GenericGetDict(value, NULL) : NULL;
    if (dictionary == NULL) {
        PyErr_Clear();
    } else if (!PyDict_CheckExact(dictionary)) {
        Py_CLEAR(dictionary);
    }
    return dictionary;
}

static inline PyObject *
slot_of(Plan *plan, PyObject *value, Py_ssize_t i)
{
    return *(PyObject **)((char *)value + plan->slot_offsets[i]);
}

static int put_value(Text *text, PyObject *value, int nesting);
static int put_object(Text *text, PyObject *value, int nesting);

static int
compare_numbers(const void *left, const void *right)
{
    long long a = PyLong_AsLongLong(*(PyObject **)left), b = PyLong_AsLongLong(*(PyObject **)right);
    return (a > b) - (a < b);
}

static int
compare_strings(const void *left, const void *right)
{
    return PyUnicode_Compare(*(PyObject **)left, *(PyObject **)right);
}

static int
put_set(Text *text, PyObject *value)
{
    int frozen = PyFrozenSet_CheckExact(value), numbers = 1, strings = 1, failed = 0;
    Py_ssize_t count = PySet_GET_SIZE(value), at = 0, found = 0;
    if (count == 0) {
        return frozen ? put(text, "frozenset()", 11) : put(text, "set()", 5);
    }
    if (count > text->limit / 2) {
        return -1;
    }
    PyObject **items = PyMem_Malloc(count * sizeof(PyObject *)), *item;
    Py_hash_t hash;
    if (items == NULL) {
        return -1;
    }
    while (found < count && _PySet_NextEntry(value, &at, &item, &hash)) {
        int overflow = 0;
        numbers = numbers && (PyLong_CheckExact(item) || PyBool_Check(item))
            && (PyLong_AsLongLongAndOverflow(item, &overflow), overflow == 0);
        strings = strings && PyUnicode_CheckExact(item);
        items[found++] = item;
    }
    if (numbers) {
        qsort(items, found, sizeof(PyObject *), compare_numbers);
    } else if (strings) {
        qsort(items, found, sizeof(PyObject *), compare_strings);
    } else {
        failed = 1;
    }
    failed = failed || (frozen ? put(text, "frozenset({", 11) : put_char(text, '{')) < 0;
    for (Py_ssize_t i = 0; i < found && !failed; i++) {
        failed = (i && put(text, ", ", 2) < 0) || put_value(text, items[i], 1) < 0;
    }
    PyMem_Free(items);
    return failed ? -1 : frozen ? put(text, "})", 2) : put_char(text, '}');
}

static int
put_items(Text *text, PyObject *value, int nesting)
{
    int is_list = PyList_CheckExact(value);
    Py_ssize_t count = Py_SIZE(value);
    if (2 * count > text->limit || nesting == 0 || put_char(text, is_list ? '[' : '(') < 0) {
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *item = is_list ? PyList_GET_ITEM(value, i) : PyTuple_GET_ITEM(value, i);
        if ((i && put(text, ", ", 2) < 0) || put_value(text, item, nesting - 1) < 0) {
            return -1;
        }
    }
    return is_list ? put_char(text, ']') : count == 1 ? put(text, ",)", 2) : put_char(text, ')');
}

static int
put_dict(Text *text, PyObject *value, int nesting)
{
    PyObject *key, *item;
    Py_ssize_t at = 0;
    int first = 1;
    if (5 * PyDict_GET_SIZE(value) > text->limit || nesting == 0 || put_char(text, '{') < 0) {
        return -1;
    }
    while (PyDict_Next(value, &at, &key, &item)) {
        if ((!first && put(text, ", ", 2) < 0) || put_value(text, key, nesting - 1) < 0
                || put(text, ": ", 2) < 0 || put_value(text, item, nesting - 1) < 0) {
            return -1;
        }
        first = 0;
    }
    return put_char(text, '}');
}

static int
put_value(Text *text, PyObject *value, int nesting)
{
    PyTypeObject *type = Py_TYPE(value);
    if (type == &PyLong_Type) {
        int overflow;
        long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
        char digits[24];
        if (overflow) {
            return -1;
        }
        int count = digits_of(digits + sizeof digits, number);
        return put(text, digits + sizeof digits - count, count);
    }
    if (type == &PyUnicode_Type) {
        if (!PyUnicode_IS_ASCII(value)) {
            return -1;
        }
        return put_quoted(text, PyUnicode_1BYTE_DATA(value), PyUnicode_GET_LENGTH(value));
    }
    if (type == &PyFloat_Type) {
        char *digits = PyOS_double_to_string(PyFloat_AS_DOUBLE(value), 'r', 0, Py_DTSF_ADD_DOT_0, NULL);
        if (digits == NULL) {
            PyErr_Clear();
            return -1;
        }
        int failed = put(text, digits, strlen(digits));
        PyMem_Free(digits);
        return failed;
    }
    if (value == Py_None) {
        return put(text, "None", 4);
    }
    if (type == &PyBool_Type) {
        return value == Py_True ? put(text, "True", 4) : put(text, "False", 5);
    }
    if (type == &PyList_Type || type == &PyTuple_Type) {
        return put_items(text, value, nesting);
    }
    if (type == &PyDict_Type) {
        return put_dict(text, value, nesting);
    }
    if (type == &PySet_Type || type == &PyFrozenSet_Type) {
        return nesting ? put_set(text, value) : -1;
    }
    if (type == &PyBytes_Type) {
        return put_char(text, 'b') < 0 ? -1
            : put_quoted(text, (unsigned char *)PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value));
    }
    return nesting ? put_object(text, value, nesting - 1) : -1;
}

/* A name, if it is plain: values.plain_name leaves such a one as it is. */
static int
put_name(Text *text, PyObject *name)
{
    if (name == NULL || !PyUnicode_CheckExact(name) || !PyUnicode_IS_ASCII(name)) {
        return -1;
    }
    Py_ssize_t count = PyUnicode_GET_LENGTH(name);
    const Py_UCS1 *bytes = PyUnicode_1BYTE_DATA(name);
    for (Py_ssize_t i = 0; i < count; i++) {
        if (bytes[i] < 32 || bytes[i] > 126) {
            return -1;
        }
    }
    return put(text, (const char *)bytes, count);
}

static int
put_type_name(Text *text, PyTypeObject *type, int qualified)
{
    if (type->tp_flags & Py_TPFLAGS_HEAPTYPE) {
        PyHeapTypeObject *heap = (PyHeapTypeObject *)type;
        return put_name(text, qualified ? heap->ht_qualname : heap->ht_name);
    }
    const char *name = strrchr(type->tp_name, '.');
    name = name == NULL ? type->tp_name : name + 1;
    return put(text, name, strlen(name));
}

/* NAME=value, with a comma before it if it is not the first. */
static int
put_attribute(Text *text, PyObject *name, PyObject *value, int *first, int nesting)
{
    if ((!*first && put(text, ", ", 2) < 0) || put_name(text, name) < 0 || put_char(text, '=') < 0) {
        return -1;
    }
    *first = 0;
    return put_value(text, value, nesting);
}

static PyObject * /* borrowed; NULL: not set */
attribute_of(Plan *plan, PyObject *value, PyObject *dictionary, PyObject *name)
{
    PyObject *key, *item, *found = NULL;
    Py_ssize_t at = 0;
    for (Py_ssize_t i = 0; i < plan->slot_count; i++) {
        if (slot_of(plan, value, i) != NULL && PyUnicode_Compare(plan->slot_names[i], name) == 0) {
            found = slot_of(plan, value, i);
        }
    }
    while (dictionary != NULL && PyDict_Next(dictionary, &at, &key, &item)) {
        if (key == name || (PyUnicode_CheckExact(key) && PyUnicode_Compare(key, name) == 0)) {
            return item;
        }
    }
    return found;
}

static int
put_instance(Text *text, Plan *plan, PyObject *value, PyObject *dictionary, int nesting)
{
    int first = 1;
    if (put_type_name(text, plan->type, plan->form == DATACLASS) < 0 || put_char(text, '(') < 0) {
        return -1;
    }
    if (plan->form == DATACLASS) {
        for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(plan->fields); i++) {
            PyObject *name = PyTuple_GET_ITEM(plan->fields, i);
            PyObject *item = PyUnicode_CheckExact(name) ? attribute_of(plan, value, dictionary, name) : NULL;
            if (item != NULL && put_attribute(text, name, item, &first, nesting) < 0) {
                return -1;
            }
        }
        return put_char(text, ')');
    }
    for (Py_ssize_t i = 0; i < plan->slot_count; i++) {
        PyObject *item = slot_of(plan, value, i);
        if (item != NULL && (!PyUnicode_IsIdentifier(plan->slot_names[i])
                             || put_attribute(text, plan->slot_names[i], item, &first, nesting) < 0)) {
            return -1;
        }
    }
    PyObject *key, *item;
    Py_ssize_t at = 0;
    while (dictionary != NULL && PyDict_Next(dictionary, &at, &key, &item)) {
        if (!PyUnicode_CheckExact(key) || !PyUnicode_IsIdentifier(key)
                || put_attribute(text, key, item, &first, nesting) < 0) {
            return -1;
        }
    }
    return put_char(text, ')');
}

static int
put_labelled(Text *text, const char *label, PyObject *name)
{
    return put_char(text, '<') < 0 || put(text, label, strlen(label)) < 0 || put_char(text, ' ') < 0
        || put_name(text, name) < 0 ? -1 : put_char(text, '>');
}

static const char * /* of a value whose text is `<LABEL qualified name>`, and its name; NULL for any other */
label_of(PyObject *value, PyObject **name)
{
    PyTypeObject *type = Py_TYPE(value);
    if (type == &PyFunction_Type) {
        *name = ((PyFunctionObject *)value)->func_qualname;
        return "function";
    }
    if (type == &PyGen_Type || type == &PyCoro_Type || type == &PyAsyncGen_Type) {
        *name = ((PyGenObject *)value)->gi_qualname;
        return type == &PyGen_Type ? "generator" : type == &PyCoro_Type ? "coroutine" : "async_generator";
    }
    if (type == &PyMethod_Type && PyFunction_Check(PyMethod_GET_FUNCTION(value))) {
        *name = ((PyFunctionObject *)PyMethod_GET_FUNCTION(value))->func_qualname;
        return "bound method";
    }
    if (type == &PyType_Type && (((PyTypeObject *)value)->tp_flags & Py_TPFLAGS_HEAPTYPE)) {
        *name = ((PyHeapTypeObject *)value)->ht_qualname;
        return "class";
    }
    return NULL;
}

/* Values whose text is a label, and instances of Python classes. */
static int
put_object(Text *text, PyObject *value, int nesting)
{
    PyObject *name;
    const char *label = label_of(value, &name);
    if (label != NULL) {
        return put_labelled(text, label, name);
    }
    Plan *plan = plan_of(text, Py_TYPE(value));
    if (plan == NULL || plan->form == LEFT_TO_PYTHON) {
        return -1;
    }
    if (plan->form == OPAQUE) {
        return put_char(text, '<') < 0 || put_type_name(text, plan->type, 0) < 0 ? -1 : put(text, " object>", 8);
    }
    PyObject *dictionary = dictionary_of(plan, value);
    if (dictionary == NULL && plan->has_dictionary) {
        return -1;
    }
    int failed = put_instance(text, plan, value, dictionary, nesting);
    Py_XDECREF(dictionary);
    return failed;
}

static Py_ssize_t
bytes_of(PyObject *text) /* of UTF-8 */
{
    if (PyUnicode_IS_ASCII(text)) {
        return PyUnicode_GET_LENGTH(text);
    }
    Py_ssize_t count = 0;
    for (Py_ssize_t i = 0; i < PyUnicode_GET_LENGTH(text); i++) {
        Py_UCS4 character = PyUnicode_READ_CHAR(text, i);
        count += character < 0x80 ? 1 : character < 0x800 ? 2 : character < 0x10000 ? 3 : 4;
    }
    return count;
}

/* ---- Cutting a long list, tuple or dict between its items: values.Renderer._join with `cut` ---- */

#define PARTIAL 48 /* values._PARTIAL: with so much room an item is cut inside, which is left to Python */

/* Write an item. 1: it fits `room`. 0: it does not, and no more are shown. -1: left to Python. */
static int
put_fitting(Text *text, PyObject *value, Py_ssize_t room)
{
    Py_ssize_t before = text->length;
    if (room <= 0) {
        return 0;
    }
    if (put_value(text, value, WALK_NESTING) < 0) {
        int scalar = PyUnicode_CheckExact(value) && PyUnicode_IS_ASCII(value); /* all else that is short would fit */
        return scalar && room < PARTIAL ? 0 : -1;
    }
    if (text->length - before <= room) {
        return 1;
    }
    return room < PARTIAL ? 0 : -1;
}

static int
put_cut_items(Text *text, PyObject *value, Py_ssize_t count)
{
    int is_dict = PyDict_CheckExact(value), is_list = PyList_CheckExact(value);
    Py_ssize_t at = 0, shown = 0;
    PyObject *key = NULL, *item = NULL;
    for (; shown < count; shown++) {
        if (is_dict ? !PyDict_Next(value, &at, &key, &item) : 0) {
            return -1;
        }
        if (!is_dict) {
            item = is_list ? PyList_GET_ITEM(value, shown) : PyTuple_GET_ITEM(value, shown);
        }
        Py_ssize_t before = text->length, rest = count - shown - 1;
        char ending[32];
        Py_ssize_t reserve = rest ? snprintf(ending, sizeof ending, ", ...+%zd", rest) : 0;
        Py_ssize_t closing = !is_dict && !is_list && count == 1 ? 2 : 1;
        Py_ssize_t room = text->limit - before - closing - (shown ? 2 : 0) - reserve - (is_dict ? 2 : 0);
        int fits = shown && put(text, ", ", 2) < 0 ? 0 : 1;
        if (fits && is_dict) {
            Py_ssize_t start = text->length;
            fits = put_fitting(text, key, room);
            room -= text->length - start;
            fits = fits == 1 && put(text, ": ", 2) < 0 ? 0 : fits;
        }
        fits = fits == 1 ? put_fitting(text, item, room) : fits;
        if (fits < 0) {
            return -1;
        }
        if (fits == 0) {
            text->length = before;
            break;
        }
    }
    if (shown < count) {
        char ending[40];
        int size = snprintf(ending, sizeof ending, "%s...+%zd", shown ? ", " : "", count - shown);
        return put(text, ending, size);
    }
    return 0;
}

static int
put_cut(Text *text, PyObject *value)
{
    PyTypeObject *type = Py_TYPE(value);
    text->length = 0;
    if (type == &PySet_Type && PySet_GET_SIZE(value) > text->limit) {
        text->length = snprintf(text->buffer, text->room, "{...+%zd}", PySet_GET_SIZE(value));
        return 0;
    }
    if (type != &PyList_Type && type != &PyTuple_Type && type != &PyDict_Type) {
        return -1;
    }
    int is_dict = type == &PyDict_Type, is_list = type == &PyList_Type;
    Py_ssize_t count = is_dict ? PyDict_GET_SIZE(value) : Py_SIZE(value);
    if (put_char(text, is_dict ? '{' : is_list ? '[' : '(') < 0 || put_cut_items(text, value, count) < 0) {
        return -1;
    }
    return is_dict ? put_char(text, '}') : is_list ? put_char(text, ']')
        : count == 1 ? put(text, ",)", 2) : put_char(text, ')');
}

static PyObject *
text_of_number(long long number)
{
    if (number >= 0 && number < SMALL_INTS && small_ints[number]) {
        return Py_NewRef(small_ints[number]);
    }
    char digits[24];
    int count = digits_of(digits + sizeof digits, number);
    PyObject *result = PyUnicode_New(count, 127);
    if (result != NULL) {
        memcpy(PyUnicode_1BYTE_DATA(result), digits + sizeof digits - count, count);
        if (number >= 0 && number < SMALL_INTS) {
            small_ints[number] = Py_NewRef(result);
        }
    }
    return result;
}

/* The text of a value as values.py shows it; NULL with an exception set only where memory is out. */
static PyObject *
text_of(Text *text, PyObject *value)
{
    PyTypeObject *type = Py_TYPE(value);
    text->elided = 0;
    if (type == &PyLong_Type) {
        int overflow;
        long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
        if (!overflow) {
            return text_of_number(number);
        }
    } else if (value == Py_None) {
        return Py_NewRef(text_none);
    } else if (type == &PyBool_Type) {
        return Py_NewRef(value == Py_True ? text_true : text_false);
    } else if (type == &PyUnicode_Type && !PyUnicode_IS_ASCII(value)) {
        if (PyUnicode_GET_LENGTH(value) + 2 <= text->limit) {
            PyObject *result = PyObject_Repr(value);
            if (result == NULL || bytes_of(result) <= text->limit) {
                return result;
            }
            Py_DECREF(result);
        }
    } else {
        int put;
        do {
            text->length = 0;
            put = put_value(text, value, WALK_NESTING);
        } while (put < 0 && text->missing != NULL && plan_missing(text));
        if (put < 0 && put_cut(text, value) == 0) {
            put = 0;
            text->elided = 1;
        }
        if (put == 0) {
            PyObject *result = PyUnicode_New(text->length, 127);
            if (result != NULL) {
                memcpy(PyUnicode_1BYTE_DATA(result), text->buffer, text->length);
            }
            return result;
        }
    }
    PyObject *result = PyObject_CallMethodOneArg(text->renderer, word_text, value);
    if (result != NULL) {
        PyObject *elided = PyObject_GetAttr(text->renderer, word_elided);
        text->elided = elided == Py_True;
        Py_XDECREF(elided);
    }
    return result;
}

/* ---- Snapshots ---- */

/* A word is the pointer of a fixed value (owned), or tagged: where a container begins, its type; where it ends, its size. */
typedef struct {
    uintptr_t *words;
    int count, room;
    int good;                /* whether these words are those of the container whose text is known */
} Snapshot;

#define IS_TAGGED(word) ((word) & 1)
#define BEGIN(value) ((uintptr_t)Py_TYPE(value) | 1)
#define END(value) ((uintptr_t)size_of(value) << 1 | 1)

static void
snapshot_truncate(Snapshot *snapshot, int count)
{
    while (snapshot->count > count) {
        uintptr_t word = snapshot->words[--snapshot->count];
        if (!IS_TAGGED(word)) {
            Py_DECREF((PyObject *)word);
        }
    }
}

static void
snapshot_free(Snapshot *snapshot)
{
    snapshot_truncate(snapshot, 0);
    PyMem_Free(snapshot->words);
    *snapshot = (Snapshot){0};
}

static inline int
is_container(PyObject *value)
{
    PyTypeObject *type = Py_TYPE(value);
    return type == &PyList_Type || type == &PyDict_Type || type == &PySet_Type || type == &PyTuple_Type
        || type == &PyFrozenSet_Type;
}

static inline Py_ssize_t
size_of(PyObject *value)
{
    PyTypeObject *type = Py_TYPE(value);
    return type == &PyDict_Type ? PyDict_GET_SIZE(value)
        : type == &PyList_Type || type == &PyTuple_Type ? Py_SIZE(value) : PySet_GET_SIZE(value);
}

/* A walk compares with the words of a snapshot, and from the first that differs on makes them anew. */
typedef struct {
    Snapshot *snapshot;
    Text *text;
    int at, making;
} Walk;

static inline int
walk_meets(Walk *walk, uintptr_t word)
{
    if (!walk->making && walk->at < walk->snapshot->count && walk->snapshot->words[walk->at] == word) {
        walk->at++;
        return 1;
    }
    return 0;
}

static int
walk_append(Walk *walk, uintptr_t word)
{
    Snapshot *snapshot = walk->snapshot;
    if (!walk->making) {
        snapshot_truncate(snapshot, walk->at);
        walk->making = 1;
    }
    if (snapshot->count == snapshot->room) {
        int room = snapshot->room ? 2 * snapshot->room : 16;
        uintptr_t *words = room > WALK_WORDS ? NULL : PyMem_Realloc(snapshot->words, room * sizeof(uintptr_t));
        if (words == NULL) {
            return -1;
        }
        snapshot->words = words;
        snapshot->room = room;
    }
    snapshot->words[snapshot->count++] = word;
    return 0;
}

static int walk_value(Walk *walk, PyObject *value, int nesting);

static inline int
walk_item(Walk *walk, PyObject *value, int nesting)
{
    /* Only fixed values are in a snapshot as themselves. */
    return walk_meets(walk, (uintptr_t)value) ? 0 : walk_value(walk, value, nesting);
}

static int
walk_inside(Walk *walk, PyObject *value, int nesting)
{
    PyTypeObject *type = Py_TYPE(value);
    Py_ssize_t at = 0;
    if (type == &PyList_Type || type == &PyTuple_Type) {
        Py_ssize_t count = Py_SIZE(value) < walk->text->limit ? Py_SIZE(value) : walk->text->limit;
        PyObject **items = PySequence_Fast_ITEMS(value);
        for (; at < count; at++) {
            if (walk_item(walk, items[at], nesting) < 0) {
                return -1;
            }
        }
    } else if (type == &PyDict_Type) {
        PyObject *key, *item;
        for (Py_ssize_t count = 0; count < walk->text->limit && PyDict_Next(value, &at, &key, &item); count++) {
            if (walk_item(walk, key, nesting) < 0 || walk_item(walk, item, nesting) < 0) {
                return -1;
            }
        }
    } else if (PySet_GET_SIZE(value) <= walk->text->limit) {
        PyObject *item;
        Py_hash_t hash;
        while (_PySet_NextEntry(value, &at, &item, &hash)) {
            if (walk_item(walk, item, nesting) < 0) {
                return -1;
            }
        }
    }
    return 0;
}

static int
walk_word(Walk *walk, uintptr_t word)
{
    return walk_meets(walk, word) ? 0 : walk_append(walk, word);
}

static int
walk_name(Walk *walk, PyObject *name)
{
    if (name == NULL || !PyUnicode_CheckExact(name)) {
        return -1;
    }
    return walk_item(walk, name, 0);
}

#define UNSET 1

/* Instances of Python classes, and values whose text is a label. */
static int
walk_object(Walk *walk, PyObject *value, int nesting)
{
    PyObject *name;
    if (label_of(value, &name) != NULL) {
        return walk_word(walk, BEGIN(value)) < 0 ? -1 : walk_name(walk, name);
    }
    Plan *plan = plan_of(walk->text, Py_TYPE(value));
    if (plan == NULL || plan->form == LEFT_TO_PYTHON || walk_word(walk, BEGIN(value)) < 0) {
        return -1;
    }
    if (plan->type->tp_flags & Py_TPFLAGS_HEAPTYPE) {
        PyHeapTypeObject *heap = (PyHeapTypeObject *)plan->type;
        if (walk_name(walk, heap->ht_name) < 0 || walk_name(walk, heap->ht_qualname) < 0) {
            return -1;
        }
    }
    for (Py_ssize_t i = 0; i < plan->slot_count; i++) {
        PyObject *item = slot_of(plan, value, i);
        if ((item == NULL ? walk_word(walk, UNSET) : walk_item(walk, item, nesting)) < 0) {
            return -1;
        }
    }
    if (!plan->has_dictionary) {
        return 0;
    }
    PyObject *dictionary = dictionary_of(plan, value), *key, *item;
    Py_ssize_t at = 0;
    int failed = dictionary == NULL || PyDict_GET_SIZE(dictionary) > walk->text->limit;
    while (!failed && PyDict_Next(dictionary, &at, &key, &item)) {
        failed = walk_name(walk, key) < 0 || walk_item(walk, item, nesting) < 0;
    }
    failed = failed || walk_word(walk, END(dictionary)) < 0;
    Py_XDECREF(dictionary);
    return failed ? -1 : 0;
}

/* Walk over a value that is not in the snapshot as itself. */
static int
walk_value(Walk *walk, PyObject *value, int nesting)
{
    if (is_deeply_fixed(value, 3)) {
        return walk_append(walk, (uintptr_t)Py_NewRef(value)) < 0 ? (Py_DECREF(value), -1) : 0;
    }
    if (nesting == 0) {
        return -1;
    }
    if (!is_container(value)) {
        return walk_object(walk, value, nesting - 1);
    }
    if (walk_word(walk, BEGIN(value)) < 0 || walk_inside(walk, value, nesting - 1) < 0) {
        return -1;
    }
    return walk_word(walk, END(value));
}

/* Whether a container's text is that of the snapshot; if not, the snapshot is made anew from where it differs. */
static int
snapshot_meets(Snapshot *snapshot, PyObject *value, Text *text)
{
    if (!snapshot->good) {
        snapshot_truncate(snapshot, 0);
    }
    Walk walk = {snapshot, text, 0, !snapshot->good};
    snapshot->good = walk_item(&walk, value, WALK_NESTING) == 0;
    return snapshot->good && !walk.making;
}
