"""The token loop on a small random Gemma-2 whose flow has self-attention, the family with most to go wrong."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import torch
from byte_tokenizer import CHATML, byte_tokenizer
from tiny import tiny_flow, tiny_transformers_model
from torch.utils._python_dispatch import TorchDispatchMode

from flas_engine import prompt_passes
from flas_engine.base import from_transformers
from flas_engine.batch import LaneBatch
from flas_engine.control import RunControl
from flas_engine.engine import Engine
from flas_engine.errors import RequestError
from flas_engine.events import Finished, FinishReason, Prefilled, Token
from flas_engine.request import GREEDY, Lane, Limits, Message, Request, Sampling, WeightedConcept
from flas_engine.solvers import EULER
from flas_engine.steering import Steering

if TYPE_CHECKING:
    from collections.abc import Iterable

VOCABULARY = 288
LAYER = 1
ROUNDING = 1e-4  # float32 sums taken in another order
TOKENIZER = byte_tokenizer(CHATML, bos=None, eos="<|im_end|>")
SIZES = {"vocab_size": VOCABULARY, "tie_word_embeddings": False}  # tied, a random model repeats one token for ever
MODEL = tiny_transformers_model("gemma2", **SIZES)
BASE = from_transformers(MODEL)
FLOW = tiny_flow(BASE.architecture, layer=LAYER, num_blocks=2)
PIRATE = (WeightedConcept(text="talk like a pirate"),)


def make_engine(*, end_ids: Iterable[int] = (), context_length: int = 512) -> Engine:
    model = tiny_transformers_model("gemma2", **SIZES, max_position_embeddings=context_length)
    return Engine(
        name="tiny",
        base_id="tests/tiny",
        base=from_transformers(model),
        tokenizer=TOKENIZER,
        end_ids=frozenset(end_ids),
        flow=FLOW,
        flow_id="tests/tiny-flow",
    )


ENGINE = make_engine()


def lane(flow_time: float = 0.0, prompt: str = "The sea?", concepts: tuple[WeightedConcept, ...] | None = None) -> Lane:
    if concepts is None:
        concepts = PIRATE if flow_time else ()
    return Lane(conversation=(Message(role="user", content=prompt),), concepts=concepts, flow_time=flow_time)


def request(*lanes: Lane, tokens: int = 8, **fields: Any) -> Request:
    return Request(lanes=lanes, limits=Limits(max_new_tokens=tokens), **({"sampling": GREEDY} | fields))


def ids(engine: Engine, asked: Request) -> list[tuple[int, ...]]:
    return [finished.token_ids for finished in engine.generate(asked)]


# --- events ---


def test_events_come_in_their_order_and_fold_to_what_finished_says() -> None:
    asked = request(lane(), lane(1.5), lane(-1.0, "How deep is it, and why?"), tokens=6)
    prefilled, *rest = list(ENGINE.stream(asked))
    assert isinstance(prefilled, Prefilled)
    assert [list(prompt) for prompt in prefilled.prompt_token_ids] == [ENGINE.render(each) for each in asked.lanes]
    tokens = [event for event in rest if isinstance(event, Token)]
    assert [(token.index, token.lane) for token in tokens] == [(i, number) for i in range(6) for number in range(3)]
    finished = [event for event in rest if isinstance(event, Finished)]
    assert [event.lane for event in finished] == [0, 1, 2]
    assert rest[-3:] == finished
    for end in finished:
        own = [token for token in tokens if token.lane == end.lane]
        assert end.token_ids == tuple(token.token_id for token in own)
        assert end.logprobs == tuple(token.logprob for token in own)
        assert end.text == "".join(token.text for token in own) + end.tail
        assert end.text == TOKENIZER.decode(end.token_ids, skip_special_tokens=True)
        assert {token.flow_time for token in own} == {asked.lanes[end.lane].flow_time} == {end.flow_time}
        assert end.reason is FinishReason.LENGTH


def test_lanes_are_returned_in_order_whichever_ends_first() -> None:
    plain, steered = ids(ENGINE, request(lane(), lane(1.5)))
    assert plain[2] not in steered
    ends = make_engine(end_ids=[plain[2]]).generate(request(lane(1.5), lane()))
    assert [(end.lane, len(end.token_ids), str(end.reason)) for end in ends] == [
        (0, 8, "length"),
        (1, plain.index(plain[2]) + 1, "end_of_turn"),
    ]
    assert ends[0].token_ids == steered


def test_a_lane_without_a_concept_goes_on_when_the_steered_one_has_ended() -> None:
    plain, steered = ids(ENGINE, request(lane(), lane(1.5)))
    assert steered[0] not in plain
    ends = make_engine(end_ids=[steered[0]]).generate(request(lane(), lane(1.5)))
    assert ends[1].token_ids == steered[:1]
    assert ends[0].token_ids == plain


def test_an_end_of_turn_is_counted_but_not_shown() -> None:
    (plain,) = ids(ENGINE, request(lane()))
    (end,) = make_engine(end_ids=[plain[3]]).generate(request(lane()))
    first = plain.index(plain[3])
    assert end.token_ids == plain[: first + 1]
    assert end.text == TOKENIZER.decode(plain[:first], skip_special_tokens=True)
    assert end.reason is FinishReason.END_OF_TURN


# --- lanes ---


def test_a_baseline_lane_is_transformers_greedy_choice() -> None:
    prompt = torch.tensor([ENGINE.render(lane())])
    expected = MODEL.generate(prompt, max_new_tokens=8, do_sample=False, eos_token_id=None, pad_token_id=0)
    assert ids(ENGINE, request(lane())) == [tuple(expected[0, prompt.shape[1] :].tolist())]


@pytest.mark.parametrize(
    "sampling", [GREEDY, Sampling(temperature=1.0), Sampling(temperature=0.9, top_k=20, top_p=0.9)]
)
def test_every_lane_writes_what_it_writes_alone(sampling: Sampling) -> None:
    lanes = [lane(), lane(1.5), lane(0.5, "A longer question about the deep sea."), lane(-1.0), lane(1.5)]
    together = ids(ENGINE, request(*lanes, sampling=sampling, seed=5))
    assert together == [ids(ENGINE, request(each, sampling=sampling, seed=5))[0] for each in lanes]
    assert together[1] == together[4]
    assert len(set(together)) == 4


def test_the_seed_alone_decides_among_equal_requests() -> None:
    asked = {"sampling": Sampling(temperature=1.0), "tokens": 12}
    one = ids(ENGINE, request(lane(1.0), seed=1, **asked))
    assert ids(ENGINE, request(lane(1.0), seed=1, **asked)) == one
    assert ids(ENGINE, request(lane(1.0), seed=2, **asked)) != one


def test_a_repetition_penalty_falls_on_the_prompts_tokens_and_on_the_answers() -> None:
    for asked in (lane(), lane(1.5)):
        (written,) = ids(ENGINE, request(asked, tokens=30, sampling=Sampling(temperature=0.0, repetition_penalty=100)))
        assert max(Counter(written).values()) == 1
        assert not set(written) & set(ENGINE.render(asked))


# --- limits ---


def test_the_contexts_end_ends_a_lane() -> None:
    prompt = ENGINE.render(lane())
    small = make_engine(context_length=len(prompt) + 3)
    (end,) = small.generate(request(lane(), tokens=100))
    assert len(end.token_ids) == 3
    assert end.reason is FinishReason.LENGTH


def test_a_prompt_that_leaves_no_room_is_refused_with_the_numbers() -> None:
    prompt = ENGINE.render(lane())
    small = make_engine(context_length=len(prompt))
    with pytest.raises(RequestError, match=f"is {len(prompt)} tokens long, but tiny reads {len(prompt)} at most"):
        small.generate(request(lane()))


def test_a_stop_string_cuts_the_lane_that_writes_it() -> None:
    plain, steered = ENGINE.generate(request(lane(), lane(1.5), tokens=24))
    stop = next(plain.text[i : i + 2] for i in range(2, len(plain.text)) if plain.text[i : i + 2] not in steered.text)
    limits = Limits(max_new_tokens=24, stop=(stop,))
    cut, other = ENGINE.generate(Request(lanes=(lane(), lane(1.5)), limits=limits, sampling=GREEDY))
    assert cut.text == plain.text[: plain.text.index(stop)]
    assert cut.reason is FinishReason.STOP_STRING
    assert other.text == steered.text
    assert other.reason is FinishReason.LENGTH


# --- the reins ---


def test_a_run_that_is_called_off_before_it_begins_writes_nothing() -> None:
    control = RunControl()
    control.cancel()
    events = list(ENGINE.stream(request(lane(), lane(1.0)), control))
    assert [type(event) for event in events] == [Prefilled, Finished, Finished]
    assert all(end.reason is FinishReason.CANCELLED and end.text == "" for end in events[1:])


def test_a_run_that_is_called_off_ends_with_the_text_it_has() -> None:
    control, written = RunControl(), []
    for event in ENGINE.stream(request(lane(), lane(1.0), tokens=100), control):
        if isinstance(event, Token):
            written.append(event)
            if event.index == 3:
                control.cancel()
        elif isinstance(event, Finished):
            assert event.reason is FinishReason.CANCELLED
            assert len(event.token_ids) == 4
    assert len(written) == 8


def test_a_flow_time_set_between_tokens_holds_from_the_next() -> None:
    (before,) = ids(ENGINE, request(lane(0.5), tokens=12))
    control, seen = RunControl(), []
    for event in ENGINE.stream(request(lane(0.5), tokens=12), control):
        if isinstance(event, Token):
            seen.append(event)
            if event.index == 4:
                control.set_flow_time(0, 4.0)
    assert [token.flow_time for token in seen] == [0.5] * 5 + [4.0] * 7
    assert tuple(token.token_id for token in seen[:5]) == before[:5]
    assert tuple(token.token_id for token in seen) != before


@pytest.mark.parametrize("changed", [0, 7])
def test_a_flow_time_for_a_lane_without_a_concept_ends_the_run_with_the_reason(changed: int) -> None:
    control = RunControl()
    control.set_flow_time(changed, 1.0)
    with pytest.raises(RequestError, match=f"lane {changed} has no concept to steer towards"):
        list(ENGINE.stream(request(lane()), control))


@torch.inference_mode()
def test_a_lane_that_goes_through_zero_keeps_what_it_read_before() -> None:
    """Standing still at T = 0 is the limit of a flow time going to 0; trajectories read under T = 1 are not redone."""
    concept = FLOW.field.encode_keys_values(torch.randn(4, 64, generator=torch.Generator().manual_seed(1)))
    tokens = torch.randint(20, 250, (7, 2), generator=torch.Generator().manual_seed(2))

    def through(pause: float) -> torch.Tensor:
        steering = Steering(FLOW.field, [((concept, 1.0),)] * 2, [0.4, 1.0], EULER, 3)
        batch = LaneBatch(BASE, LAYER, steering, [[20, 21, 22], [30, 31, 32, 33, 34]])
        batch.read_prompts()
        logits = []
        for flow_time, fed in zip([1.0, pause, pause, 1.5, pause, 2.0, 2.0], tokens, strict=True):
            batch.set_flow_time(1, flow_time)
            logits.append(batch.advance(fed))
        return torch.stack(logits)

    torch.testing.assert_close(through(0.0), through(1e-7), atol=ROUNDING, rtol=ROUNDING)


# --- scoring ---


@pytest.mark.parametrize("flow_time", [0.0, 1.5])
def test_a_text_read_in_pieces_scores_as_read_whole(flow_time: float, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "A long answer about the deep sea, in pieces."
    whole = ENGINE.score(lane(flow_time), text)
    assert len(whole.logprobs) == len(whole.token_ids) == len(text)
    for size in (7, len(ENGINE.render(lane())), len(ENGINE.render(lane())) - 1):
        monkeypatch.setattr(prompt_passes, "CHUNK_TOKENS", size)
        assert ENGINE.score(lane(flow_time), text).logprobs == pytest.approx(whole.logprobs, abs=ROUNDING)


def test_a_score_is_the_sum_of_the_plain_models_logprobs() -> None:
    text = "It is deep."
    score = ENGINE.score(lane(), text)
    prompt = ENGINE.render(lane())
    with torch.inference_mode():
        logprobs = MODEL(torch.tensor([[*prompt, *score.token_ids]])).logits[0].log_softmax(dim=-1)
    expected = [logprobs[len(prompt) - 1 + i, token_id].item() for i, token_id in enumerate(score.token_ids)]
    assert score.logprobs == pytest.approx(expected, abs=ROUNDING)
    assert score.total == pytest.approx(sum(expected), abs=10 * ROUNDING)


# --- machines ---


class Doubles(TorchDispatchMode):
    """Notes the operations that make float64 tensors, which Apple's graphics processors cannot hold."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        out = func(*args, **(kwargs or {}))
        tensors = out if isinstance(out, (tuple, list)) else [out]
        if any(isinstance(tensor, torch.Tensor) and tensor.dtype == torch.float64 for tensor in tensors):
            self.operations.append(str(func))
        return out


@pytest.mark.parametrize("sampling", [GREEDY, Sampling(temperature=1.0, top_p=0.9, min_p=0.01, repetition_penalty=1.1)])
def test_nothing_is_computed_in_float64(sampling: Sampling) -> None:
    engine, doubles = make_engine(), Doubles()
    with doubles:
        engine.generate(request(lane(), lane(1.0), sampling=sampling, solver="rk4"))
        engine.score(lane(1.0), "text")
    assert doubles.operations == []
