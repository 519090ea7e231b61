"""The rail on the left: concepts used before or suggested, and earlier runs; one at a time, chosen by two tabs.

Reads the history, searches, pins and forgets in it, and says what was picked; what comes of that is the screen's
business.
"""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, ClassVar, Literal

from textual import on
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, Label, OptionList
from textual.widgets.option_list import Option

from flas_engine.concept_library import LibraryConcept
from flas_engine.errors import FlasError
from flas_tui.history import ConceptUse, RunEntry
from flas_tui.safe_text import visible_line
from flas_tui.widgets.line_input import LineInput

if TYPE_CHECKING:
    from collections.abc import Iterator

    from textual import events
    from textual.app import ComposeResult

    from flas_tui.history import History
    from flas_tui.run_record import RunRecord

MOST_ENTRIES = 200

Tab = Literal["concepts", "history"]


def describe_age(moment: datetime, now: datetime) -> str:
    """Return how long ago `moment` was, in one short word."""
    seconds = (now - moment).total_seconds()
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size:.0f}{unit}"
    return "now"


class RailTab(Label):
    """One of the two words at the top."""

    class Chosen(Message):
        """The tab was clicked."""

        def __init__(self, tab: str) -> None:
            super().__init__()
            self.tab = tab

    def on_click(self) -> None:
        """Choose this tab."""
        self.post_message(self.Chosen(str(self.id).removeprefix("tab-")))


