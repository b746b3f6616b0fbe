"""Metrics of this machine's agents for Prometheus: asked of the agents at every scrape."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from ied_agents.dflisr.records import Stage
from ied_agents.runtime.operator_client import AgentSilentError, ask

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from prometheus_client.metrics_core import Metric

_PATIENCE_S: Final = 1.0
_COUNTED: Final = {
    "turns": "Decisions.",
    "frames_sent": "GOOSE frames sent.",
    "records_written": "Durable records on disk.",
    "records_failed": "Attempts to make state durable that failed.",
    "journal_lost": "Journal entries that found no room.",
    "journal_failures": "Attempts to write the journal that failed.",
}
_LONGEST: Final = {
    "timer_late_s": "How late a timer was at the most since the last scrape, s.",
    "record_s": "How long a record took to be durable at the most since the last scrape, s.",
}
_STATES: Final = {
    "ready": "1: it may close its switch if nothing else is against it.",
    "held_until_confirmed": "1: new, and held until an operator confirms.",
    "unproven": "1: its locks are not proven since the start.",
    "simulation": "1: it is in test and takes simulated frames for real ones.",
    "heard": "Peers whose streams live.",
    "subscribed": "Peers that it should hear.",
}


class AgentCollector(Collector):
    """Asks agents when it is collected.

    Args:
        root: folder in which each agent has one of its name.
        ieds: which.
    """

    def __init__(self, root: Path, ieds: Sequence[str]) -> None:
        self._root = root
        self._ieds = ieds

    def collect(self) -> Iterator[Metric]:
        """One family after the other, each with a sample for every agent that answers."""
        said = {ied: self._ask(ied) for ied in self._ieds}
        up = GaugeMetricFamily("flisr_agent_up", "1: it answers.", labels=["ied"])
        for ied, answer in said.items():
            up.add_metric([ied], float(answer is not None))
        yield up
        answers = {ied: answer for ied, answer in said.items() if answer is not None}
        for name, what in _STATES.items():
            family = GaugeMetricFamily(f"flisr_agent_{name}", what, labels=["ied"])
            for ied, (status, _) in answers.items():
                family.add_metric([ied], float(status[name]))
            yield family
        for name, what in (_COUNTED | _LONGEST).items():
            kind: type[CounterMetricFamily | GaugeMetricFamily] = GaugeMetricFamily
            if name in _COUNTED:
                kind = CounterMetricFamily
            counted = kind(f"flisr_agent_{name}", what, labels=["ied"])
            for ied, (_, counters) in answers.items():
                counted.add_metric([ied], float(counters[name]))
            yield counted
        yield from _stages(answers)
        yield from _streams(answers)
        yield from _interfaces(answers)

    def _ask(self, ied: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
        try:
            operator = self._root / ied / "operator"
            status = ask(operator, {"request": "status"}, patience_s=_PATIENCE_S)
            return status, ask(operator, {"request": "counters"}, patience_s=_PATIENCE_S)["counters"]
        except AgentSilentError:
            return None


def _stages(answers: dict[str, tuple[dict[str, Any], dict[str, Any]]]) -> Iterator[Metric]:
    stage = GaugeMetricFamily("flisr_agent_stage", "1 for the stage that it is in.", labels=["ied", "stage", "reason"])
    locked = GaugeMetricFamily("flisr_agent_locked", "1: locked on that side.", labels=["ied", "side"])
    for ied, (status, _) in answers.items():
        for each in Stage:
            here = each.name == status["stage"]
            stage.add_metric([ied, each.name.lower(), status["reason"].lower() if here else ""], float(here))
        for side, lock in zip("AB", status["locked"], strict=True):
            locked.add_metric([ied, side], float(lock != "NONE"))
    yield stage
    yield locked


def _streams(answers: dict[str, tuple[dict[str, Any], dict[str, Any]]]) -> Iterator[Metric]:
    frames = CounterMetricFamily(
        "flisr_goose_frames",
        "Frames of a subscribed stream, by what became of them.",
        labels=["ied", "gocbRef", "what"],
    )
    for ied, (_, counters) in answers.items():
        for reference, counted in counters["streams"].items():
            for what, number in counted.items():
                frames.add_metric([ied, reference, what], float(number))
    yield frames


def _interfaces(answers: dict[str, tuple[dict[str, Any], dict[str, Any]]]) -> Iterator[Metric]:
    works = GaugeMetricFamily("flisr_interface_works", "1: usable, and somebody is heard.", labels=["ied", "interface"])
    frames = CounterMetricFamily(
        "flisr_interface_frames",
        "Frames of an interface, by what became of them; how often it was lost.",
        labels=["ied", "interface", "what"],
    )
    for ied, (status, counters) in answers.items():
        for name, said in status["interfaces"].items():
            works.add_metric([ied, name], float(said["works"]))
        for name, counted in counters["interfaces"].items():
            for what, number in counted.items():
                frames.add_metric([ied, name, what], float(number))
    yield works
    yield frames


def registry(root: Path, ieds: Sequence[str]) -> CollectorRegistry:
    """A registry with these agents and nothing else."""
    made = CollectorRegistry()
    made.register(AgentCollector(root, ieds))
    return made
