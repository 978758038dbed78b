"""Run by its path, in a process of its own: fills templates that are not ours, and can do nothing else.

Reads one JSON document from its standard input and writes one to its standard output. It holds no evidence: what
`metric()` and its like are asked for is written down, and looked up by who started it.
"""

import importlib.util
import json
import resource
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import jinja2
import jinja2.debug  # noqa: F401 - what is imported later could not be read any more
from jinja2.sandbox import ImmutableSandboxedEnvironment

LARGEST = 512 * 1024
"""Characters that all templates together may write."""

TAKEN_AWAY = {"random", "pprint", "safe"}
"""Filters that differ from run to run, show Python, or switch escaping off."""


class TooLongError(Exception):
    """The time of computing is over."""


def main() -> None:
    """Reads what is asked, goes behind the limits, answers."""
    asked = json.load(sys.stdin)
    _warm()
    answer: dict[str, Any] = {"done": {}, "references": [], "problem": None, "unconfined": ""}
    try:
        _confine(asked["memory"], asked["seconds"], asked["confinement"])
    except OSError as error:  # templates of strangers are not filled without
        answer["unconfined"] = str(error.strerror or error)
        sys.stdout.write(json.dumps(answer))
        return
    try:
        _fill(asked, answer)
    except BaseException as error:  # noqa: BLE001 - whatever a template does becomes one message
        answer["problem"] = _problem(error, asked["templates"], answer.pop("at", ""))
    answer.pop("at", None)
    sys.stdout.write(json.dumps(answer))


WARM = """{% macro m(x) %}{{ x }}{% endmacro %}
{% for x in [1, 2] if x %}{{ m(x) | upper }}{{ loop.index }}{% endfor %}{% raw %}x{% endraw %}
{% set n = namespace(a="\\u00e9") %}{% set n.a = "%s" | format("a") %}
{{ [n.a, "b"] | sort | join(", ") | replace("a", "b") | title | wordcount }}{{ 1.5 | round }}
{{ [{"a": 1}] | map(attribute="a") | list | length }}"""
"""A little of all that templates do."""


def _warm() -> None:
    """Does once what Jinja reads further files of Python for, since behind the limits there are none."""
    with suppress(jinja2.TemplateError):
        _environment({"a": WARM, "b": "{% include 'a' %}{{ nothing }}"}, []).get_template("b").render(report={})
    with suppress(jinja2.TemplateError):
        _environment({"a": "{% for %}"}, []).get_template("a")


def _fill(asked: dict[str, Any], answer: dict[str, Any]) -> None:
    environment = _environment(asked["templates"], answer["references"])
    size = 0
    for name in asked["fill"]:
        answer["at"] = name
        sys.stderr.write(f"{name}\n")
        sys.stderr.flush()
        parts = []
        for part in environment.get_template(name).generate(report=asked["report"]):
            size += len(part)
            if size > LARGEST:
                raise OverflowError(f"the templates write more than {LARGEST} characters")
            parts.append(part)
        answer["done"][name] = "".join(parts)


def _environment(templates: dict[str, str], references: list[str]) -> Any:
    def load(name: str) -> tuple[str, str, Callable[[], bool]] | None:
        return (templates[name], name, lambda: True) if name in templates else None

    def reference(call: str) -> Callable[..., str]:
        def written(*args: Any, **options: Any) -> str:
            parts = [json.dumps(value) if isinstance(value, str) else repr(value)[:80] for value in args]
            parts += [f"{k}={json.dumps(v) if isinstance(v, str) else repr(v)[:80]}" for k, v in options.items()]
            references.append([*_place(sys._getframe(1), templates), f"{call}({', '.join(parts)})"])  # type: ignore[arg-type]  # noqa: SLF001
            return f"\ue000{len(references) - 1}\ue001"

        return written

    # Constants are not computed ahead, so that what costs too much is met on its own line.
    environment = ImmutableSandboxedEnvironment(
        loader=jinja2.FunctionLoader(load),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        optimized=False,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals = {"range": environment.globals["range"], "namespace": environment.globals["namespace"]}
    environment.globals |= {call: reference(call) for call in ("metric", "gate", "finding")}
    environment.filters = {name: use for name, use in environment.filters.items() if name not in TAKEN_AWAY}
    return environment


def _place(frame: FrameType | None, templates: dict[str, str]) -> tuple[str, int]:
    """The file and line of the template that is being filled."""
    while frame is not None:
        template = frame.f_globals.get("__jinja_template__")
        if template is not None and template.name in templates:
            return template.name, template.get_corresponding_lineno(frame.f_lineno)
        frame = frame.f_back
    return "", 1


def _problem(error: BaseException, templates: dict[str, str], at: str) -> dict[str, Any]:
    if isinstance(error, jinja2.TemplateSyntaxError):
        return {"file": error.name or at, "line": error.lineno, "text": error.message or "cannot be read"}
    lines = [(f.filename, f.lineno or 1) for f in traceback.extract_tb(error.__traceback__) if f.filename in templates]
    file, line = lines[-1] if lines else (at, 1)
    return {"file": file, "line": line, "text": _said(error)}


def _said(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "needs more memory than a template may have"
    if isinstance(error, TooLongError):
        return "computes longer than a template may"
    if isinstance(error, OSError):
        return "asks for a file, which a template cannot have"
    if isinstance(error, RecursionError):
        return "includes itself, or is nested too deep"
    if isinstance(error, jinja2.TemplateNotFound):
        return f"there is no {error.name!r} in the folder; a template can include nothing else"
    told = " ".join(str(error).split())[:200]
    return told if isinstance(error, jinja2.TemplateError) else f"{type(error).__name__}: {told}"


def _confine(memory: int, seconds: int, confinement: str) -> None:
    """No file, no connection, no other process; little memory and little time."""
    definition = importlib.util.spec_from_file_location("confinement", Path(confinement))
    if definition is not None and definition.loader is not None:
        module = importlib.util.module_from_spec(definition)
        definition.loader.exec_module(module)
        module.limit(memory)
        module.confine()
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime) + 1 + seconds
    signal.signal(signal.SIGXCPU, _stop)
    resource.setrlimit(resource.RLIMIT_CPU, (soft, soft + 1))
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))


def _stop(number: int, frame: FrameType | None) -> None:
    raise TooLongError


if __name__ == "__main__":
    main()
