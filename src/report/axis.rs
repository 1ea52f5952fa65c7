//! Ticks, and the map from values to lengths.

use crate::stats::{Axis, Scale};

/// An axis with its ends and ticks fixed.
#[derive(Debug, Clone)]
pub(super) struct Ruler {
    scale: Scale,
    /// Ends in transformed values.
    low: f64,
    high: f64,
    /// Labelled ticks: transformed value and text.
    ticks: Vec<(f64, String)>,
    /// Transformed values of ticks without text.
    minor: Vec<f64>,
}

impl Ruler {
    /// Rules an axis that shows the values `data` with about `count` ticks; `padding` is the part of the span left free at
    /// computed ends.
    pub fn new(axis: &Axis, data: impl IntoIterator<Item = f64>, count: usize, padding: f64) -> Self {
        let (low, high) = match axis.range {
            Some((low, high)) => (transform(axis.scale, low), transform(axis.scale, high)),
            None => {
                let values = data.into_iter().map(|v| transform(axis.scale, v)).filter(|v| v.is_finite());
                let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |e, v| (e.0.min(v), e.1.max(v)));
                let margin = (high - low) * padding;
                (low - margin, high + margin)
            }
        };
        // A spread of the size of rounding is none.
        let (low, high) = match (low.is_finite() && high.is_finite(), high - low > 1e-12 * (low.abs() + high.abs())) {
            (true, true) => (low, high),
            // A single value stands in the middle.
            (true, false) => (low - 0.5, low + 0.5),
            (false, _) => (0.0, 1.0),
        };
        let mut ruler = Self { scale: axis.scale, low, high, ticks: Vec::new(), minor: Vec::new() };
        ruler.set_ticks(axis, count.max(2));
        ruler
    }

    fn set_ticks(&mut self, axis: &Axis, count: usize) {
        if let Some(ticks) = &axis.ticks {
            let inside = |v: &f64| (self.low..=self.high).contains(v);
            let placed = ticks.iter().map(|(value, text)| (transform(self.scale, *value), text.clone()));
            self.ticks = placed.filter(|(value, _)| inside(value)).collect();
            return;
        }
        match self.scale {
            Scale::Linear => self.ticks = linear_ticks(self.low, self.high, count),
            Scale::Log => {
                let (first, last) = (ceiling(self.low), floor(self.high));
                if last - first >= 1 {
                    let stride = (1..).find(|s| (last - first) / s <= count as i64).unwrap_or(1);
                    let plain = first >= -2 && last <= 3;
                    let text = |k: i64| if plain { plain_power(k) } else { format!("10^{{{}}}", signed(k)) };
                    self.ticks =
                        (first..=last).filter(|k| k.rem_euclid(stride) == 0).map(|k| (k as f64, text(k))).collect();
                    self.minor =
                        if stride == 1 { self.mantissas() } else { (first..=last).map(|k| k as f64).collect() };
                } else {
                    let values = linear_ticks(10f64.powf(self.low), 10f64.powf(self.high), count);
                    let inside = values.into_iter().filter(|(v, _)| *v > 0.0);
                    self.ticks = inside.map(|(v, text)| (v.log10(), text)).collect();
                }
            }
        }
    }

    /// 2, 3, .., 9 times every power of ten.
    fn mantissas(&self) -> Vec<f64> {
        let (first, last) = (floor(self.low), ceiling(self.high));
        (first..last)
            .flat_map(|k| (2..10).map(move |m| k as f64 + f64::from(m).log10()))
            .filter(|v| (self.low..=self.high).contains(v))
            .collect()
    }

    /// Where `value` stands, 0 at the low end and 1 at the high end; infinite or not a number if it cannot be shown.
    pub fn place(&self, value: f64) -> f64 {
        self.fraction(transform(self.scale, value))
    }

    fn fraction(&self, transformed: f64) -> f64 {
        (transformed - self.low) / (self.high - self.low)
    }

    /// Labelled ticks: place in [0, 1] and text.
    pub fn ticks(&self) -> impl Iterator<Item = (f64, &str)> {
        self.ticks.iter().map(|(value, text)| (self.fraction(*value), text.as_str()))
    }

    /// Places of ticks without text.
    pub fn minor_ticks(&self) -> impl Iterator<Item = f64> {
        self.minor.iter().map(|value| self.fraction(*value))
    }

    /// Width of the shown range in axis units, for a linear axis.
    pub fn span(&self) -> f64 {
        self.high - self.low
    }
}

