"""Every model by name: the catalog's and those that the user registered in a TOML file of the settings folder.

A registered model is a name for a base and a flow; whether those exist is found out when it is loaded.
"""

from __future__ import annotations

import contextlib
import difflib
import re
import tomllib
from typing import TYPE_CHECKING, Any

from flas_engine.atomic import write_atomically
from flas_engine.errors import ModelError
from flas_engine.hub.catalog import BUILT_IN, HUB_SOURCE, CatalogEntry
from flas_engine.paths import config_dir, user_path

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import tomlkit

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_FIELDS = {"base": str, "flow": str, "layer": int}


def registry_path() -> Path:
    """Return the file that lists the registered models; it may not exist yet."""
    return config_dir() / "models.toml"


def all_entries() -> tuple[CatalogEntry, ...]:
    """Return the built-in entries, then the registered ones; raises `ModelError` when the registry cannot be read."""
    return BUILT_IN + read_models()


def find_entry(name: str) -> CatalogEntry:
    """Return the entry called `name`: a short name or the Hub id of a base or flow, in any case.

    Raises `ModelError` with the closest names when there is none.
    """
    entry = look_up(name)
    if entry is not None:
        return entry
    names = [entry.name for entry in all_entries()]
    close = difflib.get_close_matches(name.strip().lower(), names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else f"for example {', '.join(names[:3])}."
    raise ModelError(f"there is no model called {name!r}: {hint} All of them: flas-tui models")


def look_up(name: str) -> CatalogEntry | None:
    """Return the entry called `name` as `find_entry` does, or None."""
    wanted = name.strip().lower()
    entries = all_entries()
    for entry in entries:
        if entry.name.lower() == wanted:
            return entry
    for entry in entries:
        if not entry.is_user and wanted in {entry.base.lower(), (entry.flow or "").lower()}:
            return entry
    return None


def read_models() -> tuple[CatalogEntry, ...]:
    """Return the registered models in the file's order; raises `ModelError` when the file cannot be read."""
    path = registry_path()
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ()
    except (OSError, ValueError) as error:  # a TOML and a UTF-8 error are ValueErrors
        raise ModelError(f"the registered models in {path} cannot be read ({error}); mend or delete the file") from None
    return tuple(_read_entry(name, fields, path) for name, fields in table.items())


def add_model(name: str, *, base: str, flow: str | None = None, layer: int | None = None) -> CatalogEntry:
    """Register a model, in place of one of the same name; raises `ModelError` when it cannot be."""
    if not _NAME.fullmatch(name):
        raise ModelError(
            f"{name!r} is no usable name; take up to 64 letters, digits, '.', '_' or '-', for example my-model"
        )
    if any(entry.name == name.lower() for entry in BUILT_IN):
        raise ModelError(f"{name} is the name of a built-in model; choose another, for example my-{name}")
    fields = {"base": _absolute(base, "base"), "flow": flow and _absolute(flow, "flow"), "layer": layer}
    with _edited() as document:
        _drop(document, name)
        document[name] = {key: value for key, value in fields.items() if value is not None}
    return _read_entry(name, {key: value for key, value in fields.items() if value is not None}, registry_path())


def remove_model(name: str) -> None:
    """Forget a registered model and leave its files alone; raises `ModelError` when there is none of that name."""
    if any(entry.name == name.lower() for entry in BUILT_IN):
        raise ModelError(f"{name} is built in and cannot be removed; only registered models can: flas-tui models")
    names = [entry.name for entry in read_models()]
    with _edited() as document:
        if not _drop(document, name):
            known = ", ".join(names) or "none yet; flas-tui models add NAME --base ..."
            raise ModelError(f"no registered model is called {name!r} (registered: {known})")


def _drop(document: tomlkit.TOMLDocument, name: str) -> bool:
    """Names are told apart without regard to case, as `find_entry` looks them up."""
    same = [key for key in document if key.lower() == name.lower()]
    for key in same:
        del document[key]
    return bool(same)


def _absolute(source: str, role: str) -> str:
    """Make a path absolute, so that it means the same from every folder; a Hub repository stays as it is."""
    path = user_path(source)
    if path.exists():
        return str(path.resolve())
    if HUB_SOURCE.fullmatch(source):
        return source
    raise ModelError(f"the {role} {source!r} is neither an existing file or folder nor a Hub repository (owner/name)")


def _read_entry(name: str, fields: Any, path: Path) -> CatalogEntry:
    if not isinstance(fields, dict) or not isinstance(fields.get("base"), str):
        raise ModelError(f"{path}: [{name}] has no base; write base = 'folder or owner/name', or delete the entry")
    for key, value in fields.items():
        if key not in _FIELDS or not isinstance(value, _FIELDS[key]):
            raise ModelError(f"{path}: [{name}] has an unusable {key} = {value!r}; allowed are {', '.join(_FIELDS)}")
    return CatalogEntry(
        name=name,
        base=fields["base"],
        flow=fields.get("flow"),
        flow_file=None,
        layer=fields.get("layer"),
        prompt_format=None,
        summary="registered by you",
        is_user=True,
    )


@contextlib.contextmanager
def _edited() -> Iterator[tomlkit.TOMLDocument]:
    """Give out the file's content, comments included, and write it back if nothing goes wrong inside."""
    import tomlkit

    read_models()  # says what is wrong with the file, if anything is
    path = registry_path()
    document = tomlkit.parse(path.read_text(encoding="utf-8")) if path.exists() else tomlkit.document()
    yield document
    try:
        write_atomically(path, tomlkit.dumps(document))
    except OSError as error:
        raise ModelError(
            f"{path} cannot be written ({error.strerror}); make the folder writable or set FLAS_CONFIG_DIR"
        ) from None
