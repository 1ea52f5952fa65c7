//! From the outcomes of claims to the page.

use super::macros::{self, Facts};
use super::page::{Certificate, Correction, Evidence, Exhibit, Page, Part, Quoted, Section, Verdict};
use super::{bibliography, choices, ledger, paper};
use crate::claims::{self, Claim, Outcome};
use crate::stats::Tone;

/// How a verdict is to be taken.
pub fn tone(verdict: &claims::Verdict) -> Tone {
    match verdict {
        claims::Verdict::Holds => Tone::Good,
        claims::Verdict::HoldsWith(_) => Tone::Qualified,
        claims::Verdict::Refuted => Tone::Bad,
        claims::Verdict::Undecided(_) => Tone::Open,
    }
}

/// The page of these claims and trainings.
pub fn page(outcomes: &[(&Claim, &Outcome)], exhibits: Vec<Exhibit>, facts: &Facts) -> Page {
    let overview = (ledger::figure(outcomes), ledger::table(outcomes));
    let works = bibliography::file(outcomes.iter().map(|(claim, _)| *claim));
    let files = vec![
        ("macros.tex", "a LaTeX command for every number and verdict", macros::file(&macros::all(outcomes, facts))),
        ("references.bib", "the paper and every work that the claims rest on, as BibTeX", works),
        (
            "paper/main.tex",
            "an example article made of these pieces",
            paper::article(outcomes, &overview.0, &overview.1),
        ),
    ];
    let certificates = macros::certificates(outcomes);
    let parts = ledger::parts(outcomes, |(claim, _)| claim).into_iter().map(|(title, run)| Part {
        title: title.to_owned(),
        sections: run.iter().map(|(claim, outcome)| section(claim, outcome, facts.seed)).collect(),
    });
    Page {
        title: "The optimization theory of sparse dictionary learning: claims and verdicts".into(),
        introduction: vec![
            format!(
                "{} claims of arXiv 2512.05534v3 about the approximate loss L̃(V, W) = Σ_d M_d ‖r_d − V σ(W p_d)‖^2, each with a verdict \
                 that was computed, and {certificates} certificates: files of exact numbers that an independent checker accepts by \
                 exact arithmetic alone.",
                outcomes.len()
            ),
            "A claim holds, holds with an added hypothesis, is refuted by a certified counterexample, or is undecided. Where a \
             claim is refuted, the page says what is true instead and on how many instances that was tested."
                .into(),
        ],
        command: format!("sdlab report --seed {}", facts.seed),
        overview,
        parts: parts.collect(),
        exhibits: with_choices(exhibits),
        files: files.into_iter().map(|(path, about, text)| (path.to_owned(), about.to_owned(), text)).collect(),
    }
}

/// Trainings after what they had to choose; nothing if there are none.
fn with_choices(exhibits: Vec<Exhibit>) -> Vec<Exhibit> {
    if exhibits.is_empty() { exhibits } else { std::iter::once(choices::exhibit()).chain(exhibits).collect() }
}

fn section(claim: &Claim, outcome: &Outcome, seed: u64) -> Section {
    let detail = match &outcome.verdict {
        claims::Verdict::HoldsWith(text) | claims::Verdict::Undecided(text) => Some(text.clone()),
        claims::Verdict::Holds | claims::Verdict::Refuted => None,
    };
    let evidence = outcome.evidence.iter().map(|evidence| Evidence {
        text: evidence.text.clone(),
        certificate: evidence.proof.as_ref().map(|proof| Certificate {
            name: proof.name.clone(),
            json: proof.certificate.to_json() + "\n",
            statement: proof.certified.statement().to_owned(),
        }),
    });
    let correction = outcome.correction.as_ref().map(|correction| Correction {
        statement: correction.statement.clone(),
        latex: correction.latex.clone(),
        checks: correction.checks.iter().map(|c| (c.what.clone(), c.trials, c.failures)).collect(),
    });
    let quantities = outcome.quantities.iter().map(|quantity| Quoted {
        meaning: quantity.meaning.clone(),
        value: quantity.value.clone(),
        command: macros::name(claim.id, quantity.name),
    });
    let bibtex: Vec<&str> = bibliography::sources(claim).iter().map(|source| source.bibtex.trim_end()).collect();
    let test = claim.id.replace(['.', '-'], "_");
    Section {
        id: claim.id.into(),
        title: claim.title.into(),
        assumes: claim.assumes.into(),
        place: claim.place.into(),
        statement: claim.statement.into(),
        latex: claim.latex.into(),
        verdict: Verdict { tone: tone(&outcome.verdict), word: outcome.verdict.word().into(), detail },
        evidence: evidence.collect(),
        correction,
        figures: outcome.figures.clone(),
        tables: outcome.tables.clone(),
        quantities: quantities.collect(),
        citation: (bibliography::citation(claim), bibtex.join("\n\n")),
        replay: vec![
            format!("sdlab claims {} --seed {seed}", claim.id),
            format!("cargo test --release --test claims {test}"),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::REGISTRY;
    use crate::report::mathml;

    #[test]
    fn trainings_stand_after_what_they_had_to_choose() {
        let trained = Exhibit { id: "runs".into(), ..choices::exhibit() };
        let ids = |exhibits| with_choices(exhibits).into_iter().map(|exhibit| exhibit.id).collect::<Vec<_>>();
        assert_eq!(ids(vec![trained]), ["choices", "runs"]);
        assert!(ids(Vec::new()).is_empty());
    }

    #[test]
    fn the_formula_of_every_claim_is_understood() {
        for claim in REGISTRY {
            if let Err(error) = mathml::display(claim.latex) {
                panic!("{}: {error}", claim.id);
            }
        }
    }
}
