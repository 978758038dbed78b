"""Specs that mean harm by themselves: YAML, numbers, names, expressions."""
# ruff: noqa: E501 - cases read best as one line each

import subprocess
from collections.abc import Callable

import yaml
from hostile_case import HARMLESS, SPEC, Case, Stage, cases

GOOD = yaml.safe_dump(SPEC, sort_keys=False)
PLAIN = GOOD.replace("title: Credit case", "title: %s")
BOMB = "".join(f"x{i}: &x{i} [{', '.join([f'*x{i - 1}' if i else 'lol'] * 10)}]\n" for i in range(12))


def raw(content: bytes | str) -> Callable[[Stage], None]:
    """The spec word for word."""
    return lambda stage: (stage.write("spec.yaml", content), None)[1]


def title(text: str) -> Callable[[Stage], None]:
    """The good spec with YAML in the place of its title."""
    return raw(PLAIN % text)


def said(**sections: object) -> Callable[[Stage], None]:
    """The good spec with other sections."""
    return lambda stage: stage.spec(**sections)


YAML = cases(
    "YAML",
    {
        "fills the memory by aliases of aliases": (raw(BOMB + GOOD), "too large once its aliases"),
        "fills the memory by one list many times": (
            raw(f"a: &a [{'x,' * 4000}]\nb: [{'*a,' * 4000}]\n{GOOD}"), "too large once its aliases"),
        "an alias of itself": (raw(f"a: &a [*a]\n{GOOD}"), r"too large once|nested"),
        "10,000 lists in one another": (title("[" * 10_000 + "]" * 10_000), "nested deeper than 30"),
        "10,000 mappings in one another": (title("{a: " * 10_000 + "}" * 10_000), "nested deeper than 30"),
        "blocks that go deeper in every line": (raw(GOOD + "".join(f"{' ' * i}- \n" for i in range(900))), ":"),
        "runs a program by a tag of Python": (title('!!python/object/apply:os.system ["touch MARKER"]'), "the tag"),
        "makes an object by a tag": (title("!!python/object/new:subprocess.Popen [[touch, MARKER]]"), "the tag"),
        "imports a module by a tag": (title("!!python/module:antigravity ''"), "the tag"),
        "names a function by a tag": (title("!!python/name:os.system ''"), "the tag"),
        "reads a file by a tag": (title("!include /etc/passwd"), "the tag"),
        "a tag of its own prefix": (raw("%TAG !p! tag:yaml.org,2002:python/\n---\n" + PLAIN % "!p!name:os.system x"), "tag"),
        "binary data": (title("!!binary R0lGODlhDAAMAIQAAP"), "the tag"),
        "a set": (title("!!set {a, b}"), "tag"),
        "overwrites keys by merging": (raw(GOOD + "<<: {model: {kind: function}}\n"), "merge key"),
        "a key twice, the second one meant": (raw(GOOD + "model: {kind: function, function: os:system}\n"), "second time"),
        "two documents": (raw(GOOD + "---\n" + GOOD), "not YAML"),
        "a NUL": (raw(GOOD.encode() + b"\0"), "not allowed"),
        "a NUL in quotes": (title('"a\\0b"'), "holds a NUL"),
        "half a surrogate": (title('"\\ud800"'), "half a character"),
        "control characters for a terminal": (title('"\\e]0;owned\\a\\e[2Jgone"'), "", HARMLESS | {2}),
        "UTF-16": (raw(GOOD.encode("utf-16")), "not UTF-8"),
        "Latin-1": (raw((PLAIN % "é").encode("latin-1")), "not UTF-8"),
        "a whole number of 100,000 digits": (raw(GOOD.replace("seed: 3", f"seed: {'9' * 100_000}")), "finite number"),
        "a whole number of 290 digits": (raw(GOOD.replace("seed: 3", f"seed: {'9' * 290}")), "seed"),
        "more rows than there are numbers": (said(data={"sample": {"rows": 10**200}}), "", HARMLESS | {2}),
        "a number without end": (raw(GOOD.replace("seed: 3", "seed: 1e999")), "finite number"),
        "no number": (said(model={"decision": {"score": "p(favourable)", "at_least": float("nan")}}), "finite"),
        "a key of 100,000 characters": (raw(GOOD + f"{'k' * 100_000}: 1\n"), "no|unknown|key"),
        "a text of 400,000 characters": (title("t" * 400_000), "", HARMLESS | {2}),
        "a megabyte": (raw(GOOD + "#" * 10**6), "a spec has at most"),
        "bytes of a program": (raw(b"\x7fELF\x02\x01\x01" + bytes(range(256)) * 20), "not UTF-8|not YAML|not allowed"),
        "nothing": (raw(b""), "a spec starts with"),
        "a list": (raw("- 1\n- 2\n"), "a spec starts with"),
        "keys that Python has a meaning for": (raw(GOOD + "__class__: {__init__: 1}\n__proto__: {a: 1}\n"), "__class__"),
        "an id that leads out of the folder": (said(audit={"id": "../../etc/cron.d/x"}), "audit.id"),
        "an id of a method that leads out": (said(methods=[{"kind": "performance", "id": "../../x"}]), "id"),
        "a name of a search that leads out": (
            said(counterfactuals={"../../x": {"search": "nearest", "for": "each", "constraints": "domain"}}), r"\.\./"),
        "another version of the language": (said(spec_version=10**30), "spec_version"),
        "as many processes as there are": (said(run={"workers": 10**9}), "workers"),
    },
)  # fmt: skip


