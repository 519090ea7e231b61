"""Small files are written whole, keep what they are, and are as the user's other files."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from flas_engine.atomic import write_atomically

if TYPE_CHECKING:
    from pathlib import Path


def permissions(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_file_has_the_permissions_of_any_other_new_file(tmp_path: Path) -> None:
    write_atomically(tmp_path / "ours.txt", "a")
    (tmp_path / "other.txt").write_text("a", encoding="utf-8")
    assert permissions(tmp_path / "ours.txt") == permissions(tmp_path / "other.txt")


@pytest.mark.parametrize("mode", [0o600, 0o664])
def test_a_file_that_is_replaced_keeps_its_permissions(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text("before", encoding="utf-8")
    path.chmod(mode)
    write_atomically(path, "after")
    assert (path.read_text(encoding="utf-8"), permissions(path)) == ("after", mode)


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "dotfiles").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "dotfiles" / "settings.toml")
    write_atomically(tmp_path / "link", "a")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "dotfiles" / "settings.toml").read_text(encoding="utf-8") == "a"


def test_what_fails_half_way_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "settings.toml"
    path.write_text("before", encoding="utf-8")

    def full(handle: int) -> None:
        del handle
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, "after")
    assert path.read_text(encoding="utf-8") == "before"
    assert list(tmp_path.iterdir()) == [path]
