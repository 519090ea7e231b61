"""What becomes of a real (tiny) run: its flow is evaluated on held-out rows, gets a card, and goes to a real server."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections import Counter
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import pytest
from hub_machine import Machine
from hub_server import GOOD_TOKEN, OUTSIDER_TOKEN, Hub
from markdown_it import MarkdownIt
from tiny_run import tiny_recipe, write_base, write_rows

from flas_engine.concept_library import LIBRARY_FILE, LibraryConcept
from flas_engine.data.rows import Row
from flas_engine.engine import load_engine
from flas_engine.errors import TrainingError
from flas_engine.markdown import fenced
from flas_engine.request import Lane, Message, WeightedConcept
from flas_engine.training.card import write_card
from flas_engine.training.card_samples import describe_samples
from flas_engine.training.evaluate import count_markers, evaluate
from flas_engine.training.evaluation_file import (
    EVALUATION_FILE,
    EvaluationSettings,
    WrittenText,
    read_evaluation,
    write_evaluation,
)
from flas_engine.training.examples import turn_end_id
from flas_engine.training.held_out import find_flow_folder, held_out_rows
from flas_engine.training.markers import find_marker
from flas_engine.training.run import train

if TYPE_CHECKING:
    from pathlib import Path

    from flas_engine.engine import Engine

SETTINGS = EvaluationSettings(num_rows=5, num_concepts=2, num_prompts=1, max_new_tokens=4, text_times=(0.0, 1.0))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; tests leave it as it is."""
    home = tmp_path_factory.mktemp("result")
    recipe = tiny_recipe(write_base(home / "base"), write_rows(home / "rows.jsonl"))
    train(recipe, home / "run")
    return home / "run"


@pytest.fixture(scope="module")
def engine(run: Path) -> Engine:
    return load_engine(base=str(run.parent / "base"), flow=str(run / "flow"), dtype="float32", device="cpu")


def test_lanes_scored_together_are_scored_as_alone(engine: Engine) -> None:
    lanes = [
        Lane(conversation=(Message(role="user", content=prompt),), concepts=concepts, flow_time=time)
        for prompt in ("one", "another prompt")
        for concepts, time in (((), 0.0), ((WeightedConcept(text="pirate"),), 1.0))
    ]
    answers = [engine.tokenizer(text)["input_ids"] for text in ("short", "short", "a longer answer", "a longer answer")]
    together = engine.score_ids(lanes, answers)
    for lane, answer, logprobs in zip(lanes, answers, together, strict=True):
        assert len(logprobs) == len(answer)
        assert engine.score_ids([lane], [answer])[0] == pytest.approx(logprobs, abs=1e-4)  # float32 rounding
    assert together[0] != together[1]


def test_losses_are_those_of_the_engine(run: Path, engine: Engine) -> None:
    rows, sources = held_out_rows(run)
    row = replace(rows[0], concepts=rows[0].concepts[:1])
    (cell,) = evaluate(engine, [row], sources, replace(SETTINGS, num_concepts=0)).losses
    ids = [*engine.tokenizer(row.output, add_special_tokens=False)["input_ids"]]
    lane = Lane(
        conversation=(Message(role="user", content=row.prompt),),
        concepts=(WeightedConcept(text=row.concepts[0]),),
        flow_time=1.0,
    )
    end = turn_end_id(engine.tokenizer, engine.info.prompt_format)
    (logprobs,) = engine.score_ids([lane], [[*ids, end]])
    assert cell.num_tokens == len(ids) + 1
    assert cell.losses["1"] == pytest.approx(-sum(logprobs) / len(logprobs), abs=1e-4)
    assert cell.shuffled is None
    assert cell.preferred is None


