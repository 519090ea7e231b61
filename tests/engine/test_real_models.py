"""The promises that need real weights: both embedded models and the demo's flow, on the CPU, laid out for it.

In float32 sums taken in another order differ by some 1e-5; greedy texts of these prompts have no closer ties. What
bfloat16 and a byte a weight change is measured against float32, and stated where it is bounded.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from processor import needs_bfloat16
from transformers import AutoModelForCausalLM

from flas_engine import GREEDY, Lane, Limits, Message, Request, RunControl, Sampling, Token, WeightedConcept, steered
from flas_engine.batch import LaneBatch
from flas_engine.engine import Engine, load_engine
from flas_engine.errors import RequestError
from flas_engine.events import FinishReason
from flas_engine.layers import to_logits
from flas_engine.paths import assets_dir

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

PROMPTS = [
    "Tell me about your day.",
    "What is the capital of France?",
    "Write a short poem about the sea and the stars.",
]
QUESTIONS = [
    *PROMPTS,
    "How do I boil an egg?",
    "Explain gravity to a child.",
    "What should I pack for a week in the mountains?",
    "Give me three reasons to learn a language.",
    "Who wrote Romeo and Juliet?",
    "Describe a rainy morning in a city.",
    "How does a bicycle stay upright?",
    "Suggest a name for a grey cat.",
    "What is the difference between a virus and a bacterium?",
    "Write a thank-you note to a neighbour.",
    "How can I sleep better?",
    "Tell me a short story about a lighthouse.",
    "What makes bread rise?",
    "List five uses for a paper clip.",
    "Why is the sky blue?",
    "How do I start a vegetable garden?",
    "What is a good way to learn the piano?",
]
PIRATE = "talk like a pirate"
NUM_TOKENS = 64
LOGPROB_ROUNDING = 1e-3
TIE = 0.25
"""Two steps of bfloat16 where the largest logits are (16 to 32): so near to each other, either may come out larger."""
INT8_KL = 0.01
"""Nats; measured: 0.0025 for both models, while bfloat16 itself is 0.0005 from float32."""


@pytest.fixture(scope="module")
def demo(demo_model_dir: Path) -> Engine:
    return load_engine(demo_model_dir, flow=str(assets_dir() / "flows" / "demo"), device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def demo_gemma(demo_gemma_dir: Path) -> Engine:
    return load_engine(demo_gemma_dir, device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def demo_as_it_runs(demo_model_dir: Path) -> Engine:
    """In the dtype that the engine chooses: bfloat16 where the processor multiplies that."""
    return load_engine(demo_model_dir, flow=str(assets_dir() / "flows" / "demo"), device="cpu")


def lane(prompt: str, flow_time: float = 0.0, concept: str = PIRATE) -> Lane:
    concepts = (WeightedConcept(text=concept),) if flow_time else ()
    return Lane(conversation=(Message(role="user", content=prompt),), concepts=concepts, flow_time=flow_time)


def greedy(lanes: list[Lane], num_tokens: int = NUM_TOKENS) -> Request:
    return Request(lanes=tuple(lanes), sampling=GREEDY, limits=Limits(max_new_tokens=num_tokens))


class Reference:
    """A model as transformers runs it."""

    def __init__(self, folder: Path, dtype: torch.dtype) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()

    @torch.inference_mode()
    def logits(self, prompt: list[int], answer: Sequence[int], last: int | None = None) -> torch.Tensor:
        """What each of the `last` tokens of `answer` is chosen from, [last, V], by one pass over the text."""
        ids = torch.tensor([[*prompt, *answer[:-1]]])
        logits: torch.Tensor = self.model(ids, logits_to_keep=len(answer) if last is None else last).logits[0].float()
        return logits

    def greedy(self, prompt: list[int], num_tokens: int) -> tuple[int, ...]:
        ids = torch.tensor([prompt])
        with torch.inference_mode():
            out = self.model.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=num_tokens, do_sample=False
            )
        return tuple(out[0, len(prompt) :].tolist())


@pytest.fixture(scope="module", params=["demo", "demo_gemma"])
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def folder(name: str, request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue({"demo": "demo_model_dir", "demo_gemma": "demo_gemma_dir"}[name])


def test_a_baseline_lane_equals_transformers_greedy_choices(
    name: str, folder: Path, request: pytest.FixtureRequest
) -> None:
    """In float32, token for token: each is the likeliest of those that transformers chooses from behind the same text.

    So the whole answer is what `generate` writes, which is tried on one of them.
    """
    engine, reference = request.getfixturevalue(name), Reference(folder, torch.float32)
    prompts = QUESTIONS[:5]
    together = engine.generate(greedy([lane(prompt) for prompt in prompts]))
    for prompt, answer in zip(prompts, together, strict=True):
        choices = reference.logits(engine.render(lane(prompt)), answer.token_ids).argmax(dim=-1)
        assert answer.token_ids == tuple(choices.tolist())
    assert reference.greedy(engine.render(lane(prompts[1])), 12) == together[1].token_ids[:12]
    alone = engine.generate(greedy([lane(prompts[0])]))[0]
    assert alone.token_ids == together[0].token_ids
    assert alone.text == together[0].text


@needs_bfloat16
def test_where_bfloat16_chooses_otherwise_than_transformers_it_is_a_tie(folder: Path) -> None:
    """Baseline lanes of 20 prompts and 64 tokens, both in bfloat16; where they part, float32 says by how much.

    The two round at different places (the engine's residual stream is float32), and logits of 16 to 32 have steps of
    0.125. Measured: 7 (demo) and 11 (demo-gemma) of the 20 answers are the same to the end, 98 % and 99 % of the tokens
    are transformers' choice behind the same text, and where they are not, the two candidates' logits are 0.16 apart at
    most in float32.
    """
    engine = load_engine(folder, device="cpu", dtype="bfloat16")
    reference = Reference(folder, torch.bfloat16)
    lanes = [lane(prompt) for prompt in QUESTIONS]
    answers = engine.generate(greedy(lanes))
    partings: list[tuple[list[int], tuple[int, ...], int]] = []
    num_tokens = num_agreed = 0
    for each, answer in zip(lanes, answers, strict=True):
        prompt = engine.render(each)
        choices = reference.logits(prompt, answer.token_ids).argmax(dim=-1).tolist()
        agreed = [ours == theirs for ours, theirs in zip(answer.token_ids, choices, strict=True)]
        num_tokens, num_agreed = num_tokens + len(agreed), num_agreed + sum(agreed)
        if not all(agreed):
            first = agreed.index(False)
            partings.append((prompt, answer.token_ids[: first + 1], choices[first]))
    assert num_agreed >= 0.97 * num_tokens
    assert len(partings) <= 15
    exact = Reference(folder, torch.float32)
    for prompt, written, theirs in partings:
        (logits,) = exact.logits(prompt, written, last=1)
        assert abs(logits[written[-1]] - logits[theirs]) < TIE
        assert logits.max() - torch.minimum(logits[written[-1]], logits[theirs]) < TIE


@torch.inference_mode()
def answer_logprobs(engine: Engine, prompt: list[int], answer: Sequence[int]) -> torch.Tensor:
    """The baseline's distributions that the tokens of `answer` are chosen from, [L, V], in one pass over the text."""
    batch = LaneBatch(engine.base, None, None, [[*prompt, *answer[:-1]]])
    logits = torch.cat([to_logits(engine.base, h_BLD[0]) for _, _, h_BLD in batch.read()])
    return logits[len(prompt) - 1 :].log_softmax(dim=-1)


def test_a_byte_a_weight_stays_within_a_hundredth_of_a_nat(demo_as_it_runs: Engine, demo_model_dir: Path) -> None:
    """KL from the usual dtype, the mean over what the tokens of ten greedy answers are chosen from."""
    engine, in_bytes = demo_as_it_runs, load_engine(demo_model_dir, device="cpu", dtype="int8")
    assert in_bytes.base.num_bytes < 0.85 * engine.base.num_bytes
    lanes = [lane(prompt) for prompt in QUESTIONS[:10]]
    divergences: list[torch.Tensor] = []
    for each, answer in zip(lanes, engine.generate(greedy(lanes, 32)), strict=True):
        prompt = engine.render(each)
        p, q = (answer_logprobs(model, prompt, answer.token_ids) for model in (engine, in_bytes))
        divergences.append((p.exp() * (p - q)).sum(dim=-1))
    assert 0.0 < torch.cat(divergences).mean() < INT8_KL


def test_a_rerun_is_bit_for_bit_the_first_run(demo_as_it_runs: Engine) -> None:
    """Any run can be replayed: what was read before may not show in what is written."""
    for prompt in QUESTIONS[:4]:
        demo_as_it_runs.forget()
        first, again, third = (demo_as_it_runs.generate(greedy([lane(prompt), lane(prompt, 1.0)], 8)) for _ in range(3))
        assert [answer.logprobs for answer in again] == [answer.logprobs for answer in third]
        assert [answer.logprobs for answer in first] == [answer.logprobs for answer in again]


def begun_anew(engine: Engine) -> Engine:
    """An engine of the same weights that has read nothing yet."""
    return Engine(
        name="anew",
        base_id=engine.info.base_id,
        base=engine.base,
        tokenizer=engine.tokenizer,
        end_ids=engine.end_ids,
        flow=engine.flow,
        prompt_format=engine.info.prompt_format,
    )


def test_a_chat_of_three_turns_reads_each_answer_once_and_goes_on_as_if_it_read_all(demo: Engine) -> None:
    """Steered beside its baseline, each from its own answers, whose tokens come back in the next prompt as written."""
    engine, lanes, read = begun_anew(demo), [lane(PROMPTS[1]), lane(PROMPTS[1], 1.0)], [0, 0]
    for question in ("And of Spain?", "Which of the two is larger?", "Thank you."):
        answers, fresh = (each.generate(greedy(lanes, 16)) for each in (engine, begun_anew(demo)))
        assert engine._last_batch is not None
        assert engine._last_batch.num_reused == [min(read)] * 2  # all lanes are read from the same place on
        for answer, other in zip(answers, fresh, strict=True):
            assert (answer.token_ids, answer.text) == (other.token_ids, other.text)
            assert answer.logprobs == pytest.approx(other.logprobs, abs=LOGPROB_ROUNDING)
        read = [
            len(engine.render(each)) + len(answer.token_ids) - 1 for each, answer in zip(lanes, answers, strict=True)
        ]
        lanes = [
            replace(
                each,
                conversation=(
                    *each.conversation,
                    Message(role="assistant", content=answer.text),
                    Message(role="user", content=question),
                ),
            )
            for each, answer in zip(lanes, answers, strict=True)
        ]


def test_a_baseline_beside_a_steered_lane_gives_the_text_it_gives_alone(demo: Engine) -> None:
    sampling, limits = Sampling(temperature=0.9, top_p=0.95), Limits(max_new_tokens=40)

    def answers(*flow_times: float) -> list[str]:
        lanes = tuple(lane(PROMPTS[0], flow_time) for flow_time in flow_times)
        return [a.text for a in demo.generate(Request(lanes=lanes, sampling=sampling, seed=7, limits=limits))]

    beside, steered_text = answers(0.0, 1.5)
    assert [beside] == answers(0.0)
    assert [steered_text] == answers(1.5)
    assert beside != steered_text
    assert "arr" in steered_text.lower() or "matey" in steered_text.lower()
    assert answers(1.5, 1.5) == [steered_text] * 2  # equal lanes, equal seeds: equal texts


def test_another_seed_gives_another_text(demo: Engine) -> None:
    lanes, limits = (lane(PROMPTS[0]),), Limits(max_new_tokens=20)
    texts = {demo.generate(Request(lanes=lanes, seed=seed, limits=limits))[0].text for seed in range(3)}
    assert len(texts) == 3


def test_the_score_of_an_answer_is_what_it_was_generated_with(demo: Engine) -> None:
    for flow_time in (0.0, 1.5):
        steering_lane = lane(PROMPTS[1], flow_time)
        answer = demo.generate(greedy([steering_lane]))[0]
        assert answer.reason is FinishReason.END_OF_TURN
        score = demo.score(steering_lane, answer.text)
        assert score.token_ids == answer.token_ids[:-1]
        assert score.logprobs == pytest.approx(answer.logprobs[:-1], abs=LOGPROB_ROUNDING)
    assert demo.score(lane(PROMPTS[1], 1.5), "Arrr, matey!").total > demo.score(lane(PROMPTS[1]), "Arrr, matey!").total


def test_hooked_generate_equals_the_cut_engine(demo: Engine, demo_model_dir: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(demo_model_dir, dtype=torch.float32).eval()
    ids = torch.tensor([demo.render(lane(PROMPTS[0]))])
    assert demo.flow is not None
    with steered(model, demo.tokenizer, demo.flow, PIRATE, 1.5), torch.inference_mode():
        hooked = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=32, do_sample=False)
    cut = demo.generate(greedy([lane(PROMPTS[0], 1.5)], 32))[0]
    assert hooked[0, ids.shape[1] :].tolist() == list(cut.token_ids)


def test_a_flow_time_moved_in_mid_stream_acts_on_the_next_token(demo: Engine) -> None:
    control = RunControl()
    request = greedy([lane(PROMPTS[0], 0.5)], 24)
    seen: list[float] = []
    for event in demo.stream(request, control):
        if isinstance(event, Token):
            seen.append(event.flow_time)
            if event.index == 9:
                control.set_flow_time(0, 2.0)
    assert seen == [0.5] * 10 + [2.0] * 14


def test_a_run_stops_within_one_token(demo: Engine) -> None:
    control, count = RunControl(), 0
    for event in demo.stream(greedy([lane(PROMPTS[0]), lane(PROMPTS[2])]), control):
        if isinstance(event, Token):
            count += 1
            if count == 6:  # both lanes' third token
                control.cancel()
    assert count == 6


def test_gemma_keeps_the_same_promises(demo_gemma_dir: Path) -> None:
    flow = assets_dir() / "flows" / "demo-gemma"
    engine = load_engine(demo_gemma_dir, flow=str(flow), device="cpu", dtype="float32")
    num_tokens = 12
    pair = [lane(PROMPTS[0]), lane(PROMPTS[0], 1.0)]
    baseline, steered_answer = engine.generate(greedy(pair, num_tokens))
    assert baseline.token_ids == engine.generate(greedy(pair[:1], num_tokens))[0].token_ids
    assert steered_answer.token_ids == engine.generate(greedy(pair[1:], num_tokens))[0].token_ids
    assert steered_answer.token_ids != baseline.token_ids
    # Cached equals recomputed: all tokens in one pass, against the logits that chose them one by one.
    for each, answer in zip(pair, (baseline, steered_answer), strict=True):
        score = engine.score(each, engine.tokenizer.decode(answer.token_ids))
        assert score.token_ids == answer.token_ids
        assert score.logprobs == pytest.approx(answer.logprobs, abs=LOGPROB_ROUNDING)
    model = AutoModelForCausalLM.from_pretrained(demo_gemma_dir, dtype=torch.float32).eval()
    ids = torch.tensor([engine.render(pair[1])])
    assert engine.flow is not None
    with steered(model, engine.tokenizer, engine.flow, PIRATE, 1.0), torch.inference_mode():
        hooked = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=num_tokens, do_sample=False)
    assert hooked[0, ids.shape[1] :].tolist() == list(steered_answer.token_ids)


