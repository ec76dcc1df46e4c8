"""`cwm trace --diff`: two recorded runs side by side up to where they part, and the lines that led there."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from opencwm.cli import render
from opencwm.cli.errors import Unusable

if TYPE_CHECKING:
    from rich.table import Table

    from opencwm.trace.diff import Change, Diff
    from opencwm.trace.frames import Trace

_BEFORE, _AFTER = 6, 2


def show(old: Trace, new: Trace, found: Diff) -> None:
    """Print the comparison: the frames around the parting, the chain, and one line that sums it up."""
    screen = render.console()
    if found.parting is None:
        screen.print(f"the runs do not part: {len(new.frames)} frames; {render.ending(new)}", style="bold")
        return
    screen.print(_around(old, new, found, screen.width))
    if found.chain:
        screen.print("how it came about, in the new run:", style="bold")
        for link in found.chain:
            source = new.source_line(link.line).strip()
            mark = "  (edited)" if link.edited else ""
            made = "; ".join(map(_change, link.changes))
            screen.print(f"  frame {link.frame}, line {link.line}: {source}{mark}{f'   {made}' if made else ''}")
    screen.print(verdict(old, new, found), style="bold")


def verdict(old: Trace, new: Trace, found: Diff) -> str:
    """Where the runs part and how they end."""
    parting = found.parting
    assert parting is not None
    place = f"frame {parting.new if parting.new is not None else parting.old}"
    if parting.kind == "way":
        ways = [_place(trace, index) for trace, index in ((old, parting.old), (new, parting.new))]
        what = f"the old run goes to {ways[0]}, the new one to {ways[1]}"
    elif parting.kind == "end":
        what = "they end differently"
    else:
        what = "; ".join(map(_change, parting.changes))
    return f"the runs part at {place}: {what}\nold: {render.ending(old)}\nnew: {render.ending(new)}"


def to_json(old: Trace, new: Trace, found: Diff) -> dict[str, object]:
    """What `--json` prints."""
    parting = found.parting
    return {
        "frames": {"old": len(old.frames), "new": len(new.frames)},
        "outcome": {"old": [str(old.outcome), old.result], "new": [str(new.outcome), new.result]},
        "parting": parting
        and {
            "kind": parting.kind,
            "old": parting.old,
            "new": parting.new,
            "changes": list(map(_fields, parting.changes)),
        },
        "chain": [
            {
                "frame": link.frame,
                "line": link.line,
                "source": new.source_line(link.line),
                "edited": link.edited,
                "changes": list(map(_fields, link.changes)),
            }
            for link in found.chain
        ],
    }


def at_revision(path: str, revision: str) -> str:
    """The text of a file at a revision of its git repository. Raises Unusable."""
    file = Path(path)
    command = ["git", "-C", str(file.parent), "show", f"{revision}:./{file.name}"]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except OSError as error:
        raise Unusable(f"cannot run git: {error.strerror}; install it, or give the old file with --diff") from None
    if done.returncode:
        reason = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise Unusable(f"no {file.name} at revision {revision}: {reason[-1] if reason else 'git failed'}")
    return done.stdout.decode("utf-8", "replace")


def _around(old: Trace, new: Trace, found: Diff, width: int) -> Table:
    """The frames around the parting, old and new side by side."""
    parting = found.parting
    assert parting is not None
    positions = [at for at, (i, j) in enumerate(found.pairs) if i == parting.old or j == parting.new]
    first = positions[0] if positions else len(found.pairs)
    table = render.columns("old", "new", "source", "old run", "new run", "", source_width=width // 3)
    changes = [render.changes_of(trace) for trace in (old, new)]
    for at in range(max(0, first - _BEFORE), min(len(found.pairs), first + _AFTER + 1)):
        i, j = found.pairs[at]
        line = new.source_line(new.frames[j].line) if j is not None else old.source_line(old.frames[i or 0].line)
        states = [
            render.state(trace.frames[index], changed[index]) if index is not None else Text("-")
            for trace, index, changed in ((old, i, changes[0]), (new, j, changes[1]))
        ]
        numbers = [str(t.frames[index].line) if index is not None else "" for t, index in ((old, i), (new, j))]
        mark = "<--" if at == first else ""
        table.add_row(*numbers, render.printable(line), *states, mark, style="bold red" if at == first else "")
    return table


def _place(trace: Trace, index: int | None) -> str:
    if index is None:
        return "its end"
    frame = trace.frames[index]
    return f"line {frame.line}" if frame.event == "line" else f"a {frame.event} at line {frame.line}"


def _change(change: Change) -> str:
    old = render.cut(change.old) if change.old is not None else "(not there)"
    new = render.cut(change.new) if change.new is not None else "(not there)"
    return f"{change.name or 'value'}: was {old}, now {new}"


def _fields(change: Change) -> dict[str, str | None]:
    return {"name": change.name, "old": change.old, "new": change.new}
