"""Settings say what is wrong with them, and saving one leaves the rest of the file as its owner wrote it."""

from __future__ import annotations

import os
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import pytest
import tomlkit
from hypothesis import given
from hypothesis import strategies as st

from flas_tui.settings import SETTINGS, Settings, SettingsError, load_settings, save_setting

if TYPE_CHECKING:
    from pathlib import Path

GOOD: dict[str, Any] = {
    "theme": "nord",
    "lite": True,
    "model": "gemma-2-2b-it",
    "flow_time_range": (-2.0, 6.5),
    "resteer_on_move": True,
    "keep_seed": False,
    "mark_difference": False,
    "max_new_tokens": 64,
    "keys": {"rerun": "f5,r", "quit": "ctrl+q"},
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config" / "settings.toml"


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def test_no_file_means_the_defaults(path: Path) -> None:
    assert load_settings(path) == Settings()


def test_every_setting_has_a_check_and_a_good_value_here() -> None:
    assert set(SETTINGS) == {field.name for field in fields(Settings)} == set(GOOD)


def test_every_setting_that_is_saved_is_loaded(path: Path) -> None:
    for key, value in GOOD.items():
        save_setting(key, value, path)
    assert load_settings(path) == Settings(**GOOD)


def test_saving_keeps_comments_order_and_spacing(path: Path) -> None:
    written(path, '# mine\ntheme   = "nord"   # at night\n\n[keys]\n# old habit\nrerun = "f5"\n')
    save_setting("theme", "light", path)
    save_setting("lite", True, path)
    text = path.read_text()
    assert '# mine\ntheme   = "light"   # at night\n' in text
    assert '[keys]\n# old habit\nrerun = "f5"\n' in text
    assert load_settings(path) == Settings(theme="light", lite=True, keys={"rerun": "f5"})


def test_saving_none_goes_back_to_the_default(path: Path) -> None:
    written(path, 'theme = "nord"\nmodel = "demo"\n')
    save_setting("theme", None, path)
    save_setting("lite", None, path)
    assert path.read_text() == 'model = "demo"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lit = true", "there is no setting 'lit'; there are theme, lite, model"),
        ("lite = 1", "lite is 1; it must be true or false"),
        ('lite = "yes"', "lite is 'yes'; it must be true or false"),
        ("theme = 3", "theme is 3; it must be the name of a theme in quotes"),
        ('model = " "', "model is ' '; it must be a model's name in quotes"),
        ("flow_time_range = [3, 1]", r"flow_time_range is \[3, 1\]; it must be two numbers from -8 to 8"),
        ("flow_time_range = [0, 9]", "from -8 to 8"),
        ("flow_time_range = [nan, 4]", "from -8 to 8"),
        ("flow_time_range = 4", "the lower first"),
        ("max_new_tokens = 0", "max_new_tokens is 0; it must be a whole number from 1"),
        ("max_new_tokens = true", "a whole number"),
        ("keys = 'r'", "a table of actions and their keys"),
        ("[keys]\nrerun = 5", "a table of actions and their keys"),
        ("theme = ", "are not valid TOML.*mend that place"),
    ],
)
def test_what_is_wrong_is_told_with_file_value_and_what_is_allowed(path: Path, text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        load_settings(written(path, text))
    assert str(path) in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 2


def test_bytes_that_are_no_text_are_told(path: Path) -> None:
    written(path, "").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="not valid TOML"):
        load_settings(path)
    with pytest.raises(SettingsError, match="not valid TOML"):
        save_setting("lite", True, path)


def test_a_bad_value_is_not_saved(path: Path) -> None:
    with pytest.raises(SettingsError, match="max_new_tokens is -1"):
        save_setting("max_new_tokens", -1, path)
    with pytest.raises(SettingsError, match="there is no setting 'colour'"):
        save_setting("colour", "red", path)
    assert not path.exists()


def test_a_place_that_cannot_be_written_is_told_and_nothing_is_left_behind(tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("in the way")
    with pytest.raises(SettingsError, match="cannot write the settings"):
        save_setting("lite", True, blocker / "settings.toml")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_link_to_the_settings_stays_a_link(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "dotfiles.toml"
    target.write_text("lite = false\n")
    path.parent.mkdir()
    path.symlink_to(target)
    save_setting("lite", True, path)
    assert path.is_symlink()
    assert target.read_text() == "lite = true\n"
    assert os.listdir(path.parent) == ["settings.toml"]  # noqa: PTH208


@given(
    st.dictionaries(st.text(max_size=8), st.booleans() | st.integers() | st.text(max_size=8), min_size=1, max_size=3)
)
def test_a_table_of_unknown_settings_is_always_a_mistake_that_is_told(
    tmp_path_factory: pytest.TempPathFactory, data: dict[str, Any]
) -> None:
    path = tmp_path_factory.mktemp("settings") / "settings.toml"
    path.write_text(
        tomlkit.dumps({f"unknown-{key}": value for key, value in data.items()}), encoding="utf-8", newline=""
    )
    with pytest.raises(SettingsError, match=r"there is no setting .unknown-"):
        load_settings(path)
