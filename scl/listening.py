"""Who must listen to whom, so that agents can heal a feeder among themselves.

An agent hears all switches of its own feeder, its ties included, and across those ties the switches of the
neighbouring feeders up to their sources. A head switch, as owner of what several feeders share, hears also
the other heads of its source section and the ties of their feeders.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Mapping

    from scl.topology import PrimaryNetwork


def needed_in(network: PrimaryNetwork, normally_open: Collection[int]) -> dict[int, frozenset[int]]:
    """``needed_subscriptions`` of a network."""
    return needed_subscriptions(
        {switch.number: switch.sections for switch in network.switches},
        [section.index for section in network.sections if section.is_source],
        normally_open,
    )


def needed_subscriptions(
    switches: Mapping[int, tuple[Hashable, Hashable]],
    sources: Collection[Hashable],
    normally_open: Collection[int],
) -> dict[int, frozenset[int]]:
    """The switches that each switch must subscribe to.

    Args:
        switches: the two sections of each switch, by switch number.
        sources: source sections.
        normally_open: numbers of the switches that are normally open.

    Returns:
        For each switch the numbers of the others it must hear.
    """
    feeders = _Feeders(switches, frozenset(sources), frozenset(normally_open))
    return {number: feeders.heard_by(number) for number in switches}


class _Feeders:
    """Sections joined by normally closed switches, source sections left out."""

    def __init__(
        self,
        switches: Mapping[int, tuple[Hashable, Hashable]],
        sources: frozenset[Hashable],
        normally_open: frozenset[int],
    ) -> None:
        self._switches = switches
        self._sources = sources
        self._open = normally_open
        self._joined: dict[Hashable, Hashable] = {section: section for ends in switches.values() for section in ends}
        for number, (a, b) in switches.items():
            if number not in normally_open and a not in sources and b not in sources:
                self._joined[self._feeder(a)] = self._feeder(b)
        self._members: dict[Hashable, set[int]] = {}
        self._heads: dict[Hashable, set[int]] = {source: set() for source in sources}
        for number, ends in switches.items():
            for section in ends:
                if section in sources:
                    self._heads[section].add(number)
                else:
                    self._members.setdefault(self._feeder(section), set()).add(number)
        self._neighbourhoods: dict[Hashable, frozenset[int]] = {}

    def heard_by(self, number: int) -> frozenset[int]:
        heard: set[int] = set()
        for section in self._switches[number]:
            if section not in self._sources:
                heard |= self._neighbourhood(self._feeder(section))
                continue
            for head in self._heads[section]:
                heard.add(head)
                for feeder in self._feeders_of(head):
                    heard |= self._members[feeder] & self._open
        heard.discard(number)
        return frozenset(heard)

    def _feeder(self, section: Hashable) -> Hashable:
        while self._joined[section] != section:
            self._joined[section] = section = self._joined[self._joined[section]]
        return section

    def _feeders_of(self, number: int) -> set[Hashable]:
        return {self._feeder(section) for section in self._switches[number] if section not in self._sources}

    def _neighbourhood(self, feeder: Hashable) -> frozenset[int]:
        """Switches of a feeder and of those that its ties lead to."""
        known = self._neighbourhoods.get(feeder)
        if known is None:
            feeders = {feeder}
            for tie in self._members[feeder] & self._open:
                feeders |= self._feeders_of(tie)
            known = self._neighbourhoods[feeder] = frozenset().union(*(self._members[each] for each in feeders))
        return known
