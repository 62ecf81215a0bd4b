"""How many jobs run at a time, and on which device each."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from distill_jobs.errors import UnusableSlots


@dataclass(frozen=True)
class Slots:
    """`count` places for jobs, spread evenly over `devices`, each of which is a value of CUDA_VISIBLE_DEVICES.

    Without devices every job sees what its worker sees.
    """

    count: int
    devices: tuple[str, ...] = ()

    @classmethod
    def of(cls, count: int | None = None, devices: Sequence[str] = ()) -> "Slots":
        """That many slots; by default one, or one for each device. Raises UnusableSlots."""
        chosen = cls(max(1, len(devices)) if count is None else count, tuple(devices))
        chosen._require_usable()
        return chosen

    def device(self, slot: int) -> str | None:
        """The device of a slot, counted from 0."""
        return self.devices[slot % len(self.devices)] if self.devices else None

    def free(self, taken: Collection[int]) -> int | None:
        """The lowest slot that is not taken; None when all are."""
        return next((slot for slot in range(self.count) if slot not in taken), None)

    def _require_usable(self) -> None:
        if self.count < 1:
            raise UnusableSlots(f"{self.count} slots: expected 1 or more.")
        if not all(self.devices) or len(set(self.devices)) < len(self.devices):
            raise UnusableSlots(f"devices {', '.join(self.devices)}: expected different ones, none empty.")
        if self.devices and self.count % len(self.devices):
            raise UnusableSlots(
                f"{self.count} slots on {len(self.devices)} devices: expected as many on each; "
                f"take {len(self.devices)} slots or a multiple of it, or name fewer devices."
            )
