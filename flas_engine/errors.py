"""The one family of errors that a user can cause or mend.

Every message says what is wrong, the offending value, what is allowed, and what to do next. Front ends show the
message alone, never a traceback; anything that is not a `FlasError` is a defect of ours.
"""

from __future__ import annotations


class FlasError(Exception):
    """A mistake or a circumstance that the user can do something about; `str(error)` is what they are told."""


class RequestError(FlasError):
    """A request that cannot be run as it stands: an empty prompt, a flow time out of range, a prompt too long."""


class CheckpointError(FlasError):
    """A flow checkpoint that is damaged, incomplete, or does not belong to the base model."""


class ModelError(FlasError):
    """A base model that is unknown, unsupported, damaged, or too large for the machine."""


class DownloadError(FlasError):
    """Files that could not be had: no network, no licence, no token, no such repository, no room."""


class EndpointError(FlasError):
    """A server that was asked and gave no answer: its address, its key, its model, its load."""


class DataError(FlasError):
    """Training data that is missing, empty or not of a known form, or that could not be made."""


class Cancelled(FlasError):
    """The user asked for a load or a download to stop."""


class TrainingError(FlasError):
    """A training run that cannot begin, go on or be written: its recipe, its folder, its losses."""


class EvaluationError(FlasError):
    """An evaluation that cannot begin, go on, be judged or be reported: its plan, its folder, its judge."""
