"""`cwm serve` as a user runs it: a process that says where it is, and that ends well when it is told to."""

from __future__ import annotations

import json
import re
import shlex
import signal

import httpx
import pytest
import torch
from servers import folder_of, write_compact, write_hub
from typer.testing import CliRunner

from opencwm.cli.app import app
from opencwm.model import static
from opencwm.serve import running


def test_it_answers_and_finishes_what_is_under_way(process, tmp_path):
    folder = folder_of(tmp_path / "small", write_hub, positions=2048)
    with process(folder, "--name", "mine", "--api-key", "k", CWM_API_KEY="") as child:
        url = re.fullmatch(r"serving mine at (http://127\.0\.0\.1:\d+)/v1 \(Ctrl-C stops\)\n", child.stdout.readline())[
            1
        ]
        words = shlex.split(child.stdout.readline().removeprefix("try: ").replace('"$CWM_API_KEY"', "k"))
        assert words[:2] == ["curl", f"{url}/v1/chat/completions"]
        headers = dict(words[i + 1].split(": ", 1) for i, word in enumerate(words) if word == "-H")
        answer = httpx.post(words[1], headers=headers, content=words[-1], timeout=60)
        assert answer.status_code == 200 and answer.json()["model"] == "mine"
        body = {"prompt": "x", "max_tokens": 600, "ignore_eos": True, "stream": True}
        with httpx.stream("POST", f"{url}/v1/completions", json=body, headers=headers, timeout=60) as stream:
            lines = stream.iter_lines()
            assert next(lines).startswith("data: {")
            child.send_signal(signal.SIGTERM)
            rest = [line for line in lines if line]
        assert rest[-1] == "data: [DONE]"
        assert json.loads(rest[-2].removeprefix("data: "))["choices"][0]["finish_reason"] == "length"
        stdout, stderr = child.communicate(timeout=30)
        assert (child.returncode, stdout, stderr) == (0, "", "")


def test_a_key_is_asked_for_at_an_open_address(process, tmp_path):
    with process(folder_of(tmp_path / "small", write_compact), "--host", "0.0.0.0", CWM_API_KEY="") as child:
        assert "0.0.0.0" in child.stdout.readline()
        assert "anybody who reaches this address can use it" in child.stderr.readline()
        child.send_signal(signal.SIGINT)
        assert child.wait(30) == 0


def test_what_cannot_be_served_is_one_line(process, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with process(tmp_path) as child:
        stdout, stderr = child.communicate(timeout=60)
    assert (child.returncode, stdout) == (3, "")
    assert (
        stderr == f"cwm: {tmp_path} has no tokenizer.model and no tokenizer.json: copy it from where the weights came\n"
    )


def test_compiled_on_a_device(tmp_path, monkeypatch):
    monkeypatch.setattr(static, "BACKEND", "eager")
    folder = folder_of(tmp_path / "small", write_compact)
    plain = running.load(running.Settings(folder, device="cpu"))
    asked = running.load(running.Settings(folder, device="cpu", weights="bfloat16", compile=True))
    assert plain.engine.runner.static is None and asked.engine.runner.static is not None
    assert (plain.engine.runner.dtype, asked.engine.runner.dtype) == (torch.float32, torch.bfloat16)
    for name in ("cuda:99", "tpu"):
        with pytest.raises(running.ServeError, match=f"--device {name} cannot be used .*give cpu"):
            running.load(running.Settings(folder, device=name))
    monkeypatch.setattr(static, "BACKEND", lambda *_: 1 / 0)
    with pytest.raises(running.ServeError, match="--compile: PyTorch cannot compile"):
        running.load(running.Settings(folder, device="cpu", compile=True))


def test_the_command_hands_on_what_it_is_asked(monkeypatch):
    def load(settings):
        raise running.ServeError(f"{settings.device} {settings.compile} {settings.weights}")

    monkeypatch.setattr(running, "load", load)
    result = CliRunner().invoke(app, ["serve", "--port", "0", "--device", "cuda:1", "--compile", "--precision", "int8"])
    assert result.exit_code == 3 and "cuda:1 True int8" in result.output


def test_addresses():
    with running.listen("127.0.0.1", 0) as listening:
        assert running.address(listening) == f"http://127.0.0.1:{listening.getsockname()[1]}"
    with pytest.raises(running.ServeError, match="cannot listen at"):
        running.listen("203.0.113.7", 80)
