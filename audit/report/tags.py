"""The structure of a PDF, as a screen reader follows it: one element for each element of the HTML that means something.

WeasyPrint writes an element for every box, on every page anew. Here an element that goes on over pages stays one, what
is repeated for the eye alone (running heads, the heads of a table that goes on) is an artefact, and a cell holds its
text without a wrapper: a third of the objects, and a table is read as one table.
"""

from typing import Any

SVG = "{http://www.w3.org/2000/svg}svg"

ROLES = {
    "main": "Part",
    "section": "Sect",
    "article": "Art",
    "blockquote": "BlockQuote",
    "p": "P",
    "pre": "P",
    "figcaption": "P",
    "ul": "L",
    "ol": "L",
    "li": "LI",
    "table": "Table",
    "caption": "Caption",
    "thead": "THead",
    "tbody": "TBody",
    "tfoot": "TFoot",
    "tr": "TR",
    "th": "TH",
    "td": "TD",
    "a": "Link",
    "img": "Figure",
    SVG: "Figure",
} | {f"h{level}": f"H{level}" for level in range(1, 7)}
"""The role of an HTML element; what is not named here is as if it were not there."""

GROUPS = frozenset(
    {"Document", "Part", "Sect", "Art", "BlockQuote", "L", "LI", "Table", "THead", "TBody", "TFoot", "TR"}
)
"""Roles that hold elements and no text; text that stands in one of them becomes a paragraph."""

PAGINATION = b"/Artifact <</Type/Pagination>> BDC"


class Element:
    """An element of the structure; an object of the PDF.

    Attributes:
        page: the reference of the page on which its content begins.
        extra: entries of its own, as the file has them.
    """

    __slots__ = ("extra", "kids", "number", "page", "parent", "role")

    def __init__(self, role: str, parent: bytes, page: bytes) -> None:
        self.role, self.parent, self.page = role, parent, page
        self.kids: list[bytes] = []
        self.extra, self.number = b"", 0

    @property
    def reference(self) -> bytes:
        """How other objects name it."""
        return b"%d 0 R" % self.number

    @property
    def data(self) -> bytes:
        """The element as the file has it."""
        kids = self.kids[0] if len(self.kids) == 1 else b"[" + b" ".join(self.kids) + b"]"
        head = b"<</Type/StructElem/S/" + self.role.encode("ascii") + b"/P " + self.parent
        place = b"/Pg " + self.page if self.page else b""
        return head + place + b"/K " + kids + self.extra + b">>"


class Structure:
    """The tree of one report, grown page by page.

    Attributes:
        lists: the list of each item by the item's number.
        annotations: each annotation with the element that holds it, in reading order.
        anchors: the element that bears each anchor.
    """

    def __init__(self, pdf: Any, version: str) -> None:
        import pydyf

        self._pdf, self._made = pdf, pydyf
        self.root = pydyf.Dictionary({"Type": "/StructTreeRoot"})
        pdf.add_object(self.root)
        self.document = Element("Document", self.root.reference, b"")
        pdf.add_object(self.document)
        self.root["K"] = pydyf.Array([self.document.reference])
        if version >= "2.0":
            space = pydyf.Dictionary({"Type": "/Namespace", "NS": pydyf.String("http://iso.org/pdf2/ssn")})
            pdf.add_object(space)
            self.root["Namespaces"] = pydyf.Array([space.reference])
            self.document.extra = b"/NS " + space.reference
        self.annotations: list[tuple[Element, Any]] = []
        self.anchors: dict[str, bytes] = {}
        self.lists: dict[int, Element] = {}
        self._of: dict[tuple[Any, str], Element] = {}
        self._numbers: list[tuple[int, bytes]] = []

    @property
    def kept(self) -> set[int]:
        """Numbers of objects that may still change."""
        return {self.root.number, self.document.number} | {item.number for _, item in self.annotations}

    def page(self, key: int, page: Any, sheet: Any, stream: Any, height: float, scale: float) -> list[bytes]:
        """Grows the tree by a page that was drawn; the elements of its bookmarks, in their order.

        Args:
            key: the place of the page in the tree of parents.
            page: the laid-out boxes.
            sheet: the dictionary of the page.
            height: of the page in units of the file.
        """
        walk = _Walk(self, sheet.reference, stream.marks, height, scale)
        walk.box(page, self.document)
        owners = self._made.Array(walk.owners.get(mcid, b"null") for mcid in range(len(stream.marks)))
        self._pdf.add_object(owners)
        self._numbers.append((key, owners.reference))
        for mcid, place in enumerate(stream.marks.values()):
            if mcid not in walk.owners:
                stream.stream[place] = PAGINATION
        return walk.headings

    def element(self, source: Any, role: str, parent: Element, page: bytes) -> Element:
        """The element of something of the HTML, made where it has none yet."""
        found = self._of.get((source, role))
        if found is None:
            found = self._of[source, role] = Element(role, parent.reference, page)
            self._pdf.add_object(found)
            parent.kids.insert(0 if role == "Lbl" else len(parent.kids), found.reference)
            _describe(found, source)
            if source is not None and source.get("id"):
                self.anchors.setdefault(source.get("id"), found.reference)
        return found

    def label(self, source: Any, page: bytes) -> Element:
        """The mark before an item of a list; a list whose items bear one is numbered or has bullets."""
        item = self._of[source, "LI"]
        around = self.lists[item.number]
        around.extra = around.extra.replace(b"/None", b"/Disc")
        return self.element(source, "Lbl", item, page)

    def forget(self) -> None:
        """Ends a part: what it was made of is let go."""
        self._of.clear()
        self.lists.clear()

    def finish(self, first: int) -> None:
        """Writes the tree of parents; annotations are numbered from `first`."""
        for number, (element, annotation) in enumerate(self.annotations, start=first):
            annotation["StructParent"] = number
            self._numbers.append((number, element.reference))
        parents = self._made.Dictionary({"Nums": self._made.Array(x for pair in self._numbers for x in pair)})
        self._pdf.add_object(parents)
        self.root["ParentTree"] = parents.reference
        self.root["ParentTreeNextKey"] = first + len(self.annotations)
        self._pdf.catalog["StructTreeRoot"] = self.root.reference
        self._pdf.catalog["MarkInfo"] = self._made.Dictionary({"Marked": "true"})


