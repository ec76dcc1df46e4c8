"""The process backend: commands as plain processes of this user, for code that you trust.

Limits hold, and nothing is left running, but there are no walls: a command sees the user's files and network. It must
be asked for by name; nothing falls back to it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence

from opencwm.sandbox import interpreter
from opencwm.sandbox.local import LocalSandbox
from opencwm.sandbox.protocol import Limits, Mount

_INHERITED = ("PATH", "LANG", "LC_ALL", "SYSTEMROOT")


class ProcessSandbox(LocalSandbox):
    """A temporary folder and plain processes in it. Raises InfraError, and ValueError for mounts.

    `disk_bytes` and `files` are not enforced here, nor is the network cut off, whatever `network` says.
    """

    name = "process"

    def __init__(
        self,
        *,
        limits: Limits | None = None,
        mounts: Sequence[Mount] = (),
        network: bool = False,
        env: Mapping[str, str] | None = None,
    ) -> None:
        if mounts:
            raise ValueError("the process backend sees this machine's own files: it takes no mounts")
        self._env = dict(env or {})
        self._folder = tempfile.mkdtemp(prefix="cwm-sandbox-")
        self.home = os.path.join(self._folder, "work")
        self.roots = (self._folder, ("work", "tmp"))
        self.python = interpreter.executable()
        for name in self.roots[1]:
            os.mkdir(os.path.join(self._folder, name))
        environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        environment |= {"HOME": self.home, "TMPDIR": os.path.join(self._folder, "tmp")} | self._env
        try:
            super().__init__({"bubblewrap": None}, limits or Limits(), environment)
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise

    def empty(self) -> ProcessSandbox:
        return ProcessSandbox(limits=self.limits, env=self._env)

    def close(self) -> None:
        super().close()
        with contextlib.suppress(OSError):
            shutil.rmtree(self._folder)
