//! Sub- and superscripts in the texts of figures and tables (see [`crate::stats`]).

/// Where a run of characters stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Base,
    Sub,
    Super,
}

/// Characters on one level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Run {
    pub text: String,
    pub level: Level,
}

/// Splits `text` into runs.
///
/// `_` counts only after a single letter (with its combining marks) or an operator such as `min`, so that file names and
/// identifiers stay whole; `^` counts after anything but a space. A script is `{..}`, or up to three letters or digits with an
/// optional sign, or one other character.
pub(super) fn runs(text: &str) -> Vec<Run> {
    let chars: Vec<char> = text.chars().collect();
    let mut runs: Vec<Run> = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let level = match chars[at] {
            '_' if follows_symbol(&chars[..at]) => Some(Level::Sub),
            '^' if at > 0 && !chars[at - 1].is_whitespace() => Some(Level::Super),
            _ => None,
        };
        let script = level.and_then(|level| Some((level, script(&chars[at + 1..])?)));
        let (level, content, length) = match script {
            Some((level, (content, length))) => (level, content, length + 1),
            None => (Level::Base, chars[at].to_string(), 1),
        };
        match runs.last_mut().filter(|last| last.level == level && level == Level::Base) {
            Some(last) => last.text.push_str(&content),
            None => runs.push(Run { text: content, level }),
        }
        at += length;
    }
    runs
}

/// Words that carry a subscript although they have several letters.
const OPERATORS: [&str; 5] = ["min", "max", "inf", "sup", "argmin"];

fn follows_symbol(before: &[char]) -> bool {
    let in_word = |c: &&char| c.is_alphanumeric() || **c == '_' || is_combining(**c);
    let mut word: Vec<char> = before.iter().rev().take_while(in_word).copied().collect();
    word.reverse();
    let letters: String = word.into_iter().filter(|c| !is_combining(*c)).collect();
    let single = letters.chars().count() == 1 && letters.chars().all(char::is_alphabetic);
    single || OPERATORS.contains(&letters.as_str())
}

/// True for letters and digits that are not raised or lowered by themselves, as ᵀ and ₁ are.
fn is_plain(c: char) -> bool {
    c.is_alphanumeric() && !matches!(c, '²' | '³' | '¹' | '\u{1d2c}'..='\u{1d6a}' | '\u{2070}'..='\u{209c}')
}

/// The script after `_` or `^` and how many characters it takes; none if there is no script after all.
fn script(after: &[char]) -> Option<(String, usize)> {
    match after.first()? {
        '{' => {
            let end = after.iter().position(|c| *c == '}')?;
            (end > 1).then(|| (after[1..end].iter().collect(), end + 1))
        }
        '-' | '−' | '+' if after.get(1).is_some_and(|c| c.is_ascii_digit()) => {
            let length = 1 + after[1..].iter().take_while(|c| c.is_ascii_digit()).count();
            Some((after[..length].iter().collect(), length))
        }
        c if is_plain(*c) => {
            let length = after.iter().take_while(|c| is_plain(**c)).count();
            (length <= 3).then(|| (after[..length].iter().collect(), length))
        }
        c if c.is_whitespace() => None,
        c => Some((c.to_string(), 1)),
    }
}

/// True for combining diacritical marks, which stand over the character before them.
pub(super) fn is_combining(c: char) -> bool {
    ('\u{300}'..='\u{36f}').contains(&c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let mark = |run: &Run| match run.level {
            Level::Base => run.text.clone(),
            Level::Sub => format!("<{}>", run.text),
            Level::Super => format!("[{}]", run.text),
        };
        runs(text).iter().map(mark).collect()
    }

    #[test]
    fn scripts_are_set_and_identifiers_stay_whole() {
        for (text, expected) in [
            ("relative mass M_d of d", "relative mass M<d> of d"),
            ("λ_max and w_{12}", "λ<max> and w<12>"),
            ("10^{-3}, D^½, x^*", "10[-3], D[½], x[*]"),
            ("L̃_A", "L̃<A>"),
            ("p_d p_dᵀ", "p<d> p<d>ᵀ"),
            ("2^-10 and min_V L̃", "2[-10] and min<V> L̃"),
            ("thm_3_7.json", "thm_3_7.json"),
            ("partial_optimum", "partial_optimum"),
            ("w_e_file x_longer", "w<e>_file x_longer"),
            ("a_ b^ c_", "a_ b^ c_"),
        ] {
            assert_eq!(shown(text), expected);
        }
    }
}
