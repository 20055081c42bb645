"""What the run before has left in memory for the next one, where both differ in nothing but the protocol."""

from collections.abc import Callable
from typing import Any, TypeVar, final

from bench.home import home
from bench.prepare import Prepared

T = TypeVar("T")


@final
class Kept:
    """Parts of one run by name: inputs, embeddings, a trained model. The next run that shares none of them clears it all.

    So several protocols share one pass over the data, and a process never holds the parts of two runs.
    """

    def __init__(self) -> None:
        self._of: Any = None
        self._data: Any = (None, None)
        self._parts: dict[str, Any] = {}

    def get(self, ready: Prepared, name: str, make: Callable[[], T]) -> T:
        """The part of that name, made at the first call. An empty cache folder (`home_at`) starts afresh."""
        of = (home(), ready.shared_id, ready.spec.threads)
        data = (ready.dataset, ready.scored)
        if of != self._of or any(a is not b for a, b in zip(data, self._data, strict=True)):
            self.clear()
            self._of, self._data = of, data
        if name not in self._parts:
            self._parts[name] = make()
        part: T = self._parts[name]
        return part

    def clear(self) -> None:
        """Forget everything."""
        self._of, self._data = None, (None, None)
        self._parts.clear()


KEPT = Kept()
"""Of this process."""
