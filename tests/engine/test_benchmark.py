"""The benchmark's measurements measure what they say, on a small random Gemma-2."""

from __future__ import annotations

import hashlib
import json
import sys
from typing import TYPE_CHECKING

import pytest
import torch
from byte_tokenizer import CHATML, byte_tokenizer
from tiny import tiny_transformers_model

from flas_engine.base import from_transformers
from flas_engine.benchmark import contestants, decoding, steady_state
from flas_engine.benchmark.contestants import Contestant, Subjects
from flas_engine.benchmark.decoding import Timing, time_engine
from flas_engine.benchmark.evaluating import (
    ALONE_EVERY,
    FLOW_TIMES,
    PROMPTS_A_ROUND,
    SEEDS,
    measure_evaluation,
    that_ends,
)
from flas_engine.benchmark.llama_cpp import gguf_file, time_llama_cpp
from flas_engine.benchmark.memory import measure_memory
from flas_engine.benchmark.products import engine_products, evaluated_projections, linear_products, time_products
from flas_engine.benchmark.quality import measure_quality
from flas_engine.benchmark.report import BenchmarkError
from flas_engine.benchmark.resteering import measure_resteering
from flas_engine.benchmark.rounds import RATE_RATIOS, Rounds, make_parts, make_ratios, make_rows, run_rounds
from flas_engine.benchmark.starting import measure_start
from flas_engine.benchmark.steady_state import measure_allocations, operation_seconds
from flas_engine.benchmark.subject import UNTRAINED, endless, request_at, untrained_flow
from flas_engine.engine import Engine
from flas_engine.hub.catalog import DEMO, DEMO_GEMMA
from flas_engine.info import LoadSpec
from flas_engine.progress import ignore_progress
from flas_engine.request import GREEDY, Lane, Limits, Message, Request

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flas_engine.control import RunControl
    from flas_engine.events import Event

SIZES = {"vocab_size": 288, "tie_word_embeddings": False}
MODEL = tiny_transformers_model("gemma2", **SIZES)
TOKENIZER = byte_tokenizer(CHATML, bos=None, eos="<|im_end|>")
NEW_TOKENS = 8
HELD_ELEMENTS = 1000
ROUNDING = 1e-5
CPU = torch.device("cpu")


def make_engine(kind: type[Engine] = Engine, seed: int = 0) -> Engine:
    model = tiny_transformers_model("gemma2", seed=seed, **SIZES)
    return kind(
        name="tiny",
        base_id="tests/tiny",
        base=from_transformers(model),
        tokenizer=TOKENIZER,
        end_ids=frozenset(range(0, 288, 7)),
    )


ENGINE = endless(make_engine(), compiles=False)
assert ENGINE.flow is not None
SUBJECTS = Subjects(engine=ENGINE, int8=ENGINE, plain=MODEL, flow=untrained_flow(ENGINE.base, "tests/tiny"))


class Hoarder(Engine):
    """Keeps some memory with every token."""

    def __init__(self, **fields: object) -> None:
        super().__init__(**fields)  # type: ignore[arg-type]
        self.hoard: list[torch.Tensor] = []

    def stream(self, request: Request, control: RunControl | None = None) -> Iterator[Event]:
        for event in super().stream(request, control):
            self.hoard.append(torch.zeros(HELD_ELEMENTS))
            yield event


class Counting(Engine):
    """Notes how many lanes each request has."""

    def __init__(self, **fields: object) -> None:
        super().__init__(**fields)  # type: ignore[arg-type]
        self.num_lanes: list[int] = []

    def stream(self, request: Request, control: RunControl | None = None) -> Iterator[Event]:
        self.num_lanes.append(len(request.lanes))
        return super().stream(request, control)


def fixed(name: str, lanes: int, *rates: float) -> Contestant:
    """A row whose runs were measured before, with a first token after a tenth of a pass."""
    timings = [
        Timing(passes_per_second=rate, first_token_seconds=0.1 / rate, all_lanes_seconds=0.2 / rate) for rate in rates
    ]
    return Contestant(name=name, lanes=lanes, read_bytes=1 << 20, run=iter(timings).__next__)


def fixed_rounds(**rates: tuple[float, float, float]) -> Rounds:
    names = {getattr(contestants, name): values for name, values in rates.items()}
    entries = [fixed(name, 1, 1e9, *names.get(name, (1.0, 1.0, 1.0))) for name in sorted({*ALL_ROWS, *names})]
    return run_rounds(entries, CPU, 3, ignore_progress)


ALL_ROWS = {name for _, row, other, _ in RATE_RATIOS for name in (row, other)} | {contestants.EIGHT, contestants.TWO}


