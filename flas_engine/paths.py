"""Where flas-tui keeps its own files on this system. Knows nothing of what is in them, and creates nothing.

Downloads are not among them: those live in Hugging Face's own cache (`HF_HOME`, `HF_HUB_CACHE`). Three variables move
a folder elsewhere: `FLAS_CACHE_DIR` (converted models), `FLAS_CONFIG_DIR` (registered models, settings) and
`FLAS_DATA_DIR` (history, notices already shown).
"""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_path, user_config_path, user_data_path, user_log_path, user_state_path

APP_NAME = "flas-tui"


def cache_dir() -> Path:
    """Return the folder of what can be made again; `FLAS_CACHE_DIR` overrides it."""
    return _override("FLAS_CACHE_DIR") or user_cache_path(APP_NAME, appauthor=False)


def config_dir() -> Path:
    """Return the folder of what the user chose; `FLAS_CONFIG_DIR` overrides it."""
    return _override("FLAS_CONFIG_DIR") or user_config_path(APP_NAME, appauthor=False)


def data_dir() -> Path:
    """Return the folder of what the user made; `FLAS_DATA_DIR` overrides it."""
    return _override("FLAS_DATA_DIR") or user_data_path(APP_NAME, appauthor=False)


def state_dir() -> Path:
    """Return the folder of what is nice to have again: what was typed into chat."""
    return user_state_path(APP_NAME, appauthor=False)


def log_dir() -> Path:
    """Return the folder of logs."""
    return user_log_path(APP_NAME, appauthor=False)


def user_path(text: str | Path) -> Path:
    """Return the path that a user means, `~` being home; `~nobody`, where there is no such user, stays as it is."""
    path = Path(text)
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def assets_dir() -> Path:
    """Return the folder of shipped files: inside the package when installed from a wheel, else the repository's."""
    package = Path(__file__).resolve().parent
    shipped = package / "assets"
    return shipped if shipped.is_dir() else package.parent / "assets"


def _override(variable: str) -> Path | None:
    value = os.environ.get(variable)
    return user_path(value) if value else None
