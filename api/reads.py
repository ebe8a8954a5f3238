"""The routes that only read: BentoML's own are POST, so these are a FastAPI app mounted beside them."""

from collections.abc import Callable

from fastapi import FastAPI, Request

from api.classification import Classification
from api.schemas import ModelInfo, UsageTotals
from auth import identity
from problems.problem import database_away
from storage.errors import StorageUnavailable
from storage.store import Store


def build(store: Store, classification: Callable[[], Classification]) -> FastAPI:
    """The app.

    Args:
        store: where the usage log is.
        classification: gives the worker's way to the model, once the worker is up.
    """
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)

    @app.get("/v1/model/info")
    async def model_info() -> ModelInfo:
        """Which model answers, and whether it is ready to."""
        manifest = classification().manifest
        status = "loaded" if classification().is_loaded else "not_loaded"
        return ModelInfo(name=manifest.name, status=status, num_labels=len(manifest.labels))

    @app.get("/v1/usage")
    async def usage(request: Request) -> UsageTotals:
        """The caller's own classification requests that passed the limit."""
        caller = identity.caller(request.scope)
        assert caller is not None, "authentication stands before this route"
        try:
            totals = await store.usage_summary(caller.user_id)
        except StorageUnavailable:
            raise database_away() from None
        rate = 100 * totals.successful / totals.total if totals.total else 0.0
        return UsageTotals(
            total_requests=totals.total,
            successful_requests=totals.successful,
            success_rate=round(rate, 2),
            avg_response_time_ms=round(totals.mean_response_ms, 2),
        )

    return app
