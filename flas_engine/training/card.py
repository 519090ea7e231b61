"""The model card of a trained flow: `README.md` and `curves.svg` in its folder, from the files of its run.

Everything in it is read from what the run wrote: recipe, split, metrics, `evaluation.json` where there is one; and
`notes.md` beside the flow, for what only its maker can say. What is not known is left out. Knows nothing of models in
memory.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flas_engine.atomic import write_atomically
from flas_engine.config import read_flow_config
from flas_engine.errors import TrainingError
from flas_engine.hub.catalog import HUB_SOURCE
from flas_engine.markdown import fenced, inline, table
from flas_engine.training.card_samples import describe_samples
from flas_engine.training.curves import RunCurves
from flas_engine.training.evaluation_file import read_evaluation
from flas_engine.training.figure import draw_losses
from flas_engine.training.folder import RunFolder
from flas_engine.training.metrics import format_flow_time, read_metrics
from flas_engine.training.recipe import recipe_text
from flas_engine.training.split import SPLIT_FILE
from flas_engine.versions import package_versions

if TYPE_CHECKING:
    from flas_engine.config import FlowConfig
    from flas_engine.training.evaluation_file import Evaluation

CARD_FILE, FIGURE_FILE, NOTES_FILE = "README.md", "curves.svg", "notes.md"
MOST_VALIDATIONS = 10
"""In the table of the curves."""


def write_card(run: Path) -> Path:
    """Write the card of the result of the run at `run`; returns it. Raises `FlasError` when a file is missing."""
    folder = RunFolder(run)
    name = _flow_name(folder.flow)
    curves = RunCurves()
    curves.add(read_metrics(folder.metrics))
    config = read_flow_config(folder.flow / "config.json")
    parts = [
        _header(config),
        _introduction(name, config),
        _use(config),
        _notes(folder.flow),
        _training(folder, curves),
        _curves(curves),
        *_evaluated(folder.flow),
        _limits(),
    ]
    try:
        write_atomically(folder.flow / FIGURE_FILE, draw_losses(curves))
        write_atomically(folder.flow / CARD_FILE, "\n\n".join(part for part in parts if part) + "\n")
    except OSError as error:
        raise TrainingError(
            f"cannot write the model card in {folder.flow} ({error.strerror}); make room there"
        ) from None
    return folder.flow / CARD_FILE


def _flow_name(folder: Path) -> str:
    files = sorted(folder.glob("*.safetensors"))
    if len(files) != 1:
        raise TrainingError(f"{folder} holds {len(files)} flows; a card is written once training has ended with one")
    return files[0].stem


def _header(config: FlowConfig) -> str:
    """Return the Hub's metadata; JSON strings are YAML strings."""
    lines = ["library_name: flas-tui", "pipeline_tag: text-generation"]
    if (repository := HUB_SOURCE.fullmatch(config.model_id)) is not None:
        lines += [f"base_model: {json.dumps(repository['id'])}", "base_model_relation: adapter"]
    return "\n".join(["---", *lines, "tags:", "- flas", "- activation-steering", "- flow", "---"])


def _base_name(config: FlowConfig) -> str:
    if (repository := HUB_SOURCE.fullmatch(config.model_id)) is not None:
        return f"[{inline(repository['id'])}](https://huggingface.co/{repository['id']})"
    return inline(Path(config.model_id).name) if config.model_id else "its base model"


def _introduction(name: str, config: FlowConfig) -> str:
    return (
        f"# {inline(name)}\n\n"
        f"A flow for flow-based activation steering of {_base_name(config)}: what decoder layer "
        f"{config.layer} hands on is carried along a learned velocity field, conditioned on a concept in plain words, "
        "for a flow time T. T = 0 is the model as it is; 1 to 2 is the range to use."
    )


def _notes(folder: Path) -> str:
    path = folder / NOTES_FILE
    try:
        return path.read_text(encoding="utf-8").strip() if path.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise TrainingError(f"cannot read {path} ({error}); it is to be Markdown in UTF-8") from None


def _use(config: FlowConfig) -> str:
    form = "the model's chat template" if config.prompt_format == "chat" else "the alpaca form"
    return (
        "## How to use it\n\n"
        "```bash\n"
        'flas-tui --flow FOLDER --concept "talk like a pirate"\n'
        'flas-tui generate "Tell me about your day." --flow FOLDER --concept "talk like a pirate"\n'
        "```\n\n"
        f"FOLDER is this folder, or the repository that holds it. Prompts take {form}; {config.n_steps} solver steps; "
        f"trained for T from {config.T_min:g} to {config.T_max:g}."
    )


