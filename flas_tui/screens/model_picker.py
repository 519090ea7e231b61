"""The model picker: every model by name, those at hand first, with what they need against what there is.

Choosing one loads it, and downloads it first where it is missing; both are the engine's work and show in the header.
"""

from __future__ import annotations

import shutil
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from flas_tui.logs import as_flas_error
from flas_tui.safe_text import visible_line
from flas_tui.widgets.history_panel import RailList
from flas_tui.widgets.inspector import format_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.app import ComposeResult
    from textual.binding import BindingType

    from flas_engine.errors import FlasError
    from flas_engine.hub.catalog import CatalogEntry

NAME_CELLS = 24


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A model, and how it stands with it on this machine."""

    entry: CatalogEntry
    is_here: bool
    """Nothing has to be downloaded."""
    fits: bool


@dataclass(frozen=True, kw_only=True)
class Room:
    """What the machine has to offer."""

    device: str
    memory_bytes: int
    disk_bytes: int


Survey = tuple[list[Choice], Room]


def look_around() -> Survey:
    """Find out which models are here and fit, those at hand first; slow, since it imports the Hub's client."""
    from huggingface_hub import constants

    from flas_engine.hub.capacity import fits, memory_of
    from flas_engine.hub.embedded import is_package_installed
    from flas_engine.hub.registry import all_entries
    from flas_engine.hub.resolve import is_cached

    memory = memory_of(None)
    choices = [
        Choice(
            entry=entry,
            is_here=is_cached(entry) or is_package_installed(entry),
            fits=fits(entry.base_bytes + entry.flow_bytes, memory),
        )
        for entry in all_entries()
    ]
    cache = Path(constants.HF_HUB_CACHE)
    disk = next(folder for folder in (cache, *cache.absolute().parents) if folder.exists())
    room = Room(device=memory.device, memory_bytes=memory.available_bytes, disk_bytes=shutil.disk_usage(disk).free)
    return sorted(choices, key=lambda choice: not choice.is_here), room


def describe_choice(choice: Choice) -> Content:
    """One line: name, size, how it stands, and what it is."""
    entry = choice.entry
    size = format_bytes(entry.base_bytes + entry.flow_bytes) if entry.base_bytes else "?"
    state = "here" if choice.is_here else "download"
    style = "bold" if choice.is_here else ""
    return Content.assemble(
        (f"{visible_line(entry.name):<{NAME_CELLS}}", style),
        f"{size:>8}  ",
        (f"{state:<9}", "$success" if choice.is_here else "$quiet"),
        (visible_line(entry.summary) if choice.fits else "too large for this machine now", "$quiet"),
    )


def describe_needs(choice: Choice, room: Room) -> list[str]:
    """Lines about one model: what it is made of, and what it needs against what there is."""
    entry = choice.entry
    size = entry.base_bytes + entry.flow_bytes
    lines = [f"base {entry.base}" + (f" · flow {entry.flow} at layer {entry.layer}" if entry.flow else " · no flow")]
    lines.append(f"memory: {format_bytes(size)} of weights, {format_bytes(room.memory_bytes)} free on {room.device}")
    if not choice.is_here:
        lines.append(f"disk: downloads about {format_bytes(size)}, {format_bytes(room.disk_bytes)} free")
    if entry.is_gated and not choice.is_here:
        lines.append(f"gated: accept the licence at https://huggingface.co/{entry.base}, then: hf auth login")
    elif entry.licence is not None:
        lines.append(f"licence: {entry.licence.name}, {entry.licence.url}")
    return [visible_line(line) for line in lines]


class ModelPicker(ModalScreen[str | None]):
    """Closes with the name of the model that was chosen, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape,q,m", "dismiss", "Close")]

    class LookedAround(Message):
        """What there is, found in a thread of its own."""

        def __init__(self, choices: list[Choice], room: Room) -> None:
            super().__init__()
            self.choices = choices
            self.room = room

    class Failed(Message):
        """It could not be found out."""

        def __init__(self, error: FlasError) -> None:
            super().__init__()
            self.error = error

    def __init__(self, survey: Callable[[], Survey] = look_around) -> None:
        super().__init__()
        self._survey = survey
        self._choices: list[Choice] = []
        self._room: Room | None = None
        self._list = RailList(id="model-list", markup=False)
        self._facts = Static("looking at what is here ...", id="model-facts", markup=False)

    def compose(self) -> ComposeResult:
        """Lay out the list over what the highlighted model needs."""
        sheet = Vertical(self._list, self._facts, classes="sheet")
        sheet.border_title = Content("models")
        sheet.border_subtitle = Content("Enter loads, and downloads first where needed · Esc closes")
        yield sheet

    def on_mount(self) -> None:
        """Look around in a daemon thread, which no exit waits for."""
        threading.Thread(target=self._look, name="flas-models", daemon=True).start()

    def _look(self) -> None:
        try:
            self.post_message(self.LookedAround(*self._survey()))
        except Exception as error:  # of a thread: nobody else would ever hear of it
            self.post_message(self.Failed(as_flas_error(error, "looking for models")))

    @on(LookedAround)
    def _show(self, event: LookedAround) -> None:
        self._choices, self._room = event.choices, event.room
        self._list.set_options([Option(describe_choice(choice)) for choice in self._choices])
        self._list.highlighted = 0
        self._list.focus()

    @on(Failed)
    def _show_failure(self, event: Failed) -> None:
        self._facts.update(Content(visible_line(str(event.error))))

    @on(OptionList.OptionHighlighted)
    def _show_needs(self, event: OptionList.OptionHighlighted) -> None:
        if self._room is not None:
            self._facts.update(Content("\n".join(describe_needs(self._choices[event.option_index], self._room))))

    @on(OptionList.OptionSelected)
    def _choose(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._choices[event.option_index].entry.name)
