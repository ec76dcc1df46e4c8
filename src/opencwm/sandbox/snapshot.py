"""`Snapshot`: what a sandbox has written, kept outside of it."""

from __future__ import annotations

from typing import IO, Self


class Snapshot:
    """Everything that a sandbox has written outside of its mounts, as a tar file that vanishes with this object."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def read(self) -> bytes:
        """The tar file."""
        self._file.seek(0)
        return self._file.read()

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()
