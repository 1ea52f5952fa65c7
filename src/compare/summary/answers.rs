//! The questions that a theorist asks of a comparison.

use super::{Entry, LEVEL, SUCCESS, View};
use crate::compare::dynamics::Contraction;
use crate::stats::table::rounded;
use crate::stats::{ShareInterval, SignedRank, Zeros};

/// Largest difference of a measured factor from λ_2/λ_1 that counts as agreement.
const AGREES: f64 = 0.02;

/// Each question with a sentence whose numbers come from the records.
pub(super) fn all(view: &View) -> Vec<(String, String)> {
    let mut all = Vec::new();
    let has = |name: &str| view.optimizers.contains(&name);
    let percent = |share: f64| format!("{} %", rounded(100.0 * share, 3));
    if has("acs") && has("descent-lipschitz") {
        let mut ratios: Vec<(f64, &str)> =
            view.families.iter().filter_map(|f| Some((view.speed("acs", "descent-lipschitz", f)?.0, *f))).collect();
        ratios.sort_by(|a, b| b.0.total_cmp(&a.0));
        let list: Vec<String> = ratios.iter().map(|(ratio, f)| format!("{} on {f}", rounded(*ratio, 2))).collect();
        let faster = ratios.iter().filter(|(ratio, _)| *ratio > 1.0).count();
        all.push((
            "Is alternating search faster than gradient descent?".into(),
            format!(
                "Yes on {faster} of {} families, counted in gradient evaluations to the largest common share of the way to the best known loss, up to 99.9 %. The cost of gradient descent over its own is {}.",
                ratios.len(),
                list.join(", ")
            ),
        ));
        if let Some(test) = SignedRank::of(&view.differences("acs", "descent-lipschitz"), Zeros::Pratt) {
            let verdict = match (test.p < 0.05, test.effect < 0.0) {
                (true, true) => "Yes",
                (true, false) => "No, in worse ones",
                _ => "No difference is seen",
            };
            all.push((
                "Does it end in better optima?".into(),
                format!(
                    "{verdict}: over {} instances that differ the rank-biserial effect is {} (negative: alternating search ends lower), p = {} before correction.",
                    test.different,
                    rounded(test.effect, 2),
                    rounded(test.p, 2)
                ),
            ));
        }
    }
    if has("acs") {
        let runs: Vec<Entry> = view.of("acs");
        let bad = runs.iter().filter(|record| record.is_spurious()).count();
        let blocks = runs.iter().filter(|record| record.is_spurious() && record.end.polysemantic > 0).count();
        if let Some(s) = ShareInterval::of(bad as u64, runs.len() as u64, LEVEL) {
            all.push((
                "Are spurious partial optima prevalent in practice?".into(),
                format!(
                    "Of {} runs of alternating search {bad} end in one, {} ({} to {}), and {blocks} of these have polysemantic neurons.",
                    runs.len(),
                    percent(s.share),
                    percent(s.low),
                    percent(s.high)
                ),
            ));
        }
    }
    let share = |name: &str| {
        let runs: Vec<Entry> = view.of(name);
        runs.iter().filter(|record| record.succeeds()).count() as f64 / runs.len() as f64
    };
    // How the ends of `with` compare with those of `without` from the same starts.
    let against = |with: &'static str, without: &'static str| {
        let pairs = view.pairs(with, without);
        let lower = pairs.iter().filter(|(a, b)| a.excess() < b.excess() - SUCCESS).count();
        let higher = pairs.iter().filter(|(a, b)| a.excess() > b.excess() + SUCCESS).count();
        format!(
            "{} of runs end at the best known loss with it, {} without; from {lower} of {} starts it ends lower, from {higher} higher.",
            percent(share(with)),
            percent(share(without)),
            pairs.len()
        )
    };
    for (question, with, without) in [
        (
            "Does anchoring half of the neurons at first change where gradient descent ends?",
            "anchored-descent",
            "descent-lipschitz",
        ),
        ("What does resampling by the exact rule buy?", "acs-insertion", "acs-piecewise"),
        ("What do ten restarts buy alternating search within the same budget?", "acs-restarts", "acs"),
    ] {
        if has(with) && has(without) {
            all.push((question.into(), against(with, without)));
        }
    }
    if has("acs") && has("acs-extrapolated") {
        let ratios: Vec<f64> =
            view.families.iter().filter_map(|f| Some(view.speed("acs-extrapolated", "acs", f)?.0)).collect();
        let (least, most) = ratios.iter().fold((f64::INFINITY, 0.0_f64), |(a, b), r| (a.min(*r), b.max(*r)));
        if !ratios.is_empty() {
            all.push((
                "Does extrapolation speed alternating search up?".into(),
                format!(
                    "To a common share of the way plain search costs {} to {} times as much, by family.",
                    rounded(least, 2),
                    rounded(most, 2)
                ),
            ));
        }
    }
    all.extend(contraction(view));
    all.extend(escape(view));
    all
}

/// Whether alternating search contracts as the spectrum says.
fn contraction(view: &View) -> Option<(String, String)> {
    let blocks = || view.records.iter().flat_map(|r| &r.cells).flat_map(|cell| &cell.contractions);
    let off = |block: &Contraction| (block.measured - block.predicted).abs();
    let (agree, others): (Vec<&Contraction>, Vec<&Contraction>) = blocks().partition(|block| off(block) <= AGREES);
    let largest = agree.iter().map(|block| off(block)).reduce(f64::max)?;
    let verdict = if others.is_empty() { "Yes" } else { "Not everywhere" };
    let slower = match others.iter().map(|block| block.measured).reduce(f64::min) {
        Some(least) => format!("; on the other {} it is at least {}", others.len(), rounded(least, 3)),
        None => String::new(),
    };
    Some((
        "Does alternating search on a partition cell contract by λ_2/λ_1 in each sweep?".into(),
        format!(
            "{verdict}: on {} of {} blocks, with predictions up to {}, the measured factor differs from the predicted one by {} at most{slower}.",
            agree.len(),
            blocks().count(),
            rounded(agree.iter().map(|block| block.predicted).fold(0.0, f64::max), 3),
            rounded(largest, 2),
        ),
    ))
}

/// Whether gradient descent leaves the saddles that Thm 3.7 calls minima.
fn escape(view: &View) -> Option<(String, String)> {
    let of = |class: &'static str| view.records.iter().flat_map(|r| &r.escapes).filter(move |e| e.class == class);
    let saddles = of("strict-saddle").count();
    let left = of("strict-saddle").filter(|escape| escape.left).count();
    let mut ratios: Vec<f64> =
        of("strict-saddle").filter(|e| e.left).filter_map(|e| Some(e.steps as f64 / e.predicted?)).collect();
    ratios.sort_by(f64::total_cmp);
    let (minima, stayed) = (of("local-min").count(), of("local-min").filter(|escape| !escape.left).count());
    let verdict = match left {
        _ if saddles == 0 => return None,
        0 => "No",
        left if left < saddles => "From some",
        _ => "Yes",
    };
    let took = match (ratios.first(), ratios.last()) {
        (Some(least), Some(most)) => format!(
            ", in {} to {} times the number of steps that the curvature predicts ({} in the median)",
            rounded(*least, 3),
            rounded(*most, 3),
            rounded(ratios[ratios.len() / 2], 4)
        ),
        _ => String::new(),
    };
    Some((
        "Does gradient descent with a small step leave the saddles that Theorem 3.7 calls minima?".into(),
        format!(
            "{verdict}: it leaves {left} of {saddles}{took}; beside {minima} certified local minima it stays at {stayed}."
        ),
    ))
}
