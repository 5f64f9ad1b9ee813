"""What an audio file says of itself: kind, channels, duration. Pure; reads headers and never trusts a size in them."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Literal

__all__ = ["CutShort", "Facts", "NotAudio", "Wave", "facts_of", "sniff", "wave_header", "wave_of"]

SNIFF_BYTES = 12
CHUNKS_MAX = 1000
CHANNELS_MAX = 32
RATE_MAX = 768_000
PCM, FLOAT, ALAW, MULAW, EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
ENCODINGS: dict[int, Literal["pcm", "alaw", "mulaw"]] = {PCM: "pcm", ALAW: "alaw", MULAW: "mulaw"}
TAGS = {name: tag for tag, name in ENCODINGS.items()}
# Who streams a file before its size is known writes one of these.
UNKNOWN_SIZES = frozenset({0, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x7FFFFFFF - 36, 0xFFFFFFFF - 36})
TYPES = {"wav": "audio/wav", "mp3": "audio/mpeg", "ogg": "audio/ogg"}


class NotAudio(Exception):
    """The bytes are no recording that we can read. The message says which rule they break, and nothing of them."""


class CutShort(NotAudio):
    """The file announces more sound than it holds: what was fetched may be a part of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    content_type: str
    channels: int
    duration_ms: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Wave:
    """Where the sound of a WAV file is, and how it is written."""

    encoding: Literal["pcm", "alaw", "mulaw"] | None
    """None for what we can tell the length of and not take apart."""
    channels: int
    rate: int
    width: int
    """Bytes of one sample of one channel."""
    bytes_per_second: int
    offset: int
    size: int
    """Whole frames only."""

    @property
    def frame(self) -> int:
        return self.channels * self.width

    @property
    def duration_ms(self) -> int:
        return self.size * 1000 // self.bytes_per_second


def sniff(head: bytes) -> Literal["wav", "mp3", "ogg"] | None:
    """What kind of audio begins like this; None for anything else."""
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        return "wav"
    if head[:4] == b"OggS":
        return "ogg"
    if head[:3] == b"ID3" or _mp3_frame(head[:4]) is not None:
        return "mp3"
    return None


def facts_of(file: BinaryIO, *, lenient: bool = False) -> Facts:
    """Raise :class:`NotAudio`, or :class:`CutShort` unless ``lenient`` takes what is there."""
    file.seek(0)
    kind = sniff(file.read(SNIFF_BYTES))
    if kind == "wav":
        wave = wave_of(file, lenient=lenient)
        channels, duration_ms = wave.channels, wave.duration_ms
    elif kind == "mp3":
        channels, duration_ms = _mp3(file)
    elif kind == "ogg":
        channels, duration_ms = _ogg(file)
    else:
        raise NotAudio("it begins like none of: WAV, MP3, Ogg")
    return Facts(content_type=TYPES[kind], channels=channels, duration_ms=duration_ms)


def wave_of(file: BinaryIO, *, lenient: bool = False) -> Wave:
    """The format and the place of a WAV file's sound."""
    length = _length(file)
    file.seek(0)
    if sniff(file.read(SNIFF_BYTES)) != "wav":
        raise NotAudio("it is not a WAV file")
    form: bytes | None = None
    for name, offset, size in _chunks(file, length):
        if name == b"fmt ":
            file.seek(offset)
            form = file.read(min(size, 40))
        elif name == b"data":
            if form is None:
                raise NotAudio("the sound comes before its format")
            return _wave(form, offset, _size_there(size, length - offset, lenient))
    raise NotAudio("it has no sound")


