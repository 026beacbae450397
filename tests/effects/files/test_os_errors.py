"""The same number of the operating system means the same everywhere, but for who chose the path."""

from __future__ import annotations

import errno

import pytest

from backprop.effects.files.os_errors import os_code, output_code
from backprop.plan.errors import CATALOGUE


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_one_whoever_chose_the_path(number: int) -> None:
    assert os_code(OSError(number, "")) == output_code(OSError(number, "")) == "RUNTIME_DISK_FULL"


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_what_is_denied_is_an_unusable_path_where_the_user_asked_for_output(number: int) -> None:
    assert os_code(OSError(number, "")) == "RUNTIME_PERMISSION_DENIED"
    assert output_code(OSError(number, "")) == "INPUT_PATH_UNUSABLE"


@pytest.mark.parametrize("number", [errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP])
def test_a_path_at_which_nothing_can_stand_is_unusable_for_output_alone(number: int) -> None:
    assert os_code(OSError(number, "")) is None
    assert output_code(OSError(number, "")) == "INPUT_PATH_UNUSABLE"


@pytest.mark.parametrize("error", [OSError(errno.EIO, "broken"), OSError("without a number")])
def test_any_other_number_is_a_failed_write(error: OSError) -> None:
    assert os_code(error) is None
    assert output_code(error) == "RUNTIME_WRITE_FAILED"


def test_every_code_is_in_the_catalogue() -> None:
    numbers = errno.errorcode
    codes = {code(OSError(number, "")) for number in numbers for code in (os_code, output_code)}
    assert codes - {None} <= set(CATALOGUE)
