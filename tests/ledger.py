"""What decides every claim, noted a second time, so that no rule changes unseen.

A margin, a published value or a control that another number takes by mistake is still a rule that
can be read. After a change that is meant, dated in the claim file with its reason, this program
writes the note anew: ``python tests/ledger.py``.
"""

import hashlib
import json
from pathlib import Path

from rooms import OURS

from qmlbook.evidence.claims import Claim, load_claims

FILE = Path(__file__).with_name("ledger.json")
WORDS = ("paper", "id", "statement", "source", "evidence", "note", "why", "cannot", "uncounted")


def digest(claim: Claim) -> str:
    """Return eight digits for all of a claim that is no word for people, but whether it counts."""
    rule = {name: value for name, value in vars(claim).items() if name not in WORDS}
    rule |= {"cannot": bool(claim.cannot), "uncounted": bool(claim.uncounted)}
    rule["settled"] = {name: (one.exact, one.row) for name, one in claim.settled.items()}
    rule["seeds"] = [*claim.seeds]
    return hashlib.sha256(json.dumps(rule, sort_keys=True).encode()).hexdigest()[:8]


def rules() -> dict[str, dict[str, str]]:
    """Return paper -> claim -> digest."""
    return {paper: {one.id: digest(one) for one in load_claims(paper)} for paper in OURS}


if __name__ == "__main__":
    FILE.write_text(json.dumps(rules(), indent=0) + "\n", "utf-8")
