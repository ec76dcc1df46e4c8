"""Loops: `for` over anything in scope with an accumulator, and `while` forms that always make progress."""

from __future__ import annotations

from opencwm.programs.write.forms import indices, item_at, iterable, source, target
from opencwm.programs.write.writer import Variable, Writer

_KINDS = ("strs", "ints", "str", "int", "counts", "groups", "set", "table", "names", "own")
_STARTS = {"strs": "[]", "ints": "[]", "counts": "{}", "groups": "{}", "strset": "set()", "intset": "set()",
           "table": "{}", "names": "{}"}  # fmt: skip
_ROLES = {"strs": "list", "ints": "list", "str": "built", "int": "count", "counts": "dict", "groups": "dict",
          "table": "dict", "names": "dict"}  # fmt: skip


def length(over: Variable) -> int:
    """Length of a sequence, or a guess at it."""
    if isinstance(over.value, str | list | tuple | dict):
        return len(over.value)
    return {"str": 14, "word": 5, "row": 3}.get(over.type, 6)


def accumulator(writer: Writer, over: Variable) -> Variable:
    """A variable to collect into: a new one (its first line is written) or a list or dict that exists."""
    kind = writer.rng.choices(_KINDS, (26, 13, 22, 21, 12, 4, 2.5, 2, 2, 7))[0]
    if kind == "own":
        options = [v for v in writer.scope if v.type in ("ints", "strs", "counts") and v is not over and not v.frozen]
        if options:
            found = writer.rng.choice(options)
            found.reads += 1
            found.low, found.value = 0, None
            return found
        kind = "strs"
    if kind == "set":
        kind = "intset" if over.type in ("ints", "tints") else "strset"
    if kind == "groups" and over.type in ("counts", "table", "groups"):
        kind = "ints"
    start = _STARTS.get(kind)
    if kind == "str":
        start = "''" if writer.chance(0.8) else writer.literal("sub")[0]
    elif kind == "int":
        start = "0" if writer.chance(0.8) else writer.choose("1", "-1", "10", "2", "100")
    elif kind in ("strs", "ints") and writer.chance(0.06):
        start = writer.literal(kind)[0]
    variable = writer.define(kind, _ROLES.get(kind))
    writer.emit(f"{variable.name} = {start}")
    return variable


def update(writer: Writer, into: Variable, focus: Variable, targets: list[Variable]) -> None:
    """One line (or an `if`/`else` of four) that takes a loop's variable into an accumulator."""
    name, rng = into.name, writer.rng
    choice = rng.random()
    if into.type in ("strs", "ints"):
        item = (
            focus.name
            if _fits(into.type, focus) and choice < 0.45
            else writer.about(focus, "shown" if into.type == "strs" else "cell")
        )
        if into.type == "strs" and choice > 0.9 and len(targets) == 2:
            item = " + ".join(v.name if v.type in ("char", "word") else f"str({v.name})" for v in targets)
        form = rng.choices(
            ("{0}.append({1})", "{0}.insert(0, {1})", "{0} += [{1}]", "{0}.extend([{1}])", "{0} = [{1}] + {0}"),
            (60, 9, 8, 2, 2),
        )[0]
        writer.emit(form.format(name, item))
    elif into.type == "str":
        item = focus.name if focus.type in ("char", "word") and choice < 0.4 else writer.about(focus, "shown", level=9)
        writer.emit(f"{name} = {item} + {name}" if choice > 0.85 else f"{name} += {item}")
    elif into.type == "int":
        _count(writer, name, focus, choice)
    elif into.type in ("counts", "groups", "names", "table"):
        _tally(writer, into, focus, targets)
    else:
        writer.emit(f"{name}.add({writer.about(focus, 'cell' if into.type == 'intset' else 'shown')})")
    focus.reads += 1


def _fits(list_type: str, variable: Variable) -> bool:
    return variable.type in (("char", "word") if list_type == "strs" else ("int",))


def _count(writer: Writer, name: str, focus: Variable, choice: float) -> None:
    if choice < 0.35:
        writer.emit(f"{name} += {writer.choose('1', '1', '1', '1', '2', '3')}")
    elif choice < 0.75:
        writer.emit(f"{name} {writer.choose('+=', '+=', '+=', '-=')} {writer.about(focus, 'cell')}")
    elif choice < 0.85:
        writer.emit(f"{name} = {writer.choose('max', 'max', 'min')}({name}, {writer.about(focus, 'cell')})")
    elif choice < 0.9:
        writer.emit(
            f"{name} = ({name} * {writer.choose('2', '3', '10', '31')} + {writer.about(focus, 'cell', level=9)}) % 1000"
        )
    elif choice < 0.94:
        writer.emit(f"{name} ^= {writer.about(focus, 'cell')}")
    elif focus.type == "int" and focus.bound is not None and focus.bound < 30 and writer.loops == 1:
        writer.emit(f"{name} *= {writer.read(focus)}")
    else:
        writer.emit(f"{name} = {writer.about(focus, 'cell')} - {name}")


