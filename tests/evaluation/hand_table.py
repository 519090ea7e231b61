"""A small evaluation whose numbers can be worked out by hand, and are, in the tests that use it.

Ratings are written as three digits, C I F; HM of 222 is 2, of 221 1.5, of 211 1.2, of 111 1, and 0 with any 0. An x is
a failed judgement; a text written as - was never judged.

                 prompt 0   1     2     3
    A  T 1            222   111   022   221      T 1 and T 2 tie on the first half, at 1.5
       T 2            111   222   111   211
       prompting      111   111   111   111
       baseline       022   022   022   022
    B  T 1            111   2x1   222            three prompts: one chooses, two score
       T 2            211   222   000
       prompting      011   111   -
    C  T 1            222                        one prompt: no half to choose on
       T 2            022
    D  T 1            222   111                  two seeds: the second one below
                      022   -
       T 2            022   022
                      022   022
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from judged_evaluation import JUDGE, make_generation, rate

from flas_engine.evaluation.scores import Column, Concept, EvaluatedSet, score

if TYPE_CHECKING:
    from flas_engine.evaluation.results import Generation, Judgement

T1, T2 = Column(method="steering", flow_time=1.0), Column(method="steering", flow_time=2.0)
PROMPTING, BASELINE = Column(method="prompting"), Column(method="baseline")
A, B, C, D = (Concept(concept_id=name, concept=name) for name in "ABCD")
TABLE = {
    (A, T1): ["222 111 022 221"],
    (A, T2): ["111 222 111 211"],
    (A, PROMPTING): ["111 111 111 111"],
    (A, BASELINE): ["022 022 022 022"],
    (B, T1): ["111 2x1 222"],
    (B, T2): ["211 222 000"],
    (B, PROMPTING): ["011 111 -"],
    (C, T1): ["222"],
    (C, T2): ["022"],
    (D, T1): ["222 111", "022 -"],
    (D, T2): ["022 022", "022 022"],
}


def hand_records() -> tuple[list[Generation], list[Judgement]]:
    """Return the texts of the table, last ones first, and what was said of them."""
    generations, judgements = [], []
    for (concept, column), seeds in TABLE.items():
        for seed, row in enumerate(seeds):
            for input_id, digits in enumerate(row.split()):
                generation = make_generation(
                    concept.concept, input_id, method=column.method, flow_time=column.flow_time, seed=seed
                )
                generations.append(generation)
                if digits != "-":
                    judgements += rate(generation, [None if digit == "x" else float(digit) for digit in digits])
    return generations[::-1], judgements


def hand_set() -> EvaluatedSet:
    """Return the table as its judge sees it."""
    return score(*hand_records(), judge=JUDGE, judges=(JUDGE,))
