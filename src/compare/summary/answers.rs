//! The questions that a theorist asks of a comparison.

use super::{Answer, Entry, Paired, SUCCESS, TAU, View, expected, share_of};
use crate::compare::dynamics::{Contraction, LEFT, MARGIN, PassedOver, SLOW};
use crate::optim::end_point::Class;
use crate::stats::ShareInterval;
use crate::stats::table::rounded;

/// Largest difference of a measured factor from λ_2/λ_1 that counts as agreement.
const AGREES: f64 = 0.02;

fn answered(question: &str, answer: String, shown: &[&str]) -> Answer {
    Answer { question: question.into(), answer, shown: shown.iter().map(|name| (*name).to_owned()).collect() }
}

/// τ at which expected costs are compared.
const AT: [f64; 3] = [1e-1, 1e-2, 1e-4];

fn percent(share: f64) -> String {
    format!("{} %", rounded(100.0 * share, 3))
}

/// Each question with a sentence whose numbers come from the records.
pub(super) fn all(view: &View) -> Vec<Answer> {
    let mut all = Vec::new();
    let has = |name: &str| view.optimizers.contains(&name);
    let paired = view.paired();
    if has("acs") && has("descent-lipschitz") {
        let names = ["alternating search", "gradient descent"];
        all.extend(faster(
            view,
            "Is alternating search faster than gradient descent?",
            ["acs", "descent-lipschitz"],
            names,
        ));
        all.extend(lower(view, &paired));
    }
    if has("acs") {
        let runs: Vec<Entry> = view.of("acs");
        let bad = runs.iter().filter(|record| record.is_spurious()).count();
        let blocks = runs.iter().filter(|record| record.is_spurious() && record.end.polysemantic > 0).count();
        if let Some(s) = spurious(&runs) {
            all.push(answered(
                "Are spurious partial optima prevalent in practice?",
                format!(
                    "Of {} runs of alternating search {bad} end in one, {} ({} to {} by a bootstrap of instances), and {blocks} of these have polysemantic neurons; {} are unfinished.",
                    runs.len(),
                    percent(s.share),
                    percent(s.low),
                    percent(s.high),
                    unfinished(&runs)
                ),
                &["compare-ends", "compare-neurons", "compare-shares-acs"],
            ));
        }
    }
    for (question, with, without) in [
        (ANCHORING, "anchored-descent", "descent-lipschitz"),
        (
            "Does resampling by the exact rule lower the loss at the end of the budget?",
            "acs-insertion",
            "acs-piecewise",
        ),
        ("Do ten restarts lower the loss of alternating search at the end of the same budget?", "acs-restarts", "acs"),
    ] {
        if has(with) && has(without) {
            let mut answer = against(view, &paired, with, without);
            if question == ANCHORING {
                answer += " Its anchors are told the features, which no method without them is.";
            }
            all.push(answered(question, answer, &["compare-pairs", "compare-optimizers", "compare-neurons"]));
        }
    }
    if has("acs") && has("acs-extrapolated") {
        let names = ["the search with extrapolation", "the plain one"];
        all.extend(faster(view, "Does extrapolation speed alternating search up?", ["acs-extrapolated", "acs"], names));
    }
    all.extend(contraction(view));
    all.extend(escape(view));
    all
}

const ANCHORING: &str = "Does anchoring half of the neurons at first lower the loss at which gradient descent ends?";

fn unfinished(runs: &[Entry]) -> String {
    let count = runs.iter().filter(|run| run.end.class == Class::Unfinished).count();
    format!("{count} of {}", runs.len())
}

fn spurious(runs: &[Entry]) -> Option<ShareInterval> {
    share_of(runs.iter().map(|run| (run.of.instance.as_str(), run.is_spurious())))
}

/// The expected cost of a success with its interval, in words.
fn cost(view: &View, optimizer: &str, tau: f64) -> Option<String> {
    let runs = view.of(optimizer);
    let e = expected(runs.iter().map(|run| (run.of.instance.as_str(), run.cost(tau), run.gradients)))?;
    let shown = |x: f64| if x >= 1e6 { rounded(x, 3) } else { rounded(x.round(), 3) };
    Some(if e.time.is_finite() {
        format!("{} ({} to {})", shown(e.time), shown(e.low), shown(e.high))
    } else {
        "∞".into()
    })
}

