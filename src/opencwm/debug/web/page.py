"""The page as one HTML text with everything in it: style, script and data. Served live, or written to share.

Notable choices: no build step, no request to any other host. A content security policy in the page allows its own
script and style by their hashes, and nothing else, so a value that manages to become markup still runs nothing.
"""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from importlib.resources import files
from typing import Any

from opencwm.debug.parting import Parting
from opencwm.debug.session import Lane, Session
from opencwm.debug.web.rows import Rows, cut

SCRIPTS = ("model.js", "draw.js", "view.js", "main.js")
FIRST_ROWS = 2000
Data = dict[str, Any]


class Page:
    """The data of a session as the page reads it."""

    def __init__(self, session: Session, title: str) -> None:
        self.session, self.title = session, title
        self._rows: dict[int, Rows] = {}

    def rows(self, lane: Lane) -> Rows:
        """The rows of a lane."""
        return self._rows.setdefault(lane.number, Rows(lane))

    def describe(self) -> Data:
        """Everything but the rows."""
        session = self.session
        session.poll()
        program = session.lanes[0].program
        return {
            "title": self.title,
            "mode": session.mode,
            "name": str(session.path.name) if session.path else program.origin or "the program",
            "lanes": [self.lane(lane) for lane in session.lanes],
            "parting": self.parting(),
            "breakable": sorted(session.breakable()),
            "edited": session.edited(),
            "waiting": session.reality is not None and session.lane_of("real") is None and not session.reality.error,
            "problem": session.reality.error if session.reality else None,
        }

    def lane(self, lane: Lane) -> Data:
        """A lane without its rows."""
        outcome = lane.timeline.outcome
        return {
            "number": lane.number,
            "kind": lane.kind,
            "title": cut(lane.title),
            "parent": lane.parent,
            "fork": lane.fork,
            "probability": lane.probability,
            "source": [cut(line) for line in lane.program.context.rstrip("\n").split("\n")],
            "known": lane.timeline.known,
            "outcome": str(outcome) if outcome else None,
        }

    def parting(self) -> Data | None:
        """Where the first lane and the real one part."""
        found: Parting | None = self.session.parting(self.session.lanes[0])
        if found is None:
            return None
        differences = [cut(str(item)) for item in found.differences]
        return {"frame": found.index, "differences": differences, "blamed": found.blamed, "line": found.line}

    def html(self, *, token: str | None, rows: int | None) -> str:
        """The page: live with a token, else with all it needs in it. `rows` bounds the rows that it starts with."""
        data = self.describe() | {"token": token, "rows": {}}
        for lane in self.session.lanes:
            if not lane.timeline.known and lane.timeline.outcome is None:
                lane.timeline.grow(0)
            end = lane.timeline.known if rows is None else rows
            data["rows"][lane.number] = self.rows(lane).upto(0, end)
        data["lanes"] = [self.lane(lane) for lane in self.session.lanes]
        shell, style, script = _parts()
        connect = "'self'" if token else "'none'"
        policy = (
            f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; "
            f"connect-src {connect}; img-src data:; base-uri 'none'; form-action 'none'"
        )
        filled = {"POLICY": policy, "STYLE": style, "SCRIPT": script, "DATA": embed(data)}
        for name, text in filled.items():
            before, after = shell.split(f"<!--{name}-->")
            shell = before + text + after
        return shell


def embed(data: Data) -> str:
    """JSON that can stand in a script element: no `<` can end it."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


@cache
def _parts() -> tuple[str, str, str]:
    folder = files("opencwm.debug.web") / "static"
    script = "\n".join((folder / name).read_text(encoding="utf-8") for name in SCRIPTS)
    shell = (folder / "index.html").read_text(encoding="utf-8")
    return shell, (folder / "style.css").read_text(encoding="utf-8"), f"\n(() => {{\n'use strict';\n{script}}})();\n"


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