def rule(text: str) -> Callable[[Stage], None]:
    """A rule that no counterfactual may break."""
    return said(mutability={"rules": [text]})


def where(text: str) -> Callable[[Stage], None]:
    """A region."""
    return said(regions=[{"name": "them", "where": text}])


EXPRESSIONS = cases(
    "expressions",
    {
        "runs a program": (rule("__import__('os').system('touch MARKER')"), "unknown|no column|not part|expected"),
        "runs a program in a region": (where("open('MARKER', 'w')"), "not|expected|no column"),
        "a power tower": (rule("age ** age ** age > 1"), "not|expected"),
        "9**9**9**9": (where("age > 9**9**9**9"), "not|expected"),
        "1,900 brackets": (rule("(" * 950 + "age > 1" + ")" * 950), "nested|deep"),
        "1,900 nots": (where("not " * 450 + "age > 1"), "nested|deep"),
        "a million characters": (rule("age > 1 or " * 10_000 + "age > 1"), "longer than|a spec has at most"),
        "a chain of signs": (where("age > " + "-" * 1_900 + "1"), "nested|deep"),
        "attributes": (rule("age.__class__.__mro__ == 1"), "not part"),
        "a lambda": (where("(lambda: 1)() == 1"), "not|expected"),
        "a column in backticks that is code": (rule("`__import__('os')` == 1"), "no column|unknown"),
        "division by zero": (rule("1 / 0 > age"), "", HARMLESS | {2, 3}),
        "a number without end": (where("age > 1e999"), "", HARMLESS | {2, 3}),
        "letters that look like others": (rule("аge > 1"), "no column|unknown"),
        "a template in a region": (said(regions=[{"name": "{{ 7 * 7 }}{% for x in range(10**9) %}", "where": "age < 40"}]),
                                   "", HARMLESS | {2}),
        "markup in a region": (said(regions=[{"name": "</td><script>alert(1)</script>", "where": "age < 40"}]),
                               "", HARMLESS | {2}),
    },
)  # fmt: skip

OVERRIDES = [
    Case("command line", tries, said(), says=says, args=args, codes=codes)
    for tries, args, says, codes in (
        ("an override that is code", ("--set", "model.path=!!python/name:os.system"), "tag", frozenset({2})),
        ("an override into what is no mapping", ("--set", "spec_version.__class__=1"), "--set", frozenset({2})),
        ("a task that leads out", ("--only", "../../x"), "not in the spec", frozenset({2})),
        ("trust in what runs programs", ("--trust", "os.system"), "", HARMLESS),
        ("a bomb in an override", ("--set", f"audit.title={'[' * 5000}"), "nested|not YAML", frozenset({2})),
    )
]


def repository(settings: str, attributes: str = "") -> Callable[[Stage], None]:
    """The good audit in a repository with settings of its own."""

    def make(stage: Stage) -> None:
        stage.spec()
        stage.write(".gitattributes", attributes)
        git = ["git", "-C", str(stage.folder), "-c", "user.name=a", "-c", "user.email=a@example.org"]
        for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "a"]):
            subprocess.run([*git, *words], check=True, capture_output=True)
        stage.write("train.csv", stage.read("train.csv") + b"\n")
        given = settings.replace("MARKER", str(stage.marker)).replace("OUTSIDE", str(stage.outside))
        stage.write(".git/config", stage.read(".git/config") + given.encode())

    return make


GIT = cases(
    "git",
    {
        "a monitor that is a program": (repository('[core]\n\tfsmonitor = "touch MARKER; false"\n'), "", HARMLESS),
        "a filter that is a program": (repository('[filter "x"]\n\tclean = touch MARKER\n', "* filter=x\n"), "", HARMLESS),
        "settings that lie in a secret": (repository("[include]\n\tpath = OUTSIDE/secret.md\n"), "", HARMLESS),
    },
)  # fmt: skip

ALL = [*YAML, *EXPRESSIONS, *OVERRIDES, *GIT]
