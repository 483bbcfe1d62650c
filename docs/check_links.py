"""Checks the pages that were made: every link within them leads to a file that is there, and to a place in it."""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class _Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.links, self.places = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.links += [found[name] for name in ("href", "src") if found.get(name) and tag != "link"]
        self.places |= {found[name] for name in ("id", "name") if found.get(name)}


def main(folder):
    files = [path.resolve() for path in Path(folder).rglob("*.html") if "_static" not in path.parts]
    pages = {path: _Page(path.read_text(encoding="utf-8")) for path in files}
    broken, checked = [], 0
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            checked += 1
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            is_there = target.exists() and (not parts.fragment or target not in pages
                                            or unquote(parts.fragment) in pages[target].places)  # fmt: skip
            if not is_there:
                broken.append(f"{path.relative_to(Path(folder).resolve())}: {link}")
    print(f"{checked:,} links in {len(pages)} pages, {len(broken)} broken")
    print("\n".join(sorted(set(broken))))
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
