//! The page as HTML: one file with its style, its typeface and its figures in it, and no script.

use super::FigureError;
use super::figure::{Drawing, web_fonts};
use super::html::{badge, formula, inline, table};
use super::page::{Correction, Evidence, Exhibit, Page, Section, certificate_path};
use crate::stats::{Figure, Table, Width};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use std::collections::BTreeMap;

const STYLE: &str = include_str!("page.css");

/// The SVG element of each figure by its name.
type Pictures<'a> = BTreeMap<&'a str, String>;

/// Heading of what was trained.
const EXPERIMENTS: &str = "Trainings on the Linear Representation Bench";

/// The whole page. `drawings` are the figures in any order.
pub(super) fn document(page: &Page, drawings: &[Drawing]) -> Result<String, FigureError> {
    let pictures = drawings
        .iter()
        .map(|drawing| Ok((drawing.figure().name.as_str(), drawing.inline()?)))
        .collect::<Result<Pictures, FigureError>>()?;
    let style = format!("{}\n{STYLE}", web_fonts(drawings));
    Ok(html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (page.title) }
                style { (PreEscaped(style)) }
            }
            body {
                header {
                    h1 { (page.title) }
                    @for paragraph in &page.introduction { p { (inline(paragraph)) } }
                }
                (figure_markup(&page.overview.0, &pictures))
                nav #contents { (contents(page)) }
                main {
                    @for part in &page.parts {
                        h2.part { (inline(&part.title)) }
                        @for section in &part.sections { (section_markup(section, &pictures)) }
                    }
                    @if !page.exhibits.is_empty() { h2.part { (EXPERIMENTS) } }
                    @for exhibit in &page.exhibits { (exhibit_markup(exhibit, &pictures)) }
                }
                footer { (closing(page)) }
            }
        }
    }
    .into_string())
}

/// The claims by part of the paper, each with its verdict.
fn contents(page: &Page) -> Markup {
    html! {
        h2 { "Contents" }
        div.contents {
            @for part in &page.parts {
                div {
                    h3 { (inline(&part.title)) }
                    ul {
                        @for section in &part.sections {
                            li {
                                (badge(section.verdict.tone, &section.verdict.word)) " "
                                a href={ "#" (section.id) } { (section.id) } " "
                                span.about { (inline(&section.title)) }
                            }
                        }
                    }
                }
            }
            @if !page.exhibits.is_empty() {
                div {
                    h3 { (EXPERIMENTS) }
                    ul { @for exhibit in &page.exhibits { li { a href={ "#" (exhibit.id) } { (inline(&exhibit.title)) } } } }
                }
            }
        }
    }
}

fn exhibit_markup(exhibit: &Exhibit, pictures: &Pictures) -> Markup {
    html! {
        section id=(exhibit.id) {
            h3.claim { (inline(&exhibit.title)) }
            @for paragraph in &exhibit.paragraphs { p { (linked(paragraph, exhibit)) } }
            @for figure in &exhibit.figures { (figure_markup(figure, pictures)) }
            @for data in &exhibit.tables { (table_markup(data)) }
            p.up { a href="#contents" { "Contents" } }
        }
    }
}

/// A paragraph whose words `#figure-name` and `#table-name` are links to figures and tables of the exhibit, by their titles.
fn linked(paragraph: &str, exhibit: &Exhibit) -> Markup {
    let title = |word: &str| {
        let figure = word.strip_prefix("#figure-").and_then(|name| exhibit.figures.iter().find(|f| f.name == name));
        let table = word.strip_prefix("#table-").and_then(|name| exhibit.tables.iter().find(|t| t.name == name));
        let figure = figure.map(|figure| format!("figure “{}”", figure.title));
        figure.or_else(|| table.map(|table| format!("table “{}”", table.title)))
    };
    if !paragraph.contains(" #figure-") && !paragraph.contains(" #table-") {
        return inline(paragraph);
    }
    html! {
        @for (k, word) in paragraph.split(' ').enumerate() {
            @let bare = word.trim_end_matches(['.', ',']);
            @if k > 0 { " " }
            @match title(bare) {
                Some(title) => { a href=(bare) { (inline(&title)) } (&word[bare.len()..]) }
                None => (inline(word)),
            }
        }
    }
}