/// Whether `a` comes cheaper than `b` to within τ of the best known loss, over all starts; and by how much where both come anywhere.
fn faster(view: &View, question: &str, [a, b]: [&str; 2], [name_a, name_b]: [&str; 2]) -> Option<Answer> {
    let ratios: Option<Vec<_>> = AT.iter().map(|tau| view.cost_ratio(a, b, *tau)).collect();
    let ratios = ratios?;
    let cheaper = ratios.iter().filter(|ratio| ratio.low > 1.0).count();
    let dearer = ratios.iter().filter(|ratio| ratio.high < 1.0).count();
    let verdict = match (cheaper, dearer) {
        (all, _) if all == AT.len() => "Yes",
        (_, all) if all == AT.len() => "No, it is slower",
        (0, 0) => "No difference is shown",
        (_, 0) => "At some τ; elsewhere no difference is shown",
        (0, _) => "No: at some τ it is slower, elsewhere no difference is shown",
        _ => "Mixed",
    };
    let costs: Option<Vec<String>> = AT
        .iter()
        .zip(&ratios)
        .map(|(tau, ratio)| {
            let (of_a, of_b) = (cost(view, a, *tau)?, cost(view, b, *tau)?);
            let [times, low, high] = [ratio.ratio, ratio.low, ratio.high].map(|x| rounded(x, 2));
            Some(format!(
                "{of_a} against {of_b} at τ = {tau:e}, where the latter is {times} times the former ({low} to {high})"
            ))
        })
        .collect();
    let where_both = match view.speed(a, b, None) {
        None => String::new(),
        Some(speed) => {
            let of = |f: &&str| Some((view.speed(a, b, Some(*f))?.ratio, (*f).to_owned()));
            let mut families: Vec<(f64, String)> = view.families.iter().filter_map(of).collect();
            families.sort_by(|x, y| y.0.total_cmp(&x.0));
            let list: Vec<String> =
                families.iter().map(|(ratio, f)| format!("{} on {f}", rounded(*ratio, 2))).collect();
            let above = families.iter().filter(|(ratio, _)| *ratio > 1.0).count();
            format!(
                " Where both cover some common share of the way, up to 99.9 %, which is from {} of {} starts and to τ = {:e} in the median, the cost of {name_b} over that of {name_a} is above 1 on {above} of {} families: {}. The other {} starts do not count there.",
                speed.used,
                speed.starts,
                speed.level,
                families.len(),
                list.join(", "),
                speed.starts - speed.used
            )
        }
    };
    Some(answered(
        question,
        format!(
            "{verdict}. The expected cost of coming within τ of the way to the best known loss, over all starts and with failures paid for, is in gradient evaluations for {name_a} and {name_b} {}.{where_both}",
            costs?.join("; ")
        ),
        &["compare-speed", "compare-families", "compare-optimizers"],
    ))
}

/// Whether alternating search is lower than gradient descent when the budget ends.
fn lower(view: &View, paired: &[Paired]) -> Option<Answer> {
    let pair = paired.iter().find(|pair| (pair.a, pair.b) == ("acs", "descent-lipschitz"))?;
    let test = pair.test.as_ref()?;
    let verdict = match (pair.p < 0.05, test.effect < 0.0) {
        (true, true) => "Yes",
        (true, false) => "No, it is higher",
        _ => "No difference is shown",
    };
    Some(answered(
        "Is the loss of alternating search lower than that of gradient descent at the end of the budget?",
        format!(
            "{verdict}: over {} of {} instances that differ by more than 1e-6 of Σ M‖r‖² the rank-biserial effect is {} (negative: alternating search is lower), p = {} corrected by Holm over all {} pairs. \
             Not all of these are optima: {} runs of alternating search and {} of gradient descent are unfinished then.",
            test.different,
            test.pairs,
            rounded(test.effect, 2),
            rounded(pair.p, 2),
            paired.len(),
            unfinished(&view.of("acs")),
            unfinished(&view.of("descent-lipschitz")),
        ),
        &["compare-pairs", "compare-paired"],
    ))
}

