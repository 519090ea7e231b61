"""Write a small text file whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def write_atomically(path: Path, text: str) -> None:
    """Put `text` in the place of what `path` held, in UTF-8; raises `OSError`, and then the file is as it was.

    A link stays a link: settings often lie in a folder of dotfiles. The file's permissions stay, too; those of a new
    one are the user's default.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    target = path.resolve()
    unfinished = target.with_name(f".{target.name}-{secrets.token_hex(4)}")
    try:
        with unfinished.open("x", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, unfinished)
        unfinished.replace(target)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
