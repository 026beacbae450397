"""The losses of the preference methods, from the log-probabilities of whole answers; what enters and leaves are rows.

Written out, for a prompt x, a chosen answer w and a rejected one l, with p the mean log-probability of an answer's
tokens and s their sum:

- ORPO, arXiv:2403.07691: -p(w) - beta · log sigmoid(log odds(w) - log odds(l)), odds(y) = exp p(y) / (1 - exp p(y))
- SimPO, arXiv:2405.14734: -log sigmoid(beta · (p(w) - p(l)) - gamma)
- KTO, arXiv:2402.01306, of one answer y with r = s(y) - s_reference(y) and the divergence z of policy and reference:
  w_D · (1 - sigmoid(beta · (r - z))) if it is good, w_U · (1 - sigmoid(beta · (z - r))) if it is bad

A batch of pairs holds its chosen answers first, the rejected ones behind them in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs
import torch
from torch.nn.functional import logsigmoid

from backprop.plan.events import Rewards
from backprop.plan.memory.objective import Objective


@attrs.frozen(eq=False)
class Answers:
    """What a model gives to N answers: sums of log-probabilities over their tokens, and how many these are; (N,)."""

    sums: torch.Tensor
    num_tokens: torch.Tensor

    @property
    def means(self) -> torch.Tensor:
        """The mean log-probability of a token."""
        return self.sums / self.num_tokens.clamp(min=1)


@attrs.frozen
class RewardSums:
    """Rewards added up over rows; sums of passes add up to those of a step."""

    chosen: float = 0.0
    num_chosen: int = 0
    rejected: float = 0.0
    num_rejected: int = 0
    num_right: int = 0
    num_compared: int = 0

    def __add__(self, other: RewardSums) -> RewardSums:
        return RewardSums(*map(sum, zip(attrs.astuple(self), attrs.astuple(other), strict=True)))

    def rewards(self) -> Rewards:
        """The means."""
        return Rewards(
            chosen=self.chosen / self.num_chosen if self.num_chosen else None,
            rejected=self.rejected / self.num_rejected if self.num_rejected else None,
            accuracy=self.num_right / max(1, self.num_compared),
        )


@attrs.frozen(eq=False)
class Judged:
    """The loss of each row, (rows,), and the rewards."""

    losses: torch.Tensor
    rewards: RewardSums


def orpo(answers: Answers, *, beta: float) -> Judged:
    """The chosen answer's likelihood and the ratio of both answers' odds."""
    chosen, rejected = answers.means.chunk(2)
    log_odds = (chosen - rejected) - (_log_complement(chosen) - _log_complement(rejected))
    return Judged(-chosen - beta * logsigmoid(log_odds), _pair_rewards(beta * chosen, beta * rejected))


def simpo(answers: Answers, *, beta: float, gamma: float) -> Judged:
    """The margin between both answers' mean log-probabilities."""
    chosen, rejected = (beta * answers.means).chunk(2)
    return Judged(-logsigmoid(chosen - rejected - gamma), _pair_rewards(chosen, rejected))


def kto(
    answers: Answers,
    *,
    reference: Answers,
    is_good: torch.Tensor,
    divergence: float,
    beta: float,
    desirable_weight: float,
    undesirable_weight: float,
) -> Judged:
    """Each answer's log-ratio to the reference, on the right side of the divergence."""
    ratios = answers.sums - reference.sums
    side = torch.where(is_good, 1.0, -1.0)
    weight = torch.where(is_good, desirable_weight, undesirable_weight)
    ahead = side * (ratios - divergence)
    losses = weight * (1 - torch.sigmoid(beta * ahead))
    return Judged(losses, _reward_sums(beta * ratios, is_good, is_right=ahead > 0))


PAIRED: Mapping[Objective, Callable[..., Judged]] = {Objective.ORPO: orpo, Objective.SIMPO: simpo}


def pair_loss(method: Objective, answers: Answers, coefficients: Mapping[str, float]) -> Judged:
    """The loss of a method that compares two answers."""
    return PAIRED[method](answers, **coefficients)


def _log_complement(log_p: torch.Tensor) -> torch.Tensor:
    """log(1 - exp(x)) for x <= 0, without cancellation at either end; x = 0 counts as the number before it.

    Both branches are taken, so each gets arguments whose gradient is finite (Mächler 2012, "Accurately computing
    log(1 - exp(-|a|))").
    """
    x = log_p.clamp(max=-torch.finfo(log_p.dtype).eps)
    is_near = x > -0.6931471805599453
    near = torch.log(-torch.expm1(torch.where(is_near, x, -0.5)))
    far = torch.log1p(-torch.exp(torch.where(is_near, -1.0, x)))
    return torch.where(is_near, near, far)


def _pair_rewards(chosen: torch.Tensor, rejected: torch.Tensor) -> RewardSums:
    rewards = torch.cat([chosen, rejected])
    is_good = torch.arange(len(rewards), device=rewards.device) < len(chosen)
    return _reward_sums(rewards, is_good, is_right=chosen > rejected)


def _reward_sums(rewards: torch.Tensor, is_good: torch.Tensor, *, is_right: torch.Tensor) -> RewardSums:
    """The sums, copied from the device at once."""
    rewards, good = rewards.detach().double(), is_good.double()
    chosen, rejected, num_good, num_right = torch.stack(
        [(rewards * good).sum(), (rewards * (1 - good)).sum(), good.sum(), is_right.double().sum()]
    ).tolist()
    return RewardSums(
        chosen=chosen,
        num_chosen=int(num_good),
        rejected=rejected,
        num_rejected=len(rewards) - int(num_good),
        num_right=int(num_right),
        num_compared=len(is_right),
    )
