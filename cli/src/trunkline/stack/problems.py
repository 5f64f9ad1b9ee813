"""What stands in the way, in a sentence, with the command that mends it."""

from __future__ import annotations

__all__ = ["Problem"]


class Problem(Exception):
    """The stack cannot do what was asked. ``mend`` is a command to copy."""

    def __init__(self, sentence: str, mend: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.mend = mend
