"""index.html: complete in itself, and in a browser its tables sort and it fits a phone."""

import base64
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from handmade import make_run

from pinntk.report.write import write_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report on a few runs."""
    root = tmp_path_factory.mktemp("report")
    log = "iteration,loss,l2re,seconds\n" + "".join(f"{n},{1 / n},{1 / n},{n / 10}\n" for n in range(1, 50))
    for seed, error in enumerate([3e-2, 2e-2, 7e-2]):
        make_run(root / "runs", seed=seed, l2re=error, metrics=log)
    for k in range(5):
        make_run(root / "runs", settings_hash=f"{k}" * 12, l2re=0.1 + k / 10, metrics=log)
    make_run(root / "runs", pde="reaction", pde_parameters={"rho": 5.0}, l2re=1e-3)
    make_run(root / "runs", pde="convection", pde_parameters={"beta": 40.0}, l2re=1e-2)
    make_run(root / "runs", pde="heat2d", pde_parameters={"k": 1.0, "m1": 4, "m2": 2}, l2re=0.9, method="pcpinn")
    write_report(root / "runs", root / "out")
    return root / "out"


class Tags(HTMLParser):
    """Names and attributes of all tags, and whether each is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_needs_nothing_else(report: Path) -> None:
    text = (report / "index.html").read_text()
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    links = [value for _, attrs in tags.found for name, value in attrs.items() if name in ("src", "href", "srcset")]
    assert links
    assert all(link is not None and link.startswith(("data:", "#")) for link in links)
    assert not re.search(r"url\(|@import|fetch\(|https?://", text)
    targets = {attrs.get("id") for _, attrs in tags.found}
    assert {link.removeprefix("#") for link in links if link and link.startswith("#")} <= targets
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in tags.found


def test_every_picture_is_in_the_page(report: Path) -> None:
    inside = re.findall(r'src="data:image/png;base64,([^"]+)"', (report / "index.html").read_text())
    files = {path.read_bytes() for path in report.glob("*.png")}
    assert files
    assert {base64.b64decode(data) for data in inside} == files


PROBE = """<script>
document.querySelectorAll("#table2 th button")[COLUMN].click();
if (TWICE) document.querySelectorAll("#table2 th button")[COLUMN].click();
document.title = [...document.querySelectorAll("#table2 tbody th")].map(head => head.dataset.value).join("; ")
  + " | overflow " + (document.documentElement.scrollWidth - document.documentElement.clientWidth);
</script>"""


def browse(page: Path, *more: str) -> str:
    """Open a page without any network and give back what the browser says."""
    assert CHROMIUM is not None
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND"]
    command += [f"--user-data-dir={page.parent / 'profile'}", *more, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def probed(report: Path, folder: Path, column: int, *, twice: bool = False) -> Path:
    """A copy of the page that clicks on a column's head when it is opened and says what it sees in its title."""
    probe = PROBE.replace("COLUMN", str(column)).replace("TWICE", str(twice).lower())
    page = folder / "page.html"
    page.write_text((report / "index.html").read_text().replace("</body>", f"{probe}</body>"))
    return page


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here; Debian's package chromium has it")
@pytest.mark.parametrize(
    ("column", "twice", "first"),
    [
        (3, False, ["reaction", "convection", "burgers"]),  # Adam, lowest error first
        (3, True, ["burgers", "convection", "reaction"]),
        (2, True, ["heat2d"]),  # PCPINN: the others have no value
        (0, False, ["burgers", "convection", "heat2d", "reaction", "wave, a = 4", "wave, a = 5"]),
    ],
)
def test_the_table_sorts(column: int, twice: bool, first: list[str], report: Path, tmp_path: Path) -> None:
    dom = browse(probed(report, tmp_path, column, twice=twice), "--dump-dom")
    title = re.search(r"<title>(.*) \| overflow", dom)
    assert title is not None
    assert title.group(1).split("; ")[: len(first)] == first
    assert re.search(r"<th [^>]*aria-sort=\"" + ("de" if twice else "a") + 'scending"', dom)


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here; Debian's package chromium has it")
def test_it_fits_a_phone(report: Path, tmp_path: Path) -> None:
    """Wide things scroll by themselves; the page does not."""
    page = probed(report, tmp_path, 3)
    assert "| overflow 0<" in browse(page, "--dump-dom", "--window-size=500,900")
    picture = tmp_path / "page.png"
    browse(page, f"--screenshot={picture}", "--window-size=500,900")
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 20_000
