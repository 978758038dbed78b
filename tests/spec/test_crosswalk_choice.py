"""Which laws are set beside the evidence is the choice of the spec; an unknown one is refused with the nearest."""

import pytest

from audit.core.errors import SpecError

pytestmark = pytest.mark.usefixtures("toys")


def chosen(load, example, given):
    return load(example.replace("template: standard", f"template: standard, crosswalk: {given}"))


def test_the_choice_is_read(load, example):
    assert load(example).spec.report.crosswalk is None
    assert chosen(load, example, "[gdpr, eu-ai-act]").spec.report.crosswalk == ("gdpr", "eu-ai-act")
    assert chosen(load, example, "[]").spec.report.crosswalk == ()


@pytest.mark.parametrize(
    ("given", "says"), [("[gpdr]", "did you mean 'gdpr'"), ("[gdpr, gdpr]", "second time"), ("all", "[ ]")]
)
def test_a_wrong_choice_is_refused(load, example, given, says):
    with pytest.raises(SpecError) as caught:
        chosen(load, example, given)
    (problem,) = caught.value.problems
    assert says in problem
    assert ":40:" in problem