def test_a_measured_engine_has_a_flow_and_no_end() -> None:
    assert ENGINE.info.flow_id == UNTRAINED
    finished = ENGINE.generate(request_at((0.0, 1.5), 64))
    assert [len(end.token_ids) for end in finished] == [64, 64]


def test_a_baseline_is_asked_for_without_a_concept() -> None:
    assert [bool(lane.concepts) for lane in request_at((0.0, 0.5, 0.0), 8).lanes] == [False, True, False]


def test_no_run_takes_over_what_the_one_before_has_read() -> None:
    for _ in range(2):
        timing = time_engine(ENGINE, (0.0, 1.5), NEW_TOKENS)
        assert ENGINE._last_batch is not None
        assert ENGINE._last_batch.num_reused == [0, 0]
        assert timing.first_token_seconds is not None
        assert timing.all_lanes_seconds is not None
        assert 0.0 < timing.first_token_seconds <= timing.all_lanes_seconds


def test_a_list_of_lanes_is_written_in_a_full_batch_and_one_at_a_time_by_turns() -> None:
    """The tiny engine's random answers end early, if not all of them as soon."""
    base, flow = ENGINE.base, ENGINE.flow
    ends = frozenset(range(0, 288, 9))
    engine = Counting(name="tiny", base_id="t", base=base, tokenizer=TOKENIZER, end_ids=ends, flow=flow)
    speed = measure_evaluation(engine, NEW_TOKENS, 2)
    num_lanes = 2 * PROMPTS_A_ROUND * SEEDS * len(FLOW_TIMES)
    num_alone = len(range(0, num_lanes, ALONE_EVERY))
    assert engine.num_lanes == [2, 1, num_lanes, *([1] * num_alone)]
    assert {number % len(FLOW_TIMES) for number in range(0, num_lanes, ALONE_EVERY)} == {0, 1, 2, 3}
    assert (speed.num_lanes, speed.max_live) == (num_lanes, 16)
    assert 1 <= speed.shortest < speed.longest <= 4 * NEW_TOKENS
    assert speed.shortest <= speed.median_length <= speed.longest
    assert speed.ratio == pytest.approx(speed.tokens_per_second / speed.alone_tokens_per_second)
    assert speed.ratio > 1.0
    assert speed.lane_bytes > 0


def test_a_pair_is_resteered_and_written_anew() -> None:
    """Each behind a run under the T before; the baseline is given, and the steered text a draft."""
    counting = Counting(
        name="tiny", base_id="t", base=ENGINE.base, tokenizer=TOKENIZER, end_ids=frozenset(), flow=ENGINE.flow
    )
    measured = measure_resteering(counting, NEW_TOKENS, 2)
    assert counting.num_lanes == [2] * 4 * 3
    assert measured.num_tokens == NEW_TOKENS
    assert 0.0 <= measured.kept_share <= 1.0
    assert measured.seconds > 0.0
    assert measured.anew_seconds > 0.0
    assert measured.ratio > 0.0


def test_lanes_of_evaluation_end_where_the_model_ends_them(demo_model_dir: Path) -> None:
    end = json.loads((demo_model_dir / "generation_config.json").read_text(encoding="utf-8"))["eos_token_id"]
    assert end in that_ends(ENGINE, LoadSpec(model=str(demo_model_dir))).end_ids
    assert not ENGINE.end_ids


def test_a_pass_of_the_sequential_design_takes_the_time_of_both_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = iter([Timing(passes_per_second=10.0, first_token_seconds=0.5), Timing(passes_per_second=40.0)])
    monkeypatch.setattr(decoding, "time_plain", lambda *_: next(streams))
    timing = decoding.time_sequential(MODEL, TOKENIZER, SUBJECTS.flow, [20, 21], NEW_TOKENS)
    assert timing.passes_per_second == pytest.approx(8.0)
    assert timing.first_token_seconds == 0.5


def test_linear_products_are_over_every_weight_of_a_pass_and_no_other() -> None:
    decoder = sum(p.numel() for n, p in MODEL.named_parameters() if p.dim() == 2 and "embed_tokens" not in n)
    flow = SUBJECTS.flow
    once_an_evaluation = sum(
        p.numel()
        for n, p in flow.field.named_parameters()
        if n.startswith("blocks.") and p.dim() == 2 and "cross_attn.k_proj" not in n and "cross_attn.v_proj" not in n
    )

    def multiplied(products: list[object]) -> int:
        return sum(product.args[1].numel() for product in products)  # type: ignore[attr-defined]

    assert multiplied(linear_products(MODEL, None, 1)) == decoder
    assert multiplied(linear_products(MODEL, flow, 1)) == decoder + flow.config.n_steps * once_an_evaluation


