"""What ``backprop push`` takes."""

from __future__ import annotations

import attrs

from backprop.plan.settings.kinds import Switch, Words
from backprop.plan.settings.option import opt
from backprop.plan.settings.verbs.shared import json_flag

DEFAULT_MESSAGE = "Upload model"


@attrs.frozen
class PushSettings:
    """``backprop push``"""

    local_path: str = opt(
        Words(),
        positional=True,
        help="Adapter or model directory, or the --output of a train run.",
        metavar="PATH",
        file_like=True,
    )
    repo: str | None = opt(
        Words(), "--repo", unset="required", help="Repository on the Hub to push to.", metavar="OWNER/NAME"
    )
    token: str | None = opt(
        Words(),
        "--token",
        unset="--token-file, HF_TOKEN, or the login of `hf auth login`",
        help="Token of the Hub. Others see it in `ps` and in the shell's history.",
        metavar="TOKEN",
    )
    token_file: str | None = opt(
        Words(),
        "--token-file",
        unset="--token, HF_TOKEN, or the login",
        help="File that holds the token and that only you can read (mode 0600).",
        metavar="FILE",
        file_like=True,
    )
    private: bool = opt(Switch(), "--private", default=False, help="Create the repository as a private one.")
    include_base: bool = opt(
        Switch(),
        "--include-base",
        default=False,
        help="Push a whole model with the base's weights; an adapter is merged into its base first.",
    )
    hub_revision: str | None = opt(
        Words(),
        "--hub-revision",
        unset="the default branch",
        help="Branch to push to; it is made when there is none.",
        metavar="BRANCH",
    )
    hub_commit_message: str = opt(
        Words(), "--hub-commit-message", default=DEFAULT_MESSAGE, help="Message of the commit.", metavar="TEXT"
    )
    model_card: bool = opt(
        Switch(), "--model-card", default=True, help="Push README.md, the model card, and make one where there is none."
    )
    json: bool = json_flag("what was pushed")
