"""Take a recording of two channels apart, one file per speaker, unless both say the same or one says nothing.

Run as a process of its own (``python -m telephony_router.split_channels``): it counts every sample of a file that a
stranger sent, which must neither hold up whoever rings nor take the router with it.
"""

from __future__ import annotations

import array
import asyncio
import hashlib
import json
import operator
import os
import resource
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal

from telephony_router.audio import CutShort, Facts, NotAudio, Wave, facts_of, wave_header, wave_of

__all__ = ["Half", "Heard", "listen", "listen_apart"]

Voices = Literal["by_channel", "mono", "same", "silent", "not_split"]
WINDOW_SECONDS = 0.05
ACTIVE = 100.0
"""Root mean square of a window in which somebody speaks, of 32768: about -50 dBFS. A quiet line has a tenth of it."""
ACTIVE_SECONDS_MIN = 0.3
SAME = 0.95
"""Correlation from which two channels are one: two people on one line stay below 0.5, also with an echo."""
SECONDS_MAX = 6 * 3600
CPU_SECONDS = 300
LISTEN_SECONDS = 600.0
MEMORY_BYTES = 1 << 30
FILE_BYTES = 4 << 30
CHUNK_FRAMES = 32_768


@dataclass(frozen=True, slots=True)
class Half:
    """One channel as a file of its own."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Heard:
    facts: Facts
    voices: Voices
    halves: tuple[Half, Half] | None
    """The first and the second channel, when they are two voices."""


def listen(source: Path, first: Path, second: Path, *, lenient: bool = False) -> Heard:
    """Tell what a recording is; when its channels are two voices, leave them in ``first`` and ``second``.

    Raises :class:`NotAudio` for what is none.
    """
    with source.open("rb") as file:
        facts = facts_of(file, lenient=lenient)
        if facts.channels != 2:
            return Heard(facts, "mono" if facts.channels == 1 else "not_split", None)
        if facts.duration_ms > SECONDS_MAX * 1000:
            return Heard(facts, "not_split", None)
        opened = _opened(file, source, facts, lenient)
        if opened is None:
            return Heard(facts, "not_split", None)
        wave, chunks = opened
        heard = _Levels(wave)
        sides = [_Side(path, wave) for path in (first, second)]
        for chunk in chunks:
            left, right = (_channel(chunk, wave, place) for place in (0, 1))
            heard.add(_samples(left, wave), _samples(right, wave))
            sides[0].write(left)
            sides[1].write(right)
        halves = (sides[0].close(), sides[1].close())
    voices = heard.voices()
    if voices == "by_channel":
        return Heard(facts, voices, halves)
    first.unlink()
    second.unlink()
    return Heard(facts, voices, None)


def _opened(file: BinaryIO, path: Path, facts: Facts, lenient: bool) -> tuple[Wave, Iterator[bytes]] | None:
    """The sound as interleaved samples, or None for what we cannot decode."""
    if facts.content_type == "audio/wav":
        wave = wave_of(file, lenient=lenient)
        return (wave, _sound(file, wave)) if wave.encoding is not None else None
    return _decoded(path) if facts.content_type == "audio/mpeg" else None


def _sound(file: BinaryIO, wave: Wave) -> Iterator[bytes]:
    file.seek(wave.offset)
    left = wave.size
    while left:
        chunk = file.read(min(left, CHUNK_FRAMES * wave.frame))
        chunk = chunk[: len(chunk) - len(chunk) % wave.frame]
        if not chunk:
            return
        left -= len(chunk)
        yield chunk


def _decoded(path: Path) -> tuple[Wave, Iterator[bytes]] | None:
    import miniaudio

    try:
        info = miniaudio.mp3_get_file_info(str(path))
    except miniaudio.MiniaudioError:
        return None
    if info.nchannels != 2:
        return None
    rate = info.sample_rate
    wave = Wave(encoding="pcm", channels=2, rate=rate, width=2, bytes_per_second=rate * 4, offset=0, size=0)
    # The decoder is told the frames per channel; what it gives is in the machine's order, ours is little-endian.
    chunks = miniaudio.mp3_stream_file(str(path), frames_to_read=CHUNK_FRAMES)
    return wave, (_little(chunk) for chunk in chunks)


def _little(samples: array.array[int]) -> bytes:
    if sys.byteorder == "big":
        samples.byteswap()
    return samples.tobytes()


def _channel(chunk: bytes, wave: Wave, place: int) -> bytes:
    taken = bytearray(len(chunk) // wave.channels)
    for byte in range(wave.width):
        taken[byte :: wave.width] = chunk[place * wave.width + byte :: wave.frame]
    return bytes(taken)


def _linear(encoding: str) -> tuple[int, ...]:
    """What each byte of G.711 means, of 32768."""

    def alaw(byte: int) -> int:
        byte ^= 0x55
        exponent, mantissa = byte >> 4 & 7, byte & 15
        size = (mantissa << 4) + 8 if exponent == 0 else ((mantissa << 4) + 264) << exponent - 1
        return size if byte & 128 else -size

    def mulaw(byte: int) -> int:
        byte ^= 0xFF
        size = ((byte & 15) << 3) + 132 << (byte >> 4 & 7)
        return 132 - size if byte & 128 else size - 132

    return tuple(map(alaw if encoding == "alaw" else mulaw, range(256)))


_G711 = {"alaw": _linear("alaw"), "mulaw": _linear("mulaw")}
_UNSIGNED = tuple((byte - 128) << 8 for byte in range(256))


def _samples(channel: bytes, wave: Wave) -> array.array[int]:
    """One channel as numbers of 16 bits: of wider ones the upper half."""
    if wave.width == 1:
        table = _UNSIGNED if wave.encoding == "pcm" else _G711[wave.encoding or "mulaw"]
        return array.array("h", map(table.__getitem__, channel))
    upper = bytearray(len(channel) // wave.width * 2)
    upper[0::2], upper[1::2] = channel[wave.width - 2 :: wave.width], channel[wave.width - 1 :: wave.width]
    numbers = array.array("h", bytes(upper))
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


@dataclass(slots=True)
class _Levels:
    """How loud the channels are, and how alike."""

    wave: Wave
    active: list[float] = field(default_factory=lambda: [0.0, 0.0])
    power: list[float] = field(default_factory=lambda: [0.0, 0.0])
    product: float = 0.0

    def add(self, left: array.array[int], right: array.array[int]) -> None:
        step = max(1, int(self.wave.rate * WINDOW_SECONDS))
        for at in range(0, len(left), step):
            self._window(left[at : at + step], right[at : at + step])

    def _window(self, left: array.array[int], right: array.array[int]) -> None:
        count, sums = len(left), (sum(left), sum(right))
        powers = [
            sum(map(operator.mul, side, side)) - total * total / count
            for side, total in zip((left, right), sums, strict=True)
        ]
        for place, power in enumerate(powers):
            self.power[place] += power
            if power > ACTIVE * ACTIVE * count:
                self.active[place] += count / self.wave.rate
        self.product += sum(map(operator.mul, left, right)) - sums[0] * sums[1] / count

    def voices(self) -> Voices:
        if min(self.active) < ACTIVE_SECONDS_MIN:
            return "silent"
        alike = self.product / (self.power[0] * self.power[1]) ** 0.5
        return "same" if abs(alike) >= SAME else "by_channel"


class _Side:
    """One channel on its way to a file, hashed as it is written."""

    def __init__(self, path: Path, wave: Wave) -> None:
        self._path = path
        self._wave = wave
        self._file = path.open("w+b")
        self._file.write(wave_header(wave, 0))
        self._size = 0

    def write(self, channel: bytes) -> None:
        self._file.write(channel)
        self._size += len(channel)

    def close(self) -> Half:
        if self._size % 2:
            self._file.write(b"\0")
        self._file.seek(0)
        self._file.write(wave_header(self._wave, self._size))
        self._file.seek(0)
        digest = hashlib.file_digest(self._file, "sha256").hexdigest()
        self._file.close()
        return Half(digest, self._path.stat().st_size)


def _told(text: str) -> Heard:
    """What the process printed."""
    told = json.loads(text)
    if "not_audio" in told:
        raise (CutShort if told["cut_short"] else NotAudio)(told["not_audio"])
    halves = [Half(**each) for each in told["halves"] or ()]
    return Heard(Facts(**told["facts"]), told["voices"], (halves[0], halves[1]) if halves else None)


async def listen_apart(source: Path, first: Path, second: Path, lenient: bool) -> Heard:
    """:func:`listen` in a process without our secrets, bounded in time and memory."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-m", "telephony_router.split_channels",
        str(source), str(first), str(second), "lenient" if lenient else "strict",
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, env={},
    )  # fmt: skip
    try:
        async with asyncio.timeout(LISTEN_SECONDS):
            text, _ = await process.communicate()
    except TimeoutError:
        raise NotAudio("it takes too long to read") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise NotAudio("whoever read it did not survive it")
    return _told(text.decode())


def _main(arguments: list[str]) -> None:
    source, first, second, lenient = arguments
    os.nice(10)
    for limit, most in (
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_FSIZE, FILE_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (most, most))
    try:
        told = asdict(listen(Path(source), Path(first), Path(second), lenient=lenient == "lenient"))
    except NotAudio as error:
        told = {"not_audio": str(error), "cut_short": isinstance(error, CutShort)}
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    _main(sys.argv[1:])
