//! Records made by hand, and what they say counted by hand.

use super::*;
use crate::compare::dynamics::{CellEnd, CellStudy, Contraction, Escape, PassedOver};
use crate::compare::record::{FORMAT, Found};
use crate::optim::Residuals;
use crate::optim::end_point::EndPoint;
use crate::stats::{Cell, Layer};

/// A run that has ended at a loss of this class, and has passed so many levels, all at one cost.
fn run(optimizer: &str, start: u64, (loss, class): (f64, Class), (cost, levels): (f64, usize)) -> Run {
    let residuals = Residuals { r_v: 0.0, r_w: 0.0 };
    Run {
        optimizer: optimizer.into(),
        start,
        end: EndPoint {
            loss,
            gradient: 0.0,
            residuals,
            class,
            curvature: None,
            dead: 0,
            polysemantic: 0,
            uncovered: 0,
        },
        certified: None,
        optimum: None,
        in_cell: None,
        ended: "budget".into(),
        steps: 1,
        gradients: 100.0,
        hits: vec![cost; levels],
        to_bound: Vec::new(),
        to_cell: Vec::new(),
    }
}

/// An instance whose total is 1 and whose best known loss is 0.
fn record(instance: &str, family: &str, runs: Vec<Run>) -> Record {
    Record {
        format: FORMAT,
        instance: instance.into(),
        family: family.into(),
        size: [4, 4, 2],
        problem: String::new(),
        total: 1.0,
        lower: 0.0,
        upper: None,
        best: 0.0,
        optima: Vec::new(),
        cells: Vec::new(),
        escapes: Vec::new(),
        passed_over: None,
        runs,
    }
}

const MINIMUM: Class = Class::LocalMinimum;
/// Levels down to τ = 1e-4.
const DOWN: usize = 8;

/// Two instances with two starts each: cost until τ = 1e-4 is 10, 30, never, 20 for one, 20, 10, 50, never for the other.
fn two() -> Vec<Record> {
    let (acs, descent) = ("acs", "descent-lipschitz");
    vec![
        record(
            "a-0",
            "a",
            vec![
                run(acs, 0, (0.0, MINIMUM), (10.0, DOWN)),
                run(descent, 0, (0.0, MINIMUM), (20.0, DOWN)),
                run(acs, 1, (0.0, MINIMUM), (30.0, DOWN)),
                run(descent, 1, (0.0, MINIMUM), (10.0, DOWN)),
            ],
        ),
        record(
            "b-0",
            "b",
            vec![
                run(acs, 0, (0.3, MINIMUM), (40.0, 3)),
                run(descent, 0, (0.0, MINIMUM), (50.0, DOWN)),
                run(acs, 1, (0.0, MINIMUM), (20.0, DOWN)),
                run(descent, 1, (0.2, Class::Unfinished), (0.0, 0)),
            ],
        ),
    ]
}

fn table<'a>(summary: &'a Summary, name: &str) -> &'a Table {
    summary.tables.iter().find(|table| table.name == name).unwrap()
}

/// The cell of the row that begins with these texts.
fn cell<'a>(table: &'a Table, row: &[&str], column: &str) -> &'a Cell {
    let at = table.columns.iter().position(|c| c.header == column).unwrap();
    let begins = |cells: &&Vec<Cell>| row.iter().zip(cells.iter()).all(|(text, cell)| cell.text() == *text);
    &table.rows.iter().find(begins).unwrap()[at]
}

fn near(cell: &Cell, wanted: [f64; 3]) {
    let Cell::Interval { value, low, high, .. } = cell else { panic!("{cell:?}") };
    let off = [value - wanted[0], low - wanted[1], high - wanted[2]];
    assert!(off.iter().all(|off| off.abs() < 1e-4), "{cell:?} for {wanted:?}");
}

fn value(cell: &Cell) -> f64 {
    match cell {
        Cell::Number { value, .. } | Cell::Interval { value, .. } => *value,
        Cell::Integer { value } => *value as f64,
        other => panic!("{other:?}"),
    }
}

