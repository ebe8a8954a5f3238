"""`make corpus` without the network: what it downloads, what it expects of a file, and what it calls a surprise."""

import hashlib
import io
import json
import random
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from benchmarks import corpus, sdists
from benchmarks.expected_images import expect
from testing.photographs import encoded
from testing.waiting import LOOKS_EVERY_S
from tests.pairwise import Row
from tests.pictures import SMALL, as_image
from tests.seeing import MAX_PIXELS, named
from tests.test_image_pairs import PNGS, png_file
from tests.test_tiff_pairs import TIFFS, refused_as, tiff_file


def sdist(name: str, text: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        member = tarfile.TarInfo(f"{name}/tests/a.png")
        member.size = len(text)
        archive.addfile(member, io.BytesIO(text))
    return packed.getvalue()


class Handler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package index with five files of one project, of which one is to be taken."""
    page = tmp_path / "index" / "a-project"
    page.mkdir(parents=True)
    files = []
    for name in ("a_project-1.9", "a_project-1.10", "a_project-1.11", "a_project-2.0rc1"):
        data = sdist(name, name.encode())
        (page / f"{name}.tar.gz").write_bytes(data)
        hashes = {"sha256": hashlib.sha256(data).hexdigest()}
        file = {"filename": f"{name}.tar.gz", "url": f"{name}.tar.gz", "hashes": hashes, "yanked": name.endswith("11")}
        files.append(file)
    files.append({"filename": "a_project-3.0-py3-none-any.whl", "url": "it.whl", "hashes": {}})
    (page / "index.html").write_text(json.dumps({"files": files}))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=tmp_path / "index"))
    threading.Thread(target=server.serve_forever, args=(LOOKS_EVERY_S,), daemon=True).start()
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/")
    yield page
    server.shutdown()
    server.server_close()


def test_the_newest_final_source_package_is_unpacked(index: Path, tmp_path: Path) -> None:
    assert sdists.fetch("A.Project", tmp_path / "it") == "a_project-1.10.tar.gz"
    assert [path.read_text() for path in (tmp_path / "it").rglob("*") if path.is_file()] == ["a_project-1.10"]


def test_a_package_with_another_hash_is_refused(index: Path, tmp_path: Path) -> None:
    (index / "a_project-1.10.tar.gz").write_bytes(sdist("a_project-1.10", b"another"))
    with pytest.raises(ValueError, match="does not have the hash"):
        sdists.fetch("a-project", tmp_path / "it")
    assert not (tmp_path / "it").exists()


@pytest.mark.parametrize("row", random.Random(5).sample([row for row in TIFFS if not refused_as(row)], 30), ids=named)
def test_what_is_expected_of_a_tiff_file_is_what_was_written(row: Row) -> None:
    content = row["content"]
    expected = expect(tiff_file(row), MAX_PIXELS)
    assert 200 in expected.statuses
    if expected.image is not None:
        # (Pillow divides colours by their alpha, and rounds.)
        allowed = 4 if "multiplied" in content.name else content.allowed
        assert np.abs(np.asarray(expected.image) - content.seen(SMALL) * 255).max() <= allowed


@pytest.mark.parametrize("row", random.Random(6).sample(PNGS, 10), ids=named)
def test_what_is_expected_of_a_png_file_does_not_depend_on_its_texts(row: Row) -> None:
    expected = expect(png_file(row), MAX_PIXELS)
    assert expected.statuses == {200}
    assert expected.image is not None


def test_what_is_expected_of_other_files() -> None:
    good = encoded(as_image(SMALL), "JPEG")
    assert expect(good, MAX_PIXELS).statuses == {200}
    assert expect(good[: len(good) // 2], MAX_PIXELS).statuses == {400}
    assert expect(encoded(as_image(SMALL), "PPM"), MAX_PIXELS).statuses == {400}
    assert expect(good, SMALL.shape[0] * SMALL.shape[1] - 1).statuses == {422}


def test_a_wrong_status_and_a_wrong_size_are_surprises() -> None:
    def answered(status: int, width: int) -> corpus.Result:
        body = {"predictions": [{"label": "espresso", "confidence": 1.0}], "image": {"width": width, "height": 5}}
        told = httpx.MockTransport(lambda _: httpx.Response(status, json=body))
        with httpx.Client(transport=told, base_url="http://it") as client:
            return corpus.ask_one(client, "it.png", encoded(Image.new("RGB", (7, 5))))[0]

    assert answered(200, 7).surprises == []
    assert answered(200, 5).surprises == ["said to be of (5, 5), and is of (7, 5)"]
    assert answered(400, 7).surprises == ["wanted 200"]
    assert answered(500, 7).surprises == ["a status that no image should have"]
