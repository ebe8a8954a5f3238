"""An image file of the corpus, and how what is repetitive in one is made quickly."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass

MOST_BYTES = 10 * 2**20
MOST_PIXELS = 50_000_000

ACCEPTED = frozenset({200})
REFUSED = frozenset({400, 422})
EITHER = ACCEPTED | REFUSED


@dataclass(frozen=True)
class CorpusFile:
    """A file, made when it is asked for.

    Attributes:
        format: JPEG, PNG, WEBP, GIF, BMP or TIFF.
        name: what is in it, unique in its format.
        make: its bytes, the same ones every time.
        may_be: the statuses that a request with it may be answered with.
        in_ci: whether it is tried in every run, rather than in the long one alone.
    """

    format: str
    name: str
    make: Callable[[], bytes]
    may_be: frozenset[int] = EITHER
    in_ci: bool = False

    @property
    def id(self) -> str:
        return f"{self.format}-{self.name}".replace(" ", "-").replace(",", "")


def deflated(unit: bytes, times: int, level: int = 9, cut: bool = False) -> bytes:
    """A zlib stream of `unit` so many times: as small as deflate gets, at the cost of compressing a few units.

    Args:
        unit: what is repeated; at best some 100 KB.
        times: how often.
        level: zlib's.
        cut: leave out the end, with its checksum.
    """
    chunk_times = max(1, min(times, 2**20 // max(1, len(unit))))
    compressor = zlib.compressobj(level)
    head = compressor.compress(unit * chunk_times) + compressor.flush(zlib.Z_FULL_FLUSH)
    repeated = compressor.compress(unit * chunk_times) + compressor.flush(zlib.Z_FULL_FLUSH)
    chunks, rest = divmod(times, chunk_times)
    body = head + repeated * (chunks - 1)
    if cut:
        return body
    checksum, chunk = 1, unit * chunk_times
    for _ in range(chunks):
        checksum = zlib.adler32(chunk, checksum)
    tail = unit * rest
    last = zlib.compressobj(level, wbits=-15)
    return body + last.compress(tail) + last.flush() + zlib.adler32(tail, checksum).to_bytes(4, "big")


class Bits:
    """Bits written one after the other into bytes.

    Args:
        low_first: fill each byte from its lowest bit, as deflate and WebP do; else from its highest, as JPEG does.
    """

    def __init__(self, low_first: bool = True) -> None:
        self._low_first = low_first
        self._bits: list[str] = []

    def add(self, value: int, width: int) -> None:
        """The number in so many bits, its lowest bit first where bytes are filled so."""
        text = format(value, f"0{width}b") if width else ""
        self._bits.append(text[::-1] if self._low_first else text)

    def extend(self, other: "Bits") -> None:
        """The other's bits, after these."""
        self._bits += other._bits

    def __bytes__(self) -> bytes:
        text = "".join(self._bits)
        text += "0" * (-len(text) % 8)
        if self._low_first:
            return int("0" + text[::-1], 2).to_bytes(len(text) // 8, "little")
        return int("0" + text, 2).to_bytes(len(text) // 8, "big")

    def __mul__(self, times: int) -> "Bits":
        repeated = Bits(self._low_first)
        repeated._bits = self._bits * times
        return repeated


def tables_of_deflate(size: int) -> bytes:
    """A zlib stream of about so many bytes that holds no data: blocks of nothing but new Huffman tables."""
    block = Bits()
    block.add(0, 1)
    block.add(2, 2)
    block.add(0, 5)
    block.add(0, 5)
    block.add(14, 4)
    # The code lengths of the code lengths, in deflate's order; only 18 (many zeros) and 1 are used, with one bit each.
    for symbol in (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1):
        block.add(1 if symbol in (18, 1) else 0, 3)
    for zeros in (138, 118):
        block.add(1, 1)
        block.add(zeros - 11, 7)
    block.add(0, 1)  # 256, the end of the block, is one bit long,
    block.add(0, 1)  # and so is the one distance.
    block.add(0, 1)  # The end.
    # Eight blocks end on a whole byte, whatever the length of one.
    unit = bytes(block * 8)
    return b"\x78\x9c" + unit * (size // len(unit))