/// The points of a series in the panel with this title and horizontal axis.
fn series<'a>(summary: &'a Summary, figure: &str, (title, x): (&str, &str), label: &str) -> &'a [(f64, f64)] {
    let figure = summary.figures.iter().find(|f| f.name == figure).unwrap();
    let panel = figure.panels.iter().find(|p| p.title == title && p.x.label == x).unwrap();
    let named = |layer: &'a Layer| match layer {
        Layer::Line { label: name, points } | Layer::Reference { label: name, points } if name == label => Some(points),
        _ => None,
    };
    panel.layers.iter().find_map(named).unwrap()
}

#[test]
fn profiles_are_those_that_one_counts_by_hand() {
    let records = two();
    let summary = summarise(&records, &[]).unwrap();
    // Over the cheaper of both, acs costs 1, 3, never, 1 times as much, descent 2, 1, 1, never.
    let relative = ("to τ = 1e-4, relative", "cost / least cost");
    let of_acs = [(1.0, 0.5), (3.0, 0.5), (3.0, 0.75), (100.0, 0.75)];
    assert_eq!(series(&summary, "compare-profiles-alternating", relative, "acs"), of_acs);
    assert_eq!(series(&summary, "compare-profiles-descent", relative, "acs"), of_acs);
    let of_descent = [(1.0, 0.5), (2.0, 0.5), (2.0, 0.75), (100.0, 0.75)];
    assert_eq!(series(&summary, "compare-profiles-descent", relative, "descent-lipschitz"), of_descent);

    let budget = "gradient evaluations";
    let within =
        [(1.0, 0.0), (10.0, 0.0), (10.0, 0.25), (20.0, 0.25), (20.0, 0.5), (30.0, 0.5), (30.0, 0.75), (100.0, 0.75)];
    assert_eq!(series(&summary, "compare-profiles-alternating", ("to τ = 1e-4", budget), "acs"), within);
    // τ = 1e-1 is the third level, which the other run passes at 40.
    let easy = series(&summary, "compare-profiles-alternating", ("to τ = 1e-1", budget), "acs");
    assert_eq!(easy[easy.len() - 3..], [(40.0, 0.75), (40.0, 1.0), (100.0, 1.0)]);
    // Nobody comes nearer than 1e-4.
    let hard = series(&summary, "compare-profiles-alternating", ("to τ = 1e-5", budget), "acs");
    assert_eq!(hard, [(1.0, 0.0), (100.0, 0.0)]);
    // Of 4 starts and 8 targets three runs pass four each, the other one.
    let all = series(&summary, "compare-profiles-alternating", ("all targets", budget), "acs");
    let shares: Vec<f64> = all.iter().map(|(_, share)| *share * 32.0).collect();
    assert_eq!(shares, [0.0, 0.0, 4.0, 4.0, 8.0, 8.0, 12.0, 12.0, 13.0, 13.0]);

    let targets = table(&summary, "compare-targets");
    let met: Vec<f64> = targets.rows[0][1..].iter().map(value).collect();
    assert_eq!(met, [1.0, 0.75, 0.75, 0.75, 0.0, 0.0, 0.0, 0.0]);
}

#[test]
fn every_optimizer_stands_in_a_profile_and_no_figure_has_more_than_can_be_told_apart() {
    let names: Vec<&str> = crate::compare::config::OPTIMIZERS.iter().map(|(name, _)| *name).collect();
    let runs = names.iter().map(|name| run(name, 0, (0.0, MINIMUM), (10.0, DOWN))).collect();
    let summary = summarise(&[record("a-0", "a", runs)], &[]).unwrap();
    let mut seen = BTreeSet::new();
    for figure in summary.figures.iter().filter(|figure| figure.name.starts_with("compare-profiles")) {
        // One performance profile, all targets, and a panel for each decade.
        assert_eq!(figure.panels.len(), 2 + 8);
        let label = |layer: &Layer| match layer {
            Layer::Line { label, .. } => Some(label.clone()),
            _ => None,
        };
        let labels: Vec<String> = figure.panels[0].layers.iter().filter_map(label).collect();
        assert!(labels.len() <= 7, "{labels:?}");
        seen.extend(labels);
    }
    assert_eq!(seen.len(), names.len(), "{seen:?}");
}

