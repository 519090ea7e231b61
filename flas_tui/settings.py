"""The user's settings: one TOML file, edited by hand or by the app, comments kept.

Every setting is in one table, `SETTINGS`: how it is checked and what to say when a value is wrong. Unknown keys are
mistakes too, since a misspelt setting that does nothing is worse than a message. Knows nothing of Textual: whether a
theme exists or an action has such a name is checked by the app, which knows them.
"""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flas_engine.atomic import write_atomically
from flas_engine.errors import FlasError
from flas_engine.paths import config_dir
from flas_engine.request import FLOW_TIME_LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


class SettingsError(FlasError):
    """A settings file that cannot be read or written, or that says something it may not."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the user has chosen; None leaves the choice to the app."""

    theme: str | None = None
    lite: bool | None = None
    """Draw little, for slow lines."""
    model: str | None = None
    """What to load when the command line names no model."""
    flow_time_range: tuple[float, float] = (0.0, 4.0)
    """The ends of the slider."""
    resteer_on_move: bool = False
    """Whether moving T acts on the whole answer, written or being written; else it acts from here on."""
    keep_seed: bool = True
    """Whether a new answer keeps the seed of the one before, so that only what was changed differs."""
    mark_difference: bool = True
    max_new_tokens: int = 256
    keys: Mapping[str, str] = field(default_factory=dict)
    """By action: keys in place of its own, separated by commas."""


@dataclass(frozen=True, kw_only=True)
class _Setting:
    allowed: str
    """What is allowed, in the user's words, with an example."""
    read: Callable[[Any], Any]
    """Return the value as `Settings` holds it; raises `ValueError` when it is not allowed."""


def default_settings_path() -> Path:
    """Where this user's settings lie on this system."""
    return config_dir() / "settings.toml"


def load_settings(path: Path | None = None) -> Settings:
    """Read the settings; no file means the defaults. Raises `SettingsError` for anything that is not allowed."""
    path = path or default_settings_path()
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Settings()
    except OSError as error:
        raise SettingsError(f"cannot read the settings {path} ({error.strerror}); check its permissions") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"the settings {path} are not valid TOML: {error}; mend that place") from error
    return Settings(**{key: _check(path, key, value) for key, value in data.items()})


def save_setting(key: str, value: Any, path: Path | None = None) -> None:
    """Set `key` in the file, or take it out when `value` is None; the rest of the file stays as it is written."""
    import tomlkit  # only to write; the start of the app reads with tomllib
    import tomlkit.exceptions

    path = path or default_settings_path()
    if value is not None:
        _check(path, key, value)
    try:
        document = tomlkit.parse(path.read_text(encoding="utf-8")) if path.exists() else tomlkit.document()
        if value is None:
            document.pop(key, None)
        else:
            document[key] = value
        write_atomically(path, tomlkit.dumps(document))
    except OSError as error:
        raise SettingsError(f"cannot write the settings {path} ({error.strerror}); check its permissions") from error
    except (tomlkit.exceptions.TOMLKitError, UnicodeDecodeError) as error:
        raise SettingsError(f"the settings {path} are not valid TOML: {error}; mend that place first") from error


def _check(path: Path, key: str, value: Any) -> Any:
    setting = SETTINGS.get(key)
    if setting is None:
        raise SettingsError(f"{path}: there is no setting {key!r}; there are {', '.join(SETTINGS)}")
    try:
        return setting.read(value)
    except ValueError:
        raise SettingsError(f"{path}: {key} is {value!r}; it must be {setting.allowed}") from None


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError
    return value


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _flow_time(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= FLOW_TIME_LIMIT:
        raise ValueError
    return float(value)


def _range(value: Any) -> tuple[float, float]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError
    low, high = map(_flow_time, value)
    if not low < high:
        raise ValueError
    return low, high


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < math.inf:
        raise ValueError
    return value


def _keys(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ValueError
    return {_text(action): _text(keys) for action, keys in value.items()}


_YES_NO = _Setting(allowed="true or false", read=_truth)

SETTINGS: dict[str, _Setting] = {
    "theme": _Setting(allowed='the name of a theme in quotes, for example "flas-dark"', read=_text),
    "lite": _YES_NO,
    "model": _Setting(allowed='a model\'s name in quotes, for example "demo"', read=_text),
    "flow_time_range": _Setting(
        allowed=f"two numbers from {-FLOW_TIME_LIMIT:g} to {FLOW_TIME_LIMIT:g}, the lower first, for example [0, 4]",
        read=_range,
    ),
    "resteer_on_move": _YES_NO,
    "keep_seed": _YES_NO,
    "mark_difference": _YES_NO,
    "max_new_tokens": _Setting(allowed="a whole number from 1 on, for example 256", read=_count),
    "keys": _Setting(allowed='a table of actions and their keys, for example {rerun = "r,f5"}', read=_keys),
}
