"""GGUF files of Llama models: weights (dequantised), shape, and their byte-level BPE tokenizer.

Notable choices:
- Quantised blocks become float32 numbers exactly; what is stored afterwards is a matter of `hf.save`.
- The file's tokenizer becomes a `tokenizer.json`, for the `tokenizers` library and whatever reads it. How text is cut
  into words is no more than a name in a GGUF file, so names that are not known here are refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from opencwm.model.config import ModelConfig
from opencwm.model.tensors import GGUF, WeightsError, assemble
from opencwm.model.transformer import Transformer

_CONTROL = 3  # the token type of special tokens
_DIGITS = {"type": "Digits", "individual_digits": True}
_BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
_SPLITS: dict[str, list[dict[str, Any]]] = {"smollm": [_DIGITS, _BYTES], "gpt-2": [_BYTES]}


class GgufFile:
    """An open file. Raises WeightsError for what is no GGUF file of a Llama model, ImportError without `gguf`."""

    def __init__(self, path: Path) -> None:
        try:
            import gguf
        except ImportError:
            raise ImportError('GGUF files need the gguf package: pip install "opencwm[hf]"') from None
        self.place = str(path)
        self._dequantised = gguf.quants.dequantize
        try:
            reader = gguf.GGUFReader(path)
            self.fields: dict[str, Any] = {name: field.contents() for name, field in reader.fields.items()}
        except Exception as error:  # the reader trusts its input: it fails in any way
            raise WeightsError(f"{path} is not a readable GGUF file ({error}): fetch it again") from error
        self._tensors = {tensor.name: tensor for tensor in reader.tensors}
        if self.fields.get("general.architecture") != "llama":
            raise WeightsError(
                f"{path} holds a model of architecture {self.fields.get('general.architecture')!r}: "
                "this version reads 'llama'"
            )

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tuple(int(size) for size in reversed(t.shape)) for name, t in self._tensors.items()}

    def read(self, name: str) -> Tensor:
        tensor = self._tensors[name]
        try:
            values = self._dequantised(tensor.data, tensor.tensor_type)
        except Exception as error:
            raise WeightsError(f"{self.place}: tensor {name} cannot be read ({error}): fetch the file again") from error
        return torch.from_numpy(np.array(values, dtype=np.float32)).view(self.shapes()[name])

    def config(self) -> ModelConfig:
        """The model's shape. Raises WeightsError where the file does not tell it."""
        shapes = self.shapes()
        try:
            vocabulary, dim = shapes[GGUF.embedding]
            heads = int(self.fields["llama.attention.head_count"])
            return ModelConfig(
                vocab_size=vocabulary,
                dim=dim,
                layers=int(self.fields["llama.block_count"]),
                heads=heads,
                kv_heads=int(self.fields.get("llama.attention.head_count_kv", heads)),
                head_dim=int(self.fields.get("llama.attention.key_length", dim // heads)),
                ffn_dim=int(self.fields["llama.feed_forward_length"]),
                norm_eps=float(f"{self.fields['llama.attention.layer_norm_rms_epsilon']:.6g}"),
                rope_theta=float(self.fields.get("llama.rope.freq_base", 10_000.0)),
                max_positions=int(self.fields["llama.context_length"]),
                tie_embeddings=GGUF.output not in shapes,
            )
        except (KeyError, ValueError) as error:
            raise WeightsError(
                f"{self.place} does not tell the model's shape ({error}): fetch the file again"
            ) from error

    def model(self) -> Transformer:
        """The model, in float32. Raises WeightsError."""
        config = self.config()
        pieces = dict(GGUF.pieces(config))
        return assemble(config, pieces, self, says="its header", dtype=torch.float32, device="cpu")

    def special_tokens(self) -> dict[str, int]:
        """Ids of the begin, end and padding tokens, under the names of a Hugging Face config."""
        known = (("bos", "bos"), ("eos", "eos"), ("pad", "padding"))
        found = {short: self.fields.get(f"tokenizer.ggml.{name}_token_id") for short, name in known}
        return {f"{short}_token_id": int(token) for short, token in found.items() if token is not None}

    def tokenizer(self) -> dict[str, Any]:
        """The contents of `tokenizer.json`. Raises WeightsError for a tokenizer that is no known byte-level BPE."""
        kind, split = self.fields.get("tokenizer.ggml.model"), self.fields.get("tokenizer.ggml.pre")
        if kind != "gpt2" or split not in _SPLITS:
            raise WeightsError(
                f"{self.place}: tokenizer {kind!r} with the split {split!r}; known are gpt2 with {', '.join(_SPLITS)}"
            )
        tokens: list[str] = self.fields["tokenizer.ggml.tokens"]
        types: list[int] = self.fields["tokenizer.ggml.token_type"]
        flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
        special = [
            {"id": number, "content": token, **flags}
            for number, (token, kind) in enumerate(zip(tokens, types, strict=True))
            if kind == _CONTROL
        ]
        return {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": special,
            "normalizer": None,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": _SPLITS[split]},
            "post_processor": None,
            "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": None,
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": False,
                "byte_fallback": False,
                "ignore_merges": False,
                "vocab": {token: number for number, token in enumerate(tokens)},
                "merges": [merge.split(" ") for merge in self.fields["tokenizer.ggml.merges"]],
            },
        }

    def tokenizer_config(self) -> dict[str, Any]:
        """The contents of `tokenizer_config.json`: special tokens and the chat template."""
        tokens: list[str] = self.fields["tokenizer.ggml.tokens"]
        values: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
        values["model_max_length"] = int(self.fields["llama.context_length"])
        for name, token in self.special_tokens().items():
            values[name.removesuffix("_id")] = tokens[token]
        if "tokenizer.chat_template" in self.fields:
            values["chat_template"] = self.fields["tokenizer.chat_template"]
        return values
