"""The engine: a base model, its flow and its tokenizer, ready to answer requests.

Everything that front ends, evaluation and training show is asked of this class; it runs no loop of its own but
`decode`.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import torch

from flas_engine.base import load_base, load_config, load_generation_eos
from flas_engine.batch import LaneBatch
from flas_engine.checkpoint import read_flow
from flas_engine.compiled import OP_BY_OP, WarmUp
from flas_engine.concept import make_encoder
from flas_engine.concept_library import LIBRARY_FILE, read_library_file
from flas_engine.control import RunControl
from flas_engine.decode import Job, decode
from flas_engine.errors import RequestError
from flas_engine.events import Finished
from flas_engine.families import read_architecture
from flas_engine.hub.resolve import resolve
from flas_engine.info import EngineInfo, LoadSpec
from flas_engine.kernels.layout import INT8, PACKED
from flas_engine.kernels.onednn import FULL_SPEED_ROWS
from flas_engine.layers import to_logits
from flas_engine.machine import choose_device, choose_dtype, choose_layout, choose_num_threads, should_compile
from flas_engine.progress import Progress, ignore_progress
from flas_engine.prompts import end_of_turn_ids, render_prompt, tokenize_plainly
from flas_engine.request import Request
from flas_engine.solvers import find_solver
from flas_engine.steering import Steering
from flas_engine.tokenizer import load_tokenizer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from transformers import PreTrainedTokenizerBase

    from flas_engine.checkpoint import Flow
    from flas_engine.compiled import Functions
    from flas_engine.concept_library import LibraryConcept
    from flas_engine.events import Event
    from flas_engine.layers import BaseModel
    from flas_engine.progress import ReportProgress
    from flas_engine.request import Lane
    from flas_engine.steering import Mix


@dataclass(frozen=True, kw_only=True)
class Score:
    """A given text under a lane: its ids, and the natural log of each one's probability given all before it."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]

    @property
    def total(self) -> float:
        """Log-probability of the whole text."""
        return sum(self.logprobs)


