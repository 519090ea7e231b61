"""Compiled passes: the same tokens as op by op, compiled once, and never in the way of an answer."""

from __future__ import annotations

import logging
import random
import shutil
import weakref
from typing import TYPE_CHECKING

import pytest
import torch
from processor import needs_bfloat16
from tiny import tiny_flow, tiny_transformers_model
from torch._dynamo.utils import counters

from flas_engine import load_engine
from flas_engine.base import from_transformers
from flas_engine.batch import LaneBatch
from flas_engine.compiled import OP_BY_OP, Functions, LaunchGraphs, WarmUp, compile_functions
from flas_engine.paths import assets_dir
from flas_engine.request import Lane, Message
from flas_engine.solvers import EULER
from flas_engine.steering import Steering

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flas_engine.steering import Mix

LAYER = 2
ROUNDING = 2e-4
QUESTIONS = [
    f"{question} {subject}?"
    for subject in ("the sea", "a good friend", "bread", "the moon")
    for question in ("What is", "Why do people love", "Can you describe", "How old is", "What would you ask")
]
BASE = from_transformers(tiny_transformers_model("gemma3"))  # sliding layers, head norms, norms on both sides
FLOW = tiny_flow(BASE.architecture, layer=LAYER)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Functions]:
    if shutil.which("g++") is None and shutil.which("clang++") is None:
        pytest.skip("needs a C++ compiler")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path_factory.mktemp("compiled")))
        yield compile_functions()
    torch._dynamo.reset()


class Passes:
    """Random requests, the same for the same number, whatever runs them."""

    def __init__(self, number: int) -> None:
        choose = random.Random(number)
        self.generator = torch.Generator().manual_seed(number)
        self.num_lanes = choose.choice([1, 2, 3, 4, 6, 9])
        self.flow_times = [choose.choice([0.0, 0.5, 1.0, 2.0]) for _ in range(self.num_lanes)]
        self.concept_tokens = choose.randint(1, 40)
        self.num_tokens = choose.choice([1, 2, 3, 4, 5, 6, 7] * 3 + [70])
        self.raised = choose.choice([0.0, 0.7, 1.9])
        self.replaced_at = choose.choice([0, 1, 4, 1000])
        self.newcomer = choose.choice([(0.0, 0), (1.2, 3), (0.6, 33)])
        """Flow time and concept tokens of the lane that takes the last one's place."""

    @torch.inference_mode()
    def run(self, functions: Functions) -> torch.Tensor:
        generator = self.generator.clone_state()
        concept = FLOW.field.encode_keys_values(torch.randn(self.concept_tokens, 64, generator=generator))
        mixes: list[Mix] = [((concept, 1.0),)] * self.num_lanes
        prompts = [
            torch.randint(3, 250, (4 + 3 * lane,), generator=generator).tolist() for lane in range(self.num_lanes)
        ]
        steering = Steering(FLOW.field, mixes, list(self.flow_times), EULER, 3)
        batch = LaneBatch(BASE, LAYER, steering, prompts, functions=functions)
        logits = [batch.read_prompts()]
        for step in range(self.num_tokens):
            if step == self.replaced_at:
                self.replace_last(batch, functions, generator)
            if step == 1:
                batch.set_flow_time(0, self.raised)
            logits.append(batch.advance(torch.randint(3, 250, (self.num_lanes,), generator=generator)))
        return torch.stack(logits)

    def replace_last(self, batch: LaneBatch, functions: Functions, generator: torch.Generator) -> None:
        flow_time, concept_tokens = self.newcomer
        concept = FLOW.field.encode_keys_values(torch.randn(max(1, concept_tokens), 64, generator=generator))
        mixes: list[Mix] = [((concept, 1.0),) if concept_tokens else ()]
        prompt = torch.randint(3, 250, (11,), generator=generator).tolist()
        steering = Steering(FLOW.field, mixes, [flow_time], EULER, 3)
        newcomers = LaneBatch(BASE, LAYER, steering, [prompt], batch, functions)
        newcomers.read_prompts()
        batch.replace([self.num_lanes - 1], newcomers)


def test_two_hundred_random_changes_compile_nothing_and_break_no_graph(compiled: Functions) -> None:
    """Flow time, concept and its length, prompt, position, the number of lanes, and lanes that take others' places,
    after a warm-up of ten requests."""
    for number in range(10):
        Passes(number).run(compiled)
    before = dict(counters["stats"])
    for number in range(10, 210):
        passes = Passes(number)
        torch.testing.assert_close(passes.run(compiled), passes.run(OP_BY_OP), atol=ROUNDING, rtol=ROUNDING)
    assert dict(counters["stats"]) == before
    assert before["unique_graphs"] > 0
    assert not counters["graph_break"]


@pytest.fixture(scope="module")
def exact(demo_model_dir: Path) -> torch.Tensor:
    """Logits of twenty greedy answers of 64 tokens, every other one steered, op by op in float32."""
    with torch.inference_mode():
        return Asked(demo_model_dir, "float32").answer(OP_BY_OP)


