"""Turn a GGUF file into a folder that transformers and safetensors read: config, weights, tokenizer.

transformers unpacks the blocks; here is what it leaves to its caller, and what it gets wrong. Knows nothing of where
the file comes from and where the folder belongs.

The work is done in a process of its own (`convert_apart`): it parses for many seconds without a pause, which would
freeze an app in the same process, and torch's threads cannot be left behind when that one ends.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import selectors
import subprocess
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flas_engine.errors import FlasError, ModelError
from flas_engine.hub.watched import POLL_SECONDS
from flas_engine.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from flas_engine.hub.watched import Watch
    from flas_engine.progress import ReportProgress

_SMOLLM_PRE_TOKENIZER = "smollm"


def convert_apart(source: Path, target: Path, watch: Watch) -> None:
    """Do `convert_gguf` in a process of its own, which ends at once when `watch` is called off or this one dies."""
    root = str(Path(__file__).resolve().parents[1])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-m", "flas_engine.hub.gguf_conversion", str(source), str(target)]
    environment = os.environ | {"PYTHONPATH": path, "HF_HUB_OFFLINE": "1"}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL) as process:
        try:
            for line in _lines(process, watch):
                _take(json.loads(line), watch)
        finally:
            process.kill()
    if not (target / "config.json").exists():
        raise ModelError(f"converting {source.name} ended early; is memory short? close other programs and try again")


def _lines(process: subprocess.Popen[bytes], watch: Watch) -> Iterator[bytes]:
    """Give out what the process prints, a line at a time, and look up several times a second."""
    assert process.stdout is not None
    pending = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            watch.check()
            if not selector.select(timeout=POLL_SECONDS):
                continue
            block = os.read(process.stdout.fileno(), 65536)
            if not block:
                return
            *lines, pending = (pending + block).split(b"\n")
            yield from lines


def _take(message: dict[str, Any], watch: Watch) -> None:
    if "progress" in message:
        watch.report(Progress(**message["progress"]))
    elif "errno" in message:
        raise OSError(message["errno"], message["strerror"])
    else:
        raise ModelError(message["error"])


def convert_gguf(source: Path, target: Path, report: ReportProgress) -> None:
    """Write the model in `source` into the existing folder `target`, weights unpacked and rounded to bfloat16.

    bfloat16 because both models were published in it, and the demo's flow was trained on these very weights: half the
    disk, nothing to cast when the engine loads them, and the greedy texts that came with the flow come out as they
    stand (twelve of twelve; of the unrounded weights eleven). Raises `ModelError` when the file cannot be read, and
    whatever `report` raises.
    """
    name = source.name
    report(Progress(activity=f"reading {name}"))
    try:
        from gguf import GGUFReader
    except ImportError:
        raise ModelError(f'reading {source.name} needs the gguf package; run: pip install "flas-tui[demo]"') from None
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    try:
        with _counted_by(report):
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
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(f"{source} is no readable GGUF model ({reason}); fetch the file again") from None
    if pre_tokenizer == _SMOLLM_PRE_TOKENIZER:
        _split_digits_first(tokenizer)
    report(Progress(activity=f"writing {target.name}"))
    _forget_quantisation(model)
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    _write_densely(target / "tokenizer.json")


def _write_densely(tokenizer: Path) -> None:
    """Write a tokenizer's file anew, half as long: Gemma's is then read in half the time, at every start."""
    content = json.loads(tokenizer.read_text(encoding="utf-8"))
    merges = content["model"].get("merges", [])
    if not any(" " in token for pair in merges for token in pair):
        content["model"]["merges"] = [" ".join(pair) for pair in merges]
    tokenizer.write_text(json.dumps(content, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")


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
def _counted_by(report: ReportProgress) -> Iterator[None]:
    """Within, report each tensor that transformers unpacks; it would draw a bar of its own."""
    import transformers.modeling_gguf_pytorch_utils as reading

    def counted(tensors: Iterable[Any], **_: object) -> Iterator[Any]:
        listed = list(tensors)
        for done, tensor in enumerate(listed):
            report(Progress(activity="unpacking the weights", done=done, total=len(listed)))
            yield tensor

    original = reading.__dict__["tqdm"]
    reading.__dict__["tqdm"] = counted
    try:
        yield
    finally:
        reading.__dict__["tqdm"] = original


def _main(source: str, target: str) -> None:
    """Convert for the process that started this one: a JSON object a line on stdout, gone as soon as it is gone."""
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    try:
        convert_gguf(Path(source), Path(target), lambda progress: _send({"progress": asdict(progress)}))
    except FlasError as error:
        _send({"error": str(error)})
    except Exception as error:  # what writes safetensors has an error of its own for a full disk
        full = os.strerror(errno.ENOSPC)
        if full in str(error):
            _send({"errno": errno.ENOSPC, "strerror": full})
        else:
            _send({"error": f"converting {Path(source).name} failed ({type(error).__name__}: {error})"})


def _send(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def _leave_with_parent() -> None:
    sys.stdin.buffer.read()  # ends when the other process closes its end, however it dies
    os._exit(1)


if __name__ == "__main__":
    _main(*sys.argv[1:])