class Engine:
    """Answers requests on one loaded model. One thread at a time; `RunControl` is the door for the others."""

    def __init__(
        self,
        *,
        name: str,
        base_id: str,
        base: BaseModel,
        tokenizer: PreTrainedTokenizerBase,
        end_ids: frozenset[int],
        flow: Flow | None = None,
        flow_id: str | None = None,
        prompt_format: str = "chat",
        library: tuple[LibraryConcept, ...] = (),
        compiles: bool = False,
    ) -> None:
        """Take what is loaded; `compiles` begins to compile decoding passes in the background."""
        self.base = base
        self.flow = flow
        self.tokenizer = tokenizer
        self.end_ids = end_ids
        self.concepts = make_encoder(base, flow, tokenizer) if flow is not None else None
        self._last_batch: LaneBatch | None = None
        """What the last run read, for a run that begins alike."""
        config = flow.config if flow is not None else None
        a = base.architecture
        self._info = EngineInfo(
            name=name,
            base_id=base_id,
            flow_id=flow_id,
            family=a.family.name,
            layer=config.layer if config else None,
            num_layers=a.num_layers,
            num_steps=config.n_steps if config else None,
            prompt_format=prompt_format,
            context_length=a.context_length,
            device=str(base.device),
            dtype=INT8 if base.layout == INT8 else str(base.dtype).removeprefix("torch."),
            weight_bytes=base.num_bytes + (flow.field.num_bytes if flow is not None else 0),
            library=library,
        )

        self.warm_up = WarmUp(self._rehearse) if compiles else None
        """The compiler at work; None when passes run op by op."""

    @property
    def info(self) -> EngineInfo:
        """What is loaded."""
        return self._info

    @torch.inference_mode()
    def stream(self, request: Request, control: RunControl | None = None) -> Iterator[Event]:
        """Run `request` and yield its events as they happen; raises `RequestError` when it cannot be run."""
        job = self._prepare(request)
        self._last_batch = None
        try:
            yield from decode(job, control or RunControl())
        except GeneratorExit:  # the caller has enough; what was read is as good as ever
            self._last_batch = job.batch
            raise
        self._last_batch = job.batch

    def generate(self, request: Request, control: RunControl | None = None) -> tuple[Finished, ...]:
        """Run `request` to its end and return what became of each lane, in the order of the lanes."""
        finished = [event for event in self.stream(request, control) if isinstance(event, Finished)]
        return tuple(sorted(finished, key=lambda event: event.lane))

    def forget(self) -> None:
        """Drop what the last run read, which a run that begins alike would take over."""
        self._last_batch = None

    def render(self, lane: Lane) -> list[int]:
        """Return the prompt ids of a lane, up to where its answer begins; raises `RequestError` when it cannot be."""
        return render_prompt(lane.conversation, self._info.prompt_format, self.tokenizer)

    @torch.inference_mode()
    def score(self, lane: Lane, text: str, *, solver: str = "euler", num_steps: int | None = None) -> Score:
        """Give the log-probabilities of `text` as the answer of `lane`, teacher-forced in one pass over it.

        Nothing is appended to the text; raises `RequestError` when it does not fit the context.
        """
        answer = tokenize_plainly(text, self.tokenizer)
        if not answer:
            raise RequestError("the text to score is empty; give at least one word")
        (logprobs,) = self.score_ids((lane,), (answer,), solver=solver, num_steps=num_steps)
        return Score(token_ids=tuple(answer), logprobs=tuple(logprobs))

    @torch.inference_mode()
    def score_ids(
        self,
        lanes: Sequence[Lane],
        answers: Sequence[Sequence[int]],
        *,
        solver: str = "euler",
        num_steps: int | None = None,
    ) -> list[list[float]]:
        """Give the log-probability of every id of each lane's answer, all teacher-forced together.

        Lanes of one text share what lies below the flow's layer. Raises `RequestError` when one does not fit.
        """
        prompts = [self.render(lane) for lane in lanes]
        texts = [[*prompt, *answer] for prompt, answer in zip(prompts, answers, strict=True)]
        for ids in texts:
            self._check_room(ids, new_tokens=0)
        request = Request(lanes=tuple(lanes), solver=solver, num_steps=num_steps)
        self._check_concepts(lanes)
        logprobs: list[list[float]] = [[] for _ in lanes]
        for of_lanes, piece, h_BLD in self._make_batch(request, lanes, [ids[:-1] for ids in texts]).read():
            for row, lane in enumerate(of_lanes):
                first = max(len(prompts[lane]) - 1, piece.start)
                stop = min(len(texts[lane]) - 1, piece.stop)
                if first >= stop:
                    continue
                logits_LV = to_logits(self.base, h_BLD[row, first - piece.start : stop - piece.start])
                targets = torch.tensor(texts[lane][first + 1 : stop + 1], device=self.base.device)[:, None]
                logprobs[lane] += (logits_LV.gather(-1, targets)[:, 0] - logits_LV.logsumexp(-1)).tolist()
        return logprobs

    def _prepare(self, request: Request) -> Job:
        prompts = [self.render(lane) for lane in request.lanes]
        for prompt in prompts:
            self._check_room(prompt, new_tokens=1)
        self._check_concepts(request.lanes)
        self._check_ids(request.lanes)
        return Job(
            request=request,
            prompts=prompts,
            batch=self._make_batch(
                request, request.lanes[: request.max_live], prompts[: request.max_live], self._last_batch
            ),
            make_batch=partial(self._make_batch, request),
            tokenizer=self.tokenizer,
            end_ids=self.end_ids,
            context_length=self._info.context_length,
        )

    def _make_batch(
        self, request: Request, lanes: Sequence[Lane], prompts: list[list[int]], previous: LaneBatch | None = None
    ) -> LaneBatch:
        solver, steering = find_solver(request.solver), None
        if self.flow is not None and self.concepts is not None:
            encode = self.concepts.encode
            steering = Steering(
                self.flow.field,
                [tuple((encode(concept.text), concept.weight) for concept in lane.concepts) for lane in lanes],
                [lane.flow_time for lane in lanes],
                solver,
                request.num_steps or self.flow.config.n_steps,
            )
        functions = self.warm_up.functions if self.warm_up is not None else OP_BY_OP
        drafts = [lane.given + lane.draft for lane in lanes]
        return LaneBatch(self.base, self._info.layer, steering, prompts, previous, functions, drafts)

    @torch.inference_mode()
    def _rehearse(self, functions: Functions) -> None:
        """Run passes of every kind that compiles apart: one lane, a few, many, with all of them steered or not."""
        torch.set_num_threads(choose_num_threads())  # a thread begins with a count of its own
        for num_lanes, num_steered in ((1, 0), (1, 1), (2, 1), (3, 2), (FULL_SPEED_ROWS + 1, FULL_SPEED_ROWS)):
            steering = None
            if self.flow is not None:
                field, hidden = self.flow.field, self.base.architecture.hidden_size
                mix: Mix = ((field.encode_keys_values(torch.zeros(2, hidden, device=field.device)), 1.0),)
                mixes = [mix] * num_steered + [()] * (num_lanes - num_steered)
                times = [float(bool(mix)) for mix in mixes]
                steering = Steering(field, mixes, times, find_solver("euler"), 1)
            batch = LaneBatch(self.base, self._info.layer, steering, [[0, 0]] * num_lanes, functions=functions)
            batch.read_prompts()
            for _ in range(2):
                batch.advance(torch.zeros(num_lanes, dtype=torch.long, device=self.base.device))

    def _check_concepts(self, lanes: Sequence[Lane]) -> None:
        """Check them all before the first lane is read; raises `RequestError`."""
        for text in dict.fromkeys(concept.text for lane in lanes for concept in lane.concepts):
            if self.concepts is None:
                raise RequestError(
                    f"{self._info.name} is loaded without a flow, so only flow time 0 without a concept runs; "
                    "choose a model with a flow, or give one with --flow"
                )
            self.concepts.tokenize(text)

    def _check_ids(self, lanes: Sequence[Lane]) -> None:
        vocab_size = self.base.architecture.vocab_size
        for token_id in {token_id for lane in lanes for token_id in lane.given + lane.draft}:
            if not 0 <= token_id < vocab_size:
                raise RequestError(
                    f"an answer cannot begin with the token id {token_id}: {self._info.name} has ids from 0 to "
                    f"{vocab_size - 1}; give the ids of a text of this very model"
                )

    def _check_room(self, ids: list[int], *, new_tokens: int) -> None:
        if len(ids) + new_tokens > self._info.context_length:
            raise RequestError(
                f"the prompt is {len(ids):,} tokens long, but {self._info.name} reads {self._info.context_length:,} "
                "at most, its answer included; shorten the prompt"
            )


