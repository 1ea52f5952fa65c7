//! `paper/main.tex`: an example article made of the pieces of a report. Every number in its text is a command of `macros.tex`.

use super::{bibliography, latex, macros};
use crate::claims::sources::PAPER;
use crate::claims::{Claim, Outcome};
use crate::stats::{Figure, Table, Width};

/// Claims from which the article takes its second figure and table, best first.
const SHOWN: &[&str] = &["thm-3.7-prevalence", "thm-3.1", "regime", "thm-3.7", "ex-3.5"];
/// A table of more rows is an appendix of its own.
const LONGEST: usize = 16;

const HEAD: &str = r"% An example: a two-column article made of the pieces of this report.
% pdflatex main && bibtex main && pdflatex main && pdflatex main
\documentclass[10pt,twocolumn]{article}
% The text is 6.75 inches wide and a column 3.25 inches, as the figures are.
\usepackage[letterpaper,textwidth=6.75in,textheight=9.2in,columnsep=0.25in]{geometry}
\usepackage{amsmath,amssymb,array,booktabs,graphicx,textcomp}
\usepackage[hidelinks]{hyperref}
\graphicspath{{../figures/}}
\input{../macros}
\emergencystretch=2em

\title{The claims of a theory of sparse dictionary learning,\\checked by computation}
\author{An example article, made with sdlab \sdlabVersion}
\date{}

\begin{document}
\maketitle
";

/// The article about these claims.
pub fn article(outcomes: &[(&Claim, &Outcome)], overview: &Figure, ledger: &Table) -> String {
    let mut text = String::from(HEAD);
    text += &format!(
        "\\begin{{abstract}}\nWe report the computed verdicts on \\sdlabClaimCount{{}} claims of the theory of sparse dictionary learning in\n\
         \\cite{{{}}}: as printed hold \\sdlabHoldsCount, with an added hypothesis \\sdlabHoldsWithCount, refuted are \\sdlabRefutedCount,\n\
         and undecided \\sdlabUndecidedCount. The statements about concrete instances carry \\sdlabCertificateCount{{}} certificates, and\n\
         corrected statements were checked on \\sdlabCheckedCount{{}} instances.\n\\end{{abstract}}\n\n",
        PAPER.key
    );
    text += &format!(
        "\\section{{Verdicts}}\nFigure~\\ref{{fig:{}}} and Table~\\ref{{tab:{}}} show every claim. All of it was computed with seed \\sdlabSeed.\n\n",
        overview.name, ledger.name
    );
    text += &figure(overview);
    text += &format!("\\input{{../tables/{}}}\n\n", ledger.name);
    let second =
        chosen(outcomes).find_map(|(_, o)| o.figures.iter().find(|f| f.width == Width::Column).or(o.figures.first()));
    let table =
        chosen(outcomes).find_map(|(_, o)| o.tables.iter().find(|t| t.rows.len() <= LONGEST && t.columns.len() <= 6));
    let results: String = outcomes
        .iter()
        .filter(|(_, outcome)| !outcome.quantities.is_empty())
        .map(|(claim, outcome)| paragraph(claim, outcome))
        .collect();
    if !results.is_empty() {
        text += &format!("\\section{{Results}}\n{results}");
    }
    if let Some(second) = second {
        text += &figure(second);
    }
    if let Some(table) = table {
        text += &format!("\\input{{../tables/{}}}\n\n", table.name);
    }
    let works = outcomes.iter().flat_map(|(claim, _)| bibliography::sources(claim)).map(|s| s.key);
    let mut cited: Vec<&str> = Vec::new();
    for key in works {
        if !cited.contains(&key) {
            cited.push(key);
        }
    }
    text += &format!(
        "\\section{{Sources}}\nThe claims are those of \\cite{{{}}}; they rest on, or speak of, the works listed below.\n\\nocite{{{}}}\n\n",
        PAPER.key,
        cited.join(",")
    );
    text + "\\bibliographystyle{plain}\n\\bibliography{../references}\n\\end{document}\n"
}

/// The claims that are shown, best first, then all others.
fn chosen<'a>(outcomes: &'a [(&'a Claim, &'a Outcome)]) -> impl Iterator<Item = &'a (&'a Claim, &'a Outcome)> {
    let rank = |id: &str| SHOWN.iter().position(|shown| *shown == id);
    let first = SHOWN.iter().flat_map(|id| outcomes.iter().filter(move |(claim, _)| claim.id == *id));
    first.chain(outcomes.iter().filter(move |(claim, _)| rank(claim.id).is_none()))
}

/// A claim, its verdict and its numbers.
fn paragraph(claim: &Claim, outcome: &Outcome) -> String {
    let command = |quantity: &str| format!("\\{}", macros::name(claim.id, quantity));
    let mut text = format!(
        "\\paragraph{{{}.}} The verdict on this claim {}{{}} is: {}.\n",
        latex::inline(claim.title.trim_end_matches('.')),
        command("cite"),
        command("verdict")
    );
    let items: Vec<String> = outcome
        .quantities
        .iter()
        .map(|q| format!("{}: {}{{}}", latex::inline(q.meaning.trim_end_matches('.')), command(q.name)))
        .collect();
    text += &format!("{}.\n\n", items.join(";\n"));
    text
}

fn figure(figure: &Figure) -> String {
    let environment = match figure.width {
        Width::Column => "figure",
        Width::Page => "figure*",
    };
    format!(
        "\\begin{{{environment}}}\n\\centering\n\\includegraphics{{{}.pdf}}\n\\caption{{{}. {}}}\n\\label{{fig:{}}}\n\\end{{{environment}}}\n\n",
        figure.name,
        latex::inline(figure.title.trim_end_matches('.')),
        latex::inline(&figure.caption),
        figure.name
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::Verdict;
    use crate::report::ledger;
    use crate::stats::Cell;

    #[test]
    fn every_command_of_the_article_is_one_of_macros_tex() {
        let claims = crate::claims::REGISTRY;
        let outcomes: Vec<Outcome> = claims
            .iter()
            .map(|_| {
                Outcome::new(Verdict::Holds, Vec::new()).with_quantity("share", "share of w_p", Cell::number(0.5, 2))
            })
            .collect();
        let pairs: Vec<(&Claim, &Outcome)> = claims.iter().zip(&outcomes).collect();
        let text = article(&pairs, &ledger::figure(&pairs), &ledger::table(&pairs));
        let facts = macros::Facts { version: "1", seed: 0, commit: None };
        let names: Vec<String> = macros::all(&pairs, &facts).into_iter().map(|m| m.name).collect();
        let used: Vec<String> = text
            .split("\\sdlab")
            .skip(1)
            .map(|rest| format!("sdlab{}", rest.chars().take_while(char::is_ascii_alphabetic).collect::<String>()))
            .collect();
        assert!(used.len() > 8);
        assert!(used.iter().all(|name| names.contains(name)), "{used:?}");
    }
}
