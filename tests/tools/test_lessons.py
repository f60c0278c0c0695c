"""Each rule of tools/lessons.py refuses a lesson that breaks it, and passes one that keeps it."""

from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_output

from tools import lessons

GOOD = """\
# %% [markdown]
# # What does r = 8 leave?
#
# Each query keeps {{keys}} keys.

# %%
print(1 + 1)

# %% tags=["mirror"]
# segformer_edu.mix_ffn.MixFFN
"""
NO_MIRROR = GOOD.partition('# %% tags=["mirror"]')[0]
CLAIMS = 'def keys():\n    return "256"\n'
STEM = "00_lesson"


@pytest.fixture
def notebooks(tmp_path: Path) -> Path:
    (tmp_path / "source/claims").mkdir(parents=True)
    return tmp_path


def write(notebooks: Path, source: str = GOOD, claims: str = CLAIMS, stem: str = STEM) -> None:
    """A lesson whose notebook is what its source makes, every cell run and silent."""
    (notebooks / f"source/claims/{stem[:2]}.py").write_text(claims, encoding="utf-8")
    path = notebooks / "source" / f"{stem}.py"
    path.write_text(source, encoding="utf-8")
    notebook = lessons.assemble(path, lessons.claims_for(path))
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.execution_count = 1
    nbformat.write(notebook, notebooks / f"{stem}.ipynb")


def edit(notebooks: Path, change) -> None:
    """Change the written notebook as `change` does."""
    path = notebooks / f"{STEM}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    change(notebook)
    nbformat.write(notebook, path)


def show(notebooks: Path, *outputs) -> list[str]:
    """What the check says of the good lesson, were these the outputs of its code cell."""
    write(notebooks)
    edit(notebooks, lambda notebook: notebook.cells[1].update(outputs=list(outputs)))
    return lessons.check(notebooks)


def markdown(text: str) -> str:
    return GOOD + "\n# %% [markdown]\n" + "".join(f"# {line}\n" for line in text.splitlines())


def test_a_good_lesson_passes(notebooks):
    write(notebooks)
    assert lessons.check(notebooks) == []


def test_the_build_fills_in_claims_and_mirrors(notebooks):
    write(notebooks)
    prose, _, mirror = nbformat.read(notebooks / f"{STEM}.ipynb", as_version=4).cells
    assert "keeps 256 keys" in prose.source
    assert mirror.source.startswith("class MixFFN")


def test_two_builds_give_the_same_bytes(notebooks):
    write(notebooks, NO_MIRROR + '# %% tags=["raises-exception"]\nraise ValueError("r = 0")\n')
    source = notebooks / "source" / f"{STEM}.py"
    claims = lessons.claims_for(source)
    first, second = (lessons.build(source, claims).read_bytes() for _ in range(2))
    assert first == second
    assert b'"2\\n"' in first
    assert b"ValueError: r = 0" in first
    assert lessons.check(notebooks) == []


def test_a_build_that_fails_names_the_lesson_and_keeps_the_old_notebook(notebooks):
    write(notebooks)
    before = (notebooks / f"{STEM}.ipynb").read_bytes()
    source = notebooks / "source" / f"{STEM}.py"
    source.write_text("# %%\n1 / 0\n", encoding="utf-8")
    with pytest.raises(lessons.LessonError, match=r"00_lesson\.py stopped at(.|\n)*ZeroDivision"):
        lessons.build(source, {})
    assert (notebooks / f"{STEM}.ipynb").read_bytes() == before


def test_an_inserted_cell_leaves_the_ids_of_the_others(notebooks):
    path = notebooks / "source" / f"{STEM}.py"
    path.write_text("# %%\nprint(1)\n\n# %%\nprint(2)\n", encoding="utf-8")
    before = [cell.id for cell in lessons.assemble(path, {}).cells]
    path.write_text("# %%\nprint(1)\n\n# %%\nprint(1)\n\n# %%\nprint(2)\n", encoding="utf-8")
    after = [cell.id for cell in lessons.assemble(path, {}).cells]
    assert [after[0], after[2]] == before
    assert len(set(after)) == 3


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        (markdown("{{values}} values"), "cell 4: there is no claim values()"),
        (markdown("256 keys"), "cell 4: 256 is neither a claim nor cited"),
        (GOOD.replace("mix_ffn.MixFFN", "mix_ffn.MixFFM"), "cell 3: there is no segformer_edu.mix"),
        (GOOD.replace("# segformer_edu.mix_ffn.MixFFN", "x = 1"), "a mirror cell holds one line"),
        (GOOD.replace("%%\n", '%% tags=["slow"]\n', 1), "cell 2: unknown tag 'slow'"),
        (GOOD.replace("%%\n", '%% tag=["stage"]\n', 1), "cell 2: a cell has tags and nothing else"),
        (GOOD.replace("print", "# NBVAL_SKIP\nprint"), "cell 2: a comment controls nbval"),
    ],
)
def test_a_source_is_refused(notebooks, source, problem):
    write(notebooks)
    (notebooks / "source" / f"{STEM}.py").write_text(source, encoding="utf-8")
    assert any(
        said.startswith(f"{STEM}.py") and problem in said for said in lessons.check(notebooks)
    )


