//! The page: every claim with its verdict, evidence, correction, figures and tables, in one folder that needs nothing else.

use super::html::{badge, formula, inline, table};
use super::{FigureError, csv, figure, latex};
use crate::io::write_atomic;
use crate::stats::{Figure, Table, Tone};
use maud::{DOCTYPE, Markup, PreEscaped, html};
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
    /// One section per claim.
    pub sections: Vec<Section>,
}

/// One claim.
#[derive(Debug, Clone)]
pub struct Section {
    /// Name of the claim on the command line.
    pub id: String,
    /// Where it stands in the paper.
    pub place: String,
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

const STYLE: &str = include_str!("page.css");

/// Writes `index.html`, `figures/` (SVG, PNG and the data as JSON), `tables/` (LaTeX) and `certificates/` under `folder`.
/// Returns the paths in the order of writing; the page itself comes last.
///
/// # Errors
/// If a figure cannot be drawn or a file cannot be written.
pub fn write(page: &Page, folder: &Path) -> Result<Vec<PathBuf>, PageError> {
    let mut written = Vec::new();
    let mut put = |relative: String, bytes: &[u8]| {
        let path = folder.join(relative);
        match write_atomic(&path, bytes) {
            Ok(()) => {
                written.push(path);
                Ok(())
            }
            Err(error) => Err(PageError::Write { path, error }),
        }
    };
    for section in &page.sections {
        for figure in &section.figures {
            put(format!("figures/{}.svg", figure.name), figure::svg(figure)?.as_bytes())?;
            put(format!("figures/{}.png", figure.name), &figure::png(figure)?)?;
            put(format!("figures/{}.pdf", figure.name), &figure::pdf(figure)?)?;
            put(format!("figures/{}.csv", figure.name), csv::figure(figure).as_bytes())?;
            put(format!("figures/{}.json", figure.name), json(figure).as_bytes())?;
        }
        for table in &section.tables {
            put(format!("tables/{}.tex", table.name), latex::table(table).as_bytes())?;
            put(format!("tables/{}.csv", table.name), csv::table(table).as_bytes())?;
            put(format!("tables/{}.json", table.name), json(table).as_bytes())?;
        }
        for certificate in section.evidence.iter().filter_map(|e| e.certificate.as_ref()) {
            put(certificate_path(section, certificate), certificate.json.as_bytes())?;
        }
    }
    put("index.html".into(), page_markup(page).into_string().as_bytes())?;
    Ok(written)
}

fn json(data: &impl serde::Serialize) -> String {
    serde_json::to_string(data).expect("plain data always serialises") + "\n"
}

/// Path of a certificate inside the report's folder.
pub fn certificate_path(section: &Section, certificate: &Certificate) -> String {
    format!("certificates/{}-{}.json", section.id, certificate.name)
}

fn page_markup(page: &Page) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (page.title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { (page.title) }
                    @for paragraph in &page.introduction { p { (inline(paragraph)) } }
                }
                nav { (contents(page)) }
                main { @for section in &page.sections { (section_markup(section)) } }
                footer {
                    p { "Made by " code { (page.command) } " with sdlab " (env!("CARGO_PKG_VERSION")) ". Replay all certificates with " code { "sdlab certify certificates" } " in this folder." }
                }
            }
        }
    }
}

/// The verdicts at a glance, which are the table of contents too.
fn contents(page: &Page) -> Markup {
    html! {
        h2 { "Verdicts" }
        div.scroll {
            table {
                thead { tr { th scope="col" { "Claim" } th scope="col" { "In the paper" } th scope="col" { "Verdict" } th.number scope="col" { "Certificates" } } }
                tbody {
                    @for section in &page.sections {
                        tr {
                            td { a href={ "#" (section.id) } { (section.id) } }
                            td { (inline(&section.place)) }
                            td { (badge(section.verdict.tone, &section.verdict.word)) }
                            td.number { (section.evidence.iter().filter(|e| e.certificate.is_some()).count()) }
                        }
                    }
                }
            }
        }
    }
}

fn section_markup(section: &Section) -> Markup {
    html! {
        section id=(section.id) {
            h2 { (section.id) " " (badge(section.verdict.tone, &section.verdict.word)) }
            p.place { (inline(&section.place)) }
            h3 { "Claim" }
            p { (inline(&section.statement)) }
            (formula(&section.latex))
            @if let Some(detail) = &section.verdict.detail {
                h3 { "Verdict" }
                p { b { (section.verdict.word) } ": " (inline(detail)) }
            }
            @if !section.evidence.is_empty() {
                h3 { "Evidence" }
                ol { @for evidence in &section.evidence { li { (evidence_markup(section, evidence)) } } }
            }
            @if let Some(correction) = &section.correction { (correction_markup(correction)) }
            @for figure in &section.figures { (figure_markup(figure)) }
            @for data in &section.tables { (table(data)) (links(&format!("tables/{}", data.name), &["tex", "csv", "json"])) }
        }
    }
}

fn evidence_markup(section: &Section, evidence: &Evidence) -> Markup {
    html! {
        (inline(&evidence.text))
        @if let Some(certificate) = &evidence.certificate {
            @let path = certificate_path(section, certificate);
            div.certificate {
                p { "Certificate " a href=(path) { (certificate.name) } ": " (inline(&certificate.statement)) }
                pre { code { "sdlab certify " (path) } }
            }
        }
    }
}

fn correction_markup(correction: &Correction) -> Markup {
    html! {
        h3 { "What is true" }
        p { (inline(&correction.statement)) }
        (formula(&correction.latex))
        @if !correction.checks.is_empty() {
            div.scroll {
                table {
                    thead { tr { th scope="col" { "Checked" } th.number scope="col" { "Instances" } th.number scope="col" { "Failures" } } }
                    tbody {
                        @for (what, trials, failures) in &correction.checks {
                            tr { td { (inline(what)) } td.number { (trials) } td.number { (failures) } }
                        }
                    }
                }
            }
        }
    }
}

fn figure_markup(figure: &Figure) -> Markup {
    let width = match figure.width {
        crate::stats::Width::Column => "column",
        crate::stats::Width::Page => "wide",
    };
    html! {
        figure id={ "figure-" (figure.name) } {
            img class=(width) src={ "figures/" (figure.name) ".svg" } alt=(figure.title);
            figcaption { b { (inline(&figure.title)) } " " (inline(&figure.caption)) }
        }
        (links(&format!("figures/{}", figure.name), &["svg", "pdf", "png", "csv", "json"]))
    }
}

fn links(stem: &str, endings: &[&str]) -> Markup {
    html! {
        p.links { @for ending in endings { a href={ (stem) "." (ending) } { (ending) } " " } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{Axis, Cell, Kind, Layer, Panel, Width};

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
        };
        Page {
            title: "Report".into(),
            introduction: vec!["Of L̃.".into()],
            command: "sdlab report".into(),
            sections: vec![section],
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
        assert!(links >= 7);
        assert!(!text.contains("<script") && !text.contains("http"));
        assert!(text.contains("&lt;good&gt;") && text.contains("sdlab certify certificates/thm-x-found.json"));
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("figures"), "in the way").unwrap();
        let error = write(&page(), folder.path()).unwrap_err().to_string();
        assert!(error.contains("figures/decline.svg") && error.contains("cannot be written"), "{error}");
    }
}
