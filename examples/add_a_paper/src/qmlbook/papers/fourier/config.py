"""What a run can be asked."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Config:
    """Settings of one run; all values are ours."""

    encodings: int = 1  # r, how often the data enter
    steps: int = 25  # of Adam; 0 leaves the circuit untrained
    points: int = 32  # inputs, evenly over one period
