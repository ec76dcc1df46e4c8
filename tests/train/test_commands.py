"""The commands of the training room, as they are typed."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from opencwm.cli.app import app
from opencwm.train.meter import read_log
from opencwm.train.plot import curves

ROOT = Path(__file__).parents[2]
TINY = """
[model]
overrides = {dim = 32, layers = 2, heads = 2, kv_heads = 1, head_dim = 16, ffn_dim = 48}
[data]
sequence_length = 256
buffer = 16
[data.sources.programs]
kind = "mix"
[run]
steps = 3
tokens_per_batch = 512
log_every = 1
checkpoint_every = 0
eval_programs = 4
threads = 1
"""


def run(*arguments: object) -> Any:
    return CliRunner(env={"COLUMNS": "140", "NO_COLOR": "1", "TERM": "dumb"}).invoke(app, list(map(str, arguments)))


def config(folder: Path, text: str = TINY) -> Path:
    path = folder / "given.toml"
    path.write_text(text.replace("[run]", f'[run]\nfolder = "{folder}/run"'))
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    done = run("train", config(folder))
    assert done.exit_code == 0, done.output
    assert "step 3/3" in done.output and "held out: loss" in done.output
    return folder / "run"


def test_a_run_logs_each_source(trained: Path) -> None:
    records = [record for record in read_log(trained) if "loss" in record]
    assert [record["step"] for record in records] == [1, 2, 3]
    for record in records:
        assert record["sources"] and all(name.startswith("programs/") for name in record["sources"])
        assert 0 < record["mfu"] < 2 and record["memory"] > 1 << 20 and record["tokens_per_second"] > 0


def test_a_stage_from_another_one(trained: Path, tmp_path: Path) -> None:
    done = run("train", config(tmp_path), "--from", trained, "--set", "run.steps=1")
    assert done.exit_code == 0, done.output
    assert f"starting from {trained}" in done.output.replace("\n", "")


def test_a_failing_run_is_one_line_and_exit_code_4(trained: Path, tmp_path: Path) -> None:
    path = config(tmp_path)
    done = run("train", path, "--set", f'run.folder="{trained}"', "--set", "data.seed=5")
    assert done.exit_code == 4
    assert done.stderr.startswith("cwm: ") and "data.seed" in done.stderr and done.stderr.count("\n") == 1
    done = run("train", path, "--from", tmp_path / "none")
    assert done.exit_code == 4 and "holds no weights" in done.stderr


def test_the_plan_says_what_a_run_takes_and_starts_nothing(tmp_path: Path) -> None:
    path = config(tmp_path)
    table = run("train", path, "--plan").stdout
    for words in ("parameters", "3 of 512 tokens", "FLOP", "memory per process", "CWM's law", "source programs"):
        assert words in table
    plan = json.loads(run("train", path, "--plan", "--json").stdout)
    assert plan["tokens"] == 1536 and plan["flops"] == pytest.approx(1536 * plan["flops_per_token"])
    assert plan["missing"] == "" and not (tmp_path / "run").exists()
    shared = json.loads(run("train", path, "--plan", "--json", "--processes", "4").stdout)
    assert shared["memory"]["moments"] == pytest.approx(plan["memory"]["moments"] / 4)


@pytest.mark.parametrize("stage", ["pretrain", "midtrain", "sft"])
def test_cwm_s_own_stages_are_planned_before_there_is_any_data(
    stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("train", ROOT / "configs/cwm-32b" / f"{stage}.toml", "--plan", "--processes", "256")
    assert done.exit_code == 0, done.output
    assert "32,581,097,472" in done.stdout and "not there yet" in done.stdout and "tokenizer.model" in done.stdout


def test_cwm_s_laws() -> None:
    from opencwm.model.config import preset
    from opencwm.train import flops

    cwm = preset("cwm-32b")
    assert flops.non_embedding(cwm) == pytest.approx(31.005e9, rel=1e-3)
    budget = 13e12 * flops.flops_per_token(cwm, 8192)
    assert 8e-4 < flops.learning_rate(budget) < 9.5e-4  # CWM took 8e-4
    assert 12e6 < flops.batch_tokens(budget) < 16e6


def test_curves_are_drawn(trained: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "curves.png"
    assert run("train", "plot", trained, trained, "--output", picture).exit_code == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert run("train", "plot", trained, "--key", "mfu", "--output", picture).exit_code == 0
    assert (
        run("train", "plot", trained, "--over", "tokens", "--key", "held_out_loss", "--output", picture).exit_code == 0
    )
    by_step, by_tokens = curves(trained), curves(trained, "tokens")
    assert [at for at, _ in by_step["loss"]] == [1, 2, 3] and [at for at, _ in by_tokens["loss"]] == [512, 1024, 1536]
    assert by_tokens["held_out_loss"] == [(1536, by_step["held_out_loss"][0][1])]
    refused = run("train", "plot", trained, "--key", "none", "--output", picture)
    assert refused.exit_code == 2 and "no run has logged none: choose among" in refused.stderr
    assert "holds no log" in run("train", "plot", tmp_path).stderr


def test_tensorboard_files(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason='pip install "opencwm[train]"')
    assert run("train", config(tmp_path), "--set", "run.tensorboard=true").exit_code == 0
    assert list((tmp_path / "run" / "tensorboard").glob("events.out.*"))


def code_folder(folder: Path) -> Path:
    (folder / "code").mkdir()
    one = "".join(f"def function_{n}(value):\n    return value * {n} + {n * n}\n\n\n" for n in range(30))
    other = "class Thing:\n" + "".join(f"    field_{n} = 'text {n}'\n" for n in range(40))
    files = {
        "one.py": one,
        "again.py": one + "# a comment\n",
        "other.py": other,
        "empty.py": "\n",
        "broken.py": "def (",
    }
    for name, text in files.items():
        (folder / "code" / name).write_text(text)
    return folder / "code"


def test_a_corpus_of_code_without_near_duplicates(tmp_path: Path) -> None:
    import pyarrow.parquet as parquet

    output = tmp_path / "code.parquet"
    done = run("data", "code", output, "--folder", code_folder(tmp_path), "--licence", "MIT", "--json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["files"] == 2
    assert report["left_out"] == {"near-duplicate": 1, "empty": 1, "does not parse": 1}
    rows = parquet.read_table(output).to_pylist()
    assert {row["licence"] for row in rows} == {"MIT"} and set(report["licences"]) == {"MIT"}
    assert sum(len(row["text"]) for row in rows) == report["characters"]
    assert "no file is left" not in done.stderr
    (tmp_path / "none").mkdir()
    refused = run("data", "code", output, "--folder", tmp_path / "none")
    assert refused.exit_code == 2 and "holds no Python file" in refused.stderr


def test_packages_bring_their_licence_and_held_out_ones_are_refused(tmp_path: Path) -> None:
    done = run("data", "code", tmp_path / "a.parquet", "--package", "typing-extensions", "--json")
    assert done.exit_code == 0, done.output
    assert list(json.loads(done.stdout)["licences"]) == ["PSF-2.0"]
    assert "SWE-bench" in run("data", "code", tmp_path / "b.parquet", "--package", "pytest").stderr
    assert "is not installed" in run("data", "code", tmp_path / "b.parquet", "--package", "no-such-package").stderr


def test_looking_at_sources(tmp_path: Path) -> None:
    corpus = tmp_path / "code.parquet"
    run("data", "code", corpus, "--folder", code_folder(tmp_path))
    code = f'[data.sources.code]\nkind = "code"\npaths = ["{corpus}"]\nepochs = 2\n[run]'
    path = config(tmp_path, TINY.replace("[run]", code).replace("buffer = 16", "buffer = 16\ntotal_tokens = 100000"))
    figures = json.loads(run("data", "stats", path, "--items", 6, "--json").stdout)
    by_name = {one["name"]: one for one in figures["sources"]}
    assert by_name["code"]["rows"] == 2 and by_name["programs"]["rows"] is None
    assert by_name["code"]["share"] == pytest.approx(2 * by_name["code"]["tokens"] / 100000, rel=1e-6)
    assert 0.8 < figures["filled"] <= 1
    assert "packed rows" in run("data", "stats", path, "--items", 6).stdout
    shown = run("data", "peek", path, "--source", "code").stdout
    assert "predicted" in shown and "<begin><L1>" in shown
    assert run("data", "peek", path, "--count", 3).stdout.count("tokens,") == 3
    assert "data.sources has no none: choose among" in run("data", "peek", path, "--source", "none").stderr


def test_chats_about_runs(tmp_path: Path) -> None:
    output = tmp_path / "chats.jsonl"
    assert run("data", "chats", output, "--count", 20).exit_code == 0
    chats = [json.loads(line)["messages"] for line in output.read_text().splitlines()]
    assert len(chats) == 20
    for asked, answered in chats:
        assert asked["role"] == "user" and answered["role"] == "assistant" and "`" in answered["content"]
    told = [answered["reasoning"] for _, answered in chats if "reasoning" in answered]
    assert 3 < len(told) < 17 and all("The run" in text for text in told)


def test_a_language_model_is_measured_on_what_should_follow(trained: Path, tmp_path: Path) -> None:
    from opencwm.train.run import export

    export(trained, tmp_path / "weights")
    (tmp_path / "crux.jsonl").write_text(
        json.dumps({"code": "def f(x):\n    return x", "input": "1", "output": "1"}) + "\n"
    )
    done = run("eval", "language", "--weights", tmp_path / "weights", "--crux", tmp_path / "crux.jsonl", "--json")
    assert done.exit_code == 0, done.output
    figures = {figure["name"]: figure for figure in json.loads(done.stdout)["figures"]}
    assert figures["crux output, loss over all tokens"]["n"] == 3  # " 1" and the end of the line
    assert 5 < figures["crux output, loss over all tokens"]["value"] < 8  # nearly untrained
    report = run("eval", "language", "--weights", tmp_path / "weights", "--crux", tmp_path / "crux.jsonl", "--json",
                 "--bfloat16")  # fmt: skip
    rounded = json.loads(report.stdout)
    assert rounded["settings"]["products"] == "bfloat16"
    near = next(f["value"] for f in rounded["figures"] if f["name"] == "crux output, loss over all tokens")
    assert near == pytest.approx(figures["crux output, loss over all tokens"]["value"], rel=0.01)
    assert near != figures["crux output, loss over all tokens"]["value"]
    assert run("eval", "language", "--weights", tmp_path / "weights").exit_code == 2
