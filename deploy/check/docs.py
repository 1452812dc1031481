"""Every relative link in the documentation leads to a file that is there, and to a heading in it."""

import pathlib
import re
import sys

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]

faults = []
links = 0


def without_code(text):
    return re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)


def anchors(path):
    """As GitHub makes them: lower case, without marks, spaces as dashes."""
    headings = re.findall(r"^#+ (.+)$", without_code(path.read_text()), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


for page in PAGES:
    for link in re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        links += 1
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists():
            faults.append(f"{page.relative_to(REPOSITORY)}: {link} is not there")
        elif anchor and anchor not in anchors(target):
            faults.append(f"{page.relative_to(REPOSITORY)}: {link} names no heading")
for line in faults:
    print(line, file=sys.stderr)
print(f"{links} links, {len(faults)} faults")
sys.exit(1 if faults else 0)
