from dataclasses import replace

import pytest

from opencwm.sandbox import Finished, InfraError, Limits, open_sandbox
from opencwm.sandbox.bubblewrap import BubblewrapSandbox
from opencwm.sandbox.container import IMAGE, find

QUICK = Limits(wall_seconds=20, cpu_seconds=10, memory_bytes=256 << 20, disk_bytes=32 << 20, files=2000)
SHORT = replace(QUICK, wall_seconds=0.3)


def bubblewrap_or_skip():
    try:
        BubblewrapSandbox().close()
    except InfraError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def bubblewrap():
    """The bubblewrap backend works here; else the test is skipped, with the remedy."""
    bubblewrap_or_skip()


@pytest.fixture
def box(bubblewrap):
    with open_sandbox("bubblewrap", limits=QUICK) as sandbox:
        yield sandbox


def container_engine():
    """Whether a container engine listens here that has the image: its containers are tested too."""
    try:
        engine = find()
        engine.request("GET", f"/images/{IMAGE}/json")
    except InfraError:
        return False
    return True


WALLED = ["bubblewrap", *(["container"] if container_engine() else [])]


@pytest.fixture(params=[*WALLED, "process"])
def any_box(request):
    """One sandbox per backend: they answer alike."""
    if request.param == "bubblewrap":
        bubblewrap_or_skip()
    with open_sandbox(request.param, limits=QUICK) as sandbox:
        yield sandbox


@pytest.fixture
def shell(any_box):
    with any_box.shell() as session:
        yield session


def out(result):
    """What a command printed that ended by itself."""
    assert isinstance(result, Finished), result
    return result.stdout.decode()
