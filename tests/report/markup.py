"""Pages read back as HTML."""

from html.parser import HTMLParser

VOID = {"meta", "img", "br", "link", "input"}


class Page(HTMLParser):
    """The tags, attributes and visible text of a page; fails where tags do not nest."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.open, self.words = [], [], []
        self.source = path.read_text("utf-8")
        self.feed(self.source)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID and not self.get_starttag_text().endswith("/>"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag != "option":
            while self.open[-1] == "option":
                self.open.pop()
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "script", "template"} & set(self.open):
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]
