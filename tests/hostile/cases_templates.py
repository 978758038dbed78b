"""Templates, markup and logos of strangers, through the whole command: the escapes of the unit tests, watched."""

from collections.abc import Callable

from hostile_case import Case, Stage, cases

NS = 'xmlns="http://www.w3.org/2000/svg" viewBox="0 0 10 10"'


def template(text: str) -> Callable[[Stage], None]:
    """The good audit with a template of a stranger on its cover."""

    def make(stage: Stage) -> None:
        stage.spec(report={"formats": ["html"], "template": "look"})
        stage.write("look/template.yaml", "name: A\nblocks: {cover: a.j2}\n")
        stage.write("look/a.j2", text.replace("OUTSIDE", str(stage.outside)).replace("MARKER", str(stage.marker)))

    return make


def logo(text: str) -> Callable[[Stage], None]:
    """The good audit with a logo of a stranger."""

    def make(stage: Stage) -> None:
        stage.spec(report={"formats": ["html"], "template": "look"})
        stage.write("look/template.yaml", "name: A\nlogo: {file: logo.svg, alt: A}\n")
        stage.write("look/logo.svg", text.replace("OUTSIDE", str(stage.outside)))

    return make


CODE = "a\\.j2:1"
ALL: list[Case] = list(
    cases(
        "templates",
        {
            "a shell by cycler": (
                template("<p>{{ cycler.__init__.__globals__.os.popen('touch MARKER').read() }}</p>"),
                CODE,
            ),
            "a shell by a function of ours": (
                template("<p>{{ metric.__globals__['sys'].modules['os'].system('touch MARKER') }}</p>"),
                CODE,
            ),
            "all classes": (template("<p>{{ ''.__class__.__mro__[1].__subclasses__() }}</p>"), CODE),
            "classes by a format": (template("<p>{{ '{0.__class__}'.format(report) }}</p>"), CODE),
            "classes by a filter": (template("<p>{{ [report] | map(attribute='__class__') | join }}</p>"), CODE),
            "a file by its whole path": (template("{% include 'OUTSIDE/secret.md' %}"), CODE),
            "a file above": (template("{% include '../spec.yaml' %}"), CODE),
            "a loop without end": (
                template("<p>{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}</p>"),
                CODE,
            ),
            "a script that is called safe": (template("{{ '<script>alert(1)</script>' | safe }}"), CODE),
            "a handler": (template("<p onclick='alert(1)'>a</p>"), CODE),
            "a picture from the net": (template("<p><img src='http://127.0.0.1:9/x.png'></p>"), CODE),
            "a frame with a file": (template("<p>a</p><iframe src='file://OUTSIDE/secret.md'></iframe>"), CODE),
            "a logo with a script": (logo(f"<svg {NS}><script>alert(1)</script></svg>"), "logo.svg:1"),
            "a logo that reads a file": (
                logo(
                    f"<!DOCTYPE svg [<!ENTITY a SYSTEM 'file://OUTSIDE/secret.md'>]><svg {NS}><title>&a;</title></svg>"
                ),
                "logo.svg",
            ),
            "a logo with an entity bomb": (
                logo(f"<!DOCTYPE svg [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;&a;'>]><svg {NS}><title>&b;</title></svg>"),
                "logo.svg",
            ),
            "a logo that draws a file": (
                logo(f"<svg {NS}><image href='file://OUTSIDE/secret.png'/></svg>"),
                "logo.svg",
            ),
        },
    )
)
