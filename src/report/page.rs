//! The report's folder: what a page shows, and the files that are written for it.
//!
//! The page itself is one file that loads nothing: its figures stand in it. Beside it lie the same figures and tables for other
//! uses, and the certificates.

use super::figure::Drawing;
use super::{FigureError, csv, latex, page_html};
use crate::io::write_atomic;
use crate::stats::{Cell, Figure, Table, Tone};
use rayon::prelude::*;
use std::path::{Path, PathBuf};

/// What the page shows.
#[derive(Debug, Clone)]
pub struct Page {
    /// Heading.
    pub title: String,
    /// Paragraphs before the first section.
    pub introduction: Vec<String>,
    /// The command that made the page.
    pub command: String,
    /// All verdicts in one figure and in one table.
    pub overview: (Figure, Table),
    /// The claims by part of the paper.
    pub parts: Vec<Part>,
    /// Trainings beside the published tables; may be empty.
    pub exhibits: Vec<Exhibit>,
    /// Files of text besides those of figures, tables and certificates: path in the folder, what it is, and content.
    pub files: Vec<(String, String, String)>,
}

/// What experiments have shown.
#[derive(Debug, Clone)]
pub struct Exhibit {
    /// Name in the page's links: lower-case letters, digits and hyphens.
    pub id: String,
    /// Heading.
    pub title: String,
    /// What was done.
    pub paragraphs: Vec<String>,
    /// Figures.
    pub figures: Vec<Figure>,
    /// Tables.
    pub tables: Vec<Table>,
    /// Certificates of what was found, by the names of their files in a folder of their own.
    pub certificates: Vec<(String, String)>,
}

/// The claims of one part of the paper.
#[derive(Debug, Clone)]
pub struct Part {
    /// Heading.
    pub title: String,
    /// One section per claim.
    pub sections: Vec<Section>,
}

/// One claim.
#[derive(Debug, Clone)]
pub struct Section {
    /// Name of the claim on the command line.
    pub id: String,
    /// The statement in a few words.
    pub title: String,
    /// Where it stands in the paper.
    pub place: String,
    /// What it assumes, in words.
    pub assumes: String,
    /// The statement in words.
    pub statement: String,
    /// The statement in LaTeX.
    pub latex: String,
    /// The verdict.
    pub verdict: Verdict,
    /// Why.
    pub evidence: Vec<Evidence>,
    /// What is true instead.
    pub correction: Option<Correction>,
    /// Figures.
    pub figures: Vec<Figure>,
    /// Tables.
    pub tables: Vec<Table>,
    /// Numbers that a text may quote.
    pub quantities: Vec<Quoted>,
    /// The LaTeX command that cites the claim, and the BibTeX of the works it rests on.
    pub citation: (String, String),
    /// Commands that reach the verdict again.
    pub replay: Vec<String>,
}

/// A number with the LaTeX command that stands for it.
#[derive(Debug, Clone)]
pub struct Quoted {
    /// What it is.
    pub meaning: String,
    /// The number.
    pub value: Cell,
    /// The LaTeX command, without its backslash.
    pub command: String,
}

/// A verdict as shown.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// How to take it.
    pub tone: Tone,
    /// The word, such as `refuted`.
    pub word: String,
    /// The added hypothesis, or why nothing was decided.
    pub detail: Option<String>,
}

/// A piece of evidence.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// What is shown.
    pub text: String,
    /// The certificate that proves it, if it speaks of a concrete instance.
    pub certificate: Option<Certificate>,
}

/// A certificate file.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// File name stem, unique within the claim.
    pub name: String,
    /// The file's content.
    pub json: String,
    /// What the checker says it proves.
    pub statement: String,
}

/// A corrected statement.
#[derive(Debug, Clone)]
pub struct Correction {
    /// In words.
    pub statement: String,
    /// In LaTeX.
    pub latex: String,
    /// What was tested, on how many instances, with how many failures.
    pub checks: Vec<(String, usize, usize)>,
}

