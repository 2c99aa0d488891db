"""The sound of a source, carried into its annotated video."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ferlite.types import NEW_CLOCK_S

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer, OutputContainer
    from av.packet import Packet

# FFmpeg's decoders of what MP4 holds and browsers play there: AAC, MP3, Opus, FLAC. Everything
# else (PCM, Vorbis, AC-3, ...) becomes AAC.
COPIED = frozenset({"aac", "mp3", "mp3float", "opus", "libopus", "flac"})
# Sampling rates of AAC, ISO/IEC 14496-3 table 1.18.
_AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)

_LEAST_MP3_RATE = 16000  # of those that FFmpeg writes to MP4

_TIMEOUT_S = 10.0  # of a video behind a URL

_log = logging.getLogger(__name__)


class SourceAudio:
    """Reads the first audio stream of a file a second time, in step with the pictures written.

    Its packets are copied as they are where MP4 and browsers take the codec, else the sound is
    encoded as AAC. Sound that cannot be read or encoded costs a logged warning, never the run: the
    video goes on without it. Only the output's own errors are raised (as FFmpeg's).

    name: the file or URL, as in messages; location: what to open where that is not the name.
    begin_s, end_s: when the pictures of the file begin and end by its container, in seconds; None
        where it does not say.
    """

    def __init__(self, name: str, location: str | None = None) -> None:
        import av

        from ferlite.sources.decoding import ends_s

        self._name = name
        self._location = location
        self.begin_s: float | None = None
        self.end_s: float | None = None
        self._input: InputContainer | None = None
        self._stream: AudioStream | None = None
        self._output: OutputContainer | None = None
        self._encoder: Any = None  # an AudioStream of the output when the sound is not copied
        self._copy: Any = None  # a Stream of the output when it is
        self._packets: Iterator[Packet[AudioStream]] = iter(())
        self._next: Packet[AudioStream] | None = None
        self._shift_s = 0.0
        self._from_s = -math.inf
        self._last_dts: int | None = None
        self._warned = False
        try:
            self._input = self._open()
        except (OSError, ValueError, av.FFmpegError) as error:
            self._warn(error)
            return
        if self._input.streams.video:
            pictures = self._input.streams.video[0]
            if pictures.start_time is not None and pictures.time_base is not None:
                self.begin_s = float(pictures.start_time * pictures.time_base)
                if pictures.duration:
                    self.end_s = self.begin_s + float(pictures.duration * pictures.time_base)
        if self.end_s is None:
            self.end_s = ends_s(self._input)

    def _open(self) -> InputContainer:
        """The file at its beginning; its sound is `_stream`."""
        import av

        # "file:", or FFmpeg takes "talk: part 1.mp4" for a URL of the scheme "talk".
        found = f"file:{self._name}" if Path(self._name).exists() else self._name
        location = self._location or found
        container = av.open(location, metadata_errors="replace", timeout=_TIMEOUT_S)
        self._stream = container.streams.audio[0] if container.streams.audio else None
        return container

    def _seek(self, to_s: float) -> None:
        """Skip what lies before; a file that cannot be seeked is read from its beginning."""
        import av

        assert self._input is not None
        if to_s <= 0:
            return
        try:
            self._input.seek(int(to_s * av.time_base))
        except (OSError, av.FFmpegError):
            self._input.close()
            self._input = self._open()  # the attempt may have moved it to anywhere

    def attach(self, output: OutputContainer, *, from_s: float | None) -> None:
        """Add the stream to an MP4 whose header is not written yet.

        from_s: the source time that is zero in the output; sound before it is left out. None keeps
            the source's own times and all its sound.
        """
        if self._stream is None or self._input is None:
            return
        import av

        try:
            # A stream that is announced and never comes has no rate.
            if self._stream.codec_context is None or not self._stream.codec_context.sample_rate:
                raise ValueError("not a sound that can be decoded")
            if from_s is not None:
                self._seek(from_s - 1)
            if self._copied():
                self._copy = output.add_stream_from_template(self._stream)
            else:
                self._encoder = self._add_aac(output)
        except (OSError, ValueError, av.FFmpegError) as error:
            self._warn(error)
            return
        self._output = output
        if from_s is not None:
            self._shift_s = self._from_s = from_s
        self._packets = self._input.demux(self._stream)

    def write_until(self, until_s: float) -> None:
        """Write the sound that begins before `until_s` (source seconds) and is not written yet."""
        while self._output is not None:
            packet = self._read() if self._next is None else self._next
            self._next = None
            if packet is None:
                self._drain()
                return
            assert packet.pts is not None
            begin_s = float(packet.pts * packet.time_base)
            if begin_s >= until_s:
                self._next = packet
                return
            if begin_s >= self._from_s:
                self._write(packet)

    def finish(self, until_s: float) -> None:
        """Write up to `until_s` and end the stream."""
        self.write_until(until_s)
        self._drain()

    def close(self) -> None:
        self._output = None
        if self._input is not None:
            self._input.close()
            self._input = None

    def _copied(self) -> bool:
        assert self._stream is not None
        source = self._stream.codec_context
        slow = source.name.startswith("mp3") and source.sample_rate < _LEAST_MP3_RATE
        return source.name in COPIED and not slow

    def _add_aac(self, output: OutputContainer) -> AudioStream:
        assert self._stream is not None
        source = self._stream.codec_context
        rate = source.sample_rate if source.sample_rate in _AAC_RATES else 48000
        stream = output.add_stream("aac", rate=rate)
        stream.codec_context.layout = "mono" if source.layout.nb_channels == 1 else "stereo"
        stream.codec_context.bit_rate = 128_000
        return stream

    def _read(self) -> Packet[AudioStream] | None:
        """The next packet with a time, or None at the end of what can be read."""
        import av

        try:
            for packet in self._packets:
                if packet.size == 0:
                    continue  # the flush marker
                if packet.dts is None:
                    packet.dts = packet.pts
                if packet.pts is None:
                    packet.pts = packet.dts
                if packet.dts is None:
                    continue
                # A muxer refuses time that does not advance; broken files have it.
                if self._last_dts is not None and packet.dts <= self._last_dts:
                    if (self._last_dts - packet.dts) * packet.time_base > NEW_CLOCK_S:
                        raise ValueError("its clock starts anew midway")
                    continue
                self._last_dts = packet.dts
                return packet
        except (OSError, ValueError, av.FFmpegError) as error:
            self._warn(error)
        return None

    def _write(self, packet: Packet[AudioStream]) -> None:
        assert self._output is not None
        if self._encoder is not None:
            self._mux(self._encoded(packet))
            return
        assert packet.pts is not None and packet.dts is not None
        shift = round(self._shift_s / packet.time_base)
        packet.pts -= shift
        packet.dts -= shift
        packet.stream = self._copy
        self._mux([packet])

    def _encoded(self, packet: Packet[AudioStream] | None) -> list[Packet[AudioStream]]:
        """What the AAC encoder gives for one packet of the source; None drains both codecs."""
        import av

        assert self._stream is not None
        packets: list[Packet[AudioStream]] = []
        try:
            for frame in self._stream.codec_context.decode(packet):
                if frame.pts is not None and frame.time_base:
                    frame.pts -= round(self._shift_s / frame.time_base)
                packets += self._encoder.encode(frame)
        except (ValueError, av.FFmpegError) as error:
            self._warn(error)
        if packet is None:
            packets += self._encoder.encode(None)
        return packets

    def _mux(self, packets: Iterable[Packet[AudioStream]]) -> None:
        assert self._output is not None
        for packet in packets:
            self._output.mux(packet)

    def _drain(self) -> None:
        if self._output is not None and self._encoder is not None:
            self._mux(self._encoded(None))
        self._output = None

    def _warn(self, error: Exception) -> None:
        if self._warned:
            return
        self._warned = True
        # FFmpeg's errors quote what was opened, with its password.
        reason = getattr(error, "strerror", None) or error
        _log.warning("%s: sound is missing or cut in the annotated video: %s", self._name, reason)
