"""Relations that steering must keep, on small random models of every family, in float32."""

from __future__ import annotations

import pytest
import torch
from tiny import FAMILY_NAMES, tiny_architecture, tiny_flow, tiny_transformers_model

from flas_engine.base import from_transformers
from flas_engine.batch import LaneBatch
from flas_engine.kernels.layout import PACKED, PLAIN
from flas_engine.solvers import SOLVERS
from flas_engine.steering import Mix, Steering

LAYER = 2
ROUNDING = 2e-5  # float32 sums taken in another order
PROMPTS = [[2, 17, 99, 4, 250, 3, 8, 77, 31, 5], [2, 5, 6], [2, 5, 6], [2, 201, 33, 90]]
FLOW_TIMES = [0.0, 1.5, -0.7, 2.0]
TOKENS = torch.tensor([[9, 30, 30, 7], [40, 41, 200, 43], [50, 51, 52, 53]])
"""Fed one by one: [token, lane]."""
ABLATIONS = ["disable_self_attn", "disable_mlp", "disable_cross_attn"]


@pytest.fixture(params=[PLAIN, PACKED], autouse=True)
def layout(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test over both layouts of the weights."""
    monkeypatch.setattr(Case, "layout", request.param)


class Case:
    """A base, a flow and two concepts of different lengths."""

    layout = PLAIN

    def __init__(self, family: str, num_blocks: int = 1, **overrides: object) -> None:
        self.model = tiny_transformers_model(family)
        self.base = from_transformers(self.model, layout=self.layout)
        architecture = self.base.architecture
        self.flow = tiny_flow(architecture, layer=LAYER, num_blocks=num_blocks, **overrides)
        if self.layout != PLAIN:
            self.flow.field.freeze(self.layout)
        generator = torch.Generator().manual_seed(1)
        encode = self.flow.field.encode_keys_values
        self.a = encode(torch.randn(5, architecture.hidden_size, generator=generator))
        self.b = encode(torch.randn(3, architecture.hidden_size, generator=generator))

    def batch(
        self, prompts: list[list[int]], flow_times: list[float], mixes: list[Mix] | None = None, solver: str = "euler"
    ) -> LaneBatch:
        mixes = mixes or [((self.a, 1.0),)] * len(prompts)
        steering = Steering(self.flow.field, mixes, flow_times, SOLVERS[solver], 3)
        return LaneBatch(self.base, LAYER, steering, prompts)


def run(batch: LaneBatch, tokens: torch.Tensor) -> torch.Tensor:
    """Logits [lane, step, V] behind the prompt and behind every fed token."""
    return torch.stack([batch.read_prompts(), *(batch.advance(step) for step in tokens)], dim=1)


@pytest.mark.parametrize("family", FAMILY_NAMES)
@torch.inference_mode()
def test_a_lane_in_a_batch_equals_the_lane_alone(family: str) -> None:
    case = Case(family)
    together = run(case.batch(PROMPTS, FLOW_TIMES), TOKENS)
    for lane, (prompt, flow_time) in enumerate(zip(PROMPTS, FLOW_TIMES, strict=True)):
        alone = run(case.batch([prompt], [flow_time]), TOKENS[:, lane : lane + 1])
        torch.testing.assert_close(together[lane], alone[0], atol=ROUNDING, rtol=ROUNDING)


@pytest.mark.parametrize("family", FAMILY_NAMES)
@torch.inference_mode()
def test_cached_equals_recomputed(family: str) -> None:
    case = Case(family, num_blocks=2)
    cached = run(case.batch(PROMPTS, FLOW_TIMES), TOKENS)
    texts = [prompt + TOKENS[:, lane].tolist() for lane, prompt in enumerate(PROMPTS)]
    recomputed = case.batch(texts, FLOW_TIMES).read_prompts()
    torch.testing.assert_close(cached[:, -1], recomputed, atol=ROUNDING, rtol=ROUNDING)


@pytest.mark.parametrize("family", FAMILY_NAMES)
@torch.inference_mode()
def test_baseline_lane_is_bitwise_untouched_by_the_steered_lanes_beside_it(family: str) -> None:
    case = Case(family)
    beside = run(case.batch(PROMPTS, FLOW_TIMES), TOKENS)
    all_baseline = run(case.batch(PROMPTS, [0.0] * len(PROMPTS)), TOKENS)
    assert torch.equal(beside[0], all_baseline[0])
    assert not torch.equal(beside[1], all_baseline[1])


@pytest.mark.parametrize("ablation", ABLATIONS)
@torch.inference_mode()
def test_every_ablation_runs_and_matters(ablation: str) -> None:
    whole, ablated = Case("llama"), Case("llama", **{ablation: True})
    steered = run(ablated.batch(PROMPTS, FLOW_TIMES), TOKENS)
    recomputed = ablated.batch([p + TOKENS[:, i].tolist() for i, p in enumerate(PROMPTS)], FLOW_TIMES).read_prompts()
    torch.testing.assert_close(steered[:, -1], recomputed, atol=ROUNDING, rtol=ROUNDING)
    assert not torch.allclose(steered[1], run(whole.batch(PROMPTS, FLOW_TIMES), TOKENS)[1], atol=1e-3)


@torch.inference_mode()
def test_a_mix_of_one_concept_in_two_halves_equals_the_concept() -> None:
    case = Case("gemma2")
    whole = run(case.batch(PROMPTS[:2], [1.0, 1.0]), TOKENS[:, :2])
    halves: Mix = ((case.a, 0.25), (case.a, 0.75))
    mixed = run(case.batch(PROMPTS[:2], [1.0, 1.0], [halves, ((case.a, 1.0),)]), TOKENS[:, :2])
    torch.testing.assert_close(mixed, whole, atol=ROUNDING, rtol=ROUNDING)


@torch.inference_mode()
def test_concepts_of_either_sign_mix_and_opposite_weights_cancel() -> None:
    case = Case("llama")
    baseline = run(case.batch(PROMPTS[:1], [0.0]), TOKENS[:, :1])
    cancelled = run(case.batch(PROMPTS[:1], [1.5], [((case.a, 1.0), (case.a, -1.0))]), TOKENS[:, :1])
    torch.testing.assert_close(cancelled, baseline, atol=ROUNDING, rtol=ROUNDING)
    mixed = run(case.batch(PROMPTS[:1], [1.5], [((case.a, 1.0), (case.b, -0.5))]), TOKENS[:, :1])
    assert not torch.allclose(mixed, run(case.batch(PROMPTS[:1], [1.5]), TOKENS[:, :1]), atol=1e-3)


@torch.inference_mode()
def test_padding_of_a_shorter_concept_changes_nothing() -> None:
    case = Case("qwen3")
    mixes: list[Mix] = [((case.a, 1.0),), ((case.b, 1.0),)]
    together = run(case.batch(PROMPTS[:2], [1.0, 1.0], mixes), TOKENS[:, :2])
    alone = run(case.batch(PROMPTS[1:2], [1.0], mixes[1:]), TOKENS[:, 1:2])
    torch.testing.assert_close(together[1], alone[0], atol=ROUNDING, rtol=ROUNDING)


@pytest.mark.parametrize("family", FAMILY_NAMES)
@torch.inference_mode()
def test_a_lane_goes_on_when_others_leave_the_batch(family: str) -> None:
    case = Case(family)
    whole = run(case.batch(PROMPTS, FLOW_TIMES), TOKENS)
    batch = case.batch(PROMPTS, FLOW_TIMES)
    batch.read_prompts()
    batch.advance(TOKENS[0])
    rows = [0, 3]
    batch.keep(rows)
    for step in (1, 2):
        left = batch.advance(TOKENS[step][rows])
        torch.testing.assert_close(left, whole[rows, step + 1], atol=ROUNDING, rtol=ROUNDING)


@pytest.mark.parametrize("family", FAMILY_NAMES)
@torch.inference_mode()
def test_a_flow_time_changed_between_tokens_acts_on_the_next_one_only(family: str) -> None:
    """Logits up to the change are those of the old T; without self-attention the flow keeps no memory of it."""
    case = Case(family, disable_self_attn=True)
    old = run(case.batch(PROMPTS[1:2], [0.5]), TOKENS[:, 1:2])
    batch = case.batch(PROMPTS[1:2], [0.5])
    before = batch.read_prompts()
    batch.set_flow_time(0, 2.0)
    after = batch.advance(TOKENS[0, 1:2])
    assert torch.equal(before[0], old[0, 0])
    assert not torch.allclose(after[0], old[0, 1], atol=1e-3)
    batch.set_flow_time(0, 0.5)
    torch.testing.assert_close(batch.advance(TOKENS[1, 1:2])[0], old[0, 2], atol=0.5, rtol=0.5)


@pytest.mark.parametrize("family", ["gemma2", "qwen3", "llama"])
@torch.inference_mode()
def test_a_lane_that_leaves_zero_goes_on_as_from_the_smallest_flow_time(family: str) -> None:
    """The trajectories of what was read at T = 0 stand still, which is the limit of a flow time going to 0."""
    case = Case(family, num_blocks=2)

    def raised_from(flow_time: float) -> torch.Tensor:
        batch = case.batch(PROMPTS[:2], [flow_time, 0.0])
        batch.read_prompts()
        batch.advance(TOKENS[0, :2])
        batch.set_flow_time(0, 1.5)
        return torch.stack([batch.advance(step) for step in TOKENS[1:, :2]])

    torch.testing.assert_close(raised_from(0.0), raised_from(1e-7), atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_standardised_coordinates_are_a_change_of_variables() -> None:
    """With unit scale and zero mean they change nothing; otherwise the displacement scales with `h_scale`."""
    case = Case("llama", disable_self_attn=True, coordinates="standardised")
    field = case.flow.field
    plain = Case("llama", disable_self_attn=True)
    coordinates = field.coordinates
    for name, value in (("h_mean", 0.0), ("c_mean", 0.0), ("h_scale", 1.0), ("c_scale", 1.0)):
        getattr(coordinates, name).fill_(value)
    plain.flow.field.load_state_dict({k: v for k, v in field.state_dict().items() if not k.startswith("coordinates.")})
    for each in (case, plain):
        generator = torch.Generator().manual_seed(1)
        each.a = each.flow.field.encode_keys_values(torch.randn(5, 64, generator=generator))
    same = run(case.batch(PROMPTS[:1], [1.0]), TOKENS[:, :1])
    assert torch.equal(same, run(plain.batch(PROMPTS[:1], [1.0]), TOKENS[:, :1]))
    coordinates.h_scale.fill_(2.0)
    h = torch.randn(1, 3, 64)
    torch.testing.assert_close(field.leave(field.enter(h)), h)
    assert not torch.allclose(run(case.batch(PROMPTS[:1], [1.0]), TOKENS[:, :1]), same, atol=1e-3)


@pytest.mark.parametrize("solver", list(SOLVERS))
@torch.inference_mode()
def test_every_solver_decodes_with_caches_of_its_own(solver: str) -> None:
    case = Case("gemma2")
    cached = run(case.batch(PROMPTS, FLOW_TIMES, solver=solver), TOKENS)
    texts = [prompt + TOKENS[:, lane].tolist() for lane, prompt in enumerate(PROMPTS)]
    recomputed = case.batch(texts, FLOW_TIMES, solver=solver).read_prompts()
    torch.testing.assert_close(cached[:, -1], recomputed, atol=ROUNDING, rtol=ROUNDING)


@torch.inference_mode()
def test_the_flow_is_integrated_in_float32_whatever_the_weights() -> None:
    """At T = 2 a bfloat16 integration would step by dt = 0.66797: the result must follow the float32 one instead."""
    architecture = tiny_architecture("llama")
    flow = tiny_flow(architecture, layer=LAYER, disable_self_attn=True)
    seen: list[torch.dtype] = []
    flow.field.register_forward_hook(lambda _, args, output: seen.extend([args[0].dtype, output.dtype]))
    concept = flow.field.to(torch.bfloat16).encode_keys_values(torch.randn(3, 64))
    steering = Steering(flow.field, [((concept, 1.0),)], [2.0], SOLVERS["euler"], 3)
    base = from_transformers(tiny_transformers_model("llama").to(torch.bfloat16))
    LaneBatch(base, LAYER, steering, [[2, 5, 6]]).read_prompts()
    assert seen == [torch.float32] * 6