/// Why a page cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// A figure cannot be drawn.
    #[error(transparent)]
    Figure(#[from] FigureError),
    /// A file cannot be written.
    #[error("{}: cannot be written: {error}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        error: std::io::Error,
    },
}

impl Page {
    /// All claims in order.
    pub fn sections(&self) -> impl Iterator<Item = &Section> {
        self.parts.iter().flat_map(|part| &part.sections)
    }

    /// All figures, the overview first.
    fn figures(&self) -> Vec<&Figure> {
        let claims = self.sections().flat_map(|s| &s.figures);
        std::iter::once(&self.overview.0).chain(claims).chain(self.exhibits.iter().flat_map(|e| &e.figures)).collect()
    }

    /// All tables, the overview first.
    fn tables(&self) -> Vec<&Table> {
        let claims = self.sections().flat_map(|s| &s.tables);
        std::iter::once(&self.overview.1).chain(claims).chain(self.exhibits.iter().flat_map(|e| &e.tables)).collect()
    }
}

/// A file of the report: its path in the folder and its content.
type File = (String, Vec<u8>);

/// Writes `figures/` (SVG, PDF, PNG, and the data as CSV and JSON), `tables/` (LaTeX, CSV and JSON), `certificates/`, the other
/// files and `index.html` under `folder`. Returns the paths in the order of writing; the page itself comes last.
///
/// # Errors
/// If a figure cannot be drawn or a file cannot be written.
pub fn write(page: &Page, folder: &Path) -> Result<Vec<PathBuf>, PageError> {
    let figures = page.figures();
    let drawings = figures.iter().map(|figure| Drawing::new(figure)).collect::<Result<Vec<_>, _>>()?;
    // Each figure's files depend on nothing else, so that the order of the threads does not show.
    let drawn = figures.par_iter().zip(&drawings).map(|(figure, drawing)| figure_files(figure, drawing));
    let mut files: Vec<File> = drawn.collect::<Result<Vec<_>, FigureError>>()?.into_iter().flatten().collect();
    for table in page.tables() {
        files.push((format!("tables/{}.tex", table.name), latex::table(table).into_bytes()));
        files.push((format!("tables/{}.csv", table.name), csv::table(table).into_bytes()));
        files.push((format!("tables/{}.json", table.name), json(table).into_bytes()));
    }
    for section in page.sections() {
        for certificate in section.evidence.iter().filter_map(|e| e.certificate.as_ref()) {
            files.push((certificate_path(section, certificate), certificate.json.clone().into_bytes()));
        }
    }
    for exhibit in &page.exhibits {
        let path = |name: &String| format!("{}/{name}", certificates_path(&exhibit.id));
        files.extend(exhibit.certificates.iter().map(|(name, text)| (path(name), text.clone().into_bytes())));
    }
    files.extend(page.files.iter().map(|(path, _, text)| (path.clone(), text.clone().into_bytes())));
    files.push(("index.html".into(), page_html::document(page, &drawings)?.into_bytes()));
    let put = |(relative, bytes): File| {
        let path = folder.join(relative);
        match write_atomic(&path, &bytes) {
            Ok(()) => Ok(path),
            Err(error) => Err(PageError::Write { path, error }),
        }
    };
    files.into_iter().map(put).collect()
}

fn figure_files(figure: &Figure, drawing: &Drawing) -> Result<Vec<File>, FigureError> {
    let file = |ending: &str, bytes: Vec<u8>| (format!("figures/{}.{ending}", figure.name), bytes);
    Ok(vec![
        file("svg", drawing.svg()?.into_bytes()),
        file("pdf", drawing.pdf()),
        file("png", drawing.png()?),
        file("csv", csv::figure(figure).into_bytes()),
        file("json", json(figure).into_bytes()),
    ])
}

fn json(data: &impl serde::Serialize) -> String {
    serde_json::to_string(data).expect("plain data always serialises") + "\n"
}

/// Path of a certificate inside the report's folder.
pub fn certificate_path(section: &Section, certificate: &Certificate) -> String {
    format!("certificates/{}-{}.json", section.id, certificate.name)
}

