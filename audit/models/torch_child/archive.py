"""What stands in the archive of a program, and what is refused before torch sees it."""

import io
import re
import zipfile
import zlib

MOST_BYTES = 2**31
"""Bytes that an archive may unpack to."""

SCRIPT = re.compile(rb"torch\s*\.\s*classes|\bops\s*\.\s*(?!prim\b|aten\b)\w+|\.\s*(?:from_file|save|load_tensor)\s*\(")
"""What a TorchScript program may not name: custom classes, operators that are not torch's own, and files."""


class RefusedError(Exception):
    """A program that is not run; the message completes "model.path: FILE ..."."""


def entries(data: bytes) -> dict[str, bytes]:
    """The entries of an archive by their name without the folder that holds them all.

    Raises:
        RefusedError: it is no archive, is damaged, or unpacks to more than `MOST_BYTES`.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            found = archive.infolist()
            total = sum(entry.file_size for entry in found)
            if total > MOST_BYTES:
                raise RefusedError(f"unpacks to {total:,} bytes, and at most {MOST_BYTES:,} are read; save it again")
            names = [entry.filename.partition("/")[2] for entry in found]
            if len(set(names)) < len(names) or len({entry.filename.partition("/")[0] for entry in found}) > 1:
                raise RefusedError("holds two entries of one name, or more than one folder; save it again with torch")
            return {name: archive.read(entry) for name, entry in zip(names, found, strict=True)}
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, ValueError) as error:
        raise RefusedError(f"is damaged, or no archive of torch ({error}); save it again") from error


def script(data: bytes) -> bytes:
    """A TorchScript archive, written anew from entries that name nothing that is refused.

    Raises:
        RefusedError: it is none, or names what a program of a network has no need of.
    """
    found = entries(data)
    if "constants.pkl" not in found:
        raise RefusedError("is no TorchScript; save it with `torch.jit.save`")
    for name, content in found.items():
        if name.endswith((".py", ".pkl")) and (match := SCRIPT.search(content)):
            what = match.group().decode("latin-1").strip(" .(")
            raise RefusedError(
                f"names {what} in {name}, which is a file, a class or an operator from outside torch; "
                "save the network without it"
            )
    answer = io.BytesIO()
    with zipfile.ZipFile(answer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in found.items():
            archive.writestr(f"program/{name}", content)
    return answer.getvalue()
