#!/usr/bin/env python3
"""Fails if the LaTeX of a report does not compile cleanly: the example article, and every table, figure and macro in one document.

    python3 .ci/check_tex.py FOLDER [RESULTS]

Needs pdflatex and bibtex with booktabs, and pdffonts. With RESULTS, the two PDF files go there.
"""

import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

# In points: what a reader does not see.
OVERFULL = 3.0

EVERYTHING = r"""\documentclass[10pt,twocolumn]{article}
\usepackage[letterpaper,textwidth=6.75in,textheight=9.2in,columnsep=0.25in]{geometry}
\usepackage{amsmath,amssymb,array,booktabs,graphicx,textcomp}
\graphicspath{{figures/}}
\input{macros}
\emergencystretch=3em
\begin{document}
%s
\bibliographystyle{plain}
\bibliography{references}
\end{document}
"""


def everything(folder):
    """A document that uses every piece."""
    names = re.findall(r"\\newcommand\{\\(\w+)\}", (folder / "macros.tex").read_text(encoding="utf-8"))
    parts = ["\\nocite{*}", "\\raggedright"]
    # A claim may hold a name longer than a line.
    parts += [f"\\texttt{{\\footnotesize {name[5:]}}}:\\\\ \\{name}{{}}\\par" for name in names]
    # Floats that wait fill the memory of TeX.
    for k, table in enumerate(sorted((folder / "tables").glob("*.tex"))):
        parts.append(f"\\input{{tables/{table.stem}}}" + ("\\clearpage" if k % 6 == 5 else ""))
    parts.append("\\clearpage\\onecolumn\\noindent")
    parts += [f"\\includegraphics{{{figure.name}}}\\par\\noindent" for figure in sorted((folder / "figures").glob("*.pdf"))]
    return EVERYTHING % "\n".join(parts)


def run(command, folder):
    return subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")


def compiled(folder, stem):
    """Compiles, and returns what is wrong."""
    latex = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", stem]
    for command in (latex, ["bibtex", stem], latex, latex):
        result = run(command, folder)
        if result.returncode != 0:
            return [f"{stem}: {' '.join(command)} fails:\n{result.stdout[-1500:]}"]
        if command[0] == "bibtex" and "Warning--" in result.stdout:
            return [f"{stem}: {line}" for line in result.stdout.splitlines() if line.startswith("Warning--")]
    # Log lines are broken after 79 characters.
    log = (folder / f"{stem}.log").read_text(encoding="utf-8", errors="replace").replace("\r", "")
    wrong = [f"{stem}: {line}" for line in log.splitlines()
             if re.search(r"undefined|multiply defined|Missing character|Rerun to get|Float too large|Font Warning", line)]
    for match in re.finditer(r"Overfull \\hbox \(([\d.]+)pt too wide\)[^\n]*\n?[^\n]*", log):
        if float(match[1]) > OVERFULL:
            wrong.append(f"{stem}: {match[0]}")
    pages = re.search(r"Output written on .*?\((\d+) pages?", log, re.S)
    print(f"{stem}: {pages[1] if pages else 'no'} pages")
    return wrong


def font_faults(figure):
    """Fonts of a figure that are not embedded as a subset with a way back to text."""
    lines = subprocess.run(["pdffonts", str(figure)], capture_output=True, text=True, check=True).stdout.splitlines()[2:]
    # The last columns: embedded, subset, has a map to Unicode, object, generation.
    bad = [line for line in lines if line.split()[-5:-2] != ["yes", "yes", "yes"]]
    return [f"{figure.name}: {line}" for line in bad] + ([] if lines else [f"{figure.name}: no text"])


def main():
    report = pathlib.Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch) / "report"
        shutil.copytree(report, folder)
        (folder / "everything.tex").write_text(everything(folder), encoding="utf-8")
        wrong = compiled(folder / "paper", "main") + compiled(folder, "everything")
        figures = sorted((folder / "figures").glob("*.pdf"))
        for figure in figures:
            wrong += font_faults(figure)
        print(f"{len(figures)} figures, {len(list((folder / 'tables').glob('*.tex')))} tables")
        if len(sys.argv) > 2:
            results = pathlib.Path(sys.argv[2])
            results.mkdir(parents=True, exist_ok=True)
            for made in (folder / "paper/main.pdf", folder / "everything.pdf"):
                if made.is_file():
                    shutil.copy(made, results)
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong or not figures else 0


if __name__ == "__main__":
    sys.exit(main())
