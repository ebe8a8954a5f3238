"""Changes how BentoML batches in a runner service: when a batch starts, and what an answer costs."""

import bentoml
from bentoml._internal.marshal.dispatcher import Optimizer


def dispatch_when_free() -> None:
    """Start a batch as soon as the engine is free, with all requests that wait by then.

    BentoML delays a single request, so that others may join its batch. It takes the delay from the waiting times of the
    last requests: after load, ten times what the engine needs. Requests gather anyway while the engine is busy.
    BentoML's dispatcher reads the delay from `Optimizer.wait`, and computes it every few seconds. This makes it zero;
    there is no setting for it.
    """
    Optimizer.wait = property(lambda _optimizer: 0.0, lambda _optimizer, _learned_s: None)


def keep_media_types(service: "bentoml.Service[object]") -> None:
    """Compute the media type of each endpoint once: BentoML builds a JSON schema for every answer to find it."""
    for method in service.apis.values():
        method.output_spec.media_type = method.output_spec.mime_type()
