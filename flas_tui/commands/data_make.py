"""What `flas-tui data make` does with its options: who answers, what is made, where it goes."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from flas_engine.data.answer_log import AnswerLog
from flas_engine.data.concepts import concept_of_text, read_concepts, read_topics, require_distinct
from flas_engine.data.corpus_file import SUFFIX, require_writable, summarize, write_corpus
from flas_engine.data.local_answers import LocalAnswers
from flas_engine.data.makers import Asking, Rewriting, Weaving, answer_plainly
from flas_engine.data.making import Corpus, make_corpus
from flas_engine.data.prompts import gather_prompts
from flas_engine.data.styles import choose_styles, concepts_of_styles
from flas_engine.errors import DataError
from flas_engine.hub.resolve import default_model
from flas_engine.progress import ignore_progress
from flas_tui.commands.engine_loading import open_engine
from flas_tui.commands.work_narrator import WorkNarrator

if TYPE_CHECKING:
    from pathlib import Path

    from flas_engine.data.concepts import Concept
    from flas_engine.data.makers import Answerer, Maker
    from flas_engine.data.making import Recipe
    from flas_engine.info import LoadSpec
    from flas_engine.progress import ReportProgress


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What rows are to be made for, as given."""

    concept: tuple[str, ...]
    concepts: str | None
    topics: str | None
    weave: str | None
    rewrite: str | None


@dataclass(frozen=True, kw_only=True)
class MakeOptions:
    """The options of one run."""

    out: Path
    plain: Path | None
    wanted: Wanted
    prompts: str
    num_prompts: int
    recipe: Recipe
    endpoint: str | None
    endpoint_model: str | None
    concurrency: int
    lanes: int
    max_tokens: int
    temperature: float
    spec: LoadSpec
    quiet: bool


def make_file(options: MakeOptions) -> dict[str, Any]:
    """Make the rows, write the file, and return its summary; raises `FlasError` when it cannot be made."""
    require_writable(options.out)
    asked = _asked_concepts(options)
    woven = read_topics(options.wanted.weave, options.recipe.seed) if options.wanted.weave else []
    styles = choose_styles(options.wanted.rewrite) if options.wanted.rewrite else {}
    require_distinct([*asked, *woven, *concepts_of_styles(styles)])
    prompts = gather_prompts(options.prompts, options.num_prompts, options.recipe.seed)
    answerer = _choose_answerer(options)
    corpus = Corpus()
    with ExitStack() as stack:
        progress: ReportProgress = ignore_progress if options.quiet else stack.enter_context(WorkNarrator())
        if asked:
            log = stack.enter_context(AnswerLog(_beside(options.out, "answers")))
            asking = Asking(answerer=answerer, log=log, seed=options.recipe.seed, progress=progress)
            corpus.add(make_corpus(asked, prompts, asking, options.recipe))
        if woven or styles:
            log = stack.enter_context(AnswerLog(options.plain or _beside(options.out, "plain.answers")))
            plain = answer_plainly(prompts, answerer, log, progress)
            corpus.rejections.update(plain.rejections)
            weaving = Weaving(texts=plain.texts, seed=options.recipe.seed)
            rewriting = Rewriting(texts=plain.texts, styles=styles, seed=options.recipe.seed)
            pairs: list[tuple[list[Concept], Maker]] = [(woven, weaving), (concepts_of_styles(styles), rewriting)]
            for concepts, maker in pairs:
                if concepts:
                    corpus.add(make_corpus(concepts, prompts, maker, options.recipe))
    write_corpus(options.out, corpus)
    return {"path": str(options.out), **summarize(corpus)}


def _asked_concepts(options: MakeOptions) -> list[Concept]:
    wanted = options.wanted
    concepts = [concept_of_text(text) for text in wanted.concept]
    concepts += read_concepts(wanted.concepts) if wanted.concepts else []
    concepts += read_topics(wanted.topics, options.recipe.seed) if wanted.topics else []
    return require_distinct(concepts) if concepts else []


def _choose_answerer(options: MakeOptions) -> Answerer:
    if options.endpoint is None and options.endpoint_model is None:
        return _local(options)
    if options.endpoint is None or options.endpoint_model is None:
        raise DataError("--endpoint and --endpoint-model belong together: a server's address, and a model that it has")
    from flas_engine.data.endpoint_answers import EndpointAnswers
    from flas_engine.endpoint import Endpoint

    return EndpointAnswers(
        endpoint=Endpoint(url=options.endpoint, model=options.endpoint_model),
        concurrency=options.concurrency,
        max_tokens=options.max_tokens,
        temperature=options.temperature,
    )


def _local(options: MakeOptions) -> LocalAnswers:
    spec = options.spec
    name = spec.model or spec.base or default_model().name
    return LocalAnswers(
        model=name if spec.base is None else f"{name} on {spec.base}",
        open_engine=cache(lambda: open_engine(spec, quiet=options.quiet)),
        num_lanes=options.lanes,
        max_tokens=options.max_tokens,
        temperature=options.temperature,
        seed=options.recipe.seed,
    )


def _beside(out: Path, what: str) -> Path:
    return out.with_name(f"{out.name.removesuffix(SUFFIX)}.{what}{SUFFIX}")
