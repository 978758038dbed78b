"""What the organisation accepts for a while: one finding, with a reason, a name and a last day."""

from datetime import date
from typing import Annotated

from pydantic import Field

from audit.core.base import Frozen

FINDING_ID = r"^[GF]-[0-9A-F]{6}$"

Words = Annotated[str, Field(min_length=1)]


class Waiver(Frozen):
    """A finding that is accepted for a while, so that it does not end the run with a failure.

    It changes neither what was measured nor the outcome, and the opinion is bounded as if it were not there.

    Attributes:
        finding: the id of the finding, as the report prints it.
        reason: why it is accepted.
        approved_by: who accepts it.
        until: the last day on which it holds; judged on the date of the audit (`audit.as_of`), never on the clock.
    """

    finding: Annotated[str, Field(pattern=FINDING_ID)]
    reason: Words
    approved_by: Words
    until: date
