"""The embedded models: found, converted once and whole, and right in what the conversion makes of them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file
from tiny_gguf import make_package
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from flas_engine.errors import Cancelled, DownloadError, ModelError
from flas_engine.hub.catalog import DEMO, DEMO_GEMMA
from flas_engine.hub.embedded import embedded_dir, ensure_embedded, is_converted, is_package_installed, terms_notice
from flas_engine.hub.gguf_conversion import convert_apart
from flas_engine.hub.watched import Watch

if TYPE_CHECKING:
    from collections.abc import Callable

    from tiny_gguf import TinyPackage

    from flas_engine.progress import Progress

PARTIAL = "tiny_model.partial-*"
CONVERT = """
import sys
sys.path[:0] = sys.argv[1:3]
from pathlib import Path
from tiny_gguf import replace_demo
from flas_engine.hub.catalog import EmbeddedData
from flas_engine.hub.embedded import ensure_embedded
data = EmbeddedData(
    parts=(("tiny_model", "tiny.gguf"),), distribution="tiny_model", install="", sha256=None, is_terms_shown=False
)
print(ensure_embedded(replace_demo("tiny_model", data)))
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TinyPackage:
    """A tiny model in a package, and an empty cache."""
    monkeypatch.setenv("FLAS_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("FLAS_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return make_package(tmp_path / "site", "tiny_model")


@pytest.fixture(scope="module")
def tiny_conversion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a converted tiny model in `cache` and its package in `site`; to be copied, not changed."""
    folder = tmp_path_factory.mktemp("tiny")
    package = make_package(folder / "site", "tiny_model")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLAS_CACHE_DIR", str(folder / "cache"))
        patch.syspath_prepend(str(folder / "site"))
        ensure_embedded(package.entry)
    return folder


@pytest.fixture
def converted(package: TinyPackage, tiny_conversion: Path, tmp_path: Path) -> TinyPackage:
    """The tiny model, in a cache that has it."""
    shutil.copytree(tiny_conversion / "cache", tmp_path / "cache")
    return package


def test_the_conversion_holds_the_unpacked_values_rounded_to_bfloat16(converted: TinyPackage) -> None:
    tensors = load_file(ensure_embedded(converted.entry) / "model.safetensors")
    for ours, theirs in [
        ("model.embed_tokens.weight", "token_embd.weight"),
        ("model.layers.0.mlp.gate_proj.weight", "blk.0.ffn_gate.weight"),
        ("model.layers.0.self_attn.v_proj.weight", "blk.0.attn_v.weight"),
        ("model.norm.weight", "output_norm.weight"),
    ]:
        assert torch.equal(tensors[ours], torch.from_numpy(converted.unpacked[theirs]).bfloat16())
    assert "lm_head.weight" not in tensors


def test_the_converted_folder_loads_in_transformers_as_it_stands(converted: TinyPackage) -> None:
    folder = ensure_embedded(converted.entry)
    assert "quantization_config" not in json.loads((folder / "config.json").read_text())
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_digits_are_split_off_before_spaces_as_smollm_was_trained(converted: TinyPackage) -> None:
    tokenizer = AutoTokenizer.from_pretrained(ensure_embedded(converted.entry))
    assert tokenizer.convert_ids_to_tokens(tokenizer("a  12").input_ids) == ["a", "ĠĠ", "1", "2"]


def test_a_conversion_reports_its_progress_and_draws_nothing(
    package: TinyPackage, capfd: pytest.CaptureFixture[str]
) -> None:
    seen: list[Progress] = []
    ensure_embedded(package.entry, seen.append)
    assert seen[0].activity == "preparing tiny_model, once"
    assert any(report.activity == "reading tiny.gguf" for report in seen)
    assert capfd.readouterr() == ("", "")


def test_a_sound_conversion_is_not_made_again(converted: TinyPackage) -> None:
    before = (ensure_embedded(converted.entry) / "model.safetensors").stat()
    after = (ensure_embedded(converted.entry) / "model.safetensors").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_conversion_outlives_its_package(converted: TinyPackage) -> None:
    folder = ensure_embedded(converted.entry)
    converted.file.unlink()
    assert not is_package_installed(converted.entry)
    assert ensure_embedded(converted.entry) == folder


def _truncate(path: Path) -> None:
    os.truncate(path, 500)


def _garble(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "flas-seal.json"])
@pytest.mark.parametrize("damage", [Path.unlink, _truncate, _garble])
def test_damage_to_any_file_is_noticed(converted: TinyPackage, name: str, damage: Callable[[Path], None]) -> None:
    assert is_converted(converted.entry)
    damage(embedded_dir(converted.entry) / name)
    assert not is_converted(converted.entry)


def test_a_broken_conversion_is_made_again_whole(converted: TinyPackage) -> None:
    weights = embedded_dir(converted.entry) / "model.safetensors"
    whole = weights.read_bytes()
    _garble(weights)
    assert (ensure_embedded(converted.entry) / "model.safetensors").read_bytes() == whole
    assert is_converted(converted.entry)


def test_what_a_killed_conversion_left_is_removed(package: TinyPackage) -> None:
    leftover = embedded_dir(package.entry).parent / "tiny_model.partial-abc" / "tiny_model"
    leftover.mkdir(parents=True)
    folder = ensure_embedded(package.entry)
    assert list(folder.parent.glob(PARTIAL)) == []


def test_a_conversion_that_is_called_off_leaves_nothing(package: TinyPackage) -> None:
    def report(progress: Progress) -> None:
        if progress.activity.startswith(("reading", "unpacking")):
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        ensure_embedded(package.entry, report)
    target = embedded_dir(package.entry)
    assert not target.exists()
    wait_until(lambda: not list(target.parent.glob(PARTIAL)))
    assert not target.exists()


def test_two_processes_at_once_both_get_the_model(package: TinyPackage) -> None:
    site, tests = package.file.parents[1], Path(__file__).parents[1]
    command = [sys.executable, "-c", CONVERT, str(site), str(tests)]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outcomes = [(process.communicate(timeout=120)[0].strip(), process.returncode) for process in started]
    assert outcomes == [(str(embedded_dir(package.entry)), 0)] * 2
    assert is_converted(package.entry)
    assert list(embedded_dir(package.entry).parent.glob(PARTIAL)) == []


def test_parts_are_put_together_and_checked(package: TinyPackage) -> None:
    content = package.file.read_bytes()
    for number, part in enumerate((content[:5000], content[5000:])):
        package.file.with_name(f"part{number}").write_bytes(part)
    assert package.entry.embedded is not None
    parts = (("tiny_model", "part0"), ("tiny_model", "part1"))
    data = replace(package.entry.embedded, parts=parts, sha256=sha256(content).hexdigest())
    assert (ensure_embedded(replace(package.entry, embedded=data)) / "model.safetensors").exists()
    broken = replace(data, sha256="0" * 64)
    with pytest.raises(ModelError, match=r"are damaged .* run: pip install --force-reinstall tiny_model"):
        ensure_embedded(replace(package.entry, name="other", embedded=broken))
    assert not embedded_dir(replace(package.entry, name="other")).exists()


def test_a_missing_package_is_named_with_the_line_that_installs_it(package: TinyPackage) -> None:
    package.file.unlink()
    with pytest.raises(ModelError, match="needs tiny-model, which is not installed; run: pip install tiny_model"):
        ensure_embedded(package.entry)


def test_a_file_that_is_no_model_is_named(package: TinyPackage) -> None:
    package.file.write_bytes(package.file.read_bytes()[:3000])
    with pytest.raises(ModelError, match=r"tiny\.gguf is no readable GGUF model"):
        ensure_embedded(package.entry)
    assert not embedded_dir(package.entry).exists()


def test_a_read_only_cache_is_said(package: TinyPackage, small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLAS_CACHE_DIR", str(small_disk / "flas"))
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(DownloadError, match=r"cannot be written \(Read-only file system\).*FLAS_CACHE_DIR"):
        ensure_embedded(package.entry)


def test_too_small_a_disk_is_refused_with_the_numbers(
    package: TinyPackage, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLAS_CACHE_DIR", str(small_disk / "flas"))
    with pytest.raises(DownloadError, match=r"converting tiny_model needs 0\.2 GB on disk and .* has 0\.1 GB free"):
        ensure_embedded(replace(package.entry, base_bytes=200_000_000))
    assert list(small_disk.iterdir()) == []


def test_a_disk_that_is_full_while_the_model_is_written_is_said(package: TinyPackage, small_disk: Path) -> None:
    target = small_disk / "target"
    target.mkdir()
    subprocess.run(["dd", "if=/dev/zero", f"of={small_disk / 'filler'}", "bs=64k"], capture_output=True)
    with pytest.raises(OSError, match="No space left on device"):
        convert_apart(package.file, target, Watch())


def test_the_gemma_terms_are_shown_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLAS_DATA_DIR", str(tmp_path))
    notice = terms_notice(DEMO_GEMMA)
    assert notice is not None
    assert "Gemma Terms of Use: https://ai.google.dev/gemma/terms" in notice
    assert terms_notice(DEMO_GEMMA) is None
    assert terms_notice(DEMO) is None


def test_the_demo_speaks_as_its_dequantised_weights_do(demo_model_dir: Path) -> None:
    """Origin: the T = 0 texts that came with the demo's flow, made from the same file, computed in float32."""
    expected = {
        "Tell me about your day.": "It's a typical Monday, and I'm happy to share a bit about my day. "
        "Today, I'm in the IT department, working on a new project",
        "What is the capital of France?": "The capital of France is Paris.",
    }
    tokenizer = AutoTokenizer.from_pretrained(demo_model_dir)
    model = AutoModelForCausalLM.from_pretrained(demo_model_dir, dtype=torch.float32)
    for prompt, text in expected.items():
        turn = [{"role": "user", "content": prompt}]
        inputs = tokenizer.apply_chat_template(turn, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        output = model.generate(**inputs, max_new_tokens=32, do_sample=False)
        new = output[0, inputs["input_ids"].shape[1] :]
        assert tokenizer.decode(new, skip_special_tokens=True) == text


def test_the_demos_config_is_smollms(demo_model_dir: Path) -> None:
    config = AutoConfig.from_pretrained(demo_model_dir)
    assert (config.model_type, config.num_hidden_layers, config.hidden_size, config.head_dim) == ("llama", 30, 576, 64)
    assert config.rope_parameters["rope_theta"] == 100_000.0
    assert config.tie_word_embeddings is True
    assert json.loads((demo_model_dir / "generation_config.json").read_text())["eos_token_id"] == 2


def test_gemmas_config_is_that_of_gemma_3(demo_gemma_dir: Path) -> None:
    config = AutoConfig.from_pretrained(demo_gemma_dir)
    assert (config.model_type, config.num_hidden_layers, config.hidden_size) == ("gemma3_text", 18, 640)
    assert (config.head_dim, config.query_pre_attn_scalar, config.sliding_window) == (256, 256, 512)
    assert [n for n, kind in enumerate(config.layer_types) if kind == "full_attention"] == [5, 11, 17]
    assert config.rope_parameters["full_attention"]["rope_theta"] == 1_000_000.0
    assert config.rope_parameters["sliding_attention"]["rope_theta"] == 10_000.0
    assert config.tie_word_embeddings is True


def test_gemma_completes_sensibly(demo_gemma_dir: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(demo_gemma_dir)
    model = AutoModelForCausalLM.from_pretrained(demo_gemma_dir, dtype=torch.float32)
    inputs = tokenizer("The three primary colours are", return_tensors="pt")
    assert inputs["input_ids"][0, 0] == tokenizer.bos_token_id
    output = model.generate(**inputs, max_new_tokens=8, do_sample=False)
    assert tokenizer.decode(output[0], skip_special_tokens=True).startswith(
        "The three primary colours are red, yellow and blue."
    )
    assert tokenizer.convert_tokens_to_ids("<end_of_turn>") == 106


def wait_until(is_true: Callable[[], bool], timeout_seconds: float = 30) -> None:
    end = time.monotonic() + timeout_seconds
    pause = threading.Event()
    while not is_true():
        assert time.monotonic() < end, "the condition did not come about"
        pause.wait(0.02)