def test_engine_products_read_the_bytes_that_a_pass_is_said_to_read() -> None:
    flow = SUBJECTS.own_flow
    read = sum(product.func.num_bytes for product in engine_products(ENGINE.base, flow, 2))  # type: ignore[attr-defined]
    norms = sum(
        norm.weight.numel() * 4
        for layer in ENGINE.base.layers
        for norm in (layer.input_norm, layer.post_attention_norm, layer.pre_mlp_norm, layer.post_mlp_norm)
        if norm is not None
    ) + 4 * len(ENGINE.base.final_norm.weight)
    assert read + norms == contestants.base_bytes(ENGINE.base) + contestants.flow_bytes(SUBJECTS)


def test_linear_products_have_a_row_a_lane_and_the_flow_a_row_a_steered_lane() -> None:
    rows = [len(product()) for product in linear_products(MODEL, SUBJECTS.flow, 2)]  # type: ignore[arg-type]
    num_flow = SUBJECTS.flow.config.n_steps * sum(
        len(layers) for _, layers in evaluated_projections(SUBJECTS.flow.field)
    )
    assert rows[-num_flow:] == [1] * num_flow
    assert set(rows[:-num_flow]) == {2}
    assert time_products(linear_products(MODEL, None, 1), 2, CPU).passes_per_second > 0.0


def test_an_engine_does_not_diverge_from_itself() -> None:
    quality = measure_quality(ENGINE, ENGINE, ["The sea?", "And the ships?"])
    assert (quality.mean_kl, quality.num_prompts, quality.num_positions) == (0.0, 2, 64)


def test_the_divergence_is_that_of_the_models_whole_distributions() -> None:
    other_model = tiny_transformers_model("gemma2", seed=1, **SIZES)
    lane = Lane(conversation=(Message(role="user", content="The sea?"),))
    request = Request(lanes=(lane,), sampling=GREEDY, limits=Limits(max_new_tokens=32))
    prompt, answer = ENGINE.render(lane), list(ENGINE.generate(request)[0].token_ids)
    ids = torch.tensor([prompt + answer])[:, :-1]
    with torch.no_grad():
        p, q = (m(ids).logits[0, len(prompt) - 1 :].double().log_softmax(-1) for m in (MODEL, other_model))
    expected = torch.nn.functional.kl_div(q, p, log_target=True, reduction="none").sum(-1).mean().item()
    measured = measure_quality(ENGINE, make_engine(seed=1), ["The sea?"])
    assert measured.num_positions == 32
    assert expected > 0.1
    assert measured.mean_kl == pytest.approx(expected, rel=ROUNDING)


def test_a_pass_that_keeps_memory_is_found_out() -> None:
    def held(kind: type[Engine]) -> float:
        engine = make_engine(kind)
        endless_engine = kind(
            name="tiny",
            base_id="tests/tiny",
            base=engine.base,
            tokenizer=TOKENIZER,
            end_ids=frozenset(),
            flow=SUBJECTS.own_flow,
        )
        return measure_allocations(endless_engine).net_bytes

    assert held(Engine) == 0.0
    assert held(Hoarder) == 2 * HELD_ELEMENTS * 4  # two lanes, float32


def test_allocations_and_page_faults_are_counted_per_pass() -> None:
    measured = measure_allocations(ENGINE)
    assert measured.num_allocations > ENGINE.base.architecture.num_layers
    assert measured.page_faults >= 0.0


def test_every_kind_of_operation_has_its_time() -> None:
    seconds = operation_seconds(ENGINE)
    assert set(seconds) == {"products", "attention", "choosing the token", "norms and pointwise"}
    assert all(0.0 < value < 1.0 for value in seconds.values())


def test_no_operation_takes_less_than_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steady_state, "noting_seconds", lambda: 1.0)
    assert set(operation_seconds(ENGINE).values()) == {0.0}


def test_ratios_are_medians_of_the_rounds_own() -> None:
    rounds = fixed_rounds(PAIR=(10.0, 20.0, 90.0), PLAIN=(10.0, 10.0, 100.0))
    row = next(row for row in make_rows(rounds) if row.name == contestants.PAIR)
    assert row.rounds == (10.0, 20.0, 90.0)
    assert row.passes_per_second == 20.0
    assert row.against_plain == pytest.approx(1.0)  # of 1, 2 and 0.9
    assert row.bandwidth_share == pytest.approx(20.0 * (1 << 20) / max(rounds.bandwidths))
    assert row.first_token_seconds == pytest.approx(0.1 / 20.0)


