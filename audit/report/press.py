"""The printing press: parts of a report laid out, drawn and let go, one after the other, into one tagged PDF.

WeasyPrint keeps the boxes of all pages, their structure and every object of the file until the last page is drawn:
3.7 MB a page. Here a part is written before the next one is laid out. What only the end knows comes last: the page
numbers of the contents (the front is laid out twice) and "Page 3 of 97" (a second stream of each page).
"""

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from typing import Any

from audit.report.objects import Objects
from audit.report.parts import Part
from audit.report.tags import PAGINATION, Structure

SCALE = 0.75
"""Points of a file in a pixel of CSS."""

BARE = "cover"
"""The named page that bears no number."""

PRINTED = 4
"""The flag of an annotation that is printed."""


@dataclass
class Sheet:
    """A page that was drawn, and what must be known of it later.

    Attributes:
        page: its dictionary in the file.
        bookmarks: level, label, place and element of the headings.
        anchors: the place of each anchor.
        bare: it bears no page number.
    """

    page: Any
    bookmarks: list[tuple[int, str, float, float, bytes]] = field(default_factory=list)
    anchors: dict[str, tuple[float, float]] = field(default_factory=dict)
    bare: bool = False


@dataclass(frozen=True)
class Setting:
    """What all parts are laid out with.

    Attributes:
        style, numbers: the style sheets of the report, and of the line with the page number.
        version: of the file format.
    """

    weasyprint: Any
    fetcher: Any
    style: Any
    numbers: Any
    base: str
    version: str


