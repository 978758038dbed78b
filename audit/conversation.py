"""Frames between this process and one that it started: eight bytes of length, and the content; all with a deadline."""

import socket
import struct
import time

LENGTH = struct.Struct("<Q")

LARGEST = 2**40
"""Bytes of a frame where nobody says less: what is asked is ours, what is answered is not."""


class TooLongError(ConnectionError):
    """A frame claims to be longer than what was asked for can be."""


def send(connection: socket.socket, content: bytes, seconds: float | None = None) -> None:
    """Sends a frame.

    Raises:
        TimeoutError: it was not taken within so many seconds.
        OSError: there is nobody to take it.
    """
    connection.settimeout(seconds)
    connection.sendall(LENGTH.pack(len(content)))
    connection.sendall(content)


def receive(connection: socket.socket, seconds: float | None = None, most: int = LARGEST) -> bytes:
    """The next frame.

    Args:
        most: bytes that it may have; of a longer one nothing is read.

    Raises:
        TimeoutError: it was not whole within so many seconds.
        TooLongError: it says that it is longer.
        OSError: the connection was closed.
    """
    until = None if seconds is None else time.monotonic() + seconds
    (size,) = LENGTH.unpack(_exactly(connection, LENGTH.size, until))
    if size > most:
        raise TooLongError(f"a frame of {size} bytes, where {most} are the most")
    return bytes(_exactly(connection, size, until))


def _exactly(connection: socket.socket, size: int, until: float | None) -> bytearray:
    content = bytearray()
    while len(content) < size:
        left = None if until is None else until - time.monotonic()
        if left is not None and left <= 0:
            raise TimeoutError
        connection.settimeout(left)
        got = connection.recv(min(size - len(content), 2**20))
        if not got:
            raise ConnectionResetError
        content += got
    return content
