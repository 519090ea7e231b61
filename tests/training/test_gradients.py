"""Gradients of the cut, chunked objective against plain autograd through transformers' whole hooked model.

Both run in float64: what the engine computes in float32 by intention is carried to float64 for the comparison, in
transformers' model as in ours, so that what is left between them is the mathematics.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import torch
from tiny import FAMILY_NAMES, tiny_flow, tiny_transformers_model
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from flas_engine.base import from_transformers
from flas_engine.concept import encode_tokens
from flas_engine.field import batch_conditions
from flas_engine.layers import make_window, to_logits
from flas_engine.training import trunk
from flas_engine.training.objective import Conditioning, Objective, Texts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from transformers import PreTrainedModel

    from flas_engine.checkpoint import Flow
    from flas_engine.layers import BaseModel
    from flas_engine.training.objective import Terms

LAYER = 2
FLOW_TIME, NUM_STEPS, BETA = 1.3, 3, 5.0
DIVERSITY_WEIGHT, CONTRAST_WEIGHT = 0.1, 0.7
RELATIVE_DIFFERENCE = 1e-6
PROMPTS = [[2, 17, 99, 4, 250, 3, 8], [2, 5, 6], [2, 40, 41, 42, 43]]
OUTPUTS = [[9, 30, 1], [7, 8, 9, 10, 11, 12, 13, 14, 1], [60, 1]]
CONCEPTS = [[2, 10, 11], [2, 12], [2, 10, 13, 14, 15]]
WRONG = [1, 2, 0]
CONCEPT_IDS = torch.tensor([0, 1, 0])
"""The first and the third are wordings of one concept."""


class InFloat64(TorchFunctionMode):
    """Carries every cast to float32 on to float64."""

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        del types
        if function is torch.Tensor.float:
            return args[0].double()
        double = {torch.float32: torch.float64}
        args = tuple(double.get(x, x) if isinstance(x, torch.dtype) else x for x in args)
        kwargs = {k: double.get(x, x) if isinstance(x, torch.dtype) else x for k, x in (kwargs or {}).items()}
        return function(*args, **kwargs)


@contextmanager
def float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        with InFloat64():
            yield
    finally:
        torch.set_default_dtype(torch.float32)


def make_texts(base: BaseModel) -> Texts:
    lengths = [len(prompt) + len(output) for prompt, output in zip(PROMPTS, OUTPUTS, strict=True)]
    ids = torch.tensor(
        [
            prompt + output + [0] * (max(lengths) - length)
            for prompt, output, length in zip(PROMPTS, OUTPUTS, lengths, strict=True)
        ]
    )
    places = [
        (row, len(prompt) - 1 + index, token)
        for row, (prompt, output) in enumerate(zip(PROMPTS, OUTPUTS, strict=True))
        for index, token in enumerate(output)
    ]
    rows, positions, targets = (torch.tensor(column) for column in zip(*places, strict=True))
    h_BLD = trunk.run_lower(base, LAYER, ids)
    return Texts(h_BLD=h_BLD, lengths_B=torch.tensor(lengths), rows_N=rows, positions_N=positions, targets_N=targets)


def our_gradients(
    base: BaseModel, flow: Flow, *, recomputes: bool = False
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    encoded = [encode_tokens(base, torch.tensor([ids]))[0] for ids in CONCEPTS]
    objective = Objective(
        base, flow.field, num_steps=NUM_STEPS, compute_dtype=base.dtype, contrast_beta=BETA, recomputes=recomputes
    )
    given = Conditioning(
        flow_time=FLOW_TIME,
        concepts=encoded,
        wrong_concepts=[encoded[other] for other in WRONG],
        concept_ids_B=CONCEPT_IDS,
    )
    terms: Terms = objective(make_texts(base), given)
    num_tokens = sum(map(len, OUTPUTS))
    loss = terms.lm_sum / num_tokens + DIVERSITY_WEIGHT * terms.diversity + CONTRAST_WEIGHT * terms.contrast
    return loss, gradients_of(loss, flow)


def gradients_of(loss: torch.Tensor, flow: Flow) -> dict[str, torch.Tensor]:
    names, parameters = zip(*flow.field.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, parameters), strict=True))


def plain_row(
    model: PreTrainedModel, base: BaseModel, flow: Flow, row: int, concept: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """A row alone through the whole hooked model: its output tokens' losses, and its averaged last velocity."""
    field, velocities = flow.field, []
    ids = torch.tensor([PROMPTS[row] + OUTPUTS[row]])
    keys_values = field.encode_keys_values(encode_tokens(base, torch.tensor([CONCEPTS[concept]]))[0])
    window = make_window(base.architecture, torch.arange(ids.shape[1])[None], slice(0, ids.shape[1]), base.dtype)

    def steer(module: Any, args: Any, output: Any) -> Any:
        del module, args
        h = field.enter(output[0] if isinstance(output, tuple) else output)
        for step in range(NUM_STEPS):
            time = field.time_embed(torch.tensor([[FLOW_TIME * step / NUM_STEPS]]))
            velocity = field(h, time, batch_conditions([keys_values]), window, None)
            velocities.append(velocity)
            h = h + FLOW_TIME / NUM_STEPS * velocity
        steered = field.leave(h)
        return (steered, *output[1:]) if isinstance(output, tuple) else steered

    handle = model.get_decoder().layers[LAYER].register_forward_hook(steer)
    try:
        logits = model(ids).logits[0]
    finally:
        handle.remove()
    first = len(PROMPTS[row]) - 1
    losses = F.cross_entropy(logits[first:-1], torch.tensor(OUTPUTS[row]), reduction="none")
    return losses, velocities[-1][0].mean(dim=0)