@torch.inference_mode()
def test_twenty_greedy_answers_are_those_of_passes_op_by_op(
    compiled: Functions, exact: torch.Tensor, demo_model_dir: Path
) -> None:
    answers = Asked(demo_model_dir, "float32").answer(compiled)
    assert torch.equal(answers.argmax(dim=-1), exact.argmax(dim=-1))


@needs_bfloat16
@torch.inference_mode()
def test_in_bfloat16_compiled_passes_err_as_little_and_choose_otherwise_only_at_ties(
    compiled: Functions, exact: torch.Tensor, demo_model_dir: Path
) -> None:
    """Of the two likeliest tokens of float32 the distance between the logits, after the same tokens, tells how far each
    path is off; a tie is a distance of two steps of bfloat16, which are 1/8 for logits from 16 to 32."""
    rounded = Asked(demo_model_dir, "bfloat16")
    op_by_op, fused = (rounded.answer(functions, exact.argmax(dim=-1)) for functions in (OP_BY_OP, compiled))
    likeliest = exact.topk(2).indices
    distance, op_by_op_distance, fused_distance = (
        logits.gather(-1, likeliest).diff(dim=-1) for logits in (exact, op_by_op, fused)
    )
    assert (fused_distance - distance).std() < 1.1 * (op_by_op_distance - distance).std()
    choices = torch.stack([op_by_op.argmax(dim=-1), fused.argmax(dim=-1)], dim=-1)
    differs = choices[..., 0] != choices[..., 1]
    assert differs.float().mean() < 0.03
    for logits in (exact, op_by_op, fused):
        assert logits.gather(-1, choices).diff(dim=-1)[differs].abs().max() <= 2 / 8


class Asked:
    """Twenty questions to the demo, every other one steered."""

    def __init__(self, model_dir: Path, dtype: str) -> None:
        engine = load_engine(model_dir, flow=str(assets_dir() / "flows" / "demo"), device="cpu", dtype=dtype)
        assert engine.flow is not None
        assert engine.concepts is not None
        self.engine, self.field = engine, engine.flow.field
        pirate: Mix = ((engine.concepts.encode("talk like a pirate"), 1.0),)
        self.mixes: list[Mix] = [pirate if number % 2 else () for number in range(len(QUESTIONS))]
        self.prompts = [engine.render(Lane(conversation=(Message(role="user", content=text),))) for text in QUESTIONS]

    def answer(self, functions: Functions, forced_BL: torch.Tensor | None = None) -> torch.Tensor:
        """Return the logits [B, 64, V] of the greedy answers, or of the tokens given."""
        steering = Steering(self.field, self.mixes, [1.5 if mix else 0.0 for mix in self.mixes], EULER, 3)
        batch = LaneBatch(self.engine.base, self.engine.info.layer, steering, self.prompts, functions=functions)
        logits = [batch.read_prompts().clone()]
        for index in range(63):
            tokens = logits[-1].argmax(dim=-1) if forced_BL is None else forced_BL[:, index]
            logits.append(batch.advance(tokens).clone())
        return torch.stack(logits, dim=1)


@pytest.mark.parametrize("failing", [True, False])
def test_what_is_not_ready_or_cannot_be_compiled_leaves_passes_as_they_were(*, failing: bool) -> None:
    def rehearse(functions: Functions) -> None:
        assert functions.is_compiled
        assert warm_up_is_unready()
        if failing:
            raise RuntimeError("no compiler here")

    warm_ups: list[WarmUp] = []

    def warm_up_is_unready() -> bool:
        return not warm_ups or warm_ups[0].functions is OP_BY_OP

    warm_ups.append(WarmUp(rehearse))
    functions = warm_ups[0].wait()
    assert (functions is OP_BY_OP) == failing
    assert (warm_ups[0].failure is None) == (not failing)


@pytest.mark.parametrize("failing", [True, False])
def test_what_was_rehearsed_is_not_kept_once_that_is_over(*, failing: bool, caplog: pytest.LogCaptureFixture) -> None:
    class Rehearsed:
        def __init__(self) -> None:
            self.warm_up = WarmUp(self.rehearse)

        def rehearse(self, _functions: Functions) -> None:
            if failing:
                raise RuntimeError("no compiler here")

    with caplog.at_level(logging.CRITICAL, logger="flas_engine"):  # a log that the test keeps would keep it too
        rehearsed = Rehearsed()
        rehearsed.warm_up.wait()
    kept, warm_up = weakref.ref(rehearsed), rehearsed.warm_up
    del rehearsed
    assert kept() is None
    assert (warm_up.failure is None) == (not failing)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("index", [0, -1])
def test_a_recorded_pass_reads_its_tensors_anew(index: int) -> None:
    device = torch.device("cuda", range(torch.cuda.device_count())[index])
    x, graphs = torch.zeros(4, device=device), LaunchGraphs(device)
    outputs = []
    for value in range(4):
        x.fill_(value)
        outputs.append(graphs.run("kind", lambda: x * 2).clone())
    assert [output[0].item() for output in outputs] == [0, 2, 4, 6]