#[test]
fn shares_draw_instances_anew_and_failures_are_paid_for_by_successes() {
    let records = two();
    let summary = summarise(&records, &[]).unwrap();
    let all = table(&summary, "compare-optimizers");
    // Three of four: both starts of one instance and one of the other, so that a draw of two instances has a share of 1/2, 3/4 or 1.
    near(cell(all, &["acs"], "ends at the best known"), [0.75, 0.5, 1.0]);
    // Two of four at the end of descent are 0 and one is 0 as well: three again, although one run never came within 1e-4.
    near(cell(all, &["descent-lipschitz"], "ends at the best known"), [0.75, 0.5, 1.0]);
    // Costs of draws: 40/2 twice from the first instance, 120/1 twice from the second.
    let Cell::Interval { low, high, .. } = cell(all, &["acs"], "cost of one success at τ = 1e-4") else { panic!() };
    assert_eq!((*low, *high), (20.0, 120.0));
    // (10 + 30 + 20 + 100)/3: the run that was given up cost all of its 100.
    assert!((value(cell(all, &["acs"], "cost of one success at τ = 1e-4")) - 160.0 / 3.0).abs() < 1e-12);
    assert!((value(cell(all, &["descent-lipschitz"], "cost of one success at τ = 1e-4")) - 60.0).abs() < 1e-12);
    assert_eq!(value(cell(all, &["acs"], "never there")), 1.0);
}

#[test]
fn seconds_are_medians_with_runs_that_never_come_and_nothing_without_timings() {
    let records = two();
    let timing = |(instance, optimizer, start): (&str, &str, u64), seconds: f64, levels: usize| Timing {
        instance: instance.into(),
        optimizer: optimizer.into(),
        start,
        seconds: 2.0 * seconds,
        hits: vec![seconds; levels],
    };
    let mut timings = vec![
        timing(("a-0", "acs", 0), 0.1, DOWN),
        timing(("a-0", "acs", 1), 0.3, DOWN),
        timing(("b-0", "acs", 0), 0.4, 3),
        timing(("b-0", "acs", 1), 0.2, DOWN),
    ];
    let summary = summarise(&records, &timings).unwrap();
    let seconds = table(&summary, "compare-seconds");
    assert_eq!(seconds.rows.len(), 1);
    // The third of 0.1, 0.2, 0.3, never; and of 0.2, 0.4, 0.6, 0.8.
    assert_eq!(value(cell(seconds, &["acs"], "τ = 1e-4")), 0.3);
    assert!((value(cell(seconds, &["acs"], "of a run")) - 0.6).abs() < 1e-12);
    assert_eq!(cell(seconds, &["acs"], "τ = 1e-6").text(), "never");
    let profile = series(&summary, "compare-profiles-alternating", ("to τ = 1e-4", "seconds"), "acs");
    assert_eq!(profile, [(0.1, 0.25), (0.2, 0.25), (0.2, 0.5), (0.3, 0.5), (0.3, 0.75), (0.3, 0.75)]);
    // Half of the runs never come.
    timings[3].hits.truncate(3);
    let summary = summarise(&records, &timings).unwrap();
    assert_eq!(cell(table(&summary, "compare-seconds"), &["acs"], "τ = 1e-4").text(), "never");
    let summary = summarise(&records, &[]).unwrap();
    assert!(summary.tables.iter().all(|table| table.name != "compare-seconds"));
}

