"""Packs the prepared model into a Bento, and finds it when the code runs from a Bento.

`bentoml build` asks each model that a service names for its description (`to_info`). BentoML's documentation describes
that class for models of other sources too.
"""

import shlex
import sys
from functools import cache
from pathlib import Path
from typing import Any

import bentoml
from bentoml._internal.bento.bento import Bento
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.models import ModelStore
from bentoml._internal.models.model import copy_model
from bentoml.exceptions import BentoMLException

from configs import data_folder
from runtime import bentoml_config


class PackedModel(bentoml.models.BentoModel):
    """A prepared model. A build puts it into the model store beside the Bento, where BentoML looks when it serves."""

    def to_info(self, alias: str | None = None) -> Any:
        """Describe the model in a Bento; called by `bentoml build`."""
        beside = ModelStore(Path(BentoMLContainer.bento_store_dir.get()).parent / "models")
        copy_model(self.tag, src_model_store=BentoMLContainer.model_store.get(), target_model_store=beside)
        return super().to_info(alias)


class MissingModel(bentoml.models.BentoModel):
    """Stands for a model that is not prepared yet: the start prepares it, and a build is refused."""

    def to_info(self, *_: Any) -> Any:
        """Refuse a build.

        Raises:
            BentoMLException: always.
        """
        raise BentoMLException("No model is prepared, so the Bento would have none; run 'make bento' instead.")

    def resolve(self, *_: Any, **__: Any) -> Any:
        """Return nothing; called by a start, before it prepares the model."""
        return None


@cache
def packed_models() -> tuple[str, ...] | None:
    """Return the tags of the models in the Bento that this code runs from; None if it runs from no Bento."""
    if data_folder.is_checkout():
        return None
    return tuple(str(model.tag) for model in Bento.from_path(data_folder.PROJECT.parent).info.all_models)


def main() -> int:
    """Print the command that serves the newest Bento of this checkout: `python -m runtime.bentos`."""
    home, program = bentoml_config.home(), Path(sys.executable).parent / "bentoml"
    command = f"{shlex.quote(str(program))} serve image-classifier:latest"
    print("Serve this Bento, from any folder, with:")
    print(f"BENTOML_HOME={shlex.quote(str(home.absolute()))} {command}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
