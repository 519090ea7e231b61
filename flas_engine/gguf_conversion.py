"""Turn a GGUF file into a folder that transformers and safetensors read: config, weights, tokenizer.

transformers unpacks the blocks; here is what it leaves to its caller, and what it gets wrong. Knows nothing of where
the file comes from and where the folder belongs.
"""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Any

from flas_engine.errors import FlasError, ModelError
from flas_engine.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from flas_engine.progress import ReportProgress

log = logging.getLogger(__name__)

_SMOLLM_PRE_TOKENIZER = "smollm"


def convert_gguf(source: Path, target: Path, report: ReportProgress) -> None:
    """Write the model in `source` into the existing folder `target`, weights unpacked and rounded to bfloat16.

    bfloat16 because both models were published in it, and the demo's flow was trained on these very weights: half the
    disk, nothing to cast when the engine loads them, and the greedy texts that came with the flow come out as they
    stand (twelve of twelve; of the unrounded weights eleven). Raises `ModelError` when the file cannot be read, and
    whatever `report` raises.
    """
    try:
        from gguf import GGUFReader
    except ImportError:
        raise ModelError(f'reading {source.name} needs the gguf package; run: pip install "flas-tui[demo]"') from None
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    name = source.name
    report(Progress(activity=f"reading {name}"))
    try:
        with _bars_reported_to(report):
            model = AutoModelForCausalLM.from_pretrained(
                source.parent, gguf_file=name, quantization_config=GgufConfig(dequantize=True), dtype=torch.bfloat16
            )
        report(Progress(activity=f"reading the tokenizer of {name}"))
        tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=name)
        pre_tokenizer = _read_field(GGUFReader(source), "tokenizer.ggml.pre")
    except ImportError as error:
        needed = str(error).strip().splitlines()[0]
        raise ModelError(f'{name} cannot be read ({needed}); run: pip install "flas-tui[demo]"') from None
    except FlasError:
        raise
    except Exception as error:  # a damaged file fails anywhere in the readers, with whatever error that brings
        log.exception("%s could not be read", source)
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(f"{source} is no readable GGUF model ({reason}); fetch the file again") from None
    if pre_tokenizer == _SMOLLM_PRE_TOKENIZER:
        _split_digits_first(tokenizer)
    report(Progress(activity=f"writing {target.name}"))
    _forget_quantisation(model)
    with _bars_reported_to(report):
        model.save_pretrained(target)
    tokenizer.save_pretrained(target)


def _forget_quantisation(model: Any) -> None:
    """Drop what still calls the plain weights quantised: it would refuse to be saved, or to be loaded."""
    model.config._name_or_path = ""
    for attribute in ("quantization_config", "_pre_quantization_dtype"):
        if hasattr(model.config, attribute):
            delattr(model.config, attribute)
    model.hf_quantizer = None
    model.is_quantized = False


def _split_digits_first(tokenizer: Any) -> None:
    """Mend what the GGUF reader drops: SmolLM splits digits off before anything else.

    Without it two spaces before a digit, for one, come out as two tokens where the model was trained on one.
    """
    from tokenizers import pre_tokenizers

    backend = tokenizer.backend_tokenizer
    digits = pre_tokenizers.Digits(individual_digits=True)
    backend.pre_tokenizer = pre_tokenizers.Sequence([digits, backend.pre_tokenizer])


def _read_field(reader: Any, name: str) -> object:
    field = reader.get_field(name)
    return None if field is None else field.contents()


@contextlib.contextmanager
def _bars_reported_to(report: ReportProgress) -> Iterator[None]:
    """Keep transformers from drawing bars on stderr, over whatever is shown there.

    The one that tells how far it is becomes a report; the others stay away.
    """
    import transformers.modeling_gguf_pytorch_utils as reading
    from transformers.utils import logging

    def watched(tensors: Iterable[Any], **_: object) -> Iterator[Any]:
        listed = list(tensors)
        for done, tensor in enumerate(listed):
            report(Progress(activity="unpacking the weights", done=done, total=len(listed)))
            yield tensor

    had_bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    original = reading.__dict__["tqdm"]
    reading.__dict__["tqdm"] = watched
    try:
        yield
    finally:
        reading.__dict__["tqdm"] = original
        if had_bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