class Press:
    """One report on its way to paper.

    Attributes:
        sheets: the pages in the order of the report, once all are drawn.
        links: annotation and anchor of each link inside the report.
        metadata: what the head of the HTML says.
    """

    def __init__(self, setting: Setting) -> None:
        import pydyf
        from weasyprint.text.fonts import FontConfiguration

        self._made, self._setting, self._font_config = pydyf, setting, FontConfiguration()
        self.pdf = Objects(setting.version)
        self._fonts: dict[Any, Any] = {}
        self._images: dict[str, Any] = {}
        self._font_names = pydyf.Dictionary()
        self.pdf.add_object(self._font_names)
        self.profile = _profile(self.pdf)
        self.structure = Structure(self.pdf, setting.version)
        self._open: set[int] = {item.number for item in (self.pdf.pages, self.pdf.catalog, self._font_names)}
        self.sheets: list[Sheet] = []
        self.links: list[tuple[Any, str]] = []
        self.metadata: Any = None
        self._keys = count()  # of the tree of parents
        self._known: set[str] = set()

    def print(self, parts: Sequence[Part]) -> None:
        """Draws all parts: the body first, then the front, whose contents name the pages of the body."""
        self._known = {item.get("id") for part in parts for item in part.tree.iter() if item.get("id")}
        front = [part for part in parts if part.front]
        before = sum(len(self._layout(_numbered(part.tree, {})).pages) for part in front)
        for part in parts:
            if not part.front:
                self._part(part.tree)
        body, below = self.sheets, self.structure.document.kids
        self.sheets, self.structure.document.kids = [], []
        where = {name: before + i + 1 for i, sheet in reversed(list(enumerate(body))) for name in sheet.anchors}
        for part in front:
            self._part(_numbered(part.tree, where))
        self.sheets += body
        self.structure.document.kids += below
        self._number_pages()

    def finish(self) -> None:
        """Adds what holds the pages together: fonts, the list of pages, outline, names, links, structure."""
        from weasyprint import DEFAULT_OPTIONS
        from weasyprint.pdf.fonts import build_fonts_dictionary

        options = DEFAULT_OPTIONS | {"pdf_version": self._setting.version}
        self._font_names.update(build_fonts_dictionary(self.pdf, self._fonts, True, True, options))
        kids = self._made.Array(sheet.page.reference for sheet in self.sheets)
        self.pdf.pages.update({"Kids": kids, "Count": len(kids)})
        places = self._places()
        names = self._made.Array()
        for name in sorted(places):
            names.extend((self._made.String(name), self._named(*places[name])))
        self.pdf.catalog["Names"] = self._made.Dictionary({"Dests": self._made.Dictionary({"Names": names})})
        for annotation, name in self.links:
            self._lead(annotation, *places[name])
        self._outline()
        self.structure.finish(next(self._keys))

    def _part(self, tree: Any) -> None:
        """Lays out, draws and writes one part, and lets go of it."""
        document = self._layout(tree)
        self.metadata = document.metadata
        resources = self._resources()
        for page in document.pages:
            self._page(page, resources)
        self._settle(resources)
        self.structure.forget()
        del document
        gc.collect()

    def _layout(self, tree: Any) -> Any:
        setting = self._setting
        html = _tree(setting, tree)
        return html.render(font_config=self._font_config, stylesheets=[setting.style], cache={})

    def _resources(self) -> Any:
        kinds = ("ExtGState", "XObject", "Pattern", "Shading")
        resources = self._made.Dictionary({kind: self._made.Dictionary() for kind in kinds})
        resources.update({"ColorSpace": self._made.Dictionary(), "Font": self._font_names.reference})
        self.pdf.add_object(resources)
        return resources

    def _stream(self, page: Any, resources: Any) -> Any:
        frame = (0, 0, page.width, page.height)
        profiles = {"srgb": self.profile}
        stream = _stream_class()(self._fonts, frame, resources, self._images, {}, profiles, "srgb", compress=True)
        stream.push_state()  # a page may have two contents, and the first leaves no trace in the second
        stream.transform(d=-1, f=page.height * SCALE)
        self.pdf.add_object(stream)
        return stream

    def _page(self, page: Any, resources: Any) -> None:
        height, key = page.height * SCALE, next(self._keys)
        stream = self._stream(page, resources)
        content = {
            "Type": "/Page",
            "Parent": self.pdf.pages.reference,
            "MediaBox": self._made.Array([0, 0, page.width * SCALE, height]),
            "Contents": self._made.Array([stream.reference]),
            "Resources": resources.reference,
            "Tabs": "/S",
            "StructParents": key,
        }
        sheet = Sheet(self._made.Dictionary(content), bare=page._page_box.page_type.name == BARE)  # noqa: SLF001
        self.pdf.add_object(sheet.page)
        self._open.add(sheet.page.number)
        self._annotate(page, sheet, height)
        page.paint(stream, SCALE)
        stream.pop_state()
        found = self.structure.page(key, page._page_box, sheet.page, stream, height, SCALE)  # noqa: SLF001
        sheet.anchors = {name: (x * SCALE, height - y * SCALE) for name, (x, y, _, _) in page.anchors.items()}
        sheet.bookmarks = [
            (level, label, x * SCALE, height - y * SCALE, element)
            for (level, label, (x, y), _), element in zip(page.bookmarks, found, strict=True)
        ]
        self.sheets.append(sheet)

    def _annotate(self, page: Any, sheet: Sheet, height: float) -> None:
        """Makes the links of a page; those to nowhere stay text."""
        for kind, target, (left, top, right, bottom), box in page.links:
            if box.element_tag != "a" or (kind == "internal" and target not in self._known):
                continue
            frame = [left * SCALE, height - top * SCALE, right * SCALE, height - bottom * SCALE]
            said = box.element.get("aria-label") or " ".join("".join(box.element.itertext()).split()) or target
            annotation = self._made.Dictionary(
                {
                    "Type": "/Annot",
                    "Subtype": "/Link",
                    "Rect": self._made.Array(frame),
                    "BS": self._made.Dictionary({"W": 0}),
                    "Contents": self._made.String(said),
                    "F": PRINTED,
                }
            )
            if kind == "internal":
                self.links.append((annotation, target))
            else:
                uri = self._made.String(target)
                annotation["A"] = self._made.Dictionary({"S": "/URI", "URI": uri})
            self.pdf.add_object(annotation)
            box.link_annotation = annotation
            sheet.page.setdefault("Annots", self._made.Array()).append(annotation.reference)

    def _settle(self, resources: Any) -> None:
        """Writes what the part has left, but for what the end of the report adds to."""
        from weasyprint.pdf import _use_references

        _use_references(self.pdf, resources, self._images, {"srgb": self.profile})
        for image in self._images.values():
            if image["image"] is not None:
                image.update(image=None, x_object=_Written(image["x_object"].reference))
        self.pdf.flush(self._open | self.structure.kept)

    def _number_pages(self) -> None:
        """Draws "Page 3 of 97" on every page, as something that is not read out."""
        pages = "".join(f'<p class="{BARE if sheet.bare else "page"}"></p>' for sheet in self.sheets)
        setting = self._setting
        html = setting.weasyprint.HTML(string=f"<body>{pages}", base_url=setting.base, url_fetcher=setting.fetcher)
        document = html.render(font_config=self._font_config, stylesheets=[setting.numbers], cache={})
        resources = None
        for sheet, page in zip(self.sheets, document.pages, strict=True):
            if sheet.bare:
                continue
            resources = resources or self._resources()
            stream = self._stream(page, resources)
            page.paint(stream, SCALE)
            stream.pop_state()
            for place in stream.marks.values():
                stream.stream[place] = PAGINATION
            sheet.page["Contents"].append(stream.reference)

    def _places(self) -> dict[str, tuple[Any, float, float, bytes]]:
        """Page, point and element of each anchor."""
        places: dict[str, tuple[Any, float, float, bytes]] = {}
        for sheet in self.sheets:
            for name, (x, y) in sheet.anchors.items():
                places.setdefault(name, (sheet.page, x, y, self.structure.anchors.get(name, b"")))
        return places

    def _point(self, place: bytes, x: float, y: float) -> Any:
        return self._made.Array([place, "/XYZ", round(x, 2), round(y, 2), 0])

    def _named(self, page: Any, x: float, y: float, element: bytes) -> Any:
        point = self._point(page.reference, x, y)
        if self._setting.version < "2.0" or not element:
            return point
        return self._made.Dictionary({"D": point, "SD": self._point(element, x, y)})

    def _lead(self, item: Any, page: Any, x: float, y: float, element: bytes) -> None:
        """Says where a link or a bookmark leads: to a point of a page, in PDF 2.0 also to what is read there."""
        if self._setting.version < "2.0" or not element:
            item["Dest"] = self._point(page.reference, x, y)
        else:
            item["A"] = self._made.Dictionary(
                {"S": "/GoTo", "D": self._point(page.reference, x, y), "SD": self._point(element, x, y)}
            )

    def _outline(self) -> None:
        """The bookmarks as a tree by their levels."""
        root = self._made.Dictionary({"Type": "/Outlines"})
        self.pdf.add_object(root)
        above: list[tuple[int, Any]] = [(0, root)]
        for sheet in self.sheets:
            for level, label, x, y, element in sheet.bookmarks:
                while above[-1][0] >= level:
                    above.pop()
                parent = above[-1][1]
                item = self._made.Dictionary({"Title": self._made.String(label), "Parent": parent.reference})
                self._lead(item, sheet.page, x, y, element)
                self.pdf.add_object(item)
                if "Last" in parent:
                    last = self.pdf.objects[int(parent["Last"].split()[0])]
                    last["Next"], item["Prev"] = item.reference, last.reference
                parent.setdefault("First", item.reference)
                parent["Last"] = item.reference
                for _, opened in above:
                    opened["Count"] = opened.get("Count", 0) + 1
                above.append((level, item))
        if "First" in root:
            self.pdf.catalog["Outlines"] = root.reference