#[test]
fn a_difference_counts_only_if_it_stands_after_holms_correction() {
    // acs ends at 0.1 throughout. Descent ends 0.01 .. 0.06 higher; L-BFGS as well, but for the last instance, where it ends 0.06 lower.
    let with = |k: u32| {
        let by = 0.01 * f64::from(k);
        let lbfgs = if k == 6 { 0.1 - by } else { 0.1 + by };
        let ends = [("acs", 0.1), ("descent-lipschitz", 0.1 + by), ("lbfgs", lbfgs)];
        let runs = ends.iter().map(|(name, loss)| run(name, 0, (*loss, MINIMUM), (10.0, DOWN))).collect();
        record(&format!("a-{k}"), "a", runs)
    };
    let records: Vec<Record> = (1..=6).map(with).collect();
    let summary = summarise(&records, &[]).unwrap();
    let paired = table(&summary, "compare-paired");
    // All six negative: 2 of 2⁶ signs are as extreme. With ranks 1 .. 5 negative and 6 positive: 14 subsets have a sum of at most 6, on either side.
    let against = |name: &str, column: &str| value(cell(paired, &["acs", name], column));
    assert_eq!(against("descent-lipschitz", "instances that differ"), 6.0);
    assert!((against("descent-lipschitz", "effect") + 1.0).abs() < 1e-12);
    assert!((against("descent-lipschitz", "p, Holm") - 2.0 * 2.0 / 64.0).abs() < 1e-12);
    assert!((against("lbfgs", "effect") - (6.0 - 15.0) / 21.0).abs() < 1e-12);
    assert!((against("lbfgs", "p, Holm") - 28.0 / 64.0).abs() < 1e-12);
    // 2/64 alone would be below 0.05.
    let lower = |records: &[Record]| said(records, "at the end of the budget");
    let answer = lower(&records);
    assert!(
        answer.starts_with("No difference is shown: over 6 of 6 instances") && answer.contains("all 2 pairs"),
        "{answer}"
    );
    assert!(
        answer.contains("0 of 6 runs of alternating search and 0 of 6 of gradient descent are unfinished"),
        "{answer}"
    );
    // Three more of them, and it stands; that some were cut off by the budget is said beside it.
    let mut more: Vec<Record> = (1..=12).map(|k| with(if k == 6 { 13 } else { k })).collect();
    more[0].runs[1].end.class = Class::Unfinished;
    let answer = lower(&more);
    assert!(answer.starts_with("Yes: over 12 of 12 instances"), "{answer}");
    assert!(answer.contains("0 of 12 runs of alternating search and 1 of 12 of gradient descent"), "{answer}");
    // The other way round.
    more.iter_mut()
        .flat_map(|record| &mut record.runs)
        .filter(|run| run.optimizer == "acs")
        .for_each(|run| run.end.loss = 0.9);
    assert!(lower(&more).starts_with("No, it is higher"), "{}", lower(&more));
    // Differences of at most the tolerance of a success are none.
    for record in &mut more {
        (record.runs[0].end.loss, record.runs[1].end.loss) = (0.1, 0.1 + 0.9e-6);
    }
    assert!(lower(&more).starts_with("No difference is shown: over 0 of 12 instances"), "{}", lower(&more));
}

/// The answer to the question that contains this.
fn said(records: &[Record], question: &str) -> String {
    let answers = summarise(records, &[]).unwrap().answers;
    answers.into_iter().find(|answer| answer.question.contains(question)).unwrap().answer
}

/// Instances whose runs of acs and of descent have passed so many levels at such costs, from two starts.
fn raced(instances: u32, of: impl Fn(u32) -> [(f64, usize); 2]) -> Vec<Record> {
    let with = |k: u32| {
        let [acs, descent] = of(k);
        let runs = (0..2).flat_map(|start| {
            [run("acs", start, (0.0, MINIMUM), acs), run("descent-lipschitz", start, (0.0, MINIMUM), descent)]
        });
        record(&format!("a-{k}"), if k < 2 { "a" } else { "b" }, runs.collect())
    };
    (0..instances).map(with).collect()
}