class _Walk:
    """One page: which element each piece of marked content belongs to."""

    def __init__(self, structure: Structure, page: bytes, marks: dict[Any, int], height: float, scale: float) -> None:
        from weasyprint.formatting_structure import boxes
        from weasyprint.layout.absolute import AbsolutePlaceholder

        self._boxes, self._absolute = boxes, AbsolutePlaceholder
        self._structure, self._page, self._height, self._scale = structure, page, height, scale
        self._mcids = {box: mcid for mcid, box in enumerate(marks)}
        self.owners: dict[int, bytes] = {}
        self.headings: list[bytes] = []

    def box(self, box: Any, parent: Element) -> None:
        """The box with all that stands in it; what is for the eye alone is passed over."""
        if isinstance(box, self._absolute):
            box = box._box  # noqa: SLF001 - a placeholder is nothing else
        if isinstance(box, self._boxes.MarginBox) or box.is_leader or self._repeated(box):
            return
        if isinstance(box, self._boxes.TextBox):
            self._content(box, self._holder(box, parent))
            return
        here = self._place(box, parent)
        if box.bookmark_label and box.style["bookmark_level"] != "none":
            self.headings.append(here.reference)
        if box.link_annotation is not None and here.role == "Link":
            self._link(box, here)
        if isinstance(box, self._boxes.ReplacedBox):
            self._draw(box, here)
        for child in box.children if isinstance(box, self._boxes.ParentBox) else ():
            self.box(child, here)

    def _place(self, box: Any, parent: Element) -> Element:
        """The element that a box stands for, or the one that it stands in."""
        tag = box.element_tag if box.element is not None else None
        if tag == "li::marker":
            return self._structure.label(box.element, self._page)
        role = ROLES.get(tag or "")
        if role is None:
            return parent
        if role == "LI":
            item = self._structure.element(box.element, "LI", parent, self._page)
            self._structure.lists[item.number] = parent
            return self._structure.element(box.element, "LBody", item, self._page)
        if role in {"Link", "Figure"} and (box.element, role) not in self._structure._of:  # noqa: SLF001
            parent = self._holder(box, parent) if role == "Link" else parent
        return self._structure.element(box.element, role, parent, self._page)

    def _holder(self, box: Any, parent: Element) -> Element:
        if parent.role not in GROUPS:
            return parent
        return self._structure.element(box.element, "P", parent, self._page)

    def _repeated(self, box: Any) -> bool:
        """Whether it is the head of a table, on a page after its first."""
        if not getattr(box, "is_header", False):
            return False
        found = self._structure._of.get((box.element, "THead"))  # noqa: SLF001
        return found is not None and found.page != self._page

    def _content(self, box: Any, element: Element) -> None:
        mcid = self._mcids.get(box)
        if mcid is None:
            return
        self.owners[mcid] = element.reference
        told = b"%d" % mcid if element.page == self._page else b"<</Type/MCR/Pg %b/MCID %d>>" % (self._page, mcid)
        element.kids.append(told)

    def _draw(self, box: Any, element: Element) -> None:
        if element.role == "Figure" and b"/BBox" not in element.extra:
            left, top = box.content_box_x() * self._scale, box.content_box_y() * self._scale
            right, bottom = left + box.width * self._scale, top + box.height * self._scale
            frame = (left, self._height - bottom, right, self._height - top)
            element.extra += b"/A<</O/Layout/BBox[%b]>>" % b" ".join(b"%.2f" % value for value in frame)
        self._content(box, element)

    def _link(self, box: Any, element: Element) -> None:
        told = b"<</Type/OBJR/Obj %b/Pg %b>>" % (box.link_annotation.reference, self._page)
        element.kids.append(told)
        self._structure.annotations.append((element, box.link_annotation))


def _describe(element: Element, source: Any) -> None:
    """What the HTML says of an element besides its text: scope, span, alternative text, kind of list."""
    if element.role == "TH":
        scope = b"Column" if source.get("scope") == "col" else b"Row"
        element.extra = b"/A<</O/Table/Scope/%b%b>>" % (scope, _spans(source))
    elif element.role == "TD" and _spans(source):
        element.extra = b"/A<</O/Table%b>>" % _spans(source)
    elif element.role == "L":
        kind = b"Decimal" if source.tag == "ol" else b"None"
        element.extra = b"/A<</O/List/ListNumbering/%b>>" % kind
    elif element.role == "Figure":
        import pydyf

        title = source.find("{http://www.w3.org/2000/svg}title")
        said = source.get("alt", "") if title is None else "".join(title.itertext())
        element.extra = b"/Alt " + pydyf.String(said).data


def _spans(source: Any) -> bytes:
    spans = ((b"ColSpan", source.get("colspan", "1")), (b"RowSpan", source.get("rowspan", "1")))
    return b"".join(b"/%b %d" % (name, int(value)) for name, value in spans if value.isdigit() and int(value) > 1)
