"""BentoML's batching in a runner that is a service of its own: when a batch begins, and what an answer costs."""

import bentoml
from bentoml._internal.marshal.dispatcher import Optimizer


def dispatch_when_free() -> None:
    """Have a batch begin as soon as the engine is free, with all that waits by then.

    BentoML would hold a lone caller back for about as long as callers waited of late, in the hope of company: after
    load, for ten times what the engine takes. Company comes by itself while the engine is busy. Its dispatcher reads
    that time from `Optimizer.wait`, which it works out anew every few seconds; here it is always zero.
    """
    Optimizer.wait = property(lambda _optimizer: 0.0, lambda _optimizer, _learned_s: None)


def keep_media_types(service: "bentoml.Service[object]") -> None:
    """Work out the media type of each endpoint's answers now: BentoML would make its JSON schema for each answer."""
    for method in service.apis.values():
        method.output_spec.media_type = method.output_spec.mime_type()
