//! Arguments that hold a file: the JSON itself, standard input, or a path.

use crate::theory::pattern::Pattern;
use crate::theory::point::Point;
use crate::theory::problem::Problem;
use std::fs::File;
use std::io::{self, Read};

/// Largest input, in bytes.
const LIMIT: u64 = 64 << 20;

/// What is wrong with an input: one line that names the input, the place in it, and what was expected.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// It cannot be read.
    #[error("{name}: cannot be read: {error}{hint}")]
    Read {
        /// The path, or `standard input`.
        name: String,
        /// The operating system's reason.
        error: io::Error,
        /// What to do instead, may be empty.
        hint: &'static str,
    },
    /// It is too large.
    #[error("{name}: expected at most 64 MiB, found more")]
    TooLarge {
        /// The path, or `standard input`.
        name: String,
    },
    /// It is not text.
    #[error("{name}: expected UTF-8 text, found another byte at offset {offset}")]
    Encoding {
        /// The path, or `standard input`.
        name: String,
        /// Offset of the first byte that is not UTF-8.
        offset: usize,
    },
    /// Standard input was asked for twice.
    #[error("{argument}: standard input (`-`) can be read by one argument only")]
    StandardInputTwice {
        /// The second argument.
        argument: &'static str,
    },
    /// The content is wrong.
    #[error("{name}: {message}")]
    Content {
        /// The path, `standard input`, or the argument's name for JSON given directly.
        name: String,
        /// Field and expectation.
        message: String,
    },
}

/// Reads arguments, and remembers whether standard input was taken.
#[derive(Debug, Default)]
pub struct Inputs {
    standard_input_taken: bool,
}

/// Text with the name that errors give it.
struct Source {
    name: String,
    text: String,
}

impl Inputs {
    /// The problem that `argument` holds.
    pub fn problem(&mut self, argument: &str) -> Result<Problem, InputError> {
        Ok(self.named_problem(argument)?.1)
    }

    /// The same with the name of where it comes from.
    pub fn named_problem(&mut self, argument: &str) -> Result<(String, Problem), InputError> {
        let source = self.source("--problem", argument)?;
        let problem = source.parsed(Problem::from_json(&source.text))?;
        Ok((source.name, problem))
    }

    /// The name that errors give to what the argument `--problem` holds.
    pub fn name_of_problem(value: &str) -> &str {
        name_of("--problem", value)
    }

    /// The point that `argument` holds.
    pub fn point(&mut self, argument: &str, problem: &Problem) -> Result<Point, InputError> {
        let source = self.source("--point", argument)?;
        source.parsed(Point::from_json(&source.text, problem))
    }

    /// The pattern that `argument` holds.
    pub fn pattern(&mut self, argument: &str, problem: &Problem) -> Result<Pattern, InputError> {
        let source = self.source("--pattern", argument)?;
        source.parsed(Pattern::from_json(&source.text, problem.n()))
    }

    /// The name and the text of the configuration that `argument` holds.
    pub fn configuration(&mut self, argument: &str) -> Result<(String, String), InputError> {
        let source = self.source("CONFIG", argument)?;
        Ok((source.name, source.text))
    }

    fn source(&mut self, argument: &'static str, value: &str) -> Result<Source, InputError> {
        let name = name_of(argument, value);
        if name == argument {
            return Ok(Source { name: name.to_owned(), text: value.to_owned() });
        }
        if value != "-" {
            let unreadable = |error: io::Error| {
                let hint = match error.kind() {
                    io::ErrorKind::NotFound => {
                        " (expected a path, `-` for standard input, or JSON that begins with { or [)"
                    }
                    _ => "",
                };
                InputError::Read { name: value.to_owned(), error, hint }
            };
            return read(name, File::open(value).map_err(unreadable)?);
        }
        if std::mem::replace(&mut self.standard_input_taken, true) {
            return Err(InputError::StandardInputTwice { argument });
        }
        read(name, io::stdin().lock())
    }
}

