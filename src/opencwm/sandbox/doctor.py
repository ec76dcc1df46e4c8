"""What this machine can do for a sandbox, what is missing and how to get it, and which backend is chosen and why."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from opencwm.sandbox import _confine, cgroups, seccomp
from opencwm.sandbox.protocol import InfraError, Sandbox


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: what was found, and where it is not good, what to do."""

    name: str
    good: bool
    found: str
    remedy: str = ""


@dataclass(slots=True)
class Report:
    """What was found. `backend` is what `open_sandbox("auto")` takes, None if there is none; `why` says why."""

    backend: str | None = None
    why: str = ""
    findings: list[Finding] = field(default_factory=list)


def examine() -> Report:
    """Look at this machine. Starts a sandbox of each kind that there is, and runs `true` in it."""
    from opencwm.sandbox.bubblewrap import BubblewrapSandbox

    report = Report()
    report.findings += [*_system(), _bubblewrap_itself()]
    working = _try("bubblewrap", BubblewrapSandbox)
    report.findings += [working, *_layers(), *_containers()]
    engine = report.findings[-1]
    if working.good:
        report.backend, report.why = "bubblewrap", "it works here, without root and in milliseconds"
    elif engine.good:
        report.backend, report.why = "container", f"bubblewrap does not work here ({working.found}), an engine does"
    else:
        report.why = f"bubblewrap {working.found}, and {engine.found}; see the remedies above"
    return report


def _system() -> list[Finding]:
    kernel = platform.release()
    linux = platform.system() == "Linux"
    found = [
        Finding("system", linux, f"{platform.system()} {kernel}, {platform.machine()}", "" if linux else "use Linux")
    ]
    try:
        most = int(Path("/proc/sys/user/max_user_namespaces").read_text())
    except (OSError, ValueError):
        most = 0
    remedy = "sysctl -w user.max_user_namespaces=10000, or boot a kernel with CONFIG_USER_NS"
    found.append(Finding("user namespaces", most > 0, f"{most} allowed", "" if most > 0 else remedy))
    for path, bad, command in (
        ("/proc/sys/kernel/unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"),
        (
            "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        ),
    ):
        if os.path.exists(path):
            value = Path(path).read_text().strip()
            good = value != bad or os.geteuid() == 0
            found.append(Finding(os.path.basename(path), good, value, "" if good else command))
    return found


def _bubblewrap_itself() -> Finding:
    from opencwm.sandbox.bubblewrap import find

    try:
        path = find()
        version = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10).stdout.strip()
    except (InfraError, OSError, subprocess.SubprocessError) as error:
        return Finding("bwrap", False, "absent", str(error))
    return Finding("bwrap", True, f"{version}, {path}")


def _try(name: str, make: type[Sandbox]) -> Finding:
    started = time.perf_counter()
    try:
        with make() as sandbox:
            result = sandbox.exec(["true"])
    except InfraError as error:
        return Finding(f"backend {name}", False, "does not start", str(error))
    seconds = time.perf_counter() - started
    if not result.ok:
        return Finding(
            f"backend {name}", False, f"`true` did not run: {result}", "run it with the process backend to compare"
        )
    return Finding(f"backend {name}", True, f"works, {seconds * 1000:.0f} ms the first time")


def _layers() -> list[Finding]:
    """What protects a bubblewrap sandbox beside its namespaces; each is optional."""
    filtered = seccomp.supported()
    abi = _confine.landlock_abi() if platform.system() == "Linux" else 0
    version, places = cgroups.places()
    controllers = ", ".join(sorted(places)) if places else "none writable"
    return [
        Finding("seccomp", filtered, "own filter" if filtered else f"no filter for {platform.machine()}"),
        Finding(
            "landlock",
            abi >= 2,
            f"version {abi}" if abi else "not in this kernel",
            "" if abi >= 2 else "optional: a kernel from 5.19 on, booted with lsm=landlock,...",
        ),
        Finding(
            "cgroups",
            bool(places),
            f"version {version}: {controllers}" if places else controllers,
            ""
            if places
            else "optional: memory and processes are counted instead (root, or a delegated group, makes them exact)",
        ),
    ]


def _containers() -> list[Finding]:
    from opencwm.sandbox.container import find

    try:
        engine = find()
    except InfraError as error:
        return [Finding("backend container", False, "no engine answers", str(error))]
    return [Finding("backend container", True, engine.describe())]
