"""The evaluation browser: concepts by ways of answering, a score a cell, and the texts behind each.

What is known of the evaluation is the watcher's; what the table holds is `evaluation_table`'s. It only looks: closing
it leaves whatever writes or judges alone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Input, Static

from flas_engine.errors import FlasError
from flas_engine.evaluation.results import BASELINE, PROMPTING, read_plan
from flas_tui.bindings import KeyScreen, evaluation_bindings
from flas_tui.evaluated_run import EvaluatedRun, to_run
from flas_tui.evaluation_summary import describe_cell, describe_gain, describe_missing, describe_order, describe_row
from flas_tui.evaluation_table import AS_READ, BY_NAME, GAIN, MEASURE_TITLES, View, column_of, make_table
from flas_tui.evaluation_texts import find_beside, find_pairs
from flas_tui.evaluation_watcher import EvaluationWatcher, check_evaluation
from flas_tui.keymap import EVALUATION_ACTIONS
from flas_tui.safe_text import visible_line, visible_text
from flas_tui.screens.folder_prompt import FolderKind
from flas_tui.widgets.cell_texts import CellTexts
from flas_tui.widgets.evaluation_bar import EvaluationBar
from flas_tui.widgets.line_input import LineInput
from flas_tui.widgets.score_grid import ScoreGrid
from flas_tui.widgets.status_line import StatusLine

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from textual import events
    from textual.app import ComposeResult
    from textual.binding import BindingType
    from textual.timer import Timer

    from flas_engine.evaluation.results import Method
    from flas_engine.evaluation.scores import Column, EvaluatedSet
    from flas_tui.widgets.status_line import Hints

DRAW_SECONDS, LITE_DRAW_SECONDS = 0.5, 2.0
"""How often what is new is drawn."""
REST_SECONDS = 0.1
"""How long the cursor must rest before its texts are drawn beside the table: they cost more than it moving does."""
BOTH_COLUMNS = 170
"""From here on there is room for the table and the texts beside each other."""
LEAST_COLUMNS, LEAST_ROWS = 50, 12
EVALUATION_FOLDER = FolderKind(
    title="browse an evaluation", placeholder="the folder that flas-tui eval --out wrote", check=check_evaluation
)
TABLE_HINTS: Hints = (
    ("Enter", "texts"),
    ("a", "aspect"),
    ("s", "sort"),
    ("/", "filter"),
    ("o", "compare"),
    ("Esc", "close"),
    ("?", "help"),
)
TEXT_HINTS: Hints = (
    ("↑ ↓", "prompt"),
    ("← →", "T"),
    ("n N", "concept"),
    ("b", "beside"),
    ("o", "compare"),
    ("Esc", "table"),
    ("?", "help"),
)
SEARCH_HINTS: Hints = (("Enter", "keep"), ("Esc", "all concepts"))
INTRODUCTION = (
    "An evaluation, from its folder: live while texts are written and judged. A row is a concept, a column a way of "
    "answering: without the concept (base), steered at a flow time T, or asked for it in the prompt (prompt). A judge "
    "gives each text 0, 1 or 2 for the concept (C), the instruction (I) and the fluency (F); HM is their harmonic "
    "mean. Scores are means over the texts that are rated in full; the best of a row is underlined.\n\n"
    "The gain is one flow time for all concepts, the best on the mean, over prompting, or over the baseline where "
    "nothing was prompted. Judges are never mixed, and the offline one only estimates."
)


class EvaluationScreen(KeyScreen):
    """Watches the evaluation in `folder`; `open_run` gets a text to be run again, `close` ends the looking."""

    AUTO_FOCUS = "#scores"
    BINDINGS: ClassVar[list[BindingType]] = evaluation_bindings()
    HORIZONTAL_BREAKPOINTS = [(0, "-single"), (BOTH_COLUMNS, "-both")]  # noqa: RUF012  (the type is Screen's)
    introduction = INTRODUCTION
    actions = EVALUATION_ACTIONS

    def __init__(
        self,
        folder: Path,
        *,
        open_run: Callable[[EvaluatedRun], None],
        open_other: Callable[[str], None],
        close: Callable[[], None],
        is_lite: bool,
        notices: list[str] | None = None,
    ) -> None:
        super().__init__()
        self.folder = folder
        self._open_run, self._open_other, self._close = open_run, open_other, close
        self._is_lite = is_lite
        self._notices = notices or []
        self._watcher = EvaluationWatcher(folder)
        self._drawn_version = -1
        self._evaluated: EvaluatedSet | None = None
        self._view = View()
        self._beside: Method = BASELINE
        self._rest: Timer | None = None
        self._bar = EvaluationBar(id="evaluation-bar")
        self._grid = ScoreGrid(id="scores")
        self._empty = Static("reading ...", id="evaluation-empty", markup=False)
        self._facts = Static("", id="cell-facts", markup=False)
        self._texts = CellTexts(id="cell-texts")
        self._search = LineInput(placeholder="words of the concepts to keep", id="evaluation-search")
        self._status = StatusLine(id="status")

    def compose(self) -> ComposeResult:
        """Bar, table and texts, filter, status line; and a card for tiny terminals."""
        with Vertical(id="workbench"):
            yield self._bar
            with Horizontal(id="evaluation-body"):
                with Vertical(id="score-side"):
                    yield self._grid
                    yield self._empty
                    yield self._facts
                yield self._texts
            yield self._search
            yield self._status
        yield Static("", id="too-small", markup=False)

    def on_mount(self) -> None:
        """Begin to watch, and to draw what there is."""
        self._search.display = False
        self._grid.display = False
        self._show_hints()
        self._status.note_all(self._notices)
        self._watcher.start()
        self.set_interval(LITE_DRAW_SECONDS if self._is_lite else DRAW_SECONDS, self._draw_news)
        self.set_timer(0.05, self._draw_news)

    def look_at(self, folder: Path) -> None:
        """Look at another evaluation in the place of the present one."""
        self._watcher.close()
        self.folder, self._watcher = folder, EvaluationWatcher(folder)
        self._watcher.start()
        self._drawn_version, self._evaluated = -1, None
        self._status.clear()
        self.remove_class("-texts")
        self._search.value, self._search.display = "", False
        self._empty.update("reading ...")
        self._grid.display, self._empty.display = False, True

    def on_unmount(self) -> None:
        """Let the watcher's thread end."""
        self._watcher.close()

    def on_resize(self, event: events.Resize) -> None:
        """Show table and texts where there is room for both; a card where there is no room at all."""
        columns, rows = event.size
        is_tiny = columns < LEAST_COLUMNS or rows < LEAST_ROWS
        self.set_class(is_tiny, "-tiny")
        if is_tiny:
            self.query_one("#too-small", Static).update(
                f"flas needs {LEAST_COLUMNS} x {LEAST_ROWS} cells\nthese are {columns} x {rows}"
            )
        self.call_after_refresh(self._show_cell)

    def on_descendant_focus(self) -> None:
        """Show the keys that matter where the focus is now."""
        self._show_hints()

    @property
    def focused_keys(self) -> tuple[tuple[str, str], ...]:
        """The keys of what has the focus, for the help."""
        return CellTexts.KEYS_HELP if self._is_in_texts else ScoreGrid.KEYS_HELP

    @property
    def _is_in_texts(self) -> bool:
        return self.focused is not None and self._texts in self.focused.ancestors_with_self

    # Drawing

    def _draw_news(self) -> None:
        watcher = self._watcher
        with watcher.lock:
            if watcher.version == self._drawn_version:
                return
            self._drawn_version = watcher.version
            is_new = watcher.evaluated is not self._evaluated
            self._evaluated, error = watcher.evaluated, watcher.error
        self._draw_bar()
        if error is not None and self._evaluated is not None:
            self._status.error(str(error))
        elif error is not None:
            self._empty.update(Content(visible_text(str(error))))
        if is_new:
            self._draw_table()

    def _draw_bar(self) -> None:
        watcher = self._watcher
        with watcher.lock:
            num_planned, is_growing = watcher.num_planned, watcher.is_growing
        name = self.folder.absolute().name
        self._bar.show(name, self._evaluated, self._view, num_planned=num_planned, is_growing=is_growing)

    def _draw_table(self) -> None:
        if self._evaluated is None:
            return
        if not self._grid.display:
            self._grid.display, self._empty.display = True, False
            self.call_after_refresh(self._grid.focus)  # only what shows takes the focus
        self._grid.show(make_table(self._evaluated, self._view))

    @on(ScoreGrid.Moved)
    def _show_cell(self) -> None:
        """Say what the cursor is on, and show its texts where they can be seen; beside a table once it rests."""
        self._show_facts()
        if self._rest is not None:
            self._rest.stop()
        if self._is_in_texts:
            self._show_texts()
        elif self.has_class("-both"):
            self._rest = self.set_timer(REST_SECONDS, self._show_texts)

    def _show_facts(self) -> None:
        evaluated, concept, column = self._evaluated, self._grid.concept, self._column
        if evaluated is None:
            return
        lines = describe_missing(evaluated, self.folder)
        compared = self._grid.table.compared
        if concept is None or column is None:
            lines = ["no concept holds these words"]
        elif not lines and compared is not None and self._grid.column == GAIN:
            lines = [concept.concept, describe_gain(evaluated, concept, compared, self._view.measure)]
        elif not lines:
            lines = [concept.concept, describe_cell(evaluated, concept, column)]
        self._facts.update(Content("\n".join(f" {visible_line(line)}" for line in lines)), layout=False)

    def _show_texts(self) -> None:
        evaluated, concept, column = self._evaluated, self._grid.concept, self._column
        if evaluated is None or concept is None or column is None:
            return
        beside = find_beside(evaluated, column, PROMPTING if self._grid.column == GAIN else self._beside)
        self._texts.show(
            find_pairs(evaluated, concept, column, beside),
            concept=concept.concept,
            scores=describe_row(self._grid.table, concept, column.label),
            measure=self._view.measure,
            titles=(beside.label if beside is not None else "nothing beside it", column.label),
        )

    @property
    def _column(self) -> Column | None:
        """The column whose texts are meant: of the gain, those of the flow time that is compared."""
        if self._evaluated is None or self._grid.column is None:
            return None
        compared = self._grid.table.compared
        if self._grid.column == GAIN and compared is not None:
            return compared[0]
        return column_of(self._evaluated, self._grid.column)

    def _show_hints(self) -> None:
        is_searching = self.focused is self._search
        self._status.hints = SEARCH_HINTS if is_searching else TEXT_HINTS if self._is_in_texts else TABLE_HINTS

    def _look(self, **changes: object) -> None:
        """See the table in another way."""
        self._view = replace(self._view, **changes)  # type: ignore[arg-type]
        self._draw_bar()
        self._draw_table()

    # What can be done

    def action_next_measure(self) -> None:
        """Show another of the four measures."""
        names = list(MEASURE_TITLES)
        self._look(measure=names[(names.index(self._view.measure) + 1) % len(names)])

    def action_next_judge(self) -> None:
        """Show what another judge says of the same texts."""
        evaluated = self._evaluated
        if evaluated is None or len(evaluated.judges) < 2 or evaluated.judge is None:
            self._status.note("there is no other judge; flas-tui judge adds one")
            return
        slugs = [judge.slug for judge in evaluated.judges]
        place = (slugs.index(evaluated.judge.slug) + 1) % len(slugs)
        self._watcher.choose_judge(slugs[place])
        self._status.note(f"reading the judgements of {evaluated.judges[place].name}")

    def action_sort(self) -> None:
        """Sort by the column under the cursor, the other way round when it is sorted by already."""
        if self._grid.column is not None:
            self._sort_by(self._grid.column)

    def action_sort_by_gain(self) -> None:
        """Sort by the gain."""
        if self._grid.table.compared is None:
            self._status.note("there is no gain: it needs rated texts of steering and of prompting (or the baseline)")
        else:
            self._sort_by(GAIN)

    def action_sort_by_name(self) -> None:
        """Sort by concept, or as the evaluation has them."""
        self._sort_by(BY_NAME if self._view.sort != BY_NAME else AS_READ)

    @on(ScoreGrid.HeaderClicked)
    def _sort_by_clicked(self, event: ScoreGrid.HeaderClicked) -> None:
        event.stop()
        if event.key == BY_NAME:
            self.action_sort_by_name()
        else:
            self._sort_by(event.key)

    def _sort_by(self, key: str) -> None:
        is_by_value = key not in {BY_NAME, AS_READ}
        is_descending = not self._view.is_descending if key == self._view.sort else is_by_value
        self._look(sort=key, is_descending=is_descending)
        self._status.note(f"sorted {describe_order(self._view)}")

    def action_search(self) -> None:
        """Keep the concepts that hold the words typed."""
        self.remove_class("-texts")
        self._search.display = True
        self.set_focus(self._search)  # at once: what is typed next may be here already

    @on(Input.Changed, "#evaluation-search")
    def _filter(self, event: Input.Changed) -> None:
        event.stop()
        self._look(search=event.value)

    @on(Input.Submitted, "#evaluation-search")
    @on(LineInput.Browse)
    def _end_search(self) -> None:
        self._search.display = bool(self._search.value)
        self.set_focus(self._grid)

    @on(ScoreGrid.Opened)
    def action_open_texts(self) -> None:
        """Read the texts of the cell under the cursor."""
        if self._column is not None and self._grid.concept is not None:
            self.add_class("-texts")
            self._show_texts()
            self.call_after_refresh(self._texts.focus_prompts)  # only what shows takes the focus

    @on(CellTexts.Walked)
    def _walk(self, event: CellTexts.Walked) -> None:
        event.stop()
        self._grid.action_move(0, event.by)

    def action_walk_concepts(self, by: int) -> None:
        """Go to another concept."""
        self._grid.action_move(by, 0)

    def action_turn_beside(self) -> None:
        """Put the texts beside those of the baseline, or of prompting."""
        self._beside = PROMPTING if self._beside == BASELINE else BASELINE
        self._show_texts()
        self._status.note(f"steered texts stand beside {self._beside}")

    def action_open_in_compare(self) -> None:
        """Run the chosen text again in the compare screen."""
        self._show_texts()
        chosen = self._texts.chosen
        if chosen is None:
            self._status.note("no text was written here (yet)")
            return
        try:
            self._open_run(to_run(read_plan(self.folder), chosen.generation))
        except FlasError as error:
            self._status.error(str(error))

    def action_open_other(self) -> None:
        """Look at another evaluation."""
        self._open_other(f"{self.folder.absolute().parent}/")

    def action_back(self) -> None:
        """From the texts to the table, from a filter to all concepts, and from the table away."""
        self._status.clear()
        if self.focused is self._search or (self._view.search and not self._is_in_texts):
            self._search.value = ""
            self._end_search()
        elif self._is_in_texts:
            self.remove_class("-texts")
            self._grid.focus()
        else:
            self._close()