class RailList(OptionList):
    """A list that the arrow keys move sideways out of, and letters up and down."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "cursor_down", show=False),
        Binding("k", "cursor_up", show=False),
        Binding("g", "first", show=False),
        Binding("G", "last", show=False),
    ]


class HistoryPanel(Vertical):
    """Tabs Concepts and History; posts `ConceptPicked`, `SuggestionPicked`, `RunPicked` and `Failed`."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,right", "other_tab", "the other tab", show=False),
        Binding("p", "pin", "keep a concept at the top", show=False),
        Binding("delete,x", "forget", "forget the entry", show=False),
    ]
    KEYS_HELP: ClassVar[tuple[tuple[str, str], ...]] = (
        ("Enter", "use the concept with its last T, or bring the run back"),
        ("← →", "the other tab"),
        ("/", "search the runs: words of prompt, concept or text"),
        ("p", "keep the concept at the top, or no longer"),
        ("x Delete", "forget the entry"),
    )

    class ConceptPicked(Message):
        """A concept was chosen, to be used again."""

        def __init__(self, use: ConceptUse) -> None:
            super().__init__()
            self.use = use

    class SuggestionPicked(Message):
        """A concept of the flow's own library was chosen."""

        def __init__(self, entry: LibraryConcept) -> None:
            super().__init__()
            self.entry = entry

    class RunPicked(Message):
        """A run was chosen, to be brought back."""

        def __init__(self, record: RunRecord) -> None:
            super().__init__()
            self.record = record

    class Failed(Message):
        """The history could not be read or written."""

        def __init__(self, error: FlasError) -> None:
            super().__init__()
            self.error = error

    def __init__(self, history: History | None, *, id: str) -> None:
        super().__init__(id=id)
        self._history = history
        self._tab: Tab = "concepts"
        self._concepts: list[ConceptUse | LibraryConcept] = []
        self._library: tuple[LibraryConcept, ...] = ()
        self._runs: list[RunEntry] = []
        self._lists: dict[Tab, RailList] = {
            "concepts": RailList(id="concept-list", markup=False),
            "history": RailList(id="run-list", markup=False),
        }
        self._search = LineInput(placeholder="/ search", id="run-search")
        self._empty = Label("", classes="hint", markup=False)

    def compose(self) -> ComposeResult:
        """Tabs over the lists."""
        with Horizontal(classes="tabs"):
            yield RailTab("Concepts", id="tab-concepts")
            yield RailTab("History", id="tab-history")
        yield self._search
        yield self._empty
        yield from self._lists.values()

    def on_mount(self) -> None:
        """Begin with the concepts."""
        self.show_tab("concepts")
        self.reload()

    def show_tab(self, tab: Tab) -> None:
        """Show one of the lists."""
        self._tab = tab
        for name, entries in self._lists.items():
            entries.display = name == tab
            self.query_one(f"#tab-{name}").set_class(name == tab, "-chosen")
        self._search.display = tab == "history"
        self._tell_empty()

    def focus_tab(self, tab: Tab) -> None:
        """Show one of the lists and give it the focus."""
        self.show_tab(tab)
        self.screen.set_focus(self._lists[tab])  # at once: the next key may be here already

    def suggest(self, library: tuple[LibraryConcept, ...]) -> None:
        """List `library` after the concepts that were used."""
        if library != self._library:
            self._library = library
            self.reload()

    def reload(self) -> None:
        """Read the history again."""
        used: list[ConceptUse] = []
        if self._history is not None:
            with self._failing():
                used = self._history.concepts(MOST_ENTRIES)
                self._runs = self._history.entries(MOST_ENTRIES, self._search.value)
        known = {use.text for use in used}
        self._concepts = [*used, *(entry for entry in self._library if entry.concept not in known)]
        now = datetime.now(UTC)
        self._fill("concepts", [_describe_concept(entry, now) for entry in self._concepts])
        self._fill("history", [_describe_run(run, now) for run in self._runs])

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except FlasError as error:
            self.post_message(self.Failed(error))

    def _fill(self, tab: Tab, entries: list[Content]) -> None:
        highlighted = self._lists[tab].highlighted
        self._lists[tab].set_options([Option(entry) for entry in entries])
        if entries:
            self._lists[tab].highlighted = min(highlighted or 0, len(entries) - 1)
        self._tell_empty()

    def _tell_empty(self) -> None:
        hints = {
            "concepts": (self._concepts, "Concepts you use are kept here."),
            "history": (self._runs, "No run found." if self._search.value else "Runs you make are kept here."),
        }
        entries, hint = hints[self._tab]
        self._empty.display = not entries
        self._empty.update(hint)

    @property
    def _picked(self) -> ConceptUse | LibraryConcept | RunEntry | None:
        index = self._lists[self._tab].highlighted
        entries = self._concepts if self._tab == "concepts" else self._runs
        return entries[index] if index is not None and index < len(entries) else None

    def action_other_tab(self) -> None:
        """Go to the other list."""
        self.focus_tab("history" if self._tab == "concepts" else "concepts")

    def search(self) -> None:
        """Let words be typed that are looked for in the runs."""
        self.show_tab("history")
        self.screen.set_focus(self._search)

    def action_pin(self) -> None:
        """Keep the concept at the top, or no longer."""
        picked = self._picked
        if self._history is not None and isinstance(picked, ConceptUse):
            with self._failing():
                self._history.pin(picked.text, is_pinned=not picked.is_pinned)
            self.reload()

    def action_forget(self) -> None:
        """Forget the entry."""
        picked = self._picked
        if self._history is None or picked is None:
            return
        with self._failing():
            if isinstance(picked, ConceptUse):
                self._history.forget_concept(picked.text)
            elif isinstance(picked, RunEntry):
                self._history.forget_run(picked.id)
        self.reload()

    @on(RailTab.Chosen)
    def _choose_tab(self, event: RailTab.Chosen) -> None:
        event.stop()
        self.focus_tab("history" if event.tab == "history" else "concepts")

    @on(OptionList.OptionSelected)
    def _pick(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        if self._tab == "history":
            self._pick_run(self._runs[event.option_index])
        elif isinstance(entry := self._concepts[event.option_index], ConceptUse):
            self.post_message(self.ConceptPicked(entry))
        else:
            self.post_message(self.SuggestionPicked(entry))

    def _pick_run(self, entry: RunEntry) -> None:
        record = None
        if self._history is not None:
            with self._failing():
                record = self._history.run(entry.id)
        if record is None:
            self.reload()  # another program has forgotten it
        else:
            self.post_message(self.RunPicked(record))

    @on(Input.Changed)
    def _search_changed(self, event: Input.Changed) -> None:
        event.stop()
        self.reload()

    @on(Input.Submitted)
    def _search_done(self, event: Input.Submitted) -> None:
        event.stop()
        self._lists["history"].focus()

    def on_key(self, event: events.Key) -> None:
        """Leave the search with Escape or Down for the list."""
        if self._search.has_focus and event.key in {"escape", "down"}:
            event.stop()
            event.prevent_default()
            self._lists["history"].focus()


def _describe_concept(use: ConceptUse | LibraryConcept, now: datetime) -> Content:
    if isinstance(use, LibraryConcept):
        facts = f"  T {use.flow_time:.2f} · try it"
        return Content.assemble(visible_line(use.concept), "\n", (facts, "dim"))
    pin = "★ " if use.is_pinned else ""
    count = f"{use.uses} use{'s' if use.uses != 1 else ''}"
    facts = f"  T {use.last_flow_time:.2f} · {count} · {describe_age(use.last_used, now)}"
    return Content.assemble(f"{pin}{visible_line(use.text)}", "\n", (facts, "dim"))


def _describe_run(run: RunEntry, now: datetime) -> Content:
    facts = f"T {run.flow_time:.2f} · seed {run.seed} · {describe_age(run.created_at, now)}"
    concept, prompt = visible_line(run.concept or "no concept"), visible_line(run.prompt)
    return Content.assemble(concept, f"\n  {prompt}\n", (f"  {facts}", "dim"))