@dataclass(frozen=True)
class _Written:
    """A picture that stands in the file already."""

    reference: bytes


def _numbered(tree: Any, where: dict[str, int]) -> Any:
    """The front with the page of each of its links beside it; three digits where it is not known yet."""
    for link in tree.iter("a"):
        link.set("data-page", str(where.get(link.get("href", "").removeprefix("#"), "" if where else "999")))
    return tree


def _tree(setting: Setting, tree: Any) -> Any:
    """A parsed tree as WeasyPrint takes it, without writing it out and parsing it again."""
    from weasyprint import cssselect2

    html = setting.weasyprint.HTML.__new__(setting.weasyprint.HTML)
    html.base_url, html.url_fetcher, html.media_type = setting.base, setting.fetcher, "print"
    html.wrapper_element = cssselect2.ElementWrapper.from_html_root(tree, content_language=None)
    html.etree_element = tree
    return html


def _profile(pdf: Any) -> Any:
    """The profile of the colours (sRGB), as an object of the file."""
    from importlib.resources import files

    import pydyf
    from weasyprint.css import ColorProfile

    with (files("weasyprint.pdf") / "sRGB2014.icc").open("rb") as file:
        profile = ColorProfile(file, "sRGB2014.icc", "relative-colorimetric", (["r"], ["g"], ["b"]))
        content = pydyf.Stream([profile.content], pydyf.Dictionary({"N": 3}), compress=True)
    pdf.add_object(content)
    profile.pdf_reference = content.reference
    return profile


@cache
def _stream_class() -> Any:
    from weasyprint.pdf.stream import Stream

    class Marked(Stream):  # type: ignore[misc]
        """Content of a page that knows where each marked piece begins."""

        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.marks: dict[Any, int] = {}

        @contextmanager
        def marked(self, box: Any, tag: str) -> Iterator[None]:
            mcid = len(self.marks)
            self.marks[box] = len(self.stream)
            self.stream.append(b"/%b <</MCID %d>> BDC" % (tag.encode("ascii"), mcid))
            yield
            self.end_marked_content()

    return Marked