@pytest.mark.parametrize(
    ("claims", "problem"),
    [
        ("def keys():\n    return 256\n", "cell 1: the claim keys() returns 256"),
        (
            CLAIMS + "def values():\n    return '1'\n",
            "claims/00.py: values() is stated nowhere",
        ),
        (CLAIMS.replace("256", "64"), "00_lesson.ipynb, cell 1: differs from its source"),
    ],
)
def test_claims_are_refused(notebooks, claims, problem):
    write(notebooks)
    (notebooks / "source/claims/00.py").write_text(claims, encoding="utf-8")
    assert any(problem in said for said in lessons.check(notebooks))


def test_a_lesson_states_its_own_claims_and_those_that_are_shared(notebooks):
    write(notebooks)
    folder = notebooks / "source/claims"
    (folder / "00.py").rename(folder / "01.py")
    missing, unused = lessons.check(notebooks)
    assert missing.endswith("cell 1: there is no claim keys()")
    assert unused == "claims/01.py: keys() is stated nowhere"
    (folder / "01.py").rename(folder / "shared.py")
    assert lessons.check(notebooks) == []


def test_what_takes_an_argument_or_is_imported_or_hidden_is_not_a_claim(notebooks):
    helpers = "def side(r):\n    return r\ndef _r():\n    return 8\n"
    write(notebooks, claims=CLAIMS + helpers + "from tempfile import gettempdir\n")
    assert lessons.check(notebooks) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda notebook: notebook.cells[1].update(source="print(2)"),
        lambda notebook: notebook.cells[1].update(id="another"),
        lambda notebook: notebook.cells[1].update(metadata={"tags": ["nbval-ignore-output"]}),
        lambda notebook: notebook.cells[1].update(metadata={"execution": {}}),
        lambda notebook: notebook.cells[0].update(cell_type="raw"),
        lambda notebook: notebook.cells.pop(),
        lambda notebook: notebook.cells.append(nbformat.v4.new_markdown_cell("more", id="more")),
    ],
)
def test_a_notebook_that_differs_from_its_source_is_refused(notebooks, change):
    write(notebooks)
    edit(notebooks, change)
    assert [said for said in lessons.check(notebooks) if "differs from its source" in said]


@pytest.mark.parametrize("key", ["widgets", "kernelspec"])
def test_metadata_that_no_build_writes_is_refused(notebooks, key):
    write(notebooks)
    edit(notebooks, lambda notebook: notebook.metadata.update({key: {"name": "other"}}))
    assert any("its metadata is not a build's" in said for said in lessons.check(notebooks))


def test_a_cell_that_was_never_run_is_refused(notebooks):
    write(notebooks)
    edit(notebooks, lambda notebook: notebook.cells[1].update(execution_count=None))
    assert lessons.check(notebooks) == [f"{STEM}.ipynb, cell 2: was never run"]


@pytest.mark.parametrize(("lines", "refused"), [(30, False), (31, True)])
def test_a_long_cell_is_refused(notebooks, lines, refused):
    write(notebooks, GOOD + "\n# %%\n" + "print()\n" * lines)
    assert any("31 lines of code" in said for said in lessons.check(notebooks)) is refused


@pytest.mark.parametrize(("lines", "refused"), [(60, False), (61, True)])
def test_a_definition_of_the_package_may_be_longer(lines, refused):
    cell = nbformat.v4.new_code_cell("1\n" * lines, execution_count=1)
    cell.metadata["tags"] = ["mirror"]
    assert any("61 lines of code" in said for said in lessons.cell_problems(cell)) is refused


@pytest.mark.parametrize(("ignored", "refused"), [(3, False), (4, True)])
def test_many_outputs_that_are_not_compared_are_refused(notebooks, ignored, refused):
    write(notebooks, GOOD + '\n# %% tags=["nbval-ignore-output"]\nprint()\n' * ignored)
    assert any("4 cells are not compared" in said for said in lessons.check(notebooks)) is refused


