"""Where the gates stand in the text of the spec."""

import yaml

from audit.core.finding import Gate


def gate_lines(spec: str) -> dict[str, int]:
    """The line of each gate in the text of a spec, by the id of the gate; a gate that was set elsewhere has none."""
    try:
        root = yaml.compose(spec, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        return {}
    lines: dict[str, int] = {}
    for key, value in root.value if isinstance(root, yaml.MappingNode) else ():
        if key.value == "gates" and isinstance(value, yaml.SequenceNode):
            for item in value.value:
                gate = _gate(spec[item.start_mark.index : item.end_mark.index], item.start_mark.column)
                if gate is not None:
                    lines.setdefault(gate.id, item.start_mark.line + 1)
    return lines


def _gate(text: str, column: int) -> Gate | None:
    try:
        content = yaml.safe_load(" " * column + text)
        numbers = ("at_least", "at_most", "gap_at_most")
        return Gate.model_validate({k: float(v) if k in numbers else v for k, v in content.items()})
    except (yaml.YAMLError, ValueError, TypeError, AttributeError):
        return None
