"""What a worker does: take the next trial, count its seconds, train it, and leave it where it cannot win."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from optuna import Study, Trial
from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, TrialState

from privinf.errors import ModelError
from privinf.search.space import Space
from privinf.search.storage import turn
from privinf.train.architecture import Architecture
from privinf.train.loop import Diverged
from privinf.train.randomness import number

ORPHAN = "orphan"  # a trial whose worker was killed, until another one takes it
WITNESSES = 2  # that a trial has to lose to before it is left
OVER = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
Report = Callable[[Sequence[float]], bool]  # accuracies after each epoch so far: whether to go on


@dataclass(frozen=True)
class Bill:
    """Predicted seconds of an answer, and what they were counted from."""

    seconds: float
    counted: Mapping[str, float] = field(default_factory=dict)


class Judge(Protocol):
    """Says what an architecture costs and how accurate it is."""

    def bill(self, architecture: Architecture) -> Bill:
        """ModelError where its values fit no ring."""

    def train(self, architecture: Architecture, report: Report) -> float | None:
        """Its accuracy; none where a report said to stop."""


@dataclass(frozen=True)
class Rules:
    """trials: in all. margin: of accuracy by which a trial may be behind cheaper ones of the same epoch.

    patience: epochs before any is left. most_seconds: dearer ones are not trained.
    """

    trials: int
    seed: int = 0
    margin: float = 0.02
    patience: int = 3
    most_seconds: float | None = None


class Sampler(TPESampler):
    """Draws by a trial's place and those before it: a search that was killed goes on as if it had not been.

    The first places are taken by what is given; of a queue of them, two workers could take the same trial.
    """

    def __init__(self, first: Sequence[Mapping[str, int]], seed: int) -> None:
        super().__init__(seed=seed % 2**32)
        self._first = first

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        if trial.number < len(self._first):
            return self._first[trial.number][param_name]
        return super().sample_independent(study, trial, param_name, param_distribution)


@dataclass
class Worker:
    """One of those that work on a study; `lock` is a file that those of one machine share."""

    study: Study
    space: Space
    judge: Judge
    rules: Rules
    lock: Path | None = None

    def work(self) -> None:
        """Until there are as many trials as were asked for."""
        while (trial := self._next()) is not None:
            self._judge(trial)

    def _next(self) -> Trial | None:
        """One that was begun and left by a killed worker, or a new one."""
        with turn(self.lock):
            trials = self.study.get_trials(deepcopy=False)
            for left in trials:
                if left.state == TrialState.RUNNING and left.user_attrs.get(ORPHAN):
                    trial = Trial(self.study, left._trial_id)
                    trial.set_user_attr(ORPHAN, False)
                    return trial
            return self.study.ask() if len(trials) < self.rules.trials else None

    def _judge(self, trial: Trial) -> None:
        self.study.sampler = Sampler(self.space.first(), number(self.rules.seed, "trial", trial.number))
        architecture = self.space.suggest(trial)
        trial.set_user_attr("architecture", architecture.name)
        try:
            bill = self.judge.bill(architecture)
        except ModelError as error:
            return self._end(trial, TrialState.FAIL, str(error))
        trial.set_user_attr("seconds", bill.seconds)
        trial.set_user_attr("counted", dict(bill.counted))
        if self.rules.most_seconds is not None and bill.seconds > self.rules.most_seconds:
            return self._end(trial, TrialState.PRUNED, "it takes longer than allowed")
        try:
            accuracy = self.judge.train(architecture, lambda seen: self._goes_on(trial, bill.seconds, seen))
        except Diverged as error:
            return self._end(trial, TrialState.FAIL, str(error))
        if accuracy is None:
            return self._end(trial, TrialState.PRUNED, "cheaper ones are more accurate")
        self.study.tell(trial, (accuracy, bill.seconds))

    def _end(self, trial: Trial, state: TrialState, why: str) -> None:
        trial.set_user_attr("why", why)
        self.study.tell(trial, state=state)

    def _goes_on(self, trial: Trial, seconds: float, seen: Sequence[float]) -> bool:
        """Whether fewer than so many cheaper trials were clearly better after as many epochs."""
        trial.set_user_attr("history", list(seen))
        if len(seen) < self.rules.patience:
            return True
        others = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        better = [
            other
            for other in others
            if other.user_attrs["seconds"] <= seconds
            and _at(other.user_attrs, len(seen)) >= seen[-1] + self.rules.margin
        ]
        return len(better) < WITNESSES


def _at(attributes: Mapping[str, Any], epochs: int) -> float:
    history: Sequence[float] = attributes.get("history", ())
    return history[epochs - 1] if len(history) >= epochs else -1.0


def adopt(study: Study) -> int:
    """Give the trials of workers that are gone to the next ones; only where none is at work."""
    left = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    for trial in left:
        study._storage.set_trial_user_attr(trial._trial_id, ORPHAN, True)
    return len(left)
