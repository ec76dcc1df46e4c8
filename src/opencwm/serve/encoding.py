"""Encoding without holding up the other clients: long texts go to a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

SHORT = 20_000
"""Characters that are encoded at once, in well under 10 ms."""

T = TypeVar("T")


async def encoded(text: str, encode: Callable[[str], T]) -> T:
    """`encode(text)`, in a thread where the text is long. Raises what it raises."""
    return encode(text) if len(text) <= SHORT else await asyncio.to_thread(encode, text)
