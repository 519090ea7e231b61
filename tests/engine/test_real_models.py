"""The promises that need real weights: both embedded models, the demo's flow, in float32 on the CPU.

In float32 sums taken in another order differ by some 1e-5; greedy texts of these prompts have no closer ties.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tiny import tiny_flow
from transformers import AutoModelForCausalLM

from flas_engine import GREEDY, Lane, Limits, Message, Request, RunControl, Sampling, Token, WeightedConcept, steered
from flas_engine.engine import Engine, load_engine
from flas_engine.errors import RequestError
from flas_engine.events import FinishReason
from flas_engine.paths import assets_dir

PROMPTS = [
    "Tell me about your day.",
    "What is the capital of France?",
    "Write a short poem about the sea and the stars.",
]
PIRATE = "talk like a pirate"
NUM_TOKENS = 64
LOGPROB_ROUNDING = 1e-3
EXPECTED = Path(__file__).parent.parent / "golden" / "demo" / "expected.json"


@pytest.fixture(scope="module")
def demo(demo_model_dir: Path) -> Engine:
    return load_engine(demo_model_dir, flow=str(assets_dir() / "flows" / "demo"), device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def demo_gemma(demo_gemma_dir: Path) -> Engine:
    return load_engine(demo_gemma_dir, device="cpu", dtype="float32")


def lane(prompt: str, flow_time: float = 0.0, concept: str = PIRATE) -> Lane:
    concepts = (WeightedConcept(text=concept),) if flow_time else ()
    return Lane(conversation=(Message(role="user", content=prompt),), concepts=concepts, flow_time=flow_time)


def greedy(lanes: list[Lane], num_tokens: int = NUM_TOKENS) -> Request:
    return Request(lanes=tuple(lanes), sampling=GREEDY, limits=Limits(max_new_tokens=num_tokens))


@pytest.mark.parametrize("name", ["demo", "demo_gemma"])
def test_a_baseline_lane_equals_transformers_greedy_generate(name: str, request: pytest.FixtureRequest) -> None:
    engine: Engine = request.getfixturevalue(name)
    folder: Path = request.getfixturevalue(f"{name}_dir" if name == "demo_gemma" else "demo_model_dir")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    together = engine.generate(greedy([lane(prompt) for prompt in PROMPTS]))
    for prompt, ours in zip(PROMPTS, together, strict=True):
        ids = torch.tensor([engine.render(lane(prompt))])
        with torch.inference_mode():
            theirs = model.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=NUM_TOKENS, do_sample=False
            )
        assert list(ours.token_ids) == theirs[0, ids.shape[1] :].tolist()
    alone = engine.generate(greedy([lane(PROMPTS[0])]))[0]
    assert alone.token_ids == together[0].token_ids
    assert alone.text == together[0].text


def test_the_twelve_expected_texts_come_out(demo: Engine) -> None:
    rows = json.loads(EXPECTED.read_text())["rows"]
    lanes = [lane(row["prompt"], row["flow_time"], row["concept"]) for row in rows]
    texts = [answer.text for answer in demo.generate(greedy(lanes, 32))]
    assert texts == [row["text"] for row in rows]


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


def test_gemma_keeps_the_same_promises_under_a_flow(demo_gemma: Engine, demo_gemma_dir: Path) -> None:
    """No flow is trained for it yet: a random one moves its large activations little, but by the same relations."""
    flow = tiny_flow(demo_gemma.base.architecture, layer=11, disable_self_attn=True)
    engine = Engine(
        name="demo-gemma",
        base_id="demo-gemma",
        base=demo_gemma.base,
        tokenizer=demo_gemma.tokenizer,
        end_ids=demo_gemma.end_ids,
        flow=flow,
        prompt_format="alpaca",
    )
    num_tokens = 12
    pair = [lane(PROMPTS[0]), lane(PROMPTS[0], 1.0)]
    baseline, moved = engine.generate(greedy(pair, num_tokens))
    assert baseline.token_ids == engine.generate(greedy(pair[:1], num_tokens))[0].token_ids
    assert moved.token_ids == engine.generate(greedy(pair[1:], num_tokens))[0].token_ids
    assert moved.logprobs != pytest.approx(baseline.logprobs, abs=LOGPROB_ROUNDING)
    # Cached equals recomputed: all tokens in one pass, against the logits that chose them one by one.
    for each, answer in zip(pair, (baseline, moved), strict=True):
        score = engine.score(each, engine.tokenizer.decode(answer.token_ids))
        assert score.token_ids == answer.token_ids
        assert score.logprobs == pytest.approx(answer.logprobs, abs=LOGPROB_ROUNDING)
    model = AutoModelForCausalLM.from_pretrained(demo_gemma_dir, dtype=torch.float32).eval()
    prompt = engine.render(pair[1])
    with steered(model, engine.tokenizer, flow, PIRATE, 1.0), torch.inference_mode():
        logits = model(torch.tensor([prompt + list(moved.token_ids[:-1])])).logits[0, len(prompt) - 1 :]
    hooked = logits.log_softmax(-1).gather(-1, torch.tensor(moved.token_ids)[:, None])[:, 0]
    assert hooked.tolist() == pytest.approx(moved.logprobs, abs=LOGPROB_ROUNDING)


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