/// The value on a scale on which lengths are differences; −∞ or NaN where a logarithm does not exist.
pub(super) fn transform(scale: Scale, value: f64) -> f64 {
    match scale {
        Scale::Linear => value,
        Scale::Log => value.log10(),
    }
}

/// Integers within rounding of the value count as it.
fn ceiling(value: f64) -> i64 {
    (value - 1e-9).ceil() as i64
}

fn floor(value: f64) -> i64 {
    (value + 1e-9).floor() as i64
}

fn plain_power(k: i64) -> String {
    if k >= 0 { format!("1{}", "0".repeat(k as usize)) } else { format!("0.{}1", "0".repeat((-k - 1) as usize)) }
}

fn signed(k: i64) -> String {
    if k < 0 { format!("−{}", -k) } else { k.to_string() }
}

/// At most `count` + 1 ticks at multiples of 1, 2 or 5 times a power of ten.
fn linear_ticks(low: f64, high: f64, count: usize) -> Vec<(f64, String)> {
    let rough = (high - low) / count as f64;
    let power = rough.log10().floor() as i32;
    let (mantissa, power) = [(1, power), (2, power), (5, power), (10, power)]
        .into_iter()
        .find(|(m, p)| f64::from(*m) * 10f64.powi(*p) >= rough * 0.999)
        .map_or((1, power + 1), |(m, p)| if m == 10 { (1, p + 1) } else { (m, p) });
    let step = f64::from(mantissa) * 10f64.powi(power);
    let (first, last) = (ceiling(low / step), floor(high / step));
    if last < first || last - first > 1000 {
        return Vec::new();
    }
    let largest = first.unsigned_abs().max(last.unsigned_abs()) as f64 * step;
    let text = |k: i64| {
        let value = k * i64::from(mantissa);
        if k == 0 {
            "0".to_owned()
        } else if !(-4..5).contains(&power) || largest >= 1e6 {
            // As 3×10^k, or 1.2×10^k when the multiples have several digits.
            let digits = value.unsigned_abs().to_string();
            let fraction = digits[1..].trim_end_matches('0');
            let exponent = i64::from(power) + digits.len() as i64 - 1;
            let point = if fraction.is_empty() { "" } else { "." };
            let sign = if value < 0 { "−" } else { "" };
            format!("{sign}{}{point}{fraction}×10^{{{}}}", &digits[..1], signed(exponent))
        } else {
            let decimals = (-power).max(0) as usize;
            format!("{:.decimals$}", value as f64 * 10f64.powi(power)).replace('-', "−")
        }
    };
    (first..=last).map(|k| (k as f64 * step, text(k))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(axis: Axis, data: [f64; 2], count: usize) -> Vec<String> {
        Ruler::new(&axis, data, count, 0.0).ticks().map(|(_, text)| text.to_owned()).collect()
    }

    #[test]
    fn linear_ticks_are_round_and_few() {
        assert_eq!(texts(Axis::linear("x"), [-1.0, 1.0], 5), ["−1.0", "−0.5", "0", "0.5", "1.0"]);
        assert_eq!(texts(Axis::linear("x"), [0.0, 97.0], 5), ["0", "20", "40", "60", "80"]);
        assert_eq!(texts(Axis::linear("x"), [0.0, 2e-7], 2), ["0", "1×10^{−7}", "2×10^{−7}"]);
        assert_eq!(texts(Axis::linear("x"), [0.0, 3e7], 3), ["0", "1×10^{7}", "2×10^{7}", "3×10^{7}"]);
    }

    #[test]
    fn logarithmic_ticks_are_powers_of_ten_or_round_values_within_a_decade() {
        assert_eq!(texts(Axis::log("x"), [1e-8, 1.0], 4), ["10^{−8}", "10^{−6}", "10^{−4}", "10^{−2}", "10^{0}"][..5]);
        assert_eq!(texts(Axis::log("x"), [0.1, 100.0], 5), ["0.1", "1", "10", "100"]);
        assert_eq!(texts(Axis::log("x"), [2.0, 9.0], 4), ["2", "4", "6", "8"]);
    }

    #[test]
    fn a_single_value_stands_in_the_middle_and_no_value_breaks_nothing() {
        assert_eq!(Ruler::new(&Axis::linear("x"), [3.0], 4, 0.1).place(3.0), 0.5);
        let equal = Ruler::new(&Axis::linear("x"), [2.180_366_030_841_306e-6, 2.180_366_030_841_308e-6], 4, 0.1);
        assert!((equal.place(2.180_366e-6) - 0.5).abs() < 1e-6);
        assert!(Ruler::new(&Axis::log("x"), [], 4, 0.1).place(0.0).is_infinite());
    }
}
