"""A folder of the owner's photographs."""

from pathlib import Path

from model.errors import ModelError

ENDINGS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"})


def photographs(folder: Path, most: int) -> list[Path]:
    """The image files in the folder and below, by their names' endings, in order; at most so many.

    Raises:
        ModelError: there is no such folder.
    """
    if not folder.is_dir():
        raise ModelError("There is no such folder of photographs; name one that exists.")
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS)[:most]
