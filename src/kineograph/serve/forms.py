"""Forms of several parts, read as they come: texts in memory, files on the disk."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from tempfile import SpooledTemporaryFile
from typing import IO, TYPE_CHECKING

import python_multipart as multipart
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.concurrency import run_in_threadpool

from kineograph.errors import shown
from kineograph.serve.refusals import Refusal

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

MAX_PARTS = 256  # of a form
MAX_FILES = 16
MAX_NAME_CHARS = 200  # of a file's name as it is told
MAX_TEXT_BYTES = 48 * 2**20  # of all that is no file: a picture may stand in it as base64
MEMORY_BYTES = 2**20  # of a file, before it goes to the disk
_CODES = {413: "body_too_large", 415: "unsupported_media_type"}


class BodyError(Refusal):
    """A body that cannot be read: 400, 413 where it is too large, 415 where it is of no kind."""

    def __init__(self, message: str, *, status: int = 400, param: str | None = None) -> None:
        super().__init__(message, param=param)
        self.status = status
        self.code = _CODES.get(status, self.code)


@dataclass(frozen=True)
class Upload:
    """A file of a form. `file` stands at its beginning; `Body.close` deletes it."""

    name: str  # where it stands in the fields, with dots: input_reference, keyframes.0.image
    filename: str  # as the client calls it, without folders; never a path of ours
    content_type: str | None  # as the client says; nobody has checked it
    size: int  # bytes
    sha256: str  # in hex
    file: IO[bytes] = field(repr=False, compare=False)


def utf8(data: bytes | bytearray, what: str, param: str | None = None) -> str:
    """Return a text; a `BodyError` says where `what` is none."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BodyError(f"{what} is not UTF-8 at byte {error.start}", param=param) from None


def check_text(text: str, name: str) -> None:
    """Refuse zero characters and lone surrogates, quickly: a text may be a picture in base64."""
    fine = "\0" not in text
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        fine = False
    if not fine:
        raise BodyError(f"{name} is not plain Unicode text: {shown(text)}", param=name)


class Parts:
    """What a form's parser found: texts, and files that are written as they come."""

    def __init__(self, max_file_bytes: int) -> None:
        self.entries: list[tuple[str, str | Upload]] = []
        self.ended = False
        self._max_file_bytes = max_file_bytes
        self._opened: list[SpooledTemporaryFile[bytes]] = []
        self._waiting: list[tuple[SpooledTemporaryFile[bytes], bytes]] = []
        self._done: list[SpooledTemporaryFile[bytes]] = []
        self._parts = self.text_bytes = 0

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin, "on_part_data": self._data, "on_part_end": self._end,
            "on_header_begin": self._header, "on_header_field": self._header_name,
            "on_header_value": self._header_value, "on_header_end": self._header_end,
            "on_headers_finished": self._headers, "on_end": self._finish,
        }  # fmt: skip

    async def flush(self) -> None:
        """Write what came in; outside of the event loop, since it may go to the disk."""
        if self._waiting or self._done:
            await run_in_threadpool(self._write)

    def close(self) -> None:
        for file in self._opened:
            file.close()

    def _write(self) -> None:
        for file, data in self._waiting:
            file.write(data)
        for file in self._done:
            file.seek(0)
        self._waiting, self._done = [], []

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise BodyError(f"the form has more than {MAX_PARTS} parts")
        self._headers_found: dict[str, bytes] = {}
        self._text = bytearray()
        self._file: SpooledTemporaryFile[bytes] | None = None
        self._size, self._hash = 0, hashlib.sha256()

    def _header(self) -> None:
        self._key, self._value = b"", b""

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._key += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers_found[self._key.decode("latin-1").lower()] = self._value

    def _headers(self) -> None:
        disposition, options = parse_options_header(self._headers_found.get("content-disposition"))
        if disposition != b"form-data" or b"name" not in options:
            raise BodyError(f"part {self._parts} of the form has no name")
        self._name = utf8(options[b"name"], "the name of a part")
        encoding = self._headers_found.get("content-transfer-encoding", b"binary").lower()
        if encoding not in (b"binary", b"8bit", b"7bit"):
            raise BodyError(f"{self._name} is encoded as {shown(encoding)}; send it plain")
        if b"filename" not in options:
            return
        if len(self._opened) >= MAX_FILES:
            raise BodyError(f"the form has more than {MAX_FILES} files", param=self._name)
        told = utf8(options[b"filename"], f"the name of the file {self._name}", self._name)
        self._filename = told.replace("\\", "/").rpartition("/")[2][:MAX_NAME_CHARS]
        check_text(self._filename, self._name)
        self._file = SpooledTemporaryFile(max_size=MEMORY_BYTES)  # noqa: SIM115 - closed by `close`
        self._opened.append(self._file)

    def _data(self, data: bytes, start: int, end: int) -> None:
        piece = data[start:end]
        if self._file is None:
            self._text += piece
            self.text_bytes += len(piece)
            if self.text_bytes > MAX_TEXT_BYTES:
                raise BodyError(
                    f"the texts of the form are longer than {MAX_TEXT_BYTES} bytes",
                    status=413, param=self._name,
                )  # fmt: skip
            return
        self._size += len(piece)
        if self._size > self._max_file_bytes:
            raise BodyError(
                f"the file {self._name} is longer than {self._max_file_bytes} bytes",
                status=413, param=self._name,
            )  # fmt: skip
        self._hash.update(piece)
        self._waiting.append((self._file, piece))

    def _end(self) -> None:
        if self._file is None:
            self.entries.append((self._name, utf8(self._text, self._name, self._name)))
        elif self._filename or self._size:  # a form's empty field for a file has neither
            kind = self._headers_found.get("content-type", b"").decode("latin-1").strip()
            upload = Upload(
                self._name, self._filename, kind[:MAX_NAME_CHARS] or None, self._size,
                self._hash.hexdigest(), self._file,
            )  # fmt: skip
            self.entries.append((self._name, upload))
            self._done.append(self._file)
        else:
            self._file.close()

    def _finish(self) -> None:
        self.ended = True


async def read_parts(stream: AsyncIterator[bytes], boundary: bytes, max_file_bytes: int) -> Parts:
    """Read a form of several parts; the caller closes the files of what it gets.

    Raises:
        BodyError: it is written wrong (400), or too large (413); no file is left open.
    """
    parts = Parts(max_file_bytes)
    try:
        parser = multipart.MultipartParser(boundary, parts.callbacks())
        async for chunk in stream:
            parser.write(chunk)
            await parts.flush()
        if not parts.ended:
            raise BodyError("the form ends before its last boundary")
    except FormParserError as error:
        parts.close()
        raise BodyError(f"the form cannot be read: {error}") from None
    except BaseException:
        parts.close()
        raise
    return parts