def plain_gradients(
    model: PreTrainedModel, base: BaseModel, flow: Flow
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    right = [plain_row(model, base, flow, row, row) for row in range(3)]
    wrong = [plain_row(model, base, flow, row, WRONG[row])[0] for row in range(3)]
    contrast = torch.stack(
        [F.softplus(-BETA * (bad.mean() - good.mean())) for bad, (good, _) in zip(wrong, right, strict=True)]
    ).mean()
    pooled = [velocity for _, velocity in right]
    pairs = [(0, 1), (1, 2)]
    diversity = torch.stack([F.cosine_similarity(pooled[a], pooled[b], dim=0) for a, b in pairs]).mean()
    loss = torch.cat([losses for losses, _ in right]).mean() + DIVERSITY_WEIGHT * diversity + CONTRAST_WEIGHT * contrast
    return loss, gradients_of(loss, flow)


@pytest.mark.parametrize("coordinates", [None, "standardised"])
@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_gradients_equal_plain_autograd_through_the_whole_hooked_model(
    family: str, coordinates: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trunk, "LOGIT_ELEMENTS", 4 * 256)  # four positions a piece, so that pieces have to be joined
    monkeypatch.setattr(trunk, "LOGIT_ROWS", 1)
    model = tiny_transformers_model(family).double().requires_grad_(requires_grad=False)
    with float64():
        base = from_transformers(model)
        flow = tiny_flow(base.architecture, layer=LAYER, num_blocks=2, coordinates=coordinates)
        flow.field.double().requires_grad_()
        loss, ours = our_gradients(base, flow)
        plain_loss, plain = plain_gradients(model, base, flow)
    assert loss.dtype == torch.float64
    assert abs(loss.item() / plain_loss.item() - 1.0) < RELATIVE_DIFFERENCE
    for name, gradient in plain.items():
        assert gradient.norm() > 0.0, name
        assert (ours[name] - gradient).norm() / gradient.norm() < RELATIVE_DIFFERENCE, name


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_gradients_are_the_same_when_the_way_back_recomputes(family: str) -> None:
    base = from_transformers(tiny_transformers_model(family))
    flow = tiny_flow(base.architecture, layer=LAYER, num_blocks=2)
    flow.field.requires_grad_()
    loss, kept = our_gradients(base, flow)
    loss_again, recomputed = our_gradients(base, flow, recomputes=True)
    assert torch.equal(loss, loss_again)
    assert all(torch.equal(kept[name], recomputed[name]) for name in kept)


@pytest.mark.parametrize("above", ["some layers", "one layer", "none"])
def test_what_the_last_layer_hands_on_at_some_places_is_that_of_a_whole_pass(above: str) -> None:
    base = from_transformers(tiny_transformers_model("gemma3"))
    num_layers = base.architecture.num_layers
    layer = {"some layers": LAYER - 1, "one layer": num_layers - 2, "none": num_layers - 1}[above]
    ids = torch.tensor([PROMPTS[0], PROMPTS[2] + OUTPUTS[2]])
    rows, positions = torch.tensor([0, 0, 1]), torch.tensor([2, 6, 4])
    h_ND = trunk.run_upper(base, layer, trunk.run_lower(base, layer, ids), rows, positions)
    whole_BLD = trunk.run_lower(base, num_layers - 1, ids)
    torch.testing.assert_close(h_ND, whole_BLD[rows, positions])


def test_losses_over_fewer_words_are_normalised_over_them() -> None:
    base = from_transformers(tiny_transformers_model("qwen3"))
    words = torch.tensor([3, 60, 9, 255])
    h_ND = torch.randn(5, base.architecture.hidden_size, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([0, 3, 1, 1, 2])
    few = trunk.token_losses(trunk.with_vocabulary(base, words), h_ND, targets)
    expected = F.cross_entropy(to_logits(base, h_ND)[:, words], targets, reduction="none")
    torch.testing.assert_close(few, expected)