#[test]
fn who_is_faster_is_said_of_all_starts_and_not_of_those_that_both_finish() {
    let faster = |records: &[Record]| said(records, "faster than gradient descent");
    let all = raced(8, |k| [(f64::from(k + 1), DOWN), (f64::from(2 * k + 3), DOWN)]);
    assert!(faster(&all).starts_with("Yes. The expected cost"), "{}", faster(&all));
    let none = raced(8, |k| [(f64::from(2 * k + 3), DOWN), (f64::from(k + 1), DOWN)]);
    assert!(faster(&none).starts_with("No, it is slower. The"), "{}", faster(&none));
    let same = raced(8, |k| [(f64::from(k + 1), DOWN), (f64::from(8 - k), DOWN)]);
    assert!(faster(&same).starts_with("No difference is shown. The"), "{}", faster(&same));
    // Twice as fast where it comes anywhere, and nowhere on most instances: of the 16 starts it stands on four, and loses over all.
    let few = raced(8, |k| if k < 2 { [(10.0, DOWN), (20.0, DOWN)] } else { [(0.0, 0), (20.0, DOWN)] });
    let answer = faster(&few);
    assert!(answer.starts_with("No, it is slower. The"), "{answer}");
    // Twelve runs that were given up at 100 and four at 10: 1240/4.
    assert!(answer.contains("310 (") && answer.contains(" against 20.0 (20.0 to 20.0) at τ = 1e-1"), "{answer}");
    assert!(answer.contains("from 4 of 16 starts and to τ = 1e-3 in the median"), "{answer}");
    assert!(
        answer.contains("above 1 on 1 of 1 families: 2.0 on a. The other 12 starts do not count there"),
        "{answer}"
    );
    let families = summarise(&few, &[]).unwrap();
    let families = table(&families, "compare-families");
    let at = |family: &str, column: &str| cell(families, &[family], column).text();
    assert_eq!(["starts", "acs within 1e-2", "descent within 1e-2", "of so many starts"].map(|c| at("a", c)), ["4"; 4]);
    assert_eq!(["starts", "acs within 1e-2", "descent within 1e-2"].map(|c| at("b", c)), ["12", "0", "12"]);
    assert_eq!([at("b", "of so many starts"), at("b", "cost of descent / acs")], ["–", "–"]);
    // Neither at first, slower in the end.
    let later = raced(8, |k| [(f64::from(k + 1), 6), (f64::from(8 - k), DOWN)]);
    assert!(faster(&later).starts_with("No: at some τ it is slower, elsewhere no difference"), "{}", faster(&later));
    // Faster at first, slower in the end.
    let mixed = raced(8, |_| [(10.0, 6), (20.0, DOWN)]);
    assert!(faster(&mixed).starts_with("Mixed. The"), "{}", faster(&mixed));
}

#[test]
fn what_anchors_do_is_tested_over_instances() {
    let with = |losses: fn(u32) -> [f64; 2], classes: [Class; 2]| -> Vec<Record> {
        let one = |k: u32| {
            let [anchored, descent] = losses(k);
            let runs = vec![
                run("anchored-descent", 0, (anchored, classes[0]), (10.0, DOWN)),
                run("descent-lipschitz", 0, (descent, classes[1]), (20.0, DOWN)),
            ];
            record(&format!("a-{k}"), "a", runs)
        };
        (1..=10).map(one).collect()
    };
    let anchoring = |records: &[Record]| said(records, "anchoring");
    let better = with(|k| [0.0, 0.01 * f64::from(k)], [MINIMUM; 2]);
    let answer = anchoring(&better);
    assert!(
        answer.starts_with("Yes (paired over instances: effect -1.0") && answer.contains("from 0 higher"),
        "{answer}"
    );
    // All ten are spurious without, none with.
    assert!(answer.contains("and 100 % (72.2 % to 100 %) at a spurious"), "{answer}");
    assert!(
        answer.contains("costs 10.0 (10.0 to 10.0) and 20.0 (20.0 to 20.0)") && answer.contains("told the features")
    );
    let worse = with(|k| [0.01 * f64::from(k), 0.0], [MINIMUM; 2]);
    assert!(anchoring(&worse).starts_with("No, it raises it"), "{}", anchoring(&worse));
    let both = with(|k| if k % 2 == 0 { [0.1, 0.2] } else { [0.2, 0.1] }, [MINIMUM; 2]);
    assert!(anchoring(&both).starts_with("Mixed"), "{}", anchoring(&both));
    let same = with(|_| [0.1, 0.1], [MINIMUM; 2]);
    assert!(anchoring(&same).starts_with("No difference is shown"), "{}", anchoring(&same));
    let pair = summarise(&better, &[]).unwrap();
    assert_eq!(table(&pair, "compare-paired-others").rows.len(), 1);
}