def test_an_evaluation_is_repeatable_and_is_read_as_it_was_written(run: Path, engine: Engine, tmp_path: Path) -> None:
    rows, sources = held_out_rows(run)
    first = evaluate(engine, rows, sources, SETTINGS)
    assert evaluate(engine, rows, sources, SETTINGS) == first
    assert evaluate(engine, rows, sources, replace(SETTINGS, seed=1)).texts != first.texts
    write_evaluation(tmp_path, first)
    assert read_evaluation(tmp_path) == first
    assert all(math.isfinite(loss) for cell in first.losses for loss in cell.losses.values())
    assert all(0.0 <= (cell.preferred or 0.0) <= 1.0 for cell in first.losses)


def test_markers_are_counted_by_flow_time_and_by_concept() -> None:
    def text(concept: str, prompt: str, time: float, shows: bool | None) -> WrittenText:
        return WrittenText(
            split="val",
            group="noun",
            concept_id=concept,
            concept=concept,
            prompt=prompt,
            flow_time=time,
            text="",
            shows=shows,
        )

    shown = {("cats", "a"): True, ("cats", "b"): False, ("dogs", "a"): False, ("dogs", "b"): False}
    texts = [text(*key, 1.0, value) for key, value in shown.items()]
    texts += [text(*key, 0.0, False) for key in shown] + [text("dates", "a", 1.0, None)]
    (cell,) = count_markers(texts)
    assert cell.rates == {"1": 0.25, "0": 0.0}
    assert cell.concepts_shown == {"1": 0.5, "0": 0.0}
    assert (cell.num_concepts, cell.num_texts) == (2, 4)


def test_concepts_with_marks_are_recognised() -> None:
    noun = find_marker("noun:whales")
    assert noun is not None
    assert noun("I saw a Whale today.")
    assert not noun("I saw a wall today.")
    assert find_marker("style:pirate") is not None
    assert find_marker("references to dates") is None


def test_rows_of_an_evaluation_may_be_any(engine: Engine) -> None:
    rows = [Row(prompt="p", output="some words", concepts=("a",), concept_id="a", split="unseen", group="style")]
    other = replace(rows[0], concepts=("b",), concept_id="b", split="val")
    cells = evaluate(engine, [*rows, other], (), replace(SETTINGS, num_concepts=1)).losses
    assert [(cell.split, cell.group) for cell in cells] == [("unseen", "style"), ("val", "style")]
    assert all(cell.shuffled is not None for cell in cells)  # under the concept of the other cell


def test_rows_of_one_concept_each_are_evaluated_at_a_rate_nobody_waits_for(engine: Engine) -> None:
    rows = [Row(prompt="p", output="o", concepts=("a",), concept_id=f"{n}", split="val") for n in range(20_000)]
    began = time.process_time()
    evaluate(engine, rows, (), replace(SETTINGS, num_rows=1, num_concepts=1))
    assert time.process_time() - began < 5.0  # a look at all rows for each row takes over 20


def test_a_run_ends_with_a_card(run: Path) -> None:
    assert (run / "flow" / "README.md").read_text().startswith("---\n")


def test_the_card_says_what_the_run_was(run: Path, engine: Engine) -> None:
    rows, sources = held_out_rows(run)
    write_evaluation(run / "flow", evaluate(engine, rows, sources, SETTINGS))
    card = write_card(run).read_text()
    (run / "flow" / EVALUATION_FILE).unlink()
    split = json.loads((run / "split.json").read_text())
    assert card.startswith("---\nlibrary_name: flas-tui\n")
    assert split["sources"][0]["sha256"] in card
    assert str(run.parent) not in card  # where files lie is nobody else's business
    for words in ("## Curves", "## Evaluation", "### Samples, drawn by seed", "```toml", "torch ", "own preferred"):
        assert words in card, words
    figure = (run / "flow" / "curves.svg").read_text()
    assert figure.count("<polyline") == 3


def test_the_card_holds_its_makers_notes(run: Path) -> None:
    notes = run / "flow" / "notes.md"
    notes.write_text("## For whom\n\nFor *parrots*.\n", encoding="utf-8")
    assert "## For whom\n\nFor *parrots*.\n\n## How it was trained" in write_card(run).read_text()
    notes.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TrainingError, match=r"cannot read .*notes\.md"):
        write_card(run)
    notes.unlink()
    assert "parrots" not in write_card(run).read_text()