/// Folder of the certificates of an exhibit inside the report's folder.
pub fn certificates_path(exhibit: &str) -> String {
    format!("certificates/{exhibit}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{Axis, Kind, Layer, Panel, Width};

    fn page() -> Page {
        let line = Layer::Line { label: "L̃".into(), points: vec![(0.0, 1.0), (1.0, 0.0)] };
        let figure = Figure::new("decline", "c", Width::Column)
            .title("Decline")
            .panel(Panel::new("", Axis::linear("x"), Axis::linear("y")).layer(line));
        let mut table = Table::new("counts", "c", [("n", Kind::Number)]);
        table.push([Cell::from(3usize)]);
        let certificate = Certificate {
            name: "found".into(),
            json: "{}\n".into(),
            statement: "No point < 1 is a partial optimum.".into(),
        };
        let section = Section {
            id: "thm-x".into(),
            title: "All w are good".into(),
            assumes: "Nothing.".into(),
            place: "Theorem X".into(),
            statement: "Every w_p is <good>.".into(),
            latex: r"\forall w".into(),
            verdict: Verdict { tone: Tone::Bad, word: "refuted".into(), detail: None },
            evidence: vec![Evidence { text: "A case.".into(), certificate: Some(certificate) }],
            correction: Some(Correction {
                statement: "Some are.".into(),
                latex: r"\exists w".into(),
                checks: vec![("cases".into(), 10, 0)],
            }),
            figures: vec![figure],
            tables: vec![table],
            quantities: vec![Quoted {
                meaning: "share of w_p".into(),
                value: Cell::number(0.25, 2),
                command: "sdlabThmXShare".into(),
            }],
            citation: (r"\cite[Theorem X]{key}".into(), "@misc{key}".into()),
            replay: vec!["sdlab verify thm-x".into()],
        };
        let overview = Figure { name: "ledger".into(), ..section.figures[0].clone() };
        let all = Table { name: "ledger".into(), ..section.tables[0].clone() };
        let exhibit = Exhibit {
            id: "runs".into(),
            title: "Runs".into(),
            paragraphs: vec!["Of one method. See #table-runs, not #table-none.".into()],
            figures: Vec::new(),
            tables: vec![Table { name: "runs".into(), ..all.clone() }],
            certificates: vec![("best.json".into(), "{}\n".into())],
        };
        Page {
            title: "Report".into(),
            introduction: vec!["Of L̃.".into()],
            command: "sdlab report".into(),
            overview: (overview, all),
            parts: vec![Part { title: "Theorem X".into(), sections: vec![section] }],
            exhibits: vec![exhibit],
            files: vec![("macros.tex".into(), "LaTeX commands".into(), "% none\n".into())],
        }
    }

    #[test]
    fn every_link_of_the_page_leads_to_a_written_file_and_nothing_is_loaded_from_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        write(&page(), folder.path()).unwrap();
        let text = std::fs::read_to_string(folder.path().join("index.html")).unwrap();
        let mut links = 0;
        for attribute in ["href=\"", "src=\""] {
            for link in text.split(attribute).skip(1).map(|rest| rest.split('"').next().unwrap()) {
                links += 1;
                match link.strip_prefix('#') {
                    Some(id) => assert!(text.contains(&format!("id=\"{id}\""))),
                    None => assert!(folder.path().join(link).is_file(), "{link}"),
                }
            }
        }
        assert!(links >= 20);
        assert!(folder.path().join("certificates/runs/best.json").is_file());
        let loads = ["<script", "<link", "<img", "@import", "url(http", "url(\"http"];
        assert!(loads.iter().all(|tag| !text.contains(tag)));
        assert_eq!(text.matches("<svg").count(), 2);
        assert!(text.contains("<a href=\"#table-runs\">table “") && text.contains(" not #table-none."));
        assert!(text.contains("&lt;good&gt;") && text.contains("sdlab certify certificates/thm-x-found.json"));
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("figures"), "in the way").unwrap();
        let error = write(&page(), folder.path()).unwrap_err().to_string();
        assert!(error.contains("figures/ledger.svg") && error.contains("cannot be written"), "{error}");
    }
}
