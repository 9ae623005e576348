"""The reference that Doxygen makes of the header: no warning, nothing public without a text, and gaps are noticed."""
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEADER = ROOT / "include" / "gausspool" / "gausspool.h"

pytestmark = pytest.mark.skipif(not shutil.which("doxygen"), reason="no doxygen here")


def doxygen(header, folder):
    """Runs it as `make docs` does, on this header into this folder."""
    settings = (ROOT / "docs" / "Doxyfile").read_text()
    settings += f"INPUT = {header}\nOUTPUT_DIRECTORY = {folder}\nGENERATE_XML = YES\n"
    return subprocess.run(["doxygen", "-"], input=settings, cwd=ROOT, capture_output=True, text=True, timeout=120)


def documented(folder):
    """Name of each thing in the XML output: whether it has a text. Fields are named STRUCT.FIELD."""
    names = {}
    for path in (folder / "xml").glob("*.xml"):
        for compound in ElementTree.parse(path).getroot().iter("compounddef"):
            struct = compound.findtext("compoundname") if compound.get("kind") == "struct" else None
            if struct:
                names[struct] = has_text(compound)
            for member in [*compound.iter("memberdef"), *compound.iter("enumvalue")]:
                if member.get("kind") not in ("define", "typedef"):
                    name = member.findtext("name")
                    names[f"{struct}.{name}" if struct else name] = has_text(member)
    return names


def has_text(element):
    return any("".join(part.itertext()).strip() for tag in ("briefdescription", "detaileddescription")
               if (part := element.find(tag)) is not None)


def declared(header):
    """The same names read from the header's code."""
    code = re.sub(r"/\*.*?\*/|^ *#.*?$", "", header.read_text(), flags=re.DOTALL | re.MULTILINE)
    names = set(re.findall(r"\bGP_API\b[^;{}]*?\b(\w+)\(", code))
    for kind, name, body in re.findall(r"typedef (enum|struct) (\w+) \{(.*?)\}", code, re.DOTALL):
        names.add(name)
        if kind == "enum":
            names.update(re.findall(r"\bGP_\w+", body))
        else:
            names.update(f"{name}.{field}" for field in re.findall(r"(\w+)(?:\[\d+\])?(?=[,;])", body))
    return names


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reference")
    result = doxygen(HEADER, folder)
    assert result.returncode == 0 and not result.stdout + result.stderr, result.stdout + result.stderr
    return folder


def test_everything_public_has_a_text(reference):
    texts = documented(reference)
    assert len(texts) > 100
    assert set(texts) == declared(HEADER)
    assert [name for name, text in texts.items() if not text] == []


def test_main_page_and_sections(reference):
    page = (reference / "html" / "index.html").read_text()
    assert "Gaussian-based pooling for convolutional neural networks" in page and "gp_last_error" in page
    titles = re.findall(r"^/\* -+ (.+?) -+ \*/$", HEADER.read_text(), re.MULTILINE)
    modules = (reference / "html" / "modules.html").read_text()
    assert len(titles) == 4 and all(title in modules for title in titles)


@pytest.mark.parametrize("comment, name", [
    (r"/\* Version of the library linked.*?\*/\n", "gp_version"),
    (r"/\* A pooling, complete\..*?\*/\n", "gp_pool_desc"),
    (r"(?<=gp_pool_kind kind;) */\*.*?\*/", "kind"),
    (r"(?<=const void \*mu, \*sigma;) */\*.*?\*/", "mu"),
], ids=["function", "struct", "field", "fields declared together"])
def test_a_gap_is_an_error(comment, name, tmp_path):
    header = tmp_path / "gausspool.h"
    text, count = re.subn(comment, "", HEADER.read_text(), count=1, flags=re.DOTALL)
    assert count == 1
    header.write_text(text)
    result = doxygen(header, tmp_path)
    assert result.returncode != 0
    assert re.search(rf"\b{name}\b.* is not documented", result.stderr), result.stderr


def test_a_gap_among_enumerators_shows(tmp_path):
    """Doxygen says nothing of these."""
    header = tmp_path / "gausspool.h"
    text, count = re.subn(r"(?<=GP_OK = 0,) */\*.*?\*/", "", HEADER.read_text())
    assert count == 1
    header.write_text(text)
    doxygen(header, tmp_path)
    assert [name for name, text in documented(tmp_path).items() if not text] == ["GP_OK"]
