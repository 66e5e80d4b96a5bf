"""Admission of pages that are open or being made: how many there may be, in total and for each client."""

import time
from collections import Counter
from collections.abc import Callable, Container
from dataclasses import dataclass, field

LONGEST_WAIT_SECONDS = 300.0  # for a browser that reports that it is still loading


@dataclass
class Place:
    """The place of one page.

    client: the client of the page, None if unknown; kernel_id: None until it is known.
    """

    client: str | None
    kernel_id: str | None = None
    taken_at: float = field(default_factory=time.monotonic)
    handed_out_at: float | None = None
    is_reached: bool = False


class TooManyPagesError(Exception):
    """There is no free place; the message gives the reason and is shown to the visitor."""


class Places:
    """Places for pages: at most `most` in total, `most_each` for each client.

    A place is taken before anything is awaited, and is free when its kernel has ended. If all are taken, a page that
    no browser has connected to is ended, if its client has more places than the new page's client would have.
    """

    def __init__(
        self, most: int, most_each: int, unreached_seconds: float, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.most, self.most_each, self.unreached_seconds, self._now = most, most_each, unreached_seconds, now
        self._held: list[Place] = []

    def __len__(self) -> int:
        return len(self._held)

    def take(self, client: str | None, kernels: Container[str]) -> tuple[Place, str | None]:
        """A new place, and the kernel that has to end for it or None.

        kernels: the kernels that are alive. Raises TooManyPagesError where no place is free.
        """
        self.forget_ended(kernels)
        mine = sum(1 for each in self._held if client is not None and each.client == client)
        if mine >= self.most_each:
            raise TooManyPagesError("Too many pages are open at your address, close one")
        ending = None
        if len(self._held) >= self.most:
            given_up = self._dispensable(client, mine)
            if given_up is None:
                raise TooManyPagesError("Too many pages are open, try again later")
            self._held.remove(given_up)
            ending = given_up.kernel_id
        place = Place(client, taken_at=self._now())
        self._held.append(place)
        return place, ending

    def hand_out(self, place: Place) -> None:
        """Notes that the page has been sent, so a browser should connect to its kernel now.

        The place of a page without a kernel is freed.
        """
        place.handed_out_at = self._now()
        if place.kernel_id is None:
            self._held.remove(place)

    def note_reached(self, kernel_id: str) -> None:
        """Notes that a browser has connected to a kernel."""
        for each in self._held:
            if each.kernel_id == kernel_id:
                each.is_reached = True

    def note_waiting(self, kernel_id: str) -> None:
        """Restarts the timeout of a page whose browser asks whether the kernel is alive, but has not connected yet."""
        now = self._now()
        for each in self._held:
            is_waiting = each.kernel_id == kernel_id and each.handed_out_at is not None and not each.is_reached
            if is_waiting and now - each.taken_at < LONGEST_WAIT_SECONDS:
                each.handed_out_at = now

    def unreached(self) -> list[str]:
        """The kernels that no browser has connected to before the timeout."""
        limit = self._now() - self.unreached_seconds
        late = [each for each in self._held if not each.is_reached and (each.handed_out_at or self._now()) < limit]
        return [each.kernel_id for each in late if each.kernel_id is not None]

    def forget_ended(self, kernels: Container[str]) -> None:
        """Frees the places of kernels that have ended."""
        self._held = [each for each in self._held if each.kernel_id is None or each.kernel_id in kernels]

    def _dispensable(self, client: str | None, mine: int) -> Place | None:
        """The oldest unreached page of the client with the most places, or None.

        Only clients with more places than the new page's client would have are considered.
        """
        waiting = [each for each in self._held if each.handed_out_at is not None and not each.is_reached]
        of_each = Counter(each.client for each in self._held)
        greedy = [each for each in waiting if client is not None and of_each[each.client] > mine + 1]
        return min(greedy, key=lambda each: (-of_each[each.client], each.taken_at), default=None)