def test_comparisons_in_tokens_count_all_lanes() -> None:
    rates = {contestants.SIXTEEN: 5.0, contestants.BASELINE: 10.0}
    lanes = {contestants.SIXTEEN: 16}
    entries = [fixed(name, lanes.get(name, 1), *[rates.get(name, 1.0)] * 2) for name in ALL_ROWS]
    ratios = {ratio.name: ratio.value for ratio in make_ratios(run_rounds(entries, CPU, 1, ignore_progress))}
    assert ratios["16 flow times over one baseline lane, tokens/s"] == pytest.approx(8.0)


def test_what_was_not_run_is_not_compared() -> None:
    entries = [fixed(name, 1, 1.0, 1.0) for name in ALL_ROWS - {contestants.LLAMA_CPP}]
    names = [ratio.name for ratio in make_ratios(run_rounds(entries, CPU, 1, ignore_progress))]
    assert names
    assert not [name for name in names if "llama" in name]


def test_the_parts_add_up_to_a_pass_of_the_pair() -> None:
    parts = make_parts(fixed_rounds(PAIR=(20.0, 20.0, 20.0), TWO=(25.0, 25.0, 25.0)), {"products": 0.03})
    seconds = {part.name: part.seconds for part in parts}
    assert seconds["flow"] == pytest.approx(0.05 - 0.04)
    assert seconds["products"] == 0.03
    assert sum(seconds.values()) == pytest.approx(0.05)


def test_all_rows_run_and_say_what_they_are() -> None:
    rounds = run_rounds(contestants.contestants(SUBJECTS, NEW_TOKENS), CPU, 1, ignore_progress)
    rows = {row.name: row for row in make_rows(rounds)}
    assert set(rows) == ALL_ROWS - {contestants.LLAMA_CPP}
    assert [rows[name].lanes for name in (contestants.PAIR, contestants.EIGHT, contestants.SIXTEEN)] == [2, 8, 16]
    assert all(row.passes_per_second > 0.0 and row.bandwidth_share > 0.0 for row in rows.values())
    assert rows[contestants.OWN_PAIR].first_token_seconds is None
    assert len(make_ratios(rounds)) == len(RATE_RATIOS) + 1


@pytest.mark.usefixtures("demo_model_dir")
def test_the_memory_of_a_process_is_its_own() -> None:
    held_here = torch.ones(1 << 28)  # 1 GiB that the measured process must not be charged with
    memory = measure_memory(LoadSpec(model=DEMO.name), NEW_TOKENS)
    assert memory.weight_bytes > 250_000_000
    assert memory.cache_bytes > 1_000_000
    assert memory.interpreter_bytes + memory.weight_bytes < memory.peak_bytes < held_here.nbytes
    assert memory.ratio == (memory.peak_bytes - memory.interpreter_bytes) / (memory.weight_bytes + memory.cache_bytes)


def test_a_process_that_fails_says_why() -> None:
    with pytest.raises(BenchmarkError, match="there is no model called 'no-such-model'"):
        measure_memory(LoadSpec(model="no-such-model"), NEW_TOKENS)


@pytest.mark.usefixtures("demo_model_dir")
def test_the_start_is_timed_to_the_first_byte() -> None:
    slow = "import time; print('first', flush=True); time.sleep(1.0)"
    start = measure_start([sys.executable, "-c", slow], LoadSpec(model=DEMO.name), starts=1)
    assert 0.0 < start.first_token_seconds < 1.0
    assert start.ratio == pytest.approx(start.first_token_seconds / start.imports_and_reading_seconds)


@pytest.mark.usefixtures("demo_model_dir")
def test_a_start_without_an_answer_is_no_start() -> None:
    with pytest.raises(BenchmarkError, match="no engine today"):
        measure_start([sys.executable, "-c", "exit('no engine today')"], LoadSpec(model=DEMO.name), starts=1)


@pytest.mark.usefixtures("demo_gemma_dir")
def test_the_gguf_file_is_whole(tmp_path: Path) -> None:
    assert DEMO_GEMMA.embedded is not None
    with gguf_file(LoadSpec(model=DEMO_GEMMA.name), tmp_path).open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == DEMO_GEMMA.embedded.sha256


@pytest.mark.usefixtures("demo_model_dir")
@pytest.mark.parametrize(
    ("command", "model", "message"),
    [
        (sys.executable, DEMO.name, "No module named 'llama_cpp'"),
        ("/nowhere/python", DEMO.name, "/nowhere/python cannot be run"),
        (sys.executable, "gemma-2-2b-it", "no GGUF file"),
    ],
)
def test_a_llama_cpp_that_cannot_be_measured_is_told(command: str, model: str, message: str) -> None:
    with pytest.raises(BenchmarkError, match=message):
        time_llama_cpp(command, LoadSpec(model=model), 1, NEW_TOKENS, 1)
