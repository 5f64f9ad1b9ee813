"""What files say of themselves: right for every shape of WAV, MP3 and Ogg, and never a crash for garbage."""

from __future__ import annotations

import io
import random
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telephony_router.audio import CutShort, Facts, NotAudio, facts_of, sniff, wave_of
from telephony_router.split_channels import Heard, listen, listen_apart

SAMPLES = Path(__file__).parent / "samples"
TAGS = {"pcm": 1, "alaw": 6, "mulaw": 7}


def chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def a_wav(
    tag: int, channels: int, rate: int, width: int, frames: int, *, before: bytes = b"", claimed: int | None = None
) -> bytes:
    sound = bytes(range(256)) * (frames * channels * width // 256 + 1)
    sound = sound[: frames * channels * width]
    block = channels * width
    form = chunk(b"fmt ", struct.pack("<HHIIHH", tag, channels, rate, rate * block, block, width * 8))
    size = len(sound) if claimed is None else claimed
    body = b"WAVE" + form + before + b"data" + struct.pack("<I", size) + sound
    return b"RIFF" + struct.pack("<I", len(body)) + body


shapes = st.tuples(
    st.sampled_from([("pcm", 1), ("pcm", 2), ("pcm", 3), ("pcm", 4), ("alaw", 1), ("mulaw", 1)]),
    st.integers(1, 8),
    st.sampled_from([8000, 11025, 16000, 44100, 48000]),
    st.integers(1, 500),
    st.binary(max_size=33),
)


@settings(deadline=None)
@given(shapes)
def test_every_shape_of_wav_is_read_as_it_was_written(shape: tuple[tuple[str, int], int, int, int, bytes]) -> None:
    (encoding, width), channels, rate, frames, other = shape
    text = a_wav(TAGS[encoding], channels, rate, width, frames, before=chunk(b"LIST", other))
    wave = wave_of(io.BytesIO(text))
    assert (wave.encoding, wave.width, wave.channels, wave.rate) == (encoding, width, channels, rate)
    assert wave.size == frames * channels * width
    assert facts_of(io.BytesIO(text)) == Facts(
        content_type="audio/wav", channels=channels, duration_ms=frames * 1000 // rate
    )


@settings(deadline=None)
@given(shapes, st.integers(1, 10_000))
def test_a_wav_that_holds_less_than_it_announces_is_cut_short(
    shape: tuple[tuple[str, int], int, int, int, bytes], missing: int
) -> None:
    (encoding, width), channels, rate, frames, _ = shape
    there = frames * channels * width
    text = a_wav(TAGS[encoding], channels, rate, width, frames, claimed=there + missing)
    with pytest.raises(CutShort):
        facts_of(io.BytesIO(text))
    assert wave_of(io.BytesIO(text), lenient=True).size == there


@pytest.mark.parametrize("claimed", [0, 0x7FFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF - 36])
def test_a_wav_that_was_streamed_goes_on_to_its_end(claimed: int) -> None:
    assert facts_of(io.BytesIO(a_wav(7, 2, 8000, 1, 8000, claimed=claimed))).duration_ms == 1000


def test_an_extensible_wav_is_what_its_subformat_says() -> None:
    form = struct.pack("<HHIIHHHHI", 0xFFFE, 2, 8000, 32000, 4, 16, 22, 16, 3) + struct.pack("<H", 1) + bytes(14)
    text = b"WAVE" + chunk(b"fmt ", form) + chunk(b"data", bytes(32000))
    assert wave_of(io.BytesIO(b"RIFF" + struct.pack("<I", len(text)) + text)).encoding == "pcm"


@settings(deadline=None, max_examples=5 * settings.default.max_examples)
@given(
    st.binary(max_size=300),
    st.sampled_from(
        [b"", b"RIFF\0\0\0\0WAVE", b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0", b"ID3", b"OggS", b"\xff\xfb\x90\x00"]
    ),
)
def test_garbage_is_not_audio_and_never_anything_worse(text: bytes, head: bytes) -> None:
    try:
        facts = facts_of(io.BytesIO(head + text))
    except NotAudio:
        return
    assert 0 < facts.channels <= 32
    assert facts.duration_ms >= 0


@settings(deadline=None)
@given(shapes, st.data())
def test_a_damaged_header_is_not_audio_and_never_anything_worse(
    shape: tuple[tuple[str, int], int, int, int, bytes], data: st.DataObject
) -> None:
    (encoding, width), channels, rate, frames, _ = shape
    text = bytearray(a_wav(TAGS[encoding], channels, rate, width, frames))
    for place in data.draw(st.lists(st.integers(0, 43), max_size=8)):
        text[place] = data.draw(st.integers(0, 255))
    with suppress(NotAudio):
        facts_of(io.BytesIO(bytes(text)))


@pytest.mark.parametrize(
    "shape", [(1, 0, 8000, 2), (1, 33, 8000, 2), (1, 2, 0, 2), (6, 1, 8000, 2), (1, 1, 8000, 5)], ids=str
)
def test_a_format_that_cannot_be_is_refused(shape: tuple[int, int, int, int]) -> None:
    with pytest.raises(NotAudio):
        facts_of(io.BytesIO(a_wav(*shape, frames=10)))


@pytest.mark.parametrize("text", [b"", b"<html>", b"{}", b"\x1f\x8b\x08\0", b"PK\x03\x04", b"MZ", b"RIFF\0\0\0\0AVI "])
def test_what_begins_like_something_else_is_no_audio(text: bytes) -> None:
    assert sniff(text) is None


@pytest.mark.parametrize(("name", "channels"), [("two_voices", 2), ("mono", 1)])
def test_an_mp3_is_as_long_as_its_frames(name: str, channels: int) -> None:
    text = (SAMPLES / f"{name}.mp3").read_bytes()
    wanted = Facts(content_type="audio/mpeg", channels=channels, duration_ms=6192)
    assert facts_of(io.BytesIO(text)) == wanted
    assert facts_of(io.BytesIO(b"ID3\x04\0\0\0\0\x01\x00" + bytes(128) + text)) == wanted


def ogg(packet: bytes, granule: int) -> bytes:
    def page(kind: int, at: int, number: int, body: bytes) -> bytes:
        return b"OggS" + struct.pack("<BBqIIIBB", 0, kind, at, 7, number, 0, 1, len(body)) + body

    return page(2, 0, 0, packet) + page(0, -1, 1, b"x") + page(4, granule, 2, b"sound")


def test_an_ogg_file_is_as_long_as_its_last_page_says() -> None:
    opus = b"OpusHead" + struct.pack("<BBHIhB", 1, 2, 312, 8000, 0, 0)
    vorbis = b"\x01vorbis" + struct.pack("<IBIIIIBB", 0, 1, 8000, 0, 0, 0, 0, 1)
    assert facts_of(io.BytesIO(ogg(opus, 48_000 * 5 + 312))) == Facts(
        content_type="audio/ogg", channels=2, duration_ms=5000
    )
    assert facts_of(io.BytesIO(ogg(vorbis, 24_000))) == Facts(content_type="audio/ogg", channels=1, duration_ms=3000)


@settings(deadline=None, max_examples=30)
@given(st.integers(2400, 3000), st.sampled_from([("pcm", 1), ("pcm", 2), ("pcm", 3), ("alaw", 1), ("mulaw", 1)]))
def test_taken_apart_and_put_together_it_is_what_it_was(
    tmp_path_factory: pytest.TempPathFactory, frames: int, shape: tuple[str, int]
) -> None:
    encoding, width = shape
    header = a_wav(TAGS[encoding], 2, 8000, width, 0, claimed=frames * 2 * width)
    text = header + random.Random(frames).randbytes(frames * 2 * width)
    whole = wave_of(io.BytesIO(text))
    folder = tmp_path_factory.mktemp("apart")
    (folder / "whole").write_bytes(text)
    assert listen(folder / "whole", folder / "first", folder / "second").halves is not None
    woven = bytearray(whole.size)
    for place, name in enumerate(("first", "second")):
        half = (folder / name).read_bytes()
        wave = wave_of(io.BytesIO(half))
        assert (wave.encoding, wave.channels, wave.rate, wave.size) == (encoding, 1, 8000, whole.size // 2)
        sound = half[wave.offset : wave.offset + wave.size]
        for byte in range(width):
            woven[place * width + byte :: 2 * width] = sound[byte::width]
    assert bytes(woven) == text[whole.offset : whole.offset + whole.size]


def heard(tmp_path: Path, text: bytes) -> Heard:
    (tmp_path / "whole").write_bytes(text)
    return listen(tmp_path / "whole", tmp_path / "first", tmp_path / "second")


def test_two_voices_are_told_apart_and_one_on_both_channels_is_not(tmp_path: Path, sounds: Any) -> None:
    caller, agent = sounds.tone(300, 4, turn=0), sounds.tone(440, 4, turn=1)
    quieter = sounds.quieter(caller)
    silence = sounds.quieter(caller, 4000)
    assert heard(tmp_path, sounds.wav(caller, agent)).voices == "by_channel"
    assert heard(tmp_path, sounds.wav(caller, caller)).voices == "same"
    assert heard(tmp_path, sounds.wav(caller, quieter)).voices == "same"
    assert heard(tmp_path, sounds.wav(caller, silence)).voices == "silent"
    assert heard(tmp_path, sounds.wav(caller)).voices == "mono"


def test_an_echo_of_the_other_does_not_make_two_voices_one(tmp_path: Path, sounds: Any) -> None:
    caller, agent = sounds.tone(300, 4, turn=0), sounds.tone(440, 4, turn=1)
    assert heard(tmp_path, sounds.wav(sounds.mixed(caller, agent), sounds.mixed(agent, caller))).voices == "by_channel"


async def test_an_mp3_of_two_voices_is_taken_apart_in_its_own_process(tmp_path: Path) -> None:
    apart = [
        await listen_apart(SAMPLES / f"{name}.mp3", tmp_path / "first", tmp_path / "second", False)
        for name in ("one_voice_on_both", "mono", "two_voices")
    ]
    assert [each.voices for each in apart] == ["same", "mono", "by_channel"]
    halves = [facts_of(io.BytesIO((tmp_path / name).read_bytes())) for name in ("first", "second")]
    assert {half.content_type for half in halves} == {"audio/wav"}
    assert all(abs(half.duration_ms - 6192) < 100 for half in halves)


async def test_who_reads_garbage_says_so_or_is_survived(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("<html>please sign in</html>")
    # A frame's header that the decoder believes, and noise behind it.
    (tmp_path / "noise").write_bytes((SAMPLES / "two_voices.mp3").read_bytes()[:400] + bytes(range(256)) * 40)
    with pytest.raises(NotAudio):
        await listen_apart(tmp_path / "text", tmp_path / "first", tmp_path / "second", False)
    noise = await listen_apart(tmp_path / "noise", tmp_path / "first", tmp_path / "second", False)
    assert noise.facts.content_type == "audio/mpeg"
    with pytest.raises(NotAudio):
        await listen_apart(tmp_path / "missing", tmp_path / "first", tmp_path / "second", False)
