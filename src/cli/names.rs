//! Names of claims on the command line: exact, or with `*` for any characters.

use super::CliError;
use crate::claims::{Claim, REGISTRY};

/// The claims that these names and patterns mean, each once and in the order of the paper; all of them for no name.
pub fn choose(names: &[String]) -> Result<Vec<&'static Claim>, CliError> {
    if let Some(name) = names.iter().find(|name| !REGISTRY.iter().any(|claim| matches(name, claim.id))) {
        let hint = if name.contains('*') {
            "no claim has a name of that form;".to_owned()
        } else {
            format!("did you mean `{}`?", nearest(name))
        };
        return Err(CliError::Request(format!("claim `{name}` is not known: {hint} `sdlab claims` lists them all")));
    }
    let meant = |claim: &&Claim| names.is_empty() || names.iter().any(|name| matches(name, claim.id));
    Ok(REGISTRY.iter().filter(meant).collect())
}

/// Whether `name` is of the form `pattern`, in which `*` stands for any characters.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => name.strip_prefix(start).is_some_and(|name| {
            name.char_indices().map(|(at, _)| at).chain([name.len()]).any(|at| matches(rest, &name[at..]))
        }),
    }
}

/// The claim whose name takes the fewest changes of a character.
fn nearest(name: &str) -> &'static str {
    REGISTRY.iter().map(|claim| claim.id).min_by_key(|id| distance(name, id)).unwrap_or("none")
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let best = (corner + usize::from(x != *y)).min(row[j] + 1).min(row[j + 1] + 1);
            corner = std::mem::replace(&mut row[j + 1], best);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(names: &[&str]) -> Vec<&'static str> {
        choose(&names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()).unwrap().iter().map(|c| c.id).collect()
    }

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, name, expected) in [
            ("thm-3.7", "thm-3.7", true),
            ("thm-3.7", "thm-3.7-construction", false),
            ("thm-3.7*", "thm-3.7", true),
            ("*-3.7*", "thm-3.7-construction", true),
            ("*7", "thm-3.7-construction", false),
            ("t*m*", "thm-3.7", true),
            ("*", "é", true),
            ("é*", "thm", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn claims_come_once_and_in_the_order_of_the_paper() {
        assert_eq!(ids(&["thm-3.7", "ex-3.5", "thm-3.7"]), ["ex-3.5", "thm-3.7"]);
        assert_eq!(ids(&[]).len(), REGISTRY.len());
        assert!(ids(&["thm-3.7*"]).contains(&"thm-3.7-construction"));
    }

    #[test]
    fn the_nearest_name_is_suggested() {
        assert_eq!(nearest("thm3.7"), "thm-3.7");
        assert_eq!(nearest("ex-3.4"), "ex-3.5");
        assert_eq!((distance("", "abc"), distance("kitten", "sitting")), (3, 3));
    }
}
