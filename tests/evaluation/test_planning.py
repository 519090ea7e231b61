"""Which concepts, prompts and texts an evaluation has: as the protocol says, and by each text's own chance."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from shared_axbench import CONCEPT10

from flas_engine.data.lists import questions
from flas_engine.errors import DataError, EvaluationError, FlasError
from flas_engine.evaluation.concepts import choose_concepts, concept_of, read_concepts
from flas_engine.evaluation.plan import Wishes, find_difference, make_plan, require_plan
from flas_engine.evaluation.prompting import ask_for
from flas_engine.evaluation.prompts import draw_prompts, read_prompts
from flas_engine.evaluation.results import (
    Plan,
    PlannedConcept,
    noise_seed,
    plan_path,
    read_generations,
    read_plan,
    slug_of,
    write_plan,
)
from flas_engine.evaluation.wanted import lane_of, list_wanted, of_shard
from flas_engine.info import EngineInfo
from flas_engine.request import Limits, Sampling

if TYPE_CHECKING:
    from pathlib import Path

PIRATE = concept_of("talk like a pirate")
PROMPTS = tuple(f"Question {number}?" for number in range(40))
INFO = EngineInfo(
    name="tiny",
    base_id="tests/base",
    flow_id="tests/flow",
    family="llama",
    layer=2,
    num_layers=4,
    num_steps=3,
    prompt_format="chat",
    context_length=512,
    device="cpu",
    dtype="float32",
    weight_bytes=1,
)


def wish(**fields: Any) -> Wishes:
    usual: dict[str, Any] = {"concepts": (PIRATE,), "prompt_source": "questions.txt", "prompts": PROMPTS}
    return Wishes(**(usual | fields))


def plan(**fields: Any) -> Plan:
    return make_plan(wish(**fields), INFO, "0123456789abcdef")


# --- concepts ---


def test_axbench_concepts_keep_their_ids_and_genres(tmp_path: Path) -> None:
    file = tmp_path / "metadata.jsonl"
    file.write_text("".join(json.dumps(record) + "\n" for record in CONCEPT10), encoding="utf-8")
    expected = [
        PlannedConcept(concept_id="0", concept="references to rental services and associated equipment", genre="text"),
        PlannedConcept(concept_id="2", concept="C/C++ programming syntax elements", genre="code"),
    ]
    assert read_concepts(str(file), "") == read_concepts(str(tmp_path), "") == expected


def test_rows_name_each_of_their_concepts_once_and_negative_rows_none(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    rows = [
        {"input": "a", "output_concept": "robots", "concept_id": 7, "concept_genre": "text", "category": "positive"},
        {"input": "b", "output_concept": "robots", "concept_id": 7, "concept_genre": "code", "category": "positive"},
        {"input": "c", "output_concept": "EEEEE", "concept_id": -1, "category": "negative"},
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    chosen = choose_concepts(read_concepts(str(file), ""), None, None)
    assert chosen == (PlannedConcept(concept_id="7", concept="robots", genre="text"),)


def test_lines_of_text_are_called_by_themselves(tmp_path: Path) -> None:
    file = tmp_path / "concepts.txt"
    file.write_text("Talk like  a Pirate\nrobots\n", encoding="utf-8")
    assert [each.concept_id for each in read_concepts(str(file), "")] == ["talk like a pirate", "robots"]


def test_parquet_is_read_too(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pyarrow.Table.from_pylist([{"concept": "robots", "concept_id": 3, "genre": "text"}])
    parquet.write_table(table, tmp_path / "concepts.parquet")
    assert read_concepts(str(tmp_path / "concepts.parquet"), "") == [
        PlannedConcept(concept_id="3", concept="robots", genre="text")
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.txt", "", "is empty; write one entry a line"),
        ("empty.jsonl", "", "holds no concepts"),
        ("no.jsonl", '{"text": "robots"}\n', "row 1 has no text 'concept'; it has text"),
        ("broken.jsonl", '{"concept": "robots"}\n{"conc', r"row 2 is no record \(no JSON\)"),
        ("blank.jsonl", '{"concept": " "}\n', "the concept is empty"),
        (
            "two.jsonl",
            '{"concept": "robots", "concept_id": 1}\n{"concept": "cats", "concept_id": 1}\n',
            "concept_id '1' for 'robots' and for 'cats'; an id must name one concept",
        ),
        ("none.txt", None, "cannot be read: No such file"),
    ],
)
def test_a_list_without_usable_concepts_is_an_error(
    tmp_path: Path, name: str, content: str | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(FlasError, match=message):
        choose_concepts(read_concepts(str(tmp_path / name), ""), None, None)


def test_a_folder_of_several_lists_wants_one_chosen(tmp_path: Path) -> None:
    for part in ("one", "two"):
        (tmp_path / part).mkdir()
        (tmp_path / part / "metadata.jsonl").write_text('{"concept_id": 0, "concept": "robots"}\n')
    with pytest.raises(EvaluationError, match=r"2 lists of concepts.*choose one, for example .*one/metadata.jsonl"):
        read_concepts(str(tmp_path), "")
    with pytest.raises(EvaluationError, match="comes with no library of concepts"):
        read_concepts("library", str(tmp_path))


def test_the_library_of_a_flow_is_a_list_of_concepts(tmp_path: Path) -> None:
    entry = {
        "concept_id": "style:pirate",
        "concept": "talk like a pirate",
        "group": "style",
        "prompt": "Why?",
        "flow_time": 1.5,
    }
    (tmp_path / "concepts.jsonl").write_text(json.dumps(entry) + "\n")
    assert read_concepts("library", str(tmp_path)) == [
        PlannedConcept(concept_id="style:pirate", concept="talk like a pirate", genre="style")
    ]


def test_the_first_concepts_or_a_draw_by_seed() -> None:
    concepts = [concept_of(f"concept {number}") for number in range(20)]
    assert choose_concepts(concepts, 3, None) == tuple(concepts[:3])
    drawn = choose_concepts(concepts, 5, 1)
    assert drawn == choose_concepts(concepts, 5, 1) != choose_concepts(concepts, 5, 2)
    assert set(drawn) < set(concepts)
    with pytest.raises(EvaluationError, match="21 concepts are asked for, but there are 1 to 20"):
        choose_concepts(concepts, 21, None)
    with pytest.raises(EvaluationError, match="there are no concepts to evaluate"):
        choose_concepts([], None, None)


# --- prompts ---


@pytest.mark.parametrize("concept_id", [0, 7, 16_000])
def test_a_numbered_concept_draws_as_the_reference_does(concept_id: int) -> None:
    assert draw_prompts(str(concept_id), PROMPTS, 10) == random.Random(concept_id).sample(PROMPTS, 10)


def test_other_concepts_draw_by_their_own_names() -> None:
    drawn = {name: tuple(draw_prompts(name, PROMPTS, 5)) for name in ("style:pirate", "robots", "-1", "²")}
    assert len(set(drawn.values())) == len(drawn)
    assert drawn["robots"] == (  # frozen: another draw would be another evaluation
        "Question 24?",
        "Question 10?",
        "Question 1?",
        "Question 7?",
        "Question 0?",
    )


def test_prompts_come_from_the_bundled_questions_or_a_file(tmp_path: Path) -> None:
    assert read_prompts("bundled") == list(questions())
    file = tmp_path / "prompts.json"
    file.write_text('[{"instruction": "Why?"}, {"instruction": "How?"}]')
    assert read_prompts(str(file)) == ["Why?", "How?"]


def test_alpaca_eval_that_was_not_downloaded_says_how(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FLAS_CACHE_DIR", str(tmp_path))
    with pytest.raises(DataError, match="run: flas-tui data download alpaca-eval"):
        read_prompts("alpaca-eval")


# --- wishes and plans ---


def test_a_flow_time_of_zero_is_the_baseline() -> None:
    made = plan(methods=("steering",), flow_times=(2.0, 0.0, 1.0, 1.0))
    assert (made.methods, made.flow_times) == (("steering", "baseline"), (1.0, 2.0))


def test_defaults_are_the_protocols() -> None:
    made = plan()
    assert (made.prompts_per_concept, made.sampling.temperature, made.limits.max_new_tokens) == (10, 1.0, 256)
    assert made.flow_times == (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0)
    assert made.methods == ("steering", "prompting", "baseline")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"methods": ("steering", "lora")}, "no method 'lora'; there are steering, prompting, baseline"),
        ({"methods": ()}, "no method is asked for"),
        ({"flow_times": (1.0, 9.0)}, "flow time is 9; it must be at least -8 and at most 8"),
        ({"flow_times": (float("nan"),)}, "flow time is nan"),
        ({"flow_times": (0.0,)}, "steering needs a flow time other than 0"),
        ({"seeds": ()}, "the seeds are"),
        ({"seeds": (-1,)}, "the seeds are"),
        ({"prompts_per_concept": 41}, "41 prompts a concept are asked for; questions.txt has 40"),
        ({"prompts_per_concept": 0}, "0 prompts a concept are asked for"),
        ({"solver": "magic"}, "magic"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_before_a_model_is_loaded(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(FlasError, match=message):
        wish(**fields)


def test_steering_needs_a_flow_and_the_rest_does_not() -> None:
    plain = replace(INFO, flow_id=None, num_steps=None)
    with pytest.raises(EvaluationError, match=r"tiny has no flow.*--methods prompting,baseline"):
        make_plan(wish(), plain, "")
    made = make_plan(wish(methods=("prompting", "baseline")), plain, "")
    assert (made.flow, made.checkpoint, made.flow_times, made.num_steps) == ("", "", (), None)


def test_a_plan_is_read_as_it_was_written(tmp_path: Path) -> None:
    made = plan(limits=Limits(max_new_tokens=5, stop=("END", "☕")), sampling=Sampling(top_k=3), seeds=(3, 1))
    write_plan(tmp_path, made)
    assert read_plan(tmp_path) == made


@pytest.mark.parametrize(
    ("fields", "difference"),
    [
        ({"flow_times": (0.5, 2.0)}, "its flow times were 0.5, 1.5, and now 0.5, 2"),
        ({"prompts_per_concept": 3}, "its prompts per concept was 2, and now 3"),
        ({"concepts": (PIRATE, concept_of("tea"))}, "it has 1 concepts, and now 2"),
        ({"concepts": (concept_of("tea"),)}, "its concept 1 is 'talk like a pirate' .*, and now 'tea'"),
        ({"prompts": PROMPTS[1:]}, "its prompts hash was"),
        ({"limits": Limits(max_new_tokens=5)}, "its limits max new tokens were 256, and now 5"),
        ({"sampling": Sampling(temperature=0.5)}, "its sampling temperature was 1.0, and now 0.5"),
        ({"seeds": (0, 1)}, "its seeds were 0, and now 0, 1"),
        ({"methods": ("steering",)}, "its methods were steering, prompting, baseline, and now steering"),
    ],
)
def test_another_plan_in_the_same_folder_is_an_error_that_names_the_difference(
    tmp_path: Path, fields: dict[str, Any], difference: str
) -> None:
    usual: dict[str, Any] = {"flow_times": (0.5, 1.5), "prompts_per_concept": 2}
    require_plan(tmp_path, plan(**usual))
    require_plan(tmp_path, plan(**usual))
    before = plan_path(tmp_path).read_bytes()
    with pytest.raises(EvaluationError, match=f"was begun with another plan: {difference}"):
        require_plan(tmp_path, plan(**(usual | fields)))
    assert plan_path(tmp_path).read_bytes() == before


def test_the_same_model_under_another_name_is_the_same_plan() -> None:
    assert find_difference(plan(), replace(plan(), model="demo", flow="/somewhere/else")) == ""
    assert find_difference(plan(), replace(plan(), checkpoint="f" * 16)).startswith("its checkpoint was")


def test_a_folder_without_an_evaluation_says_so(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"holds no evaluation: plan\.json is missing"):
        read_plan(tmp_path)
    with pytest.raises(EvaluationError, match="holds no generations"):
        read_generations(tmp_path)
    plan_path(tmp_path).write_text('{"model": 1}')
    with pytest.raises(EvaluationError, match=r"plan\.json is damaged"):
        read_plan(tmp_path)


# --- wanted texts ---


def test_every_concept_prompt_seed_and_column_is_wanted_once() -> None:
    made = plan(concepts=(PIRATE, concept_of("tea")), prompts_per_concept=3, flow_times=(0.5, 2.0), seeds=(0, 1))
    wanted = list_wanted(made, PROMPTS)
    assert len({each.key for each in wanted}) == len(wanted) == 2 * 3 * 2 * (2 + 2)
    columns = [(each.method, each.flow_time) for each in wanted[:4]]
    assert columns == [("steering", 0.5), ("steering", 2.0), ("prompting", 0.0), ("baseline", 0.0)]
    assert [each.input for each in wanted[::8]][:3] == draw_prompts(PIRATE.concept_id, PROMPTS, 3)
    assert [each.input_id for each in wanted[::8]] == [0, 1, 2, 0, 1, 2]


def test_a_text_is_called_by_what_it_follows_from_and_not_by_what_else_is_asked_for() -> None:
    small = {each.key for each in list_wanted(plan(flow_times=(1.0,), prompts_per_concept=2), PROMPTS)}
    large_plan = plan(
        concepts=(concept_of("tea"), PIRATE), flow_times=(0.5, 1.0, 2.0), seeds=(0, 1), prompts_per_concept=2
    )
    assert small < {each.key for each in list_wanted(large_plan, PROMPTS)}
    for change in (
        {"limits": Limits(max_new_tokens=9)},
        {"sampling": Sampling(temperature=0.0)},
    ):
        other = list_wanted(plan(flow_times=(1.0,), prompts_per_concept=2, **change), PROMPTS)
        assert small.isdisjoint(each.key for each in other)
    checkpoint = list_wanted(replace(plan(flow_times=(1.0,), prompts_per_concept=2), checkpoint="f" * 16), PROMPTS)
    assert {each.method for each in checkpoint if each.key in small} == {"prompting", "baseline"}


def test_flow_times_and_methods_of_a_prompt_share_their_noise_and_other_prompts_do_not() -> None:
    wanted = list_wanted(plan(concepts=(PIRATE, concept_of("tea")), seeds=(0, 1)), PROMPTS)
    noise: dict[tuple[str, str, int], set[int | None]] = {}
    for each in wanted:
        noise.setdefault((each.concept_id, each.input, each.seed), set()).add(lane_of(each).seed)
    assert all(len(seeds) == 1 for seeds in noise.values())
    assert len({seed for seeds in noise.values() for seed in seeds}) == len(noise) == 2 * 10 * 2
    assert noise_seed(0, "robots", "Why?") == 998_300_628  # frozen: other noise would be another evaluation


def test_lanes_say_what_their_method_is() -> None:
    steering, prompting, baseline = list_wanted(plan(flow_times=(1.5,), prompts_per_concept=1), PROMPTS)
    steered, asked, plain = map(lane_of, (steering, prompting, baseline))
    assert (steered.flow_time, steered.concepts[0].text) == (1.5, "talk like a pirate")
    assert steered.conversation == plain.conversation
    assert asked.conversation[0].content == ask_for("talk like a pirate", prompting.input)
    assert prompting.input in asked.conversation[0].content
    assert asked.is_baseline
    assert plain.is_baseline
    assert not asked.concepts
    assert not plain.concepts


@pytest.mark.parametrize("num_shards", [1, 2, 3, 7, 100])
def test_shards_are_disjoint_and_together_everything_with_the_texts_of_a_prompt_in_one(num_shards: int) -> None:
    wanted = list_wanted(plan(prompts_per_concept=7, concepts=(PIRATE, concept_of("tea")), seeds=(0, 1)), PROMPTS)
    shards = [of_shard(wanted, shard, num_shards) for shard in range(num_shards)]
    assert sorted(each.key for shard in shards for each in shard) == sorted(each.key for each in wanted)
    prompts = [{(each.concept_id, each.input_id) for each in shard} for shard in shards]
    assert sum(map(len, prompts)) == 14
    assert max(map(len, shards)) - min(map(len, shards)) <= len(wanted) // 14


def test_a_judge_gets_a_file_name() -> None:
    assert slug_of("gpt-4o-mini", "AxBench 1.0") == "gpt-4o-mini-axbench-1.0"
    assert slug_of("../../Meta/Llama:3.1") == "meta-llama-3.1"
    assert slug_of("☕") == "judge"
