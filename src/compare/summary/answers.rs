//! The questions that a theorist asks of a comparison.

use super::{Answer, Entry, LEVEL, SUCCESS, View};
use crate::compare::dynamics::Contraction;
use crate::stats::ShareInterval;
use crate::stats::table::rounded;

/// Largest difference of a measured factor from λ_2/λ_1 that counts as agreement.
const AGREES: f64 = 0.02;

fn answered(question: &str, answer: String, shown: &[&str]) -> Answer {
    Answer { question: question.into(), answer, shown: shown.iter().map(|name| (*name).to_owned()).collect() }
}

/// Each question with a sentence whose numbers come from the records.
pub(super) fn all(view: &View) -> Vec<Answer> {
    let mut all = Vec::new();
    let has = |name: &str| view.optimizers.contains(&name);
    let percent = |share: f64| format!("{} %", rounded(100.0 * share, 3));
    if has("acs") && has("descent-lipschitz") {
        let mut ratios: Vec<(f64, &str)> =
            view.families.iter().filter_map(|f| Some((view.speed("acs", "descent-lipschitz", f)?.0, *f))).collect();
        ratios.sort_by(|a, b| b.0.total_cmp(&a.0));
        let list: Vec<String> = ratios.iter().map(|(ratio, f)| format!("{} on {f}", rounded(*ratio, 2))).collect();
        let faster = ratios.iter().filter(|(ratio, _)| *ratio > 1.0).count();
        all.push(answered(
            "Is alternating search faster than gradient descent?",
            format!(
                "Yes on {faster} of {} families, counted in gradient evaluations to the largest common share of the way to the best known loss, up to 99.9 %. The cost of gradient descent over its own is {}.",
                ratios.len(),
                list.join(", ")
            ),
            &["compare-speed", "compare-families"],
        ));
        let paired = view.paired();
        let tested = paired.iter().find(|pair| (pair.a, pair.b) == ("acs", "descent-lipschitz"));
        if let Some((test, p)) = tested.and_then(|pair| Some((pair.test.as_ref()?, pair.p))) {
            let verdict = match (p < 0.05, test.effect < 0.0) {
                (true, true) => "Yes",
                (true, false) => "No, in worse ones",
                _ => "No difference is seen",
            };
            all.push(answered(
                "Does it end in better optima?",
                format!(
                    "{verdict}: over {} instances that differ the rank-biserial effect is {} (negative: alternating search ends lower), p = {} corrected by Holm over all {} pairs.",
                    test.different,
                    rounded(test.effect, 2),
                    rounded(p, 2),
                    paired.len()
                ),
                &["compare-pairs", "compare-paired"],
            ));
        }
    }
    if has("acs") {
        let runs: Vec<Entry> = view.of("acs");
        let bad = runs.iter().filter(|record| record.is_spurious()).count();
        let blocks = runs.iter().filter(|record| record.is_spurious() && record.end.polysemantic > 0).count();
        if let Some(s) = ShareInterval::of(bad as u64, runs.len() as u64, LEVEL) {
            all.push(answered(
                "Are spurious partial optima prevalent in practice?",
                format!(
                    "Of {} runs of alternating search {bad} end in one, {} ({} to {}), and {blocks} of these have polysemantic neurons.",
                    runs.len(),
                    percent(s.share),
                    percent(s.low),
                    percent(s.high)
                ),
                &["compare-ends", "compare-neurons", "compare-shares"],
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
            all.push(answered(question, against(with, without), &["compare-pairs", "compare-optimizers"]));
        }
    }
    if has("acs") && has("acs-extrapolated") {
        let ratios: Vec<f64> =
            view.families.iter().filter_map(|f| Some(view.speed("acs-extrapolated", "acs", f)?.0)).collect();
        let (least, most) = ratios.iter().fold((f64::INFINITY, 0.0_f64), |(a, b), r| (a.min(*r), b.max(*r)));
        if !ratios.is_empty() {
            all.push(answered(
                "Does extrapolation speed alternating search up?",
                format!(
                    "To a common share of the way plain search costs {} to {} times as much, by family.",
                    rounded(least, 2),
                    rounded(most, 2)
                ),
                &["compare-speed"],
            ));
        }
    }
    all.extend(contraction(view));
    all.extend(escape(view));
    all
}

/// Whether alternating search contracts as the spectrum says.
fn contraction(view: &View) -> Option<Answer> {
    let blocks = || view.records.iter().flat_map(|r| &r.cells).flat_map(|cell| &cell.contractions);
    let off = |block: &Contraction| (block.measured - block.predicted).abs();
    let (agree, others): (Vec<&Contraction>, Vec<&Contraction>) = blocks().partition(|block| off(block) <= AGREES);
    let largest = agree.iter().map(|block| off(block)).reduce(f64::max)?;
    let verdict = if others.is_empty() { "Yes" } else { "Not everywhere" };
    let faces: Vec<f64> = others.iter().filter_map(|block| Some((block.measured - block.on_face?).abs())).collect();
    let slower = match others.iter().map(|block| block.measured).reduce(f64::min) {
        Some(least) => {
            let most = faces.iter().copied().fold(0.0, f64::max);
            let (least, most) = (rounded(least, 3), rounded(most, 2));
            let explained = match faces.len() == others.len() {
                true => format!(", and differs from λ_max/λ_1 of the face where they end by {most} at most"),
                false => String::new(),
            };
            format!("; on the other {} it is at least {least}{explained}", others.len())
        }
        None => String::new(),
    };
    Some(answered(
        "Does alternating search on a partition cell contract by λ_2/λ_1 in each sweep?",
        format!(
            "{verdict}: on {} of {} blocks, with predictions up to {}, the measured factor differs from the predicted one by {} at most{slower}.",
            agree.len(),
            blocks().count(),
            rounded(agree.iter().map(|block| block.predicted).fold(0.0, f64::max), 3),
            rounded(largest, 2),
        ),
        &["compare-contraction"],
    ))
}

/// Whether gradient descent leaves the saddles that Thm 3.7 calls minima.
fn escape(view: &View) -> Option<Answer> {
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
    Some(answered(
        "Does gradient descent with a small step leave the saddles that Theorem 3.7 calls minima?",
        format!(
            "{verdict}: it leaves {left} of {saddles}{took}; beside {minima} certified local minima it stays at {stayed}."
        ),
        &["compare-escape"],
    ))
}
