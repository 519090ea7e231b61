"""The lanes of one request while they are read and decoded: caches, masks, rotations, and the steering between.

Prompts are read below l once for all lanes that share them, those of similar lengths together, and above l a few lanes
at a time, so that the first lane can speak before the last is read. A decoding pass then moves all live lanes by one
token: masks, rotations and slots are rows of tables that are kept up to date in place, and nothing about a pass but its
numbers changes. A lane that ends stays where it is, unread, until another takes its place, or until half of the batch
is dead.

Shapes: B lanes, U different prompts, L new tokens, S slots, D hidden, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from flas_engine.cache import KVCache, round_up
from flas_engine.compiled import OP_BY_OP
from flas_engine.control import RunControl
from flas_engine.layers import embed, make_window, run_layers, to_logits
from flas_engine.pass_tables import PassTables
from flas_engine.prompt_passes import pieces, runs_above, runs_below

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from flas_engine.compiled import Functions
    from flas_engine.layers import BaseModel, Window
    from flas_engine.steering import Steering

SLOTS_AT_A_TIME, COMPILED_SLOTS_AT_A_TIME = 8, 64
"""Attention looks at a multiple of so many slots. Each one more costs a batch time, each new shape what is recorded."""
SMALL_BATCH = 4
"""Dead lanes of a batch up to this size are never cleared away: they cost next to nothing."""


class LaneBatch:
    """The decoding state of the live lanes: what has been read, layer by layer, and the steering that applies."""

    def __init__(
        self,
        base: BaseModel,
        layer: int | None,
        steering: Steering | None,
        prompts: list[list[int]],
        previous: LaneBatch | None = None,
        functions: Functions = OP_BY_OP,
        drafts: list[tuple[int, ...]] | None = None,
    ) -> None:
        """Prepare to read `prompts`, and `drafts` behind them on demand (`read_on`).

        What they share with the lanes of a batch that is over is taken from there.
        """
        self._base = base
        self._functions = functions
        self._steering = steering
        self._cut = base.architecture.num_layers if layer is None else layer + 1
        self._prompts = prompts
        texts = [(*prompt, *draft) for prompt, draft in zip(prompts, drafts or [()] * len(prompts), strict=True)]
        lengths: dict[tuple[int, ...], int] = {}
        for text, prompt in zip(texts, prompts, strict=True):
            lengths[text] = max(len(prompt), lengths.get(text, 0))
        self._texts = sorted(lengths, key=lengths.__getitem__)
        """[U]: prompts that lanes share below l; each with a draft behind it has a row of its own there."""
        self._unique = [text[: lengths[text]] for text in self._texts]
        self._prompt_of = [self._texts.index(text) for text in texts]
        self._num_stored = [0] * len(self._texts)
        """How many tokens of each text have been taken over below l."""
        self._ids = [list(prompt) for prompt in prompts]
        """What stands in each lane's slots once the prompts are read."""
        self._is_read = False
        self._live = list(range(len(prompts)))
        self._lower = self._make_cache(self._cut, len(self._unique))
        self._upper = self._make_cache(base.architecture.num_layers - self._cut, len(prompts))
        self._is_mixed = [False] * len(prompts)
        """Whether a lane's flow time changed on the way, so that no other lane can take over what was read above l."""
        longest = max(map(len, texts))
        self._activations = torch.zeros(
            len(self._unique), round_up(longest), base.architecture.hidden_size, device=base.device
        )
        """[U, S, D] and later [B, S, D], float32: what layer l handed on, before steering."""
        self._tables: PassTables | None = None
        self._reserve(longest)
        self._lower_start, self._upper_start = 0, [0] * len(prompts)
        self._prompt_logits: list[torch.Tensor | None] = [None] * len(prompts)
        """[V] a lane: what chooses the first token. A rerun takes it over, since a prompt read otherwise is rounded
        otherwise."""
        if previous is not None:
            self._take_over(previous)

    @property
    def num_bytes(self) -> int:
        """Memory that all caches take."""
        steering = self._steering.num_bytes if self._steering else 0
        activations = self._activations.numel() * self._activations.element_size()
        return self._lower.num_bytes + self._upper.num_bytes + activations + steering

    @property
    def rounding(self) -> float:
        """Half a unit in the last place: how far logits may be off, relative to the largest, however they are read."""
        return torch.finfo(self._base.dtype).eps / 2

    @property
    def num_reused(self) -> list[int]:
        """Tokens of each lane's prompt that did not have to be read, because the batch before had read them."""
        return list(self._upper_start)

    def read(self) -> Iterator[tuple[range, range, torch.Tensor]]:
        """Read the prompts; yields lanes, positions, and what the last layer handed on there [lanes, L, D].

        What it yields behind the end of a lane's own prompt means nothing. Lanes that share a start come together, few
        enough at a time that reading them at once is faster than one by one.
        """
        for _ in self._read_lower():
            pass
        for lanes in self._groups():
            for piece, h_BLD in self._read_upper(lanes):
                yield lanes, piece, h_BLD
        self._finish_reading()

    def read_lanes(self, control: RunControl | None = None) -> Iterator[tuple[range, torch.Tensor]]:
        """Read the prompts; yields lanes and the logits [lanes, V] behind each as they come; less when called off."""
        control = control or RunControl()
        for _ in self._read_lower():
            if control.is_cancelled:
                return
        for lanes in self._groups():
            if control.is_cancelled:
                return
            if self._prompt_logits[lanes.start] is None:
                last_hidden: dict[int, torch.Tensor] = {}
                for piece, h_BLD in self._read_upper(lanes):
                    if control.is_cancelled:
                        return
                    for lane in lanes:
                        if len(self._prompts[lane]) - 1 in piece:
                            last_hidden[lane] = h_BLD[lane - lanes.start, len(self._prompts[lane]) - 1 - piece.start]
                logits = to_logits(self._base, torch.stack([last_hidden[lane] for lane in lanes]))
                # A copy, because what a product returns may keep its rows of padding alive.
                self._prompt_logits[lanes.start : lanes.stop] = logits.clone().unbind()
            yield lanes, torch.stack([self._logits_behind(lane) for lane in lanes])
        self._finish_reading()

    def read_prompts(self) -> torch.Tensor:
        """Read the prompts and return the logits [B, V] behind each."""
        return torch.cat([logits for _, logits in self.read_lanes()])

    def read_on(self, lane: int, ids: Sequence[int]) -> torch.Tensor:
        """Read the next tokens of a lane's draft at once, before the first `advance`; returns the logits [L, V] behind.

        Below l only those are read that no batch before has read.
        """
        start = len(self._ids[lane])
        piece, row = range(start, start + len(ids)), slice(lane, lane + 1)
        self._ids[lane] += ids
        if new := range(max(piece.start, self._num_stored[lane]), piece.stop):
            h_1LD = embed(self._base, self._index([self._ids[lane][new.start :]]))
            h_1LD = run_layers(self._base, h_1LD, range(self._cut), self._window(new, row), self._lower)
            self._activations[row, new.start : new.stop] = h_1LD
        window = self._window(piece, row)
        h_1LD = self._activations[row, piece.start : piece.stop]
        if self._steering is not None:
            h_1LD = self._steering.transform(h_1LD, window, range(lane, lane + 1))
        upper = range(self._cut, self._base.architecture.num_layers)
        h_1LD = run_layers(self._base, h_1LD, upper, window, self._upper, self._cut)
        return to_logits(self._base, h_1LD[0])[: len(ids)]

    def take_back(self, lane: int, count: int) -> None:
        """Let a lane go on as if it had not read the last `count` tokens that it read on."""
        self._ids[lane] = self._ids[lane][: len(self._ids[lane]) - count]

    def advance(self, tokens: torch.Tensor, token_ids: list[int] | None = None) -> torch.Tensor:
        """Read one more token in every live lane and return the logits [live, V] behind it.

        `token_ids` are the same tokens, where the caller has them on the host already.
        """
        for lane, token_id in zip(self._live, tokens.tolist() if token_ids is None else token_ids, strict=True):
            self._ids[lane].append(token_id)
        tables = self._tables_for_next()
        tables.put(tokens)
        longest = max(len(self._ids[lane]) for lane in self._live)
        step = COMPILED_SLOTS_AT_A_TIME if self._functions.is_compiled else SLOTS_AT_A_TIME
        num_slots = min(-(-longest // step) * step, tables.capacity)
        if not self._functions.is_compiled or self._base.device.type != "cuda":
            return self._pass(tables, num_slots)
        kind = (num_slots, self._steering is not None and self._steering.is_needed)
        return tables.graphs.run(kind, lambda: self._pass(tables, num_slots))

    def _pass(self, tables: PassTables, num_slots: int) -> torch.Tensor:
        """Move the live lanes by a token: nothing here depends on a value that is not in a tensor."""
        window = tables.window(num_slots)
        run = self._functions.run_layer
        h_P1D = embed(self._base, tables.tokens)
        h_P1D = run_layers(self._base, h_P1D, range(self._cut), window, self._lower, 0, tables.workspace, run)
        self._activations.flatten(0, 1).index_copy_(0, tables.places, h_P1D[: len(self._ids), 0])
        if self._steering is not None:
            h_P1D = self._steering.transform(h_P1D, window, evaluate=self._functions.evaluate)
        layers = range(self._cut, self._base.architecture.num_layers)
        h_P1D = run_layers(self._base, h_P1D, layers, window, self._upper, self._cut, tables.workspace, run)
        tables.step()
        is_whole = len(self._live) == len(self._ids)
        return to_logits(self._base, h_P1D[:, 0] if is_whole else h_P1D[tables.live, 0])[: len(self._live)]

    def set_flow_time(self, row: int, flow_time: float) -> None:
        """Let the live lane at `row` go on under another flow time."""
        assert self._steering is not None
        lane = self._live[row]
        if self._steering.flow_times[lane] != flow_time:
            self._steering.set_flow_time(lane, flow_time)
            self._is_mixed[lane] = True

    def replace(self, rows: list[int], newcomers: LaneBatch) -> None:
        """Give the places of the live lanes at `rows` to the lanes of `newcomers`, whose prompts are read.

        `newcomers` may not be used any more.
        """
        lanes = [self._live[row] for row in rows]
        lengths = [len(ids) for ids in newcomers._ids]
        self._reserve(max(lengths) + 1)
        for source, (lane, length) in enumerate(zip(lanes, lengths, strict=True)):
            slots = slice(0, length)
            self._lower.copy_row(lane, newcomers._lower, source, slots)
            self._upper.copy_row(lane, newcomers._upper, source, slots)
            self._activations[lane, slots] = newcomers._activations[source, slots]
            self._ids[lane] = newcomers._ids[source]
            self._prompts[lane] = newcomers._prompts[source]
            self._prompt_logits[lane] = newcomers._prompt_logits[source]
            self._is_mixed[lane] = False
        stays = True
        if self._steering is not None and newcomers._steering is not None:
            stays = self._steering.replace(lanes, newcomers._steering, lengths, self._lower.capacity)
        if self._tables is not None and self._tables.capacity == self._lower.capacity:  # otherwise made anew
            self._tables.place(lanes, lengths)
            if not stays:
                self._tables.graphs.forget()

    def keep(self, rows: list[int]) -> None:
        """Go on with the live lanes at `rows` only."""
        self._live = [self._live[row] for row in rows]
        if len(self._ids) > SMALL_BATCH and 2 * len(self._live) <= len(self._ids):
            self._clear_dead_lanes()
        elif self._tables is not None:
            self._tables.set_live(self._live)

    def _read_lower(self) -> Iterator[None]:
        """Read the prompts below the cut, and stop behind every piece."""
        for rows in runs_below([len(ids) - self._lower_start for ids in self._unique], self._base.device):
            of_rows = slice(rows.start, rows.stop)
            for piece in pieces(self._lower_start, len(self._unique[rows[-1]])):
                padded = [[ids[p] if p < len(ids) else 0 for p in piece] for ids in self._unique[of_rows]]
                h_ULD = embed(self._base, self._index(padded))
                window = self._window(piece, of_rows)
                h_ULD = run_layers(self._base, h_ULD, range(self._cut), window, self._lower)
                self._activations[of_rows, piece.start : piece.stop] = h_ULD
                yield

    def _read_upper(self, lanes: range) -> Iterator[tuple[range, torch.Tensor]]:
        """Read the prompts of `lanes` above the cut; yields positions and what the last layer handed on there."""
        longest = max(len(self._prompts[lane]) for lane in lanes)
        of_group = self._index(self._prompt_of[lanes.start : lanes.stop])
        for piece in pieces(self._upper_start[lanes.start], longest):
            window = self._window(piece, slice(lanes.start, lanes.stop))
            h_BLD = self._activations[of_group, piece.start : piece.stop]
            if self._steering is not None:
                h_BLD = self._steering.transform(h_BLD, window, lanes)
            upper = range(self._cut, self._base.architecture.num_layers)
            yield piece, run_layers(self._base, h_BLD, upper, window, self._upper, self._cut)

    def _finish_reading(self) -> None:
        """Give every lane a row of its own below the cut too."""
        if self._prompt_of != list(range(len(self._unique))):
            prompt_of = self._index(self._prompt_of)
            self._lower.select(prompt_of)
            self._activations = self._activations[prompt_of]
        self._num_stored = [self._num_stored[row] for row in self._prompt_of]
        self._is_read = True

    def _logits_behind(self, lane: int) -> torch.Tensor:
        logits = self._prompt_logits[lane]
        assert logits is not None
        return logits

    def _groups(self) -> Iterator[range]:
        """Divide the lanes into runs that are read together above l."""
        lengths = [len(prompt) - start for prompt, start in zip(self._prompts, self._upper_start, strict=True)]
        kinds = [(start, known is None) for start, known in zip(self._upper_start, self._prompt_logits, strict=True)]
        return runs_above(lengths, kinds, self._base.device)

    def _window(self, piece: range, rows: slice) -> Window:
        positions = torch.arange(piece.start, piece.stop, device=self._base.device)[None]
        slots = slice(piece.start, piece.stop)
        return make_window(self._base.architecture, positions, slots, self._base.dtype, rows=rows)

    def _tables_for_next(self) -> PassTables:
        """Return the tables of the pass that reads the tokens added last, made anew when the caches have grown."""
        self._reserve(max(map(len, self._ids)) + 1)  # one more, where dead lanes write what means nothing
        if self._tables is None or self._tables.capacity < self._lower.capacity:
            live = set(self._live)
            positions = [len(ids) - (lane in live) for lane, ids in enumerate(self._ids)]
            self._tables = PassTables(self._base, self._lower.capacity, positions, self._functions)
            self._tables.set_live(self._live)
        return self._tables

    def _clear_dead_lanes(self) -> None:
        index = self._index(self._live)
        self._lower.select(index)
        self._upper.select(index)
        self._activations = self._activations[index]
        self._ids = [self._ids[lane] for lane in self._live]
        self._prompts = [self._prompts[lane] for lane in self._live]
        self._prompt_logits = [self._prompt_logits[lane] for lane in self._live]
        self._is_mixed = [self._is_mixed[lane] for lane in self._live]
        if self._steering is not None:
            self._steering.keep(self._live)
        self._live = list(range(len(self._live)))
        self._tables = None

    def _take_over(self, previous: LaneBatch) -> None:
        """Copy what a batch before read of the same texts: below l of any lane, above it of equally steered ones."""
        if not previous._is_read:
            return
        sources = [_longest_shared(ids, previous._ids) for ids in self._texts]
        self._num_stored = [shared for _, shared in sources]
        self._lower_start = min(map(min, self._num_stored, map(len, self._unique)))
        for row, (source, shared) in enumerate(sources):
            slots = slice(0, shared)
            self._lower.copy_row(row, previous._lower, source, slots)
            self._activations[row, slots] = previous._activations[source, slots]
        for lane, prompt in enumerate(self._prompts):
            alike = [
                ids if not previous._is_mixed[source] and previous._identity(source) == self._identity(lane) else []
                for source, ids in enumerate(previous._ids)
            ]
            source, shared = _longest_shared(prompt, alike)
            if shared == len(prompt) == len(previous._prompts[source]):
                self._prompt_logits[lane] = previous._prompt_logits[source]
            else:
                shared = min(shared, self._lower_start, len(prompt) - 1)  # the last one makes the logits
            self._upper_start[lane] = shared
            slots = slice(0, self._upper_start[lane])
            self._upper.copy_row(lane, previous._upper, source, slots)
            if self._steering is not None and previous._steering is not None and slots.stop:
                self._steering.take_over(lane, previous._steering, source, slots)

    def _identity(self, lane: int) -> tuple[object, ...]:
        return self._steering.identity(lane) if self._steering is not None else ()

    def _reserve(self, slots: int) -> None:
        self._lower.reserve(slots)
        self._upper.reserve(slots)
        if self._steering is not None:
            self._steering.reserve(slots)
        if self._activations.shape[1] < self._lower.capacity:
            B, S, D = self._activations.shape
            grown = self._activations.new_zeros(B, self._lower.capacity, D)
            grown[:, :S] = self._activations
            self._activations = grown

    def _make_cache(self, num_layers: int, rows: int) -> KVCache:
        a = self._base.architecture
        return KVCache(
            num_layers=num_layers,
            rows=rows,
            num_kv_heads=a.num_kv_heads,
            head_dim=a.head_dim,
            device=self._base.device,
            dtype=self._base.dtype,
        )

    def _index(self, values: list[int] | list[list[int]]) -> torch.Tensor:
        return torch.tensor(values, device=self._base.device)


def _longest_shared(ids: list[int] | tuple[int, ...], texts: list[list[int]]) -> tuple[int, int]:
    """Return which of `texts` begins with the most of `ids`, and with how many."""
    shared = [_num_shared(ids, text) for text in texts]
    best = max(range(len(texts)), key=shared.__getitem__)
    return best, shared[best]


def _num_shared(a: list[int] | tuple[int, ...], b: list[int]) -> int:
    shortest = min(len(a), len(b))
    return next((i for i in range(shortest) if a[i] != b[i]), shortest)