#[test]
fn a_saddle_is_left_by_distance_or_into_another_cell_and_those_that_were_passed_over_are_counted() {
    let escape = |steps: u64, left: bool, crossed: bool, fall: f64| Escape {
        blocks: Vec::new(),
        class: "strict-saddle".into(),
        block: -1.0,
        curvature: -0.1,
        along: 1e-6,
        predicted: Some(100.0),
        steps,
        left,
        fall,
        crossed,
    };
    let mut records = two();
    records[0].escapes = vec![escape(110, true, false, 1e-3), escape(200_000, false, true, 1e-4)];
    let escapes = |records: &[Record]| said(records, "saddles that Theorem");
    let answer = escapes(&records);
    assert!(answer.starts_with("Yes, all beside which it was started: it leaves 2 of 2, 1 of them to the"), "{answer}");
    assert!(
        answer.contains("1.10 to 1.10 times") && answer.contains("1 into another cell at a lower loss"),
        "{answer}"
    );
    assert!(answer.contains("How many saddles were passed over is not in these results"), "{answer}");
    // In another cell at a higher loss, or nowhere: not left.
    records[0].escapes[1].fall = -1e-9;
    assert!(escapes(&records).starts_with("Some: it leaves 1 of 2"), "{}", escapes(&records));
    let passed = |class: &str, further: u64| PassedOver {
        class: class.into(),
        further,
        boundary: 2,
        near_threshold: 3,
        slow: 4,
    };
    records[0].passed_over = Some(vec![passed("strict-saddle", 1), passed("local-min", 7)]);
    records[1].passed_over = Some(Vec::new());
    let answer = escapes(&records);
    assert!(answer.contains("not started beside 10: 1 after the first two of an instance, 2 on a face"), "{answer}");
    assert!(answer.contains("3 within 1e-3 of a threshold, and 4 whose curvature"), "{answer}");
    let summary = summarise(&records, &[]).unwrap();
    let rows = table(&summary, "compare-escape");
    let at = |class: &str, column: &str| cell(rows, &["a", class], column).text();
    assert_eq!(
        ["points", "passed over", "left", "in another cell"].map(|c| at("strict saddle", c)),
        ["2", "10", "1", "1"]
    );
    assert_eq!(["points", "passed over", "steps, median"].map(|c| at("local minimum", c)), ["0", "16", "–"]);
}

#[test]
fn an_optimum_is_certified_by_a_point_only_and_ends_there_are_global() {
    let mut records = two();
    records[0].upper = Some(1e-9);
    let summary = summarise(&records, &[]).unwrap();
    let suite = table(&summary, "compare-suite");
    for (family, certified) in [("a", 1.0), ("b", 0.0)] {
        assert_eq!(value(cell(suite, &[family], "optimum certified")), certified);
        assert_eq!(value(cell(suite, &[family], "met by a run")), 1.0);
    }
    // A certified optimum that no run comes to.
    let mut far = records.clone();
    far[0].runs.iter_mut().for_each(|run| run.end.loss = 0.5);
    let summary_far = summarise(&far, &[]).unwrap();
    let suite = table(&summary_far, "compare-suite");
    assert_eq!(["optimum certified", "met by a run"].map(|column| value(cell(suite, &["a"], column))), [1.0, 0.0]);
    let ends = table(&summary, "compare-ends");
    let of = |name: &str, column: &str| value(cell(ends, &[name], column));
    // On the first instance all ends are global; of the second's, two of acs are local minima and one of descent.
    assert_eq!([of("acs", "global"), of("acs", "local min"), of("acs", "unfinished")], [2.0, 2.0, 0.0]);
    let descent = ["global", "local min", "unfinished"].map(|column| of("descent-lipschitz", column));
    assert_eq!(descent, [2.0, 1.0, 1.0]);
}

