"""`sandboxed` marks tests that run strangers' code as it is run for real: in the sandbox."""

import pytest

from opencwm.sandbox import InfraError, open_sandbox


@pytest.fixture(scope="session")
def sandbox_works():
    """Skips, with the remedy, where there is no sandbox."""
    try:
        open_sandbox().close()
    except InfraError as error:
        pytest.skip(f"no sandbox: {error}")


@pytest.fixture
def package(tmp_path):
    """Makes a package in a folder: a function of file texts by path."""

    def make(**files):
        for name, text in files.items():
            path = tmp_path / "checkout" / (name.replace("__", "/") + ".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path / "checkout"

    return make
