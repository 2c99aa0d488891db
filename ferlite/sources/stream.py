"""Streams and videos behind a URL, through PyAV."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

from ferlite.errors import UsageError
from ferlite.sources.base import Source, SourceOptions
from ferlite.sources.decoding import open_container
from ferlite.sources.live import LiveSource
from ferlite.sources.video import VideoSource

SCHEMES = ("rtsp", "rtsps", "http", "https", "rtmp", "rtmps", "udp", "tcp")

_PLAYLISTS = ("hls", "dash")  # whose own length says nothing

_AV_OPTIONS = {
    # RTP over UDP loses packets on busy networks and does not pass most firewalls.
    "rtsp": {"rtsp_transport": "tcp"},
    "rtsps": {"rtsp_transport": "tcp"},
    # FFmpeg asks for the rest of a file whose transfer broke off; waits 0, 1, 3 s, then gives up.
    "http": {"reconnect": "1", "reconnect_delay_max": "4"},
    "https": {"reconnect": "1", "reconnect_delay_max": "4"},
}


def open_stream(url: str, options: SourceOptions | None = None) -> Source:
    """Open a URL: rtsp, http, https, rtmp, udp or tcp.

    A file with an end behind http or https is a video (or one picture), kept as it is; everything
    else is live and reconnects (see LiveSource). RTSP goes over TCP. User and password in the URL
    are used but kept out of names and messages.

    Raises UsageError for another kind of URL, SourceError when it cannot be opened.
    """
    options = options or SourceOptions()
    name = public_name(url)
    scheme = checked_scheme(url)
    av_options = _AV_OPTIONS.get(scheme, {})
    if scheme in ("http", "https"):
        with open_container(
            url, name=name, options=av_options, timeout_s=options.timeout_s
        ) as container:
            # "jpeg_pipe" and the like are single pictures; they have no duration. Nor have
            # recordings of browsers and raw streams, but the server states how long they are.
            finite = (
                container.duration is not None
                or container.format.name.endswith("_pipe")
                or (container.size > 0 and container.format.name not in _PLAYLISTS)
            )
        if finite:
            return VideoSource(name, options, location=url, av_options=av_options)
        # An unbroken retry inside FFmpeg would hide the outage.
        av_options = {}
    return LiveSource(
        name,
        lambda: open_container(url, name=name, options=av_options, timeout_s=options.timeout_s),
        options,
    )


def checked_scheme(url: str) -> str:
    """The URL's scheme, lower case; UsageError when it is none of `SCHEMES`."""
    scheme = split_url(url).scheme.lower()
    if scheme not in SCHEMES:
        name = public_name(url)
        raise UsageError(f"{name}: cannot open {scheme}://; give one of {', '.join(SCHEMES)}")
    return scheme


def public_name(url: str) -> str:
    """The URL without user and password; UsageError when it is none."""
    parts = split_url(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def split_url(url: str) -> SplitResult:
    """`urllib.parse.urlsplit`, with a UsageError for what it cannot split."""
    try:
        parts = urlsplit(url)
        # Of rtsp://me:a#b@host, "a" would be the port: the password has to be escaped.
        parts.port  # noqa: B018
        return parts
    except ValueError:
        # Not its message: it may quote user and password.
        shown = " ".join(re.sub(r"//.*@", "//", url).split())
        raise UsageError(
            f"{shown}: no valid URL; check how its host is written, and write / # ? @ in a password"
            " as %2F %23 %3F %40"
        ) from None