def _tally(writer: Writer, into: Variable, focus: Variable, targets: list[Variable]) -> None:
    name, rng = into.name, writer.rng
    other = targets[-1]
    if into.type in ("table", "names"):
        key = focus.name if focus.type == "int" else writer.about(focus, "cell")
        value = writer.about(other, "cell" if into.type == "table" else "shown")
        writer.emit(f"{name}[{key}] = {value}")
        return
    key = focus.name if focus.type in ("char", "word") and writer.chance(0.75) else writer.about(focus, "shown")
    if into.type == "groups":
        if focus.type == "int":
            key = f"str({writer.about(focus, 'cell')})"
        writer.emit(f"{name}.setdefault({key}, []).append({writer.read(other)})")
        return
    form = rng.random()
    if form < 0.4:
        step = "1" if writer.chance(0.7) else writer.about(other, "cell", level=10)
        writer.emit(f"{name}[{key}] = {name}.get({key}, 0) + {step}")
    elif form < 0.6 and writer.room > 3:
        test, first, second = (
            f"{key} in {name}",
            f"{name}[{key}] += 1",
            f"{name}[{key}] = {writer.choose('1', '1', '0')}",
        )
        if writer.chance(0.35):
            test, first, second = f"{key} not in {name}", second, first
        writer.open(f"if {test}:")
        writer.emit(first)
        writer.close()
        writer.open("else:")
        writer.emit(second)
        writer.close()
    elif form < 0.7 and writer.room > 3:
        writer.open(f"if {key} not in {name}:")
        writer.emit(f"{name}[{key}] = 0")
        writer.close()
        writer.emit(f"{name}[{key}] += {writer.choose('1', writer.about(other, 'cell'))}")
    elif form < 0.78:
        writer.emit(f"{name}.setdefault({key}, {writer.about(other, 'cell')})")
    else:
        writer.emit(f"{name}[{key}] = {writer.about(other, 'cell')}")


def body(writer: Writer, into: Variable, targets: list[Variable], nest: int, rounds: int) -> None:
    """A loop's body: a test around the update, `continue` or `break`, a local value, or an inner loop.

    `nest` > 0 allows an inner loop if that, over `rounds` rounds of this one, is not too many steps.
    """
    rng = writer.rng
    focus = rng.choice(targets)
    if nest > 0 and writer.room > 2 and writer.chance(0.5):
        inner = next((v for v in targets if v.type in ("word", "row")), None)
        inner = inner or iterable(writer, without=into)
        if inner is not None and rounds * length(inner) <= 40:
            found, header = source(writer, inner, plain=True)
            writer.open(f"for {header}:")
            writer.loops += 1
            _tested(writer, into, [*found, focus] if focus.type in ("int", "char") and writer.chance(0.5) else found)
            writer.loops -= 1
            writer.close()
            return
    if writer.room > 2 and writer.chance(0.14):
        type_ = "shown" if focus.type in ("char", "word") else "cell"
        text = writer.about(focus, type_)
        local = target(writer, "word" if type_ == "shown" else "int", "word" if type_ == "shown" else "val")
        writer.emit(f"{local.name} = {text}")
        focus, targets = local, [*targets, local]
    _tested(writer, into, targets, focus)
    if writer.room > 1 and writer.chance(0.1):
        writer.open(f"if {_stop(writer, into)}:")
        writer.emit("break")
        writer.close()


def _stop(writer: Writer, into: Variable) -> str:
    size = into.name if into.type == "int" else f"len({into.name})"
    return f"{size} {writer.choose('>', '>=', '==')} {writer.rng.randint(2, 6)}"