def test_every_concept_of_the_library_is_written_and_shown_whatever_else_is_drawn(run: Path, tmp_path: Path) -> None:
    flow = shutil.copytree(run / "flow", tmp_path / "flow")
    entries = [
        LibraryConcept(concept_id=f"noun:{name}", concept=name, group="noun", prompt=f"Why {name}?", flow_time=1.0)
        for name in ("cats", "robots", "tea", "rain", "owls")
    ]
    (flow / LIBRARY_FILE).write_text("".join(json.dumps(asdict(entry)) + "\n" for entry in entries))
    engine = load_engine(base=str(run.parent / "base"), flow=str(flow), dtype="float32", device="cpu")
    found = evaluate(engine, *held_out_rows(run), replace(SETTINGS, text_times=(0.0, 1.0, 1.5)))
    texts = [text for text in found.texts if text.split == "library"]
    assert {(text.concept, text.prompt) for text in texts} == {(entry.concept, entry.prompt) for entry in entries}
    assert sorted(text.flow_time for text in texts) == sorted([0.0, 1.0, 1.5] * len(entries))
    assert [cell.num_concepts for cell in found.markers if cell.split == "library"] == [len(entries)]
    shown = "\n".join(describe_samples(texts, 0))
    assert all(f"**{entry.concept}** (library)" in shown for entry in entries)
    assert shown.count("T 1.5:") == len(entries)


def test_no_text_of_a_model_breaks_out_of_its_card() -> None:
    text = WrittenText(
        split="val",
        group="",
        concept_id="c",
        concept="**x**\n# y",
        prompt="p",
        flow_time=1.0,
        text="a\n````\n# not a heading \x1b[31m",
        shows=None,
    )
    (part,) = describe_samples([text], 0)
    assert part.startswith("**\\*\\*x\\*\\* # y** (val)")
    assert part.count("`````") == 2
    assert "\x1b" not in part


def test_nothing_that_a_card_quotes_is_an_image_a_link_or_a_page(run: Path, engine: Engine) -> None:
    hostile = "![x](http://tracker.example/a.png) <img src=//tracker.example> [y](http://z.example) | `"
    row = Row(prompt=hostile, output="o", concepts=(hostile,), concept_id=hostile, split=hostile, group=hostile)
    found = evaluate(engine, [row, replace(row, split="noun:whales", concept_id="noun:whales")], (), SETTINGS)
    kinds = []
    for evaluation in (found, replace(found, losses=(), markers=(), texts=())):
        write_evaluation(run / "flow", evaluation)
        tokens = MarkdownIt("commonmark").enable("table").parse(write_card(run).read_text())
        nested = [child for token in tokens for child in (token.children or [])]
        kinds.append(Counter(token.type for token in (*tokens, *nested)))
    (run / "flow" / EVALUATION_FILE).unlink()
    added = kinds[0] - kinds[1]
    assert added["fence"] == 2
    assert not added.keys() & {"html_block", "html_inline", "link_open", "image", "code_inline"}


def test_a_card_keeps_the_spaces_and_joined_letters_of_a_text() -> None:
    for text in ("10\u00a0km", "\u3000", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "mi\u200cxaham"):
        assert text in fenced(text)


def test_what_is_no_result_is_refused_with_what_to_give(run: Path, tmp_path: Path) -> None:
    assert find_flow_folder(run) == run / "flow"
    with pytest.raises(TrainingError, match="there is no folder"):
        find_flow_folder(tmp_path / "none")
    with pytest.raises(TrainingError, match="neither a flow nor a training run"):
        find_flow_folder(tmp_path)
    (tmp_path / "config.toml").touch()
    with pytest.raises(TrainingError, match="has no result yet"):
        find_flow_folder(tmp_path)


@pytest.fixture
def shareable(run: Path, tmp_path: Path) -> Path:
    """The run with a base that others have, too."""
    copy = shutil.copytree(run, tmp_path / "run")
    config = copy / "flow" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"model_id": "owner/base"}))
    return copy