#[test]
fn shares_of_optima_are_counted_over_all_runs() {
    let mut of = record("a-0", "a", Vec::new());
    let found = |loss: f64| Found { pattern: Vec::new(), loss, class: MINIMUM };
    of.optima = vec![found(0.0), found(0.0), found(0.1), found(0.2), found(0.3)];
    // Best known in two patterns 2 + 1 times, then 1, 3, 1 times, and unfinished twice.
    for (k, optimum) in [0, 0, 1, 2, 3, 3, 3, 4].into_iter().map(Some).chain([None, None]).enumerate() {
        let mut run = run("acs", k as u64, (0.5, MINIMUM), (10.0, 0));
        run.optimum = optimum;
        of.runs.push(run);
    }
    let summary = summarise(&[of], &[]).unwrap();
    let shares = table(&summary, "compare-shares");
    let at = |column: &str| cell(shares, &["a-0"], column);
    assert_eq!(value(at("optima")), 5.0);
    // Three of ten, by Wilson with z = 1.95996.
    near(at("best known"), [0.3, 0.107_79, 0.603_22]);
    assert_eq!(value(at("another")), 0.3);
    assert_eq!(value(at("excess")), 0.2);
    assert_eq!([value(at("others")), value(at("unfinished"))], [0.2, 0.2]);
    // Every one of them, and what is left over, for alternating search alone.
    let alone = table(&summary, "compare-shares-acs");
    let rows: Vec<[String; 4]> = alone.rows.iter().map(|row| [1, 2, 3, 4].map(|k| row[k].text())).collect();
    let expected = [
        ["1 of 5", "0", "local min", "2"],
        ["2 of 5", "0", "local min", "1"],
        ["3 of 5", "0.10", "local min", "1"],
        ["4 of 5", "0.20", "local min", "3"],
        ["5 of 5", "0.30", "local min", "1"],
        ["–", "–", "unfinished", "2"],
    ];
    assert_eq!(rows, expected);
    let counted: Vec<f64> = alone.rows.iter().map(|row| value(&row[5])).collect();
    assert!((counted.iter().sum::<f64>() - 1.0).abs() < 1e-12);
}

#[test]
fn costs_to_the_bound_and_to_the_optimum_of_the_cell_are_those_of_their_own_targets() {
    let mut records = two();
    records[0].upper = Some(0.0);
    records[0].runs[0].to_bound = vec![7.0; DOWN];
    records[0].runs[2].to_bound = vec![9.0; 6];
    records[1].runs[0].in_cell = Some(0.3);
    records[1].runs[0].to_cell = vec![5.0; DOWN];
    records[1].cells = vec![CellStudy {
        blocks: vec![vec![0, 1], vec![2]],
        optimum: 0.4,
        ends: vec![CellEnd { optimizer: "acs".into(), loss: 0.4, gradients: 60.0, hits: vec![3.0; 6] }],
        contractions: Vec::new(),
    }];
    let summary = summarise(&records, &[]).unwrap();
    let bound = table(&summary, "compare-bound");
    // 7 and 9; then 7 and a run that was given up after 100.
    assert_eq!(value(cell(bound, &["acs", "certified"], "τ = 1e-2")), 8.0);
    assert_eq!(value(cell(bound, &["acs", "certified"], "τ = 1e-4")), 107.0);
    assert_eq!(cell(bound, &["acs", "open"], "τ = 1e-2").text(), "never");
    let costs = table(&summary, "compare-cell-costs");
    assert_eq!(value(cell(costs, &["acs", "drawn"], "τ = 1e-2")), 3.0);
    assert_eq!(cell(costs, &["acs", "drawn"], "τ = 1e-4").text(), "never");
    assert_eq!(value(cell(costs, &["acs", "random"], "τ = 1e-4")), 5.0);
    assert_eq!(costs.rows.len(), 2);
}