/// The argument's own name for JSON given directly, else where it is read from.
fn name_of<'a>(argument: &'a str, value: &'a str) -> &'a str {
    match value {
        "-" => "standard input",
        json if json.starts_with(['{', '[']) => argument,
        path => path,
    }
}

fn read(name: &str, reader: impl Read) -> Result<Source, InputError> {
    let name = name.to_owned();
    let mut bytes = Vec::new();
    if let Err(error) = reader.take(LIMIT + 1).read_to_end(&mut bytes) {
        return Err(InputError::Read { name, error, hint: "" });
    }
    if bytes.len() as u64 > LIMIT {
        return Err(InputError::TooLarge { name });
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Source { name, text }),
        Err(error) => Err(InputError::Encoding { name, offset: error.utf8_error().valid_up_to() }),
    }
}

impl Source {
    fn parsed<T>(&self, result: Result<T, String>) -> Result<T, InputError> {
        result.map_err(|message| {
            // One line, whatever the input held.
            let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
            let message = match suggestion(&message) {
                Some(known) => format!("{message}; did you mean `{known}`?"),
                None => message,
            };
            InputError::Content { name: self.name.clone(), message }
        })
    }
}

/// The known name nearest to the unknown one in a message like "unknown field `mas`, expected `mass` or `w_p`".
fn suggestion(message: &str) -> Option<String> {
    let at = ["unknown field `", "unknown variant `", "found `"].iter().find_map(|start| message.find(start))?;
    let names = |text: &str| -> Vec<String> {
        let quoted = text.split('`').skip(1).step_by(2);
        quoted.map(str::to_owned).collect()
    };
    let unknown = names(&message[at..]).into_iter().next()?;
    let expected = &message[message.find("expected ")? + "expected ".len()..];
    // Names stand in backticks, or as plain words before "found".
    let plain = expected.split(", found").next().unwrap_or(expected).split([',', ' ']).map(str::to_owned);
    let known: Vec<String> =
        if expected.starts_with('`') || expected.starts_with("one of") { names(expected) } else { plain.collect() };
    known
        .into_iter()
        .filter(|name| *name != unknown && name != "or" && !name.is_empty())
        .map(|name| (distance(&name, &unknown), name))
        .filter(|(distance, name)| *distance <= 2.max(name.chars().count() / 3))
        .min()
        .map(|(_, name)| name)
}

/// Number of insertions, deletions and replacements between two words (Levenshtein 1966).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem_error(json: &str) -> String {
        Inputs::default().problem(json).unwrap_err().to_string()
    }

    #[test]
    fn an_error_is_one_line_that_names_input_field_and_expectation() {
        let error = problem_error(r#"{"format": 1, "features": [{"w_p": ["1", "x"], "mass": "1"}]}"#);
        assert!(error.starts_with("--problem: features[0].w_p[1]: `x` is not an exact number: expected"), "{error}");
        assert!(!error.contains('\n'));
        let missing = Inputs::default().problem("no-such-file.json").unwrap_err().to_string();
        assert!(
            missing.starts_with("no-such-file.json: cannot be read:") && missing.contains("standard input"),
            "{missing}"
        );
    }

    #[test]
    fn a_misspelt_name_is_answered_with_the_nearest_one() {
        let field = problem_error(r#"{"format": 1, "features": [{"w_p": ["1"], "mas": "1"}]}"#);
        assert!(field.ends_with("did you mean `mass`?"), "{field}");
        let kind = problem_error(
            r#"{"format": 1, "features": [{"w_p": ["1"], "mass": "1"}], "activation": {"kind": "treshold"}}"#,
        );
        assert!(kind.ends_with("did you mean `threshold`?"), "{kind}");
        let far = problem_error(r#"{"format": 1, "features": [], "quux": 1}"#);
        assert!(!far.contains("did you mean"), "{far}");
    }

    #[test]
    fn standard_input_serves_one_argument_only() {
        let mut inputs = Inputs { standard_input_taken: true };
        assert!(matches!(inputs.problem("-"), Err(InputError::StandardInputTwice { argument: "--problem" })));
    }
}