@pytest.fixture
def hub() -> Hub:
    return Hub({})


def test_a_run_is_published_with_its_card(shareable: Path, hub: Hub, tmp_path: Path) -> None:
    (shareable / "flow" / LIBRARY_FILE).touch()
    with hub:
        machine = Machine(tmp_path, hub.url)
        done = machine.run("train", "publish", str(shareable), "--repo", "me/flow", "--private", HF_TOKEN=GOOD_TOKEN)
        assert done.exit_code == 0, done.err
        assert done.out.strip() == f"{hub.url}/me/flow"
        published = hub.repos["me/flow"]
        assert published.is_private
        assert {"README.md", "config.json", "curves.svg", LIBRARY_FILE} < set(published.files)
        (tensors,) = (shareable / "flow").glob("*.safetensors")
        assert published.files[tensors.name] == tensors.read_bytes()
        again = machine.run("train", "publish", str(shareable), "--repo", "me/flow", HF_TOKEN=GOOD_TOKEN)
        assert again.exit_code == 0, again.err


@pytest.mark.parametrize(
    ("token", "status", "words"),
    [
        (None, None, "log in first: hf auth login"),
        (OUTSIDER_TOKEN, None, "may not write to me/flow (403)"),
        ("hf_AMistypedTokenOfThese", None, "refuses your token (401)"),
        (GOOD_TOKEN, 500, "answers 500"),
    ],
)
def test_what_the_hub_refuses_is_explained_without_the_token(
    shareable: Path, hub: Hub, tmp_path: Path, token: str | None, status: int | None, words: str
) -> None:
    with hub:
        hub.faults.status = status
        variables = {} if token is None else {"HF_TOKEN": token}
        done = Machine(tmp_path, hub.url).run("train", "publish", str(shareable), "--repo", "me/flow", **variables)
    assert done.exit_code == 1, done.err
    assert words in done.err
    assert "Traceback" not in done.err
    assert token is None or token not in done.err + done.out


def test_publishing_offline_or_what_is_no_result_is_explained(shareable: Path, tmp_path: Path) -> None:
    machine = Machine(tmp_path, "http://127.0.0.1:1")
    arguments = ("--repo", "me/flow")
    offline = machine.run("train", "publish", str(shareable), *arguments, HF_TOKEN=GOOD_TOKEN)
    assert "no connection to http://127.0.0.1:1" in offline.err
    nothing = machine.run("train", "publish", str(tmp_path), *arguments, HF_TOKEN=GOOD_TOKEN)
    assert "neither a flow nor a training run" in nothing.err
    named = machine.run("train", "publish", str(shareable), "--repo", "just-a-name", HF_TOKEN=GOOD_TOKEN)
    assert "give --repo owner/name" in named.err
    assert {offline.exit_code, nothing.exit_code, named.exit_code} == {1}


def test_a_flow_on_a_base_that_only_this_user_has_is_not_published(run: Path, tmp_path: Path) -> None:
    done = Machine(tmp_path, "http://127.0.0.1:1").run("train", "publish", str(run), "--repo", "me/flow")
    assert done.exit_code == 1
    assert f"set model_id in {run / 'flow' / 'config.json'} to the base's Hub repository" in " ".join(done.err.split())


def test_the_command_evaluates_a_run_on_what_it_held_out(run: Path, tmp_path: Path) -> None:
    arguments = ("--base", str(run.parent / "base"), "--rows", "3", "--concepts", "1", "--prompts", "1")
    more = ("--max-tokens", "3", "--device", "cpu", "--out", str(tmp_path / "out"))
    done = Machine(tmp_path, "http://127.0.0.1:1").run("train", "evaluate", str(run), *arguments, *more)
    assert done.exit_code == 0, done.err
    assert "nats a token" in done.out
    written = (tmp_path / "out" / EVALUATION_FILE).read_text()
    assert '"path": "rows.jsonl"' in written
    assert str(run.parent) not in written, "where this user's files lie is nobody's business"
