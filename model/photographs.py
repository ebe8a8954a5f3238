"""Lists the photographs in a folder that an operator names."""

from pathlib import Path

from model.errors import ModelError

ENDINGS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"})


def find_photographs(folder: Path, most: int) -> list[Path]:
    """List the image files in the folder and its subfolders, by the ending of their names.

    Args:
        folder: where to look.
        most: the largest number of files to return.

    Returns:
        the files, sorted.

    Raises:
        ModelError: the folder does not exist.
    """
    if not folder.is_dir():
        raise ModelError("There is no such folder of photographs; name one that exists.")
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS)[:most]