def _tested(writer: Writer, into: Variable, targets: list[Variable], focus: Variable | None = None) -> None:
    focus = focus or writer.rng.choice(targets)
    tested = writer.rng.choice(targets)
    choice = writer.rng.random()
    if choice < 0.36 or writer.room < 2:
        update(writer, into, focus, targets)
        return
    test = writer.about(tested, "bool", 0)
    if choice < 0.4 and into.type in ("strs", "ints", "strset", "intset") and _fits("strs", focus):
        test = f"{focus.name} not in {into.name}"
    if choice > 0.93:
        writer.open(f"if {test}:")
        writer.emit(writer.choose("continue", "continue", "break"))
        writer.close()
        update(writer, into, focus, targets)
        return
    writer.open(f"if {test}:")
    update(writer, into, focus, targets)
    writer.close()
    if writer.room > 2 and writer.chance(0.12):
        writer.open(f"elif {writer.about(writer.rng.choice(targets), 'bool', 0)}:")
        update(writer, into, focus, targets)
        writer.close()
    if writer.room > 1 and writer.chance(0.35):
        writer.open("else:")
        update(writer, into, focus, targets)
        writer.close()


def loop(writer: Writer, nest: int) -> None:
    """A `for` loop with its accumulator."""
    over = iterable(writer)
    counted = [v for v in writer.scope if v.type == "int" and v.bound is not None and v.bound <= 8 and not v.fixed]
    if over is None or (counted and writer.chance(0.25)):
        _counted(writer, counted, nest)
        return
    into = accumulator(writer, over)
    mark = len(writer.scope)
    if over.type in ("str", "ints", "strs", "tints") and writer.chance(0.22):
        targets, header = indices(writer, over)
        writer.open(f"for {header}:")
        item = item_at(writer, over)
        if item is not None and writer.room > 2 and writer.chance(0.4):
            local = target(writer, "int" if over.type in ("ints", "tints") else "word", "item")
            local.bound = over.bound
            writer.emit(f"{local.name} = {item}")
            targets = [*targets, local]
        else:
            _indexed(writer, into, over, targets[0])
            _finish(writer, into, over, mark)
            return
    else:
        targets, header = source(writer, over, without=into)
        writer.open(f"for {header}:")
    frozen, over.frozen = over.frozen, True
    writer.loops += 1
    body(writer, into, targets, nest, length(over))
    writer.loops -= 1
    over.frozen = frozen
    _finish(writer, into, over, mark)


def _finish(writer: Writer, into: Variable, over: Variable, mark: int) -> None:
    writer.close()
    if writer.room > 1 and writer.chance(0.03) and any(line.strip() == "break" for line in writer.lines[-3:]):
        writer.open("else:")
        writer.emit(f"{into.name} = {writer.value(into.type, 0)}" if into.type in ("int", "str") else "pass")
        writer.close()
    del writer.scope[mark:]
    into.pending, into.low = True, 0


def _indexed(writer: Writer, into: Variable, over: Variable, index: Variable) -> None:
    """A body that works on `over[i]` directly: tests it, collects it, or (a list) changes it in place."""
    at = f"{over.name}[{index.name}]"
    proxy = Variable(at, "int" if over.type in ("ints", "tints") else "char" if over.type == "str" else "word")
    writer.read(index)
    if over.type in ("ints", "strs") and not over.frozen and writer.chance(0.3):
        text = writer.about(proxy, "cell" if over.type == "ints" else "shown")
        if writer.room > 2 and writer.chance(0.4):
            writer.open(f"if {writer.about(writer.rng.choice((proxy, index)), 'bool')}:")
            writer.emit(f"{at} = {text}")
            writer.close()
        else:
            writer.emit(f"{at} = {text}")
        over.pending, over.value = True, None
        if writer.room < 1:
            return
    frozen, over.frozen = over.frozen, True
    writer.loops += 1
    _tested(writer, into, [proxy, index] if writer.chance(0.5) else [proxy], proxy)
    writer.loops -= 1
    over.frozen = frozen


def _counted(writer: Writer, counted: list[Variable], nest: int) -> None:
    rng = writer.rng
    variable = rng.choice(counted) if counted else None
    if variable is None and (sized := writer.find("sized")) is not None and writer.chance(0.5):
        limit = f"len({writer.read(sized)})"
    else:
        limit = writer.read(variable) if variable is not None else str(rng.randint(2, 6))
    fake = Variable("", "ints")
    into = accumulator(writer, fake)
    mark = len(writer.scope)
    index = target(writer, "int", "index", 8)
    start = writer.choose("", "", "", "1, ", "0, ")
    stop = f"{limit} + 1" if start == "1, " and writer.chance(0.6) else limit
    header = f"range({limit}, 0, -1)" if writer.chance(0.08) else f"range({start}{stop})"
    writer.open(f"for {index.name} in {header}:")
    writer.loops += 1
    body(writer, into, [index], nest, 5)
    writer.loops -= 1
    _finish(writer, into, fake, mark)