def load_engine(
    model: str | Path | LoadSpec | None = None,
    *,
    base: str | None = None,
    flow: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    progress: ReportProgress = ignore_progress,
) -> Engine:
    """Load a model by catalog name, Hub repository or folder, downloading what is not there yet.

    Device and dtype are the machine's best unless given; see `LoadSpec` for the rest. Raises `FlasError` when it cannot
    be had, does not fit together, or does not fit the machine.
    """
    if isinstance(model, LoadSpec):
        spec = model
    else:
        spec = LoadSpec(
            model=str(model) if model is not None else None, base=base, flow=flow, device=device, dtype=dtype
        )
    chosen_device = choose_device(spec.device)
    chosen_dtype = choose_dtype(spec.dtype, chosen_device)
    torch.set_num_threads(choose_num_threads())
    resolved = resolve(replace(spec, device=str(chosen_device)), progress=progress)
    progress(Progress(activity="reading the config"))
    config = load_config(resolved.base)
    architecture = read_architecture(config)
    loaded_flow = None
    if resolved.flow is not None:  # first: it is small, and what does not fit shows before gigabytes are read
        progress(Progress(activity="reading the flow"))
        loaded_flow = read_flow(resolved.flow, architecture, chosen_device, chosen_dtype)
        loaded_flow.field.freeze(PACKED)
    prompt_format = resolved.prompt_format or (loaded_flow.config.prompt_format if loaded_flow else None)
    with ThreadPoolExecutor(1) as helper:  # torch reads the weights, and leaves Python to the tokenizer meanwhile
        reading = helper.submit(_open_tokenizer, resolved.base, prompt_format)
        if not resolved.base.is_dir():  # of a GGUF file transformers reads both, which is no work for two threads
            wait([reading])
        loaded_base = load_base(
            resolved.base, config, chosen_device, chosen_dtype, progress, layout=choose_layout(spec.dtype)
        )
        progress(Progress(activity="reading the tokenizer"))
        tokenizer, prompt_format = reading.result()
    return Engine(
        name=resolved.name,
        base_id=resolved.base_id,
        base=loaded_base,
        tokenizer=tokenizer,
        end_ids=end_of_turn_ids(tokenizer, load_generation_eos(resolved.base, config)),
        flow=loaded_flow,
        flow_id=resolved.flow_id,
        prompt_format=prompt_format,
        library=read_library_file(resolved.flow.parent / LIBRARY_FILE) if resolved.flow is not None else (),
        compiles=should_compile(chosen_device) if spec.compiles is None else spec.compiles,
    )


def _open_tokenizer(path: Path, prompt_format: str | None) -> tuple[PreTrainedTokenizerBase, str]:
    """Return the tokenizer, its chat template ready where it is used, and the prompt format, unless given by that."""
    tokenizer = load_tokenizer(path)
    if prompt_format == "alpaca":
        return tokenizer, prompt_format
    has_template = bool(tokenizer.chat_template)
    return tokenizer, prompt_format or ("chat" if has_template else "alpaca")
