"""Both decoding passes, PyTorch's operations and the one in C, for the tests that ask for them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from opencwm.model.compiled import usable
from opencwm.model.config import preset


@pytest.fixture(scope="module", params=["torch", "c"])
def decoding(request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of the pass that runners made in the test use."""
    if request.param == "c" and not usable(preset("tiny"), torch.device("cpu")):
        pytest.skip("the pass in C needs AVX-512 and a C compiler at installation")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("OPENCWM_DECODE", request.param)
        yield request.param
