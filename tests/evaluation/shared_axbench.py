"""Two lines of AxBench's concept10 (Apache-2.0, stanfordnlp/axbench), the second one shortened."""

from __future__ import annotations

from typing import Any

_RENTAL = "references to rental services and associated equipment"
_SYNTAX = "C/C++ programming syntax elements"

CONCEPT10: list[dict[str, Any]] = [
    {
        "concept_id": 0,
        "concept": _RENTAL,
        "ref": "https://www.neuronpedia.org/gemma-2-2b/20-gemmascope-res-16k/16038",
        "concept_genres_map": {_RENTAL: ["text"]},
    },
    {
        "concept_id": 2,
        "concept": _SYNTAX,
        "ref": "https://www.neuronpedia.org/gemma-2-2b/20-gemmascope-res-16k/4852",
        "concept_genres_map": {_SYNTAX: ["code"]},
    },
]