/// How the ends of `with` compare with those of `without` from the same starts, by the test of the pair.
fn against(view: &View, paired: &[Paired], with: &str, without: &str) -> String {
    let pairs = view.pairs(with, without);
    let lower = pairs.iter().filter(|(a, b)| a.excess() < b.excess() - SUCCESS).count();
    let higher = pairs.iter().filter(|(a, b)| a.excess() > b.excess() + SUCCESS).count();
    // The pair may stand there the other way round.
    let tested = paired.iter().find_map(|pair| match (pair.a, pair.b) {
        (a, b) if (a, b) == (with, without) => Some((pair.test.as_ref()?.effect, pair.p)),
        (a, b) if (a, b) == (without, with) => Some((-pair.test.as_ref()?.effect, pair.p)),
        _ => None,
    });
    let verdict = match tested {
        Some((effect, p)) if p < 0.05 && effect < 0.0 => "Yes",
        Some((_, p)) if p < 0.05 => "No, it raises it",
        _ if lower > 0 && higher > 0 => "Mixed, and no difference is shown on the whole",
        _ => "No difference is shown",
    };
    let test = tested.map_or_else(String::new, |(effect, p)| {
        let (effect, p, count) = (rounded(effect, 2), rounded(p, 2), paired.len());
        format!(" (paired over instances: effect {effect}, negative where it is lower, p = {p} by Holm over all {count} pairs)")
    });
    let (runs, others) = (view.of(with), view.of(without));
    let both = |of: &dyn Fn(&[Entry]) -> Option<ShareInterval>| {
        let shown = |runs: &[Entry]| {
            let words = |s: ShareInterval| format!("{} ({} to {})", percent(s.share), percent(s.low), percent(s.high));
            of(runs).map_or_else(|| "none".to_owned(), words)
        };
        (shown(&runs), shown(&others))
    };
    let best = |runs: &[Entry]| share_of(runs.iter().map(|run| (run.of.instance.as_str(), run.succeeds())));
    let ((ends, ends_without), (bad, bad_without)) = (both(&best), both(&spurious));
    let costs = match (cost(view, with, TAU), cost(view, without, TAU)) {
        (Some(a), Some(b)) => format!("; one success at τ = {TAU:e} costs {a} and {b} gradient evaluations"),
        _ => String::new(),
    };
    format!(
        "{verdict}{test}. From {lower} of {} starts it ends lower, from {higher} higher. With it and without it {ends} and {ends_without} of runs end at the best known loss, {bad} and {bad_without} at a spurious \
         optimum{costs}.",
        pairs.len()
    )
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
    let left = of("strict-saddle").filter(|escape| escape.has_left()).count();
    let crossed = of("strict-saddle").filter(|escape| escape.has_left() && !escape.left).count();
    let mut ratios: Vec<f64> =
        of("strict-saddle").filter(|e| e.left).filter_map(|e| Some(e.steps as f64 / e.predicted?)).collect();
    ratios.sort_by(f64::total_cmp);
    let (minima, stayed) = (of("local-min").count(), of("local-min").filter(|escape| !escape.has_left()).count());
    let verdict = match left {
        _ if saddles == 0 => return None,
        0 => "None of those beside which it was started",
        left if left < saddles => "Some",
        _ => "Yes, all beside which it was started",
    };
    let took = match (ratios.first(), ratios.last()) {
        (Some(least), Some(most)) => format!(
            ", {} of them to the relative distance {LEFT:e} in {} to {} times the number of steps that the curvature predicts ({} in the median)",
            ratios.len(),
            rounded(*least, 3),
            rounded(*most, 3),
            rounded(ratios[ratios.len() / 2], 4)
        ),
        _ => String::new(),
    };
    let other = match crossed {
        0 => String::new(),
        count => format!(", and {count} into another cell at a lower loss before that distance"),
    };
    let passed: Vec<&PassedOver> = view.records.iter().flat_map(|r| r.passed_over.iter().flatten()).collect();
    let passed: Vec<_> = passed.into_iter().filter(|passed| passed.class == "strict-saddle").collect();
    let sum = |of: fn(&PassedOver) -> u64| passed.iter().map(|passed| of(passed)).sum::<u64>();
    let over = match view.records.iter().all(|record| record.passed_over.is_some()) {
        true => format!(
            " Of the saddles that were listed it was not started beside {}: {} after the first two of an instance, {} on a face of their cell or with a dead neuron, {} within {MARGIN:e} of a threshold, and {} whose \
             curvature predicts more than {SLOW} steps or is rounding.",
            sum(PassedOver::all),
            sum(|passed| passed.further),
            sum(|passed| passed.boundary),
            sum(|passed| passed.near_threshold),
            sum(|passed| passed.slow)
        ),
        false => " How many saddles were passed over is not in these results.".to_owned(),
    };
    Some(answered(
        "Does gradient descent with a small step leave the saddles that Theorem 3.7 calls minima?",
        format!(
            "{verdict}: it leaves {left} of {saddles}{took}{other}; beside {minima} certified local minima it stays at {stayed}.{over}"
        ),
        &["compare-escape"],
    ))
}
