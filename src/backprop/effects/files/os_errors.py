"""What the operating system's error numbers mean, in the codes of the catalogue."""

from __future__ import annotations

import errno

_BY_NUMBER = {
    errno.ENOSPC: "RUNTIME_DISK_FULL",
    errno.EDQUOT: "RUNTIME_DISK_FULL",
    errno.EFBIG: "RUNTIME_DISK_FULL",
    errno.EACCES: "RUNTIME_PERMISSION_DENIED",
    errno.EPERM: "RUNTIME_PERMISSION_DENIED",
    errno.EROFS: "RUNTIME_PERMISSION_DENIED",
}
_NO_PLACE = frozenset({errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP})
"""Of writing: nothing can stand at this path, whoever asks."""


def os_code(error: OSError) -> str | None:
    """RUNTIME_DISK_FULL or RUNTIME_PERMISSION_DENIED; None for what is neither."""
    return _BY_NUMBER.get(error.errno or 0)


def output_code(error: OSError) -> str:
    """The code for an error in writing where the user asked for output.

    A path that is denied or cannot hold a file is the user's to change: INPUT_PATH_UNUSABLE. What is neither that nor
    a full disk is RUNTIME_WRITE_FAILED.
    """
    code = os_code(error)
    if code == "RUNTIME_PERMISSION_DENIED" or error.errno in _NO_PLACE:
        return "INPUT_PATH_UNUSABLE"
    return code or "RUNTIME_WRITE_FAILED"
