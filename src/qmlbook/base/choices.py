"""What is chosen by a word: one list each, for the command that offers it and the library."""

from typing import Literal

# How much of a paper is run.
Profile = Literal["quick", "full"]
# How a list is written: for people, or for programs.
ListFormat = Literal["table", "json"]
# How run records are written.
RecordFormat = Literal["csv", "json"]
# How verdicts are written.
ReportFormat = Literal["table", "markdown", "json", "csv"]