#[test]
fn blocks_that_end_on_a_face_have_a_marker_of_their_own_and_are_explained_by_its_rate() {
    let mut records = two();
    let block = |predicted, measured, on_face| Contraction { features: 2, predicted, measured, sweep: 30, on_face };
    let study = |contractions| CellStudy { blocks: vec![vec![0, 1]], optimum: 0.4, ends: Vec::new(), contractions };
    records[0].cells = vec![study(vec![block(0.5, 0.501, None), block(0.25, 0.25, None)])];
    let layers = |records: &[Record]| -> Vec<(String, usize)> {
        let summary = summarise(records, &[]).unwrap();
        let figure = summary.figures.iter().find(|figure| figure.name == "compare-contraction").unwrap();
        let points = |layer: &Layer| match layer {
            Layer::Points { label, points, .. } => Some((label.clone(), points.len())),
            _ => None,
        };
        figure.panels[0].layers.iter().filter_map(points).collect()
    };
    let answer = |records: &[Record]| {
        let answers = summarise(records, &[]).unwrap().answers;
        answers.into_iter().find(|answer| answer.question.contains("contract")).unwrap().answer
    };
    assert_eq!(layers(&records), [("one block".to_owned(), 2)]);
    assert!(answer(&records).starts_with("Yes: on 2 of 2 blocks"), "{}", answer(&records));
    records[1].cells = vec![study(vec![block(0.3, 0.99, Some(0.995))])];
    assert_eq!(layers(&records), [("one block".to_owned(), 2), ("one that ends on a face".to_owned(), 1)]);
    let said = answer(&records);
    assert!(said.starts_with("Not everywhere: on 2 of 3 blocks") && said.contains("differs from λ_max/λ_1"), "{said}");
    // One that nothing explains.
    records[1].cells[0].contractions.push(block(0.3, 0.9, None));
    assert!(!answer(&records).contains("λ_max/λ_1"), "{}", answer(&records));
}

#[test]
fn instances_of_some_optimizers_stand_apart() {
    let mut records = two();
    let whole = summarise(&records, &[]).unwrap();
    let mut large = record("c-0", "c", vec![run("acs", 0, (0.5, MINIMUM), (1.0, DOWN))]);
    large.best = 0.25;
    large.lower = 0.125;
    records.push(large);
    let summary = summarise(&records, &[]).unwrap();
    for name in ["compare-optimizers", "compare-ends", "compare-families", "compare-shares"] {
        assert_eq!(table(&summary, name), table(&whole, name));
    }
    assert_eq!(summary.answers, whole.answers);
    assert_eq!(table(&summary, "compare-suite").rows.len(), 3);
    let larger = table(&summary, "compare-larger");
    let of = |column: &str| value(cell(larger, &["c-0"], column));
    assert_eq!([of("bound"), of("best known"), of("gap"), of("excess")], [0.125, 0.25, 0.125, 0.25]);
}

#[test]
fn every_answer_names_what_shows_it() {
    let records = two();
    let summary = summarise(&records, &[]).unwrap();
    assert!(summary.answers.len() >= 3);
    for answer in &summary.answers {
        let figure = |name: &String| summary.figures.iter().any(|figure| figure.name == *name);
        let exists = |name: &String| figure(name) || summary.tables.iter().any(|table| table.name == *name);
        assert!(answer.shown.iter().any(figure) && answer.shown.iter().all(exists), "{answer:?}");
    }
}

#[test]
fn a_table_that_is_longer_than_a_page_is_several() {
    let mut of = record("a-0", "a", Vec::new());
    // A hundred and one ends, each alone in its optimum.
    let found = |k: u32| Found { pattern: Vec::new(), loss: 0.001 * f64::from(k), class: MINIMUM };
    of.optima = (0..101).map(found).collect();
    for k in 0..101 {
        let mut run = run("acs", k, (0.5, MINIMUM), (10.0, 0));
        run.optimum = Some(k as usize);
        of.runs.push(run);
    }
    let summary = summarise(&[of], &[]).unwrap();
    let parts =
        ["compare-shares-acs", "compare-shares-acs-2", "compare-shares-acs-3"].map(|name| table(&summary, name));
    assert_eq!(parts.map(|table| table.rows.len()), [45, 45, 11]);
    assert!(parts[1].title.ends_with("(2 of 3)") && parts[1].caption == parts[0].caption);
}
