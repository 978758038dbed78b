"""No file above 300 lines of code and no function above 50, unless a reason stands beside it.

Lines of code are lines that are not blank, not a comment and not a docstring. The reason of a file is a comment
`# long: why` before its first statement; that of a function stands on its `def` line.
"""

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest

FILE_LINES = 300
FUNCTION_LINES = 50
REASON = re.compile(r"#.*\blong: \w+")
FOLDERS = ("audit", "examples", "tests")


def sources() -> list[Path]:
    """Every Python file of the checkout that is ours."""
    root = Path(__file__).resolve().parent.parent
    return sorted(path for folder in FOLDERS for path in (root / folder).rglob("*.py"))


def code_lines(source: str, tree: ast.Module) -> set[int]:
    """The numbers of the lines that hold code."""
    silent = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in silent:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return lines


def too_long(source: str) -> list[str]:
    """What is too long without a reason, one sentence each."""
    tree = ast.parse(source)
    code, text = code_lines(source, tree), source.splitlines()
    problems = []
    head = text[: min(code, default=1) - 1]
    if len(code) > FILE_LINES and not any(REASON.search(line) for line in head):
        problems.append(f"{len(code)} lines of code in one file")
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            size = len(code & set(range(node.lineno, (node.end_lineno or node.lineno) + 1)))
            if size > FUNCTION_LINES and not REASON.search(text[node.lineno - 1]):
                problems.append(f"{node.name} (line {node.lineno}): {size} lines of code")
    return problems


def test_nothing_is_too_long(root: Path) -> None:
    found = {str(path.relative_to(root)): too_long(path.read_text(encoding="utf-8")) for path in sources()}
    assert {name: problems for name, problems in found.items() if problems} == {}
    assert len(found) > 50


@pytest.mark.parametrize(
    ("source", "problems"),
    [
        ("x = 1\n" * 300, 0),
        ("x = 1\n" * 301, 1),
        ("# long: a table of constants\n" + "x = 1\n" * 301, 0),
        ('"""Doc.\n\nstring.\n"""\n' + "# a comment\n\n" * 50 + "x = 1\n" * 300, 0),
        ("def f():\n" + "    x = 1\n" * 49, 0),
        ("def f():\n" + "    x = 1\n" * 50, 1),
        ("def f():  # long: one formula\n" + "    x = 1\n" * 50, 0),
        ('def f():\n    """' + "words\n" * 60 + '    """\n' + "    x = 1\n" * 49, 0),
    ],
)
def test_the_counting(source: str, problems: int) -> None:
    assert len(too_long(source)) == problems