fn section_markup(section: &Section, pictures: &Pictures) -> Markup {
    html! {
        section id=(section.id) {
            h3.claim { (section.id) " " (badge(section.verdict.tone, &section.verdict.word)) }
            p.title { (inline(&section.title)) }
            p.place { (inline(&section.place)) }
            h4 { "Claim" }
            p { (inline(&section.statement)) }
            (formula(&section.latex))
            p { b { "Assumes: " } (inline(&section.assumes)) }
            @if let Some(detail) = &section.verdict.detail {
                h4 { "Verdict" }
                p { b { (section.verdict.word) } ": " (inline(detail)) }
            }
            @if !section.evidence.is_empty() {
                h4 { "Evidence" }
                ol { @for evidence in &section.evidence { li { (evidence_markup(section, evidence)) } } }
            }
            @if let Some(correction) = &section.correction { (correction_markup(correction)) }
            @for figure in &section.figures { (figure_markup(figure, pictures)) }
            @for data in &section.tables { (table_markup(data)) }
            @if !section.quantities.is_empty() { (quantities(section)) }
            h4 { "Cite" }
            pre { code { (section.citation.0) } }
            details { summary { "BibTeX" } pre { code { (section.citation.1.trim_end()) } } }
            h4 { "Replay" }
            pre { code { (section.replay.join("\n")) } }
            p.up { a href="#contents" { "Contents" } }
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
        h4 { "What is true" }
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

fn quantities(section: &Section) -> Markup {
    html! {
        h4 { "Numbers to quote" }
        div.scroll {
            table {
                thead { tr { th scope="col" { "What" } th.number scope="col" { "Value" } th scope="col" { "In macros.tex" } } }
                tbody {
                    @for quoted in &section.quantities {
                        tr { td { (inline(&quoted.meaning)) } td.number { (quoted.value.text()) } td { code { "\\" (quoted.command) } } }
                    }
                }
            }
        }
    }
}

fn figure_markup(figure: &Figure, pictures: &Pictures) -> Markup {
    let width = match figure.width {
        Width::Column => "column",
        Width::Page => "wide",
    };
    let picture = pictures.get(figure.name.as_str()).map_or("", String::as_str);
    html! {
        figure id={ "figure-" (figure.name) } {
            div.picture.scroll { div class=(width) { (PreEscaped(picture)) } }
            figcaption { b { (inline(&sentence(&figure.title))) } " " (inline(&figure.caption)) }
        }
        (links(&format!("figures/{}", figure.name), &["svg", "pdf", "png", "csv", "json"]))
    }
}

fn table_markup(data: &Table) -> Markup {
    html! { (table(data)) (links(&format!("tables/{}", data.name), &["tex", "csv", "json"])) }
}

/// The heading with a full stop, where more text follows it.
fn sentence(title: &str) -> String {
    if title.is_empty() || title.ends_with(['.', '?', '!']) { title.to_owned() } else { format!("{title}.") }
}

fn links(stem: &str, endings: &[&str]) -> Markup {
    html! {
        p.links { @for ending in endings { a href={ (stem) "." (ending) } { (ending) } " " } }
    }
}

fn closing(page: &Page) -> Markup {
    html! {
        (table_markup(&page.overview.1))
        h2 { "Files" }
        ul { @for (path, about, _) in &page.files { li { a href=(path) { (path) } ": " (about) } } }
        p { "Made by " code { (page.command) } " with sdlab " (env!("CARGO_PKG_VERSION")) ". Replay all certificates with " code { "sdlab certify certificates" } " in this folder." }
    }
}