def test_concepts_are_encoded_once(demo: Engine) -> None:
    assert demo.concepts is not None
    demo.generate(greedy([lane(PROMPTS[1], 1.0, "talk about honey"), lane(PROMPTS[1], 2.0, "talk about honey")], 4))
    before = demo.concepts.num_encoded
    demo.generate(greedy([lane(PROMPTS[2], 1.0, "talk about honey")], 4))
    assert demo.concepts.num_encoded == before


def test_pieces_join_to_the_text_and_stop_strings_cut_it(demo: Engine) -> None:
    request = Request(
        lanes=(lane(PROMPTS[1]),), sampling=GREEDY, limits=Limits(max_new_tokens=32, stop=(" Paris", "XX"))
    )
    events = list(demo.stream(request))
    finished = events[-1]
    assert finished.reason is FinishReason.STOP_STRING
    assert finished.text == "The capital of France is"
    assert "".join(event.text for event in events[1:-1]) + finished.tail == finished.text


def test_a_prompt_over_the_context_is_refused_with_the_numbers(demo: Engine) -> None:
    with pytest.raises(RequestError, match=r"tokens long, but demo reads 8,192 at most"):
        demo.generate(greedy([lane("word " * 9000)]))


def test_a_flow_of_another_layer_count_is_refused(demo_gemma_dir: Path) -> None:
    from flas_engine.errors import CheckpointError

    with pytest.raises(CheckpointError, match=r"layer 20 is out of range.*\(0 to 17\)"):
        load_engine(demo_gemma_dir, flow=str(assets_dir() / "flows" / "demo"), device="cpu")


def test_a_concept_without_a_flow_is_refused(demo_gemma: Engine) -> None:
    with pytest.raises(RequestError, match="without a flow"):
        demo_gemma.generate(greedy([lane(PROMPTS[0], 1.0)]))


def test_several_turns_go_into_one_prompt(demo: Engine) -> None:
    turns = (
        Message(role="user", content="My name is Ada."),
        Message(role="assistant", content="Hello Ada!"),
        Message(role="user", content="Repeat my first sentence."),
    )
    prompt = demo.tokenizer.decode(demo.render(Lane(conversation=turns)))
    places = [prompt.find(turn.content) for turn in turns]
    assert -1 not in places
    assert places == sorted(places)
    assert demo.generate(greedy([Lane(conversation=turns)], 8))[0].text.strip()
