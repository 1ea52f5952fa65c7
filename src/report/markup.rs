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
/// `_` counts only after a single letter (with its combining marks), so that file names and identifiers stay whole; `^`
/// counts after anything but a space. A script is `{..}`, or up to three letters or digits, or one other character.
pub(super) fn runs(text: &str) -> Vec<Run> {
    let chars: Vec<char> = text.chars().collect();
    let mut runs: Vec<Run> = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let level = match chars[at] {
            '_' if follows_single_letter(&chars[..at]) => Some(Level::Sub),
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

fn follows_single_letter(before: &[char]) -> bool {
    let mut letters = before.iter().rev().skip_while(|c| is_combining(**c));
    letters.next().is_some_and(|c| c.is_alphabetic())
        && !letters.next().is_some_and(|c| c.is_alphanumeric() || *c == '_' || is_combining(*c))
}

/// The script after `_` or `^` and how many characters it takes; none if there is no script after all.
fn script(after: &[char]) -> Option<(String, usize)> {
    match after.first()? {
        '{' => {
            let end = after.iter().position(|c| *c == '}')?;
            (end > 1).then(|| (after[1..end].iter().collect(), end + 1))
        }
        c if c.is_alphanumeric() => {
            let length = after.iter().take_while(|c| c.is_alphanumeric()).count();
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
            ("thm_3_7.json", "thm_3_7.json"),
            ("partial_optimum", "partial_optimum"),
            ("w_e_file x_longer", "w<e>_file x_longer"),
            ("a_ b^ c_", "a_ b^ c_"),
        ] {
            assert_eq!(shown(text), expected);
        }
    }
}
