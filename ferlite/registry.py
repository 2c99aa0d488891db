"""A user's own models: put into `bundles.user_dir` whole and checked, or not at all; and removed.

Everything is prepared in a working folder beside the target and renamed into place, so that a
reader sees a whole model or none, and two processes never write one file.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from ferlite import arguments, bundles
from ferlite.bundles import DESCRIPTION, METADATA_KEY, Bundle, EmotionBundle, FaceBundle
from ferlite.errors import ModelError, SinkError, UsageError
from ferlite.facts import MAX_DESCRIPTION_BYTES
from ferlite.staging import new_file, sync, working_folder, write_file

if TYPE_CHECKING:
    from ferlite.download import Progress

_CARD = "README.md"
# What a rename to a name that is taken fails with.
_TAKEN = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)


@dataclass(frozen=True, slots=True)
class _Known:
    """A network that says nothing of itself, known by its SHA-256. file: its published name."""

    file: str
    facts: dict[str, Any] = field(hash=False)


_KNOWN = {
    # https://github.com/opencv/opencv_zoo/tree/main/models/face_detection_yunet, whose licence
    # is MIT; trained with https://github.com/ShiqiYu/libfacedetection.train.
    "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4": _Known(
        "face_detection_yunet_2023mar.onnx",
        {
            "name": bundles.YUNET,
            "task": "face",
            "version": "2023mar",
            "license": "MIT",
            "metrics": {},
            "data": ["WIDER FACE (Yang et al., CVPR 2016), training split"],
        },
    )
}


@dataclass(frozen=True, slots=True)
class Added:
    """The installed model; changed: False when exactly this model was there already."""

    bundle: Bundle
    changed: bool


def add(
    source: str | Path,
    *,
    sha256: str | None = None,
    name: str | None = None,
    force: bool = False,
    timeout_s: float = 30.0,
    progress: Progress | None = None,
) -> Added:
    """Install a model in `bundles.user_dir`.

    source: an .onnx file that describes itself (`bundles.METADATA_KEY`) or is known by its
        SHA-256, a bundle's folder, or the http(s) address of such a file.
    sha256: what the file must have, 64 hex digits; needed for an address, unless the file name is
        a known one's.
    name: what to call it; by default the name in its description.
    force: replace another model of that name.
    timeout_s: see `download.fetch`, as `progress`.

    Raises UsageError; ModelError when the model is not what it should be, cannot be had, or
    another has its name; SinkError when the folder cannot be written. Then nothing is changed.
    """
    expected = _checked_digest(sha256)
    timeout_s = arguments.number("timeout", timeout_s, 0.1, 3600, "use 0.1 to 3600 seconds")
    if name is not None:
        _target(name)
    url = source if isinstance(source, str) and "://" in source else None
    if url is not None:
        from ferlite.download import check_url

        check_url(url)
        expected = expected or _expected(url)
    known = _KNOWN.get(expected or "")
    if name is None and known is not None:
        name = str(known.facts["name"])
    if url is not None and name is not None and not force:
        # Before the download; `_put` looks again.
        target = _target(name)
        if expected and (there := _same(target, {expected})):
            return Added(there, changed=False)
        if os.path.lexists(target):
            raise _exists(target)
    with _in_user_dir() as work:
        staged = work / "model"
        staged.mkdir()
        if url is not None:
            says = _download(url, staged, expected, timeout_s, progress)
        elif bundles.is_there(Path(source), Path.is_dir):
            if expected:
                raise UsageError(
                    f"--sha256 is for a single file; {str(source)!r:.200} is a folder, and its"
                    f" {DESCRIPTION} states the checksums"
                )
            says = _copy_folder(Path(source), staged)
        else:
            says = _copy_file(Path(source), staged, expected)
        bundle = _checked(staged, says)
        name = name or _name_of(bundle, says)
        target = _target(name)
        changed = _put(staged, target, force, set(bundle.files.values()))
    # Not looked up: another process may be replacing it at this moment.
    return Added(replace(bundle, path=target.absolute()), changed)


def remove(name: str) -> Path:
    """Remove a model from `bundles.user_dir`; returns the folder it was in.

    Raises UsageError for a name that is none, ModelError when there is no such model of the
    user's, SinkError when the folder cannot be written.
    """
    _check_name(name)
    target = bundles.user_dir() / name
    if not (target / DESCRIPTION).is_file():
        if (bundles.models_dir() / name / DESCRIPTION).is_file():
            raise ModelError(f"model {name!r} came with ferlite and cannot be removed alone")
        own = [path.parent.name for path in bundles.user_dir().glob(f"*/{DESCRIPTION}")]
        raise ModelError(
            f"no model {name!r} in {bundles.user_dir()}; there: {', '.join(sorted(own)) or 'none'}"
        )
    with _in_user_dir() as work:
        # In one step, so that nobody sees half of it.
        target.rename(work / "removed")
        sync(target.parent)
    return target


def _checked_digest(sha256: str | None) -> str | None:
    if sha256 is None:
        return None
    digest = str(sha256).strip().lower()
    if not re.fullmatch("[0-9a-f]{64}", digest):
        raise UsageError(
            f"--sha256 is {sha256!r:.80}; needed: 64 hex digits, as `sha256sum FILE` prints"
        )
    return digest


def _expected(url: str) -> str:
    """The SHA-256 of the known file that is called as the last part of `url`."""
    file = PurePosixPath(unquote(urlsplit(url).path)).name
    for digest, known in _KNOWN.items():
        if known.file == file:
            return digest
    raise UsageError(
        f"no checksum is known for {file!r:.100}: add --sha256 with the one its publisher states;"
        " where none is stated, fetch the file by other means, run `sha256sum` on it and judge"
        " for yourself whether you trust it"
    )


def _check_name(name: str) -> None:
    # One plain name: it becomes a folder, and is typed where a path may stand as well.
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,63}", name) or name.lower().endswith(
        ".onnx"
    ):
        raise UsageError(
            f"{name!r:.80} is no name for a model; use letters, digits, '-', '_' and '.',"
            " at most 64, not ending in .onnx"
        )


def _name_of(bundle: Bundle, says: str) -> str:
    try:
        _check_name(bundle.name)
    except UsageError:
        raise UsageError(
            f"{says}: calls itself {bundle.name!r:.80}, which is no name for a folder;"
            " choose one with --name"
        ) from None
    return bundle.name


def _target(name: str) -> Path:
    from ferlite.faces import DETECTORS

    _check_name(name)
    if name in DETECTORS and name != bundles.YUNET:
        raise ModelError(f"{name!r} means the detector in ferlite; choose another name with --name")
    if (bundles.models_dir() / name / DESCRIPTION).is_file():
        # That one is always found first.
        raise ModelError(f"model {name!r} came with ferlite; choose another name with --name")
    return bundles.user_dir() / name


def _exists(target: Path) -> ModelError:
    if not (target / DESCRIPTION).is_file():
        return ModelError(f"{target} is there and is no model; move it, or choose another --name")
    return ModelError(
        f"another model {target.name!r} is installed in {target}: --force replaces it, --name"
        " gives the new one another name"
    )


def _same(target: Path, digests: set[str]) -> Bundle | None:
    """The model at `target`, if its files are whole and have exactly these SHA-256."""
    try:
        there = bundles.find(target.absolute())
        there.verify()
    except ModelError:
        return None
    return there if set(there.files.values()) == digests else None


def _download(
    url: str, staged: Path, expected: str | None, timeout_s: float, progress: Progress | None
) -> str:
    from ferlite.download import fetch, shown

    says, file = shown(url), staged / _file_name(urlsplit(url).path)
    limit = bundles.MAX_MODEL_BYTES
    with new_file(file) as out:
        digest = fetch(url, out, limit_bytes=limit, timeout_s=timeout_s, progress=progress)
    _check_digest(says, file, digest, expected)
    _describe(staged, file, digest, says)
    return says


def _copy_file(source: Path, staged: Path, expected: str | None) -> str:
    says = _says(source)
    if not bundles.is_there(source, Path.exists):
        raise ModelError(f"{says}: no such file or folder; give a model or its http(s) address")
    if not bundles.is_there(source, Path.is_file):
        raise ModelError(f"{says} is neither a file nor a folder; give a model")
    if source.name == DESCRIPTION:
        raise ModelError(f"{says} describes a model; give the folder it is in")
    data = bundles.read_model(source)
    file = staged / _file_name(source.name)
    write_file(file, data)
    digest = hashlib.sha256(data).hexdigest()
    _check_digest(says, file, digest, expected)
    _describe(staged, file, digest, says)
    return says


def _copy_folder(source: Path, staged: Path) -> str:
    """The files that the description names, itself and the model card; no other file."""
    bundle = bundles.find(source.absolute())
    write_file(staged / DESCRIPTION, (source / DESCRIPTION).read_bytes())
    for name in bundle.files:
        write_file(staged / name, bundle.load(name))
    card = source / _CARD
    try:
        text = card.read_bytes() if card.stat().st_size <= MAX_DESCRIPTION_BYTES else None
    except FileNotFoundError:
        text = None
    except OSError as error:
        raise ModelError(f"{_says(card)}: cannot be read: {error.strerror}") from None
    if text is not None:
        write_file(staged / _CARD, text)
    return _says(source)


def _says(source: Path) -> str:
    """The path as it was given, unless a character in it would spoil the line or the terminal."""
    text = str(source)
    return text if text.isprintable() else repr(text)


def _file_name(source: str) -> str:
    return "model.int8.onnx" if source.lower().endswith(".int8.onnx") else "model.onnx"


def _check_digest(says: str, file: Path, digest: str, expected: str | None) -> None:
    if expected is None or digest == expected:
        return
    with file.open("rb") as opened:
        instead = _instead(opened.read(64))
    raise ModelError(
        f"{says}: SHA-256 is {digest}, but {expected} is expected;"
        f" {instead or 'the file is damaged or another one: check where it comes from'}"
    )


def _instead(head: bytes) -> str:
    """What people get in place of a model, told by its first bytes; empty for others."""
    if head.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer and not the model: download the file itself"
    if head.lstrip().lower().startswith((b"<!doctype", b"<html")):
        return "it is a web page and not the model: use the address of the file itself"
    return ""


def _describe(staged: Path, file: Path, digest: str, says: str) -> None:
    """Write bundle.json of a single file from what is known of it or what it says of itself."""
    if known := _KNOWN.get(digest):
        facts = known.facts
    else:
        from ferlite import session

        data = bundles.read_model(file)
        if instead := _instead(data[:64]):
            raise ModelError(f"{says}: {instead}")
        metadata = session.create(data, provider="cpu", threads=1, name=says).metadata
        if METADATA_KEY not in metadata:
            raise ModelError(
                f"{says}: its SHA-256, {digest}, is not known, and no {METADATA_KEY!r} in its"
                " metadata tells what it is; give a file or folder that `ferlite export` wrote,"
                f" or {' or '.join(known.file for known in _KNOWN.values())}"
            )
        with _speaking_of(says, file):
            bundles.find(file)  # checks every field
        facts = json.loads(metadata[METADATA_KEY])
    text = json.dumps({**facts, "files": {file.name: {"sha256": digest}}}, indent=2) + "\n"
    write_file(staged / DESCRIPTION, text.encode())


def _checked(staged: Path, says: str) -> Bundle:
    """The staged model, if each file is what the description states and each network runs."""
    from ferlite import emotion, session
    from ferlite.faces import anchor_free

    with _speaking_of(says, staged):
        bundle = bundles.find(staged)
        for name in bundle.files:
            data = bundle.load(name)
            if name in bundle.precisions.values():
                opened = session.create(data, provider="cpu", threads=1, name=f"{staged}/{name}")
                if isinstance(bundle, EmotionBundle):
                    emotion.check(opened, bundle)
                elif isinstance(bundle, FaceBundle):
                    anchor_free.check(opened, bundle)
    return bundle


@contextlib.contextmanager
def _in_user_dir() -> Iterator[Path]:
    """A working folder there, whose models `bundles.installed_names` does not see."""
    root = bundles.user_dir()
    try:
        with working_folder(root) as work:
            yield work
    except OSError as error:
        raise SinkError(
            f"cannot write in {root}: {error.strerror or type(error).__name__}; make room or get"
            " permission there, or set FERLITE_HOME to another folder"
        ) from error


@contextlib.contextmanager
def _speaking_of(says: str, staged: Path) -> Iterator[None]:
    """Errors name what the user gave, not the copy that will be gone."""
    try:
        yield
    except ModelError as error:
        raise ModelError(str(error).replace(str(staged), says)) from None


def _put(staged: Path, target: Path, force: bool, digests: set[str]) -> bool:
    """Rename into place; False when the same model is there."""
    sync(staged)
    for attempt in itertools.count():
        # Removed with the working folder.
        replaced = staged.with_name(f"replaced-{attempt}")
        if force and (target / DESCRIPTION).is_file():
            with contextlib.suppress(FileNotFoundError):
                target.rename(replaced)
        try:
            staged.rename(target)  # refused by anything there but an empty folder
        except BaseException as error:
            with contextlib.suppress(OSError):
                replaced.rename(target)
            if not isinstance(error, OSError) or error.errno not in _TAKEN:
                raise
        else:
            break
        if not force and _same(target, digests):
            return False
        # With force, another process that puts a model there now is just one more to replace.
        if not force or not (target / DESCRIPTION).is_file():
            raise _exists(target)
    sync(target.parent)
    return True