def test_a_large_notebook_is_refused(notebooks):
    assert any("bytes" in said for said in show(notebooks, new_output("stream", text="a" * 10**6)))


def test_a_stored_error_is_refused_unless_it_is_meant(notebooks):
    error = new_output("error", ename="ValueError", evalue="no", traceback=["ValueError: no"])
    assert any("a stored ValueError" in said for said in show(notebooks, error))
    write(notebooks, GOOD.replace("%%\n", '%% tags=["raises-exception"]\n', 1))
    edit(notebooks, lambda notebook: notebook.cells[1].update(outputs=[error]))
    assert lessons.check(notebooks) == []


@pytest.mark.parametrize("kind", ["image/png", "image/svg+xml"])
def test_a_picture_without_alt_text_is_refused(notebooks, kind):
    bare = new_output("display_data", data={kind: "aaaa"})
    described = new_output("display_data", data={kind: "aaaa"}, metadata={kind: {"alt": "a cat"}})
    assert any("without alt text" in said for said in show(notebooks, bare))
    assert show(notebooks, described) == []


@pytest.mark.parametrize("picture", ["![](cat.png)", '<img src="cat.png">', '<img alt="" src="a">'])
def test_a_picture_in_the_text_without_alt_text_is_refused(notebooks, picture):
    write(notebooks, markdown(picture))
    assert any("without alt text" in said for said in lessons.check(notebooks))
    shown = new_output("display_data", data={"text/html": picture})
    assert any("without alt text" in said for said in show(notebooks, shown))


@pytest.mark.parametrize("picture", ["![a cat](cat.png)", '<img src="cat.png" alt="a cat">'])
def test_a_picture_in_the_text_with_alt_text_passes(notebooks, picture):
    write(notebooks, markdown(picture))
    assert lessons.check(notebooks) == []


@pytest.mark.parametrize(
    "path",
    [
        "/home/ada/photo.png",
        "/var/b.pt",
        r"C:\Users\ada",
        str(lessons.ROOT / "a.py"),
        "l/site-packages/t",
    ],
)
def test_a_path_of_one_machine_is_refused(notebooks, path):
    said = show(notebooks, new_output("stream", text=f"saved to {path}"))
    assert any("a path of one machine" in problem for problem in said)


@pytest.mark.parametrize(
    "text", ["notebooks/var/a.png", "H/4 × W/4", "https://a.org/home/a", "~/x"]
)
def test_text_without_a_path_of_one_machine_passes(notebooks, text):
    assert show(notebooks, new_output("stream", text=text)) == []


def test_a_source_without_a_notebook_and_a_notebook_without_a_source_are_refused(notebooks):
    write(notebooks)
    (notebooks / f"{STEM}.ipynb").rename(notebooks / "01_other.ipynb")
    assert lessons.check(notebooks) == [
        "00_lesson.ipynb: is missing; run python -m tools.lessons build 00_lesson",
        "01_other.ipynb: has no source in notebooks/source",
    ]


def test_a_definition_is_mirrored_in_one_lesson_only(notebooks):
    write(notebooks)
    write(notebooks, stem="01_again")
    said = lessons.check(notebooks)
    assert "segformer_edu.mix_ffn.MixFFN is mirrored 2 times; it belongs to one lesson" in said


def test_the_lesson_that_ends_a_module_leaves_no_definition_out(notebooks):
    write(notebooks, stem="04_mix_ffn")
    assert lessons.check(notebooks) == []
    write(notebooks, NO_MIRROR, stem="04_mix_ffn")
    assert lessons.check(notebooks) == [
        "segformer_edu.mix_ffn.MixFFN is not mirrored, and lesson 04 completes its module"
    ]


def test_names_choose_lessons():
    every = [Path("00_start_here.py"), Path("01_overlapping_patches.py")]
    assert lessons.chosen(every, []) == every
    assert lessons.chosen(every, ["01"]) == every[1:]
    with pytest.raises(lessons.LessonError, match="starts with '02'"):
        lessons.chosen(every, ["02"])


def test_a_lesson_may_state_its_minutes(notebooks):
    stated = "{{core_minutes}}, {{further_minutes}} and {{exercise_minutes}} minutes"
    write(notebooks, markdown(stated))
    assert "5, 0 and 0 minutes" in nbformat.read(notebooks / f"{STEM}.ipynb", 4).cells[-1].source


def test_a_prediction_that_nothing_answers_is_refused(notebooks):
    write(notebooks, GOOD + "\n# %%\nprediction = ...\n")
    (problem,) = lessons.check(notebooks)
    assert "00_lesson.ipynb: a prediction that is not compared" in problem