def wave_header(wave: Wave, size: int) -> bytes:
    """The header of a WAV file of one channel of ``wave`` with ``size`` bytes of sound."""
    tag = TAGS[wave.encoding or "pcm"]
    form = struct.pack("<HHIIHH", tag, 1, wave.rate, wave.rate * wave.width, wave.width, 8 * wave.width)
    extra = b"" if tag == PCM else struct.pack("<H4sII", 0, b"fact", 4, size // wave.width)
    more = 0 if tag == PCM else 2
    chunks = struct.pack("<4sI", b"fmt ", len(form) + more) + form + extra + struct.pack("<4sI", b"data", size)
    return struct.pack("<4sI4s", b"RIFF", 4 + len(chunks) + size + size % 2, b"WAVE") + chunks


def _length(file: BinaryIO) -> int:
    return file.seek(0, os.SEEK_END)


def _chunks(file: BinaryIO, length: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, place and announced size of each chunk."""
    at = SNIFF_BYTES
    for _ in range(CHUNKS_MAX):
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:
            return
        name, size = head[:4], int.from_bytes(head[4:], "little")
        yield name, at + 8, size
        at += 8 + size + size % 2
        if at > length:
            return


def _size_there(announced: int, there: int, lenient: bool) -> int:
    if announced in UNKNOWN_SIZES:
        return there
    if announced > there and not lenient:
        raise CutShort("it announces more sound than it holds")
    return min(announced, there)


def _wave(form: bytes, offset: int, size: int) -> Wave:
    if len(form) < 16:
        raise NotAudio("its format is cut short")
    tag, channels, rate, per_second, block, bits = struct.unpack("<HHIIHH", form[:16])
    if tag == EXTENSIBLE and len(form) >= 26:
        tag = int.from_bytes(form[24:26], "little")
    if not 0 < channels <= CHANNELS_MAX or not 0 < rate <= RATE_MAX:
        raise NotAudio("it has no channels, or more than there are")
    encoding, width = ENCODINGS.get(tag), bits // 8
    if encoding is not None:
        allowed = (1, 2, 3, 4) if encoding == "pcm" else (1,)
        if bits % 8 or width not in allowed or block != channels * width:
            raise NotAudio("its samples have a width that they cannot have")
        per_second, size = rate * block, size - size % block
    if per_second == 0:
        raise NotAudio("it has no speed")
    if size == 0:
        raise NotAudio("it has no sound")
    return Wave(
        encoding=encoding,
        channels=channels,
        rate=rate,
        width=width,
        bytes_per_second=per_second,
        offset=offset,
        size=size,
    )


# MPEG audio: ISO 11172-3 and 13818-3. Bit rates in kbit/s by (version 1 or not, layer).
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_BITRATES = {
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
# A frame in the middle of noise is no frame: so many must follow each other, or reach the end.
_FRAMES_IN_A_ROW = 3
_SEARCH_BYTES = 65_536
_READ_BYTES = 1 << 20


def _mp3_frame(head: bytes) -> tuple[int, int, int, int] | None:
    """Of a frame's header its length in bytes, its samples, its rate and its channels."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    rate_at, bitrate_at = head[2] >> 2 & 3, head[2] >> 4
    if version == 1 or layer == 4 or rate_at == 3 or bitrate_at in (0, 15):
        return None
    first = version == 3
    rate, bitrate = _RATES[version][rate_at], _BITRATES[first, layer][bitrate_at - 1] * 1000
    padding = head[2] >> 1 & 1
    samples = 384 if layer == 1 else 1152 if layer == 2 or first else 576
    length = (12 * bitrate // rate + padding) * 4 if layer == 1 else samples // 8 * bitrate // rate + padding
    return length, samples, rate, 1 if head[3] >> 6 == 3 else 2


def _mp3(file: BinaryIO) -> tuple[int, int]:
    """Channels and duration, by walking all frames: a header's own count may be anything."""
    start = _after_id3(file)
    found = _first_frame(file, start)
    if found is None:
        raise NotAudio("it has no MPEG audio frames")
    at, (_, _, rate, channels) = found
    samples, length = 0, _length(file)
    window, window_at = b"", 0
    while at + 4 <= length:
        if not window_at <= at <= window_at + len(window) - 4:
            file.seek(at)
            window, window_at = file.read(_READ_BYTES), at
        frame = _mp3_frame(window[at - window_at : at - window_at + 4])
        if frame is None:
            break
        samples += frame[1]
        at += frame[0]
    return channels, samples * 1000 // rate


def _after_id3(file: BinaryIO) -> int:
    file.seek(0)
    head = file.read(10)
    if len(head) < 10 or head[:3] != b"ID3":
        return 0
    size = 0
    for byte in head[6:10]:
        size = size << 7 | byte & 0x7F
    return 10 + size


def _first_frame(file: BinaryIO, start: int) -> tuple[int, tuple[int, int, int, int]] | None:
    file.seek(start)
    text = file.read(_SEARCH_BYTES)
    at = text.find(b"\xff")
    while at >= 0:
        frame = _mp3_frame(text[at : at + 4])
        if frame is not None and _leads_on(text, at):
            return start + at, frame
        at = text.find(b"\xff", at + 1)
    return None


def _leads_on(text: bytes, at: int) -> bool:
    for _ in range(_FRAMES_IN_A_ROW):
        frame = _mp3_frame(text[at : at + 4])
        if frame is None:
            return False
        at += frame[0]
        if at >= len(text):
            break
    return True


_OGG_TAIL = 131_072


def _ogg(file: BinaryIO) -> tuple[int, int]:
    """Channels and duration of Opus or Vorbis: its first page says the rate, its last one how many samples."""
    file.seek(0)
    head = io.BytesIO(file.read(4096))
    page = head.read(27)
    if len(page) < 27:
        raise NotAudio("its first page is cut short")
    head.seek(27 + page[26])
    packet = head.read(30)
    if packet[:8] == b"OpusHead" and len(packet) >= 19:
        # Opus counts in 48 kHz whatever it was recorded in, and begins with some samples that are not played.
        channels, rate, skipped = packet[9], 48_000, int.from_bytes(packet[10:12], "little")
    elif packet[:7] == b"\x01vorbis" and len(packet) >= 16:
        channels, rate, skipped = packet[11], int.from_bytes(packet[12:16], "little"), 0
    else:
        raise NotAudio("it is an Ogg file of neither Opus nor Vorbis")
    if not channels or channels > CHANNELS_MAX or not 0 < rate <= RATE_MAX:
        raise NotAudio("it has no channels, or more than there are")
    samples = _last_granule(file, page[14:18]) - skipped
    if samples <= 0:
        raise NotAudio("it has no sound")
    return channels, samples * 1000 // rate


def _last_granule(file: BinaryIO, serial: bytes) -> int:
    length = _length(file)
    file.seek(max(0, length - _OGG_TAIL))
    tail = file.read()
    at = tail.rfind(b"OggS")
    while at >= 0:
        page = tail[at : at + 27]
        granule = int.from_bytes(page[6:14], "little", signed=True)
        # -1 says that no packet ends on the page.
        if len(page) == 27 and page[14:18] == serial and granule >= 0:
            return granule
        at = tail.rfind(b"OggS", 0, at)
    return 0