def _training(folder: RunFolder, curves: RunCurves) -> str:
    recipe = folder.read_recipe()
    split = _read_json(folder.path / SPLIT_FILE)
    sources = [
        (inline(Path(each["path"]).name), f"{each['num_rows']:,}", f"`{each['sha256']}`") for each in split["sources"]
    ]
    facts = [
        f"{len(split['train']):,} rows trained, {len(split['validation']):,} rows held out, "
        f"{len(split['held_out_concepts']):,} concepts held out whole."
    ]
    if (start := curves.start) is not None:
        facts.append(f"{start.num_concepts:,} concepts; {curves.update:,} updates on {curves.num_tokens:,} tokens of")
        facts.append(f"outputs, on {start.device} in {start.dtype}; seed {recipe.seed}.")
    if recipe.init_flow:
        path = Path(recipe.init_flow)
        name = path.parent.name if path.name == folder.flow.name else path.name
        facts.append(f"Began with the flow of {inline(name)}.")
    if (best := curves.best) is not None and curves.end is not None and curves.end.best_update is not None:
        facts.append(f"Best validation {best.losses['1']:.3f} nats a token, after update {best.update:,}.")
    written_with = ", ".join(f"{name} {version}" for name, version in package_versions().items())
    recipe_block = fenced(_public(recipe_text(recipe)).rstrip(), "toml")
    return "\n\n".join(
        [
            "## How it was trained",
            " ".join(facts),
            table(("data", "rows", "sha256"), sources),
            f"<details><summary>The recipe</summary>\n\n{recipe_block}\n\n</details>",
            f"Versions: {written_with}.",
        ]
    )


def _public(toml: str) -> str:
    """Leave out of paths what is nobody else's business: the folders that files lie in."""
    return re.sub(r'(?m)^((?:path|held_out_file|base|init_flow) = ")(/[^"]*/)([^"/]+")', r"\1\3", toml)


def _curves(curves: RunCurves) -> str:
    validations = curves.validations
    if not validations:
        return ""
    stride = -(-len(validations) // MOST_VALIDATIONS)
    chosen = validations[::-1][::stride][::-1]
    times = list(chosen[-1].losses)
    rows = [
        [f"{each.update:,}", *(f"{each.losses.get(time, float('nan')):.3f}" for time in times), f"{each.shuffled:.3f}"]
        for each in chosen
    ]
    return "\n\n".join(
        [
            "## Curves",
            f"![Loss over the updates]({FIGURE_FILE})",
            "Losses on held-out rows in nats a token, over T, and at T = 1 with the concepts shuffled:",
            table(("update", *(f"T {time}" for time in times), "wrong concept"), rows),
        ]
    )


def _evaluated(folder: Path) -> list[str]:
    evaluation = read_evaluation(folder)
    if evaluation is None:
        return []
    return [
        "## Evaluation",
        _describe_draws(evaluation),
        _losses(evaluation),
        _markers(evaluation),
        *_samples(evaluation),
    ]


def _describe_draws(evaluation: Evaluation) -> str:
    settings = evaluation.settings
    return (
        f"Rows, concepts, prompts, wordings and texts were drawn with seed {settings.seed}, in {evaluation.dtype}, at "
        f"temperature {settings.temperature:g}; up to {settings.num_rows} rows, {settings.num_concepts} concepts and "
        f"{settings.num_prompts} prompts of each for every split and group. `val` are trained concepts on unseen "
        "prompts, `wording` unseen wordings of them, `unseen` concepts that were not trained on, `library` what "
        "`concepts.jsonl` listed then. `flas-tui train evaluate` repeats it; `evaluation.json` holds every text."
    )


def _losses(evaluation: Evaluation) -> str:
    times = [format_flow_time(time) for time in evaluation.settings.flow_times]
    rows = [
        [
            inline(f"{cell.split} {cell.group}"),
            str(cell.num_rows),
            *(f"{cell.losses[time]:.2f}" for time in times),
            "" if cell.shuffled is None else f"{cell.shuffled:.2f}",
            "" if cell.preferred is None else f"{cell.preferred:.0%}",
        ]
        for cell in evaluation.losses
    ]
    columns = ("rows of", "rows", *(f"T {time}" for time in times), "wrong concept", "own preferred")
    return "Losses in nats a token; the last column is the share of rows that their own concept makes likelier:\n\n" + (
        table(columns, rows)
    )


def _markers(evaluation: Evaluation) -> str:
    if not evaluation.markers:
        return ""
    times = [format_flow_time(time) for time in evaluation.settings.text_times]
    rows = [
        [
            inline(f"{cell.split} {cell.group}"),
            str(cell.num_texts),
            *(f"{cell.rates[time]:.0%}" for time in times),
        ]
        for cell in evaluation.markers
    ]
    return "Texts that show their concept's marks:\n\n" + table(
        ("texts of", "texts", *(f"T {time}" for time in times)), rows
    )


def _samples(evaluation: Evaluation) -> list[str]:
    return ["### Samples, drawn by seed", *describe_samples(evaluation.texts, evaluation.settings.seed)]


def _limits() -> str:
    return (
        "## Limits\n\n"
        "A flow steers towards what its data shows: concepts unlike those it was trained on may do nothing, and above "
        "T = 2.5 texts fall apart. It knows nothing that its base model does not, and keeps all of its faults and the "
        "terms of its licence. It can be steered towards what should not be said: check what you publish."
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TrainingError(f"{path} cannot be read ({error}); the card needs it") from None
    return content
