"""Pages as a browser without script reads them: their forms, their texts, what they load."""

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = frozenset({"input", "meta", "link", "img", "br"})


@dataclass
class HtmlForm:
    """One form: where it goes, and what its fields hold when nobody has touched them."""

    action: str
    method: str
    fields: dict[str, str] = field(default_factory=dict)
    buttons: dict[str, list[str]] = field(default_factory=dict)


@dataclass
class Page:
    """What a page has. `errors` are the messages at fields, by the names of the fields."""

    forms: list[HtmlForm] = field(default_factory=list)
    links: list[tuple[str, str]] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)
    inline: list[str] = field(default_factory=list)
    errors: dict[str, str] = field(default_factory=dict)
    labels: set[str] = field(default_factory=set)
    ids: list[str] = field(default_factory=list)
    named: set[str] = field(default_factory=set)
    text: str = ""

    def form(self, action: str) -> HtmlForm:
        """The form whose action contains this."""
        return next(form for form in self.forms if action in form.action)


def read_page(html: str) -> Page:
    """Read a page."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    reader.page.text = " ".join(" ".join(reader.words).split())
    return reader.page


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.page = Page()
        self.words: list[str] = []
        self._open: list[tuple[str, dict[str, str]]] = []
        self._select = ""
        self._error = ""
        self._described: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag not in VOID:
            self._open.append((tag, found))
        self._note(tag, found)
        if tag == "form":
            self.page.forms.append(HtmlForm(found.get("action", ""), found.get("method", "get")))
        elif self.page.forms:
            self._note_field(tag, found)
        if tag == "a":
            self.page.links.append((found.get("href", ""), ""))
        if tag == "p" and found.get("class") == "error":
            self._error = found["id"]

    def _note(self, tag: str, found: dict[str, str]) -> None:
        page = self.page
        page.inline += [f"{tag} {name}" for name in found if name.startswith("on") or name == "style"]
        if tag in ("script", "link", "img"):
            page.loaded.append(found.get("src") or found.get("href", ""))
            if tag == "script" and "src" not in found:
                page.inline.append("script")
        if tag == "style":
            page.inline.append("style")
        if tag == "label":
            page.labels.add(found.get("for", ""))
        if "id" in found:
            page.ids.append(found["id"])
        if tag in ("input", "select", "textarea") and found.get("type") != "hidden":
            page.named.add(found.get("id", ""))

    def _note_field(self, tag: str, found: dict[str, str]) -> None:
        form, name = self.page.forms[-1], found.get("name", "")
        for place in found.get("aria-describedby", "").split():
            self._described[place] = name
        if tag == "input" and name and (found.get("type") != "checkbox" or "checked" in found):
            form.fields[name] = found.get("value", "")
        elif tag == "button" and name:
            form.buttons.setdefault(name, []).append(found.get("value", ""))
        elif tag == "select":
            self._select = name
        elif tag == "option" and self._select and ("selected" in found or self._select not in form.fields):
            form.fields[self._select] = found.get("value", "")
        elif tag == "textarea":
            form.fields[name] = ""
            self._select = ""

    def handle_endtag(self, tag: str) -> None:
        while self._open:
            opened, _ = self._open.pop()
            if opened == tag:
                break
        if tag == "select":
            self._select = ""
        if tag == "p":
            self._error = ""

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if self._error:
            self.page.errors[self._described.get(self._error, self._error)] = data
        if self._open and self._open[-1][0] == "textarea":
            self.page.forms[-1].fields[self._open[-1][1]["name"]] = data.removeprefix("\n")
